//! Constraints of the target that staging does not enforce: NOT NULL and CHECK on columns that changed after their
//! rows were copied, and on rows that no trigger changes.

use super::{Judge, Staged, removal};
use crate::config::OnOrphan;
use crate::error::Result;
use crate::load::refusal::{check_violated, null_in};
use crate::pg::name::{Ident, literal};
use crate::plan::{JudgedRows, TablePlan};

impl<'p> Staged<'p> {
    /// Returns the columns that must not be NULL and in which no NULL was refused while rows streamed by.
    pub(super) fn late_not_null(&self) -> impl Iterator<Item = &'p Ident> {
        self.plan.late_not_null().filter(|name| !self.has_settled(name))
    }

    /// Returns whether a column changed for the last time before its rows were copied.
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
        let (plan, which) = (staged.plan, unmended(staged.plan));
        let not_null = staged.late_not_null().map(|column| (column, ""));
        for (column, which) in not_null.chain(plan.not_null_of_some().map(|column| (column, &*which))) {
            let (kind, text) = null_in(column, &plan.name);
            let delete =
                format!("delete from {} as s where s.{column} is null{which} returning s.*", staging.name);
            let sql = removal(plan, &delete, &literal(&text), "null");
            removed += self.remove(staged, &sql, &kind).await?;
        }
        let checks = plan.late_checks().map(|check| (check, ""));
        for (check, which) in checks.chain(plan.checks_of_some().map(|check| (check, &*which))) {
            let name = check.name.as_str();
            let (kind, text) = check_violated(name, &plan.name);
            let delete = format!(
                "delete from {} as s where ({}) is false{which} returning s.*",
                staging.name, check.expression
            );
            let sql = removal(plan, &delete, &literal(&text), &literal(name));
            removed += self.remove(staged, &sql, &kind).await?;
        }
        Ok(removed)
    }
}

/// Returns an `and` condition: no trigger changes the staged row `s`, because of whether it will be inserted or
/// update a live row.
fn unmended(plan: &TablePlan) -> String {
    let is_there = match plan.judged_rows() {
        JudgedRows::All => return String::new(),
        JudgedRows::None => return " and false".to_owned(),
        JudgedRows::Inserted => "not exists",
        JudgedRows::Updated => "exists",
    };
    let ours = plan.untouchable_rows().map(|rows| format!(" where ({rows}) is not true")).unwrap_or_default();
    // A CHECK names unqualified columns of the table, so no other FROM item may have columns with those names.
    format!(
        " and {is_there} (select from (select * from {}{ours}) as t where {})",
        plan.name,
        plan.same_key_sql("t", "s")
    )
}
