//! Measures the capacity of the link to a server, with almost no work for the server.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::budget::unless_stopped;
use super::environment::{End, Ground};
use crate::error::{Phase, Result};
use crate::pg::name::TableName;

/// Enough to fill the link, and negligible within the time limit.
const BYTES: usize = 64 << 20;
const TIME_MAX: Duration = Duration::from_secs(3);

/// A link that takes longer is stuck, and its capacity unknown.
const STUCK_AFTER: Duration = Duration::from_secs(20);

/// A row as wide as fits into one message that servers send at once.
const ROW_BYTES: usize = 8000;

/// Returns the bytes per second from the source and to the target, where available.
///
/// # Errors
/// `Kind::Cancelled`
pub(super) async fn speeds(ground: &Ground, stop: &CancellationToken) -> Result<(Option<f64>, Option<f64>)> {
    let both = Box::pin(async { Ok((had(from(&ground.source)).await, had(to(ground)).await)) });
    unless_stopped(stop, Phase::Load, both).await
}

/// Returns a speed unless the server refuses or the link is stuck.
async fn had(speed: impl Future<Output = Result<Option<f64>>>) -> Option<f64> {
    timeout(STUCK_AFTER, speed).await.ok()?.ok()?
}

/// Reads rows of one letter.
async fn from(end: &End) -> Result<Option<f64>> {
    let session = end.users_session().await?;
    let rows = BYTES / ROW_BYTES;
    let sql = format!("copy (select repeat('x', {ROW_BYTES}) from generate_series(1, {rows})) to stdout");
    let began = Instant::now();
    let stream = session.client.copy_out(&sql).await.map_err(|e| end.failed(&e))?;
    let mut stream = std::pin::pin!(stream);
    let mut bytes = 0;
    while let Some(part) = stream.next().await {
        bytes += part.map_err(|e| end.failed(&e))?.len();
        if began.elapsed() > TIME_MAX {
            break;
        }
    }
    Ok(rate(bytes, began))
}

/// Writes the same rows, which the target reads and discards.
async fn to(ground: &Ground) -> Result<Option<f64>> {
    let end = &ground.target;
    let session = end.users_session().await?;
    let failed = |e| end.failed(&e);
    let table = TableName::new(ground.schema.as_str(), "link");
    session.client.batch_execute(&format!("create table {table} (v text)")).await.map_err(failed)?;
    let sql = format!("copy {table} from stdin where false");
    let sink = session.client.copy_in(&sql).await.map_err(failed)?;
    let mut sink = std::pin::pin!(sink);
    let row = ["x".repeat(ROW_BYTES).as_bytes(), b"\n"].concat();
    let rows = Bytes::from(row.repeat(8));
    let began = Instant::now();
    let mut bytes = 0;
    while bytes < BYTES && began.elapsed() < TIME_MAX {
        bytes += rows.len();
        sink.feed(rows.clone()).await.map_err(failed)?;
    }
    sink.finish().await.map_err(failed)?;
    let rate = rate(bytes, began);
    session.client.batch_execute(&format!("drop table {table}")).await.map_err(failed)?;
    Ok(rate)
}

#[expect(clippy::cast_precision_loss, reason = "a speed")]
fn rate(bytes: usize, began: Instant) -> Option<f64> {
    let rate = bytes as f64 / began.elapsed().as_secs_f64();
    (rate.is_finite() && rate > 0.0).then_some(rate)
}
