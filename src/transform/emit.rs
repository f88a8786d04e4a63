//! Assembles the output row from slices of the input, constants and looked-up values.

use super::codec::Codec;
use super::lookup::Found;
use super::resolve::{Row, State};
use super::rules::{Output, Rules};

/// A step in assembling a row.
#[derive(Debug)]
enum Segment {
    /// Bytes that are the same in every row: the row's header, constants.
    Literal(Vec<u8>),
    /// The items of adjacent fields.
    Run {
        first: usize,
        end: usize,
        /// Whether, in text, the last of them ends with its row's newline although a tab is needed.
        ends_row: bool,
    },
    /// A looked-up value.
    Lookup(usize),
}

/// Assembles rows.
#[derive(Debug)]
pub(super) struct Emitter {
    segments: Vec<Segment>,
    columns: u16,
    /// Whether rows are output unchanged.
    is_verbatim: bool,
    /// Maximum bytes by which a row may grow, lookups excluded.
    growth: usize,
}

impl Emitter {
    /// Compiles the output's columns.
    pub(super) fn new<C: Codec>(rules: &Rules, columns: u16) -> Self {
        let mut segments = Vec::new();
        let mut literal = Vec::new();
        C::begin_row(columns, &mut literal);
        let begin_bytes = literal.len();
        for column in &rules.output {
            match &column.value {
                Output::Constant(value) => C::put(value.as_deref(), &mut literal),
                Output::Lookup(lookup) => {
                    flush(&mut literal, &mut segments);
                    segments.push(Segment::Lookup(*lookup));
                }
                Output::Field(field) => {
                    let ends_row = field + 1 == rules.input.len();
                    flush(&mut literal, &mut segments);
                    match segments.last_mut() {
                        Some(Segment::Run { end, ends_row: last, .. }) if *end == *field => {
                            *end += 1;
                            *last = ends_row;
                        }
                        _ => segments.push(Segment::Run { first: *field, end: field + 1, ends_row }),
                    }
                }
            }
        }
        flush(&mut literal, &mut segments);
        let all = rules.input.len();
        let is_whole =
            |segment: &Segment| matches!(segment, Segment::Run { first: 0, end, .. } if *end == all);
        let is_verbatim = match segments.as_slice() {
            [Segment::Literal(begin), run] => begin.len() == begin_bytes && is_whole(run),
            [run] => is_whole(run),
            _ => false,
        };
        let growth =
            segments.iter().map(|s| if let Segment::Literal(bytes) = s { bytes.len() } else { 0 }).sum();
        Self { segments, columns, is_verbatim, growth }
    }

    /// Returns whether rows are output unchanged, unless a column was set to NULL.
    pub(super) fn is_verbatim(&self) -> bool {
        self.is_verbatim
    }

    /// Returns the fields at which it splits rows, in any order.
    pub(super) fn cuts(&self) -> impl Iterator<Item = usize> {
        self.segments.iter().flat_map(|segment| match segment {
            Segment::Run { first, end, .. } => [*first, *end],
            Segment::Literal(_) | Segment::Lookup(_) => [0; 2],
        })
    }

    /// Returns the approximate space that a batch needs.
    pub(super) fn room(&self, data: usize, rows: u64) -> usize {
        data + self.growth * rows as usize
    }

    /// Appends a row.
    #[inline]
    pub(super) fn emit<C: Codec>(&self, rules: &Rules, row: Row<'_>, state: &State<'_>, out: &mut Vec<u8>) {
        if state.is_nulled {
            self.emit_by_column::<C>(rules, row, state, out);
            return;
        }
        for segment in &self.segments {
            match segment {
                Segment::Literal(bytes) => out.extend_from_slice(bytes),
                Segment::Run { first, end, ends_row } => {
                    out.extend_from_slice(row.items(*first, *end));
                    if *ends_row {
                        C::end_item(out);
                    }
                }
                Segment::Lookup(number) => {
                    C::put(state.found[*number].as_ref().and_then(Found::value), out);
                }
            }
        }
        C::end_row(out);
    }

    /// Appends a row column by column, for the few rows with a column set to NULL.
    fn emit_by_column<C: Codec>(&self, rules: &Rules, row: Row<'_>, state: &State<'_>, out: &mut Vec<u8>) {
        C::begin_row(self.columns, out);
        for column in 0..rules.output.len() {
            C::put(state.output::<C>(rules, row, column), out);
        }
        C::end_row(out);
    }
}

fn flush(literal: &mut Vec<u8>, segments: &mut Vec<Segment>) {
    if !literal.is_empty() {
        segments.push(Segment::Literal(std::mem::take(literal)));
    }
}
