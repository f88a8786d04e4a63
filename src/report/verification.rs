//! The findings of `bulkload verify`, as text.

use std::fmt;

use super::result::{printable, short_name, some_of};
use crate::error::Error;
use crate::figures;

/// The outcome of a comparison of all tables.
#[derive(Debug, Clone, Default)]
pub struct Verification {
    /// One entry per table, in the config's order.
    pub tables: Vec<TableVerification>,
}

/// The outcome for one table.
#[derive(Debug, Clone, Default)]
pub struct TableVerification {
    /// Its name on the target.
    pub name: String,
    /// Rows of the source that match `where`.
    pub source_rows: u64,
    /// Rows of the target that this sync owns.
    pub target_rows: u64,
    /// Rows that are missing on the target.
    pub missing: u64,
    /// Rows that are on the target but should not be.
    pub extra: u64,
    /// Rows that differ between the two sides.
    pub changed: u64,
    /// The first differing rows: key and kind of difference.
    pub first: Vec<String>,
    /// Columns that were not compared.
    pub not_compared: Vec<NotCompared>,
    /// Notes for the reader.
    pub notes: Vec<String>,
    /// Why the table was skipped.
    pub skipped: Option<String>,
    /// Why the table could not be compared, and the hint.
    pub error: Option<(String, Option<String>)>,
}

/// A column that was not compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotCompared {
    /// Its name, for messages.
    pub column: String,
    /// The reason.
    pub why: &'static str,
    /// Whether the config excludes it, or leaves its value to the target or to an `expr`.
    pub is_meant: bool,
}

impl TableVerification {
    /// Creates the outcome of a skipped table.
    #[must_use]
    pub fn skipped(name: String, why: &str) -> Self {
        Self { name, skipped: Some(why.to_owned()), ..Self::default() }
    }

    /// Creates the outcome of a table that could not be compared.
    #[must_use]
    pub fn failed(name: String, error: &Error) -> Self {
        let error = (error.message().to_owned(), error.advice().map(str::to_owned));
        Self { name, error: Some(error), ..Self::default() }
    }

    /// Returns whether everything that the config compares could be compared and is equal.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.error.is_none() && !self.differs() && self.is_complete()
    }

    /// Returns whether every column was compared, except those excluded on purpose.
    fn is_complete(&self) -> bool {
        self.not_compared.iter().all(|column| column.is_meant)
    }

    fn differs(&self) -> bool {
        self.missing + self.extra + self.changed > 0
    }
}

impl Verification {
    /// Returns whether all tables are ok.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.tables.iter().all(TableVerification::ok)
    }

    fn conclusion(&self) -> String {
        let has = |is: fn(&TableVerification) -> bool| self.tables.iter().any(is);
        if has(TableVerification::differs) {
            return "source and target differ".to_owned();
        }
        if has(|table| table.error.is_some()) {
            return "not all tables could be compared".to_owned();
        }
        let left_out = self.left_out();
        if left_out.is_empty() {
            return "source and target agree".to_owned();
        }
        let could =
            if has(|table| !table.is_complete()) { "not all columns could be compared; " } else { "" };
        format!("{could}no differences in what was compared; not compared: {}", some_of(&left_out))
    }

    /// Returns the names of tables and columns that were not compared.
    fn left_out(&self) -> Vec<String> {
        let of_table = |table: &TableVerification| {
            let name = short_name(&table.name);
            let columns = table.not_compared.iter().map(|column| format!("{name}.{}", column.column));
            let columns: Vec<String> = columns.collect();
            table.skipped.iter().map(|_| name.clone()).chain(columns).collect::<Vec<_>>()
        };
        self.tables.iter().flat_map(of_table).collect()
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.tables.iter().try_for_each(|table| table.fmt(f))?;
        f.write_str(&self.conclusion())
    }
}

/// Writes complete lines.
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
        let word = match (self.differs(), self.is_complete()) {
            (true, _) => "differs",
            (false, false) => "partly",
            (false, true) => "ok",
        };
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
        self.show_not_compared(f)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "         note: {note}"))
    }

    /// Writes the columns that were not compared, grouped by reason.
    fn show_not_compared(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reasons: Vec<&str> = Vec::new();
        for column in &self.not_compared {
            if !reasons.contains(&column.why) {
                reasons.push(column.why);
            }
        }
        for why in reasons {
            let columns = self.not_compared.iter().filter(|column| column.why == why);
            let names: Vec<String> = columns.map(|column| column.column.clone()).collect();
            let (noun, verb) = if names.len() == 1 { ("column", "is") } else { ("columns", "are") };
            writeln!(f, "         note: {noun} {} {verb} not compared: {why}", some_of(&names))?;
        }
        if !self.is_complete() {
            writeln!(f, "         hint: To exclude columns, list them in verify_ignore under [[table]].")?;
        }
        Ok(())
    }
}
