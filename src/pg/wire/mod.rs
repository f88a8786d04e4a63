//! A connection for COPY that speaks only the simple query protocol and CopyData.
//!
//! tokio-postgres opens, authenticates and configures the session ([`crate::pg::session::open_stream`]); then this module
//! takes over the bytes. This saves one channel message per row on the way out, shows a server's error while we are still
//! sending, and moves rows from one socket's buffer to the other's with a single copy.
//!
//! Messages are described in the PostgreSQL manual, chapter 55 "Frontend/Backend Protocol".

mod copy;
mod inbox;
mod pipelined_copy;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};

pub use copy::{CopyIn, CopyOut};
pub(crate) use pipelined_copy::Trials;

use inbox::{Inbox, Message};

use crate::error::{Error, Kind, Phase, Result, ServerError};
use crate::pg::session::{CancelHandle, Stream};
use crate::pg::transport::Transport;

/// One row of a simple query's result, as text.
pub type TextRow = Vec<Option<String>>;

/// An authenticated connection that speaks the simple query protocol and COPY.
///
/// After a server error the connection is idle again, and its transaction, if any, is aborted. After a broken socket, or when
/// a future of this type was dropped before completion, it is unusable ([`Wire::is_usable`]).
pub struct Wire {
    io: Transport,
    cancel: CancelHandle,
    inbox: Inbox,
    phase: Phase,
    /// The server's address, for messages: source and target report the same errors.
    peer: String,
    in_step: bool,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire")
            .field("phase", &self.phase)
            .field("peer", &self.peer)
            .field("in_step", &self.in_step)
            .finish_non_exhaustive()
    }
}

impl Wire {
    /// Takes over an idle connection. Its errors have the phase `phase`.
    #[must_use]
    pub fn new(stream: Stream, phase: Phase) -> Self {
        let Stream { transport: io, cancel, label: peer, .. } = stream;
        Self { io, cancel, inbox: Inbox::new(), phase, peer, in_step: true }
    }

    /// Returns the same connection, prepared for bulk reading.
    ///
    /// # Errors
    /// [`Kind::Io`] if the system cannot start a thread.
    pub fn tapped(self) -> Result<Self> {
        let phase = self.phase;
        let io =
            self.io.tapped().map_err(|e| Error::io(phase, "starting a thread to read a connection", &e))?;
        Ok(Self { io, ..self })
    }

    /// Returns a handle that cancels the running statement from elsewhere.
    #[must_use]
    pub fn cancel_handle(&self) -> CancelHandle {
        self.cancel.clone()
    }

    /// Returns whether client and server agree on the protocol state.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.in_step
    }

    /// Runs statements, separated by semicolons, and returns the rows of all of them.
    ///
    /// # Errors
    /// The first error that the server reports, or a broken socket.
    pub async fn query(&mut self, sql: &str) -> Result<Vec<TextRow>> {
        self.send_query(sql).await?;
        let mut rows = Vec::new();
        let mut failed = None;
        loop {
            let message = match (self.receive().await, &failed) {
                (Ok(message), _) => message,
                (Err(_), Some(_)) => break,
                (Err(broken), None) => return Err(broken),
            };
            match message.tag {
                b'D' => rows.push(message.text_row().map_err(|e| self.protocol(&e))?),
                b'E' => failed = failed.or(Some(message.server_error())),
                b'Z' => {
                    self.in_step = true;
                    break;
                }
                // Plain statements must not contain COPY: refusing it makes the server report an error.
                b'G' => self.send_copy_fail("not expected here").await?,
                _ => {}
            }
        }
        match failed {
            Some(error) => Err(self.failed(error)),
            None => Ok(rows),
        }
    }

    /// Runs statements and discards their rows.
    ///
    /// # Errors
    /// As [`Wire::query`].
    pub async fn execute(&mut self, sql: &str) -> Result<()> {
        self.query(sql).await.map(drop)
    }

    /// Sends Terminate and closes; errors no longer matter.
    pub async fn close(mut self) {
        let mut message = BytesMut::new();
        frontend::terminate(&mut message);
        let _ = self.io.write_all(&message).await;
        let _ = self.io.shutdown().await;
    }

    async fn send_query(&mut self, sql: &str) -> Result<()> {
        debug_assert!(self.in_step, "a connection in an unknown protocol state was used");
        let mut message = BytesMut::new();
        frontend::query(sql, &mut message)
            .map_err(|e| Error::new(self.phase, Kind::Internal, format!("cannot send a statement: {e}")))?;
        self.in_step = false;
        self.write(&message).await
    }

    async fn send_copy_fail(&mut self, reason: &str) -> Result<()> {
        let mut message = BytesMut::new();
        frontend::copy_fail(reason, &mut message).map_err(|e| self.broken(&e))?;
        self.write(&message).await
    }

    /// Writes some bytes (`Some`), or reads if the server has sent something (`None`).
    async fn write_or_hear(&mut self, bytes: &[u8]) -> Result<Option<usize>> {
        let Self { io, inbox, .. } = self;
        // Without data to read this costs no system call: the runtime remembers that the socket was empty.
        let outcome = poll_fn(|cx| {
            let mut space = ReadBuf::new(inbox.space());
            match Pin::new(&mut *io).poll_read(cx, &mut space) {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok((None, space.filled().len()))),
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => {}
            }
            Pin::new(&mut *io).poll_write(cx, bytes).map_ok(|n| (Some(n), 0))
        });
        match outcome.await.map_err(|e| self.broken(&e))? {
            (Some(0), _) | (None, 0) => Err(self.closed()),
            (Some(written), _) => Ok(Some(written)),
            (None, read) => {
                self.inbox.filled(read);
                Ok(None)
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = async {
            self.io.write_all(bytes).await?;
            self.io.flush().await
        };
        written.await.map_err(|e| self.broken(&e))
    }

    /// Reads until a complete message has arrived that is not a notice, a parameter or a notification.
    async fn receive(&mut self) -> Result<Message<'_>> {
        loop {
            match self.inbox.peek() {
                Ok(Some(header)) if matches!(header.tag, b'N' | b'S' | b'A') && header.is_complete => {
                    self.inbox.skip(header.total);
                }
                Ok(Some(header)) if header.is_complete => break,
                Ok(_) => self.fill().await?,
                Err(e) => return Err(self.protocol(&e)),
            }
        }
        Ok(self.inbox.take())
    }

    /// Reads the available bytes of the socket, at least one.
    async fn fill(&mut self) -> Result<()> {
        let Self { io, inbox, .. } = self;
        let read = poll_fn(|cx| match io {
            Transport::Tapped(tap) => inbox.poll_exchange(cx, tap),
            _ => {
                let mut space = ReadBuf::new(inbox.space());
                ready!(Pin::new(&mut *io).poll_read(cx, &mut space))?;
                let bytes = space.filled().len();
                inbox.filled(bytes);
                Poll::Ready(Ok(bytes))
            }
        });
        match read.await {
            Ok(0) => Err(self.closed()),
            Ok(_) => Ok(()),
            Err(e) => Err(self.broken(&e)),
        }
    }

    fn failed(&self, error: ServerError) -> Error {
        Error::server(self.phase, &self.peer, error)
    }

    fn broken(&self, error: &std::io::Error) -> Error {
        Error::socket(self.phase, format!("the connection to {} broke", self.peer), error)
    }

    fn closed(&self) -> Error {
        Error::new(self.phase, Kind::Transient, format!("{} closed the connection", self.peer))
    }

    fn protocol(&self, what: &str) -> Error {
        Error::new(self.phase, Kind::Transient, format!("{} sent an unexpected message: {what}", self.peer))
    }
}
