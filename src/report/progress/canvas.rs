//! The progress lines at the bottom of the terminal, and the writer that keeps log lines above them.

use std::io::{self, Write};
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::lock;
use super::picture::{self, Snapshot};
use super::speed::Speeds;

/// Maximum number of tables shown; readers cannot follow more.
const TABLES_MAX: usize = 8;
/// Lines of the terminal reserved for the run, the prompt and the log.
const OTHER_LINES: usize = 3;
/// Maximum line width; wider lines would only spread the figures.
const WIDTH_MAX: usize = 100;
/// indicatif's redraw limit; above our own rate, so that it skips none of our redraws.
const REFRESH_HZ: u8 = 20;

/// The bar being drawn on stderr. It is global because the log, which must suspend it, is set up before any run.
static DRAWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// An area to draw on. Dropping it clears the drawing.
#[derive(Debug)]
pub(super) struct Canvas {
    /// One bar whose message is the whole drawing, so that it is redrawn atomically.
    bar: ProgressBar,
    /// Fixed size, for tests; `None` queries the terminal each time, since it may be resized.
    size: Option<(usize, usize)>,
    coloured: bool,
    registered: bool,
}

impl Canvas {
    /// Creates a canvas on stderr. Returns `None` if stderr is not a terminal, cannot move its cursor, or is in use.
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

    /// Creates a canvas on any target, without coordination with the log. `size`: rows and columns.
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

/// Creates writers to stderr that suspend the drawing while they write. For the log:
/// `tracing_subscriber::fmt().with_writer(LogWriter)`.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogWriter;

impl tracing_subscriber::fmt::MakeWriter<'_> for LogWriter {
    type Writer = Suspending;

    fn make_writer(&self) -> Suspending {
        Suspending { bar: lock(&DRAWN).clone() }
    }
}

/// A writer to stderr. Each `write` should contain whole lines, as the log's do.
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
