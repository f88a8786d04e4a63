//! Whose rows are whose, as far as a column tells.
//!
//! A sync that replaces a whole table removes what others wrote into it. What the column holds on both sides decides
//! whether that can be: where rows of others are seen the scope leaves them out, and where it cannot be told nothing is
//! to be deleted.

use std::collections::BTreeMap;

use crate::pg::catalog::{Catalog, Column, Relation};
use crate::pg::name::{literal, plain};

/// Names of columns that tell whose a row is.
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

/// A scope of more values than this nobody would read.
const VALUES_MAX: usize = 8;

/// How many rows have each value, NULL being one.
pub type Values = BTreeMap<Option<String>, u64>;

/// What both sides have in a column that tells whose a row is.
#[derive(Debug, Default)]
pub struct Owners {
    /// The source's rows; `None` where it lacks the column, or could not tell.
    pub source: Option<Values>,
    /// The target's rows; `None` where it could not tell.
    pub target: Option<Values>,
    /// Of some rows of the target that have what the source's rows will get ([`given`]): how many these are, and how many
    /// of them the source has under the same key. `None` where that was not found out.
    pub known: Option<(u64, u64)>,
}

/// Which rows of the target are the sync's.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ownership {
    /// All: no row tells of others.
    All,
    /// Those of a scope, and what the scope is made of.
    Scope(String, &'static str),
    /// That cannot be told, and why.
    Unknown(String),
}

/// A column of the target that tells whose a row is.
#[must_use]
pub fn owner_column<'a>(target: &Catalog, table: &'a Relation) -> Option<&'a Column> {
    let is_owner = |column: &&Column| {
        let kind = target.types.get(&target.base_type(column.type_oid));
        let is_word = kind.is_some_and(|kind| kind.category == 'S' || kind.kind == 'e');
        is_word && !column.generated && NAMES.contains(&column.name.as_str().to_lowercase().as_str())
    };
    table.columns.iter().find(is_owner)
}

/// What every row of the source will have in a column that the source lacks: its default, NULL if it has none. `None` where
/// rows bring their own values, or the target computes them.
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

/// Judges by what the rows of both sides have in `column`, and by what the source's rows will have in it.
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
        Some(value) => by_default(column, &value, target, owners.known),
        None => Ownership::Unknown(format!("the target computes {name} for every row")),
    }
}

fn unread(side: &str, name: &str) -> Ownership {
    Ownership::Unknown(format!("the {side} could not tell quickly what is in {name}"))
}

/// The source's rows bring their own values.
fn by_values(column: &Column, source: &Values, target: &Values) -> Ownership {
    let name = plain(&column.name);
    // With one value, rows that the source has no more are a matter of time; with several, one may be that of others
    // whose rows come back to the source.
    let come_back = source.iter().find(|(value, rows)| target.get(*value).is_some_and(|there| there > rows));
    if let (Some((value, _)), 2..) = (come_back, source.len()) {
        let value = value.as_deref().map_or_else(|| "NULL".to_owned(), literal);
        return Ownership::Unknown(format!(
            "more rows of the target than of the source have {value} in {name}"
        ));
    }
    let has_others = target.keys().any(|value| !source.contains_key(value));
    match source.len() {
        _ if !has_others => Ownership::All,
        0 => Ownership::Unknown("the source has no rows that would tell".to_owned()),
        1..=VALUES_MAX => {
            let values = source.keys().map(Option::as_deref);
            Ownership::Scope(scope(column, values), "what the source's rows have")
        }
        _ => Ownership::Unknown(format!("the source has too many values in {name} to be listed")),
    }
}

/// The source lacks the column: its rows get `value`. Rows of others may have got it by the same default, so that it counts
/// how many of the rows that have it are in the source.
fn by_default(
    column: &Column,
    value: &Option<String>,
    target: &Values,
    known: Option<(u64, u64)>,
) -> Ownership {
    let has_others = target.keys().any(|other| other != value);
    if value.is_none() && !has_others {
        return Ownership::All;
    }
    let is_ours = match known {
        _ if !target.contains_key(value) => true,
        Some((looked_at, found)) => found * 2 >= looked_at,
        None => false,
    };
    if is_ours {
        let scope = scope(column, std::iter::once(value.as_deref()));
        return Ownership::Scope(scope, "rows that the sync brings get this value");
    }
    Ownership::Unknown(format!(
        "rows of the target have in {} what the source's rows will get, and are not known to be the source's",
        plain(&column.name)
    ))
}

/// The literal that a column has as its default.
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

    fn judged(default: Option<&str>, columns: &[&str], owners: &Owners) -> Result<String, bool> {
        match judge(&column(default), &relation("t", columns), owners) {
            Ownership::Scope(scope, _) => Ok(scope),
            Ownership::All => Err(true),
            Ownership::Unknown(_) => Err(false),
        }
    }

    fn by_both(source: Option<Values>, target: Option<Values>) -> Result<String, bool> {
        judged(None, &["id", "source"], &Owners { source, target, known: None })
    }

    /// All rows are the sync's; and: it cannot be told.
    const ALL: Result<String, bool> = Err(true);
    const UNKNOWN: Result<String, bool> = Err(false);

    #[test]
    fn what_the_target_has_and_the_source_lacks_is_left_out() {
        for (source, target, expected) in [
            (&[("D", 9)][..], &[("D", 9), ("M", 2)][..], Ok("source = 'D'".to_owned())),
            (&[("D", 9), ("NULL", 1)], &[("M", 2)], Ok("source = 'D' OR source IS NULL".to_owned())),
            (&[("it's", 9)], &[("NULL", 2)], Ok("source = 'it''s'".to_owned())),
            (&[("D", 9)], &[("D", 20)], ALL),
            (&[("D", 9), ("M", 2)], &[("D", 9), ("M", 1)], ALL),
            (&[("D", 9)], &[], ALL),
            // Some of the app's rows came back, others did not yet.
            (&[("D", 9), ("M", 2)], &[("D", 9), ("M", 3)], UNKNOWN),
            (&[], &[("M", 1)], UNKNOWN),
        ] {
            assert_eq!(
                by_both(Some(values(source)), Some(values(target))),
                expected,
                "{source:?} {target:?}"
            );
        }
        let many: Values = (0..9).map(|i| (Some(i.to_string()), 1)).collect();
        assert_eq!(by_both(Some(many), Some(values(&[("M", 1)]))), UNKNOWN);
        assert_eq!(by_both(Some(values(&[("D", 1)])), None), UNKNOWN);
        assert_eq!(by_both(None, Some(values(&[("M", 1)]))), UNKNOWN);
    }

    #[test]
    fn a_default_is_the_syncs_unless_the_rows_that_have_it_are_not_in_the_source() {
        let default = Some("'D'::text");
        for (default, target, known, expected) in [
            (default, &[("D", 9), ("M", 2)][..], Some((9, 8)), Ok("source = 'D'")),
            (default, &[("D", 9)], Some((9, 5)), Ok("source = 'D'")),
            (default, &[("M", 2)], None, Ok("source = 'D'")),
            (default, &[], None, Ok("source = 'D'")),
            (default, &[("D", 9)], Some((9, 4)), Err(false)),
            (default, &[("D", 9), ("M", 2)], None, Err(false)),
            (None, &[("M", 2)], None, Ok("source IS NULL")),
            (None, &[("M", 2), ("NULL", 3)], Some((3, 3)), Ok("source IS NULL")),
            (None, &[("M", 2), ("NULL", 3)], Some((3, 0)), Err(false)),
            (None, &[("NULL", 3)], None, Err(true)),
            (Some("CURRENT_USER"), &[("M", 2)], Some((1, 1)), Err(false)),
        ] {
            let owners = Owners { source: None, target: Some(values(target)), known };
            let expected = expected.map(str::to_owned);
            assert_eq!(judged(default, &["id"], &owners), expected, "{default:?} {target:?}");
        }
    }
}
