//! A buffer of bytes from a server, and the messages in it.

use std::io;
use std::task::{Context, Poll, ready};

use crate::error::ServerError;
use crate::pg::copy_reader::Tap;

/// The most bytes of one read. A server sends 8 KiB at a time; one read takes several of these.
const INBOX_BYTES: usize = 128 * 1024;

/// The limit for messages other than CopyData: rows of our own queries and errors are small.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Bytes of a message's tag and length.
pub(super) const FRAME_BYTES: usize = 5;

/// A buffer of received bytes with a read position.
pub(super) struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

/// A message's first five bytes.
pub(super) struct Header {
    /// The message type.
    pub(super) tag: u8,
    /// Bytes of the whole message.
    pub(super) total: usize,
    /// Whether the message has arrived completely.
    pub(super) is_complete: bool,
}

/// A complete message.
pub(super) struct Message<'a> {
    /// The message type.
    pub(super) tag: u8,
    /// The bytes after the length.
    pub(super) body: &'a [u8],
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; INBOX_BYTES], start: 0, end: 0 }
    }

    /// Returns the bytes that have arrived and are not consumed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Returns the next message's header, if that has arrived.
    pub(super) fn peek(&self) -> Result<Option<Header>, String> {
        let [tag, a, b, c, d, ..] = *self.bytes() else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length < 4 {
            return Err(format!("a message of length {length}"));
        }
        let total = length + 1;
        Ok(Some(Header { tag, total, is_complete: self.bytes().len() >= total }))
    }

    /// Consumes bytes.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.start += bytes;
        debug_assert!(self.start <= self.end);
    }

    /// Consumes the next message, which must be complete.
    pub(super) fn take(&mut self) -> Message<'_> {
        let length = u32::from_be_bytes(
            self.buffer[self.start + 1..self.start + FRAME_BYTES].try_into().unwrap_or_default(),
        );
        let body = self.start + FRAME_BYTES..self.start + 1 + length as usize;
        let tag = self.buffer[self.start];
        self.start = body.end;
        Message { tag, body: &self.buffer[body] }
    }

    /// Returns space to read into: moves the remaining bytes to the front, and grows for a message that does not fit.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.end == self.buffer.len() {
                let grown = (self.buffer.len() * 2).min(MESSAGE_BYTES_MAX);
                self.buffer.resize(grown, 0);
            }
        }
        &mut self.buffer[self.end..]
    }

    /// Reads from a connection with its own reading thread, in exchange for this buffer. Returns the number of new bytes.
    pub(super) fn poll_exchange(&mut self, cx: &mut Context<'_>, tap: &mut Tap) -> Poll<io::Result<usize>> {
        let before = self.end - self.start;
        let filled = ready!(tap.poll_exchange(cx, &mut self.buffer, self.start..self.end))?;
        (self.start, self.end) = (filled.start, filled.end);
        Poll::Ready(Ok(filled.len() - before))
    }

    /// Records how much of [`Inbox::space`] was filled.
    pub(super) fn filled(&mut self, bytes: usize) {
        self.end += bytes;
    }
}

impl Message<'_> {
    /// Parses a DataRow as text.
    pub(super) fn text_row(&self) -> Result<Vec<Option<String>>, String> {
        let mut rest = self.body;
        let mut take = |n: usize| -> Result<&[u8], String> {
            let (head, tail) = rest.split_at_checked(n).ok_or("a truncated row")?;
            rest = tail;
            Ok(head)
        };
        let count = u16::from_be_bytes(take(2)?.try_into().unwrap_or_default());
        (0..count)
            .map(|_| {
                let length = i32::from_be_bytes(take(4)?.try_into().unwrap_or_default());
                let Ok(length) = usize::try_from(length) else { return Ok(None) };
                Ok(Some(String::from_utf8_lossy(take(length)?).into_owned()))
            })
            .collect()
    }

    /// Returns the row count at the end of a CommandComplete's tag, such as `COPY 42`.
    pub(super) fn row_count(&self) -> Option<u64> {
        let tag = std::str::from_utf8(self.body.strip_suffix(b"\0")?).ok()?;
        tag.rsplit(' ').next()?.parse().ok()
    }

    /// Parses an ErrorResponse (manual, 55.8).
    pub(super) fn server_error(&self) -> ServerError {
        let field = |wanted: u8| {
            self.body
                .split(|&b| b == 0)
                .find(|field| field.first() == Some(&wanted))
                .map(|field| String::from_utf8_lossy(&field[1..]).into_owned())
        };
        let (table, column, constraint) = (field(b't'), field(b'c'), field(b'n'));
        ServerError::from_fields(
            &field(b'C').unwrap_or_else(|| "XX000".to_owned()),
            field(b'M').unwrap_or_default(),
            field(b'H'),
            (table.as_deref(), column.as_deref(), constraint.as_deref()),
        )
        .detailed(field(b'D'))
        .within(field(b'W'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbox(bytes: &[u8]) -> Inbox {
        let mut inbox = Inbox::new();
        inbox.space()[..bytes.len()].copy_from_slice(bytes);
        inbox.filled(bytes.len());
        inbox
    }

    #[test]
    fn a_message_is_complete_only_with_its_last_byte() {
        let whole = b"C\0\0\0\x0cCOPY 42\0";
        for cut in 0..whole.len() {
            let header = inbox(&whole[..cut]).peek().unwrap();
            assert!(header.is_none_or(|header| !header.is_complete), "{cut}");
        }
        let mut inbox = inbox(whole);
        assert!(inbox.peek().unwrap().unwrap().is_complete);
        assert_eq!(inbox.take().row_count(), Some(42));
    }

    #[test]
    fn the_fields_of_an_error_are_read() {
        let mut error = inbox(b"E\0\0\0\x1eSERROR\0C23505\0Mtwice\0nt_pk\0\0");
        let error = error.take().server_error();
        assert_eq!((error.code.code(), error.message.as_str()), ("23505", "twice"));
        assert_eq!(error.object.as_deref(), Some("constraint t_pk"));
    }

    #[test]
    fn a_negative_length_is_refused() {
        assert!(inbox(b"D\0\0\0\x03").peek().is_err());
    }
}
