//! `bulkload verify`: whether the target holds what the source does, under the rules of the config.
//!
//! Both servers compute checksums of the parts of a table at once. Only of parts that differ come keys and the checksums
//! of their rows, part by part, so that neither memory nor the network holds more than a part's.

mod difference;
mod rejects;
mod statement;

use std::collections::{BTreeMap, HashSet};
use std::pin::Pin;

use futures::{StreamExt as _, TryStreamExt as _};
use tokio_postgres::{Client, RowStream};

use self::difference::{Difference, Findings, Key, Row};
use self::statement::Comparison;
use crate::config::Config;
use crate::error::{Error, Kind, Phase, Result};
use crate::figures;
use crate::pg::session::{self, Session, Side};
use crate::plan::TablePlan;
use crate::report::state::{State, Unapplied};
use crate::report::verification::{TableVerification, Verification};
use crate::run::Options;
use crate::run::id::RunId;
use crate::run::lock_watch;
use crate::run::prepare::{self, Prepared};
use crate::run::{select, unless_cancelled};

/// What both servers must compute alike.
const PROBE: &str = "select pg_catalog.hashtextextended('bulkload' collate pg_catalog.\"C\", 0)";

/// Compares every table that `options` names on source and target, and changes nothing.
///
/// # Errors
/// Whatever keeps them from being compared.
pub async fn verify(config: Config, options: Options) -> Result<Verification> {
    unless_cancelled(&options, Phase::Verify, Box::pin(compare(config, &options))).await
}

async fn compare(mut config: Config, options: &Options) -> Result<Verification> {
    let run = RunId::now();
    select(&mut config, &options.tables)?;
    let prepared = Box::pin(prepare::prepare(config.clone(), options, &run)).await?;
    let Prepared { plan, source, target, sessions, control, unwritable: _ } = prepared;
    let Some(source) = source else {
        return Err(Error::new(Phase::Verify, Kind::Refused, "rows that come from files cannot be compared")
            .hint("Only tables that come from a database can be."));
    };
    let (reading, judging) = (sessions.source_statements(), sessions.judge());
    let (on_source, on_target) =
        futures::try_join!(session::connect(&source, &reading), session::connect(&target, &judging))?;
    refuse_other_hashes(&on_source, &on_target).await?;
    fail::fail_point!("verify.planned");
    let state = State::new(plan.run.staging_schema.clone());
    let sides = Sides { source: &on_source.client, target: &on_target.client, reading: &control.client };
    let ends = lock_watch::ends(Some(&source), &target);
    let mut verification = Verification::default();
    for table in &plan.tables {
        let name = table.name.plain();
        if table.csv.is_some() {
            verification.tables.push(TableVerification::skipped(name, OF_FILES));
            continue;
        }
        let scope = config.tables[table.entry].scope.as_ref().map(|scope| scope.value.as_str());
        let unapplied = state.unapplied(&control.client, &name, plan.source_of(table), scope).await?;
        tracing::info!(phase = %Phase::Verify, table = name, "comparing");
        let compare = Box::pin(sides.compare(table, scope, unapplied));
        let compared = match lock_watch::told(Phase::Verify, &sessions, &ends, compare).await {
            // Without its servers no other table can be compared either.
            Err(error) if error.is_transient() => return Err(error.context(name)),
            Err(error) => TableVerification::failed(name, &explained(error)),
            Ok(compared) => compared,
        };
        verification.tables.push(compared);
    }
    for table in &plan.failed {
        verification.tables.push(TableVerification::failed(table.name.plain(), &table.error));
    }
    Ok(verification)
}

/// Why a table whose rows come from files is left out.
const OF_FILES: &str = "its rows come from files, which are not compared";

/// What a value of the source that the cast refuses means here.
fn explained(error: Error) -> Error {
    let is_data = error.code().is_some_and(|code| code.code().starts_with("22"));
    match error.advice() {
        None if is_data => error.hint(
            "A cast or an expression of the extraction fails for a row: a sync may reject it alone, but a checksum is of \
             all rows. Leave such rows out with where, or mend them.",
        ),
        _ => error,
    }
}

async fn refuse_other_hashes(source: &Session, target: &Session) -> Result<()> {
    let ask = async |session: &Session| -> Result<i64> {
        let row = session.client.query_one(PROBE, &[]).await;
        Ok(row.map_err(|e| Error::pg(Phase::Verify, "comparing the servers' checksums", &e))?.get(0))
    };
    let (ours, theirs) = futures::try_join!(ask(source), ask(target))?;
    if ours == theirs {
        return Ok(());
    }
    let message = "the two servers compute different checksums of the same text, so rows cannot be compared";
    Err(Error::new(Phase::Verify, Kind::Refused, message).hint(
        "Their processors order bytes differently, or their versions of PostgreSQL hash text differently.",
    ))
}

/// The rows of some parts, part by part.
type Parts = Pin<Box<RowStream>>;

struct Sides<'a> {
    source: &'a Client,
    target: &'a Client,
    /// Another session of the target's.
    reading: &'a Client,
}

impl Sides<'_> {
    async fn compare(
        &self,
        plan: &TablePlan,
        scope: Option<&str>,
        unapplied: Option<Unapplied>,
    ) -> Result<TableVerification> {
        let mut comparison = Comparison::new(plan, scope);
        let mut table = TableVerification {
            name: plan.name.plain(),
            notes: std::mem::take(&mut comparison.notes),
            not_compared: std::mem::take(&mut comparison.omitted),
            ..TableVerification::default()
        };
        // One snapshot for both statements of a side. TimeZone decides how some types are written, but also what a scope means.
        let source_zone = time_zone(self.source).await?;
        let zone = if scope.is_none() { source_zone.as_str() } else { "UTC" };
        let begin = "begin isolation level repeatable read read only";
        let on_target = format!(
            "{begin}; set local timezone = {}; {}",
            crate::pg::name::literal(zone),
            statement::set_source_zone(&source_zone)
        );
        let in_zone = format!("set timezone = {}", crate::pg::name::literal(zone));
        let begun = futures::join!(execute(self.source, begin), async {
            execute(self.reading, &in_zone).await?;
            execute(self.target, &on_target).await
        });
        let compared = match begun {
            (Ok(()), Ok(())) => self.compare_parts(&comparison, plan, unapplied, &mut table).await,
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        // Also of a table that could not be compared: the next one begins anew. A broken connection has told so already.
        let ended = futures::try_join!(execute(self.source, "rollback"), execute(self.target, "rollback"));
        compared?;
        ended.map(|_| table)
    }

    async fn compare_parts(
        &self,
        comparison: &Comparison<'_>,
        plan: &TablePlan,
        unapplied: Option<Unapplied>,
        table: &mut TableVerification,
    ) -> Result<()> {
        let (ours, theirs) = futures::try_join!(
            of(Side::Source, sums(self.source, comparison.source_parts())),
            of(Side::Target, sums(self.target, comparison.target_parts())),
        )?;
        table.source_rows = ours.values().map(|(rows, _)| rows).sum();
        table.target_rows = theirs.values().map(|(rows, _)| rows).sum();
        let numbers: HashSet<i32> = ours.keys().chain(theirs.keys()).copied().collect();
        let mut differing: Vec<i32> = numbers
            .into_iter()
            .filter(|part| comparison.reads() || ours.get(part) != theirs.get(part))
            .collect();
        if differing.is_empty() {
            return Ok(());
        }
        differing.sort_unstable();
        let unapplied = unapplied.unwrap_or_default();
        let rejected = comparison.key_sources().and_then(|columns| rejects::keys(&unapplied, &columns));
        let is_told = rejected.is_some();
        let mut findings = Findings::new(plan.strategy, rejected.unwrap_or_default());
        let (source, target) = futures::try_join!(
            open(self.source, comparison.source_keys(&differing)),
            open(self.target, comparison.target_keys(&differing)),
        )?;
        let reading = comparison.reads().then(|| Reading { client: self.reading, sql: comparison.reading() });
        compare_streams((source, comparison.texts()), target, reading.as_ref(), &mut findings).await?;
        if findings.nulled > 0 {
            table.notes.push(format!(
                "{} of the target with NULL instead of the source's value in {}: taken to be orphans",
                figures::counted(findings.nulled, "row"),
                comparison.nullable_names()
            ));
        }
        let lossy = plan.compared_before_the_cast();
        if findings.changed > 0 && !lossy.is_empty() {
            table.notes.push(format!(
                "compared in the source's types, since their casts can lose something: {lossy}; lossy = \"allow\" compares after the cast"
            ));
        }
        judge(findings, is_told, &unapplied, comparison.key_names(), table);
        Ok(())
    }
}

/// Has errors tell whose they are: both sides are asked the same.
async fn of<T>(side: Side, work: impl Future<Output = Result<T>>) -> Result<T> {
    work.await.map_err(|e| e.context(format!("the {}", side.name())))
}

/// Has the target read texts of the source, in a session that is in no transaction.
struct Reading<'a> {
    client: &'a Client,
    sql: String,
}

/// As many rows are read with one statement.
const READ_AT_ONCE: usize = 500;

/// A row as it comes, with the texts that the target reads.
type Come = (Row, Vec<Option<String>>);

impl Reading<'_> {
    /// The rows, with checksums of what the target has read.
    async fn complete(&self, rows: Vec<Come>, texts: usize) -> Result<Vec<Row>> {
        let mut complete = Vec::with_capacity(rows.len());
        for some in rows.chunks(READ_AT_ONCE) {
            let sums = self.sums(some, texts).await?;
            complete.extend(some.iter().zip(sums).map(|((row, _), read)| Row { read, ..row.clone() }));
        }
        Ok(complete)
    }

    /// Of a text that the target cannot read there is no checksum: such rows are looked at one by one.
    async fn sums(&self, rows: &[Come], texts: usize) -> Result<Vec<Vec<Option<i64>>>> {
        let error = match self.ask(rows, texts).await {
            Ok(sums) => return Ok(sums),
            Err(error) => error,
        };
        if error.is_transient() || error.code().is_none() || error.kind() == Kind::Cancelled {
            return Err(error);
        }
        if let [_] = rows {
            return Ok(vec![vec![None; texts]]);
        }
        let (first, second) = rows.split_at(rows.len() / 2);
        let mut sums = Box::pin(self.sums(first, texts)).await?;
        sums.extend(Box::pin(self.sums(second, texts)).await?);
        Ok(sums)
    }

    async fn ask(&self, rows: &[Come], texts: usize) -> Result<Vec<Vec<Option<i64>>>> {
        let failed = |e: tokio_postgres::Error| Error::pg(Phase::Verify, "reading the source's values", &e);
        let columns: Vec<Vec<Option<&str>>> = (0..texts)
            .map(|n| rows.iter().map(|(_, texts)| texts.get(n).and_then(Option::as_deref)).collect())
            .collect();
        let parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> =
            columns.iter().map(|column| column as _).collect();
        let answer = self.client.query(&self.sql, &parameters).await.map_err(failed)?;
        Ok(answer.iter().map(|row| row.get(0)).collect())
    }
}

/// Reads both streams, whose parts come in the same order. The source's rows bring `texts` values for the target to read.
async fn compare_streams(
    (mut source, texts): (Parts, usize),
    mut target: Parts,
    reading: Option<&Reading<'_>>,
    findings: &mut Findings,
) -> Result<()> {
    let (mut ours, mut theirs) = futures::try_join!(next(&mut source), next(&mut target))?;
    while let Some(part) = [&ours, &theirs].into_iter().flatten().map(|(part, _)| *part).min() {
        let (left, right) =
            futures::try_join!(take(&mut source, &mut ours, part), take(&mut target, &mut theirs, part))?;
        let right: Vec<Row> = right.into_iter().map(as_read).collect();
        let left = match reading {
            Some(reading) => reading.complete(left, texts).await?,
            None => left.into_iter().map(|(row, _)| row).collect(),
        };
        findings.compare(&left, &right);
    }
    Ok(())
}

/// A row of the target, whose texts are checksums already.
fn as_read((row, texts): Come) -> Row {
    let read = texts.into_iter().map(|text| text.and_then(|text| text.parse().ok())).collect();
    Row { read, ..row }
}

/// The rows of one part; `ahead` holds the first row of a later one.
async fn take(stream: &mut Parts, ahead: &mut Option<(i32, Come)>, part: i32) -> Result<Vec<Come>> {
    let mut rows = Vec::new();
    while ahead.as_ref().is_some_and(|(number, _)| *number == part) {
        let read = next(stream).await?;
        rows.extend(std::mem::replace(ahead, read).map(|(_, row)| row));
    }
    Ok(rows)
}

async fn next(stream: &mut Parts) -> Result<Option<(i32, Come)>> {
    let row = stream.next().await.transpose().map_err(|e| Error::pg(Phase::Verify, "comparing rows", &e))?;
    Ok(row.map(|row| {
        let (key, hash, inside, nullable) = (row.get(1), row.get(2), row.get(3), row.get(4));
        (row.get(0), (Row { key, hash, nullable, read: Vec::new(), inside }, row.get(5)))
    }))
}

/// What was found, after what is rightly missing.
fn judge(
    mut findings: Findings,
    is_told: bool,
    unapplied: &Unapplied,
    names: Option<Vec<String>>,
    table: &mut TableVerification,
) {
    if findings.foreign > 0 {
        table.notes.push(format!(
            "{} not on the target because their keys belong to rows outside the scope",
            figures::counted(findings.foreign, "row")
        ));
    }
    if findings.explained > 0 {
        table.notes.push(format!(
            "{} not on the target because they were rejected",
            figures::counted(findings.explained, "row")
        ));
    }
    // What is skipped for another unique index than the key's is known by number only, and so are rejects without their file.
    let skipped = unapplied.skipped.saturating_sub(findings.foreign);
    let rejected = if is_told { 0 } else { unapplied.rejected.saturating_sub(findings.explained) };
    if findings.missing > 0 && findings.missing <= skipped + rejected {
        table.notes.push(format!(
            "{} not on the target, and {} were rejected or skipped since the last full run: taken to be these, by their number alone",
            figures::counted(findings.missing, "row"),
            figures::count(skipped + rejected)
        ));
        findings.missing = 0;
        findings.first.retain(|(_, difference), _| *difference != Difference::Missing);
    }
    (table.missing, table.extra, table.changed) = (findings.missing, findings.extra, findings.changed);
    let names = names.unwrap_or_default();
    table.first = findings
        .first
        .iter()
        .map(|((_, difference), key)| format!("{} {}", shown(&names, key), words(*difference)))
        .collect();
}

fn words(difference: Difference) -> &'static str {
    match difference {
        Difference::Missing => "is missing on the target",
        Difference::Extra => "is on the target only",
        Difference::Changed => "is not the same",
    }
}

fn shown(names: &[String], key: &Key) -> String {
    let parts = names.iter().zip(key).map(|(name, value)| {
        let value: String = value
            .as_deref()
            .unwrap_or("NULL")
            .chars()
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect();
        format!("{name}={value}")
    });
    parts.collect::<Vec<_>>().join(", ")
}

async fn time_zone(client: &Client) -> Result<String> {
    let row = client.query_one("select pg_catalog.current_setting('TimeZone')", &[]).await;
    Ok(row.map_err(|e| Error::pg(Phase::Verify, "reading the source's TimeZone", &e))?.get(0))
}

async fn execute(client: &Client, sql: &str) -> Result<()> {
    client.batch_execute(sql).await.map_err(|e| Error::pg(Phase::Verify, "comparing", &e))
}

/// Per part, rows and checksum.
async fn sums(client: &Client, (path, sql): (String, String)) -> Result<BTreeMap<i32, (u64, String)>> {
    execute(client, &path).await?;
    let rows = client.query_raw(&sql, NO_PARAMETERS).await;
    let failed = |e: tokio_postgres::Error| Error::pg(Phase::Verify, "computing checksums", &e);
    let rows = rows.map_err(failed)?;
    rows.map_ok(|row| (row.get(0), (u64::try_from(row.get::<_, i64>(1)).unwrap_or(0), row.get(2))))
        .try_collect()
        .await
        .map_err(failed)
}

async fn open(client: &Client, (path, sql): (String, String)) -> Result<Parts> {
    execute(client, &path).await?;
    let rows = client.query_raw(&sql, NO_PARAMETERS).await;
    rows.map(Box::pin).map_err(|e| Error::pg(Phase::Verify, "comparing rows", &e))
}

const NO_PARAMETERS: [&(dyn tokio_postgres::types::ToSql + Sync); 0] = [];
