//! `[[table.lookup]]` and `[[table.reference]]`: links from a table's rows to those of other tables.

use super::section::{Node, Section, Shape};
use super::value::{columns, constant, ident, list, located, table_name, word};
use super::{Located, LookupConfig, OnOrphan, ReferenceConfig, TableConfig};
use crate::error::{Error, Result};
use crate::pg::name::{Ident, NotAName, TableName};

/// The keys of `[[table.lookup]]`.
pub(super) static LOOKUP: Shape =
    Shape { name: "[[table.lookup]]", keys: &["column", "from", "match", "value", "on_missing"] };

/// The keys of `[[table.reference]]`, which declares or tunes a foreign key.
pub(super) static REFERENCE: Shape =
    Shape { name: "[[table.reference]]", keys: &["columns", "to", "on_orphan", "null_values"] };

static ON_ORPHAN: &[(&str, OnOrphan)] = &[
    ("reject", OnOrphan::Reject),
    ("null", OnOrphan::Null),
    ("fail", OnOrphan::Fail),
    ("keep", OnOrphan::Keep),
];

/// Reads each table of the array `key`.
pub(super) fn read_all<T>(
    section: &Section<'_>,
    key: &'static str,
    shape: &'static Shape,
    read: impl Fn(&Section<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    match section.get(key) {
        Some(node) => Section::open_all(&node, shape)?.iter().map(read).collect(),
        None => Ok(Vec::new()),
    }
}

impl LookupConfig {
    /// Reads one `[[table.lookup]]`.
    pub(super) fn read(section: &Section<'_>) -> Result<Self> {
        Ok(Self {
            column: section.require("column", located(ident), "\"client_id\"")?,
            from: section.require("from", located(table_name), "\"public.jobs\"")?,
            on: section.require("match", matches, "{ job_id = \"id\" }")?,
            value: section.require("value", located(ident), "\"client_id\"")?,
            reject_missing: section
                .read("on_missing", word(&[("null", false), ("reject", true)]))?
                .unwrap_or_default(),
        })
    }
}

/// Reads `match`: at least one pair `source column = column of the looked-up table`.
fn matches(node: &Node<'_>) -> Result<Vec<(Located<Ident>, Ident)>> {
    const EXPECTED: &str = "a table such as { job_id = \"id\" }";
    let entries = node.entries(EXPECTED)?;
    if entries.is_empty() {
        return Err(node.wrong(EXPECTED));
    }
    let mut pairs: Vec<(Located<Ident>, Ident)> = Vec::with_capacity(entries.len());
    for (key, column) in entries {
        let name: Ident =
            key.value.parse().map_err(|reason: NotAName| node.says_at(key.at.clone(), reason))?;
        if pairs.iter().any(|(earlier, _)| earlier.value == name) {
            return Err(node.says_at(key.at, format!("the column {name} is listed twice")));
        }
        pairs.push((Located { value: name, at: key.at }, ident(&column)?));
    }
    Ok(pairs)
}

impl ReferenceConfig {
    /// Reads one `[[table.reference]]`.
    pub(super) fn read(section: &Section<'_>) -> Result<Self> {
        let reference = Self {
            columns: section.require("columns", columns, "[\"client_id\"]")?,
            to: section.require("to", located(referenced), "\"public.clients(client_id)\"")?,
            on_orphan: section.read("on_orphan", word(ON_ORPHAN))?.unwrap_or_default(),
            null_values: section.read("null_values", list("an array", constant))?.unwrap_or_default(),
        };
        let (ours, theirs) = (reference.columns.value.len(), reference.to.value.1.len());
        if ours == theirs {
            return Ok(reference);
        }
        Err(Error::config(
            reference.to.at,
            format!("to: expected the same number of columns as in columns ({ours}), found {theirs}"),
        ))
    }
}

/// Reads `schema.table(column, …)`.
fn referenced(node: &Node<'_>) -> Result<(TableName, Vec<Ident>)> {
    const EXPECTED: &str = "a table and its columns, such as \"public.clients(client_id)\"";
    let text = node.text(EXPECTED)?;
    let Some((table, columns)) = parse_referenced(&text) else { return Err(node.wrong(EXPECTED)) };
    if let Some(column) = columns.iter().enumerate().find_map(|(i, c)| columns[..i].contains(c).then_some(c))
    {
        return Err(node.says(format!("the column {column} is listed twice")));
    }
    Ok((table, columns))
}

fn parse_referenced(text: &str) -> Option<(TableName, Vec<Ident>)> {
    let (table, columns) = split_outside_quotes(text.trim().strip_suffix(')')?, '(');
    let [columns] = columns.as_slice() else { return None };
    let (first, others) = split_outside_quotes(columns, ',');
    let columns =
        std::iter::once(first).chain(others).map(|name| name.parse().ok()).collect::<Option<_>>()?;
    Some((table.parse().ok()?, columns))
}

/// Splits `text` at every `separator` outside double quotes. Returns the first part and the others.
fn split_outside_quotes(text: &str, separator: char) -> (&str, Vec<&str>) {
    let mut is_quoted = false;
    let mut parts = text.split(move |c| {
        is_quoted ^= c == '"';
        c == separator && !is_quoted
    });
    (parts.next().unwrap_or_default(), parts.collect())
}

/// Refuses lookups and references that conflict with one another or with the column rules.
pub(super) fn refuse_contradictions(table: &TableConfig) -> Result<()> {
    for (i, LookupConfig { column: Located { value: column, at }, .. }) in table.lookups.iter().enumerate() {
        if table.lookups[..i].iter().any(|earlier| earlier.column.value == *column) {
            return Err(Error::config(at.clone(), format!("column: {column} is filled by two lookups"))
                .hint("Keep one [[table.lookup]] per column."));
        }
        if let Some(rule) = table.columns.filled_by(column) {
            return Err(Error::config(at.clone(), format!("column: {column} is already filled by {rule}"))
                .hint("Keep one of the two."));
        }
    }
    for (i, reference) in table.references.iter().enumerate() {
        let is_same = |earlier: &ReferenceConfig| {
            earlier.columns.value == reference.columns.value && earlier.to.value == reference.to.value
        };
        if table.references[..i].iter().any(is_same) {
            return Err(Error::config(
                reference.columns.at.clone(),
                "columns: this reference is declared twice",
            )
            .hint("Keep one [[table.reference]] per foreign key."));
        }
    }
    Ok(())
}
