//! Records that are rows, but none that the target takes: each is a reject with its place and the server's words.

use std::collections::BTreeMap;

use crate::csv_source::{gzip, program, target};
use crate::support::{Bulkload, Db, Outcome};

/// Records of the file that is loaded in every run of the tests.
const RECORDS: u64 = 60_000;

/// As many as somebody may really have.
const RECORDS_AT_LARGE: u64 = 2_000_000;

const CONFIG: &str = "[run]\nchunk = '400KiB'\njobs = 2\nmax_rejects = '6%'\n[[table]]\nname = 't'\ncsv = ";

fn tables() -> Db {
    target(
        "create table t (id int primary key, n int, v varchar(8), d date, j jsonb,
             a int constraint small check (a < 1000))",
    )
}

/// What is expected of a reject: its line, column, constraint, the word that its reason begins with, and the record.
type Expected = (u64, &'static str, &'static str, &'static str, String);

/// A file with a bad record of every kind among every thousand, and what is expected of them.
fn with_refused_records(records: u64) -> (Vec<u8>, Vec<Expected>) {
    let (mut text, mut expected, mut line) = ("id,n,v,d,j,a\n".to_owned(), Vec::new(), 2);
    for id in 1..=records {
        let (record, fault) = match id % 1000 {
            50 => (format!("{id},x,ok,2026-01-01,1,1"), Some(("n", "", "invalid: "))),
            150 => (format!("{id},99999999999,ok,2026-01-01,1,1"), Some(("n", "", "out_of_range: "))),
            250 => (format!("{id},1,\"far\ntoo long\",2026-01-01,1,1"), Some(("v", "", "too_long: "))),
            350 => (format!("{id},1,ok,2023-02-30,1,1"), Some(("d", "", "out_of_range: "))),
            450 => (format!("{id},1,ok,2026-01-01,{{a,1"), Some(("j", "", "invalid: "))),
            550 => (format!("{id},1,ok,2026-01-01,1,5000"), Some(("", "small", "check: "))),
            650 => (",1,ok,2026-01-01,1,1".to_owned(), Some(("id", "", "not_null: "))),
            750 => (format!("{id},1"), Some(("", "", "too few fields"))),
            _ if id % 7 == 0 => (format!("{id},1,\"a\nb\",2026-01-01,\"{{\"\"k\"\": 1}}\",1"), None),
            _ => (format!("{id}, 7,ok,2026-01-01,1,"), None),
        };
        if let Some((column, constraint, word)) = fault {
            expected.push((line, column, constraint, word, record.clone()));
        }
        line += 1 + record.matches('\n').count() as u64;
        text.push_str(&record);
        text.push('\n');
    }
    (text.into_bytes(), expected)
}

#[track_caller]
fn assert_rejected(program: &Bulkload, outcome: &Outcome, expected: &[Expected]) {
    let file = outcome.table("public.t")["rejects_file"].as_str().unwrap().to_owned();
    let mut reader = csv::Reader::from_path(program.dir().join(&file)).unwrap();
    let mut found: BTreeMap<u64, csv::StringRecord> =
        reader.records().map(Result::unwrap).map(|record| (record[4].parse().unwrap(), record)).collect();
    for (line, column, constraint, word, raw) in expected {
        let reject = found.remove(line).unwrap_or_else(|| panic!("no reject of line {line}: {raw}"));
        assert!(reject[0].starts_with(word), "{reject:?}");
        assert_eq!((&reject[1], &reject[5], &reject[6]), (*constraint, *column, raw.as_str()), "{reject:?}");
        let id = raw.split(',').next().unwrap();
        assert_eq!(&reject[7], id, "the record's own columns follow");
        assert!(id.is_empty() || &reject[2] == id, "its number among the records: {reject:?}");
    }
    assert!(found.is_empty(), "{found:?}");
    let directory = program.dir().join(&file);
    assert_eq!(std::fs::read_dir(directory.parent().unwrap()).unwrap().count(), 1, "one file is left");
    let lines = csv::Reader::from_path(&directory).unwrap();
    let lines: Vec<u64> = lines.into_records().map(|record| record.unwrap()[4].parse().unwrap()).collect();
    assert!(lines.is_sorted(), "in the order of the file");
}

#[test]
fn records_that_the_target_refuses_are_rejected_with_their_places_and_all_others_arrive() {
    assert_refused_with_their_places(RECORDS);
}

#[test]
#[ignore = "two million lines: minutes in a debug build"]
fn records_among_two_million_that_the_target_refuses_are_rejected_with_their_places() {
    assert_refused_with_their_places(RECORDS_AT_LARGE);
}

#[track_caller]
fn assert_refused_with_their_places(records: u64) {
    let (text, expected) = with_refused_records(records);
    for (what, bytes) in [("plain", text.clone()), ("packed", gzip(&text)), ("stdin", text.clone())] {
        let db = tables();
        let source = if what == "stdin" { "'-'" } else { "'t.csv'" };
        let config = format!("{CONFIG}{source}\n");
        let program = program(&db).bytes("t.csv", &bytes).stdin(&bytes).file("bulkload.toml", &config);
        let outcome = program.sync();
        assert_eq!(outcome.code, Some(0), "{what}: {outcome}");
        let table = outcome.table("public.t");
        let rejected = expected.len() as u64;
        assert_eq!((&table["extracted"], &table["rejected"]), (&records.into(), &rejected.into()), "{what}");
        assert_eq!(table["staged"], records - rejected);
        assert!(what != "plain" || table["chunks"].as_u64() > Some(3), "{table}");
        assert_rejected(&program, &outcome, &expected);
        assert_eq!(db.count("t"), records - rejected);
        assert_eq!(db.count("t where n = 7 or v = e'a\\nb'"), records - rejected);
    }
}

#[test]
fn a_row_of_50_mb_among_bad_ones_arrives_and_a_bad_one_is_rejected() {
    let db = target("create table t (id int primary key, n int, v text)");
    let huge = "x".repeat(50 << 20);
    let text = format!("id,n,v\n1,1,a\n2,x,b\n3,3,{huge}\n4,x,{huge}\n5,5,c\n");
    let program = program(&db)
        .file("t.csv", &text)
        .file("bulkload.toml", "[[table]]\nname = 't'\ncsv = 't.csv'\nmax_rejects = 2\n");
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(
        db.value("select string_agg(id || ' ' || length(v), ', ' order by id) from t"),
        format!("1 1, 3 {}, 5 1", 50 << 20)
    );
}
