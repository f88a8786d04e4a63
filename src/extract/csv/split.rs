//! Finds where the records of a file begin, without reading their fields, for streams that begin in the middle.
//!
//! Whether a line begins a record depends on all quotes before it. The file is therefore scanned from its beginning,
//! once, in the order of its parts, and only up to the beginning of the last part. The scan looks only for quotes and
//! runs at memory speed. A part consists of the records that begin at or after its nominal start and before that of
//! the next part.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use memchr::{memchr, memchr_iter, memchr2, memchr3};

use super::input::{BOM, failed, refuse_changed};
use crate::config::Characters;
use crate::error::Result;
use crate::plan::CsvFile;

/// Bytes scanned at once: they stay in the processor's cache while lines are counted.
const BLOCK_BYTES: usize = 256 * 1024;

/// The beginning of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    /// Offset in bytes.
    pub(crate) offset: u64,
    /// Its line, from 1.
    pub(crate) line: u64,
}

impl Start {
    /// The beginning of the file.
    pub(crate) const OF_FILE: Self = Self { offset: 0, line: 1 };
}

/// The beginnings of the parts of a run's files, as far as they have been found.
#[derive(Debug, Default)]
pub(crate) struct Splits {
    files: Mutex<HashMap<(usize, usize), Scanned>>,
}

/// The scan of one file, with a separate lock, so that requests for other files need not wait.
type Scanned = Arc<Mutex<Progress>>;

/// The progress of a scan.
#[derive(Debug, Default)]
struct Progress {
    /// The beginnings of parts 1, 2, …
    found: Vec<Start>,
    scanner: Option<Scanner>,
}

impl Splits {
    /// Returns where part `part` of a file's `parts` begins. `key` identifies the file: its table and its number. The
    /// first caller does the work, and callers that need later parts wait for it.
    ///
    /// # Errors
    /// The file cannot be read, or was changed.
    /// The file cannot be read, or was changed.
    pub(crate) fn start(
        &self,
        key: (usize, usize),
        file: &CsvFile,
        characters: Characters,
        (part, parts): (u32, u32),
    ) -> Result<Start> {
        if part == 0 {
            return Ok(Start::OF_FILE);
        }
        let progress = {
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            files.entry(key).or_default().clone()
        };
        let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
        let index = part as usize - 1;
        if progress.found.len() <= index {
            progress.scan(file, characters, (part, parts))?;
        }
        Ok(progress.found[index])
    }
}

impl Progress {
    fn scan(&mut self, file: &CsvFile, characters: Characters, (part, parts): (u32, u32)) -> Result<()> {
        let mut scanner = self.scanner.take().unwrap_or_else(|| Scanner::new(characters));
        let mut source = File::open(&file.path).map_err(|e| failed(file, &e))?;
        refuse_changed(file, &source)?;
        source.seek(SeekFrom::Start(scanner.offset)).map_err(|e| failed(file, &e))?;
        let mut block = vec![0; BLOCK_BYTES];
        let mut unread = 0..0;
        while self.found.len() < part as usize {
            let next = u32::try_from(self.found.len()).unwrap_or(u32::MAX) + 1;
            let wanted = file.nominal_start(next, parts);
            loop {
                if unread.is_empty() {
                    let bytes = source.read(&mut block).map_err(|e| failed(file, &e))?;
                    unread = 0..bytes;
                }
                let (taken, start) = scanner.advance(&block[unread.clone()], wanted);
                unread.start += taken;
                if let Some(start) = start {
                    self.found.push(start);
                    break;
                }
            }
        }
        self.scanner = Some(scanner);
        Ok(())
    }
}

/// The position of a scan within a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Outside quotes.
    Plain,
    /// Inside quotes.
    Quoted,
    /// After a quote inside quotes, which closes them unless another quote follows.
    Closing,
    /// After the escape character inside quotes.
    Escaped,
    /// In a line that is not a record.
    Comment,
}

/// Tracks the quotes of a file.
#[derive(Debug, Clone)]
pub(super) struct Scanner {
    characters: Characters,
    state: State,
    /// Bytes scanned.
    offset: u64,
    /// Number of line ends among them.
    line_ends: u64,
    /// The last byte; a line end at the beginning.
    last: u8,
}

impl Scanner {
    pub(super) fn new(characters: Characters) -> Self {
        Self { characters, state: State::Plain, offset: 0, line_ends: 0, last: b'\n' }
    }

    /// Scans until a record begins at or after `wanted`. Returns how much of `block` was scanned, and the beginning.
    /// An empty block is the end of the file, where the last record "begins".
    pub(super) fn advance(&mut self, block: &[u8], wanted: u64) -> (usize, Option<Start>) {
        if block.is_empty() {
            return (0, Some(self.here()));
        }
        // After a byte order mark the first field begins as at the beginning of the file.
        if self.offset == 0 && block.starts_with(BOM) {
            self.offset = BOM.len() as u64;
            return (BOM.len(), None);
        }
        let before = usize::try_from((wanted.max(1) - 1).saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let quick = before.min(block.len());
        self.skip(&block[..quick]);
        let rest = &block[quick..];
        if rest.is_empty() {
            return (quick, None);
        }
        if self.is_at_start(rest[0]) && self.offset >= wanted {
            return (quick, Some(self.here()));
        }
        let end = self.line_end(rest);
        let slow = end.unwrap_or(rest.len());
        self.skip(&rest[..slow]);
        let is_found = end.is_some()
            && self.offset >= wanted
            && rest.get(slow).is_none_or(|&next| self.is_at_start(next));
        // At the end of a block only the next one tells whether a newline follows a carriage return.
        let is_certain = slow < rest.len() || self.last == b'\n';
        (quick + slow, (is_found && is_certain).then(|| self.here()))
    }

    fn here(&self) -> Start {
        let pending = u64::from(self.last == b'\r');
        Start { offset: self.offset, line: 1 + self.line_ends + pending }
    }

    /// Returns whether a record begins here, given the next byte.
    fn is_at_start(&self, next: u8) -> bool {
        self.state == State::Plain
            && self.offset > 0
            && (self.last == b'\n' || (self.last == b'\r' && next != b'\n'))
    }

    /// Returns the position after the first line end that ends a record.
    fn line_end(&self, bytes: &[u8]) -> Option<usize> {
        let mut trial = self.clone();
        let mut at = 0;
        loop {
            let end = at + memchr2(b'\n', b'\r', &bytes[at..])?;
            trial.skip(&bytes[at..end]);
            let ends_record = matches!(trial.state, State::Plain | State::Closing | State::Comment);
            let next = end + if bytes[end..].starts_with(b"\r\n") { 2 } else { 1 };
            if ends_record {
                return Some(next);
            }
            trial.skip(&bytes[end..next]);
            at = next;
        }
    }

    /// Scans bytes for quotes and counts lines.
    fn skip(&mut self, bytes: &[u8]) {
        let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return };
        self.line_ends += memchr_iter(b'\n', bytes).count() as u64;
        self.line_ends += u64::from(self.last == b'\r' && first != b'\n');
        let returns = memchr_iter(b'\r', bytes);
        self.line_ends +=
            returns.filter(|&at| bytes.get(at + 1).is_some_and(|&next| next != b'\n')).count() as u64;
        let mut at = 0;
        while at < bytes.len() {
            at = match self.state {
                State::Plain => self.skip_plain(bytes, at),
                State::Quoted => self.skip_quoted(bytes, at),
                State::Closing | State::Escaped => self.decide(bytes[at], at),
                State::Comment => memchr2(b'\n', b'\r', &bytes[at..]).map_or(bytes.len(), |end| {
                    self.state = State::Plain;
                    at + end + 1
                }),
            };
        }
        self.offset += bytes.len() as u64;
        self.last = last;
    }

    /// Returns the position after the next opening quote or comment character, or the end. A quote opens a field only
    /// at its beginning.
    fn skip_plain(&mut self, bytes: &[u8], at: usize) -> usize {
        let Characters { delimiter, quote, comment, .. } = self.characters;
        let rest = &bytes[at..];
        let hit = match (quote, comment) {
            (Some(quote), Some(comment)) => memchr2(quote, comment, rest),
            (Some(one), None) | (None, Some(one)) => memchr(one, rest),
            (None, None) => None,
        };
        let Some(hit) = hit.map(|hit| at + hit) else { return bytes.len() };
        let before = if hit == 0 { self.last } else { bytes[hit - 1] };
        let begins_line = matches!(before, b'\n' | b'\r');
        if comment == Some(bytes[hit]) {
            if begins_line {
                self.state = State::Comment;
            }
        } else if begins_line || before == delimiter {
            self.state = State::Quoted;
        }
        hit + 1
    }

    fn skip_quoted(&mut self, bytes: &[u8], at: usize) -> usize {
        let Characters { quote, escape, .. } = self.characters;
        let rest = &bytes[at..];
        let hit = match (quote, escape) {
            (Some(quote), Some(escape)) => memchr2(quote, escape, rest),
            (Some(one), None) | (None, Some(one)) => memchr(one, rest),
            (None, None) => None,
        };
        let Some(hit) = hit.map(|hit| at + hit) else { return bytes.len() };
        self.state = if escape == Some(bytes[hit]) { State::Escaped } else { State::Closing };
        hit + 1
    }

    /// Returns the state after a byte that follows a quote or an escape inside quotes.
    fn decide(&mut self, byte: u8, at: usize) -> usize {
        let Characters { quote, escape, .. } = self.characters;
        let is_taken = quote == Some(byte) || (self.state == State::Escaped && escape == Some(byte));
        self.state = if is_taken || self.state == State::Escaped { State::Quoted } else { State::Plain };
        at + usize::from(is_taken)
    }
}

/// Counts line ends in whole lines or records: `\n`, `\r\n`, and a single `\r`.
pub(super) fn line_ends(bytes: &[u8]) -> u64 {
    let newlines = memchr_iter(b'\n', bytes).count();
    let lone = memchr_iter(b'\r', bytes).filter(|&at| bytes.get(at + 1) != Some(&b'\n')).count();
    (newlines + lone) as u64
}

/// Returns the end of an unquoted field, exclusive.
pub(super) fn field_end(delimiter: u8, bytes: &[u8]) -> Option<usize> {
    memchr3(delimiter, b'\n', b'\r', bytes)
}
