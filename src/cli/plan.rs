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
/// Reads both catalogs and prints, for each table, the columns, the key, the wire format, the chunks and the
/// apply method with its reason, then groups, warnings, and the disk space that the target will need.
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

/// Where what is said of a table begins.
const INDENT: usize = "    method   ".len();

const EXAMPLES: &str = "\
Examples:
  bulkload plan
      what `bulkload sync` would do
  bulkload plan --table public.orders --json
      one table, for programs

Exit codes: 0 sync could start; 1 it could, but a table would fail;
2 it could not start, and the message says why.";

impl Plan {
    /// Makes and prints the plan.
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
                Error::new(Phase::Plan, Kind::Internal, format!("the plan is not JSON: {error}"))
            })?;
            terminal::print(json)?;
        } else {
            terminal::print_lines(plan, INDENT)?;
        }
        Ok(exit)
    }
}
