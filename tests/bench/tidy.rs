//! A bench that is stopped, killed or refused leaves nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::{assert_tidy, between, program, schemas};
use crate::support::{Bulkload, Pair, Proxy, Running, pair, wait_until};

type Stop = fn(&Running);

/// Waits until neither the program nor what it has started has a session left.
#[track_caller]
fn wait_until_alone(pair: &Pair) {
    for db in [&pair.source, &pair.target] {
        let sql = format!(
            "select count(*) from pg_stat_activity where datname = '{}' and application_name ~ 'bulkload|psql'",
            db.name()
        );
        wait_until("the sessions end", || db.value(&sql) == "0");
    }
}

#[test]
fn a_bench_that_is_stopped_drops_its_schemas_and_ends_its_sessions() {
    let stops: [(&str, &str, Stop, i32); 3] = [
        ("generating the table", "--rows=100000000", Running::interrupt, 130),
        ("warming up: ", "--rows=200000", Running::terminate, 143),
        ("round 1 of ", "--rows=3000", Running::interrupt, 130),
    ];
    for (marker, rows, stop, code) in stops {
        let pair = pair();
        let mut running = Bulkload::new().spawn(&between(&pair, &[rows, "--repeat=1000"]));
        running.wait_for_stderr(marker);
        stop(&running);
        let outcome = running.wait();
        assert_eq!(outcome.code, Some(code), "{marker} {outcome}");
        assert!(!outcome.stdout.contains("[run]"), "{marker} {outcome}");
        assert_tidy(&pair);
        wait_until_alone(&pair);
    }
}

#[test]
fn what_a_killed_bench_left_is_removed_by_the_next() {
    let pair = pair();
    let mut running = Bulkload::new().spawn(&between(&pair, &["--rows=100000000"]));
    running.wait_for_stderr("generating the table");
    running.kill_9();
    // Its server goes on for a moment.
    wait_until_alone(&pair);
    assert!(!schemas(&pair.source).is_empty() && !schemas(&pair.target).is_empty());
    let small = ["--rows=100", "--repeat=1", "--jobs=1", "--chunk=1MiB", "--format=auto", "--apply=truncate"];
    let outcome = Bulkload::new().run(&between(&pair, &small));
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_tidy(&pair);
}

#[test]
fn a_bench_of_which_nothing_fits_into_its_time_says_so_and_leaves_nothing() {
    let pair = pair();
    let outcome = Bulkload::new().run(&between(&pair, &["--rows=100000000", "--time-limit=1s"]));
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{outcome}");
    assert!(outcome.stderr.contains("error: no measurement finished within --time-limit 1s"), "{outcome}");
    assert_tidy(&pair);
}

#[test]
fn from_a_database_to_itself_is_refused_as_sync_refuses_it() {
    let pair = pair();
    let target = pair.target.url();
    let outcome = Bulkload::new().run(&["bench", "--source", target, "--target", target, "--rows=10"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{outcome}");
    assert!(outcome.stderr.contains("error: source and target are the same database"), "{outcome}");
    assert_tidy(&pair);
}

#[test]
fn a_stop_and_the_end_of_the_time_are_heard_while_it_connects() {
    let pair = pair();
    let proxy = Proxy::to(pair.target.port());
    proxy.freeze(true);
    let target = pair.target.url_through(proxy.port());
    let args = ["bench", "--source", pair.source.url(), "--target", &target];
    let running = Bulkload::new().spawn(&args);
    wait_until("it connects", || proxy.accepted() > 0);
    running.terminate();
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(143), "{outcome}");
    assert!(outcome.stderr.contains("error: stopped on request"), "{outcome}");
    let outcome = Bulkload::new().run(&[&args[..], &["--time-limit=1s"]].concat());
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.contains("error: no measurement finished within --time-limit 1s"), "{outcome}");
}

#[test]
fn a_stop_is_heard_while_the_way_to_a_server_is_stuck() {
    let pair = pair();
    let proxy = Proxy::to(pair.target.port());
    // Long enough to be met at it.
    proxy.delay(std::time::Duration::from_millis(5));
    let target = pair.target.url_through(proxy.port());
    let lists = ["--rows=10", "--jobs=1", "--chunk=1MiB", "--format=auto", "--apply=truncate"];
    let args = ["bench", "--source", pair.source.url(), "--target", &target];
    let mut running = Bulkload::new().spawn(&[&args[..], &lists].concat());
    let sql =
        "select count(*) from pg_class where relname = 'link' and relnamespace::regnamespace::text ~ 'bench'";
    wait_until("it measures the way", || pair.target.value(sql) == "1");
    proxy.freeze(true);
    running.terminate();
    running.wait_for_stderr("removing the schemas of bench");
    proxy.freeze(false);
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(143), "{outcome}");
    assert_tidy(&pair);
}

#[test]
fn servers_that_are_stopped_while_they_start_leave_nothing() {
    let program = program();
    let mut running = program.spawn(&["bench", "--rows=10"]);
    running.wait_for_stderr("starting two throw-away PostgreSQL servers");
    running.interrupt();
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(130), "{outcome}");
    assert!(!outcome.stderr.contains("generating the table"), "{outcome}");
    wait_until("its files go", || std::fs::read_dir(program.dir()).unwrap().next().is_none());
}

#[test]
fn a_schema_that_somebody_has_locked_is_told_of_when_it_is_stopped() {
    let pair = pair();
    let mut running = Bulkload::new().spawn(&between(&pair, &["--rows=3000", "--repeat=1000"]));
    running.wait_for_stderr("round 1 of ");
    let schema = schemas(&pair.target).into_iter().find(|name| !name.ends_with("_staging")).unwrap();
    let other = pair.target.session();
    other.run(&format!("begin; declare c cursor for select * from {schema}.plain; fetch c"));
    running.terminate();
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(143), "{outcome}");
    assert!(
        outcome.stderr.contains("another session holds locks on objects to be removed on the target"),
        "{outcome}"
    );
    assert!(
        outcome.stderr.contains("error: the schemas of bench could not be removed: the target: "),
        "{outcome}"
    );
    assert!(outcome.stderr.contains(&format!("drop schema if exists \"{schema}\"")), "{outcome}");
    assert!(outcome.stderr.contains("error: stopped on request"), "{outcome}");
    assert_eq!(schemas(&pair.source), Vec::<String>::new());
    assert!(schemas(&pair.target).contains(&schema));
}

/// Directories of files of ours in a program's TMPDIR.
fn directories(program: &Bulkload) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(program.dir()).unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("bulkload-bench-"))
        .collect()
}

#[test]
fn files_with_rows_are_nobody_elses_and_go_with_a_bench_that_is_killed() {
    let pair = pair();
    let program = program();
    let mut running = program.spawn(&between(&pair, &["--rows=3000", "--repeat=1000"]));
    running.wait_for_stderr("round 1 of ");
    let directory = directories(&program).pop().unwrap();
    assert_eq!(std::fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
    // The rows themselves have no name: nothing of them stays, even if nobody is left to remove it.
    assert!(!directory.join("rows.copy").exists());
    running.kill_9();
    wait_until("its files go", || directories(&program).is_empty());
}

#[test]
fn what_cannot_be_measured_is_refused_before_anything_is_made() {
    let config = "[[table]]\nname = 'orders'\n[[table]]\nname = 'files'\ncsv = 'x.csv'\n";
    let urls = "source.url = 'host=127.0.0.1 port=1'\ntarget.url = 'host=127.0.0.1 port=1'\n";
    let program = program().file("bulkload.toml", &format!("{urls}{config}"));
    for (args, message) in [
        (&["--jobs", "0"][..], "0 is not in 1..=256"),
        (&["--chunk", "1KiB"], "expected a size from 8KiB to 1TiB"),
        (&["--format", "csv"], "expected auto, binary or text"),
        (&["--apply", "auto,magic"], "expected auto, swap, delta"),
        (&["--shape", "tall"], "expected one of narrow, wide, text, json, lineitem"),
        (&["--rows", "0"], "0 is not in 1..="),
        (&["--repeat", "0"], "0 is not in 1..="),
        (&["--time-limit", "5"], "time unit needed"),
        (&["--table", "orders", "--rows", "5"], "cannot be used with"),
        (&["--table", "gone"], "--table public.gone: the config has no table public.gone"),
        (&["--table", "orders", "-c", "none.toml"], "no config file none.toml"),
        (&["--rules", "--shape", "wide"], "--rules requires --shape lineitem, not wide"),
        (&["--source", "host=127.0.0.1 port=1"], "neither --target nor TARGET_DATABASE_URL is given"),
        (&["--json", "no/such/file.json"], "--json no/such/file.json: its directory does not exist"),
        (&["--html", "."], "--html .: it is a directory"),
        (&["--json", "/proc/bench.json"], "--json /proc/bench.json: it cannot be written: "),
        (&["--json", "-", "--html", "-"], "--json and --html are both stdout"),
        (&["--json", "a", "--html", "./a"], "--json and --html are both a"),
        (&["--source", "host=127.0.0.1 port=1", "--target", "host=127.0.0.1 port=1"], "the source: "),
    ] {
        let outcome = program.run(&[&["bench"], args].concat());
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{args:?} {outcome}");
        assert!(
            outcome.stderr.starts_with("error: ") && outcome.stderr.contains(message),
            "{args:?} {outcome}"
        );
    }
    let left = std::fs::read_dir(program.dir()).unwrap().count();
    assert_eq!(left, 1, "the config alone");
}

#[test]
fn a_base_that_is_refused_is_told_as_sync_tells_it() {
    let pair = pair();
    let program = Bulkload::on(&pair).config("[[table]]\nname = 'orders'\n");
    for args in [&["bench", "--table", "orders"][..], &["sync", "--table", "orders"]] {
        let outcome = program.run(args);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{args:?} {outcome}");
        assert!(outcome.stderr.contains("has no table public.orders"), "{args:?} {outcome}");
    }
    assert_tidy(&pair);
}
