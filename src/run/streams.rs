//! The streams: each pairs a connection that reads the snapshot with one that writes staging, and takes chunks until
//! there are none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_util::sync::CancellationToken;

use super::pipeline::{self, Reading, Watch};
use super::queue::{Job, Queue};
use super::slots::Slots;
use crate::backoff::Backoff;
use crate::batch::{BatchPool, Flow};
use crate::error::{Error, Kind, Phase, Result};
use crate::extract::{Reader, Snapshot, copy_out_sql};
use crate::load::{Ledger, Staging, copy_in_sql, load_chunk};
use crate::pg::conninfo::ConnInfo;
use crate::pg::session::{self, SessionSettings};
use crate::pg::wire::Wire;
use crate::plan::Plan;
use crate::report::progress::Progress;

/// The first pause before a chunk is repeated.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(500);

/// The longest.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(10);

/// What all streams of a run share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) plan: Arc<Plan>,
    pub(super) snapshot: Snapshot,
    pub(super) queue: Queue,
    pub(super) ledger: Ledger,
    /// Per table of the plan; `None` where its method needs none.
    pub(super) staging: Vec<Option<Staging>>,
    /// Per table: it has failed, its chunks are not worth loading.
    pub(super) failed: Vec<AtomicBool>,
    pub(super) target: ConnInfo,
    pub(super) load_settings: SessionSettings,
    pub(super) pool: BatchPool,
    pub(super) progress: Arc<Progress>,
    pub(super) cancel: CancellationToken,
    /// Streams that are still at work.
    pub(super) alive: AtomicUsize,
    /// Connections that streams give to the applying session.
    pub(super) slots: Slots,
}

/// A chunk that is in staging.
#[derive(Debug, Clone)]
pub(super) struct Landed {
    pub(super) job: Job,
    pub(super) stream: usize,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) attempts: u32,
    pub(super) began: Instant,
    pub(super) ended: Instant,
}

/// What a stream tells the run.
#[derive(Debug)]
pub(super) enum Event {
    /// A chunk is in staging.
    Landed(Landed),
    /// A chunk cannot be loaded.
    Failed { table: usize, error: Error },
}

/// Runs one stream until the queue is closed or the run is cancelled.
pub(super) async fn stream(shared: Arc<Shared>, number: usize, events: mpsc::Sender<Event>) {
    let mut links = Links::default();
    loop {
        if shared.slots.shall_give() {
            links.rest(&shared).await;
            if resign(&shared) {
                tracing::warn!(phase = %Phase::Load, stream = number,
                    "no connection slot to apply a group: going on with fewer streams");
                return links.close().await;
            }
            tokio::select! {
                () = shared.slots.released() => {}
                () = shared.cancel.cancelled() => break,
            }
        }
        let job = match shared.queue.try_next() {
            Some(job) => Some(job),
            None => {
                // Chunks come only after a crash now, and others may need the slots.
                links.rest(&shared).await;
                tokio::select! {
                    job = shared.queue.next() => job,
                    () = shared.cancel.cancelled() => None,
                }
            }
        };
        let Some(job) = job else { break };
        if shared.failed[job.table].load(Ordering::Relaxed) {
            continue;
        }
        let table = job.table;
        let outcome = tokio::select! {
            outcome = load(&shared, &mut links, job.clone(), number) => outcome,
            () = shared.cancel.cancelled() => {
                links.cancel().await;
                break;
            }
        };
        let event = match outcome {
            Ok(landed) => Event::Landed(landed),
            Err(error) if error.is_out_of_slots() && resign(&shared) => {
                tracing::warn!(phase = %Phase::Load, stream = number, %error,
                    "no connection slot for this stream: going on with fewer streams");
                shared.queue.put_back([job]);
                return;
            }
            Err(error) => Event::Failed { table, error },
        };
        if events.send(event).await.is_err() {
            break;
        }
    }
    shared.alive.fetch_sub(1, Ordering::AcqRel);
    links.close().await;
}

/// Leaves the work to the other streams, if there is one.
fn resign(shared: &Shared) -> bool {
    shared
        .alive
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |alive| (alive > 1).then(|| alive - 1))
        .is_ok()
}

/// Loads a chunk, repeating it after transient errors.
async fn load(shared: &Shared, links: &mut Links, job: Job, stream: usize) -> Result<Landed> {
    let mut backoff = Backoff::new(RETRY_PAUSE_MIN, RETRY_PAUSE_MAX);
    let retries = shared.plan.run.retries;
    let began = Instant::now();
    let mut attempts = 1;
    shared.progress.table(job.table).phase(Phase::Load);
    loop {
        let outcome = attempt(shared, links, &job, attempts > 1).await;
        let error = match outcome {
            Ok((rows, bytes)) => {
                let ended = Instant::now();
                return Ok(Landed { job, stream, rows, bytes, attempts, began, ended });
            }
            Err(error) => error,
        };
        *links = Links::default();
        let table = shared.plan.tables[job.table].name.plain();
        // The attempt before was still on its way when the ledger was asked, and has landed since: the ledger's key
        // kept this one out, and now the ledger knows.
        let has_landed = attempts > 1 && error.code() == Some(&SqlState::UNIQUE_VIOLATION);
        // The last stream waits for a slot as long as locks may be waited for: the applying session may have it.
        let is_slot_due = error.is_out_of_slots() && began.elapsed() < shared.plan.run.lock_wait;
        if !(error.is_transient() || has_landed)
            || (attempts > retries && !is_slot_due)
            || (error.is_out_of_slots() && alive(shared) > 1)
        {
            return Err(error.context(format!("{table}, chunk {}", job.chunk.number)));
        }
        let pause = backoff.pause();
        tracing::warn!(phase = %Phase::Load, table, chunk = job.chunk.number, attempt = attempts, %error,
            "repeating the chunk in {pause:.1?}");
        shared.progress.table(job.table).note(format!(
            "chunk {} again, attempt {}",
            job.chunk.number,
            attempts + 1
        ));
        tokio::time::sleep(pause).await;
        attempts += 1;
    }
}

fn alive(shared: &Shared) -> usize {
    shared.alive.load(Ordering::Acquire)
}

/// One attempt at a chunk; returns its rows and bytes. A repetition first asks whether it had landed after all.
async fn attempt(shared: &Shared, links: &mut Links, job: &Job, is_repeated: bool) -> Result<(u64, u64)> {
    let table = &shared.plan.tables[job.table];
    let staging = shared.staging[job.table].as_ref().ok_or_else(|| {
        Error::new(Phase::Load, Kind::Internal, format!("{} has no staging table", table.name.plain()))
    })?;
    let mut target = links.take_target(shared).await?;
    if is_repeated
        && let Some(rows) = shared.ledger.rows_of(&mut target, table.entry, job.chunk.number).await?
    {
        links.target = Some(target);
        return Ok((rows, 0));
    }
    let source = links.take_source(shared).await?;
    let watch = Watch::new(&shared.progress, job.table);
    let is_lent = source.is_lent();
    let (source, turn) = source.split();
    let (source, moved) = move_rows(shared, job, staging, (source, is_lent), &mut target, &watch).await;
    match source.map(|wire| Reader::join(wire, turn)) {
        // Others wait for it, or the next attempt takes it: what it holds is not to be had again for sure.
        Some(reader) if is_lent || moved.is_err() => shared.snapshot.give_back(reader).await,
        reader => links.source = reader,
    }
    match moved {
        Ok((rows, bytes)) => {
            links.target = Some(target);
            Ok((rows, bytes))
        }
        Err(error) => {
            watch.retract();
            Err(error)
        }
    }
}

/// Moves a chunk's rows. Returns the source's connection if it can be used again; rows and bytes.
///
/// The only connection that sees the snapshot (`is_only`) is read to the end of the chunk even if the target refuses
/// it: without that connection no other table could be read.
async fn move_rows(
    shared: &Shared,
    job: &Job,
    staging: &Staging,
    (source, is_only): (Wire, bool),
    target: &mut Wire,
    watch: &Watch,
) -> (Option<Wire>, Result<(u64, u64)>) {
    let table = &shared.plan.tables[job.table];
    let sql = copy_out_sql(table, &job.chunk.extent);
    let (reader, mut batches) = pipeline::read(source, sql, shared.pool.clone(), watch.clone());
    let mut reader = AbortOnDrop(reader);
    let loaded = load_chunk(
        target,
        &copy_in_sql(&staging.name, table),
        |rows| shared.ledger.enter_sql(table.entry, job.chunk.number, rows),
        &mut batches,
        &shared.pool,
        |bytes| watch.sent(bytes),
    )
    .await;
    // A reader that failed is the cause of a loading that was given up; any other failure is the loading's own.
    let is_own = loaded.as_ref().is_err_and(|error| error.kind() != Kind::Cancelled);
    if is_own && !is_only {
        return (None, loaded.map(|rows| (rows, 0)));
    }
    while let Some(flow) = batches.recv().await {
        if let Flow::Batch(batch) = flow {
            shared.pool.give_back(batch);
        }
    }
    let (source, read) = match reader.outcome().await {
        Ok(reading) => reading,
        Err(error) => return (None, Err(error)),
    };
    let moved = match (read, loaded) {
        (_, Err(error)) if is_own => Err(error),
        (Err(error), _) | (_, Err(error)) => Err(error),
        (Ok(read), Ok(rows)) => Ok((rows, read.bytes)),
    };
    (source, moved)
}

/// The connections of a stream, opened when first needed, thrown away after an error.
#[derive(Debug, Default)]
struct Links {
    source: Option<Reader>,
    target: Option<Wire>,
    cancel: Vec<session::CancelHandle>,
}

impl Links {
    async fn take_source(&mut self, shared: &Shared) -> Result<Reader> {
        if let Some(reader) = self.source.take() {
            return Ok(reader);
        }
        let reader = shared.snapshot.open().await?;
        self.cancel.push(reader.wire.cancel_handle());
        Ok(reader)
    }

    async fn take_target(&mut self, shared: &Shared) -> Result<Wire> {
        if let Some(wire) = self.target.take() {
            return Ok(wire);
        }
        let wire = Wire::new(session::open_stream(&shared.target, &shared.load_settings).await?, Phase::Load);
        self.cancel.push(wire.cancel_handle());
        Ok(wire)
    }

    /// Asks the servers to stop what these connections are doing.
    async fn cancel(&mut self) {
        futures::future::join_all(self.cancel.iter().map(session::CancelHandle::cancel)).await;
    }

    /// Closes the connections until the next chunk; not one that is the snapshot.
    async fn rest(&mut self, shared: &Shared) {
        let mut links = std::mem::take(self);
        if !shared.snapshot.outlives_connections() {
            self.source = links.source.take();
            self.cancel = std::mem::take(&mut links.cancel);
        }
        links.close().await;
    }

    async fn close(self) {
        for wire in [self.source.map(|reader| reader.wire), self.target].into_iter().flatten() {
            wire.close().await;
        }
    }
}

/// A task that ends when nobody waits for it any more.
struct AbortOnDrop(JoinHandle<Reading>);

impl AbortOnDrop {
    /// Its result; a panic in it is an error of the chunk.
    async fn outcome(&mut self) -> Result<Reading> {
        (&mut self.0)
            .await
            .map_err(|e| Error::new(Phase::Load, Kind::Internal, format!("the reading task failed: {e}")))
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
