//! `bulkload status`

use std::time::Duration;

use clap::Args;

use super::exit::Exit;
use super::options::ConfigFile;
use super::signals::Signals;
use super::terminal;
use crate::commands;
use crate::error::{Error, Kind, Phase, Result};
use crate::run::Options;

/// Show what the last runs left, per table
///
/// Reads the state that runs keep on the target: when each table was last applied, with how many rows, for how long it
/// was locked, up to which watermark, and why the last run failed. Runs in progress are shown with their phase. The
/// source is not connected to.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Status {
    #[command(flatten)]
    config: ConfigFile,

    /// A table that was not applied for longer than this is a failure: 26h, 90min
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    max_age: Option<Duration>,

    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// Where the text of a line goes on below the word that it begins with.
const INDENT: usize = 8;

const EXAMPLES: &str = "\
Examples:
  bulkload status
      what is known of the tables of bulkload.toml
  bulkload status -c nightly.toml --max-age 26h
      for monitoring a nightly job; the exit code says whether it ran

Exit codes: 0 all is well; 1 a table's last run failed, or it is older than
--max-age or was never applied; 2 the target could not be asked.";

impl Status {
    /// Asks, and prints the answer.
    pub(super) async fn execute(&self, signals: &Signals) -> Result<Exit> {
        let (config, is_source_known) = self.config.load_for_target()?;
        let options = Options { cancel: signals.token(), ..Options::default() };
        let status = Box::pin(commands::status(config, self.max_age, is_source_known, &options)).await?;
        if self.json {
            let json = serde_json::to_string_pretty(&status).map_err(|error| {
                Error::new(Phase::Record, Kind::Internal, format!("the status is not JSON: {error}"))
            })?;
            terminal::print(json)?;
        } else {
            terminal::print_lines(&status, INDENT)?;
        }
        Ok(if status.ok() { Exit::Done } else { Exit::TableFailed })
    }
}
