//! A batch: the unit in which rows travel, one contiguous buffer of COPY data.
//!
//! A batch's buffer starts with room for the five bytes of a CopyData header, so that writing it to a server is one
//! write of one slice. Buffers are recycled: a table of any size passes through a handful of them.

use std::sync::{Arc, Mutex};

/// Bytes of a CopyData header: tag and length (PostgreSQL manual, 55.7, CopyData).
pub(crate) const HEADER_BYTES: usize = 5;

/// A batch is handed on when it holds at least this much. Larger writes to a socket gained nothing when measured.
pub(crate) const BATCH_BYTES: usize = 64 * 1024;

/// Spare room, so that the row that fills a batch rarely makes its buffer grow.
const SLACK_BYTES: usize = 16 * 1024;

/// Buffers that the pool keeps at most; more are given back to the allocator.
const POOLED_MAX: usize = 256;

/// A buffer that grew beyond this (a huge row) is not kept.
const POOLED_BYTES_MAX: usize = 4 * (BATCH_BYTES + SLACK_BYTES);

/// COPY data travelling from source to target.
#[derive(Debug)]
pub struct Batch {
    buffer: Vec<u8>,
    /// CopyData messages that it was made of: rows, but for COPY's own header and trailer.
    pub(crate) messages: u64,
    /// Where each of them ends, if it was made of whole ones; or else nothing.
    pub(crate) ends: Vec<u32>,
    /// Where its rows come from, if that is a file.
    pub origin: Option<Origin>,
}

/// Where the rows of a batch come from: one place for each row that begins in it.
#[derive(Debug)]
pub struct Origin {
    /// The file, as people write it.
    pub file: Arc<str>,
    /// A part of the file, in UTF-8.
    pub text: Arc<Vec<u8>>,
    /// Per row, in their order.
    pub rows: Vec<RowOrigin>,
}

/// Where a row stands in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowOrigin {
    /// Its number in its chunk, from 1, rejected ones included.
    pub row: u64,
    /// The line in which it begins, from 1.
    pub line: u64,
    /// Where it is in the text.
    pub start: usize,
    /// Where it ends there, without its end of line.
    pub end: usize,
}

impl Origin {
    /// The row as it stands in the file.
    #[must_use]
    pub fn raw(&self, row: RowOrigin) -> &[u8] {
        &self.text[row.start..row.end]
    }
}

impl Batch {
    /// The COPY data.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.buffer[HEADER_BYTES..]
    }

    /// Bytes of COPY data.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len() - HEADER_BYTES
    }

    /// Whether there is no COPY data in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The COPY data as a buffer of its own.
    pub(crate) fn into_data(mut self) -> Vec<u8> {
        self.buffer.drain(..HEADER_BYTES);
        self.buffer
    }

    /// Whether it should be handed on.
    pub(crate) fn is_full(&self) -> bool {
        self.len() >= BATCH_BYTES
    }

    /// How much fits before it is full; at least 1.
    pub(crate) fn room(&self) -> usize {
        BATCH_BYTES.saturating_sub(self.len()).max(1)
    }

    /// Appends COPY data.
    pub(crate) fn extend(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// The buffer, for whoever appends COPY data; what is in it must stay.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// The whole batch as one CopyData message, its header filled in.
    ///
    /// # Panics
    /// If it holds more than the 2 GiB that a message's length can express; batches are cut long before.
    pub(crate) fn as_message(&mut self) -> &[u8] {
        let length = u32::try_from(self.buffer.len() - 1).ok().filter(|&n| n <= i32::MAX as u32);
        let length = length.expect("a batch is far smaller than 2 GiB");
        self.buffer[0] = b'd';
        self.buffer[1..HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
        &self.buffer
    }
}

/// What comes down the pipeline. A channel that closes without [`Flow::End`] means that the source failed.
#[derive(Debug)]
pub(crate) enum Flow {
    /// COPY data.
    Batch(Batch),
    /// The source is through, and says that it sent so many rows.
    End {
        /// Rows that should be in staging now.
        rows: u64,
    },
}

/// Recycles the buffers of batches. Clones share one pool.
#[derive(Debug, Clone, Default)]
pub struct BatchPool {
    // Taken once per 64 KiB, so that contention does not matter.
    spare: Arc<Mutex<Vec<Batch>>>,
}

impl BatchPool {
    /// An empty batch.
    #[must_use]
    pub fn take(&self) -> Batch {
        let spare = self.spare.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
        let mut batch = spare.unwrap_or_else(|| Batch {
            buffer: Vec::with_capacity(HEADER_BYTES + BATCH_BYTES + SLACK_BYTES),
            messages: 0,
            ends: Vec::new(),
            origin: None,
        });
        batch.buffer.clear();
        batch.buffer.resize(HEADER_BYTES, 0);
        batch.messages = 0;
        batch.ends.clear();
        batch
    }

    /// Gives a batch's buffers back.
    pub fn give_back(&self, mut batch: Batch) {
        if batch.buffer.capacity() > POOLED_BYTES_MAX {
            return;
        }
        batch.origin = None;
        let mut spare = self.spare.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if spare.len() < POOLED_MAX {
            spare.push(batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_one_copy_data_message() {
        let pool = BatchPool::default();
        let mut batch = pool.take();
        batch.extend(b"row");
        assert_eq!(batch.data(), b"row");
        assert_eq!(batch.as_message(), b"d\0\0\0\x07row");
        pool.give_back(batch);
        assert!(pool.take().is_empty(), "a recycled buffer starts empty");
    }
}
