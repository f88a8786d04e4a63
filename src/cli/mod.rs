//! The command line. Each subcommand has its own file, which parses options, calls the library and prints the result.
//!
//! Results go to stdout; log, progress and errors go to stderr. Every command ends with an [`Exit`].

mod bench;
mod check;
mod clean;
mod completions;
pub mod demo;
mod exit;
mod init;
mod log;
mod man;
mod options;
mod plan;
mod publish;
mod seed;
mod signals;
mod status;
mod sync;
mod terminal;
mod verify;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};

pub use exit::Exit;

use crate::error::{Error, Kind, Phase, Result};
use crate::report::Mode;
use options::{Globals, LogFormat};
use signals::Signals;

/// How long connections may take to close after the work is done.
const FAREWELL: Duration = Duration::from_secs(2);

/// Moves whole tables into a live PostgreSQL, fast
#[derive(Debug, Parser)]
#[command(
    name = "bulkload",
    version,
    long_about = ABOUT,
    max_term_width = 80,
    subcommand_required = true,
    arg_required_else_help = true,
    after_long_help = REFERENCE
)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Sync(sync::Sync),
    Plan(plan::Plan),
    Check(check::Check),
    Init(init::Init),
    Seed(seed::Seed),
    Verify(verify::Verify),
    Status(status::Status),
    Clean(clean::Clean),
    Bench(bench::Bench),
    Demo(demo::Demo),
    Completions(completions::Completions),
    Man(man::Man),
}

/// The introduction of `--help`, with the smallest config.
const ABOUT: &str = "\
Moves whole tables into a live PostgreSQL, fast.

Reads tables of one PostgreSQL database from a single snapshot, loads them into
staging tables in another, verifies the counts, and applies them to the live
tables in one short transaction. A table holds either all of its old rows or
all of the new ones, even if the run is interrupted.

The config file, bulkload.toml, lists the tables and their settings. The
smallest config:

    [source]
    url = \"${SOURCE_DATABASE_URL}\"
    [target]
    url = \"${TARGET_DATABASE_URL}\"
    [[table]]
    name = \"public.orders\"

`bulkload plan` shows what a sync would do; `bulkload sync` does it. README.md,
section \"Configuration\", describes all keys of the config.

`bulkload seed FOLDER` loads a folder of CSV files without a config.";

/// The end of `--help`: exit codes and environment variables of all subcommands.
const REFERENCE: &str = "\
Exit codes:
    0  all tables applied
    1  at least one table failed; the others are applied
    2  could not start and touched nothing: usage, config, connection,
       permission, schema drift, or a refused operation
  130  stopped by SIGINT   Queries are cancelled, transactions rolled back and
  143  stopped by SIGTERM  staging dropped. A second signal exits at once.

Environment:
  SOURCE_DATABASE_URL, TARGET_DATABASE_URL
            default URLs of the two databases
  PGPASSWORD, PGSERVICE, PGSSLMODE, ... and ~/.pgpass
            connection parameters that the URL omits, as in psql
  BULKLOAD_LOG, RUST_LOG
            log filter, such as bulkload=debug; BULKLOAD_LOG takes precedence
            over RUST_LOG, and -v and -q over both
  NO_COLOR  disables colors unless --color always is given

Results go to stdout; log and progress go to stderr.";

/// Runs the program with this process's arguments and environment.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(shown) => return show_usage(&shown).into(),
    };
    terminal::choose_colors(cli.globals.color);
    let format = cli.globals.log_format;
    if format == LogFormat::Json {
        terminal::tell_panics_as_json();
    }
    let result = log::install(&cli.globals).and_then(|()| run(&cli));
    result
        .unwrap_or_else(|error| {
            terminal::show_error(&error, format);
            Exit::NotStarted
        })
        .into()
}

/// Shows clap's message. Clap reports help and version as errors too; these go to stdout with exit code 0.
fn show_usage(shown: &clap::Error) -> Exit {
    if !shown.use_stderr() {
        let _ = shown.print();
        return Exit::Done;
    }
    let args = || std::env::args_os().map(|arg| arg.to_string_lossy().into_owned());
    let format = if wants_json(args()) { LogFormat::Json } else { LogFormat::Text };
    let error = usage_error(&shown.render().to_string());
    match format {
        LogFormat::Json => terminal::show_error(&error, format),
        LogFormat::Text => drop(shown.print()),
    }
    if let Some(path) = report_path(args())
        && let Ok(attempt) = publish::Attempt::begin(Some(Path::new(&path)), Mode::Full)
    {
        attempt.not_started(&error, format);
    }
    Exit::NotStarted
}

/// Returns the `--report` file of a command line that could not be parsed.
fn report_path(args: impl Iterator<Item = String>) -> Option<String> {
    let args: Vec<String> = args.take_while(|arg| arg != "--").collect();
    if !args.iter().any(|arg| arg == "sync" || arg == "seed") {
        return None;
    }
    let apart = args.windows(2).find(|pair| pair[0] == "--report").map(|pair| pair[1].clone());
    let path = apart.or_else(|| args.iter().find_map(|arg| arg.strip_prefix("--report=").map(str::to_owned)));
    path.filter(|path| path == "-" || !(path.is_empty() || path.starts_with('-')))
}

/// Returns whether a command line that could not be parsed asks for errors as JSON.
fn wants_json(args: impl Iterator<Item = String>) -> bool {
    let args: Vec<String> = args.take_while(|arg| arg != "--").collect();
    let apart = args.windows(2).any(|pair| pair[0] == "--log-format" && pair[1] == "json");
    apart || args.iter().any(|arg| arg == "--log-format=json")
}

/// Turns clap's rendered text into an error: the first paragraph becomes the message, a tip the hint.
fn usage_error(text: &str) -> Error {
    let mut paragraphs = text.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let first = paragraphs.next().unwrap_or_default();
    let error = Error::new(Phase::Config, Kind::Config, first.strip_prefix("error: ").unwrap_or(&first));
    let tip = paragraphs.find_map(|part| part.strip_prefix("tip: ").map(str::to_owned));
    error.hint(tip.unwrap_or_else(|| "See bulkload --help.".to_owned()))
}

/// Runs the subcommand on a new runtime. After a signal, the signal determines the exit code.
fn run(cli: &Cli) -> Result<Exit> {
    let _fail_points = crate::fail_points::arm();
    fail::fail_point!("cli.started");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Error::new(Phase::Config, Kind::Internal, format!("cannot start the threads: {error}"))
    })?;
    let result = runtime.block_on(async {
        let signals = Signals::listen()?;
        let result = dispatch(cli, &signals).await;
        match (signals.exit(), result) {
            (None, result) => result,
            (Some(exit), Ok(_)) => Ok(exit),
            (Some(exit), Err(error)) => {
                terminal::show_error(&error, cli.globals.log_format);
                Ok(exit)
            }
        }
    });
    runtime.shutdown_timeout(FAREWELL);
    result
}

async fn dispatch(cli: &Cli, signals: &Signals) -> Result<Exit> {
    match &cli.command {
        Command::Sync(command) => command.execute(&cli.globals, signals).await,
        Command::Plan(command) => command.execute(signals).await,
        Command::Check(command) => command.execute(signals).await,
        Command::Init(command) => command.execute(signals).await,
        Command::Seed(command) => command.execute(&cli.globals, signals).await,
        Command::Verify(command) => command.execute(signals).await,
        Command::Status(command) => command.execute(signals).await,
        Command::Clean(command) => command.execute(signals).await,
        Command::Bench(command) => command.execute(&cli.globals, signals).await,
        Command::Demo(command) => command.execute(&cli.globals, signals).await,
        Command::Completions(command) => command.execute(&mut Cli::command()),
        Command::Man(command) => command.execute(Cli::command()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_clap_says_becomes_one_message_and_a_hint() {
        let error = usage_error(
            "error: no '--a' found\n\n  tip: write\n  '--b'\n\nUsage: x\n\nFor more, try '--help'.\n",
        );
        assert_eq!((error.message(), error.advice()), ("no '--a' found", Some("write '--b'")));
        let error = usage_error("error: these were not provided:\n  <PATH>...\n\nUsage: x\n");
        let hint = Some("See bulkload --help.");
        assert_eq!((error.message(), error.advice()), ("these were not provided: <PATH>...", hint));
        let wants = |args: &str| wants_json(args.split(' ').map(str::to_owned));
        assert!(wants("b --log-format json x") && wants("b x --log-format=json"));
        assert!(!wants("b --log-format text") && !wants("b -- --log-format=json"));
    }

    #[test]
    fn the_report_of_a_command_line_that_could_not_be_understood_is_found() {
        let path = |args: &str| report_path(args.split(' ').map(str::to_owned));
        assert_eq!(path("b sync --jobs x --report r.json").as_deref(), Some("r.json"));
        assert_eq!(path("b -q seed d --report=r.json --what").as_deref(), Some("r.json"));
        assert_eq!(path("b sync --report -").as_deref(), Some("-"));
        for none in [
            "b sync --report",
            "b sync --report --jobs",
            "b plan --report r.json",
            "b sync -- --report r.json",
        ] {
            assert_eq!(path(none), None, "{none}");
        }
    }

    #[test]
    fn every_help_fits_80_columns() {
        let mut command = Cli::command();
        command.build();
        let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
        let mut helps = vec![command.render_long_help().to_string()];
        for name in names {
            let sub = command.find_subcommand_mut(&name).unwrap();
            helps.push(sub.render_long_help().to_string());
        }
        for line in helps.iter().flat_map(|help| help.lines()) {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
