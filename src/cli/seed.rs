//! `bulkload seed`

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use encoding_rs::Encoding;

use super::exit::Exit;
use super::options::{Globals, table_name};
use super::publish::Attempt;
use super::signals::Signals;
use crate::commands::{self, SeedRequest, Seeding};
use crate::config::{
    Characters, Dialect, ENCODINGS, Limit, Located, Said, Secret, Strategy, TARGET_URL_VARIABLE, character,
    encoding_of, process_env,
};
use crate::error::{Error, Kind, Location, Phase, Result};
use crate::extract::csv;
use crate::figures;
use crate::pg::name::{Ident, TableName};
use crate::report::{Mode, Report, result};
use crate::run::{self, Options, RunId};

/// Load CSV files into tables, without a config
///
/// The file name selects the table: public.orders.csv, orders.csv.gz, 02_orders.csv. The header names the columns, in any
/// order. Tables are loaded into staging in the order of their foreign keys, verified, and applied in one short
/// transaction. Malformed records go to the rejects file with their line numbers.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Seed {
    /// Files or folders; - is standard input
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,

    /// Target database; default: TARGET_DATABASE_URL
    #[arg(long, value_name = "URL")]
    target: Option<String>,

    /// Load all files into this table; write its name as in SQL
    #[arg(long, value_name = "NAME", value_parser = table_name)]
    table: Option<TableName>,

    /// What happens to existing rows: replace, upsert or insert; required if a
    /// table is not empty
    #[arg(long, value_name = "S", hide_possible_values = true)]
    strategy: Option<StrategyWord>,

    /// Replace or update only rows for which this condition is true
    #[arg(long, value_name = "SQL")]
    scope: Option<String>,

    /// Columns that identify a row; default: the primary key
    #[arg(long, value_name = "COLS", value_delimiter = ',', value_parser = column_name)]
    key: Vec<Ident>,

    /// Field delimiter: one character, or \t for a tab
    #[arg(long, value_name = "C", default_value = ",", value_parser = delimiter)]
    delimiter: u8,

    /// Quote character; '' disables quoting
    #[arg(long, value_name = "C", default_value = "\"", value_parser = quote)]
    quote: Quote,

    /// The files have no header line; fields match the table's columns by position
    #[arg(long)]
    no_header: bool,

    /// Encoding of the files, such as windows-1252; a byte order mark overrides it
    #[arg(long, value_name = "NAME", default_value = "utf-8", value_parser = encoding)]
    encoding: &'static Encoding,

    /// Unquoted text that means NULL; default: an empty unquoted field is NULL
    #[arg(long, value_name = "S")]
    null: Option<String>,

    /// Fail a table that rejects more rows than this: a number or a percentage
    #[arg(long, value_name = "N|P%", default_value = "5%", value_parser = str::parse::<Limit>)]
    max_rejects: Limit,

    /// Number of parallel COPY streams; default: one per core
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=256))]
    jobs: Option<usize>,

    /// Write the run's report to this file as JSON; - is stdout
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Replace or update rows without asking
    #[arg(long)]
    yes: bool,
}

const EXAMPLES: &str = "\
Examples:
  bulkload seed seed/
      load every CSV file of a folder into empty tables
  bulkload seed orders.csv.gz --strategy upsert --yes
      load one file and update rows with the same key
  pg_dump_to_csv | bulkload seed - --table public.orders
      load the output of another program

Exit codes: 0 all tables applied; 1 at least one failed; 2 could not start;
130 and 143 after SIGINT and SIGTERM.";

/// `--strategy`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StrategyWord {
    /// Replace existing rows with the files' rows
    Replace,
    /// Update rows with the same key, insert the others, delete nothing
    Upsert,
    /// Insert rows with new keys, keep existing rows
    Insert,
}

impl From<StrategyWord> for Strategy {
    fn from(word: StrategyWord) -> Self {
        match word {
            StrategyWord::Replace => Self::Replace,
            StrategyWord::Upsert => Self::Upsert,
            StrategyWord::Insert => Self::Insert,
        }
    }
}

fn delimiter(text: &str) -> Result<u8, String> {
    character(text)
}

/// `--quote`
#[derive(Debug, Clone, Copy)]
struct Quote(Option<u8>);

fn quote(text: &str) -> Result<Quote, String> {
    if text.is_empty() { Ok(Quote(None)) } else { character(text).map(Some).map(Quote) }
}

fn encoding(text: &str) -> Result<&'static Encoding, String> {
    encoding_of(text).ok_or_else(|| format!("expected the name of an encoding: {ENCODINGS}, …"))
}

fn column_name(text: &str) -> Result<Ident, String> {
    text.parse().map_err(|reason: crate::pg::name::NotAName| reason.to_string())
}

impl Seed {
    /// Runs the seed and prints the result.
    pub(super) async fn execute(&self, globals: &Globals, signals: &Signals) -> Result<Exit> {
        let attempt = Attempt::begin(self.report.as_deref(), Mode::Full)?;
        let outcome = self.run(attempt.run.clone(), globals, signals).await;
        attempt.publish(outcome, globals)
    }

    async fn run(&self, run: RunId, globals: &Globals, signals: &Signals) -> Result<Report> {
        let request = self.request()?;
        let options = Options {
            run,
            jobs: self.jobs,
            progress: globals.progress(),
            cancel: signals.token(),
            ..Options::default()
        };
        let Seeding { config, overwritten } = Box::pin(commands::prepare_seed(request, &options)).await?;
        if !overwritten.is_empty() && !self.yes {
            self.ask(&overwritten)?;
        }
        Box::pin(run::sync(config, options)).await
    }

    fn request(&self) -> Result<SeedRequest> {
        let default = Dialect::default().characters;
        let characters = Characters { delimiter: self.delimiter, quote: self.quote.0, ..default };
        let dialect = Dialect {
            characters,
            header: !self.no_header,
            null: self.null.clone().unwrap_or_default(),
            encoding: self.encoding,
            said: Said::Flags,
        };
        dialect.check().map_err(|(key, what)| {
            let option = if key == "quote" { "delimiter" } else { key };
            usage(format!(
                "--{option}: it {}",
                if key == "quote" { "is also the quote character" } else { &what }
            ))
        })?;
        let mut files = Vec::new();
        for path in &self.paths {
            files.extend(files_of(path)?);
        }
        if self.table.is_none() && files.iter().any(|file| is_stdin(file)) {
            return Err(usage("cannot derive a table name from standard input".to_owned())
                .hint("Name the table: --table public.orders"));
        }
        Ok(SeedRequest {
            target: self.target()?,
            files,
            table: self.table.clone(),
            strategy: self.strategy.map(Strategy::from),
            scope: self.scope.clone(),
            key: (!self.key.is_empty()).then(|| self.key.clone()),
            dialect,
            max_rejects: self.max_rejects,
        })
    }

    fn target(&self) -> Result<Located<Secret>> {
        let (url, from) = match &self.target {
            Some(url) => (Some(url.clone()), "--target".to_owned()),
            None => {
                let url = process_env(TARGET_URL_VARIABLE).filter(|url| !url.is_empty());
                (url, format!("environment variable {TARGET_URL_VARIABLE}"))
            }
        };
        let url = url.ok_or_else(|| {
            usage(format!("no target: neither --target nor {TARGET_URL_VARIABLE} is given"))
                .hint(format!("Set {TARGET_URL_VARIABLE}=postgresql://user@host/database."))
        })?;
        Ok(Located { value: Secret::new(url), at: Location { file: from.into(), line: 0, column: 0 } })
    }

    /// Asks whether rows may be overwritten. Refuses if there is no terminal to ask on.
    fn ask(&self, tables: &[TableName]) -> Result<()> {
        let names: Vec<String> = tables.iter().map(TableName::plain).collect();
        let what = match self.strategy {
            Some(StrategyWord::Upsert) => "updated",
            _ => "replaced",
        };
        let count = figures::counted(names.len() as u64, "table");
        let rows = format!("rows of {count} would be {what}: {}", result::some_of(&names));
        let can_ask = io::stdin().is_terminal() && io::stderr().is_terminal();
        if !can_ask {
            return Err(Error::new(Phase::Plan, Kind::Refused, rows)
                .hint("Add --yes to confirm. Nothing was changed."));
        }
        let mut stderr = anstream::stderr().lock();
        let _ = write!(stderr, "{rows}. Continue? [y/N] ");
        let _ = stderr.flush();
        let mut answer = String::new();
        let _ = io::stdin().lock().read_line(&mut answer);
        if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
            return Ok(());
        }
        Err(Error::new(Phase::Plan, Kind::Refused, "not confirmed: nothing was changed"))
    }
}

fn usage(message: String) -> Error {
    Error::new(Phase::Config, Kind::Config, message)
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// Returns the files that a path denotes: the file itself, the CSV files of a folder, or the matches of a pattern.
fn files_of(path: &Path) -> Result<Vec<PathBuf>> {
    if is_stdin(path) || (path.exists() && !path.is_dir()) {
        return Ok(vec![path.to_owned()]);
    }
    let shown = path.display();
    csv::refuse_hidden_away(path)?;
    if !path.is_dir() {
        let pattern = path.to_string_lossy();
        let found = if pattern.contains(['*', '?', '[']) { glob::glob(&pattern).ok() } else { None };
        let is_meant = |file: &PathBuf| !file.is_dir() && (!csv::is_hidden(file) || csv::is_hidden(path));
        let found: Result<Vec<PathBuf>> =
            found.into_iter().flatten().map(|path| path.map_err(|e| csv::unreadable(&e))).collect();
        let files: Vec<PathBuf> = found?.into_iter().filter(is_meant).collect();
        return if files.is_empty() { Err(usage(format!("no such file: {shown}"))) } else { Ok(files) };
    }
    let failed = |e: io::Error| usage(format!("cannot read the folder {shown}: {}", csv::words(&e)));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        if file.is_dir() || !commands::is_csv(&file) {
            continue;
        }
        if csv::is_hidden(&file) {
            tracing::warn!(phase = %Phase::Config, "skipped hidden file {}", file.display());
        } else {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(usage(format!("the folder {shown} contains no CSV files"))
            .hint("CSV files end in .csv, .csv.gz or .csv.zst. Name files with other endings one by one."));
    }
    files.sort();
    Ok(files)
}
