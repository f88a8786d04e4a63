//! The methods that write only what differs: alike but for what they do with live rows, and what they need for that.

use super::Policy;
use crate::apply::{Method, Way};
use crate::config::{ApplyMethod, Strategy};
use crate::plan::method::{Case, Rules, TableLock};

/// A method that writes only what differs.
pub(in crate::apply) struct MergeMethod {
    /// Its name.
    pub(in crate::apply) method: ApplyMethod,
    /// The strategy that it is a way of.
    pub(in crate::apply) strategy: Strategy,
    /// What it does with live rows.
    pub(in crate::apply) policy: Policy,
    /// Who waits and for how long, in words.
    pub(in crate::apply) waits: &'static str,
    /// Why it cannot be used for a table, besides what all of them need.
    pub(in crate::apply) refusal: fn(&Case<'_>) -> Option<String>,
}

impl Rules for MergeMethod {
    fn method(&self) -> ApplyMethod {
        self.method
    }

    fn strategy(&self) -> Strategy {
        self.strategy
    }

    fn refusal(&self, case: &Case<'_>) -> Option<String> {
        let no_comparing = || {
            (!case.target.rights.temporary)
                .then(|| "the role may not create temporary tables, which hold the differences".to_owned())
        };
        case.table.storage.place_refusal().or_else(|| (self.refusal)(case)).or_else(no_comparing)
    }

    fn lock(&self) -> TableLock {
        TableLock::ShareRowExclusive
    }

    fn waits(&self) -> &'static str {
        self.waits
    }

    /// `auto` chooses among the ways of `replace`; the other strategies have one way each.
    fn is_automatic(&self) -> bool {
        self.strategy == Strategy::Replace
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

impl Method for MergeMethod {
    fn way(&self) -> Way<'_> {
        Way::Merge(self.policy)
    }
}
