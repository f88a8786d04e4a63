//! Files that are no CSV, records that are no rows: what is said of them, and where they are said to be.

use crate::csv_source::{gzip, list, program, target};
use crate::support::{Bulkload, Outcome};

/// The lines of the rejects file of a table: line, column and reason.
#[track_caller]
fn rejects(program: &Bulkload, outcome: &Outcome, table: &str) -> Vec<(u64, String, String)> {
    let table = outcome.table(table);
    let Some(file) = table["rejects_file"].as_str() else { return Vec::new() };
    let mut reader = csv::Reader::from_path(program.dir().join(file)).unwrap();
    let mut found: Vec<(u64, String, String)> = reader
        .records()
        .map(|record| record.map(|r| (r[4].parse().unwrap(), r[5].to_owned(), r[0].to_owned())).unwrap())
        .collect();
    found.sort();
    found
}

/// A file of so many records, some of them over two lines, some bad; and the lines of those.
fn with_bad_records(records: u64) -> (Vec<u8>, Vec<u64>) {
    let mut text = b"id,v\r\n".to_vec();
    let (mut line, mut bad) = (2, Vec::new());
    for id in 0..records {
        let record: &[u8] = match id % 100 {
            17 => b"7\r\n",
            34 => b"7,a,b\n",
            51 => b"7,\xff\n",
            68 => b"7,a\0\n",
            85 => b"\"7\",\"two\nlines\",3\n",
            _ => {
                let quoted =
                    if id % 7 == 0 { format!("{id},\"over\r\ntwo\"\r\n") } else { format!("{id},one\n") };
                text.extend_from_slice(quoted.as_bytes());
                line += if id % 7 == 0 { 2 } else { 1 };
                continue;
            }
        };
        text.extend_from_slice(record);
        bad.push(line);
        line += if id % 100 == 85 { 2 } else { 1 };
    }
    (text, bad)
}

/// Records of the file that is loaded in every run of the tests.
const RECORDS: u64 = 120_000;

/// As many as somebody may really have.
const RECORDS_AT_LARGE: u64 = 2_000_000;

#[test]
fn bad_records_are_rejected_with_their_lines_whatever_the_file_and_all_others_arrive() {
    assert_rejected_with_their_lines(RECORDS);
}

#[test]
#[ignore = "two million lines: minutes in a debug build"]
fn bad_records_among_two_million_are_rejected_with_their_lines() {
    assert_rejected_with_their_lines(RECORDS_AT_LARGE);
}

#[track_caller]
fn assert_rejected_with_their_lines(records: u64) {
    let (text, bad) = with_bad_records(records);
    for (packed, chunks) in
        [(text.clone(), 4), (gzip(&text), 1), (zstd::encode_all(&text[..], 1).unwrap(), 1)]
    {
        let db = target("create table t (id int, v text)");
        let program = program(&db).bytes("t.csv", &packed).file(
            "bulkload.toml",
            "[run]\nchunk = '400KiB'\njobs = 2\nmax_rejects = '6%'\n[[table]]\nname = 't'\ncsv = 't.csv'\n",
        );
        let outcome = program.sync();
        assert_eq!(outcome.code, Some(0), "{outcome}");
        let table = outcome.table("public.t");
        assert_eq!(table["extracted"], records);
        assert_eq!(table["rejected"], records / 20);
        assert!(table["chunks"].as_u64() >= Some(chunks), "{table}");
        let found = rejects(&program, &outcome, "public.t");
        assert_eq!(found.iter().map(|(line, ..)| *line).collect::<Vec<_>>(), bad);
        let count = |words: &str| found.iter().filter(|(_, _, reason)| reason.contains(words)).count() as u64;
        for words in
            ["too few fields: found 1 instead of 2", "NUL byte in column v", "invalid UTF-8 in column v"]
        {
            assert_eq!(count(words), records / 100, "{words}");
        }
        assert_eq!(count("too many fields: found 3 instead of 2"), records / 50);
        assert!(found.iter().all(|(_, column, reason)| reason.contains("column") == (column == "v")));
        assert_eq!(db.count("t"), records - records / 20);
        assert_eq!(db.count("t where v = e'over\\r\\ntwo' or v = 'one'"), records - records / 20);
        let rows: Vec<u64> = {
            let file = table["rejects_file"].as_str().unwrap();
            let mut reader = csv::Reader::from_path(program.dir().join(file)).unwrap();
            reader.records().map(|record| record.unwrap()[2].parse().unwrap()).collect()
        };
        let expected = (0..records).filter(|id| [17, 34, 51, 68, 85].contains(&(id % 100))).map(|id| id + 1);
        assert!(rows.into_iter().eq(expected), "records are numbered through");
    }
}

/// The rejects file of a table, whole: it must be the only file of its run.
#[track_caller]
fn rejected(program: &Bulkload, outcome: &Outcome, table: &str) -> Vec<csv::StringRecord> {
    let file = program.dir().join(outcome.table(table)["rejects_file"].as_str().unwrap());
    let directory = std::fs::read_dir(file.parent().unwrap()).unwrap();
    let files: Vec<_> = directory.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, [file.file_name().unwrap()], "one file is left");
    csv::Reader::from_path(file).unwrap().records().map(Result::unwrap).collect()
}

#[test]
fn a_load_that_is_stopped_by_its_rejects_tells_all_that_it_has_seen() {
    // Bad for the reader, bad for the target, or by turns.
    let too_few = |id: u64| format!("{id}\n");
    let too_long = |id: u64| format!("{id},far too long\n");
    let rule = |what: &str, id: u64| match what {
        "read" if id.is_multiple_of(10) => Some(too_few(id)),
        "refused" if id == 5 || id == 7 => Some(too_few(id)),
        "refused" if id.is_multiple_of(10) => Some(too_long(id)),
        "both" if id.is_multiple_of(20) => Some(too_few(id)),
        "both" if id.is_multiple_of(10) => Some(too_long(id)),
        _ => None,
    };
    for what in ["read", "refused", "both"] {
        let rows: String =
            (1..=40_000).map(|id| rule(what, id).unwrap_or_else(|| format!("{id},ok\n"))).collect();
        let text = format!("id,v\n{rows}").into_bytes();
        for (source, bytes) in [("t.csv", text.clone()), ("t.csv", gzip(&text)), ("-", text.clone())] {
            let db = target("create table t (id int, v varchar(3)); insert into t values (0, 'old')");
            let config = format!("[[table]]\nname = 't'\ncsv = '{source}'\nmax_rejects = 20\n");
            let program = program(&db).bytes("t.csv", &bytes).stdin(&bytes).file("bulkload.toml", &config);
            let outcome = program.sync();
            assert_eq!(outcome.code, Some(1), "{what}: {outcome}");
            assert_eq!(list(&db, "select * from t"), ["0|old"]);
            let table = outcome.table("public.t");
            let found = rejected(&program, &outcome, "public.t");
            let error = table["error"].as_str().unwrap();
            let file = table["rejects_file"].as_str().unwrap();
            assert!(
                error.contains("max_rejects = 20 rows") && error.ends_with(&format!("; see {file}")),
                "{error}"
            );
            assert!(found.len() > 20, "{what}: {}", found.len());
            let figure = |name: &str| table[name].as_u64().unwrap();
            assert_eq!(figure("rejected"), found.len() as u64, "{what}: {table}");
            assert!(figure("extracted") > figure("rejected"), "{what}: {table}");
            assert_eq!(figure("staged"), figure("extracted") - figure("rejected"));
            let lines: Vec<u64> = found.iter().map(|reject| reject[4].parse().unwrap()).collect();
            assert!(
                lines.is_sorted() && lines.iter().all(|line| rule(what, line - 1).is_some()),
                "{lines:?}"
            );
            assert!(
                what != "refused" || lines.starts_with(&[6, 8]),
                "what the reader knew of, too: {lines:?}"
            );
            for reject in &found {
                let id = reject[4].parse::<u64>().unwrap() - 1;
                assert_eq!(rule(what, id).unwrap().trim_end(), &reject[6]);
            }
        }
    }
}

#[test]
fn what_is_rejected_in_staging_has_its_record_and_stands_in_the_order_of_the_files() {
    let db = target(
        "create table p (id int primary key); insert into p values (1);
         create table t (id int primary key, p_id int references p, v varchar(9))",
    );
    let first = "id,p_id,v\r\n1,1,\"a\r\nb\"\r\n2,9,\"say \"\"no\"\"\"\r\n3,1\r\n4,7,\r\n5,1,far too long\r\n1,1,\r\n";
    let second = "v,id,p_id\nä,11,9\nü,12,1\nö,13,x\n\"ß\n\",14,9";
    let utf_16: Vec<u8> = format!("\u{feff}{second}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (first, second) in
        [(first.as_bytes().to_vec(), second.as_bytes().to_vec()), (gzip(first.as_bytes()), utf_16)]
    {
        db.run("truncate t");
        let program = program(&db)
            .bytes("1.csv", &first)
            .bytes("2.csv", &second)
            .file("bulkload.toml", "[[table]]\nname = 't'\ncsv = ['1.csv', '2.csv']\nmax_rejects = '100%'\n");
        let outcome = program.sync();
        assert_eq!(outcome.code, Some(0), "{outcome}");
        assert_eq!(list(&db, "select id from t order by id"), ["1", "12"]);
        let found = rejected(&program, &outcome, "public.t");
        let found: Vec<[&str; 5]> =
            found.iter().map(|reject| [&reject[3], &reject[4], &reject[6], &reject[7], &reject[8]]).collect();
        // Of the two rows with one key the greater as text is loaded.
        let expected = [
            ["1.csv", "2", "1,1,\"a\r\nb\"", "1", "1"],
            ["1.csv", "4", "2,9,\"say \"\"no\"\"\"", "2", "9"],
            ["1.csv", "5", "3,1", "3", "1"],
            ["1.csv", "6", "4,7,", "4", "7"],
            ["1.csv", "7", "5,1,far too long", "5", "1"],
            ["2.csv", "2", "ä,11,9", "11", "9"],
            ["2.csv", "4", "ö,13,x", "13", "x"],
            ["2.csv", "5", "\"ß\n\",14,9", "14", "9"],
        ];
        if found.contains(&["1.csv", "8", "1,1,", "1", "1"]) {
            let others: Vec<_> = found.into_iter().filter(|reject| reject[1] != "8").collect();
            assert_eq!(others, expected[1..]);
        } else {
            assert_eq!(found, expected);
        }
    }
}

#[test]
fn a_killed_run_leaves_no_pieces_of_rejects_files_behind_once_the_next_one_has_cleaned_up() {
    let db = target("create table t (id int primary key, v text)");
    let rows: String =
        (1..=50_000).map(|id| if id % 2 == 0 { format!("{id}\n") } else { format!("{id},x\n") }).collect();
    let program = program(&db)
        .file("t.csv", &format!("id,v\n{rows}"))
        .file("bulkload.toml", "[[table]]\nname = 't'\ncsv = 't.csv'\nmax_rejects = '100%'\n");
    let directories = |program: &Bulkload| {
        let found = std::fs::read_dir(program.dir().join("rejects")).unwrap();
        found.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let program = program.hold_at("load.chunk_copied");
    let mut running = program.spawn(&["sync"]);
    running.wait_until_held();
    assert_eq!(running.kill_9().code, None);
    let left = directories(&program);
    assert!(left.len() == 1 && std::fs::read_dir(&left[0]).unwrap().count() > 0, "{left:?}");
    let program = program.env("BULKLOAD_HOLD", "");
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(rejected(&program, &outcome, "public.t").len(), 25_000);
    let now = directories(&program);
    assert!(now.len() == 1 && now != left, "{now:?}");
}

#[test]
fn too_many_bad_records_leave_the_table_as_it_was() {
    let db = target("create table t (id int, v text); insert into t values (0, 'old')");
    let program = program(&db)
        .file("t.csv", "id,v\n1,a\n2\n3,c\n")
        .file("bulkload.toml", "[[table]]\nname = 't'\ncsv = 't.csv'\nmax_rejects = 0\n");
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(list(&db, "select * from t"), ["0|old"]);
    assert_eq!(
        rejects(&program, &outcome, "public.t"),
        [(3, String::new(), "too few fields: found 1 instead of 2".to_owned())]
    );
}

#[test]
fn quotes_that_are_never_closed_fail_the_table_with_their_line() {
    let db = target("create table t (id int, v text)");
    let program = program(&db)
        .file("t.csv", "id,v\n1,a\n2,\"b\n3,c\n")
        .file("bulkload.toml", "[[table]]\nname = 't'\ncsv = 't.csv'\n");
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let error = outcome.table("public.t")["error"].as_str().unwrap().to_owned();
    assert!(error.contains("t.csv:3: a quoted field in this record is not closed"), "{error}");
    assert_eq!(db.count("t"), 0);
}

#[test]
fn a_file_that_is_damaged_within_fails_the_table() {
    let db = target("create table t (id int, v text)");
    let text: String = (0..200_000).map(|i| format!("{i},{}\n", i * 7919 % 100_003)).collect();
    let mut packed = gzip(format!("id,v\n{text}").as_bytes());
    packed.truncate(packed.len() - 100);
    let program = program(&db)
        .bytes("t.csv.gz", &packed)
        .file("bulkload.toml", "[[table]]\nname = 't'\ncsv = 't.csv.gz'\n");
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(outcome.stderr.contains("decompressing t.csv.gz (gzip)"), "{outcome}");
    assert_eq!(db.count("t"), 0);
}

#[test]
fn files_that_cannot_be_loaded_are_refused_before_anything_is_touched() {
    let db = target("create table t (id int primary key, v text)");
    let cases: &[(&str, &[u8], &str)] = &[
        ("gone.csv", b"", "public.t: there is no file gone.csv"),
        ("x/*.csv", b"", "public.t: no file matches x/*.csv"),
        (".", b"", "public.t: . is a directory"),
        ("t.csv", b"", "public.t: t.csv is empty"),
        ("t.csv", b"\xef\xbb\xbf", "public.t: t.csv is empty"),
        ("t.csv", b"\n\n", "public.t: t.csv: it has no record"),
        ("t.csv", b"id,v,id\n", "public.t: t.csv: its header has the column \"id\" twice"),
        ("t.csv", b"id,,v\n", "public.t: t.csv: column 2 of its header has no name"),
        ("t.csv", b"id,v\xff\n", "public.t: t.csv: its header is not UTF-8"),
        ("t.csv", b"id,v\0\n", "public.t: t.csv: its header has a NUL byte in column 2"),
        ("bulkload.toml/x", b"", "public.t: cannot read bulkload.toml/x: not a directory"),
        ("t.csv", b"id,w,x\n1,2,3\n", "public.t: the target lacks columns of the files: w, x"),
        ("t.csv", b"v\na\n", "public.t: nothing fills column id"),
        ("t.csv", b"\"id,v\n1,2\n", "public.t: t.csv: a quoted field in its first record is not closed"),
        ("t.csv", b"\x1f\x8bgarbage", "public.t: cannot decompress t.csv: "),
        ("t.csv", b"\x28\xb5\x2f\xfdgarbage", "public.t: cannot decompress t.csv: "),
        ("t.csv", b"BZh91AY", "public.t: t.csv is a bzip2 file"),
        ("t.csv", b"\xff\xfe\0\0i\0\0\0d\0\0\0", "public.t: t.csv is UTF-32, which is not supported"),
        ("t.csv", b"i\0d\0,\0v\0\n\0", "public.t: t.csv looks like UTF-16"),
        ("t.csv", b"i\0d\0,\0v\0\n\0", "hint: If it is UTF-16: encoding = \"utf-16le\" under [table.csv]."),
        ("t.csv", b"id;v\n1;a\n", "public.t: the header of t.csv has only one field: id;v"),
        ("t.csv", b"id;v\n1;a\n", "delimiter = \";\" under [table.csv]"),
        ("t.csv", b"1,a\n2,b\n", "public.t: no column in the header of t.csv is a column of the table"),
        ("t.csv", b"1,a\n2,b\n", "If the file has no header: header = false under [table.csv]."),
        ("t.csv", b"1,1\n2,b\n", "If it has no header: header = false under [table.csv]."),
    ];
    let padded = [gzip(b"id,v\n1,a\n"), b"\0\0garbage".to_vec()].concat();
    let padded = (
        "t.csv",
        &padded[..],
        "public.t: cannot decompress t.csv: the data after its last member is not gzip",
    );
    for (name, bytes, message) in cases.iter().chain([&padded]) {
        let mut program =
            program(&db).file("bulkload.toml", &format!("[[table]]\nname = 't'\ncsv = '{name}'\n"));
        if *name == "t.csv" {
            program = program.bytes(name, bytes);
        }
        let outcome = program.run(&["-q", "sync"]);
        assert_eq!(outcome.code, Some(2), "{message}: {outcome}");
        assert!(outcome.stderr.starts_with("error: bulkload.toml:"), "{outcome}");
        assert!(outcome.stderr.contains(message), "{message}: {outcome}");
        assert_eq!(outcome.stderr.matches("error: ").count(), 1, "{outcome}");
    }
    assert_eq!(
        list(&db, "select nspname::text from pg_namespace where nspname = 'bulkload'"),
        Vec::<String>::new()
    );
}
