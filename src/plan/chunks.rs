//! Divides a table's rows between streams.
//!
//! A large table is split into ranges of heap pages, each read by a TID range scan. The last range has no upper
//! bound, so that it includes pages added between the size measurement and the snapshot.

use crate::pg::catalog::{Leaf, Relation, RelationKind};
use crate::pg::name::TableName;

/// TID range scans exist since PostgreSQL 14; on older servers every chunk would scan the whole table.
const TID_RANGE_SCAN_SINCE: u32 = 140_000;

/// Upper limit of chunks per table. More gain nothing and cost a transaction each.
pub(super) const CHUNKS_MAX: u64 = 4096;

/// The part of a table that one stream extracts.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// Its number within the table, from 0.
    pub number: i32,
    /// The rows it covers.
    pub extent: Extent,
    /// Estimated size in bytes.
    pub bytes: u64,
}

/// The rows that a chunk covers.
#[derive(Debug, Clone, PartialEq)]
pub enum Extent {
    /// All rows of a relation, including its partitions and inheriting tables.
    Relation(TableName),
    /// All rows of one heap, without inheriting tables.
    Only(TableName),
    /// Heap pages from `first` up to but excluding `end`, or up to the end of the heap.
    Pages {
        /// The relation that the heap belongs to.
        leaf: TableName,
        /// First page.
        first: u32,
        /// Page after the last one; `None` for the last, open range.
        end: Option<u32>,
    },
    /// The result of a query.
    Query(String),
    /// A part of a file: the records that begin within a range of bytes.
    Csv {
        /// Index of the file within the table's files.
        file: usize,
        /// Index of the part, from 0.
        part: u32,
        /// Number of parts.
        parts: u32,
    },
}

/// Splits a relation whose rows are in heaps: leaf by leaf, at most `chunk_bytes` per chunk, in a number of chunks
/// that `streams` divides.
pub(super) fn of_relation(relation: &Relation, version: u32, chunk_bytes: u64, streams: usize) -> Vec<Chunk> {
    // Leaves are read one by one only if all of them can be; otherwise rows would be missing.
    if relation.leaves.is_empty() || !relation.leaves.iter().all(|leaf| leaf.may_select) {
        return whole(relation, relation.bytes());
    }
    let mut chunks: Vec<Chunk> = Vec::new();
    for leaf in &relation.leaves {
        let parts = if version < TID_RANGE_SCAN_SINCE { 1 } else { parts(leaf, chunk_bytes, streams as u64) };
        let edge = |part: u64| u32::try_from(u64::from(leaf.pages) * part / parts).unwrap_or(u32::MAX);
        for part in 0..parts {
            let extent = if parts == 1 && leaf.kind == RelationKind::MaterializedView {
                // COPY does not accept it by name.
                Extent::Relation(leaf.name.clone())
            } else if parts == 1 {
                Extent::Only(leaf.name.clone())
            } else {
                let end = (part + 1 < parts).then(|| edge(part + 1));
                Extent::Pages { leaf: leaf.name.clone(), first: edge(part), end }
            };
            let number = i32::try_from(chunks.len()).unwrap_or(i32::MAX);
            chunks.push(Chunk { number, extent, bytes: leaf.bytes / parts });
        }
    }
    chunks
}

/// Returns a single chunk with all rows of a relation, read by name.
pub(super) fn whole(relation: &Relation, bytes: u64) -> Vec<Chunk> {
    vec![Chunk { number: 0, extent: Extent::Relation(relation.name.clone()), bytes }]
}

/// Merges all chunks into one, for a method that loads a table in a single stream.
pub(super) fn one_of_all(chunks: &mut Vec<Chunk>, relation: Option<&TableName>) {
    if let (Some(relation), true) = (relation, chunks.len() > 1) {
        let bytes = chunks.iter().map(|chunk| chunk.bytes).sum();
        *chunks = vec![Chunk { number: 0, extent: Extent::Relation(relation.clone()), bytes }];
    }
}

fn parts(leaf: &Leaf, chunk_bytes: u64, streams: u64) -> u64 {
    let parts = leaf.bytes.div_ceil(chunk_bytes.max(1));
    // The last of an odd number of chunks would keep one stream busy while the others are idle.
    let parts = if parts > 1 { parts.next_multiple_of(streams.max(1)) } else { parts };
    parts.clamp(1, u64::from(leaf.pages.max(1)).min(CHUNKS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(pages: u32, bytes: u64) -> Leaf {
        let name = TableName::new("public", "t");
        let access_method = Some("heap".to_owned());
        Leaf {
            oid: 1,
            name,
            kind: RelationKind::Table,
            access_method,
            managed: None,
            pages,
            bytes,
            may_select: true,
        }
    }

    fn relation(leaves: Vec<Leaf>) -> Relation {
        Relation { leaves, ..crate::plan::table::tests::relation("t", &[]) }
    }

    #[test]
    fn ranges_touch_each_other_and_the_last_is_open() {
        let chunks = of_relation(&relation(vec![leaf(1000, 8_192_000)]), 150_000, 1_000_000, 1);
        assert_eq!(chunks.len(), 9);
        let mut next = 0;
        for (i, chunk) in chunks.iter().enumerate() {
            let Extent::Pages { first, end, .. } = chunk.extent else { panic!("{chunk:?}") };
            assert_eq!(first, next);
            assert_eq!(end.is_none(), i == 8);
            next = end.unwrap_or(0);
        }
    }

    #[test]
    fn every_stream_gets_as_many_chunks_but_what_fits_one_chunk_is_not_cut() {
        let chunks = |bytes, streams| {
            of_relation(&relation(vec![leaf(100_000, bytes)]), 150_000, 1_000_000, streams).len()
        };
        assert_eq!([1, 2, 4, 7].map(|streams| chunks(6_100_000, streams)), [7, 8, 8, 7]);
        assert_eq!(chunks(1_000_000, 8), 1);
    }

    #[test]
    fn toast_counts_and_a_page_is_the_smallest_chunk() {
        let chunks = of_relation(&relation(vec![leaf(2, 1 << 30)]), 150_000, 1 << 20, 8);
        assert_eq!(chunks.len(), 2, "two pages can hold a gigabyte of TOAST, but not be cut further");
    }

    #[test]
    fn an_old_server_and_an_empty_table_get_one_chunk() {
        assert_eq!(of_relation(&relation(vec![leaf(1000, 8_192_000)]), 130_000, 1_000_000, 4).len(), 1);
        let chunks = of_relation(&relation(vec![leaf(0, 0)]), 150_000, 1_000_000, 1);
        assert_eq!(chunks[0].extent, Extent::Only(TableName::new("public", "t")));
    }

    #[test]
    fn a_leaf_that_may_not_be_read_by_itself_makes_one_chunk_of_the_whole() {
        let hidden = Leaf { may_select: false, ..leaf(1000, 8_192_000) };
        let chunks = of_relation(&relation(vec![leaf(10, 81_920), hidden]), 150_000, 1_000_000, 1);
        assert_eq!(chunks.len(), 1);
        assert!(matches!(chunks[0].extent, Extent::Relation(_)));
    }
}
