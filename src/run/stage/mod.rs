//! What a run needs on the target before rows flow: state tables, claims, staging tables.

pub(crate) mod advisory_locks;
pub(crate) mod leftovers;

use std::sync::Arc;

use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use self::advisory_locks::Claim;
use crate::apply::swap::{self, Schemas};
use crate::config::ApplyMethod;
use crate::error::{Error, Kind, Phase, Result};
use crate::extract::{Scene, Snapshot};
use crate::load::{Ledger, Staging};
use crate::pg::catalog::Oid;
use crate::pg::conninfo::ConnInfo;
use crate::pg::format::Format;
use crate::pg::session::Side;
use crate::plan::{Extent, FailedTable, Plan};
use crate::report::state::{Entry, State};
use crate::report::{Mode, TableReport};
use crate::run::id::RunId;
use crate::run::lock_watch;
use crate::run::prepare::{Prepared, source_lock_wait};
use crate::run::sessions::Sessions;
use crate::run::target::Target;

/// A run that holds its tables and has somewhere to put rows.
pub(crate) struct Staged {
    pub(crate) plan: Arc<Plan>,
    pub(crate) run: RunId,
    /// `None` where all rows come from files.
    pub(crate) source: Option<ConnInfo>,
    pub(crate) target: Target,
    pub(crate) sessions: Sessions,
    pub(crate) claim: Claim,
    pub(crate) state: State,
    /// Per table of the plan; `None` where its method needs none.
    pub(crate) staging: Vec<Option<Staging>>,
    /// Where tables are made that take live ones' places.
    pub(crate) schemas: Schemas,
}

/// How a run's beginning ended.
pub(crate) enum Begun {
    /// Rows may flow.
    Staged(Box<Staged>),
    /// The plan is about tables that others have taken the place of; nothing was touched.
    Outdated(Error),
}

/// Takes the tables, cleans up after dead runs, creates staging tables.
pub(crate) async fn stage(
    prepared: Prepared,
    (run, mode): (&RunId, Mode),
    cancel: &CancellationToken,
) -> Result<Begun> {
    let Prepared { plan, source, target, sessions, control, unwritable: _ } = prepared;
    let target = Target::new(target, cancel);
    let schema = plan.run.staging_schema.clone();
    let state = State::new(schema.clone());
    state.ensure(&control.client).await?;
    Ledger::ensure(&control.client, &schema).await?;
    let names: Vec<_> =
        plan.tables.iter().map(|table| (table.name.clone(), table.live.partition_of.clone())).collect();
    let claim = Claim::take(control, &target, &sessions.control(Side::Target), (&state, run), names).await?;
    fail::fail_point!("stage.claimed");
    let outdated = outdated(&claim.control().await.client, &plan, &state).await?;
    if let Some(error) = outdated {
        return Ok(Begun::Outdated(error));
    }
    let schemas = Schemas::of(run.as_str());
    let staging: Vec<Option<Staging>> = plan
        .tables
        .iter()
        .map(|table| {
            table.uses_staging.then(|| match table.fills_new_table() {
                true => Staging::at(schemas.new_table(&table.name)),
                false => Staging::new(&schema, &table.name, run.as_str(), table.entry),
            })
        })
        .collect();
    let (plan, run) = (Arc::new(plan), run.clone());
    let staged = Staged { plan, run, source, target, sessions, claim, state, staging, schemas };
    let begun = match staged.create().await {
        Ok(()) => staged.record_failed_in_plan(mode).await,
        Err(error) => Err(error),
    };
    if let Err(error) = begun {
        staged.tidy().await;
        return Err(error);
    }
    Ok(Begun::Staged(Box::new(staged)))
}

/// A run that was waited for may have exchanged a table since it was planned for: its name is another table's now.
async fn outdated(client: &Client, plan: &Plan, state: &State) -> Result<Option<Error>> {
    let names: Vec<String> = plan.tables.iter().map(|table| table.name.to_string()).collect();
    let oids: Vec<Oid> = plan.tables.iter().map(|table| table.oid).collect();
    let sql = "select t.ordinal
        from rows from (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::oid[])) with ordinality as t (name, oid, ordinal)
        where pg_catalog.to_regclass(t.name) is distinct from t.oid::pg_catalog.regclass
        order by t.ordinal limit 1";
    let row = client
        .query_opt(sql, &[&names, &oids])
        .await
        .map_err(|e| Error::pg(Phase::Stage, "checking that the tables are those of the plan", &e))?;
    let place = row.and_then(|row| usize::try_from(row.get::<_, i64>(0)).ok()?.checked_sub(1));
    let Some(table) = place.and_then(|place| plan.tables.get(place)) else { return Ok(None) };
    Ok(Some(state.exchanged(client, Phase::Stage, &table.name).await?))
}

impl Staged {
    async fn create(&self) -> Result<()> {
        let control = self.claim.control().await;
        match leftovers::remove_dead(&control.client, &self.plan.run, &self.state, leftovers::BUSY).await {
            // Somebody reads it, a dump perhaps, or the role may not drop it. It is in nobody's way but the disk's.
            Err(error) if !error.is_transient() && error.kind() != Kind::Cancelled => {
                tracing::warn!(phase = %Phase::Clean, %error, "could not remove the leftovers of a dead run");
            }
            removed => drop(removed?),
        }
        let mut sql = String::from("begin;\n");
        for (table, staging) in self.plan.tables.iter().zip(&self.staging) {
            if let Some(staging) = staging.as_ref().filter(|_| !table.fills_new_table()) {
                sql.push_str(&staging.create_sql(table));
                sql.push_str(";\n");
            }
        }
        sql.push_str("commit");
        control
            .client
            .batch_execute(&sql)
            .await
            .map_err(|e| Error::pg(Phase::Stage, "creating staging tables", &e))?;
        if self.swaps() {
            swap::stage(&control.client, &self.schemas, &self.plan.tables).await?;
        }
        let reports = self.blank_reports();
        let entries: Vec<Entry<'_>> = self.entries(&reports);
        self.state.begin_run_rows(&control.client, Phase::Load, &entries).await
    }

    /// Records the tables that failed in the plan.
    async fn record_failed_in_plan(&self, mode: Mode) -> Result<()> {
        let control = self.claim.control().await;
        for table in &self.plan.failed {
            let report = failed_in_plan(table, mode);
            let entry = Entry {
                run_id: self.run.as_str(),
                entry: u32::try_from(table.entry).unwrap_or(u32::MAX),
                source: self.plan.source_of_failed(table),
                scope: table.scope.as_deref(),
                table: &report,
            };
            self.state.record_failed(&control.client, entry).await?;
        }
        Ok(())
    }

    /// Whether the run makes new tables.
    pub(crate) fn swaps(&self) -> bool {
        self.plan.tables.iter().any(|table| table.apply == ApplyMethod::Swap)
    }

    /// The ledger of what is loaded.
    pub(crate) fn ledger(&self) -> Ledger {
        let ledger = Ledger::new(&self.plan.run.staging_schema, self.run.as_str());
        let filled = self.plan.tables.iter().filter(|table| table.fills_new_table());
        ledger.with_durable(self.schemas.ledger(), filled.map(|table| table.entry).collect())
    }

    /// Locks the source's tables and exports the snapshot; none if there is no source.
    pub(crate) async fn snapshot(&self) -> Result<Option<Snapshot>> {
        let Some(source) = &self.source else { return Ok(None) };
        let mut scene = Scene::default();
        for table in &self.plan.tables {
            let (Some(relation), Some(kind)) = (&table.source_relation, table.source_kind) else { continue };
            scene.lock(relation, kind);
            for (column, &type_oid) in table.source_columns.iter().zip(&table.source_types) {
                scene.column(relation, column, type_oid);
            }
            for chunk in &table.chunks {
                if let Extent::Only(heap) | Extent::Pages { leaf: heap, .. } = &chunk.extent {
                    scene.part(relation, heap);
                }
            }
        }
        for (table, watermark) in self.plan.tables.iter().filter_map(|t| Some((t, t.watermark.as_ref()?))) {
            scene.watermark(watermark.kind);
            if table.mode == Mode::Incremental {
                watermark.history().into_iter().for_each(|history| scene.history(history));
            }
        }
        // A method without staging reads beside the streams.
        let readers = self.plan.streams + usize::from(self.plan.tables.iter().any(|t| !t.uses_staging));
        tracing::info!(phase = %Phase::Snapshot, "locking the source tables (ACCESS SHARE) and taking a snapshot");
        let settings = self.sessions.extract();
        let take = Snapshot::take(source, &settings, &scene, readers, source_lock_wait(&self.plan));
        // Errors of statements name the server themselves.
        let told = |e: Error| if e.phase() == Phase::Connect { e.context("the source") } else { e };
        let take = Box::pin(async { take.await.map(Some).map_err(told) });
        lock_watch::told(Phase::Snapshot, &self.sessions, &[(Side::Source, source.clone())], take).await
    }

    pub(crate) fn blank_reports(&self) -> Vec<TableReport> {
        let blank = |table: &crate::plan::TablePlan| {
            let mut report = TableReport::new(
                table.name.plain(),
                table.mode,
                table.strategy,
                table.replaces_by(),
                table.format,
            );
            report.chunks = table.chunks.len() as u64;
            report
        };
        self.plan.tables.iter().map(blank).collect()
    }

    /// A table as the state knows it.
    pub(crate) fn entry<'a>(&'a self, table: usize, report: &'a TableReport) -> Entry<'a> {
        Entry {
            run_id: self.run.as_str(),
            entry: u32::try_from(self.plan.tables[table].entry).unwrap_or(u32::MAX),
            source: self.plan.source_of(&self.plan.tables[table]),
            scope: self.plan.tables[table].scope.as_deref(),
            table: report,
        }
    }

    pub(crate) fn entries<'a>(&'a self, reports: &'a [TableReport]) -> Vec<Entry<'a>> {
        reports.iter().enumerate().map(|(table, report)| self.entry(table, report)).collect()
    }
}

/// The report of a table that fails in the plan.
pub(crate) fn failed_in_plan(table: &FailedTable, mode: Mode) -> TableReport {
    let mut report = TableReport::new(table.name.plain(), mode, table.strategy, table.apply, Format::Text);
    report.fail(&table.error);
    report
}
