//! PgBouncer before a server. It refuses to run as root, as PostgreSQL does.

use std::fs;
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Command, Stdio};

use bulkload::pg::cluster::free_port;

use super::fixture::Server;
use crate::support::wait_until;

/// Stops the pooler when standard input ends: when the test process is gone, however that happened.
const WATCHED: &str =
    "trap : INT TERM HUP; /usr/sbin/pgbouncer -q \"$0\" & cat >/dev/null; kill -TERM $!; wait";

/// A pooler; stopped when dropped.
pub(super) struct PgBouncer {
    watcher: Child,
    stdin: Option<ChildStdin>,
    port: u16,
    _directory: tempfile::TempDir,
}

impl PgBouncer {
    /// One in front of the database `postgres`, without TLS, with these lines in its configuration.
    pub(super) fn start(server: &Server, lines: &str) -> Self {
        let port = free_port().unwrap();
        let config = format!(
            "[databases]\npostgres = host=127.0.0.1 port={} user=postgres\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n{lines}\n",
            server.port
        );
        let directory = readable_directory();
        let file = directory.path().join("pgbouncer.ini");
        fs::write(&file, config).unwrap();
        let mut watcher = unprivileged_shell()
            .args(["-c", WATCHED])
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = watcher.stdin.take();
        wait_until("PgBouncer listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { watcher, stdin, port, _directory: directory }
    }

    pub(super) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.watcher.wait();
    }
}

/// A directory that another user can look into.
fn readable_directory() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

fn unprivileged_shell() -> Command {
    let id = Command::new("id").arg("-u").output().unwrap().stdout;
    if id.trim_ascii() == b"0" {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "sh"]);
        command
    } else {
        Command::new("sh")
    }
}
