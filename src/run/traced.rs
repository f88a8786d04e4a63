//! A chunk of a table some of whose rows the target refuses: these become rejects, all others arrive.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::filter::{Done, Part, Work};
use super::pipeline::{self, Traced, Watch};
use super::queue::Job;
use super::streams::{AbortOnDrop, Moved, Shared, conclude, filter};
use crate::error::{Error, Kind, Phase, Result};
use crate::extract::copy_out_sql;
use crate::load::{Copied, Destination, Isolation, Spool, Staging, copy_in_sql, too_many};
use crate::pg::name::literal;
use crate::pg::wire::Wire;
use crate::plan::TablePlan;

/// Rows that fit into a page of a heap, per byte of it, at the very most: a row takes 24 bytes and a pointer of four (manual,
/// 73.6, "Database Page Layout").
const ROW_BYTES_MIN: u64 = 28;

/// A heap may grow by so much between the plan and the snapshot without being taken for something else.
const GROWTH_BYTES_MAX: u64 = 16 << 20;

/// Moves a chunk's rows, as [`super::streams`] does it where rows are not traced.
pub(super) async fn move_rows(
    shared: &Arc<Shared>,
    job: &Job,
    staging: &Staging,
    (mut source, is_only): (Wire, bool),
    target: &mut Wire,
    work: Arc<Work>,
    watch: &Watch,
) -> (Option<Wire>, Result<Moved>) {
    let settings = if shared.filters.has_no_casts(job.table) {
        match settings_of(&mut source).await {
            Ok(settings) => settings,
            Err(error) => return (source.is_usable().then_some(source), Err(error)),
        }
    } else {
        String::new()
    };
    let sql = copy_out_sql(shared.filters.plan_of(&shared.plan, job.table), &job.chunk.extent);
    let line = filter(shared, work.clone(), is_only);
    let (reader, mut blocks) = pipeline::read_traced(source, sql, shared.pool.clone(), watch.clone(), line);
    let reader = AbortOnDrop(reader);
    let target = Target { wire: target, staging, settings };
    let loaded = load(shared, job, target, work, &mut blocks, watch).await;
    let (source, moved) = conclude(reader, blocks, loaded, is_only).await;
    let moved = moved.map(|(read, part)| Moved {
        extracted: part.tally.rows_in,
        bytes_in: read.bytes,
        bytes_out: watch.bytes_out(),
        part: Some(part),
    });
    (source, moved)
}

/// Where a chunk's rows go.
struct Target<'a> {
    wire: &'a mut Wire,
    staging: &'a Staging,
    /// How values are to be read, as statements of the transaction.
    settings: String,
}

/// What makes the target read texts as the source would: those of dates and times depend on its settings.
async fn settings_of(source: &mut Wire) -> Result<String> {
    let sql = "select pg_catalog.current_setting('DateStyle'), pg_catalog.current_setting('TimeZone')";
    let rows = source.query(sql).await?;
    let setting = |number: usize| Some(literal(rows.first()?.get(number)?.as_deref()?));
    let (Some(style), Some(zone)) = (setting(0), setting(1)) else {
        return Err(Error::new(Phase::Load, Kind::Internal, "the source does not tell its settings"));
    };
    Ok(format!("set local datestyle = {style}; set local timezone = {zone}; "))
}

/// Loads a chunk whose rows are traced, and commits it together with its ledger row. Returns what became of them.
///
/// # Errors
/// The server's; [`Kind::Cancelled`] if the source failed first; [`Kind::Guard`] when more rows are rejected than may be:
/// their rejects are kept.
async fn load(
    shared: &Shared,
    job: &Job,
    Target { wire, staging, settings }: Target<'_>,
    work: Arc<Work>,
    blocks: &mut mpsc::Receiver<Traced>,
    watch: &Watch,
) -> Result<Part> {
    let table = &shared.plan.tables[job.table];
    let into = Destination::new(&staging.name, &table.name, work.columns());
    let format = work.rules().format;
    let copy = copy_in_sql(&staging.name, &into.columns, format);
    let isolation = Isolation::begin(wire, &shared.pool, (&settings, copy), format, &into).await?;
    let mut chunk = Chunk {
        shared,
        job,
        table,
        isolation,
        spool: Spool::new(&work.rejects, job.chunk.number),
        part: work.part(),
        others: shared.filters.rejected_elsewhere(job.table, job.chunk.number),
        rows_max: rows_max(table),
        work,
    };
    loop {
        match blocks.recv().await {
            Some(Traced::Done(done)) => {
                watch.sent(done.traced.len() as u64);
                if !chunk.take(*done).await? {
                    return Err(chunk.give_up().await?);
                }
            }
            Some(Traced::End) => break,
            None => {
                chunk.isolation.abort().await?;
                return Err(Error::cancelled(Phase::Load).context("the source failed"));
            }
        }
    }
    chunk.commit().await
}

/// A chunk that is being loaded.
struct Chunk<'a> {
    shared: &'a Shared,
    job: &'a Job,
    table: &'a TablePlan,
    work: Arc<Work>,
    isolation: Isolation<'a>,
    spool: Spool,
    part: Part,
    /// Rows of the table's other chunks that were rejected so far.
    others: u64,
    /// So many rows the table has at most, if that is known.
    rows_max: Option<u64>,
}

impl Chunk<'_> {
    /// Loads some rows. Returns whether it is worth going on.
    async fn take(&mut self, mut done: Done) -> Result<bool> {
        let before = self.others + self.part.tally.rejected + done.tally.rejected;
        let (limit, rows_max) = (self.table.guards.max_rejects, self.rows_max);
        let is_enough = |refused: u64| {
            let rejected = before + refused;
            rejected > 0 && limit.is_certainly_exceeded_by(rejected, rows_max)
        };
        let Copied { refused, is_complete } =
            self.isolation.copy(&done.traced, &done.trace, &is_enough).await?;
        if !refused.is_empty() {
            self.shared.filters.distrust(self.job.table);
            self.work.refuse(&mut done, &refused)?;
        }
        self.part.tally.add(&done.tally);
        self.part.rejects.add(done.rejects.rejects());
        self.spool.append(done.rejects.lines()).await?;
        for rows in done.origins {
            self.shared.pool.give_back(rows.into_batch());
        }
        Ok(is_complete)
    }

    /// Keeps what became of the rows, then commits them.
    async fn commit(mut self) -> Result<Part> {
        let (table, number) = (self.job.table, self.job.chunk.number);
        let (passed, taken) = (self.part.tally.rows_out, self.isolation.rows());
        if passed != taken {
            let message = format!("{passed} rows of a chunk passed, the target took {taken}");
            return Err(Error::new(Phase::Load, Kind::Internal, message));
        }
        // Whoever finds out later that this attempt was committed needs to know what it rejected.
        self.part.file = self.spool.finish().await?;
        self.shared.filters.keep(table, number, self.part.clone());
        let enter = |rows| self.shared.ledger.enter_sql(self.table.entry, number, rows);
        self.isolation.commit(enter).await?;
        Ok(self.part)
    }

    /// Keeps the rejects of a table that has too many. Returns what is to be said of it.
    async fn give_up(mut self) -> Result<Error> {
        let rejected = format!("at least {} rows", self.others + self.part.tally.rejected);
        let limit = self.table.guards.max_rejects;
        let error = too_many(&self.table.name, &rejected, limit, Phase::Load, &self.part.rejects.reasons);
        self.part.file = self.spool.finish().await?;
        self.part.is_cut_off = true;
        self.shared.filters.keep(self.job.table, self.job.chunk.number, self.part);
        self.isolation.abort().await?;
        Ok(error)
    }
}

/// How many rows a source has at the very most; `None` where only reading it can tell.
fn rows_max(table: &TablePlan) -> Option<u64> {
    table.has_own_heap().then(|| (table.bytes + GROWTH_BYTES_MAX) / ROW_BYTES_MIN)
}
