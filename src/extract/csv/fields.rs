//! One record: its fields, and the row of text COPY that it becomes.
//!
//! RFC 4180, read as generously as can be without guessing: a quote opens a field only at its beginning and is itself
//! everywhere else, what follows a closing quote belongs to the field, and lines end with `\n`, `\r\n` or `\r`.

use memchr::{memchr2, memchr3};

use super::fast_path;
use super::sink::Sink;
use super::split::{field_end, line_ends};
use crate::config::{Characters, Dialect};

/// What stands for NULL in text COPY (PostgreSQL manual, COPY, "Text Format").
const NULL: &[u8] = b"\\N";

/// What becomes of a record's fields. Rows have the loaded fields in the file's order, then what is added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Per field of the file whether it is loaded.
    pub(crate) is_loaded: Vec<bool>,
    /// Fields of which some values are loaded as NULL, quoted or not, with these.
    pub(crate) null_values: Vec<(usize, Vec<String>)>,
    /// What is added to every row.
    pub(crate) added: Vec<Added>,
}

/// A value that is added to a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Added {
    /// The same in every row, as text COPY has it.
    Constant(Vec<u8>),
    /// A field of the file once more.
    Field(usize),
    /// The place that [`Fields::read`] is given.
    Place,
}

/// Reads the records of one file.
#[derive(Debug)]
pub(super) struct Fields {
    characters: Characters,
    null: Vec<u8>,
    layout: Layout,
    /// Whether fields are needed again after all of them were read.
    repeats: bool,
    /// The delimiter and the quote, where records that hold neither quotes nor NULLs become rows as they are.
    quick: Option<(u8, u8)>,
}

/// A field as it stands in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
    /// After the closing quote; 0 if it is not quoted.
    closed: usize,
}

/// A record that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// After its end of line.
    pub(super) end: usize,
    /// The same without it.
    pub(super) content_end: usize,
    /// How many fields it has.
    pub(super) fields: usize,
    /// Whether ends of lines can be within it.
    pub(super) is_quoted: bool,
}

/// What was found where a record should begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// One.
    Record(Record),
    /// The beginning of one.
    Incomplete,
    /// One whose last quotes are not closed before the file's end.
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
        // Where there are no quotes, what ends lines is looked for twice.
        let quick = is_quick.then_some((delimiter, quote.unwrap_or(b'\n')));
        Self {
            characters: dialect.characters,
            null: dialect.null.as_bytes().to_vec(),
            layout,
            repeats,
            quick,
        }
    }

    /// Fields that a record must have.
    pub(super) fn expected(&self) -> usize {
        self.layout.is_loaded.len()
    }

    /// Reads the record at `start`, and writes it as a row. Of a record that turns out to be none, or to have other than
    /// the expected number of fields, what was written is of no use. `place` is what [`Added::Place`] adds. `spans` is
    /// scratch.
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

    /// What is added to a row, and its end.
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

    /// The field that begins at `at`.
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

    /// After the quote that closes the quotes which were opened before `at`.
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

    /// The next quote or escape.
    fn special(&self, bytes: &[u8]) -> Option<usize> {
        match (self.characters.quote, self.characters.escape) {
            (Some(quote), Some(escape)) => memchr2(quote, escape, bytes),
            (Some(quote), None) => memchr::memchr(quote, bytes),
            (None, _) => None,
        }
    }

    /// Whether the value of a field is one that is loaded as NULL.
    fn means_null(&self, field: usize, data: &[u8], span: Span) -> bool {
        let value = match span.closed {
            0 => &data[span.start..span.end],
            closed if closed == span.end => &data[span.start + 1..closed - 1],
            _ => return false,
        };
        let mut of_field = self.layout.null_values.iter().filter(|(number, _)| *number == field);
        of_field.any(|(_, values)| values.iter().any(|null| null.as_bytes() == value))
    }

    /// Writes a field as a value of text COPY.
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

    /// Whether a line that begins so is no record.
    pub(super) fn is_comment(&self, first: u8) -> bool {
        self.characters.comment == Some(first)
    }

    /// Calls `each` with the number and the span of each field of the record that begins at `at`, as far as they can be told.
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

    /// The values of a record as text COPY has them, as far as they can be told; `None` for NULL.
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
    /// Ends of lines that belong to it, its own included.
    pub(super) fn line_ends(&self, data: &[u8], start: usize) -> u64 {
        if self.is_quoted {
            line_ends(&data[start..self.end])
        } else {
            u64::from(self.end > self.content_end)
        }
    }
}

/// Appends text with the escapes of text COPY.
fn escape(text: &[u8], out: &mut impl Sink) {
    // Searches do not look far beyond what they find.
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

/// Where the next byte is that text COPY must not see as it is.
fn escaped(text: &[u8]) -> Option<usize> {
    // Most fields are shorter than a search would pay for.
    const SHORT: usize = 16;
    if text.len() <= SHORT {
        return text.iter().position(|byte| matches!(byte, b'\\' | b'\t' | b'\n' | b'\r'));
    }
    let first = memchr3(b'\\', b'\t', b'\n', text);
    memchr::memchr(b'\r', &text[..first.unwrap_or(text.len())]).or(first)
}
