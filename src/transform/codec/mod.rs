//! The two forms of COPY data, behind one interface.
//!
//! A row is split into *items*, one per field: in binary a length word and the value, in text the value and the tab or
//! newline that ends it. Items of neighbouring fields touch each other, so a run of fields that are left alone is one
//! slice, and copying it is one append.

pub(super) mod binary;
pub(super) mod text;

use crate::error::{Error, Kind, Phase, Result};
use crate::pg::format::Format;

pub(super) use binary::Binary;
pub(super) use text::Text;

/// COPY data that is not what COPY makes: told, never indexed out of bounds.
pub(super) fn malformed(what: impl std::fmt::Display) -> Error {
    Error::new(Phase::Load, Kind::Internal, format!("malformed COPY data: {what}"))
}

/// What COPY data starts with: in binary its signature, no flags and no extension.
#[must_use]
pub fn header(format: Format) -> &'static [u8] {
    match format {
        Format::Binary => binary::HEADER,
        Format::Text => b"",
    }
}

/// What COPY data ends with.
#[must_use]
pub fn trailer(format: Format) -> &'static [u8] {
    match format {
        Format::Binary => binary::TRAILER,
        Format::Text => b"",
    }
}

/// A form of COPY data.
pub(super) trait Codec {
    /// Which one.
    const FORMAT: Format;

    /// Bytes of a row before its first item.
    const ROW_BEGIN_BYTES: usize;

    /// Splits whole rows of `offsets.columns()` fields each; `offsets` is emptied first.
    fn split(rows: &[u8], offsets: &mut Offsets) -> Result<()>;

    /// The value in an item, `None` for NULL.
    fn value(item: &[u8]) -> Option<&[u8]>;

    /// What goes before a row's items.
    fn begin_row(columns: u16, out: &mut Vec<u8>);

    /// Appends an item. In text it ends with a tab: [`Codec::end_row`] corrects the last one.
    fn put(value: Option<&[u8]>, out: &mut Vec<u8>);

    /// Corrects the end of an item that was copied from the end of a row to the middle of another.
    fn end_item(out: &mut [u8]);

    /// Completes a row.
    fn end_row(out: &mut [u8]);
}

/// Where the items of many rows begin and end. Kept from batch to batch, so that splitting does not allocate.
#[derive(Debug)]
pub(super) struct Offsets {
    columns: usize,
    /// Per row `columns + 1` positions: the beginning of each item, then the end of the last one.
    words: Vec<u32>,
    filled: usize,
    /// From one row's first position to the next one's: `columns` where a row begins right where the one before it
    /// ends, so that they share a position.
    stride: usize,
}

impl Offsets {
    /// For rows of so many fields.
    pub(super) fn new(columns: usize) -> Self {
        Self { columns, words: Vec::new(), filled: 0, stride: columns + 1 }
    }

    /// Fields of a row.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// The rows, each as its `columns + 1` positions.
    pub(super) fn rows(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        self.words[..self.filled].windows(self.columns + 1).step_by(self.stride)
    }

    /// Forgets the rows. Positions are 32 bits: larger inputs are refused.
    fn clear(&mut self, bytes: usize) -> Result<()> {
        self.filled = 0;
        self.stride = self.columns + 1;
        if u32::try_from(bytes).is_err() {
            return Err(malformed(format_args!("a batch of {bytes} bytes")));
        }
        Ok(())
    }

    /// Says that every row begins where the one before it ends, and the first one at 0.
    fn rows_touch(&mut self) {
        self.stride = self.columns;
        let [first] = self.next_positions(1);
        *first = 0;
    }

    /// Positions that were put down.
    fn positions(&self) -> usize {
        self.filled
    }

    /// Room for the next row; grown by many rows at once.
    #[inline]
    fn next_row(&mut self) -> &mut [u32] {
        let positions = self.columns + 1;
        self.grow(positions);
        let start = self.filled;
        self.filled += positions;
        &mut self.words[start..self.filled]
    }

    /// Room for the next `N` positions, of which `count` are taken.
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

/// A position as [`Offsets`] keeps it; [`Offsets::clear`] made sure that it fits.
fn position(at: usize) -> u32 {
    at as u32
}
