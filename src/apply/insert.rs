//! `strategy = "insert"`: inserts rows whose key is new. Existing rows stay as they are.

use super::merge::{MergeMethod, Policy};
use crate::config::{ApplyMethod, Strategy};
use crate::plan::method::Case;

pub(super) const INSERT: MergeMethod = MergeMethod {
    method: ApplyMethod::Insert,
    strategy: Strategy::Insert,
    policy: Policy { removes: false, updates: false },
    waits: "readers never wait; writers wait while the new rows are written",
    refusal,
};

/// LOCK TABLE requires one of these privileges for a lock that blocks writers (manual, LOCK).
fn refusal(case: &Case<'_>) -> Option<String> {
    let rights = &case.target.rights;
    let may_lock = rights.update || rights.delete || rights.truncate;
    (!may_lock).then(|| {
        "locking out writers requires UPDATE, DELETE or TRUNCATE on it, which the role lacks".to_owned()
    })
}
