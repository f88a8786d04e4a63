//! The status of each table after the last runs, as text and as JSON.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::figures;

/// The status of a config's tables.
#[derive(Debug, Clone)]
pub struct Status {
    /// The database with the state: `host:port/database`.
    pub target: String,
    /// Maximum age of a table, if given.
    pub max_age: Option<Duration>,
    /// One entry per table and source, in the config's order.
    pub tables: Vec<TableStatus>,
}

/// The status of one table.
#[derive(Debug, Clone, Default)]
pub struct TableStatus {
    /// Its name on the target.
    pub name: String,
    /// The scope, empty if it has none.
    pub scope: String,
    /// The source of its rows; `None` if it was never loaded and the source is not known.
    pub source: Option<String>,
    /// When it was last applied, and its age by the target's clock.
    pub last_sync: Option<(SystemTime, Duration)>,
    /// When it was last applied from a full run.
    pub last_full_at: Option<SystemTime>,
    /// The run that ended last.
    pub run_id: Option<String>,
    /// Why the run that ended last did not apply it.
    pub error: Option<String>,
    /// Mode of the last applied run.
    pub mode: Option<String>,
    /// Rows staged by that run.
    pub rows: Option<u64>,
    /// Time that the run took for the table.
    pub duration: Option<Duration>,
    /// Time that the run locked it.
    pub lock: Option<Duration>,
    /// The point in the source up to which it was read.
    pub watermark: Option<String>,
    /// The run that is loading it now.
    pub running: Option<Running>,
}

/// A run that has not ended.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Running {
    /// Its id.
    pub run_id: String,
    /// Its phase.
    pub phase: Option<String>,
    /// Seconds since it started.
    pub seconds: u64,
}

/// The state of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The last run applied it, or left it unchanged on purpose.
    Ok,
    /// It was last applied longer ago than the maximum age.
    Old,
    /// It was never applied.
    Never,
    /// The last run failed.
    Failed,
}

impl Standing {
    /// Returns its name in text and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Old => "old",
            Self::Never => "never",
            Self::Failed => "failed",
        }
    }
}

impl Status {
    /// Returns the state of a table.
    #[must_use]
    pub fn standing(&self, table: &TableStatus) -> Standing {
        match (&table.error, table.last_sync, self.max_age) {
            (Some(_), ..) => Standing::Failed,
            (None, None, _) => Standing::Never,
            (None, Some((_, age)), Some(max_age)) if age > max_age => Standing::Old,
            _ => Standing::Ok,
        }
    }

    /// Returns whether no table failed and none exceeds the maximum age.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.tables.iter().all(|table| match self.standing(table) {
            Standing::Ok => true,
            Standing::Never => self.max_age.is_none(),
            Standing::Old | Standing::Failed => false,
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in &self.tables {
            self.show(f, table)?;
        }
        f.write_str(if self.ok() { "all tables are ok" } else { "not all tables are ok" })
    }
}

impl Status {
    fn show(&self, f: &mut fmt::Formatter<'_>, table: &TableStatus) -> fmt::Result {
        write!(f, "{:<7} {}", self.standing(table).name(), super::result::short_name(&table.name))?;
        if !table.scope.is_empty() {
            write!(f, " where {}", table.scope)?;
        }
        match &table.source {
            Some(source) => writeln!(f, "  from {source}")?,
            None => writeln!(f)?,
        }
        match table.last_sync {
            None => writeln!(f, "        never applied")?,
            Some((at, age)) => {
                let at = humantime::format_rfc3339_seconds(at);
                write!(f, "        applied {} ago ({at})", figures::duration(age))?;
                let rows = table.rows.map(|rows| figures::counted(rows, "row"));
                let took = table.duration.map(|took| format!("in {}", figures::duration(took)));
                let lock = table.lock.map(|lock| format!("locked for {}", figures::duration(lock)));
                for part in [rows, took, lock, table.mode.clone()].into_iter().flatten() {
                    write!(f, ", {part}")?;
                }
                writeln!(f)?;
            }
        }
        if let Some(watermark) = &table.watermark {
            writeln!(f, "        watermark {watermark}")?;
        }
        if let Some(error) = &table.error {
            writeln!(f, "        error: {error}")?;
        }
        if let Some(running) = &table.running {
            let since = figures::duration(Duration::from_secs(running.seconds));
            let phase = running.phase.as_deref().unwrap_or("unknown");
            writeln!(f, "        run {} is in phase {phase}, running for {since}", running.run_id)?;
        }
        Ok(())
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Shown<'a> {
            name: &'a str,
            scope: Option<&'a str>,
            source: Option<&'a str>,
            status: &'static str,
            last_sync_at: Option<String>,
            age_s: Option<u64>,
            last_full_at: Option<String>,
            run_id: Option<&'a str>,
            error: Option<&'a str>,
            mode: Option<&'a str>,
            rows: Option<u64>,
            duration_ms: Option<u64>,
            lock_ms: Option<u64>,
            watermark: Option<&'a str>,
            running: Option<&'a Running>,
        }
        let time = |at: SystemTime| humantime::format_rfc3339_millis(at).to_string();
        let shown: Vec<Shown<'_>> = self
            .tables
            .iter()
            .map(|table| Shown {
                name: &table.name,
                scope: Some(table.scope.as_str()).filter(|scope| !scope.is_empty()),
                source: table.source.as_deref(),
                status: self.standing(table).name(),
                last_sync_at: table.last_sync.map(|(at, _)| time(at)),
                age_s: table.last_sync.map(|(_, age)| age.as_secs()),
                last_full_at: table.last_full_at.map(time),
                run_id: table.run_id.as_deref(),
                error: table.error.as_deref(),
                mode: table.mode.as_deref(),
                rows: table.rows,
                duration_ms: table.duration.map(super::millis),
                lock_ms: table.lock.map(super::millis),
                watermark: table.watermark.as_deref(),
                running: table.running.as_ref(),
            })
            .collect();
        let mut status = serializer.serialize_struct("Status", 4)?;
        status.serialize_field("target", &self.target)?;
        status.serialize_field("ok", &self.ok())?;
        status.serialize_field("max_age_s", &self.max_age.map(|age| age.as_secs()))?;
        status.serialize_field("tables", &shown)?;
        status.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(max_age: Option<u64>, table: TableStatus) -> Status {
        let max_age = max_age.map(Duration::from_secs);
        Status { target: "t".to_owned(), max_age, tables: vec![table] }
    }

    fn applied(age_s: u64) -> TableStatus {
        let last_sync = Some((SystemTime::UNIX_EPOCH, Duration::from_secs(age_s)));
        TableStatus { name: "public.t".to_owned(), last_sync, ..TableStatus::default() }
    }

    #[test]
    fn a_table_is_ok_unless_it_failed_or_is_too_old() {
        let failed = TableStatus { error: Some("no".to_owned()), ..applied(1) };
        for (max_age, table, standing, ok) in [
            (None, applied(1_000_000), Standing::Ok, true),
            (Some(60), applied(60), Standing::Ok, true),
            (Some(60), applied(61), Standing::Old, false),
            (None, TableStatus::default(), Standing::Never, true),
            (Some(60), TableStatus::default(), Standing::Never, false),
            (Some(60), failed.clone(), Standing::Failed, false),
            (None, failed, Standing::Failed, false),
        ] {
            let status = status(max_age, table);
            assert_eq!((status.standing(&status.tables[0]), status.ok()), (standing, ok));
        }
    }
}
