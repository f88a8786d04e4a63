//! A connection for COPY: the simple query protocol and CopyData, nothing else.
//!
//! tokio-postgres opens, authenticates and configures the session ([`crate::pg::session::open_stream`]); from there on the
//! bytes are ours. This saves a message per row through its channel on the way out, makes a server's error
//! visible while we are still sending, and lets rows go from one socket's buffer to the other's with one copy.
//!
//! Messages are as in the PostgreSQL manual, chapter 55 "Frontend/Backend Protocol".

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
/// After an error of the server the connection is idle again and its transaction, if any, is aborted. After a broken
/// socket, or when a future of this type was dropped half-way, it is unusable ([`Wire::is_usable`]).
pub struct Wire {
    io: Transport,
    cancel: CancelHandle,
    inbox: Inbox,
    phase: Phase,
    /// Who is at the other end, for messages: source and target fail with the same words.
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
    /// Takes over an idle connection. Its errors will be of `phase`.
    #[must_use]
    pub fn new(stream: Stream, phase: Phase) -> Self {
        let Stream { transport: io, cancel, label: peer, .. } = stream;
        Self { io, cancel, inbox: Inbox::new(), phase, peer, in_step: true }
    }

    /// The same connection, from which much will be read.
    ///
    /// # Errors
    /// [`Kind::Io`] if the system has no thread for it.
    pub fn tapped(self) -> Result<Self> {
        let phase = self.phase;
        let io =
            self.io.tapped().map_err(|e| Error::io(phase, "starting a thread to read a connection", &e))?;
        Ok(Self { io, ..self })
    }

    /// Cancels, from outside, what runs on this connection.
    #[must_use]
    pub fn cancel_handle(&self) -> CancelHandle {
        self.cancel.clone()
    }

    /// Whether client and server agree on where in the protocol they are.
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
                // A COPY has no place in plain statements: refuse it, the server answers with an error.
                b'G' => self.send_copy_fail("not expected here").await?,
                _ => {}
            }
        }
        match failed {
            Some(error) => Err(self.failed(error)),
            None => Ok(rows),
        }
    }

    /// Runs statements whose rows do not matter.
    ///
    /// # Errors
    /// As [`Wire::query`].
    pub async fn execute(&mut self, sql: &str) -> Result<()> {
        self.query(sql).await.map(drop)
    }

    /// Ends the session politely; a broken socket is no matter any more.
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

    /// Writes some bytes (`Some`), or, if the server has something to say, reads that (`None`).
    async fn write_or_hear(&mut self, bytes: &[u8]) -> Result<Option<usize>> {
        let Self { io, inbox, .. } = self;
        // Where nothing is to be read this costs no system call: the runtime remembers that the socket was empty.
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

    /// Reads until a whole message that is not a notice, a parameter or a notification has arrived.
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

    /// Reads what the socket has, at least one byte.
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
