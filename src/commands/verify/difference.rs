//! What the rows of one part tell: which differ, and which are rightly on one side only.

use std::collections::{BTreeMap, HashSet};

use crate::config::Strategy;

/// A key's columns as text.
pub(super) type Key = Vec<Option<String>>;

/// A row of one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) key: Key,
    pub(super) hash: i64,
    /// Checksums of columns in which NULL may stand on the target for what is no orphan in the source.
    pub(super) nullable: Vec<Option<i64>>,
    /// Checksums of what the target reads from texts; `None` also where it cannot read one.
    pub(super) read: Vec<Option<i64>>,
    /// Whether this sync owns it; always so in the source.
    pub(super) inside: bool,
}

impl Row {
    /// Whether the target's row holds what this one of the source does; `None` if not, else whether a NULL stands for a value.
    fn matched_by(&self, target: &Self) -> Option<bool> {
        let is_same = self.hash == target.hash && self.read == target.read;
        let mut pairs = self.nullable.iter().zip(&target.nullable);
        let is_kept = pairs.all(|(ours, theirs)| theirs.is_none() || ours == theirs);
        (is_same && is_kept).then(|| self.nullable != target.nullable)
    }
}

/// How a row differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Difference {
    /// In the source only.
    Missing,
    /// On the target only.
    Extra,
    /// On both sides, not the same.
    Changed,
}

/// Counts differences, and remembers the first ones by key.
pub(super) struct Findings {
    strategy: Strategy,
    /// Rows that were rejected, by key; `None` where that is not known.
    rejected: HashSet<Key>,
    pub(super) missing: u64,
    pub(super) extra: u64,
    pub(super) changed: u64,
    /// Missing rows that are known to be rejected, or to be another row with the same key.
    pub(super) explained: u64,
    /// Missing rows whose key belongs to a row that this sync does not own.
    pub(super) foreign: u64,
    /// Rows that have NULL on the target in the place of a value.
    pub(super) nulled: u64,
    /// The first keys, in their order.
    pub(super) first: BTreeMap<(Vec<Order>, Difference), Key>,
}

/// So many keys are named.
const NAMED: usize = 10;

/// Numbers in their order, before all other text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Order {
    Number(i128),
    Text(Option<String>),
}

impl Findings {
    pub(super) fn new(strategy: Strategy, rejected: HashSet<Key>) -> Self {
        Self {
            strategy,
            rejected,
            missing: 0,
            extra: 0,
            changed: 0,
            explained: 0,
            foreign: 0,
            nulled: 0,
            first: BTreeMap::new(),
        }
    }

    /// Compares the rows of a part.
    pub(super) fn compare(&mut self, source: &[Row], target: &[Row]) {
        let mut keys: BTreeMap<&Key, (Vec<&Row>, Vec<&Row>, bool)> = BTreeMap::new();
        for row in source {
            keys.entry(&row.key).or_default().0.push(row);
        }
        for row in target {
            let known = keys.entry(&row.key).or_default();
            if row.inside { known.1.push(row) } else { known.2 = true }
        }
        for (key, (source, target, is_foreign)) in keys {
            // Rows without a key are told apart by what they hold; NULL is no key.
            if key.is_empty() || key.iter().any(Option::is_none) {
                self.compare_bags(key, source, target);
            } else {
                self.compare_key(key, &source, &target, is_foreign);
            }
        }
    }

    fn compare_bags(&mut self, key: &Key, mut source: Vec<&Row>, target: Vec<&Row>) {
        // Rows without a NULL in the place of a value come first: they take no row from one that has one.
        let (nulled, target): (Vec<&Row>, Vec<&Row>) =
            target.into_iter().partition(|row| row.nullable.iter().any(Option::is_none));
        for row in target.into_iter().chain(nulled) {
            let exact = source.iter().position(|known| known.matched_by(row) == Some(false));
            let place = exact.or_else(|| source.iter().position(|known| known.matched_by(row).is_some()));
            self.nulled += u64::from(exact.is_none() && place.is_some());
            match place {
                Some(place) => drop(source.swap_remove(place)),
                None => self.note(key, Difference::Extra),
            }
        }
        source.iter().for_each(|_| self.note(key, Difference::Missing));
    }

    fn compare_key(&mut self, key: &Key, source: &[&Row], target: &[&Row], is_foreign: bool) {
        match (source, target) {
            ([], []) => {}
            ([], extra) => extra.iter().for_each(|_| self.note(key, Difference::Extra)),
            (missing, []) if is_foreign => self.foreign += missing.len() as u64,
            (missing, []) if self.rejected.contains(key) => self.explained += missing.len() as u64,
            (missing, []) => {
                // Of several rows with one key one would have been loaded.
                self.explained += missing.len() as u64 - 1;
                self.note(key, Difference::Missing);
            }
            (source, [first, more @ ..]) => {
                self.explained += source.len() as u64 - 1;
                let matches: Vec<bool> = source.iter().filter_map(|row| row.matched_by(first)).collect();
                if matches.is_empty() {
                    self.note(key, Difference::Changed);
                }
                self.nulled += u64::from(!matches.is_empty() && matches.iter().all(|is_nulled| *is_nulled));
                more.iter().for_each(|_| self.note(key, Difference::Extra));
            }
        }
    }

    fn note(&mut self, key: &Key, difference: Difference) {
        let is_meant = match (self.strategy, difference) {
            (Strategy::Replace, _) | (_, Difference::Missing) | (Strategy::Upsert, Difference::Changed) => {
                false
            }
            (Strategy::Upsert | Strategy::Insert, _) => true,
        };
        if is_meant {
            return;
        }
        *match difference {
            Difference::Missing => &mut self.missing,
            Difference::Extra => &mut self.extra,
            Difference::Changed => &mut self.changed,
        } += 1;
        let order = |part: &Option<String>| match part.as_ref().map(|text| text.parse()) {
            Some(Ok(number)) => Order::Number(number),
            _ => Order::Text(part.clone()),
        };
        if !key.is_empty() {
            self.first.insert((key.iter().map(order).collect(), difference), key.clone());
            if self.first.len() > NAMED {
                self.first.pop_last();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, hash: i64) -> Row {
        Row { key: vec![Some(key.to_owned())], hash, nullable: Vec::new(), read: Vec::new(), inside: true }
    }

    fn outside(key: &str, hash: i64) -> Row {
        Row { inside: false, ..row(key, hash) }
    }

    #[track_caller]
    fn finds(strategy: Strategy, source: &[Row], target: &[Row], counts: [u64; 5]) {
        let mut findings = Findings::new(strategy, HashSet::from([vec![Some("rejected".to_owned())]]));
        findings.compare(source, target);
        let Findings { missing, extra, changed, explained, foreign, .. } = findings;
        assert_eq!([missing, extra, changed, explained, foreign], counts);
    }

    #[test]
    fn what_is_missing_extra_or_changed_depends_on_the_strategy() {
        let (source, target) =
            ([row("1", 1), row("2", 2), row("3", 3)], [row("2", 2), row("3", 4), row("5", 5)]);
        finds(Strategy::Replace, &source, &target, [1, 1, 1, 0, 0]);
        finds(Strategy::Upsert, &source, &target, [1, 0, 1, 0, 0]);
        finds(Strategy::Insert, &source, &target, [1, 0, 0, 0, 0]);
    }

    #[test]
    fn rejected_rows_duplicates_and_foreign_rows_are_no_difference() {
        finds(Strategy::Replace, &[row("rejected", 1)], &[], [0, 0, 0, 1, 0]);
        finds(Strategy::Replace, &[row("1", 1), row("1", 2)], &[row("1", 2)], [0, 0, 0, 1, 0]);
        finds(Strategy::Replace, &[row("1", 1), row("1", 2)], &[row("1", 3)], [0, 0, 1, 1, 0]);
        finds(Strategy::Replace, &[row("1", 1)], &[outside("1", 2)], [0, 0, 0, 0, 1]);
        finds(Strategy::Replace, &[], &[outside("1", 2)], [0, 0, 0, 0, 0]);
    }

    #[test]
    fn rows_without_a_key_are_compared_as_often_as_they_are_there() {
        let bag = |hashes: &[i64]| -> Vec<Row> {
            hashes.iter().map(|&hash| Row { key: Vec::new(), ..row("", hash) }).collect()
        };
        finds(Strategy::Replace, &bag(&[1, 1, 2]), &bag(&[1, 2, 2]), [1, 1, 0, 0, 0]);
    }

    #[test]
    fn a_null_may_stand_for_an_orphan_and_no_other_value_may() {
        let with = |key: &str, value| Row { nullable: vec![value], ..row(key, 1) };
        let compare = |source: &[Row], target: &[Row]| {
            let mut findings = Findings::new(Strategy::Replace, HashSet::new());
            findings.compare(source, target);
            (findings.changed + findings.missing + findings.extra, findings.nulled)
        };
        assert_eq!(compare(&[with("1", Some(5))], &[with("1", Some(5))]), (0, 0));
        assert_eq!(compare(&[with("1", Some(5))], &[with("1", None)]), (0, 1));
        assert_eq!(compare(&[with("1", Some(5))], &[with("1", Some(6))]), (1, 0));
        assert_eq!(compare(&[with("1", None)], &[with("1", Some(6))]), (1, 0));
        assert_eq!(compare(&[with("1", None)], &[with("1", None)]), (0, 0));
        let bag = |value| Row { key: Vec::new(), ..with("", value) };
        assert_eq!(compare(&[bag(Some(1)), bag(None)], &[bag(None), bag(None)]), (0, 1));
        assert_eq!(compare(&[bag(Some(1)), bag(Some(2))], &[bag(None), bag(Some(1))]), (0, 1));
        assert_eq!(compare(&[bag(Some(1))], &[bag(Some(2))]), (2, 0));
    }

    #[test]
    fn the_first_keys_are_those_of_the_least_numbers() {
        let mut findings = Findings::new(Strategy::Replace, HashSet::new());
        for number in (0..40).rev() {
            findings.compare(&[row(&number.to_string(), 1)], &[]);
        }
        let named: Vec<&str> = findings.first.values().map(|key| key[0].as_deref().unwrap()).collect();
        assert_eq!(named, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
        assert_eq!(findings.missing, 40);
    }
}
