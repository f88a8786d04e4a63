//! `strategy = "upsert"`: inserts rows, or updates the row with their key if it is in scope. Deletes nothing.

use super::merge::{MergeMethod, Policy};
use crate::config::{ApplyMethod, Strategy};
use crate::plan::method::Case;

pub(super) const UPSERT: MergeMethod = MergeMethod {
    method: ApplyMethod::Upsert,
    strategy: Strategy::Upsert,
    policy: Policy { removes: false, updates: true },
    waits: "readers never wait; writers wait while the differences are written",
    refusal,
};

fn refusal(case: &Case<'_>) -> Option<String> {
    (!case.target.rights.update).then(|| "the role has no UPDATE privilege on it".to_owned())
}
