//! A target that turns read-only to protect itself: a run does not start, or stops writing; what changes nothing works.

use crate::support::database::test_options;
use crate::support::{Bulkload, Db, Outcome, Scene, Servers};
use bulkload::pg::cluster::Stop;

/// Has new sessions of a database be read-only, or not.
fn set_read_only(db: &Db, value: &str) {
    let session = db.session();
    session.run("set default_transaction_read_only = off");
    session.run(&format!("alter database {} {value}", db.name()));
}

const ON: &str = "set default_transaction_read_only = on";
const OFF: &str = "reset default_transaction_read_only";

#[test]
fn what_changes_nothing_works_and_a_run_does_not_start() {
    let scene = Scene::shared();
    let program = scene.program("auto", "");
    set_read_only(&scene.pair.target, ON);
    let outcome = program.run(&["plan"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert!(outcome.stdout.contains("warning: sync would not start: the target 127.0.0.1:"), "{outcome}");
    let outcome = program.run(&["verify"]);
    assert_eq!(outcome.code, Some(1), "it compares: {outcome}");
    assert!(outcome.stdout.contains("free"), "{outcome}");
    let outcome = program.run(&["check"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(
        outcome.stdout.contains("is read-only\n") && outcome.stdout.ends_with("cannot start\n"),
        "{outcome}"
    );
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert_eq!(scene.pair.target.value("select to_regnamespace('bulkload') is null"), "t");

    // Nor does a run note there that it could not start.
    set_read_only(&scene.pair.target, OFF);
    assert_eq!(program.sync().code, Some(0));
    let runs = scene.pair.target.count("bulkload.runs");
    set_read_only(&scene.pair.target, ON);
    assert_eq!(program.sync().code, Some(2));
    assert_eq!(scene.pair.target.count("bulkload.runs"), runs);
    assert_eq!(program.run(&["verify"]).code, Some(0));
}

#[test]
fn a_scope_and_a_lookup_are_planned_and_compared_on_a_read_only_target() {
    let pair = crate::support::pair();
    for db in [&pair.source, &pair.target] {
        db.run(
            "create table head (id int primary key, client int); insert into head values (1, 7);
             create table task (id int primary key, head_id int, client int, source text default 'D');
             insert into task values (1, 1, 7)",
        );
    }
    let program = Bulkload::on(&pair).config(
        "[[table]]\nname = 'head'\n[[table]]\nname = 'task'\nscope = \"source = 'D'\"\n\
         [[table.lookup]]\ncolumn = 'client'\nfrom = 'head'\nmatch = { head_id = 'id' }\nvalue = 'client'\n",
    );
    set_read_only(&pair.target, ON);
    for command in ["plan", "verify"] {
        let outcome = program.run(&[command]);
        assert_eq!(outcome.code, Some(0), "{command} {outcome}");
    }
}

#[test]
fn a_standby_is_planned_for_and_compared_but_not_written() {
    let mut servers = Servers::with(&test_options());
    let scene = Scene::on(servers.pair());
    let pair = &scene.pair;
    for db in [&pair.source, &pair.target] {
        db.run("alter table free add column client int; create table scoped (id int primary key, source text default 'D')");
    }
    let config = format!(
        "{}[[table.lookup]]\ncolumn = 'client'\nfrom = 'parent'\nmatch = {{ id = 'id' }}\nvalue = 'id'\n\
         [[table]]\nname = 'scoped'\nscope = \"source = 'D'\"\n",
        Scene::config("auto", "")
    );
    let program = Bulkload::on(pair).config(&config);
    assert_eq!(program.sync().code, Some(0));
    servers.target.stop(Stop::Fast);
    let signal = servers.target.data_dir().join("standby.signal");
    std::fs::write(&signal, "").unwrap();
    servers.target.start_again().unwrap();
    for (command, code) in [("plan", 0), ("verify", 0), ("status", 0), ("check", 2), ("sync", 2)] {
        let outcome = program.run(&[command]);
        assert_eq!(outcome.code, Some(code), "{command} {outcome}");
        let said = outcome.stdout.contains("is a standby") || outcome.stderr.contains("is a standby");
        assert_eq!(said, !["verify", "status"].contains(&command), "{command} {outcome}");
    }
    // It goes on as a primary, so that its databases can be dropped.
    servers.target.stop(Stop::Fast);
    std::fs::remove_file(&signal).unwrap();
    servers.target.start_again().unwrap();
}

/// Checks that a run failed since the target turned read-only, left the tables as they were, and left nothing behind.
#[track_caller]
fn assert_stopped(scene: &Scene, outcome: &Outcome) {
    assert_eq!(outcome.code, Some(1), "{outcome}");
    for table in ["public.parent", "public.child", "public.free"] {
        let error = outcome.table(table)["error"].as_str().unwrap().to_owned();
        assert!(
            error.contains("became read-only during the run") || error.contains("not applied, because"),
            "{error}"
        );
    }
    assert!(outcome.stdout.contains("becomes read-only when its disk is nearly full.\n"), "{outcome}");
    scene.assert_old();
    scene.assert_tidy();
}

#[test]
fn a_target_that_turns_read_only_before_the_exchange_keeps_its_rows() {
    for (method, point) in [
        ("delta", "verify.done"),
        ("delete", "verify.done"),
        ("truncate", "verify.done"),
        ("direct", "verify.done"),
        ("swap", "verify.done"),
        // The new tables are built by then.
        ("swap", "swap.prepared"),
        ("delta", "apply.compared"),
    ] {
        let scene = Scene::shared();
        let program = scene.program(method, "").hold_at(point);
        let mut running = program.spawn(&["sync", "--report", "report.json"]);
        running.wait_until_held();
        set_read_only(&scene.pair.target, ON);
        running.go();
        let outcome = running.wait();
        set_read_only(&scene.pair.target, OFF);
        assert_stopped(&scene, &outcome);
    }
}

#[test]
fn a_setting_that_a_reload_brings_stops_a_run_while_it_loads_and_the_next_one_works() {
    let servers = Servers::with(&test_options());
    let scene = Scene::on(servers.pair());
    // The first chunks take longer than the answer of a moment ago holds.
    let program = scene.program("delta", "jobs = 1").fail_point("load.chunk_committed", "1*sleep(6000)");
    let mut running = program.spawn(&["sync", "--report", "report.json"]);
    running.wait_for_stderr("loading");
    scene.pair.target.run("alter system set default_transaction_read_only = on");
    servers.target.reload();
    let outcome = running.wait();
    assert_stopped(&scene, &outcome);
    let loaded: u64 = ["parent", "child", "free"]
        .iter()
        .map(|t| outcome.table(&format!("public.{t}"))["extracted"].as_u64().unwrap())
        .sum();
    assert!(loaded < 4200, "not all was loaded: {loaded}");

    let session = scene.pair.target.session();
    session.run("set default_transaction_read_only = off");
    session.run("alter system reset default_transaction_read_only");
    servers.target.reload();
    crate::support::wait_until("the target takes writes again", || {
        scene.pair.target.value("show default_transaction_read_only") == "off"
    });
    assert_eq!(scene.program("delta", "").sync().code, Some(0));
    scene.assert_new();
}

#[test]
fn the_disk_that_the_config_tells_is_weighed() {
    let scene = Scene::shared();
    let with_disk = |disk: &str| {
        let urls = "source.url = \"${SOURCE_DATABASE_URL}\"\n[target]\nurl = \"${TARGET_DATABASE_URL}\"\n";
        let config = format!("{urls}disk = \"{disk}\"\n{}", Scene::config("auto", ""));
        Bulkload::on(&scene.pair).file("bulkload.toml", &config)
    };
    for (disk, is_enough) in [("1TB", true), ("9MB", false)] {
        let program = with_disk(disk);
        let plan = program.run(&["plan"]);
        assert_eq!(plan.code, Some(0), "{plan}");
        assert!(plan.stdout.contains("\n         the database occupies "), "{plan}");
        let warned = plan.stdout.contains("warning: the run needs up to ");
        assert_eq!(warned, !is_enough, "{plan}");
        let check = program.run(&["check"]);
        assert_eq!(check.code, Some(0), "{check}");
        let line =
            if is_enough { "ok       target: the run needs up to " } else { "warning  the run needs up to " };
        assert!(check.stdout.contains(line), "{check}");
    }
    let outcome = with_disk("8 apples").run(&["plan"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.contains("disk: expected a size from 1 B"), "{outcome}");
    let json = with_disk("1TB").run(&["plan", "--json"]);
    let plan: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(plan["disk"]["disk_bytes"], 1_000_000_000_000_u64);
    assert!(plan["disk"]["database_bytes"].as_u64().unwrap() > 1_000_000, "{plan}");
}
