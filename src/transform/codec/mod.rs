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

    /// Splits whole rows of `offsets.columns()` fields each; `offsets` is emptied first. Where it is known where each of them
    /// ends, a row's fields are looked at only as far as their positions are kept.
    fn split(rows: &[u8], ends: Option<&[u32]>, offsets: &mut Offsets) -> Result<()>;

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
    /// The last field whose beginning is kept.
    last: usize,
    /// Per row the beginnings of the first items, then the end of the last one of all.
    words: Vec<u32>,
    filled: usize,
    /// From one row's first position to the next one's: one less than it has where a row begins right where the one before it
    /// ends, so that they share a position.
    stride: usize,
}

impl Offsets {
    /// For rows of so many fields, all of whose positions are kept.
    pub(super) fn new(columns: usize) -> Self {
        Self::up_to(columns.saturating_sub(1), columns)
    }

    /// For rows of so many fields, of which nobody asks where those after the field `last` begin.
    pub(super) fn up_to(last: usize, columns: usize) -> Self {
        Self { columns, last, words: Vec::new(), filled: 0, stride: last + 2 }
    }

    /// Whether the position of every field is kept.
    pub(super) fn are_all(&self) -> bool {
        self.last + 1 >= self.columns
    }

    /// Positions of a row.
    fn width(&self) -> usize {
        self.last + 2
    }

    /// Fields of a row.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// The rows, each as its positions.
    pub(super) fn rows(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        self.words[..self.filled].windows(self.width()).step_by(self.stride)
    }

    /// Forgets the rows. Positions are 32 bits: larger inputs are refused.
    fn clear(&mut self, bytes: usize) -> Result<()> {
        self.filled = 0;
        self.stride = self.width();
        if u32::try_from(bytes).is_err() {
            return Err(malformed(format_args!("a batch of {bytes} bytes")));
        }
        Ok(())
    }

    /// Says that every row begins where the one before it ends, and the first one at 0.
    fn rows_touch(&mut self) {
        self.stride = self.width() - 1;
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
        let positions = self.width();
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
