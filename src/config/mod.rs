//! The configuration file, parsed and validated.
//!
//! [`Config::load`] reads the TOML file described in section "Configuration" of the README and checks everything that can be
//! checked without a server. Each error names file, line, column and the expected value. [`crate::plan`] checks what
//! requires a catalog, and reports it with the [`Location`]s stored beside the values.

mod columns;
mod csv;
mod document;
mod links;
mod load;
mod run;
mod section;
mod table;
#[cfg(test)]
mod tests;
mod value;
mod words;

use std::collections::BTreeMap;
use std::time::Duration;

pub use self::csv::{Characters, CsvConfig, Dialect, ENCODINGS, Said, character, encoding_of};
pub use crate::pg::secret::Secret;
pub use document::Env;
pub use load::{SOURCE_URL_VARIABLE, TARGET_URL_VARIABLE, process_env};
pub use run::RunConfig;
pub use section::sections;

use crate::error::Location;
use crate::pg::name::{Ident, TableName};

/// A value and its location in the config.
#[derive(Debug, Clone, PartialEq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// The location of the value.
    pub at: Location,
}

/// A validated config.
#[derive(Debug, Clone)]
pub struct Config {
    /// Connection string of the source, in libpq's syntax, with `${VAR}` expanded. `None` if it is not given and all rows come
    /// from files.
    pub source: Option<Located<Secret>>,
    /// Connection string of the target.
    pub target: Located<Secret>,
    /// Size of the target's disk in bytes, or the size limit of the database on its platform; `None` if not given.
    pub disk: Option<u64>,
    /// Settings of the run.
    pub run: RunConfig,
    /// The tables, in the file's order.
    pub tables: Vec<TableConfig>,
}

/// Whether all rows of a table are read, or only those after its watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// All rows.
    #[default]
    Full,
    /// Rows changed since the recorded watermark.
    Incremental,
}

/// An upper bound, as a number of rows or as a percentage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// Number of rows.
    Rows(u64),
    /// Percentage of all rows, 0 to 100.
    Percent(f64),
}

impl Limit {
    /// Returns whether `part` of `whole` rows exceeds the limit.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share of more than 2^52 rows need not be exact")]
    pub fn is_exceeded_by(self, part: u64, whole: u64) -> bool {
        match self {
            Self::Rows(rows) => part > rows,
            Self::Percent(percent) => part as f64 > percent / 100.0 * whole as f64,
        }
    }
}

impl Limit {
    /// Returns whether `part` rows exceed the limit for every possible total up to `whole_max`; `None` means no upper bound is
    /// known.
    #[must_use]
    pub fn is_certainly_exceeded_by(self, part: u64, whole_max: Option<u64>) -> bool {
        match (self, whole_max) {
            (Self::Percent(percent), None) => percent == 0.0 && part > 0,
            (_, whole_max) => self.is_exceeded_by(part, whole_max.unwrap_or(u64::MAX)),
        }
    }
}

impl std::str::FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        value::parse_limit(text.trim()).ok_or_else(|| value::LIMIT_EXPECTED.to_owned())
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rows(rows) => write!(f, "{rows} rows"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// `format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FormatChoice {
    /// Binary if both sides agree on every column's wire format, otherwise text.
    #[default]
    Auto,
    /// Binary; an error if that is not possible.
    Binary,
    /// Text.
    Text,
}

/// `commit`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Commit {
    /// One transaction for each group of tables that foreign keys connect.
    #[default]
    Group,
    /// One transaction for all tables.
    Run,
}

/// `on_empty`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnEmpty {
    /// The table is left unchanged and reported as ok with a warning.
    #[default]
    Skip,
    /// The table is emptied.
    Apply,
    /// The table fails.
    Fail,
}

/// `[table.columns] lossy`: how casts that can lose information are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lossy {
    /// A warning lists the columns, with the number of rows that change if counting them is cheap.
    #[default]
    Warn,
    /// The table fails if rows change.
    Error,
    /// The loss is intended; `verify` compares after the cast.
    Allow,
}

/// `triggers`: whether the target's user triggers fire while a table is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Triggers {
    /// They fire.
    #[default]
    Fire,
    /// The applying transaction disables them by name and restores them.
    Off,
}

/// `strategy`: the rows that the target holds afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// The table, or its scope, holds exactly the source's rows.
    #[default]
    Replace,
    /// Source rows are inserted or updated by key; nothing is deleted.
    Upsert,
    /// Source rows with new keys are inserted; existing rows stay unchanged.
    Insert,
}

/// `apply`: how `replace` changes the live table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum ApplyMethod {
    /// The best possible method.
    #[default]
    Auto,
    /// A new table takes the place of the live table.
    Swap,
    /// Only the differences are applied.
    Delta,
    /// DELETE and INSERT.
    Delete,
    /// TRUNCATE and INSERT.
    Truncate,
    /// TRUNCATE and COPY into the live table.
    Direct,
    /// The method of `strategy = "upsert"`; not a value of `apply` in the config.
    Upsert,
    /// The method of `strategy = "insert"`; not a value of `apply` in the config.
    Insert,
}

impl ApplyMethod {
    /// Returns the name in config and report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Swap => "swap",
            Self::Delta => "delta",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
            Self::Direct => "direct",
            Self::Upsert => "upsert",
            Self::Insert => "insert",
        }
    }
}

/// `missing`: how target columns that nothing fills are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Existing rows keep their values.
    Keep,
    /// Every row gets the column's default.
    Default,
    /// The table fails.
    Error,
}

/// The source of a table's rows.
#[derive(Debug, Clone, PartialEq)]
pub enum From {
    /// A table or view in the source database.
    Relation(Located<TableName>),
    /// A query that the source database runs.
    Query(Located<String>),
    /// CSV files.
    Csv(CsvConfig),
}

/// A constant, or an expression that the source evaluates per row.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A literal, as text.
    Constant(String),
    /// A SQL expression.
    Expr(String),
}

/// `watermark`: identifies changed rows in the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watermark {
    /// A row has changed if any of these columns has.
    Columns(Vec<Ident>),
    /// The system column `xmin`, which every table has.
    Xmin,
}

/// One `[[table]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct TableConfig {
    /// Name on the target.
    pub name: Located<TableName>,
    /// Source of the rows.
    pub from: From,
    /// Predicate that the source evaluates.
    pub filter: Option<Located<String>>,
    /// Rows that the target holds afterwards.
    pub strategy: Strategy,
    /// How the live table is changed.
    pub apply: Located<ApplyMethod>,
    /// Columns that identify a row on the target, if given.
    pub key: Option<Located<Vec<Ident>>>,
    /// Predicate for the target rows that this sync owns.
    pub scope: Option<Located<String>>,
    /// How incremental runs find changed rows in the source.
    pub watermark: Option<Located<Watermark>>,
    /// How far to read back beyond the watermark rule.
    pub watermark_overlap: Duration,
    /// Overrides `[run] format`.
    pub format: FormatChoice,
    /// Overrides `[run] max_rejects`.
    pub max_rejects: Limit,
    /// Overrides `[run] max_shrink`.
    pub max_shrink: Limit,
    /// Overrides `[run] on_empty`.
    pub on_empty: OnEmpty,
    /// Fail if the table has rows when it is written. Not a key of the file: `seed` sets it if no strategy is given.
    pub only_if_empty: bool,
    /// Overrides `[run] full_every`.
    pub full_every: Duration,
    /// Columns that `verify` does not compare.
    pub verify_ignore: Vec<Located<Ident>>,
    /// How target columns that nothing fills are treated; `None`: depends on the apply method.
    pub missing: Option<Missing>,
    /// Whether the target's triggers fire.
    pub triggers: Located<Triggers>,
    /// `[table.columns]`
    pub columns: ColumnRules,
    /// `[[table.lookup]]`
    pub lookups: Vec<LookupConfig>,
    /// `[[table.reference]]`
    pub references: Vec<ReferenceConfig>,
}

/// `[table.columns]`. Column names are literal; source names are on the left.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ColumnRules {
    /// Source columns that are not loaded.
    pub skip: Vec<Located<Ident>>,
    /// Maps source columns to target columns.
    pub rename: BTreeMap<Ident, Located<Ident>>,
    /// Maps target columns to their values.
    pub set: BTreeMap<Ident, Located<Value>>,
    /// Maps target columns to their values if the source has no such column.
    pub default: BTreeMap<Ident, Located<Value>>,
    /// How casts that can lose information are treated.
    pub lossy: Lossy,
    /// Whether source columns that the target lacks are an error rather than a warning; `None`: an error for files only.
    pub extra_is_error: Option<bool>,
}

/// One `[[table.lookup]]`
#[derive(Debug, Clone, PartialEq)]
pub struct LookupConfig {
    /// Target column to fill.
    pub column: Located<Ident>,
    /// Target table to look up, in its state after this run.
    pub from: Located<TableName>,
    /// Pairs of a source column and the matching column of `from`.
    pub on: Vec<(Located<Ident>, Ident)>,
    /// Column of `from` that holds the value.
    pub value: Located<Ident>,
    /// Whether a row without a match is rejected rather than filled with NULL.
    pub reject_missing: bool,
}

/// `on_orphan`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnOrphan {
    /// The row goes to the rejects file.
    #[default]
    Reject,
    /// The row is loaded with NULL as its reference.
    Null,
    /// The table fails.
    Fail,
    /// The row is loaded unchanged.
    Keep,
}

/// One `[[table.reference]]`
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceConfig {
    /// Referencing columns on the target.
    pub columns: Located<Vec<Ident>>,
    /// The referenced table and its columns.
    pub to: Located<(TableName, Vec<Ident>)>,
    /// What happens to orphans.
    pub on_orphan: OnOrphan,
    /// Values that mean "no reference".
    pub null_values: Vec<String>,
}
