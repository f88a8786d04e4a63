//! Constants that rows are given on their way.
//!
//! The source can compute a constant like any other column, and does where rows pass through as they are. Where they are taken
//! apart anyway it is spared that: it would compute and send the same bytes once per row.

use super::{Judged, Keys, TablePlan};
use crate::pg::format::Format;
use crate::pg::name::Ident;

/// A column that every row is given the same value for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// The column.
    pub column: Ident,
    /// Its value as COPY writes it in text, with its escapes.
    pub text: Vec<u8>,
    /// The same in binary, without its length; empty where the table does not travel in binary.
    pub binary: Vec<u8>,
}

impl Added {
    /// The value as COPY has it.
    #[must_use]
    pub fn value(&self, format: Format) -> &[u8] {
        match format {
            Format::Text => &self.text,
            Format::Binary => &self.binary,
        }
    }
}

/// Per table, the columns that can be added on the way.
pub(crate) fn addable(tables: &[TablePlan]) -> Vec<Vec<Ident>> {
    let is_taken_apart = |number: usize| {
        let is_streaming = |judged: &Judged| matches!(judged, Judged::Streaming { .. });
        let asks = |judged: &Judged| matches!(judged, Judged::Streaming { keys: Keys::Entry(entry), .. } if *entry == number);
        judged(&tables[number]).any(is_streaming) || tables.iter().flat_map(judged).any(asks)
    };
    let of_table = |(number, table): (usize, &TablePlan)| {
        // A row of no fields is none that anybody could take apart.
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
