//! Evaluates a scope before anything is applied: counts its live rows, and checks that every staged row is in it.
//!
//! The scope is the user's SQL, so these statements keep the role's `search_path`: each is sent together with a SET LOCAL, as
//! one implicit transaction.

use tokio_postgres::{Client, SimpleQueryMessage};

use super::merge::Sides;
use crate::config::Said;
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::catalog::Column;
use crate::pg::name::TableName;
use crate::plan::TablePlan;

/// The most keys shown in an error.
const KEYS_SHOWN: usize = 5;

/// Returns the values of the single row that a statement with the user's SQL returns.
pub(super) async fn ask(
    client: &Client,
    sql: &str,
) -> std::result::Result<Vec<Option<String>>, tokio_postgres::Error> {
    let messages = client.simple_query(&format!("set local search_path to default; {sql}")).await?;
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    Ok(row.map_or_else(Vec::new, |row| (0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect()))
}

/// Fails if staged rows would be outside the scope once loaded: the next run would load them again.
///
/// # Errors
/// [`Kind::Guard`] with their number and the first keys; any server error.
pub(super) async fn refuse_strays(client: &Client, plan: &TablePlan, staging: &TableName) -> Result<()> {
    let Some(scope) = plan.in_scope() else { return Ok(()) };
    let name = plan.name.plain();
    let failed = |e| Error::pg(Phase::Verify, format!("{name}: evaluating the scope"), &e);
    let sql = strays_sql(plan, staging, &scope);
    let row = ask(client, &sql).await.map_err(failed)?;
    let value = |i: usize| row.get(i).cloned().flatten().unwrap_or_default();
    if value(0) == "0" {
        return Ok(());
    }
    let message = format!("{name}: {} of the source's rows are outside the scope: {}", value(0), value(1));
    let way = match (plan.said(), plan.has_places()) {
        (Said::Flags, _) => "Leave them out of the files, or widen --scope.",
        (Said::Config, true) => {
            "Leave them out of the files, or set the scope's columns with [table.columns] set."
        }
        (Said::Config, false) => {
            "Filter them out with where, or set the scope's columns with [table.columns] set."
        }
    };
    let hint = format!("The next run would not recognize them as its own. {way}");
    Err(Error::new(Phase::Verify, Kind::Guard, message).hint(hint))
}

fn strays_sql(plan: &TablePlan, staging: &TableName, scope: &str) -> String {
    let sides = Sides { plan, staging };
    let places = places_sql(plan, staging, scope);
    format!(
        "with strays as materialized (select s.* from {} where s.place in ({places}))
         select pg_catalog.count(*), (
             select pg_catalog.string_agg(shown.text, '; ')
             from (select {} as text from strays as s order by 1 limit {KEYS_SHOWN}) as shown)
         from strays",
        sides.staged("s"),
        sides.key_text("s"),
    )
}

/// Returns a query for the places of staged rows outside the scope. It computes the columns that the scope names and that the
/// target fills with a default or generates.
fn places_sql(plan: &TablePlan, staging: &TableName, scope: &str) -> String {
    let is_named =
        |column: &Column, sql: &str| sql.to_lowercase().contains(&column.name.as_str().to_lowercase());
    let missing: Vec<&Column> =
        plan.live.columns.iter().filter(|column| !plan.is_loaded(&column.name)).collect();
    let generated: Vec<&Column> =
        missing.iter().copied().filter(|column| column.generated && is_named(column, scope)).collect();
    let sources: Vec<&str> = generated.iter().filter_map(|column| column.expression.as_deref()).collect();
    let defaults = missing.iter().filter(|column| {
        !column.generated && (is_named(column, scope) || sources.iter().any(|sql| is_named(column, sql)))
    });
    let defaults: String = defaults
        .map(|column| {
            // Looking must not advance a sequence.
            let default = column.expression.as_deref().filter(|sql| !sql.contains("nextval("));
            format!(", ({})::{} as {}", default.unwrap_or("null"), column.type_name, column.name)
        })
        .collect();
    let columns = plan.column_list();
    // The user's SQL may refer to the table by its name.
    let name = &plan.name.name;
    let loaded = format!("select ctid as place, {columns}{defaults} from {staging} as {name}");
    let generated: String = generated
        .iter()
        .filter_map(|column| Some(format!(", ({}) as {}", column.expression.as_deref()?, column.name)))
        .collect();
    format!(
        "select place from (select *{generated} from ({loaded}) as {name}) as {name} where ({scope}) is not true"
    )
}
