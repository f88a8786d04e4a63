//! The work after the commit: validates foreign keys and removes old tables.
//!
//! The tables are correct without it, and all of it can be done later. Work that is blocked or interrupted here is left to
//! the next run, or to `clean`.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::Prepared;
use super::dispose::{Patience, dispose};
use crate::apply::Context;
use crate::error::{Error, Phase, Result};
use crate::pg::name::{Ident, TableName};
use crate::report::state::Unvalidated;

/// How long to try before leaving the rest to the next run: other groups wait to be applied.
pub(super) const SETTLE_WAIT: Duration = Duration::from_secs(10);

/// How long to wait for statements that have read a function's old body but have not yet locked the tables that it names.
/// They take milliseconds.
const BODY_WAIT: Duration = Duration::from_secs(2);

/// Pause between two checks.
const BODY_PAUSE: Duration = Duration::from_millis(5);

/// Validates foreign keys one after the other. Returns those that failed, with the reason.
pub(crate) async fn validate(
    client: &Client,
    keys: &[Unvalidated],
    patience: Patience,
) -> Vec<(Unvalidated, Error)> {
    let mut left = Vec::new();
    for key in keys {
        if let Err(error) = validate_one(client, key, patience).await {
            left.push((key.clone(), error));
        }
    }
    left
}

/// Validates a foreign key if it still exists.
async fn validate_one(client: &Client, key: &Unvalidated, patience: Patience) -> Result<()> {
    let (table, name) = (key.table(), Ident::new(&key.constraint));
    let what = format!("validating {} of {}", key.constraint, table.plain());
    let sql = "select exists (
         select from pg_catalog.pg_constraint k
         where k.conrelid = pg_catalog.to_regclass($1) and k.conname = $2 and k.contype = 'f' and not k.convalidated)";
    let row = client
        .query_one(sql, &[&table.to_string(), &key.constraint])
        .await
        .map_err(|e| Error::pg(Phase::Clean, &what, &e))?;
    if !row.get::<_, bool>(0) {
        return Ok(());
    }
    let sql = format!("alter table {table} validate constraint {name}");
    patience.run(client, &sql, &what, &[]).await
}

/// Validates the remaining foreign keys, and removes the old tables. Returns warnings about work left to the next run.
pub(in crate::apply) async fn settle(
    context: &Context<'_>,
    client: &Client,
    prepared: &Prepared,
    keys: &[Unvalidated],
) -> Vec<String> {
    let wait = context.lock_wait.min(SETTLE_WAIT);
    let patience = Patience { budget: context.lock_timeout, wait, wait_for_others: wait };
    let mut warnings = Vec::new();
    if !keys.is_empty() {
        let left = validate(client, keys, patience).await;
        let keys: Vec<Unvalidated> = left.iter().map(|(key, _)| key.clone()).collect();
        let recorded = context.books.owe(client, &keys).await;
        warnings.extend(left.iter().map(|(key, error)| {
            format!(
                "{} of {} is not validated yet: {error}; the next run retries",
                key.constraint,
                key.table().plain()
            )
        }));
        warnings.extend(recorded.err().map(|error| error.to_string()));
    }
    fail::fail_point!("swap.validated");
    if let Err(error) = remove_old(client, prepared, patience).await {
        let old: Vec<String> = prepared.pairs.iter().map(|pair| pair.old_table().plain()).collect();
        warnings.push(format!("{} could not be removed yet: {error}; the next run retries", old.join(", ")));
    }
    warnings
}

async fn remove_old(client: &Client, prepared: &Prepared, patience: Patience) -> Result<()> {
    if prepared.bound.rewrites_functions {
        wait_for_bodies(client).await?;
    }
    let old: Vec<TableName> = prepared.pairs.iter().map(super::Pair::old_table).collect();
    dispose(client, &old, patience).await
}

/// Waits for the statements now running in the database, [`BODY_WAIT`] at most. A statement that was about to call a function
/// may have read its body, which names the old table; only its transaction shows that.
async fn wait_for_bodies(client: &Client) -> Result<()> {
    let failed = |e| Error::pg(Phase::Clean, "waiting for statements that may still use an old table", &e);
    let sql = "select array(
         select pg_catalog.format('%s %s', l.virtualtransaction, l.pid) from pg_catalog.pg_locks l
         join pg_catalog.pg_stat_activity a on a.pid = l.pid
         where l.locktype = 'virtualxid' and l.granted and l.pid <> pg_catalog.pg_backend_pid()
             and a.datname = pg_catalog.current_database())";
    let running =
        async || -> Result<Vec<String>> { Ok(client.query_one(sql, &[]).await.map_err(failed)?.get(0)) };
    let before = running().await?;
    let until = Instant::now() + BODY_WAIT;
    while Instant::now() < until && running().await?.iter().any(|transaction| before.contains(transaction)) {
        tokio::time::sleep(BODY_PAUSE).await;
    }
    Ok(())
}
