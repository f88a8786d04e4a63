//! From what was measured to what it says: figures, what limits, what to recommend.

use std::time::Duration;

use super::findings::{Effort, Findings, PlainFigures, SettingFigures};
use super::limit::{Clues, Limit, judge};
use super::loader::Load;
use super::recommendation::{Recommendation, Tried, choose};
use super::rounds::{Copies, Loads, Rounds, ratios, seconds, spread};
use super::settings::{Axis, Setting, format_name, size};
use super::statistics::{Spread, ratio};
use super::yardstick::{Copied, Plan};

/// A figure, by round.
type Figure = Vec<(usize, f64)>;

/// What everything is compared with, by round.
#[derive(Default)]
struct Marks {
    pipe: Figure,
    pipe_with_index: Figure,
    pipes: Figure,
    floor: Figure,
    pipe_cpu: Figure,
}

/// How much was moved.
#[derive(Clone, Copy)]
pub(super) struct Amount {
    /// Rows that the source sent.
    pub(super) rows: u64,
    /// Their bytes in COPY's binary format.
    pub(super) binary_bytes: u64,
}

fn secs(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn loaded(load: &Load) -> Option<f64> {
    Some(seconds(load.table.load_ms))
}

/// The figures of all that was measured at least once.
pub(super) struct Summary<'a> {
    rounds: &'a Rounds<'a>,
    amount: Amount,
    marks: Marks,
    cores: f64,
}

impl<'a> Summary<'a> {
    /// Of finished rounds, on a machine of so many cores.
    #[expect(clippy::cast_precision_loss, reason = "a number of cores")]
    pub(super) fn of(rounds: &'a Rounds<'a>, amount: Amount, cores: usize) -> Self {
        let cores = cores as f64;
        let find = |plan: &dyn Fn(Plan) -> bool| rounds.copies.iter().find(|copies| plan(copies.plan));
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
        Self { rounds, amount, marks, cores }
    }

    /// The floor.
    pub(super) fn floor(&self) -> Option<Spread> {
        spread(&self.marks.floor)
    }

    /// What something else took of the cores, over all runs.
    pub(super) fn others_share(&self) -> Option<Spread> {
        let shares = self.rounds.loads.iter().flat_map(|l| l.series.figure(|load| load.others_share));
        Spread::of(shares.map(|(_, share)| share))
    }

    /// The plain copies.
    pub(super) fn plain(&self) -> Vec<PlainFigures> {
        self.rounds.copies.iter().filter_map(|copies| self.plain_of(copies)).collect()
    }

    fn plain_of(&self, copies: &Copies) -> Option<PlainFigures> {
        let series = &copies.series;
        let figure = |of: &dyn Fn(&Copied) -> Option<f64>| series.figure(of);
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
            effort: self.effort(&wall, cpu, peak, self.amount.binary_bytes)?,
        })
    }

    /// The settings, those that were measured.
    pub(super) fn settings(&self) -> Vec<SettingFigures> {
        self.rounds.loads.iter().filter_map(|loads| self.setting_of(loads)).collect()
    }

    fn setting_of(&self, loads: &Loads) -> Option<SettingFigures> {
        let series = &loads.series;
        let (_, last) = series.rounds.last()?;
        let figure = |of: &dyn Fn(&Load) -> Option<f64>| series.figure(of);
        let whole = figure(&|load| Some(secs(load.whole)));
        let peak = series.rounds.iter().filter_map(|(_, load)| load.peak_memory).max();
        let cpu = [
            figure(&|load| load.client_cpu.map(secs)),
            figure(&|load| load.source_cpu.map(secs)),
            figure(&|load| load.target_cpu.map(secs)),
        ];
        let Setting { jobs, chunk, format, apply } = loads.setting;
        let load = figure(&loaded);
        let ms = |of: fn(&Load) -> u64| spread(&figure(&|load| Some(seconds(of(load)))));
        Some(SettingFigures {
            label: loads.setting.label(&self.rounds.loads[0].setting),
            list: loads.axis.name(),
            jobs,
            chunk_bytes: chunk,
            format: format_name(format),
            apply: apply.name(),
            method: last.table.apply.clone().unwrap_or_else(|| "by its strategy".to_owned()),
            wire_format: last.table.format.clone(),
            streams: last.table.streams,
            chunks: last.table.chunks,
            load_s: spread(&load)?,
            index_s: ms(|load| load.table.index_ms)?,
            apply_s: ms(|load| load.table.apply_ms)?,
            lock_s: ms(|load| load.table.lock_ms)?,
            whole_s: spread(&whole)?,
            whole_ratio: ratios(&whole, &self.marks.pipe_with_index),
            effort: self.effort(&load, cpu, peak, last.table.bytes_in)?,
        })
    }

    #[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
    fn effort(
        &self,
        time: &Figure,
        [client, source, target]: [Figure; 3],
        peak_memory_bytes: Option<u64>,
        bytes: u64,
    ) -> Option<Effort> {
        let median = spread(time)?.median;
        let gb = bytes as f64 / 1e9;
        let client_cpu_ratio_to_pipe = ratios(&client, &self.marks.pipe_cpu);
        let client = spread(&client);
        Some(Effort {
            rows_per_s: ratio(self.amount.rows as f64, median).unwrap_or(0.0),
            mb_per_s: ratio(gb * 1000.0, median).unwrap_or(0.0),
            client_cpu_s_per_gb: client.and_then(|client| ratio(client.median, gb)),
            client_cpu_s: client,
            client_cpu_ratio_to_pipe,
            source_cpu_s: spread(&source),
            target_cpu_s: spread(&target),
            peak_memory_bytes,
            ratio_to_pipe: ratios(time, &self.marks.pipe),
            ratio_to_pipes: ratios(time, &self.marks.pipes),
            ratio_to_floor: ratios(time, &self.marks.floor),
        })
    }

    /// What limits the setting that loads fastest. What applying costs the target's server is not the load's: its part is
    /// taken from COPY FROM alone.
    #[expect(clippy::cast_precision_loss, reason = "a number of streams")]
    pub(super) fn limit(&self, findings: &Findings, links: (Option<f64>, Option<f64>)) -> Limit {
        let fastest = |a: &&SettingFigures, b: &&SettingFigures| a.load_s.median.total_cmp(&b.load_s.median);
        let Some(best) = findings.settings.iter().min_by(fastest) else { return judge(&Clues::default()) };
        let median = |spread: Option<Spread>| spread.map(|spread| spread.median);
        let write = findings.plain("write", true);
        let plain_target = write.and_then(|write| median(write.effort.target_cpu_s));
        let target = median(best.effort.target_cpu_s);
        let same = self.rounds.loads.iter().find(|loads| {
            let base = self.rounds.loads[0].setting;
            loads.setting.label(&base) == best.label
        });
        let disk = same.and_then(|loads| spread(&loads.series.figure(|load| load.disk_share)));
        judge(&Clues {
            load: best.load_s.median,
            streams: best.streams as f64,
            cores: self.cores,
            client: median(best.effort.client_cpu_s),
            source: median(best.effort.source_cpu_s),
            target: target.map(|target| plain_target.map_or(target, |plain| plain.min(target))),
            disk_share: median(disk),
            read: findings.plain("read", true).map(|read| read.seconds.median),
            write: write.map(|write| write.seconds.median),
            rate: best.effort.mb_per_s * 1e6,
            source_link: links.0,
            target_link: links.1,
        })
    }

    /// What to write into the config.
    pub(super) fn recommendation(&self) -> Recommendation {
        let text = |value: &str| format!("\"{value}\"");
        let run = [
            self.choice("jobs", Axis::Jobs, &loaded, &|s| s.jobs.to_string()),
            self.choice("chunk", Axis::Chunk, &loaded, &|s| text(&size(s.chunk))),
            self.choice("format", Axis::Format, &loaded, &|s| text(format_name(s.format))),
        ];
        let whole = |load: &Load| Some(secs(load.whole));
        let apply = self
            .choice("apply", Axis::Apply, &whole, &|s| text(s.apply.name()))
            .filter(|_| self.rounds.loads.iter().any(|loads| loads.axis == Axis::Apply));
        Recommendation { run: run.into_iter().flatten().collect(), apply }
    }

    fn choice(
        &self,
        key: &'static str,
        axis: Axis,
        figure: &dyn Fn(&Load) -> Option<f64>,
        value: &dyn Fn(&Setting) -> String,
    ) -> Option<super::recommendation::Choice> {
        let base = self.rounds.loads.first()?.series.figure(figure);
        let on_axis = self.rounds.loads.iter().filter(|l| l.axis == axis || l.axis == Axis::Base);
        let tried: Vec<Tried> = on_axis
            .filter_map(|loads| {
                let own = loads.series.figure(figure);
                let to_base = (loads.axis != Axis::Base).then(|| ratios(&own, &base)).flatten();
                Some(Tried { value: value(&loads.setting), median: spread(&own)?.median, to_base })
            })
            .collect();
        choose(key, &tried)
    }

    /// The recommended values together, where that has not been measured yet.
    pub(super) fn combined(&self) -> Option<Setting> {
        let recommended = self.recommendation();
        let base = self.rounds.loads.first()?.setting;
        let mut combined = base;
        for loads in &self.rounds.loads {
            let is = |key: &str, value: String| {
                recommended.run.iter().any(|choice| choice.key == key && choice.value == value)
            };
            let setting = &loads.setting;
            match loads.axis {
                Axis::Jobs if is("jobs", setting.jobs.to_string()) => combined.jobs = setting.jobs,
                Axis::Chunk if is("chunk", format!("\"{}\"", size(setting.chunk))) => {
                    combined.chunk = setting.chunk;
                }
                Axis::Format if is("format", format!("\"{}\"", format_name(setting.format))) => {
                    combined.format = setting.format;
                }
                _ => {}
            }
        }
        let is_known = self.rounds.loads.iter().any(|loads| loads.setting == combined);
        (!is_known).then_some(combined)
    }
}
