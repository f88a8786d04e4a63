//! One statement that deletes, updates and inserts the differences in all tables of a group.

use tokio_postgres::Client;

use super::compare::Planned;
use super::search::Writing;
use super::{Merge, change};
use crate::apply::{trace, triggers};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::catalog::Identity;
use crate::pg::name::{Ident, list};
use crate::plan::TablePlan;

/// A part of the statement, and the number of rows that it must write.
struct Part<'a> {
    plan: &'a TablePlan,
    name: String,
    sql: String,
    rows: u64,
    what: String,
}

/// Writes the differences of all tables: new rows whose writing is late by a statement of their own.
///
/// The parts of a WITH run in no particular order unless they reference each other. These do, so that unique values are
/// released before other rows take them.
///
/// # Errors
/// [`Kind::Guard`] when the number of written rows differs from the plan; any server error.
pub(super) async fn write(
    client: &Client,
    merges: &[Merge<'_>],
    (planned, writing): (&[Planned], &[Writing]),
    is_traced: bool,
) -> Result<()> {
    let changes = || merges.iter().zip(planned);
    let mut parts: Vec<Part<'_>> = Vec::new();
    type Step = for<'a> fn(&Merge<'a>, &Planned, (&str, bool)) -> Vec<Part<'a>>;
    for step in [deletes as Step, updates, replaces] {
        let before = after(&parts);
        parts.extend(changes().flat_map(|(merge, planned)| step(merge, planned, (&before, is_traced))));
    }
    let before = after(&parts);
    let mut late = Vec::new();
    for ((merge, planned), writing) in changes().zip(writing) {
        match writing {
            Writing::Early => parts.extend(inserts(merge, planned, (&before, is_traced))),
            Writing::Late => late.extend(inserts(merge, planned, ("", is_traced))),
        }
    }
    let names: Vec<String> = merges.iter().map(Merge::name).collect();
    for parts in [parts, late] {
        execute(client, &parts, &names, is_traced).await?;
    }
    Ok(())
}

/// Runs one statement that is made of these parts.
async fn execute(client: &Client, parts: &[Part<'_>], tables: &[String], is_traced: bool) -> Result<()> {
    if parts.is_empty() {
        return Ok(());
    }
    let with: Vec<String> =
        parts.iter().map(|part| format!("{} as ({} returning 1)", part.name, part.sql)).collect();
    let mut counts: Vec<String> = parts.iter().map(|part| count_of(&part.name)).collect();
    counts.extend(is_traced.then(trace::finished));
    let sql = format!("with {} select {}", with.join(",\n"), counts.join(", "));
    let failed = |e| Error::pg(Phase::Apply, format!("writing the differences of {}", tables.join(", ")), &e);
    let row = client.query_one(&sql, &[]).await.map_err(failed)?;
    for (i, part) in parts.iter().enumerate() {
        let written = u64::try_from(row.get::<_, i64>(i)).unwrap_or(0);
        if written != part.rows {
            let message = format!(
                "{}: {} rows were planned but {written} were written; nothing was changed",
                part.what, part.rows
            );
            return Err(Error::new(Phase::Apply, Kind::Guard, message).hint(triggers::keeping_out(part.plan)));
        }
    }
    Ok(())
}

fn count_of(part: &str) -> String {
    format!("(select pg_catalog.count(*) from {part})")
}

/// Returns a condition that is true once these parts are done.
fn after(parts: &[Part<'_>]) -> String {
    if parts.is_empty() {
        return String::new();
    }
    let counts: Vec<String> = parts.iter().map(|part| count_of(&part.name)).collect();
    format!(" and {} >= 0", counts.join(" + "))
}

/// The condition that the live row `t` is the one to which the change `c` applies.
const HERE: &str = "t.ctid = c.t_place and t.tableoid = c.t_part";

fn part<'a>(merge: &Merge<'a>, step: &str, rows: u64, sql: impl FnOnce() -> String) -> Option<Part<'a>> {
    (rows > 0).then(|| Part {
        plan: merge.table.plan,
        name: format!("{step}_{}", merge.table.plan.entry),
        sql: sql(),
        rows,
        what: format!("{} ({step})", merge.name()),
    })
}

fn deletes<'a>(merge: &Merge<'a>, planned: &Planned, _: (&str, bool)) -> Vec<Part<'a>> {
    let sql = || {
        format!(
            "delete from {} as t using {} as c where {HERE} and c.change in ('{}', '{}', '{}')",
            merge.table.plan.name,
            merge.changes(),
            change::DELETE,
            change::SKIP_AND_DELETE,
            change::REPLACE
        )
    };
    Vec::from_iter(part(merge, "deleted", planned.gone(), sql))
}

fn updates<'a>(merge: &Merge<'a>, planned: &Planned, (after, is_traced): (&str, bool)) -> Vec<Part<'a>> {
    let plan = merge.table.plan;
    let compared = merge.sides.compared(!merge.policy.removes);
    let identifying = merge.sides.identifying(&compared);
    // UPDATE cannot set an identity column GENERATED ALWAYS.
    let is_updatable = |i: &usize| plan.columns[*i].identity != Some(Identity::Always);
    let all: Vec<usize> = (0..plan.columns.len()).filter(is_updatable).collect();
    let others: Vec<usize> = all.iter().copied().filter(|i| !identifying.contains(i)).collect();
    let update = |columns: &[usize], change: &str| {
        let names = || columns.iter().map(|&i| &plan.columns[i].name);
        let set = names().zip(values(plan.entry, names(), is_traced));
        let set = set.map(|(name, value)| format!("{name} = {value}"));
        format!(
            "update {} as t set {} from {} as c join {} as s on s.ctid = c.s_place
             where {HERE} and c.change = '{change}'{after}",
            plan.name,
            set.collect::<Vec<_>>().join(", "),
            merge.changes(),
            merge.sides.staging,
        )
    };
    let updated = part(merge, "updated", planned.updates, || update(&others, change::UPDATE));
    let keys = part(merge, "key_updated", planned.key_updates, || update(&all, change::UPDATE_KEY));
    updated.into_iter().chain(keys).collect()
}

fn inserts<'a>(merge: &Merge<'a>, planned: &Planned, (after, is_traced): (&str, bool)) -> Option<Part<'a>> {
    let plan = merge.table.plan;
    let insert = || {
        let overriding = if plan.overrides_identity() { " overriding system value" } else { "" };
        format!(
            "insert into {} ({}){overriding} select {} from {} where c.change = '{}'{after}",
            plan.name,
            plan.column_list(),
            loaded(plan, is_traced),
            staged(merge),
            change::INSERT
        )
    };
    part(merge, "inserted", planned.inserts, insert)
}

/// Inserts deleted rows again. Columns that are not loaded keep their values: the statement still sees the rows that it has deleted.
fn replaces<'a>(merge: &Merge<'a>, planned: &Planned, (after, is_traced): (&str, bool)) -> Vec<Part<'a>> {
    let plan = merge.table.plan;
    let bring_back = || {
        let is_left =
            |column: &&crate::pg::catalog::Column| !column.generated && !plan.is_loaded(&column.name);
        let left: Vec<_> = plan.live.columns.iter().filter(is_left).map(|column| &column.name).collect();
        let (more, old) = if left.is_empty() {
            (String::new(), String::new())
        } else {
            (
                format!(", {}", list(left.iter().copied())),
                format!(", {}", prefixed("t", left.iter().copied())),
            )
        };
        format!(
            "insert into {} ({}{more}) overriding system value select {}{old}
             from {} join {} as t on {HERE} where c.change = '{}'{after}",
            plan.name,
            plan.column_list(),
            loaded(plan, is_traced),
            staged(merge),
            plan.name,
            change::REPLACE
        )
    };
    Vec::from_iter(part(merge, "replaced", planned.replaces, bring_back))
}

/// The staged rows `s` of the changes `c`.
fn staged(merge: &Merge<'_>) -> String {
    format!("{} as c join {} as s on s.ctid = c.s_place", merge.changes(), merge.sides.staging)
}

/// The values of a staged row in all loaded columns.
fn loaded(plan: &TablePlan, is_traced: bool) -> String {
    values(plan.entry, plan.columns.iter().map(|column| &column.name), is_traced).join(", ")
}

/// Returns the values of a staged row `s`. The first one traces the row if `is_traced`.
fn values<'a>(entry: usize, columns: impl Iterator<Item = &'a Ident>, is_traced: bool) -> Vec<String> {
    let mut values: Vec<String> = columns.map(|column| format!("s.{column}")).collect();
    if let Some(first) = values.first_mut().filter(|_| is_traced) {
        *first = trace::noting(first, entry, "s.ctid");
    }
    values
}

fn prefixed<'a>(alias: &str, columns: impl Iterator<Item = &'a Ident>) -> String {
    columns.map(|column| format!("{alias}.{column}")).collect::<Vec<_>>().join(", ")
}
