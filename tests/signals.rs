//! SIGINT and SIGTERM: what runs on the servers is cancelled, what was begun is undone, and the exit code says so.

use std::time::{Duration, Instant};

use crate::support::Rows::New;
use crate::support::{Bulkload, Db, Running, Scene, wait_until};

const SYNC: [&str; 3] = ["sync", "--report", "report.json"];

/// How long the servers may show our sessions after the program's end.
const ALONE_WITHIN: Duration = Duration::from_secs(2);

/// How long the program may take to stop; it never waits for what it cancels.
const STOPS_WITHIN: Duration = Duration::from_secs(8);

#[derive(Debug, Clone, Copy)]
enum Signal {
    Interrupt,
    Terminate,
}

impl Signal {
    fn send(self, running: &Running) -> i32 {
        match self {
            Self::Interrupt => running.interrupt(),
            Self::Terminate => running.terminate(),
        }
        self.code()
    }

    fn code(self) -> i32 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// Sends a signal and expects a quick end without leftovers.
#[track_caller]
fn stops(scene: &Scene, signal: Signal, mut running: Running, what: &str) {
    let began = Instant::now();
    let code = signal.send(&running);
    // If it is held it may go on now.
    running.wait_until_it_heard();
    running.go();
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(code), "{what}: {outcome}");
    assert!(began.elapsed() < STOPS_WITHIN, "{what}: {:?}", began.elapsed());
    let ended = Instant::now();
    scene.wait_until_alone();
    assert!(ended.elapsed() < ALONE_WITHIN, "{what}: {:?}", ended.elapsed());
    assert_eq!(scene.leftovers(), Vec::<String>::new(), "{what}: {outcome}");
}

#[test]
fn a_run_that_is_stopped_between_two_phases_changes_nothing_and_leaves_nothing() {
    for (signal, apply, point) in [
        (Signal::Interrupt, "delete", "plan.done"),
        (Signal::Terminate, "delete", "stage.claimed"),
        (Signal::Interrupt, "delete", "stage.done"),
        (Signal::Terminate, "delete", "snapshot.taken"),
        (Signal::Interrupt, "delete", "load.chunk_copied"),
        (Signal::Terminate, "delete", "load.chunk_committed"),
        (Signal::Terminate, "delete", "verify.judged"),
        (Signal::Interrupt, "delete", "verify.done"),
        (Signal::Terminate, "delete", "apply.locked"),
        (Signal::Interrupt, "truncate", "apply.removed"),
        (Signal::Terminate, "direct", "apply.removed"),
        (Signal::Interrupt, "truncate", "apply.exchanged"),
    ] {
        let scene = Scene::shared();
        let mut running = scene.program(apply, "commit = 'run'").hold_at(point).spawn(&SYNC);
        running.wait_until_held();
        let what = format!("{signal:?} at {point}, {apply}");
        stops(&scene, signal, running, &what);
        scene.assert_old();
    }
}

#[test]
fn a_group_that_is_being_committed_stays_and_is_reported() {
    let scene = Scene::shared();
    let mut running = scene.program("delete", "").hold_at("apply.committed").spawn(&SYNC);
    running.wait_until_held();
    stops(&scene, Signal::Terminate, running, "committed");
    let (group, free) = scene.rows();
    assert!(group == New || free == New);
    let applied =
        scene.pair.target.value("select count(*) from bulkload.sync_state where error_message is null");
    assert_ne!(applied, "0");
}

/// Waits until a session of the program runs what matches.
#[track_caller]
fn wait_for_query(db: &Db, condition: &str) {
    let sql = format!(
        "select count(*) from pg_stat_activity where datname = current_database()
         and application_name like 'bulkload/%' and state = 'active' and {condition}"
    );
    wait_until(condition, || db.value(&sql) != "0");
}

/// A program whose extraction of `free` takes for ever.
fn slow_source(scene: &Scene, apply: &str) -> Bulkload {
    let slow = "where = '(select pg_sleep(600)) is not null'";
    scene.program("", "").config(&format!("[[table]]\nname = 'free'\n{slow}\napply = '{apply}'\n"))
}

#[test]
fn a_query_of_the_source_is_cancelled() {
    for (apply, signal) in [("delete", Signal::Interrupt), ("direct", Signal::Terminate)] {
        let scene = Scene::shared();
        let running = slow_source(&scene, apply).spawn(&SYNC);
        wait_for_query(&scene.pair.source, "wait_event = 'PgSleep'");
        stops(&scene, signal, running, &format!("extracting, {apply}"));
        scene.assert_old();
    }
}

#[test]
fn a_statement_that_applies_is_cancelled_and_rolled_back() {
    for apply in ["delete", "truncate", "direct"] {
        let scene = Scene::shared();
        scene.pair.target.run(
            "create function wait() returns trigger language plpgsql as
                 $$ begin perform pg_sleep(600); return null; end $$;
             create trigger t before insert on free for each statement execute function wait()",
        );
        let running = scene.program(apply, "").spawn(&["sync", "--table", "free"]);
        wait_for_query(&scene.pair.target, "wait_event = 'PgSleep'");
        stops(&scene, Signal::Terminate, running, &format!("applying, {apply}"));
        scene.assert_old();
    }
}

#[test]
fn waiting_for_a_lock_ends_with_the_run() {
    // While it waits in a statement, and while it pauses between two attempts.
    for lock_timeout in ["60s", "50ms"] {
        let scene = Scene::shared();
        let holder = scene.pair.target.session();
        holder.run("begin; select from free; select from parent");
        let run = format!("lock_timeout = '{lock_timeout}'");
        let mut running = scene.program("truncate", &run).spawn(&SYNC);
        if lock_timeout == "60s" {
            wait_for_query(&scene.pair.target, "wait_event_type = 'Lock'");
        } else {
            running.wait_for_stderr("waiting for locks");
        }
        stops(&scene, Signal::Interrupt, running, &format!("lock_timeout = {lock_timeout}"));
        drop(holder);
        scene.assert_old();
    }
}

#[test]
fn waiting_for_a_table_that_is_locked_exclusively_ends_with_the_run() {
    for (side, point, apply) in [
        ("source", "stage.done", "delete"),
        ("target", "load.chunk_copied", "delete"),
        ("target", "stage.done", "direct"),
    ] {
        let scene = Scene::shared();
        let mut running = scene.program(apply, "jobs = 1\ncommit = 'run'").hold_at(point).spawn(&SYNC);
        running.wait_until_held();
        let db = if side == "source" { &scene.pair.source } else { &scene.pair.target };
        let holder = db.session();
        holder.run("begin; lock table free in access exclusive mode");
        running.go();
        wait_for_query(db, "wait_event_type = 'Lock'");
        stops(&scene, Signal::Terminate, running, &format!("locked on the {side}, {apply}"));
        drop(holder);
        scene.assert_old();
    }
}

#[test]
fn waiting_for_another_run_ends_with_the_run() {
    let scene = Scene::shared();
    let mut first = scene.program("delete", "").hold_at("load.chunk_copied").spawn(&SYNC);
    first.wait_until_held();
    let second = scene.program("delete", "").spawn(&SYNC);
    std::thread::sleep(Duration::from_millis(700));
    second.interrupt();
    let second = second.wait();
    assert_eq!(second.code, Some(130), "{second}");
    assert!(second.took < Duration::from_secs(5), "{second}");
    first.go();
    let first = first.wait();
    assert_eq!(first.code, Some(0), "{first}");
    scene.assert_new();
    scene.assert_tidy();
}

#[test]
fn a_second_signal_ends_the_program_at_once() {
    let scene = Scene::shared();
    let mut running = scene.program("delete", "").hold_at("apply.locked").spawn(&SYNC);
    running.wait_until_held();
    running.interrupt();
    running.wait_for_stderr("a second signal exits");
    assert!(running.is_running(), "it is held");
    running.terminate();
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(143), "{outcome}");
    scene.wait_until_alone();
    scene.assert_old();
    let outcome = scene.program("delete", "").sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    scene.assert_new();
    scene.assert_tidy();
}
