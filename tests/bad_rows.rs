//! Rows that the target cannot take: each is found and becomes a reject with the server's own words, all others arrive.

use std::collections::BTreeSet;

use crate::filters::{COMMIT_CHUNK, figures, sync, tables};
use crate::support::{Bulkload, Db, Lost, Outcome, Pair, Proxy, Servers, pair};

/// The rejects file: each line's fields as text, whatever their bytes.
fn rejects(program: &Bulkload, outcome: &Outcome, table: &str) -> Vec<Vec<String>> {
    let path = program.dir().join(outcome.table(table)["rejects_file"].as_str().unwrap());
    let mut reader = csv::Reader::from_path(path).unwrap();
    let text = |record: csv::ByteRecord| {
        record.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect()
    };
    reader.byte_records().map(|record| text(record.unwrap())).collect()
}

fn ids(db: &Db, table: &str) -> String {
    db.value(&format!("select coalesce(string_agg(id::text, ' ' order by id), '') from {table}"))
}

/// A column of some type on each side, values of which the target takes one and refuses one, and what is said of that.
const REFUSED: [(&str, &str, &str, &str, &str, &str); 18] = [
    ("text", "varchar(3)", "'abc'", "'abcd'", "too_long", "value too long for type character varying(3)"),
    ("text", "char(3)", "'abc'", "'abcd'", "too_long", "value too long for type character(3)"),
    ("varbit", "varbit(3)", "b'111'", "b'1111'", "too_long", "bit string too long for type bit varying(3)"),
    ("numeric", "numeric(4,2)", "99.99", "100", "out_of_range", "numeric field overflow"),
    (
        "bigint",
        "int",
        "2147483647",
        "2147483648",
        "out_of_range",
        "\"2147483648\" is out of range for type integer",
    ),
    ("int", "smallint", "32767", "32768", "out_of_range", "\"32768\" is out of range for type smallint"),
    ("text", "int", "'7'", "'seven'", "invalid", "invalid input syntax for type integer: \"seven\""),
    ("text", "bigint", "'7'", "'99999999999999999999'", "out_of_range", "out of range for type bigint"),
    ("text", "numeric(4,2)", "'9.99'", "'100000'", "out_of_range", "numeric field overflow"),
    ("text", "float8", "'0.1'", "'1e999'", "out_of_range", "out of range for type double precision"),
    (
        "text",
        "boolean",
        "'yes'",
        "'perhaps'",
        "invalid",
        "invalid input syntax for type boolean: \"perhaps\"",
    ),
    (
        "text",
        "uuid",
        "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
        "'a0eebc99'",
        "invalid",
        "for type uuid: \"a0eebc99\"",
    ),
    ("text", "date", "'2024-02-29'", "'2023-02-29'", "out_of_range", "date/time field value out of range"),
    (
        "text",
        "timestamptz",
        "'2026-07-01 12:00'",
        "'soon'",
        "invalid",
        "for type timestamp with time zone: \"soon\"",
    ),
    ("text", "jsonb", "'{\"a\": 1}'", "'{a: 1}'", "invalid", "invalid input syntax for type json"),
    ("json", "jsonb", "'{\"a\": 1}'", "'\"\\u0000\"'", "encoding", "unsupported Unicode escape sequence"),
    ("text", "mood", "'ok'", "'new'", "invalid", "invalid input value for enum public.mood: \"new\""),
    (
        "int",
        "positive",
        "1",
        "-1",
        "check",
        "value for domain public.positive violates check constraint \"above_zero\"",
    ),
];

#[test]
fn a_value_of_every_kind_that_the_target_refuses_is_a_reject_and_all_others_arrive() {
    let pair = pair();
    pair.target.run(
        "create type mood as enum ('ok'); create domain positive as int constraint above_zero check (value > 0)",
    );
    for format in ["auto", "text"] {
        let mut config = tables(&format!("format = \"{format}\""), &[]);
        for (number, (from, to, good, bad, ..)) in REFUSED.iter().enumerate() {
            pair.source.run(&format!(
                "drop table if exists t{number}; create table t{number} (id int, v {from});
                 insert into t{number} select i, (case when i in (1, 7, 1000) then {bad} else {good} end)::{from}
                     from generate_series(1, 1000) i"
            ));
            pair.target.run(&format!(
                "drop table if exists t{number}; create table t{number} (id int primary key, v {to})"
            ));
            config.push_str(&format!("[[table]]\nname = \"t{number}\"\n"));
        }
        let (program, outcome) = sync(&pair, &config);
        assert_eq!(outcome.code, Some(0), "{outcome}");
        for (number, (from, to, _, bad, word, words)) in REFUSED.iter().enumerate() {
            let table = format!("public.t{number}");
            assert_eq!(figures(&outcome, &table), [1000, 3, 997, 997], "{from} to {to}, {format}, {outcome}");
            let rejects = rejects(&program, &outcome, &table);
            let rows: Vec<&str> = rejects.iter().map(|reject| reject[2].as_str()).collect();
            assert_eq!(rows, ["1", "7", "1000"], "{from} to {to}, {format}");
            for reject in rejects {
                assert!(reject[0].starts_with(&format!("{word}: ")), "{reject:?}");
                assert!(reject[0].contains(words), "{reject:?} lacks {words}");
                assert!(!reject[0].contains("__"), "nobody knows staging: {reject:?}");
                assert_eq!(reject[2], reject[3]);
                let value = pair.source.value(&format!("select ({bad})::{from}"));
                assert_eq!(reject[4], value);
            }
        }
        let plan = program.run(&["plan"]);
        assert_eq!(plan.code, Some(0), "{plan}");
    }
}

#[test]
fn nulls_and_checks_are_rejected_with_their_constraint_before_anything_is_applied() {
    for apply in ["delta", "delete", "truncate"] {
        let pair = pair();
        pair.source.run(
            "create table t (id int, a int, b int, \"Odd \"\"name\" text);
             insert into t values (1, 1, 1, 'x'), (2, null, 1, 'x'), (3, 5, 4, 'x'), (4, 1, 1, ''), (5, 1, null, null)",
        );
        pair.target.run(
            "create table t (id int primary key, a int not null, b int, \"Odd \"\"name\" text,
                 constraint \"A <= b\" check (a <= b), check (length(\"Odd \"\"name\") > 0));
             insert into t values (1, 0, 1, 'old')",
        );
        let config = format!("{}apply = \"{apply}\"\n", tables("", &["t"]));
        let (program, outcome) = sync(&pair, &config);
        assert_eq!(outcome.code, Some(0), "{outcome}");
        assert_eq!(ids(&pair.target, "t"), "1 5", "{apply}");
        assert_eq!(figures(&outcome, "public.t")[..3], [5, 3, 2]);
        let found: Vec<Vec<String>> =
            rejects(&program, &outcome, "public.t").into_iter().map(|r| r[..4].to_vec()).collect();
        let expected = [
            [
                "not_null: null value in column \"a\" of relation \"t\" violates not-null constraint",
                "",
                "2",
                "2",
            ],
            ["check: new row for relation \"t\" violates check constraint \"A <= b\"", "A <= b", "3", "3"],
            [
                "check: new row for relation \"t\" violates check constraint \"t_Odd \"name_check\"",
                "t_Odd \"name_check",
                "4",
                "4",
            ],
        ];
        assert_eq!(found, expected, "{apply}");
        assert!(outcome.stdout.contains("A <= b [23514]"), "{outcome}");
    }
}

#[test]
fn what_a_trigger_may_mend_and_what_a_check_cannot_know_alone_is_left_to_the_live_table() {
    let pair = pair();
    pair.source.run(
        "create table mended (id int, a int); insert into mended values (1, null), (2, 5);
         create table asking (id int); insert into asking values (1), (2);
         create table unproven (id int, a int); insert into unproven values (1, -1), (2, 5)",
    );
    pair.target.run(
        "create table mended (id int primary key, a int not null check (a > 0));
         create function mend() returns trigger language plpgsql as 'begin new.a := coalesce(new.a, 7); return new; end';
         create trigger mend before insert on mended for each row execute function mend();
         create table allowed (id int); insert into allowed values (1), (2);
         create function is_allowed(wanted int) returns boolean language sql as
             'select exists (select from allowed where id = wanted)';
         create table asking (id int primary key check (is_allowed(id)));
         create table unproven (id int primary key, a int);
         insert into unproven values (1, -1);
         alter table unproven add check (a > 0) not valid",
    );
    let (_, outcome) = sync(&pair, &tables("", &["mended", "asking", "unproven"]));
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(pair.target.value("select string_agg(a::text, ' ' order by id) from mended"), "7 5");
    assert_eq!(ids(&pair.target, "asking"), "1 2");
    assert_eq!(ids(&pair.target, "unproven"), "1 2", "a row that is there as it is needs no proof");
}

/// 120,000 rows, of which each of these is bad: one in a hundred, of kinds that show and of one that only the server finds,
/// and some at the ends.
fn one_in_a_hundred() -> (Pair, BTreeSet<u64>) {
    const ROWS: u64 = 120_000;
    let pair = pair();
    pair.source.run(&format!(
        "create table parent (id int, amount text, day text, filler text);
         insert into parent select i, case when i % 100 = 50 and i % 200 = 50 then 'n/a' else i::text end,
             case when i % 400 = 150 or i in (1, 2, {ROWS}) then '2023-02-30x' else '2023-02-28' end,
             repeat(case when i % 400 = 350 then 'y' else 'x' end, 20)
             from generate_series(1, {ROWS}) i;
         create table child (id int, parent_id int);
         insert into child select i, i from generate_series(1, {ROWS}) i"
    ));
    pair.target.run(
        "create table parent (id int primary key, amount numeric, day date, filler varchar(20) check (filler not like 'y%'));
         create table child (id int primary key, parent_id int references parent)",
    );
    let bad = (1..=ROWS).filter(|i| i % 100 == 50 || [1, 2, ROWS].contains(i)).collect();
    (pair, bad)
}

#[track_caller]
fn assert_one_in_a_hundred(pair: &Pair, bad: &BTreeSet<u64>, program: &Bulkload, outcome: &Outcome) {
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let (rows, count) = (120_000, bad.len() as u64);
    for table in ["public.parent", "public.child"] {
        assert_eq!(figures(outcome, table), [rows, count, rows - count, rows - count], "{table}");
        let rejects = rejects(program, outcome, table);
        let row_of = |reject: &Vec<String>| reject[3].parse::<u64>().unwrap();
        assert_eq!(rejects.iter().map(row_of).collect::<BTreeSet<_>>(), *bad, "{table}");
        assert_eq!(rejects.len(), bad.len(), "{table}");
        if table == "public.parent" {
            assert!(rejects.iter().all(|reject| reject[2] == reject[3]), "ordinals");
            assert!(rejects.is_sorted_by_key(row_of), "in the order of the source");
        }
    }
    assert_eq!(pair.target.count("parent where id % 100 = 50"), 0);
}

#[test]
fn one_bad_row_in_a_hundred_over_many_chunks_is_exactly_what_is_rejected_and_children_cascade() {
    let (pair, bad) = one_in_a_hundred();
    let (program, outcome) = sync(&pair, &tables("jobs = 3", &["child", "parent"]));
    assert!(outcome.table("public.parent")["chunks"].as_u64().unwrap() > 4);
    assert_one_in_a_hundred(&pair, &bad, &program, &outcome);
}

#[test]
fn a_run_that_is_killed_while_it_isolates_changes_nothing_and_the_next_one_converges() {
    let (pair, bad) = one_in_a_hundred();
    pair.target.run("insert into parent (id) values (-1); insert into child values (-1, -1)");
    let config = format!("{}max_shrink = \"100%\"\n", tables("", &["child", "parent"]));
    let program = Bulkload::on(&pair).config(&config).hold_at("load.isolating");
    let mut running = program.spawn(&["sync", "--report", "report.json"]);
    running.wait_until_held();
    assert_eq!(running.kill_9().code, None);
    assert_eq!(ids(&pair.target, "child"), "-1");
    let program = program.env("BULKLOAD_HOLD", "");
    let outcome = program.sync();
    assert_one_in_a_hundred(&pair, &bad, &program, &outcome);
}

#[test]
fn a_chunk_with_bad_rows_whose_commit_was_not_answered_is_loaded_once() {
    for what in [Lost::Reply, Lost::Request] {
        let pair = pair();
        pair.source.run(
            "create table t (id int, v text);
             insert into t select i, case when i % 10 = 0 then 'long' else 'ok' end from generate_series(1, 1000) i",
        );
        pair.target.run("create table t (id int primary key, v varchar(3))");
        let proxy = Proxy::to(pair.target.port());
        let program = Bulkload::on(&pair)
            .config(&tables("jobs = 1", &["t"]))
            .env("TARGET_DATABASE_URL", &pair.target.url_through(proxy.port()));
        proxy.lose(what, COMMIT_CHUNK);
        let outcome = program.sync();
        assert!(proxy.has_lost());
        assert_eq!(outcome.code, Some(0), "{outcome}");
        assert_eq!(outcome.table("public.t")["attempts"], 2, "{what:?}: {outcome}");
        assert_eq!(figures(&outcome, "public.t"), [1000, 100, 900, 900], "{what:?}");
        assert_eq!(rejects(&program, &outcome, "public.t").len(), 100, "{what:?}");
    }
}

#[test]
fn too_many_bad_rows_fail_the_table_before_it_is_touched() {
    let pair = pair();
    pair.source.run(
        "create table t (id int, v text);
         insert into t select i, case when i % 10 = 0 then 'long' else 'ok' end from generate_series(1, 1000) i;
         create table all_bad (id int, v text);
         insert into all_bad select i, 'long' from generate_series(1, 50000) i",
    );
    pair.target.run(
        "create table t (id int primary key, v varchar(3)); insert into t values (0, 'old');
         create table all_bad (id int primary key, v varchar(3)); insert into all_bad values (0, 'old')",
    );
    for (limit, is_early) in [("\"5%\"", false), ("99", true), ("0", true), ("\"0%\"", true)] {
        let config =
            format!("[run]\nmax_rejects = {limit}\n[[table]]\nname = \"t\"\n[[table]]\nname = \"all_bad\"\n");
        let (program, outcome) = sync(&pair, &config);
        assert_eq!(outcome.code, Some(1), "{outcome}");
        for (table, rows) in [("public.t", 100), ("public.all_bad", 50_000)] {
            let error = outcome.table(table)["error"].as_str().unwrap().to_owned();
            assert!(error.contains("max_rejects") && error.contains("v: too_long [22001]"), "{error}");
            let found = rejects(&program, &outcome, table);
            assert!(found.iter().all(|reject| reject[0].starts_with("too_long: ") && reject[2] == reject[3]));
            assert_eq!(outcome.table(table)["rejected"], found.len(), "{outcome}");
            assert!(outcome.table(table)["extracted"].as_u64() >= Some(found.len() as u64));
            let expected = if is_early { 1..rows.min(5000) + 1 } else { rows / 20..rows + 1 };
            assert!(expected.contains(&found.len()), "{limit}: {}", found.len());
            assert_eq!(ids(&pair.target, table), "0");
        }
    }
}

#[test]
fn bytes_of_a_database_without_an_encoding_that_are_no_text_are_rejected_with_their_row() {
    let pair = pair();
    let name = format!("{}_ascii", pair.source.name());
    let source = Servers::shared().source.socket_url(&name);
    pair.source.run(&format!(
        "create database {name} template template0 encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C'"
    ));
    let session = crate::support::Session::open(&source);
    session.run(
        "set client_encoding = 'SQL_ASCII';
         create table t (id int, v text);
         insert into t select i, convert_from(case when i in (7, 100) then '\\x6772fc6e'::bytea else '\\x6772c3bc6e' end, 'SQL_ASCII')
             from generate_series(1, 100) i",
    );
    drop(session);
    pair.target.run("create table t (id int primary key, v text)");
    for format in ["binary", "text"] {
        let program = Bulkload::on(&pair)
            .env("SOURCE_DATABASE_URL", &source)
            .config(&tables(&format!("format = \"{format}\""), &["t"]));
        let outcome = program.sync();
        assert_eq!(outcome.code, Some(0), "{outcome}");
        assert_eq!(figures(&outcome, "public.t")[..3], [100, 2, 98], "{format}");
        assert_eq!(pair.target.count("t where v = 'gr\u{fc}n'"), 98);
        let found = rejects(&program, &outcome, "public.t");
        let rows: Vec<&str> = found.iter().map(|reject| reject[2].as_str()).collect();
        assert_eq!(rows, ["7", "100"]);
        assert!(
            found[0][0].starts_with("encoding: invalid byte sequence for encoding \"UTF8\": 0xfc"),
            "{found:?}"
        );
        assert_eq!(found[0][4], "gr\u{fffd}n");
    }
    pair.source.run(&format!("drop database {name} with (force)"));
}

#[test]
fn a_looked_up_column_that_must_not_be_null_rejects_its_row_wherever_it_is_filled() {
    // A key that may hold several rows is looked up on the target, a unique one while rows stream by.
    for unique in ["primary key", ""] {
        let pair = pair();
        pair.source.run(
            "create table jobs (id int, client int); insert into jobs values (1, 10), (2, null);
             create table tasks (id int, job int); insert into tasks values (1, 1), (2, 2), (3, 99), (4, 1);
             create table notes (id int, task int); insert into notes values (1, 1), (2, 2), (3, 3), (4, 4)",
        );
        pair.target.run(&format!(
            "create table jobs (id int {unique}, client int);
             create table tasks (id int primary key, client int not null);
             create table notes (id int primary key, task int references tasks)"
        ));
        let config = "[run]\nmax_rejects = \"100%\"\n[[table]]\nname = \"notes\"\n[[table]]\nname = \"jobs\"\n[[table]]\nname = \"tasks\"\n\
            [[table.lookup]]\ncolumn = \"client\"\nfrom = \"jobs\"\nmatch = { job = \"id\" }\nvalue = \"client\"\n";
        let (program, outcome) = sync(&pair, config);
        assert_eq!(outcome.code, Some(0), "{outcome}");
        assert_eq!(ids(&pair.target, "tasks"), "1 4", "{unique}");
        assert_eq!(ids(&pair.target, "notes"), "1 4", "{unique}");
        let found = rejects(&program, &outcome, "public.tasks");
        assert_eq!(found.len(), 2);
        let reason =
            "not_null: null value in column \"client\" of relation \"tasks\" violates not-null constraint";
        assert!(found.iter().all(|reject| reject[0] == reason), "{found:?}");
        assert_eq!(figures(&outcome, "public.tasks"), [4, 2, 2, 2]);
    }
}

#[test]
fn orphans_and_bad_rows_of_one_table_are_in_one_file_in_the_order_of_the_source() {
    let pair = pair();
    pair.source.run(
        "create table p (id int); insert into p values (1);
         create table c (id int, p_id int, v text, gone text);
         insert into c select i, case when i % 7 = 0 then 2 else 1 end, case when i % 5 = 0 then 'long' else 'ok' end, 'g' || i
             from generate_series(1, 70) i",
    );
    pair.target.run(
        "create table p (id int primary key);
         create table c (id int primary key, p_id int references p on delete set null, v varchar(3))",
    );
    let (program, outcome) = sync(&pair, &tables("", &["c", "p"]));
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(figures(&outcome, "public.c"), [70, 22, 48, 48]);
    let found = rejects(&program, &outcome, "public.c");
    let expected: Vec<String> =
        (1..=70).filter(|i| i % 7 == 0 || i % 5 == 0).map(|i| i.to_string()).collect();
    assert_eq!(found.iter().map(|reject| reject[2].clone()).collect::<Vec<_>>(), expected);
    let orphans = found.iter().filter(|reject| reject[0] == "p_id=2 has no match in public.p").count();
    assert_eq!(orphans, 10);
}
