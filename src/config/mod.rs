//! From a TOML file to validated types.
//!
//! [`Config::load`] reads the file of section "Configuration" of the README; everything that can be judged without a
//! server is judged here, and each complaint names file, line, column and what was expected. What needs a
//! catalog is judged by [`crate::plan`], with the [`Location`]s that are kept beside the values.

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
pub use document::Env;
pub use load::{SOURCE_URL_VARIABLE, TARGET_URL_VARIABLE, process_env};
pub use run::RunConfig;
pub use section::sections;

use crate::error::Location;
use crate::pg::name::{Ident, TableName};

/// A value and where in the config it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub at: Location,
}

/// A whole config.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where rows come from: a libpq connection string, `${VAR}` expanded; `None` if all come from files and none is given.
    pub source: Option<Located<Secret>>,
    /// Where rows go to.
    pub target: Located<Secret>,
    /// Bytes of the target's disk, or those that its platform allows the database; `None` if that is not told.
    pub disk: Option<u64>,
    /// Settings of the run.
    pub run: RunConfig,
    /// The tables, in the file's order.
    pub tables: Vec<TableConfig>,
}

/// A string that is not shown: its `Debug` says nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a string.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The string itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A bound as rows or as a share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// So many rows.
    Rows(u64),
    /// So many percent, 0 to 100.
    Percent(f64),
}

impl Limit {
    /// Whether `part` of `whole` rows is more than this allows.
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
    /// The same of a whole that is not known yet, but for how large it is at most.
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
    /// Binary where both sides agree on every column's wire format, text otherwise.
    #[default]
    Auto,
    /// Binary, or an error.
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
    /// The table is left as it is; ok with a warning.
    #[default]
    Skip,
    /// The table is emptied.
    Apply,
    /// The table fails.
    Fail,
}

/// `[table.columns] lossy`: what it means that a cast can lose something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lossy {
    /// A warning names the columns, and says how many rows change where counting them is cheap.
    #[default]
    Warn,
    /// A table whose rows change fails.
    Error,
    /// It is meant: `verify` compares after the cast.
    Allow,
}

/// `triggers`: what becomes of the users' triggers of the target while a table is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Triggers {
    /// They fire.
    #[default]
    Fire,
    /// They are disabled by name in the applying transaction, and restored there.
    Off,
}

/// `strategy`: what the target shall look like afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// Exactly the source's rows, in the whole table or in its scope.
    #[default]
    Replace,
    /// Source rows inserted or updated by key, nothing deleted.
    Upsert,
    /// Rows whose key is new inserted, existing rows left alone.
    Insert,
}

/// `apply`: how `replace` gets there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum ApplyMethod {
    /// The best of those that are possible.
    #[default]
    Auto,
    /// A new table takes the live one's place.
    Swap,
    /// Only the differences are applied.
    Delta,
    /// DELETE and INSERT.
    Delete,
    /// TRUNCATE and INSERT.
    Truncate,
    /// TRUNCATE and COPY into the live table.
    Direct,
    /// How `strategy = "upsert"` is done; not a word of the config.
    Upsert,
    /// How `strategy = "insert"` is done; not a word of the config.
    Insert,
}

impl ApplyMethod {
    /// As the config and the report write it.
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

/// `missing`: what becomes of columns of the target that nothing fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Rows that stay keep their values.
    Keep,
    /// Every row gets the column's default.
    Default,
    /// The table fails.
    Error,
}

/// Where a table's rows come from.
#[derive(Debug, Clone, PartialEq)]
pub enum From {
    /// A table or a view of the source.
    Relation(Located<TableName>),
    /// A query that the source runs.
    Query(Located<String>),
    /// CSV files.
    Csv(CsvConfig),
}

/// A constant, or SQL that the source computes per row.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A literal, as text; `None` is never written in TOML.
    Constant(String),
    /// A SQL expression.
    Expr(String),
}

/// `watermark`: what tells, in the source, that a row changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watermark {
    /// Any of these columns.
    Columns(Vec<Ident>),
    /// The system column of that name, which every table has.
    Xmin,
}

/// One `[[table]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct TableConfig {
    /// Its name on the target.
    pub name: Located<TableName>,
    /// Where its rows come from.
    pub from: From,
    /// Predicate that the source evaluates.
    pub filter: Option<Located<String>>,
    /// What the target shall look like.
    pub strategy: Strategy,
    /// How to get there.
    pub apply: Located<ApplyMethod>,
    /// The columns that identify a row on the target, if the user says so.
    pub key: Option<Located<Vec<Ident>>>,
    /// Rows of the target that this sync owns.
    pub scope: Option<Located<String>>,
    /// How incremental runs find what changed in the source.
    pub watermark: Option<Located<Watermark>>,
    /// Re-read this much more than the watermark rule demands.
    pub watermark_overlap: Duration,
    /// Overrides `[run] format`.
    pub format: FormatChoice,
    /// Overrides `[run] max_rejects`.
    pub max_rejects: Limit,
    /// Overrides `[run] max_shrink`.
    pub max_shrink: Limit,
    /// Overrides `[run] on_empty`.
    pub on_empty: OnEmpty,
    /// Fails if the table has rows when it is written. No key of a file: `seed` sets it where no strategy is given.
    pub only_if_empty: bool,
    /// Overrides `[run] full_every`.
    pub full_every: Duration,
    /// Columns that `verify` leaves out.
    pub verify_ignore: Vec<Located<Ident>>,
    /// What becomes of columns of the target that nothing fills; if not said, that depends on the method.
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

/// `[table.columns]`; column names are literal, source names on the left.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ColumnRules {
    /// Source columns to leave behind.
    pub skip: Vec<Located<Ident>>,
    /// Source column to target column.
    pub rename: BTreeMap<Ident, Located<Ident>>,
    /// Target column to its value.
    pub set: BTreeMap<Ident, Located<Value>>,
    /// Target column to its value where the source has no such column.
    pub default: BTreeMap<Ident, Located<Value>>,
    /// What casts mean that can lose something.
    pub lossy: Lossy,
    /// Whether source columns that the target lacks are an error rather than a warning; if not said, they are in files.
    pub extra_is_error: Option<bool>,
}

/// One `[[table.lookup]]`
#[derive(Debug, Clone, PartialEq)]
pub struct LookupConfig {
    /// Target column to fill.
    pub column: Located<Ident>,
    /// A target table, as it will be after this run.
    pub from: Located<TableName>,
    /// Source column = its column.
    pub on: Vec<(Located<Ident>, Ident)>,
    /// Its column to take the value from.
    pub value: Located<Ident>,
    /// Whether a row without a match is rejected rather than given a NULL.
    pub reject_missing: bool,
}

/// `on_orphan`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnOrphan {
    /// The row goes to the rejects file.
    #[default]
    Reject,
    /// The reference is loaded as NULL.
    Null,
    /// The table fails.
    Fail,
    /// The row is loaded as it is.
    Keep,
}

/// One `[[table.reference]]`
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceConfig {
    /// Target columns.
    pub columns: Located<Vec<Ident>>,
    /// The referenced table and its columns.
    pub to: Located<(TableName, Vec<Ident>)>,
    /// What happens to orphans.
    pub on_orphan: OnOrphan,
    /// Values that mean "no reference".
    pub null_values: Vec<String>,
}
