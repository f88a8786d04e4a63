//! Sample findings for tests of the output.

use std::time::SystemTime;

use super::loader::{Load, TableFigures};
use super::recommendation::Certainty;
use super::rounds::{Loads, Series};
use super::*;

/// The base.
pub(super) const SETTING: Setting =
    Setting { jobs: 2, chunk: 128 << 20, format: FormatChoice::Auto, apply: ApplyMethod::Auto };

/// Returns an amount of so many rows, 100 MB in all.
pub(super) fn amount(rows: u64) -> Amount {
    Amount { rows, binary_bytes: 100_000_000 }
}

/// Returns a run that loads for `seconds`, or applies for that long if it loads while it applies, plus half a second for
/// startup and exit.
pub(super) fn load(seconds: f64, method: &str) -> Load {
    let part = |share: f64| Some(Duration::from_secs_f64(seconds * share));
    let ms = part(1000.0).map_or(0, |part| part.as_secs());
    let (load_ms, apply_ms) = if method == "direct" { (0, ms) } else { (ms, 50) };
    Load {
        whole: Duration::from_secs_f64(seconds + 0.5),
        client_cpu: part(0.2),
        source_cpu: part(0.6),
        target_cpu: part(1.0),
        peak_memory: Some(20 << 20),
        disk_share: Some(0.0),
        others_share: Some(0.0),
        table: TableFigures {
            apply: Some(method.to_owned()),
            format: "binary".to_owned(),
            streams: 2,
            chunks: 2,
            extracted: 1000,
            bytes_in: 100_000_000,
            load_ms,
            index_ms: 0,
            apply_ms,
            lock_ms: 20,
        },
    }
}

/// Returns a setting with its runs, from the first round on.
pub(super) fn loads(axis: Axis, setting: Setting, runs: Vec<Load>) -> Loads {
    let mut series = Series::default();
    series.rounds = runs.into_iter().enumerate().collect();
    Loads { axis, setting, series }
}

fn spread(median: f64) -> Spread {
    Spread { n: 3, median, min: median * 0.9, max: median * 1.1 }
}

fn effort(time: f64, pipe: f64) -> Effort {
    Effort {
        rows_per_s: Some(1e6 / time),
        mb_per_s: Some(213.0 / time),
        client_cpu_s: Some(spread(0.2)),
        client_cpu_s_per_gb: Some(0.94),
        client_cpu_ratio_to_pipe: Some(spread(0.4)),
        source_cpu_s: Some(spread(1.4)),
        target_cpu_s: Some(spread(1.8)),
        peak_memory_bytes: Some(27_000_000),
        ratio_to_pipe: Some(spread(time / pipe)),
        ratio_to_pipes: None,
        ratio_to_floor: Some(spread(time / 1.6)),
    }
}

fn plain(what: &'static str, label: &str, time: f64) -> PlainFigures {
    let index = (what == "pipe").then_some(0.7);
    PlainFigures {
        what,
        label: label.to_owned(),
        streams: 1,
        seconds: spread(time),
        index_s: index.map(spread),
        with_index_s: index.map(|index| spread(time + index)),
        effort: effort(time, 2.2),
    }
}

fn setting(label: &str, list: &'static str, load: f64) -> SettingFigures {
    SettingFigures {
        label: label.to_owned(),
        list,
        jobs: 2,
        chunk_bytes: 128 << 20,
        format: "auto",
        apply: "auto",
        method: "delta".to_owned(),
        wire_format: "binary".to_owned(),
        streams: 2,
        chunks: 2,
        load_s: Some(spread(load)),
        index_s: spread(0.0),
        apply_s: spread(0.4),
        lock_s: spread(0.123),
        whole_s: spread(load + 1.5),
        whole_ratio: Some(spread((load + 1.5) / 2.9)),
        effort: effort(load, 2.2),
    }
}

/// Returns findings with a base, another value of each list, a name with HTML markup, and an omission.
pub(super) fn findings() -> Findings {
    let mut settings = vec![
        setting("base", "base", 1.71),
        setting("jobs 1", "jobs", 2.13),
        setting("chunk 32MiB", "chunk", 1.79),
        setting("format text", "format", 2.97),
        setting("apply truncate", "apply", 1.73),
    ];
    (settings[1].jobs, settings[1].streams) = (1, 1);
    settings[2].chunk_bytes = 32 << 20;
    (settings[4].apply, settings[4].method) = ("truncate", "truncate".to_owned());
    settings[4].lock_s = spread(2.345);
    let choice = |key, value: &str| Choice {
        key,
        value: value.to_owned(),
        certainty: Certainty::Likely,
        because: "1.71 s; the next best, 1, took 1.20 to 1.30 times its time in 3 rounds".to_owned(),
        instead_of: None,
    };
    Findings {
        version: "0.1.0",
        started_at: SystemTime::UNIX_EPOCH,
        duration_s: 65.4,
        time_limit_s: 600.0,
        machine: Machine {
            cores: 2,
            processor: Some("A Processor".to_owned()),
            memory_bytes: Some(24 << 30),
            source_version: 150_018,
            target_version: 150_018,
            throw_away_servers: true,
            servers_cpu_is_known: true,
        },
        scenario: Facts {
            table: "public.\"a <b> & c\"".to_owned(),
            made_up: false,
            rules: false,
            rows: 1_000_000,
            bytes: 213_000_000,
            table_bytes: 158_000_000,
        },
        plain: vec![
            plain("read", "COPY TO alone", 1.4),
            plain("write", "COPY FROM alone", 1.8),
            plain("pipe", "psql | psql", 2.2),
        ],
        floor_s: Some(spread(1.6)),
        others_share: Some(spread(0.5)),
        settings,
        together: None,
        left_out: vec![LeftOut {
            what: "psql | psql, 2 streams".to_owned(),
            why: "0 of 3 rounds".to_owned(),
        }],
        limit: Limit { what: What::Target, because: "The 2 cores are busy for 98 % of the load.".to_owned() },
        recommendation: Recommendation {
            run: vec![choice("jobs", "2"), choice("chunk", "\"128MiB\""), choice("format", "\"auto\"")],
            apply: Some(choice("apply", "\"auto\"")),
        },
    }
}
