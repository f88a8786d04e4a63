//! Sets of 128-bit keys: 17 bytes per slot, of which at most seven in eight are used; 20 to 39 bytes per key.

use hashbrown::HashTable;

use crate::transform::sharded::hash_wide;

/// A set of UUIDs, pairs of integers, or fingerprints.
#[derive(Debug, Default)]
pub(super) struct Wides {
    keys: HashTable<u128>,
}

impl Wides {
    pub(super) fn insert(&mut self, key: u128) {
        self.keys.entry(hash_wide(key), |&other| other == key, |&other| hash_wide(other)).or_insert(key);
    }

    pub(super) fn remove(&mut self, key: u128) {
        if let Ok(entry) = self.keys.find_entry(hash_wide(key), |&other| other == key) {
            entry.remove();
        }
    }

    #[inline]
    pub(super) fn contains(&self, key: u128) -> bool {
        self.keys.find(hash_wide(key), |&other| other == key).is_some()
    }

    pub(super) fn len(&self) -> u64 {
        self.keys.len() as u64
    }

    pub(super) fn bytes(&self) -> usize {
        self.keys.allocation_size()
    }
}
