//! Plans one entry of the config against both catalogs.

use std::sync::Arc;

use super::missing::Filled;
use super::{
    ColumnPlan, CsvFiles, Facts, Guards, Losses, Storage, TablePlan, chunks, columns, files, format,
    incremental, lookups, missing, ownership,
};
use crate::config::{ApplyMethod, Config, From, Limit, Lossy, Mode, OnEmpty, Said, Strategy, TableConfig};
use crate::error::{Error, Kind, Location, Phase, Result};
use crate::pg::catalog::{Catalog, Column, Managed, Relation, RelationKind, UniqueIndex};
use crate::pg::format::Format;
use crate::pg::name::{Ident, TableName, list, plain};

/// Returns the name of the source relation that an entry reads, if any.
#[must_use]
pub fn source_name(table: &TableConfig) -> Option<&TableName> {
    match &table.from {
        From::Relation(name) => Some(&name.value),
        From::Query(_) | From::Csv(_) => None,
    }
}

/// The outcome of planning one entry.
pub(super) enum Planned {
    /// The table can be loaded.
    Table(Box<TablePlan>),
    /// The table fails; the others go on.
    Failed(Error),
}

/// Plans one entry; the apply method is chosen later, when the groups are known.
pub(super) fn plan(entry: usize, table: &TableConfig, config: &Config, facts: &Facts<'_>) -> Result<Planned> {
    let target = target_relation(table, facts.target)?;
    let last = facts.past.last.get(entry).and_then(Option::as_ref);
    // Files named on the command line may differ every time.
    let last = last.filter(|_| said(table) == Said::Config);
    let recorded = last.and_then(|last| Filled::recorded(last.filled.as_deref()?));
    let csv = facts.files.get(entry).and_then(Option::clone);
    let of_files = csv.as_ref().map(|_| facts.of_files());
    let facts = of_files.as_ref().unwrap_or(facts);
    let columns_of_files = match &csv {
        Some(csv) => files::columns(csv, table, target, facts.target)?,
        None => Vec::new(),
    };
    let (source, source_columns) = match &csv {
        Some(_) => (None, columns_of_files.as_slice()),
        None => source(table, facts.source)?,
    };
    if let Some(error) = recorded.as_ref().and_then(|filled| filled.refusal(table, source_columns, target)) {
        return Ok(Planned::Failed(error));
    }
    let sides = Sides { target, source, source_columns, csv };
    match plan_columns(entry, table, config, facts, &sides) {
        // The config may name columns that the source has lost.
        Err(error) if recorded.is_some_and(|filled| filled.explains(&error, source_columns)) => {
            Ok(Planned::Failed(error))
        }
        planned => planned,
    }
}

/// Both sides of an entry.
struct Sides<'a> {
    target: &'a Relation,
    source: Option<&'a Relation>,
    source_columns: &'a [Column],
    csv: Option<Arc<CsvFiles>>,
}

fn plan_columns(
    entry: usize,
    table: &TableConfig,
    config: &Config,
    facts: &Facts<'_>,
    sides: &Sides<'_>,
) -> Result<Planned> {
    let Sides { target, source, source_columns, ref csv } = *sides;
    let csv = csv.clone();
    let matched = columns::matching(table, source_columns, target, facts);
    let matched = matched.map_err(|error| match &csv {
        Some(csv) => csv.doubted(error),
        None => error,
    })?;
    let unfilled = missing::unfilled(target, &matched.columns);
    if let Some(error) = missing::refuse(table, &unfilled) {
        return Ok(Planned::Failed(error));
    }
    let found = lookups::of_table(table, source_columns, target, &matched.columns, facts)?;
    let text_only = [matched.text_only, found.text_only].concat();
    let (wire, format_reason) = match &csv {
        Some(_) => (Format::Text, "files contain text".to_owned()),
        None => format::choose(table.format, &text_only, &table.name.at)?,
    };
    let storage = Storage::of(target);
    let source_storage = source.map(Storage::of);
    let (bytes, row_estimate) = match &csv {
        Some(csv) => (csv.bytes(), csv.records()),
        None => size(source.zip(source_storage.as_ref()), target),
    };
    let reading = incremental::decide(entry, table, &matched.columns, (source, source_columns), facts)?;
    let streams = super::streams_wanted(&config.run, facts.cores);
    let mut chunks = match (&table.from, source) {
        (_, Some(relation)) if !Storage::of(relation).is_heap() => chunks::whole(relation, bytes),
        (_, Some(relation)) => {
            chunks::of_relation(relation, facts.source.server.version, config.run.chunk, streams)
        }
        (From::Query(query), None) => {
            vec![chunks::Chunk { number: 0, extent: chunks::Extent::Query(query.value.clone()), bytes }]
        }
        _ => match &csv {
            Some(csv) => files::chunks(csv, config.run.chunk, streams),
            None => Vec::new(),
        },
    };
    if reading.is_indexed {
        chunks::one_of_all(&mut chunks, source.map(|relation| &relation.name));
    }
    let loaded = |name: &Ident| matched.columns.iter().any(|column| column.name == *name);
    let key = key(table, target, loaded)?;
    refuse_unusable_key(table, target, key.as_deref())?;
    let sequences = target.sequences.iter().filter(|s| loaded(&s.column)).cloned().collect();
    let mut warnings = [matched.warnings, found.warnings].concat();
    warnings.extend(reading.warnings);
    warnings.extend(csv.iter().flat_map(|csv| csv.warnings(target)));
    if key.is_none() {
        warnings.extend(unique_without_key(target, loaded, said(table)));
    }
    let mut notes = matched.notes;
    notes.extend(reading.notes);
    warnings.extend(source_storage.iter().filter_map(Storage::snapshot_caveat));
    warnings.extend(storage.transaction_caveat());
    if !target.is_permanent {
        warnings.push("the table is UNLOGGED: a crash of the target's server empties it".to_owned());
    }
    let unmapped = unmapped(table, target, source_columns, &matched.columns);
    let filled = Filled::of(&matched.columns, &found.matched, target);
    Ok(Planned::Table(Box::new(TablePlan {
        unmapped,
        entry,
        name: target.name.clone(),
        oid: target.oid,
        is_partitioned: target.kind == RelationKind::Partitioned,
        storage,
        strategy: table.strategy,
        apply: match table.strategy {
            Strategy::Replace => table.apply.value,
            Strategy::Upsert => ApplyMethod::Upsert,
            Strategy::Insert => ApplyMethod::Insert,
        },
        apply_reason: String::new(),
        uses_staging: true,
        format: wire,
        format_reason,
        may_have_duplicates: key.as_ref().is_some_and(|key| !is_unique(key, &matched.columns, source, table)),
        columns: matched.columns,
        unfilled,
        missing: table.missing,
        filled: filled.text().filter(|_| said(table) == Said::Config),
        key,
        match_columns: found
            .matched
            .into_iter()
            .chain(csv.as_ref().map(|_| files::place_column(target)))
            .collect(),
        lookups: found.lookups,
        is_looked_up: false,
        scope: table.scope.as_ref().map(|scope| scope.value.clone()),
        live: Arc::new(target.clone()),
        losses: Losses { is_error: table.columns.lossy == Lossy::Error, casts: matched.losses },
        verify_ignore: verify_ignore(table, target)?,
        added: Vec::new(),
        null_values: Vec::new(),
        references: Vec::new(),
        source_columns: source_columns.iter().map(|column| column.name.clone()).collect(),
        source_types: source_columns.iter().map(|column| column.type_oid).collect(),
        from: match &table.from {
            From::Relation(name) => name.value.plain(),
            From::Query(_) => "a query".to_owned(),
            From::Csv(_) => csv.as_ref().map(|csv| csv.shown()).unwrap_or_default(),
        },
        filter: table.filter.as_ref().map(|filter| filter.value.clone()),
        source_relation: source.map(|relation| relation.name.clone()),
        source_kind: source.map(|relation| relation.kind),
        source_storage,
        csv,
        bytes,
        row_estimate,
        chunks,
        target_bytes: target.bytes(),
        target_index_bytes: target.index_bytes,
        sequences,
        guards: guards(table, reading.mode),
        triggers: table.triggers.value,
        mode: reading.mode,
        since: reading.since,
        watermark: reading.watermark,
        fingerprint: reading.fingerprint,
        warnings,
        notes,
    })))
}

/// Returns the target columns that nothing fills, and the source columns that fill nothing and match no lookup.
fn unmapped(
    table: &TableConfig,
    target: &Relation,
    source: &[Column],
    loaded: &[ColumnPlan],
) -> (Vec<Ident>, Vec<Ident>) {
    let is_loaded = |name: &Ident| loaded.iter().any(|column| column.name == *name);
    let is_read = |name: &Ident| {
        loaded.iter().any(|column| column.from.as_ref() == Some(name))
            || table.lookups.iter().any(|lookup| lookup.on.iter().any(|(ours, _)| ours.value == *name))
    };
    let of_target = target.columns.iter().map(|column| &column.name).filter(|name| !is_loaded(name));
    let of_source = source.iter().map(|column| &column.name).filter(|name| !is_read(name));
    (of_target.cloned().collect(), of_source.cloned().collect())
}

fn verify_ignore(table: &TableConfig, target: &Relation) -> Result<Vec<Ident>> {
    let missing = table.verify_ignore.iter().find(|name| target.column(&name.value).is_none());
    if let Some(missing) = missing {
        let message = format!(
            "{}: verify_ignore: the target has no column {}",
            table.name.value.plain(),
            plain(&missing.value)
        );
        return Err(Error::new(Phase::Plan, Kind::Schema, message)
            .at(missing.at.clone())
            .hint(format!("It has {}.", list(target.columns.iter().map(|column| &column.name)))));
    }
    Ok(table.verify_ignore.iter().map(|name| name.value.clone()).collect())
}

/// Returns the guards. An incremental run may legitimately find no rows, and a strategy that deletes nothing needs no
/// check for shrinkage.
fn guards(table: &TableConfig, mode: Mode) -> Guards {
    let max_shrink = match table.strategy {
        Strategy::Replace => table.max_shrink,
        Strategy::Upsert | Strategy::Insert => Limit::Percent(100.0),
    };
    let on_empty = match mode {
        Mode::Full => table.on_empty,
        Mode::Incremental => OnEmpty::Apply,
    };
    let only_if_empty = table.only_if_empty;
    Guards { max_rejects: table.max_rejects, max_shrink, on_empty, only_if_empty }
}

/// Returns the expected bytes and rows. They are unknown in advance for a query, a view, or a table that is not a
/// heap; the estimate is then the contents of the target table after the last run.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate, never negative")]
fn size(source: Option<(&Relation, &Storage)>, target: &Relation) -> (u64, u64) {
    let measured = source.filter(|(_, storage)| storage.is_heap()).map_or(target, |(relation, _)| relation);
    (measured.bytes(), measured.row_estimate as u64)
}

fn target_relation<'a>(table: &TableConfig, target: &'a Catalog) -> Result<&'a Relation> {
    let name = &table.name;
    let relation =
        target.relations.get(&name.value).ok_or_else(|| absent(&name.value, "target", &name.at))?;
    let refuse = |kind, message: String, hint: String| {
        Err(Error::new(Phase::Plan, kind, message).at(name.at.clone()).hint(hint))
    };
    if !matches!(relation.kind, RelationKind::Table | RelationKind::Partitioned) {
        let message =
            format!("{} on the target is a {}, not a table", name.value.plain(), relation.kind.word());
        return refuse(Kind::Schema, message, "Name the table that the rows are loaded into.".to_owned());
    }
    if relation.rights.rows_hidden {
        return Err(hidden(&name.value, "target", &name.at));
    }
    match Storage::of(relation) {
        // Its chunks inherit from it, and TimescaleDB itself writes to them.
        Storage::Managed(Managed::Hypertable { .. }) => {}
        Storage::Managed(Managed::Chunk) => {
            let message =
                format!("{} on the target is a chunk of a TimescaleDB hypertable", name.value.plain());
            return refuse(Kind::Refused, message, "Name the hypertable.".to_owned());
        }
        _ if relation.kind == RelationKind::Table && relation.has_children => {
            return refuse(Kind::Refused, has_inheritors(relation), HINT_INHERITORS.to_owned());
        }
        _ => {}
    }
    let rights = &relation.rights;
    let missing: Vec<&str> = [
        (rights.select, "SELECT"),
        (rights.insert, "INSERT"),
        (rights.delete || rights.truncate || table.strategy != Strategy::Replace, "DELETE"),
    ]
    .into_iter()
    .filter_map(|(has, right)| (!has).then_some(right))
    .collect();
    if !missing.is_empty() {
        let (table, role) = (name.value.plain(), plain(&Ident::new(&target.server.role)));
        let rights = missing.join(", ").to_lowercase();
        return refuse(
            Kind::Permission,
            format!("the role {role} has no {} on {table} of the target", missing.join(" and no ")),
            format!("On the target: grant {rights} on {table} to {role}; or connect as its owner."),
        );
    }
    Ok(relation)
}

fn source<'a>(table: &TableConfig, source: &'a Catalog) -> Result<(Option<&'a Relation>, &'a [Column])> {
    match &table.from {
        From::Relation(name) => {
            let relation =
                source.relations.get(&name.value).ok_or_else(|| absent(&name.value, "source", &name.at))?;
            if !relation.rights.select {
                let role = plain(&Ident::new(&source.server.role));
                return Err(Error::new(
                    Phase::Plan,
                    Kind::Permission,
                    format!("the role {role} has no SELECT on {} of the source", name.value.plain()),
                )
                .at(name.at.clone())
                .hint(format!("On the source: grant select on {} to {role};", name.value.plain())));
            }
            if relation.rights.rows_hidden {
                return Err(hidden(&name.value, "source", &name.at));
            }
            Ok((Some(relation), &relation.columns))
        }
        From::Query(query) => Ok((None, source.queries.get(&query.value).map_or(&[], Vec::as_slice))),
        From::Csv(_) => Ok((None, &[])),
    }
}

/// Refuses a table with inheriting tables: a statement on the table affects them too, and their rows belong to
/// others.
fn has_inheritors(relation: &Relation) -> String {
    let others = relation.leaves.iter().map(|leaf| &leaf.name).filter(|name| **name != relation.name);
    let others: Vec<String> = others.map(TableName::plain).collect();
    format!("{} on the target has tables that inherit from it: {}", relation.name.plain(), others.join(", "))
}

const HINT_INHERITORS: &str = "Its rows and theirs would be deleted together. Partitions can be loaded through their parent, but inheriting tables only \
     one by one.";

fn absent(name: &TableName, side: &str, at: &Location) -> Error {
    Error::new(Phase::Plan, Kind::Schema, format!("the {side} has no table {}", name.plain()))
        .at(at.clone())
        .hint("Write names as in SQL: they are folded to lower case unless double-quoted, and the schema defaults to public.")
}

fn hidden(name: &TableName, side: &str, at: &Location) -> Error {
    Error::new(
        Phase::Plan,
        Kind::Permission,
        format!("row-level security on {} of the {side} would hide rows from this role", name.plain()),
    )
    .at(at.clone())
    .hint("Connect as a role with BYPASSRLS, or as the table's owner, to whom ALTER TABLE … FORCE ROW LEVEL SECURITY must not apply.")
}

/// Returns the key: as configured, else the primary key if all its columns are loaded, else a unique index on NOT
/// NULL columns.
fn key(
    table: &TableConfig,
    target: &Relation,
    loaded: impl Fn(&Ident) -> bool,
) -> Result<Option<Vec<Ident>>> {
    if let Some(key) = &table.key {
        if let Some(missing) = key.value.iter().find(|name| !loaded(name)) {
            return Err(Error::new(
                Phase::Plan,
                Kind::Schema,
                format!("{}: key column {} is not loaded", table.name.value.plain(), plain(missing)),
            )
            .at(key.at.clone())
            .hint(format!("The loaded columns are those that both sides have: {}.", {
                list(target.columns.iter().map(|c| &c.name).filter(|name| loaded(name)))
            })));
        }
        return Ok(Some(key.value.clone()));
    }
    Ok(target
        .unique_indexes
        .iter()
        .find(|index| {
            index.is_plain() && (index.is_primary || index.all_not_null) && index.columns.iter().all(&loaded)
        })
        .map(|index| index.columns.clone()))
}

/// Warns about a unique index that cannot serve as the key because its columns may be NULL: it refuses duplicates all
/// the same.
fn unique_without_key(target: &Relation, loaded: impl Fn(&Ident) -> bool, said: Said) -> Option<String> {
    let is_nullable = |index: &&UniqueIndex| index.is_plain() && index.columns.iter().all(&loaded);
    let index = target.unique_indexes.iter().find(is_nullable)?;
    // A name that SQL writes in double quotes goes into a literal string of TOML.
    let quoted = |name: String| if name.contains('"') { format!("'{name}'") } else { format!("\"{name}\"") };
    let names = index.columns.iter().map(plain);
    let key = match said {
        Said::Config => format!("key = [{}]", names.map(quoted).collect::<Vec<_>>().join(", ")),
        Said::Flags => format!("--key {}", names.collect::<Vec<_>>().join(",")),
    };
    Some(format!(
        "there is no key because the columns of the unique index {} may be NULL: duplicates in them fail the table \
         unless you set {key}",
        plain(&index.name),
    ))
}

/// Returns where an entry is described.
pub(super) fn said(table: &TableConfig) -> Said {
    match &table.from {
        From::Csv(files) => files.dialect.said,
        From::Relation(_) | From::Query(_) => Said::Config,
    }
}

/// Checks that `upsert` and `insert` have a unique index on the key, by which they find out whether a row exists.
fn refuse_unusable_key(table: &TableConfig, target: &Relation, key: Option<&[Ident]>) -> Result<()> {
    if table.strategy == Strategy::Replace {
        return Ok(());
    }
    let Some((why, hint)) = ownership::unusable_key(target, key) else { return Ok(()) };
    let at = table.key.as_ref().map_or(&table.name.at, |key| &key.at);
    let message = format!(
        "{}: strategy = \"{}\" is not possible: {why}",
        table.name.value.plain(),
        table.strategy.name()
    );
    Err(Error::new(Phase::Plan, Kind::Refused, message).at(at.clone()).hint(hint))
}

/// Returns whether the source itself prevents two rows with one key: it has a unique index over columns that are sent
/// unchanged. This does not hold for a key that compares differently on the target (another type or collation, or fewer digits).
fn is_unique(key: &[Ident], columns: &[ColumnPlan], source: Option<&Relation>, table: &TableConfig) -> bool {
    let Some(source) = source.filter(|relation| Storage::of(relation).has_whole_indexes(relation)) else {
        return false;
    };
    let plain: Vec<&Ident> = columns
        .iter()
        .filter(|column| {
            column.is_plain && column.is_kept && column.collation.is_none() && key.contains(&column.name)
        })
        .filter_map(|column| column.from.as_ref())
        .collect();
    let tuned = |name: &Ident| {
        table.references.iter().any(|r| !r.null_values.is_empty() && r.columns.value.contains(name))
    };
    source.unique_indexes.iter().any(|index| {
        index.is_plain()
            && index.columns.iter().all(|name| {
                plain.contains(&name)
                    && !tuned(name)
                    && source.column(name).is_some_and(|column| column.collation.is_none())
            })
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::pg::catalog::{Attachments, Rights};

    /// Returns a table of `public` with columns of OID 23, for tests of the planner.
    pub(in crate::plan) fn relation(name: &str, columns: &[&str]) -> Relation {
        let column = |name: &&str| Column::bare(Ident::new(*name), 23, "integer".to_owned());
        Relation {
            oid: 1,
            name: TableName::new("public", name),
            kind: RelationKind::Table,
            is_permanent: true,
            is_partition: false,
            has_children: false,
            managed: None,
            is_empty: false,
            triggers: Vec::new(),
            rights: Rights {
                owner: true,
                select: true,
                insert: true,
                update: true,
                delete: true,
                truncate: true,
                temporary: true,
                rows_hidden: false,
            },
            columns: columns.iter().map(column).collect(),
            leaves: Vec::new(),
            index_bytes: 0,
            row_estimate: 0.0,
            partitions: Vec::new(),
            partition_of: Vec::new(),
            unique_indexes: Vec::new(),
            exclusions: Vec::new(),
            partition_indexes: Vec::new(),
            foreign_keys: Vec::new(),
            referenced_by: Vec::new(),
            sequences: Vec::new(),
            checks: Vec::new(),
            attachments: Attachments::default(),
        }
    }
}
