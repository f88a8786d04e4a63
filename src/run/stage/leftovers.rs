//! Removes what dead runs left on the target: staging tables, ledger entries, open rows of `runs`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::advisory_locks;
use crate::apply::swap::{self, Patience, Schemas};
use crate::config::RunConfig;
use crate::error::{Phase, Result};
use crate::figures;
use crate::load::{Ledger, leftovers, remove_unfinished};
use crate::pg::name::TableName;
use crate::report::state::{State, Unvalidated};

/// How long others may queue behind one attempt to drop a staging table.
const DROP_BUDGET: Duration = Duration::from_millis(500);

/// What `bulkload clean` did.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct CleanReport {
    /// Dead runs that had left something.
    pub runs: Vec<String>,
    /// Staging tables that were dropped.
    pub dropped: Vec<String>,
    /// Bytes that they took.
    pub bytes: u64,
    /// Foreign keys that were validated.
    pub validated: Vec<String>,
    /// Runs that are alive, whose tables were left alone.
    pub alive: Vec<String>,
}

impl fmt::Display for CleanReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.runs.len(), self.dropped.len()) {
            (0, _) => write!(f, "nothing to clean up")?,
            (runs, 0) => write!(f, "the entries of {} closed", figures::counted(runs as u64, "dead run"))?,
            (_, n) => {
                let tables = figures::counted(n as u64, "staging table");
                write!(f, "{tables} dropped, {} freed", figures::bytes(self.bytes))?;
            }
        }
        for table in &self.dropped {
            write!(f, "\n  {table}")?;
        }
        for key in &self.validated {
            write!(f, "\nforeign key {key} validated")?;
        }
        for run in &self.alive {
            write!(f, "\nrun {run} is alive, its tables were left alone")?;
        }
        Ok(())
    }
}

/// Removes what is left of every run that nobody holds the lock of. A run leaves staging tables only for a part of
/// its time, and none at all where its methods need none, so its ledger and its rows of `runs` are looked at, too.
///
/// # Errors
/// The first of them, after everything was tried: the server's; [`crate::error::Kind::Lock`] with who is in the way if a table could not be
/// locked.
pub(crate) async fn remove_dead(
    client: &Client,
    config: &RunConfig,
    state: &State,
    patience: Patience,
) -> Result<CleanReport> {
    let schema = &config.staging_schema;
    let mut runs: BTreeMap<String, (Vec<TableName>, u64)> = BTreeMap::new();
    for run in Ledger::runs(client, schema).await?.into_iter().chain(state.open_runs(client).await?) {
        runs.entry(run).or_default();
    }
    for left in leftovers(client, schema).await? {
        let (tables, bytes) = runs.entry(left.run_id).or_default();
        tables.push(left.name);
        *bytes += left.bytes;
    }
    for run in swap::runs(client).await? {
        runs.entry(run).or_default();
    }
    let owed = state.unvalidated(client).await?;
    for (run, ..) in &owed {
        runs.entry(run.clone()).or_default();
    }
    let (mut report, mut failure) = (CleanReport::default(), None);
    for (run, (tables, bytes)) in runs {
        if !advisory_locks::lock_dead_run(client, &run).await? {
            report.alive.push(run);
            continue;
        }
        tracing::info!(phase = %Phase::Clean, run, tables = tables.len(), bytes, "removing the leftovers of a dead run");
        let schemas = Schemas::of(&run);
        let dropped = drop_tables(client, &tables, patience).await;
        let forgotten = async {
            dropped?;
            let (swapped, swapped_bytes) = drop_swapped(client, &schemas, patience).await?;
            report.bytes += swapped_bytes;
            report.dropped.extend(swapped.iter().map(TableName::plain));
            for (_, entry, keys) in owed.iter().filter(|(owing, ..)| *owing == run) {
                report.validated.extend(validate(client, state, (&run, *entry), keys, patience).await?);
            }
            Ledger::forget_dead(client, schema, &run).await?;
            state.close_dead_run(client, &run).await
        };
        let forgotten = forgotten.await;
        // A name of a directory, and nothing that leads elsewhere: anybody may have written into the state.
        if run.bytes().all(|byte| byte.is_ascii_alphanumeric()) && !run.is_empty() {
            let unfinished = remove_unfinished(&Path::new(&config.rejects_dir).join(&run));
            tracing::debug!(phase = %Phase::Clean, run, unfinished, "removed what its rejects files were to be made of");
        }
        advisory_locks::unlock(client, &run).await?;
        if let Err(error) = forgotten {
            // What keeps one run's tables here is no reason to leave those of others.
            failure.get_or_insert(error);
            continue;
        }
        report.bytes += bytes;
        report.dropped.extend(tables.iter().map(TableName::plain));
        report.runs.push(run);
    }
    failure.map_or(Ok(report), Err)
}

/// How patient the removal of tables is that somebody may still read, and the validation of foreign keys.
pub(crate) const PATIENT: Patience = Patience {
    budget: DROP_BUDGET,
    wait: advisory_locks::CLAIM_WAIT,
    wait_for_others: advisory_locks::CLAIM_WAIT,
};

/// The same for a run that has something else to do than to wait for whoever reads what nobody needs.
pub(crate) const BUSY: Patience = Patience { wait_for_others: DROP_BUDGET, ..PATIENT };

/// Drops the new tables of a run that did not take a live one's place, the old ones whose place was taken, and the run's
/// schemas if they are empty. Returns what was dropped, and its bytes. What something else has come to depend on is left.
pub(crate) async fn drop_swapped(
    client: &Client,
    schemas: &Schemas,
    patience: Patience,
) -> Result<(Vec<TableName>, u64)> {
    let (mut dropped, mut bytes, mut failure) = (Vec::new(), 0, None);
    for schema in [&schemas.new, &schemas.old] {
        let tables = swap::tables(client, schema).await?;
        let names: Vec<TableName> = tables.iter().map(|(name, _)| name.clone()).collect();
        match swap::dispose(client, &names, patience).await {
            Err(error) if error.code() == Some(&SqlState::DEPENDENT_OBJECTS_STILL_EXIST) => {
                tracing::warn!(phase = %Phase::Clean, %error, "tables of a run were left");
            }
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => _ = failure.get_or_insert(error),
            Ok(()) => {
                // One with tables in it would wait for whoever reads them before it is refused.
                swap::drop_empty(client, schema).await?;
                dropped.extend(names.into_iter().filter(|name| !schemas.is_ours(name)));
                bytes += tables.iter().map(|(_, bytes)| bytes).sum::<u64>();
            }
        }
    }
    failure.map_or(Ok((dropped, bytes)), Err)
}

/// Validates what an entry of a dead run owes. Returns what could be, in words.
async fn validate(
    client: &Client,
    state: &State,
    (run, entry): (&str, usize),
    keys: &[Unvalidated],
    patience: Patience,
) -> Result<Vec<String>> {
    let left = swap::validate(client, keys, patience).await;
    for (key, error) in &left {
        let table = key.table().plain();
        tracing::warn!(phase = %Phase::Clean, table, %error, "{} is not validated yet", key.constraint);
    }
    let (left, done): (Vec<_>, Vec<_>) =
        keys.iter().cloned().partition(|key| left.iter().any(|(other, _)| other == key));
    state.record_unvalidated(client, run, entry, &left).await?;
    Ok(done.iter().map(|key| format!("{} of {}", key.constraint, key.table().plain())).collect())
}

/// Drops staging tables in one transaction.
pub(crate) async fn drop_tables(client: &Client, tables: &[TableName], patience: Patience) -> Result<()> {
    if tables.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = tables.iter().map(ToString::to_string).collect();
    let sql = format!("drop table if exists {}", names.join(", "));
    patience.run(client, &sql, "dropping staging tables", &names).await
}

#[cfg(test)]
mod tests {
    use super::CleanReport;

    #[test]
    fn what_was_removed_is_counted_in_words() {
        let report = |runs: usize, dropped: usize| CleanReport {
            runs: vec!["r".to_owned(); runs],
            dropped: vec!["bulkload.t__r_0".to_owned(); dropped],
            bytes: 9_732_096,
            validated: Vec::new(),
            alive: Vec::new(),
        };
        assert_eq!(report(0, 0).to_string(), "nothing to clean up");
        assert_eq!(report(1, 0).to_string(), "the entries of 1 dead run closed");
        assert_eq!(report(2, 1).to_string(), "1 staging table dropped, 9.73 MB freed\n  bulkload.t__r_0");
    }
}
