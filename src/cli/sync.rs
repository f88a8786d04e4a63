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
/// Loads every table of the config beside the live one, verifies it, and exchanges the contents in one short
/// transaction. A table that fails is left as it was, and does not stop those that do not depend on it.
/// Running again after any failure is safe.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Sync {
    #[command(flatten)]
    config: ConfigFile,

    #[command(flatten)]
    selection: Selection,

    /// COPY streams at once, whatever the config says
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=256))]
    jobs: Option<usize>,

    /// Write the run's figures to a file as JSON; - means stdout
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  bulkload sync
      loads all tables of bulkload.toml
  bulkload sync -c nightly.toml --report /var/log/bulkload.json
      for a nightly job; the exit code says how it went
  bulkload sync --table public.orders --table '\"Order Lines\"' --jobs 2
      two tables only, with two streams

Exit codes: 0 all tables applied; 1 at least one failed; 2 could not start;
130 and 143 after SIGINT and SIGTERM.";

impl Sync {
    /// Runs it and prints the result.
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
