//! What a plan has to know of earlier runs: what they recorded, and where the source's transactions are by now.

use std::collections::HashMap;

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::config::{Config, From, TableConfig, Watermark};
use crate::error::{Error, Phase, Result};
use crate::pg::history::History;
use crate::pg::name::{Ident, TableName};
use crate::plan::{FILES, Past, Transactions, source_name};
use crate::report::Mode;
use crate::report::state::State;

/// Reads it.
pub(crate) async fn load(
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

async fn transactions(config: &Config, source: &Client) -> Result<Option<Result<Transactions, String>>> {
    let is_xmin = |table: &TableConfig| {
        table.watermark.as_ref().is_some_and(|watermark| watermark.value == Watermark::Xmin)
    };
    if !config.tables.iter().any(is_xmin) {
        return Ok(None);
    }
    let ask = async |sql: &'static str| -> Result<Vec<Option<String>>> {
        let answered = source.simple_query(sql).await.map_err(|e| {
            Error::pg(Phase::Plan, "asking the source for its history and its transactions", &e)
        })?;
        Ok(answered.iter().find_map(values).unwrap_or_default())
    };
    let history = match History::read(ask).await? {
        Ok(history) => history,
        Err(reason) => return Ok(Some(Err(reason))),
    };
    let xmin = ask("select pg_catalog.txid_snapshot_xmin(pg_catalog.txid_current_snapshot())").await?;
    let xmin = xmin.into_iter().next().flatten().and_then(|xmin| xmin.parse().ok()).unwrap_or(0);
    Ok(Some(Ok(Transactions { history, xmin })))
}

/// The values of a row.
fn values(message: &SimpleQueryMessage) -> Option<Vec<Option<String>>> {
    match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|n| row.get(n).map(str::to_owned)).collect()),
        _ => None,
    }
}

async fn indexed(config: &Config, source: &Client) -> Result<HashMap<TableName, Vec<Ident>>> {
    let names: Vec<&TableName> =
        config.tables.iter().filter(|table| table.watermark.is_some()).filter_map(source_name).collect();
    let schemas: Vec<&str> = names.iter().map(|name| name.schema.as_str()).collect();
    let bare: Vec<&str> = names.iter().map(|name| name.name.as_str()).collect();
    let rows = source
        .query(include_str!("earlier_runs.sql"), &[&schemas, &bare])
        .await
        .map_err(|e| Error::pg(Phase::Plan, "reading the source's indexes", &e))?;
    let mut indexed: HashMap<TableName, Vec<Ident>> = HashMap::new();
    for row in rows {
        let name = TableName::new(row.get::<_, String>("schema"), row.get::<_, String>("name"));
        indexed.entry(name).or_default().push(Ident::new(row.get::<_, String>("column")));
    }
    Ok(indexed)
}
