//! Progress: counters shared by all stages, and the task that shows them.
//!
//! Stages update [`TableProgress`] with relaxed atomics, since the counters are only displayed. One task reads them several
//! times per second. It draws on a terminal, or elsewhere logs a line every few seconds. It draws nothing if the log level
//! is below `info`.

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

/// Interval between redraws: readers cannot follow numbers that change faster.
const DRAW_EVERY: Duration = Duration::from_millis(200);
/// Interval between log lines: short enough to show a stall, long enough to keep the log readable.
const LOG_EVERY: Duration = Duration::from_secs(5);

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProgressMode {
    /// Drawn if stderr is a terminal, otherwise logged.
    #[default]
    Auto,
    /// Never drawn, only logged.
    Never,
}

/// The plan's estimates for a table. They only scale progress bars.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// Its name, for display.
    pub name: String,
    /// Row count by the source's statistics; 0 if unknown.
    pub rows: u64,
    /// Size in the source, in bytes; 0 if unknown. Also the table's weight in the run's progress.
    pub bytes: u64,
    /// Number of chunks; 0 if unknown.
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
    /// Creates the progress of a run over `tables`, all waiting. Nothing is shown yet.
    #[must_use]
    pub fn new(mode: ProgressMode, tables: Vec<Expected>) -> Arc<Self> {
        Arc::new(Self {
            mode,
            tables: tables.into_iter().map(TableProgress::new).collect(),
            finished: AtomicBool::new(false),
            canvas: Mutex::new(None),
        })
    }

    /// Returns the counters of the table at `index` in the tables given to [`Progress::new`].
    ///
    /// # Panics
    /// If there is no such table.
    #[must_use]
    pub fn table(&self, index: usize) -> &TableProgress {
        &self.tables[index]
    }

    /// Shows progress until [`Progress::finish`], `cancel`, or drop. Must be called within a tokio runtime.
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

    /// Stops showing progress and clears the drawing. May be called repeatedly.
    pub fn finish(&self) {
        let mut canvas = lock(&self.canvas);
        self.finished.store(true, Relaxed);
        *canvas = None;
    }

    /// Sets the canvas unless progress has finished. Returns whether there is one to draw on.
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

/// The progress of one table, updated by all stages and streams that work on it.
#[derive(Debug)]
pub struct TableProgress {
    expected: Expected,
    rows: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    chunks_done: AtomicU64,
    state: AtomicU8,
    /// Phase and note; changes a few times per table, never per batch.
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

    /// Adds rows, bytes received from the source, and bytes sent to the target. Called per batch.
    pub fn add(&self, rows: u64, bytes_in: u64, bytes_out: u64) {
        self.rows.fetch_add(rows, Relaxed);
        self.bytes_in.fetch_add(bytes_in, Relaxed);
        self.bytes_out.fetch_add(bytes_out, Relaxed);
    }

    /// Subtracts the counts of a chunk that is retried.
    pub fn retract(&self, rows: u64, bytes_in: u64, bytes_out: u64) {
        self.rows.fetch_sub(rows, Relaxed);
        self.bytes_in.fetch_sub(bytes_in, Relaxed);
        self.bytes_out.fetch_sub(bytes_out, Relaxed);
    }

    /// Counts a chunk as staged.
    pub fn chunk_done(&self) {
        self.chunks_done.fetch_add(1, Relaxed);
    }

    /// Enters `phase` and clears the note of the previous phase.
    pub fn phase(&self, phase: Phase) {
        *lock(&self.doing) = (phase, None);
        self.state.store(State::Active as u8, Relaxed);
    }

    /// Marks the table as loaded: all its rows are staged, and it waits for the other tables of its transaction.
    pub fn loaded(&self) {
        *lock(&self.doing) = (Phase::Verify, None);
        self.state.store(State::Loaded as u8, Relaxed);
    }

    /// Sets a note for work on a loaded table while it waits for the others; `None` ends it. Has no effect on a table that is
    /// no longer waiting.
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

    /// Sets a note such as `waiting for lock, attempt 3`; an empty string clears it.
    pub fn note(&self, note: impl Into<String>) {
        lock(&self.doing).1 = Some(note.into()).filter(|note| !note.is_empty());
    }

    /// Marks the table as applied (`ok`) or failed.
    pub fn finish(&self, ok: bool) {
        let state = if ok { State::Done } else { State::Failed };
        self.state.store(state as u8, Relaxed);
    }

    /// Returns the rows counted so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows.load(Relaxed)
    }

    /// Returns the bytes received from the source and sent to the target so far.
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

/// Locks a mutex and ignores poisoning: these values are always replaced as a whole, so they are valid after a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
