//! Fills staging columns from the rows that other tables will hold, with one statement per lookup.

use super::places::after_run;
use super::{Judge, Staged, removal};
use crate::error::Result;
use crate::figures;
use crate::pg::name::{literal, plain};
use crate::plan::Lookup;

/// The result of the statement that fills a column.
struct Filled {
    /// Rows with a match.
    rows: u64,
    /// Number of used keys with several values.
    ambiguous: u64,
}

impl Judge<'_, '_> {
    /// Fills the lookup columns of a table, either the deferred ones or the others. Returns how many rows were
    /// rejected because they have no match.
    pub(super) async fn look_up(&mut self, staged: &Staged<'_>, is_deferred: bool) -> Result<u64> {
        let mut rejected = 0;
        for lookup in staged.lookups().filter(|lookup| lookup.is_deferred == is_deferred) {
            rejected += self.fill(staged, lookup).await?;
        }
        Ok(rejected)
    }

    async fn fill(&mut self, staged: &Staged<'_>, lookup: &Lookup) -> Result<u64> {
        let Some(staging) = &staged.staging else { return Ok(0) };
        let Some(places) = after_run(&lookup.from, &lookup.parents, self.order) else { return Ok(0) };
        let rejected = if lookup.rejects_missing {
            let delete = format!(
                "delete from {} as s where {} returning s.*",
                staging.name,
                missing_condition(lookup, &places)
            );
            let sql = removal(staged.plan, &delete, &missing_reason(lookup), "null");
            self.remove(staged, &sql, &reason_label(lookup)).await?
        } else {
            0
        };
        if lookup.is_deferred {
            // Filled before, perhaps from a row that is gone.
            let column = &lookup.column;
            let sql = format!("update {} set {column} = null where {column} is not null", staging.name);
            self.wire.execute(&sql).await?;
        }
        let filled = self.run_fill(&fill_sql(lookup, &places, &staging.name.to_string())).await?;
        if filled.rows > 0 {
            // All NULL until now: without statistics, the planner would choose a nested loop over both tables.
            self.wire.execute(&format!("analyze {} ({})", staging.name, lookup.column)).await?;
        }
        let rows = self.count(&format!("select pg_catalog.count(*) from {}", staging.name)).await?;
        let key = (staged.table, lookup.column.clone());
        if rows > filled.rows {
            self.unmatched.insert(key);
        } else {
            self.unmatched.remove(&key);
        }
        let said = (filled.ambiguous > 0).then(|| ambiguous(lookup, filled.ambiguous));
        self.say_of(staged, lookup, said);
        Ok(rejected)
    }

    /// Warns about rows loaded without a match, once it is known which rows are loaded.
    pub(super) async fn tell_unmatched(&mut self, staged: &Staged<'_>) -> Result<()> {
        let Some(staging) = &staged.staging else { return Ok(()) };
        for lookup in staged.lookups() {
            if !self.unmatched.contains(&(staged.table, lookup.column.clone())) {
                continue;
            }
            let Some(places) = after_run(&lookup.from, &lookup.parents, self.order) else { continue };
            let condition = missing_condition(lookup, &places);
            let sql = format!("select pg_catalog.count(*) from {} as s where {condition}", staging.name);
            let rows = self.count(&sql).await?;
            if rows > 0 {
                self.warn(staged, missing(lookup, rows));
            }
        }
        Ok(())
    }

    async fn run_fill(&mut self, sql: &str) -> Result<Filled> {
        let rows = self.wire.query(sql).await?;
        let figure = |number: usize| {
            rows.first().and_then(|row| row.get(number)?.as_deref()?.parse().ok()).unwrap_or(0)
        };
        Ok(Filled { rows: figure(0), ambiguous: figure(1) })
    }

    /// Warns about the result of a lookup, replacing the warning of an earlier round.
    fn say_of(&mut self, staged: &Staged<'_>, lookup: &Lookup, said: Option<String>) {
        let Some((_, judged, _)) = self.tables.iter_mut().find(|(table, ..)| *table == staged.table) else {
            return;
        };
        let subject = subject(lookup);
        judged.warnings.retain(|warning| !warning.starts_with(&subject));
        judged.warnings.extend(said);
    }
}

/// Returns the tables of a cycle of references, each after those that it looks up. Lookups form no cycle.
pub(super) fn settled_first<'c, 'p>(circle: &'c [Staged<'p>]) -> Vec<&'c Staged<'p>> {
    let mut rest: Vec<&Staged<'p>> = circle.iter().collect();
    let mut ordered = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let is_open = |staged: &Staged<'_>| {
            let parents = || staged.lookups().flat_map(|lookup| &lookup.parents);
            rest.iter().any(|other| other.table != staged.table && parents().any(|p| *p == other.table))
        };
        let next = rest.iter().position(|staged| !is_open(staged)).unwrap_or(0);
        ordered.push(rest.remove(next));
    }
    ordered
}

/// Returns the UPDATE that fills a column from rows with an equal key, using the smallest of several values. It
/// returns how many rows it filled, and how many of the keys used have several values.
fn fill_sql(lookup: &Lookup, places: &[String], staging: &str) -> String {
    let rows: Vec<String> = places.iter().map(|place| rows_of(lookup, place)).collect();
    let rows = rows.join(" union all ");
    let keys = columns(lookup, "");
    let map = if lookup.is_unique {
        format!("select *, false as is_ambiguous from ({rows}) as p")
    } else {
        let text = "p.value::pg_catalog.text collate \"C\"";
        // NULL is never chosen, but counts as a different value.
        format!(
            "select distinct on ({keys}) p.*,
                 pg_catalog.min({text}) over same is distinct from pg_catalog.max({text}) over same
                 or pg_catalog.count(p.value) over same not in (0, pg_catalog.count(*) over same) as is_ambiguous
             from ({rows}) as p window same as (partition by {keys})
             order by {keys}, {}",
            lookup.order_sql("p.value")
        )
    };
    format!(
        "with map as materialized ({map}), filled as (
             update {staging} as s set {} = {} from map as m where {}
             returning {}, m.is_ambiguous)
         select pg_catalog.count(*), (select pg_catalog.count(*) from (
             select distinct {keys} from filled where is_ambiguous) as used) from filled",
        lookup.column,
        lookup.loaded_sql("m.value"),
        matches(lookup, "m"),
        columns(lookup, "m."),
    )
}

/// Returns a SELECT of the keys and values of one place, named `key_1` and so on and `value`.
fn rows_of(lookup: &Lookup, place: &str) -> String {
    let keys: Vec<String> = lookup
        .pairs
        .iter()
        .enumerate()
        .map(|(number, pair)| format!("p.{} as key_{number}", pair.theirs))
        .collect();
    let is_there: Vec<String> =
        lookup.pairs.iter().map(|pair| format!("p.{} is not null", pair.theirs)).collect();
    format!(
        "select {}, p.{} as value from {place} as p where {}",
        keys.join(", "),
        lookup.value,
        is_there.join(" and ")
    )
}

/// Returns `key_1, key_2`, each with a prefix.
fn columns(lookup: &Lookup, prefix: &str) -> String {
    let names: Vec<String> = (0..lookup.pairs.len()).map(|number| format!("{prefix}key_{number}")).collect();
    names.join(", ")
}

/// Returns a predicate: a row of the map matches a staged row `s`.
fn matches(lookup: &Lookup, map: &str) -> String {
    let pairs = lookup.pairs.iter().enumerate();
    let pairs = pairs.map(|(number, pair)| pair.matches_sql(&format!("{map}.key_{number}"), "s"));
    pairs.collect::<Vec<_>>().join(" and ")
}

/// Returns a predicate: a staged row `s` has no match. A NULL key never matches.
fn missing_condition(lookup: &Lookup, places: &[String]) -> String {
    let on: Vec<String> =
        lookup.pairs.iter().map(|pair| pair.matches_sql(&format!("p.{}", pair.theirs), "s")).collect();
    let on = on.join(" and ");
    let searches: Vec<String> =
        places.iter().map(|place| format!("not exists (select 1 from {place} as p where {on})")).collect();
    searches.join(" and ")
}

/// Returns SQL for `job_id=7 has no match in public.jobshead`.
fn missing_reason(lookup: &Lookup) -> String {
    let values: Vec<String> = lookup
        .pairs
        .iter()
        .map(|pair| format!("coalesce(s.{}::pg_catalog.text, 'NULL')", pair.staged))
        .collect();
    let (open, close) = if lookup.pairs.len() == 1 { ("", "") } else { ("(", ")") };
    format!(
        "pg_catalog.concat({}, {}, {})",
        literal(&format!("{open}{}{close}={open}", lookup.sources())),
        values.join(", ', ', "),
        literal(&format!("{close} has no match in {}", lookup.from.plain()))
    )
}

/// Likewise, without values.
fn reason_label(lookup: &Lookup) -> String {
    let (open, close) = if lookup.pairs.len() == 1 { ("", "") } else { ("(", ")") };
    format!("{open}{}{close} has no match in {}", lookup.sources(), lookup.from.plain())
}

/// Returns the beginning of every message about a lookup.
fn subject(lookup: &Lookup) -> String {
    format!("lookup of {} in {}: ", plain(&lookup.column), lookup.from.plain())
}

/// Returns the warning about rows without a match.
pub(crate) fn missing(lookup: &Lookup, rows: u64) -> String {
    let rows = figures::counted(rows, "row");
    format!("{}{rows} without a match, loaded with NULL", subject(lookup))
}

fn ambiguous(lookup: &Lookup, keys: u64) -> String {
    let keys = figures::counted(keys, "key");
    format!("{}{keys} with several different values, the smallest of which is used", subject(lookup))
}
