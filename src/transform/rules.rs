//! The rules for a table's rows, as stated by the planner.

use std::fmt;
use std::sync::Arc;

use super::key::KeyKind;
use super::keyset::{KeySet, KeySetBuilder};
use super::lookup::{LookupBuilder, LookupMap};
pub use crate::config::OnOrphan;
use crate::error::Result;
use crate::pg::format::Format;

/// Appends the text form of a value, or reports why it cannot.
type Write = dyn Fn(&[u8], &mut Vec<u8>) -> Result<()> + Send + Sync;

/// Writes a binary value in PostgreSQL's text form.
#[derive(Clone)]
pub struct Render(Arc<Write>);

impl Render {
    /// Wraps a function that appends the text form of a value, or reports why it cannot.
    pub fn new(write: impl Fn(&[u8], &mut Vec<u8>) -> Result<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(write))
    }

    /// Appends the text form of a value.
    pub(super) fn write(&self, value: &[u8], out: &mut Vec<u8>) -> Result<()> {
        (self.0)(value, out)
    }
}

impl fmt::Debug for Render {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Render")
    }
}

/// All rules for the rows of one table. Positions count from 0.
///
/// For each row: lookups are resolved from the input; the output's columns are assembled; values that mean NULL
/// become NULL; references are judged in order, each seeing the NULLs set by the ones before it; rows that pass are
/// collected and written.
#[derive(Debug)]
pub struct Rules {
    /// The table's name for people.
    pub table: String,
    /// The format of input, output and all values in these rules.
    pub format: Format,
    /// The columns that the source sends, in order.
    pub input: Vec<InputColumn>,
    /// The columns that are loaded, in the order of the COPY into staging.
    pub output: Vec<OutputColumn>,
    /// The lookups.
    pub lookups: Vec<Lookup>,
    /// Values that are loaded as NULL.
    pub null_values: Vec<NullValues>,
    /// The references.
    pub references: Vec<Reference>,
    /// The keys and values collected from rows that pass.
    pub collect: Vec<Collect>,
    /// The source's columns in the rejects file, as positions in the input; `None` stays empty.
    pub reject_columns: Vec<Option<usize>>,
    /// Whether rows are written; if not, the program only collects.
    pub emits: bool,
}

/// An input column.
#[derive(Debug, Clone)]
pub struct InputColumn {
    /// Its name in the source.
    pub name: String,
    /// How its binary values are displayed in the rejects file; hexadecimal without it.
    pub render: Option<Render>,
}

/// An output column.
#[derive(Debug, Clone)]
pub struct OutputColumn {
    /// Its name on the target.
    pub name: String,
    /// The origin of its values.
    pub value: Output,
    /// How its values are displayed in a reason, as for [`InputColumn::render`].
    pub render: Option<Render>,
}

/// The origin of a value.
#[derive(Debug, Clone)]
pub enum Output {
    /// An input column.
    Field(usize),
    /// A constant in COPY format: in text with its escapes, in binary without its length. `None`: NULL.
    Constant(Option<Vec<u8>>),
    /// One of [`Rules::lookups`].
    Lookup(usize),
}

/// A column of a key.
#[derive(Debug, Clone, Copy)]
pub struct KeyColumn {
    /// Position in the input (lookups) or in the output (references, collections).
    pub column: usize,
    /// How its values are read.
    pub kind: KeyKind,
}

/// A value from another table.
#[derive(Debug)]
pub struct Lookup {
    /// The other table's name for people.
    pub from: String,
    /// Input columns, in the order of the map's keys.
    pub columns: Vec<KeyColumn>,
    /// The map of its values, in the format of these rules.
    pub values: Arc<LookupMap>,
    /// The treatment of a row without a match; a NULL in its columns never matches.
    pub on_missing: OnMissing,
}

/// The treatment of a row without a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMissing {
    /// The column becomes NULL.
    Null,
    /// The row is rejected.
    Reject,
}

/// Values of a column that mean NULL.
#[derive(Debug, Clone)]
pub struct NullValues {
    /// The output column; [`KeyKind::Text`] compares bytes, and so fits every type.
    pub column: KeyColumn,
    /// The values in COPY format.
    pub values: Vec<Vec<u8>>,
}

/// A foreign key.
#[derive(Debug)]
pub struct Reference {
    /// The referenced table's name for people.
    pub to: String,
    /// The constraint's name, if any.
    pub constraint: Option<String>,
    /// Output columns, in the order of the set's keys.
    pub columns: Vec<KeyColumn>,
    /// The keys that the referenced table will have.
    pub keys: Arc<KeySet>,
    /// MATCH FULL: a key is entirely NULL or not at all. Otherwise a single NULL means no reference.
    pub is_match_full: bool,
    /// The treatment of an orphan.
    pub on_orphan: OnOrphan,
    /// The output columns that become NULL if `on_orphan` asks for it.
    pub nulled: Vec<usize>,
}

/// Keys or values collected from rows that pass. Keys with a NULL are not collected.
#[derive(Debug)]
pub enum Collect {
    /// Keys, for references to this table.
    Keys {
        /// Output columns.
        columns: Vec<KeyColumn>,
        /// The set they are added to.
        into: Arc<KeySetBuilder>,
    },
    /// Values, for lookups in this table.
    Values {
        /// Output columns.
        columns: Vec<KeyColumn>,
        /// The output column whose values are looked up.
        value: usize,
        /// The map they are added to.
        into: Arc<LookupBuilder>,
    },
}
