//! One session with a server, without async.

use std::fmt::Debug;
use std::future::Future;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_postgres::{Client, Error, NoTls, SimpleQueryMessage};

/// Longer than anything a test waits for; a hang becomes a failure.
const PATIENCE: Duration = Duration::from_secs(120);

/// The runtime that drives all connections of the tests; their threads only wait for it.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
    })
}

fn start<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Pending<T> {
    let (done, answer) = channel();
    runtime().spawn(async move {
        let _ = done.send(work.await);
    });
    Pending { answer }
}

/// Work that goes on in the background.
pub(crate) struct Pending<T> {
    answer: Receiver<T>,
}

impl<T> Pending<T> {
    /// Its result; panics if there is none in time.
    #[track_caller]
    pub(crate) fn wait(self) -> T {
        self.answer.recv_timeout(PATIENCE).expect("the server answers in time")
    }

    /// Whether it is still going on after `time`.
    pub(crate) fn is_pending_after(&self, time: Duration) -> bool {
        std::thread::sleep(time);
        matches!(self.answer.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty))
    }
}

/// A row as text, NULL as `None`.
pub(crate) type Row = Vec<Option<String>>;

/// An open session; closed when dropped.
pub(crate) struct Session {
    client: Arc<Client>,
}

impl Session {
    /// Connects; panics if that fails.
    #[track_caller]
    pub(crate) fn open(url: &str) -> Self {
        unwrap(Self::try_open(url), "connect")
    }

    pub(crate) fn try_open(url: &str) -> Result<Self, Error> {
        let url = url.to_owned();
        let client = start(async move {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
            tokio::spawn(connection);
            Ok::<_, Error>(client)
        });
        Ok(Self { client: Arc::new(client.wait()?) })
    }

    /// Runs statements; panics if one fails.
    #[track_caller]
    pub(crate) fn run(&self, sql: &str) {
        unwrap(self.try_run(sql), sql);
    }

    pub(crate) fn try_run(&self, sql: &str) -> Result<(), Error> {
        self.begin(sql).wait()
    }

    /// Sends statements without waiting for them.
    pub(crate) fn begin(&self, sql: &str) -> Pending<Result<(), Error>> {
        let (client, sql) = (Arc::clone(&self.client), sql.to_owned());
        start(async move { client.batch_execute(&sql).await })
    }

    /// The rows of all statements, as text.
    #[track_caller]
    pub(crate) fn rows(&self, sql: &str) -> Vec<Row> {
        let (client, text) = (Arc::clone(&self.client), sql.to_owned());
        let messages = unwrap(start(async move { client.simple_query(&text).await }).wait(), sql);
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect())
            }
            _ => None,
        });
        rows.collect()
    }

    /// The one value of the one row, NULL as an empty string.
    #[track_caller]
    pub(crate) fn value(&self, sql: &str) -> String {
        let rows = self.rows(sql);
        assert!(rows.len() == 1 && rows[0].len() == 1, "not one value: {sql}: {rows:?}");
        rows[0][0].clone().unwrap_or_default()
    }
}

#[track_caller]
fn unwrap<T, E: Debug>(result: Result<T, E>, what: &str) -> T {
    match result {
        Ok(value) => value,
        // Of a script its beginning tells which one it is.
        Err(e) => panic!("{}: {e:?}", what.chars().take(500).collect::<String>()),
    }
}
