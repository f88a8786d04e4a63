//! `bulkload status`: what runs left, and whether monitoring should worry.

use serde_json::Value;

use crate::support::{Bulkload, Scene, pair, wait_until};

/// The status as JSON, and the exit code.
#[track_caller]
fn status(program: &Bulkload, args: &[&str]) -> (Value, Option<i32>) {
    let outcome = program.run(&[&["-q", "status", "--json"], args].concat());
    assert_eq!(outcome.stderr, "", "{outcome}");
    (serde_json::from_str(&outcome.stdout).unwrap_or_else(|e| panic!("{e}: {outcome}")), outcome.code)
}

#[track_caller]
fn table<'a>(status: &'a Value, name: &str) -> &'a Value {
    let tables = status["tables"].as_array().unwrap();
    let found: Vec<&Value> = tables.iter().filter(|table| table["name"] == name).collect();
    assert_eq!(found.len(), 1, "{status}");
    found[0]
}

#[test]
fn before_the_first_run_nothing_is_known_and_nothing_is_wrong() {
    let scene = Scene::shared();
    let program = scene.program("auto", "");
    let (found, code) = status(&program, &[]);
    assert_eq!((code, found["tables"].as_array().unwrap().len()), (Some(0), 3), "{found}");
    assert_eq!(table(&found, "public.free")["status"], "never");
    assert_eq!(table(&found, "public.free")["last_sync_at"], Value::Null);
    assert_eq!(status(&program, &["--max-age", "26h"]).1, Some(1), "what was never loaded is too old");
    assert_eq!(
        scene.pair.target.value("select to_regnamespace('bulkload') is null"),
        "t",
        "nothing is created"
    );
}

#[test]
fn after_a_run_its_figures_are_told() {
    let scene = Scene::shared();
    let program = scene.program("delete", "");
    let outcome = program.sync();
    let (found, code) = status(&program, &["--max-age", "26h"]);
    assert_eq!((code, &found["ok"]), (Some(0), &Value::Bool(true)), "{found}");
    let (told, reported) = (table(&found, "public.free"), outcome.table("public.free"));
    assert_eq!(
        (&told["status"], &told["rows"], &told["mode"]),
        (&"ok".into(), &reported["staged"], &"full".into())
    );
    for key in ["duration_ms", "lock_ms"] {
        assert_eq!(told[key], reported[key], "{key}");
    }
    assert_eq!(told["run_id"], outcome.report()["run_id"]);
    assert!(told["age_s"].as_u64().unwrap() < 100 && told["last_full_at"] == told["last_sync_at"], "{told}");

    let outcome = program.run(&["-q", "status"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert!(outcome.stdout.contains("ok      free  from 127.0.0.1:"), "{outcome}");
    assert!(
        outcome.stdout.contains(", 3,000 rows, in ") && outcome.stdout.contains(", locked for "),
        "{outcome}"
    );
    assert!(outcome.stdout.ends_with("all tables are ok\n"), "{outcome}");
}

#[test]
fn a_table_that_is_too_old_or_failed_makes_the_exit_code_1() {
    let scene = Scene::shared();
    let program = scene.program("delete", "");
    assert_eq!(program.sync().code, Some(0));
    scene.pair.target.run("update bulkload.sync_state set last_sync_at = last_sync_at - interval '27 h' where table_name = 'public.free'");
    assert_eq!(status(&program, &[]).1, Some(0));
    assert_eq!(status(&program, &["--max-age", "28h"]).1, Some(0));
    let (found, code) = status(&program, &["--max-age", "26h"]);
    assert_eq!((code, &table(&found, "public.free")["status"]), (Some(1), &"old".into()), "{found}");
    assert_eq!(table(&found, "public.child")["status"], "ok");

    scene.pair.source.run("delete from free where id > 10");
    assert_eq!(program.sync().code, Some(1));
    let (found, code) = status(&program, &[]);
    let free = table(&found, "public.free");
    assert_eq!((code, &free["status"]), (Some(1), &"failed".into()), "{found}");
    assert!(free["error"].as_str().unwrap().contains("max_shrink"), "{free}");
    assert_eq!(free["rows"], 3000, "the figures are those of the run that applied it");

    scene.pair.source.run("insert into free (v) select 'again' from generate_series(1, 3000)");
    assert_eq!(program.sync().code, Some(0));
    assert_eq!(status(&program, &["--max-age", "26h"]).1, Some(0));
}

#[test]
fn a_run_in_progress_tells_its_phase_and_a_dead_one_is_a_failure() {
    let scene = Scene::shared();
    let program = scene.program("delete", "");
    assert_eq!(program.sync().code, Some(0));
    let held = scene.program("delete", "").hold_at("apply.exchanged");
    let mut run = held.spawn(&["sync"]);
    run.wait_until_held();
    let (found, code) = status(&program, &[]);
    assert_eq!(code, Some(0), "{found}");
    // One of the two groups is held, the other waits for it.
    let running: Vec<&Value> =
        found["tables"].as_array().unwrap().iter().map(|table| &table["running"]["phase"]).collect();
    assert!(running.contains(&&"apply".into()), "{found}");
    assert!(program.run(&["-q", "status"]).stdout.contains(" is in phase apply, running for "));
    run.kill_9();
    scene.wait_until_alone();
    let (found, code) = status(&program, &[]);
    assert_eq!(code, Some(1), "{found}");
    assert!(found.to_string().contains("the run died in phase apply"), "{found}");
    // What is cleaned up has failed all the same, until the next run.
    assert_eq!(program.run(&["-q", "clean"]).code, Some(0));
    let (found, code) = status(&program, &[]);
    assert_eq!(code, Some(1), "{found}");
    assert!(found.to_string().contains("the run died in phase apply"), "{found}");
    assert_eq!(program.sync().code, Some(0));
    wait_until("the status is well again", || status(&program, &[]).1 == Some(0));
}

#[test]
fn tables_that_come_from_files_are_known_whatever_else_the_config_and_the_environment_name() {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run("create table t (id int primary key); create table u (id int primary key)");
    }
    let files = "[[table]]\nname = 't'\ncsv = 't.csv'\n";
    let program = Bulkload::on(&pair).file("t.csv", "id\n1\n");
    for config in [files.to_owned(), format!("{files}on_empty = 'apply'\n[[table]]\nname = 'u'\n")] {
        pair.target.run("drop schema if exists bulkload cascade");
        let program = Bulkload::on(&pair).file("t.csv", "id\n1\n").config(&config);
        assert_eq!(program.sync().code, Some(0));
        let (found, code) = status(&program, &["--max-age", "26h"]);
        assert_eq!((code, &table(&found, "public.t")["status"]), (Some(0), &"ok".into()), "{found}");
        assert_eq!(table(&found, "public.t")["source"], "csv", "{found}");
        // Without the other tables of its config it is the same table.
        assert_eq!(program.run(&["sync", "--table", "t"]).code, Some(0));
        assert_eq!(status(&program, &[]).0["tables"].as_array().unwrap().len(), config.matches("[[").count());
    }
    let alone = program
        .env("SOURCE_DATABASE_URL", "")
        .file("bulkload.toml", &format!("target.url = \"${{TARGET_DATABASE_URL}}\"\n{files}"));
    let (found, code) = status(&alone, &["--max-age", "26h"]);
    assert_eq!((code, &table(&found, "public.t")["status"]), (Some(0), &"ok".into()), "{found}");
}

#[test]
fn the_source_is_not_needed_and_where_it_is_not_named_all_are_told() {
    let scene = Scene::shared();
    let program = scene.program("delete", "");
    assert_eq!(program.sync().code, Some(0));
    let away =
        scene.program("delete", "").env("SOURCE_DATABASE_URL", "postgresql://nobody@no-such-host.invalid/x");
    let (found, _) = status(&away, &[]);
    assert_eq!(table(&found, "public.free")["status"], "never", "another source has a state of its own");
    let config = Scene::config("delete", "");
    let alone = Bulkload::new().env("TARGET_DATABASE_URL", scene.pair.target.url()).config(&config);
    let (found, code) = status(&alone, &[]);
    assert_eq!((code, &table(&found, "public.free")["status"]), (Some(0), &"ok".into()), "{found}");
}

#[test]
fn state_tables_of_an_older_shape_are_read_and_left_as_they_are() {
    let scene = Scene::shared();
    let program = scene.program("delete", "");
    assert_eq!(program.sync().code, Some(0));
    scene.pair.target.run("alter table bulkload.runs drop column source, drop column scope; alter table bulkload.sync_state drop column fingerprint");
    let (found, code) = status(&program, &["--max-age", "26h"]);
    assert_eq!((code, &table(&found, "public.child")["status"]), (Some(0), &"ok".into()), "{found}");
    let columns = "select count(*) from information_schema.columns where table_schema = 'bulkload' and column_name in ('source', 'fingerprint')";
    assert_eq!(scene.pair.target.value(columns), "1", "that of sync_state's own");
}

#[test]
fn the_last_attempt_could_not_start_and_the_next_one_makes_that_good() {
    let scene = Scene::shared();
    let program = scene.program("delete", "");
    scene.pair.source.run("alter table free rename to gone");
    assert_eq!(program.sync().code, Some(2));
    assert_eq!(
        scene.pair.target.value("select to_regnamespace('bulkload') is null"),
        "t",
        "nothing is created"
    );
    scene.pair.source.run("alter table gone rename to free");
    assert_eq!(program.sync().code, Some(0));
    let rows = table(&status(&program, &[]).0, "public.free")["rows"].clone();

    scene.pair.source.run("alter table free rename to gone");
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(2), "{outcome}");
    let (found, code) = status(&program, &[]);
    assert_eq!(code, Some(1), "{found}");
    for name in ["public.parent", "public.child", "public.free"] {
        let told = table(&found, name);
        assert_eq!(told["status"], "failed", "{told}");
        assert_eq!(told["run_id"], outcome.report()["run_id"], "{told}");
        let error = told["error"].as_str().unwrap();
        assert!(error.starts_with("could not start: ") && error.contains("no table public.free"), "{error}");
        assert!(!told["last_sync_at"].is_null() && told["running"].is_null(), "{told}");
    }
    assert_eq!(table(&found, "public.free")["rows"], rows, "what was applied last is still told");
    scene.assert_tidy();

    // An attempt that names one table says nothing of the others.
    scene.pair.source.run("alter table gone rename to free");
    assert_eq!(program.sync().code, Some(0));
    assert_eq!(status(&program, &[]).1, Some(0));
    scene.pair.source.run("alter table free rename to gone");
    assert_eq!(program.run(&["sync", "--table", "free"]).code, Some(2));
    let (found, code) = status(&program, &[]);
    assert_eq!((code, &table(&found, "public.child")["status"]), (Some(1), &"ok".into()), "{found}");
}

#[test]
fn an_attempt_that_found_another_run_at_work_does_not_hide_how_that_one_ended() {
    let scene = Scene::shared();
    let mut running = scene.program("delete", "").hold_at("stage.done").spawn(&["sync"]);
    running.wait_until_held();
    let outcome = scene.program("delete", "").sync();
    assert_eq!(outcome.code, Some(2), "{outcome}");
    running.go();
    assert_eq!(running.wait().code, Some(0));
    let (found, code) = status(&scene.program("delete", ""), &[]);
    assert_eq!((code, &found["ok"]), (Some(0), &Value::Bool(true)), "{found}");
}
