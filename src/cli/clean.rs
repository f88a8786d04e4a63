//! `bulkload clean`

use clap::Args;

use super::exit::Exit;
use super::options::ConfigFile;
use super::signals::Signals;
use super::terminal;
use crate::commands;
use crate::error::Result;
use crate::run::Options;

/// Remove leftovers of dead runs from the target
///
/// Drops the staging tables of runs that were killed. Running syncs are not affected. Every sync also cleans up when it
/// starts.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Clean {
    #[command(flatten)]
    config: ConfigFile,
}

const EXAMPLES: &str = "\
Example:
  bulkload clean

Exit codes: 0 no leftovers remain; 2 some could not be removed.";

impl Clean {
    /// Cleans up and prints what was removed.
    pub(super) async fn execute(&self, signals: &Signals) -> Result<Exit> {
        let config = self.config.load()?;
        let options = Options { cancel: signals.token(), ..Options::default() };
        let report = Box::pin(commands::clean(config, options)).await?;
        terminal::print(report)?;
        Ok(Exit::Done)
    }
}
