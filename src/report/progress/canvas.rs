//! The terminal: a few lines at its bottom, and a way for the log to write above them.

use std::io::{self, Write};
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::lock;
use super::picture::{self, Snapshot};
use super::speed::Speeds;

/// More tables at once than this nobody follows.
const TABLES_MAX: usize = 8;
/// The run's line, and a line each for the prompt and for the log.
const OTHER_LINES: usize = 3;
/// Wider lines would only pull the figures apart.
const WIDTH_MAX: usize = 100;
/// indicatif's own limit; above our pace, so that it drops none of our pictures.
const REFRESH_HZ: u8 = 20;

/// What is being drawn on stderr. The log is set up before any run and outlives it, so they meet here.
static DRAWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// A place to draw on; dropping it wipes it clean.
#[derive(Debug)]
pub(super) struct Canvas {
    /// One bar whose message is the whole picture: it appears at once or not at all.
    bar: ProgressBar,
    /// Fixed size, for tests; else the terminal is asked each time, as it may be resized.
    size: Option<(usize, usize)>,
    coloured: bool,
    registered: bool,
}

impl Canvas {
    /// The terminal that stderr is; none if it is not one, if it cannot move its cursor, or if it is taken.
    pub(super) fn on_terminal() -> Option<Self> {
        let target = ProgressDrawTarget::stderr_with_hz(REFRESH_HZ);
        let mut drawn = lock(&DRAWN);
        if target.is_hidden() || drawn.is_some() {
            return None;
        }
        let mut canvas = Self::on(target, None);
        canvas.coloured = anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
        canvas.registered = true;
        *drawn = Some(canvas.bar.clone());
        Some(canvas)
    }

    /// Any target, without the log knowing. `size`: rows and columns.
    pub(super) fn on(target: ProgressDrawTarget, size: Option<(usize, usize)>) -> Self {
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(
            ProgressStyle::default_bar().template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Self { bar, size, coloured: false, registered: false }
    }

    pub(super) fn draw(&self, snapshot: &Snapshot, speeds: &Speeds) {
        let (rows, columns) = self.size.unwrap_or_else(|| {
            let (rows, columns) = console::Term::stderr().size();
            (rows.into(), columns.into())
        });
        let tables_max = rows.saturating_sub(OTHER_LINES).min(TABLES_MAX);
        // A line that fills the last column wraps on some terminals.
        let width = columns.saturating_sub(1).min(WIDTH_MAX);
        let text = picture::lines(snapshot, speeds, width, tables_max);
        let text = if self.coloured { text } else { anstream::adapter::strip_str(&text).to_string() };
        self.bar.set_message(text);
    }

    #[cfg(test)]
    pub(super) fn bar(&self) -> &ProgressBar {
        &self.bar
    }
}

impl Drop for Canvas {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        if self.registered {
            *lock(&DRAWN) = None;
        }
    }
}

/// Makes writers to stderr that move what is drawn out of the way. For the log:
/// `tracing_subscriber::fmt().with_writer(LogWriter)`.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogWriter;

impl tracing_subscriber::fmt::MakeWriter<'_> for LogWriter {
    type Writer = Suspending;

    fn make_writer(&self) -> Suspending {
        Suspending { bar: lock(&DRAWN).clone() }
    }
}

/// A writer to stderr; each `write` should be whole lines, as the log's are.
#[derive(Debug)]
pub struct Suspending {
    bar: Option<ProgressBar>,
}

impl Write for Suspending {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.write_all(buffer).map(|()| buffer.len())
    }

    fn write_all(&mut self, buffer: &[u8]) -> io::Result<()> {
        let write = || io::stderr().lock().write_all(buffer);
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
