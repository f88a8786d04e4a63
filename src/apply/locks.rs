//! The locks of a group, all of them first, in one global order, within one budget.
//!
//! `lock_timeout` alone counts per lock: with the first table locked and the n-th waited for, others could stand behind us n times
//! as long. One block on the server spends a single budget instead, and remembers when the strongest lock was granted.

use std::cmp::Reverse;
use std::time::Duration;

use tokio_postgres::Client;

use super::sequences;
use crate::error::{Error, Phase, Result};
use crate::pg::catalog::{Oid, Sequence};
use crate::pg::name::{TableName, literal};
use crate::plan::method::TableLock;

/// A lock on a live table, or on what hangs on it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wanted {
    /// What is locked before what.
    pub(super) rank: Rank,
    /// The relation. Within a rank locks are taken in the order of names, which does not change when a table is exchanged.
    pub(super) table: TableName,
    /// Its OID.
    pub(super) oid: Oid,
    /// How strongly.
    pub(super) lock: TableLock,
    /// What takes it.
    pub(super) statement: String,
}

/// What is locked before what: as readers do it, who begin with the outermost view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Views, by how many others lie between one and the tables: the most come first.
    View(Reverse<i32>),
    /// Tables.
    Table,
    /// Sequences, which insert statements lock after their table.
    Sequence,
}

impl Wanted {
    /// A lock on a table.
    pub(super) fn table(table: TableName, oid: Oid, lock: TableLock) -> Self {
        let statement = format!("lock table {table} in {} mode", lock.sql());
        Self { rank: Rank::Table, table, oid, lock, statement }
    }
}

/// In the order in which they are taken; of several on one relation the strongest.
pub(super) fn in_order(mut wanted: Vec<Wanted>) -> Vec<Wanted> {
    wanted.sort();
    // What is kept is the first of its like: from the end that is the strongest.
    wanted.reverse();
    wanted.dedup_by(|weaker, kept| weaker.rank == kept.rank && weaker.table == kept.table);
    wanted.reverse();
    wanted
}

/// Where the block leaves the time at which the strongest lock was granted.
const LOCKED_AT: &str = "bulkload.locked_at";

/// Takes all locks, the sequences' after the tables' as an INSERT does, or fails after `budget`.
///
/// # Errors
/// [`crate::error::Kind::Lock`] when the budget is used up; whatever else the server says.
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
    // What still has to wait within the transaction (a row that somebody else has locked) is bounded likewise.
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

/// One lock, within what is left of the budget.
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

/// Milliseconds since the strongest lock of this transaction was granted.
pub(super) async fn held_ms(client: &Client) -> Result<f64> {
    let sql = format!(
        "select (extract(epoch from pg_catalog.clock_timestamp()
            - pg_catalog.current_setting('{LOCKED_AT}')::timestamptz) * 1000)::float8"
    );
    let row =
        client.query_one(&sql, &[]).await.map_err(|e| Error::pg(Phase::Apply, "reading the clock", &e))?;
    Ok(row.get(0))
}
