//! Indexes and constraints of new tables.

use std::time::Instant;

use tokio_postgres::Client;

use super::Schemas;
use super::attached::{Constraint, Index, retarget};
use super::build::{Making, with_empty_path};
use super::progress_marks::{Note, Notes};
use super::work::Job;
use crate::apply::Context;
use crate::backoff::Backoff;
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::catalog::Oid;
use crate::pg::name::Ident;

/// Returns the pending CREATE INDEX statements of all tables, largest indexes first.
///
/// A primary key or unique constraint begins as a plain index, which takes a weaker lock, so several can be built at once.
pub(super) async fn indexes(client: &Client, tables: &[Making<'_>]) -> Result<Vec<Job>> {
    let mut jobs = Vec::new();
    for table in tables {
        let there = relations(client, table).await?;
        for index in table.attached.indexes.iter().filter(|index| !there.contains(&index.name)) {
            let tablespace = index.tablespace.as_deref().unwrap_or("''");
            let statements = [format!("set default_tablespace = {tablespace}"), create(table, index)?];
            jobs.push(table.job(&statements));
        }
    }
    Ok(jobs)
}

/// Drops early indexes of a new table that the live table no longer has, or has with another definition.
pub(super) async fn drop_outdated(client: &Client, table: &Making<'_>) -> Result<()> {
    let read = async {
        let sql =
            "select c.relname::text, pg_catalog.pg_get_indexdef(c.oid), i.indrelid::pg_catalog.regclass::text
             from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid
             where i.indrelid = $1::text::pg_catalog.regclass
               and not exists (select from pg_catalog.pg_constraint k where k.conindid = c.oid)";
        client.query(sql, &[&table.new.to_string()]).await.map_err(|e| failed(table, &e))
    };
    for row in with_empty_path(client, read).await? {
        let (name, definition, new) = (Ident::new(row.get::<_, String>(0)), row.get(1), row.get(2));
        let definition = retarget(definition, "ON", new, &table.attached.table.live);
        let is_it = |index: &Index| index.name == name && Some(&index.definition) == definition.as_ref();
        if !table.attached.indexes.iter().any(is_it) {
            let sql = format!("drop index {}.{name}", table.new.schema);
            client.batch_execute(&sql).await.map_err(|e| failed(table, &e))?;
        }
    }
    Ok(())
}

fn create(table: &Making<'_>, index: &Index) -> Result<String> {
    renamed(table, &index.definition, "ON")
}

fn renamed(table: &Making<'_>, definition: &str, word: &str) -> Result<String> {
    retarget(definition, word, &table.attached.table.live, &table.new.to_string()).ok_or_else(|| {
        let message = format!("{}: cannot parse: {definition}", table.name());
        Error::new(Phase::Apply, Kind::Internal, message)
    })
}

/// Returns the names of the new table's indexes.
async fn relations(client: &Client, table: &Making<'_>) -> Result<Vec<Ident>> {
    let rows = client
        .query(
            "select c.relname::text from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid
             where i.indrelid = $1::text::pg_catalog.regclass",
            &[&table.new.to_string()],
        )
        .await
        .map_err(|e| failed(table, &e))?;
    Ok(rows.iter().map(|row| Ident::new(row.get::<_, String>(0))).collect())
}

/// Returns the new table's constraints of some kinds, by name and definition.
async fn constraints(client: &Client, table: &Making<'_>, kinds: &[&str]) -> Result<Vec<(Ident, String)>> {
    let rows = client
        .query(
            "select k.conname::text, pg_catalog.pg_get_constraintdef(k.oid) from pg_catalog.pg_constraint k
             where k.conrelid = $1::text::pg_catalog.regclass and k.contype::text = any ($2)",
            &[&table.new.to_string(), &kinds],
        )
        .await
        .map_err(|e| failed(table, &e))?;
    Ok(rows.iter().map(|row| (Ident::new(row.get::<_, String>(0)), row.get(1))).collect())
}

/// Adds NOT NULL and all constraints but foreign keys in one scan of the rows, and the statistics objects and targets.
pub(super) async fn add(client: &Client, schemas: &Schemas, table: &Making<'_>) -> Result<()> {
    let notes = Notes::of(schemas, table.plan.entry);
    if notes.has(client, Note::Constrained).await? {
        return Ok(());
    }
    let target = table.target(&table.new);
    let read = async {
        Ok((
            target.statistics(client, &table.attached.kept_options).await?,
            constraints(client, table, &["c", "n"]).await?,
        ))
    };
    let (statistics, there) = with_empty_path(client, read).await?;
    let mut statements = vec!["begin".to_owned()];
    let checked = checked(table, &there);
    if !checked.is_empty() {
        statements.push(format!("alter table {} {}", table.new, checked.join(", ")));
    }
    for constraint in table.attached.constraints.iter().filter(|k| matches!(k.kind, 'x' | 'p' | 'u')) {
        let tablespace = constraint.tablespace.as_deref().unwrap_or("''");
        statements.push(format!("set local default_tablespace = {tablespace}"));
        statements.push(format!("alter table {} {}", table.new, added(constraint)));
    }
    // New rows must satisfy constraints that are NOT VALID on the live table, as in an INSERT.
    for constraint in
        table.attached.constraints.iter().filter(|k| k.kind == 'c' && !k.is_valid && k.is_enforced)
    {
        let validate = format!("alter table {} validate constraint {}", table.new, constraint.name);
        statements.extend(["savepoint trial".to_owned(), validate, "rollback to savepoint trial".to_owned()]);
    }
    statements.extend(statistics);
    client.batch_execute(&statements.join(";\n")).await.map_err(|e| failed(table, &e))?;
    notes.take(client, Note::Constrained, 0).await?;
    client.batch_execute("commit").await.map_err(|e| failed(table, &e))
}

/// Returns the parts of the ALTER TABLE that checks every row. `there` are those that exist since the table was created.
fn checked(table: &Making<'_>, there: &[(Ident, String)]) -> Vec<String> {
    let constraints = &table.attached.constraints;
    let is_there = |k: &Constraint| there.iter().any(|(name, text)| *name == k.name && *text == k.definition);
    let is_wanted = |(name, _): &&(Ident, String)| constraints.iter().any(|k| k.name == *name && is_there(k));
    let others = there.iter().filter(|constraint| !is_wanted(constraint));
    let mut parts: Vec<String> = others.map(|(name, _)| format!("drop constraint {name}")).collect();
    // Version 18 gives them names.
    if constraints.iter().all(|k| k.kind != 'n') {
        let columns = table.attached.columns.iter().filter(|column| column.not_null && !column.is_identity());
        parts.extend(columns.map(|column| format!("alter column {} set not null", column.name)));
    }
    parts.extend(constraints.iter().filter(|k| matches!(k.kind, 'n' | 'c') && !is_there(k)).map(added));
    parts.extend(table.attached.indexes.iter().filter_map(|index| {
        let (name, makes) = (&index.name, index.makes.as_ref()?);
        Some(format!("add constraint {name} {makes} using index {name} {}", index.deferrability))
    }));
    parts
}

fn added(constraint: &Constraint) -> String {
    format!("add constraint {} {}", constraint.name, constraint.definition)
}

/// Adds the foreign keys without checking them: adding one blocks writers to the referenced table, so it must be short. A
/// referenced table that is swapped too is referenced in its new form.
pub(super) async fn add_foreign_keys(
    context: &Context<'_>,
    client: &Client,
    table: &Making<'_>,
    all: &[Making<'_>],
) -> Result<()> {
    let there = constraints(client, table, &["f"]).await?;
    let is_there = |constraint: &&Constraint| there.iter().any(|(name, _)| *name == constraint.name);
    for constraint in foreign_keys(table).filter(|constraint| !is_there(constraint)) {
        let definition = match &constraint.referenced {
            Some((oid, name)) => match all.iter().find(|other| other.plan.oid == *oid) {
                Some(other) => retarget(&constraint.definition, "REFERENCES", name, &other.new.to_string())
                    .ok_or_else(|| {
                    let message = format!("{}: cannot parse: {}", table.name(), constraint.definition);
                    Error::new(Phase::Apply, Kind::Internal, message)
                })?,
                None => constraint.definition.clone(),
            },
            None => constraint.definition.clone(),
        };
        let not_valid = if constraint.is_valid && constraint.is_enforced { " not valid" } else { "" };
        let sql =
            format!("alter table {} add constraint {} {definition}{not_valid}", table.new, constraint.name);
        patiently(context, client, table, &sql).await?;
    }
    Ok(())
}

fn foreign_keys<'t>(table: &'t Making<'_>) -> impl Iterator<Item = &'t Constraint> {
    table.attached.constraints.iter().filter(|constraint| constraint.kind == 'f')
}

/// Runs a statement that locks another table, with `lock_timeout` per attempt, until `lock_wait`.
async fn patiently(context: &Context<'_>, client: &Client, table: &Making<'_>, sql: &str) -> Result<()> {
    let mut backoff = Backoff::new(crate::apply::group::PAUSE_MIN, crate::apply::group::PAUSE_MAX);
    let began = Instant::now();
    let budget = context.lock_timeout.as_millis().max(1);
    let sql = format!("begin; set local lock_timeout = {budget}; {sql}; commit");
    let mut attempt = 1;
    loop {
        let Err(error) = client.batch_execute(&sql).await else { return Ok(()) };
        let error = failed(table, &error);
        let rolled_back = client.batch_execute("rollback").await;
        let pause = backoff.pause();
        if error.kind() != Kind::Lock || rolled_back.is_err() || began.elapsed() + pause > context.lock_wait {
            return Err(error);
        }
        context.books.waiting(attempt, "a session that holds a lock on a referenced table");
        tokio::time::sleep(pause).await;
        attempt += 1;
    }
}

/// Returns the statements that validate the foreign keys, each with one join, and analyze the table. They block no other
/// session. Foreign keys to `rewritten` tables are validated after the exchange.
pub(super) fn validation(table: &Making<'_>, rewritten: &[Oid]) -> Vec<String> {
    let validate = |constraint: &Constraint| {
        let sql = format!("alter table {} validate constraint {}", table.new, constraint.name);
        // As in an INSERT: old rows may violate a NOT VALID constraint, new ones may not.
        if constraint.is_valid { sql } else { format!("begin; {sql}; rollback") }
    };
    let is_due = |constraint: &&Constraint| {
        let is_later = constraint.referenced.as_ref().is_some_and(|(oid, _)| rewritten.contains(oid));
        constraint.is_enforced && !is_later
    };
    foreign_keys(table).filter(is_due).map(validate).chain([format!("analyze {}", table.new)]).collect()
}

fn failed(table: &Making<'_>, error: &tokio_postgres::Error) -> Error {
    Error::pg(Phase::Apply, format!("building the new table of {}", table.name()), error)
}
