//! Runs the program as its users do: a directory, a config, an environment, and signals.

use std::fmt;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Pair, wait_until};

/// A run that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// The file that lets a held program go on.
const GO: &str = "go";

/// One invocation, being prepared. Its working directory holds `bulkload.toml` and `report.json`.
pub(crate) struct Bulkload {
    dir: Arc<TempDir>,
    env: Vec<(String, String)>,
    fail_points: Vec<String>,
    stdin: Option<Vec<u8>>,
}

impl Bulkload {
    /// In an empty directory, with an environment that names no database.
    pub(crate) fn new() -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let home = dir.path().to_string_lossy().into_owned();
        // HOME: nobody's ~/.pgpass shall matter.
        let mut env = vec![("HOME".to_owned(), home)];
        for name in ["PATH", bulkload::pg::cluster::BINDIR_VARIABLE, "LLVM_PROFILE_FILE"] {
            env.extend(std::env::var(name).ok().map(|value| (name.to_owned(), value)));
        }
        Self { dir, env, fail_points: Vec::new(), stdin: None }
    }

    /// The same with SOURCE_DATABASE_URL and TARGET_DATABASE_URL set to a pair.
    pub(crate) fn on(pair: &Pair) -> Self {
        Self::new()
            .env("SOURCE_DATABASE_URL", pair.source.url())
            .env("TARGET_DATABASE_URL", pair.target.url())
    }

    /// Writes `bulkload.toml`, preceded by the two URLs unless the text has a `[source]` itself.
    pub(crate) fn config(self, text: &str) -> Self {
        const URLS: &str =
            "source.url = \"${SOURCE_DATABASE_URL}\"\ntarget.url = \"${TARGET_DATABASE_URL}\"\n";
        let urls = if text.contains("[source]") { "" } else { URLS };
        self.file("bulkload.toml", &format!("{urls}{text}"))
    }

    /// Writes a file into the working directory.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        self.bytes(name, text.as_bytes())
    }

    /// Writes a file of any bytes; directories above it are made.
    pub(crate) fn bytes(self, name: &str, bytes: &[u8]) -> Self {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        self
    }

    /// What it reads from its standard input, a pipe; nothing at all without this.
    pub(crate) fn stdin(mut self, bytes: &[u8]) -> Self {
        self.stdin = Some(bytes.to_vec());
        self
    }

    /// Sets an environment variable; the last value of a name counts.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Arms a fail point: `pause`, `sleep(500)`, `1*return(…)`, `panic`. Needs the feature `failpoints`.
    pub(crate) fn fail_point(mut self, name: &str, action: &str) -> Self {
        self.fail_points.push(format!("{name}={action}"));
        self
    }

    /// Has it wait at a fail point until [`Running::go`]. One point per invocation; it waits at the first pass.
    pub(crate) fn hold_at(self, name: &str) -> Self {
        self.env("BULKLOAD_HOLD", name)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// `bulkload sync --report report.json`, to its end.
    pub(crate) fn sync(&self) -> Outcome {
        self.run(&["sync", "--report", "report.json"])
    }

    /// Any subcommand, to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Outcome {
        self.spawn(args).wait()
    }

    /// Starts it in the background; killed when dropped.
    pub(crate) fn spawn(&self, args: &[&str]) -> Running {
        // What an earlier run left must not pass for this one's.
        let _ = std::fs::remove_file(self.dir.path().join("report.json"));
        let _ = std::fs::remove_file(self.dir.path().join(GO));
        let mut command = Command::new(env!("CARGO_BIN_EXE_bulkload"));
        command.args(args).current_dir(self.dir.path()).env_clear();
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if !self.fail_points.is_empty() {
            command.env("FAILPOINTS", self.fail_points.join(";"));
        }
        command.stdin(if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        if let (Some(bytes), Some(mut pipe)) = (self.stdin.clone(), child.stdin.take()) {
            // A program that wants no more closes it.
            std::thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        Running {
            stdout: Capture::of(child.stdout.take().unwrap()),
            stderr: Capture::of(child.stderr.take().unwrap()),
            report: self.dir.path().join("report.json"),
            started: Instant::now(),
            _dir: Arc::clone(&self.dir),
            child,
        }
    }
}

/// What a pipe has brought so far.
struct Capture {
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Capture {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(n @ 1..) = pipe.read(&mut buffer) {
                sink.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..n]);
            }
        });
        Self { text, reader: Some(reader) }
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    fn drain(&mut self) -> String {
        self.reader.take().into_iter().for_each(|reader| reader.join().unwrap());
        self.so_far()
    }
}

/// A program that runs; killed when dropped.
pub(crate) struct Running {
    child: Child,
    stdout: Capture,
    stderr: Capture,
    report: PathBuf,
    started: Instant,
    /// Its working directory lives as long as it does.
    _dir: Arc<TempDir>,
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn stderr_so_far(&self) -> String {
        self.stderr.so_far()
    }

    /// Waits until it has written `marker` to stderr; panics if it ends without.
    #[track_caller]
    pub(crate) fn wait_for_stderr(&mut self, marker: &str) {
        wait_until(&format!("{marker:?} on stderr"), || {
            let ended = !self.is_running();
            let found = if ended { self.stderr.drain() } else { self.stderr.so_far() }.contains(marker);
            assert!(found || !ended, "ended without {marker:?}: {}", self.stderr.so_far());
            found
        });
    }

    /// Waits until it has said that it heard a signal, or has ended.
    #[track_caller]
    pub(crate) fn wait_until_it_heard(&mut self) {
        wait_until("it hears the signal", || {
            let ended = !self.is_running();
            ended || self.stderr.so_far().contains("stopping; ")
        });
    }

    /// Waits until it is held at the point of [`Bulkload::hold_at`].
    #[track_caller]
    pub(crate) fn wait_until_held(&mut self) {
        self.wait_for_stderr("held at ");
    }

    /// Lets it go on.
    pub(crate) fn go(&self) {
        std::fs::write(self.report.with_file_name(GO), "").unwrap();
    }

    /// Waits until a file exists in its working directory.
    #[track_caller]
    pub(crate) fn wait_for_file(&self, name: &str) {
        let path = self.report.with_file_name(name);
        wait_until(&format!("file {name}"), || path.exists());
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill_9(mut self) -> Outcome {
        self.child.kill().unwrap();
        self.wait()
    }

    /// SIGINT, as from Ctrl-C.
    pub(crate) fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end; panics, with all it wrote, if that takes too long.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Outcome {
        let limit = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                Instant::now() < limit,
                "still running after {PATIENCE:?}\n{}{}",
                self.stdout.so_far(),
                self.stderr.so_far()
            );
            std::thread::sleep(Duration::from_millis(5));
        };
        Outcome {
            code: status.code(),
            stdout: self.stdout.drain(),
            stderr: self.stderr.drain(),
            report: std::fs::read_to_string(&self.report).ok(),
            took: self.started.elapsed(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a program ended and what it wrote.
pub(crate) struct Outcome {
    /// `None` after a signal that it did not handle.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    report: Option<String>,
    pub(crate) took: Duration,
}

impl Outcome {
    /// The report; panics if there is none.
    #[track_caller]
    pub(crate) fn report(&self) -> serde_json::Value {
        let text = self.report.as_deref().unwrap_or_else(|| panic!("no report\n{self}"));
        serde_json::from_str(text).unwrap_or_else(|e| panic!("the report is not JSON: {e}\n{text}"))
    }

    /// One table's part of the report.
    #[track_caller]
    pub(crate) fn table(&self, name: &str) -> serde_json::Value {
        let report = self.report();
        let tables = report["tables"].as_array().unwrap();
        let found = tables.iter().find(|table| table["name"] == name);
        found.unwrap_or_else(|| panic!("no table {name} in the report\n{self}")).clone()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "exit code {:?} after {:?}", self.code, self.took)?;
        write!(f, "--- stdout\n{}--- stderr\n{}", self.stdout, self.stderr)
    }
}
