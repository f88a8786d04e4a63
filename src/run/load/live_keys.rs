//! Keys of live tables that rows of this run refer to and that no table of the run fills.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt as _;

use crate::error::{Kind, Phase, Result};
use crate::pg::wire::Wire;
use crate::run::load::pipeline::BATCHES_PER_GO;
use crate::run::load::shared::Shared;
use crate::transform::RowCutter;

/// Fetches all of them, one set after the other, while other tables load already. What cannot be fetched is judged on
/// the target.
pub(crate) async fn fetch(shared: Arc<Shared>) {
    for store in shared.filters.live_stores() {
        let is_complete = tokio::select! {
            fetched = AssertUnwindSafe(fetch_store(&shared, store)).catch_unwind() => match fetched {
                Ok(Ok(is_complete)) => is_complete,
                Err(_) => false,
                Ok(Err(error)) => {
                    if error.kind() != Kind::Cancelled {
                        tracing::warn!(phase = %Phase::Load, %error,
                            "cannot read the keys of a referenced table: references to it are judged on the target");
                    }
                    false
                }
            },
            () = shared.cancel.cancelled() => return,
        };
        shared.filters.close(store, is_complete).await;
        shared.queue.release(|table| shared.filters.is_ready(table));
    }
}

/// Whether all keys of a store are there; it may be given up on the way.
async fn fetch_store(shared: &Arc<Shared>, store: usize) -> Result<bool> {
    let Some((sql, work)) = shared.filters.fetching(store)? else { return Ok(false) };
    let mut wire = Wire::new(shared.target.open_stream(&shared.load_settings).await?, Phase::Load);
    let mut cutter = RowCutter::new(work.rules().format, work.rules().input.len());
    let mut copy = wire.copy_out(&sql).await?;
    let mut ready = Vec::new();
    while let Some(batch) = copy.next(&shared.pool).await? {
        cutter.cut(batch, &shared.pool, &mut ready)?;
        if ready.len() < BATCHES_PER_GO {
            continue;
        }
        shared.workers.run(&work, std::mem::take(&mut ready), &shared.pool).await?;
        shared.filters.bound(&shared.plan);
        if shared.filters.is_given_up(store) {
            return Ok(false);
        }
    }
    ready.extend(cutter.finish()?.0);
    shared.workers.run(&work, ready, &shared.pool).await?;
    wire.close().await;
    Ok(true)
}
