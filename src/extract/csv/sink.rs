//! Destinations for the row that a record becomes.

use super::reader::Outlet;
use crate::batch::{Batch, BatchPool};
use crate::error::Result;

/// A destination for rows.
pub(super) trait Sink {
    /// Appends bytes.
    fn put(&mut self, bytes: &[u8]);

    /// Appends fields separated by delimiters, with tabs in place of the delimiters, plus one more tab.
    fn put_fields(&mut self, fields: &[u8], delimiter: u8) {
        for field in fields.split(|&byte| byte == delimiter) {
            self.put(field);
            self.put(b"\t");
        }
    }

    /// Replaces the last byte.
    fn set_last(&mut self, byte: u8);
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn put_fields(&mut self, fields: &[u8], delimiter: u8) {
        self.extend(fields.iter().map(|&byte| if byte == delimiter { b'\t' } else { byte }));
        self.push(b'\t');
    }

    fn set_last(&mut self, byte: u8) {
        if let Some(last) = self.last_mut() {
            *last = byte;
        }
    }
}

/// Discards everything.
pub(super) struct Nowhere;

impl Sink for Nowhere {
    fn put(&mut self, _: &[u8]) {}

    fn set_last(&mut self, _: u8) {}
}

/// A buffer with a fixed capacity.
pub(super) struct Bounded<'a> {
    pub(super) buffer: &'a mut Vec<u8>,
    pub(super) limit: usize,
    /// Whether more was written than fits.
    pub(super) is_over: bool,
}

impl Sink for Bounded<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        if self.buffer.len() + bytes.len() > self.limit {
            self.is_over = true;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
    }

    fn put_fields(&mut self, fields: &[u8], delimiter: u8) {
        if self.buffer.len() + fields.len() >= self.limit {
            self.is_over = true;
        } else {
            self.buffer.put_fields(fields, delimiter);
        }
    }

    fn set_last(&mut self, byte: u8) {
        self.buffer.set_last(byte);
    }
}

/// Passes a row on while it is written.
pub(super) struct Pieces<'a, O> {
    pub(super) batch: Batch,
    pub(super) pool: &'a BatchPool,
    pub(super) outlet: &'a mut O,
    pub(super) outcome: Result<()>,
}

impl<O: Outlet> Sink for Pieces<'_, O> {
    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.outcome.is_ok() {
            // Wait for more data, because the last byte may still be replaced.
            if self.batch.is_full() {
                let full = std::mem::replace(&mut self.batch, self.pool.take());
                self.outcome = self.outlet.rows(full, 0);
                continue;
            }
            let (now, later) = bytes.split_at(bytes.len().min(self.batch.room()));
            self.batch.extend(now);
            bytes = later;
        }
    }

    fn set_last(&mut self, byte: u8) {
        self.batch.buffer().set_last(byte);
    }
}
