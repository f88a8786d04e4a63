//! `bulkload bench`: measures settings against a plain copy, and recommends values for them.
//!
//! 1. [`environment`]: two throw-away servers, or the user's, with private schemas that are always removed.
//! 2. [`scenario`], [`user_table`]: the rows, generated or the user's, and a table for each method that accepts them.
//! 3. [`rounds`]: runs every setting as a separate process and every plain copy as a psql pipe, in turns.
//! 4. [`summary`]: medians, spreads, ratios within each round, and the limit; [`advice`]: the recommendation.
//! 5. [`text`], [`html`], and the JSON, which is [`Findings`] itself.
//!
//! # The JSON
//!
//! All keys are always present. Times are in seconds, sizes in bytes, a megabyte is 10^6, and an unavailable figure is `null`.
//! A *spread* is `{ "n", "median", "min", "max" }` over the rounds. A ratio is computed within each round first.
//!
//! - `version`, `started_at`, `duration_s`, `time_limit_s`
//! - `machine`: `cores`, `processor`, `memory_bytes`, `source_version`, `target_version`, `throw_away_servers`,
//!   `servers_cpu_is_known`
//! - `scenario`: `table`, `made_up`, `rules`, `rows`, `bytes` (in COPY's binary format), `table_bytes`
//! - `plain`, a list: `what` (`pipe`, `read`, `write`), `label`, `streams`, the spreads `seconds`, `index_s` and
//!   `with_index_s`, and the *effort*
//! - `floor_s`, a spread: (source CPU of COPY TO + target CPU of COPY FROM) / cores
//! - `others_share`, a spread: the share of the cores' time that other processes took
//! - `settings`, a list, the base first: `label`, `list`, `jobs`, `chunk_bytes`, `format`, `apply`, `method`, `wire_format`,
//!   `streams`, `chunks`, the spreads `load_s`, `index_s`, `apply_s`, `lock_s`, `whole_s` and `whole_ratio` (to the pipe with
//!   an index), and the *effort*; `direct` loads while it applies and has no `load_s`
//! - `together`: the recommended values combined, if they were measured: `label`, and in the same rounds the spreads
//!   `seconds`, `base_s` and `ratio_to_base`
//! - the *effort*: `rows_per_s`, `mb_per_s`, `client_cpu_s_per_gb`, `peak_memory_bytes`, the spreads `client_cpu_s`,
//!   `client_cpu_ratio_to_pipe`, `source_cpu_s`, `target_cpu_s`, `ratio_to_pipe` (one `psql | psql`), `ratio_to_pipes` (as
//!   many at once as the base has streams, or else the largest number of any setting) and `ratio_to_floor`
//! - `left_out`, a list of `what` and `why`
//! - `limit`: `what` (`source`, `target`, `client`, `network`, `disk`, `unknown`) and `because`
//! - `recommendation`: `run`, a list of `key`, `value`, `certainty` (`sure`, `likely`, `not_sure`), `because`; and `apply`,
//!   the same or `null`

mod advice;
mod budget;
mod chart;
mod contest;
mod directory;
mod environment;
mod findings;
mod html;
mod limit;
mod link;
mod loader;
mod process;
mod procfs;
mod recommendation;
mod rounds;
#[cfg(test)]
mod sample;
mod scenario;
mod settings;
mod shape;
mod statistics;
mod summary;
mod text;
mod user_table;
mod words;
mod yardstick;

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use tokio_util::sync::CancellationToken;

pub use environment::Place;
pub use findings::{Effort, Facts, Findings, LeftOut, Machine, PlainFigures, SettingFigures, Together};
pub use limit::{Limit, What};
pub use recommendation::{Certainty, Choice, Recommendation};
pub use scenario::Subject;
pub use settings::{Axis, Setting, Sweep, parse_chunk, parse_format, parse_method};
pub use shape::Shape;
pub use statistics::Spread;

use crate::config::{ApplyMethod, FormatChoice, RunConfig};
use crate::error::{Error, Kind, Phase, Result};
use budget::Budget;
use environment::Ground;
use loader::Loader;
use rounds::Rounds;
use summary::{Amount, Summary};
use yardstick::{Plan, Yardstick};

/// A bench to run.
#[derive(Debug, Clone)]
pub struct Job {
    /// The servers.
    pub place: Place,
    /// The rows.
    pub subject: Subject,
    /// The settings.
    pub sweep: Sweep,
    /// The number of rounds.
    pub repeat: usize,
    /// The time limit for everything.
    pub time_limit: Duration,
    /// The path of this program: each run is a separate process.
    pub program: PathBuf,
}

/// The result.
#[derive(Debug)]
pub struct Outcome {
    /// The findings.
    pub findings: Findings,
    /// Errors on the way: settings that failed, a schema that could not be dropped.
    pub failures: Vec<Error>,
}

/// A bench without a result.
#[derive(Debug)]
pub struct Failure {
    /// The error that stopped it, or `Kind::Cancelled`.
    pub error: Error,
    /// Objects that could not be removed from the servers, and how to remove them by hand.
    pub left: Vec<Error>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, left: Vec::new() }
    }
}

/// Measures. Afterwards everything that it created on the servers is gone, or reported as left.
///
/// # Errors
/// No measurement finished.
pub async fn bench(job: &Job, cancel: &CancellationToken) -> Result<Outcome, Failure> {
    let started = (SystemTime::now(), Instant::now());
    let budget = Budget::begin(job.time_limit, cancel);
    let ground = Ground::open(&job.place, job.subject.fills_source(), budget.stop()).await;
    let in_time = |failure: Failure| Failure { error: in_time(failure.error, &budget, job), ..failure };
    let ground = ground.map_err(in_time)?;
    let measured = Box::pin(on(&ground, job, &budget, started)).await;
    tracing::info!(phase = %Phase::Clean, "removing the schemas of bench");
    let left = ground.close().await;
    match measured {
        Ok(mut outcome) => {
            outcome.failures.extend(left);
            Ok(outcome)
        }
        Err(error) => Err(in_time(Failure { error, left })),
    }
}

/// Rewrites a cancellation that the time limit caused.
fn in_time(error: Error, budget: &Budget, job: &Job) -> Error {
    if error.kind() != Kind::Cancelled || !budget.is_used_up() {
        return error;
    }
    let limit = humantime::format_duration(job.time_limit);
    Error::new(Phase::Load, Kind::Refused, format!("no measurement finished within --time-limit {limit}"))
        .hint("Raise --time-limit, or lower --rows.")
}

async fn on(ground: &Ground, job: &Job, budget: &Budget, started: (SystemTime, Instant)) -> Result<Outcome> {
    let stop = budget.stop();
    let scenario = job.subject.prepare(ground, stop).await?;
    let mut left_out = scenario.left_out.clone();
    let yardstick = match Yardstick::prepare(ground, &scenario, stop).await {
        Ok(yardstick) => Some(yardstick),
        Err(error) if error.kind() == Kind::Cancelled => return Err(error),
        Err(error) => {
            left_out.push(LeftOut { what: "psql | psql".to_owned(), why: error.message().to_owned() });
            None
        }
    };
    let loader = Loader { program: job.program.clone(), ground, scenario: &scenario };
    let mut failures = Vec::new();
    let settings = possible(job, &loader, (&mut left_out, &mut failures), stop).await?;
    let links = if ground.is_throw_away { (None, None) } else { link::speeds(ground, stop).await? };
    let mut rounds = Rounds {
        ground,
        scenario: &scenario,
        loader: &loader,
        yardstick: yardstick.as_ref(),
        budget,
        loads: Vec::new(),
        copies: Vec::new(),
        impossible: Vec::new(),
        done: 0,
        swept: 0,
    };
    for plan in [Plan::Read, Plan::Write, Plan::Pipe(1)] {
        rounds.add_copy(plan);
    }
    for (axis, setting) in settings {
        rounds.add_load(axis, setting);
    }
    rounds.all(job.repeat).await?;
    let amount = amount(&rounds, yardstick.as_ref())?;
    let combined = Summary::of(&rounds, amount, cores()).combined();
    if let Some(combined) = combined {
        let load = rounds.add_load(Axis::Combined, combined);
        rounds.only(load, job.repeat).await?;
    }
    left_out.extend(rounds.gaps(job.repeat, job.time_limit));
    let findings = conclude(&rounds, (amount, links), job, left_out, started);
    failures.extend(rounds.loads.into_iter().filter_map(|loads| {
        let label = loads.setting.in_full();
        loads.series.failed.map(|error| error.context(label))
    }));
    Ok(Outcome { findings, failures })
}

/// Returns the settings that are possible here, the base first, and creates a table for each method. Others are left out. A
/// run that was planned but fails is a failure.
async fn possible(
    job: &Job,
    loader: &Loader<'_>,
    (left_out, failures): (&mut Vec<LeftOut>, &mut Vec<Error>),
    stop: &CancellationToken,
) -> Result<Vec<(Axis, Setting)>> {
    let mut sweep = job.sweep.clone().or(usual(&job.subject));
    if !scenario::takes_methods(&job.subject) {
        sweep.apply = vec![ApplyMethod::Auto];
    }
    let all = sweep.settings();
    let Some(&(_, base)) = all.first() else { return Ok(Vec::new()) };
    let mut filled: Vec<ApplyMethod> = Vec::new();
    let mut automatic = None;
    let mut possible = Vec::new();
    for (axis, setting) in all {
        let found = if automatic == Some(setting.apply) {
            Err(Error::new(Phase::Plan, Kind::Refused, format!("auto is {} here", setting.apply.name())))
        } else {
            make_ready(loader, &setting, &mut filled, stop).await
        };
        match found {
            Ok(method) => {
                if axis == Axis::Base && setting.apply == ApplyMethod::Auto {
                    automatic = Some(method);
                }
                possible.push((axis, setting));
            }
            Err(error) if axis != Axis::Base && error.kind() != Kind::Cancelled => {
                left_out.push(LeftOut { what: setting.label(&base), why: error.message().to_owned() });
                if error.phase() == Phase::Load {
                    failures.push(error.context(setting.in_full()));
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(possible)
}

/// Plans a setting, and fills its method's table by an uncounted run, since the first run finds cold caches. The meaning of
/// `auto` depends on whether the table is empty.
async fn make_ready(
    loader: &Loader<'_>,
    setting: &Setting,
    filled: &mut Vec<ApplyMethod>,
    stop: &CancellationToken,
) -> Result<ApplyMethod> {
    if !filled.contains(&setting.apply) {
        filled.push(setting.apply);
        loader.scenario.try_method(setting.apply, stop).await?;
        loader.scenario.create_live(loader.ground, setting.apply, stop).await?;
        loader.plan(setting, stop).await?;
        tracing::info!(phase = %Phase::Load, "warming up: {}", setting.in_full());
        loader.run(setting, stop).await?;
    }
    loader.plan(setting, stop).await
}

/// Returns the user's setting, or the defaults of an empty config.
fn usual(subject: &Subject) -> Setting {
    let default = RunConfig::default();
    let (run, format, apply) = match subject {
        Subject::Made { .. } => (&default, FormatChoice::Auto, ApplyMethod::Auto),
        Subject::Own { config, entry, .. } => {
            let table = &config.tables[*entry];
            (&config.run, table.format, table.apply.value)
        }
    };
    // As `plan` decides it, except for the number of free connections.
    let jobs = if run.jobs == 0 { cores().min(8) } else { run.jobs };
    Setting { jobs, chunk: run.chunk, format, apply }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Returns the amount of data moved; an error if there was none.
fn amount(rounds: &Rounds<'_>, yardstick: Option<&Yardstick<'_>>) -> Result<Amount> {
    let first = rounds.loads.iter().find_map(|loads| loads.series.rounds.first());
    let Some((_, load)) = first else {
        let failed = rounds.loads.iter().find_map(|loads| loads.series.failed.as_ref());
        return Err(failed.map_or_else(
            || Error::cancelled(Phase::Load),
            |error| {
                Error::new(error.phase(), error.kind(), error.message())
                    .context("no setting could be measured")
            },
        ));
    };
    let binary_bytes = yardstick.and_then(Yardstick::bytes).unwrap_or(load.table.bytes_in);
    Ok(Amount { rows: load.table.extracted, binary_bytes })
}

fn conclude(
    rounds: &Rounds<'_>,
    (amount, links): (Amount, (Option<f64>, Option<f64>)),
    job: &Job,
    left_out: Vec<LeftOut>,
    (started_at, began): (SystemTime, Instant),
) -> Findings {
    let summary = Summary::of(rounds, amount, cores());
    let (source, target) = (&rounds.ground.source, &rounds.ground.target);
    let (made_up, rules) = match &job.subject {
        Subject::Made { has_rules, .. } => (true, *has_rules),
        Subject::Own { config, entry, .. } => {
            let table = &config.tables[*entry];
            (false, !(table.lookups.is_empty() && table.references.is_empty()))
        }
    };
    let mut findings = Findings {
        version: env!("CARGO_PKG_VERSION"),
        started_at,
        duration_s: began.elapsed().as_secs_f64(),
        time_limit_s: job.time_limit.as_secs_f64(),
        machine: Machine {
            cores: cores(),
            processor: procfs::processor(),
            memory_bytes: procfs::memory(),
            source_version: source.session.server_version,
            target_version: target.session.server_version,
            throw_away_servers: rounds.ground.is_throw_away,
            servers_cpu_is_known: source.server.is_some()
                && target.server.is_some()
                && source.server != target.server,
        },
        scenario: Facts {
            table: rounds.scenario.name.clone(),
            made_up,
            rules,
            rows: amount.rows,
            bytes: amount.binary_bytes,
            table_bytes: rounds.scenario.plain.bytes,
        },
        plain: summary.plain(),
        floor_s: summary.floor(),
        others_share: summary.others_share(),
        settings: summary.settings(),
        together: summary.together(),
        left_out,
        limit: Limit { what: What::Unknown, because: String::new() },
        recommendation: summary.recommendation(),
    };
    findings.limit = summary.limit(&findings, links);
    if findings.is_disturbed() {
        findings.recommendation.doubt("another process kept the machine busy");
    }
    findings
}
