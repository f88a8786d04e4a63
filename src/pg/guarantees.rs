//! Tests whether a target provides the guarantees that a run relies on.
//!
//! Other databases speak PostgreSQL's protocol without all of its guarantees. If advisory locks do not exclude each other,
//! two runs can load the same table at once. If COPY commits by itself, half a chunk can remain. Both look like success. Few
//! of these databases identify themselves, so the guarantees are tested, on two connections and in transactions that are
//! rolled back.

use bytes::Bytes;
use futures::SinkExt as _;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::error::{Error, Kind, Phase};

/// Databases known to lack a guarantee: a part of `version()`, the product, and the failure.
const KNOWN: [(&str, &str, &str); 2] = [
    (
        "CockroachDB",
        "CockroachDB",
        "its advisory locks do not exclude each other, so two runs could load the same table at once",
    ),
    ("-YB-", "YugabyteDB", "its COPY commits in parts, and its rows have no ctid or xmin"),
];

/// A table that only the test transaction sees, and its system columns, which judging staged rows requires.
const TABLE: &str = "begin;
    create temporary table bulkload_trial (v int) on commit drop;
    select ctid, tableoid, xmin from pg_temp.bulkload_trial;
    savepoint empty";

/// The observations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Trial {
    /// The output of `version()`.
    version: String,
    /// Whether the second session got an advisory lock held by the first; `None` if there are no advisory locks.
    shares_locks: Option<bool>,
    /// Whether tables have PostgreSQL's system columns; `None` if no table could be created.
    has_system_columns: Option<bool>,
    /// Whether rows of a COPY remained after a rollback; `None` if that could not be tested.
    keeps_copied_rows: Option<bool>,
}

impl Trial {
    /// Returns the missing guarantee, as a predicate of the server's address.
    fn verdict(&self) -> Option<String> {
        if let Some((_, product, why)) = KNOWN.iter().find(|(part, ..)| self.version.contains(part)) {
            return Some(format!("is {product}, which cannot be a target: {why}"));
        }
        let why = match (self.shares_locks, self.has_system_columns, self.keeps_copied_rows) {
            (None, ..) => "it has no advisory locks, which keep two runs from loading the same table",
            (Some(true), ..) => {
                "two of its sessions held the same advisory lock at once, so two runs could load the same \
                 table"
            }
            (_, Some(false), _) => "its tables have no ctid, tableoid or xmin",
            (.., Some(true)) => "rows written by COPY remained after a rollback",
            _ => return None,
        };
        Some(format!("speaks PostgreSQL's protocol but cannot be a target: {why}"))
    }
}

/// Tests a server through two connections that are outside transactions. `label` is its address. Both are outside
/// transactions afterwards, if it is PostgreSQL.
///
/// COPY is not tested if the role may not create temporary tables or the server is read-only.
///
/// # Errors
/// [`Kind::Refused`] with the missing guarantee; [`Kind::Connect`] or similar if the connection breaks.
pub(super) async fn refuse_impostors(
    label: &str,
    (first, pid): (&Client, i32),
    second: &Client,
) -> Result<(), Error> {
    let trial = try_both(first, pid, second)
        .await
        .map_err(|e| Error::pg(Phase::Connect, format!("testing the guarantees of {label}"), &e))?;
    let Some(verdict) = trial.verdict() else { return Ok(()) };
    Err(Error::new(Phase::Connect, Kind::Refused, format!("{label} {verdict}"))
        .hint("Load into a PostgreSQL server. This database may still work as a source."))
}

async fn try_both(first: &Client, pid: i32, second: &Client) -> Result<Trial, tokio_postgres::Error> {
    // Unique in the whole server, since pids are.
    let key = i64::from(pid) << 32 | 0x7472_6961;
    let mut trial = Trial::default();
    // A session lock, because a failed transaction releases its own locks.
    let take = format!("select pg_catalog.pg_advisory_lock({key}); select pg_catalog.version()");
    match first.simple_query(&take).await {
        Ok(messages) => trial.version = last_value(&messages).unwrap_or_default(),
        Err(error) if error.as_db_error().is_some() => {
            trial.version = last_value(&first.simple_query("select version()").await?).unwrap_or_default();
            return Ok(trial);
        }
        Err(error) => return Err(error),
    }
    let also = format!("select pg_catalog.pg_try_advisory_xact_lock({key})");
    let (also, copied) = futures::join!(second.simple_query(&also), try_copy(first, &mut trial));
    copied?;
    first.batch_execute(&format!("rollback; select pg_catalog.pg_advisory_unlock({key})")).await?;
    trial.shares_locks = match also {
        Ok(messages) => Some(last_value(&messages).as_deref() != Some("f")),
        Err(error) if error.as_db_error().is_some() => None,
        Err(error) => return Err(error),
    };
    Ok(trial)
}

/// Copies a row into a table of the open transaction, rolls back, and checks for the row.
async fn try_copy(client: &Client, trial: &mut Trial) -> Result<(), tokio_postgres::Error> {
    match client.batch_execute(TABLE).await {
        Ok(()) => trial.has_system_columns = Some(true),
        Err(error) if error.as_db_error().is_none() => return Err(error),
        Err(error) => {
            let lacks_them = error.code() == Some(&SqlState::UNDEFINED_COLUMN);
            trial.has_system_columns = lacks_them.then_some(false);
            return Ok(());
        }
    }
    let copy = async {
        let mut sink = Box::pin(client.copy_in::<_, Bytes>("copy pg_temp.bulkload_trial from stdin").await?);
        sink.send(Bytes::from_static(b"1\n")).await?;
        sink.as_mut().finish().await
    };
    match copy.await {
        Ok(_) => {}
        Err(error) if error.as_db_error().is_some() => return Ok(()),
        Err(error) => return Err(error),
    }
    let look = "rollback to empty; select exists (select 1 from pg_temp.bulkload_trial)";
    match client.simple_query(look).await {
        Ok(messages) => trial.keeps_copied_rows = Some(last_value(&messages).as_deref() != Some("f")),
        // The server refused the rollback or the transaction.
        Err(error) if error.as_db_error().is_some() => trial.keeps_copied_rows = Some(true),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Returns the first value of the last row.
fn last_value(messages: &[SimpleQueryMessage]) -> Option<String> {
    messages.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn postgres() -> Trial {
        Trial {
            version: "PostgreSQL 15.20 on x86_64-pc-linux-gnu".to_owned(),
            shares_locks: Some(false),
            has_system_columns: Some(true),
            keeps_copied_rows: Some(false),
        }
    }

    #[test]
    fn what_keeps_its_promises_or_cannot_be_tried_is_let_in() {
        assert_eq!(postgres().verdict(), None);
        assert_eq!(Trial { has_system_columns: None, keeps_copied_rows: None, ..postgres() }.verdict(), None);
    }

    #[test]
    fn a_broken_promise_is_named_whatever_the_server_calls_itself() {
        for (trial, word) in [
            (Trial { shares_locks: Some(true), ..postgres() }, "same advisory lock"),
            (Trial { shares_locks: None, ..postgres() }, "no advisory locks"),
            (Trial { has_system_columns: Some(false), keeps_copied_rows: None, ..postgres() }, "no ctid"),
            (Trial { keeps_copied_rows: Some(true), ..postgres() }, "after a rollback"),
            (Trial { version: "CockroachDB CCL v25.1".to_owned(), ..postgres() }, "is CockroachDB"),
            (Trial { version: "PostgreSQL 15.2-YB-2.25.1.0-b0".to_owned(), ..postgres() }, "is YugabyteDB"),
        ] {
            assert!(trial.verdict().unwrap().contains(word), "{trial:?}");
        }
    }
}
