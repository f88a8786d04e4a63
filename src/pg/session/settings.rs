//! The settings of every session, so that roles, databases and poolers cannot change the meaning of our statements.

use std::fmt::Write as _;
use std::time::Duration;

use crate::pg::name::literal;

/// The end of the run that a session belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The end that is read.
    Source,
    /// The end that is written.
    Target,
}

impl Side {
    /// Returns the word for messages and config sections.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }
}

/// The options of a session. Durations are rounded up to milliseconds; zero means no limit.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    /// The end that it belongs to.
    pub side: Side,
    /// `bulkload/<run id>/<role>`, as shown in `pg_stat_activity`. The server truncates it to 63 bytes.
    pub application_name: String,
    /// How long a statement may wait for one lock.
    pub lock_timeout: Duration,
    /// How long a statement may take.
    pub statement_timeout: Duration,
    /// How long an attempt to connect may take. `connect_timeout` in the connection string, or PGCONNECT_TIMEOUT, takes
    /// precedence.
    pub connect_timeout: Duration,
    /// Whether to keep the role's TimeZone, for sessions that extract: `where` and `expr` may depend on it.
    pub keep_time_zone: bool,
    /// Whether strings of a database without an encoding (SQL_ASCII) are passed through unconverted.
    pub passes_bytes: bool,
    /// Whether to keep the role's search_path, for sessions that run the user's SQL.
    pub keep_search_path: bool,
}

impl SessionSettings {
    /// Returns the defaults: no limits on statements and locks, 30 s to connect, UTC, empty search_path.
    pub fn new(side: Side, application_name: impl Into<String>) -> Self {
        Self {
            side,
            application_name: application_name.into(),
            lock_timeout: Duration::ZERO,
            statement_timeout: Duration::ZERO,
            connect_timeout: Duration::from_secs(30),
            keep_time_zone: false,
            passes_bytes: false,
            keep_search_path: false,
        }
    }

    /// Returns the same for a session that runs the user's SQL: it keeps the role's TimeZone and search_path.
    #[must_use]
    pub fn for_users_sql(mut self) -> Self {
        self.keep_time_zone = true;
        self.keep_search_path = true;
        self
    }

    /// Returns two batches of SET. The first must succeed; the second depends on the server's platform.
    pub(super) fn statements(&self, server_version: u32) -> (String, String) {
        let mut settings: Vec<(&str, String)> = FIXED.iter().map(|&(k, v)| (k, literal(v))).collect();
        settings.push(("application_name", literal(&self.application_name)));
        settings.push(("statement_timeout", milliseconds(self.statement_timeout)));
        settings.push(("lock_timeout", milliseconds(self.lock_timeout)));
        settings.extend(
            SINCE.iter().filter(|(since, ..)| server_version >= *since).map(|&(_, k, v)| (k, literal(v))),
        );
        if !self.keep_time_zone {
            settings.push(("timezone", literal("UTC")));
        }
        if !self.keep_search_path {
            settings.push(("search_path", literal("")));
        }
        if self.side == Side::Target {
            settings.push(("default_transaction_read_only", literal("off")));
        }
        let mut required = batch(&settings);
        if self.passes_bytes {
            required.push_str(PASS_BYTES);
        }
        let optional = if server_version >= 140_000 {
            // Without it a busy backend outlives its client. Only some kernels support it.
            batch(&[("client_connection_check_interval", literal("500ms"))])
        } else {
            String::new()
        };
        (required, optional)
    }
}

/// The same settings for every session on every version. Sections of the PostgreSQL manual: 20.11 (client defaults), 20.13
/// (compatibility), 20.3 (keepalives, by which the server notices a dead client; no effect on Unix sockets), 20.7 (planning).
const FIXED: &[(&str, &str)] = &[
    ("client_encoding", "UTF8"),
    ("datestyle", "ISO"),
    ("intervalstyle", "postgres"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    // `content` accepts all values of type xml; `document` would refuse fragments on input.
    ("xmloption", "content"),
    ("array_nulls", "on"),
    ("standard_conforming_strings", "on"),
    // A policy that would hide rows becomes an error instead of a silent loss.
    ("row_security", "off"),
    // The search for orphans requires that each statement sees everything committed before it.
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    // Our own tables are read by ctid.
    ("default_table_access_method", "heap"),
    ("idle_in_transaction_session_timeout", "0"),
    // Queries on catalogs and staging look costly to the planner but run in milliseconds; JIT compilation took two seconds.
    ("jit", "off"),
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
];

/// A SQL_ASCII database converts nothing, but refuses to send invalid UTF-8 to a client with encoding UTF8 (manual, 24.3).
const PASS_BYTES: &str = "select pg_catalog.set_config('client_encoding', 'SQL_ASCII', false)
    where pg_catalog.current_setting('server_encoding') = 'SQL_ASCII';";

/// The first version with a setting, the setting, and its value.
const SINCE: &[(u32, &str, &str)] =
    &[(140_000, "idle_session_timeout", "0"), (170_000, "transaction_timeout", "0")];

fn batch(settings: &[(&str, String)]) -> String {
    settings.iter().fold(String::new(), |mut sql, (name, value)| {
        // Writing to a String cannot fail.
        let _ = writeln!(sql, "set {name} = {value};");
        sql
    })
}

/// Rounds up, because zero would turn a very short limit into none.
fn milliseconds(limit: Duration) -> String {
    let rounded = limit.as_nanos().div_ceil(1_000_000);
    rounded.min(i32::MAX.unsigned_abs().into()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_limit_does_not_become_no_limit() {
        assert_eq!(milliseconds(Duration::ZERO), "0");
        assert_eq!(milliseconds(Duration::from_micros(1)), "1");
        assert_eq!(milliseconds(Duration::from_millis(500)), "500");
        assert_eq!(milliseconds(Duration::MAX), "2147483647");
    }

    #[test]
    fn settings_that_a_server_does_not_have_are_left_out() {
        let settings = SessionSettings::new(Side::Target, "bulkload/x/it's");
        let (required, optional) = settings.statements(120_000);
        assert!(!required.contains("idle_session_timeout") && optional.is_empty());
        assert!(required.contains("set application_name = 'bulkload/x/it''s';"), "{required}");
        let (required, optional) = settings.statements(170_000);
        assert!(required.contains("transaction_timeout") && optional.contains("500ms"));
    }
}
