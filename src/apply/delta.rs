//! `delta`: deletes, updates and inserts only the differences. Writers wait while they are written; readers never wait.

use super::merge::{MergeMethod, Policy};
use crate::config::{ApplyMethod, Strategy};
use crate::plan::method::Case;

pub(super) const DELTA: MergeMethod = MergeMethod {
    method: ApplyMethod::Delta,
    strategy: Strategy::Replace,
    policy: Policy { removes: true, updates: true },
    waits: "readers never wait; writers wait while the differences are written",
    refusal,
};

fn refusal(case: &Case<'_>) -> Option<String> {
    let rights = &case.target.rights;
    let why = if case.table.key.is_none() {
        "it has no key"
    } else if !rights.update {
        "the role has no UPDATE privilege on it"
    } else if !rights.delete {
        "the role has no DELETE privilege on it"
    } else {
        return None;
    };
    Some(why.to_owned())
}
