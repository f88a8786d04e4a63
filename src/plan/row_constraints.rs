//! NOT NULL and CHECK constraints of the target, and when they can be judged.
//!
//! Staging already enforces most of them, so that a row the live table would refuse never enters staging. Constraints
//! on *late* columns, which change after a row was copied (a lookup fills them, or orphans get NULL in them), are
//! judged when those columns have settled. A trigger that may change a row before it is written prevents judging it
//! in advance: this affects all rows, only inserted rows or only updated rows, depending on the events the triggers
//! fire for ([`JudgedRows`]). So does a CHECK that depends on anything but the row. In those cases the target checks
//! the constraint when the rows are applied.

use super::{JudgedRows, TablePlan};
use crate::config::OnOrphan;
use crate::pg::catalog::CheckConstraint;
use crate::pg::name::Ident;

impl TablePlan {
    /// Returns whether a column may change after its row was copied.
    fn is_late(&self, name: &Ident) -> bool {
        let is_nulled = self
            .references
            .iter()
            .any(|reference| reference.on_orphan == OnOrphan::Null && reference.columns.contains(name));
        is_nulled || self.is_filled(name)
    }

    /// Returns the loaded columns that are NOT NULL in the live table, if all rows can be judged.
    fn not_null(&self) -> impl Iterator<Item = &Ident> {
        self.demanded(&[JudgedRows::All])
    }

    /// Returns the live table's CHECK constraints over loaded columns only, likewise.
    fn checks(&self) -> impl Iterator<Item = &CheckConstraint> {
        self.demanded_checks(&[JudgedRows::All])
    }

    /// Returns the loaded columns that are NOT NULL in the live table, if these rows are the ones that can be judged.
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

    /// Returns the columns that must not be NULL in some of the staged rows ([`JudgedRows::Inserted`],
    /// [`JudgedRows::Updated`]).
    pub fn not_null_of_some(&self) -> impl Iterator<Item = &Ident> {
        self.demanded(&[JudgedRows::Inserted, JudgedRows::Updated])
    }

    /// Returns the CHECK constraints that must hold for some of the staged rows.
    pub fn checks_of_some(&self) -> impl Iterator<Item = &CheckConstraint> {
        self.demanded_checks(&[JudgedRows::Inserted, JudgedRows::Updated])
    }

    /// Returns whether staging enforces NOT NULL for a column.
    #[must_use]
    pub fn is_not_null_staged(&self, name: &Ident) -> bool {
        !self.is_late(name) && self.not_null().any(|demanded| demanded == name)
    }

    /// Returns the CHECK constraints that staging enforces.
    pub fn staged_checks(&self) -> impl Iterator<Item = &CheckConstraint> {
        self.checks().filter(|check| !check.columns.iter().any(|name| self.is_late(name)))
    }

    /// Returns the columns that must not be NULL once late columns have settled.
    pub fn late_not_null(&self) -> impl Iterator<Item = &Ident> {
        self.not_null().filter(|name| self.is_late(name))
    }

    /// Returns the CHECK constraints that must hold once late columns have settled.
    pub fn late_checks(&self) -> impl Iterator<Item = &CheckConstraint> {
        self.checks().filter(|check| check.columns.iter().any(|name| self.is_late(name)))
    }
}
