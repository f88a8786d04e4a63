//! Terminal output: results on stdout, errors on stderr, with colors where enabled.

use std::fmt::{Display, Write as _};
use std::io::{self, Write};
use std::time::SystemTime;

use anstyle::{AnsiColor, Style};
use console::Term;
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter as _;

use super::options::{ColorWhen, LogFormat};
use crate::error::{Error, Kind, Phase, Result};
use crate::report::progress::LogWriter;
use crate::report::result;
use crate::report::wrap::wrap;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default();

/// Applies `--color` to all later output: results, errors, log lines and progress.
pub(super) fn choose_colors(when: ColorWhen) {
    let choice = match when {
        ColorWhen::Auto => anstream::ColorChoice::Auto,
        ColorWhen::Always => anstream::ColorChoice::Always,
        ColorWhen::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
    console::set_colors_enabled_stderr(stderr_has_colors());
}

/// Returns whether output to stderr is colored.
pub(super) fn stderr_has_colors() -> bool {
    anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
}

/// The range of line widths: wider text is hard to read, narrower text hard to lay out.
const WIDTHS: std::ops::RangeInclusive<usize> = 40..=100;

/// Returns the line width for stdout: the terminal's, or a default.
pub(super) fn width() -> usize {
    columns_of(&Term::stdout()).unwrap_or(result::WIDTH)
}

/// Returns the line width for stderr if it is a terminal. Elsewhere lines are not wrapped.
pub(super) fn stderr_width() -> Option<usize> {
    columns_of(&Term::stderr())
}

fn columns_of(term: &Term) -> Option<usize> {
    let (_, columns) = term.size_checked().filter(|_| term.is_term())?;
    Some(usize::from(columns).clamp(*WIDTHS.start(), *WIDTHS.end()))
}

/// Writes a result to stdout. A closed pipe is not an error.
pub(super) fn print(result: impl Display) -> Result<()> {
    let mut text = result.to_string();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let mut stdout = anstream::stdout().lock();
    written(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

/// Writes lines to stdout and wraps them at word boundaries on a terminal. Continuation lines are indented by `indent`
/// columns.
pub(super) fn print_lines(result: impl Display, indent: usize) -> Result<()> {
    match columns_of(&Term::stdout()) {
        None => print(result),
        Some(width) => print(broken(&result.to_string(), indent, width)),
    }
}

fn broken(text: &str, indent: usize, width: usize) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let blanks = line.char_indices().take(indent).filter(|(_, c)| c.is_whitespace());
        let lead = blanks.last().map_or(0, |(at, _)| at);
        out.push_str(&line[..lead]);
        if console::measure_text_width(line) <= width {
            out.push_str(&line[lead..]);
        } else {
            wrap(&mut out, &line[lead..], console::measure_text_width(&line[..lead]), indent, width);
        }
        out.push('\n');
    }
    out
}

/// Writes bytes, such as a man page, to stdout unchanged.
pub(super) fn print_bytes(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    written(stdout.write_all(bytes).and_then(|()| stdout.flush()))
}

fn written(result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::io(Phase::Record, "cannot write to stdout", &error))
        }
        _ => Ok(()),
    }
}

/// Writes a result to stderr, when stdout is used for something else. Ignores write errors.
pub(super) fn print_aside(result: impl Display) {
    let _ = write!(anstream::stderr().lock(), "{result}");
}

/// Shows an error as text or as a JSON log line. Log filters do not apply: an error that ends the program is always shown.
pub(super) fn show_error(error: &Error, format: LogFormat) {
    match format {
        LogFormat::Text => {
            let _ = write!(anstream::stderr().lock(), "{}", error_text(error, stderr_width()));
        }
        LogFormat::Json => print_json(&error_json(error)),
    }
}

/// Makes panics appear as JSON log lines.
pub(super) fn tell_panics_as_json() {
    std::panic::set_hook(Box::new(|panic| {
        let error = Error::new(Phase::Record, Kind::Internal, panic.to_string().replace('\n', " "));
        print_json(&error_json(&error));
    }));
}

/// Returns an error as a JSON log line.
fn error_json(error: &Error) -> Value {
    let mut line = json!({
        "timestamp": humantime::format_rfc3339_micros(SystemTime::now()).to_string(),
        "level": "ERROR",
        "phase": error.phase().name(),
        "message": error.message(),
        "target": module_path!(),
    });
    for (key, value) in
        [("at", error.location().map(ToString::to_string)), ("hint", error.advice().map(str::to_owned))]
    {
        if let Some(value) = value {
            line[key] = value.into();
        }
    }
    line
}

/// Writes a JSON line to the log. Ignores write errors.
fn print_json(line: &Value) {
    let _ = LogWriter.make_writer().write_all(format!("{line}\n").as_bytes());
}

/// Formats an error as `error: location: message`, followed by a line with the hint. Wraps lines if a width is given.
fn error_text(error: &Error, width: Option<usize>) -> String {
    let mut text = String::new();
    paragraph(&mut text, ("error:", ERROR), &error.to_string(), width);
    if let Some(hint) = error.advice() {
        paragraph(&mut text, ("  hint:", HINT), hint, width);
    }
    text
}

fn paragraph(out: &mut String, (lead, style): (&str, Style), text: &str, width: Option<usize>) {
    let _ = write!(out, "{style}{lead}{style:#}");
    match width {
        Some(width) => wrap(out, &printable(text), lead.len(), 4, width),
        None => {
            let _ = write!(out, " {}", printable(text));
        }
    }
    out.push('\n');
}

/// Replaces control characters: messages quote servers and files, whose text must not control the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Location;

    #[test]
    fn an_error_shows_place_message_and_hint_and_no_escapes_of_others() {
        let at = Location { file: "a.toml".into(), line: 3, column: 7 };
        let error = Error::config(at, "bad \u{1b}[2J").hint("Do better.");
        let plain = anstream::adapter::strip_str(&error_text(&error, None)).to_string();
        assert_eq!(plain, "error: a.toml:3:7: bad \u{fffd}[2J\n  hint: Do better.\n");
        let error = Error::new(Phase::Load, Kind::Server, "no");
        assert_eq!(anstream::adapter::strip_str(&error_text(&error, None)).to_string(), "error: no\n");
    }

    #[test]
    fn long_lines_are_broken_below_what_they_are_about() {
        let text = "ok       short\n\nproblem  one two three four\n         hint: five six seven\n";
        assert_eq!(
            broken(text, 9, 20),
            "ok       short\n\nproblem  one two\n         three four\n         hint: five\n         six seven\n"
        );
        assert_eq!(broken(text, 9, 80), text);
    }

    #[test]
    fn an_error_is_broken_between_words_on_a_terminal() {
        let error = Error::new(Phase::Load, Kind::Server, "one two three four").hint("five six seven eight");
        let plain = anstream::adapter::strip_str(&error_text(&error, Some(20))).to_string();
        assert_eq!(plain, "error: one two three\n    four\n  hint: five six\n    seven eight\n");
    }
}
