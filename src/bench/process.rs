//! Runs programs and measures their total time, CPU time and memory.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio_util::sync::CancellationToken;

use super::procfs;
use crate::error::{Error, Kind, Phase, Result};

/// The polling interval: short compared with any measurement, long compared with the polling itself.
const LOOK_EVERY: Duration = Duration::from_millis(4);

/// The prefix of our own program's final error message; earlier lines are its log.
const ERROR: &str = "error: ";

/// The time that a stopped program may take: a run rolls back and drops its staging.
const STOPS_WITHIN: Duration = Duration::from_secs(20);

/// The resources used by programs that ran at the same time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Used {
    /// From the first start to the last end.
    pub(super) wall: Duration,
    /// CPU time of all programs.
    pub(super) cpu: Option<Duration>,
    /// The sum of their peak memory.
    pub(super) peak_memory: Option<u64>,
}

/// A program to measure, and its error output.
pub(super) struct Program {
    command: Command,
    complaints: File,
}

impl Program {
    /// Prepares a command without input or output. It runs in a separate process group, so Ctrl-C reaches it only through us:
    /// a second signal would end it without cleaning up.
    pub(super) fn new(mut command: Command) -> Result<Self> {
        let complaints = tempfile::tempfile().map_err(|e| io_error("cannot create a temporary file", &e))?;
        let stderr = complaints.try_clone().map_err(|e| io_error("cannot create a temporary file", &e))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).process_group(0);
        Ok(Self { command, complaints })
    }

    /// Redirects its input from a file.
    pub(super) fn reading(mut self, file: File) -> Self {
        self.command.stdin(file);
        self
    }

    /// Redirects its output to a file.
    pub(super) fn writing(mut self, file: File) -> Self {
        self.command.stdout(file);
        self
    }
}

/// Programs that run at the same time: a single one, or pairs of which one reads the other's output.
pub(super) enum Work {
    /// A single program.
    One(Program),
    /// Concurrent pipes.
    Pipes(Vec<(Program, Program)>),
}

/// Runs the work to its end.
///
/// # Errors
/// The error output of a failed program. `Kind::Cancelled` if it was stopped.
pub(super) async fn measure(work: Work, stop: &CancellationToken) -> Result<Used> {
    let stop = stop.clone();
    tokio::task::spawn_blocking(move || Running::start(work)?.wait(&stop)).await.unwrap_or_else(|panic| {
        Err(Error::new(Phase::Load, Kind::Internal, format!("the watcher ended: {panic}")))
    })
}

/// A child process, and the resources that it has used.
struct Watched {
    child: Child,
    complaints: File,
    has_ended: bool,
    cpu: Option<Duration>,
    peak_memory: Option<u64>,
}

struct Running {
    began: Instant,
    programs: Vec<Watched>,
}

impl Running {
    fn start(work: Work) -> Result<Self> {
        let mut running = Self { began: Instant::now(), programs: Vec::new() };
        match work {
            Work::One(program) => {
                running.spawn(program)?;
            }
            Work::Pipes(pipes) => {
                for (mut writer, mut reader) in pipes {
                    writer.command.stdout(Stdio::piped());
                    let pipe = running.spawn(writer)?.child.stdout.take();
                    if let Some(pipe) = pipe {
                        reader.command.stdin(pipe);
                    }
                    running.spawn(reader)?;
                }
            }
        }
        Ok(running)
    }

    fn spawn(&mut self, mut program: Program) -> Result<&mut Watched> {
        let child = program.command.spawn().map_err(|e| {
            io_error(&format!("cannot run {}", program.command.get_program().to_string_lossy()), &e)
        })?;
        let complaints = program.complaints;
        self.programs.push(Watched { child, complaints, has_ended: false, cpu: None, peak_memory: None });
        let last = self.programs.len() - 1;
        Ok(&mut self.programs[last])
    }

    fn wait(mut self, stop: &CancellationToken) -> Result<Used> {
        let mut killed_at = None;
        while !self.look() {
            if stop.is_cancelled() && killed_at.is_none() {
                self.signal(Signal::TERM);
                killed_at = Some(Instant::now() + STOPS_WITHIN);
            }
            if killed_at.is_some_and(|limit| Instant::now() > limit) {
                self.signal(Signal::KILL);
            }
            std::thread::sleep(LOOK_EVERY);
        }
        let wall = self.began.elapsed();
        let complaints: Vec<String> = self.programs.iter_mut().filter_map(Watched::complaint).collect();
        if stop.is_cancelled() {
            return Err(Error::cancelled(Phase::Load));
        }
        if let Some(complaint) = complaints.into_iter().next() {
            return Err(Error::new(Phase::Load, Kind::Server, complaint));
        }
        let sum = |values: Option<Vec<u64>>| values.map(|values| values.iter().sum());
        Ok(Used {
            wall,
            cpu: self.programs.iter().map(|program| program.cpu).sum(),
            peak_memory: sum(self.programs.iter().map(|program| program.peak_memory).collect()),
        })
    }

    /// Polls all programs. Returns whether all have ended.
    fn look(&mut self) -> bool {
        self.programs.iter_mut().filter_map(|program| (!program.look()).then_some(())).count() == 0
    }

    fn signal(&self, signal: Signal) {
        for program in self.programs.iter().filter(|program| !program.has_ended) {
            // It may have ended just now. Its ID cannot belong to another process, because it has not been waited for.
            let _ = pid_of(&program.child).map(|pid| kill_process(pid, signal));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for program in self.programs.iter_mut().filter(|program| !program.has_ended) {
            let _ = program.child.kill();
            let _ = program.child.wait();
        }
    }
}

impl Watched {
    /// Records the figures available while it runs, and the final ones when it has ended. Returns whether it has.
    fn look(&mut self) -> bool {
        if self.has_ended {
            return true;
        }
        let pid = self.child.id();
        self.peak_memory = procfs::peak_memory(pid).max(self.peak_memory);
        // It is not waited for yet, so the kernel still has its resource usage.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let ended = pid_of(&self.child).map(|pid| waitid(WaitId::Pid(pid), options));
        self.has_ended = !matches!(ended, Some(Ok(None) | Err(rustix::io::Errno::INTR)));
        if self.has_ended {
            self.cpu = procfs::cpu(pid);
        }
        self.has_ended
    }

    /// Returns the error of a failed program: the first line marked as an error, without `error:`, else the first line.
    fn complaint(&mut self) -> Option<String> {
        let status = self.child.wait();
        if matches!(&status, Ok(status) if status.success()) {
            return None;
        }
        let mut text = String::new();
        let read = self.complaints.rewind().and_then(|()| self.complaints.read_to_string(&mut text));
        let lines = || text.lines().filter(|line| !line.trim().is_empty());
        let line = read.ok().and_then(|_| lines().find(|line| line.starts_with(ERROR)).or(lines().next()));
        let ended = status.map_or_else(|e| e.to_string(), |status| format!("it exited with {status}"));
        Some(line.map_or(ended, |line| {
            let line = line.trim();
            line.strip_prefix(ERROR).or(line.strip_prefix("psql: ")).unwrap_or(line).to_owned()
        }))
    }
}

fn pid_of(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

fn io_error(what: &str, source: &io::Error) -> Error {
    Error::io(Phase::Load, what, source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Program::new(command).unwrap()
    }

    #[tokio::test]
    async fn cpu_and_memory_of_a_program_and_of_a_pipe_are_told() {
        let busy = "i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done";
        let used = measure(Work::One(shell(busy)), &CancellationToken::new()).await.unwrap();
        if std::path::Path::new("/proc/self/stat").exists() {
            assert!(used.cpu.unwrap() > Duration::ZERO);
            assert!(used.peak_memory.unwrap() > 0);
        }
        let pipe = Work::Pipes(vec![(shell("echo word"), shell("read -r w; [ \"$w\" = word ]"))]);
        measure(pipe, &CancellationToken::new()).await.unwrap();
    }

    #[tokio::test]
    async fn a_program_that_fails_is_quoted() {
        let failing = Work::One(shell("echo 'error: no such table' >&2; exit 2"));
        let error = measure(failing, &CancellationToken::new()).await.unwrap_err();
        assert_eq!(error.message(), "no such table");
        let logging = Work::One(shell("echo 12:00 warn load slow >&2; echo 'error: no disk' >&2; exit 1"));
        let error = measure(logging, &CancellationToken::new()).await.unwrap_err();
        assert_eq!(error.message(), "no disk");
        let silent = measure(Work::One(shell("exit 3")), &CancellationToken::new()).await.unwrap_err();
        assert!(silent.message().contains('3'), "{silent}");
    }

    #[tokio::test]
    async fn a_program_that_is_stopped_is_told_to_end() {
        let stop = CancellationToken::new();
        stop.cancel();
        let error = measure(Work::One(shell("sleep 600")), &stop).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Cancelled);
    }
}
