//! The planner's interface to an apply method.
//!
//! Each method provides its own [`Rules`]: whether it is possible for a table, which sessions it makes wait, and what
//! it needs.

use super::{Storage, TablePlan};
use crate::config::{ApplyMethod, Strategy};
use crate::pg::catalog::{ForeignKey, Relation};
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
    /// Returns its name as in LOCK TABLE.
    #[must_use]
    pub fn sql(self) -> &'static str {
        match self {
            Self::ShareRowExclusive => "share row exclusive",
            Self::AccessExclusive => "access exclusive",
        }
    }
}

/// The planner's questions to an apply method. All answers are pure.
pub trait Rules: Sync {
    /// Returns the method.
    fn method(&self) -> ApplyMethod;

    /// Returns why the method cannot be used for this table, as a clause ("it has a scope"); `None` if it can.
    fn refusal(&self, case: &Case<'_>) -> Option<String>;

    /// Returns why `auto` does not choose the method for this table although it is possible, as a clause.
    fn reluctance(&self, _case: &Case<'_>) -> Option<String> {
        None
    }

    /// Returns why the method is a poor choice for this table although it is possible, as a clause that follows the
    /// method's name ("would be slow: …"). `auto` then avoids it if it can.
    fn drawback(&self, _case: &Case<'_>) -> Option<String> {
        None
    }

    /// Returns the lock it takes on the live table.
    fn lock(&self) -> TableLock;

    /// Returns which sessions wait and for how long, in words.
    fn waits(&self) -> &'static str;

    /// Returns whether `auto` may choose it.
    fn is_automatic(&self) -> bool;

    /// Returns whether rows go through a staging table.
    fn uses_staging(&self) -> bool;

    /// Returns whether it compares the staged rows with the live ones by key and writes only differences.
    fn compares(&self) -> bool {
        false
    }

    /// Returns the strategy it implements.
    fn strategy(&self) -> Strategy {
        Strategy::Replace
    }

    /// Returns whether it leaves the old rows on disk next to the new ones until VACUUM.
    fn doubles_table(&self) -> bool;
}

/// A table for which a method is considered, and what the run does to the other tables.
pub struct Case<'a> {
    /// The table's plan so far.
    pub table: &'a TablePlan,
    /// The live table.
    pub target: &'a Relation,
    /// Whether another entry of the config loads it too.
    pub is_shared: bool,
    /// `server_version_num` of the target.
    pub version: u32,
    /// The other tables of the same transaction.
    pub others: &'a [&'a Storage],
    /// Returns the fate of each table of the group under this assumption; `None` for any other table.
    pub fate: &'a dyn Fn(&TableName) -> Option<Fate>,
}

/// The effect of the run on a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// Its apply method.
    pub method: ApplyMethod,
    /// Whether the method covers all of its rows: the entry has no scope and is not for a partition.
    pub is_whole: bool,
}

impl Case<'_> {
    /// Returns a table that references this one and is not covered by one of `methods` in the same transaction.
    #[must_use]
    pub fn foreign_referrer(&self, methods: &[ApplyMethod]) -> Option<String> {
        self.referrer(methods, |key| key.is_enforced)
    }

    /// Likewise, for foreign keys of any kind: TRUNCATE also respects those that are NOT ENFORCED.
    #[must_use]
    pub fn any_referrer(&self, methods: &[ApplyMethod]) -> Option<String> {
        self.referrer(methods, |_| true)
    }

    fn referrer(&self, methods: &[ApplyMethod], counts: impl Fn(&ForeignKey) -> bool) -> Option<String> {
        self.target.referenced_by.iter().filter(|key| counts(key)).find_map(|key| {
            let fate = (self.fate)(&key.from);
            let handled = fate.is_some_and(|fate| fate.is_whole && methods.contains(&fate.method));
            (!handled).then(|| {
                let why = match fate {
                    None => "is not part of this run",
                    Some(fate) if !fate.is_whole => "is not emptied whole",
                    Some(_) => "is applied by another method",
                };
                format!("{} references it ({}) and {why}", key.from.plain(), key.name.as_str())
            })
        })
    }
}
