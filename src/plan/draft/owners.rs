//! Which rows belong to the sync, as far as a column tells.
//!
//! A sync that replaces a whole table removes rows that others wrote, and rows they will write later: an app may
//! insert its first row after the first sync. The column's values on both sides, and the default that rows get if
//! they omit the column, decide which rows a scope may cover. A scope over a value that others' rows may also get
//! covers those rows too, unless others' rows are present that carry a different value. If ownership cannot be
//! determined, nothing is deleted.

use std::collections::BTreeMap;

use crate::pg::catalog::{Catalog, Column, Relation};
use crate::pg::name::{literal, plain};

/// Column names that suggest ownership of a row.
const NAMES: [&str; 9] = [
    "source",
    "origin",
    "dataset",
    "data_source",
    "source_system",
    "created_by_app",
    "tenant",
    "owner_app",
    "written_by",
];

/// Maximum number of values in a scope; nobody would read a longer one.
const VALUES_MAX: usize = 8;

/// Number of rows per value, NULL included.
pub type Values = BTreeMap<Option<String>, u64>;

/// The contents of an ownership column on both sides.
#[derive(Debug, Default)]
pub struct Owners {
    /// The source's values; `None` if the source lacks the column or could not be queried in time.
    pub source: Option<Values>,
    /// The target's values; `None` if the target could not be queried in time.
    pub target: Option<Values>,
    /// A sample of target rows that have the value the source's rows will get ([`given`]): its size, and how many of
    /// them the source has under the same key. `None` if unknown.
    pub known: Option<(u64, u64)>,
    /// A value the sync's rows can be given where the source lacks the column: the column accepts it, it is not the
    /// default, and no target row has it. `None` if there is no such value, or if the target names more than one.
    pub own: Option<String>,
}

/// The target rows that belong to the sync.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ownership {
    /// The rows of a scope, and the reason for it.
    Scope(String, &'static str),
    /// The rows with a value that the sync sets: the value, the scope, and the reason.
    Own(String, String, String),
    /// Unknown, with the reason.
    Unknown(String),
}

/// Returns the target column that records whose a row is.
#[must_use]
pub fn owner_column<'a>(target: &Catalog, table: &'a Relation) -> Option<&'a Column> {
    let is_owner = |column: &&Column| {
        let kind = target.types.get(&target.base_type(column.type_oid));
        let is_word = kind.is_some_and(|kind| kind.category == 'S' || kind.kind == 'e');
        is_word && !column.generated && NAMES.contains(&column.name.as_str().to_lowercase().as_str())
    };
    table.columns.iter().find(is_owner)
}

/// Returns the value that every source row will get in a column the source lacks: its default, or NULL without one.
/// `None` if rows bring their own values or the target computes them.
#[must_use]
pub fn given(column: &Column, source: &Relation) -> Option<Option<String>> {
    if source.column(&column.name).is_some() {
        return None;
    }
    match &column.expression {
        None => Some(None),
        Some(_) => plain_default(column).map(Some),
    }
}

/// Decides by the values of `column` on both sides and by its default.
pub(super) fn judge(column: &Column, source: &Relation, owners: &Owners) -> Ownership {
    let name = plain(&column.name);
    let Some(target) = &owners.target else { return unread("target", &name) };
    if source.column(&column.name).is_some() {
        return match &owners.source {
            Some(source) => by_values(column, source, target),
            None => unread("source", &name),
        };
    }
    match given(column, source) {
        Some(value) => by_default(column, &value, target, owners),
        None if target.is_empty() => own_value(column, "a computed value", owners),
        None => Ownership::Unknown(format!("the target computes {name} for every row")),
    }
}

fn unread(side: &str, name: &str) -> Ownership {
    Ownership::Unknown(format!("the {side} could not list the values of {name} in time"))
}

/// Decides where the source's rows bring their own values.
fn by_values(column: &Column, source: &Values, target: &Values) -> Ownership {
    let name = plain(&column.name);
    // With a single value, rows that the source no longer has are old source rows. With several values, one of them
    // may belong to others whose rows are copied back to the source.
    let come_back = source.iter().find(|(value, rows)| target.get(*value).is_some_and(|there| there > rows));
    if let (Some((value, _)), 2..) = (come_back, source.len()) {
        return Ownership::Unknown(format!(
            "more target rows than source rows have {} in {name}",
            shown(value.as_deref())
        ));
    }
    let has_others = target.keys().any(|value| !source.contains_key(value));
    let by_source = |source: &Values| {
        Ownership::Scope(
            scope(column, source.keys().map(Option::as_deref)),
            "the values of the source's rows",
        )
    };
    match (source.len(), has_others) {
        (0, _) => Ownership::Unknown("the source has no rows to judge by".to_owned()),
        (1..=VALUES_MAX, true) => by_source(source),
        (_, true) => Ownership::Unknown(format!("the source has too many values in {name} to list")),
        // The app has written nothing yet: only the default tells what it will write.
        (1, false) => match (column.expression.is_some(), plain_default(column)) {
            (true, None) => Ownership::Unknown(format!(
                "the target computes {name} for rows that omit it, possibly with the value of the source's rows"
            )),
            (_, value) if source.contains_key(&value) => Ownership::Unknown(format!(
                "rows that others insert get {} in {name} by default, the same as the source's rows",
                shown(value.as_deref())
            )),
            _ => by_source(source),
        },
        (_, false) => Ownership::Unknown(format!(
            "the source has several values in {name}, and others may write one of them"
        )),
    }
}

/// Decides where the source lacks the column: its rows get `value`, as do others' rows that omit the column. If
/// others' rows with a different value are present, the decision depends on whether the rows with `value` are in the
/// source.
fn by_default(column: &Column, value: &Option<String>, target: &Values, owners: &Owners) -> Ownership {
    let name = plain(&column.name);
    let by_default = shown(value.as_deref());
    let must_be_named = value.is_none() && column.not_null;
    if target.is_empty() || must_be_named {
        return own_value(column, &by_default, owners);
    }
    if !target.keys().any(|other| other != value) {
        return Ownership::Unknown(format!(
            "rows that others insert get {by_default} in {name} by default, as the source's rows do"
        ));
    }
    let is_ours = match owners.known {
        _ if !target.contains_key(value) => true,
        Some((looked_at, found)) => found * 2 >= looked_at,
        None => false,
    };
    if is_ours {
        let scope = scope(column, std::iter::once(value.as_deref()));
        return Ownership::Scope(scope, "rows loaded by the sync get this value");
    }
    Ownership::Unknown(format!(
        "target rows have the value of {name} that the source's rows will get, and are not known to come from the source"
    ))
}

/// Gives the sync's rows a value of their own, if there is one.
fn own_value(column: &Column, by_default: &str, owners: &Owners) -> Ownership {
    let name = plain(&column.name);
    match &owners.own {
        Some(own) => Ownership::Own(
            own.clone(),
            scope(column, std::iter::once(Some(own.as_str()))),
            format!("set below; rows that others insert get {by_default} by default"),
        ),
        None => Ownership::Unknown(format!(
            "rows that others insert get {by_default} in {name} by default, as the source's rows would, and no distinct \
             value is known that the sync could set"
        )),
    }
}

fn shown(value: Option<&str>) -> String {
    value.map_or_else(|| "NULL".to_owned(), literal)
}

/// Returns the literal that is a column's default.
fn plain_default(column: &Column) -> Option<String> {
    let rest = column.expression.as_deref()?.strip_prefix('\'')?;
    let (value, cast) = rest.rsplit_once('\'')?;
    let is_plain = (cast.is_empty() || cast.starts_with("::")) && !value.contains(['\'', '\\']);
    is_plain.then(|| value.to_owned())
}

/// `source = 'D' OR source IS NULL`
fn scope<'v>(column: &Column, values: impl Iterator<Item = Option<&'v str>>) -> String {
    let name = plain(&column.name);
    let (mut terms, mut or_null) = (Vec::new(), None);
    for value in values {
        match value {
            Some(value) => terms.push(format!("{name} = {}", literal(value))),
            None => or_null = Some(format!("{name} IS NULL")),
        }
    }
    terms.extend(or_null);
    terms.join(" OR ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::name::Ident;
    use crate::plan::table::tests::relation;

    fn values(values: &[(&str, u64)]) -> Values {
        let value = |text: &str| (text != "NULL").then(|| text.to_owned());
        values.iter().map(|(text, rows)| (value(text), *rows)).collect()
    }

    fn column(default: Option<&str>) -> Column {
        let bare = Column::bare(Ident::new("source"), 25, "text".to_owned());
        Column { expression: default.map(str::to_owned), ..bare }
    }

    fn judged(default: Option<&str>, columns: &[&str], owners: &Owners) -> Result<String, ()> {
        match judge(&column(default), &relation("t", columns), owners) {
            Ownership::Scope(scope, _) => Ok(scope),
            Ownership::Own(value, scope, _) => Ok(format!("{value}: {scope}")),
            Ownership::Unknown(_) => Err(()),
        }
    }

    fn by_both(default: Option<&str>, source: Option<Values>, target: Option<Values>) -> Result<String, ()> {
        judged(default, &["id", "source"], &Owners { source, target, ..Owners::default() })
    }

    const UNKNOWN: Result<String, ()> = Err(());

    #[test]
    fn what_the_target_has_and_the_source_lacks_is_left_out() {
        for (source, target, expected) in [
            (&[("D", 9)][..], &[("D", 9), ("M", 2)][..], Ok("source = 'D'".to_owned())),
            (&[("D", 9), ("NULL", 1)], &[("M", 2)], Ok("source = 'D' OR source IS NULL".to_owned())),
            (&[("it's", 9)], &[("NULL", 2)], Ok("source = 'it''s'".to_owned())),
            // Some of the app's rows have been copied back, others have not.
            (&[("D", 9), ("M", 2)], &[("D", 9), ("M", 3)], UNKNOWN),
            (&[], &[("M", 1)], UNKNOWN),
        ] {
            assert_eq!(
                by_both(None, Some(values(source)), Some(values(target))),
                expected,
                "{source:?} {target:?}"
            );
        }
        let many: Values = (0..9).map(|i| (Some(i.to_string()), 1)).collect();
        assert_eq!(by_both(None, Some(many), Some(values(&[("M", 1)]))), UNKNOWN);
        assert_eq!(by_both(None, Some(values(&[("D", 1)])), None), UNKNOWN);
        assert_eq!(by_both(None, None, Some(values(&[("M", 1)]))), UNKNOWN);
    }

    #[test]
    fn where_no_row_of_others_is_seen_the_default_tells_what_they_will_have() {
        let scope = || Ok("source = 'D'".to_owned());
        for (default, source, target, expected) in [
            (None, &[("D", 9)][..], &[("D", 20)][..], scope()),
            (None, &[("D", 9)], &[], scope()),
            (Some("'M'::text"), &[("D", 9)], &[], scope()),
            (Some("'D'::text"), &[("D", 9)], &[], UNKNOWN),
            (Some("'D'::text"), &[("D", 9)], &[("D", 9)], UNKNOWN),
            (Some("CURRENT_USER"), &[("D", 9)], &[], UNKNOWN),
            (None, &[("NULL", 9)], &[], UNKNOWN),
            (Some("'M'::text"), &[("NULL", 9)], &[], Ok("source IS NULL".to_owned())),
            // The source has several values; the app may write any of them.
            (None, &[("D", 9), ("M", 2)], &[], UNKNOWN),
            (None, &[("D", 9), ("M", 2)], &[("D", 9), ("M", 1)], UNKNOWN),
            (None, &[], &[], UNKNOWN),
        ] {
            let found = by_both(default, Some(values(source)), Some(values(target)));
            assert_eq!(found, expected, "{default:?} {source:?} {target:?}");
        }
    }

    #[test]
    fn a_default_is_the_syncs_only_where_rows_of_others_say_so_and_those_that_have_it_are_in_the_source() {
        let default = Some("'D'::text");
        for (default, target, known, expected) in [
            (default, &[("D", 9), ("M", 2)][..], Some((9, 8)), Ok("source = 'D'")),
            (default, &[("M", 2)], None, Ok("source = 'D'")),
            (default, &[("D", 9)], Some((9, 9)), Err(())),
            (default, &[("D", 9), ("M", 2)], Some((9, 4)), Err(())),
            (default, &[("D", 9), ("M", 2)], None, Err(())),
            (None, &[("M", 2)], None, Ok("source IS NULL")),
            (None, &[("M", 2), ("NULL", 3)], Some((3, 3)), Ok("source IS NULL")),
            (None, &[("M", 2), ("NULL", 3)], Some((3, 0)), Err(())),
            (None, &[("NULL", 3)], None, Err(())),
            (Some("CURRENT_USER"), &[("M", 2)], Some((1, 1)), Err(())),
        ] {
            let owners = Owners { target: Some(values(target)), known, ..Owners::default() };
            let expected = expected.map(str::to_owned);
            assert_eq!(judged(default, &["id"], &owners), expected, "{default:?} {target:?}");
        }
    }

    #[test]
    fn on_an_empty_target_the_sync_gets_a_value_of_its_own_or_deletes_nothing() {
        for default in [Some("'M'::text"), None, Some("CURRENT_USER")] {
            for (own, expected) in [(Some("D"), Ok("D: source = 'D'".to_owned())), (None, Err(()))] {
                let own = own.map(str::to_owned);
                let owners = Owners { target: Some(Values::new()), own, ..Owners::default() };
                assert_eq!(judged(default, &["id"], &owners), expected, "{default:?}");
            }
        }
        // Every row must bring its own value.
        let owners =
            Owners { target: Some(values(&[("M", 3)])), own: Some("D".to_owned()), ..Owners::default() };
        let column = Column { not_null: true, ..column(None) };
        let judged = judge(&column, &relation("t", &["id"]), &owners);
        assert!(matches!(judged, Ownership::Own(value, ..) if value == "D"));
    }
}
