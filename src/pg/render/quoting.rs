//! Quotes the parts of arrays, composites and ranges.

use super::Malformed;

/// The quoting rules of a part.
#[derive(Debug, Clone, Copy)]
pub(super) enum Quoting {
    /// An array's element, with the separator of the elements.
    Element(u8),
    /// A composite's column.
    Column,
    /// A range's bound.
    Bound,
}

impl Quoting {
    fn makes_quotes_necessary(self, byte: u8) -> bool {
        if matches!(byte, b'"' | b'\\' | b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r') {
            return true;
        }
        match self {
            Self::Element(delimiter) => byte == delimiter || matches!(byte, b'{' | b'}'),
            Self::Column => matches!(byte, b'(' | b')' | b','),
            Self::Bound => matches!(byte, b'(' | b')' | b'[' | b']' | b','),
        }
    }

    /// Returns whether an unquoted element would be read as NULL.
    fn is_a_word_for_null(self, text: &[u8]) -> bool {
        matches!(self, Self::Element(_)) && text.eq_ignore_ascii_case(b"null")
    }

    /// Returns the character that escapes a quote or a backslash within quotes.
    fn escape(self, byte: u8) -> u8 {
        if matches!(self, Self::Element(_)) { b'\\' } else { byte }
    }
}

/// Appends the output of `write`, quoted if necessary.
pub(super) fn append_quoted(
    quoting: Quoting,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let start = out.len();
    write(out)?;
    let text = &out[start..];
    let bare = !text.is_empty()
        && !quoting.is_a_word_for_null(text)
        && !text.iter().any(|&byte| quoting.makes_quotes_necessary(byte));
    if !bare {
        quote_from(start, quoting, out);
    }
    Ok(())
}

/// Quotes the end of `out` in place, from back to front so that nothing is overwritten before it is read.
fn quote_from(start: usize, quoting: Quoting, out: &mut Vec<u8>) {
    let is_special = |byte| matches!(byte, b'"' | b'\\');
    let mut from = out.len();
    let escapes = out[start..].iter().filter(|&&byte| is_special(byte)).count();
    let mut to = from + escapes + 2;
    out.resize(to, 0);
    let mut put = |out: &mut Vec<u8>, byte| {
        to -= 1;
        out[to] = byte;
    };
    put(out, b'"');
    while from > start {
        from -= 1;
        let byte = out[from];
        put(out, byte);
        if is_special(byte) {
            put(out, quoting.escape(byte));
        }
    }
    put(out, b'"');
}
