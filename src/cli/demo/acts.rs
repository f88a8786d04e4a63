//! The demo's acts: each is a run of the program like any other.

use std::path::PathBuf;

use super::reader::Reader;
use super::servers::Servers;
use super::{story, world};
use crate::cli::options::Globals;
use crate::cli::signals::Signals;
use crate::cli::terminal;
use crate::config::Config;
use crate::error::{Error, Phase, Result};
use crate::pg::name::TableName;
use crate::report::{Mode, Report, result};
use crate::run::{self, Options};

/// The config from desktop to app, in the demo's directory, for whoever wants to run the sync again.
pub(super) const CONFIG_FILE: &str = "bulkload.toml";

/// The config from app to desktop, likewise.
pub(super) const REVERSE_FILE: &str = "reverse.toml";

/// Where the rejects go.
pub(super) const REJECTS_DIRECTORY: &str = "rejects";

/// What happens, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// All of the desktop's tables go to the app, whose users go on reading.
    Whole,
    /// What the desktop wrote since.
    Incremental,
    /// What the app's users wrote goes to the desktop.
    Reverse,
    /// The next night.
    Again,
}

/// Where it happens.
pub(super) struct Stage<'a> {
    pub(super) servers: &'a Servers,
    pub(super) rows: u64,
    pub(super) keep: bool,
    pub(super) globals: &'a Globals,
    pub(super) signals: &'a Signals,
}

/// What an act has to tell.
pub(super) struct Shown {
    pub(super) text: String,
    /// Whether all its tables were applied.
    pub(super) is_ok: bool,
}

impl Stage<'_> {
    /// Plays one act.
    ///
    /// # Errors
    /// Whatever keeps its run from starting, and what a server reports.
    pub(super) async fn play(&self, act: Act) -> Result<Shown> {
        match act {
            Act::Whole => self.whole().await,
            Act::Incremental => {
                self.servers.change().await?;
                let report = self.sync(CONFIG_FILE, Mode::Incremental, &["itemmaster", "workdiary"]).await?;
                Ok(shown(story::INCREMENTAL, &report, true, || story::incremental(&report)))
            }
            Act::Reverse => {
                let report = self.sync(REVERSE_FILE, Mode::Full, &[]).await?;
                let returned = self.servers.returned_rows().await?;
                Ok(shown(story::REVERSE, &report, true, || story::reverse(returned)))
            }
            Act::Again => {
                let before = self.servers.app_rows().await?;
                let report = self.sync(CONFIG_FILE, Mode::Full, &[]).await?;
                let after = self.servers.app_rows().await?;
                Ok(shown(story::AGAIN, &report, !report.ok(), || story::again(&report, &before, &after)))
            }
        }
    }

    /// Syncs one server to the other, while a reader of the target goes on reading.
    async fn whole(&self) -> Result<Shown> {
        let before = self.servers.app_rows().await?;
        let reader = Reader::start(&self.servers.target_url()).await?;
        let synced = self.sync(CONFIG_FILE, Mode::Full, &[]).await;
        let seen = reader.stop().await;
        let (report, seen) = (synced?, seen?);
        let after = self.servers.app_rows().await?;
        Ok(shown(story::WHOLE, &report, true, || story::whole(&report, self.rows, seen, &before, &after)))
    }

    /// Runs a sync as the command does.
    async fn sync(&self, file: &str, mode: Mode, tables: &[&str]) -> Result<Report> {
        let config = self.config(file)?;
        let options = Options {
            mode,
            tables: tables.iter().map(|name| TableName::new("public", *name)).collect(),
            progress: self.globals.progress(),
            cancel: self.signals.token(),
            ..Options::default()
        };
        let mut report = Box::pin(run::sync(config, options)).await?;
        if !self.keep {
            // They go with the servers.
            report.tables.iter_mut().for_each(|table| table.rejects_file = None);
        }
        Ok(report)
    }

    fn config(&self, file: &str) -> Result<Config> {
        let directory = self.servers.directory()?;
        let path: PathBuf = directory.join(file);
        let text = if file == REVERSE_FILE { world::REVERSE_CONFIG } else { world::CONFIG };
        let text = world::config(text, &self.servers.source_url(), &self.servers.target_url());
        std::fs::write(&path, text)
            .map_err(|e| Error::io(Phase::Config, format!("cannot write {}", path.display()), &e))?;
        let mut config = Config::load(&path, &|_| None)?;
        config.run.rejects_dir = directory.join(REJECTS_DIRECTORY).display().to_string();
        Ok(config)
    }
}

/// The title, the result where it is wanted, and the story if it went well.
fn shown(title: &str, report: &Report, has_result: bool, story: impl FnOnce() -> String) -> Shown {
    let result = if has_result { result::render(report, terminal::width()) } else { String::new() };
    let story = if report.ok() { story() } else { String::new() };
    Shown { text: format!("\n{title}\n\n{result}{story}"), is_ok: report.ok() }
}
