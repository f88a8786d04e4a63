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
/// Connects to both databases and proves that a sync of this config could start: that the roles may do what
/// they must, that there are free connections, and that tables and columns are what the config says.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Check {
    #[command(flatten)]
    config: ConfigFile,
}

/// Where findings begin, beneath each other.
const INDENT: usize = "problem  ".len();

const EXAMPLES: &str = "\
Example:
  bulkload check -c nightly.toml

Exit codes: 0 sync could start; 1 it could, but a table would fail; 2 it could
not start.";

impl Check {
    /// Checks, and prints what was found.
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
