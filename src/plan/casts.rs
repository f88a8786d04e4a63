//! What becomes of values that do not fit where types differ.

use super::TablePlan;
use crate::config::ApplyMethod;
use crate::pg::name::plain;

/// Adds a note to tables of which the source casts columns that may hold such values.
pub(super) fn tell(tables: &mut [TablePlan]) {
    for table in tables {
        let cast = table.columns.iter().filter(|column| column.way_out.is_some());
        let names: Vec<String> = cast.map(|column| plain(&column.name)).collect();
        if names.is_empty() {
            continue;
        }
        let what = match table.apply {
            ApplyMethod::Direct => "fails the table: apply = \"direct\" rejects no rows",
            _ => "makes its row a reject; all others are loaded",
        };
        table.notes.push(format!("a value that the cast refuses, of {}, {what}", names.join(", ")));
    }
}
