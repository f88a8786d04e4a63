//! The one error type: in which phase something went wrong, what kind of thing it was, and what to do.
//!
//! Errors are classified by SQLSTATE and by the kind of broken socket, never by the text of a message.
//! What PostgreSQL reports is kept as [`ServerError`], which shows no CONTEXT, and a DETAIL only where it names objects or
//! keys: others quote row values, and row values belong in the rejects file only.

mod server;

use std::fmt;
use std::sync::Arc;

use tokio_postgres::error::SqlState;

pub use server::ServerError;
pub(crate) use server::shortened;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A place in a config file. Lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Location {
    /// The file as the user named it.
    pub file: Arc<str>,
    /// Line, from 1; 0 where it is the file as a whole that is meant, or what `file` names has no lines.
    pub line: u32,
    /// Column in characters, from 1; 0 as for `line`.
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

/// The phases of a run, in order; also the word that log lines carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Reading the command line and the config.
    Config,
    /// Opening and configuring sessions.
    Connect,
    /// Locking the source tables and exporting the snapshot.
    Snapshot,
    /// Reading both catalogs and deciding what to do.
    Plan,
    /// Taking the tables' advisory locks, creating staging tables.
    Stage,
    /// Moving rows from the source into staging.
    Load,
    /// Counting staging, judging guards.
    Verify,
    /// Locking the live tables and exchanging their contents.
    Apply,
    /// Writing state and report.
    Record,
    /// Dropping what a run leaves behind.
    Clean,
}

impl Phase {
    /// The phase's name in logs, reports and fail points.
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

/// What went wrong, coarsely: decides exit code, retry and remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The command line, a config file or a connection string cannot be understood.
    Config,
    /// No session could be had: network, TLS, wrong password, no free slot, a transaction pooler.
    Connect,
    /// The role lacks a right.
    Permission,
    /// The databases are not what the config expects: a table, a column or a type is missing or differs.
    Schema,
    /// What was asked for is possible in general, but not here: a method, a combination, an overwrite.
    Refused,
    /// A server refused a statement or a row, for a reason that repeating does not cure.
    Server,
    /// A connection broke, or a server is going down, coming up or out of a resource for now.
    Transient,
    /// A lock was not to be had within its budget.
    Lock,
    /// A guard said no: counts disagree, too many rejects, the table would shrink too much.
    Guard,
    /// Something this depends on failed before.
    Dependency,
    /// The user or the system asked us to stop.
    Cancelled,
    /// A local file could not be read or written.
    Io,
    /// A bug: an invariant of this program does not hold.
    Internal,
}

/// An error: phase, kind, what happened, where in the config, and why underneath.
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
    /// An error of `kind` in `phase`. `message` says what happened and to what, without a trailing period.
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

    /// A config error at a place in the file.
    pub fn config(at: Location, message: impl Into<String>) -> Self {
        Self::new(Phase::Config, Kind::Config, message).at(at)
    }

    /// An error of tokio-postgres while doing `what`, classified by SQLSTATE or by the broken socket.
    pub fn pg(phase: Phase, what: impl fmt::Display, source: &tokio_postgres::Error) -> Self {
        if let Some(db) = source.as_db_error() {
            return Self::server(phase, what, ServerError::from_db(db));
        }
        let kind = if source.is_closed() || has_io_source(source) { Kind::Transient } else { Kind::Server };
        Self::new(phase, kind, format!("{what}: {}", chain(source)))
    }

    /// An error that a server sent while doing `what`.
    pub fn server(phase: Phase, what: impl fmt::Display, server: ServerError) -> Self {
        let mut error = Self::new(phase, server.kind(), format!("{what}: {server}"));
        error.inner.hint = server.remedy().map(str::to_owned).or_else(|| server.advice());
        error.inner.server = Some(server);
        error
    }

    /// No session was given in time: a full pooler makes clients wait rather than refusing them.
    pub fn out_of_slots(phase: Phase, message: impl Into<String>) -> Self {
        let mut error = Self::new(phase, Kind::Transient, message);
        error.inner.out_of_slots = true;
        error
    }

    /// Nobody listens where the server should.
    pub fn server_away(phase: Phase, message: impl Into<String>) -> Self {
        let mut error = Self::new(phase, Kind::Transient, message);
        error.inner.server_away = true;
        error
    }

    /// A broken socket while doing `what`.
    pub fn socket(phase: Phase, what: impl fmt::Display, source: &std::io::Error) -> Self {
        Self::new(phase, Kind::Transient, format!("{what}: {source}"))
    }

    /// A local file that cannot be read or written.
    pub fn io(phase: Phase, what: impl fmt::Display, source: &std::io::Error) -> Self {
        Self::new(phase, Kind::Io, format!("{what}: {source}"))
    }

    /// The run was asked to stop.
    #[must_use]
    pub fn cancelled(phase: Phase) -> Self {
        Self::new(phase, Kind::Cancelled, "stopped on request")
    }

    /// The same error, with the place in the config it comes from.
    #[must_use]
    pub fn at(mut self, at: Location) -> Self {
        self.inner.at = Some(at);
        self
    }

    /// The same error without a place: for a file that nobody has.
    #[must_use]
    pub fn nowhere(mut self) -> Self {
        self.inner.at = None;
        self
    }

    /// The same error, with advice: a full sentence that says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.inner.hint = Some(hint.into());
        self
    }

    /// The same error, judged to be of another kind.
    #[must_use]
    pub fn kind_is(mut self, kind: Kind) -> Self {
        self.inner.kind = kind;
        self
    }

    /// The same error, its message preceded by `what: `.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.inner.message = format!("{what}: {}", self.inner.message);
        self
    }

    /// The same error, with a message that says more than its own.
    #[must_use]
    pub fn instead(mut self, message: impl Into<String>) -> Self {
        self.inner.message = message.into();
        self
    }

    /// The phase it happened in.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.inner.phase
    }

    /// What went wrong, coarsely.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.inner.kind
    }

    /// What happened, one line.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// Where in the config, if it comes from there.
    #[must_use]
    pub fn location(&self) -> Option<&Location> {
        self.inner.at.as_ref()
    }

    /// What to do about it, if there is something to say.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }

    /// What the server said, if a server said it.
    #[must_use]
    pub fn server_error(&self) -> Option<&ServerError> {
        self.inner.server.as_ref()
    }

    /// The SQLSTATE, if a server reported one.
    #[must_use]
    pub fn code(&self) -> Option<&SqlState> {
        self.inner.server.as_ref().map(|s| &s.code)
    }

    /// Whether doing the same again may work.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.inner.kind == Kind::Transient
    }

    /// Whether it is about the moment rather than about what was asked: doing the same again may work, or a lock was in the
    /// way.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        matches!(self.inner.kind, Kind::Transient | Kind::Lock)
    }

    /// Whether no session was to be had because the server is away for now: nobody listens, or it starts, stops or
    /// recovers.
    #[must_use]
    pub fn is_server_away(&self) -> bool {
        let says_so = |server: &ServerError| matches!(server.code.code(), "57P01" | "57P02" | "57P03");
        self.inner.server_away
            || (self.inner.phase == Phase::Connect && self.inner.server.as_ref().is_some_and(says_so))
    }

    /// Whether the server, or a pooler before it, had no slot left for one more connection.
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

/// The messages of an error and of everything beneath it: tokio-postgres' own says only its kind.
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
