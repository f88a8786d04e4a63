//! Writes only the differences between staged and live rows: `delta`, `upsert`, `insert`.
//!
//! 1. [`mod@compare`] finds the differences without locks, and stores their places in a temporary table.
//! 2. In the applying transaction, with writers locked out, [`apply`] compares the rows of the difference again. Changes that
//!    other sessions made elsewhere in the meantime count as written after the sync.
//! 3. Rows to be deleted are locked against new references. A new statement, which sees everything committed before the lock was
//!    granted, searches for remaining rows that reference them, and fails the group if it finds any.
//! 4. One statement for all tables of the group deletes, updates and inserts, in this order. Foreign keys that are not deferred
//!    are checked when it ends (manual, 7.8.4), so the order of the tables does not matter. New rows that an action of a
//!    foreign key would reach are left to a second statement.

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

/// The treatment of existing target rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Policy {
    /// Deletes live rows without a staged row.
    pub(crate) removes: bool,
    /// Updates live rows to match their staged row.
    pub(crate) updates: bool,
}

/// A table and how it is merged.
#[derive(Clone, Copy)]
pub(super) struct Merge<'a> {
    table: &'a Ready<'a>,
    policy: Policy,
    sides: Sides<'a>,
}

/// The action for a row of the difference, as stored in the temporary table of changes.
mod change {
    /// It is inserted.
    pub(super) const INSERT: &str = "i";
    /// The staged row updates a live row, except the columns that foreign keys could reference.
    pub(super) const UPDATE: &str = "u";
    /// The staged row updates a live row, including these columns.
    pub(super) const UPDATE_KEY: &str = "w";
    /// The staged row replaces a live row by DELETE and INSERT, because an UPDATE cannot do it.
    pub(super) const REPLACE: &str = "x";
    /// The staged row is skipped.
    pub(super) const SKIP: &str = "k";
    /// The staged row is skipped, and the live row with its key is deleted all the same.
    pub(super) const SKIP_AND_DELETE: &str = "l";
    /// Every kind of UPDATE, as SQL.
    pub(super) const UPDATES: &str = "'u', 'w'";
    /// The target has the row already.
    pub(super) const SAME: &str = "=";
    /// A live row is deleted.
    pub(super) const DELETE: &str = "d";
}

/// Rows of one table by the action taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) inserted: u64,
    pub(super) updated: u64,
    pub(super) deleted: u64,
    pub(super) unchanged: u64,
    pub(super) skipped: u64,
}

impl<'a> Merge<'a> {
    /// Creates the merge of a table.
    pub(super) fn new(table: &'a Ready<'a>, policy: Policy) -> Result<Self> {
        let staging = table.staging.as_ref().ok_or_else(|| {
            let message = format!("{} has no staging table", table.plan.name.plain());
            Error::new(Phase::Apply, Kind::Internal, message)
        })?;
        Ok(Self { table, policy, sides: Sides { plan: table.plan, staging } })
    }

    /// Returns the table.
    pub(super) fn table(&self) -> &'a Ready<'a> {
        self.table
    }

    fn name(&self) -> String {
        self.table.plan.name.plain()
    }

    /// Returns the table that stores the difference: the place of each row in staging, or the key to be deleted.
    fn difference(&self) -> TableName {
        TableName::new("pg_temp", format!("difference_{}", self.table.plan.entry))
    }

    /// Returns the table that holds live rows missing from staging until they are part of the difference.
    fn left_over(&self) -> TableName {
        TableName::new("pg_temp", format!("left_over_{}", self.table.plan.entry))
    }

    /// Returns the table of changes: the action, the staged row and the place in the live table.
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

/// Returns the join from staged rows `s` to the changes that wrote them, for use after the commit. The changes are kept only
/// for tables whose triggers change rows.
pub(super) fn written(plan: &TablePlan) -> String {
    format!(
        "join {} as c on c.s_place = s.place and c.change in ('{}', {}, '{}')",
        changes_of(plan),
        change::INSERT,
        change::UPDATES,
        change::REPLACE
    )
}

/// Writes the differences into the tables of a group, under their locks. Returns the counts per table. Traces staged rows if
/// `is_traced`.
///
/// # Errors
/// [`Kind::Guard`] when a remaining row references one to be deleted, or when counts disagree; any server error.
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
