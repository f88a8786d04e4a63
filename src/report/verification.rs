//! What `bulkload verify` found, for people.

use std::fmt;

use super::figures;
use super::result::{printable, short_name};
use crate::error::Error;

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
    /// Why it was left out.
    pub skipped: Option<String>,
    /// Why it could not be compared, and what to do.
    pub error: Option<(String, Option<String>)>,
}

impl TableVerification {
    /// A table that is left out.
    #[must_use]
    pub fn skipped(name: String, why: &str) -> Self {
        Self { name, skipped: Some(why.to_owned()), ..Self::default() }
    }

    /// A table that could not be compared.
    #[must_use]
    pub fn failed(name: String, error: &Error) -> Self {
        let error = (error.message().to_owned(), error.advice().map(str::to_owned));
        Self { name, error: Some(error), ..Self::default() }
    }

    /// Whether the target holds what it should, as far as it is compared.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.error.is_none() && !self.differs()
    }

    fn differs(&self) -> bool {
        self.missing + self.extra + self.changed > 0
    }
}

impl Verification {
    /// Whether all tables do.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.tables.iter().all(TableVerification::ok)
    }

    fn conclusion(&self) -> &'static str {
        let has_failed = self.tables.iter().any(|table| table.error.is_some());
        match (self.tables.iter().any(TableVerification::differs), has_failed) {
            (true, _) => "source and target differ",
            (false, true) => "not all tables could be compared",
            (false, false) => "source and target agree",
        }
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tables.iter().try_for_each(|table| table.fmt(f))?;
        f.write_str(self.conclusion())
    }
}

/// Lines, each with its end.
impl fmt::Display for TableVerification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = short_name(&self.name);
        match (&self.skipped, &self.error) {
            (Some(why), _) => writeln!(f, "skipped  {name}: {why}"),
            (None, Some((message, hint))) => {
                writeln!(f, "failed   {name}: {}", printable(message))?;
                hint.iter().try_for_each(|hint| writeln!(f, "         hint: {}", printable(hint)))
            }
            (None, None) => self.show_rows(f, &name),
        }
    }
}

impl TableVerification {
    fn show_rows(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        let word = if self.differs() { "differs" } else { "ok" };
        let (source, target) = (figures::count(self.source_rows), figures::count(self.target_rows));
        writeln!(f, "{word:<8} {name}: {source} rows in the source, {target} on the target")?;
        if self.differs() {
            let counts = [
                (self.missing, "missing on the target"),
                (self.extra, "on the target only"),
                (self.changed, "not the same"),
            ];
            let counts: Vec<String> = counts
                .into_iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, what)| format!("{} {what}", figures::count(count)))
                .collect();
            writeln!(f, "         {}", counts.join(", "))?;
        }
        self.first.iter().try_for_each(|row| writeln!(f, "         {row}"))?;
        self.notes.iter().try_for_each(|note| writeln!(f, "         note: {note}"))
    }
}
