//! Finds the differences between staging and the live table without a lock, and again under it.

use std::time::Duration;

use tokio_postgres::Client;

use super::change::{self, UPDATES};
use super::sides::{indexed, same_value};
use super::{Counts, Merge};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::catalog::{Column, Identity, UniqueIndex};
use crate::pg::name::{Ident, list};

/// The most memory for one hash table, in kB. More gained nothing.
const WORK_MEM_KB_MAX: u64 = 256 * 1024;

/// The rows of the difference by planned action.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Planned {
    /// Staged rows in the difference.
    differing: u64,
    pub(super) inserts: u64,
    /// Updates that leave out the columns that foreign keys could reference.
    pub(super) updates: u64,
    /// Updates that include these columns.
    pub(super) key_updates: u64,
    pub(super) replaces: u64,
    pub(super) deletes: u64,
    skips: u64,
    skips_and_deletes: u64,
    same: u64,
}

impl Planned {
    /// Live rows that are deleted.
    pub(super) fn gone(&self) -> u64 {
        self.deletes + self.skips_and_deletes + self.replaces
    }

    /// Returns the counts as the report defines them.
    pub(super) fn counts(&self, merge: &Merge<'_>) -> Counts {
        let alike = merge.table.staged.saturating_sub(self.differing) + self.same;
        let skipped = self.skips + self.skips_and_deletes;
        // An insert leaves an existing row alone, whether equal or not.
        let (unchanged, skipped) = if merge.policy.updates { (alike, skipped) } else { (0, skipped + alike) };
        Counts {
            inserted: self.inserts,
            updated: self.updates + self.key_updates + self.replaces,
            deleted: self.deletes + self.skips_and_deletes,
            unchanged,
            skipped,
        }
    }
}

/// Finds the differences without locks, on the session that will apply them.
///
/// # Errors
/// [`Kind::Transient`] when staging has lost rows because a server crash emptied it, in which case it must be verified again;
/// any server error.
pub(in crate::apply) async fn compare(
    client: &Client,
    merges: &[Merge<'_>],
    lock_wait: Duration,
) -> Result<()> {
    if merges.is_empty() {
        return Ok(());
    }
    set_up(client, lock_wait).await?;
    for merge in merges {
        let staging = merge.sides.staging;
        find(client, merge).await.map_err(merge.fails("comparing staging with"))?;
        let sql = format!("select pg_catalog.count(*) from {staging}");
        let row = client.query_one(&sql, &[]).await.map_err(merge.fails("counting the staging table of"))?;
        if row.get::<_, i64>(0) != i64::try_from(merge.table.staged).unwrap_or(i64::MAX) {
            let message = format!("{}: the staging table has lost rows", merge.name());
            return Err(Error::new(Phase::Apply, Kind::Transient, message));
        }
        fail::fail_point!("apply.compared");
    }
    Ok(())
}

/// Stores the difference of one table: the places of staged rows that the target lacks in this form, and the keys of live
/// rows that staging lacks.
///
/// Both searches use one snapshot. If every staged row matches a distinct live row and their numbers are equal, no live row
/// can be left over, and the second search is skipped.
async fn find(client: &Client, merge: &Merge<'_>) -> std::result::Result<(), tokio_postgres::Error> {
    let (difference, staging) = (merge.difference(), merge.sides.staging);
    let key: Vec<&Ident> = merge.table.plan.key.iter().flatten().collect();
    let sql = format!("analyze {staging} ({}); drop table if exists {difference}", list(key));
    client.batch_execute(&sql).await?;
    let sql = format!("begin isolation level repeatable read; {}", differing_sql(merge));
    client.batch_execute(&sql).await?;
    if merge.policy.removes && (!merge.sides.plan.has_unique_key() || has_rows_left(client, merge).await?) {
        client.batch_execute(&left_sql(merge)).await?;
    }
    client.batch_execute(&format!("commit; analyze {difference}")).await
}

/// Returns whether the snapshot has target rows in scope that match no staged row.
async fn has_rows_left(
    client: &Client,
    merge: &Merge<'_>,
) -> std::result::Result<bool, tokio_postgres::Error> {
    let sql = format!(
        "select (select pg_catalog.count(*) from {}) - (select pg_catalog.count(*) from {})
              + (select pg_catalog.count(*) from {} where t_place is null)",
        merge.sides.ours("t"),
        merge.sides.staging,
        merge.difference()
    );
    Ok(client.query_one(&sql, &[]).await?.get::<_, i64>(0) != 0)
}

/// Sets up a session for the comparison.
///
/// The number of differing rows is unknown; a high estimate would keep the planner from reading in parallel. Hash tables may
/// use a quarter of shared_buffers, which indicates how much memory the server is meant to use. No session queues behind the
/// weak lock of a comparison, so it may wait for locks as long as any lock may.
async fn set_up(client: &Client, lock_wait: Duration) -> Result<()> {
    let sql = format!(
        "set lock_timeout = {};
         set parallel_setup_cost = 0;
         set parallel_tuple_cost = 0;
         select pg_catalog.set_config('work_mem', greatest(
             least(pg_catalog.pg_size_bytes(pg_catalog.current_setting('shared_buffers')) / 4096, {WORK_MEM_KB_MAX}),
             pg_catalog.pg_size_bytes(pg_catalog.current_setting('work_mem')) / 1024)::text || 'kB', false)",
        lock_wait.as_millis().clamp(1, 2_000_000_000)
    );
    client.batch_execute(&sql).await.map_err(|e| Error::pg(Phase::Apply, "setting up the comparison", &e))
}

/// Returns the statement that stores the staged rows of the difference, each with the place of the live row in scope that has
/// its key.
fn differing_sql(merge: &Merge<'_>) -> String {
    let sides = &merge.sides;
    let keys = key_columns(merge);
    let no_keys: String =
        keys.iter().map(|&i| format!(", null::{} as k{i}", merge.table.plan.columns[i].type_name)).collect();
    let outside = sides.plan.untouchable_rows();
    let (live, join, differs, place) = if merge.policy.updates {
        let images = sides.images(&sides.compared(!merge.policy.removes));
        // A flag instead of two joins: one pass over both sides answers everything.
        let (live, is_outside, place) = match &outside {
            None => (sides.live("t", None), "", "t.place"),
            Some(rows) => (
                sides.flagged("t", rows),
                " or t.is_outside",
                "case when t.is_outside is not true then t.place end",
            ),
        };
        (live, images.join, format!("t.place is null{is_outside} or {}", images.differ), place)
    } else {
        (sides.live("t", None), String::new(), "t.place is null".to_owned(), "t.place")
    };
    // Where the key is not unique on the target, a staged row can differ from several live ones.
    let (distinct, place) =
        if sides.plan.has_unique_key() { ("", place) } else { ("distinct ", "null::tid") };
    format!(
        "create temporary table {} as
         select {distinct}s.place as s_place, null::oid as t_part, {place} as t_place, null::xid as t_version{no_keys}
         from {} left join {live} on {} {join}
         where {differs}",
        merge.difference().name,
        sides.staged("s"),
        sides.same_key("t", "s"),
    )
}

/// Returns the statement that adds the live rows missing from staging.
fn left_sql(merge: &Merge<'_>) -> String {
    let sides = &merge.sides;
    let keys: String = key_columns(merge).iter().map(|i| format!(", t.c{i}")).collect();
    // CREATE TABLE AS reads in parallel; INSERT … SELECT does not.
    format!(
        "create temporary table {0} as
         select null::tid as s_place, t.part, t.place, t.version{keys} from {1} where not exists (select from {2} where {3});
         insert into {4} select * from {0};
         drop table {0}",
        merge.left_over().name,
        sides.ours("t"),
        sides.staged("s"),
        sides.same_key("t", "s"),
        merge.difference()
    )
}

fn key_columns(merge: &Merge<'_>) -> Vec<usize> {
    merge.sides.plan.key_parts().iter().map(|part| part.column).collect()
}

/// Sets up the applying transaction. The rows of the difference are fetched by their places, in the stored order.
///
/// At the default cost of a random page the planner would rather read both tables completely, under the lock.
pub(super) async fn favour_single_rows(client: &Client) -> Result<()> {
    let sql = "set local random_page_cost = 0.1;
         set local parallel_setup_cost to default;
         set local parallel_tuple_cost to default";
    client.batch_execute(sql).await.map_err(|e| Error::pg(Phase::Apply, "setting up the transaction", &e))
}

/// Compares the rows of the difference again, with writers locked out, and stores the planned changes.
pub(super) async fn again(client: &Client, merge: &Merge<'_>) -> Result<Planned> {
    let failed = merge.fails("comparing again with");
    let changes = merge.changes();
    let sql = format!("{}; analyze {changes}", changes_sql(merge));
    client.batch_execute(&sql).await.map_err(&failed)?;
    for sql in replacing_sql(merge) {
        client.execute(&sql, &[]).await.map_err(&failed)?;
    }
    let sql = format!(
        "select change, pg_catalog.count(*), pg_catalog.count(distinct s_place) from {changes} group by change
         union all select '', 0, pg_catalog.count(s_place) from {}",
        merge.difference()
    );
    let rows = client.query(&sql, &[]).await.map_err(&failed)?;
    let mut planned = Planned::default();
    let mut staged = 0;
    for row in &rows {
        let count = |i: usize| u64::try_from(row.get::<_, i64>(i)).unwrap_or(0);
        let (rows, places) = (count(1), count(2));
        match row.get::<_, &str>(0) {
            "" => planned.differing = places,
            change::INSERT => planned.inserts = rows,
            change::UPDATE => planned.updates = rows,
            change::UPDATE_KEY => planned.key_updates = rows,
            change::REPLACE => planned.replaces = rows,
            change::DELETE => planned.deletes = rows,
            change::SKIP => planned.skips = rows,
            change::SKIP_AND_DELETE => planned.skips_and_deletes = rows,
            _ => planned.same = rows,
        }
        if row.get::<_, &str>(0) != change::DELETE && !row.get::<_, &str>(0).is_empty() {
            staged += rows;
        }
    }
    if staged != planned.differing {
        let message = format!(
            "{}: {} staged rows differ, but they match {staged} rows of the target; nothing was changed",
            merge.name(),
            planned.differing
        );
        return Err(Error::new(Phase::Apply, Kind::Guard, message).hint(
            "Several rows of the target have the same key. Make the key unique there, or choose another \
                   key.",
        ));
    }
    Ok(planned)
}

/// Returns the query for the planned action of every row of the difference.
fn changes_sql(merge: &Merge<'_>) -> String {
    let Merge { sides, policy, .. } = merge;
    let difference = merge.difference();
    let compared = sides.compared(!policy.removes);
    let (images, keys) = (sides.images(&compared), sides.key_images(&sides.identifying(&compared)));
    let blocked = sides.blocked(Some(&format!("select s_place from {difference}")));
    let skips = if policy.removes {
        format!("when b.place is not null and t.place is not null then '{}' ", change::SKIP_AND_DELETE)
    } else {
        String::new()
    };
    let (with, join, skips) = match &blocked {
        None => (String::new(), String::new(), String::new()),
        Some(blocked) => (
            format!("with blocked as ({blocked}) "),
            "left join blocked as b on b.place = s.place ".to_owned(),
            format!("{skips}when b.place is not null then '{}' ", change::SKIP),
        ),
    };
    // Changes made by triggers are searched for after the commit.
    let end = if sides.plan.changing().next().is_some() { "preserve rows" } else { "drop" };
    let live = if policy.updates { sides.ours("t") } else { sides.live("t", Some("false")) };
    let mut sql = format!(
        "create temporary table {} on commit {end} as {with}
         select (case {skips}when t.place is null then '{}' when {} then '{}' when {} then '{}' else '{}' end)::text as change,
             s.place as s_place, t.part as t_part, t.place as t_place
         from {difference} as d join {} on s.place = d.s_place {join}
         left join {live} on {} {} {}",
        merge.changes().name,
        change::INSERT,
        keys.differ,
        change::UPDATE_KEY,
        images.differ,
        change::UPDATE,
        change::SAME,
        sides.staged("s"),
        sides.same_key("t", "s"),
        images.join,
        keys.join,
    );
    if policy.removes {
        let keys = key_columns(merge);
        let known: String = keys.iter().map(|i| format!(", k{i} as c{i}")).collect();
        let gone = format!(
            "(select t_part, t_place, t_version{known} from {difference} where s_place is null) as d"
        );
        sql.push_str(&format!(
            " union all select '{}', null, t.part, t.place from {gone} join {} on {}",
            change::DELETE,
            sides.ours("t"),
            sides.same_key("t", "d")
        ));
        if !merge.sides.plan.key_index().is_some_and(|index| index.all_not_null || index.nulls_equal) {
            // NULL matches nothing: such a row is identified by its place, if its version is unchanged.
            let is_null: Vec<String> = keys.iter().map(|i| format!("d.c{i} is null")).collect();
            sql.push_str(&format!(
                " union all select '{}', null, t.part, t.place from {gone} join {}
                 on t.place = d.t_place and t.part = d.t_part and t.version = d.t_version and ({})",
                change::DELETE,
                sides.ours("t"),
                is_null.join(" or ")
            ));
        }
    }
    sql
}

/// Returns the statements that turn impossible updates into replacements: of an identity column GENERATED ALWAYS, of a row
/// that leaves a partition referenced by a foreign key (the server refuses to move it), and of a row that holds a value of a
/// unique index (or one that an exclusion constraint conflicts with) which another updated row is to receive. A replacement
/// releases the value by a DELETE before the other update, and inserts the row last.
fn replacing_sql(merge: &Merge<'_>) -> Vec<String> {
    let Merge { sides, policy, .. } = merge;
    if !policy.updates {
        return Vec::new();
    }
    let changes = merge.changes();
    let turn = |which: String| {
        format!(
            "update {changes} as c set change = '{}' from ({which}) as x
             where c.change in ({UPDATES}) and c.s_place = x.s_place",
            change::REPLACE,
        )
    };
    let mut sql = Vec::new();
    let fixed = |i: &usize| sides.plan.columns[*i].identity == Some(Identity::Always);
    let identities: Vec<usize> = (0..sides.plan.columns.len()).filter(fixed).collect();
    if policy.removes && !identities.is_empty() {
        let images = sides.images(&identities);
        sql.push(turn(format!(
            "select u.s_place from {changes} as u join {} on s.place = u.s_place
             join {} on t.place = u.t_place and t.part = u.t_part {}
             where u.change in ({UPDATES}) and {}",
            sides.staged("s"),
            sides.live("t", None),
            images.join,
            images.differ,
        )));
    }
    for key in &sides.plan.live.referenced_by {
        let Some(part) = sides.plan.live.partition(&key.to) else { continue };
        if part.columns.iter().all(|column| sides.plan.is_loaded(column)) {
            sql.push(turn(format!(
                "select u.s_place from {changes} as u
                 join (select ctid as place, ({}) as stays from {}) as s on s.place = u.s_place
                 where u.change in ({UPDATES}) and u.t_part in ({}) and s.stays is not true",
                part.constraint,
                sides.staging,
                part.name.tree_sql(),
            )));
        }
    }
    for index in sides.plan.exchangeable() {
        sql.push(turn(format!(
            "select h.s_place
             from {changes} as h
             join {} on t.place = h.t_place and t.part = h.t_part
             join {} on {}
             where h.change in ({UPDATES}) and h.s_place <> w.place",
            indexed(index, &sides.plan.name.to_string(), "tableoid as part, ctid as place", None, "t"),
            indexed(index, &coming(merge, index), "ctid as place", None, "w"),
            same_value(index, "t", "w"),
        )));
    }
    sql
}

/// Returns the live rows in their form after the update, with the columns that an index uses, under their names. `ctid` is
/// the place in staging, since no column of a table can have that name.
fn coming(merge: &Merge<'_>, index: &UniqueIndex) -> String {
    let plan = merge.sides.plan;
    let is_used = |name: &Ident| {
        index.uses.contains(name) || index.partition.iter().any(|partition| partition.columns.contains(name))
    };
    let used = || plan.live.columns.iter().filter(|column| is_used(&column.name));
    let generated: String = used()
        .filter(|column| column.generated)
        .filter_map(|column| Some(format!(", ({}) as {}", column.expression.as_deref()?, column.name)))
        .collect();
    // The inputs of a generated column are not known.
    let is_needed = |column: &&Column| !column.generated && (!generated.is_empty() || is_used(&column.name));
    let stored: String = plan
        .live
        .columns
        .iter()
        .filter(is_needed)
        .map(|column| {
            let side = if plan.is_loaded(&column.name) { "s" } else { "t" };
            format!(", {side}.{}", column.name)
        })
        .collect();
    format!(
        "(select *{generated}
          from (
              select c.s_place as ctid{stored}
              from {} as c
              join {} as s on s.ctid = c.s_place
              join {} as t on t.ctid = c.t_place and t.tableoid = c.t_part
              where c.change in ({UPDATES})
          ) as stored
         ) as coming",
        merge.changes(),
        merge.sides.staging,
        plan.name,
    )
}
