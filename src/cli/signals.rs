//! Handling of SIGINT and SIGTERM: the first signal stops the run in an orderly way, the second exits at once.

use std::future::Future;
use std::io;
use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit::Exit;
use crate::error::{Error, Phase, Result};

/// The signals received so far.
#[derive(Debug, Clone)]
pub(super) struct Signals {
    cancel: CancellationToken,
    first: Arc<OnceLock<Exit>>,
}

impl Signals {
    /// Starts to listen in a separate task. Must be called within a runtime.
    pub(super) fn listen() -> Result<Self> {
        let streams =
            || -> io::Result<_> { Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)) };
        let (interrupt, terminate) =
            streams().map_err(|error| Error::io(Phase::Config, "cannot listen for signals", &error))?;
        let signals = Self { cancel: CancellationToken::new(), first: Arc::default() };
        tokio::spawn(signals.clone().watch(interrupt, terminate));
        Ok(signals)
    }

    async fn watch(self, mut interrupt: Signal, mut terminate: Signal) {
        loop {
            let exit = tokio::select! {
                _ = interrupt.recv() => Exit::Interrupted,
                _ = terminate.recv() => Exit::Terminated,
            };
            if self.first.set(exit).is_err() {
                // The next run removes the leftovers of this one.
                std::process::exit(exit.code().into());
            }
            self.cancel.cancel();
            tracing::warn!("stopping; a second signal exits at once");
        }
    }

    /// Returns a token that the first signal cancels.
    pub(super) fn token(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Returns how to exit after a signal, if one was received.
    pub(super) fn exit(&self) -> Option<Exit> {
        self.first.get().copied()
    }

    /// Runs `work` and drops it at the first signal. For work that changes nothing and can be dropped at any await.
    pub(super) async fn or_cancelled<T>(
        &self,
        phase: Phase,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        tokio::select! {
            result = work => result,
            () = self.cancel.cancelled() => Err(Error::cancelled(phase)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    #[tokio::test]
    async fn the_first_signal_asks_to_stop_and_decides_the_exit() {
        let signals = Signals::listen().unwrap();
        assert_eq!(signals.exit(), None);
        kill_process(getpid(), Signal::TERM).unwrap();
        let endless = std::future::pending::<Result<()>>();
        let stopped =
            tokio::time::timeout(Duration::from_secs(10), signals.or_cancelled(Phase::Plan, endless));
        let error = stopped.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::Cancelled);
        assert_eq!(signals.exit(), Some(Exit::Terminated));
        assert!(signals.token().is_cancelled());
    }
}
