//! The two schemas of a run that swaps: where new tables are built, and where the old ones go.
//!
//! Their names hold the run's id, so that what a dead run left is known as such. They are private: nobody but the role
//! (and the owners of the tables in them, who must be able to own something there) gets into them.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row};

use crate::error::{Error, Phase, Result};
use crate::pg::name::{Ident, TableName};

/// What the names of the schemas of new and of old tables begin with.
const NEW: &str = "bulkload_new_";
const OLD: &str = "bulkload_old_";

/// The ledger of what is copied into new tables: as durable as they are. No table of anybody else is named so.
const LEDGER: &str = "bulkload: chunks that have landed";

/// What is known of the new tables.
const NOTES: &str = "bulkload: what is built";

/// The schemas of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schemas {
    /// Where new tables are built.
    pub(crate) new: Ident,
    /// Where old tables go.
    pub(crate) old: Ident,
}

impl Schemas {
    /// Those of a run.
    pub(crate) fn of(run_id: &str) -> Self {
        Self { new: Ident::new(format!("{NEW}{run_id}")), old: Ident::new(format!("{OLD}{run_id}")) }
    }

    /// Where the new table is built that takes a live one's place: its name is final.
    pub(crate) fn new_table(&self, live: &TableName) -> TableName {
        TableName { schema: self.new.clone(), name: live.name.clone() }
    }

    /// The table that tells which chunks have landed in new tables.
    pub(crate) fn ledger(&self) -> TableName {
        TableName { schema: self.new.clone(), name: Ident::new(LEDGER) }
    }

    /// The table that tells what of the new tables is built.
    pub(super) fn notes(&self) -> TableName {
        TableName { schema: self.new.clone(), name: Ident::new(NOTES) }
    }

    /// Whether it is one of the tables by which we know what is done.
    pub(crate) fn is_ours(&self, name: &TableName) -> bool {
        *name == self.ledger() || *name == self.notes()
    }

    /// Creates both, in one transaction, for our role alone, whatever default privileges say.
    ///
    /// # Errors
    /// The server's.
    pub(crate) async fn create(&self, client: &Client) -> Result<()> {
        let failed =
            |e: tokio_postgres::Error| Error::pg(Phase::Stage, "creating schemas for new tables", &e);
        let Self { new, old } = self;
        client
            .batch_execute(&format!("begin; create schema {new}; create schema {old}"))
            .await
            .map_err(failed)?;
        for schema in [new, old] {
            let row =
                client.query_one(include_str!("grantees.sql"), &[&schema.as_str()]).await.map_err(failed)?;
            let grantees: Vec<String> = row.get(0);
            if !grantees.is_empty() {
                let sql = format!("revoke all on schema {schema} from {} cascade", grantees.join(", "));
                client.batch_execute(&sql).await.map_err(failed)?;
            }
        }
        client.batch_execute("commit").await.map_err(failed)
    }
}

/// The runs that have left schemas of our role.
///
/// # Errors
/// The server's.
pub(crate) async fn runs(client: &Client) -> Result<Vec<String>> {
    let rows = client
        .query(include_str!("runs.sql"), &[])
        .await
        .map_err(|e| Error::pg(Phase::Clean, "looking for tables left by dead runs", &e))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The tables in a schema of a run, with their sizes in bytes.
///
/// # Errors
/// The server's.
pub(crate) async fn tables(client: &Client, schema: &Ident) -> Result<Vec<(TableName, u64)>> {
    let sql = "select c.relname::text, pg_catalog.pg_total_relation_size(c.oid) from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relkind = 'r' order by 1";
    let rows = client
        .query(sql, &[&schema.as_str()])
        .await
        .map_err(|e| Error::pg(Phase::Clean, "looking for new and old tables", &e))?;
    let table = |row: &Row| {
        let name = TableName { schema: schema.clone(), name: Ident::new(row.get::<_, String>(0)) };
        (name, u64::try_from(row.get::<_, i64>(1)).unwrap_or(0))
    };
    Ok(rows.iter().map(table).collect())
}

/// Drops a schema of a run that has no tables any more; not if something of others is in it.
///
/// # Errors
/// The server's.
pub(crate) async fn drop_empty(client: &Client, schema: &Ident) -> Result<()> {
    let dropped = client.batch_execute(&format!("drop schema if exists {schema}")).await;
    match dropped.map_err(|e| Error::pg(Phase::Clean, "dropping the schema of new tables", &e)) {
        Err(error) if error.code() == Some(&SqlState::DEPENDENT_OBJECTS_STILL_EXIST) => Ok(()),
        dropped => dropped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schemas_fit_63_bytes_and_tell_their_run() {
        let schemas = Schemas::of("0mb3k9x2f7qa");
        assert_eq!(schemas.new.as_str(), "bulkload_new_0mb3k9x2f7qa");
        assert_eq!(schemas.old.as_str(), "bulkload_old_0mb3k9x2f7qa");
        assert!(schemas.ledger().name.as_str().len() <= 63);
    }
}
