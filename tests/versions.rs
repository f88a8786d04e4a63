//! What only newer versions of PostgreSQL have, and servers of two versions in one run. Most of this needs other servers than
//! the installed ones: `scripts/versions` brings them.

use crate::scope::{counts, fails, list, succeeds, sync};
use crate::support::{Bulkload, Pair, assert_same_contents, assert_same_dump, dump_of_others, pair};

/// A pair whose servers both have at least this version; `None` where they do not.
fn pair_since(version: u32) -> Option<Pair> {
    let pair = pair();
    (pair.source.version() >= version && pair.target.version() >= version).then_some(pair)
}

const METHODS: [&str; 5] = ["swap", "delta", "delete", "truncate", "direct"];

fn table(name: &str, more: &str) -> String {
    format!("[[table]]\nname = '{name}'\n{more}\n")
}

#[track_caller]
fn refuses(pair: &Pair, config: &str, why: &str) {
    let outcome = Bulkload::on(pair).config(config).run(&["-q", "plan"]);
    assert_eq!(outcome.code, Some(2), "{why}: {outcome}");
    assert!(outcome.stderr.contains(why), "{why}: {outcome}");
}

#[test]
fn virtual_columns_are_read_from_a_source_and_left_to_the_target() {
    let Some(pair) = pair_since(180_000) else { return };
    pair.source.run(
        "create table t (id int primary key, a int, twice int generated always as (a * 2) virtual, up text generated always as ('n' || a) virtual);
         insert into t (id, a) values (1, 10), (2, 20), (3, 30)",
    );
    // What one side computes, the other stores.
    pair.target.run(
        "create table t (id int primary key, a int, twice int, up text not null generated always as ('x' || a) virtual, down text generated always as ('y' || a) stored);
         insert into t (id, a, twice) values (2, 20, 40), (3, 30, 61), (9, 9, 9)",
    );
    let before = dump_of_others(&pair.target);
    for apply in METHODS {
        let outcome = sync(&pair, &table("t", &format!("apply = '{apply}'")));
        succeeds(&outcome);
        let counted = if apply == "delta" { [1, 1, 1, 1, 0] } else { [3, 0, 3, 0, 0] };
        assert_eq!(counts(&outcome, "public.t"), counted, "{apply}");
        assert_eq!(
            list(&pair.target, "id, a, twice, up, down", "t"),
            "1|10|20|x10|y10 2|20|40|x20|y20 3|30|60|x30|y30",
            "{apply}"
        );
        assert_same_dump(&before, &dump_of_others(&pair.target), apply);
        pair.target.run("delete from t where id = 1; update t set twice = 61 where id = 3; insert into t (id, a, twice) values (9, 9, 9)");
    }
    let outcome = Bulkload::on(&pair).config(&table("t", "")).run(&["-q", "verify"]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(
        outcome.stdout.contains("1 missing on the target, 1 on the target only, 1 not the same"),
        "{outcome}"
    );
}

#[test]
fn a_foreign_key_that_is_not_enforced_rejects_nothing_and_holds_nothing_back() {
    let Some(pair) = pair_since(180_000) else { return };
    pair.source.run(
        "create table p (id int primary key); insert into p select generate_series(1, 10);
         create table c (id int primary key, p_id int); insert into c values (1, 1), (2, 99)",
    );
    pair.target.run(
        "create table p (id int primary key, constraint p_small check (id < 0) not enforced); insert into p select generate_series(8, 12);
         create table c (id int primary key, p_id int, constraint c_lax foreign key (p_id) references p on delete cascade not enforced);
         create table other (id int references p not enforced); insert into other values (11), (77);
         comment on constraint c_lax on c is 'lax'",
    );
    let before = dump_of_others(&pair.target);
    for apply in ["swap", "delta", "delete"] {
        let config = table("p", &format!("apply = '{apply}'")) + &table("c", &format!("apply = '{apply}'"));
        let outcome = sync(&pair, &config);
        succeeds(&outcome);
        assert_eq!(list(&pair.target, "id, p_id", "c"), "1|1 2|99", "{apply}");
        assert_eq!(list(&pair.target, "id", "other"), "11 77", "{apply}");
        assert_same_contents(&pair.source, &pair.target, "public.p");
        assert_same_dump(&before, &dump_of_others(&pair.target), apply);
        pair.target.run("insert into p values (11), (12)");
    }
    refuses(&pair, &table("p", "apply = 'truncate'"), "references it (c_lax) and is not part of this run");
}

/// Prices of items and the orders that refer to them, each for a time: a temporal key and a temporal foreign key.
fn temporal() -> Option<Pair> {
    let pair = pair_since(180_000)?;
    let prices = "create table prices (item int4range, at daterange, price int, constraint prices_key primary key (item, at without overlaps));";
    let orders = "create table orders (id int primary key, item int4range, at daterange);";
    pair.source.run(&format!(
        "{prices} {orders}
         insert into prices values ('[1,2)', '[2020-01-01,2021-01-01)', 5), ('[1,2)', '[2021-01-01,2022-01-01)', 6), ('[2,3)', '[2020-01-01,)', 7);
         insert into orders values (1, '[1,2)', '[2020-12-01,2021-02-01)'), (2, '[2,3)', '[2025-01-01,2026-01-01)')"
    ));
    pair.target.run(&format!(
        "{prices} {orders} alter table orders add constraint priced foreign key (item, period at) references prices (item, period at);
         insert into prices values ('[1,2)', '[2020-01-01,2022-01-01)', 5), ('[3,4)', '[2020-01-01,2021-01-01)', 5);
         insert into orders values (3, '[3,4)', '[2020-05-01,2020-06-01)')"
    ));
    Some(pair)
}

#[test]
fn periods_are_covered_by_several_rows_and_replaced_together() {
    for apply in ["delta", "delete", "truncate"] {
        let Some(pair) = temporal() else { return };
        let key = if apply == "delta" { "key = ['item', 'at']" } else { "" };
        let config = table("orders", &format!("apply = '{apply}'"))
            + &table("prices", &format!("apply = '{apply}'\n{key}"));
        for _ in 0..2 {
            let outcome = sync(&pair, &config);
            succeeds(&outcome);
            assert_same_contents(&pair.source, &pair.target, "public.prices");
            assert_same_contents(&pair.source, &pair.target, "public.orders");
            assert_eq!(outcome.table("public.orders")["rejected"], 0, "{apply}");
        }
        // The server alone judges it, and the whole group fails.
        pair.source.run("update prices set at = '[2021-03-01,2022-01-01)' where price = 6");
        fails(&sync(&pair, &config), "public.orders", &["priced"]);
        assert_eq!(list(&pair.target, "price", "prices"), "5 6 7");
    }
}

#[test]
fn a_temporal_key_is_swapped_and_a_table_whose_periods_are_referenced_is_not() {
    let Some(pair) = temporal() else { return };
    let swap = "apply = 'swap'";
    refuses(
        &pair,
        &table("prices", swap),
        "apply = \"swap\" is not possible: constraint priced on table public.orders references its periods",
    );
    pair.target.run(
        "insert into prices values ('[2,3)', '[2020-01-01,)', 7); create table history (like prices including all);
         alter table history rename constraint history_pkey to \"the Key\"",
    );
    pair.source.run("create table history (like prices); insert into history select * from prices");
    let before = dump_of_others(&pair.target);
    let outcome = sync(&pair, &(table("orders", swap) + &table("history", swap)));
    succeeds(&outcome);
    assert_same_contents(&pair.source, &pair.target, "public.orders");
    assert_same_contents(&pair.source, &pair.target, "public.history");
    assert_same_dump(&before, &dump_of_others(&pair.target), "after the exchange");
    let clash = "insert into history values ('[2,3)', '[2024-01-01,2024-02-01)', 1)";
    assert_eq!(pair.target.session().try_run(clash).unwrap_err().code().unwrap().code(), "23P01");
}

#[test]
fn the_key_of_a_partitioned_table_to_a_swapped_one_is_made_anew() {
    let Some(pair) = pair_since(180_000) else { return };
    pair.source
        .run("create table t (id int primary key, v text); insert into t values (1, 'new'), (2, 'new')");
    pair.target.run(
        "create table t (id int primary key, v text); insert into t values (1, 'old'), (2, 'old'), (3, 'old');
         create table u (id int, t_id int) partition by list (id);
         create table u_1 partition of u for values in (1); create table u_2 partition of u for values in (2);
         alter table u add constraint to_t foreign key (t_id) references t on delete cascade;
         insert into u values (1, 1), (2, 2)",
    );
    let before = dump_of_others(&pair.target);
    let config = table("t", "apply = 'swap'");
    succeeds(&sync(&pair, &config));
    assert_same_contents(&pair.source, &pair.target, "public.t");
    assert_same_dump(&before, &dump_of_others(&pair.target), "after the exchange");
    assert_eq!(
        pair.target.count(
            "pg_constraint where contype = 'f' and conrelid::regclass::text like 'u%' and not convalidated"
        ),
        0
    );
    pair.target.run("delete from t where id = 2");
    assert_eq!(list(&pair.target, "id, t_id", "u"), "1|1");
    pair.target.run("insert into t values (7, 'old'); insert into u values (2, 7)");
    fails(&sync(&pair, &config), "public.t", &["1 rows of public.u (to_t)"]);
    assert_eq!(pair.target.count("t"), 2);
}

#[test]
fn columns_whose_not_null_was_never_validated_are_no_key() {
    let Some(pair) = pair_since(180_000) else { return };
    pair.source.run("create table t (code text, v int); insert into t values ('a', 1), ('b', 2)");
    pair.target.run(
        "create table t (code text unique, v int); insert into t values (null, 0), ('a', 0);
         alter table t add constraint coded not null code not valid",
    );
    refuses(&pair, &table("t", "apply = 'delta'"), "it has no key");
    pair.target.run("delete from t where code is null; alter table t validate constraint coded");
    let outcome = sync(&pair, &table("t", "apply = 'delta'"));
    succeeds(&outcome);
    assert_eq!(counts(&outcome, "public.t"), [1, 1, 0, 0, 0]);
}

/// To a server that knows none it would be another value, in binary; in text it is refused.
#[test]
fn an_infinite_interval_does_not_become_a_finite_one() {
    let pair = pair();
    pair.source.run("create table t (id int primary key, i interval, a interval[]); insert into t values (1, '1 day', '{2 mons}')");
    pair.target.run("create table t (id int primary key, i interval, a interval[])");
    if pair.source.version() < 170_000 {
        return;
    }
    pair.source.run("insert into t values (2, 'infinity', null), (3, '-1 s', '{-infinity}')");
    let is_known = pair.target.version() >= 170_000;
    let outcome = sync(&pair, &table("t", "max_rejects = '100%'"));
    succeeds(&outcome);
    let [format, rejected] = ["format", "rejected"].map(|what| outcome.table("public.t")[what].clone());
    let expected = if is_known { ("binary", 0) } else { ("text", 2) };
    assert_eq!((format.as_str(), rejected.as_u64()), (Some(expected.0), Some(expected.1)), "{outcome}");
    let rows = if is_known {
        "1|1 day|{\"2 mons\"} 2|infinity 3|-00:00:01|{-infinity}"
    } else {
        "1|1 day|{\"2 mons\"}"
    };
    assert_eq!(list(&pair.target, "id, i, a", "t"), rows);
}
