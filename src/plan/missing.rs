//! Target columns that nothing fills, and columns that an earlier run filled but this one does not.
//!
//! The outcome depends on the method: where only differences are written, existing rows keep their values; where all
//! rows are rewritten, they get the column's default. [`tell`] reports which. A column that an earlier run filled
//! from a source column that no longer exists is different: its values would silently become stale or vanish. That
//! fails the table unless the config chooses an outcome.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{ColumnPlan, TablePlan, columns, table};
use crate::config::{ApplyMethod, Missing, Said, TableConfig};
use crate::error::{Error, Kind, Phase};
use crate::pg::catalog::{Column, Relation};
use crate::pg::name::{Ident, plain};

/// A target column that nothing fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfilled {
    /// Its name.
    pub name: Ident,
    /// The value it gets in a row that is written.
    pub gets: Gets,
}

/// The value of a column that an INSERT omits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gets {
    /// Its default.
    Default,
    /// NULL
    Null,
    /// A new identity value.
    Identity,
}

/// Returns the columns of a table that nothing fills.
pub(super) fn unfilled(target: &Relation, loaded: &[ColumnPlan]) -> Vec<Unfilled> {
    let is_loaded = |column: &&Column| loaded.iter().any(|loaded| loaded.name == column.name);
    let open = target.columns.iter().filter(|column| !column.generated && !is_loaded(column));
    open.map(|column| Unfilled {
        name: column.name.clone(),
        gets: match (column.identity, column.has_default) {
            (Some(_), _) => Gets::Identity,
            (None, true) => Gets::Default,
            (None, false) => Gets::Null,
        },
    })
    .collect()
}

/// The filled columns of a table and their origins; kept in the state for later runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Filled {
    /// Target columns, each with the source column it is taken from.
    columns: BTreeMap<String, String>,
    /// Columns that the target computes from others.
    generated: BTreeSet<String>,
    /// Source columns used to match lookups.
    matched: BTreeSet<String>,
}

impl Filled {
    /// Returns the columns that a run fills.
    pub(super) fn of(loaded: &[ColumnPlan], matched: &[ColumnPlan], target: &Relation) -> Self {
        let text = |name: &Ident| name.as_str().to_owned();
        let taken =
            loaded.iter().filter_map(|column| Some((text(&column.name), text(column.from.as_ref()?))));
        let generated = target.columns.iter().filter(|column| column.generated);
        Self {
            columns: taken.collect(),
            generated: generated.map(|column| text(&column.name)).collect(),
            matched: matched.iter().filter_map(|column| column.from.as_ref().map(text)).collect(),
        }
    }

    /// Parses the record of an earlier run; `None` if it has another form.
    pub(super) fn recorded(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Returns the recorded form.
    pub(super) fn text(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }

    /// Returns the columns that the source has lost since, under their names on the source.
    fn lost<'f>(&'f self, source: &[Column]) -> BTreeSet<&'f str> {
        let is_there = |name: &str| source.iter().any(|column| column.name.as_str() == name);
        let used = self.columns.values().chain(&self.matched);
        used.map(String::as_str).filter(|name| !is_there(name)).collect()
    }

    /// Returns whether an error about a table may be caused by columns that the source has lost since.
    pub(super) fn explains(&self, error: &Error, source: &[Column]) -> bool {
        matches!(error.kind(), Kind::Schema | Kind::Refused) && !self.lost(source).is_empty()
    }

    /// Returns the error for columns that an earlier run filled and that are no longer filled, unless the config
    /// chooses an outcome.
    pub(super) fn refusal(
        &self,
        config: &TableConfig,
        source: &[Column],
        target: &Relation,
    ) -> Option<Error> {
        if matches!(config.missing, Some(Missing::Keep | Missing::Default)) {
            return None;
        }
        let lost = self.lost(source);
        let is_open =
            |column: &&Column| !column.generated && !columns::is_filled(config, source, &column.name);
        let (mut of_source, mut of_target, mut from) = (Vec::new(), Vec::new(), Vec::new());
        for column in target.columns.iter().filter(is_open) {
            let name = column.name.as_str();
            match self.columns.get(name) {
                Some(source) if lost.contains(source.as_str()) => {
                    from.push(Ident::new(source));
                    of_source.push(if source == name {
                        plain(&column.name)
                    } else {
                        format!("{} (into {})", plain(&Ident::new(source)), plain(&column.name))
                    });
                }
                None if self.generated.contains(name) => of_target.push(plain(&column.name)),
                _ => {}
            }
        }
        let name = config.name.value.plain();
        let message = match (of_source.as_slice(), of_target.as_slice()) {
            ([], []) => return None,
            ([], computed) => format!(
                "{name}: the target computed {} when it was last loaded, and nothing fills {} now",
                computed.join(", "),
                if computed.len() == 1 { "it" } else { "them" }
            ),
            (lost, _) => format!(
                "{name}: the source no longer has {} that the last run loaded: {}",
                if lost.len() == 1 { "a column" } else { "columns" },
                lost.join(", ")
            ),
        };
        let mut hint = String::new();
        let skipped = |column: &&Column| {
            let is_new =
                target.column(&column.name).is_none() && !config.columns.rename.contains_key(&column.name);
            is_new && !config.columns.skip.iter().any(|skip| skip.value == column.name)
        };
        let new: Vec<&Ident> = source.iter().filter(skipped).map(|column| &column.name).collect();
        if let (Some(from), Some(to)) = (new.first(), from.first()) {
            hint = format!(
                "The source has {}, which the target lacks. If a column was renamed, set [table.columns] rename = {{ {} = \"{}\" }}. ",
                columns::some(&new),
                plain(from),
                to.as_str()
            );
        }
        hint.push_str(
            "If it is gone for good, missing = \"keep\" keeps the values of existing rows, and missing = \"default\" resets them.",
        );
        Some(Error::new(Phase::Plan, Kind::Schema, message).at(config.name.at.clone()).hint(hint))
    }
}

/// Returns the error for columns that nothing fills under `missing = "error"`. An identity column fills itself.
pub(super) fn refuse(config: &TableConfig, unfilled: &[Unfilled]) -> Option<Error> {
    let open: Vec<&Ident> =
        unfilled.iter().filter(|column| column.gets != Gets::Identity).map(|column| &column.name).collect();
    if config.missing != Some(Missing::Error) || open.is_empty() {
        return None;
    }
    let message = format!(
        "{}: nothing fills {} of the target: {} (missing = \"error\")",
        config.name.value.plain(),
        if open.len() == 1 { "a column" } else { "columns" },
        columns::some(&open)
    );
    Some(Error::new(Phase::Plan, Kind::Schema, message).at(config.name.at.clone()).hint(
        "Fill them under [table.columns] with set, default or rename, or set missing = \"keep\" or \"default\".",
    ))
}

impl TablePlan {
    /// Returns why a method cannot be used that would reset columns the config wants to keep.
    pub(super) fn resets_what_is_kept(&self, method: ApplyMethod) -> Option<String> {
        let resets = matches!(
            method,
            ApplyMethod::Swap | ApplyMethod::Delete | ApplyMethod::Truncate | ApplyMethod::Direct
        );
        if self.missing != Some(Missing::Keep) || !resets || self.unfilled.is_empty() {
            return None;
        }
        let names: Vec<&Ident> = self.unfilled.iter().map(|column| &column.name).collect();
        Some(format!("it would reset {}, which missing = \"keep\" keeps", columns::some(&names)))
    }
}

/// Loads unfilled columns with their defaults where the config asks for that and the method would leave them alone;
/// then reports the outcome for each.
pub(super) fn settle(tables: &mut [TablePlan], configs: &[TableConfig]) {
    for table in tables {
        let is_compared = matches!(table.apply, ApplyMethod::Delta | ApplyMethod::Upsert);
        if table.missing == Some(Missing::Default) && is_compared {
            for column in table.unfilled.iter().filter(|column| column.gets != Gets::Identity) {
                let live = table.live.column(&column.name);
                table.columns.extend(live.map(columns::defaulted));
            }
            let order =
                |column: &ColumnPlan| table.live.columns.iter().position(|live| live.name == column.name);
            table.columns.sort_by_key(order);
        }
        let said = table::said(&configs[table.entry]);
        tell(table, said);
    }
}

/// Reports the outcome for each column that nothing fills.
fn tell(table: &mut TablePlan, said: Said) {
    for column in &table.unfilled {
        let value = match column.gets {
            Gets::Default => "its default",
            Gets::Null => "NULL",
            Gets::Identity => "a new identity value",
        };
        let is_identity = column.gets == Gets::Identity;
        let is_reset = table.missing == Some(Missing::Default) && !is_identity;
        let (outcome, is_harmless) = match table.apply {
            ApplyMethod::Delta | ApplyMethod::Upsert if !is_reset => {
                ("in new rows; existing rows keep their values", is_identity)
            }
            ApplyMethod::Insert => ("in new rows; existing rows are left alone", true),
            _ => ("in every row; the values on the target are lost", false),
        };
        let name = plain(&column.name);
        let text = format!("column {name} of the target is not in the source: it gets {value} {outcome}");
        if table.missing.is_some() || is_harmless || said == Said::Flags {
            table.notes.push(text);
        } else {
            table
                .warnings
                .push(format!("{text} (set missing = \"keep\", \"default\" or \"error\" to choose)"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::table::tests::relation;

    fn filled(columns: &[(&str, &str)], generated: &[&str]) -> Filled {
        let own = |name: &&str| (*name).to_owned();
        Filled {
            columns: columns.iter().map(|(to, from)| ((*to).to_owned(), (*from).to_owned())).collect(),
            generated: generated.iter().map(own).collect(),
            matched: BTreeSet::from(["k".to_owned()]),
        }
    }

    #[test]
    fn what_is_recorded_is_read_again_and_anything_else_is_nothing() {
        let filled = filled(&[("a", "x")], &["g"]);
        assert_eq!(Filled::recorded(&filled.text().unwrap()), Some(filled));
        assert_eq!(Filled::recorded("\"x\""), None);
        assert_eq!(Filled::recorded("{}"), Some(Filled::default()));
    }

    #[test]
    fn a_column_is_lost_when_the_source_lacks_what_it_was_taken_from_or_matched_by() {
        let filled = filled(&[("a", "x"), ("b", "b")], &[]);
        let lost = |columns: &[&str]| -> Vec<String> {
            let relation = relation("t", columns);
            filled.lost(&relation.columns).into_iter().map(str::to_owned).collect()
        };
        assert_eq!(lost(&["x", "b", "k"]), Vec::<String>::new());
        assert_eq!(lost(&["b", "z"]), ["k", "x"]);
        let schema = Error::new(Phase::Plan, Kind::Schema, "no");
        let server = Error::new(Phase::Plan, Kind::Server, "no");
        let columns = relation("t", &["b"]).columns;
        assert!(filled.explains(&schema, &columns) && !filled.explains(&server, &columns));
    }
}
