//! The hot path without a database: rows of 16 columns are split, one column is left behind, a constant is added, one
//! integer reference is checked; one core. Beside it a plain copy of the same bytes, and the parts.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

use std::hint::black_box;
use std::sync::Arc;

use bulkload::batch::BatchPool;
use bulkload::pg::format::Format;
use bulkload::transform::key::{Key, KeyKind};
use bulkload::transform::{
    Collect, InputColumn, KeyColumn, KeySet, KeySetBuilder, Lookup, LookupBuilder, LookupSink, OnMissing,
    OnOrphan, Output, OutputColumn, Program, Reference, RejectBuffer, RowCutter, Rows, Rules, header,
    trailer,
};
use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};

/// Rows of a run: a few megabytes, more than a core's own caches hold.
const ROWS: u64 = 50_000;

/// Columns: four integers, four decimals, two flags, three dates, three strings.
const COLUMNS: usize = 16;

/// Pieces as they come from a socket.
const PIECE_BYTES: usize = 64 * 1024;

/// The value of a field as COPY has it, and the pseudo-random number that it is made from.
fn field(format: Format, row: u64, column: usize) -> Vec<u8> {
    let random = (row * 31 + column as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
    let int = |value: u64| match format {
        Format::Binary => (value as i32).to_be_bytes().to_vec(),
        Format::Text => value.to_string().into_bytes(),
    };
    match column {
        0 => int(row / 4 * 4 + 1),
        1..=3 => int(random % 200_000),
        4..=7 => match format {
            Format::Binary => [0, 2, 0, 1, 0, 0, 0, 2, 0, (random % 9) as u8 + 1, 3, 232].to_vec(),
            Format::Text => format!("{}.{:02}", random % 100_000, random % 100).into_bytes(),
        },
        8 | 9 => vec![b'A' + (random % 3) as u8],
        10..=12 => match format {
            Format::Binary => int(random % 10_000),
            Format::Text => format!("199{}-0{}-1{}", random % 9, random % 9 + 1, random % 9).into_bytes(),
        },
        13 => b"DELIVER IN PERSON".to_vec(),
        14 => b"TRUCK".to_vec(),
        _ => {
            b"furiously even packages wake quickly".iter().copied().take(10 + random as usize % 27).collect()
        }
    }
}

fn stream(format: Format) -> Vec<u8> {
    let mut out = header(format).to_vec();
    for row in 0..ROWS {
        if format == Format::Binary {
            out.extend_from_slice(&(COLUMNS as i16).to_be_bytes());
        }
        for column in 0..COLUMNS {
            let value = field(format, row, column);
            match format {
                Format::Binary => {
                    out.extend_from_slice(&(value.len() as i32).to_be_bytes());
                    out.extend_from_slice(&value);
                }
                Format::Text => {
                    out.extend_from_slice(&value);
                    out.push(if column + 1 == COLUMNS { b'\n' } else { b'\t' });
                }
            }
        }
    }
    out.extend_from_slice(trailer(format));
    out
}

fn cut(format: Format, stream: &[u8], pool: &BatchPool) -> Vec<Rows> {
    let mut cutter = RowCutter::new(format, COLUMNS);
    let mut ready = Vec::new();
    for piece in stream.chunks(PIECE_BYTES) {
        let mut batch = pool.take();
        batch.buffer().extend_from_slice(piece);
        cutter.cut(batch, pool, &mut ready).unwrap();
    }
    ready.extend(cutter.finish().unwrap().0);
    ready
}

fn plain(format: Format) -> Rules {
    let input = |i| InputColumn { name: format!("c{i}"), render: None };
    let output = |i| OutputColumn { name: format!("c{i}"), value: Output::Field(i), render: None };
    Rules {
        table: "lineitem".to_owned(),
        format,
        input: (0..COLUMNS).map(input).collect(),
        output: (0..COLUMNS).map(output).collect(),
        lookups: Vec::new(),
        null_values: Vec::new(),
        references: Vec::new(),
        collect: Vec::new(),
        reject_columns: Vec::new(),
        emits: true,
    }
}

fn first_column() -> Vec<KeyColumn> {
    vec![KeyColumn { column: 0, kind: KeyKind::Int }]
}

fn reference() -> Reference {
    let keys: KeySet = (0..ROWS).map(|row| Key::Int((row / 4 * 4 + 1) as i64)).collect();
    Reference {
        to: "orders".to_owned(),
        constraint: None,
        columns: first_column(),
        keys: Arc::new(keys),
        is_match_full: false,
        on_orphan: OnOrphan::Reject,
        nulled: Vec::new(),
    }
}

/// Skip, constant, reference.
fn changed(format: Format) -> Rules {
    let mut rules = plain(format);
    rules.output.remove(13);
    rules.output.push(OutputColumn {
        name: "source".to_owned(),
        value: Output::Constant(Some(b"D".to_vec())),
        render: None,
    });
    rules.references.push(reference());
    rules
}

/// The same with a lookup and what a table does that others depend on.
fn everything(format: Format) -> Rules {
    let mut rules = changed(format);
    let builder = LookupBuilder::new(format, Some(KeyKind::Int));
    let mut sink = LookupSink::default();
    for row in 0..ROWS {
        sink.push(Key::Int((row / 4 * 4 + 1) as i64), Some(&field(format, row / 4, 1)));
    }
    sink.flush(&builder).unwrap();
    rules.lookups.push(Lookup {
        from: "orders".to_owned(),
        columns: first_column(),
        values: Arc::new(builder.freeze()),
        on_missing: OnMissing::Null,
    });
    rules.output.push(OutputColumn { name: "customer".to_owned(), value: Output::Lookup(0), render: None });
    rules.collect.push(Collect::Keys { columns: first_column(), into: Arc::new(KeySetBuilder::new()) });
    rules
}

fn run(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, rules: Rules, ready: &[Rows]) {
    let program = Program::compile(rules).unwrap();
    let mut scratch = program.scratch();
    let mut rejects = RejectBuffer::default();
    let mut out = Vec::new();
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            let mut passed = 0;
            for rows in ready {
                out.clear();
                passed += program.run(rows, &mut scratch, &mut out, &mut rejects).unwrap().rows_out;
                black_box(&out);
            }
            assert_eq!(passed, ROWS);
        });
    });
}

fn transform(criterion: &mut Criterion) {
    for format in [Format::Binary, Format::Text] {
        let stream = stream(format);
        let pool = BatchPool::default();
        let ready = cut(format, &stream, &pool);
        for throughput in [Throughput::Elements(ROWS), Throughput::Bytes(stream.len() as u64)] {
            let unit = if matches!(throughput, Throughput::Bytes(_)) { "bytes" } else { "rows" };
            let mut group = criterion.benchmark_group(format!("{format}/{unit}"));
            group.throughput(throughput);
            let mut out: Vec<u8> = Vec::with_capacity(2 * PIECE_BYTES);
            group.bench_function("copy", |bencher| {
                bencher.iter(|| {
                    for rows in &ready {
                        out.clear();
                        out.extend_from_slice(rows.data());
                        black_box(&out);
                    }
                });
            });
            run(&mut group, "skip, constant, reference", changed(format), &ready);
            if unit == "rows" {
                group.bench_function("copy and cut", |bencher| {
                    bencher.iter(|| {
                        let ready = cut(format, &stream, &pool);
                        ready.into_iter().for_each(|rows| pool.give_back(rows.into_batch()));
                    });
                });
                let references = vec![reference()];
                run(&mut group, "reference only", Rules { references, ..plain(format) }, &ready);
                run(&mut group, "lookup and keys collected too", everything(format), &ready);
            }
            group.finish();
        }
    }
}

criterion_group!(benches, transform);
criterion_main!(benches);
