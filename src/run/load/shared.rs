//! The state that all streams of a run share, and the messages that they send to the coordinator.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::early_index::Early;
use super::filter::{Filters, Part};
use super::losses::Losses;
use super::pipeline::Workers;
use super::queue::{Job, Queue};
use super::slots::Slots;
use super::watermarks::Marks;
use super::writable::Writable;
use crate::batch::BatchPool;
use crate::error::{Error, Kind, Phase, Result};
use crate::extract::Snapshot;
use crate::extract::csv::Splits;
use crate::load::{Destination, Ledger, Refusal, Staging};
use crate::pg::session::SessionSettings;
use crate::plan::Plan;
use crate::report::progress::Progress;
use crate::run::stage::Staged;
use crate::run::target::Target;

/// What all streams of a run share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) plan: Arc<Plan>,
    /// `None` where all rows come from files.
    pub(crate) snapshot: Option<Snapshot>,
    /// Where the parts of files begin.
    pub(crate) splits: Splits,
    pub(crate) queue: Queue,
    /// What is judged while rows stream by.
    pub(crate) filters: Filters,
    /// Who does it.
    pub(crate) workers: Arc<Workers>,
    pub(crate) ledger: Ledger,
    /// Per table of the plan; `None` where its method needs none.
    pub(crate) staging: Vec<Option<Staging>>,
    /// Per table of the plan, what is recorded for the next run to begin from.
    pub(crate) marks: Marks,
    /// Per table: it has failed, its chunks are not worth loading.
    pub(crate) failed: Vec<AtomicBool>,
    pub(crate) target: Target,
    /// Whether the target still takes writes.
    pub(crate) writable: Writable,
    pub(crate) load_settings: SessionSettings,
    pub(crate) pool: BatchPool,
    /// What is done to new tables meanwhile.
    pub(crate) early: Arc<Early>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) cancel: CancellationToken,
    /// The rows that casts change.
    pub(crate) losses: Losses,
    /// Streams that are still at work.
    pub(crate) alive: AtomicUsize,
    /// Connections that streams give to the applying session.
    pub(crate) slots: Slots,
}

/// A chunk that is in staging.
#[derive(Debug, Clone)]
pub(crate) struct Landed {
    pub(crate) job: Job,
    pub(crate) stream: usize,
    /// What was moved.
    pub(crate) moved: Moved,
    pub(crate) attempts: u32,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
}

/// The rows of a chunk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Moved {
    /// Rows that the source sent.
    pub(crate) extracted: u64,
    /// Bytes of COPY data from the source; 0 if the chunk turned out to have landed before.
    pub(crate) bytes_in: u64,
    /// Bytes of COPY data to the target, likewise.
    pub(crate) bytes_out: u64,
    /// What became of the rows, if they were judged on their way.
    pub(crate) part: Option<Part>,
    /// What was found out about the table besides.
    pub(crate) warnings: Vec<String>,
}

/// What a stream tells the run.
#[derive(Debug)]
pub(crate) enum Event {
    /// A chunk is in staging.
    Landed(Box<Landed>),
    /// A chunk cannot be loaded.
    Failed { table: usize, error: Error },
}

impl Shared {
    /// The state of a run whose streams have not begun.
    pub(crate) fn new(
        staged: &Staged,
        snapshot: Option<Snapshot>,
        progress: Arc<Progress>,
        cancel: &CancellationToken,
    ) -> Self {
        let plan = staged.plan.clone();
        let streams = snapshot.as_ref().map_or(plan.streams, |snapshot| snapshot.streams(plan.streams));
        let filters = Filters::new(&plan, &staged.run);
        Self {
            queue: Queue::new(&plan, |i| staged.staging[i].is_some(), |i| filters.is_ready(i)),
            filters,
            workers: Arc::new(Workers::new(streams)),
            marks: Marks::new(&plan, snapshot.as_ref()),
            snapshot,
            splits: Splits::default(),
            ledger: staged.ledger(),
            staging: staged.staging.clone(),
            failed: plan.tables.iter().map(|_| AtomicBool::new(false)).collect(),
            target: staged.target.clone(),
            writable: Writable::new(staged.target.info.label()),
            load_settings: staged.sessions.load(&plan),
            pool: BatchPool::default(),
            early: Early::new(staged, &progress, cancel),
            progress,
            cancel: cancel.clone(),
            losses: Losses::new(&plan),
            alive: AtomicUsize::new(streams),
            slots: Slots::default(),
            plan,
        }
    }

    /// The snapshot that tables of the source are read from.
    pub(crate) fn snapshot(&self) -> Result<&Snapshot> {
        self.snapshot
            .as_ref()
            .ok_or_else(|| Error::new(Phase::Load, Kind::Internal, "no source was connected to"))
    }

    /// Whether an error is about a row that the target does not take.
    pub(crate) fn is_refusal(&self, job: &Job, error: &Error) -> bool {
        let Some(staging) = &self.staging[job.table] else { return false };
        let live = &self.plan.tables[job.table].name;
        Refusal::of(error, &Destination::new(&staging.name, live, Vec::new())).is_some()
    }

    /// Whether a table is read, from now on or since another stream has found out, without the casts of the source that may
    /// have failed.
    pub(crate) fn can_do_without_casts(&self, job: &Job) -> bool {
        let begins = self.filters.leave_out_casts(&self.plan, job.table);
        if begins {
            let table = self.plan.tables[job.table].name.plain();
            tracing::warn!(phase = %Phase::Load, table,
                "the source cannot cast some of its values: the target reads them as text instead");
        }
        begins || self.filters.has_no_casts(job.table)
    }

    /// Whether a table has failed: nothing of it is worth loading.
    pub(crate) fn has_failed(&self, table: usize) -> bool {
        self.failed[table].load(Ordering::Relaxed)
    }

    /// When a table's last chunk has landed its keys are known, and those that waited for them may begin.
    pub(crate) async fn seal_if_last(&self, landed: &Landed) -> Result<()> {
        let table = landed.job.table;
        if !self.queue.landed(&landed.job) {
            return Ok(());
        }
        self.filters.seal(&self.plan, table).await?;
        self.queue.release(|table| self.filters.is_ready(table));
        Ok(())
    }
}
