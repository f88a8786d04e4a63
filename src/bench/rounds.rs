//! Takes the measurements in rounds, so that a machine that slows down affects all settings alike.

use std::time::{Duration, Instant};

use super::budget::Budget;
use super::environment::Ground;
use super::findings::LeftOut;
use super::loader::{Load, Loader};
use super::scenario::Scenario;
use super::settings::{Axis, Setting};
use super::statistics::Spread;
use super::yardstick::{Copied, Plan, Yardstick};
use crate::config::ApplyMethod;
use crate::error::{Error, Kind, Phase, Result};
use crate::figures;

/// A figure, by round.
pub(super) type Figure = Vec<(usize, f64)>;

/// A measured item, and its result in each round.
#[derive(Debug)]
pub(super) struct Series<T> {
    /// The number of each round, and its result.
    pub(super) rounds: Vec<(usize, T)>,
    /// The duration of the last measurement with everything that it needed; zero before the first.
    expected: Duration,
    /// The error that ended its measurements.
    pub(super) failed: Option<Error>,
}

impl<T> Default for Series<T> {
    fn default() -> Self {
        Self { rounds: Vec::new(), expected: Duration::ZERO, failed: None }
    }
}

impl<T> Series<T> {
    /// Returns a figure by round.
    pub(super) fn figure(&self, of: impl Fn(&T) -> Option<f64>) -> Figure {
        self.rounds.iter().filter_map(|(round, measured)| Some((*round, of(measured)?))).collect()
    }
}

/// Summarizes the values of a figure over all rounds.
pub(super) fn spread(figure: &[(usize, f64)]) -> Option<Spread> {
    Spread::of(figure.iter().map(|(_, value)| *value))
}

/// Returns one figure as a multiple of another, round by round, so that drift between rounds cancels out.
pub(super) fn ratios(figure: &[(usize, f64)], to: &[(usize, f64)]) -> Option<Spread> {
    let ratios = figure.iter().filter_map(|(round, value)| {
        let (_, base) = to.iter().find(|(other, _)| other == round)?;
        super::statistics::ratio(*value, *base)
    });
    Spread::of(ratios)
}

/// A setting, its list, and its runs.
pub(super) struct Loads {
    pub(super) axis: Axis,
    pub(super) setting: Setting,
    pub(super) series: Series<Load>,
}

/// A plain copy and its runs.
pub(super) struct Copies {
    pub(super) plan: Plan,
    pub(super) series: Series<Copied>,
}

/// All items that are measured in turns.
pub(super) struct Rounds<'a> {
    pub(super) ground: &'a Ground,
    pub(super) scenario: &'a Scenario,
    pub(super) loader: &'a Loader<'a>,
    pub(super) yardstick: Option<&'a Yardstick<'a>>,
    pub(super) budget: &'a Budget,
    pub(super) loads: Vec<Loads>,
    pub(super) copies: Vec<Copies>,
    /// Plain copies that cannot be measured here.
    pub(super) impossible: Vec<LeftOut>,
    /// The number of rounds done.
    pub(super) done: usize,
    /// The number of rounds, the first ones, that measured everything.
    pub(super) swept: usize,
}

/// An item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Load(usize),
    Copy(usize),
}

impl Rounds<'_> {
    /// Adds a plain copy, if it is possible.
    pub(super) fn add_copy(&mut self, plan: Plan) -> Option<usize> {
        if let Some(why) = self.yardstick?.refusal(plan) {
            self.impossible.push(LeftOut { what: plan.label(), why: why.to_owned() });
            return None;
        }
        self.copies.push(Copies { plan, series: Series::default() });
        Some(self.copies.len() - 1)
    }

    /// Adds a setting.
    pub(super) fn add_load(&mut self, axis: Axis, setting: Setting) -> usize {
        self.loads.push(Loads { axis, setting, series: Series::default() });
        self.loads.len() - 1
    }

    /// Runs `repeat` rounds of everything, every second one in reverse. After the first round, when the number of busy
    /// streams is known, a pipe with the same number joins in.
    ///
    /// # Errors
    /// `Kind::Cancelled` if the user stops it. When time is up it returns.
    pub(super) async fn all(&mut self, repeat: usize) -> Result<()> {
        for number in 0..repeat {
            let mut turns: Vec<Turn> = (0..self.copies.len()).map(Turn::Copy).collect();
            turns.extend((0..self.loads.len()).map(Turn::Load));
            self.round(&turns, (number, repeat)).await?;
            if number == 0
                && let Some(pipes) = self.streams().and_then(|n| self.add_copy(Plan::Pipe(n)))
            {
                self.turn(Turn::Copy(pipes), (number, repeat)).await?;
            }
            self.done += 1;
            self.swept = self.done;
        }
        Ok(())
    }

    /// Runs `repeat` further rounds of the base, of one setting and of the single pipe.
    ///
    /// # Errors
    /// As [`Rounds::all`].
    pub(super) async fn only(&mut self, load: usize, repeat: usize) -> Result<()> {
        let pipe = self.copies.iter().position(|copies| copies.plan == Plan::Pipe(1));
        let turns: Vec<Turn> =
            pipe.map(Turn::Copy).into_iter().chain([Turn::Load(0), Turn::Load(load)]).collect();
        let all = self.done + repeat;
        for _ in 0..repeat {
            self.round(&turns, (self.done, all)).await?;
            self.done += 1;
        }
        Ok(())
    }

    async fn round(&mut self, turns: &[Turn], round: (usize, usize)) -> Result<()> {
        let mut turns = turns.to_vec();
        if round.0 % 2 == 1 {
            turns.reverse();
        }
        for turn in turns {
            self.turn(turn, round).await?;
        }
        Ok(())
    }

    async fn turn(&mut self, turn: Turn, (round, all): (usize, usize)) -> Result<()> {
        let (label, expected, has_failed) = match turn {
            Turn::Load(i) => {
                let Loads { setting, series, .. } = &self.loads[i];
                (setting.in_full(), series.expected, series.failed.is_some())
            }
            Turn::Copy(i) => {
                let Copies { plan, series } = &self.copies[i];
                (plan.label(), series.expected, series.failed.is_some())
            }
        };
        if has_failed || !self.budget.has_time_for(expected) {
            return Ok(());
        }
        let began = Instant::now();
        let done = match turn {
            Turn::Load(i) => {
                let measured = self.load(self.loads[i].setting).await;
                note(&mut self.loads[i].series, round, measured, began)
                    .map(|load| load_time(load).map_or(load.whole, Duration::from_secs_f64))
            }
            Turn::Copy(i) => {
                let measured = self.copy(self.copies[i].plan).await;
                note(&mut self.copies[i].series, round, measured, began).map(|copied| copied.wall)
            }
        };
        match done {
            Ok(took) => {
                let took = figures::duration(took);
                tracing::info!(phase = %Phase::Load, "round {} of {all}: {label}: {took}", round + 1);
                Ok(())
            }
            Err(Some(error)) if error.kind() == Kind::Cancelled && self.budget.is_used_up() => Ok(()),
            Err(Some(error)) => Err(error),
            Err(None) => Ok(()),
        }
    }

    async fn load(&self, setting: Setting) -> Result<Load> {
        let stop = self.budget.stop();
        self.scenario.age(self.ground, setting.apply, stop).await?;
        self.ground.settle(stop).await?;
        self.loader.run(&setting, stop).await
    }

    async fn copy(&self, plan: Plan) -> Result<Copied> {
        match self.yardstick {
            Some(yardstick) => yardstick.copy(plan, self.budget.stop()).await,
            None => Err(Error::new(Phase::Load, Kind::Internal, "there is no yardstick")),
        }
    }

    /// Returns the number of the base's streams, or else the largest of any setting, if it is more than one.
    fn streams(&self) -> Option<usize> {
        let streams = self.loads.iter().filter_map(|loads| Some(loads.series.rounds.last()?.1.table.streams));
        pipes_at_once(streams.collect())
    }

    /// Returns the items that were not measured in every round, with the reason.
    pub(super) fn gaps(&self, repeat: usize, limit: Duration) -> Vec<LeftOut> {
        let base = self.loads[0].setting;
        let loads = self.loads.iter().map(|loads| {
            (loads.setting.label(&base), loads.series.rounds.len(), loads.series.failed.as_ref())
        });
        let copies = self
            .copies
            .iter()
            .map(|copies| (copies.plan.label(), copies.series.rounds.len(), copies.series.failed.as_ref()));
        let all = loads.chain(copies);
        let gaps = all.filter_map(|(what, rounds, failed)| gap(what, (rounds, repeat), failed, limit));
        self.impossible.iter().cloned().chain(gaps).collect()
    }
}

/// Describes an item that was measured in `measured` of `repeat` rounds.
fn gap(
    what: String,
    (measured, repeat): (usize, usize),
    failed: Option<&Error>,
    limit: Duration,
) -> Option<LeftOut> {
    let why = match failed {
        Some(error) => format!("failed: {}", error.message()),
        None if measured >= repeat => return None,
        None => format!(
            "{measured} of {repeat} rounds fit into --time-limit {}",
            humantime::format_duration(limit)
        ),
    };
    Some(LeftOut { what, why })
}

/// Chooses from the streams of the settings, the base first. The result does not depend on what has been measured so far,
/// since that changes with every round.
fn pipes_at_once(streams: Vec<u64>) -> Option<usize> {
    let base = streams.first().copied().filter(|&base| base > 1);
    usize::try_from(base.or(streams.into_iter().max())?).ok().filter(|&streams| streams > 1)
}

/// Returns the seconds until the last row was in staging; `None` for `direct`, which loads while it applies.
pub(super) fn load_time(load: &Load) -> Option<f64> {
    let is_direct = load.table.apply.as_deref() == Some(ApplyMethod::Direct.name());
    (!is_direct).then(|| seconds(load.table.load_ms))
}

/// Records a measurement. A failure ends the series; `Err` carries an error that ends more than that.
fn note<T>(
    series: &mut Series<T>,
    round: usize,
    measured: Result<T>,
    began: Instant,
) -> Result<&T, Option<Error>> {
    match measured {
        Ok(measured) => {
            series.expected = began.elapsed();
            series.rounds.push((round, measured));
            series.rounds.last().map(|(_, measured)| measured).ok_or(None)
        }
        Err(error) if error.kind() == Kind::Cancelled => Err(Some(error)),
        Err(error) => {
            tracing::warn!(phase = %Phase::Load, "{error}");
            series.failed = Some(error);
            Err(None)
        }
    }
}

/// Converts milliseconds to seconds.
#[expect(clippy::cast_precision_loss, reason = "no run takes 2^52 ms")]
pub(super) fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_compares_what_was_measured_in_the_same_round() {
        // The machine is twice as slow in round 1: the ratio does not change.
        let ours = [(0, 1.0), (1, 2.0), (2, 9.0)];
        let theirs = [(1, 4.0), (0, 2.0)];
        assert_eq!(ratios(&ours, &theirs), Some(Spread { n: 2, median: 0.5, min: 0.5, max: 0.5 }));
        assert_eq!(ratios(&ours, &[]), None);
    }

    #[test]
    fn as_many_pipes_run_at_once_as_the_base_has_streams_or_else_the_most_there_are() {
        let pipes = |streams: &[u64]| pipes_at_once(streams.to_vec());
        assert_eq!((pipes(&[2, 1, 4]), pipes(&[1, 2, 4])), (Some(2), Some(4)));
        assert_eq!((pipes(&[1, 1]), pipes(&[])), (None, None));
    }

    #[test]
    fn what_did_not_fit_or_failed_is_told() {
        let limit = Duration::from_mins(10);
        let gap = |rounds, failed| gap("x".to_owned(), rounds, failed, limit).map(|left| left.why);
        assert_eq!(gap((5, 5), None), None);
        assert_eq!(gap((2, 5), None).unwrap(), "2 of 5 rounds fit into --time-limit 10m");
        let error = Error::new(Phase::Load, Kind::Server, "no such table");
        assert_eq!(gap((5, 5), Some(&error)).unwrap(), "failed: no such table");
    }

    #[test]
    fn a_failure_ends_a_series_and_a_stop_ends_all() {
        let mut series = Series::<u8>::default();
        assert_eq!(note(&mut series, 0, Ok(7), Instant::now()).ok(), Some(&7));
        let failed = || Err(Error::new(Phase::Load, Kind::Server, "no"));
        assert!(matches!(note(&mut series, 1, failed(), Instant::now()), Err(None)));
        assert!(series.failed.is_some() && series.rounds.len() == 1);
        let stopped = note(&mut series, 1, Err(Error::cancelled(Phase::Load)), Instant::now());
        assert!(matches!(stopped, Err(Some(_))));
    }
}
