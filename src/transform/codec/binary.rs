//! COPY binary format (PostgreSQL manual, COPY, "Binary Format").
//!
//! A row is a 16-bit field count, then for each field a 32-bit length (-1 for NULL) and as many bytes. All numbers
//! are big-endian.

use super::{Codec, Offsets, malformed, position};
use crate::error::Result;
use crate::pg::format::Format;

/// Signature, flags, length of the header extension.
pub(in crate::transform) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// A field count of -1.
pub(in crate::transform) const TRAILER: &[u8] = &[0xff, 0xff];

/// Length of the signature in bytes.
pub(in crate::transform) const SIGNATURE_BYTES: usize = 11;

/// Length of a row's field count in bytes.
pub(in crate::transform) const COUNT_BYTES: usize = 2;

/// Length of a field's length word in bytes.
pub(in crate::transform) const LENGTH_BYTES: usize = 4;

/// The codec of COPY binary format.
#[derive(Debug)]
pub(in crate::transform) struct Binary;

/// Returns the field count at `at`; `None` if it is truncated.
pub(in crate::transform) fn count_at(data: &[u8], at: usize) -> Option<i16> {
    data.get(at..at + COUNT_BYTES).and_then(|word| word.try_into().ok()).map(i16::from_be_bytes)
}

/// Returns where the item at `at` ends, possibly beyond `data`; `None` if its length word is truncated.
pub(in crate::transform) fn item_end(data: &[u8], at: usize) -> Option<Result<usize>> {
    let word = data.get(at..at + LENGTH_BYTES)?;
    let length = i32::from_be_bytes([word[0], word[1], word[2], word[3]]);
    Some(match usize::try_from(length) {
        Ok(length) => Ok(at + LENGTH_BYTES + length),
        Err(_) if length == -1 => Ok(at + LENGTH_BYTES),
        Err(_) => Err(malformed(format_args!("a field of {length} bytes"))),
    })
}

/// Checks that a row has the requested number of fields.
pub(in crate::transform) fn check_count(count: i16, columns: usize) -> Result<()> {
    if usize::try_from(count) == Ok(columns) {
        return Ok(());
    }
    Err(malformed(format_args!("a row of {count} fields, expected {columns}")))
}

fn cut_off() -> crate::Error {
    malformed("a truncated row")
}

impl Codec for Binary {
    const FORMAT: Format = Format::Binary;
    const ROW_BEGIN_BYTES: usize = COUNT_BYTES;

    fn split(rows: &[u8], ends: Option<&[u32]>, offsets: &mut Offsets) -> Result<()> {
        offsets.clear(rows.len())?;
        // Where every field is inspected, the rows themselves tell where they end.
        let mut ends = ends.filter(|_| !offsets.are_all()).map(<[u32]>::iter);
        let columns = offsets.columns();
        let mut at = 0;
        while at < rows.len() {
            check_count(count_at(rows, at).ok_or_else(cut_off)?, columns)?;
            at += COUNT_BYTES;
            let [first, others @ .., last] = offsets.next_row() else { return Err(cut_off()) };
            *first = position(at);
            let rest = columns - others.len();
            for begin in others {
                at = item_end(rows, at).ok_or_else(cut_off)??;
                // Truncated to 32 bits if it is beyond the rows, which is an error below.
                *begin = position(at);
            }
            let end = match &mut ends {
                Some(ends) => *ends.next().ok_or_else(cut_off)? as usize,
                None => (0..rest).try_fold(at, |at, _| item_end(rows, at).ok_or_else(cut_off)?)?,
            };
            if at > end || end > rows.len() {
                return Err(cut_off());
            }
            *last = position(end);
            at = end;
        }
        Ok(())
    }

    #[inline]
    fn value(item: &[u8]) -> Option<&[u8]> {
        let (length, value) = item.split_at(LENGTH_BYTES);
        (length != [0xff; LENGTH_BYTES]).then_some(value)
    }

    fn begin_row(columns: u16, out: &mut Vec<u8>) {
        out.extend_from_slice(&columns.to_be_bytes());
    }

    fn put(value: Option<&[u8]>, out: &mut Vec<u8>) {
        match value {
            // A value comes from a 32-bit length or from the planner, so it fits one.
            Some(value) => {
                out.extend_from_slice(&(value.len() as u32).to_be_bytes());
                out.extend_from_slice(value);
            }
            None => out.extend_from_slice(&[0xff; LENGTH_BYTES]),
        }
    }

    fn end_item(_: &mut [u8]) {}

    fn end_row(_: &mut [u8]) {}
}
