//! Whether the target still takes writes, while a run fills its disk.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Phase, Result};
use crate::pg::session::{READ_ONLY, turned_read_only};
use crate::pg::wire::Wire;

/// How long an answer holds while rows are loaded: the streams together ask no more often than that.
const HOLDS_FOR: Duration = Duration::from_secs(5);

/// What the target said last.
#[derive(Debug)]
pub(crate) struct Writable {
    label: String,
    last: Mutex<Last>,
}

#[derive(Debug)]
struct Last {
    at: Instant,
    is_read_only: bool,
}

impl Writable {
    /// A target, called `label`, that took writes a moment ago.
    pub(crate) fn new(label: String) -> Self {
        Self { label, last: Mutex::new(Last { at: Instant::now(), is_read_only: false }) }
    }

    /// Fails if the target turned read-only. Asks unless the last answer still holds; once it turned, the run is over.
    ///
    /// # Errors
    /// [`crate::error::Kind::Refused`] if it turned read-only; the server's.
    pub(crate) async fn look_again(&self, target: &mut Wire, phase: Phase) -> Result<()> {
        let is_due = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_read_only {
                return Err(turned_read_only(phase, &self.label));
            }
            let is_due = last.at.elapsed() >= HOLDS_FOR;
            if is_due {
                // The other streams go on meanwhile.
                last.at = Instant::now();
            }
            is_due
        };
        if is_due { self.look(target, phase).await } else { Ok(()) }
    }

    /// The same, asking in any case.
    pub(crate) async fn look(&self, target: &mut Wire, phase: Phase) -> Result<()> {
        let rows = target.query(READ_ONLY).await?;
        let is_read_only = rows.first().and_then(|row| row.first()?.as_deref()) == Some("t");
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Last { at: Instant::now(), is_read_only };
        if is_read_only { Err(turned_read_only(phase, &self.label)) } else { Ok(()) }
    }
}
