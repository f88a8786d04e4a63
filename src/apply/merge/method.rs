//! The methods that write only differences. They differ only in their treatment of live rows and the privileges that it
//! needs.

use super::Policy;
use crate::apply::{Method, Way};
use crate::config::{ApplyMethod, Strategy};
use crate::plan::method::{Case, Rules, TableLock};

/// A method that writes only differences.
pub(in crate::apply) struct MergeMethod {
    /// Its name.
    pub(in crate::apply) method: ApplyMethod,
    /// The strategy that it implements.
    pub(in crate::apply) strategy: Strategy,
    /// Its treatment of live rows.
    pub(in crate::apply) policy: Policy,
    /// Describes which sessions wait and for how long.
    pub(in crate::apply) waits: &'static str,
    /// Returns the reason it cannot be used for a table, beyond the requirements of all these methods.
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

    /// `auto` chooses among the methods of `replace`; the other strategies have one method each.
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
