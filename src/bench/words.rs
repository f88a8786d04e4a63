//! Formats figures for the terminal and the page.

use super::findings::{Findings, LeftOut, PlainFigures, SettingFigures};
use super::settings::size;
use super::statistics::Spread;
use crate::figures;

/// The placeholder for an unavailable figure.
pub(super) const NONE: &str = "-";

/// Formats seconds with three digits: `9.13 s`, `412 ms`.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        s if s < 0.0995 => format!("{:.0} ms", s * 1000.0),
        s if s < 9.995 => format!("{s:.2} s"),
        s if s < 99.95 => format!("{s:.1} s"),
        s => format!("{s:.0} s"),
    }
}

/// Formats the median of a figure that may be unavailable.
pub(super) fn median(spread: Option<Spread>, show: impl Fn(f64) -> String) -> String {
    spread.map_or_else(|| NONE.to_owned(), |spread| show(spread.median))
}

/// Formats ratios and CPU seconds with two decimals.
pub(super) fn two(value: f64) -> String {
    format!("{value:.2}")
}

/// Formats a range: `9.01-9.40`.
pub(super) fn range(spread: Spread) -> String {
    match spread.n {
        1 => "once".to_owned(),
        _ if spread.max < 0.0995 => format!("{:.0}-{:.0} ms", spread.min * 1000.0, spread.max * 1000.0),
        _ => format!("{:.2}-{:.2}", spread.min, spread.max),
    }
}

/// Formats a speed: `473,000`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded to what is shown")]
pub(super) fn rows_per_second(speed: f64) -> String {
    // Three digits: the rest is noise.
    let digits = 10_f64.powi((speed.max(1.0).log10().floor() as i32 - 2).max(0));
    figures::count(((speed / digits).round() * digits) as u64)
}

/// Formats memory: `26.4 MB`.
pub(super) fn memory(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| NONE.to_owned(), figures::bytes)
}

/// Formats a version: `15.18`, or `9.6.24` in the old scheme.
pub(super) fn version(number: u32) -> String {
    match number {
        n if n >= 100_000 => format!("{}.{}", n / 10_000, n % 10_000),
        n => format!("{}.{}.{}", n / 10_000, n / 100 % 100, n % 100),
    }
}

/// Describes the rows: `lineitem, 1,000,000 rows, 208 MB in binary`.
pub(super) fn subject(findings: &Findings) -> String {
    let facts = &findings.scenario;
    format!(
        "{}{}, {}, {} in binary",
        facts.table,
        if facts.rules { " with rules" } else { "" },
        figures::counted(facts.rows, "row"),
        figures::bytes(facts.bytes)
    )
}

/// Describes the environment: `PostgreSQL 15.18, two throw-away servers on this machine, 2 cores`.
pub(super) fn place(findings: &Findings) -> String {
    let machine = &findings.machine;
    let (source, target) = (version(machine.source_version), version(machine.target_version));
    let versions = if source == target { source } else { format!("{source} to {target}") };
    let servers = if machine.throw_away_servers {
        "two throw-away servers on this machine"
    } else if machine.servers_cpu_is_known {
        "two servers on this machine"
    } else {
        "existing servers"
    };
    format!("PostgreSQL {versions}, {servers}, {}", figures::counted(machine.cores as u64, "core"))
}

/// Warns if other processes kept the machine busy.
pub(super) fn disturbed(findings: &Findings) -> Option<String> {
    let share = findings.others_share.filter(|_| findings.is_disturbed())?;
    Some(format!(
        "Disturbed: other processes took {:.0} % of the cores' time. Repeat the measurement when the machine \
         is idle.",
        share.median * 100.0
    ))
}

/// Describes the base: `jobs 2, chunk 128MiB, format auto (binary), apply auto (delta)`.
pub(super) fn base(setting: &SettingFigures) -> String {
    let with = |word: &str, is: &str| if word == is { word.to_owned() } else { format!("{word} ({is})") };
    format!(
        "jobs {}, chunk {}, format {}, apply {}",
        setting.jobs,
        size(setting.chunk_bytes),
        with(setting.format, &setting.wire_format),
        with(setting.apply, &setting.method)
    )
}

/// Returns a setting's label, with the number of busy streams and of rounds where these differ.
pub(super) fn label(findings: &Findings, setting: &SettingFigures) -> String {
    let mut notes = Vec::new();
    if setting.streams != setting.jobs as u64 && !matches!(setting.list, "chunk" | "format" | "apply") {
        notes.push(format!("{} had work", figures::counted(setting.streams, "stream")));
    }
    if setting.list == "combined" {
        notes.push(format!("{} later", figures::counted(setting.whole_s.n as u64, "round")));
    } else {
        notes.extend(rounds(findings, setting.whole_s.n));
    }
    noted(&setting.label, &notes)
}

/// Returns a plain copy's label likewise.
fn plain_label(findings: &Findings, plain: &PlainFigures) -> String {
    noted(&plain.label, &Vec::from_iter(rounds(findings, plain.seconds.n)))
}

fn noted(label: &str, notes: &[String]) -> String {
    if notes.is_empty() { label.to_owned() } else { format!("{label} ({})", notes.join(", ")) }
}

/// Returns the number of rounds of an item, if it differs from the base's.
fn rounds(findings: &Findings, n: usize) -> Option<String> {
    let base = findings.base()?.whole_s.n;
    (n != base).then(|| figures::counted(n as u64, "round"))
}

/// Returns the number of busy streams, and the number of possible ones.
pub(super) fn streams(setting: &SettingFigures) -> String {
    let streams = figures::counted(setting.streams, "stream");
    if setting.streams == setting.jobs as u64 {
        streams
    } else {
        format!("{streams} (jobs {})", setting.jobs)
    }
}

/// Explains the columns, and why one is missing.
pub(super) fn legend(findings: &Findings) -> String {
    let pipe = findings.plain("pipe", true);
    let mut parts = Vec::new();
    if pipe.is_some() {
        parts.push("pipe: ratio to one psql | psql".to_owned());
    }
    if let Some(pipes) = findings.plain("pipe", false) {
        parts.push(format!("pipes: ratio to {} at once", pipes.streams));
    }
    parts.push(match findings.floor_s {
        Some(floor) => {
            let took = time(floor.median);
            format!("floor: ratio to {took}, the CPU time of the two servers alone, spread over all cores")
        }
        None if findings.machine.servers_cpu_is_known => {
            "floor: not known, COPY TO and COPY FROM could not be measured separately".to_owned()
        }
        None => "floor: not known, the servers' CPU time is not available from here".to_owned(),
    });
    if let Some(pipe) = pipe {
        parts.push(match pipe.index_s {
            Some(_) => "pipe+index: ratio to one pipe plus an index on the key".to_owned(),
            None => "pipe+index: not known, the table has no key".to_owned(),
        });
    }
    parts.push("CPU s/GB and peak: client only".to_owned());
    if findings.settings.iter().any(|setting| setting.load_s.is_none()) {
        parts.push("direct loads while it applies".to_owned());
    }
    format!("{}.", parts.join("; "))
}

/// Describes the recommended values combined, if they were measured.
pub(super) fn together(findings: &Findings) -> Option<String> {
    let together = findings.together.as_ref()?;
    Some(format!(
        "Combined, {} took {} and the base {} in {} of their own: {} times.",
        together.label,
        time(together.seconds.median),
        time(together.base_s.median),
        figures::counted(together.seconds.n as u64, "round"),
        two(together.ratio_to_base.median)
    ))
}

/// Returns the missing and incomplete measurements, one per line.
pub(super) fn left_out(findings: &Findings) -> Vec<String> {
    let line = |left: &LeftOut| {
        let how = if findings.has_measured(&left.what) { "Incomplete" } else { "Left out" };
        format!("{how}: {}: {}.", left.what, left.why)
    };
    findings.left_out.iter().map(line).collect()
}

/// A table whose first column is text and whose other columns are figures.
pub(super) struct Grid {
    /// The column headers.
    pub(super) header: Vec<&'static str>,
    /// The rows, each with as many cells as the header.
    pub(super) rows: Vec<Vec<String>>,
}

impl Grid {
    /// Removes columns without figures.
    fn told(mut self) -> Self {
        for column in (1..self.header.len()).rev() {
            if self.rows.iter().all(|row| row[column] == NONE) {
                self.header.remove(column);
                self.rows.iter_mut().for_each(|row| drop(row.remove(column)));
            }
        }
        self
    }
}

/// Returns the table of times to the last row in staging.
pub(super) fn staging(findings: &Findings) -> Grid {
    let header =
        vec!["into staging", "time", "range", "rows/s", "MB/s", "pipe", "pipes", "floor", "CPU s/GB", "peak"];
    let row = |label: String, time_of: Option<Spread>, effort: &super::Effort| {
        vec![
            label,
            median(time_of, time),
            time_of.map_or_else(|| NONE.to_owned(), range),
            effort.rows_per_s.map_or_else(|| NONE.to_owned(), rows_per_second),
            effort.mb_per_s.map_or_else(|| NONE.to_owned(), |speed| format!("{speed:.0}")),
            median(effort.ratio_to_pipe, two),
            median(effort.ratio_to_pipes, two),
            median(effort.ratio_to_floor, two),
            effort.client_cpu_s_per_gb.map_or_else(|| NONE.to_owned(), two),
            memory(effort.peak_memory_bytes),
        ]
    };
    let plain = |plain: &PlainFigures| row(plain_label(findings, plain), Some(plain.seconds), &plain.effort);
    let setting = |setting: &SettingFigures| row(label(findings, setting), setting.load_s, &setting.effort);
    let loads = findings.settings.iter().filter(|setting| setting.list != "apply");
    Grid { header, rows: findings.plain.iter().map(plain).chain(loads.map(setting)).collect() }.told()
}

/// Returns the table of times from start to end.
pub(super) fn whole(findings: &Findings) -> Grid {
    let header = vec![
        "the whole job",
        "time",
        "range",
        "pipe+index",
        "load",
        "index",
        "apply",
        "lock",
        "source CPU",
        "target CPU",
    ];
    let cpu = |spread: Option<Spread>| median(spread, time);
    let pipe = findings.plain("pipe", true).and_then(|pipe| {
        let both = pipe.with_index_s?;
        Some(vec![
            noted(&format!("{} + index", pipe.label), &Vec::from_iter(rounds(findings, both.n))),
            time(both.median),
            range(both),
            two(1.0),
            time(pipe.seconds.median),
            median(pipe.index_s, time),
            NONE.to_owned(),
            NONE.to_owned(),
            cpu(pipe.effort.source_cpu_s),
            cpu(pipe.effort.target_cpu_s),
        ])
    });
    let setting = |setting: &SettingFigures| {
        let by = if setting.list == "apply" { String::new() } else { format!(", {}", setting.method) };
        vec![
            format!("{}{by}", label(findings, setting)),
            time(setting.whole_s.median),
            range(setting.whole_s),
            median(setting.whole_ratio, two),
            median(setting.load_s, time),
            time(setting.index_s.median),
            time(setting.apply_s.median),
            time(setting.lock_s.median),
            cpu(setting.effort.source_cpu_s),
            cpu(setting.effort.target_cpu_s),
        ]
    };
    Grid { header, rows: pipe.into_iter().chain(findings.settings.iter().map(setting)).collect() }.told()
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn times_keep_three_digits() {
        let shown: Vec<String> = [0.0, 0.0123, 0.412, 9.134, 12.34, 123.4].map(time).to_vec();
        assert_eq!(shown, ["0 ms", "12 ms", "0.41 s", "9.13 s", "12.3 s", "123 s"]);
    }

    #[test]
    fn speeds_and_versions_are_written_as_people_say_them() {
        assert_eq!(
            [0.0, 12.0, 1_234.0, 473_456.0, 12_345_678.0].map(rows_per_second),
            ["0", "12", "1,230", "473,000", "12,300,000"]
        );
        assert_eq!((version(150_018).as_str(), version(90_624).as_str()), ("15.18", "9.6.24"));
    }

    #[test]
    fn a_row_says_how_many_rounds_it_had_where_that_differs_and_how_many_streams_had_work() {
        let mut findings = sample::findings();
        findings.settings[0].streams = 1;
        findings.settings[1].whole_s.n = 2;
        findings.settings[2].list = "combined";
        findings.settings[2].whole_s.n = 5;
        findings.plain[0].seconds.n = 1;
        let labels: Vec<String> =
            staging(&findings).rows.into_iter().map(|mut row| row.swap_remove(0)).collect();
        assert_eq!(
            labels,
            [
                "COPY TO alone (1 round)",
                "COPY FROM alone",
                "psql | psql",
                "base (1 stream had work)",
                "jobs 1 (2 rounds)",
                "chunk 32MiB (5 rounds later)",
                "format text",
            ]
        );
    }

    #[test]
    fn the_legend_says_why_something_is_not_known() {
        let mut findings = sample::findings();
        assert!(!legend(&findings).contains("pipes") && !legend(&findings).contains("not known"));
        let mut pipes = findings.plain[2].clone();
        pipes.streams = 4;
        findings.plain.push(pipes);
        assert!(legend(&findings).contains("pipes: ratio to 4 at once"));
        findings.plain[2].index_s = None;
        assert!(legend(&findings).contains("pipe+index: not known, the table has no key"));
        findings.floor_s = None;
        assert!(legend(&findings).contains(
            "floor: not known, COPY TO and COPY FROM could not be measured \
                                        separately"
        ));
        findings.machine.servers_cpu_is_known = false;
        assert!(legend(&findings).contains("floor: not known, the servers' CPU time is not available"));
        findings.plain.clear();
        assert!(!legend(&findings).contains("pipe"));
    }

    #[test]
    fn what_was_measured_in_some_rounds_is_not_called_left_out() {
        let mut findings = sample::findings();
        findings.left_out.push(LeftOut { what: "base".to_owned(), why: "1 of 3 rounds fit".to_owned() });
        assert_eq!(
            left_out(&findings),
            ["Left out: psql | psql, 2 streams: 0 of 3 rounds.", "Incomplete: base: 1 of 3 rounds fit."]
        );
    }

    #[test]
    fn a_column_without_a_figure_is_not_shown() {
        let mut findings = sample::findings();
        assert!(
            !staging(&findings).header.contains(&"pipes") && staging(&findings).header.contains(&"floor")
        );
        findings.settings.truncate(1);
        (findings.settings[0].load_s, findings.settings[0].effort.rows_per_s) = (None, None);
        let grid = whole(&findings);
        assert!(grid.rows.iter().all(|row| row.len() == grid.header.len()), "{:?}", grid.rows);
        findings.plain.clear();
        assert!(!staging(&findings).header.contains(&"rows/s") && !whole(&findings).header.contains(&"load"));
    }
}
