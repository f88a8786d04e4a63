//! Progress marks of new tables, as durable as the tables themselves.

use tokio_postgres::Client;

use super::Schemas;
use crate::error::{Error, Phase, Result};
use crate::pg::catalog::Oid;
use crate::pg::name::TableName;

/// A fact recorded about a new table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Note {
    /// The number of rows ever written to the live table when the run began.
    Written,
    /// The rows were moved from staging.
    Filled,
    /// All constraints but foreign keys exist.
    Constrained,
    /// The table is complete.
    Dressed,
}

impl Note {
    fn word(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Filled => "filled",
            Self::Constrained => "constrained",
            Self::Dressed => "dressed",
        }
    }
}

/// The marks of one entry's new table.
#[derive(Debug, Clone)]
pub(super) struct Notes {
    table: TableName,
    entry: i32,
}

impl Notes {
    pub(super) fn of(schemas: &Schemas, entry: usize) -> Self {
        Self { table: schemas.notes(), entry: i32::try_from(entry).unwrap_or(i32::MAX) }
    }

    /// Creates the tables of marks and of landed chunks.
    pub(super) async fn create(client: &Client, schemas: &Schemas) -> Result<()> {
        let sql = format!(
            "create table {} (entry int, note text, figure bigint not null, primary key (entry, note));
             create table {} (run_id text not null, entry int not null, chunk int not null, rows bigint not null,
                 primary key (run_id, entry, chunk))",
            schemas.notes(),
            schemas.ledger()
        );
        client.batch_execute(&sql).await.map_err(|e| Error::pg(Phase::Stage, "setting up new tables", &e))
    }

    /// Records a mark, in the transaction of the work that it describes.
    pub(super) async fn take(&self, client: &Client, note: Note, figure: i64) -> Result<()> {
        let sql = format!("insert into {} values ($1, $2, $3)", self.table);
        client.execute(&sql, &[&self.entry, &note.word(), &figure]).await.map(drop).map_err(|e| failed(&e))
    }

    pub(super) async fn read(&self, client: &Client, note: Note) -> Result<Option<i64>> {
        let sql = format!("select figure from {} where entry = $1 and note = $2", self.table);
        let row = client.query_opt(&sql, &[&self.entry, &note.word()]).await.map_err(|e| failed(&e))?;
        Ok(row.map(|row| row.get(0)))
    }

    pub(super) async fn has(&self, client: &Client, note: Note) -> Result<bool> {
        Ok(self.read(client, note).await?.is_some())
    }
}

fn failed(error: &tokio_postgres::Error) -> Error {
    Error::pg(Phase::Apply, "recording the progress of a new table", error)
}

/// Returns the rows ever inserted, updated or deleted, according to the server's statistics.
pub(super) async fn written(client: &Client, table: Oid) -> Result<i64> {
    let sql = "select pg_catalog.pg_stat_get_tuples_inserted($1) + pg_catalog.pg_stat_get_tuples_updated($1)
        + pg_catalog.pg_stat_get_tuples_deleted($1)";
    let row = client
        .query_one(sql, &[&table])
        .await
        .map_err(|e| Error::pg(Phase::Apply, "reading the server's statistics", &e))?;
    Ok(row.get::<_, Option<i64>>(0).unwrap_or(0))
}
