//! Removing tables that nobody needs any more: old ones after an exchange, new ones that were never exchanged.
//!
//! Nobody reads them, but what they refer to is in use: DROP TABLE, and dropping a foreign key by itself, locks the referenced
//! table exclusively (manual, ALTER TABLE). So foreign keys go first, one by one, each within the budget for locks.

use std::time::{Duration, Instant};

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::error::{Error, Kind, Phase, Result};
use crate::pg::name::{Ident, TableName};

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// How long others may queue behind one attempt, and how long attempts are repeated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For one attempt.
    pub(crate) budget: Duration,
    /// For all of them.
    pub(crate) wait: Duration,
}

impl Patience {
    /// Runs statements in one transaction as soon as their locks are to be had.
    ///
    /// # Errors
    /// [`Kind::Lock`] when the patience is used up; the server's.
    pub(super) async fn run(self, client: &Client, sql: &str, what: &str) -> Result<()> {
        let budget_ms = self.budget.as_millis().max(1);
        let sql = format!("begin; set local lock_timeout = '{budget_ms}ms'; {sql}; commit");
        let until = Instant::now() + self.wait;
        loop {
            let Err(error) = client.batch_execute(&sql).await else { return Ok(()) };
            let error = Error::pg(Phase::Clean, what, &error);
            if client.batch_execute("rollback").await.is_err() {
                return Err(error);
            }
            let is_lock =
                error.kind() == Kind::Lock || error.code() == Some(&SqlState::T_R_DEADLOCK_DETECTED);
            if !is_lock || Instant::now() > until {
                return Err(error);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
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
    let quiet = quiet(client, &names).await.map_err(failed)?;
    let sql = format!("{quiet}truncate table only {}", names.join(", only "));
    patience.run(client, &sql, what).await?;
    fail::fail_point!("swap.emptied");
    let keys = client.query(include_str!("outgoing_keys.sql"), &[&names]).await.map_err(failed)?;
    for row in &keys {
        let (table, key): (&str, &str) = (row.get("table_name"), row.get("name"));
        let sql = format!("alter table {table} drop constraint {}", Ident::new(key));
        patience.run(client, &sql, what).await?;
    }
    fail::fail_point!("swap.unkeyed");
    patience.run(client, &format!("drop table {}", names.join(", ")), what).await
}

/// Statements that keep the tables' own triggers for TRUNCATE from firing. Where there are none nothing is altered: event
/// triggers would fire.
async fn quiet(client: &Client, names: &[String]) -> std::result::Result<String, tokio_postgres::Error> {
    // tgtype: TRIGGER_TYPE_TRUNCATE.
    let sql = "select t.name from pg_catalog.unnest($1::text[]) as t (name)
         where exists (select from pg_catalog.pg_trigger g
             where g.tgrelid = t.name::pg_catalog.regclass and not g.tgisinternal and g.tgtype & 32 <> 0)";
    let rows = client.query(sql, &[&names]).await?;
    Ok(rows
        .iter()
        .map(|row| format!("alter table {} disable trigger user; ", row.get::<_, &str>(0)))
        .collect())
}
