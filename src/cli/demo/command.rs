//! The `bulkload demo` subcommand.

use clap::Args;

use super::acts::{self, Act, Stage};
use super::servers::Servers;
use super::world;
use crate::cli::exit::Exit;
use crate::cli::options::Globals;
use crate::cli::signals::Signals;
use crate::cli::terminal;
use crate::error::{Error, Kind, Phase, Result};

/// Demonstrate a complete sync on throw-away local servers
///
/// Starts two PostgreSQL servers and fills one as the database of a desktop program and the other as that of a mobile app.
/// Runs a full sync, an incremental sync, and a sync of the app's own rows back to the desktop. Shows the results and
/// removes both servers. Requires only the PostgreSQL server programs.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(in crate::cli) struct Demo {
    /// Total number of rows in the source
    #[arg(
        long,
        value_name = "N",
        default_value_t = world::ROWS,
        value_parser = clap::value_parser!(u64).range(world::ROWS_MIN..=world::ROWS_MAX)
    )]
    rows: u64,

    /// Keep the servers running, and print how to connect to and stop them
    #[arg(long)]
    keep: bool,
}

const EXAMPLES: &str = "\
Examples:
  bulkload demo
      sync 15 tables with 92,387 rows
  bulkload demo --rows 5000000 --keep
      sync more rows and keep the servers for inspection

Environment: BULKLOAD_PG_BINDIR is the directory of initdb and postgres, if
bulkload does not find them itself.";

impl Demo {
    /// Runs the demo and prints its results. Always removes the servers afterwards, unless `--keep` is given and no signal
    /// was received.
    pub(in crate::cli) async fn execute(&self, globals: &Globals, signals: &Signals) -> Result<Exit> {
        tracing::info!(phase = %Phase::Connect, "starting two throw-away PostgreSQL servers");
        let servers = blocking(Servers::start).await?;
        let shown = self.play(&servers, globals, signals).await;
        if self.keep && signals.exit().is_none() {
            let whereabouts = whereabouts(&servers)?;
            let stop = blocking(|| servers.leave()).await?;
            terminal::print(format_args!(
                "{whereabouts}\nBoth servers keep running. To stop them and remove all their files:\n  {}\n  {}",
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

    /// Fills the servers and plays the acts until one fails. Returns whether all succeeded.
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

/// Returns how to reach the servers that `--keep` leaves, and the commands that repeat the syncs.
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

/// Runs blocking work, such as starting or stopping a server, outside the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| {
        Err(Error::new(Phase::Connect, Kind::Internal, format!("the thread of a server panicked: {panic}")))
    })
}
