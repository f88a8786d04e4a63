//! Dates and times in ISO format, converted to PostgreSQL's binary representation: days and microseconds since
//! 2000-01-01.

/// Days from 0000-03-01 of the proleptic Gregorian calendar to 2000-01-01.
const DAYS_TO_2000: i64 = 730_425;

const DAY_US: i64 = 86_400_000_000;

/// PostgreSQL's representation of infinity.
const DATE_INFINITY: (i64, i64) = (i32::MIN as i64, i32::MAX as i64);
const TIMESTAMP_INFINITY: (i64, i64) = (i64::MIN, i64::MAX);

/// Parses `YYYY-MM-DD`, optionally with ` BC`.
pub(super) fn date(text: &[u8]) -> Option<i64> {
    if let Some(infinity) = infinity(text, DATE_INFINITY) {
        return Some(infinity);
    }
    let (text, is_bc) = without_bc(text);
    days(text, is_bc)
}

/// Parses `HH:MM:SS`, optionally with a fraction; up to 24:00:00.
pub(super) fn time(text: &[u8]) -> Option<i64> {
    let hours = number(text.get(..2)?)?;
    let (colon, rest) = text.get(2..)?.split_first()?;
    let minutes = number(rest.get(..2)?)?;
    let (second_colon, rest) = rest.get(2..)?.split_first()?;
    let seconds = number(rest.get(..2)?)?;
    if *colon != b':' || *second_colon != b':' {
        return None;
    }
    let fraction = match rest.get(2..)? {
        [] => 0,
        [b'.', digits @ ..] if (1..=6).contains(&digits.len()) => {
            number(digits)? * 10_i64.pow(6 - digits.len() as u32)
        }
        _ => return None,
    };
    Some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + fraction)
}

/// Parses a date, a space and a time, optionally with ` BC`.
pub(super) fn timestamp(text: &[u8]) -> Option<i64> {
    if let Some(infinity) = infinity(text, TIMESTAMP_INFINITY) {
        return Some(infinity);
    }
    let (text, is_bc) = without_bc(text);
    let blank = text.iter().position(|&byte| byte == b' ')?;
    moment(days(&text[..blank], is_bc)?, time(&text[blank + 1..])?)
}

/// Likewise, with a UTC offset: `+HH`, `+HH:MM`, `+HH:MM:SS`.
pub(super) fn timestamptz(text: &[u8]) -> Option<i64> {
    if let Some(infinity) = infinity(text, TIMESTAMP_INFINITY) {
        return Some(infinity);
    }
    let (text, is_bc) = without_bc(text);
    let blank = text.iter().position(|&byte| byte == b' ')?;
    let rest = &text[blank + 1..];
    let sign = rest.iter().position(|byte| matches!(byte, b'+' | b'-'))?;
    let ahead = offset(&rest[sign + 1..])? * if rest[sign] == b'-' { -1 } else { 1 };
    moment(days(&text[..blank], is_bc)?, time(&rest[..sign])?)?.checked_sub(ahead * 1_000_000)
}

fn moment(days: i64, time: i64) -> Option<i64> {
    days.checked_mul(DAY_US)?.checked_add(time)
}

fn infinity(text: &[u8], (minus, plus): (i64, i64)) -> Option<i64> {
    match text {
        b"infinity" => Some(plus),
        b"-infinity" => Some(minus),
        _ => None,
    }
}

fn without_bc(text: &[u8]) -> (&[u8], bool) {
    match text.strip_suffix(b" BC") {
        Some(text) => (text, true),
        None => (text, false),
    }
}

/// Parses a UTC offset in seconds.
fn offset(text: &[u8]) -> Option<i64> {
    let mut seconds = 0;
    let mut unit = 3600;
    for part in text.split(|&byte| byte == b':') {
        if unit == 0 {
            return None;
        }
        seconds += number(part)? * unit;
        unit /= 60;
    }
    Some(seconds)
}

/// Returns days since 2000-01-01; the year 1 BC is year 0.
fn days(text: &[u8], is_bc: bool) -> Option<i64> {
    let mut parts = text.split(|&byte| byte == b'-');
    let (year, month, day) = (number(parts.next()?)?, number(parts.next()?)?, number(parts.next()?)?);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = if is_bc { 1 - year } else { year };
    // Years that begin in March end with the leap day, so months have fixed starts.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - DAYS_TO_2000)
}

/// Parses up to nine digits.
fn number(digits: &[u8]) -> Option<i64> {
    if digits.is_empty() || digits.len() > 9 {
        return None;
    }
    digits.iter().try_fold(0, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit <= 9).then(|| value * 10 + i64::from(digit))
    })
}
