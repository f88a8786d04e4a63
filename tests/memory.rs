//! Peak memory depends on `memory`, not on how large a table or a row is.

use crate::csv_source::{program, target};
use crate::support::{Bulkload, Pair, pair};

/// What the program may need besides `memory`, in kB.
const OWN_KB: u64 = 64 * 1024;

/// `memory` of the runs below, in kB.
const MEMORY_KB: u64 = 8 * 1024;

/// A table of so many rows of 1 kB and some of 10 MB.
fn world(rows: u32, huge: u32) -> Pair {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run("create table wide (id int primary key, v text)");
    }
    pair.source.run(&format!(
        "alter table wide alter v set storage external;
         insert into wide select i, repeat('x', 990) from generate_series(1, {rows}) i;
         insert into wide select -i, repeat('0123456789', 1024 * 1024) from generate_series(1, {huge}) i"
    ));
    pair
}

/// The most memory that a run had used when all was applied, in kB.
fn peak_kb(pair: &Pair, apply: &str, run: &str) -> u64 {
    let program = Bulkload::on(pair).config(&format!(
        "[run]\nmemory = '8MiB'\nchunk = '16MiB'\n{run}\n[[table]]\nname = 'wide'\napply = '{apply}'\n"
    ));
    let program = program.hold_at("record.done");
    let peak = peak_of(&program);
    assert_eq!(pair.source.count("wide"), pair.target.count("wide"));
    peak
}

/// The same of any program.
fn peak_of(program: &Bulkload) -> u64 {
    let mut running = program.spawn(&["sync"]);
    running.wait_until_held();
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.id())).unwrap();
    running.go();
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_table_ten_times_as_large_needs_no_more_memory() {
    let peaks = [(20_000, 0), (200_000, 0)].map(|(rows, huge)| {
        let pair = world(rows, huge);
        peak_kb(&pair, "truncate", "jobs = 2")
    });
    assert!(peaks.iter().all(|&peak| peak < OWN_KB + MEMORY_KB), "{peaks:?} kB");
}

#[test]
fn huge_rows_and_many_streams_stay_within_the_same_memory() {
    let pair = world(20_000, 5);
    for (apply, run) in
        [("truncate", "jobs = 8"), ("truncate", "jobs = 2\nformat = 'text'"), ("direct", "jobs = 2")]
    {
        let peak = peak_kb(&pair, apply, run);
        assert!(peak < OWN_KB + MEMORY_KB, "{apply}, {run}: {peak} kB");
    }
}

#[test]
fn files_need_no_more_memory_however_large_they_are_and_whatever_they_are_packed_in() {
    let line = format!("{}\n", "x".repeat(990));
    let rows = |count: u32| (1..=count).map(|i| format!("{i},{line}")).collect::<String>();
    let (small, large) = (rows(5_000), rows(100_000));
    let huge = format!("0,\"{}\"\n", "0123456789".repeat(1024 * 1024));
    // A record must fit into memory, and is moved when its buffer grows.
    for (name, bytes, records_kb) in [
        ("large.csv", large.clone().into_bytes(), 0),
        ("large.csv.zst", zstd::encode_all(large.as_bytes(), 1).unwrap(), 0),
        ("huge.csv", format!("{small}{huge}{small}").into_bytes(), 3 * 10 * 1024),
    ] {
        let db = target("create unlogged table wide (id int, v text)");
        let config = format!(
            "[run]\nmemory = '8MiB'\nchunk = '16MiB'\njobs = 2\n[[table]]\nname = 'wide'\napply = 'truncate'\ncsv = {{ files = '{name}', header = false }}\n"
        );
        let program = program(&db).bytes(name, &bytes).file("bulkload.toml", &config).hold_at("record.done");
        let peak = peak_of(&program);
        assert!(peak < OWN_KB + MEMORY_KB + records_kb, "{name}: {peak} kB");
        assert!(db.count("wide") > 5_000);
    }
}
