//! The run's loop: hears from the streams, verifies and applies each group as soon as its rows are complete.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::mpsc;

use crate::error::{Error, Kind, Phase};
use crate::load;
use crate::report::{millis, result};
use crate::run::apply::group::{Ended, Fate, GroupWork};
use crate::run::apply::table_states::Board;
use crate::run::load::queue::Job;
use crate::run::load::shared::{Event, Shared};
use crate::run::stage::Staged;

/// A smaller table has its indexes before a session is open to build them.
const EARLY_BYTES_MIN: u64 = 1 << 20;

/// Loads, verifies and applies until every group has ended.
pub(crate) async fn run<'p>(
    staged: &'p Staged,
    shared: &'p Arc<Shared>,
    mut events: mpsc::Receiver<Event>,
    started: Instant,
) -> Board<'p> {
    let mut board = Board::new(&staged.plan, &shared.marks, started);
    let mut applying: Option<BoxFuture<'p, Ended>> = None;
    let cancelled = shared.cancel.cancelled();
    let mut cancelled = std::pin::pin!(cancelled);
    while !board.is_over() {
        if applying.is_none()
            && let Some(group) = board.next_ready()
        {
            let tables = staged.plan.groups[group].tables().count();
            tracing::info!(phase = %Phase::Verify, tables, "loaded; checking, then applying");
            let work = GroupWork::new(staged, shared, group, &board);
            applying = Some(work.run().boxed());
        }
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => hear(event, &mut board, shared, applying.is_some()),
                // No stream is left; what is not complete will not be.
                None if applying.is_none() => {
                    board.fail_rest(|| Error::new(Phase::Load, Kind::Internal, "no stream is left to load the table"));
                }
                None => {
                    if let Some(work) = applying.take() {
                        settle(work.await, &mut board, shared, staged).await;
                    }
                }
            },
            ended = async { match applying.as_mut() { Some(work) => work.await, None => std::future::pending().await } } => {
                applying = None;
                settle(ended, &mut board, shared, staged).await;
            }
            () = &mut cancelled => {
                // A group that is being committed is waited for: it ends by itself, one way or the other.
                if let Some(work) = applying.take() {
                    settle(work.await, &mut board, shared, staged).await;
                }
                board.fail_rest(|| Error::cancelled(Phase::Load));
            }
        }
    }
    board
}

fn hear(event: Event, board: &mut Board<'_>, shared: &Shared, is_applying: bool) {
    match event {
        Event::Landed(landed) => {
            let table = landed.job.table;
            shared.progress.table(table).chunk_done();
            if board.landed(*landed) {
                shared.progress.table(table).loaded();
                // A group that is applied now builds its indexes itself: sooner would only slow the counting of its rows.
                let has_to_wait = is_applying || !board.is_last(table);
                if has_to_wait && board.error(table).is_none() && may_begin_early(shared, table) {
                    shared.early.begin(table);
                }
                tracing::debug!(phase = %Phase::Load, table = shared.plan.tables[table].name.plain(),
                    rows = board.extracted(table), "loaded");
            }
        }
        Event::Failed { table, error } => fail(board, shared, table, error),
    }
}

/// Whether a table all of whose rows have landed can be worked on: they are in the table that takes the live one's place, and stay
/// there as they are.
fn may_begin_early(shared: &Shared, table: usize) -> bool {
    let plan = &shared.plan.tables[table];
    let staging = shared.staging[table].clone();
    let streamed = shared.filters.streamed(plan, table);
    plan.fills_new_table()
        && shared.progress.table(table).bytes().1 >= EARLY_BYTES_MIN
        && !load::needs_judging(&[vec![load::Staged { table, plan, staging, is_kept: false, streamed }]])
}

fn fail(board: &mut Board<'_>, shared: &Shared, table: usize, error: Error) {
    if board.error(table).is_some() {
        return;
    }
    if error.kind() != Kind::Cancelled {
        tracing::error!(phase = %error.phase(), table = shared.plan.tables[table].name.plain(), %error, "failed");
    }
    let over = board.fail(table, error);
    give_up(shared, &over);
}

fn give_up(shared: &Shared, tables: &[usize]) {
    for &table in tables {
        shared.failed[table].store(true, Ordering::Relaxed);
        shared.progress.table(table).finish(false);
    }
    shared.queue.forget(tables);
    shared.early.give_up(tables);
    // Whoever waited for their keys must not wait for ever.
    shared.filters.fail(tables);
    shared.queue.release(|table| shared.filters.is_ready(table));
}

/// A server that crashes whenever a table is applied must not be brought to do so for ever.
fn emptied(retries: u32) -> Error {
    let message = format!("staging was emptied again after {retries} repeated loads (retries)");
    Error::new(Phase::Verify, Kind::Server, message)
        .hint("The target's server log has the reason for its crashes; a full disk is a common one.")
}

async fn settle(ended: Ended, board: &mut Board<'_>, shared: &Shared, staged: &Staged) {
    let Ended { group, fate, judged } = ended;
    for (table, judged) in judged {
        board.judged(table, judged);
    }
    let members: Vec<usize> = shared.plan.groups[group].tables().collect();
    match fate {
        Fate::Applied(applied, skipped) => {
            let committed = applied.is_some();
            if let Some(applied) = &applied {
                let rows: u64 = applied.outcomes.iter().map(|outcome| outcome.inserted).sum();
                tracing::info!(phase = %Phase::Apply, tables = applied.outcomes.len(), rows,
                    lock_ms = millis(applied.lock), "committed");
            }
            for (table, why) in &skipped {
                tracing::warn!(phase = %Phase::Verify, table = shared.plan.tables[*table].name.plain(), "{why}");
            }
            for &table in members.iter().filter(|&&table| !shared.plan.tables[table].uses_staging) {
                board.moved_directly(table, shared.progress.table(table).bytes().0);
            }
            board.applied(group, applied, skipped);
            members.iter().for_each(|&table| shared.progress.table(table).finish(true));
            if committed {
                staged.notify().await;
            }
        }
        Fate::Incomplete(table, chunks) => {
            shared.early.end(&[table]).await;
            if board.lost(table, &chunks) > shared.plan.run.retries {
                return fail(board, shared, table, emptied(shared.plan.run.retries));
            }
            tracing::warn!(phase = %Phase::Verify, table = shared.plan.tables[table].name.plain(), chunks = chunks.len(),
                "a crash of the target's server emptied staging: loading again");
            let jobs = chunks.iter().filter_map(|number| {
                let chunk = shared.plan.tables[table].chunks.iter().find(|chunk| chunk.number == *number)?;
                Some(Job { table, chunk: chunk.clone(), again: true })
            });
            shared.queue.lost(jobs);
        }
        Fate::TableFailed(table, error) => fail(board, shared, table, error),
        Fate::GroupFailed(error) => {
            if error.kind() != Kind::Cancelled {
                let names: Vec<String> =
                    members.iter().map(|&table| shared.plan.tables[table].name.plain()).collect();
                tracing::error!(phase = %error.phase(), tables = result::some_of(&names), %error, "failed");
            }
            board.fail_group(group, &error);
            give_up(shared, &members);
        }
    }
}
