//! Explains a failed connection, with advice for the operator.

use std::io;
use std::time::Duration;

use rustls::CertificateError;
use tokio_postgres::error::SqlState;

use super::conninfo::{ConnInfo, Endpoint, Host, TargetSession};
use super::dial::{DialError, Peer};
use super::login::Facts;
use super::supabase;
use super::tls::SslMode;
use crate::error::{Error, Kind, Phase, ServerError, chain};

/// The stage that an attempt had reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Resolving the name.
    LookUp,
    /// Connecting the socket, and TLS.
    Dial,
    /// Authentication.
    Login,
    /// The answer to the first statement.
    FirstQuery,
}

/// The reason an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The resolver has no address for the name.
    LookUp(io::Error),
    /// The resolver returned an empty list.
    NoAddress,
    /// The stage took longer than the limit.
    Timeout(Stage, Duration),
    /// The transport could not be established.
    Dial(DialError),
    /// The server, or tokio-postgres, refused the login.
    Login {
        /// The error.
        error: tokio_postgres::Error,
        /// Whether the connection used TLS.
        encrypted: bool,
    },
    /// The server's version.
    TooOld(u32),
    /// The server does not satisfy `target_session_attrs`.
    Unsuitable {
        /// The requested attribute.
        wanted: TargetSession,
        /// The server's facts.
        facts: Facts,
    },
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        Self::Dial(error)
    }
}

impl Failure {
    /// Returns whether to stop trying other addresses and hosts: a server answered with a refusal.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::Login { error, .. } => {
                error.code().is_some_and(|code| *code != SqlState::CANNOT_CONNECT_NOW)
            }
            _ => false,
        }
    }
}

/// Combines the failures of all hosts: a single one stays as it is, several get the first hint.
pub(super) fn all_of(mut failures: Vec<Error>) -> Error {
    if failures.len() == 1 {
        return failures.remove(0);
    }
    let messages: Vec<&str> = failures.iter().map(Error::message).collect();
    let message = format!("no host accepts the connection: {}", messages.join("; "));
    let error = if failures.iter().any(Error::is_server_away) {
        Error::server_away(Phase::Connect, message)
    } else {
        let is_transient = failures.iter().any(Error::is_transient);
        Error::new(Phase::Connect, if is_transient { Kind::Transient } else { Kind::Connect }, message)
    };
    match failures.iter().find_map(Error::advice) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Converts the failure to an error. `tried` are the addresses of the host; the failure is that of the last one.
pub(super) fn explain(failure: &Failure, info: &ConnInfo, endpoint: &Endpoint, tried: &[Peer]) -> Error {
    let what = format!("cannot connect to {}", info.label_of(endpoint));
    let case = Case { what, info, endpoint, tried };
    match failure {
        Failure::LookUp(error) => case.unresolved(&format!("does not resolve ({error})")),
        Failure::NoAddress => case.unresolved("has no address"),
        Failure::Timeout(stage, limit) => case.timeout(*stage, *limit),
        Failure::Dial(DialError::Socket(error)) => case.socket(error),
        Failure::Dial(DialError::NoTls) => case.no_tls(),
        Failure::Dial(DialError::NotPostgres) => case
            .error(Kind::Connect, "the server does not speak PostgreSQL's protocol")
            .hint("Check the port."),
        Failure::Dial(DialError::Tls(error)) => case.handshake(error),
        Failure::Login { error, encrypted } => case.login(error, *encrypted),
        Failure::TooOld(version) => case
            .error(
                Kind::Connect,
                format!("its version is {}, and the oldest supported version is 12", dotted(*version)),
            )
            .hint("Upgrade the server, or restore a dump of it into a newer one and load from there."),
        Failure::Unsuitable { wanted, facts } => case.unsuitable(*wanted, *facts),
    }
}

/// Formats `server_version_num`; before 10, versions had two leading numbers.
fn dotted(version: u32) -> String {
    if version < 100_000 {
        format!("{}.{}", version / 10_000, version / 100 % 100)
    } else {
        format!("{}.{}", version / 10_000, version % 10_000)
    }
}

/// An attempt, for messages.
struct Case<'a> {
    what: String,
    info: &'a ConnInfo,
    endpoint: &'a Endpoint,
    tried: &'a [Peer],
}

impl Case<'_> {
    fn error(&self, kind: Kind, why: impl std::fmt::Display) -> Error {
        Error::new(Phase::Connect, kind, format!("{}: {why}", self.what))
    }

    fn host_name(&self) -> &str {
        match &self.endpoint.host {
            Host::Tcp { name, .. } => name,
            Host::Unix(_) => "",
        }
    }

    fn unresolved(&self, why: &str) -> Error {
        let hint = supabase::hint_without_ipv6(self.host_name()).unwrap_or_else(|| {
            "Check the spelling of the host name and the name resolution of this machine (getent hosts NAME).".to_owned()
        });
        // A failing resolver looks the same as an unknown name, so a retry may help.
        self.error(Kind::Transient, format!("host name {} {why}", self.host_name())).hint(hint)
    }

    fn timeout(&self, stage: Stage, limit: Duration) -> Error {
        let seconds = limit.as_secs_f64();
        let within = |what: &str| format!("{what} within {seconds} s");
        match stage {
            Stage::LookUp => self
                .error(Kind::Transient, within("the host name did not resolve"))
                .hint("Check the name resolution of this machine."),
            Stage::Dial => {
                self.error(Kind::Transient, format!("{}{}", within("no answer"), self.addresses())).hint(
                    "A firewall that drops packets is the usual cause, or a wrong address or port. \
                     connect_timeout sets the limit.",
                )
            }
            Stage::Login | Stage::FirstQuery => Error::out_of_slots(
                Phase::Connect,
                format!(
                    "{}: {}",
                    self.what,
                    within("the server accepted the connection but opened no session")
                ),
            )
            .hint(
                "A pooler without a free connection makes clients wait like this, and so does a server that \
                 hangs. Lower jobs, or raise the pool size.",
            ),
        }
    }

    /// Returns ` (tried a, b)` if there was more than one address or the address is not the name.
    fn addresses(&self) -> String {
        let shown: Vec<String> = self.tried.iter().map(|peer| peer.address.to_string()).collect();
        match shown.as_slice() {
            [] => String::new(),
            [only] if *only == self.endpoint.to_string() => String::new(),
            _ => format!(" (tried {})", shown.join(", ")),
        }
    }

    fn socket(&self, error: &io::Error) -> Error {
        use io::ErrorKind as Io;
        let is_socket = matches!(self.endpoint.host, Host::Unix(_));
        let (why, hint) = match error.kind() {
            Io::NotFound if is_socket => (
                "the socket does not exist".to_owned(),
                "Check that a server is running on this machine with this port and unix_socket_directories, or name \
                 another host or port.",
            ),
            Io::ConnectionRefused => (
                "connection refused".to_owned(),
                "Check that the server is running, that it listens on this address (listen_addresses, port), \
                 and that the port is right.",
            ),
            Io::PermissionDenied => (
                error.to_string(),
                "The operating system denies this user access to the socket or the network.",
            ),
            Io::ConnectionReset | Io::BrokenPipe | Io::UnexpectedEof => (
                "the server closed the connection".to_owned(),
                "The server's log may give the reason. A port that does not belong to PostgreSQL, or a proxy, \
                 has the same effect.",
            ),
            _ => (error.to_string(), "Check host, port, routes and firewalls."),
        };
        let only_ipv6 = !self.tried.is_empty() && self.tried.iter().all(|peer| peer.address.is_ipv6());
        let hint = only_ipv6
            .then(|| supabase::hint_without_ipv6(self.host_name()))
            .flatten()
            .unwrap_or_else(|| hint.to_owned());
        let message = format!("{}: {why}{}", self.what, self.addresses());
        let is_away = error.kind() == Io::ConnectionRefused || (is_socket && error.kind() == Io::NotFound);
        let error = match is_away {
            true => Error::server_away(Phase::Connect, message),
            false => Error::new(Phase::Connect, Kind::Transient, message),
        };
        error.hint(hint)
    }

    fn mode(&self) -> SslMode {
        self.endpoint.tls.as_ref().map_or(SslMode::Disable, |tls| tls.mode)
    }

    fn no_tls(&self) -> Error {
        self.error(Kind::Connect, format!("the server does not support TLS, but sslmode is {}", self.mode()))
            .hint(
                "Turn on ssl in the server's configuration. If every network in between is trusted, add \
             sslmode=disable instead; without an sslmode, bulkload requires TLS for every host but this \
             machine.",
            )
    }

    fn handshake(&self, error: &io::Error) -> Error {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(error) => self.tls(error),
            None => {
                let direct = self.endpoint.tls.as_ref().is_some_and(|tls| tls.direct);
                self.error(Kind::Transient, format!("TLS handshake failed: {error}")).hint(if direct {
                    "sslnegotiation=direct requires a server of version 17 or later."
                } else {
                    "The server's log may give the reason. A proxy that does not pass TLS through has the \
                     same effect."
                })
            }
        }
    }

    fn tls(&self, error: &rustls::Error) -> Error {
        use CertificateError as Bad;
        let name = self.host_name();
        let (why, hint) = match error {
            rustls::Error::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => (
                "the server's certificate is not signed by a trusted authority".to_owned(),
                "Name the authority's certificate with sslrootcert=FILE (Supabase: dashboard, database \
                 settings). sslmode=require without sslrootcert encrypts the connection but accepts any \
                 server.",
            ),
            rustls::Error::InvalidCertificate(Bad::NotValidForNameContext { presented, .. }) => (
                if presented.is_empty() {
                    format!("the server's certificate has no subjectAltName, so it is not valid for {name}")
                } else {
                    format!("the server's certificate is for {}, not for {name}", presented.join(", "))
                },
                "Connect by a name in the certificate (hostaddr= can give the address), have it reissued with \
                 a subjectAltName, or use sslmode=verify-ca.",
            ),
            rustls::Error::InvalidCertificate(Bad::NotValidForName) => (
                format!("the server's certificate is not valid for {name}"),
                "Connect by a name in the certificate, or use sslmode=verify-ca.",
            ),
            rustls::Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => (
                "the server's certificate has expired".to_owned(),
                "Renew the certificate, or correct the clock of this machine if it is wrong.",
            ),
            rustls::Error::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => (
                "the server's certificate is not valid yet".to_owned(),
                "Correct the clock of this machine if it is wrong.",
            ),
            rustls::Error::InvalidCertificate(other) => (
                format!("cannot verify the server's certificate: {other}"),
                "The certificate must be X.509 version 3, have a key that is long enough, and be signed by \
                 the authority in sslrootcert. That file may be a self-signed certificate itself.",
            ),
            rustls::Error::AlertReceived(alert) => (
                format!("the server aborted the TLS handshake with {alert:?}"),
                "The server's log gives the reason. It may require a client certificate (sslcert and sslkey), \
                 or another one.",
            ),
            rustls::Error::PeerIncompatible(_) => (
                format!("server and client have no TLS version in common: {error}"),
                "Allow TLS 1.2 or 1.3 on the server (ssl_max_protocol_version, ssl_ciphers).",
            ),
            other => (format!("TLS failed: {other}"), "The server's log may give the reason."),
        };
        self.error(Kind::Connect, why).hint(hint)
    }

    fn login(&self, error: &tokio_postgres::Error, encrypted: bool) -> Error {
        if let Some(db) = error.as_db_error() {
            let server = ServerError::from_db(db);
            let hint = self.server_hint(&server, encrypted);
            let error = Error::server(Phase::Connect, &self.what, server);
            return match hint {
                Some(hint) => error.hint(hint),
                None => error,
            };
        }
        let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
        if let Some(io) = io {
            // A server that refuses the client's certificate reports it only after a TLS 1.3 handshake has finished.
            return match io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(tls) => self.tls(tls),
                None => self.socket(io),
            };
        }
        if error.is_closed() {
            return self.socket(&io::ErrorKind::UnexpectedEof.into());
        }
        let text = chain(error);
        if self.endpoint.password.is_none() && text.ends_with(PASSWORD_MISSING) {
            return self
                .error(Kind::Connect, "the server requires a password, and none was given")
                .hint(self.password_hint());
        }
        self.error(Kind::Connect, text).hint(
            "Supported authentication methods: password (scram-sha-256, md5, plain), client certificate, \
             peer, trust. Kerberos, SSPI and OAuth are not supported. channel_binding=require needs a direct \
             TLS connection to the server.",
        )
    }

    fn server_hint(&self, server: &ServerError, encrypted: bool) -> Option<String> {
        if server.is_out_of_slots() {
            return Some(
                "All connections are in use: lower jobs, close other clients, or raise max_connections (or \
                 the pool size)."
                    .to_owned(),
            );
        }
        match server.code.code() {
            "28P01" => Some(self.password_hint()),
            "28000" if matches!(self.endpoint.host, Host::Unix(_)) => Some(
                "For Unix sockets pg_hba.conf usually requires peer: run as the operating-system user of that \
                 name, or connect to localhost with a password."
                    .to_owned(),
            ),
            "28000" if encrypted => Some(
                "The server's pg_hba.conf decides which users may connect, from where and how. Check user and \
                 database, or have a matching line added."
                    .to_owned(),
            ),
            "28000" => Some(
                "The server's pg_hba.conf decides which users may connect, from where and how. Check user and \
                 database, use TLS (sslmode=require), or have a matching line added."
                    .to_owned(),
            ),
            "57P03" => Some("The server is starting up, shutting down or recovering. Try again.".to_owned()),
            "XX000" => supabase::hint_for_tenant(self.host_name()),
            _ => None,
        }
    }

    /// Returns where the password came from or could come from, and which ones were not used.
    fn password_hint(&self) -> String {
        let mut hint = match &self.endpoint.password {
            Some(_) => {
                format!("The password came from {}. Check it, and the user.", self.endpoint.password_from)
            }
            None => {
                "Give a password in the URL (special characters percent-encoded), in PGPASSWORD together \
                     with PGHOST, or in ~/.pgpass."
                    .to_owned()
            }
        };
        for note in &self.info.notes {
            hint.push_str(" Note: ");
            hint.push_str(note);
            hint.push('.');
        }
        if let Some(more) = supabase::hint_for_tenant(self.host_name()) {
            hint.push(' ');
            hint.push_str(&more);
        }
        hint
    }

    fn unsuitable(&self, wanted: TargetSession, facts: Facts) -> Error {
        let is = match (facts.in_recovery, facts.read_only) {
            (true, _) => "a standby",
            (false, true) => "read-only by default",
            (false, false) => "a primary that takes writes",
        };
        let wanted = match wanted {
            TargetSession::ReadWrite => "read-write",
            TargetSession::ReadOnly => "read-only",
            TargetSession::Primary => "primary",
            TargetSession::Standby => "standby",
            TargetSession::Any | TargetSession::PreferStandby => "any",
        };
        self.error(Kind::Connect, format!("it is {is}, but target_session_attrs is {wanted}"))
            .hint("Name a host that satisfies target_session_attrs, or change the setting.")
    }
}

/// The text of tokio-postgres' error for a missing password, which has no kind of its own.
const PASSWORD_MISSING: &str = "password missing";
