//! Fail points, and one thing that the crate `fail` cannot do: stop at one, say so, and go on when told.
//!
//! `FAILPOINTS` arms them as that crate describes. `BULKLOAD_HOLD` names one at which the program writes `held at NAME` into
//! its log and then waits until a file of the name `go` lies in the working directory: a test does what it wants to
//! do between two phases, and neither guesses nor sleeps. Compiled out of every release, see the feature.

use std::path::Path;
use std::time::Duration;

/// Names the fail point to wait at.
const HOLD: &str = "BULKLOAD_HOLD";

/// How often is looked for the file.
const TICK: Duration = Duration::from_millis(5);

/// Arms what the environment asks for. They are disarmed when this is dropped.
pub(crate) fn arm() -> Option<fail::FailScenario<'static>> {
    if !fail::has_failpoints() {
        return None;
    }
    let scenario = fail::FailScenario::setup();
    if let Ok(name) = std::env::var(HOLD) {
        let held = name.clone();
        let armed = fail::cfg_callback(name, move || hold(&held));
        if let Err(why) = armed {
            tracing::error!("{HOLD}: {why}");
        }
    }
    Some(scenario)
}

fn hold(name: &str) {
    let go = Path::new("go");
    if go.exists() {
        return;
    }
    tracing::warn!("held at {name}");
    // The thread's other tasks go on elsewhere, signals and broken connections among them.
    tokio::task::block_in_place(|| {
        while !go.exists() {
            std::thread::sleep(TICK);
        }
    });
}
