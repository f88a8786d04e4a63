//! `delta`: only differences are written, under the eyes of every kind of foreign key.

use crate::scope::{counts, fails, list, succeeds, sync};
use crate::support::{Bulkload, Outcome, Pair, assert_same_contents, pair};

const DELTA: &str = "apply = 'delta'\n";

fn tables(names: &[&str]) -> String {
    names.iter().map(|name| format!("[[table]]\nname = '{name}'\n{DELTA}")).collect()
}

#[test]
fn triggers_fire_once_for_each_row_that_changes_and_for_no_other() {
    let pair = pair();
    let rows = "insert into t select i, 'v' || i, i::numeric / 3, array[i, null], jsonb_build_object('i', i) from generate_series(1, 1000) i";
    for db in [&pair.source, &pair.target] {
        db.run(&format!("create table t (id int primary key, v text, n numeric, a int[], j jsonb); {rows}"));
    }
    pair.source.run("update t set v = v || '!' where id % 100 = 0; delete from t where id % 250 = 1; insert into t (id) values (2000), (2001), (2002)");
    pair.target.run(
        "create table log (op text, id int);
         create function note() returns trigger language plpgsql as $$ begin insert into log values (tg_op, coalesce(new.id, old.id)); return null; end $$;
         create trigger note after insert or update or delete on t for each row execute function note()",
    );
    let outcome = sync(&pair, &tables(&["t"]));
    succeeds(&outcome);
    assert_eq!(counts(&outcome, "public.t"), [3, 10, 4, 986, 0]);
    assert_same_contents(&pair.source, &pair.target, "public.t");
    assert_eq!(
        list(&pair.target, "op, count(*), count(distinct id)", "log group by op"),
        "DELETE|4|4 INSERT|3|3 UPDATE|10|10"
    );
    pair.target.run("truncate log");
    let outcome = sync(&pair, &tables(&["t"]));
    assert_eq!(counts(&outcome, "public.t"), [0, 0, 0, 999, 0]);
    assert_eq!(pair.target.count("log"), 0);
}

#[test]
fn rows_are_compared_by_their_image_and_recognised_as_their_index_does() {
    let pair = pair();
    pair.source.run(
        "create table t (code text, n numeric, z float8);
         insert into t values ('ABC', 1.00, 0), ('def', 2, '-0')",
    );
    if !pair.target.creates_loose_collation() {
        return;
    }
    pair.target.run(
        "create table t (code text collate loose primary key, n numeric, z float8);
         insert into t values ('abc', 1.0, 0), ('def', 2, 0)",
    );
    let outcome = sync(&pair, &tables(&["t"]));
    succeeds(&outcome);
    assert_eq!(counts(&outcome, "public.t"), [0, 2, 0, 0, 0]);
    assert_eq!(list(&pair.target, "code, n, z", "t"), "ABC|1.00|0 def|2|-0");
}

#[test]
fn columns_that_are_not_loaded_stay_and_generated_ones_follow() {
    let pair = pair();
    pair.source.run("create table t (id int, a int); insert into t values (1, 10), (2, 20), (3, 30)");
    pair.target.run(
        "create table t (id int generated always as identity primary key, a int, kept text default 'fresh',
             twice int generated always as (a * 2) stored);
         insert into t (a, kept) values (1, 'mine'), (20, 'mine')",
    );
    let outcome = sync(&pair, &tables(&["t"]));
    succeeds(&outcome);
    assert_eq!(counts(&outcome, "public.t"), [1, 1, 0, 1, 0]);
    assert_eq!(list(&pair.target, "id, a, kept, twice", "t"), "1|10|mine|20 2|20|mine|40 3|30|fresh|60");
    assert_eq!(pair.target.value("insert into t (a) values (0) returning id"), "4");
}

#[test]
fn an_identity_that_cannot_be_updated_is_replaced() {
    let pair = pair();
    pair.source.run("create table t (code text, n int); insert into t values ('a', 7), ('b', 2)");
    pair.target.run(
        "create table t (code text primary key, n int generated always as identity, kept text);
         insert into t (code, kept) values ('a', 'x'), ('b', 'y')",
    );
    let outcome = sync(&pair, &tables(&["t"]));
    succeeds(&outcome);
    assert_eq!(counts(&outcome, "public.t"), [0, 1, 0, 1, 0]);
    assert_eq!(list(&pair.target, "code, n, kept", "t"), "a|7|x b|2|y");
}

#[test]
fn unique_values_that_rows_exchange_do_not_collide() {
    let pair = pair();
    pair.source.run(
        "create table t (id int primary key, u int, w text);
         insert into t values (1, 2, 'a'), (2, 3, 'b'), (3, 1, 'c'), (4, 5, 'D'), (5, 6, 'e'), (7, 4, 'g'), (8, null, 'd')",
    );
    pair.target.run(
        "create table t (id int primary key, u int unique, w text, kept text);
         create unique index on t (lower(w)) where id < 100;
         insert into t values (1, 1, 'c', 'k1'), (2, 2, 'a', 'k2'), (3, 3, 'b', 'k3'), (4, 4, 'x', 'k4'), (5, 5, 'y', 'k5'), (6, 6, 'g', 'k6'), (8, 8, 'e', 'k8')",
    );
    pair.source.run("update t set w = 'dd' where id = 8");
    let outcome = sync(&pair, &tables(&["t"]));
    succeeds(&outcome);
    assert_eq!(counts(&outcome, "public.t"), [1, 6, 1, 0, 0]);
    assert_eq!(
        list(&pair.target, "id, u, w, kept", "t"),
        "1|2|a|k1 2|3|b|k2 3|1|c|k3 4|5|D|k4 5|6|e|k5 7|4|g 8|dd|k8"
    );
}

#[test]
fn no_action_of_a_foreign_key_runs_because_of_rows_that_vanish() {
    for action in ["no action", "restrict", "cascade", "set null", "set default"] {
        let pair = pair();
        pair.source
            .run("create table p (id int primary key, v text); insert into p values (1, 'new'), (2, 'new')");
        pair.target.run(&format!(
            "create table p (id int primary key, v text);
             insert into p values (1, 'old'), (2, 'old'), (3, 'old'), (4, 'old');
             create table outside (id int primary key, p_id int default 1 references p on delete {action} on update cascade);
             insert into outside values (10, 1), (11, 3), (12, 3), (13, null)"
        ));
        let outcome = sync(&pair, &tables(&["p"]));
        fails(&outcome, "public.p", &["2 rows of public.outside (outside_p_id_fkey)", ": id=3"]);
        assert_eq!(list(&pair.target, "id, p_id", "outside"), "10|1 11|3 12|3 13", "{action}");
        assert_eq!(list(&pair.target, "id, v", "p"), "1|old 2|old 3|old 4|old", "{action}");
        pair.target.run("update outside set p_id = 2 where p_id = 3");
        succeeds(&sync(&pair, &tables(&["p"])));
        assert_eq!(list(&pair.target, "id, p_id", "outside"), "10|1 11|2 12|2 13", "{action}");
        assert_eq!(list(&pair.target, "id, v", "p"), "1|new 2|new", "{action}");
    }
}

#[test]
fn a_referenced_value_that_changes_is_searched_for_too() {
    for (action, moved) in [("no action", true), ("cascade", false), ("set null", false)] {
        let pair = pair();
        pair.source
            .run("create table p (id int, code text); insert into p values (1, 'b'), (2, 'a'), (3, 'd')");
        pair.target.run(&format!(
            "create table p (id int primary key, code text unique);
             insert into p values (1, 'a'), (2, 'b'), (3, 'c');
             create table outside (id int, code text references p (code) on update {action} on delete {action});
             insert into outside values (10, 'a'), (11, 'b')"
        ));
        let outcome = sync(&pair, &tables(&["p"]));
        // Where nothing would be changed in the referring rows, it is enough that some row has the value.
        assert_eq!(outcome.code, Some(i32::from(!moved)), "{action}: {outcome}");
        assert_eq!(list(&pair.target, "id, code", "outside"), "10|a 11|b", "{action}");
        pair.target.run("delete from outside; insert into outside select 12, code from p where id = 3");
        pair.source.run("update p set code = 'e' where id = 3");
        fails(&sync(&pair, &tables(&["p"])), "public.p", &["1 rows of public.outside", "code="]);
    }
}

#[test]
fn no_action_of_a_foreign_key_runs_because_of_another_spelling_of_an_equal_key() {
    for method in ["apply = 'delta'", "strategy = 'upsert'"] {
        for action in ["no action", "restrict", "cascade", "set null", "set default"] {
            let pair = pair();
            pair.source.run(
                "create table p (id numeric, v text); insert into p values (1.00, 'new'), (2.00, 'new'), (3, 'new');
                 create table c (id int, p_id numeric); insert into c values (1, 2.0)",
            );
            pair.target.run(&format!(
                "create table p (id numeric primary key, v text); insert into p values (1.0, 'old'), (2.0, 'old'), (3, 'old');
                 create table outside (id int, p_id numeric default 3 references p on update {action});
                 insert into outside values (10, 1.0), (11, 3);
                 create table c (id int primary key, p_id numeric references p on update cascade);
                 insert into c values (1, 2.0)"
            ));
            let config: String =
                ["p", "c"].map(|name| format!("[[table]]\nname = '{name}'\n{method}\n")).concat();
            let outcome = sync(&pair, &config);
            let is_refused = action != "no action";
            assert_eq!(outcome.code, Some(i32::from(is_refused)), "{action}: {outcome}");
            assert_eq!(list(&pair.target, "id, p_id", "outside"), "10|1.0 11|3", "{action}");
            if !is_refused {
                assert_eq!(list(&pair.target, "id, v", "p"), "1.00|new 2.00|new 3|new");
                continue;
            }
            let said = ["1 rows of public.outside (outside_p_id_fkey)", "would trigger ON UPDATE: id=1.0"];
            fails(&outcome, "public.p", &said);
            assert_eq!(list(&pair.target, "id, v", "p"), "1.0|old 2.0|old 3|old", "{action}");
            // Only what the run does not load counts: its own rows follow the key until the next run.
            pair.target.run("delete from outside where id = 10");
            succeeds(&sync(&pair, &config));
            assert_eq!(list(&pair.target, "id, v", "p"), "1.00|new 2.00|new 3|new", "{action}");
            assert_eq!(list(&pair.target, "id, p_id", "outside"), "11|3", "{action}");
            assert_eq!(list(&pair.target, "id, p_id = 2", "c"), "1|t", "{action}");
        }
    }
}

/// Applies `p` and `ch` by delta, after rows `old` of both sides have become `new` on the source.
#[track_caller]
fn applies(tables_of_both: &str, old: &str, new: &str) -> (Pair, Outcome) {
    let pair = pair();
    pair.source.run(&format!("{tables_of_both}; {old}; {new}"));
    pair.target.run(&format!("{tables_of_both}; {old}"));
    let outcome = sync(&pair, &tables(&["p", "ch"]));
    (pair, outcome)
}

#[test]
fn no_action_of_a_foreign_key_reaches_rows_that_the_same_run_writes() {
    let exchanged = "update p set u = -u; update p set u = 20 where id = 1; update p set u = 10 where id = 2";
    for action in ["no action", "restrict", "cascade", "set null", "set default"] {
        let actions = format!("on delete {action} on update {action}");
        let cases = [
            // Rows that exchange unique values are deleted and inserted again.
            (
                format!("create table p (id int primary key, u int unique); create table ch (id int primary key, p int references p {actions}, v text)"),
                "insert into p values (1, 10), (2, 20), (3, 30); insert into ch values (9, 3, 'stays')",
                format!("{exchanged}; insert into ch values (1, 1, 'new'), (2, 2, 'new')"),
            ),
            // Another row gets the value of a deleted one, or of one that changes.
            (
                format!("create table p (id int primary key, code text unique); create table ch (id int primary key, code text references p (code) {actions})"),
                "insert into p values (1, 'A'), (2, 'B'), (3, 'C')",
                "delete from p where id = 1; update p set code = 'Z' where id = 2; insert into p values (4, 'A'), (5, 'B'); insert into ch values (1, 'A'), (2, 'B'), (3, 'C')".to_owned(),
            ),
            // The new rows refer to each other.
            (
                format!("create table p (id int primary key, u int unique); create table ch (id int primary key, p int references p {actions}, up int references ch {actions})"),
                "insert into p values (1, 10), (2, 20)",
                format!("{exchanged}; insert into ch values (2, 2, null), (1, 1, 2)"),
            ),
        ];
        for (schema, old, new) in cases {
            let (pair, outcome) = applies(&schema, old, &new);
            succeeds(&outcome);
            assert_same_contents(&pair.source, &pair.target, "public.p");
            assert_same_contents(&pair.source, &pair.target, "public.ch");
        }
        let (pair, outcome) = applies(
            &format!(
                "create table p (id int primary key, u int unique); create table ch (id int primary key, p int references p {actions})"
            ),
            "insert into p values (1, 10), (2, 20), (3, 30); insert into ch values (1, 3), (2, 3)",
            &format!("{exchanged}; update ch set p = id"),
        );
        if action == "no action" {
            succeeds(&outcome);
            assert_same_contents(&pair.source, &pair.target, "public.ch");
        } else {
            let said = ["2 rows of public.ch (ch_p_fkey) change", "sets off the action", "id=1; id=2"];
            fails(&outcome, "public.p", &said);
            assert_eq!(list(&pair.target, "id, p", "ch"), "1|3 2|3", "{action}");
        }
    }
}

#[test]
fn a_new_row_below_one_that_is_replaced_arrives() {
    let pair = pair();
    let schema = "create table n (id int primary key, up int references n on delete cascade, u int unique);
        insert into n values (1, null, 10), (2, null, 20)";
    pair.source.run(&format!(
        "{schema}; update n set u = -u; update n set u = 20 where id = 1; update n set u = 10 where id = 2;
         insert into n values (3, 1, 30), (4, 3, 40)"
    ));
    pair.target.run(schema);
    succeeds(&sync(&pair, &tables(&["n"])));
    assert_same_contents(&pair.source, &pair.target, "public.n");
}

#[test]
fn a_group_moves_children_from_parents_that_vanish_to_new_ones() {
    for timing in ["not deferrable", "deferrable initially immediate", "deferrable initially deferred"] {
        for action in ["no action", "cascade", "restrict"] {
            let pair = pair();
            pair.source.run(
                "create table p (id int primary key, up int);
                 create table c (id int primary key, p_id int not null, v text);
                 insert into p values (2, null), (3, 2), (4, 3);
                 insert into c values (10, 2, 'a'), (11, 3, 'b'), (12, 4, 'new')",
            );
            pair.target.run(&format!(
                "create table p (id int primary key, up int references p on delete {action} {timing});
                 create table c (id int primary key, p_id int not null references p on delete {action} {timing}, v text);
                 insert into p values (1, null), (2, 1), (5, 5);
                 insert into c values (10, 1, 'a'), (11, 2, 'b'), (13, 1, 'gone'), (14, 5, 'gone')"
            ));
            let outcome = sync(&pair, &tables(&["c", "p"]));
            succeeds(&outcome);
            assert_eq!(counts(&outcome, "public.c"), [1, 2, 2, 0, 0], "{action} {timing}");
            assert_eq!(counts(&outcome, "public.p"), [2, 1, 2, 0, 0], "{action} {timing}");
            assert_same_contents(&pair.source, &pair.target, "public.p");
            assert_same_contents(&pair.source, &pair.target, "public.c");
        }
    }
}

#[test]
fn tables_that_refer_to_each_other_in_a_circle_are_merged_together() {
    let pair = pair();
    let schema = "create table a (id int primary key, b_id int); create table b (id int primary key, a_id int not null);";
    pair.source.run(&format!(
        "{schema} insert into a values (2, 2), (3, 3), (4, null); insert into b values (2, 3), (3, 2)"
    ));
    pair.target.run(&format!(
        "{schema} insert into a values (1, 1), (2, null); insert into b values (1, 1), (2, 2);
         alter table a add foreign key (b_id) references b on delete cascade;
         alter table b add foreign key (a_id) references a on delete cascade"
    ));
    succeeds(&sync(&pair, &tables(&["a", "b"])));
    assert_same_contents(&pair.source, &pair.target, "public.a");
    assert_same_contents(&pair.source, &pair.target, "public.b");
}

#[test]
fn a_group_may_mix_methods_and_strategies() {
    let pair = pair();
    pair.source.run(
        "create table p (id int primary key, v text); create table c (id int primary key, p_id int);
         create table n (id int primary key, p_id int);
         insert into p values (1, 'new'), (3, 'new'); insert into c values (10, 3); insert into n values (20, 3), (21, 1)",
    );
    pair.target.run(
        "create table p (id int primary key, v text); create table c (id int primary key, p_id int references p on delete cascade);
         create table n (id int primary key, p_id int references p on delete cascade);
         insert into p values (1, 'old'), (2, 'old'); insert into c values (10, 2), (11, 2); insert into n values (21, 2), (22, 1)",
    );
    let config = |c: &str, n: &str| {
        format!("{}[[table]]\nname = 'c'\n{c}\n[[table]]\nname = 'n'\n{n}\n", tables(&["p"]))
    };
    // What an insert leaves alone refers to what vanishes.
    let outcome = sync(&pair, &config("apply = 'delete'", "strategy = 'insert'"));
    fails(&outcome, "public.p", &["1 rows of public.n", "id=2"]);
    let outcome = sync(&pair, &config("apply = 'delete'", "strategy = 'upsert'"));
    succeeds(&outcome);
    assert_eq!(counts(&outcome, "public.n"), [1, 1, 0, 0, 0]);
    assert_eq!(list(&pair.target, "id, p_id", "n"), "20|3 21|1 22|1");
    assert_same_contents(&pair.source, &pair.target, "public.p");
    assert_same_contents(&pair.source, &pair.target, "public.c");
}

#[test]
fn partitioned_tables_are_merged_across_their_partitions() {
    let pair = pair();
    let rows = "insert into t select i, date '2026-01-01' + i, 'v' || i from generate_series(0, 99) i";
    pair.source.run(&format!("create table t (id int, d date, v text); {rows}; update t set v = 'new' where id % 10 = 0; delete from t where id % 10 = 1"));
    pair.target.run(&format!(
        "create table t (id int, d date, v text, primary key (id, d)) partition by range (d);
         create table t1 partition of t for values from ('2026-01-01') to ('2026-02-01');
         create table t2 partition of t default; {rows}; insert into t values (500, '2026-01-05', 'gone')"
    ));
    let outcome = sync(&pair, &tables(&["t"]));
    succeeds(&outcome);
    assert_eq!(counts(&outcome, "public.t"), [0, 10, 11, 80, 0]);
    assert_same_contents(&pair.source, &pair.target, "public.t");
}

#[test]
fn what_others_write_between_comparison_and_lock_is_compared_again() {
    let pair = pair();
    pair.source.run("create table t (id int primary key, v text); insert into t values (1, 'new'), (2, 'new'), (3, 'new'), (4, 'same')");
    pair.target.run("create table t (id int primary key, v text); insert into t values (1, 'old'), (2, 'old'), (4, 'same'), (5, 'gone'), (6, 'gone')");
    let mut running = Bulkload::on(&pair).config(&tables(&["t"])).hold_at("apply.compared").spawn(&[
        "sync",
        "--report",
        "report.json",
    ]);
    running.wait_until_held();
    pair.target.run(
        "update t set v = 'new' where id = 1; delete from t where id in (2, 6); insert into t values (3, 'theirs'), (7, 'theirs');
         update t set v = 'moved' where id = 5; update t set v = 'theirs' where id = 4",
    );
    running.go();
    let outcome = running.wait();
    succeeds(&outcome);
    // 4 and 7 were no difference when it was compared: written after the sync, as it were.
    assert_eq!(list(&pair.target, "id, v", "t"), "1|new 2|new 3|new 4|theirs 7|theirs");
    assert_eq!(counts(&outcome, "public.t"), [1, 1, 1, 2, 0]);
    succeeds(&sync(&pair, &tables(&["t"])));
    assert_same_contents(&pair.source, &pair.target, "public.t");
}

#[test]
fn a_reference_that_is_made_while_the_lock_is_taken_is_found() {
    let pair = pair();
    pair.source.run("create table p (id int primary key); insert into p values (1)");
    pair.target.run(
        "create table p (id int primary key); insert into p values (1), (2);
         create table outside (p_id int references p on delete cascade)",
    );
    let child = pair.target.session();
    child.run("begin; insert into outside values (2)");
    let config = format!("[run]\nlock_timeout = '100ms'\n{}", tables(&["p"]));
    let mut running = Bulkload::on(&pair).config(&config).spawn(&["sync", "--report", "report.json"]);
    running.wait_for_stderr("waiting for locks");
    child.run("commit");
    fails(&running.wait(), "public.p", &["1 rows of public.outside", "id=2"]);
    assert_eq!(pair.target.count("outside"), 1);
}

#[test]
fn an_unchanged_table_is_not_written() {
    let pair = pair();
    let rows = "create table t (id int primary key, v text); insert into t select i, 'v' || i from generate_series(1, 20000) i";
    pair.source.run(rows);
    pair.target.run(rows);
    let before = pair.target.value("select string_agg(xmin::text || ctid::text, '' order by id) from t");
    let outcome = sync(&pair, &tables(&["t"]));
    succeeds(&outcome);
    assert_eq!(counts(&outcome, "public.t"), [0, 0, 0, 20000, 0]);
    assert!(
        before == pair.target.value("select string_agg(xmin::text || ctid::text, '' order by id) from t")
    );
}

#[test]
fn random_tables_differ_as_a_full_join_of_postgres_says() {
    // Every row is drawn from few values of many types, on both sides, so that all outcomes occur.
    let columns = "id int, part text, b bool, i8 bigint, n numeric, f float8, t text, c char(5), v varchar(9), d date, ts timestamptz,
        iv interval, u uuid, j json, jb jsonb, by bytea, a int[], ta text[], ip inet, r int4range, pt point, bits bit varying(9)";
    let fill = |seed: f64| {
        format!(
            "select setseed({seed});
             insert into t select g % 400, chr(97 + g / 400), r1 > 0.5, (r1 * 3)::int, (r1 * 3)::int::numeric(9, 2) / 2,
                 case when r2 > 0.9 then 'NaN' when r2 > 0.8 then '-0' else 1.5 end, case when r1 > 0.2 then 'x' end, 'ab',
                 repeat('y', (r2 * 2)::int), date '2026-01-01' + (r1 * 2)::int, timestamptz '2026-01-01' + (r2 * 2)::int * interval '1 h',
                 make_interval(0, (r1 * 2)::int, 0, 30 * (r2 * 2)::int), md5((r1 * 2)::int::text)::uuid, '{{\"a\": 1}}',
                 jsonb_build_object('k', (r2 * 2)::int), case when r2 > 0.3 then '\\x00ff'::bytea end, array[(r1 * 2)::int, null], '{{a,NULL}}',
                 '10.0.0.1/8', int4range(1, 2 + (r2 * 2)::int), point(0, (r1 * 2)::int), b'101'
             from (select g, random() as r1, random() as r2, random() as r3 from generate_series(0, 799) g) x where r3 > 0.2"
        )
    };
    let pair = pair();
    pair.source.run(&format!("create table t ({columns}); {}", fill(0.1)));
    pair.target.run(&format!("create table t ({columns}, primary key (id, part)); {}", fill(0.7)));
    // The source's rows, brought over by the program into a table of their own, for the oracle.
    pair.target.run(&format!("create table theirs ({columns})"));
    succeeds(&sync(&pair, "[[table]]\nname = 'theirs'\nfrom = 't'\n"));
    let oracle = pair.target.rows(
        "select count(*) filter (where t.id is null)::text, count(*) filter (where t.*::text <> s.*::text)::text,
             count(*) filter (where s.id is null)::text, count(*) filter (where t.*::text = s.*::text)::text
         from theirs s full join t using (id, part)",
    );
    let expected: Vec<u64> =
        oracle[0].iter().map(|value| value.as_deref().unwrap().parse().unwrap()).collect();
    assert!(expected.iter().all(|&rows| rows > 0), "{expected:?}");
    let outcome = sync(&pair, &tables(&["t"]));
    succeeds(&outcome);
    assert_eq!(counts(&outcome, "public.t")[..4], expected[..]);
    assert_same_contents(&pair.source, &pair.target, "public.t");
}
