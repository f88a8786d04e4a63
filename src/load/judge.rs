//! What is judged on the staging tables of a group, before they are counted: references, then duplicates.
//!
//! Orphans cascade, so references are followed parents first, and circles until nothing changes. Of several rows with
//! one key one remains; that comes last, so that it is one with a match. All of it is one transaction on the target with a
//! ledger row of its own, so that a repeat after a lost reply finds out that it was done. Rows that are removed go to the
//! rejects file as they are deleted.

use std::path::Path;

use super::rejects::{RejectsFile, add};
use super::{Ledger, Staging};
use crate::batch::BatchPool;
use crate::config::OnOrphan;
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::name::{Ident, list, literal, plain};
use crate::pg::wire::Wire;
use crate::plan::{Reference, TablePlan};
use crate::report::{Rejects, TableReport};

/// The ledger's number for what was removed from staging after loading.
const REMOVED: i32 = -1;

/// A circle of references that goes on changing for this long is a bug, not data: every round removes rows.
const ROUNDS_MAX: u32 = 1_000_000;

/// A table whose rows are all in staging.
#[derive(Debug, Clone)]
pub(crate) struct Staged<'p> {
    /// Index in the plan.
    pub(crate) table: usize,
    /// Its plan.
    pub(crate) plan: &'p TablePlan,
    /// Where its rows are; `None` for a method without staging, which is left to the constraints.
    pub(crate) staging: Option<Staging>,
    /// It will be left as it is, so that its live rows are what others refer to.
    pub(crate) is_kept: bool,
    /// What has been dealt with already.
    pub(crate) streamed: Streamed,
}

/// What was dealt with while a table's rows streamed by.
#[derive(Debug, Clone, Default)]
pub(crate) struct Streamed {
    /// Per reference of the plan.
    pub(crate) references: Vec<bool>,
    /// Per lookup of the plan.
    #[expect(dead_code, reason = "a plan with lookups is refused until staging can fill them, too")]
    pub(crate) lookups: Vec<bool>,
}

impl<'p> Staged<'p> {
    /// The references that have not been judged yet.
    fn references(&self) -> impl Iterator<Item = &'p Reference> {
        let streamed = self.plan.references.iter().zip(&self.streamed.references);
        streamed.filter(|(_, is_judged)| !**is_judged).map(|(reference, _)| reference)
    }
}

/// What was judged of one table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Judged {
    /// Rows that were removed from staging.
    pub(crate) removed: u64,
    /// The rejects in short.
    pub(crate) rejects: Rejects,
    /// The rejects file, if there are any.
    pub(crate) file: Option<String>,
    /// What the operator should know.
    pub(crate) warnings: Vec<String>,
}

impl Judged {
    /// Adds what was judged to a table's report.
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

/// How the judging of a group ended.
pub(crate) enum Judgement {
    /// Every table was judged, now or before.
    Done,
    /// These chunks of a table are not in staging (any more).
    Incomplete(usize, Vec<i32>),
    /// A table has what it must not have.
    Failed(usize, Error),
}

/// Whether any table of a group has a reference, or a key that the source does not keep unique.
pub(crate) fn needs_judging(order: &[Vec<Staged<'_>>]) -> bool {
    order.iter().flatten().any(is_judged)
}

/// Judges the tables of a group, in `order`: referenced ones first, circles together. `judged` is filled before the commit:
/// when that is not answered and this is called again, it finds in the ledger that it was done.
///
/// # Errors
/// The server's; the rejects file's.
pub(crate) async fn judge(
    wire: &mut Wire,
    ledger: &Ledger,
    order: &[Vec<Staged<'_>>],
    directory: &Path,
    pool: &BatchPool,
    judged: &mut Vec<(usize, Judged)>,
) -> Result<Judgement> {
    wire.execute("begin").await?;
    // In this transaction, because a crash that empties staging ends it.
    for staged in order.iter().flatten().filter(|staged| staged.staging.is_some()) {
        let landed = ledger.numbers(wire, staged.plan.entry).await?;
        let missing: Vec<i32> =
            staged.plan.chunks.iter().map(|chunk| chunk.number).filter(|n| !landed.contains(n)).collect();
        if !missing.is_empty() {
            return Ok(Judgement::Incomplete(staged.table, missing));
        }
        if is_judged(staged) && landed.contains(&REMOVED) {
            return Ok(Judgement::Done);
        }
    }
    judged.clear();
    let mut judge = Judge { wire, pool, tables: Vec::new() };
    for staged in order.iter().flatten().filter(|staged| is_judged(staged)) {
        let path = RejectsFile::path(directory, &staged.plan.name);
        let file = RejectsFile::new(path, &staged.plan.source_columns);
        judge.tables.push((staged.table, Judged::default(), file));
    }
    judge.analyze(order).await?;
    for circle in order {
        if let Some((table, error)) = judge.close(circle, order).await? {
            return Ok(Judgement::Failed(table, error));
        }
    }
    for staged in order.iter().flatten() {
        judge.deduplicate(staged).await?;
    }
    for (table, mut outcome, file) in judge.tables {
        outcome.file = file.finish().await?;
        judged.push((table, outcome));
    }
    for staged in order.iter().flatten() {
        let Some((_, outcome)) = judged.iter().find(|(table, _)| *table == staged.table) else { continue };
        let removed = i64::try_from(outcome.removed).unwrap_or(i64::MAX);
        wire.execute(&ledger.enter_sql(staged.plan.entry, REMOVED, -removed)).await?;
    }
    fail::fail_point!("verify.judged");
    wire.execute("commit").await?;
    Ok(Judgement::Done)
}

fn is_judged(staged: &Staged<'_>) -> bool {
    let has_reference = staged.references().any(|r| r.on_orphan != OnOrphan::Keep);
    staged.staging.is_some() && (has_reference || has_doubtful_key(staged.plan))
}

fn has_doubtful_key(plan: &TablePlan) -> bool {
    plan.may_have_duplicates && plan.key.is_some()
}

struct Judge<'a> {
    wire: &'a mut Wire,
    pool: &'a BatchPool,
    tables: Vec<(usize, Judged, RejectsFile)>,
}

impl Judge<'_> {
    /// Statistics of what is compared: without them the planner takes a large staging table for a small one.
    async fn analyze(&mut self, order: &[Vec<Staged<'_>>]) -> Result<()> {
        for staged in order.iter().flatten() {
            let Some(staging) = &staged.staging else { continue };
            let mut columns: Vec<&Ident> =
                staged.references().flat_map(|reference| &reference.columns).collect();
            for other in order.iter().flatten() {
                let to_us = other.references().filter(|r| r.parents.contains(&staged.table));
                columns.extend(to_us.flat_map(|reference| &reference.to_columns));
            }
            columns.sort();
            columns.dedup();
            if !columns.is_empty() {
                self.wire.execute(&format!("analyze {} ({})", staging.name, list(columns))).await?;
            }
        }
        Ok(())
    }

    /// Removes the orphans of a circle until there are none. A table that must have none, and has, is the outcome.
    async fn close(
        &mut self,
        circle: &[Staged<'_>],
        order: &[Vec<Staged<'_>>],
    ) -> Result<Option<(usize, Error)>> {
        for _ in 0..ROUNDS_MAX {
            let mut removed = 0;
            let mut may_cascade = false;
            for staged in circle {
                for reference in staged.references() {
                    match self.orphans(staged, reference, order).await {
                        Ok(rows) => removed += rows,
                        Err(error) if error.kind() == Kind::Guard => return Ok(Some((staged.table, error))),
                        Err(error) => return Err(error),
                    }
                    may_cascade |= circle.iter().any(|other| reference.parents.contains(&other.table));
                }
            }
            if removed == 0 || !may_cascade {
                return Ok(None);
            }
        }
        Err(Error::new(Phase::Verify, Kind::Internal, "the search for orphans does not come to an end"))
    }

    /// Deals with the orphans of one reference. Returns how many rows were removed.
    async fn orphans(
        &mut self,
        staged: &Staged<'_>,
        reference: &Reference,
        order: &[Vec<Staged<'_>>],
    ) -> Result<u64> {
        let Some(staging) = &staged.staging else { return Ok(0) };
        let Some(condition) = orphan_condition(reference, order) else { return Ok(0) };
        match reference.on_orphan {
            OnOrphan::Keep => Ok(0),
            OnOrphan::Reject => {
                let reason = orphan_reason(reference);
                let sql = removal(
                    staged.plan,
                    &format!("delete from {} as s where {condition} returning s.*", staging.name),
                    &reason,
                    &reference.name,
                );
                self.remove(staged, &sql, &reference.name).await
            }
            OnOrphan::Null => {
                let nulls: Vec<String> =
                    reference.columns.iter().map(|column| format!("{column} = null")).collect();
                let sql = format!(
                    "with changed as (update {} as s set {} where {condition} returning 1) select pg_catalog.count(*) from changed",
                    staging.name,
                    nulls.join(", ")
                );
                let rows = self.count(&sql).await?;
                if rows > 0 {
                    self.warn(staged, nulled(reference, rows));
                }
                Ok(0)
            }
            OnOrphan::Fail => {
                let sql = format!("select pg_catalog.count(*) from {} as s where {condition}", staging.name);
                match self.count(&sql).await? {
                    0 => Ok(0),
                    rows => Err(Error::new(
                        Phase::Verify,
                        Kind::Guard,
                        format!(
                            "{}: {rows} rows have no match in {} ({}, on_orphan = \"fail\")",
                            staged.plan.name.plain(),
                            reference.to.plain(),
                            reference.name
                        ),
                    )
                    .hint("on_orphan = \"reject\" loads the others and lists these in the rejects file.")),
                }
            }
        }
    }

    /// Keeps of several rows with one key the greatest as text.
    async fn deduplicate(&mut self, staged: &Staged<'_>) -> Result<()> {
        let (Some(staging), Some(key)) = (&staged.staging, &staged.plan.key) else { return Ok(()) };
        if !has_doubtful_key(staged.plan) {
            return Ok(());
        }
        let columns = list(key);
        let is_there: Vec<String> = key.iter().map(|column| format!("{column} is not null")).collect();
        let is_there = is_there.join(" and ");
        let name = &staging.name;
        let exists = format!(
            "select pg_catalog.count(*) from (select 1 from {name} where {is_there} group by {columns} having pg_catalog.count(*) > 1 limit 1) as twice"
        );
        if self.count(&exists).await? == 0 {
            return Ok(());
        }
        let gone = format!(
            "delete from {name} as s using (
                select ctid as place, pg_catalog.row_number() over (
                    partition by {columns} order by (t.*)::text collate \"C\" desc, ctid) as nth
                from {name} as t where {is_there}) as ranked
             where s.ctid = ranked.place and ranked.nth > 1 returning s.*"
        );
        let key_names: Vec<String> = key.iter().map(plain).collect();
        let reason = format!(
            "pg_catalog.concat('another row has the same key: ', {})",
            pairs(&key_names, key).join(", ', ', ")
        );
        let constraint = format!("key ({})", key_names.join(", "));
        let sql = removal(staged.plan, &gone, &reason, &constraint);
        self.remove(staged, &sql, &constraint).await?;
        Ok(())
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

    /// Runs a COPY whose rows are rejects of one constraint, into the table's file. Returns how many.
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

/// The COPY that runs a DELETE … RETURNING and gives its rows the shape of the rejects file.
fn removal(plan: &TablePlan, delete: &str, reason: &str, constraint: &str) -> String {
    let columns: Vec<String> = plan
        .source_columns
        .iter()
        .map(|name| {
            let loaded = plan.columns.iter().find(|column| column.from.as_ref() == Some(name));
            loaded.map_or_else(|| "null".to_owned(), |column| format!("s.{}", column.name))
        })
        .collect();
    let columns = columns.iter().fold(String::new(), |all, column| all + ", " + column);
    format!(
        "copy (with s as ({delete}) select {reason}, {}, null{columns} from s) to stdout (format csv)",
        literal(constraint)
    )
}

/// True for a staged row `s` that has a reference without a match. `None` if there is nothing to search.
///
/// MATCH SIMPLE: a NULL in any column is no reference. MATCH FULL: all NULL is none, some NULL cannot match (manual,
/// CREATE TABLE, "REFERENCES").
fn orphan_condition(reference: &Reference, order: &[Vec<Staged<'_>>]) -> Option<String> {
    let is_there: Vec<String> =
        reference.columns.iter().map(|column| format!("s.{column} is not null")).collect();
    let is_reference = is_there.join(if reference.match_full { " or " } else { " and " });
    let matches: Vec<String> = reference
        .columns
        .iter()
        .zip(&reference.to_columns)
        .zip(reference.operators.iter().zip(&reference.collations))
        .map(|((ours, theirs), (operator, collation))| {
            let collate = collation.as_ref().map(|c| format!(" collate {c}")).unwrap_or_default();
            format!("p.{theirs} {operator} s.{ours}{collate}")
        })
        .collect();
    let matches = matches.join(" and ");
    // An entry that is kept, or none: the live rows stay. Several entries of one table: any of them may have the match.
    let staged = |entry: &usize| order.iter().flatten().find(|staged| staged.table == *entry);
    let parents: Vec<&Staged<'_>> = reference.parents.iter().filter_map(staged).collect();
    let mut places: Vec<String> = Vec::new();
    for parent in &parents {
        match &parent.staging {
            Some(staging) if !parent.is_kept => places.push(staging.name.to_string()),
            Some(_) => places.push(reference.to.to_string()),
            None => return None,
        }
    }
    if parents.is_empty() {
        places.push(reference.to.to_string());
    }
    let searches: Vec<String> =
        places.iter().map(|place| format!("not exists (select from {place} as p where {matches})")).collect();
    Some(format!("({is_reference}) and {}", searches.join(" and ")))
}

/// What the operator is told of orphans that were loaded with NULL.
pub(crate) fn nulled(reference: &Reference, rows: u64) -> String {
    let columns: Vec<String> = reference.columns.iter().map(plain).collect();
    format!(
        "{rows} rows without a match in {} are loaded with {} = NULL",
        reference.to.plain(),
        columns.join(", ")
    )
}

/// `loc_id=2 has no match in public.locmaster`, computed by the server.
fn orphan_reason(reference: &Reference) -> String {
    let names: Vec<String> = reference.columns.iter().map(plain).collect();
    format!(
        "pg_catalog.concat({}, {})",
        pairs(&names, &reference.columns).join(", ', ', "),
        literal(&format!(" has no match in {}", reference.to.plain()))
    )
}

/// `'name=', s.column` for each column.
fn pairs(names: &[String], columns: &[Ident]) -> Vec<String> {
    names
        .iter()
        .zip(columns)
        .map(|(name, column)| format!("{}, coalesce(s.{column}::text, 'NULL')", literal(&format!("{name}="))))
        .collect()
}
