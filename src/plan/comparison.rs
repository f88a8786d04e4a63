//! How a source column is compared with a target column, and how values of a column are sorted.

use super::Facts;
use super::format::{Conversion, conversion};
use super::shape::{self, Difference};
use crate::pg::catalog::{Catalog, Column, Oid};

/// `text`
const TEXT: Oid = 25;

/// The type in which a source column is compared with a target column.
pub(super) struct Meeting {
    /// The expression that the source computes.
    pub(super) source: String,
    /// The OID of the type, under which the column is sent.
    pub(super) type_oid: Oid,
    /// The same type as SQL.
    pub(super) type_name: String,
    /// Why it can only be sent as text, if so.
    pub(super) text_only: Option<&'static str>,
}

/// Returns the column's own type if every server knows it: PostgreSQL then compares the two types. Types of
/// extensions and users match only the same type, except strings, which any string type can read.
pub(super) fn meeting_type(facts: &Facts<'_>, from: &Column, to: &Column) -> Option<Meeting> {
    let ours = facts.source.types.get(&facts.source.base_type(from.type_oid))?;
    let theirs = facts.target.types.get(&facts.target.base_type(to.type_oid))?;
    let are_strings = ours.category == 'S' && theirs.category == 'S';
    let plain = from.name.to_string();
    if theirs.is_built_in() && ours.is_built_in() {
        let text_only = facts.source.wire_signature(ours.oid).is_none();
        return Some(Meeting {
            source: plain,
            type_oid: ours.oid,
            type_name: ours.sql_name.clone(),
            text_only: text_only.then_some("its binary format is not portable between servers"),
        });
    }
    if theirs.is_built_in() {
        return are_strings.then(|| Meeting {
            source: format!("{plain}::pg_catalog.text"),
            type_oid: TEXT,
            type_name: "text".to_owned(),
            text_only: None,
        });
    }
    if ours.sql_name != theirs.sql_name && !are_strings {
        return None;
    }
    // Two types of the same name whose parts differ in meaning are different types.
    let difference = shape::difference(facts.source, from.type_oid, facts.target, to.type_oid);
    if matches!(difference, Some(Difference::Parts(_))) {
        return None;
    }
    let as_type = |column: &Column, oid, name: &str| {
        let type_name = name.to_owned();
        Column { type_oid: oid, type_name, ..column.clone() }
    };
    let (ours, theirs) = (as_type(from, ours.oid, &ours.sql_name), as_type(to, theirs.oid, &theirs.sql_name));
    let (source, text_only) = match conversion(facts.source, facts.target, &ours, &theirs) {
        Conversion::Same => (plain, None),
        Conversion::Cast { to, .. } => (format!("{plain}::{to}"), None),
        Conversion::Text(why) => (plain, Some(why)),
    };
    Some(Meeting { source, type_oid: theirs.type_oid, type_name: theirs.type_name, text_only })
}

/// Returns the equality operator of a column's type. For a type of an extension it is in the type's schema; otherwise
/// a citext would be compared as text.
pub(super) fn operator(target: &Catalog, column: &Column) -> String {
    let kind = target.types.get(&target.base_type(column.type_oid));
    match kind.filter(|kind| !kind.is_built_in() && kind.kind == 'b' && !kind.is_array) {
        Some(kind) => format!("operator({}.=)", kind.name.schema),
        None => "operator(pg_catalog.=)".to_owned(),
    }
}

/// Sorts by the type's own order; strings and types without an order sort by their bytes.
pub(super) fn order_of(target: &Catalog, value: &Column) -> &'static str {
    let is_string =
        target.types.get(&target.base_type(value.type_oid)).is_some_and(|kind| kind.category == 'S');
    if !is_string && target.is_ordered(value.type_oid) {
        "{}, {}::pg_catalog.text collate \"C\""
    } else {
        "{}::pg_catalog.text collate \"C\""
    }
}
