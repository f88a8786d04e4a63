//! A watermark misses no row that was committed, whatever was open while it was taken.

use crate::incremental::{BY_TIME, BY_XMIN, SCHEMA, program, read};
use crate::support::{Db, Session, assert_same_contents, pair};

/// A source of numbers that are the same in every run of the test.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// A session of the source that writes.
struct Writer {
    session: Session,
    is_open: bool,
    savepoints: u64,
}

/// Sessions that write, with transactions that stay open across runs.
struct Writers<'a> {
    random: Random,
    all: Vec<Writer>,
    pending: Vec<String>,
    next: u64,
    source: &'a Db,
    /// Each has rows of its own, so that none waits for another.
    rows: u64,
}

impl Writers<'_> {
    fn step(&mut self) {
        let number = self.random.below(self.all.len() as u64);
        let what = self.random.below(10);
        let id = number * 1000 + self.random.below(self.rows);
        let is_new = self.random.below(2) == 0;
        self.next += 1;
        let next = self.next;
        let writer = &mut self.all[usize::try_from(number).unwrap()];
        if !writer.is_open && what < 9 {
            writer.session.run("begin");
            (writer.is_open, writer.savepoints) = (true, 0);
        }
        match what {
            0..4 if is_new => writer.session.run(&format!(
                "insert into t (id, v, updated_at, created_at) values ({}, 'new {next}', null, now())",
                100_000 + next
            )),
            0..4 => {
                writer.session.run(&format!("update t set v = '{next}', updated_at = now() where id = {id}"));
            }
            4 => {
                writer.savepoints += 1;
                writer.session.run(&format!("savepoint s{}", writer.savepoints));
            }
            5 if writer.savepoints > 0 => {
                let back = 1 + next % writer.savepoints;
                writer.session.run(&format!("rollback to s{back}"));
                writer.savepoints = back;
            }
            6 => {
                writer.session.run("rollback");
                writer.is_open = false;
            }
            7 if self.pending.len() < 2 => {
                let gid = format!("{} {next}", self.source.name());
                writer.session.run(&format!("prepare transaction '{gid}'"));
                writer.is_open = false;
                self.pending.push(gid);
            }
            9 if !self.pending.is_empty() => {
                let gid = self.pending.remove(0);
                self.source.run(&format!("commit prepared '{gid}'"));
            }
            9 if !writer.is_open => {}
            _ => {
                writer.session.run("commit");
                writer.is_open = false;
            }
        }
    }

    fn end(&mut self) {
        for writer in self.all.iter_mut().filter(|writer| writer.is_open) {
            writer.session.run("commit");
            writer.is_open = false;
        }
        for gid in self.pending.drain(..) {
            self.source.run(&format!("commit prepared '{gid}'"));
        }
    }
}

/// After every run the target holds what is committed in the source, whatever else is open.
#[track_caller]
fn no_committed_row_is_missed(schema: &str, watermark: &str, seed: u64) {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run(schema);
    }
    pair.source.run("insert into t (id, v) select w * 1000 + i, 'old' from generate_series(0, 4) w, generate_series(0, 39) i");
    pair.source.run("update t set created_at = timestamptz '2020-01-01Z'");
    let program = program(&pair, &format!("{watermark}full_every = '99d'\n"));
    let mut writers = Writers {
        random: Random(seed),
        all: (0..5)
            .map(|_| Writer { session: pair.source.session(), is_open: false, savepoints: 0 })
            .collect(),
        pending: Vec::new(),
        next: 0,
        source: &pair.source,
        rows: 40,
    };
    let mut incremental = 0;
    for round in 0..12 {
        for _ in 0..writers.random.below(20) {
            writers.step();
        }
        if round == 11 {
            writers.end();
        }
        let table = read(&program);
        incremental += u64::from(table["mode"] == "incremental" && table["extracted"].as_u64() < Some(200));
        assert_same_contents(&pair.source, &pair.target, "t");
    }
    assert!(incremental > 4, "of 12 runs only {incremental} read less than all");
}

#[test]
fn no_committed_row_is_missed_by_time() {
    for seed in 1..=2 {
        no_committed_row_is_missed(SCHEMA, BY_TIME, seed);
    }
}

#[test]
fn no_committed_row_is_missed_by_local_time() {
    let schema = "create table t (id int primary key, v text, updated_at timestamp, created_at timestamp)";
    no_committed_row_is_missed(schema, BY_TIME, 11);
    let schema = "create table t (id int primary key, v text, updated_at timestamptz, created_at date)";
    no_committed_row_is_missed(schema, BY_TIME, 12);
}

#[test]
fn no_committed_row_is_missed_by_xmin() {
    for seed in 21..=22 {
        no_committed_row_is_missed(SCHEMA, BY_XMIN, seed);
    }
    let schema = "create table t (id int, v text, updated_at timestamptz, created_at timestamptz, primary key (id)) partition by range (id);
                  create table t1 partition of t for values from (0) to (2000); create table t2 partition of t default";
    no_committed_row_is_missed(schema, BY_XMIN, 24);
}
