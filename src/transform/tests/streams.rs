//! Streams cut anywhere, and streams that are broken.

use proptest::prelude::*;

use super::*;

fn sample() -> Vec<Vec<Cell>> {
    vec![
        vec![Cell::Int(1), Cell::text("one"), Cell::Null],
        vec![Cell::Int(-1), Cell::text(""), Cell::text("tab\t, newline\n, \\N and \\.")],
        vec![Cell::Null, Cell::Null, Cell::Null],
        vec![Cell::Int(i32::MIN), Cell::text("\\."), Cell::text(&"long ".repeat(50))],
        vec![Cell::Int(65_535), Cell::text("\u{1}ÿ"), Cell::text("last")],
    ]
}

fn cut_fields(format: Format, stream: &[u8], ends: &[usize]) -> (Wires, Vec<(u64, u64)>) {
    let (ready, total) = cut(format, 3, stream, ends).unwrap();
    let mut all = Vec::new();
    let mut counts = Vec::new();
    for rows in &ready {
        let found = fields(format, 3, rows.data()).unwrap();
        assert_eq!(found.len() as u64, rows.count());
        assert_eq!(rows.first(), all.len() as u64 + 1, "ordinals go on from batch to batch");
        counts.push((rows.first(), rows.count()));
        all.extend(found);
    }
    assert_eq!(total, all.len() as u64);
    (all, counts)
}

#[test]
fn a_stream_cut_at_any_two_bytes_has_the_same_rows() {
    for format in FORMATS {
        let stream = stream(format, &sample());
        let expected = wires(format, &sample());
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let (found, _) = cut_fields(format, &stream, &[first, second]);
                assert!(found == expected, "{format} cut at {first} and {second}: {found:?}");
            }
        }
    }
}

#[test]
fn a_stream_that_arrives_byte_by_byte_has_the_same_rows() {
    for format in FORMATS {
        let stream = stream(format, &sample());
        let ends: Vec<usize> = (0..stream.len()).collect();
        assert_eq!(cut_fields(format, &stream, &ends).0, wires(format, &sample()), "{format}");
    }
}

#[test]
fn whole_rows_are_handed_out_at_once_and_only_the_cut_row_is_copied() {
    for format in FORMATS {
        let stream = stream(format, &sample());
        let mut boundary = header(format).to_vec();
        put_row(format, &sample()[0], &mut boundary);
        let (_, counts) = cut_fields(format, &stream, &[boundary.len()]);
        assert_eq!(counts, [(1, 1), (2, 4)], "{format}: cut between rows");
        let (_, counts) = cut_fields(format, &stream, &[boundary.len() + 3]);
        assert_eq!(counts, [(1, 2), (3, 3)], "{format}: the first piece completed, then the second");
    }
}

#[test]
fn messages_that_arrive_whole_are_rows_and_messages_that_do_not_are_looked_at() {
    let (format, rows) = (Format::Binary, sample());
    // A row whose bytes look like the end.
    let rows: Vec<Vec<Cell>> =
        rows.into_iter().chain([vec![Cell::Null, Cell::Null, Cell::Int(-1)]]).collect();
    let mut messages: Vec<Vec<u8>> = rows
        .iter()
        .map(|row| {
            let mut message = Vec::new();
            put_row(format, row, &mut message);
            message
        })
        .collect();
    messages[0].splice(0..0, header(format).iter().copied());
    messages.push(trailer(format).to_vec());
    // In batches of so many messages; from the split one on, a message is in two batches.
    for per_batch in 1..=messages.len() {
        for split in 0..=messages.len() {
            let pool = BatchPool::default();
            let mut cutter = RowCutter::new(format, 3);
            let mut ready = Vec::new();
            let mut feed = |pieces: &[&[u8]], is_whole: bool| {
                let mut batch = pool.take();
                for piece in pieces {
                    batch.extend(piece);
                    batch.messages += 1;
                    batch.ends.extend(is_whole.then_some(batch.len() as u32));
                }
                cutter.cut(batch, &pool, &mut ready).unwrap();
            };
            let (whole, rest) = messages.split_at(split);
            for batch in whole.chunks(per_batch) {
                feed(&batch.iter().map(Vec::as_slice).collect::<Vec<_>>(), true);
            }
            if let Some((first, rest)) = rest.split_first() {
                feed(&[&first[..1]], false);
                feed(&[&first[1..]], false);
                for batch in rest.chunks(per_batch) {
                    feed(&batch.iter().map(Vec::as_slice).collect::<Vec<_>>(), true);
                }
            }
            let (last, count) = cutter.finish().unwrap();
            ready.extend(last);
            let found: Wires =
                ready.iter().flat_map(|rows| fields(format, 3, rows.data()).unwrap()).collect();
            assert_eq!((&found, count), (&wires(format, &rows), rows.len() as u64), "{per_batch}, {split}");
            let counts: u64 = ready.iter().map(Rows::count).sum();
            assert_eq!(counts, count, "{per_batch}, {split}");
        }
    }
}

#[test]
fn an_empty_stream_has_no_rows() {
    for format in FORMATS {
        let stream = stream(format, &[]);
        for end in 0..=stream.len() {
            let (ready, rows) = cut(format, 3, &stream, &[end]).unwrap();
            assert!(ready.is_empty() && rows == 0);
        }
    }
}

#[test]
fn a_row_of_many_pieces_is_one_row() {
    let row = vec![Cell::Int(7), Cell::text(&"x".repeat(3_000_000)), Cell::Null];
    for format in FORMATS {
        let stream = stream(format, &[row.clone(), row.clone()]);
        let ends: Vec<usize> = (0..stream.len()).step_by(65_536).collect();
        assert_eq!(cut_fields(format, &stream, &ends).0, wires(format, &[row.clone(), row.clone()]));
    }
}

#[test]
fn the_end_marker_of_old_servers_ends_the_rows() {
    for text in ["1\ta\t\\N\n\\.\n", "1\ta\t\\N\n\\."] {
        for end in 0..=text.len() {
            let (ready, rows) = cut(Format::Text, 3, text.as_bytes(), &[end]).unwrap();
            let data: Vec<u8> = ready.iter().flat_map(|rows| rows.data().to_vec()).collect();
            assert_eq!((data.as_slice(), rows), (&b"1\ta\t\\N\n"[..], 1), "cut at {end}");
        }
    }
    for (columns, text) in [(3, "\\.\n1\ta\tb\n"), (1, "a\n\\.\nbcdefg\n")] {
        for end in 0..=text.len() {
            assert!(
                cut(Format::Text, columns, text.as_bytes(), &[end]).is_err(),
                "rows after it, cut at {end}"
            );
        }
    }
    let (_, rows) = cut(Format::Text, 1, b"\\\\.\n", &[]).unwrap();
    assert_eq!(rows, 1, "a value of the same looks is escaped");
}

#[test]
fn a_stream_that_ends_early_is_an_error() {
    for format in FORMATS {
        let stream = stream(format, &sample());
        let mut boundaries = vec![];
        let mut so_far = Vec::new();
        for row in sample() {
            boundaries.push(so_far.len());
            put_row(format, &row, &mut so_far);
        }
        for end in 0..stream.len() {
            // Text has no end of its own: between rows it may end.
            let may_end = format == Format::Text && boundaries.contains(&end);
            assert_eq!(cut(format, 3, &stream[..end], &[]).is_ok(), may_end, "{format} ends at {end}");
        }
    }
}

#[test]
fn broken_streams_are_errors_that_say_what_is_wrong() {
    let header = header(Format::Binary);
    let with = |tail: &[u8]| [header, tail].concat();
    let message = |stream: &[u8]| {
        let outcome = cut(Format::Binary, 1, stream, &[stream.len() / 2]);
        outcome.map(|_| ()).unwrap_err().to_string()
    };
    assert!(message(b"PGCOPY\n\xff\r\n\x01").contains("signature"));
    assert!(message(b"PGCOPY\n\xff\r\n\0\0\x01\0\0\0\0\0\0\xff\xff").contains("critical flags"));
    assert!(message(b"PGCOPY\n\xff\r\n\0\0\0\0\0\xff\xff\xff\xff").contains("extension"));
    assert!(message(&with(b"\0\x02\0\0\0\0\0\0\0\0\xff\xff")).contains("2 fields, expected 1"));
    assert!(message(&with(b"\xff\xfe")).contains("-2 fields"));
    assert!(message(&with(b"\0\x01\xff\xff\xff\xfe\xff\xff")).contains("-2 bytes"));
    assert!(message(&with(b"\xff\xff\0")).contains("after the end of the rows"));
    assert!(message(&with(b"\0\x01\0\0\0\x09abc")).contains("within a row"));
    let extended = [&header[..15], b"\0\0\0\x05abcde\xff\xff"].concat();
    for end in 0..extended.len() {
        assert!(cut(Format::Binary, 1, &extended, &[end]).is_ok(), "an extension is skipped");
    }
    for text in ["a\n", "a\tb\tc\n", "\n", "a\tb\nc"] {
        assert!(fields(Format::Text, 2, text.as_bytes()).is_err(), "{text:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        data in proptest::collection::vec(any::<u8>(), 0..200),
        with_header in any::<bool>(),
        columns in 1_usize..4,
        end in any::<proptest::sample::Index>(),
    ) {
        for format in FORMATS {
            let mut stream = if with_header { header(format).to_vec() } else { Vec::new() };
            stream.extend_from_slice(&data);
            let _ = cut(format, columns, &stream, &[end.index(stream.len() + 1)]);
            let _ = fields(format, columns, &data);
            if let Ok(program) = Program::compile(rules(format, columns)) {
                let _ = run(&program, &stream, &[]);
            }
        }
    }

    /// Bytes that look like COPY data go further than random ones.
    #[test]
    fn almost_right_bytes_never_panic(
        change in any::<proptest::sample::Index>(), to in any::<u8>(), end in any::<proptest::sample::Index>(),
    ) {
        for format in FORMATS {
            let mut stream = stream(format, &sample());
            let at = change.index(stream.len());
            stream[at] = to;
            let _ = cut(format, 3, &stream, &[end.index(stream.len())]);
        }
    }

    #[test]
    fn separators_are_found_wherever_they_are(text in "[a\t\n\u{b}\u{8}\u{8a}\u{89}]{0,40}") {
        let mut stream = text.clone();
        stream.push('\n');
        let columns = stream.split_inclusive('\n').map(|line| line.matches('\t').count() + 1);
        let columns: Vec<usize> = columns.collect();
        let is_even = columns.iter().all(|&count| count == columns[0]);
        let found = fields(Format::Text, columns[0], stream.as_bytes());
        prop_assert_eq!(found.is_ok(), is_even);
        if let Ok(found) = found {
            let expected: Wires = stream.lines_of();
            prop_assert_eq!(found, expected);
        }
    }
}

trait Lines {
    fn lines_of(&self) -> Wires;
}

impl Lines for String {
    fn lines_of(&self) -> Wires {
        let line = |line: &str| {
            line.trim_end_matches('\n').split('\t').map(|field| Some(field.as_bytes().to_vec())).collect()
        };
        self.split_inclusive('\n').map(line).collect()
    }
}

#[test]
fn messages_that_are_no_rows_are_errors() {
    // Of its three columns only the first is looked at.
    let mut rules = rules(Format::Binary, 3);
    rules.references.push(reference(&[0], &[&[1]], OnOrphan::Reject));
    let program = Program::compile(rules).unwrap();
    let mut row = Vec::new();
    put_row(Format::Binary, &[Cell::Int(1), Cell::text("one"), Cell::Null], &mut row);
    let judge = |data: &[u8], ends: &[usize]| {
        let pool = BatchPool::default();
        let mut cutter = RowCutter::new(Format::Binary, 3);
        let mut ready = Vec::new();
        cutter.cut(piece(&pool, header(Format::Binary)), &pool, &mut ready)?;
        let mut batch = piece(&pool, data);
        batch.ends.extend(ends.iter().map(|&end| end as u32));
        cutter.cut(batch, &pool, &mut ready)?;
        run_ready(&program, ready).map(|outcome| outcome.tally.rows_out)
    };
    let two = row.repeat(2);
    let len = row.len();
    assert_eq!(judge(&two, &[len, 2 * len]).unwrap(), 2);
    for (data, ends) in [
        (&two, vec![len - 1, 2 * len]),
        (&two, vec![len + 1, 2 * len]),
        (&two, vec![5, 2 * len]),
        (&two, vec![len, 2 * len - 1]),
        (&two, vec![len, 2 * len + 1]),
        (&two, vec![len, 2 * len, 2 * len]),
        (&two[..2 * len - 5].to_vec(), vec![len, 2 * len]),
    ] {
        let error = judge(data, &ends).expect_err(&format!("{ends:?}"));
        assert!(error.to_string().contains("malformed COPY data"), "{ends:?}: {error}");
    }
}
