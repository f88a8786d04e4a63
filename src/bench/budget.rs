//! Implements `--time-limit`: decides what still fits, and stops the rest when time is up.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Phase, Result};

/// The time that a bench may take, including its preparation.
pub(super) struct Budget {
    ends: Instant,
    stop: CancellationToken,
    asked: CancellationToken,
    alarm: JoinHandle<()>,
}

impl Budget {
    /// Starts the clock. `asked` is cancelled when the user stops the bench.
    pub(super) fn begin(limit: Duration, asked: &CancellationToken) -> Self {
        let stop = asked.child_token();
        let ring = stop.clone();
        let alarm = tokio::spawn(async move {
            tokio::time::sleep(limit).await;
            ring.cancel();
        });
        let now = Instant::now();
        // A limit beyond the range of the clock is no limit.
        let ends = now.checked_add(limit).unwrap_or_else(|| now + Duration::from_hours(24 * 365));
        Self { ends, stop, asked: asked.clone(), alarm }
    }

    /// Returns a token that is cancelled when time is up, or by the user.
    pub(super) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Returns whether an action of this duration still fits.
    pub(super) fn has_time_for(&self, duration: Duration) -> bool {
        !self.stop.is_cancelled() && Instant::now() + duration < self.ends
    }

    /// Returns whether time is up, as opposed to a stop by the user.
    pub(super) fn is_used_up(&self) -> bool {
        self.stop.is_cancelled() && !self.asked.is_cancelled()
    }
}

/// Runs `work` unless the bench is stopped. `work` may be dropped at any await.
pub(super) async fn unless_stopped<T>(
    stop: &CancellationToken,
    phase: Phase,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        done = work => done,
        () = stop.cancelled() => Err(Error::cancelled(phase)),
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.alarm.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_takes_longer_than_is_left_does_not_fit() {
        let budget = Budget::begin(Duration::from_hours(1), &CancellationToken::new());
        assert!(budget.has_time_for(Duration::from_mins(1)) && !budget.has_time_for(Duration::from_hours(2)));
        assert!(!budget.is_used_up());
    }

    #[tokio::test]
    async fn the_end_of_the_time_stops_the_work_and_is_told_from_the_users_wish() {
        let budget = Budget::begin(Duration::ZERO, &CancellationToken::new());
        budget.stop().cancelled().await;
        assert!(budget.is_used_up() && !budget.has_time_for(Duration::ZERO));
        let asked = CancellationToken::new();
        let budget = Budget::begin(Duration::from_hours(1), &asked);
        asked.cancel();
        assert!(budget.stop().is_cancelled() && !budget.is_used_up());
    }

    #[tokio::test]
    async fn what_would_last_for_ever_is_given_up_when_all_is_to_stop() {
        let stop = CancellationToken::new();
        stop.cancel();
        let stopped = unless_stopped(&stop, Phase::Load, std::future::pending::<Result<()>>()).await;
        assert_eq!(stopped.unwrap_err().kind(), crate::error::Kind::Cancelled);
        let done = unless_stopped(&CancellationToken::new(), Phase::Load, async { Ok(7) }).await;
        assert_eq!(done.unwrap(), 7);
    }
}
