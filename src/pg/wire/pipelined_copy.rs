//! Many small COPYs in one go, each undone at once: what does the server say to them?

use bytes::{BufMut as _, BytesMut};
use postgres_protocol::message::frontend;

use super::Wire;
use super::inbox::FRAME_BYTES;
use crate::error::{Error, Kind, Phase, Result, ServerError};

/// Bytes of COPY data in one message at most.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// Statements and data, to be sent without waiting for the answers in between.
#[derive(Debug, Default)]
pub(crate) struct Trials {
    messages: BytesMut,
    count: usize,
}

impl Trials {
    /// Adds a COPY … FROM STDIN of some data, which is undone by a second statement whether it succeeds or not.
    ///
    /// A server that refuses the COPY ignores what is left of its data (manual, 55.2.6, "COPY Operations").
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
            // At most MESSAGE_BYTES_MAX, and the length's own four bytes.
            self.messages.put_u32((piece.len() + FRAME_BYTES - 1) as u32);
            self.messages.put_slice(piece);
        }
        frontend::copy_done(&mut self.messages);
        frontend::query(undo, &mut self.messages).map_err(cannot)?;
        self.count += 1;
        Ok(())
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Bytes to be sent.
    pub(crate) fn bytes(&self) -> usize {
        self.messages.len()
    }
}

/// What was heard so far.
#[derive(Default)]
struct Heard {
    verdicts: Vec<Option<ServerError>>,
    /// Whether the statement that undoes is what is answered next.
    is_undoing: bool,
    refused: Option<ServerError>,
    /// An error of a statement that undoes.
    broken: Option<ServerError>,
}

impl Wire {
    /// Runs trials and returns, for each, the error that its COPY met.
    ///
    /// # Errors
    /// A broken socket, or an error of a statement that undoes: the transaction is of no use then.
    pub(crate) async fn try_copies(&mut self, trials: &Trials) -> Result<Vec<Option<ServerError>>> {
        self.in_step = false;
        let mut heard = Heard::default();
        let mut sent = 0;
        // Answers are read while there is still something to send: else both sides could wait for each other.
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

    /// Takes the answers that have arrived.
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
