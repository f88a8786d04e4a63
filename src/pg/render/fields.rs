//! Reads the fields of a binary value in order.

use super::Malformed;

/// The unread part of a value. All integers are in network byte order (`pq_sendint` and the like,
/// src/backend/libpq/pqformat.c).
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn of(value: &'a [u8]) -> Self {
        Self { rest: value }
    }

    /// Reads a value that is one field of fixed size.
    pub(super) fn only<const N: usize>(value: &[u8]) -> Result<[u8; N], Malformed> {
        value.try_into().map_err(|_| Malformed("the size does not match the type"))
    }

    pub(super) fn bytes(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Malformed("it is too short"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed("it is too short"))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn i16(&mut self) -> Result<i16, Malformed> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes)
    }

    pub(super) fn f64(&mut self) -> Result<f64, Malformed> {
        self.array().map(f64::from_be_bytes)
    }

    /// Reads the count of the items that follow.
    pub(super) fn count(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.i32()?).map_err(|_| Malformed("a count is negative"))
    }

    /// Reads a value after its length; a length of -1 is NULL.
    pub(super) fn value(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.i32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_| Malformed("a length is negative"))?;
                self.bytes(length).map(Some)
            }
        }
    }

    /// Reads a value that must not be NULL.
    pub(super) fn value_not_null(&mut self) -> Result<&'a [u8], Malformed> {
        self.value()?.ok_or(Malformed("NULL where none is allowed"))
    }

    /// Reads a zero-terminated string.
    pub(super) fn c_string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.rest.iter().position(|&b| b == 0).ok_or(Malformed("a string is not terminated"))?;
        let string = self.bytes(length)?;
        self.bytes(1)?;
        Ok(string)
    }

    /// Fails if bytes are left.
    pub(super) fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() { Ok(()) } else { Err(Malformed("it is too long")) }
    }
}
