//! One chunk from source to staging: a reading task and a writing one, joined by a bounded channel of batches.
//!
//! Rows that are judged on their way are cut into whole rows by the reading task, worked on by a thread of a pool, several
//! batches in one go, and handed on in the order in which they came. This is the one file that knows both tokio, which
//! does the I/O, and rayon, which does the computing; they meet at the two channels of a [`Station`].

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::batch::{BATCH_BYTES, Batch, BatchPool, Flow};
use crate::error::{Error, Kind, Phase, Result};
use crate::load::Spool;
use crate::pg::format::Format;
use crate::pg::wire::Wire;
use crate::report::progress::Progress;
use crate::run::load::filter::{Done, Part, Work};
use crate::transform::{RowCutter, Rows, header, trailer};

/// Batches between reader and writer. A quarter of a megabyte per stream is enough for one to work while the other waits;
/// more was not faster.
pub(crate) const BATCHES_IN_FLIGHT: usize = 8;

/// Counts the rows of one attempt at a chunk as they go by, for the operator.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
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
    pub(crate) fn new(progress: &Arc<Progress>, table: usize) -> Self {
        Self { progress: progress.clone(), table, counted: Arc::default() }
    }

    pub(crate) fn received(&self, rows: u64, bytes: u64) {
        self.counted.rows.fetch_add(rows, Ordering::Relaxed);
        self.counted.bytes_in.fetch_add(bytes, Ordering::Relaxed);
        self.progress.table(self.table).add(rows, bytes, 0);
    }

    /// The source says how many rows these were: COPY's own header and trailer came as if they were rows.
    pub(crate) fn settle(&self, rows: u64) {
        let surplus = self.counted.rows.load(Ordering::Relaxed).saturating_sub(rows);
        self.counted.rows.fetch_sub(surplus, Ordering::Relaxed);
        self.progress.table(self.table).retract(surplus, 0, 0);
    }

    /// Counts bytes that were sent to the target.
    pub(crate) fn sent(&self, bytes: u64) {
        self.counted.bytes_out.fetch_add(bytes, Ordering::Relaxed);
        self.progress.table(self.table).add(0, 0, bytes);
    }

    /// Bytes that were sent to the target.
    pub(crate) fn bytes_out(&self) -> u64 {
        self.counted.bytes_out.load(Ordering::Relaxed)
    }

    /// Takes everything back: the attempt failed, and what it moved will be moved again.
    pub(crate) fn retract(&self) {
        let Counted { rows, bytes_in, bytes_out } = &*self.counted;
        let [rows, bytes_in, bytes_out] = [rows, bytes_in, bytes_out].map(|n| n.swap(0, Ordering::Relaxed));
        self.progress.table(self.table).retract(rows, bytes_in, bytes_out);
    }
}

/// What a reader leaves: its connection, if it can be used again, and how it ended.
pub(crate) type Reading = (Option<Wire>, Result<Extracted>);

/// What a reader read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extracted {
    /// Rows that the source reports.
    pub(crate) rows: u64,
    /// Bytes of COPY data.
    pub(crate) bytes: u64,
}

/// Starts reading `sql` (a COPY … TO STDOUT). The channel ends with [`Flow::End`], or without it if something failed.
/// A receiver that goes away ends the reading.
pub(crate) fn read(
    wire: Wire,
    sql: String,
    pool: BatchPool,
    watch: Watch,
    filtering: Option<Filtering>,
) -> (JoinHandle<Reading>, mpsc::Receiver<Flow>) {
    let (sender, receiver) = mpsc::channel(BATCHES_IN_FLIGHT);
    let task = tokio::spawn(async move {
        let mut wire = wire;
        let outcome = match filtering {
            None => copy_out(&mut wire, &sql, &pool, &watch, PassThrough { sender }).await,
            Some(filtering) => {
                let Filtering { line, spool, keep } = filtering;
                let part = line.work.part();
                let hand = Forward {
                    format: line.work.rules().format,
                    pool: pool.clone(),
                    sender,
                    part,
                    spool,
                    keep,
                };
                let line = Transformed::new(line, pool.clone(), hand);
                copy_out(&mut wire, &sql, &pool, &watch, line).await
            }
        };
        let usable = wire.is_usable();
        (usable.then_some(wire), outcome)
    });
    (task, receiver)
}

/// Goes between reader and writer where rows are traced: these hold several batches each.
const GOES_IN_FLIGHT: usize = 1;

/// The same as [`read`] where rows are traced: what was worked on comes out with what it was made of.
pub(crate) fn read_traced(
    wire: Wire,
    sql: String,
    pool: BatchPool,
    watch: Watch,
    work: Filter,
) -> (JoinHandle<Reading>, mpsc::Receiver<Traced>) {
    let (sender, receiver) = mpsc::channel(GOES_IN_FLIGHT);
    let task = tokio::spawn(async move {
        let mut wire = wire;
        let line = Transformed::new(work, pool.clone(), Exposed { sender });
        let outcome = copy_out(&mut wire, &sql, &pool, &watch, line).await;
        let usable = wire.is_usable();
        (usable.then_some(wire), outcome)
    });
    (task, receiver)
}

/// What comes down the pipeline where rows are traced, as [`Flow`].
pub(crate) enum Traced {
    /// Some rows, worked on.
    Done(Box<Done>),
    /// The source is through.
    End,
}

async fn copy_out(
    wire: &mut Wire,
    sql: &str,
    pool: &BatchPool,
    watch: &Watch,
    mut outlet: impl Outlet,
) -> Result<Extracted> {
    let mut copy = wire.copy_out(sql).await?;
    let mut bytes = 0;
    let mut taken = outlet.begin().await;
    while let Some(batch) = copy.next(pool).await? {
        let size = batch.len() as u64;
        bytes += size;
        watch.received(batch.messages, size);
        match &taken {
            Ok(()) => taken = outlet.take(batch).await,
            Err(_) => pool.give_back(batch),
        }
        if taken.is_err() && !outlet.is_to_the_end() {
            break;
        }
    }
    taken?;
    let rows = copy
        .rows()
        .ok_or_else(|| Error::new(Phase::Load, Kind::Internal, "a COPY ended without its row count"))?;
    watch.settle(rows);
    outlet.end(rows).await?;
    Ok(Extracted { rows, bytes })
}

/// Where the batches of a COPY go.
trait Outlet: Send {
    /// Before the first batch.
    fn begin(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// One batch; what it does not keep goes on to the target.
    fn take(&mut self, batch: Batch) -> impl Future<Output = Result<()>> + Send;

    /// The source says that these were so many rows.
    fn end(self, rows: u64) -> impl Future<Output = Result<()>> + Send;

    /// Whether the COPY must be read to its end even if something is wrong with its rows.
    fn is_to_the_end(&self) -> bool;
}

/// Hands rows on as they are.
struct PassThrough {
    sender: mpsc::Sender<Flow>,
}

impl Outlet for PassThrough {
    async fn begin(&mut self) -> Result<()> {
        Ok(())
    }

    async fn take(&mut self, batch: Batch) -> Result<()> {
        self.sender.send(Flow::Batch(batch)).await.map_err(|_| gone())
    }

    async fn end(self, rows: u64) -> Result<()> {
        self.sender.send(Flow::End { rows }).await.map_err(|_| gone())
    }

    fn is_to_the_end(&self) -> bool {
        // Whoever needs that keeps the receiver.
        false
    }
}

/// Batches that are worked on in one go. A change of threads for every 64 KiB cost as much as the work itself.
pub(crate) const BATCHES_PER_GO: usize = 8;

/// Where the rejects of a batch take more than this, goes are a batch each: a reject's line is longer than its row. They
/// begin so, and grow.
const REJECT_BYTES_PER_BATCH: usize = 32 * 1024;

/// A go of huge rows is not made larger than this.
pub(crate) const GO_BYTES_MAX: usize = 2 * BATCHES_PER_GO * BATCH_BYTES;

/// Goes of one stream that are at work at once: one while the next is being read.
const GOES_AT_WORK: usize = 2;

/// The threads that rows are worked on by; started when first needed.
#[derive(Debug)]
pub(crate) struct Workers {
    threads: usize,
    pool: OnceLock<std::result::Result<rayon::ThreadPool, String>>,
}

impl Workers {
    /// For so many streams. Each may keep a thread for itself while it is at a chunk ([`Station`]), and one is left for what is
    /// done once.
    pub(crate) fn new(streams: usize) -> Self {
        Self { threads: streams + 1, pool: OnceLock::new() }
    }

    /// Has batches of whole rows worked on, once. A panic in it is an error.
    pub(crate) fn run(
        &self,
        work: &Arc<Work>,
        rows: Vec<Rows>,
        pool: &BatchPool,
    ) -> impl Future<Output = Result<Done>> + Send + use<> {
        let station = self.station(work.clone(), pool.clone());
        async move {
            let mut station = station?;
            station.put(rows).await?;
            let done = station.next().await;
            station.close().await;
            done
        }
    }

    /// A thread for one attempt at a chunk.
    fn station(&self, work: Arc<Work>, pool: BatchPool) -> Result<Station> {
        let (to, mut rows) = mpsc::channel(GOES_AT_WORK);
        let (outcomes, from) = mpsc::channel(GOES_AT_WORK);
        self.pool()?.spawn(move || {
            while let Some(rows) = rows.blocking_recv() {
                let outcome = attempt(&work, rows, &pool);
                let is_failed = outcome.is_err();
                // Nobody waits for it any more if the chunk was given up.
                if outcomes.blocking_send(outcome).is_err() || is_failed {
                    break;
                }
            }
            // Before it is seen to have ended: who waits for that may count on nobody else using the program.
            drop(work);
            drop(outcomes);
        });
        Ok(Station { to, from, at_work: 0 })
    }

    fn pool(&self) -> Result<&rayon::ThreadPool> {
        let start = || {
            let builder = rayon::ThreadPoolBuilder::new().num_threads(self.threads);
            let builder = builder.thread_name(|number| format!("transform-{number}"));
            builder.build().map_err(|error| error.to_string())
        };
        self.pool.get_or_init(start).as_ref().map_err(|error| broken(error))
    }
}

/// Works on batches of whole rows. A panic in it is an error.
fn attempt(work: &Work, rows: Vec<Rows>, pool: &BatchPool) -> Result<Done> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        fail::fail_point!("load.transform");
        work.run(rows, pool)
    }));
    outcome.unwrap_or_else(|_| Err(broken("a worker panicked")))
}

/// A thread of the pool that works on the rows of one attempt at a chunk until this is dropped, between two bounded channels.
///
/// A pool's thread that has nothing to do looks for something for a while, time and again: with a job for every go, that alone
/// took the servers several percent of a small machine. One that waits at a channel sleeps.
struct Station {
    to: mpsc::Sender<Vec<Rows>>,
    from: mpsc::Receiver<Result<Done>>,
    /// Goes that were put and not taken yet.
    at_work: usize,
}

impl Station {
    /// Gives it a go. No more than [`GOES_AT_WORK`] are kept.
    async fn put(&mut self, rows: Vec<Rows>) -> Result<()> {
        // If it has ended, its last outcome says why.
        if self.to.send(rows).await.is_ok() {
            self.at_work += 1;
        } else if self.at_work == 0 {
            return Err(broken("a worker went away"));
        }
        Ok(())
    }

    /// What came of the go that was put first.
    async fn next(&mut self) -> Result<Done> {
        self.at_work = self.at_work.saturating_sub(1);
        self.from.recv().await.unwrap_or_else(|| Err(broken("a worker went away")))
    }

    /// Waits for its end.
    async fn close(self) {
        let Self { to, mut from, .. } = self;
        drop(to);
        while from.recv().await.is_some() {}
    }
}

fn broken(what: &str) -> Error {
    Error::new(Phase::Load, Kind::Internal, format!("transforming rows: {what}"))
}

/// What whoever sends learns when nobody receives.
pub(crate) fn gone() -> Error {
    Error::cancelled(Phase::Load).context("the target failed")
}

/// Who works on the rows of one attempt at a chunk, and how.
pub(crate) struct Filter {
    pub(crate) work: Arc<Work>,
    pub(crate) workers: Arc<Workers>,
    /// Whether the rows are to be read to the last one even if something is wrong with them.
    pub(crate) is_to_the_end: bool,
    /// Called now and then while keys are collected.
    pub(crate) bound: Box<dyn Fn() + Send + Sync>,
}

/// What is done to the rows of one attempt at a chunk.
pub(crate) struct Filtering {
    pub(crate) line: Filter,
    /// Where the chunk's rejects go.
    pub(crate) spool: Spool,
    /// Told what became of the chunk, before the channel ends with [`Flow::End`].
    pub(crate) keep: Box<dyn Fn(Part) + Send + Sync>,
}

/// Takes what a program has worked on.
trait Sink: Send {
    /// Before the first row.
    fn begin(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// The next rows.
    fn take(&mut self, done: Done) -> impl Future<Output = Result<()>> + Send;

    /// After the last one.
    fn end(self) -> impl Future<Output = Result<()>> + Send;
}

/// Hands on what passed.
struct Forward {
    format: Format,
    pool: BatchPool,
    sender: mpsc::Sender<Flow>,
    part: Part,
    spool: Spool,
    keep: Box<dyn Fn(Part) + Send + Sync>,
}

impl Forward {
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

impl Sink for Forward {
    async fn begin(&mut self) -> Result<()> {
        self.send(header(self.format)).await
    }

    async fn take(&mut self, done: Done) -> Result<()> {
        let Done { out, tally, rejects, .. } = done;
        self.part.tally.add(&tally);
        self.part.rejects.add(rejects.rejects());
        self.spool.append(rejects.lines()).await?;
        drop(rejects);
        for batch in out {
            self.sender.send(Flow::Batch(batch)).await.map_err(|_| gone())?;
        }
        Ok(())
    }

    async fn end(mut self) -> Result<()> {
        self.send(trailer(self.format)).await?;
        let Self { sender, mut part, spool, keep, .. } = self;
        // Whoever finds out later that this attempt was committed needs to know what it rejected.
        part.file = spool.finish().await?;
        let rows = part.tally.rows_out;
        keep(part);
        sender.send(Flow::End { rows }).await.map_err(|_| gone())
    }
}

/// Hands on all of it.
struct Exposed {
    sender: mpsc::Sender<Traced>,
}

impl Sink for Exposed {
    async fn begin(&mut self) -> Result<()> {
        Ok(())
    }

    async fn take(&mut self, done: Done) -> Result<()> {
        self.sender.send(Traced::Done(Box::new(done))).await.map_err(|_| gone())
    }

    async fn end(self) -> Result<()> {
        self.sender.send(Traced::End).await.map_err(|_| gone())
    }
}

/// Has rows worked on, and hands on what comes of them in the order in which they came.
struct Transformed<H> {
    filter: Filter,
    pool: BatchPool,
    cutter: RowCutter,
    ready: Vec<Rows>,
    batches_per_go: usize,
    station: Option<Station>,
    worked_on: u64,
    hand: H,
}

impl<H: Sink> Transformed<H> {
    fn new(filter: Filter, pool: BatchPool, hand: H) -> Self {
        let rules = filter.work.rules();
        Self {
            cutter: RowCutter::new(rules.format, rules.input.len()),
            filter,
            pool,
            ready: Vec::with_capacity(BATCHES_PER_GO),
            batches_per_go: 1,
            station: None,
            worked_on: 0,
            hand,
        }
    }

    /// Has everything worked on that is ready.
    async fn go(&mut self) -> Result<()> {
        if self.ready.is_empty() {
            return Ok(());
        }
        let rows = std::mem::replace(&mut self.ready, Vec::with_capacity(BATCHES_PER_GO));
        let station = match &mut self.station {
            Some(station) => station,
            None => {
                let Filter { work, workers, .. } = &self.filter;
                self.station.insert(workers.station(work.clone(), self.pool.clone())?)
            }
        };
        station.put(rows).await?;
        while self.at_work() >= GOES_AT_WORK {
            self.advance().await?;
        }
        Ok(())
    }

    fn at_work(&self) -> usize {
        self.station.as_ref().map_or(0, |station| station.at_work)
    }

    /// Waits for what has been at work longest and hands on what passed.
    async fn advance(&mut self) -> Result<()> {
        let Some(station) = &mut self.station else { return Ok(()) };
        let done = station.next().await?;
        let has_many_rejects = done.rejects.lines().len() > REJECT_BYTES_PER_BATCH * self.batches_per_go;
        self.batches_per_go = if has_many_rejects { 1 } else { BATCHES_PER_GO.min(2 * self.batches_per_go) };
        self.worked_on += done.tally.rows_in;
        self.hand.take(done).await?;
        (self.filter.bound)();
        Ok(())
    }
}

impl<H: Sink> Outlet for Transformed<H> {
    async fn begin(&mut self) -> Result<()> {
        self.hand.begin().await
    }

    async fn take(&mut self, batch: Batch) -> Result<()> {
        self.cutter.cut(batch, &self.pool, &mut self.ready)?;
        let bytes: usize = self.ready.iter().map(|rows| rows.data().len()).sum();
        if self.ready.len() >= self.batches_per_go || bytes > GO_BYTES_MAX { self.go().await } else { Ok(()) }
    }

    async fn end(mut self, rows: u64) -> Result<()> {
        let (rest, cut) = self.cutter.finish()?;
        self.ready.extend(rest);
        self.go().await?;
        while self.at_work() > 0 {
            self.advance().await?;
        }
        let worked_on = self.worked_on;
        if (cut, worked_on) != (rows, rows) {
            return Err(broken(&format!("the source sent {rows} rows, {worked_on} were worked on")));
        }
        let Self { filter, station, hand, .. } = self;
        // Before the end is heard of: who hears it may count on nobody else using the program.
        drop(filter);
        if let Some(station) = station {
            station.close().await;
        }
        hand.end().await
    }

    fn is_to_the_end(&self) -> bool {
        self.filter.is_to_the_end
    }
}
