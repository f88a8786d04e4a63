//! The acts of the demo. Each act is an ordinary run of the program.

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

/// The config from desktop to app, written to the demo's directory so that the sync can be repeated.
pub(super) const CONFIG_FILE: &str = "bulkload.toml";

/// The config from app to desktop, in the same directory.
pub(super) const REVERSE_FILE: &str = "reverse.toml";

/// The directory for rejects files.
pub(super) const REJECTS_DIRECTORY: &str = "rejects";

/// An act. The demo plays them in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// A full sync from the desktop to the app, while the app's users keep reading.
    Whole,
    /// An incremental sync of the desktop's changes.
    Incremental,
    /// A sync of the app's own rows to the desktop.
    Reverse,
    /// The full sync of the next night.
    Again,
}

/// The servers and options shared by all acts.
pub(super) struct Stage<'a> {
    pub(super) servers: &'a Servers,
    pub(super) rows: u64,
    pub(super) keep: bool,
    pub(super) globals: &'a Globals,
    pub(super) signals: &'a Signals,
}

/// The result of an act.
pub(super) struct Shown {
    pub(super) text: String,
    /// Whether all tables of the act were applied.
    pub(super) is_ok: bool,
}

impl Stage<'_> {
    /// Plays one act.
    ///
    /// # Errors
    /// The error of a run that cannot start, and errors reported by a server.
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

    /// Syncs one server to the other while a session keeps reading the target.
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
            // The rejects files are deleted with the servers.
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

/// Combines the title, the result if `has_result` is set, and the story if the run succeeded.
fn shown(title: &str, report: &Report, has_result: bool, story: impl FnOnce() -> String) -> Shown {
    let result = if has_result { result::render(report, terminal::width()) } else { String::new() };
    let story = if report.ok() { story() } else { String::new() };
    Shown { text: format!("\n{title}\n\n{result}{story}"), is_ok: report.ok() }
}
