//! Staging tables: their names, creation and removal.

use tokio_postgres::{Client, Row};

use crate::error::{Error, Phase, Result};
use crate::pg::name::{Ident, TableName};
use crate::plan::TablePlan;

/// Maximum length of a name in PostgreSQL (NAMEDATALEN - 1, manual 4.1.1).
const NAME_BYTES_MAX: usize = 63;

/// The table that receives an entry's rows first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Staging {
    /// `<staging schema>.<table>__<run id>_<number of the entry>`
    pub(crate) name: TableName,
}

impl Staging {
    /// Names the staging table of an entry; the table's part is cut so that the name fits.
    pub(crate) fn new(schema: &Ident, table: &TableName, run_id: &str, entry: usize) -> Self {
        let suffix = format!("__{run_id}_{entry}");
        let mut stem = table.name.as_str();
        while stem.len() + suffix.len() > NAME_BYTES_MAX {
            let mut chars = stem.chars();
            chars.next_back();
            stem = chars.as_str();
        }
        Self { name: TableName { schema: schema.clone(), name: Ident::new(format!("{stem}{suffix}")) } }
    }

    /// Uses a permanent table that is created elsewhere.
    pub(crate) fn at(name: TableName) -> Self {
        Self { name }
    }

    /// Returns the statement that creates it: the loaded columns and those used to match lookups, with autovacuum
    /// disabled. It has the constraints that a single row can violate, so that it refuses the rows the live table
    /// would refuse. It is always a heap, whatever the server's default access method, because rows are judged and
    /// written by their `ctid`.
    pub(crate) fn create_sql(&self, table: &TablePlan) -> String {
        let columns = table.staged().map(|column| {
            let collation = column.collation.as_ref().map(|c| format!(" collate {c}")).unwrap_or_default();
            let not_null = if table.is_not_null_staged(&column.name) { " not null" } else { "" };
            let default = table.live.column(&column.name).filter(|_| column.is_defaulted);
            let default = default.and_then(|live| live.expression.as_ref());
            let default = default.map(|sql| format!(" default {sql}")).unwrap_or_default();
            format!("{} {}{collation}{default}{not_null}", column.name, column.type_name)
        });
        let checks = table
            .staged_checks()
            .map(|check| format!("constraint {} check ({})", check.name, check.expression));
        let columns: Vec<String> = columns.chain(checks).collect();
        format!(
            "create unlogged table {} ({}) using heap with (autovacuum_enabled = off)",
            self.name,
            columns.join(", ")
        )
    }
}

/// A staging table left behind by a run.
#[derive(Debug, Clone)]
pub(crate) struct Leftover {
    /// The table.
    pub(crate) name: TableName,
    /// The run that created it.
    pub(crate) run_id: String,
    /// Size on disk in bytes.
    pub(crate) bytes: u64,
}

/// Returns every staging table in the schema, of any run.
///
/// # Errors
/// Errors of the server.
pub(crate) async fn leftovers(client: &Client, schema: &Ident) -> Result<Vec<Leftover>> {
    let rows = client
        .query(include_str!("leftovers.sql"), &[&schema.as_str()])
        .await
        .map_err(|e| Error::pg(Phase::Clean, "looking for staging tables of dead runs", &e))?;
    Ok(rows.iter().map(|row| leftover(row, schema)).collect())
}

fn leftover(row: &Row, schema: &Ident) -> Leftover {
    Leftover {
        name: TableName { schema: schema.clone(), name: Ident::new(row.get::<_, String>("name")) },
        run_id: row.get("run_id"),
        bytes: u64::try_from(row.get::<_, i64>("bytes")).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_staging_name_fits_63_bytes_and_keeps_run_and_entry() {
        let schema = Ident::new("bulkload");
        for stem in ["t".to_owned(), "x".repeat(63), "ä".repeat(31)] {
            let table = TableName::new("public", stem);
            let name = Staging::new(&schema, &table, "0mb3k9x2f7qa", 14).name.name;
            assert!(name.as_str().len() <= 63, "{name}");
            assert!(name.as_str().ends_with("__0mb3k9x2f7qa_14"), "{name}");
        }
    }
}
