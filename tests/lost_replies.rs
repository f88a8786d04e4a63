//! Connections that break in the middle of something: what had happened is found out, never guessed.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Bulkload, Direction, Lost, Outcome, Proxy, Rows, Scene, wait_until};

/// What the applying session sends to commit.
const COMMIT: &[u8] = b"Q\0\0\0\x0bcommit\0";

/// What a stream sends to commit a chunk.
const COMMIT_CHUNK: &[u8] = b"ledger (run_id, entry, chunk, rows) values";

const SYNC: [&str; 3] = ["sync", "--report", "report.json"];

/// A proxy before the target.
fn behind_proxy(scene: &Scene, apply: &str, run: &str) -> (Proxy, Bulkload) {
    let proxy = Proxy::to(scene.pair.target.port());
    let program =
        scene.program(apply, run).env("TARGET_DATABASE_URL", &scene.pair.target.url_through(proxy.port()));
    (proxy, program)
}

#[track_caller]
fn succeeds(scene: &Scene, outcome: &Outcome) {
    assert_eq!(outcome.code, Some(0), "{outcome}");
    scene.assert_new();
    scene.assert_tidy();
}

/// A run of one transaction whose applying COMMIT is lost on its way there or back.
#[track_caller]
fn loses_commit(what: Lost, apply: &str, retries: u32) -> (Scene, Outcome) {
    let scene = Scene::shared();
    let (proxy, program) = behind_proxy(&scene, apply, &format!("commit = 'run'\nretries = {retries}"));
    let mut running = program.hold_at("apply.committing").spawn(&SYNC);
    running.wait_until_held();
    proxy.lose(what, COMMIT);
    running.go();
    let outcome = running.wait();
    assert!(proxy.has_lost());
    assert!(outcome.stderr.contains("asking the server for the transaction's status"), "{outcome}");
    (scene, outcome)
}

#[test]
fn a_commit_whose_reply_is_lost_is_found_to_be_committed() {
    for apply in ["delete", "truncate", "direct"] {
        let (scene, outcome) = loses_commit(Lost::Reply, apply, 0);
        succeeds(&scene, &outcome);
        assert_eq!(outcome.table("public.free")["inserted"], 3000);
    }
}

#[test]
fn a_commit_that_never_arrived_is_not_reported_as_applied() {
    let (scene, outcome) = loses_commit(Lost::Request, "delete", 0);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    scene.assert_old();
    scene.assert_tidy();
    assert_eq!(outcome.table("public.free")["ok"], false);
}

#[test]
fn a_commit_that_never_arrived_is_tried_again() {
    for apply in ["delete", "direct"] {
        let (scene, outcome) = loses_commit(Lost::Request, apply, 3);
        succeeds(&scene, &outcome);
        assert!(outcome.stderr.contains("applying again"), "{outcome}");
    }
}

#[test]
fn rejects_are_taken_out_and_counted_once_though_the_reply_is_lost() {
    for what in [Lost::Reply, Lost::Request] {
        let scene = Scene::shared();
        scene.pair.source.run(
            "alter table child drop constraint child_code_fkey;
             insert into child select 10000 + i, 1, 'orphan', 'no code' from generate_series(1, 10) i",
        );
        let (proxy, program) = behind_proxy(&scene, "delete", "commit = 'run'");
        // Of the transactions that end so, the one that judges staging is the first.
        proxy.lose(what, COMMIT);
        let outcome = program.sync();
        assert!(proxy.has_lost());
        succeeds(&scene, &outcome);
        assert!(!outcome.stderr.contains("asking the server for the transaction's status"), "{outcome}");
        let child = outcome.table("public.child");
        let figures =
            ["extracted", "rejected", "staged", "inserted"].map(|figure| child[figure].as_u64().unwrap());
        assert_eq!(figures, [910, 10, 900, 900], "{what:?}: {outcome}");
        let file = program.dir().join(child["rejects_file"].as_str().unwrap());
        assert_eq!(std::fs::read_to_string(file).unwrap().lines().count(), 11, "{what:?}");
    }
}

#[test]
fn a_judgement_that_is_committed_while_it_is_being_repeated_is_made_once() {
    let scene = Scene::shared();
    scene.pair.source.run(
        "alter table child drop constraint child_code_fkey;
         insert into child select 10000 + i, 1, 'orphan', 'no code' from generate_series(1, 10) i",
    );
    let (proxy, program) = behind_proxy(&scene, "delete", "");
    let program = program.hold_at("verify.judged");
    let mut running =
        program.spawn(&["sync", "--report", "report.json", "--table", "child", "--table", "parent"]);
    running.wait_until_held();
    let judging = "from pg_stat_activity where application_name like 'bulkload/%/verify'
         and datname = current_database()";
    let backend = scene.pair.target.value(&format!("select pid {judging} and state = 'idle in transaction'"));
    // A backend that is stopped gets the commit, and acts on it only after its client has begun anew.
    signal(&backend, Signal::STOP);
    proxy.lose(Lost::Reply, COMMIT);
    running.go();
    wait_until("the judgement is being committed", || proxy.has_lost());
    proxy.cut();
    let waiting = format!("select pid {judging} and pid <> {backend} and wait_event_type = 'Lock'");
    wait_until("it is repeated and waits for the first one", || !scene.pair.target.rows(&waiting).is_empty());
    signal(&backend, Signal::CONT);
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(scene.rows(), (Rows::New, Rows::Old));
    scene.assert_tidy();
    let child = outcome.table("public.child");
    let figures =
        ["extracted", "rejected", "staged", "inserted"].map(|figure| child[figure].as_u64().unwrap());
    assert_eq!(figures, [910, 10, 900, 900], "{outcome}");
    let file = program.dir().join(child["rejects_file"].as_str().unwrap());
    assert_eq!(std::fs::read_to_string(file).unwrap().lines().count(), 11);
}

#[test]
fn a_chunk_whose_commit_was_not_answered_is_loaded_once() {
    for what in [Lost::Reply, Lost::Request] {
        let scene = Scene::shared();
        let (proxy, program) = behind_proxy(&scene, "delete", "jobs = 1");
        proxy.lose(what, COMMIT_CHUNK);
        let outcome = program.sync();
        assert!(proxy.has_lost());
        succeeds(&scene, &outcome);
        assert!(outcome.stderr.contains("repeating the chunk"), "{what:?}: {outcome}");
        let attempts = ["parent", "child", "free"]
            .map(|table| outcome.table(&format!("public.{table}"))["attempts"].as_u64().unwrap());
        assert_eq!(attempts.iter().max(), Some(&2), "{what:?}: {outcome}");
    }
}

#[test]
fn a_chunk_that_lands_while_it_is_being_repeated_is_loaded_once() {
    let scene = Scene::shared();
    let (proxy, program) = behind_proxy(&scene, "delete", "");
    // A backend that is stopped gets the commit, and acts on it only after its client has begun anew.
    let mut running = program
        .fail_point("load.chunk_copied", "sleep(2500)")
        .spawn(&["sync", "--table", "child", "--table", "parent"]);
    let loading = "select pid from pg_stat_activity where application_name like 'bulkload/%/load'
         and datname = current_database() and query like '%copy%child%' and state = 'idle in transaction'";
    wait_until("the chunk is copied", || !scene.pair.target.rows(loading).is_empty());
    let backend = scene.pair.target.value(loading);
    signal(&backend, Signal::STOP);
    proxy.lose(Lost::Reply, COMMIT_CHUNK);
    wait_until("the chunk is being committed", || proxy.has_lost());
    proxy.cut();
    wait_until("the chunk is copied again", || scene.pair.target.rows(loading).len() > 1);
    signal(&backend, Signal::CONT);
    wait_until("the first commit is done", || {
        !running.is_running() || scene.pair.target.rows(loading).len() < 2
    });
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(scene.rows(), (Rows::New, Rows::Old));
    scene.assert_tidy();
}

fn signal(backend: &str, signal: Signal) {
    kill_process(Pid::from_raw(backend.parse().unwrap()).unwrap(), signal).unwrap();
}

#[test]
fn a_connection_to_the_target_that_breaks_within_a_copy_is_replaced() {
    for (direction, bytes) in
        [(Direction::ToServer, 300_000), (Direction::ToServer, 1_500_000), (Direction::ToClient, 400)]
    {
        let scene = Scene::shared();
        let (proxy, program) = behind_proxy(&scene, "delete", "jobs = 2");
        let mut running = program.hold_at("snapshot.taken").spawn(&SYNC);
        running.wait_until_held();
        proxy.cut_after(direction, bytes);
        running.go();
        let outcome = running.wait();
        succeeds(&scene, &outcome);
        assert!(outcome.stderr.contains(" again in ") || outcome.stderr.contains("repeating"), "{outcome}");
    }
}

#[test]
fn a_connection_to_the_target_that_breaks_within_a_direct_copy_is_replaced() {
    let scene = Scene::shared();
    let (proxy, program) = behind_proxy(&scene, "direct", "");
    let mut running = program.hold_at("snapshot.taken").spawn(&SYNC);
    running.wait_until_held();
    proxy.cut_after(Direction::ToServer, 1_500_000);
    running.go();
    succeeds(&scene, &running.wait());
}

#[test]
fn one_connection_to_the_source_that_breaks_within_a_copy_is_replaced() {
    let scene = Scene::shared();
    let proxy = Proxy::to(scene.pair.source.port());
    let mut running = scene
        .program("delete", "jobs = 2")
        .env("SOURCE_DATABASE_URL", &scene.pair.source.url_through(proxy.port()))
        .hold_at("snapshot.taken")
        .spawn(&SYNC);
    running.wait_until_held();
    proxy.cut_one_after(Direction::ToClient, 1_200_000);
    running.go();
    let outcome = running.wait();
    succeeds(&scene, &outcome);
    assert!(outcome.stderr.contains("repeating the chunk"), "{outcome}");
}

#[test]
fn a_connection_that_freezes_for_a_while_goes_on() {
    let scene = Scene::shared();
    let (proxy, program) = behind_proxy(&scene, "delete", "jobs = 2");
    let mut running = program.hold_at("snapshot.taken").spawn(&SYNC);
    running.wait_until_held();
    proxy.delay(Duration::from_millis(2));
    running.go();
    std::thread::sleep(Duration::from_millis(60));
    proxy.freeze(true);
    std::thread::sleep(Duration::from_secs(1));
    assert!(running.is_running());
    proxy.freeze(false);
    succeeds(&scene, &running.wait());
}

#[test]
fn retries_that_are_used_up_fail_the_tables_and_keep_the_old_rows() {
    let scene = Scene::shared();
    let (proxy, program) = behind_proxy(&scene, "delete", "retries = 1");
    let mut running = program.hold_at("load.chunk_copied").spawn(&SYNC);
    running.wait_until_held();
    proxy.refuse(true);
    proxy.cut();
    running.go();
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(1), "{outcome}");
    scene.assert_old();
    assert_eq!(outcome.report()["ok"], false);
    proxy.refuse(false);
    succeeds(&scene, &scene.program("delete", "").sync());
}
