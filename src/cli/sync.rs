//! `bulkload sync`

use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use super::options::{ConfigFile, Globals, Selection};
use super::publish::Attempt;
use super::signals::Signals;
use crate::error::Result;
use crate::report::Report;
use crate::run::{self, Options, RunId};

/// Load the config's tables into the target
///
/// Loads every table of the config into staging, verifies it, and applies it to the live table in one short transaction. A
/// table that fails is left unchanged and stops only tables that depend on it. Rerunning after any failure is safe.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Sync {
    #[command(flatten)]
    config: ConfigFile,

    #[command(flatten)]
    selection: Selection,

    /// Number of parallel COPY streams; overrides jobs in the config
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=256))]
    jobs: Option<usize>,

    /// Write the run's report to this file as JSON; - is stdout
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  bulkload sync
      load all tables of bulkload.toml
  bulkload sync -c nightly.toml --report /var/log/bulkload.json
      run a nightly job and write its report
  bulkload sync --table public.orders --table '\"Order Lines\"' --jobs 2
      load only two tables, with two streams

Exit codes: 0 all tables applied; 1 at least one failed; 2 could not start;
130 and 143 after SIGINT and SIGTERM.";

impl Sync {
    /// Runs the sync and prints the result.
    pub(super) async fn execute(&self, globals: &Globals, signals: &Signals) -> Result<Exit> {
        let attempt = Attempt::begin(self.report.as_deref(), self.selection.mode())?;
        let outcome = self.run(attempt.run.clone(), globals, signals).await;
        attempt.publish(outcome, globals)
    }

    async fn run(&self, run: RunId, globals: &Globals, signals: &Signals) -> Result<Report> {
        let config = self.config.load()?;
        let options = Options {
            run,
            mode: self.selection.mode(),
            tables: self.selection.tables(&config)?,
            jobs: self.jobs,
            progress: globals.progress(),
            cancel: signals.token(),
        };
        Box::pin(run::sync(config, options)).await
    }
}
