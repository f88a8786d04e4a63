//! Finds out which tables have no rows.

use futures::future::try_join_all;
use tokio_postgres::Client;

use super::{Catalog, RelationKind};
use crate::error::{Error, Phase, Result};
use crate::pg::name::TableName;

/// Adds to a catalog which of some tables have no rows. Sizes do not answer this for tables whose rows are stored elsewhere,
/// so the tables themselves are queried, all in one round trip. A table that the role may not read counts as not empty.
///
/// # Errors
/// Any server error. A table under an exclusive lock is waited for, within the session's `lock_timeout`.
pub async fn load_emptiness(client: &Client, catalog: &mut Catalog, tables: &[&TableName]) -> Result<()> {
    let is_askable = |name: &&&TableName| {
        catalog.relations.get(**name).is_some_and(|relation| {
            matches!(relation.kind, RelationKind::Table | RelationKind::Partitioned)
                && relation.rights.select
                && !relation.rights.rows_hidden
        })
    };
    let asked = tables.iter().filter(is_askable).map(|name| async move {
        let row = client.query_one(&format!("select not exists (select 1 from {name})"), &[]).await;
        let row =
            row.map_err(|e| Error::pg(Phase::Plan, format!("looking for rows in {}", name.plain()), &e))?;
        Ok::<_, Error>((*name, row.get::<_, bool>(0)))
    });
    for (name, is_empty) in try_join_all(asked).await? {
        if let Some(relation) = catalog.relations.get_mut(name) {
            relation.is_empty = is_empty;
        }
    }
    Ok(())
}
