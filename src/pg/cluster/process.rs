//! Starts and stops the programs of a throw-away server: processes that end with this one.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::binaries::output_of;
use crate::error::{Error, Kind, Phase, Result};

/// The account that runs the server's programs. PostgreSQL refuses to run as root.
#[derive(Debug, Clone, Copy)]
pub(super) enum Account {
    /// Our own account; we are not root.
    Own,
    /// The account `postgres` with these ids; we are root.
    Postgres { uid: u32, gid: u32 },
}

impl Account {
    /// Returns our own account, or `postgres` if we are root.
    pub(super) fn choose() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Own);
        }
        let id = |flag| output_of("id", [flag, "postgres"]).and_then(|text| text.parse().ok());
        match (id("-u"), id("-g")) {
            (Some(uid), Some(gid)) => Ok(Self::Postgres { uid, gid }),
            _ => Err(Error::new(
                Phase::Config,
                Kind::Config,
                "PostgreSQL refuses to run as root, and there is no user postgres to run it as",
            )
            .hint("Run this as an ordinary user, or create the user: useradd --system postgres.")),
        }
    }

    /// Returns a command that runs `program` as this account in a separate process group, so that signals from the terminal
    /// (Ctrl-C) do not reach it.
    ///
    /// `dies_with_us`: the kernel sends it SIGQUIT (PostgreSQL: immediate shutdown) when the spawning thread ends. It must
    /// then be spawned by [`spawn`].
    pub(super) fn command(self, program: &Path, dies_with_us: bool) -> Result<Command> {
        let setpriv = PathBuf::from("setpriv");
        let mut command = match (self, has_setpriv()) {
            (Self::Postgres { .. }, false) => {
                return Err(Error::new(
                    Phase::Config,
                    Kind::Config,
                    "setpriv, which is needed to run PostgreSQL as the user postgres, is not in PATH",
                )
                .hint("Install util-linux, or run this as an ordinary user."));
            }
            (Self::Own, false) => Command::new(program),
            (account, true) => {
                let mut command = Command::new(setpriv);
                if matches!(account, Self::Postgres { .. }) {
                    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
                }
                if dies_with_us {
                    command.args(["--pdeathsig", "QUIT"]);
                }
                command.args(["--", &program.to_string_lossy()]);
                command
            }
        };
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("TZ", "UTC").env("LC_ALL", "C").stdin(Stdio::null()).current_dir("/").process_group(0);
        Ok(command)
    }

    /// Makes this account the owner of a file or directory.
    pub(super) fn give(self, path: &Path) -> io::Result<()> {
        match self {
            Self::Own => Ok(()),
            Self::Postgres { uid, gid } => std::os::unix::fs::chown(path, Some(uid), Some(gid)),
        }
    }
}

fn has_setpriv() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| output_of("setpriv", ["--version"]).is_some())
}

/// Starts a child from a thread that lives as long as this process.
///
/// The parent-death signal of Linux is tied to the thread that forked (prctl(2), `PR_SET_PDEATHSIG`): a server
/// spawned by a worker thread or by a test's thread would stop when that thread ends.
pub(super) fn spawn(command: Command) -> io::Result<Child> {
    type Job = (Command, Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, inbox) = channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                // A caller that has gone away does not need its child; Cluster::start waits for every reply.
                let _ = reply.send(command.spawn());
            }
        });
        jobs
    });
    let (reply, child) = channel();
    let gone = |_| io::Error::other("the thread that starts servers has ended");
    spawner.send((command, reply)).map_err(|e| gone(e.to_string()))?;
    child.recv().map_err(|e| gone(e.to_string()))?
}

/// Appends a child's stdout and stderr to a file.
pub(super) fn log_to(command: &mut Command, log: &Path) -> io::Result<()> {
    let file = File::options().append(true).create(true).open(log)?;
    command.stdout(file.try_clone()?).stderr(file);
    Ok(())
}

/// Sends a signal to a child that has not been waited for, so its pid cannot belong to another process yet.
pub(super) fn signal(child: &Child, signal: Signal) {
    // It may have ended by itself, which is fine.
    let _ = pid(child.id()).map(|pid| kill_process(pid, signal));
}

/// Kills a server and all its processes with SIGKILL, and returns when they have ended.
pub(super) fn kill_tree(child: &mut Child) {
    // While stopped it cannot start processes that we would miss.
    signal(child, Signal::STOP);
    let family = children_of(child.id());
    let _ = child.kill();
    for pid in family.iter().filter_map(|&id| pid(id)) {
        let _ = kill_process(pid, Signal::KILL);
    }
    let _ = child.wait();
    let limit = Instant::now() + Duration::from_secs(10);
    while family.iter().any(|&id| is_running(id)) && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits for a child to end by itself; `false` if it still runs after `limit`.
pub(super) fn ends_within(child: &mut Child, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => return false,
            Ok(Some(_)) | Err(_) => return true,
        }
    }
}

fn pid(id: u32) -> Option<Pid> {
    i32::try_from(id).ok().and_then(Pid::from_raw)
}

/// Returns the direct children. PostgreSQL's processes are all children of the postmaster. Empty without /proc.
fn children_of(parent: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|&id| stat(id).is_some_and(|(_, ppid)| ppid == parent))
        .collect()
}

/// Returns whether a process exists and is not just a zombie waiting for its new parent.
fn is_running(id: u32) -> bool {
    stat(id).is_some_and(|(state, _)| state != 'Z')
}

/// Reads state and parent from /proc/PID/stat. The program's name before them may contain any character, even `)`.
fn stat(id: u32) -> Option<(char, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Removes a directory when it is dropped or when this process ends for any reason.
///
/// It is a shell that waits for the end of its input, which comes when the last holder of the pipe ends: a signal handler
/// would not run after SIGKILL. A line of input makes it exit without removing anything. A server that still runs when its
/// files are removed stops by itself when it misses its lock file (checked every minute).
#[derive(Debug)]
pub(crate) struct Reaper {
    shell: Child,
    pipe: Option<ChildStdin>,
}

/// It repeats because a stopping server may still write.
const REAP: &str = r#"trap '' INT TERM HUP QUIT
if read -r _; then exit 0; fi
tries=0
until rm -rf -- "$1" && [ ! -e "$1" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 60 ] || exit 1
    sleep 1
done"#;

impl Reaper {
    /// Starts the process that removes `dir`.
    pub(crate) fn watch(dir: &Path) -> io::Result<Self> {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", REAP, "bulkload-reaper"])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    /// Keeps the directory permanently.
    pub(super) fn release(mut self) {
        // If writing fails, the reaper has already ended, which is fine.
        let _ = self.pipe.as_mut().map(|pipe| pipe.write_all(b"stay\n"));
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.shell.wait();
    }
}
