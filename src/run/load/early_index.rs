//! Builds the indexes of new tables as soon as their rows are there, and vacuums them, while other tables load and while their
//! group is verified.
//!
//! Steps ([`swap::Step`]) wait in a queue for sessions of their own, which are opened when there is something to do and closed
//! when there is not. Nothing depends on them: a step that fails is dropped, with whatever was to follow it, and is left to the
//! building of the group, which waits for those that were begun ([`Early::finish`]). A table that fails, or that has to be loaded
//! again, has its statements cancelled ([`Early::give_up`]). Whoever finds no connection slot ends all of it
//! ([`Early::close`]), and so does the end of the run, before anything is removed.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::apply::swap::{self, Done, Schemas, Step};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::conninfo::ConnInfo;
use crate::pg::session::{self, Session, SessionSettings};
use crate::plan::Plan;
use crate::report::progress::Progress;
use crate::run::stage::Staged;

/// A request to cancel may come between two statements: another one follows after so long.
const CANCEL_AGAIN: Duration = Duration::from_millis(200);

/// A server that has not ended a statement by then is left alone with it: its session is closed.
const ENDS_WITHIN: Duration = Duration::from_secs(5);

/// The early work of a run.
#[derive(Debug)]
pub(crate) struct Early {
    plan: Arc<Plan>,
    progress: Arc<Progress>,
    connect: ConnInfo,
    settings: SessionSettings,
    schemas: Schemas,
    state: Mutex<State>,
    changed: Notify,
    /// Ends all of it.
    over: CancellationToken,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<(usize, Step)>,
    /// Per table of the plan.
    tables: Vec<Table>,
    /// Per group of the plan.
    clocks: Vec<Clock>,
    /// Workers that will look into the queue again.
    workers: usize,
    /// Sessions that are open or being opened.
    sessions: usize,
}

#[derive(Debug)]
struct Table {
    group: usize,
    /// Steps that wait.
    waiting: usize,
    /// Steps that are being done.
    at_work: usize,
    has_begun: bool,
    /// Whether VACUUM has left nothing out, once there was one.
    vacuumed: Option<bool>,
    /// Ends what is being done.
    cancel: CancellationToken,
}

/// How long anything was done to a group's tables.
#[derive(Debug, Default)]
struct Clock {
    at_work: usize,
    since: Option<Instant>,
    took: Duration,
}

impl Early {
    pub(crate) fn new(staged: &Staged, progress: &Arc<Progress>, cancel: &CancellationToken) -> Arc<Self> {
        let (plan, over) = (staged.plan.clone(), cancel.child_token());
        let tables = (0..plan.tables.len())
            .map(|table| Table {
                group: plan.group_of(table),
                waiting: 0,
                at_work: 0,
                has_begun: false,
                vacuumed: None,
                cancel: over.child_token(),
            })
            .collect();
        let clocks = plan.groups.iter().map(|_| Clock::default()).collect();
        Arc::new(Self {
            progress: progress.clone(),
            connect: staged.target.info.clone(),
            settings: staged.sessions.apply(),
            schemas: staged.schemas.clone(),
            state: Mutex::new(State { queue: VecDeque::new(), tables, clocks, workers: 0, sessions: 0 }),
            changed: Notify::new(),
            plan,
            over,
        })
    }

    /// Begins with a table all of whose rows are in its new table, and stay there as they are. VACUUM comes last. Transactions
    /// that kept it from its work on others of the group may be over by now.
    pub(crate) fn begin(self: &Arc<Self>, table: usize) {
        let mut state = self.lock();
        let begun = &mut state.tables[table];
        (begun.has_begun, begun.vacuumed) = (false, None);
        let group = begun.group;
        self.put(&mut state, table, [Step::Survey]);
        for other in 0..state.tables.len() {
            let found = &mut state.tables[other];
            if found.group == group && found.vacuumed == Some(false) && found.is_at_rest() {
                found.vacuumed = None;
                self.put(&mut state, other, [Step::Vacuum]);
            }
        }
    }

    /// Returns when nothing is being done to the tables any more, with what was. What nobody has begun with is left to whoever
    /// asks; what is done to other tables comes later.
    pub(crate) async fn finish(&self, tables: &[usize]) -> swap::Early {
        let mut is_told = false;
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.lock();
                let is_unbegun = |table: &usize| !state.tables[*table].has_begun;
                let unbegun: Vec<usize> = tables.iter().copied().filter(is_unbegun).collect();
                state.forget(&unbegun);
                state.queue.make_contiguous().sort_by_key(|(table, _)| !tables.contains(table));
                if tables.iter().all(|&table| state.tables[table].is_at_rest()) {
                    return self.outcome(&state, tables);
                }
            }
            if !std::mem::replace(&mut is_told, true) {
                tracing::debug!(phase = %Phase::Apply, "waiting for what is built early");
            }
            changed.await;
        }
    }

    fn outcome(&self, state: &State, tables: &[usize]) -> swap::Early {
        let vacuumed = tables.iter().filter(|&&table| state.tables[table].vacuumed == Some(true));
        let clock = tables.first().map(|&table| &state.clocks[state.tables[table].group]);
        swap::Early {
            vacuumed: vacuumed.map(|&table| self.plan.tables[table].entry).collect(),
            took: clock.map_or(Duration::ZERO, |clock| clock.took),
        }
    }

    /// Ends what is done to tables that are not to be applied as they are.
    pub(crate) fn give_up(&self, tables: &[usize]) {
        let mut state = self.lock();
        state.forget(tables);
        for &table in tables {
            let table = &mut state.tables[table];
            std::mem::replace(&mut table.cancel, self.over.child_token()).cancel();
            table.vacuumed = None;
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// The same; returns when it has ended.
    pub(crate) async fn end(&self, tables: &[usize]) {
        self.give_up(tables);
        self.until(|state| tables.iter().all(|&table| state.tables[table].is_at_rest())).await;
    }

    /// Ends everything, for good; returns when all sessions are closed.
    pub(crate) async fn close(&self) {
        self.over.cancel();
        self.lock().forget_all();
        self.changed.notify_waiters();
        self.until(|state| state.sessions == 0).await;
    }

    async fn until(&self, is_so: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            if is_so(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// Puts steps into the queue.
    fn put(self: &Arc<Self>, state: &mut State, table: usize, steps: impl IntoIterator<Item = Step>) {
        if self.over.is_cancelled() {
            return;
        }
        for step in steps {
            state.queue.push_back((table, step));
            state.tables[table].waiting += 1;
        }
        self.hire(state);
    }

    /// Has as many workers as there are steps, as far as there may be so many sessions.
    fn hire(self: &Arc<Self>, state: &mut State) {
        while state.workers < self.plan.builders_early.min(state.busy() + state.queue.len()) {
            state.workers += 1;
            state.sessions += 1;
            let early = self.clone();
            tokio::spawn(async move {
                early.work().await;
                early.lock().sessions -= 1;
                early.changed.notify_waiters();
            });
        }
    }

    /// Opens a session and does steps until there are none left.
    async fn work(self: &Arc<Self>) {
        let session = tokio::select! {
            session = self.open() => session,
            () = self.over.cancelled() => Err(Error::cancelled(Phase::Apply)),
        };
        let session = match session {
            Ok(session) => session,
            Err(error) => {
                tracing::debug!(phase = %Phase::Apply, %error, "no session for early work");
                return self.resign();
            }
        };
        while let Some((table, step, cancel)) = self.take() {
            let done = self.run(&session, table, &step, &cancel).await;
            let is_usable = match &done {
                Ok(_) => true,
                Err(_) => is_usable(&session).await,
            };
            self.settle(table, done, &cancel);
            if !is_usable {
                let mut state = self.lock();
                state.workers -= 1;
                return self.hire(&mut state);
            }
        }
    }

    /// There is no session for a worker. If there is no other worker, nothing is done early.
    fn resign(&self) {
        let mut state = self.lock();
        state.workers -= 1;
        if state.workers == 0 {
            state.forget_all();
        }
    }

    async fn open(&self) -> Result<Session> {
        let session = session::connect(&self.connect, &self.settings).await?;
        session.refuse_read_only(Phase::Apply).await?;
        swap::equip(&session, self.plan.builders_early, self.plan.run.lock_wait).await?;
        Ok(session)
    }

    /// Does a step. If it is not wanted any more it has ended on the server, too, when this returns.
    async fn run(
        &self,
        session: &Session,
        table: usize,
        step: &Step,
        cancel: &CancellationToken,
    ) -> Result<Done> {
        let step = AssertUnwindSafe(async {
            session.refuse_read_only(Phase::Apply).await?;
            step.run(session, &self.schemas, &self.plan.tables[table]).await
        });
        let mut running = std::pin::pin!(step.catch_unwind());
        tokio::select! {
            done = &mut running => return done.unwrap_or_else(|_| Err(panicked())),
            () = cancel.cancelled() => {}
        }
        let ended = async {
            loop {
                session.cancel().await;
                if timeout(CANCEL_AGAIN, &mut running).await.is_ok() {
                    return;
                }
            }
        };
        let _ = timeout(ENDS_WITHIN, ended).await;
        Err(Error::cancelled(Phase::Apply))
    }

    /// The next step; `None` for a worker who is not needed any more.
    fn take(&self) -> Option<(usize, Step, CancellationToken)> {
        let mut state = self.lock();
        if self.over.is_cancelled() {
            state.forget_all();
        }
        let Some((table, step)) = state.queue.pop_front() else {
            state.workers -= 1;
            return None;
        };
        let taken = &mut state.tables[table];
        taken.waiting -= 1;
        taken.at_work += 1;
        taken.has_begun = true;
        let (group, cancel) = (taken.group, taken.cancel.clone());
        state.clocks[group].start();
        self.progress.table(table).early(Some(step.name()));
        Some((table, step, cancel))
    }

    /// Enters what came of a step, and has done what follows from it.
    fn settle(self: &Arc<Self>, table: usize, done: Result<Done>, cancel: &CancellationToken) {
        let mut state = self.lock();
        let settled = &mut state.tables[table];
        settled.at_work -= 1;
        let (group, is_last) = (settled.group, settled.is_at_rest());
        state.clocks[group].stop();
        match done {
            // Whoever gave it up has seen to the rest.
            _ if cancel.is_cancelled() => {}
            Err(error) => {
                let name = self.plan.tables[table].name.plain();
                tracing::debug!(phase = %error.phase(), table = name, %error, "not done early");
                state.forget(&[table]);
            }
            Ok(Done::Surveyed(steps)) if !steps.is_empty() => self.put(&mut state, table, steps),
            Ok(Done::Surveyed(_) | Done::Indexed) if is_last => self.put(&mut state, table, [Step::Vacuum]),
            Ok(Done::Surveyed(_) | Done::Indexed) => {}
            Ok(Done::Vacuumed(is_whole)) => state.tables[table].vacuumed = Some(is_whole),
        }
        if state.tables[table].is_at_rest() {
            self.progress.table(table).early(None);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a session in which something failed can do more.
async fn is_usable(session: &Session) -> bool {
    let rolled_back = timeout(ENDS_WITHIN, session.client.batch_execute("rollback")).await;
    rolled_back.is_ok_and(|done| done.is_ok())
}

fn panicked() -> Error {
    Error::new(Phase::Apply, Kind::Internal, "a step panicked")
}

impl State {
    /// Steps that are being done.
    fn busy(&self) -> usize {
        self.tables.iter().map(|table| table.at_work).sum()
    }

    /// Drops what waits.
    fn forget(&mut self, tables: &[usize]) {
        self.queue.retain(|(table, _)| !tables.contains(table));
        tables.iter().for_each(|&table| self.tables[table].waiting = 0);
    }

    fn forget_all(&mut self) {
        self.queue.clear();
        self.tables.iter_mut().for_each(|table| table.waiting = 0);
    }
}

impl Table {
    /// Whether nothing is being done to it, or will be.
    fn is_at_rest(&self) -> bool {
        self.waiting == 0 && self.at_work == 0
    }
}

impl Clock {
    fn start(&mut self) {
        self.at_work += 1;
        self.since.get_or_insert_with(Instant::now);
    }

    fn stop(&mut self) {
        self.at_work -= 1;
        if self.at_work == 0 {
            self.took += self.since.take().map_or(Duration::ZERO, |since| since.elapsed());
        }
    }
}
