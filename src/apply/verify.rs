//! Counts staging and judges the guards, before any lock.

use std::path::PathBuf;

use tokio_postgres::Client;

use super::{Feed, blockers, method, scope};
use crate::config::{OnEmpty, Strategy};
use crate::error::{Error, Kind, Phase, Result};
use crate::load::{Ledger, Staging, TooMany};
use crate::pg::catalog::Sequence;
use crate::pg::name::{TableName, list};
use crate::plan::TablePlan;

/// A table whose chunks have all landed.
pub(crate) struct Loaded<'p> {
    /// Its plan.
    pub(crate) plan: &'p TablePlan,
    /// The staging table; `None` for a method that takes rows straight from the source.
    pub(crate) staging: Option<Staging>,
    /// The source of the rows in that case.
    pub(crate) feed: Option<Feed<'p>>,
    /// Rows that the source sent; without staging, 0 if it has none.
    pub(crate) extracted: u64,
    /// Rows rejected, out of these.
    pub(crate) removed: u64,
    /// The reasons, without values of rows.
    pub(crate) kinds: Vec<(String, u64)>,
    /// The rejects file.
    pub(crate) rejects_file: PathBuf,
}

/// A table that may be applied. Only [`verify`] creates one.
pub(crate) struct Ready<'p> {
    /// Its plan.
    pub(crate) plan: &'p TablePlan,
    /// The staging table.
    pub(crate) staging: Option<TableName>,
    /// The source of the rows without staging.
    pub(crate) feed: Option<Feed<'p>>,
    /// Rows in staging.
    pub(crate) staged: u64,
    /// Rows of the live table when it was counted.
    pub(crate) live_rows: u64,
    /// For each sequence of a column, the farthest loaded value.
    pub(crate) extremes: Vec<(Sequence, Option<i64>)>,
}

/// The verdict on a table.
pub(crate) enum Verdict<'p> {
    /// It may be applied.
    Ready(Box<Ready<'p>>),
    /// The table stays as it is: the source has no rows.
    Skip(String),
    /// These chunks are missing from staging: a server crash empties unlogged tables.
    Incomplete(Vec<i32>),
}

/// Counts staging and compares it with the ledger and the source, counts the live table for the guards, and judges.
///
/// # Errors
/// [`Kind::Guard`] with the figures, when counts disagree or a limit is exceeded; any server error.
pub(crate) async fn verify<'p>(client: &Client, ledger: &Ledger, loaded: Loaded<'p>) -> Result<Verdict<'p>> {
    let plan = loaded.plan;
    let staging = loaded.staging.as_ref().map(|staging| staging.name.clone());
    let (staged, extremes) = match &staging {
        None => (0, plan.sequences.iter().map(|sequence| (sequence.clone(), None)).collect()),
        Some(staging) => {
            let landed = ledger.landed(client, plan.entry).await?;
            let missing: Vec<i32> =
                plan.chunks.iter().map(|chunk| chunk.number).filter(|n| !landed.contains_key(n)).collect();
            if !missing.is_empty() {
                return Ok(Verdict::Incomplete(missing));
            }
            let (staged, extremes) = count_staging(client, plan, staging).await?;
            let entered: i64 = landed.values().sum();
            if i64::try_from(staged) != Ok(entered) || staged + loaded.removed != loaded.extracted {
                let message = format!(
                    "{}: counts differ: {} rows read, {} rejected, {entered} recorded in the ledger, {staged} \
                     in staging",
                    plan.name.plain(),
                    loaded.extracted,
                    loaded.removed
                );
                return Err(Error::new(Phase::Verify, Kind::Guard, message));
            }
            judge_rejects(&loaded)?;
            scope::refuse_strays(client, plan, staging).await?;
            (staged, extremes)
        }
    };
    let live_rows = count_live(client, plan).await?;
    if staged > 0 {
        refuse_ambiguous_key(client, plan).await?;
    }
    if (staging.is_some() || loaded.extracted == 0)
        && let Judgement::Skip(why) = judge(plan, loaded.extracted == 0, staged, live_rows)?
    {
        return Ok(Verdict::Skip(why));
    }
    Ok(Verdict::Ready(Box::new(Ready { plan, staging, feed: loaded.feed, staged, live_rows, extremes })))
}

fn judge_rejects(loaded: &Loaded<'_>) -> Result<()> {
    let Loaded { plan, removed, extracted, kinds, rejects_file, .. } = loaded;
    if *removed == 0 || !plan.guards.max_rejects.is_exceeded_by(*removed, *extracted) {
        return Ok(());
    }
    let rejected = format!("{removed} of {extracted} rows were");
    Err(TooMany { table: plan, rejected, kinds, file: rejects_file }.error(Phase::Verify))
}

/// The verdict of the guards on a table.
pub(super) enum Judgement {
    /// It may be applied.
    Apply,
    /// It stays as it is.
    Skip(String),
}

/// Judges `on_empty` and `max_shrink`. An empty source may "replace" a table that is empty already. A source whose rows were
/// all rejected is not empty.
pub(super) fn judge(plan: &TablePlan, is_source_empty: bool, rows: u64, live_rows: u64) -> Result<Judgement> {
    let name = plan.name.plain();
    let guard = |message: String| Error::new(Phase::Verify, Kind::Guard, message);
    if is_source_empty && live_rows > 0 {
        return match plan.guards.on_empty {
            OnEmpty::Apply => Ok(Judgement::Apply),
            OnEmpty::Skip => Ok(Judgement::Skip(format!(
                "the source has no rows: the table keeps its {live_rows} rows (on_empty = \"skip\")"
            ))),
            OnEmpty::Fail => Err(guard(format!("{name}: the source has no rows (on_empty = \"fail\")"))
                .hint("Set on_empty = \"apply\" to let the run empty the table.")),
        };
    }
    let lost = if plan.strategy == Strategy::Replace { live_rows.saturating_sub(rows) } else { 0 };
    if lost > 0 && plan.guards.max_shrink.is_exceeded_by(lost, live_rows) {
        let limit = plan.guards.max_shrink;
        return Err(guard(format!(
            "{name} would shrink from {live_rows} to {rows} rows, more than max_shrink = {limit} allows"
        ))
        .hint("Check the source first. If the decrease is intended, raise max_shrink for this table."));
    }
    Ok(Judgement::Apply)
}

/// Fails if live rows share a key. A key without a unique index must still identify live rows if they are found by it.
async fn refuse_ambiguous_key(client: &Client, plan: &TablePlan) -> Result<()> {
    let Some(key) = plan.key.as_ref().filter(|_| !plan.has_unique_key()) else { return Ok(()) };
    if !method(plan.apply)?.compares() {
        return Ok(());
    }
    let name = plan.name.plain();
    let columns = list(key);
    let is_there: Vec<String> = key.iter().map(|column| format!("{column} is not null")).collect();
    let scope = plan.in_scope().map(|scope| format!(" and {scope}")).unwrap_or_default();
    let sql = format!(
        "select pg_catalog.count(*) from (
             select from {} where {}{scope} group by {columns} having pg_catalog.count(*) > 1) as twice",
        plan.name,
        is_there.join(" and ")
    );
    let failed = |e| Error::pg(Phase::Verify, format!("{name}: looking for duplicate keys"), &e);
    let row = scope::ask(client, &sql).await.map_err(failed)?;
    match row.first().and_then(Option::as_deref) {
        Some("0") | None => Ok(()),
        Some(count) => Err(Error::new(
            Phase::Verify,
            Kind::Guard,
            format!("{name}: {count} keys ({columns}) occur more than once on the target"),
        )
        .hint("Rows are matched by their key: remove the duplicates, or choose another key.")),
    }
}

/// Counts the rows of the live table, within its scope if it has one. Names the sessions that hold an exclusive lock for too
/// long.
async fn count_live(client: &Client, plan: &TablePlan) -> Result<u64> {
    let scope = plan.in_scope().map(|scope| format!(" where {scope}")).unwrap_or_default();
    let sql = format!("select pg_catalog.count(*) from {}{scope}", plan.name);
    let error = match scope::ask(client, &sql).await {
        Ok(row) => return Ok(row.first().and_then(|count| count.as_deref()?.parse().ok()).unwrap_or(0)),
        Err(error) => Error::pg(Phase::Verify, format!("counting {}", plan.name.plain()), &error),
    };
    if error.kind() != Kind::Lock {
        return Err(error);
    }
    let who = blockers::of_a_reader(client, plan.oid).await.unwrap_or_default();
    let message = format!(
        "could not read {} within lock_wait; blocked by {}",
        plan.name.plain(),
        if who.is_empty() { "a transaction that has since ended" } else { &who }
    );
    Err(Error::new(Phase::Verify, Kind::Lock, message).hint(blockers::HINT))
}

/// Counts the rows of staging, and finds the farthest values of its sequence columns, in one scan.
async fn count_staging(
    client: &Client,
    plan: &TablePlan,
    staging: &TableName,
) -> Result<(u64, Vec<(Sequence, Option<i64>)>)> {
    let mut sql = "select pg_catalog.count(*)".to_owned();
    for sequence in &plan.sequences {
        // The bound is for numeric columns, which may exceed the range of a sequence.
        let (farthest, nearer, end) =
            if sequence.increment > 0 { ("max", "least", i64::MAX) } else { ("min", "greatest", i64::MIN) };
        let column = &sequence.column;
        sql.push_str(&format!(", {nearer}(pg_catalog.{farthest}({column})::numeric, {end})::bigint"));
    }
    sql.push_str(&format!(" from {staging}"));
    let row = client.query_one(&sql, &[]).await.map_err(|e| {
        Error::pg(Phase::Verify, format!("counting the staging table of {}", plan.name.plain()), &e)
    })?;
    let extremes = plan.sequences.iter().enumerate().map(|(i, s)| (s.clone(), row.get(i + 1))).collect();
    Ok((u64::try_from(row.get::<_, i64>(0)).unwrap_or(0), extremes))
}

/// Finds the farthest values of a live table's sequence columns, for a method without staging.
pub(super) async fn extremes_of_live(
    client: &Client,
    plan: &TablePlan,
) -> Result<Vec<(Sequence, Option<i64>)>> {
    if plan.sequences.is_empty() {
        return Ok(Vec::new());
    }
    Ok(count_staging(client, plan, &plan.name).await?.1)
}
