//! Runs the program once with one setting, as a separate process, so that its resource use is that of the load alone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::environment::Ground;
use super::process::{Program, Work, measure};
use super::procfs::Cores;
use super::scenario::{REJECTS, Scenario};
use super::settings::Setting;
use crate::config::{ApplyMethod, Config, SOURCE_URL_VARIABLE, TARGET_URL_VARIABLE};
use crate::error::{Error, Kind, Phase, Result};
use crate::run::{self, Options};

/// The cost of one run.
#[derive(Debug, Clone)]
pub(super) struct Load {
    /// From start to end of the process.
    pub(super) whole: Duration,
    /// CPU time of the client, if available.
    pub(super) client_cpu: Option<Duration>,
    /// CPU time of the source's server.
    pub(super) source_cpu: Option<Duration>,
    /// CPU time of the target's server.
    pub(super) target_cpu: Option<Duration>,
    /// Peak memory in bytes.
    pub(super) peak_memory: Option<u64>,
    /// The share of the cores' time spent waiting for a disk.
    pub(super) disk_share: Option<f64>,
    /// The share of the cores' time used by neither this run nor the servers.
    pub(super) others_share: Option<f64>,
    /// The table's figures in the report.
    pub(super) table: TableFigures,
}

/// The report's figures of the table.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct TableFigures {
    pub(super) apply: Option<String>,
    pub(super) format: String,
    pub(super) streams: u64,
    pub(super) chunks: u64,
    pub(super) extracted: u64,
    pub(super) bytes_in: u64,
    pub(super) load_ms: u64,
    pub(super) index_ms: u64,
    pub(super) apply_ms: u64,
    pub(super) lock_ms: u64,
}

#[derive(Deserialize)]
struct ReportFigures {
    tables: Vec<TableFigures>,
}

/// The report's fields of a failed table.
#[derive(Deserialize)]
struct ReportErrors {
    tables: Vec<TableError>,
}

#[derive(Deserialize)]
struct TableError {
    error: Option<String>,
}

/// Starts runs.
pub(super) struct Loader<'a> {
    /// The path of this program.
    pub(super) program: PathBuf,
    pub(super) ground: &'a Ground,
    pub(super) scenario: &'a Scenario,
}

impl Loader<'_> {
    /// Plans a run with this setting, and returns the method that `auto` stands for.
    ///
    /// # Errors
    /// The reason it is not possible.
    pub(super) async fn plan(&self, setting: &Setting, stop: &CancellationToken) -> Result<ApplyMethod> {
        let text = self.scenario.config(self.ground, setting)?;
        let environment = |name: &str| match name {
            SOURCE_URL_VARIABLE => Some(self.ground.source.url.expose().to_owned()),
            TARGET_URL_VARIABLE => Some(self.ground.target.url.expose().to_owned()),
            other => crate::config::process_env(other),
        };
        let planned = async {
            let config = Config::parse(&text, "the config of a run", &environment)?;
            let options = Options { cancel: stop.clone(), ..Options::default() };
            Box::pin(run::plan(config, options)).await
        };
        match planned.await {
            Ok(plan) => Ok(plan.tables[0].apply),
            Err(error) => Err(self.told(setting, error)),
        }
    }

    /// Rewrites an error of a run: names the table as the user does, without the temporary config and rejects file, which
    /// will be gone.
    fn told(&self, setting: &Setting, error: Error) -> Error {
        let table = self.scenario.live(self.ground, setting.apply).plain();
        let file = format!("; see {}", self.ground.file(REJECTS).display());
        let message = error.message().replace(&table, &self.scenario.name);
        let message = message.split(&file).next().unwrap_or_default();
        error.instead(message).nowhere()
    }

    /// Runs the load once.
    ///
    /// # Errors
    /// The error that the run reports.
    pub(super) async fn run(&self, setting: &Setting, stop: &CancellationToken) -> Result<Load> {
        let ground = self.ground;
        let (config, report) = (ground.file("run.toml"), ground.file("report.json"));
        write(&config, &self.scenario.config(ground, setting)?)?;
        // A leftover report would be taken for this run's report if this run ends early.
        let _ = std::fs::remove_file(&report);
        let mut command = Command::new(&self.program);
        command.args(["sync", "--quiet", "--no-progress", "-c"]).arg(&config).arg("--report").arg(&report);
        command.env(SOURCE_URL_VARIABLE, ground.source.url.expose());
        command.env(TARGET_URL_VARIABLE, ground.target.url.expose());
        let before = Servers::now(ground);
        let cores = Cores::now();
        let used = measure(Work::One(Program::new(command)?), stop).await;
        let used = used.map_err(|error| self.told(setting, with_reason(error, &report)))?;
        let cores = cores.zip(Cores::now());
        let disk_share = cores.and_then(|(then, now)| now.disk_share_since(then));
        let (source_cpu, target_cpu) = Servers::now(ground).since(&before);
        let text = std::fs::read_to_string(&report)
            .map_err(|e| Error::io(Phase::Record, format!("cannot read {}", report.display()), &e))?;
        let figures: ReportFigures = serde_json::from_str(&text).map_err(|error| internal(&error))?;
        let table = figures.tables.into_iter().next().ok_or_else(|| internal(&"it lacks the table"))?;
        // Rejects are not needed, and would accumulate.
        let _ = std::fs::remove_dir_all(ground.file(REJECTS));
        Ok(Load {
            whole: used.wall,
            client_cpu: used.cpu,
            source_cpu,
            target_cpu,
            peak_memory: used.peak_memory,
            disk_share,
            others_share: cores.and_then(|(then, now)| {
                let ours = used.cpu? + source_cpu? + target_cpu?;
                now.others_share_since(then, ours)
            }),
            table,
        })
    }
}

/// The CPU time that both servers have used so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Servers {
    source: Option<Duration>,
    target: Option<Duration>,
}

impl Servers {
    /// Reads the current values. Nothing is known if both ends are one server, because its work cannot be split.
    pub(super) fn now(ground: &Ground) -> Self {
        let (source, target) = (ground.source.server, ground.target.server);
        if source == target {
            return Self { source: None, target: None };
        }
        let cpu = |server: Option<super::procfs::Server>| server.and_then(super::procfs::Server::cpu);
        Self { source: cpu(source), target: cpu(target) }
    }

    /// Returns the CPU time used since `then`.
    pub(super) fn since(&self, then: &Self) -> (Option<Duration>, Option<Duration>) {
        let since = |now: Option<Duration>, then: Option<Duration>| Some(now?.saturating_sub(then?));
        (since(self.source, then.source), since(self.target, then.target))
    }
}

/// Replaces the program's output with the report's error, if there is a report.
fn with_reason(error: Error, report: &Path) -> Error {
    if error.kind() == Kind::Cancelled {
        return error;
    }
    let text = std::fs::read_to_string(report).unwrap_or_default();
    let errors = serde_json::from_str::<ReportErrors>(&text).ok();
    match errors.and_then(|errors| errors.tables.into_iter().find_map(|table| table.error)) {
        Some(reason) => error.instead(reason),
        None => error,
    }
}

/// Writes a file that only this user can read: a user's config may hold secrets.
fn write(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|e| Error::io(Phase::Stage, format!("cannot write {}", path.display()), &e))
}

fn internal(why: &dyn std::fmt::Display) -> Error {
    Error::new(Phase::Record, Kind::Internal, format!("cannot parse the report of a run: {why}"))
}
