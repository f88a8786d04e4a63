//! `[table.columns]`: rules that skip, rename and fill columns. A column has at most one rule.

use std::collections::BTreeMap;

use super::section::{Node, Section, Shape};
use super::value::{NO_QUOTES, constant_or_expr, list, literal_ident, literal_name, located, word};
use super::{ColumnRules, Located, Lossy};
use crate::error::{Error, Location, Result};
use crate::pg::name::Ident;

/// A table's column rules.
pub(super) static SHAPE: Shape =
    Shape { name: "[table.columns]", keys: &["skip", "rename", "set", "default", "lossy", "extra"] };

impl ColumnRules {
    /// Reads the section; without one, returns the defaults.
    pub(super) fn read(node: Option<&Node<'_>>) -> Result<Self> {
        let Some(node) = node else { return Ok(Self::default()) };
        let section = Section::open(node, &SHAPE)?;
        Ok(Self {
            skip: section
                .read("skip", list("an array of column names", located(literal_ident)))?
                .unwrap_or_default(),
            rename: section.read("rename", by_name(located(literal_ident)))?.unwrap_or_default(),
            set: section.read("set", by_name(constant_or_expr))?.unwrap_or_default(),
            default: section.read("default", by_name(constant_or_expr))?.unwrap_or_default(),
            lossy: section
                .read(
                    "lossy",
                    word(&[("warn", Lossy::Warn), ("error", Lossy::Error), ("allow", Lossy::Allow)]),
                )?
                .unwrap_or_default(),
            extra_is_error: section.read("extra", word(&[("warn", false), ("error", true)]))?,
        })
    }

    /// Refuses two rules for one column, on either side: their result would depend on an undefined order.
    pub(super) fn refuse_two_rules(&self) -> Result<()> {
        let mut left_behind: Vec<&Ident> = Vec::new();
        for Located { value: column, at } in &self.skip {
            if left_behind.contains(&column) {
                return Err(twice(at, column, "is listed twice in skip", "Keep one of the two."));
            }
            left_behind.push(column);
        }
        let mut targets: BTreeMap<&Ident, &str> = BTreeMap::new();
        for (source, Located { value: target, at }) in &self.rename {
            if left_behind.contains(&source) {
                return Err(twice(at, source, "is both in skip and in rename", "Keep one of the two."));
            }
            if targets.insert(target, "rename").is_some() {
                return Err(twice(
                    at,
                    target,
                    "is the new name of two columns",
                    "Rename one of them differently.",
                ));
            }
        }
        for (rule, values) in [("set", &self.set), ("default", &self.default)] {
            for (column, Located { at, .. }) in values {
                if let Some(other) = targets.insert(column, rule) {
                    let what = format!("is filled by {other} and by {rule}");
                    return Err(twice(at, column, &what, "Keep one of the two."));
                }
                if rule == "default" && left_behind.contains(&column) {
                    let hint = "Use set to fill a column regardless of the source.";
                    return Err(twice(at, column, "is both in skip and in default", hint));
                }
            }
        }
        Ok(())
    }

    /// Returns the key of the rule that fills a target column, if any.
    pub(super) fn filled_by(&self, column: &Ident) -> Option<&'static str> {
        if self.rename.values().any(|target| target.value == *column) {
            Some("rename")
        } else if self.set.contains_key(column) {
            Some("set")
        } else {
            self.default.contains_key(column).then_some("default")
        }
    }
}

/// Reads a table from literal column names to values.
fn by_name<T>(read: impl Fn(&Node<'_>) -> Result<T>) -> impl Fn(&Node<'_>) -> Result<BTreeMap<Ident, T>> {
    move |node| {
        let mut values = BTreeMap::new();
        for (key, value) in node.entries("a table with one key per column")? {
            let name = literal_name(key.value).ok_or_else(|| {
                let message = format!("expected a column name of 1 to 63 bytes, found {:?}", key.value);
                node.says_at(key.at, message).hint(NO_QUOTES)
            })?;
            values.insert(name, read(&value)?);
        }
        Ok(values)
    }
}

fn twice(at: &Location, column: &Ident, what: &str, hint: &str) -> Error {
    Error::config(at.clone(), format!("the column {column} {what}")).hint(hint)
}
