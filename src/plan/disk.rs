//! The disk space a run needs on the target, compared with the space available.

use super::DiskNeed;
use crate::figures;

/// Percentage of disk usage at which Supabase makes a database read-only ("Disk size" in its manual).
const READ_ONLY_AT: u64 = 95;

/// What is known about the target's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Size of the database in bytes; `None` if the role may not ask. Excludes other databases and the write-ahead
    /// log.
    pub database_bytes: Option<u64>,
    /// Size of the disk in bytes, as configured.
    pub disk_bytes: Option<u64>,
}

impl Disk {
    /// Compares a run's need with the disk's size, if the config gives it. Returns a summary and whether it is too
    /// much.
    #[must_use]
    pub fn weigh(&self, need: DiskNeed) -> Option<(String, bool)> {
        let (database, disk) = self.database_bytes.zip(self.disk_bytes)?;
        let need = need.staging_bytes.saturating_add(need.apply_bytes).saturating_add(need.wal_bytes);
        let full = database.saturating_add(need);
        let text = format!(
            "the run needs up to {} on top of the {} that the database occupies: {} of {} ([target] disk)",
            figures::bytes(need),
            figures::bytes(database),
            figures::bytes(full),
            figures::bytes(disk)
        );
        Some((text, u128::from(full) * 100 >= u128::from(disk) * u128::from(READ_ONLY_AT)))
    }

    /// Returns a warning if a run with this need may fill the disk.
    pub(super) fn warning(&self, need: DiskNeed) -> Option<String> {
        let (text, is_too_much) = self.weigh(need)?;
        is_too_much.then(|| {
            format!(
                "{text}; Supabase makes a database read-only at {READ_ONLY_AT} %, and a full disk stops any server. \
                 Enlarge the disk first, or load the tables in several runs (--table)"
            )
        })
    }
}

impl std::fmt::Display for Disk {
    /// Writes what is known as a clause; nothing if nothing is known.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.database_bytes, self.disk_bytes) {
            (None, None) => Ok(()),
            (None, Some(disk)) => write!(f, "the disk has {}", figures::bytes(disk)),
            (Some(database), None) => write!(f, "the database occupies {} now", figures::bytes(database)),
            (Some(database), Some(disk)) => {
                write!(
                    f,
                    "the database occupies {} now; the disk has {}",
                    figures::bytes(database),
                    figures::bytes(disk)
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(database_bytes: Option<u64>, disk_bytes: Option<u64>) -> Option<String> {
        let need = DiskNeed { staging_bytes: 100, apply_bytes: 200, wal_bytes: 200 };
        Disk { database_bytes, disk_bytes }.warning(need)
    }

    #[test]
    fn a_run_that_fills_the_disk_to_where_the_platform_stops_writes_is_warned_of() {
        assert!(warning(Some(450), Some(1000)).is_some_and(|text| {
            text.starts_with(
                "the run needs up to 500 B on top of the 450 B that the database occupies: 950 B of 1.00 kB",
            )
        }));
        assert_eq!(warning(Some(449), Some(1000)), None);
        assert_eq!(warning(Some(450), None), None);
        assert_eq!(warning(None, Some(10)), None);
    }
}
