//! Duplicates: one of several rows with the same key is loaded.

use super::{Judge, Staged, pairs, removal};
use crate::error::Result;
use crate::pg::name::{list, literal, plain};
use crate::plan::WatermarkPlan;

impl Judge<'_, '_> {
    /// Of several rows with the same key, keeps the newest by its watermark, or else the greatest as text over the
    /// loaded columns. Returns how many rows were removed.
    pub(super) async fn deduplicate(&mut self, staged: &Staged<'_>) -> Result<u64> {
        let (Some(staging), Some(key)) = (&staged.staging, &staged.plan.key) else { return Ok(0) };
        if !staged.plan.has_doubtful_key() {
            return Ok(0);
        }
        let columns = list(key);
        let is_there: Vec<String> = key.iter().map(|column| format!("{column} is not null")).collect();
        let is_there = is_there.join(" and ");
        let name = &staging.name;
        let exists = format!(
            "select pg_catalog.count(*) from (select 1 from {name} where {is_there} group by {columns} having pg_catalog.count(*) > 1 limit 1) as twice"
        );
        if self.count(&exists).await? == 0 {
            return Ok(0);
        }
        let loaded = staged.plan.column_list();
        let newest = staged.plan.watermark.as_ref().and_then(WatermarkPlan::changed_at);
        let newest = newest.map(|time| format!("{time} desc nulls last, ")).unwrap_or_default();
        let gone = format!(
            "delete from {name} as s using (
                select ctid as place, pg_catalog.row_number() over (
                    partition by {columns} order by {newest}row({loaded})::text collate \"C\" desc, ctid) as nth
                from {name} as t where {is_there}) as ranked
             where s.ctid = ranked.place and ranked.nth > 1 returning s.*"
        );
        let key_names: Vec<String> = key.iter().map(plain).collect();
        let reason = format!(
            "pg_catalog.concat('another row has the same key: ', {})",
            pairs(&key_names, key).join(", ', ', ")
        );
        let constraint = format!("key ({})", key_names.join(", "));
        let sql = removal(staged.plan, &gone, &reason, &literal(&constraint));
        self.remove(staged, &sql, &constraint).await
    }
}
