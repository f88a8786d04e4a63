//! Maps from keys to values of another table's column.
//!
//! They are built like key sets: workers collect entries in a [`LookupSink`] and submit them once per batch, then the
//! map is frozen. Of several different values for one key the smallest is kept, regardless of their order of arrival.

mod slot;

use hashbrown::HashTable;

use super::key::{Key, KeyKind, KeyReader};
use super::sharded::{SHARDS, Shard, Sharded, hash_int, hash_wide, shard_of};
use crate::error::Result;
use crate::pg::format::Format;
pub use slot::Found;
use slot::Slot;

/// A map under construction, shared by reference; there is no locking per entry.
#[derive(Debug)]
pub struct LookupBuilder {
    shards: Sharded<LookupShard>,
}

/// The entries that one worker has collected and not yet submitted.
#[derive(Debug, Default)]
pub struct LookupSink {
    shares: [LookupShare; SHARDS],
}

/// An immutable map.
#[derive(Debug)]
pub struct LookupMap {
    /// The slots of all integer keys starting at `first`, if their range allows it; the shards then have none.
    flat: Option<(i64, Vec<Slot>)>,
    shards: Vec<LookupShard>,
    ambiguous: u64,
    len: u64,
}

/// Entries on their way to a shard: the key, and the end of its value in `bytes`, with a marker for NULL.
#[derive(Debug, Default)]
struct LookupShare {
    entries: Vec<(Key, u32, bool)>,
    bytes: Vec<u8>,
}

#[derive(Debug, Default)]
struct LookupShard {
    order: Order,
    ints: HashTable<(i64, Slot)>,
    /// The key in two halves, because a single 128-bit number would need padding for its alignment.
    wides: HashTable<([u64; 2], Slot)>,
    arena: Vec<u8>,
    ambiguous: u64,
}

/// How values are compared.
#[derive(Debug, Clone, Copy)]
struct Order {
    format: Format,
    kind: Option<KeyKind>,
}

impl Default for Order {
    fn default() -> Self {
        Self { format: Format::Binary, kind: None }
    }
}

impl Shard for LookupShard {
    type Share = LookupShare;

    fn is_empty(share: &LookupShare) -> bool {
        share.entries.is_empty()
    }

    fn absorb(&mut self, share: &mut LookupShare) -> Result<()> {
        let mut start = 0;
        for &(key, end, is_null) in &share.entries {
            let end = end as usize;
            self.insert(key, (!is_null).then(|| &share.bytes[start..end]))?;
            start = end;
        }
        share.entries.clear();
        share.bytes.clear();
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.ints.allocation_size() + self.wides.allocation_size() + self.arena.capacity()
    }
}

impl LookupShard {
    fn insert(&mut self, key: Key, value: Option<&[u8]>) -> Result<()> {
        let Self { order, ints, wides, arena, ambiguous } = self;
        let slot = match key {
            Key::Int(key) => {
                let entry = ints.entry(hash_int(key), |(other, _)| *other == key, |(k, _)| hash_int(*k));
                &mut entry.or_insert((key, Slot::EMPTY)).into_mut().1
            }
            Key::Wide(key) => {
                let halves = split(key);
                let entry = wides.entry(hash_wide(key), |(k, _)| *k == halves, |(k, _)| hash_wide(join(*k)));
                &mut entry.or_insert((halves, Slot::EMPTY)).into_mut().1
            }
        };
        if slot.is_empty() {
            *slot = Slot::store(value, arena);
            return Ok(());
        }
        let found = slot.load(arena);
        if found.value() == value {
            return Ok(());
        }
        *ambiguous += u64::from(!slot.is_ambiguous());
        // NULL is never chosen, as in min().
        let is_smaller = match (value, found.value()) {
            (Some(new), Some(old)) => KeyReader::new(order.format).compare(order.kind, new, old)?.is_lt(),
            (Some(_), None) => true,
            (None, _) => false,
        };
        *slot = if is_smaller { Slot::store(value, arena) } else { *slot }.ambiguous();
        Ok(())
    }

    fn find(&self, key: Key) -> Option<Found<'_>> {
        let slot = match key {
            Key::Int(key) => self.ints.find(hash_int(key), |(other, _)| *other == key)?.1,
            Key::Wide(key) => {
                let halves = split(key);
                self.wides.find(hash_wide(key), |(other, _)| *other == halves)?.1
            }
        };
        Some(slot.load(&self.arena))
    }
}

fn split(key: u128) -> [u64; 2] {
    [(key >> 64) as u64, key as u64]
}

fn join([high, low]: [u64; 2]) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

impl LookupSink {
    /// Collects an entry; `value` is in COPY format, `None` for NULL.
    pub fn push(&mut self, key: Key, value: Option<&[u8]>) {
        let share = &mut self.shares[shard_of(key)];
        share.bytes.extend_from_slice(value.unwrap_or_default());
        // A worker collects less from one batch than the batch's size, whose positions are 32 bits.
        share.entries.push((key, share.bytes.len() as u32, value.is_none()));
    }

    /// Submits the entries. Once per batch is enough to keep locking out of the per-row path.
    ///
    /// # Errors
    /// Values that must be compared are not of the map's kind.
    pub fn flush(&mut self, builder: &LookupBuilder) -> Result<()> {
        builder.shards.absorb(&mut self.shares)
    }
}

impl LookupBuilder {
    /// Returns an empty map of values in `format`, ordered by `kind`, or by their bytes without a kind.
    #[must_use]
    pub fn new(format: Format, kind: Option<KeyKind>) -> Self {
        let order = Order { format, kind };
        Self { shards: Sharded::new(|| LookupShard { order, ..LookupShard::default() }) }
    }

    /// Returns the current memory use in bytes, without the entries that workers have not submitted.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.shards.bytes()
    }

    /// Finishes construction.
    #[must_use]
    pub fn freeze(self) -> LookupMap {
        let mut shards = self.shards.into_shards();
        let ambiguous = shards.iter().map(|shard| shard.ambiguous).sum();
        let len = shards.iter().map(|shard| (shard.ints.len() + shard.wides.len()) as u64).sum();
        let flat = flatten(&mut shards);
        LookupMap { flat, shards, ambiguous, len }
    }
}

/// Moves the slots of integer keys into one array, if that needs no more memory than they do.
fn flatten(shards: &mut [LookupShard]) -> Option<(i64, Vec<Slot>)> {
    let bytes: usize = shards.iter().map(|shard| shard.ints.allocation_size()).sum();
    let keys = || shards.iter().flat_map(|shard| shard.ints.iter().map(|(key, _)| *key));
    let (first, last) = (keys().min()?, keys().max()?);
    let count = usize::try_from(last.checked_sub(first)?).ok()?.checked_add(1)?;
    if count.checked_mul(size_of::<Slot>())? > bytes {
        return None;
    }
    let mut slots = vec![Slot::EMPTY; count];
    for shard in shards {
        for (key, slot) in std::mem::take(&mut shard.ints) {
            slots[(key - first) as usize] = slot;
        }
    }
    Some((first, slots))
}

impl LookupMap {
    /// Returns the value for a key; `None` if the key is missing, [`Found::Null`] if its value is NULL.
    #[must_use]
    #[inline]
    pub fn get(&self, key: Key) -> Option<Found<'_>> {
        match (key, &self.flat) {
            (Key::Int(value), Some((first, slots))) => {
                let place = usize::try_from(value.wrapping_sub(*first).cast_unsigned()).ok()?;
                let slot = slots.get(place).filter(|slot| !slot.is_empty())?;
                // Only a value outside its slot needs its shard.
                Some(match slot.load_inline() {
                    Some(found) => found,
                    None => slot.load(&self.shards[shard_of(key)].arena),
                })
            }
            _ => self.shards[shard_of(key)].find(key),
        }
    }

    /// Returns the number of keys with several different values.
    #[must_use]
    pub fn ambiguous(&self) -> u64 {
        self.ambiguous
    }

    /// Returns the number of keys.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns whether the map is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the memory use in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let flat = self.flat.as_ref().map_or(0, |(_, slots)| size_of_val(slots.as_slice()));
        flat + self.shards.iter().map(Shard::bytes).sum::<usize>()
    }
}
