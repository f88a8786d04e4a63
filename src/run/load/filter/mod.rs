//! What is judged while rows stream by: a program for each table that needs one, what they share, and from when on a table
//! may begin.
//!
//! A [`Store`] belongs to a referenced table and some of its columns. It is *open* while that table's rows stream by, *known*
//! when all of them have landed, and *given up* when it would need more memory than the run may use or when it turned out
//! that its rows are not what the table will hold; whoever needs it is then judged on the target.

mod records;
mod shape;
mod store;
mod work;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use self::shape::Shape;
use self::store::{Known, Store, Value, What, lock};
use self::work::Numbers;
pub(crate) use self::work::{Done, Part, Work};
use crate::config::OnOrphan;
use crate::error::{Phase, Result};
use crate::figures;
use crate::load::{RejectsFile, Streamed, assemble};
use crate::pg::name::{Ident, plain};
use crate::plan::{Judged, Keys, Plan, TablePlan, WayOut};
use crate::run::id::RunId;
use crate::transform::{Collect, RejectBuffer, Tally};

/// The filters of a run.
#[derive(Debug)]
pub(crate) struct Filters {
    stores: Vec<Store>,
    tables: Vec<TableFilter>,
    memory_max: usize,
    directory: PathBuf,
}

#[derive(Debug, Default)]
struct TableFilter {
    /// The stores that its rows go to.
    collects: Vec<usize>,
    /// Its references and lookups that may be dealt with while streaming, each with its store.
    needs: Vec<(Need, usize)>,
    /// What is done to its rows, once that is known; reset when a store is given up.
    work: Mutex<Option<Option<Arc<Work>>>>,
    /// What became of the chunks that were read to the end.
    parts: Mutex<BTreeMap<i32, Part>>,
    /// Whether the target refuses some of its rows, so that each is traced.
    is_tracing: AtomicBool,
    /// How it is read instead, since the source's casts refuse some of its values.
    without_casts: OnceLock<TablePlan>,
}

/// What needs a store, by its number in the plan of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Reference(usize),
    Lookup(usize),
}

impl Filters {
    /// As the plan has decided.
    pub(crate) fn new(plan: &Plan, run: &RunId) -> Self {
        let directory = Path::new(&plan.run.rejects_dir).join(run.as_str());
        let memory_max = usize::try_from(plan.run.memory).unwrap_or(usize::MAX);
        let tables = plan.tables.iter().map(|_| TableFilter::default()).collect();
        let mut filters = Self { stores: Vec::new(), tables, memory_max, directory };
        for (table, entry) in plan.tables.iter().enumerate() {
            for (need, what) in wanted(entry) {
                let store = filters.store(plan, what);
                filters.tables[table].needs.push((need, store));
            }
        }
        for (number, store) in filters.stores.iter().enumerate() {
            if let Keys::Entry(parent) = store.what.keys {
                filters.tables[parent].collects.push(number);
            }
        }
        filters
    }

    /// The number of a store; those who need the same share one.
    fn store(&mut self, plan: &Plan, what: What) -> usize {
        if let Some(known) = self.stores.iter().position(|store| store.what == what) {
            return known;
        }
        self.stores.push(match what.keys {
            // Nobody will ever say that its last row has landed.
            Keys::Entry(parent) if plan.tables[parent].chunks.is_empty() => Store::given_up(what),
            Keys::Entry(_) | Keys::Live => Store::open(what),
        });
        self.stores.len() - 1
    }

    /// Whether a table may begin: nothing that it needs is still being found out.
    pub(crate) fn is_ready(&self, table: usize) -> bool {
        !self.tables[table].needs.iter().any(|&(_, store)| self.stores[store].is_open())
    }

    /// What is to be done to a table's rows; `None` if they pass through as they are. The table must be ready.
    ///
    /// # Errors
    /// [`crate::error::Kind::Internal`] if the plan contradicts itself.
    pub(crate) fn work(&self, plan: &Plan, table: usize) -> Result<Option<Arc<Work>>> {
        let mut work = lock(&self.tables[table].work);
        if let Some(work) = &*work {
            return Ok(work.clone());
        }
        if !self.is_settled(table) {
            // Rows of it may still be rejected: nobody may rely on its keys.
            self.tables[table].collects.iter().for_each(|&store| self.stores[store].give_up());
        }
        let entry = self.plan_of(plan, table);
        let mut made = self.compile(entry, table)?;
        if let Some(work) = &mut made {
            work.has_no_casts = !std::ptr::eq(entry, &plan.tables[table]);
        }
        let made = made.map(Arc::new);
        *work = Some(made.clone());
        Ok(made)
    }

    /// Whether nothing that it needed was given up, so that it is judged while it streams by, and only then.
    fn is_settled(&self, table: usize) -> bool {
        self.tables[table].needs.iter().all(|&(_, store)| self.stores[store].known().is_some())
    }

    /// Whether a table's references are judged while its rows stream by, those of them that can be.
    fn streams_references(&self, plan: &TablePlan, table: usize) -> bool {
        self.is_settled(table) || !plan.references_interact()
    }

    fn compile(&self, plan: &TablePlan, table: usize) -> Result<Option<Work>> {
        let filter = &self.tables[table];
        let mut shape = Shape::new(plan);
        let known =
            || filter.needs.iter().filter_map(|&(need, store)| Some((need, self.stores[store].known()?)));
        for (need, known) in known() {
            if let (Need::Lookup(number), Known::Values(values)) = (need, known) {
                shape.look_up(number, values);
            }
        }
        shape.put_out();
        for (need, known) in known().filter(|_| self.streams_references(plan, table)) {
            if let (Need::Reference(number), Known::Keys(keys)) = (need, known) {
                shape.refer(number, keys);
            }
        }
        let collected = |&store: &usize| self.stores[store].collect(|name| shape.position(name));
        let collect: Vec<Collect> = filter.collects.iter().filter_map(collected).collect();
        let is_tracing = self.is_tracing(table);
        if shape.is_plain() && collect.is_empty() && !is_tracing {
            return Ok(None);
        }
        shape.into_work(collect, self.rejects_path(plan), is_tracing).map(Some)
    }

    /// Whether every row of a table is traced.
    pub(crate) fn is_tracing(&self, table: usize) -> bool {
        self.tables[table].is_tracing.load(Ordering::Acquire)
    }

    /// The target has refused a row of a table: from now on every row is traced.
    pub(crate) fn begin_tracing(&self, table: usize) {
        self.tables[table].is_tracing.store(true, Ordering::Release);
        *lock(&self.tables[table].work) = None;
    }

    /// How a table is read by now.
    pub(crate) fn plan_of<'a>(&'a self, plan: &'a Plan, table: usize) -> &'a TablePlan {
        self.tables[table].without_casts.get().unwrap_or(&plan.tables[table])
    }

    /// Whether a table is read without casts of the source's.
    pub(crate) fn has_no_casts(&self, table: usize) -> bool {
        self.tables[table].without_casts.get().is_some()
    }

    /// A cast of the source's has refused a value of a table: from now on that is left to the target, if the values come to the
    /// same there. Returns whether it is so now and was not before.
    pub(crate) fn leave_out_casts(&self, plan: &Plan, table: usize) -> bool {
        let (entry, filter) = (&plan.tables[table], &self.tables[table]);
        let Some(other) = entry.without_casts() else { return false };
        // A text may be no value of the key's type; and what is looked up is there in the other format.
        let is_any_text = |name: &Ident| {
            let mut columns = entry.columns.iter().filter(|column| column.name == *name);
            columns.any(|column| column.way_out == Some(WayOut::Text))
        };
        let stands_against = |need: Need| match need {
            Need::Reference(number) => entry.references[number].columns.iter().any(is_any_text),
            Need::Lookup(_) => other.format != entry.format,
        };
        let needs = filter.needs.iter().filter(|&&(_, store)| self.stores[store].known().is_some());
        if needs.into_iter().any(|&(need, _)| stands_against(need))
            || filter.without_casts.set(other).is_err()
        {
            return false;
        }
        self.distrust(table);
        self.begin_tracing(table);
        true
    }

    /// Rows of a table are rejected that have passed: nobody may rely on the keys that were collected of them.
    pub(crate) fn distrust(&self, table: usize) {
        let stores = self.tables[table].collects.iter().filter(|&&store| self.stores[store].is_open());
        self.give_up(&stores.copied().collect::<Vec<_>>());
    }

    /// What has been dealt with while a table's rows streamed by.
    pub(crate) fn streamed(&self, plan: &TablePlan, table: usize) -> Streamed {
        let needs = &self.tables[table].needs;
        let is_known = |wanted: Need| {
            needs.iter().any(|&(need, store)| need == wanted && self.stores[store].known().is_some())
        };
        let lookups: Vec<bool> =
            (0..plan.lookups.len()).map(|number| is_known(Need::Lookup(number))).collect();
        let is_filled_later = |column: &Ident| {
            plan.lookups.iter().zip(&lookups).any(|(lookup, known)| lookup.column == *column && !known)
        };
        let references = plan.references.iter().enumerate().map(|(number, reference)| {
            self.streams_references(plan, table)
                && is_known(Need::Reference(number))
                && !reference.columns.iter().any(is_filled_later)
        });
        Streamed { references: references.collect(), lookups }
    }

    /// Gives up stores until the rest fits into the memory that the run may use.
    pub(crate) fn bound(&self, plan: &Plan) {
        while let Some((store, bytes)) = self.largest_over_limit() {
            self.give_up(&[store]);
            let What { table, columns, .. } = &self.stores[store].what;
            let columns: Vec<String> = columns.iter().map(plain).collect();
            tracing::warn!(phase = %Phase::Load, table = table.plain(),
                "its keys ({}) need more than memory = {} allows ({} so far): references to them are judged on the target",
                columns.join(", "), figures::bytes(plan.run.memory), figures::bytes(bytes as u64));
        }
    }

    /// The largest store that grows, if all of them together need too much.
    fn largest_over_limit(&self) -> Option<(usize, usize)> {
        let sizes = || self.stores.iter().map(Store::memory_bytes).enumerate();
        let total: usize = sizes().map(|(_, (bytes, _))| bytes).sum();
        if total <= self.memory_max {
            return None;
        }
        let growing = sizes().filter(|&(_, (_, grows))| grows);
        growing.map(|(store, (bytes, _))| (store, bytes)).max_by_key(|&(_, bytes)| bytes)
    }

    /// Whether a store was given up.
    pub(crate) fn is_given_up(&self, store: usize) -> bool {
        self.stores[store].is_given_up()
    }

    fn give_up(&self, stores: &[usize]) {
        for &store in stores {
            self.stores[store].give_up();
            if let Keys::Entry(parent) = self.stores[store].what.keys {
                *lock(&self.tables[parent].work) = None;
            }
        }
    }

    /// Gives up the open stores that depend on tables: these failed.
    pub(crate) fn fail(&self, tables: &[usize]) {
        let is_theirs = |store: &usize| {
            let store = &self.stores[*store];
            store.is_open() && matches!(store.what.keys, Keys::Entry(parent) if tables.contains(&parent))
        };
        self.give_up(&(0..self.stores.len()).filter(is_theirs).collect::<Vec<_>>());
    }

    /// Keeps what became of a chunk, before it is committed.
    pub(crate) fn keep(&self, table: usize, chunk: i32, part: Part) {
        lock(&self.tables[table].parts).insert(chunk, part);
    }

    /// What became of the chunks of a table that somebody has kept.
    pub(crate) fn parts(&self, table: usize) -> BTreeMap<i32, Part> {
        lock(&self.tables[table].parts).clone()
    }

    /// Keeps how many rows a chunk has that passed through, so that those of later chunks can be numbered.
    pub(crate) fn keep_plain(&self, plan: &TablePlan, table: usize, chunk: i32, rows: u64) {
        let tally = Tally { rows_in: rows, rows_out: rows, ..Tally::default() };
        self.keep(table, chunk, Part { tally, rejects_file: self.rejects_path(plan), ..Part::default() });
    }

    /// Rows of a table that were rejected in chunks that were read to the end, but for one.
    pub(crate) fn rejected_elsewhere(&self, table: usize, chunk: i32) -> u64 {
        let parts = lock(&self.tables[table].parts);
        parts.iter().filter(|&(&number, _)| number != chunk).map(|(_, part)| part.tally.rejected).sum()
    }

    /// What became of a chunk that was read to the end; `None` if its rows passed through.
    pub(crate) fn part(&self, table: usize, chunk: i32) -> Option<Part> {
        lock(&self.tables[table].parts).get(&chunk).cloned()
    }

    /// All rows of a table have landed: its keys are known, its rejects are put together.
    ///
    /// # Errors
    /// The rejects cannot be written.
    pub(crate) async fn seal(&self, plan: &Plan, table: usize) -> Result<()> {
        // Nobody may begin to work with a program that collects.
        *lock(&self.tables[table].work) = None;
        let is_empty = lock(&self.tables[table].parts).values().all(|part| part.tally.rows_in == 0);
        for &store in &self.tables[table].collects {
            // What the live table holds may stay, if the source has nothing.
            self.close(store, !is_empty).await;
        }
        self.assemble(&plan.tables[table], table).await
    }

    /// Puts the rejects of a table's chunks together. Where a chunk before is not known to its end, rows have no number.
    async fn assemble(&self, plan: &TablePlan, table: usize) -> Result<()> {
        let parts = lock(&self.tables[table].parts).clone();
        let mut before = Some(0);
        let mut files = Vec::new();
        for chunk in &plan.chunks {
            let Some(part) = parts.get(&chunk.number) else {
                before = None;
                continue;
            };
            files.extend(part.files().cloned().map(|file| (file, before)));
            before = before.filter(|_| !part.is_cut_off).map(|rows| rows + part.tally.rows_in);
        }
        if files.is_empty() {
            return Ok(());
        }
        let header = RejectBuffer::header(plan.has_places(), plan.source_columns.iter().map(Ident::as_str));
        let path = self.rejects_path(plan);
        assemble(&RejectsFile::streamed(&path), &header, &files).await
    }

    /// Gives every rejects file its name and removes those of chunks. To be called when nothing is judged any more. Returns where
    /// the rejects of tables are, also of those that failed before all their rows had landed.
    pub(crate) async fn tidy(&self, plan: &Plan) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for (number, (table, filter)) in plan.tables.iter().zip(&self.tables).enumerate() {
            // An attempt that was repeated and failed has taken its file with it.
            lock(&filter.parts).retain(|_, part| part.files().all(|file| file.exists()));
            let files: Vec<PathBuf> = lock(&filter.parts).values().flat_map(Part::files).cloned().collect();
            if files.is_empty() {
                continue;
            }
            let path = self.rejects_path(table);
            let settled = async {
                if !RejectsFile::is_there(&path) {
                    self.assemble(table, number).await?;
                }
                RejectsFile::settle(&path, &files).await
            };
            match settled.await {
                Ok(()) => found.push((number, path.display().to_string())),
                Err(error) => {
                    tracing::warn!(phase = %Phase::Clean, table = table.name.plain(), %error, "could not merge the rejects files");
                }
            }
        }
        found
    }

    /// Where a table's rejects are, once it has any.
    pub(crate) fn rejects_path(&self, table: &TablePlan) -> PathBuf {
        RejectsFile::path(&self.directory, &table.name)
    }

    /// The stores of live tables that nobody fills.
    pub(crate) fn live_stores(&self) -> Vec<usize> {
        (0..self.stores.len()).filter(|&store| self.stores[store].what.keys == Keys::Live).collect()
    }

    /// The statement that fetches a store from its live table, and what collects it; `None` if it is not wanted any more.
    ///
    /// # Errors
    /// [`crate::error::Kind::Internal`] if the plan contradicts itself.
    pub(crate) fn fetching(&self, store: usize) -> Result<Option<(String, Arc<Work>)>> {
        let Some((sql, rules)) = self.stores[store].fetching() else { return Ok(None) };
        Ok(Some((sql, Arc::new(Work::new(rules, Numbers::default(), PathBuf::new())?))))
    }

    /// All of a store has been collected, or not: it is known now, or given up.
    pub(crate) async fn close(&self, store: usize, is_complete: bool) {
        self.stores[store].close(is_complete).await;
    }
}

/// The stores that an entry of the plan needs.
fn wanted(entry: &TablePlan) -> Vec<(Need, What)> {
    let mut wanted = Vec::new();
    for (number, lookup) in entry.lookups.iter().enumerate() {
        let Judged::Streaming { kinds, keys } = &lookup.judged else { continue };
        let what = What {
            keys: *keys,
            table: lookup.from.clone(),
            columns: lookup.pairs.iter().map(|pair| pair.theirs.clone()).collect(),
            kinds: kinds.iter().map(|&(_, theirs)| theirs).collect(),
            value: Some(Value { column: lookup.value.clone(), format: entry.format }),
        };
        wanted.push((Need::Lookup(number), what));
    }
    for (number, reference) in entry.references.iter().enumerate() {
        let Judged::Streaming { kinds, keys } = &reference.judged else { continue };
        if reference.on_orphan == OnOrphan::Keep {
            continue;
        }
        let what = What {
            keys: *keys,
            table: reference.to.clone(),
            columns: reference.to_columns.clone(),
            kinds: kinds.iter().map(|&(_, theirs)| theirs).collect(),
            value: None,
        };
        wanted.push((Need::Reference(number), what));
    }
    wanted
}
