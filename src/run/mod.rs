//! A run: its phases in order.
//!
//! 1. **connect, plan** ([`prepare`]): sessions to both sides, poolers refused, catalogs read, everything decided.
//! 2. **stage** ([`stage`]): state tables, advisory locks, leftovers of dead runs, staging tables.
//! 3. **snapshot** ([`crate::extract::Snapshot`]): source tables locked, snapshot exported.
//! 4. **load** ([`streams`]): chunks of all tables through one queue, each exactly once.
//! 5. **verify, apply** ([`coordinator`]): each group as soon as its rows are complete, while others still load. The indexes of a
//!    new table are built as soon as its own rows are ([`mod@early_index`]).
//! 6. **record, clean**: figures and failures written, staging dropped.

mod advisory_locks;
mod check;
mod clean;
mod column_constants;
mod coordinator;
mod direct_feed;
mod earlier_runs;
mod early_index;
mod filter;
mod group;
mod id;
mod init;
mod live_keys;
mod lock_watch;
mod losses;
mod pipeline;
mod prepare;
mod queue;
mod raws;
mod records;
mod scopes;
mod seed;
mod seen;
mod sessions;
mod slots;
mod stage;
mod status;
mod streams;
mod table_states;
mod target;
mod traced;
mod traced_records;
mod unstarted;
mod verify;
mod watermarks;
mod writable;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use check::{CheckReport, Finding};
pub use clean::CleanReport;
pub use id::RunId;
pub use init::{Proposal, Request as InitRequest, init};
pub use seed::{Request as SeedRequest, Seeding, is_csv};

use crate::batch::BatchPool;
use crate::config::Config;
use crate::error::{Error, Kind, Phase, Result};
use crate::extract::Snapshot;
use crate::extract::csv::Splits;
use crate::pg::name::TableName;
use crate::plan::Plan;
use crate::report::progress::{Expected, Progress, ProgressMode, stalls_after};
use crate::report::status::Status;
use crate::report::verification::Verification;
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

/// Proves that a run could start, and changes nothing.
///
/// # Errors
/// A config that cannot be used at all; everything else is a finding.
pub async fn check(config: Config, options: Options) -> Result<CheckReport> {
    unless_cancelled(&options, Phase::Connect, Box::pin(check::check(config, &options))).await
}

/// Compares source and target, and changes nothing.
///
/// # Errors
/// Whatever keeps them from being compared.
pub async fn verify(config: Config, options: Options) -> Result<Verification> {
    unless_cancelled(&options, Phase::Verify, Box::pin(verify::verify(config, &options))).await
}

/// Tells what the last runs left of a config's tables; asks the target only. `is_source_known` is false where the config's
/// source is a stand-in for one that is not given.
///
/// # Errors
/// The target cannot be reached, or refuses.
pub async fn status(
    config: Config,
    max_age: Option<Duration>,
    is_source_known: bool,
    options: &Options,
) -> Result<Status> {
    unless_cancelled(options, Phase::Connect, Box::pin(status::status(config, max_age, is_source_known)))
        .await
}

/// Removes what dead runs left on the target.
///
/// # Errors
/// The target cannot be reached, or refuses.
pub async fn clean(config: Config, options: Options) -> Result<CleanReport> {
    unless_cancelled(&options, Phase::Clean, clean::clean(config)).await
}

/// Finds out what [`sync`] would have to do to load files, and changes nothing.
///
/// # Errors
/// The target cannot be reached, lacks a table, or has rows in one that nobody said what to do with.
pub async fn prepare_seed(request: SeedRequest, options: &Options) -> Result<Seeding> {
    unless_cancelled(options, Phase::Connect, Box::pin(seed::prepare(request, options))).await
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
            unstarted::record(config, &options, &error).await;
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
async fn begin(config: &Config, options: &Options, run: &RunId) -> Result<stage::Staged> {
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
    staged: stage::Staged,
    snapshot: Option<Snapshot>,
    options: &Options,
    started: (SystemTime, Instant),
) -> Report {
    let plan = staged.plan.clone();
    let progress = progress(&plan, options.progress);
    let renderer = progress.spawn_renderer(options.cancel.clone());
    let streams = snapshot.as_ref().map_or(plan.streams, |snapshot| snapshot.streams(plan.streams));
    let filters = filter::Filters::new(&plan, &staged.run);
    let marks = watermarks::Marks::new(&plan, snapshot.as_ref());
    let shared = Arc::new(streams::Shared {
        queue: queue::Queue::new(&plan, |i| staged.staging[i].is_some(), |i| filters.is_ready(i)),
        filters,
        workers: Arc::new(pipeline::Workers::new(streams)),
        plan: plan.clone(),
        snapshot,
        splits: Splits::default(),
        marks,
        ledger: staged.ledger(),
        staging: staged.staging.clone(),
        failed: plan.tables.iter().map(|_| AtomicBool::new(false)).collect(),
        target: staged.target.clone(),
        writable: writable::Writable::new(staged.target.info.label()),
        load_settings: staged.sessions.load(&plan),
        pool: BatchPool::default(),
        early: early_index::Early::new(&staged, &progress, &options.cancel),
        progress: progress.clone(),
        cancel: options.cancel.clone(),
        losses: losses::Losses::new(&plan),
        alive: AtomicUsize::new(streams),
        slots: slots::Slots::default(),
    });
    tracing::info!(phase = %Phase::Load, "loading");
    let live_keys = tokio::spawn(live_keys::fetch(shared.clone()));
    let (events, received) = mpsc::channel(64);
    let workers: Vec<_> = (0..streams)
        .map(|number| tokio::spawn(streams::run(shared.clone(), number, events.clone())))
        .collect();
    drop(events);

    let mut board = coordinator::run(&staged, &shared, received, started.1).await;

    shared.early.close().await;
    shared.queue.close();
    for worker in workers {
        if worker.await.is_err() {
            tracing::error!(phase = %Phase::Load, "a stream panicked");
        }
    }
    live_keys.abort();
    let _ = live_keys.await;
    for (table, path) in shared.filters.tidy(&plan).await {
        board.rejects_are_in(table, path);
    }
    for (table, entry) in plan.tables.iter().enumerate() {
        board.gave_up(table, shared.filters.parts(table));
        raws::complete(&plan, table, shared.filters.rejects_path(entry), &options.cancel).await;
    }
    let tables = tables(&plan, &board, options.mode);
    staged.record(&board).await;
    if let Some(snapshot) = Arc::into_inner(shared).and_then(|shared| shared.snapshot) {
        snapshot.release().await;
    }
    fail::fail_point!("record.done");
    staged.tidy().await;
    progress.finish();
    let _ = renderer.await;
    let report = Report {
        run_id: staged.run.as_str().to_owned(),
        started_at: started.0,
        duration: started.1.elapsed(),
        mode: options.mode,
        tables,
    };
    let failed = report.tables.iter().filter(|table| !table.ok).count();
    tracing::info!(phase = %Phase::Record, run = %staged.run, rows = report.rows_applied(), failed,
        duration_ms = millis(report.duration), "the run has ended");
    report
}

/// The reports of all tables, in the config's order.
fn tables(plan: &Plan, board: &table_states::Board<'_>, mode: Mode) -> Vec<TableReport> {
    let loaded = plan.tables.iter().enumerate().map(|(i, table)| (table.entry, board.report(i)));
    let failed = plan.failed.iter().map(|table| (table.entry, unstarted::failed_in_plan(table, mode)));
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
async fn unless_cancelled<T>(
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
                tracing::warn!(phase = %phase, "this takes {lasts} already: a server is slow, or does not answer");
                pause *= 2;
            }
        }
    }
}

/// Keeps of a config the tables that the command line names.
fn select(config: &mut Config, tables: &[TableName]) -> Result<()> {
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
