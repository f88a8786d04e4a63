//! What a run will do, decided before it does anything.
//!
//! [`build`] turns a config and the facts of both catalogs into a [`Plan`]. It is pure: no I/O, no clock, no
//! randomness, so every decision can be tested without a server and printed by `bulkload plan`. The stages
//! obey the plan and never look at the config.

mod casts;
mod choice;
mod chunks;
mod columns;
mod compared;
mod comparison;
mod constants;
mod disk;
pub mod draft;
mod failed;
pub(crate) mod files;
mod format;
mod groups;
mod incremental;
mod judging;
mod lookups;
mod loss;
pub mod method;
mod missing;
mod ownership;
mod references;
mod row_constraints;
mod shape;
mod show;
mod storage;
mod swaps;
mod table;
mod triggers;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{
    ApplyMethod, Commit, Config, Limit, Missing, OnEmpty, OnOrphan, RunConfig, Strategy, Triggers,
};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::catalog::{Catalog, Identity, Managed, Oid, Relation, RelationKind, Sequence};
use crate::pg::format::Format;
use crate::pg::name::{Ident, TableName};
use crate::pg::render::Renderer;
use crate::report::{Mode, figures};

pub use chunks::{Chunk, Extent};
pub(crate) use compared::SOURCE_ZONE;
pub use compared::{Compared, Image, Omission};
pub use constants::Added;
pub(crate) use constants::addable;
pub use disk::Disk;
pub(crate) use files::LINE_BITS;
#[cfg(test)]
pub(crate) use files::tests::file as csv_file;
pub use files::{CsvFile, CsvFiles, Once, Packing};
pub use format::WayOut;
pub use groups::Group;
pub(crate) use incremental::NumberMark;
pub use incremental::{Past, Transactions, WatermarkKind, WatermarkPlan};
pub use judging::{Judged, Keys};
pub(crate) use lookups::CAST_HINT;
pub use lookups::{Lookup, Pair};
pub use missing::{Gets, Unfilled};
pub use ownership::KeyPart;
pub use references::{Part, Reference};
pub use show::DiskNeed;
pub use storage::Storage;
pub use table::source_name;
pub use triggers::JudgedRows;

/// Everything [`build`] looks at besides the config.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The source's catalog; that of the target where no table needs a source.
    pub source: &'a Catalog,
    /// The target's catalog.
    pub target: &'a Catalog,
    /// Cores of this machine.
    pub cores: usize,
    /// Where rows come from, without secrets: `host:port/database`.
    pub source_label: String,
    /// Where rows go to, likewise.
    pub target_label: String,
    /// Bytes of the target's database; `None` where the role may not ask.
    pub database_bytes: Option<u64>,
    /// What earlier runs left.
    pub past: Past,
    /// Per entry of the config, the files that its rows come from.
    pub files: Vec<Option<Arc<CsvFiles>>>,
    /// Entries whose query or `where` the source refuses by now, since a column that it names is gone.
    pub outdated: BTreeMap<usize, Arc<Error>>,
}

impl<'a> Facts<'a> {
    /// What holds for a table whose rows come from files: they have the target's types, and no past.
    fn of_files(&self) -> Facts<'a> {
        Facts {
            source: self.target,
            target: self.target,
            cores: self.cores,
            source_label: self.source_label.clone(),
            target_label: self.target_label.clone(),
            database_bytes: self.database_bytes,
            past: Past { mode: self.past.mode, ..Past::default() },
            files: Vec::new(),
            outdated: BTreeMap::new(),
        }
    }

    /// Whether an earlier run loaded an entry, and remembers from which columns.
    #[must_use]
    pub fn was_loaded(&self, entry: usize) -> bool {
        self.past.last.get(entry).and_then(Option::as_ref).is_some_and(|last| last.filled.is_some())
    }
}

/// What a run will do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// `host:port/database` of the source.
    pub source_label: String,
    /// `host:port/database` of the target.
    pub target_label: String,
    /// COPY streams at once.
    pub streams: usize,
    /// Why so many.
    pub streams_reason: String,
    /// The most sessions that build indexes and vacuum while rows are loaded or counted; 0 where connections are scarce.
    pub builders_early: usize,
    /// The entries of the config, in its order, less those that fail.
    pub tables: Vec<TablePlan>,
    /// The entries that fail before anything is loaded, in the config's order; the others do not depend on them.
    pub failed: Vec<FailedTable>,
    /// What is applied together, in the order in which groups may be applied.
    pub groups: Vec<Group>,
    /// Settings that the stages obey.
    pub run: RunConfig,
    /// The target's disk.
    pub disk: Disk,
    /// What the operator should know about the run as a whole.
    pub warnings: Vec<String>,
}

/// What stands for a source in plans and in the state where rows come from files.
pub const FILES: &str = "csv";

impl Plan {
    /// The number of the group that a table is applied with.
    pub(crate) fn group_of(&self, table: usize) -> usize {
        self.groups.iter().position(|group| group.tables().any(|i| i == table)).unwrap_or(0)
    }

    /// The same of a table that fails.
    #[must_use]
    pub fn source_of_failed(&self, table: &FailedTable) -> &str {
        if table.is_of_files { FILES } else { &self.source_label }
    }

    /// Where the state says that a table's rows come from, whatever else the run loads.
    #[must_use]
    pub fn source_of(&self, table: &TablePlan) -> &str {
        if table.csv.is_some() { FILES } else { &self.source_label }
    }
}

/// A table that a run leaves as it is, since it fails before anything is loaded.
#[derive(Debug, Clone)]
pub struct FailedTable {
    /// The number of its entry in the config, from 0.
    pub entry: usize,
    /// The table on the target.
    pub name: TableName,
    /// What the target was to look like.
    pub strategy: Strategy,
    /// How `replace` was to get there, as configured.
    pub apply: Option<ApplyMethod>,
    /// The rows of the target that the entry owns.
    pub scope: Option<String>,
    /// Whether its rows come from files.
    pub is_of_files: bool,
    /// Why it fails.
    pub error: Arc<Error>,
}

/// What a run will do with one table.
#[derive(Debug, Clone)]
pub struct TablePlan {
    /// The number of its entry in the config, from 0.
    pub entry: usize,
    /// The table on the target.
    pub name: TableName,
    /// Its OID there.
    pub oid: Oid,
    /// Whether the target table is partitioned.
    pub is_partitioned: bool,
    /// What the target table is.
    pub storage: Storage,
    /// What the target shall look like.
    pub strategy: Strategy,
    /// How to get there; never `Auto`.
    pub apply: ApplyMethod,
    /// Why this method.
    pub apply_reason: String,
    /// Whether its rows go through a staging table.
    pub uses_staging: bool,
    /// Wire format of both COPYs.
    pub format: Format,
    /// Why this format.
    pub format_reason: String,
    /// The columns that are loaded, in the order in which they travel.
    pub columns: Vec<ColumnPlan>,
    /// The columns of the target that nothing fills.
    pub unfilled: Vec<Unfilled>,
    /// What becomes of them; if not said, that depends on the method.
    pub missing: Option<Missing>,
    /// What is filled from where, see [`crate::report::TableReport::filled`].
    pub filled: Option<String>,
    /// The columns that identify a row on the target.
    pub key: Option<Vec<Ident>>,
    /// Columns that only staging has: what of the source lookups are matched by.
    pub match_columns: Vec<ColumnPlan>,
    /// Which of the loaded columns are filled from other tables.
    pub lookups: Vec<Lookup>,
    /// Whether other entries look up what this one loads.
    pub is_looked_up: bool,
    /// The rows of the target that this entry owns, as SQL of the config over its columns; none: all of them.
    pub scope: Option<String>,
    /// What the target's catalog says of the table.
    pub live: Arc<Relation>,
    /// Casts of the source that can lose something, unless the config allows it.
    pub losses: Losses,
    /// Columns of either side that are not loaded: those of the target, then those of the source.
    pub unmapped: (Vec<Ident>, Vec<Ident>),
    /// Columns of the target that `verify` leaves out.
    pub verify_ignore: Vec<Ident>,
    /// Constants that rows are given on their way: the source is not asked for them.
    pub added: Vec<Added>,
    /// Values of loaded columns that mean NULL; in files those that are written so.
    pub null_values: Vec<(Ident, Vec<String>)>,
    /// What must have a match.
    pub references: Vec<Reference>,
    /// Whether several rows of the source can have one key: nothing on the source rules it out.
    pub may_have_duplicates: bool,
    /// All columns of the source, in their order, for the rejects file.
    pub source_columns: Vec<Ident>,
    /// Their types in the source's catalog, in the same order.
    pub source_types: Vec<Oid>,
    /// What the rows come from, as people write it.
    pub from: String,
    /// Predicate that the source evaluates.
    pub filter: Option<String>,
    /// Whether all rows are read or those that changed.
    pub mode: Mode,
    /// The rows that changed, as a predicate that the source evaluates.
    pub since: Option<String>,
    /// What is recorded for the next run to begin from.
    pub watermark: Option<WatermarkPlan>,
    /// What its rows are read by, see [`crate::report::TableReport::fingerprint`].
    pub fingerprint: Option<String>,
    /// Relations to lock ACCESS SHARE on the source before the snapshot.
    pub source_relation: Option<TableName>,
    /// What that relation is.
    pub source_kind: Option<RelationKind>,
    /// Where its rows are.
    pub source_storage: Option<Storage>,
    /// The files that the rows come from; `None` if they come from a database.
    pub csv: Option<Arc<CsvFiles>>,
    /// The chunks in the order of the source's heap.
    pub chunks: Vec<Chunk>,
    /// Bytes in the source's heap, TOAST included; of a view or a query, which have none, in the table that it fills.
    pub bytes: u64,
    /// Rows as the statistics of the same table have it; 0 where it was never analysed.
    pub row_estimate: u64,
    /// Bytes of the live table on the target, without indexes.
    pub target_bytes: u64,
    /// Bytes of the live table's indexes.
    pub target_index_bytes: u64,
    /// Sequences of loaded columns, to be moved past the maximum.
    pub sequences: Vec<Sequence>,
    /// Guards.
    pub guards: Guards,
    /// Whether the target's triggers fire.
    pub triggers: Triggers,
    /// What the operator should know about this table.
    pub warnings: Vec<String>,
    /// What who reads the plan should know besides.
    pub notes: Vec<String>,
}

impl TablePlan {
    /// Whether an INSERT must say OVERRIDING SYSTEM VALUE: an identity column that is GENERATED ALWAYS is loaded.
    #[must_use]
    pub fn overrides_identity(&self) -> bool {
        self.columns.iter().any(|column| column.identity == Some(Identity::Always))
    }

    /// What the source sends, in the order in which it travels: the loaded columns that neither a lookup fills nor a constant
    /// on the way nor a default in staging, then those that are there for lookups to be matched by.
    pub fn extracted(&self) -> impl Iterator<Item = &ColumnPlan> {
        let is_sent = |column: &&ColumnPlan| {
            !self.is_filled(&column.name) && self.added(&column.name).is_none() && !column.is_defaulted
        };
        self.columns.iter().filter(is_sent).chain(&self.match_columns)
    }

    /// The constant that rows are given on their way for a column.
    #[must_use]
    pub fn added(&self, name: &Ident) -> Option<&Added> {
        self.added.iter().find(|added| added.column == *name)
    }

    /// What staging has.
    pub fn staged(&self) -> impl Iterator<Item = &ColumnPlan> {
        self.columns.iter().chain(&self.match_columns)
    }

    /// Whether it matters in which order references are judged: one that sets its columns to NULL shares some with another.
    /// They are judged in their order then, all in one place.
    #[must_use]
    pub fn references_interact(&self) -> bool {
        self.references.iter().enumerate().any(|(number, nulling)| {
            let shares = |other: &Reference| other.columns.iter().any(|c| nulling.columns.contains(c));
            let others = self.references.iter().enumerate().filter(|(other, _)| *other != number);
            nulling.on_orphan == OnOrphan::Null
                && others.into_iter().any(|(_, other)| other.on_orphan != OnOrphan::Keep && shares(other))
        })
    }

    /// Whether of several rows with one key all but one have to be found.
    #[must_use]
    pub fn has_doubtful_key(&self) -> bool {
        self.may_have_duplicates && self.key.is_some()
    }

    /// Whether a column is filled by a lookup.
    #[must_use]
    pub fn is_filled(&self, name: &Ident) -> bool {
        self.lookups.iter().any(|lookup| lookup.column == *name)
    }

    /// Whether rows are copied straight into the table that takes the live one's place. Filling columns from lookups
    /// writes rows again, which belongs elsewhere, and needs columns that the table has not.
    #[must_use]
    pub fn fills_new_table(&self) -> bool {
        self.apply == ApplyMethod::Swap && self.lookups.is_empty() && self.match_columns.is_empty()
    }

    /// Whether its rows are in a heap of the source's, so that their bytes bound their number.
    #[must_use]
    pub fn has_own_heap(&self) -> bool {
        self.source_storage.as_ref().is_some_and(Storage::is_heap)
    }

    /// Whether its rows stand in files, so that rejects tell where.
    #[must_use]
    pub fn has_places(&self) -> bool {
        self.csv.is_some()
    }

    /// The same table read without the casts that have a way out, as text; `None` if there is none.
    #[must_use]
    pub fn without_casts(&self) -> Option<Self> {
        let mut plan = self.clone();
        let mut has_any = false;
        for column in &mut plan.columns {
            if let (Some(_), Some(from)) = (column.way_out, &column.from) {
                column.source = from.to_string();
                has_any = true;
            }
        }
        plan.format = Format::Text;
        has_any.then_some(plan)
    }

    /// The apply method, where the strategy is `replace`.
    #[must_use]
    pub fn replaces_by(&self) -> Option<ApplyMethod> {
        (self.strategy == Strategy::Replace).then_some(self.apply)
    }

    /// The loaded columns, quoted and comma-separated.
    #[must_use]
    pub fn column_list(&self) -> String {
        crate::pg::name::list(self.columns.iter().map(|column| &column.name))
    }
}

/// A loaded column.
#[derive(Debug, Clone)]
pub struct ColumnPlan {
    /// Its name on the target.
    pub name: Ident,
    /// Its type on the target.
    pub type_oid: Oid,
    /// The same as SQL.
    pub type_name: String,
    /// How its values are shown where they travel in binary; none for types whose binary form means nothing elsewhere.
    pub renderer: Option<Renderer>,
    /// Its collation on the target where it is not the type's own, as SQL.
    pub collation: Option<String>,
    /// What the source computes for it: a quoted column name, a cast, an expression; nothing where a lookup fills it.
    pub source: String,
    /// How `verify` compares it.
    pub compared: Compared,
    /// Whether `source` is a bare column that COPY takes by its name, which it refuses for generated ones.
    pub is_plain: bool,
    /// Whether the target stores an equal value, as its equality goes: it does not round, cut or read it in another way.
    pub is_kept: bool,
    /// The source column that it is taken from, if it is one.
    pub from: Option<Ident>,
    /// The constant that it is filled with, if it is.
    pub constant: Option<String>,
    /// Whether staging fills it with the default that the target has for it.
    pub is_defaulted: bool,
    /// Whether `source` is SQL of the config, whose names the role's `search_path` resolves.
    pub is_users_sql: bool,
    /// What becomes of values that the source's cast refuses, if they need not fail the table.
    pub way_out: Option<WayOut>,
    /// Identity column on the target.
    pub identity: Option<Identity>,
}

/// The casts of a table that can lose something.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses {
    /// Whether a row that changes fails the table.
    pub is_error: bool,
    /// One for each column.
    pub casts: Vec<Loss>,
}

/// A cast that can lose something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The target's column.
    pub column: Ident,
    /// From what to what.
    pub cast: String,
    /// A predicate over the source's columns: the row changes. `None` where the source cannot tell.
    pub changes: Option<String>,
}

/// Limits that are judged before anything is applied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guards {
    /// Rejected rows, of those extracted.
    pub max_rejects: Limit,
    /// Rows that may vanish from the scope, of those that are there.
    pub max_shrink: Limit,
    /// What a source without rows means.
    pub on_empty: OnEmpty,
    /// The table may be written only if it is empty then.
    pub only_if_empty: bool,
}

/// Decides everything, or says in one error what stands against it.
///
/// `methods` are the apply methods that exist, in order of preference for `auto`.
///
/// # Errors
/// [`Kind::Schema`] where a table, column or type is not as the config expects, [`Kind::Refused`] where
/// something is not possible, [`Kind::Permission`] where a right is missing; each with the place in the config.
pub fn build(config: &Config, facts: &Facts<'_>, methods: &[&dyn method::Rules]) -> Result<Plan> {
    let mut tables = Vec::with_capacity(config.tables.len());
    let mut errors = facts.outdated.clone();
    for (entry, table) in config.tables.iter().enumerate() {
        if errors.contains_key(&entry) {
            continue;
        }
        match table::plan(entry, table, config, facts)? {
            table::Planned::Table(table) => tables.push(*table),
            table::Planned::Failed(error) => drop(errors.insert(entry, Arc::new(error))),
        }
    }
    let failed = failed::with_their_groups(config, facts.target, &errors);
    tables.retain(|table| failed.iter().all(|failed| failed.entry != table.entry));
    lookups::connect(&mut tables)?;
    references::find(&mut tables, &config.tables, facts)?;
    lookups::share(&mut tables);
    tables.iter_mut().for_each(files::forget_places);
    let groups = groups::find(&tables, config.run.commit == Commit::Run);
    lookups::defer(&mut tables, &groups);
    choice::choose(&mut tables, &groups, config, facts.target, methods)?;
    missing::settle(&mut tables, &config.tables);
    swaps::tell(&mut tables, &groups, facts.target);
    casts::tell(&mut tables);
    let places: Vec<_> = config.tables.iter().map(|table| table.triggers.at.clone()).collect();
    triggers::tell(&mut tables, &places, &facts.target.server.event_triggers)?;
    judging::decide(&mut tables, &groups, facts);
    let (streams, streams_reason) = streams(&config.run, facts, &tables)?;
    let mut warnings = Vec::new();
    if facts.source.server.is_standby {
        warnings
            .push("the source is a standby: a long run may be cancelled by recovery conflicts".to_owned());
    }
    warnings.extend(unshared_snapshot(facts, &tables));
    let mut plan = Plan {
        source_label: facts.source_label.clone(),
        target_label: facts.target_label.clone(),
        streams,
        streams_reason,
        builders_early: builders_early(
            facts.target.server.free_connections as usize,
            streams_wanted(&config.run, facts.cores),
            streams,
        ),
        tables,
        failed,
        groups,
        run: config.run.clone(),
        disk: Disk { database_bytes: facts.database_bytes, disk_bytes: config.disk },
        warnings,
    };
    plan.warnings.extend(plan.disk.warning(plan.disk_need()));
    Ok(plan)
}

/// What queries and views read from a cluster, whose tables are not known here. Tables tell for themselves.
fn unshared_snapshot(facts: &Facts<'_>, tables: &[TablePlan]) -> Option<String> {
    let citus = facts.source.server.table_extensions.iter().find(|name| name.starts_with("Citus "))?;
    let is_unseen = |table: &&TablePlan| {
        table.csv.is_none()
            && matches!(
                table.source_storage,
                None | Some(Storage::View | Storage::Managed(Managed::Unreadable(_)))
            )
    };
    let unseen: Vec<String> = tables.iter().filter(is_unseen).map(|table| table.name.plain()).collect();
    (!unseen.is_empty()).then(|| {
        format!(
            "the source has {citus}, which has no snapshot that covers several nodes: what the queries and views for {} read may not be of \
             one moment while others write",
            unseen.join(", ")
        )
    })
}

/// The most streams that `jobs = 0` opens.
const STREAMS_MAX: usize = 8;

/// Connections on each side besides the streams': snapshot, control and apply.
const OTHER_CONNECTIONS: usize = 3;

/// The streams that a run opens where connections are not scarce.
fn streams_wanted(run: &RunConfig, cores: usize) -> usize {
    if run.jobs > 0 { run.jobs } else { cores.min(STREAMS_MAX) }
}

fn streams(run: &RunConfig, facts: &Facts<'_>, tables: &[TablePlan]) -> Result<(usize, String)> {
    let (source, target) = (facts.source.server.free_connections, facts.target.server.free_connections);
    let fuller = if source < target { "source" } else { "target" };
    let free = source.min(target) as usize;
    if free <= OTHER_CONNECTIONS {
        return Err(Error::new(
            Phase::Plan,
            Kind::Connect,
            format!(
                "only {} on the {fuller}, at least {} are needed",
                figures::counted(free as u64, "free connection"),
                OTHER_CONNECTIONS + 1
            ),
        )
        .hint(format!("Close idle sessions or raise max_connections on the {fuller}.")));
    }
    let spare = free - OTHER_CONNECTIONS;
    let chunks: usize = tables.iter().map(|table| table.chunks.len()).sum();
    let wanted = streams_wanted(run, facts.cores).min(spare);
    let (wanted, reason) = if run.jobs > 0 {
        (wanted, format!("jobs = {}", run.jobs))
    } else {
        let third = (free / 3).max(1);
        let streams = wanted.min(third);
        (streams, format!("{} cores, {free} free connections", facts.cores))
    };
    let streams = wanted.min(chunks).max(1);
    let reason = if streams < wanted {
        format!("{reason}, {}", figures::counted(chunks as u64, "chunk"))
    } else {
        reason
    };
    Ok((streams, reason))
}

/// What the target has left when all other connections are open, those of a group's own builders among them.
fn builders_early(free: usize, streams_wanted: usize, streams: usize) -> usize {
    free.saturating_sub(OTHER_CONNECTIONS + streams_wanted + streams).min(streams)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_built_early_only_with_connections_that_nobody_needs() {
        for (free, wanted, streams, builders) in [
            (97, 8, 8, 8),
            (97, 8, 1, 1),
            (22, 8, 8, 3),
            (19, 8, 8, 0),
            (11, 8, 3, 0),
            (5, 2, 2, 0),
            (4, 1, 1, 0),
        ] {
            assert_eq!(builders_early(free, wanted, streams), builders, "{free} {wanted} {streams}");
        }
    }
}
