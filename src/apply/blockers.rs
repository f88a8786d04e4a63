//! Sessions and prepared transactions that block a lock.

use std::time::Duration;

use tokio_postgres::{Client, Row};

use super::locks::Wanted;
use crate::error::{Error, Phase, Result};
use crate::pg::catalog::Oid;
use crate::pg::name::literal;
use crate::plan::method::TableLock;

/// Returns the lock modes that conflict with a lock, as `pg_locks` names them (manual, table 13.2).
fn conflicting(lock: TableLock) -> &'static [&'static str] {
    match lock {
        // ROW SHARE does not conflict, but its holder may have locked rows that are to be deleted.
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

/// Prefix of the `application_name` of this program's sessions.
const OWN_SESSIONS: &str = "bulkload/";

/// Advice about a blocking transaction that does not end.
pub(super) const HINT: &str = "End that transaction (pg_terminate_backend; for a prepared one, COMMIT \
                               PREPARED or ROLLBACK PREPARED), run at a quieter hour, or raise lock_wait.";

/// A session or a prepared transaction that holds a lock.
pub(super) struct Holder {
    words: String,
    /// Whether it is a session of this program.
    pub(super) is_ours: bool,
}

/// Describes holders; empty if there are none.
pub(super) fn words(holders: &[Holder]) -> String {
    let words: Vec<&str> = holders.iter().map(|holder| holder.words.as_str()).collect();
    words.join("; ")
}

/// Describes the holders of conflicting locks, the oldest transaction first; empty if they have ended since.
pub(super) async fn describe(client: &Client, wanted: &[Wanted]) -> Result<String> {
    let strongest = wanted.iter().map(|w| w.lock).max().unwrap_or(TableLock::AccessExclusive);
    let oids: Vec<Oid> = wanted.iter().map(|w| w.oid).collect();
    Ok(words(&holders(client, &oids, conflicting(strongest)).await?))
}

/// Describes the sessions that block altering sequences.
pub(super) async fn of_sequences(client: &Client, sequences: &[Oid]) -> Result<String> {
    Ok(words(&holders(client, sequences, conflicting(TableLock::ShareRowExclusive)).await?))
}

/// Describes the sessions that block reading a table.
pub(super) async fn of_a_reader(client: &Client, table: Oid) -> Result<String> {
    Ok(words(&holders(client, &[table], &["AccessExclusiveLock"]).await?))
}

/// Returns the sessions that block dropping tables. Names are as SQL.
pub(super) async fn of_tables(client: &Client, tables: &[String]) -> Result<Vec<Holder>> {
    let sql =
        "select pg_catalog.to_regclass(t.name)::pg_catalog.oid from pg_catalog.unnest($1::text[]) as t (name)
        where pg_catalog.to_regclass(t.name) is not null";
    let rows = client
        .query(sql, &[&tables])
        .await
        .map_err(|e| Error::pg(Phase::Clean, "looking up the blocking sessions", &e))?;
    let oids: Vec<Oid> = rows.iter().map(|row| row.get(0)).collect();
    holders(client, &oids, conflicting(TableLock::AccessExclusive)).await
}

async fn holders(client: &Client, oids: &[Oid], modes: &[&str]) -> Result<Vec<Holder>> {
    let rows = client
        .query(include_str!("blockers.sql"), &[&oids, &modes])
        .await
        .map_err(|e| Error::pg(Phase::Apply, "looking up the blocking sessions", &e))?;
    Ok(rows.iter().map(holder).collect())
}

fn holder(row: &Row) -> Holder {
    let age = Duration::from_secs_f64(row.get::<_, f64>("transaction_s").max(0.0).round());
    let age = humantime::format_duration(age);
    let (application, state): (&str, &str) = (row.get("application"), row.get("state"));
    let (mode, relation): (&str, &str) = (row.get("mode"), row.get("relation"));
    let pid = row.get::<_, Option<i32>>("pid");
    let words = match (pid, row.get::<_, Option<&str>>("gid")) {
        (Some(pid), _) => {
            format!("pid {pid} ({application}, {state}, {mode} on {relation}, transaction {age} old)")
        }
        (None, Some(gid)) => format!(
            "prepared transaction {} (role {application}, {mode} on {relation}, prepared {age} ago: end it \
             with COMMIT PREPARED or ROLLBACK PREPARED)",
            literal(gid)
        ),
        (None, None) => format!("a prepared transaction ({mode} on {relation})"),
    };
    Holder { words, is_ours: pid.is_some() && application.starts_with(OWN_SESSIONS) }
}
