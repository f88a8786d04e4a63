//! Which rows of a target table an entry owns, and how it identifies a row: scope, key and unique indexes.

use super::TablePlan;
use crate::config::Strategy;
use crate::pg::catalog::{Relation, UniqueIndex};
use crate::pg::name::{Ident, TableName, list};

/// A column of the key and the target's comparison for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPart {
    /// Its index among the loaded columns.
    pub column: usize,
    /// The equality operator, as SQL.
    pub operator: String,
    /// The collation of the comparison, as SQL, if it must be named.
    pub collation: Option<String>,
    /// Whether two NULLs count as equal.
    pub nulls_equal: bool,
}

impl TablePlan {
    /// Returns a predicate over the target's columns for the live rows that are never touched. `None`: there are
    /// none.
    #[must_use]
    pub fn staying_rows(&self) -> Option<String> {
        match self.strategy {
            Strategy::Replace => self.outside(),
            Strategy::Upsert | Strategy::Insert => Some("true".to_owned()),
        }
    }

    /// Returns a predicate for the live rows that no staged row may replace, likewise.
    #[must_use]
    pub fn untouchable_rows(&self) -> Option<String> {
        match self.strategy {
            Strategy::Replace | Strategy::Upsert => self.outside(),
            Strategy::Insert => Some("true".to_owned()),
        }
    }

    /// Returns a predicate over the target's columns for the rows of the scope; `None`: all rows.
    #[must_use]
    pub fn in_scope(&self) -> Option<String> {
        // The line break ends a comment at the end of the user's SQL.
        self.scope.as_ref().map(|scope| format!("({scope}\n)"))
    }

    fn outside(&self) -> Option<String> {
        self.in_scope().map(|scope| format!("({scope} is not true)"))
    }

    /// Returns a unique index over exactly the key's columns that detects an existing row immediately.
    #[must_use]
    pub fn key_index(&self) -> Option<&UniqueIndex> {
        index_of(&self.live, self.key.as_ref()?)
    }

    /// Returns how rows are identified by their key; empty without one.
    ///
    /// Keys match as their index compares them; without an index, as their type does.
    #[must_use]
    pub fn key_parts(&self) -> Vec<KeyPart> {
        let index = self.key_index();
        let part = |name: &Ident| {
            let column = self.columns.iter().position(|column| column.name == *name)?;
            let indexed = index.and_then(|index| {
                let place = index.columns.iter().position(|column| column == name)?;
                index.parts.get(place)
            });
            Some(KeyPart {
                column,
                operator: indexed.map_or_else(|| "=".to_owned(), |part| part.operator.clone()),
                collation: indexed.and_then(|part| part.collation.clone()),
                nulls_equal: index.is_some_and(|index| index.nulls_equal),
            })
        };
        self.key.iter().flatten().filter_map(part).collect()
    }

    /// Returns SQL that is true if the rows `a` and `b`, which have the table's columns, have the same key. Without a
    /// key it is false.
    #[must_use]
    pub fn same_key_sql(&self, a: &str, b: &str) -> String {
        let parts = self.key_parts();
        let pairs = parts.iter().map(|part| {
            let name = &self.columns[part.column].name;
            let collate = part.collation.iter().map(|name| format!(" collate {name}")).collect::<String>();
            let equal = format!("{a}.{name} {} {b}.{name}{collate}", part.operator);
            if part.nulls_equal {
                format!("({equal} or ({a}.{name} is null and {b}.{name} is null))")
            } else {
                equal
            }
        });
        if parts.is_empty() { "false".to_owned() } else { pairs.collect::<Vec<_>>().join(" and ") }
    }

    /// Returns whether the target itself prevents two rows with one key.
    #[must_use]
    pub fn has_unique_key(&self) -> bool {
        self.key_index().is_some()
    }

    /// Returns the other unique indexes that can be compared with the loaded columns, including those of partitions.
    pub fn other_indexes(&self) -> impl Iterator<Item = &UniqueIndex> {
        let of_key = self.key_index().map(|index| &index.name);
        let own = self.live.unique_indexes.iter().filter(move |index| Some(&index.name) != of_key);
        own.chain(&self.live.partition_indexes).filter(|index| {
            let routing = index.partition.iter().flat_map(|partition| &partition.columns);
            index.uses.iter().chain(routing).all(|column| self.is_loaded(column))
        })
    }

    /// Returns unique indexes and exclusion constraints, except the key's, whose values can move between rows that
    /// are updated one after the other. Those checked at the end of a statement ignore intermediate states.
    pub fn exchangeable(&self) -> impl Iterator<Item = &UniqueIndex> {
        let of_key = self.key_index().map(|index| &index.name);
        // A generated column may depend on loaded columns.
        let changes = |name: &Ident| {
            self.is_loaded(name) || self.live.column(name).is_some_and(|column| column.generated)
        };
        let own = self.live.unique_indexes.iter().filter(move |index| Some(&index.name) != of_key);
        let others = self.live.partition_indexes.iter().chain(&self.live.exclusions);
        own.chain(others).filter(move |index| index.is_immediate && index.uses.iter().any(changes))
    }

    /// Returns whether a target column is loaded.
    #[must_use]
    pub fn is_loaded(&self, name: &Ident) -> bool {
        self.columns.iter().any(|column| column.name == *name)
    }
}

fn same_columns(a: &[Ident], b: &[Ident]) -> bool {
    a.len() == b.len() && a.iter().all(|column| b.contains(column))
}

fn index_of<'a>(target: &'a Relation, key: &[Ident]) -> Option<&'a UniqueIndex> {
    target.unique_indexes.iter().find(|index| index.is_plain() && same_columns(&index.columns, key))
}

/// Returns why the key cannot tell an INSERT whether its row exists, and the hint. `None` if it can.
pub(super) fn unusable_key(target: &Relation, key: Option<&[Ident]>) -> Option<(String, String)> {
    let Some(key) = key else {
        return Some((
            "it has no key: it has no unique index on NOT NULL columns that are all loaded".to_owned(),
            "Name the key columns with key, and create a unique index on them.".to_owned(),
        ));
    };
    if index_of(target, key).is_some() {
        return None;
    }
    let create = create_index(&target.name, key);
    let near = target
        .unique_indexes
        .iter()
        .find(|index| same_columns(&index.uses, key) || same_columns(&index.columns, key));
    let why = match near {
        Some(index) if index.has_expressions => {
            format!("the unique index {} is over expressions, not over the key's columns", index.name)
        }
        Some(index) if index.is_partial => {
            format!(
                "the unique index {} on the key is partial, so rows outside it may share a key",
                index.name
            )
        }
        Some(index) if !index.is_immediate => {
            format!(
                "the unique constraint {} on the key is deferrable, so it is not checked immediately",
                index.name
            )
        }
        _ => format!("there is no unique index on the key ({})", list(key)),
    };
    Some((why, format!("On the target: {create}")))
}

fn create_index(table: &TableName, columns: &[Ident]) -> String {
    let columns: Vec<String> = columns.iter().map(crate::pg::name::plain).collect();
    format!("create unique index on {} ({});", table.plain(), columns.join(", "))
}
