//! Rows from CSV files: the same as PostgreSQL would read, through the same pipeline as any other source.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::contents::{assert_same_columns, columns};
use crate::support::{Bulkload, Db, Outcome, Servers, assert_same_contents, fingerprint, pair};
use crate::types;

/// A database of the target alone, with tables.
pub(crate) fn target(schema: &str) -> Db {
    let db = Db::create(&Servers::shared().target);
    db.run(schema);
    db
}

/// A program that knows the target only.
pub(crate) fn program(db: &Db) -> Bulkload {
    Bulkload::new().env("TARGET_DATABASE_URL", db.url())
}

/// Syncs by a config without a source; panics unless every table was applied.
#[track_caller]
pub(crate) fn sync(program: Bulkload, config: &str) -> Outcome {
    let outcome = program.file("bulkload.toml", config).sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    outcome
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The rows of a query, NULL as a mark, in their order.
#[track_caller]
pub(crate) fn list(db: &Db, sql: &str) -> Vec<String> {
    let shown = |row: &Vec<Option<String>>| {
        row.iter().map(|value| value.clone().unwrap_or("∅".to_owned())).collect::<Vec<_>>().join("|")
    };
    db.rows(sql).iter().map(shown).collect()
}

#[test]
fn what_postgresql_writes_as_csv_comes_back_equal_for_every_built_in_type() {
    let pair = pair();
    let db = &pair.target;
    let known = types::known(&pair, types::BUILT_IN);
    for table in ["t", "plain", "quoted", "dialect"] {
        db.run(&types::create_sql(table, &known));
    }
    db.run(&types::insert_sql("t", &known));
    let program = program(db);
    // The server writes the files itself.
    std::fs::set_permissions(program.dir(), std::fs::Permissions::from_mode(0o777)).unwrap();
    for (file, options) in [
        ("plain", "header"),
        ("quoted", "header, force_quote *"),
        ("dialect", "delimiter ';', quote '''', escape '\\', null 'nothing'"),
    ] {
        let path = program.dir().join(format!("{file}.csv"));
        db.run(&format!("copy t to '{}' (format csv, {options})", path.display()));
    }
    let outcome = sync(
        program,
        "[[table]]
        name = 'plain'
        csv = 'plain.csv'
        [[table]]
        name = 'quoted'
        csv = 'quoted.csv'
        [[table]]
        name = 'dialect'
        csv = { files = 'dialect.csv', delimiter = ';', quote = \"'\", escape = '\\', null = 'nothing', header = false }",
    );
    let all = columns(db, "t");
    for table in ["plain", "quoted", "dialect"] {
        assert_eq!(outcome.table(&format!("public.{table}"))["rejected"], 0, "{outcome}");
        assert_same_columns((db, "t"), (db, table), &all);
    }
}

#[test]
fn columns_are_matched_by_name_or_by_position_and_obey_their_rules() {
    let db = target(
        "create table parent (code text primary key, number int unique);
         insert into parent values ('x', 7), ('y', 8);
         create table t (id int primary key, v text, w text default 'own', source text, parent_number int, n int);
         create table by_position (a int, b int generated always as (a + 1) stored, c text)",
    );
    let outcome = sync(
        program(&db)
            .file("1.csv", "v,old_id,code,junk,n\nthe v,1,x,j,\n\"\",2,z,j,5\n")
            .file("2.csv", "n,code,junk,old_id,v\n6,y,j,3,\n")
            .file("p.csv", "1,one\n2,\n"),
        "[[table]]
        name = 't'
        csv = ['1.csv', '2.csv']
        [table.columns]
        rename = { old_id = 'id' }
        skip = ['junk']
        set = { source = 'D\t\\' }
        extra = 'warn'
        [[table.lookup]]
        column = 'parent_number'
        from = 'parent'
        match = { code = 'code' }
        value = 'number'
        [[table]]
        name = 'by_position'
        csv.files = 'p.csv'
        csv.header = false",
    );
    let rows = list(&db, "select * from t order by id");
    assert_eq!(rows, ["1|the v|own|D\t\\|7|∅", "2||own|D\t\\|∅|5", "3|∅|own|D\t\\|8|6"], "{outcome}");
    assert_eq!(list(&db, "select * from by_position order by a"), ["1|2|one", "2|3|∅"]);
    let table = outcome.table("public.t");
    assert_eq!((&table["format"], &table["extracted"]), (&"text".into(), &3.into()));
    assert!(outcome.stdout.contains("code"), "the lookup's column is left behind with a warning: {outcome}");
}

#[test]
fn packed_files_and_other_encodings_are_recognised_by_their_content() {
    let db = target("create table t (id int primary key, v text)");
    let members = [gzip(b"id,v\n1,gzip\n"), gzip(b"2,again\n")].concat();
    let frames = [
        zstd::encode_all(&b"id,v\n3,zstd\n"[..], 1).unwrap(),
        zstd::encode_all(&b"4,again\n"[..], 1).unwrap(),
    ];
    let utf_16: Vec<u8> = "\u{feff}id,v\r\n5,äöü\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    sync(
        program(&db)
            .bytes("in/a.csv", &members)
            .bytes("in/b.csv", &frames.concat())
            .bytes("in/c.csv", &utf_16)
            .bytes("in/d.csv", "\u{feff}id,v\n6,\"bom\"\n".as_bytes()),
        "[[table]]\nname = 't'\ncsv = 'in/*.csv'\n",
    );
    let expected = ["1|gzip", "2|again", "3|zstd", "4|again", "5|äöü", "6|bom"];
    assert_eq!(list(&db, "select * from t order by id"), expected);
    sync(
        program(&db).bytes("e.csv", b"id,v\n7,\xe4\x80\n"),
        "[[table]]\nname = 't'\ncsv = { files = 'e.csv', encoding = 'windows-1252' }\nmax_shrink = '100%'\n",
    );
    assert_eq!(list(&db, "select * from t"), ["7|ä€"]);
}

#[test]
fn text_after_a_closing_quote_is_part_of_the_field_as_for_copy() {
    let db = target("create table t (id int, v text); create table copied (id int, v text)");
    let text = "1,\"a\"b\n2,\"x \"\"y\"\"\"z\n3,\"\"\n4,\n5,\"a\" \n6,\"a,\nb\"c\n";
    let program = program(&db).file("t.csv", text);
    std::fs::set_permissions(program.dir(), std::fs::Permissions::from_mode(0o777)).unwrap();
    db.run(&format!("copy copied from '{}' (format csv)", program.dir().join("t.csv").display()));
    sync(program, "[[table]]\nname = 't'\ncsv = { files = 't.csv', header = false }\n");
    assert_eq!(list(&db, "select * from t order by id"), list(&db, "select * from copied order by id"));
    assert_eq!(list(&db, "select v from t where id in (1, 6) order by id"), ["ab", "a,\nbc"]);
}

#[test]
fn a_file_is_loaded_once_whatever_the_ways_to_it_and_hidden_ones_only_if_they_are_meant() {
    let db = target("create table t (id int primary key)");
    let program = program(&db)
        .file("in/a.csv", "id\n1\n")
        .file("in/b.csv", "id\n2\n")
        .file("in/._a.csv", "\u{5}junk")
        .file("in/.c.csv", "id\n3\n");
    std::os::unix::fs::symlink("a.csv", program.dir().join("in/link.csv")).unwrap();
    let outcome =
        sync(program, "[[table]]\nname = 't'\ncsv = ['in/*.csv', 'in/.c.csv', './in/b.csv', 'in/a.csv']\n");
    assert_eq!(list(&db, "select * from t order by id"), ["1", "2", "3"]);
    let table = outcome.table("public.t");
    assert_eq!((&table["extracted"], &table["chunks"]), (&3.into(), &3.into()));
    let warnings = table["warnings"].to_string();
    for words in [
        "in/link.csv is the same file as in/a.csv: it is loaded once",
        "./in/b.csv is the same file as in/b.csv: it is loaded once",
        "in/._a.csv is hidden, and was left out",
    ] {
        assert!(warnings.contains(words), "{words}: {warnings}");
    }
}

#[test]
fn a_large_file_is_loaded_by_several_streams_with_its_quoted_newlines() {
    let db = target("create table t (id int, v text); create table expected (id int, v text)");
    let text: String = (0..60_000).map(|i| format!("{i},\"line 1\n{i},\"\"quoted\"\"\nline 3\"\n")).collect();
    db.run("insert into expected select i, format(e'line 1\\n%s,\"quoted\"\\nline 3', i) from generate_series(0, 59999) i");
    let outcome = sync(
        program(&db).file("t.csv", &format!("id,v\n{text}")),
        "[run]\nchunk = '256KiB'\njobs = 3\n[[table]]\nname = 't'\ncsv = 't.csv'\n",
    );
    assert_eq!(fingerprint(&db, "t"), fingerprint(&db, "expected"));
    let table = outcome.table("public.t");
    assert!(table["chunks"].as_u64() > Some(6), "{table}");
    assert_eq!(table["bytes_in"], text.len() + "id,v\n".len());
}

#[test]
fn references_duplicates_and_both_kinds_of_source_go_together() {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run("create table parent (id int primary key); create table other (id int primary key)");
    }
    pair.source.run("insert into parent select generate_series(1, 3); insert into other values (5)");
    pair.target.run("create table child (id int primary key, parent_id int references parent, other_id int references other)");
    let program = Bulkload::on(&pair).file("child.csv", "id,parent_id,other_id\n1, 1,05\n2,9,5\n3,2,\n3,3,\n4,,6\n").config(
        "[[table]]\nname = 'parent'\n[[table]]\nname = 'other'\n[[table]]\nname = 'child'\ncsv = 'child.csv'\nmax_rejects = 4\n",
    );
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_same_contents(&pair.source, &pair.target, "parent");
    assert_eq!(list(&pair.target, "select * from child order by id"), ["1|1|5", "3|3|∅"], "{outcome}");
    let table = outcome.table("public.child");
    assert_eq!(
        (&table["extracted"], &table["rejected"], &table["staged"]),
        (&5.into(), &3.into(), &2.into())
    );
    let file = program.dir().join(table["rejects_file"].as_str().unwrap());
    let mut reader = csv::Reader::from_path(file).unwrap();
    let header: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    assert_eq!(header[..7], ["reason", "constraint", "row", "file", "line", "column", "raw"]);
    let mut places: Vec<String> =
        reader.records().map(|record| record.map(|r| [&r[3], &r[4], &r[7]].join(" ")).unwrap()).collect();
    places.sort();
    assert_eq!(places, ["child.csv 3 2", "child.csv 4 3", "child.csv 6 4"]);
}

#[test]
fn values_that_mean_no_reference_are_null_and_a_lookup_still_finds_them() {
    let db = target(
        "create table parent (id int primary key, v text); insert into parent values (0, 'none'), (1, 'one');
         create table child (id int primary key, parent int references parent, v text)",
    );
    let program = program(&db).file("child.csv", "id,parent\n1,1\n2,0\n3,\"0\"\n4,-1\n5,7\n6,\nseven,0\n");
    let outcome = sync(
        program,
        "[[table]]
        name = 'child'
        csv = 'child.csv'
        max_rejects = '100%'
        [[table.reference]]
        columns = ['parent']
        to = 'parent(id)'
        null_values = [0, -1]
        [[table.lookup]]
        column = 'v'
        from = 'parent'
        match = { parent = 'id' }
        value = 'v'",
    );
    assert_eq!(
        list(&db, "select id, parent, v from child order by id"),
        ["1|1|one", "2|∅|none", "3|∅|none", "4|∅|∅", "6|∅|∅"]
    );
    assert_eq!(outcome.table("public.child")["rejected"], 2, "{outcome}");
}

#[test]
fn a_field_of_50_mb_and_a_table_of_1000_columns_arrive_whole() {
    let names: Vec<String> = (1..=1000).map(|i| format!("c{i}")).collect();
    let db = target(&format!(
        "create table huge (id int primary key, v text); create table wide ({} int)",
        names.join(" int, ")
    ));
    let huge = "a \"quoted\" line\n\\".repeat(50 * (1 << 20) / 16);
    let row: Vec<String> = (1..=1000).map(|i| i.to_string()).collect();
    let wide = format!("{}\n{}\n", names.join(","), row.join(","));
    sync(
        program(&db)
            .file("huge.csv", &format!("id,v\n1,x\n2,\"{}\"\n3,y\n", huge.replace('"', "\"\"")))
            .file("wide.csv", &wide),
        "[[table]]\nname = 'huge'\ncsv = 'huge.csv'\n[[table]]\nname = 'wide'\ncsv = 'wide.csv'\n",
    );
    db.run("create table expected (v text)");
    let sum = "select md5(v) || length(v) from huge where id = 2";
    assert_eq!(
        db.value(sum),
        db.value(
            "select md5(v) || length(v) from (select repeat(e'a \"quoted\" line\\n\\\\', 3276800) as v) as x"
        )
    );
    assert_eq!(db.count("huge"), 3);
    assert_eq!(list(&db, "select c1, c500, c1000 from wide"), ["1|500|1000"]);
}

#[test]
fn a_run_killed_while_a_file_is_loaded_changes_nothing_and_the_next_one_converges() {
    let db = target("create table t (id int primary key, v text); insert into t values (0, 'old')");
    let text: String = (1..=5_000).map(|i| format!("{i},{}\n", "x".repeat(200))).collect();
    let config = "[run]\nchunk = '256KiB'\n[[table]]\nname = 't'\ncsv = 't.csv'\n";
    let mut program = program(&db).file("t.csv", &format!("id,v\n{text}")).file("bulkload.toml", config);
    for point in ["load.records_read", "load.chunk_copied", "load.chunk_committed", "verify.done"] {
        program = program.hold_at(point);
        let mut running = program.spawn(&["sync"]);
        running.wait_until_held();
        assert_eq!(running.kill_9().code, None);
        assert_eq!(list(&db, "select * from t"), ["0|old"], "killed at {point}");
    }
    let outcome = program.env("BULKLOAD_HOLD", "").sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(db.count("t"), 5000);
}

#[test]
fn plan_and_check_tell_of_files_and_verify_refuses_them() {
    let db = target("create table t (id int primary key, v text)");
    let program = program(&db)
        .file("t.csv", "id,v\n1,a\n2,b\n")
        .file("bulkload.toml", "[[table]]\nname = 't'\ncsv = 't.csv'\n");
    let plan = program.run(&["plan"]);
    assert_eq!(plan.code, Some(0), "{plan}");
    for words in
        ["from     csv", "from     t.csv, 13 B, about 2 rows, 1 chunk", "format   text (files contain text)"]
    {
        assert!(plan.stdout.contains(words), "{words}\n{plan}");
    }
    let check = program.run(&["check"]);
    assert_eq!(check.code, Some(0), "{check}");
    let verify = program.run(&["verify"]);
    assert_eq!(verify.code, Some(2), "{verify}");
    assert!(verify.stderr.contains("rows that come from files cannot be compared"), "{verify}");
    assert_eq!(db.count("t"), 0);
}

#[test]
fn rows_that_nothing_more_is_to_be_judged_of_are_copied_straight_into_the_new_table() {
    let db =
        target("create table t (id int not null check (id < 1000), v text); insert into t values (0, 'old')");
    let config = "[[table]]\nname = 't'\ncsv = 't.csv'\napply = 'swap'\nmax_rejects = 2\n";
    let program =
        program(&db).file("t.csv", "id,v\n1,a\n,b\n2000,c\n2,d\n3,d\n").file("bulkload.toml", config);
    let plan = program.run(&["plan"]);
    assert!(plan.stdout.contains("about 0 B on the target for staging"), "{plan}");
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(list(&db, "select id, v from t order by id"), ["1|a", "2|d", "3|d"]);
    let table = outcome.table("public.t");
    let file = std::fs::read_to_string(program.dir().join(table["rejects_file"].as_str().unwrap())).unwrap();
    for place in [",t.csv,3,id,\",b\",", ",t.csv,4,,\"2000,c\","] {
        assert!(file.contains(place), "{place}\n{file}");
    }
    // Of two rows with one key one goes: that can only be seen in staging.
    db.run("alter table t add primary key (id)");
    let plan = program.run(&["plan"]);
    assert!(plan.stdout.contains("about 27 B on the target for staging"), "{plan}");
}
