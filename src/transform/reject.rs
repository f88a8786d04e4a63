//! Rejected rows on their way to the rejects file: CSV lines, counted reasons, and a few samples.

use super::rules::Render;
use crate::error::Result;
use crate::pg::format::Format;

/// Number of reasons kept as samples.
pub const SAMPLES_MAX: usize = 3;

/// Maximum number of kinds of reasons that are counted separately; normally there is one per rule.
const REASONS_MAX: usize = 1000;

/// A summary of rejects without the rows themselves; small, whatever their number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejects {
    /// Number of rejects.
    pub count: u64,
    /// Number per constraint, or per kind of reason without one ("loc_id has no match in public.locmaster"). Contains
    /// no values of rows, so it is fit for logs.
    pub reasons: Vec<(String, u64)>,
    /// The first rejects: constraint or kind, and the full reason, with values of rows.
    pub samples: Vec<(String, String)>,
}

impl Rejects {
    /// Counts `rejects` of one kind.
    fn count(&mut self, kind: &str, rejects: u64) {
        self.count += rejects;
        let known = self.reasons.iter().position(|(known, _)| known == kind);
        if let Some(known) = known {
            self.reasons[known].1 += rejects;
        } else if self.reasons.len() < REASONS_MAX {
            self.reasons.push((kind.to_owned(), rejects));
        }
    }

    /// Adds another summary.
    pub fn add(&mut self, other: &Self) {
        let before = self.count;
        for (kind, count) in &other.reasons {
            self.count(kind, *count);
        }
        self.count = before + other.count;
        let room = SAMPLES_MAX.saturating_sub(self.samples.len());
        self.samples.extend(other.samples.iter().take(room).cloned());
    }
}

/// Collects rejected rows as lines of CSV. Its size stays bounded if the caller takes the lines after every batch.
#[derive(Debug, Default)]
pub struct RejectBuffer {
    lines: Vec<u8>,
    /// For each line, the row's ordinal and where the line begins.
    rows: Vec<(u64, usize)>,
    rejects: Rejects,
    /// A value before quoting.
    scratch: Vec<u8>,
}

/// The beginning of a reject.
#[derive(Debug)]
pub struct Reason<'a> {
    /// The label it is counted under, without values.
    pub kind: &'a str,
    /// The full reason, with values.
    pub text: &'a [u8],
    /// The violated constraint.
    pub constraint: Option<&'a str>,
    /// The row's ordinal in its stream, from 1.
    pub row: u64,
    /// The row's location; present exactly if the source is files.
    pub place: Option<Place<'a>>,
}

/// The location of a row in its file.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The file's name for people.
    pub file: &'a str,
    /// The physical line where its record begins, from 1.
    pub line: u64,
    /// The column at fault, if it is a single one.
    pub column: Option<&'a str>,
    /// The record as it stands in the file.
    pub raw: &'a [u8],
}

/// The first columns of a rejects file; the source's columns follow.
#[must_use]
pub fn own_columns(has_places: bool) -> &'static [&'static str] {
    const ALL: &[&str] = &["reason", "constraint", "row", "file", "line", "column", "raw"];
    if has_places { ALL } else { &ALL[..3] }
}

impl RejectBuffer {
    /// Returns the header line for a source with these columns.
    #[must_use]
    pub fn header<'a>(has_places: bool, columns: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
        let mut line = own_columns(has_places).join(",").into_bytes();
        for name in columns {
            line.push(b',');
            quote(name.as_bytes(), &mut line);
        }
        line.push(b'\n');
        line
    }

    /// Takes the lines written since the last call.
    #[must_use]
    pub fn take_lines(&mut self) -> Vec<u8> {
        self.rows.clear();
        std::mem::take(&mut self.lines)
    }

    /// Returns the lines written since they were last taken.
    #[must_use]
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Sorts the lines by their rows' ordinals.
    pub fn sort(&mut self) {
        if self.rows.is_sorted_by_key(|&(row, _)| row) {
            return;
        }
        let ends = self.rows.iter().skip(1).map(|&(_, start)| start).chain([self.lines.len()]);
        let mut ranges: Vec<(u64, std::ops::Range<usize>)> =
            self.rows.iter().zip(ends).map(|(&(row, start), end)| (row, start..end)).collect();
        ranges.sort_by_key(|&(row, _)| row);
        let mut lines = Vec::with_capacity(self.lines.len());
        self.rows.clear();
        for (row, range) in ranges {
            self.rows.push((row, lines.len()));
            lines.extend_from_slice(&self.lines[range]);
        }
        self.lines = lines;
    }

    /// Returns the summary.
    #[must_use]
    pub fn rejects(&self) -> &Rejects {
        &self.rejects
    }

    /// Begins a line. The values of the source's columns follow, then the end of the line.
    pub fn begin(&mut self, reason: &Reason<'_>) {
        self.rejects.count(reason.kind, 1);
        if self.rejects.samples.len() < SAMPLES_MAX {
            let text = String::from_utf8_lossy(reason.text).into_owned();
            self.rejects.samples.push((reason.kind.to_owned(), text));
        }
        self.rows.push((reason.row, self.lines.len()));
        quote(reason.text, &mut self.lines);
        self.lines.push(b',');
        if let Some(constraint) = reason.constraint {
            quote(constraint.as_bytes(), &mut self.lines);
        }
        self.lines.push(b',');
        self.lines.extend_from_slice(itoa::Buffer::new().format(reason.row).as_bytes());
        if let Some(place) = &reason.place {
            self.place(place);
        }
    }

    fn place(&mut self, place: &Place<'_>) {
        self.lines.push(b',');
        quote(place.file.as_bytes(), &mut self.lines);
        self.lines.push(b',');
        self.lines.extend_from_slice(itoa::Buffer::new().format(place.line).as_bytes());
        self.lines.push(b',');
        quote(place.column.unwrap_or_default().as_bytes(), &mut self.lines);
        self.lines.push(b',');
        quote(place.raw, &mut self.lines);
    }

    /// Adds a value: `None` for NULL, which is an empty field; an empty string is a pair of quotes.
    ///
    /// # Errors
    /// Errors of the renderer.
    pub fn value(&mut self, value: Option<&[u8]>, format: Format, render: Option<&Render>) -> Result<()> {
        self.lines.push(b',');
        let Some(value) = value else { return Ok(()) };
        self.scratch.clear();
        write_value(value, format, render, &mut self.scratch)?;
        if self.scratch.is_empty() {
            self.lines.extend_from_slice(b"\"\"");
        }
        quote(&self.scratch, &mut self.lines);
        Ok(())
    }

    /// Ends a line.
    pub fn end(&mut self) {
        self.lines.push(b'\n');
    }
}

/// Appends a value in readable form.
pub(super) fn write_value(
    value: &[u8],
    format: Format,
    render: Option<&Render>,
    out: &mut Vec<u8>,
) -> Result<()> {
    match (format, render) {
        (Format::Text, _) => {
            let mut scratch = Vec::new();
            out.extend_from_slice(super::key::bytes::unescaped(value, &mut scratch));
        }
        (Format::Binary, Some(render)) => render.write(value, out)?,
        (Format::Binary, None) => {
            out.extend_from_slice(b"\\x");
            for byte in value {
                out.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
            }
        }
    }
    Ok(())
}

/// Appends a CSV field (RFC 4180), quoted if necessary.
pub(crate) fn quote(field: &[u8], out: &mut Vec<u8>) {
    if !field.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
        out.extend_from_slice(field);
        return;
    }
    out.push(b'"');
    for part in field.split_inclusive(|&byte| byte == b'"') {
        out.extend_from_slice(part);
        if part.ends_with(b"\"") {
            out.push(b'"');
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_a_file_tells_where_it_stands() {
        let mut rejects = RejectBuffer::default();
        let place = Place { file: "a,b.csv", line: 7, column: Some("n"), raw: b"1,\"x\ny\"" };
        let place = Some(place);
        rejects.begin(&Reason { kind: "k", text: b"t", constraint: None, row: 5, place });
        rejects.value(Some(b"1"), Format::Text, None).unwrap();
        rejects.value(None, Format::Text, None).unwrap();
        rejects.end();
        let header = String::from_utf8(RejectBuffer::header(true, ["n", "v"])).unwrap();
        assert_eq!(header, "reason,constraint,row,file,line,column,raw,n,v\n");
        let line = String::from_utf8(rejects.take_lines()).unwrap();
        assert_eq!(line, "t,,5,\"a,b.csv\",7,n,\"1,\"\"x\ny\"\"\",1,\n");
    }
    #[test]
    fn lines_are_put_in_the_order_of_their_rows() {
        let mut rejects = RejectBuffer::default();
        for row in [7, 9, 2, 8] {
            rejects.begin(&Reason { kind: "k", text: b"a\nb", constraint: None, row, place: None });
            rejects.end();
        }
        rejects.sort();
        rejects.begin(&Reason { kind: "k", text: b"t", constraint: None, row: 10, place: None });
        rejects.end();
        rejects.sort();
        let rows = ["2", "7", "8", "9"].map(|row| format!("\"a\nb\",,{row}\n")).concat();
        assert_eq!(String::from_utf8_lossy(rejects.lines()), format!("{rows}t,,10\n"));
    }
}
