//! A session without tokio-postgres: its bare, authenticated transport.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::{CancelHandle, SessionSettings, open};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::conninfo::ConnInfo;
use crate::pg::login::Login;
use crate::pg::transport::Transport;

/// How long sending Terminate may take.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(1);

/// An authenticated connection outside a transaction, on which the server waits for the next message.
///
/// Dropping it closes the socket without Terminate; the server then rolls back any open transaction.
#[derive(Debug)]
pub struct Stream {
    /// The byte stream. The next bytes from the server belong to the answer to the first message written, or are a message
    /// that a server may send at any time: ParameterStatus, NoticeResponse, or a last ErrorResponse.
    pub transport: Transport,
    /// Process ID of the backend.
    pub backend_pid: i32,
    /// Cancels the running statement.
    pub cancel: CancelHandle,
    /// `server_version_num`, for example 150004.
    pub server_version: u32,
    /// `host:port/database`, for messages.
    pub label: String,
}

impl Stream {
    /// Sends Terminate and closes. The stream must be between two statements.
    pub async fn close(mut self) {
        let farewell = async {
            let mut terminate = bytes::BytesMut::new();
            postgres_protocol::message::frontend::terminate(&mut terminate);
            self.transport.write_all(&terminate).await?;
            self.transport.shutdown().await
        };
        if let Ok(Err(error)) = timeout(FAREWELL_TIME_MAX, farewell).await {
            tracing::debug!(label = self.label, "could not send Terminate: {error}");
        }
    }
}

/// Opens a session as [`super::connect`] does and takes over its transport.
///
/// # Errors
/// As for [`super::connect`]; also a transient error if the server sends data of its own accord during the takeover.
pub async fn open_stream(info: &ConnInfo, settings: &SessionSettings) -> Result<Stream> {
    let Login { client, wire, back, facts, cancel, label } = open(info, settings).await?;
    // The wire is dropped first and not polled again: without its client it would send Terminate.
    drop(wire);
    drop(client);
    let returned = back.await.map_err(|_| {
        Error::new(Phase::Connect, Kind::Internal, format!("could not take over the connection to {label}"))
    })?;
    if !returned.is_idle {
        return Err(Error::new(
            Phase::Connect,
            Kind::Transient,
            format!("{label} sent unexpected data while its connection was being taken over"),
        ));
    }
    Ok(Stream {
        transport: returned.transport,
        backend_pid: facts.backend_pid,
        cancel,
        server_version: facts.server_version,
        label,
    })
}
