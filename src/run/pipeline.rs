//! One chunk from source to staging: a reading task and a writing one, joined by a bounded channel of batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::batch::{BatchPool, Flow};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::wire::Wire;
use crate::report::progress::Progress;

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
    let gone = || Error::cancelled(Phase::Load).context("the target failed");
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
