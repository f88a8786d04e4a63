//! The demo's two databases: those of a trades business' desktop program and of the mobile app that gets its data nightly.
//!
//! The SQL files beside this one run on PostgreSQL 12 and later. They use neither random numbers nor the clock, so they
//! create the same rows everywhere. This module decides only the number of rows.

use crate::config::{SOURCE_URL_VARIABLE, TARGET_URL_VARIABLE};
use crate::error::{Error, Kind, Phase, Result};

/// Total number of rows in the source tables, unless `--rows` is given.
pub const ROWS: u64 = 92_387;

/// The minimum of `--rows`: with fewer rows, some table would lack rows, or most clients would be orphans.
pub const ROWS_MIN: u64 = 5_000;

/// The maximum of `--rows`: the desktop's keys must stay below those of the app, which start at 1,000,000,000.
pub const ROWS_MAX: u64 = 1_000_000_000;

/// The number of rows in each table; they add up to [`ROWS`].
pub const TABLES: [(&str, u64); 15] = [
    ("orgmaster", 14),
    ("locmaster", 212),
    ("stafmaster", 46),
    ("jobtypes", 24),
    ("itemmaster", 1_880),
    ("climaster", 729),
    ("clicontacts", 1_412),
    ("jobshead", 9_846),
    ("jobtasks", 24_573),
    ("taskchecklists", 8_216),
    ("checklistitems", 21_390),
    ("jobmaterials", 7_118),
    ("workdiary", 12_034),
    ("reminders", 3_208),
    ("jobdocs", 1_685),
];

/// Clients, among [`ROWS`] rows, whose location does not exist. Rows that depend on them are orphans too.
const ORPHANS: u64 = 3;

/// The config of the sync from desktop to app. It reads both URLs from the environment.
pub const CONFIG: &str = include_str!("bulkload.toml");

/// The config of the sync from app to desktop. It also reads both URLs from the environment.
pub const REVERSE_CONFIG: &str = include_str!("reverse.toml");

/// The desktop's changes after the first sync. Send it as one query.
pub const CHANGES: &str = include_str!("changes.sql");

/// Returns a config with both URLs written out, for a file that needs no environment.
#[must_use]
pub fn config(config: &str, source_url: &str, target_url: &str) -> String {
    config
        .replace(&format!("${{{SOURCE_URL_VARIABLE}}}"), source_url)
        .replace(&format!("${{{TARGET_URL_VARIABLE}}}"), target_url)
}

/// Returns the number of source rows per table, in the order of [`TABLES`]; they add up to `rows`.
///
/// # Errors
/// `Kind::Config` if `rows` is not between [`ROWS_MIN`] and [`ROWS_MAX`].
pub fn counts(rows: u64) -> Result<[(&'static str, u64); 15]> {
    if !(ROWS_MIN..=ROWS_MAX).contains(&rows) {
        return Err(Error::new(
            Phase::Config,
            Kind::Config,
            format!("--rows is {rows}; expected a number from {ROWS_MIN} to {ROWS_MAX}"),
        ));
    }
    let mut counts = TABLES.map(|(name, share)| (name, scaled(share, rows)));
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    // The largest table absorbs the rounding difference.
    for (_, count) in counts.iter_mut().filter(|(name, _)| *name == "jobtasks") {
        *count = *count + rows - total;
    }
    Ok(counts)
}

/// Returns the number of clients without a location in a source of `rows` rows.
#[must_use]
pub fn orphans(rows: u64) -> u64 {
    scaled(ORPHANS, rows)
}

/// Returns SQL that creates and fills the desktop's tables in an empty database. Send it as one query.
///
/// # Errors
/// As [`counts`].
pub fn source_sql(rows: u64) -> Result<String> {
    let parts =
        [include_str!("source_schema.sql"), include_str!("rows.sql"), include_str!("source_rows.sql")];
    Ok(settings(rows)? + &parts.concat())
}

/// Returns SQL that creates the app's tables in an empty database and fills them with rows of an earlier sync and of the
/// app's users. Send it as one query, as a superuser.
///
/// # Errors
/// As [`counts`].
pub fn target_sql(rows: u64) -> Result<String> {
    let parts =
        [include_str!("target_schema.sql"), include_str!("rows.sql"), include_str!("target_rows.sql")];
    Ok(settings(rows)? + &parts.concat())
}

/// Returns the settings that the SQL reads with `current_setting`.
fn settings(rows: u64) -> Result<String> {
    let counts = counts(rows)?.into_iter().chain([("orphans", orphans(rows))]);
    Ok(counts.map(|(name, count)| format!("set demo.{name} = {count};\n")).collect())
}

/// Scales a share of [`ROWS`] to `rows`, to at least 1. ROWS_MAX times the largest share is far below 2^64.
fn scaled(share: u64, rows: u64) -> u64 {
    (share * rows / ROWS).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_spread_as_written() {
        assert_eq!(counts(ROWS).unwrap(), TABLES);
        assert_eq!(orphans(ROWS), 3);
    }

    #[test]
    fn the_config_syncs_every_table() {
        let config: toml::Table = toml::from_str(CONFIG).unwrap();
        let tables = config["table"].as_array().unwrap();
        let names: Vec<_> = tables.iter().map(|table| table["name"].as_str().unwrap()).collect();
        assert_eq!(names, TABLES.map(|(name, _)| format!("public.{name}")));
    }

    #[test]
    fn any_number_of_rows_comes_out_exactly_and_leaves_no_table_empty() {
        for rows in [ROWS_MIN, 5_001, 12_345, 99_999, 1_000_000, ROWS_MAX] {
            let counts = counts(rows).unwrap();
            assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), rows);
            assert!(counts.iter().all(|&(_, count)| count > 0), "{counts:?}");
        }
        assert!(counts(ROWS_MIN - 1).is_err() && counts(ROWS_MAX + 1).is_err());
    }
}
