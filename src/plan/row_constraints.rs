//! What the target demands of every row, and when that can be seen: NOT NULL and CHECK.
//!
//! Most of it is demanded by staging already, so that a row which the live table would refuse does not even get there. What
//! concerns columns that change after a row was copied (*late* ones: those that a lookup fills, or that orphans get
//! NULL in) is judged when they have settled. Triggers that may mend a row before it is written keep us from judging it: all rows, or
//! those that are inserted, or those that are updated, by what the triggers fire for ([`JudgedRows`]). So does a CHECK that depends
//! on anything but the row. There the target speaks when it is applied.

use super::{JudgedRows, TablePlan};
use crate::config::OnOrphan;
use crate::pg::catalog::CheckConstraint;
use crate::pg::name::Ident;

impl TablePlan {
    /// Whether a column may change after its row was copied.
    fn is_late(&self, name: &Ident) -> bool {
        let is_nulled = self
            .references
            .iter()
            .any(|reference| reference.on_orphan == OnOrphan::Null && reference.columns.contains(name));
        is_nulled || self.is_filled(name)
    }

    /// The loaded columns in which the live table has no NULL, if all rows can be judged.
    fn not_null(&self) -> impl Iterator<Item = &Ident> {
        self.demanded(&[JudgedRows::All])
    }

    /// The checks of the live table that look at loaded columns alone, likewise.
    fn checks(&self) -> impl Iterator<Item = &CheckConstraint> {
        self.demanded_checks(&[JudgedRows::All])
    }

    /// The loaded columns in which the live table has no NULL, if these rows are those that can be judged.
    fn demanded(&self, judged: &[JudgedRows]) -> impl Iterator<Item = &Ident> {
        let is_judged = judged.contains(&self.judged_rows());
        let names = self.columns.iter().map(|column| &column.name).filter(move |_| is_judged);
        names.filter(|name| self.live.column(name).is_some_and(|column| column.not_null))
    }

    fn demanded_checks(&self, judged: &[JudgedRows]) -> impl Iterator<Item = &CheckConstraint> {
        let is_judged = judged.contains(&self.judged_rows());
        let is_loaded = |name: &Ident| self.columns.iter().any(|column| column.name == *name);
        let checks = self.live.checks.iter().filter(move |_| is_judged);
        checks.filter(move |check| check.columns.iter().all(is_loaded))
    }

    /// The columns that must not be NULL in some of the staged rows ([`JudgedRows::Inserted`], [`JudgedRows::Updated`]).
    pub fn not_null_of_some(&self) -> impl Iterator<Item = &Ident> {
        self.demanded(&[JudgedRows::Inserted, JudgedRows::Updated])
    }

    /// The checks that must hold for some of the staged rows.
    pub fn checks_of_some(&self) -> impl Iterator<Item = &CheckConstraint> {
        self.demanded_checks(&[JudgedRows::Inserted, JudgedRows::Updated])
    }

    /// Whether staging demands that a column is not NULL.
    #[must_use]
    pub fn is_not_null_staged(&self, name: &Ident) -> bool {
        !self.is_late(name) && self.not_null().any(|demanded| demanded == name)
    }

    /// The checks that staging has.
    pub fn staged_checks(&self) -> impl Iterator<Item = &CheckConstraint> {
        self.checks().filter(|check| !check.columns.iter().any(|name| self.is_late(name)))
    }

    /// The columns that must not be NULL in the end.
    pub fn late_not_null(&self) -> impl Iterator<Item = &Ident> {
        self.not_null().filter(|name| self.is_late(name))
    }

    /// The checks that must hold in the end.
    pub fn late_checks(&self) -> impl Iterator<Item = &CheckConstraint> {
        self.checks().filter(|check| check.columns.iter().any(|name| self.is_late(name)))
    }
}
