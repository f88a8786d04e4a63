//! Records of files on their way to staging: a thread reads, and the stream sends what it has read.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::batch::{Batch, Flow};
use crate::error::{Error, Kind, Phase, Result};
use crate::extract::csv::{self, Added, Layout, Outlet, Slice};
use crate::load::{Spool, Staging, copy_in_sql, load_chunk};
use crate::pg::name::Ident;
use crate::pg::wire::Wire;
use crate::plan::{CsvFile, CsvFiles, Extent, LINE_BITS, TablePlan};
use crate::run::load::pipeline::{BATCHES_IN_FLIGHT, Watch, gone};
use crate::run::load::queue::Job;
use crate::run::load::seen::{Bounds, Seen};
use crate::run::load::shared::{Moved, Shared};
use crate::run::load::streams::AbortOnDrop;
use crate::run::load::traced::Target;
use crate::run::load::traced_records;
use crate::transform::{RejectBuffer, escape_text};

/// A chunk that is being read.
struct Reading {
    /// Bytes of the file, when it was read to its end.
    task: JoinHandle<Result<u64>>,
    /// What it sends.
    records: Records,
    /// Whether it can never be read again.
    is_once: bool,
}

/// What comes of a chunk that is being read.
pub(crate) struct Records {
    /// Its rows. The channel ends with [`Flow::End`], or without it if something failed.
    pub(crate) batches: mpsc::Receiver<Flow>,
    /// The columns of its rows.
    pub(crate) into: Vec<Ident>,
    /// What was seen of it so far.
    pub(crate) seen: Seen,
}

/// Starts reading a chunk. A receiver that goes away ends the reading.
///
/// # Errors
/// [`Kind::Internal`] if the chunk is none of a file.
fn read(shared: &Arc<Shared>, job: &Job, watch: Watch) -> Result<Reading> {
    let plan = &shared.plan.tables[job.table];
    let (_, file) = file_of(plan, job)?;
    let (layout, into) = layout(plan, file);
    let is_once = file.once.is_some();
    let (sender, batches) = mpsc::channel(BATCHES_IN_FLIGHT);
    let rejects = shared.filters.rejects_path(plan);
    let seen = Seen::new(Spool::new(&rejects, job.chunk.number), rejects);
    let records = Records { batches, into, seen: seen.clone() };
    let bounds = Bounds::of(shared, job);
    let (shared, job) = (shared.clone(), job.clone());
    let task = tokio::task::spawn_blocking(move || {
        let outlet =
            Sending { shared: &shared, job: &job, sender, watch, seen, bounds, runtime: Handle::current() };
        read_chunk(&shared, &job, layout, outlet)
    });
    Ok(Reading { task, records, is_once })
}

/// Moves a chunk of a file. Nobody reads it any more afterwards, unless it cannot be read again anyway.
pub(crate) async fn move_records(
    shared: &Arc<Shared>,
    job: &Job,
    staging: &Staging,
    target: &mut Wire,
    watch: &Watch,
) -> Result<Moved> {
    let table = &shared.plan.tables[job.table];
    let Reading { task, mut records, is_once } = read(shared, job, watch.clone())?;
    let mut reader = AbortOnDrop(task);
    // What cannot be read again cannot be traced later.
    let loaded = if is_once || shared.filters.is_tracing(job.table) {
        let target = Target { wire: target, staging, settings: String::new() };
        traced_records::load(shared, job, target, &mut records, watch).await.map(drop)
    } else {
        let sql = copy_in_sql(&staging.name, &records.into, table.format);
        let enter = |rows| shared.ledger.enter_sql(table.entry, job.chunk.number, rows);
        let sent = |bytes| watch.sent(bytes);
        load_chunk(target, &sql, enter, &mut records.batches, &shared.pool, sent).await.map(drop)
    };
    let Records { batches, seen, .. } = records;
    drop(batches);
    let is_own = |error: &Error| error.kind() != Kind::Cancelled;
    let moved = match loaded {
        // It waits for its writer perhaps, who has all the time in the world.
        Err(error) if is_own(&error) && is_once => Err(error),
        Err(error) => match reader.outcome().await? {
            Err(cause) if !is_own(&error) => Err(cause),
            _ => Err(error),
        },
        Ok(()) => {
            let bytes_in = reader.outcome().await??;
            let part = shared.filters.part(job.table, job.chunk.number);
            let extracted = part.as_ref().map_or(0, |part| part.tally.rows_in);
            Ok(Moved { extracted, bytes_in, bytes_out: watch.bytes_out(), part, ..Moved::default() })
        }
    };
    if moved.is_err() {
        seen.discard().await;
    }
    moved
}

fn file_of<'p>(plan: &'p TablePlan, job: &Job) -> Result<(&'p CsvFiles, &'p Arc<CsvFile>)> {
    let found = match (&plan.csv, &job.chunk.extent) {
        (Some(csv), Extent::Csv { file, .. }) => csv.files.get(*file).map(|file| (&**csv, file)),
        _ => None,
    };
    found.ok_or_else(|| {
        Error::new(Phase::Load, Kind::Internal, format!("{} is not read from files", plan.name.plain()))
    })
}

/// What becomes of a file's fields, and the columns of the rows in the order in which they travel: those of the file in its
/// own order, then what is added.
fn layout(plan: &TablePlan, file: &CsvFile) -> (Layout, Vec<Ident>) {
    let names = plan.names_of_fields(file);
    let mut into = Vec::new();
    let mut is_loaded = Vec::with_capacity(names.len());
    let mut null_values = Vec::new();
    for (field, name) in names.iter().enumerate() {
        let column = plan.loaded_from(name);
        is_loaded.push(column.is_some());
        let meant =
            plan.null_values.iter().filter(|(name, _)| column.is_some_and(|column| column.name == *name));
        null_values.extend(meant.map(|(_, values)| (field, values.clone())));
        into.extend(column.map(|column| column.name.clone()));
    }
    let mut added = Vec::new();
    for column in plan.extracted() {
        if into.contains(&column.name) {
            continue;
        }
        let field = column.from.as_ref().and_then(|from| names.iter().position(|name| name == from));
        added.push(match (&column.constant, field) {
            (Some(constant), _) => {
                let mut text = Vec::new();
                escape_text(constant.as_bytes(), &mut text);
                Added::Constant(text)
            }
            (None, Some(field)) => Added::Field(field),
            (None, None) => Added::Place,
        });
        into.push(column.name.clone());
    }
    (Layout { is_loaded, null_values, added }, into)
}

fn read_chunk(shared: &Shared, job: &Job, layout: Layout, mut outlet: Sending<'_>) -> Result<u64> {
    let plan = &shared.plan.tables[job.table];
    let (csv, file) = file_of(plan, job)?;
    let Extent::Csv { file: number, part, parts } = job.chunk.extent else { return Err(lost()) };
    let names = plan.names_of_fields(file);
    let start = shared.splits.start((job.table, number), file, csv.dialect.characters, (part, parts))?;
    let slice = Slice {
        file,
        dialect: &csv.dialect,
        layout,
        names: names.iter().map(Ident::as_str).collect(),
        reject_columns: plan
            .source_columns
            .iter()
            .map(|column| names.iter().position(|name| name == column))
            .collect(),
        start,
        until: (part + 1 < parts).then(|| file.nominal_start(part + 1, parts)),
        place: (number as u64) << LINE_BITS,
    };
    let read = csv::read(&slice, &shared.pool, &mut outlet)?;
    fail::fail_point!("load.records_read");
    let Sending { sender, watch, seen, runtime, .. } = outlet;
    watch.settle(read.records);
    // Whoever finds out later that this attempt was committed needs to know what it rejected.
    let keep = |part| shared.filters.keep(job.table, job.chunk.number, part);
    runtime.block_on(seen.complete(read.records, read.rows, keep))?;
    sender.blocking_send(Flow::End { rows: read.rows }).map_err(|_| gone())?;
    Ok(read.bytes)
}

fn lost() -> Error {
    Error::new(Phase::Load, Kind::Internal, "a chunk of a file has no extent")
}

/// Sends what is read.
struct Sending<'a> {
    shared: &'a Shared,
    job: &'a Job,
    sender: mpsc::Sender<Flow>,
    watch: Watch,
    seen: Seen,
    bounds: Bounds,
    runtime: Handle,
}

impl Outlet for Sending<'_> {
    fn rows(&mut self, batch: Batch, bytes: u64) -> Result<()> {
        self.watch.received(batch.messages, bytes);
        if batch.is_empty() {
            self.shared.pool.give_back(batch);
            return Ok(());
        }
        self.runtime.block_on(self.seen.rows(batch.messages))?;
        self.sender.blocking_send(Flow::Batch(batch)).map_err(|_| gone())
    }

    fn rejects(&mut self, rejects: &RejectBuffer) -> Result<()> {
        let Self { shared, job, .. } = *self;
        let rejected = self.runtime.block_on(self.seen.rejects(rejects))?;
        if !self.bounds.are_exceeded_by(rejected) {
            return Ok(());
        }
        let Some(part) = self.runtime.block_on(self.seen.end())? else { return Err(gone()) };
        let error = self.bounds.too_many(&shared.plan.tables[job.table], &part);
        shared.filters.keep(job.table, job.chunk.number, part);
        Err(error)
    }
}
