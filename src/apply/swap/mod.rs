//! `swap`: a new table is made complete beside the live one, then takes its place.
//!
//! 1. **Stage** ([`stage`]): two private schemas for the run. Rows are copied straight into the new table, which has the live
//!    one's columns, defaults and sequences and nothing else yet
//!    ([`crate::plan::TablePlan::fills_new_table`] says when not).
//! 2. **Build** ([`mod@build`]), outside any lock on the live table, after the rows were judged and counted: everything that is
//!    attached to the live table ([`attached`]), under its final names, then VACUUM and ANALYZE.
//!    Indexes do not need to wait for that where rows stay as they were copied ([`early`]).
//! 3. **Exchange** ([`mod@exchange`]), in the group's transaction: the live table goes to the schema of old ones, the new one
//!    to where that was; what is bound to the old table's OID is bound to the new one's.
//! 4. **Settle**, after the commit: foreign keys to the table are validated, the old table is dropped. What a kill leaves of
//!    that is finished by the next run.

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

/// A live table and the one that takes its place.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    /// The live table.
    pub(super) live: Oid,
    /// The one that is complete in `new_schema`, under the same name.
    pub(super) new: Oid,
    /// The live table's name.
    pub(super) name: TableName,
    /// Where the new one is.
    pub(super) new_schema: Ident,
    /// Where the old one goes.
    pub(super) old_schema: Ident,
    /// What is attached to the new one only when it has the live one's name: statements that name tables of the group as they
    /// are named then. They come after all tables of the group were exchanged, before anybody else sees them.
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
/// group that are written by other methods.
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

/// What the exchange will have done, known before its locks: every row counts as inserted. The new tables' sequences are
/// moved past what was loaded.
pub(super) async fn outcomes(client: &Client, built: &[Built<'_>]) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::with_capacity(built.len());
    for new in built {
        let table = new.table;
        let mut extremes = table.extremes.clone();
        for (sequence, _) in &mut extremes {
            if sequence.is_owned {
                sequence.name.schema.clone_from(&new.pair.new_schema);
            } else {
                // It stays where it is, for others, too: `setval` keeps nobody waiting, and to be ahead does no harm.
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

/// Warns, after the commit, where others wrote to a table that is gone.
pub(super) async fn warn_of_overwritten(client: &Client, built: &[Built<'_>], outcomes: &mut [Outcome]) {
    for new in built {
        let warning = new.overwritten(client).await;
        let entry = new.table.plan.entry;
        let outcome = outcomes.iter_mut().find(|outcome| outcome.entry == entry);
        outcome.into_iter().for_each(|outcome| outcome.warnings.extend(warning.iter().cloned()));
    }
}
