//! Cancelling what runs on a connection, from outside of it.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;
use tokio_postgres::CancelToken;

use super::dial::Peer;
use super::transport::{HandshakeDone, Lent};

/// A request that takes longer than this is not worth waiting for: closing the connection does the rest.
const CANCEL_TIME_MAX: Duration = Duration::from_secs(5);

/// Asks a server to cancel the statement that runs on one connection (PostgreSQL manual, 55.2.8).
#[derive(Clone)]
pub struct CancelHandle {
    token: CancelToken,
    peer: Peer,
}

impl std::fmt::Debug for CancelHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CancelHandle").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl CancelHandle {
    pub(super) fn new(token: CancelToken, peer: Peer) -> Self {
        Self { token, peer }
    }

    /// Sends the request, over a connection of its own to the same address and with the same TLS, and waits until the
    /// server has taken it: a later statement is not hit by it.
    ///
    /// Whether a statement was running, and whether it was cancelled, cannot be known. A request that does not get
    /// through within five seconds is logged and forgotten.
    pub async fn cancel(&self) {
        match timeout(CANCEL_TIME_MAX, self.send()).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => tracing::debug!(peer = %self.peer.address, "cancel request failed: {why}"),
            Err(_) => tracing::debug!(peer = %self.peer.address, "cancel request timed out"),
        }
    }

    async fn send(&self) -> Result<(), String> {
        let transport = self.peer.dial().await.map_err(|error| format!("{error:?}"))?;
        let (lent, back) = Lent::new(transport);
        self.token
            .cancel_query_raw(lent, HandshakeDone)
            .await
            .map_err(|error| crate::error::chain(&error))?;
        // The server closes the connection after it has sent the signal.
        if let Ok(mut returned) = back.await {
            let _ = returned.transport.read_to_end(&mut Vec::new()).await;
        }
        Ok(())
    }
}
