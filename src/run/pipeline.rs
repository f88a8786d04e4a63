//! One chunk from source to staging: a reading task and a writing one, joined by a bounded channel of batches.
//!
//! Rows that are judged on their way pass a third task between the two, which cuts them into whole rows, has them worked
//! on by a pool of threads, and hands on what passes in the order in which it came. This is the one file that knows both
//! tokio, which does the I/O, and rayon, which does the computing; they meet at [`Workers::run`].

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::filter::{Done, Part, Work};
use crate::batch::{Batch, BatchPool, Flow};
use crate::error::{Error, Kind, Phase, Result};
use crate::load::Spool;
use crate::pg::wire::Wire;
use crate::report::progress::Progress;
use crate::transform::{RowCutter, Rows, header, trailer};

/// Batches between reader and writer. A quarter of a megabyte per stream is enough for one to work while the other waits;
/// more was not faster.
pub(super) const BATCHES_IN_FLIGHT: usize = 8;

/// Counts the rows of one attempt at a chunk as they go by, for the operator.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    progress: Arc<Progress>,
    table: usize,
    counted: Arc<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    rows: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Watch {
    pub(super) fn new(progress: &Arc<Progress>, table: usize) -> Self {
        Self { progress: progress.clone(), table, counted: Arc::default() }
    }

    fn received(&self, rows: u64, bytes: u64) {
        self.counted.rows.fetch_add(rows, Ordering::Relaxed);
        self.counted.bytes_in.fetch_add(bytes, Ordering::Relaxed);
        self.progress.table(self.table).add(rows, bytes, 0);
    }

    /// The source says how many rows these were: COPY's own header and trailer came as if they were rows.
    fn settle(&self, rows: u64) {
        let surplus = self.counted.rows.load(Ordering::Relaxed).saturating_sub(rows);
        self.counted.rows.fetch_sub(surplus, Ordering::Relaxed);
        self.progress.table(self.table).retract(surplus, 0, 0);
    }

    /// Counts bytes that were sent to the target.
    pub(super) fn sent(&self, bytes: u64) {
        self.counted.bytes_out.fetch_add(bytes, Ordering::Relaxed);
        self.progress.table(self.table).add(0, 0, bytes);
    }

    /// Bytes that were sent to the target.
    pub(super) fn bytes_out(&self) -> u64 {
        self.counted.bytes_out.load(Ordering::Relaxed)
    }

    /// Takes everything back: the attempt failed, and what it moved will be moved again.
    pub(super) fn retract(&self) {
        let Counted { rows, bytes_in, bytes_out } = &*self.counted;
        let [rows, bytes_in, bytes_out] = [rows, bytes_in, bytes_out].map(|n| n.swap(0, Ordering::Relaxed));
        self.progress.table(self.table).retract(rows, bytes_in, bytes_out);
    }
}

/// What a reader leaves: its connection, if it can be used again, and how it ended.
pub(super) type Reading = (Option<Wire>, Result<Extracted>);

/// What a reader read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extracted {
    /// Rows that the source reports.
    pub(super) rows: u64,
    /// Bytes of COPY data.
    pub(super) bytes: u64,
}

/// Starts reading `sql` (a COPY … TO STDOUT). The channel ends with [`Flow::End`], or without it if the source failed.
/// A receiver that goes away ends the reading.
pub(super) fn read(
    wire: Wire,
    sql: String,
    pool: BatchPool,
    watch: Watch,
) -> (JoinHandle<Reading>, mpsc::Receiver<Flow>) {
    let (sender, receiver) = mpsc::channel(BATCHES_IN_FLIGHT);
    let task = tokio::spawn(async move {
        let mut wire = wire;
        let outcome = copy_out(&mut wire, &sql, &pool, &watch, &sender).await;
        let usable = wire.is_usable();
        (usable.then_some(wire), outcome)
    });
    (task, receiver)
}

async fn copy_out(
    wire: &mut Wire,
    sql: &str,
    pool: &BatchPool,
    watch: &Watch,
    sender: &mpsc::Sender<Flow>,
) -> Result<Extracted> {
    let mut copy = wire.copy_out(sql).await?;
    let mut bytes = 0;
    while let Some(batch) = copy.next(pool).await? {
        let size = batch.len() as u64;
        bytes += size;
        watch.received(batch.messages, size);
        sender.send(Flow::Batch(batch)).await.map_err(|_| gone())?;
    }
    let rows = copy
        .rows()
        .ok_or_else(|| Error::new(Phase::Load, Kind::Internal, "a COPY ended without its row count"))?;
    watch.settle(rows);
    sender.send(Flow::End { rows }).await.map_err(|_| gone())?;
    Ok(Extracted { rows, bytes })
}

/// Batches of one stream that are worked on at once: one for each of a few cores, so that one stream alone can keep them
/// busy, and no more memory than the channels have.
const BATCHES_AT_WORK: usize = 4;

/// The threads that rows are worked on by, one for each core; started when first needed.
#[derive(Debug, Default)]
pub(super) struct Workers {
    pool: OnceLock<std::result::Result<rayon::ThreadPool, String>>,
}

impl Workers {
    /// Has a batch worked on. A panic in it is an error.
    pub(super) fn run(
        &self,
        work: &Arc<Work>,
        rows: Rows,
        out: Batch,
    ) -> impl Future<Output = Result<Done>> + Send + use<> {
        let (sender, receiver) = oneshot::channel();
        let work = work.clone();
        let job = move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                fail::fail_point!("load.transform");
                work.run(rows, out)
            }));
            // Before the result is: who has it may count on nobody else using the program.
            drop(work);
            // Nobody waits for it any more if the chunk was given up.
            let _ = sender.send(outcome.unwrap_or_else(|_| Err(broken("a worker panicked"))));
        };
        let started = self.pool().map(|pool| pool.spawn(job));
        async move {
            started?;
            receiver.await.unwrap_or_else(|_| Err(broken("a worker went away")))
        }
    }

    fn pool(&self) -> Result<&rayon::ThreadPool> {
        let start = || {
            let builder = rayon::ThreadPoolBuilder::new().thread_name(|number| format!("transform-{number}"));
            builder.build().map_err(|error| error.to_string())
        };
        self.pool.get_or_init(start).as_ref().map_err(|error| broken(error))
    }
}

fn broken(what: &str) -> Error {
    Error::new(Phase::Load, Kind::Internal, format!("transforming rows: {what}"))
}

/// What is done to the rows of one attempt at a chunk.
pub(super) struct Filtering {
    pub(super) work: Arc<Work>,
    pub(super) workers: Arc<Workers>,
    pub(super) pool: BatchPool,
    /// Where the chunk's rejects go.
    pub(super) spool: Spool,
    /// Whether the rows are to be taken to the last one even if something is wrong with them.
    pub(super) is_to_the_end: bool,
}

/// Puts the rows that come out of `batches` through a program. `keep` is called with what became of the chunk before the
/// channel ends with [`Flow::End`]; a channel that ends without it means that something failed.
pub(super) fn transform(
    filtering: Filtering,
    mut batches: mpsc::Receiver<Flow>,
    keep: impl Fn(Part) + Send + Sync + 'static,
    after_batch: impl Fn() + Send + Sync + 'static,
) -> (JoinHandle<Result<()>>, mpsc::Receiver<Flow>) {
    let (sender, receiver) = mpsc::channel(BATCHES_IN_FLIGHT);
    let task = tokio::spawn(async move {
        let (pool, is_to_the_end) = (filtering.pool.clone(), filtering.is_to_the_end);
        let outcome = filter(filtering, &mut batches, &sender, keep, after_batch).await;
        while is_to_the_end && outcome.is_err() {
            match batches.recv().await {
                Some(Flow::Batch(batch)) => pool.give_back(batch),
                Some(Flow::End { .. }) | None => break,
            }
        }
        outcome
    });
    (task, receiver)
}

async fn filter(
    filtering: Filtering,
    batches: &mut mpsc::Receiver<Flow>,
    sender: &mpsc::Sender<Flow>,
    keep: impl Fn(Part),
    after_batch: impl Fn(),
) -> Result<()> {
    let Filtering { work, workers, pool, spool, .. } = filtering;
    let format = work.rules().format;
    let mut cutter = RowCutter::new(format, work.rules().input.len());
    let mut line = Line { sender, pool: &pool, spool, part: work.part(), at_work: FuturesOrdered::new() };
    line.send(header(format)).await?;
    let mut ready = Vec::new();
    let source_rows = loop {
        let is_over = match batches.recv().await {
            Some(Flow::Batch(batch)) => {
                cutter.cut(batch, &pool, &mut ready)?;
                None
            }
            Some(Flow::End { rows }) => Some(rows),
            None => return Err(Error::cancelled(Phase::Load).context("the source failed")),
        };
        for rows in ready.drain(..) {
            line.at_work.push_back(workers.run(&work, rows, pool.take()));
        }
        while line.at_work.len() >= BATCHES_AT_WORK {
            line.advance().await?;
            after_batch();
        }
        if let Some(rows) = is_over {
            break rows;
        }
    };
    let (rest, cut_rows) = cutter.finish()?;
    if let Some(rows) = rest {
        line.at_work.push_back(workers.run(&work, rows, pool.take()));
    }
    while !line.at_work.is_empty() {
        line.advance().await?;
    }
    after_batch();
    let rows_in = line.part.tally.rows_in;
    if (cut_rows, rows_in) != (source_rows, source_rows) {
        return Err(broken(&format!("the source sent {source_rows} rows, {rows_in} were worked on")));
    }
    line.send(trailer(format)).await?;
    // Whoever finds out later that this attempt was committed needs to know what it rejected.
    line.part.file = line.spool.finish().await?;
    let rows = line.part.tally.rows_out;
    keep(line.part);
    drop(work);
    sender.send(Flow::End { rows }).await.map_err(|_| gone())
}

/// Batches that are being worked on, in their order, and what became of those before them.
struct Line<'a, F: Future> {
    sender: &'a mpsc::Sender<Flow>,
    pool: &'a BatchPool,
    spool: Spool,
    part: Part,
    at_work: FuturesOrdered<F>,
}

impl<F: Future<Output = Result<Done>>> Line<'_, F> {
    /// Waits for the first batch and hands on what passed.
    async fn advance(&mut self) -> Result<()> {
        let Some(done) = self.at_work.next().await else { return Ok(()) };
        let Done { out, spent, tally, rejects } = done?;
        self.pool.give_back(spent);
        self.part.tally.add(&tally);
        self.part.rejects.add(rejects.rejects());
        self.spool.append(rejects.lines()).await?;
        if out.is_empty() {
            self.pool.give_back(out);
            return Ok(());
        }
        self.sender.send(Flow::Batch(out)).await.map_err(|_| gone())
    }

    /// Hands on what is no row.
    async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut batch = self.pool.take();
        batch.extend(bytes);
        self.sender.send(Flow::Batch(batch)).await.map_err(|_| gone())
    }
}

fn gone() -> Error {
    Error::cancelled(Phase::Load).context("the target failed")
}
