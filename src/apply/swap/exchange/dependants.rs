//! Objects that depend on the OID of a live table and would keep using it under any name: views, rules and policies of other
//! relations, functions with a parsed body, publications, foreign keys. Each is recreated by the statement that made it, once
//! the new table has the name, and keeps its own OID, owner, grants and comment.

use std::cmp::Reverse;

use tokio_postgres::{Client, Row, Statement};

use super::super::options::KeptOptions;
use super::{Pair, Queries, keys};
use crate::apply::locks::{Rank, Wanted};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::catalog::{self, Oid};
use crate::pg::name::{Ident, TableName, list, plain};
use crate::plan::method::TableLock;

/// The objects that depend on the exchanged tables of a group.
#[derive(Debug, Default)]
pub(super) struct Bound {
    /// Foreign keys.
    pub(super) keys: Vec<keys::Key>,
    /// Statements that detach the live tables from objects that accept only one table.
    pub(super) detach: Vec<String>,
    /// Statements that bind the dependent objects to the new tables.
    pub(super) attach: Vec<String>,
    /// The locks that these statements take.
    pub(super) wanted: Vec<Wanted>,
    /// Whether a function's body depends on a table.
    pub(super) rewrites_functions: bool,
    /// All dependent objects.
    known: Vec<Dependant>,
}

/// An object that depends on a table.
#[derive(Debug)]
pub(super) struct Dependant {
    catalog: String,
    oid: Oid,
    description: String,
}

/// Returns the objects that depend on tables without being part of them.
pub(super) async fn dependants(client: &Client, query: &Statement, tables: &[Oid]) -> Result<Vec<Dependant>> {
    let rows = client.query(query, &[&tables]).await.map_err(|e| failed(&e))?;
    let dependant = |row: &Row| Dependant {
        catalog: row.get("catalog"),
        oid: row.get("oid"),
        description: row.get("description"),
    };
    Ok(rows.iter().map(dependant).collect())
}

/// Fails if anything still depends on the old tables.
///
/// # Errors
/// [`Kind::Lock`] if the dependency arose while the exchange was being prepared, which is then prepared again;
/// [`Kind::Guard`] with the object.
pub(super) fn refuse_left_behind(bound: &Bound, left: &[Dependant]) -> Result<()> {
    let is_known = |one: &Dependant| {
        bound.known.iter().any(|known| known.oid == one.oid && known.catalog == one.catalog)
    };
    if let Some(Dependant { description, .. }) = left.iter().find(|dependant| !is_known(dependant)) {
        let message = format!(
            "{description} became dependent on a table while the exchange was being \
                               prepared"
        );
        return Err(Error::new(Phase::Apply, Kind::Lock, message));
    }
    let Some(Dependant { description, .. }) = left.first() else { return Ok(()) };
    let message = format!("{description} would keep using the old table; nothing was changed");
    Err(Error::new(Phase::Apply, Kind::Guard, message).hint(HINT))
}

/// Fails if, since planning, a table has acquired a dependent object that cannot be rebound, or if a privilege was revoked.
async fn refuse_obstacles(client: &Client, pairs: &[Pair]) -> Result<()> {
    let (live, _) = super::oids(pairs);
    let obstacles = catalog::obstacles(client, &live).await?;
    let found = obstacles.into_iter().find_map(|(oid, why)| {
        let pair = pairs.iter().find(|pair| pair.live == oid)?;
        Some(format!(
            "{} can no longer be exchanged: {why}; this changed since the run began, and the table is \
             untouched",
            pair.name.plain()
        ))
    });
    found.map_or(Ok(()), |message| Err(Error::new(Phase::Apply, Kind::Refused, message).hint(HINT)))
}

const HINT: &str = "Choose a method that keeps the table itself: apply = \"delta\", which needs a key, \
                    \"delete\" or \"truncate\".";

fn failed(error: &tokio_postgres::Error) -> Error {
    Error::pg(Phase::Apply, "reading what depends on the tables", error)
}

/// Reads everything that depends on the live tables. The session's `search_path` is empty, so all names are schema-qualified.
///
/// # Errors
/// [`Kind::Refused`] if an object cannot be recreated; any server error.
pub(super) async fn read(
    client: &Client,
    queries: &Queries,
    pairs: &[Pair],
    kept_options: &KeptOptions,
    server_version: u32,
) -> Result<Bound> {
    refuse_obstacles(client, pairs).await?;
    let (live, _) = super::oids(pairs);
    let found = dependants(client, &queries.dependants, &live).await?;
    let handled = ["pg_constraint", "pg_rewrite", "pg_policy", "pg_proc", "pg_publication_rel"];
    if let Some(other) = found.iter().find(|dependant| !handled.contains(&dependant.catalog.as_str())) {
        let message =
            format!("{} depends on a table to be exchanged; nothing was changed", other.description);
        return Err(Error::new(Phase::Apply, Kind::Refused, message).hint(HINT));
    }
    let of = |catalog: &str| -> Vec<Oid> {
        found.iter().filter(|dependant| dependant.catalog == catalog).map(|dependant| dependant.oid).collect()
    };
    let mut bound = Bound { keys: keys::read(client, &queries.keys, pairs).await?, ..Bound::default() };
    for key in &bound.keys {
        bound.detach.extend(key.drop_sql(pairs));
        bound.attach.extend(key.add_sql(pairs));
        bound.wanted.extend(key.wanted(pairs, TableLock::AccessExclusive));
    }
    let publications = include_str!("publications.sql");
    let publications = if server_version >= 150_000 {
        let columns = "array(
            select a.attname::text
            from pg_catalog.unnest(r.prattrs::int2[]) with ordinality as x (attnum, ordinal)
            join pg_catalog.pg_attribute a on a.attrelid = r.prrelid and a.attnum = x.attnum
            order by x.ordinal
        )";
        let filter = "pg_catalog.pg_get_expr(r.prqual, r.prrelid)";
        publications.replace("{columns}", columns).replace("{filter}", filter)
    } else {
        publications.replace("{columns}", "array[]::text[]").replace("{filter}", "null::text")
    };
    let (rules, policies) = (of("pg_rewrite"), of("pg_policy"));
    let (functions, entries) = (of("pg_proc"), of("pg_publication_rel"));
    let views = async {
        let sql = include_str!("views.sql");
        client.query(sql, &[&rules, &kept_options.names()]).await.map_err(|e| failed(&e))
    };
    let (entries, views, rules, policies, functions) = futures::try_join!(
        about(client, &publications, &entries),
        views,
        about(client, include_str!("rules.sql"), &rules),
        about(client, include_str!("policies.sql"), &policies),
        about(client, include_str!("functions.sql"), &functions),
    )?;
    entries.iter().for_each(|row| bound.publication(row, pairs));
    views.iter().for_each(|row| bound.view(row));
    rules.iter().for_each(|row| bound.rule(row, pairs));
    policies.iter().for_each(|row| bound.policy(row, pairs));
    bound.rewrites_functions = !functions.is_empty();
    bound.attach.extend(functions.iter().map(|row| row.get(0)));
    bound.known = found;
    Ok(bound)
}

async fn about(client: &Client, sql: &str, oids: &[Oid]) -> Result<Vec<Row>> {
    client.query(sql, &[&oids]).await.map_err(|e| failed(&e))
}

fn relation(row: &Row) -> (TableName, Oid) {
    (TableName::new(row.get::<_, &str>("schema"), row.get::<_, &str>("name")), row.get("oid"))
}

/// Returns the no-op statement that locks only a view; LOCK TABLE would also lock every table that it reads.
fn view_lock(view: &TableName, oid: Oid, owner: &str, depth: i32) -> Wanted {
    Wanted {
        rank: Rank::View(Reverse(depth)),
        statement: format!("alter view {view} owner to {}", Ident::new(owner)),
        ..Wanted::table(view.clone(), oid, TableLock::AccessExclusive)
    }
}

impl Bound {
    fn publication(&mut self, row: &Row, pairs: &[Pair]) {
        let Some(pair) = pairs.iter().find(|pair| pair.live == row.get::<_, Oid>("table_oid")) else {
            return;
        };
        let publication = Ident::new(row.get::<_, &str>("name"));
        let columns: Vec<Ident> = row.get::<_, Vec<String>>("columns").into_iter().map(Ident::new).collect();
        let columns = if columns.is_empty() { String::new() } else { format!(" ({})", list(&columns)) };
        let filter = row.get::<_, Option<&str>>("filter");
        let filter = filter.map(|filter| format!(" where ({filter})")).unwrap_or_default();
        let name = &pair.name;
        self.detach.push(format!("alter publication {publication} drop table only {name}"));
        self.attach.push(format!("alter publication {publication} add table only {name}{columns}{filter}"));
    }

    fn view(&mut self, row: &Row) {
        let (name, oid) = relation(row);
        // Options that are not restated would be lost.
        let options: Vec<String> = row.get("options");
        let options =
            if options.is_empty() { String::new() } else { format!(" with ({})", options.join(", ")) };
        let definition: &str = row.get("definition");
        let query = definition.trim_end().trim_end_matches(';');
        self.attach.push(format!("create or replace view {name}{options} as {query}"));
        self.wanted.push(view_lock(&name, oid, row.get("owner"), row.get("depth")));
    }

    fn rule(&mut self, row: &Row, pairs: &[Pair]) {
        let (name, oid) = relation(row);
        let definition: &str = row.get("definition");
        let rest = definition.strip_prefix("CREATE RULE").unwrap_or(definition);
        let statement = format!("create or replace rule{}", rest.trim_end().trim_end_matches(';'));
        if let Some(pair) = pairs.iter().find(|pair| pair.new == oid) {
            // At that point the new table has the live table's place. No other session sees it before, so it needs no lock.
            let (new, live) = (format!("{}.", plain(&pair.new_schema)), format!("{}.", pair.name.schema));
            return self.attach.push(statement.replace(&new, &live));
        }
        self.attach.push(statement);
        self.wanted.push(if row.get("is_view") {
            // It is locked before any table, whatever its nesting.
            view_lock(&name, oid, row.get("owner"), 0)
        } else {
            Wanted::table(name, oid, TableLock::AccessExclusive)
        });
    }

    fn policy(&mut self, row: &Row, pairs: &[Pair]) {
        let (name, oid) = relation(row);
        let name = pairs.iter().find(|pair| pair.new == oid).map_or(name, |pair| pair.name.clone());
        let part = |word: &str, column: &str| {
            let expression = row.get::<_, Option<&str>>(column);
            expression.map(|expression| format!(" {word} ({expression})")).unwrap_or_default()
        };
        let policy = Ident::new(row.get::<_, &str>("policy"));
        let (using, check) = (part("using", "visible"), part("with check", "checked"));
        self.attach.push(format!("alter policy {policy} on {name}{using}{check}"));
        if pairs.iter().all(|pair| pair.new != oid) {
            self.wanted.push(Wanted::table(name, oid, TableLock::AccessExclusive));
        }
    }
}
