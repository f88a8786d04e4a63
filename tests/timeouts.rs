//! What administrators set for roles and databases neither ends a run nor changes a value.

use crate::support::{Bulkload, Db, Pair, assert_same_contents, pair};

/// Timeouts that no run of several seconds would survive.
const TIMEOUTS: [&str; 4] = [
    "idle_in_transaction_session_timeout = '1s'",
    "statement_timeout = '1s'",
    "idle_session_timeout = '1s'",
    "lock_timeout = '1ms'",
];

/// Defaults that change what statements mean or how values look.
const DEFAULTS: [&str; 19] = [
    "default_transaction_isolation = 'serializable'",
    "default_transaction_deferrable = on",
    "datestyle = 'SQL, DMY'",
    "intervalstyle = 'sql_standard'",
    "timezone = 'Asia/Kathmandu'",
    "extra_float_digits = -15",
    "bytea_output = 'escape'",
    "client_encoding = 'LATIN1'",
    "search_path = 'elsewhere', 'pg_catalog', 'public'",
    "row_security = on",
    "standard_conforming_strings = off",
    "backslash_quote = off",
    "array_nulls = off",
    "xmloption = 'document'",
    "default_tablespace = ''",
    "transform_null_equals = on",
    "quote_all_identifiers = on",
    "default_table_access_method = 'heap'",
    "session_replication_role = 'origin'",
];

const SCHEMA: &str = "
    create table values_ (
        id int primary key, d date, ts timestamp, tz timestamptz, iv interval, f4 real, f8 double precision,
        b bytea, t text, a int[], x xml, m numeric(20, 6)
    );
    create table slow (id int primary key, v text);
    create schema elsewhere;
    create function elsewhere.count(anyelement) returns bigint language sql as 'select 42::bigint'";

const ROWS: &str = r"
    insert into values_ values
        (1, '2024-02-03', '2024-02-03 04:05:06.789', '2024-02-03 04:05:06+07', '-1 year +2 mons -3 days 04:05:06.7',
         0.1, 0.1, '\x00ff5c27', E'back\\slash ''quoted'' ä€ \t', '{1,null,3}', 'text<a/>', 1234567.654321),
        (2, 'infinity', '-infinity', '0044-03-15 12:00+00 BC', '1 day -1 second', 'NaN', '-0', '', '', '{}', '', -0.5),
        (3, '0044-03-15 BC', null, null, null, 1e-30, 1.7976931348623157e308, null, null, null, null, null);
    insert into slow select i, 'row ' || i from generate_series(1, 100) i";

/// A run that takes several seconds on both sides, within statements and between them.
fn world(format: &str) -> (Pair, Bulkload) {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run(SCHEMA);
    }
    pair.source.run(ROWS);
    pair.source.run("create view slow_view as select slow.* from slow, pg_sleep(1.6)");
    pair.target.run(
        "insert into slow values (-1, 'old');
         create function wait() returns trigger language plpgsql as
             $$ begin perform pg_sleep(1.6); return null; end $$;
         create trigger t before insert on slow for each statement execute function wait()",
    );
    let program = Bulkload::on(&pair).config(&format!(
        "[run]\nformat = '{format}'\njobs = 1\n[[table]]\nname = 'values_'\n[[table]]\nname = 'slow'\nfrom = 'slow_view'\n"
    ));
    (pair, program)
}

/// Makes settings the defaults of a database.
fn set(db: &Db, settings: &[&str]) {
    for setting in settings {
        db.run(&format!("begin read write; alter database {} set {setting}; commit", db.name()));
    }
}

/// With the settings gone, so that both sides are read the same way.
#[track_caller]
fn reset_and_compare(pair: &Pair) {
    for db in [&pair.source, &pair.target] {
        db.run(&format!("begin read write; alter database {} reset all; commit", db.name()));
    }
    for table in ["values_", "slow"] {
        assert_same_contents(&pair.source, &pair.target, table);
    }
}

#[test]
fn timeouts_of_the_databases_do_not_end_a_run() {
    for point in ["snapshot.taken", "load.chunk_copied", "apply.locked"] {
        let (pair, program) = world("auto");
        set(&pair.source, &TIMEOUTS);
        set(&pair.target, &TIMEOUTS);
        let mut running = program.hold_at(point).spawn(&["sync", "--report", "report.json"]);
        running.wait_until_held();
        std::thread::sleep(std::time::Duration::from_millis(1600));
        running.go();
        let outcome = running.wait();
        assert_eq!(outcome.code, Some(0), "{point}: {outcome}");
        reset_and_compare(&pair);
    }
}

#[test]
fn defaults_of_the_databases_change_no_value() {
    for format in ["binary", "text"] {
        let (pair, program) = world(format);
        set(&pair.source, &DEFAULTS);
        set(&pair.source, &["default_transaction_read_only = on"]);
        set(&pair.target, &DEFAULTS);
        let outcome = program.sync();
        assert_eq!(outcome.code, Some(0), "{format}: {outcome}");
        assert_eq!(outcome.table("public.values_")["format"], format);
        reset_and_compare(&pair);
    }
}

#[test]
fn defaults_of_the_role_neither_end_a_run_nor_change_a_value() {
    let (mut pair, program) = world("text");
    let mut urls = Vec::new();
    for db in [&mut pair.source, &mut pair.target] {
        let role = db.role("login superuser");
        for setting in TIMEOUTS.iter().chain(&DEFAULTS) {
            db.run(&format!("alter role {role} set {setting}"));
        }
        urls.push(db.url_as(&role));
    }
    let outcome = program.env("SOURCE_DATABASE_URL", &urls[0]).env("TARGET_DATABASE_URL", &urls[1]).sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    // The staging schema belongs to the role, which is dropped before the database is.
    pair.target.run("drop schema bulkload cascade");
    reset_and_compare(&pair);
}

#[test]
fn a_target_that_is_read_only_by_default_is_refused() {
    let (pair, program) = world("auto");
    set(&pair.target, &["default_transaction_read_only = on"]);
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.contains("default_transaction_read_only"), "{outcome}");
    assert_eq!((pair.target.count("values_"), pair.target.count("slow")), (0, 1));
}

#[test]
fn a_statement_timeout_of_the_config_is_ours_and_obeyed() {
    let (pair, program) = world("auto");
    let program = program.config(
        "[run]\nstatement_timeout = '500ms'\n[[table]]\nname = 'values_'\n[[table]]\nname = 'slow'\nfrom = 'slow_view'\n",
    );
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!((pair.target.count("values_"), pair.target.count("slow")), (3, 1));
    let error = outcome.table("public.slow")["error"].as_str().unwrap().to_owned();
    assert!(error.contains("57014"), "{error}");
}
