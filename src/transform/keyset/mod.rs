//! Sets of keys: which rows a table will have.
//!
//! Built by many workers at once, each of which collects its keys in a [`KeySink`] and hands them over per batch; then
//! frozen, and shared read-only by everybody who checks references.

mod ints;
mod wide;

use super::key::Key;
use super::sharded::{SHARDS, Shard, Sharded, shard_of};
use crate::error::Result;
use ints::{Flat, Ints};
use wide::Wides;

/// A set that is being built. Shared by reference; nothing is locked per key.
#[derive(Debug)]
pub struct KeySetBuilder {
    shards: Sharded<KeyShard>,
}

/// The keys that one worker has collected and not handed over yet.
#[derive(Debug, Default)]
pub struct KeySink {
    shares: [KeyShare; SHARDS],
}

/// A set of keys that no longer changes.
#[derive(Debug)]
pub struct KeySet {
    /// All integers in one bitmap, where their range allows it; they are not in the shards then.
    flat: Option<Flat>,
    shards: Vec<KeyShard>,
    len: u64,
}

/// A part of a set: the integers in pages, everything else as it is.
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

    /// Hands the keys over. Doing it once per batch keeps the locks away from the rows.
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
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a key out again: its row was rejected after it had gone by.
    pub fn remove(&self, key: Key) {
        self.shards.with(key, |shard| match key {
            Key::Int(value) => shard.ints.remove(value),
            Key::Wide(value) => shard.wides.remove(value),
        });
    }

    /// Bytes of memory that the set holds by now, but for what workers have not handed over.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.shards.bytes()
    }

    /// Ends the building.
    #[must_use]
    pub fn freeze(self) -> KeySet {
        let mut shards = self.shards.into_shards();
        let len = shards.iter().map(|shard| shard.ints.len() + shard.wides.len()).sum();
        let flat = Flat::from_pages(shards.iter_mut().map(|shard| &mut shard.ints));
        KeySet { flat, shards, len }
    }
}

impl KeySet {
    /// Whether the key is in the set. For a key that is a fingerprint the answer yes is wrong with a chance of the set's
    /// size / 2^128, for all others it is exact.
    #[must_use]
    #[inline]
    pub fn contains(&self, key: Key) -> bool {
        match (key, &self.flat) {
            (Key::Int(value), Some(flat)) => flat.contains(value),
            (Key::Int(value), None) => self.shards[shard_of(key)].ints.contains(value),
            (Key::Wide(value), _) => self.shards[shard_of(key)].wides.contains(value),
        }
    }

    /// Keys in the set.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory that the set holds.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.flat.as_ref().map_or(0, Flat::bytes) + self.shards.iter().map(Shard::bytes).sum::<usize>()
    }
}

impl FromIterator<Key> for KeySet {
    fn from_iter<T: IntoIterator<Item = Key>>(keys: T) -> Self {
        /// So many keys are collected before they are handed over, to bound the sink.
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
