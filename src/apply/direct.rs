//! `direct`: TRUNCATE and COPY straight into the live table, in one transaction. Least total time, longest lock.

use std::pin::pin;

use bytes::Bytes;
use futures::SinkExt as _;
use futures::future::BoxFuture;
use tokio_postgres::Client;

use super::{Exchange, Method, Ready, Way, truncate};
use crate::batch::Flow;
use crate::config::ApplyMethod;
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::catalog::{ForeignKey, Oid};
use crate::pg::name::TableName;
use crate::plan::method::{Case, Rules, TableLock};

pub(super) struct Direct;

impl Rules for Direct {
    fn method(&self) -> ApplyMethod {
        ApplyMethod::Direct
    }

    fn refusal(&self, case: &Case<'_>) -> Option<String> {
        let own = |key: &&ForeignKey| key.is_enforced && case.target.overlaps(&key.to);
        if let Some(key) = case.target.foreign_keys.iter().find(own) {
            return Some(format!("it references itself ({}), which needs staging", key.name.as_str()));
        }
        if let Some(reference) = case.table.references.iter().find(|reference| reference.is_declared) {
            return Some(format!("its reference to {} needs staging", reference.name));
        }
        if case.table.csv.is_some() {
            return Some("its rows come from files, and bad rows of files are found in staging".to_owned());
        }
        if !case.table.lookups.is_empty() {
            return Some("it has a lookup, which needs staging".to_owned());
        }
        if case.table.is_looked_up {
            return Some("other tables look it up, which needs staging".to_owned());
        }
        if case.table.may_have_duplicates {
            return Some("the source may hold duplicate keys, which needs staging".to_owned());
        }
        truncate::refusal(case)
    }

    fn lock(&self) -> TableLock {
        TableLock::AccessExclusive
    }

    fn waits(&self) -> &'static str {
        "everyone waits for the whole load"
    }

    fn is_automatic(&self) -> bool {
        false
    }

    fn uses_staging(&self) -> bool {
        false
    }

    fn doubles_table(&self) -> bool {
        true
    }
}

impl Method for Direct {
    fn way(&self) -> Way<'_> {
        Way::Exchange(self)
    }
}

impl Exchange for Direct {
    fn remove<'a>(
        &'a self,
        client: &'a Client,
        tables: &'a [&'a Ready<'a>],
    ) -> BoxFuture<'a, Result<Vec<u64>>> {
        Box::pin(truncate::truncate(client, tables))
    }

    fn fill<'a>(
        &'a self,
        client: &'a Client,
        tables: &'a [&'a Ready<'a>],
        _is_traced: bool,
    ) -> BoxFuture<'a, Result<Vec<u64>>> {
        Box::pin(async move {
            let mut filled = Vec::with_capacity(tables.len());
            for table in tables {
                filled.push(copy(client, table).await?);
            }
            Ok(filled)
        })
    }
}

/// Fails if the column types differ from the plan, which may be hours old. Binary input of one type is not always refused as
/// input of another. The table is locked by this point.
async fn refuse_other_columns(client: &Client, table: &Ready<'_>) -> Result<()> {
    let name = table.plan.name.plain();
    let names: Vec<&str> = table.plan.columns.iter().map(|column| column.name.as_str()).collect();
    let rows = client
        .query(include_str!("columns_now.sql"), &[&table.plan.name.to_string(), &names])
        .await
        .map_err(|e| Error::pg(Phase::Apply, format!("reading the columns of {name}"), &e))?;
    let now = rows.iter().map(|row| row.get::<_, Oid>(0));
    if now.eq(table.plan.columns.iter().map(|column| column.type_oid)) {
        return Ok(());
    }
    Err(Error::new(Phase::Apply, Kind::Schema, format!("the columns of {name} changed during the run"))
        .hint("Run again."))
}

/// Adds the number of the row in question to an error. Its CONTEXT has it after the table's name.
fn with_row(error: Error, table: &TableName) -> Error {
    let context = error.server_error().and_then(|server| server.context.0.as_deref()).unwrap_or_default();
    let place = context.split_once(&format!("COPY {}", table.name.as_str()));
    let number = place.and_then(|(_, place)| {
        let digits = place.trim_start_matches(|c: char| !c.is_ascii_digit() && c != '\n');
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        digits[..end].parse::<u64>().ok()
    });
    match number {
        Some(row) => {
            let message = format!("{}, in row {row} of the COPY", error.message());
            error.instead(message)
        }
        None => error,
    }
}

/// Copies a table's rows from the source. Returns their number once both servers agree on it.
async fn copy(client: &Client, table: &Ready<'_>) -> Result<u64> {
    let name = table.plan.name.plain();
    let failed = |e: tokio_postgres::Error| Error::pg(Phase::Apply, format!("copying into {name}"), &e);
    let feed = table.feed.as_ref().ok_or_else(|| {
        Error::new(Phase::Apply, Kind::Internal, format!("{name} has no source stream to copy from"))
    })?;
    refuse_other_columns(client, table).await?;
    let mut batches = feed();
    let sql = format!(
        "copy {} ({}) from stdin (format {})",
        table.plan.name,
        table.plan.column_list(),
        table.plan.format
    );
    let failed = |e: tokio_postgres::Error| with_row(failed(e), &table.plan.name);
    let mut sink = pin!(client.copy_in::<_, Bytes>(&sql).await.map_err(failed)?);
    fail::fail_point!("apply.copying");
    let expected = loop {
        match batches.recv().await {
            Some(Flow::Batch(batch)) => sink.feed(Bytes::from(batch.into_data())).await.map_err(failed)?,
            Some(Flow::End { rows }) => break rows,
            None => {
                let message = format!("{name}: the source failed while its rows were being copied");
                return Err(Error::new(Phase::Apply, Kind::Server, message));
            }
        }
    };
    let rows = sink.finish().await.map_err(failed)?;
    if rows != expected {
        let message = format!("{name}: the source sent {expected} rows, but the target received {rows}");
        return Err(Error::new(Phase::Apply, Kind::Guard, message));
    }
    Ok(rows)
}
