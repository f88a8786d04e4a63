//! The plan of a run, complete before the run changes anything.
//!
//! [`build`] turns a config and the facts of both catalogs into a [`Plan`]. It is pure: it uses no I/O, clock or
//! randomness, so every decision can be tested without a server and printed by `bulkload plan`. The stages obey the
//! plan and never read the config.

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
    ApplyMethod, Commit, Config, Limit, Missing, Mode, OnEmpty, OnOrphan, RunConfig, Strategy, Triggers,
};
use crate::error::{Error, Kind, Phase, Result};
use crate::figures;
use crate::pg::catalog::{Catalog, Identity, Managed, Oid, Relation, RelationKind, Sequence};
use crate::pg::format::Format;
use crate::pg::name::{Ident, TableName};
use crate::pg::render::Renderer;

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
pub use incremental::{LastState, Past, Transactions, WatermarkKind, WatermarkPlan};
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

/// The inputs of [`build`] besides the config.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The source's catalog; the target's if no table needs a source.
    pub source: &'a Catalog,
    /// The target's catalog.
    pub target: &'a Catalog,
    /// Cores of this machine.
    pub cores: usize,
    /// The source, without secrets: `host:port/database`.
    pub source_label: String,
    /// The target, likewise.
    pub target_label: String,
    /// Size of the target's database in bytes; `None` if the role may not ask.
    pub database_bytes: Option<u64>,
    /// Records of earlier runs.
    pub past: Past,
    /// Per entry of the config, the files its rows come from.
    pub files: Vec<Option<Arc<CsvFiles>>>,
    /// Entries whose query or `where` the source now refuses because a column they name is gone.
    pub outdated: BTreeMap<usize, Arc<Error>>,
}

impl<'a> Facts<'a> {
    /// Returns the facts for a table loaded from files: the source has the target's types, and there are no earlier
    /// runs.
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

    /// Returns whether an earlier run loaded an entry and recorded from which columns.
    #[must_use]
    pub fn was_loaded(&self, entry: usize) -> bool {
        self.past.last.get(entry).and_then(Option::as_ref).is_some_and(|last| last.filled.is_some())
    }
}

/// The decisions for a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// `host:port/database` of the source.
    pub source_label: String,
    /// `host:port/database` of the target.
    pub target_label: String,
    /// Number of concurrent COPY streams.
    pub streams: usize,
    /// The reason for that number.
    pub streams_reason: String,
    /// Maximum number of sessions that build indexes and vacuum while rows are loaded or counted; 0 if connections
    /// are scarce.
    pub builders_early: usize,
    /// The entries of the config, in its order, without those that fail.
    pub tables: Vec<TablePlan>,
    /// The entries that fail before anything is loaded, in the config's order; no table in `tables` depends on them.
    pub failed: Vec<FailedTable>,
    /// The groups, in an order in which they may be applied.
    pub groups: Vec<Group>,
    /// Settings for the stages.
    pub run: RunConfig,
    /// The target's disk.
    pub disk: Disk,
    /// Warnings about the run as a whole.
    pub warnings: Vec<String>,
}

/// The source label in plans and in the state for tables loaded from files.
pub const FILES: &str = "csv";

impl Plan {
    /// Returns the index of the group that a table is applied with.
    pub(crate) fn group_of(&self, table: usize) -> usize {
        self.groups.iter().position(|group| group.tables().any(|i| i == table)).unwrap_or(0)
    }

    /// Returns the source label of a failed table.
    #[must_use]
    pub fn source_of_failed(&self, table: &FailedTable) -> &str {
        if table.is_of_files { FILES } else { &self.source_label }
    }

    /// Returns the source label of a table in the state, whatever else the run loads.
    #[must_use]
    pub fn source_of(&self, table: &TablePlan) -> &str {
        if table.csv.is_some() { FILES } else { &self.source_label }
    }
}

/// A table that a run leaves unchanged because it fails before anything is loaded.
#[derive(Debug, Clone)]
pub struct FailedTable {
    /// Index of its entry in the config, from 0.
    pub entry: usize,
    /// The table on the target.
    pub name: TableName,
    /// The configured strategy.
    pub strategy: Strategy,
    /// The configured apply method for `replace`.
    pub apply: Option<ApplyMethod>,
    /// The target rows that the entry owns.
    pub scope: Option<String>,
    /// Whether its rows come from files.
    pub is_of_files: bool,
    /// The cause of the failure.
    pub error: Arc<Error>,
}

/// The decisions for one table.
#[derive(Debug, Clone)]
pub struct TablePlan {
    /// Index of its entry in the config, from 0.
    pub entry: usize,
    /// The table on the target.
    pub name: TableName,
    /// Its OID on the target.
    pub oid: Oid,
    /// Whether the target table is partitioned.
    pub is_partitioned: bool,
    /// The storage of the target table.
    pub storage: Storage,
    /// The strategy.
    pub strategy: Strategy,
    /// The apply method; never `Auto`.
    pub apply: ApplyMethod,
    /// The reason for this method.
    pub apply_reason: String,
    /// Whether its rows go through a staging table.
    pub uses_staging: bool,
    /// Wire format of both COPYs.
    pub format: Format,
    /// The reason for this format.
    pub format_reason: String,
    /// The loaded columns, in the order in which they are sent.
    pub columns: Vec<ColumnPlan>,
    /// The target columns that nothing fills.
    pub unfilled: Vec<Unfilled>,
    /// Their treatment; if unset, it depends on the method.
    pub missing: Option<Missing>,
    /// The filled columns and their origins, see [`crate::report::TableReport::filled`].
    pub filled: Option<String>,
    /// The columns that identify a row on the target.
    pub key: Option<Vec<Ident>>,
    /// Columns that exist only in staging: the source columns used to match lookups.
    pub match_columns: Vec<ColumnPlan>,
    /// The loaded columns filled from other tables.
    pub lookups: Vec<Lookup>,
    /// Whether other entries look up the rows of this one.
    pub is_looked_up: bool,
    /// The target rows that this entry owns, as SQL of the config over the target's columns; `None`: all rows.
    pub scope: Option<String>,
    /// The target's catalog entry of the table.
    pub live: Arc<Relation>,
    /// Casts on the source that can lose information, unless the config allows it.
    pub losses: Losses,
    /// Columns that are not loaded: those of the target, then those of the source.
    pub unmapped: (Vec<Ident>, Vec<Ident>),
    /// Target columns that `verify` ignores.
    pub verify_ignore: Vec<Ident>,
    /// Constants added to rows in transit; the source does not send them.
    pub added: Vec<Added>,
    /// Values of loaded columns that mean NULL; for files, their text in the file.
    pub null_values: Vec<(Ident, Vec<String>)>,
    /// The references of its rows.
    pub references: Vec<Reference>,
    /// Whether several source rows may have the same key, because nothing on the source prevents it.
    pub may_have_duplicates: bool,
    /// All source columns, in order, for the rejects file.
    pub source_columns: Vec<Ident>,
    /// Their types in the source's catalog, in the same order.
    pub source_types: Vec<Oid>,
    /// The origin of the rows, for people.
    pub from: String,
    /// Predicate evaluated by the source.
    pub filter: Option<String>,
    /// Whether all rows are read or only changed ones.
    pub mode: Mode,
    /// Predicate for the changed rows, evaluated by the source.
    pub since: Option<String>,
    /// The watermark to record for the next run.
    pub watermark: Option<WatermarkPlan>,
    /// Fingerprint of the settings that decide its rows, see [`crate::report::TableReport::fingerprint`].
    pub fingerprint: Option<String>,
    /// Relation to lock ACCESS SHARE on the source before the snapshot.
    pub source_relation: Option<TableName>,
    /// The kind of that relation.
    pub source_kind: Option<RelationKind>,
    /// The storage of that relation.
    pub source_storage: Option<Storage>,
    /// The files that the rows come from; `None` for a database.
    pub csv: Option<Arc<CsvFiles>>,
    /// The chunks, in the order of the source's heap.
    pub chunks: Vec<Chunk>,
    /// Bytes in the source's heap, TOAST included; for a view or a query, which have none, in the target table.
    pub bytes: u64,
    /// Estimated rows from the statistics of the same table; 0 if it was never analyzed.
    pub row_estimate: u64,
    /// Bytes of the live table on the target, without indexes.
    pub target_bytes: u64,
    /// Bytes of the live table's indexes.
    pub target_index_bytes: u64,
    /// Sequences of loaded columns, which are moved past the maximum.
    pub sequences: Vec<Sequence>,
    /// Limits on rejects and shrinkage.
    pub guards: Guards,
    /// Whether the target's triggers fire.
    pub triggers: Triggers,
    /// Warnings about this table.
    pub warnings: Vec<String>,
    /// Notes for readers of the plan.
    pub notes: Vec<String>,
}

impl TablePlan {
    /// Returns whether an INSERT needs OVERRIDING SYSTEM VALUE: an identity column that is GENERATED ALWAYS is
    /// loaded.
    #[must_use]
    pub fn overrides_identity(&self) -> bool {
        self.columns.iter().any(|column| column.identity == Some(Identity::Always))
    }

    /// Iterates over the columns the source sends, in order: the loaded columns except those filled by a lookup, a
    /// constant in transit or a default in staging, followed by the columns used to match lookups.
    pub fn extracted(&self) -> impl Iterator<Item = &ColumnPlan> {
        let is_sent = |column: &&ColumnPlan| {
            !self.is_filled(&column.name) && self.added(&column.name).is_none() && !column.is_defaulted
        };
        self.columns.iter().filter(is_sent).chain(&self.match_columns)
    }

    /// Returns the constant that is added to rows in transit for a column.
    #[must_use]
    pub fn added(&self, name: &Ident) -> Option<&Added> {
        self.added.iter().find(|added| added.column == *name)
    }

    /// Iterates over the columns of staging.
    pub fn staged(&self) -> impl Iterator<Item = &ColumnPlan> {
        self.columns.iter().chain(&self.match_columns)
    }

    /// Returns whether the order in which references are judged matters: one that sets its columns to NULL shares
    /// some of them with another. They are then judged in their order, all in one place.
    #[must_use]
    pub fn references_interact(&self) -> bool {
        self.references.iter().enumerate().any(|(number, nulling)| {
            let shares = |other: &Reference| other.columns.iter().any(|c| nulling.columns.contains(c));
            let others = self.references.iter().enumerate().filter(|(other, _)| *other != number);
            nulling.on_orphan == OnOrphan::Null
                && others.into_iter().any(|(_, other)| other.on_orphan != OnOrphan::Keep && shares(other))
        })
    }

    /// Returns whether duplicates must be found: several rows may have one key, and only one is loaded.
    #[must_use]
    pub fn has_doubtful_key(&self) -> bool {
        self.may_have_duplicates && self.key.is_some()
    }

    /// Returns whether a column is filled by a lookup.
    #[must_use]
    pub fn is_filled(&self, name: &Ident) -> bool {
        self.lookups.iter().any(|lookup| lookup.column == *name)
    }

    /// Returns whether rows are copied straight into the table that takes the live table's place. Lookups rewrite
    /// rows and need columns that this table lacks, so they require a staging table.
    #[must_use]
    pub fn fills_new_table(&self) -> bool {
        self.apply == ApplyMethod::Swap && self.lookups.is_empty() && self.match_columns.is_empty()
    }

    /// Returns whether its rows are in a heap of the source, so that their bytes bound their number.
    #[must_use]
    pub fn has_own_heap(&self) -> bool {
        self.source_storage.as_ref().is_some_and(Storage::is_heap)
    }

    /// Returns whether its rows come from files, so that rejects have a file and a line.
    #[must_use]
    pub fn has_places(&self) -> bool {
        self.csv.is_some()
    }

    /// Returns the plan for reading the table as text, without the casts that have a fallback; `None` if there are
    /// none.
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

    /// Returns the apply method if the strategy is `replace`.
    #[must_use]
    pub fn replaces_by(&self) -> Option<ApplyMethod> {
        (self.strategy == Strategy::Replace).then_some(self.apply)
    }

    /// Returns the loaded columns, quoted and comma-separated.
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
    /// How its values are displayed when sent in binary; `None` for types whose binary format is not portable.
    pub renderer: Option<Renderer>,
    /// Its collation on the target where it is not the type's own, as SQL.
    pub collation: Option<String>,
    /// The expression the source computes: a quoted column name, a cast or an expression; empty if a lookup fills it.
    pub source: String,
    /// How `verify` compares it.
    pub compared: Compared,
    /// Whether `source` is a bare column that COPY accepts by name; COPY refuses generated columns.
    pub is_plain: bool,
    /// Whether the target stores an equal value, as its equality goes: it does not round, cut or read it in another way.
    pub is_kept: bool,
    /// The source column it is taken from, if it is a single column.
    pub from: Option<Ident>,
    /// The constant it is filled with, if any.
    pub constant: Option<String>,
    /// Whether staging fills it with the target's default.
    pub is_defaulted: bool,
    /// Whether `source` is SQL of the config, whose names are resolved by the role's `search_path`.
    pub is_users_sql: bool,
    /// The fallback for values that the source's cast refuses; `None` if such a value fails the table.
    pub way_out: Option<WayOut>,
    /// Its identity kind on the target.
    pub identity: Option<Identity>,
}

/// The casts of a table that can lose information.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses {
    /// Whether a row whose value changes fails the table.
    pub is_error: bool,
    /// One per column.
    pub casts: Vec<Loss>,
}

/// A cast that can lose information.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The target's column.
    pub column: Ident,
    /// Source and target type.
    pub cast: String,
    /// A predicate over the source's columns: the row's value changes. `None` if the source cannot tell.
    pub changes: Option<String>,
}

/// Limits that are checked before anything is applied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guards {
    /// Maximum rejected rows, relative to those extracted.
    pub max_rejects: Limit,
    /// Maximum rows that may vanish from the scope, relative to those present.
    pub max_shrink: Limit,
    /// The treatment of a source without rows.
    pub on_empty: OnEmpty,
    /// Whether the table may be written only if it is empty at that time.
    pub only_if_empty: bool,
}

/// Decides everything, or returns one error with the objection.
///
/// `methods` are the apply methods that exist, in `auto`'s order of preference.
///
/// # Errors
/// [`Kind::Schema`] if a table, column or type differs from the config's expectation, [`Kind::Refused`] if something
/// is not possible, [`Kind::Permission`] if a privilege is missing; each with its location in the config.
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

/// Warns about queries and views on a cluster, whose tables are not known here. Tables have their own warning.
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
            "the source has {citus}, which has no snapshot across nodes: the queries and views for {} may read an inconsistent \
             state while others write",
            unseen.join(", ")
        )
    })
}

/// The most streams that `jobs = 0` opens.
const STREAMS_MAX: usize = 8;

/// Connections needed on each side in addition to the streams: snapshot, control and apply.
const OTHER_CONNECTIONS: usize = 3;

/// Returns the number of streams that a run opens if connections are not scarce.
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

/// Returns the connections that remain on the target when all others are open, including a group's own builders.
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
