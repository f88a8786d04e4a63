//! How a column travels: as it is, cast by the source, or as text.

use super::loss::oids;
use crate::config::FormatChoice;
use crate::error::{Error, Kind, Location, Phase, Result};
use crate::pg::catalog::{Catalog, Column, Oid};
use crate::pg::format::Format;
use crate::pg::name::Ident;

/// How one column's value gets its target type.
pub(super) enum Conversion {
    /// Both sides agree on its binary form.
    Same,
    /// The source casts it, after which both agree; the cast may lose something unless it is one that PostgreSQL makes
    /// by itself.
    Cast { to: String, is_implicit: bool, way_out: Option<WayOut> },
    /// Only its text form is understood on both sides; the word says why.
    Text(&'static str),
}

/// What to do with values that a cast refuses: the target reads the source's text and comes to the same, so that it is the
/// target that refuses them, row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayOut {
    /// The text is that of a number.
    Number,
    /// It may be any text.
    Text,
}

/// Types by their OIDs: what is read from a text as the cast reads it.
const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
const TEXTS: [u32; 2] = [25, 1043];
const JSON: u32 = 114;
const JSONB: u32 = 3802;

const INTERVAL: u32 = 1186;

/// Since this version an interval may be infinite. An older server takes the binary form of such a one for another value.
const INFINITE_INTERVALS: u32 = 170_000;

/// The way out of a cast between base types that may refuse a value. A cast from a string is the input function of the other
/// type (manual, CREATE CAST), and a smaller integer reads what a larger one writes. Others round, cut or convert, which no
/// text does.
fn way_out(from: u32, to: u32, is_to_string: bool) -> Option<WayOut> {
    match (from, to) {
        (INT8, INT2 | INT4) | (INT4, INT2) => Some(WayOut::Number),
        (JSON, JSONB) => Some(WayOut::Text),
        _ if TEXTS.contains(&from) && !is_to_string => Some(WayOut::Text),
        _ => None,
    }
}

/// OIDs below this mean the same type on every server.
const FIRST_NORMAL_OID: u32 = 16_384;

/// How a source column of type `from` becomes the target column `to`.
///
/// A differing type is cast by the source if the source has such a cast, or if one of the two is a string type (then
/// any type can be cast through its text, PostgreSQL manual, CREATE CAST). What cannot be cast there, such as a text
/// to an enum of the target, travels as text and is read by the target's input function.
pub(super) fn conversion(source: &Catalog, target: &Catalog, from: &Column, to: &Column) -> Conversion {
    let is_infinite = |server: &Catalog| server.server.version >= INFINITE_INTERVALS;
    if is_infinite(source) && !is_infinite(target) && target.is_made_of(to.type_oid, INTERVAL) {
        return Conversion::Text("an interval may be infinite on the source only");
    }
    if from.type_name == to.type_name || source.base_type(from.type_oid) == target.base_type(to.type_oid) {
        let (ours, theirs) = (source.wire_signature(from.type_oid), target.wire_signature(to.type_oid));
        return match (ours, theirs) {
            (Some(ours), Some(theirs)) if ours == theirs => Conversion::Same,
            (Some(_), Some(_)) => Conversion::Text("its binary form differs between the servers"),
            _ => Conversion::Text("it has no binary form that any other server understands"),
        };
    }
    let known = target.base_type(to.type_oid);
    if known >= FIRST_NORMAL_OID {
        return Conversion::Text("its type exists on the target only");
    }
    let from_base = source.base_type(from.type_oid);
    let is_string = |catalog: &Catalog, oid| catalog.types.get(&oid).is_some_and(|t| t.category == 'S');
    let elements = elements(source, from_base).zip(elements(target, known)).filter(|&(from, to)| {
        // Arrays are cast by their elements. Where these depend on a time zone, it is the source's that counts.
        oids::depends_on_zone(from, to) && source.casts.contains_key(&(from, to))
    });
    let cast = elements.unwrap_or((from_base, known));
    let can_cast =
        source.casts.contains_key(&cast) || is_string(source, from_base) || is_string(target, known);
    match target.types.get(&known) {
        Some(kind) if can_cast && target.wire_signature(known).is_some() => {
            let is_implicit = source.casts.get(&cast).copied().unwrap_or(false);
            let way_out = way_out(from_base, known, is_string(target, known));
            Conversion::Cast { to: kind.sql_name.clone(), is_implicit, way_out }
        }
        _ => Conversion::Text("the source cannot cast it"),
    }
}

/// The base type of an array's elements.
fn elements(catalog: &Catalog, array: Oid) -> Option<Oid> {
    let kind = catalog.types.get(&array).filter(|kind| kind.is_array)?;
    kind.parts.first().map(|&element| catalog.base_type(element))
}

/// The SQL name of a target type that every server knows: built in, and travelling in binary as itself.
pub(super) fn shared_type(target: &Catalog, oid: u32) -> Option<String> {
    let base = target.base_type(oid);
    let known = base < FIRST_NORMAL_OID && target.wire_signature(base).is_some();
    known.then(|| target.types.get(&base).map(|kind| kind.sql_name.clone())).flatten()
}

/// Binary if every column allows it, as far as the config leaves the choice.
pub(super) fn choose(
    choice: FormatChoice,
    text_only: &[(Ident, &'static str)],
    at: &Location,
) -> Result<(Format, String)> {
    match (choice, text_only.first()) {
        (FormatChoice::Text, _) => Ok((Format::Text, "format = \"text\"".to_owned())),
        (_, None) => Ok((Format::Binary, "every column has the same wire format on both sides".to_owned())),
        (FormatChoice::Auto, Some((column, why))) => Ok((Format::Text, format!("column {column}: {why}"))),
        (FormatChoice::Binary, Some((column, why))) => Err(Error::new(
            Phase::Plan,
            Kind::Refused,
            format!("format = \"binary\" is not possible: column {column}: {why}"),
        )
        .at(at.clone())
        .hint("Use format = \"auto\" or \"text\".")),
    }
}
