//! Progress as text: formats a snapshot and its speeds, without access to a clock or a terminal.

use std::time::Duration;

use anstyle::{AnsiColor, Style};

use super::Expected;
use super::speed::{Pace, Speeds};
use crate::error::Phase;
use crate::figures;
use crate::report::result::short_name;

const NAME: Style = Style::new().bold();
const FULL: Style = AnsiColor::Green.on_default();
const WAITING: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default();

const BAR_WIDTH: usize = 10;
/// Width of bar, percentage, rows, speed and ETA in a table's line, with gaps; the name gets the rest.
const FIGURES_WIDTH: usize = 63;
const NAME_WIDTH_MIN: usize = 8;
/// Minimum weight of a table, one page: empty tables take time too.
const WEIGHT_MIN: u64 = 8192;

/// The state of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    Waiting,
    Active,
    Loaded,
    /// Loaded, and worked on while it waits for others.
    Early,
    Done,
    Failed,
}

impl State {
    pub(super) fn from_u8(state: u8) -> Self {
        match state {
            0 => Self::Waiting,
            1 => Self::Active,
            2 => Self::Loaded,
            3 => Self::Early,
            4 => Self::Done,
            _ => Self::Failed,
        }
    }
}

/// The counters of a table at one moment.
#[derive(Debug, Clone)]
pub(super) struct TableSnapshot {
    pub(super) expected: Expected,
    pub(super) state: State,
    pub(super) phase: Phase,
    pub(super) note: Option<String>,
    pub(super) rows: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) chunks_done: u64,
}

impl TableSnapshot {
    /// Returns the loaded fraction, 0 to 1. Completed chunks are exact. Otherwise the row count is the best estimate,
    /// because a table's size in the source differs from its size on the wire. An estimate never reaches 1.
    #[expect(clippy::cast_precision_loss, reason = "a picture needs three digits")]
    pub(super) fn done(&self) -> f64 {
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        match self.state {
            State::Waiting => 0.0,
            State::Loaded | State::Early | State::Done | State::Failed => 1.0,
            State::Active if self.phase > Phase::Load => 1.0,
            State::Active => {
                let estimate = match (self.expected.rows, self.expected.bytes) {
                    (0, bytes) => share(self.bytes_in, bytes),
                    (rows, _) => share(self.rows, rows),
                };
                share(self.chunks_done, self.expected.chunks).clamp(0.0, 1.0).max(estimate.min(0.99))
            }
        }
    }
}

/// The counters of a run at one moment.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) tables: Vec<TableSnapshot>,
}

impl Snapshot {
    /// Returns the earliest phase of any table, or `Record` if all tables have ended.
    pub(super) fn phase(&self) -> Phase {
        let phase = |table: &TableSnapshot| match table.state {
            State::Waiting => Some(Phase::Load),
            State::Active | State::Loaded | State::Early => Some(table.phase),
            State::Done | State::Failed => None,
        };
        self.tables.iter().filter_map(phase).min().unwrap_or(Phase::Record)
    }

    /// Returns the loaded fraction of the run, 0 to 1, with tables weighted by size.
    #[expect(clippy::cast_precision_loss, reason = "a picture needs three digits")]
    pub(super) fn done(&self) -> f64 {
        let weight = |table: &TableSnapshot| table.expected.bytes.max(WEIGHT_MIN) as f64;
        let whole: f64 = self.tables.iter().map(weight).sum();
        let part: f64 = self.tables.iter().map(|table| weight(table) * table.done()).sum();
        if whole > 0.0 { part / whole } else { 0.0 }
    }

    pub(super) fn bytes_in(&self) -> u64 {
        self.tables.iter().map(|table| table.bytes_in).sum()
    }

    fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }

    fn count(&self, state: State) -> usize {
        self.tables.iter().filter(|table| table.state == state).count()
    }

    /// Returns `3/15 tables`, and the number of failed tables if there are any.
    fn tables_done(&self) -> (String, Option<String>) {
        let failed = self.count(State::Failed);
        let done = self.count(State::Done) + failed;
        (format!("{done}/{} tables", self.tables.len()), (failed > 0).then(|| format!("{failed} failed")))
    }
}

/// Returns the run's line and lines for at most `tables_max` active tables, cut to `width` columns. The text contains ANSI
/// styles and no trailing newline.
pub(super) fn lines(snapshot: &Snapshot, speeds: &Speeds, width: usize, tables_max: usize) -> String {
    let mut lines = vec![run_line(snapshot, &speeds.run)];
    let mut parts = active(snapshot, speeds, width);
    let hidden = parts.len().saturating_sub(tables_max);
    if hidden > 0 {
        // The line with the number of hidden tables replaces a table.
        let shown = tables_max.saturating_sub(1);
        let rest = parts.len() - shown;
        parts.truncate(shown);
        parts.push(format!("  and {rest} more"));
    }
    lines.extend(parts);
    let cut = |line: &String| console::truncate_str(line, width, "").into_owned();
    lines.iter().map(cut).collect::<Vec<_>>().join("\n")
}

/// Returns one line per table being loaded, and one line per set of other tables with the same phase and note.
fn active(snapshot: &Snapshot, speeds: &Speeds, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut together: Vec<(&TableSnapshot, usize)> = Vec::new();
    for (index, table) in snapshot.tables.iter().enumerate() {
        if !matches!(table.state, State::Active | State::Early) {
            continue;
        }
        if table.phase <= Phase::Load {
            let pace = speeds.tables.get(index).copied().unwrap_or_default();
            lines.push(table_line(table, &pace, width));
            continue;
        }
        let same = |(first, _): &&mut (&TableSnapshot, usize)| {
            (first.phase, &first.note) == (table.phase, &table.note)
        };
        match together.iter_mut().find(same) {
            Some((_, others)) => *others += 1,
            None => together.push((table, 0)),
        }
    }
    lines.extend(together.into_iter().map(|(first, others)| together_line(first, others, width)));
    lines
}

/// Returns the progress of the run, for the log.
pub(super) fn log_line(snapshot: &Snapshot, speeds: &Speeds) -> String {
    let (tables, failed) = snapshot.tables_done();
    let mut parts = vec![tables];
    parts.extend(failed);
    parts.push(figures::counted(snapshot.rows(), "row"));
    if snapshot.phase() <= Phase::Load {
        parts.push(figures::throughput(speeds.run.bytes.per_s()));
        parts.extend(eta(&speeds.run, snapshot.done()));
    }
    parts.join(", ")
}

fn run_line(snapshot: &Snapshot, pace: &Pace) -> String {
    let (tables, failed) = snapshot.tables_done();
    let mut parts = vec![format!("{NAME}{:<8}{NAME:#}", snapshot.phase().name()), tables];
    parts.extend(failed.map(|failed| format!("{BAD}{failed}{BAD:#}")));
    parts.push(figures::counted(snapshot.rows(), "row"));
    if snapshot.phase() <= Phase::Load {
        parts.push(figures::throughput(pace.bytes.per_s()));
        parts.push(percent(snapshot.done()));
        parts.extend(eta(pace, snapshot.done()));
    }
    parts.join("  ")
}

fn table_line(table: &TableSnapshot, pace: &Pace, width: usize) -> String {
    let name = name(table, width);
    if let Some(note) = &table.note {
        return format!("  {name} {WAITING}{note}{WAITING:#}");
    }
    let line = format!(
        "  {name} {} {}  {:>11} rows  {:>10}  {}",
        bar(table.done()),
        percent(table.done()),
        figures::count(table.rows),
        figures::throughput(pace.bytes.per_s()),
        eta(pace, table.done()).unwrap_or_default()
    );
    line.trim_end().to_owned()
}

/// Formats a line such as `first  apply, with 14 others: waiting for a lock, attempt 3`.
fn together_line(first: &TableSnapshot, others: usize, width: usize) -> String {
    let with = match others {
        0 => String::new(),
        1 => ", with 1 other".to_owned(),
        _ => format!(", with {others} others"),
    };
    let line = format!("  {} {}{with}", name(first, width), first.phase);
    match &first.note {
        Some(note) => format!("{line}: {WAITING}{note}{WAITING:#}"),
        None => line,
    }
}

fn name(table: &TableSnapshot, width: usize) -> String {
    let name_width = width.saturating_sub(FIGURES_WIDTH).max(NAME_WIDTH_MIN);
    let name = short_name(&table.expected.name);
    let name = console::truncate_str(&name, name_width, "…");
    console::pad_str(&name, name_width, console::Alignment::Left, None).into_owned()
}

fn bar(done: f64) -> String {
    let cells = (1..=BAR_WIDTH).filter(|&cell| tenths(done) >= cell * 1000 / BAR_WIDTH).count();
    format!("{FULL}{}{FULL:#}{}", "█".repeat(cells), "░".repeat(BAR_WIDTH - cells))
}

fn percent(done: f64) -> String {
    format!("{:>3}%", tenths(done) / 10)
}

/// Converts a fraction to thousandths and rounds down, so that 100% means complete.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1000")]
fn tenths(done: f64) -> usize {
    (done.clamp(0.0, 1.0) * 1000.0 + 1e-6) as usize
}

/// Formats the ETA in whole seconds or more: tenths of an estimate would only flicker.
fn eta(pace: &Pace, done: f64) -> Option<String> {
    let seconds = pace.done.eta(1.0 - done)?.as_secs_f64().round().max(1.0);
    let left = if seconds < 60.0 {
        format!("{seconds:.0} s")
    } else {
        figures::duration(Duration::from_secs_f64(seconds))
    };
    Some(format!("ETA {left}"))
}
