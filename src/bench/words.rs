//! Figures as people read them, on the terminal and on the page alike.

use super::findings::{Findings, PlainFigures, SettingFigures};
use super::settings::size;
use super::statistics::Spread;
use crate::report::figures;

/// What stands where a figure could not be had.
pub(super) const NONE: &str = "-";

/// Seconds with three digits: `9.13 s`, `412 ms`.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        s if s < 0.0995 => format!("{:.0} ms", s * 1000.0),
        s if s < 9.995 => format!("{s:.2} s"),
        s if s < 99.95 => format!("{s:.1} s"),
        s => format!("{s:.0} s"),
    }
}

/// The median of what may not be known.
pub(super) fn median(spread: Option<Spread>, show: impl Fn(f64) -> String) -> String {
    spread.map_or_else(|| NONE.to_owned(), |spread| show(spread.median))
}

/// Two decimals, for ratios and CPU seconds.
pub(super) fn two(value: f64) -> String {
    format!("{value:.2}")
}

/// `9.01-9.40`
pub(super) fn range(spread: Spread) -> String {
    match spread.n {
        1 => "once".to_owned(),
        _ if spread.max < 0.0995 => format!("{:.0}-{:.0} ms", spread.min * 1000.0, spread.max * 1000.0),
        _ => format!("{:.2}-{:.2}", spread.min, spread.max),
    }
}

/// A speed: `473,000`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded to what is shown")]
pub(super) fn rows_per_second(speed: f64) -> String {
    // Three digits: the rest is noise.
    let digits = 10_f64.powi((speed.max(1.0).log10().floor() as i32 - 2).max(0));
    figures::count(((speed / digits).round() * digits) as u64)
}

/// Memory: `26.4 MB`.
pub(super) fn memory(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| NONE.to_owned(), figures::bytes)
}

/// `15.18`, or `9.6.24` as it was counted then.
pub(super) fn version(number: u32) -> String {
    match number {
        n if n >= 100_000 => format!("{}.{}", n / 10_000, n % 10_000),
        n => format!("{}.{}.{}", n / 10_000, n / 100 % 100, n % 100),
    }
}

/// What is measured: `lineitem, 1,000,000 rows, 208 MB in binary`.
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

/// Where: `PostgreSQL 15.18, throw-away servers on this machine, 2 cores`.
pub(super) fn place(findings: &Findings) -> String {
    let machine = &findings.machine;
    let (source, target) = (version(machine.source_version), version(machine.target_version));
    let versions = if source == target { source } else { format!("{source} to {target}") };
    let servers = if machine.throw_away_servers {
        "two throw-away servers on this machine"
    } else if machine.servers_cpu_is_known {
        "two servers on this machine"
    } else {
        "given servers"
    };
    format!("PostgreSQL {versions}, {servers}, {}", figures::counted(machine.cores as u64, "core"))
}

/// What is said where the machine was busy with something else.
pub(super) fn disturbed(findings: &Findings) -> Option<String> {
    let share = findings.others_share.filter(|_| findings.is_disturbed())?;
    Some(format!(
        "Disturbed: something else took {:.0} % of the cores' time. Repeat this when the machine is quiet.",
        share.median * 100.0
    ))
}

/// The base in full: `jobs 2, chunk 128MiB, format auto (binary), apply auto (delta)`.
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

/// A setting's label, and how many streams had work where that differs.
pub(super) fn label(setting: &SettingFigures) -> String {
    if setting.list == "jobs" && setting.streams != setting.jobs as u64 {
        format!("{} ({} had work)", setting.label, setting.streams)
    } else {
        setting.label.clone()
    }
}

/// A table: its first column is text, the others are figures.
pub(super) struct Grid {
    /// Over the columns.
    pub(super) header: Vec<&'static str>,
    /// As many cells as the header has.
    pub(super) rows: Vec<Vec<String>>,
}

/// Up to the last row in staging.
pub(super) fn staging(findings: &Findings) -> Grid {
    let header =
        vec!["into staging", "time", "range", "rows/s", "MB/s", "pipe", "pipes", "floor", "CPU s/GB", "peak"];
    let row = |label: String, time_of: Spread, effort: &super::Effort| {
        vec![
            label,
            time(time_of.median),
            range(time_of),
            rows_per_second(effort.rows_per_s),
            format!("{:.0}", effort.mb_per_s),
            median(effort.ratio_to_pipe, two),
            median(effort.ratio_to_pipes, two),
            median(effort.ratio_to_floor, two),
            effort.client_cpu_s_per_gb.map_or_else(|| NONE.to_owned(), two),
            memory(effort.peak_memory_bytes),
        ]
    };
    let plain = |plain: &PlainFigures| row(plain.label.clone(), plain.seconds, &plain.effort);
    let setting = |setting: &SettingFigures| row(label(setting), setting.load_s, &setting.effort);
    let loads = findings.settings.iter().filter(|setting| setting.list != "apply");
    Grid { header, rows: findings.plain.iter().map(plain).chain(loads.map(setting)).collect() }
}

/// From start to end.
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
            format!("{} + index", pipe.label),
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
            format!("{}{by}", label(setting)),
            time(setting.whole_s.median),
            range(setting.whole_s),
            median(setting.whole_ratio, two),
            time(setting.load_s.median),
            time(setting.index_s.median),
            time(setting.apply_s.median),
            time(setting.lock_s.median),
            cpu(setting.effort.source_cpu_s),
            cpu(setting.effort.target_cpu_s),
        ]
    };
    Grid { header, rows: pipe.into_iter().chain(findings.settings.iter().map(setting)).collect() }
}

#[cfg(test)]
mod tests {
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
}
