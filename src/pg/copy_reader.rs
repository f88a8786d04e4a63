//! Reads a socket in a separate thread, for bulk transfers of rows.
//!
//! A server sends COPY data 8 KiB at a time. If each piece woke a task that waits for the socket, the wake-ups would be most
//! of the cost of passing rows on, for both sides. So after receiving some bytes the reader pauses briefly: nothing is woken
//! meanwhile, and the next read takes everything that has arrived.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc as free;
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use tokio::io::ReadBuf;
use tokio::sync::mpsc;
use tokio::time::Sleep;

/// The size of a chunk that is handed over.
const CHUNK_BYTES: usize = 96 * 1024;

/// Chunks that wait to be taken.
const CHUNKS: usize = 2;

/// Free space before the received bytes, for the beginning of a message that ends in them.
const HEAD_BYTES: usize = 16 * 1024;

/// Less than this is an answer that a caller waits for, not a stream of rows.
const STREAM_BYTES: usize = 4 * 1024;

/// With this much data a chunk is handed over.
const ENOUGH_BYTES: usize = 64 * 1024;

/// How long incoming data may accumulate. A Unix socket holds what the fastest server sends in twice this time.
const REST: Duration = Duration::from_micros(300);

/// The interval for retrying a write to a peer that reads nothing. This does not happen with statements, for which a server
/// waits.
const RETRY: Duration = Duration::from_millis(1);

/// A plain socket that a thread reads. The thread ends when this is dropped.
pub struct Tap {
    socket: Arc<OwnedFd>,
    chunks: mpsc::Receiver<io::Result<Chunk>>,
    /// The chunk being consumed.
    chunk: Chunk,
    /// Returns buffers to the reader.
    empties: free::Sender<Vec<u8>>,
    retry: Option<Pin<Box<Sleep>>>,
}

/// Received bytes.
#[derive(Debug, Default)]
struct Chunk {
    /// Longer than its contents, so that it need not be cleared for the next bytes.
    buffer: Vec<u8>,
    /// The end of the consumed bytes.
    start: usize,
    /// The end of the received bytes.
    end: usize,
}

impl Tap {
    /// Starts reading a blocking socket.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = Arc::new(socket);
        let (sender, chunks) = mpsc::channel(CHUNKS);
        let (empties, emptied) = free::channel();
        let reader = Reader { socket: socket.clone(), chunks: sender, emptied };
        thread::Builder::new().name("copy-out".to_owned()).spawn(move || reader.run())?;
        Ok(Self { socket, chunks, chunk: Chunk::default(), empties, retry: None })
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_chunk(cx))?;
        let Chunk { buffer, start, end } = &mut self.chunk;
        let bytes = (*end - *start).min(buf.remaining());
        buf.put_slice(&buffer[*start..*start + bytes]);
        *start += bytes;
        Poll::Ready(Ok(()))
    }

    /// Reads by exchanging a buffer for the next one. The `rest` of the bytes in the old buffer is placed in front of the new
    /// ones, so that few bytes are copied. Returns the range of all of them; only the rest at the end of the stream.
    pub(super) fn poll_exchange(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut Vec<u8>,
        rest: Range<usize>,
    ) -> Poll<io::Result<Range<usize>>> {
        ready!(self.poll_chunk(cx))?;
        let chunk = &mut self.chunk;
        if chunk.start == chunk.end {
            return Poll::Ready(Ok(rest));
        }
        let rest = &buffer[rest];
        if rest.len() > chunk.start {
            // The rest is longer than the space reserved for it.
            let joined = [rest, &chunk.buffer[chunk.start..chunk.end]].concat();
            (chunk.start, chunk.end) = (0, joined.len());
            chunk.buffer = joined;
        } else {
            let start = chunk.start - rest.len();
            chunk.buffer[start..chunk.start].copy_from_slice(rest);
            chunk.start = start;
        }
        std::mem::swap(buffer, &mut chunk.buffer);
        let all = chunk.start..chunk.end;
        (chunk.start, chunk.end) = (0, 0);
        Poll::Ready(Ok(all))
    }

    /// Waits until the chunk holds data or the stream has ended.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.chunk.start == self.chunk.end {
            let Some(chunk) = ready!(self.chunks.poll_recv(cx)) else { break };
            let empty = std::mem::replace(&mut self.chunk, chunk?);
            // A reader that has ended needs no buffers.
            let _ = self.empties.send(empty.buffer);
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            match send(&*self.socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let retry = self.retry.get_or_insert_with(|| Box::pin(tokio::time::sleep(RETRY)));
                    ready!(retry.as_mut().poll(cx));
                    self.retry = None;
                }
                sent => return Poll::Ready(sent.map_err(io::Error::from)),
            }
        }
    }

    pub(super) fn shutdown(&self) -> io::Result<()> {
        Ok(shutdown(&*self.socket, Shutdown::Write)?)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        // Ends the reader, which has no consumer left.
        let _ = shutdown(&*self.socket, Shutdown::Both);
    }
}

/// The reading thread.
struct Reader {
    socket: Arc<OwnedFd>,
    chunks: mpsc::Sender<io::Result<Chunk>>,
    emptied: free::Receiver<Vec<u8>>,
}

impl Reader {
    fn run(self) {
        loop {
            let chunk = self.chunk();
            let (is_end, is_broken) =
                (chunk.as_ref().is_ok_and(|chunk| chunk.end == chunk.start), chunk.is_err());
            if is_end || self.chunks.blocking_send(chunk).is_err() || is_broken {
                return;
            }
        }
    }

    /// Returns the received bytes, at least one; none at the end of the stream.
    fn chunk(&self) -> io::Result<Chunk> {
        let mut buffer = self.emptied.try_recv().unwrap_or_default();
        buffer.resize(HEAD_BYTES + CHUNK_BYTES, 0);
        let room = &mut buffer[HEAD_BYTES..];
        let mut bytes = self.receive(room, RecvFlags::empty())?;
        while (STREAM_BYTES..ENOUGH_BYTES).contains(&bytes) {
            thread::sleep(REST);
            match self.receive(&mut room[bytes..], RecvFlags::DONTWAIT) {
                // The next read reports the end or the error again.
                Ok(0) | Err(_) => break,
                Ok(more) => bytes += more,
            }
        }
        Ok(Chunk { buffer, start: HEAD_BYTES, end: HEAD_BYTES + bytes })
    }

    fn receive(&self, into: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
        loop {
            match recv(&*self.socket, &mut *into, flags) {
                Err(Errno::INTR) => {}
                received => return Ok(received.map(|(bytes, _)| bytes)?),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::pg::transport::Transport;

    fn tapped() -> (Transport, UnixStream) {
        let (mine, theirs) = UnixStream::pair().unwrap();
        (Transport::Tapped(Tap::new(mine.into()).unwrap()), theirs)
    }

    #[tokio::test]
    async fn bytes_come_as_they_were_sent_until_the_end() {
        let (mut tap, mut theirs) = tapped();
        let sent: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let server = {
            let sent = sent.clone();
            // First in the pieces that a server sends, then in part of them.
            thread::spawn(move || sent.chunks(8192).for_each(|bytes| theirs.write_all(bytes).unwrap()))
        };
        let mut got = Vec::new();
        tap.read_to_end(&mut got).await.unwrap();
        server.join().unwrap();
        assert!(got == sent);
    }

    #[tokio::test]
    async fn what_was_not_taken_stands_before_what_comes_next_however_much_it_is() {
        let (mine, mut theirs) = UnixStream::pair().unwrap();
        let mut tap = Tap::new(mine.into()).unwrap();
        let sent: Vec<u8> = (0..500_000_u32).flat_map(u32::to_le_bytes).collect();
        let server = {
            let sent = sent.clone();
            thread::spawn(move || sent.chunks(8192).for_each(|bytes| theirs.write_all(bytes).unwrap()))
        };
        let (mut buffer, mut held, mut got) = (vec![0; 10], 0..0, Vec::new());
        // The rest grows beyond the space reserved for it.
        for left in (0_usize..).map(|round| round * 3000) {
            let before = held.len();
            held = poll_fn(|cx| tap.poll_exchange(cx, &mut buffer, held.clone())).await.unwrap();
            if held.len() == before {
                break;
            }
            let taken = held.len().saturating_sub(left);
            got.extend_from_slice(&buffer[held.start..held.start + taken]);
            held.start += taken;
        }
        got.extend_from_slice(&buffer[held]);
        server.join().unwrap();
        assert!(got == sent);
    }

    #[tokio::test]
    async fn what_does_not_fit_is_sent_when_it_does() {
        let (mut tap, mut theirs) = tapped();
        let server = thread::spawn(move || {
            let mut got = Vec::new();
            theirs.read_to_end(&mut got).map(|_| got)
        });
        tap.write_all(&vec![7; 5_000_000]).await.unwrap();
        tap.shutdown().await.unwrap();
        assert!(server.join().unwrap().unwrap() == vec![7; 5_000_000]);
    }

    #[tokio::test]
    async fn nobody_reads_any_more_when_it_is_dropped() {
        let (tap, mut theirs) = tapped();
        drop(tap);
        // The reader's share of the socket is closed with it.
        assert_eq!(theirs.read(&mut [0; 8]).unwrap(), 0);
        assert!(theirs.write_all(&[0; 8]).is_err());
    }
}
