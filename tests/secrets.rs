//! Passwords occur in nothing that the program writes, keeps or shows, whatever way it got them and however it ends.

use std::os::unix::fs::PermissionsExt;
use std::sync::OnceLock;

use bulkload::config::{Config, Secret};
use bulkload::pg::conninfo::{ConnInfo, Environment};

use crate::support::database::test_options;
use crate::support::{Bulkload, Outcome, Pair, Scene, Servers};

/// What is searched for. It stays as it is however the rest is written: quoted, escaped or percent-encoded.
const NEEDLE: &str = "Zq9needle7x";

/// A password with everything that has a meaning in URIs, key=value strings, ~/.pgpass, TOML, JSON, SQL and shells.
const PASSWORD: &str = r#"p@:/?#[]%41&=+ \'"$(x){}ü|Zq9needle7x|;--"#;

/// Servers that ask for it.
fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| Servers::with(&test_options().password(PASSWORD)))
}

fn scene() -> Scene {
    Scene::on(servers().pair())
}

#[track_caller]
fn assert_silent(what: &str, text: &str) {
    if let Some(at) = text.to_lowercase().find(&NEEDLE.to_lowercase()) {
        let from = text.floor_char_boundary(at.saturating_sub(80));
        panic!("{what} tells the password: …{}", &text[from..text.floor_char_boundary(at + 20)]);
    }
}

/// All that a run wrote, on paper and into the target.
#[track_caller]
fn assert_kept(program: &Bulkload, outcome: &Outcome, pair: &Pair) {
    assert_silent("stdout", &outcome.stdout);
    assert_silent("stderr", &outcome.stderr);
    if let Ok(report) = std::fs::read_to_string(program.dir().join("report.json")) {
        assert_silent("the report", &report);
    }
    let tables = "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname = 'bulkload'";
    for table in pair.target.rows(tables) {
        let table = table[0].clone().unwrap();
        let text = pair.target.value(&format!("select string_agg(t::text, chr(10)) from {table} t"));
        assert_silent(&table, &text);
    }
}

/// The ways to give a password, each with a program that uses it.
fn ways(scene: &Scene) -> Vec<(&'static str, Bulkload)> {
    let (source, target) = (&scene.pair.source, &scene.pair.target);
    let bare = |db: &crate::support::Db| format!("postgresql://{}/{}", host(db), db.name());
    let pairs = |db: &crate::support::Db| {
        let password = PASSWORD.replace('\\', r"\\").replace('\'', r"\'");
        let user = user(db);
        format!("host=127.0.0.1 port={} dbname={} user={user} password='{password}'", db.port(), db.name())
    };
    let in_file = format!(
        "[source]\nurl = '{}'\n[target]\nurl = '{}'\n{}",
        source.url(),
        target.url(),
        Scene::config("delete", "")
    );
    let pgpass = scene.program("delete", "");
    let line = PASSWORD.replace('\\', r"\\").replace(':', r"\:");
    std::fs::write(pgpass.dir().join(".pgpass"), format!("127.0.0.1:*:*:*:{line}\n")).unwrap();
    std::fs::set_permissions(pgpass.dir().join(".pgpass"), PermissionsExt::from_mode(0o600)).unwrap();
    let with_bare_urls = |program: Bulkload| {
        let with_user = |db| bare(db).replace("://", &format!("://{}@", user(db)));
        program.env("SOURCE_DATABASE_URL", &with_user(source)).env("TARGET_DATABASE_URL", &with_user(target))
    };
    vec![
        ("URI in the environment", scene.program("delete", "")),
        ("URI in the config", Bulkload::new().config(&in_file)),
        (
            "key=value",
            scene
                .program("delete", "")
                .env("SOURCE_DATABASE_URL", &pairs(source))
                .env("TARGET_DATABASE_URL", &pairs(target)),
        ),
        ("~/.pgpass", with_bare_urls(pgpass)),
        (
            "PGPASSWORD",
            with_bare_urls(
                scene.program("delete", "").env("PGPASSWORD", PASSWORD).env("PGHOST", "127.0.0.1"),
            ),
        ),
    ]
}

fn user(db: &crate::support::Db) -> String {
    let url = db.url();
    url["postgresql://".len()..].split(':').next().unwrap().to_owned()
}

fn host(db: &crate::support::Db) -> String {
    format!("127.0.0.1:{}", db.port())
}

#[test]
fn a_run_that_succeeds_tells_no_password() {
    let scene = scene();
    for (way, program) in ways(&scene) {
        for args in [
            &["sync", "-vv", "--report", "report.json"][..],
            &["sync", "-vv", "--log-format", "json", "--report", "-"],
            &["plan", "-vv"],
            &["plan", "--json"],
            &["check", "-vv"],
            &["clean", "-vv"],
        ] {
            let outcome = program.run(args);
            assert_eq!(outcome.code, Some(0), "{way}, {args:?}: {outcome}");
            assert_kept(&program, &outcome, &scene.pair);
        }
        scene.assert_new();
    }
}

#[test]
fn neither_the_process_list_nor_the_servers_show_a_password() {
    let scene = scene();
    for (way, program) in ways(&scene) {
        let mut running = program.hold_at("apply.locked").spawn(&["sync", "-vv"]);
        running.wait_until_held();
        let title = std::fs::read(format!("/proc/{}/cmdline", running.id())).unwrap();
        assert_silent(way, &String::from_utf8_lossy(&title));
        assert!(!scene.sessions().is_empty());
        for db in [&scene.pair.source, &scene.pair.target] {
            assert_silent(way, &db.value("select string_agg(a::text, chr(10)) from pg_stat_activity a"));
        }
        assert_silent(way, &running.stderr_so_far());
        running.go();
        let outcome = running.wait();
        assert_eq!(outcome.code, Some(0), "{way}: {outcome}");
    }
}

#[test]
fn a_run_that_fails_tells_no_password() {
    let scene = scene();
    let url = scene.pair.target.url().to_owned();
    let wrong = url.replacen("p%40", "wrong", 1);
    assert_ne!(url, wrong);
    for (what, target) in [
        ("wrong password", wrong),
        ("nobody listens", url.replace(&host(&scene.pair.target), "127.0.0.1:1")),
        ("no such host", url.replace("127.0.0.1", "no-such-host.invalid")),
        ("no such database", format!("{url}x")),
        ("unknown parameter", format!("{url}?nonsense=1")),
        ("bad sslmode", format!("{url}?sslmode=nonsense")),
        ("TLS is not there", format!("{url}?sslmode=require")),
        ("bad port", url.replace(&host(&scene.pair.target), "127.0.0.1:port")),
        ("bad bracket", url.replace("127.0.0.1", "[::1")),
        ("bad percent", url.replacen("%40", "%4", 1)),
        ("bare password", format!("postgresql://user:{NEEDLE} with blanks@127.0.0.1/x")),
        ("password in the parameters", format!("postgresql://u@127.0.0.1:1/x?password={NEEDLE}&nonsense=1")),
        ("unclosed quote", format!("host=127.0.0.1 password='{NEEDLE}")),
        ("no equals sign", format!("host=127.0.0.1 password {NEEDLE}")),
        ("key=value to nobody", format!("host=127.0.0.1 port=1 user=u password={NEEDLE}")),
        ("neither", NEEDLE.to_owned()),
        ("another scheme", format!("mysql://u:{NEEDLE}@h/d")),
    ] {
        let program = scene.program("delete", "connect_timeout = '5s'").env("TARGET_DATABASE_URL", &target);
        for args in [
            &["sync", "-vv", "--report", "report.json"][..],
            &["sync", "--log-format", "json"],
            &["check", "-vv"],
            &["verify", "-vv"],
            &["status"],
            &["clean"],
        ] {
            let outcome = program.run(args);
            assert_eq!(outcome.code, Some(2), "{what}, {args:?}: {outcome}");
            assert!(!outcome.stderr.is_empty() || !outcome.stdout.is_empty());
            assert_kept(&program, &outcome, &scene.pair);
        }
    }
    scene.assert_old();
}

#[test]
fn a_password_in_a_config_that_is_wrong_is_not_quoted() {
    let url = format!("url = 'postgresql://u:{NEEDLE}@127.0.0.1:1/d'");
    for text in [
        format!("[source]\n{url}\nulr = '{NEEDLE}'\n[target]\n{url}\n[[table]]\nname = 't'\n"),
        format!("[source]\n{url}\n[target]\nurl = {NEEDLE}\n[[table]]\nname = 't'\n"),
        format!("[source]\n{url}\n[target]\nurl = ['{NEEDLE}']\n[[table]]\nname = 't'\n"),
        format!("[source]\n{url} {NEEDLE}\n[target]\n{url}\n[[table]]\nname = 't'\n"),
        format!("[source]\n{url}\n[target]\nurl = '{NEEDLE}${{NO_SUCH_VARIABLE}}'\n[[table]]\nname = 't'\n"),
    ] {
        let outcome = Bulkload::new().config(&text).run(&["sync", "-vv"]);
        assert_eq!(outcome.code, Some(2), "{text}: {outcome}");
        assert_silent(&text, &outcome.stderr);
        assert_silent(&text, &outcome.stdout);
    }
}

#[test]
fn a_table_that_fails_while_sessions_come_and_go_tells_no_password() {
    let scene = scene();
    scene.pair.target.run("alter table child add check (v not like 'new%')");
    for (way, program) in ways(&scene) {
        let mut running =
            program.hold_at("load.chunk_copied").spawn(&["sync", "-vv", "--report", "report.json"]);
        running.wait_until_held();
        scene.pair.target.run(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and application_name like 'bulkload/%'",
        );
        running.go();
        let outcome = running.wait();
        assert_eq!(outcome.code, Some(1), "{way}: {outcome}");
        assert_silent(way, &outcome.stdout);
        assert_silent(way, &outcome.stderr);
    }
}

#[test]
fn debug_output_tells_no_password() {
    let env = |name: &str| (name == "PASSWORD").then(|| NEEDLE.to_owned());
    let text = "
        [source]
        url = 'postgresql://u:${PASSWORD}@127.0.0.1:1/d'
        [target]
        url = 'host=127.0.0.1 user=u password=${PASSWORD}'
        [[table]]
        name = 't'";
    let config = Config::parse(text, "bulkload.toml", &env).unwrap();
    assert!(config.source.as_ref().unwrap().value.expose().contains(NEEDLE), "the config has the password");
    assert_silent("the config", &format!("{config:?} {config:#?}"));
    for url in [
        &config.source.as_ref().unwrap().value,
        &config.target.value,
        &Secret::new(format!("postgresql://u:{NEEDLE}@h")),
    ] {
        let info = ConnInfo::resolve(url, &Environment::from_process()).unwrap();
        assert_silent("the connection", &format!("{info:?} {info:#?} {}", info.label()));
    }
}
