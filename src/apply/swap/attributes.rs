//! Gives a new table the live table's attributes: triggers, policies, comments, options, owner, privileges.

use tokio_postgres::Client;

use super::Schemas;
use super::attached::Right;
use super::build::{Making, with_empty_path};
use super::progress_marks::{Note, Notes};
use crate::error::{Error, Phase, Result};

/// The statements for a new table.
#[derive(Default)]
struct Dress {
    now: Vec<String>,
    late: Vec<String>,
}

/// Applies the attributes to a new table, in one transaction. Returns the statements that can only run once it has the live
/// table's name.
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
            // The owner of a table needs CREATE on its schema (manual, ALTER TABLE).
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

/// Adds triggers, rules, policies and their comments; all of them late if one names a swapped table.
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

/// Adds comments, marks, options and owners of statistics.
async fn plain(client: &Client, table: &Making<'_>, now: &mut Vec<String>) -> Result<()> {
    let target = table.target(&table.new);
    now.extend(target.comments(client).await?.0);
    now.extend(target.marks(client).await?);
    now.extend(table.attached.table.options_sql(&table.new));
    now.extend(target.owners(client).await?);
    Ok(())
}

/// Adds the privileges. A privilege granted by a role other than the owner is granted again by that role, which cannot reach
/// the new table before it has the live table's name. All later privileges on the same object wait as well, because the order
/// matters.
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

/// Splits off the privileges that can be granted at once from those that begin with the first one that another role granted
/// on an object. Revocations come first for each object: they remove the owner's own privileges, which it needs in between.
fn parted(rights: Vec<Right>) -> (Vec<Right>, Vec<Right>) {
    let mut waiting = None;
    rights.into_iter().partition(|right| {
        if right.grantor.is_some() {
            waiting = Some(right.object);
        }
        waiting != Some(right.object)
    })
}
