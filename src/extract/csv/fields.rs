//! Parses one record and writes it as a row in COPY text format.
//!
//! The dialect is RFC 4180, read as tolerantly as possible without guessing: a quote opens a field only at the
//! field's beginning and is literal everywhere else, text after a closing quote belongs to the field, and lines end
//! with `\n`, `\r\n` or `\r`.

use memchr::{memchr2, memchr3};

use super::fast_path;
use super::sink::Sink;
use super::split::{field_end, line_ends};
use crate::config::{Characters, Dialect};

/// NULL in COPY text format (PostgreSQL manual, COPY, "Text Format").
const NULL: &[u8] = b"\\N";

/// The layout of a row: the loaded fields in the file's order, then added values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// For each field of the file, whether it is loaded.
    pub(crate) is_loaded: Vec<bool>,
    /// Fields with values, quoted or not, that are loaded as NULL.
    pub(crate) null_values: Vec<(usize, Vec<String>)>,
    /// Values added to every row.
    pub(crate) added: Vec<Added>,
}

/// A value added to a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Added {
    /// The same value in every row, in COPY text format.
    Constant(Vec<u8>),
    /// A copy of a field of the file.
    Field(usize),
    /// The origin of the row, as passed to [`Fields::read`].
    Place,
}

/// Reads the records of one file.
#[derive(Debug)]
pub(super) struct Fields {
    characters: Characters,
    null: Vec<u8>,
    layout: Layout,
    /// Whether fields are needed again after the whole record was read.
    repeats: bool,
    /// The delimiter and the quote, if records that contain neither quotes nor NULLs become rows unchanged.
    quick: Option<(u8, u8)>,
}

/// A field's position in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    /// The end after the closing quote; 0 if the field is not quoted.
    closed: usize,
}

/// A record that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// The end, after its line end.
    pub(super) end: usize,
    /// The end, before its line end.
    pub(super) content_end: usize,
    /// Its number of fields.
    pub(super) fields: usize,
    /// Whether it may contain line ends.
    pub(super) is_quoted: bool,
}

/// The content at a position where a record should begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A complete record.
    Record(Record),
    /// The beginning of a record.
    Incomplete,
    /// A record whose last quote is not closed before the end of the file.
    Unclosed,
}

impl Fields {
    pub(super) fn new(dialect: &Dialect, layout: Layout) -> Self {
        let repeats = layout.added.iter().any(|added| matches!(added, Added::Field(_)));
        let Characters { delimiter, quote, .. } = dialect.characters;
        let is_quick = dialect.null.is_empty()
            && !repeats
            && layout.is_loaded.iter().all(|&is_loaded| is_loaded)
            && layout.null_values.is_empty()
            && delimiter >= b' '
            && delimiter != b'\\';
        // Without quotes, both line end characters are searched for.
        let quick = is_quick.then_some((delimiter, quote.unwrap_or(b'\n')));
        Self {
            characters: dialect.characters,
            null: dialect.null.as_bytes().to_vec(),
            layout,
            repeats,
            quick,
        }
    }

    /// Returns the number of fields that a record must have.
    pub(super) fn expected(&self) -> usize {
        self.layout.is_loaded.len()
    }

    /// Reads the record at `start` and writes it as a row. If no complete record is found, or the number of fields is
    /// wrong, the caller discards the output. `place` is the value for [`Added::Place`]; `spans` is scratch space.
    pub(super) fn read(
        &self,
        (data, is_last): (&[u8], bool),
        start: usize,
        place: u64,
        spans: &mut Vec<Span>,
        out: &mut impl Sink,
    ) -> Found {
        if let Some((delimiter, quote)) = self.quick
            && let Some(record) = fast_path::record(data, start, delimiter, quote)
            && record.fields == self.expected()
        {
            out.put_fields(&data[start..record.content_end], delimiter);
            self.add(data, place, spans, out);
            return Found::Record(record);
        }
        spans.clear();
        let (mut at, mut fields, mut is_quoted) = (start, 0, false);
        loop {
            let span = match self.span(data, at, is_last) {
                Ok(span) => span,
                Err(nothing) => return nothing,
            };
            is_quoted |= span.closed > 0;
            if self.layout.is_loaded.get(fields).copied().unwrap_or(false) {
                if self.means_null(fields, data, span) {
                    out.put(NULL);
                } else {
                    self.write(data, span, out);
                }
                out.put(b"\t");
            }
            if self.repeats {
                spans.push(span);
            }
            fields += 1;
            if data.get(span.end) == Some(&self.characters.delimiter) {
                at = span.end + 1;
                continue;
            }
            let rest = &data[span.end..];
            if rest == b"\r" && !is_last {
                return Found::Incomplete;
            }
            let end = span.end + if rest.starts_with(b"\r\n") { 2 } else { rest.len().min(1) };
            self.add(data, place, spans, out);
            return Found::Record(Record { end, content_end: span.end, fields, is_quoted });
        }
    }

    /// Writes the added values and the end of a row.
    fn add(&self, data: &[u8], place: u64, spans: &[Span], out: &mut impl Sink) {
        for added in &self.layout.added {
            match added {
                Added::Constant(value) => out.put(value),
                Added::Place => out.put(itoa::Buffer::new().format(place).as_bytes()),
                Added::Field(field) => {
                    if let Some(span) = spans.get(*field) {
                        self.write(data, *span, out);
                    }
                }
            }
            out.put(b"\t");
        }
        out.set_last(b'\n');
    }

    /// Returns the field that begins at `at`.
    fn span(&self, data: &[u8], at: usize, is_last: bool) -> Result<Span, Found> {
        let after = match self.characters.quote {
            Some(quote) if data.get(at) == Some(&quote) => self.closing(data, at + 1, is_last)?,
            _ => at,
        };
        let end = field_end(self.characters.delimiter, &data[after..]).map(|end| after + end);
        match end {
            Some(end) => Ok(Span { start: at, end, closed: if after > at { after } else { 0 } }),
            None if is_last => {
                Ok(Span { start: at, end: data.len(), closed: if after > at { after } else { 0 } })
            }
            None => Err(Found::Incomplete),
        }
    }

    /// Returns the position after the quote that closes a quoted section opened before `at`.
    fn closing(&self, data: &[u8], mut at: usize, is_last: bool) -> Result<usize, Found> {
        let open = if is_last { Found::Unclosed } else { Found::Incomplete };
        loop {
            at += self.special(&data[at..]).ok_or(open)?;
            let next = data.get(at + 1);
            if Some(data[at]) == self.characters.escape {
                let takes =
                    |next: &u8| Some(*next) == self.characters.quote || Some(*next) == self.characters.escape;
                at += 1 + usize::from(next.ok_or(open).map(takes)?);
            } else if next == Some(&data[at]) {
                at += 2;
            } else if next.is_none() && !is_last {
                return Err(open);
            } else {
                return Ok(at + 1);
            }
        }
    }

    /// Returns the next quote or escape.
    fn special(&self, bytes: &[u8]) -> Option<usize> {
        match (self.characters.quote, self.characters.escape) {
            (Some(quote), Some(escape)) => memchr2(quote, escape, bytes),
            (Some(quote), None) => memchr::memchr(quote, bytes),
            (None, _) => None,
        }
    }

    /// Returns whether the value of a field is loaded as NULL.
    fn means_null(&self, field: usize, data: &[u8], span: Span) -> bool {
        let value = match span.closed {
            0 => &data[span.start..span.end],
            closed if closed == span.end => &data[span.start + 1..closed - 1],
            _ => return false,
        };
        let mut of_field = self.layout.null_values.iter().filter(|(number, _)| *number == field);
        of_field.any(|(_, values)| values.iter().any(|null| null.as_bytes() == value))
    }

    /// Writes a field as a value in COPY text format.
    fn write(&self, data: &[u8], span: Span, out: &mut impl Sink) {
        if span.closed > 0 {
            self.write_quoted(&data[span.start + 1..span.closed - 1], out);
            escape(&data[span.closed..span.end], out);
            return;
        }
        let value = &data[span.start..span.end];
        if value == self.null { out.put(NULL) } else { escape(value, out) }
    }

    fn write_quoted(&self, mut rest: &[u8], out: &mut impl Sink) {
        while let Some(at) = self.special(rest) {
            escape(&rest[..at], out);
            let takes = rest.get(at + 1).is_some_and(|next| {
                Some(*next) == self.characters.quote
                    || (Some(*next) == self.characters.escape && Some(rest[at]) == self.characters.escape)
            });
            let taken = at + usize::from(takes);
            escape(&rest[taken..=taken], out);
            rest = &rest[taken + 1..];
        }
        escape(rest, out);
    }

    /// Returns whether a line with this beginning is not a record (a comment or an empty line).
    pub(super) fn is_comment(&self, first: u8) -> bool {
        self.characters.comment == Some(first)
    }

    /// Calls `each` with the number and the span of each field of the record at `at`, as far as they can be
    /// determined.
    pub(super) fn each_span(&self, data: &[u8], mut at: usize, mut each: impl FnMut(usize, Span)) {
        for number in 0.. {
            let Ok(span) = self.span(data, at, true) else { return };
            each(number, span);
            if data.get(span.end) != Some(&self.characters.delimiter) {
                return;
            }
            at = span.end + 1;
        }
    }

    /// Returns the values of a record in COPY text format, as far as they can be determined; `None` for NULL.
    pub(super) fn values(&self, raw: &[u8]) -> Vec<Option<Vec<u8>>> {
        let mut values = Vec::new();
        self.each_span(raw, 0, |_, span| {
            let mut value = Vec::new();
            self.write(raw, span, &mut value);
            values.push((value != NULL).then_some(value));
        });
        values
    }
}

impl Record {
    /// Counts the line ends of a record, including its own.
    pub(super) fn line_ends(&self, data: &[u8], start: usize) -> u64 {
        if self.is_quoted {
            line_ends(&data[start..self.end])
        } else {
            u64::from(self.end > self.content_end)
        }
    }
}

/// Appends text, escaped for COPY text format.
fn escape(text: &[u8], out: &mut impl Sink) {
    // A search does not look far beyond its match.
    const PIECE_BYTES: usize = 1024;
    for mut piece in text.chunks(PIECE_BYTES) {
        while let Some(at) = escaped(piece) {
            out.put(&piece[..at]);
            out.put(match piece[at] {
                b'\\' => b"\\\\",
                b'\t' => b"\\t",
                b'\n' => b"\\n",
                _ => b"\\r",
            });
            piece = &piece[at + 1..];
        }
        out.put(piece);
    }
}

/// Returns the position of the next byte that COPY text format must escape.
fn escaped(text: &[u8]) -> Option<usize> {
    // Most fields are too short for a vectorized search to pay off.
    const SHORT: usize = 16;
    if text.len() <= SHORT {
        return text.iter().position(|byte| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r'));
    }
    let first = memchr3(b'\\', b'\t', b'\n', text);
    memchr::memchr(b'\r', &text[..first.unwrap_or(text.len())]).or(first)
}
