//! What both targets do: a stream of arbitrary bytes is cut and worked on.

use std::sync::Arc;

use bulkload::batch::BatchPool;
use bulkload::pg::format::Format;
use bulkload::transform::key::{Key, KeyKind};
use bulkload::transform::{
    Collect, InputColumn, KeyColumn, KeySetBuilder, OnOrphan, Output, OutputColumn, Program, Reference,
    RejectBuffer, RowCutter, Rows, Rules, header,
};

/// The first byte says how many columns there are, which keys are read and whether a header goes before the rest; the
/// second one where the stream is cut. Nothing may panic, and where the stream is cut may not matter.
pub fn work(format: Format, data: &[u8]) {
    let [shape, cut_at, rest @ ..] = data else { return };
    let columns = usize::from(shape % 4) + 1;
    let mut stream = if shape & 0x80 == 0 { header(format).to_vec() } else { Vec::new() };
    stream.extend_from_slice(rest);
    let program = program(format, columns, KINDS[usize::from(shape >> 2) % KINDS.len()]);
    let whole = cut(format, columns, &stream, stream.len());
    let halves = cut(format, columns, &stream, usize::from(*cut_at).min(stream.len()));
    match (whole, halves) {
        (Some(whole), Some(halves)) => {
            let bytes =
                |rows: &[Rows]| rows.iter().flat_map(|rows| rows.data().to_vec()).collect::<Vec<u8>>();
            assert_eq!(bytes(&whole), bytes(&halves));
            let mut scratch = program.scratch();
            for rows in &whole {
                let mut out = Vec::new();
                if let Ok(tally) = program.run(rows, &mut scratch, &mut out, &mut RejectBuffer::default()) {
                    assert_eq!(tally.rows_out + tally.rejected, rows.count());
                }
            }
        }
        (whole, halves) => assert_eq!(whole.is_some(), halves.is_some()),
    }
}

const KINDS: [KeyKind; 13] = [
    KeyKind::Bool,
    KeyKind::Int,
    KeyKind::Oid,
    KeyKind::Numeric,
    KeyKind::Float4,
    KeyKind::Float8,
    KeyKind::Text,
    KeyKind::BpChar,
    KeyKind::Uuid,
    KeyKind::Bytea,
    KeyKind::Date,
    KeyKind::Time,
    KeyKind::Timestamptz,
];

/// The rows of a stream that arrives in two pieces; `None` if it is broken.
fn cut(format: Format, columns: usize, stream: &[u8], at: usize) -> Option<Vec<Rows>> {
    let pool = BatchPool::default();
    let mut cutter = RowCutter::new(format, columns);
    let mut ready = Vec::new();
    for piece in [&stream[..at], &stream[at..]] {
        let mut batch = pool.take();
        batch.buffer().extend_from_slice(piece);
        cutter.cut(batch, &pool, &mut ready).ok()?;
    }
    let (last, rows) = cutter.finish().ok()?;
    ready.extend(last);
    assert_eq!(rows, ready.iter().map(Rows::count).sum::<u64>());
    Some(ready)
}

/// The first column is a key, referenced and collected; the columns come out in reverse order.
fn program(format: Format, columns: usize, kind: KeyKind) -> Program {
    let key = || vec![KeyColumn { column: columns - 1, kind }];
    let input = |i| InputColumn { name: format!("c{i}"), render: None };
    let output = |i| OutputColumn { name: format!("c{i}"), value: Output::Field(i), render: None };
    let rules = Rules {
        table: "fuzzed".to_owned(),
        format,
        input: (0..columns).map(input).collect(),
        output: (0..columns).rev().map(output).collect(),
        lookups: Vec::new(),
        null_values: Vec::new(),
        references: vec![Reference {
            to: "parent".to_owned(),
            constraint: None,
            columns: key(),
            keys: Arc::new([Key::Int(1)].into_iter().collect()),
            is_match_full: false,
            on_orphan: OnOrphan::Reject,
            nulled: Vec::new(),
        }],
        collect: vec![Collect::Keys { columns: key(), into: Arc::new(KeySetBuilder::new()) }],
        reject_columns: (0..columns).map(Some).collect(),
        emits: true,
    };
    Program::compile(rules).expect("the rules fit together")
}
