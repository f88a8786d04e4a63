//! The sessions of a run: who they are to the servers, and how they are set.

use std::time::Duration;

use crate::config::RunConfig;
use crate::pg::session::{SessionSettings, Side};
use crate::plan::{Plan, TablePlan};
use crate::run::id::RunId;

/// Who only looks gives up at once.
const WATCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes the settings of each role. Every session is named `bulkload/<run id>/<role>`.
#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    run: RunId,
    config: RunConfig,
}

impl Sessions {
    pub(crate) fn new(run: &RunId, config: &RunConfig) -> Self {
        Self { run: run.clone(), config: config.clone() }
    }

    /// Gives up locks sooner than the config says.
    pub(crate) fn wait_for_locks_at_most(&mut self, limit: Duration) {
        self.config.lock_wait = self.config.lock_wait.min(limit);
        self.config.lock_timeout = self.config.lock_timeout.min(limit);
    }

    fn of(&self, side: Side, role: &str) -> SessionSettings {
        let mut settings = SessionSettings::new(side, format!("bulkload/{}/{role}", self.run));
        settings.connect_timeout = self.config.connect_timeout;
        settings.statement_timeout = self.config.statement_timeout;
        settings
    }

    /// How the names of all of them begin.
    pub(crate) fn name(&self) -> String {
        format!("bulkload/{}/", self.run)
    }

    /// How long a lock may be waited for that makes nobody else wait.
    pub(crate) fn lock_wait(&self) -> Duration {
        self.config.lock_wait.max(self.config.lock_timeout)
    }

    /// Looks at whom the others wait for.
    pub(crate) fn watch(&self, side: Side) -> SessionSettings {
        let mut settings = self.of(side, "watch");
        settings.lock_timeout = WATCH_TIMEOUT;
        settings.statement_timeout = WATCH_TIMEOUT;
        settings
    }

    /// Reads a catalog, counts, holds advisory locks, writes state. What it reads somebody may have locked exclusively;
    /// nobody queues behind its weak locks, so that it may wait as long as locks may be waited for at all.
    pub(crate) fn control(&self, side: Side) -> SessionSettings {
        let mut settings = self.of(side, "control");
        settings.lock_timeout = self.lock_wait();
        settings
    }

    /// Parses the user's SQL on the source, for whose weak locks it may wait as [`Sessions::control`].
    pub(crate) fn source_statements(&self) -> SessionSettings {
        let mut settings = self.of(Side::Source, "plan").for_users_sql();
        settings.lock_timeout = self.lock_wait();
        settings
    }

    /// Parses the user's SQL on the target, likewise.
    pub(crate) fn target_statements(&self) -> SessionSettings {
        let mut settings = self.of(Side::Target, "plan");
        settings.lock_timeout = self.lock_wait();
        settings.keep_search_path = true;
        settings
    }

    /// Reads the snapshot. The user's SQL runs in it. Bytes that are no text are for the target to refuse, row by row.
    pub(crate) fn extract(&self) -> SessionSettings {
        let mut settings = self.of(Side::Source, "extract").for_users_sql();
        settings.passes_bytes = true;
        settings
    }

    /// Writes staging, and reads keys of live tables, for whose weak locks it may wait as [`Sessions::control`]. Where it writes
    /// tables that stay, their defaults are computed, which may rely on the role's `search_path`.
    pub(crate) fn load(&self, plan: &Plan) -> SessionSettings {
        let mut settings = self.of(Side::Target, "load");
        settings.lock_timeout = self.lock_wait();
        settings.keep_search_path = plan.tables.iter().any(TablePlan::fills_new_table);
        settings
    }

    /// Judges staged rows. References that the config declares are compared with operators that the role finds. It reads live
    /// tables, too, for whose weak locks it may wait as [`Sessions::control`].
    pub(crate) fn judge(&self) -> SessionSettings {
        let mut settings = self.of(Side::Target, "verify");
        settings.lock_timeout = self.lock_wait();
        settings.keep_search_path = true;
        settings
    }

    /// Applies a group. The triggers of the live tables run in it, which may rely on the role's `search_path`.
    pub(crate) fn apply(&self) -> SessionSettings {
        let mut settings = self.of(Side::Target, "apply");
        settings.keep_search_path = true;
        settings
    }
}
