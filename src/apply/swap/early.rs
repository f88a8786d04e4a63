//! What can be done to a new table as soon as its rows are there, while other tables still load: its indexes, and VACUUM.
//!
//! Nobody relies on it: the building of the group finds an index by its name, and does itself whatever is missing. VACUUM comes
//! last, because it passes by rows that a transaction does not see which began before they were committed, such as the COPY of
//! another table: the longer ago that is, the fewer they are. If there are some, the group's is not spared.

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

/// What was done to a group's new tables before it was taken up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Early {
    /// The entries whose new tables need no VACUUM any more.
    pub(crate) vacuumed: Vec<usize>,
    /// How long that and the indexes took.
    pub(crate) took: Duration,
}

/// Something that is done to one new table.
#[derive(Debug)]
pub(crate) enum Step {
    /// Finds out which indexes are to be built.
    Survey,
    /// Builds one.
    Index(Job),
    /// Vacuums it, when it has all of them.
    Vacuum,
}

/// What came of a step.
#[derive(Debug)]
pub(crate) enum Done {
    /// These indexes are to be built.
    Surveyed(Vec<Step>),
    /// An index is there.
    Indexed,
    /// Whether every page with rows is all-visible.
    Vacuumed(bool),
}

impl Step {
    /// What is being done, for the operator.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Survey | Self::Index(_) => "building indexes",
            Self::Vacuum => "vacuuming",
        }
    }

    /// Does it, to a table that is filled with rows that stay as they are. The live table is not locked.
    ///
    /// # Errors
    /// The server's; [`crate::error::Kind::Schema`] if the live table is another one by now. A transaction may be open then.
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

/// Readies a session for steps, of so many that do some at once.
///
/// # Errors
/// The server's.
pub(crate) async fn equip(session: &Session, sessions: usize, lock_wait: Duration) -> Result<()> {
    let equipped = session.client.batch_execute(&equip_sql(sessions, lock_wait)).await;
    equipped.map_err(|e| Error::pg(Phase::Apply, "preparing to build indexes", &e))
}
