//! Renders the binary form of a value as the text that PostgreSQL itself would output.
//!
//! Rows in binary COPY are not readable. A rejects file needs the text that `COPY … (format text)` would produce, before its
//! escaping, in a session with our settings ([`crate::pg::session`]): DateStyle ISO, IntervalStyle postgres,
//! extra_float_digits 3, bytea_output hex, lc_monetary C, TimeZone UTC, client_encoding UTF8. The server's output functions
//! (src/backend/utils/adt) are the specification, and the oracle of the tests. One difference: `"char"` shows a byte above
//! 127 as `\ooo` on every version, as 16 and later do, since the byte alone is not valid UTF-8.
//!
//! [`Renderer::for_type`] compiles a type once; [`Renderer::write`] then renders any number of its values.

mod array;
mod composite;
mod copy_text;
mod extension;
mod fields;
mod float;
mod geometry;
mod misc;
mod network;
mod number;
mod quoting;
mod range;
mod text_search;
mod time;

use std::fmt;

pub use copy_text::from_copy_text;

use super::catalog::{Catalog, Oid, Type};

/// Types cannot contain themselves; the bound only prevents an endless loop with a broken catalog.
const DEPTH_MAX: u8 = 32;

/// Since this version an interval can be infinite. Before, the same bytes were a very long interval.
const INFINITE_INTERVALS_SINCE: u32 = 170_000;

/// The error for bytes that are not a value of their type, with the reason. It never contains any of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed binary value: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// Renders one complete value, and appends only its text. [`Renderer::write`] removes what it appended before an error.
type Scalar = fn(&[u8], &mut Vec<u8>) -> Result<(), Malformed>;

/// Returns whether values of a type can be rendered.
///
/// These cannot: types whose binary form is an OID of their server (`regclass` and the like), types without a binary form,
/// and base types of extensions other than `citext`, `hstore` and `ltree`.
#[must_use]
pub fn can_render(catalog: &Catalog, oid: Oid) -> bool {
    Renderer::for_type(catalog, oid).is_some()
}

/// Renders binary values of one type as text.
#[derive(Debug, Clone)]
pub struct Renderer {
    shape: Shape,
}

#[derive(Debug, Clone)]
enum Shape {
    Scalar(Scalar),
    Array(array::Array),
    Composite(composite::Composite),
    Range(Box<Renderer>),
    Multirange(Box<Renderer>),
}

impl Renderer {
    /// Returns the renderer of a type of `catalog`'s server; `None` if there is none, see [`can_render`].
    #[must_use]
    pub fn for_type(catalog: &Catalog, oid: Oid) -> Option<Self> {
        Self::compile(catalog, oid, 0)
    }

    /// Appends the text of a value that is not NULL.
    ///
    /// `value` is the value's bytes without their length. Text is copied unchanged, so it is UTF-8 if the server's text is.
    ///
    /// # Errors
    /// The bytes are not a value of the type. `out` is then unchanged.
    pub fn write(&self, value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        let before = out.len();
        self.append(value, out).inspect_err(|_| out.truncate(before))
    }

    fn append(&self, value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        match &self.shape {
            Shape::Scalar(write) => write(value, out),
            Shape::Array(array) => array.append(value, out),
            Shape::Composite(composite) => composite.append(value, out),
            Shape::Range(bound) => range::append(bound, value, out),
            Shape::Multirange(range) => range::append_many(range, value, out),
        }
    }

    fn compile(catalog: &Catalog, oid: Oid, depth: u8) -> Option<Self> {
        let kind = catalog.types.get(&oid).filter(|_| depth < DEPTH_MAX)?;
        let part = |part: Oid| Self::compile(catalog, part, depth + 1);
        let first = || kind.parts.first().and_then(|&oid| part(oid));
        let shape = match kind.kind {
            'd' => return first(),
            'e' => Shape::Scalar(misc::text),
            'c' => {
                let columns: Option<Vec<_>> = kind.parts.iter().map(|&oid| Some((oid, part(oid)?))).collect();
                Shape::Composite(composite::Composite::new(columns?))
            }
            'r' => Shape::Range(Box::new(first()?)),
            'm' => Shape::Multirange(Box::new(first()?)),
            _ => match scalar(catalog, kind) {
                Some(scalar) => Shape::Scalar(scalar),
                None if kind.is_array => {
                    let &element = kind.parts.first()?;
                    let delimiter = delimiter(catalog, element, depth);
                    Shape::Array(array::Array::new(element, part(element)?, delimiter))
                }
                None => return None,
            },
        };
        Some(Self { shape })
    }
}

/// Returns the separator of an array's elements: a semicolon for `box`, and for domains over it (`typdelim`).
fn delimiter(catalog: &Catalog, element: Oid, depth: u8) -> u8 {
    match catalog.types.get(&element) {
        Some(kind) if kind.kind == 'd' && depth < DEPTH_MAX => {
            kind.parts.first().map_or(b',', |&base| delimiter(catalog, base, depth + 1))
        }
        Some(kind) if is_built_in(kind) && kind.name.name.as_str() == "box" => b';',
        _ => b',',
    }
}

fn is_built_in(kind: &Type) -> bool {
    kind.is_built_in() && kind.name.schema.as_str() == "pg_catalog"
}

/// Returns the renderer of a base type.
fn scalar(catalog: &Catalog, kind: &Type) -> Option<Scalar> {
    if !is_built_in(kind) {
        return extension::scalar(kind);
    }
    Some(match kind.name.name.as_str() {
        "text" | "varchar" | "bpchar" | "name" | "json" | "xml" | "unknown" | "refcursor" => misc::text,
        "jsonb" | "jsonpath" => misc::versioned_text,
        "bool" => misc::boolean,
        "char" => misc::char,
        "bytea" => misc::bytea,
        "uuid" => misc::uuid,
        "bit" | "varbit" => misc::bits,
        "int2" => number::int2,
        "int4" => number::int4,
        "int8" => number::int8,
        "oid" | "xid" | "cid" => number::uint4,
        "xid8" => number::uint8,
        "float4" => float::float4,
        "float8" => float::float8,
        "numeric" => number::numeric,
        "money" => number::money,
        "date" => time::date,
        "time" => time::time,
        "timetz" => time::timetz,
        "timestamp" => time::timestamp,
        "timestamptz" => time::timestamptz,
        "interval" if catalog.server.version >= INFINITE_INTERVALS_SINCE => time::interval,
        "interval" => time::finite_interval,
        "inet" => network::inet,
        "cidr" => network::cidr,
        "macaddr" => network::macaddr,
        "macaddr8" => network::macaddr8,
        "point" => geometry::point,
        "line" => geometry::line,
        "lseg" => geometry::lseg,
        "box" => geometry::r#box,
        "path" => geometry::path,
        "polygon" => geometry::polygon,
        "circle" => geometry::circle,
        "tid" => misc::tid,
        "pg_lsn" => misc::lsn,
        "pg_snapshot" | "txid_snapshot" => misc::snapshot,
        "int2vector" => array::int2vector,
        "oidvector" => array::oidvector,
        "tsvector" => text_search::tsvector,
        "tsquery" => text_search::tsquery,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
