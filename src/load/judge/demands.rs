//! What the target demands of columns that have changed since their rows were copied: NOT NULL and CHECK.

use super::{Judge, Staged, removal};
use crate::config::OnOrphan;
use crate::error::Result;
use crate::load::refusal::{check_violated, null_in};
use crate::pg::name::{Ident, literal};

impl<'p> Staged<'p> {
    /// The columns that must not be NULL, and in which no NULL was refused while rows streamed by.
    pub(super) fn late_not_null(&self) -> impl Iterator<Item = &'p Ident> {
        self.plan.late_not_null().filter(|name| !self.has_settled(name))
    }

    /// Whether a column has changed for the last time before its rows were copied.
    fn has_settled(&self, name: &Ident) -> bool {
        let fills = self.plan.lookups.iter().zip(&self.streamed.lookups);
        let nulls = self.plan.references.iter().zip(&self.streamed.references);
        fills.filter(|(lookup, _)| lookup.column == *name).all(|(_, &is_streamed)| is_streamed)
            && nulls
                .filter(|(r, _)| r.on_orphan == OnOrphan::Null && r.columns.contains(name))
                .all(|(_, &is_streamed)| is_streamed)
    }
}

impl Judge<'_, '_> {
    /// Removes the rows that the live table would refuse. Returns how many.
    pub(super) async fn refuse(&mut self, staged: &Staged<'_>) -> Result<u64> {
        let Some(staging) = &staged.staging else { return Ok(0) };
        let mut removed = 0;
        for column in staged.late_not_null() {
            let (kind, text) = null_in(column, &staged.plan.name);
            let delete = format!("delete from {} as s where s.{column} is null returning s.*", staging.name);
            let sql = removal(staged.plan, &delete, &literal(&text), "null");
            removed += self.remove(staged, &sql, &kind).await?;
        }
        for check in staged.plan.late_checks() {
            let name = check.name.as_str();
            let (kind, text) = check_violated(name, &staged.plan.name);
            let delete = format!(
                "delete from {} as s where ({}) is false returning s.*",
                staging.name, check.expression
            );
            let sql = removal(staged.plan, &delete, &literal(&text), &literal(name));
            removed += self.remove(staged, &sql, &kind).await?;
        }
        Ok(removed)
    }
}
