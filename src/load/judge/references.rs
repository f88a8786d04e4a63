//! References: rows without a match in the future contents of the referenced table.

use super::places::after_run;
use super::{Failed, Judge, ROUNDS_MAX, Staged, endless, pairs, removal};
use crate::config::OnOrphan;
use crate::error::{Error, Kind, Phase, Result};
use crate::figures;
use crate::pg::name::{literal, plain};
use crate::plan::Reference;

impl Judge<'_, '_> {
    /// Removes the orphans of a cycle until there are none. Returns how many, and the table that has orphans under
    /// `on_orphan = "fail"`. References by columns that lookups fill late are included only `with_filled`.
    pub(super) async fn close(&mut self, circle: &[Staged<'_>], with_filled: bool) -> Result<(u64, Failed)> {
        let mut total = 0;
        for _ in 0..ROUNDS_MAX {
            let mut removed = 0;
            let mut may_cascade = false;
            for staged in circle {
                for reference in staged.references().filter(|r| with_filled || !is_filled_late(staged, r)) {
                    match self.orphans(staged, reference).await {
                        Ok(rows) => removed += rows,
                        Err(error) if error.kind() == Kind::Guard => {
                            return Ok((total, Some((staged.table, error))));
                        }
                        Err(error) => return Err(error),
                    }
                    may_cascade |= circle.iter().any(|other| reference.parents.contains(&other.table));
                }
            }
            total += removed;
            if removed == 0 || !may_cascade {
                return Ok((total, None));
            }
        }
        Err(endless())
    }

    /// Handles the orphans of one reference. Returns how many rows were removed.
    async fn orphans(&mut self, staged: &Staged<'_>, reference: &Reference) -> Result<u64> {
        let Some(staging) = &staged.staging else { return Ok(0) };
        let Some(condition) = orphan_condition(reference, self.order) else { return Ok(0) };
        match reference.on_orphan {
            OnOrphan::Keep => Ok(0),
            OnOrphan::Reject => {
                let reason = orphan_reason(reference);
                let sql = removal(
                    staged.plan,
                    &format!("delete from {} as s where {condition} returning s.*", staging.name),
                    &reason,
                    &reference.constraint_sql(),
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
                            "{}: {} {} no match in {} ({}, on_orphan = \"fail\")",
                            staged.plan.name.plain(),
                            figures::counted(rows, "row"),
                            if rows == 1 { "has" } else { "have" },
                            reference.to.plain(),
                            reference.name
                        ),
                    )
                    .hint(
                        "on_orphan = \"reject\" loads the other rows and writes these to the rejects file.",
                    )),
                }
            }
        }
    }
}

/// Returns whether a reference uses a column that a lookup in the same cycle fills.
fn is_filled_late(staged: &Staged<'_>, reference: &Reference) -> bool {
    let late = staged.lookups().filter(|lookup| lookup.is_deferred);
    late.into_iter().any(|lookup| reference.columns.contains(&lookup.column))
}

/// Returns a predicate: a staged row `s` has a reference without a match. `None` if there is nothing to search.
///
/// MATCH SIMPLE: a NULL in any column means no reference. MATCH FULL: all NULL means no reference, some NULL cannot
/// match (manual, CREATE TABLE, "REFERENCES").
fn orphan_condition(reference: &Reference, order: &[Vec<Staged<'_>>]) -> Option<String> {
    let is_there: Vec<String> =
        reference.columns.iter().map(|column| format!("s.{column} is not null")).collect();
    let is_reference = is_there.join(if reference.match_full { " or " } else { " and " });
    let matches = reference.matches_sql();
    // Several entries may load one table: any of them may have the match.
    let places = after_run(&reference.to, &reference.parents, order)?;
    let searches: Vec<String> = places
        .iter()
        .map(|place| format!("not exists (select 1 from {place} as p where {matches})"))
        .collect();
    let concerned = reference.concerns_sql().map(|rows| format!("{rows} and ")).unwrap_or_default();
    Some(format!("{concerned}({is_reference}) and {}", searches.join(" and ")))
}

/// Returns the warning about orphans loaded with NULL.
pub(crate) fn nulled(reference: &Reference, rows: u64) -> String {
    let columns: Vec<String> = reference.columns.iter().map(plain).collect();
    format!(
        "{} without a match in {} {} loaded with {} = NULL",
        figures::counted(rows, "row"),
        reference.to.plain(),
        if rows == 1 { "is" } else { "are" },
        columns.join(", ")
    )
}

/// Returns SQL for `loc_id=2 has no match in public.locmaster`.
fn orphan_reason(reference: &Reference) -> String {
    let names: Vec<String> = reference.columns.iter().map(plain).collect();
    format!(
        "pg_catalog.concat({}, {})",
        pairs(&names, &reference.columns).join(", ', ', "),
        literal(&format!(" has no match in {}", reference.to.plain()))
    )
}
