//! The ledger of chunks that have landed.
//!
//! A chunk's rows and its ledger row commit together, so that after a lost reply the ledger tells whether they did.
//! The ledger is UNLOGGED like staging: a server crash empties both, and they still agree. Rows copied into permanent
//! tables use a permanent ledger.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use crate::error::{Error, Phase, Result};
use crate::pg::name::{Ident, TableName, literal};

/// The ledger of one run.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    schema: Ident,
    run_id: String,
    /// A permanent table for entries whose rows survive a crash, and these entries.
    durable: Option<(TableName, Vec<usize>)>,
}

impl Ledger {
    /// Returns the ledger of `run_id` in the staging schema.
    pub(crate) fn new(schema: &Ident, run_id: &str) -> Self {
        Self { schema: schema.clone(), run_id: run_id.to_owned(), durable: None }
    }

    /// Likewise, with another table for the entries whose rows survive a crash.
    pub(crate) fn with_durable(mut self, table: TableName, entries: Vec<usize>) -> Self {
        self.durable = Some((table, entries));
        self
    }

    fn table(&self, entry: usize) -> String {
        match &self.durable {
            Some((table, entries)) if entries.contains(&entry) => table.to_string(),
            _ => format!("{}.ledger", self.schema),
        }
    }

    /// Creates the ledger's table unless it exists; runs no DDL if it does.
    ///
    /// # Errors
    /// Errors of the server.
    pub(crate) async fn ensure(client: &Client, schema: &Ident) -> Result<()> {
        if Self::exists(client, schema).await? {
            return Ok(());
        }
        let name = format!("{schema}.ledger");
        // Two concurrent first runs must not both create it: `if not exists` alone can still collide.
        let key = literal(&format!("bulkload state {schema}"));
        let sql = format!(
            "begin;
             select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended({key}, 0));
             create unlogged table if not exists {name} (
                 run_id text not null, entry int not null, chunk int not null, rows bigint not null,
                 primary key (run_id, entry, chunk));
             commit"
        );
        client.batch_execute(&sql).await.map_err(|e| Error::pg(Phase::Stage, "setting up the ledger", &e))
    }

    async fn exists(client: &Client, schema: &Ident) -> Result<bool> {
        let row = client
            .query_one("select pg_catalog.to_regclass($1) is not null", &[&format!("{schema}.ledger")])
            .await
            .map_err(|e| Error::pg(Phase::Stage, "looking for the ledger", &e))?;
        Ok(row.get(0))
    }

    /// Returns the runs that have entries.
    ///
    /// # Errors
    /// Errors of the server.
    pub(crate) async fn runs(client: &Client, schema: &Ident) -> Result<Vec<String>> {
        if !Self::exists(client, schema).await? {
            return Ok(Vec::new());
        }
        let rows = client
            .query(&format!("select distinct run_id from {schema}.ledger"), &[])
            .await
            .map_err(|e| Error::pg(Phase::Clean, "reading the ledger", &e))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Removes the entries of a dead run, if the ledger exists.
    ///
    /// # Errors
    /// Errors of the server.
    pub(crate) async fn forget_dead(client: &Client, schema: &Ident, run_id: &str) -> Result<()> {
        if Self::exists(client, schema).await? {
            Self::new(schema, run_id).forget(client).await?;
        }
        Ok(())
    }

    /// Returns the statement that enters a chunk's rows; a chunk that is already there violates the primary key.
    pub(crate) fn enter_sql(&self, entry: usize, chunk: i32, rows: i64) -> String {
        let (table, run) = (self.table(entry), literal(&self.run_id));
        format!("insert into {table} (run_id, entry, chunk, rows) values ({run}, {entry}, {chunk}, {rows})")
    }

    /// Returns the statement that claims a number without rows yet. It waits for a concurrent claim of the same
    /// number, and returns a row unless that claim succeeded.
    pub(crate) fn claim_sql(&self, entry: usize, chunk: i32) -> String {
        format!("{} on conflict do nothing returning chunk", self.enter_sql(entry, chunk, 0))
    }

    /// Returns the statement that enters the rows of a claimed number.
    pub(crate) fn amend_sql(&self, entry: usize, chunk: i32, rows: i64) -> String {
        let (table, run) = (self.table(entry), literal(&self.run_id));
        format!(
            "update {table} set rows = {rows} where run_id = {run} and entry = {entry} and chunk = {chunk}"
        )
    }

    /// Returns the query for whether a chunk has landed: its rows, or no row.
    pub(crate) fn ask_sql(&self, entry: usize, chunk: i32) -> String {
        let (table, run) = (self.table(entry), literal(&self.run_id));
        format!("select rows from {table} where run_id = {run} and entry = {entry} and chunk = {chunk}")
    }

    /// Returns the query for the numbers in use.
    pub(crate) fn numbers_sql(&self, entry: usize) -> String {
        let (table, run) = (self.table(entry), literal(&self.run_id));
        format!("select chunk from {table} where run_id = {run} and entry = {entry}")
    }

    /// Returns the chunks of an entry that have landed, with their rows; -1 has the rows removed since, as a negative
    /// number.
    ///
    /// # Errors
    /// Errors of the server.
    pub(crate) async fn landed(&self, client: &Client, entry: usize) -> Result<BTreeMap<i32, i64>> {
        let sql = format!("select chunk, rows from {} where run_id = $1 and entry = $2", self.table(entry));
        let entry = i32::try_from(entry).unwrap_or(i32::MAX);
        let rows = client
            .query(&sql, &[&self.run_id, &entry])
            .await
            .map_err(|e| Error::pg(Phase::Verify, "reading the ledger", &e))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Removes the entries of a run.
    ///
    /// # Errors
    /// Errors of the server.
    pub(crate) async fn forget(&self, client: &Client) -> Result<()> {
        let sql = format!("delete from {}.ledger where run_id = $1", self.schema);
        client
            .execute(&sql, &[&self.run_id])
            .await
            .map(drop)
            .map_err(|e| Error::pg(Phase::Clean, "clearing the ledger", &e))
    }
}
