//! The generated tables: their columns, their rows, and a typical day's changes.
//!
//! The SQL is in `sql/` and runs on PostgreSQL 12 and later. It uses neither random values nor the clock, so it generates the
//! same rows everywhere.

use std::fmt;
use std::str::FromStr;

use crate::pg::name::TableName;

/// `--shape`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Five short columns.
    Narrow,
    /// Forty columns.
    Wide,
    /// Long text.
    Text,
    /// Documents and arrays.
    Json,
    /// TPC-H's lineitem.
    Lineitem,
}

impl Shape {
    /// All shapes, as the help lists them.
    pub const ALL: [Self; 5] = [Self::Narrow, Self::Wide, Self::Text, Self::Json, Self::Lineitem];

    /// Returns the word on the command line, which is also the table's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Narrow => "narrow",
            Self::Wide => "wide",
            Self::Text => "text",
            Self::Json => "json",
            Self::Lineitem => "lineitem",
        }
    }

    /// Returns SQL that creates and fills a table, with its primary key.
    pub(super) fn create_sql(self, table: &TableName, rows: u64) -> String {
        let sql = match self {
            Self::Narrow => include_str!("sql/narrow.sql"),
            Self::Wide => include_str!("sql/wide.sql"),
            Self::Text => include_str!("sql/text.sql"),
            Self::Json => include_str!("sql/json.sql"),
            Self::Lineitem => include_str!("sql/lineitem.sql"),
        };
        sql.replace("{table}", &table.to_string()).replace("{rows}", &rows.to_string())
    }

    /// Returns SQL that turns the source's rows into the previous day's: 1 % of the rows differ, 0.1 % are missing.
    pub(super) fn yesterday_sql(self, table: &TableName) -> String {
        let (key, change) = match self {
            Self::Narrow => ("id", "amount = amount + 1"),
            Self::Wide => ("id", "n01 = n01 + 1"),
            Self::Text => ("id", "title = title || '.'"),
            Self::Json => ("id", "doc = doc || '{\"seen\": null}'"),
            Self::Lineitem => ("l_orderkey", "l_quantity = l_quantity + 1"),
        };
        format!(
            "update {table} set {change} where {key} % 100 = 7; delete from {table} where {key} % 1000 = 3"
        )
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|shape| shape.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("expected one of {names}")
        })
    }
}

/// The rules of `--rules`, for [`Shape::Lineitem`]: two constants, a column left behind, a lookup, two references.
pub(super) mod rules {
    use super::TableName;
    use crate::pg::name::Ident;

    /// Returns SQL that adds the columns filled by the rules to the target's table.
    pub(in crate::bench) fn alter_sql(table: &TableName) -> String {
        include_str!("sql/lineitem_rules.sql").replace("{table}", &table.to_string())
    }

    /// Returns SQL that creates and fills the referenced tables.
    pub(in crate::bench) fn parents_sql(schema: &Ident, rows: u64) -> String {
        include_str!("sql/lineitem_parents.sql")
            .replace("{schema}", &schema.to_string())
            .replace("{rows}", &rows.to_string())
    }

    /// The names of the referenced tables.
    pub(in crate::bench) const PARENTS: [&str; 3] = ["orders", "supplier", "part"];

    /// Returns the rules as the end of a `[[table]]`.
    pub(in crate::bench) fn config(schema: &Ident) -> String {
        let schema = schema.as_str();
        format!(
            "[columns]
skip = ['l_comment']
set = {{ l_source = 'D', l_batch = 7 }}
[[lookup]]
column = 'l_brand'
from = '{schema}.part'
match = {{ l_partkey = 'p_partkey' }}
value = 'p_brand'
[[reference]]
columns = ['l_orderkey']
to = '{schema}.orders(o_orderkey)'
[[reference]]
columns = ['l_suppkey']
to = '{schema}.supplier(s_suppkey)'
"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_as_the_shape_that_it_names() {
        for shape in Shape::ALL {
            assert_eq!(shape.name().parse(), Ok(shape));
            let table = TableName::new("b", "t");
            let sql = shape.create_sql(&table, 10) + &shape.yesterday_sql(&table);
            assert!(!sql.contains('{') || shape == Shape::Json, "{sql}");
            assert!(sql.contains("\"b\".\"t\"") && sql.contains("10"), "{sql}");
        }
        assert!("tall".parse::<Shape>().is_err());
    }
}
