//! What the subcommands print about real servers, where they print it, and how they exit.

use crate::support::{Bulkload, Pair, pair};

/// Two tables; `shrunk` has lost most of its rows in the source, which a full run does not believe.
fn world() -> (Pair, Bulkload) {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run("create table kept (id int primary key); create table shrunk (id int primary key)");
    }
    pair.source.run("insert into kept select generate_series(1, 5); insert into shrunk values (1)");
    pair.target.run("insert into shrunk select generate_series(1, 10)");
    let program = Bulkload::on(&pair).config("[[table]]\nname = 'kept'\n[[table]]\nname = 'shrunk'\n");
    (pair, program)
}

fn counts(pair: &Pair) -> (u64, u64) {
    (pair.target.count("kept"), pair.target.count("shrunk"))
}

#[test]
fn sync_exits_with_1_when_a_table_fails_and_applies_the_others() {
    let (pair, program) = world();
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(counts(&pair), (5, 10));
    assert!(outcome.stdout.contains("kept") && outcome.stdout.contains("shrunk"), "{outcome}");
    assert_eq!(outcome.report()["ok"], false);
    assert_eq!(outcome.table("public.kept")["ok"], true);
}

#[test]
fn sync_of_chosen_tables_exits_with_0_and_leaves_the_others() {
    let (pair, program) = world();
    let outcome = program.run(&["sync", "--table", "KEPT", "--jobs", "1"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(counts(&pair), (5, 10));
    assert!(!outcome.stdout.contains("shrunk"), "{outcome}");
}

#[test]
fn a_report_on_stdout_is_nothing_but_json() {
    let (_pair, program) = world();
    for (quiet, table, is_told) in [("-v", "kept", true), ("-q", "kept", false), ("-q", "shrunk", true)] {
        let outcome = program.run(&["sync", "--table", table, "--report", "-", quiet]);
        assert_eq!(outcome.code, Some(i32::from(table == "shrunk")), "{outcome}");
        let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(report["tables"][0]["name"], format!("public.{table}"));
        let has_table = outcome.stderr.contains("  rejected  ");
        assert_eq!(has_table, is_told, "the table for people goes to stderr: {outcome}");
    }
}

#[test]
fn quiet_commands_that_succeed_say_nothing_on_stderr() {
    let (_pair, program) = world();
    for args in [
        &["sync", "--table", "kept"][..],
        &["plan"],
        &["check"],
        &["verify", "--table", "kept"],
        &["status"],
        &["clean"],
        &["init", "--force"],
    ] {
        for format in ["text", "json"] {
            let outcome = program.run(&[&["-q", "--log-format", format], args].concat());
            assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{args:?} {outcome}");
        }
    }
}

#[test]
fn a_json_log_is_one_object_per_line_with_its_phase() {
    let (_pair, program) = world();
    for args in [&["sync"][..], &["sync", "--report", "-"], &["sync", "-q"]] {
        let outcome = program.run(&[args, &["--log-format", "json"]].concat());
        assert_eq!(outcome.code, Some(1), "{outcome}");
        assert!(!outcome.stderr.is_empty());
        for line in outcome.stderr.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(
                line["phase"].is_string() && line["message"].is_string() && line["level"].is_string(),
                "{line}"
            );
        }
        let is_error = |line: &&str| line.contains("\"ERROR\"") && line.contains("max_shrink");
        assert_eq!(outcome.stderr.lines().filter(is_error).count(), 1, "{outcome}");
    }
}

#[test]
fn plan_check_and_clean_exit_with_0_and_change_no_table() {
    let (pair, program) = world();
    for args in [&["plan"][..], &["plan", "--table", "kept", "--json"], &["check"], &["clean"]] {
        let outcome = program.run(args);
        assert_eq!(outcome.code, Some(0), "{args:?} {outcome}");
        assert!(!outcome.stdout.is_empty(), "{args:?} {outcome}");
        if args.contains(&"--json") {
            serde_json::from_str::<serde_json::Value>(&outcome.stdout).unwrap();
        }
        assert_eq!(counts(&pair), (0, 10));
    }
}

#[test]
fn what_cannot_start_exits_with_2_and_touches_nothing() {
    let (pair, program) = world();
    pair.target.run("alter table kept rename to gone");
    for command in ["sync", "plan", "check"] {
        let outcome = program.run(&[command]);
        assert_eq!(outcome.code, Some(2), "{command} {outcome}");
    }
    assert_eq!(pair.target.count("shrunk"), 10);
}

/// What a file holds that the last run left in the working directory.
fn told(program: &Bulkload, file: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(program.dir().join(file)).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// Checks that yesterday's report gives way to one of a run that could not start, and says `error`.
#[track_caller]
fn assert_not_started(program: &Bulkload, args: &[&str], error: &str) {
    let old = r#"{"run_id":"old","ok":true,"tables":[{"name":"public.kept","ok":true}]}"#;
    std::fs::write(program.dir().join("last.json"), old).unwrap();
    let outcome = program.run(&[args, &["--report", "last.json"]].concat());
    assert_eq!(outcome.code, Some(2), "{args:?} {outcome}");
    let report = told(program, "last.json");
    assert_eq!((&report["ok"], report["tables"].as_array().unwrap().len()), (&false.into(), 0), "{report}");
    assert!(report["error"].as_str().unwrap().contains(error), "{report}");
    assert!(report["run_id"].as_str().is_some_and(|id| id.len() == 12 && id != "old"), "{report}");
    for key in ["version", "started_at", "duration_ms", "mode"] {
        assert!(!report[key].is_null(), "{key} {report}");
    }
    let files: Vec<_> =
        std::fs::read_dir(program.dir()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert!(!files.iter().any(|name| name.to_string_lossy().starts_with(".report-")), "{files:?}");
}

#[test]
fn a_run_that_cannot_start_leaves_a_report_that_is_not_ok() {
    let (pair, program) = world();
    assert_not_started(
        &program,
        &["sync", "--table", "public.nothing"],
        "the config has no table public.nothing",
    );
    assert_not_started(&program, &["sync", "--jobs", "none"], "invalid value 'none' for '--jobs <N>'");
    pair.target.run("alter table kept rename to gone");
    assert_not_started(&program, &["sync"], "the target has no table public.kept");
    assert_not_started(&program, &["sync", "--mode", "incremental"], "the target has no table public.kept");
    let program = program.env("TARGET_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none");
    assert_not_started(&program, &["sync"], "cannot connect to 127.0.0.1:1/none: connection refused");
    assert_not_started(&program, &["seed", "kept.csv"], "no such file: kept.csv");
    let program = program.file("kept.csv", "id\n1\n");
    assert_not_started(&program, &["seed", "kept.csv"], "connection refused");
    let program = program.file("bulkload.toml", "[[tables]]\n");
    assert_not_started(&program, &["sync"], "tables");
}

#[test]
fn a_seed_that_would_overwrite_rows_leaves_a_report_that_is_not_ok() {
    let (_pair, program) = world();
    let program = program.file("shrunk.csv", "id\n1\n");
    assert_not_started(
        &program,
        &["seed", "shrunk.csv", "--strategy", "replace"],
        "rows of 1 table would be replaced",
    );
}

#[test]
fn a_report_on_stdout_says_that_the_run_could_not_start() {
    let (pair, program) = world();
    pair.target.run("alter table kept rename to gone");
    let outcome = program.run(&["sync", "--report", "-"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(report["ok"], false);
}

#[test]
fn a_signal_before_the_start_leaves_a_report_that_is_not_ok() {
    let (pair, program) = world();
    // The catalog of a table that somebody has locked cannot be read.
    let holder = pair.target.session();
    holder.run("begin; lock table kept");
    std::fs::write(program.dir().join("last.json"), "{\"ok\": true}").unwrap();
    let mut running = program.spawn(&["sync", "--report", "last.json"]);
    running.wait_for_stderr("a run begins");
    running.terminate();
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(143), "{outcome}");
    let report = told(&program, "last.json");
    assert_eq!((&report["ok"], &report["error"]), (&false.into(), &"stopped on request".into()), "{report}");
}

#[test]
fn a_report_that_cannot_be_written_is_known_before_anything_else() {
    let (pair, program) = world();
    let outcome = program.run(&["sync", "--report", "nowhere/last.json"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.contains("--report nowhere/last.json: its directory does not exist"), "{outcome}");
    assert_eq!(counts(&pair), (0, 10));
}
