//! Foreign keys from other tables to the exchanged ones. None of their rows may lose its match, and each key is recreated to
//! reference the new table.
//!
//! A foreign key cannot be redirected: it is dropped and added again as NOT VALID, which reads no row. Its rows are
//! nevertheless known to have their matches, because they were searched; VALIDATE records that after the commit.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, Row, Statement};

use super::Pair;
use crate::apply::dangling::{self, KEYS_SHOWN};
use crate::apply::locks::{self, Wanted};
use crate::error::{Error, Phase, Result};
use crate::pg::catalog::Oid;
use crate::pg::name::{Ident, TableName, literal, plain};
use crate::plan::method::TableLock;
use crate::report::state::Unvalidated;

/// A foreign key affected by the exchange.
#[derive(Debug)]
pub(in crate::apply) struct Key {
    /// Its name.
    name: Ident,
    /// The referencing table, under its name after the exchange.
    from: TableName,
    from_oid: Oid,
    /// Whether its rows are its own, not those of partitions.
    is_plain: bool,
    to: To,
    /// The definition for ADD CONSTRAINT, without NOT VALID.
    definition: String,
    /// False for NOT ENFORCED, which no row can violate.
    is_enforced: bool,
    /// Whether all rows are known to have a match, now or once it is validated.
    is_to_be_valid: bool,
    comment: Option<String>,
    columns: Vec<KeyColumn>,
}

/// The referenced table.
#[derive(Debug)]
enum To {
    /// An exchanged table, by its number.
    Pair(usize),
    /// A table that stays and that a new table references.
    Other(TableName),
}

#[derive(Debug)]
struct KeyColumn {
    from: Ident,
    to: Ident,
    /// The equality operator, referenced column first.
    operator: String,
    collate: String,
}

/// Reads the foreign keys to live tables, and those of the new tables that are not validated yet.
pub(super) async fn read(client: &Client, query: &Statement, pairs: &[Pair]) -> Result<Vec<Key>> {
    let (live, new) = super::oids(pairs);
    let rows = client
        .query(query, &[&live, &new])
        .await
        .map_err(|e| Error::pg(Phase::Apply, "reading foreign keys", &e))?;
    Ok(rows.iter().map(|row| key(row, pairs)).collect())
}

fn key(row: &Row, pairs: &[Pair]) -> Key {
    let name =
        |schema: &str, name: &str| TableName::new(row.get::<_, &str>(schema), row.get::<_, &str>(name));
    let (from_oid, to_oid): (Oid, Oid) = (row.get("from_oid"), row.get("to_oid"));
    let (from_columns, to_columns): (Vec<&str>, Vec<&str>) = (row.get("from_columns"), row.get("to_columns"));
    let (operators, collations): (Vec<String>, Vec<String>) = (row.get("operators"), row.get("collations"));
    let columns = from_columns.iter().zip(to_columns).zip(operators.into_iter().zip(collations));
    let definition: &str = row.get("definition");
    let own = pairs.iter().find(|pair| pair.new == from_oid);
    let to = pairs.iter().position(|pair| pair.live == to_oid || pair.new == to_oid);
    Key {
        name: Ident::new(row.get::<_, &str>("name")),
        from: own.map_or_else(|| name("from_schema", "from_name"), |pair| pair.name.clone()),
        from_oid,
        is_plain: row.get::<_, &str>("from_kind") == "r",
        to: to.map_or_else(|| To::Other(name("to_schema", "to_name")), To::Pair),
        definition: definition.strip_suffix(" NOT VALID").unwrap_or(definition).to_owned(),
        is_enforced: row.get("is_enforced"),
        is_to_be_valid: row.get("is_to_be_valid"),
        comment: row.get("comment"),
        columns: columns
            .map(|((from, to), (operator, collate))| KeyColumn {
                from: Ident::new(*from),
                to: Ident::new(to),
                operator,
                collate,
            })
            .collect(),
    }
}

impl Key {
    /// Returns whether it belongs to a new table rather than to one that stays and references a live one.
    fn is_own(&self, pairs: &[Pair]) -> bool {
        pairs.iter().any(|pair| pair.new == self.from_oid)
    }

    /// Returns whether the referencing rows may change within the transaction after the exchange.
    fn is_rewritten(&self, pairs: &[Pair], rewritten: &[TableName]) -> bool {
        self.is_own(pairs) || rewritten.contains(&self.from)
    }

    /// Returns the lock on its table that the exchange needs.
    pub(super) fn wanted(&self, pairs: &[Pair], lock: TableLock) -> Option<Wanted> {
        (!self.is_own(pairs)).then(|| Wanted::table(self.from.clone(), self.from_oid, lock))
    }

    /// Returns the statement that drops it from the live table.
    pub(super) fn drop_sql(&self, pairs: &[Pair]) -> Option<String> {
        let Self { name, from, .. } = self;
        (!self.is_own(pairs)).then(|| format!("alter table {from} drop constraint {name}"))
    }

    /// Returns the statements that add it to the new table.
    pub(super) fn add_sql(&self, pairs: &[Pair]) -> Vec<String> {
        let Self { name, from, definition, .. } = self;
        if self.is_own(pairs) {
            return Vec::new();
        }
        let mut statements = vec![format!("alter table {from} add constraint {name} {definition} not valid")];
        if let Some(comment) = &self.comment {
            statements.push(format!("comment on constraint {name} on {from} is {}", literal(comment)));
        }
        statements
    }

    /// Returns the constraint to validate after the commit.
    pub(super) fn unvalidated(&self) -> Option<Unvalidated> {
        self.is_to_be_valid.then(|| Unvalidated {
            schema: self.from.schema.as_str().to_owned(),
            table: self.from.name.as_str().to_owned(),
            constraint: self.name.as_str().to_owned(),
        })
    }

    /// Returns the query that counts the rows without a match in the referenced table `to` and shows the first of their keys.
    /// For a key that is NOT VALID, only rows that had a match in `before` count.
    fn search_sql(&self, to: &TableName, before: Option<&TableName>) -> String {
        let is_there: Vec<String> =
            self.columns.iter().map(|column| format!("r.{} is not null", column.from)).collect();
        let refers: Vec<String> = self
            .columns
            .iter()
            .map(|KeyColumn { from, to, operator, collate }| format!("t.{to} {operator} r.{from}{collate}"))
            .collect();
        let refers = refers.join(" and ");
        let had = match before {
            Some(before) if !self.is_to_be_valid => {
                format!(" and exists (select 1 from only {before} as t where {refers})")
            }
            _ => String::new(),
        };
        let values: Vec<String> =
            self.columns.iter().enumerate().map(|(i, column)| format!("r.{} as v{i}", column.from)).collect();
        let names: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .map(|(i, column)| format!("{}, f.v{i}::text", literal(&format!("{}=", plain(&column.to)))))
            .collect();
        let only = if self.is_plain { "only " } else { "" };
        format!(
            "with found as (
                 select {} from {only}{} as r
                 where {} and not exists (select 1 from {to} as t where {refers}){had})
             select pg_catalog.count(*), (
                 select pg_catalog.string_agg(shown.text, '; ')
                 from (select distinct pg_catalog.concat({}) as text from found as f order by 1 limit {KEYS_SHOWN}) as shown)
             from found",
            values.join(", "),
            self.from,
            is_there.join(" and "),
            names.join(", ', ', ")
        )
    }

    async fn search(
        &self,
        client: &Client,
        what: &TableName,
        to: &TableName,
        before: Option<&TableName>,
    ) -> Result<()> {
        let doing = format!(
            "searching {} for references to rows that would vanish from {}",
            self.from.plain(),
            what.plain()
        );
        let row = client
            .query_one(&self.search_sql(to, before), &[])
            .await
            .map_err(|e| Error::pg(Phase::Apply, doing, &e))?;
        dangling::refuse(&row, what, &self.from, &self.name)
    }
}

/// Locks the referencing tables that stay unchanged against writers, and searches them for rows that would lose their match.
/// The locks are kept. Returns how long it waited for them.
///
/// The search is a separate statement, so it sees everything committed before the locks were granted (READ COMMITTED).
///
/// # Errors
/// [`crate::error::Kind::Lock`]; [`crate::error::Kind::Guard`] with the number of such rows and the first keys; any server
/// error.
pub(super) async fn lock_and_search(
    client: &Client,
    keys: &[Key],
    pairs: &[Pair],
    rewritten: &[TableName],
    budget: Duration,
) -> Result<Duration> {
    let stays = |key: &&Key| key.is_enforced && !key.is_rewritten(pairs, rewritten);
    let staying: Vec<&Key> = keys.iter().filter(stays).collect();
    let wanted: Vec<Wanted> =
        staying.iter().filter_map(|key| key.wanted(pairs, TableLock::ShareRowExclusive)).collect();
    if wanted.is_empty() {
        return Ok(Duration::ZERO);
    }
    let began = Instant::now();
    locks::take(client, &locks::in_order(wanted), &[], budget).await?;
    let waited = began.elapsed();
    fail::fail_point!("swap.referrers_locked");
    for key in staying {
        if let To::Pair(pair) = key.to {
            let pair = &pairs[pair];
            key.search(client, &pair.name, &pair.new_table(), Some(&pair.name)).await?;
        }
    }
    Ok(waited)
}

/// Searches the referencing tables whose rows this transaction has changed, after the exchange.
///
/// # Errors
/// As [`lock_and_search`].
pub(super) async fn search_rewritten(
    client: &Client,
    keys: &[Key],
    pairs: &[Pair],
    rewritten: &[TableName],
) -> Result<()> {
    for key in keys.iter().filter(|key| key.is_enforced && key.is_rewritten(pairs, rewritten)) {
        match &key.to {
            To::Pair(pair) => {
                let pair = &pairs[*pair];
                key.search(client, &pair.name, &pair.name, Some(&pair.old_table())).await?;
            }
            // New rows have no earlier match.
            To::Other(to) if key.is_to_be_valid => key.search(client, to, to, None).await?,
            To::Other(_) => {}
        }
    }
    Ok(())
}
