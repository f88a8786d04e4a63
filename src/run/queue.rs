//! The chunks of all tables, in one queue that the streams take from.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::plan::{Chunk, Plan};

/// A chunk to be loaded.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// Index of its table in the plan.
    pub(super) table: usize,
    /// The chunk.
    pub(super) chunk: Chunk,
    /// Whether it was reported as landed before and has to be loaded again.
    pub(super) again: bool,
}

/// Chunks that wait for a stream. It stays open after the last one: a crash of the target can bring chunks back.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Queue {
    /// All chunks of the tables that `wanted` accepts: largest table first, each in the order of its heap.
    pub(super) fn new(plan: &Plan, wanted: impl Fn(usize) -> bool) -> Self {
        let mut tables: Vec<usize> = (0..plan.tables.len()).filter(|&i| wanted(i)).collect();
        tables.sort_by_key(|&i| std::cmp::Reverse(plan.tables[i].bytes));
        let jobs = tables
            .into_iter()
            .flat_map(|table| {
                plan.tables[table].chunks.iter().map(move |chunk| Job {
                    table,
                    chunk: chunk.clone(),
                    again: false,
                })
            })
            .collect();
        Self { state: Mutex::new(State { jobs, closed: false }), changed: Notify::new() }
    }

    /// The next chunk, if there is one right now.
    pub(super) fn try_next(&self) -> Option<Job> {
        let mut state = self.lock();
        if state.closed { None } else { state.jobs.pop_front() }
    }

    /// The next chunk, waiting for one; `None` once the queue is closed.
    pub(super) async fn next(&self) -> Option<Job> {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.lock();
                if state.closed {
                    return None;
                }
                if let Some(job) = state.jobs.pop_front() {
                    return Some(job);
                }
            }
            changed.await;
        }
    }

    /// Puts chunks in front.
    pub(super) fn put_back(&self, jobs: impl IntoIterator<Item = Job>) {
        let mut state = self.lock();
        jobs.into_iter().for_each(|job| state.jobs.push_front(job));
        drop(state);
        self.changed.notify_waiters();
    }

    /// Drops the chunks of tables that need none any more.
    pub(super) fn forget(&self, tables: &[usize]) {
        self.lock().jobs.retain(|job| !tables.contains(&job.table));
    }

    /// Lets every stream end.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
