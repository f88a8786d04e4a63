//! A run: its phases in order.
//!
//! 1. **connect, plan** ([`mod@prepare`]): sessions to both sides, poolers refused, catalogs read, everything decided.
//! 2. **stage** ([`mod@stage`]): state tables, advisory locks, leftovers of dead runs, staging tables.
//! 3. **snapshot** ([`crate::extract::Snapshot`]): source tables locked, snapshot exported.
//! 4. **load** ([`mod@load`]): chunks of all tables through one queue, each exactly once.
//! 5. **verify, apply** ([`mod@apply`]): each group as soon as its rows are complete, while others still load. The indexes of a
//!    new table are built as soon as its own rows are ([`load::early_index`]).
//! 6. **record, clean** ([`mod@record`]): figures and failures written, staging dropped.

pub(crate) mod apply;
pub(crate) mod id;
pub(crate) mod load;
pub(crate) mod lock_watch;
pub(crate) mod prepare;
pub(crate) mod record;
pub(crate) mod sessions;
pub(crate) mod stage;
pub(crate) mod target;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio_util::sync::CancellationToken;

pub use id::RunId;

use self::apply::coordinator;
use self::apply::table_states::Board;
use self::load::shared::Shared;
use self::stage::Staged;

use crate::config::Config;
use crate::error::{Error, Kind, Phase, Result};
use crate::extract::Snapshot;
use crate::pg::name::TableName;
use crate::plan::Plan;
use crate::report::progress::{Expected, Progress, ProgressMode, stalls_after};
use crate::report::{Mode, Report, TableReport, millis};

/// What the command line adds to the config.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The id of the run.
    pub run: RunId,
    /// Whether all rows are wanted or those that changed.
    pub mode: Mode,
    /// Only these tables of the config; all if empty.
    pub tables: Vec<TableName>,
    /// Overrides `[run] jobs`.
    pub jobs: Option<usize>,
    /// Whether progress is shown.
    pub progress: ProgressMode,
    /// Stops the run: queries are cancelled, transactions rolled back, staging is dropped.
    pub cancel: CancellationToken,
}

/// Decides what [`sync`] would do, and changes nothing.
///
/// # Errors
/// Whatever would keep `sync` from starting.
pub async fn plan(config: Config, options: Options) -> Result<Plan> {
    let run = RunId::now();
    let prepared =
        unless_cancelled(&options, Phase::Plan, Box::pin(prepare::prepare(config, &options, &run))).await?;
    Ok(prepared.plan)
}

/// Runs the whole job. Tables that fail are in the report; an error means that nothing was begun.
///
/// # Errors
/// Whatever keeps the run from starting: nothing was touched then.
pub async fn sync(config: Config, options: Options) -> Result<Report> {
    let started = (SystemTime::now(), Instant::now());
    let run = options.run.clone();
    tracing::info!(phase = %Phase::Connect, run = %run, "a run begins");
    let staged = match begin(&config, &options, &run).await {
        Ok(staged) => staged,
        Err(error) => {
            record::unstarted::record(config, &options, &error).await;
            return Err(error);
        }
    };
    fail::fail_point!("stage.done");
    let snapshot = unless_cancelled(&options, Phase::Snapshot, Box::pin(staged.snapshot())).await;
    fail::fail_point!("snapshot.taken");
    let snapshot = match snapshot {
        Ok(snapshot) => snapshot,
        Err(error) => {
            staged.record_failure(&error).await;
            staged.tidy().await;
            return Err(error);
        }
    };
    Ok(load_and_exchange(staged, snapshot, &options, started).await)
}

/// How often a plan is made that is outdated by the time its tables are to be had.
const PLANS_MAX: usize = 3;

/// Plans and stages, anew if another run has exchanged a table in between.
async fn begin(config: &Config, options: &Options, run: &RunId) -> Result<Staged> {
    let mut plans = 0;
    loop {
        let prepare = Box::pin(prepare::prepare(config.clone(), options, run));
        let mut prepared = unless_cancelled(options, Phase::Connect, prepare).await?;
        if let Some(error) = prepared.unwritable.take() {
            return Err(error);
        }
        let Plan { tables, groups, streams, .. } = &prepared.plan;
        tracing::info!(phase = %Phase::Plan, tables = tables.len(), transactions = groups.len(), streams, "planned");
        for table in &prepared.plan.failed {
            let error = &table.error;
            tracing::error!(phase = %Phase::Plan, table = table.name.plain(), %error, "failed");
        }
        fail::fail_point!("plan.done");
        let stage = Box::pin(stage::stage(prepared, (run, options.mode), &options.cancel));
        plans += 1;
        match unless_cancelled(options, Phase::Stage, stage).await? {
            stage::Begun::Staged(staged) => return Ok(*staged),
            stage::Begun::Outdated(error) if plans == PLANS_MAX => return Err(error),
            stage::Begun::Outdated(error) => {
                tracing::info!(phase = %Phase::Stage, "{error}; planning again");
            }
        }
    }
}

async fn load_and_exchange(
    staged: Staged,
    snapshot: Option<Snapshot>,
    options: &Options,
    (started_at, began): (SystemTime, Instant),
) -> Report {
    let progress = progress(&staged.plan, options.progress);
    let renderer = progress.spawn_renderer(options.cancel.clone());
    let shared = Arc::new(Shared::new(&staged, snapshot, progress.clone(), &options.cancel));

    let (loading, events) = load::start(&shared);
    let mut board = coordinator::run(&staged, &shared, events, began).await;
    loading.finish(&shared).await;

    record::rejects(&shared, &mut board, &options.cancel).await;
    let tables = tables(&staged.plan, &board, options.mode);
    staged.record(&board).await;
    if let Some(snapshot) = Arc::into_inner(shared).and_then(|shared| shared.snapshot) {
        snapshot.release().await;
    }
    fail::fail_point!("record.done");
    staged.tidy().await;
    progress.finish();
    let _ = renderer.await;

    let duration = began.elapsed();
    let report =
        Report { run_id: staged.run.as_str().to_owned(), started_at, duration, mode: options.mode, tables };
    let failed = report.tables.iter().filter(|table| !table.ok).count();
    tracing::info!(phase = %Phase::Record, run = %staged.run, rows = report.rows_applied(), failed,
        duration_ms = millis(report.duration), "the run has ended");
    report
}

/// The reports of all tables, in the config's order.
fn tables(plan: &Plan, board: &Board<'_>, mode: Mode) -> Vec<TableReport> {
    let loaded = plan.tables.iter().enumerate().map(|(i, table)| (table.entry, board.report(i)));
    let failed = plan.failed.iter().map(|table| (table.entry, stage::failed_in_plan(table, mode)));
    let mut tables: Vec<(usize, TableReport)> = loaded.chain(failed).collect();
    tables.sort_by_key(|(entry, _)| *entry);
    tables.into_iter().map(|(_, table)| table).collect()
}

fn progress(plan: &Plan, mode: ProgressMode) -> Arc<Progress> {
    let tables = plan
        .tables
        .iter()
        .map(|table| Expected {
            name: table.name.plain(),
            rows: table.row_estimate,
            bytes: table.bytes,
            chunks: table.chunks.len() as u64,
        })
        .collect();
    Progress::new(mode, tables)
}

/// Gives up a phase before anything was begun when the run is cancelled, and tells of one that does not end: a server that
/// hangs keeps its connection open.
pub(crate) async fn unless_cancelled<T>(
    options: &Options,
    phase: Phase,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let mut work = std::pin::pin!(work);
    let began = Instant::now();
    let mut pause = stalls_after();
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = options.cancel.cancelled() => return Err(Error::cancelled(phase)),
            () = tokio::time::sleep(pause) => {
                let lasts = humantime::format_duration(Duration::from_secs(began.elapsed().as_secs().max(1)));
                tracing::warn!(phase = %phase, "still waiting after {lasts}: a server is slow or does not answer");
                pause *= 2;
            }
        }
    }
}

/// Keeps of a config the tables that the command line names.
pub(crate) fn select(config: &mut Config, tables: &[TableName]) -> Result<()> {
    if let Some(unknown) = tables.iter().find(|name| config.tables.iter().all(|t| t.name.value != **name)) {
        let known: Vec<String> = config.tables.iter().map(|table| table.name.value.plain()).collect();
        return Err(Error::new(
            Phase::Config,
            Kind::Config,
            format!("--table {}: the config has no such table", unknown.plain()),
        )
        .hint(format!("It has {}.", known.join(", "))));
    }
    if !tables.is_empty() {
        config.tables.retain(|table| tables.contains(&table.name.value));
    }
    Ok(())
}
