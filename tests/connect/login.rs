//! Who gets in, who does not, and what is said about it.

use std::time::{Duration, Instant};

use bulkload::Error;
use bulkload::error::Kind;
use bulkload::pg::cluster::free_port;
use bulkload::pg::conninfo::Environment;
use bulkload::pg::session::{Session, connect};
use tokio::net::TcpListener;

use super::fixture::{PASSWORD, Server, ask, info, resolve, settings, write_private};

async fn refused(text: &str) -> Error {
    let mut settings = settings("refused");
    settings.connect_timeout = Duration::from_secs(5);
    match connect(&info(text), &settings).await {
        Ok(_) => panic!("a session was opened with {text}"),
        Err(error) => error,
    }
}

/// Message and hint have all these words and not the password.
fn assert_says(error: &Error, message: &[&str], hint: &[&str]) {
    let advice = error.advice().unwrap_or_default();
    for word in message {
        assert!(error.message().contains(word), "no {word:?} in message {:?}", error.message());
    }
    for word in hint {
        assert!(advice.contains(word), "no {word:?} in hint {advice:?} of {error}");
    }
    let all = format!("{error} {error:?}");
    assert!(!all.contains(PASSWORD) && !all.contains("wr0ng"), "{all}");
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

async fn user(session: &Session) -> String {
    ask(session, "select current_user").await
}

#[tokio::test]
async fn a_password_with_special_characters_works_in_every_method_and_notation() {
    let server = Server::shared();
    let home = tempfile::tempdir().unwrap();
    let in_file = PASSWORD.replace('\\', r"\\").replace(':', r"\:");
    write_private(&home.path().join(".pgpass"), &format!("127.0.0.1:*:*:*:{in_file}\n"));
    let from_file = Environment::new([], Some(home.path().to_owned()), None);
    let variables =
        [("PGHOST", "127.0.0.1"), ("PGPASSWORD", PASSWORD)].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let from_variable = Environment::new(variables, None, None);
    for role in ["scram", "md5", "plain"] {
        let words = server.tcp(role);
        let uri =
            format!("postgresql://{role}:{}@127.0.0.1:{}/postgres", percent_encoded(PASSWORD), server.port);
        for (text, environment) in [
            (uri, &Environment::default()),
            (format!("{words} password={}", quoted(PASSWORD)), &Environment::default()),
            (words.clone(), &from_file),
            (words.clone(), &from_variable),
        ] {
            let info = resolve(&text, environment).unwrap();
            let session = connect(&info, &settings("password")).await.unwrap();
            assert_eq!(user(&session).await, role);
        }
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_where_it_came_from() {
    let server = Server::shared();
    for role in ["scram", "md5", "plain"] {
        let error = refused(&format!("{} password=wr0ng", server.tcp(role))).await;
        assert_eq!(error.kind(), Kind::Connect);
        assert!(!error.is_transient());
        assert_says(&error, &["password authentication failed", role], &["from the connection string"]);
    }
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".pgpass");
    write_private(&file, "# mine\n127.0.0.1:*:*:scram:wr0ng\n");
    let environment = Environment::new([], Some(home.path().to_owned()), None);
    let info = resolve(&server.tcp("scram"), &environment).unwrap();
    let error = connect(&info, &settings("password")).await.unwrap_err();
    assert_says(&error, &[], &[&format!("{} line 2", file.display())]);
}

#[tokio::test]
async fn a_missing_password_is_told_where_it_could_be_and_what_was_passed_over() {
    let server = Server::shared();
    for role in ["scram", "md5", "plain"] {
        let error = refused(&server.tcp(role)).await;
        assert_eq!(error.kind(), Kind::Connect);
        assert_says(&error, &["requires a password", "none was given"], &["PGPASSWORD", ".pgpass"]);
    }
    let variables =
        [("PGHOST", "elsewhere"), ("PGPASSWORD", "wr0ng")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let info = resolve(&server.tcp("scram"), &Environment::new(variables, None, None)).unwrap();
    let error = connect(&info, &settings("password")).await.unwrap_err();
    assert_says(&error, &["none was given"], &["the password of PGPASSWORD was not used"]);
}

#[tokio::test]
async fn what_pg_hba_and_the_catalog_refuse_is_explained() {
    let server = Server::shared();
    let error = refused(&server.tcp("denied")).await;
    assert_eq!(error.kind(), Kind::Connect);
    assert_says(&error, &["pg_hba.conf rejects"], &["pg_hba.conf decides"]);

    let error = refused(&format!("{} sslmode=disable", server.tcp("tls_only"))).await;
    assert_says(&error, &["no encryption"], &["sslmode=require"]);
    let error = refused(&server.tcp("nobody_of_that_name")).await;
    assert_says(&error, &["does not exist"], &[]);
    let error = refused(&server.unix("peered")).await;
    assert_says(&error, &["Peer authentication failed"], &["peer", "localhost"]);
    let error = refused(&format!("{} dbname=nowhere", server.tcp("postgres"))).await;
    assert_says(&error, &["\"nowhere\" does not exist"], &["database name"]);
    assert_eq!(error.kind(), Kind::Connect);
}

#[tokio::test]
async fn prefer_does_without_tls_where_only_plain_text_is_let_in() {
    let server = Server::shared();
    let session = connect(&info(&server.tcp("plain_only")), &settings("x")).await.unwrap();
    let encrypted = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    assert_eq!(ask(&session, encrypted).await, "f");
    session.cancel().await;
    let session = connect(&info(&server.tcp("tls_only")), &settings("x")).await.unwrap();
    assert_eq!(ask(&session, encrypted).await, "t");
}

#[tokio::test]
async fn servers_that_are_not_there_are_explained() {
    let port = free_port().unwrap();
    let error = refused(&format!("host=127.0.0.1 port={port} dbname=d user=u")).await;
    assert!(error.is_transient());
    assert_says(&error, &[&format!("127.0.0.1:{port}/d"), "connection refused"], &["listen_addresses"]);

    let error = refused(&format!("host=localhost port={port} dbname=d user=u")).await;
    assert_says(&error, &["refused", "(tried ", &format!("127.0.0.1:{port}")], &[]);

    let error = refused("host=no-such-host.invalid dbname=d user=u").await;
    assert_says(&error, &["no-such-host.invalid does not resolve"], &["spelling"]);

    let error = refused("host=/nonexistent dbname=d user=u").await;
    assert_says(&error, &["/nonexistent", "the socket does not exist"], &["running"]);
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_in_time_and_counts_as_full() {
    // A listener that nobody serves: the kernel takes the connection, and nothing follows.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let start = Instant::now();
    let error =
        refused(&format!("host=127.0.0.1 port={port} user=u sslmode=disable connect_timeout=1")).await;
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert!(error.is_transient() && error.is_out_of_slots());
    assert_says(&error, &["within 1 s", "opened no session"], &["Lower jobs"]);

    let error = refused(&format!("host=127.0.0.1 port={port} user=u connect_timeout=1")).await;
    assert_says(&error, &["no answer within 1 s"], &["connect_timeout"]);
}

#[tokio::test]
async fn the_next_host_is_tried_if_one_does_not_answer_but_not_if_it_refuses() {
    let server = Server::shared();
    let (dead, alive) = (free_port().unwrap(), server.port);
    let hosts = |ports: &str, user: &str| {
        format!("host=127.0.0.1,127.0.0.1 port={ports} dbname=postgres user={user}")
    };
    let session =
        connect(&info(&hosts(&format!("{dead},{alive}"), "postgres")), &settings("x")).await.unwrap();
    assert_eq!(session.label, format!("127.0.0.1:{alive}/postgres"));

    let error = refused(&hosts(&format!("{alive},{dead}"), "denied")).await;
    assert_says(&error, &["pg_hba.conf rejects"], &[]);
    assert!(!error.message().contains(&dead.to_string()), "{error}");

    let error = refused(&hosts(&format!("{dead},{dead}"), "postgres")).await;
    assert_says(&error, &["no host accepts the connection"], &[]);
}

#[tokio::test]
async fn target_session_attrs_choose_by_what_the_server_is() {
    let server = Server::shared();
    let open = async |role: &str, attrs: &str| {
        connect(&info(&format!("{} target_session_attrs={attrs}", server.tcp(role))), &settings("x")).await
    };
    for attrs in ["any", "read-write", "primary", "prefer-standby"] {
        open("postgres", attrs).await.unwrap();
    }
    for attrs in ["read-only", "standby"] {
        let error = open("postgres", attrs).await.unwrap_err();
        assert_says(&error, &["a primary that takes writes", attrs], &["target_session_attrs"]);
    }
    let error = open("ro", "read-write").await.unwrap_err();
    assert_says(&error, &["read-only by default"], &[]);
    assert!(open("ro", "read-only").await.unwrap().read_only);
}

#[tokio::test]
async fn a_role_without_a_free_connection_is_recognised_as_out_of_slots() {
    let server = Server::shared();
    let first = connect(&info(&server.tcp("one")), &settings("x")).await.unwrap();
    let error = refused(&server.tcp("one")).await;
    assert!(error.is_out_of_slots() && error.is_transient(), "{error}");
    assert_says(&error, &["too many connections"], &["lower jobs"]);
    drop(first);
}
