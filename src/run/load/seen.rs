//! What was seen of a chunk of a file so far: for its reader, who adds to it, and for whoever gives the chunk up, who keeps it.
//!
//! One of them ends it. A reader that waits for its file may never notice that nobody wants it any more.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::config::Limit;
use crate::error::{Error, Kind, Phase, Result};
use crate::load::{Spool, TooMany, at_least};
use crate::plan::TablePlan;
use crate::run::load::filter::Part;
use crate::run::load::pipeline::gone;
use crate::run::load::queue::Job;
use crate::run::load::shared::Shared;
use crate::run::load::traced::rows_max;
use crate::transform::RejectBuffer;

/// What was seen of a chunk; nothing any more once it has ended.
#[derive(Clone)]
pub(crate) struct Seen(Arc<Mutex<Option<SoFar>>>);

struct SoFar {
    part: Part,
    spool: Spool,
}

impl Seen {
    /// Nothing yet, of a chunk whose rejects go to `spool` and in the end to `rejects_file`.
    pub(crate) fn new(spool: Spool, rejects_file: PathBuf) -> Self {
        let part = Part { rejects_file, ..Part::default() };
        Self(Arc::new(Mutex::new(Some(SoFar { part, spool }))))
    }

    /// Adds rows, before they are sent.
    ///
    /// # Errors
    /// [`Kind::Cancelled`] if it has ended.
    pub(crate) async fn rows(&self, rows: u64) -> Result<()> {
        let mut seen = self.0.lock().await;
        let SoFar { part, .. } = seen.as_mut().ok_or_else(gone)?;
        part.tally.rows_in += rows;
        part.tally.rows_out += rows;
        Ok(())
    }

    /// Adds rejects. Returns how many there are.
    ///
    /// # Errors
    /// [`Kind::Cancelled`] if it has ended; they cannot be written.
    pub(crate) async fn rejects(&self, rejects: &RejectBuffer) -> Result<u64> {
        let mut seen = self.0.lock().await;
        let SoFar { part, spool } = seen.as_mut().ok_or_else(gone)?;
        part.tally.rows_in += rejects.rejects().count;
        part.tally.rejected += rejects.rejects().count;
        part.rejects.add(rejects.rejects());
        spool.append(rejects.lines()).await?;
        Ok(part.tally.rejected)
    }

    /// Ends it when all of the chunk was read, so many records of which so many are rows, and has it kept.
    ///
    /// # Errors
    /// [`Kind::Cancelled`] if it has ended; [`Kind::Internal`] if that is not what was seen.
    pub(crate) async fn complete(&self, records: u64, rows: u64, keep: impl FnOnce(Part)) -> Result<()> {
        // Locked until it is kept: who finds nothing here finds it there.
        let mut seen = self.0.lock().await;
        let SoFar { mut part, spool } = seen.take().ok_or_else(gone)?;
        if (part.tally.rows_in, part.tally.rows_out) != (records, rows) {
            let message = format!("{records} records were read, {} were sent", part.tally.rows_in);
            return Err(Error::new(Phase::Load, Kind::Internal, message));
        }
        part.file = spool.finish().await?;
        keep(part);
        Ok(())
    }

    /// Ends it in the middle of the chunk. Returns what was seen; `None` if it has ended before.
    ///
    /// # Errors
    /// The rejects cannot be written.
    pub(crate) async fn end(&self) -> Result<Option<Part>> {
        let mut seen = self.0.lock().await;
        let Some(SoFar { mut part, spool }) = seen.take() else { return Ok(None) };
        part.file = spool.finish().await?;
        part.is_cut_off = true;
        Ok(Some(part))
    }

    /// Ends it, and forgets what was seen.
    pub(crate) async fn discard(&self) {
        drop(self.0.lock().await.take());
    }
}

/// How many records of a chunk may be rejected by its reader.
pub(crate) struct Bounds {
    limit: Limit,
    /// Rows of the table's other chunks that were rejected before.
    others: u64,
    /// So many rows the table has at most, if that is known.
    rows_max: Option<u64>,
}

impl Bounds {
    /// As the plan says, and what is known of the table by now.
    pub(crate) fn of(shared: &Shared, job: &Job) -> Self {
        let table = &shared.plan.tables[job.table];
        Self {
            limit: table.guards.max_rejects,
            others: shared.filters.rejected_elsewhere(job.table, job.chunk.number),
            rows_max: rows_max(table),
        }
    }

    /// Whether these are too many, whatever the other records are.
    pub(crate) fn are_exceeded_by(&self, rejected: u64) -> bool {
        self.limit.is_certainly_exceeded_by(self.others + rejected, self.rows_max)
    }

    /// What is said of it.
    pub(crate) fn too_many(&self, table: &TablePlan, part: &Part) -> Error {
        let rejected = at_least(self.others + part.tally.rejected);
        TooMany { table, rejected, kinds: &part.rejects.reasons, file: &part.rejects_file }.error(Phase::Load)
    }
}
