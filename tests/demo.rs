//! `bulkload demo` does what it says, and leaves nothing unless it is told to.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::{Bulkload, Outcome, Running, Session, wait_until};

/// The directories of throw-away servers and the like in a place of the test's own.
fn leftovers(program: &Bulkload) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(program.dir()).unwrap();
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
}

/// A program whose temporary files are all in its working directory, which the servers' user may enter.
fn program() -> Bulkload {
    let program = Bulkload::new();
    Command::new("chmod").arg("0711").arg(program.dir()).status().unwrap();
    let dir = program.dir().to_string_lossy().into_owned();
    program.env("TMPDIR", &dir)
}

/// The rest of the line that begins with `label`.
#[track_caller]
fn line<'a>(outcome: &'a Outcome, label: &str) -> &'a str {
    let found = outcome.stdout.lines().find_map(|line| line.strip_prefix(label));
    found.unwrap_or_else(|| panic!("no line {label}\n{outcome}")).trim()
}

#[test]
fn the_default_demo_loads_its_rows_tells_of_orphans_and_leaves_nothing() {
    let program = program();
    let outcome = program.run(&["demo"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert!(line(&outcome, "15 tables ").starts_with("91,999       388 "), "{outcome}");
    assert!(line(&outcome, "climaster ").starts_with("726         3 "), "{outcome}");
    for words in [
        "The 15 tables now hold the desktop's rows.",
        "always found it, and waited ",
        "3 clients with a missing location were rejected",
        "the 385 rows that depend on them",
        "The app's own 773 rows, some of them in the same tables,\n    are unchanged, byte for byte.",
        "80 rows were read: those that changed since the last run.",
        "The desktop now has 276 rows from the app's users",
        "The 276 rows that had gone to the desktop were read again, recognized as\n    the app's own, and skipped",
        "The app's own 773 rows are unchanged, byte for byte.",
    ] {
        assert!(outcome.stdout.contains(words), "{words}\n{outcome}");
    }
    for line in outcome.stdout.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert_eq!(leftovers(&program), Vec::<PathBuf>::new(), "{outcome}");
}

#[test]
fn a_kept_demo_can_be_reached_repeated_and_stopped_as_it_says() {
    let program = program();
    let outcome = program.run(&["demo", "--keep", "--rows", "5000"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let url = |label| line(&outcome, label).strip_prefix("psql ").unwrap();
    let (source, target) = (url("source "), url("target "));
    let count = |url: &str, table: &str| Session::open(url).value(&format!("select count(*) from {table}"));
    let rejects = line(&outcome, "rejects ");
    assert_eq!(std::fs::read_dir(rejects).unwrap().count(), 2, "a directory for each run that had some");

    // Somebody changes the source, and runs the sync again as it was told.
    Session::open(source).run("update orgmaster set org_name = 'Changed' where org_id = 1");
    let again: Vec<&str> = line(&outcome, "again ").split_whitespace().collect();
    assert!(again[0].ends_with("bulkload"), "{again:?}");
    let second = program.run(&again[1..]);
    assert_eq!(second.code, Some(0), "{second}");
    assert_eq!(count(target, "orgmaster where org_name = 'Changed'"), "1");
    assert_eq!(count(target, "bulkload.runs"), "47");

    let (_, stop) = outcome.stdout.split_once("remove all their files:\n").unwrap();
    let commands: Vec<&str> = stop.lines().collect();
    assert_eq!(commands.len(), 2, "{outcome}");
    for command in commands {
        assert!(Command::new("sh").args(["-c", command]).stdout(Stdio::null()).status().unwrap().success());
    }
    assert!(Session::try_open(source).is_err() && Session::try_open(target).is_err());
    // What is left is the second run's own: it wrote its rejects where it was started.
    assert_eq!(leftovers(&program), [program.dir().join("rejects")]);
}

#[test]
fn a_demo_that_is_stopped_leaves_nothing_even_if_it_was_to_be_kept() {
    type Stop = fn(&Running);
    let stops: [(&str, Stop, i32); 3] = [
        ("starting two", Running::interrupt, 130),
        ("filling a desktop", Running::terminate, 143),
        ("a run begins", Running::interrupt, 130),
    ];
    for (marker, stop, code) in stops {
        let program = program();
        let mut running = program.spawn(&["demo", "--keep", "--rows", "5000"]);
        running.wait_for_stderr(marker);
        stop(&running);
        let outcome = running.wait();
        assert_eq!(outcome.code, Some(code), "{marker} {outcome}");
        assert!(!outcome.stdout.contains("To stop them"), "{marker} {outcome}");
        assert_eq!(leftovers(&program), Vec::<PathBuf>::new(), "{marker} {outcome}");
    }
}

#[test]
fn a_demo_that_is_killed_leaves_nothing() {
    let program = program();
    let mut running = program.spawn(&["demo", "--keep", "--rows", "5000"]);
    running.wait_for_stderr("a run begins");
    running.kill_9();
    wait_until("the servers' files are gone", || leftovers(&program).is_empty());
}

#[test]
fn a_demo_without_server_programs_says_how_to_get_them() {
    let program = program().env("BULKLOAD_PG_BINDIR", "/nonexistent");
    let outcome = program.run(&["demo"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.contains("/nonexistent") && outcome.stderr.contains("hint: "), "{outcome}");
    assert_eq!(leftovers(&program), Vec::<PathBuf>::new());
}
