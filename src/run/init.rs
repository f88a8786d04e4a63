//! A config from both catalogs: what both sides have, tried as a run would try it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokio_postgres::Client;

use super::id::RunId;
use super::prepare::{self, prepare};
use super::sessions::Sessions;
use super::{Options, unless_cancelled};
use crate::config::{Config, SOURCE_URL_VARIABLE, TARGET_URL_VARIABLE};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::catalog::{self, Catalog};
use crate::pg::name::{Ident, TableName};
use crate::pg::session::Side;
use crate::plan::Plan;
use crate::plan::draft::{Draft, Seen, nullable_references, owner_column};

/// Which two databases, and what of them.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where rows come from.
    pub source: String,
    /// Where they go.
    pub target: String,
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
    /// Tables of one side only.
    pub unmatched: usize,
}

/// Both URLs are taken from the environment, and what is read there needs no table yet.
const NO_TABLE_YET: &str = "[[table]]\nname = \"none\"\n";

/// Rows that are looked at for whose they are.
const SAMPLE: u32 = 10_000;

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
    let (source_catalog, target_catalog) = futures::try_join!(
        catalog::load(&source.client, &both, HashMap::new()),
        catalog::load(&target.client, &both, HashMap::new())
    )?;
    let seen = look(&both, (&source_catalog, &source.client), (&target_catalog, &target.client)).await?;
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
    Ok(Proposal {
        text,
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
            Ok(prepared) => return Ok(prepared.plan),
            Err(error) => error,
        };
        // The header stands in the line before the name.
        let place = error.location().map_or(0, |at| at.line);
        let Some(table) = lines.iter().rposition(|&line| line <= place + 1) else { return Err(error) };
        if lines.len() == 1 {
            return Err(error);
        }
        let name = draft.tables.remove(table);
        let why = match error.advice() {
            Some(advice) => format!("{} {advice}", error.message()),
            None => error.message().to_owned(),
        };
        draft.refused.push((name, why));
    }
}

/// A config with the URLs that were given.
fn parse(text: &str, request: &Request) -> Result<Config> {
    let url = |name: &str| match name {
        SOURCE_URL_VARIABLE => Some(request.source.clone()),
        TARGET_URL_VARIABLE => Some(request.target.clone()),
        _ => None,
    };
    Config::parse(text, "the proposal", &url)
}

/// What a schema holds, and of what kind it is.
async fn tables(client: &Client, schema: &str) -> Result<BTreeMap<TableName, String>> {
    let rows = client
        .query(include_str!("init.sql"), &[&schema])
        .await
        .map_err(|e| Error::pg(Phase::Plan, "listing tables", &e))?;
    let named =
        |row: &tokio_postgres::Row| (TableName::new(schema, row.get::<_, &str>("name")), row.get("kind"));
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
        if let Some(column) = owner_column(to) {
            let sql = format!(
                "select distinct v from (select {}::text as v from {name} limit {SAMPLE}) as s
                 where v is not null order by v limit 8",
                column.name
            );
            // Without the right to read it nothing is proposed.
            let rows = on_target.query(&sql, &[]).await.unwrap_or_default();
            seen.owners.insert(name.clone(), rows.iter().map(|row| row.get(0)).collect());
        }
        for (column, parent, parent_column) in nullable_references(from, to) {
            if zero_is_none(on_source, name, column, (parent, parent_column)).await {
                seen.zeros.entry(name.clone()).or_default().push(column.clone());
            }
        }
    }
    Ok(seen)
}

/// Whether a table of the source has rows with 0 in a column, and the table that it refers to has none with this key.
async fn zero_is_none(
    client: &Client,
    name: &TableName,
    column: &Ident,
    (parent, key): (&TableName, &Ident),
) -> bool {
    let has = async |table: &TableName, column: &Ident| {
        let sql = format!("select exists (select from {table} where {column} = 0)");
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
        crate::report::figures::counted(source.len() as u64, "table"),
        crate::report::figures::counted(target.len() as u64, "table")
    );
    Error::new(Phase::Plan, Kind::Schema, message).hint(
        "Name another schema with --schema, or create the tables on the target first: \
         pg_dump --schema-only of the source, psql into the target.",
    )
}
