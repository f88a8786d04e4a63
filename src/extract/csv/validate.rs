//! Detects bytes PostgreSQL rejects in text: invalid UTF-8 and NUL.

use std::ops::Range;

use memchr::memchr;

/// The fault of a NUL byte.
pub(super) const NUL: &str = "a NUL byte";

/// The fault of bytes that are invalid in the file's encoding.
pub(super) const MEANINGLESS: &str = "no text";

/// Positions of the next such bytes in a block. Each block is scanned once, however many are found.
#[derive(Debug)]
pub(super) struct Soundness {
    is_last: bool,
    meaningless: usize,
    nul: usize,
}

impl Soundness {
    /// Scans a block from `from`. A sequence cut off at its end is judged with the next block, unless this is the
    /// last.
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

    /// Returns the position and the fault of a record's first invalid byte. Records must be passed in order.
    pub(super) fn fault(&mut self, data: &[u8], record: Range<usize>) -> Option<(usize, &'static str)> {
        let Range { start, end } = record;
        if self.meaningless >= end && self.nul >= end {
            return None;
        }
        // Faults in lines that are not records do not matter.
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
