//! What makes a new table look like the live one to others: triggers, policies, comments, options, owner, rights.

use tokio_postgres::Client;

use super::Schemas;
use super::build::{Making, with_empty_path};
use super::notes::{Note, Notes};
use crate::error::{Error, Phase, Result};
use crate::pg::name::TableName;

/// What is to be run for a new table.
#[derive(Default)]
struct Dress {
    now: Vec<String>,
    late: Vec<String>,
}

/// Dresses a new table, in one transaction. Returns what can only be run when it has the live table's name.
pub(super) async fn dress(
    client: &Client,
    schemas: &Schemas,
    table: &Making<'_>,
    all: &[Making<'_>],
) -> Result<Vec<String>> {
    let names: Vec<&str> = all.iter().map(|other| other.attached.table.live.as_str()).collect();
    let notes = Notes::of(schemas, table.table.plan.entry);
    let is_dressed = notes.has(client, Note::Dressed).await?;
    let failed = |e: tokio_postgres::Error| {
        Error::pg(Phase::Apply, format!("building the new table of {}", table.name()), &e)
    };
    let Dress { mut now, mut late } = with_empty_path(client, code(client, table, &names)).await?;
    if !is_dressed {
        with_empty_path(client, plain(client, table, &mut now)).await?;
        client.batch_execute("begin").await.map_err(failed)?;
        if let Some(owner) = &table.attached.table.other_owner {
            // Who owns a table must be able to create some in its schema (manual, ALTER TABLE).
            let schema = &schemas.new;
            now.push(format!("grant usage, create on schema {schema} to {owner}"));
            now.push(format!("alter table {} owner to {owner}", table.new));
        }
        client.batch_execute(&now.join(";\n")).await.map_err(failed)?;
    }
    let rights = rights(client, table, is_dressed).await?;
    late.extend(rights.late);
    if !is_dressed {
        let mut now = rights.now;
        now.extend(table.attached.table.row_security_sql(&table.new));
        client.batch_execute(&now.join(";\n")).await.map_err(failed)?;
        notes.take(client, Note::Dressed, 0).await?;
        client.batch_execute("commit").await.map_err(failed)?;
    }
    Ok(late)
}

/// Triggers, rules, policies and the comments on them: all of them late if one names a table that is swapped.
async fn code(client: &Client, table: &Making<'_>, names: &[&str]) -> Result<Dress> {
    let target = table.target(&table.new);
    let mut now = target.code(client).await?;
    now.extend(target.comments(client).await?.1);
    if !now.iter().any(|statement| names.iter().any(|name| statement.contains(name))) {
        return Ok(Dress { now, late: Vec::new() });
    }
    let target = table.target(&table.table.plan.name);
    let mut late = target.code(client).await?;
    late.extend(target.comments(client).await?.1);
    Ok(Dress { now: Vec::new(), late })
}

/// Comments, marks, options, owners of statistics.
async fn plain(client: &Client, table: &Making<'_>, now: &mut Vec<String>) -> Result<()> {
    let target = table.target(&table.new);
    now.extend(target.comments(client).await?.0);
    now.extend(target.marks(client).await?);
    now.extend(table.attached.table.options_sql(&table.new));
    now.extend(target.owners(client).await?);
    Ok(())
}

/// Rights. What was granted by somebody else than the owner is granted by that role again, which cannot reach the new table
/// before it has the live one's name; so is whatever comes after it, because the order matters.
async fn rights(client: &Client, table: &Making<'_>, is_dressed: bool) -> Result<Dress> {
    let read = |name: TableName| async move { table.target(&name).grants(client).await };
    let granted = read(table.new.clone()).await?;
    let Some(first) = granted.iter().position(|(_, grantor)| grantor.is_some()) else {
        let now = if is_dressed { Vec::new() } else { granted.into_iter().map(|(sql, _)| sql).collect() };
        return Ok(Dress { now, late: Vec::new() });
    };
    let now = granted.into_iter().take(first).map(|(sql, _)| sql).collect();
    let live = read(table.table.plan.name.clone()).await?;
    let is_grant = |(sql, _): &(String, Option<String>)| sql.starts_with("grant ");
    let grants: Vec<_> = live.into_iter().filter(is_grant).collect();
    let first = grants.iter().position(|(_, grantor)| grantor.is_some()).unwrap_or(grants.len());
    let late = grants.into_iter().skip(first).flat_map(|(sql, grantor)| match grantor {
        Some(grantor) => vec![format!("set local role {grantor}"), sql, "reset role".to_owned()],
        None => vec![sql],
    });
    Ok(Dress { now, late: late.collect() })
}
