//! Queries of the state about earlier runs.

use std::time::Duration;

use tokio_postgres::{GenericClient, Row};

use super::{COLUMNS, Found, State};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::name::TableName;
use crate::plan::LastState;

/// Rows that runs recorded as not applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unapplied {
    /// Rows in rejects files.
    pub rejected: u64,
    /// Staged rows that were not applied.
    pub skipped: u64,
    /// Paths of the rejects files.
    pub files: Vec<String>,
}

/// A requested table.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Its name on the target.
    pub(crate) name: String,
    /// Its scope, empty if it has none.
    pub(crate) scope: String,
    /// The source of its rows; `None` means all sources.
    pub(crate) source: Option<String>,
}

impl State {
    /// Returns the error for a table that was replaced since the run was planned, with the run that exchanged it last.
    ///
    /// # Errors
    /// Errors reported by the server.
    pub(crate) async fn exchanged(
        &self,
        client: &impl GenericClient,
        phase: Phase,
        table: &TableName,
    ) -> Result<Error> {
        let sql = self.sql(
            "select run_id from {schema}.runs where table_name = $1::text and apply = 'swap' and ok
             order by finished_at desc limit 1",
        );
        let name = table.plain();
        let row = client
            .query_opt(&sql, &[&name])
            .await
            .map_err(|error| Error::pg(phase, format!("cannot read {}.runs", self.schema), &error))?;
        let by = row.map_or_else(
            || "it was dropped, and possibly created again".to_owned(),
            |row| format!("run {} exchanged it last", row.get::<_, &str>(0)),
        );
        let message = format!("{name} is no longer the table that this run was planned for: {by}");
        Ok(Error::new(phase, Kind::Schema, message).hint("Run again."))
    }

    /// Returns, in words, the process that closed a run as dead: the last run that loaded one of its tables since. `None` if
    /// the run was not closed.
    ///
    /// # Errors
    /// Errors reported by the server.
    pub(crate) async fn closed_by(
        &self,
        client: &impl GenericClient,
        run_id: &str,
    ) -> Result<Option<String>> {
        let sql = self.sql(
            "select (
                 select o.run_id from {schema}.runs o
                 where o.table_name = r.table_name and o.run_id <> r.run_id and o.started_at >= r.started_at
                     and coalesce(o.error, '') not like 'could not start: %'
                 order by o.started_at desc limit 1)
             from {schema}.runs r
             where r.run_id = $1::text and r.error like 'the run died in phase %'
             order by 1 limit 1",
        );
        let row = client
            .query_opt(&sql, &[&run_id])
            .await
            .map_err(|error| Error::pg(Phase::Stage, format!("cannot read {}.runs", self.schema), &error))?;
        let name =
            |by: Option<&str>| by.map_or_else(|| "another process".to_owned(), |by| format!("run {by}"));
        Ok(row.map(|row| name(row.get(0))))
    }

    /// Returns the recorded state of a table; `None` if it was never loaded, or if there is no state yet.
    ///
    /// # Errors
    /// Errors reported by the server.
    pub async fn last_state(
        &self,
        client: &impl GenericClient,
        table: &str,
        source: &str,
        scope: Option<&str>,
    ) -> Result<Option<LastState>> {
        let mut found = self.last_states(client, &[(table, source, scope)]).await?;
        Ok(found.pop().flatten())
    }

    /// Returns the recorded states of several tables, each given with its source and scope, in the same order.
    ///
    /// # Errors
    /// Errors reported by the server.
    pub(crate) async fn last_states(
        &self,
        client: &impl GenericClient,
        tables: &[(&str, &str, Option<&str>)],
    ) -> Result<Vec<Option<LastState>>> {
        let failed =
            |error| Error::pg(Phase::Plan, format!("cannot read {}.sync_state", self.schema), &error);
        let mut states = vec![None; tables.len()];
        let found = self.inspect(client).await?;
        if !found.columns.iter().any(|column| column == "sync_state.watermark") {
            return Ok(states);
        }
        let sql = self.sql(include_str!("last_states.sql"));
        let names: Vec<&str> = tables.iter().map(|(name, ..)| *name).collect();
        let sources: Vec<&str> = tables.iter().map(|(_, source, _)| *source).collect();
        let scopes: Vec<&str> = tables.iter().map(|(.., scope)| scope.unwrap_or_default()).collect();
        for row in client.query(&sql, &[&names, &sources, &scopes]).await.map_err(failed)? {
            let entry = usize::try_from(row.get::<_, i64>("entry") - 1).ok();
            let Some(state) = entry.and_then(|entry| states.get_mut(entry)) else { continue };
            *state = Some(LastState {
                watermark: row.get("watermark"),
                last_sync_at: row.get("last_sync_at"),
                last_full_at: row.get("last_full_at"),
                records_synced: row.get("records_synced"),
                error_message: row.get("error_message"),
                fingerprint: row.get("fingerprint"),
                filled: row.get("filled"),
                sync_age: age(row.get("sync_age_s")),
                full_age: age(row.get("full_age_s")),
            });
        }
        Ok(states)
    }

    /// Returns the rows of `status.sql` for the tables; `None` if there is no state yet.
    ///
    /// # Errors
    /// Errors reported by the server.
    pub(crate) async fn status_rows(
        &self,
        client: &impl GenericClient,
        tables: &[Wanted],
    ) -> Result<Option<Vec<Row>>> {
        let has = |found: &Found, table: &str| {
            COLUMNS.iter().filter(|(name, _)| *name == table).flat_map(|(_, columns)| *columns).all(
                |column| {
                    ["source", "scope", "fingerprint", "filled"].contains(column)
                        || found.columns.contains(&format!("{table}.{column}"))
                },
            )
        };
        let found = self.inspect(client).await?;
        if !has(&found, "sync_state") || !has(&found, "runs") {
            return Ok(None);
        }
        let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
        let scopes: Vec<&str> = tables.iter().map(|table| table.scope.as_str()).collect();
        let sources: Vec<Option<&str>> = tables.iter().map(|table| table.source.as_deref()).collect();
        let rows = client
            .query(&self.sql(include_str!("status.sql")), &[&names, &scopes, &sources])
            .await
            .map_err(|error| {
                Error::pg(Phase::Record, format!("cannot read the state in schema {}", self.schema), &error)
            })?;
        Ok(Some(rows))
    }

    /// Returns the rows of a table that were rejected and skipped since its last full run; `None` if no run is recorded.
    ///
    /// # Errors
    /// Errors reported by the server.
    pub(crate) async fn unapplied(
        &self,
        client: &impl GenericClient,
        table: &str,
        source: &str,
        scope: Option<&str>,
    ) -> Result<Option<Unapplied>> {
        let found = self.inspect(client).await?;
        if !found.columns.iter().any(|column| column == "runs.rejects_file") {
            return Ok(None);
        }
        let row = client
            .query_one(
                &self.sql(include_str!("unapplied.sql")),
                &[&table, &source, &scope.unwrap_or_default()],
            )
            .await
            .map_err(|error| Error::pg(Phase::Verify, format!("cannot read {}.runs", self.schema), &error))?;
        let count = |column: &str| row.get::<_, Option<i64>>(column).and_then(|n| u64::try_from(n).ok());
        Ok(count("rejected").map(|rejected| Unapplied {
            rejected,
            skipped: count("skipped").unwrap_or(0),
            files: row.get::<_, Option<Vec<String>>>("files").unwrap_or_default(),
        }))
    }
}

/// Converts an age in seconds. A clock that was set back makes it negative; it then counts as zero.
fn age(seconds: Option<f64>) -> Option<Duration> {
    seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
}
