//! What the planner asks of an apply method.
//!
//! Each method brings its own [`Rules`]: whether it is possible for a table, whom it makes wait, what it needs.

use super::TablePlan;
use crate::config::ApplyMethod;
use crate::pg::catalog::Relation;
use crate::pg::name::TableName;

/// The strongest lock that a method takes on the live table (PostgreSQL manual, 13.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TableLock {
    /// Writers wait, readers do not.
    ShareRowExclusive,
    /// Everyone waits.
    AccessExclusive,
}

impl TableLock {
    /// As LOCK TABLE writes it.
    #[must_use]
    pub fn sql(self) -> &'static str {
        match self {
            Self::ShareRowExclusive => "share row exclusive",
            Self::AccessExclusive => "access exclusive",
        }
    }
}

/// What the planner asks an apply method. All answers are pure.
pub trait Rules: Sync {
    /// Which method it is.
    fn method(&self) -> ApplyMethod;

    /// Why it cannot be used for this table, as a clause: "it has a scope". `None` if it can.
    fn refusal(&self, case: &Case<'_>) -> Option<String>;

    /// What makes it slow for this table although it is possible, as a clause. `auto` passes it over then, if it can.
    fn drawback(&self, _case: &Case<'_>) -> Option<String> {
        None
    }

    /// The lock it takes on the live table.
    fn lock(&self) -> TableLock;

    /// Who waits and for how long, in words.
    fn waits(&self) -> &'static str;

    /// Whether `auto` may choose it.
    fn is_automatic(&self) -> bool;

    /// Whether rows go through a staging table.
    fn uses_staging(&self) -> bool;

    /// Whether it leaves the old rows on disk beside the new ones until VACUUM.
    fn doubles_table(&self) -> bool;
}

/// A table for which a method is considered, and what the run does to the others.
pub struct Case<'a> {
    /// The table's plan so far.
    pub table: &'a TablePlan,
    /// The live table.
    pub target: &'a Relation,
    /// The method that each table of the same group gets under this assumption; `None` for any other table.
    pub fate: &'a dyn Fn(&TableName) -> Option<ApplyMethod>,
}

impl Case<'_> {
    /// A table that references this one and is not dealt with by one of `methods` in the same transaction.
    #[must_use]
    pub fn foreign_referrer(&self, methods: &[ApplyMethod]) -> Option<String> {
        self.target.referenced_by.iter().find_map(|key| {
            let fate = (self.fate)(&key.from);
            let handled = fate.is_some_and(|method| methods.contains(&method));
            (!handled).then(|| {
                let why =
                    if fate.is_none() { "is not part of this run" } else { "is applied by another method" };
                format!("{} references it ({}) and {why}", key.from.plain(), key.name.as_str())
            })
        })
    }
}
