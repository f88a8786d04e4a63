//! Computes the figures and the limit from the measurements.

use std::time::Duration;

use super::findings::{Effort, Findings, PlainFigures, SettingFigures};
use super::limit::{Clues, Limit, judge};
use super::loader::Load;
use super::rounds::{Copies, Figure, Loads, Rounds, Series, load_time, ratios, seconds, spread};
use super::settings::{Axis, Setting, format_name};
use super::statistics::{Spread, ratio};
use super::yardstick::{Copied, Plan};

/// The references of all ratios, by round.
#[derive(Default)]
struct Marks {
    pipe: Figure,
    pipe_with_index: Figure,
    pipes: Figure,
    floor: Figure,
    pipe_cpu: Figure,
}

/// The amount of data moved.
#[derive(Clone, Copy)]
pub(super) struct Amount {
    /// Rows that the source sent.
    pub(super) rows: u64,
    /// Their bytes in COPY's binary format.
    pub(super) binary_bytes: u64,
}

/// Fewer bytes do not allow figures per gigabyte: CPU time has a resolution of 10 ms.
const BYTES_TELL: u64 = 1_000_000;

pub(super) fn secs(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// The figures of all items measured at least once.
pub(super) struct Summary<'a> {
    /// The settings, the base first.
    pub(super) loads: &'a [Loads],
    copies: &'a [Copies],
    /// The rounds that measured everything. The recommended values combined have further ones, with the base.
    swept: usize,
    pub(super) amount: Amount,
    marks: Marks,
    cores: f64,
}

impl<'a> Summary<'a> {
    /// Summarizes finished rounds on a machine with `cores` cores.
    pub(super) fn of(rounds: &'a Rounds<'a>, amount: Amount, cores: usize) -> Self {
        Self::over((&rounds.loads, &rounds.copies), rounds.swept, amount, cores)
    }

    /// Summarizes settings and plain copies, whose first `swept` rounds measured everything.
    #[expect(clippy::cast_precision_loss, reason = "a number of cores")]
    pub(super) fn over(
        (loads, copies): (&'a [Loads], &'a [Copies]),
        swept: usize,
        amount: Amount,
        cores: usize,
    ) -> Self {
        let cores = cores as f64;
        let find = |plan: &dyn Fn(Plan) -> bool| copies.iter().find(|copies| plan(copies.plan));
        let figure = |copies: Option<&Copies>, of: &dyn Fn(&Copied) -> Option<f64>| {
            copies.map(|copies| copies.series.figure(of)).unwrap_or_default()
        };
        let wall = |copied: &Copied| Some(secs(copied.wall));
        let pipe = find(&|plan| plan == Plan::Pipe(1));
        let read = figure(find(&|plan| plan == Plan::Read), &|copied| copied.source_cpu.map(secs));
        let write = figure(find(&|plan| plan == Plan::Write), &|copied| copied.target_cpu.map(secs));
        let both = read.iter().filter_map(|(round, read)| {
            let (_, write) = write.iter().find(|(other, _)| other == round)?;
            Some((*round, (read + write) / cores))
        });
        let marks = Marks {
            pipe: figure(pipe, &wall),
            pipe_with_index: figure(pipe, &|copied| Some(secs(copied.wall) + secs(copied.index?))),
            pipes: figure(find(&|plan| matches!(plan, Plan::Pipe(2..))), &wall),
            floor: both.collect(),
            pipe_cpu: figure(pipe, &|copied| copied.client_cpu.map(secs)),
        };
        Self { loads, copies, swept, amount, marks, cores }
    }

    /// Returns a figure of a setting. The base's further rounds are left out: figures shown side by side were measured side
    /// by side.
    pub(super) fn swept(&self, loads: &Loads, of: &dyn Fn(&Load) -> Option<f64>) -> Figure {
        if loads.axis == Axis::Combined { loads.series.figure(of) } else { self.first(&loads.series, of) }
    }

    fn first<T>(&self, series: &Series<T>, of: &dyn Fn(&T) -> Option<f64>) -> Figure {
        let mut figure = series.figure(of);
        figure.retain(|(round, _)| *round < self.swept);
        figure
    }

    /// Returns the floor.
    pub(super) fn floor(&self) -> Option<Spread> {
        spread(&self.marks.floor)
    }

    /// Returns the share of the cores that other processes took, over all runs.
    pub(super) fn others_share(&self) -> Option<Spread> {
        let shares = self.loads.iter().flat_map(|l| l.series.figure(|load| load.others_share));
        Spread::of(shares.map(|(_, share)| share))
    }

    /// Returns the plain copies.
    pub(super) fn plain(&self) -> Vec<PlainFigures> {
        self.copies.iter().filter_map(|copies| self.plain_of(copies)).collect()
    }

    fn plain_of(&self, copies: &Copies) -> Option<PlainFigures> {
        let series = &copies.series;
        let figure = |of: &dyn Fn(&Copied) -> Option<f64>| self.first(series, of);
        let wall = figure(&|copied| Some(secs(copied.wall)));
        let (what, streams) = match copies.plan {
            Plan::Read => ("read", 1),
            Plan::Write => ("write", 1),
            Plan::Pipe(streams) => ("pipe", streams),
        };
        let peak = series.rounds.iter().filter_map(|(_, copied)| copied.peak_memory).max();
        let cpu = [
            figure(&|copied| copied.client_cpu.map(secs)),
            figure(&|copied| copied.source_cpu.map(secs)),
            figure(&|copied| copied.target_cpu.map(secs)),
        ];
        Some(PlainFigures {
            what,
            label: copies.plan.label(),
            streams,
            seconds: spread(&wall)?,
            index_s: spread(&figure(&|copied| copied.index.map(secs))),
            with_index_s: spread(&figure(&|copied| Some(secs(copied.wall) + secs(copied.index?)))),
            effort: self.effort(&wall, cpu, peak, self.amount.binary_bytes),
        })
    }

    /// Returns the measured settings.
    pub(super) fn settings(&self) -> Vec<SettingFigures> {
        self.loads.iter().filter_map(|loads| self.setting_of(loads)).collect()
    }

    fn setting_of(&self, loads: &Loads) -> Option<SettingFigures> {
        let series = &loads.series;
        let (_, last) = series.rounds.last()?;
        let figure = |of: &dyn Fn(&Load) -> Option<f64>| self.swept(loads, of);
        let whole = figure(&|load| Some(secs(load.whole)));
        let peak = series.rounds.iter().filter_map(|(_, load)| load.peak_memory).max();
        let cpu = [
            figure(&|load| load.client_cpu.map(secs)),
            figure(&|load| load.source_cpu.map(secs)),
            figure(&|load| load.target_cpu.map(secs)),
        ];
        let Setting { jobs, chunk, format, apply } = loads.setting;
        let load = figure(&load_time);
        let ms = |of: fn(&Load) -> u64| spread(&figure(&|load| Some(seconds(of(load)))));
        Some(SettingFigures {
            label: loads.setting.label(&self.loads[0].setting),
            list: loads.axis.name(),
            jobs,
            chunk_bytes: chunk,
            format: format_name(format),
            apply: apply.name(),
            method: last.table.apply.clone().unwrap_or_else(|| "by its strategy".to_owned()),
            wire_format: last.table.format.clone(),
            streams: last.table.streams,
            chunks: last.table.chunks,
            load_s: spread(&load),
            index_s: ms(|load| load.table.index_ms)?,
            apply_s: ms(|load| load.table.apply_ms)?,
            lock_s: ms(|load| load.table.lock_ms)?,
            whole_s: spread(&whole)?,
            whole_ratio: ratios(&whole, &self.marks.pipe_with_index),
            effort: self.effort(&load, cpu, peak, last.table.bytes_in),
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    fn effort(
        &self,
        time: &Figure,
        [client, source, target]: [Figure; 3],
        peak_memory_bytes: Option<u64>,
        bytes: u64,
    ) -> Effort {
        let speed = |amount: f64| ratio(amount, spread(time)?.median).filter(|_| self.amount.rows > 0);
        let gb = bytes as f64 / 1e9;
        let tells = bytes >= BYTES_TELL;
        let client_cpu_ratio_to_pipe = ratios(&client, &self.marks.pipe_cpu);
        let client = spread(&client);
        Effort {
            rows_per_s: speed(self.amount.rows as f64),
            mb_per_s: speed(gb * 1000.0),
            client_cpu_s_per_gb: client.filter(|_| tells).and_then(|client| ratio(client.median, gb)),
            client_cpu_s: client,
            client_cpu_ratio_to_pipe,
            source_cpu_s: spread(&source),
            target_cpu_s: spread(&target),
            peak_memory_bytes,
            ratio_to_pipe: ratios(time, &self.marks.pipe),
            ratio_to_pipes: ratios(time, &self.marks.pipes),
            ratio_to_floor: ratios(time, &self.marks.floor),
        }
    }

    /// Determines the limit of the setting that loads fastest. The target server's CPU time for applying is not part of the
    /// load, so its share is taken from COPY FROM alone.
    #[expect(clippy::cast_precision_loss, reason = "a number of streams")]
    pub(super) fn limit(&self, findings: &Findings, links: (Option<f64>, Option<f64>)) -> Limit {
        if self.amount.rows == 0 {
            return Limit::unknown("The table has no rows to load.");
        }
        let timed = findings.settings.iter().filter_map(|setting| Some((setting, setting.load_s?.median)));
        let Some((best, load)) = timed.min_by(|a, b| a.1.total_cmp(&b.1)) else {
            return Limit::unknown("direct loads while it applies, so its load time cannot be told apart.");
        };
        let median = |spread: Option<Spread>| spread.map(|spread| spread.median);
        let write = findings.plain("write", true);
        let plain_target = write.and_then(|write| median(write.effort.target_cpu_s));
        let target = median(best.effort.target_cpu_s);
        let same = self.loads.iter().find(|loads| {
            let base = self.loads[0].setting;
            loads.setting.label(&base) == best.label
        });
        // The figure is for the whole machine: without servers on it, the waits are not this load's.
        let disk = same.filter(|_| findings.machine.servers_cpu_is_known);
        let disk = disk.and_then(|loads| spread(&loads.series.figure(|load| load.disk_share)));
        judge(&Clues {
            load,
            streams: best.streams as f64,
            cores: self.cores,
            client: median(best.effort.client_cpu_s),
            source: median(best.effort.source_cpu_s),
            target: target.map(|target| plain_target.map_or(target, |plain| plain.min(target))),
            disk_share: median(disk),
            disturbed: median(findings.others_share.filter(|_| findings.is_disturbed())),
            read: findings.plain("read", true).map(|read| read.seconds.median),
            write: write.map(|write| write.seconds.median),
            rate: best.effort.mb_per_s.unwrap_or(0.0) * 1e6,
            source_link: links.0,
            target_link: links.1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::limit::What;
    use super::super::sample::{self, SETTING, amount, load, loads};
    use super::*;
    use crate::config::ApplyMethod;

    fn base_and_direct() -> [Loads; 2] {
        let runs = |seconds, method| (0..5).map(|_| load(seconds, method)).collect();
        let direct = Setting { apply: ApplyMethod::Direct, ..SETTING };
        [
            loads(Axis::Base, SETTING, runs(4.0, "delta")),
            loads(Axis::Apply, direct, runs(2.0, ApplyMethod::Direct.name())),
        ]
    }

    #[test]
    fn what_loads_while_it_applies_has_no_load_of_its_own() {
        let loads = base_and_direct();
        let settings = Summary::over((&loads, &[]), 5, amount(1000), 2).settings();
        assert_eq!(settings[0].load_s.unwrap().median, 4.0);
        assert_eq!(settings[0].effort.rows_per_s, Some(250.0));
        let direct = &settings[1];
        assert_eq!((direct.load_s, direct.effort.rows_per_s, direct.effort.mb_per_s), (None, None, None));
        assert!(direct.whole_s.median > 2.0);
    }

    #[test]
    fn what_loads_while_it_applies_is_not_what_the_limit_is_of() {
        let loads = base_and_direct();
        let summary = Summary::over((&loads, &[]), 5, amount(1000), 2);
        let findings = |settings| Findings { settings, others_share: None, ..sample::findings() };
        let limit = summary.limit(&findings(summary.settings()), (None, None));
        assert!(limit.what == What::Source && limit.because.contains("2 cores are"), "{limit:?}");
        assert!(!limit.because.contains("inf"), "{limit:?}");
        let alone = summary.limit(&findings(summary.settings().split_off(1)), (None, None));
        assert!(alone.what == What::Unknown && alone.because.starts_with("direct loads"), "{alone:?}");
    }

    #[test]
    fn a_disturbed_machine_has_no_limit() {
        let loads = base_and_direct();
        let summary = Summary::over((&loads, &[]), 5, amount(1000), 2);
        // In the sample half of the cores' time was others'.
        let findings = Findings { settings: summary.settings(), ..sample::findings() };
        let limit = summary.limit(&findings, (None, None));
        assert!(limit.what == What::Unknown && limit.because.contains("took 50 %"), "{limit:?}");
    }

    #[test]
    fn nothing_is_made_of_a_table_without_rows() {
        let loads = base_and_direct();
        let summary = Summary::over((&loads, &[]), 5, amount(0), 2);
        let findings = Findings { settings: summary.settings(), ..sample::findings() };
        assert_eq!(summary.limit(&findings, (None, None)), Limit::unknown("The table has no rows to load."));
        assert_eq!(findings.settings[0].effort.rows_per_s, None);
    }

    #[test]
    fn few_bytes_do_not_tell_what_a_gigabyte_costs() {
        let mut loads = base_and_direct();
        let per_gb = |loads: &[Loads]| {
            let settings = Summary::over((loads, &[]), 5, amount(1000), 2).settings();
            settings[0].effort.client_cpu_s_per_gb
        };
        assert!(per_gb(&loads).is_some());
        for (_, load) in &mut loads[0].series.rounds {
            load.table.bytes_in = 21;
        }
        assert_eq!(per_gb(&loads), None);
    }
}
