//! When threads that work beside a test are to end.

use std::sync::atomic::{AtomicBool, Ordering};

/// Asked by threads that go on until the test is done with them.
#[derive(Default)]
pub(crate) struct Over(AtomicBool);

impl Over {
    /// Whether to end.
    pub(crate) fn is_over(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Tells the threads to end when what it returns is dropped: also when the test fails, which would otherwise wait for
    /// them for ever.
    pub(crate) fn when_dropped(&self) -> impl Drop {
        Ending(self)
    }
}

struct Ending<'a>(&'a Over);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}
