//! Sequences that loaded columns own are moved past what was loaded, with the rows or not at all.

use crate::support::{Bulkload, Outcome, Pair, pair};

#[track_caller]
fn sync(pair: &Pair, config: &str) -> Outcome {
    let outcome = Bulkload::on(pair).config(config).sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    outcome
}

#[track_caller]
fn next(pair: &Pair, sequence: &str) -> String {
    pair.target.value(&format!("select nextval('{sequence}')"))
}

/// The owner of a sequence `s`, how the sequence is made, the loaded values, what comes next.
const CASES: [(&str, &str, &str, &str); 12] = [
    ("int", "", "(1), (41), (7)", "42"),
    ("smallint", "as smallint", "(32766)", "32767"),
    ("bigint", "increment 10 start 3", "(3), (41)", "43"),
    ("bigint", "increment 10 start 3", "(43)", "53"),
    ("int", "increment -1", "(-1), (-41)", "-42"),
    ("int", "increment -2 maxvalue 100 start 100", "(50), (99)", "48"),
    ("int", "start 1000", "(41)", "1000"),
    ("int", "minvalue 0 start 0", "(0)", "1"),
    ("numeric", "", "(41.5), (7)", "43"),
    ("numeric", "", "(null)", "1"),
    ("text", "", "('A-41')", "1"),
    ("int", "", "(-5)", "1"),
];

#[test]
fn a_sequence_goes_on_after_the_loaded_values() {
    for apply in ["truncate", "delete", "direct"] {
        let pair = pair();
        let mut config = String::new();
        for (i, (kind, options, values, _)) in CASES.iter().enumerate() {
            pair.source.run(&format!("create table t{i} (id {kind}); insert into t{i} values {values}"));
            pair.target.run(&format!(
                "create table t{i} (id {kind}); create sequence s{i} {options} owned by t{i}.id;
                 alter table t{i} alter id set default nextval('s{i}')"
            ));
            config.push_str(&format!("[[table]]\nname = 't{i}'\napply = '{apply}'\n"));
        }
        sync(&pair, &config);
        for (i, (kind, options, values, expected)) in CASES.iter().enumerate() {
            assert_eq!(next(&pair, &format!("s{i}")), *expected, "{apply}: {kind} {options}, {values}");
        }
    }
}

#[test]
fn a_sequence_that_is_ahead_or_only_a_part_of_a_default_stays_where_it_is() {
    let pair = pair();
    pair.source
        .run("create table ahead (id int); insert into ahead values (41); create table free as table ahead");
    pair.target.run(
        "create table ahead (id serial); select setval('ahead_id_seq', 500);
         create sequence s; create table free (id int default 2 * nextval('s'))",
    );
    sync(&pair, "[[table]]\nname = 'ahead'\n[[table]]\nname = 'free'\n");
    assert_eq!(next(&pair, "ahead_id_seq"), "501");
    assert_eq!(next(&pair, "s"), "1");
}

#[test]
fn a_sequence_that_is_a_default_without_being_owned_goes_on_after_all_that_it_serves() {
    for apply in ["truncate", "delete", "direct", "delta", "swap"] {
        let pair = pair();
        pair.source.run(
            "create table a (id int primary key); insert into a values (41);
             create table b (id int primary key); insert into b values (7)",
        );
        pair.target.run(
            "create schema other; create sequence other.\"S q\";
             create table a (id int primary key default nextval('other.\"S q\"'));
             create table b (id int primary key default nextval('other.\"S q\"'))",
        );
        let config =
            ["a", "b"].map(|table| format!("[[table]]\nname = '{table}'\napply = '{apply}'\n")).concat();
        sync(&pair, &config);
        assert_eq!(next(&pair, "other.\"S q\""), "42", "{apply}");
        // With the rows or not at all, but for swap, which keeps nobody waiting for a sequence of others.
        pair.source.run("update a set id = 99");
        let failed =
            Bulkload::on(&pair).fail_point("apply.exchanged", "panic").config(&config).run(&["sync"]);
        assert_ne!(failed.code, Some(0), "{failed}");
        assert_eq!(pair.target.value("select id from a"), "41");
        if apply != "swap" {
            assert_eq!(next(&pair, "other.\"S q\""), "43", "{apply}");
        }
        sync(&pair, &config);
        assert_eq!(next(&pair, "other.\"S q\""), "100", "{apply}");
    }
}

#[test]
fn a_sequence_that_ends_before_the_loaded_values_is_a_warning() {
    let pair = pair();
    pair.source.run("create table t (id int); insert into t values (100)");
    pair.target.run("create table t (id int); create sequence s maxvalue 100 owned by t.id");
    let outcome = sync(&pair, "[[table]]\nname = 't'\n");
    assert_eq!(pair.target.count("t"), 1);
    let warnings = outcome.table("public.t")["warnings"].to_string();
    assert!(warnings.contains("sequence public.s cannot be moved past 100"), "{outcome}");
    // More than any sequence can reach.
    pair.source
        .run("alter table t alter id type numeric; update t set id = 'NaN'; insert into t values (1e30)");
    pair.target.run("alter table t alter id type numeric; alter sequence s no maxvalue");
    let outcome = sync(&pair, "[[table]]\nname = 't'\n");
    assert_eq!(pair.target.count("t"), 2);
    assert!(outcome.table("public.t")["warnings"].to_string().contains("cannot be moved past"), "{outcome}");
}

#[test]
fn a_table_that_is_rolled_back_does_not_move_its_sequence() {
    let pair = pair();
    pair.source.run("create table t (id int, u int); insert into t values (41, 1), (42, 1)");
    pair.target.run("create table t (id serial, u int unique); insert into t (u) values (9)");
    for apply in ["truncate", "delete", "direct"] {
        let config = format!("[[table]]\nname = 't'\napply = '{apply}'\n");
        let outcome = Bulkload::on(&pair).config(&config).sync();
        assert_eq!(outcome.code, Some(1), "{outcome}");
    }
    // Killed when all but the commit was done.
    pair.source.run("update t set u = id");
    let outcome =
        Bulkload::on(&pair).fail_point("apply.exchanged", "panic").config("[[table]]\nname = 't'\n").sync();
    assert_ne!(outcome.code, Some(0), "{outcome}");
    assert_eq!(pair.target.value("select u from t"), "9");
    assert_eq!(next(&pair, "t_id_seq"), "2");
}

#[test]
fn a_role_that_does_not_own_the_sequence_sets_it_if_it_may() {
    let mut pair = pair();
    let role = pair.target.role("login");
    pair.source.run("create table t (id int); insert into t values (41)");
    pair.target.run(&format!(
        "create table t (id serial); grant create on database {} to {role};
         grant select, insert, delete, truncate on t to {role}",
        pair.target.name()
    ));
    let program = Bulkload::on(&pair)
        .env("TARGET_DATABASE_URL", &pair.target.url_as(&role))
        .config("[[table]]\nname = 't'\n");
    let free = "create sequence free; create table u (id int default nextval('free'))";
    pair.target.run(&format!(
        "{free}; grant select, insert, delete, truncate on u to {role}; grant select on free to {role}"
    ));
    pair.source.run("create table u as table t");
    let other = program.run(&["-q", "sync"]);
    assert_eq!(other.code, Some(0), "{other}");
    let outcome = Bulkload::on(&pair)
        .env("TARGET_DATABASE_URL", &pair.target.url_as(&role))
        .config("[[table]]\nname = 'u'\n")
        .sync();
    let warnings = outcome.table("public.u")["warnings"].to_string();
    assert!(
        warnings.contains("sequence public.free is behind 41, and the role may not move it"),
        "{outcome}"
    );
    for (grant, warning, expected) in [
        ("usage", "the role may not read it", "1"),
        ("select", "the role may not move it", "2"),
        ("update", "", "42"),
    ] {
        pair.target.run(&format!("grant {grant} on sequence t_id_seq to {role}"));
        let outcome = program.sync();
        assert_eq!(outcome.code, Some(0), "{outcome}");
        let warnings = outcome.table("public.t")["warnings"].to_string();
        if warning.is_empty() {
            assert_eq!(warnings, "[]", "{outcome}");
        } else {
            assert!(warnings.contains(warning), "{outcome}");
        }
        assert_eq!(next(&pair, "t_id_seq"), expected, "{grant}");
    }
}

#[test]
fn a_sequence_that_somebody_holds_is_waited_for_before_anything_is_moved_and_its_holder_is_named() {
    for apply in ["truncate", "delete", "direct"] {
        let pair = pair();
        pair.source.run("create table t (id int); insert into t values (41)");
        pair.target.run("create table t (id serial); insert into t values (7)");
        let holder = pair.target.session();
        holder.run("set application_name = 'the holder'; begin; select nextval('t_id_seq')");
        let pid = holder.value("select pg_backend_pid()");
        let config = format!(
            "[run]\nlock_timeout = '100ms'\nlock_wait = '1s'\n[[table]]\nname = 't'\napply = '{apply}'\n"
        );
        // Reached only with all locks.
        let program = Bulkload::on(&pair).fail_point("apply.locked", "panic").config(&config);
        let outcome = program.sync();
        assert_eq!(outcome.code, Some(1), "{apply}: {outcome}");
        let error = outcome.table("public.t")["error"].to_string();
        assert!(error.contains(&format!("pid {pid} (the holder")), "{apply}: {error}");
        drop(holder);
        assert_eq!(pair.target.value("select id from t"), "7");
        sync(&pair, &config);
        assert_eq!(next(&pair, "t_id_seq"), "42", "{apply}");
    }
}
