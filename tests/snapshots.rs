//! What arrives is what one snapshot of the source held, whatever others do meanwhile.

use std::time::Duration;

use crate::shapes::{CHUNKED, sync};
use crate::support::contents::assert_same_columns;
use crate::support::{Bulkload, Over, Pair, assert_same_contents, pair, wait_until};

/// Waits until this many sessions of a run's extraction have locked a table of the source.
#[track_caller]
fn wait_for_source_locks(pair: &Pair, table: &str, sessions: u32) {
    let session = pair.source.session();
    wait_until("the run locks its source table", || {
        let sql = format!(
            "select count(*) >= {sessions} from pg_locks l join pg_stat_activity a using (pid)
             where l.relation = '{table}'::regclass and a.application_name like 'bulkload/%/extract' and l.granted"
        );
        session.value(&sql) == "t"
    });
}

#[test]
fn all_tables_are_of_one_snapshot_while_others_write() {
    let pair = pair();
    let schema = "create table account (id int primary key, balance bigint not null, filler text);
                  create table transfer (id bigint, amount bigint)";
    for db in [&pair.source, &pair.target] {
        db.run(schema);
    }
    pair.source.run(
        "insert into account select i, 1000, repeat('x', 100) from generate_series(1, 4000) i;
         insert into transfer select i, 0 from generate_series(1, 3000) i",
    );
    let over = Over::default();
    let writes = |sql: &dyn Fn(usize) -> String| {
        let session = pair.source.session();
        let mut count = 0;
        while !over.is_over() {
            session.run(&sql(count));
            count += 1;
        }
        count
    };
    // Each keeps: 4,000 accounts that hold 4,000,000 and what was transferred from outside. They wait for each other,
    // so that none finds a row gone that another one moves.
    let between = |i: usize| {
        let (a, b) = (i * 7 % 4000 + 1, (i * 13 + 1) % 4000 + 1);
        format!(
            "begin; select pg_advisory_xact_lock(1);
             update account set balance = balance - 5 where id = {a};
             update account set balance = balance + 5 where id = {b}; commit"
        )
    };
    let outside = |i: usize| {
        format!(
            "begin; select pg_advisory_xact_lock(1);
             update account set balance = balance + {i} where id = {};
             insert into transfer values ({i}, {i}); commit",
            i * 31 % 4000 + 1
        )
    };
    let moved = |i: usize| {
        let (from, to) = (i * 40 % 4000, i * 40 % 4000 + 40);
        format!(
            "begin; select pg_advisory_xact_lock(1);
             with gone as (delete from account where id > {from} and id <= {to} returning *)
             insert into account_moved select * from gone;
             insert into account select * from account_moved; delete from account_moved; commit"
        )
    };
    pair.source.run("create table account_moved (like account)");
    let config = format!("{CHUNKED}[[table]]\nname = 'account'\n[[table]]\nname = 'transfer'\n");
    std::thread::scope(|scope| {
        let ending = over.when_dropped();
        let writers = [
            scope.spawn(|| writes(&between)),
            scope.spawn(|| writes(&outside)),
            scope.spawn(|| writes(&moved)),
            scope.spawn(|| writes(&|_| "vacuum account".to_owned())),
        ];
        for _ in 0..3 {
            let program = Bulkload::on(&pair).fail_point("snapshot.taken", "sleep(300)").config(&config);
            let outcome = program.sync();
            assert_eq!(outcome.code, Some(0), "{outcome}");
            assert!(outcome.table("public.account")["chunks"].as_u64().unwrap() > 20, "{outcome}");
            let sums = pair.target.value(
                "select count(*) || ' accounts, ' || count(distinct id) || ' of them different, '
                     || sum(balance) - (select sum(amount) from transfer) from account",
            );
            assert_eq!(sums, "4000 accounts, 4000 of them different, 4000000");
        }
        drop(ending);
        for writer in writers {
            assert!(writer.join().unwrap() > 3, "nothing was written meanwhile");
        }
    });
}

#[test]
fn a_truncate_waits_until_everything_is_read() {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run("create table t (a int)");
    }
    pair.source.run("insert into t select generate_series(1, 5000)");
    let program = Bulkload::on(&pair)
        .fail_point("snapshot.taken", "sleep(2000)")
        .config(&format!("{CHUNKED}[[table]]\nname = 't'\n"));
    let run = program.spawn(&["sync", "--report", "report.json"]);
    wait_for_source_locks(&pair, "t", 5);
    let session = pair.source.session();
    let truncate = session.begin("truncate t");
    let outcome = run.wait();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    truncate.wait().unwrap();
    assert_eq!((pair.source.count("t"), pair.target.count("t")), (0, 5000));
}

#[test]
fn a_truncate_that_queues_before_the_streams_have_their_locks_goes_first() {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run("create table t (a int); insert into t select generate_series(1, 5000)");
    }
    let program = Bulkload::on(&pair)
        .fail_point("snapshot.locked", "1*sleep(1000)")
        .config(&format!("{CHUNKED}[[table]]\nname = 't'\non_empty = 'apply'\n"));
    let run = program.spawn(&["sync", "--report", "report.json"]);
    wait_for_source_locks(&pair, "t", 1);
    let session = pair.source.session();
    let truncate = session.begin("truncate t; insert into t select -1 from generate_series(1, 4000)");
    let outcome = run.wait();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    truncate.wait().unwrap();
    assert!(outcome.stderr.contains("locking the source tables again"), "{outcome}");
    assert_same_contents(&pair.source, &pair.target, "t");
}

#[test]
fn a_partition_that_is_attached_just_before_the_snapshot_is_not_overlooked() {
    let pair = pair();
    pair.source.run(
        "create table p (a int) partition by list (a); create table p1 partition of p for values in (1);
         create table p2 (a int); insert into p2 select 2 from generate_series(1, 100); insert into p values (1);
         create table parent (a int); create table child (a int); insert into child values (5)",
    );
    pair.target.run("create table p (a int); create table parent (a int)");
    for (table, attach, before, after) in [
        ("p", "alter table p attach partition p2 for values in (2)", 0, 101),
        ("parent", "alter table child inherit parent", 0, 1),
    ] {
        let config = format!("[[table]]\nname = '{table}'\non_empty = 'apply'\n");
        let program = Bulkload::on(&pair).fail_point("stage.done", "sleep(2000)").config(&config);
        let run = program.spawn(&["sync", "--report", "report.json"]);
        let target = pair.target.session();
        let staging = format!("select count(*) from pg_class where relname like '{table}\\_\\_%'");
        wait_until("the run has made its staging table", || target.value(&staging) != "0");
        pair.source.run(attach);
        let outcome = run.wait();
        assert_eq!(outcome.code, Some(2), "{outcome}");
        assert!(outcome.stderr.contains("changed while the run was being prepared"), "{outcome}");
        assert_eq!(pair.target.count(table), before, "{outcome}");
        assert_eq!(target.value(&staging), "0", "staging is left");
        sync(&pair, &config);
        assert_eq!(pair.target.count(table), after);
    }
}

#[test]
fn a_column_that_changes_its_type_just_before_the_snapshot_is_not_misread() {
    let pair = pair();
    // Four bytes each, so that a binary COPY of one would be taken for the other.
    pair.source.run("create table t (id int primary key, \"a \"\"b\"\"\" int); insert into t values (1, 1)");
    pair.target.run("create table t (id int primary key, \"a \"\"b\"\"\" int)");
    let config = "[[table]]\nname = 't'\n";
    let mut run = Bulkload::on(&pair).config(config).hold_at("stage.done").spawn(&["sync"]);
    run.wait_until_held();
    pair.source.run("alter table t alter \"a \"\"b\"\"\" type real");
    run.go();
    let outcome = run.wait();
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.contains("columns of a source table changed while the run"), "{outcome}");
    assert_eq!(pair.target.count("t"), 0);
    sync(&pair, config);
    assert_eq!(pair.target.value("select \"a \"\"b\"\"\" from t"), "1");
}

#[test]
fn a_column_of_the_target_that_changes_its_type_during_the_run_is_not_miswritten() {
    for (apply, code, value) in [("direct", 1, "7"), ("truncate", 0, "1"), ("delete", 0, "1")] {
        let pair = pair();
        pair.source.run("create table t (a int); insert into t values (1)");
        pair.target.run("create table t (a int); insert into t values (7)");
        let config = format!("[[table]]\nname = 't'\napply = '{apply}'\n");
        let mut run = Bulkload::on(&pair).config(&config).hold_at("verify.done").spawn(&[
            "sync",
            "--report",
            "report.json",
        ]);
        run.wait_until_held();
        pair.target.run("alter table t alter a type real");
        run.go();
        let outcome = run.wait();
        assert_eq!(outcome.code, Some(code), "{apply}: {outcome}");
        assert_eq!(pair.target.value("select a from t"), value, "{apply}: {outcome}");
        if code == 1 {
            let error = outcome.table("public.t")["error"].to_string();
            assert!(error.contains("changed during the run"), "{outcome}");
        }
    }
}

/// A source whose role may not export snapshots.
fn without_export(pair: &mut Pair) -> String {
    let role = pair.source.role("login");
    pair.source.run("revoke execute on function pg_export_snapshot() from public");
    pair.source.url_as(&role)
}

#[test]
fn a_source_that_cannot_export_its_snapshot_is_read_by_one_stream() {
    let mut pair = pair();
    let url = without_export(&mut pair);
    pair.source.run(
        "create table a (id int); insert into a select generate_series(1, 5000);
         create table b (id int); insert into b select generate_series(1, 4000);
         create table bad (v text); insert into bad select 'x' || i from generate_series(1, 3000) i;
         create table empty (id int);
         create materialized view m as select * from a where id < 100;
         grant select on all tables in schema public to public",
    );
    pair.target.run(
        "create table a (id int); create table b (id int); create table bad (v int); create table m (id int);
         create table b_direct (id int); create table empty (id int); insert into empty values (1)",
    );
    let config = format!(
        "{CHUNKED}run.retries = 0
        [[table]]
        name = 'bad'
        [[table]]
        name = 'b_direct'
        from = 'b'
        apply = 'direct'
        [[table]]
        name = 'empty'
        apply = 'direct'
        [[table]]
        name = 'a'
        [[table]]
        name = 'b'
        [[table]]
        name = 'm'"
    );
    let program = Bulkload::on(&pair).env("SOURCE_DATABASE_URL", &url).config(&config);
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(1), "only one table has bad data\n{outcome}");
    assert!(outcome.stderr.contains("cannot export its snapshot"), "{outcome}");
    for table in ["b_direct", "empty", "a", "b", "m"] {
        assert_eq!(outcome.table(&format!("public.{table}"))["ok"], true, "{table}\n{outcome}");
    }
    assert_eq!(outcome.table("public.bad")["ok"], false, "{outcome}");
    assert_eq!(outcome.table("public.a")["streams"], 1, "{outcome}");
    let columns = ["id".to_owned()];
    for (source, target) in [("a", "a"), ("b", "b"), ("b", "b_direct"), ("m", "m")] {
        assert_same_columns((&pair.source, source), (&pair.target, target), &columns);
    }
    assert_eq!(pair.target.count("empty"), 1);
}

#[test]
fn one_stream_without_export_still_reads_one_snapshot() {
    let mut pair = pair();
    let url = without_export(&mut pair);
    for db in [&pair.source, &pair.target] {
        db.run("create table a (n int); create table b (n int)");
    }
    pair.source.run(
        "insert into a select 1 from generate_series(1, 4000); insert into b select 1 from generate_series(1, 4000);
         grant select on all tables in schema public to public",
    );
    let program = Bulkload::on(&pair)
        .env("SOURCE_DATABASE_URL", &url)
        .fail_point("load.chunk_committed", "sleep(100)")
        .config("run.chunk = '64KiB'\n[[table]]\nname = 'a'\n[[table]]\nname = 'b'\n");
    let mut run = program.spawn(&["sync", "--report", "report.json"]);
    run.wait_for_stderr("cannot export");
    wait_for_source_locks(&pair, "a", 1);
    std::thread::sleep(Duration::from_millis(150));
    pair.source.run("begin; update a set n = 2; update b set n = 2; commit");
    let outcome = run.wait();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let numbers =
        "select count(*) || ': ' || string_agg(distinct n::text, ' ') from (table a union all table b) t";
    assert_eq!(pair.target.value(numbers), "8000: 1", "{outcome}");
}

#[test]
fn a_materialized_view_is_kept_from_being_refreshed_while_it_is_read() {
    let pair = pair();
    pair.source.run(
        "create table base as select 1 as batch, i as id from generate_series(1, 5000) i;
         create materialized view m as select * from base; update base set batch = 2",
    );
    pair.target.run("create table m (batch int, id int)");
    let program = Bulkload::on(&pair)
        .fail_point("snapshot.taken", "sleep(2000)")
        .config(&format!("{CHUNKED}[[table]]\nname = 'm'\n"));
    let run = program.spawn(&["sync", "--report", "report.json"]);
    wait_for_source_locks(&pair, "m", 5);
    let refresh = pair.source.session().begin("refresh materialized view m");
    let outcome = run.wait();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    refresh.wait().unwrap();
    assert_eq!(
        pair.target.value("select min(batch) || ' ' || max(batch) || ' ' || count(*) from m"),
        "1 1 5000"
    );
}
