//! `bulkload verify`

use clap::Args;

use super::exit::Exit;
use super::options::{ConfigFile, Tables};
use super::signals::Signals;
use super::terminal;
use crate::commands;
use crate::error::Result;
use crate::run::Options;

/// Compare row counts and checksums of source and target; changes nothing
///
/// Both servers compute checksums of the configured rows, part by part. If a part differs, verify compares its keys and
/// lists the first ones that differ. Rows that runs rejected or skipped are taken into account. Columns that are not
/// compared are listed with the reason. Rows written to either side since the last run count as differences, so verify
/// while no other session writes.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Verify {
    #[command(flatten)]
    config: ConfigFile,

    #[command(flatten)]
    tables: Tables,
}

/// The indent of continuation lines.
const INDENT: usize = 9;

const EXAMPLES: &str = "\
Examples:
  bulkload verify
      compare all tables of bulkload.toml
  bulkload verify -c nightly.toml --table public.orders
      compare one table

Exit codes: 0 source and target agree in everything the config compares; 1 they
differ, or a table or column could not be compared; 2 nothing could be
compared.";

impl Verify {
    /// Compares source and target and prints the findings.
    pub(super) async fn execute(&self, signals: &Signals) -> Result<Exit> {
        let config = self.config.load()?;
        let tables = self.tables.of(&config)?;
        let options = Options { tables, cancel: signals.token(), ..Options::default() };
        let verification = Box::pin(commands::verify(config, options)).await?;
        terminal::print_lines(&verification, INDENT)?;
        Ok(if verification.ok() { Exit::Done } else { Exit::TableFailed })
    }
}
