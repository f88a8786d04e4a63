//! A chunk of a table some of whose rows the target refuses: these become rejects, all others arrive.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::error::{Error, Kind, Phase, Result};
use crate::extract::copy_out_sql;
use crate::load::{Copied, Destination, Isolation, Spool, Staging, TooMany, at_least, copy_in_sql};
use crate::pg::name::{Ident, literal};
use crate::pg::wire::Wire;
use crate::plan::{CsvFile, TablePlan};
use crate::run::load::filter::{Done, Part, Work};
use crate::run::load::pipeline::{self, Traced, Watch};
use crate::run::load::queue::Job;
use crate::run::load::seen::Seen;
use crate::run::load::shared::{Moved, Shared};
use crate::run::load::streams::{AbortOnDrop, conclude, filter};

/// Rows that fit into a page of a heap, per byte of it, at the very most: a row takes 24 bytes and a pointer of four (manual,
/// 73.6, "Database Page Layout").
const ROW_BYTES_MIN: u64 = 28;

/// A heap may grow by so much between the plan and the snapshot without being taken for something else.
const GROWTH_BYTES_MAX: u64 = 16 << 20;

/// Moves a chunk's rows, as [`crate::run::load::streams`] does it where rows are not traced.
pub(crate) async fn move_rows(
    shared: &Arc<Shared>,
    job: &Job,
    staging: &Staging,
    (mut source, is_only): (Wire, bool),
    target: &mut Wire,
    work: Arc<Work>,
    watch: &Watch,
) -> (Option<Wire>, Result<Moved>) {
    // What the program was made for: another stream may have found out since that casts fail.
    let settings = if work.has_no_casts {
        match settings_of(&mut source).await {
            Ok(settings) => settings,
            Err(error) => return (source.is_usable().then_some(source), Err(error)),
        }
    } else {
        String::new()
    };
    let table = match work.has_no_casts {
        true => shared.filters.plan_of(&shared.plan, job.table),
        false => &shared.plan.tables[job.table],
    };
    let sql = copy_out_sql(table, &job.chunk.extent);
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
        ..Moved::default()
    });
    (source, moved)
}

/// Where a chunk's rows go.
pub(crate) struct Target<'a> {
    pub(crate) wire: &'a mut Wire,
    pub(crate) staging: &'a Staging,
    /// How values are to be read, as statements of the transaction.
    pub(crate) settings: String,
}

impl Target<'_> {
    /// As errors name it.
    pub(crate) fn destination(&self, shared: &Shared, job: &Job, columns: Vec<Ident>) -> Destination {
        Destination::new(&self.staging.name, &shared.plan.tables[job.table].name, columns)
    }
}

/// What makes the target read texts as the source would: those of dates and times depend on its settings.
async fn settings_of(source: &mut Wire) -> Result<String> {
    let sql = "select pg_catalog.current_setting('DateStyle'), pg_catalog.current_setting('TimeZone')";
    let rows = source.query(sql).await?;
    let setting = |number: usize| Some(literal(rows.first()?.get(number)?.as_deref()?));
    let (Some(style), Some(zone)) = (setting(0), setting(1)) else {
        return Err(Error::new(Phase::Load, Kind::Internal, "the source does not report its settings"));
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
    target: Target<'_>,
    work: Arc<Work>,
    blocks: &mut mpsc::Receiver<Traced>,
    watch: &Watch,
) -> Result<Part> {
    let into = target.destination(shared, job, work.columns());
    let spool = Spool::new(&work.rejects, job.chunk.number);
    let mut chunk = Chunk::begin(shared, job, target, &into, work, spool).await?;
    loop {
        match blocks.recv().await {
            Some(Traced::Done(done)) => {
                watch.sent(done.traced.len() as u64);
                if !chunk.take(*done).await? {
                    return Err(chunk.give_up(None).await?);
                }
            }
            Some(Traced::End) => return chunk.commit().await,
            None => return Err(chunk.abort().await?),
        }
    }
}

/// A chunk that is being loaded.
pub(crate) struct Chunk<'a> {
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

impl<'a> Chunk<'a> {
    /// Begins its transaction.
    pub(crate) async fn begin(
        shared: &'a Shared,
        job: &'a Job,
        Target { wire, staging, settings }: Target<'a>,
        into: &'a Destination,
        work: Arc<Work>,
        spool: Spool,
    ) -> Result<Self> {
        let table = &shared.plan.tables[job.table];
        let format = work.rules().format;
        let copy = copy_in_sql(&staging.name, &into.columns, format);
        let isolation = Isolation::begin(wire, &shared.pool, (&settings, copy), format, into).await?;
        Ok(Self {
            shared,
            job,
            table,
            isolation,
            spool,
            part: work.part(),
            others: shared.filters.rejected_elsewhere(job.table, job.chunk.number),
            rows_max: rows_max(table),
            work,
        })
    }

    /// Loads some rows. Returns whether it is worth going on.
    pub(crate) async fn take(&mut self, mut done: Done) -> Result<bool> {
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
        self.part.file = self.spool.finish().await?;
        commit(self.shared, self.job, self.isolation, self.part).await
    }

    /// The same where a reader has kept what it knew of the rows.
    pub(crate) async fn commit_after_reader(self) -> Result<Part> {
        let Self { shared, job, spool, isolation, part: mine, .. } = self;
        let read = shared.filters.part(job.table, job.chunk.number).unwrap_or_default();
        commit(shared, job, isolation, with_refused(read, mine, spool).await?).await
    }

    /// Gives the chunk up since its reader has. If that was because of its rejects, those of the target are kept beside them.
    pub(crate) async fn abort_after_reader(self) -> Result<Error> {
        let Self { shared, job, spool, isolation, part: mine, .. } = self;
        let read = shared.filters.part(job.table, job.chunk.number).filter(|part| part.is_cut_off);
        if let Some(read) = read {
            shared.filters.keep(job.table, job.chunk.number, with_refused(read, mine, spool).await?);
        }
        isolation.abort().await?;
        Ok(source_failed())
    }

    /// Keeps the rejects of a table that has too many, those of its reader too, who shall go no further.
    pub(crate) async fn give_up_before_reader(self, seen: &Seen) -> Result<Error> {
        let read = match seen.end().await? {
            Some(read) => Some(read),
            None => self.shared.filters.part(self.job.table, self.job.chunk.number),
        };
        self.give_up(read).await
    }

    /// Gives the chunk up since its source has failed. Returns what is to be said of it.
    pub(crate) async fn abort(self) -> Result<Error> {
        self.isolation.abort().await?;
        Ok(source_failed())
    }

    /// Keeps the rejects of a table that has too many, besides those that its reader knows of. Returns what is to be said of it.
    async fn give_up(self, read: Option<Part>) -> Result<Error> {
        let Self { shared, job, table, isolation, spool, part: mine, others, .. } = self;
        let part = match read {
            Some(read) => with_refused(read, mine, spool).await?,
            None => Part { refused: spool.finish().await?, is_cut_off: true, ..mine },
        };
        let rejected = at_least(others + part.tally.rejected);
        let kinds = &part.rejects.reasons;
        let error = TooMany { table, rejected, kinds, file: &part.rejects_file }.error(Phase::Load);
        shared.filters.keep(job.table, job.chunk.number, part);
        isolation.abort().await?;
        Ok(error)
    }
}

/// What a reader knows of a chunk, and what was refused of the rows that it sent.
async fn with_refused(mut read: Part, mine: Part, spool: Spool) -> Result<Part> {
    read.tally.take_back(&mine.tally);
    read.rejects.add(&mine.rejects);
    read.refused = spool.finish().await?;
    Ok(read)
}

fn source_failed() -> Error {
    Error::cancelled(Phase::Load).context("the source failed")
}

/// Keeps what became of a chunk's rows, then commits them.
async fn commit(shared: &Shared, job: &Job, isolation: Isolation<'_>, part: Part) -> Result<Part> {
    let (passed, taken) = (part.tally.rows_out, isolation.rows());
    if passed != taken {
        let message = format!("{passed} rows of a chunk passed, the target took {taken}");
        return Err(Error::new(Phase::Load, Kind::Internal, message));
    }
    // Whoever finds out later that this attempt was committed needs to know what it rejected.
    shared.filters.keep(job.table, job.chunk.number, part.clone());
    let entry = shared.plan.tables[job.table].entry;
    isolation.commit(|rows| shared.ledger.enter_sql(entry, job.chunk.number, rows)).await?;
    Ok(part)
}

/// How many rows a source has at the very most; `None` where only reading it can tell.
pub(crate) fn rows_max(table: &TablePlan) -> Option<u64> {
    if let Some(csv) = &table.csv {
        // A field takes a byte at least, of its end.
        let most =
            |file: &Arc<CsvFile>| file.is_divisible().then(|| file.bytes / file.fields.max(1) as u64 + 1);
        return csv.files.iter().map(most).sum();
    }
    table.has_own_heap().then(|| (table.bytes + GROWTH_BYTES_MAX) / ROW_BYTES_MIN)
}
