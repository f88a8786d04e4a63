//! Strings: unescaping, trailing spaces, bytea.

use memchr::memchr;

/// Returns a field of COPY text format unescaped; `scratch` holds the result if there are escapes.
pub(crate) fn unescaped<'a>(field: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let Some(first) = memchr(b'\\', field) else { return field };
    scratch.clear();
    scratch.extend_from_slice(&field[..first]);
    let mut rest = &field[first..];
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            scratch.push(byte);
            continue;
        }
        let Some((&escape, after)) = rest.split_first() else {
            scratch.push(b'\\');
            break;
        };
        rest = after;
        match escape {
            b'b' => scratch.push(8),
            b'f' => scratch.push(12),
            b'n' => scratch.push(b'\n'),
            b'r' => scratch.push(b'\r'),
            b't' => scratch.push(b'\t'),
            b'v' => scratch.push(11),
            b'0'..=b'7' => rest = push_octal(escape, rest, scratch),
            b'x' => rest = push_hex(rest, scratch),
            other => scratch.push(other),
        }
    }
    scratch
}

/// Parses up to three octal digits, the first of which is `first`.
fn push_octal<'a>(first: u8, rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let mut value = u32::from(first - b'0');
    let more = rest.iter().take(2).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
    for digit in &rest[..more] {
        value = value * 8 + u32::from(digit - b'0');
    }
    // The ninth bit of \777 is dropped, as COPY does.
    out.push(value as u8);
    &rest[more..]
}

/// Parses up to two hexadecimal digits after `\x`; without digits it is an x.
fn push_hex<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let digits = rest.iter().take(2).map_while(|&byte| nibble(byte));
    match digits.fold((0, 0), |(value, count), digit| (value * 16 + digit, count + 1)) {
        (_, 0) => {
            out.push(b'x');
            rest
        }
        (value, count) => {
            out.push(value);
            &rest[count..]
        }
    }
}

/// Escapes a value for COPY text format, as a server does.
pub fn escape(value: &[u8], out: &mut Vec<u8>) {
    for &byte in value {
        let escape = match byte {
            8 => b'b',
            12 => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            11 => b'v',
            b'\\' => b'\\',
            _ => {
                out.push(byte);
                continue;
            }
        };
        out.extend_from_slice(&[b'\\', escape]);
    }
}

/// Removes trailing spaces, which PostgreSQL ignores when it compares char(n).
pub(super) fn without_trailing_blanks(value: &[u8]) -> &[u8] {
    let end = value.iter().rposition(|&byte| byte != b' ').map_or(0, |last| last + 1);
    &value[..end]
}

/// Parses a bytea in hex format, which is `\\x…` in COPY text format; `None` if it is not one.
pub(super) fn bytea<'a>(field: &[u8], scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let digits = field.strip_prefix(br"\\x")?;
    scratch.clear();
    if digits.len() % 2 != 0 {
        return None;
    }
    for pair in digits.chunks_exact(2) {
        scratch.push(nibble(pair[0])? << 4 | nibble(pair[1])?);
    }
    Some(scratch)
}

/// Returns the value of a hexadecimal digit.
pub(super) fn nibble(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}
