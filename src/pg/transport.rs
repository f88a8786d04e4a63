//! A connected byte stream to a server: TCP, Unix socket, or TLS over TCP.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::copy_reader::Tap;

/// TLS over TCP, as tokio-postgres-rustls creates it, with channel binding.
pub(super) type RustlsStream = <MakeRustlsConnect as MakeTlsConnect<TcpStream>>::Stream;

/// The byte stream to a server.
pub enum Transport {
    /// TCP in plain text.
    Tcp(TcpStream),
    /// A Unix socket. As in libpq, it does not use TLS.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(Box<RustlsStream>),
    /// TCP or a Unix socket in plain text, for bulk reading.
    Tapped(Tap),
}

impl Transport {
    /// Returns whether the traffic is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Returns the same transport, prepared for bulk reading. An encrypted one stays as it is.
    ///
    /// # Errors
    /// The socket cannot be detached from the runtime, or a thread cannot be started.
    pub fn tapped(self) -> io::Result<Self> {
        let socket: OwnedFd = match self {
            Self::Tcp(stream) => stream.into_std()?.into(),
            Self::Unix(stream) => stream.into_std()?.into(),
            Self::Tls(_) | Self::Tapped(_) => return Ok(self),
        };
        rustix::io::ioctl_fionbio(&socket, false)?;
        Tap::new(socket).map(Self::Tapped)
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp(_) => "Transport::Tcp",
            Self::Unix(_) => "Transport::Unix",
            Self::Tls(_) => "Transport::Tls",
            Self::Tapped(_) => "Transport::Tapped",
        })
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tapped(tap) => tap.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tapped(tap) => tap.poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tapped(tap) => tap.poll_write(cx, bufs.iter().find(|b| !b.is_empty()).map_or(&[], |b| b)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Tapped(_) => false,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tapped(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tapped(tap) => Poll::Ready(tap.shutdown()),
        }
    }
}

/// ReadyForQuery, outside a transaction: `Z`, length 5, `I`.
const READY_AND_IDLE: [u8; 6] = [b'Z', 0, 0, 0, 5, b'I'];

/// A transport that returns to its lender when the borrower, tokio-postgres, drops it.
///
/// Only the lender can close it: tokio-postgres closes the sending side right after a cancel request, and PgBouncer drops a
/// request whose sender has gone before it is passed on.
///
/// It remembers the last bytes read, so that the lender can prove that the borrower has nothing buffered.
pub(super) struct Lent {
    transport: Option<Transport>,
    tail: [u8; READY_AND_IDLE.len()],
    lender: Option<oneshot::Sender<Returned>>,
}

/// A transport that has been returned.
pub(super) struct Returned {
    /// The transport.
    pub(super) transport: Transport,
    /// Whether the last bytes read are a ReadyForQuery outside a transaction. tokio-postgres takes complete messages out of
    /// its read buffer as soon as they arrive, and after its query is answered it has nothing left to write. So both of its
    /// buffers are empty, and no message is cut in two.
    pub(super) is_idle: bool,
}

impl Lent {
    /// Lends a transport out. The receiver gets it back.
    pub(super) fn new(transport: Transport) -> (Self, oneshot::Receiver<Returned>) {
        let (sender, receiver) = oneshot::channel();
        (Self { transport: Some(transport), tail: [0; READY_AND_IDLE.len()], lender: Some(sender) }, receiver)
    }

    /// Returns the transport, which exists until the drop.
    fn inner(&mut self) -> io::Result<Pin<&mut Transport>> {
        self.transport.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn remember(&mut self, read: &[u8]) {
        let length = self.tail.len();
        if let Some(last) = read.last_chunk() {
            self.tail = *last;
        } else {
            self.tail.copy_within(read.len().., 0);
            self.tail[length - read.len()..].copy_from_slice(read);
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(transport), Some(lender)) = (self.transport.take(), self.lender.take()) {
            // If the lender is gone, the transport is closed here.
            let _ = lender.send(Returned { transport, is_idle: self.tail == READY_AND_IDLE });
        }
    }
}

impl AsyncRead for Lent {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let outcome = this.inner()?.poll_read(cx, buf);
        this.remember(&buf.filled()[before..]);
        outcome
    }
}

impl AsyncWrite for Lent {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().inner()?.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().inner()?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

impl TlsStream for Lent {
    fn channel_binding(&self) -> ChannelBinding {
        match &self.transport {
            Some(Transport::Tls(stream)) => stream.channel_binding(),
            _ => ChannelBinding::none(),
        }
    }
}

/// Tells tokio-postgres that TLS is already established: its "handshake" returns the stream unchanged.
pub(super) struct HandshakeDone;

impl TlsConnect<Lent> for HandshakeDone {
    type Stream = Lent;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Lent, Self::Error>>;

    fn connect(self, stream: Lent) -> Self::Future {
        std::future::ready(Ok(stream))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Returns the `is_idle` flag after a borrower has read `chunks` one by one.
    async fn idle_after(chunks: &[&[u8]]) -> bool {
        let (mine, mut theirs) = UnixStream::pair().unwrap();
        let (mut lent, back) = Lent::new(Transport::Unix(mine));
        for chunk in chunks {
            theirs.write_all(chunk).await.unwrap();
            let mut buf = vec![0; chunk.len()];
            lent.read_exact(&mut buf).await.unwrap();
        }
        drop(lent);
        back.await.unwrap().is_idle
    }

    #[tokio::test]
    async fn only_a_stream_that_ends_in_ready_for_query_counts_as_idle() {
        assert!(idle_after(&[b"C\0\0\0\x08SETZ\0\0\0\x05I"]).await);
        assert!(idle_after(&[b"C\0\0\0\x08SETZ\0", b"\0\0", b"\x05", b"I"]).await);
        assert!(!idle_after(&[b"Z\0\0\0\x05T"]).await, "in a transaction");
        assert!(!idle_after(&[b"Z\0\0\0\x05IN"]).await, "the first byte of a notice followed");
        assert!(!idle_after(&[]).await);
    }

    #[tokio::test]
    async fn a_transport_that_nobody_wants_back_is_closed() {
        let (mine, mut theirs) = UnixStream::pair().unwrap();
        let (lent, back) = Lent::new(Transport::Unix(mine));
        drop(back);
        drop(lent);
        assert_eq!(theirs.read(&mut [0; 8]).await.unwrap(), 0);
    }
}
