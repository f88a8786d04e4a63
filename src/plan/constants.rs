//! Constants that are added to rows in transit.
//!
//! The source can compute a constant like any other column, and does so where rows pass through unparsed. Where rows
//! are parsed anyway, the constant is added here instead of being computed and sent once per row.

use super::{Judged, Keys, TablePlan};
use crate::pg::format::Format;
use crate::pg::name::Ident;

/// A column with the same value in every row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// The column.
    pub column: Ident,
    /// Its value in COPY text format, escaped.
    pub text: Vec<u8>,
    /// Its value in COPY binary format, without the length; empty if the table is not sent in binary.
    pub binary: Vec<u8>,
}

impl Added {
    /// Returns the value in a COPY format.
    #[must_use]
    pub fn value(&self, format: Format) -> &[u8] {
        match format {
            Format::Text => &self.text,
            Format::Binary => &self.binary,
        }
    }
}

/// Returns, per table, the columns that can be added in transit.
pub(crate) fn addable(tables: &[TablePlan]) -> Vec<Vec<Ident>> {
    let is_taken_apart = |number: usize| {
        let is_streaming = |judged: &Judged| matches!(judged, Judged::Streaming { .. });
        let asks = |judged: &Judged| matches!(judged, Judged::Streaming { keys: Keys::Entry(entry), .. } if *entry == number);
        judged(&tables[number]).any(is_streaming) || tables.iter().flat_map(judged).any(asks)
    };
    let of_table = |(number, table): (usize, &TablePlan)| {
        // A row without fields cannot be parsed.
        let has_others = table.extracted().any(|column| column.constant.is_none());
        if table.csv.is_some() || !table.uses_staging || !has_others || !is_taken_apart(number) {
            return Vec::new();
        }
        let constants = table.extracted().filter(|column| column.constant.is_some());
        constants.map(|column| column.name.clone()).collect()
    };
    tables.iter().enumerate().map(of_table).collect()
}

fn judged(table: &TablePlan) -> impl Iterator<Item = &Judged> {
    let references = table.references.iter().map(|reference| &reference.judged);
    table.lookups.iter().map(|lookup| &lookup.judged).chain(references)
}
