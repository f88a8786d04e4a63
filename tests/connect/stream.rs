//! The bare transport behind an authenticated session.

use std::time::Duration;

use bulkload::pg::session::{Stream, open_stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::fixture::{PASSWORD, Server, info, settings, wait_until_gone};

/// Sends a simple query by hand and reads tags and bodies up to ReadyForQuery.
async fn ask_by_hand(stream: &mut Stream, sql: &str) -> Vec<(u8, Vec<u8>)> {
    let mut query = vec![b'Q'];
    query.extend(u32::try_from(sql.len() + 5).unwrap().to_be_bytes());
    query.extend(sql.as_bytes());
    query.push(0);
    stream.transport.write_all(&query).await.unwrap();
    stream.transport.flush().await.unwrap();
    let mut messages = Vec::new();
    loop {
        let tag = stream.transport.read_u8().await.unwrap();
        let length = stream.transport.read_u32().await.unwrap() as usize - 4;
        let mut body = vec![0; length];
        stream.transport.read_exact(&mut body).await.unwrap();
        messages.push((tag, body));
        if tag == b'Z' {
            return messages;
        }
    }
}

fn tags(messages: &[(u8, Vec<u8>)]) -> String {
    messages.iter().map(|(tag, _)| char::from(*tag)).collect()
}

/// The same server over every kind of transport, with channel binding where there is TLS and a password.
fn everywhere(server: &Server) -> [String; 4] {
    let password = PASSWORD.replace('\\', r"\\").replace('\'', r"\'");
    [
        server.unix("postgres"),
        format!("{} sslmode=disable", server.tcp("postgres")),
        format!(
            "{} sslmode=verify-full sslrootcert={}",
            server.tcp("postgres"),
            server.root_file().display()
        ),
        format!("{} sslmode=require channel_binding=require password='{password}'", server.tcp("scram")),
    ]
}

#[tokio::test]
async fn a_query_written_by_hand_is_answered_over_every_transport() {
    let server = Server::shared();
    for text in everywhere(server) {
        let mut stream = open_stream(&info(&text), &settings("stream")).await.unwrap();
        assert_eq!(stream.transport.is_tls(), text.contains("verify-full") || text.contains("require"));
        let pid = stream.backend_pid.to_string();
        // The first bytes are the answer's own: nothing was left unread, nothing was eaten.
        let answer = ask_by_hand(&mut stream, "select pg_backend_pid()").await;
        assert_eq!(tags(&answer), "TDCZ", "{text}");
        assert!(answer[1].1.ends_with(pid.as_bytes()), "{text}");
        assert_eq!(answer[3].1, b"I");
        let answer = ask_by_hand(&mut stream, "show search_path; show application_name").await;
        assert_eq!(tags(&answer), "TDCTDCZ");
        assert!(answer[4].1.ends_with(b"bulkload/test/stream"), "the settings are in force");
    }
}

#[tokio::test]
async fn a_stream_can_be_cancelled_and_goes_on() {
    let server = Server::shared();
    for text in everywhere(server) {
        let mut stream = open_stream(&info(&text), &settings("stream")).await.unwrap();
        let cancel = stream.cancel.clone();
        let later = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            cancel.cancel().await;
        };
        let (answer, ()) = tokio::join!(ask_by_hand(&mut stream, "select pg_sleep(20)"), later);
        assert_eq!(tags(&answer).trim_start_matches('T'), "EZ", "{text}");
        assert!(answer.iter().any(|(tag, body)| *tag == b'E' && body.windows(5).any(|w| w == b"57014")));
        assert_eq!(tags(&ask_by_hand(&mut stream, "select 1").await), "TDCZ");
    }
}

#[tokio::test]
async fn a_closed_or_dropped_stream_leaves_no_backend() {
    let server = Server::shared();
    let admin = server.admin().await;
    for text in everywhere(server) {
        let stream = open_stream(&info(&text), &settings("stream")).await.unwrap();
        let pid = stream.backend_pid;
        stream.close().await;
        wait_until_gone(&admin, pid, Duration::from_secs(2)).await;
        let stream = open_stream(&info(&text), &settings("stream")).await.unwrap();
        let pid = stream.backend_pid;
        drop(stream);
        wait_until_gone(&admin, pid, Duration::from_secs(2)).await;
    }
}

#[tokio::test]
async fn a_large_answer_passes_through_every_transport_unharmed() {
    let server = Server::shared();
    for text in everywhere(server) {
        let mut stream = open_stream(&info(&text), &settings("stream")).await.unwrap();
        let answer = ask_by_hand(&mut stream, "select repeat('x', 3000000)").await;
        // Two bytes for the number of columns, four for the length of the value.
        assert_eq!(answer[1].1.len(), 3_000_006, "{text}");
        assert!(answer[1].1[6..].iter().all(|byte| *byte == b'x'));
    }
}
