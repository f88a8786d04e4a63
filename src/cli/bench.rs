//! `bulkload bench`

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::exit::Exit;
use super::options::{ConfigFile, Globals, table_name};
use super::publish::refuse_unwritable;
use super::signals::Signals;
use super::terminal;
use crate::bench::{self, Failure, Findings, Job, Outcome, Place, Shape, Subject, Sweep};
use crate::config::{
    ApplyMethod, FormatChoice, SOURCE_URL_VARIABLE, Secret, TARGET_URL_VARIABLE, process_env,
};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::name::TableName;
use crate::report::file;

/// Measure what settings do, and recommend some
///
/// Loads a table again and again with different settings, beside a plain `psql | psql` as the yardstick, and says which
/// settings were faster, how sure that is, and what limits. Everything takes turns, in rounds, so that a machine that
/// slows down does so for all alike; each run is a process of its own.
///
/// By default on two throw-away servers on this machine, with a table that is made up. With --source and --target on
/// those, in a schema of its own that it drops, whatever happens. With --table on a table of the config: the source is
/// only read, and the target's table is left alone; a copy of it is loaded instead.
///
/// The lists --jobs, --chunk, --format and --apply are separated by commas. The first value of each is the base; each
/// list is walked with the others at their first value.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Bench {
    #[command(flatten)]
    config: ConfigFile,

    /// Measure this table of the config, its name written as in SQL
    #[arg(
        long,
        value_name = "NAME",
        value_parser = table_name,
        conflicts_with_all = ["shape", "rows", "rules", "source", "target"]
    )]
    table: Option<TableName>,

    /// Measure from this server; without it, from a throw-away one
    #[arg(long, value_name = "URL")]
    source: Option<String>,

    /// Measure to this server; without it, to a throw-away one
    #[arg(long, value_name = "URL")]
    target: Option<String>,

    /// What to make up: narrow, wide, text, json, or lineitem (TPC-H)
    #[arg(long, value_name = "SHAPE", default_value_t = Shape::Lineitem)]
    shape: Shape,

    /// How many rows to make up
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1_000_000,
        value_parser = clap::value_parser!(u64).range(1..=10_000_000_000)
    )]
    rows: u64,

    /// Apply rules to lineitem: two constants, a column left behind, a lookup,
    /// two references
    #[arg(long)]
    rules: bool,

    /// COPY streams at once, a list [usual: one per core, 1, twice that]
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=256)
    )]
    jobs: Vec<usize>,

    /// Chunk sizes, a list [usual: 128MiB,32MiB]
    #[arg(long, value_name = "SIZE,...", value_delimiter = ',', value_parser = bench::parse_chunk)]
    chunk: Vec<u64>,

    /// Formats, a list of auto, binary, text [usual: auto,text]
    #[arg(long, value_name = "FORMAT,...", value_delimiter = ',', value_parser = bench::parse_format)]
    format: Vec<FormatChoice>,

    /// Apply methods, a list [usual: auto,swap,delta,truncate]
    #[arg(long, value_name = "METHOD,...", value_delimiter = ',', value_parser = bench::parse_method)]
    apply: Vec<ApplyMethod>,

    /// Rounds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,

    /// How long all of it may take; what does not fit is left out, and said
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
    time_limit: Duration,

    /// Write all figures to a file as JSON; - means stdout
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write a page with charts to a file; - means stdout
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  bulkload bench
      a million rows on throw-away servers, the usual settings
  bulkload bench --rows 6000000 --jobs 2,1,4,8 --time-limit 1h --html bench.html
      more of them, with a page of charts
  bulkload bench -c nightly.toml --table public.orders --json orders.json
      what the nightly job's own table and servers make of it

What it prints: two tables, into staging and the whole job; what limits, the
source, the target, the client, the network or a disk, and how that is known;
last the lines for [run] in the config, each with how sure it is. sure: it beat
every other value of its list in every round, in 5 at least; of two values that
are alike one looks so once in 16 times. likely: it beat the base in every
round, in 3 at least. A method that locks others out for longer than the base
is never recommended, only named, with both lock times.

Exit codes: 0 measured; 1 measured, but a setting failed or something could
not be dropped; 2 nothing could be measured; 130 and 143 after SIGINT and
SIGTERM, when everything of its own is dropped.";

impl Bench {
    /// Measures, prints, and writes the files.
    pub(super) async fn execute(&self, globals: &Globals, signals: &Signals) -> Result<Exit> {
        self.refuse_unwritable()?;
        let (place, subject) = self.place_and_subject()?;
        let program = std::env::current_exe()
            .map_err(|e| Error::io(Phase::Config, "cannot find this program's own file", &e))?;
        let job = Job {
            place,
            subject,
            sweep: Sweep {
                jobs: self.jobs.clone(),
                chunk: self.chunk.clone(),
                format: self.format.clone(),
                apply: self.apply.clone(),
            },
            repeat: usize::try_from(self.repeat).unwrap_or(1),
            time_limit: self.time_limit,
            program,
        };
        let measured = Box::pin(bench::bench(&job, &signals.token())).await;
        let Outcome { findings, failures } = measured.map_err(|Failure { error, left }| {
            left.iter().for_each(|error| terminal::show_error(error, globals.log_format));
            error
        })?;
        let mut exit = if failures.is_empty() { Exit::Done } else { Exit::TableFailed };
        let told = self.tell(&findings);
        for error in failures.into_iter().chain(told) {
            terminal::show_error(&error, globals.log_format);
            exit = Exit::TableFailed;
        }
        Ok(exit)
    }

    /// Neither file may be the other one, nor both the standard output: one of them would be lost.
    fn refuse_unwritable(&self) -> Result<()> {
        for (option, path) in [("--json", &self.json), ("--html", &self.html)] {
            if let Some(path) = path {
                refuse_unwritable(option, path)?;
            }
        }
        match (&self.json, &self.html) {
            (Some(json), Some(html)) if file::is_same(json, html) => {
                let is = if is_stdout(Some(json)) { "stdout".to_owned() } else { json.display().to_string() };
                Err(usage(format!("--json and --html are both {is}")).hint("Give each a file of its own."))
            }
            _ => Ok(()),
        }
    }

    fn place_and_subject(&self) -> Result<(Place, Subject)> {
        if let Some(name) = &self.table {
            return self.own_table(name);
        }
        if self.rules && self.shape != Shape::Lineitem {
            return Err(usage(format!("--rules is for --shape lineitem, not for {}", self.shape)));
        }
        let place = match (&self.source, &self.target) {
            (None, None) => Place::ThrowAway,
            (source, target) => Place::Given {
                source: url("--source", source.as_ref(), SOURCE_URL_VARIABLE)?,
                target: url("--target", target.as_ref(), TARGET_URL_VARIABLE)?,
            },
        };
        Ok((place, Subject::Made { shape: self.shape, rows: self.rows, has_rules: self.rules }))
    }

    fn own_table(&self, name: &TableName) -> Result<(Place, Subject)> {
        let (config, text) = self.config.load_with_text()?;
        let found = config.tables.iter().position(|table| table.name.value == *name);
        let entry = found.ok_or_else(|| {
            let known: Vec<String> = config.tables.iter().map(|table| table.name.value.plain()).collect();
            usage(format!("--table {0}: the config has no table {0}", name.plain()))
                .hint(format!("It has: {}.", known.join(", ")))
        })?;
        let source = config.source.as_ref().map(|source| source.value.clone()).ok_or_else(|| {
            usage(format!("--table {}: bench measures tables of a PostgreSQL source", name.plain()))
                .hint("The config names no source: its tables come from CSV files.")
        })?;
        let target = config.target.value.clone();
        Ok((Place::Given { source, target }, Subject::Own { text, config: Box::new(config), entry }))
    }

    /// Prints the findings and writes the files; what of that failed.
    fn tell(&self, findings: &Findings) -> Vec<Error> {
        let mut failed = Vec::new();
        let text = findings.render(terminal::width());
        if is_stdout(self.json.as_deref()) || is_stdout(self.html.as_deref()) {
            terminal::print_aside(text);
        } else {
            failed.extend(terminal::print(text).err());
        }
        if let Some(path) = &self.json {
            failed.extend(json(findings).and_then(|json| write(path, &json)).err());
        }
        if let Some(path) = &self.html {
            failed.extend(write(path, findings.to_html().as_bytes()).err());
        }
        failed
    }
}

fn is_stdout(path: Option<&Path>) -> bool {
    path == Some(Path::new("-"))
}

fn json(findings: &Findings) -> Result<Vec<u8>> {
    let mut json = serde_json::to_vec_pretty(findings).map_err(|error| {
        Error::new(Phase::Record, Kind::Internal, format!("the findings are not JSON: {error}"))
    })?;
    json.push(b'\n');
    Ok(json)
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    file::publish(path, content)
        .map_err(|e| Error::io(Phase::Record, format!("cannot write {}", path.display()), &e))
}

/// One of two URLs, of which the other is given.
fn url(option: &str, given: Option<&String>, variable: &str) -> Result<Secret> {
    given.cloned().or_else(|| process_env(variable)).map(Secret::new).ok_or_else(|| {
        usage(format!("neither {option} nor {variable} is given, but the other server is"))
            .hint(format!("Give {option} URL, or neither, to measure on throw-away servers."))
    })
}

fn usage(message: String) -> Error {
    Error::new(Phase::Config, Kind::Config, message)
}
