//! Removing tables that nobody needs any more: old ones after an exchange, new ones that were never exchanged.
//!
//! Nobody reads them, but what they refer to is in use: DROP TABLE, and dropping a foreign key by itself, locks the referenced
//! table exclusively (manual, ALTER TABLE). So foreign keys go first, one by one, each within the budget for locks.

use std::time::{Duration, Instant};

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::apply::blockers::{self, Holder};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::name::{Ident, TableName};

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// How long others may queue behind one attempt, and how long attempts are repeated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For one attempt.
    pub(crate) budget: Duration,
    /// For all of them, as long as only sessions of ours are in the way: those of a run that died end soon.
    pub(crate) wait: Duration,
    /// For all of them, where others are.
    pub(crate) wait_for_others: Duration,
}

impl Patience {
    /// Runs statements in one transaction as soon as their locks are to be had. `tables` are those that they lock, as SQL.
    ///
    /// # Errors
    /// [`Kind::Lock`] when the patience is used up, with who is in the way; the server's.
    pub(crate) async fn run(self, client: &Client, sql: &str, what: &str, tables: &[String]) -> Result<()> {
        let budget_ms = self.budget.as_millis().max(1);
        let sql = format!("begin; set local lock_timeout = '{budget_ms}ms'; {sql}; commit");
        let began = Instant::now();
        loop {
            let Err(error) = client.batch_execute(&sql).await else { return Ok(()) };
            let error = Error::pg(Phase::Clean, what, &error);
            if client.batch_execute("rollback").await.is_err() {
                return Err(error);
            }
            let is_lock =
                error.kind() == Kind::Lock || error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED);
            if !is_lock {
                return Err(error);
            }
            let holders = blockers::of_tables(client, tables).await.unwrap_or_default();
            let are_others = holders.iter().any(|holder| !holder.is_ours);
            let wait = if are_others { self.wait_for_others } else { self.wait };
            if began.elapsed() > wait {
                return Err(held_up(error, what, &holders));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn held_up(error: Error, what: &str, holders: &[Holder]) -> Error {
    if holders.is_empty() {
        return error;
    }
    let message = format!("{what}: blocked by {}", blockers::words(holders));
    Error::new(Phase::Clean, Kind::Lock, message)
}

/// Drops tables of one schema. Nothing else is dropped with them.
///
/// # Errors
/// [`Kind::Lock`] when the patience is used up; the server's, if something of others depends on them.
pub(crate) async fn dispose(client: &Client, tables: &[TableName], patience: Patience) -> Result<()> {
    if tables.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = tables.iter().map(ToString::to_string).collect();
    let what = "removing old tables";
    let failed = |e: tokio_postgres::Error| Error::pg(Phase::Clean, what, &e);
    // Without rows nothing refers to what others want to delete, even if a foreign key has to wait for its lock.
    let before = before_truncate(client, &names).await.map_err(failed)?;
    let sql = format!("{before}truncate table only {}", names.join(", only "));
    patience.run(client, &sql, what, &names).await?;
    fail::fail_point!("swap.emptied");
    let keys = client.query(include_str!("outgoing_keys.sql"), &[&names]).await.map_err(failed)?;
    for row in &keys {
        let (table, key, referenced): (String, &str, String) =
            (row.get("table_name"), row.get("name"), row.get("referenced"));
        let sql = format!("alter table {table} drop constraint {}", Ident::new(key));
        patience.run(client, &sql, what, &[table, referenced]).await?;
    }
    fail::fail_point!("swap.unkeyed");
    patience.run(client, &format!("drop table {}", names.join(", ")), what, &names).await
}

/// Statements without which tables could not be emptied in silence: their own triggers for TRUNCATE must not fire, and an owner
/// may have taken the right from itself. Where there is no need nothing is altered: event triggers would fire.
async fn before_truncate(
    client: &Client,
    names: &[String],
) -> std::result::Result<String, tokio_postgres::Error> {
    // tgtype: TRIGGER_TYPE_TRUNCATE.
    let sql = "select t.name,
            exists (select from pg_catalog.pg_trigger g
                where g.tgrelid = t.name::pg_catalog.regclass and not g.tgisinternal and g.tgtype & 32 <> 0) as has_triggers,
            pg_catalog.has_table_privilege(t.name, 'TRUNCATE') as may_truncate
         from pg_catalog.unnest($1::text[]) as t (name)";
    let mut statements = String::new();
    for row in &client.query(sql, &[&names]).await? {
        let name: &str = row.get("name");
        if row.get("has_triggers") {
            statements.push_str(&format!("alter table {name} disable trigger user; "));
        }
        if !row.get::<_, bool>("may_truncate") {
            statements.push_str(&format!("grant truncate on table {name} to current_user; "));
        }
    }
    Ok(statements)
}
