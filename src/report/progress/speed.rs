//! Smoothed speeds and estimated times.

use std::time::{Duration, Instant};

use super::picture::{Snapshot, State};

/// Time constant of the smoothing: long enough that a chunk border does not make the ETA jump, short enough to show a
/// stall.
const SMOOTHING_S: f64 = 4.0;
/// Longest ETA that is shown.
const ETA_MAX_S: f64 = 99.0 * 86_400.0;

/// The exponentially weighted mean speed of a growing total.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Speed {
    last: Option<(Instant, f64)>,
    mean: f64,
    /// Total weight of the measurements in the mean: starts at 0 and approaches 1.
    weight: f64,
}

impl Speed {
    /// Records that `total` was reached at `now`. A smaller total than before counts as no progress.
    pub(super) fn observe(&mut self, now: Instant, total: f64) {
        if let Some((then, before)) = self.last {
            let elapsed_s = now.saturating_duration_since(then).as_secs_f64();
            if elapsed_s <= 0.0 {
                return;
            }
            let share = 1.0 - (-elapsed_s / SMOOTHING_S).exp();
            let speed = (total - before).max(0.0) / elapsed_s;
            self.mean += share * (speed - self.mean);
            self.weight += share * (1.0 - self.weight);
        }
        self.last = Some((now, total));
    }

    /// Returns the speed in units per second.
    pub(super) fn per_s(&self) -> f64 {
        if self.weight > 0.0 { self.mean / self.weight } else { 0.0 }
    }

    /// Returns the time that `left` units will take, if it can be estimated.
    pub(super) fn eta(&self, left: f64) -> Option<Duration> {
        let seconds = left / self.per_s();
        (left > 0.0 && seconds.is_finite() && seconds < ETA_MAX_S).then(|| Duration::from_secs_f64(seconds))
    }
}

/// Speed in bytes, and speed of completion.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    /// Bytes received.
    pub(super) bytes: Speed,
    /// Completed fraction, 0 to 1.
    pub(super) done: Speed,
}

/// The paces of a run and of its tables.
#[derive(Debug, Default)]
pub(super) struct Speeds {
    pub(super) run: Pace,
    pub(super) tables: Vec<Pace>,
}

impl Speeds {
    /// Records a snapshot. Tables that have not started are not measured, because their zeros would lower the mean.
    #[expect(clippy::cast_precision_loss, reason = "a picture needs three digits")]
    pub(super) fn observe(&mut self, snapshot: &Snapshot, now: Instant) {
        self.tables.resize_with(snapshot.tables.len(), Pace::default);
        for (pace, table) in self.tables.iter_mut().zip(&snapshot.tables) {
            if table.state == State::Active {
                pace.bytes.observe(now, table.bytes_in as f64);
                pace.done.observe(now, table.done());
            }
        }
        if snapshot.tables.iter().any(|table| table.state != State::Waiting) {
            self.run.bytes.observe(now, snapshot.bytes_in() as f64);
            self.run.done.observe(now, snapshot.done());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(start: Instant, totals: impl IntoIterator<Item = (f64, f64)>) -> Speed {
        let mut speed = Speed::default();
        for (at_s, total) in totals {
            speed.observe(start + Duration::from_secs_f64(at_s), total);
        }
        speed
    }

    #[test]
    fn a_steady_speed_is_right_from_the_second_look_on() {
        let speed = observed(Instant::now(), [(0.0, 0.0), (0.2, 20.0)]);
        assert!((speed.per_s() - 100.0).abs() < 1e-6);
        let eta = speed.eta(500.0).unwrap();
        assert!((eta.as_secs_f64() - 5.0).abs() < 1e-6);
    }

    #[test]
    fn a_burst_moves_it_a_little_and_a_stall_brings_it_down() {
        let start = Instant::now();
        let steady = (0..100).map(|i| (f64::from(i) * 0.2, f64::from(i) * 20.0));
        let burst = observed(start, steady.clone().chain([(20.0, 1980.0 + 200.0)])).per_s();
        assert!(burst > 100.0 && burst < 150.0, "{burst}");
        let stall = (100..200).map(|i| (f64::from(i) * 0.2, 1980.0));
        let stalled = observed(start, steady.chain(stall)).per_s();
        assert!(stalled < 1.0, "{stalled}");
    }

    #[test]
    fn there_is_no_eta_without_speed_and_none_at_the_end() {
        assert_eq!(Speed::default().eta(1.0), None);
        let start = Instant::now();
        assert_eq!(observed(start, [(0.0, 5.0), (1.0, 5.0)]).eta(1.0), None);
        assert_eq!(observed(start, [(0.0, 0.0), (1.0, 5.0)]).eta(0.0), None);
        assert_eq!(observed(start, [(0.0, 0.0), (1.0, 1e-9)]).eta(1.0), None);
    }

    #[test]
    fn a_total_that_shrinks_counts_as_standing_still() {
        let speed = observed(Instant::now(), [(0.0, 100.0), (1.0, 40.0)]);
        assert!(speed.per_s().abs() < 1e-9);
    }
}
