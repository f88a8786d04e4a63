//! The demo's explanations of its results, in words.

use super::reader::Seen;
use super::world;
use crate::figures;
use crate::report::{Report, TableReport};

pub(super) const WHOLE: &str = "1. The nightly sync: all of the desktop's tables go to the app's database.";
pub(super) const INCREMENTAL: &str =
    "2. The next morning: only rows that changed since then (--mode incremental).";
pub(super) const REVERSE: &str = "3. The way back: rows from the app's users go to the desktop.";
pub(super) const AGAIN: &str = "4. The next night: all of the desktop's tables again.";

/// The number of the app's own rows, and their checksum.
type AppRows = (u64, String);

pub(super) fn whole(report: &Report, rows: u64, seen: Seen, before: &AppRows, after: &AppRows) -> String {
    let rejected = sum(report, |table| table.rejected);
    let orphans = world::orphans(rows);
    let lock = report.tables.iter().map(|table| table.lock_ms).max().unwrap_or(0);
    let found = match seen.missed {
        0 => "always found it".to_owned(),
        missed => format!("missed it {} times", figures::count(missed)),
    };
    format!(
        "
What happened:
  - The {} tables now hold the desktop's rows. One transaction applied all
    of them at the same moment and blocked writers for {}.
  - Meanwhile, a reader asked the app's database for a client {} times,
    {found}, and waited {} at most.
  - {} with a missing location were rejected, together with
    the {} that depend on them, so no foreign key was violated.
  - The app's own {}, some of them in the same tables,
    are {}.
",
        report.tables.len(),
        figures::duration_ms(lock),
        figures::count(seen.asked),
        figures::duration(seen.longest),
        figures::counted(orphans, "client"),
        figures::counted(rejected.saturating_sub(orphans), "row"),
        figures::counted(before.0, "row"),
        kept(before, after),
    )
}

pub(super) fn incremental(report: &Report) -> String {
    format!(
        "
What happened:
  - {} were read: those that changed since the last run. The diary has
    timestamps for that. The items have none, so PostgreSQL's transaction IDs
    identified their changes.
",
        figures::counted(sum(report, |table| table.extracted), "row")
    )
}

pub(super) fn reverse(returned: u64) -> String {
    format!(
        "
What happened:
  - The desktop now has {} from the app's users: tasks and diary pages.
    A second config, with source and target swapped, loads them.
",
        figures::counted(returned, "row")
    )
}

pub(super) fn again(report: &Report, before: &AppRows, after: &AppRows) -> String {
    format!(
        "What happened:
  - The {} that had gone to the desktop were read again, recognized as
    the app's own, and skipped, so none is duplicated.
  - The app's own {} are {}.
",
        figures::counted(sum(report, |table| table.skipped), "row"),
        figures::counted(before.0, "row"),
        kept(before, after),
    )
}

fn kept(before: &AppRows, after: &AppRows) -> String {
    if before == after {
        "unchanged, byte for byte".to_owned()
    } else {
        format!("changed: now {}", figures::count(after.0))
    }
}

fn sum(report: &Report, of: impl Fn(&TableReport) -> u64) -> u64 {
    report.tables.iter().map(of).sum()
}
