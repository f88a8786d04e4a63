//! Advisory locks on the target: one for the run, one for each of its tables.
//!
//! They belong to the run's control session and die with it, so they tell a live run from a dead one, and keep two
//! runs from loading one table (PostgreSQL manual, 13.3.5 "Advisory Locks"). A partition's rows are those of the tables above it,
//! whose locks its run shares: two partitions can be loaded at once, but not a partition and a table above it.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio_postgres::Client;

use crate::error::{Error, Kind, Phase, Result};
use crate::pg::name::TableName;
use crate::pg::session::{Session, SessionSettings};
use crate::report::state::State;
use crate::run::id::RunId;
use crate::run::target::Target;

/// How long a lock that is taken is tried for: a run that died a moment ago is still being noticed by its server.
pub(crate) const CLAIM_WAIT: Duration = Duration::from_secs(10);

/// Between two tries.
const CLAIM_PAUSE: Duration = Duration::from_millis(250);

/// What a run's own lock is named.
fn run_key(run_id: &str) -> String {
    format!("bulkload run {run_id}")
}

/// The name of a table's lock.
fn table_key(table: &TableName) -> String {
    format!("bulkload table {table}")
}

/// How a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum LockMode {
    Exclusive,
    Shared,
}

/// The locks of a run, held by its control session.
#[derive(Debug)]
pub(crate) struct Claim {
    target: Target,
    settings: SessionSettings,
    state: State,
    run: RunId,
    run_key: String,
    tables: Vec<(TableName, LockMode)>,
    control: Mutex<Session>,
    /// Why the locks are not to be had again, once that is known: it is waited for only once.
    lost: OnceLock<String>,
}

impl Claim {
    /// Takes the run's lock and those of its tables, waiting up to [`CLAIM_WAIT`] for another run to end. `tables`: each with the
    /// partitioned tables above it.
    ///
    /// # Errors
    /// [`Kind::Refused`] if another run holds a table's lock, naming it.
    pub(crate) async fn take(
        session: Session,
        target: &Target,
        settings: &SessionSettings,
        (state, run): (&State, &RunId),
        tables: impl IntoIterator<Item = (TableName, Vec<TableName>)>,
    ) -> Result<Self> {
        let mut tables: Vec<(TableName, LockMode)> = tables
            .into_iter()
            .flat_map(|(table, above)| {
                let above = above.into_iter().map(|table| (table, LockMode::Shared));
                std::iter::once((table, LockMode::Exclusive)).chain(above)
            })
            .collect();
        tables.sort();
        tables.dedup();
        let claim = Self {
            target: target.clone(),
            settings: settings.clone(),
            state: state.clone(),
            run: run.clone(),
            run_key: run_key(run.as_str()),
            tables,
            control: Mutex::new(session),
            lost: OnceLock::new(),
        };
        let session = claim.control.lock().await;
        claim.lock_all(&session.client).await?;
        drop(session);
        Ok(claim)
    }

    /// Takes all locks within one [`CLAIM_WAIT`].
    async fn lock_all(&self, client: &Client) -> Result<()> {
        let until = Instant::now() + CLAIM_WAIT;
        if let Some(holder) = lock(client, (&self.run_key, LockMode::Exclusive), until).await? {
            let message =
                format!("another run has the same id, or the server still holds this one's lock ({holder})");
            return Err(Error::new(Phase::Stage, Kind::Refused, message).hint(
                "Run again: the server releases the lock once it has noticed that the session is gone.",
            ));
        }
        for (table, mode) in &self.tables {
            if let Some(holder) = lock(client, (&table_key(table), *mode), until).await? {
                let message = format!("{} is being loaded by another run ({holder})", table.plain());
                return Err(Error::new(Phase::Stage, Kind::Refused, message)
                    .hint("Wait until it has ended, or end its sessions; nothing was touched."));
            }
        }
        Ok(())
    }

    /// Fails unless the control session still holds the run's lock, as another session sees it.
    pub(crate) async fn check(&self, client: &Client) -> Result<()> {
        let pid = self.control.lock().await.backend_pid;
        let row = client
            .query_one(include_str!("advisory_lock_held.sql"), &[&self.run_key, &pid])
            .await
            .map_err(|e| Error::pg(Phase::Apply, "checking the run's lock", &e))?;
        if row.get(0) {
            return Ok(());
        }
        Err(Error::new(
            Phase::Apply,
            Kind::Transient,
            "the control session, which holds the advisory locks of these tables, is gone",
        ))
    }

    /// Brings the control session back if it broke, with all locks, as soon as the target is there. Once another run has
    /// them, that is final.
    ///
    /// # Errors
    /// As [`Claim::take`]: another run may have taken a table meanwhile, and may even have ended.
    pub(crate) async fn restore(&self) -> Result<()> {
        let mut control = self.control.lock().await;
        if let Some(why) = self.lost.get() {
            return Err(Error::new(Phase::Stage, Kind::Refused, why));
        }
        // A round trip, because a connection that broke is not known to be broken before it is used.
        if !control.client.is_closed() && control.client.batch_execute("").await.is_ok() {
            return Ok(());
        }
        let session = self.target.connect(&self.settings).await?;
        end_predecessor(&session.client, control.backend_pid, &self.settings.application_name).await?;
        let taken = async {
            self.lock_all(&session.client).await?;
            self.refuse_taken_over(&session.client).await
        };
        if let Err(error) = taken.await {
            if error.kind() == Kind::Refused {
                let _ = self.lost.set(error.message().to_owned());
            }
            return Err(error);
        }
        *control = session;
        Ok(())
    }

    /// Who found the run's lock free took it for dead, and has removed what it had loaded.
    async fn refuse_taken_over(&self, client: &Client) -> Result<()> {
        let Some(by) = self.state.closed_by(client, self.run.as_str()).await? else { return Ok(()) };
        let message =
            format!("the control session was gone, and {by} removed the rows that this run had loaded");
        Err(Error::new(Phase::Stage, Kind::Refused, message).hint("Run again."))
    }

    /// The control session, for work outside any transaction.
    pub(crate) async fn control(&self) -> tokio::sync::MutexGuard<'_, Session> {
        self.control.lock().await
    }
}

/// Whether a run is alive: somebody holds its lock. If nobody does, we hold it until [`unlock`].
pub(crate) async fn lock_dead_run(client: &Client, run_id: &str) -> Result<bool> {
    try_lock(client, (&run_key(run_id), LockMode::Exclusive)).await
}

/// Gives the lock of a dead run back.
pub(crate) async fn unlock(client: &Client, run_id: &str) -> Result<()> {
    client
        .execute(
            "select pg_catalog.pg_advisory_unlock(pg_catalog.hashtextextended($1, 0))",
            &[&run_key(run_id)],
        )
        .await
        .map(drop)
        .map_err(|e| Error::pg(Phase::Clean, "releasing an advisory lock", &e))
}

/// Takes a lock, trying until a moment. Who holds it, if it is not to be had.
async fn lock(client: &Client, (key, mode): (&str, LockMode), until: Instant) -> Result<Option<String>> {
    let mut is_told = false;
    while !try_lock(client, (key, mode)).await? {
        let holder = holder(client, key).await?;
        if Instant::now() > until {
            return Ok(Some(holder));
        }
        if !std::mem::replace(&mut is_told, true) {
            tracing::info!(phase = %Phase::Stage, "waiting for the lock \"{key}\", which another session holds ({holder})");
        }
        tokio::time::sleep(CLAIM_PAUSE).await;
    }
    Ok(None)
}

/// Ends our own session that broke, where its server has not noticed that yet: it holds our locks until then.
async fn end_predecessor(client: &Client, pid: i32, application_name: &str) -> Result<()> {
    client
        .execute(include_str!("advisory_lock_predecessor.sql"), &[&pid, &application_name])
        .await
        .map(drop)
        .map_err(|e| Error::pg(Phase::Stage, "ending the session that broke", &e))
}

async fn try_lock(client: &Client, (key, mode): (&str, LockMode)) -> Result<bool> {
    let sql = match mode {
        LockMode::Exclusive => "select pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended($1, 0))",
        LockMode::Shared => {
            "select pg_catalog.pg_try_advisory_lock_shared(pg_catalog.hashtextextended($1, 0))"
        }
    };
    let row = client
        .query_one(sql, &[&key])
        .await
        .map_err(|e| Error::pg(Phase::Stage, "taking an advisory lock", &e))?;
    Ok(row.get(0))
}

async fn holder(client: &Client, key: &str) -> Result<String> {
    let row = client
        .query_opt(include_str!("advisory_lock_holder.sql"), &[&key])
        .await
        .map_err(|e| Error::pg(Phase::Stage, "looking up the other run", &e))?;
    Ok(row.map_or_else(
        || "its session is ending".to_owned(),
        |row| format!("{}, pid {}", row.get::<_, &str>("application"), row.get::<_, i32>("pid")),
    ))
}
