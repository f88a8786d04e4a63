//! In words what the acts' reports show, and what they do not.

use super::reader::Seen;
use super::world;
use crate::report::{Report, TableReport, figures};

pub(super) const WHOLE: &str = "1. The nightly sync: all of the desktop's tables go to the app's database.";
pub(super) const INCREMENTAL: &str =
    "2. The next morning: only what the desktop wrote since (--mode incremental).";
pub(super) const REVERSE: &str = "3. The way back: what the app's users wrote goes to the desktop.";
pub(super) const AGAIN: &str = "4. The next night: all of the desktop's tables again.";

/// The app's own rows: how many, and a checksum.
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
  - The {} tables hold what the desktop has now, all of them since the same
    moment: one transaction, which kept writers away for {}.
  - A reader asked the app's database for a client {} times meanwhile,
    {found}, and waited {} at most.
  - {} at a location that does not exist stayed behind, and with them
    the {} that depend on them: no foreign key was broken.
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
  - {} were read: those that were written since the last run. The diary
    has times of that; the items have none, and were found by PostgreSQL's own
    transaction numbers.
",
        figures::counted(sum(report, |table| table.extracted), "row")
    )
}

pub(super) fn reverse(returned: u64) -> String {
    format!(
        "
What happened:
  - The desktop has {} of the app's users now, tasks and pages of the
    diary. A second config does that, with the databases exchanged.
",
        figures::counted(returned, "row")
    )
}

pub(super) fn again(report: &Report, before: &AppRows, after: &AppRows) -> String {
    format!(
        "What happened:
  - The {} that had gone to the desktop came along, were recognised as the
    app's own, and skipped: none of them is there twice.
  - The app's own {} are {}.
",
        figures::counted(sum(report, |table| table.skipped), "row"),
        figures::counted(before.0, "row"),
        kept(before, after),
    )
}

fn kept(before: &AppRows, after: &AppRows) -> String {
    if before == after {
        "as they were, byte by byte".to_owned()
    } else {
        format!("not as they were: {}", figures::count(after.0))
    }
}

fn sum(report: &Report, of: impl Fn(&TableReport) -> u64) -> u64 {
    report.tables.iter().map(of).sum()
}
