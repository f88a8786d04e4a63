//! A run that could not start, as the state on the target remembers it: `status` tells of the last attempt.

use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::timeout;

use crate::config::{Config, From, Strategy, TableConfig};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::format::Format;
use crate::pg::session::Side;
use crate::plan::FILES;
use crate::report::TableReport;
use crate::report::state::{Entry, State};
use crate::run::Options;
use crate::run::prepare;
use crate::run::select;
use crate::run::sessions::Sessions;

/// How long the target may take to note the attempt. The operator is waiting for the error.
const NOTE_WITHIN: Duration = Duration::from_secs(5);

/// The words before the reason.
pub(crate) const COULD_NOT_START: &str = "could not start";

/// Notes for each table of the run that it could not start, where that is possible: the target answers, takes writes, and has
/// state tables. They are neither created nor altered, since a run that cannot start touches nothing else.
pub(crate) async fn record(config: Config, options: &Options, error: &Error) {
    if error.kind() == Kind::Cancelled {
        return;
    }
    match timeout(NOTE_WITHIN, Box::pin(note(config, options, error))).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(phase = %Phase::Record, %error, "status will not show that the run could not start");
        }
        Err(_) => {
            tracing::debug!(phase = %Phase::Record, "the target did not note that the run could not start");
        }
    }
}

async fn note(mut config: Config, options: &Options, error: &Error) -> Result<()> {
    select(&mut config, &options.tables)?;
    let (source, target) = prepare::endpoints(&config)?;
    let mut sessions = Sessions::new(&options.run, &config.run);
    sessions.wait_for_locks_at_most(NOTE_WITHIN);
    let session = prepare::open(&target, &config.target, &sessions, Side::Target).await?;
    let state = State::new(config.run.staging_schema.clone());
    if session.read_only || !state.is_complete(&session.client).await? {
        return Ok(());
    }
    let source = source.map_or_else(|| FILES.to_owned(), |source| source.label());
    let reports: Vec<TableReport> = config.tables.iter().map(|table| failed(table, options, error)).collect();
    let entries = config.tables.iter().zip(&reports).enumerate().map(|(entry, (table, report))| Entry {
        run_id: options.run.as_str(),
        entry: u32::try_from(entry).unwrap_or(u32::MAX),
        source: if matches!(table.from, From::Csv(_)) { FILES } else { &source },
        scope: table.scope.as_ref().map(|scope| scope.value.as_str()),
        table: report,
    });
    // Sent without waiting in between.
    try_join_all(entries.map(|entry| state.record_failed(&session.client, entry))).await.map(drop)
}

fn failed(table: &TableConfig, options: &Options, error: &Error) -> TableReport {
    let apply = (table.strategy == Strategy::Replace).then_some(table.apply.value);
    let mut report =
        TableReport::new(table.name.value.plain(), options.mode, table.strategy, apply, Format::Text);
    report.fail(error);
    report.error = Some(format!("{COULD_NOT_START}: {error}"));
    report
}
