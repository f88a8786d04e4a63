//! Decides where references are judged and lookups are filled: while rows stream by, or on the target once they are
//! in staging.
//!
//! Streaming is preferred, because rows that must not be loaded then never reach the target. It needs the other
//! table's keys or values before the first row, so that
//! - keys must be comparable without the server ([`comparable_types`], default collation),
//! - the other table must be *settled* once it is loaded: nothing done to its staging table afterwards removes or
//!   changes a row. A table is not settled if it references itself or is part of a cycle, if a rule judged on staging
//!   rejects or changes its rows, if it has duplicates and the choice among them matters to the tables that refer to
//!   it, or if some of its live rows stay.
//!
//! Everything else is judged by set-based statements on the target, with the same result.

use super::{Facts, Group, Lookup, Pair, Reference, TablePlan};
use crate::config::OnOrphan;
use crate::pg::catalog::Oid;
use crate::pg::key_kind::{KeyKind, comparable, comparable_types};
use crate::pg::name::{Ident, TableName};

/// Where a reference is judged or a lookup is filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// While the rows stream by.
    Streaming {
        /// How the values of each pair of columns are read: referencing side, referenced side.
        kinds: Vec<(KeyKind, KeyKind)>,
        /// The origin of the keys.
        keys: Keys,
    },
    /// On the target, when the rows are in staging; the reason, as a clause.
    Staged(String),
}

/// The origin of another table's keys or values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Keys {
    /// The rows of this entry of the plan, as they stream by.
    Entry(usize),
    /// The live table, which no entry loads.
    Live,
}

/// Number of keys of a live table that are always fetched, however few rows refer to them: a fraction of a second.
const FETCHED_ROWS_MIN: f64 = 100_000.0;

/// Maximum number of keys worth fetching per referring row.
const FETCHED_PER_ROW: f64 = 2.0;

/// PostgreSQL writes each value in one form; files may contain several: `7`, `07` and ` 7`.
const READ_BY_SERVER: &str = "only the server can interpret values from files";

/// `text` and `varchar` can stand in for each other.
const STRINGS: [Oid; 2] = [25, 1043];

/// Decides for every lookup and every reference. The apply methods must have been chosen.
pub(super) fn decide(tables: &mut [TablePlan], groups: &[Group], facts: &Facts<'_>) {
    let mut settled = vec![false; tables.len()];
    for circle in groups.iter().flat_map(|group| &group.order) {
        for &table in circle {
            for number in 0..tables[table].lookups.len() {
                let case = Case { table: &tables[table], tables, settled: &settled, facts };
                tables[table].lookups[number].judged = case.lookup(&tables[table].lookups[number]);
            }
            for number in 0..tables[table].references.len() {
                let case = Case { table: &tables[table], tables, settled: &settled, facts };
                tables[table].references[number].judged =
                    case.reference(&tables[table].references[number], circle);
            }
            keep_together(&mut tables[table]);
        }
        for &table in circle {
            settled[table] = circle.len() == 1 && is_settled(&tables[table]);
        }
    }
}

/// Judges all references of a table on staging if one of them is judged there and their order matters.
fn keep_together(table: &mut TablePlan) {
    let is_judged_there = |reference: &Reference| {
        matches!(reference.judged, Judged::Staged(_)) && reference.on_orphan != OnOrphan::Keep
    };
    if table.references_interact() && table.references.iter().any(is_judged_there) {
        for reference in &mut table.references {
            if matches!(reference.judged, Judged::Streaming { .. }) {
                reference.judged = staged("a reference that shares columns with it is judged there");
            }
        }
    }
}

/// Returns whether the staged rows of a table stay as they are, apart from duplicates.
fn is_settled(table: &TablePlan) -> bool {
    let is_streaming = |judged: &Judged| matches!(judged, Judged::Streaming { .. });
    let is_demanded = |lookup: &Lookup| table.late_not_null().any(|name| *name == lookup.column);
    table.staying_rows().is_none()
        && table.late_checks().next().is_none()
        && table.not_null_of_some().next().is_none()
        && table.checks_of_some().next().is_none()
        && table
            .lookups
            .iter()
            .all(|lookup| is_streaming(&lookup.judged) || !(lookup.rejects_missing || is_demanded(lookup)))
        && table.references.iter().all(|reference| {
            is_streaming(&reference.judged) || matches!(reference.on_orphan, OnOrphan::Keep | OnOrphan::Fail)
        })
}

/// The table whose references and lookups are decided, and the facts about the others.
struct Case<'a> {
    table: &'a TablePlan,
    tables: &'a [TablePlan],
    settled: &'a [bool],
    facts: &'a Facts<'a>,
}

impl Case<'_> {
    fn reference(&self, reference: &Reference, circle: &[usize]) -> Judged {
        let is_in_circle = |parent: &usize| circle.contains(parent);
        if reference.to == self.table.name || reference.parents.iter().any(is_in_circle) {
            return staged("it is part of a cycle, which is resolved there");
        }
        if !reference.parts.is_empty() {
            return staged("only the server knows which rows go to which partition");
        }
        if !self.table.uses_staging {
            return staged("the table is loaded without staging");
        }
        if self.table.csv.is_some() {
            return staged(READ_BY_SERVER);
        }
        if reference.columns.iter().any(|column| is_filled_later(self.table, column)) {
            return staged("its column is filled there");
        }
        let Some(kinds) = self.kinds_of_reference(reference) else {
            return staged("only the server can compare its columns");
        };
        self.judged(kinds, &reference.to, &reference.parents, |parent| {
            let is_to_key = || {
                let key = parent.key.as_ref();
                key.is_some_and(|key| key.iter().all(|column| reference.to_columns.contains(column)))
            };
            if reference.to_columns.iter().any(|column| is_filled_later(parent, column)) {
                return Some("the referenced column is filled there");
            }
            if reference.to_columns.iter().any(|column| is_changed(parent, column)) {
                return Some(CHANGED);
            }
            (parent.may_have_duplicates && !is_to_key()).then_some("the referenced table may have duplicates")
        })
    }

    fn lookup(&self, lookup: &Lookup) -> Judged {
        if lookup.is_deferred {
            return staged("the two tables form a cycle, which is resolved there");
        }
        if !self.table.uses_staging {
            return staged("the table is loaded without staging");
        }
        if self.table.csv.is_some() {
            return staged(READ_BY_SERVER);
        }
        if !lookup.is_unique {
            return staged("several rows may match one key");
        }
        if !lookup.null_values.is_empty() {
            return staged("only the server knows which of its values mean NULL");
        }
        let Some(kinds) = self.kinds_of_lookup(lookup) else {
            return staged("only the server can compare or convert its columns");
        };
        self.judged(kinds, &lookup.from, &lookup.parents, |parent| {
            let mut wanted = lookup.pairs.iter().map(|pair| &pair.theirs).chain([&lookup.value]);
            let is_loaded = |name: &Ident| parent.columns.iter().any(|column| column.name == *name);
            if !wanted.clone().all(is_loaded) || wanted.any(|column| is_filled_later(parent, column)) {
                return Some("its columns are filled there");
            }
            if lookup
                .pairs
                .iter()
                .map(|pair| &pair.theirs)
                .chain([&lookup.value])
                .any(|column| is_changed(parent, column))
            {
                return Some(CHANGED);
            }
            if parent.format != self.table.format {
                return Some("the two tables travel in different formats");
            }
            parent.may_have_duplicates.then_some("the looked-up table may have duplicates")
        })
    }

    /// Returns streaming, unless the other table rules it out.
    fn judged(
        &self,
        kinds: Vec<(KeyKind, KeyKind)>,
        to: &TableName,
        parents: &[usize],
        objection: impl Fn(&TablePlan) -> Option<&'static str>,
    ) -> Judged {
        let (keys, why_not) = match *parents {
            [] => (Keys::Live, self.not_worth_fetching(to)),
            [parent] => {
                let other = &self.tables[parent];
                let unsettled = if other.name != *to {
                    Some("one table is a partition of the other")
                } else if !other.uses_staging {
                    Some("the other table is loaded without staging")
                } else if other.csv.is_some() {
                    Some(READ_BY_SERVER)
                } else if !self.settled[parent] {
                    Some("the final contents of the other table are known only after staging")
                } else {
                    None
                };
                (Keys::Entry(parent), unsettled.or_else(|| objection(other)))
            }
            _ => return staged("several entries load the other table"),
        };
        match why_not {
            Some(why) => staged(why),
            None => Judged::Streaming { kinds, keys },
        }
    }

    /// Returns how the pairs of columns are compared; `None` if the client cannot.
    fn kinds_of_reference(&self, reference: &Reference) -> Option<Vec<(KeyKind, KeyKind)>> {
        let parent = self.facts.target.relations.get(&reference.to)?;
        if reference.collations.iter().any(Option::is_some) {
            return None;
        }
        let pairs = reference.columns.iter().zip(&reference.to_columns);
        pairs
            .map(|(ours, theirs)| {
                // Rows that stream by have not been rounded by the target yet.
                let ours = self.table.columns.iter().find(|column| column.name == *ours && column.is_kept)?;
                let theirs = parent.column(theirs)?;
                comparable_types(self.facts.target, ours.type_oid, theirs.type_oid)
            })
            .collect()
    }

    /// Likewise for a lookup, whose value must also be sent unchanged.
    fn kinds_of_lookup(&self, lookup: &Lookup) -> Option<Vec<(KeyKind, KeyKind)>> {
        let target = self.facts.target;
        let parent = target.relations.get(&lookup.from)?;
        let value = target.base_type(parent.column(&lookup.value)?.type_oid);
        let filled = self.table.columns.iter().find(|column| column.name == lookup.column)?;
        let into = target.base_type(filled.type_oid);
        let travels = value == into || [value, into].iter().all(|oid| STRINGS.contains(oid));
        KeyKind::of(value).filter(|_| travels)?;
        let pair = |pair: &Pair| {
            let ours = self.table.staged().find(|column| column.name == pair.staged)?;
            let theirs = parent.column(&pair.theirs).filter(|_| pair.collation.is_none())?;
            comparable(ours.type_oid, target.base_type(theirs.type_oid))
        };
        lookup.pairs.iter().map(pair).collect()
    }

    fn not_worth_fetching(&self, to: &TableName) -> Option<&'static str> {
        let rows = self.facts.target.relations.get(to)?.row_estimate;
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let referring = self.table.row_estimate as f64;
        (rows > FETCHED_ROWS_MIN.max(FETCHED_PER_ROW * referring))
            .then_some("the other table has far more rows than there are references to it")
    }
}

/// Why the values that stream by are not those of the other table.
const CHANGED: &str = "the target may round or change the other table's values";

/// Whether the target may store other values of a column than those that stream by.
fn is_changed(table: &TablePlan, column: &Ident) -> bool {
    table.columns.iter().any(|known| known.name == *column && !known.is_kept)
}

/// Returns whether a column is NULL while rows stream by because it is filled on staging.
fn is_filled_later(table: &TablePlan, column: &Ident) -> bool {
    let fills = |lookup: &Lookup| lookup.column == *column && matches!(lookup.judged, Judged::Staged(_));
    table.lookups.iter().any(fills)
}

fn staged(why: &str) -> Judged {
    Judged::Staged(why.to_owned())
}

impl std::fmt::Display for Judged {
    /// Completes "judged" or "filled".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Streaming { keys: Keys::Entry(_), .. } => {
                f.write_str("while streaming, against the keys loaded in this run")
            }
            Self::Streaming { keys: Keys::Live, .. } => {
                f.write_str("while streaming, against the keys on the target")
            }
            Self::Staged(why) => write!(f, "on the target: {why}"),
        }
    }
}
