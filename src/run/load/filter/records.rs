//! The program of rows that come from files, which are read as they are loaded.

use std::sync::Arc;

use super::Filters;
use super::shape::check;
use super::work::{Numbers, Work};
use crate::error::Result;
use crate::pg::format::Format;
use crate::pg::name::Ident;
use crate::plan::{ColumnPlan, TablePlan};
use crate::transform::{InputColumn, Output, OutputColumn, Rules};

impl Filters {
    /// What traces rows of these columns, which go to staging as they are.
    ///
    /// # Errors
    /// [`crate::error::Kind::Internal`] if the plan contradicts itself.
    pub(crate) fn tracing_records(&self, plan: &TablePlan, into: &[Ident]) -> Result<Arc<Work>> {
        let column = |name: &Ident| plan.extracted().find(|column| column.name == *name);
        let columns: Vec<&ColumnPlan> = into.iter().filter_map(column).collect();
        let text = |name: &Ident| name.as_str().to_owned();
        let input = |column: &&ColumnPlan| InputColumn {
            name: text(column.from.as_ref().unwrap_or(&column.name)),
            render: None,
        };
        let output = |(field, column): (usize, &&ColumnPlan)| OutputColumn {
            name: text(&column.name),
            value: Output::Field(field),
            render: None,
        };
        let own = plan.source_columns.iter();
        let rules = Rules {
            table: plan.name.plain(),
            format: Format::Text,
            input: columns.iter().map(input).collect(),
            output: columns.iter().enumerate().map(output).collect(),
            lookups: Vec::new(),
            null_values: Vec::new(),
            references: Vec::new(),
            collect: Vec::new(),
            reject_columns: own
                .map(|name| columns.iter().position(|column| column.from.as_ref() == Some(name)))
                .collect(),
            emits: true,
        };
        let checks = columns.iter().enumerate().filter_map(|(field, column)| check(plan, field, column));
        let work = Work::new(rules, Numbers::default(), self.rejects_path(plan))?;
        Ok(Arc::new(work.tracing(checks.collect())))
    }
}
