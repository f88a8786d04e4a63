//! Tables that fail before anything is loaded, and the tables that fail with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::FailedTable;
use super::groups::{find_leader, unite};
use crate::config::{Commit, Config, From, Strategy, TableConfig};
use crate::error::{Error, Kind, Phase};
use crate::pg::catalog::Catalog;
use crate::pg::name::TableName;

/// Returns the tables with errors, and all tables that are applied in the same transaction or depend on them.
///
/// A failed table has no plan, so its group is derived from the config and the target's catalog: every foreign key
/// counts here, including those that the plan would leave to the server.
pub(super) fn with_their_groups(
    config: &Config,
    target: &Catalog,
    errors: &BTreeMap<usize, Arc<Error>>,
) -> Vec<FailedTable> {
    if errors.is_empty() {
        return Vec::new();
    }
    let mut leader = connected(config, target);
    let culprits: Vec<(usize, usize)> =
        errors.keys().map(|&entry| (find_leader(&mut leader, entry), entry)).collect();
    let mut failed = Vec::new();
    for (entry, table) in config.tables.iter().enumerate() {
        let root = find_leader(&mut leader, entry);
        let error = match (errors.get(&entry), culprits.iter().find(|(of, _)| *of == root)) {
            (Some(error), _) => error.clone(),
            (None, Some((_, culprit))) => {
                let name = config.tables[*culprit].name.value.plain();
                let message = format!("not applied, because {name} of the same transaction failed");
                Arc::new(Error::new(Phase::Plan, Kind::Dependency, message))
            }
            (None, None) => continue,
        };
        failed.push(FailedTable {
            entry,
            name: table.name.value.clone(),
            strategy: table.strategy,
            apply: (table.strategy == Strategy::Replace).then_some(table.apply.value),
            scope: table.scope.as_ref().map(|scope| scope.value.clone()),
            is_of_files: matches!(table.from, From::Csv(_)),
            error,
        });
    }
    failed
}

/// Returns the entries that are applied together, each mapped to the leader of its set.
fn connected(config: &Config, target: &Catalog) -> Vec<usize> {
    let mut leader: Vec<usize> = (0..config.tables.len()).collect();
    // A row of a partition is also a row of the partitioned table.
    let writes = |table: &TableConfig, name: &TableName| {
        let relation = target.relations.get(&table.name.value);
        relation.map_or(table.name.value == *name, |relation| relation.overlaps(name))
    };
    for (entry, table) in config.tables.iter().enumerate() {
        for name in related(table, target) {
            for (other, _) in config.tables.iter().enumerate().filter(|(_, other)| writes(other, name)) {
                unite(&mut leader, entry, other);
            }
        }
    }
    if config.run.commit == Commit::Run {
        (1..config.tables.len()).for_each(|entry| unite(&mut leader, 0, entry));
    }
    leader
}

/// Returns the table of an entry, the tables it references, and those it looks up.
fn related<'a>(table: &'a TableConfig, target: &'a Catalog) -> impl Iterator<Item = &'a TableName> {
    let keys = target.relations.get(&table.name.value).map_or(&[][..], |relation| &relation.foreign_keys);
    let declared = table.references.iter().map(|reference| &reference.to.value.0);
    let looked_up = table.lookups.iter().map(|lookup| &lookup.from.value);
    keys.iter().map(|key| &key.to).chain(declared).chain(looked_up).chain([&table.name.value])
}
