//! User triggers on the tables of a group: disables them where the config says so, and names those that interfere.

use tokio_postgres::Client;

use super::merge::{self, Sides};
use super::{Outcome, Ready, Way, method};
use crate::config::{Said, Triggers};
use crate::error::{Error, Phase, Result};
use crate::figures;
use crate::pg::catalog::{Oid, Trigger};
use crate::pg::name::plain;
use crate::plan::TablePlan;
use crate::report::result;

/// The setting that holds, within the transaction, the statements that restore the triggers.
const RESTORE: &str = "bulkload.restore_triggers";

/// Disables the triggers of the tables configured with `triggers = "off"`, as they are under the lock. Returns whether there
/// are any.
///
/// # Errors
/// Any server error.
pub(super) async fn disable(client: &Client, group: &[Vec<&Ready<'_>>]) -> Result<bool> {
    let is_off = |table: &&&Ready<'_>| {
        table.plan.triggers == Triggers::Off && !matches!(way_of(table.plan), None | Some(Way::Swap))
    };
    let oids: Vec<Oid> = group.iter().flatten().filter(is_off).map(|table| table.plan.oid).collect();
    if oids.is_empty() {
        return Ok(false);
    }
    let row = client
        .query_one(include_str!("triggers.sql"), &[&oids])
        .await
        .map_err(|e| Error::pg(Phase::Apply, "reading the triggers", &e))?;
    let (disable, restore): (Option<String>, Option<String>) = (row.get(0), row.get(1));
    let (Some(disable), Some(restore)) = (disable, restore) else { return Ok(false) };
    let restore = crate::pg::name::literal(&restore);
    let sql = format!("{disable}; select pg_catalog.set_config('{RESTORE}', {restore}, true)");
    client.batch_execute(&sql).await.map_err(|e| Error::pg(Phase::Apply, "disabling triggers", &e))?;
    Ok(true)
}

fn way_of(plan: &TablePlan) -> Option<Way<'static>> {
    method(plan.apply).ok().map(super::Method::way)
}

/// Restores the triggers that [`disable`] has disabled.
///
/// ALTER TABLE refuses a table with pending checks, so deferred ones run now.
///
/// # Errors
/// Any server error, including violations of deferred constraints.
pub(super) async fn restore(client: &Client) -> Result<()> {
    client
        .batch_execute("set constraints all immediate")
        .await
        .map_err(|e| Error::pg(Phase::Apply, "checking deferred constraints", &e))?;
    let sql = format!("do $$ begin execute pg_catalog.current_setting('{RESTORE}'); end $$");
    client.batch_execute(&sql).await.map_err(|e| Error::pg(Phase::Apply, "restoring triggers", &e))
}

/// Compares the rows that a committed transaction wrote with staging, and warns of those that triggers changed.
///
/// No locks are held. Row versions written by other sessions since then are left out: `xid` identifies ours.
pub(super) async fn warn_of_changed(
    client: &Client,
    group: &[Vec<&Ready<'_>>],
    xid: &str,
    outcomes: &mut [Outcome],
) {
    for table in group.iter().flatten() {
        let names: Vec<String> = table.plan.changing().map(|trigger| plain(&trigger.name)).collect();
        if names.is_empty() {
            continue;
        }
        let Some(sql) = changed_sql(table, xid) else { continue };
        let warnings = match client.query_one(&sql, &[]).await {
            Ok(row) => {
                let counts: Vec<u64> =
                    (0..row.len()).map(|i| u64::try_from(row.get::<_, i64>(i)).unwrap_or(0)).collect();
                changed(table.plan, &names.join(", "), &counts)
            }
            Err(error) => {
                let error = Error::pg(Phase::Apply, "comparing the written rows with staging", &error);
                vec![format!("{error}: cannot tell whether a trigger changed rows")]
            }
        };
        let outcome = outcomes.iter_mut().find(|outcome| outcome.entry == table.plan.entry);
        outcome.into_iter().for_each(|outcome| outcome.warnings.extend(warnings.iter().cloned()));
    }
}

/// Returns the query that counts the missing rows, the differing rows, and the rows that differ in each loaded column. `None`
/// if written rows cannot be found again.
fn changed_sql(table: &Ready<'_>, xid: &str) -> Option<String> {
    let staging = table.staging.as_ref()?;
    table.plan.key.as_ref()?;
    let sides = Sides { plan: table.plan, staging };
    let written = match way_of(table.plan)? {
        Way::Merge(_) => merge::written(table.plan),
        // All rows are written: comparing all of them costs too much for a rare case.
        Way::Exchange(_) if !table.plan.changing().any(Trigger::may_change_rows) => return None,
        Way::Exchange(_) => String::new(),
        Way::Swap => return None,
    };
    let columns = 0..table.plan.columns.len();
    let differs = |i| format!("pg_catalog.record_image_ne(row(s.c{i}), row(t.c{i}))");
    let each: String = columns
        .clone()
        .map(|i| format!(", pg_catalog.count(*) filter (where t.place is not null and {})", differs(i)))
        .collect();
    let any: Vec<String> = columns.map(differs).collect();
    Some(format!(
        "select pg_catalog.count(*) filter (where t.place is null),
             pg_catalog.count(*) filter (where t.place is not null and ({})){each}
         from {} {written} left join {} on {}
         where t.place is null or t.version = (({xid}) % 4294967296)::text::xid",
        any.join(" or "),
        sides.staged("s"),
        sides.live("t", None),
        sides.same_key("t", "s"),
    ))
}

/// Returns the warnings about changed rows.
fn changed(plan: &TablePlan, triggers: &str, counts: &[u64]) -> Vec<String> {
    let [missing, differing, columns @ ..] = counts else { return Vec::new() };
    let mut warnings = Vec::new();
    let names: Vec<String> = plan
        .columns
        .iter()
        .zip(columns)
        .filter(|(_, rows)| **rows > 0)
        .map(|(column, _)| plain(&column.name))
        .collect();
    if *differing > 0 {
        let rows = figures::counted(*differing, "row");
        let remedy = match plan.said() {
            Said::Config => {
                "leave the columns out with [table.columns] skip, or set triggers = \"off\" for the table"
            }
            Said::Flags => "disable the trigger for the load if the files hold the right values",
        };
        let again = if matches!(way_of(plan), Some(Way::Merge(_))) && plan.said() == Said::Config {
            "; every run writes these rows again"
        } else {
            ""
        };
        let were = if *differing == 1 { "was" } else { "were" };
        warnings.push(format!(
            "{rows} {were} changed while being written, by a trigger ({triggers}), in {}{again}: {remedy}",
            names.join(", ")
        ));
    }
    if *missing > 0 {
        let rows = figures::counted(*missing, "row");
        let are = if *missing == 1 { "is" } else { "are" };
        warnings.push(format!(
            "{rows} {are} missing from the target under the staged key: a trigger ({triggers}) changed or \
             removed them"
        ));
    }
    warnings
}

/// Adds the responsible trigger to the error of a group.
pub(super) fn explain(error: Error, group: &[Vec<&Ready<'_>>]) -> Error {
    let Some(server) = error.server_error() else { return error };
    let tables = || group.iter().flatten().map(|table| table.plan);
    let context = server.context.0.as_deref().unwrap_or_default();
    let raised: Vec<(String, String)> = tables()
        .flat_map(|plan| plan.firing().map(move |trigger| (plan, trigger)))
        .filter(|(_, trigger)| is_called(context, trigger))
        .map(|(plan, trigger)| (plan.name.plain(), plain(&trigger.name)))
        .collect();
    let is_taken = matches!(server.code.code(), "23505" | "23P01");
    if !raised.is_empty() {
        let places: Vec<String> =
            raised.iter().map(|(table, trigger)| format!("trigger {trigger} of {table}")).collect();
        let message = format!("{}; raised in {}", error.message(), result::some_of(&places));
        let why = if is_taken {
            "It writes rows that exist already or that this run loads. Set"
        } else {
            "Correct the row in the source, filter it out with where, or set"
        };
        let hint = format!("Nothing was changed. {why} triggers = \"off\" for the trigger's table.");
        return error.instead(message).hint(hint);
    }
    // Rows written by a trigger may conflict with one of our statements.
    let taken = server.table.as_deref().filter(|_| is_taken);
    let written = tables().filter(|plan| Some(plan.name.name.as_str()) == taken).find_map(|plan| {
        tables().find_map(|other| {
            let trigger = other.firing().find(|trigger| trigger.writes_to(&plan.name))?;
            Some((plan, other, trigger))
        })
    });
    if let Some((plan, other, trigger)) = written {
        let hint = format!(
            "Nothing was changed. Trigger {} of {other} writes to {}, which this run also loads: set triggers \
             = \"off\" for {other}.",
            plain(&trigger.name),
            plan.name.plain(),
            other = other.name.plain()
        );
        return error.hint(hint);
    }
    error
}

/// Returns whether an error's CONTEXT names the trigger's function, with its arguments: `f()`.
fn is_called(context: &str, trigger: &Trigger) -> bool {
    let name = trigger.function.name.as_str();
    context.match_indices(&format!("{name}()")).any(|(at, _)| {
        let before = context[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

/// Returns the advice about rows that did not get into a table, with the triggers that may have discarded them.
pub(super) fn keeping_out(plan: &TablePlan) -> String {
    let names: Vec<String> = plan
        .firing()
        .filter(|trigger| trigger.may_change_rows())
        .map(|trigger| plain(&trigger.name))
        .collect();
    match names.as_slice() {
        [] => "A trigger or a rule of the table discards rows.".to_owned(),
        _ => format!(
            "A trigger of the table discards rows ({}): filter them out with where, or set triggers = \"off\" \
             for the table.",
            names.join(", ")
        ),
    }
}
