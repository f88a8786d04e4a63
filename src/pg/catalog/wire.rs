//! Decides whether two columns have the same form in binary COPY.

use std::fmt::Write as _;

use super::{Catalog, Oid, Type};

/// OIDs below this are assigned by PostgreSQL itself and mean the same on every server
/// (`FirstNormalObjectId`, src/include/access/transam.h).
const FIRST_NORMAL_OID: Oid = 16_384;

/// Types whose binary form is an OID of their own server. Names are portable between servers, OIDs are not.
const NAMED_OBJECTS: [&str; 11] = [
    "regclass",
    "regcollation",
    "regconfig",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
];

/// Types whose receive functions refuse the binary form of their empty value.
const NOT_ALWAYS_RECEIVED: [&str; 3] = ["int2vector", "oidvector", "tsquery"];

impl Type {
    /// Returns whether PostgreSQL itself defines the type, so that its OID means the same on every server.
    #[must_use]
    pub fn is_built_in(&self) -> bool {
        self.oid < FIRST_NORMAL_OID
    }
}

impl Catalog {
    /// Returns the binary COPY signature of a type. Two columns with equal signatures need no conversion. `None`: the type
    /// has no binary form that another server understands.
    ///
    /// A domain travels as its base type, an enum as its label. Arrays and composites carry the OIDs of their
    /// elements and are refused by `array_recv` and `record_recv` when these differ, so the OIDs are part of the signature.
    #[must_use]
    pub fn wire_signature(&self, oid: Oid) -> Option<String> {
        let mut text = String::new();
        self.sign(oid, 0, &mut text).then_some(text)
    }

    /// Returns whether values of a type are, or contain, values of another one.
    #[must_use]
    pub fn is_made_of(&self, oid: Oid, other: Oid) -> bool {
        let parts = self.types.get(&oid).map(|kind| kind.parts.as_slice()).unwrap_or_default();
        oid == other || parts.iter().any(|&part| self.is_made_of(part, other))
    }

    fn sign(&self, oid: Oid, depth: u8, out: &mut String) -> bool {
        // Types cannot contain themselves; the bound only keeps a broken catalog from hanging us.
        let Some(kind) = self.types.get(&oid).filter(|_| depth < 32) else { return false };
        if !kind.has_binary {
            return false;
        }
        let parts = |with_oids: bool, out: &mut String| {
            kind.parts.iter().all(|&part| {
                if with_oids {
                    let _ = write!(out, "{part}=");
                }
                let known = self.sign(part, depth + 1, out);
                out.push(',');
                known
            })
        };
        match kind.kind {
            'd' => kind.parts.first().is_some_and(|&base| self.sign(base, depth + 1, out)),
            'e' => {
                out.push_str("enum");
                true
            }
            'c' => {
                out.push_str("row(");
                parts(true, out)
            }
            'r' | 'm' if oid >= FIRST_NORMAL_OID => {
                out.push_str(if kind.kind == 'r' { "range(" } else { "multirange(" });
                parts(false, out)
            }
            _ if oid < FIRST_NORMAL_OID && text_only(kind.name.name.as_str()) => false,
            _ if kind.is_array => {
                out.push_str("array(");
                parts(true, out)
            }
            _ if oid < FIRST_NORMAL_OID => {
                let _ = write!(out, "{oid}");
                true
            }
            _ => match &kind.extension {
                Some(extension) => {
                    let _ = write!(out, "{extension}:{}", kind.name.name);
                    true
                }
                None => false,
            },
        }
    }
}

/// Returns whether a built-in type has values whose binary form another server may not accept.
fn text_only(name: &str) -> bool {
    NAMED_OBJECTS.contains(&name) || NOT_ALWAYS_RECEIVED.contains(&name)
}
