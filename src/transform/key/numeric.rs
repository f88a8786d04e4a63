//! numeric: one value has many forms (7, 7.0, 7.00) but a single key.

use std::cmp::Ordering;

use super::{Key, fingerprint};
use crate::pg::format::Format;

/// Number of values of one base-10000 digit (PostgreSQL source, utils/adt/numeric.c, NBASE).
const BASE: i64 = 10_000;

/// Number of decimal digits in one.
const BASE_DIGITS: usize = 4;

/// A number's sign and size class, in PostgreSQL's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    MinusInfinity,
    Negative,
    Zero,
    Positive,
    Infinity,
    NaN,
}

/// A number without leading and trailing zeros: `digits[0]` counts multiples of `BASE ^ weight`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Number {
    rank: Rank,
    weight: i32,
    /// Base-10000 digits, two bytes each, big-endian.
    digits: Vec<u8>,
}

pub(super) fn from_binary(value: &[u8], scratch: &mut Vec<u8>) -> Option<Key> {
    let mut number = Number { rank: Rank::Zero, weight: 0, digits: std::mem::take(scratch) };
    let key = number.read_binary(value).map(|()| number.key());
    *scratch = number.digits;
    key
}

pub(super) fn from_text(text: &[u8], scratch: &mut Vec<u8>) -> Option<Key> {
    // Most keys are plain integers.
    if text.len() <= 18
        && let Some(value) = super::fixed::int_from_text(text)
    {
        return Some(Key::Int(value));
    }
    let mut number = Number { rank: Rank::Zero, weight: 0, digits: std::mem::take(scratch) };
    let key = number.read_text(text).map(|()| number.key());
    *scratch = number.digits;
    key
}

/// Compares as PostgreSQL does; `None` if one is not a number.
pub(super) fn compare(format: Format, a: &[u8], b: &[u8]) -> Option<Ordering> {
    let read = |value: &[u8]| {
        let mut number = Number { rank: Rank::Zero, weight: 0, digits: Vec::new() };
        match format {
            Format::Binary => number.read_binary(value)?,
            Format::Text => number.read_text(value)?,
        }
        Some(number)
    };
    let (a, b) = (read(a)?, read(b)?);
    let magnitude = || a.weight.cmp(&b.weight).then_with(|| a.digits.cmp(&b.digits));
    Some(a.rank.cmp(&b.rank).then_with(|| match a.rank {
        Rank::Positive => magnitude(),
        Rank::Negative => magnitude().reverse(),
        _ => Ordering::Equal,
    }))
}

impl Number {
    /// Parses the format of `numeric_send`: number of digits, weight, sign, scale, digits; 16 bits each.
    fn read_binary(&mut self, value: &[u8]) -> Option<()> {
        let (words, rest) = value.as_chunks::<2>();
        let [count, weight, sign, _scale, digits @ ..] = words else { return None };
        if !rest.is_empty() || usize::from(u16::from_be_bytes(*count)) != digits.len() {
            return None;
        }
        if digits.iter().any(|digit| i64::from(u16::from_be_bytes(*digit)) >= BASE) {
            return None;
        }
        self.rank = match u16::from_be_bytes(*sign) {
            0x0000 => Rank::Positive,
            0x4000 => Rank::Negative,
            0xC000 => Rank::NaN,
            0xD000 => Rank::Infinity,
            0xF000 => Rank::MinusInfinity,
            _ => return None,
        };
        self.weight = i32::from(i16::from_be_bytes(*weight));
        self.digits.clear();
        self.digits.extend_from_slice(digits.as_flattened());
        self.strip();
        Some(())
    }

    /// Parses the format of `numeric_out`: digits with an optional decimal point, never an exponent.
    fn read_text(&mut self, text: &[u8]) -> Option<()> {
        self.digits.clear();
        let (sign, unsigned) = match text {
            [b'-', rest @ ..] => (Rank::Negative, rest),
            rest => (Rank::Positive, rest),
        };
        self.rank = match (unsigned, sign) {
            (b"NaN", Rank::Positive) => Rank::NaN,
            (b"Infinity", Rank::Positive) => Rank::Infinity,
            (b"Infinity", _) => Rank::MinusInfinity,
            _ => sign,
        };
        self.weight = 0;
        if matches!(self.rank, Rank::NaN | Rank::Infinity | Rank::MinusInfinity) {
            return Some(());
        }
        let point = unsigned.iter().position(|&byte| byte == b'.').unwrap_or(unsigned.len());
        let (whole, fraction) = (&unsigned[..point], unsigned.get(point + 1..).unwrap_or_default());
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        // The decimal point is between two base-10000 digits, so the integer part is split from its end.
        let first = whole.len() % BASE_DIGITS;
        let (head, whole) = whole.split_at(first);
        self.weight = i32::try_from(whole.len() / BASE_DIGITS).ok()? - 1;
        if !head.is_empty() {
            self.weight += 1;
            self.push(head, 0)?;
        }
        for digits in whole.chunks(BASE_DIGITS) {
            self.push(digits, 0)?;
        }
        for digits in fraction.chunks(BASE_DIGITS) {
            self.push(digits, BASE_DIGITS - digits.len())?;
        }
        self.strip();
        Some(())
    }

    /// Appends one base-10000 digit, made of up to four decimal digits and as many zeros as are missing.
    fn push(&mut self, decimals: &[u8], zeros: usize) -> Option<()> {
        let mut digit: u16 = 0;
        for byte in decimals {
            let decimal = byte.wrapping_sub(b'0');
            if decimal > 9 {
                return None;
            }
            digit = digit * 10 + u16::from(decimal);
        }
        digit *= 10_u16.pow(zeros as u32);
        self.digits.extend_from_slice(&digit.to_be_bytes());
        Some(())
    }

    /// Removes zeros at both ends.
    fn strip(&mut self) {
        if !matches!(self.rank, Rank::Positive | Rank::Negative) {
            self.digits.clear();
            self.weight = 0;
            return;
        }
        while self.digits.ends_with(&[0, 0]) {
            self.digits.truncate(self.digits.len() - 2);
        }
        let leading = self.digits.as_chunks::<2>().0.iter().take_while(|digit| **digit == [0, 0]).count();
        self.digits.drain(..2 * leading);
        self.weight -= leading as i32;
        if self.digits.is_empty() {
            self.rank = Rank::Zero;
            self.weight = 0;
        }
    }

    /// Returns an integer key if the value is an integer, so that it equals the keys of integers.
    fn key(&self) -> Key {
        if let Some(value) = self.as_int() {
            return Key::Int(value);
        }
        // The digits of an arbitrarily long numeric do not fit on the stack: its rank and weight enter the hash
        // through a second fingerprint.
        let digits = fingerprint(&self.digits);
        let mut image = [0; 21];
        image[0] = self.rank as u8;
        image[1..5].copy_from_slice(&self.weight.to_be_bytes());
        image[5..].copy_from_slice(&digits.to_be_bytes());
        Key::Wide(fingerprint(&image))
    }

    fn as_int(&self) -> Option<i64> {
        let sign = match self.rank {
            Rank::Zero => return Some(0),
            Rank::Positive => 1,
            Rank::Negative => -1,
            _ => return None,
        };
        let count = self.digits.len() / 2;
        let whole = usize::try_from(self.weight).ok()? + 1;
        // An i64 needs at most five base-10000 digits.
        if count > whole || whole > 5 {
            return None;
        }
        let mut value: i64 = 0;
        for at in 0..whole {
            let digit =
                self.digits.get(2 * at..2 * at + 2).map_or(0, |two| u16::from_be_bytes([two[0], two[1]]));
            value = value.checked_mul(BASE)?.checked_add(sign * i64::from(digit))?;
        }
        Some(value)
    }
}
