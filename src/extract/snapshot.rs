//! The one snapshot that all streams of a run read.
//!
//! The order is fixed: lock the source's tables ACCESS SHARE, read the facts that watermarks depend on ([`Horizon`]),
//! then export. A concurrent TRUNCATE or DDL statement then either precedes the snapshot or waits until the run has
//! read everything (PostgreSQL manual, 13.5 "Caveats": TRUNCATE and some forms of ALTER TABLE are not MVCC-safe).
//! Attaching a partition does not wait for that lock, and a change before the lock may have come after planning. The
//! snapshot itself is therefore asked whether the tables still have the parts and types that the plan reads; a binary
//! COPY of another type would not always fail. If a watermark is a transaction number, the exporting connection also
//! checks that the source's WAL is flushed up to the snapshot.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Horizon;
use crate::backoff::Backoff;
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::catalog::{Oid, RelationKind};
use crate::pg::conninfo::ConnInfo;
use crate::pg::history::{self, History};
use crate::pg::name::{Ident, TableName, literal};
use crate::pg::session::{self, SessionSettings};
use crate::pg::wire::Wire;
use crate::plan::WatermarkKind;

/// Interval at which the idle connection that holds the snapshot sends a query, so that no firewall or pooler drops
/// it.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Starts a transaction that imports a snapshot, or that is itself the snapshot.
const BEGIN: &str = "begin isolation level repeatable read read only";

/// Starts the exporting transaction. Statements that wait for locks use their own snapshots, and the exported one is
/// newer than all of them (manual, 9.27.5).
const BEGIN_EXPORTING: &str = "begin isolation level read committed read only";

/// Every reading transaction can return to this savepoint after an error without losing its snapshot and locks.
const SAVE: &str = "savepoint chunk";
const BACK: &str = "rollback to savepoint chunk";

/// How long a reading connection may wait for locks that the exporting one already holds. A longer wait means that
/// another session queued between the two for an exclusive lock, and that session waits for us.
const READER_LOCK_TIMEOUT: &str = "1s";

/// Pauses before all locks are taken again.
const AGAIN_MIN: Duration = Duration::from_millis(200);
const AGAIN_MAX: Duration = Duration::from_secs(5);

/// The parts of the source that a run reads.
#[derive(Debug, Default)]
pub(crate) struct Scene {
    relations: BTreeSet<(TableName, bool)>,
    parts: BTreeSet<(TableName, TableName)>,
    columns: BTreeSet<(TableName, Ident, Oid)>,
    has_watermarks: bool,
    /// Whether a watermark is a transaction number.
    has_numbers: bool,
    /// The history of the recorded transaction numbers, if rows are read by them.
    histories: Vec<History>,
}

impl Scene {
    /// Adds a relation that must not change until everything is read.
    pub(crate) fn lock(&mut self, relation: &TableName, kind: RelationKind) {
        let has_lock_table =
            matches!(kind, RelationKind::Table | RelationKind::Partitioned | RelationKind::View);
        self.relations.insert((relation.clone(), has_lock_table));
    }

    /// Adds a heap that is read separately, as a part of a relation.
    pub(crate) fn part(&mut self, relation: &TableName, heap: &TableName) {
        self.parts.insert((relation.clone(), heap.clone()));
    }

    /// Adds a column of a relation and its expected type.
    pub(crate) fn column(&mut self, relation: &TableName, column: &Ident, type_oid: Oid) {
        self.columns.insert((relation.clone(), column.clone(), type_oid));
    }

    /// Adds a table for which a watermark is recorded.
    pub(crate) fn watermark(&mut self, kind: WatermarkKind) {
        self.has_watermarks = true;
        self.has_numbers |= kind == WatermarkKind::Xmin;
    }

    /// Records that rows are read by transaction numbers of this history.
    pub(crate) fn history(&mut self, history: History) {
        self.histories.push(history);
    }

    /// Returns statements that lock everything ACCESS SHARE, which conflicts only with ACCESS EXCLUSIVE. LOCK TABLE
    /// does not support materialized views and foreign tables; a query that names them locks them as well.
    fn lock_sql(&self) -> String {
        let statement = |(relation, has_lock_table): &(TableName, bool)| {
            if *has_lock_table {
                format!("; lock table {relation} in access share mode")
            } else {
                format!("; select from {relation} where false")
            }
        };
        self.relations.iter().map(statement).collect()
    }

    /// Returns the result of [`Scene::shape_sql`] if nothing has changed.
    fn expected_shape(&self) -> String {
        let parts = self.parts.iter().map(|(relation, heap)| format!("{relation} {heap}"));
        let columns = self.columns.iter().map(|(relation, column, oid)| format!("{relation} {column} {oid}"));
        let (mut parts, mut columns): (Vec<String>, Vec<String>) = (parts.collect(), columns.collect());
        parts.sort_unstable();
        columns.sort_unstable();
        [parts, columns].concat().join("\n")
    }

    /// Returns the expression for the current parts and columns.
    fn shape_sql(&self) -> String {
        let relations: BTreeSet<String> =
            self.parts.iter().map(|(relation, _)| relation.to_string()).collect();
        let parts = PARTS.replace("/* relations */", &array(relations));
        let columns = COLUMNS
            .replace(
                "/* relations */",
                &array(self.columns.iter().map(|(relation, ..)| relation.to_string())),
            )
            .replace(
                "/* columns */",
                &array(self.columns.iter().map(|(_, column, _)| column.as_str().to_owned())),
            );
        format!("pg_catalog.concat_ws(e'\\n', {parts}, {columns})")
    }
}

fn array(texts: impl IntoIterator<Item = String>) -> String {
    let texts: Vec<String> = texts.into_iter().map(|text| literal(&text)).collect();
    format!("array[{}]::text[]", texts.join(", "))
}

/// The heaps of relations, one per line.
const PARTS: &str = include_str!("parts.sql");

/// The types of columns, one per line.
const COLUMNS: &str = include_str!("columns.sql");

/// The snapshot of a run, held open on the source until [`Snapshot::release`] or drop.
#[derive(Debug)]
pub(crate) struct Snapshot {
    connect: ConnInfo,
    settings: SessionSettings,
    /// Takes the locks of a reading connection.
    locks: String,
    /// Number of connections that were opened when it was taken.
    opened: usize,
    /// Idle connections inside reading transactions.
    idle: Mutex<Vec<Wire>>,
    /// The horizon, if requested.
    horizon: Option<Horizon>,
    /// Whether everything it sees survives a crash of the source.
    is_flushed: watch::Receiver<bool>,
    kind: Held,
}

#[derive(Debug)]
enum Held {
    Exported {
        id: String,
        lost: watch::Receiver<bool>,
        stop: Option<oneshot::Sender<()>>,
        task: JoinHandle<()>,
    },
    /// The source cannot export: the single connection is the snapshot, lent to one reader at a time.
    Single { turns: Arc<Semaphore> },
}

/// A connection that reads the snapshot.
#[derive(Debug)]
pub(crate) struct Reader {
    /// The session, inside the reading transaction.
    pub(crate) wire: Wire,
    /// The lock on a single shared connection, for which the other readers wait.
    turn: Option<OwnedSemaphorePermit>,
}

impl Reader {
    /// Returns whether other readers wait for this connection.
    pub(crate) fn is_lent(&self) -> bool {
        self.turn.is_some()
    }

    /// Takes the connection out, and returns the rest, into which [`Reader::join`] puts it back.
    pub(crate) fn split(self) -> (Wire, Turn) {
        (self.wire, Turn(self.turn))
    }

    /// Puts a connection back.
    pub(crate) fn join(wire: Wire, turn: Turn) -> Self {
        Self { wire, turn: turn.0 }
    }
}

/// Exclusive use of the snapshot's single connection. If it is dropped without a connection, the snapshot is gone.
#[derive(Debug)]
pub(crate) struct Turn(Option<OwnedSemaphorePermit>);

impl Snapshot {
    /// Locks the tables, exports a snapshot and opens `readers` connections that read it, or fewer if the source does
    /// not accept as many. `settings` are those of the extracting sessions.
    ///
    /// The readers take their locks immediately, not at their first read: a TRUNCATE that queued for a table in
    /// between would wait for the exporting connection, and a new reader would wait behind it forever.
    ///
    /// # Errors
    /// The locks could not be acquired within `lock_wait`, a table has other parts or columns than those of `scene`,
    /// or the server returned an error.
    pub(crate) async fn take(
        connect: &ConnInfo,
        settings: &SessionSettings,
        scene: &Scene,
        readers: usize,
        lock_wait: Duration,
    ) -> Result<Self> {
        let started = Instant::now();
        let mut backoff = Backoff::new(AGAIN_MIN, AGAIN_MAX);
        loop {
            let left = lock_wait.saturating_sub(started.elapsed());
            let mut snapshot = Self::lock_and_export(connect, settings, scene, left).await?;
            match snapshot.open_readers(readers).await {
                Err(error) if error.kind() == Kind::Lock && started.elapsed() < lock_wait => {
                    tracing::warn!(phase = %Phase::Snapshot, %error, "locking the source tables again");
                    snapshot.release().await;
                    tokio::time::sleep(backoff.pause()).await;
                }
                opened => return opened.map(|()| snapshot),
            }
        }
    }

    async fn lock_and_export(
        connect: &ConnInfo,
        settings: &SessionSettings,
        scene: &Scene,
        lock_wait: Duration,
    ) -> Result<Self> {
        let mut wire = open(connect, settings).await?;
        let locks = scene.lock_sql();
        let take = format!("; set local lock_timeout = '{}ms'{locks}", lock_wait.as_millis().max(1));
        wire.execute(&format!("{BEGIN_EXPORTING}{take}")).await.map_err(blame_lock)?;
        fail::fail_point!("snapshot.locked");
        let horizon = match scene.has_watermarks {
            true => Some(Horizon::read(&mut wire, scene.has_numbers).await?),
            false => None,
        };
        for history in &scene.histories {
            horizon.as_ref().map_or(Ok(()), |horizon| horizon.refuse_other_history(history))?;
        }
        fail::fail_point!("snapshot.horizon");
        let shape = scene.shape_sql();
        let exported = wire.query(&format!("select pg_catalog.pg_export_snapshot(), {shape}")).await;
        let (found, id) = match exported {
            Ok(rows) => two_values(rows)?,
            Err(e) if e.kind() != Kind::Transient => {
                tracing::warn!(phase = %Phase::Snapshot, reason = %e,
                    "the source cannot export its snapshot: all tables are read over one connection");
                // The failure ended the transaction; the first query of the next one takes the snapshot.
                wire.execute(&format!("rollback; {BEGIN}{take}")).await.map_err(blame_lock)?;
                let (found, _) = two_values(wire.query(&format!("select null, {shape}")).await?)?;
                wire.execute(SAVE).await?;
                (found, None)
            }
            Err(e) => return Err(e.context("exporting the snapshot")),
        };
        if found.unwrap_or_default() != scene.expected_shape() {
            let message = "partitions, inheriting tables or columns of a source table changed while the run was being prepared";
            return Err(Error::new(Phase::Snapshot, Kind::Schema, message).hint("Run again."));
        }
        let mut flush = match horizon.as_ref().is_some_and(Horizon::has_history) {
            true => Some(Flush::begin(&mut wire, connect, settings).await?),
            false => None,
        };
        let (flushed, is_flushed) = watch::channel(flush.as_ref().is_some_and(|flush| flush.is_done));
        let (kind, idle) = match id {
            Some(id) => (hold(wire, id, flush, flushed), Vec::new()),
            None => {
                if let Some(flush) = &mut flush {
                    flush.finish(&mut wire).await?;
                    flushed.send_replace(flush.is_done);
                    wire.execute(BACK).await?;
                }
                (Held::Single { turns: Arc::new(Semaphore::new(1)) }, vec![wire])
            }
        };
        Ok(Self {
            connect: connect.clone(),
            settings: settings.clone(),
            locks,
            opened: idle.len(),
            idle: Mutex::new(idle),
            horizon,
            is_flushed,
            kind,
        })
    }

    /// Opens the readers concurrently. A refused connection is tolerated unless the cause is a lock or all are
    /// refused.
    async fn open_readers(&mut self, readers: usize) -> Result<()> {
        let Held::Exported { id, .. } = &self.kind else { return Ok(()) };
        let opened = join_all((0..readers).map(|_| self.import(id))).await;
        let mut refusal = None;
        for reader in opened {
            match reader {
                Ok(wire) => self.idle.get_mut().push(wire),
                Err(error) if error.kind() == Kind::Lock => return Err(error),
                Err(error) => refusal = Some(error),
            }
        }
        self.opened = self.idle.get_mut().len();
        match refusal {
            Some(error) if self.opened == 0 => Err(error),
            Some(error) => {
                let opened = self.opened;
                tracing::warn!(phase = %Phase::Snapshot, %error, "the source accepted {opened} of {readers} connections: continuing with fewer streams");
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Opens a connection that reads an exported snapshot and holds its locks.
    async fn import(&self, id: &str) -> Result<Wire> {
        let mut wire = open(&self.connect, &self.settings).await?.tapped()?;
        let import = format!("{BEGIN}; set transaction snapshot {}", literal(id));
        match wire.execute(&import).await {
            Ok(()) => {}
            Err(e) if e.is_transient() => return Err(e),
            Err(_) => return Err(gone()),
        }
        let locks = format!("set local lock_timeout = '{READER_LOCK_TIMEOUT}'{}; {SAVE}", self.locks);
        wire.execute(&locks).await.map_err(blame_lock)?;
        Ok(wire)
    }

    /// Returns the horizon; `None` unless the scene requested it.
    pub(crate) fn horizon(&self) -> Option<&Horizon> {
        self.horizon.as_ref()
    }

    /// Waits until everything the snapshot sees survives a crash of the source, for at most [`FLUSH_WAIT_MAX`], and
    /// returns whether it does. Used only if a watermark is a transaction number.
    pub(crate) async fn is_flushed(&self) -> bool {
        let mut flushed = self.is_flushed.clone();
        // Also ends when the checking connection is lost, and with it the proof.
        let waited = timeout(FLUSH_WAIT_MAX, flushed.wait_for(|is_flushed| *is_flushed)).await;
        waited.is_ok_and(|flushed| flushed.is_ok())
    }

    /// Returns how many of `wanted` streams can read it at once.
    pub(crate) fn streams(&self, wanted: usize) -> usize {
        wanted.min(self.opened).max(1)
    }

    /// Returns whether an open connection can be closed and opened again.
    pub(crate) fn outlives_connections(&self) -> bool {
        matches!(self.kind, Held::Exported { .. })
    }

    /// Returns a connection that reads this snapshot; waits for the single connection if it is in use. The caller
    /// returns it with [`Snapshot::give_back`].
    ///
    /// # Errors
    /// [`Kind::Server`], not transient, once the snapshot is gone, because nothing can be read consistently any more.
    pub(crate) async fn open(&self) -> Result<Reader> {
        let (id, turn) = match &self.kind {
            Held::Exported { lost, .. } if *lost.borrow() => return Err(gone()),
            Held::Exported { id, .. } => (Some(id), None),
            Held::Single { turns } => (None, Some(turns.clone().acquire_owned().await.map_err(|_| gone())?)),
        };
        let idle = self.idle.lock().await.pop();
        let wire = match (idle, id) {
            (Some(wire), _) => wire,
            (None, None) => return Err(gone()),
            // The session that waits for an exclusive lock may give up, so another attempt is worthwhile.
            (None, Some(id)) => self.import(id).await.map_err(|e| match e.kind() {
                Kind::Lock => e.kind_is(Kind::Transient),
                _ => e,
            })?,
        };
        Ok(Reader { wire, turn })
    }

    /// Takes back a connection that is between two statements, whether or not the last one failed.
    pub(crate) async fn give_back(&self, mut reader: Reader) {
        match reader.wire.execute(BACK).await {
            Ok(()) => self.idle.lock().await.push(reader.wire),
            Err(error) => tracing::debug!(phase = %Phase::Load, %error, "a reading connection was lost"),
        }
    }

    /// Ends the transactions that hold and read the snapshot.
    pub(crate) async fn release(mut self) {
        for wire in self.idle.get_mut().drain(..) {
            wire.close().await;
        }
        if let Held::Exported { stop, task, .. } = &mut self.kind {
            if let Some(stop) = stop.take() {
                let _ = stop.send(());
            }
            let _ = task.await;
        }
    }
}

fn gone() -> Error {
    Error::new(Phase::Load, Kind::Server, "the source's snapshot is gone, so the remaining rows cannot be read")
        .hint("The source restarted or the snapshot's connection broke. Run again; nothing was applied for this table.")
}

/// Returns the second and the first value of a single row.
fn two_values(rows: Vec<Vec<Option<String>>>) -> Result<(Option<String>, Option<String>)> {
    let row: Option<[Option<String>; 2]> = rows.into_iter().next().and_then(|row| row.try_into().ok());
    let [first, second] =
        row.ok_or_else(|| Error::new(Phase::Snapshot, Kind::Internal, "a row of two values was expected"))?;
    Ok((second, first))
}

fn blame_lock(error: Error) -> Error {
    let is_lock = error.kind() == Kind::Lock;
    let error = error.context("locking the source tables (ACCESS SHARE)");
    if is_lock {
        return error
            .hint("Another session holds an exclusive lock on one of them: see pg_locks on the source, or raise lock_wait.");
    }
    error
}

async fn open(connect: &ConnInfo, settings: &SessionSettings) -> Result<Wire> {
    Ok(Wire::new(session::open_stream(connect, settings).await?, Phase::Load))
}

/// How long the source may take to flush its WAL up to the snapshot. Its WAL writer does so within milliseconds of a
/// commit (`wal_writer_delay`), including an asynchronous one.
const FLUSH_WAIT_MAX: Duration = Duration::from_secs(10);

/// Interval between two checks.
const FLUSH_PAUSE: Duration = Duration::from_millis(100);

/// Number of checks after which a commit is issued for the source to flush.
const FLUSH_LOOKS: u32 = 5;

/// The wait until everything a snapshot sees is on the source's disk.
///
/// The check runs on the session that holds the snapshot. A live session proves that the server has not crashed
/// since, so the WAL before the position read just after the snapshot is the WAL of these transactions. Each
/// transaction that had ended by then, with a number or rolled back, has its record before that position; a
/// recovering server therefore reuses none of their numbers.
struct Flush {
    insert: u64,
    page_bytes: u64,
    is_done: bool,
    looks: u32,
    connect: ConnInfo,
    settings: SessionSettings,
}

impl Flush {
    /// Reads the WAL position just after the snapshot was taken.
    async fn begin(wire: &mut Wire, connect: &ConnInfo, settings: &SessionSettings) -> Result<Self> {
        let sql =
            "select pg_catalog.pg_current_wal_insert_lsn(), pg_catalog.current_setting('wal_block_size')";
        let row = wire.query(sql).await?.into_iter().next().unwrap_or_default();
        let text = |column: usize| row.get(column).and_then(Option::as_deref);
        let mut flush = Self {
            insert: text(0).and_then(history::lsn).unwrap_or(u64::MAX),
            page_bytes: text(1).and_then(|bytes| bytes.parse().ok()).unwrap_or(8192),
            is_done: false,
            looks: 0,
            connect: connect.clone(),
            settings: settings.clone(),
        };
        flush.look(wire).await?;
        Ok(flush)
    }

    async fn look(&mut self, wire: &mut Wire) -> Result<()> {
        let rows = wire.query("select pg_catalog.pg_current_wal_flush_lsn()").await?;
        let flush = rows.first().and_then(|row| row.first()?.as_deref().and_then(history::lsn));
        self.is_done = flush.is_some_and(|flush| history::is_flushed(self.insert, flush, self.page_bytes));
        self.looks += 1;
        Ok(())
    }

    /// Pauses and checks. Without commits, the last WAL records (of VACUUM, or of a reader that prunes a page) may
    /// stay in memory for long: an empty transaction with a number makes the WAL writer flush them.
    async fn look_again(&mut self, wire: &mut Wire) -> Result<()> {
        tokio::time::sleep(FLUSH_PAUSE).await;
        if self.looks == FLUSH_LOOKS
            && let Ok(mut other) = open(&self.connect, &self.settings).await
        {
            let committed = other.execute("select pg_catalog.txid_current()").await;
            tracing::debug!(phase = %Phase::Snapshot, ?committed, "committed an empty transaction to make the source flush");
            other.close().await;
        }
        self.look(wire).await
    }

    /// Checks until the WAL is flushed or the wait is over.
    async fn finish(&mut self, wire: &mut Wire) -> Result<()> {
        let until = Instant::now() + FLUSH_WAIT_MAX;
        while !self.is_done && Instant::now() < until {
            self.look_again(wire).await?;
        }
        Ok(())
    }
}

/// Keeps the exporting transaction open and alive, and reports when what it sees is flushed.
fn hold(mut wire: Wire, id: String, flush: Option<Flush>, flushed: watch::Sender<bool>) -> Held {
    let (stop, mut stopped) = oneshot::channel();
    let (lose, lost) = watch::channel(false);
    let task = tokio::spawn(async move {
        let work = async {
            if let Some(mut flush) = flush.filter(|flush| !flush.is_done) {
                while !flush.is_done {
                    flush.look_again(&mut wire).await?;
                }
                flushed.send_replace(true);
            }
            loop {
                tokio::time::sleep(KEEPALIVE).await;
                wire.execute("select 1").await?;
            }
        };
        let ended: Result<std::convert::Infallible> = tokio::select! {
            _ = &mut stopped => return wire.close().await,
            ended = work => ended,
        };
        let Err(error) = ended;
        tracing::warn!(phase = %Phase::Snapshot, %error, "the snapshot's connection broke");
        let _ = lose.send(true);
    });
    Held::Exported { id, lost, stop: Some(stop), task }
}
