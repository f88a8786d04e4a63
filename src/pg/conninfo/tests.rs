use super::*;

/// An environment with these variables, a home directory and the user `me`.
fn environment(variables: &[(&str, &str)], home: Option<&Path>) -> Environment {
    let variables = variables.iter().map(|&(k, v)| (k.to_owned(), v.to_owned()));
    Environment::new(variables, home.map(Path::to_owned), Some("me".to_owned()))
}

fn resolve(text: &str, variables: &[(&str, &str)]) -> Result<ConnInfo> {
    ConnInfo::resolve(&Secret::new(text.to_owned()), &environment(variables, None))
}

fn password(info: &ConnInfo) -> Option<&str> {
    info.endpoints[0].password.as_ref().map(Secret::expose)
}

fn mode(info: &ConnInfo) -> SslMode {
    info.endpoints[0].tls.as_ref().map_or(SslMode::Disable, |tls| tls.mode)
}

fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn the_string_wins_over_the_service_and_the_service_over_variables() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join(".pg_service.conf"), "[s]\nhost=svc\nport=2\ndbname=d2\n").unwrap();
    let variables = [("PGHOST", "env"), ("PGPORT", "3"), ("PGDATABASE", "d3"), ("PGUSER", "u3")];
    let resolve = |text: &str| {
        ConnInfo::resolve(&Secret::new(text.to_owned()), &environment(&variables, Some(home.path()))).unwrap()
    };
    let info = resolve("service=s port=1");
    assert_eq!((info.label().as_str(), info.user.as_str()), ("svc:1/d2", "u3"));
    assert_eq!(resolve("").label(), "env:3/d3");
    assert_eq!(resolve("postgres:///d1?service=s").label(), "svc:2/d1");
}

#[test]
fn what_nobody_says_has_libpqs_defaults() {
    let info = resolve("host=localhost", &[]).unwrap();
    assert_eq!((info.label().as_str(), info.user.as_str()), ("localhost:5432/me", "me"));
    let info = resolve("postgres://you@localhost", &[]).unwrap();
    assert_eq!(info.dbname, "you");
    assert!(matches!(resolve("", &[]).unwrap().endpoints[0].host, Host::Unix(_)));
}

#[test]
fn pgpassword_goes_only_to_the_host_it_is_meant_for() {
    let variables = [("PGHOST", "source.example"), ("PGPASSWORD", "pw-of-source")];
    assert_eq!(password(&resolve("dbname=d", &variables).unwrap()), Some("pw-of-source"));
    assert_eq!(password(&resolve("postgres://source.example/d", &variables).unwrap()), Some("pw-of-source"));

    let other = resolve("postgres://target.example/d", &variables).unwrap();
    assert_eq!(password(&other), None);
    assert!(other.notes[0].contains("PGPASSWORD"), "{:?}", other.notes);
    let no_pghost = resolve("postgres://target.example/d", &variables[1..]).unwrap();
    assert_eq!(password(&no_pghost), None);
}

#[test]
fn pghostaddr_does_not_redirect_a_host_that_the_string_names() {
    let variables = [("PGHOST", "a.example"), ("PGHOSTADDR", "192.0.2.1")];
    let address = |text: &str| match &resolve(text, &variables).unwrap().endpoints[0].host {
        Host::Tcp { address, .. } => *address,
        Host::Unix(_) => None,
    };
    assert_eq!(address("host=b.example"), None);
    assert_eq!(address("host=a.example"), Some("192.0.2.1".parse().unwrap()));
    assert_eq!(address(""), Some("192.0.2.1".parse().unwrap()));
}

#[test]
fn the_password_of_a_service_in_the_environment_stays_with_its_host() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join(".pg_service.conf"), "[s]\nhost=svc\npassword=pw\nuser=su\n").unwrap();
    let environment = environment(&[("PGSERVICE", "s")], Some(home.path()));
    let resolve = |text: &str| ConnInfo::resolve(&Secret::new(text.to_owned()), &environment).unwrap();
    assert_eq!(password(&resolve("")), Some("pw"));
    assert_eq!(password(&resolve("host=svc")), Some("pw"));
    assert_eq!(password(&resolve("host=elsewhere")), None);
    assert_eq!(password(&resolve("host=elsewhere service=s")), Some("pw"), "asked for by name");
}

#[test]
fn each_host_gets_its_own_password_from_the_password_file() {
    let home = tempfile::tempdir().unwrap();
    write_private(&home.path().join(".pgpass"), "a:1:*:me:pw-a\nb:2:*:me:pw-b\nlocalhost:*:*:*:pw-l\n");
    let environment = environment(&[], Some(home.path()));
    let resolve = |text: &str| ConnInfo::resolve(&Secret::new(text.to_owned()), &environment).unwrap();
    let info = resolve("host=a,b,c port=1,2,2");
    let passwords: Vec<_> =
        info.endpoints.iter().map(|e| e.password.as_ref().map(|p| p.expose().to_owned())).collect();
    assert_eq!(passwords, [Some("pw-a".to_owned()), Some("pw-b".to_owned()), None]);
    assert!(info.endpoints[1].password_from.ends_with(".pgpass line 2"));
    assert_eq!(password(&resolve("host=/var/run/postgresql")), Some("pw-l"));
    assert_eq!(password(&resolve("host=a port=1 password=mine")), Some("mine"));
}

#[test]
fn a_remote_host_is_never_spoken_to_in_plain_text_unless_asked() {
    for (text, expected) in [
        ("host=db.example.com", SslMode::Require),
        ("host=192.0.2.1", SslMode::Require),
        ("host=localhost", SslMode::Prefer),
        ("host=127.0.0.1", SslMode::Prefer),
        ("host=::1", SslMode::Prefer),
        ("host=db.example.com hostaddr=127.0.0.1", SslMode::Prefer),
        ("host=localhost hostaddr=192.0.2.1", SslMode::Require),
        ("host=/tmp sslmode=require", SslMode::Disable),
        ("host=db.example.com sslmode=disable", SslMode::Disable),
        ("host=db.example.com sslmode=allow", SslMode::Prefer),
    ] {
        assert_eq!(mode(&resolve(text, &[]).unwrap()), expected, "{text}");
    }
    let info = resolve("host=localhost,db.example.com", &[]).unwrap();
    assert_eq!(info.endpoints[1].tls.as_ref().unwrap().mode, SslMode::Require);
    assert_eq!(mode(&resolve("host=db.example.com", &[("PGSSLMODE", "disable")]).unwrap()), SslMode::Disable);
}

#[test]
fn trusted_roots_make_require_verify_the_authority() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root.crt");
    let made = rcgen::generate_simple_self_signed(vec!["db".to_owned()]).unwrap();
    std::fs::write(&root, made.cert.pem()).unwrap();
    let root = root.display();
    assert_eq!(
        mode(&resolve(&format!("host=h sslmode=require sslrootcert={root}"), &[]).unwrap()),
        SslMode::VerifyCa
    );
    assert_eq!(mode(&resolve(&format!("host=h sslrootcert={root}"), &[]).unwrap()), SslMode::VerifyCa);
    for bad in [
        "host=h sslmode=verify-full".to_owned(),
        "host=h sslrootcert=/nonexistent".to_owned(),
        format!("host=h sslmode=require sslrootcert={}", directory.path().display()),
        "host=h sslrootcert=system sslmode=require".to_owned(),
        "host=localhost sslnegotiation=direct".to_owned(),
        "host=h sslmode=verify_full".to_owned(),
    ] {
        let error = resolve(&bad, &[]).unwrap_err();
        assert_eq!(error.kind(), Kind::Config, "{bad}");
    }
}

#[test]
fn the_default_root_file_is_used_as_in_libpq() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join(".postgresql")).unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["db".to_owned()]).unwrap();
    std::fs::write(home.path().join(".postgresql/root.crt"), made.cert.pem()).unwrap();
    let text = Secret::new("host=h sslmode=verify-full".to_owned());
    let info = ConnInfo::resolve(&text, &environment(&[], Some(home.path()))).unwrap();
    assert_eq!(mode(&info), SslMode::VerifyFull);
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let (cert, key) = (directory.path().join("c.crt"), directory.path().join("c.key"));
    let made = rcgen::generate_simple_self_signed(vec!["me".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    write_private(&key, &made.signing_key.serialize_pem());
    let text = format!("host=h sslcert={} sslkey={}", cert.display(), key.display());
    assert!(resolve(&text, &[]).is_ok());
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = resolve(&text, &[]).unwrap_err();
    assert!(error.advice().unwrap().contains("chmod 600"), "{error}");
}

#[test]
fn bad_values_say_what_was_expected() {
    for (text, word) in [
        ("host=a,b port=1,2,3", "3 ports for 2 hosts"),
        ("host=a,b hostaddr=127.0.0.1", "hostaddr"),
        ("hostaddr=localhost", "IP address"),
        ("port=0", "1 to 65535"),
        ("port=70000", "1 to 65535"),
        ("connect_timeout=5s", "seconds"),
        ("target_session_attrs=rw", "target_session_attrs"),
        ("channel_binding=maybe", "channel_binding"),
        ("service=nowhere", "nowhere"),
        ("sslmod=require", "\"sslmod\""),
    ] {
        let error = resolve(text, &[]).unwrap_err();
        assert!(error.message().contains(word), "{text}: {error}");
    }
}

#[test]
fn timeouts_are_seconds_and_zero_means_none() {
    let limit = |text: &str| resolve(text, &[]).unwrap().connect_timeout;
    assert_eq!(limit("connect_timeout=7"), Some(Duration::from_secs(7)));
    assert_eq!(limit("connect_timeout=0"), Some(Duration::MAX));
    assert_eq!(limit(""), None);
}

#[test]
fn no_password_is_shown_by_debug_label_or_error() {
    let variables = [("PGPASSWORD", "s3cret-env")];
    let info = resolve("postgres://me:s3cret%21@localhost:1/d", &variables).unwrap();
    assert_eq!(password(&info), Some("s3cret!"));
    let shown = format!("{info:?} {} {:?}", info.label(), environment(&variables, None));
    assert!(!shown.contains("s3cret"), "{shown}");
    assert_eq!(info.label(), "localhost:1/d");

    // The credentials are taken for host and port: libpq would quote them.
    let error = resolve("postgres://me:s3cret/rest", &[]).unwrap_err();
    assert!(!format!("{error}{error:?}").contains("s3cret"), "{error}");
}

#[test]
fn ipv6_and_socket_hosts_have_readable_labels() {
    assert_eq!(resolve("postgres://[::1]:6000/d", &[]).unwrap().label(), "[::1]:6000/d");
    assert_eq!(resolve("postgres://%2Frun%2Fpg/d", &[]).unwrap().label(), "/run/pg:5432/d");
}
