//! `upsert` and `insert`, and every strategy beside people who write to the same table.

use crate::scope::{counts, fails, list, succeeds, sync};
use crate::support::{Bulkload, Over, Pair, assert_same_contents, pair};

fn config(strategy: &str) -> String {
    format!("[[table]]\nname = 't'\nstrategy = '{strategy}'\n")
}

fn world() -> Pair {
    let pair = pair();
    pair.source.run(
        "create table t (id int primary key, code text, v text, source text);
         insert into t values (1, 'a', 'new', 'D'), (2, 'b', 'same', 'D'), (4, 'd', 'new', 'D'), (10, 'x', 'mine', 'D'), (5, 'mob', 'new', 'D')",
    );
    pair.target.run(
        "create table t (id int primary key, code text unique, v text, source text, note text default 'fresh');
         insert into t values (1, 'a', 'old', 'D', 'n'), (2, 'b', 'same', 'D', 'n'), (3, 'c', 'stays', 'D', 'n'),
             (10, 'm', 'mobile', 'M', 'n'), (11, 'mob', 'mobile', 'M', 'n');
         create table log (op text, id int);
         create function note() returns trigger language plpgsql as $$ begin insert into log values (tg_op, new.id); return null; end $$;
         create trigger note after insert or update on t for each row execute function note()",
    );
    pair
}

#[test]
fn an_upsert_updates_only_what_is_in_scope_and_differs() {
    let pair = world();
    let config = format!("{}scope = \"source = 'D'\"\n", config("upsert"));
    let outcome = sync(&pair, &config);
    succeeds(&outcome);
    assert_eq!(counts(&outcome, "public.t"), [1, 1, 0, 1, 2]);
    assert_eq!(outcome.table("public.t")["apply"], serde_json::Value::Null);
    assert_eq!(
        list(&pair.target, "id, v, note", "t"),
        "10|mobile|n 11|mobile|n 1|new|n 2|same|n 3|stays|n 4|new|fresh"
    );
    assert_eq!(list(&pair.target, "op, id", "log"), "INSERT|4 UPDATE|1");
    succeeds(&sync(&pair, &config));
    assert_eq!(pair.target.count("log"), 2);
}

#[test]
fn an_insert_leaves_every_row_that_is_there_alone() {
    let pair = world();
    let outcome = sync(&pair, &config("insert"));
    succeeds(&outcome);
    // 5 has a unique value of a row that is there.
    assert_eq!(counts(&outcome, "public.t"), [1, 0, 0, 0, 4]);
    assert_eq!(list(&pair.target, "id, v", "t"), "10|mobile 11|mobile 1|old 2|same 3|stays 4|new");
    assert_eq!(list(&pair.target, "op, id", "log"), "INSERT|4");
}

#[test]
fn an_upsert_that_collides_with_a_row_of_its_own_fails() {
    let pair = world();
    fails(&sync(&pair, &config("upsert")), "public.t", &["t_code_key"]);
    assert_eq!(pair.target.count("log"), 0);
}

#[test]
fn a_key_that_does_not_identify_rows_at_once_is_refused_with_the_reason() {
    for (ddl, why) in [
        ("", "there is no unique index on the key"),
        ("create unique index \"some\" on t (uid) where id > 0", "is partial"),
        ("create unique index \"some\" on t (lower(uid))", "is over expressions"),
        ("alter table t add constraint \"some\" unique (uid) deferrable", "is deferrable"),
    ] {
        let pair = pair();
        pair.source.run("create table t (id int primary key, uid text); insert into t values (1, 'a')");
        pair.target.run(&format!("create table t (id int primary key, uid text); {ddl}"));
        for strategy in ["upsert", "insert"] {
            let outcome = sync(&pair, &format!("{}key = ['uid']\n", config(strategy)));
            assert_eq!(outcome.code, Some(2), "{outcome}");
            for word in [why, "bulkload.toml:6:7", "create unique index on public.t (uid);"] {
                assert!(outcome.stderr.contains(word), "{word}: {outcome}");
            }
        }
        pair.target.run("alter table t drop constraint if exists \"some\"; drop index if exists \"some\"; create unique index on t (uid)");
        succeeds(&sync(&pair, &format!("{}key = ['uid']\n", config("upsert"))));
        assert_eq!(pair.target.count("t"), 1);
    }
}

#[test]
fn identities_and_generated_columns_are_right_with_every_strategy() {
    let pair = pair();
    pair.source
        .run("create table t (code text, a int, id int); insert into t values ('x', 5, 50), ('y', 6, 60)");
    for (strategy, expected) in [
        ("upsert", "x|5|10|1 y|6|12|60"),
        ("insert", "x|1|2|1 y|6|12|60"),
        ("replace", "x|5|10|50 y|6|12|60"),
    ] {
        pair.target.run(
            "drop table if exists t; create table t (code text primary key, a int, id int generated always as identity, twice int generated always as (a * 2) stored);
             insert into t (code, a) values ('x', 1)",
        );
        for _ in 0..2 {
            succeeds(&sync(&pair, &config(strategy)));
            assert_eq!(list(&pair.target, "code, a, twice, id", "t"), expected, "{strategy}");
        }
        assert_eq!(pair.target.value("insert into t (code) values ('z') returning id"), "61", "{strategy}");
    }
}

#[test]
fn partitioned_targets_take_every_strategy() {
    for (strategy, expected) in
        [("upsert", "1|new 2|new 3|old"), ("insert", "1|old 2|new 3|old"), ("replace", "1|new 2|new")]
    {
        let pair = pair();
        pair.source.run("create table t (id int, v text); insert into t values (1, 'new'), (2, 'new')");
        pair.target.run(
            "create table t (id int primary key, v text) partition by hash (id);
             create table t0 partition of t for values with (modulus 2, remainder 0);
             create table t1 partition of t for values with (modulus 2, remainder 1);
             insert into t values (1, 'old'), (3, 'old')",
        );
        succeeds(&sync(&pair, &config(strategy)));
        assert_eq!(list(&pair.target, "id, v", "t"), expected, "{strategy}");
    }
}

#[test]
fn children_may_refer_to_rows_that_an_upsert_leaves_in_place() {
    let pair = pair();
    pair.source.run(
        "create table t (id int, v text); insert into t values (1, 'new');
         create table c (id int, t_id int); insert into c values (1, 1), (2, 9), (3, 8)",
    );
    pair.target.run(
        "create table t (id int primary key, v text); insert into t values (9, 'old');
         create table c (id int primary key, t_id int references t)",
    );
    let config =
        format!("[run]\nmax_rejects = 1\n{}[[table]]\nname = 'c'\nstrategy = 'insert'\n", config("upsert"));
    let outcome = sync(&pair, &config);
    succeeds(&outcome);
    assert_eq!(list(&pair.target, "id, t_id", "c"), "1|1 2|9");
    assert_eq!(outcome.table("public.c")["rejected"], 1);
}

#[test]
fn rows_of_others_survive_every_strategy_while_they_are_written() {
    for (strategy, apply) in [("replace", "delta"), ("replace", "delete"), ("upsert", ""), ("insert", "")] {
        let pair = pair();
        pair.source.run(
            "create table t (id int primary key, v text, source text default 'D');
             insert into t select i, 'new', 'D' from generate_series(1, 3000) i",
        );
        pair.target.run(
            "create table t (id int primary key, v text, source text default 'D');
             create table outside (id int primary key, t_id int references t on delete cascade);
             insert into t select i, 'old', 'D' from generate_series(1, 1500) i;
             insert into t select i, '0', 'M' from generate_series(10001, 10200) i;
             insert into outside select i, i from generate_series(10001, 10200) i;
             create table journal (id int primary key, v text)",
        );
        if apply == "delete" {
            pair.target.run("drop table outside");
        }
        let over = Over::default();
        let apply = if apply.is_empty() { String::new() } else { format!("apply = '{apply}'\n") };
        let config =
            format!("[run]\nlock_timeout = '2s'\n{}{apply}scope = \"source = 'D'\"\n", config(strategy));
        let written = std::thread::scope(|scope| {
            let ending = over.when_dropped();
            let writers: Vec<_> = (0..2)
                .map(|writer| {
                    let (pair, over) = (&pair, &over);
                    scope.spawn(move || {
                        let session = pair.target.session();
                        let mut n = 0;
                        while !over.is_over() {
                            let (own, fresh) = (10001 + writer * 100 + n % 100, 20000 + writer * 100_000 + n);
                            let ours = 1 + (writer * 700 + n) % 1500;
                            session.run(&format!(
                                "begin; update t set v = '{n}' where id = {own};
                                 insert into journal values ({own}, '{n}') on conflict (id) do update set v = excluded.v;
                                 insert into t values ({fresh}, '{n}', 'M'); insert into journal values ({fresh}, '{n}'); commit;
                                 update t set v = 'theirs' where id = {ours} and source = 'D'"
                            ));
                            if n % 5 == 0 {
                                let ours = 1 + (writer * 700 + n + 3) % 1500;
                                session.run(&format!("delete from t where id = {ours} and source = 'D'"));
                                session.run(&format!("insert into t values ({ours}, 'theirs', 'D') on conflict do nothing"));
                            }
                            if n % 3 == 0 {
                                session.run(&format!("begin; delete from t where id = {fresh}; delete from journal where id = {fresh}; commit"));
                            }
                            n += 1;
                        }
                        n
                    })
                })
                .collect();
            for _ in 0..3 {
                succeeds(&sync(&pair, &config));
            }
            drop(ending);
            writers.into_iter().map(|writer| writer.join().unwrap()).sum::<i32>()
        });
        assert!(written > 0);
        let lost = "journal j full join (select * from t where source = 'M') m using (id)
            where j.v is distinct from m.v and not (j.id is null and m.v = '0')";
        assert_eq!(list(&pair.target, "id, j.v, m.v", lost), "", "{strategy} {apply}");
        assert_eq!(pair.target.value("select count(*) from t where id between 10001 and 10200"), "200");
        succeeds(&sync(&pair, &config));
        if strategy != "insert" {
            pair.target.run("delete from t where source = 'M'");
            assert_same_contents(&pair.source, &pair.target, "public.t");
        }
    }
}

#[test]
fn a_strategy_killed_while_it_is_applied_is_all_or_nothing() {
    let all = |pair: &Pair| list(&pair.target, "t.*", "t");
    for (strategy, point, is_applied) in [
        ("upsert", "apply.compared", false),
        ("upsert", "apply.locked", false),
        ("upsert", "apply.exchanged", false),
        ("insert", "apply.exchanged", false),
        ("upsert", "apply.committed", true),
        ("insert", "apply.committed", true),
    ] {
        let config = format!("{}scope = \"source = 'D'\"\n", config(strategy));
        let expected = {
            let pair = world();
            succeeds(&sync(&pair, &config));
            all(&pair)
        };
        let pair = world();
        let before = all(&pair);
        let mut running = Bulkload::on(&pair).config(&config).hold_at(point).spawn(&["sync"]);
        running.wait_until_held();
        assert_eq!(running.kill_9().code, None);
        assert_eq!(&all(&pair), if is_applied { &expected } else { &before }, "{strategy} at {point}");
        succeeds(&sync(&pair, &config));
        assert_eq!(all(&pair), expected, "{strategy} after {point}");
    }
}

#[test]
fn a_role_that_may_not_keep_differences_is_told_so_before_anything_is_touched() {
    let mut pair = pair();
    pair.source.run("create table t (id int primary key); insert into t values (1), (2)");
    let role = pair.target.role("login");
    pair.target.run(&format!(
        "create table t (id int primary key); insert into t values (1), (3);
         grant all on t to {role}; create schema staged authorization {role};
         revoke temporary on database {} from public",
        pair.target.name()
    ));
    let url = pair.target.url_as(&role);
    let program = |table: &str| {
        let config = format!("[run]\nstaging_schema = 'staged'\n{table}");
        Bulkload::on(&pair).env("TARGET_DATABASE_URL", &url).config(&config)
    };
    for table in [config("upsert"), config("insert"), "[[table]]\nname = 't'\napply = 'delta'\n".to_owned()] {
        let outcome = program(&table).sync();
        assert_eq!(outcome.code, Some(2), "{outcome}");
        assert!(outcome.stderr.contains("may not create temporary tables"), "{outcome}");
    }
    let outcome = program("[[table]]\nname = 't'\n").sync();
    succeeds(&outcome);
    assert_eq!(outcome.table("public.t")["apply"], "delete");
}

#[test]
fn a_merge_of_a_table_that_somebody_reads_never_waits_for_readers() {
    let pair = world();
    let reader = pair.target.session();
    reader.run("begin isolation level repeatable read; select * from t");
    succeeds(
        &Bulkload::on(&pair)
            .config(&format!("[run]\nlock_wait = '1s'\n{}scope = \"source = 'D'\"\n", config("upsert")))
            .sync(),
    );
    assert_eq!(reader.value("select v from t where id = 1"), "old");
    reader.run("rollback");
}
