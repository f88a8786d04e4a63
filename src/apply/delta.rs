//! `delta`: only what differs is deleted, updated and inserted. Writers wait for the differences, readers never.

use super::merge::{self, Policy};
use super::{Method, Way};
use crate::config::ApplyMethod;
use crate::plan::method::{Case, Rules, TableLock};

pub(super) struct Delta;

impl Rules for Delta {
    fn method(&self) -> ApplyMethod {
        ApplyMethod::Delta
    }

    fn refusal(&self, case: &Case<'_>) -> Option<String> {
        let rights = &case.target.rights;
        if case.table.key.is_none() {
            Some("it has no key".to_owned())
        } else if !rights.update {
            Some("the role has no UPDATE privilege on it".to_owned())
        } else if !rights.delete {
            Some("the role has no DELETE privilege on it".to_owned())
        } else {
            merge::refusal(*rights)
        }
    }

    fn lock(&self) -> TableLock {
        TableLock::ShareRowExclusive
    }

    fn waits(&self) -> &'static str {
        "readers never wait, writers wait for the differences to be written"
    }

    fn is_automatic(&self) -> bool {
        true
    }

    fn uses_staging(&self) -> bool {
        true
    }

    fn compares(&self) -> bool {
        true
    }

    fn doubles_table(&self) -> bool {
        false
    }
}

impl Method for Delta {
    fn way(&self) -> Way<'_> {
        Way::Merge(Policy { removes: true, updates: true })
    }
}
