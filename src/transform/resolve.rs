//! One row in a program: its values, its keys and the verdict.

use super::codec::{Codec, Offsets, malformed};
use super::key::{KEY_COLUMNS_MAX, Key, KeyReader, composite};
use super::lookup::Found;
use super::program::Program;
use super::rules::{KeyColumn, OnMissing, OnOrphan, Output, Rules};
use crate::error::{Error, Kind, Phase, Result};

/// A row of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    /// The batch.
    pub(super) data: &'a [u8],
    /// Where its items begin, possibly only the first of them, and where the last one ends.
    pub(super) offsets: &'a [u32],
    /// Its number of items.
    pub(super) columns: usize,
}

impl<'a> Row<'a> {
    /// Returns the items of fields `first..end` as one slice.
    #[inline]
    pub(super) fn items(self, first: usize, end: usize) -> &'a [u8] {
        &self.data[self.position(first)..self.position(end)]
    }

    /// Returns where the item of a field begins, or where the last one ends.
    ///
    /// # Panics
    /// If that position is not kept, because it was not requested when the program was compiled.
    #[inline]
    fn position(self, field: usize) -> usize {
        let last = self.offsets.len() - 1;
        assert!(field < last || field == self.columns, "a position that is not kept");
        self.offsets[field.min(last)] as usize
    }

    /// Returns the same row with the position of every item, using the given buffers.
    pub(super) fn whole<C: Codec>(self, offsets: &'a mut Offsets) -> Result<Self> {
        if self.offsets.len() > self.columns {
            return Ok(self);
        }
        let [begin, .., end] = *self.offsets else { return Ok(self) };
        let data = &self.data[begin as usize - C::ROW_BEGIN_BYTES..end as usize];
        C::split(data, None, offsets)?;
        let offsets = offsets.rows().next().ok_or_else(|| malformed("a row without fields"))?;
        Ok(Self { data, offsets, ..self })
    }

    /// Returns the value of a field.
    #[inline]
    pub(super) fn value<C: Codec>(self, field: usize) -> Option<&'a [u8]> {
        C::value(self.items(field, field + 1))
    }
}

/// Facts about the current row. There is one per batch, and its buffers are reused from row to row.
#[derive(Debug)]
pub(super) struct State<'p> {
    /// The result of each lookup.
    pub(super) found: Vec<Option<Found<'p>>>,
    /// For each output column, whether it was set to NULL; all false unless `is_nulled`.
    pub(super) nulled: Vec<bool>,
    /// Whether any column was set to NULL.
    pub(super) is_nulled: bool,
    /// The references that the row violates although it passes.
    pub(super) orphan_of: Vec<usize>,
}

/// Whether a row is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The row is loaded.
    Pass,
    /// The row is not loaded.
    Reject(Cause),
}

/// Why a row is not loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// A lookup has no match.
    Missing(usize),
    /// A reference has no match.
    Orphan(usize),
    /// A MATCH FULL reference is partly NULL.
    PartlyNull(usize),
    /// A NOT NULL column is NULL, by its number among those.
    Null(usize),
}

/// The key that several columns of a row form.
pub(super) enum RowKey {
    /// No column is NULL.
    Whole(Key),
    /// Some columns are NULL, or all.
    Null {
        /// All columns are NULL.
        all: bool,
    },
}

impl<'p> State<'p> {
    pub(super) fn new(rules: &Rules) -> Self {
        Self {
            found: vec![None; rules.lookups.len()],
            nulled: vec![false; rules.output.len()],
            is_nulled: false,
            orphan_of: Vec::new(),
        }
    }

    fn clear(&mut self) {
        if self.is_nulled {
            self.nulled.fill(false);
            self.is_nulled = false;
        }
        self.orphan_of.clear();
    }

    fn set_null(&mut self, column: usize) {
        self.nulled[column] = true;
        self.is_nulled = true;
    }

    /// Returns the value of an output column.
    #[inline]
    pub(super) fn output<'a, C: Codec>(
        &'a self,
        rules: &'a Rules,
        row: Row<'a>,
        column: usize,
    ) -> Option<&'a [u8]> {
        if self.is_nulled && self.nulled[column] {
            return None;
        }
        match &rules.output[column].value {
            Output::Field(field) => row.value::<C>(*field),
            Output::Constant(value) => value.as_deref(),
            Output::Lookup(lookup) => self.found[*lookup].as_ref().and_then(Found::value),
        }
    }
}

/// Returns the key that the columns of a row form.
#[inline]
pub(super) fn row_key<'a>(
    columns: &[KeyColumn],
    reader: &mut KeyReader,
    value: impl Fn(usize) -> Option<&'a [u8]>,
) -> Result<RowKey> {
    if let [one] = columns {
        return Ok(match value(one.column) {
            Some(value) => RowKey::Whole(reader.read(one.kind, value)?),
            None => RowKey::Null { all: true },
        });
    }
    let mut parts = [Key::Int(0); KEY_COLUMNS_MAX];
    let mut nulls = 0;
    for (part, column) in parts.iter_mut().zip(columns) {
        match value(column.column) {
            Some(value) => *part = reader.read(column.kind, value)?,
            None => nulls += 1,
        }
    }
    if nulls > 0 {
        return Ok(RowKey::Null { all: nulls == columns.len() });
    }
    Ok(RowKey::Whole(composite(&parts[..columns.len()])))
}

impl Program {
    /// Judges a row. Afterwards `state` holds the facts about it.
    #[inline]
    pub(super) fn judge<'p, C: Codec>(
        &'p self,
        row: Row<'_>,
        state: &mut State<'p>,
        reader: &mut KeyReader,
        ordinal: u64,
    ) -> Result<Verdict> {
        state.clear();
        for (number, lookup) in self.rules.lookups.iter().enumerate() {
            let found = match row_key(&lookup.columns, reader, |field| row.value::<C>(field))? {
                RowKey::Whole(key) => lookup.values.get(key),
                RowKey::Null { .. } => None,
            };
            state.found[number] = found;
            if found.is_none() && lookup.on_missing == OnMissing::Reject {
                return Ok(Verdict::Reject(Cause::Missing(number)));
            }
        }
        for (column, keys) in &self.null_values {
            let Some(value) = state.output::<C>(&self.rules, row, column.column) else { continue };
            if keys.contains(&reader.read(column.kind, value)?) {
                state.set_null(column.column);
            }
        }
        for (number, reference) in self.rules.references.iter().enumerate() {
            let key =
                row_key(&reference.columns, reader, |column| state.output::<C>(&self.rules, row, column))?;
            let cause = match key {
                RowKey::Whole(key) if reference.keys.contains(key) => continue,
                RowKey::Whole(_) => Cause::Orphan(number),
                RowKey::Null { all } if all || !reference.is_match_full => continue,
                RowKey::Null { .. } => Cause::PartlyNull(number),
            };
            match reference.on_orphan {
                OnOrphan::Reject => return Ok(Verdict::Reject(cause)),
                OnOrphan::Null => {
                    reference.nulled.iter().for_each(|&column| state.set_null(column));
                    state.orphan_of.push(number);
                }
                OnOrphan::Keep => state.orphan_of.push(number),
                OnOrphan::Fail => return Err(self.refused(cause, ordinal)),
            }
        }
        for (number, rule) in self.not_null.iter().enumerate() {
            if state.output::<C>(&self.rules, row, rule.column).is_none() {
                return Ok(Verdict::Reject(Cause::Null(number)));
            }
        }
        Ok(Verdict::Pass)
    }

    /// Returns the error for an orphan under `on_orphan = "fail"`. It names columns, not values, because errors are
    /// logged.
    fn refused(&self, cause: Cause, ordinal: u64) -> Error {
        let (kind, constraint) = self.kind_of(cause);
        let constraint = constraint.map(|name| format!(" (constraint {name})")).unwrap_or_default();
        let message = format!("row {ordinal}: {kind}{constraint}");
        Error::new(Phase::Load, Kind::Guard, message)
            .hint("The reference has on_orphan = \"fail\"; \"reject\" would reject such rows and go on.")
    }
}
