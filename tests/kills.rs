//! kill -9 of the program, anywhere: each table holds what it held before or what the run brings, and the next run
//! finishes the job.

use std::time::Duration;

use crate::support::Rows::{New, Old};
use crate::support::{Bulkload, Running, Scene};

/// Every fail point, in the order of a run.
const BEFORE_APPLY: [&str; 9] = [
    "plan.done",
    "stage.claimed",
    "stage.done",
    "snapshot.locked",
    "snapshot.taken",
    "load.chunk_copied",
    "load.chunk_committed",
    "verify.judged",
    "verify.done",
];
const WITHIN_APPLY: [&str; 4] = ["apply.locked", "apply.removed", "apply.exchanged", "apply.committing"];
const AFTER_APPLY: [&str; 2] = ["apply.committed", "record.done"];

const SYNC: [&str; 3] = ["sync", "--report", "report.json"];

/// Runs up to a fail point and kills it there.
#[track_caller]
fn killed_at(point: &str, program: Bulkload) -> Bulkload {
    let program = program.hold_at(point);
    let mut running = program.spawn(&SYNC);
    running.wait_until_held();
    assert_eq!(running.kill_9().code, None);
    // What comes now is not to be held.
    program.env("BULKLOAD_HOLD", "")
}

/// The next run brings everything and leaves nothing.
#[track_caller]
fn converges(scene: &Scene, program: &Bulkload, point: &str) {
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(0), "after a kill at {point}: {outcome}");
    scene.assert_new();
    assert_eq!(scene.leftovers(), Vec::<String>::new(), "after a kill at {point}");
    scene.wait_until_alone();
}

#[test]
fn a_run_killed_before_it_applies_changes_nothing_and_the_next_one_converges() {
    for point in BEFORE_APPLY {
        let scene = Scene::shared();
        let program = killed_at(point, scene.program("delete", "jobs = 2"));
        // One group may have been applied before the one that is judged gets there.
        let (group, free) = scene.rows();
        assert!(group == Old && (free == Old || point == "verify.judged"), "killed at {point}");
        converges(&scene, &program, point);
    }
}

#[track_caller]
fn killed_while_applying(apply: &str, run: &str) {
    for point in WITHIN_APPLY {
        let scene = Scene::shared();
        let program = killed_at(point, scene.program(apply, run));
        scene.wait_until_alone();
        assert_eq!(scene.rows(), (Old, Old), "{apply}, killed at {point}");
        converges(&scene, &program, point);
    }
    for point in AFTER_APPLY {
        let scene = Scene::shared();
        let program = killed_at(point, scene.program(apply, run));
        let (group, free) = scene.rows();
        let all = point == "record.done" || run.contains("commit");
        assert!(group == New || free == New, "{apply}, killed at {point}");
        assert!(!all || (group, free) == (New, New), "{apply}, killed at {point}");
        converges(&scene, &program, point);
    }
}

#[test]
fn a_delete_killed_while_it_is_applied_is_all_or_nothing() {
    killed_while_applying("delete", "");
}

#[test]
fn a_delta_killed_while_it_is_applied_is_all_or_nothing() {
    killed_while_applying("delta", "");
}

#[test]
fn a_truncate_killed_while_it_is_applied_is_all_or_nothing() {
    killed_while_applying("truncate", "");
}

#[test]
fn a_direct_load_killed_while_it_is_applied_is_all_or_nothing() {
    killed_while_applying("direct", "");
}

#[test]
fn a_run_of_one_transaction_killed_while_it_is_applied_is_all_or_nothing() {
    killed_while_applying("delete", "commit = 'run'");
}

#[test]
fn a_run_killed_at_any_moment_is_all_or_nothing() {
    for apply in ["delta", "delete", "truncate", "direct"] {
        let scene = Scene::shared();
        let program = scene.program(apply, "");
        // How long a run takes here, so that the moments are spread over all of it.
        let whole = program.sync();
        assert_eq!(whole.code, Some(0), "{whole}");
        let scene = Scene::shared();
        let program = scene.program(apply, "");
        for part in 1..=6 {
            let running = program.spawn(&SYNC);
            std::thread::sleep(whole.took * part / 6 + Duration::from_millis(u64::from(part) * 7));
            drop(running.kill_9());
            scene.rows();
        }
        converges(&scene, &program, "random moments");
    }
}

#[test]
fn clean_removes_by_hand_what_a_killed_run_left() {
    for (apply, point) in [
        ("delete", "stage.done"),
        ("delete", "load.chunk_committed"),
        ("direct", "apply.removed"),
        ("delta", "apply.compared"),
        ("truncate", "record.done"),
    ] {
        let scene = Scene::shared();
        let program = killed_at(point, scene.program(apply, "jobs = 1"));
        assert_ne!(scene.leftovers(), Vec::<String>::new(), "{apply}, killed at {point}");
        let rows = {
            scene.wait_until_alone();
            scene.rows()
        };
        let outcome = program.run(&["clean"]);
        assert_eq!(outcome.code, Some(0), "{outcome}");
        assert_eq!(scene.leftovers(), Vec::<String>::new(), "{apply}, killed at {point}: {outcome}");
        assert_eq!(scene.rows(), rows, "clean touches no live table");
        let again = program.run(&["clean"]);
        assert!(again.stdout.contains("nothing to clean up"), "{again}");
    }
}

#[test]
fn clean_leaves_a_live_run_alone() {
    let scene = Scene::shared();
    let program = scene.program("delete", "").hold_at("load.chunk_copied");
    let mut running: Running = program.spawn(&SYNC);
    running.wait_until_held();
    let before = scene.leftovers();
    let outcome = scene.program("delete", "").run(&["clean"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert!(outcome.stdout.contains("is alive"), "{outcome}");
    assert_eq!(scene.leftovers(), before);
    running.go();
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    scene.assert_new();
    scene.assert_tidy();
}

#[test]
fn a_run_of_other_tables_leaves_a_live_run_alone() {
    let scene = Scene::shared();
    let program = scene.program("delete", "").hold_at("verify.done");
    let mut running = program.spawn(&["sync", "--table", "parent", "--table", "child"]);
    running.wait_until_held();
    let outcome = scene.program("delete", "").run(&["sync", "--table", "free"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(scene.rows(), (Old, New));
    running.go();
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    scene.assert_new();
    scene.assert_tidy();
}
