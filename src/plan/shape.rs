//! Compares the structure of a source type and a target type.
//!
//! A composite value is sent by position, in binary and in text, and so are the bounds of a range: the source's
//! `street` becomes whatever attribute the target has in its place. Enum labels are sent as text. [`difference`]
//! finds where source and target disagree, through domains, arrays and nested composites.

use super::loss::oids::depends_on_zone;
use crate::pg::catalog::{Catalog, Oid, Part, Type};

/// A difference between two types.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// Values would change their meaning. The clause says where.
    Parts(String),
    /// Values arrive unchanged but sort in a different order.
    Order(String),
}

/// Returns how a source column's structured type differs from the target column's. A type that is read from text or
/// written as text has no parts to compare.
pub(super) fn difference(source: &Catalog, from: Oid, target: &Catalog, to: Oid) -> Option<Difference> {
    Sides { source, target }.compare(from, to, 0, false).err()
}

struct Sides<'a> {
    source: &'a Catalog,
    target: &'a Catalog,
}

/// Returns the first difference in parts, else the first difference in order.
fn worst(found: impl Iterator<Item = Result<(), Difference>>) -> Result<(), Difference> {
    let mut order = Ok(());
    for outcome in found {
        match outcome {
            Err(Difference::Parts(what)) => return Err(Difference::Parts(what)),
            Err(difference) if order.is_ok() => order = Err(difference),
            _ => {}
        }
    }
    order
}

impl Sides<'_> {
    /// Compares two types. With `is_part`, they are at the same position of a composite or a range, where nothing
    /// casts one to the other.
    fn compare(&self, from: Oid, to: Oid, depth: u8, is_part: bool) -> Result<(), Difference> {
        let (from, to) = (self.source.base_type(from), self.target.base_type(to));
        // Types cannot contain themselves; the limit only prevents an endless loop on a broken catalog.
        let (ours, theirs) = match (self.source.types.get(&from), self.target.types.get(&to)) {
            (Some(ours), Some(theirs)) if depth < 32 => (ours, theirs),
            _ => return Ok(()),
        };
        let first = |kind: &Type| kind.parts.first().copied().unwrap_or_default();
        match (ours.kind, theirs.kind) {
            ('c', 'c') => self.compare_columns(ours, theirs, depth),
            ('e', 'e') => compare_labels(ours, theirs),
            // Nothing casts a range, and as a text its bounds would be read in the target session's zone.
            ('r', 'r') | ('m', 'm') if depends_on_zone(first(ours), first(theirs)) => {
                Err(Difference::Parts(format!(
                    "{} has local times and {} has points in time, and PostgreSQL casts no range; convert it with expr",
                    ours.sql_name, theirs.sql_name
                )))
            }
            ('r', 'r') | ('m', 'm') if is_part || !(ours.is_built_in() && theirs.is_built_in()) => {
                match self.compare(first(ours), first(theirs), depth + 1, true) {
                    Err(Difference::Parts(what) | Difference::Order(what)) => {
                        Err(Difference::Parts(format!("the range {} differs: {what}", ours.sql_name)))
                    }
                    Ok(()) => Ok(()),
                }
            }
            _ if ours.is_array && theirs.is_array => {
                self.compare(first(ours), first(theirs), depth + 1, is_part)
            }
            _ if !is_part || is_same(ours, theirs) => Ok(()),
            _ => Err(Difference::Parts(format!(
                "it is {} on the source and {} on the target",
                ours.sql_name, theirs.sql_name
            ))),
        }
    }

    fn compare_columns(&self, ours: &Type, theirs: &Type, depth: u8) -> Result<(), Difference> {
        let names = |kind: &Type| kind.details.iter().map(|part| part.name.clone()).collect::<Vec<_>>();
        if names(ours) != names(theirs) {
            return Err(Difference::Parts(format!(
                "the composite type {} has the attributes ({}) on the source and ({}) on the target, and values travel by \
                 position",
                ours.sql_name,
                names(ours).join(", "),
                names(theirs).join(", ")
            )));
        }
        let both = ours.parts.iter().zip(&theirs.parts).zip(&ours.details);
        worst(both.map(|((&from, &to), Part { name, .. })| {
            let within = |what| format!("attribute {name} of {}: {what}", ours.sql_name);
            self.compare(from, to, depth + 1, true).map_err(|difference| match difference {
                Difference::Parts(what) => Difference::Parts(within(what)),
                Difference::Order(what) => Difference::Order(within(what)),
            })
        }))
    }
}

/// Returns whether two types without parts are the same.
fn is_same(ours: &Type, theirs: &Type) -> bool {
    match (ours.is_built_in(), theirs.is_built_in()) {
        (true, true) => ours.oid == theirs.oid,
        (false, false) => ours.kind == theirs.kind && ours.name.name == theirs.name.name,
        _ => false,
    }
}

fn compare_labels(ours: &Type, theirs: &Type) -> Result<(), Difference> {
    let quoted =
        |labels: &[&String]| labels.iter().map(|label| format!("'{label}'")).collect::<Vec<_>>().join(", ");
    let missing: Vec<&String> = ours.labels.iter().filter(|label| !theirs.labels.contains(label)).collect();
    if !missing.is_empty() {
        return Err(Difference::Parts(format!(
            "the enum {} has the labels {} on the source only (on the target: {})",
            ours.sql_name,
            quoted(&missing),
            quoted(&theirs.labels.iter().collect::<Vec<_>>())
        )));
    }
    let shared: Vec<&String> = theirs.labels.iter().filter(|label| ours.labels.contains(label)).collect();
    if shared == ours.labels.iter().collect::<Vec<_>>() {
        return Ok(());
    }
    Err(Difference::Order(format!(
        "the enum {} sorts its labels as {} on the source and as {} on the target",
        ours.sql_name,
        quoted(&ours.labels.iter().collect::<Vec<_>>()),
        quoted(&shared)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::name::{Ident, TableName};

    /// Returns a user-defined type with named parts.
    fn kind(oid: Oid, letter: char, parts: &[(&str, Oid)], labels: &[&str]) -> Type {
        let details = parts.iter().map(|(name, _)| Part {
            name: (*name).to_owned(),
            modifier: -1,
            type_name: String::new(),
        });
        Type {
            oid,
            name: TableName::new("public", format!("t{oid}")),
            sql_name: format!("t{oid}"),
            kind: letter,
            category: 'U',
            is_array: letter == 'b' && !parts.is_empty(),
            has_binary: true,
            is_ordered: true,
            extension: None,
            parts: parts.iter().map(|(_, oid)| *oid).collect(),
            details: details.collect(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        }
    }

    fn catalog(types: Vec<Type>) -> Catalog {
        let base = [23, 25].map(|oid| Type {
            name: TableName { schema: Ident::new("pg_catalog"), name: Ident::new(format!("b{oid}")) },
            ..kind(oid, 'b', &[], &[])
        });
        Catalog::of_types(150_000, types.into_iter().chain(base))
    }

    const ADDRESS: Oid = 20_000;
    const ARRAY: Oid = 20_001;
    const DOMAIN: Oid = 20_002;
    const OUTER: Oid = 20_003;
    const ENUM: Oid = 20_004;
    const RANGE: Oid = 20_005;

    /// Returns an address in a domain over an array of it, in another composite.
    fn nested(address: &[(&str, Oid)]) -> Catalog {
        catalog(vec![
            kind(ADDRESS, 'c', address, &[]),
            kind(ARRAY, 'b', &[("", ADDRESS)], &[]),
            kind(DOMAIN, 'd', &[("", ARRAY)], &[]),
            kind(OUTER, 'c', &[("n", 23), ("homes", DOMAIN)], &[]),
        ])
    }

    #[test]
    fn attributes_agree_by_name_and_type_at_any_depth() {
        let source = nested(&[("street", 25), ("city", 25)]);
        for oid in [ADDRESS, ARRAY, DOMAIN, OUTER] {
            assert_eq!(difference(&source, oid, &nested(&[("street", 25), ("city", 25)]), oid), None);
            for other in [
                &[("city", 25), ("street", 25)][..],
                &[("street", 25)],
                &[("street", 25), ("town", 25)],
                &[("street", 25), ("city", 23)],
                &[("street", 25), ("city", 25), ("zip", 25)],
            ] {
                let found = difference(&source, oid, &nested(other), oid);
                assert!(matches!(found, Some(Difference::Parts(_))), "{oid} {other:?} {found:?}");
            }
        }
    }

    #[test]
    fn a_label_that_the_target_lacks_is_named_and_another_order_is_told() {
        let with = |labels: &[&str]| {
            catalog(vec![kind(ENUM, 'e', &[], labels), kind(RANGE, 'r', &[("", ENUM)], &[])])
        };
        let compare = |target: &[&str], oid| difference(&with(&["a", "b"]), oid, &with(target), oid);
        assert_eq!(compare(&["a", "b"], ENUM), None);
        assert_eq!(compare(&["x", "a", "y", "b"], RANGE), None);
        let Some(Difference::Parts(what)) = compare(&["a", "c"], ENUM) else { panic!() };
        assert!(what.contains("the labels 'b' on the source only"), "{what}");
        assert!(matches!(compare(&["b", "a"], ENUM), Some(Difference::Order(_))));
        assert!(matches!(compare(&["b", "a"], RANGE), Some(Difference::Parts(_))));
    }

    #[test]
    fn ranges_over_other_subtypes_differ() {
        let over = |oid| catalog(vec![kind(RANGE, 'r', &[("", oid)], &[])]);
        assert_eq!(difference(&over(23), RANGE, &over(23), RANGE), None);
        assert!(matches!(difference(&over(23), RANGE, &over(25), RANGE), Some(Difference::Parts(_))));
    }
}
