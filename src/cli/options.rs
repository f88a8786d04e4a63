//! Options shared by several subcommands.

use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

use crate::config::{Config, SOURCE_URL_VARIABLE, process_env};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::name::TableName;
use crate::report::Mode;
use crate::report::progress::ProgressMode;

/// Options of every subcommand.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Globals {
    /// Log more: -v debug, -vv trace
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub(super) verbose: u8,

    /// Log warnings and errors only
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,

    /// Format of log lines and errors on stderr
    #[arg(
        long,
        global = true,
        value_name = "text|json",
        default_value = "text",
        hide_possible_values = true
    )]
    pub(super) log_format: LogFormat,

    /// When to use colors; auto: on a terminal, unless NO_COLOR is set
    #[arg(
        long,
        global = true,
        value_name = "auto|always|never",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub(super) color: ColorWhen,

    /// Log progress every few seconds instead of drawing progress bars
    #[arg(long, global = true)]
    pub(super) no_progress: bool,
}

impl Globals {
    /// Returns whether progress bars may be drawn.
    pub(super) fn progress(&self) -> ProgressMode {
        if self.no_progress || self.log_format == LogFormat::Json {
            ProgressMode::Never
        } else {
            ProgressMode::Auto
        }
    }
}

/// `--log-format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// Lines of text
    Text,
    /// One JSON object per line
    Json,
}

/// `--color`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ColorWhen {
    /// On a terminal
    Auto,
    /// In files and pipes too
    Always,
    /// Never
    Never,
}

/// Stand-in for the source URL in commands that do not connect to the source.
const STAND_IN: &str = "postgresql://unknown";

/// The config file option.
#[derive(Debug, Clone, Args)]
pub(super) struct ConfigFile {
    /// Config file to read
    #[arg(short = 'c', long = "config", value_name = "FILE", default_value = "bulkload.toml")]
    path: PathBuf,
}

impl ConfigFile {
    /// Reads and validates the config.
    pub(super) fn load(&self) -> Result<Config> {
        Config::load(&self.path, &process_env)
    }

    /// Reads and validates the config, and also returns its text.
    pub(super) fn load_with_text(&self) -> Result<(Config, String)> {
        let config = self.load()?;
        let text = std::fs::read_to_string(&self.path).map_err(|error| {
            Error::io(Phase::Config, format!("cannot read the config {}", self.path.display()), &error)
        })?;
        Ok((config, text))
    }

    /// Reads and validates the config for a command that connects only to the target. Also returns whether the source URL
    /// is the real one: a stand-in replaces it if SOURCE_DATABASE_URL is not set.
    pub(super) fn load_for_target(&self) -> Result<(Config, bool)> {
        let stand_in = |name: &str| {
            process_env(name).or_else(|| (name == SOURCE_URL_VARIABLE).then(|| STAND_IN.to_owned()))
        };
        let config = Config::load(&self.path, &stand_in)?;
        let is_known = config.source.as_ref().is_some_and(|source| source.value.expose() != STAND_IN);
        Ok((config, is_known))
    }
}

/// The mode and table options.
#[derive(Debug, Clone, Args)]
pub(super) struct Selection {
    /// Read all rows, or only rows that changed since the last run
    #[arg(long, value_name = "full|incremental", default_value = "full", hide_possible_values = true)]
    mode: ModeWord,

    #[command(flatten)]
    tables: Tables,
}

/// The table option.
#[derive(Debug, Clone, Args)]
pub(super) struct Tables {
    /// Process only this table of the config; write its name as in SQL; repeatable
    #[arg(long = "table", value_name = "NAME", value_parser = table_name)]
    tables: Vec<TableName>,
}

impl Selection {
    /// Returns the requested mode.
    pub(super) fn mode(&self) -> Mode {
        match self.mode {
            ModeWord::Full => Mode::Full,
            ModeWord::Incremental => Mode::Incremental,
        }
    }

    /// Returns the requested tables, see [`Tables::of`].
    pub(super) fn tables(&self, config: &Config) -> Result<Vec<TableName>> {
        self.tables.of(config)
    }
}

impl Tables {
    /// Returns the requested tables without duplicates; an empty list means all tables.
    ///
    /// # Errors
    /// `Kind::Config` if the config lacks one of them.
    pub(super) fn of(&self, config: &Config) -> Result<Vec<TableName>> {
        let known = || config.tables.iter().map(|table| &table.name.value);
        match self.tables.iter().find(|name| !known().any(|other| other == *name)) {
            None => Ok(known().filter(|name| self.tables.contains(name)).cloned().collect()),
            Some(missing) => {
                let known: Vec<String> = known().map(TableName::plain).collect();
                Err(Error::new(
                    Phase::Config,
                    Kind::Config,
                    format!("--table {0}: the config has no table {0}", missing.plain()),
                )
                .hint(format!("It has: {}.", known.join(", "))))
            }
        }
    }
}

/// Parses a table name as SQL does.
pub(super) fn table_name(text: &str) -> Result<TableName, String> {
    text.parse().map_err(|reason: crate::pg::name::NotAName| reason.to_string())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModeWord {
    /// All rows
    Full,
    /// Rows that changed since the last run
    Incremental,
}
