//! The SQL that extracts a chunk.

use crate::pg::catalog::RelationKind;
use crate::plan::{Extent, TablePlan};

/// Returns the COPY … TO STDOUT of one chunk, in the plan's format and column order, after the statement that sets
/// its `search_path`.
///
/// A whole heap whose columns are sent unchanged is copied by name, which bypasses the source's executor.
#[must_use]
pub fn copy_out_sql(table: &TablePlan, extent: &Extent) -> String {
    let format = table.format;
    let path = if has_users_sql(table) { "default" } else { "''" };
    let what = match extent {
        Extent::Only(name) if conditions(table).is_empty() && table.extracted().all(|c| c.is_plain) => {
            let columns: Vec<&str> = table.extracted().map(|column| column.source.as_str()).collect();
            format!("{name} ({})", columns.join(", "))
        }
        _ => format!("({})", select_sql(table, extent)),
    };
    format!("set local search_path = {path}; copy {what} to stdout (format {format})")
}

/// Returns whether names in the statement come from the user and are resolved by the role's `search_path`. SQL called
/// by a view or a foreign table counts as such. Everything else runs with an empty `search_path`: `regclass` and
/// similar types then print object names with their schemas, as the target needs them.
fn has_users_sql(table: &TablePlan) -> bool {
    let calls_nobody = matches!(
        table.source_kind,
        Some(RelationKind::Table | RelationKind::Partitioned | RelationKind::MaterializedView)
    );
    !calls_nobody || table.filter.is_some() || table.extracted().any(|column| column.is_users_sql)
}

/// Returns the SELECT of one chunk, with its columns under the target's names.
#[must_use]
pub fn select_sql(table: &TablePlan, extent: &Extent) -> String {
    let columns: Vec<String> =
        table.extracted().map(|column| format!("{} as {}", column.source, column.name)).collect();
    let (from, range) = match extent {
        Extent::Relation(name) => (name.to_string(), None),
        Extent::Only(name) => (format!("only {name}"), None),
        Extent::Pages { leaf, first, end } => {
            let lower = format!("ctid >= '({first},0)'::pg_catalog.tid");
            let range = match end {
                Some(end) => format!("{lower} and ctid < '({end},0)'::pg_catalog.tid"),
                None => lower,
            };
            (format!("only {leaf}"), Some(range))
        }
        // On separate lines, so that a comment at the end of the query does not swallow the bracket.
        Extent::Query(query) => (format!("(\n{query}\n) as source"), None),
        // Files are read by the client, not by a server.
        Extent::Csv { .. } => ("(select) as source".to_owned(), Some("false".to_owned())),
    };
    let conditions: Vec<String> = range.into_iter().chain(conditions(table)).collect();
    let condition =
        if conditions.is_empty() { String::new() } else { format!(" where {}", conditions.join(" and ")) };
    format!("select {} from {from}{condition}", columns.join(", "))
}

/// Returns the conditions on a table's rows, whatever the chunk.
fn conditions(table: &TablePlan) -> Vec<String> {
    // On separate lines, like a query.
    let filter = table.filter.as_ref().map(|filter| format!("(\n{filter}\n)"));
    filter.into_iter().chain(table.since.as_ref().map(|since| format!("({since})"))).collect()
}

/// Returns a SELECT of one row: how many of the rows that the run reads each cast of [`crate::plan::Losses`] changes.
/// Casts for which the source cannot tell are omitted.
pub(crate) fn losses_sql(table: &TablePlan) -> String {
    let counts: Vec<String> = table
        .losses
        .casts
        .iter()
        .filter_map(|loss| loss.changes.as_ref())
        .map(|changes| format!("pg_catalog.count(*) filter (where {changes})"))
        .collect();
    let path = if has_users_sql(table) { "default" } else { "''" };
    let conditions = conditions(table);
    let condition =
        if conditions.is_empty() { String::new() } else { format!(" where {}", conditions.join(" and ")) };
    let from = whole(table);
    format!("set local search_path = {path}; select {} from {from}{condition}", counts.join(", "))
}

/// Returns the FROM item for all rows of a table's source.
fn whole(table: &TablePlan) -> String {
    match (&table.source_relation, table.chunks.first().map(|chunk| &chunk.extent)) {
        (_, Some(Extent::Query(query))) => format!("(\n{query}\n) as source"),
        (Some(relation), _) => relation.to_string(),
        (None, _) => "(select) as source".to_owned(),
    }
}

/// Returns a SELECT of expressions over all rows of a table's source, regardless of chunks, with the `search_path`
/// that resolves its names.
pub(crate) fn whole_source(table: &TablePlan, expressions: &str) -> (&'static str, String) {
    let path = if has_users_sql(table) { "default" } else { "''" };
    let from = whole(table);
    let filter = table.filter.as_ref().map(|filter| format!(" where (\n{filter}\n)")).unwrap_or_default();
    (path, format!("select {expressions} from {from}{filter}"))
}
