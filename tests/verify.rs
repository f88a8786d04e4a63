//! `bulkload verify`: finds what differs, and nothing else.

use crate::support::{Bulkload, Direction, Outcome, Pair, Proxy, pair};

#[track_caller]
fn agrees(program: &Bulkload, words: &[&str]) -> Outcome {
    let outcome = program.run(&["-q", "verify"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{outcome}");
    assert!(outcome.stdout.ends_with("source and target agree\n"), "{outcome}");
    assert!(words.iter().all(|word| outcome.stdout.contains(word)), "{words:?} {outcome}");
    outcome
}

#[track_caller]
fn differs(program: &Bulkload, words: &[&str]) {
    let outcome = program.run(&["-q", "verify"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(1), ""), "{outcome}");
    assert!(outcome.stdout.ends_with("source and target differ\n"), "{outcome}");
    for word in words {
        assert!(outcome.stdout.contains(word), "{word} {outcome}");
    }
}

/// No difference is found, and what is not compared is named instead of a word that all agrees.
#[track_caller]
fn agrees_but_for(program: &Bulkload, left_out: &str, words: &[&str]) {
    let outcome = program.run(&["-q", "verify"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{outcome}");
    let conclusion = format!("\nno differences in what was compared; not compared: {left_out}\n");
    assert!(outcome.stdout.ends_with(&conclusion), "{outcome}");
    assert!(!outcome.stdout.contains("agree"), "{outcome}");
    assert!(words.iter().all(|word| outcome.stdout.contains(word)), "{words:?} {outcome}");
}

/// A column could not be compared.
#[track_caller]
fn agrees_in_part(program: &Bulkload, left_out: &str, words: &[&str]) {
    let outcome = program.run(&["-q", "verify"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(1), ""), "{outcome}");
    let conclusion = format!(
        "\nnot all columns could be compared; no differences in what was compared; not compared: {left_out}\n"
    );
    assert!(outcome.stdout.ends_with(&conclusion), "{outcome}");
    assert!(words.iter().all(|word| outcome.stdout.contains(word)), "{words:?} {outcome}");
}

/// 5,000 rows in the source, loaded.
fn synced(config: &str) -> (Pair, Bulkload) {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run("create table t (id int primary key, v text, at timestamptz)");
    }
    pair.source.run("insert into t select i, 'v' || i, timestamptz '2020-01-01Z' + i * interval '1 h' from generate_series(1, 5000) i");
    let program = Bulkload::on(&pair).config(&format!("[[table]]\nname = 't'\n{config}"));
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    (pair, program)
}

#[test]
fn what_was_loaded_agrees_until_either_side_is_changed() {
    let (pair, program) = synced("");
    agrees(&program, &["ok       t: 5,000 rows in the source, 5,000 on the target"]);
    pair.target.run("update t set v = 'other' where id in (4711, 7); delete from t where id = 99");
    pair.source.run("delete from t where id = 4242");
    differs(
        &program,
        &[
            "differs  t: 4,999 rows in the source, 4,999 on the target",
            "1 missing on the target, 1 on the target only, 2 not the same",
            "id=7 is not the same\n         id=99 is missing on the target\n         id=4242 is on the target only\n         id=4711 is not the same",
        ],
    );
}

#[test]
fn null_and_empty_are_not_the_same_and_neither_are_values_that_change_places() {
    let (pair, program) = synced("");
    pair.source.run("update t set v = '' where id = 1");
    pair.target.run("update t set v = null where id = 1");
    differs(&program, &["id=1 is not the same"]);
    let (pair, program) = synced("");
    pair.target.run("update t set v = case id when 1 then 'v2' else 'v1' end where id in (1, 2)");
    differs(&program, &["id=1 is not the same", "id=2 is not the same"]);
}

#[test]
fn a_target_without_rows_and_one_with_too_many_are_named_by_their_first_keys() {
    let (pair, program) = synced("");
    pair.target.run("truncate t");
    differs(&program, &["5,000 missing on the target\n         id=1 is missing", "id=10 is missing"]);
    let (pair, program) = synced("");
    pair.source.run("delete from t where id > 10");
    differs(&program, &["4,990 on the target only\n         id=11 is on the target only"]);
}

#[test]
fn a_table_that_cannot_be_compared_or_comes_from_files_leaves_the_others_to_be_compared() {
    let pair = pair();
    for (db, kind) in [(&pair.source, "text"), (&pair.target, "int")] {
        db.run(&format!(
            "create table bad (id int primary key, v {kind}); create table good (id int primary key);
             create table after (id int primary key); create table files (id int primary key);
             insert into good values (1)"
        ));
    }
    pair.source.run("insert into bad values (1, '1'), (2, 'two'); insert into after values (7)");
    let program = Bulkload::on(&pair).file("files.csv", "id\n1\n").config(
        "[[table]]\nname = 'good'\n[[table]]\nname = 'files'\ncsv = 'files.csv'\n[[table]]\nname = 'bad'\ncolumns.lossy = 'allow'\n[[table]]\nname = 'after'\n",
    );
    let verified = |conclusion: &str, lines: &[&str]| {
        let outcome = program.run(&["-q", "verify"]);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(1), ""), "{outcome}");
        assert!(outcome.stdout.ends_with(&format!("\n{conclusion}\n")), "{outcome}");
        for line in lines {
            assert!(outcome.stdout.contains(line), "{line} {outcome}");
        }
    };
    let failed = "failed   bad: the source: computing checksums: invalid input syntax for type integer";
    let skipped = "skipped  files: its rows come from files, which are not compared\n";
    verified(
        "source and target differ",
        &[
            "ok       good: 1 rows",
            skipped,
            failed,
            "         hint: ",
            "differs  after: 1 rows",
            "id=7 is missing",
        ],
    );
    pair.target.run("insert into after values (7)");
    verified("not all tables could be compared", &[failed, "ok       after: 1 rows"]);
    pair.source.run("delete from bad");
    agrees_but_for(&program, "files", &["ok       bad: 0 rows", skipped]);
}

#[test]
fn nothing_is_changed_by_comparing() {
    let (pair, program) = synced("");
    let state = |pair: &Pair| {
        let sql = "select md5(string_agg(r::text, '' order by run_id)) from bulkload.runs r";
        (pair.target.value(sql), pair.target.count("t"))
    };
    let before = state(&pair);
    agrees(&program, &[]);
    assert_eq!(before, state(&pair));
}

#[test]
fn the_rules_of_the_config_hold_for_the_comparison() {
    let pair = pair();
    pair.source.run(
        "create schema app; set search_path = app;
         create table jobs (id bigint primary key, title varchar(50), cost float8, secret text, at timestamp, flag boolean);
         insert into jobs select i, 'job ' || i, i / 3.0, 'x', timestamp '2020-06-01' + i * interval '7 min', i % 2 = 0
             from generate_series(1, 2000) i;
         create function app.keep(boolean) returns boolean immutable language sql as 'select $1'",
    );
    let (name, role) = (pair.source.name(), "postgres");
    pair.source.run(&format!(
        "alter role {role} in database {name} set timezone = 'America/New_York'; alter role {role} in database {name} set search_path = app"
    ));
    pair.target.run(
        "create type mood as enum ('job 2', 'other');
         create table tasks (id int primary key, title text, cost numeric(10, 2), origin text, at timestamptz, loaded_at timestamptz)",
    );
    let program = Bulkload::on(&pair).config(
        "[[table]]\nname = 'tasks'\nfrom = 'app.jobs'\nwhere = 'keep(flag)'\n[table.columns]\nlossy = 'allow'\nskip = ['secret', 'flag']\n\
         set = { origin = 'D', loaded_at = { expr = 'now()' } }\n",
    );
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let left_out = "tasks.loaded_at, tasks.secret, tasks.flag";
    let words = [
        "1,000 rows in the source, 1,000 on the target",
        "column loaded_at is not compared: an expr computes it",
        "columns secret, flag are not compared: left behind in the source",
    ];
    agrees_but_for(&program, left_out, &words);
    // Outside what the config describes, and inside of it.
    pair.source.run("update app.jobs set secret = 'y'; delete from app.jobs where id = 3");
    agrees_but_for(&program, left_out, &[]);
    pair.target.run("update tasks set at = at + interval '1 h' where id = 20");
    differs(&program, &["id=20 is not the same"]);
    pair.target.run("update tasks set at = at - interval '1 h', origin = 'M' where id = 20");
    differs(&program, &["id=20 is not the same"]);
}

#[test]
fn every_type_that_is_loaded_compares_equal() {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run(
            "create type mood as enum ('sad', 'ok');
             create type pair as (a int, b timestamptz);
             create domain posint as int check (value > 0);
             create domain moment as timestamptz;
             create table t (id uuid primary key, f4 real, f8 float8, n numeric, b bytea, j json, jb jsonb, ts timestamptz[],
                 r tstzrange, i interval, m mood, p pair, d posint, dm moment, c char(8), x bit varying, ip inet, tz timetz,
                 mon money, ar text[], big bigint)",
        );
    }
    // Another TimeZone, and another way to write everything, are the source's defaults.
    let name = pair.source.name();
    for setting in [
        "timezone = 'Asia/Kolkata'",
        "datestyle = 'German'",
        "intervalstyle = 'iso_8601'",
        "bytea_output = 'escape'",
        "extra_float_digits = 0",
    ] {
        pair.source.run(&format!("alter database {name} set {setting}"));
    }
    pair.source.run(
        "insert into t select md5(i::text)::uuid, i / 7.0::real, i / 7.0::float8, i / 7.0, decode(md5(i::text), 'hex'),
             json_build_object('a', i), jsonb_build_object('a', array[i]), array[now(), null, now() + i * interval '1 h'],
             tstzrange(now(), now() + i * interval '1 h'), i * interval '1 day 3.5 s', 'ok', row(i, now())::pair, i, now(), 'c' || i,
             i::bit(10), ('10.0.0.' || i % 255)::inet, '12:00+05:30', i::numeric::money, array['a', null, 'b\"' || i], -i
         from generate_series(1, 300) i;
         insert into t (id) values (md5('nulls')::uuid)",
    );
    let program = Bulkload::on(&pair).config("[[table]]\nname = 't'\n");
    assert_eq!(program.sync().code, Some(0));
    agrees(&program, &["301 rows in the source, 301 on the target"]);
    for (column, value) in [
        ("f8", "f8 + 1e-15"),
        ("ts", "ts || now()"),
        ("r", "'empty'"),
        ("p", "row(1, p.b)"),
        ("dm", "dm + interval '1 us'"),
    ] {
        let target = pair.target.session();
        target.run(&format!(
            "update t set {column} = {} where id = md5('3')::uuid",
            value.replace("p.b", "(p).b")
        ));
        differs(&program, &["1 not the same", "id=eccbc87e-4b5c-e2fe-2830-8fd9f2a7baf3 is not the same"]);
        assert_eq!(program.sync().code, Some(0));
    }
}

#[test]
fn rejected_rows_are_no_difference_and_what_else_is_missing_is() {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run(
            "create table parent (id int primary key);
             create table child (id int primary key, parent_id int, v text)",
        );
    }
    pair.target.run("alter table child add foreign key (parent_id) references parent");
    pair.source.run(
        "insert into parent select generate_series(1, 100);
         insert into child select i, i, 'v' from generate_series(1, 104) i",
    );
    let program = Bulkload::on(&pair).config("[[table]]\nname = 'parent'\n[[table]]\nname = 'child'\n");
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(outcome.table("public.child")["rejected"], 4);
    agrees(
        &program,
        &["104 rows in the source, 100 on the target", "4 rows not on the target because they were rejected"],
    );
    pair.target.run("delete from child where id = 50");
    differs(&program, &["1 missing on the target\n         id=50 is missing on the target"]);
    // Without the file their number is all there is.
    std::fs::remove_dir_all(program.dir().join("rejects")).unwrap();
    differs(&program, &["5 missing on the target"]);
    assert_eq!(program.sync().code, Some(0));
    std::fs::remove_dir_all(program.dir().join("rejects")).unwrap();
    agrees(&program, &["by their number alone"]);
}

#[test]
fn of_rows_with_one_key_any_may_be_the_one_that_was_loaded() {
    let pair = pair();
    pair.source
        .run("create table t (id int, v text); insert into t values (1, 'a'), (1, 'b'), (2, 'c'), (3, 'd')");
    pair.target.run("create table t (id int primary key, v text)");
    let program = Bulkload::on(&pair).config("[[table]]\nname = 't'\nmax_rejects = 1\n");
    assert_eq!(program.sync().code, Some(0));
    agrees(&program, &["4 rows in the source, 3 on the target", "1 row not on the target"]);
    pair.target.run("update t set v = 'c' where id = 1");
    differs(&program, &["id=1 is not the same"]);
}

#[test]
fn tables_without_a_key_are_compared_as_bags() {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run("create table t (a int, b text)");
    }
    pair.source
        .run("insert into t select i % 50, nullif('x' || i % 3, 'x0') from generate_series(1, 1000) i");
    let program = Bulkload::on(&pair).config("[[table]]\nname = 't'\n");
    assert_eq!(program.sync().code, Some(0));
    agrees(&program, &["1,000 rows in the source, 1,000 on the target"]);
    pair.target.run("insert into t select * from t limit 1");
    differs(&program, &["1 on the target only"]);
}

#[test]
fn only_the_tables_that_were_asked_for_are_compared() {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run("create table a (id int primary key); create table \"B b\" (\"I d\" int primary key)");
    }
    pair.source.run("insert into a values (1); insert into \"B b\" values (1)");
    let program = Bulkload::on(&pair).config("[[table]]\nname = 'a'\n[[table]]\nname = '\"B b\"'\n");
    let outcome = program.run(&["-q", "verify", "--table", "\"B b\""]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(!outcome.stdout.contains(" a: "), "{outcome}");
    assert!(outcome.stdout.contains("\"I d\"=1 is missing on the target"), "{outcome}");
}

#[test]
fn rows_outside_the_scope_are_not_compared_and_keep_rows_of_the_source_out() {
    let pair = pair();
    pair.source.run("create table t (id int primary key, v text, code text)");
    pair.target.run("create table t (id int primary key, v text, code text unique, origin text)");
    pair.source.run("insert into t select i, 'v' || i, 'c' || i from generate_series(1, 100) i");
    pair.target.run("insert into t values (5, 'mobile', 'm5', 'M'), (1005, 'mobile', 'c7', 'M')");
    let program = Bulkload::on(&pair)
        .config("[[table]]\nname = 't'\nscope = \"origin = 'D'\"\ncolumns.set = { origin = 'D' }\n");
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(outcome.table("public.t")["skipped"], 2, "{outcome}");
    agrees(
        &program,
        &[
            "100 rows in the source, 98 on the target",
            "1 row not on the target because their keys belong to rows outside the scope",
            "by their number alone",
        ],
    );
    pair.target.run("update t set v = 'mine' where id = 5");
    agrees(&program, &[]);
    pair.target.run("delete from t where id in (8, 9)");
    differs(&program, &["3 missing on the target"]);
}

#[test]
fn what_upsert_and_insert_leave_alone_is_no_difference() {
    for (strategy, changed) in [("upsert", 1), ("insert", 0)] {
        let (pair, program) = synced(&format!("strategy = '{strategy}'\n"));
        pair.source.run("delete from t where id = 1");
        pair.target.run("insert into t values (9999, 'more', null)");
        agrees(&program, &["4,999 rows in the source, 5,001 on the target"]);
        pair.target.run("update t set v = 'other' where id = 2");
        if changed == 1 {
            differs(&program, &["1 not the same\n         id=2 is not the same"]);
        } else {
            agrees(&program, &[]);
        }
        pair.target.run("delete from t where id = 3");
        differs(&program, &["id=3 is missing on the target"]);
    }
}

#[test]
fn rows_that_are_equal_stay_on_their_servers() {
    let (pair, program) = synced("");
    // 5 MB on each side, so that what is said besides does not matter.
    for db in [&pair.source, &pair.target] {
        db.run("update t set v = repeat(md5(id::text), 32)");
    }
    let proxies = [Proxy::to(pair.source.port()), Proxy::to(pair.target.port())];
    let program = program
        .env("SOURCE_DATABASE_URL", &pair.source.url_through(proxies[0].port()))
        .env("TARGET_DATABASE_URL", &pair.target.url_through(proxies[1].port()));
    agrees(&program, &["5,000 rows in the source"]);
    pair.target.run("update t set v = 'other' where id = 7");
    differs(&program, &["id=7 is not the same"]);
    for proxy in &proxies {
        let bytes = proxy.forwarded(Direction::ToClient);
        assert!((1..1_000_000).contains(&bytes), "{bytes} bytes crossed the network");
    }
}

/// Types that the target alone can read: extension, type on the target, type of the source, texts that it is written in otherwise than
/// the type writes it, another value.
type Read = (&'static str, &'static str, &'static str, &'static [&'static str], &'static str);

const READ: &[Read] = &[
    ("hstore", "hstore", "text", &["a=>1,  b=>NULL", ""], "x=>2"),
    ("hstore", "hstore", "varchar(40)", &["b=>1,aa=>2"], "x=>2"),
    ("ltree", "ltree", "text", &["Top.Mid"], "Top"),
    ("cube", "cube", "text", &["1, 2", "(1,2),(3,4)"], "(7)"),
    ("citext", "citext", "text", &["MiXeD"], "mixed"),
    ("postgis", "geometry", "text", &["POINT(1 2)", "SRID=4326;POINT(3 4)"], "POINT(1 3)"),
    ("postgis", "geometry(Point,4326)", "text", &["SRID=4326;POINT(3 4)"], "SRID=4326;POINT(3 5)"),
    ("postgis", "geography", "text", &["POINT(1 2)"], "POINT(1 3)"),
    ("plpgsql", "spot", "text", &["( 1 ,x)"], "(2,x)"),
    ("plpgsql", "span", "text", &["[1 , 2]"], "[1,3]"),
    ("plpgsql", "spot[]", "text", &["{\"(1,x)\" }"], "{}"),
];

#[test]
fn what_only_the_target_can_read_is_compared_as_it_reads_it() {
    let pair = pair();
    let is_there = |name: &str| {
        !pair.target.rows(&format!("select from pg_available_extensions where name = '{name}'")).is_empty()
    };
    let cases: Vec<_> = READ.iter().filter(|case| is_there(case.0)).collect();
    assert!(cases.len() >= 7, "extensions are missing");
    pair.target.run(
        "create schema ext; create type spot as (x int, y text); create type span as range (subtype = float8)",
    );
    let mut config = String::new();
    for (number, (extension, kind, from, values, _)) in cases.iter().enumerate() {
        if *extension != "plpgsql" {
            pair.target.run(&format!("create extension if not exists {extension} schema ext"));
        }
        pair.source.run(&format!("create table t{number} (id int primary key, v {from}, n int)"));
        pair.target.run(&format!(
            "set search_path = public, ext; create table t{number} (id int primary key, v {kind}, n int)"
        ));
        for (id, value) in values.iter().enumerate() {
            pair.source.run(&format!("insert into t{number} values ({id}, '{value}', 1)"));
        }
        pair.source.run(&format!("insert into t{number} values (-1, null, 1)"));
        config.push_str(&format!("[[table]]\nname = 't{number}'\n"));
    }
    let program = Bulkload::on(&pair).config(&config);
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    agrees(&program, &[]);
    for (number, (.., other)) in cases.iter().enumerate() {
        pair.target.run(&format!("update t{number} set v = '{other}' where id = 0"));
    }
    let outcome = program.run(&["-q", "verify"]);
    for (number, case) in cases.iter().enumerate() {
        assert!(outcome.stdout.contains(&format!("differs  t{number}: ")), "{case:?} {outcome}");
    }
    // What one row holds does not make up for what another one lacks.
    assert_eq!(outcome.stdout.matches("id=0 is not the same").count(), cases.len(), "{outcome}");
    assert_eq!(outcome.stdout.matches("is not the same").count(), cases.len(), "{outcome}");
}

#[test]
fn a_text_that_the_target_cannot_read_is_a_difference_of_its_row_alone() {
    let pair = pair();
    pair.source.run("create table t (id int primary key, v text); insert into t select i, i || ',2' from generate_series(1, 2000) i");
    pair.target.run("create extension cube; create table t (id int primary key, v cube)");
    let program = Bulkload::on(&pair).config("[[table]]\nname = 't'\n");
    assert_eq!(program.sync().code, Some(0));
    agrees(&program, &[]);
    pair.source.run("update t set v = 'no cube' where id = 700");
    differs(&program, &["1 not the same\n         id=700 is not the same"]);
    assert_eq!(program.sync().code, Some(0));
    agrees(&program, &["1 row not on the target because they were rejected"]);
}

#[test]
fn types_of_one_extension_in_other_schemas_are_compared_by_their_text() {
    let pair = pair();
    for (db, schema) in [(&pair.source, "public"), (&pair.target, "extensions")] {
        db.run(&format!(
            "create schema if not exists {schema}; create extension hstore schema {schema}; create extension ltree schema {schema};
             create table t (id int primary key, h {schema}.hstore, l {schema}.ltree[])"
        ));
    }
    pair.source.run("insert into t values (1, 'a=>1', '{a.b}')");
    let program = Bulkload::on(&pair).config("[[table]]\nname = 't'\n");
    assert_eq!(program.sync().code, Some(0));
    agrees(&program, &[]);
    pair.target.run("set search_path = public, extensions; update t set h = 'a=>2'");
    differs(&program, &["id=1 is not the same"]);
}

#[test]
fn what_is_left_out_is_named_and_only_what_was_meant_leaves_the_exit_code() {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run("create table parent (id int primary key, code text, name text)");
    }
    pair.source.run(
        "create table t (id int primary key, code text, v text);
         insert into parent values (1, 'a', 'x'), (2, 'b', 'y'); insert into t values (1, 'a', 'p'), (2, 'c', 'q')",
    );
    pair.target.run(
        "create table t (id int primary key, v text, twice int generated always as (id * 2) stored, seen bool, name text)",
    );
    let lookup = |rest: &str| {
        format!(
            "[[table]]\nname = 'parent'\n[[table]]\nname = 't'\n{rest}\n[[table.lookup]]\ncolumn = 'name'\nfrom = 'parent'\nmatch = {{ code = 'code' }}\nvalue = 'name'\n"
        )
    };
    let program = Bulkload::on(&pair).config(&lookup(""));
    assert_eq!(program.sync().code, Some(0));
    let words = [
        "partly   t: ",
        "columns twice, seen are not compared: nothing of the source fills it",
        "column name is not compared: a lookup fills it by columns that are not loaded",
        "hint: To exclude columns, list them in verify_ignore",
    ];
    agrees_in_part(&program, "t.name, t.twice, t.seen", &words);
    let program = Bulkload::on(&pair).config(&lookup("verify_ignore = ['name']"));
    agrees_but_for(
        &program,
        "t.name, t.twice, t.seen",
        &["column name is not compared: verify_ignore names it"],
    );
    let outcome = Bulkload::on(&pair).config(&lookup("verify_ignore = ['nome']")).run(&["verify"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.contains("verify_ignore: the target has no column nome"), "{outcome}");
}

#[test]
fn what_a_lookup_fills_is_looked_up_again() {
    let pair = pair();
    pair.source.run(
        "create table t (id int primary key, code text, origin text);
         insert into t select i, 'c' || i % 7, 'D' from generate_series(1, 100) i",
    );
    pair.target.run(
        "create table parent (code text, name int); create table t (id int primary key, code text, origin text, name bigint);
         insert into parent values ('c1', 10), ('c1', 9), ('c2', 20), (null, 5)",
    );
    let program = Bulkload::on(&pair).config(
        "[[table]]\nname = 't'\nscope = \"origin = 'D'\"\n[[table.lookup]]\ncolumn = 'name'\nfrom = 'parent'\nmatch = { code = 'code' }\nvalue = 'name'\n",
    );
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    agrees(&program, &["100 rows in the source, 100 on the target"]);
    pair.target.run("update t set name = 10 where id = 1; update t set name = 1 where id = 3");
    differs(&program, &["2 not the same\n         id=1 is not the same\n         id=3 is not the same"]);
}

#[test]
fn a_null_may_stand_for_an_orphan_and_another_value_is_a_difference() {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run("create table parent (id int primary key); create table child (id int primary key, parent_id int, v text)");
    }
    pair.target.run("alter table child add foreign key (parent_id) references parent");
    pair.source.run(
        "insert into parent select generate_series(1, 100); insert into child select i, i, 'v' from generate_series(1, 104) i",
    );
    let program = Bulkload::on(&pair).config(
        "[[table]]\nname = 'parent'\n[[table]]\nname = 'child'\n[[table.reference]]\ncolumns = ['parent_id']\nto = 'parent(id)'\non_orphan = 'null'\n",
    );
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    agrees(
        &program,
        &["4 rows of the target with NULL instead of the source's value in parent_id: taken to be orphans"],
    );
    pair.target.run("update child set parent_id = 7 where id in (8, 102)");
    differs(&program, &["2 not the same\n         id=8 is not the same\n         id=102 is not the same"]);
    pair.target.run("update child set parent_id = 8 where id = 8; update child set parent_id = null, v = 'w' where id = 102");
    differs(&program, &["1 not the same\n         id=102 is not the same"]);
}

#[test]
fn values_that_rows_exchange_differ_in_columns_that_on_orphan_may_make_null() {
    let pair = pair();
    let schema = "create table p (id int primary key); create table c (id int primary key, p int, v text);
        insert into p select generate_series(1, 1000); insert into c select i, i, 'v' from generate_series(1, 1000) i";
    pair.source.run(schema);
    pair.target.run(&format!("{schema}; alter table c add foreign key (p) references p"));
    let program = Bulkload::on(&pair).config(
        "[[table]]\nname = 'p'\n[[table]]\nname = 'c'\n[[table.reference]]\ncolumns = ['p']\nto = 'p(id)'\non_orphan = 'null'\n",
    );
    agrees(&program, &[]);
    // Rows of all parts that are compared, so that some exchange theirs within one.
    pair.target.run("update c set p = 1001 - p");
    differs(&program, &["1,000 not the same"]);
    pair.target.run("update c set p = 1001 - p");
    // 1 and 103 belong to one part.
    pair.target.run("update c set p = 104 - p where id in (1, 103)");
    differs(&program, &["2 not the same"]);
}
