//! `[[table]]`: the settings of a table, and checks for settings that conflict.

use std::time::Duration;

use super::run::{FORMATS, ON_EMPTY};
use super::section::{Node, Section, Shape};
use super::value::{columns, duration, ident, limit, list, located, table_name, text, word};
use super::{
    ApplyMethod, ColumnRules, CsvConfig, From, Located, LookupConfig, Missing, ReferenceConfig, RunConfig,
    Strategy, TableConfig, Triggers, Value, Watermark, columns as column_rules, links,
};
use crate::error::{Error, Result};
use crate::pg::name::TableName;

/// The keys of `[[table]]`.
pub(super) static SHAPE: Shape = Shape {
    name: "[[table]]",
    keys: &[
        "name",
        "from",
        "query",
        "csv",
        "where",
        "strategy",
        "apply",
        "key",
        "scope",
        "watermark",
        "watermark_overlap",
        "format",
        "max_rejects",
        "max_shrink",
        "on_empty",
        "full_every",
        "verify_ignore",
        "missing",
        "triggers",
        "columns",
        "lookup",
        "reference",
    ],
};

static STRATEGIES: &[(&str, Strategy)] =
    &[("replace", Strategy::Replace), ("upsert", Strategy::Upsert), ("insert", Strategy::Insert)];

static TRIGGERS: &[(&str, Triggers)] = &[("fire", Triggers::Fire), ("off", Triggers::Off)];

static METHODS: &[(&str, ApplyMethod)] = &[
    ("auto", ApplyMethod::Auto),
    ("swap", ApplyMethod::Swap),
    ("delta", ApplyMethod::Delta),
    ("delete", ApplyMethod::Delete),
    ("truncate", ApplyMethod::Truncate),
    ("direct", ApplyMethod::Direct),
];

static MISSING: &[(&str, Missing)] =
    &[("keep", Missing::Keep), ("default", Missing::Default), ("error", Missing::Error)];

/// The default of `watermark_overlap`: covers transactions that were not yet visible to the last run.
const OVERLAP: Duration = Duration::from_mins(5);

impl TableConfig {
    /// Reads one `[[table]]`. Absent keys are inherited from `run` if it has them.
    pub(super) fn read(section: &Section<'_>, run: &RunConfig) -> Result<Self> {
        let name = section.require("name", located(table_name), "\"public.orders\"")?;
        let any_duration = || duration(Duration::ZERO..=Duration::MAX);
        let table = Self {
            from: from(section, &name)?,
            filter: section.read("where", located(text))?,
            strategy: section.read("strategy", word(STRATEGIES))?.unwrap_or_default(),
            apply: section
                .read("apply", located(word(METHODS)))?
                .unwrap_or(Located { value: ApplyMethod::Auto, at: name.at.clone() }),
            key: section.read("key", columns)?,
            scope: section.read("scope", located(text))?,
            watermark: section.read("watermark", watermark)?,
            watermark_overlap: section.read("watermark_overlap", any_duration())?.unwrap_or(OVERLAP),
            format: section.read("format", word(FORMATS))?.unwrap_or(run.format),
            max_rejects: section.read("max_rejects", limit)?.unwrap_or(run.max_rejects),
            only_if_empty: false,
            max_shrink: section.read("max_shrink", limit)?.unwrap_or(run.max_shrink),
            on_empty: section.read("on_empty", word(ON_EMPTY))?.unwrap_or(run.on_empty),
            full_every: section.read("full_every", any_duration())?.unwrap_or(run.full_every),
            verify_ignore: section
                .read("verify_ignore", list("an array of column names", located(ident)))?
                .unwrap_or_default(),
            missing: section.read("missing", word(MISSING))?,
            triggers: section
                .read("triggers", located(word(TRIGGERS)))?
                .unwrap_or(Located { value: Triggers::Fire, at: name.at.clone() }),
            columns: ColumnRules::read(section.get("columns").as_ref())?,
            lookups: links::read_all(section, "lookup", &links::LOOKUP, LookupConfig::read)?,
            references: links::read_all(section, "reference", &links::REFERENCE, ReferenceConfig::read)?,
            name,
        };
        table.refuse_needless(section)?;
        table.refuse_sql_for_csv(section)?;
        table.refuse_whole_table_methods(section)?;
        table.columns.refuse_two_rules()?;
        links::refuse_contradictions(&table)?;
        Ok(table)
    }

    /// Refuses keys that have no effect in combination with others.
    fn refuse_needless(&self, section: &Section<'_>) -> Result<()> {
        if self.strategy != Strategy::Replace {
            if self.apply.value != ApplyMethod::Auto {
                return Err(needless(section, "apply", "it applies only to strategy = \"replace\""));
            }
            if section.get("max_shrink").is_some() {
                return Err(needless(section, "max_shrink", "only strategy = \"replace\" removes rows"));
            }
        }
        match &self.watermark {
            None => {
                for key in ["watermark_overlap", "full_every"] {
                    if section.get(key).is_some() {
                        return Err(needless(section, key, "the table has no watermark"));
                    }
                }
            }
            Some(Located { value: Watermark::Xmin, at }) => {
                if section.get("watermark_overlap").is_some() {
                    return Err(needless(section, "watermark_overlap", "watermark = \"xmin\" is exact"));
                }
                if matches!(self.from, From::Query(_)) {
                    return Err(Error::config(
                        at.clone(),
                        "watermark: a query has no xmin; only a table has one",
                    )
                    .hint("Name columns of the query: watermark = [\"updated_at\"]"));
                }
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Refuses settings that need a source server for a table whose rows come from CSV files.
    fn refuse_sql_for_csv(&self, section: &Section<'_>) -> Result<()> {
        if !matches!(self.from, From::Csv(_)) {
            return Ok(());
        }
        for key in ["where", "watermark", "watermark_overlap", "full_every", "format", "verify_ignore"] {
            if section.get(key).is_some() {
                return Err(needless(
                    section,
                    key,
                    "it requires a PostgreSQL source, but the rows come from csv",
                ));
            }
        }
        if let Some(columns) = section.get("columns")
            && let Some(node) = Section::open(&columns, &column_rules::SHAPE)?.get("lossy")
        {
            return Err(node
                .says("has no effect here: values in files have no type, so casts of them lose nothing")
                .hint("Remove lossy."));
        }
        let values = self.columns.set.iter().chain(&self.columns.default);
        for (column, Located { value, at }) in values {
            if matches!(value, Value::Expr(_)) {
                return Err(Error::config(
                    at.clone(),
                    format!("the column {column} has an expr, which requires a PostgreSQL source, but the rows come from csv"),
                )
                .hint("Use a constant, or a default on the target column."));
            }
        }
        Ok(())
    }

    /// Refuses a scope with methods that replace the whole table, because they cannot keep rows outside the scope.
    fn refuse_whole_table_methods(&self, section: &Section<'_>) -> Result<()> {
        let is_whole =
            matches!(self.apply.value, ApplyMethod::Swap | ApplyMethod::Truncate | ApplyMethod::Direct);
        match section.get("apply") {
            Some(node) if is_whole && self.scope.is_some() => Err(node
                .says("this method replaces the whole table, but scope keeps the rows outside it")
                .hint("Use apply = \"auto\" or \"delta\", or remove scope.")),
            _ => Ok(()),
        }
    }
}

fn needless(section: &Section<'_>, key: &'static str, why: &str) -> Error {
    let at = section.get(key).map_or_else(|| section.at.clone(), |node| node.at());
    Error::config(at, format!("{key}: has no effect here: {why}")).hint(format!("Remove {key}."))
}

/// Reads `from`, `query` or `csv`; without these, the source is the table of the same name.
fn from(section: &Section<'_>, name: &Located<TableName>) -> Result<From> {
    let given: Vec<(&str, Node<'_>)> =
        ["from", "query", "csv"].into_iter().filter_map(|key| Some((key, section.get(key)?))).collect();
    if let [(first, _), (second, node), ..] = given.as_slice() {
        return Err(node
            .says(format!("conflicts with {first}: a table's rows come from one source"))
            .hint(format!("Keep {first} or {second}, not both.")));
    }
    Ok(match given.first() {
        None => From::Relation(name.clone()),
        Some(("query", node)) => From::Query(located(text)(node)?),
        Some(("csv", node)) => From::Csv(CsvConfig::read(node)?),
        Some((_, node)) => From::Relation(located(table_name)(node)?),
    })
}

/// Reads `watermark`: an array of source columns, or the string `xmin`.
fn watermark(node: &Node<'_>) -> Result<Located<Watermark>> {
    const EXPECTED: &str = "an array of source columns, or \"xmin\"";
    if node.value().is_str() {
        return match &*node.text(EXPECTED)? {
            "xmin" => Ok(node.located(Watermark::Xmin)),
            _ => Err(node.wrong(EXPECTED).hint("Write columns in brackets: watermark = [\"updated_at\"]")),
        };
    }
    if !node.value().is_array() {
        return Err(node.wrong_type(EXPECTED));
    }
    let Located { value: columns, at } = columns(node)?;
    if columns.iter().any(|column| column.as_str() == "xmin") {
        return Err(node
            .says("xmin cannot be combined with columns")
            .hint("Write watermark = \"xmin\", without brackets."));
    }
    Ok(Located { value: Watermark::Columns(columns), at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_that_are_read_are_those_that_are_written() {
        assert!(STRATEGIES.iter().all(|(word, strategy)| *word == strategy.name()));
        assert!(METHODS.iter().all(|(word, method)| *word == method.name()));
    }
}
