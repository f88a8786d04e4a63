//! Batches: rows travel through the pipeline in contiguous buffers of COPY data.
//!
//! A batch's buffer reserves five bytes at its start for a CopyData header, so a batch is sent to a server with one write of
//! one slice. A pool recycles the buffers, so a table of any size uses only a few of them.

use std::sync::{Arc, Mutex};

/// Size of a CopyData header in bytes: type and length (PostgreSQL manual, 55.7, CopyData).
pub(crate) const HEADER_BYTES: usize = 5;

/// Bytes at which a batch is full and is passed on. Larger writes to a socket were not faster when measured.
pub(crate) const BATCH_BYTES: usize = 64 * 1024;

/// Spare capacity, so that the last row of a batch rarely makes its buffer grow.
const SLACK_BYTES: usize = 16 * 1024;

/// Maximum number of buffers in the pool; others are freed.
const POOLED_MAX: usize = 256;

/// Maximum capacity of a pooled buffer. A buffer that a huge row made larger is freed.
const POOLED_BYTES_MAX: usize = 4 * (BATCH_BYTES + SLACK_BYTES);

/// COPY data on its way from source to target.
#[derive(Debug)]
pub struct Batch {
    buffer: Vec<u8>,
    /// Number of CopyData messages in the data. Each is a row, except COPY's header and trailer.
    pub(crate) messages: u64,
    /// The end offset of each message if the batch contains only whole messages, otherwise empty.
    pub(crate) ends: Vec<u32>,
    /// The origin of the rows, if they come from a file.
    pub origin: Option<Origin>,
}

/// The positions in a file of the rows that begin in a batch.
#[derive(Debug)]
pub struct Origin {
    /// The path of the file, for messages.
    pub file: Arc<str>,
    /// A part of the file, in UTF-8.
    pub text: Arc<Vec<u8>>,
    /// The position of each row, in order.
    pub rows: Vec<RowOrigin>,
}

/// The position of a row in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowOrigin {
    /// Its number in its chunk, from 1, rejected rows included.
    pub row: u64,
    /// The line in which it begins, from 1.
    pub line: u64,
    /// The offset of its start in [`Origin::text`].
    pub start: usize,
    /// The offset of its end there, without the line end.
    pub end: usize,
}

impl Origin {
    /// Returns the row as it is in the file.
    #[must_use]
    pub fn raw(&self, row: RowOrigin) -> &[u8] {
        &self.text[row.start..row.end]
    }
}

impl Batch {
    /// Returns the COPY data.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.buffer[HEADER_BYTES..]
    }

    /// Returns the number of bytes of COPY data.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buffer.len() - HEADER_BYTES
    }

    /// Returns whether there is no COPY data.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the COPY data as an owned buffer.
    pub(crate) fn into_data(mut self) -> Vec<u8> {
        self.buffer.drain(..HEADER_BYTES);
        self.buffer
    }

    /// Returns whether the batch should be passed on.
    pub(crate) fn is_full(&self) -> bool {
        self.len() >= BATCH_BYTES
    }

    /// Returns the number of bytes until the batch is full; at least 1.
    pub(crate) fn room(&self) -> usize {
        BATCH_BYTES.saturating_sub(self.len()).max(1)
    }

    /// Appends COPY data.
    pub(crate) fn extend(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// Returns the buffer for appending COPY data. The caller must keep its present content.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Fills in the header and returns the batch as one CopyData message.
    ///
    /// # Panics
    /// If the batch exceeds 2 GiB, the maximum length of a message. Batches are split long before that.
    pub(crate) fn as_message(&mut self) -> &[u8] {
        let length = u32::try_from(self.buffer.len() - 1).ok().filter(|&n| n <= i32::MAX as u32);
        let length = length.expect("a batch is far smaller than 2 GiB");
        self.buffer[0] = b'd';
        self.buffer[1..HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
        &self.buffer
    }
}

/// An item of the pipeline. A channel that closes without [`Flow::End`] means that the source failed.
#[derive(Debug)]
pub(crate) enum Flow {
    /// COPY data.
    Batch(Batch),
    /// The source has sent all rows.
    End {
        /// Number of rows that the source sent, and that staging should now contain.
        rows: u64,
    },
}

/// Recycles the buffers of batches. Clones share one pool.
#[derive(Debug, Clone, Default)]
pub struct BatchPool {
    // Locked once per 64 KiB, so contention does not matter.
    spare: Arc<Mutex<Vec<Batch>>>,
}

impl BatchPool {
    /// Returns an empty batch.
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

    /// Returns the buffers of a batch to the pool.
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
