//! Tables managed by extensions that PostgreSQL's own catalog shows as ordinary tables.

use std::collections::HashMap;

use tokio_postgres::{Client, Row};

use super::{Managed, Oid, Relation, RelationKind};

/// An extension with its own way of storing tables.
struct Extension {
    /// The name in `pg_extension`.
    name: &'static str,
    /// The product name.
    product: &'static str,
    /// The query that classifies tables by their OIDs.
    sql: &'static str,
    meaning: fn(&str) -> Managed,
}

const EXTENSIONS: [Extension; 2] = [
    Extension {
        name: "citus",
        product: "Citus",
        sql: include_str!("citus.sql"),
        meaning: |kind| match kind {
            "reference" => Managed::CitusReference,
            "local" => Managed::CitusLocal,
            _ => Managed::CitusDistributed,
        },
    },
    Extension {
        name: "timescaledb",
        product: "TimescaleDB",
        sql: include_str!("timescaledb.sql"),
        meaning: |kind| match kind {
            "chunk" => Managed::Chunk,
            kind => Managed::Hypertable { is_compressed: kind == "compressed" },
        },
    },
];

/// Adds to relations and their leaves how the installed extensions manage them, from the rows of `extensions.sql`. Takes one
/// round trip per such extension. Returns the extensions with their versions.
pub(super) async fn complete(
    client: &Client,
    installed: &[Row],
    relations: &mut HashMap<Oid, Relation>,
) -> Result<Vec<String>, tokio_postgres::Error> {
    let mut found = Vec::new();
    for row in installed {
        let name: &str = row.get("name");
        let Some(extension) = EXTENSIONS.iter().find(|extension| extension.name == name) else { continue };
        found.push(format!("{} {}", extension.product, row.get::<_, &str>("version")));
        let managed = if row.get::<_, Option<bool>>("is_readable") == Some(true) {
            ask(client, extension, relations).await?
        } else {
            let is_table = |kind| matches!(kind, RelationKind::Table | RelationKind::Partitioned);
            let tables = tables(relations).filter(|&(_, kind)| is_table(kind));
            tables.map(|(oid, _)| (oid, Managed::Unreadable(extension.product))).collect()
        };
        for relation in relations.values_mut() {
            if let Some(kind) = managed.get(&relation.oid) {
                relation.managed = Some(kind.clone());
            }
            for leaf in &mut relation.leaves {
                if let Some(kind) = managed.get(&leaf.oid) {
                    leaf.managed = Some(kind.clone());
                }
            }
        }
    }
    Ok(found)
}

async fn ask(
    client: &Client,
    extension: &Extension,
    relations: &HashMap<Oid, Relation>,
) -> Result<HashMap<Oid, Managed>, tokio_postgres::Error> {
    let mut oids: Vec<Oid> = tables(relations).map(|(oid, _)| oid).collect();
    oids.sort_unstable();
    oids.dedup();
    let rows = client.query(extension.sql, &[&oids]).await?;
    Ok(rows.iter().map(|row| (row.get("oid"), (extension.meaning)(row.get("kind")))).collect())
}

/// Relations and their leaves.
fn tables(relations: &HashMap<Oid, Relation>) -> impl Iterator<Item = (Oid, RelationKind)> {
    relations.values().flat_map(|relation| {
        let leaves = relation.leaves.iter().map(|leaf| (leaf.oid, leaf.kind));
        std::iter::once((relation.oid, relation.kind)).chain(leaves)
    })
}
