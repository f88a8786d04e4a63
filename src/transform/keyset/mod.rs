//! Sets of keys: the rows a table will have.
//!
//! Many workers build a set concurrently: each collects its keys in a [`KeySink`] and submits them once per batch.
//! The set is then frozen and shared read-only by all workers that check references.

mod ints;
mod wide;

use super::key::Key;
use super::sharded::{SHARDS, Shard, Sharded, shard_of};
use crate::error::Result;
use ints::{Flat, Ints};
use wide::Wides;

/// A set under construction, shared by reference; there is no locking per key.
#[derive(Debug)]
pub struct KeySetBuilder {
    shards: Sharded<KeyShard>,
}

/// The keys that one worker has collected and not yet submitted.
#[derive(Debug, Default)]
pub struct KeySink {
    shares: [KeyShare; SHARDS],
}

/// An immutable set of keys.
#[derive(Debug)]
pub struct KeySet {
    /// All integers in one bitmap, if their range allows it; the shards then have none.
    flat: Option<Flat>,
    shards: Vec<KeyShard>,
    len: u64,
}

/// A part of a set: integers in pages, everything else in full.
#[derive(Debug, Default)]
struct KeyShard {
    ints: Ints,
    wides: Wides,
}

/// Keys on their way to a shard.
#[derive(Debug, Default)]
struct KeyShare {
    ints: Vec<i64>,
    wides: Vec<u128>,
}

impl Shard for KeyShard {
    type Share = KeyShare;

    fn is_empty(share: &KeyShare) -> bool {
        share.ints.is_empty() && share.wides.is_empty()
    }

    fn absorb(&mut self, share: &mut KeyShare) -> Result<()> {
        self.ints.insert_all(share.ints.drain(..));
        share.wides.drain(..).for_each(|key| self.wides.insert(key));
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.ints.bytes() + self.wides.bytes()
    }
}

impl KeySink {
    /// Collects a key.
    #[inline]
    pub fn push(&mut self, key: Key) {
        let share = &mut self.shares[shard_of(key)];
        match key {
            Key::Int(value) => share.ints.push(value),
            Key::Wide(value) => share.wides.push(value),
        }
    }

    /// Submits the keys. Once per batch is enough to keep locking out of the per-row path.
    pub fn flush(&mut self, builder: &KeySetBuilder) {
        // Keys cannot be refused.
        let _ = builder.shards.absorb(&mut self.shares);
    }
}

impl Default for KeySetBuilder {
    fn default() -> Self {
        Self { shards: Sharded::new(KeyShard::default) }
    }
}

impl KeySetBuilder {
    /// Returns an empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes a key whose row was rejected after it had passed.
    pub fn remove(&self, key: Key) {
        self.shards.with(key, |shard| match key {
            Key::Int(value) => shard.ints.remove(value),
            Key::Wide(value) => shard.wides.remove(value),
        });
    }

    /// Returns the current memory use in bytes, without the keys that workers have not submitted.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.shards.bytes()
    }

    /// Finishes construction.
    #[must_use]
    pub fn freeze(self) -> KeySet {
        let mut shards = self.shards.into_shards();
        let len = shards.iter().map(|shard| shard.ints.len() + shard.wides.len()).sum();
        let flat = Flat::from_pages(shards.iter_mut().map(|shard| &mut shard.ints));
        KeySet { flat, shards, len }
    }
}

impl KeySet {
    /// Returns whether the key is in the set. For a fingerprint, a positive answer is wrong with a probability of the
    /// set's size / 2^128; for all other keys the answer is exact.
    #[must_use]
    #[inline]
    pub fn contains(&self, key: Key) -> bool {
        match (key, &self.flat) {
            (Key::Int(value), Some(flat)) => flat.contains(value),
            (Key::Int(value), None) => self.shards[shard_of(key)].ints.contains(value),
            (Key::Wide(value), _) => self.shards[shard_of(key)].wides.contains(value),
        }
    }

    /// Returns the number of keys.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the memory use in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.flat.as_ref().map_or(0, Flat::bytes) + self.shards.iter().map(Shard::bytes).sum::<usize>()
    }
}

impl FromIterator<Key> for KeySet {
    fn from_iter<T: IntoIterator<Item = Key>>(keys: T) -> Self {
        /// Number of keys after which a sink is submitted, to bound its size.
        const FLUSH_KEYS: usize = 4096;
        let builder = KeySetBuilder::new();
        let mut sink = KeySink::default();
        for (number, key) in keys.into_iter().enumerate() {
            sink.push(key);
            if number % FLUSH_KEYS == 0 {
                sink.flush(&builder);
            }
        }
        sink.flush(&builder);
        builder.freeze()
    }
}
