//! COPY in both directions on a [`Wire`].

use bytes::BytesMut;
use postgres_protocol::message::frontend;

use super::Wire;
use super::inbox::FRAME_BYTES;
use crate::batch::{Batch, BatchPool};
use crate::error::{Error, Kind, Result, ServerError};

/// A running COPY … TO STDOUT.
///
/// It ends with `None` from [`CopyOut::next`]. Dropped earlier, it leaves the connection unusable.
#[derive(Debug)]
pub struct CopyOut<'a> {
    wire: &'a mut Wire,
    /// Bytes of the current CopyData message that have not arrived yet.
    pending: usize,
    rows: Option<u64>,
}

/// A running COPY … FROM STDIN.
///
/// Rows are stored only by [`CopyIn::finish`]. Dropped earlier, it leaves the connection unusable, and the server rolls back
/// when it is closed.
#[derive(Debug)]
pub struct CopyIn<'a> {
    wire: &'a mut Wire,
}

impl Wire {
    /// Starts a COPY … TO STDOUT. Statements before it in `sql` run first.
    ///
    /// # Errors
    /// Any server error, or a broken socket.
    pub async fn copy_out(&mut self, sql: &str) -> Result<CopyOut<'_>> {
        self.start_copy(sql, b'H').await?;
        Ok(CopyOut { wire: self, pending: 0, rows: None })
    }

    /// Starts a COPY … FROM STDIN. Statements before it in `sql` run first.
    ///
    /// # Errors
    /// Any server error, or a broken socket.
    pub async fn copy_in(&mut self, sql: &str) -> Result<CopyIn<'_>> {
        self.start_copy(sql, b'G').await?;
        Ok(CopyIn { wire: self })
    }

    async fn start_copy(&mut self, sql: &str, started: u8) -> Result<()> {
        self.send_query(sql).await?;
        loop {
            let message = self.receive().await?;
            match message.tag {
                tag if tag == started => return Ok(()),
                b'E' => {
                    let error = message.server_error();
                    return self.settle(error).await;
                }
                b'Z' => {
                    self.in_step = true;
                    return Err(Error::new(
                        self.phase,
                        Kind::Internal,
                        "expected the statement to be a COPY",
                    ));
                }
                _ => {}
            }
        }
    }

    /// Reads on after an error until the server is idle, then returns the error. If the server goes away after reporting the
    /// error, the connection is unusable, but that error is more useful than "the connection broke".
    async fn settle<T>(&mut self, error: ServerError) -> Result<T> {
        while let Ok(message) = self.receive().await {
            if message.tag == b'Z' {
                self.in_step = true;
                break;
            }
        }
        Err(self.failed(error))
    }

    /// Reads the end of a COPY: its row count, then idle.
    async fn finish_copy(&mut self) -> Result<u64> {
        let mut rows = None;
        loop {
            let message = self.receive().await?;
            match message.tag {
                b'C' => rows = message.row_count(),
                b'E' => {
                    let error = message.server_error();
                    return self.settle(error).await;
                }
                b'Z' => break,
                _ => {}
            }
        }
        self.in_step = true;
        rows.ok_or_else(|| self.protocol("a COPY without a row count"))
    }
}

impl CopyOut<'_> {
    /// Returns the next batch: at least [`crate::batch::BATCH_BYTES`], except for the last one; `None` at the end.
    ///
    /// A row may be split over several batches: no data is held back, whatever the row's size.
    ///
    /// # Errors
    /// Any server error, or a broken socket.
    pub async fn next(&mut self, pool: &BatchPool) -> Result<Option<Batch>> {
        if self.rows.is_some() {
            return Ok(None);
        }
        let mut batch = pool.take();
        let begins_whole = self.pending == 0;
        while !batch.is_full() {
            if self.pending > 0 {
                self.take_data(&mut batch).await?;
                continue;
            }
            let header = self.wire.inbox.peek().map_err(|e| self.wire.protocol(&e))?;
            match header {
                None => self.wire.fill().await?,
                Some(header) if header.tag == b'd' => {
                    self.wire.inbox.skip(FRAME_BYTES);
                    self.pending = header.total - FRAME_BYTES;
                    batch.messages += 1;
                }
                Some(_) => {
                    if self.take_other().await? {
                        break;
                    }
                }
            }
        }
        if batch.is_empty() {
            pool.give_back(batch);
            return Ok(None);
        }
        if !begins_whole || self.pending > 0 {
            batch.ends.clear();
        }
        Ok(Some(batch))
    }

    /// Returns the rows that the server reports as sent; `None` before the end.
    #[must_use]
    pub fn rows(&self) -> Option<u64> {
        self.rows
    }

    async fn take_data(&mut self, batch: &mut Batch) -> Result<()> {
        if self.wire.inbox.bytes().is_empty() {
            self.wire.fill().await?;
        }
        let arrived = self.wire.inbox.bytes();
        // A message that has arrived completely is taken as a whole; a huge one is split at the size of a batch.
        let wanted = if self.pending <= crate::batch::BATCH_BYTES { self.pending } else { batch.room() };
        let bytes = wanted.min(arrived.len()).min(self.pending);
        batch.extend(&arrived[..bytes]);
        self.wire.inbox.skip(bytes);
        self.pending -= bytes;
        if self.pending == 0 {
            // A batch is split long before its length exceeds 32 bits.
            batch.ends.push(batch.len() as u32);
        }
        Ok(())
    }

    /// Handles a message that is not CopyData; true at the end of the COPY.
    async fn take_other(&mut self) -> Result<bool> {
        let message = self.wire.receive().await?;
        match message.tag {
            b'c' => {
                self.rows = Some(self.wire.finish_copy().await?);
                Ok(true)
            }
            b'E' => {
                let error = message.server_error();
                self.wire.settle(error).await
            }
            b'd' => Err(self.wire.protocol("rows outside the copy phase")),
            _ => Ok(false),
        }
    }
}

impl CopyIn<'_> {
    /// Sends a batch. A server error that arrives meanwhile stops the sending at once.
    ///
    /// # Errors
    /// Any server error, after which the connection is idle in an aborted transaction; a broken socket.
    pub async fn send(&mut self, batch: &mut Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let message = batch.as_message();
        let mut sent = 0;
        while sent < message.len() {
            match self.wire.write_or_hear(&message[sent..]).await? {
                Some(bytes) => sent += bytes,
                None => {
                    if let Err(error) = self.look_for_error().await {
                        // The server treats the following bytes as the rest of the message begun, and ignores them.
                        if sent > 0 && self.wire.in_step {
                            self.wire.write(&message[sent..]).await?;
                        }
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    /// Completes the COPY and returns the rows that the server stored.
    ///
    /// # Errors
    /// Any server error, or a broken socket; in both cases no row was stored.
    pub async fn finish(self) -> Result<u64> {
        let mut message = BytesMut::new();
        frontend::copy_done(&mut message);
        self.wire.write(&message).await?;
        self.wire.finish_copy().await
    }

    /// Aborts the COPY: the server discards its rows, and the connection is idle in an aborted transaction.
    ///
    /// # Errors
    /// A broken socket.
    pub async fn abort(self) -> Result<()> {
        self.wire.send_copy_fail("aborted by the client").await?;
        while self.wire.receive().await?.tag != b'Z' {}
        self.wire.in_step = true;
        Ok(())
    }

    async fn look_for_error(&mut self) -> Result<()> {
        loop {
            let header = self.wire.inbox.peek().map_err(|e| self.wire.protocol(&e))?;
            match header {
                Some(header) if header.is_complete => {
                    let message = self.wire.inbox.take();
                    if message.tag == b'E' {
                        let error = message.server_error();
                        return self.wire.settle(error).await;
                    }
                }
                // Part of a message: the rest is read before the next write.
                _ => return Ok(()),
            }
        }
    }
}
