//! Reads a part of a file and produces batches of rows in COPY text format, and rejects.
//!
//! The file is read block by block; an incomplete record at the end of a block is moved to the front of the next one.
//! A record is written as a row while it is read, and the output is rolled back if the record turns out to be bad.
//! Batches keep a reference to the block with their rows, so that a later reject can report its line and its text.

use std::borrow::Cow;
use std::io::Read;
use std::sync::Arc;

use memchr::memchr2;

use super::fields::{Fields, Found, Layout, Record, Span};
use super::input::{BOM, Input, failed};
use super::invalid_bytes::told;
use super::sink::{Bounded, Nowhere, Pieces, Sink};
use super::split::Start;
use super::validate::Soundness;
use crate::batch::{BATCH_BYTES, Batch, BatchPool, Origin, RowOrigin};
use crate::config::Dialect;
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::format::Format;
use crate::plan::CsvFile;
use crate::transform::{Place, Reason, RejectBuffer, escape_text, unescaped};

/// Bytes read and processed at once: a few batches, which fit into the processor's cache.
const BLOCK_BYTES: usize = 256 * 1024;

/// Maximum size of a record, which must fit into memory. A longer one has a missing or superfluous quote.
pub(super) const RECORD_BYTES_MAX: usize = 256 << 20;

/// A longer row is written in pieces, so that the size of a batch does not depend on its rows.
const ROW_BYTES_MAX: usize = 4 * BATCH_BYTES;

/// A part of a file, and how its records are converted.
#[derive(Debug)]
pub(crate) struct Slice<'a> {
    pub(crate) file: &'a CsvFile,
    pub(crate) dialect: &'a Dialect,
    pub(crate) layout: Layout,
    /// The names of the file's fields.
    pub(crate) names: Vec<&'a str>,
    /// The columns of the rejects file, as fields of this file.
    pub(crate) reject_columns: Vec<Option<usize>>,
    /// Where the part begins.
    pub(crate) start: Start,
    /// End of the part: records that begin at or after this byte belong to the next part.
    pub(crate) until: Option<u64>,
    /// The value added to a record's line, for [`super::fields::Added::Place`].
    pub(crate) place: u64,
}

/// The receiver of rows and rejects.
pub(crate) trait Outlet {
    /// Receives rows, and the number of file bytes read since the last call.
    ///
    /// # Errors
    /// The receiver no longer accepts rows.
    fn rows(&mut self, batch: Batch, bytes: u64) -> Result<()>;

    /// Receives rejected records.
    ///
    /// # Errors
    /// The rejects cannot be written, or there are too many of them.
    fn rejects(&mut self, rejects: &RejectBuffer) -> Result<()>;
}

/// The totals of a part.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Records, good and bad.
    pub(crate) records: u64,
    /// Records that became rows.
    pub(crate) rows: u64,
    /// Bytes of the file.
    pub(crate) bytes: u64,
}

/// Reads a part of a file to its end. Synchronous; takes time in proportion to the part's size.
///
/// # Errors
/// The file cannot be read, or not as CSV; errors of the outlet.
pub(crate) fn read(slice: &Slice<'_>, pool: &BatchPool, outlet: &mut impl Outlet) -> Result<Tally> {
    let mut input = Input::open(slice.file, slice.start.offset)?;
    let tally = read_blocks(slice, &mut input, Input::taken, BLOCK_BYTES, pool, outlet);
    // A changed file may not be CSV, or may be shorter.
    input.refuse_changed(slice.file)?;
    tally
}

/// Likewise for any stream, of which `taken` bytes were already read, in blocks of any size.
pub(super) fn read_blocks<R: Read>(
    slice: &Slice<'_>,
    input: &mut R,
    taken: impl Fn(&R) -> u64,
    block_bytes: usize,
    pool: &BatchPool,
    outlet: &mut impl Outlet,
) -> Result<Tally> {
    let mut reader = Reader::new(slice, pool, outlet);
    let mut block = Vec::with_capacity(block_bytes);
    loop {
        let before = block.len();
        let wanted = if before < block_bytes.div_ceil(2) { block_bytes } else { 2 * before };
        // Reserve exactly, because a Vec would reserve more.
        block.reserve_exact(wanted - before);
        input
            .by_ref()
            .take((wanted - before) as u64)
            .read_to_end(&mut block)
            .map_err(|e| failed(slice.file, &e))?;
        let is_last = block.len() < wanted;
        let text = Arc::new(block);
        let at = reader.block(&text, is_last)?;
        let bytes = if slice.file.is_divisible() { reader.read_bytes() } else { taken(input) };
        reader.flush(&text, bytes)?;
        if is_last || at.is_none() {
            return reader.finish(bytes);
        }
        block = rest(text, at.unwrap_or_default());
        if block.len() > RECORD_BYTES_MAX {
            return Err(reader.endless());
        }
    }
}

/// Moves the rest of a block to the front of the next one. The memory is reused if no batch needs it.
fn rest(text: Arc<Vec<u8>>, at: usize) -> Vec<u8> {
    match Arc::try_unwrap(text) {
        Ok(mut block) if block.capacity() <= 2 * BLOCK_BYTES || at == 0 => {
            block.drain(..at);
            block
        }
        Ok(block) => fresh(&block[at..]),
        Err(text) => fresh(&text[at..]),
    }
}

fn fresh(rest: &[u8]) -> Vec<u8> {
    let mut block = Vec::with_capacity(BLOCK_BYTES.max(2 * rest.len()));
    block.extend_from_slice(rest);
    block
}

/// The reader's state between two blocks.
struct Reader<'a, O> {
    slice: &'a Slice<'a>,
    pool: &'a BatchPool,
    outlet: &'a mut O,
    fields: Fields,
    batch: Batch,
    places: Vec<RowOrigin>,
    rejects: RejectBuffer,
    spans: Vec<Span>,
    /// Position of the block's first byte.
    offset: u64,
    /// Position of the next record.
    line: u64,
    records: u64,
    rows: u64,
    /// Bytes reported to the outlet.
    told: u64,
    expects_header: bool,
}

/// The kind of a line.
enum Line {
    Record(Record),
    /// Not a record, up to this position.
    Skipped(usize),
    Incomplete,
}

impl<'a, O: Outlet> Reader<'a, O> {
    fn new(slice: &'a Slice<'a>, pool: &'a BatchPool, outlet: &'a mut O) -> Self {
        Self {
            slice,
            pool,
            outlet,
            fields: Fields::new(slice.dialect, slice.layout.clone()),
            batch: pool.take(),
            places: Vec::new(),
            rejects: RejectBuffer::default(),
            spans: Vec::new(),
            offset: slice.start.offset,
            line: slice.start.line,
            records: 0,
            rows: 0,
            told: 0,
            expects_header: slice.dialect.header && slice.start == Start::OF_FILE,
        }
    }

    /// Reads the records of a block. Returns where the first incomplete record begins; `None` if the next record
    /// belongs to the next part.
    fn block(&mut self, text: &Arc<Vec<u8>>, is_last: bool) -> Result<Option<usize>> {
        let data = text.as_slice();
        let mut at = if self.offset == 0 && data.starts_with(BOM) { BOM.len() } else { 0 };
        let mut soundness = Soundness::of(data, at, is_last);
        while at < data.len() {
            if self.slice.until.is_some_and(|until| self.offset + at as u64 >= until) {
                self.offset += at as u64;
                return Ok(None);
            }
            if self.batch.is_full() {
                self.hand_on(text, 0)?;
            }
            let begin = self.batch.buffer().len();
            let skips_empty = self.expects_header || self.fields.expected() != 1;
            let mut out =
                Bounded { buffer: self.batch.buffer(), limit: begin + ROW_BYTES_MAX, is_over: false };
            let line = read_line(
                &self.fields,
                (data, is_last),
                Next { at, place: self.slice.place + self.line, skips_empty },
                &mut self.spans,
                &mut out,
            );
            let is_large = out.is_over;
            let line = match line {
                Ok(line) => line,
                Err(Unclosed) => return Err(self.unclosed()),
            };
            match line {
                Line::Incomplete => {
                    self.batch.buffer().truncate(begin);
                    break;
                }
                Line::Skipped(end) => {
                    self.line += 1;
                    at = end;
                }
                Line::Record(record) => {
                    self.record((text, begin), at, record, is_large, &mut soundness)?;
                    self.line += record.line_ends(data, at);
                    at = record.end;
                }
            }
        }
        self.offset += at as u64;
        Ok(Some(at))
    }

    /// Keeps a record that was written from `begin`, or rejects it.
    fn record(
        &mut self,
        (text, begin): (&Arc<Vec<u8>>, usize),
        start: usize,
        record: Record,
        is_large: bool,
        soundness: &mut Soundness,
    ) -> Result<()> {
        let place = RowOrigin { row: self.records + 1, line: self.line, start, end: record.content_end };
        let expects_header = std::mem::take(&mut self.expects_header);
        let fault = soundness.fault(text, start..record.content_end);
        if expects_header {
            self.batch.buffer().truncate(begin);
            return Ok(());
        }
        self.records += 1;
        if record.fields != self.fields.expected() || fault.is_some() {
            self.batch.buffer().truncate(begin);
            let reason = match fault {
                Some((byte, kind)) => self.fault(text, place, byte, kind),
                None => miscounted(record.fields, self.fields.expected()),
            };
            return self.reject(text, place, reason);
        }
        self.rows += 1;
        self.batch.messages += 1;
        self.places.push(place);
        if is_large {
            self.batch.buffer().truncate(begin);
            self.write_large(text, place)?;
        }
        Ok(())
    }

    /// Writes a row in pieces.
    fn write_large(&mut self, text: &Arc<Vec<u8>>, place: RowOrigin) -> Result<()> {
        let batch = std::mem::replace(&mut self.batch, self.pool.take());
        let places = std::mem::take(&mut self.places);
        let mut first = batch;
        first.origin = Some(self.origin(text, places));
        let mut pieces = Pieces { batch: first, pool: self.pool, outlet: &mut *self.outlet, outcome: Ok(()) };
        // More data does not change what kind of record it is.
        let data = &text[..];
        self.fields.read(
            (data, true),
            place.start,
            self.slice.place + place.line,
            &mut self.spans,
            &mut pieces,
        );
        let Pieces { batch, outcome, .. } = pieces;
        outcome?;
        self.outlet.rows(batch, 0)
    }

    fn origin(&self, text: &Arc<Vec<u8>>, rows: Vec<RowOrigin>) -> Origin {
        Origin { file: self.slice.file.name.clone(), text: text.clone(), rows }
    }

    /// Passes the batch on, then the rejects found so far.
    fn hand_on(&mut self, text: &Arc<Vec<u8>>, bytes: u64) -> Result<()> {
        let mut batch = std::mem::replace(&mut self.batch, self.pool.take());
        let places = std::mem::take(&mut self.places);
        // Expect about as many rows as in the last batch.
        self.places.reserve(places.len());
        batch.origin = Some(self.origin(text, places));
        self.outlet.rows(batch, bytes)
    }

    /// Passes on the output of the block, because the next one has another text. `bytes` of the file have been read.
    fn flush(&mut self, text: &Arc<Vec<u8>>, bytes: u64) -> Result<()> {
        let new = bytes.saturating_sub(self.told);
        self.told = bytes;
        self.hand_on(text, new)?;
        self.hand_on_rejects(text)
    }

    /// Passes on rejects, after the rows before them, so that a receiver that stops at a limit has seen those rows.
    fn hand_on_rejects(&mut self, text: &Arc<Vec<u8>>) -> Result<()> {
        if !self.places.is_empty() {
            self.hand_on(text, 0)?;
        }
        let rejects = std::mem::take(&mut self.rejects);
        if rejects.lines().is_empty() { Ok(()) } else { self.outlet.rejects(&rejects) }
    }

    /// Returns the bytes of a divisible file that were read up to the end of the block's records.
    fn read_bytes(&self) -> u64 {
        self.offset - self.slice.start.offset
    }

    fn finish(self, bytes: u64) -> Result<Tally> {
        self.pool.give_back(self.batch);
        Ok(Tally { records: self.records, rows: self.rows, bytes })
    }

    /// Names the kind of an invalid byte and the column it is in.
    fn fault(&self, text: &[u8], place: RowOrigin, byte: usize, kind: &'static str) -> Fault<'a> {
        let mut field = 0;
        self.fields.each_span(&text[..place.end], place.start, |number, span| {
            if span.start <= byte {
                field = number;
            }
        });
        let kind = match kind {
            super::validate::MEANINGLESS => format!("invalid {}", self.slice.file.encoding.name()),
            kind => kind.to_owned(),
        };
        let column = self.slice.names.get(field).copied();
        let text = column.map_or_else(|| kind.clone(), |column| format!("{kind} in column {column}"));
        Fault { kind, text, column, is_unsound: true }
    }

    fn reject(&mut self, text: &Arc<Vec<u8>>, place: RowOrigin, reason: Fault<'_>) -> Result<()> {
        let record = &text[place.start..place.end];
        let Fault { kind, text: why, column, is_unsound } = reason;
        let is_decoded = self.slice.file.encoding != encoding_rs::UTF_8;
        let raw = if is_unsound { Cow::Owned(told(record, is_decoded)) } else { Cow::Borrowed(record) };
        self.rejects.begin(&Reason {
            kind: &kind,
            text: why.as_bytes(),
            constraint: None,
            row: place.row,
            place: Some(Place { file: &self.slice.file.name, line: place.line, column, raw: &raw }),
        });
        let mut values = self.fields.values(record);
        if is_unsound {
            for value in values.iter_mut().flatten() {
                let told = told(unescaped(value, &mut Vec::new()), is_decoded);
                value.clear();
                escape_text(&told, value);
            }
        }
        for field in &self.slice.reject_columns {
            let value = field.and_then(|field| values.get(field)?.as_deref());
            self.rejects.value(value, Format::Text, None)?;
        }
        self.rejects.end();
        if self.rejects.lines().len() < BATCH_BYTES { Ok(()) } else { self.hand_on_rejects(text) }
    }

    fn unclosed(&self) -> Error {
        let Slice { file, .. } = self.slice;
        let message = format!(
            "{}:{}: a quoted field in this record is not closed before the end of the file",
            file.name, self.line
        );
        Error::new(Phase::Load, Kind::Io, message).hint(self.hint_quotes())
    }

    fn endless(&self) -> Error {
        let (name, line, mib) = (&self.slice.file.name, self.line, RECORD_BYTES_MAX >> 20);
        let message = format!("{name}:{line}: this record is longer than {mib} MiB");
        Error::new(Phase::Load, Kind::Io, message).hint(self.hint_quotes())
    }

    fn hint_quotes(&self) -> String {
        let none = self.slice.dialect.said.setting("quote", "");
        format!(
            "A quote is missing or superfluous in this record or before it. If the file does not use quotes: {none}."
        )
    }
}

/// Why a record is not a row.
struct Fault<'a> {
    /// The reason without values that differ from row to row.
    kind: String,
    text: String,
    column: Option<&'a str>,
    /// Whether it contains bytes that PostgreSQL rejects in text.
    is_unsound: bool,
}

fn miscounted(found: usize, expected: usize) -> Fault<'static> {
    let kind = if found < expected { "too few fields" } else { "too many fields" };
    let text = format!("{kind}: found {found} instead of {expected}");
    Fault { kind: kind.to_owned(), text, column: None, is_unsound: false }
}

/// The error for a record with an unclosed quote.
struct Unclosed;

/// The text to be read.
#[derive(Debug, Clone, Copy)]
struct Next {
    /// Where it begins.
    at: usize,
    /// See [`Fields::read`].
    place: u64,
    /// Whether an empty line is skipped; otherwise it is a row of one column.
    skips_empty: bool,
}

/// Reads a line or a record.
fn read_line(
    fields: &Fields,
    (data, is_last): (&[u8], bool),
    Next { at, place, skips_empty }: Next,
    spans: &mut Vec<Span>,
    out: &mut impl Sink,
) -> std::result::Result<Line, Unclosed> {
    if fields.is_comment(data[at]) {
        let Some(end) = memchr2(b'\n', b'\r', &data[at..]).map(|end| at + end) else {
            return Ok(if is_last { Line::Skipped(data.len()) } else { Line::Incomplete });
        };
        return Ok(line_end(data, end, is_last).map_or(Line::Incomplete, Line::Skipped));
    }
    if matches!(data[at], b'\n' | b'\r') && skips_empty {
        return Ok(line_end(data, at, is_last).map_or(Line::Incomplete, Line::Skipped));
    }
    match fields.read((data, is_last), at, place, spans, out) {
        Found::Record(record) => Ok(Line::Record(record)),
        Found::Incomplete => Ok(Line::Incomplete),
        Found::Unclosed => Err(Unclosed),
    }
}

/// Returns the position after the line end at `at`; `None` if a newline may still follow.
fn line_end(data: &[u8], at: usize, is_last: bool) -> Option<usize> {
    match &data[at..] {
        [b'\r'] if !is_last => None,
        [b'\r', b'\n', ..] => Some(at + 2),
        _ => Some(at + 1),
    }
}

/// The first record of a file, or what is wrong with it, as a clause.
pub(super) type FirstRecord = std::result::Result<First, &'static str>;

/// The first record of a file.
pub(super) struct First {
    /// Its number of fields.
    pub(super) fields: usize,
    /// Its values, if it is a header.
    pub(super) names: Vec<Vec<u8>>,
    /// Where it begins.
    pub(super) start: usize,
    /// Where it ends.
    pub(super) end: usize,
}

/// Reads the header of a file, or its first record, from the beginning of its text. `None` if the text ends before
/// the record does.
pub(super) fn first_record(dialect: &Dialect, text: &[u8], is_last: bool) -> Option<FirstRecord> {
    let fields = Fields::new(dialect, Layout::default());
    let mut at = if text.starts_with(BOM) { BOM.len() } else { 0 };
    while at < text.len() {
        let next = Next { at, place: 0, skips_empty: true };
        match read_line(&fields, (text, is_last), next, &mut Vec::new(), &mut Nowhere) {
            Err(Unclosed) => return Some(Err("a quoted field in its first record is not closed")),
            Ok(Line::Incomplete) => return None,
            Ok(Line::Skipped(end)) => at = end,
            Ok(Line::Record(record)) => {
                let header = if dialect.header { &text[at..record.content_end] } else { b"" };
                let names = fields.values(header).into_iter();
                let plain =
                    |name: Option<Vec<u8>>| unescaped(&name.unwrap_or_default(), &mut Vec::new()).to_vec();
                let names = names.map(plain).collect();
                return Some(Ok(First { fields: record.fields, names, start: at, end: record.end }));
            }
        }
    }
    is_last.then_some(Err("it has no record"))
}
