//! Decides which tables are read from their watermark, and from which point, and which are read in full although an
//! incremental run was requested, and why.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::{ColumnPlan, Facts, Storage};
use crate::config::{From, Located, Mode, Strategy, TableConfig, Watermark};
use crate::error::{Error, Kind, Phase, Result};
use crate::figures;
use crate::pg::catalog::{Column, Oid, Relation, RelationKind};
use crate::pg::history::History;
use crate::pg::name::{Ident, TableName, list, literal, plain};

/// The recorded state of a table after the last runs.
#[derive(Debug, Clone, PartialEq)]
pub struct LastState {
    /// The point in the source up to which it was read.
    pub watermark: Option<String>,
    /// When it was last applied.
    pub last_sync_at: Option<SystemTime>,
    /// When it was last applied from a full run.
    pub last_full_at: Option<SystemTime>,
    /// Rows staged when it was last applied.
    pub records_synced: Option<i64>,
    /// Error of the last run, if it failed.
    pub error_message: Option<String>,
    /// Fingerprint when it was last applied, see [`crate::report::TableReport::fingerprint`].
    pub fingerprint: Option<String>,
    /// Filled columns when it was last applied, see [`crate::report::TableReport::filled`].
    pub filled: Option<String>,
    /// Age of `last_sync_at` by the target's clock.
    pub sync_age: Option<Duration>,
    /// Age of `last_full_at` by the target's clock.
    pub full_age: Option<Duration>,
}

/// Facts about earlier runs, and about the source beyond its catalog.
#[derive(Debug, Default)]
pub struct Past {
    /// Whether the run is full or incremental.
    pub mode: Mode,
    /// The records of the last runs, per entry of the config.
    pub last: Vec<Option<LastState>>,
    /// The source's position in its transaction numbers, or why it is unknown; only if a table is read by them.
    pub transactions: Option<Result<Transactions, String>>,
    /// The leading columns of the source's indexes.
    pub indexed: HashMap<TableName, Vec<Ident>>,
}

/// A server's position in its transaction numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transactions {
    /// The history they belong to: numbers of another history are meaningless.
    pub history: History,
    /// The oldest open transaction, as 64 bits.
    pub xmin: u64,
}

/// The record of a table from which the next run begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatermarkPlan {
    /// The source of the watermark.
    pub kind: WatermarkKind,
    /// The recorded watermark that this run begins from.
    pub last: Option<String>,
    /// The loaded columns that record when a row changed, on the target: of several rows with one key, the newest is
    /// loaded.
    pub dated_by: Vec<Ident>,
}

impl WatermarkPlan {
    /// The history of the recorded transaction number, for a watermark of that kind.
    pub(crate) fn history(&self) -> Option<History> {
        let last = self.last.as_ref().filter(|_| self.kind == WatermarkKind::Xmin)?;
        last.parse().ok().map(|mark: NumberMark| mark.history)
    }

    /// Returns SQL for the time when a staged row changed; `None` if no column records it.
    pub(crate) fn changed_at(&self) -> Option<String> {
        let times: Vec<String> =
            self.dated_by.iter().map(|column| format!("{column}::pg_catalog.timestamptz")).collect();
        (!times.is_empty()).then(|| format!("greatest({})", times.join(", ")))
    }
}

/// The source of a watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatermarkKind {
    /// The source's clock: the start of the oldest open transaction, less this overlap.
    Time(Duration),
    /// The number of the oldest open transaction.
    Xmin,
}

/// How a table is read.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) mode: Mode,
    /// A predicate for the source: the rows that an incremental run reads.
    pub(super) since: Option<String>,
    /// Whether an index finds them, so that several streams gain nothing.
    pub(super) is_indexed: bool,
    pub(super) watermark: Option<WatermarkPlan>,
    pub(super) fingerprint: Option<String>,
    pub(super) warnings: Vec<String>,
    pub(super) notes: Vec<String>,
}

/// Built-in types of columns that can be compared with a time (catalog `pg_type`).
const TIMESTAMPTZ: Oid = 1184;
const TIMESTAMP: Oid = 1114;
const DATE: Oid = 1082;

/// Upper bound, with a wide margin, on how far clocks that show local time are set back (some places have two hours
/// of summer time).
const SET_BACK: &str = "3 hours";

/// 2^31 transactions after which a 32-bit number becomes ambiguous, less those that may begin during the run.
const TRANSACTIONS_MAX: u64 = (1 << 31) - 100_000_000;

/// Decides how a table is read.
///
/// # Errors
/// [`Kind::Schema`] if a watermark column has a type without an order in time, [`Kind::Refused`] if the rows have no
/// transaction numbers.
pub(super) fn decide(
    entry: usize,
    table: &TableConfig,
    columns: &[ColumnPlan],
    (source, source_columns): (Option<&Relation>, &[Column]),
    facts: &Facts<'_>,
) -> Result<Reading> {
    let mut reading = Reading {
        mode: Mode::Full,
        since: None,
        is_indexed: false,
        watermark: None,
        fingerprint: None,
        warnings: Vec::new(),
        notes: Vec::new(),
    };
    let last = facts.past.last.get(entry).and_then(Option::as_ref);
    let found = match &table.watermark {
        None => Err("it has no watermark".to_owned()),
        Some(Located { value: Watermark::Xmin, at }) => {
            refuse_without_xmin(source).map_err(|e| e.context(table.name.value.plain()).at(at.clone()))?;
            Ok(None)
        }
        Some(Located { value: Watermark::Columns(names), at }) => of_time(names, source_columns, facts)
            .map_err(|e| e.context(table.name.value.plain()).at(at.clone()))?
            .map(Some),
    };
    if let Ok(times) = &found {
        let kind = match times {
            Some(_) => WatermarkKind::Time(table.watermark_overlap),
            None => WatermarkKind::Xmin,
        };
        let last = last.and_then(|last| last.watermark.clone());
        let dated_by = times.iter().flatten().filter_map(|time| time.loaded(columns, facts)).collect();
        reading.watermark = Some(WatermarkPlan { kind, last, dated_by });
        reading.fingerprint = Some(fingerprint(table, columns).to_string());
    }
    if facts.past.mode == Mode::Full {
        return Ok(reading);
    }
    let since = found.and_then(|times| {
        if table.strategy == Strategy::Replace {
            return Err("strategy = \"replace\" needs all rows to find those that were deleted".to_owned());
        }
        let recorded = follows(table, reading.fingerprint.as_deref(), last)?;
        match times {
            Some(times) => Ok((since_time(recorded, &times)?, Some(times))),
            None => Ok((since_xmin(recorded, facts.past.transactions.as_ref())?, None)),
        }
    });
    match since {
        Err(reason) => {
            reading
                .warnings
                .push(format!("read in full, although an incremental run was requested: {reason}"));
        }
        Ok((since, times)) => {
            reading.mode = Mode::Incremental;
            reading.since = Some(since);
            if let (Some(times), Some(source)) = (times, source) {
                reading.judge_indexes(&times, source, facts);
                reading.warn_of_foreign_tables(source);
            }
            let full = last.and_then(|last| last.full_age).map_or_else(String::new, |age| {
                format!(
                    " (the last one was {} ago, full_every = {})",
                    figures::duration(age),
                    human(table.full_every)
                )
            });
            let looked_up = if table.lookups.is_empty() { "" } else { ", looked-up values that changed" };
            reading.notes.push(format!(
                "rows that the source deletes or that its where no longer selects{looked_up}, and orphans whose parent arrives later, are seen only by full runs{full}"
            ));
        }
    }
    Ok(reading)
}

impl Reading {
    fn warn_of_foreign_tables(&mut self, source: &Relation) {
        if source.kind == RelationKind::Foreign {
            self.warnings.push(
                "the source is a foreign table, and open transactions on its server are not visible: only watermark_overlap covers the rows they write"
                    .to_owned(),
            );
        }
    }

    /// Checks whether indexes serve the watermark; names the ones to create if not.
    fn judge_indexes(&mut self, times: &[Time], source: &Relation, facts: &Facts<'_>) {
        if !matches!(
            source.kind,
            RelationKind::Table | RelationKind::Partitioned | RelationKind::MaterializedView
        ) {
            return;
        }
        let indexed = facts.past.indexed.get(&source.name).map_or(&[][..], Vec::as_slice);
        let missing: Vec<&Ident> =
            times.iter().map(|time| &time.column).filter(|column| !indexed.contains(column)).collect();
        self.is_indexed = missing.is_empty();
        if missing.is_empty() {
            return;
        }
        let create: Vec<String> = missing
            .iter()
            .map(|column| format!("create index on {} ({});", source.name.plain(), plain(column)))
            .collect();
        self.notes.push(format!(
            "no index of the source begins with {}, so every incremental run scans the whole table; on the source: {}",
            missing.iter().map(|column| plain(column)).collect::<Vec<_>>().join(", nor one with "),
            create.join(" ")
        ));
    }
}

/// A column that can be compared with a time.
struct Time {
    column: Ident,
    kind: Oid,
}

impl Time {
    /// The target column it is loaded into, if that can be compared with a time as well.
    fn loaded(&self, columns: &[ColumnPlan], facts: &Facts<'_>) -> Option<Ident> {
        let is_it = |column: &&ColumnPlan| column.from.as_ref() == Some(&self.column);
        let column = columns.iter().find(is_it)?;
        let is_time = [TIMESTAMPTZ, TIMESTAMP, DATE].contains(&facts.target.base_type(column.type_oid));
        is_time.then(|| column.name.clone())
    }
}

/// Returns the columns of a watermark, or the reason why the source lacks one.
fn of_time(names: &[Ident], source: &[Column], facts: &Facts<'_>) -> Result<Result<Vec<Time>, String>> {
    let mut times = Vec::with_capacity(names.len());
    for name in names {
        let Some(column) = source.iter().find(|column| column.name == *name) else {
            return Ok(Err(format!("the source has no watermark column {}", plain(name))));
        };
        if !column.may_select {
            let message = format!("the role has no SELECT on watermark column {} of the source", plain(name));
            return Err(Error::new(Phase::Plan, Kind::Permission, message)
                .hint("Grant SELECT on it to the role on the source."));
        }
        let kind = facts.source.base_type(column.type_oid);
        if ![TIMESTAMPTZ, TIMESTAMP, DATE].contains(&kind) {
            let message = format!(
                "watermark column {} has type {}, which cannot be compared with a time",
                plain(name),
                column.type_name
            );
            return Err(Error::new(Phase::Plan, Kind::Schema, message).hint(
                "Name columns of type timestamptz, timestamp or date, or use watermark = \"xmin\" for a table without such columns.",
            ));
        }
        times.push(Time { column: name.clone(), kind });
    }
    Ok(Ok(times))
}

fn refuse_without_xmin(source: Option<&Relation>) -> Result<()> {
    let why = match source {
        None => Some("the rows do not come from a table".to_owned()),
        Some(relation) if relation.kind == RelationKind::MaterializedView => {
            Some(format!("{} is a materialized view", relation.name.plain()))
        }
        Some(relation) => {
            Storage::of(relation).xmin_refusal().map(|why| format!("{}: {why}", relation.name.plain()))
        }
    };
    let Some(why) = why else { return Ok(()) };
    let message = format!(
        "watermark = \"xmin\" is not possible: {why}; only rows in a heap of the source itself have an xmin that tells when they were written"
    );
    Err(Error::new(Phase::Plan, Kind::Refused, message)
        .hint("Name columns that record when a row changed: watermark = [\"updated_at\"]"))
}

/// Returns the recorded watermark if an incremental run may continue from it, else the reason for a full run.
fn follows<'a>(
    table: &TableConfig,
    fingerprint: Option<&str>,
    last: Option<&'a LastState>,
) -> Result<&'a str, String> {
    let recorded = last.and_then(|last| Some((last, last.watermark.as_deref()?)));
    let Some((last, watermark)) = recorded else {
        return Err("no watermark is recorded yet for this table, source and scope".to_owned());
    };
    let changed = changed(last.fingerprint.as_deref(), fingerprint);
    if !changed.is_empty() {
        return Err(format!("changed since the last run: {}", changed.join(", ")));
    }
    match last.full_age {
        None => Err("no full run has completed yet".to_owned()),
        Some(age) if age >= table.full_every => Err(format!(
            "the last full run was {} ago, full_every = {}",
            figures::duration(age),
            human(table.full_every)
        )),
        Some(_) => Ok(watermark),
    }
}

fn human(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// Returns everything that decides which rows a table consists of and what they look like. When it changes, rows that
/// are unchanged in the source become different rows on the target.
fn fingerprint(table: &TableConfig, columns: &[ColumnPlan]) -> Value {
    let columns: serde_json::Map<String, Value> =
        columns.iter().map(|column| (column.name.as_str().to_owned(), json!(column.source))).collect();
    let from = match &table.from {
        From::Relation(name) => json!({ "from": name.value.to_string() }),
        From::Query(query) => json!({ "query": query.value }),
        From::Csv(files) => json!({ "csv": files.files.value }),
    };
    let lookups: Vec<String> = table
        .lookups
        .iter()
        .map(|lookup| {
            let on: Vec<String> =
                lookup.on.iter().map(|(ours, theirs)| format!("{} = {theirs}", ours.value)).collect();
            format!(
                "{} = {}.{} where {}",
                lookup.column.value,
                lookup.from.value,
                lookup.value.value,
                on.join(" and ")
            )
        })
        .collect();
    let watermark = match table.watermark.as_ref().map(|watermark| &watermark.value) {
        None => Value::Null,
        Some(Watermark::Xmin) => json!("xmin"),
        Some(Watermark::Columns(names)) => json!(list(names)),
    };
    json!({
        "from": from,
        "where": table.filter.as_ref().map(|filter| &filter.value),
        "columns": columns,
        "lookups": lookups,
        "watermark": watermark,
    })
}

/// Returns the names of the parts in which two fingerprints differ. A part that was not recorded counts as different.
fn changed(recorded: Option<&str>, now: Option<&str>) -> Vec<&'static str> {
    let parse = |text: Option<&str>| text.and_then(|text| serde_json::from_str::<Value>(text).ok());
    let (recorded, now) = (parse(recorded).unwrap_or_default(), parse(now).unwrap_or_default());
    [
        ("from", "from or query"),
        ("where", "where"),
        ("columns", "columns"),
        ("lookups", "lookups"),
        ("watermark", "watermark"),
    ]
    .into_iter()
    .filter(|(part, _)| recorded.get(part) != now.get(part) || recorded.get(part).is_none())
    .map(|(_, word)| word)
    .collect()
}

/// Returns a predicate for rows that may have been written since a time, according to any of their columns.
///
/// `timestamp` and `date` are local time in the source's TimeZone, which goes back when summer time ends. A row
/// written afterwards may look older than the watermark, so the lower bound is the smaller of the watermark and the
/// local time three hours later, less three hours.
fn since_time(recorded: &str, times: &[Time]) -> Result<String, String> {
    let is_time = recorded.starts_with(|c: char| c.is_ascii_digit())
        && recorded.chars().all(|c| c.is_ascii_digit() || " :.+-TZ".contains(c));
    if !is_time {
        return Err("the recorded watermark is not a time".to_owned());
    }
    let low = format!("{}::pg_catalog.timestamptz", literal(recorded));
    let back = format!("{}::pg_catalog.interval", literal(SET_BACK));
    let local = format!(
        "least({low}::pg_catalog.timestamp, ({low} operator(pg_catalog.+) {back})::pg_catalog.timestamp operator(pg_catalog.-) {back})"
    );
    let mut any: Vec<String> = times
        .iter()
        .map(|Time { column, kind }| {
            let low = match *kind {
                TIMESTAMPTZ => low.clone(),
                DATE => format!("{local}::pg_catalog.date"),
                _ => local.clone(),
            };
            format!("{column} operator(pg_catalog.>=) {low}")
        })
        .collect();
    let nulls: Vec<String> = times.iter().map(|time| format!("{} is null", time.column)).collect();
    any.push(nulls.join(" and "));
    Ok(any.join(" or "))
}

/// A recorded watermark of transaction numbers, as [`NumberMark`] writes it: number and history.
pub(crate) struct NumberMark {
    /// The oldest open transaction, as 64 bits.
    pub(crate) xmin: u64,
    /// The history it belongs to.
    pub(crate) history: History,
}

impl fmt::Display for NumberMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.xmin, self.history)
    }
}

impl FromStr for NumberMark {
    type Err = String;

    /// Parses the text form. Errors are reasons for a full run, as clauses.
    fn from_str(recorded: &str) -> Result<Self, String> {
        let parsed =
            recorded.split_once('@').and_then(|(xmin, rest)| Some((xmin.parse::<u64>().ok()?, rest)));
        let Some((xmin, history)) = parsed else {
            return Err("the recorded watermark is not a transaction number".to_owned());
        };
        let history = history.parse().map_err(|()| {
            "the recorded watermark, written by an earlier version, lacks the timeline and the start time of the source's server"
                .to_owned()
        })?;
        Ok(Self { xmin, history })
    }
}

/// Returns a predicate for rows written by a transaction that is not older than the recorded one.
///
/// `xmin` has 32 bits and wraps around. `age` compares both numbers with the same current one, and gives rows of
/// permanently frozen transactions the greatest possible age (manual, 25.1.5).
fn since_xmin(recorded: &str, now: Option<&Result<Transactions, String>>) -> Result<String, String> {
    let now = match now {
        Some(now) => now.as_ref().map_err(String::clone)?,
        None => return Err("the source's transaction numbers were not read".to_owned()),
    };
    let then: NumberMark = recorded.parse()?;
    if let Some(why) = now.history.differs_from(&then.history) {
        return Err(why);
    }
    match now.xmin.checked_sub(then.xmin) {
        None => Err("the source's transaction numbers went back since the last run: the server was restored"
            .to_owned()),
        Some(passed) if passed >= TRANSACTIONS_MAX => {
            Err("too many transactions lie between this run and the last one to compare their numbers"
                .to_owned())
        }
        Some(_) => Ok(format!(
            "pg_catalog.age(xmin) operator(pg_catalog.<=) pg_catalog.age('{}'::pg_catalog.xid)",
            then.xmin % (1 << 32)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HISTORY: &str = "7/00000001/2026-11-30T20:55:03.000001Z";

    fn here(xmin: u64) -> Option<Result<Transactions, String>> {
        Some(Ok(Transactions { history: HISTORY.parse().unwrap(), xmin }))
    }

    #[test]
    fn a_transaction_number_is_compared_within_its_32_bits() {
        let sql = since_xmin(&format!("4294967396@{HISTORY}"), here(4_294_967_400).as_ref()).unwrap();
        assert!(sql.ends_with("age('100'::pg_catalog.xid)"), "{sql}");
    }

    #[test]
    fn a_number_that_says_nothing_any_more_makes_a_full_run() {
        let recorded = |history: &str| format!("100@{history}");
        let unknown = Some(Err("the source is a standby".to_owned()));
        for (recorded, now, word) in [
            (recorded(&HISTORY.replace("7/", "8/")), here(200), "different server"),
            (recorded(&HISTORY.replace("01/", "02/")), here(200), "different timeline"),
            (recorded(&HISTORY.replace("30T", "29T")), here(200), "restarted"),
            (recorded("7"), here(200), "lacks the timeline"),
            (recorded(HISTORY), here(99), "went back"),
            (recorded(HISTORY), here(100 + (1 << 31)), "too many"),
            ("2026-01-01T00:00:00Z".to_owned(), here(200), "not a transaction"),
            (recorded(HISTORY), unknown, "a standby"),
            (recorded(HISTORY), None, "not read"),
        ] {
            let reason = since_xmin(&recorded, now.as_ref()).unwrap_err();
            assert!(reason.contains(word), "{recorded}: {reason}");
        }
    }

    #[test]
    fn rows_without_any_time_are_read_too() {
        let time = |name: &str, kind| Time { column: Ident::new(name), kind };
        let times = [time("a", TIMESTAMPTZ), time("b", DATE)];
        let sql = since_time("2026-01-01T00:00:00.5Z", &times).unwrap();
        assert!(sql.ends_with(" or \"a\" is null and \"b\" is null"), "{sql}");
        assert!(sql.contains("\"b\" operator(pg_catalog.>=) least("), "{sql}");
        assert!(since_time("1'; drop table t", &times).is_err());
    }

    #[test]
    fn what_changed_is_named_and_what_is_not_recorded_has_changed() {
        let then = r#"{"from":1,"where":null,"columns":{"a":"x","b":"y"},"lookups":[],"watermark":"xmin"}"#;
        let now = r#"{"from":1,"where":"z","columns":{"b":"y","a":"x"},"lookups":[],"watermark":"xmin"}"#;
        assert_eq!(changed(Some(then), Some(then)), Vec::<&str>::new());
        assert_eq!(changed(Some(then), Some(now)), ["where"]);
        assert_eq!(changed(None, Some(now)).len(), 5);
    }
}
