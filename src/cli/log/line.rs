//! The text format of log lines: time, level (unless it is info), phase, message, then the other fields. Lines are wrapped
//! at word boundaries on a terminal only.

use std::fmt::{self, Write};
use std::time::{Instant, SystemTime};

use anstyle::{AnsiColor, Style};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::report::wrap::wrap;

const FAINT: Style = Style::new().dimmed();
const PHASE: Style = Style::new().bold();
const WARN: Style = AnsiColor::Yellow.on_default().bold();
const ERROR: Style = AnsiColor::Red.on_default().bold();

/// The field that names a line's phase.
const PHASE_FIELD: &str = "phase";
/// The width of the longest phase; messages are aligned after it.
const PHASE_CHARS: usize = "snapshot".len();

/// The indent of continuation lines: they align with the messages of lines without a level.
const INDENT: usize = "    0.0s ".len() + PHASE_CHARS + 1;

/// The time that a line starts with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Clock {
    /// Date and time in UTC, for a log that is read later.
    Utc,
    /// Seconds since the given instant, for a terminal.
    Since(Instant),
}

impl Clock {
    /// Returns a clock that counts seconds from now.
    pub(super) fn stopwatch() -> Self {
        Self::Since(Instant::now())
    }
}

/// Formatter of log lines.
#[derive(Debug)]
pub(super) struct Line {
    clock: Clock,
    width: fn() -> Option<usize>,
}

impl Line {
    /// Creates a formatter. Lines start with the time of `clock` and are wrapped to `width` columns, if it returns any.
    pub(super) fn new(clock: Clock, width: fn() -> Option<usize>) -> Self {
        Self { clock, width }
    }
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let has_colors = writer.has_ansi_escapes();
        let paint = |style: Style| if has_colors { style } else { Style::new() };
        let mut fields = Fields::default();
        event.record(&mut fields);

        let faint = paint(FAINT);
        // Writing to a String does not fail.
        let mut line = String::new();
        let _ = match self.clock {
            Clock::Utc => write!(line, "{}", humantime::format_rfc3339_seconds(SystemTime::now())),
            Clock::Since(start) => {
                write!(line, "{faint}{:>7.1}s{faint:#}", start.elapsed().as_secs_f64())
            }
        };
        let level = *event.metadata().level();
        if level != Level::INFO {
            let style = match level {
                Level::ERROR => paint(ERROR),
                Level::WARN => paint(WARN),
                _ => faint,
            };
            let _ = write!(line, " {style}{}{style:#}", level.as_str().to_lowercase());
        }
        if !fields.phase.is_empty() {
            let style = paint(PHASE);
            let _ = write!(line, " {style}{:<PHASE_CHARS$}{style:#}", fields.phase);
        } else if !is_ours(event.metadata().target()) {
            let _ = write!(line, " {faint}{}{faint:#}", event.metadata().target());
        }
        let mut text = printable(&fields.message);
        if !fields.others.is_empty() {
            let _ = write!(text, "{faint}{}{faint:#}", printable(&fields.others));
        }
        for span in ctx.event_scope().into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>()
                && !fields.is_empty()
            {
                let _ = write!(text, " {faint}{fields}{faint:#}");
            }
        }
        match (self.width)() {
            Some(width) => {
                let column = console::measure_text_width(&line);
                wrap(&mut line, &text, column, INDENT, width);
            }
            None => {
                let _ = write!(line, " {text}");
            }
        }
        writeln!(writer, "{line}")
    }
}

fn is_ours(target: &str) -> bool {
    target == "bulkload" || target.starts_with("bulkload::")
}

/// Replaces control characters, so that an event that quotes a server stays on one line.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// An event's fields, with phase and message separated from the others.
#[derive(Debug, Default)]
struct Fields {
    phase: String,
    message: String,
    others: String,
}

impl Fields {
    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = match field.name() {
            PHASE_FIELD => write!(self.phase, "{value}"),
            "message" => write!(self.message, "{value}"),
            // Added by the bridge from the `log` crate.
            name if name.starts_with("log.") => Ok(()),
            name => write!(self.others, " {name}={value}"),
        };
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        // Unquoted spaces would make the value run into the next field.
        let has_place = matches!(field.name(), PHASE_FIELD | "message");
        if has_place || !value.contains(char::is_whitespace) {
            self.put(field, format_args!("{value}"));
        } else {
            self.put(field, format_args!("{value:?}"));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(clock: Clock, ansi: bool, work: impl FnOnce()) -> String {
        logged_within(|| None, clock, ansi, work)
    }

    fn logged_within(width: fn() -> Option<usize>, clock: Clock, ansi: bool, work: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .with_writer(move || writer.clone())
            .with_ansi(ansi)
            .event_format(Line::new(clock, width))
            .finish();
        tracing::subscriber::with_default(subscriber, work);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_has_the_phase_before_the_message_and_other_fields_after_it() {
        let text = logged(Clock::stopwatch(), false, || {
            tracing::info!(table = "public.a", rows = 5, phase = "load", "half\nway");
            tracing::warn!(phase = %crate::error::Phase::Snapshot, who = "a b", "slow");
            tracing::debug!("plain");
            let _span = tracing::info_span!("table", name = "t").entered();
            tracing::info!(target: "rustls::x", "hello");
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "    0.0s load     half way table=public.a rows=5",
                "    0.0s warn snapshot slow who=\"a b\"",
                "    0.0s debug plain",
                "    0.0s rustls::x hello name=\"t\"",
            ]
        );
    }

    #[test]
    fn a_line_on_a_terminal_is_broken_between_words() {
        let text = logged_within(
            || Some(40),
            Clock::stopwatch(),
            true,
            || {
                tracing::error!(phase = "load", table = "public.a", "it came to an end too soon");
            },
        );
        let plain = anstream::adapter::strip_str(&text).to_string();
        let lines: Vec<&str> = plain.lines().collect();
        let indent = " ".repeat(INDENT);
        assert_eq!(
            lines,
            [
                "    0.0s error load     it came to an".to_owned(),
                format!("{indent}end too soon"),
                format!("{indent}table=public.a")
            ]
        );
    }

    #[test]
    fn a_log_that_is_read_later_has_dates() {
        let text = logged(Clock::Utc, false, || tracing::info!("x"));
        let (time, rest) = text.split_once(' ').unwrap();
        assert!(humantime::parse_rfc3339(time).is_ok(), "{text}");
        assert_eq!(rest, "x\n");
    }

    #[test]
    fn colours_appear_only_where_they_are_wanted() {
        let log = || tracing::error!(phase = "load", a = 1, "x");
        assert!(!logged(Clock::Utc, false, log).contains('\u{1b}'));
        assert!(logged(Clock::Utc, true, log).contains("\u{1b}[1mload    \u{1b}[0m x"));
    }
}
