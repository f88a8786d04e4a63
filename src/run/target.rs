//! The target as a run reaches it: once it was there, it is waited for while it is away.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::error::{Error, Phase, Result};
use crate::pg::conninfo::ConnInfo;
use crate::pg::session::{self, Session, SessionSettings, Stream};

/// How long the target may be away before attempts to reach it are used up: a restart or the recovery from a crash takes
/// seconds, rarely a minute. Counted from when it was first found away, for all sessions of the run together, so that
/// a target that is gone for good is waited for once.
const SERVER_BACK_WITHIN: Duration = Duration::from_secs(60);

/// Pauses between two tries to reach it.
const TRY_MIN: Duration = Duration::from_millis(250);
const TRY_MAX: Duration = Duration::from_secs(2);

/// Opens sessions on the target of a run.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Where it is.
    pub(crate) info: ConnInfo,
    /// When it was first found away; `None` while it answers.
    away_since: Arc<Mutex<Option<Instant>>>,
    /// Nothing is waited for any more.
    cancel: CancellationToken,
}

impl Target {
    /// A target that was reachable a moment ago.
    pub(crate) fn new(info: ConnInfo, cancel: &CancellationToken) -> Self {
        Self { info, away_since: Arc::default(), cancel: cancel.clone() }
    }

    /// As [`session::connect`], after [`SERVER_BACK_WITHIN`] at most where the server is away.
    pub(crate) async fn connect(&self, settings: &SessionSettings) -> Result<Session> {
        let mut backoff = Backoff::new(TRY_MIN, TRY_MAX);
        loop {
            let outcome = session::connect(&self.info, settings).await;
            if !self.shall_wait(outcome.as_ref().err()) || !self.pause(&mut backoff).await {
                return outcome;
            }
        }
    }

    /// As [`session::open_stream`], after [`SERVER_BACK_WITHIN`] at most where the server is away.
    pub(crate) async fn open_stream(&self, settings: &SessionSettings) -> Result<Stream> {
        let mut backoff = Backoff::new(TRY_MIN, TRY_MAX);
        loop {
            let outcome = session::open_stream(&self.info, settings).await;
            if !self.shall_wait(outcome.as_ref().err()) || !self.pause(&mut backoff).await {
                return outcome;
            }
        }
    }

    /// Takes note of what came of a try, and tells once that the server is away, and once that it is back.
    fn shall_wait(&self, error: Option<&Error>) -> bool {
        let mut away_since = self.away_since.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(error) = error.filter(|error| error.is_server_away()) else {
            if let Some(since) = away_since.take() {
                tracing::info!(phase = %Phase::Connect, "the target is reachable again after {:.1?}", since.elapsed());
            }
            return false;
        };
        let since = *away_since.get_or_insert_with(|| {
            let limit = SERVER_BACK_WITHIN.as_secs();
            tracing::warn!(phase = %Phase::Connect, %error, "the target is unreachable: waiting up to {limit} s for it");
            Instant::now()
        });
        since.elapsed() < SERVER_BACK_WITHIN
    }

    /// Waits for the next try; `false` if the run is cancelled.
    async fn pause(&self, backoff: &mut Backoff) -> bool {
        tokio::select! {
            () = tokio::time::sleep(backoff.pause()) => true,
            () = self.cancel.cancelled() => false,
        }
    }
}
