//! `bulkload demo` as a subcommand.

use clap::Args;

use super::reader::{Reader, Seen};
use super::servers::Servers;
use super::world;
use crate::cli::exit::Exit;
use crate::cli::options::Globals;
use crate::cli::signals::Signals;
use crate::cli::terminal;
use crate::config::Config;
use crate::error::{Error, Kind, Phase, Result};
use crate::report::{Report, figures, result};
use crate::run::{self, Options};

/// Show the whole job on throw-away local servers
///
/// Starts two PostgreSQL servers of its own, fills a desktop-like source and a mobile-like target, runs the
/// sync, shows the result, and removes everything. Needs the PostgreSQL server programs, and nothing else.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(in crate::cli) struct Demo {
    /// Rows in the source, over all its tables
    #[arg(
        long,
        value_name = "N",
        default_value_t = world::ROWS,
        value_parser = clap::value_parser!(u64).range(world::ROWS_MIN..=world::ROWS_MAX)
    )]
    rows: u64,

    /// Leave the servers up, and print how to reach and stop them
    #[arg(long)]
    keep: bool,
}

/// In the demo's directory, for whoever wants to run the sync again.
const CONFIG_FILE: &str = "bulkload.toml";
const REJECTS_DIRECTORY: &str = "rejects";

const EXAMPLES: &str = "\
Examples:
  bulkload demo
      15 tables, 92,387 rows
  bulkload demo --rows 5000000 --keep
      more of them, to look around in afterwards

Environment: BULKLOAD_PG_BINDIR names the directory of initdb and postgres,
where they are not found by themselves.";

/// What a demo has to tell when its sync is over.
struct Shown {
    report: Report,
    story: String,
}

impl Demo {
    /// Runs the demo and prints its result. Whatever comes of it, the servers are gone afterwards, unless they
    /// are to be kept and nobody asked to stop.
    pub(in crate::cli) async fn execute(&self, globals: &Globals, signals: &Signals) -> Result<Exit> {
        tracing::info!(phase = %Phase::Connect, "starting two throw-away PostgreSQL servers");
        let servers = blocking(Servers::start).await?;
        let shown = match self.load(&servers, globals, signals).await {
            Ok(Shown { report, story }) => {
                terminal::print(result::render(&report, terminal::width()) + &story).map(|()| report.ok())
            }
            Err(error) => Err(error),
        };
        if self.keep && signals.exit().is_none() {
            let whereabouts = whereabouts(&servers)?;
            let stop = blocking(|| servers.leave()).await?;
            terminal::print(format_args!(
                "{whereabouts}\nBoth servers go on. To stop them, and remove all their files:\n  {}\n  {}",
                stop[0], stop[1]
            ))?;
        } else {
            blocking(|| {
                drop(servers);
                Ok(())
            })
            .await?;
        }
        Ok(if shown? { Exit::Done } else { Exit::TableFailed })
    }

    /// Fills the servers and syncs one to the other, while a reader of the target goes on reading.
    async fn load(&self, servers: &Servers, globals: &Globals, signals: &Signals) -> Result<Shown> {
        tracing::info!(phase = %Phase::Connect, rows = self.rows,
            "filling a desktop's database and a mobile app's");
        signals.or_cancelled(Phase::Connect, servers.fill(self.rows)).await?;
        let directory = servers.directory()?;
        let path = directory.join(CONFIG_FILE);
        std::fs::write(&path, world::config(&servers.source_url(), &servers.target_url()))
            .map_err(|e| Error::io(Phase::Config, format!("cannot write {}", path.display()), &e))?;
        let mut config = Config::load(&path, &|_| None)?;
        config.run.rejects_dir = directory.join(REJECTS_DIRECTORY).display().to_string();

        let before = servers.app_rows().await?;
        let reader = Reader::start(&servers.target_url()).await?;
        let options = Options { progress: globals.progress(), cancel: signals.token(), ..Options::default() };
        let synced = Box::pin(run::sync(config, options)).await;
        let seen = reader.stop().await;
        let mut report = synced?;
        let after = servers.app_rows().await?;
        if !self.keep {
            // They go with the servers.
            report.tables.iter_mut().for_each(|table| table.rejects_file = None);
        }
        let story =
            if report.ok() { story(&report, self.rows, seen?, (before, after)) } else { String::new() };
        Ok(Shown { report, story })
    }
}

/// In words what the report shows, and what it does not.
fn story(report: &Report, rows: u64, seen: Seen, (before, after): (u64, u64)) -> String {
    let rejected: u64 = report.tables.iter().map(|table| table.rejected).sum();
    let orphans = world::orphans(rows);
    let lock = report.tables.iter().map(|table| table.lock_ms).max().unwrap_or(0);
    let found = match seen.missed {
        0 => "always found it".to_owned(),
        missed => format!("missed it {} times", figures::count(missed)),
    };
    format!(
        "
What happened: a desktop program's tables went to a mobile app's database.
  - Each of the {} tables was replaced whole, all of them in one transaction,
    which kept writers away for {}.
  - A reader asked the app's database for a client {} times meanwhile,
    {found}, and waited {} at most.
  - {} at a location that does not exist stayed behind, and with them
    the {} that depend on them: no foreign key was broken.
  - The app's own {} are as they were: {}.
",
        report.tables.len(),
        figures::duration_ms(lock),
        figures::count(seen.asked),
        figures::duration(seen.longest),
        figures::counted(orphans, "client"),
        figures::counted(rejected.saturating_sub(orphans), "row"),
        figures::counted(before, "row"),
        figures::count(after),
    )
}

/// How to reach what `--keep` leaves, and how to do it again.
fn whereabouts(servers: &Servers) -> Result<String> {
    let directory = servers.directory()?;
    let program = std::env::current_exe().map_or_else(|_| "bulkload".to_owned(), |p| p.display().to_string());
    Ok(format!(
        "
source   psql {}
target   psql {}
rejects  {}
again    {program} sync -c {}
",
        servers.source_url(),
        servers.target_url(),
        directory.join(REJECTS_DIRECTORY).display(),
        directory.join(CONFIG_FILE).display(),
    ))
}

/// Runs what starts or ends processes where it holds up no async task.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| {
        Err(Error::new(Phase::Connect, Kind::Internal, format!("a server's thread ended: {panic}")))
    })
}
