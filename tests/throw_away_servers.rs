//! Throw-away clusters come, crash, come back and go without a trace; so do the test support's parts.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bulkload::pg::cluster::{Cluster, Options, Stop};

use crate::support::{
    Bulkload, Db, Direction, Proxy, Session, assert_same_contents, fingerprint, pair, wait_until,
};

/// The postmaster's pid, from the first line of its lock file.
fn postmaster(cluster: &Cluster) -> u32 {
    let text = std::fs::read_to_string(cluster.data_dir().join("postmaster.pid")).unwrap();
    text.lines().next().unwrap().parse().unwrap()
}

fn is_running(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn a_crashed_server_comes_back_on_its_port_with_what_was_committed() {
    let mut cluster = Cluster::start(Options::new()).unwrap();
    let session = Session::open(&cluster.url("postgres"));
    session.run("create table t as select generate_series(1, 1000) n");
    session.run("begin; delete from t");
    let backend: u32 = session.value("select pg_backend_pid()").parse().unwrap();
    let (port, pid) = (cluster.port(), postmaster(&cluster));

    cluster.crash();
    assert!(!is_running(pid) && !is_running(backend), "crash leaves no process");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());

    cluster.start_again().unwrap();
    assert_eq!(cluster.port(), port);
    assert_eq!(Session::open(&cluster.url("postgres")).value("select count(*) from t"), "1000");
    let log = std::fs::read_to_string(cluster.log_file()).unwrap();
    assert!(log.contains("was not properly shut down"), "{log}");
}

#[test]
fn a_fast_stop_ends_sessions_and_needs_no_recovery() {
    let mut cluster = Cluster::start(Options::new()).unwrap();
    let session = Session::open(&cluster.url("postgres"));
    cluster.restart(Stop::Fast).unwrap();
    assert!(session.try_run("select 1").is_err());
    assert_eq!(Session::open(&cluster.socket_url("postgres")).value("select 1"), "1");
    let log = std::fs::read_to_string(cluster.log_file()).unwrap();
    assert!(!log.contains("was not properly shut down"), "{log}");
}

#[test]
fn a_dropped_cluster_leaves_no_process_and_no_file() {
    let cluster = Cluster::start(Options::new()).unwrap();
    let (pid, dir) = (postmaster(&cluster), cluster.dir().to_owned());
    assert!(is_running(pid) && dir.exists());
    drop(cluster);
    assert!(!is_running(pid) && !dir.exists());
}

/// This test is also the process that it kills: started by itself with a variable set, it owns a cluster.
#[test]
fn a_killed_owner_leaves_no_process_and_no_file() {
    const ROLE: &str = "BULKLOAD_TEST_IS_OWNER";
    if std::env::var_os(ROLE).is_some() {
        let cluster = Cluster::start(Options::new()).unwrap();
        println!("\nowns {} {}", postmaster(&cluster), cluster.dir().display());
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    let name = std::thread::current().name().unwrap().to_owned();
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--nocapture"])
        .env(ROLE, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let line = lines.map(Result::unwrap).find(|line| line.starts_with("owns ")).unwrap();
    let mut words = line.split(' ').skip(1);
    let pid: u32 = words.next().unwrap().parse().unwrap();
    let dir = PathBuf::from(words.next().unwrap());
    assert!(is_running(pid) && dir.exists());

    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_until("server and files are gone", || !is_running(pid) && !dir.exists());
}

#[test]
fn a_server_outlives_the_thread_that_started_it() {
    let cluster = std::thread::spawn(|| Cluster::start(Options::new()).unwrap()).join().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(Session::open(&cluster.url("postgres")).value("select 1"), "1");
}

#[test]
fn a_cluster_that_is_left_runs_on_until_its_stop_command() {
    let cluster = Cluster::start(Options::new()).unwrap();
    let (dir, lock_file) = (cluster.dir().to_owned(), cluster.data_dir().join("postmaster.pid"));
    let (url, command) = (cluster.url("postgres"), cluster.stop_command());
    Session::open(&url).run("create table t as select 1");
    std::thread::spawn(|| cluster.leave().unwrap()).join().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(Session::open(&url).value("select count(*) from t"), "1");
    assert!(Command::new("sh").args(["-c", &command]).stdout(Stdio::null()).status().unwrap().success());
    assert!(!lock_file.exists() && !dir.exists());
    assert!(Session::try_open(&url).is_err());
}

#[test]
fn settings_and_access_rules_are_the_callers() {
    let options = Options::new()
        .setting("wal_level", "logical")
        .setting("shared_buffers", "64MB")
        .hba("host all outsider 127.0.0.1/32 reject")
        .password("it's: a/secret@");
    let cluster = Cluster::start(options).unwrap();
    let session = Session::open(&cluster.url("postgres"));
    assert_eq!(session.value("show wal_level"), "logical");
    assert_eq!(session.value("show shared_buffers"), "64MB");
    assert_eq!(session.value("show server_encoding"), "UTF8");
    session.run("create role outsider login");

    let port = cluster.port();
    let code = |user: &str| {
        let error =
            Session::try_open(&format!("postgresql://{user}@127.0.0.1:{port}/postgres")).err().unwrap();
        error.code().unwrap().code().to_owned()
    };
    assert_eq!(code("outsider"), "28000");
    assert_eq!(code("postgres:wrong"), "28P01");
    Session::open(&cluster.socket_url("postgres")).run("select 1");
    assert!(!format!("{cluster:?}").contains("secret"));
}

#[test]
fn a_failed_start_says_what_the_server_said_and_leaves_nothing() {
    let error = Cluster::start(Options::new().setting("no_such_setting", 1)).unwrap_err();
    assert!(error.to_string().contains("no_such_setting"), "{error}");
    let message = error.to_string();
    let dir = message.split(' ').find(|word| word.contains("bulkload-pg-")).unwrap();
    assert!(!Path::new(dir.trim_end_matches(':')).exists(), "{dir}");
}

#[test]
fn each_pair_is_of_fresh_databases_that_vanish() {
    let (one, two) = (pair(), pair());
    one.source.run("create table t (n int)");
    assert_eq!(two.source.value("select to_regclass('t')"), "");
    let (name, admin) = (one.source.name().to_owned(), two.source.session());
    let holder = one.source.session();
    drop(one);
    assert!(holder.try_run("select 1").is_err());
    assert_eq!(admin.value(&format!("select count(*) from pg_database where datname = '{name}'")), "0");
}

#[test]
fn contents_are_equal_in_any_order_and_differ_by_one_value() {
    let pair = pair();
    let fill = |db: &Db, order: &str| {
        db.run(&format!(
            "create table t (id int, v numeric, s text);
             insert into t select n, n / 3.0, nullif(n % 7, 0)::text from generate_series(1, 500) n order by n {order}"
        ));
    };
    fill(&pair.source, "asc");
    fill(&pair.target, "desc");
    assert_same_contents(&pair.source, &pair.target, "t");
    let before = fingerprint(&pair.target, "t");
    pair.target.run("update t set s = '' where id = 7");
    assert_ne!(fingerprint(&pair.target, "t"), before);
    let differs = std::panic::catch_unwind(|| assert_same_contents(&pair.source, &pair.target, "t"));
    assert!(differs.unwrap_err().downcast_ref::<String>().unwrap().contains("(7,"));
}

#[test]
fn the_proxy_forwards_counts_and_cuts() {
    let pair = pair();
    let proxy = Proxy::to(pair.source.port());
    let url = pair.source.url_through(proxy.port());
    let session = Session::open(&url);
    assert_eq!(session.value("select 1"), "1");
    assert!(proxy.forwarded(Direction::ToServer) > 0 && proxy.forwarded(Direction::ToClient) > 0);

    proxy.cut_after(Direction::ToClient, 100_000);
    let before = proxy.forwarded(Direction::ToClient);
    assert!(session.try_run("select repeat('x', 1000) from generate_series(1, 1000)").is_err());
    assert_eq!(proxy.forwarded(Direction::ToClient) - before, 100_000);

    let session = Session::open(&url);
    proxy.cut();
    assert!(session.try_run("select 1").is_err());
    assert_eq!(Session::open(&url).value("select 1"), "1");
    assert_eq!(proxy.accepted(), 3);
}

#[test]
fn the_proxy_freezes_delays_and_refuses() {
    let pair = pair();
    let proxy = Proxy::to(pair.source.port());
    let url = pair.source.url_through(proxy.port());
    let session = Session::open(&url);

    proxy.freeze(true);
    let pending = session.begin("select 1");
    assert!(pending.is_pending_after(Duration::from_millis(200)));
    proxy.freeze(false);
    pending.wait().unwrap();

    proxy.delay(Duration::from_millis(150));
    let started = Instant::now();
    session.run("select 1");
    assert!(started.elapsed() >= Duration::from_millis(300), "both ways wait");
    proxy.delay(Duration::ZERO);

    proxy.refuse(true);
    assert!(Session::try_open(&url).is_err());
    session.run("select 1");
    proxy.refuse(false);
    Session::open(&url).run("select 1");
}

#[test]
fn a_frozen_peer_is_not_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap().port());
    let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    proxy.freeze(true);
    client.write_all(b"x").unwrap();
    server.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(server.read(&mut [0; 1]).is_err(), "nothing arrives, and no end either");
    proxy.cut();
    server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
}

#[test]
fn the_program_runs_in_a_directory_and_an_environment_of_its_own() {
    let program = Bulkload::new().config("[run]\njobs = 1\n");
    let text = std::fs::read_to_string(program.dir().join("bulkload.toml")).unwrap();
    assert!(text.starts_with("source.url"), "{text}");
    let outcome = program.run(&["--version"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
}
