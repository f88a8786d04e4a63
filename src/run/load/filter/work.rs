//! A table's program at work, and what it leaves.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::store::lock;
use crate::batch::{Batch, BatchPool};
use crate::error::Result;
use crate::load;
use crate::pg::name::Ident;
use crate::transform::{
    Check, NotNull, Program, Refused, RejectBuffer, Rejects, Rows, Rules, Scratch, Tally, Trace,
};

/// A table's program, with the buffers of those who run it.
#[derive(Debug)]
pub(crate) struct Work {
    program: Program,
    scratches: Mutex<Vec<Scratch>>,
    numbers: Arc<Numbers>,
    /// Where the table's rejects will be.
    pub(crate) rejects: PathBuf,
    /// Whether it tells where the rows that pass come from, so that some of them may be rejected later.
    pub(crate) is_tracing: bool,
    /// Whether it is for rows that are read without casts of the source's.
    pub(crate) has_no_casts: bool,
}

/// What a program's rules are in the plan of the table.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) references: Vec<usize>,
    pub(crate) lookups: Vec<usize>,
}

/// What became of the rows of one chunk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Part {
    /// What the tally's numbers are about.
    pub(crate) numbers: Arc<Numbers>,
    /// The counts.
    pub(crate) tally: Tally,
    /// The rejects in short.
    pub(crate) rejects: Rejects,
    /// The rejects themselves.
    pub(crate) file: Option<PathBuf>,
    /// Those of rows of a file that only the target knew to be bad.
    pub(crate) refused: Option<PathBuf>,
    /// Where they will be in the end.
    pub(crate) rejects_file: PathBuf,
    /// Whether the chunk was not read to its end.
    pub(crate) is_cut_off: bool,
}

impl Part {
    /// Where its rejects are.
    pub(crate) fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.file.iter().chain(&self.refused)
    }
}

/// What became of some batches.
#[derive(Debug)]
pub(crate) struct Done {
    /// The rows that passed.
    pub(crate) out: Vec<Batch>,
    /// The counts.
    pub(crate) tally: Tally,
    /// The rows that did not pass.
    pub(crate) rejects: RejectBuffer,
    /// The rows that passed, if they are traced.
    pub(crate) traced: Vec<u8>,
    /// Where those come from.
    pub(crate) trace: Trace,
    /// What they come from.
    pub(crate) origins: Vec<Rows>,
}

impl Work {
    pub(super) fn new(rules: Rules, numbers: Numbers, rejects: PathBuf) -> Result<Self> {
        let program = Program::compile(rules)?;
        let numbers = Arc::new(numbers);
        Ok(Self {
            program,
            scratches: Mutex::default(),
            numbers,
            rejects,
            is_tracing: false,
            has_no_casts: false,
        })
    }

    /// The same, but rows are rejected that have NULL in one of these columns.
    pub(super) fn refusing_nulls(mut self, columns: Vec<NotNull>) -> Self {
        self.program = self.program.refusing_nulls(columns);
        self
    }

    /// The same, telling where the rows that pass come from, and which of them do not look so.
    pub(super) fn tracing(mut self, checks: Vec<Check>) -> Self {
        self.program = self.program.suspecting(checks);
        self.is_tracing = true;
        self
    }

    /// A chunk of which nothing is known yet.
    pub(crate) fn part(&self) -> Part {
        let rejects_file = self.rejects.clone();
        Part { numbers: self.numbers.clone(), rejects_file, ..Part::default() }
    }

    /// Puts rows through the program. Synchronous, and as long as the rows are many.
    ///
    /// # Errors
    /// An orphan that must not be; rows that are not what the plan says.
    pub(crate) fn run(&self, rows: Vec<Rows>, pool: &BatchPool) -> Result<Done> {
        let mut scratch = lock(&self.scratches).pop().unwrap_or_else(|| self.program.scratch());
        let mut done = Done {
            out: Vec::with_capacity(rows.len()),
            tally: Tally::default(),
            rejects: RejectBuffer::default(),
            traced: Vec::new(),
            trace: Trace::default(),
            origins: Vec::new(),
        };
        if self.is_tracing {
            self.trace(rows, &mut scratch, &mut done)?;
            lock(&self.scratches).push(scratch);
            return Ok(done);
        }
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

    fn trace(&self, rows: Vec<Rows>, scratch: &mut Scratch, done: &mut Done) -> Result<()> {
        let Done { traced, rejects, trace, tally, .. } = done;
        for numbered in (0..).zip(&rows) {
            tally.add(&self.program.trace(numbered, scratch, traced, rejects, trace)?);
        }
        done.origins = rows;
        Ok(())
    }

    /// Rejects rows that passed, by their numbers in the trace, ascending.
    ///
    /// # Errors
    /// Rows that are not what the plan says.
    pub(crate) fn refuse(&self, done: &mut Done, refused: &[load::Refused]) -> Result<()> {
        let mut scratch = lock(&self.scratches).pop().unwrap_or_else(|| self.program.scratch());
        let batch_of = |refused: &load::Refused| done.trace.row(refused.0).batch;
        for of_batch in refused.chunk_by(|a, b| batch_of(a) == batch_of(b)) {
            let Some(first) = of_batch.first() else { continue };
            let rows = &done.origins[batch_of(first) as usize];
            let refused = of_batch.iter().map(|(number, refusal)| {
                let (kind, text) = (refusal.kind.as_str(), refusal.text.as_str());
                let (constraint, column) = (refusal.constraint.as_deref(), refusal.column.as_deref());
                (done.trace.row(*number).row as usize, Refused { kind, text, constraint, column })
            });
            let tally = self.program.refuse(rows, &mut scratch, refused, &mut done.rejects)?;
            done.tally.take_back(&tally);
        }
        done.rejects.sort();
        lock(&self.scratches).push(scratch);
        Ok(())
    }

    /// The columns that it puts out, as COPY names them.
    pub(crate) fn columns(&self) -> Vec<Ident> {
        self.rules().output.iter().map(|column| Ident::new(column.name.as_str())).collect()
    }

    /// What it does.
    pub(crate) fn rules(&self) -> &Rules {
        self.program.rules()
    }
}
