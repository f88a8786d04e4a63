//! A session that reads the app's database while its tables are replaced.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Kind, Phase, Result};

/// The query: a client by its key, which exists before and after the sync.
const QUERY: &str = "select cli_name from climaster where client_id = 1";

/// The pause between two queries: short enough to notice a brief lock, long enough not to slow the sync down.
const PAUSE: Duration = Duration::from_millis(5);

/// A session on the target that reads the same row repeatedly.
#[derive(Debug)]
pub(super) struct Reader {
    stop: CancellationToken,
    task: JoinHandle<Result<Seen>>,
}

/// The reader's observations.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// Queries executed.
    pub(super) asked: u64,
    /// Queries that found no row.
    pub(super) missed: u64,
    /// Duration of the slowest query.
    pub(super) longest: Duration,
}

impl Reader {
    /// Connects and starts to read.
    pub(super) async fn start(url: &str) -> Result<Self> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.map_err(|e| failed(&e))?;
        tokio::spawn(connection);
        let stop = CancellationToken::new();
        let task = tokio::spawn(ask(client, stop.clone()));
        Ok(Self { stop, task })
    }

    /// Stops the reader and returns its observations.
    pub(super) async fn stop(self) -> Result<Seen> {
        self.stop.cancel();
        self.task.await.unwrap_or_else(|panic| {
            Err(Error::new(Phase::Connect, Kind::Internal, format!("the demo's reader panicked: {panic}")))
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
