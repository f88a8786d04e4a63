//! Turns connection settings into an authenticated connection, trying hosts and addresses in turn.

use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_postgres::config::{SslMode as WireTls, SslNegotiation};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Connection, SimpleQueryMessage};

use super::cancel::CancelHandle;
use super::connect_error::{Failure, Stage, explain};
use super::conninfo::{ConnInfo, Endpoint, TargetSession};
use super::dial::{DialError, Peer, peers};
use super::tls::SslMode;
use super::transport::{HandshakeDone, Lent, Returned};
use crate::error::Result;

/// The oldest supported server version, as `server_version_num`.
const SERVER_VERSION_MIN: u32 = 120_000;

/// The half of a tokio-postgres connection that must be polled for the client to make progress.
pub(super) type Wire = Connection<Lent, Lent>;

/// A connection right after authentication, without settings or a spawned task.
pub(super) struct Login {
    /// The client that runs queries.
    pub(super) client: Client,
    /// The connection that carries them.
    pub(super) wire: Wire,
    /// Returns the transport once `wire` is dropped.
    pub(super) back: oneshot::Receiver<Returned>,
    /// The server's facts.
    pub(super) facts: Facts,
    /// Cancels the running statement.
    pub(super) cancel: CancelHandle,
    /// `host:port/database`.
    pub(super) label: String,
}

/// The facts requested from every server first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    /// Process ID of the backend. Behind a transaction pooler it changes.
    pub(super) backend_pid: i32,
    /// `server_version_num`, for example 150004.
    pub(super) server_version: u32,
    /// Whether it is a standby.
    pub(super) in_recovery: bool,
    /// Whether transactions are read-only by default: a standby, or `default_transaction_read_only`.
    pub(super) read_only: bool,
}

const FACTS: &str = "\
select pg_catalog.pg_backend_pid(),
       pg_catalog.current_setting('server_version_num'),
       pg_catalog.pg_is_in_recovery(),
       pg_catalog.current_setting('transaction_read_only')";

/// Logs in at the first suitable host. `limit` applies to each attempt at one address.
///
/// As in libpq, a host that refuses the login ends the search. A host that does not answer, or does not satisfy
/// `target_session_attrs`, does not.
pub(super) async fn log_in(info: &ConnInfo, application_name: &str, limit: Duration) -> Result<Login> {
    let limit = info.connect_timeout.unwrap_or(limit);
    let passes: &[TargetSession] = match &info.target {
        TargetSession::PreferStandby => &[TargetSession::Standby, TargetSession::Any],
        other => std::slice::from_ref(other),
    };
    let mut failures = Vec::new();
    for &target in passes {
        for endpoint in &info.endpoints {
            match log_in_at(info, endpoint, target, application_name, limit).await {
                Ok(login) => return Ok(login),
                Err((failure, tried)) => {
                    let is_final = failure.is_final();
                    let error = explain(&failure, info, endpoint, &tried);
                    if is_final {
                        return Err(error);
                    }
                    failures.push(error);
                }
            }
        }
    }
    Err(super::connect_error::all_of(failures))
}

/// Tries the addresses of one host. The failure is that of the last one; `tried` lists them all.
async fn log_in_at(
    info: &ConnInfo,
    endpoint: &Endpoint,
    target: TargetSession,
    application_name: &str,
    limit: Duration,
) -> Result<Login, (Failure, Vec<Peer>)> {
    let found = match timeout(limit, peers(endpoint)).await {
        Err(_) => return Err((Failure::Timeout(Stage::LookUp, limit), Vec::new())),
        Ok(Err(error)) => return Err((Failure::LookUp(error), Vec::new())),
        Ok(Ok(found)) => found,
    };
    let config = wire_config(info, endpoint, application_name);
    let mut tried = Vec::new();
    let mut last = Failure::NoAddress;
    for peer in found {
        let attempt = Attempt { config: &config, peer: &peer, limit };
        let outcome = match attempt.run().await {
            Err(failure) if failure.is_worth_plain_text(&peer) => {
                tracing::debug!("{peer:?} failed with TLS, which sslmode=prefer can do without");
                let peer = peer.in_plain_text();
                Attempt { config: &config, peer: &peer, limit }.run().await
            }
            outcome => outcome,
        };
        tried.push(peer);
        match outcome {
            Ok(login) => {
                check_facts(login.facts, target).map_err(|failure| (failure, tried))?;
                return Ok(Login { label: info.label_of(endpoint), ..login });
            }
            Err(failure) if failure.is_final() => return Err((failure, tried)),
            Err(failure) => last = failure,
        }
    }
    Err((last, tried))
}

fn wire_config(info: &ConnInfo, endpoint: &Endpoint, application_name: &str) -> Config {
    let mut config = Config::new();
    config.user(&info.user).dbname(&info.dbname).application_name(application_name);
    config.channel_binding(info.channel_binding);
    if let Some(password) = &endpoint.password {
        config.password(password.expose());
    }
    if let Some(options) = &info.options {
        config.options(options);
    }
    config
}

/// An attempt at one address.
struct Attempt<'a> {
    config: &'a Config,
    peer: &'a Peer,
    limit: Duration,
}

impl Attempt<'_> {
    async fn run(&self) -> Result<Login, Failure> {
        let started = Instant::now();
        let left = || self.limit.saturating_sub(started.elapsed());
        let late = |stage| move |_| Failure::Timeout(stage, self.limit);

        let transport = timeout(left(), self.peer.dial()).await.map_err(late(Stage::Dial))??;
        let encrypted = transport.is_tls();
        // TLS is already established where it is wanted. `Direct` makes tokio-postgres use it as is, adding only the channel
        // binding of the certificate.
        let mut config = self.config.clone();
        config
            .ssl_mode(if encrypted { WireTls::Require } else { WireTls::Disable })
            .ssl_negotiation(SslNegotiation::Direct);
        let (lent, back) = Lent::new(transport);
        let (client, mut wire) = timeout(left(), config.connect_raw(lent, HandshakeDone))
            .await
            .map_err(late(Stage::Login))?
            .map_err(|error| Failure::Login { error, encrypted })?;

        // The first answer has its own time limit: a full session pooler makes us wait here.
        let facts = timeout(self.limit, drive(&mut wire, ask_facts(&client)))
            .await
            .map_err(late(Stage::FirstQuery))?
            .map_err(|error| Failure::Login { error, encrypted })?
            .ok_or(Failure::Dial(DialError::NotPostgres))?;
        let peer = if encrypted { self.peer.clone() } else { self.peer.in_plain_text() };
        let cancel = CancelHandle::new(client.cancel_token(), peer);
        Ok(Login { client, wire, back, facts, cancel, label: String::new() })
    }
}

impl Failure {
    /// Returns whether `prefer` falls back to plain text: the handshake failed, or pg_hba.conf refuses TLS.
    fn is_worth_plain_text(&self, peer: &Peer) -> bool {
        let prefers = peer.tls.as_ref().is_some_and(|tls| tls.mode == SslMode::Prefer);
        prefers
            && match self {
                Self::Dial(DialError::Tls(_)) => true,
                Self::Login { error, encrypted } => {
                    *encrypted && error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
                }
                _ => false,
            }
    }
}

/// Returns `None` for an answer that PostgreSQL never gives.
async fn ask_facts(client: &Client) -> Result<Option<Facts>, tokio_postgres::Error> {
    let answer = client.simple_query(FACTS).await?;
    Ok(answer.iter().find_map(|message| {
        let SimpleQueryMessage::Row(row) = message else { return None };
        Some(Facts {
            backend_pid: row.get(0)?.parse().ok()?,
            server_version: row.get(1)?.parse().ok()?,
            in_recovery: row.get(2)? == "t",
            read_only: row.get(3)? == "on",
        })
    }))
}

fn check_facts(facts: Facts, target: TargetSession) -> Result<(), Failure> {
    if facts.server_version < SERVER_VERSION_MIN {
        return Err(Failure::TooOld(facts.server_version));
    }
    let suits = match target {
        TargetSession::Any | TargetSession::PreferStandby => true,
        TargetSession::ReadWrite => !facts.read_only,
        TargetSession::ReadOnly => facts.read_only,
        TargetSession::Primary => !facts.in_recovery,
        TargetSession::Standby => facts.in_recovery,
    };
    if suits { Ok(()) } else { Err(Failure::Unsuitable { wanted: target, facts }) }
}

/// Polls the wire until `work`, which waits for its answers, is done.
///
/// The wire is not polled after that. If the wire ends first, the answers that `work` has received count: a server reports
/// why it ends a connection before it does.
pub(super) async fn drive<T>(
    wire: &mut Wire,
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, tokio_postgres::Error> {
    let mut work = std::pin::pin!(work);
    let ended = tokio::select! {
        biased;
        done = &mut work => return done,
        ended = wire => ended,
    };
    match (work.now_or_never(), ended) {
        (Some(done), _) => done,
        (None, Err(error)) => Err(error),
        // Without an error the wire ends only after its client, which `work` holds.
        (None, Ok(())) => unreachable!("the connection task ended before its client"),
    }
}
