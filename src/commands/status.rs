//! `bulkload status`: what the state tables on the target say of a config's tables. Needs the target only.

use std::time::{Duration, SystemTime};

use tokio_postgres::Row;

use crate::config::{Config, From};
use crate::error::{Phase, Result};
use crate::pg::conninfo::{ConnInfo, Environment};
use crate::pg::session::Side;
use crate::plan::FILES;
use crate::report::state::{State, Wanted};
use crate::report::status::{Running, Status, TableStatus};
use crate::run::id::RunId;
use crate::run::prepare;
use crate::run::sessions::Sessions;
use crate::run::{Options, unless_cancelled};

/// Tells what the last runs left of a config's tables; asks the target only.
///
/// `is_source_known` is false where the config's source is a stand-in: rows of all sources are shown then.
///
/// # Errors
/// The target cannot be reached, or refuses.
pub async fn status(
    config: Config,
    max_age: Option<Duration>,
    is_source_known: bool,
    options: &Options,
) -> Result<Status> {
    unless_cancelled(options, Phase::Connect, Box::pin(read(config, max_age, is_source_known))).await
}

async fn read(config: Config, max_age: Option<Duration>, is_source_known: bool) -> Result<Status> {
    let environment = Environment::from_process();
    let target =
        ConnInfo::resolve(&config.target.value, &environment).map_err(|e| e.at(config.target.at.clone()))?;
    let source = if is_source_known {
        config
            .source
            .as_ref()
            .and_then(|source| ConnInfo::resolve(&source.value, &environment).ok())
            .map(|source| source.label())
    } else {
        None
    };
    let sessions = Sessions::new(&RunId::now(), &config.run);
    let session = prepare::open(&target, &config.target, &sessions, Side::Target).await?;
    let wanted: Vec<Wanted> = config
        .tables
        .iter()
        .map(|table| Wanted {
            name: table.name.value.plain(),
            scope: table.scope.as_ref().map(|scope| scope.value.clone()).unwrap_or_default(),
            source: match table.from {
                From::Csv(_) => Some(FILES.to_owned()),
                From::Relation(_) | From::Query(_) => source.clone(),
            },
        })
        .collect();
    let state = State::new(config.run.staging_schema.clone());
    let rows = state.status_rows(&session.client, &wanted).await?;
    let tables = match rows {
        Some(rows) => rows.iter().map(table).collect(),
        None => wanted
            .into_iter()
            .map(|Wanted { name, scope, source }| TableStatus {
                name,
                scope,
                source,
                ..TableStatus::default()
            })
            .collect(),
    };
    Ok(Status { target: target.label(), max_age, tables })
}

fn table(row: &Row) -> TableStatus {
    let age = |column: &str| {
        let seconds: Option<f64> = row.get(column);
        seconds.map(|s| Duration::try_from_secs_f64(s.max(0.0)).unwrap_or(Duration::MAX))
    };
    let count = |column: &str| row.get::<_, Option<i64>>(column).and_then(|n| u64::try_from(n).ok());
    let open: Option<String> = row.get("open_run");
    let is_alive = row.get::<_, Option<bool>>("open_alive").unwrap_or(false);
    let phase: Option<String> = row.get("open_phase");
    let died = open
        .as_ref()
        .filter(|_| !is_alive)
        .map(|_| format!("the run died in phase {}", phase.as_deref().unwrap_or("?")));
    let has_failed = row.get::<_, Option<bool>>("ok").is_none_or(|ok| !ok);
    let last: Option<SystemTime> = row.get("last_sync_at");
    TableStatus {
        name: row.get("name"),
        scope: row.get("scope"),
        source: row.get("source"),
        last_sync: last.zip(age("age_s")),
        last_full_at: row.get("last_full_at"),
        run_id: row.get("run_id"),
        error: died.or_else(|| row.get::<_, Option<String>>("error").filter(|_| has_failed)),
        mode: row.get("mode"),
        rows: count("rows"),
        duration: count("duration_ms").map(Duration::from_millis),
        lock: count("lock_ms").map(Duration::from_millis),
        watermark: row.get("watermark"),
        running: open.filter(|_| is_alive).map(|run_id| Running {
            run_id,
            phase,
            seconds: age("open_s").map_or(0, |age| age.as_secs()),
        }),
    }
}
