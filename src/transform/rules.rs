//! What a table's rows go through, as the planner states it.

use std::fmt;
use std::sync::Arc;

use super::key::KeyKind;
use super::keyset::{KeySet, KeySetBuilder};
use super::lookup::{LookupBuilder, LookupMap};
pub use crate::config::OnOrphan;
use crate::error::Result;
use crate::pg::format::Format;

/// Appends the text form of a value, or says why it cannot.
type Write = dyn Fn(&[u8], &mut Vec<u8>) -> Result<()> + Send + Sync;

/// Writes a binary value as PostgreSQL would write it in text.
#[derive(Clone)]
pub struct Render(Arc<Write>);

impl Render {
    /// From a function that appends the text form of the value, or says why it cannot.
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

/// Everything that happens to the rows of one table. Positions count from 0.
///
/// Per row: lookups are resolved from the input; the output's columns are put together; values that mean NULL become
/// NULL; references are judged in their order, each seeing what the ones before it have set to NULL; what passes is
/// collected and written.
#[derive(Debug)]
pub struct Rules {
    /// The table, as people write it.
    pub table: String,
    /// Of input, output and all values in these rules.
    pub format: Format,
    /// What the source sends, in its order.
    pub input: Vec<InputColumn>,
    /// What is loaded, in the order of the COPY into staging.
    pub output: Vec<OutputColumn>,
    /// Columns to be filled from other tables.
    pub lookups: Vec<Lookup>,
    /// Values that are loaded as NULL.
    pub null_values: Vec<NullValues>,
    /// What rows must refer to.
    pub references: Vec<Reference>,
    /// What is remembered of the rows that pass.
    pub collect: Vec<Collect>,
    /// The columns of the rejects file after its own three, as positions in the input; `None` stays empty.
    pub reject_columns: Vec<Option<usize>>,
    /// Whether rows are written at all; if not, the program only collects.
    pub emits: bool,
}

/// A column of the input.
#[derive(Debug, Clone)]
pub struct InputColumn {
    /// Its name in the source.
    pub name: String,
    /// How its values are written in the rejects file when rows travel in binary; without it they are written in
    /// hexadecimal.
    pub render: Option<Render>,
}

/// A column of the output.
#[derive(Debug, Clone)]
pub struct OutputColumn {
    /// Its name on the target.
    pub name: String,
    /// Where its values come from.
    pub value: Output,
    /// How its values are written in a reason, as for [`InputColumn::render`].
    pub render: Option<Render>,
}

/// Where a value comes from.
#[derive(Debug, Clone)]
pub enum Output {
    /// A column of the input.
    Field(usize),
    /// The same for every row, as COPY has it: in text with its escapes, in binary without its length. `None`: NULL.
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
    /// That table, as people write it.
    pub from: String,
    /// Columns of the input, in the order of the map's keys.
    pub columns: Vec<KeyColumn>,
    /// Its values, in the format of these rules.
    pub values: Arc<LookupMap>,
    /// What to do where there is none; a NULL among the columns has none.
    pub on_missing: OnMissing,
}

/// What to do where a lookup finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMissing {
    /// The column is NULL.
    Null,
    /// The row is rejected.
    Reject,
}

/// Values of a column that stand for NULL.
#[derive(Debug, Clone)]
pub struct NullValues {
    /// The column of the output; [`KeyKind::Text`] compares bytes, and so fits every type.
    pub column: KeyColumn,
    /// The values as COPY has them.
    pub values: Vec<Vec<u8>>,
}

/// A foreign key.
#[derive(Debug)]
pub struct Reference {
    /// The referenced table, as people write it.
    pub to: String,
    /// The constraint's name, if it has one.
    pub constraint: Option<String>,
    /// Columns of the output, in the order of the set's keys.
    pub columns: Vec<KeyColumn>,
    /// The keys that the referenced table will have.
    pub keys: Arc<KeySet>,
    /// MATCH FULL: a key is NULL altogether or not at all. Otherwise one NULL makes it no reference.
    pub is_match_full: bool,
    /// What to do with an orphan.
    pub on_orphan: OnOrphan,
    /// The columns of the output that become NULL where `on_orphan` says so.
    pub nulled: Vec<usize>,
}

/// What is remembered of the rows that pass. Keys with a NULL in them are not.
#[derive(Debug)]
pub enum Collect {
    /// Keys, for references to this table.
    Keys {
        /// Columns of the output.
        columns: Vec<KeyColumn>,
        /// The set that they go to.
        into: Arc<KeySetBuilder>,
    },
    /// Values, for lookups in this table.
    Values {
        /// Columns of the output.
        columns: Vec<KeyColumn>,
        /// The column of the output whose values are looked up.
        value: usize,
        /// The map that they go to.
        into: Arc<LookupBuilder>,
    },
}
