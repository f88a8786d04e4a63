//! `swap` under kills, crashes and others' locks: old or new rows at every instant, and nobody waits for long.

use std::time::Duration;

use bulkload::pg::cluster::Cluster;

use crate::locks::{SLACK, holder, slowest};
use crate::support::Rows::{New, Old};
use crate::support::database::test_options;
use crate::support::{
    Bulkload, Db, Outcome, Pair, Scene, Servers, assert_same_dump, dump_of_others as dump, wait_until,
};

const SYNC: [&str; 3] = ["sync", "--report", "report.json"];

const WITHIN: [&str; 8] = [
    "swap.prepared",
    "swap.referrers_locked",
    "apply.locked",
    "swap.step_detached",
    "swap.step_moved",
    "swap.step_attached",
    "apply.exchanged",
    "apply.committing",
];
const AFTER: [&str; 4] = ["apply.committed", "swap.validated", "swap.emptied", "swap.unkeyed"];

/// A scene with a table outside that refers to one that is swapped, a view, and a table that one refers to.
fn scene(pair: Pair) -> Scene {
    let scene = Scene::on(pair);
    scene.pair.target.run(
        "create table outside (id int primary key, parent_id int references parent);
         insert into outside select i, i from generate_series(1, 100) i;
         create view seen as select id, v from parent;
         create table beyond (id int primary key); insert into beyond select generate_series(1, 300);
         alter table child add constraint beyond foreign key (parent_id) references beyond",
    );
    scene
}

#[track_caller]
fn succeeds(scene: &Scene, outcome: &Outcome, what: &str) {
    assert_eq!(outcome.code, Some(0), "{what}: {outcome}");
    assert_eq!(scene.rows(), (New, New), "{what}");
    assert_eq!(scene.leftovers(), Vec::<String>::new(), "{what}: {outcome}");
}

/// Runs up to a point and kills it there.
#[track_caller]
fn killed_at(scene: &Scene, point: &str) -> Bulkload {
    let program = scene.program("swap", "commit = 'run'").hold_at(point);
    let mut running = program.spawn(&SYNC);
    running.wait_until_held();
    assert_eq!(running.kill_9().code, None);
    scene.wait_until_alone();
    // What comes now is not to be held.
    program.env("BULKLOAD_HOLD", "")
}

#[test]
fn a_swap_killed_before_its_commit_changes_nothing_and_the_next_run_converges() {
    for point in WITHIN {
        let scene = scene(crate::support::pair());
        let before = dump(&scene.pair.target);
        let program = killed_at(&scene, point);
        assert_eq!(scene.rows(), (Old, Old), "killed at {point}");
        assert_same_dump(&before, &dump(&scene.pair.target), &format!("killed at {point}"));
        succeeds(&scene, &program.sync(), point);
        assert_same_dump(&before, &dump(&scene.pair.target), &format!("after a kill at {point}"));
    }
}

#[test]
fn what_a_kill_after_the_commit_leaves_the_next_run_or_clean_finishes() {
    for (i, point) in AFTER.into_iter().enumerate() {
        let scene = scene(crate::support::pair());
        let before = dump(&scene.pair.target);
        let program = killed_at(&scene, point);
        assert_eq!(scene.rows(), (New, New), "killed at {point}");
        assert_ne!(scene.leftovers(), Vec::<String>::new(), "killed at {point}");
        if i % 2 == 0 {
            let outcome = program.run(&["clean"]);
            assert_eq!(outcome.code, Some(0), "{outcome}");
            assert_eq!(scene.leftovers(), Vec::<String>::new(), "killed at {point}: {outcome}");
            assert_same_dump(&before, &dump(&scene.pair.target), &format!("killed at {point}"));
        }
        succeeds(&scene, &program.sync(), point);
        assert_same_dump(&before, &dump(&scene.pair.target), &format!("after a kill at {point}"));
    }
}

#[test]
fn a_crash_of_the_target_within_a_swap_is_survived() {
    let mut servers = Servers::private();
    for point in [
        "swap.prepared",
        "apply.locked",
        "swap.step_moved",
        "apply.exchanged",
        "apply.committed",
        "swap.emptied",
    ] {
        let scene = scene(servers.pair());
        let before = dump(&scene.pair.target);
        let program = scene.program("swap", "commit = 'run'");
        let mut running = program.hold_at(point).spawn(&SYNC);
        running.wait_until_held();
        servers.target.crash();
        servers.target.start_again().unwrap();
        running.go();
        let outcome = running.wait();
        assert_eq!(outcome.code, Some(0), "a crash at {point}: {outcome}");
        assert_eq!(scene.rows(), (New, New), "a crash at {point}");
        succeeds(&scene, &scene.program("swap", "").sync(), point);
        assert_same_dump(&before, &dump(&scene.pair.target), &format!("after a crash at {point}"));
    }
}

#[test]
fn whoever_is_in_the_way_of_a_swap_makes_no_reader_wait_for_long() {
    for (holds, reads) in [
        ("select count(*) from parent", "select count(*) from parent"),
        ("select count(*) from seen", "select count(*) from seen"),
        ("select count(*) from outside", "select count(*) from outside"),
        ("select nextval('free_id_seq')", "select count(*) from free"),
        ("update child set v = v where id = 1", "select count(*) from child"),
    ] {
        let scene = scene(crate::support::pair());
        let db = &scene.pair.target;
        let holder = holder(db, holds);
        let program = scene.program("swap", "commit = 'run'\nlock_timeout = '200ms'");
        let (waited, outcome) = slowest(db, reads, || {
            let mut running = program.spawn(&SYNC);
            for _ in 0..3 {
                running.wait_for_stderr("waiting for locks");
            }
            assert!(running.stderr_so_far().contains("the holder"), "{holds}: {}", running.stderr_so_far());
            drop(holder);
            running.wait()
        });
        succeeds(&scene, &outcome, holds);
        assert!(waited < Duration::from_millis(200) + SLACK, "{holds}: a reader waited {waited:?}");
    }
}

#[test]
fn an_old_table_that_somebody_still_reads_is_left_to_the_next_run() {
    let scene = scene(crate::support::pair());
    let db = &scene.pair.target;
    let program = scene.program("swap", "commit = 'run'\nlock_timeout = '100ms'\nlock_wait = '1s'");
    let mut running = program.hold_at("swap.validated").spawn(&SYNC);
    running.wait_until_held();
    let old = db.value("select nspname from pg_namespace where nspname like 'bulkload_old_%'");
    let reader = holder(db, &format!("select from {old}.free"));
    running.go();
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(scene.rows(), (New, New));
    let holder = format!("pid {} (the holder, idle in transaction", reader.value("select pg_backend_pid()"));
    let warnings = outcome.report()["tables"].to_string();
    for words in [&format!("{old}.free"), "could not be removed yet", &holder, "the next run retries"] {
        assert!(warnings.contains(words), "{words}: {outcome}");
    }
    assert_ne!(scene.leftovers(), Vec::<String>::new());
    // It keeps no other run from its work, nor what another dead run left from being removed.
    let dead = killed_at(&scene, "swap.built");
    let left = scene.leftovers();
    assert!(left.iter().any(|name| name.starts_with("bulkload_new_")), "{left:?}");
    let outcome = dead.sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(scene.rows(), (New, New));
    let told =
        outcome.stderr.lines().find(|line| line.contains("could not remove the leftovers of a dead run"));
    assert!(told.is_some_and(|line| line.contains(&holder)), "{holder}: {outcome}");
    assert_eq!(scene.leftovers().iter().filter(|name| name.starts_with("bulkload_")).count(), 1, "{outcome}");
    assert!(scene.leftovers().contains(&old), "{outcome}");
    drop(reader);
    succeeds(&scene, &scene.program("swap", "commit = 'run'").sync(), "the next run");
}

#[test]
fn a_vacuum_against_wraparound_is_waited_for_without_making_readers_wait() {
    let options = test_options()
        .setting("autovacuum_freeze_max_age", 100_000)
        .setting("autovacuum_naptime", "1s")
        // The catalogs come first.
        .setting("autovacuum_vacuum_cost_delay", 0)
        .setting("synchronous_commit", "off");
    let source = Servers::shared();
    let target = Cluster::start(options).unwrap();
    let scene = scene(Pair { source: Db::create(&source.source), target: Db::create(&target) });
    let db = &scene.pair.target;
    // A common vacuum that came before the ids are used up would freeze rows, and none against wraparound would follow.
    db.run(
        "alter table free set (autovacuum_enabled = off,
             autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)",
    );
    db.run("do $$ begin for i in 1..101000 loop perform txid_current(); commit; end loop; end $$");
    wait_until("a vacuum against wraparound is at work", || {
        db.value("select count(*) from pg_stat_activity where query like 'autovacuum: VACUUM%public.free (to prevent wraparound)'") == "1"
    });
    let program = scene.program("swap", "commit = 'run'\nlock_timeout = '100ms'\nlock_wait = '1s'");
    let (waited, outcome) = slowest(db, "select count(*) from free", || program.sync());
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(outcome.stderr.contains("autovacuum worker"), "{outcome}");
    assert!(waited < Duration::from_millis(100) + SLACK, "a reader waited {waited:?}");
    assert_eq!(scene.rows(), (Old, Old));
    // It waits for the vacuum, which begins anew when it is ended, and then finds the table quick to vacuum.
    let resetting = db.session();
    let reset = resetting
        .begin("alter table free reset (autovacuum_vacuum_cost_delay, autovacuum_vacuum_cost_limit)");
    db.run("select pg_terminate_backend(pid) from pg_stat_activity where query like 'autovacuum: VACUUM%public.free%'");
    reset.wait().unwrap();
    succeeds(&scene, &scene.program("swap", "commit = 'run'").sync(), "once the vacuum is done");
}

#[test]
fn a_run_that_waited_for_one_that_swapped_plans_again() {
    let scene = scene(crate::support::pair());
    let mut second = scene.program("swap", "").hold_at("plan.done").spawn(&SYNC);
    second.wait_until_held();
    let first = scene.program("swap", "").sync();
    succeeds(&scene, &first, "the first");
    second.go();
    let second = second.wait();
    succeeds(&scene, &second, "the second");
    let by = format!("run {} exchanged it last; planning again", first.report()["run_id"].as_str().unwrap());
    assert!(second.stderr.contains(&by), "{by}: {second}");
}

#[test]
fn a_run_whose_tables_another_one_took_over_and_swapped_says_which() {
    let scene = scene(crate::support::pair());
    for other in ["swap", "delta"] {
        let mut first = scene.program("swap", "commit = 'run'").hold_at("verify.done").spawn(&SYNC);
        first.wait_until_held();
        scene.pair.target.run(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and application_name like 'bulkload/%/control'",
        );
        let second = scene.program(other, "commit = 'run'").sync();
        succeeds(&scene, &second, other);
        first.go();
        let first = first.wait();
        assert_eq!(first.code, Some(1), "{first}");
        let by = format!(
            "run {} removed the rows that this run had loaded",
            second.report()["run_id"].as_str().unwrap()
        );
        for name in ["public.parent", "public.free"] {
            let error = first.table(name)["error"].as_str().unwrap().to_owned();
            assert!(error.contains(&by), "{by}: {first}");
        }
        succeeds(&scene, &scene.program("swap", "commit = 'run'").sync(), "the next run");
    }
}
