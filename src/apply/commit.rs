//! Commits a group, and finds out whether the commit succeeded if the reply is lost.

use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;

use super::{Context, Outcome};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::session::{self, Session};

/// How long to ask for the status of a transaction whose COMMIT got no reply.
const RESOLVE_WAIT: Duration = Duration::from_secs(60);

/// Pause between two such queries.
const PAUSE: Duration = Duration::from_millis(200);

/// Returns the ID of the session's transaction.
pub(super) async fn transaction_id(session: &Session) -> Result<String> {
    let sql = if session.server_version >= 130_000 {
        "select pg_catalog.pg_current_xact_id()::text"
    } else {
        "select pg_catalog.txid_current()::text"
    };
    let row = session
        .client
        .query_one(sql, &[])
        .await
        .map_err(|e| Error::pg(Phase::Apply, "reading the transaction's id", &e))?;
    Ok(row.get(0))
}

/// Commits. If the reply is lost, asks the server whether the transaction committed.
pub(super) async fn commit(
    context: &Context<'_>,
    session: &Session,
    xid: &str,
    outcomes: &[Outcome],
) -> Result<()> {
    let Err(error) = session.client.batch_execute("commit").await else { return Ok(()) };
    let error = Error::pg(Phase::Apply, "committing", &error);
    if !error.is_transient() {
        return Err(error);
    }
    tracing::warn!(phase = %Phase::Apply, %error, "no reply to the commit: asking the server for the transaction's status");
    let until = Instant::now() + RESOLVE_WAIT;
    loop {
        match is_committed(context, xid, outcomes).await {
            Ok(Some(true)) => return Ok(()),
            Ok(Some(false)) => return Err(error),
            // The transaction is still in progress, or the server is not back yet.
            Ok(None) => {}
            Err(e) if e.is_transient() => {}
            Err(e) => return Err(e),
        }
        if Instant::now() > until {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(Error::new(
        Phase::Apply,
        Kind::Server,
        format!("no reply to the commit, and the status of transaction {xid} is unknown"),
    )
    .hint("Check the table. Running again is safe in either case."))
}

/// Returns whether a transaction committed; `None` while it is in progress.
///
/// Its ID tells only whether it has ended. After a crash the server may not know the transaction at all; its ID is then in
/// the future (22023), or belongs to another transaction. The transaction's own records exist exactly if it committed.
async fn is_committed(context: &Context<'_>, xid: &str, outcomes: &[Outcome]) -> Result<Option<bool>> {
    let session = session::connect(context.connect, context.settings).await?;
    let sql = if session.server_version >= 130_000 {
        format!("select pg_catalog.pg_xact_status('{xid}'::pg_catalog.xid8)")
    } else {
        format!("select pg_catalog.txid_status({xid})")
    };
    let goes_on = match session.client.query_one(&sql, &[]).await {
        Ok(row) => row.get::<_, Option<&str>>(0) == Some("in progress"),
        Err(e) if e.code() == Some(&SqlState::INVALID_PARAMETER_VALUE) => false,
        Err(e) => return Err(Error::pg(Phase::Apply, "reading the transaction's status", &e)),
    };
    if goes_on {
        return Ok(None);
    }
    context.books.is_recorded(&session.client, outcomes).await.map(Some)
}
