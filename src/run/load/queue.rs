//! The chunks of all tables, in one queue that the streams take from.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::plan::{Chunk, Judged, Keys, Plan};

/// A chunk to be loaded.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// Index of its table in the plan.
    pub(crate) table: usize,
    /// The chunk.
    pub(crate) chunk: Chunk,
    /// Whether it was reported as landed before and has to be loaded again.
    pub(crate) again: bool,
}

/// Chunks that wait for a stream. It stays open after the last one: a crash of the target can bring chunks back.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Per table: chunks that have not landed.
    missing: Vec<usize>,
    /// Per table: its chunks wait for something.
    held: Vec<bool>,
    closed: bool,
}

impl State {
    /// The first chunk of a table that may begin.
    fn take(&mut self) -> Option<Job> {
        let first = self.jobs.iter().position(|job| !self.held[job.table])?;
        self.jobs.remove(first)
    }
}

impl Queue {
    /// All chunks of the tables that `wanted` accepts: those first that are largest or that larger ones wait for, each in
    /// the order of its heap. Tables that are not `ready` are held until they are released.
    pub(crate) fn new(plan: &Plan, wanted: impl Fn(usize) -> bool, ready: impl Fn(usize) -> bool) -> Self {
        let mut tables: Vec<usize> = (0..plan.tables.len()).filter(|&i| wanted(i)).collect();
        let weights = weights(plan);
        tables.sort_by_key(|&i| std::cmp::Reverse(weights[i]));
        let missing = plan.tables.iter().map(|table| table.chunks.len()).collect();
        let held = (0..plan.tables.len()).map(|i| !ready(i)).collect();
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
        Self { state: Mutex::new(State { jobs, missing, held, closed: false }), changed: Notify::new() }
    }

    /// The next chunk, if there is one right now.
    pub(crate) fn try_next(&self) -> Option<Job> {
        let mut state = self.lock();
        if state.closed { None } else { state.take() }
    }

    /// The next chunk, waiting for one; `None` once the queue is closed.
    pub(crate) async fn next(&self) -> Option<Job> {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.lock();
                if state.closed {
                    return None;
                }
                if let Some(job) = state.take() {
                    return Some(job);
                }
            }
            changed.await;
        }
    }

    /// Lets the tables begin that are `ready` by now.
    pub(crate) fn release(&self, ready: impl Fn(usize) -> bool) {
        let mut state = self.lock();
        for (table, held) in state.held.iter_mut().enumerate() {
            *held = *held && !ready(table);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Notes that a chunk has landed. Returns whether it was its table's last one.
    pub(crate) fn landed(&self, job: &Job) -> bool {
        let missing = &mut self.lock().missing[job.table];
        *missing = missing.saturating_sub(1);
        *missing == 0
    }

    /// Puts chunks in front that had been reported as landed.
    pub(crate) fn lost(&self, jobs: impl IntoIterator<Item = Job>) {
        let mut state = self.lock();
        for job in jobs {
            state.missing[job.table] += 1;
            state.jobs.push_front(job);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// Puts chunks in front that were not loaded.
    pub(crate) fn put_back(&self, jobs: impl IntoIterator<Item = Job>) {
        let mut state = self.lock();
        jobs.into_iter().for_each(|job| state.jobs.push_front(job));
        drop(state);
        self.changed.notify_waiters();
    }

    /// Drops the chunks of tables that need none any more.
    pub(crate) fn forget(&self, tables: &[usize]) {
        self.lock().jobs.retain(|job| !tables.contains(&job.table));
    }

    /// Lets every stream end.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of each table or of the largest one that waits for its keys, whichever is more. Groups list referenced tables
/// first, so that from the end every table has been weighed before those it refers to.
fn weights(plan: &Plan) -> Vec<u64> {
    let mut weights: Vec<u64> = plan.tables.iter().map(|table| table.bytes).collect();
    for child in plan.groups.iter().rev().flat_map(|group| group.tables().rev()) {
        for reference in &plan.tables[child].references {
            if let Judged::Streaming { keys: Keys::Entry(parent), .. } = reference.judged {
                weights[parent] = weights[parent].max(weights[child]);
            }
        }
    }
    weights
}
