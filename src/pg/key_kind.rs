//! Defines which types can be compared by keys derived from their values, and which only the server can compare.
//!
//! Two values of comparable columns are equal in PostgreSQL exactly if their keys are equal. [`crate::transform::key`]
//! derives the keys. This module holds what a planner needs: the kind of each type, and the kinds that one equality operator
//! compares.

use super::catalog::{Catalog, Oid};

/// How the values of a column are turned into keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// bool
    Bool,
    /// int2, int4, int8
    Int,
    /// oid: unsigned, and so a class of its own
    Oid,
    /// numeric
    Numeric,
    /// float4, widened as PostgreSQL does to compare it with a float8
    Float4,
    /// float8
    Float8,
    /// text, varchar, name and the labels of an enum, compared by their bytes: right for every deterministic collation
    Text,
    /// char(n), without its trailing blanks
    BpChar,
    /// uuid
    Uuid,
    /// bytea
    Bytea,
    /// date
    Date,
    /// time without time zone
    Time,
    /// timestamp without time zone
    Timestamp,
    /// timestamp with time zone
    Timestamptz,
}

/// Kinds that the same equality operator compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Bool,
    Number,
    Oid,
    Float,
    Text,
    BpChar,
    Uuid,
    Bytea,
    Date,
    Time,
    Timestamp,
    Timestamptz,
}

impl KeyKind {
    /// Returns the kind of a built-in type; `None` if only the server can compare its values. A domain has the kind of its
    /// base type. The caller recognizes enums by their catalog entry (their labels are [`KeyKind::Text`], and an enum matches
    /// only itself) and leaves columns of a nondeterministic collation to the server.
    #[must_use]
    pub fn of(oid: Oid) -> Option<Self> {
        Some(match oid {
            16 => Self::Bool,
            17 => Self::Bytea,
            19 | 25 | 1043 => Self::Text,
            20 | 21 | 23 => Self::Int,
            26 => Self::Oid,
            700 => Self::Float4,
            701 => Self::Float8,
            1042 => Self::BpChar,
            1082 => Self::Date,
            1083 => Self::Time,
            1114 => Self::Timestamp,
            1184 => Self::Timestamptz,
            1700 => Self::Numeric,
            2950 => Self::Uuid,
            _ => return None,
        })
    }

    fn class(self) -> Class {
        match self {
            Self::Bool => Class::Bool,
            Self::Int | Self::Numeric => Class::Number,
            Self::Oid => Class::Oid,
            Self::Float4 | Self::Float8 => Class::Float,
            Self::Text => Class::Text,
            Self::BpChar => Class::BpChar,
            Self::Uuid => Class::Uuid,
            Self::Bytea => Class::Bytea,
            Self::Date => Class::Date,
            Self::Time => Class::Time,
            Self::Timestamp => Class::Timestamp,
            Self::Timestamptz => Class::Timestamptz,
        }
    }
}

/// Returns whether values of a child's column can be matched with a parent's by their keys. Types are given as OIDs of
/// built-in types (of domains: their base types). Each side is then read as its own [`KeyKind::of`].
///
/// A char(n) child matches a text parent as PostgreSQL casts it, to text without trailing blanks. A text child of a char(n)
/// parent is left to the server: a foreign key ignores the text's trailing blanks, but `=` in a query does not.
#[must_use]
pub fn comparable(child: Oid, parent: Oid) -> Option<(KeyKind, KeyKind)> {
    let (child, parent) = (KeyKind::of(child)?, KeyKind::of(parent)?);
    let casts = child == KeyKind::BpChar && parent == KeyKind::Text;
    (casts || child.class() == parent.class()).then_some((child, parent))
}

/// As [`comparable`], for any two types of a catalog. A domain is treated as its base type; an enum matches only itself.
///
/// The caller leaves columns of a nondeterministic collation to the server.
#[must_use]
pub fn comparable_types(catalog: &Catalog, child: Oid, parent: Oid) -> Option<(KeyKind, KeyKind)> {
    let (child, parent) = (catalog.base_type(child), catalog.base_type(parent));
    if catalog.types.get(&child).is_some_and(|kind| kind.kind == 'e') {
        return (child == parent).then_some((KeyKind::Text, KeyKind::Text));
    }
    comparable(child, parent)
}
