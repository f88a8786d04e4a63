//! Renders strings, bits, and types with a simple form of their own.

use std::io::Write as _;

use super::Malformed;
use super::fields::Fields;

/// Renders types whose binary form is their text.
pub(super) fn text(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.extend_from_slice(value);
    Ok(())
}

/// Renders a version byte, so far always 1, followed by text: jsonb, jsonpath, ltree.
pub(super) fn versioned_text(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    match value.split_first() {
        Some((1, rest)) => text(rest, out),
        _ => Err(Malformed("its version is unknown")),
    }
}

pub(super) fn boolean(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    // As in `boolrecv`, any byte but zero is true.
    out.push(if Fields::only::<1>(value)? == [0] { b'f' } else { b't' });
    Ok(())
}

/// Renders `"char"`: one byte, where zero is the empty string.
pub(super) fn char(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    match Fields::only(value)? {
        [0] => {}
        [byte] if byte.is_ascii() => out.push(byte),
        // Writing to a Vec cannot fail.
        [byte] => drop(write!(out, "\\{byte:03o}")),
    }
    Ok(())
}

pub(super) fn bytea(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.extend_from_slice(b"\\x");
    hex(value, out);
    Ok(())
}

pub(super) fn uuid(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let bytes = Fields::only::<16>(value)?;
    for (i, group) in [0..4, 4..6, 6..8, 8..10, 10..16].into_iter().enumerate() {
        if i > 0 {
            out.push(b'-');
        }
        hex(&bytes[group], out);
    }
    Ok(())
}

/// Appends two lowercase digits per byte.
pub(super) fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(2 * bytes.len());
    for byte in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// Renders a bit count and the bits from the left; the last byte is padded with zeros.
pub(super) fn bits(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut fields = Fields::of(value);
    let count = fields.count()? as usize;
    let bytes = fields.bytes(count.div_ceil(8))?;
    fields.end()?;
    out.reserve(count);
    out.extend((0..count).map(|i| b'0' + (bytes[i / 8] >> (7 - i % 8) & 1)));
    Ok(())
}

pub(super) fn tid(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut fields = Fields::of(value);
    let (page, line) = (fields.u32()?, fields.u16()?);
    let _ = write!(out, "({page},{line})");
    fields.end()
}

pub(super) fn lsn(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let position = u64::from_be_bytes(Fields::only(value)?);
    let _ = write!(out, "{:X}/{:X}", position >> 32, position & 0xffff_ffff);
    Ok(())
}

/// Renders a transaction snapshot: `xmin:xmax:` and the transactions in between that were running.
pub(super) fn snapshot(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut fields = Fields::of(value);
    let count = fields.count()?;
    let (xmin, xmax) = (fields.u64()?, fields.u64()?);
    let _ = write!(out, "{xmin}:{xmax}:");
    for i in 0..count {
        let comma = if i > 0 { "," } else { "" };
        let _ = write!(out, "{comma}{}", fields.u64()?);
    }
    fields.end()
}
