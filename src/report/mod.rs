//! What a run tells: the report for machines, the table for people, progress while it works, and the
//! state it leaves on the target.
//!
//! - [`Report`] and [`TableReport`]: the JSON of `--report`, and what the table `runs` keeps
//! - [`result`]: the same for people, as wide as their terminal
//! - [`progress`]: counters that all stages share, drawn on a terminal or logged
//! - [`status`]: what the last runs left, per table
//! - [`state`]: the tables `sync_state` and `runs` on the target

pub mod figures;
pub(crate) mod file;
pub mod progress;
pub mod result;
pub mod state;
pub mod status;
pub mod verification;
pub(crate) mod wrap;

use std::time::{Duration, SystemTime};

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::config::{ApplyMethod, Strategy};
use crate::error::{Error, Kind};
use crate::pg::format::Format;

/// Whether a table was read whole or from its watermark on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// All rows.
    #[default]
    Full,
    /// Rows that changed since the recorded watermark.
    Incremental,
}

impl Mode {
    /// The word on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
        }
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What a run did. Serialises to the JSON of `--report`: all keys always there, in this order.
#[derive(Debug, Clone)]
pub struct Report {
    /// The run's id.
    pub run_id: String,
    /// When the run began, by the loader's clock; RFC 3339 in JSON.
    pub started_at: SystemTime,
    /// How long it took, `duration_ms` in JSON.
    pub duration: Duration,
    /// The mode asked for; each table says what it was given.
    pub mode: Mode,
    /// One entry per table of the run, in the config's order.
    pub tables: Vec<TableReport>,
}

impl Report {
    /// Whether every table was applied (or skipped as its settings say).
    #[must_use]
    pub fn ok(&self) -> bool {
        self.tables.iter().all(|table| table.ok)
    }

    /// Rows staged, over all tables that were applied.
    #[must_use]
    pub fn rows_applied(&self) -> u64 {
        self.tables.iter().filter(|table| table.ok).map(|table| table.staged).sum()
    }
}

/// The fields that every report begins with, of `fields` in all. `times`: when the run began, and how long it took.
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

/// A run that could not start. Serialises to the JSON of [`Report`], with `error` and without tables, so that the file of
/// `--report` never keeps the outcome of an earlier run.
#[derive(Debug, Clone)]
pub struct NotStarted {
    /// The id that the run would have had.
    pub run_id: String,
    /// When it was tried, by the loader's clock.
    pub started_at: SystemTime,
    /// How long that took.
    pub duration: Duration,
    /// The mode asked for.
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

/// What a run did to one table. The fields are the JSON's keys: times in milliseconds, sizes in bytes.
///
/// `extracted = staged + rejected`, and once applied `staged = inserted + updated + unchanged + skipped`.
#[derive(Debug, Clone, serde::Serialize)]
pub struct TableReport {
    /// Its name on the target, as people write it.
    pub name: String,
    /// Whether it was applied; false until [`TableReport::succeed`].
    pub ok: bool,
    /// Why not.
    pub error: Option<String>,
    /// Whether it was read whole.
    pub mode: Mode,
    /// What the target was to look like.
    pub strategy: Strategy,
    /// How `replace` got there; none for other strategies.
    pub apply: Option<ApplyMethod>,
    /// The format its rows travelled in.
    pub format: Format,
    /// Parts it was extracted in.
    pub chunks: u64,
    /// Streams that worked on it.
    pub streams: u64,
    /// The most attempts that any chunk needed, 1 if all went well.
    pub attempts: u64,
    /// Rows read from the source.
    pub extracted: u64,
    /// Rows that went to the rejects file.
    pub rejected: u64,
    /// Rows in staging when apply began.
    pub staged: u64,
    /// Rows that are new on the target.
    pub inserted: u64,
    /// Rows that replaced a row with the same key.
    pub updated: u64,
    /// Rows that left the target.
    pub deleted: u64,
    /// Staged rows that were on the target already, in the same shape.
    pub unchanged: u64,
    /// Staged rows that were not applied: their key is outside the scope, or there already (insert).
    pub skipped: u64,
    /// Bytes that the source's COPY sent.
    pub bytes_in: u64,
    /// Bytes sent to the target's COPY.
    pub bytes_out: u64,
    /// From its first COPY to its last row in staging.
    pub load_ms: u64,
    /// Building indexes.
    pub index_ms: u64,
    /// The applying transaction.
    pub apply_ms: u64,
    /// From the grant of the strongest lock to the commit.
    pub lock_ms: u64,
    /// Attempts at its locks, 1 if nobody was in the way.
    pub lock_attempts: u64,
    /// All of it.
    pub duration_ms: u64,
    /// The watermark that was recorded.
    pub watermark: Option<String>,
    /// Where its rejects are.
    pub rejects_file: Option<String>,
    /// What the operator should know although it worked.
    pub warnings: Vec<String>,
    /// What its rows are read by: an incremental run follows only where it is the same. For the state: not in the JSON.
    #[serde(skip)]
    pub fingerprint: Option<String>,
    /// Which of its columns are filled, and from where: a later run finds out by it that the source has lost one. For the
    /// state: not in the JSON.
    #[serde(skip)]
    pub filled: Option<String>,
    /// What to do about the error. For people: not in the JSON.
    #[serde(skip)]
    pub hint: Option<String>,
    /// Whether it failed only because another table did. For people: not in the JSON.
    #[serde(skip)]
    pub failed_with_another: bool,
    /// Samples and counts of its rejects. For people: not in the JSON.
    #[serde(skip)]
    pub rejects: Rejects,
}

impl TableReport {
    /// An entry for a table that has not been touched yet: not ok, all figures zero, one attempt.
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

    /// The table is applied.
    pub fn succeed(&mut self) {
        self.ok = true;
        self.error = None;
        self.hint = None;
    }

    /// The table failed, and why. Nothing of it was applied, so nothing counts as inserted or deleted.
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

/// A table's rejects in short: what the operator reads before opening the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejects {
    /// The first few, each with what was wrong; at most [`Rejects::SHOWN`] are shown.
    pub first: Vec<Reject>,
    /// All of them, those in `first` included, counted per reason.
    pub counts: Vec<(String, u64)>,
}

impl Rejects {
    /// So many rejects are shown in full: enough to see what is wrong, few enough to leave the table in sight.
    pub const SHOWN: usize = 3;
}

/// One rejected row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// The reason as the rejects file has it, a word such as `orphan`.
    pub reason: String,
    /// What was wrong with this row, one line.
    pub text: String,
}

/// A duration as the report's milliseconds, rounded to the nearest.
#[must_use]
pub fn millis(duration: Duration) -> u64 {
    u64::try_from((duration.as_micros() + 500) / 1000).unwrap_or(u64::MAX)
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
