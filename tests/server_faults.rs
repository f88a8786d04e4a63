//! Servers that crash or restart under a run, and sessions that are ended from outside.

use std::time::Duration;

use bulkload::pg::cluster::Stop;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::Rows::{New, Old};
use crate::support::{Outcome, Proxy, Running, Scene, Servers, fingerprint, wait_until};

const SYNC: [&str; 3] = ["sync", "--report", "report.json"];

#[derive(Debug, Clone, Copy)]
enum Blow {
    Crash,
    Restart,
}

impl Blow {
    fn strike(self, server: &mut bulkload::pg::cluster::Cluster) {
        match self {
            Self::Crash => server.crash(),
            Self::Restart => server.stop(Stop::Fast),
        }
    }
}

/// Runs a scene's sync up to a fail point.
#[track_caller]
fn held(scene: &Scene, apply: &str, run: &str, point: &str) -> Running {
    let mut running = scene.program(apply, run).hold_at(point).spawn(&SYNC);
    running.wait_until_held();
    running
}

#[track_caller]
fn succeeds(scene: &Scene, outcome: &Outcome, what: &str) {
    assert_eq!(outcome.code, Some(0), "{what}: {outcome}");
    scene.assert_new();
    assert_eq!(scene.leftovers(), Vec::<String>::new(), "{what}");
}

#[track_caller]
fn next_run_succeeds(scene: &Scene, apply: &str, what: &str) {
    succeeds(scene, &scene.program(apply, "").sync(), &format!("the run after: {what}"));
}

#[track_caller]
fn survives(apply: &str, blow: Blow, points: &[&str]) {
    let mut servers = Servers::private();
    for point in points {
        let scene = Scene::on(servers.pair());
        let running = held(&scene, apply, "jobs = 2", point);
        blow.strike(&mut servers.target);
        servers.target.start_again().unwrap();
        running.go();
        succeeds(&scene, &running.wait(), &format!("{apply}, {blow:?} of the target at {point}"));
    }
}

const LOADING: [&str; 6] = [
    "stage.done",
    "snapshot.taken",
    "load.chunk_copied",
    "load.chunk_committed",
    "verify.judged",
    "verify.done",
];
const APPLYING: [&str; 5] =
    ["apply.locked", "apply.removed", "apply.exchanged", "apply.committed", "record.done"];

#[test]
fn a_crash_of_the_target_while_rows_are_loaded_is_survived() {
    survives("delete", Blow::Crash, &LOADING);
}

#[test]
fn a_restart_of_the_target_while_rows_are_loaded_is_survived() {
    survives("delete", Blow::Restart, &LOADING);
}

#[test]
fn a_crash_of_the_target_while_rows_are_applied_is_survived() {
    survives("delete", Blow::Crash, &APPLYING);
}

#[test]
fn a_restart_of_the_target_while_rows_are_applied_is_survived() {
    survives("truncate", Blow::Restart, &APPLYING);
}

#[test]
fn a_crash_of_the_target_under_a_direct_load_is_survived() {
    survives("direct", Blow::Crash, &["apply.removed", "apply.exchanged"]);
}

#[test]
fn staging_that_a_crash_emptied_is_loaded_again() {
    let mut servers = Servers::private();
    let scene = Scene::on(servers.pair());
    let running = held(&scene, "delete", "commit = 'run'", "verify.done");
    servers.target.crash();
    servers.target.start_again().unwrap();
    assert_eq!(scene.pair.target.count("bulkload.ledger"), 0, "the crash has emptied unlogged tables");
    running.go();
    let outcome = running.wait();
    succeeds(&scene, &outcome, "a crash between load and apply");
    assert!(outcome.stderr.contains("loading again"), "{outcome}");
    assert!(outcome.table("public.free")["attempts"].as_u64() >= Some(2), "{outcome}");
    assert_eq!(outcome.table("public.free")["extracted"], 3000, "{outcome}");
}

#[test]
fn staging_that_is_emptied_again_and_again_is_given_up() {
    let scene = Scene::shared();
    assert_eq!(scene.program("delete", "").sync().code, Some(0));
    // As if a crash came before each look at the ledger.
    scene.pair.target.run(
        "create function forget() returns trigger language plpgsql as 'begin return null; end';
         create trigger forget before insert on bulkload.ledger for each row execute function forget()",
    );
    let outcome = scene.program("delete", "retries = 2").sync();
    assert_eq!(outcome.code, Some(1), "{outcome}");
    for table in ["public.parent", "public.free"] {
        let error = outcome.table(table)["error"].to_string();
        assert!(error.contains("emptied again after 2 repeated loads"), "{outcome}");
    }
    assert_eq!(outcome.stderr.matches("loading again").count(), 4, "{outcome}");
    scene.assert_new();
}

/// How long a target is away: more than one retry takes.
const AWAY: Duration = Duration::from_secs(5);

#[test]
fn a_target_that_is_away_for_a_while_is_waited_for_without_using_up_retries() {
    let mut servers = Servers::private();
    for (point, blow) in [
        ("load.chunk_copied", Blow::Crash),
        ("load.chunk_committed", Blow::Restart),
        ("verify.judged", Blow::Crash),
        ("apply.removed", Blow::Restart),
        ("apply.removed", Blow::Crash),
        ("record.done", Blow::Crash),
    ] {
        let scene = Scene::on(servers.pair());
        let mut running = held(&scene, "delete", "retries = 1", point);
        blow.strike(&mut servers.target);
        running.go();
        running.wait_for_stderr("the target is unreachable: waiting");
        std::thread::sleep(AWAY);
        servers.target.start_again().unwrap();
        let outcome = running.wait();
        succeeds(&scene, &outcome, &format!("{blow:?} of the target at {point}"));
        assert_eq!(outcome.stderr.matches("the target is unreachable").count(), 1, "told once: {outcome}");
    }
}

#[test]
fn a_run_that_waits_for_its_target_can_be_stopped() {
    let mut servers = Servers::private();
    for point in ["load.chunk_copied", "apply.removed"] {
        let scene = Scene::on(servers.pair());
        let mut running = held(&scene, "delete", "commit = 'run'", point);
        servers.target.crash();
        running.go();
        running.wait_for_stderr("the target is unreachable: waiting");
        running.interrupt();
        let outcome = running.wait();
        assert_eq!(outcome.code, Some(130), "{point}: {outcome}");
        servers.target.start_again().unwrap();
        scene.assert_old();
        next_run_succeeds(&scene, "delete", point);
    }
}

#[test]
fn a_chunk_of_a_table_that_has_failed_is_not_repeated_any_more() {
    let scene = Scene::shared();
    // The first chunk is to be repeated for ever, the last one cannot be loaded.
    scene.pair.target.run(
        "create function picky(v text) returns boolean language plpgsql as $$
         begin
             if v = 'new 1' then
                 raise exception 'not now' using errcode = 'serialization_failure';
             end if;
             if v = 'new 3000' then
                 raise exception 'never' using errcode = 'insufficient_privilege';
             end if;
             return true;
         end $$;
         create domain picked as text check (picky(value)); alter table free alter v type picked using v::picked",
    );
    let outcome = scene.program("delete", "jobs = 2\nretries = 100").sync();
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(scene.rows(), (New, Old));
    scene.assert_tidy();
    assert!(outcome.table("public.free")["error"].to_string().contains("[42501]"), "{outcome}");
}

#[test]
fn a_transaction_that_a_crash_forgot_altogether_is_applied_again() {
    // Nothing but a commit flushes the log here, so that not even the transaction's number survives.
    let options = crate::support::database::test_options()
        .setting("wal_writer_delay", "10s")
        .setting("bgwriter_delay", "10s");
    let mut servers = Servers::with(&options);
    for is_number_used_again in [false, true] {
        let scene = Scene::on(servers.pair());
        let running = held(&scene, "delete", "commit = 'run'", "apply.committing");
        servers.target.crash();
        servers.target.start_again().unwrap();
        if is_number_used_again {
            let other = scene.pair.target.session();
            (0..30).for_each(|_| other.run("select pg_current_xact_id()"));
        }
        running.go();
        let outcome = running.wait();
        succeeds(&scene, &outcome, &format!("a crash before the commit, {is_number_used_again}"));
        assert!(outcome.stderr.contains("applying again"), "{outcome}");
    }
}

#[test]
fn a_source_that_goes_away_while_it_is_read_fails_what_is_missing() {
    let mut servers = Servers::private();
    for (blow, point) in [
        (Blow::Crash, "snapshot.taken"),
        (Blow::Restart, "load.chunk_copied"),
        (Blow::Crash, "load.chunk_committed"),
    ] {
        let what = format!("{blow:?} of the source at {point}");
        let scene = Scene::on(servers.pair());
        let running = held(&scene, "delete", "jobs = 1", point);
        blow.strike(&mut servers.source);
        servers.source.start_again().unwrap();
        running.go();
        let outcome = running.wait();
        assert_eq!(outcome.code, Some(1), "{what}: {outcome}");
        // Only one stream, and the largest table first: its first chunk is what there can be.
        scene.assert_old();
        scene.assert_tidy();
        assert!(outcome.stderr.contains("snapshot is gone"), "{what}: {outcome}");
        assert!(!outcome.stderr.contains("is away"), "nothing is left to wait for: {outcome}");
        assert_eq!(outcome.report()["ok"], false);
        next_run_succeeds(&scene, "delete", &what);
    }
}

#[test]
fn a_source_that_goes_away_after_it_was_read_does_not_matter() {
    let mut servers = Servers::private();
    for (blow, point) in [(Blow::Crash, "verify.done"), (Blow::Restart, "apply.removed")] {
        let scene = Scene::on(servers.pair());
        let running = held(&scene, "delete", "commit = 'run'", point);
        blow.strike(&mut servers.source);
        running.go();
        let outcome = running.wait();
        servers.source.start_again().unwrap();
        succeeds(&scene, &outcome, point);
    }
}

#[test]
fn a_source_that_goes_away_under_a_direct_load_leaves_the_old_rows() {
    let mut servers = Servers::private();
    let scene = Scene::on(servers.pair());
    let running = held(&scene, "direct", "commit = 'run'", "apply.removed");
    servers.source.crash();
    running.go();
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(1), "{outcome}");
    scene.assert_old();
    scene.assert_tidy();
    servers.source.start_again().unwrap();
    next_run_succeeds(&scene, "direct", "a crash of the source");
}

/// Ends sessions of the program on one side.
#[track_caller]
fn terminate(db: &crate::support::Db, condition: &str) {
    let sql = format!(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity
         where datname = current_database() and application_name like 'bulkload/%' and ({condition})"
    );
    assert_ne!(db.value(&sql), "0", "no session: {condition}");
    wait_until("the sessions end", || db.value(&sql.replace("pg_terminate_backend(pid)", "*")) == "0");
}

#[test]
fn a_session_on_the_target_that_is_terminated_is_replaced() {
    for (role, point) in [
        ("control", "snapshot.taken"),
        ("control", "load.chunk_copied"),
        ("load", "load.chunk_copied"),
        ("load", "load.chunk_committed"),
        ("verify", "verify.judged"),
        ("control", "verify.judged"),
        ("control", "verify.done"),
        ("control", "apply.removed"),
        ("apply", "apply.locked"),
        ("apply", "apply.exchanged"),
        ("control", "record.done"),
    ] {
        let scene = Scene::shared();
        let running = held(&scene, "delete", "jobs = 1", point);
        terminate(&scene.pair.target, &format!("application_name like '%/{role}'"));
        running.go();
        succeeds(&scene, &running.wait(), &format!("{role} terminated at {point}"));
    }
}

/// A process that does nothing until this is dropped.
struct Stopped(Pid);

impl Stopped {
    fn process(id: i32) -> Self {
        let process = Pid::from_raw(id).unwrap();
        kill_process(process, Signal::STOP).unwrap();
        Self(process)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

#[test]
fn locks_that_another_run_has_taken_meanwhile_are_waited_for_once() {
    let scene = Scene::shared();
    let running = held(&scene, "delete", "commit = 'run'", "verify.done");
    terminate(&scene.pair.target, "application_name like '%/control'");
    // To this run the other one is dead.
    let mut thief = scene.program("delete", "").hold_at("stage.done").spawn(&["sync", "--table", "free"]);
    thief.wait_until_held();
    running.go();
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(1), "{outcome}");
    scene.assert_old();
    for table in ["public.parent", "public.child", "public.free"] {
        let error = outcome.table(table)["error"].to_string();
        assert!(error.contains("public.free is being loaded by another run (bulkload/"), "{outcome}");
    }
    assert_eq!(outcome.stderr.matches("waiting for the lock").count(), 1, "{outcome}");
    thief.go();
    assert_eq!(thief.wait().code, Some(0));
    assert_eq!(scene.rows(), (Old, New));
    scene.assert_tidy();
}

#[test]
fn locks_of_a_session_that_broke_are_waited_for_until_its_server_has_noticed() {
    // Its own servers: a process that is stopped holds up the others of its server.
    let servers = Servers::private();
    let scene = Scene::on(servers.pair());
    let proxy = Proxy::to(scene.pair.target.port());
    let program = scene
        .program("delete", "commit = 'run'")
        .env("TARGET_DATABASE_URL", &scene.pair.target.url_through(proxy.port()))
        .hold_at("record.done");
    let mut running = program.spawn(&SYNC);
    running.wait_until_held();
    let pid = scene.pair.target.value(
        "select pid from pg_stat_activity
         where datname = current_database() and application_name like 'bulkload/%/control'",
    );
    let stopped = Stopped::process(pid.parse().unwrap());
    proxy.cut();
    running.go();
    running.wait_for_stderr("waiting for the lock \"bulkload run ");
    drop(stopped);
    succeeds(&scene, &running.wait(), "a session that broke unnoticed");
}

#[test]
fn a_session_that_reads_a_chunk_may_be_terminated_but_not_the_one_that_holds_the_snapshot() {
    let scene = Scene::shared();
    let running = held(&scene, "delete", "jobs = 1", "load.chunk_committed");
    terminate(&scene.pair.source, "query like '%; copy %'");
    running.go();
    succeeds(&scene, &running.wait(), "a reading session terminated");

    let scene = Scene::shared();
    let running = held(&scene, "delete", "jobs = 1", "load.chunk_committed");
    terminate(&scene.pair.source, "true");
    running.go();
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(1), "{outcome}");
    scene.assert_old();
    scene.assert_tidy();
    next_run_succeeds(&scene, "delete", "all sessions on the source terminated");
}

#[test]
fn a_table_that_fails_while_it_is_loaded_fails_its_group_and_nothing_else() {
    let scene = Scene::shared();
    scene.pair.target.run(
        "create function is_tame(v text) returns boolean language plpgsql as $$
         begin
             if v = 'new 7' then
                 raise exception 'wild' using errcode = 'insufficient_privilege';
             end if;
             return true;
         end $$;
         create domain tame as text check (is_tame(value)); alter table child alter v type tame using v::tame",
    );
    let outcome = scene.program("delete", "").sync();
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(scene.rows(), (Old, New));
    scene.assert_tidy();
    assert_eq!(outcome.report()["ok"], false);
    let ok = ["parent", "child", "free"].map(|table| outcome.table(&format!("public.{table}"))["ok"].clone());
    assert_eq!(ok, [false, false, true]);
    let why = outcome.table("public.child")["error"].to_string();
    let target = format!("127.0.0.1:{}/{}: ", scene.pair.target.port(), scene.pair.target.name());
    assert!(why.contains(&target) && why.contains("[42501]"), "which server said so: {why}");
    let why = outcome.table("public.parent")["error"].to_string();
    assert!(why.contains("public.child"), "{why}");
}

#[test]
fn a_table_that_fails_while_it_is_applied_fails_its_group_and_nothing_else() {
    for apply in ["delete", "truncate", "direct"] {
        let scene = Scene::shared();
        scene.pair.target.run(
            "create function refuse_one() returns trigger language plpgsql as
                 $$ begin if new.v = 'new 7' then raise exception 'not this one'; end if; return new; end $$;
             create trigger t before insert on child for each row execute function refuse_one()",
        );
        let outcome = scene.program(apply, "").sync();
        assert_eq!(outcome.code, Some(1), "{outcome}");
        assert_eq!(scene.rows(), (Old, New), "{apply}");
        scene.assert_tidy();
        let failed = "select count(*) from bulkload.runs where not ok and error <> ''";
        assert_eq!(scene.pair.target.value(failed), "2", "{apply}: {outcome}");
        let states =
            "select string_agg(table_name || coalesce(': ' || left(error_message, 1), ''), ',' order by 1)
             from bulkload.sync_state where error_message is null";
        assert_eq!(scene.pair.target.value(states), "public.free");
    }
}

#[test]
fn a_trigger_that_keeps_rows_out_fails_the_table_and_keeps_the_old_rows() {
    for apply in ["delete", "truncate", "direct"] {
        let scene = Scene::shared();
        scene.pair.target.run(
            "create function drop_some() returns trigger language plpgsql as
                 $$ begin return case when new.id = 5 then null else new end; end $$;
             create trigger t before insert on free for each row execute function drop_some()",
        );
        let before = fingerprint(&scene.pair.target, "free");
        let outcome = scene.program(apply, "").sync();
        assert_eq!(outcome.code, Some(1), "{outcome}");
        assert_eq!(scene.rows(), (New, Old), "{apply}: {before}");
        scene.assert_tidy();
    }
}
