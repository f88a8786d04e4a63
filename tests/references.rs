//! References and duplicates are judged before anything is applied; PostgreSQL itself is the oracle.

use std::fs;

use crate::support::{Bulkload, Db, Outcome, Pair, pair};

fn sync(pair: &Pair, config: &str) -> (Bulkload, Outcome) {
    let program = Bulkload::on(pair).config(config);
    let outcome = program.sync();
    (program, outcome)
}

fn ids(db: &Db, sql: &str) -> String {
    db.value(&format!("select coalesce(string_agg(id::text, ' ' order by id), '') from ({sql}) as t"))
}

fn tables(names: &[&str]) -> String {
    names.iter().map(|name| format!("[[table]]\nname = \"{name}\"\n")).collect()
}

#[test]
fn orphans_cascade_and_are_written_to_the_rejects_file() {
    let pair = pair();
    pair.source.run(
        "create table a (id int, name text);
         create table b (id int, a_id int, \"Note, \"\"odd\"\"\" text);
         create table c (id int, b_id int);
         insert into a values (1, 'x');
         insert into b values (10, 1, 'ok'), (11, 2, 'a \"quote\", and a comma'), (12, null, 'no reference');
         insert into c values (100, 10), (101, 11), (102, 12), (103, 77);",
    );
    pair.target.run(
        "create table a (id int primary key, name text);
         create table b (id int primary key, a_id int constraint b_to_a references a, \"Note, \"\"odd\"\"\" text);
         create table c (id int primary key, b_id int constraint c_to_b references b);",
    );
    let config = format!("[run]\nmax_rejects = \"90%\"\n{}", tables(&["c", "b", "a"]));
    let (program, outcome) = sync(&pair, &config);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(ids(&pair.target, "select id from b"), "10 12");
    assert_eq!(ids(&pair.target, "select id from c"), "100 102");

    let table = outcome.table("public.b");
    assert_eq!(
        (&table["extracted"], &table["rejected"], &table["staged"], &table["inserted"]),
        (&3.into(), &1.into(), &2.into(), &2.into())
    );
    let file = program.dir().join(table["rejects_file"].as_str().unwrap());
    assert_eq!(
        fs::read_to_string(file).unwrap(),
        "reason,constraint,row,id,a_id,\"Note, \"\"odd\"\"\"\n\
         a_id=2 has no match in public.a,b_to_a,2,11,2,\"a \"\"quote\"\", and a comma\"\n"
    );
    assert!(outcome.stdout.contains("b_id=11 has no match in public.b"), "{}", outcome.stdout);
    assert_eq!(outcome.table("public.a")["rejects_file"], serde_json::Value::Null);
}

#[test]
fn a_chain_that_hangs_on_nothing_is_taken_off_whole() {
    let pair = pair();
    // 1 <- 2 <- … <- 30 hang on 0, which does not exist; 40 <- 41 on a root; 50 and 51 on each other.
    pair.source.run(
        "create table t (id int, boss int);
         insert into t select g, g - 1 from generate_series(1, 30) g;
         insert into t values (40, null), (41, 40), (50, 51), (51, 50), (60, 60);",
    );
    pair.target.run("create table t (id int primary key, boss int references t);");
    let (_, outcome) = sync(&pair, &format!("[run]\nmax_rejects = 30\n{}", tables(&["t"])));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(ids(&pair.target, "select id from t"), "40 41 50 51 60");
}

#[test]
fn a_circle_of_tables_is_closed_to_a_fixed_point_and_filled_by_one_statement() {
    let pair = pair();
    pair.source.run(
        "create table a (id int, b_id int);
         create table b (id int, a_id int);
         insert into a values (1, 1), (2, 2), (3, 3), (4, null);
         insert into b values (1, 1), (2, 3), (3, 9), (4, 4);",
    );
    pair.target.run(
        "create table a (id int primary key, b_id int);
         create table b (id int primary key, a_id int references a);
         alter table a add foreign key (b_id) references b;",
    );
    // b3 goes, so a3, so b2, so a2.
    let (_, outcome) = sync(&pair, &format!("[run]\nmax_rejects = \"100%\"\n{}", tables(&["a", "b"])));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(ids(&pair.target, "select id from a"), "1 4");
    assert_eq!(ids(&pair.target, "select id from b"), "1 4");
}

#[test]
fn composite_references_follow_match_simple_and_match_full() {
    let pair = pair();
    pair.source.run(
        "create table p (x int, y int);
         create table s (id int, x int, y int);
         create table f (id int, x int, y int);
         insert into p values (1, 1), (1, 2);
         insert into s values (1, 1, 1), (2, 1, 3), (3, null, 3), (4, null, null);
         insert into f select * from s;",
    );
    pair.target.run(
        "create table p (x int, y int, primary key (x, y));
         create table s (id int primary key, x int, y int, foreign key (x, y) references p);
         create table f (id int primary key, x int, y int, foreign key (x, y) references p match full);",
    );
    let (_, outcome) = sync(&pair, &format!("[run]\nmax_rejects = \"100%\"\n{}", tables(&["p", "s", "f"])));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(ids(&pair.target, "select id from s"), "1 3 4");
    assert_eq!(ids(&pair.target, "select id from f"), "1 4");
}

#[test]
fn keys_match_as_the_constraint_compares_them() {
    let pair = pair();
    pair.source.run(
        "create table p (code text, id numeric);
         create table c (id int, code text, p_id int);
         insert into p values ('Abc', 1.00), ('x', 2);
         insert into c values (1, 'aBC', 1), (2, 'nope', 2), (3, 'X', 3), (4, 'x ', 2);",
    );
    if !pair.target.creates_loose_collation() {
        return;
    }
    // Since 18 a nondeterministic collation has to be that of both columns.
    let collate = if pair.target.version() >= 180_000 { "collate loose" } else { "" };
    pair.target.run(&format!(
        "create table p (code text collate loose unique, id numeric primary key);
         create table c (id int primary key, code text {collate} references p (code), p_id int references p (id));"
    ));
    let (_, outcome) = sync(&pair, &format!("[run]\nmax_rejects = \"100%\"\n{}", tables(&["p", "c"])));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(ids(&pair.target, "select id from c"), "1");
}

#[test]
fn a_referenced_table_outside_the_run_counts_as_it_is() {
    let pair = pair();
    pair.source.run("create table c (id int, u int); insert into c values (1, 7), (2, 8);");
    pair.target.run(
        "create schema auth;
         create table auth.users (id int primary key);
         insert into auth.users values (7);
         create table c (id int primary key, u int references auth.users);",
    );
    let (_, outcome) = sync(&pair, &format!("[run]\nmax_rejects = 1\n{}", tables(&["c"])));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(ids(&pair.target, "select id from c"), "1");
}

#[test]
fn on_orphan_and_null_values_do_what_they_say() {
    let setup = || {
        let pair = pair();
        pair.source.run(
            "create table p (id int); create table c (id int, p_id int);
             insert into p values (1);
             insert into c values (1, 1), (2, 5), (3, 0);",
        );
        pair.target.run("create table p (id int primary key); create table c (id int primary key, p_id int references p);");
        pair
    };
    let config = |more: &str| {
        format!(
            "[run]\nmax_rejects = \"100%\"\n{}[[table.reference]]\ncolumns = [\"p_id\"]\nto = \"p(id)\"\n{more}\n",
            tables(&["p", "c"])
        )
    };
    let rows =
        |pair: &Pair| pair.target.value("select string_agg(concat(id, ':', p_id), ' ' order by id) from c");

    let nulled = setup();
    assert_eq!(sync(&nulled, &config("null_values = [\"0\"]")).1.code, Some(0));
    assert_eq!(rows(&nulled), "1:1 3:");

    let null = setup();
    let (_, outcome) = sync(&null, &config("on_orphan = \"null\""));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(rows(&null), "1:1 2: 3:");
    assert!(outcome.stdout.contains("2 rows without a match in public.p"), "{}", outcome.stdout);

    for (fate, words) in [("fail", "p_id has no match in public.p"), ("keep", "[23503]")] {
        let failing = setup();
        failing.target.run("insert into p values (99); insert into c values (9, 99)");
        let (_, outcome) = sync(&failing, &config(&format!("on_orphan = \"{fate}\"")));
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        assert!(outcome.stdout.contains(words), "{}", outcome.stdout);
        assert_eq!(rows(&failing), "9:99", "{fate}: the target is as it was");
    }
}

#[test]
fn a_declared_reference_filters_without_a_constraint() {
    let pair = pair();
    pair.source.run(
        "create table p (id int); create table c (id int, p_id bigint);
         insert into p values (1); insert into c values (1, 1), (2, 2);",
    );
    pair.target.run("create table p (id int primary key); create table c (id int primary key, p_id bigint);");
    let config = format!(
        "[run]\nmax_rejects = \"50%\"\n{}[[table.reference]]\ncolumns = [\"p_id\"]\nto = \"p(id)\"\n",
        tables(&["p", "c"])
    );
    let (_, outcome) = sync(&pair, &config);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(ids(&pair.target, "select id from c"), "1");

    let config = config.replace("p(id)", "p(nothing)");
    let (_, outcome) = sync(&pair, &config);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("has no column nothing"), "{}", outcome.stderr);
}

#[test]
fn declared_references_that_cannot_work_are_refused() {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run("create table p (id bigint primary key); create table c (id int primary key, p_id text)");
    }
    pair.source.run("insert into p values (1); insert into c values (1, '1')");
    pair.target.run("insert into c values (9, 'as it was')");
    for (to, place, message) in [
        ("p(id)", "error: bulkload.toml:8:", "public.c: the target refuses the reference to public.p(id)"),
        ("nobody(id)", "error: bulkload.toml:9:", "the target has no table public.nobody"),
        ("p(nothing)", "error: bulkload.toml:9:", "public.p on the target has no column nothing"),
    ] {
        let config =
            format!("{}[[table.reference]]\ncolumns = [\"p_id\"]\nto = \"{to}\"\n", tables(&["p", "c"]));
        let program = Bulkload::on(&pair).config(&config);
        for command in ["plan", "sync"] {
            let outcome = program.run(&["-q", command]);
            assert_eq!(outcome.code, Some(2), "{outcome}");
            let lines: Vec<&str> = outcome.stderr.lines().collect();
            assert!(lines[0].starts_with(place) && lines[0].contains(message), "{message}\n{outcome}");
            assert!(lines[1].starts_with("  hint: ") && lines.len() == 2, "{outcome}");
        }
        let check = program.run(&["-q", "check"]);
        assert_eq!(check.code, Some(2), "{check}");
        assert!(check.stdout.contains(message), "{check}");
        assert_eq!(ids(&pair.target, "select id from c"), "9");
    }
}

#[test]
fn a_unique_index_that_is_no_key_is_named_before_it_fails_the_table() {
    let pair = pair();
    pair.source.run("create table t (k int, v text); insert into t values (1, 'a'), (1, 'b'), (null, 'c')");
    pair.target.run("create table t (k int constraint once unique, v text)");
    let program = Bulkload::on(&pair).config(&tables(&["t"]));
    let plan = program.run(&["plan"]);
    assert_eq!(plan.code, Some(0), "{plan}");
    let told = "duplicates in them fail the table unless you set key = [\"k\"]";
    assert!(plan.stdout.contains("unique index once") && plan.stdout.contains(told), "{plan}");
    let config = format!("[run]\nmax_rejects = 1\n{}key = [\"k\"]\n", tables(&["t"]));
    let (_, outcome) = sync(&pair, &config);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(pair.target.value("select string_agg(v, ' ' order by v) from t"), "b c");
}

#[test]
fn one_orphan_is_told_of_as_one() {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run("create table p (id int primary key); create table c (id int primary key, p_id int)");
    }
    pair.source.run("insert into c values (1, 7)");
    let config = format!(
        "[[table]]\nname = \"c\"\n[[table.reference]]\ncolumns = [\"p_id\"]\nto = \"p(id)\"\n{}",
        "on_orphan = \"null\"\n"
    );
    let (_, outcome) = sync(&pair, &config);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    let told = "1 row without a match in public.p is loaded with p_id = NULL";
    assert!(outcome.stdout.contains(told), "{}", outcome.stdout);
}

#[test]
fn of_rows_with_one_key_the_greatest_as_text_is_loaded() {
    let pair = pair();
    pair.source.run(
        "create table t (id int, v text);
         insert into t values (1, 'a'), (1, 'b'), (1, 'a'), (2, 'z');",
    );
    pair.target.run("create table t (id int primary key, v text);");
    let (_, outcome) = sync(&pair, &format!("[run]\nmax_rejects = 2\n{}", tables(&["t"])));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(pair.target.value("select string_agg(id || v, ' ' order by id) from t"), "1b 2z");
    assert_eq!(outcome.table("public.t")["rejected"], 2);
}

#[test]
fn more_rejects_than_max_rejects_fail_the_table_and_leave_the_target() {
    let pair = pair();
    pair.source.run("create table t (id int); insert into t values (1), (1), (2);");
    pair.target.run("create table t (id int primary key); insert into t values (42), (43);");
    let (program, outcome) = sync(&pair, &tables(&["t"]));
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(outcome.stdout.contains("1 of 3 rows were rejected"), "{}", outcome.stdout);
    assert_eq!(ids(&pair.target, "select id from t"), "42 43");
    let file = outcome.table("public.t")["rejects_file"].as_str().unwrap().to_owned();
    assert!(program.dir().join(file).exists(), "the file tells why");
}

/// Random rows in three tables with every kind of reference; PostgreSQL computes by itself what may remain.
#[test]
fn random_tables_keep_exactly_the_rows_that_may_remain() {
    let create = "create table a (id int, b_id int, self int);
                  create table b (id int, a_x int, a_y int);
                  create table c (id int, a_id int, b_id int);";
    let constraints = "alter table a add primary key (id), add unique (id, b_id);
                       alter table b add primary key (id);
                       alter table c add primary key (id);
                       alter table a add foreign key (b_id) references b, add foreign key (self) references a;
                       alter table b add foreign key (a_x) references a;
                       alter table c add foreign key (a_id) references a, add foreign key (b_id) references b;";
    let oracle = "create function settle() returns void language plpgsql as $$
        declare gone bigint; n bigint;
        begin
            loop
                gone := 0;
                delete from a where b_id is not null and not exists (select from b where b.id = a.b_id);
                get diagnostics n = row_count; gone := gone + n;
                delete from a where self is not null and not exists (select from a p where p.id = a.self);
                get diagnostics n = row_count; gone := gone + n;
                delete from b where a_x is not null and not exists (select from a where a.id = b.a_x);
                get diagnostics n = row_count; gone := gone + n;
                delete from c where a_id is not null and not exists (select from a where a.id = c.a_id);
                get diagnostics n = row_count; gone := gone + n;
                delete from c where b_id is not null and not exists (select from b where b.id = c.b_id);
                get diagnostics n = row_count; gone := gone + n;
                exit when gone = 0;
            end loop;
        end $$;";
    for seed in 1..=6 {
        let pair = pair();
        pair.source.run(create);
        let value = |of: i32| format!("case when random() < 0.4 then null else (random() * {of})::int end");
        pair.source.run(&format!(
            "select setseed(0.{seed});
             insert into a select distinct on (id) (random() * 400)::int as id, {}, {} from generate_series(1, 300);
             insert into b select distinct on (id) (random() * 400)::int as id, {}, 1 from generate_series(1, 300);
             insert into c select g, {}, {} from generate_series(1, 500) g;",
            value(450), value(420), value(450), value(420), value(420)
        ));
        pair.target.run(create);
        pair.target.run(constraints);
        let format = if seed % 2 == 0 { "text" } else { "binary" };
        let config = format!(
            "[run]\nmax_rejects = \"100%\"\nformat = \"{format}\"\njobs = {}\n{}",
            1 + seed % 3,
            tables(&["c", "a", "b"])
        );
        let (_, outcome) = sync(&pair, &config);
        assert_eq!(outcome.code, Some(0), "seed {seed}: {}", outcome.stderr);
        pair.source.run(oracle);
        pair.source.run("select settle()");
        for table in ["a", "b", "c"] {
            let all = format!("select id from {table}");
            assert_eq!(ids(&pair.target, &all), ids(&pair.source, &all), "seed {seed}, table {table}");
        }
    }
}

#[test]
fn keys_that_the_target_rounds_are_judged_as_it_stores_them() {
    let pair = pair();
    pair.source.run(
        "create table p (k numeric(12,4)); create table c (id int, k numeric(12,4));
         insert into p values (1.005), (2); insert into c values (1, 1.005), (2, 2), (3, 1.01), (4, 2.004), (5, 2.006)",
    );
    pair.target.run(
        "create table p (k numeric(10,2) primary key); create table c (id int primary key, k numeric(10,2) references p)",
    );
    let (_, outcome) = sync(&pair, &format!("[run]\nmax_rejects = \"100%\"\n{}", tables(&["p", "c"])));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    assert_eq!(ids(&pair.target, "select id from c"), "1 2 3 4");
}
