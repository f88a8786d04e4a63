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
use crate::report::figures;
use crate::run::Options;

/// Write a config from both catalogs
///
/// Reads what both databases have and writes a commented config for every table that is on both sides: its key, the
/// columns that the target lacks, foreign keys as they will be used, what tells rows of others apart, and the method
/// that would be chosen. It passes `bulkload plan` as it is. No password is written. Nothing else is changed.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Init {
    /// Where rows come from; default: SOURCE_DATABASE_URL
    #[arg(long, value_name = "URL")]
    source: Option<String>,

    /// Where they go; default: TARGET_DATABASE_URL
    #[arg(long, value_name = "URL")]
    target: Option<String>,

    /// The schema whose tables are wanted
    #[arg(long, value_name = "S", default_value = "public")]
    schema: String,

    /// The config to write
    #[arg(short = 'c', long = "config", value_name = "FILE", default_value = "bulkload.toml")]
    path: PathBuf,

    /// Write over a config that exists
    #[arg(long)]
    force: bool,
}

const EXAMPLES: &str = "\
Examples:
  bulkload init
      SOURCE_DATABASE_URL and TARGET_DATABASE_URL into bulkload.toml
  bulkload init --source 'service=desktop' --target 'service=app' -c app.toml
      other databases, another file

Exit codes: 0 the config is written; 2 it is not, and the message says why.";

impl Init {
    /// Writes the config and says what to do next.
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
            "{file}: {}, {} of one side only\n",
            figures::counted(proposal.tables as u64, "table"),
            figures::count(proposal.unmatched as u64)
        );
        for (name, why) in &proposal.refused {
            let _ = writeln!(text, "left out {}: {why}", name.plain());
        }
        for name in &proposal.undecided {
            let _ = writeln!(
                text,
                "strategy = \"upsert\" for {}: whose rows are whose cannot be told, so that nothing is deleted",
                name.plain()
            );
        }
        let given = [(&self.source, SOURCE_URL_VARIABLE), (&self.target, TARGET_URL_VARIABLE)];
        let unset: Vec<&str> =
            given.iter().filter(|(given, _)| given.is_some()).map(|(_, variable)| *variable).collect();
        text.push_str("\nNext:\n");
        if !unset.is_empty() {
            let _ = writeln!(text, "  set {}: the config takes the URLs from there", unset.join(" and "));
        }
        let _ =
            writeln!(text, "  look at its comments: scope, watermark, renamed columns are yours to decide");
        let option = if self.path.as_path() == std::path::Path::new("bulkload.toml") {
            String::new()
        } else {
            format!(" -c {file}")
        };
        let _ = write!(text, "  bulkload plan{option}");
        terminal::print(text)?;
        Ok(Exit::Done)
    }

    /// Before anything else is done: nobody wants to wait for that.
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
    Error::new(Phase::Config, Kind::Config, format!("{} exists", path.display()))
        .hint("Name another file with -c, or add --force to write over it.")
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
