//! Renders base types of extensions that come with PostgreSQL and that applications use.

use super::fields::Fields;
use super::{Malformed, Scalar, misc};
use crate::pg::catalog::Type;

/// Returns the renderer of an extension's type. The name alone is not enough: any user can create a type `citext`.
pub(super) fn scalar(kind: &Type) -> Option<Scalar> {
    let (extension, _version) = kind.extension.as_deref()?.split_once(' ')?;
    match (extension, kind.name.name.as_str()) {
        ("citext", "citext") => Some(misc::text),
        ("hstore", "hstore") => Some(hstore),
        ("ltree", "ltree" | "lquery" | "ltxtquery") => Some(misc::versioned_text),
        _ => None,
    }
}

/// Renders pairs of key and value, `"a"=>"1", "b"=>NULL`.
fn hstore(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut fields = Fields::of(value);
    for i in 0..fields.count()? {
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        append_string(fields.value_not_null()?, out);
        out.extend_from_slice(b"=>");
        match fields.value()? {
            Some(string) => append_string(string, out),
            None => out.extend_from_slice(b"NULL"),
        }
    }
    fields.end()
}

fn append_string(string: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in string {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}
