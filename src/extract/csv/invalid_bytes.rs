//! Bytes that are invalid in a file's encoding: how they are carried in a stream of UTF-8, and how they are
//! displayed.
//!
//! Nothing is lost: the bytes can be recovered from a rejects file, which is UTF-8 throughout.

/// Each byte of a mark carries three bits of the invalid byte. None of these bytes can be part of UTF-8 (RFC 3629),
/// so the record is detected as bad.
const MARK: u8 = 0xf8;

/// Length of a mark in bytes.
pub(super) const MARK_BYTES: usize = 3;

/// Returns the mark for an invalid byte in a decoded stream.
pub(super) fn mark(byte: u8) -> [u8; MARK_BYTES] {
    [byte >> 6, byte >> 3, byte].map(|bits| MARK | (bits & 7))
}

/// Returns a text with invalid bytes and NUL written as `\xNN`, and a backslash as `\\`. `is_decoded` means that it
/// contains marks.
pub(super) fn told(text: &[u8], is_decoded: bool) -> Vec<u8> {
    let mut told = Vec::with_capacity(2 * text.len());
    let mut marked = (0_usize, 0_u8);
    for chunk in text.utf8_chunks() {
        for &byte in chunk.valid().as_bytes() {
            match byte {
                0 => told.extend_from_slice(b"\\x00"),
                b'\\' => told.extend_from_slice(b"\\\\"),
                byte => told.push(byte),
            }
        }
        for &byte in chunk.invalid() {
            if !is_decoded {
                hexadecimal(byte, &mut told);
                continue;
            }
            marked = (marked.0 + 1, marked.1 << 3 | (byte & 7));
            if marked.0 == MARK_BYTES {
                hexadecimal(marked.1, &mut told);
                marked = (0, 0);
            }
        }
    }
    told
}

fn hexadecimal(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\x");
    out.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_can_be_told_from_its_mark() {
        for byte in 0..=u8::MAX {
            let marked = [b"a\\".as_slice(), &mark(byte), "ä".as_bytes()].concat();
            assert_eq!(told(&marked, true), format!("a\\\\\\x{byte:02x}ä").into_bytes());
        }
        assert_eq!(told(b"\xe4\0\xc3", false), b"\\xe4\\x00\\xc3");
    }
}
