//! Fail points for tests, including one that holds the program until it is released.
//!
//! `FAILPOINTS` arms fail points as the crate `fail` describes. `BULKLOAD_HOLD` names one at which the program logs
//! `held at NAME` and waits until a file named `go` exists in the working directory, so a test can act between two phases
//! without sleeping. Releases contain no fail points, see the cargo feature.

use std::path::Path;
use std::time::Duration;

/// Environment variable with the name of the fail point to wait at.
const HOLD: &str = "BULKLOAD_HOLD";

/// Interval between checks for the file.
const TICK: Duration = Duration::from_millis(5);

/// Arms the fail points named in the environment. Dropping the result disarms them.
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
    // Other tasks of this thread, such as signal handling, continue on other threads.
    tokio::task::block_in_place(|| {
        while !go.exists() {
            std::thread::sleep(TICK);
        }
    });
}
