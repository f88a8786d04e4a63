//! Tries many small COPYs in one round trip, each rolled back at once, and reports the server's answers.

use bytes::{BufMut as _, BytesMut};
use postgres_protocol::message::frontend;

use super::Wire;
use super::inbox::FRAME_BYTES;
use crate::error::{Error, Kind, Phase, Result, ServerError};

/// The most bytes of COPY data in one message.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// Statements and data to send without waiting for the answers in between.
#[derive(Debug, Default)]
pub(crate) struct Trials {
    messages: BytesMut,
    count: usize,
}

impl Trials {
    /// Adds a COPY … FROM STDIN of some data, followed by a second statement that undoes it whether or not it succeeds.
    ///
    /// A server that refuses the COPY ignores the rest of its data (manual, 55.2.6, "COPY Operations").
    ///
    /// # Errors
    /// [`Kind::Internal`] for statements that cannot be sent.
    pub(crate) fn push<'a>(
        &mut self,
        copy: &str,
        data: impl IntoIterator<Item = &'a [u8]>,
        undo: &str,
    ) -> Result<()> {
        let cannot = |e: std::io::Error| {
            Error::new(Phase::Load, Kind::Internal, format!("cannot send a statement: {e}"))
        };
        frontend::query(copy, &mut self.messages).map_err(cannot)?;
        for piece in data.into_iter().flat_map(|data| data.chunks(MESSAGE_BYTES_MAX)) {
            self.messages.put_u8(b'd');
            // At most MESSAGE_BYTES_MAX, plus four bytes for the length itself.
            self.messages.put_u32((piece.len() + FRAME_BYTES - 1) as u32);
            self.messages.put_slice(piece);
        }
        frontend::copy_done(&mut self.messages);
        frontend::query(undo, &mut self.messages).map_err(cannot)?;
        self.count += 1;
        Ok(())
    }

    /// Returns the number of COPYs.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Returns the number of bytes to send.
    pub(crate) fn bytes(&self) -> usize {
        self.messages.len()
    }
}

/// The answers received so far.
#[derive(Default)]
struct Heard {
    verdicts: Vec<Option<ServerError>>,
    /// Whether the next answer is for an undoing statement.
    is_undoing: bool,
    refused: Option<ServerError>,
    /// An error of an undoing statement.
    broken: Option<ServerError>,
}

impl Wire {
    /// Runs the trials and returns, for each, the error of its COPY.
    ///
    /// # Errors
    /// A broken socket, or an error of an undoing statement, after which the transaction is unusable.
    pub(crate) async fn try_copies(&mut self, trials: &Trials) -> Result<Vec<Option<ServerError>>> {
        self.in_step = false;
        let mut heard = Heard::default();
        let mut sent = 0;
        // Answers are read while there is still data to send; otherwise both sides could wait for each other.
        while sent < trials.messages.len() {
            match self.write_or_hear(&trials.messages[sent..]).await? {
                Some(bytes) => sent += bytes,
                None => self.hear(&mut heard)?,
            }
        }
        self.write(&[]).await?;
        while heard.verdicts.len() < trials.count || heard.is_undoing {
            self.fill().await?;
            self.hear(&mut heard)?;
        }
        self.in_step = true;
        match heard.broken {
            Some(error) => Err(self.failed(error)),
            None => Ok(heard.verdicts),
        }
    }

    /// Processes the answers that have arrived.
    fn hear(&mut self, heard: &mut Heard) -> Result<()> {
        while let Some(header) = self.inbox.peek().map_err(|e| self.protocol(&e))? {
            if !header.is_complete {
                break;
            }
            let message = self.inbox.take();
            match message.tag {
                b'E' if heard.is_undoing => heard.broken = Some(message.server_error()),
                b'E' => heard.refused = Some(message.server_error()),
                b'Z' if heard.is_undoing => heard.is_undoing = false,
                b'Z' => {
                    heard.verdicts.push(heard.refused.take());
                    heard.is_undoing = true;
                }
                _ => {}
            }
        }
        Ok(())
    }
}
