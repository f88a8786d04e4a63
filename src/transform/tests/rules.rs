//! What a program does to rows, in both formats.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::error::Kind;

fn int_rows(rows: &[&[Option<i32>]]) -> Vec<Vec<Cell>> {
    rows.iter().map(|row| row.iter().map(|cell| cell.map_or(Cell::Null, Cell::Int)).collect()).collect()
}

fn compiled(rules: Rules) -> Program {
    Program::compile(rules).unwrap()
}

#[test]
fn columns_are_left_behind_reordered_and_made_up() {
    let rows = vec![
        vec![Cell::Int(1), Cell::text("a"), Cell::Null, Cell::text("z\t")],
        vec![Cell::Int(2), Cell::Null, Cell::text(""), Cell::Null],
    ];
    for format in FORMATS {
        let mut rules = rules(format, 4);
        let field = |i: usize| OutputColumn { name: format!("c{i}"), value: Output::Field(i), render: None };
        rules.output = vec![
            constant(format, "source", &Cell::text("D\\\n")),
            field(3),
            field(0),
            field(1),
            constant(format, "nothing", &Cell::Null),
            constant(format, "number", &Cell::Int(-5)),
        ];
        let outcome = run(&compiled(rules), &stream(format, &rows), &[]).unwrap();
        let end = |row: Vec<Cell>| [row, vec![Cell::Null, Cell::Int(-5)]].concat();
        let expected = vec![
            end(vec![Cell::text("D\\\n"), Cell::text("z\t"), Cell::Int(1), Cell::text("a")]),
            end(vec![Cell::text("D\\\n"), Cell::Null, Cell::Int(2), Cell::Null]),
        ];
        assert_eq!(outcome.rows, wires(format, &expected), "{format}");
        assert_eq!((outcome.tally.rows_in, outcome.tally.rows_out), (2, 2));
    }
}

#[test]
fn rows_without_changes_come_out_byte_for_byte() {
    let rows = int_rows(&[&[Some(1), None], &[Some(2), Some(3)], &[None, Some(-1)]]);
    for format in FORMATS {
        let program = compiled(rules(format, 2));
        let (ready, _) = cut(format, 2, &stream(format, &rows), &[]).unwrap();
        let mut out = b"before".to_vec();
        program.run(&ready[0], &mut program.scratch(), &mut out, &mut RejectBuffer::default()).unwrap();
        assert_eq!(&out[6..], ready[0].data());
    }
}

#[test]
fn orphans_are_rejected_with_their_reason() {
    let rows = vec![
        vec![Cell::Int(1), Cell::text("fine")],
        vec![Cell::Int(2), Cell::text("with, comma and \"quotes\"")],
        vec![Cell::Null, Cell::text("no reference")],
        vec![Cell::Int(-3), Cell::text("")],
        vec![Cell::Int(4), Cell::Null],
        vec![Cell::Int(5), Cell::text("line\nbreak")],
    ];
    for format in FORMATS {
        let mut rules = rules(format, 2);
        rules.references.push(reference(&[0], &[&[1], &[7]], OnOrphan::Reject));
        let stream = stream(format, &rows);
        for ends in [vec![], vec![stream.len() / 3, stream.len() / 2]] {
            let outcome = run(&compiled_again(&rules, format), &stream, &ends).unwrap();
            assert_eq!(outcome.rows, wires(format, &[rows[0].clone(), rows[2].clone()]), "{format}");
            assert_eq!(outcome.tally.rejected, 4);
            let lines = "c0=2 has no match in public.parents,jobs_fk,2,2,\"with, comma and \"\"quotes\"\"\"\n\
                         c0=-3 has no match in public.parents,jobs_fk,4,-3,\"\"\n\
                         c0=4 has no match in public.parents,jobs_fk,5,4,\n\
                         c0=5 has no match in public.parents,jobs_fk,6,5,\"line\nbreak\"\n";
            assert_eq!(outcome.lines, lines, "{format}");
            assert_eq!(outcome.rejects.count, 4);
            assert_eq!(outcome.rejects.reasons, [("jobs_fk".to_owned(), 4)]);
            assert_eq!(outcome.rejects.samples.len(), 3, "the first three are kept");
            assert_eq!(outcome.rejects.samples[0].1, "c0=2 has no match in public.parents");
        }
    }
}

/// The same rules once more: a program takes them for itself.
fn compiled_again(rules: &Rules, format: Format) -> Program {
    let mut again = super::rules(format, rules.input.len());
    again.references = rules
        .references
        .iter()
        .map(|r| Reference {
            to: r.to.clone(),
            constraint: r.constraint.clone(),
            columns: r.columns.clone(),
            keys: r.keys.clone(),
            nulled: r.nulled.clone(),
            ..*r
        })
        .collect();
    compiled(again)
}

#[test]
fn the_header_of_the_rejects_file_names_the_sources_columns() {
    let header = RejectBuffer::header(false, ["id", "a \"b\"", "c,d"]);
    assert_eq!(header, b"reason,constraint,row,id,\"a \"\"b\"\"\",\"c,d\"\n");
}

#[test]
fn a_column_that_was_not_extracted_is_empty_in_the_rejects_file_and_a_long_key_is_cut_in_the_reason() {
    for format in FORMATS {
        let mut rules = rules(format, 2);
        rules.reject_columns[0] = None;
        let mut orphan = reference(&[1], &[], OnOrphan::Reject);
        orphan.columns[0].kind = KeyKind::Text;
        orphan.constraint = None;
        rules.references.push(orphan);
        let long = "ä".repeat(100);
        let outcome =
            run(&compiled(rules), &stream(format, &[vec![Cell::Int(1), Cell::text(&long)]]), &[]).unwrap();
        let shown = "ä".repeat(30);
        assert_eq!(outcome.lines, format!("c1={shown}… has no match in public.parents,,1,,{long}\n"));
    }
}

#[test]
fn orphans_can_be_nulled_kept_or_refused() {
    let rows = int_rows(&[&[Some(1), Some(10)], &[Some(2), Some(20)], &[None, Some(30)]]);
    for format in FORMATS {
        let with = |on_orphan| {
            let mut rules = rules(format, 2);
            rules.references.push(reference(&[0], &[&[1]], on_orphan));
            run(&compiled(rules), &stream(format, &rows), &[])
        };
        let nulled = with(OnOrphan::Null).unwrap();
        let expected = int_rows(&[&[Some(1), Some(10)], &[None, Some(20)], &[None, Some(30)]]);
        assert_eq!(nulled.rows, wires(format, &expected), "{format}");
        assert_eq!((nulled.tally.rejected, nulled.tally.orphans), (0, vec![1]));
        let kept = with(OnOrphan::Keep).unwrap();
        assert_eq!(kept.rows, wires(format, &rows));
        assert_eq!(kept.tally.orphans, [1]);
        let error = with(OnOrphan::Fail).unwrap_err();
        assert_eq!(error.kind(), Kind::Guard);
        let message = "row 2: c0 has no match in public.parents (constraint jobs_fk)";
        assert_eq!(error.message(), message, "names columns, not values");
    }
}

#[test]
fn match_simple_and_match_full_differ_where_a_key_is_null_in_part() {
    let rows = int_rows(&[
        &[Some(1), Some(2)],
        &[Some(2), Some(1)],
        &[None, Some(2)],
        &[Some(1), None],
        &[None, None],
    ]);
    for format in FORMATS {
        let with = |is_match_full, on_orphan| {
            let mut rules = rules(format, 2);
            let columns = reference(&[0, 1], &[&[1, 2]], on_orphan);
            rules.references.push(Reference { is_match_full, ..columns });
            run(&compiled(rules), &stream(format, &rows), &[]).unwrap()
        };
        let simple = with(false, OnOrphan::Reject);
        assert_eq!(simple.tally.rows_out, 4);
        assert_eq!(simple.rejects.samples.len(), 1);
        assert_eq!(simple.rejects.samples[0].1, "(c0, c1)=(2, 1) has no match in public.parents");
        let full = with(true, OnOrphan::Reject);
        assert_eq!(full.tally.rows_out, 2);
        assert_eq!(full.rejects.samples[1].1, "(c0, c1) is NULL in part, which MATCH FULL forbids");
        let nulled = with(true, OnOrphan::Null);
        let expected = int_rows(&[&[Some(1), Some(2)], &[None; 2], &[None; 2], &[None; 2], &[None; 2]]);
        assert_eq!(nulled.rows, wires(format, &expected));
    }
}

#[test]
fn values_that_mean_no_reference_are_null_in_every_form_they_can_have() {
    for format in FORMATS {
        let mut rules = rules(format, 2);
        let zero = Cell::Int(0).wire(format).unwrap();
        let column = KeyColumn { column: 0, kind: KeyKind::Int };
        rules.null_values.push(NullValues { column, values: vec![zero] });
        let blank = Cell::text("").wire(format).unwrap();
        let column = KeyColumn { column: 1, kind: KeyKind::BpChar };
        rules.null_values.push(NullValues { column, values: vec![blank] });
        rules.references.push(reference(&[0], &[&[1]], OnOrphan::Reject));
        let rows = [
            vec![Cell::Int(0), Cell::text("x")],
            vec![Cell::Int(1), Cell::text("  ")],
            vec![Cell::Int(5), Cell::text("y")],
        ];
        let outcome = run(&compiled(rules), &stream(format, &rows), &[]).unwrap();
        let expected = [vec![Cell::Null, Cell::text("x")], vec![Cell::Int(1), Cell::Null]];
        assert_eq!(outcome.rows, wires(format, &expected), "{format}");
        assert_eq!(outcome.tally.rejected, 1);
    }
}

fn client_lookup(format: Format, on_missing: OnMissing) -> Rules {
    let builder = LookupBuilder::new(format, Some(KeyKind::Int));
    let mut sink = LookupSink::default();
    for (key, client) in [(1, Cell::Int(100)), (2, Cell::Int(200)), (3, Cell::Null)] {
        sink.push(Key::Int(key), client.wire(format).as_deref());
    }
    sink.flush(&builder).unwrap();
    let mut rules = rules(format, 2);
    rules.lookups.push(Lookup {
        from: "public.jobshead".to_owned(),
        columns: vec![KeyColumn { column: 0, kind: KeyKind::Int }],
        values: Arc::new(builder.freeze()),
        on_missing,
    });
    let render = rules.output[0].render.clone();
    rules.output.insert(1, OutputColumn { name: "client".to_owned(), value: Output::Lookup(0), render });
    rules
}

#[test]
fn a_lookup_fills_a_column_and_what_it_fills_can_be_a_reference() {
    let rows =
        int_rows(&[&[Some(1), None], &[Some(2), None], &[Some(3), None], &[Some(4), None], &[None; 2]]);
    for format in FORMATS {
        let outcome =
            run(&compiled(client_lookup(format, OnMissing::Null)), &stream(format, &rows), &[]).unwrap();
        let filled = int_rows(&[
            &[Some(1), Some(100), None],
            &[Some(2), Some(200), None],
            &[Some(3), None, None],
            &[Some(4), None, None],
            &[None, None, None],
        ]);
        assert_eq!(outcome.rows, wires(format, &filled), "{format}");
        assert_eq!(outcome.tally.missing, [2]);
        let mut rules = client_lookup(format, OnMissing::Reject);
        rules.references.push(reference(&[1], &[&[200]], OnOrphan::Reject));
        let outcome = run(&compiled(rules), &stream(format, &rows), &[]).unwrap();
        assert_eq!(outcome.rows, wires(format, &filled[1..3]), "{format}");
        let lines = "client=100 has no match in public.parents,jobs_fk,1,1,\n\
                     c0=4 has no match in public.jobshead,,4,4,\n\
                     c0=NULL has no match in public.jobshead,,5,,\n";
        assert_eq!(outcome.lines, lines, "{format}");
    }
}

#[test]
fn only_rows_that_pass_are_collected_and_collected_twice_is_collected_once() {
    let rows = int_rows(&[&[Some(1), Some(5)], &[Some(2), Some(6)], &[None, Some(7)], &[Some(4), Some(1)]]);
    for format in FORMATS {
        let keys = Arc::new(KeySetBuilder::new());
        let values = Arc::new(LookupBuilder::new(format, Some(KeyKind::Int)));
        let mut rules = rules(format, 2);
        rules.references.push(reference(&[1], &[&[5], &[7], &[1]], OnOrphan::Reject));
        let columns = vec![KeyColumn { column: 0, kind: KeyKind::Int }];
        rules.collect = vec![
            Collect::Keys { columns: columns.clone(), into: keys.clone() },
            Collect::Values { columns, value: 1, into: values.clone() },
        ];
        rules.emits = false;
        let program = compiled(rules);
        for _ in 0..2 {
            let outcome = run(&program, &stream(format, &rows), &[]).unwrap();
            assert_eq!((outcome.rows.len(), outcome.tally.rows_out), (0, 3), "it only collects");
        }
        drop(program);
        let keys = Arc::into_inner(keys).unwrap().freeze();
        assert_eq!(keys.len(), 2, "neither the orphan nor the row without a key");
        assert!(keys.contains(Key::Int(1)) && keys.contains(Key::Int(4)));
        let values = Arc::into_inner(values).unwrap().freeze();
        let found = values.get(Key::Int(4)).unwrap().value().map(<[u8]>::to_vec);
        assert_eq!((found, values.ambiguous()), (Cell::Int(1).wire(format), 0));
    }
}

#[test]
fn a_batch_that_fails_leaves_no_keys_behind() {
    let format = Format::Binary;
    let keys = Arc::new(KeySetBuilder::new());
    let mut rules = rules(format, 2);
    rules.references.push(reference(&[1], &[&[1]], OnOrphan::Fail));
    let columns = vec![KeyColumn { column: 0, kind: KeyKind::Int }];
    rules.collect = vec![Collect::Keys { columns, into: keys.clone() }];
    let program = compiled(rules);
    let mut scratch = program.scratch();
    let mut work = |rows: &[&[Option<i32>]]| {
        let (ready, _) = cut(format, 2, &stream(format, &int_rows(rows)), &[]).unwrap();
        program.run(&ready[0], &mut scratch, &mut Vec::new(), &mut RejectBuffer::default()).map(|_| ())
    };
    assert!(work(&[&[Some(1), Some(1)], &[Some(2), Some(2)]]).is_err());
    assert!(work(&[&[Some(3), Some(1)]]).is_ok());
    drop(program);
    let keys = Arc::into_inner(keys).unwrap().freeze();
    assert_eq!((keys.len(), keys.contains(Key::Int(3))), (1, true));
}

#[test]
fn rules_that_contradict_themselves_are_refused() {
    let format = Format::Text;
    let broken: [fn(&mut Rules); 7] = [
        |rules| rules.output[0].value = Output::Field(2),
        |rules| rules.output[0].value = Output::Lookup(0),
        |rules| rules.output[0].value = Output::Constant(Some(b"a\tb".to_vec())),
        |rules| rules.references.push(reference(&[2], &[], OnOrphan::Reject)),
        |rules| rules.references.push(reference(&[], &[], OnOrphan::Reject)),
        |rules| rules.references.push(Reference { nulled: vec![9], ..reference(&[0], &[], OnOrphan::Null) }),
        |rules| rules.output.clear(),
    ];
    for (number, break_it) in broken.iter().enumerate() {
        let mut rules = rules(format, 2);
        break_it(&mut rules);
        let error = Program::compile(rules).unwrap_err();
        assert!(error.to_string().contains("inconsistent"), "{number}: {error}");
    }
}

#[test]
fn a_value_that_is_none_is_an_error_not_a_panic() {
    let mut rules = rules(Format::Text, 1);
    rules.references.push(reference(&[0], &[], OnOrphan::Reject));
    let error = run(&compiled(rules), b"seven\n", &[]).unwrap_err();
    assert!(error.to_string().contains("kind Int"), "{error}");
}

/// A table of four columns, integers at even places, texts at odd ones; what is referenced and looked up.
#[derive(Debug, Clone)]
struct World {
    rows: Vec<Vec<Cell>>,
    output: Vec<usize>,
    keys: BTreeSet<i32>,
    pairs: BTreeSet<(i32, String)>,
    clients: BTreeMap<i32, Option<i32>>,
    reject_missing: bool,
    on_orphan: [usize; 2],
    is_match_full: bool,
}

const ACTIONS: [OnOrphan; 3] = [OnOrphan::Reject, OnOrphan::Null, OnOrphan::Keep];

/// The output has the input's columns in some order, then a constant, then what was looked up for the first column.
const CONSTANT: usize = 4;
const CLIENT: usize = 5;

fn world() -> impl Strategy<Value = World> {
    let int = prop_oneof![Just(Cell::Null), (-4..4).prop_map(Cell::Int)];
    let text = prop_oneof![Just(Cell::Null), "[ab\\\\\t]{0,2}".prop_map(Cell::Text)];
    let row = (int.clone(), text.clone(), int, text).prop_map(|(a, b, c, d)| vec![a, b, c, d]);
    (
        proptest::collection::vec(row, 0..40),
        Just(vec![0, 1, 2, 3]).prop_shuffle(),
        proptest::collection::btree_set(-4..4, 0..8),
        proptest::collection::btree_set((-4..4, "[ab\\\\\t]{0,2}"), 0..30),
        proptest::collection::btree_map(-4..4, proptest::option::of(-4..4), 0..8),
        any::<bool>(),
        [0_usize..3, 0_usize..3],
        any::<bool>(),
    )
        .prop_map(|(rows, output, keys, pairs, clients, reject_missing, on_orphan, is_match_full)| {
            World { rows, output, keys, pairs, clients, reject_missing, on_orphan, is_match_full }
        })
}

impl World {
    /// Where a column of the input is in the output.
    fn place(&self, input: usize) -> usize {
        self.output.iter().position(|&column| column == input).unwrap()
    }

    /// The looked-up client refers to a key, and two columns refer to a pair.
    fn program(&self, format: Format) -> Program {
        let mut rules = rules(format, 4);
        let columns = rules.output.clone();
        rules.output = self.output.iter().map(|&column| columns[column].clone()).collect();
        rules.output.push(constant(format, "constant", &Cell::text("c\\")));
        rules.output.push(OutputColumn { name: "client".to_owned(), value: Output::Lookup(0), render: None });
        let builder = LookupBuilder::new(format, Some(KeyKind::Int));
        let mut sink = LookupSink::default();
        for (job, client) in &self.clients {
            let value = client.map(|client| Cell::Int(client).wire(format).unwrap());
            sink.push(Key::Int((*job).into()), value.as_deref());
        }
        sink.flush(&builder).unwrap();
        rules.lookups.push(Lookup {
            from: "jobs".to_owned(),
            columns: vec![KeyColumn { column: 0, kind: KeyKind::Int }],
            values: Arc::new(builder.freeze()),
            on_missing: if self.reject_missing { OnMissing::Reject } else { OnMissing::Null },
        });
        let keys = self.keys.iter().map(|key| Key::Int((*key).into()));
        let pairs = self
            .pairs
            .iter()
            .map(|(int, text)| key::composite(&[Key::Int((*int).into()), Cell::text(text).key().unwrap()]));
        let places = [self.place(2), self.place(3)];
        rules.references.push(Reference {
            keys: Arc::new(keys.collect()),
            ..reference(&[CLIENT], &[], ACTIONS[self.on_orphan[0]])
        });
        rules.references.push(Reference {
            keys: Arc::new(pairs.collect()),
            columns: vec![
                KeyColumn { column: places[0], kind: KeyKind::Int },
                KeyColumn { column: places[1], kind: KeyKind::Text },
            ],
            is_match_full: self.is_match_full,
            ..reference(&places, &[], ACTIONS[self.on_orphan[1]])
        });
        compiled(rules)
    }

    /// What should come out, done the slow way.
    fn expected(&self) -> Vec<Vec<Cell>> {
        self.rows.iter().filter_map(|row| self.expected_row(row)).collect()
    }

    fn expected_row(&self, row: &[Cell]) -> Option<Vec<Cell>> {
        let found = if let Cell::Int(job) = row[0] { self.clients.get(&job) } else { None };
        if found.is_none() && self.reject_missing {
            return None;
        }
        let mut out: Vec<Cell> = self.output.iter().map(|&column| row[column].clone()).collect();
        out.push(Cell::text("c\\"));
        out.push(found.copied().flatten().map_or(Cell::Null, Cell::Int));
        assert_eq!(out[CONSTANT], Cell::text("c\\"));
        if let Cell::Int(client) = out[CLIENT]
            && !self.keys.contains(&client)
        {
            match ACTIONS[self.on_orphan[0]] {
                OnOrphan::Reject => return None,
                OnOrphan::Null => out[CLIENT] = Cell::Null,
                _ => {}
            }
        }
        let is_fine = match (&row[2], &row[3]) {
            (Cell::Int(int), Cell::Text(text)) => self.pairs.contains(&(*int, text.clone())),
            (Cell::Null, Cell::Null) => true,
            _ => !self.is_match_full,
        };
        if !is_fine {
            match ACTIONS[self.on_orphan[1]] {
                OnOrphan::Reject => return None,
                OnOrphan::Null => {
                    out[self.place(2)] = Cell::Null;
                    out[self.place(3)] = Cell::Null;
                }
                _ => {}
            }
        }
        Some(out)
    }
}

proptest! {
    #[test]
    fn both_formats_agree_with_the_slow_way(world in world(), ends in [any::<proptest::sample::Index>(), any::<proptest::sample::Index>()]) {
        let mut seen = Vec::new();
        for format in FORMATS {
            let stream = stream(format, &world.rows);
            let mut ends = ends.map(|end| end.index(stream.len() + 1));
            ends.sort_unstable();
            let outcome = run(&world.program(format), &stream, &ends).unwrap();
            prop_assert_eq!(&outcome.rows, &wires(format, &world.expected()));
            prop_assert_eq!(outcome.tally.rows_out + outcome.tally.rejected, world.rows.len() as u64);
            prop_assert_eq!(outcome.rejects.count, outcome.tally.rejected);
            seen.push((outcome.tally, outcome.rejects.reasons));
        }
        prop_assert_eq!(&seen[0], &seen[1]);
    }
}
