//! Builds new tables: first bare, to be filled, then complete.
//!
//! Each step commits separately, and a repeat after a broken connection finds it done: an index by its name, everything else
//! by a progress mark. Live tables are not locked. Other tables are locked only for moments: a referenced table blocks
//! writers while the foreign key is added, which checks nothing yet.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::attached::{self, Attached, Target, bare_sql};
use super::progress_marks::{Note, Notes};
use super::sequences::Step;
use super::work::{Job, Workers};
use super::{Pair, Schemas, attributes, constraints, progress_marks};
use crate::apply::{Context, Ready};
use crate::config::ApplyMethod;
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::catalog::Oid;
use crate::pg::name::TableName;
use crate::pg::session::Session;
use crate::plan::TablePlan;

/// A table whose new table is complete.
pub(in crate::apply) struct Built<'a> {
    /// The table.
    pub(in crate::apply) table: &'a Ready<'a>,
    /// The live and the new table.
    pub(super) pair: Pair,
    /// Its sequences.
    pub(super) sequences: Vec<Step>,
    /// The time that this took, including the early work.
    pub(super) took: Duration,
    /// What the operator should know.
    pub(super) warnings: Vec<String>,
    /// The writes to the live table that the statistics had counted when the run began.
    written_before: Option<i64>,
}

/// A table whose new table is being built.
pub(super) struct Making<'a> {
    pub(super) plan: &'a TablePlan,
    pub(super) new: TableName,
    pub(super) attached: Attached,
}

/// Creates a run's schemas and the new tables that rows are copied into.
///
/// # Errors
/// Any server error.
pub(crate) async fn stage(client: &Client, schemas: &Schemas, tables: &[TablePlan]) -> Result<()> {
    let staged = stage_all(client, schemas, tables).await;
    if staged.is_err() {
        // Cleaning up needs the session.
        let _ = client.batch_execute("rollback").await;
    }
    staged
}

async fn stage_all(client: &Client, schemas: &Schemas, tables: &[TablePlan]) -> Result<()> {
    schemas.create(client).await?;
    Notes::create(client, schemas).await?;
    for plan in tables.iter().filter(|plan| plan.apply == ApplyMethod::Swap) {
        let written = progress_marks::written(client, plan.oid).await?;
        Notes::of(schemas, plan.entry).take(client, Note::Written, written).await?;
        if plan.fills_new_table() {
            let attached = attached::read(client, &schemas.new, plan.oid, &plan.name).await?;
            create(client, plan, &attached, &schemas.new_table(&plan.name)).await?;
        }
    }
    Ok(())
}

/// Creates a bare new table.
async fn create(client: &Client, plan: &TablePlan, attached: &Attached, new: &TableName) -> Result<()> {
    refuse_other_columns(plan, attached)?;
    let statements = bare_sql(attached, plan, new).join(";\n");
    client
        .batch_execute(&format!("begin; set local default_tablespace = '';\n{statements};\ncommit"))
        .await
        .map_err(|e| Error::pg(Phase::Stage, format!("creating a new table for {}", plan.name.plain()), &e))
}

/// Fails if the columns have changed: the plan may be hours old, and so may a new table.
pub(super) fn refuse_other_columns(plan: &TablePlan, attached: &Attached) -> Result<()> {
    let planned = plan.live.columns.iter().map(|column| &column.name);
    if attached.columns.iter().map(|column| &column.name).eq(planned) {
        return Ok(());
    }
    let message = format!("the columns of {} changed during the run", plan.name.plain());
    Err(Error::new(Phase::Apply, Kind::Schema, message).hint("Run again."))
}

/// Completes the new tables of a group, whose rows are all loaded, verified and counted. Skips the work of earlier attempts.
/// `rewritten` are the tables of the group that other methods write after the exchange: foreign keys to them are validated
/// only then.
///
/// # Errors
/// Any server error, for example a row that violates a constraint. [`Kind::Lock`] if a referenced table could not be locked
/// within `lock_wait`.
pub(in crate::apply) async fn build<'a>(
    context: &Context<'_>,
    session: &Session,
    tables: &[&'a Ready<'a>],
    rewritten: &[Oid],
) -> Result<Vec<Built<'a>>> {
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let mut workers = Workers::new(context, session);
    let cancel = workers.cancel_handles();
    let built = tokio::select! {
        built = build_all((context, session), &mut workers, tables, rewritten) => built,
        () = context.cancel.cancelled() => Err(Error::cancelled(Phase::Apply)),
    };
    if built.is_err() {
        // Other sessions may spend minutes on an index.
        cancel.all().await;
    }
    built
}

async fn build_all<'a>(
    (context, session): (&Context<'_>, &Session),
    workers: &mut Workers<'_>,
    tables: &[&'a Ready<'a>],
    rewritten: &[Oid],
) -> Result<Vec<Built<'a>>> {
    let client = &session.client;
    let began = Instant::now();
    // A run that took the tables over has removed the new ones.
    context.books.check_claim(client).await?;
    let mut making = Vec::with_capacity(tables.len());
    for table in tables {
        making.push(begin(context, client, table).await?);
    }
    tracing::info!(phase = %Phase::Apply, tables = tables.len(), "building the new tables");
    context.books.doing("vacuuming");
    let is_due = |table: &&Making<'_>| !context.early.vacuumed.contains(&table.plan.entry);
    let vacuum = |table: &Making<'_>| table.job(&[vacuum_sql(session, &table.new)]);
    workers.run(making.iter().filter(is_due).map(vacuum).collect()).await?;
    fail::fail_point!("swap.filled");
    context.books.doing("building indexes");
    for table in &making {
        constraints::drop_outdated(client, table).await?;
    }
    workers.run(constraints::indexes(client, &making).await?).await?;
    fail::fail_point!("swap.indexed");
    context.books.doing("checking constraints");
    for table in &making {
        constraints::add(client, context.schemas, table).await?;
    }
    for table in &making {
        constraints::add_foreign_keys(context, client, table, &making).await?;
    }
    fail::fail_point!("swap.constrained");
    workers
        .run(making.iter().map(|table| table.job(&constraints::validation(table, rewritten))).collect())
        .await?;
    let mut built = Vec::with_capacity(making.len());
    for (table, new) in tables.iter().zip(&making) {
        let late = attributes::dress(client, context.schemas, new, &making).await?;
        built.push(complete(client, context.schemas, (table, new), late).await?);
    }
    context.books.doing("");
    client
        .batch_execute("set lock_timeout = 0")
        .await
        .map_err(|e| Error::pg(Phase::Apply, "finishing the new tables", &e))?;
    fail::fail_point!("swap.built");
    let took = began.elapsed();
    built.iter_mut().for_each(|table| table.took = context.early.took + took);
    tracing::info!(phase = %Phase::Apply, tables = tables.len(), "built in {took:.1?}");
    Ok(built)
}

/// Since this version a few bytes of WAL freeze all rows of a page; before, each row takes a dozen.
const FREEZES_CHEAPLY: u32 = 160_000;

/// Returns the statement that vacuums a new table.
pub(super) fn vacuum_sql(session: &Session, new: &TableName) -> String {
    let freeze = if session.server_version >= FREEZES_CHEAPLY { "(freeze) " } else { "" };
    format!("vacuum {freeze}{new}")
}

/// Reads the objects attached to the live table. If the rows are in a staging table, moves them into a new one.
async fn begin<'a>(context: &Context<'_>, client: &Client, table: &'a Ready<'a>) -> Result<Making<'a>> {
    let (plan, schemas) = (table.plan, context.schemas);
    let new = schemas.new_table(&plan.name);
    let attached =
        match with_empty_path(client, attached::read(client, &schemas.new, plan.oid, &plan.name)).await {
            Err(error) if error.kind() == Kind::Schema => {
                return Err(context.books.exchanged(client, &plan.name).await?);
            }
            attached => attached?,
        };
    if plan.fills_new_table() {
        refuse_other_columns(plan, &attached)?;
    } else if !Notes::of(schemas, plan.entry).has(client, Note::Filled).await? {
        let failed = |e: tokio_postgres::Error| {
            Error::pg(Phase::Apply, format!("filling the new table of {}", plan.name.plain()), &e)
        };
        client.batch_execute(&format!("drop table if exists {new}")).await.map_err(failed)?;
        create(client, plan, &attached, &new).await?;
        fill(client, schemas, table, &new).await?;
    }
    Ok(Making { plan, new, attached })
}

/// Runs INSERT … SELECT from staging, without a lock on the live table.
async fn fill(client: &Client, schemas: &Schemas, table: &Ready<'_>, new: &TableName) -> Result<()> {
    let plan = table.plan;
    let failed = |e: tokio_postgres::Error| {
        Error::pg(Phase::Apply, format!("filling the new table of {}", plan.name.plain()), &e)
    };
    let staging = table.staging.as_ref().ok_or_else(|| {
        Error::new(Phase::Apply, Kind::Internal, format!("{} has no staging table", plan.name.plain()))
    })?;
    let columns = plan.column_list();
    let overriding = if plan.overrides_identity() { " overriding system value" } else { "" };
    client.batch_execute("begin").await.map_err(failed)?;
    let sql = format!("insert into {new} ({columns}){overriding} select {columns} from {staging}");
    let rows = client.execute(&sql, &[]).await.map_err(failed)?;
    if rows != table.staged {
        let message =
            format!("{}: {} rows were staged, but {rows} were inserted", plan.name.plain(), table.staged);
        return Err(Error::new(Phase::Apply, Kind::Guard, message));
    }
    Notes::of(schemas, plan.entry).take(client, Note::Filled, 0).await?;
    client.batch_execute("commit").await.map_err(failed)
}

/// Runs `read` with an empty `search_path`, which definitions need. User-defined functions get the role's own, as in an
/// INSERT.
pub(super) async fn with_empty_path<T>(client: &Client, read: impl Future<Output = Result<T>>) -> Result<T> {
    let failed =
        |e: tokio_postgres::Error| Error::pg(Phase::Apply, "reading the objects attached to a table", &e);
    client.batch_execute("begin; set local search_path = ''").await.map_err(failed)?;
    let done = read.await?;
    client.batch_execute("commit").await.map_err(failed)?;
    Ok(done)
}

async fn complete<'a>(
    client: &Client,
    schemas: &Schemas,
    (table, making): (&'a Ready<'a>, &Making<'_>),
    late: Vec<String>,
) -> Result<Built<'a>> {
    let plan = making.plan;
    let row = client
        .query_one("select $1::text::pg_catalog.regclass::pg_catalog.oid", &[&making.new.to_string()])
        .await
        .map_err(|e| {
            Error::pg(Phase::Apply, format!("looking for the new table of {}", plan.name.plain()), &e)
        })?;
    let new: Oid = row.get(0);
    let not_carried = making.attached.table.invalid_indexes.iter().map(|index| {
        format!(
            "index {index} is invalid, probably left by a failed CREATE INDEX CONCURRENTLY: it is not \
                 carried over"
        )
    });
    Ok(Built {
        table,
        pair: Pair {
            live: plan.oid,
            new,
            name: plan.name.clone(),
            new_schema: schemas.new.clone(),
            old_schema: schemas.old.clone(),
            late,
        },
        sequences: making.attached.sequences.iter().map(|s| (s.name.clone(), s.increment)).collect(),
        took: Duration::ZERO,
        warnings: not_carried.collect(),
        written_before: Notes::of(schemas, plan.entry).read(client, Note::Written).await?,
    })
}

impl Making<'_> {
    /// Returns the live table's name in readable form.
    pub(super) fn name(&self) -> String {
        self.plan.name.plain()
    }

    /// Returns a job of statements to run one after the other, each in its own transaction.
    pub(super) fn job(&self, statements: &[String]) -> Job {
        Job { what: format!("building the new table of {}", self.name()), statements: statements.to_vec() }
    }

    /// Returns the names for which statements are read.
    pub(super) fn target<'t>(&'t self, name: &'t TableName) -> Target<'t> {
        Target { live: self.plan.oid, live_name: &self.attached.table.live, new: name }
    }
}

impl Built<'_> {
    /// Returns whether it replaces this table.
    pub(in crate::apply) fn is_of(&self, table: &Ready<'_>) -> bool {
        self.pair.live == table.plan.oid
    }

    /// Returns whether the statistics show writes to the live table during the run, which the exchange discards.
    pub(super) async fn overwritten(&self, client: &Client) -> Option<String> {
        let before = self.written_before?;
        let now = progress_marks::written(client, self.pair.live).await.ok()?;
        (now > before).then(|| {
            let rows = now - before;
            format!(
                "other sessions wrote to the table during the run ({rows} rows inserted, updated or \
                     deleted): their changes are overwritten"
            )
        })
    }
}
