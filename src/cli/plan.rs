//! `bulkload plan`

use clap::Args;

use super::exit::Exit;
use super::options::{ConfigFile, Selection};
use super::signals::Signals;
use super::terminal;
use crate::error::{Error, Kind, Phase, Result};
use crate::run::{self, Options};

/// Show what sync would do, and why; changes nothing
///
/// Reads both catalogs. Prints each table's columns, key, wire format, chunks, and apply method with the reason for it,
/// followed by groups, warnings, and the disk space that the target needs.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Plan {
    #[command(flatten)]
    config: ConfigFile,

    #[command(flatten)]
    selection: Selection,

    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

/// The column at which the details of a table start.
const INDENT: usize = "    method   ".len();

const EXAMPLES: &str = "\
Examples:
  bulkload plan
      show the plan for all tables of bulkload.toml
  bulkload plan --table public.orders --json
      print the plan for one table as JSON

Exit codes: 0 sync can start; 1 it can start, but a table would fail;
2 it cannot start, and the message says why.";

impl Plan {
    /// Prepares and prints the plan.
    pub(super) async fn execute(&self, signals: &Signals) -> Result<Exit> {
        let config = self.config.load()?;
        let options = Options {
            mode: self.selection.mode(),
            tables: self.selection.tables(&config)?,
            cancel: signals.token(),
            ..Options::default()
        };
        let plan = Box::pin(run::plan(config, options)).await?;
        let exit = if plan.failed.is_empty() { Exit::Done } else { Exit::TableFailed };
        if self.json {
            let json = serde_json::to_string_pretty(&plan).map_err(|error| {
                Error::new(Phase::Plan, Kind::Internal, format!("cannot serialize the plan as JSON: {error}"))
            })?;
            terminal::print(json)?;
        } else {
            terminal::print_lines(plan, INDENT)?;
        }
        Ok(exit)
    }
}
