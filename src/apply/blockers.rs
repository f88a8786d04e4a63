//! Who is in the way of a lock.

use std::time::Duration;

use tokio_postgres::Client;

use super::locks::Wanted;
use crate::error::{Error, Phase, Result};
use crate::pg::catalog::Oid;
use crate::plan::method::TableLock;

/// The modes that conflict with a lock, as `pg_locks` names them (manual, table 13.2).
fn conflicting(lock: TableLock) -> &'static [&'static str] {
    match lock {
        // ROW SHARE does not conflict, but who has it may have locked rows that are to be deleted.
        TableLock::ShareRowExclusive => &[
            "RowShareLock",
            "RowExclusiveLock",
            "ShareUpdateExclusiveLock",
            "ShareLock",
            "ShareRowExclusiveLock",
            "ExclusiveLock",
            "AccessExclusiveLock",
        ],
        TableLock::AccessExclusive => &[
            "AccessShareLock",
            "RowShareLock",
            "RowExclusiveLock",
            "ShareUpdateExclusiveLock",
            "ShareLock",
            "ShareRowExclusiveLock",
            "ExclusiveLock",
            "AccessExclusiveLock",
        ],
    }
}

/// Describes the sessions that hold what we want, the longest transaction first; empty if they are gone by now.
pub(super) async fn describe(client: &Client, wanted: &[Wanted]) -> Result<String> {
    let strongest = wanted.iter().map(|w| w.lock).max().unwrap_or(TableLock::AccessExclusive);
    let oids: Vec<Oid> = wanted.iter().map(|w| w.oid).collect();
    holders(client, &oids, conflicting(strongest)).await
}

/// Describes the sessions that keep sequences from being altered.
pub(super) async fn of_sequences(client: &Client, sequences: &[Oid]) -> Result<String> {
    holders(client, sequences, conflicting(TableLock::ShareRowExclusive)).await
}

/// Describes the sessions that keep everyone from reading a table.
pub(super) async fn of_a_reader(client: &Client, table: Oid) -> Result<String> {
    holders(client, &[table], &["AccessExclusiveLock"]).await
}

async fn holders(client: &Client, oids: &[Oid], modes: &[&str]) -> Result<String> {
    let rows = client
        .query(include_str!("blockers.sql"), &[&oids, &modes])
        .await
        .map_err(|e| Error::pg(Phase::Apply, "looking for who holds the lock", &e))?;
    let sessions: Vec<String> = rows
        .iter()
        .map(|row| {
            let age = Duration::from_secs_f64(row.get::<_, f64>("transaction_s").max(0.0).round());
            format!(
                "pid {} ({}, {}, {} on {}, transaction {} old)",
                row.get::<_, i32>("pid"),
                row.get::<_, &str>("application"),
                row.get::<_, &str>("state"),
                row.get::<_, &str>("mode"),
                row.get::<_, &str>("relation"),
                humantime::format_duration(age),
            )
        })
        .collect();
    Ok(sessions.join("; "))
}
