//! Output of a run: report, result text, progress, and the state on the target.
//!
//! - [`Report`] and [`TableReport`]: the JSON of `--report`, also recorded in the table `runs`
//! - [`result`]: the report as text, as wide as the terminal
//! - [`progress`]: counters shared by all stages, drawn on a terminal or logged
//! - [`status`]: the status of each table after the last runs
//! - [`verification`]: the findings of `bulkload verify`
//! - [`state`]: the tables `sync_state` and `runs` on the target

pub(crate) mod file;
pub mod progress;
pub mod result;
pub mod state;
pub mod status;
pub mod verification;
pub(crate) mod wrap;

use std::time::{Duration, SystemTime};

use serde::ser::{Serialize, SerializeStruct, Serializer};

pub use crate::config::Mode;
use crate::config::{ApplyMethod, Strategy};
use crate::error::{Error, Kind};
pub(crate) use crate::figures::millis;
use crate::pg::format::Format;

/// The report of a run. Serializes to the JSON of `--report`, always with all keys, in this order.
#[derive(Debug, Clone)]
pub struct Report {
    /// The run's id.
    pub run_id: String,
    /// Start of the run by the loader's clock; RFC 3339 in JSON.
    pub started_at: SystemTime,
    /// Duration of the run; `duration_ms` in JSON.
    pub duration: Duration,
    /// The requested mode; the mode of a table may differ.
    pub mode: Mode,
    /// One entry per table of the run, in the config's order.
    pub tables: Vec<TableReport>,
}

impl Report {
    /// Returns whether every table was applied, or skipped as configured.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.tables.iter().all(|table| table.ok)
    }

    /// Returns the number of staged rows of all applied tables.
    #[must_use]
    pub fn rows_applied(&self) -> u64 {
        self.tables.iter().filter(|table| table.ok).map(|table| table.staged).sum()
    }
}

/// Serializes the fields that every report starts with; `fields` is the total number of fields.
fn begin<S: Serializer>(
    serializer: S,
    fields: usize,
    run_id: &str,
    (started_at, duration): (SystemTime, Duration),
    mode: Mode,
) -> Result<S::SerializeStruct, S::Error> {
    let mut report = serializer.serialize_struct("Report", fields)?;
    report.serialize_field("run_id", run_id)?;
    report.serialize_field("version", env!("CARGO_PKG_VERSION"))?;
    report.serialize_field("started_at", &humantime::format_rfc3339_millis(started_at).to_string())?;
    report.serialize_field("duration_ms", &millis(duration))?;
    report.serialize_field("mode", &mode)?;
    Ok(report)
}

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let times = (self.started_at, self.duration);
        let mut report = begin(serializer, 7, &self.run_id, times, self.mode)?;
        report.serialize_field("ok", &self.ok())?;
        report.serialize_field("tables", &self.tables)?;
        report.end()
    }
}

/// The report of a run that could not start. Serializes like [`Report`], with an additional `error` and no tables. It
/// replaces the report of an earlier run.
#[derive(Debug, Clone)]
pub struct NotStarted {
    /// The id that the run would have had.
    pub run_id: String,
    /// Start of the attempt by the loader's clock.
    pub started_at: SystemTime,
    /// Duration of the attempt.
    pub duration: Duration,
    /// The requested mode.
    pub mode: Mode,
    /// Why it could not start.
    pub error: String,
}

impl Serialize for NotStarted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let times = (self.started_at, self.duration);
        let mut report = begin(serializer, 8, &self.run_id, times, self.mode)?;
        report.serialize_field("ok", &false)?;
        report.serialize_field("error", &self.error)?;
        report.serialize_field("tables", &[(); 0])?;
        report.end()
    }
}

/// The report of one table. The fields are the keys in JSON; times are in milliseconds, sizes in bytes.
///
/// `extracted = staged + rejected`. Once the table is applied, `staged = inserted + updated + unchanged + skipped`.
#[derive(Debug, Clone, serde::Serialize)]
pub struct TableReport {
    /// Name on the target.
    pub name: String,
    /// Whether it was applied; false until [`TableReport::succeed`].
    pub ok: bool,
    /// Why it was not applied.
    pub error: Option<String>,
    /// The mode in which it was read.
    pub mode: Mode,
    /// The strategy.
    pub strategy: Strategy,
    /// The apply method of `replace`; none for other strategies.
    pub apply: Option<ApplyMethod>,
    /// The wire format.
    pub format: Format,
    /// Number of chunks.
    pub chunks: u64,
    /// Number of streams that worked on it.
    pub streams: u64,
    /// Maximum number of attempts that a chunk needed; 1 without retries.
    pub attempts: u64,
    /// Rows read from the source.
    pub extracted: u64,
    /// Rows that went to the rejects file.
    pub rejected: u64,
    /// Rows in staging when apply started.
    pub staged: u64,
    /// Rows inserted into the target.
    pub inserted: u64,
    /// Rows that replaced a row with the same key.
    pub updated: u64,
    /// Rows deleted from the target.
    pub deleted: u64,
    /// Staged rows identical to a row on the target.
    pub unchanged: u64,
    /// Staged rows that were not applied: their key is outside the scope, or already exists (insert).
    pub skipped: u64,
    /// Bytes that the source's COPY sent.
    pub bytes_in: u64,
    /// Bytes sent to the target's COPY.
    pub bytes_out: u64,
    /// Time from the first COPY to the last row in staging.
    pub load_ms: u64,
    /// Time to build indexes.
    pub index_ms: u64,
    /// Duration of the applying transaction.
    pub apply_ms: u64,
    /// Time from the grant of the strongest lock to the commit.
    pub lock_ms: u64,
    /// Attempts to acquire the locks; 1 without retries.
    pub lock_attempts: u64,
    /// Time from the start of the run to the end of the table.
    pub duration_ms: u64,
    /// The recorded watermark.
    pub watermark: Option<String>,
    /// Path of the rejects file.
    pub rejects_file: Option<String>,
    /// Warnings for the operator.
    pub warnings: Vec<String>,
    /// Identifies how the rows are read. An incremental run requires that it is unchanged. Recorded in the state, not in the
    /// JSON.
    #[serde(skip)]
    pub fingerprint: Option<String>,
    /// The filled columns and their sources, by which a later run detects that the source has lost a column. Recorded in the
    /// state, not in the JSON.
    #[serde(skip)]
    pub filled: Option<String>,
    /// The hint of the error. Only in the result text.
    #[serde(skip)]
    pub hint: Option<String>,
    /// Whether it failed only because another table did. Only in the result text.
    #[serde(skip)]
    pub failed_with_another: bool,
    /// Samples and counts of its rejects. Only in the result text.
    #[serde(skip)]
    pub rejects: Rejects,
}

impl TableReport {
    /// Creates the report of a table that has not been processed: not ok, all figures zero, one attempt.
    pub fn new(
        name: impl Into<String>,
        mode: Mode,
        strategy: Strategy,
        apply: Option<ApplyMethod>,
        format: Format,
    ) -> Self {
        Self {
            name: name.into(),
            ok: false,
            error: None,
            mode,
            strategy,
            apply,
            format,
            chunks: 0,
            streams: 0,
            attempts: 1,
            extracted: 0,
            rejected: 0,
            staged: 0,
            inserted: 0,
            updated: 0,
            deleted: 0,
            unchanged: 0,
            skipped: 0,
            bytes_in: 0,
            bytes_out: 0,
            load_ms: 0,
            index_ms: 0,
            apply_ms: 0,
            lock_ms: 0,
            lock_attempts: 1,
            duration_ms: 0,
            watermark: None,
            rejects_file: None,
            warnings: Vec::new(),
            fingerprint: None,
            filled: None,
            hint: None,
            failed_with_another: false,
            rejects: Rejects::default(),
        }
    }

    /// Marks the table as applied.
    pub fn succeed(&mut self) {
        self.ok = true;
        self.error = None;
        self.hint = None;
    }

    /// Marks the table as failed with `error`. Resets the counts of applied rows, because nothing was applied.
    pub fn fail(&mut self, error: &Error) {
        self.ok = false;
        self.error = Some(error.to_string());
        self.hint = error.advice().map(str::to_owned);
        self.failed_with_another = error.kind() == Kind::Dependency;
        for applied in
            [&mut self.inserted, &mut self.updated, &mut self.deleted, &mut self.unchanged, &mut self.skipped]
        {
            *applied = 0;
        }
        self.watermark = None;
    }
}

/// A summary of a table's rejects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejects {
    /// The first rejects; at most [`Rejects::SHOWN`] are shown.
    pub first: Vec<Reject>,
    /// Number of rejects per reason, including those in `first`.
    pub counts: Vec<(String, u64)>,
}

impl Rejects {
    /// Number of rejects shown in full: enough to see the problem, few enough to keep the table visible.
    pub const SHOWN: usize = 3;
}

/// One rejected row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// The reason in the rejects file, a word such as `orphan`.
    pub reason: String,
    /// The problem with this row, one line.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut table = TableReport::new(
            "public.jobtasks",
            Mode::Full,
            Strategy::Replace,
            Some(ApplyMethod::Delta),
            Format::Binary,
        );
        table.succeed();
        Report {
            run_id: "r1".to_owned(),
            started_at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000_000_123),
            duration: Duration::from_micros(1_234_500),
            mode: Mode::Full,
            tables: vec![table],
        }
    }

    #[test]
    fn the_json_has_every_key_in_the_documented_order() {
        let expected = format!(
            concat!(
                r#"{{"run_id":"r1","version":"{}","started_at":"2001-09-09T01:46:40.123Z","duration_ms":1235,"mode":"full","ok":true,"#,
                r#""tables":[{{"name":"public.jobtasks","ok":true,"error":null,"mode":"full","strategy":"replace","apply":"delta","format":"binary","#,
                r#""chunks":0,"streams":0,"attempts":1,"extracted":0,"rejected":0,"staged":0,"#,
                r#""inserted":0,"updated":0,"deleted":0,"unchanged":0,"skipped":0,"bytes_in":0,"bytes_out":0,"#,
                r#""load_ms":0,"index_ms":0,"apply_ms":0,"lock_ms":0,"lock_attempts":1,"duration_ms":0,"watermark":null,"rejects_file":null,"warnings":[]}}]}}"#
            ),
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(serde_json::to_string(&report()).unwrap(), expected);
    }

    #[test]
    fn a_run_that_could_not_start_has_the_keys_of_a_report_and_the_error() {
        let report = NotStarted {
            run_id: "r1".to_owned(),
            started_at: SystemTime::UNIX_EPOCH,
            duration: Duration::from_millis(7),
            mode: Mode::Incremental,
            error: "connection refused".to_owned(),
        };
        let expected = format!(
            concat!(
                r#"{{"run_id":"r1","version":"{}","started_at":"1970-01-01T00:00:00.000Z","duration_ms":7,"#,
                r#""mode":"incremental","ok":false,"error":"connection refused","tables":[]}}"#
            ),
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(serde_json::to_string(&report).unwrap(), expected);
    }

    #[test]
    fn one_failed_table_makes_the_run_not_ok() {
        let mut report = report();
        assert!(report.ok());
        let mut other = report.tables[0].clone();
        other.inserted = 7;
        other.fail(&Error::new(crate::error::Phase::Load, Kind::Server, "no").hint("Do."));
        assert_eq!(
            (other.inserted, other.error.as_deref(), other.hint.as_deref()),
            (0, Some("no"), Some("Do."))
        );
        report.tables.push(other);
        assert!(!report.ok());
    }

    #[test]
    fn a_table_nobody_finished_is_not_ok() {
        let table = TableReport::new("t", Mode::Full, Strategy::Insert, None, Format::Text);
        assert!(!table.ok);
        assert!(serde_json::to_string(&table).unwrap().contains(r#""apply":null,"format":"text""#));
    }
}
