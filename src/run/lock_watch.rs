//! Who is in the way while a run is being prepared: what reads a catalog, parses the user's SQL or takes a snapshot waits
//! for whoever has a table for himself, and the server tells only another session whom.

use std::time::Duration;

use tokio_postgres::Row;

use crate::error::{Error, Kind, Phase, Result};
use crate::pg::conninfo::ConnInfo;
use crate::pg::session::{self, Side};
use crate::run::sessions::Sessions;

/// When it is looked for the first time, and how often at the least. A look takes a connection, if only for a moment.
const FIRST_LOOK: Duration = Duration::from_secs(2);
const LOOK_EVERY_MAX: Duration = Duration::from_secs(30);

/// Both sides of a run.
pub(crate) fn ends(source: Option<&ConnInfo>, target: &ConnInfo) -> Vec<(Side, ConnInfo)> {
    let source = source.map(|info| (Side::Source, info.clone()));
    source.into_iter().chain([(Side::Target, target.clone())]).collect()
}

/// Does `work`, whose sessions are those of `sessions` at these ends, and logs whom it waits for.
///
/// # Errors
/// Those of `work`; if it waited in vain, with who was in the way.
pub(crate) async fn told<T>(
    phase: Phase,
    sessions: &Sessions,
    ends: &[(Side, ConnInfo)],
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut work = std::pin::pin!(work);
    // Before the wait ends in vain there must have been a look.
    let mut pause = FIRST_LOOK.min(sessions.lock_wait() / 3);
    let mut last = None;
    loop {
        let look = async {
            tokio::time::sleep(pause).await;
            in_the_way(sessions, ends).await
        };
        let found = tokio::select! {
            biased;
            done = &mut work => return done.map_err(|error| blame(error, last)),
            found = look => found,
        };
        if let Some(found) = found.as_ref().filter(|found| last.as_ref() != Some(*found)) {
            let most = humantime::format_duration(sessions.lock_wait());
            tracing::warn!(phase = %phase, "{found}: waiting for at most {most}");
        }
        last = found;
        pause = (pause * 2).min(LOOK_EVERY_MAX);
    }
}

/// What to do about a lock that is not to be had.
const ADVICE: &str = "End that transaction (pg_terminate_backend, or ROLLBACK PREPARED), run at a quieter hour, or raise lock_wait.";

/// The server's error about a lock says nothing of whose it is.
fn blame(error: Error, found: Option<Found>) -> Error {
    match found {
        _ if error.kind() != Kind::Lock => error,
        Some(found) => error.instead(format!("{found}: could not acquire the lock in time")).hint(ADVICE),
        None => error.hint(ADVICE),
    }
}

/// What our sessions wait for on both sides; `None` if they do not, or nobody can tell.
async fn in_the_way(sessions: &Sessions, ends: &[(Side, ConnInfo)]) -> Option<Found> {
    let mut found = Vec::new();
    for (side, info) in ends {
        match look(sessions, *side, info).await {
            Ok(more) => found.extend(more),
            Err(error) => {
                tracing::debug!(%error, "the sessions that hold locks on the {} cannot be read", side.name());
            }
        }
    }
    (!found.is_empty()).then(|| found.join("; "))
}

/// Tables, and who has them, for people.
type Found = String;

async fn look(sessions: &Sessions, side: Side, info: &ConnInfo) -> Result<Vec<Found>> {
    let session = session::connect(info, &sessions.watch(side)).await?;
    let rows = session
        .client
        .query(include_str!("lock_watch.sql"), &[&sessions.name()])
        .await
        .map_err(|e| Error::pg(Phase::Connect, "looking for sessions that hold locks", &e))?;
    Ok(rows.iter().map(|row| describe(row, side)).collect())
}

/// `public.t on the source is locked by pid 5 (psql, idle in transaction, transaction 3s old)`
fn describe(row: &Row, side: Side) -> Found {
    let age = Duration::from_secs_f64(row.get::<_, f64>("transaction_s").max(0.0).round());
    let age = humantime::format_duration(age);
    let who = match row.get::<_, Option<&str>>("gid") {
        Some(gid) => format!("the prepared transaction {gid} ({age} old)"),
        None => format!(
            "pid {} ({}, {}, transaction {age} old)",
            row.get::<_, i32>("pid"),
            row.get::<_, &str>("application"),
            row.get::<_, &str>("state"),
        ),
    };
    format!("{} on the {} is locked by {who}", row.get::<_, &str>("relation"), side.name())
}
