//! What a plan has to know of earlier runs: what they recorded, and where the source's transactions are by now.

use std::collections::HashMap;

use tokio_postgres::{Client, Row};

use crate::config::{Config, From, TableConfig, Watermark};
use crate::error::{Error, Phase, Result};
use crate::pg::name::{Ident, TableName};
use crate::plan::{FILES, Past, Transactions, source_name};
use crate::report::Mode;
use crate::report::state::State;

/// Reads it.
pub(super) async fn load(
    config: &Config,
    mode: Mode,
    source: Option<&Client>,
    target: &Client,
    (state, source_label): (&State, &str),
) -> Result<Past> {
    let names: Vec<String> = config.tables.iter().map(|table| table.name.value.plain()).collect();
    let tables = config.tables.iter().zip(&names).map(|(table, name)| {
        let source = if matches!(table.from, From::Csv(_)) { FILES } else { source_label };
        (name.as_str(), source, table.scope.as_ref().map(|scope| scope.value.as_str()))
    });
    let last = state.last_states(target, &tables.collect::<Vec<_>>()).await?;
    let Some(source) = source.filter(|_| mode == Mode::Incremental) else {
        return Ok(Past { mode, last, ..Past::default() });
    };
    Ok(Past {
        mode,
        last,
        transactions: transactions(config, source).await?,
        indexed: indexed(config, source).await?,
    })
}

async fn transactions(config: &Config, source: &Client) -> Result<Option<Transactions>> {
    let is_xmin = |table: &TableConfig| {
        table.watermark.as_ref().is_some_and(|watermark| watermark.value == Watermark::Xmin)
    };
    if !config.tables.iter().any(is_xmin) {
        return Ok(None);
    }
    let ask = async |sql: &str| -> Result<Row> {
        source.query_one(sql, &[]).await.map_err(|e| {
            Error::pg(Phase::Plan, "asking the source for its identity and its transactions", &e)
        })
    };
    let may = "select pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'execute')";
    if !ask(may).await?.get::<_, bool>(0) {
        return Ok(None);
    }
    let row = ask(
        "select system_identifier::text, pg_catalog.txid_snapshot_xmin(pg_catalog.txid_current_snapshot())
         from pg_catalog.pg_control_system()",
    )
    .await?;
    Ok(Some(Transactions {
        system_identifier: row.get(0),
        xmin: u64::try_from(row.get::<_, i64>(1)).unwrap_or(0),
    }))
}

async fn indexed(config: &Config, source: &Client) -> Result<HashMap<TableName, Vec<Ident>>> {
    let names: Vec<&TableName> =
        config.tables.iter().filter(|table| table.watermark.is_some()).filter_map(source_name).collect();
    let schemas: Vec<&str> = names.iter().map(|name| name.schema.as_str()).collect();
    let bare: Vec<&str> = names.iter().map(|name| name.name.as_str()).collect();
    let rows = source
        .query(include_str!("past.sql"), &[&schemas, &bare])
        .await
        .map_err(|e| Error::pg(Phase::Plan, "reading the source's indexes", &e))?;
    let mut indexed: HashMap<TableName, Vec<Ident>> = HashMap::new();
    for row in rows {
        let name = TableName::new(row.get::<_, String>("schema"), row.get::<_, String>("name"));
        indexed.entry(name).or_default().push(Ident::new(row.get::<_, String>("column")));
    }
    Ok(indexed)
}
