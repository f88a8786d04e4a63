//! Phase 6: figures and failures are recorded on the target, and staging is dropped.

pub(crate) mod rejects_file;
pub(crate) mod unstarted;

use tokio_util::sync::CancellationToken;

use self::unstarted::COULD_NOT_START;
use super::stage::{Staged, leftovers};
use crate::error::{Error, Phase, Result};
use crate::pg::name::TableName;
use crate::pg::session::Session;
use crate::report::TableReport;
use crate::report::state::Entry;
use crate::run::apply::table_states::Board;
use crate::run::load::shared::Shared;

/// Completes the rejects files, and enters them in the reports.
pub(crate) async fn rejects(shared: &Shared, board: &mut Board<'_>, cancel: &CancellationToken) {
    let plan = &shared.plan;
    for (table, path) in shared.filters.tidy(plan).await {
        board.rejects_are_in(table, path);
    }
    for (table, entry) in plan.tables.iter().enumerate() {
        board.gave_up(table, shared.filters.parts(table));
        rejects_file::complete(plan, table, shared.filters.rejects_path(entry), cancel).await;
    }
}

impl Staged {
    /// Writes into the state tables what failed, and the figures that were not known when rows were applied.
    pub(crate) async fn record(&self, board: &Board<'_>) {
        let reports: Vec<TableReport> = (0..self.plan.tables.len()).map(|i| board.report(i)).collect();
        let outcome = self.with_control(async |control| {
            let entries = self.entries(&reports);
            for entry in entries.iter().filter(|entry| !entry.table.ok) {
                self.state.record_failed(&control.client, *entry).await?;
            }
            let done: Vec<Entry<'_>> = entries.into_iter().filter(|entry| entry.table.ok).collect();
            self.state.record_figures(&control.client, &done).await
        });
        if let Err(error) = outcome.await {
            tracing::warn!(phase = %Phase::Record, %error, "the run's figures could not be recorded");
        }
    }

    /// Records that the run ended before it loaded anything.
    pub(crate) async fn record_failure(&self, error: &Error) {
        let mut reports = self.blank_reports();
        for report in &mut reports {
            report.fail(error);
            report.error = Some(format!("{COULD_NOT_START}: {error}"));
        }
        let control = self.claim.control().await;
        for entry in self.entries(&reports) {
            if let Err(error) = self.state.record_failed(&control.client, entry).await {
                tracing::warn!(phase = %Phase::Record, %error, "the failure could not be recorded");
                return;
            }
        }
    }

    /// Works with the control session; once more if it broke, which may show only now. The work can be repeated.
    pub(crate) async fn with_control(&self, work: impl AsyncFn(&Session) -> Result<()>) -> Result<()> {
        self.claim.restore().await?;
        let outcome = work(&*self.claim.control().await).await;
        match outcome {
            Err(error) if error.is_transient() => {
                self.claim.restore().await?;
                work(&*self.claim.control().await).await
            }
            outcome => outcome,
        }
    }

    /// Drops the run's staging tables and its ledger entries. What cannot be dropped is left to the next run.
    pub(crate) async fn tidy(&self) {
        let outcome = self.with_control(async |control| {
            let ordinary = self.plan.tables.iter().zip(&self.staging).filter(|(t, _)| !t.fills_new_table());
            let names: Vec<TableName> =
                ordinary.filter_map(|(_, staging)| Some(staging.as_ref()?.name.clone())).collect();
            leftovers::drop_tables(&control.client, &names, leftovers::PATIENT).await?;
            if self.swaps() {
                leftovers::drop_swapped(&control.client, &self.schemas, leftovers::BUSY).await?;
            }
            self.ledger().forget(&control.client).await
        });
        if let Err(error) = outcome.await {
            tracing::warn!(phase = %Phase::Clean, %error, "could not drop staging; the next run will");
        }
    }

    /// Tells the channels of `[run] notify` that something was committed.
    pub(crate) async fn notify(&self) {
        let control = self.claim.control().await;
        for (channel, payload) in &self.plan.run.notify {
            let payload = payload.as_deref().unwrap_or_default();
            let sent = control
                .client
                .execute("select pg_catalog.pg_notify($1, $2)", &[&channel.as_str(), &payload])
                .await;
            if let Err(error) = sent {
                let error = Error::pg(Phase::Record, format!("notifying {}", channel.as_str()), &error);
                tracing::warn!(phase = %Phase::Record, %error, "a notification was not sent");
            }
        }
    }
}
