//! What is judged while rows stream by: a program for each table that needs one, the key sets they share, and from when
//! on a table may begin.
//!
//! A set belongs to a referenced table and some of its columns. It is *open* while that table's rows stream by, *known*
//! when all of them have landed, and *given up* when it would need more memory than the run may use or when it turned out
//! that its rows are not what the table will hold; whoever needs it is then judged on the target.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::id::RunId;
use crate::batch::{Batch, BatchPool};
use crate::config::OnOrphan;
use crate::error::{Error, Kind, Phase, Result};
use crate::load::{RejectsFile, assemble};
use crate::pg::format::Format;
use crate::pg::key_kind::KeyKind;
use crate::pg::name::{Ident, TableName, list, plain};
use crate::plan::{ColumnPlan, Judged, Keys, Plan, Reference, TablePlan};
use crate::report::figures;
use crate::transform::{
    Collect, InputColumn, KeyColumn, KeySet, KeySetBuilder, Output, OutputColumn, Program, RejectBuffer,
    Rejects, Render, Rows, Rules, Scratch, Tally,
};

/// How long a set waits for the last worker of a given-up attempt to let go of it.
const LET_GO_TRIES: u32 = 1000;
const LET_GO_TICK: Duration = Duration::from_millis(5);

/// The filters of a run.
#[derive(Debug)]
pub(super) struct Filters {
    sets: Vec<Set>,
    tables: Vec<TableFilter>,
    memory_max: usize,
    directory: PathBuf,
}

/// Keys of a referenced table.
#[derive(Debug)]
struct Set {
    keys: Keys,
    to: TableName,
    columns: Vec<Ident>,
    kinds: Vec<KeyKind>,
    state: Mutex<SetState>,
}

#[derive(Debug)]
enum SetState {
    Open(Arc<KeySetBuilder>),
    Known(Arc<KeySet>),
    GivenUp,
}

#[derive(Debug, Default)]
struct TableFilter {
    /// The sets that its rows go to.
    collects: Vec<usize>,
    /// Its references that may be judged while streaming, each with its set.
    needs: Vec<(usize, usize)>,
    /// What is done to its rows, once that is known; reset when a set is given up.
    work: Mutex<Option<Option<Arc<Work>>>>,
    /// What became of the chunks that were read to the end.
    parts: Mutex<BTreeMap<i32, Part>>,
}

/// What became of the rows of one chunk.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    /// The references of the plan that the tally's numbers are about.
    pub(super) references: Arc<[usize]>,
    /// The counts.
    pub(super) tally: Tally,
    /// The rejects in short.
    pub(super) rejects: Rejects,
    /// The rejects themselves.
    pub(super) file: Option<PathBuf>,
    /// Where they will be in the end.
    pub(super) rejects_file: PathBuf,
}

/// A table's program, with the buffers of those who run it.
#[derive(Debug)]
pub(super) struct Work {
    program: Program,
    scratches: Mutex<Vec<Scratch>>,
    /// The program's references by their numbers in the plan.
    references: Arc<[usize]>,
    /// Where the table's rejects will be.
    pub(super) rejects: PathBuf,
}

/// What became of some batches.
#[derive(Debug)]
pub(super) struct Done {
    /// The rows that passed.
    pub(super) out: Vec<Batch>,
    /// The counts.
    pub(super) tally: Tally,
    /// The rows that did not pass.
    pub(super) rejects: RejectBuffer,
}

impl Filters {
    /// As the plan has decided.
    pub(super) fn new(plan: &Plan, run: &RunId) -> Self {
        let directory = Path::new(&plan.run.rejects_dir).join(run.as_str());
        let memory_max = usize::try_from(plan.run.memory).unwrap_or(usize::MAX);
        let tables = plan.tables.iter().map(|_| TableFilter::default()).collect();
        let mut filters = Self { sets: Vec::new(), tables, memory_max, directory };
        for (table, entry) in plan.tables.iter().enumerate() {
            for (number, reference) in entry.references.iter().enumerate() {
                let Judged::Streaming { kinds, keys } = &reference.judged else { continue };
                if reference.on_orphan != OnOrphan::Keep {
                    let kinds = kinds.iter().map(|&(_, theirs)| theirs).collect();
                    let set = filters.set(plan, *keys, reference, kinds);
                    filters.tables[table].needs.push((number, set));
                }
            }
        }
        for (number, set) in filters.sets.iter().enumerate() {
            if let Keys::Entry(parent) = set.keys {
                filters.tables[parent].collects.push(number);
            }
        }
        filters
    }

    /// The number of the set that a reference needs.
    fn set(&mut self, plan: &Plan, keys: Keys, reference: &Reference, kinds: Vec<KeyKind>) -> usize {
        let (to, columns) = (&reference.to, &reference.to_columns);
        let is_same =
            |set: &Set| set.keys == keys && set.to == *to && set.columns == *columns && set.kinds == kinds;
        self.sets.iter().position(is_same).unwrap_or_else(|| {
            let state = match keys {
                // Nobody will ever say that its last row has landed.
                Keys::Entry(parent) if plan.tables[parent].chunks.is_empty() => SetState::GivenUp,
                Keys::Entry(_) | Keys::Live => SetState::Open(Arc::default()),
            };
            let state = Mutex::new(state);
            self.sets.push(Set { keys, to: to.clone(), columns: columns.clone(), kinds, state });
            self.sets.len() - 1
        })
    }

    /// Whether a table may begin: nothing that it needs is still being found out.
    pub(super) fn is_ready(&self, table: usize) -> bool {
        let is_open = |&(_, set): &(usize, usize)| matches!(*lock(&self.sets[set].state), SetState::Open(_));
        !self.tables[table].needs.iter().any(is_open)
    }

    /// What is to be done to a table's rows; `None` if they pass through as they are. The table must be ready.
    ///
    /// # Errors
    /// [`Kind::Internal`] if the plan contradicts itself.
    pub(super) fn work(&self, plan: &Plan, table: usize) -> Result<Option<Arc<Work>>> {
        let mut work = lock(&self.tables[table].work);
        if let Some(work) = &*work {
            return Ok(work.clone());
        }
        let made = self.compile(&plan.tables[table], &self.tables[table])?.map(Arc::new);
        *work = Some(made.clone());
        Ok(made)
    }

    fn compile(&self, plan: &TablePlan, filter: &TableFilter) -> Result<Option<Work>> {
        let (numbers, references): (Vec<usize>, Vec<_>) = filter
            .needs
            .iter()
            .filter_map(|&(number, set)| {
                let keys = self.known(set)?;
                Some((number, reference(plan, &plan.references[number], keys)))
            })
            .unzip();
        let collect: Vec<Collect> = filter
            .collects
            .iter()
            .filter_map(|&set| match &*lock(&self.sets[set].state) {
                SetState::Open(into) => Some(self.sets[set].collect(plan, into.clone())),
                SetState::Known(_) | SetState::GivenUp => None,
            })
            .collect();
        if references.is_empty() && collect.is_empty() {
            return Ok(None);
        }
        let position = |name: &Ident| plan.columns.iter().position(|c| c.from.as_ref() == Some(name));
        let rules = Rules {
            table: plan.name.plain(),
            format: plan.format,
            input: plan.columns.iter().map(input).collect(),
            output: plan.columns.iter().enumerate().map(|(field, column)| output(field, column)).collect(),
            lookups: Vec::new(),
            null_values: Vec::new(),
            references,
            collect,
            reject_columns: plan.source_columns.iter().map(position).collect(),
            emits: true,
        };
        Ok(Some(Work::new(rules, numbers, self.rejects_path(plan))?))
    }

    fn known(&self, set: usize) -> Option<Arc<KeySet>> {
        match &*lock(&self.sets[set].state) {
            SetState::Known(keys) => Some(keys.clone()),
            SetState::Open(_) | SetState::GivenUp => None,
        }
    }

    /// Whether each reference of a table was judged while its rows streamed by.
    pub(super) fn streamed(&self, plan: &TablePlan, table: usize) -> Vec<bool> {
        let needs = &self.tables[table].needs;
        let is_known = |number: usize| {
            needs.iter().any(|&(reference, set)| reference == number && self.known(set).is_some())
        };
        (0..plan.references.len()).map(is_known).collect()
    }

    /// Gives up sets until the rest fits into the memory that the run may use.
    pub(super) fn bound(&self, plan: &Plan) {
        while let Some((set, bytes)) = self.largest_over_limit() {
            self.give_up(&[set]);
            let Set { to, columns, .. } = &self.sets[set];
            let columns: Vec<String> = columns.iter().map(plain).collect();
            tracing::warn!(phase = %Phase::Load, table = to.plain(),
                "its keys ({}) need more than memory = {} allows ({} so far): who refers to them is judged on the target",
                columns.join(", "), figures::bytes(plan.run.memory), figures::bytes(bytes as u64));
        }
    }

    /// The largest set that is being built, if all of them together need too much.
    fn largest_over_limit(&self) -> Option<(usize, usize)> {
        let mut total = 0;
        let mut largest = None;
        for (number, set) in self.sets.iter().enumerate() {
            match &*lock(&set.state) {
                SetState::Open(builder) => {
                    let bytes = builder.memory_bytes();
                    total += bytes;
                    largest = largest.max(Some((bytes, number)));
                }
                SetState::Known(keys) => total += keys.memory_bytes(),
                SetState::GivenUp => {}
            }
        }
        largest.filter(|_| total > self.memory_max).map(|(bytes, number)| (number, bytes))
    }

    /// Whether a set was given up.
    pub(super) fn is_given_up(&self, set: usize) -> bool {
        matches!(*lock(&self.sets[set].state), SetState::GivenUp)
    }

    fn give_up(&self, sets: &[usize]) {
        for &set in sets {
            *lock(&self.sets[set].state) = SetState::GivenUp;
            if let Keys::Entry(parent) = self.sets[set].keys {
                *lock(&self.tables[parent].work) = None;
            }
        }
    }

    /// Gives up the open sets that depend on tables: these failed.
    pub(super) fn fail(&self, tables: &[usize]) {
        let is_theirs = |set: &usize| {
            matches!(self.sets[*set].keys, Keys::Entry(parent) if tables.contains(&parent))
                && matches!(*lock(&self.sets[*set].state), SetState::Open(_))
        };
        self.give_up(&(0..self.sets.len()).filter(is_theirs).collect::<Vec<_>>());
    }

    /// Keeps what became of a chunk, before it is committed.
    pub(super) fn keep(&self, table: usize, chunk: i32, part: Part) {
        lock(&self.tables[table].parts).insert(chunk, part);
    }

    /// What became of a chunk that was read to the end; `None` if its rows passed through.
    pub(super) fn part(&self, table: usize, chunk: i32) -> Option<Part> {
        lock(&self.tables[table].parts).get(&chunk).cloned()
    }

    /// All rows of a table have landed: its keys are known, its rejects are put together.
    ///
    /// # Errors
    /// The rejects cannot be written.
    pub(super) async fn seal(&self, plan: &Plan, table: usize) -> Result<()> {
        // Nobody may begin to work with a program that collects.
        let collects = &self.tables[table].collects;
        *lock(&self.tables[table].work) = None;
        let parts: Vec<Part> = lock(&self.tables[table].parts).values().cloned().collect();
        let is_empty = parts.iter().all(|part| part.tally.rows_in == 0);
        for &set in collects {
            // What the live table holds may stay, if the source has nothing.
            self.close(set, !is_empty).await;
        }
        self.assemble(&plan.tables[table], &parts).await
    }

    async fn assemble(&self, plan: &TablePlan, parts: &[Part]) -> Result<()> {
        let mut before = 0;
        let mut files = Vec::new();
        for part in parts {
            files.extend(part.file.clone().map(|file| (file, before)));
            before += part.tally.rows_in;
        }
        if files.is_empty() {
            return Ok(());
        }
        let header = RejectBuffer::header(plan.source_columns.iter().map(Ident::as_str));
        let path = self.rejects_path(plan);
        assemble(&RejectsFile::streamed(&path), &header, &files).await
    }

    /// Gives every rejects file its name and removes those of chunks. To be called when nothing is judged any more.
    pub(super) async fn tidy(&self, plan: &Plan) {
        for (table, filter) in plan.tables.iter().zip(&self.tables) {
            let files: Vec<PathBuf> =
                lock(&filter.parts).values().filter_map(|part| part.file.clone()).collect();
            if files.is_empty() {
                continue;
            }
            let path = self.rejects_path(table);
            if let Err(error) = RejectsFile::settle(&path, &files).await {
                tracing::warn!(phase = %Phase::Clean, table = table.name.plain(), %error, "rejects could not be tidied up");
            }
        }
    }

    /// Where a table's rejects are, once it has any.
    pub(super) fn rejects_path(&self, table: &TablePlan) -> PathBuf {
        RejectsFile::path(&self.directory, &table.name)
    }

    /// The sets whose keys are those of live tables that nobody fills.
    pub(super) fn live_sets(&self) -> Vec<usize> {
        (0..self.sets.len()).filter(|&set| self.sets[set].keys == Keys::Live).collect()
    }

    /// The statement that fetches a live table's keys, and what collects them; `None` if they are not wanted any more.
    ///
    /// # Errors
    /// [`Kind::Internal`] if the plan contradicts itself.
    pub(super) fn fetching(&self, set: usize) -> Result<Option<(String, Arc<Work>)>> {
        let Set { to, columns, kinds, state, .. } = &self.sets[set];
        let SetState::Open(into) = &*lock(state) else { return Ok(None) };
        let collected = kinds.iter().enumerate().map(|(column, &kind)| KeyColumn { column, kind }).collect();
        let name = |name: &Ident| name.as_str().to_owned();
        let rules = Rules {
            table: to.plain(),
            format: Format::Binary,
            input: columns.iter().map(|column| InputColumn { name: name(column), render: None }).collect(),
            output: Vec::from_iter(columns.iter().enumerate().map(|(field, column)| OutputColumn {
                name: name(column),
                value: Output::Field(field),
                render: None,
            })),
            lookups: Vec::new(),
            null_values: Vec::new(),
            references: Vec::new(),
            collect: vec![Collect::Keys { columns: collected, into: into.clone() }],
            reject_columns: Vec::new(),
            emits: false,
        };
        let sql = format!("copy (select {} from {to}) to stdout (format binary)", list(columns));
        Ok(Some((sql, Arc::new(Work::new(rules, Vec::new(), PathBuf::new())?))))
    }

    /// All keys of a set have been collected, or not: it is known now, or given up.
    pub(super) async fn close(&self, set: usize, is_complete: bool) {
        let keys = if is_complete { self.sets[set].freeze().await } else { None };
        let mut state = lock(&self.sets[set].state);
        if matches!(*state, SetState::Open(_)) {
            *state = keys.map_or(SetState::GivenUp, SetState::Known);
        }
    }
}

impl Set {
    fn collect(&self, parent: &TablePlan, into: Arc<KeySetBuilder>) -> Collect {
        let columns = self.columns.iter().zip(&self.kinds);
        let columns = columns
            .filter_map(|(name, &kind)| Some(KeyColumn { column: position(parent, name)?, kind }))
            .collect();
        Collect::Keys { columns, into }
    }

    /// The set as it is now; `None` if somebody goes on adding to it.
    async fn freeze(&self) -> Option<Arc<KeySet>> {
        for _ in 0..LET_GO_TRIES {
            let taken = {
                let mut state = lock(&self.state);
                let SetState::Open(builder) = &mut *state else { return None };
                Arc::get_mut(builder).map(std::mem::take)
            };
            if let Some(builder) = taken {
                let frozen = tokio::task::spawn_blocking(move || builder.freeze()).await;
                return frozen.ok().map(Arc::new);
            }
            // A worker of an attempt that was given up is about to end.
            tokio::time::sleep(LET_GO_TICK).await;
        }
        None
    }
}

impl Work {
    fn new(rules: Rules, references: Vec<usize>, rejects: PathBuf) -> Result<Self> {
        let program = Program::compile(rules)?;
        Ok(Self { program, scratches: Mutex::default(), references: references.into(), rejects })
    }

    /// A chunk of which nothing is known yet.
    pub(super) fn part(&self) -> Part {
        let rejects_file = self.rejects.clone();
        Part { references: self.references.clone(), rejects_file, ..Part::default() }
    }

    /// Puts rows through the program. Synchronous, and as long as the rows are many.
    ///
    /// # Errors
    /// An orphan that must not be; rows that are not what the plan says.
    pub(super) fn run(&self, rows: Vec<Rows>, pool: &BatchPool) -> Result<Done> {
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
    pub(super) fn rules(&self) -> &Rules {
        self.program.rules()
    }
}

fn input(column: &ColumnPlan) -> InputColumn {
    let name = column.from.as_ref().unwrap_or(&column.name);
    InputColumn { name: name.as_str().to_owned(), render: render(column) }
}

fn output(field: usize, column: &ColumnPlan) -> OutputColumn {
    OutputColumn {
        name: column.name.as_str().to_owned(),
        value: Output::Field(field),
        render: render(column),
    }
}

fn render(column: &ColumnPlan) -> Option<Render> {
    let renderer = column.renderer.clone()?;
    Some(Render::new(move |value, out| {
        renderer
            .write(value, out)
            .map_err(|malformed| Error::new(Phase::Load, Kind::Internal, malformed.to_string()))
    }))
}

fn reference(plan: &TablePlan, reference: &Reference, keys: Arc<KeySet>) -> crate::transform::Reference {
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
    crate::transform::Reference {
        to: reference.to.plain(),
        constraint: Some(reference.name.clone()),
        nulled: columns.iter().map(|column| column.column).collect(),
        columns,
        keys,
        is_match_full: reference.match_full,
        on_orphan: reference.on_orphan,
    }
}

fn position(plan: &TablePlan, name: &Ident) -> Option<usize> {
    plan.columns.iter().position(|column| column.name == *name)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panicking worker left behind belongs to a table that has failed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
