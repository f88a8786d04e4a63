//! Throw-away PostgreSQL servers on this machine, for `bulkload demo`, `bulkload bench` and the tests.
//!
//! A [`Cluster`] lives in its own temporary directory, and listens on a loopback port and on a Unix socket in that directory.
//! Its processes and files are removed when it is dropped or when this process ends for any reason, unless [`Cluster::leave`]
//! is called. It touches no other server. As root, the servers run as the user `postgres`.
//!
//! Everything here is blocking `std`. Call it from a thread that may block (`tokio::task::spawn_blocking`), and drop a
//! [`Cluster`] there too.

mod binaries;
mod process;

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

pub use binaries::{BINDIR_VARIABLE, Binaries};
use process::Account;
pub(crate) use process::Reaper;

use crate::error::{Error, Kind, Phase, Result};

/// The superuser of every throw-away cluster.
pub const SUPERUSER: &str = "postgres";

/// How long a server may take to start or to stop before it counts as hung, including crash recovery.
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest path of a Unix socket is 107 bytes on Linux, 103 on macOS; clients append to it.
const SOCKET_PATH_BYTES_MAX: usize = 100;

/// Throw-away data need not survive a power failure. A caller that measures durability restores these settings.
const SETTINGS: [(&str, &str); 8] = [
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("max_connections", "100"),
    ("shared_buffers", "256MB"),
    ("log_line_prefix", "%m [%p] %a "),
    ("logging_collector", "off"),
    ("timezone", "UTC"),
    // In the data directory, so that a killed server leaves nothing in /dev/shm, which is small in containers.
    ("dynamic_shared_memory_type", "mmap"),
];

/// The options of a cluster.
#[derive(Clone, Default)]
pub struct Options {
    settings: Vec<(String, String)>,
    hba: Vec<String>,
    password: Option<String>,
}

impl Options {
    /// Returns options that trust every client and are tuned for throw-away data.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a parameter of postgresql.conf (`wal_level`, `shared_buffers`, `max_prepared_transactions`, …).
    #[must_use]
    pub fn setting(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }

    /// Puts a line before all others of pg_hba.conf. Lines keep the order of the calls.
    #[must_use]
    pub fn hba(mut self, line: &str) -> Self {
        self.hba.push(line.to_owned());
        self
    }

    /// Requires SCRAM authentication over TCP, including for the superuser; the Unix socket still trusts.
    #[must_use]
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }
}

/// How to stop a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGINT: sessions are ended, and everything is written.
    Fast,
    /// SIGQUIT: processes quit at once, and the next start recovers.
    Immediate,
}

/// A throw-away cluster: its directory, and its server unless that is stopped.
pub struct Cluster {
    binaries: Binaries,
    account: Account,
    options: Options,
    dir: PathBuf,
    port: u16,
    server: Option<Child>,
    /// Removes the directory when it is dropped, after the server has stopped; `None` once the cluster is left running.
    reaper: Option<Reaper>,
}

impl Cluster {
    /// Creates a cluster and returns once it accepts connections (about a second).
    ///
    /// # Errors
    /// `Kind::Config` if there are no server programs or no user to run them; `Kind::Io` for files; `Kind::Server` if initdb
    /// or the server fails, with the end of its output.
    pub fn start(options: Options) -> Result<Self> {
        Self::start_with(Binaries::find()?, options)
    }

    /// Does the same with the programs of a given installation.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub fn start_with(binaries: Binaries, options: Options) -> Result<Self> {
        let account = Account::choose()?;
        let (dir, reaper) = directory(account)?;
        let mut cluster =
            Self { binaries, account, options, dir, port: 0, server: None, reaper: Some(reaper) };
        cluster.initdb()?;
        cluster.configure().map_err(|e| cluster.io("cannot configure", &e))?;
        // Another process may take a free port before it is bound.
        let mut attempts_left = 5;
        loop {
            cluster.port = free_port()?;
            match cluster.start_again() {
                Err(_) if attempts_left > 0 && port_is_taken(cluster.port) => attempts_left -= 1,
                Err(e) => return Err(e),
                Ok(()) => return Ok(cluster),
            }
        }
    }

    /// Returns the TCP port on 127.0.0.1, which stays the same for the cluster's life.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the directory that holds everything: Unix socket, log, data.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Returns the path of the server's log.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// Returns the programs in use.
    #[must_use]
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Returns the URI of a database over TCP, as superuser, with the password if there is one.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let password =
            self.options.password.as_deref().map(|p| format!(":{}", encoded(p))).unwrap_or_default();
        format!("postgresql://{SUPERUSER}{password}@127.0.0.1:{}/{}", self.port, encoded(database))
    }

    /// Returns the URI of a database over the Unix socket, as superuser.
    #[must_use]
    pub fn socket_url(&self, database: &str) -> String {
        let host = encoded(&self.dir.to_string_lossy());
        format!("postgresql://{SUPERUSER}@{host}:{}/{}", self.port, encoded(database))
    }

    /// Writes a file that only the server's user can read (a key, a certificate) into the cluster's directory.
    ///
    /// # Errors
    /// `Kind::Io`.
    pub fn place(&self, name: &str, contents: &[u8]) -> Result<PathBuf> {
        let path = self.dir.join(name);
        self.write(&path, contents).map_err(|e| self.io("cannot write", &e))?;
        Ok(path)
    }

    /// Stops the server and waits for its end. Does nothing if it is not running.
    pub fn stop(&mut self, how: Stop) {
        let Some(mut server) = self.server.take() else { return };
        process::signal(&server, if how == Stop::Fast { Signal::INT } else { Signal::QUIT });
        if !process::ends_within(&mut server, PATIENCE) {
            process::kill_tree(&mut server);
        }
    }

    /// Kills all processes of the server with SIGKILL, like a power failure or the kernel's OOM killer.
    pub fn crash(&mut self) {
        if let Some(mut server) = self.server.take() {
            process::kill_tree(&mut server);
        }
    }

    /// Makes the server reload its configuration files.
    pub fn reload(&self) {
        if let Some(server) = &self.server {
            process::signal(server, Signal::HUP);
        }
    }

    /// Stops the server and starts it on the same port.
    ///
    /// # Errors
    /// As [`Cluster::start_again`].
    pub fn restart(&mut self, how: Stop) -> Result<()> {
        self.stop(how);
        self.start_again()
    }

    /// Starts a stopped or crashed server on the same port, and returns once it accepts connections.
    ///
    /// # Errors
    /// `Kind::Server` with the end of the log if it does not start.
    pub fn start_again(&mut self) -> Result<()> {
        if self.server.is_some() { Ok(()) } else { self.launch(true) }
    }

    fn launch(&mut self, dies_with_us: bool) -> Result<()> {
        let mut command = self.account.command(&self.binaries.program("postgres"), dies_with_us)?;
        command.arg("-D").arg(self.data_dir()).arg("-p").arg(self.port.to_string());
        let mut server = process::log_to(&mut command, &self.log_file())
            .and_then(|()| process::spawn(command))
            .map_err(|e| self.io("cannot start", &e))?;
        match self.wait_until_ready(&mut server) {
            Ok(()) => {
                self.server = Some(server);
                Ok(())
            }
            Err(e) => {
                process::kill_tree(&mut server);
                Err(e)
            }
        }
    }

    /// Leaves the server running, with its files, after the end of this process; its sessions end now.
    /// [`Cluster::stop_command`] returns the command that removes it.
    ///
    /// # Errors
    /// As [`Cluster::start_again`]; in that case the cluster is removed.
    pub fn leave(mut self) -> Result<()> {
        // The parent-death signal is set when a server starts, so the server is restarted without it.
        self.stop(Stop::Fast);
        self.launch(false)?;
        self.reaper.take().into_iter().for_each(Reaper::release);
        Ok(())
    }

    /// Returns a shell command that stops a cluster left running and removes its files.
    #[must_use]
    pub fn stop_command(&self) -> String {
        let quoted = |path: PathBuf| format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"));
        let pg_ctl = quoted(self.binaries.program("pg_ctl"));
        let switch = match self.account {
            Account::Own => "",
            Account::Postgres { .. } => "setpriv --reuid=postgres --regid=postgres --init-groups ",
        };
        format!(
            "{switch}{pg_ctl} stop -m immediate -D {} && rm -rf {}",
            quoted(self.data_dir()),
            quoted(self.dir.clone())
        )
    }

    fn initdb(&self) -> Result<()> {
        let mut command = self.account.command(&self.binaries.program("initdb"), true)?;
        command.arg("-D").arg(self.data_dir());
        command.args(["-U", SUPERUSER, "-E", "UTF8", "--no-sync", "--auth-local=trust"]);
        command.arg(format!("--locale={}", locale()));
        if let Some(password) = &self.options.password {
            let file = self.place("password", format!("{password}\n").as_bytes())?;
            command.arg("--auth-host=scram-sha-256").arg("--pwfile").arg(file);
        } else {
            command.arg("--auth-host=trust");
        }
        let mut child = process::log_to(&mut command, &self.log_file())
            .and_then(|()| process::spawn(command))
            .map_err(|e| self.io("cannot run initdb", &e))?;
        let ended = child.wait();
        // The password file is no longer needed; it may not exist.
        let _ = fs::remove_file(self.dir.join("password"));
        match ended {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(self.failed(&format!("initdb failed ({status})"))),
            Err(e) => Err(self.io("cannot wait for initdb", &e)),
        }
    }

    /// Appends to postgresql.conf (the last setting of a name wins), prepends to pg_hba.conf (the first match wins).
    fn configure(&self) -> std::io::Result<()> {
        let own = [
            ("listen_addresses".to_owned(), "127.0.0.1".to_owned()),
            ("unix_socket_directories".to_owned(), self.dir.to_string_lossy().into_owned()),
        ];
        let given = SETTINGS.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        let mut lines = String::from("\n");
        for (name, value) in own.into_iter().chain(given).chain(self.options.settings.iter().cloned()) {
            lines += &format!("{name} = '{}'\n", value.replace('\'', "''"));
        }
        let conf = self.data_dir().join("postgresql.conf");
        fs::OpenOptions::new().append(true).open(conf)?.write_all(lines.as_bytes())?;

        if self.options.hba.is_empty() {
            return Ok(());
        }
        let hba = self.data_dir().join("pg_hba.conf");
        let rest = fs::read_to_string(&hba)?;
        fs::write(&hba, format!("{}\n{rest}", self.options.hba.join("\n")))
    }

    /// Waits until the postmaster writes `ready` into line 8 of its lock file, whose first line is its pid. It does so as
    /// soon as it accepts connections; pg_ctl waits for the same.
    fn wait_until_ready(&self, server: &mut Child) -> Result<()> {
        let lock_file = self.data_dir().join("postmaster.pid");
        let pid = server.id().to_string();
        let limit = Instant::now() + PATIENCE;
        while Instant::now() < limit {
            if process::ends_within(server, Duration::from_millis(10)) {
                return Err(self.failed("the server exited during startup"));
            }
            let text = fs::read_to_string(&lock_file).unwrap_or_default();
            let mut lines = text.lines().map(str::trim);
            if lines.next() == Some(&pid) && lines.nth(6) == Some("ready") {
                return Ok(());
            }
        }
        Err(self.failed(&format!("the server did not accept connections within {} s", PATIENCE.as_secs())))
    }

    fn write(&self, path: &Path, contents: &[u8]) -> std::io::Result<()> {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(contents)?;
        self.account.give(path)
    }

    fn io(&self, what: &str, source: &std::io::Error) -> Error {
        let what = format!("{what} the throw-away PostgreSQL in {}", self.dir.display());
        Error::io(Phase::Connect, what, source)
    }

    fn failed(&self, what: &str) -> Error {
        let log = fs::read_to_string(self.log_file()).unwrap_or_default();
        let mut tail: Vec<&str> = log.lines().rev().take(5).collect();
        tail.reverse();
        Error::new(
            Phase::Connect,
            Kind::Server,
            format!(
                "throw-away PostgreSQL in {}: {what}; its output:\n{}",
                self.dir.display(),
                tail.join("\n")
            ),
        )
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.reaper.is_some() {
            self.stop(Stop::Immediate);
        }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("dir", &self.dir)
            .field("port", &self.port)
            .field("server", &self.server.as_ref().map(Child::id))
            .finish_non_exhaustive()
    }
}

/// Returns a port on 127.0.0.1 without a listener.
///
/// It is below the range from which Linux picks local ports of outgoing connections (32768 and up), so none of those can
/// occupy it while its server is down.
///
/// # Errors
/// `Kind::Io` if all are taken.
pub fn free_port() -> Result<u16> {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes that start at the same time begin at different ports.
    let offset = u16::try_from(u64::from(std::process::id()) * 101 % u64::from(COUNT)).unwrap_or(0);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (offset + step) % COUNT;
        if !port_is_taken(port) {
            return Ok(port);
        }
    }
    Err(Error::new(Phase::Connect, Kind::Io, "no free port on 127.0.0.1 between 20000 and 31999"))
}

fn port_is_taken(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_err()
}

/// Creates a directory that only the server's account can enter, and the reaper that removes it.
fn directory(account: Account) -> Result<(PathBuf, Reaper)> {
    let create = || {
        let dir = tempfile::Builder::new()
            .prefix("bulkload-pg-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(parent_directory(account))?;
        account.give(dir.path())?;
        let reaper = Reaper::watch(dir.path())?;
        Ok((dir.keep(), reaper))
    };
    create()
        .map_err(|e| Error::io(Phase::Connect, "cannot create a directory for a throw-away PostgreSQL", &e))
}

/// Returns TMPDIR, or /tmp if TMPDIR makes the socket's path too long or is closed to the user `postgres`.
fn parent_directory(account: Account) -> PathBuf {
    const SOCKET: &str = "/bulkload-pg-xxxxxx/.s.PGSQL.65535";
    let dir = std::env::temp_dir();
    let short = dir.as_os_str().len() + SOCKET.len() <= SOCKET_PATH_BYTES_MAX;
    let open = matches!(account, Account::Own)
        || dir
            .ancestors()
            .all(|part| fs::metadata(part).is_ok_and(|found| found.permissions().mode() & 0o001 != 0));
    if short && open { dir } else { PathBuf::from("/tmp") }
}

/// Returns C.UTF-8 where the system has it, as on Debian; plain C otherwise.
fn locale() -> &'static str {
    let all = binaries::output_of("locale", ["-a"]).unwrap_or_default();
    if all.lines().any(|name| matches!(name, "C.UTF-8" | "C.utf8")) { "C.UTF-8" } else { "C" }
}

/// Percent-encodes reserved characters of a URI component (RFC 3986).
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out += &format!("%{byte:02X}");
        }
        out
    })
}
