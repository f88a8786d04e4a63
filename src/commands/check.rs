//! `bulkload check`: everything that a run needs, proved without changing anything.

use std::fmt;

use crate::config::Config;
use crate::error::{Error, Phase, Result};
use crate::figures;
use crate::pg::conninfo::ConnInfo;
use crate::pg::name::plain;
use crate::pg::session::{Session, Side};
use crate::report::state::State;
use crate::run::Options;
use crate::run::id::RunId;
use crate::run::prepare;
use crate::run::sessions::Sessions;
use crate::run::{select, unless_cancelled};

/// What `check` found out, in the order in which it looked.
#[derive(Debug, Clone, Default)]
pub struct CheckReport {
    /// One line each.
    pub findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Debug, Clone)]
pub enum Finding {
    /// As it should be.
    Fine(String),
    /// What cannot be seen from here, and so is left to the operator.
    Note(String),
    /// A run would work, but the operator should know.
    Warning(String),
    /// A run could start, but a table would fail.
    Failure(String, Option<String>),
    /// A run could not start.
    Problem(String, Option<String>),
}

impl CheckReport {
    /// Whether a run could start.
    #[must_use]
    pub fn ok(&self) -> bool {
        !self.findings.iter().any(|finding| matches!(finding, Finding::Problem(..)))
    }

    /// Whether a table would fail in a run that could start.
    #[must_use]
    pub fn has_failure(&self) -> bool {
        self.findings.iter().any(|finding| matches!(finding, Finding::Failure(..)))
    }

    fn fine(&mut self, text: impl Into<String>) {
        self.findings.push(Finding::Fine(text.into()));
    }

    fn warning(&mut self, text: impl Into<String>) {
        self.findings.push(Finding::Warning(text.into()));
    }

    fn note(&mut self, text: impl Into<String>) {
        self.findings.push(Finding::Note(text.into()));
    }

    /// Adds a problem, once: what was looked at by itself may stand in the way of the plan too.
    fn problem(&mut self, error: &Error) {
        let message = error.to_string();
        let is_known = |finding: &Finding| matches!(finding, Finding::Problem(text, _) if *text == message);
        if !self.findings.iter().any(is_known) {
            self.findings.push(Finding::Problem(message, error.advice().map(str::to_owned)));
        }
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            match finding {
                Finding::Fine(text) => writeln!(f, "ok       {text}")?,
                Finding::Note(text) => writeln!(f, "note     {text}")?,
                Finding::Warning(text) => writeln!(f, "warning  {text}")?,
                Finding::Failure(text, hint) | Finding::Problem(text, hint) => {
                    writeln!(f, "problem  {text}")?;
                    if let Some(hint) = hint {
                        writeln!(f, "         hint: {hint}")?;
                    }
                }
            }
        }
        f.write_str(match (self.ok(), self.has_failure()) {
            (false, _) => "a run cannot start",
            (true, true) => "a run can start, but at least one table fails",
            (true, false) => "a run can start",
        })
    }
}

/// Proves that a run could start, and changes nothing.
///
/// # Errors
/// A config that cannot be used at all; everything else is a finding.
pub async fn check(config: Config, options: Options) -> Result<CheckReport> {
    unless_cancelled(&options, Phase::Connect, Box::pin(look(config, &options))).await
}

async fn look(mut config: Config, options: &Options) -> Result<CheckReport> {
    select(&mut config, &options.tables)?;
    let (source, target) = prepare::endpoints(&config)?;
    let run = RunId::now();
    let sessions = Sessions::new(&run, &config.run);
    let mut report = CheckReport::default();
    let open_source = async {
        match (&source, &config.source) {
            (Some(info), Some(url)) => Some(prepare::open(info, url, &sessions, Side::Source).await),
            _ => None,
        }
    };
    let (source_session, target_session) =
        futures::join!(open_source, prepare::open(&target, &config.target, &sessions, Side::Target));
    let source_label = source.as_ref().map(ConnInfo::label).unwrap_or_default();
    let mut reachable = true;
    let source_session = source_session.map(|session| (Side::Source, source_label, session));
    for (side, label, session) in
        source_session.into_iter().chain([(Side::Target, target.label(), target_session)])
    {
        match session {
            Ok(session) => {
                describe(&mut report, side, &label, &session).await?;
                if side == Side::Target {
                    judge_staging_schema(&mut report, &config, &session).await;
                }
            }
            Err(error) => {
                reachable = false;
                report.problem(&error);
            }
        }
    }
    if !reachable {
        return Ok(report);
    }
    match prepare::prepare(config, options, &run).await {
        Err(error) => report.problem(&error),
        Ok(prepared) => {
            if let Some(error) = &prepared.unwritable {
                report.problem(error);
            }
            let plan = &prepared.plan;
            report.fine(format!(
                "{} on both sides, to be applied in {}, loaded by {}",
                figures::counted(plan.tables.len() as u64, "table"),
                figures::counted(plan.groups.len() as u64, "transaction"),
                figures::counted(plan.streams as u64, "stream"),
            ));
            match plan.disk.weigh(plan.disk_need()) {
                // What is too much is among the plan's warnings.
                Some((_, true)) => {}
                Some((text, false)) => report.fine(format!("target: {text}")),
                None => report.note(
                    "target: free disk space cannot be seen from here; `bulkload plan` says how much a run needs, \
                     and weighs that if disk in [target] says what there is",
                ),
            }
            for table in &plan.failed {
                let hint = table.error.advice().map(str::to_owned);
                report.findings.push(Finding::Failure(table.error.to_string(), hint));
            }
            for warning in &prepared.plan.warnings {
                report.warning(warning.clone());
            }
            for table in &prepared.plan.tables {
                for engine in table.engines() {
                    report.note(format!("{}: {engine}", table.name.plain()));
                }
                for trigger in table.firing() {
                    report.note(format!("{}: trigger {trigger} fires", table.name.plain()));
                }
                for warning in &table.warnings {
                    report.warning(format!("{}: {warning}", table.name.plain()));
                }
            }
        }
    }
    Ok(report)
}

async fn judge_staging_schema(report: &mut CheckReport, config: &Config, session: &Session) {
    let schema = config.run.staging_schema.clone();
    let name = plain(&schema);
    match State::new(schema).check(&session.client).await {
        Ok(true) => report.fine(format!("target: schema {name} for staging is there, and ours alone")),
        Ok(false) => report.fine(format!("target: schema {name} for staging can be created")),
        Err(error) => report.problem(&error.at(config.target.at.clone())),
    }
}

async fn describe(report: &mut CheckReport, side: Side, label: &str, session: &Session) -> Result<()> {
    let word = side.name();
    let row = session
        .client
        .query_one(include_str!("check.sql"), &[])
        .await
        .map_err(|e| Error::pg(Phase::Connect, format!("the {word}"), &e))?;
    report.fine(format!(
        "{word} {label}: PostgreSQL {}{}, role {}, {}",
        row.get::<_, &str>("version"),
        row.get::<_, Vec<String>>("extensions")
            .iter()
            .map(|extension| format!(" with {extension}"))
            .collect::<String>(),
        row.get::<_, &str>("role"),
        row.get::<_, Option<&str>>("tls").unwrap_or("not encrypted"),
    ));
    let free: i32 = row.get("free_connections");
    report.fine(format!("{word}: {free} of {} connections are free", row.get::<_, i32>("max_connections")));
    match side {
        Side::Source if !row.get::<_, bool>("may_export") => {
            report.warning(format!(
                "{word}: the role may not export snapshots, so one connection reads everything"
            ));
        }
        _ => {}
    }
    for setting in row.get::<_, Vec<String>>("role_settings") {
        report.fine(format!("{word}: {setting} is set for the role or database; our sessions override it"));
    }
    Ok(())
}
