//! What is not ours stays: rows outside a scope, and rows that refer to what vanishes.

use crate::support::{Bulkload, Db, Outcome, Pair, pair};

pub(crate) fn sync(pair: &Pair, config: &str) -> Outcome {
    Bulkload::on(pair).config(config).sync()
}

#[track_caller]
pub(crate) fn succeeds(outcome: &Outcome) {
    assert_eq!(outcome.code, Some(0), "{outcome}");
}

/// The one table's error.
#[track_caller]
pub(crate) fn fails(outcome: &Outcome, table: &str, words: &[&str]) {
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let error = outcome.table(table)["error"].as_str().unwrap().to_owned();
    words.iter().for_each(|word| assert!(error.contains(word), "{word}: {error}"));
}

/// Rows as text, in order, joined by a blank.
#[track_caller]
pub(crate) fn list(db: &Db, columns: &str, from: &str) -> String {
    db.value(&format!(
        "select coalesce(string_agg(line, ' ' order by line collate \"C\"), '') from (select concat_ws('|', {columns}) as line from {from}) as x"
    ))
}

/// inserted, updated, deleted, unchanged, skipped
#[track_caller]
pub(crate) fn counts(outcome: &Outcome, table: &str) -> [u64; 5] {
    let table = outcome.table(table);
    let count = |what: &str| table[what].as_u64().unwrap();
    let counts = ["inserted", "updated", "deleted", "unchanged", "skipped"].map(count);
    assert_eq!(count("extracted"), count("staged") + count("rejected"), "{outcome}");
    assert_eq!(count("staged"), counts[0] + counts[1] + counts[3] + counts[4], "{outcome}");
    counts
}

#[test]
fn a_scope_that_answers_otherwise_each_time_is_refused_before_any_row_moves() {
    let pair = shared_table();
    pair.target.run(
        "create function mine(text) returns boolean language sql as 'select $1 = $q$D$q$';
         create function ours(text) returns boolean stable language sql as 'select $1 = $q$D$q$'",
    );
    for (scope, function) in [
        ("random() < 0.5", "random()"),
        ("source = 'D' and clock_timestamp() > '2020-01-01'", "clock_timestamp()"),
        ("mine(source)", "mine(text)"),
    ] {
        let program = Bulkload::on(&pair).config(&format!("[[table]]\nname = 't'\nscope = \"{scope}\"\n"));
        for command in ["plan", "sync"] {
            let outcome = program.run(&["-q", command]);
            assert_eq!(outcome.code, Some(2), "{scope} {outcome}");
            let message =
                format!("error: bulkload.toml:5:9: public.t: scope calls {function}, which is volatile: ");
            assert!(outcome.stderr.starts_with(&message), "{message} {outcome}");
            assert!(outcome.stderr.contains("\n  hint: A scope must give the same"), "{outcome}");
        }
    }
    for scope in ["ours(source)", "now() > '2020-01-01' and coalesce(source, 'D') = 'D'"] {
        let program = Bulkload::on(&pair).config(&format!("[[table]]\nname = 't'\nscope = \"{scope}\"\n"));
        assert_eq!(program.run(&["-q", "plan"]).code, Some(0), "{scope}");
    }
}

/// Rows of the desktop ('D') and of a mobile app ('M') in one table, with a second unique index.
fn shared_table() -> Pair {
    let pair = pair();
    pair.source.run(
        "create table t (id int primary key, code text, v text, source text);
         insert into t values (1, 'a', 'new', 'D'), (2, 'b', 'old', 'D'), (4, 'd', 'new', 'D'), (10, 'x', 'mine', 'D'),
             (5, 'mob', 'new', 'D');",
    );
    pair.target.run(
        "create table t (id int primary key, code text unique, v text, source text, note text default 'kept');
         insert into t values (1, 'a', 'old', 'D', 'n1'), (2, 'b', 'old', 'D', 'n2'), (3, 'c', 'gone', null, 'n3'),
             (10, 'm', 'mobile', 'M', 'n10'), (11, 'mob', 'mobile', 'M', 'n11');",
    );
    pair
}

const SCOPE: &str = "scope = \"source = 'D' or source is null -- ours\"\n";

#[test]
fn rows_outside_the_scope_stay_and_what_collides_with_them_is_skipped() {
    for (apply, expected, notes) in [
        ("delete", [3, 0, 3, 0, 2], "1|kept 10|n10 11|n11 2|kept 4|kept"),
        ("delta", [1, 1, 1, 1, 2], "1|n1 10|n10 11|n11 2|n2 4|kept"),
    ] {
        let pair = shared_table();
        let outcome = sync(&pair, &format!("[[table]]\nname = 't'\napply = '{apply}'\n{SCOPE}"));
        succeeds(&outcome);
        assert_eq!(counts(&outcome, "public.t"), expected, "{apply}");
        assert_eq!(
            list(&pair.target, "id, code, v, source", "t"),
            "10|m|mobile|M 11|mob|mobile|M 1|a|new|D 2|b|old|D 4|d|new|D",
            "{apply}"
        );
        let notes: Vec<&str> = notes.split(' ').collect();
        let mut found: Vec<String> =
            list(&pair.target, "id, note", "t").split(' ').map(str::to_owned).collect();
        found.sort();
        let mut notes: Vec<String> = notes.into_iter().map(str::to_owned).collect();
        notes.sort();
        assert_eq!(found, notes, "{apply}");
        let again = sync(&pair, &format!("[[table]]\nname = 't'\napply = '{apply}'\n{SCOPE}"));
        succeeds(&again);
        assert_eq!(counts(&again, "public.t")[4], 2, "{again}");
        assert_eq!(pair.target.count("t"), 5);
    }
}

#[test]
fn auto_takes_delta_for_a_live_table_with_a_key_and_never_empties_what_has_a_scope() {
    let pair = shared_table();
    let outcome = sync(&pair, &format!("[[table]]\nname = 't'\n{SCOPE}"));
    succeeds(&outcome);
    assert_eq!(outcome.table("public.t")["apply"], "delta");
    pair.target.run("truncate t");
    let outcome = sync(&pair, &format!("[[table]]\nname = 't'\n{SCOPE}"));
    assert_eq!(outcome.table("public.t")["apply"], "delete", "{outcome}");
}

#[test]
fn rows_that_are_not_in_the_scope_themselves_fail_the_table_before_it_is_applied() {
    for (strategy, apply) in [("replace", "apply = 'delete'"), ("replace", "apply = 'delta'"), ("upsert", "")]
    {
        let pair = shared_table();
        pair.source.run("update t set source = 'M' where id in (2, 4)");
        let before = list(&pair.target, "t.*", "t");
        let config = format!("[[table]]\nname = 't'\nstrategy = '{strategy}'\n{apply}\n{SCOPE}");
        fails(&sync(&pair, &config), "public.t", &["2 of the source's rows", "id=2; id=4"]);
        assert_eq!(list(&pair.target, "t.*", "t"), before);
    }
}

#[test]
fn a_scope_over_what_the_target_fills_in_is_evaluated_with_it() {
    let pair = pair();
    pair.source.run("create table t (id int, n int); insert into t values (1, 1), (2, 2)");
    pair.target.run(
        "create table t (id int primary key, n int, source text default 'D', big bool generated always as (n > 100) stored);
         insert into t values (2, 5, 'D'), (3, 3, 'D'), (9, 9, 'M')",
    );
    let outcome = sync(&pair, "[[table]]\nname = 't'\nscope = \"t.source = 'D' and not big\"\n");
    succeeds(&outcome);
    assert_eq!(list(&pair.target, "id, n, source", "t"), "1|1|D 2|2|D 9|9|M");
    pair.source.run("update t set n = 101 where id = 1");
    let outcome = sync(&pair, "[[table]]\nname = 't'\nscope = \"t.source = 'D' and not big\"\n");
    fails(&outcome, "public.t", &["1 of the source's rows", "id=1"]);
}

#[test]
fn a_key_without_an_index_recognises_rows_that_came_back() {
    for apply in ["delete", "delta"] {
        let pair = pair();
        // Note 7 was made by the app as 1000, and came back through the desktop under a number of its own.
        pair.source.run(
            "create table t (id int primary key, uid text, v text, source text);
             insert into t values (1, 'u1', 'new', 'D'), (7, 'u7', 'desktop', 'D'), (8, null, 'x', 'D')",
        );
        pair.target.run(
            "create table t (id int primary key, uid text, v text, source text);
             insert into t values (1, 'u1', 'old', 'D'), (2, null, 'old', 'D'), (1000, 'u7', 'app', 'M')",
        );
        let config =
            format!("[[table]]\nname = 't'\napply = '{apply}'\nkey = ['uid']\nscope = \"source = 'D'\"\n");
        let outcome = sync(&pair, &config);
        succeeds(&outcome);
        assert_eq!(list(&pair.target, "id, uid, v", "t"), "1000|u7|app 1|u1|new 8|x", "{apply}: {outcome}");
        assert_eq!(counts(&outcome, "public.t")[4], 1, "{apply}");
        succeeds(&sync(&pair, &config));
        assert_eq!(pair.target.count("t"), 3);
    }
}

#[test]
fn a_key_that_is_there_twice_fails_the_table() {
    let pair = pair();
    pair.source.run("create table t (id int primary key, uid text); insert into t values (1, 'a')");
    pair.target.run("create table t (id int primary key, uid text); insert into t values (1, 'a'), (2, 'a')");
    let outcome = sync(&pair, "[[table]]\nname = 't'\napply = 'delta'\nkey = ['uid']\n");
    fails(&outcome, "public.t", &["1 keys (\"uid\") occur more than once"]);
    assert_eq!(pair.target.count("t"), 2);
}

#[test]
fn a_scope_that_is_no_predicate_over_the_row_is_refused() {
    let pair = shared_table();
    for (scope, why) in [
        ("source =", "syntax error"),
        ("sauce = 'D'", "sauce"),
        ("id + 1", "must be type boolean"),
        ("id in (select 1)", "subquer"),
        ("count(*) > 1", "aggregate"),
    ] {
        let outcome = sync(&pair, &format!("[[table]]\nname = 't'\nscope = \"{scope}\"\n"));
        assert_eq!(outcome.code, Some(2), "{scope}: {outcome}");
        assert!(outcome.stderr.contains("bulkload.toml:5:9: public.t: scope"), "{scope}: {outcome}");
        assert!(outcome.stderr.contains(why), "{scope}: {outcome}");
    }
}

#[test]
fn a_scope_keeps_the_roles_search_path() {
    let mut pair = shared_table();
    let role = pair.target.role("login superuser");
    pair.target.run(&format!(
        "create schema app; create function app.ours(text) returns bool language sql immutable as $$ select $1 is distinct from 'M' $$;
         alter role {role} in database {} set search_path = app, public",
        pair.target.name()
    ));
    for apply in ["delete", "delta"] {
        let config = format!("[[table]]\nname = 't'\napply = '{apply}'\nscope = 'ours(source)'\n");
        let program =
            Bulkload::on(&pair).config(&config).env("TARGET_DATABASE_URL", &pair.target.url_as(&role));
        succeeds(&program.sync());
        assert_eq!(list(&pair.target, "id", "t"), "1 10 11 2 4");
    }
}

#[test]
fn plan_names_the_index_that_would_serve_a_scope() {
    let pair = shared_table();
    let config = format!("[[table]]\nname = 't'\n{SCOPE}");
    let outcome = Bulkload::on(&pair).config(&config).run(&["plan"]);
    assert!(outcome.stdout.contains("create index on public.t (source);"), "{outcome}");
    pair.target.run("create index on public.t (source)");
    let outcome = Bulkload::on(&pair).config(&config).run(&["plan"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert!(!outcome.stdout.contains("create index"), "{outcome}");
}

#[test]
fn max_shrink_counts_the_rows_in_scope() {
    let pair = shared_table();
    pair.source.run("delete from t where id <> 2");
    let config = format!("[[table]]\nname = 't'\n{SCOPE}");
    fails(&sync(&pair, &config), "public.t", &["from 3 to 1"]);
    succeeds(&sync(&pair, &format!("{config}max_shrink = '70%'\n")));
    assert_eq!(list(&pair.target, "id", "t"), "10 11 2");
}

#[test]
fn delete_with_a_scope_is_refused_where_anything_refers_to_the_table() {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run(
            "create table p (id int primary key, source text default 'D');
             create table c (id int primary key, p_id int references p, source text default 'D');
             create table tree (id int primary key, up int references tree, source text default 'D');
             insert into p values (1); insert into c values (1, 1); insert into tree values (1, null)",
        );
    }
    pair.target.run("insert into p values (100, 'M'); insert into c values (100, 100, 'M'), (101, 1, 'M')");
    let scope = "scope = \"source = 'D'\"\n";
    for (tables, why) in [
        (format!("[[table]]\nname = 'p'\napply = 'delete'\n{scope}"), "is not part of this run"),
        (
            format!(
                "[[table]]\nname = 'p'\napply = 'delete'\n[[table]]\nname = 'c'\napply = 'delete'\n{scope}"
            ),
            "is not emptied whole",
        ),
        (format!("[[table]]\nname = 'tree'\napply = 'delete'\n{scope}"), "is not emptied whole"),
    ] {
        let outcome = sync(&pair, &tables);
        assert_eq!(outcome.code, Some(2), "{outcome}");
        assert!(outcome.stderr.contains(why) && outcome.stderr.contains("\"delta\""), "{outcome}");
    }
    // With delta it works, and a child may refer to a row of its parent that stays.
    pair.source.run("alter table c drop constraint c_p_id_fkey; insert into c values (2, 100), (3, 99)");
    let both = format!("[[table]]\nname = 'p'\n{scope}[[table]]\nname = 'c'\nmax_rejects = 1\n{scope}");
    let outcome = sync(&pair, &both);
    succeeds(&outcome);
    assert_eq!(list(&pair.target, "id, p_id", "c"), "100|100 101|1 1|1 2|100");
    assert_eq!(outcome.table("public.c")["rejected"], 1);
}

#[test]
fn two_configs_of_one_table_keep_to_their_scopes() {
    let pair = pair();
    pair.source.run(
        "create table a (id int, v text); insert into a select i, 'new' from generate_series(1, 5) i;
         create table b (id int, v text); insert into b select i, 'new' from generate_series(101, 105) i",
    );
    pair.target.run(
        "create table t (id int primary key, v text, origin text);
         insert into t select i, 'old', case when i < 100 then 'a' else 'b' end from generate_series(1, 107) i where i < 8 or i > 100",
    );
    for apply in ["delta", "delete"] {
        for origin in ["a", "b"] {
            succeeds(&sync(
                &pair,
                &format!(
                    "[[table]]\nname = 't'\nfrom = '{origin}'\napply = '{apply}'\nscope = \"origin = '{origin}'\"\ncolumns.set = {{ origin = '{origin}' }}\n"
                ),
            ));
        }
        assert_eq!(
            pair.target.value("select string_agg(id || v, ' ' order by id) from t"),
            "1new 2new 3new 4new 5new 101new 102new 103new 104new 105new"
        );
        assert_eq!(
            pair.target.value("select string_agg(scope, ';' order by scope) from bulkload.sync_state"),
            "origin = 'a';origin = 'b'"
        );
        pair.target.run("update t set v = 'old'");
    }
}
