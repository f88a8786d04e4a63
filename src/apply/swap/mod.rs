//! `swap`: builds a new table beside the live one, then exchanges the two.
//!
//! 1. **Stage** ([`stage`]): creates two private schemas for the run. Rows are copied straight into the new table, which so far
//!    has only the live table's columns, defaults and sequences
//!    ([`crate::plan::TablePlan::fills_new_table`] defines the exceptions).
//! 2. **Build** ([`mod@build`]), without a lock on the live table, after the rows are verified: adds everything that is attached
//!    to the live table ([`attached`]), under its final names, then runs VACUUM and ANALYZE.
//!    Indexes are built earlier where rows stay as they were copied ([`early`]).
//! 3. **Exchange** ([`mod@exchange`]), in the group's transaction: the live table moves to the schema of old tables, and the new
//!    one takes its place. Objects that depend on the old table's OID are bound to the new one's.
//! 4. **Settle**, after the commit: validates foreign keys to the table and drops the old table. The next run finishes what a kill
//!    interrupts.

mod attached;
mod attributes;
mod build;
mod constraints;
mod early;
mod exchange;
mod options;
mod progress_marks;
mod refusal;
mod schema;
mod sequences;
mod work;

use tokio_postgres::Client;

pub(crate) use build::stage;
pub(super) use build::{Built, build};
pub(crate) use early::{Done, Early, Step, equip};
pub(crate) use exchange::{Patience, dispose, validate};
pub(super) use exchange::{Prepared, settle};
pub(crate) use schema::{Schemas, drop_empty, runs, tables};

use super::{Context, Method, Outcome, Way, sequences as owned};
use crate::config::ApplyMethod;
use crate::error::Result;
use crate::pg::catalog::Oid;
use crate::pg::name::{Ident, TableName};
use crate::pg::session::Session;
use crate::plan::method::{Case, Rules, TableLock};

pub(super) struct Swap;

/// A live table and its replacement.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    /// The live table.
    pub(super) live: Oid,
    /// The new table, complete in `new_schema` under the same name.
    pub(super) new: Oid,
    /// The live table's name.
    pub(super) name: TableName,
    /// The schema of the new table.
    pub(super) new_schema: Ident,
    /// The destination schema of the old table.
    pub(super) old_schema: Ident,
    /// Statements that run once the new table has the live table's name, because they name tables of the group. They run
    /// after all tables of the group are exchanged, before any other session sees them.
    pub(super) late: Vec<String>,
}

impl Rules for Swap {
    fn method(&self) -> ApplyMethod {
        ApplyMethod::Swap
    }

    fn refusal(&self, case: &Case<'_>) -> Option<String> {
        refusal::refusal(case)
    }

    fn reluctance(&self, case: &Case<'_>) -> Option<String> {
        refusal::reluctance(case)
    }

    fn drawback(&self, case: &Case<'_>) -> Option<String> {
        refusal::drawback(case)
    }

    fn lock(&self) -> TableLock {
        TableLock::AccessExclusive
    }

    fn waits(&self) -> &'static str {
        "everyone waits for milliseconds, whatever the size"
    }

    fn is_automatic(&self) -> bool {
        true
    }

    fn uses_staging(&self) -> bool {
        true
    }

    fn doubles_table(&self) -> bool {
        false
    }
}

impl Method for Swap {
    fn way(&self) -> Way<'_> {
        Way::Swap
    }
}

/// Prepares the exchange of a group's tables, before any lock; `None` if there are none. `rewritten` are the tables of the
/// group that other methods write.
pub(super) async fn prepare(
    context: &Context<'_>,
    session: &Session,
    built: &[Built<'_>],
    rewritten: Vec<TableName>,
) -> Result<Option<Prepared>> {
    if built.is_empty() {
        return Ok(None);
    }
    let pairs = built.iter().map(|new| {
        let mut pair = new.pair.clone();
        pair.late.extend(sequences::forward(&new.pair, &new.sequences));
        pair
    });
    let pairs = pairs.collect();
    let prepared =
        Prepared::new(&session.client, session.server_version, pairs, rewritten, context.lock_timeout)
            .await?;
    fail::fail_point!("swap.prepared");
    Ok(Some(prepared))
}

/// Returns the outcomes of the exchange, which are known before its locks: every row counts as inserted. Moves the new
/// tables' sequences past the loaded values.
pub(super) async fn outcomes(client: &Client, built: &[Built<'_>]) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::with_capacity(built.len());
    for new in built {
        let table = new.table;
        let mut extremes = table.extremes.clone();
        for (sequence, _) in &mut extremes {
            if sequence.is_owned {
                sequence.name.schema.clone_from(&new.pair.new_schema);
            } else {
                // This sequence is shared and stays: `setval` blocks no session, and being ahead does no harm.
                sequence.may_update |= sequence.is_owner;
                sequence.is_owner = false;
            }
        }
        let mut warnings = new.warnings.clone();
        warnings.extend(owned::advance(client, &extremes).await?);
        outcomes.push(Outcome {
            entry: table.plan.entry,
            staged: table.staged,
            inserted: table.staged,
            updated: 0,
            unchanged: 0,
            skipped: 0,
            deleted: table.live_rows,
            index: new.took,
            warnings,
        });
    }
    Ok(outcomes)
}

/// Warns, after the commit, if other sessions wrote to a table that was replaced.
pub(super) async fn warn_of_overwritten(client: &Client, built: &[Built<'_>], outcomes: &mut [Outcome]) {
    for new in built {
        let warning = new.overwritten(client).await;
        let entry = new.table.plan.entry;
        let outcome = outcomes.iter_mut().find(|outcome| outcome.entry == entry);
        outcome.into_iter().for_each(|outcome| outcome.warnings.extend(warning.iter().cloned()));
    }
}
