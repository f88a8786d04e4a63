//! A chunk of a file some of whose rows the target refuses: these become rejects with their places, all others arrive.

use std::sync::Arc;

use crate::batch::Flow;
use crate::error::Result;
use crate::load::Spool;
use crate::run::load::filter::{Part, Work};
use crate::run::load::pipeline::{BATCHES_PER_GO, GO_BYTES_MAX, Watch};
use crate::run::load::queue::Job;
use crate::run::load::records::Records;
use crate::run::load::shared::Shared;
use crate::run::load::traced::{Chunk, Target};
use crate::transform::{RowCutter, Rows};

/// Loads what comes of a file, and commits it together with its ledger row. Returns what became
/// of its records.
///
/// # Errors
/// As [`crate::run::load::traced`].
pub(crate) async fn load(
    shared: &Arc<Shared>,
    job: &Job,
    target: Target<'_>,
    Records { batches, into, seen }: &mut Records,
    watch: &Watch,
) -> Result<Part> {
    let work = shared.filters.tracing_records(&shared.plan.tables[job.table], into)?;
    let into = target.destination(shared, job, into.clone());
    let spool = Spool::of_refused(&work.rejects, job.chunk.number);
    let mut cutter = RowCutter::new(work.rules().format, work.rules().input.len());
    let mut chunk = Chunk::begin(shared, job, target, &into, work.clone(), spool).await?;
    let mut ready = Vec::new();
    loop {
        let is_over = match batches.recv().await {
            Some(Flow::Batch(batch)) => {
                watch.sent(batch.len() as u64);
                cutter.cut(batch, &shared.pool, &mut ready)?;
                false
            }
            Some(Flow::End { .. }) => {
                ready.extend(cutter.finish()?.0);
                true
            }
            None => return Err(chunk.abort_after_reader().await?),
        };
        if (is_over || is_a_go(&ready)) && !go(shared, &work, &mut chunk, &mut ready).await? {
            return Err(chunk.give_up_before_reader(seen).await?);
        }
        if is_over {
            break;
        }
    }
    drop(work);
    chunk.commit_after_reader().await
}

/// Whether it is worth a change of threads.
fn is_a_go(ready: &[Rows]) -> bool {
    let bytes: usize = ready.iter().map(|rows| rows.data().len()).sum();
    ready.len() >= BATCHES_PER_GO || bytes > GO_BYTES_MAX
}

/// Loads what is ready. Returns whether it is worth going on.
async fn go(shared: &Shared, work: &Arc<Work>, chunk: &mut Chunk<'_>, ready: &mut Vec<Rows>) -> Result<bool> {
    if ready.is_empty() {
        return Ok(true);
    }
    let done = shared.workers.run(work, std::mem::take(ready), &shared.pool).await?;
    chunk.take(done).await
}
