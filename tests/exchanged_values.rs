//! Values of unique indexes and exclusion constraints that move between rows of a table.

use crate::scope::{counts, fails, list, succeeds, sync};
use crate::support::{Pair, assert_same_contents, pair};

const DELTA: &str = "[[table]]\nname = 't'\napply = 'delta'\n";

/// A table `t` on both sides, with `more` on the target.
fn exchange(columns: &str, more: &str, source: &str, target: &str) -> Pair {
    let pair = pair();
    pair.source.run(&format!("create table t ({columns}); insert into t values {source}"));
    pair.target.run(&format!("create table t ({columns}{more}); insert into t values {target}"));
    pair
}

#[test]
fn ranges_that_rows_exchange_do_not_overlap_on_the_way() {
    let columns = "id int primary key, room int, during int4range, v text";
    for (constraint, replaced) in [
        ("exclude using gist (during with &&)", true),
        ("exclude using gist (int4range(lower(during), upper(during)) with &&) where (room > 0)", true),
        ("exclude using gist (during with &&) deferrable initially immediate", false),
        ("exclude using gist (during with &&) deferrable initially deferred", false),
        ("exclude using btree (during with =)", true),
    ] {
        let pair = exchange(
            columns,
            &format!(", kept text default 'k', {constraint}"),
            "(1, 1, '[5,10)', 'a'), (2, 1, '[1,5)', 'b'), (3, 1, '[20,40)', 'c'), (4, 1, '[40,50)', 'd'), (6, 1, '[60,70)', 'f')",
            "(1, 1, '[1,5)', 'a', 'mine'), (2, 1, '[5,10)', 'b', 'mine'), (3, 1, '[20,30)', 'c', 'mine'), (4, 1, '[30,50)', 'd', 'mine'),
             (5, 1, '[60,70)', 'gone', 'mine')",
        );
        let outcome = sync(&pair, DELTA);
        succeeds(&outcome);
        assert_eq!(counts(&outcome, "public.t"), [1, 4, 1, 0, 0], "{constraint}");
        assert_eq!(
            list(&pair.target, "id, during, v, kept", "t"),
            "1|[5,10)|a|mine 2|[1,5)|b|mine 3|[20,40)|c|mine 4|[40,50)|d|mine 6|[60,70)|f|k",
            "{constraint}"
        );
        // Rows that can be updated are: their inserts are not this transaction's.
        pair.source.run(
            "update t set during = case id when 1 then '[1,5)'::int4range else '[5,10)' end where id < 3",
        );
        pair.target.run(
            "create table log (op text); create function note() returns trigger language plpgsql as $$
            begin insert into log values (tg_op); return null; end $$;
            create trigger note after insert or update on t for each row execute function note()",
        );
        succeeds(&sync(&pair, DELTA));
        let expected = if replaced { "INSERT|2" } else { "UPDATE|2" };
        assert_eq!(list(&pair.target, "op, count(*)", "log group by op"), expected, "{constraint}");
    }
}

#[test]
fn values_that_generated_columns_and_unloaded_columns_make_are_known() {
    let pair = pair();
    pair.source.run(
        "create table t (id int primary key, low int, high int, code text);
         insert into t values (1, 5, 10, 'b'), (2, 1, 5, 'a')",
    );
    pair.target.run(
        "create table t (id int primary key, low int, high int, code text, tenant int default 1,
             during int4range generated always as (int4range(low, high)) stored,
             exclude using gist (during with &&), unique (tenant, code));
         insert into t values (1, 1, 5, 'a', 7), (2, 5, 10, 'b', 7)",
    );
    let outcome = sync(&pair, DELTA);
    succeeds(&outcome);
    assert_eq!(counts(&outcome, "public.t"), [0, 2, 0, 0, 0]);
    assert_eq!(list(&pair.target, "id, during, code, tenant", "t"), "1|[5,10)|b|7 2|[1,5)|a|7");
}

#[test]
fn a_replaced_row_that_is_referenced_with_an_action_fails_the_group_with_its_key() {
    for (constraint, moves) in [
        ("during int4range, exclude using gist (during with &&)", ["'[1,5)'", "'[5,10)'"]),
        ("during int4range unique", ["'[1,5)'", "'[5,10)'"]),
    ] {
        for (action, is_refused) in [
            ("cascade", true),
            ("set null", true),
            ("set default", true),
            ("restrict", true),
            ("no action", false),
            ("no action deferrable initially deferred", false),
        ] {
            for in_run in [false, true] {
                let [a, b] = moves;
                let pair = pair();
                let child = "create table c (id int primary key, t_id int, v text)";
                pair.source.run(&format!(
                    "create table t (id int primary key, during int4range); insert into t values (1, {b}), (2, {a});
                     {child}; insert into c values (10, 1, 'new')"
                ));
                pair.target.run(&format!(
                    "create table t (id int primary key, {constraint}); insert into t values (1, {a}), (2, {b});
                     {child}; insert into c values (10, 1, 'old'); alter table c add foreign key (t_id) references t on delete {action}"
                ));
                let more = if in_run { "[[table]]\nname = 'c'\napply = 'delta'\n" } else { "" };
                let outcome = sync(&pair, &format!("{DELTA}{more}"));
                let what = format!("{constraint} {action} {in_run}");
                if is_refused {
                    fails(&outcome, "public.t", &["1 rows of public.c (c_t_id_fkey)", "ON DELETE: id=1"]);
                    assert_eq!(list(&pair.target, "id, during", "t"), "1|[1,5) 2|[5,10)", "{what}");
                    assert_eq!(list(&pair.target, "id, t_id, v", "c"), "10|1|old", "{what}");
                    assert!(outcome.stdout.contains("DEFERRABLE"), "{what}: {outcome}");
                } else {
                    succeeds(&outcome);
                    assert_same_contents(&pair.source, &pair.target, "public.t");
                    assert_eq!(list(&pair.target, "id, t_id", "c"), "10|1", "{what}");
                }
            }
        }
    }
}

#[test]
fn periods_of_a_temporal_key_move_between_rows() {
    let pair = pair();
    if pair.target.version() < 180_000 {
        return;
    }
    pair.source.run(
        "create table t (id int primary key, room int4range, during int4range);
         insert into t values (1, '[1,2)', '[1,7)'), (2, '[1,2)', '[7,10)'), (3, '[2,3)', '[1,10)')",
    );
    pair.target.run(
        "create table t (id int unique not null, room int4range, during int4range, primary key (room, during without overlaps));
         insert into t values (1, '[1,2)', '[1,5)'), (2, '[1,2)', '[5,10)'), (3, '[2,3)', '[1,10)');
         create table c (room int4range, during int4range, foreign key (room, period during) references t (room, period during));
         insert into c values ('[1,2)', '[2,9)')",
    );
    let outcome = sync(&pair, &format!("{DELTA}key = ['id']\n"));
    succeeds(&outcome);
    assert_eq!(counts(&outcome, "public.t"), [0, 2, 0, 1, 0]);
    assert_same_contents(&pair.source, &pair.target, "public.t");
}
