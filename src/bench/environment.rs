//! The environment of the measurements: two servers, private schemas on each, and a directory. All of it is removed
//! afterwards.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::budget::unless_stopped;
use super::directory::Directory;
use super::procfs;
use crate::config::Secret;
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::cluster::{Cluster, Options, SUPERUSER};
use crate::pg::conninfo::{ConnInfo, Environment, ForLibpq};
use crate::pg::name::{Ident, literal};
use crate::pg::pooler;
use crate::pg::session::{self, Session, SessionSettings, Side};
use crate::run::RunId;

/// The servers to measure on.
#[derive(Debug, Clone)]
pub enum Place {
    /// Two throw-away servers on this machine.
    ThrowAway,
    /// The user's servers.
    Given {
        /// The source's URL.
        source: Secret,
        /// The target's URL.
        target: Secret,
    },
}

/// The prefix of all schemas of bench; the id of the bench follows.
const SCHEMA_PREFIX: &str = "bulkload_bench_";

/// The first key of the advisory locks of bench, "benc" in ASCII.
const LOCK_CLASS: i32 = 0x6265_6e63;

/// How long other sessions may queue behind us when a schema is dropped, the pause between attempts, and how long to retry: a
/// session may read one of our tables for hours, and the user who stopped the bench is waiting.
const DROP_BUDGET: Duration = Duration::from_millis(500);
const DROP_PAUSE: Duration = Duration::from_millis(200);
const DROP_WITHIN: Duration = Duration::from_secs(10);

/// Both ends, and everything that bench creates on them.
pub(super) struct Ground {
    /// The source.
    pub(super) source: End,
    /// The target.
    pub(super) target: End,
    /// Our schema on the target, and on the source if rows are generated there.
    pub(super) schema: Ident,
    /// Our schema on the target for the staging and state of the runs.
    pub(super) staging_schema: Ident,
    /// Our directory for files, on the throw-away source's disk or among the temporary files.
    pub(super) directory: PathBuf,
    /// Whether the servers are throw-away ones.
    pub(super) is_throw_away: bool,
    /// Declared last: sessions end before their servers, and files are removed with these.
    home: Home,
}

/// The resources that keep the environment alive.
#[expect(dead_code, reason = "held so that they are dropped")]
enum Home {
    /// They must be dropped on a thread that may block.
    Servers(Box<[Cluster; 2]>),
    Directory(Directory),
}

/// One end: our session, and the ways for others to connect.
pub(super) struct End {
    /// The side.
    pub(super) side: Side,
    /// The URL for the loader.
    pub(super) url: Secret,
    /// The connection string for psql.
    pub(super) libpq: ForLibpq,
    /// The session that holds the advisory lock showing that this bench is alive.
    pub(super) session: Session,
    /// The server's processes, if they run on this machine.
    pub(super) server: Option<procfs::Server>,
    info: ConnInfo,
    application: String,
}

impl Ground {
    /// Connects to both ends and creates the schemas, the source's only if it `fills_source`.
    ///
    /// # Errors
    /// Servers that cannot start, a failed connection, the same database on both ends, no privilege to create a schema.
    pub(super) async fn open(
        place: &Place,
        fills_source: bool,
        stop: &CancellationToken,
    ) -> Result<Self, Failure> {
        let ground = unless_stopped(stop, Phase::Connect, Box::pin(Self::connect(place))).await?;
        match ground.create_schemas(fills_source, stop).await {
            Ok(()) => Ok(ground),
            Err(error) => Err(Failure { error, left: ground.close().await }),
        }
    }

    /// Leaves nothing behind if it is cancelled.
    async fn connect(place: &Place) -> Result<Self> {
        let id = RunId::now();
        let (urls, home, directory) = match place {
            Place::ThrowAway => throw_away().await?,
            Place::Given { source, target } => {
                let directory = Directory::make()?;
                let path = directory.path().to_owned();
                ([source.clone(), target.clone()], Home::Directory(directory), path)
            }
        };
        let [source, target] = urls;
        let (source, target) = futures::try_join!(
            End::open(Side::Source, source, id.as_str()),
            End::open(Side::Target, target, id.as_str())
        )?;
        // Whatever the names and addresses, two connections share advisory locks only in the same database.
        if !(target.claim(&id).await? && source.claim(&id).await?) {
            return Err(Error::new(Phase::Connect, Kind::Refused, "source and target are the same database")
                .hint("Check the two URLs: bench measures the load from one database into another."));
        }
        let name = |suffix: &str| Ident::new(format!("{SCHEMA_PREFIX}{id}{suffix}"));
        Ok(Self {
            source,
            target,
            schema: name(""),
            staging_schema: name("_staging"),
            directory,
            is_throw_away: matches!(place, Place::ThrowAway),
            home,
        })
    }

    async fn create_schemas(&self, fills_source: bool, stop: &CancellationToken) -> Result<()> {
        let ends = [Some(&self.target), fills_source.then_some(&self.source)];
        for end in ends.into_iter().flatten() {
            if !self.is_throw_away {
                unless_stopped(stop, Phase::Clean, end.remove_dead()).await?;
            }
            end.run(&format!("create schema {}", self.schema), stop).await?;
        }
        Ok(())
    }

    /// Brings the servers into the same state before each measurement: no pending writes.
    pub(super) async fn settle(&self, stop: &CancellationToken) -> Result<()> {
        if self.is_throw_away {
            self.source.run("checkpoint", stop).await?;
            self.target.run("checkpoint", stop).await?;
        }
        Ok(())
    }

    /// Removes everything that bench created, whatever the outcome of the work. Returns errors for what could not be removed.
    pub(super) async fn close(self) -> Vec<Error> {
        let left = if self.is_throw_away {
            Vec::new()
        } else {
            let (target, source) = tokio::join!(self.clear(&self.target), self.clear(&self.source));
            [target, source].into_iter().filter_map(Result::err).collect()
        };
        let Self { source, target, home, .. } = self;
        drop((source, target));
        let _ = tokio::task::spawn_blocking(move || drop(home)).await;
        left
    }

    async fn clear(&self, end: &End) -> Result<()> {
        end.drop_schemas(&[&self.schema, &self.staging_schema]).await.map_err(|error| {
            error.context("the schemas of bench could not be removed").hint(format!(
                "Drop them by hand on the {}: drop schema if exists {}, {} cascade",
                end.side.name(),
                self.schema,
                self.staging_schema
            ))
        })
    }

    /// Returns the path of one of our files.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl End {
    async fn open(side: Side, url: Secret, id: &str) -> Result<Self> {
        let environment = Environment::from_process();
        let context = |e: Error| e.context(format!("the {}", side.name()));
        let info = ConnInfo::resolve(&url, &environment).map_err(context)?;
        let libpq = ForLibpq::resolve(&url, &environment).map_err(context)?;
        let application = format!("bulkload/bench/{id}");
        let settings = SessionSettings::new(side, &application);
        pooler::refuse_transaction_pooling(&info, &settings).await.map_err(context)?;
        let session = session::connect(&info, &settings).await.map_err(context)?;
        let failed = |e| Error::pg(Phase::Connect, format!("the {}", side.name()), &e);
        let row = session.client.query_one("select current_database()::text", &[]).await.map_err(failed)?;
        let server = procfs::Server::of_backend(session.backend_pid, row.get(0));
        Ok(Self { side, url, libpq, session, server, info, application })
    }

    /// Takes the advisory lock showing that the bench with this id is alive; `false` if the other end holds it.
    async fn claim(&self, id: &RunId) -> Result<bool> {
        let sql = format!("select pg_try_advisory_lock({LOCK_CLASS}, hashtext({}))", literal(id.as_str()));
        let row = self.session.client.query_one(&sql, &[]).await.map_err(|e| self.failed(&e))?;
        Ok(row.get(0))
    }

    /// Opens another session for the user's SQL, with the role's search_path.
    pub(super) async fn users_session(&self) -> Result<Session> {
        let settings = SessionSettings::new(self.side, &self.application).for_users_sql();
        session::connect(&self.info, &settings).await
    }

    /// Runs statements, and cancels them when the bench is stopped.
    pub(super) async fn run(&self, sql: &str, stop: &CancellationToken) -> Result<()> {
        self.unless_stopped(stop, self.session.client.batch_execute(sql)).await
    }

    /// Returns the first value of every row as text; cancelled as in [`End::run`].
    pub(super) async fn values(&self, sql: &str, stop: &CancellationToken) -> Result<Vec<String>> {
        let messages = self.unless_stopped(stop, self.session.client.simple_query(sql)).await?;
        let values = messages.iter().filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        Ok(values.collect())
    }

    /// Returns a number from the server; 0 if there is none.
    pub(super) async fn number(&self, sql: &str, stop: &CancellationToken) -> Result<u64> {
        let values = self.values(sql, stop).await?;
        Ok(values.first().and_then(|value| value.parse().ok()).unwrap_or(0))
    }

    async fn unless_stopped<T>(
        &self,
        stop: &CancellationToken,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T> {
        tokio::select! {
            done = work => done.map_err(|e| self.failed(&e)),
            () = stop.cancelled() => {
                self.session.cancel().await;
                Err(Error::cancelled(Phase::Stage))
            }
        }
    }

    /// Converts an error of this end's server.
    pub(super) fn failed(&self, error: &tokio_postgres::Error) -> Error {
        Error::pg(Phase::Stage, format!("the {}", self.side.name()), error)
    }

    /// Removes the schemas of killed benches, whose lock is free.
    async fn remove_dead(&self) -> Result<()> {
        let sql = format!(
            "select nspname::text from pg_namespace
             where nspname ~ '^{SCHEMA_PREFIX}[0-9a-z]{{12}}(_staging)?$' and pg_has_role(nspowner, 'usage')
                 and pg_try_advisory_lock({LOCK_CLASS}, hashtext(substr(nspname, {}, 12)))",
            SCHEMA_PREFIX.len() + 1
        );
        let rows = self.session.client.query(&sql, &[]).await.map_err(|e| self.failed(&e))?;
        let dead: Vec<Ident> = rows.iter().map(|row| Ident::new(row.get::<_, String>(0))).collect();
        if !dead.is_empty() {
            tracing::info!(phase = %Phase::Clean, "removing the leftovers of a killed bench on the {}", self.side.name());
            self.drop_schemas(&dead.iter().collect::<Vec<_>>()).await?;
        }
        Ok(())
    }

    /// Uses a separate session: the other one may be busy with a cancelled statement, or lost.
    async fn drop_schemas(&self, schemas: &[&Ident]) -> Result<()> {
        self.session.cancel().await;
        let mut settings = SessionSettings::new(self.side, &self.application);
        settings.lock_timeout = DROP_BUDGET;
        let session = session::connect(&self.info, &settings).await?;
        let sql = format!(
            "drop schema if exists {} cascade",
            schemas.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        );
        // The source holds nothing of ours if it is only read, and may then be read-only.
        let names: Vec<String> = schemas.iter().map(|schema| literal(schema.as_str())).collect();
        let ours = format!("select count(*) from pg_namespace where nspname in ({})", names.join(", "));
        let failed = |e| Error::pg(Phase::Clean, format!("the {}", self.side.name()), &e);
        let found = session.client.query_one(&ours, &[]).await.map_err(failed)?.get::<_, i64>(0);
        if found == 0 {
            return Ok(());
        }
        let gives_up = Instant::now() + DROP_WITHIN;
        let mut is_told = false;
        while let Err(error) = session.client.batch_execute(&sql).await {
            if Instant::now() >= gives_up {
                return Err(failed(error));
            }
            // A backend of ours that was cancelled, or whose program was killed, may need a moment to release its locks.
            if is_told || error.code() != Some(&SqlState::LOCK_NOT_AVAILABLE) {
                tracing::debug!(phase = %Phase::Clean, "{}", failed(error));
            } else {
                is_told = true;
                let limit = humantime::format_duration(DROP_WITHIN);
                tracing::warn!(
                    phase = %Phase::Clean,
                    "another session holds locks on objects to be removed on the {}: retrying for {limit}",
                    self.side.name()
                );
            }
            tokio::time::sleep(DROP_PAUSE).await;
        }
        Ok(())
    }
}

/// Starts two servers configured like live ones, except for settings that would disturb a measurement: no autovacuum, few
/// checkpoints.
async fn throw_away() -> Result<([Secret; 2], Home, PathBuf)> {
    tracing::info!(phase = %Phase::Connect, "starting two throw-away PostgreSQL servers");
    let options = || {
        Options::new()
            .setting("fsync", "on")
            .setting("full_page_writes", "on")
            .setting("autovacuum", "off")
            .setting("max_wal_size", "8GB")
            .setting("checkpoint_timeout", "1h")
    };
    let start = move || {
        std::thread::scope(|scope| {
            let source = scope.spawn(|| Cluster::start(options()));
            let target = Cluster::start(options());
            let panicked = |_| {
                Err(Error::new(Phase::Connect, Kind::Internal, "the thread that starts a server panicked"))
            };
            Ok([source.join().unwrap_or_else(panicked)?, target?])
        })
    };
    let servers = tokio::task::spawn_blocking(start).await.unwrap_or_else(|panic| {
        Err(Error::new(Phase::Connect, Kind::Internal, format!("the thread of a server ended: {panic}")))
    })?;
    let urls = [&servers[0], &servers[1]].map(|server| Secret::new(server.socket_url(SUPERUSER)));
    let directory = servers[0].dir().join("bench");
    let home = Home::Servers(Box::new(servers));
    std::fs::create_dir(&directory)
        .map_err(|e| Error::io(Phase::Stage, format!("cannot create {}", directory.display()), &e))?;
    Ok((urls, home, directory))
}

/// Returns the free bytes on the disk of `path`.
pub(super) fn free_space(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}
