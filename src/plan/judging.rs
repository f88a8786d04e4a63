//! Where references are judged: while the rows stream by, or on the target when they are in staging.
//!
//! Streaming is preferred: rows that are not to be loaded never reach the target. It needs the referenced table's keys
//! before the first row of the referencing one, so that
//! - the keys can be compared without the server ([`comparable_types`], no collation of its own),
//! - the referenced table is *settled* once it is loaded: nothing that is done to its staging table afterwards takes a
//!   key away. A table that refers to itself, or in a circle, is not, and neither is one with a reference that is judged on
//!   staging and rejects, or with duplicates of which one stays where the reference is not to their key.
//!
//! Everything else is judged by set-wise statements on the target, with the same result.

use super::{Facts, Group, TablePlan};
use crate::config::OnOrphan;
use crate::pg::key_kind::{KeyKind, comparable_types};
use crate::plan::Reference;

/// Where a reference is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// While the rows stream by.
    Streaming {
        /// How the values of each pair of columns are read: ours, theirs.
        kinds: Vec<(KeyKind, KeyKind)>,
        /// Where the keys come from.
        keys: Keys,
    },
    /// On the target, when the rows are in staging; why, as a clause.
    Staged(String),
}

/// Where the keys of a referenced table come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Keys {
    /// The rows of this entry of the plan, as they stream by.
    Entry(usize),
    /// The live table, which no entry fills.
    Live,
}

/// So many keys of a live table are fetched however few rows refer to them: a fraction of a second.
const FETCHED_ROWS_MIN: f64 = 100_000.0;

/// More keys than this for each referring row are not worth fetching.
const FETCHED_PER_ROW: f64 = 2.0;

/// Decides for every reference. The apply methods must have been chosen.
pub(super) fn decide(tables: &mut [TablePlan], groups: &[Group], facts: &Facts<'_>) {
    let mut settled = vec![false; tables.len()];
    for circle in groups.iter().flat_map(|group| &group.order) {
        for &table in circle {
            let is_in_circle = |parent: &usize| circle.contains(parent);
            let judged: Vec<Judged> = tables[table]
                .references
                .iter()
                .map(|reference| {
                    let is_circular =
                        reference.to == tables[table].name || reference.parents.iter().any(is_in_circle);
                    if is_circular {
                        return staged("it is closed to a fixed point");
                    }
                    judge(&tables[table], reference, tables, &settled, facts)
                })
                .collect();
            for (reference, judged) in tables[table].references.iter_mut().zip(judged) {
                reference.judged = judged;
            }
        }
        for &table in circle {
            settled[table] = circle.len() == 1 && is_settled(&tables[table]);
        }
    }
}

/// Whether what is staged of a table keeps its keys, duplicates apart.
fn is_settled(table: &TablePlan) -> bool {
    let rejects_missing = table.lookups.iter().any(|lookup| lookup.rejects_missing);
    !rejects_missing
        && table.references.iter().all(|reference| {
            matches!(reference.judged, Judged::Streaming { .. })
                || matches!(reference.on_orphan, OnOrphan::Keep | OnOrphan::Fail)
        })
}

fn judge(
    table: &TablePlan,
    reference: &Reference,
    tables: &[TablePlan],
    settled: &[bool],
    facts: &Facts<'_>,
) -> Judged {
    if !table.uses_staging {
        return staged("the table is loaded without staging");
    }
    if reference.columns.iter().any(|column| table.is_filled(column)) {
        return staged("a lookup fills its column");
    }
    if reference.parents.iter().any(|&parent| {
        let parent = &tables[parent];
        reference.to_columns.iter().any(|column| parent.is_filled(column))
    }) {
        return staged("a lookup fills the referenced column");
    }
    let Some(kinds) = kinds(table, reference, facts) else {
        return staged("only the server can compare its columns");
    };
    let keys = match *reference.parents.as_slice() {
        [] => Keys::Live,
        [parent] => Keys::Entry(parent),
        _ => return staged("several entries fill the referenced table"),
    };
    let why_not = match keys {
        Keys::Entry(parent) => unsettled(&tables[parent], settled[parent], reference),
        Keys::Live => not_worth_fetching(table, reference, facts),
    };
    match why_not {
        Some(why) => staged(why),
        None => Judged::Streaming { kinds, keys },
    }
}

fn staged(why: &str) -> Judged {
    Judged::Staged(why.to_owned())
}

/// How the pairs of columns are compared; `None` if the client cannot.
fn kinds(table: &TablePlan, reference: &Reference, facts: &Facts<'_>) -> Option<Vec<(KeyKind, KeyKind)>> {
    let parent = facts.target.relations.get(&reference.to)?;
    if reference.collations.iter().any(Option::is_some) {
        return None;
    }
    let pairs = reference.columns.iter().zip(&reference.to_columns);
    pairs
        .map(|(ours, theirs)| {
            let ours = table.columns.iter().find(|column| column.name == *ours)?;
            let theirs = parent.column(theirs)?;
            comparable_types(facts.target, ours.type_oid, theirs.type_oid)
        })
        .collect()
}

fn unsettled(parent: &TablePlan, is_settled: bool, reference: &Reference) -> Option<&'static str> {
    if !parent.uses_staging {
        return Some("the referenced table is loaded without staging");
    }
    if !is_settled {
        return Some("rows of the referenced table may still be rejected when it is staged");
    }
    let is_to_key = || {
        let is_key = |key: &Vec<_>| key.iter().all(|column| reference.to_columns.contains(column));
        parent.key.as_ref().is_some_and(is_key)
    };
    (parent.may_have_duplicates && !is_to_key()).then_some("the referenced table may have duplicates")
}

fn not_worth_fetching(table: &TablePlan, reference: &Reference, facts: &Facts<'_>) -> Option<&'static str> {
    let rows = facts.target.relations.get(&reference.to)?.row_estimate;
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let referring = table.row_estimate as f64;
    (rows > FETCHED_ROWS_MIN.max(FETCHED_PER_ROW * referring))
        .then_some("the referenced table has far more rows than refer to it")
}

impl std::fmt::Display for Judged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Streaming { keys: Keys::Entry(_), .. } => {
                f.write_str("judged while streaming, by the keys of its rows in this run")
            }
            Self::Streaming { keys: Keys::Live, .. } => {
                f.write_str("judged while streaming, by the keys that the target has")
            }
            Self::Staged(why) => write!(f, "judged on the target: {why}"),
        }
    }
}
