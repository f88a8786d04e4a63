//! Renders geometric types.

use super::fields::Fields;
use super::{Malformed, float};

pub(super) fn point(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut fields = Fields::of(value);
    append_point(&mut fields, out)?;
    fields.end()
}

/// Renders the coefficients of a line's equation.
pub(super) fn line(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut fields = Fields::of(value);
    for before in [b'{', b',', b','] {
        out.push(before);
        float::write(fields.f64()?, out);
    }
    out.push(b'}');
    fields.end()
}

pub(super) fn lseg(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut fields = Fields::of(value);
    out.push(b'[');
    append_points(2, &mut fields, out)?;
    out.push(b']');
    fields.end()
}

pub(super) fn r#box(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut fields = Fields::of(value);
    append_points(2, &mut fields, out)?;
    fields.end()
}

/// Renders a path: brackets if it is open, parentheses if it is closed.
pub(super) fn path(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut fields = Fields::of(value);
    let (open, close) = if fields.u8()? == 0 { (b'[', b']') } else { (b'(', b')') };
    out.push(open);
    append_points(fields.count()?, &mut fields, out)?;
    out.push(close);
    fields.end()
}

pub(super) fn polygon(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut fields = Fields::of(value);
    out.push(b'(');
    append_points(fields.count()?, &mut fields, out)?;
    out.push(b')');
    fields.end()
}

pub(super) fn circle(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut fields = Fields::of(value);
    out.push(b'<');
    append_point(&mut fields, out)?;
    out.push(b',');
    float::write(fields.f64()?, out);
    out.push(b'>');
    fields.end()
}

fn append_points(count: u32, fields: &mut Fields<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    for i in 0..count {
        if i > 0 {
            out.push(b',');
        }
        append_point(fields, out)?;
    }
    Ok(())
}

fn append_point(fields: &mut Fields<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    out.push(b'(');
    float::write(fields.f64()?, out);
    out.push(b',');
    float::write(fields.f64()?, out);
    out.push(b')');
    Ok(())
}
