//! The two sides of a comparison as SQL: staged and live rows, under names that no column of a table can have.
//!
//! Each side is a subquery with columns `c0`, `c1`, … in the order of the plan. So the columns of a table, and those in a
//! user's scope, cannot collide with ours.

use crate::pg::catalog::{Identity, UniqueIndex};
use crate::pg::name::{TableName, plain};
use crate::plan::TablePlan;

/// Both sides of one table.
#[derive(Clone, Copy)]
pub(in crate::apply) struct Sides<'a> {
    /// The table.
    pub(in crate::apply) plan: &'a TablePlan,
    /// Its staged rows.
    pub(in crate::apply) staging: &'a TableName,
}

impl Sides<'_> {
    /// Returns staged rows as `alias`: `place` (ctid) and the columns.
    pub(in crate::apply) fn staged(&self, alias: &str) -> String {
        let (columns, name) = (self.columns(self.staging), self.staging);
        format!("(select ctid as place{columns} from {name}) as {alias}")
    }

    /// Returns live rows as `alias`: `part` (tableoid), `place` (ctid), `version` (xmin) and the columns, restricted by
    /// `rows`.
    pub(in crate::apply) fn live(&self, alias: &str, rows: Option<&str>) -> String {
        let filter = rows.map(|rows| format!(" where {rows}")).unwrap_or_default();
        self.rows(alias, "", &filter)
    }

    /// Returns all live rows likewise, each with `is_outside`: whether it satisfies `rows`.
    pub(super) fn flagged(&self, alias: &str, rows: &str) -> String {
        self.rows(alias, &format!(", ({rows}) as is_outside"), "")
    }

    fn rows(&self, alias: &str, more: &str, filter: &str) -> String {
        let (columns, name) = (self.columns(&self.plan.name), &self.plan.name);
        format!(
            "(select tableoid as part, ctid as place, xmin as version{more}{columns} from {name}{filter}) as {alias}"
        )
    }

    /// Returns the live rows that a staged row may replace, as `alias`.
    pub(super) fn ours(&self, alias: &str) -> String {
        let scope = self.plan.untouchable_rows().map(|rows| format!("({rows}) is not true"));
        self.live(alias, scope.as_deref())
    }

    /// Returns the columns of one side, and whole rows where both sides have the same columns.
    fn columns(&self, side: &TableName) -> String {
        let columns = self.plan.columns.iter().enumerate();
        let columns: String = columns.map(|(i, column)| format!(", {} as c{i}", column.name)).collect();
        if self.is_alike() { format!("{columns}, {side}.*::pg_catalog.record as whole") } else { columns }
    }

    /// Returns whether staging has all columns of the live table in its order.
    fn is_alike(&self) -> bool {
        let live = self.plan.live.columns.iter().map(|column| &column.name);
        live.eq(self.plan.staged().map(|column| &column.name))
    }

    /// Returns the condition that the keys of `a` and `b` match. Without a key nothing matches.
    pub(in crate::apply) fn same_key(&self, a: &str, b: &str) -> String {
        let parts = self.plan.key_parts();
        let pairs: Vec<String> = parts
            .iter()
            .map(|part| {
                let collate = collate(part.collation.as_deref());
                let (x, y) = (format!("{a}.c{}", part.column), format!("{b}.c{}", part.column));
                equal(&x, &part.operator, &y, &collate, part.nulls_equal)
            })
            .collect();
        if pairs.is_empty() { "false".to_owned() } else { pairs.join(" and ") }
    }

    /// Returns the positions of the columns that are compared to detect a changed row.
    ///
    /// An identity column GENERATED ALWAYS cannot be updated: an upsert leaves it as it is.
    pub(super) fn compared(&self, has_fixed_identity: bool) -> Vec<usize> {
        let key = self.plan.key_parts();
        let is_fixed = |i: usize| {
            has_fixed_identity
                && self.plan.columns[i].identity == Some(Identity::Always)
                && !key.iter().any(|part| part.column == i)
        };
        (0..self.plan.columns.len()).filter(|&i| !is_fixed(i)).collect()
    }

    /// Returns the images of a staged row `s` and a live row `t` in these columns, and the condition that they differ.
    pub(super) fn images(&self, columns: &[usize]) -> Images {
        if self.is_alike() && columns.len() == self.plan.columns.len() {
            // Using an existing row costs less than constructing one from its columns.
            let differ = "s.whole operator(pg_catalog.*<>) t.whole".to_owned();
            return Images { join: String::new(), differ };
        }
        let join = format!("{} {}", image("s", "image", columns), image("t", "image", columns));
        Images { join, differ: DIFFER.to_owned() }
    }

    /// Returns the positions of the `compared` columns that foreign keys could reference. An UPDATE must leave them out where
    /// they stay the same.
    ///
    /// With a BEFORE UPDATE trigger, even a disabled one, PostgreSQL locks a row FOR UPDATE if the UPDATE sets such a column,
    /// changed or not (`ExecUpdateLockMode`), and foreign keys' checks wait for that.
    pub(super) fn identifying(&self, compared: &[usize]) -> Vec<usize> {
        let identifies = |i: &usize| {
            let column = &self.plan.columns[*i];
            column.identity != Some(Identity::Always)
                && self.plan.live.column(&column.name).is_some_and(|live| live.identifies)
        };
        compared.iter().copied().filter(identifies).collect()
    }

    /// Returns the condition that a staged row `s` and a live row `t` differ in these columns.
    pub(super) fn key_images(&self, columns: &[usize]) -> Images {
        if columns.is_empty() {
            return Images { join: String::new(), differ: "false".to_owned() };
        }
        Images {
            join: format!("{} {}", image("s", "key", columns), image("t", "key", columns)),
            differ: "s_key.* operator(pg_catalog.*<>) t_key.*".to_owned(),
        }
    }

    /// Returns the key of a row of `alias` as readable text, or all its columns if there is no key.
    pub(in crate::apply) fn key_text(&self, alias: &str) -> String {
        let parts: Vec<usize> = self.plan.key_parts().iter().map(|part| part.column).collect();
        let shown = if parts.is_empty() { (0..self.plan.columns.len()).collect() } else { parts };
        let texts: Vec<String> = shown
            .into_iter()
            .map(|i| {
                let name = crate::pg::name::literal(&format!("{}=", plain(&self.plan.columns[i].name)));
                format!("{name}, coalesce({alias}.c{i}::text, 'NULL')")
            })
            .collect();
        format!("pg_catalog.concat({})", texts.join(", ', ', "))
    }

    /// Returns a query for the places of staged rows whose key, or whose value in a unique index, belongs to a live row that
    /// must not be replaced. `of`, a query too, restricts it to some places. `None` if every live row may be replaced.
    pub(in crate::apply) fn blocked(&self, of: Option<&str>) -> Option<String> {
        let untouchable = self.plan.untouchable_rows()?;
        let only = of.map(|of| format!(" and s.place in ({of})")).unwrap_or_default();
        let by_key = format!(
            "select s.place from {} join {} on {}{only}",
            self.staged("s"),
            self.live("o", Some(&untouchable)),
            self.same_key("o", "s")
        );
        let by_index = self.plan.other_indexes().map(|index| {
            format!(
                "select s.place from {} join {} on {}{only}",
                indexed(index, &self.staging.to_string(), "ctid as place", None, "s"),
                indexed(index, &self.plan.name.to_string(), "1", Some(&untouchable), "o"),
                same_value(index, "o", "s")
            )
        });
        Some(std::iter::once(by_key).chain(by_index).collect::<Vec<_>>().join(" union "))
    }
}

/// Returns the values `v0`, `v1`, … of a unique index for the rows of a relation that it covers, and `more`.
///
/// Works for exclusion constraints as well.
pub(super) fn indexed(
    index: &UniqueIndex,
    from: &str,
    more: &str,
    rows: Option<&str>,
    alias: &str,
) -> String {
    let values: String =
        index.parts.iter().enumerate().map(|(i, part)| format!(", {} as v{i}", part.expression)).collect();
    let mut filters: Vec<String> = index.predicate.iter().map(|predicate| format!("({predicate})")).collect();
    filters.extend(index.partition.as_ref().map(|partition| format!("({})", partition.constraint)));
    filters.extend(rows.map(|rows| format!("({rows})")));
    let filter = if filters.is_empty() { String::new() } else { format!(" where {}", filters.join(" and ")) };
    format!("(select {more}{values} from {from}{filter}) as {alias}")
}

/// Returns the condition that two rows have the same value in a unique index, or values that exclude each other.
pub(super) fn same_value(index: &UniqueIndex, a: &str, b: &str) -> String {
    let pairs = index.parts.iter().enumerate().map(|(i, part)| {
        let collate = collate(part.collation.as_deref());
        equal(&format!("{a}.v{i}"), &part.operator, &format!("{b}.v{i}"), &collate, index.nulls_equal)
    });
    pairs.collect::<Vec<_>>().join(" and ")
}

fn collate(collation: Option<&str>) -> String {
    collation.map(|collation| format!(" collate {collation}")).unwrap_or_default()
}

fn equal(x: &str, operator: &str, y: &str, collate: &str, nulls_equal: bool) -> String {
    let equal = format!("{x} {operator} {y}{collate}");
    if nulls_equal { format!("({equal} or ({x} is null and {y} is null))") } else { equal }
}

/// The comparison of a staged row `s` with a live row `t`.
pub(super) struct Images {
    /// The joins that it needs.
    pub(super) join: String,
    /// The condition that they differ.
    pub(super) differ: String,
}

/// Returns `s_image`, or the same for another alias or name: a row of these columns.
fn image(of: &str, name: &str, columns: &[usize]) -> String {
    let columns: Vec<String> = columns.iter().map(|i| format!("{of}.c{i}")).collect();
    format!("cross join lateral (select {}) as {of}_{name}", columns.join(", "))
}

/// The condition that the images of `s` and `t` differ: 1.0 and 1.00 do.
pub(super) const DIFFER: &str = "s_image.* operator(pg_catalog.*<>) t_image.*";
