//! Waiting for locks: others never queue behind us for longer than `lock_timeout`, and we do not wait for ever.

use std::time::{Duration, Instant};

use crate::support::Rows::{New, Old};
use crate::support::{Db, Outcome, Over, Scene, Session, wait_until};

const SYNC: [&str; 3] = ["sync", "--report", "report.json"];

/// What a loaded machine may add to any wait.
pub(crate) const SLACK: Duration = Duration::from_millis(1500);

/// Holds whatever `sql` locks until the session is dropped.
pub(crate) fn holder(db: &Db, sql: &str) -> Session {
    let session = db.session();
    session.run("set application_name = 'the holder'");
    session.run(&format!("begin; {sql}"));
    session
}

/// The longest that a statement took while `work` went on, run again and again.
pub(crate) fn slowest<T>(db: &Db, sql: &str, work: impl FnOnce() -> T) -> (Duration, T) {
    let over = Over::default();
    std::thread::scope(|scope| {
        let pollers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let session = db.session();
                    let mut slowest = Duration::ZERO;
                    while !over.is_over() {
                        let began = Instant::now();
                        session.run(sql);
                        slowest = slowest.max(began.elapsed());
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    slowest
                })
            })
            .collect();
        let ending = over.when_dropped();
        let done = work();
        drop(ending);
        (pollers.into_iter().map(|poller| poller.join().unwrap()).max().unwrap(), done)
    })
}

#[track_caller]
fn succeeds(scene: &Scene, outcome: &Outcome) {
    assert_eq!(outcome.code, Some(0), "{outcome}");
    scene.assert_new();
    scene.assert_tidy();
}

#[test]
fn a_reader_that_holds_a_table_for_long_makes_no_other_reader_wait_for_long() {
    let scene = Scene::shared();
    let db = &scene.pair.target;
    let reader = holder(db, "select count(*) from free");
    let program = scene.program("truncate", "lock_timeout = '300ms'");
    let (waited, outcome) = slowest(db, "select count(*) from free", || {
        let running = program.spawn(&SYNC);
        std::thread::sleep(Duration::from_secs(6));
        drop(reader);
        running.wait()
    });
    succeeds(&scene, &outcome);
    assert!(outcome.table("public.free")["lock_attempts"].as_u64() > Some(2), "{outcome}");
    assert!(waited < Duration::from_millis(300) + SLACK, "a reader waited {waited:?}");
    assert!(outcome.stderr.contains("the holder"), "{outcome}");
}

#[test]
fn a_writer_that_holds_a_table_for_long_makes_no_other_writer_wait_for_long() {
    let scene = Scene::shared();
    let db = &scene.pair.target;
    let writer = holder(db, "update free set v = v where id = 1");
    let program = scene.program("delete", "lock_timeout = '300ms'");
    let (written, (read, outcome)) = slowest(db, "update free set v = v where id = 2", || {
        slowest(db, "select count(*) from free", || {
            let running = program.spawn(&SYNC);
            std::thread::sleep(Duration::from_secs(4));
            drop(writer);
            running.wait()
        })
    });
    succeeds(&scene, &outcome);
    assert!(written < Duration::from_millis(300) + SLACK, "a writer waited {written:?}");
    assert!(read < SLACK, "a reader waited {read:?}");
}

#[test]
fn a_lock_that_is_not_to_be_had_fails_the_table_and_names_the_holder() {
    for (apply, holds) in [
        ("truncate", "select from free"),
        ("delete", "update free set v = v where id = 1"),
        // Not a lock on the table that would conflict: rows that are to be deleted are locked.
        ("delete", "select from free for update"),
        ("direct", "select from free"),
    ] {
        let scene = Scene::shared();
        let holder = holder(&scene.pair.target, holds);
        let pid = holder.value("select pg_backend_pid()");
        let outcome = scene.program(apply, "lock_timeout = '100ms'\nlock_wait = '1s'").sync();
        assert_eq!(outcome.code, Some(1), "{apply}, {holds}: {outcome}");
        let error = outcome.table("public.free")["error"].as_str().unwrap().to_owned();
        assert!(error.contains(&format!("pid {pid} (the holder, idle in transaction")), "{holds}: {error}");
        assert!(error.contains("transaction ") && error.contains(" old"), "{error}");
        drop(holder);
        assert_eq!(scene.rows(), (New, Old));
        scene.assert_tidy();
    }
}

#[test]
fn a_prepared_transaction_that_holds_a_lock_is_named_with_what_ends_it() {
    for apply in ["truncate", "delete", "delta", "swap"] {
        let scene = Scene::shared();
        let gid = format!("{}'s", scene.pair.target.name());
        let gid = format!("'{}'", gid.replace('\'', "''"));
        // Whoever prepares it may be gone long since.
        scene
            .pair
            .target
            .run(&format!("begin; update free set v = v where id = 1; prepare transaction {gid}"));
        let outcome = scene.program(apply, "lock_timeout = '100ms'\nlock_wait = '1s'").sync();
        assert_eq!(outcome.code, Some(1), "{apply}: {outcome}");
        let error = outcome.table("public.free")["error"].as_str().unwrap().to_owned();
        let named = format!("blocked by prepared transaction {gid} (role ");
        for words in [
            &named,
            "RowExclusiveLock on free, prepared ",
            " ago: end it with COMMIT PREPARED or ROLLBACK PREPARED",
        ] {
            assert!(error.contains(words), "{apply}, {words}: {error}");
        }
        scene.pair.target.run(&format!("rollback prepared {gid}"));
        assert_eq!(scene.rows(), (New, Old));
        scene.assert_tidy();
    }
}

#[test]
fn a_table_that_is_locked_exclusively_before_it_is_counted_is_not_waited_for_without_limit() {
    let scene = Scene::shared();
    let mut running =
        scene.program("delete", "jobs = 1\nlock_wait = '1s'").hold_at("load.chunk_copied").spawn(&SYNC);
    running.wait_until_held();
    let holder = holder(&scene.pair.target, "lock table free in access exclusive mode");
    running.go();
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let error = outcome.table("public.free")["error"].as_str().unwrap().to_owned();
    assert!(error.contains("the holder"), "{error}");
    drop(holder);
    assert_eq!(scene.rows(), (New, Old));
    scene.assert_tidy();
}

#[test]
fn one_budget_serves_all_tables_of_a_group() {
    let scene = Scene::shared();
    let db = &scene.pair.target;
    // In the order of names: child is had at once, free after a while, parent never.
    let middle = holder(db, "select from free");
    let last = holder(db, "select from parent");
    let program = scene.program("truncate", "commit = 'run'\nlock_timeout = '3s'\nlock_wait = '1s'");
    let (waited, outcome) = slowest(db, "select count(*) from child", || {
        let running = program.spawn(&SYNC);
        wait_until("it waits for a lock", || {
            db.value(
                "select count(*) from pg_stat_activity where datname = current_database()
                 and application_name like 'bulkload/%/apply' and wait_event_type = 'Lock'",
            ) != "0"
        });
        std::thread::sleep(Duration::from_millis(2500));
        drop(middle);
        running.wait()
    });
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(waited > Duration::from_secs(2), "it did wait: {waited:?}");
    assert!(waited < Duration::from_secs(3) + SLACK, "a reader waited {waited:?}");
    drop(last);
    scene.assert_old();
}

#[test]
fn two_runs_on_one_table_do_not_mix() {
    let scene = Scene::shared();
    let mut first = scene.program("delete", "").hold_at("load.chunk_copied").spawn(&SYNC);
    first.wait_until_held();
    let second = scene.program("delete", "").sync();
    assert_eq!(second.code, Some(2), "{second}");
    assert!(second.took > Duration::from_secs(9), "{second}");
    let holder = scene.pair.target.value(
        "select application_name || ', pid ' || pid from pg_stat_activity
         where datname = current_database() and application_name like 'bulkload/%/control'",
    );
    assert!(second.stderr.contains(&holder), "{holder}: {second}");
    scene.assert_old();
    first.go();
    succeeds(&scene, &first.wait());
}

#[test]
fn a_run_that_finds_another_one_ending_waits_for_it() {
    let scene = Scene::shared();
    let mut first = scene.program("delete", "").hold_at("load.chunk_copied").spawn(&SYNC);
    first.wait_until_held();
    let second = scene.program("delete", "").spawn(&SYNC);
    std::thread::sleep(Duration::from_millis(1500));
    first.go();
    let (first, second) = (first.wait(), second.wait());
    assert_eq!((first.code, second.code), (Some(0), Some(0)), "{first}{second}");
    succeeds(&scene, &second);
}

#[test]
fn a_run_that_lost_its_claim_does_not_apply_over_the_one_that_took_it() {
    // Without staging, which the second one would have removed, nothing but the claim keeps the first one from it.
    let scene = Scene::shared();
    let mut first = scene.program("direct", "commit = 'run'").hold_at("verify.done").spawn(&SYNC);
    first.wait_until_held();
    scene.pair.target.run(
        "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and application_name like 'bulkload/%/control'",
    );
    scene.pair.source.run("insert into parent values (1000, 'newest')");
    let mut second = scene.program("direct", "commit = 'run'").hold_at("record.done").spawn(&SYNC);
    second.wait_until_held();
    first.go();
    let first = first.wait();
    assert_eq!(first.code, Some(1), "{first}");
    assert_eq!(scene.pair.target.count("parent"), 301, "the later run's rows stay");
    second.go();
    let second = second.wait();
    assert_eq!(second.code, Some(0), "{second}");
    assert_eq!(scene.pair.target.count("parent"), 301);
}

#[test]
fn transactions_that_lock_in_another_order_are_not_killed() {
    let scene = Scene::shared();
    let db = &scene.pair.target;
    let over = Over::default();
    let outcome = std::thread::scope(|scope| {
        // We lock child before parent, as their names are ordered.
        let other = scope.spawn(|| {
            let session = db.session();
            while !over.is_over() {
                session.run(
                    "begin; update parent set v = v where id = 1; select pg_sleep(0.05);
                     update child set v = v where id = 1; commit",
                );
                std::thread::sleep(Duration::from_millis(80));
            }
        });
        let ending = over.when_dropped();
        let outcomes = ["truncate", "delete"]
            .map(|apply| scene.program(apply, "lock_timeout = '200ms'\nlock_wait = '60s'").sync());
        drop(ending);
        other.join().unwrap();
        outcomes
    });
    outcome.iter().for_each(|outcome| succeeds(&scene, outcome));
}

#[test]
fn staging_that_somebody_reads_is_left_behind_and_keeps_no_run_from_its_work() {
    let scene = Scene::shared();
    let mut running = scene.program("delete", "").hold_at("record.done").spawn(&SYNC);
    running.wait_until_held();
    let leftover = scene.leftovers().into_iter().find(|name| name.starts_with("free__")).unwrap();
    let reader = holder(&scene.pair.target, &format!("select from bulkload.{leftover}"));
    running.go();
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert!(outcome.took < Duration::from_secs(20), "{outcome}");
    scene.assert_new();
    assert!(scene.leftovers().contains(&leftover));
    // As any dump of the database would.
    let again = scene.program("delete", "").sync();
    assert_eq!(again.code, Some(0), "{again}");
    drop(reader);
    succeeds(&scene, &scene.program("delete", "").sync());
}
