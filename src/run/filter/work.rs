//! A table's program at work, and what it leaves.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::store::{lock, position};
use crate::batch::{Batch, BatchPool};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::key_kind::KeyKind;
use crate::plan::{ColumnPlan, Judged, Reference, TablePlan};
use crate::transform::{
    self, InputColumn, KeyColumn, KeySet, Output, OutputColumn, Program, RejectBuffer, Rejects, Render, Rows,
    Rules, Scratch, Tally,
};

/// A table's program, with the buffers of those who run it.
#[derive(Debug)]
pub(in crate::run) struct Work {
    program: Program,
    scratches: Mutex<Vec<Scratch>>,
    /// The program's references by their numbers in the plan.
    references: Arc<[usize]>,
    /// Where the table's rejects will be.
    pub(in crate::run) rejects: PathBuf,
}

/// What became of the rows of one chunk.
#[derive(Debug, Clone, Default)]
pub(in crate::run) struct Part {
    /// The references of the plan that the tally's numbers are about.
    pub(in crate::run) references: Arc<[usize]>,
    /// The counts.
    pub(in crate::run) tally: Tally,
    /// The rejects in short.
    pub(in crate::run) rejects: Rejects,
    /// The rejects themselves.
    pub(in crate::run) file: Option<PathBuf>,
    /// Where they will be in the end.
    pub(in crate::run) rejects_file: PathBuf,
}

/// What became of some batches.
#[derive(Debug)]
pub(in crate::run) struct Done {
    /// The rows that passed.
    pub(in crate::run) out: Vec<Batch>,
    /// The counts.
    pub(in crate::run) tally: Tally,
    /// The rows that did not pass.
    pub(in crate::run) rejects: RejectBuffer,
}

impl Work {
    pub(super) fn new(rules: Rules, references: Vec<usize>, rejects: PathBuf) -> Result<Self> {
        let program = Program::compile(rules)?;
        Ok(Self { program, scratches: Mutex::default(), references: references.into(), rejects })
    }

    /// A chunk of which nothing is known yet.
    pub(in crate::run) fn part(&self) -> Part {
        let rejects_file = self.rejects.clone();
        Part { references: self.references.clone(), rejects_file, ..Part::default() }
    }

    /// Puts rows through the program. Synchronous, and as long as the rows are many.
    ///
    /// # Errors
    /// An orphan that must not be; rows that are not what the plan says.
    pub(in crate::run) fn run(&self, rows: Vec<Rows>, pool: &BatchPool) -> Result<Done> {
        let mut scratch = lock(&self.scratches).pop().unwrap_or_else(|| self.program.scratch());
        let mut done = Done {
            out: Vec::with_capacity(rows.len()),
            tally: Tally::default(),
            rejects: RejectBuffer::default(),
        };
        for rows in rows {
            let mut out = pool.take();
            let tally = self.program.run(&rows, &mut scratch, out.buffer(), &mut done.rejects)?;
            done.tally.add(&tally);
            pool.give_back(rows.into_batch());
            if out.is_empty() {
                pool.give_back(out);
            } else {
                done.out.push(out);
            }
        }
        lock(&self.scratches).push(scratch);
        Ok(done)
    }

    /// What it does.
    pub(in crate::run) fn rules(&self) -> &Rules {
        self.program.rules()
    }
}

pub(super) fn input(column: &ColumnPlan) -> InputColumn {
    let name = column.from.as_ref().unwrap_or(&column.name);
    InputColumn { name: name.as_str().to_owned(), render: render(column) }
}

pub(super) fn output(value: Output, column: &ColumnPlan) -> OutputColumn {
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

pub(super) fn reference(plan: &TablePlan, reference: &Reference, keys: Arc<KeySet>) -> transform::Reference {
    let kinds: &[(KeyKind, KeyKind)] = match &reference.judged {
        Judged::Streaming { kinds, .. } => kinds,
        Judged::Staged(_) => &[],
    };
    let columns: Vec<KeyColumn> = reference
        .columns
        .iter()
        .zip(kinds)
        .filter_map(|(name, &(kind, _))| Some(KeyColumn { column: position(plan, name)?, kind }))
        .collect();
    transform::Reference {
        to: reference.to.plain(),
        constraint: Some(reference.name.clone()),
        nulled: columns.iter().map(|column| column.column).collect(),
        columns,
        keys,
        is_match_full: reference.match_full,
        on_orphan: reference.on_orphan,
    }
}
