//! Bringing the differences between staged and live rows into live tables, and nothing else: `delta`, `upsert`, `insert`.
//!
//! 1. [`mod@compare`] looks for the differences, outside any lock, and keeps where they are in a temporary table.
//! 2. In the applying transaction, with writers locked out, [`apply`] compares the rows of the difference once more. What
//!    others write elsewhere in the meantime counts as written after the sync.
//! 3. Rows that vanish are locked against new references to them, and whatever refers to them and stays is searched for
//!    by a new statement, which sees what was committed before the lock was granted. A find ends it.
//! 4. One statement for all tables of the group deletes, updates and inserts, in this order. Foreign keys that are not
//!    deferred are checked when it ends (manual, 7.8.4), so that the order between the tables does not matter. New rows that an
//!    action of a foreign key would reach are left to a second statement.

mod compare;
mod method;
mod search;
mod sides;
mod write;

use tokio_postgres::Client;

pub(super) use compare::compare;
pub(super) use method::MergeMethod;
pub(super) use sides::Sides;

use super::Ready;
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::name::TableName;
use crate::plan::TablePlan;

/// What a merge does with rows that are on the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy {
    /// A live row without a staged one vanishes.
    pub(crate) removes: bool,
    /// A live row with a staged one becomes like that.
    pub(crate) updates: bool,
}

/// A table and how it is merged.
#[derive(Clone, Copy)]
pub(super) struct Merge<'a> {
    table: &'a Ready<'a>,
    policy: Policy,
    sides: Sides<'a>,
}

/// What is done with a row of the difference, as the temporary table of changes has it.
mod change {
    /// It is inserted.
    pub(super) const INSERT: &str = "i";
    /// It updates a live row, the columns by which foreign keys could refer to it apart: these stay as they are.
    pub(super) const UPDATE: &str = "u";
    /// It updates a live row, these columns included.
    pub(super) const UPDATE_KEY: &str = "w";
    /// It replaces a live row by a DELETE and an INSERT, because an UPDATE cannot do it.
    pub(super) const REPLACE: &str = "x";
    /// It is left out.
    pub(super) const SKIP: &str = "k";
    /// It is left out, and the live row with its key vanishes nevertheless.
    pub(super) const SKIP_AND_DELETE: &str = "l";
    /// Every kind of UPDATE, as SQL.
    pub(super) const UPDATES: &str = "'u', 'w'";
    /// It is on the target by now.
    pub(super) const SAME: &str = "=";
    /// A live row vanishes.
    pub(super) const DELETE: &str = "d";
}

/// Rows of one table by what was done with them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) inserted: u64,
    pub(super) updated: u64,
    pub(super) deleted: u64,
    pub(super) unchanged: u64,
    pub(super) skipped: u64,
}

impl<'a> Merge<'a> {
    /// A table that is merged.
    pub(super) fn new(table: &'a Ready<'a>, policy: Policy) -> Result<Self> {
        let staging = table.staging.as_ref().ok_or_else(|| {
            let message = format!("{} has no staging table", table.plan.name.plain());
            Error::new(Phase::Apply, Kind::Internal, message)
        })?;
        Ok(Self { table, policy, sides: Sides { plan: table.plan, staging } })
    }

    /// The table.
    pub(super) fn table(&self) -> &'a Ready<'a> {
        self.table
    }

    fn name(&self) -> String {
        self.table.plan.name.plain()
    }

    /// Where the difference is kept: of each row its place in staging, or the key that vanishes.
    fn difference(&self) -> TableName {
        TableName::new("pg_temp", format!("difference_{}", self.table.plan.entry))
    }

    /// Where live rows that are not in staging are kept until they are in the difference.
    fn left_over(&self) -> TableName {
        TableName::new("pg_temp", format!("left_over_{}", self.table.plan.entry))
    }

    /// Where the changes are kept: what is done with which staged row at which place of the live table.
    fn changes(&self) -> TableName {
        changes_of(self.table.plan)
    }

    fn fails(&self, what: &str) -> impl Fn(tokio_postgres::Error) -> Error {
        let what = format!("{what} {}", self.name());
        move |error| Error::pg(Phase::Apply, &what, &error)
    }
}

fn changes_of(plan: &TablePlan) -> TableName {
    TableName::new("pg_temp", format!("changes_{}", plan.entry))
}

/// Joins to staged rows `s` the changes that wrote them, after the commit: only kept of tables of which triggers change rows.
pub(super) fn written(plan: &TablePlan) -> String {
    format!(
        "join {} as c on c.s_place = s.place and c.change in ('{}', {}, '{}')",
        changes_of(plan),
        change::INSERT,
        change::UPDATES,
        change::REPLACE
    )
}

/// Brings the differences into the tables of a group, under their locks. Returns the counts per table. Staged rows are noted if
/// `is_traced`.
///
/// # Errors
/// [`Kind::Guard`] when a row that stays refers to one that vanishes, or when counts disagree; the server's.
pub(super) async fn apply(client: &Client, merges: &[Merge<'_>], is_traced: bool) -> Result<Vec<Counts>> {
    if !merges.is_empty() {
        compare::favour_single_rows(client).await?;
    }
    let mut planned = Vec::with_capacity(merges.len());
    for merge in merges {
        planned.push(compare::again(client, merge).await?);
    }
    let writing = search::refuse_dangling(client, merges, &planned).await?;
    write::write(client, merges, (&planned, &writing), is_traced).await?;
    Ok(merges.iter().zip(&planned).map(|(merge, planned)| planned.counts(merge)).collect())
}
