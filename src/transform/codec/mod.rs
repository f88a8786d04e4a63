//! The two formats of COPY data behind one interface.
//!
//! A row is split into *items*, one per field: in binary a length word and the value, in text the value and the tab
//! or newline that ends it. Items of adjacent fields touch each other, so a run of unchanged fields is one slice and
//! is copied with one append.

pub(super) mod binary;
pub(super) mod text;

use crate::error::{Error, Kind, Phase, Result};
use crate::pg::format::Format;

pub(super) use binary::Binary;
pub(super) use text::Text;

/// Returns the error for malformed COPY data. Malformed data is reported and never causes an out-of-bounds access.
pub(super) fn malformed(what: impl std::fmt::Display) -> Error {
    Error::new(Phase::Load, Kind::Internal, format!("malformed COPY data: {what}"))
}

/// Returns the beginning of COPY data: in binary its signature, without flags and extension.
#[must_use]
pub fn header(format: Format) -> &'static [u8] {
    match format {
        Format::Binary => binary::HEADER,
        Format::Text => b"",
    }
}

/// Returns the end of COPY data.
#[must_use]
pub fn trailer(format: Format) -> &'static [u8] {
    match format {
        Format::Binary => binary::TRAILER,
        Format::Text => b"",
    }
}

/// A format of COPY data.
pub(super) trait Codec {
    /// The format.
    const FORMAT: Format;

    /// Length in bytes of a row's header before its first item.
    const ROW_BEGIN_BYTES: usize;

    /// Splits whole rows of `offsets.columns()` fields each; `offsets` is cleared first. If the end of each row is
    /// known, a row's fields are inspected only as far as their positions are kept.
    fn split(rows: &[u8], ends: Option<&[u32]>, offsets: &mut Offsets) -> Result<()>;

    /// Returns the value of an item, `None` for NULL.
    fn value(item: &[u8]) -> Option<&[u8]>;

    /// Returns the header before a row's items.
    fn begin_row(columns: u16, out: &mut Vec<u8>);

    /// Appends an item. In text it ends with a tab: [`Codec::end_row`] corrects the last one.
    fn put(value: Option<&[u8]>, out: &mut Vec<u8>);

    /// Corrects the end of an item that was copied from the end of one row to the middle of another.
    fn end_item(out: &mut [u8]);

    /// Completes a row.
    fn end_row(out: &mut [u8]);
}

/// The start and end positions of items of many rows. Reused from batch to batch, so that splitting does not
/// allocate.
#[derive(Debug)]
pub(super) struct Offsets {
    columns: usize,
    /// The last field whose start is kept.
    last: usize,
    /// For each row the starts of the first items, then the end of the last item.
    words: Vec<u32>,
    filled: usize,
    /// Distance from one row's first position to that of the next: one less than the positions of a row if rows are
    /// adjacent and share a position.
    stride: usize,
}

impl Offsets {
    /// Returns offsets for rows of `columns` fields, keeping all positions.
    pub(super) fn new(columns: usize) -> Self {
        Self::up_to(columns.saturating_sub(1), columns)
    }

    /// Returns offsets for rows of `columns` fields, keeping no starts after those of field `last`.
    pub(super) fn up_to(last: usize, columns: usize) -> Self {
        Self { columns, last, words: Vec::new(), filled: 0, stride: last + 2 }
    }

    /// Returns whether the position of every field is kept.
    pub(super) fn are_all(&self) -> bool {
        self.last + 1 >= self.columns
    }

    /// Number of positions of a row.
    fn width(&self) -> usize {
        self.last + 2
    }

    /// Number of fields of a row.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// Iterates over the rows, each as its positions.
    pub(super) fn rows(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        self.words[..self.filled].windows(self.width()).step_by(self.stride)
    }

    /// Clears the rows. Positions are 32 bits: larger inputs are refused.
    fn clear(&mut self, bytes: usize) -> Result<()> {
        self.filled = 0;
        self.stride = self.width();
        if u32::try_from(bytes).is_err() {
            return Err(malformed(format_args!("a batch of {bytes} bytes")));
        }
        Ok(())
    }

    /// Declares that rows are adjacent and that the first one starts at 0.
    fn rows_touch(&mut self) {
        self.stride = self.width() - 1;
        let [first] = self.next_positions(1);
        *first = 0;
    }

    /// Number of positions written.
    fn positions(&self) -> usize {
        self.filled
    }

    /// Returns space for the next row; grows by many rows at a time.
    #[inline]
    fn next_row(&mut self) -> &mut [u32] {
        let positions = self.width();
        self.grow(positions);
        let start = self.filled;
        self.filled += positions;
        &mut self.words[start..self.filled]
    }

    /// Returns space for the next `N` positions, of which `count` are kept.
    #[inline]
    fn next_positions<const N: usize>(&mut self, count: usize) -> &mut [u32; N] {
        self.grow(N);
        let (slots, _) = self.words[self.filled..].as_chunks_mut();
        self.filled += count.min(N);
        &mut slots[0]
    }

    #[inline]
    fn grow(&mut self, more: usize) {
        if self.filled + more > self.words.len() {
            self.words.resize((2 * self.words.len()).max(self.filled + more).max(1024), 0);
        }
    }
}

/// Converts a position to the stored form; [`Offsets::clear`] has checked that it fits.
fn position(at: usize) -> u32 {
    at as u32
}
