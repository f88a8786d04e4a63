//! Detects rows that look as if the target would refuse them.
//!
//! The check may be wrong in either direction; the server decides. It pays off because a bad row found only by the
//! server costs all the rows that were sent with it.

use std::ops::RangeInclusive;

use super::codec::Codec;
use super::key::bytes::unescaped;
use super::resolve::{Row, State};
use super::rules::Rules;
use crate::pg::format::Format;

/// The expected appearance of an output column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Position in the output.
    pub column: usize,
    /// Whether it is NOT NULL.
    pub is_not_null: bool,
    /// The appearance of its values.
    pub look: Option<Look>,
}

/// The appearance of a type's values. Except for strings it is checked only in text format: in binary the source
/// guarantees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// An integer in a range.
    Integer(RangeInclusive<i64>),
    /// A number, with an optional limit on the digits before the decimal point.
    Number(Option<usize>),
    /// true or false.
    Boolean,
    /// A UUID.
    Uuid,
    /// A date, optionally with a time.
    Date,
    /// A string, with an optional limit on its characters.
    Characters(Option<usize>),
}

/// Returns whether a row looks bad.
pub(super) fn is_suspect<C: Codec>(
    checks: &[Check],
    rules: &Rules,
    row: Row<'_>,
    state: &State<'_>,
    scratch: &mut Vec<u8>,
) -> bool {
    checks.iter().any(|check| match (state.output::<C>(rules, row, check.column), &check.look) {
        (None, _) => check.is_not_null,
        (Some(_), None) => false,
        (Some(value), Some(look)) => {
            let is_text = C::FORMAT == Format::Text;
            let value = if is_text { unescaped(value, scratch) } else { value };
            match look {
                Look::Characters(limit) => !is_string(value, *limit),
                look => is_text && !look.fits(value),
            }
        }
    })
}

impl Look {
    /// Returns the appearance of a type's values, from its OID and its name with length or precision; `None` if only
    /// the server can tell.
    #[must_use]
    pub fn of_type(oid: u32, name: &str) -> Option<Self> {
        let modifiers = modifiers(name);
        let modifier = |number: usize| modifiers.get(number).copied();
        Some(match oid {
            16 => Self::Boolean,
            20 => Self::Integer(i64::MIN..=i64::MAX),
            21 => Self::Integer(i16::MIN.into()..=i16::MAX.into()),
            23 => Self::Integer(i32::MIN.into()..=i32::MAX.into()),
            25 => Self::Characters(None),
            700 | 701 => Self::Number(None),
            1042 | 1043 => Self::Characters(modifier(0)),
            1082 | 1114 | 1184 => Self::Date,
            1700 => {
                let scale = modifier(1).unwrap_or(0);
                Self::Number(modifier(0).and_then(|precision| precision.checked_sub(scale)))
            }
            2950 => Self::Uuid,
            _ => return None,
        })
    }

    fn fits(&self, value: &[u8]) -> bool {
        let value = value.trim_ascii();
        match self {
            Self::Integer(range) => is_integer(value, range),
            Self::Number(limit) => is_number(value, *limit),
            Self::Boolean => is_boolean(value),
            Self::Uuid => value.iter().filter(|byte| byte.is_ascii_hexdigit()).count() == 32,
            Self::Date => is_date(value),
            Self::Characters(limit) => is_string(value, *limit),
        }
    }
}

/// Returns the digits before the decimal point in `numeric(5,2)`; `None` without a precision or with a negative
/// scale.
fn modifiers(name: &str) -> Vec<usize> {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map(|(inner, _)| inner);
    let numbers = inner.into_iter().flat_map(|inner| inner.split(',')).map(|number| number.trim().parse());
    numbers.collect::<Result<_, _>>().unwrap_or_default()
}

fn is_integer(value: &[u8], range: &RangeInclusive<i64>) -> bool {
    match std::str::from_utf8(value).ok().and_then(|text| text.parse::<i64>().ok()) {
        Some(number) => range.contains(&number),
        // Servers from 16 on also read 0x10 and 1_000.
        None => {
            let unsigned = value.strip_prefix(b"-").or_else(|| value.strip_prefix(b"+")).unwrap_or(value);
            let is_grouped =
                || unsigned.contains(&b'_') && unsigned.iter().all(|b| b.is_ascii_digit() || *b == b'_');
            matches!(unsigned, [b'0', b'x' | b'X' | b'o' | b'O' | b'b' | b'B', ..]) || is_grouped()
        }
    }
}

fn is_number(value: &[u8], digits_max: Option<usize>) -> bool {
    let unsigned = value.strip_prefix(b"-").or_else(|| value.strip_prefix(b"+")).unwrap_or(value);
    if unsigned.first().is_some_and(u8::is_ascii_alphabetic) {
        return unsigned.eq_ignore_ascii_case(b"nan") || unsigned.to_ascii_lowercase().starts_with(b"inf");
    }
    let is_part =
        |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-' | b'_');
    if !unsigned.iter().all(is_part) || !unsigned.iter().any(u8::is_ascii_digit) {
        return false;
    }
    let whole = unsigned.iter().take_while(|byte| byte.is_ascii_digit()).skip_while(|byte| **byte == b'0');
    let has_exponent = unsigned.iter().any(|byte| matches!(byte, b'e' | b'E'));
    has_exponent || digits_max.is_none_or(|limit| whole.count() <= limit)
}

fn is_boolean(value: &[u8]) -> bool {
    const WORDS: [&[u8]; 4] = [b"true", b"false", b"yes", b"no"];
    let lower = value.to_ascii_lowercase();
    let is_beginning = |word: &&[u8]| word.starts_with(&lower);
    !value.is_empty()
        && (WORDS.iter().any(is_beginning)
            || matches!(lower.as_slice(), b"on" | b"of" | b"off" | b"1" | b"0"))
}

/// Checks a date such as `2026-11-21…` for a valid month and day; words and other orders are left to the server.
fn is_date(value: &[u8]) -> bool {
    let Some(first) = value.first() else { return false };
    if !first.is_ascii_digit() {
        return first.is_ascii_alphabetic();
    }
    let mut parts = value.splitn(3, |byte| *byte == b'-');
    let mut next = || parts.next().unwrap_or_default();
    let (year, month, rest) = (next(), next(), next());
    let day: &[u8] = rest.get(..2).unwrap_or(rest);
    let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<u32>().ok();
    match (year.len(), number(year), number(month), number(day)) {
        (4.., Some(year), Some(month), Some(day)) => (1..=days(year, month)).contains(&day),
        (4.., Some(_), _, _) => false,
        // 21/11/2026, 20261121: left to the server.
        _ => true,
    }
}

/// Returns the days of a month; 0 if there is no such month.
fn days(year: u32, month: u32) -> u32 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u32::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    }
}

/// Checks for UTF-8 without NUL and for the length; excess trailing spaces are allowed, because the server removes
/// them.
fn is_string(value: &[u8], characters_max: Option<usize>) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let is_short =
        |limit: usize| value.len() <= limit || text.trim_end_matches(' ').chars().nth(limit).is_none();
    memchr::memchr(0, value).is_none() && characters_max.is_none_or(is_short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_with_its_modifiers_has_a_look() {
        assert_eq!(Look::of_type(1043, "character varying(10)"), Some(Look::Characters(Some(10))));
        assert_eq!(Look::of_type(1700, "numeric(5,2)"), Some(Look::Number(Some(3))));
        assert_eq!(Look::of_type(1700, "numeric(2,5)"), Some(Look::Number(None)));
        assert_eq!(Look::of_type(1700, "numeric(5,-2)"), Some(Look::Number(None)));
        assert_eq!(Look::of_type(1700, "numeric"), Some(Look::Number(None)));
        assert_eq!(Look::of_type(3802, "jsonb"), None);
    }

    #[test]
    fn what_looks_good_and_what_looks_bad() {
        let int4 = || Look::Integer(i32::MIN.into()..=i32::MAX.into());
        for (look, good, bad) in [
            (
                int4(),
                &["0", "-2147483648", " 7 ", "+5", "0x1F", "1_000"][..],
                &["", "x", "2147483648", "1.0", "1e3"][..],
            ),
            (
                Look::Number(None),
                &["1", "-1.5e-7", ".5", "NaN", "-Infinity", "1_0"],
                &["", "-", "1,5", "abc", "1.0.0x"],
            ),
            (Look::Number(Some(3)), &["999.99", "000999", "1e9", "-999"], &["1000", "-1000.5"]),
            (Look::Boolean, &["t", "F", "TRUE", "yes", "off", "0"], &["", "2", "maybe", "truer"]),
            (Look::Uuid, &["{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"], &["", "a0eebc99"]),
            (
                Look::Date,
                &[
                    "2024-02-29",
                    "2026-11-21 10:00:00+01",
                    "12345-01-01",
                    "infinity",
                    "Nov 21 2026",
                    "21/11/2026",
                ],
                &["", "2026-13-01", "2023-02-29", "2026-00-10", "2026-04-31 10:00", "?"],
            ),
            (Look::Characters(Some(3)), &["", "abc", "äöü", "ab     "], &["abcd", "äöüß"]),
            (Look::Characters(None), &["any"], &["nul\0"]),
        ] {
            for value in good {
                assert!(look.fits(value.as_bytes()), "{look:?} {value:?}");
            }
            for value in bad {
                assert!(!look.fits(value.as_bytes()), "{look:?} {value:?}");
            }
        }
        assert!(!Look::Characters(None).fits(b"\xc3("));
    }
}
