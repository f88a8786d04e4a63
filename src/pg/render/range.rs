//! Renders ranges and multiranges.

use super::fields::Fields;
use super::quoting::{Quoting, append_quoted};
use super::{Malformed, Renderer};

/// The bits of a range's first byte (`RANGE_EMPTY` and the like, src/include/utils/rangetypes.h).
mod flag {
    pub(super) const EMPTY: u8 = 0x01;
    pub(super) const LOWER_INCLUSIVE: u8 = 0x02;
    pub(super) const UPPER_INCLUSIVE: u8 = 0x04;
    pub(super) const LOWER_INFINITE: u8 = 0x08;
    pub(super) const UPPER_INFINITE: u8 = 0x10;
    pub(super) const ALL: u8 = 0x1f;
}

/// Appends a range whose bounds have the type of `bound`.
pub(super) fn append(bound: &Renderer, value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut fields = Fields::of(value);
    let flags = fields.u8()?;
    if flags & !flag::ALL != 0 {
        return Err(Malformed("the kind of range is unknown"));
    }
    let has = |flag| flags & flag != 0;
    if has(flag::EMPTY) {
        out.extend_from_slice(b"empty");
        return fields.end();
    }
    out.push(if has(flag::LOWER_INCLUSIVE) { b'[' } else { b'(' });
    if !has(flag::LOWER_INFINITE) {
        let lower = fields.value_not_null()?;
        append_quoted(Quoting::Bound, out, |out| bound.append(lower, out))?;
    }
    out.push(b',');
    if !has(flag::UPPER_INFINITE) {
        let upper = fields.value_not_null()?;
        append_quoted(Quoting::Bound, out, |out| bound.append(upper, out))?;
    }
    out.push(if has(flag::UPPER_INCLUSIVE) { b']' } else { b')' });
    fields.end()
}

/// Appends a multirange whose ranges have the type of `range`.
pub(super) fn append_many(range: &Renderer, value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut fields = Fields::of(value);
    out.push(b'{');
    for i in 0..fields.count()? {
        if i > 0 {
            out.push(b',');
        }
        range.append(fields.value_not_null()?, out)?;
    }
    out.push(b'}');
    fields.end()
}
