//! Reads single records of a file again, by line number.

use std::io::Read as _;

use memchr::memchr2;

use super::fields::{Fields, Found, Layout};
use super::input::{BOM, Input, failed};
use super::sink::Nowhere;
use crate::config::Dialect;
use crate::error::Result;
use crate::plan::CsvFile;

/// Bytes read at once.
const BLOCK_BYTES: usize = 256 * 1024;

/// Finds the records of a file, which must be requested in file order.
pub(crate) struct Again<'a> {
    file: &'a CsvFile,
    fields: Fields,
    input: Input,
    /// Data that was read and is not yet behind the current line.
    text: Vec<u8>,
    /// Where the current line begins in it.
    at: usize,
    /// Number of the current line, from 1.
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

    /// Returns the record that begins at a line, exactly as it stands in the file; `None` if no record begins there.
    /// Synchronous; reads the file up to that line.
    ///
    /// # Errors
    /// The file cannot be read.
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

    /// Advances to the next line; false at the end.
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

    /// Reads more, and drops data before the current line.
    fn fill(&mut self) -> Result<()> {
        self.text.drain(..std::mem::take(&mut self.at));
        // Doubles the buffer, so that a huge record is not scanned too often.
        let wanted = BLOCK_BYTES.max(self.text.len());
        let read = self.input.by_ref().take(wanted as u64).read_to_end(&mut self.text);
        self.is_last = read.map_err(|e| failed(self.file, &e))? < wanted;
        Ok(())
    }
}
