//! One group from loaded to applied: judged, verified, exchanged; again after a broken connection.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio_postgres::Client;

use crate::apply::swap;
use crate::apply::{self, Applied, Books, Context, Loaded, Outcome, Ready, Verdict};
use crate::backoff::Backoff;
use crate::config::OnEmpty;
use crate::error::{Error, Kind, Phase, Result};
use crate::load::{self, Judged, Judgement};
use crate::pg::name::TableName;
use crate::pg::session::CancelHandle;
use crate::pg::wire::Wire;
use crate::plan::{Group, Plan};
use crate::report::TableReport;
use crate::report::state::Unvalidated;
use crate::run::apply::direct_feed::{feed, source_has_rows};
use crate::run::apply::table_states::Board;
use crate::run::load::shared::Shared;
use crate::run::stage::Staged;

/// Pauses before a group is taken up once more after a broken connection.
const AGAIN_MIN: Duration = Duration::from_millis(500);
const AGAIN_MAX: Duration = Duration::from_secs(10);

/// What became of a group, and what was rejected on the way.
pub(crate) struct Ended {
    pub(crate) group: usize,
    pub(crate) fate: Fate,
    pub(crate) judged: Vec<(usize, Judged)>,
}

/// What became of a group.
pub(crate) enum Fate {
    /// Committed; these tables were left as they are, with a warning each. `None`: all of them were.
    Applied(Option<Applied>, Vec<(usize, String)>),
    /// These chunks of a table are not in staging any more.
    Incomplete(usize, Vec<i32>),
    /// One table is the reason.
    TableFailed(usize, Error),
    /// The transaction as a whole.
    GroupFailed(Error),
}

/// What is known of a table when its group is taken up.
struct Known {
    table: usize,
    extracted: u64,
    report: TableReport,
}

/// The work on one group.
pub(crate) struct GroupWork<'a> {
    staged: &'a Staged,
    shared: &'a Arc<Shared>,
    group: usize,
    known: Vec<Known>,
    /// Set before the judging transaction commits, so that a lost reply does not lose what was judged.
    judged: Vec<(usize, Judged)>,
}

impl<'a> GroupWork<'a> {
    /// A group whose rows have all been reported as landed.
    pub(crate) fn new(staged: &'a Staged, shared: &'a Arc<Shared>, group: usize, board: &Board<'_>) -> Self {
        let known = shared.plan.groups[group]
            .tables()
            .map(|table| Known { table, extracted: board.extracted(table), report: board.report(table) })
            .collect();
        Self { staged, shared, group, known, judged: Vec::new() }
    }

    /// Judges, verifies and applies.
    pub(crate) async fn run(mut self) -> Ended {
        let mut backoff = Backoff::new(AGAIN_MIN, AGAIN_MAX);
        let mut attempt = 0;
        let began = Instant::now();
        let fate = loop {
            let outcome = self.attempt().await;
            if !outcome.as_ref().is_err_and(Error::is_out_of_slots) {
                self.shared.slots.release();
            }
            let error = match outcome {
                Ok(fate) => break fate,
                Err(error) => error,
            };
            if error.is_out_of_slots() && began.elapsed() < self.shared.plan.run.lock_wait {
                // Not a failed attempt: a stream will give its slot when it has finished its chunk.
                self.shared.early.close().await;
                self.shared.slots.want();
            } else {
                attempt += 1;
            }
            let retries = self.shared.plan.run.retries;
            if !error.is_transient() || attempt > retries || self.shared.cancel.is_cancelled() {
                break Fate::GroupFailed(error);
            }
            let pause = backoff.pause();
            tracing::warn!(phase = %error.phase(), %error, attempt, "verifying and applying again in {pause:.1?}");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shared.cancel.cancelled() => break Fate::GroupFailed(Error::cancelled(Phase::Verify)),
            }
        };
        Ended { group: self.group, fate, judged: self.judged }
    }

    fn plan(&self) -> &'a Group {
        &self.shared.plan.groups[self.group]
    }

    /// One attempt; an error is about the group as a whole.
    async fn attempt(&mut self) -> Result<Fate> {
        self.staged.claim.restore().await?;
        for known in &self.known {
            self.shared.progress.table(known.table).phase(Phase::Verify);
        }
        self.note_phase(Phase::Verify).await;
        match self.judge().await {
            Ok(None) => {}
            Ok(Some(fate)) => return Ok(fate),
            Err(error) => return Err(error),
        }
        let mut ready: Vec<(usize, Box<Ready<'_>>)> = Vec::new();
        let mut skipped = Vec::new();
        for known in &self.known {
            match self.verify(known).await {
                Ok(Verdict::Ready(table)) => ready.push((known.table, table)),
                Ok(Verdict::Skip(why)) => skipped.push((known.table, why)),
                Ok(Verdict::Incomplete(chunks)) => return Ok(Fate::Incomplete(known.table, chunks)),
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => return Ok(Fate::TableFailed(known.table, error)),
            }
        }
        fail::fail_point!("verify.done");
        if let Some((table, error)) = keeps_what_it_references(&self.shared.plan, self.plan(), &skipped) {
            return Ok(Fate::TableFailed(table, error));
        }
        if ready.is_empty() {
            return Ok(Fate::Applied(None, skipped));
        }
        for (table, _) in &ready {
            let settle = self.shared.marks.settle(*table, self.shared.snapshot.as_ref());
            tokio::select! {
                () = settle => {}
                () = self.shared.cancel.cancelled() => return Err(Error::cancelled(Phase::Verify)),
            }
        }
        self.note_phase(Phase::Apply).await;
        let applied = self.apply(&ready).await?;
        Ok(Fate::Applied(Some(applied), skipped))
    }

    /// Tells in `runs` what is being done with the group. Who looks there misses nothing else if it fails.
    async fn note_phase(&self, phase: Phase) {
        let entries: Vec<usize> =
            self.plan().tables().map(|table| self.shared.plan.tables[table].entry).collect();
        let control = self.staged.claim.control().await;
        let noted =
            self.staged.state.set_phase_of(&control.client, self.staged.run.as_str(), &entries, phase).await;
        if let Err(error) = noted {
            tracing::debug!(phase = %phase, %error, "the phase was not noted");
        }
    }

    /// Judges references and duplicates on staging, once. A fate, if that is how the group ends.
    async fn judge(&mut self) -> Result<Option<Fate>> {
        let mut order = Vec::new();
        for circle in &self.plan().order {
            let mut tables = Vec::new();
            for &table in circle {
                let plan = &self.shared.plan.tables[table];
                let staging = self.shared.staging[table].clone();
                let is_kept = self.is_kept(table).await?;
                let streamed = self.shared.filters.streamed(plan, table);
                tables.push(load::Staged { table, plan, staging, is_kept, streamed });
            }
            order.push(tables);
        }
        if !load::needs_judging(&order) {
            return Ok(None);
        }
        // It has tables analysed, which waits for an index that is being built on them.
        let _ = self.early().await;
        let judged = match self.judge_once(&order).await {
            // Judged, but the reply to the commit was lost: asked again, the ledger tells whether it was committed.
            Err(error) if error.is_transient() && !self.judged.is_empty() => self.judge_once(&order).await?,
            judged => judged?,
        };
        match judged {
            Judgement::Done => Ok(None),
            Judgement::Incomplete(table, chunks) => Ok(Some(Fate::Incomplete(table, chunks))),
            Judgement::Failed(table, error) => Ok(Some(Fate::TableFailed(table, error))),
        }
    }

    async fn judge_once(&mut self, order: &[Vec<load::Staged<'_>>]) -> Result<Judgement> {
        let stream = self.shared.target.open_stream(&self.staged.sessions.judge()).await?;
        let mut wire = Wire::new(stream, Phase::Verify);
        self.shared.writable.look(&mut wire, Phase::Verify).await?;
        let cancel = wire.cancel_handle();
        let directory = Path::new(&self.shared.plan.run.rejects_dir).join(self.staged.run.as_str());
        let (ledger, pool) = (&self.shared.ledger, &self.shared.pool);
        let work = load::judge(&mut wire, ledger, order, &directory, pool, &mut self.judged);
        let shared = self.shared;
        let judged = tokio::select! {
            judged = work => judged?,
            () = shared.cancel.cancelled() => {
                cancel.cancel().await;
                return Err(Error::cancelled(Phase::Verify));
            }
        };
        wire.close().await;
        Ok(judged)
    }

    /// Whether a table will be left as it is because its source is empty.
    async fn is_kept(&self, table: usize) -> Result<bool> {
        let plan = &self.shared.plan.tables[table];
        let is_empty = self.known.iter().any(|known| known.table == table && known.extracted == 0);
        if !is_empty || plan.guards.on_empty != OnEmpty::Skip {
            return Ok(false);
        }
        let control = self.staged.claim.control().await;
        let sql = format!("select exists (select 1 from {})", plan.name);
        let asked = async {
            let row = control.client.query_one(&sql, &[]).await;
            row.map_err(|e| Error::pg(Phase::Verify, format!("reading {}", plan.name.plain()), &e))
        };
        Ok(self.unless_cancelled(asked, control.cancel_handle()).await?.get(0))
    }

    async fn verify(&self, known: &Known) -> Result<Verdict<'a>> {
        let plan = &self.shared.plan.tables[known.table];
        let staging = self.shared.staging[known.table].clone();
        let (feed, extracted) = match &staging {
            Some(_) => (None, known.extracted),
            None => {
                // Without staging the number of rows that change matters only where it fails the table.
                let has_rows = async {
                    if plan.losses.is_error && self.shared.losses.begin(known.table) {
                        let table = (known.table, plan);
                        self.shared.losses.count(table, self.shared.snapshot()?, None).await?;
                    }
                    source_has_rows(self.shared, known.table).await
                };
                let has_rows = tokio::select! {
                    has_rows = has_rows => has_rows?,
                    () = self.shared.cancel.cancelled() => return Err(Error::cancelled(Phase::Verify)),
                };
                (Some(feed(self.shared, known.table)), u64::from(has_rows))
            }
        };
        let judged = self.judged.iter().find(|(table, _)| *table == known.table);
        let removed = known.report.rejected + judged.map_or(0, |(_, judged)| judged.removed);
        let mut kinds = known.report.rejects.counts.clone();
        kinds.extend(judged.into_iter().flat_map(|(_, judged)| judged.rejects.counts.iter().cloned()));
        let rejects_file = self.shared.filters.rejects_path(plan);
        let loaded = Loaded { plan, staging, feed, extracted, removed, kinds, rejects_file };
        let control = self.staged.claim.control().await;
        let work = apply::verify(&control.client, &self.shared.ledger, loaded);
        self.unless_cancelled(work, control.cancel_handle()).await
    }

    /// What changes nothing that others see is given up when the run is cancelled, and ended on the server.
    async fn unless_cancelled<T>(
        &self,
        work: impl Future<Output = Result<T>>,
        session: CancelHandle,
    ) -> Result<T> {
        tokio::select! {
            done = work => done,
            () = self.shared.cancel.cancelled() => {
                session.cancel().await;
                Err(Error::cancelled(Phase::Verify))
            }
        }
    }

    /// What was done to the group's new tables before, once nobody is at it any more. A table that has changed since is as good
    /// as untouched.
    async fn early(&self) -> swap::Early {
        let tables: Vec<usize> = self.plan().tables().collect();
        let mut early = self.shared.early.finish(&tables).await;
        let is_judged = |entry: &usize| {
            self.judged.iter().any(|(table, _)| self.shared.plan.tables[*table].entry == *entry)
        };
        early.vacuumed.retain(|entry| !is_judged(entry));
        early
    }

    async fn apply(&self, ready: &[(usize, Box<Ready<'_>>)]) -> Result<Applied> {
        ready.iter().for_each(|(table, _)| self.shared.progress.table(*table).phase(Phase::Apply));
        let find = |i: &usize| ready.iter().find(|(table, _)| table == i).map(|(_, ready)| &**ready);
        let circles: Vec<Vec<&Ready<'_>>> =
            self.plan().order.iter().map(|circle| circle.iter().filter_map(find).collect()).collect();
        let circles: Vec<Vec<&Ready<'_>>> = circles.into_iter().filter(|circle| !circle.is_empty()).collect();
        let books =
            RunBooks { staged: self.staged, shared: self.shared, known: &self.known, judged: &self.judged };
        let run = &self.shared.plan.run;
        let early = &self.early().await;
        let context = Context {
            connect: &self.shared.target.info,
            settings: &self.staged.sessions.apply(),
            lock_timeout: run.lock_timeout,
            lock_wait: run.lock_wait,
            schemas: &self.staged.schemas,
            builders: self.shared.plan.streams,
            early,
            books: &books,
            cancel: &self.shared.cancel,
        };
        apply::apply_group(&context, &circles).await
    }
}

/// A table that keeps its rows must keep what they reference: nothing in its group that it references can be replaced.
fn keeps_what_it_references(
    plan: &Plan,
    group: &Group,
    skipped: &[(usize, String)],
) -> Option<(usize, Error)> {
    let is_skipped = |table: usize| skipped.iter().any(|(skipped, _)| *skipped == table);
    // Where only differences are written, what vanishes is known one by one, and what refers to it is searched for.
    let is_exchanged = |table: usize| !apply::writes_differences(plan.tables[table].apply);
    let (child, parent) = group
        .references
        .iter()
        .find(|(child, parent)| is_skipped(*child) && !is_skipped(*parent) && is_exchanged(*parent))?;
    let (child_name, parent_name) = (plan.tables[*child].name.plain(), plan.tables[*parent].name.plain());
    let error = Error::new(
        Phase::Verify,
        Kind::Guard,
        format!(
            "the source has no rows for {child_name}, so it would keep its own, but these reference {parent_name}, which is replaced"
        ),
    )
    .hint(format!("Set on_empty = \"apply\" for {child_name} to empty it, or find out why the source is empty."));
    Some((*child, error))
}

/// What a group's transaction needs of the run.
struct RunBooks<'a> {
    staged: &'a Staged,
    shared: &'a Shared,
    known: &'a [Known],
    judged: &'a [(usize, Judged)],
}

impl RunBooks<'_> {
    /// The table that an outcome is about, and its report with the outcome in it.
    fn report(&self, outcome: &Outcome) -> Option<(usize, TableReport)> {
        let known =
            self.known.iter().find(|known| self.shared.plan.tables[known.table].entry == outcome.entry)?;
        let mut report = known.report.clone();
        if let Some((_, judged)) = self.judged.iter().find(|(table, _)| *table == known.table) {
            judged.report(&mut report);
        }
        if self.shared.staging[known.table].is_none() {
            report.extracted = outcome.staged;
            report.staged = outcome.staged;
        }
        report.watermark = self.shared.marks.of(known.table).watermark;
        outcome.count(&mut report);
        Some((known.table, report))
    }
}

impl Books for RunBooks<'_> {
    fn check_claim<'a>(&'a self, client: &'a Client) -> BoxFuture<'a, Result<()>> {
        self.staged.claim.check(client).boxed()
    }

    fn record<'a>(&'a self, client: &'a Client, outcomes: &'a [Outcome]) -> BoxFuture<'a, Result<()>> {
        async move {
            let reports: Vec<(usize, TableReport)> =
                outcomes.iter().filter_map(|outcome| self.report(outcome)).collect();
            let entries: Vec<_> =
                reports.iter().map(|(table, report)| self.staged.entry(*table, report)).collect();
            self.staged.state.record_applied(client, &entries).await
        }
        .boxed()
    }

    fn owe<'a>(&'a self, client: &'a Client, keys: &'a [Unvalidated]) -> BoxFuture<'a, Result<()>> {
        async move {
            // They are the group's; its first entry stands for it.
            let Some(known) = self.known.first() else { return Ok(()) };
            let entry = self.shared.plan.tables[known.table].entry;
            self.staged.state.record_unvalidated(client, self.staged.run.as_str(), entry, keys).await
        }
        .boxed()
    }

    fn is_recorded<'a>(&'a self, client: &'a Client, outcomes: &'a [Outcome]) -> BoxFuture<'a, Result<bool>> {
        async move {
            let entries: Vec<usize> = outcomes.iter().map(|outcome| outcome.entry).collect();
            self.staged.state.is_applied(client, self.staged.run.as_str(), &entries).await
        }
        .boxed()
    }

    fn exchanged<'a>(&'a self, client: &'a Client, table: &'a TableName) -> BoxFuture<'a, Result<Error>> {
        self.staged.state.exchanged(client, Phase::Apply, table).boxed()
    }

    fn waiting(&self, attempt: u32, blockers: &str) {
        let who = if blockers.is_empty() { "a transaction that has since ended" } else { blockers };
        tracing::warn!(phase = %Phase::Apply, attempt, "waiting for locks; blocked by {who}");
        for known in self.known {
            self.shared.progress.table(known.table).note(format!("waiting for a lock, attempt {attempt}"));
        }
    }

    fn doing(&self, what: &str) {
        self.known.iter().for_each(|known| self.shared.progress.table(known.table).note(what));
    }
}
