//! Connection slots, when there are too few: streams give theirs to the applying session, which does more with it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// How often a stream that gave its slot looks whether it may have it back.
const TICK: Duration = Duration::from_millis(50);

/// There are enough.
const ENOUGH: u8 = 0;
/// The applying session has found none.
const WANTED: u8 = 1;
/// A stream has given its own.
const GIVEN: u8 = 2;

/// Who needs a slot and who gave one. One session applies at a time.
#[derive(Debug, Default)]
pub(crate) struct Slots(AtomicU8);

impl Slots {
    /// The applying session has found no slot: the next stream that is between two chunks gives its own.
    pub(crate) fn want(&self) {
        self.0.store(WANTED, Ordering::Release);
    }

    /// The applying session needs none, or none any more.
    pub(crate) fn release(&self) {
        self.0.store(ENOUGH, Ordering::Release);
    }

    /// Whether the stream that asks shall give its slot. One stream is told so for each [`Slots::want`].
    pub(crate) fn shall_give(&self) -> bool {
        self.0.compare_exchange(WANTED, GIVEN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Returns when the applying session needs no slot any more.
    pub(crate) async fn released(&self) {
        while self.0.load(Ordering::Acquire) != ENOUGH {
            tokio::time::sleep(TICK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_stream_gives_for_each_wish() {
        let slots = Slots::default();
        assert!(!slots.shall_give());
        slots.want();
        assert!(slots.shall_give() && !slots.shall_give());
        slots.want();
        assert!(slots.shall_give());
        slots.release();
        slots.released().await;
        assert!(!slots.shall_give());
    }
}
