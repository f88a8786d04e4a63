//! What the planner asks of an apply method.
//!
//! Each method brings its own [`Rules`]: whether it is possible for a table, whom it makes wait, what it needs.

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

    /// Why `auto` leaves it to the operator to choose it for this table, although it is possible, as a clause.
    fn reluctance(&self, _case: &Case<'_>) -> Option<String> {
        None
    }

    /// What speaks against it for this table although it is possible, as a clause that its name begins: "would be slow: …".
    /// `auto` passes it over then, if it can.
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

    /// Whether it compares the staged rows with the live ones by key, so that only differences are written.
    fn compares(&self) -> bool {
        false
    }

    /// The strategy that it is a way of.
    fn strategy(&self) -> Strategy {
        Strategy::Replace
    }

    /// Whether it leaves the old rows on disk beside the new ones until VACUUM.
    fn doubles_table(&self) -> bool;
}

/// A table for which a method is considered, and what the run does to the others.
pub struct Case<'a> {
    /// The table's plan so far.
    pub table: &'a TablePlan,
    /// The live table.
    pub target: &'a Relation,
    /// Another entry of the config fills it, too.
    pub is_shared: bool,
    /// `server_version_num` of the target.
    pub version: u32,
    /// What the other tables of the same transaction are.
    pub others: &'a [&'a Storage],
    /// What becomes of each table of the same group under this assumption; `None` for any other table.
    pub fate: &'a dyn Fn(&TableName) -> Option<Fate>,
}

/// What the run does to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// The method that it gets.
    pub method: ApplyMethod,
    /// All of its rows are dealt with: the entry has no scope, and is not a partition of it.
    pub is_whole: bool,
}

impl Case<'_> {
    /// A table that references this one and is not dealt with by one of `methods` in the same transaction.
    #[must_use]
    pub fn foreign_referrer(&self, methods: &[ApplyMethod]) -> Option<String> {
        self.referrer(methods, |key| key.is_enforced)
    }

    /// The same, by a foreign key of whatever kind: TRUNCATE minds those, too, that are NOT ENFORCED.
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
