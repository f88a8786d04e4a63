//! Sessions: connected, authenticated, and with every setting that affects the meaning of our statements.
//!
//! There are two kinds. [`connect`] returns a tokio-postgres client. [`open_stream`] takes the same steps and then hands over
//! the bare transport, for COPY at full speed.

mod settings;
mod stream;

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_postgres::Client;

pub use self::settings::{SessionSettings, Side};
pub use self::stream::{Stream, open_stream};
pub use super::cancel::CancelHandle;
use super::conninfo::ConnInfo;
use super::login::{Login, Wire, drive, log_in};
use crate::error::{Error, Kind, Phase, Result};

/// How long a connection may take to send Terminate, or to finish its last messages after its session was dropped.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(1);

/// A session. Dropping it closes its connection, within a second even if a statement is still running. The server then rolls
/// back any open transaction.
#[derive(Debug)]
pub struct Session {
    /// The client that runs statements.
    pub client: Client,
    /// `server_version_num`, for example 150004.
    pub server_version: u32,
    /// Process ID of the backend.
    pub backend_pid: i32,
    /// `host:port/database`, for messages.
    pub label: String,
    /// Whether the server's own default for transactions was read-only: a standby, or a server that protects itself (Supabase
    /// does so when the disk is full). A target session turns the default off.
    pub read_only: bool,
    cancel: CancelHandle,
    /// Dropped with the session, which ends the connection's task.
    _alive: oneshot::Sender<()>,
}

/// The query whether a session opened now would be read-only; it returns one row with one column. The sessions of a run turn
/// the setting off for themselves, so this query is the only way to find out that a server became read-only while they are
/// open.
pub(crate) const READ_ONLY: &str = include_str!("read_only.sql");

/// Returns the error that the target became read-only during a run.
#[must_use]
pub(crate) fn turned_read_only(phase: Phase, label: &str) -> Error {
    let message = format!(
        "the target {label} became read-only during the run (default_transaction_read_only): nothing more is \
         written to it"
    );
    Error::new(phase, Kind::Refused, message).hint(
        "A managed database becomes read-only when its disk is nearly full. Enlarge the disk or free space, \
         and run again. The run's staging tables are dropped.",
    )
}

impl Session {
    /// Fails if the server is read-only, since before or after the session was opened.
    ///
    /// # Errors
    /// [`Kind::Refused`] if it is read-only; any server error.
    pub(crate) async fn refuse_read_only(&self, phase: Phase) -> Result<()> {
        let asked = self.client.query_one(READ_ONLY, &[]).await;
        let row = asked.map_err(|e| Error::pg(phase, "checking whether the target is read-only", &e))?;
        if row.get(0) { Err(turned_read_only(phase, &self.label)) } else { Ok(()) }
    }

    /// Cancels the running statement, if there is one. Never fails: see [`CancelHandle::cancel`].
    pub async fn cancel(&self) {
        self.cancel.cancel().await;
    }

    /// Returns a handle that cancels its statements from elsewhere.
    #[must_use]
    pub fn cancel_handle(&self) -> CancelHandle {
        self.cancel.clone()
    }
}

/// Opens a session: connects, logs in, applies all settings.
///
/// # Errors
/// Errors have the phase `connect`. [`Error::is_out_of_slots`] identifies a full server or pooler, [`Error::is_transient`] an
/// error that a retry may resolve.
pub async fn connect(info: &ConnInfo, settings: &SessionSettings) -> Result<Session> {
    Ok(attach(open(info, settings).await?))
}

/// Logs in and applies all settings.
async fn open(info: &ConnInfo, settings: &SessionSettings) -> Result<Login> {
    let mut login = log_in(info, &settings.application_name, settings.connect_timeout).await?;
    let limit = info.connect_timeout.unwrap_or(settings.connect_timeout);
    prepare(&mut login, settings, limit).await?;
    Ok(login)
}

/// Spawns a task for the connection, which ends with the session.
pub(super) fn attach(login: Login) -> Session {
    let Login { client, wire, facts, cancel, label, .. } = login;
    let (alive, dropped) = oneshot::channel();
    tokio::spawn(carry(wire, dropped, label.clone()));
    Session {
        client,
        server_version: facts.server_version,
        backend_pid: facts.backend_pid,
        label,
        read_only: facts.read_only,
        cancel,
        _alive: alive,
    }
}

async fn carry(mut wire: Wire, dropped: oneshot::Receiver<()>, label: String) {
    let ended = tokio::select! {
        ended = &mut wire => ended,
        _ = dropped => timeout(FAREWELL_TIME_MAX, wire).await.unwrap_or(Ok(())),
    };
    if let Err(error) = ended {
        // The next statement fails for the session's user; the log has the reason.
        tracing::debug!(%label, "connection ended: {}", crate::error::chain(&error));
    }
}

/// Applies all settings with SET. Poolers drop start-up options.
async fn prepare(login: &mut Login, settings: &SessionSettings, limit: Duration) -> Result<()> {
    let (required, optional) = settings.statements(login.facts.server_version);
    let client = &login.client;
    let both = async {
        // Sends two batches without waiting in between.
        let (required, optional) =
            tokio::join!(client.batch_execute(&required), client.batch_execute(&optional));
        match optional {
            Err(error) if error.as_db_error().is_none() => Err(error),
            _ => required,
        }
    };
    let what = || format!("cannot set up the session at {}", login.label);
    match timeout(limit, drive(&mut login.wire, both)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Error::pg(Phase::Connect, what(), &error)),
        Err(_) => Err(Error::out_of_slots(
            Phase::Connect,
            format!("{}: no answer within {} s", what(), limit.as_secs_f64()),
        )),
    }
}
