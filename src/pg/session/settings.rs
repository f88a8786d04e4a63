//! What every session sets, so that roles, databases and poolers cannot change what our statements mean.

use std::fmt::Write as _;
use std::time::Duration;

use crate::pg::name::literal;

/// Which end of the run a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It reads.
    Source,
    /// It writes.
    Target,
}

impl Side {
    /// The word for messages and config sections.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }
}

/// How a session shall be. Durations are rounded up to milliseconds; zero means no limit.
#[derive(Debug, Clone)]
pub struct SessionSettings {
    /// Which end it is for.
    pub side: Side,
    /// `bulkload/<run id>/<role>`, as `pg_stat_activity` shows it. The server cuts it at 63 bytes.
    pub application_name: String,
    /// How long a statement may wait for one lock.
    pub lock_timeout: Duration,
    /// How long a statement may take.
    pub statement_timeout: Duration,
    /// How long one attempt to connect may take; a `connect_timeout` of the connection string or of
    /// PGCONNECT_TIMEOUT wins.
    pub connect_timeout: Duration,
    /// Whether the role's TimeZone stays: so in sessions that extract, since `where` and `expr` may depend on it.
    pub keep_time_zone: bool,
    /// Whether strings of a database without an encoding (SQL_ASCII) come as they are, whatever their bytes mean.
    pub passes_bytes: bool,
    /// Whether the role's search_path stays: so in sessions that run the user's SQL.
    pub keep_search_path: bool,
}

impl SessionSettings {
    /// The usual: no limits on statements and locks, 30 s to connect, UTC, empty search_path.
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

    /// The same for a session that runs the user's SQL: it keeps the role's TimeZone and search_path.
    #[must_use]
    pub fn for_users_sql(mut self) -> Self {
        self.keep_time_zone = true;
        self.keep_search_path = true;
        self
    }

    /// Two batches of SET: the first has to succeed, the second depends on the server's platform.
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
            // Without it a backend that is busy outlives its client. Only where the kernel can tell.
            batch(&[("client_connection_check_interval", literal("500ms"))])
        } else {
            String::new()
        };
        (required, optional)
    }
}

/// The same for every session on every version. Their sections of the PostgreSQL manual: 20.11 (client defaults),
/// 20.13 (compatibility), 20.3 (keepalives, which make the server notice a dead client; no effect on Unix sockets), 20.7
/// (planning).
const FIXED: &[(&str, &str)] = &[
    ("client_encoding", "UTF8"),
    ("datestyle", "ISO"),
    ("intervalstyle", "postgres"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    // `content` takes whatever the type xml can hold; `document` would refuse fragments on input.
    ("xmloption", "content"),
    ("array_nulls", "on"),
    ("standard_conforming_strings", "on"),
    // A policy that would hide rows is an error then, not a silent loss.
    ("row_security", "off"),
    // The search for orphans relies on each statement seeing what was committed before it.
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    // Tables of our own are read by their ctid.
    ("default_table_access_method", "heap"),
    ("idle_in_transaction_session_timeout", "0"),
    // What is asked of catalogs and of staging is costly by the planner's estimate and done in milliseconds; compiling it took
    // two seconds.
    ("jit", "off"),
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
];

/// A database in SQL_ASCII converts nothing, but refuses to send what is no UTF-8 to a client that wants UTF-8 (manual, 24.3).
const PASS_BYTES: &str = "select pg_catalog.set_config('client_encoding', 'SQL_ASCII', false)
    where pg_catalog.current_setting('server_encoding') = 'SQL_ASCII';";

/// First version that has it, setting, value.
const SINCE: &[(u32, &str, &str)] =
    &[(140_000, "idle_session_timeout", "0"), (170_000, "transaction_timeout", "0")];

fn batch(settings: &[(&str, String)]) -> String {
    settings.iter().fold(String::new(), |mut sql, (name, value)| {
        // Writing to a String cannot fail.
        let _ = writeln!(sql, "set {name} = {value};");
        sql
    })
}

/// Rounded up, because zero would turn a very short limit into none.
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
