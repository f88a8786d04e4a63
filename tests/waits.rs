//! Whoever keeps a run from being prepared is named: table, session, and what to do.

use crate::locks::holder;
use crate::support::{Bulkload, Db, Outcome, Pair, Session, pair};

const TABLE: &str = "create table t (id int primary key, v text); insert into t values (1, 'a')";

fn world() -> Pair {
    let pair = pair();
    pair.source.run(TABLE);
    pair.target.run(TABLE);
    pair
}

fn program(pair: &Pair, run: &str) -> Bulkload {
    Bulkload::on(pair).config(&format!("[run]\n{run}\n[[table]]\nname = 't'\n"))
}

/// Not for long.
const SOON: &str = "lock_wait = '1s'\nlock_timeout = '100ms'";

fn lock(db: &Db) -> (Session, String) {
    let holder = holder(db, "lock table t in access exclusive mode");
    let pid = holder.value("select pg_backend_pid()");
    (holder, pid)
}

#[track_caller]
fn names(outcome: &Outcome, side: &str, who: &str) {
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{outcome}");
    let expected = format!("public.t on the {side} is locked by {who}");
    let error = outcome.stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    assert!(
        error.contains(&expected) && error.ends_with(" old): could not acquire the lock in time"),
        "{expected} {outcome}"
    );
    assert!(outcome.stderr.contains("  hint: End that transaction"), "{outcome}");
}

#[test]
fn a_table_that_is_locked_while_catalogs_are_read_is_named_with_its_holder() {
    let pair = world();
    for (side, db) in [("source", &pair.source), ("target", &pair.target)] {
        let (_holder, pid) = lock(db);
        let who = format!("pid {pid} (the holder, idle in transaction, transaction ");
        names(&program(&pair, SOON).run(&["plan"]), side, &who);
    }
    assert_eq!(program(&pair, SOON).run(&["-q", "plan"]).code, Some(0));
}

#[test]
fn a_prepared_transaction_that_holds_a_table_is_named() {
    let pair = world();
    pair.target.run("begin; lock table t in access exclusive mode; prepare transaction 'waits: a name'");
    names(&program(&pair, SOON).run(&["plan"]), "target", "the prepared transaction waits: a name (");
    pair.target.run("rollback prepared 'waits: a name'");
}

#[test]
fn who_waits_says_for_whom_and_goes_on_afterwards() {
    let pair = world();
    let (holder, pid) = lock(&pair.source);
    let mut running = program(&pair, "").spawn(&["plan"]);
    running.wait_for_stderr(&format!("public.t on the source is locked by pid {pid} (the holder"));
    drop(holder);
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert!(outcome.stderr.contains(": waiting for at most 10m"), "{outcome}");
}

#[test]
fn a_table_that_is_locked_before_the_snapshot_is_named_with_its_holder() {
    let pair = world();
    let mut running = program(&pair, SOON).hold_at("stage.done").spawn(&["sync"]);
    running.wait_until_held();
    let (_holder, pid) = lock(&pair.source);
    running.go();
    names(&running.wait(), "source", &format!("pid {pid} (the holder, idle in transaction, transaction "));
    assert_eq!(pair.target.value("select v from t"), "a");
}

#[test]
fn a_table_that_is_locked_is_a_failure_of_this_table_alone_when_tables_are_compared() {
    let pair = world();
    for db in [&pair.source, &pair.target] {
        db.run("create table other (id int primary key)");
    }
    // The plan is made before the table is locked: what it waits for is the comparison.
    let program = Bulkload::on(&pair)
        .config(&format!("[run]\n{SOON}\n[[table]]\nname = 't'\n[[table]]\nname = 'other'\n"))
        .hold_at("verify.planned");
    let mut running = program.spawn(&["-q", "verify"]);
    running.wait_until_held();
    let (_holder, pid) = lock(&pair.target);
    running.go();
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let line = format!("failed   t: public.t on the target is locked by pid {pid} (the holder");
    assert!(outcome.stdout.contains(&line), "{line} {outcome}");
    assert!(outcome.stdout.contains("ok       other: 0 rows"), "{outcome}");
}
