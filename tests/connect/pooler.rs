//! PgBouncer in each of its modes, and the server itself.

use std::time::{Duration, Instant};

use bulkload::error::Kind;
use bulkload::pg::pooler::refuse_transaction_pooling;
use bulkload::pg::session::{SessionSettings, connect};

use super::fixture::{Server, ask, info, settings};
use super::pgbouncer::PgBouncer;

fn probe() -> SessionSettings {
    let mut settings = settings("pooler");
    settings.connect_timeout = Duration::from_secs(3);
    settings
}

#[tokio::test]
async fn transaction_and_statement_pooling_are_refused_with_the_servers_address() {
    let server = Server::shared();
    for extra in [
        "pool_mode = transaction\ndefault_pool_size = 10",
        "pool_mode = transaction\ndefault_pool_size = 10\nserver_round_robin = 1",
        "pool_mode = transaction\ndefault_pool_size = 2",
        "pool_mode = transaction\ndefault_pool_size = 1",
        "pool_mode = statement\ndefault_pool_size = 10",
    ] {
        let pooler = PgBouncer::start(server, extra);
        let error = refuse_transaction_pooling(&info(&pooler.url()), &probe()).await.expect_err(extra);
        assert_eq!(error.kind(), Kind::Connect, "{extra}: {error}");
        assert!(error.message().contains("transaction pooler"), "{extra}: {error}");
        let hint = error.advice().unwrap();
        assert!(hint.contains(&format!("port {}", server.port)), "{extra}: {hint}");
        assert!(hint.contains("pool_mode = session"), "{hint}");
    }
}

/// Several idle server connections, most recently used first or in turn: neither order may hide the pooling.
#[tokio::test]
async fn a_warm_pool_does_not_hide_its_mode() {
    let server = Server::shared();
    for round_robin in [0, 1] {
        let pooler = PgBouncer::start(
            server,
            &format!("pool_mode = transaction\ndefault_pool_size = 8\nserver_round_robin = {round_robin}"),
        );
        let busy = async |n: u32| {
            let client = tokio_postgres::connect(&pooler.url(), tokio_postgres::NoTls).await.unwrap();
            let (client, connection) = client;
            tokio::spawn(connection);
            client.simple_query(&format!("select pg_sleep(0.3), {n}")).await.unwrap();
        };
        tokio::join!(busy(1), busy(2), busy(3), busy(4), busy(5));
        for _ in 0..5 {
            refuse_transaction_pooling(&info(&pooler.url()), &probe()).await.unwrap_err();
        }
    }
}

#[tokio::test]
async fn the_probe_sets_nothing_on_the_servers_connections() {
    let server = Server::shared();
    let pooler = PgBouncer::start(server, "pool_mode = transaction\ndefault_pool_size = 1");
    refuse_transaction_pooling(&info(&pooler.url()), &probe()).await.unwrap_err();
    let (client, connection) = tokio_postgres::connect(&pooler.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let row =
        client.simple_query("select current_setting('search_path'), current_setting('row_security')").await;
    let shown: Vec<String> = row
        .unwrap()
        .iter()
        .filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => {
                Some(format!("{:?} {:?}", row.get(0), row.get(1)))
            }
            _ => None,
        })
        .collect();
    assert_eq!(shown, [r#"Some("\"$user\", public") Some("on")"#]);
}

#[tokio::test]
async fn servers_and_session_poolers_pass_quickly() {
    let server = Server::shared();
    let pooler = PgBouncer::start(server, "pool_mode = session\ndefault_pool_size = 10");
    for text in [server.tcp("postgres"), server.unix("postgres"), pooler.url()] {
        refuse_transaction_pooling(&info(&text), &probe()).await.unwrap();
        let start = Instant::now();
        refuse_transaction_pooling(&info(&text), &probe()).await.unwrap();
        assert!(start.elapsed() < Duration::from_millis(500), "{text}: {:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_session_works_through_a_session_pooler() {
    let server = Server::shared();
    let pooler = PgBouncer::start(server, "pool_mode = session\ndefault_pool_size = 10");
    let session = connect(&info(&pooler.url()), &settings("pooled")).await.unwrap();
    assert_eq!(ask(&session, "show search_path").await, "\"\"");
    assert_eq!(ask(&session, "select pg_backend_pid()").await, session.backend_pid.to_string());
    let cancel = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        session.cancel().await;
    };
    let (outcome, ()) = tokio::join!(session.client.batch_execute("select pg_sleep(20)"), cancel);
    assert!(outcome.is_err());
}

#[tokio::test]
async fn a_full_session_pooler_is_out_of_slots_and_not_a_transaction_pooler() {
    let server = Server::shared();
    for extra in [
        "pool_mode = session\ndefault_pool_size = 1",
        "pool_mode = session\ndefault_pool_size = 1\nquery_wait_timeout = 1",
        "pool_mode = session\ndefault_pool_size = 1\nmax_client_conn = 1",
    ] {
        let pooler = PgBouncer::start(server, extra);
        refuse_transaction_pooling(&info(&pooler.url()), &probe()).await.expect(extra);
        // The probe's own connections may still be on their way out.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let first = connect(&info(&pooler.url()), &probe()).await.expect(extra);
        let error = connect(&info(&pooler.url()), &probe()).await.expect_err(extra);
        assert!(error.is_out_of_slots() && error.is_transient(), "{extra}: {error}");
        assert!(error.advice().unwrap().to_lowercase().contains("lower jobs"), "{error}");
        drop(first);
    }
}
