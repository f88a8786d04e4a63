//! Where the rows are that a table will hold after the run.

use super::Staged;
use crate::pg::catalog::Partition;
use crate::pg::name::{Ident, TableName};
use crate::plan::TablePlan;

/// Returns the rows that `table` will hold, as items of a FROM clause: staged rows and live rows that stay. `parents`
/// are the entries that write its rows; if there are none, or a single one that is kept, the live rows stay. `None`
/// if there are no rows to search yet.
///
/// If an entry writes a partitioned table of which `table` is a partition, only the rows routed there count; if
/// entries write partitions of `table`, the rows of the other partitions stay.
pub(super) fn after_run(
    table: &TableName,
    parents: &[usize],
    order: &[Vec<Staged<'_>>],
) -> Option<Vec<String>> {
    let staged = |entry: &usize| order.iter().flatten().find(|staged| staged.table == *entry);
    let mut places: Vec<String> = Vec::new();
    let mut written: Vec<&TableName> = Vec::new();
    for parent in parents.iter().filter_map(staged) {
        let staging = &parent.staging.as_ref()?.name;
        let part = parent.plan.live.partition(table);
        let name = if parent.plan.live.holds(table) { table } else { &parent.plan.name };
        written.push(name);
        if parent.is_kept {
            places.push(name.to_string());
        } else {
            places.extend(of_entry(parent.plan, staging, part));
        }
    }
    if written.is_empty() {
        places.push(table.to_string());
    } else if !written.contains(&table) {
        let trees: Vec<String> = written.iter().map(|name| name.tree_sql()).collect();
        places.push(format!("(select * from {table} where tableoid not in ({}))", trees.join(" union ")));
    }
    places.sort();
    places.dedup();
    Some(places)
}

/// Returns the rows an entry brings and leaves, in one partition or in all of its table. Of a staged and a live row
/// with the same key one stays: the live one if it must not be replaced, otherwise the staged one.
fn of_entry(plan: &TablePlan, staging: &TableName, part: Option<&Partition>) -> Vec<String> {
    let staged = match part {
        Some(part) => format!("(select * from {staging} where {})", part.constraint),
        None => staging.to_string(),
    };
    let Some(staying) = plan.staying_rows() else { return vec![staged] };
    let inside = part.map(|part| format!(" and tableoid in ({})", part.name.tree_sql())).unwrap_or_default();
    // Without an alias, because the config's SQL may call the table by its name.
    let live = |rows: &str| format!("(select * from {} where {rows}{inside})", plan.name);
    let Some(key) = &plan.key else { return vec![staged, live(&staying)] };
    let untouchable = plan.untouchable_rows();
    let staged =
        untouchable.as_ref().map_or_else(|| staged.clone(), |rows| without(&staged, &live(rows), key));
    if untouchable.as_ref() == Some(&staying) {
        return vec![staged, live(&staying)];
    }
    let live = without(&live(&staying), &staged, key);
    vec![staged, live]
}

/// Returns the rows of one place whose key is not in another.
fn without(place: &str, other: &str, key: &[Ident]) -> String {
    let same: Vec<String> = key.iter().map(|column| format!("b.{column} = a.{column}")).collect();
    format!(
        "(select a.* from {place} as a where not exists (select 1 from {other} as b where {}))",
        same.join(" and ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_staged_and_a_live_row_with_one_key_one_is_left() {
        let key = [Ident::new("x"), Ident::new("y")];
        assert_eq!(
            without("\"s\".\"live\"", "\"b\".\"staged\"", &key),
            "(select a.* from \"s\".\"live\" as a where not exists (select 1 from \"b\".\"staged\" as b where b.\"x\" = a.\"x\" and b.\"y\" = a.\"y\"))"
        );
    }
}
