//! The log: text or JSON lines on stderr, interleaved with the progress bars.

mod line;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::SubscriberBuilder;

use super::options::{Globals, LogFormat};
use super::terminal;
use crate::error::{Error, Kind, Phase, Result};
use crate::report::progress::LogWriter;

/// Environment variables with the log filter. The first one that is set applies, unless -v or -q is given.
const VARIABLES: [&str; 2] = ["BULKLOAD_LOG", "RUST_LOG"];

/// Installs the log for the whole process. Call it only once.
pub(super) fn install(globals: &Globals) -> Result<()> {
    let builder: SubscriberBuilder<_, _, EnvFilter, _> = tracing_subscriber::fmt()
        .with_env_filter(filter(globals, &crate::config::process_env)?)
        .with_writer(LogWriter)
        // A log line that cannot be written is dropped: reporting that on a closed stderr would panic.
        .log_internal_errors(false)
        .with_ansi(globals.log_format == LogFormat::Text && terminal::stderr_has_colors());
    let installed = match globals.log_format {
        LogFormat::Json => {
            builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
        }
        LogFormat::Text => {
            let clock =
                if std::io::stderr().is_terminal() { line::Clock::stopwatch() } else { line::Clock::Utc };
            builder.event_format(line::Line::new(clock, terminal::stderr_width)).try_init()
        }
    };
    installed.map_err(|error| {
        Error::new(Phase::Config, Kind::Internal, format!("cannot install the log: {error}"))
    })
}

/// Returns the log filter. Other crates log below warnings only at `-vv`, because they do not know which values are secret.
fn filter(globals: &Globals, env: &crate::config::Env<'_>) -> Result<EnvFilter> {
    let directives = match (globals.quiet, globals.verbose) {
        (true, _) => "warn".to_owned(),
        (_, 1) => "warn,bulkload=debug".to_owned(),
        (_, 2..) => "info,bulkload=trace".to_owned(),
        (false, 0) => match VARIABLES.iter().find_map(|name| Some((name, env(name)?))) {
            Some((name, value)) if !value.is_empty() => {
                return EnvFilter::try_new(&value).map_err(|error| {
                    Error::new(Phase::Config, Kind::Config, format!("environment variable {name}: {error}"))
                        .hint(
                            "Write a level such as debug, or targets with levels: bulkload=debug,rustls=warn.",
                        )
                });
            }
            _ => "warn,bulkload=info".to_owned(),
        },
    };
    EnvFilter::try_new(&directives)
        .map_err(|error| Error::new(Phase::Config, Kind::Internal, format!("log filter: {error}")))
}
