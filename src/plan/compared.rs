//! How `verify` compares a column, and how rows are found that a cast changes.
//!
//! Both sides are reduced to text. Where a cast can lose information, the target's value is cast back to the source's
//! type, so that a loss shows as a difference. In all other cases, and with `lossy = "allow"`, the source's value is
//! first cast to the target's type. A type that only the target knows is read by the target from the source's text,
//! as during the load.

use super::format::{Conversion, shared_type};
use super::loss::{self, oids};
use crate::pg::catalog::{BareType, Catalog, Column, Oid, Type};
use crate::pg::name::{Ident, literal};

/// How a column is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    /// By the text of two values.
    Values {
        /// SQL over the source's columns.
        source: String,
        /// SQL over the target's columns.
        target: String,
        /// The text form of both values.
        image: Image,
    },
    /// The source sends this SQL over its columns as text, which the target reads as the column's type.
    ReadByTarget(String),
    /// The column is not compared.
    Not(Omission),
}

/// Why a column is not compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Omission {
    /// An `expr` in the config computes it.
    Expression,
    /// A lookup fills it.
    LookedUp,
    /// The target's default fills it.
    Default,
}

/// The text form of a value, which is the same on both servers under the settings of our sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// The output of the type itself.
    Text,
    /// Normalized output for numbers: equal numbers have equal text, whatever their decimal places.
    Number,
    /// The time in UTC, because sessions may have different time zones.
    Utc,
    /// The binary form from the type's send function, for types that contain such times.
    Sent(&'static str),
}

impl Image {
    /// Returns the image for values of a built-in type; other types use their text.
    fn of(oid: Oid) -> Self {
        match oid {
            oids::TIMESTAMPTZ => Self::Utc,
            oids::TIMESTAMPTZ_ARRAY => Self::Sent("array_send"),
            oids::TSTZRANGE => Self::Sent("range_send"),
            oids::TSTZMULTIRANGE => Self::Sent("multirange_send"),
            _ => Self::Text,
        }
    }

    /// Likewise, for values that were cast and cast back, which does not preserve a number's decimal places.
    fn of_cast(oid: Oid) -> Self {
        match oid {
            oids::NUMERIC | oids::NUMERIC_ARRAY | oids::NUMRANGE | oids::NUMMULTIRANGE => Self::Number,
            _ => Self::of(oid),
        }
    }

    /// Returns SQL for the text of a value.
    #[must_use]
    pub fn sql(self, value: &str) -> String {
        match self {
            Self::Text => format!("({value})::pg_catalog.text"),
            Self::Utc => format!("(({value}) at time zone 'UTC')::pg_catalog.text"),
            Self::Sent(function) => format!("pg_catalog.{function}({value})::pg_catalog.text"),
            // Trailing zeros of a fraction, or a fraction of zeros only.
            Self::Number => format!(
                r"pg_catalog.regexp_replace(({value})::pg_catalog.text, '(\.[0-9]*[1-9])0+(?![0-9])|\.0+(?![0-9])', '\1', 'g')"
            ),
        }
    }
}

/// The setting of the target session that holds the source's time zone during a comparison.
pub(crate) const SOURCE_ZONE: &str = "bulkload.source_zone";

/// A source column and the target column it fills.
pub(super) struct Filling<'a> {
    source: &'a Catalog,
    target: &'a Catalog,
    from: &'a Column,
    to: &'a Column,
    ours: BareType,
    theirs: BareType,
}

impl<'a> Filling<'a> {
    pub(super) fn new(source: &'a Catalog, target: &'a Catalog, from: &'a Column, to: &'a Column) -> Self {
        let (ours, theirs) = (source.bare_type(from), target.bare_type(to));
        Self { source, target, from, to, ours, theirs }
    }

    /// What the cast can lose.
    pub(super) fn loss(&self) -> Option<&'static str> {
        loss::of(self.source, self.from, self.target, self.to)
    }

    /// Returns how the column is compared. With `finds_loss`, values are compared in the source's type if possible.
    pub(super) fn compared(&self, conversion: &Conversion, finds_loss: bool) -> Compared {
        let column = self.to.name.to_string();
        if finds_loss && let Some(target) = self.cast_back(&column, self.target, &zoned) {
            let image = Image::of_cast(self.ours.oid);
            return Compared::Values { source: self.from.name.to_string(), target, image };
        }
        // The target casts attributes of composites when it reads them.
        let is_cast_within = !finds_loss && !is_built_in(self.theirs.oid) && self.loss().is_some();
        match self.stored(conversion).filter(|_| !is_cast_within) {
            Some(source) => Compared::Values { source, target: column, image: Image::of(self.theirs.oid) },
            None => Compared::ReadByTarget(self.from.name.to_string()),
        }
    }

    /// Returns SQL with which the source computes the value as the target stores it; `None` if only the target can
    /// read it.
    fn stored(&self, conversion: &Conversion) -> Option<String> {
        let value = self.from.name.to_string();
        let kind = &self.theirs.sql_name;
        match conversion {
            Conversion::Cast { to, .. } => Some(format!("({value}::{to})::{kind}")),
            _ if self.ours.oid == self.theirs.oid && is_built_in(self.theirs.oid) => {
                let is_as_it_is = self.ours.modifier == self.theirs.modifier;
                Some(if is_as_it_is { value } else { format!("({value})::{kind}") })
            }
            Conversion::Same => Some(value),
            Conversion::Text(_) if shared_type(self.target, self.theirs.oid).is_some() => {
                Some(format!("(({value})::pg_catalog.text)::{kind}"))
            }
            Conversion::Text(_) => self.is_kept().then_some(value),
        }
    }

    /// Returns whether a value has the same text on both sides: the types are equal, or the target's type stores text
    /// unchanged.
    fn is_kept(&self) -> bool {
        let (Some(ours), Some(theirs)) =
            (self.source.types.get(&self.ours.oid), self.target.types.get(&self.theirs.oid))
        else {
            return false;
        };
        let is_one =
            |ours: &Type, theirs: &Type| ours.kind == theirs.kind && ours.name.name == theirs.name.name;
        let is_text = |kind: &Type| kind.kind == 'e' || kind.category == 'S';
        let is_composite = |kind: &Type| kind.kind == 'c';
        (is_text(ours) && is_text(theirs))
            || (is_composite(ours) && is_composite(theirs))
            || is_one(ours, theirs)
    }

    /// Returns SQL that casts a target value back to the source's type on the given server; `None` if the server has
    /// no such cast.
    fn cast_back(
        &self,
        value: &str,
        server: &Catalog,
        zoned: &dyn Fn(&str, Oid, Oid) -> Option<String>,
    ) -> Option<String> {
        let (from, to) = (self.theirs.oid, self.ours.oid);
        if !is_built_in(from) || !is_built_in(to) || self.source.wire_signature(to).is_none() {
            return None;
        }
        let name = &self.ours.sql_name;
        if let Some(value) = zoned(value, from, to) {
            return Some(format!("({value})::{name}"));
        }
        let (ours, theirs) = (self.source.types.get(&to)?, self.target.types.get(&from)?);
        let has_cast = |from: Oid, to: Oid| {
            let is_string =
                |catalog: &Catalog, oid| catalog.types.get(&oid).is_some_and(|t| t.category == 'S');
            from == to
                || server.casts.contains_key(&(from, to))
                || is_string(self.source, to)
                || is_string(self.target, from)
        };
        let is_cast = match (theirs.parts.first(), ours.parts.first()) {
            // Arrays are cast element by element.
            (Some(&from), Some(&to)) if ours.is_array && theirs.is_array => has_cast(from, to),
            _ => has_cast(from, to),
        };
        if is_cast {
            return Some(format!("({value})::{name}"));
        }
        let is_range = |kind: &Type| matches!(kind.kind, 'r' | 'm');
        (is_range(ours) && is_range(theirs)).then(|| format!("(({value})::pg_catalog.text)::{name}"))
    }

    /// Returns a predicate for the source: the cast changes the row's value and the target accepts the result. `None`
    /// if the source cannot tell.
    pub(super) fn changes(&self, conversion: &Conversion) -> Option<String> {
        let value = self.from.name.to_string();
        let own_zone = |_: &str, _, _| None;
        let back = self.cast_back(&self.arrives(conversion)?, self.source, &own_zone)?;
        let image = Image::of_cast(self.ours.oid);
        let changed = format!("{} is distinct from {}", image.sql(&back), image.sql(&value));
        let is_text = |oid| matches!(oid, oids::TEXT | oids::VARCHAR | oids::BPCHAR | oids::NAME);
        if let (oids::VARCHAR | oids::BPCHAR, Some(length)) =
            (self.theirs.oid, loss::length(self.theirs.modifier))
        {
            // A longer value is refused unless the excess is spaces.
            return Some(format!(
                "{changed} and pg_catalog.length(pg_catalog.rtrim(({value})::pg_catalog.text)) <= {length}"
            ));
        }
        if is_text(self.ours.oid) && !is_text(self.theirs.oid) {
            // A value that the cast refuses is rejected. Servers before 16 cannot test for that in advance.
            return Some(if self.source.server.version >= INPUT_IS_VALID {
                let kind = literal(&self.theirs.sql_name);
                format!(
                    "case when pg_catalog.pg_input_is_valid(({value})::pg_catalog.text, {kind}) then {changed} end"
                )
            } else {
                changed
            });
        }
        Some(changed)
    }

    /// Returns the value as the target stores it. A number with too many digits is only rounded: the target refuses
    /// it.
    fn arrives(&self, conversion: &Conversion) -> Option<String> {
        let value = self.from.name.to_string();
        match (self.theirs.oid, loss::scale(self.theirs.modifier)) {
            (oids::NUMERIC, Some(scale)) => {
                Some(format!("pg_catalog.round(({value})::pg_catalog.\"numeric\", {scale})"))
            }
            _ => self.stored(conversion),
        }
    }
}

/// Since this version a server can tell whether a type accepts a text (`pg_input_is_valid`).
const INPUT_IS_VALID: u32 = 160_000;

fn is_built_in(oid: Oid) -> bool {
    oid < 16_384
}

/// Returns a time in the source's time zone, where a cast would use the session's.
fn zoned(value: &str, from: Oid, to: Oid) -> Option<String> {
    let zone = format!("pg_catalog.current_setting({})", literal(SOURCE_ZONE));
    match (from, to) {
        (oids::TIMESTAMPTZ, oids::TIMESTAMP | oids::DATE | oids::TIME) => {
            Some(format!("({value}) at time zone {zone}"))
        }
        (oids::TIMESTAMP | oids::DATE, oids::TIMESTAMPTZ) => {
            Some(format!("(({value})::timestamp) at time zone {zone}"))
        }
        _ => None,
    }
}

/// Returns the comparison for a constant that only the target can read.
pub(super) fn constant(column: &Ident, type_name: &str, text: &str) -> Compared {
    let read = format!("({})::{type_name}", literal(text));
    let image = Image::Text;
    let target = format!("{} is not distinct from {}", image.sql(&column.to_string()), image.sql(&read));
    Compared::Values { source: "true".to_owned(), target, image }
}

/// Returns the comparison for a value that the source computes in the target's type.
pub(super) fn computed(value: &str, to: &Column, target: &Catalog) -> Compared {
    let bare = target.bare_type(to);
    Compared::Values {
        source: format!("({value})::{}", bare.sql_name),
        target: to.name.to_string(),
        image: Image::of(bare.oid),
    }
}
