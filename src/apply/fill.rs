//! Moves rows from staging into live tables.

use tokio_postgres::Client;

use super::merge::Sides;
use super::{Ready, trace};
use crate::error::{Error, Kind, Phase, Result};

/// Runs INSERT … SELECT from staging, for one table or for several that reference each other in a circle.
///
/// One statement with an INSERT per table fills a circle. Foreign keys that are not deferrable are checked at its end, when
/// all rows exist (manual, 7.8.4: the sub-statements of WITH see one snapshot, and their triggers fire after all of them).
pub(super) async fn from_staging(
    client: &Client,
    tables: &[&Ready<'_>],
    is_traced: bool,
) -> Result<Vec<u64>> {
    let what = || {
        let names: Vec<String> = tables.iter().map(|table| table.plan.name.plain()).collect();
        format!("inserting into {}", names.join(", "))
    };
    let counts = match tables {
        [table] if !is_traced => vec![
            client
                .execute(&insert(table, false)?, &[])
                .await
                .map_err(|e| Error::pg(Phase::Apply, what(), &e))?,
        ],
        _ => {
            let row = client
                .query_one(&circle(tables, is_traced)?, &[])
                .await
                .map_err(|e| Error::pg(Phase::Apply, what(), &e))?;
            (0..tables.len()).map(|i| u64::try_from(row.get::<_, i64>(i)).unwrap_or(0)).collect()
        }
    };
    Ok(counts)
}

/// Counts the staged rows that are skipped because a remaining row has their key, or their value in a unique index.
pub(super) async fn left_out(client: &Client, table: &Ready<'_>) -> Result<u64> {
    let Some(staging) = &table.staging else { return Ok(0) };
    let Some(blocked) = (Sides { plan: table.plan, staging }).blocked(None) else { return Ok(0) };
    let sql = format!("select pg_catalog.count(*) from ({blocked}) as blocked");
    let row = client.query_one(&sql, &[]).await.map_err(|e| {
        Error::pg(Phase::Apply, format!("comparing staging with {}", table.plan.name.plain()), &e)
    })?;
    Ok(u64::try_from(row.get::<_, i64>(0)).unwrap_or(0))
}

fn insert(table: &Ready<'_>, is_traced: bool) -> Result<String> {
    let staging = table.staging.as_ref().ok_or_else(|| {
        Error::new(Phase::Apply, Kind::Internal, format!("{} has no staging table", table.plan.name.plain()))
    })?;
    let columns = table.plan.column_list();
    let overriding = if table.plan.overrides_identity() { " overriding system value" } else { "" };
    let blocked = Sides { plan: table.plan, staging }.blocked(None);
    let filter = blocked
        .map(|rows| format!(" where not exists (select from ({rows}) as b where b.place = staged.ctid)"));
    let filter = filter.unwrap_or_default();
    let mut values: Vec<String> = table.plan.columns.iter().map(|column| column.name.to_string()).collect();
    if let Some(first) = values.first_mut().filter(|_| is_traced) {
        *first = trace::noting(first, table.plan.entry, "staged.ctid");
    }
    Ok(format!(
        "insert into {} ({columns}){overriding} select {} from {staging} as staged{filter}",
        table.plan.name,
        values.join(", ")
    ))
}

fn circle(tables: &[&Ready<'_>], is_traced: bool) -> Result<String> {
    let mut with = Vec::with_capacity(tables.len());
    let mut counts = Vec::with_capacity(tables.len());
    for (i, table) in tables.iter().enumerate() {
        with.push(format!("t{i} as ({} returning 1)", insert(table, is_traced)?));
        counts.push(format!("(select pg_catalog.count(*) from t{i})"));
    }
    counts.extend(is_traced.then(trace::finished));
    Ok(format!("with {} select {}", with.join(", "), counts.join(", ")))
}
