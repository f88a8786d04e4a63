//! COPY text format (PostgreSQL manual, COPY, "Text Format").
//!
//! A row is a line with tab-separated fields, and NULL is `\N`. A server escapes every tab, newline and carriage
//! return within a field, so rows can be split without inspecting backslashes.

use memchr::memchr_iter;

use super::{Codec, Offsets, malformed, position};
use crate::error::Result;
use crate::pg::format::Format;

/// NULL.
pub(in crate::transform) const NULL: &[u8] = b"\\N";

/// The line with which old servers and files end their rows.
pub(in crate::transform) const END_MARKER: &[u8] = b"\\.\n";

/// Likewise, preceded by another row's newline.
pub(in crate::transform) const LINE_BEFORE_END_MARKER: &[u8] = b"\n\\.\n";

/// The codec of COPY text format.
#[derive(Debug)]
pub(in crate::transform) struct Text;

/// Number of bytes searched at once: the bits of a mask.
const BLOCK: usize = u64::BITS as usize;

/// Returns the top bit of each byte of `word` that equals the same byte of `pattern`, exactly.
fn equal_bytes(word: u64, pattern: u64) -> u64 {
    const LOW: u64 = u64::from_ne_bytes([0x7f; 8]);
    let difference = word ^ pattern;
    // A byte is zero if neither its low bits carry into its top bit nor its top bit is set.
    !(((difference & LOW) + LOW) | difference | LOW)
}

/// Returns a mask with a bit for each byte that is a tab or a newline, computed eight bytes at a time: fields are a
/// few bytes long, so a search per field would cost more than it saves.
#[inline]
fn separators(block: &[u8; BLOCK]) -> u64 {
    const TABS: u64 = u64::from_ne_bytes([b'\t'; 8]);
    const NEWLINES: u64 = u64::from_ne_bytes([b'\n'; 8]);
    /// Moves the lowest bits of eight bytes next to each other, into the highest byte of the product.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let mut hits = 0;
    for (number, word) in block.as_chunks::<8>().0.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = equal_bytes(word, TABS) | equal_bytes(word, NEWLINES);
        hits |= ((found >> 7).wrapping_mul(GATHER) >> 56) << (8 * number);
    }
    hits
}

/// Stores where every tab and newline ends.
fn find_separators(rows: &[u8], offsets: &mut Offsets) {
    /// Number of positions written without checking how many there are: the surplus is overwritten.
    const AT_ONCE: usize = 8;
    let (blocks, rest) = rows.as_chunks::<BLOCK>();
    let mut last = [0; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    for (number, block) in blocks.iter().chain([&last]).enumerate() {
        let mut hits = separators(block);
        let count = hits.count_ones() as usize;
        let after = position(number * BLOCK + 1);
        let slots: &mut [u32; BLOCK] = offsets.next_positions(count);
        for slots in slots.as_chunks_mut::<AT_ONCE>().0 {
            for slot in slots {
                *slot = after + hits.trailing_zeros();
                hits &= hits.wrapping_sub(1);
            }
            if hits == 0 {
                break;
            }
        }
    }
}

impl Codec for Text {
    const FORMAT: Format = Format::Text;
    const ROW_BEGIN_BYTES: usize = 0;

    fn split(rows: &[u8], _: Option<&[u32]>, offsets: &mut Offsets) -> Result<()> {
        debug_assert!(offsets.are_all(), "all tabs are found at once");
        offsets.clear(rows.len())?;
        let columns = offsets.columns();
        if rows.last().is_some_and(|&byte| byte != b'\n') {
            return Err(malformed("a truncated row"));
        }
        offsets.rows_touch();
        find_separators(rows, offsets);
        // With the right number of separators and a newline at every row's last position, all others are tabs.
        let lines = memchr_iter(b'\n', rows).count();
        let is_even = offsets.positions() == lines * columns + 1
            && offsets.rows().all(|row| rows[row[columns] as usize - 1] == b'\n');
        if !is_even {
            return Err(malformed(format_args!("a row without exactly {columns} fields")));
        }
        Ok(())
    }

    #[inline]
    fn value(item: &[u8]) -> Option<&[u8]> {
        let value = &item[..item.len() - 1];
        (value != NULL).then_some(value)
    }

    fn begin_row(_: u16, _: &mut Vec<u8>) {}

    fn put(value: Option<&[u8]>, out: &mut Vec<u8>) {
        out.extend_from_slice(value.unwrap_or(NULL));
        out.push(b'\t');
    }

    fn end_item(out: &mut [u8]) {
        if let Some(last) = out.last_mut() {
            *last = b'\t';
        }
    }

    fn end_row(out: &mut [u8]) {
        if let Some(last) = out.last_mut() {
            *last = b'\n';
        }
    }
}
