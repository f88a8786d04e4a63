//! Bytes that no text of PostgreSQL may hold: what is no UTF-8, and NUL.

use std::ops::Range;

use memchr::memchr;

/// A NUL byte, as a kind of fault.
pub(super) const NUL: &str = "a NUL byte";

/// Bytes without a meaning in the file's encoding, likewise.
pub(super) const MEANINGLESS: &str = "no text";

/// Where the next such bytes are in a block. The block is looked at once, whatever is found.
#[derive(Debug)]
pub(super) struct Soundness {
    is_last: bool,
    meaningless: usize,
    nul: usize,
}

impl Soundness {
    /// Of a block from `from` on. What its end cuts off is judged with the next one, unless this is the last.
    pub(super) fn of(data: &[u8], from: usize, is_last: bool) -> Self {
        let mut soundness = Self { is_last, meaningless: from, nul: from };
        soundness.find_meaningless(data, from);
        soundness.find_nul(data, from);
        soundness
    }

    fn find_meaningless(&mut self, data: &[u8], from: usize) {
        self.meaningless = match std::str::from_utf8(&data[from..]) {
            Err(error) if error.error_len().is_some() || self.is_last => from + error.valid_up_to(),
            _ => usize::MAX,
        };
    }

    fn find_nul(&mut self, data: &[u8], from: usize) {
        self.nul = memchr(0, &data[from..]).map_or(usize::MAX, |at| from + at);
    }

    /// What is wrong with a record: where, and what. Records must come in their order.
    pub(super) fn fault(&mut self, data: &[u8], record: Range<usize>) -> Option<(usize, &'static str)> {
        let Range { start, end } = record;
        if self.meaningless >= end && self.nul >= end {
            return None;
        }
        // What was found in lines that are no records is of no interest.
        if self.meaningless < start {
            self.find_meaningless(data, start);
        }
        if self.nul < start {
            self.find_nul(data, start);
        }
        let first = self.meaningless.min(self.nul);
        let kind = if self.meaningless < self.nul { MEANINGLESS } else { NUL };
        (first < end).then_some((first, kind))
    }
}
