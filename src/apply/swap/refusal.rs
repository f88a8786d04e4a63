//! Reasons against swapping a table.

use crate::config::ApplyMethod;
use crate::pg::catalog::Action;
use crate::plan::method::Case;

/// Returns why a table cannot be swapped, as a clause.
pub(super) fn refusal(case: &Case<'_>) -> Option<String> {
    let target = case.target;
    if case.table.scope.is_some() {
        return Some("it has a scope".to_owned());
    }
    if case.is_shared {
        return Some("another entry of the config fills it as well".to_owned());
    }
    if let Some(refusal) = case.table.storage.swap_refusal() {
        return Some(refusal);
    }
    if target.is_partition {
        return Some("it is a partition".to_owned());
    }
    if !target.is_permanent {
        return Some("it is UNLOGGED, so a crash would empty the new table while it is built".to_owned());
    }
    if !target.rights.owner {
        return Some("the role does not own it".to_owned());
    }
    if let Some(obstacle) = target.attachments.obstacles.first() {
        return Some(obstacle.clone());
    }
    references_what_vanishes(case).or_else(|| refers_by_periods(case))
}

/// After the exchange the old table keeps its references, which would block deleting the referenced rows.
fn references_what_vanishes(case: &Case<'_>) -> Option<String> {
    case.target.foreign_keys.iter().filter(|key| key.is_enforced).find_map(|key| {
        let fate = (case.fate)(&key.to)?;
        (fate.method == ApplyMethod::Delta && matches!(key.on_delete, Action::None | Action::Restrict)).then(|| {
            format!(
                "{}, which it references ({}), is applied by delta in the same transaction, and the old table \
                 would still reference the rows that delta deletes",
                key.to.plain(),
                key.name.as_str()
            )
        })
    })
}

/// References to rows written after the exchange are checked by us, which is not possible for temporal foreign keys.
fn refers_by_periods(case: &Case<'_>) -> Option<String> {
    case.target.foreign_keys.iter().filter(|key| key.is_temporal && key.is_enforced).find_map(|key| {
        let fate = (case.fate)(&key.to)?;
        (fate.method != ApplyMethod::Swap).then(|| {
            format!(
                "{}, whose periods it references ({}), is applied by another method in the same transaction",
                key.to.plain(),
                key.name.as_str()
            )
        })
    })
}

/// Returns why `auto` leaves the choice of `swap` to the operator.
pub(super) fn reluctance(case: &Case<'_>) -> Option<String> {
    let attachments = &case.target.attachments;
    if let Some(publication) = attachments.publications.first() {
        return Some(format!("subscribers of publication {publication} would not receive the rows"));
    }
    let dependant = attachments.dependants.first().map(|dependant| format!("{dependant} depends on it"));
    dependant.or_else(|| case.foreign_referrer(&[ApplyMethod::Swap]))
}

/// Below this size DELETE and INSERT take a second or two. They disturb less than new OIDs, which every session and every
/// event trigger notices.
const BYTES_MIN: u64 = 64 << 20;

/// Returns the drawback of `swap` for the table.
pub(super) fn drawback(case: &Case<'_>) -> Option<String> {
    let bytes = case.table.bytes.max(case.table.target_bytes);
    (bytes < BYTES_MIN).then(|| "would disturb more than it saves: the table is small".to_owned())
}
