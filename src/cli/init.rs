//! `bulkload init`

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use super::signals::Signals;
use super::terminal;
use crate::commands::{self, InitRequest};
use crate::config::{Located, SOURCE_URL_VARIABLE, Secret, TARGET_URL_VARIABLE, process_env};
use crate::error::{Error, Kind, Location, Phase, Result};
use crate::figures;
use crate::run::Options;

/// Write a config from both catalogs
///
/// Reads both catalogs and writes a commented config with every table that exists on both sides: its key, columns that
/// the target lacks, foreign keys, the scope that separates this source's rows from others, and the apply method that
/// would be chosen. The config passes `bulkload plan` unchanged and contains no password. Changes nothing else.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Init {
    /// Source database; default: SOURCE_DATABASE_URL
    #[arg(long, value_name = "URL")]
    source: Option<String>,

    /// Target database; default: TARGET_DATABASE_URL
    #[arg(long, value_name = "URL")]
    target: Option<String>,

    /// Schema whose tables to include
    #[arg(long, value_name = "S", default_value = "public")]
    schema: String,

    /// Config file to write
    #[arg(short = 'c', long = "config", value_name = "FILE", default_value = "bulkload.toml")]
    path: PathBuf,

    /// Overwrite an existing config file
    #[arg(long)]
    force: bool,
}

const EXAMPLES: &str = "\
Examples:
  bulkload init
      write bulkload.toml for SOURCE_DATABASE_URL and TARGET_DATABASE_URL
  bulkload init --source 'service=desktop' --target 'service=app' -c app.toml
      write app.toml for other databases

Exit codes: 0 the config is written; 2 it is not, and the message says why.";

impl Init {
    /// Writes the config and prints the next steps.
    pub(super) async fn execute(&self, signals: &Signals) -> Result<Exit> {
        self.refuse_to_overwrite()?;
        let request = InitRequest {
            source: url(self.source.as_deref(), "--source", SOURCE_URL_VARIABLE)?,
            target: url(self.target.as_deref(), "--target", TARGET_URL_VARIABLE)?,
            schema: self.schema.clone(),
        };
        let options = Options { cancel: signals.token(), ..Options::default() };
        let proposal = Box::pin(commands::init(&request, options)).await?;
        self.write(&proposal.text)?;
        let file = self.path.display();
        let mut text = format!(
            "{file}: {}, {} on one side only\n",
            figures::counted(proposal.tables as u64, "table"),
            figures::count(proposal.unmatched as u64)
        );
        for (name, why) in &proposal.refused {
            let _ = writeln!(text, "left out {}: {why}", name.plain());
        }
        for name in &proposal.undecided {
            let _ = writeln!(
                text,
                "strategy = \"upsert\" for {}: the owner of its rows is unknown, so nothing is deleted",
                name.plain()
            );
        }
        let given = [(&self.source, SOURCE_URL_VARIABLE), (&self.target, TARGET_URL_VARIABLE)];
        let unset: Vec<&str> =
            given.iter().filter(|(given, _)| given.is_some()).map(|(_, variable)| *variable).collect();
        text.push_str("\nNext:\n");
        if !unset.is_empty() {
            let _ = writeln!(text, "  set {}: the config reads the URLs from there", unset.join(" and "));
        }
        let _ =
            writeln!(text, "  read the comments in it: you decide on scope, watermark and renamed columns");
        let option = if self.path.as_path() == std::path::Path::new("bulkload.toml") {
            String::new()
        } else {
            format!(" -c {file}")
        };
        let _ = write!(text, "  bulkload plan{option}");
        terminal::print(text)?;
        Ok(Exit::Done)
    }

    /// Refuses an existing file before any work is done.
    fn refuse_to_overwrite(&self) -> Result<()> {
        if self.force || !self.path.exists() {
            return Ok(());
        }
        Err(exists(&self.path))
    }

    fn write(&self, text: &str) -> Result<()> {
        let mut options = std::fs::OpenOptions::new();
        options.write(true);
        if self.force {
            options.create(true).truncate(true)
        } else {
            options.create_new(true)
        };
        let written = options
            .open(&self.path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
        written.map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => exists(&self.path),
            _ => Error::io(Phase::Config, format!("cannot write {}", self.path.display()), &e)
                .kind_is(Kind::Config),
        })
    }
}

fn exists(path: &std::path::Path) -> Error {
    Error::new(Phase::Config, Kind::Config, format!("{} already exists", path.display()))
        .hint("Name another file with -c, or add --force to overwrite it.")
}

fn url(given: Option<&str>, option: &str, variable: &str) -> Result<Located<Secret>> {
    let (url, from) = match given {
        Some(url) => (Some(url.to_owned()), option.to_owned()),
        None => {
            let url = process_env(variable).filter(|url| !url.is_empty());
            (url, format!("environment variable {variable}"))
        }
    };
    let url = url.ok_or_else(|| {
        Error::new(Phase::Config, Kind::Config, format!("neither {option} nor {variable} is given"))
            .hint(format!("Set {variable} to the database's URL: postgresql://user@host/database"))
    })?;
    Ok(Located { value: Secret::new(url), at: Location { file: from.into(), line: 0, column: 0 } })
}
