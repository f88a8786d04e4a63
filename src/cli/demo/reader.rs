//! Somebody who uses the app while its tables are replaced.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Kind, Phase, Result};

/// What the reader asks for, by its key: a client who is there before and after.
const QUERY: &str = "select cli_name from climaster where client_id = 1";

/// Between two questions: often enough to notice a short lock, seldom enough not to slow the sync down.
const PAUSE: Duration = Duration::from_millis(5);

/// A session on the target that asks for the same row again and again.
#[derive(Debug)]
pub(super) struct Reader {
    stop: CancellationToken,
    task: JoinHandle<Result<Seen>>,
}

/// What a reader saw.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// Questions asked.
    pub(super) asked: u64,
    /// Those that found no row.
    pub(super) missed: u64,
    /// The longest that one of them took.
    pub(super) longest: Duration,
}

impl Reader {
    /// Connects, and begins to ask.
    pub(super) async fn start(url: &str) -> Result<Self> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.map_err(|e| failed(&e))?;
        tokio::spawn(connection);
        let stop = CancellationToken::new();
        let task = tokio::spawn(ask(client, stop.clone()));
        Ok(Self { stop, task })
    }

    /// Ends it, and returns what it saw.
    pub(super) async fn stop(self) -> Result<Seen> {
        self.stop.cancel();
        self.task.await.unwrap_or_else(|panic| {
            Err(Error::new(Phase::Connect, Kind::Internal, format!("the reader ended: {panic}")))
        })
    }
}

async fn ask(client: Client, stop: CancellationToken) -> Result<Seen> {
    let mut seen = Seen::default();
    let query = client.prepare(QUERY).await.map_err(|e| failed(&e))?;
    while !stop.is_cancelled() {
        let began = Instant::now();
        let rows = client.query(&query, &[]).await.map_err(|e| failed(&e))?;
        seen.longest = seen.longest.max(began.elapsed());
        seen.asked += 1;
        seen.missed += u64::from(rows.is_empty());
        tokio::time::sleep(PAUSE).await;
    }
    Ok(seen)
}

fn failed(error: &tokio_postgres::Error) -> Error {
    Error::pg(Phase::Connect, "the demo's reader", error)
}
