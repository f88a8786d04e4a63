//! `strategy = "insert"`: rows whose key is new are inserted. Rows that are there are left alone.

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

/// LOCK TABLE asks for one of these rights for a lock that keeps writers out (manual, LOCK).
fn refusal(case: &Case<'_>) -> Option<String> {
    let rights = &case.target.rights;
    let may_lock = rights.update || rights.delete || rights.truncate;
    (!may_lock).then(|| {
        "locking out writers requires UPDATE, DELETE or TRUNCATE on it, which the role lacks".to_owned()
    })
}
