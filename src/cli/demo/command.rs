//! `bulkload demo` as a subcommand.

use clap::Args;

use super::acts::{self, Act, Stage};
use super::servers::Servers;
use super::world;
use crate::cli::exit::Exit;
use crate::cli::options::Globals;
use crate::cli::signals::Signals;
use crate::cli::terminal;
use crate::error::{Error, Kind, Phase, Result};

/// Show the whole job on throw-away local servers
///
/// Starts two PostgreSQL servers of its own, fills a desktop-like source and a mobile-like target, syncs all of the
/// one to the other, then what has changed, then what the app's users wrote back to the desktop; shows the results, and
/// removes everything. Needs the PostgreSQL server programs, and nothing else.
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

const EXAMPLES: &str = "\
Examples:
  bulkload demo
      15 tables, 92,387 rows
  bulkload demo --rows 5000000 --keep
      more of them, to look around in afterwards

Environment: BULKLOAD_PG_BINDIR names the directory of initdb and postgres,
where they are not found by themselves.";

impl Demo {
    /// Runs the demo and prints its result. Whatever comes of it, the servers are gone afterwards, unless they
    /// are to be kept and nobody asked to stop.
    pub(in crate::cli) async fn execute(&self, globals: &Globals, signals: &Signals) -> Result<Exit> {
        tracing::info!(phase = %Phase::Connect, "starting two throw-away PostgreSQL servers");
        let servers = blocking(Servers::start).await?;
        let shown = self.play(&servers, globals, signals).await;
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

    /// Fills the servers and plays all acts, until one fails. Whether none did.
    async fn play(&self, servers: &Servers, globals: &Globals, signals: &Signals) -> Result<bool> {
        tracing::info!(phase = %Phase::Connect, rows = self.rows,
            "filling a desktop's database and a mobile app's");
        signals.or_cancelled(Phase::Connect, servers.fill(self.rows)).await?;
        let stage = Stage { servers, rows: self.rows, keep: self.keep, globals, signals };
        for act in [Act::Whole, Act::Incremental, Act::Reverse, Act::Again] {
            let shown = stage.play(act).await?;
            terminal::print(shown.text)?;
            if !shown.is_ok {
                return Ok(false);
            }
        }
        Ok(true)
    }
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
back     {program} sync -c {}
",
        servers.source_url(),
        servers.target_url(),
        directory.join(acts::REJECTS_DIRECTORY).display(),
        directory.join(acts::CONFIG_FILE).display(),
        directory.join(acts::REVERSE_FILE).display(),
    ))
}

/// Runs what starts or ends processes where it holds up no async task.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| {
        Err(Error::new(Phase::Connect, Kind::Internal, format!("a server's thread ended: {panic}")))
    })
}
