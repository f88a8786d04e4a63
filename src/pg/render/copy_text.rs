//! Converts a field of COPY's text format to the text of the value.

/// Appends the text of a field of COPY's text format: the result of [`super::Renderer::write`] for the same value in binary.
///
/// `field` is the part between two tabs or line ends (PostgreSQL manual, COPY, "Text Format"). The caller must handle `\N`,
/// which is NULL and has no text. Any bytes are accepted, as by the server: a backslash before any other character stands for
/// that character, one at the end for nothing.
pub fn from_copy_text(field: &[u8], out: &mut Vec<u8>) {
    let mut rest = field;
    while let Some(plain) = rest.iter().position(|&byte| byte == b'\\') {
        out.extend_from_slice(&rest[..plain]);
        let Some((&escaped, after)) = rest[plain + 1..].split_first() else { return };
        rest = after;
        match escaped {
            b'b' => out.push(0x08),
            b'f' => out.push(0x0c),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(0x0b),
            b'0'..=b'7' => out.push(number(octal(escaped).unwrap_or(0), 8, octal, &mut rest)),
            b'x' if rest.first().is_some_and(u8::is_ascii_hexdigit) => {
                out.push(number(0, 16, hexadecimal, &mut rest));
            }
            other => out.push(other),
        }
    }
    out.extend_from_slice(rest);
}

/// Parses a byte from `first` and at most two more digits. Like the server, it cuts off digits that do not fit.
fn number(first: u8, base: u8, digit: fn(u8) -> Option<u8>, rest: &mut &[u8]) -> u8 {
    let mut value = first;
    for _ in 0..2 {
        let Some((&byte, after)) = rest.split_first() else { break };
        let Some(digit) = digit(byte) else { break };
        value = value.wrapping_mul(base).wrapping_add(digit);
        *rest = after;
    }
    value
}

fn octal(byte: u8) -> Option<u8> {
    matches!(byte, b'0'..=b'7').then(|| byte - b'0')
}

fn hexadecimal(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
