//! The state on the target: `sync_state` holds the last state of each table, `runs` the figures of each run.
//!
//! Both tables are in the staging schema, which only the loading role can access. All times are the target's
//! (`clock_timestamp()`), never the loader's: `status` compares them, and the clocks of two hosts differ. On a target where
//! the state is complete no DDL is run, not even DDL without effect: on Supabase, every DDL statement makes `PostgREST` reload
//! its schema cache, and requests wait meanwhile.

mod last;
mod unvalidated;

use std::time::Duration;

use serde_json::{Value, json};
use tokio_postgres::GenericClient;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

pub use crate::plan::LastState;
pub use last::Unapplied;
pub(crate) use last::Wanted;
pub use unvalidated::Unvalidated;

use super::TableReport;
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::name::{Ident, literal, plain};

/// The columns of complete state tables; `state/tables.sql` creates them.
const COLUMNS: [(&str, &[&str]); 2] = [
    (
        "sync_state",
        &[
            "table_name",
            "source",
            "scope",
            "watermark",
            "last_sync_at",
            "last_full_at",
            "records_synced",
            "duration_ms",
            "error_message",
            "updated_at",
            "fingerprint",
            "filled",
        ],
    ),
    (
        "runs",
        &[
            "run_id",
            "entry",
            "version",
            "phase",
            "started_at",
            "finished_at",
            "table_name",
            "ok",
            "error",
            "mode",
            "strategy",
            "apply",
            "format",
            "chunks",
            "streams",
            "attempts",
            "extracted",
            "rejected",
            "staged",
            "inserted",
            "updated",
            "deleted",
            "unchanged",
            "skipped",
            "bytes_in",
            "bytes_out",
            "load_ms",
            "index_ms",
            "apply_ms",
            "lock_ms",
            "lock_attempts",
            "duration_ms",
            "watermark",
            "rejects_file",
            "warnings",
            "source",
            "scope",
        ],
    ),
];

/// Attempts to set up the schema: runs that start together block each other here for some milliseconds.
const ENSURE_ATTEMPTS: u32 = 10;
const ENSURE_PAUSE: Duration = Duration::from_millis(200);

/// The state tables of one staging schema.
#[derive(Debug, Clone)]
pub struct State {
    schema: Ident,
}

/// A table of a run, as recorded in the state tables.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The run's id.
    pub run_id: &'a str,
    /// Its number among the run's tables; several entries may load the same target table.
    pub entry: u32,
    /// The source database of its rows, without a password.
    pub source: &'a str,
    /// The scope, if any.
    pub scope: Option<&'a str>,
    /// Name and figures.
    pub table: &'a TableReport,
}

impl State {
    /// Returns the state tables in `schema`, without accessing the server.
    #[must_use]
    pub fn new(schema: Ident) -> Self {
        Self { schema }
    }

    /// Ensures that schema and tables exist and are complete and private. Several runs may call this at the same time. Call it
    /// outside a transaction, because it retries after lock conflicts.
    ///
    /// # Errors
    /// [`Kind::Refused`] if the schema belongs to another role or contains other objects;
    /// [`Kind::Permission`], with the GRANT to run, if the role may not create it.
    pub async fn ensure(&self, client: &impl GenericClient) -> Result<()> {
        let mut failure = None;
        for _ in 0..ENSURE_ATTEMPTS {
            let found = self.inspect(client).await?;
            let Some(ddl) = self.missing(&found)? else { return Ok(()) };
            // Inspect again after success: ALTER DEFAULT PRIVILEGES may have granted access to the new schema.
            let Err(error) = client.batch_execute(&ddl).await else { continue };
            let what = format!("cannot set up schema {} on the target", self.schema);
            let error = Error::pg(Phase::Stage, what, &error);
            // A unique violation means that another session's CREATE SCHEMA committed first.
            let collided = error.code() == Some(&SqlState::UNIQUE_VIOLATION);
            if !collided && error.kind() != Kind::Lock {
                return Err(found.explain(error, &self.schema));
            }
            failure = Some(error);
            tokio::time::sleep(ENSURE_PAUSE).await;
        }
        Err(failure.unwrap_or_else(|| {
            let message = format!("schema {} on the target does not stay complete and private", self.schema);
            Error::new(Phase::Stage, Kind::Refused, message)
                .hint("Find and stop the session that grants privileges on it, or drops its columns, during the run.")
        }))
    }

    /// Checks, without changing anything, that [`State::ensure`] would succeed. Returns whether the schema exists.
    ///
    /// # Errors
    /// As [`State::ensure`].
    pub async fn check(&self, client: &impl GenericClient) -> Result<bool> {
        let found = self.inspect(client).await?;
        found.refuse_what_is_not_ours(&self.schema)?;
        if found.exists || found.may_create {
            return Ok(found.exists);
        }
        let message = format!("the role {} may not create schema {} on the target", found.role, self.schema);
        Err(found.explain(Error::new(Phase::Plan, Kind::Permission, message), &self.schema))
    }

    /// Returns whether schema and tables exist, are complete and belong to this role.
    ///
    /// # Errors
    /// Errors reported by the server; [`Kind::Refused`] as [`State::ensure`].
    pub(crate) async fn is_complete(&self, client: &impl GenericClient) -> Result<bool> {
        let found = self.inspect(client).await?;
        Ok(self.missing(&found)?.is_none())
    }

    async fn inspect(&self, client: &impl GenericClient) -> Result<Found> {
        let row = client
            .query_one(include_str!("state/inspect.sql"), &[&self.schema.as_str()])
            .await
            .map_err(|error| Error::pg(Phase::Stage, "cannot read the target's catalog", &error))?;
        Ok(Found {
            database: row.get("database"),
            role: row.get("role"),
            exists: row.get("schema_exists"),
            may_create: row.get("may_create"),
            owner: row.get("owner"),
            foreign_tables: row.get("foreign_tables"),
            grantees: row.get("grantees"),
            occupied: row.get("occupied"),
            columns: row.get("columns"),
        })
    }

    /// Returns the statements that complete the state, to be sent as one implicit transaction; `None` if it is complete.
    fn missing(&self, found: &Found) -> Result<Option<String>> {
        found.refuse_what_is_not_ours(&self.schema)?;
        let complete = COLUMNS.iter().all(|(table, columns)| {
            columns.iter().all(|column| found.columns.contains(&format!("{table}.{column}")))
        });
        if found.exists && complete && found.grantees.is_empty() {
            return Ok(None);
        }
        let key = literal(&format!("bulkload state {}", self.schema));
        let mut ddl = format!("select pg_advisory_xact_lock(hashtextextended({key}, 0));\n");
        if !found.exists {
            // CREATE SCHEMA IF NOT EXISTS checks the privilege even if the schema exists.
            ddl.push_str(&self.sql("create schema if not exists {schema};\n"));
            ddl.push_str(&self.sql("revoke all on schema {schema} from public;\n"));
        }
        if !found.grantees.is_empty() {
            ddl.push_str(&self.sql("revoke all on schema {schema} from "));
            ddl.push_str(&found.grantees.join(", "));
            ddl.push_str(" cascade;\n");
        }
        if !complete {
            ddl.push_str(&self.sql(include_str!("state/tables.sql")));
        }
        Ok(Some(ddl))
    }

    /// Inserts the run's tables into `runs`, in `phase`.
    ///
    /// # Errors
    /// Errors reported by the server.
    pub async fn begin_run_rows(
        &self,
        client: &impl GenericClient,
        phase: Phase,
        entries: &[Entry<'_>],
    ) -> Result<()> {
        self.record_run(client, Some(phase), entries).await
    }

    /// Records the phase of a run's unfinished tables.
    ///
    /// # Errors
    /// Errors reported by the server.
    pub async fn set_phase(&self, client: &impl GenericClient, run_id: &str, phase: Phase) -> Result<()> {
        let sql = self
            .sql("update {schema}.runs set phase = $2::text where run_id = $1::text and finished_at is null");
        let updated = client.execute(&sql, &[&run_id, &phase.name()]).await;
        updated.map(drop).map_err(|error| self.cannot_record(&error))
    }

    /// Records the phase of some entries of a run.
    ///
    /// # Errors
    /// Errors reported by the server.
    pub(crate) async fn set_phase_of(
        &self,
        client: &impl GenericClient,
        run_id: &str,
        entries: &[usize],
        phase: Phase,
    ) -> Result<()> {
        let entries: Vec<i32> = entries.iter().filter_map(|&entry| i32::try_from(entry).ok()).collect();
        let sql = self.sql(
            "update {schema}.runs set phase = $3::text
             where run_id = $1::text and entry = any ($2::int[]) and finished_at is null",
        );
        let updated = client.execute(&sql, &[&run_id, &entries, &phase.name()]).await;
        updated.map(drop).map_err(|error| self.cannot_record(&error))
    }

    /// Records tables as applied. Call it in the applying transaction, because the watermark must become visible together with
    /// the rows. `entry.table.watermark` is stored unchanged, even if it is `None`. Locks are held meanwhile, so this takes one
    /// round trip for any number of tables.
    ///
    /// # Errors
    /// Errors reported by the server; the transaction is then aborted.
    pub async fn record_applied(&self, tx: &impl GenericClient, entries: &[Entry<'_>]) -> Result<()> {
        let rows = entries
            .iter()
            .map(|entry| {
                let mut row = row(entry, None)?;
                row["ok"] = json!(true);
                row["error"] = Value::Null;
                row["fingerprint"] = json!(entry.table.fingerprint);
                row["filled"] = json!(entry.table.filled);
                Ok(row)
            })
            .collect::<Result<Vec<Value>>>()?;
        let rows = Value::Array(rows).to_string();
        // Both are sent without waiting for a response, and run in this order.
        let (state, runs) = (
            self.sql(include_str!("state/record_applied.sql")),
            self.sql(include_str!("state/record_run.sql")),
        );
        let (state_values, runs_values) =
            ([(&rows as _, Type::TEXT)], [(&rows as _, Type::TEXT), (&true as _, Type::BOOL)]);
        futures::try_join!(tx.execute_typed(&state, &state_values), tx.execute_typed(&runs, &runs_values))
            .map(drop)
            .map_err(|error| self.cannot_record(&error))
    }

    /// Returns whether these entries of a run are recorded as applied, which means that the transaction that called
    /// [`State::record_applied`] was committed.
    ///
    /// # Errors
    /// Errors reported by the server.
    pub async fn is_applied(
        &self,
        client: &impl GenericClient,
        run_id: &str,
        entries: &[usize],
    ) -> Result<bool> {
        let entries: Vec<i32> = entries.iter().filter_map(|&entry| i32::try_from(entry).ok()).collect();
        let sql = self.sql(
            "select count(*) from {schema}.runs
             where run_id = $1::text and entry = any ($2::int[]) and ok and finished_at is not null",
        );
        let failed = |error| Error::pg(Phase::Apply, format!("cannot read {}.runs", self.schema), &error);
        let applied: i64 = client.query_one(&sql, &[&run_id, &entries]).await.map_err(failed)?.get(0);
        Ok(usize::try_from(applied) == Ok(entries.len()))
    }

    /// Updates the figures of finished tables: durations are known only after the commit.
    ///
    /// # Errors
    /// Errors reported by the server.
    pub async fn record_figures(&self, client: &impl GenericClient, entries: &[Entry<'_>]) -> Result<()> {
        self.record_run(client, None, entries).await
    }

    /// Records a table as failed. Watermark and times of its last success are kept.
    ///
    /// # Errors
    /// Errors reported by the server.
    pub async fn record_failed(&self, client: &impl GenericClient, entry: Entry<'_>) -> Result<()> {
        let error = entry.table.error.as_deref().unwrap_or("unknown");
        client
            .execute(
                &self.sql(include_str!("state/record_failed.sql")),
                &[&entry.table.name, &entry.source, &entry.scope.unwrap_or_default(), &error],
            )
            .await
            .map_err(|error| self.cannot_record(&error))?;
        self.record_run(client, None, &[entry]).await
    }

    /// Returns the ids of runs with unfinished rows: these runs are running or dead. Empty if there is no state yet.
    ///
    /// # Errors
    /// Errors reported by the server.
    pub async fn open_runs(&self, client: &impl GenericClient) -> Result<Vec<String>> {
        let failed = |error| Error::pg(Phase::Clean, format!("cannot read {}.runs", self.schema), &error);
        let exists = "select pg_catalog.to_regclass($1) is not null";
        if !client.query_one(exists, &[&self.sql("{schema}.runs")]).await.map_err(failed)?.get::<_, bool>(0) {
            return Ok(Vec::new());
        }
        let sql = self.sql("select distinct run_id from {schema}.runs where finished_at is null");
        let rows = client.query(&sql, &[]).await.map_err(failed)?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Marks the rows of a dead run as failed. Returns their number.
    ///
    /// # Errors
    /// Errors reported by the server.
    pub async fn close_dead_run(&self, client: &impl GenericClient, run_id: &str) -> Result<u64> {
        let sql = self.sql(
            "update {schema}.runs
             set ok = false, error = 'the run died in phase ' || coalesce(phase, '?'), phase = null,
                 finished_at = clock_timestamp()
             where run_id = $1::text and finished_at is null",
        );
        client.execute(&sql, &[&run_id]).await.map_err(|error| self.cannot_record(&error))
    }

    /// Writes rows of `runs`; without a phase, the rows are finished.
    async fn record_run(
        &self,
        client: &impl GenericClient,
        phase: Option<Phase>,
        entries: &[Entry<'_>],
    ) -> Result<()> {
        let rows = entries.iter().map(|entry| row(entry, phase)).collect::<Result<Vec<Value>>>()?;
        let sql = self.sql(include_str!("state/record_run.sql"));
        let rows = Value::Array(rows).to_string();
        let written =
            client.execute_typed(&sql, &[(&rows, Type::TEXT), (&phase.is_none(), Type::BOOL)]).await;
        written.map(drop).map_err(|error| self.cannot_record(&error))
    }

    fn sql(&self, template: &str) -> String {
        template.replace("{schema}", &self.schema.to_string())
    }

    fn cannot_record(&self, error: &tokio_postgres::Error) -> Error {
        Error::pg(Phase::Record, format!("cannot write the state in schema {}", self.schema), error)
    }
}

/// Schema and tables as found in the catalog.
struct Found {
    database: String,
    role: String,
    exists: bool,
    /// Whether the role may create schemas.
    may_create: bool,
    owner: Option<String>,
    foreign_tables: Vec<String>,
    /// Roles other than the owner that have a privilege on the schema, quoted.
    grantees: Vec<String>,
    occupied: bool,
    /// Columns, as `table.column`.
    columns: Vec<String>,
}

impl Found {
    /// Refuses a schema that belongs to another role or is used for something else.
    fn refuse_what_is_not_ours(&self, schema: &Ident) -> Result<()> {
        let refuse =
            |message: String, hint: String| Err(Error::new(Phase::Stage, Kind::Refused, message).hint(hint));
        match &self.owner {
            Some(owner) if *owner != self.role => refuse(
                format!(
                    "schema {schema} on the target belongs to role {owner}; it must belong to {}, because staged rows are private",
                    self.role
                ),
                format!("Set [run] staging_schema to an unused name, or connect as {owner}."),
            ),
            _ if !self.foreign_tables.is_empty() => refuse(
                format!(
                    "{} in schema {schema} on the target is not a table of role {}",
                    self.foreign_tables.join(" and "),
                    self.role
                ),
                "Set [run] staging_schema to an unused name.".to_owned(),
            ),
            _ if schema.as_str() == "public" || (self.occupied && !self.is_state()) => refuse(
                format!(
                    "schema {schema} on the target contains other objects; staging requires a dedicated schema"
                ),
                "Set [run] staging_schema to an unused name: the schema is made private and cleaned up."
                    .to_owned(),
            ),
            _ => Ok(()),
        }
    }

    /// Returns whether the tables have our key columns. A `runs` table alone may belong to other software.
    fn is_state(&self) -> bool {
        let has = |column: &str| self.columns.iter().any(|found| found == column);
        let runs_is_ours = has("runs.run_id") && has("runs.entry");
        ["sync_state.table_name", "sync_state.source", "sync_state.scope"].into_iter().all(has)
            && (runs_is_ours || !self.columns.iter().any(|found| found.starts_with("runs.")))
    }

    /// Adds a hint with the statement that grants the missing privilege.
    fn explain(&self, error: Error, schema: &Ident) -> Error {
        if error.kind() != Kind::Permission || self.exists {
            return error;
        }
        let (database, role) = (Ident::new(&self.database), Ident::new(&self.role));
        error.hint(format!(
            "Run on the target, as the owner of the database: grant create on database {database} to {role}; or: create schema {} authorization {role};",
            plain(schema)
        ))
    }
}

/// Returns a row of `runs` as JSON: the table's report with the column names as keys.
fn row(entry: &Entry<'_>, phase: Option<Phase>) -> Result<Value> {
    let mut row = serde_json::to_value(entry.table).map_err(|error| {
        Error::new(
            Phase::Record,
            Kind::Internal,
            format!("cannot serialize the table's report as JSON: {error}"),
        )
    })?;
    row["table_name"] = row["name"].take();
    row["run_id"] = json!(entry.run_id);
    row["entry"] = json!(entry.entry);
    row["version"] = json!(env!("CARGO_PKG_VERSION"));
    row["phase"] = json!(phase.map(Phase::name));
    row["source"] = json!(entry.source);
    row["scope"] = json!(entry.scope.unwrap_or_default());
    if phase.is_some() {
        // Neither ok nor failed yet.
        row["ok"] = Value::Null;
    }
    Ok(row)
}
