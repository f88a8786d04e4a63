//! Single records of a file once more, by their lines.

use std::io::Read as _;

use memchr::memchr2;

use super::fields::{Fields, Found, Layout};
use super::input::{BOM, Input, failed};
use super::sink::Nowhere;
use crate::config::Dialect;
use crate::error::Result;
use crate::plan::CsvFile;

/// Bytes that are read at once.
const BLOCK_BYTES: usize = 256 * 1024;

/// Finds the records of a file, which must be asked for in its order.
pub(crate) struct Again<'a> {
    file: &'a CsvFile,
    fields: Fields,
    input: Input,
    /// What was read and is not behind.
    text: Vec<u8>,
    /// Where in it the line begins.
    at: usize,
    /// The line's number, from 1.
    line: u64,
    is_last: bool,
}

impl<'a> Again<'a> {
    /// Opens a file that can be read more than once.
    ///
    /// # Errors
    /// As [`super::read`].
    pub(crate) fn open(file: &'a CsvFile, dialect: &Dialect) -> Result<Self> {
        let fields = Fields::new(dialect, Layout::default());
        let input = Input::open(file, 0)?;
        let mut again = Self { file, fields, input, text: Vec::new(), at: 0, line: 1, is_last: false };
        again.fill()?;
        if again.text.starts_with(BOM) {
            again.at = BOM.len();
        }
        Ok(again)
    }

    /// The record that begins with a line, as it stands in the file; `None` if none does. Synchronous, and as long as the file up
    /// to there.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn record(&mut self, line: u64) -> Result<Option<&[u8]>> {
        while self.line < line {
            if !self.skip_line()? {
                return Ok(None);
            }
        }
        loop {
            let data = (self.text.as_slice(), self.is_last);
            if self.line > line || self.at == self.text.len() && self.is_last {
                return Ok(None);
            }
            match self.fields.read(data, self.at, 0, &mut Vec::new(), &mut Nowhere) {
                Found::Record(record) => return Ok(Some(&self.text[self.at..record.content_end])),
                Found::Incomplete if !self.is_last => self.fill()?,
                Found::Incomplete | Found::Unclosed => return Ok(None),
            }
        }
    }

    /// Goes to the next line; false if there is none.
    fn skip_line(&mut self) -> Result<bool> {
        loop {
            let rest = &self.text[self.at..];
            let end = memchr2(b'\n', b'\r', rest);
            let after = end.and_then(|end| match &rest[end..] {
                [b'\r'] if !self.is_last => None,
                [b'\r', b'\n', ..] => Some(end + 2),
                _ => Some(end + 1),
            });
            if let Some(after) = after {
                self.at += after;
                self.line += 1;
                return Ok(true);
            }
            if self.is_last {
                return Ok(false);
            }
            self.fill()?;
        }
    }

    /// Reads on, and drops what is behind.
    fn fill(&mut self) -> Result<()> {
        self.text.drain(..std::mem::take(&mut self.at));
        // As much again as there is, so that a huge record is not looked at too often.
        let wanted = BLOCK_BYTES.max(self.text.len());
        let read = self.input.by_ref().take(wanted as u64).read_to_end(&mut self.text);
        self.is_last = read.map_err(|e| failed(self.file, &e))? < wanted;
        Ok(())
    }
}
