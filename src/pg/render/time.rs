//! Renders dates, times and intervals in DateStyle ISO and IntervalStyle postgres.

use std::io::Write as _;

use super::Malformed;
use super::fields::Fields;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_HOUR: i64 = 3_600 * MICROS_PER_SECOND;
const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;

/// The earliest date, 4714-11-24 BC, and the one after the last, in days from 2000-01-01
/// (`IS_VALID_DATE`, src/include/datatype/timestamp.h).
const DATES: std::ops::Range<i32> = -2_451_545..2_145_031_949;

/// The same for timestamps, in microseconds; the end is the year 294277.
const TIMESTAMPS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

/// Time zones are less than this from UTC, in seconds (`TZDISP_LIMIT`).
const ZONE_LIMIT: u32 = 16 * 3_600;

const OUT_OF_RANGE: Malformed = Malformed("the value is out of range for its type");

pub(super) fn date(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    match i32::from_be_bytes(Fields::only(value)?) {
        i32::MAX => out.extend_from_slice(b"infinity"),
        i32::MIN => out.extend_from_slice(b"-infinity"),
        days if DATES.contains(&days) => {
            if write_day(days.into(), out) {
                out.extend_from_slice(b" BC");
            }
        }
        _ => return Err(OUT_OF_RANGE),
    }
    Ok(())
}

pub(super) fn time(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    time_of_day(i64::from_be_bytes(Fields::only(value)?), out)
}

/// Renders a time of day and its zone, in seconds west of UTC.
pub(super) fn timetz(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut fields = Fields::of(value);
    let (micros, west) = (fields.i64()?, fields.i32()?);
    fields.end()?;
    time_of_day(micros, out)?;
    let off = west.unsigned_abs();
    if off >= ZONE_LIMIT {
        return Err(OUT_OF_RANGE);
    }
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{}{:02}", if west > 0 { '-' } else { '+' }, off / 3_600);
    let (minutes, seconds) = (off / 60 % 60, off % 60);
    if minutes != 0 || seconds != 0 {
        let _ = write!(out, ":{minutes:02}");
    }
    if seconds != 0 {
        let _ = write!(out, ":{seconds:02}");
    }
    Ok(())
}

pub(super) fn timestamp(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    instant(value, b"", out)
}

pub(super) fn timestamptz(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    instant(value, b"+00", out)
}

fn instant(value: &[u8], zone: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    match i64::from_be_bytes(Fields::only(value)?) {
        i64::MAX => out.extend_from_slice(b"infinity"),
        i64::MIN => out.extend_from_slice(b"-infinity"),
        micros if TIMESTAMPS.contains(&micros) => {
            let before_christ = write_day(micros.div_euclid(MICROS_PER_DAY), out);
            out.push(b' ');
            time_of_day(micros.rem_euclid(MICROS_PER_DAY), out)?;
            out.extend_from_slice(zone);
            if before_christ {
                out.extend_from_slice(b" BC");
            }
        }
        _ => return Err(OUT_OF_RANGE),
    }
    Ok(())
}

/// Writes a day, given in days from 2000-01-01, in the proleptic Gregorian calendar. Returns whether the year is BC, which
/// the caller must append.
fn write_day(days: i64, out: &mut Vec<u8>) -> bool {
    /// Days from 0000-03-01, the beginning of an era of 400 years counted from March, to 2000-01-01.
    const MARCH_OF_YEAR_0: i64 = 730_425;
    const DAYS_PER_ERA: i64 = 146_097;
    let days = days + MARCH_OF_YEAR_0;
    let (era, day) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    // Without the leap days so far in the era, each of its years has 365 days.
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    // From March on, months have 31, 30, 31, 30, 31 days, twice and a bit: 153 days in five months.
    let month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = 400 * era + year + next;
    // There is no year 0: 1 BC precedes 1.
    let shown = if year > 0 { year } else { 1 - year };
    let _ = write!(out, "{shown:04}-{month:02}-{day_of_month:02}");
    year <= 0
}

/// Renders 00:00:00 to 24:00:00.
fn time_of_day(micros: i64, out: &mut Vec<u8>) -> Result<(), Malformed> {
    if !(0..=MICROS_PER_DAY).contains(&micros) {
        return Err(OUT_OF_RANGE);
    }
    write_clock(micros.unsigned_abs(), out);
    Ok(())
}

/// Writes hours, minutes, seconds, and only the decimals that are not trailing zeros.
fn write_clock(micros: u64, out: &mut Vec<u8>) {
    let per_second = MICROS_PER_SECOND.unsigned_abs();
    let (seconds, fraction) = (micros / per_second, micros % per_second);
    let _ = write!(out, "{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if fraction != 0 {
        let _ = write!(out, ".{fraction:06}");
        let trailing = out.iter().rev().take_while(|&&digit| digit == b'0').count();
        out.truncate(out.len() - trailing);
    }
}

/// Renders an interval of a server that supports infinite ones: all three fields at their extremes.
pub(super) fn interval(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    match interval_fields(value)? {
        (i64::MAX, i32::MAX, i32::MAX) => out.extend_from_slice(b"infinity"),
        (i64::MIN, i32::MIN, i32::MIN) => out.extend_from_slice(b"-infinity"),
        fields => write_interval(fields, out),
    }
    Ok(())
}

/// Renders an interval of an older server.
pub(super) fn finite_interval(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    write_interval(interval_fields(value)?, out);
    Ok(())
}

/// Reads microseconds, days, months.
fn interval_fields(value: &[u8]) -> Result<(i64, i32, i32), Malformed> {
    let mut fields = Fields::of(value);
    let interval = (fields.i64()?, fields.i32()?, fields.i32()?);
    fields.end()?;
    Ok(interval)
}

/// Writes `1 year -2 mons +3 days -04:05:06`: a positive part shows its sign only right after a negative one.
fn write_interval((micros, days, months): (i64, i32, i32), out: &mut Vec<u8>) {
    let mut is_first = true;
    let mut was_negative = false;
    for (count, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if count == 0 {
            continue;
        }
        let space = if is_first { "" } else { " " };
        let plus = if was_negative && count > 0 { "+" } else { "" };
        let plural = if count == 1 { "" } else { "s" };
        let _ = write!(out, "{space}{plus}{count} {unit}{plural}");
        (is_first, was_negative) = (false, count < 0);
    }
    if is_first || micros != 0 {
        if !is_first {
            out.push(b' ');
        }
        if micros < 0 {
            out.push(b'-');
        } else if was_negative {
            out.push(b'+');
        }
        write_clock(micros.unsigned_abs(), out);
    }
}
