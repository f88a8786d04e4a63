//! What makes a new table look like the live one to others: triggers, policies, comments, options, owner, rights.

use tokio_postgres::Client;

use super::Schemas;
use super::attached::Right;
use super::build::{Making, with_empty_path};
use super::progress_marks::{Note, Notes};
use crate::error::{Error, Phase, Result};

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
    let notes = Notes::of(schemas, table.plan.entry);
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
    let target = table.target(&table.plan.name);
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

/// Rights. What was granted on an object by somebody else than the owner is granted by that role again, which cannot reach the
/// new table before it has the live one's name; so is whatever comes after it on the same object, because the order matters.
async fn rights(client: &Client, table: &Making<'_>, is_dressed: bool) -> Result<Dress> {
    let mut now = Vec::new();
    if !is_dressed {
        let (granted, _) = parted(table.target(&table.new).rights(client).await?);
        now.extend(granted.into_iter().map(|right| right.statement));
    }
    let (_, granted) = parted(table.target(&table.plan.name).rights(client).await?);
    let late = granted.into_iter().flat_map(|Right { statement, grantor, .. }| match grantor {
        Some(grantor) => vec![format!("set local role {grantor}"), statement, "reset role".to_owned()],
        None => vec![statement],
    });
    Ok(Dress { now, late: late.collect() })
}

/// What can be done at once, and what begins with the first right on an object that another role granted. What is taken away
/// comes first of each object: with it go the owner's own rights, which it needs in between.
fn parted(rights: Vec<Right>) -> (Vec<Right>, Vec<Right>) {
    let mut waiting = None;
    rights.into_iter().partition(|right| {
        if right.grantor.is_some() {
            waiting = Some(right.object);
        }
        waiting != Some(right.object)
    })
}
