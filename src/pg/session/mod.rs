//! Sessions: connected, authenticated, and with every setting that decides what our statements mean.
//!
//! Two kinds. [`connect`] gives a tokio-postgres client. [`open_stream`] goes the same way up to the same point and then
//! hands over the bare transport, for COPY at full speed.

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

/// How long a connection may take to say goodbye, or to finish what it was told before its session was dropped.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(1);

/// A session. Dropping it closes its connection, within a second even if a statement is still running; the server
/// then rolls back what was open.
#[derive(Debug)]
pub struct Session {
    /// What statements are given to.
    pub client: Client,
    /// `server_version_num`, for example 150004.
    pub server_version: u32,
    /// Process id of the backend.
    pub backend_pid: i32,
    /// `host:port/database`, for messages.
    pub label: String,
    /// Whether the server's own default for transactions was read-only: a standby, or a server that protects itself
    /// (Supabase does so when the disk is full). A target's session has the default turned off.
    pub read_only: bool,
    cancel: CancelHandle,
    /// Dropped with the session: tells the task below that nobody waits any more.
    _alive: oneshot::Sender<()>,
}

/// Asks whether a session opened now would be read-only; the answer is one row with one column. The sessions of a run turn the
/// setting off for themselves, so that a server which turns read-only while they are open is only found by asking.
pub(crate) const READ_ONLY: &str = include_str!("read_only.sql");

/// The error that the target turned read-only during a run.
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
    /// Fails if the server turned read-only after the session was opened, or was so even then.
    ///
    /// # Errors
    /// [`Kind::Refused`] if it did; any server error.
    pub(crate) async fn refuse_read_only(&self, phase: Phase) -> Result<()> {
        let asked = self.client.query_one(READ_ONLY, &[]).await;
        let row = asked.map_err(|e| Error::pg(phase, "checking whether the target is read-only", &e))?;
        if row.get(0) { Err(turned_read_only(phase, &self.label)) } else { Ok(()) }
    }

    /// Cancels the statement that runs, if one does. Never fails: see [`CancelHandle::cancel`].
    pub async fn cancel(&self) {
        self.cancel.cancel().await;
    }

    /// What cancels its statements from elsewhere.
    #[must_use]
    pub fn cancel_handle(&self) -> CancelHandle {
        self.cancel.clone()
    }
}

/// Opens a session: connects, logs in, makes all settings.
///
/// # Errors
/// Phase connect. [`Error::is_out_of_slots`] tells a server or pooler that is full, [`Error::is_transient`] what may pass by
/// itself.
pub async fn connect(info: &ConnInfo, settings: &SessionSettings) -> Result<Session> {
    Ok(attach(open(info, settings).await?))
}

/// Logs in and makes all settings.
async fn open(info: &ConnInfo, settings: &SessionSettings) -> Result<Login> {
    let mut login = log_in(info, &settings.application_name, settings.connect_timeout).await?;
    let limit = info.connect_timeout.unwrap_or(settings.connect_timeout);
    prepare(&mut login, settings, limit).await?;
    Ok(login)
}

/// Gives the connection a task of its own, which ends with the session.
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
        // Whoever uses the session learns it from the next statement; here is why.
        tracing::debug!(%label, "connection ended: {}", crate::error::chain(&error));
    }
}

/// Makes all settings. By SET and not by start-up options, which poolers drop.
async fn prepare(login: &mut Login, settings: &SessionSettings, limit: Duration) -> Result<()> {
    let (required, optional) = settings.statements(login.facts.server_version);
    let client = &login.client;
    let both = async {
        // Two batches, sent without waiting in between.
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
