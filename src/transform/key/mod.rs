//! Keys: values reduced to the part that PostgreSQL's equality compares.
//!
//! Two values of comparable columns are equal in PostgreSQL exactly if their [`Key`]s are equal: 7 as int4, as int8
//! and as numeric 7.00; -0 and 0; a char(5) with and without its trailing spaces. Both formats of COPY give the same
//! keys.
//!
//! Integers, dates, times, UUIDs and pairs of integers are their own keys. Everything longer becomes a 128-bit
//! fingerprint; see [`fingerprint`] for the probability of a collision.

pub(super) mod bytes;
mod fixed;
mod numeric;
mod time;

use std::cmp::Ordering;
use std::sync::LazyLock;

use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::error::Result;
use crate::pg::format::Format;
use crate::transform::codec::malformed;

pub use crate::pg::key_kind::{KeyKind, comparable};

/// A value, or the values of several columns, as sets and maps store it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// Integers and densely counted values such as dates: stored in bitmaps.
    Int(i64),
    /// A value of at most 16 bytes, or a fingerprint.
    Wide(u128),
}

/// Maximum number of columns of a key; PostgreSQL's limit for an index.
pub const KEY_COLUMNS_MAX: usize = 32;

/// Reads values of one COPY format as keys. Its buffer is reused, so that there is no allocation per value.
#[derive(Debug)]
pub struct KeyReader {
    format: Format,
    scratch: Vec<u8>,
}

impl KeyReader {
    /// Returns a reader for values of a format.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self { format, scratch: Vec::new() }
    }

    /// Returns the key of a non-NULL value in COPY format: in text with its escapes.
    ///
    /// # Errors
    /// It is not a value of this kind.
    #[inline]
    pub fn read(&mut self, kind: KeyKind, value: &[u8]) -> Result<Key> {
        let key = match (kind, self.format) {
            (KeyKind::Int, Format::Binary) => fixed::int_from_binary(value).map(Key::Int),
            (KeyKind::Int, Format::Text) => fixed::int_from_text(value).map(Key::Int),
            _ => self.read_other(kind, value),
        };
        key.ok_or_else(|| malformed(format_args!("not a value of kind {kind:?} in {}", self.format)))
    }

    fn read_other(&mut self, kind: KeyKind, value: &[u8]) -> Option<Key> {
        let scratch = &mut self.scratch;
        match self.format {
            Format::Binary => match kind {
                KeyKind::Bool => fixed::bool_from_binary(value).map(Key::Int),
                KeyKind::Int => fixed::int_from_binary(value).map(Key::Int),
                KeyKind::Oid => fixed::oid_from_binary(value).map(Key::Int),
                KeyKind::Numeric => numeric::from_binary(value, scratch),
                KeyKind::Float4 => fixed::float4_from_binary(value).map(fixed::float_key),
                KeyKind::Float8 => fixed::float8_from_binary(value).map(fixed::float_key),
                KeyKind::Text | KeyKind::Bytea => Some(Key::Wide(fingerprint(value))),
                KeyKind::BpChar => Some(Key::Wide(fingerprint(bytes::without_trailing_blanks(value)))),
                KeyKind::Uuid => fixed::uuid_from_binary(value).map(Key::Wide),
                KeyKind::Date => fixed::date_from_binary(value).map(Key::Int),
                KeyKind::Time | KeyKind::Timestamp | KeyKind::Timestamptz => {
                    fixed::wide_int_from_binary(value).map(wide)
                }
            },
            Format::Text => match kind {
                KeyKind::Bool => fixed::bool_from_text(value).map(Key::Int),
                KeyKind::Int => fixed::int_from_text(value).map(Key::Int),
                KeyKind::Oid => fixed::int_from_text(value).filter(|&oid| oid >= 0).map(Key::Int),
                KeyKind::Numeric => numeric::from_text(value, scratch),
                KeyKind::Float4 => fixed::float4_from_text(value).map(fixed::float_key),
                KeyKind::Float8 => fixed::float8_from_text(value).map(fixed::float_key),
                KeyKind::Text => Some(Key::Wide(fingerprint(bytes::unescaped(value, scratch)))),
                KeyKind::BpChar => {
                    let value = bytes::unescaped(value, scratch);
                    Some(Key::Wide(fingerprint(bytes::without_trailing_blanks(value))))
                }
                KeyKind::Bytea => bytes::bytea(value, scratch).map(|bytes| Key::Wide(fingerprint(bytes))),
                KeyKind::Uuid => fixed::uuid_from_text(value).map(Key::Wide),
                KeyKind::Date => time::date(value).map(Key::Int),
                KeyKind::Time => time::time(value).map(wide),
                KeyKind::Timestamp => time::timestamp(value).map(wide),
                KeyKind::Timestamptz => time::timestamptz(value).map(wide),
            },
        }
    }

    /// Compares two non-NULL values as their type orders them, text by its bytes. Values that PostgreSQL considers
    /// equal (1.0 and 1.00) are ordered by their bytes. Without a kind only the bytes of the wire format count.
    ///
    /// # Errors
    /// One of them is not a value of this kind.
    pub fn compare(&mut self, kind: Option<KeyKind>, a: &[u8], b: &[u8]) -> Result<Ordering> {
        let by_type = match kind {
            // The hex digits of a bytea in text sort like the bytes they represent.
            None | Some(KeyKind::Bytea) => Ordering::Equal,
            Some(KeyKind::Text) => self.string(a, &mut Vec::new()).cmp(self.string(b, &mut Vec::new())),
            Some(KeyKind::BpChar) => {
                let (mut ours, mut theirs) = (Vec::new(), Vec::new());
                let (a, b) = (self.string(a, &mut ours), self.string(b, &mut theirs));
                bytes::without_trailing_blanks(a).cmp(bytes::without_trailing_blanks(b))
            }
            Some(kind @ (KeyKind::Float4 | KeyKind::Float8)) => {
                fixed::compare_floats(self.format, kind == KeyKind::Float4, a, b)
                    .ok_or_else(|| malformed("not a floating-point number"))?
            }
            Some(KeyKind::Numeric) => {
                numeric::compare(self.format, a, b).ok_or_else(|| malformed("not a numeric"))?
            }
            Some(kind) => match (self.read(kind, a)?, self.read(kind, b)?) {
                (Key::Wide(a), Key::Wide(b)) if kind != KeyKind::Uuid => signed(a).cmp(&signed(b)),
                (a, b) => a.cmp(&b),
            },
        };
        Ok(by_type.then_with(|| a.cmp(b)))
    }

    /// Returns a string without the escapes of COPY text format.
    fn string<'a>(&self, value: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
        match self.format {
            Format::Binary => value,
            Format::Text => bytes::unescaped(value, scratch),
        }
    }
}

/// A 64-bit integer that is usually far from other values.
fn wide(value: i64) -> Key {
    Key::Wide(u128::from(value.cast_unsigned()))
}

fn signed(wide: u128) -> i64 {
    (wide as u64).cast_signed()
}

/// Returns the key of several columns. Two integers are kept unchanged, everything else becomes a fingerprint.
#[must_use]
pub(super) fn composite(parts: &[Key]) -> Key {
    const PART_BYTES: usize = 17;
    match *parts {
        [one] => one,
        [Key::Int(a), Key::Int(b)] => {
            Key::Wide(u128::from(a.cast_unsigned()) << 64 | u128::from(b.cast_unsigned()))
        }
        _ => {
            let mut image = [0; PART_BYTES * KEY_COLUMNS_MAX];
            for (slot, part) in image.chunks_exact_mut(PART_BYTES).zip(parts) {
                let value = match *part {
                    Key::Int(value) => u128::from(value.cast_unsigned()),
                    Key::Wide(value) => {
                        slot[0] = 1;
                        value
                    }
                };
                slot[1..].copy_from_slice(&value.to_le_bytes());
            }
            let used = PART_BYTES * parts.len().min(KEY_COLUMNS_MAX);
            Key::Wide(fingerprint(&image[..used]))
        }
    }
}

/// Returns a 128-bit fingerprint of a value of any length.
///
/// The probability that a value which is not in a set of `n` is taken for one that is, is n / 2^128; that any of `m`
/// such values is, at most n·m / 2^128. With a set of 100 million keys and a billion orphans that is 3·10^-22: a disk
/// delivers a wrong sector far more often. The seed differs from process to process, so that nobody can prepare
/// values that collide.
#[must_use]
pub(super) fn fingerprint(value: &[u8]) -> u128 {
    static SEED: LazyLock<u64> = LazyLock::new(|| {
        use std::hash::{BuildHasher as _, RandomState};
        RandomState::new().hash_one(0)
    });
    xxh3_128_with_seed(value, *SEED)
}
