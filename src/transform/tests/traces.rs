//! Rows that are traced, suspected, and rejected after they passed.

use super::*;
use crate::transform::{Check, Look, NotNull, Refused, Trace};

/// Three orphans among seven rows, of which one is loaded with NULL.
fn case(format: Format) -> (Program, Vec<Vec<Cell>>) {
    let mut rules = rules(format, 2);
    rules.references.push(reference(&[0], &[&[1], &[2]], OnOrphan::Null));
    let rows = (0..7).map(|i| vec![Cell::Int(if i % 3 == 0 { 9 } else { 1 }), Cell::text(&format!("v{i}"))]);
    (Program::compile(rules).unwrap(), rows.collect())
}

/// Traces a stream in pieces: what passed, where it comes from, and the pieces.
fn traced(
    program: &Program,
    stream: &[u8],
    ends: &[usize],
) -> (Vec<u8>, Trace, Vec<Rows>, Tally, RejectBuffer) {
    let rules = program.rules();
    let (pieces, _) = cut(rules.format, rules.input.len(), stream, ends).unwrap();
    let (mut scratch, mut out, mut trace) = (program.scratch(), Vec::new(), Trace::default());
    let (mut rejects, mut tally) = (RejectBuffer::default(), Tally::default());
    for numbered in (0..).zip(&pieces) {
        tally.add(&program.trace(numbered, &mut scratch, &mut out, &mut rejects, &mut trace).unwrap());
    }
    (out, trace, pieces, tally, rejects)
}

#[test]
fn a_traced_row_is_the_one_that_it_comes_from_and_the_output_is_the_same() {
    for format in FORMATS {
        let (program, rows) = case(format);
        let stream = stream(format, &rows);
        for ends in [vec![], vec![stream.len() / 3, stream.len() / 2]] {
            let plain = run(&program, &stream, &ends).unwrap();
            let (out, trace, pieces, tally, _) = traced(&program, &stream, &ends);
            assert_eq!(fields(format, 2, &out).unwrap(), plain.rows);
            assert_eq!((trace.len(), &tally), (7, &plain.tally));
            for number in 0..trace.len() {
                let row = &out[trace.start(number)..trace.end(number)];
                assert_eq!(fields(format, 2, row).unwrap(), plain.rows[number..=number]);
                let from = trace.row(number);
                let ordinal = pieces[from.batch as usize].first() + u64::from(from.row);
                assert_eq!(ordinal, number as u64 + 1);
            }
        }
    }
}

#[test]
fn a_row_that_is_refused_later_is_no_longer_counted_as_one_that_passed() {
    for format in FORMATS {
        let (program, rows) = case(format);
        let (_, trace, pieces, mut tally, mut rejects) = traced(&program, &stream(format, &rows), &[]);
        assert_eq!(tally.orphans, [3]);
        let refused = Refused { kind: "c1: bad", text: "bad: v3", constraint: Some("c"), column: None };
        let numbers = [1, 3].map(|number| (trace.row(number).row as usize, refused));
        let taken = program.refuse(&pieces[0], &mut program.scratch(), numbers, &mut rejects).unwrap();
        tally.take_back(&taken);
        assert_eq!((tally.rows_in, tally.rows_out, tally.rejected, tally.orphans[0]), (7, 5, 2, 2));
        let lines = String::from_utf8(rejects.take_lines()).unwrap();
        assert_eq!(lines, "bad: v3,c,2,1,v1\nbad: v3,c,4,9,v3\n", "values are those of the source");
        assert_eq!(rejects.rejects().reasons, [("c1: bad".to_owned(), 2)]);
    }
}

#[test]
fn a_null_that_must_not_be_is_rejected_also_where_an_orphan_got_it() {
    for format in FORMATS {
        let (program, rows) = case(format);
        let rule = NotNull { column: 0, kind: "c0: not_null".to_owned(), text: "not_null: c0".to_owned() };
        let outcome = run(&program.refusing_nulls(vec![rule]), &stream(format, &rows), &[]).unwrap();
        assert_eq!((outcome.tally.rejected, outcome.tally.rows_out), (3, 4));
        assert!(outcome.lines.starts_with("not_null: c0,,1,9,v0\n"), "{}", outcome.lines);
    }
}

#[test]
fn rows_that_do_not_look_so_are_suspects() {
    for format in FORMATS {
        let (program, rows) = case(format);
        let checks = vec![
            Check { column: 0, is_not_null: true, look: None },
            Check { column: 1, is_not_null: false, look: Some(Look::Characters(Some(1))) },
        ];
        let program = program.suspecting(checks[..1].to_vec());
        assert_eq!(traced(&program, &stream(format, &rows), &[]).1.suspects(), [0, 3, 6]);
        let program = program.suspecting(checks);
        assert_eq!(traced(&program, &stream(format, &rows), &[]).1.suspects(), [0, 1, 2, 3, 4, 5, 6]);
    }
}
