//! Clusters shared by all tests, and a database per test on them.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use bulkload::pg::cluster::{Binaries, Cluster, Options};

use tokio_postgres::error::SqlState;

use super::session::{Row, Session};

/// A source and a target cluster.
pub(crate) struct Servers {
    pub(crate) source: Cluster,
    pub(crate) target: Cluster,
}

impl Servers {
    /// The two that all tests share: never stop, reload or reconfigure them.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Servers> = OnceLock::new();
        SHARED.get_or_init(Self::private)
    }

    /// Two for a test that kills or restarts them.
    pub(crate) fn private() -> Self {
        Self::with(&test_options())
    }

    /// Two with these options.
    pub(crate) fn with(options: &Options) -> Self {
        std::thread::scope(|scope| {
            let source = scope.spawn(|| Cluster::start_with(source_binaries(), options.clone()).unwrap());
            let target = Cluster::start(options.clone()).unwrap();
            Self { source: source.join().unwrap(), target }
        })
    }

    /// A fresh database on each.
    pub(crate) fn pair(&self) -> Pair {
        Pair { source: Db::create(&self.source), target: Db::create(&self.target) }
    }
}

/// Names the directory of the programs of sources alone, where the two servers shall be of different versions.
const SOURCE_BINDIR_VARIABLE: &str = "BULKLOAD_TEST_SOURCE_BINDIR";

fn source_binaries() -> Binaries {
    match std::env::var_os(SOURCE_BINDIR_VARIABLE).filter(|dir| !dir.is_empty()) {
        Some(dir) => Binaries::at(Path::new(&dir)).unwrap(),
        None => Binaries::find().unwrap(),
    }
}

/// What tests may need of a server and cannot set per session.
pub(crate) fn test_options() -> Options {
    Options::new()
        .setting("max_connections", 200)
        .setting("wal_level", "logical")
        .setting("max_prepared_transactions", 20)
        .setting("shared_buffers", "128MB")
}

/// A fresh database on the shared source and one on the shared target; dropped with it.
pub(crate) fn pair() -> Pair {
    Servers::shared().pair()
}

/// Two databases on two servers.
pub(crate) struct Pair {
    pub(crate) source: Db,
    pub(crate) target: Db,
}

/// A database for one test; dropped with it, together with the roles it created.
pub(crate) struct Db {
    name: String,
    url: String,
    socket_url: String,
    admin_url: String,
    port: u16,
    roles: Vec<String>,
}

impl Db {
    /// A new, empty database on a server.
    pub(crate) fn create(server: &Cluster) -> Self {
        let name = unique("db");
        let admin_url = server.socket_url("postgres");
        Session::open(&admin_url).run(&format!("create database {name} template template0"));
        Self {
            url: server.url(&name),
            socket_url: server.socket_url(&name),
            port: server.port(),
            roles: Vec::new(),
            name,
            admin_url,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The server's `server_version_num`, 150004 for 15.4.
    #[track_caller]
    pub(crate) fn version(&self) -> u32 {
        self.value("show server_version_num").parse().unwrap()
    }

    /// URI over TCP, as superuser.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// URI over the Unix socket, as superuser.
    pub(crate) fn socket_url(&self) -> &str {
        &self.socket_url
    }

    /// The server's TCP port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// URI over TCP through another port, a proxy's for instance.
    pub(crate) fn url_through(&self, port: u16) -> String {
        self.url.replace(&format!(":{}/", self.port), &format!(":{port}/"))
    }

    /// URI over TCP as another role.
    pub(crate) fn url_as(&self, role: &str) -> String {
        format!("postgresql://{role}@127.0.0.1:{}/{}", self.port, self.name)
    }

    /// Creates a role (roles belong to the cluster, so its name is unique) with these attributes, LOGIN for instance.
    pub(crate) fn role(&mut self, attributes: &str) -> String {
        let role = unique("role");
        self.run(&format!("create role {role} {attributes}"));
        self.roles.push(role.clone());
        role
    }

    /// Creates a role of this very name, which no other test may use.
    pub(crate) fn role_named(&mut self, name: &str, attributes: &str) {
        let role = format!("\"{}\"", name.replace('"', "\"\""));
        self.run(&format!("create role {role} {attributes}"));
        self.roles.push(role);
    }

    /// A session to keep.
    #[track_caller]
    pub(crate) fn session(&self) -> Session {
        Session::open(&self.socket_url)
    }

    /// Runs statements in a session of their own; panics if one fails.
    #[track_caller]
    pub(crate) fn run(&self, sql: &str) {
        self.session().run(sql);
    }

    #[track_caller]
    pub(crate) fn rows(&self, sql: &str) -> Vec<Row> {
        self.session().rows(sql)
    }

    /// Creates a collation `loose` that ignores case. Says so and returns `false` if the server was built without ICU.
    pub(crate) fn creates_loose_collation(&self) -> bool {
        let sql =
            "create collation loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";
        match self.session().try_run(sql) {
            Ok(()) => true,
            Err(error) if error.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED) => {
                eprintln!("SKIPPED: the server has no ICU");
                false
            }
            Err(error) => panic!("{sql}: {error}"),
        }
    }

    /// The one value of the one row, NULL as an empty string.
    #[track_caller]
    pub(crate) fn value(&self, sql: &str) -> String {
        self.session().value(sql)
    }

    #[track_caller]
    pub(crate) fn count(&self, table: &str) -> u64 {
        self.value(&format!("select count(*) from {table}")).parse().unwrap()
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        // A test may have taken its server down for good: then nothing is left to drop.
        let Ok(admin) = Session::try_open(&self.admin_url) else { return };
        let name = &self.name;
        for pending in admin.rows("select database, gid from pg_prepared_xacts") {
            if let [Some(database), Some(gid)] = &pending[..]
                && database == name
            {
                let gid = gid.replace('\'', "''");
                let _ = self.session().try_run(&format!("rollback prepared '{gid}'"));
            }
        }
        // Not WITH (FORCE), which 12 lacks.
        let _ = admin.try_run(&format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"
        ));
        for _ in 0..50 {
            if admin.try_run(&format!("drop database if exists {name}")).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        for role in &self.roles {
            let _ = admin.try_run(&format!("drop role if exists {role}"));
        }
    }
}

fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{what}_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
