//! Splits a stream of COPY data, which arrives in arbitrary pieces, into batches of whole rows.
//!
//! This is the cheap pass that must see the stream in order: it strips header and trailer, counts rows, and completes
//! a row that spans several pieces. Its output can be processed in any order.

use std::ops::Range;

use memchr::{memchr, memchr_iter, memmem, memrchr};

use super::codec::binary::{
    COUNT_BYTES, HEADER, LENGTH_BYTES, SIGNATURE_BYTES, TRAILER, check_count, count_at, item_end,
};
use super::codec::{malformed, text};
use crate::batch::{Batch, BatchPool, Origin};
use crate::error::Result;
use crate::pg::format::Format;

/// Maximum length of a header extension that is skipped. PostgreSQL writes none.
const EXTENSION_BYTES_MAX: usize = 1 << 20;

/// Whole rows, without COPY's header and trailer.
#[derive(Debug)]
pub struct Rows {
    batch: Batch,
    range: Range<usize>,
    first: u64,
    rows: u64,
    /// Whether each message of the batch is one row.
    are_messages: bool,
}

impl Rows {
    /// The rows.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.batch.data()[self.range.clone()]
    }

    /// The ordinal of the first row in its stream, from 1.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The number of rows.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.rows
    }

    /// Where each row ends, if known.
    pub(super) fn ends(&self) -> Option<&[u32]> {
        self.are_messages.then(|| &self.batch.ends[..self.rows as usize])
    }

    /// The rows' locations if they come from a file, one per row.
    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.batch.origin.as_ref()
    }

    /// The batch that contains them, to be returned to its pool.
    #[must_use]
    pub fn into_batch(self) -> Batch {
        self.batch
    }
}

/// Splits one stream. Pass it every piece in order with [`RowCutter::cut`], then call [`RowCutter::finish`].
#[derive(Debug)]
pub struct RowCutter {
    format: Format,
    columns: usize,
    /// The header so far, until it is complete.
    header: Option<Vec<u8>>,
    /// The last piece, if it or an earlier one ends within a row; its whole rows end where `range` ends.
    pending: Option<Rows>,
    /// How much of the row at the end of `pending` was inspected.
    partial: Partial,
    /// The ordinal of the next row.
    next: u64,
    ended: bool,
}

/// How far the current row was parsed, so that a row in many pieces is inspected only once.
#[derive(Debug, Clone, Copy, Default)]
struct Partial {
    /// Start of the next item, relative to the row; 0 if the field count was not read yet.
    at: usize,
    /// Items left.
    left: usize,
}

/// The result of inspecting a row that began in an earlier piece.
enum Look {
    /// It needs this many more bytes before inspection can continue.
    More(usize),
    /// It is complete.
    Row,
    /// It was not a row but the trailer.
    End,
}

impl RowCutter {
    /// Returns a splitter for a stream of rows with `columns` fields.
    #[must_use]
    pub fn new(format: Format, columns: usize) -> Self {
        Self {
            format,
            columns,
            header: (format == Format::Binary).then(Vec::new),
            pending: None,
            partial: Partial::default(),
            next: 1,
            ended: false,
        }
    }

    /// Takes the next piece and appends complete batches to `ready`: none, an earlier piece, this one, or both.
    ///
    /// The last row of a piece is completed with the head of the next piece, so that only the bytes of that row are
    /// copied.
    ///
    /// # Errors
    /// The stream is not COPY data of this format with this number of fields.
    pub fn cut(&mut self, batch: Batch, pool: &BatchPool, ready: &mut Vec<Rows>) -> Result<()> {
        let mut start = self.take_header(batch.data())?;
        let are_messages =
            self.format == Format::Binary && start == 0 && self.pending.is_none() && !batch.ends.is_empty();
        if let Some(mut pending) = self.pending.take() {
            let Some(taken) = self.complete(&mut pending, &batch.data()[start..])? else {
                self.pending = Some(pending);
                pool.give_back(batch);
                return Ok(());
            };
            start += taken;
            hand_out(pending, pool, ready);
        }
        if self.ended && start < batch.len() {
            return Err(after_the_end());
        }
        let (end, rows) =
            if are_messages { self.whole_messages(&batch) } else { self.whole_rows(batch.data(), start)? };
        let is_whole = self.ended || end == batch.len();
        let rows = Rows { batch, range: start..end, first: self.next, rows, are_messages };
        self.next += rows.rows;
        if is_whole {
            hand_out(rows, pool, ready);
        } else {
            self.pending = Some(rows);
        }
        Ok(())
    }

    /// Ends the stream. Returns the remaining rows and the total number of rows.
    ///
    /// # Errors
    /// The stream ends within a row or before its trailer.
    pub fn finish(&mut self) -> Result<(Option<Rows>, u64)> {
        let rows = self.next - 1;
        let Some(pending) = self.pending.take() else {
            // A source without rows sends nothing at all in text format.
            let is_complete = self.ended || self.format == Format::Text;
            return if is_complete {
                Ok((None, rows))
            } else {
                Err(malformed("it ends without its trailer"))
            };
        };
        let tail = &pending.batch.data()[pending.range.end..];
        // The end marker of text may lack its newline.
        let is_marker = self.format == Format::Text && tail == &text::END_MARKER[..2];
        if is_marker {
            return Ok(((pending.rows > 0).then_some(pending), rows));
        }
        Err(malformed("it ends within a row"))
    }

    /// Returns the number of bytes of `data` that belong to the header.
    fn take_header(&mut self, data: &[u8]) -> Result<usize> {
        let Some(header) = &mut self.header else { return Ok(0) };
        let before = header.len();
        loop {
            let wanted = header_bytes(header)?;
            if header.len() == wanted {
                let taken = header.len() - before;
                self.header = None;
                return Ok(taken);
            }
            let at = header.len() - before;
            let more = &data[at..data.len().min(at + wanted - header.len())];
            if more.is_empty() {
                return Ok(at);
            }
            header.extend_from_slice(more);
        }
    }

    /// Moves the rest of `pending`'s last row from `data` to it. `None` if the row is still incomplete.
    fn complete(&mut self, pending: &mut Rows, data: &[u8]) -> Result<Option<usize>> {
        let mut taken = 0;
        loop {
            let look = match self.format {
                Format::Binary => self.look_binary(&pending.batch.data()[pending.range.end..])?,
                Format::Text => look_text(&pending.batch.data()[pending.range.end..], &data[taken..]),
            };
            match look {
                Look::More(_) if taken == data.len() => return Ok(None),
                Look::More(bytes) => {
                    let end = data.len().min(taken + bytes);
                    pending.batch.extend(&data[taken..end]);
                    taken = end;
                }
                Look::Row => {
                    pending.range.end = pending.batch.len();
                    pending.rows += 1;
                    self.next += 1;
                    return Ok(Some(taken));
                }
                Look::End => {
                    self.ended = true;
                    return Ok(Some(taken));
                }
            }
        }
    }

    fn look_binary(&mut self, row: &[u8]) -> Result<Look> {
        if self.partial.at == 0 {
            let Some(count) = count_at(row, 0) else { return Ok(Look::More(COUNT_BYTES - row.len())) };
            if row == TRAILER {
                return Ok(Look::End);
            }
            check_count(count, self.columns)?;
            self.partial = Partial { at: COUNT_BYTES, left: self.columns };
        }
        while self.partial.left > 0 {
            match item_end(row, self.partial.at) {
                Some(end) => self.partial = Partial { at: end?, left: self.partial.left - 1 },
                None => return Ok(Look::More(self.partial.at + LENGTH_BYTES - row.len())),
            }
        }
        match self.partial.at.checked_sub(row.len()) {
            Some(missing) if missing > 0 => Ok(Look::More(missing)),
            _ => Ok(Look::Row),
        }
    }

    /// Likewise, if row boundaries are known without inspection: a server sends one message per row (manual, 55.2.6
    /// "COPY Operations"). If it did not, the splitting of the rows fails, or the row count of the source differs in
    /// the end.
    fn whole_messages(&mut self, batch: &Batch) -> (usize, u64) {
        self.partial = Partial::default();
        let (end, rows) = (batch.len(), batch.ends.len() as u64);
        let last = batch.ends.iter().nth_back(1).map_or(0, |&end| end as usize);
        if batch.data()[last..] == *TRAILER {
            self.ended = true;
            return (last, rows - 1);
        }
        (end, rows)
    }

    /// Returns where the last whole row of `data` ends, and the number of rows from `start` on.
    fn whole_rows(&mut self, data: &[u8], start: usize) -> Result<(usize, u64)> {
        match self.format {
            Format::Binary => self.whole_binary(data, start),
            Format::Text => self.whole_text(data, start),
        }
    }

    fn whole_binary(&mut self, data: &[u8], start: usize) -> Result<(usize, u64)> {
        let (mut row, mut rows) = (start, 0);
        self.partial = Partial::default();
        while let Some(count) = count_at(data, row) {
            if data[row..row + COUNT_BYTES] == *TRAILER {
                self.ended = true;
                if row + COUNT_BYTES < data.len() {
                    return Err(after_the_end());
                }
                break;
            }
            check_count(count, self.columns)?;
            let mut at = row + COUNT_BYTES;
            for left in (0..self.columns).rev() {
                let Some(end) = item_end(data, at) else {
                    self.partial = Partial { at: at - row, left: left + 1 };
                    return Ok((row, rows));
                };
                at = end?;
            }
            if at > data.len() {
                self.partial = Partial { at: at - row, left: 0 };
                break;
            }
            row = at;
            rows += 1;
        }
        Ok((row, rows))
    }

    fn whole_text(&mut self, data: &[u8], start: usize) -> Result<(usize, u64)> {
        let Some(last) = memrchr(b'\n', &data[start..]) else { return Ok((start, 0)) };
        let end = start + last + 1;
        let lines = &data[start..end];
        let rows = memchr_iter(b'\n', lines).count() as u64;
        let marker = if lines.starts_with(text::END_MARKER) {
            Some(0)
        } else {
            memmem::find(lines, text::LINE_BEFORE_END_MARKER).map(|newline| newline + 1)
        };
        let Some(marker) = marker else { return Ok((end, rows)) };
        if start + marker + text::END_MARKER.len() < data.len() {
            return Err(after_the_end());
        }
        self.ended = true;
        Ok((start + marker, rows - 1))
    }
}

fn after_the_end() -> crate::Error {
    malformed("data after the end of the rows")
}

/// A row in text is complete at the first newline.
fn look_text(row: &[u8], more: &[u8]) -> Look {
    match row.last() {
        Some(b'\n') if row == text::END_MARKER => Look::End,
        Some(b'\n') => Look::Row,
        _ => Look::More(memchr(b'\n', more).map_or(more.len(), |at| at + 1)),
    }
}

/// Returns the length of the header, as far as its beginning tells.
fn header_bytes(header: &[u8]) -> Result<usize> {
    let known = header.len().min(SIGNATURE_BYTES);
    if header[..known] != HEADER[..known] {
        return Err(malformed("not the signature of binary COPY"));
    }
    let word = |at: usize| {
        header.get(at..at + LENGTH_BYTES).and_then(|word| word.try_into().ok()).map(u32::from_be_bytes)
    };
    // The upper half of the flags are critical ones; bit 16 marks the OIDs of old servers.
    if word(SIGNATURE_BYTES).is_some_and(|flags| flags >> 16 != 0) {
        return Err(malformed("critical flags in the header of binary COPY"));
    }
    match word(SIGNATURE_BYTES + LENGTH_BYTES) {
        None => Ok(HEADER.len()),
        Some(extension) if extension as usize <= EXTENSION_BYTES_MAX => Ok(HEADER.len() + extension as usize),
        Some(extension) => Err(malformed(format_args!("a header extension of {extension} bytes"))),
    }
}

fn hand_out(rows: Rows, pool: &BatchPool, ready: &mut Vec<Rows>) {
    if rows.rows > 0 {
        ready.push(rows);
    } else {
        pool.give_back(rows.batch);
    }
}
