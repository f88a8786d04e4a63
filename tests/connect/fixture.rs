//! A server for these tests, with certificates and a pg_hba.conf of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bulkload::config::Secret;
use bulkload::pg::cluster::{Cluster, Options};
use bulkload::pg::conninfo::{ConnInfo, Environment};
use bulkload::pg::session::{Session, SessionSettings, Side, connect};

use super::certificates::{Authority, Issued};

/// Who may connect how. Roles are made by `ROLES`.
const HBA: &str = "\
local     all peered                   peer
local     all all                      trust
host      all scram      127.0.0.1/32  scram-sha-256
host      all md5        127.0.0.1/32  md5
host      all plain      127.0.0.1/32  password
host      all denied     127.0.0.1/32  reject
hostssl   all certified  127.0.0.1/32  cert
hostssl   all tls_only   127.0.0.1/32  trust
hostnossl all plain_only 127.0.0.1/32  trust
host      all certified,tls_only,plain_only 127.0.0.1/32 reject
host      all all        127.0.0.1/32  trust
";

/// A password with everything in it that URIs, quotes and password files treat specially.
pub(super) const PASSWORD: &str = r#"p@s:s/w%o'r"d\ ?#&=ü"#;

const ROLES: &str = r#"
set password_encryption = 'scram-sha-256';
create role scram login password 'p@s:s/w%o''r"d\ ?#&=ü';
create role plain login password 'p@s:s/w%o''r"d\ ?#&=ü';
set password_encryption = 'md5';
create role md5 login password 'p@s:s/w%o''r"d\ ?#&=ü';
create role denied login;
create role certified login;
create role tls_only login;
create role peered login;
create role plain_only login;
create role one login connection limit 1;
create role ro login;
alter role ro set default_transaction_read_only = on;
"#;

/// A server that listens on 127.0.0.1 and on a Unix socket, with TLS.
pub(super) struct Server {
    cluster: Cluster,
    pub(super) port: u16,
    pub(super) authority: Authority,
}

impl Server {
    /// The one that all tests share which leave it as it is.
    pub(super) fn shared() -> &'static Self {
        static SERVER: OnceLock<Server> = OnceLock::new();
        SERVER.get_or_init(Self::start)
    }

    pub(super) fn start() -> Self {
        let options = HBA.lines().fold(Options::new(), Options::hba);
        let cluster = Cluster::start(options).unwrap();
        let authority = Authority::new();
        let issued = authority.issue(&["localhost", "127.0.0.1"]);
        let root = cluster.place("root.crt", authority.pem().as_bytes()).unwrap();
        let certificate = cluster.place("server.crt", issued.certificate.as_bytes()).unwrap();
        let key = cluster.place("server.key", issued.key.as_bytes()).unwrap();
        let admin = crate::support::Session::open(&cluster.socket_url("postgres"));
        admin.run(ROLES);
        let files = [("ssl_ca_file", root), ("ssl_cert_file", certificate), ("ssl_key_file", key)];
        for (setting, path) in files {
            admin.run(&format!("alter system set {setting} = '{}'", path.display()));
        }
        admin.run("alter system set ssl = on");
        let server = Self { port: cluster.port(), cluster, authority };
        server.reload();
        server
    }

    /// The file with the authority's certificate.
    pub(super) fn root_file(&self) -> PathBuf {
        self.cluster.dir().join("root.crt")
    }

    /// Gives the server another certificate; connections made afterwards see it.
    pub(super) fn present(&self, issued: &Issued) {
        self.cluster.place("server.crt", issued.certificate.as_bytes()).unwrap();
        self.cluster.place("server.key", issued.key.as_bytes()).unwrap();
        self.reload();
    }

    /// Returns when sessions that begin have the new configuration.
    fn reload(&self) {
        let loaded_at = || {
            let admin = crate::support::Session::open(&self.cluster.socket_url("postgres"));
            admin.value("select pg_conf_load_time()::text")
        };
        let before = loaded_at();
        self.cluster.reload();
        crate::support::wait_until("the configuration is read again", || loaded_at() != before);
    }

    /// key=value text for a role on 127.0.0.1.
    pub(super) fn tcp(&self, role: &str) -> String {
        format!("host=127.0.0.1 port={} dbname=postgres user={role} ", self.port)
    }

    /// key=value text for a role on the Unix socket.
    pub(super) fn unix(&self, role: &str) -> String {
        format!("host={} port={} dbname=postgres user={role} ", self.cluster.dir().display(), self.port)
    }

    /// A superuser's session.
    pub(super) async fn admin(&self) -> Session {
        connect(&info(&self.unix("postgres")), &settings("admin")).await.unwrap()
    }
}

/// Resolves a string with nothing around it.
pub(super) fn info(text: &str) -> ConnInfo {
    resolve(text, &Environment::default()).unwrap()
}

pub(super) fn resolve(text: &str, environment: &Environment) -> bulkload::Result<ConnInfo> {
    ConnInfo::resolve(&Secret::new(text.to_owned()), environment)
}

/// Settings of a target session.
pub(super) fn settings(role: &str) -> SessionSettings {
    SessionSettings::new(Side::Target, format!("bulkload/test/{role}"))
}

/// The first column of the first row, as text.
pub(super) async fn ask(session: &Session, sql: &str) -> String {
    session
        .client
        .simple_query(sql)
        .await
        .unwrap()
        .iter()
        .find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
            _ => None,
        })
        .unwrap_or_default()
}

/// Waits until a backend is gone.
pub(super) async fn wait_until_gone(admin: &Session, pid: i32, limit: Duration) {
    let start = Instant::now();
    let sql = format!("select count(*) from pg_stat_activity where pid = {pid}");
    while ask(admin, &sql).await != "0" {
        assert!(start.elapsed() < limit, "backend {pid} is still there after {limit:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A private file, as keys and password files have to be.
pub(super) fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
