//! Loads one chunk into staging, in one transaction with its ledger row.

use std::collections::BTreeSet;
use std::fmt::Display;

use tokio::sync::mpsc;

use super::Ledger;
use crate::batch::{BatchPool, Flow};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::format::Format;
use crate::pg::name::{Ident, list};
use crate::pg::wire::Wire;

/// Returns the COPY … FROM STDIN of some columns into a table.
#[must_use]
pub(crate) fn copy_in_sql(into: &impl Display, columns: &[Ident], format: Format) -> String {
    format!("copy {into} ({}) from stdin (format {format})", list(columns))
}

/// Copies a chunk into `into` and commits it together with its ledger row. Returns the number of rows.
///
/// If it is dropped or fails before the commit, nothing of the chunk remains.
///
/// # Errors
/// Errors of the server; [`Kind::Cancelled`] if the source failed first; [`Kind::Guard`] if the two servers' counts
/// differ.
pub(crate) async fn load_chunk(
    wire: &mut Wire,
    sql: &str,
    enter: impl FnOnce(i64) -> String,
    batches: &mut mpsc::Receiver<Flow>,
    pool: &BatchPool,
    sent: impl Fn(u64),
) -> Result<u64> {
    let mut copy = wire.copy_in(&format!("begin; set local synchronous_commit = off; {sql}")).await?;
    let expected = loop {
        match batches.recv().await {
            Some(Flow::Batch(mut batch)) => {
                copy.send(&mut batch).await?;
                sent(batch.len() as u64);
                pool.give_back(batch);
            }
            Some(Flow::End { rows }) => break rows,
            None => {
                copy.abort().await?;
                wire.execute("rollback").await?;
                return Err(Error::cancelled(Phase::Load).context("the source failed"));
            }
        }
    };
    let rows = copy.finish().await?;
    if rows != expected {
        let message = format!("the source sent {expected} rows of a chunk, but the target received {rows}");
        return Err(Error::new(Phase::Load, Kind::Guard, message));
    }
    fail::fail_point!("load.chunk_copied");
    wire.execute(&format!("{}; commit", enter(i64::try_from(rows).unwrap_or(i64::MAX)))).await?;
    fail::fail_point!("load.chunk_committed");
    Ok(rows)
}

impl Ledger {
    /// Checks on a stream's connection whether a chunk has landed. Returns its rows, or `None`.
    ///
    /// # Errors
    /// Errors of the server.
    pub(crate) async fn rows_of(&self, wire: &mut Wire, entry: usize, chunk: i32) -> Result<Option<u64>> {
        let rows = wire.query(&self.ask_sql(entry, chunk)).await?;
        Ok(rows.first().and_then(|row| row.first()?.as_deref()?.parse().ok()))
    }

    /// Returns the chunk numbers in the ledger for an entry.
    ///
    /// # Errors
    /// Errors of the server.
    pub(crate) async fn numbers(&self, wire: &mut Wire, entry: usize) -> Result<BTreeSet<i32>> {
        let rows = wire.query(&self.numbers_sql(entry)).await?;
        Ok(rows.iter().filter_map(|row| row.first()?.as_deref()?.parse().ok()).collect())
    }
}
