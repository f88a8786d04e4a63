//! Where every table and every group of a run stands.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::apply::{Applied, Outcome};
use crate::error::{Error, Kind};
use crate::load::{self, Judged};
use crate::plan::{Plan, TablePlan};
use crate::report::{Reject, Rejects, TableReport, millis};
use crate::run::load::filter::Part;
use crate::run::load::shared::Landed;
use crate::run::load::watermarks::Marks;
use crate::transform;

/// The state of a run's tables. The run's loop is its only owner.
pub(crate) struct Board<'p> {
    plan: &'p Plan,
    /// Per table, what is recorded for the next run to begin from.
    marks: &'p Marks,
    started: Instant,
    tables: Vec<TableState>,
    groups: Vec<GroupState>,
}

#[derive(Debug, Default)]
struct TableState {
    landed: BTreeMap<i32, Landed>,
    /// What was seen of chunks that did not land, since the table failed.
    given_up: Vec<Part>,
    streams: BTreeSet<usize>,
    attempts: u32,
    times_lost: u32,
    error: Option<Error>,
    skipped: bool,
    warnings: Vec<String>,
    judged: Option<Judged>,
    rejects_file: Option<String>,
    outcome: Option<Outcome>,
    /// Bytes that a method without staging has taken from the source.
    direct_bytes: u64,
    exchange: Option<(Duration, Duration, u32)>,
    ended: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GroupState {
    /// Chunks are missing.
    Loading,
    /// Being verified and applied.
    Applying,
    /// Applied, skipped or failed.
    Ended,
}

impl<'p> Board<'p> {
    pub(crate) fn new(plan: &'p Plan, marks: &'p Marks, started: Instant) -> Self {
        Self {
            plan,
            marks,
            started,
            tables: plan.tables.iter().map(|_| TableState { attempts: 1, ..TableState::default() }).collect(),
            groups: vec![GroupState::Loading; plan.groups.len()],
        }
    }

    /// Enters a chunk. Returns whether it was the table's last one.
    pub(crate) fn landed(&mut self, landed: Landed) -> bool {
        let table = landed.job.table;
        let state = &mut self.tables[table];
        state.streams.insert(landed.stream);
        state.warnings.extend(landed.moved.warnings.iter().cloned());
        state.attempts = state.attempts.max(landed.attempts + u32::from(landed.job.again));
        state.landed.insert(landed.job.chunk.number, landed);
        state.landed.len() == self.plan.tables[table].chunks.len()
    }

    /// Enters what was rejected of a table after it was loaded.
    pub(crate) fn judged(&mut self, table: usize, judged: Judged) {
        self.tables[table].judged = Some(judged);
    }

    /// Enters where the rejects of a table are, which may have failed before all of its rows had landed.
    pub(crate) fn rejects_are_in(&mut self, table: usize, file: String) {
        self.tables[table].rejects_file = Some(file);
    }

    /// Enters what was seen of the chunks of a table that failed before all of them had landed.
    pub(crate) fn gave_up(&mut self, table: usize, parts: BTreeMap<i32, Part>) {
        let state = &mut self.tables[table];
        if state.error.is_some() {
            let parts = parts.into_iter().filter(|(chunk, _)| !state.landed.contains_key(chunk));
            state.given_up = parts.map(|(_, part)| part).collect();
        }
    }

    /// Enters how much a method without staging has moved.
    pub(crate) fn moved_directly(&mut self, table: usize, bytes: u64) {
        self.tables[table].direct_bytes = bytes;
    }

    /// Takes chunks off a table that were reported as landed and are not there. Returns how often that has happened.
    pub(crate) fn lost(&mut self, table: usize, chunks: &[i32]) -> u32 {
        let state = &mut self.tables[table];
        state.landed.retain(|number, _| !chunks.contains(number));
        state.judged = None;
        state.times_lost += 1;
        let times = state.times_lost;
        let group = self.plan.group_of(table);
        self.groups[group] = GroupState::Loading;
        times
    }

    /// A group all of whose rows are in staging (or need none), marked as being applied.
    pub(crate) fn next_ready(&mut self) -> Option<usize> {
        let ready = (0..self.groups.len())
            .find(|&group| self.groups[group] == GroupState::Loading && self.is_loaded(group))?;
        self.groups[ready] = GroupState::Applying;
        Some(ready)
    }

    /// Whether a table waits for no other one: the rows of all that are applied with it are there.
    pub(crate) fn is_last(&self, table: usize) -> bool {
        self.is_loaded(self.plan.group_of(table))
    }

    fn is_loaded(&self, group: usize) -> bool {
        self.plan.groups[group].tables().all(|i| {
            let table = &self.plan.tables[i];
            !table.uses_staging || self.tables[i].landed.len() == table.chunks.len()
        })
    }

    /// Rows that the source sent for a table.
    pub(crate) fn extracted(&self, table: usize) -> u64 {
        self.tables[table].landed.values().map(|landed| landed.moved.extracted).sum()
    }

    /// Fails a table and with it its whole group. Returns the tables that are over with.
    pub(crate) fn fail(&mut self, table: usize, error: Error) -> Vec<usize> {
        let group = self.plan.group_of(table);
        self.groups[group] = GroupState::Ended;
        let members: Vec<usize> = self.plan.groups[group].tables().collect();
        let name = self.plan.tables[table].name.plain();
        for &member in members.iter().filter(|&&member| member != table) {
            if self.tables[member].error.is_none() {
                let phase = error.phase();
                let kind = if error.kind() == Kind::Cancelled { Kind::Cancelled } else { Kind::Dependency };
                let dependent = Error::new(
                    phase,
                    kind,
                    format!("not applied, because {name} of the same transaction failed"),
                );
                self.end(member, Some(dependent));
            }
        }
        self.end(table, Some(error));
        members
    }

    /// Fails every table of a group with one error, which is about the group.
    pub(crate) fn fail_group(&mut self, group: usize, message: &Error) {
        self.groups[group] = GroupState::Ended;
        for member in self.plan.groups[group].tables().collect::<Vec<_>>() {
            let mut error = Error::new(message.phase(), message.kind(), message.message());
            if let Some(advice) = message.advice() {
                error = error.hint(advice);
            }
            self.end(member, Some(error));
        }
    }

    /// Fails whatever has not ended, and returns whether there was any.
    pub(crate) fn fail_rest(&mut self, error: impl Fn() -> Error) -> bool {
        let open: Vec<usize> =
            (0..self.groups.len()).filter(|&group| self.groups[group] != GroupState::Ended).collect();
        for &group in &open {
            self.fail_group(group, &error());
        }
        !open.is_empty()
    }

    /// A group was applied, but for the tables that were skipped with a warning.
    pub(crate) fn applied(&mut self, group: usize, applied: Option<Applied>, skipped: Vec<(usize, String)>) {
        self.groups[group] = GroupState::Ended;
        for (table, warning) in skipped {
            self.tables[table].skipped = true;
            self.tables[table].warnings.push(warning);
            self.end(table, None);
        }
        let Some(applied) = applied else { return };
        for outcome in applied.outcomes {
            let entry = outcome.entry;
            let Some(table) = self.plan.tables.iter().position(|table| table.entry == entry) else {
                continue;
            };
            self.tables[table].exchange = Some((applied.apply, applied.lock, applied.lock_attempts));
            self.tables[table].outcome = Some(outcome);
            self.end(table, None);
        }
    }

    /// Whether every group has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.groups.iter().all(|&group| group == GroupState::Ended)
    }

    /// Whether a table has failed.
    pub(crate) fn error(&self, table: usize) -> Option<&Error> {
        self.tables[table].error.as_ref()
    }

    fn end(&mut self, table: usize, error: Option<Error>) {
        self.tables[table].error = error;
        self.tables[table].ended = Some(Instant::now());
    }

    /// A table's figures as they are now.
    pub(crate) fn report(&self, table: usize) -> TableReport {
        let plan = &self.plan.tables[table];
        let state = &self.tables[table];
        let mut report =
            TableReport::new(plan.name.plain(), plan.mode, plan.strategy, plan.replaces_by(), plan.format);
        let mark = self.marks.of(table);
        report.chunks = plan.chunks.len() as u64;
        report.streams = state.streams.len() as u64;
        report.attempts = u64::from(state.attempts);
        let given_up = state.given_up.iter().map(|part| part.tally.rows_in);
        report.extracted = self.extracted(table) + given_up.sum::<u64>();
        report.staged = report.extracted;
        report.bytes_in = state.landed.values().map(|landed| landed.moved.bytes_in).sum();
        report.bytes_out = state.landed.values().map(|landed| landed.moved.bytes_out).sum();
        report.load_ms = millis(load_time(state));
        report.warnings = plan.warnings.iter().chain(&mark.warning).chain(&state.warnings).cloned().collect();
        report.fingerprint.clone_from(&plan.fingerprint);
        report.filled.clone_from(&plan.filled);
        report.duration_ms = millis(state.ended.unwrap_or_else(Instant::now).duration_since(self.started));
        report_streamed(plan, state, &mut report);
        if let Some(judged) = &state.judged {
            judged.report(&mut report);
        }
        if report.rejects_file.is_none() {
            report.rejects_file.clone_from(&state.rejects_file);
        }
        if let Some(outcome) = &state.outcome {
            if !plan.uses_staging {
                report.extracted = outcome.staged;
                report.streams = 1;
                (report.bytes_in, report.bytes_out) = (state.direct_bytes, state.direct_bytes);
            }
            report.watermark.clone_from(&mark.watermark);
            report.staged = outcome.staged;
            outcome.count(&mut report);
            report.warnings.extend(outcome.warnings.iter().cloned());
        }
        if let Some((apply, lock, attempts)) = state.exchange {
            report.apply_ms = millis(apply);
            report.lock_ms = millis(lock);
            report.lock_attempts = u64::from(attempts);
        }
        match &state.error {
            Some(error) => report.fail(error),
            None if state.skipped || state.outcome.is_some() => report.succeed(),
            None => {}
        }
        report
    }
}

/// From the first COPY of a table to its last row in staging.
fn load_time(state: &TableState) -> Duration {
    let began = state.landed.values().map(|landed| landed.began).min();
    let ended = state.landed.values().map(|landed| landed.ended).max();
    began.zip(ended).map_or(Duration::ZERO, |(began, ended)| ended.duration_since(began))
}

/// What was judged of a table's rows while they streamed by, entered into its report.
fn report_streamed(plan: &TablePlan, state: &TableState, report: &mut TableReport) {
    let mut rejects = transform::Rejects::default();
    let mut orphans: BTreeMap<usize, u64> = BTreeMap::new();
    let mut missing: BTreeMap<usize, u64> = BTreeMap::new();
    let landed = state.landed.values().filter_map(|landed| landed.moved.part.as_ref());
    for part in landed.chain(&state.given_up) {
        if part.tally.rejected > 0 {
            report.rejected += part.tally.rejected;
            report.rejects_file = Some(part.rejects_file.display().to_string());
        }
        rejects.add(&part.rejects);
        for (&reference, count) in part.numbers.references.iter().zip(&part.tally.orphans) {
            *orphans.entry(reference).or_default() += count;
        }
        for (&lookup, count) in part.numbers.lookups.iter().zip(&part.tally.missing) {
            *missing.entry(lookup).or_default() += count;
        }
    }
    report.staged = report.extracted.saturating_sub(report.rejected);
    let shown = rejects.samples.into_iter().map(|(reason, text)| Reject { reason, text });
    report.rejects = Rejects { first: shown.collect(), counts: rejects.reasons };
    for (reference, rows) in orphans.into_iter().filter(|&(_, rows)| rows > 0) {
        report.warnings.push(load::nulled(&plan.references[reference], rows));
    }
    for (lookup, rows) in missing.into_iter().filter(|&(_, rows)| rows > 0) {
        report.warnings.push(load::missing(&plan.lookups[lookup], rows));
    }
}
