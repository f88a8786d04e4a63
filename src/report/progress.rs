//! Progress: counters that all stages share, and who shows them.
//!
//! Stages count into [`TableProgress`], with relaxed atomics and without a lock: the counters order nothing,
//! they are only looked at. One task looks a few times per second and draws on a terminal, or logs a line
//! every few seconds where there is none. A quiet log (no `info`) means no drawing either.

mod canvas;
mod picture;
mod speed;
mod stall;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

pub use canvas::{LogWriter, Suspending};

use crate::error::Phase;
use canvas::Canvas;
use picture::{Snapshot, State, TableSnapshot};
use speed::Speeds;
use stall::Stalls;
pub(crate) use stall::stalls_after;

/// Five pictures per second are what the eye follows in numbers; more only costs.
const DRAW_EVERY: Duration = Duration::from_millis(200);
/// A log is read afterwards: often enough to see a stall, rarely enough to be read.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// Where progress may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProgressMode {
    /// Drawn if stderr is a terminal, else logged.
    #[default]
    Auto,
    /// Logged.
    Never,
}

/// What the plan expects of a table. Estimates: they scale bars, nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Its name, as people write it.
    pub name: String,
    /// Rows that the source's statistics promise; 0 if unknown.
    pub rows: u64,
    /// Its size in the source; 0 if unknown. Also its weight in the whole.
    pub bytes: u64,
    /// Parts it will be extracted in; 0 if unknown.
    pub chunks: u64,
}

/// The progress of a run.
#[derive(Debug)]
pub struct Progress {
    mode: ProgressMode,
    tables: Vec<TableProgress>,
    finished: AtomicBool,
    canvas: Mutex<Option<Canvas>>,
}

impl Progress {
    /// Progress of a run over `tables`, all waiting; shown by nobody yet.
    #[must_use]
    pub fn new(mode: ProgressMode, tables: Vec<Expected>) -> Arc<Self> {
        Arc::new(Self {
            mode,
            tables: tables.into_iter().map(TableProgress::new).collect(),
            finished: AtomicBool::new(false),
            canvas: Mutex::new(None),
        })
    }

    /// The counters of the table at `index` of what [`Progress::new`] was given.
    ///
    /// # Panics
    /// If there is no such table.
    #[must_use]
    pub fn table(&self, index: usize) -> &TableProgress {
        &self.tables[index]
    }

    /// Starts to show progress, until [`Progress::finish`], until `cancel`, or until the progress is dropped.
    /// Must be called within a tokio runtime.
    pub fn spawn_renderer(self: &Arc<Self>, cancel: CancellationToken) -> tokio::task::JoinHandle<()> {
        let drawn = self.mode == ProgressMode::Auto
            && tracing::enabled!(tracing::Level::INFO)
            && self.put_up(Canvas::on_terminal());
        let progress = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut speeds = Speeds::default();
            let mut stalls = Stalls::new(stalls_after());
            let mut logged_at = Instant::now();
            let mut ticks = tokio::time::interval(DRAW_EVERY);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            loop {
                let stopped = tokio::select! {
                    () = cancel.cancelled() => true,
                    _ = ticks.tick() => false,
                };
                let Some(progress) = progress.upgrade() else { return };
                if stopped {
                    progress.finish();
                }
                if progress.finished.load(Relaxed) {
                    return;
                }
                let snapshot = progress.snapshot();
                speeds.observe(&snapshot, Instant::now());
                for stall in stalls.observe(&snapshot, Instant::now()) {
                    stall::tell(&stall, &progress.tables[stall.table].expected.name);
                }
                if drawn {
                    progress.draw(&snapshot, &speeds);
                } else if logged_at.elapsed() >= LOG_EVERY {
                    logged_at = Instant::now();
                    tracing::info!(phase = %snapshot.phase(), "{}", picture::log_line(&snapshot, &speeds));
                }
            }
        })
    }

    /// Ends the show: what was drawn is wiped, and nothing is drawn any more. May be called repeatedly.
    pub fn finish(&self) {
        let mut canvas = lock(&self.canvas);
        self.finished.store(true, Relaxed);
        *canvas = None;
    }

    /// Whether there is something to draw on, and nobody has finished yet.
    fn put_up(&self, canvas: Option<Canvas>) -> bool {
        let mut place = lock(&self.canvas);
        if !self.finished.load(Relaxed) {
            *place = canvas;
        }
        place.is_some()
    }

    fn draw(&self, snapshot: &Snapshot, speeds: &Speeds) {
        if let Some(canvas) = &*lock(&self.canvas) {
            canvas.draw(snapshot, speeds);
        }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot { tables: self.tables.iter().map(TableProgress::snapshot).collect() }
    }
}

/// The progress of one table. Every stage and stream that works on it counts here.
#[derive(Debug)]
pub struct TableProgress {
    expected: Expected,
    rows: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    chunks_done: AtomicU64,
    state: AtomicU8,
    /// What is being done to it; changes a few times per table, never per batch.
    doing: Mutex<(Phase, Option<String>)>,
}

impl TableProgress {
    fn new(expected: Expected) -> Self {
        Self {
            expected,
            rows: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            chunks_done: AtomicU64::new(0),
            state: AtomicU8::new(State::Waiting as u8),
            doing: Mutex::new((Phase::Load, None)),
        }
    }

    /// Counts rows that moved: bytes received from the source, bytes sent to the target. Called per batch.
    pub fn add(&self, rows: u64, bytes_in: u64, bytes_out: u64) {
        self.rows.fetch_add(rows, Relaxed);
        self.bytes_in.fetch_add(bytes_in, Relaxed);
        self.bytes_out.fetch_add(bytes_out, Relaxed);
    }

    /// Takes back what was counted of a chunk that is going to be repeated: the same figures as were added.
    pub fn retract(&self, rows: u64, bytes_in: u64, bytes_out: u64) {
        self.rows.fetch_sub(rows, Relaxed);
        self.bytes_in.fetch_sub(bytes_in, Relaxed);
        self.bytes_out.fetch_sub(bytes_out, Relaxed);
    }

    /// A chunk is in staging.
    pub fn chunk_done(&self) {
        self.chunks_done.fetch_add(1, Relaxed);
    }

    /// The table enters `phase`; a note of the phase before is gone.
    pub fn phase(&self, phase: Phase) {
        *lock(&self.doing) = (phase, None);
        self.state.store(State::Active as u8, Relaxed);
    }

    /// All its rows are in staging, and it waits for the other tables of its transaction.
    pub fn loaded(&self) {
        *lock(&self.doing) = (Phase::Verify, None);
        self.state.store(State::Loaded as u8, Relaxed);
    }

    /// Says what is done to a loaded table while it waits for the others, and when that is over (`None`). Of one that they need not
    /// wait for any more nothing is said.
    pub fn early(&self, note: Option<&str>) {
        let (from, to, phase) = match note {
            Some(_) => (State::Loaded, State::Early, Phase::Apply),
            None => (State::Early, State::Loaded, Phase::Verify),
        };
        let mut doing = lock(&self.doing);
        if self.state.compare_exchange(from as u8, to as u8, Relaxed, Relaxed).is_ok() {
            *doing = (phase, note.map(str::to_owned));
        }
    }

    /// Says what it is waiting for or trying, such as `waiting for lock, attempt 3`; empty for nothing special.
    pub fn note(&self, note: impl Into<String>) {
        lock(&self.doing).1 = Some(note.into()).filter(|note| !note.is_empty());
    }

    /// The table is done with, applied (`ok`) or failed.
    pub fn finish(&self, ok: bool) {
        let state = if ok { State::Done } else { State::Failed };
        self.state.store(state as u8, Relaxed);
    }

    /// Rows counted so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows.load(Relaxed)
    }

    /// Bytes received from the source and sent to the target so far.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.bytes_in.load(Relaxed), self.bytes_out.load(Relaxed))
    }

    fn snapshot(&self) -> TableSnapshot {
        let (phase, note) = lock(&self.doing).clone();
        TableSnapshot {
            expected: self.expected.clone(),
            state: State::from_u8(self.state.load(Relaxed)),
            phase,
            note,
            rows: self.rows.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            chunks_done: self.chunks_done.load(Relaxed),
        }
    }
}

/// What is behind these locks is a value that is replaced whole: a panic elsewhere leaves it usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
