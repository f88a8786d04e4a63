//! Prints the result of a run and writes its report.

use std::path::Path;
use std::time::{Instant, SystemTime};

use super::exit::Exit;
use super::options::{Globals, LogFormat};
use super::terminal;
use crate::error::{Error, Kind, Phase, Result};
use crate::report::{Mode, NotStarted, Report, file, result};
use crate::run::RunId;

/// A run requested on the command line, whether or not it can start.
pub(super) struct Attempt<'a> {
    /// The run's id.
    pub(super) run: RunId,
    report: Option<&'a Path>,
    mode: Mode,
    started: (SystemTime, Instant),
}

impl<'a> Attempt<'a> {
    /// Starts an attempt.
    ///
    /// # Errors
    /// `Kind::Config` if the report cannot be written to `report`.
    pub(super) fn begin(report: Option<&'a Path>, mode: Mode) -> Result<Self> {
        if let Some(path) = report {
            refuse_unwritable("--report", path)?;
        }
        Ok(Self { run: RunId::now(), report, mode, started: (SystemTime::now(), Instant::now()) })
    }

    /// Publishes the report of the run, or a report with the reason why it could not start.
    pub(super) fn publish(&self, outcome: Result<Report>, globals: &Globals) -> Result<Exit> {
        let error = match outcome {
            Ok(report) => return Ok(publish(&report, self.report, globals)),
            Err(error) => error,
        };
        self.not_started(&error, globals.log_format);
        Err(error)
    }

    /// Writes the report of a run that could not start.
    pub(super) fn not_started(&self, error: &Error, format: LogFormat) {
        let not_started = NotStarted {
            run_id: self.run.to_string(),
            started_at: self.started.0,
            duration: self.started.1.elapsed(),
            mode: self.mode,
            error: error.to_string(),
        };
        if let Some(Err(unwritten)) = self.report.map(|path| not_started.write(path)) {
            terminal::show_error(&unwritten, format);
        }
    }
}

/// Prints the result and, if `path` is given, writes the report to it. The tables are already applied, so an error here
/// exits with [`Exit::TableFailed`], not [`Exit::NotStarted`].
fn publish(report: &Report, path: Option<&Path>, globals: &Globals) -> Exit {
    let text = result::render(report, terminal::width());
    let is_stdout_taken = path == Some(Path::new("-"));
    let told = if is_stdout_taken {
        // The report on stdout suffices where JSON is wanted; --quiet suppresses the text unless a table failed.
        if globals.log_format == LogFormat::Text && !(globals.quiet && report.ok()) {
            terminal::print_aside(text);
        }
        Ok(())
    } else {
        terminal::print(text)
    };
    let written = path.map_or(Ok(()), |path| report.write(path));
    let mut exit = if report.ok() { Exit::Done } else { Exit::TableFailed };
    for error in [told, written].into_iter().filter_map(Result::err) {
        terminal::show_error(&error, globals.log_format);
        exit = Exit::TableFailed;
    }
    exit
}

/// Refuses an output file that cannot be written, before a long run rather than after it.
pub(super) fn refuse_unwritable(option: &str, path: &Path) -> Result<()> {
    let error = |why: &str| {
        Err(Error::new(Phase::Config, Kind::Config, format!("{option} {}: {why}", path.display()))
            .hint("Name a file in an existing directory that you can write to."))
    };
    if path == Path::new("-") {
        return Ok(());
    }
    if path.is_dir() {
        return error("it is a directory");
    }
    match path.parent() {
        Some(parent) if parent != Path::new("") && !parent.is_dir() => error("its directory does not exist"),
        _ => file::try_out(path).or_else(|e| error(&format!("it cannot be written: {e}"))),
    }
}
