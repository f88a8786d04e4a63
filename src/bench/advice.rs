//! Derives the recommendation from the measurements: decides which runs of which settings are compared for which key.

use super::contest::{Lock, Run, Tried, choose};
use super::findings::Together;
use super::loader::Load;
use super::recommendation::{Choice, Recommendation};
use super::rounds::{Figure, Loads, load_time, ratios, seconds, spread};
use super::settings::{Axis, Setting, format_name, size};
use super::summary::{Summary, secs};
use crate::apply;
use crate::plan::method::TableLock;

impl Summary<'_> {
    /// Returns the recommendation for the config.
    pub(super) fn recommendation(&self) -> Recommendation {
        let text = |value: &str| format!("\"{value}\"");
        // A method that loads while it applies is judged by its whole time.
        let has_load = self.loads.first().is_some_and(|base| !base.series.figure(load_time).is_empty());
        let whole = |load: &Load| Some(secs(load.whole));
        let load = |load: &Load| if has_load { load_time(load) } else { whole(load) };
        let run = [
            self.choice("jobs", Axis::Jobs, &load, &|s| s.jobs.to_string()),
            self.choice("chunk", Axis::Chunk, &load, &|s| text(&size(s.chunk))),
            self.choice("format", Axis::Format, &load, &|s| text(format_name(s.format))),
        ];
        let apply = self
            .choice("apply", Axis::Apply, &whole, &|s| text(s.apply.name()))
            .filter(|_| self.loads.iter().any(|loads| loads.axis == Axis::Apply));
        let mut recommendation = Recommendation { run: run.into_iter().flatten().collect(), apply };
        if let Some(together) = self.together() {
            recommendation.add_up(together.ratio_to_base);
        }
        recommendation
    }

    fn choice(
        &self,
        key: &'static str,
        axis: Axis,
        figure: &dyn Fn(&Load) -> Option<f64>,
        value: &dyn Fn(&Setting) -> String,
    ) -> Option<Choice> {
        // A failed setting cannot be recommended; one that was not measured may be better.
        let on_axis = self.loads.iter().filter(|loads| loads.axis == axis && loads.series.failed.is_none());
        let tried: Vec<Tried> = self
            .loads
            .first()
            .into_iter()
            .chain(on_axis.filter(|_| self.amount.rows > 0))
            .map(|loads| Tried {
                value: value(&loads.setting),
                seconds: self.swept(loads, figure),
                run: run(loads),
                lock: (axis == Axis::Apply).then(|| self.lock(loads)).flatten(),
            })
            .collect();
        let mut choice = choose(key, &tried)?;
        if self.amount.rows == 0 {
            "the table has no rows to load".clone_into(&mut choice.because);
        }
        Some(choice)
    }

    fn lock(&self, loads: &Loads) -> Option<Lock> {
        let (_, last) = loads.series.rounds.last()?;
        let lock = self.swept(loads, &|load| Some(seconds(load.table.lock_ms)));
        Some(Lock { who: who_waits(last.table.apply.as_deref()), seconds: spread(&lock)?.median })
    }

    /// Returns the recommended values as one setting, unless it has been measured.
    pub(super) fn combined(&self) -> Option<Setting> {
        let recommended = self.recommendation();
        let base = self.loads.first()?.setting;
        let mut combined = base;
        for loads in self.loads {
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
        let is_known = self.loads.iter().any(|loads| loads.setting == combined);
        (!is_known).then_some(combined)
    }

    /// Returns the times of that setting and of the base, in rounds of their own.
    pub(super) fn together(&self) -> Option<Together> {
        let base = self.loads.first()?;
        let combined = self.loads.iter().find(|loads| loads.axis == Axis::Combined)?;
        let whole = |load: &Load| Some(load_time(load).unwrap_or(secs(load.whole)));
        let own = combined.series.figure(whole);
        let mut others: Figure = base.series.figure(whole);
        others.retain(|(round, _)| own.iter().any(|(own, _)| own == round));
        Some(Together {
            label: combined.setting.label(&base.setting),
            seconds: spread(&own)?,
            base_s: spread(&others)?,
            ratio_to_base: ratios(&own, &others)?,
        })
    }
}

/// Returns the effective run of a setting, if it was the same each time.
fn run(loads: &Loads) -> Option<Run> {
    let mut runs = loads.series.rounds.iter().map(|(_, load)| Run {
        streams: load.table.streams,
        chunks: load.table.chunks,
        wire_format: load.table.format.clone(),
        method: load.table.apply.clone(),
    });
    let first = runs.next()?;
    runs.all(|run| run == first).then_some(first)
}

/// Returns the sessions that a method locks out while it applies.
fn who_waits(method: Option<&str>) -> &'static str {
    let rules = apply::rules().into_iter().find(|rules| method == Some(rules.method().name()));
    let is_exclusive = rules.is_some_and(|rules| rules.lock() == TableLock::AccessExclusive);
    if is_exclusive { "everyone" } else { "writers" }
}

#[cfg(test)]
mod tests {
    use super::super::recommendation::Certainty;
    use super::super::sample::{amount, load, loads};
    use super::*;
    use crate::config::ApplyMethod;

    const TIMES: [f64; 5] = [1.0; 5];

    fn recommended(loads: &[Loads]) -> Recommendation {
        Summary::over((loads, &[]), 5, amount(1000), 2).recommendation()
    }

    #[test]
    fn a_method_that_loads_while_it_applies_is_compared_by_its_whole_time() {
        let direct = |axis, setting, seconds: f64| {
            loads(axis, setting, (0..5).map(|_| load(seconds, "direct")).collect())
        };
        let base = Setting { apply: ApplyMethod::Direct, ..sample_setting() };
        let text = Setting { format: crate::config::FormatChoice::Text, ..base };
        let mut settings = vec![direct(Axis::Base, base, 2.0), direct(Axis::Format, text, 1.0)];
        for (_, load) in &mut settings[1].series.rounds {
            "text".clone_into(&mut load.table.format);
        }
        let format = recommended(&settings).run.into_iter().find(|choice| choice.key == "format").unwrap();
        assert_eq!((format.value.as_str(), format.certainty), ("\"text\"", Certainty::Sure), "{format:?}");
        assert!(format.because.contains("40 % less"), "{format:?}");
    }

    #[test]
    fn truncate_is_not_recommended_over_delta_however_fast_it_is() {
        let mut settings = vec![sample_loads(Axis::Base, sample_setting(), &TIMES, "delta")];
        let truncate = Setting { apply: ApplyMethod::Truncate, ..sample_setting() };
        settings.push(sample_loads(Axis::Apply, truncate, &[0.5; 5], "truncate"));
        for (_, load) in &mut settings[1].series.rounds {
            load.table.lock_ms = 310;
        }
        let apply = recommended(&settings).apply.unwrap();
        assert_eq!((apply.value.as_str(), apply.certainty), ("\"auto\"", Certainty::NotSure));
        assert!(apply.because.contains("writers for 20 ms, \"truncate\" everyone for 0.31 s"), "{apply:?}");
    }

    #[test]
    fn a_setting_that_was_not_measured_keeps_others_from_being_sure_and_one_that_failed_does_not() {
        let one = Setting { jobs: 1, ..sample_setting() };
        let four = Setting { jobs: 4, ..sample_setting() };
        let mut settings = vec![
            sample_loads(Axis::Base, sample_setting(), &TIMES, "delta"),
            sample_loads(Axis::Jobs, one, &[2.0; 5], "delta"),
            sample_loads(Axis::Jobs, four, &[], "delta"),
        ];
        for (_, load) in &mut settings[1].series.rounds {
            load.table.streams = 1;
        }
        let certainty = |settings: &[Loads]| recommended(settings).run[0].certainty;
        assert_eq!(certainty(&settings), Certainty::NotSure);
        settings[2].series.failed = Some(crate::error::Error::cancelled(crate::error::Phase::Load));
        assert_eq!(certainty(&settings), Certainty::Sure);
    }

    #[test]
    fn the_values_together_are_compared_with_the_base_in_their_own_rounds() {
        let both = Setting { jobs: 4, chunk: 1 << 20, ..sample_setting() };
        // The machine has become slower in these rounds.
        let mut settings = vec![
            sample_loads(Axis::Base, sample_setting(), &[1.0, 1.0, 3.0, 3.0], "delta"),
            sample_loads(Axis::Combined, both, &[2.0, 2.0], "delta"),
        ];
        for (round, _) in &mut settings[1].series.rounds {
            *round += 2;
        }
        let summary = Summary::over((&settings, &[]), 2, amount(1000), 2);
        let together = summary.together().unwrap();
        assert_eq!((together.seconds.median, together.base_s.median, together.base_s.n), (2.0, 3.0, 2));
        // Nor do these rounds count in the base's row of the main table.
        let base = summary.settings().swap_remove(0);
        assert_eq!((base.whole_s.n, base.load_s.unwrap().median), (2, 1.0));
    }

    #[test]
    fn nothing_is_recommended_for_a_table_without_rows_but_what_was_given() {
        let settings = [
            sample_loads(Axis::Base, sample_setting(), &TIMES, "delta"),
            sample_loads(Axis::Jobs, Setting { jobs: 1, ..sample_setting() }, &[0.5; 5], "delta"),
        ];
        let summary = Summary::over((&settings, &[]), 5, amount(0), 2);
        let jobs = summary.recommendation().run.swap_remove(0);
        assert_eq!((jobs.value.as_str(), jobs.certainty), ("2", Certainty::NotSure));
        assert_eq!(jobs.because, "the table has no rows to load");
    }

    fn sample_setting() -> Setting {
        super::super::sample::SETTING
    }

    fn sample_loads(axis: Axis, setting: Setting, times: &[f64], method: &str) -> Loads {
        loads(axis, setting, times.iter().map(|&seconds| load(seconds, method)).collect())
    }
}
