//! Builds indexes and vacuums a new table as soon as its rows are loaded, while other tables still load.
//!
//! This is optional. The group's build finds an index by its name, and does whatever is missing. VACUUM comes last, because
//! it skips rows that are invisible to a transaction older than their commit, such as the COPY of another table. The longer
//! it waits, the fewer such rows remain. If some do, the group's own VACUUM runs as well.

use std::time::Duration;

use tokio_postgres::Client;

use super::attached::{self, Attached};
use super::build::{Making, refuse_other_columns, vacuum_sql, with_empty_path};
use super::work::{Job, equip_sql};
use super::{Schemas, constraints};
use crate::error::{Error, Phase, Result};
use crate::pg::name::TableName;
use crate::pg::session::Session;
use crate::plan::TablePlan;

/// The early work done on a group's new tables.
#[derive(Debug, Clone, Default)]
pub(crate) struct Early {
    /// Entries whose new tables need no further VACUUM.
    pub(crate) vacuumed: Vec<usize>,
    /// The time that indexes and VACUUM took.
    pub(crate) took: Duration,
}

/// A step for one new table.
#[derive(Debug)]
pub(crate) enum Step {
    /// Determines the indexes to build.
    Survey,
    /// Builds an index.
    Index(Job),
    /// Vacuums the table once all indexes exist.
    Vacuum,
}

/// The result of a step.
#[derive(Debug)]
pub(crate) enum Done {
    /// These indexes are to be built.
    Surveyed(Vec<Step>),
    /// An index exists.
    Indexed,
    /// Whether every page with rows is all-visible.
    Vacuumed(bool),
}

impl Step {
    /// Returns the name of the step, for the operator.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Survey | Self::Index(_) => "building indexes",
            Self::Vacuum => "vacuuming",
        }
    }

    /// Runs the step on a table whose rows no longer change. The live table is not locked.
    ///
    /// # Errors
    /// Any server error; [`crate::error::Kind::Schema`] if the live table was replaced meanwhile. A transaction may be open
    /// afterwards.
    pub(crate) async fn run(&self, session: &Session, schemas: &Schemas, plan: &TablePlan) -> Result<Done> {
        let (client, new) = (&session.client, schemas.new_table(&plan.name));
        match self {
            Self::Survey => {
                let attached =
                    with_empty_path(client, attached::read(client, &schemas.new, plan.oid, &plan.name))
                        .await?;
                survey(client, plan, new, attached).await.map(Done::Surveyed)
            }
            Self::Index(job) => {
                job.run(client).await?;
                Ok(Done::Indexed)
            }
            Self::Vacuum => vacuum(session, plan, &new).await.map(Done::Vacuumed),
        }
    }
}

async fn survey(client: &Client, plan: &TablePlan, new: TableName, attached: Attached) -> Result<Vec<Step>> {
    refuse_other_columns(plan, &attached)?;
    let jobs = constraints::indexes(client, &[Making { plan, new, attached }]).await?;
    Ok(jobs.into_iter().map(Step::Index).collect())
}

/// Vacuums a new table. Returns whether every page with rows is all-visible afterwards.
async fn vacuum(session: &Session, plan: &TablePlan, new: &TableName) -> Result<bool> {
    let client = &session.client;
    let failed = |e: tokio_postgres::Error| {
        Error::pg(Phase::Apply, format!("vacuuming the new table of {}", plan.name.plain()), &e)
    };
    client.batch_execute(&vacuum_sql(session, new)).await.map_err(failed)?;
    // Since 16 COPY extends a table by several pages at once. VACUUM leaves the last of these empty, and thus not all-visible,
    // if they are too few to be truncated (`should_attempt_truncation`).
    let sql = "select c.relpages - c.relallvisible < greatest(least(c.relpages / 16, 1000), 1) from pg_catalog.pg_class c
        where c.oid = $1::text::pg_catalog.regclass";
    Ok(client.query_one(sql, &[&new.to_string()]).await.map_err(failed)?.get(0))
}

/// Prepares one of `sessions` concurrent sessions for steps.
///
/// # Errors
/// Any server error.
pub(crate) async fn equip(session: &Session, sessions: usize, lock_wait: Duration) -> Result<()> {
    let equipped = session.client.batch_execute(&equip_sql(sessions, lock_wait)).await;
    equipped.map_err(|e| Error::pg(Phase::Apply, "preparing to build indexes", &e))
}
