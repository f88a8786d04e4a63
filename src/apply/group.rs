//! Applies one group in one transaction.

use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_util::sync::CancellationToken;

use super::commit::{commit, transaction_id};
use super::locks::{self, Wanted};
use super::merge::{self, Merge};
use super::{METHODS, Ready, Way, blockers, fill, method, sequences, swap, trace, triggers, verify};
use crate::backoff::Backoff;
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::catalog::{Oid, Sequence};
use crate::pg::conninfo::ConnInfo;
use crate::pg::name::TableName;
use crate::pg::session::{self, Session, SessionSettings};
use crate::report::state::Unvalidated;
use crate::report::{TableReport, millis};

/// The first pause after a failed attempt to acquire the locks. Pauses double, with jitter.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(200);

/// The longest pause between attempts.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What a group's transaction needs from the run.
pub(crate) trait Books: Sync {
    /// Fails unless the run still holds the advisory locks that keep other runs away from its tables.
    fn check_claim<'a>(&'a self, client: &'a Client) -> BoxFuture<'a, Result<()>>;

    /// Records the outcomes in the applying transaction.
    fn record<'a>(&'a self, client: &'a Client, outcomes: &'a [Outcome]) -> BoxFuture<'a, Result<()>>;

    /// Records the foreign keys that the group has yet to validate: in the applying transaction, and again after they are
    /// validated.
    fn owe<'a>(&'a self, client: &'a Client, keys: &'a [Unvalidated]) -> BoxFuture<'a, Result<()>>;

    /// Returns whether the outcomes that a transaction recorded are visible to `client`.
    fn is_recorded<'a>(&'a self, client: &'a Client, outcomes: &'a [Outcome]) -> BoxFuture<'a, Result<bool>>;

    /// Returns the error that another run has replaced the planned live table, with that run.
    fn exchanged<'a>(&'a self, client: &'a Client, table: &'a TableName) -> BoxFuture<'a, Result<Error>>;

    /// Reports a failed attempt to acquire the locks, its number, and the blocking sessions.
    fn waiting(&self, attempt: u32, blockers: &str);

    /// Reports the current work on the group before its transaction.
    fn doing(&self, what: &str);
}

/// How to apply a group.
pub(crate) struct Context<'a> {
    /// The target.
    pub(crate) connect: &'a ConnInfo,
    /// Settings of sessions that apply.
    pub(crate) settings: &'a SessionSettings,
    /// How long other sessions may queue behind ours, per attempt.
    pub(crate) lock_timeout: Duration,
    /// How long to keep trying.
    pub(crate) lock_wait: Duration,
    /// The run's part of the work.
    pub(crate) books: &'a dyn Books,
    /// The schemas of new and old tables.
    pub(crate) schemas: &'a swap::Schemas,
    /// The most sessions that build indexes at once.
    pub(crate) builders: usize,
    /// Work already done on the new tables.
    pub(crate) early: &'a swap::Early,
    /// Ends the transaction unless it is already committing.
    pub(crate) cancel: &'a CancellationToken,
}

/// The outcome for one table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    /// The table's entry in the config.
    pub(crate) entry: usize,
    /// Rows loaded.
    pub(crate) staged: u64,
    /// Rows inserted.
    pub(crate) inserted: u64,
    /// Rows that replaced one with the same key.
    pub(crate) updated: u64,
    /// Rows that existed already, unchanged.
    pub(crate) unchanged: u64,
    /// Rows that were not applied.
    pub(crate) skipped: u64,
    /// Rows deleted.
    pub(crate) deleted: u64,
    /// Time spent on indexes and constraints before the locks.
    pub(crate) index: Duration,
    /// Warnings for the operator.
    pub(crate) warnings: Vec<String>,
}

impl Outcome {
    /// Adds its counts to a report.
    pub(crate) fn count(&self, report: &mut TableReport) {
        report.inserted = self.inserted;
        report.updated = self.updated;
        report.deleted = self.deleted;
        report.unchanged = self.unchanged;
        report.skipped = self.skipped;
        report.index_ms = millis(self.index);
    }
}

/// The outcome for a group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Applied {
    /// Per table, referenced tables first.
    pub(crate) outcomes: Vec<Outcome>,
    /// From acquiring the strongest lock to the commit.
    pub(crate) lock: Duration,
    /// The successful attempt as a whole.
    pub(crate) apply: Duration,
    /// Attempts to acquire the locks, including the successful one.
    pub(crate) lock_attempts: u32,
}

/// Applies a group: tables in circles, referenced ones first. Commits everything or nothing.
///
/// # Errors
/// [`Kind::Lock`] when `lock_wait` is over; [`Kind::Transient`] when the connection broke and nothing was committed, in which
/// case the tables must be verified again; a guard's error or any server error, after which nothing has changed.
pub(crate) async fn apply_group(context: &Context<'_>, group: &[Vec<&Ready<'_>>]) -> Result<Applied> {
    let started = Instant::now();
    let mut session = session::connect(context.connect, context.settings).await?;
    let mut backoff = Backoff::new(PAUSE_MIN, PAUSE_MAX);
    let mut attempt = 1;
    // Rows copied straight into a table are not traced: they would have to be extracted again.
    let can_note = group.iter().flatten().all(|table| table.staging.is_some());
    let mut refused: Option<Error> = None;
    let merges = merges(group)?;
    session.refuse_read_only(Phase::Apply).await?;
    let built = build(context, &session, group).await?;
    compare(context, &session, &merges).await?;
    loop {
        let began = Instant::now();
        let mut exchange = None;
        let is_traced = refused.is_some();
        let error = match try_once(context, &session, group, (&merges, &built, &mut exchange), is_traced)
            .await
        {
            Ok(Done { mut outcomes, lock, unvalidated, xid }) => {
                let apply = began.elapsed();
                tokio::select! {
                    () = triggers::warn_of_changed(&session.client, group, &xid, &mut outcomes) => {}
                    () = context.cancel.cancelled() => session.cancel().await,
                }
                swap::warn_of_overwritten(&session.client, &built, &mut outcomes).await;
                let warnings = settle_swaps(context, session, exchange.as_ref(), &unvalidated).await;
                outcomes.iter_mut().take(1).for_each(|first| first.warnings.extend(warnings.iter().cloned()));
                return Ok(Applied { outcomes, lock, apply, lock_attempts: attempt });
            }
            Err(error) => error,
        };
        if session.client.is_closed() {
            return Err(refused.unwrap_or(error));
        }
        let rolled_back = session.client.batch_execute("rollback").await;
        if let Some(first) = refused {
            return Err(trace::name(&session.client, group, first, &error).await);
        }
        if rolled_back.is_ok()
            && can_note
            && trace::is_about_a_row(&error)
            && trace::prepare(&session.client).await.is_ok()
        {
            refused = Some(error);
            continue;
        }
        let error = triggers::explain(error, group);
        // A deadlock is a failure to acquire a lock, too.
        let is_deadlock = error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED);
        if rolled_back.is_err() || !(error.kind() == Kind::Lock || is_deadlock) {
            return Err(error);
        }
        let who = match error.code() {
            Some(_) => in_the_way(&session.client, group, exchange.as_ref()).await.unwrap_or_default(),
            // No session holds a lock; what was prepared has changed.
            None => error.message().to_owned(),
        };
        context.books.waiting(attempt, &who);
        let pause = backoff.pause();
        if started.elapsed() + pause > context.lock_wait {
            return Err(gave_up(context, attempt, &who));
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = context.cancel.cancelled() => return Err(Error::cancelled(Phase::Apply)),
        }
        attempt += 1;
        if session.client.is_closed() {
            session = session::connect(context.connect, context.settings).await?;
            compare(context, &session, &merges).await?;
        }
    }
}

/// Returns the tables of a group whose differences are written.
fn merges<'a>(group: &[Vec<&'a Ready<'a>>]) -> Result<Vec<Merge<'a>>> {
    let mut merges = Vec::new();
    for &table in group.iter().flatten() {
        if let Way::Merge(policy) = method(table.plan.apply)?.way() {
            merges.push(Merge::new(table, policy)?);
        }
    }
    Ok(merges)
}

/// Completes the tables that replace live ones.
async fn build<'a>(
    context: &Context<'_>,
    session: &Session,
    group: &[Vec<&'a Ready<'a>>],
) -> Result<Vec<swap::Built<'a>>> {
    let (mut swapped, mut rewritten) = (Vec::new(), Vec::new());
    for &table in group.iter().flatten() {
        if matches!(method(table.plan.apply)?.way(), Way::Swap) {
            swapped.push(table);
        } else {
            rewritten.push(table.plan.oid);
        }
    }
    swap::build(context, session, &swapped, &rewritten).await
}

async fn compare(context: &Context<'_>, session: &Session, merges: &[Merge<'_>]) -> Result<()> {
    tokio::select! {
        compared = merge::compare(&session.client, merges, context.lock_wait) => compared,
        () = context.cancel.cancelled() => {
            session.cancel().await;
            Err(Error::cancelled(Phase::Apply))
        }
    }
}

fn gave_up(context: &Context<'_>, attempts: u32, who: &str) -> Error {
    let wait = humantime::format_duration(context.lock_wait);
    let who = if who.is_empty() { "a transaction that has since ended".to_owned() } else { who.to_owned() };
    Error::new(
        Phase::Apply,
        Kind::Lock,
        format!(
            "could not acquire the locks within lock_wait = {wait} ({attempts} attempts); blocked by {who}"
        ),
    )
    .hint(blockers::HINT)
}

/// Returns all locks of a group, in the order in which they are taken.
fn wanted(group: &[Vec<&Ready<'_>>], exchange: Option<&swap::Prepared>) -> Result<Vec<Wanted>> {
    let mut wanted = exchange.map(swap::Prepared::wanted).unwrap_or_default();
    for table in group.iter().flatten() {
        let lock = method(table.plan.apply)?.lock();
        wanted.push(Wanted::table(table.plan.name.clone(), table.plan.oid, lock));
    }
    Ok(locks::in_order(wanted))
}

/// Returns the tables that are not swapped.
fn rewritten(group: &[Vec<&Ready<'_>>], built: &[swap::Built<'_>]) -> Vec<TableName> {
    let is_swapped = |table: &Ready<'_>| built.iter().any(|new| new.is_of(table));
    group.iter().flatten().filter(|table| !is_swapped(table)).map(|table| table.plan.name.clone()).collect()
}

/// The result of an attempt.
struct Done {
    outcomes: Vec<Outcome>,
    lock: Duration,
    /// Foreign keys yet to be validated.
    unvalidated: Vec<Unvalidated>,
    /// The transaction ID.
    xid: String,
}

/// Returns the sequences to lock with the tables, ordered by name. Sequences of swapped tables are left out: they go away.
async fn sequences_to_restart(
    client: &Client,
    group: &[Vec<&Ready<'_>>],
    exchange: Option<&swap::Prepared>,
) -> Result<Vec<Sequence>> {
    let is_swapped = |table: &Ready<'_>| exchange.is_some_and(|exchange| exchange.replaces(table.plan.oid));
    let mut found = Vec::new();
    for table in group.iter().flatten().filter(|table| !is_swapped(table)) {
        found.extend(sequences::to_restart(client, table).await?);
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Describes the sessions that hold a table of the group, or else one of its sequences.
async fn in_the_way(
    client: &Client,
    group: &[Vec<&Ready<'_>>],
    exchange: Option<&swap::Prepared>,
) -> Result<String> {
    let who = blockers::describe(client, &wanted(group, exchange)?).await?;
    if !who.is_empty() {
        return Ok(who);
    }
    let oids: Vec<Oid> =
        group.iter().flatten().flat_map(|table| &table.extremes).map(|(sequence, _)| sequence.oid).collect();
    blockers::of_sequences(client, &oids).await
}

/// Makes one attempt. After an error the transaction is still open, unless the connection is lost.
async fn try_once(
    context: &Context<'_>,
    session: &Session,
    group: &[Vec<&Ready<'_>>],
    (merges, built, swaps): (&[Merge<'_>], &[swap::Built<'_>], &mut Option<swap::Prepared>),
    is_traced: bool,
) -> Result<Done> {
    let client = &session.client;
    let prepared = async {
        *swaps = swap::prepare(context, session, built, rewritten(group, built)).await?;
        let swaps = swaps.as_ref();
        let swapped = swap::outcomes(client, built).await?;
        let begun = async {
            let begun = client.batch_execute("begin isolation level read committed").await;
            begun.map_err(|e| Error::pg(Phase::Apply, "beginning the transaction", &e))
        };
        // The previous steps may have taken hours. Both messages are sent before either is answered.
        futures::try_join!(begun, session.refuse_read_only(Phase::Apply))?;
        context.books.check_claim(client).await?;
        let sequences = sequences_to_restart(client, group, swaps).await?;
        // The outcome of a swap is known before its locks, so no session has to wait while it is recorded.
        let known = match swaps.filter(|swaps| swaps.is_alone()) {
            Some(swaps) => {
                let unvalidated = swaps.unvalidated(&[]);
                let xid = note(context, session, &swapped, &unvalidated).await?;
                Some((swapped.clone(), unvalidated, xid))
            }
            None => None,
        };
        let mut budget = context.lock_timeout;
        if let Some(swaps) = swaps {
            budget = budget.saturating_sub(swaps.search(client, budget).await?);
        }
        locks::take(client, &wanted(group, swaps)?, &sequences, budget).await?;
        fail::fail_point!("apply.locked");
        refuse_filled(client, group).await?;
        // This comes first: ALTER TABLE fails while foreign keys of the transaction have checks pending.
        let keys = match swaps {
            Some(swaps) => swaps.exchange(client).await?,
            None => Vec::new(),
        };
        let done = match known {
            Some(known) => known,
            None => {
                let are_off = triggers::disable(client, group).await?;
                let outcomes = [swapped, exchange(client, group, merges, is_traced).await?].concat();
                if are_off {
                    triggers::restore(client).await?;
                }
                let mut unvalidated = Vec::new();
                if let Some(swaps) = swaps {
                    swaps.search_rewritten(client, &keys).await?;
                    unvalidated = swaps.unvalidated(&keys);
                }
                let xid = note(context, session, &outcomes, &unvalidated).await?;
                (outcomes, unvalidated, xid)
            }
        };
        fail::fail_point!("apply.exchanged");
        Ok(done)
    };
    let (outcomes, unvalidated, xid) = tokio::select! {
        prepared = prepared => prepared?,
        () = context.cancel.cancelled() => {
            session.cancel().await;
            return Err(Error::cancelled(Phase::Apply));
        }
    };
    if context.cancel.is_cancelled() {
        return Err(Error::cancelled(Phase::Apply));
    }
    let held_ms = locks::held_ms(client).await?;
    fail::fail_point!("apply.committing");
    let committing = Instant::now();
    commit(context, session, &xid, &outcomes).await?;
    fail::fail_point!("apply.committed");
    let lock = Duration::from_secs_f64(held_ms.max(0.0) / 1000.0) + committing.elapsed();
    Ok(Done { outcomes, lock, unvalidated, xid })
}

/// Records the outcomes in the transaction. Returns the transaction ID.
async fn note(
    context: &Context<'_>,
    session: &Session,
    outcomes: &[Outcome],
    unvalidated: &[Unvalidated],
) -> Result<String> {
    context.books.record(&session.client, outcomes).await?;
    if !unvalidated.is_empty() {
        context.books.owe(&session.client, unvalidated).await?;
    }
    transaction_id(session).await
}

/// Fails if a table that may be filled only while empty has received rows. Its lock is held.
async fn refuse_filled(client: &Client, group: &[Vec<&Ready<'_>>]) -> Result<()> {
    for table in group.iter().flatten().filter(|table| table.plan.guards.only_if_empty) {
        let name = &table.plan.name;
        let row = client
            .query_one(&format!("select exists (select 1 from {name})"), &[])
            .await
            .map_err(|e| Error::pg(Phase::Apply, format!("looking for rows in {}", name.plain()), &e))?;
        if row.get(0) {
            let message =
                format!("{} is no longer empty: another session wrote to it during the run", name.plain());
            return Err(Error::new(Phase::Apply, Kind::Guard, message)
                .hint("Choose what happens to the existing rows: --strategy replace, upsert or insert."));
        }
    }
    Ok(())
}

/// Runs what follows the commit of an exchange, as far as possible now. Returns warnings.
async fn settle_swaps(
    context: &Context<'_>,
    mut session: Session,
    swaps: Option<&swap::Prepared>,
    unvalidated: &[Unvalidated],
) -> Vec<String> {
    let Some(swaps) = swaps else { return Vec::new() };
    if session.client.is_closed() {
        session = match session::connect(context.connect, context.settings).await {
            Ok(session) => session,
            Err(error) => return vec![format!("the old tables are left to the next run: {error}")],
        };
    }
    tokio::select! {
        warnings = swap::settle(context, &session.client, swaps, unvalidated) => warnings,
        () = context.cancel.cancelled() => {
            session.cancel().await;
            vec!["the old tables are left to the next run: stopped on request".to_owned()]
        }
    }
}

/// Removes all old rows, referencing tables first; writes the differences; inserts all new rows, referenced tables first;
/// moves the sequences.
///
/// No table whose differences are written references a table whose rows are exchanged completely: those require every
/// referencing table to be emptied.
async fn exchange(
    client: &Client,
    group: &[Vec<&Ready<'_>>],
    merges: &[Merge<'_>],
    is_traced: bool,
) -> Result<Vec<Outcome>> {
    let children_first: Vec<&Ready<'_>> = group.iter().rev().flatten().copied().collect();
    let mut removed: Vec<(usize, u64)> = Vec::new();
    // Methods with stronger locks go first: TRUNCATE requires that no row of the table is referenced.
    let mut methods: Vec<_> = METHODS.iter().collect();
    methods.sort_by_key(|method| std::cmp::Reverse(method.lock()));
    for method in methods {
        let Way::Exchange(way) = method.way() else { continue };
        let tables: Vec<&Ready<'_>> =
            children_first.iter().filter(|table| table.plan.apply == method.method()).copied().collect();
        if tables.is_empty() {
            continue;
        }
        let rows = way.remove(client, &tables).await?;
        removed.extend(tables.iter().map(|table| table.plan.entry).zip(rows));
    }
    fail::fail_point!("apply.removed");
    let mut outcomes = Vec::new();
    for (merge, counts) in merges.iter().zip(merge::apply(client, merges, is_traced).await?) {
        outcomes.push(settle_merged(client, merge.table(), counts).await?);
    }
    for circle in group {
        // The exchanged tables of a circle have one method, or methods that fill in the same way.
        let mut way = None;
        let mut exchanged = Vec::new();
        for &table in circle {
            if let Way::Exchange(exchange) = method(table.plan.apply)?.way() {
                way.get_or_insert(exchange);
                exchanged.push(table);
            }
        }
        let Some(way) = way else { continue };
        let filled = way.fill(client, &exchanged, is_traced).await?;
        for (table, inserted) in exchanged.iter().zip(filled) {
            let deleted =
                removed.iter().find(|(entry, _)| *entry == table.plan.entry).map_or(0, |(_, rows)| *rows);
            outcomes.push(settle(client, table, inserted, deleted).await?);
        }
    }
    Ok(outcomes)
}

/// Moves the sequences of a table whose differences were written, and accounts for every staged row.
async fn settle_merged(client: &Client, table: &Ready<'_>, counts: merge::Counts) -> Result<Outcome> {
    let warnings = sequences::advance(client, &table.extremes).await?;
    let merge::Counts { inserted, updated, deleted, unchanged, skipped } = counts;
    let staged = table.staged;
    if inserted + updated + unchanged + skipped != staged {
        let name = table.plan.name.plain();
        let message = format!(
            "{name}: {staged} rows were staged, but {inserted} were inserted, {updated} updated, {unchanged} \
             unchanged and {skipped} skipped; nothing was changed"
        );
        return Err(Error::new(Phase::Apply, Kind::Guard, message));
    }
    let (entry, index) = (table.plan.entry, Duration::ZERO);
    Ok(Outcome { entry, staged, inserted, updated, deleted, unchanged, skipped, index, warnings })
}

/// Compares the inserted rows with the expected ones, and moves the table's sequences.
async fn settle(client: &Client, table: &Ready<'_>, inserted: u64, deleted: u64) -> Result<Outcome> {
    let name = table.plan.name.plain();
    let mut warnings = Vec::new();
    let staged = if table.staging.is_some() {
        warnings.extend(sequences::advance(client, &table.extremes).await?);
        table.staged
    } else {
        if let verify::Judgement::Skip(why) =
            verify::judge(table.plan, inserted == 0, inserted, table.live_rows)?
        {
            return Err(Error::new(Phase::Apply, Kind::Guard, format!("{name}: {why}")));
        }
        let extremes = verify::extremes_of_live(client, table.plan).await?;
        warnings.extend(sequences::advance(client, &extremes).await?);
        inserted
    };
    let skipped = fill::left_out(client, table).await?;
    if inserted + skipped != staged {
        return Err(Error::new(
            Phase::Apply,
            Kind::Guard,
            format!(
                "{name}: {staged} rows were staged, but {inserted} were inserted and {skipped} skipped; \
                 nothing was changed"
            ),
        )
        .hint(triggers::keeping_out(table.plan)));
    }
    Ok(Outcome {
        entry: table.plan.entry,
        staged,
        inserted,
        updated: 0,
        deleted,
        unchanged: 0,
        skipped,
        index: Duration::ZERO,
        warnings,
    })
}
