//! Renders integers, numeric and money.

use std::io::Write as _;

use super::Malformed;
use super::fields::Fields;

pub(super) fn int2(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    signed(i16::from_be_bytes(Fields::only(value)?).into(), out);
    Ok(())
}

pub(super) fn int4(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    signed(i32::from_be_bytes(Fields::only(value)?).into(), out);
    Ok(())
}

pub(super) fn int8(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    signed(i64::from_be_bytes(Fields::only(value)?), out);
    Ok(())
}

pub(super) fn uint4(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    signed(u32::from_be_bytes(Fields::only(value)?).into(), out);
    Ok(())
}

pub(super) fn uint8(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let _ = write!(out, "{}", u64::from_be_bytes(Fields::only(value)?));
    Ok(())
}

fn signed(value: i64, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{value}");
}

/// The signs of a numeric (`NUMERIC_NEG` and the like, src/backend/utils/adt/numeric.c).
mod sign {
    pub(super) const POSITIVE: u16 = 0x0000;
    pub(super) const NEGATIVE: u16 = 0x4000;
    pub(super) const NAN: u16 = 0xC000;
    pub(super) const INFINITY: u16 = 0xD000;
    pub(super) const MINUS_INFINITY: u16 = 0xF000;
}

/// Renders digits of base 10,000, the first with the weight 10,000 ^ `weight`, and the number of decimals to show.
pub(super) fn numeric(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut fields = Fields::of(value);
    let count = fields.u16()?;
    let (weight, sign, scale) = (i32::from(fields.i16()?), fields.u16()?, fields.u16()?);
    let digits = fields.bytes(2 * usize::from(count))?;
    fields.end()?;
    let (digits, _) = digits.as_chunks();
    if digits.iter().any(|&digit| u16::from_be_bytes(digit) > 9999) {
        return Err(Malformed("a digit of the numeric is above 9999"));
    }
    match sign {
        sign::POSITIVE => {}
        sign::NEGATIVE => out.push(b'-'),
        sign::NAN => return plain(b"NaN", out),
        sign::INFINITY => return plain(b"Infinity", out),
        sign::MINUS_INFINITY => return plain(b"-Infinity", out),
        _ => return Err(Malformed("the sign of the numeric is unknown")),
    }
    // Missing digits on either side are zeros.
    let digit = |place: i32| {
        let known = usize::try_from(place).ok().and_then(|place| digits.get(place));
        known.map_or(0, |&digit| u16::from_be_bytes(digit))
    };
    let _ = write!(out, "{}", if weight < 0 { 0 } else { digit(0) });
    for place in 1..=weight {
        let _ = write!(out, "{:04}", digit(place));
    }
    if scale > 0 {
        out.push(b'.');
        let end = out.len() + usize::from(scale);
        for place in (weight + 1..).take(usize::from(scale).div_ceil(4)) {
            let _ = write!(out, "{:04}", digit(place));
        }
        out.truncate(end);
    }
    Ok(())
}

fn plain(text: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.extend_from_slice(text);
    Ok(())
}

/// Renders cents as the locale C does: `-$1,234.56`.
pub(super) fn money(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let amount = i64::from_be_bytes(Fields::only(value)?);
    out.extend_from_slice(if amount < 0 { b"-$" } else { b"$" });
    let cents = amount.unsigned_abs();
    let start = out.len();
    let _ = write!(out, "{}", cents / 100);
    let mut comma = out.len();
    while comma > start + 3 {
        comma -= 3;
        out.insert(comma, b',');
    }
    let _ = write!(out, ".{:02}", cents % 100);
    Ok(())
}
