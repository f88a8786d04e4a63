//! Constants of the config: tried, and those that are added on the way read as the target has them.

use futures::future::try_join_all;
use tokio_postgres::Client;
use tokio_postgres::types::{FromSql, Type};

use crate::config::{Config, Value};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::format::Format;
use crate::pg::name::{Ident, literal, plain};
use crate::plan::{Added, Plan, TablePlan, addable};
use crate::run::prepare::blame;
use crate::transform::escape_text;

/// Has the target read every constant as its column's type, so that one that does not fit is a mistake in the config
/// rather than a failure of every row; and takes those over that need not be asked of the source.
pub(crate) async fn settle(config: &Config, plan: &mut Plan, client: &Client) -> Result<()> {
    let addable = addable(&plan.tables);
    let tables = plan.tables.iter().zip(&addable);
    let settled =
        try_join_all(tables.map(|(table, addable)| of_table(config, table, addable, client))).await?;
    for (table, added) in plan.tables.iter_mut().zip(settled) {
        table.added = added;
    }
    Ok(())
}

async fn of_table(
    config: &Config,
    table: &TablePlan,
    addable: &[Ident],
    client: &Client,
) -> Result<Vec<Added>> {
    let rules = &config.tables[table.entry].columns;
    let read = rules.set.iter().chain(&rules.default).filter_map(|(name, value)| {
        let Value::Constant(text) = &value.value else { return None };
        let column = table.columns.iter().find(|column| column.name == *name)?;
        let is_binary = table.format == Format::Binary && addable.contains(name);
        Some(async move {
            let what = format!("the constant for column {} does not fit {}", plain(name), column.type_name);
            let read = read(client, text, &column.type_name, is_binary, &what).await.map_err(|error| {
                let hint = "Write a literal that the target's column accepts.";
                blame(error, value.at.clone(), &table.name).hint(hint)
            })?;
            Ok::<_, Error>(read.map(|(text, binary)| Added { column: name.clone(), text, binary }))
        })
    });
    let read = try_join_all(read).await?;
    Ok(read.into_iter().flatten().filter(|added| addable.contains(&added.column)).collect())
}

/// A constant as COPY has it, in text and, if asked for, in binary; `None` if the type reads it as NULL.
async fn read(
    client: &Client,
    text: &str,
    type_name: &str,
    is_binary: bool,
    what: &str,
) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    let value = format!("{}::{type_name}", literal(text));
    let binary = if is_binary { value.as_str() } else { "null::pg_catalog.int4" };
    // `format` writes a value as its type's output function does; a cast to text may be another thing.
    let sql = format!("select ({value})::pg_catalog.text, pg_catalog.format('%s', {value}), {binary}");
    let failed = |e: tokio_postgres::Error| Error::pg(Phase::Plan, what, &e);
    let row = client.query_one(&sql, &[]).await.map_err(failed)?;
    let read: Option<&str> = row.try_get(0).map_err(failed)?;
    // A cast cuts a string that is too long, an assignment refuses it (manual, 8.3).
    let rest = read.and_then(|read| text.strip_prefix(read)).unwrap_or_default();
    let may_cut = type_name.starts_with("character") || type_name.starts_with("bit");
    if may_cut && !rest.trim_end_matches(' ').is_empty() {
        return Err(Error::new(Phase::Plan, Kind::Schema, format!("{what}: it is too long")));
    }
    let written: &str = row.try_get(1).map_err(failed)?;
    let sent: Option<Sent> = row.try_get(2).map_err(failed)?;
    let mut escaped = Vec::new();
    escape_text(written.as_bytes(), &mut escaped);
    Ok(read.map(|_| (escaped, sent.map(|sent| sent.0).unwrap_or_default())))
}

/// A value as its type's send function writes it.
struct Sent(Vec<u8>);

impl FromSql<'_> for Sent {
    fn from_sql(_: &Type, raw: &[u8]) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
