//! What a session is, and how it ends.

use std::time::Duration;

use bulkload::pg::cluster::Binaries;
use bulkload::pg::session::{SessionSettings, Side, connect};
use tokio_postgres::error::SqlState;

use super::fixture::{Server, ask, info, settings, wait_until_gone};

/// A role that has everything set to something else.
const HOSTILE: &str = "
create role hostile login;
alter role hostile set client_encoding = 'LATIN1';
alter role hostile set datestyle = 'German, DMY';
alter role hostile set intervalstyle = 'iso_8601';
alter role hostile set timezone = 'America/New_York';
alter role hostile set extra_float_digits = -3;
alter role hostile set bytea_output = 'escape';
alter role hostile set xmloption = 'document';
alter role hostile set array_nulls = off;
alter role hostile set row_security = on;
alter role hostile set standard_conforming_strings = off;
alter role hostile set default_transaction_isolation = 'serializable';
alter role hostile set default_transaction_read_only = on;
alter role hostile set statement_timeout = '1s';
alter role hostile set lock_timeout = '1s';
alter role hostile set idle_in_transaction_session_timeout = '1s';
alter role hostile set idle_session_timeout = '1s';
alter role hostile set search_path = pg_temp, public;
alter role hostile set synchronous_commit = off;
";

#[tokio::test]
async fn what_the_role_sets_does_not_reach_our_statements() {
    let server = Server::shared();
    server.admin().await.client.batch_execute(HOSTILE).await.unwrap();
    let mut settings = SessionSettings::new(Side::Target, "bulkload/run/apply");
    settings.lock_timeout = Duration::from_millis(500);
    let session = connect(&info(&server.tcp("hostile")), &settings).await.unwrap();
    for (name, expected) in [
        ("application_name", "bulkload/run/apply"),
        ("client_encoding", "UTF8"),
        ("datestyle", "ISO, DMY"),
        ("intervalstyle", "postgres"),
        ("timezone", "UTC"),
        ("extra_float_digits", "3"),
        ("bytea_output", "hex"),
        ("lc_monetary", "C"),
        ("xmloption", "content"),
        ("array_nulls", "on"),
        ("row_security", "off"),
        ("standard_conforming_strings", "on"),
        ("default_transaction_isolation", "read committed"),
        ("default_transaction_read_only", "off"),
        ("statement_timeout", "0"),
        ("lock_timeout", "500ms"),
        ("idle_in_transaction_session_timeout", "0"),
        ("idle_session_timeout", "0"),
        ("client_connection_check_interval", "500ms"),
        ("tcp_keepalives_idle", "30"),
        ("tcp_keepalives_interval", "10"),
        ("tcp_keepalives_count", "3"),
        ("search_path", ""),
        // The user's own choice of durability stays.
        ("synchronous_commit", "off"),
    ] {
        let shown = ask(&session, &format!("show {name}")).await;
        assert_eq!(shown.trim_matches('"'), expected, "{name}");
    }
    assert!(session.read_only, "the server's own default is still to be known");
    assert_eq!(session.server_version / 10_000, Binaries::find().unwrap().major());
    assert_eq!(ask(&session, "select pg_backend_pid()").await, session.backend_pid.to_string());

    let settings = SessionSettings::new(Side::Source, "bulkload/run/extract").for_users_sql();
    let session = connect(&info(&server.tcp("hostile")), &settings).await.unwrap();
    assert_eq!(ask(&session, "show timezone").await, "America/New_York");
    assert_eq!(ask(&session, "show search_path").await, "pg_temp, public");
}

#[tokio::test]
async fn cancel_ends_the_running_statement_and_nothing_after_it() {
    let server = Server::shared();
    for text in [
        server.unix("postgres"),
        format!("{} sslmode=disable", server.tcp("postgres")),
        format!("{} sslmode=require", server.tcp("postgres")),
    ] {
        let session = connect(&info(&text), &settings("cancel")).await.unwrap();
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            session.cancel().await;
        };
        let (outcome, ()) = tokio::join!(session.client.batch_execute("select pg_sleep(20)"), cancel);
        assert_eq!(outcome.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED), "{text}");
        session.cancel().await;
        assert_eq!(ask(&session, "select 1").await, "1");
    }
}

#[tokio::test]
async fn a_dropped_session_leaves_no_backend_even_in_the_middle_of_a_statement() {
    let server = Server::shared();
    let admin = server.admin().await;
    let idle = connect(&info(&server.tcp("postgres")), &settings("idle")).await.unwrap();
    let pid = idle.backend_pid;
    drop(idle);
    wait_until_gone(&admin, pid, Duration::from_secs(2)).await;

    let busy = connect(&info(&server.tcp("postgres")), &settings("busy")).await.unwrap();
    let pid = busy.backend_pid;
    let question = busy.client.batch_execute("select pg_sleep(60)");
    assert!(tokio::time::timeout(Duration::from_millis(200), question).await.is_err());
    drop(busy);
    wait_until_gone(&admin, pid, Duration::from_secs(5)).await;
}

#[tokio::test]
async fn nothing_that_the_server_shows_of_us_has_the_password() {
    let server = Server::shared();
    let text = format!("{} password='p@s:s/w%o\\'r\"d\\\\ ?#&=ü'", server.tcp("scram"));
    let session = connect(&info(&text), &settings("secret")).await.unwrap();
    let sql = format!("select a::text from pg_stat_activity a where pid = {}", session.backend_pid);
    let shown = ask(&server.admin().await, &sql).await;
    assert!(shown.contains("bulkload/test/secret"), "{shown}");
    assert!(!shown.contains("p@s:s"), "{shown}");
    assert!(!format!("{session:?}").contains("p@s:s"));
}
