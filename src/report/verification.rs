//! What `bulkload verify` found, for people.

use std::fmt;

use super::figures;

/// The outcome of a comparison of all tables.
#[derive(Debug, Clone, Default)]
pub struct Verification {
    /// In the config's order.
    pub tables: Vec<TableVerification>,
}

/// The outcome for one table.
#[derive(Debug, Clone, Default)]
pub struct TableVerification {
    /// Its name on the target.
    pub name: String,
    /// Rows of the source, after `where`.
    pub source_rows: u64,
    /// Rows of the target that this sync owns.
    pub target_rows: u64,
    /// Rows that should be on the target and are not.
    pub missing: u64,
    /// Rows that should not be on the target and are.
    pub extra: u64,
    /// Rows that are not the same on both sides.
    pub changed: u64,
    /// The first rows that differ: the key, and how.
    pub first: Vec<String>,
    /// What who reads this should know.
    pub notes: Vec<String>,
}

impl TableVerification {
    /// Whether the target holds what it should.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.missing + self.extra + self.changed == 0
    }
}

impl Verification {
    /// Whether all tables do.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.tables.iter().all(TableVerification::ok)
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in &self.tables {
            let word = if table.ok() { "ok" } else { "differs" };
            let (source, target) = (figures::count(table.source_rows), figures::count(table.target_rows));
            let name = super::result::short_name(&table.name);
            writeln!(f, "{word:<8} {name}: {source} rows in the source, {target} on the target")?;
            if !table.ok() {
                let counts = [
                    (table.missing, "missing on the target"),
                    (table.extra, "on the target only"),
                    (table.changed, "not the same"),
                ];
                let counts: Vec<String> = counts
                    .into_iter()
                    .filter(|(count, _)| *count > 0)
                    .map(|(count, what)| format!("{} {what}", figures::count(count)))
                    .collect();
                writeln!(f, "         {}", counts.join(", "))?;
            }
            for row in &table.first {
                writeln!(f, "         {row}")?;
            }
            for note in &table.notes {
                writeln!(f, "         note: {note}")?;
            }
        }
        f.write_str(if self.ok() { "source and target agree" } else { "source and target differ" })
    }
}
