//! Renders arrays.

use std::io::Write as _;

use super::fields::Fields;
use super::quoting::{Quoting, append_quoted};
use super::{Malformed, Renderer, number};
use crate::pg::catalog::Oid;

/// The most dimensions of an array (`MAXDIM`, src/include/utils/array.h).
const DIMENSIONS_MAX: usize = 6;

/// Renders arrays of one type.
#[derive(Debug, Clone)]
pub(super) struct Array {
    element: Oid,
    renderer: Box<Renderer>,
    delimiter: u8,
}

impl Array {
    pub(super) fn new(element: Oid, renderer: Renderer, delimiter: u8) -> Self {
        Self { element, renderer: Box::new(renderer), delimiter }
    }

    pub(super) fn append(&self, value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        let mut fields = Fields::of(value);
        let header = Header::read(&mut fields)?;
        if header.element != self.element {
            return Err(Malformed("the elements of the array have another type"));
        }
        if header.count == 0 {
            out.extend_from_slice(b"{}");
            return fields.end();
        }
        header.append_bounds(out);
        for i in 0..header.count {
            if i > 0 {
                out.push(self.delimiter);
            }
            let opened = header.dimensions_at(i);
            out.extend((0..opened).map(|_| b'{'));
            match fields.value()? {
                None => out.extend_from_slice(b"NULL"),
                Some(element) => {
                    let quoting = Quoting::Element(self.delimiter);
                    append_quoted(quoting, out, |out| self.renderer.append(element, out))?;
                }
            }
            let closed = header.dimensions_at(i + 1);
            out.extend((0..closed).map(|_| b'}'));
        }
        fields.end()
    }
}

/// The part before the elements.
struct Header {
    element: Oid,
    dimensions: usize,
    lengths: [usize; DIMENSIONS_MAX],
    lower_bounds: [i32; DIMENSIONS_MAX],
    /// The number of elements; zero without dimensions.
    count: usize,
}

impl Header {
    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let dimensions = fields.count()? as usize;
        if dimensions > DIMENSIONS_MAX {
            return Err(Malformed("the array has more than 6 dimensions"));
        }
        // The flag for NULLs, which the elements show themselves.
        let _has_nulls = fields.i32()?;
        let element = fields.u32()?;
        let (mut lengths, mut lower_bounds) = ([0; DIMENSIONS_MAX], [0; DIMENSIONS_MAX]);
        let mut count = usize::from(dimensions > 0);
        for (length, lower_bound) in lengths.iter_mut().zip(&mut lower_bounds).take(dimensions) {
            (*length, *lower_bound) = (fields.count()? as usize, fields.i32()?);
            count = count.checked_mul(*length).ok_or(Malformed("the array has too many elements"))?;
        }
        Ok(Self { element, dimensions, lengths, lower_bounds, count })
    }

    /// Appends `[0:2][1:3]=` unless all bounds begin at 1.
    fn append_bounds(&self, out: &mut Vec<u8>) {
        let lower_bounds = &self.lower_bounds[..self.dimensions];
        if lower_bounds.iter().all(|&bound| bound == 1) {
            return;
        }
        for (&lower, &length) in lower_bounds.iter().zip(&self.lengths) {
            // Writing to a Vec cannot fail.
            let _ = write!(out, "[{lower}:{}]", i64::from(lower) + length as i64 - 1);
        }
        out.push(b'=');
    }

    /// Returns how many dimensions begin before the element of this index; as many have ended before it.
    fn dimensions_at(&self, index: usize) -> usize {
        let mut stride = 1;
        let lengths = self.lengths[..self.dimensions].iter().rev();
        lengths
            .take_while(|&&length| {
                stride *= length;
                index.is_multiple_of(stride)
            })
            .count()
    }
}

pub(super) fn int2vector(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    vector(value, number::int2, out)
}

pub(super) fn oidvector(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    vector(value, number::uint4, out)
}

/// Renders the vectors of the system catalogs: arrays on the wire, numbers separated by spaces as text.
fn vector(value: &[u8], element: super::Scalar, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut fields = Fields::of(value);
    for i in 0..Header::read(&mut fields)?.count {
        if i > 0 {
            out.push(b' ');
        }
        element(fields.value_not_null()?, out)?;
    }
    fields.end()
}
