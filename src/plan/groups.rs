//! Decides which tables are applied in one transaction, and in which order.

use std::collections::{BTreeMap, BTreeSet};

use super::TablePlan;
use super::references::entries_of;

/// Tables that are applied in one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Indexes into the plan's tables, with referenced and looked-up tables before the tables that refer to them.
    /// Tables that form a cycle stand together and are inserted by one statement.
    pub order: Vec<Vec<usize>>,
    /// References between its tables: (referencing, referenced).
    pub references: Vec<(usize, usize)>,
}

impl Group {
    /// Iterates over the tables, referenced ones first.
    pub fn tables(&self) -> impl DoubleEndedIterator<Item = usize> + '_ {
        self.order.iter().flatten().copied()
    }
}

/// Groups tables by references and lookups; `one` puts all tables into a single group.
///
/// Tables that only receive new rows are no exception: the rows that a group refers to must exist when it is applied,
/// and the groups fail together.
pub(super) fn find(tables: &[TablePlan], one: bool) -> Vec<Group> {
    let references = references(tables);
    let edges = with_lookups(references.clone(), tables);
    let mut leader: Vec<usize> = (0..tables.len()).collect();
    for (&child, parents) in &edges {
        for &parent in parents {
            unite(&mut leader, child, parent);
        }
    }
    // Two entries of one table share its locks and rows, as do those of a partition and its partitioned table.
    for (i, table) in tables.iter().enumerate() {
        entries_of(tables, &table.name).into_iter().for_each(|other| unite(&mut leader, other, i));
    }
    if one {
        (1..tables.len()).for_each(|i| unite(&mut leader, 0, i));
    }
    let components = components(tables.len(), &edges);
    let mut groups: Vec<(usize, Group)> = Vec::new();
    for component in components {
        let root = find_leader(&mut leader, component[0]);
        match groups.iter_mut().find(|(r, _)| *r == root) {
            Some((_, group)) => group.order.push(component),
            None => groups.push((root, Group { order: vec![component], references: Vec::new() })),
        }
    }
    for (&child, parents) in &references {
        let root = find_leader(&mut leader, child);
        if let Some((_, group)) = groups.iter_mut().find(|(r, _)| *r == root) {
            let inside: Vec<usize> = group.tables().collect();
            group.references.extend(parents.iter().filter(|p| inside.contains(p)).map(|&p| (child, p)));
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// Maps each referencing entry to the entries of the tables it references, excluding itself.
fn references(tables: &[TablePlan]) -> BTreeMap<usize, BTreeSet<usize>> {
    let mut edges: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (child, table) in tables.iter().enumerate() {
        let is_loaded = |name| table.is_loaded(name);
        // References that only the server checks (a temporal key, one of a partition) are checked as soon as rows are
        // written.
        let keys = table.live.foreign_keys.iter().filter(|key| key.is_enforced);
        let keys = keys.filter(|key| key.is_temporal || key.from_columns.iter().all(is_loaded));
        let by_server = keys.flat_map(|key| entries_of(tables, &key.to));
        let judged = table.references.iter().flat_map(|reference| reference.parents.iter().copied());
        let others = judged.chain(by_server).filter(|&parent| tables[parent].name != table.name);
        edges.entry(child).or_default().extend(others);
    }
    edges
}

/// Likewise, including the entries of the tables it looks up.
fn with_lookups(
    mut edges: BTreeMap<usize, BTreeSet<usize>>,
    tables: &[TablePlan],
) -> BTreeMap<usize, BTreeSet<usize>> {
    for (child, table) in tables.iter().enumerate() {
        for lookup in &table.lookups {
            edges.entry(child).or_default().extend(&lookup.parents);
        }
    }
    edges
}

pub(super) fn find_leader(leader: &mut [usize], i: usize) -> usize {
    let mut root = i;
    while leader[root] != root {
        leader[root] = leader[leader[root]];
        root = leader[root];
    }
    root
}

pub(super) fn unite(leader: &mut [usize], a: usize, b: usize) {
    let (a, b) = (find_leader(leader, a), find_leader(leader, b));
    leader[a.max(b)] = a.min(b);
}

/// Returns strongly connected components, each after those it references (the order of Tarjan's algorithm). The
/// recursion depth is the longest chain of references between the tables of one config.
fn components(count: usize, edges: &BTreeMap<usize, BTreeSet<usize>>) -> Vec<Vec<usize>> {
    struct Walk<'a> {
        edges: &'a BTreeMap<usize, BTreeSet<usize>>,
        index: Vec<Option<usize>>,
        low: Vec<usize>,
        stack: Vec<usize>,
        found: Vec<Vec<usize>>,
        next: usize,
    }
    impl Walk<'_> {
        fn visit(&mut self, node: usize) {
            self.index[node] = Some(self.next);
            self.low[node] = self.next;
            self.next += 1;
            self.stack.push(node);
            for &to in self.edges.get(&node).into_iter().flatten() {
                match self.index[to] {
                    None => {
                        self.visit(to);
                        self.low[node] = self.low[node].min(self.low[to]);
                    }
                    Some(index) if self.stack.contains(&to) => {
                        self.low[node] = self.low[node].min(index);
                    }
                    Some(_) => {}
                }
            }
            if Some(self.low[node]) == self.index[node] {
                let start = self.stack.iter().rposition(|&n| n == node).unwrap_or(0);
                let mut component = self.stack.split_off(start);
                component.sort_unstable();
                self.found.push(component);
            }
        }
    }
    let mut walk = Walk {
        edges,
        index: vec![None; count],
        low: vec![0; count],
        stack: Vec::new(),
        found: Vec::new(),
        next: 0,
    };
    for node in 0..count {
        if walk.index[node].is_none() {
            walk.visit(node);
        }
    }
    walk.found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(list: &[(usize, usize)]) -> BTreeMap<usize, BTreeSet<usize>> {
        let mut edges: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for &(child, parent) in list {
            edges.entry(child).or_default().insert(parent);
        }
        edges
    }

    #[test]
    fn referenced_tables_come_first_and_circles_stand_together() {
        // 0 -> 1 -> 2 -> 1, 3 -> 0
        let found = components(4, &edges(&[(0, 1), (1, 2), (2, 1), (3, 0)]));
        assert_eq!(found, vec![vec![1, 2], vec![0], vec![3]]);
    }
}
