//! `bulkload completions`

use clap::{Args, ValueEnum as _};
use clap_complete::Shell;

use super::exit::Exit;
use super::terminal;
use crate::error::Result;

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Completions {
    /// Shell to generate the script for
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  bulkload completions bash > /etc/bash_completion.d/bulkload
  bulkload completions zsh > ~/.zfunc/_bulkload";

/// Completes the shell names in fish: clap's generated script completes only options there.
const FISH_SHELLS: &str = "complete -c bulkload -n \"__fish_bulkload_using_subcommand completions\" -f -a";

impl Completions {
    /// Prints the script.
    pub(super) fn execute(&self, cli: &mut clap::Command) -> Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, cli, "bulkload", &mut script);
        if self.shell == Shell::Fish {
            let shells = Shell::value_variants().iter().map(ToString::to_string).collect::<Vec<_>>();
            script.extend_from_slice(format!("{FISH_SHELLS} \"{}\"\n", shells.join(" ")).as_bytes());
        }
        terminal::print_bytes(&script)?;
        Ok(Exit::Done)
    }
}
