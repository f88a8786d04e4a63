//! Fixed-length values: integers, floating-point numbers, UUIDs, booleans.

use std::cmp::Ordering;

use super::Key;
use super::bytes::nibble;
use crate::pg::format::Format;

/// Parses an int2, int4 or int8.
#[inline]
pub(super) fn int_from_binary(value: &[u8]) -> Option<i64> {
    if let Ok(four) = <[u8; 4]>::try_from(value) {
        return Some(i64::from(i32::from_be_bytes(four)));
    }
    if let Ok(eight) = <[u8; 8]>::try_from(value) {
        return Some(i64::from_be_bytes(eight));
    }
    <[u8; 2]>::try_from(value).ok().map(|two| i64::from(i16::from_be_bytes(two)))
}

/// Digits that cannot overflow an i64.
const SAFE_DIGITS: usize = 18;

/// Parses an integer as PostgreSQL writes it: digits after an optional minus sign.
#[inline]
pub(super) fn int_from_text(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    if digits.len() > SAFE_DIGITS {
        return std::str::from_utf8(text).ok()?.parse().ok();
    }
    let mut value = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if is_negative { -value } else { value })
}

pub(super) fn bool_from_binary(value: &[u8]) -> Option<i64> {
    match value {
        [0] => Some(0),
        [1] => Some(1),
        _ => None,
    }
}

pub(super) fn bool_from_text(text: &[u8]) -> Option<i64> {
    match text {
        b"f" => Some(0),
        b"t" => Some(1),
        _ => None,
    }
}

pub(super) fn oid_from_binary(value: &[u8]) -> Option<i64> {
    value.try_into().ok().map(|four| i64::from(u32::from_be_bytes(four)))
}

/// Parses a date: days, always 4 bytes.
pub(super) fn date_from_binary(value: &[u8]) -> Option<i64> {
    value.try_into().ok().map(|four| i64::from(i32::from_be_bytes(four)))
}

/// Parses a time or timestamp: microseconds, always 8 bytes.
pub(super) fn wide_int_from_binary(value: &[u8]) -> Option<i64> {
    value.try_into().ok().map(i64::from_be_bytes)
}

pub(super) fn uuid_from_binary(value: &[u8]) -> Option<u128> {
    value.try_into().ok().map(u128::from_be_bytes)
}

/// Parses a UUID as PostgreSQL writes it: 8-4-4-4-12 digits.
pub(super) fn uuid_from_text(text: &[u8]) -> Option<u128> {
    if text.len() != 36 {
        return None;
    }
    let mut value = 0;
    for (at, &byte) in text.iter().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if byte != b'-' {
                return None;
            }
        } else {
            value = value << 4 | u128::from(nibble(byte)?);
        }
    }
    Some(value)
}

pub(super) fn float4_from_binary(value: &[u8]) -> Option<f64> {
    value.try_into().ok().map(|four| f64::from(f32::from_be_bytes(four)))
}

pub(super) fn float8_from_binary(value: &[u8]) -> Option<f64> {
    value.try_into().ok().map(f64::from_be_bytes)
}

/// The shortest decimal form identifies a float4 only among float4 values, so it is read as float4 and then widened.
pub(super) fn float4_from_text(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse::<f32>().ok().map(f64::from)
}

pub(super) fn float8_from_text(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// -0 equals 0 and NaN equals NaN, as in PostgreSQL's B-trees. Bits of floats are not dense, so the keys are wide.
pub(super) fn float_key(value: f64) -> Key {
    let value = if value == 0.0 {
        0.0
    } else if value.is_nan() {
        f64::NAN
    } else {
        value
    };
    Key::Wide(u128::from(value.to_bits()))
}

/// Compares as PostgreSQL does: NaN sorts after everything.
pub(super) fn compare_floats(format: Format, is_float4: bool, a: &[u8], b: &[u8]) -> Option<Ordering> {
    let read = match (format, is_float4) {
        (Format::Binary, true) => float4_from_binary,
        (Format::Binary, false) => float8_from_binary,
        (Format::Text, true) => float4_from_text,
        (Format::Text, false) => float8_from_text,
    };
    let (a, b) = (read(a)?, read(b)?);
    Some(a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan())))
}
