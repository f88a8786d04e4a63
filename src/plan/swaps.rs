//! Notes and warnings about swapped tables.

use super::{Group, TablePlan};
use crate::config::ApplyMethod;
use crate::pg::catalog::Catalog;

/// The publication through which Supabase Realtime receives changes.
const REALTIME: &str = "supabase_realtime";

/// Adds notes and warnings to tables that are swapped.
pub(super) fn tell(tables: &mut [TablePlan], groups: &[Group], target: &Catalog) {
    for group in groups {
        let members: Vec<usize> = group.tables().collect();
        let is_swapped = |table: &&usize| tables[**table].apply == ApplyMethod::Swap;
        let swapped: Vec<usize> = members.iter().filter(is_swapped).copied().collect();
        for &table in &swapped {
            tell_of(&mut tables[table], target);
            if swapped.len() < members.len() {
                tables[table].notes.push(
                    "everyone also waits while the other tables of the transaction are applied, which follows the exchange"
                        .to_owned(),
                );
            }
        }
    }
}

fn tell_of(table: &mut TablePlan, target: &Catalog) {
    let attachments = table.live.attachments.clone();
    table.notes.push("rows that others write into the table during the run are overwritten".to_owned());
    let bound = [attachments.keys, attachments.dependants].concat();
    if !bound.is_empty() {
        table.notes.push(format!("re-pointed to the new table: {}", bound.join(", ")));
    }
    let triggers = &target.server.event_triggers;
    if !triggers.is_empty() {
        table.notes.push(format!("event triggers may fire: {}", triggers.join(", ")));
    }
    if !attachments.publications.is_empty() {
        let names = attachments.publications.join(", ");
        table.warnings.push(format!("subscribers of {names} do not receive the new rows"));
    }
    if attachments.publications.iter().any(|name| name == REALTIME) {
        table.warnings.push(
            "Supabase Realtime notices the new table within 60 s and sends no changes to it before that"
                .to_owned(),
        );
    }
}
