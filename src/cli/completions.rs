//! `bulkload completions`

use clap::Args;
use clap_complete::Shell;

use super::exit::Exit;
use super::terminal;
use crate::error::Result;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  bulkload completions bash > /etc/bash_completion.d/bulkload
  bulkload completions zsh > ~/.zfunc/_bulkload";

impl Completions {
    /// Prints the script.
    pub(super) fn execute(&self, cli: &mut clap::Command) -> Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, cli, "bulkload", &mut script);
        terminal::print_bytes(&script)?;
        Ok(Exit::Done)
    }
}
