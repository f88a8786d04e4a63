use std::time::{Duration, SystemTime};

use super::*;
use crate::config::{ApplyMethod, Strategy};
use crate::error::{Error, Kind, Phase};
use crate::pg::format::Format;
use crate::report::{Mode, Reject};

fn table(name: &str, staged: u64) -> TableReport {
    let mut table =
        TableReport::new(name, Mode::Full, Strategy::Replace, Some(ApplyMethod::Truncate), Format::Binary);
    (table.extracted, table.staged, table.inserted) = (staged, staged, staged);
    (table.load_ms, table.lock_ms, table.duration_ms) = (1234, 12, 1500);
    table.succeed();
    table
}

fn report(tables: Vec<TableReport>) -> Report {
    Report {
        run_id: "20260917t020000-4f2a".to_owned(),
        started_at: SystemTime::UNIX_EPOCH,
        duration: Duration::from_millis(3200),
        mode: Mode::Full,
        tables,
    }
}

fn plain(report: &Report) -> String {
    let text = anstream::adapter::strip_str(&render(report, WIDTH)).to_string();
    for line in text.lines() {
        assert!(console::measure_text_width(line) <= WIDTH || line.starts_with("Run "), "{line}");
        assert_eq!(line, line.trim_end(), "trailing blanks");
    }
    text
}

#[test]
fn a_run_that_went_well_is_a_table_and_a_sentence() {
    let mut small = table("app.\"Job Notes\"", 7);
    (small.strategy, small.apply, small.load_ms) = (Strategy::Upsert, None, 245_000);
    let text = plain(&report(vec![table("public.jobtasks", 92_380), small]));
    assert_eq!(
        text,
        "\
table              rows  rejected  method      load   lock  total  status
jobtasks         92,380         0  truncate   1.2 s  12 ms  1.5 s  ok
app.\"Job Notes\"       7         0  upsert    4m 05s  12 ms  1.5 s  ok
2 tables         92,387         0                           3.2 s  ok

Run 20260917t020000-4f2a: 92,387 rows in 2 tables in 3.2 s, 28,870 rows/s.
"
    );
}

#[test]
fn failures_warnings_and_rejects_stand_below_the_table() {
    let mut orphans = table("public.clients", 726);
    orphans.rejected = 143;
    orphans.rejects_file = Some("rejects/r1/clients.csv".to_owned());
    let reject = |reason: &str, text: &str| Reject { reason: reason.to_owned(), text: text.to_owned() };
    orphans.rejects = Rejects {
        first: vec![
            reject("orphan", "loc_id 2 has no match in public.locations"),
            reject("duplicate", "a newer row has the same key"),
            reject("orphan", "loc_id 3 has no match in public.locations"),
            reject("orphan", "loc_id 4 is beyond what is shown"),
        ],
        counts: vec![("orphan".to_owned(), 142), ("duplicate".to_owned(), 1)],
    };
    orphans.warnings.push("the source column \"x\" is not on the target and was left behind".to_owned());
    let error = Error::new(
        Phase::Apply,
        Kind::Lock,
        "no lock on public.jobs within 10m: pid 4711 (psql) has been in a transaction for 3h",
    )
    .hint("End that session, or raise lock_wait.");
    let mut jobs = table("public.jobs", 10);
    jobs.fail(&error);
    let mut tasks = table("public.tasks", 20);
    tasks.fail(&error);
    let text = plain(&report(vec![orphans, jobs, tasks]));
    assert_eq!(
        text,
        "\
table     rows  rejected  method     load   lock  total  status
clients    726       143  truncate  1.2 s  12 ms  1.5 s  ok
jobs         -         0  truncate  1.2 s      -  1.5 s  FAILED
tasks        -         0  truncate  1.2 s      -  1.5 s  FAILED
3 tables   726       143                          3.2 s  2 FAILED

warning clients: the source column \"x\" is not on the target and was left behind

rejected clients: 143 rows, all in rejects/r1/clients.csv
  - orphan: loc_id 2 has no match in public.locations
  - duplicate: a newer row has the same key
  - orphan: loc_id 3 has no match in public.locations
  - and 140 orphan

FAILED jobs, tasks: no lock on public.jobs within 10m: pid 4711 (psql) has been
    in a transaction for 3h
  hint: End that session, or raise lock_wait.

Run 20260917t020000-4f2a: 2 of 3 tables FAILED, 726 rows in 3.2 s, 226 rows/s.
"
    );
}

#[test]
fn a_long_name_gets_its_own_line_and_is_not_cut() {
    let name = format!("public.{}", "n".repeat(63));
    let text = plain(&report(vec![table(&name, 1_234_567_890), table("public.t", 1)]));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[1], "n".repeat(63));
    assert_eq!(lines[2], "          1,234,567,890         0  truncate  1.2 s  12 ms  1.5 s  ok");
    assert_eq!(lines[3], "t                     1         0  truncate  1.2 s  12 ms  1.5 s  ok");
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let mut bad = table("public.\"a\u{1b}[2Jb\"", 1);
    bad.warnings.push("line\nbreak \u{7}".to_owned());
    let text = plain(&report(vec![bad]));
    assert!(text.contains("\"a\u{fffd}[2Jb\""), "{text}");
    assert!(text.contains(": line break \u{fffd}\n"), "{text}");
}

#[test]
fn a_run_without_duration_or_tables_has_no_speed() {
    let mut empty = report(Vec::new());
    empty.duration = Duration::ZERO;
    assert!(plain(&empty).ends_with("Run 20260917t020000-4f2a: 0 rows in 0 tables in 0 ms.\n"));
}

#[test]
fn failure_is_red_and_success_is_green() {
    let mut bad = table("public.t", 1);
    let good = render(&report(vec![bad.clone()]), WIDTH);
    assert!(good.contains(&format!("{GOOD}ok{GOOD:#}")) && !good.contains(&BAD.to_string()));
    bad.fail(&Error::new(Phase::Load, Kind::Server, "no"));
    assert!(render(&report(vec![bad]), WIDTH).contains(&format!("{BAD}FAILED{BAD:#}")));
}

#[test]
fn what_is_said_of_a_reject_or_a_failure_is_said_once() {
    for (reason, text, expected) in [
        ("v: not_null [23502]", "not_null: null value in \"v\"", "v [23502]: null value in \"v\""),
        ("v_check [23514]", "check: violates \"v_check\"", "v_check [23514]: violates \"v_check\""),
        ("invalid [22P02]", "invalid: no number: \"x\"", "no number: \"x\" [22P02]"),
        ("fkey", "a=1 has no match", "fkey: a=1 has no match"),
    ] {
        let reject = Reject { reason: reason.to_owned(), text: text.to_owned() };
        assert_eq!(sample(&reject), expected);
    }
    let failed = |name: &str, message: &str| {
        let mut failed = table(name, 1);
        failed.fail(&Error::new(Phase::Load, Kind::Server, message));
        failed
    };
    let text = plain(&report(vec![
        failed("public.a", "public.a, chunk 0: no"),
        failed("public.b", "public.b: never"),
        failed("public.c", "public.a: not this one"),
    ]));
    for line in ["FAILED a: chunk 0: no\n", "FAILED b: never\n", "FAILED c: public.a: not this one\n"] {
        assert!(text.contains(line), "{line} {text}");
    }
}

#[test]
fn rejects_of_many_tables_take_a_line_each() {
    let rejecting = |name: &str, rejected: u64, text: &str| {
        let mut table = table(name, 10);
        table.rejected = rejected;
        table.rejects_file = Some(format!("rejects/r1/{name}.csv"));
        table.rejects = Rejects {
            first: vec![Reject { reason: "fkey".to_owned(), text: text.to_owned() }],
            counts: vec![("fkey".to_owned(), rejected)],
        };
        table
    };
    let text = plain(&report(vec![
        rejecting("public.clients", 1, "loc_id=2 has no match in public.locations"),
        rejecting("public.jobs", 1_234, &format!("{} has no match", "x".repeat(90))),
        table("public.fine", 7),
        rejecting("app.\"Job Notes\"", 56, "job_id=1 has\nno match in public.jobs"),
    ]));
    let (_, below) = text.split_once("rejected 1,291").unwrap();
    assert_eq!(
        below.split_once("\n\nRun").unwrap().0,
        format!(
            " rows, one file per table in rejects/r1
  clients              1  loc_id=2 has no match in public.locations
  jobs             1,234  {}, …
  app.\"Job Notes\"     56  job_id=1 has no match in public.jobs, …",
            "x".repeat(80 - 3 - 26)
        )
    );
}

#[test]
fn failed_tables_come_last_and_causes_after_what_failed_with_them() {
    let mut cause = table("public.b_cause", 5);
    cause.fail(&Error::new(
        Phase::Load,
        Kind::Server,
        "no such luck, for this table and for all of its kind",
    ));
    let mut victim = table("public.c_victim", 5);
    victim.fail(&Error::new(Phase::Load, Kind::Dependency, "not applied"));
    let mut fine = table("public.d_fine", 5);
    fine.warnings.push("odd".to_owned());
    let report = report(vec![cause, victim, fine]);
    let order = |text: &str| -> Vec<usize> {
        [
            "d_fine  ",
            "b_cause ",
            "c_victim ",
            "warning d_fine: odd",
            "FAILED c_victim: not",
            "FAILED b_cause: no",
        ]
        .map(|part| text.find(part).unwrap_or_else(|| panic!("{part:?} in {text}")))
        .to_vec()
    };
    assert!(order(&plain(&report)).is_sorted(), "{}", plain(&report));
    let narrow = anstream::adapter::strip_str(&render(&report, 40)).to_string();
    assert!(
        narrow.contains("FAILED b_cause: no such luck, for this\n    table and for all of its kind\n"),
        "{narrow}"
    );
}

#[test]
fn many_tables_that_failed_together_do_not_hide_the_error() {
    let failed = |i: usize| {
        let mut table = table(&format!("public.t{i}"), 5);
        table.fail(&Error::new(Phase::Apply, Kind::Server, "no"));
        table
    };
    let text = plain(&report((0..4).map(failed).collect()));
    assert!(text.contains("\nFAILED t0, t1, t2, t3: no\n"), "{text}");
    let text = plain(&report((0..5).map(failed).collect()));
    assert!(text.contains("\nFAILED t0, t1, t2 and 2 more: no\n"), "{text}");
    assert!(text.ends_with("5 of 5 tables FAILED, 0 rows in 3.2 s.\n"), "{text}");
}
