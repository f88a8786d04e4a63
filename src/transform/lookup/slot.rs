//! A value in eight bytes, or a reference to its location.

/// A value or its location: the lowest byte is a tag that tells which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(u64);

/// A value of the map.
#[derive(Debug, Clone, Copy)]
pub enum Found<'a> {
    /// NULL.
    Null,
    /// Up to eight bytes, and their number.
    Short([u8; 8], u8),
    /// A longer value.
    Long(&'a [u8]),
}

impl Found<'_> {
    /// Returns the value in COPY format, `None` for NULL.
    #[must_use]
    #[inline]
    pub fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Null => None,
            Self::Short(bytes, len) => Some(&bytes[..usize::from(*len)]),
            Self::Long(bytes) => Some(bytes),
        }
    }
}

/// Up to seven bytes are stored in the slot, and the tag is their number.
const SHORT_MAX: usize = 7;
/// Eight bytes of which the first is 0: a small 64-bit integer or a timestamp.
const EIGHT_POSITIVE: u8 = 8;
/// Eight bytes of which the first is 255: likewise, below zero.
const EIGHT_NEGATIVE: u8 = 9;
/// The upper 56 bits are a position in the arena.
const IN_ARENA: u8 = 10;
const NULL: u8 = 11;
const NOTHING: u8 = 12;
/// Set in the tag if the key had other values.
const AMBIGUOUS: u64 = 0x80;
const TAG: u64 = 0x7f;

impl Slot {
    /// No entry.
    pub(super) const EMPTY: Self = Self(NOTHING as u64);

    /// Stores a value, in the arena if it does not fit.
    pub(super) fn store(value: Option<&[u8]>, arena: &mut Vec<u8>) -> Self {
        let Some(value) = value else { return Self(u64::from(NULL)) };
        let mut bytes = [0; 8];
        match value {
            short if short.len() <= SHORT_MAX => {
                bytes[0] = short.len() as u8;
                bytes[1..=short.len()].copy_from_slice(short);
            }
            [first @ (0 | 255), rest @ ..] if rest.len() == SHORT_MAX => {
                bytes[0] = if *first == 0 { EIGHT_POSITIVE } else { EIGHT_NEGATIVE };
                bytes[1..].copy_from_slice(rest);
            }
            long => {
                let at = arena.len() as u64;
                // A field of COPY is shorter than 2 GiB.
                arena.extend_from_slice(&(long.len() as u32).to_le_bytes());
                arena.extend_from_slice(long);
                return Self(at << 8 | u64::from(IN_ARENA));
            }
        }
        Self(u64::from_le_bytes(bytes))
    }

    /// Returns the value, unless it is in the arena.
    #[inline]
    pub(super) fn load_inline(&self) -> Option<Found<'static>> {
        let mut bytes = self.0.to_le_bytes();
        let tag = (self.0 & TAG) as u8;
        Some(match tag {
            EIGHT_POSITIVE | EIGHT_NEGATIVE => {
                bytes[0] = if tag == EIGHT_POSITIVE { 0 } else { 255 };
                Found::Short(bytes, 8)
            }
            IN_ARENA => return None,
            NULL | NOTHING => Found::Null,
            len => {
                bytes.rotate_left(1);
                Found::Short(bytes, len)
            }
        })
    }

    /// Returns the value; `arena` is the one it was stored in.
    pub(super) fn load<'a>(&self, arena: &'a [u8]) -> Found<'a> {
        if let Some(found) = self.load_inline() {
            return found;
        }
        let at = (self.0 >> 8) as usize + 4;
        let len = u32::from_le_bytes([arena[at - 4], arena[at - 3], arena[at - 2], arena[at - 1]]);
        Found::Long(&arena[at..at + len as usize])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0 & TAG == u64::from(NOTHING)
    }

    pub(super) fn is_ambiguous(&self) -> bool {
        self.0 & AMBIGUOUS != 0
    }

    /// Returns the slot marked as having had other values.
    pub(super) fn ambiguous(self) -> Self {
        Self(self.0 | AMBIGUOUS)
    }
}
