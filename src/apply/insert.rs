//! `strategy = "insert"`: rows whose key is new are inserted. Rows that are there are left alone.

use super::merge::{self, Policy};
use super::{Method, Way};
use crate::config::{ApplyMethod, Strategy};
use crate::plan::method::{Case, Rules, TableLock};

pub(super) struct Insert;

impl Rules for Insert {
    fn method(&self) -> ApplyMethod {
        ApplyMethod::Insert
    }

    fn strategy(&self) -> Strategy {
        Strategy::Insert
    }

    /// LOCK TABLE asks for one of these rights for a lock that keeps writers out (manual, LOCK).
    fn refusal(&self, case: &Case<'_>) -> Option<String> {
        let rights = &case.target.rights;
        let may_lock = rights.update || rights.delete || rights.truncate;
        if !may_lock {
            return Some("to lock writers out the role needs UPDATE, DELETE or TRUNCATE on it".to_owned());
        }
        merge::refusal(*rights)
    }

    fn lock(&self) -> TableLock {
        TableLock::ShareRowExclusive
    }

    fn waits(&self) -> &'static str {
        "readers never wait, writers wait for the new rows to be written"
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

impl Method for Insert {
    fn way(&self) -> Way<'_> {
        Way::Merge(Policy { removes: false, updates: false })
    }
}
