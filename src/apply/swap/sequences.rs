//! Makes new sequences continue from the live ones.

use super::Pair;
use crate::pg::name::{Ident, TableName, literal};

/// A sequence of a table by its name, and its increment.
pub(super) type Step = (Ident, i64);

/// Returns the statements that move the new table's sequences to the current positions of the old ones, unless they are ahead
/// already. They run after the exchange, when no session can draw values.
///
/// A rollback does not undo `setval`. This does no harm: no session draws values from a new sequence before the commit.
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
