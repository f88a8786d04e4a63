//! Sequences that go on where the live ones are, or farther.

use super::Pair;
use crate::pg::name::{Ident, TableName, literal};

/// A sequence of a table, by its name, and its step.
pub(super) type Step = (Ident, i64);

/// Statements that move the new table's sequences to where the old ones are by then, unless they are farther already. For after
/// the exchange, which keeps everybody from taking values.
///
/// `setval` is not undone by a rollback, which does no harm: nobody takes values from a new sequence before the commit.
pub(super) fn forward(pair: &Pair, sequences: &[Step]) -> Vec<String> {
    let in_schema = |schema: &Ident, name: &Ident| TableName { schema: schema.clone(), name: name.clone() };
    sequences
        .iter()
        .map(|(name, step)| {
            forward_sql(&in_schema(&pair.old_schema, name), &in_schema(&pair.name.schema, name), *step)
        })
        .collect()
}

fn forward_sql(old: &TableName, new: &TableName, step: i64) -> String {
    let next = |of: &str| {
        format!("({of}.last_value::pg_catalog.numeric + case when {of}.is_called then {step} else 0 end)")
    };
    let farther = if step > 0 { ">" } else { "<" };
    format!(
        "select pg_catalog.setval({}, o.last_value, o.is_called) from {old} as o, {new} as n where {} {farther} {}",
        literal(&new.to_string()),
        next("o"),
        next("n")
    )
}
