//! Incremental runs: what is read, what is recorded, and that no committed row is ever missed.

use bulkload::pg::cluster::Cluster;
use serde_json::Value;

use crate::support::database::test_options;
use crate::support::{Bulkload, Db, Outcome, Pair, Servers, assert_same_contents, pair};

pub(crate) const SCHEMA: &str =
    "create table t (id int primary key, v text, updated_at timestamptz, created_at timestamptz)";

/// 1,000 rows that were written long ago.
const ROWS: &str = "insert into t select i, 'old', null, timestamptz '2020-01-01Z' + i * interval '1 h' from generate_series(1, 1000) i";

const UPSERT: &str = "[[table]]\nname = 't'\nstrategy = 'upsert'\n";
pub(crate) const BY_TIME: &str = "watermark = ['updated_at', 'created_at']\nwatermark_overlap = '0s'\n";
pub(crate) const BY_XMIN: &str = "watermark = 'xmin'\n";

fn world() -> Pair {
    filled(pair())
}

/// The same on a source that no other test uses: transactions of all its databases hold back the numbers that a run
/// records, so that more is read than has changed.
fn quiet_world() -> (Cluster, Pair) {
    let server = Cluster::start(test_options().setting("autovacuum", "off")).unwrap();
    let pair = Pair { source: Db::create(&server), target: Db::create(&Servers::shared().target) };
    (server, filled(pair))
}

fn filled(pair: Pair) -> Pair {
    for db in [&pair.source, &pair.target] {
        db.run(SCHEMA);
    }
    pair.source.run(ROWS);
    pair
}

pub(crate) fn program(pair: &Pair, lines: &str) -> Bulkload {
    Bulkload::on(pair).config(&format!("{UPSERT}{lines}"))
}

fn incremental(program: &Bulkload) -> Outcome {
    program.run(&["sync", "--mode", "incremental", "--report", "report.json"])
}

/// Runs incrementally and returns the table's part of the report.
#[track_caller]
pub(crate) fn read(program: &Bulkload) -> Value {
    let outcome = incremental(program);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let table = outcome.table("public.t");
    assert_eq!(outcome.report()["mode"], "incremental", "{outcome}");
    table
}

/// The same, and expects that it read so many rows.
#[track_caller]
fn reads(program: &Bulkload, rows: u64) -> Value {
    let table = read(program);
    assert_eq!((&table["mode"], &table["extracted"]), (&"incremental".into(), &rows.into()), "{table}");
    table
}

/// The same, and expects that all was read, for a reason.
#[track_caller]
fn reads_all(program: &Bulkload, reason: &str) -> Value {
    let table = read(program);
    assert_eq!(table["mode"], "full", "{table}");
    let warning = "read in full, although an incremental run was requested: ";
    let is_told =
        |w: &Value| w.as_str().unwrap().starts_with(warning) && w.as_str().unwrap().contains(reason);
    assert!(table["warnings"].as_array().unwrap().iter().any(is_told), "{reason}: {table}");
    table
}

fn recorded(pair: &Pair) -> String {
    pair.target.value("select watermark from bulkload.sync_state where table_name = 'public.t'")
}

#[test]
fn only_what_changed_is_read() {
    for watermark in [BY_TIME, BY_XMIN] {
        let (_server, pair) = quiet_world();
        let program = program(&pair, watermark);
        let first = reads_all(&program, "no watermark is recorded yet");
        assert_eq!((&first["extracted"], &first["watermark"]), (&1000.into(), &recorded(&pair).into()));
        reads(&program, 0);
        pair.source.run(
            "update t set v = 'new', updated_at = now() where id in (3, 5);
             insert into t values (1001, 'new', null, now())",
        );
        let table = reads(&program, 3);
        assert_eq!((&table["watermark"], &table["strategy"]), (&recorded(&pair).into(), &"upsert".into()));
        assert_same_contents(&pair.source, &pair.target, "t");
        reads(&program, 0);
    }
}

#[test]
fn rows_that_no_column_dates_are_read_every_time() {
    let pair = world();
    pair.source.run("update t set created_at = null where id <= 7");
    let program = program(&pair, BY_TIME);
    reads_all(&program, "no watermark");
    reads(&program, 7);
    pair.source.run("update t set v = 'quietly' where id = 2");
    reads(&program, 7);
    assert_same_contents(&pair.source, &pair.target, "t");
}

#[test]
fn the_overlap_reads_rows_again_that_were_written_shortly_before() {
    let pair = world();
    pair.source.run("update t set updated_at = now() - interval '50 min' where id <= 4");
    let program = program(
        &pair,
        "watermark = ['updated_at']\nwatermark_overlap = '1h'\nwhere = 'updated_at is not null'\n",
    );
    reads_all(&program, "no watermark");
    reads(&program, 4);
}

#[test]
fn a_run_is_full_when_it_must_be() {
    let pair = world();
    let full = |lines: &str, reason: &str| reads_all(&program(&pair, lines), reason);
    full(BY_TIME, "no watermark is recorded yet");
    reads(&program(&pair, BY_TIME), 0);
    full(&format!("{BY_TIME}where = 'id > 10'\n"), "changed since the last run: where");
    reads(&program(&pair, &format!("{BY_TIME}where = 'id > 10'\n")), 0);
    full(&format!("{BY_TIME}columns.set = {{ v = 'x' }}\n"), "changed since the last run: where, columns");
    full(
        &format!("{BY_TIME}query = 'select * from t'\n"),
        "changed since the last run: from or query, columns",
    );
    reads(&program(&pair, &format!("{BY_TIME}query = 'select * from t'\n")), 0);
    full("watermark = ['created_at']\n", "changed since the last run: from or query, watermark");
    full("watermark = ['no_such']\n", "the source has no watermark column no_such");
    full("", "it has no watermark");
    full(BY_TIME, "no watermark is recorded yet");
    full(&format!("{BY_TIME}full_every = '0s'\n"), "the last full run was ");
    reads(&program(&pair, BY_TIME), 0);
    pair.target.run("update bulkload.sync_state set last_full_at = last_full_at - interval '8 days'");
    full(BY_TIME, "full_every = 7days");
    let replaced = Bulkload::on(&pair).config(&format!("[[table]]\nname = 't'\n{BY_TIME}"));
    reads_all(&replaced, "strategy = \"replace\" needs all rows");
}

#[test]
fn a_full_run_records_the_watermark_from_which_the_next_one_begins() {
    let pair = world();
    let program = program(&pair, BY_TIME);
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let table = outcome.table("public.t");
    assert_eq!((&table["mode"], &table["warnings"]), (&"full".into(), &Value::Array(Vec::new())), "{table}");
    assert_eq!(table["watermark"], recorded(&pair).as_str());
    reads(&program, 0);
}

#[test]
fn two_sources_of_one_table_keep_their_own_watermarks() {
    let pair = world();
    let other = Db::create(&Servers::shared().source);
    other.run(SCHEMA);
    other.run("insert into t select i, 'theirs', null, '2020-01-01Z' from generate_series(2001, 2010) i");
    let (ours, theirs) =
        (program(&pair, BY_TIME), program(&pair, BY_TIME).env("SOURCE_DATABASE_URL", other.url()));
    reads_all(&ours, "no watermark is recorded yet");
    reads_all(&theirs, "no watermark is recorded yet");
    other.run("insert into t values (2011, 'theirs', null, now())");
    reads(&ours, 0);
    reads(&theirs, 1);
    pair.source.run("update t set updated_at = now() where id = 1");
    reads(&theirs, 0);
    reads(&ours, 1);
    assert_eq!(pair.target.count("t"), 1011);
}

#[test]
fn a_source_without_changes_is_no_source_without_rows() {
    let pair = world();
    let program = program(&pair, &format!("{BY_TIME}on_empty = 'fail'\n"));
    reads_all(&program, "no watermark");
    let table = reads(&program, 0);
    assert_eq!((&table["ok"], &table["warnings"]), (&true.into(), &Value::Array(Vec::new())), "{table}");
    assert_eq!(pair.target.count("t"), 1000);
}

#[test]
fn a_run_that_fails_or_dies_leaves_the_watermark_where_it_was() {
    let pair = world();
    let lines = format!("{BY_TIME}where = 'v <> $$bad$$ or id / 0 > 0'\n");
    let program = program(&pair, &lines);
    reads_all(&program, "no watermark");
    let before = recorded(&pair);
    pair.source.run("insert into t values (1001, 'new', null, now())");
    let killed = Bulkload::on(&pair).config(&format!("{UPSERT}{lines}")).hold_at("apply.exchanged");
    let mut run = killed.spawn(&["sync", "--mode", "incremental"]);
    run.wait_until_held();
    run.kill_9();
    pair.source.run("insert into t values (1002, 'bad', null, now())");
    assert_eq!(incremental(&program).code, Some(1));
    assert_eq!(recorded(&pair), before);
    pair.source.run("update t set v = 'good' where id = 1002");
    reads(&program, 2);
    assert_ne!(recorded(&pair), before);
    assert_same_contents(&pair.source, &pair.target, "t");
}

#[test]
fn local_time_that_was_set_back_hides_no_row() {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run("create table t (id int primary key, changed timestamp, day date)");
    }
    pair.source.run(&format!("alter database {} set timezone = 'Europe/Berlin'", pair.source.name()));
    pair.source.run("insert into t values (1, '2026-10-20 12:00', null)");
    let program = Bulkload::on(&pair).config(&format!(
        "{UPSERT}watermark = ['changed', 'day']\nwatermark_overlap = '0s'\nfull_every = '99999d'\n"
    ));
    reads_all(&program, "no watermark");
    // Half past two, summer time; at three the clocks go back to two.
    pair.target.run("update bulkload.sync_state set watermark = '2026-10-25T00:30:00.000000Z'");
    pair.source.run(
        "insert into t values
             (2, '2026-10-25 02:10', null), (3, '2026-10-25 01:29', null), (4, '2026-10-25 02:30', null),
             (5, null, '2026-10-25'), (6, null, '2026-10-24'), (7, '2026-10-25 00:59', null)",
    );
    let table = read(&program);
    assert_eq!(table["mode"], "incremental", "{table}");
    let found = pair.target.value("select string_agg(id::text, ' ' order by id) from t");
    assert_eq!(found, "1 2 4 5", "what was written in the second hour after two is found");
}

#[test]
fn frozen_rows_and_subtransactions_have_their_numbers_still() {
    let (_server, pair) = quiet_world();
    let program = program(&pair, BY_XMIN);
    reads_all(&program, "no watermark");
    pair.source.run(
        "begin; savepoint a; update t set v = 'sub' where id = 1; savepoint b; update t set v = 'gone' where id = 2;
         rollback to b; savepoint c; update t set v = 'sub' where id = 3; release c; commit",
    );
    pair.source.run("vacuum freeze t");
    reads(&program, 2);
    assert_same_contents(&pair.source, &pair.target, "t");
    pair.source.run("vacuum freeze t");
    reads(&program, 0);
}

#[test]
fn transaction_numbers_of_another_server_mean_nothing() {
    let (_server, pair) = quiet_world();
    let program = program(&pair, BY_XMIN);
    reads_all(&program, "no watermark");
    for (change, reason) in [
        (
            "regexp_replace(watermark, '@[0-9]+', '@12345')",
            "the source is a different server than at the last run",
        ),
        ("regexp_replace(watermark, '/[0-9A-F]{8}/', '/0000000A/')", "the source is on a different timeline"),
        ("regexp_replace(watermark, 'T.*', 'T00:00:00.000000Z')", "the source server was restarted"),
        ("split_part(watermark, '/', 1)", "lacks the timeline and the start time of the source's server"),
        ("'9' || watermark", "went back"),
        ("'yesterday'", "is not a transaction number"),
    ] {
        pair.target.run(&format!("update bulkload.sync_state set watermark = {change}"));
        reads_all(&program, reason);
        reads(&program, 0);
    }
}

#[test]
fn a_row_that_is_committed_after_the_snapshot_is_found_by_the_next_run() {
    for watermark in [BY_TIME, BY_XMIN] {
        let pair = world();
        reads_all(&program(&pair, watermark), "no watermark");
        let session = || pair.source.session();
        let (before, between, late) = (session(), session(), session());
        before.run("begin; insert into t values (1001, 'before', null, now())");
        let held = program(&pair, watermark).hold_at("snapshot.horizon");
        let mut run = held.spawn(&["sync", "--mode", "incremental", "--report", "report.json"]);
        run.wait_until_held();
        between.run("insert into t values (1002, 'between', null, now())");
        late.run("begin; insert into t values (1003, 'late', null, now())");
        run.go();
        let outcome = run.wait();
        assert_eq!(outcome.code, Some(0), "{outcome}");
        assert_eq!(pair.target.value("select string_agg(v, ' ') from t where id > 1000"), "between");
        before.run("commit");
        late.run("commit");
        read(&program(&pair, watermark));
        assert_same_contents(&pair.source, &pair.target, "t");
    }
}

#[test]
fn while_a_prepared_transaction_is_pending_the_watermark_stays() {
    let pair = world();
    let program = program(&pair, BY_TIME);
    let gid = format!("{} pending", pair.source.name());
    pair.source
        .run(&format!("begin; insert into t values (1001, 'p', null, now()); prepare transaction '{gid}'"));
    let table = reads_all(&program, "no watermark is recorded yet");
    assert_eq!((&table["watermark"], recorded(&pair).as_str()), (&Value::Null, ""));
    assert!(table["warnings"].to_string().contains(&gid), "{table}");
    pair.source.run(&format!("commit prepared '{gid}'"));
    reads_all(&program, "no watermark is recorded yet");
    let before = recorded(&pair);
    pair.source
        .run(&format!("begin; insert into t values (1002, 'p', null, now()); prepare transaction '{gid}'"));
    let table = read(&program);
    assert_eq!((&table["mode"], recorded(&pair)), (&"incremental".into(), before.clone()));
    assert!(table["warnings"].to_string().contains(&format!("the watermark stays at {before}")), "{table}");
    pair.source.run(&format!("commit prepared '{gid}'"));
    read(&program);
    assert_same_contents(&pair.source, &pair.target, "t");
    assert_ne!(recorded(&pair), before);
}

#[test]
fn a_role_that_cannot_see_others_is_told_that_the_overlap_alone_protects() {
    let mut pair = world();
    let role = pair.source.role("login");
    pair.source.run(&format!("grant select on t to {role}"));
    let run = |pair: &Pair| {
        let program = program(pair, "watermark = ['created_at']\nwatermark_overlap = '3min'\n")
            .env("SOURCE_DATABASE_URL", &pair.source.url_as(&role));
        read(&program)["warnings"].to_string()
    };
    let other = pair.source.session();
    other.run("begin");
    let warning = "only watermark_overlap = 3m covers the rows they write (grant pg_read_all_stats to it)";
    assert!(run(&pair).contains(warning), "{}", run(&pair));
    pair.source.run(&format!("grant pg_read_all_stats to {role}"));
    assert!(!run(&pair).contains("watermark_overlap"), "{}", run(&pair));
    pair.source.run(&format!("revoke pg_read_all_stats from {role}"));
}

#[test]
fn plan_tells_where_an_incremental_run_begins_and_which_index_would_help() {
    let pair = world();
    pair.source.run("create index on t (created_at)");
    let program = program(&pair, BY_TIME);
    let plan = |args: &[&str]| {
        let outcome = program.run(&[&["-q", "plan", "--mode", "incremental"], args].concat());
        assert_eq!(outcome.code, Some(0), "{outcome}");
        outcome.stdout
    };
    assert!(plan(&[]).contains("warning  read in full, although"), "{}", plan(&[]));
    reads_all(&program, "no watermark");
    let text = plan(&[]);
    for part in [
        format!("reads    incrementally, rows written since {}", recorded(&pair)),
        "no index of the source begins with updated_at, ".to_owned(),
        "on the source: create index on public.t (updated_at);".to_owned(),
        "and orphans whose parent arrives later, are seen only by full runs (the last one was ".to_owned(),
    ] {
        assert!(text.contains(&part), "{part}\n{text}");
    }
    let json: Value = serde_json::from_str(&plan(&["--json"])).unwrap();
    let table = &json["tables"][0];
    assert_eq!((&table["mode"], &table["since"]), (&"incremental".into(), &recorded(&pair).into()));
    pair.source.run("create index on t (updated_at, id)");
    assert!(!plan(&[]).contains("no index"), "{}", plan(&[]));
    // What plan says is what changes nothing.
    assert_eq!(pair.target.count("bulkload.runs"), 1);
}

#[test]
fn a_view_and_a_query_are_read_incrementally_too() {
    let pair = world();
    pair.source
        .run("create view seen as select id, v, updated_at as u, created_at as c from t where id % 2 = 0");
    for from in ["from = 'seen'", "query = 'select * from seen -- all of it'"] {
        pair.target.run("truncate t; drop schema if exists bulkload cascade");
        let lines = format!(
            "{from}\nwatermark = ['u', 'c']\nwatermark_overlap = '0s'\ncolumns.rename = {{ u = 'updated_at', c = 'created_at' }}\n"
        );
        let program = program(&pair, &lines);
        reads_all(&program, "no watermark");
        pair.source.run("update t set updated_at = now() where id in (1, 2, 4)");
        reads(&program, 2);
        reads(&program, 0);
    }
}

#[test]
fn of_rows_with_one_key_the_newest_by_its_watermark_is_loaded() {
    let pair = pair();
    pair.source.run(
        "create table t (id int, v text, changed timestamp, created date);
         insert into t values (1, 'z', '2020-01-01', null), (1, 'a', '2020-01-02', null), (1, 'y', null, '2020-01-01'),
             (2, 'b', null, null), (2, 'a', null, '2020-01-01'), (3, 'a', null, null), (3, 'b', null, null)",
    );
    pair.target.run("create table t (id int primary key, v text, moved timestamptz, created date)");
    let program = Bulkload::on(&pair).config(
        "[[table]]\nname = 't'\nmax_rejects = 4\nwatermark = ['changed', 'created']\ncolumns.rename = { changed = 'moved' }\n",
    );
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(pair.target.value("select string_agg(id || v, ' ' order by id) from t"), "1a 2a 3b");
    let plan = program.run(&["-q", "plan"]);
    assert!(plan.stdout.contains("of rows with one key, the newest is loaded"), "{plan}");
}

#[test]
fn two_datasets_of_one_table_keep_their_own_watermarks() {
    let pair = pair();
    pair.source.run("create table desk (id int primary key, v text, at timestamptz); create table shop (like desk including all)");
    pair.target.run("create table t (id int primary key, v text, at timestamptz, origin text)");
    pair.source.run(
        "insert into desk select i, 'desk', timestamptz '2020-01-01Z' from generate_series(1, 10) i;
         insert into shop select i, 'shop', timestamptz '2020-01-01Z' from generate_series(101, 120) i",
    );
    pair.target.run("insert into t values (1000, 'mobile', now(), 'M')");
    let dataset = |name: &str, origin: &str| {
        Bulkload::on(&pair).config(&format!(
            "{UPSERT}from = '{name}'\nscope = \"origin = '{origin}'\"\nwatermark = ['at']\nwatermark_overlap = '0s'\n\
             columns.set = {{ origin = '{origin}' }}\n"
        ))
    };
    let (desk, shop) = (dataset("desk", "D"), dataset("shop", "S"));
    reads_all(&desk, "no watermark is recorded yet");
    reads_all(&shop, "no watermark is recorded yet");
    pair.source.run("update shop set v = 'sold', at = now() where id in (101, 102)");
    reads(&desk, 0);
    let table = reads(&shop, 2);
    assert_eq!((&table["updated"], &table["inserted"], &table["deleted"]), (&2.into(), &0.into(), &0.into()));
    pair.source.run("update desk set v = 'used', at = now() where id = 1");
    reads(&shop, 0);
    reads(&desk, 1);
    let found = pair.target.value(
        "select string_agg(v || ' ' || n, ', ' order by v) from (select v, count(*) as n from t group by v) c",
    );
    assert_eq!(found, "desk 9, mobile 1, shop 18, sold 2, used 1");
    assert_eq!(pair.target.count("bulkload.sync_state"), 2);
}

#[test]
fn rows_refer_to_parents_that_did_not_change_and_orphans_are_found_by_a_full_run() {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run(
            "create table parent (id int primary key, at timestamptz);
             create table t (id int primary key, parent_id int, at timestamptz)",
        );
    }
    pair.target.run("alter table t add foreign key (parent_id) references parent");
    pair.source.run(
        "insert into parent select i, timestamptz '2020-01-01Z' from generate_series(1, 50) i;
         insert into t select i, i, timestamptz '2020-01-01Z' from generate_series(1, 50) i",
    );
    let table = "strategy = 'upsert'\nmax_rejects = 1\nwatermark = ['at']\nwatermark_overlap = '0s'\n";
    let config = format!("[[table]]\nname = 'parent'\n{table}[[table]]\nname = 't'\n{table}");
    let program = Bulkload::on(&pair).config(&config);
    reads_all(&program, "no watermark");
    pair.source.run(
        "insert into t values (51, 7, now()), (52, 99, now());
         update t set parent_id = 8, at = now() where id = 1",
    );
    let table = reads(&program, 3);
    assert_eq!(
        (&table["rejected"], &table["inserted"], &table["updated"]),
        (&1.into(), &1.into(), &1.into()),
        "{table}"
    );
    // The parent comes, and its child, which has not changed, is not read again.
    pair.source.run("insert into parent values (99, now())");
    reads(&program, 0);
    assert_eq!((pair.target.count("parent"), pair.target.count("t")), (51, 51));
    assert_eq!(program.sync().code, Some(0));
    assert_same_contents(&pair.source, &pair.target, "t");
}

#[test]
fn rows_that_are_known_already_are_only_inserted_once() {
    let pair = world();
    let program =
        Bulkload::on(&pair).config(&format!("[[table]]\nname = 't'\nstrategy = 'insert'\n{BY_TIME}"));
    reads_all(&program, "no watermark");
    pair.source.run("update t set v = 'changed', updated_at = now() where id = 1; insert into t values (1001, 'new', null, now())");
    let table = reads(&program, 2);
    assert_eq!((&table["inserted"], &table["skipped"]), (&1.into(), &1.into()), "{table}");
    assert_eq!(pair.target.value("select v from t where id = 1"), "old");
}
