//! Takes all locks of a group first, in one global order, within one budget.
//!
//! `lock_timeout` counts per lock: while ours waits for the n-th lock, sessions could queue behind the first for n times as
//! long. One block on the server spends a single budget instead, and records when the strongest lock was granted.

use std::cmp::Reverse;
use std::time::Duration;

use tokio_postgres::Client;

use super::sequences;
use crate::error::{Error, Phase, Result};
use crate::pg::catalog::{Oid, Sequence};
use crate::pg::name::{TableName, literal};
use crate::plan::method::TableLock;

/// A lock on a live table, or on an object attached to it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wanted {
    /// Its place in the order of locks.
    pub(super) rank: Rank,
    /// The relation. Within a rank, locks are taken in the order of names, which an exchange does not change.
    pub(super) table: TableName,
    /// The relation's OID.
    pub(super) oid: Oid,
    /// The lock mode.
    pub(super) lock: TableLock,
    /// The statement that takes it.
    pub(super) statement: String,
}

/// The order of locks. It follows readers, which begin with the outermost view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Views, by the number of views between them and the tables: the largest number first.
    View(Reverse<i32>),
    /// Tables.
    Table,
    /// Sequences, which INSERT locks after their table.
    Sequence,
}

impl Wanted {
    /// Returns a lock on a table.
    pub(super) fn table(table: TableName, oid: Oid, lock: TableLock) -> Self {
        let statement = format!("lock table {table} in {} mode", lock.sql());
        Self { rank: Rank::Table, table, oid, lock, statement }
    }
}

/// Sorts locks into the order in which they are taken, and keeps only the strongest on each relation.
pub(super) fn in_order(mut wanted: Vec<Wanted>) -> Vec<Wanted> {
    wanted.sort();
    // `dedup_by` keeps the first of equal items; in reverse order that is the strongest.
    wanted.reverse();
    wanted.dedup_by(|weaker, kept| weaker.rank == kept.rank && weaker.table == kept.table);
    wanted.reverse();
    wanted
}

/// The setting in which the block stores the time at which the strongest lock was granted.
const LOCKED_AT: &str = "bulkload.locked_at";

/// Takes all locks, those on sequences after those on tables as INSERT does, or fails after `budget`.
///
/// # Errors
/// [`crate::error::Kind::Lock`] when the budget is used up; any other server error.
pub(super) async fn take(
    client: &Client,
    wanted: &[Wanted],
    sequences: &[Sequence],
    budget: Duration,
) -> Result<()> {
    client
        .batch_execute(&block(wanted, sequences, budget))
        .await
        .map_err(|e| Error::pg(Phase::Apply, "locking the live tables", &e))
}

fn block(wanted: &[Wanted], sequences: &[Sequence], budget: Duration) -> String {
    let strongest = wanted.iter().map(|w| w.lock).max();
    let mut remembered = false;
    let budget_ms = budget.as_millis().max(1);
    let mut body = String::new();
    for Wanted { lock, statement, .. } in wanted {
        body.push_str(&step(statement, budget_ms));
        if Some(*lock) == strongest && !remembered {
            remembered = true;
            body.push_str(&format!(
                "    perform pg_catalog.set_config('{LOCKED_AT}', pg_catalog.clock_timestamp()::text, true);\n"
            ));
        }
    }
    for sequence in sequences {
        body.push_str(&step(&sequences::locking(sequence), budget_ms));
    }
    // Later waits in the transaction (for rows that another session has locked) have the same bound.
    body.push_str(&format!("    perform pg_catalog.set_config('lock_timeout', '{budget_ms}ms', true);\n"));
    format!(
        "do {}",
        literal(&format!(
            "declare
    began constant timestamptz := pg_catalog.clock_timestamp();
    remaining numeric;
begin{body}end"
        ))
    )
}

/// Returns the SQL that takes one lock within the rest of the budget.
fn step(statement: &str, budget_ms: u128) -> String {
    let statement = literal(statement);
    format!(
        "
    remaining := {budget_ms} - extract(epoch from pg_catalog.clock_timestamp() - began) * 1000;
    if remaining < 1 then
        raise exception using errcode = '55P03', message = 'the lock budget of {budget_ms} ms is used up';
    end if;
    perform pg_catalog.set_config('lock_timeout', remaining::int::text || 'ms', true);
    execute {statement};
"
    )
}

/// Returns the milliseconds since the strongest lock of this transaction was granted.
pub(super) async fn held_ms(client: &Client) -> Result<f64> {
    let sql = format!(
        "select (extract(epoch from pg_catalog.clock_timestamp()
            - pg_catalog.current_setting('{LOCKED_AT}')::timestamptz) * 1000)::float8"
    );
    let row =
        client.query_one(&sql, &[]).await.map_err(|e| Error::pg(Phase::Apply, "reading the clock", &e))?;
    Ok(row.get(0))
}
