//! Exponential backoff: pauses between attempts double up to a limit. Jitter keeps processes that failed together from
//! retrying at the same moment.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// An endless sequence of pauses.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    /// Creates a sequence that starts at `min` and doubles up to `max`.
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { next: min, max }
    }

    /// Returns the next pause: 0.5 to 1.5 times the current step.
    pub(crate) fn pause(&mut self) -> Duration {
        let due = self.next;
        self.next = (due * 2).min(self.max);
        // The clock's last digits are random enough to keep two processes apart.
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
        due.mul_f64(0.5 + f64::from(nanos / 100 % 1000) / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(400));
        for due in [100, 200, 400, 400] {
            let pause = backoff.pause().as_millis();
            assert!((due / 2..=due * 3 / 2).contains(&pause), "{pause} for {due}");
        }
    }
}
