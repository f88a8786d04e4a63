//! Renders composite types.

use super::fields::Fields;
use super::quoting::{Quoting, append_quoted};
use super::{Malformed, Renderer};
use crate::pg::catalog::Oid;

/// Renders rows of one composite type from the types of its columns.
#[derive(Debug, Clone)]
pub(super) struct Composite {
    columns: Vec<(Oid, Renderer)>,
}

impl Composite {
    pub(super) fn new(columns: Vec<(Oid, Renderer)>) -> Self {
        Self { columns }
    }

    pub(super) fn append(&self, value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        let mut fields = Fields::of(value);
        if fields.count()? as usize != self.columns.len() {
            return Err(Malformed("the composite has another number of columns"));
        }
        out.push(b'(');
        for (i, (oid, renderer)) in self.columns.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            if fields.u32()? != *oid {
                return Err(Malformed("a column of the composite has another type"));
            }
            if let Some(column) = fields.value()? {
                append_quoted(Quoting::Column, out, |out| renderer.append(column, out))?;
            }
        }
        out.push(b')');
        fields.end()
    }
}
