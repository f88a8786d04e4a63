//! Detects transaction poolers, which give each transaction another backend and which no run survives.
//!
//! Snapshots, settings, advisory locks and staging all belong to a session. A transaction pooler breaks the session up and,
//! worse, passes our SET commands on to other clients. So this runs before the first [`super::session::connect`], and sets
//! nothing itself.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::conninfo::{ConnInfo, Endpoint, Host};
use super::login::log_in;
use super::session::{Session, SessionSettings, Side, attach};
use super::{guarantees, supabase};
use crate::error::{Error, Kind, Phase, Result};

/// The port for transaction pooling on all Supabase hosts.
const SUPABASE_TRANSACTION_PORT: u16 = 6543;
/// A statement that waits longer than this while another connection holds a transaction is waiting for that connection's
/// backend.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// How long an answer may take when no transaction is open.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Rounds, in which the two connections alternate in holding a transaction.
const ROUNDS: usize = 4;

/// Refuses an address that assigns backends to transactions instead of sessions.
///
/// Supabase's poolers are recognized by their port, all others by their behavior: the backend of a connection must not
/// change, must not be the other connection's, and must be available while the other connection is in a transaction. A server
/// and a session pooler pass within a few round trips.
///
/// A target that passes is also tested for the other guarantees that a run relies on: exclusive advisory locks, and COPY as
/// part of its transaction. Databases that only speak the protocol may provide neither.
///
/// # Errors
/// [`Kind::Connect`] with the address to use instead; [`Kind::Refused`] with the missing guarantee of a target; errors of
/// [`super::session::connect`].
pub async fn refuse_transaction_pooling(info: &ConnInfo, settings: &SessionSettings) -> Result<()> {
    for endpoint in &info.endpoints {
        refuse_supabase_port(info, endpoint)?;
    }
    let first = bare(info, settings).await?;
    let second = match bare(info, settings).await {
        Ok(session) => session,
        // The first connection is outside a transaction. If its backend cannot serve the second one, the backend is bound to
        // the session. The lack of backends is reported elsewhere.
        Err(error) if error.is_out_of_slots() => return Ok(()),
        Err(error) => return Err(error),
    };
    match watch(&first.client, &second.client).await {
        // The two connections are available for one more test.
        Ok(None) if settings.side == Side::Target => {
            guarantees::refuse_impostors(&first.label, (&first.client, first.backend_pid), &second.client)
                .await
        }
        Ok(None) => Ok(()),
        Ok(Some(symptom)) => Err(refusal(&[first, second], symptom).await),
        Err(error) => {
            Err(Error::pg(Phase::Connect, format!("cannot tell whether {} is a pooler", first.label), &error))
        }
    }
}

/// Logs in without any settings.
async fn bare(info: &ConnInfo, settings: &SessionSettings) -> Result<Session> {
    log_in(info, &settings.application_name, settings.connect_timeout).await.map(attach)
}

fn refuse_supabase_port(info: &ConnInfo, endpoint: &Endpoint) -> Result<()> {
    let Host::Tcp { name, .. } = &endpoint.host else { return Ok(()) };
    if endpoint.port != SUPABASE_TRANSACTION_PORT {
        return Ok(());
    }
    let addresses = if supabase::is_shared_pooler(name) {
        let project = supabase::project_of_user(&info.user).unwrap_or("<project ref>");
        format!("{name}:5432 (session pooler), or db.{project}.supabase.co:5432 (direct, IPv6)")
    } else if supabase::project_of_direct_host(name).is_some() {
        format!("{name}:5432 (direct, IPv6), or the session pooler's URL from the dashboard")
    } else {
        return Ok(());
    };
    Err(Error::new(
        Phase::Connect,
        Kind::Connect,
        format!("{} is Supabase's transaction pooler, which bulkload cannot use", info.label_of(endpoint)),
    )
    .hint(format!("Use {addresses}.")))
}

/// The sign of a transaction pooler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Symptom {
    /// The backend of a connection changed.
    BackendChanged,
    /// Two connections shared one backend.
    BackendShared,
    /// A connection got no answer while the other one was in a transaction.
    Starved,
    /// BEGIN was refused.
    NoTransactions,
}

/// Queries the backends of both connections, while one of them holds a transaction and while neither does.
async fn watch(first: &Client, second: &Client) -> Result<Option<Symptom>, tokio_postgres::Error> {
    let mut seen = [BTreeSet::new(), BTreeSet::new()];
    let mut starved = false;
    for round in 0..ROUNDS {
        let holder = round % 2;
        let (holding, asking) = if holder == 0 { (first, second) } else { (second, first) };
        seen[1 - holder].insert(backend_pid(asking).await?);
        if let Err(error) = holding.batch_execute("begin").await {
            // PostgreSQL itself never refuses BEGIN.
            return if error.as_db_error().is_some() {
                Ok(Some(Symptom::NoTransactions))
            } else {
                Err(error)
            };
        }
        seen[holder].insert(backend_pid(holding).await?);
        let mut question = std::pin::pin!(backend_pid(asking));
        let prompt = timeout(WAIT_MAX, &mut question).await;
        holding.batch_execute("rollback").await?;
        match prompt {
            Ok(pid) => {
                seen[1 - holder].insert(pid?);
                starved = false;
            }
            // A single timeout may be due to a busy server; two in a row, only while the other connection holds a
            // transaction, are not.
            Err(_) if starved => return Ok(Some(Symptom::Starved)),
            Err(_) => {
                starved = true;
                if let Ok(pid) = timeout(ANSWER_MAX, question).await {
                    seen[1 - holder].insert(pid?);
                }
            }
        }
        if let Some(symptom) = judge(&seen) {
            return Ok(Some(symptom));
        }
    }
    Ok(None)
}

fn judge([first, second]: &[BTreeSet<i32>; 2]) -> Option<Symptom> {
    if first.len() > 1 || second.len() > 1 {
        Some(Symptom::BackendChanged)
    } else if first.intersection(second).next().is_some() {
        Some(Symptom::BackendShared)
    } else {
        None
    }
}

/// Uses a simple query: a prepared statement would not survive the pooler.
async fn backend_pid(client: &Client) -> Result<i32, tokio_postgres::Error> {
    let pid = first_row(client, "select pg_catalog.pg_backend_pid()").await?;
    // Zero is not a valid process ID, and two of them count as one backend.
    Ok(pid.first().and_then(|pid| pid.as_ref()?.parse().ok()).unwrap_or(0))
}

async fn first_row(client: &Client, sql: &str) -> Result<Vec<Option<String>>, tokio_postgres::Error> {
    let messages = client.simple_query(sql).await?;
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|n| row.get(n).map(str::to_owned)).collect()),
        _ => None,
    });
    Ok(row.unwrap_or_default())
}

async fn refusal(sessions: &[Session; 2], symptom: Symptom) -> Error {
    let why = match symptom {
        Symptom::BackendChanged => "the backend of a connection changed between two statements",
        Symptom::BackendShared => "two connections shared one backend",
        Symptom::Starved => "a connection got no answer while another one was in a transaction",
        Symptom::NoTransactions => "it does not accept BEGIN",
    };
    // A pooler that refuses BEGIN has closed that connection; the other one still answers.
    let mut server = servers_own_address(&sessions[0].client).await;
    if server.is_none() {
        server = servers_own_address(&sessions[1].client).await;
    }
    Error::new(
        Phase::Connect,
        Kind::Connect,
        format!("{} is a transaction pooler, which bulkload cannot use: {why}", sessions[0].label),
    )
    .hint(advice(server))
}

/// Returns the server's host and port as the server sees them; an empty host if the pooler uses a Unix socket.
async fn servers_own_address(client: &Client) -> Option<(String, String)> {
    let own = "select pg_catalog.host(pg_catalog.inet_server_addr()), pg_catalog.current_setting('port')";
    let mut row = timeout(ANSWER_MAX, first_row(client, own)).await.ok()?.ok()?.into_iter();
    let host = row.next()?.unwrap_or_default();
    Some((host, row.next()??))
}

fn advice(server: Option<(String, String)>) -> String {
    let session_mode = "or switch the pooler to session pooling (pool_mode = session)";
    match server {
        None => format!("Connect to the server directly, {session_mode}."),
        Some((host, port)) => {
            let is_local = host.is_empty() || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
            if is_local {
                format!(
                    "Connect to the server directly, on the pooler's machine at port {port}, {session_mode}."
                )
            } else {
                format!("Connect to the server directly, at {host} port {port}, {session_mode}.")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::conninfo::Environment;
    use crate::pg::secret::Secret;

    fn judge_url(url: &str) -> Result<()> {
        let info = ConnInfo::resolve(&Secret::new(url.to_owned()), &Environment::default())?;
        info.endpoints.iter().try_for_each(|endpoint| refuse_supabase_port(&info, endpoint))
    }

    #[test]
    fn supabases_transaction_port_is_refused_with_the_addresses_that_work() {
        let error =
            judge_url("postgres://postgres.abcd:pw@aws-1-eu-central-1.pooler.supabase.com:6543/postgres")
                .unwrap_err();
        let hint = error.advice().unwrap();
        assert!(hint.contains("aws-1-eu-central-1.pooler.supabase.com:5432"), "{hint}");
        assert!(hint.contains("db.abcd.supabase.co:5432"), "{hint}");
        assert!(!format!("{error}{hint}").contains("pw"));

        let error = judge_url("postgres://postgres@db.abcd.supabase.co:6543/postgres").unwrap_err();
        assert!(error.advice().unwrap().contains("db.abcd.supabase.co:5432"));

        judge_url("postgres://postgres.abcd@aws-1-eu-central-1.pooler.supabase.com:5432/postgres").unwrap();
        judge_url("postgres://me@db.example.com:6543/postgres").unwrap();
    }

    #[test]
    fn one_backend_per_connection_is_what_a_session_has() {
        let sets = |a: &[i32], b: &[i32]| [a.iter().copied().collect(), b.iter().copied().collect()];
        assert_eq!(judge(&sets(&[1], &[2])), None);
        assert_eq!(judge(&sets(&[1, 3], &[2])), Some(Symptom::BackendChanged));
        assert_eq!(judge(&sets(&[1], &[1])), Some(Symptom::BackendShared));
    }

    #[test]
    fn the_advice_names_the_servers_own_address() {
        assert!(advice(Some(("10.0.0.5".into(), "5432".into()))).contains("10.0.0.5 port 5432"));
        assert!(advice(Some(("127.0.0.1".into(), "5433".into()))).contains("pooler's machine at port 5433"));
    }
}
