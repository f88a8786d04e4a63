//! Rows straight from the source, for methods that take them without staging.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::apply::Feed;
use crate::batch::Flow;
use crate::error::{Error, Kind, Phase, Result};
use crate::extract::{Reader, copy_out_sql, select_sql};
use crate::run::load::pipeline::{self, BATCHES_IN_FLIGHT, Watch};
use crate::run::load::shared::Shared;

/// Whether a table that is not staged has any row in the source.
pub(crate) async fn source_has_rows(shared: &Shared, table: usize) -> Result<bool> {
    let plan = &shared.plan.tables[table];
    let Some(chunk) = plan.chunks.first() else { return Ok(false) };
    let snapshot = shared.snapshot()?;
    let mut reader = snapshot.open().await?;
    let sql = format!("select exists ({})", select_sql(plan, &chunk.extent));
    let rows = reader.wire.query(&sql).await;
    snapshot.give_back(reader).await;
    let rows = rows?;
    Ok(rows.first().and_then(|row| row.first()?.as_deref().map(|text| text == "t")).unwrap_or(false))
}

/// Rows straight from the source, for a method without staging. Each call reads them anew, and takes back what the one
/// before has counted.
pub(crate) fn feed(shared: &Arc<Shared>, table: usize) -> Feed<'static> {
    let shared = shared.clone();
    let counted: Mutex<Option<Watch>> = Mutex::default();
    Box::new(move || {
        let (sender, receiver) = mpsc::channel(BATCHES_IN_FLIGHT);
        let shared = shared.clone();
        let watch = Watch::new(&shared.progress, table);
        let earlier = counted.lock().unwrap_or_else(PoisonError::into_inner).replace(watch.clone());
        earlier.iter().for_each(Watch::retract);
        shared.progress.table(table).phase(Phase::Load);
        tokio::spawn(async move {
            let plan = &shared.plan.tables[table];
            let Some(chunk) = plan.chunks.first() else { return };
            let read = async {
                let snapshot = shared.snapshot()?;
                let reader = snapshot.open().await?;
                let is_only = reader.is_lent();
                let (wire, turn) = reader.split();
                let sql = copy_out_sql(plan, &chunk.extent);
                let (task, mut batches) = pipeline::read(wire, sql, shared.pool.clone(), watch, None);
                while let Some(flow) = batches.recv().await {
                    if matches!(flow, Flow::End { .. }) {
                        shared.progress.table(table).phase(Phase::Apply);
                    }
                    // The only connection that sees the snapshot is read to the end even if nobody wants the rows.
                    if sender.send(flow).await.is_err() && !is_only {
                        break;
                    }
                }
                drop(batches);
                match task.await {
                    Ok((wire, outcome)) => {
                        if let Some(wire) = wire {
                            snapshot.give_back(Reader::join(wire, turn)).await;
                        }
                        outcome.map(drop)
                    }
                    Err(e) => {
                        Err(Error::new(Phase::Load, Kind::Internal, format!("the reading task failed: {e}")))
                    }
                }
            };
            if let Err(error) = read.await
                && error.kind() != Kind::Cancelled
            {
                tracing::error!(phase = %Phase::Load, table = plan.name.plain(), %error, "the source failed");
            }
        });
        receiver
    })
}
