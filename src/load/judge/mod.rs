//! Judges the staging tables of a group before they are counted: lookups, references, constraints on columns that
//! these have changed, and duplicates.
//!
//! Tables are processed in the order of their references and lookups, so that a table is settled before another table
//! refers to it; tables in a cycle are judged repeatedly until nothing changes. Duplicates are removed last, so that
//! the row that remains is one with a match. All of this is one transaction on the target with its own ledger row, so
//! that a repeat after a lost reply finds that it was done. Removed rows go to the rejects file as they are deleted.

mod duplicates;
mod lookups;
mod places;
mod references;
mod row_constraints;

use std::collections::BTreeSet;
use std::path::Path;

use super::rejects::{RejectsFile, add};
use super::{Ledger, Staging};
use crate::batch::BatchPool;
use crate::config::OnOrphan;
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::name::{Ident, list, literal};
use crate::pg::wire::Wire;
use crate::plan::{Lookup, Reference, TablePlan};
use crate::report::{Rejects, TableReport};
use crate::transform::own_columns;

pub(crate) use lookups::missing;
pub(crate) use references::nulled;

/// The ledger's chunk number for rows removed from staging after loading.
const REMOVED: i32 = -1;

/// A cycle that still changes after this many rounds is a bug, not data, because every round removes rows.
const ROUNDS_MAX: u32 = 1_000_000;

/// A table whose rows are all in staging.
#[derive(Debug, Clone)]
pub(crate) struct Staged<'p> {
    /// Index in the plan.
    pub(crate) table: usize,
    /// Its plan.
    pub(crate) plan: &'p TablePlan,
    /// The table with its rows; `None` for a method without staging, which is left to the constraints.
    pub(crate) staging: Option<Staging>,
    /// Whether the table will not be changed, so that other tables refer to its live rows.
    pub(crate) is_kept: bool,
    /// Rules that were already applied.
    pub(crate) streamed: Streamed,
}

/// Rules that were applied while a table's rows streamed by.
#[derive(Debug, Clone, Default)]
pub(crate) struct Streamed {
    /// One flag per reference of the plan.
    pub(crate) references: Vec<bool>,
    /// One flag per lookup of the plan.
    pub(crate) lookups: Vec<bool>,
}

impl<'p> Staged<'p> {
    /// Returns the references that have not been judged yet.
    fn references(&self) -> impl Iterator<Item = &'p Reference> {
        let streamed = self.plan.references.iter().zip(&self.streamed.references);
        streamed.filter(|(_, is_judged)| !**is_judged).map(|(reference, _)| reference)
    }

    /// Returns the lookups that have not been filled yet.
    fn lookups(&self) -> impl Iterator<Item = &'p Lookup> {
        let streamed = self.plan.lookups.iter().zip(&self.streamed.lookups);
        streamed.filter(|(_, is_filled)| !**is_filled).map(|(lookup, _)| lookup)
    }
}

/// The outcome of judging one table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Judged {
    /// Number of rows removed from staging.
    pub(crate) removed: u64,
    /// Summary of the rejects.
    pub(crate) rejects: Rejects,
    /// The rejects file, if there are rejects.
    pub(crate) file: Option<String>,
    /// Warnings for the operator.
    pub(crate) warnings: Vec<String>,
}

impl Judged {
    /// Adds the outcome to a table's report.
    pub(crate) fn report(&self, report: &mut TableReport) {
        report.rejected += self.removed;
        report.staged = report.extracted.saturating_sub(report.rejected);
        if self.file.is_some() {
            report.rejects_file.clone_from(&self.file);
        }
        for (reason, rows) in &self.rejects.counts {
            let samples = self.rejects.first.iter().filter(|reject| reject.reason == *reason);
            add(&mut report.rejects, reason, *rows, samples.map(|reject| reject.text.clone()).collect());
        }
        report.warnings.extend(self.warnings.iter().cloned());
    }
}

/// The outcome of judging a group.
pub(crate) enum Judgement {
    /// Every table was judged, now or before.
    Done,
    /// These chunks of a table are missing from staging.
    Incomplete(usize, Vec<i32>),
    /// A table violates a rule that must hold.
    Failed(usize, Error),
}

/// Returns whether any table of a group has a lookup, a reference, or a key that the source does not keep unique.
pub(crate) fn needs_judging(order: &[Vec<Staged<'_>>]) -> bool {
    order.iter().flatten().any(is_judged)
}

/// Judges the tables of a group in `order`: referenced tables first, cycles together. `judged` is filled before the
/// commit: if the commit is not answered and this is called again, the ledger shows that it was done, and `judged`
/// stays unchanged.
///
/// # Errors
/// Errors of the server and of the rejects file.
pub(crate) async fn judge(
    wire: &mut Wire,
    ledger: &Ledger,
    order: &[Vec<Staged<'_>>],
    directory: &Path,
    pool: &BatchPool,
    judged: &mut Vec<(usize, Judged)>,
) -> Result<Judgement> {
    wire.execute("begin").await?;
    let mut judged_before = Vec::new();
    // In this transaction, because a crash that empties staging also ends it.
    for staged in order.iter().flatten().filter(|staged| staged.staging.is_some()) {
        let landed = ledger.numbers(wire, staged.plan.entry).await?;
        let missing: Vec<i32> =
            staged.plan.chunks.iter().map(|chunk| chunk.number).filter(|n| !landed.contains(n)).collect();
        if !missing.is_empty() {
            return Ok(Judgement::Incomplete(staged.table, missing));
        }
        if is_judged(staged) {
            judged_before.push(landed.contains(&REMOVED));
        }
    }
    if judged_before.contains(&true) {
        return if judged_before.contains(&false) { Err(half_emptied()) } else { Ok(Judgement::Done) };
    }
    // Waits for an earlier attempt whose commit was sent but not answered, and sees its outcome.
    for staged in order.iter().flatten().filter(|staged| is_judged(staged)) {
        if !claim(wire, ledger, staged.plan.entry).await? {
            wire.execute("rollback").await?;
            return Ok(Judgement::Done);
        }
    }
    judged.clear();
    let mut judge = Judge { wire, pool, order, tables: Vec::new(), unmatched: BTreeSet::new() };
    for staged in order.iter().flatten().filter(|staged| is_judged(staged)) {
        let path = RejectsFile::path(directory, &staged.plan.name);
        let file = RejectsFile::new(path, staged.plan.has_places(), &staged.plan.source_columns);
        judge.tables.push((staged.table, Judged::default(), file));
    }
    judge.analyze().await?;
    for circle in order {
        if let Some((table, error)) = judge.settle(circle).await? {
            return Ok(Judgement::Failed(table, error));
        }
        for staged in circle {
            judge.tell_unmatched(staged).await?;
        }
    }
    for (table, mut outcome, file) in judge.tables {
        outcome.file = file.finish().await?;
        judged.push((table, outcome));
    }
    for staged in order.iter().flatten() {
        let Some((_, outcome)) = judged.iter().find(|(table, _)| *table == staged.table) else { continue };
        let removed = i64::try_from(outcome.removed).unwrap_or(i64::MAX);
        wire.execute(&ledger.amend_sql(staged.plan.entry, REMOVED, -removed)).await?;
    }
    fail::fail_point!("verify.judged");
    wire.execute("commit").await?;
    Ok(Judgement::Done)
}

/// Enters into the ledger that a table is judged; returns false if it was judged before.
async fn claim(wire: &mut Wire, ledger: &Ledger, entry: usize) -> Result<bool> {
    Ok(!wire.query(&ledger.claim_sql(entry, REMOVED)).await?.is_empty())
}

fn is_judged(staged: &Staged<'_>) -> bool {
    let has_reference = staged.references().any(|r| r.on_orphan != OnOrphan::Keep);
    let has_demands = || {
        staged.late_not_null().next().is_some()
            || staged.plan.late_checks().next().is_some()
            || staged.plan.not_null_of_some().next().is_some()
            || staged.plan.checks_of_some().next().is_some()
    };
    staged.staging.is_some()
        && (has_reference
            || staged.plan.has_doubtful_key()
            || staged.lookups().next().is_some()
            || has_demands())
}

/// The tables of a group while they are judged.
struct Judge<'a, 'p> {
    wire: &'a mut Wire,
    pool: &'a BatchPool,
    order: &'a [Vec<Staged<'p>>],
    tables: Vec<(usize, Judged, RejectsFile)>,
    /// Tables with a column that a lookup has not filled in every row.
    unmatched: BTreeSet<(usize, Ident)>,
}

/// A table that violates a rule that must hold.
type Failed = Option<(usize, Error)>;

impl Judge<'_, '_> {
    /// Collects statistics on compared columns; without them the planner underestimates a large staging table.
    async fn analyze(&mut self) -> Result<()> {
        for staged in self.order.iter().flatten() {
            let Some(staging) = &staged.staging else { continue };
            let mut columns: Vec<&Ident> =
                staged.references().flat_map(|reference| &reference.columns).collect();
            columns.extend(staged.lookups().flat_map(|lookup| &lookup.pairs).map(|pair| &pair.staged));
            for other in self.order.iter().flatten() {
                let to_us = other.references().filter(|r| r.parents.contains(&staged.table));
                columns.extend(to_us.flat_map(|reference| &reference.to_columns));
                let looked_up = other.lookups().filter(|l| l.parents.contains(&staged.table));
                columns.extend(looked_up.flat_map(|lookup| &lookup.pairs).map(|pair| &pair.theirs));
            }
            columns.sort();
            columns.dedup();
            if !columns.is_empty() {
                self.wire.execute(&format!("analyze {} ({})", staging.name, list(columns))).await?;
            }
        }
        Ok(())
    }

    /// Judges a table, or the tables of a cycle, until nothing changes any more.
    ///
    /// Lookups in tables of the cycle itself follow its references, because references remove rows that must not be
    /// looked up. If filled values cause further removals, everything is repeated: in the end every value comes from
    /// a row that stays.
    async fn settle(&mut self, circle: &[Staged<'_>]) -> Result<Failed> {
        for staged in circle {
            self.look_up(staged, false).await?;
        }
        let is_deferred = circle.iter().any(|staged| staged.lookups().any(|l| l.is_deferred));
        if is_deferred && let (_, Some(failed)) = self.close(circle, false).await? {
            return Ok(Some(failed));
        }
        for _ in 0..ROUNDS_MAX {
            let mut removed = 0;
            for staged in lookups::settled_first(circle) {
                removed += self.look_up(staged, true).await?;
            }
            let (orphans, failed) = self.close(circle, true).await?;
            if failed.is_some() {
                return Ok(failed);
            }
            removed += orphans;
            for staged in circle {
                removed += self.refuse(staged).await?;
            }
            for staged in circle {
                removed += self.deduplicate(staged).await?;
            }
            if removed == 0 || !may_cascade(circle) {
                return Ok(None);
            }
        }
        Err(endless())
    }

    async fn count(&mut self, sql: &str) -> Result<u64> {
        let rows = self.wire.query(sql).await?;
        Ok(rows.first().and_then(|row| row.first()?.as_deref()?.parse().ok()).unwrap_or(0))
    }

    fn warn(&mut self, staged: &Staged<'_>, warning: String) {
        if let Some((_, judged, _)) = self.tables.iter_mut().find(|(table, ..)| *table == staged.table) {
            judged.warnings.push(warning);
        }
    }

    /// Runs a COPY whose rows are rejects of one constraint, into the table's rejects file. Returns the number of
    /// rows.
    async fn remove(&mut self, staged: &Staged<'_>, sql: &str, constraint: &str) -> Result<u64> {
        let Some((_, judged, file)) = self.tables.iter_mut().find(|(table, ..)| *table == staged.table)
        else {
            return Ok(0);
        };
        let mut copy = self.wire.copy_out(sql).await?;
        while let Some(batch) = copy.next(self.pool).await? {
            file.append(batch.data()).await?;
            self.pool.give_back(batch);
        }
        let rows = copy.rows().unwrap_or(0);
        if rows > 0 {
            judged.removed += rows;
            add(&mut judged.rejects, constraint, rows, file.samples());
        }
        Ok(rows)
    }
}

/// Returns whether removing a row can change the judgment on other rows of these tables.
fn may_cascade(circle: &[Staged<'_>]) -> bool {
    let is_inside = |parents: &[usize]| circle.iter().any(|other| parents.contains(&other.table));
    circle.iter().any(|staged| {
        staged.references().any(|reference| is_inside(&reference.parents))
            || staged.lookups().any(|lookup| is_inside(&lookup.parents))
    })
}

/// Returns the error for rows that survive a crash but were judged against rows that did not.
fn half_emptied() -> Error {
    let message = "the target's server crashed after the rows of these tables were judged together";
    Error::new(Phase::Verify, Kind::Server, message).hint("Run again.")
}

fn endless() -> Error {
    Error::new(Phase::Verify, Kind::Internal, "judging a cycle of tables does not terminate")
}

/// Returns the COPY that runs a DELETE … RETURNING and shapes its rows like the rejects file. `reason` and
/// `constraint` are SQL over a removed row.
fn removal(plan: &TablePlan, delete: &str, reason: &str, constraint: &str) -> String {
    let columns: Vec<String> = plan
        .source_columns
        .iter()
        .map(|name| {
            let loaded = plan.staged().find(|column| column.from.as_ref() == Some(name));
            loaded.map_or_else(|| "null".to_owned(), |column| format!("s.{}", column.name))
        })
        .collect();
    let columns = columns.iter().fold(String::new(), |all, column| all + ", " + column);
    // The row's ordinal is no longer known, nor is the record as it stood in its file.
    let unknown = match plan.place_sql("s") {
        Some((file, line)) => format!(", null, {file}, {line}, null, null"),
        None => ", null".repeat(own_columns(plan.has_places()).len() - 2),
    };
    format!(
        "copy (with s as ({delete}) select {reason}, {constraint}{unknown}{columns} from s) to stdout (format csv)"
    )
}

/// Returns `'name=', s.column` for each column.
fn pairs(names: &[String], columns: &[Ident]) -> Vec<String> {
    names
        .iter()
        .zip(columns)
        .map(|(name, column)| format!("{}, coalesce(s.{column}::text, 'NULL')", literal(&format!("{name}="))))
        .collect()
}
