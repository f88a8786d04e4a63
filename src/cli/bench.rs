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

/// Measure settings and recommend the fastest
///
/// Loads one table repeatedly with different settings and compares each load with a plain `psql | psql`. Reports which
/// settings are faster, how certain that is, and which resource limits the load. The measurements alternate in rounds, so
/// that a machine that slows down affects all of them equally. Each run is a separate process.
///
/// By default, bench starts two throw-away servers on this machine and generates a table. With --source and --target, it
/// measures on those servers, in a separate schema that it always drops. With --table, it measures a table of the config:
/// it only reads the source, and loads a copy of the target table instead of the table itself.
///
/// --jobs, --chunk, --format and --apply take comma-separated lists. The first value of each list is the base. While one
/// list is measured, the others stay at their first value.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct Bench {
    #[command(flatten)]
    config: ConfigFile,

    /// Measure this table of the config; write its name as in SQL
    #[arg(
        long,
        value_name = "NAME",
        value_parser = table_name,
        conflicts_with_all = ["shape", "rows", "rules", "source", "target"]
    )]
    table: Option<TableName>,

    /// Source server; default: a throw-away server
    #[arg(long, value_name = "URL")]
    source: Option<String>,

    /// Target server; default: a throw-away server
    #[arg(long, value_name = "URL")]
    target: Option<String>,

    /// Table to generate: narrow, wide, text, json, or lineitem (TPC-H)
    #[arg(long, value_name = "SHAPE", default_value_t = Shape::Lineitem)]
    shape: Shape,

    /// Number of rows to generate
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1_000_000,
        value_parser = clap::value_parser!(u64).range(1..=10_000_000_000)
    )]
    rows: u64,

    /// Apply rules to lineitem: two constants, a skipped column, a lookup,
    /// two references
    #[arg(long)]
    rules: bool,

    /// Numbers of parallel COPY streams [usual: one per core, 1, two per core]
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=256)
    )]
    jobs: Vec<usize>,

    /// Chunk sizes [usual: 128MiB,32MiB]
    #[arg(long, value_name = "SIZE,...", value_delimiter = ',', value_parser = bench::parse_chunk)]
    chunk: Vec<u64>,

    /// Wire formats: auto, binary, text [usual: auto,text]
    #[arg(long, value_name = "FORMAT,...", value_delimiter = ',', value_parser = bench::parse_format)]
    format: Vec<FormatChoice>,

    /// Apply methods [usual: auto,swap,delta,truncate]
    #[arg(long, value_name = "METHOD,...", value_delimiter = ',', value_parser = bench::parse_method)]
    apply: Vec<ApplyMethod>,

    /// Number of rounds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,

    /// Total time limit; measurements that do not fit are skipped and listed
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
    time_limit: Duration,

    /// Write all figures to this file as JSON; - is stdout
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write an HTML page with charts to this file; - is stdout
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  bulkload bench
      a million rows on throw-away servers, with the usual settings
  bulkload bench --rows 6000000 --jobs 2,1,4,8 --time-limit 1h --html bench.html
      more rows and settings, with a page of charts
  bulkload bench -c nightly.toml --table public.orders --json orders.json
      a table of the nightly job, on the job's own servers

The output has three parts: two tables of times, one up to staging and one for
the whole job; the limiting resource (source, target, client, network or disk)
and the evidence for it; and the recommended lines for [run], each marked sure
or likely.
  sure    the value was faster than every other value of its list in every
          round, in at least 5 rounds; of two equal values, one passes this
          test by chance 1 time in 16
  likely  the value was faster than the base in every round, in at least 3
          rounds
bench never recommends an apply method that locks other sessions out for longer
than the base does; it only lists the method with both lock times.

Exit codes: 0 measured; 1 measured, but a setting failed or something could
not be dropped; 2 nothing could be measured; 130 and 143 after SIGINT and
SIGTERM, once everything that bench created is dropped.";

impl Bench {
    /// Measures, prints the findings and writes the files.
    pub(super) async fn execute(&self, globals: &Globals, signals: &Signals) -> Result<Exit> {
        self.refuse_unwritable()?;
        let (place, subject) = self.place_and_subject()?;
        let program = std::env::current_exe()
            .map_err(|e| Error::io(Phase::Config, "could not find the bulkload executable", &e))?;
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

    /// Refuses output files that cannot be written. The two files must differ, or one would overwrite the other.
    fn refuse_unwritable(&self) -> Result<()> {
        for (option, path) in [("--json", &self.json), ("--html", &self.html)] {
            if let Some(path) = path {
                refuse_unwritable(option, path)?;
            }
        }
        match (&self.json, &self.html) {
            (Some(json), Some(html)) if file::is_same(json, html) => {
                let is = if is_stdout(Some(json)) { "stdout".to_owned() } else { json.display().to_string() };
                Err(usage(format!("--json and --html are both {is}")).hint("Write them to different files."))
            }
            _ => Ok(()),
        }
    }

    fn place_and_subject(&self) -> Result<(Place, Subject)> {
        if let Some(name) = &self.table {
            return self.own_table(name);
        }
        if self.rules && self.shape != Shape::Lineitem {
            return Err(usage(format!("--rules requires --shape lineitem, not {}", self.shape)));
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
                .hint("This config has no source: its tables come from CSV files.")
        })?;
        let target = config.target.value.clone();
        Ok((Place::Given { source, target }, Subject::Own { text, config: Box::new(config), entry }))
    }

    /// Prints the findings and writes the files. Returns the errors of both.
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
        Error::new(Phase::Record, Kind::Internal, format!("cannot serialize the findings as JSON: {error}"))
    })?;
    json.push(b'\n');
    Ok(json)
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    file::publish(path, content)
        .map_err(|e| Error::io(Phase::Record, format!("cannot write {}", path.display()), &e))
}

/// Returns one of the two URLs when the other one is given.
fn url(option: &str, given: Option<&String>, variable: &str) -> Result<Secret> {
    given.cloned().or_else(|| process_env(variable)).map(Secret::new).ok_or_else(|| {
        usage(format!("neither {option} nor {variable} is given, but the other server is"))
            .hint(format!("Give {option} URL, or give no URL to measure on throw-away servers."))
    })
}

fn usage(message: String) -> Error {
    Error::new(Phase::Config, Kind::Config, message)
}
