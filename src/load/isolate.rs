//! Loads rows of which the target refuses some: finds the refused ones and loads all others.
//!
//! A chunk is copied block by block, each under a savepoint. If the server refuses a block, its rows are tried in
//! pieces. The error of a refused piece names the row (CONTEXT, `line`), and the rows after it are tried again. Each
//! trial is rolled back at once, so that it consumes no transaction number and does not keep its rows twice on disk
//! for long. All trials of a round are sent before the first answer is read, so that a distant server costs a few
//! round trips instead of one per row. Finally the good rows are copied together.
//!
//! Rows that look bad ([`crate::transform::Trace::suspects`]) are tried first, one by one. The rest can then usually
//! be copied at once. Only the server refuses rows: a wrong suspicion costs time, nothing else.

use std::ops::Range;

use super::refusal::{Destination, Refusal};
use crate::batch::{BATCH_BYTES, BatchPool};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::format::Format;
use crate::pg::wire::{Trials, Wire};
use crate::transform::{Trace, header, trailer};

/// Rolls back a block, or a trial.
const ROLL_BACK: &str = "rollback to savepoint block";

/// Keeps the rows copied so far, and begins the next block.
const NEXT_BLOCK: &str = "release savepoint block; savepoint block; ";

/// Number of trials that are sent before their answers are read.
const TRIALS_MAX: usize = 256;

/// Maximum bytes of a round, unless a single piece has more.
const ROUND_BYTES_MAX: usize = 1 << 20;

/// Maximum rows of a piece, about as many as a block has.
const PIECE_ROWS_MAX: usize = 4096;

/// Rows of a piece while the distribution of bad rows is unknown.
const PIECE_ROWS_FIRST: usize = 128;

/// A refused row: its number in the trace of its block, from 0.
pub(crate) type Refused = (usize, Refusal);

/// The outcome of a block.
#[derive(Debug)]
pub(crate) struct Copied {
    /// The refused rows, in order.
    pub(crate) refused: Vec<Refused>,
    /// Whether all other rows are in staging; if not, too many rows were refused to go on.
    pub(crate) is_complete: bool,
}

/// Decides, from the number of refused rows of a block so far, whether there are too many to go on.
pub(crate) type Enough<'e> = &'e (dyn Fn(u64) -> bool + Send + Sync);

/// A chunk being loaded into staging, in one transaction.
pub(crate) struct Isolation<'a> {
    wire: &'a mut Wire,
    pool: &'a BatchPool,
    copy: String,
    format: Format,
    into: &'a Destination,
    /// Whether rows were copied since the savepoint.
    is_dirty: bool,
    /// Rows of a piece: about twice the distance between two bad rows.
    piece: usize,
    /// Whether suspicious rows are worth separate trials.
    is_suspicious: bool,
    rows: u64,
}

impl<'a> Isolation<'a> {
    /// Begins the transaction of a chunk, with the given `settings`. `copy` is the COPY … FROM STDIN.
    ///
    /// # Errors
    /// Errors of the server.
    pub(crate) async fn begin(
        wire: &'a mut Wire,
        pool: &'a BatchPool,
        (settings, copy): (&str, String),
        format: Format,
        into: &'a Destination,
    ) -> Result<Self> {
        wire.execute(&format!("begin; set local synchronous_commit = off; {settings}savepoint block"))
            .await?;
        Ok(Self {
            wire,
            pool,
            copy,
            format,
            into,
            is_dirty: false,
            piece: PIECE_ROWS_FIRST,
            is_suspicious: true,
            rows: 0,
        })
    }

    /// Copies a block of whole rows, except those that are refused.
    ///
    /// # Errors
    /// Errors of the server that do not concern a row.
    pub(crate) async fn copy(&mut self, data: &[u8], trace: &Trace, enough: Enough<'_>) -> Result<Copied> {
        let block = Block { data, trace };
        let mut good: Vec<usize> = (0..trace.len()).collect();
        let mut refused = Vec::new();
        if self.is_suspicious && !trace.suspects().is_empty() {
            self.try_suspects(&block, &mut refused, enough).await?;
            keep_others(&mut good, &refused);
        }
        while !enough(refused.len() as u64)
            && let Some(refusal) = self.copy_rows(&block, &good).await?
        {
            self.wire.execute(ROLL_BACK).await?;
            self.divide(&block, &good, refusal, &mut refused, enough).await?;
            keep_others(&mut good, &refused);
        }
        refused.sort_by_key(|&(row, _)| row);
        self.rows += good.len() as u64;
        let is_complete = !enough(refused.len() as u64);
        Ok(Copied { refused, is_complete })
    }

    /// Returns the number of rows copied so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Commits the chunk together with its ledger row.
    ///
    /// # Errors
    /// Errors of the server.
    pub(crate) async fn commit(self, enter: impl FnOnce(i64) -> String) -> Result<()> {
        let enter = enter(i64::try_from(self.rows).unwrap_or(i64::MAX));
        fail::fail_point!("load.chunk_copied");
        self.wire.execute(&format!("{enter}; commit")).await?;
        fail::fail_point!("load.chunk_committed");
        Ok(())
    }

    /// Rolls the chunk back.
    ///
    /// # Errors
    /// A broken socket.
    pub(crate) async fn abort(self) -> Result<()> {
        self.wire.execute("rollback").await
    }

    /// Returns the COPY, preceded by the statements it needs.
    fn copy_sql(&mut self) -> String {
        let before = if std::mem::take(&mut self.is_dirty) { NEXT_BLOCK } else { "" };
        format!("{before}{}", self.copy)
    }

    /// Copies rows permanently; returns `Some` if the server refuses one of them.
    async fn copy_rows(&mut self, block: &Block<'_>, rows: &[usize]) -> Result<Option<Refusal>> {
        if rows.is_empty() {
            return Ok(None);
        }
        let sql = self.copy_sql();
        let into = self.into;
        let copied = async {
            let mut copy = self.wire.copy_in(&sql).await?;
            for data in block.copy_data(rows, self.format).flat_map(|data| data.chunks(BATCH_BYTES)) {
                let mut batch = self.pool.take();
                batch.extend(data);
                copy.send(&mut batch).await?;
                self.pool.give_back(batch);
            }
            copy.finish().await
        };
        match copied.await {
            Ok(copied) if copied == rows.len() as u64 => {
                self.is_dirty = true;
                Ok(None)
            }
            Ok(copied) => {
                let message =
                    format!("{} rows of a block were sent, but the target received {copied}", rows.len());
                Err(Error::new(Phase::Load, Kind::Guard, message))
            }
            Err(error) if self.wire.is_usable() => Refusal::of(&error, into).map(Some).ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// Tries suspicious rows one by one. If most of them turn out good, later suspicions are ignored.
    async fn try_suspects(
        &mut self,
        block: &Block<'_>,
        refused: &mut Vec<Refused>,
        enough: Enough<'_>,
    ) -> Result<()> {
        let suspects: Vec<usize> = block.trace.suspects().iter().map(|&row| row as usize).collect();
        let mut open: Vec<Range<usize>> = (0..suspects.len()).map(|i| i..i + 1).rev().collect();
        while !open.is_empty() && !enough(refused.len() as u64) {
            self.round(block, &suspects, &mut open, 1, refused).await?;
        }
        self.is_suspicious = 2 * refused.len() >= suspects.len();
        Ok(())
    }

    /// Finds every refused row in a set of which at least one was refused.
    async fn divide(
        &mut self,
        block: &Block<'_>,
        rows: &[usize],
        first: Refusal,
        refused: &mut Vec<Refused>,
        enough: Enough<'_>,
    ) -> Result<()> {
        let before = refused.len();
        let mut open = vec![settle(rows, 0..rows.len(), first, refused)];
        open.retain(|rest| !rest.is_empty());
        loop {
            let found = (refused.len() - before).max(1);
            let undecided: usize = open.iter().map(Range::len).sum();
            self.piece = (2 * (rows.len() - undecided) / found).clamp(1, PIECE_ROWS_MAX);
            if open.is_empty() || enough(refused.len() as u64) {
                return Ok(());
            }
            self.round(block, rows, &mut open, self.piece, refused).await?;
        }
    }

    /// Tries pieces from the end of `open`, each a range of `rows`; undecided ranges go back into `open`.
    async fn round(
        &mut self,
        block: &Block<'_>,
        rows: &[usize],
        open: &mut Vec<Range<usize>>,
        piece: usize,
        refused: &mut Vec<Refused>,
    ) -> Result<()> {
        let mut trials = Trials::default();
        let mut tried = Vec::new();
        while trials.len() < TRIALS_MAX
            && trials.bytes() < ROUND_BYTES_MAX
            && let Some(range) = open.pop()
        {
            let end = range.end.min(range.start + piece);
            if end < range.end {
                open.push(end..range.end);
            }
            let copy = self.copy_sql();
            trials.push(&copy, block.copy_data(&rows[range.start..end], self.format), ROLL_BACK)?;
            tried.push(range.start..end);
        }
        let verdicts = self.wire.try_copies(&trials).await?;
        fail::fail_point!("load.isolating");
        for (range, verdict) in tried.into_iter().zip(verdicts).rev() {
            let Some(error) = verdict else { continue };
            let Some(refusal) = Refusal::of_server(&error, self.into) else {
                return Err(Error::server(Phase::Load, "the target refused a block of rows", error));
            };
            let rest = settle_or_halve(rows, range, refusal, refused);
            open.extend(rest.into_iter().rev().filter(|rest| !rest.is_empty()));
        }
        Ok(())
    }
}

/// Records the row named by an error. Returns the undecided rows of the range: those after it, or all of them if the
/// row is unknown.
fn settle(rows: &[usize], range: Range<usize>, refusal: Refusal, refused: &mut Vec<Refused>) -> Range<usize> {
    let line = refusal.line.or((range.len() == 1).then_some(1));
    let at = line.and_then(|line| range.clone().nth(usize::try_from(line).ok()?.checked_sub(1)?));
    let Some(at) = at else { return range };
    refused.push((rows[at], refusal));
    at + 1..range.end
}

/// Likewise for a piece that was tried separately: if the row is unknown, both halves are undecided.
fn settle_or_halve(
    rows: &[usize],
    range: Range<usize>,
    refusal: Refusal,
    refused: &mut Vec<Refused>,
) -> [Range<usize>; 2] {
    let rest = settle(rows, range.clone(), refusal, refused);
    if rest != range {
        return [rest, 0..0];
    }
    let middle = range.start + range.len() / 2;
    [range.start..middle, middle..range.end]
}

/// Removes the refused rows from ascending rows.
fn keep_others(rows: &mut Vec<usize>, refused: &[Refused]) {
    let refused: std::collections::HashSet<usize> = refused.iter().map(|&(row, _)| row).collect();
    rows.retain(|row| !refused.contains(row));
}

/// Rows and their end positions.
struct Block<'b> {
    data: &'b [u8],
    trace: &'b Trace,
}

impl Block<'_> {
    /// Returns ascending rows as the data of one COPY; adjacent rows are one slice.
    fn copy_data<'b>(&'b self, rows: &'b [usize], format: Format) -> impl Iterator<Item = &'b [u8]> {
        let runs = rows.chunk_by(|a, b| a + 1 == *b).filter_map(|run| {
            let (first, last) = (*run.first()?, *run.last()?);
            Some(&self.data[self.trace.start(first)..self.trace.end(last)])
        });
        [header(format)].into_iter().chain(runs).chain([trailer(format)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(line: Option<u64>) -> Refusal {
        let text = String::new;
        Refusal { line, column: None, constraint: None, kind: text(), text: text() }
    }

    #[test]
    fn a_line_decides_about_its_row_and_all_before_it() {
        let rows = [10, 11, 12, 20, 21, 22];
        let mut refused = Vec::new();
        assert_eq!(settle(&rows, 1..6, refusal(Some(3)), &mut refused), 4..6);
        assert_eq!(refused[0].0, 20);
        assert_eq!(settle(&rows, 4..6, refusal(Some(2)), &mut refused), 6..6);
        assert_eq!(refused[1].0, 22);
    }

    #[test]
    fn without_a_line_a_piece_is_halved_until_it_is_one_row() {
        let rows = [10, 11, 12];
        for line in [None, Some(0), Some(4)] {
            let mut refused = Vec::new();
            assert_eq!(settle_or_halve(&rows, 0..3, refusal(line), &mut refused), [0..1, 1..3]);
            assert!(refused.is_empty(), "{line:?}");
        }
        let mut refused = Vec::new();
        assert_eq!(settle_or_halve(&rows, 2..3, refusal(None), &mut refused), [3..3, 0..0]);
        assert_eq!(refused[0].0, 12);
    }
}
