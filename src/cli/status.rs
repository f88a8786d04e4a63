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

/// Show the state of each table after the last runs
///
/// Reads the state that runs record on the target: when each table was last applied, its number of rows, how long it was
/// locked, its watermark, and why the last run failed. Runs in progress are shown with their phase. Does not connect to
/// the source.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Status {
    #[command(flatten)]
    config: ConfigFile,

    /// Fail if a table was last applied longer ago than this: 26h, 90min
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    max_age: Option<Duration>,

    /// Print the status as JSON
    #[arg(long)]
    json: bool,
}

/// The indent of continuation lines.
const INDENT: usize = 8;

const EXAMPLES: &str = "\
Examples:
  bulkload status
      show the tables of bulkload.toml
  bulkload status -c nightly.toml --max-age 26h
      monitor a nightly job; the exit code tells if it ran

Exit codes: 0 all tables are up to date; 1 a table's last run failed, was
longer ago than --max-age, or the table was never applied; 2 the status could
not be read from the target.";

impl Status {
    /// Reads and prints the status.
    pub(super) async fn execute(&self, signals: &Signals) -> Result<Exit> {
        let (config, is_source_known) = self.config.load_for_target()?;
        let options = Options { cancel: signals.token(), ..Options::default() };
        let status = Box::pin(commands::status(config, self.max_age, is_source_known, &options)).await?;
        if self.json {
            let json = serde_json::to_string_pretty(&status).map_err(|error| {
                Error::new(
                    Phase::Record,
                    Kind::Internal,
                    format!("cannot serialize the status as JSON: {error}"),
                )
            })?;
            terminal::print(json)?;
        } else {
            terminal::print_lines(&status, INDENT)?;
        }
        Ok(if status.ok() { Exit::Done } else { Exit::TableFailed })
    }
}
