//! What a run needs of the target's disk, weighed against what is there.

use super::DiskNeed;
use crate::report::figures;

/// Of a disk that is this full, in percent, Supabase makes the database read-only ("Disk size" in its manual).
const READ_ONLY_AT: u64 = 95;

/// The target's disk, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Bytes of the database; `None` where the role may not ask. Other databases and the write-ahead log are not in it.
    pub database_bytes: Option<u64>,
    /// Bytes of the disk, as the config tells it.
    pub disk_bytes: Option<u64>,
}

impl Disk {
    /// What a run that needs so much makes of it, if the config tells its size: how much is there, and whether that is too much.
    #[must_use]
    pub fn weigh(&self, need: DiskNeed) -> Option<(String, bool)> {
        let (database, disk) = self.database_bytes.zip(self.disk_bytes)?;
        let need = need.staging_bytes.saturating_add(need.apply_bytes).saturating_add(need.wal_bytes);
        let full = database.saturating_add(need);
        let text = format!(
            "the run needs up to {} beside the {} that the database has: {} of {} ([target] disk)",
            figures::bytes(need),
            figures::bytes(database),
            figures::bytes(full),
            figures::bytes(disk)
        );
        Some((text, u128::from(full) * 100 >= u128::from(disk) * u128::from(READ_ONLY_AT)))
    }

    /// The warning, if a run that needs so much may fill the disk.
    pub(super) fn warning(&self, need: DiskNeed) -> Option<String> {
        let (text, is_too_much) = self.weigh(need)?;
        is_too_much.then(|| {
            format!(
                "{text}; at {READ_ONLY_AT} % Supabase makes a database read-only, and a full disk stops any server. \
                 Enlarge the disk first, or load the tables in several runs (--table)"
            )
        })
    }
}

impl std::fmt::Display for Disk {
    /// What is known of it, as a clause; nothing where nothing is.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.database_bytes, self.disk_bytes) {
            (None, None) => Ok(()),
            (None, Some(disk)) => write!(f, "the disk has {}", figures::bytes(disk)),
            (Some(database), None) => write!(f, "the database has {} now", figures::bytes(database)),
            (Some(database), Some(disk)) => {
                write!(
                    f,
                    "the database has {} now, the disk {}",
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
                "the run needs up to 500 B beside the 450 B that the database has: 950 B of 1.00 kB",
            )
        }));
        assert_eq!(warning(Some(449), Some(1000)), None);
        assert_eq!(warning(Some(450), None), None);
        assert_eq!(warning(None, Some(10)), None);
    }
}
