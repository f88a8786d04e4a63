//! The compiled rules of a table, which process batches of rows.

use super::codec::{Binary, Codec, Offsets, Text, malformed};
use super::emit::Emitter;
use super::key::{KEY_COLUMNS_MAX, Key, KeyReader};
use super::keyset::KeySink;
use super::lookup::LookupSink;
use super::precheck::{Check, is_suspect};
use super::reject::{Reason, RejectBuffer, write_value};
use super::resolve::{Cause, Row, RowKey, State, Verdict, row_key};
use super::row_splitter::Rows;
use super::rules::{Collect, KeyColumn, OnOrphan, Output, Rules};
use super::tally::{Tally, count_at};
use super::trace::{Trace, Traced};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::format::Format;

/// Maximum bytes of a value in a reason; the rejects file has the whole value in its column.
const REASON_VALUE_BYTES_MAX: usize = 60;

/// Maximum columns of a COPY, whose field count has 16 bits.
const COLUMNS_MAX: usize = i16::MAX as usize;

/// The compiled rules of a table. Shared read-only by all workers; each has its own [`Scratch`].
#[derive(Debug)]
pub struct Program {
    pub(super) rules: Rules,
    /// Output columns, and the keys that mean NULL in them.
    pub(super) null_values: Vec<(KeyColumn, Vec<Key>)>,
    /// Output columns that are NOT NULL.
    pub(super) not_null: Vec<NotNull>,
    /// The expected appearance of a traced row.
    checks: Vec<Check>,
    emitter: Emitter,
}

/// An output column that is NOT NULL.
#[derive(Debug, Clone)]
pub struct NotNull {
    /// Its position.
    pub column: usize,
    /// The label for counting rows with NULL in it.
    pub kind: String,
    /// The reason for rejecting them.
    pub text: String,
}

/// A worker's buffers, reused from batch to batch.
#[derive(Debug)]
pub struct Scratch {
    /// The positions needed for a row that passes.
    offsets: Offsets,
    /// All positions.
    pub(super) all_offsets: Offsets,
    pub(super) reader: KeyReader,
    sinks: Vec<Sink>,
}

/// The collected keys and values, in the order of [`Rules::collect`].
#[derive(Debug)]
enum Sink {
    Keys(KeySink),
    Values(LookupSink),
}

impl Program {
    /// Compiles a table's rules.
    ///
    /// # Errors
    /// [`Kind::Internal`] if the rules are inconsistent: they name a missing column or an invalid value.
    pub fn compile(rules: Rules) -> Result<Self> {
        check(&rules)?;
        // Checked to be far less.
        let columns = rules.output.len() as u16;
        let emitter = match rules.format {
            Format::Binary => Emitter::new::<Binary>(&rules, columns),
            Format::Text => Emitter::new::<Text>(&rules, columns),
        };
        let mut reader = KeyReader::new(rules.format);
        let mut null_values = Vec::new();
        for rule in &rules.null_values {
            let keys = rule.values.iter().map(|value| reader.read(rule.column.kind, value));
            null_values.push((rule.column, keys.collect::<Result<_>>()?));
        }
        Ok(Self { rules, null_values, not_null: Vec::new(), checks: Vec::new(), emitter })
    }

    /// Adds NOT NULL columns: rows with NULL in one of them are rejected.
    #[must_use]
    pub fn refusing_nulls(mut self, columns: Vec<NotNull>) -> Self {
        self.not_null = columns;
        self
    }

    /// Adds expected appearances; rows that differ from them are suspects if they are traced.
    #[must_use]
    pub fn suspecting(mut self, checks: Vec<Check>) -> Self {
        self.checks = checks;
        self
    }

    /// Returns the rules it was compiled from.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Returns the buffers for one worker.
    #[must_use]
    pub fn scratch(&self) -> Scratch {
        let sink = |collect: &Collect| match collect {
            Collect::Keys { .. } => Sink::Keys(KeySink::default()),
            Collect::Values { .. } => Sink::Values(LookupSink::default()),
        };
        let columns = self.rules.input.len();
        Scratch {
            offsets: Offsets::up_to(self.last_position(), columns),
            all_offsets: Offsets::new(columns),
            reader: KeyReader::new(self.rules.format),
            sinks: self.rules.collect.iter().map(sink).collect(),
        }
    }

    /// Returns the last field whose start is needed as long as rows pass. For the fields after it, which may be most
    /// of them, only the end of the row matters.
    fn last_position(&self) -> usize {
        let Rules { input, output, lookups, references, collect, .. } = &self.rules;
        // These need every field.
        let sets_null = !self.null_values.is_empty()
            || references.iter().any(|reference| reference.on_orphan == OnOrphan::Null);
        if self.rules.format == Format::Text || sets_null || !self.checks.is_empty() {
            return input.len() - 1;
        }
        let looked_up = lookups.iter().flat_map(|lookup| &lookup.columns).map(|column| column.column);
        let referring =
            references.iter().flat_map(|reference| &reference.columns).map(|column| column.column);
        let not_null = self.not_null.iter().map(|rule| rule.column);
        let collected = collect.iter().flat_map(|collect| {
            let (columns, value) = match collect {
                Collect::Keys { columns, .. } => (columns, None),
                Collect::Values { columns, value, .. } => (columns, Some(*value)),
            };
            columns.iter().map(|column| column.column).chain(value)
        });
        let field_of = |column: usize| match output[column].value {
            Output::Field(field) => Some(field),
            Output::Constant(_) | Output::Lookup(_) => None,
        };
        let values = looked_up.chain(referring.chain(not_null).chain(collected).filter_map(field_of));
        let positions = values.flat_map(|field| [field, field + 1]).chain(self.emitter.cuts());
        // The last field ends where the row does.
        positions.filter(|&position| position < input.len()).max().unwrap_or(0)
    }

    /// Processes a batch: appends the rows that pass to `out` and the others to `rejects`.
    ///
    /// Keys and values are submitted at the end: a batch that fails leaves none behind. A batch that is processed
    /// twice submits the same keys twice, which changes nothing.
    ///
    /// # Errors
    /// [`Kind::Guard`] for an orphan under `on_orphan = "fail"`; [`Kind::Internal`] if the rows do not match the
    /// rules. `out` and `rejects` are then invalid.
    pub fn run(
        &self,
        rows: &Rows,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
        rejects: &mut RejectBuffer,
    ) -> Result<Tally> {
        self.run_traced(rows, scratch, out, rejects, None)
    }

    /// Likewise, recording which input row each output row comes from. The batch has this number, and the output may
    /// contain rows of earlier batches.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn trace(
        &self,
        (number, rows): (u32, &Rows),
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
        rejects: &mut RejectBuffer,
        trace: &mut Trace,
    ) -> Result<Tally> {
        let tracing = Tracing { batch: number, trace, scratch: Vec::new() };
        self.run_traced(rows, scratch, out, rejects, Some(tracing))
    }

    fn run_traced(
        &self,
        rows: &Rows,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
        rejects: &mut RejectBuffer,
        tracing: Option<Tracing<'_>>,
    ) -> Result<Tally> {
        let outcome = match self.rules.format {
            Format::Binary => self.run_rows::<Binary>(rows, scratch, out, rejects, tracing),
            Format::Text => self.run_rows::<Text>(rows, scratch, out, rejects, tracing),
        };
        let outcome = outcome.and_then(|tally| self.hand_over(scratch).map(|()| tally));
        if outcome.is_err() {
            *scratch = self.scratch();
        }
        outcome
    }

    fn run_rows<C: Codec>(
        &self,
        rows: &Rows,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
        rejects: &mut RejectBuffer,
        mut tracing: Option<Tracing<'_>>,
    ) -> Result<Tally> {
        let Scratch { offsets, all_offsets, reader, sinks } = scratch;
        let (data, columns) = (rows.data(), offsets.columns());
        C::split(data, rows.ends(), offsets)?;
        let mut tally = Tally { rows_in: offsets.rows().len() as u64, ..Tally::default() };
        if tally.rows_in != rows.count() {
            return Err(malformed(format_args!("{} rows where {} were cut", tally.rows_in, rows.count())));
        }
        let mut state = State::new(&self.rules);
        // Adjacent unchanged rows are copied together.
        let mut verbatim = 0..0;
        if self.rules.emits {
            out.reserve(self.emitter.room(data.len(), tally.rows_in));
        }
        for (number, offsets) in offsets.rows().enumerate() {
            let row = Row { data, offsets, columns };
            let ordinal = rows.first() + number as u64;
            if let Verdict::Reject(cause) = self.judge::<C>(row, &mut state, reader, ordinal)? {
                tally.rejected += 1;
                self.reject::<C>(cause, row.whole::<C>(all_offsets)?, &state, ordinal, rejects)?;
                continue;
            }
            if !sinks.is_empty() {
                self.collect::<C>(row, &state, reader, sinks)?;
            }
            self.count(&state, &mut tally);
            if !self.rules.emits {
                continue;
            }
            if self.emitter.is_verbatim() && !state.is_nulled {
                let begin = offsets[0] as usize - C::ROW_BEGIN_BYTES;
                let end = offsets[offsets.len() - 1] as usize;
                if verbatim.end != begin {
                    out.extend_from_slice(&data[verbatim.clone()]);
                    verbatim.start = begin;
                }
                verbatim.end = end;
            } else {
                out.extend_from_slice(&data[std::mem::take(&mut verbatim)]);
                self.emitter.emit::<C>(&self.rules, row, &state, out);
            }
            if let Some(tracing) = &mut tracing {
                out.extend_from_slice(&data[std::mem::take(&mut verbatim)]);
                let suspect = is_suspect::<C>(&self.checks, &self.rules, row, &state, &mut tracing.scratch);
                tracing.push(number, out.len(), suspect);
            }
        }
        out.extend_from_slice(&data[verbatim]);
        tally.rows_out = tally.rows_in - tally.rejected;
        Ok(tally)
    }

    /// Collects the keys and values of a row that passes.
    fn collect<C: Codec>(
        &self,
        row: Row<'_>,
        state: &State<'_>,
        reader: &mut KeyReader,
        sinks: &mut [Sink],
    ) -> Result<()> {
        for (collect, sink) in self.rules.collect.iter().zip(sinks) {
            let (Collect::Keys { columns, .. } | Collect::Values { columns, .. }) = collect;
            let output = |column| state.output::<C>(&self.rules, row, column);
            let RowKey::Whole(key) = row_key(columns, reader, output)? else { continue };
            match (collect, sink) {
                (Collect::Values { value, .. }, Sink::Values(sink)) => sink.push(key, output(*value)),
                (_, Sink::Keys(sink)) => sink.push(key),
                (Collect::Keys { .. }, Sink::Values(_)) => {}
            }
        }
        Ok(())
    }

    pub(super) fn count(&self, state: &State<'_>, tally: &mut Tally) {
        for &number in &state.orphan_of {
            count_at(&mut tally.orphans, number, 1);
        }
        for (number, found) in state.found.iter().enumerate() {
            if found.is_none() {
                count_at(&mut tally.missing, number, 1);
            }
        }
    }

    fn hand_over(&self, scratch: &mut Scratch) -> Result<()> {
        for (collect, sink) in self.rules.collect.iter().zip(&mut scratch.sinks) {
            match (collect, sink) {
                (Collect::Keys { into, .. }, Sink::Keys(sink)) => sink.flush(into),
                (Collect::Values { into, .. }, Sink::Values(sink)) => sink.flush(into)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes a row to the rejects.
    #[cold]
    fn reject<C: Codec>(
        &self,
        cause: Cause,
        row: Row<'_>,
        state: &State<'_>,
        ordinal: u64,
        rejects: &mut RejectBuffer,
    ) -> Result<()> {
        let (kind, constraint) = self.kind_of(cause);
        let text = self.reason::<C>(cause, row, state)?;
        let kind = constraint.unwrap_or(&kind);
        let reason = Reason { kind, text: &text, constraint, row: ordinal, place: None };
        self.write_reject::<C>(&reason, row, rejects)
    }

    pub(super) fn write_reject<C: Codec>(
        &self,
        reason: &Reason<'_>,
        row: Row<'_>,
        rejects: &mut RejectBuffer,
    ) -> Result<()> {
        rejects.begin(reason);
        for field in &self.rules.reject_columns {
            let value = field.and_then(|field| row.value::<C>(field));
            let render = field.and_then(|field| self.rules.input[field].render.as_ref());
            rejects.value(value, C::FORMAT, render)?;
        }
        rejects.end();
        Ok(())
    }

    /// Returns a reason without values, and the constraint it concerns.
    pub(super) fn kind_of(&self, cause: Cause) -> (String, Option<&str>) {
        let names = self.names(cause);
        match cause {
            Cause::Missing(number) => {
                (format!("{names} has no match in {}", self.rules.lookups[number].from), None)
            }
            Cause::Orphan(number) => {
                let reference = &self.rules.references[number];
                (format!("{names} has no match in {}", reference.to), reference.constraint.as_deref())
            }
            Cause::PartlyNull(number) => {
                let constraint = self.rules.references[number].constraint.as_deref();
                (format!("{names} is NULL in part, which MATCH FULL forbids"), constraint)
            }
            Cause::Null(number) => (self.not_null[number].kind.clone(), None),
        }
    }

    /// Writes a reason with the row's values.
    fn reason<C: Codec>(&self, cause: Cause, row: Row<'_>, state: &State<'_>) -> Result<Vec<u8>> {
        let (columns, to) = match cause {
            Cause::PartlyNull(_) => return Ok(self.kind_of(cause).0.into_bytes()),
            Cause::Null(number) => return Ok(self.not_null[number].text.clone().into_bytes()),
            Cause::Missing(number) => {
                let lookup = &self.rules.lookups[number];
                (&lookup.columns, &lookup.from)
            }
            Cause::Orphan(number) => {
                let reference = &self.rules.references[number];
                (&reference.columns, &reference.to)
            }
        };
        let mut text = self.names(cause).into_bytes();
        text.push(b'=');
        let is_one = columns.len() == 1;
        for (number, column) in columns.iter().enumerate() {
            text.extend_from_slice(match (is_one, number) {
                (true, _) => b"",
                (false, 0) => b"(",
                (false, _) => b", ",
            });
            let (value, render) = match cause {
                Cause::Missing(_) => (row.value::<C>(column.column), &self.rules.input[column.column].render),
                _ => {
                    let output = &self.rules.output[column.column];
                    (state.output::<C>(&self.rules, row, column.column), &output.render)
                }
            };
            match value {
                None => text.extend_from_slice(b"NULL"),
                Some(value) => {
                    let start = text.len();
                    write_value(value, C::FORMAT, render.as_ref(), &mut text)?;
                    shorten(&mut text, start);
                }
            }
        }
        if !is_one {
            text.push(b')');
        }
        text.extend_from_slice(b" has no match in ");
        text.extend_from_slice(to.as_bytes());
        Ok(text)
    }

    fn names(&self, cause: Cause) -> String {
        let names: Vec<&str> = match cause {
            Cause::Missing(number) => {
                let columns = self.rules.lookups[number].columns.iter();
                columns.map(|column| self.rules.input[column.column].name.as_str()).collect()
            }
            Cause::Orphan(number) | Cause::PartlyNull(number) => {
                let columns = self.rules.references[number].columns.iter();
                columns.map(|column| self.rules.output[column.column].name.as_str()).collect()
            }
            Cause::Null(number) => vec![self.rules.output[self.not_null[number].column].name.as_str()],
        };
        match names.as_slice() {
            [one] => (*one).to_owned(),
            several => format!("({})", several.join(", ")),
        }
    }
}

/// Rows of one batch being added to a trace.
struct Tracing<'t> {
    batch: u32,
    trace: &'t mut Trace,
    scratch: Vec<u8>,
}

impl Tracing<'_> {
    fn push(&mut self, row: usize, end: usize, is_suspect: bool) {
        // A batch has far fewer rows than 32 bits can count.
        self.trace.push(Traced { batch: self.batch, row: row as u32, end }, is_suspect);
    }
}

/// Truncates the text appended since `start`, at a character boundary.
fn shorten(text: &mut Vec<u8>, start: usize) {
    if text.len() - start <= REASON_VALUE_BYTES_MAX {
        return;
    }
    let is_continuation = |byte: u8| byte & 0xC0 == 0x80;
    let mut end = start + REASON_VALUE_BYTES_MAX;
    while end > start && is_continuation(text[end]) {
        end -= 1;
    }
    text.truncate(end);
    text.extend_from_slice("…".as_bytes());
}

/// Checks that the rules are consistent, so that no later access is out of bounds.
fn check(rules: &Rules) -> Result<()> {
    let wrong = |what: &str| {
        Err(Error::new(Phase::Plan, Kind::Internal, format!("{}: inconsistent rules: {what}", rules.table)))
    };
    let (inputs, outputs) = (rules.input.len(), rules.output.len());
    if inputs == 0 || inputs > COLUMNS_MAX || outputs > COLUMNS_MAX || (rules.emits && outputs == 0) {
        return wrong("the number of columns");
    }
    let fits = |columns: &[KeyColumn], count: usize| {
        (1..=KEY_COLUMNS_MAX).contains(&columns.len()) && columns.iter().all(|column| column.column < count)
    };
    for column in &rules.output {
        let is_known = match &column.value {
            Output::Field(field) => *field < inputs,
            Output::Lookup(lookup) => *lookup < rules.lookups.len(),
            Output::Constant(Some(value)) if rules.format == Format::Text => {
                !value.iter().any(|byte| matches!(byte, b'\t' | b'\n' | b'\r'))
            }
            Output::Constant(value) => value.as_ref().is_none_or(|value| i32::try_from(value.len()).is_ok()),
        };
        if !is_known {
            return wrong(&format!("where column {} comes from", column.name));
        }
    }
    if !rules.lookups.iter().all(|lookup| fits(&lookup.columns, inputs)) {
        return wrong("the columns of a lookup");
    }
    if !rules.null_values.iter().all(|rule| rule.column.column < outputs) {
        return wrong("the column of a value that means NULL");
    }
    if !rules.reject_columns.iter().flatten().all(|&field| field < inputs) {
        return wrong("the columns of the rejects file");
    }
    let is_sound = |columns: &[KeyColumn], nulled: &[usize]| {
        fits(columns, outputs) && nulled.iter().all(|&column| column < outputs)
    };
    if !rules.references.iter().all(|reference| is_sound(&reference.columns, &reference.nulled)) {
        return wrong("the columns of a reference");
    }
    let is_sound = |collect: &Collect| match collect {
        Collect::Keys { columns, .. } => fits(columns, outputs),
        Collect::Values { columns, value, .. } => fits(columns, outputs) && *value < outputs,
    };
    if !rules.collect.iter().all(is_sound) {
        return wrong("the columns of a collection");
    }
    Ok(())
}
