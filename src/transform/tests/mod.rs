//! Streams made by hand, in both formats, and what comes out of them.

mod keys;
mod rules;
mod sets;
mod streams;
mod traces;

use std::sync::Arc;

use super::codec::{Binary, Codec, Offsets, Text};
use super::key::{Key, KeyKind};
use super::*;
use crate::batch::{Batch, BatchPool};
use crate::error::Result;
use crate::pg::format::Format;

const FORMATS: [Format; 2] = [Format::Binary, Format::Text];

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cell {
    Null,
    Int(i32),
    Text(String),
}

impl Cell {
    fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// As COPY has it.
    fn wire(&self, format: Format) -> Option<Vec<u8>> {
        match (self, format) {
            (Self::Null, _) => None,
            (Self::Int(value), Format::Binary) => Some(value.to_be_bytes().to_vec()),
            (Self::Int(value), Format::Text) => Some(value.to_string().into_bytes()),
            (Self::Text(text), Format::Binary) => Some(text.as_bytes().to_vec()),
            (Self::Text(text), Format::Text) => {
                let mut escaped = Vec::new();
                escape_text(text.as_bytes(), &mut escaped);
                Some(escaped)
            }
        }
    }

    fn key(&self) -> Option<Key> {
        let mut reader = key::KeyReader::new(Format::Binary);
        let kind = if matches!(self, Self::Int(_)) { KeyKind::Int } else { KeyKind::Text };
        self.wire(Format::Binary).map(|wire| reader.read(kind, &wire).unwrap())
    }
}

/// A whole COPY stream.
fn stream(format: Format, rows: &[Vec<Cell>]) -> Vec<u8> {
    let mut out = header(format).to_vec();
    for row in rows {
        put_row(format, row, &mut out);
    }
    out.extend_from_slice(trailer(format));
    out
}

fn put_row(format: Format, row: &[Cell], out: &mut Vec<u8>) {
    match format {
        Format::Binary => {
            out.extend_from_slice(&(row.len() as i16).to_be_bytes());
            for cell in row {
                match cell.wire(format) {
                    Some(value) => {
                        out.extend_from_slice(&(value.len() as i32).to_be_bytes());
                        out.extend_from_slice(&value);
                    }
                    None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
                }
            }
        }
        Format::Text => {
            let fields: Vec<_> =
                row.iter().map(|cell| cell.wire(format).unwrap_or_else(|| b"\\N".to_vec())).collect();
            out.extend_from_slice(&fields.join(&b'\t'));
            out.push(b'\n');
        }
    }
}

/// Rows of fields as COPY has them.
type Wires = Vec<Vec<Option<Vec<u8>>>>;

/// The fields of whole rows, as COPY has them.
fn fields(format: Format, columns: usize, rows: &[u8]) -> Result<Wires> {
    fn split<C: Codec>(columns: usize, rows: &[u8]) -> Result<Wires> {
        let mut offsets = Offsets::new(columns);
        C::split(rows, None, &mut offsets)?;
        let item =
            |row: &[u32], i: usize| C::value(&rows[row[i] as usize..row[i + 1] as usize]).map(<[u8]>::to_vec);
        Ok(offsets.rows().map(|row| (0..columns).map(|i| item(row, i)).collect()).collect())
    }
    match format {
        Format::Binary => split::<Binary>(columns, rows),
        Format::Text => split::<Text>(columns, rows),
    }
}

/// The same of cells.
fn wires(format: Format, rows: &[Vec<Cell>]) -> Wires {
    rows.iter().map(|row| row.iter().map(|cell| cell.wire(format)).collect()).collect()
}

/// A piece of a stream.
fn piece(pool: &BatchPool, data: &[u8]) -> Batch {
    let mut batch = pool.take();
    batch.buffer().extend_from_slice(data);
    batch
}

/// Cuts a stream that arrives in pieces which end at `ends`.
fn cut(format: Format, columns: usize, stream: &[u8], ends: &[usize]) -> Result<(Vec<Rows>, u64)> {
    let pool = BatchPool::default();
    let mut cutter = RowCutter::new(format, columns);
    let mut ready = Vec::new();
    let mut start = 0;
    for &end in ends.iter().chain([&stream.len()]) {
        cutter.cut(piece(&pool, &stream[start..end]), &pool, &mut ready)?;
        start = end;
    }
    let (last, rows) = cutter.finish()?;
    ready.extend(last);
    Ok((ready, rows))
}

/// Cuts a stream that arrives in messages of a row each, so many in a batch.
fn cut_messages(columns: usize, stream: &[u8], per_batch: usize) -> Vec<Rows> {
    let (start, end) = (header(Format::Binary).len(), stream.len() - trailer(Format::Binary).len());
    let mut offsets = Offsets::new(columns);
    Binary::split(&stream[start..end], None, &mut offsets).unwrap();
    let ends: Vec<usize> = offsets.rows().map(|row| start + row[columns] as usize).collect();
    let pool = BatchPool::default();
    let mut cutter = RowCutter::new(Format::Binary, columns);
    let mut ready = Vec::new();
    cutter.cut(piece(&pool, &stream[..start]), &pool, &mut ready).unwrap();
    let mut start = start;
    for ends in ends.into_iter().chain([stream.len()]).collect::<Vec<_>>().chunks(per_batch) {
        let mut batch = pool.take();
        for &end in ends {
            batch.extend(&stream[start..end]);
            batch.ends.push(batch.len() as u32);
            start = end;
        }
        cutter.cut(batch, &pool, &mut ready).unwrap();
    }
    assert!(cutter.finish().unwrap().0.is_none());
    ready
}

/// What a program makes of a stream.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    rows: Wires,
    lines: String,
    tally: Tally,
    rejects: Rejects,
}

/// Whatever the pieces in which the stream arrives.
fn run(program: &Program, stream: &[u8], ends: &[usize]) -> Result<Outcome> {
    let rules = program.rules();
    let columns = rules.input.len();
    let (ready, _) = cut(rules.format, columns, stream, ends)?;
    let outcome = run_ready(program, ready)?;
    if rules.format == Format::Binary {
        for per_batch in 1..=3 {
            let ready = cut_messages(columns, stream, per_batch);
            assert!(ready.iter().all(|rows| rows.ends().is_some()));
            assert_eq!(run_ready(program, ready)?, outcome, "in messages, {per_batch} in a batch");
        }
    }
    Ok(outcome)
}

fn run_ready(program: &Program, ready: Vec<Rows>) -> Result<Outcome> {
    let rules = program.rules();
    let mut scratch = program.scratch();
    let mut out = Vec::new();
    let mut rejects = RejectBuffer::default();
    let mut tally = Tally::default();
    for rows in ready {
        tally.add(&program.run(&rows, &mut scratch, &mut out, &mut rejects)?);
    }
    let lines = String::from_utf8(rejects.take_lines()).unwrap();
    let rows = fields(rules.format, rules.output.len(), &out)?;
    Ok(Outcome { rows, lines, tally, rejects: rejects.rejects().clone() })
}

/// Rules that pass `columns` columns through: `c0`, `c1`, …
fn rules(format: Format, columns: usize) -> Rules {
    let render = || {
        (format == Format::Binary).then(|| {
            Render::new(|value, out| {
                match <[u8; 4]>::try_from(value) {
                    Ok(four) if four[0] == 0 || four[0] == 255 => {
                        out.extend_from_slice(i32::from_be_bytes(four).to_string().as_bytes());
                    }
                    _ => out.extend_from_slice(value),
                }
                Ok(())
            })
        })
    };
    Rules {
        table: "public.jobs".to_owned(),
        format,
        input: (0..columns).map(|i| InputColumn { name: format!("c{i}"), render: render() }).collect(),
        output: (0..columns)
            .map(|i| OutputColumn { name: format!("c{i}"), value: Output::Field(i), render: render() })
            .collect(),
        lookups: Vec::new(),
        null_values: Vec::new(),
        references: Vec::new(),
        collect: Vec::new(),
        reject_columns: (0..columns).map(Some).collect(),
        emits: true,
    }
}

fn constant(format: Format, name: &str, cell: &Cell) -> OutputColumn {
    OutputColumn { name: name.to_owned(), value: Output::Constant(cell.wire(format)), render: None }
}

/// A reference of columns that are all integers.
fn reference(columns: &[usize], keys: &[&[i32]], on_orphan: OnOrphan) -> Reference {
    let keys = keys.iter().map(|key| {
        let parts: Vec<Key> = key.iter().map(|&part| Key::Int(part.into())).collect();
        key::composite(&parts)
    });
    Reference {
        to: "public.parents".to_owned(),
        constraint: Some("jobs_fk".to_owned()),
        columns: columns.iter().map(|&column| KeyColumn { column, kind: KeyKind::Int }).collect(),
        keys: Arc::new(keys.collect()),
        is_match_full: false,
        on_orphan,
        nulled: columns.to_vec(),
    }
}
