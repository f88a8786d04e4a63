//! Objects outside a table that depend on it.

use tokio_postgres::Client;

use super::{Catalog, Oid};
use crate::error::{Error, Phase, Result};
use crate::pg::name::TableName;

/// Adds to a catalog the objects that depend on some of its tables, and marks those that cannot be rebound to another table.
/// The session must have an empty `search_path`.
///
/// # Errors
/// Any server error. Privileges on the system catalogs are not needed.
pub async fn load_attachments(client: &Client, catalog: &mut Catalog, tables: &[&TableName]) -> Result<()> {
    let oids: Vec<Oid> =
        tables.iter().filter_map(|name| catalog.relations.get(*name)).map(|relation| relation.oid).collect();
    if oids.is_empty() {
        return Ok(());
    }
    let rows = client
        .query(include_str!("attachments.sql"), &[&oids])
        .await
        .map_err(|e| Error::pg(Phase::Plan, "reading what depends on the tables", &e))?;
    for row in &rows {
        let oid: Oid = row.get("table_oid");
        let Some(relation) = catalog.relations.values_mut().find(|relation| relation.oid == oid) else {
            continue;
        };
        let words: String = row.get("words");
        match row.get::<_, &str>("kind") {
            "o" => relation.attachments.obstacles.push(words),
            "k" => relation.attachments.keys.push(words),
            "p" => relation.attachments.publications.push(words),
            _ => relation.attachments.dependants.push(words),
        }
    }
    Ok(())
}

/// Returns the current obstacles to replacing tables, as clauses, each after the OID of its table. The session must have an
/// empty `search_path`.
///
/// # Errors
/// As [`load_attachments`].
pub(crate) async fn obstacles(client: &Client, tables: &[Oid]) -> Result<Vec<(Oid, String)>> {
    let rows = client
        .query(include_str!("attachments.sql"), &[&tables])
        .await
        .map_err(|e| Error::pg(Phase::Apply, "reading what depends on the tables", &e))?;
    let obstacles = rows.iter().filter(|row| row.get::<_, &str>("kind") == "o");
    Ok(obstacles.map(|row| (row.get("table_oid"), row.get("words"))).collect())
}
