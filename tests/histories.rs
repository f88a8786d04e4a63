//! Transaction numbers as watermarks on a source whose history is not one: restored, promoted, crashed.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use bulkload::pg::cluster::{Cluster, Options, Stop};
use serde_json::Value;

use crate::incremental::{BY_XMIN, SCHEMA, program, read};
use crate::support::database::test_options;
use crate::support::{Bulkload, Db, Pair, Servers, Session, assert_same_contents, wait_until};

/// A source of its own, with some rows, and an incremental run that has recorded where the next one begins.
fn world(options: &Options) -> (Cluster, Pair, Bulkload) {
    let server = Cluster::start(options.clone()).unwrap();
    let pair = Pair { source: Db::create(&server), target: Db::create(&Servers::shared().target) };
    for db in [&pair.source, &pair.target] {
        db.run(SCHEMA);
    }
    pair.source.run("insert into t select i, 'old', null, now() from generate_series(1, 1000) i");
    let program = program(&pair, BY_XMIN);
    (server, pair, program)
}

fn quiet() -> Options {
    test_options().setting("autovacuum", "off").setting("max_connections", "30")
}

/// Runs, and expects that all was read, for this reason.
#[track_caller]
fn reads_all(program: &Bulkload, reason: &str) -> Value {
    let table = read(program);
    assert_eq!((&table["mode"], &table["extracted"]), (&"full".into(), &1000.into()), "{table}");
    assert!(table["warnings"].to_string().contains(reason), "{reason}: {table}");
    table
}

#[track_caller]
fn reads(program: &Bulkload, rows: u64) {
    let table = read(program);
    assert_eq!((&table["mode"], &table["extracted"]), (&"incremental".into(), &rows.into()), "{table}");
}

fn recorded(pair: &Pair) -> String {
    pair.target.value("select coalesce(watermark, '') from bulkload.sync_state where table_name = 'public.t'")
}

/// The number of the transaction that wrote the first row.
fn number(pair: &Pair) -> String {
    pair.source.value("select xmin from t where id = 1")
}

fn copied(from: &Path) -> PathBuf {
    let to = from.with_extension("kept");
    let done = Command::new("cp").arg("-a").arg(from).arg(&to).status().unwrap();
    assert!(done.success());
    to
}

#[test]
fn a_source_that_was_restored_from_a_cold_copy_is_read_whole() {
    let (mut server, pair, program) = world(&quiet());
    reads_all(&program, "no watermark is recorded yet");
    server.stop(Stop::Fast);
    let kept = copied(&server.data_dir());
    server.start_again().unwrap();
    // One full run after each start.
    reads_all(&program, "the source server was restarted");
    pair.source.run("update t set v = 'before restore' where id = 1");
    let lost = number(&pair);
    reads(&program, 1);
    reads(&program, 0);
    let before = recorded(&pair);
    server.stop(Stop::Fast);
    std::fs::remove_dir_all(server.data_dir()).unwrap();
    std::fs::rename(kept, server.data_dir()).unwrap();
    server.start_again().unwrap();
    pair.source.run("update t set v = 'AFTER RESTORE' where id = 1");
    pair.source.run(
        "update t set v = v where id = 2; update t set v = v where id = 2; update t set v = v where id = 2",
    );
    assert_eq!(number(&pair), lost, "the number is given out again");
    reads_all(&program, "the source server was restarted");
    assert_same_contents(&pair.source, &pair.target, "t");
    let history = |recorded: &str| recorded.split('@').nth(1).unwrap().rsplit_once('/').unwrap().0.to_owned();
    assert_eq!(history(&recorded(&pair)), history(&before), "identifier and timeline are as they were");
    reads(&program, 0);
}

#[test]
fn on_a_standby_no_number_is_recorded_and_its_promotion_is_another_history() {
    let (mut server, pair, program) = world(&quiet());
    reads_all(&program, "no watermark is recorded yet");
    let before = recorded(&pair);
    server.stop(Stop::Fast);
    let signal = server.data_dir().join("standby.signal");
    std::fs::write(&signal, "").unwrap();
    let owner = std::fs::metadata(server.data_dir()).unwrap();
    chown(&signal, Some(owner.uid()), Some(owner.gid())).unwrap();
    server.start_again().unwrap();
    let table = reads_all(
        &program,
        "read in full, although an incremental run was requested: the source is a standby",
    );
    assert!(
        table["warnings"].to_string().contains(
            "no watermark is recorded, so the next run will be a full one: the source is a standby"
        )
    );
    assert_eq!((recorded(&pair).as_str(), &table["watermark"]), ("", &Value::Null));
    pair.source.run("select pg_promote()");
    pair.target
        .run(&format!("update bulkload.sync_state set watermark = '{before}' where table_name = 'public.t'"));
    reads_all(&program, "on a different timeline than at the last run");
    pair.source.run("update t set v = 'new' where id = 1");
    reads(&program, 1);
}

#[test]
fn numbers_that_a_crash_may_give_out_again_are_not_recorded() {
    let (_server, pair, program) =
        world(&quiet().setting("synchronous_commit", "off").setting("checkpoint_timeout", "1h"));
    reads_all(&program, "no watermark is recorded yet");
    // Asynchronous commits are waited for.
    pair.source.run("update t set v = 'async' where id = 1");
    reads(&program, 1);
    assert_ne!(recorded(&pair), "");
    let started = pair.source.value("select pg_postmaster_start_time()");
    let writers = pair.source.rows("select pid from pg_stat_activity where backend_type in ('walwriter', 'background writer', 'checkpointer')");
    let writers: Vec<String> =
        writers.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
    assert_eq!(writers.len(), 3);
    let signal =
        |how: &str| assert!(Command::new("kill").arg(how).args(&writers).status().unwrap().success());
    signal("-STOP");
    pair.source.run("update t set v = 'lost' where id = 1");
    let lost = number(&pair);
    let table = read(&program);
    assert_eq!((&table["mode"], &table["extracted"]), (&"incremental".into(), &1.into()), "{table}");
    assert!(table["warnings"].to_string().contains("WAL was not flushed up to the snapshot"), "{table}");
    assert_eq!((recorded(&pair).as_str(), &table["watermark"]), ("", &Value::Null));
    assert_eq!(pair.target.value("select v from t where id = 1"), "lost");
    // One process that dies has all others started anew, within the same postmaster.
    let victim = pair.source.session();
    let pid = victim.value("select pg_backend_pid()");
    assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    wait_until("the server goes down", || victim.try_run("select 1").is_err());
    let fresh = format!(
        "select 1 / (pid <> all (array[{}]))::int from pg_stat_activity where backend_type = 'walwriter'",
        writers.join(", ")
    );
    wait_until("the server has recovered", || {
        Session::try_open(pair.source.socket_url()).is_ok_and(|session| session.try_run(&fresh).is_ok())
    });
    assert_eq!(pair.source.value("select pg_postmaster_start_time()"), started);
    assert_eq!(pair.source.value("select v from t where id = 1"), "async");
    pair.source.run("update t set v = 'after the crash' where id = 1");
    wait_until("the number is given out again", || {
        let reused = pair.source.value("select xmin::text::bigint from t where id = 1");
        assert!(reused.parse::<u64>().unwrap() <= lost.parse().unwrap());
        reused == lost || {
            pair.source.run("update t set v = v where id = 1");
            false
        }
    });
    reads_all(&program, "no watermark is recorded yet");
    assert_same_contents(&pair.source, &pair.target, "t");
}

#[test]
fn a_server_that_is_restarted_between_plan_and_snapshot_is_not_read_by_its_numbers() {
    let (mut server, pair, program_of_world) = world(&quiet());
    reads_all(&program_of_world, "no watermark is recorded yet");
    let program = program(&pair, BY_XMIN).hold_at("plan.done");
    let mut run = program.spawn(&["sync", "--mode", "incremental"]);
    run.wait_until_held();
    server.restart(Stop::Immediate).unwrap();
    run.go();
    let outcome = run.wait();
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.contains("the source server was restarted"), "{outcome}");
    reads_all(&program_of_world, "the source server was restarted");
}

#[test]
fn a_role_that_may_not_ask_for_the_history_is_told_what_it_lacks() {
    let (_server, mut pair, program) = world(&quiet());
    let role = pair.source.role("login");
    pair.source.run(&format!(
        "grant select on t to {role}; revoke execute on function pg_current_wal_flush_lsn(), pg_postmaster_start_time() from public"
    ));
    let program = program.env("SOURCE_DATABASE_URL", &pair.source.url_as(&role));
    let reason = "pg_postmaster_start_time(), pg_current_wal_flush_lsn() to it)";
    let table = reads_all(&program, "no watermark is recorded yet");
    assert!(table["warnings"].to_string().contains(reason), "{table}");
    assert_eq!(table["watermark"], Value::Null);
}
