//! The streams: each pairs a connection that reads the snapshot with one that writes staging, and takes chunks until
//! there are none.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;

use super::filter::Work;
use super::pipeline::{self, Extracted, Filter, Filtering, Reading, Watch};
use super::queue::Job;
use super::shared::{Event, Landed, Moved, Shared};
use super::{records, traced};
use crate::backoff::Backoff;
use crate::error::{Error, Kind, Phase, Result};
use crate::extract::{Reader, copy_out_sql};
use crate::load::{Spool, Staging, copy_in_sql, load_chunk};
use crate::pg::session;
use crate::pg::wire::Wire;
use crate::plan::Extent;

/// The first pause before a chunk is repeated.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(500);

/// The longest.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(10);

/// Runs one stream until the queue is closed or the run is cancelled. A panic in it fails whatever has not ended: nobody
/// knows what it leaves undone, and nobody shall wait for it.
pub(crate) async fn run(shared: Arc<Shared>, number: usize, events: mpsc::Sender<Event>) {
    let ended = AssertUnwindSafe(stream(shared.clone(), number, events.clone())).catch_unwind().await;
    if ended.is_err() {
        for table in 0..shared.plan.tables.len() {
            let error = Error::new(Phase::Load, Kind::Internal, format!("stream {number} panicked"));
            let _ = events.send(Event::Failed { table, error }).await;
        }
    }
}

async fn stream(shared: Arc<Shared>, number: usize, events: mpsc::Sender<Event>) {
    let mut links = Links::default();
    loop {
        if shared.slots.shall_give() {
            links.rest(&shared).await;
            if resign(&shared) {
                tracing::warn!(phase = %Phase::Load, stream = number,
                    "no connection slot to apply a group: continuing with fewer streams");
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
        if shared.has_failed(job.table) {
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
        let outcome = match outcome {
            Ok(landed) => shared.seal_if_last(&landed).await.map(|()| landed),
            Err(error) => Err(error),
        };
        let event = match outcome {
            Ok(landed) => Event::Landed(Box::new(landed)),
            Err(error) if error.is_out_of_slots() && resign(&shared) => {
                tracing::warn!(phase = %Phase::Load, stream = number, %error,
                    "no connection slot for this stream: continuing with fewer streams");
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

/// Loads a chunk, repeating it after transient errors unless its table has failed meanwhile.
async fn load(shared: &Arc<Shared>, links: &mut Links, job: Job, stream: usize) -> Result<Landed> {
    let mut backoff = Backoff::new(RETRY_PAUSE_MIN, RETRY_PAUSE_MAX);
    let retries = shared.plan.run.retries;
    let began = Instant::now();
    let mut attempts = 1;
    shared.progress.table(job.table).phase(Phase::Load);
    loop {
        let was_tracing = shared.filters.is_tracing(job.table);
        let had_no_casts = shared.filters.has_no_casts(job.table);
        let outcome = attempt(shared, links, &job, attempts > 1).await;
        let error = match outcome {
            Ok(moved) => {
                let ended = Instant::now();
                return Ok(Landed { job, stream, moved, attempts, began, ended });
            }
            Err(error) => error,
        };
        *links = Links::default();
        if error.is_out_of_slots() {
            shared.early.close().await;
        }
        if !was_tracing && shared.is_refusal(&job, &error) {
            shared.filters.begin_tracing(job.table);
            continue;
        }
        if !had_no_casts && is_about_data(&error) && shared.can_do_without_casts(&job) {
            continue;
        }
        let table = shared.plan.tables[job.table].name.plain();
        let in_chunk = |error: Error| {
            let advice = shared.plan.tables[job.table].advice_on_casts();
            let is_due = error.advice().is_none() && is_about_data(&error);
            // What is said of the table as a whole names it.
            let rest = error.message().strip_prefix(&table);
            let is_named = rest.is_some_and(|rest| rest.starts_with(": "));
            let place = format!("{table}, chunk {}", job.chunk.number);
            let error = if is_named { error } else { error.context(place) };
            match advice.filter(|_| is_due) {
                Some(advice) => error.hint(advice),
                None => error,
            }
        };
        // The attempt before was still on its way when the ledger was asked, and has landed since: the ledger's key
        // kept this one out, and now the ledger knows.
        let has_landed = attempts > 1 && error.code() == Some(&SqlState::UNIQUE_VIOLATION);
        // The last stream waits for a slot as long as locks may be waited for: the applying session may have it.
        let is_slot_due = error.is_out_of_slots() && began.elapsed() < shared.plan.run.lock_wait;
        if !(error.is_transient() || has_landed)
            || (attempts > retries && !is_slot_due)
            || (error.is_out_of_slots() && alive(shared) > 1)
            || shared.has_failed(job.table)
        {
            return Err(in_chunk(error));
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
        if shared.has_failed(job.table) {
            return Err(in_chunk(error));
        }
        attempts += 1;
    }
}

/// Whether a server could not compute a value (class 22).
fn is_about_data(error: &Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("22"))
}

fn alive(shared: &Shared) -> usize {
    shared.alive.load(Ordering::Acquire)
}

/// One attempt at a chunk. A repetition first asks whether it had landed after all.
async fn attempt(shared: &Arc<Shared>, links: &mut Links, job: &Job, is_repeated: bool) -> Result<Moved> {
    let table = &shared.plan.tables[job.table];
    let staging = shared.staging[job.table].as_ref().ok_or_else(|| {
        Error::new(Phase::Load, Kind::Internal, format!("{} has no staging table", table.name.plain()))
    })?;
    let mut target = links.take_target(shared).await?;
    shared.writable.look_again(&mut target, Phase::Load).await?;
    if is_repeated
        && let Some(rows) = shared.ledger.rows_of(&mut target, table.entry, job.chunk.number).await?
    {
        links.target = Some(target);
        let part = shared.filters.part(job.table, job.chunk.number);
        let extracted = part.as_ref().map_or(rows, |part| part.tally.rows_in);
        if part.is_none() {
            shared.filters.keep_plain(table, job.table, job.chunk.number, rows);
        }
        return Ok(Moved { extracted, part, ..Moved::default() });
    }
    let watch = Watch::new(&shared.progress, job.table);
    if let Extent::Csv { .. } = job.chunk.extent {
        let moved = records::move_records(shared, job, staging, &mut target, &watch).await;
        match &moved {
            Ok(_) => links.target = Some(target),
            Err(_) => watch.retract(),
        }
        return moved;
    }
    if shared.losses.begin(job.table) {
        shared.losses.count((job.table, table), shared.snapshot()?, links.source.take()).await?;
    }
    let source = links.take_source(shared).await?;
    let is_lent = source.is_lent();
    let (source, turn) = source.split();
    let (source, moved) = move_rows(shared, job, staging, (source, is_lent), &mut target, &watch).await;
    match source.map(|wire| Reader::join(wire, turn)) {
        // Others wait for it, or the next attempt takes it: what it holds is not to be had again for sure.
        Some(reader) if is_lent || moved.is_err() => shared.snapshot()?.give_back(reader).await,
        reader => links.source = reader,
    }
    match moved {
        Ok(mut moved) => {
            moved.warnings = shared.losses.warnings(job.table);
            links.target = Some(target);
            if moved.part.is_none() {
                shared.filters.keep_plain(table, job.table, job.chunk.number, moved.extracted);
            }
            Ok(moved)
        }
        Err(error) => {
            watch.retract();
            Err(error)
        }
    }
}

/// Moves a chunk's rows. Returns the source's connection if it can be used again, and what was moved.
///
/// The only connection that sees the snapshot (`is_only`) is read to the end of the chunk even if the target refuses
/// it: without that connection no other table could be read.
async fn move_rows(
    shared: &Arc<Shared>,
    job: &Job,
    staging: &Staging,
    (source, is_only): (Wire, bool),
    target: &mut Wire,
    watch: &Watch,
) -> (Option<Wire>, Result<Moved>) {
    let table = &shared.plan.tables[job.table];
    let sql = copy_out_sql(table, &job.chunk.extent);
    let work = match shared.filters.work(&shared.plan, job.table) {
        Ok(work) => work,
        Err(error) => return (Some(source), Err(error)),
    };
    if let Some(work) = work.as_ref().filter(|work| work.is_tracing) {
        return traced::move_rows(shared, job, staging, (source, is_only), target, work.clone(), watch).await;
    }
    let is_filtered = work.is_some();
    let into = match &work {
        Some(work) => work.columns(),
        None => table.extracted().map(|column| column.name.clone()).collect(),
    };
    let filtering = work.map(|work| filtering(shared, job, work, is_only));
    let (reader, mut batches) = pipeline::read(source, sql, shared.pool.clone(), watch.clone(), filtering);
    let reader = AbortOnDrop(reader);
    let loaded = load_chunk(
        target,
        &copy_in_sql(&staging.name, &into, table.format),
        |rows| shared.ledger.enter_sql(table.entry, job.chunk.number, rows),
        &mut batches,
        &shared.pool,
        |bytes| watch.sent(bytes),
    )
    .await;
    let (source, moved) = conclude(reader, batches, loaded, is_only).await;
    let moved = moved.map(|(read, rows)| {
        let part = shared.filters.part(job.table, job.chunk.number).filter(|_| is_filtered);
        let extracted = part.as_ref().map_or(rows, |part| part.tally.rows_in);
        Moved { extracted, bytes_in: read.bytes, bytes_out: watch.bytes_out(), part, ..Moved::default() }
    });
    (source, moved)
}

/// Hears how the reading of a chunk ended, after the loading has. Returns the source's connection if it can be used again, and
/// what both brought.
pub(crate) async fn conclude<T, L>(
    mut reader: AbortOnDrop<Reading>,
    mut rows: mpsc::Receiver<T>,
    loaded: Result<L>,
    is_only: bool,
) -> (Option<Wire>, Result<(Extracted, L)>) {
    // A reader that failed is the cause of a loading that was given up; any other failure is the loading's own.
    let is_own = loaded.as_ref().is_err_and(|error| error.kind() != Kind::Cancelled);
    if is_own && !is_only {
        return (None, Err(loaded.err().unwrap_or_else(|| Error::cancelled(Phase::Load))));
    }
    while rows.recv().await.is_some() {}
    let (source, read) = match reader.outcome().await {
        Ok(reading) => reading,
        Err(error) => return (None, Err(error)),
    };
    let both = match (read, loaded) {
        (_, Err(error)) if is_own => Err(error),
        (Err(error), _) | (_, Err(error)) => Err(error),
        (Ok(read), Ok(loaded)) => Ok((read, loaded)),
    };
    (source, both)
}

/// What is to be done to a chunk's rows on their way.
fn filtering(shared: &Arc<Shared>, job: &Job, work: Arc<Work>, is_to_the_end: bool) -> Filtering {
    let (table, chunk, keeper) = (job.table, job.chunk.number, shared.clone());
    Filtering {
        spool: Spool::new(&work.rejects, chunk),
        line: filter(shared, work, is_to_the_end),
        keep: Box::new(move |part| keeper.filters.keep(table, chunk, part)),
    }
}

/// Who does it.
pub(crate) fn filter(shared: &Arc<Shared>, work: Arc<Work>, is_to_the_end: bool) -> Filter {
    let bounder = shared.clone();
    Filter {
        work,
        workers: shared.workers.clone(),
        is_to_the_end,
        bound: Box::new(move || bounder.filters.bound(&bounder.plan)),
    }
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
        let reader = shared.snapshot()?.open().await?;
        self.cancel.push(reader.wire.cancel_handle());
        Ok(reader)
    }

    async fn take_target(&mut self, shared: &Shared) -> Result<Wire> {
        if let Some(wire) = self.target.take() {
            return Ok(wire);
        }
        let wire = Wire::new(shared.target.open_stream(&shared.load_settings).await?, Phase::Load);
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
        if shared.snapshot.as_ref().is_some_and(|snapshot| !snapshot.outlives_connections()) {
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
pub(crate) struct AbortOnDrop<T>(pub(crate) JoinHandle<T>);

impl<T> AbortOnDrop<T> {
    /// Its result; a panic in it is an error of the chunk.
    pub(crate) async fn outcome(&mut self) -> Result<T> {
        (&mut self.0)
            .await
            .map_err(|e| Error::new(Phase::Load, Kind::Internal, format!("a task of the stream failed: {e}")))
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
