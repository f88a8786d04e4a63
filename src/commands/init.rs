//! A config from both catalogs: what both sides have, tried as a run would try it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use crate::config::{Config, Located, SOURCE_URL_VARIABLE, Secret, TARGET_URL_VARIABLE};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::catalog::{self, Catalog, Column, Relation};
use crate::pg::name::{Ident, TableName, literal};
use crate::pg::session::Side;
use crate::plan::draft::{Draft, Owners, Seen, Values, given, nullable_references, owner_column};
use crate::plan::{FailedTable, Plan};
use crate::run::Options;
use crate::run::id::RunId;
use crate::run::lock_watch;
use crate::run::prepare::{self, prepare};
use crate::run::sessions::Sessions;
use crate::run::unless_cancelled;

/// Which two databases, and what of them.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where rows come from.
    pub source: Located<Secret>,
    /// Where they go.
    pub target: Located<Secret>,
    /// The schema whose tables are wanted.
    pub schema: String,
}

/// A config, and what is in it.
#[derive(Debug)]
pub struct Proposal {
    /// The config, as TOML without secrets.
    pub text: String,
    /// Tables that it syncs.
    pub tables: usize,
    /// Tables that both sides have and that cannot be synced as they are, with the reason.
    pub refused: Vec<(TableName, String)>,
    /// Tables of which nothing is deleted, since whose rows are whose cannot be told.
    pub undecided: Vec<TableName>,
    /// Tables of one side only.
    pub unmatched: usize,
}

/// Both URLs are taken from the environment, and what is read there needs no table yet.
const NO_TABLE_YET: &str = "[[table]]\nname = \"none\"\n";

/// How long a server may take to tell whose the rows of a table are. All rows are read for that.
const OWNERS_TIMEOUT: &str = "10s";

/// A column with more values than this tells something else.
const OWNERS_MAX: usize = 1000;

/// So many rows are looked for on the other side.
const KEYS_MAX: u32 = 1000;

/// Proposes a config that passes `plan`.
///
/// # Errors
/// Whatever keeps both databases from being read; [`Kind::Schema`] if they have no table in common.
pub async fn init(request: &Request, options: Options) -> Result<Proposal> {
    unless_cancelled(&options, Phase::Plan, Box::pin(propose(request, &options))).await
}

async fn propose(request: &Request, options: &Options) -> Result<Proposal> {
    let run = RunId::now();
    let empty = parse(NO_TABLE_YET, request)?;
    let sessions = Sessions::new(&run, &empty.run);
    let (Some(source), target) = prepare::endpoints(&empty)? else { return Err(no_source()) };
    let Some(source_url) = &empty.source else { return Err(no_source()) };
    let ends = lock_watch::ends(Some(&source), &target);
    let (source, target) = futures::try_join!(
        prepare::open(&source, source_url, &sessions, Side::Source),
        prepare::open(&target, &empty.target, &sessions, Side::Target),
    )?;
    let (of_source, of_target) =
        futures::try_join!(tables(&source.client, &request.schema), tables(&target.client, &request.schema))?;
    let is_table = |name: &&TableName| matches!(of_target[*name].as_str(), "r" | "p");
    let both: BTreeSet<TableName> =
        of_target.keys().filter(is_table).filter(|name| of_source.contains_key(name)).cloned().collect();
    if both.is_empty() {
        return Err(nothing_in_common(request, &of_source, &of_target));
    }
    let read = Box::pin(async {
        let (of_source, of_target) = futures::try_join!(
            catalog::load(&source.client, &both, HashMap::new()),
            catalog::load(&target.client, &both, HashMap::new())
        )?;
        let seen = look(&both, (&of_source, &source.client), (&of_target, &target.client)).await?;
        Ok((of_source, of_target, seen))
    });
    let (source_catalog, target_catalog, seen) =
        lock_watch::told(Phase::Plan, &sessions, &ends, read).await?;
    let left = |here: &BTreeMap<TableName, String>| -> Vec<TableName> {
        let is_table = |(name, kind): &(&TableName, &String)| {
            matches!(kind.as_str(), "r" | "p") && !both.contains(*name)
        };
        here.iter().filter(is_table).map(|(name, _)| name.clone()).collect()
    };
    let mut draft = Draft {
        source: &source_catalog,
        target: &target_catalog,
        tables: both.iter().cloned().collect(),
        refused: Vec::new(),
        only_source: left(&of_source),
        only_target: left(&of_target),
        seen,
        plan: None,
    };
    let plan = passing(&mut draft, request, options, &run).await?;
    draft.plan = Some(&plan);
    let text = draft.to_string();
    parse(&text, request)?;
    let undecided = draft.tables.iter().filter(|name| draft.is_ownership_unknown(name)).cloned().collect();
    Ok(Proposal {
        text,
        undecided,
        tables: draft.tables.len(),
        unmatched: draft.only_source.len() + draft.only_target.len(),
        refused: draft.refused,
    })
}

/// Plans the draft as `plan` would, leaving out tables that stand against it, one by one.
async fn passing(draft: &mut Draft<'_>, request: &Request, options: &Options, run: &RunId) -> Result<Plan> {
    loop {
        let config = parse(&draft.to_string(), request)?;
        let lines: Vec<u32> = config.tables.iter().map(|table| table.name.at.line).collect();
        let error = match prepare(config, options, run).await {
            Ok(prepared) => {
                let is_culprit = |table: &&FailedTable| table.error.kind() != Kind::Dependency;
                let Some(failed) = prepared.plan.failed.iter().find(is_culprit) else {
                    return Ok(prepared.plan);
                };
                if draft.tables.len() == 1 {
                    return Err(Error::new(Phase::Plan, failed.error.kind(), failed.error.message()));
                }
                draft.tables.retain(|name| *name != failed.name);
                draft.refused.push((failed.name.clone(), failed.error.message().to_owned()));
                continue;
            }
            Err(error) => error,
        };
        // The header stands in the line before the name.
        let place = error.location().map_or(0, |at| at.line);
        let Some(table) = lines.iter().rposition(|&line| line <= place + 1) else { return Err(error) };
        if lines.len() == 1 {
            return Err(error.nowhere());
        }
        let name = draft.tables.remove(table);
        let message = error.message();
        let message = message.strip_prefix(&format!("{}: ", name.plain())).unwrap_or(message);
        let mut why = match error.advice() {
            Some(advice) => format!("{message}. {advice}"),
            None => message.to_owned(),
        };
        if draft.is_ownership_unknown(&name) {
            why = format!("the owner of its rows is unknown, so nothing may be deleted; {why}");
        }
        draft.refused.push((name, why));
    }
}

/// A config with the URLs that were given.
fn parse(text: &str, request: &Request) -> Result<Config> {
    let url = |name: &str| match name {
        SOURCE_URL_VARIABLE => Some(request.source.value.expose().to_owned()),
        TARGET_URL_VARIABLE => Some(request.target.value.expose().to_owned()),
        _ => None,
    };
    let config = Config::parse(text, "the proposal", &url)?;
    Ok(Config { source: Some(request.source.clone()), target: request.target.clone(), ..config })
}

/// What a schema holds, and of what kind it is.
async fn tables(client: &Client, schema: &str) -> Result<BTreeMap<TableName, String>> {
    let rows = client
        .query(include_str!("init.sql"), &[&schema])
        .await
        .map_err(|e| Error::pg(Phase::Plan, "listing tables", &e))?;
    let named = |row: &Row| (TableName::new(schema, row.get::<_, &str>("name")), row.get("kind"));
    Ok(rows.iter().map(named).collect())
}

/// Looks at a few rows, where the catalogs leave a question open.
async fn look(
    names: &BTreeSet<TableName>,
    (source, on_source): (&Catalog, &Client),
    (target, on_target): (&Catalog, &Client),
) -> Result<Seen> {
    let mut seen = Seen::default();
    for name in names {
        let (Some(from), Some(to)) = (source.relations.get(name), target.relations.get(name)) else {
            continue;
        };
        if let Some(column) = owner_column(target, to) {
            let owners = owners(column, (from, on_source), (to, on_target)).await;
            seen.owners.insert(name.clone(), owners);
        }
        for (column, parent, parent_column) in nullable_references(from, to) {
            if zero_is_none(on_source, name, column, (parent, parent_column)).await {
                seen.zeros.entry(name.clone()).or_default().push(column.clone());
            }
        }
    }
    Ok(seen)
}

/// What both sides have in a column that tells whose a row is.
async fn owners(
    column: &Column,
    (source, on_source): (&Relation, &Client),
    (target, on_target): (&Relation, &Client),
) -> Owners {
    let of_source = async {
        source.column(&column.name)?;
        values(on_source, &source.name, &column.name).await
    };
    let known = async {
        let value = given(column, source)?;
        let key = target.unique_indexes.iter().find(|index| index.is_plain() && index.all_not_null)?;
        let keys = keys(on_target, &target.name, &key.columns, (&column.name, value)).await?;
        Some((keys.len() as u64, found(on_source, &source.name, &key.columns, &keys).await?))
    };
    let (of_source, (of_target, known)) = futures::join!(of_source, async {
        // One after the other: both begin a transaction on one connection.
        (values(on_target, &target.name, &column.name).await, known.await)
    });
    let own = match &of_target {
        Some(seen) if source.column(&column.name).is_none() => {
            own_value(on_target, target, column, seen).await
        }
        _ => None,
    };
    Owners { source: of_source, target: of_target, known, own }
}

/// What a sync's rows may be called where nothing restricts it, in this order.
const OWN_VALUES: [&str; 3] = ["D", "S", "B"];

/// A value for the sync's rows that no other row has, or gets by default. Where the target lists the values that it allows, there
/// must be one only that is left.
async fn own_value(client: &Client, table: &Relation, column: &Column, seen: &Values) -> Option<String> {
    if table.foreign_keys.iter().any(|key| key.from_columns.contains(&column.name)) {
        return None;
    }
    let sql = include_str!("init_owner.sql");
    let row = ask(client, sql, &[&table.oid, &column.name.as_str()]).await?.pop()?;
    if row.get("has_shared_checks") {
        return None;
    }
    let checks: Vec<String> = row.get("checks");
    let of_domains: Vec<String> = row.get("domain_checks");
    let literals = checks.iter().chain(&of_domains).flat_map(|check| check.split('\'').skip(1).step_by(2));
    let named: BTreeSet<String> =
        row.get::<_, Vec<String>>("labels").into_iter().chain(literals.map(str::to_owned)).collect();
    let fitting = async |values: Vec<String>| {
        let mut fitting = Vec::new();
        for value in values {
            let is_taken = seen.contains_key(&Some(value.clone()));
            if !is_taken && fits(client, column, &checks, &value).await {
                fitting.push(value);
            }
        }
        fitting
    };
    match fitting(named.into_iter().collect()).await.as_mut_slice() {
        [] => fitting(OWN_VALUES.map(str::to_owned).to_vec()).await.into_iter().next(),
        [value] => Some(std::mem::take(value)),
        _ => None,
    }
}

/// Whether a column takes a value as it is, and gets another one by default.
async fn fits(client: &Client, column: &Column, checks: &[String], value: &str) -> bool {
    let (name, kind) = (&column.name, &column.type_name);
    let mut conditions = vec![format!("{name}::pg_catalog.text = {}", literal(value))];
    conditions.extend(checks.iter().map(|check| format!("({check}) is not false")));
    if let Some(default) = &column.expression {
        conditions.push(format!("{name}::pg_catalog.text is distinct from ({default})::pg_catalog.text"));
    }
    let sql = format!(
        "select {} from (select {}::{kind} as {name}) as r",
        conditions.join(" and "),
        literal(value)
    );
    let answer = ask(client, &sql, &[]).await;
    answer.is_some_and(|rows| rows.first().and_then(|row| row.get::<_, Option<bool>>(0)) == Some(true))
}

/// How many rows have which value; `None` where there are too many values.
async fn values(client: &Client, table: &TableName, column: &Ident) -> Option<Values> {
    let sql = format!(
        "select v, pg_catalog.count(*) from (select {column}::pg_catalog.text as v from {table}) as s group by v limit {}",
        OWNERS_MAX + 1
    );
    let rows = ask(client, &sql, &[]).await.filter(|rows| rows.len() <= OWNERS_MAX)?;
    Some(rows.iter().map(|row| (row.get(0), u64::try_from(row.get::<_, i64>(1)).unwrap_or(0))).collect())
}

/// The keys of some rows that have a value, as text.
async fn keys(
    client: &Client,
    table: &TableName,
    key: &[Ident],
    (column, value): (&Ident, Option<String>),
) -> Option<Vec<String>> {
    let is_it = value.map_or_else(|| "is null".to_owned(), |value| format!("= {}", literal(&value)));
    let sql = format!("select {} from {table} where {column} {is_it} limit {KEYS_MAX}", key_text(key));
    Some(ask(client, &sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

/// How many of some keys a table has.
async fn found(client: &Client, table: &TableName, key: &[Ident], keys: &[String]) -> Option<u64> {
    let sql = format!("select pg_catalog.count(*) from {table} where {} = any ($1)", key_text(key));
    let rows = ask(client, &sql, &[&keys]).await?;
    u64::try_from(rows.first()?.get::<_, i64>(0)).ok()
}

fn key_text(key: &[Ident]) -> String {
    let parts: Vec<String> = key.iter().map(|column| format!("{column}::pg_catalog.text")).collect();
    format!("pg_catalog.concat_ws(',', {})", parts.join(", "))
}

/// Asks what may take long, or may not be asked: `None` then.
async fn ask(client: &Client, sql: &str, values: &[&(dyn ToSql + Sync)]) -> Option<Vec<Row>> {
    let begin = format!("begin read only; set local statement_timeout = '{OWNERS_TIMEOUT}'");
    client.batch_execute(&begin).await.ok()?;
    let rows = client.query(sql, values).await;
    client.batch_execute("rollback").await.ok()?;
    rows.ok()
}

/// Whether a table of the source has rows with 0 in a column, and the table that it refers to has none with this key.
async fn zero_is_none(
    client: &Client,
    name: &TableName,
    column: &Ident,
    (parent, key): (&TableName, &Ident),
) -> bool {
    let has = async |table: &TableName, column: &Ident| {
        let sql = format!("select exists (select 1 from {table} where {column} = 0)");
        client.query_one(&sql, &[]).await.map(|row| row.get::<_, bool>(0))
    };
    matches!(has(name, column).await, Ok(true)) && matches!(has(parent, key).await, Ok(false))
}

fn no_source() -> Error {
    Error::new(Phase::Config, Kind::Config, "no source is given")
}

fn nothing_in_common(
    request: &Request,
    source: &BTreeMap<TableName, String>,
    target: &BTreeMap<TableName, String>,
) -> Error {
    let schema = &request.schema;
    let message = format!(
        "source and target have no table in common in schema {schema}: {} there, {} here",
        crate::figures::counted(source.len() as u64, "table"),
        crate::figures::counted(target.len() as u64, "table")
    );
    Error::new(Phase::Plan, Kind::Schema, message).hint(
        "Name another schema with --schema, or create the tables on the target first: \
         pg_dump --schema-only of the source, psql into the target.",
    )
}
