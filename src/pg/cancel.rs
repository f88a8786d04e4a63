//! Cancels the statement that runs on a connection, from outside that connection.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;
use tokio_postgres::CancelToken;

use super::dial::Peer;
use super::transport::{HandshakeDone, Lent};

/// The longest time to wait for a request. After that, closing the connection has the same effect.
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

    /// Sends the request over a separate connection to the same address, with the same TLS, and waits until the server has
    /// accepted it, so that it cannot hit a later statement.
    ///
    /// The caller cannot know whether a statement was running and whether it was cancelled. A request that takes longer than
    /// five seconds is logged and dropped.
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
