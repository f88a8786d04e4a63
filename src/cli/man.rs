//! `bulkload man`

use std::path::PathBuf;

use clap::Args;
use clap_mangen::Man as Page;

use super::exit::Exit;
use super::terminal;
use crate::error::{Error, Phase, Result};

/// Print the manual page, or write one page per subcommand
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Man {
    /// Write bulkload.1, bulkload-sync.1, ... into this directory
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  bulkload man | man -l -
  bulkload man --dir /usr/local/share/man/man1";

impl Man {
    /// Prints the manual page, or writes all pages to the directory.
    pub(super) fn execute(&self, cli: clap::Command) -> Result<Exit> {
        if let Some(dir) = &self.dir {
            clap_mangen::generate_to(cli, dir).map_err(|error| {
                Error::io(Phase::Config, format!("cannot write manual pages to {}", dir.display()), &error)
                    .hint("Name an existing directory that you can write to.")
            })?;
            return Ok(Exit::Done);
        }
        let mut page = Vec::new();
        Page::new(cli)
            .render(&mut page)
            .map_err(|error| Error::io(Phase::Config, "cannot write the manual page", &error))?;
        terminal::print_bytes(&page)?;
        Ok(Exit::Done)
    }
}
