//! A table's program at work, and what it leaves.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::store::lock;
use crate::batch::{Batch, BatchPool};
use crate::error::Result;
use crate::pg::name::Ident;
use crate::transform::{Program, RejectBuffer, Rejects, Rows, Rules, Scratch, Tally};

/// A table's program, with the buffers of those who run it.
#[derive(Debug)]
pub(in crate::run) struct Work {
    program: Program,
    scratches: Mutex<Vec<Scratch>>,
    numbers: Arc<Numbers>,
    /// Where the table's rejects will be.
    pub(in crate::run) rejects: PathBuf,
}

/// What a program's rules are in the plan of the table.
#[derive(Debug, Default)]
pub(in crate::run) struct Numbers {
    pub(in crate::run) references: Vec<usize>,
    pub(in crate::run) lookups: Vec<usize>,
}

/// What became of the rows of one chunk.
#[derive(Debug, Clone, Default)]
pub(in crate::run) struct Part {
    /// What the tally's numbers are about.
    pub(in crate::run) numbers: Arc<Numbers>,
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
    pub(super) fn new(rules: Rules, numbers: Numbers, rejects: PathBuf) -> Result<Self> {
        let program = Program::compile(rules)?;
        Ok(Self { program, scratches: Mutex::default(), numbers: Arc::new(numbers), rejects })
    }

    /// A chunk of which nothing is known yet.
    pub(in crate::run) fn part(&self) -> Part {
        let rejects_file = self.rejects.clone();
        Part { numbers: self.numbers.clone(), rejects_file, ..Part::default() }
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

    /// The columns that it puts out, as COPY names them.
    pub(in crate::run) fn columns(&self) -> Vec<Ident> {
        self.rules().output.iter().map(|column| Ident::new(column.name.as_str())).collect()
    }

    /// What it does.
    pub(in crate::run) fn rules(&self) -> &Rules {
        self.program.rules()
    }
}
