//! The scopes of a config, tried on the target before anything is touched.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::config::{Config, Located};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::conninfo::ConnInfo;
use crate::pg::name::{literal, plain};
use crate::pg::session;
use crate::plan::{Plan, TablePlan};
use crate::run::sessions::Sessions;

/// Has the target parse every scope, and notes which index would serve one that none serves. Where the target takes no writes
/// (`may_write`), not even of a temporary table, no more is tried than whether it can be parsed.
///
/// # Errors
/// [`Kind::Schema`], with the place in the config, where a scope is not a predicate over the columns of its table.
pub(crate) async fn try_scopes(
    config: &Config,
    plan: &mut Plan,
    (target, may_write): (&ConnInfo, bool),
    sessions: &Sessions,
) -> Result<()> {
    if plan.tables.iter().all(|table| table.scope.is_none()) {
        return Ok(());
    }
    let session = session::connect(target, &sessions.target_statements()).await?;
    for table in &mut plan.tables {
        let Some(Located { at, .. }) = &config.tables[table.entry].scope else { continue };
        let tried = try_scope(&session.client, table, may_write).await;
        tried.map_err(|e| e.context(table.name.plain()).at(at.clone()))?;
        let note = missing_index(&session.client, table).await?;
        table.notes.extend(note);
    }
    Ok(())
}

async fn try_scope(client: &Client, table: &TablePlan, may_write: bool) -> Result<()> {
    let Some(scope) = table.in_scope() else { return Ok(()) };
    let refused = |error: &tokio_postgres::Error| {
        let error = Error::pg(Phase::Plan, "scope is refused by the target", error);
        let kind = if error.may_pass() { error.kind() } else { Kind::Schema };
        error.kind_is(kind)
    };
    client.prepare(&format!("select from {} where {scope}", table.name)).await.map_err(|e| refused(&e))?;
    if !may_write {
        return Ok(());
    }
    // A check constraint allows just what a scope may be: it looks at the row alone.
    let sql = format!(
        "begin; create temporary table {0} (like {1}) on commit drop; alter table pg_temp.{0} add check {scope}",
        table.name.name, table.name
    );
    let tried = client.batch_execute(&sql).await;
    let volatile = match &tried {
        Ok(()) => volatile_functions(client, table).await,
        Err(_) => Ok(Vec::new()),
    };
    let _ = client.batch_execute("rollback").await;
    let Err(error) = tried else { return refuse_volatile(&volatile?) };
    let reason = error.code().cloned();
    // Without the right to make temporary tables nothing is known. The statement that uses the scope will tell.
    if reason == Some(SqlState::INSUFFICIENT_PRIVILEGE) {
        return Ok(());
    }
    Err(refused(&error)
        .hint("A scope is a condition on the columns of one row: it has no subquery and no aggregate."))
}

/// The functions that the check of the temporary table calls and that may answer otherwise each time, built in or not: those
/// that are built in are no dependencies, but the parsed expression names all of them by their OIDs.
async fn volatile_functions(client: &Client, table: &TablePlan) -> Result<Vec<String>> {
    let sql = format!(
        "select distinct p.oid::pg_catalog.regprocedure::text
         from pg_catalog.pg_constraint c
         cross join lateral pg_catalog.regexp_matches(c.conbin::text, ':(?:funcid|opfuncid) ([0-9]+)', 'g') as f (id)
         join pg_catalog.pg_proc p on p.oid = f.id[1]::oid
         where c.conrelid = {}::pg_catalog.regclass and c.contype = 'c' and p.provolatile = 'v'
         order by 1",
        literal(&format!("pg_temp.{}", table.name.name))
    );
    let rows = client.query(&sql, &[]).await;
    let rows =
        rows.map_err(|e| Error::pg(Phase::Plan, "looking up the functions that the scope calls", &e))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn refuse_volatile(functions: &[String]) -> Result<()> {
    if functions.is_empty() {
        return Ok(());
    }
    let functions = functions.join(", ");
    let message = format!(
        "scope calls {functions}, which is volatile: a row may be in the scope at one time and outside it at another"
    );
    Err(Error::new(Phase::Plan, Kind::Schema, message).hint(
        "A scope must give the same result for a row throughout a run: use its columns, and immutable or stable functions. \
         A function of your own is volatile unless it is declared otherwise: alter function … stable.",
    ))
}

/// Which index to create, if none can serve the scope.
async fn missing_index(client: &Client, table: &TablePlan) -> Result<Option<String>> {
    let Some(scope) = table.in_scope() else { return Ok(None) };
    let failed = |e| Error::pg(Phase::Plan, "looking for an index for the scope", &e);
    // With all else made expensive a plan has a bitmap exactly where an index can serve.
    let sql = format!(
        "set local enable_seqscan = off; set local enable_indexscan = off; set local enable_indexonlyscan = off;
         explain (costs off, verbose off) select from {} where {scope}",
        table.name
    );
    let messages = client.simple_query(&sql).await.map_err(failed)?;
    let is_served = messages.iter().any(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).is_some_and(|line| line.contains("Bitmap Index Scan")),
        _ => false,
    });
    if is_served {
        return Ok(None);
    }
    let text = scope.to_lowercase();
    let named: Vec<String> = table
        .live
        .columns
        .iter()
        .filter(|column| words(&text).any(|word| word == column.name.as_str().to_lowercase()))
        .map(|column| plain(&column.name))
        .collect();
    Ok((!named.is_empty()).then(|| {
        format!(
            "no index serves the scope; on the target: create index on {} ({});",
            table.name.plain(),
            named.join(", ")
        )
    }))
}

fn words(sql: &str) -> impl Iterator<Item = &str> {
    sql.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).filter(|word| !word.is_empty())
}
