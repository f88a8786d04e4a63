//! `bulkload bench`: what it measures, what it shows, and that nothing of it stays.

mod browser;
mod figures;
mod own_table;
mod tidy;

use std::process::Command;
use std::sync::OnceLock;

use crate::support::{Bulkload, Db, Outcome, Pair};

/// A bench that takes a few seconds, of the settings that matter to whoever reads its files.
const SMALL: [&str; 14] = [
    "bench",
    "--rows",
    "30000",
    "--repeat",
    "2",
    "--jobs",
    "2,1",
    "--chunk",
    "1MiB,512KiB",
    "--format",
    "auto,text",
    "--json=bench.json",
    "--html=bench.html",
    "--time-limit=5m",
];

/// That bench, run once for all who look at what it wrote.
struct Small {
    program: Bulkload,
    outcome: Outcome,
}

fn small() -> &'static Small {
    static SMALL_BENCH: OnceLock<Small> = OnceLock::new();
    SMALL_BENCH.get_or_init(|| {
        let program = program();
        let outcome = program.run(&SMALL);
        assert_eq!(outcome.code, Some(0), "{outcome}");
        Small { program, outcome }
    })
}

/// A program whose temporary files are all in its working directory, which the servers' user may enter.
fn program() -> Bulkload {
    let program = Bulkload::new();
    Command::new("chmod").arg("0711").arg(program.dir()).status().unwrap();
    let dir = program.dir().to_string_lossy().into_owned();
    program.env("TMPDIR", &dir)
}

/// The arguments of a bench between two databases.
fn between<'a>(pair: &'a Pair, others: &[&'a str]) -> Vec<&'a str> {
    [&["bench", "--source", pair.source.url(), "--target", pair.target.url()], others].concat()
}

/// Schemas of ours in a database.
fn schemas(db: &Db) -> Vec<String> {
    db.rows("select nspname from pg_namespace where nspname like '%bulkload%' order by nspname")
        .into_iter()
        .map(|row| row[0].clone().unwrap())
        .collect()
}

#[track_caller]
fn assert_tidy(pair: &Pair) {
    assert_eq!((schemas(&pair.source), schemas(&pair.target)), (Vec::new(), Vec::new()));
}

fn json(program: &Bulkload) -> serde_json::Value {
    let text = std::fs::read_to_string(program.dir().join("bench.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}
