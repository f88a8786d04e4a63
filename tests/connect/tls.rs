//! Which servers are believed, by sslmode and by what they present.

use std::process::Command;

use bulkload::Error;
use bulkload::error::Kind;
use bulkload::pg::session::{Session, connect};

use super::certificates::{Authority, Issued, self_signed};
use super::fixture::{Server, ask, info, settings, write_private};
use super::pgbouncer::PgBouncer;

async fn open(text: &str) -> Result<Session, Error> {
    connect(&info(text), &settings("tls")).await
}

async fn is_encrypted(session: &Session) -> bool {
    ask(session, "select ssl from pg_stat_ssl where pid = pg_backend_pid()").await == "t"
}

fn assert_refused(outcome: Result<Session, Error>, words: &str, hint: &str) {
    let error = outcome.err().unwrap_or_else(|| panic!("believed, but expected: {words}"));
    assert_eq!(error.kind(), Kind::Connect, "{error}");
    assert!(error.message().contains(words), "{error}");
    assert!(error.advice().unwrap_or_default().contains(hint), "{:?}", error.advice());
}

#[tokio::test]
async fn every_mode_believes_what_it_says_and_nothing_more() {
    let server = Server::shared();
    let files = tempfile::tempdir().unwrap();
    let stranger = files.path().join("stranger.crt");
    std::fs::write(&stranger, Authority::new().pem()).unwrap();
    let (right, wrong) = (server.root_file().display().to_string(), stranger.display().to_string());
    let by_name = format!("{} host=localhost hostaddr=127.0.0.1", server.tcp("postgres"));
    let by_address = server.tcp("postgres");
    let by_other_name = format!("{} host=db.example.com hostaddr=127.0.0.1", server.tcp("postgres"));

    for (host, mode, root, believed) in [
        (&by_name, "require", None, true),
        (&by_other_name, "require", None, true),
        (&by_name, "require", Some(&right), true),
        (&by_other_name, "require", Some(&right), true),
        (&by_name, "require", Some(&wrong), false),
        (&by_name, "verify-ca", Some(&right), true),
        (&by_other_name, "verify-ca", Some(&right), true),
        (&by_name, "verify-ca", Some(&wrong), false),
        (&by_name, "verify-full", Some(&right), true),
        (&by_address, "verify-full", Some(&right), true),
        (&by_name, "verify-full", Some(&wrong), false),
    ] {
        let root = root.map(|path| format!("sslrootcert={path}")).unwrap_or_default();
        let text = format!("{host} sslmode={mode} {root}");
        match open(&text).await {
            Ok(session) if believed => assert!(is_encrypted(&session).await, "{text}"),
            Err(_) if believed => panic!("not believed: {text}"),
            outcome => assert_refused(outcome, "is not signed by a trusted authority", "sslrootcert"),
        }
    }
    let outcome = open(&format!("{by_other_name} sslmode=verify-full sslrootcert={right}")).await;
    assert_refused(outcome, "not for db.example.com", "verify-ca");

    let session = open(&format!("{by_name} sslmode=disable")).await.unwrap();
    assert!(!is_encrypted(&session).await);
    let session = open(&by_name).await.unwrap();
    assert!(is_encrypted(&session).await, "prefer takes TLS where there is some");
}

/// One server that presents one certificate after the other.
#[tokio::test]
async fn unusual_certificates_are_judged_as_libpq_would_or_explained() {
    let server = Server::start();
    let files = tempfile::tempdir().unwrap();
    let own = files.path().join("own.crt");
    let host = format!("{} host=localhost hostaddr=127.0.0.1", server.tcp("postgres"));
    let with =
        |mode: &str, root: &std::path::Path| format!("{host} sslmode={mode} sslrootcert={}", root.display());
    let require = format!("{host} sslmode=require");

    for is_ca in [true, false] {
        let issued = self_signed(&["localhost"], is_ca);
        std::fs::write(&own, &issued.certificate).unwrap();
        server.present(&issued);
        open(&with("verify-full", &own)).await.unwrap();
        open(&with("verify-ca", &own)).await.unwrap();
        open(&require).await.unwrap();
        let outcome = open(&with("verify-ca", &server.root_file())).await;
        assert!(outcome.is_err(), "self-signed and not in sslrootcert, is_ca = {is_ca}");
    }

    let issued = self_signed(&["elsewhere"], true);
    std::fs::write(&own, &issued.certificate).unwrap();
    server.present(&issued);
    open(&with("verify-ca", &own)).await.unwrap();
    assert_refused(open(&with("verify-full", &own)).await, "not for localhost", "verify-ca");

    let issued = server.authority.issue_expired(&["localhost"]);
    server.present(&issued);
    assert_refused(open(&with("verify-ca", &server.root_file())).await, "has expired", "clock");
    std::fs::write(&own, &issued.certificate).unwrap();
    assert_refused(open(&with("verify-ca", &own)).await, "has expired", "clock");
    open(&require).await.unwrap();

    let issued = server.authority.issue_without_names("localhost");
    server.present(&issued);
    open(&with("verify-ca", &server.root_file())).await.unwrap();
    assert_refused(open(&with("verify-full", &server.root_file())).await, "subjectAltName", "verify-ca");

    let issued = version_1(files.path());
    std::fs::write(&own, &issued.certificate).unwrap();
    server.present(&issued);
    let session = open(&require).await.unwrap();
    assert!(is_encrypted(&session).await, "version 1 is good enough to encrypt");
    open(&with("verify-ca", &own)).await.unwrap();
    assert_refused(
        open(&with("verify-ca", &server.root_file())).await,
        "cannot verify the server's certificate",
        "version 3",
    );
}

/// A certificate as the manual's recipe with `openssl x509 -req` makes it.
fn version_1(directory: &std::path::Path) -> Issued {
    let (key, request, certificate) =
        (directory.join("v1.key"), directory.join("v1.req"), directory.join("v1.crt"));
    let run = |arguments: &[&str], files: &[(&str, &std::path::Path)]| {
        let mut command = Command::new("openssl");
        command.args(arguments);
        for (flag, path) in files {
            command.arg(flag).arg(path);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(
        &["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"],
        &[("-keyout", &key), ("-out", &request)],
    );
    run(
        &["x509", "-req", "-days", "30", "-sha256"],
        &[("-in", &request), ("-signkey", &key), ("-out", &certificate)],
    );
    let read = |path| std::fs::read_to_string(path).unwrap();
    Issued { certificate: read(&certificate), key: read(&key) }
}

#[tokio::test]
async fn a_client_certificate_logs_in_and_its_absence_is_explained() {
    let server = Server::shared();
    let files = tempfile::tempdir().unwrap();
    let (certificate, key) = (files.path().join("me.crt"), files.path().join("me.key"));
    let issued = server.authority.issue(&["certified"]);
    std::fs::write(&certificate, &issued.certificate).unwrap();
    write_private(&key, &issued.key);
    let text = format!("{} sslmode=require", server.tcp("certified"));
    let ours = format!("{text} sslcert={} sslkey={}", certificate.display(), key.display());
    let session = open(&ours).await.unwrap();
    assert_eq!(ask(&session, "select current_user").await, "certified");
    session.cancel().await;

    assert_refused(open(&text).await, "requires a valid client certificate", "pg_hba.conf");
    let stranger = Authority::new().issue(&["certified"]);
    std::fs::write(&certificate, &stranger.certificate).unwrap();
    write_private(&key, &stranger.key);
    assert_refused(open(&ours).await, "aborted the TLS handshake", "client certificate");
}

#[tokio::test]
async fn require_means_tls_and_a_server_without_it_is_refused() {
    let server = Server::shared();
    // PgBouncer offers no TLS unless it is told to.
    let plain = PgBouncer::start(server, "");
    let text = plain.url();
    assert_refused(open(&format!("{text}?sslmode=require")).await, "does not support TLS", "sslmode=disable");
    open(&text).await.unwrap();
}

#[tokio::test]
async fn tls_versions_can_be_narrowed() {
    let server = Server::shared();
    let version = "select version from pg_stat_ssl where pid = pg_backend_pid()";
    for (setting, expected) in
        [("ssl_max_protocol_version=TLSv1.2", "TLSv1.2"), ("ssl_min_protocol_version=TLSv1.3", "TLSv1.3")]
    {
        let session = open(&format!("{} sslmode=require {setting}", server.tcp("postgres"))).await.unwrap();
        assert_eq!(ask(&session, version).await, expected);
    }
}
