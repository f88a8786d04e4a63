//! The catalog's description of tables and of all objects attached to them or depending on them, without OIDs. Taken of the
//! live tables before the exchange and of the new ones after it, it must be the same.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio_postgres::{Client, Statement};

use super::super::options::KeptOptions;
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::catalog::Oid;

/// Its parts, one query each, combined by UNION ALL.
const PARTS: [&str; 12] = [
    include_str!("fingerprint/tables.sql"),
    include_str!("fingerprint/columns.sql"),
    include_str!("fingerprint/constraints.sql"),
    include_str!("fingerprint/indexes.sql"),
    include_str!("fingerprint/triggers.sql"),
    include_str!("fingerprint/rules.sql"),
    include_str!("fingerprint/policies.sql"),
    include_str!("fingerprint/statistics.sql"),
    include_str!("fingerprint/sequences.sql"),
    include_str!("fingerprint/publications.sql"),
    include_str!("fingerprint/views.sql"),
    include_str!("fingerprint/functions.sql"),
];

/// Differences between server versions: the first version with a feature, its placeholder in the queries, and the SQL there.
const SINCE: [(u32, &str, &str); 4] = [
    (140_000, "{compression}", "a.attcompression::text"),
    (130_000, "{statistics_target}", "nullif(s.stxstattarget, -1)"),
    (
        150_000,
        "{publication_columns}",
        "array(
            select a.attname
            from pg_catalog.unnest(r.prattrs::int2[]) as x (attnum)
            join pg_catalog.pg_attribute a on a.attrelid = r.prrelid and a.attnum = x.attnum
            order by 1
        )",
    ),
    (150_000, "{publication_filter}", "pg_catalog.pg_get_expr(r.prqual, r.prrelid)"),
];

/// The most characters of a definition shown in an error.
const SHOWN_CHARS_MAX: usize = 200;

/// Objects by their names, and their definitions as JSON.
#[derive(Debug, PartialEq)]
pub(super) struct Fingerprint(BTreeMap<String, String>);

/// Takes the fingerprint of tables, without the objects of their counterparts and without options that only the server sets.
pub(super) async fn take(
    client: &Client,
    query: &Statement,
    tables: &[Oid],
    others: &[Oid],
    kept_options: &KeptOptions,
) -> Result<Fingerprint> {
    let rows = client
        .query(query, &[&tables, &others, &kept_options.names()])
        .await
        .map_err(|e| Error::pg(Phase::Apply, "reading the objects attached to the tables", &e))?;
    Ok(Fingerprint(rows.iter().map(|row| (row.get(0), row.get(1))).collect()))
}

/// Returns its query.
pub(super) fn query(server_version: u32) -> String {
    let united = PARTS.join("\nunion all\n");
    let united = SINCE.iter().fold(united, |sql, (since, place, expression)| {
        sql.replace(place, if server_version >= *since { expression } else { "null::text" })
    });
    format!("select object, definition::text from (\n{united}\n) as fingerprint")
}

impl Fingerprint {
    /// Describes the first difference from another fingerprint; `None` if they are equal.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        let objects = self.0.keys().chain(other.0.keys());
        let mut differ = objects.filter(|&object| self.0.get(object) != other.0.get(object));
        let object = differ.next()?;
        Some(match (self.0.get(object), other.0.get(object)) {
            (Some(before), Some(after)) => format!("{object}: {}", describe(before, after)),
            (Some(_), None) => format!("{object} would be missing"),
            (None, _) => format!("{object} would be new"),
        })
    }

    /// Fails if anything has changed since this fingerprint was taken.
    ///
    /// # Errors
    /// [`Kind::Lock`]: the exchange is prepared again and retried.
    pub(super) fn refuse_change(&self, now: &Self) -> Result<()> {
        let Some(difference) = self.difference(now) else { return Ok(()) };
        let message = format!("a table changed while its exchange was being prepared: {difference}");
        Err(Error::new(Phase::Apply, Kind::Lock, message))
    }

    /// Fails unless everything is as it was.
    ///
    /// # Errors
    /// [`Kind::Guard`] with the first difference.
    pub(super) fn refuse_difference(&self, after: &Self) -> Result<()> {
        let Some(difference) = self.difference(after) else { return Ok(()) };
        let message = format!("the exchange would change {difference}; it was rolled back");
        Err(Error::new(Phase::Apply, Kind::Guard, message).hint(
            "Choose a method that keeps the table itself: apply = \"delta\", \"delete\" or \"truncate\".",
        ))
    }
}

/// Describes the first property that differs.
fn describe(before: &str, after: &str) -> String {
    let parse = |text: &str| serde_json::from_str::<BTreeMap<String, Value>>(text).unwrap_or_default();
    let (before, after) = (parse(before), parse(after));
    let property = before.iter().find(|(name, value)| after.get(*name) != Some(value));
    property.map_or_else(
        || "its definition".to_owned(),
        |(name, value)| {
            let after = after.get(name).unwrap_or(&Value::Null);
            format!("{name} was {}, would be {}", shown(value), shown(after))
        },
    )
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(objects: &[(&str, &str)]) -> Fingerprint {
        Fingerprint(objects.iter().map(|(object, json)| ((*object).to_owned(), (*json).to_owned())).collect())
    }

    #[test]
    fn a_difference_names_object_property_and_both_values() {
        let before =
            fingerprint(&[("table a.t", r#"{"owner": "me"}"#), ("column a.t.b", r#"{"default": null}"#)]);
        let same =
            fingerprint(&[("column a.t.b", r#"{"default": null}"#), ("table a.t", r#"{"owner": "me"}"#)]);
        assert_eq!(before.difference(&same), None);
        let other =
            fingerprint(&[("table a.t", r#"{"owner": "me"}"#), ("column a.t.b", r#"{"default": "1"}"#)]);
        assert_eq!(before.difference(&other).as_deref(), Some("column a.t.b: default was none, would be 1"));
        let less = fingerprint(&[("table a.t", r#"{"owner": "me"}"#)]);
        assert_eq!(before.difference(&less).as_deref(), Some("column a.t.b would be missing"));
        assert_eq!(less.difference(&before).as_deref(), Some("column a.t.b would be new"));
    }

    #[test]
    fn a_query_for_an_old_server_names_nothing_that_it_lacks() {
        let old = query(120_000);
        assert!(!old.contains('{') && !old.contains("attcompression") && !old.contains("prqual"), "{old}");
        let new = query(180_000);
        assert!(!new.contains('{') && new.contains("attcompression") && new.contains("prqual"), "{new}");
    }
}
