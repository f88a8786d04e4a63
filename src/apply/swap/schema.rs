//! The two schemas of a run that swaps tables: one for new tables, one for old ones.
//!
//! Their names contain the run's id, which identifies the leftovers of a dead run. They are private: only the role, and the
//! owners of the tables in them (an owner needs CREATE there), have access.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row};

use crate::error::{Error, Phase, Result};
use crate::pg::name::{Ident, TableName};

/// Name prefixes of the schemas of new and of old tables.
const NEW: &str = "bulkload_new_";
const OLD: &str = "bulkload_old_";

/// The ledger of chunks copied into new tables, as durable as they are. The name cannot collide with a user's table.
const LEDGER: &str = "bulkload: chunks that have landed";

/// The table of progress marks.
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
    /// Returns the schemas of a run.
    pub(crate) fn of(run_id: &str) -> Self {
        Self { new: Ident::new(format!("{NEW}{run_id}")), old: Ident::new(format!("{OLD}{run_id}")) }
    }

    /// Returns the new table for a live one. It already has its final name.
    pub(crate) fn new_table(&self, live: &TableName) -> TableName {
        TableName { schema: self.new.clone(), name: live.name.clone() }
    }

    /// Returns the ledger of the chunks that have landed in new tables.
    pub(crate) fn ledger(&self) -> TableName {
        TableName { schema: self.new.clone(), name: Ident::new(LEDGER) }
    }

    /// Returns the table of progress marks.
    pub(super) fn notes(&self) -> TableName {
        TableName { schema: self.new.clone(), name: Ident::new(NOTES) }
    }

    /// Returns whether it is the ledger or the table of progress marks.
    pub(crate) fn is_ours(&self, name: &TableName) -> bool {
        *name == self.ledger() || *name == self.notes()
    }

    /// Creates both schemas in one transaction, for our role alone, regardless of default privileges.
    ///
    /// # Errors
    /// Any server error.
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

/// Returns the runs that have left schemas owned by our role.
///
/// # Errors
/// Any server error.
pub(crate) async fn runs(client: &Client) -> Result<Vec<String>> {
    let rows = client
        .query(include_str!("runs.sql"), &[])
        .await
        .map_err(|e| Error::pg(Phase::Clean, "looking for tables left by dead runs", &e))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Returns the tables in a schema of a run, with their sizes in bytes.
///
/// # Errors
/// Any server error.
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

/// Drops the schema of a run unless it still contains objects.
///
/// # Errors
/// Any server error.
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
