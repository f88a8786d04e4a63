//! `bulkload check`

use clap::Args;

use super::exit::Exit;
use super::options::ConfigFile;
use super::signals::Signals;
use super::terminal;
use crate::commands;
use crate::error::Result;
use crate::run::Options;

/// Check connections, permissions, settings and schema drift; changes nothing
///
/// Connects to both databases and checks that a sync with this config can start: the roles have the required privileges,
/// enough connections are free, and tables and columns match the config.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigFile,
}

/// The column at which findings start.
const INDENT: usize = "problem  ".len();

const EXAMPLES: &str = "\
Example:
  bulkload check -c nightly.toml

Exit codes: 0 sync can start; 1 it can start, but a table would fail; 2 it
cannot start.";

impl Check {
    /// Runs the checks and prints the findings.
    pub(super) async fn execute(&self, signals: &Signals) -> Result<Exit> {
        let config = self.config.load()?;
        let options = Options { cancel: signals.token(), ..Options::default() };
        let report = Box::pin(commands::check(config, options)).await?;
        terminal::print_lines(&report, INDENT)?;
        Ok(match (report.ok(), report.has_failure()) {
            (false, _) => Exit::NotStarted,
            (true, true) => Exit::TableFailed,
            (true, false) => Exit::Done,
        })
    }
}
