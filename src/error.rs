//! The error type of the crate: phase, kind, message, location and hint.
//!
//! Errors are classified by SQLSTATE or by the kind of broken socket, never by message text. (Poolers without SQLSTATEs are
//! the exception, see [`ServerError::is_out_of_slots`].) Errors reported by PostgreSQL are kept as [`ServerError`], which
//! never shows CONTEXT, and DETAIL only if it names objects or keys: otherwise these may quote row values, which belong only
//! in the rejects file.

mod server;

use std::fmt;
use std::sync::Arc;

use tokio_postgres::error::SqlState;

pub use server::ServerError;
pub(crate) use server::shortened;

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A location in a config file. Lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Location {
    /// The file as the user named it, or another source such as an environment variable.
    pub file: Arc<str>,
    /// Line, from 1; 0 for the file as a whole, or if `file` is not a file.
    pub line: u32,
    /// Column in characters, from 1; 0 if `line` is 0.
    pub column: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}:{}", self.file, self.column),
        }
    }
}

/// The phases of a run, in order. Log lines carry their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Reading the command line and the config.
    Config,
    /// Opening and configuring sessions.
    Connect,
    /// Locking the source tables and exporting the snapshot.
    Snapshot,
    /// Reading both catalogs and planning the run.
    Plan,
    /// Acquiring the tables' advisory locks, creating staging tables.
    Stage,
    /// Moving rows from the source into staging.
    Load,
    /// Counting staged rows and checking the guards.
    Verify,
    /// Locking the live tables and exchanging their contents.
    Apply,
    /// Writing state and report.
    Record,
    /// Dropping the leftovers of a run.
    Clean,
}

impl Phase {
    /// Returns the phase's name in logs, reports and fail points.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Connect => "connect",
            Self::Snapshot => "snapshot",
            Self::Plan => "plan",
            Self::Stage => "stage",
            Self::Load => "load",
            Self::Verify => "verify",
            Self::Apply => "apply",
            Self::Record => "record",
            Self::Clean => "clean",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The kind of an error. It determines exit code and retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The command line, a config file or a connection string is invalid.
    Config,
    /// Could not open a session: network, TLS, wrong password, no free slot, a transaction pooler.
    Connect,
    /// The role lacks a privilege.
    Permission,
    /// The databases do not match the config: a table, a column or a type is missing or differs.
    Schema,
    /// The request is valid but not allowed here: a method, a combination of settings, an overwrite.
    Refused,
    /// A server rejected a statement or a row, and would reject it again.
    Server,
    /// A connection broke, or a server is shutting down, starting up or temporarily out of a resource.
    Transient,
    /// Could not acquire a lock within lock_timeout.
    Lock,
    /// A guard failed: counts disagree, too many rejects, the table would shrink too much.
    Guard,
    /// Something that this depends on failed before.
    Dependency,
    /// The user or the system requested a stop.
    Cancelled,
    /// A local file could not be read or written.
    Io,
    /// A bug: an invariant of this program does not hold.
    Internal,
}

/// An error with phase, kind and message, and optionally a config location, the server's error and a hint.
#[derive(Debug)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    phase: Phase,
    kind: Kind,
    message: String,
    at: Option<Location>,
    server: Option<ServerError>,
    hint: Option<String>,
    out_of_slots: bool,
    server_away: bool,
}

impl Error {
    /// Creates an error of `kind` in `phase`. `message` says what failed and why, without a trailing period.
    pub fn new(phase: Phase, kind: Kind, message: impl Into<String>) -> Self {
        Self {
            inner: Box::new(Inner {
                phase,
                kind,
                message: message.into(),
                at: None,
                server: None,
                hint: None,
                out_of_slots: false,
                server_away: false,
            }),
        }
    }

    /// Creates a config error at a location.
    pub fn config(at: Location, message: impl Into<String>) -> Self {
        Self::new(Phase::Config, Kind::Config, message).at(at)
    }

    /// Creates an error from one of tokio-postgres while doing `what`, classified by SQLSTATE or by a broken socket.
    pub fn pg(phase: Phase, what: impl fmt::Display, source: &tokio_postgres::Error) -> Self {
        if let Some(db) = source.as_db_error() {
            return Self::server(phase, what, ServerError::from_db(db));
        }
        let kind = if source.is_closed() || has_io_source(source) { Kind::Transient } else { Kind::Server };
        Self::new(phase, kind, format!("{what}: {}", chain(source)))
    }

    /// Creates an error from one that a server reported while doing `what`.
    pub fn server(phase: Phase, what: impl fmt::Display, server: ServerError) -> Self {
        let mut error = Self::new(phase, server.kind(), format!("{what}: {server}"));
        error.inner.hint = server.remedy().map(str::to_owned).or_else(|| server.advice());
        error.inner.server = Some(server);
        error
    }

    /// Creates an error for a connection that got no session in time: a full pooler queues clients instead of refusing them.
    pub fn out_of_slots(phase: Phase, message: impl Into<String>) -> Self {
        let mut error = Self::new(phase, Kind::Transient, message);
        error.inner.out_of_slots = true;
        error
    }

    /// Creates an error for a server that does not listen.
    pub fn server_away(phase: Phase, message: impl Into<String>) -> Self {
        let mut error = Self::new(phase, Kind::Transient, message);
        error.inner.server_away = true;
        error
    }

    /// Creates an error for a socket that broke while doing `what`.
    pub fn socket(phase: Phase, what: impl fmt::Display, source: &std::io::Error) -> Self {
        Self::new(phase, Kind::Transient, format!("{what}: {source}"))
    }

    /// Creates an error for a local file that cannot be read or written.
    pub fn io(phase: Phase, what: impl fmt::Display, source: &std::io::Error) -> Self {
        Self::new(phase, Kind::Io, format!("{what}: {source}"))
    }

    /// Creates the error of a run that was requested to stop.
    #[must_use]
    pub fn cancelled(phase: Phase) -> Self {
        Self::new(phase, Kind::Cancelled, "stopped on request")
    }

    /// Sets the location in the config.
    #[must_use]
    pub fn at(mut self, at: Location) -> Self {
        self.inner.at = Some(at);
        self
    }

    /// Removes the location, for a config that does not exist as a file.
    #[must_use]
    pub fn nowhere(mut self) -> Self {
        self.inner.at = None;
        self
    }

    /// Sets the hint: a full sentence that says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.inner.hint = Some(hint.into());
        self
    }

    /// Sets the kind.
    #[must_use]
    pub fn kind_is(mut self, kind: Kind) -> Self {
        self.inner.kind = kind;
        self
    }

    /// Prefixes the message with `what: `.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.inner.message = format!("{what}: {}", self.inner.message);
        self
    }

    /// Replaces the message.
    #[must_use]
    pub fn instead(mut self, message: impl Into<String>) -> Self {
        self.inner.message = message.into();
        self
    }

    /// Returns the phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.inner.phase
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.inner.kind
    }

    /// Returns the message, one line.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// Returns the location in the config, if any.
    #[must_use]
    pub fn location(&self) -> Option<&Location> {
        self.inner.at.as_ref()
    }

    /// Returns the hint, if any.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }

    /// Returns the server's error, if a server reported one.
    #[must_use]
    pub fn server_error(&self) -> Option<&ServerError> {
        self.inner.server.as_ref()
    }

    /// Returns the SQLSTATE, if a server reported one.
    #[must_use]
    pub fn code(&self) -> Option<&SqlState> {
        self.inner.server.as_ref().map(|s| &s.code)
    }

    /// Returns whether a retry may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.inner.kind == Kind::Transient
    }

    /// Returns whether the cause is temporary: a transient error, or a lock that could not be acquired.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self.inner.kind, Kind::Transient | Kind::Lock)
    }

    /// Returns whether a connection failed because the server is temporarily unavailable: it does not listen, or it is starting
    /// up, shutting down or in recovery.
    #[must_use]
    pub fn is_server_away(&self) -> bool {
        let says_so = |server: &ServerError| matches!(server.code.code(), "57P01" | "57P02" | "57P03");
        self.inner.server_away
            || (self.inner.phase == Phase::Connect && self.inner.server.as_ref().is_some_and(says_so))
    }

    /// Returns whether the server, or a pooler in front of it, had no free connection slot.
    #[must_use]
    pub fn is_out_of_slots(&self) -> bool {
        self.inner.out_of_slots || self.inner.server.as_ref().is_some_and(ServerError::is_out_of_slots)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = &self.inner.at {
            write!(f, "{at}: ")?;
        }
        f.write_str(&self.inner.message)
    }
}

impl std::error::Error for Error {}

/// Joins the messages of an error and of its sources. tokio-postgres' own message contains only the kind.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let part = error.to_string();
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        next = error.source();
    }
    text
}

fn has_io_source(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<std::io::Error>() {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: &str, message: &str) -> ServerError {
        ServerError::from_fields(code, message.to_owned(), None, (None, None, None))
    }

    #[test]
    fn a_restarting_server_is_transient_and_a_cancelled_query_is_not() {
        for code in ["57P01", "57P02", "57P03", "08006", "40P01", "53300"] {
            assert_eq!(server(code, "x").kind(), Kind::Transient, "{code}");
        }
        for code in ["57014", "08P01", "23505", "53100", "22P02"] {
            assert_eq!(server(code, "x").kind(), Kind::Server, "{code}");
        }
    }

    #[test]
    fn a_server_that_lets_nobody_in_for_now_is_away_and_one_that_is_full_or_says_no_is_not() {
        let at = |phase, code| Error::server(phase, "x", server(code, "y")).is_server_away();
        for code in ["57P01", "57P02", "57P03"] {
            assert!(at(Phase::Connect, code), "{code}");
            assert!(!at(Phase::Load, code), "{code}");
        }
        assert!(!at(Phase::Connect, "53300") && !at(Phase::Connect, "28P01"));
    }

    #[test]
    fn a_servers_hint_is_shown_only_where_it_is_about_a_statement() {
        let hint = |code: &str| {
            let hint = Some("Perhaps you meant b.".to_owned());
            let server = ServerError::from_fields(code, "x".to_owned(), hint, (None, None, None));
            Error::server(Phase::Plan, "y", server).advice().map(str::to_owned)
        };
        assert_eq!(hint("42703").as_deref(), Some("Perhaps you meant b."));
        assert_eq!(hint("P0001"), None);
        assert!(hint("42501").unwrap().starts_with("Grant"), "our own comes first");
    }

    #[test]
    fn what_the_servers_message_names_is_not_named_again() {
        let shown = |message: &str| {
            let names = (Some("t"), None, Some("t_v_key"));
            ServerError::from_fields("23505", message.to_owned(), None, names).to_string()
        };
        assert_eq!(shown("violates \"t_v_key\""), "violates \"t_v_key\" (table t) [23505]");
        assert_eq!(shown("verletzt"), "verletzt (table t, constraint t_v_key) [23505]");
    }

    #[test]
    fn a_detail_is_shown_where_it_names_keys_or_objects_and_not_where_it_may_quote_a_row() {
        let shown = |code: &str, detail: &str| {
            let server = server(code, "m").detailed(Some(detail.to_owned()));
            Error::server(Phase::Apply, "x", server).message().to_owned()
        };
        let key = "Key (id)=(1) already exists.";
        assert_eq!(shown("23505", key), "x: m: Key (id)=(1) already exists [23505]");
        assert_eq!(shown("2BP01", "view v depends on table t."), "x: m: view v depends on table t [2BP01]");
        for code in ["23502", "23514", "22P02", "P0001", "44000"] {
            assert_eq!(shown(code, "Failing row contains (1, secret)."), format!("x: m [{code}]"));
        }
        assert!(shown("23505", &"ä".repeat(5000)).len() < 600);
    }

    #[test]
    fn a_full_session_pooler_counts_as_out_of_slots() {
        assert!(server("XX000", "MaxClientsInSessionMode: max clients reached").is_out_of_slots());
        assert!(server("08P01", "no more connections allowed (max_client_conn)").is_out_of_slots());
        assert_eq!(server("08P01", "query_wait_timeout").kind(), Kind::Transient);
        assert!(!server("XX000", "Tenant or user not found").is_out_of_slots());
        assert!(!server("08P01", "invalid message format").is_out_of_slots());
    }
}
