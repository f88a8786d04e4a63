//! The storage of a table: where its rows are, and which shortcuts are valid for it.
//!
//! PostgreSQL's catalog shows a table of Citus or TimescaleDB as an ordinary table with an empty heap, and columnar
//! or foreign rows have no reliable `ctid` or `xmin`. `ONLY`, `ctid` ranges, `tableoid`, `xmin`, sizes in pages and
//! replacing a table with another work as documented only where [`Storage::is_heap`]. Every decision that takes such
//! a shortcut checks it; all other tables are read and written by name, without shortcuts.

use std::fmt;

use crate::pg::catalog::{Managed, Relation, RelationKind};
use crate::pg::name::TableName;

/// The access method of ordinary tables (manual, chapter "Table Access Method Interface Definition").
const HEAP: &str = "heap";

/// The access method of Citus and its descendants.
const COLUMNAR: &str = "columnar";

/// TRUNCATE accepts foreign tables since 14 (release notes of 14).
const TRUNCATES_FOREIGN_SINCE: u32 = 140_000;

/// Where the rows of a relation are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// In a heap of this server, and in those of its inheriting tables.
    Heap,
    /// In partitions, each a heap of this server.
    Partitioned,
    /// Nowhere: it is a view.
    View,
    /// On another server.
    Foreign,
    /// Partly in this partition or inheriting table, which is a foreign table.
    ForeignPart(TableName),
    /// Partly or entirely in this access method.
    AccessMethod(String),
    /// In a layout managed by an extension.
    Managed(Managed),
}

impl Storage {
    /// Determines the storage of a relation from the catalog alone.
    #[must_use]
    pub fn of(relation: &Relation) -> Self {
        let managed = relation.leaves.iter().map(|leaf| &leaf.managed);
        if let Some(managed) = std::iter::once(&relation.managed).chain(managed).flatten().next() {
            return Self::Managed(managed.clone());
        }
        match relation.kind {
            RelationKind::View => return Self::View,
            RelationKind::Foreign => return Self::Foreign,
            RelationKind::Table | RelationKind::Partitioned | RelationKind::MaterializedView => {}
        }
        if let Some(foreign) = relation.leaves.iter().find(|leaf| leaf.kind == RelationKind::Foreign) {
            return Self::ForeignPart(foreign.name.clone());
        }
        let methods = relation.leaves.iter().filter_map(|leaf| leaf.access_method.as_deref());
        if let Some(other) = methods.into_iter().find(|method| *method != HEAP) {
            return Self::AccessMethod(other.to_owned());
        }
        if relation.kind == RelationKind::Partitioned { Self::Partitioned } else { Self::Heap }
    }

    /// Returns whether all rows are in heaps of this server. Only then does each row have its own `ctid`, `tableoid`
    /// and `xmin`, can a leaf be read by itself, and are the catalog's sizes those of the rows.
    #[must_use]
    pub fn is_heap(&self) -> bool {
        matches!(self, Self::Heap | Self::Partitioned)
    }

    /// Returns whether Citus manages it.
    #[must_use]
    pub fn is_citus(&self) -> bool {
        matches!(
            self,
            Self::Managed(Managed::CitusDistributed)
                | Self::Managed(Managed::CitusReference)
                | Self::Managed(Managed::CitusLocal)
        )
    }

    /// Returns whether a unique index holds for all rows, and not only for those of one inheriting table.
    #[must_use]
    pub fn has_whole_indexes(&self, relation: &Relation) -> bool {
        matches!(self, Self::Managed(Managed::Hypertable { .. }))
            || relation.kind != RelationKind::Table
            || !relation.has_children
    }

    /// Returns why its rows cannot be written by `ctid`, as a clause; `None` if they can.
    #[must_use]
    pub fn place_refusal(&self) -> Option<String> {
        (!self.is_heap()).then(|| format!("it is {self}, whose rows have no stable ctid"))
    }

    /// Returns why another table cannot take its place, as a clause; `None` if one can.
    #[must_use]
    pub fn swap_refusal(&self) -> Option<String> {
        match self {
            Self::Heap => None,
            Self::Partitioned => Some("it is partitioned".to_owned()),
            other => Some(format!("it is {other}, and a plain table would take its place")),
        }
    }

    /// Returns why a server of the given version cannot truncate it, as a clause; `None` if it can.
    pub(crate) fn truncate_refusal(&self, version: u32) -> Option<String> {
        let is_refused = matches!(self, Self::ForeignPart(_)) && version < TRUNCATES_FOREIGN_SINCE;
        is_refused.then(|| format!("it is {self}, which a server before version 14 cannot truncate"))
    }

    /// Returns why its rows cannot be deleted in one transaction with writes to tables of the kinds `others`, as a
    /// clause; `None` if they can.
    pub(crate) fn delete_refusal<'a>(&self, others: impl IntoIterator<Item = &'a Self>) -> Option<String> {
        match self {
            Self::AccessMethod(method) if method == COLUMNAR => {
                Some(format!("it is {self}, which cannot delete rows"))
            }
            _ if self.is_citus() && others.into_iter().any(Self::is_citus) => Some(format!(
                "it is {self}, and Citus runs DELETE in parallel on separate connections, so the same transaction cannot \
                 write another Citus table"
            )),
            _ => None,
        }
    }

    /// Returns why a transaction number does not tell when its rows were written, as a clause; `None` if it does.
    pub(crate) fn xmin_refusal(&self) -> Option<String> {
        match self {
            Self::Heap | Self::Partitioned => None,
            Self::Managed(Managed::CitusDistributed)
            | Self::Managed(Managed::CitusReference)
            | Self::Managed(Managed::CitusLocal) => Some(format!(
                "it is {self}, whose rows have the transaction numbers of the nodes that store them"
            )),
            Self::ForeignPart(part) => {
                Some(format!("the rows of {}, a foreign table, have no xmin", part.plain()))
            }
            other => Some(format!("it is {other}")),
        }
    }

    /// Returns which rows one snapshot of a source server does not cover, as a sentence for the operator.
    pub(crate) fn snapshot_caveat(&self) -> Option<String> {
        match self {
            Self::Managed(Managed::CitusDistributed) | Self::Managed(Managed::CitusReference) => {
                Some(format!(
                    "the source table is {self}: Citus has no snapshot across nodes, so only some of the rows written during the run \
                 may arrive; stop writers during the run, or read a standby or copy that does not change"
                ))
            }
            Self::ForeignPart(part) => Some(format!(
                "the rows of {}, a foreign table, are read in a snapshot of its own server, not in that of the run",
                part.plain()
            )),
            _ => None,
        }
    }

    /// Returns which rows a transaction on a target server does not cover, as a sentence for the operator.
    pub(crate) fn transaction_caveat(&self) -> Option<String> {
        match self {
            Self::ForeignPart(part) => Some(format!(
                "the rows of {}, a foreign table, are committed by its own server: if this server fails at that moment, their \
                 changes persist and all others are lost",
                part.plain()
            )),
            _ => None,
        }
    }

    /// Returns its name in the plan's JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::Partitioned => "partitioned",
            Self::View => "view",
            Self::Foreign => "foreign",
            Self::ForeignPart(_) => "foreign_part",
            Self::AccessMethod(_) => "access_method",
            Self::Managed(Managed::CitusDistributed) => "citus_distributed",
            Self::Managed(Managed::CitusReference) => "citus_reference",
            Self::Managed(Managed::CitusLocal) => "citus_local",
            Self::Managed(Managed::Hypertable { .. }) => "hypertable",
            Self::Managed(Managed::Chunk) => "hypertable_chunk",
            Self::Managed(Managed::Unreadable(_)) => "unknown",
        }
    }
}

impl fmt::Display for Storage {
    /// Writes it with its article: "a Citus distributed table".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Heap => f.write_str("a table"),
            Self::Partitioned => f.write_str("a partitioned table"),
            Self::View => f.write_str("a view"),
            Self::Foreign => f.write_str("a foreign table"),
            Self::ForeignPart(part) => write!(f, "a table with the foreign table {} as a part", part.plain()),
            Self::AccessMethod(method) => write!(f, "a table with the access method {method}"),
            Self::Managed(Managed::CitusDistributed) => f.write_str("a Citus distributed table"),
            Self::Managed(Managed::CitusReference) => f.write_str("a Citus reference table"),
            Self::Managed(Managed::CitusLocal) => f.write_str("a Citus local table"),
            Self::Managed(Managed::Hypertable { is_compressed: false }) => {
                f.write_str("a TimescaleDB hypertable")
            }
            Self::Managed(Managed::Hypertable { is_compressed: true }) => {
                f.write_str("a TimescaleDB hypertable with compression")
            }
            Self::Managed(Managed::Chunk) => f.write_str("a chunk of a TimescaleDB hypertable"),
            Self::Managed(Managed::Unreadable(extension)) => {
                write!(f, "of unknown storage, because the role may not read the catalog of {extension}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::catalog::Leaf;
    use crate::plan::table::tests::relation;

    fn leaf(kind: RelationKind, method: Option<&str>) -> Leaf {
        let access_method = method.map(str::to_owned);
        let name = TableName::new("public", "leaf");
        Leaf { oid: 2, name, kind, access_method, managed: None, pages: 0, bytes: 0, may_select: true }
    }

    fn of(kind: RelationKind, leaves: Vec<Leaf>) -> Storage {
        Storage::of(&Relation { kind, leaves, ..relation("t", &[]) })
    }

    #[test]
    fn a_table_is_what_its_worst_leaf_is() {
        let heap = || leaf(RelationKind::Table, Some("heap"));
        let foreign = leaf(RelationKind::Foreign, None);
        let columnar = leaf(RelationKind::Table, Some("columnar"));
        assert_eq!(of(RelationKind::Table, vec![heap()]), Storage::Heap);
        assert_eq!(of(RelationKind::Partitioned, vec![]), Storage::Partitioned);
        assert_eq!(of(RelationKind::Partitioned, vec![heap(), heap()]), Storage::Partitioned);
        assert_eq!(of(RelationKind::MaterializedView, vec![heap()]), Storage::Heap);
        assert_eq!(of(RelationKind::View, vec![]), Storage::View);
        assert_eq!(of(RelationKind::Foreign, vec![foreign.clone()]), Storage::Foreign);
        let part = Storage::ForeignPart(TableName::new("public", "leaf"));
        assert_eq!(of(RelationKind::Partitioned, vec![heap(), foreign]), part);
        let method = Storage::AccessMethod("columnar".to_owned());
        assert_eq!(of(RelationKind::Table, vec![columnar.clone()]), method);
        assert_eq!(of(RelationKind::Partitioned, vec![heap(), columnar]), method);
    }

    #[test]
    fn what_an_extension_makes_of_a_table_or_a_leaf_wins() {
        for managed in [
            Managed::CitusDistributed,
            Managed::CitusReference,
            Managed::CitusLocal,
            Managed::Hypertable { is_compressed: true },
            Managed::Chunk,
            Managed::Unreadable("TimescaleDB"),
        ] {
            let storage = Storage::Managed(managed.clone());
            let leaves = vec![leaf(RelationKind::Table, Some("heap"))];
            let managed_one = Relation { managed: Some(managed.clone()), leaves, ..relation("t", &[]) };
            assert_eq!(Storage::of(&managed_one), storage);
            let child = Leaf { managed: Some(managed), ..leaf(RelationKind::Table, Some("heap")) };
            assert_eq!(
                of(RelationKind::Table, vec![leaf(RelationKind::Table, Some("heap")), child]),
                storage
            );
        }
    }

    /// Every kind except the two heaps.
    fn others() -> Vec<Storage> {
        vec![
            Storage::View,
            Storage::Foreign,
            Storage::ForeignPart(TableName::new("public", "leaf")),
            Storage::AccessMethod("orioledb".to_owned()),
            Storage::Managed(Managed::CitusDistributed),
            Storage::Managed(Managed::CitusReference),
            Storage::Managed(Managed::CitusLocal),
            Storage::Managed(Managed::Hypertable { is_compressed: false }),
            Storage::Managed(Managed::Chunk),
            Storage::Managed(Managed::Unreadable("Citus")),
        ]
    }

    #[test]
    fn only_heaps_are_written_by_place_exchanged_or_dated_by_transactions() {
        for heap in [Storage::Heap, Storage::Partitioned] {
            assert_eq!((heap.place_refusal(), heap.xmin_refusal()), (None, None));
        }
        assert_eq!(Storage::Heap.swap_refusal(), None);
        assert!(Storage::Partitioned.swap_refusal().is_some());
        for other in others() {
            assert!(!other.is_heap() && other.place_refusal().is_some(), "{other}");
            assert!(other.swap_refusal().is_some() && other.xmin_refusal().is_some(), "{other}");
        }
    }

    #[test]
    fn a_foreign_part_is_truncated_by_servers_that_can() {
        let part = Storage::ForeignPart(TableName::new("public", "leaf"));
        assert!(part.truncate_refusal(130_022).is_some());
        assert_eq!(part.truncate_refusal(140_000), None);
        assert_eq!(Storage::Partitioned.truncate_refusal(130_022), None);
    }

    #[test]
    fn rows_of_a_citus_table_are_deleted_only_where_no_other_one_is_written() {
        let (citus, heap) = (Storage::Managed(Managed::CitusDistributed), Storage::Heap);
        assert_eq!(citus.delete_refusal([&heap]), None);
        assert!(citus.delete_refusal([&heap, &Storage::Managed(Managed::CitusReference)]).is_some());
        assert_eq!(heap.delete_refusal([&citus, &citus]), None);
        assert!(Storage::AccessMethod("columnar".to_owned()).delete_refusal([]).is_some());
        assert_eq!(Storage::AccessMethod("orioledb".to_owned()).delete_refusal([]), None);
        assert_eq!(
            Storage::Managed(Managed::Hypertable { is_compressed: true }).delete_refusal([&citus]),
            None
        );
    }
}
