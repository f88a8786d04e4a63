//! Makes sure that no remaining row references a deleted one, and that no foreign key's action runs because of the merge.
//!
//! An action runs at the end of the statement that deletes or updates the referenced row. It also reaches rows that this statement
//! has written: a new row would be deleted if it references the value of a deleted row, even if another row brings that value back.
//! A second statement therefore inserts the new rows of such tables ([`Writing::Late`]). Updates of such rows are refused.

use tokio_postgres::{Client, Row};

use super::Merge;
use super::change::{self, UPDATES};
use super::compare::Planned;
use crate::apply::dangling::{self, KEYS_SHOWN};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::catalog::{Action, ForeignKey, Partition};
use crate::pg::name::{Ident, literal, plain};

/// Tells when the new rows of a table are inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writing {
    /// By the statement that writes everything else.
    Early,
    /// By a second statement, because an action of a foreign key would reach them in the first.
    Late,
}

/// Locks the rows to be deleted, then searches for remaining rows that reference them. Returns when to insert the new rows of each
/// table.
///
/// FOR UPDATE blocks sessions that are about to reference such a row (a foreign key's check takes FOR KEY SHARE). The search
/// is a separate statement, so it sees references committed before the locks were granted (READ COMMITTED).
///
/// # Errors
/// [`crate::error::Kind::Guard`] with the number of such rows and the first keys; any server error.
pub(super) async fn refuse_dangling(
    client: &Client,
    merges: &[Merge<'_>],
    planned: &[Planned],
) -> Result<Vec<Writing>> {
    for (merge, planned) in merges.iter().zip(planned) {
        let keys: Vec<&ForeignKey> = merge
            .table
            .plan
            .live
            .referenced_by
            .iter()
            .filter(|key| may_dangle(merge, planned, key))
            .collect();
        if keys.is_empty() {
            continue;
        }
        let failed = merge.fails("locking the rows to be deleted from");
        client.execute(&lock_sql(merge), &[]).await.map_err(failed)?;
    }
    let mut writing = vec![Writing::Early; merges.len()];
    for (merge, changes) in merges.iter().zip(planned) {
        for key in &merge.table.plan.live.referenced_by {
            if !may_dangle(merge, changes, key) {
                continue;
            }
            search(client, merge, key, merges).await?;
            if key.on_delete == Action::None && key.on_update == Action::None {
                continue;
            }
            for (number, other) in merges.iter().enumerate() {
                if other.table.plan.live.overlaps(&key.from)
                    && is_reached(client, merge, key, (other, &planned[number])).await?
                {
                    writing[number] = Writing::Late;
                }
            }
        }
    }
    delay_referring(merges, &mut writing);
    Ok(writing)
}

/// Has the new rows of a table inserted late if they may refer to rows that are.
fn delay_referring(merges: &[Merge<'_>], writing: &mut [Writing]) {
    loop {
        let is_due = |number: &usize| {
            let keys = &merges[*number].table.plan.live.foreign_keys;
            let refers_to =
                |other: &Merge<'_>| keys.iter().any(|key| other.table.plan.live.overlaps(&key.to));
            let mut late = merges.iter().zip(&*writing).filter(|(_, writing)| **writing == Writing::Late);
            writing[*number] == Writing::Early && late.any(|(other, _)| refers_to(other))
        };
        let Some(next) = (0..merges.len()).find(is_due) else { return };
        writing[next] = Writing::Late;
    }
}

/// Whether an action of a foreign key would reach rows that are inserted.
///
/// # Errors
/// [`Kind::Guard`] if it would reach rows that are updated; the server's.
async fn is_reached(
    client: &Client,
    merge: &Merge<'_>,
    key: &ForeignKey,
    (other, planned): (&Merge<'_>, &Planned),
) -> Result<bool> {
    if !key.from_columns.iter().all(|column| other.table.plan.is_loaded(column)) {
        // An update leaves the reference as it is, and the search has seen that. What a new row refers to is not known.
        return Ok(planned.inserts > 0);
    }
    let what = format!("searching the rows of {} for references to what vanishes from", key.from.plain());
    let row = client.query_one(&reached_sql(merge, key, other), &[]).await.map_err(merge.fails(&what))?;
    if row.get::<_, i64>(0) > 0 {
        return Err(refuse_action(
            &row,
            merge,
            key,
            "change, and refer to values that one row loses and another row gets, which sets off the action of the foreign key",
            "Apply the referencing table by \"delete\" or \"truncate\", or make the foreign key ON DELETE NO ACTION ON UPDATE NO \
             ACTION.",
        ));
    }
    Ok(row.get::<_, i64>(2) > 0)
}

/// Counts the staged rows of `other` that are updated or replaced and that an action would reach, shows the first of their keys,
/// and counts those that are inserted.
fn reached_sql(merge: &Merge<'_>, key: &ForeignKey, other: &Merge<'_>) -> String {
    let referring: String =
        key.from_columns.iter().enumerate().map(|(i, column)| format!(", {column} as f{i}")).collect();
    let insert = change::INSERT;
    // With CASCADE the row gets the spelling of an equal value that it is to have anyway.
    let follows = match key.on_update {
        Action::Cascade => format!(" and v.fate <> '{}'", fate::REWRITTEN),
        _ => String::new(),
    };
    format!(
        "with vanishing as ({}), reached as (
             select c.change{}
             from {} as c join (select ctid as place{referring} from {}) as s on s.place = c.s_place
             join vanishing as v on {}
             where v.acts and (c.change = '{insert}' or c.change in ({UPDATES}, '{}'){follows}))
         select pg_catalog.count(*) filter (where change <> '{insert}'), (
             select pg_catalog.string_agg(shown.text, '; ')
             from (select distinct pg_catalog.concat({}) as text from reached as f where change <> '{insert}'
                   order by 1 limit {KEYS_SHOWN}) as shown),
             pg_catalog.count(*) filter (where change = '{insert}')
         from reached",
        vanishing(merge, key),
        values(key),
        other.changes(),
        other.sides.staging,
        refers(key, "v", "s"),
        change::REPLACE,
        shown(key),
    )
}

/// The values of a vanishing row `v`, as further columns.
fn values(key: &ForeignKey) -> String {
    (0..key.to_columns.len()).map(|i| format!(", v.v{i}")).collect()
}

/// The arguments of `concat` that name the values of a row `f`.
fn shown(key: &ForeignKey) -> String {
    let columns = key.to_columns.iter().enumerate();
    let names =
        columns.map(|(i, column)| format!("{}, f.v{i}::text", literal(&format!("{}=", plain(column)))));
    names.collect::<Vec<_>>().join(", ', ', ")
}

/// Returns whether a value that a foreign key references may vanish. A temporal foreign key can only refuse that, which is
/// left to it.
fn may_dangle(merge: &Merge<'_>, planned: &Planned, key: &ForeignKey) -> bool {
    key.demands_match() && (planned.gone() > 0 || (planned.key_updates > 0 && changes_referenced(merge, key)))
}

/// Returns the partition of this table that a foreign key references, if it is known which written rows leave it.
fn left_part<'m>(merge: &'m Merge<'_>, key: &ForeignKey) -> Option<&'m Partition> {
    let part = merge.table.plan.live.partition(&key.to)?;
    part.columns.iter().all(|column| merge.table.plan.is_loaded(column)).then_some(part)
}

/// Returns whether an update may change the referenced columns from the point of view of a foreign key.
///
/// The key by which rows are matched stays equal, which satisfies NO ACTION. All other actions also run for another image of
/// an equal value: 1.00 for 1.0 (`ri_KeysEqual` compares the bytes of a referenced row).
fn changes_referenced(merge: &Merge<'_>, key: &ForeignKey) -> bool {
    let is_loaded = |column: &Ident| merge.table.plan.is_loaded(column);
    key.to_columns.iter().any(is_loaded) && (key.on_update != Action::None || !is_within_key(merge, key))
}

/// Returns whether the referenced columns that are loaded belong to the key by which rows are matched.
fn is_within_key(merge: &Merge<'_>, key: &ForeignKey) -> bool {
    let plan = merge.table.plan;
    let known = plan.key.as_deref().unwrap_or_default();
    key.to_columns.iter().all(|column| known.contains(column) || !plan.is_loaded(column))
}

/// The fate of a referenced row, as the search reports it.
mod fate {
    /// The row no longer has the values.
    pub(super) const GONE: &str = "gone";
    /// The row is deleted and inserted again.
    pub(super) const REPLACED: &str = "replaced";
    /// The row receives another image of equal values.
    pub(super) const REWRITTEN: &str = "rewritten";
}

fn lock_sql(merge: &Merge<'_>) -> String {
    let referenced = merge.table.plan.live.referenced_by.iter();
    let update =
        if referenced.clone().any(|key| changes_referenced(merge, key)) { change::UPDATE_KEY } else { "" };
    format!(
        "select from {} as t, {} as c
         where t.ctid = c.t_place and t.tableoid = c.t_part and c.change in ('{}', '{}', '{}', '{update}')
         for update of t",
        merge.table.plan.name,
        merge.changes(),
        change::DELETE,
        change::SKIP_AND_DELETE,
        change::REPLACE,
    )
}

async fn search(client: &Client, merge: &Merge<'_>, key: &ForeignKey, merges: &[Merge<'_>]) -> Result<()> {
    let what = format!("searching {} for references to rows to be deleted from", key.from.plain());
    let row = client.query_one(&search_sql(merge, key, merges), &[]).await.map_err(merge.fails(&what))?;
    match row.get::<_, Option<&str>>(2) {
        Some(fate::REPLACED) => Err(refuse_action(
            &row,
            merge,
            key,
            "reference rows that must be deleted and inserted again, which would trigger ON DELETE",
            "UPDATE cannot swap values of a unique index or an exclusion constraint between rows, nor change \
             an identity column GENERATED ALWAYS. Make that constraint DEFERRABLE, or the foreign key ON \
             DELETE NO ACTION.",
        )),
        Some(fate::REWRITTEN) => Err(refuse_action(
            &row,
            merge,
            key,
            "reference rows whose key is equal to the source's but spelled differently, which would trigger \
             ON UPDATE",
            "Spell the key the same way in source and target, or make the foreign key ON UPDATE NO ACTION.",
        )),
        _ => dangling::refuse(&row, &merge.table.plan.name, &key.from, &key.name),
    }
}

/// Returns the error that a foreign key's action would run.
fn refuse_action(found: &Row, merge: &Merge<'_>, key: &ForeignKey, what: &str, fix: &str) -> Error {
    let message = format!(
        "{}: {} rows of {} ({}) {what}: {}",
        merge.name(),
        found.get::<_, i64>(0),
        key.from.plain(),
        plain(&key.name),
        found.get::<_, Option<String>>(1).unwrap_or_default()
    );
    Error::new(Phase::Apply, Kind::Guard, message).hint(format!("Nothing was changed. {fix}"))
}

/// Returns the query that counts the remaining rows whose reference vanishes, shows the first of their keys, and returns the
/// fate of the referenced rows if it is the same for all.
fn search_sql(merge: &Merge<'_>, key: &ForeignKey, merges: &[Merge<'_>]) -> String {
    let referring: String =
        key.from_columns.iter().enumerate().map(|(i, column)| format!(", {column} as f{i}")).collect();
    let matches = refers(key, "v", "r");
    // The changes to the referencing table in the same transaction.
    let departs: String = merges
        .iter()
        .filter(|other| other.table.plan.live.overlaps(&key.from))
        .map(|other| departs(other, key))
        .collect();
    let follows: String = merges
        .iter()
        .filter(|other| key.on_update == Action::Cascade && other.table.plan.live.overlaps(&key.from))
        .map(follows)
        .collect();
    format!(
        "with vanishing as ({}), found as (
             select v.fate{}
             from (select tableoid as part, ctid as place{referring} from {}) as r join vanishing as v on {matches}
             where true{departs}{follows})
         select pg_catalog.count(*), (
             select pg_catalog.string_agg(shown.text, '; ')
             from (select distinct pg_catalog.concat({}) as text from found as f order by 1 limit {KEYS_SHOWN}) as shown),
             case when min(fate) = max(fate) then min(fate) end
         from found",
        vanishing(merge, key),
        values(key),
        key.from,
        shown(key)
    )
}

/// Returns the values `v0`, `v1`, … of the referenced columns that no longer exist in the same row, the row's `fate`, and whether
/// the foreign key `acts` on it.
fn vanishing(merge: &Merge<'_>, key: &ForeignKey) -> String {
    let old: Vec<String> =
        key.to_columns.iter().enumerate().map(|(i, column)| format!("t.{column} as v{i}")).collect();
    let old = old.join(", ");
    let mut gone = vec![change::DELETE, change::SKIP_AND_DELETE];
    // A row that is deleted and inserted again in one statement does not trigger NO ACTION, but triggers all other actions.
    if key.on_delete != Action::None {
        gone.push(change::REPLACE);
    }
    let gone: Vec<String> = gone.iter().map(|change| format!("'{change}'")).collect();
    let changes = merge.changes();
    // A foreign key to a partition references only the rows of that partition.
    let part = merge.table.plan.live.partition(&key.to);
    let inside = part.map(|part| format!(" and t.tableoid in ({})", part.name.tree_sql()));
    let place = format!(
        "{} as t join {changes} as c on t.ctid = c.t_place and t.tableoid = c.t_part{}",
        merge.table.plan.name,
        inside.unwrap_or_default()
    );
    // A row that moves to another partition is gone.
    let moves = left_part(merge, key).map(|part| format!(" and not {}", leaves(merge, part)));
    let mut sql = format!(
        "select {old}, case when c.change = '{}'{} then '{}' else '{}' end as fate, {} as acts
         from {place} where c.change in ({})",
        change::REPLACE,
        moves.unwrap_or_default(),
        fate::REPLACED,
        fate::GONE,
        key.on_delete != Action::None,
        gone.join(", ")
    );
    if changes_referenced(merge, key) {
        let loaded = |column: &&Ident| merge.table.plan.is_loaded(column);
        let columns: Vec<&Ident> = key.to_columns.iter().filter(loaded).collect();
        let of = |alias: &str| {
            let columns: Vec<String> = columns.iter().map(|column| format!("{alias}.{column}")).collect();
            format!("cross join lateral (select {}) as {alias}_image", columns.join(", "))
        };
        // A row that is deleted and inserted again is not updated, and keeps the values of its key.
        let (fate, replaced) = match (is_within_key(merge, key), key.on_delete) {
            (true, _) => (fate::REWRITTEN, ""),
            (false, Action::None) => (fate::GONE, change::REPLACE),
            (false, _) => (fate::GONE, ""),
        };
        sql.push_str(&format!(
            " union all select {old}, '{fate}', {} and c.change = '{}' from {place} join {} as s on s.ctid = c.s_place {} {}
             where c.change in ('{}', '{replaced}') and {}",
            key.on_update != Action::None,
            change::UPDATE_KEY,
            merge.sides.staging,
            of("s"),
            of("t"),
            change::UPDATE_KEY,
            super::sides::DIFFER
        ));
    }
    if let Some(part) = left_part(merge, key).filter(|_| key.on_delete == Action::None) {
        sql.push_str(&format!(
            " union all select {old}, '{}', false from {place} where c.change = '{}' and {}",
            fate::GONE,
            change::REPLACE,
            leaves(merge, part),
        ));
    }
    if key.on_delete == Action::None
        && key.on_update == Action::None
        && let Some(kept) = still_there(merge, key)
    {
        // Another row may supply the value again, which satisfies the constraint.
        sql = format!("select * from ({sql}) as v where not exists ({kept})");
    }
    sql
}

/// Returns the condition that the row of the change `c` moves out of a partition. Only a replacement does, see
/// [`super::compare::again`].
fn leaves(merge: &Merge<'_>, part: &Partition) -> String {
    let staging = merge.sides.staging;
    format!("(select ({}) is not true from {staging} as s where s.ctid = c.s_place)", part.constraint)
}

/// Returns the condition that an inserted or updated row supplies the values of `v`.
fn still_there(merge: &Merge<'_>, key: &ForeignKey) -> Option<String> {
    let part = merge.table.plan.live.partition(&key.to);
    let routing = part.map_or(&[][..], |part| &part.columns);
    if !key.to_columns.iter().chain(routing).all(|column| merge.table.plan.is_loaded(column)) {
        return None;
    }
    let inside = part.map_or("true", |part| &part.constraint);
    let same: Vec<String> = (0..key.to_columns.len()).map(|i| format!("s.w{i} = v.v{i}")).collect();
    let values: String =
        key.to_columns.iter().enumerate().map(|(i, column)| format!(", {column} as w{i}")).collect();
    Some(format!(
        "select from {} as c join (select ctid as place{values} from {} where {inside}) as s on s.place = c.s_place
         where c.change in ('{}', {UPDATES}, '{}') and {}",
        merge.changes(),
        merge.sides.staging,
        change::INSERT,
        change::REPLACE,
        same.join(" and ")
    ))
}

/// Returns `and` the condition that the referencing row `r` is neither deleted nor changed to reference something other than
/// `v`.
fn departs(other: &Merge<'_>, key: &ForeignKey) -> String {
    let changes = other.changes();
    let here = "c.t_place = r.place and c.t_part = r.part";
    let mut sql = format!(
        " and not exists (select from {changes} as c where {here} and c.change in ('{}', '{}'))",
        change::DELETE,
        change::SKIP_AND_DELETE
    );
    if key.from_columns.iter().all(|column| other.table.plan.is_loaded(column)) {
        let names: String =
            key.from_columns.iter().enumerate().map(|(i, column)| format!(", {column} as f{i}")).collect();
        sql.push_str(&format!(
            " and not exists (
                 select from {changes} as c
                 join (select ctid as place{names} from {}) as s on s.place = c.s_place
                 where {here} and c.change in ({UPDATES}, '{}') and ({}) is not true)",
            other.sides.staging,
            change::REPLACE,
            refers(key, "v", "s")
        ));
    }
    sql
}

/// Returns `and` the condition that the referencing row `r` is not one that this run loads and that ON UPDATE CASCADE may
/// respell: the next run corrects those.
fn follows(other: &Merge<'_>) -> String {
    format!(
        " and (v.fate <> '{}' or not exists (select from {} where t.place = r.place and t.part = r.part))",
        fate::REWRITTEN,
        other.sides.ours("t")
    )
}

/// Returns the condition that the referenced values of one alias equal the referencing columns of another.
fn refers(key: &ForeignKey, referenced: &str, referring: &str) -> String {
    let pairs = key
        .operators
        .iter()
        .enumerate()
        .map(|(i, operator)| format!("{referenced}.v{i} {operator} {referring}.f{i}"));
    pairs.collect::<Vec<_>>().join(" and ")
}
