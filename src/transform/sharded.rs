//! A structure that many workers fill concurrently: split into shards, each with a lock that is taken once per batch.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use super::key::Key;
use crate::error::Result;

/// Two shards per core of an eight-core machine: workers seldom meet in one.
pub(super) const SHARDS: usize = 16;

/// A multiplier that spreads its argument over all bits: 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Keys of one page of an integer set: adjacent keys stay in the same shard.
const PAGE_BITS: u32 = 16;

/// A shard's part of the data that one worker collected.
pub(super) trait Shard: Default + Send {
    /// The data a worker collects for one shard.
    type Share: Default + Send;

    /// Returns whether the data is empty.
    fn is_empty(share: &Self::Share) -> bool;

    /// Absorbs the data and empties it.
    fn absorb(&mut self, share: &mut Self::Share) -> Result<()>;

    /// Returns the memory use in bytes.
    fn bytes(&self) -> usize;
}

/// The shards.
#[derive(Debug)]
pub(super) struct Sharded<S> {
    shards: Vec<Mutex<S>>,
    bytes: AtomicUsize,
}

impl<S: Shard> Sharded<S> {
    pub(super) fn new(shard: impl Fn() -> S) -> Self {
        let shards: Vec<_> = (0..SHARDS).map(|_| Mutex::new(shard())).collect();
        Self { shards, bytes: AtomicUsize::new(0) }
    }

    /// Absorbs the data a worker collected. Shards locked by other workers are left for last.
    pub(super) fn absorb(&self, shares: &mut [S::Share; SHARDS]) -> Result<()> {
        for patience in [false, true] {
            for (shard, share) in self.shards.iter().zip(shares.iter_mut()) {
                if S::is_empty(share) {
                    continue;
                }
                let mut guard = match shard.try_lock() {
                    Ok(guard) => guard,
                    Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                    Err(TryLockError::WouldBlock) if patience => lock(shard),
                    Err(TryLockError::WouldBlock) => continue,
                };
                let before = guard.bytes();
                let outcome = guard.absorb(share);
                self.bytes.fetch_add(guard.bytes().wrapping_sub(before), Ordering::Relaxed);
                outcome?;
            }
        }
        Ok(())
    }

    /// Runs a function on the shard of a key.
    pub(super) fn with<T>(&self, key: Key, work: impl FnOnce(&mut S) -> T) -> T {
        work(&mut lock(&self.shards[shard_of(key)]))
    }

    /// Returns the memory use of all shards in bytes, as of the last [`Sharded::absorb`].
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn into_shards(self) -> Vec<S> {
        self.shards
            .into_iter()
            .map(|shard| shard.into_inner().unwrap_or_else(PoisonError::into_inner))
            .collect()
    }
}

fn lock<S>(shard: &Mutex<S>) -> MutexGuard<'_, S> {
    // A shard left by a panicking worker belongs to a table that has failed.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the shard of a key.
#[inline]
pub(super) fn shard_of(key: Key) -> usize {
    // From the middle of the hash: tables take their buckets from its low and their tags from its high bits.
    let hash = match key {
        Key::Int(value) => hash_int(value >> PAGE_BITS),
        Key::Wide(value) => hash_wide(value),
    };
    (hash >> 40) as usize % SHARDS
}

#[inline]
pub(super) fn hash_int(value: i64) -> u64 {
    let product = u128::from(value.cast_unsigned() ^ SPREAD) * u128::from(SPREAD);
    (product >> 64) as u64 ^ product as u64
}

#[inline]
pub(super) fn hash_wide(value: u128) -> u64 {
    let (low, high) = (value as u64, (value >> 64) as u64);
    let product = u128::from(low ^ SPREAD) * u128::from(high.rotate_left(32) ^ SPREAD.rotate_left(17));
    hash_int(((product >> 64) as u64 ^ product as u64).cast_signed())
}
