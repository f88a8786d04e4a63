//! From a table's plan, and what is known of others, to the rules of its program.

use std::path::PathBuf;
use std::sync::Arc;

use super::work::{Numbers, Work};
use crate::config::OnOrphan;
use crate::error::{Error, Kind, Phase, Result};
use crate::load::null_in;
use crate::pg::key_kind::KeyKind;
use crate::pg::name::Ident;
use crate::plan::{ColumnPlan, Judged, TablePlan};
use crate::transform::{
    Check, Collect, InputColumn, KeyColumn, KeySet, Look, Lookup, LookupMap, NotNull, OnMissing, Output,
    OutputColumn, Reference, Render, Rules,
};

/// A table's rules while they are put together: lookups first, then what is put out, then references to that.
pub(super) struct Shape<'p> {
    plan: &'p TablePlan,
    /// What the source sends.
    input: Vec<&'p ColumnPlan>,
    /// What goes to staging.
    output: Vec<(&'p ColumnPlan, Output)>,
    lookups: Vec<Lookup>,
    references: Vec<Reference>,
    numbers: Numbers,
}

impl<'p> Shape<'p> {
    pub(super) fn new(plan: &'p TablePlan) -> Self {
        Self {
            plan,
            input: plan.extracted().collect(),
            output: Vec::new(),
            lookups: Vec::new(),
            references: Vec::new(),
            numbers: Numbers::default(),
        }
    }

    /// Fills a column while rows stream by.
    pub(super) fn look_up(&mut self, number: usize, values: Arc<LookupMap>) {
        let lookup = &self.plan.lookups[number];
        let find = |name: &Ident| self.input.iter().position(|column| column.name == *name);
        let columns = key_columns(&lookup.judged, lookup.pairs.iter().map(|pair| &pair.staged), find);
        self.lookups.push(Lookup {
            from: lookup.from.plain(),
            columns,
            values,
            on_missing: if lookup.rejects_missing { OnMissing::Reject } else { OnMissing::Null },
        });
        self.numbers.lookups.push(number);
    }

    /// Decides what goes to staging: the loaded columns but for those that are filled there, and what these are matched by.
    pub(super) fn put_out(&mut self) {
        let Self { plan, input, numbers, .. } = self;
        let filled_by = |column: &Ident| plan.lookups.iter().position(|lookup| lookup.column == *column);
        let field = |name: &Ident| input.iter().position(|column| column.name == *name).map(Output::Field);
        for column in &plan.columns {
            let value = match filled_by(&column.name) {
                Some(number) => numbers.lookups.iter().position(|&known| known == number).map(Output::Lookup),
                None => match plan.added(&column.name) {
                    Some(added) => Some(Output::Constant(Some(added.value(plan.format).to_vec()))),
                    None => field(&column.name),
                },
            };
            self.output.extend(value.map(|value| (column, value)));
        }
        let later = plan.lookups.iter().enumerate().filter(|(number, _)| !numbers.lookups.contains(number));
        let matched: Vec<&Ident> =
            later.flat_map(|(_, lookup)| &lookup.pairs).map(|pair| &pair.staged).collect();
        for column in plan.match_columns.iter().filter(|column| matched.contains(&&column.name)) {
            self.output.extend(field(&column.name).map(|value| (column, value)));
        }
    }

    /// Judges a reference while rows stream by, if its columns do.
    pub(super) fn refer(&mut self, number: usize, keys: Arc<KeySet>) {
        let reference = &self.plan.references[number];
        if !reference.columns.iter().all(|column| self.position(column).is_some()) {
            return;
        }
        let columns = key_columns(&reference.judged, &reference.columns, |name| self.position(name));
        self.references.push(Reference {
            to: reference.to.plain(),
            constraint: Some(reference.name.clone()),
            nulled: columns.iter().map(|column| column.column).collect(),
            columns,
            keys,
            is_match_full: reference.match_full,
            on_orphan: reference.on_orphan,
        });
        self.numbers.references.push(number);
    }

    /// Where a column is among those that go to staging.
    pub(super) fn position(&self, name: &Ident) -> Option<usize> {
        self.output.iter().position(|(column, _)| column.name == *name)
    }

    /// Whether rows go on as they come.
    pub(super) fn is_plain(&self) -> bool {
        self.lookups.is_empty() && self.references.is_empty() && self.plan.added.is_empty()
    }

    /// The columns that must not be NULL although something in this program can make them so.
    fn not_null(&self) -> Vec<NotNull> {
        let is_nulled_later = |name: &Ident| {
            let references = self.plan.references.iter().enumerate();
            let nulling = |(number, reference): (usize, &crate::plan::Reference)| {
                reference.on_orphan == OnOrphan::Null
                    && reference.columns.contains(name)
                    && !self.numbers.references.contains(&number)
            };
            references.into_iter().any(nulling)
        };
        let late = self.plan.late_not_null().filter(|name| !is_nulled_later(name));
        late.filter_map(|name| {
            let (kind, text) = null_in(name, &self.plan.name);
            Some(NotNull { column: self.position(name)?, kind, text })
        })
        .collect()
    }

    /// What rows look like that the target takes.
    fn checks(&self) -> Vec<Check> {
        let output = self.output.iter().enumerate();
        output.filter_map(|(position, (column, _))| check(self.plan, position, column)).collect()
    }

    /// The program; it traces its rows if the target has refused some.
    ///
    /// # Errors
    /// [`Kind::Internal`] if the plan contradicts itself.
    pub(super) fn into_work(self, collect: Vec<Collect>, rejects: PathBuf, is_tracing: bool) -> Result<Work> {
        let (not_null, checks) = (self.not_null(), self.checks());
        let own = self.plan.source_columns.iter();
        let reject_columns =
            own.map(|name| self.input.iter().position(|column| column.from.as_ref() == Some(name))).collect();
        let rules = Rules {
            table: self.plan.name.plain(),
            format: self.plan.format,
            input: self.input.iter().copied().map(input).collect(),
            output: self.output.into_iter().map(|(column, value)| output(column, value)).collect(),
            lookups: self.lookups,
            null_values: Vec::new(),
            references: self.references,
            collect,
            reject_columns,
            emits: true,
        };
        let work = Work::new(rules, self.numbers, rejects)?.refusing_nulls(not_null);
        Ok(if is_tracing { work.tracing(checks) } else { work })
    }
}

/// What the values of a column at this position look like; `None` if nobody can tell but the server.
pub(super) fn check(plan: &TablePlan, position: usize, column: &ColumnPlan) -> Option<Check> {
    let is_not_null = plan.is_not_null_staged(&column.name);
    let look = Look::of_type(column.type_oid, &column.type_name);
    (is_not_null || look.is_some()).then_some(Check { column: position, is_not_null, look })
}

/// How a key is read from columns.
fn key_columns<'a>(
    judged: &Judged,
    names: impl IntoIterator<Item = &'a Ident>,
    position: impl Fn(&Ident) -> Option<usize>,
) -> Vec<KeyColumn> {
    let kinds: &[(KeyKind, KeyKind)] = match judged {
        Judged::Streaming { kinds, .. } => kinds,
        Judged::Staged(_) => &[],
    };
    let columns = names.into_iter().zip(kinds);
    columns.filter_map(|(name, &(kind, _))| Some(KeyColumn { column: position(name)?, kind })).collect()
}

fn input(column: &ColumnPlan) -> InputColumn {
    let name = column.from.as_ref().unwrap_or(&column.name);
    InputColumn { name: name.as_str().to_owned(), render: render(column) }
}

fn output(column: &ColumnPlan, value: Output) -> OutputColumn {
    OutputColumn { name: column.name.as_str().to_owned(), value, render: render(column) }
}

fn render(column: &ColumnPlan) -> Option<Render> {
    let renderer = column.renderer.clone()?;
    Some(Render::new(move |value, out| {
        renderer
            .write(value, out)
            .map_err(|malformed| Error::new(Phase::Load, Kind::Internal, malformed.to_string()))
    }))
}
