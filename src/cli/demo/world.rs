//! The demo's two databases: a trades business' desktop program, and the mobile app that gets its data every night.
//!
//! The SQL stands beside this file. It runs on PostgreSQL 12 and later, uses no chance and no clock, and so makes the
//! same rows everywhere; only their number is decided here.

use crate::config::{SOURCE_URL_VARIABLE, TARGET_URL_VARIABLE};
use crate::error::{Error, Kind, Phase, Result};

/// Rows of all source tables together, unless `--rows` says otherwise.
pub const ROWS: u64 = 92_387;

/// Fewer rows cannot be spread over all tables such that at least one client is an orphan and most are not.
pub const ROWS_MIN: u64 = 5_000;

/// The desktop's row numbers must stay below those of the app, which begin at 1,000,000,000.
pub const ROWS_MAX: u64 = 1_000_000_000;

/// How [`ROWS`] are spread over the tables.
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

/// Clients, of [`ROWS`] rows, whose location does not exist; what belongs to them is orphaned with them.
const ORPHANS: u64 = 3;

/// The config of the sync from desktop to app. It takes both URLs from the environment.
pub const CONFIG: &str = include_str!("bulkload.toml");

/// The config of the sync from app to desktop. It takes both URLs from the environment, too.
pub const REVERSE_CONFIG: &str = include_str!("reverse.toml");

/// What the desktop writes after the first sync; to be sent as one query.
pub const CHANGES: &str = include_str!("changes.sql");

/// One of the configs with both URLs written out, for a file of its own.
#[must_use]
pub fn config(config: &str, source_url: &str, target_url: &str) -> String {
    config
        .replace(&format!("${{{SOURCE_URL_VARIABLE}}}"), source_url)
        .replace(&format!("${{{TARGET_URL_VARIABLE}}}"), target_url)
}

/// How many rows of each table the source gets, in the order of [`TABLES`]: `rows` in all.
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
    // The largest table takes what rounding leaves over or took too much.
    for (_, count) in counts.iter_mut().filter(|(name, _)| *name == "jobtasks") {
        *count = *count + rows - total;
    }
    Ok(counts)
}

/// Clients of a source of `rows` rows whose location does not exist.
#[must_use]
pub fn orphans(rows: u64) -> u64 {
    scaled(ORPHANS, rows)
}

/// Creates and fills the desktop's tables in an empty database; to be sent as one query.
///
/// # Errors
/// As [`counts`].
pub fn source_sql(rows: u64) -> Result<String> {
    let parts =
        [include_str!("source_schema.sql"), include_str!("rows.sql"), include_str!("source_rows.sql")];
    Ok(settings(rows)? + &parts.concat())
}

/// Creates the app's tables in an empty database and fills them as the last sync and the app's users left them; to be
/// sent as one query, by a superuser.
///
/// # Errors
/// As [`counts`].
pub fn target_sql(rows: u64) -> Result<String> {
    let parts =
        [include_str!("target_schema.sql"), include_str!("rows.sql"), include_str!("target_rows.sql")];
    Ok(settings(rows)? + &parts.concat())
}

/// What the SQL reads by `current_setting`.
fn settings(rows: u64) -> Result<String> {
    let counts = counts(rows)?.into_iter().chain([("orphans", orphans(rows))]);
    Ok(counts.map(|(name, count)| format!("set demo.{name} = {count};\n")).collect())
}

/// At least one; ROWS_MAX times the largest share is far below 2^64.
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
