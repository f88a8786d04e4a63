//! Decides which casts can lose information.
//!
//! A cast of a value `v` from type S to type T loses information if `(v::T)::S` differs from `v`. [`of`] decides from
//! the types and their modifiers whether that can happen to any value. A value that the target refuses is not lost:
//! its row is rejected, or its table fails. A cast that is not known to be reversible counts as lossy.

use crate::pg::catalog::{BareType, Catalog, Column, Oid, Type};

/// Built-in types (catalog `pg_type`).
pub(super) mod oids {
    pub(in crate::plan) const BOOL: u32 = 16;
    pub(in crate::plan) const CHAR: u32 = 18;
    pub(in crate::plan) const NAME: u32 = 19;
    pub(in crate::plan) const INT8: u32 = 20;
    pub(in crate::plan) const INT2: u32 = 21;
    pub(in crate::plan) const INT4: u32 = 23;
    pub(in crate::plan) const TEXT: u32 = 25;
    pub(in crate::plan) const OID: u32 = 26;
    pub(in crate::plan) const JSON: u32 = 114;
    pub(in crate::plan) const XML: u32 = 142;
    pub(in crate::plan) const CIDR: u32 = 650;
    pub(in crate::plan) const FLOAT4: u32 = 700;
    pub(in crate::plan) const FLOAT8: u32 = 701;
    pub(in crate::plan) const MACADDR8: u32 = 774;
    pub(in crate::plan) const MONEY: u32 = 790;
    pub(in crate::plan) const MACADDR: u32 = 829;
    pub(in crate::plan) const INET: u32 = 869;
    pub(in crate::plan) const BPCHAR: u32 = 1042;
    pub(in crate::plan) const VARCHAR: u32 = 1043;
    pub(in crate::plan) const DATE: u32 = 1082;
    pub(in crate::plan) const TIME: u32 = 1083;
    pub(in crate::plan) const TIMESTAMP: u32 = 1114;
    pub(in crate::plan) const TIMESTAMPTZ: u32 = 1184;
    pub(in crate::plan) const INTERVAL: u32 = 1186;
    pub(in crate::plan) const TIMETZ: u32 = 1266;
    pub(in crate::plan) const BIT: u32 = 1560;
    pub(in crate::plan) const VARBIT: u32 = 1562;
    pub(in crate::plan) const NUMERIC: u32 = 1700;
    pub(in crate::plan) const TIMESTAMPTZ_ARRAY: u32 = 1185;
    pub(in crate::plan) const NUMERIC_ARRAY: u32 = 1231;
    pub(in crate::plan) const JSONB: u32 = 3802;
    pub(in crate::plan) const NUMRANGE: u32 = 3906;
    pub(in crate::plan) const TSTZRANGE: u32 = 3910;
    pub(in crate::plan) const NUMMULTIRANGE: u32 = 4532;
    pub(in crate::plan) const TSTZMULTIRANGE: u32 = 4534;

    /// Whether a cast reads or writes the time in the zone of the session.
    pub(in crate::plan) fn depends_on_zone(from: u32, to: u32) -> bool {
        matches!(
            (from, to),
            (TIMESTAMP | DATE, TIMESTAMPTZ)
                | (TIMESTAMPTZ, TIMESTAMP | DATE | TIME | TIMETZ)
                | (TIME, TIMETZ)
        )
    }
}
use oids::{
    BIT, BOOL, BPCHAR, CHAR, CIDR, DATE, FLOAT4, FLOAT8, INET, INT2, INT4, INT8, INTERVAL, JSON, JSONB,
    MACADDR, MACADDR8, MONEY, NAME, NUMERIC, OID, TEXT, TIME, TIMESTAMP, TIMESTAMPTZ, TIMETZ, VARBIT,
    VARCHAR, XML,
};

/// The effect of a cast, as a clause with the cast as its subject.
type Why = &'static str;

const DECIMALS: Why = "rounds to fewer decimal places";
const WHOLE: Why = "rounds to whole numbers";
const FLOAT_DIGITS: Why = "keeps only the digits of a floating-point number";
const NUMERIC_DIGITS: Why =
    "keeps the first 15 digits of a double precision number and the first 6 of a real one";
const SECONDS: Why = "rounds fractions of a second";
const FIELDS: Why = "drops fields of an interval";
const BLANKS: Why = "drops trailing spaces";
const CUT: Why = "truncates long strings";
const READ: Why = "parses text that may not be in canonical form";
const SKIPPED_HOUR: Why = "changes local times that the source's time zone skips when clocks go forward";
const REPEATED_HOUR: Why = "cannot tell two equal local times apart when clocks go back";
const TIME_OF_DAY: Why = "drops the time of day";
const DAY: Why = "drops the date";
const ZONE: Why = "drops the time zone";
const TRUTH: Why = "turns every nonzero number into true";
const KEYS: Why = "drops white space, duplicate keys and the order of keys";
const HOST: Why = "drops the host part of addresses";
const BOUNDS: Why = "writes the bounds of ranges in a different form";
const UNKNOWN: Why = "is not known to be reversible";

/// Returns the possible loss of the cast of a source column to the target column's type; `None` if there is none.
pub(super) fn of(source: &Catalog, from: &Column, target: &Catalog, to: &Column) -> Option<Why> {
    Sides { source, target }.loss(&source.bare_type(from), &target.bare_type(to), 0)
}

struct Sides<'a> {
    source: &'a Catalog,
    target: &'a Catalog,
}

impl Sides<'_> {
    fn loss(&self, from: &BareType, to: &BareType, depth: u8) -> Option<Why> {
        // Types cannot contain themselves; the limit only prevents an endless loop on a broken catalog.
        let (ours, theirs) = match (self.source.types.get(&from.oid), self.target.types.get(&to.oid)) {
            (Some(ours), Some(theirs)) if depth < 32 => (ours, theirs),
            _ => return Some(UNKNOWN),
        };
        let next = |from: BareType, to: BareType| self.loss(&from, &to, depth + 1);
        match (ours.kind, theirs.kind) {
            ('e', 'e') => None,
            ('c', 'c') => {
                let parts = (0..ours.parts.len().min(theirs.parts.len()))
                    .map(|n| next(part(self.source, ours, n, None)?, part(self.target, theirs, n, None)?));
                parts.flatten().next()
            }
            ('r' | 'm', 'r' | 'm') => {
                let (from, to) = (part(self.source, ours, 0, None)?, part(self.target, theirs, 0, None)?);
                let is_whole = |oid: Oid| matches!(oid, INT4 | INT8);
                if ours.kind == 'm' && theirs.kind == 'm' {
                    return next(from, to);
                }
                (from.oid != to.oid
                    && is_built_in(from.oid, to.oid)
                    && !(is_whole(from.oid) && is_whole(to.oid)))
                .then_some(BOUNDS)
            }
            _ if ours.is_array && theirs.is_array => next(
                part(self.source, ours, 0, Some(from.modifier))?,
                part(self.target, theirs, 0, Some(to.modifier))?,
            ),
            _ if is_built_in(from.oid, to.oid) => scalar((from.oid, from.modifier), (to.oid, to.modifier)),
            _ if theirs.is_built_in() && theirs.category == 'S' => {
                text_of_any((from.oid, ours.category), (to.oid, to.modifier))
            }
            // An enum or another string type keeps a text unchanged. How other types read it is unknown: the other
            // server does not know how a value was written.
            _ if ours.category == 'S' => None,
            _ if ours.name.name == theirs.name.name => None,
            _ => Some(UNKNOWN),
        }
    }
}

/// Returns a part of a type, with its domains resolved. The elements of an array have the array's modifier.
fn part(catalog: &Catalog, kind: &Type, number: usize, modifier: Option<i32>) -> Option<BareType> {
    let detail = kind.details.get(number)?;
    let modifier = modifier.unwrap_or(detail.modifier);
    Some(catalog.under_domains(BareType {
        oid: *kind.parts.get(number)?,
        modifier,
        sql_name: detail.type_name.clone(),
    }))
}

fn is_built_in(from: Oid, to: Oid) -> bool {
    const FIRST_NORMAL_OID: Oid = 16_384;
    from < FIRST_NORMAL_OID && to < FIRST_NORMAL_OID
}

/// A type's OID and modifier.
type Typed = (u32, i32);

fn is_text((oid, _): Typed) -> bool {
    matches!(oid, TEXT | VARCHAR | BPCHAR | NAME | CHAR)
}

fn scalar(from: Typed, to: Typed) -> Option<Why> {
    if from.0 == to.0 {
        return same(from, to);
    }
    match (is_text(from), is_text(to)) {
        (true, true) => texts(from, to),
        (true, false) => (to.0 != JSON).then_some(READ),
        (false, true) => text_of_any((from.0, 'X'), to),
        (false, false) => match (is_time(from.0), is_time(to.0)) {
            (true, true) => times(from, to),
            _ => numbers(from, to).unwrap_or_else(|| others(from.0, to.0)),
        },
    }
}

/// Compares two modifiers of one type.
fn same(from: Typed, to: Typed) -> Option<Why> {
    match from.0 {
        NUMERIC => rounds(scale(from.1), to.1),
        VARCHAR => texts(from, to),
        TIME | TIMETZ | TIMESTAMP | TIMESTAMPTZ => (precision(to.1) < precision(from.1)).then_some(SECONDS),
        INTERVAL => interval(from.1, to.1),
        _ => None,
    }
}

/// Returns the scale of a numeric, if limited: the low eleven bits, signed (src/backend/utils/adt/numeric.c).
pub(super) fn scale(modifier: i32) -> Option<i32> {
    (modifier >= 4).then(|| (((modifier - 4) & 0x7ff) ^ 1024) - 1024)
}

/// Returns the precision of a numeric in digits, if limited.
fn digits(modifier: i32) -> Option<i32> {
    (modifier >= 4).then(|| (modifier - 4) >> 16)
}

/// Returns the loss if a numeric with the modifier `to` cannot hold values with `places` decimal places (`None`:
/// unlimited).
fn rounds(places: Option<i32>, to: i32) -> Option<Why> {
    let is_kept = match (places, scale(to)) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(places), Some(kept)) => kept >= places,
    };
    (!is_kept).then_some(DECIMALS)
}

/// Returns the length limit of a varchar or char, if any.
pub(super) fn length(modifier: i32) -> Option<i32> {
    (modifier >= 4).then(|| modifier - 4)
}

fn texts(from: Typed, to: Typed) -> Option<Why> {
    match (from.0, to.0, length(to.1)) {
        (_, NAME | CHAR, _) => (!(from.0 == CHAR && to.0 == NAME)).then_some(CUT),
        (_, _, None) | (BPCHAR, ..) => None,
        (VARCHAR, VARCHAR, Some(kept)) if length(from.1).is_some_and(|length| length <= kept) => None,
        _ => Some(BLANKS),
    }
}

/// Returns the loss when a value of a non-string type is cast to a string type.
fn text_of_any((from, category): (u32, char), to: Typed) -> Option<Why> {
    match (to.0, length(to.1)) {
        (NAME | CHAR, _) => Some(CUT),
        (_, None) => None,
        // The text of these types may end with a space; that of the others does not.
        (_, Some(_)) if matches!(from, JSON | XML) || matches!(category, 'S' | 'E' | 'C' | 'U') => {
            Some(BLANKS)
        }
        (_, Some(_)) => None,
    }
}

fn is_time(oid: u32) -> bool {
    matches!(oid, DATE | TIME | TIMETZ | TIMESTAMP | TIMESTAMPTZ | INTERVAL)
}

/// Returns the fractional digits of seconds.
fn precision(modifier: i32) -> i32 {
    if modifier < 0 { 6 } else { modifier }
}

fn times(from: Typed, to: Typed) -> Option<Why> {
    let seconds = (precision(to.1) < precision(from.1)).then_some(SECONDS);
    match (from.0, to.0) {
        (DATE, TIMESTAMP | TIMESTAMPTZ) => None,
        (TIMESTAMP, TIMESTAMPTZ) => Some(SKIPPED_HOUR),
        (TIMESTAMPTZ, TIMESTAMP) => Some(REPEATED_HOUR),
        (TIMESTAMP | TIMESTAMPTZ, DATE) => Some(TIME_OF_DAY),
        (TIMESTAMP | TIMESTAMPTZ, TIME | TIMETZ) | (INTERVAL, TIME) => Some(DAY),
        (TIME, TIMETZ) => seconds,
        (TIMETZ, TIME) => Some(ZONE),
        (TIME, INTERVAL) => interval(-1, to.1),
        _ => Some(UNKNOWN),
    }
}

/// Returns the loss between two interval modifiers. The high half of a modifier has the fields that are kept, the low
/// half the fractional digits of seconds (src/include/utils/timestamp.h).
fn interval(from: i32, to: i32) -> Option<Why> {
    const ALL: i32 = 0x7fff;
    const FULL: i32 = 0xffff;
    let split = |modifier: i32| {
        if modifier < 0 { (ALL, 6) } else { ((modifier >> 16) & ALL, precision_of(modifier & FULL)) }
    };
    fn precision_of(bits: i32) -> i32 {
        if bits == FULL { 6 } else { bits }
    }
    let ((ours, fine), (theirs, coarse)) = (split(from), split(to));
    if theirs != ALL && theirs != ours { Some(FIELDS) } else { (coarse < fine).then_some(SECONDS) }
}

/// Returns `None` if one of the types is not a number, else the possible loss.
fn numbers(from: Typed, to: Typed) -> Option<Option<Why>> {
    let is_whole = |oid: u32| matches!(oid, INT2 | INT4 | INT8);
    let is_known = |oid: u32| is_whole(oid) || matches!(oid, NUMERIC | FLOAT4 | FLOAT8 | MONEY | OID);
    if !is_known(from.0) || !is_known(to.0) {
        return None;
    }
    // A decimal number with at most this many digits survives (FLT_DIG, DBL_DIG).
    let fits = |most: i32| {
        let is_short = digits(from.1).is_some_and(|digits| digits <= most);
        is_short && scale(from.1).is_some_and(|scale| scale.abs() <= 30)
    };
    Some(match (from.0, to.0) {
        (INT2 | INT4, FLOAT8) | (INT2 | FLOAT4, FLOAT4 | FLOAT8) | (OID, FLOAT8) => None,
        (whole, kind) if is_whole(whole) && (is_whole(kind) || matches!(kind, MONEY | OID)) => None,
        (OID, kind) if is_whole(kind) => None,
        (whole, NUMERIC) if is_whole(whole) => rounds(Some(0), to.1),
        (MONEY, NUMERIC) => rounds(Some(2), to.1),
        (NUMERIC, kind) if is_whole(kind) => scale(from.1).is_none_or(|scale| scale > 0).then_some(WHOLE),
        (NUMERIC, MONEY) => scale(from.1).is_none_or(|scale| scale > 2).then_some(DECIMALS),
        (NUMERIC, FLOAT8) => (!fits(15)).then_some(FLOAT_DIGITS),
        (NUMERIC, FLOAT4) => (!fits(6)).then_some(FLOAT_DIGITS),
        (_, FLOAT4 | FLOAT8) => Some(FLOAT_DIGITS),
        (FLOAT4 | FLOAT8, NUMERIC) => Some(NUMERIC_DIGITS),
        (FLOAT4 | FLOAT8, kind) if is_whole(kind) => Some(WHOLE),
        _ => Some(UNKNOWN),
    })
}

fn others(from: u32, to: u32) -> Option<Why> {
    match (from, to) {
        (BOOL, INT4) | (JSONB, JSON) | (CIDR, INET) => None,
        (MACADDR, MACADDR8) | (MACADDR8, MACADDR) | (BIT, VARBIT) | (VARBIT, BIT) => None,
        (INT2 | INT4 | INT8, BOOL) => Some(TRUTH),
        (JSON, JSONB) => Some(KEYS),
        (INET, CIDR) => Some(HOST),
        _ => Some(UNKNOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn numeric(precision: i32, scale: i32) -> Typed {
        (NUMERIC, ((precision << 16) | (scale & 0x7ff)) + 4)
    }

    const fn of_length(oid: u32, length: i32) -> Typed {
        (oid, length + 4)
    }

    const fn any(oid: u32) -> Typed {
        (oid, -1)
    }

    /// SECOND is bit 12, DAY bit 3, HOUR bit 10, MINUTE bit 11 (src/include/utils/datetime.h).
    const DAY_TO_SECOND: i32 = (1 << 3 | 1 << 10 | 1 << 11 | 1 << 12) << 16;

    #[test]
    fn casts_that_keep_every_value_are_known() {
        for (from, to) in [
            (numeric(12, 4), numeric(12, 4)),
            (numeric(10, 2), numeric(12, 4)),
            (numeric(12, 4), any(NUMERIC)),
            (numeric(5, -3), numeric(9, 0)),
            (numeric(10, 0), any(INT8)),
            (numeric(15, 2), any(FLOAT8)),
            (numeric(6, 2), any(FLOAT4)),
            (numeric(10, 2), any(MONEY)),
            (any(INT8), any(INT2)),
            (any(INT4), any(FLOAT8)),
            (any(INT2), any(FLOAT4)),
            (any(INT8), any(NUMERIC)),
            (any(INT8), numeric(10, 2)),
            (any(INT4), any(OID)),
            (any(FLOAT4), any(FLOAT8)),
            (any(MONEY), numeric(20, 2)),
            (of_length(VARCHAR, 10), of_length(VARCHAR, 20)),
            (of_length(VARCHAR, 10), any(TEXT)),
            (of_length(BPCHAR, 10), of_length(BPCHAR, 5)),
            (of_length(BPCHAR, 10), of_length(VARCHAR, 5)),
            (any(NAME), any(TEXT)),
            (any(INT8), of_length(BPCHAR, 20)),
            (any(TEXT), any(JSON)),
            (any(JSONB), any(JSON)),
            (any(XML), any(TEXT)),
            (any(DATE), any(TIMESTAMP)),
            (any(DATE), any(TIMESTAMPTZ)),
            ((TIMESTAMP, 3), (TIMESTAMP, 6)),
            ((TIMESTAMP, 6), any(TIMESTAMP)),
            ((INTERVAL, DAY_TO_SECOND | 0xffff), any(INTERVAL)),
            ((INTERVAL, DAY_TO_SECOND | 0xffff), (INTERVAL, DAY_TO_SECOND | 0xffff)),
            (any(TIME), any(INTERVAL)),
            (any(CIDR), any(INET)),
            ((BIT, 4), (BIT, 8)),
            ((VARBIT, 8), (VARBIT, 4)),
            (any(BOOL), any(INT4)),
        ] {
            assert_eq!(scalar(from, to), None, "{from:?} {to:?}");
        }
    }

    #[test]
    fn casts_that_can_lose_say_what() {
        for (from, to, why) in [
            (numeric(12, 4), numeric(10, 2), DECIMALS),
            (any(NUMERIC), numeric(10, 2), DECIMALS),
            (numeric(9, 0), numeric(5, -3), DECIMALS),
            (any(INT4), numeric(5, -3), DECIMALS),
            (any(MONEY), numeric(20, 0), DECIMALS),
            (numeric(12, 4), any(INT8), WHOLE),
            (any(NUMERIC), any(INT4), WHOLE),
            (any(FLOAT8), any(INT8), WHOLE),
            (numeric(40, 20), any(FLOAT8), FLOAT_DIGITS),
            (numeric(16, 2), any(FLOAT8), FLOAT_DIGITS),
            (any(NUMERIC), any(FLOAT8), FLOAT_DIGITS),
            (any(INT8), any(FLOAT8), FLOAT_DIGITS),
            (any(INT4), any(FLOAT4), FLOAT_DIGITS),
            (any(FLOAT8), any(FLOAT4), FLOAT_DIGITS),
            (any(FLOAT8), any(NUMERIC), NUMERIC_DIGITS),
            (any(TIMESTAMP), (TIMESTAMP, 0), SECONDS),
            ((TIME, 6), (TIME, 3), SECONDS),
            ((TIMESTAMPTZ, 3), (TIMESTAMPTZ, 0), SECONDS),
            (any(INTERVAL), (INTERVAL, (0x7fff << 16) | 2), SECONDS),
            (any(INTERVAL), (INTERVAL, DAY_TO_SECOND | 0xffff), FIELDS),
            (any(TIMESTAMP), any(TIMESTAMPTZ), SKIPPED_HOUR),
            (any(TIMESTAMPTZ), any(TIMESTAMP), REPEATED_HOUR),
            (any(TIMESTAMP), any(DATE), TIME_OF_DAY),
            (any(TIMETZ), any(TIME), ZONE),
            (any(VARCHAR), of_length(BPCHAR, 9), BLANKS),
            (any(TEXT), of_length(VARCHAR, 9), BLANKS),
            (of_length(VARCHAR, 20), of_length(VARCHAR, 10), BLANKS),
            (any(JSON), of_length(VARCHAR, 10), BLANKS),
            (any(TEXT), any(NAME), CUT),
            (any(TEXT), any(CHAR), CUT),
            (any(TEXT), any(INT4), READ),
            (any(TEXT), any(TIMESTAMPTZ), READ),
            (any(JSON), any(JSONB), KEYS),
            (any(INET), any(CIDR), HOST),
            (any(INT4), any(BOOL), TRUTH),
            (any(BIT), any(INT4), UNKNOWN),
        ] {
            assert_eq!(scalar(from, to), Some(why), "{from:?} {to:?}");
        }
    }
}
