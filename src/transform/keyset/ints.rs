//! Sets of integers: compressed bitmaps.
//!
//! The numbers are divided into pages of 65,536. A page is a bitmap if it holds many keys, a sorted list if it holds
//! some, and stored inline in the page table if it holds up to seven. This takes an eighth of a byte per key for a
//! dense id, two to four bytes for one in a hundred, and 30 to 57 bytes at worst, for random 64-bit numbers.

use hashbrown::HashTable;

use crate::transform::sharded::hash_int;

/// Bits of a number that give its place within its page.
const PAGE_BITS: u32 = 16;

/// Words of a page's bitmap.
const PAGE_WORDS: usize = (1 << PAGE_BITS) / 64;

/// Number of keys stored inline in the page table.
const FEW: usize = 7;

/// From this number of keys on, a list is larger than a bitmap.
const SPARSE_MAX: usize = PAGE_WORDS * 64 / 16;

/// One page.
#[derive(Debug)]
enum Page {
    /// Up to seven keys, in any order.
    Few { count: u8, keys: [u16; FEW] },
    /// A sorted list, boxed once more so that a page takes 16 bytes.
    #[expect(clippy::box_collection, reason = "the pages' table has an entry of 24 bytes instead of 32")]
    Sparse(Box<Vec<u16>>),
    /// A bitmap.
    Dense(Box<[u64; PAGE_WORDS]>),
}

/// A growing set of integers.
#[derive(Debug, Default)]
pub(super) struct Ints {
    pages: HashTable<(i64, Page)>,
    len: u64,
    /// Bytes of lists and bitmaps.
    heap: usize,
}

/// Returns the page and the place within it.
#[inline]
fn split(value: i64) -> (i64, u16) {
    (value >> PAGE_BITS, value as u16)
}

impl Page {
    #[inline]
    fn contains(&self, key: u16) -> bool {
        match self {
            Self::Few { count, keys } => keys[..usize::from(*count)].contains(&key),
            Self::Sparse(keys) => keys.binary_search(&key).is_ok(),
            Self::Dense(words) => words[usize::from(key / 64)] >> (key % 64) & 1 == 1,
        }
    }

    /// Adds a key; returns false if it was already there.
    fn insert(&mut self, key: u16) -> bool {
        match self {
            Self::Few { count, keys } => {
                let used = usize::from(*count);
                if keys[..used].contains(&key) {
                    return false;
                }
                if used < FEW {
                    keys[used] = key;
                    *count += 1;
                    return true;
                }
                let mut list = Vec::with_capacity(4 * FEW);
                list.extend_from_slice(keys);
                list.push(key);
                list.sort_unstable();
                *self = Self::Sparse(Box::new(list));
                true
            }
            Self::Sparse(keys) => {
                // Keys mostly arrive in order.
                let place = match keys.last() {
                    Some(last) if *last < key => Err(keys.len()),
                    _ => keys.binary_search(&key),
                };
                let Err(place) = place else { return false };
                if keys.len() < SPARSE_MAX {
                    keys.insert(place, key);
                    return true;
                }
                let mut words = Box::new([0; PAGE_WORDS]);
                for key in keys.iter().copied().chain([key]) {
                    words[usize::from(key / 64)] |= 1 << (key % 64);
                }
                *self = Self::Dense(words);
                true
            }
            Self::Dense(words) => {
                let word = &mut words[usize::from(key / 64)];
                let before = *word;
                *word |= 1 << (key % 64);
                *word != before
            }
        }
    }

    /// Removes a key; returns false if it was not there.
    fn remove(&mut self, key: u16) -> bool {
        match self {
            Self::Few { count, keys } => {
                let used = usize::from(*count);
                let Some(place) = keys[..used].iter().position(|&k| k == key) else { return false };
                keys.swap(place, used - 1);
                *count -= 1;
                true
            }
            Self::Sparse(keys) => match keys.binary_search(&key) {
                Ok(place) => {
                    keys.remove(place);
                    true
                }
                Err(_) => false,
            },
            Self::Dense(words) => {
                let word = &mut words[usize::from(key / 64)];
                let before = *word;
                *word &= !(1 << (key % 64));
                *word != before
            }
        }
    }

    /// Returns the bytes outside the page table.
    fn heap(&self) -> usize {
        match self {
            Self::Few { .. } => 0,
            Self::Sparse(keys) => size_of::<Vec<u16>>() + 2 * keys.capacity(),
            Self::Dense(_) => 8 * PAGE_WORDS,
        }
    }
}

impl Ints {
    /// Adds keys. Adjacent keys in a row share one search for their page.
    pub(super) fn insert_all(&mut self, keys: impl Iterator<Item = i64>) {
        let mut keys = keys.peekable();
        while let Some(first) = keys.peek() {
            let (number, _) = split(*first);
            let (_, page) = self
                .pages
                .entry(hash_int(number), |(other, _)| *other == number, |(other, _)| hash_int(*other))
                .or_insert((number, Page::Few { count: 0, keys: [0; FEW] }))
                .into_mut();
            let before = page.heap();
            while let Some(value) = keys.next_if(|&value| split(value).0 == number) {
                self.len += u64::from(page.insert(split(value).1));
            }
            self.heap = self.heap + page.heap() - before;
        }
    }

    pub(super) fn remove(&mut self, value: i64) {
        let (number, key) = split(value);
        if let Some((_, page)) = self.pages.find_mut(hash_int(number), |(other, _)| *other == number) {
            self.len -= u64::from(page.remove(key));
        }
    }

    #[inline]
    pub(super) fn contains(&self, value: i64) -> bool {
        let (number, key) = split(value);
        self.pages
            .find(hash_int(number), |(other, _)| *other == number)
            .is_some_and(|(_, page)| page.contains(key))
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn bytes(&self) -> usize {
        self.pages.allocation_size() + self.heap
    }
}

/// A single bitmap over a range.
#[derive(Debug)]
pub(super) struct Flat {
    /// The number of the first bit.
    first: i64,
    words: Vec<u64>,
}

/// A bitmap up to this size always pays off, because it fits into a processor's cache.
const FLAT_BYTES_MIN: usize = 1 << 20;

impl Flat {
    /// Moves the keys of all parts into one bitmap, if it does not need much more memory than they do.
    pub(super) fn from_pages<'a>(parts: impl Iterator<Item = &'a mut Ints>) -> Option<Self> {
        let mut parts: Vec<&mut Ints> = parts.collect();
        let bytes: usize = parts.iter().map(|part| part.bytes()).sum();
        let numbers = || parts.iter().flat_map(|part| part.pages.iter().map(|(number, _)| *number));
        let (first, last) = (numbers().min()?, numbers().max()?);
        let pages = usize::try_from(last.checked_sub(first)?).ok()?.checked_add(1)?;
        if pages.checked_mul(8 * PAGE_WORDS)? > (2 * bytes).max(FLAT_BYTES_MIN) {
            return None;
        }
        let mut words = vec![0; pages * PAGE_WORDS];
        for part in &mut parts {
            for (number, page) in std::mem::take(*part).pages {
                let start = (number - first) as usize * PAGE_WORDS;
                let slots = &mut words[start..start + PAGE_WORDS];
                let set = |key: &u16| slots[usize::from(key / 64)] |= 1 << (key % 64);
                match page {
                    Page::Few { count, keys } => keys[..usize::from(count)].iter().for_each(set),
                    Page::Sparse(keys) => keys.iter().for_each(set),
                    Page::Dense(bits) => slots.copy_from_slice(&*bits),
                }
            }
        }
        Some(Self { first: first << PAGE_BITS, words })
    }

    #[inline]
    pub(super) fn contains(&self, value: i64) -> bool {
        // Numbers before the first wrap around to places beyond the last.
        let place = value.wrapping_sub(self.first).cast_unsigned();
        usize::try_from(place / 64)
            .ok()
            .and_then(|at| self.words.get(at))
            .is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    pub(super) fn bytes(&self) -> usize {
        8 * self.words.len()
    }
}
