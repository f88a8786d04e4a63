//! Readers that turn one value of the file into a type, or into an error that states the expected value.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use toml::de::DeValue;

use super::section::{Node, nearest};
use super::{Limit, Located, Value};
use crate::error::{Error, Result};
use crate::pg::name::{Ident, NotAName, TableName};

/// 2^20 bytes.
pub(super) const MIB: u64 = 1 << 20;
/// 2^40 bytes.
pub(super) const TIB: u64 = 1 << 40;
/// One day; the standard library has no constructor for units above an hour.
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The zero duration.
const ZERO: Duration = Duration::ZERO;

/// Reads a whole number within `range`.
pub(super) fn whole<T: TryFrom<u64>>(range: RangeInclusive<u64>) -> impl Fn(&Node<'_>) -> Result<T> {
    move |node| {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(number) = node.value() else {
            return Err(node.wrong_type(&expected));
        };
        u64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .filter(|number| range.contains(number))
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| node.wrong(&expected))
    }
}

/// Reads a number of bytes within `range`: a plain number, or a string such as `"256MiB"` (2^20) or `"128MB"` (10^6).
pub(super) fn size(range: RangeInclusive<u64>) -> impl Fn(&Node<'_>) -> Result<u64> {
    move |node| {
        let show = |bytes: &u64| ByteSize(*bytes).display().iec().to_string();
        let expected =
            format!("a size from {} to {}, such as \"256MiB\"", show(range.start()), show(range.end()));
        let bytes = match node.value() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => node.text(&expected)?.trim().parse().ok().map(|ByteSize(bytes)| bytes),
        };
        bytes.filter(|bytes| range.contains(bytes)).ok_or_else(|| node.wrong(&expected))
    }
}

/// Reads a duration within `range`, as a string such as `"500ms"` or `"7d"`. Only zero needs no unit.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Node<'_>) -> Result<Duration> {
    move |node| {
        let expected = expected_duration(&range);
        let duration = match node.value() {
            DeValue::Integer(number) if number.as_str() == "0" => Some(ZERO),
            DeValue::Integer(number) => return Err(without_unit(node, &expected, number.as_str())),
            _ => {
                let text = node.text(&expected)?;
                if text != "0" && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(without_unit(node, &expected, &text));
                }
                humantime::parse_duration(text.trim()).ok()
            }
        };
        duration.filter(|duration| range.contains(duration)).ok_or_else(|| node.wrong(&expected))
    }
}

fn without_unit(node: &Node<'_>, expected: &str, number: &str) -> Error {
    let error = node.wrong(expected);
    if node.has_variable() {
        return error;
    }
    error.hint(format!("Write a unit, such as \"{number}ms\" or \"{number}s\"."))
}

fn expected_duration(range: &RangeInclusive<Duration>) -> String {
    let show = |duration| humantime::format_duration(duration).to_string();
    match (*range.start(), *range.end()) {
        (ZERO, Duration::MAX) => "a duration such as \"500ms\", \"10m\" or \"7d\"".to_owned(),
        (ZERO, end) => format!("a duration up to {}, such as \"500ms\" or \"10m\"", show(end)),
        (start, end) => format!("a duration from {} to {}, such as \"500ms\"", show(start), show(end)),
    }
}

/// The expected form of a limit.
pub(super) const LIMIT_EXPECTED: &str = "a number of rows or a percentage from \"0%\" to \"100%\"";

/// Reads a limit: a number of rows, as a number or a string, or a percentage such as `"5%"`.
pub(super) fn limit(node: &Node<'_>) -> Result<Limit> {
    let expected = LIMIT_EXPECTED;
    let limit = match node.value() {
        DeValue::Integer(number) => {
            u64::from_str_radix(number.as_str(), number.radix()).ok().map(Limit::Rows)
        }
        _ => parse_limit(node.text(expected)?.trim()),
    };
    limit.ok_or_else(|| node.wrong(expected))
}

pub(super) fn parse_limit(text: &str) -> Option<Limit> {
    match text.strip_suffix('%') {
        None => text.parse().ok().map(Limit::Rows),
        Some(share) => {
            let percent: f64 = share.trim_end().parse().ok()?;
            (0.0..=100.0).contains(&percent).then_some(Limit::Percent(percent))
        }
    }
}

/// Reads one of `words`.
pub(super) fn word<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&Node<'_>) -> Result<T> {
    move |node| {
        let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
        let expected = format!("one of {}", names.join(", "));
        let text = node.text(&expected)?;
        words.iter().find(|(name, _)| *name == text).map(|(_, word)| *word).ok_or_else(|| {
            let error = node.wrong(&expected);
            match nearest(&text, &names) {
                Some(near) => error.hint(format!("Did you mean {near}?")),
                None => error,
            }
        })
    }
}

/// Reads a string that is not blank after its variables are expanded.
pub(super) fn text(node: &Node<'_>) -> Result<String> {
    let text = node.text("a string")?;
    if text.trim().is_empty() {
        return Err(if node.has_variable() {
            node.says("empty after its variables are expanded")
        } else {
            node.wrong("a non-empty string")
        });
    }
    Ok(text.into_owned())
}

/// Reads a table name in SQL syntax.
pub(super) fn table_name(node: &Node<'_>) -> Result<TableName> {
    sql_name(node, "a table name as in SQL")
}

/// Reads a single name, such as that of a column, in SQL syntax.
pub(super) fn ident(node: &Node<'_>) -> Result<Ident> {
    sql_name(node, "a name as in SQL")
}

fn sql_name<T: FromStr<Err = NotAName>>(node: &Node<'_>, expected: &str) -> Result<T> {
    let text = node.text(expected)?;
    text.parse().map_err(
        |reason: NotAName| {
            if node.has_variable() { node.wrong(expected) } else { node.says(reason) }
        },
    )
}

/// Reads a literal name, without folding or quotes.
pub(super) fn literal_ident(node: &Node<'_>) -> Result<Ident> {
    let text = node.text("a column name")?;
    literal_name(&text).ok_or_else(|| node.wrong("a literal column name of 1 to 63 bytes").hint(NO_QUOTES))
}

/// The hint for an invalid name in `[table.columns]`.
pub(super) const NO_QUOTES: &str =
    "Names in [table.columns] are literal: they are neither folded to lower case nor quoted.";

/// Returns `text` as a name if PostgreSQL would not truncate it.
pub(super) fn literal_name(text: &str) -> Option<Ident> {
    (1..=63).contains(&text.len()).then(|| Ident::new(text))
}

/// Reads an array, each item with `read`.
pub(super) fn list<T>(
    expected: &'static str,
    read: impl Fn(&Node<'_>) -> Result<T>,
) -> impl Fn(&Node<'_>) -> Result<Vec<T>> {
    move |node| node.items(expected)?.iter().map(&read).collect()
}

/// Reads an array of at least one column name in SQL syntax, without duplicates.
pub(super) fn columns(node: &Node<'_>) -> Result<Located<Vec<Ident>>> {
    let expected = "an array of column names";
    let names = node.items(expected)?;
    if names.is_empty() {
        return Err(node.wrong("at least one column name"));
    }
    let mut columns: Vec<Ident> = Vec::with_capacity(names.len());
    for item in &names {
        let column = ident(item)?;
        if columns.contains(&column) {
            return Err(item.says(format!("the column {column} is listed twice")));
        }
        columns.push(column);
    }
    Ok(node.located(columns))
}

/// Reads a value with `read` and adds its location.
pub(super) fn located<T>(read: impl Fn(&Node<'_>) -> Result<T>) -> impl Fn(&Node<'_>) -> Result<Located<T>> {
    move |node| read(node).map(|value| node.located(value))
}

/// Reads `channel` or `channel=payload`, for NOTIFY.
pub(super) fn notification(node: &Node<'_>) -> Result<(Ident, Option<String>)> {
    /// PostgreSQL refuses longer payloads in its default configuration (manual, NOTIFY).
    const PAYLOAD_BYTES_MAX: usize = 7999;
    let expected = "\"channel\" or \"channel=payload\"";
    let text = node.text(expected)?;
    let (channel, payload) = match text.split_once('=') {
        Some((channel, payload)) => (channel, Some(payload.to_owned())),
        None => (&*text, None),
    };
    let channel = channel.parse().map_err(|_| node.wrong(expected))?;
    if payload.as_ref().is_some_and(|payload| payload.len() > PAYLOAD_BYTES_MAX) {
        return Err(node.wrong(&format!("a payload of at most {PAYLOAD_BYTES_MAX} bytes")));
    }
    Ok((channel, payload))
}

/// Reads a constant as PostgreSQL's text input.
pub(super) fn constant(node: &Node<'_>) -> Result<String> {
    match node.value() {
        DeValue::String(_) => Ok(node.text("a constant")?.into_owned()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .map(|number| number.to_string())
            .map_err(|_| node.wrong("a shorter number, or the number as a string")),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Boolean(value) => Ok(value.to_string()),
        DeValue::Datetime(value) => Ok(value.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => Err(node.wrong_type("a constant")),
    }
}

/// Reads a constant, or `{ expr = "SQL" }`.
pub(super) fn constant_or_expr(node: &Node<'_>) -> Result<Located<Value>> {
    let expected = "a constant, or { expr = \"SQL\" }";
    let value = match node.value() {
        DeValue::Table(_) => match node.entries(expected)?.as_slice() {
            [(key, sql)] if key.value == "expr" => Value::Expr(text(sql)?),
            _ => return Err(node.says(format!("expected {expected}, found a table with other keys"))),
        },
        DeValue::Array(_) => {
            return Err(node
                .wrong_type(expected)
                .hint("Write an array as a string in PostgreSQL syntax: \"{1,2}\"."));
        }
        _ => Value::Constant(constant(node)?),
    };
    Ok(node.located(value))
}
