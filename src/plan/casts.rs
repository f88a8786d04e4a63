//! Handling of values that a cast refuses where source and target types differ.

use super::{ColumnPlan, Compared, Loss, TablePlan};
use crate::config::ApplyMethod;
use crate::pg::name::plain;

impl TablePlan {
    /// Returns the hint for a value that the source cannot cast, where such a value fails the table.
    pub(crate) fn advice_on_casts(&self) -> Option<String> {
        let is_cast = |column: &&ColumnPlan| {
            column.from.as_ref().is_some_and(|from| column.source != from.to_string())
                && column.way_out.is_none()
        };
        let casts: Vec<String> = self
            .columns
            .iter()
            .filter(is_cast)
            .map(|column| format!("{} to {}", plain(&column.name), column.type_name))
            .collect();
        (!casts.is_empty()).then(|| {
            format!(
                "The source casts {}. Exclude rows that do not fit with where, or give the target column a wider type.",
                casts.join(", ")
            )
        })
    }
}

impl TablePlan {
    /// Returns the columns whose cast can lose information and that are compared so that the loss shows as a
    /// difference.
    pub(crate) fn compared_before_the_cast(&self) -> String {
        let is_by_value = |loss: &&Loss| {
            let mut columns = self.columns.iter().filter(|column| column.name == loss.column);
            columns.any(|column| matches!(column.compared, Compared::Values { .. }))
        };
        let names: Vec<String> =
            self.losses.casts.iter().filter(is_by_value).map(|loss| plain(&loss.column)).collect();
        names.join(", ")
    }
}

/// Adds a note to tables for which the source casts columns that may hold values the cast refuses.
pub(super) fn tell(tables: &mut [TablePlan]) {
    for table in tables {
        let cast = table.columns.iter().filter(|column| column.way_out.is_some());
        let names: Vec<String> = cast.map(|column| plain(&column.name)).collect();
        if names.is_empty() {
            continue;
        }
        let what = match table.apply {
            ApplyMethod::Direct => "fails the table: apply = \"direct\" rejects no rows",
            _ => "rejects its row; all other rows are loaded",
        };
        table.notes.push(format!("a value of {} that the cast refuses {what}", names.join(", ")));
    }
}
