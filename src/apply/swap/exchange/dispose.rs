//! Removes obsolete tables: old ones after an exchange, and new ones that were never exchanged.
//!
//! No session reads them, but the tables that they reference are in use: DROP TABLE, like dropping a foreign key, locks the
//! referenced table exclusively (manual, ALTER TABLE). So foreign keys are dropped first, one by one, each within the lock
//! budget.

use std::time::{Duration, Instant};

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::apply::blockers::{self, Holder};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::name::{Ident, TableName};

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// How long other sessions may queue behind an attempt, and how long attempts are repeated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// The budget of one attempt.
    pub(crate) budget: Duration,
    /// The budget of all attempts while only sessions of this program are blocking: those of a dead run end soon.
    pub(crate) wait: Duration,
    /// The budget of all attempts while other sessions are blocking.
    pub(crate) wait_for_others: Duration,
}

impl Patience {
    /// Runs statements in one transaction, repeating them until their locks are available. `tables` are the tables that they
    /// lock, as SQL.
    ///
    /// # Errors
    /// [`Kind::Lock`] when the budget is used up, with the blocking sessions; any server error.
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

/// Drops tables of one schema, and nothing else with them.
///
/// # Errors
/// [`Kind::Lock`] when the budget is used up; a server error if another object depends on them.
pub(crate) async fn dispose(client: &Client, tables: &[TableName], patience: Patience) -> Result<()> {
    if tables.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = tables.iter().map(ToString::to_string).collect();
    let what = "removing old tables";
    let failed = |e: tokio_postgres::Error| Error::pg(Phase::Clean, what, &e);
    // Without rows they reference nothing that other sessions want to delete, even while dropping a foreign key waits for its
    // lock.
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

/// Returns the statements needed before tables can be truncated silently: their own TRUNCATE triggers must not fire, and an
/// owner may have revoked the privilege from itself. Tables that need nothing are not altered, since that would fire event
/// triggers.
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
