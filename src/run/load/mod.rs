//! Phase 4: streams move the chunks of all tables into staging.
//!
//! [`streams`] take chunks from one [`queue`] and move each through a [`pipeline`], whose [`filter`] judges and transforms rows.
//! All of them share [`shared::Shared`], and report to the coordinator in [`crate::run::apply`].

pub(crate) mod early_index;
pub(crate) mod filter;
pub(crate) mod live_keys;
pub(crate) mod losses;
pub(crate) mod pipeline;
pub(crate) mod queue;
mod records;
mod seen;
pub(crate) mod shared;
mod slots;
pub(crate) mod streams;
mod traced;
mod traced_records;
pub(crate) mod watermarks;
mod writable;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use self::shared::{Event, Shared};
use crate::error::Phase;

/// The tasks that load a run's rows.
pub(crate) struct Loading {
    streams: Vec<JoinHandle<()>>,
    live_keys: JoinHandle<()>,
}

/// Starts the streams. Returns them, and the channel on which they report chunks.
pub(crate) fn start(shared: &Arc<Shared>) -> (Loading, mpsc::Receiver<Event>) {
    tracing::info!(phase = %Phase::Load, "loading");
    let live_keys = tokio::spawn(live_keys::fetch(shared.clone()));
    let (events, received) = mpsc::channel(64);
    let stream = |number| tokio::spawn(streams::run(shared.clone(), number, events.clone()));
    (
        Loading { streams: (0..shared.alive.load(Ordering::Acquire)).map(stream).collect(), live_keys },
        received,
    )
}

impl Loading {
    /// Waits for the streams to end, which have nothing to do any more.
    pub(crate) async fn finish(self, shared: &Shared) {
        shared.early.close().await;
        shared.queue.close();
        for stream in self.streams {
            if stream.await.is_err() {
                tracing::error!(phase = %Phase::Load, "a stream panicked");
            }
        }
        self.live_keys.abort();
        let _ = self.live_keys.await;
    }
}
