//! The demo's two servers.

use std::path::PathBuf;
use std::thread;

use tokio_postgres::{Client, NoTls, Row};

use super::world;
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::cluster::{Cluster, Options, SUPERUSER};

/// The desktop's database on the source server.
pub const SOURCE_DATABASE: &str = "desktop";

/// The app's database on the target server.
pub const TARGET_DATABASE: &str = "mobile";

/// Counts and hashes the app's own rows, in tables of the app and in tables that it shares with the desktop.
const APP_ROWS: &str = "
    select count(*), coalesce(md5(string_agg(r, ' ' order by r)), '')
    from (select n::text from sitenotes n union all select p::text from sitephotos p union all select u::text from app_users u
        union all select t::text from jobtasks t where source = 'M'
        union all select w::text from workdiary w where source = 'M') as rows (r)";

/// Counts the app's rows on the desktop: their keys start at 1,000,000,000.
const RETURNED_ROWS: &str = "select (select count(*) from jobtasks where jt_id >= 1000000000)
    + (select count(*) from workdiary where wd_id >= 1000000000)";

/// Two throw-away servers with the demo's databases. Dropping this stops both and removes their files; that blocks, and
/// must not happen on an async thread.
#[derive(Debug)]
pub struct Servers {
    source: Cluster,
    target: Cluster,
}

impl Servers {
    /// Starts both servers at the same time. Blocks for about two seconds.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start() -> Result<Self> {
        // Supabase sets this to publish changes to Realtime.
        let options = || Options::new().setting("wal_level", "logical");
        thread::scope(|scope| {
            let source = scope.spawn(|| Cluster::start(options()));
            let target = Cluster::start(options());
            let source = source.join().unwrap_or_else(|_| {
                Err(Error::new(
                    Phase::Connect,
                    Kind::Internal,
                    "the thread that starts the source server panicked",
                ))
            });
            Ok(Self { source: source?, target: target? })
        })
    }

    /// Creates and fills both databases at the same time; `rows` is the total number of rows in the source.
    ///
    /// # Errors
    /// As [`world::counts`], and errors reported by a server.
    pub async fn fill(&self, rows: u64) -> Result<()> {
        let (source, target) = (world::source_sql(rows)?, world::target_sql(rows)?);
        tokio::try_join!(
            create(&self.source, SOURCE_DATABASE, &source),
            create(&self.target, TARGET_DATABASE, &target)
        )?;
        Ok(())
    }

    /// Returns the URI of the desktop's database.
    #[must_use]
    pub fn source_url(&self) -> String {
        self.source.url(SOURCE_DATABASE)
    }

    /// Returns the URI of the app's database.
    #[must_use]
    pub fn target_url(&self) -> String {
        self.target.url(TARGET_DATABASE)
    }

    /// Changes rows on the desktop.
    ///
    /// # Errors
    /// Errors reported by the server.
    pub async fn change(&self) -> Result<()> {
        run(&self.source, SOURCE_DATABASE, world::CHANGES).await
    }

    /// Returns the number of the app's own rows and a checksum of them.
    ///
    /// # Errors
    /// Errors reported by the server.
    pub async fn app_rows(&self) -> Result<(u64, String)> {
        let row = ask(&self.target, TARGET_DATABASE, APP_ROWS).await?;
        Ok((u64::try_from(row.get::<_, i64>(0)).unwrap_or(0), row.get(1)))
    }

    /// Returns the number of the app's rows on the desktop.
    ///
    /// # Errors
    /// Errors reported by the server.
    pub async fn returned_rows(&self) -> Result<u64> {
        let row = ask(&self.source, SOURCE_DATABASE, RETURNED_ROWS).await?;
        Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or(0))
    }

    /// Returns a directory for the demo's files, created on first use. It is removed with the source server's files.
    ///
    /// # Errors
    /// `Kind::Io` if it cannot be created.
    pub fn directory(&self) -> Result<PathBuf> {
        let path = self.source.dir().join("demo");
        match std::fs::create_dir(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(Error::io(Phase::Config, format!("cannot create the directory {}", path.display()), &e))
            }
            _ => Ok(path),
        }
    }

    /// Leaves both servers running and returns the shell commands that stop them and remove their files.
    ///
    /// # Errors
    /// As [`Cluster::leave`].
    pub fn leave(self) -> Result<[String; 2]> {
        let commands = [self.source.stop_command(), self.target.stop_command()];
        self.source.leave()?;
        let other = format!("The source server keeps running. To stop it: {}", commands[0]);
        self.target.leave().map_err(|e| e.hint(other))?;
        Ok(commands)
    }
}

/// Creates and fills a database through the Unix socket, which only this user and root can access.
async fn create(server: &Cluster, database: &str, sql: &str) -> Result<()> {
    run(server, SUPERUSER, &format!("create database {database}")).await?;
    run(server, database, sql).await.map_err(|e| e.context(format!("cannot fill the database {database}")))
}

async fn run(server: &Cluster, database: &str, sql: &str) -> Result<()> {
    with(server, database, async |client| client.batch_execute(sql).await).await
}

async fn ask(server: &Cluster, database: &str, sql: &str) -> Result<Row> {
    with(server, database, async |client| client.query_one(sql, &[]).await).await
}

async fn with<T>(
    server: &Cluster,
    database: &str,
    work: impl AsyncFnOnce(&Client) -> std::result::Result<T, tokio_postgres::Error>,
) -> Result<T> {
    let failed = |e| Error::pg(Phase::Connect, "the demo's server", &e);
    let (client, connection) =
        tokio_postgres::connect(&server.socket_url(database), NoTls).await.map_err(failed)?;
    // The connection ends when its client is dropped; the client reports its errors.
    let driver = tokio::spawn(connection);
    let done = work(&client).await.map_err(failed);
    drop(client);
    let _ = driver.await;
    done
}
