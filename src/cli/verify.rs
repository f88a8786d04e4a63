//! `bulkload verify`

use clap::Args;

use super::exit::Exit;
use super::options::{ConfigFile, Tables};
use super::signals::Signals;
use super::terminal;
use crate::commands;
use crate::error::Result;
use crate::run::Options;

/// Compare source and target: counts and checksums; changes nothing
///
/// Both servers compute checksums of the rows that the config describes, part by part; where a part differs, its keys
/// are compared and the first ones that differ are named. Rows that runs rejected or skipped are taken into account.
/// Columns that are not compared are named, with the reason. What was written to either side since the last run differs,
/// too: compare when nobody writes.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Verify {
    #[command(flatten)]
    config: ConfigFile,

    #[command(flatten)]
    tables: Tables,
}

/// Where the text of a line goes on below the word that it begins with.
const INDENT: usize = 9;

const EXAMPLES: &str = "\
Examples:
  bulkload verify
      all tables of bulkload.toml
  bulkload verify -c nightly.toml --table public.orders
      one of them

Exit codes: 0 source and target agree, in all that the config has compared;
1 they differ, or a table or a column could not be compared; 2 nothing could be
compared.";

impl Verify {
    /// Compares, and prints what was found.
    pub(super) async fn execute(&self, signals: &Signals) -> Result<Exit> {
        let config = self.config.load()?;
        let tables = self.tables.of(&config)?;
        let options = Options { tables, cancel: signals.token(), ..Options::default() };
        let verification = Box::pin(commands::verify(config, options)).await?;
        terminal::print_lines(&verification, INDENT)?;
        Ok(if verification.ok() { Exit::Done } else { Exit::TableFailed })
    }
}
