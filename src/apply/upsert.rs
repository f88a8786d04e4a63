//! `strategy = "upsert"`: rows are inserted, or update the row with their key if it is in scope. Nothing is deleted.

use super::merge::{self, Policy};
use super::{Method, Way};
use crate::config::{ApplyMethod, Strategy};
use crate::plan::method::{Case, Rules, TableLock};

pub(super) struct Upsert;

impl Rules for Upsert {
    fn method(&self) -> ApplyMethod {
        ApplyMethod::Upsert
    }

    fn strategy(&self) -> Strategy {
        Strategy::Upsert
    }

    fn refusal(&self, case: &Case<'_>) -> Option<String> {
        let rights = &case.target.rights;
        if !rights.update {
            return Some("the role has no UPDATE privilege on it".to_owned());
        }
        merge::refusal(*rights)
    }

    fn lock(&self) -> TableLock {
        TableLock::ShareRowExclusive
    }

    fn waits(&self) -> &'static str {
        "readers never wait, writers wait for the differences to be written"
    }

    fn is_automatic(&self) -> bool {
        false
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

impl Method for Upsert {
    fn way(&self) -> Way<'_> {
        Way::Merge(Policy { removes: false, updates: true })
    }
}
