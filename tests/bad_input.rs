//! What cannot work is refused with one message that says where, what and what to do; nothing is touched.

use bulkload::pg::cluster::{Cluster, Options, free_port};

use crate::support::{Bulkload, Db, Pair, fingerprint, pair};

const SCHEMA: &str = "
    create table parent (id int primary key, v text);
    create table child (id int primary key, parent_id int references parent);
    create table plain (id int primary key, v text);
    create view seen as select * from plain";

const ROWS: &str = "
    insert into parent select i, 'v' || i from generate_series(1, 9) i;
    insert into child select i, i from generate_series(1, 9) i;
    insert into plain select i, 'v' || i from generate_series(1, 9) i";

const PLAIN: &str = "[[table]]\nname = 'plain'\n";

/// Two databases with the same tables and rows.
fn world() -> Pair {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run(SCHEMA);
        db.run(ROWS);
    }
    pair
}

/// Everything in a database that a run could change: schemas, relations with their files and rights, functions, rows.
fn state(db: &Db) -> Vec<String> {
    let catalog = db.value(
        "select md5(string_agg(line, ' ' order by line)) from (
             select concat_ws(' ', oid, relname, relkind, relfilenode, relacl, relrowsecurity) from pg_class
             union all select concat_ws(' ', oid, nspname, nspacl) from pg_namespace
             union all select concat_ws(' ', oid, conname, convalidated) from pg_constraint
             union all select concat_ws(' ', oid, proname) from pg_proc) lines (line)",
    );
    let tables = ["parent", "child", "plain"].map(|table| {
        let exists = db.value(&format!("select to_regclass('public.{table}') is not null"));
        if exists == "t" { fingerprint(db, table) } else { "none".to_owned() }
    });
    [vec![catalog], tables.to_vec()].concat()
}

/// `sync` and `plan` say this and nothing else, `check` finds it too, and neither database changes.
#[track_caller]
fn refused(pair: &Pair, program: &Bulkload, message: &str, hint: &str) {
    let before = (state(&pair.source), state(&pair.target));
    for command in ["sync", "plan"] {
        let outcome = program.run(&["-q", command]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{command} {outcome}");
        let lines: Vec<&str> = outcome.stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{command} {outcome}");
        assert_eq!(lines[0], format!("error: {message}"), "{command} {outcome}");
        assert!(lines[1].starts_with("  hint: ") && lines[1].contains(hint), "{command} {outcome}");
    }
    let outcome = program.run(&["-q", "check"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    if outcome.stdout.is_empty() {
        // What is wrong with the file itself.
        assert!(outcome.stderr.starts_with(&format!("error: {message}\n")), "{outcome}");
    } else {
        assert_eq!(outcome.stdout.matches("problem  ").count(), 1, "{outcome}");
        assert!(outcome.stdout.contains(&format!("problem  {message}\n         hint: ")), "{outcome}");
        assert!(outcome.stdout.ends_with("a run cannot start\n"), "{outcome}");
    }
    assert_eq!(before, (state(&pair.source), state(&pair.target)), "something was touched");
}

/// The place of a key in a config that [`Bulkload::config`] has put two lines before.
fn at(line: usize, column: usize) -> String {
    format!("bulkload.toml:{}:{column}", line + 2)
}

#[track_caller]
fn config_refused(pair: &Pair, config: &str, message: &str, hint: &str) {
    refused(pair, &Bulkload::on(pair).config(config), message, hint);
}

#[test]
fn a_config_that_is_wrong_in_itself() {
    let pair = world();
    for (config, place, message, hint) in [
        (
            "[[table]]\nname = 'plain'\nstratagy = 'replace'",
            at(3, 1),
            "unknown key stratagy in [[table]]",
            "strategy",
        ),
        ("[run]\nlock_timeout = '0'\n[[table]]\nname = 'plain'", at(2, 16), "lock_timeout: expected", ""),
        ("[run]\njobs = 1\njobs = 2", at(3, 1), "not valid TOML: duplicate key", ""),
        (
            "run.notify = ['${NO_SUCH}']",
            at(1, 16),
            "the environment variable NO_SUCH is not set",
            "Set NO_SUCH",
        ),
        ("", "bulkload.toml".to_owned(), "no [[table]]: nothing to load", "[[table]]"),
        (
            "[[table]]\nname = 'plain'\n[[table]]\nname = 'plain'",
            at(4, 8),
            "name: the table public.plain is already",
            "",
        ),
    ] {
        let before = state(&pair.target);
        for command in ["sync", "plan", "check", "verify", "status", "clean"] {
            let outcome = Bulkload::on(&pair).config(config).run(&[command]);
            assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{command} {outcome}");
            assert!(outcome.stderr.starts_with(&format!("error: {place}: {message}")), "{place} {outcome}");
            assert!(hint.is_empty() || outcome.stderr.contains(hint), "{outcome}");
        }
        assert_eq!(before, state(&pair.target));
    }
}

#[test]
fn a_table_or_a_column_that_is_not_there() {
    let pair = world();
    let folded = "folded to lower case unless double-quoted";
    let found = "It has \"id\", \"v\".";
    for (config, place, message, hint) in [
        ("[[table]]\nname = 'gone'\nfrom = 'plain'", at(2, 8), "the target has no table public.gone", folded),
        (
            "[[table]]\nname = 'plain'\nfrom = 'Old.Gone'",
            at(3, 8),
            "the source has no table old.gone",
            folded,
        ),
        (
            "[[table]]\nname = 'plain'\ncolumns.skip = ['x']",
            at(3, 17),
            "public.plain: the source has no column x",
            found,
        ),
        (
            "[[table]]\nname = 'plain'\ncolumns.rename = { id = 'x' }",
            at(3, 25),
            "public.plain: the target has no column x",
            found,
        ),
        (
            "[[table]]\nname = 'plain'\ncolumns.set = { x = 1 }",
            at(3, 21),
            "public.plain: the target has no column x",
            found,
        ),
        (
            "[[table]]\nname = 'plain'\nkey = ['x']",
            at(3, 7),
            "public.plain: key column x is not loaded",
            "\"id\", \"v\"",
        ),
    ] {
        config_refused(&pair, config, &format!("{place}: {message}"), hint);
    }
}

#[test]
fn sql_that_the_source_does_not_understand() {
    let pair = world();
    pair.source.run("create schema other; create function other.f() returns int language sql as 'select 1'");
    for (line, column, message) in [
        (
            "where = 'plain.idd > 3'",
            9,
            "the source refuses the extraction: column plain.idd does not exist [42703]",
        ),
        (
            "columns.set = { v = { expr = 'f()' } }",
            21,
            "the source refuses the extraction: function f() does not exist [42883]",
        ),
    ] {
        let config = format!("[[table]]\nname = 'plain'\n{line}\n");
        let outcome = Bulkload::on(&pair).config(&config).run(&["-q", "plan"]);
        assert_eq!(outcome.code, Some(2), "{outcome}");
        let expected = format!("error: {}: public.plain: {message}\n  hint: ", at(3, column));
        assert!(outcome.stderr.starts_with(&expected), "{expected} {outcome}");
    }
    let config = "[[table]]\nname = 'plain'\nquery = 'selec id from plain'";
    let outcome = Bulkload::on(&pair).config(config).run(&["-q", "sync"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.contains(&at(3, 9)) && outcome.stderr.contains("syntax error"), "{outcome}");
}

#[test]
fn schemas_that_drifted_apart() {
    let pair = world();
    pair.target.run("delete from plain; alter table plain add column due date not null");
    config_refused(
        &pair,
        PLAIN,
        &format!(
            "{}: public.plain: nothing fills column due, which is NOT NULL and has no default",
            at(2, 8)
        ),
        "set = { due = ",
    );
    let pair = world();
    pair.source.run("alter table plain add column new_one int");
    config_refused(
        &pair,
        &format!("{PLAIN}columns.extra = 'error'"),
        &format!("{}: public.plain: the target lacks source columns new_one", at(2, 8)),
        "extra = \"warn\"",
    );
    let pair = world();
    pair.source.run("alter table plain rename id to a; alter table plain rename v to b");
    pair.target.run("alter table plain alter id add generated always as identity");
    config_refused(
        &pair,
        PLAIN,
        &format!("{}: public.plain: source and target have no column in common", at(2, 8)),
        "The source has \"a\", \"b\"; the target has \"id\", \"v\".",
    );
}

#[test]
fn what_is_no_table() {
    let pair = world();
    config_refused(
        &pair,
        "[[table]]\nname = 'seen'",
        &format!("{}: public.seen on the target is a view, not a table", at(2, 8)),
        "Name the table",
    );
}

#[test]
fn a_table_that_others_inherit_from() {
    let pair = world();
    pair.target.run(
        "create table heir () inherits (plain); create table \"Heir 2\" (x int) inherits (heir);
         insert into heir (id, v) values (10, 'mine')",
    );
    config_refused(
        &pair,
        PLAIN,
        &format!(
            "{}: public.plain on the target has tables that inherit from it: public.\"Heir 2\", public.heir",
            at(2, 8)
        ),
        "Its rows and theirs would be deleted together.",
    );
    // One that inherits is a table like any other.
    let outcome = Bulkload::on(&pair).config("[[table]]\nname = '\"Heir 2\"'\nfrom = 'plain'\n").sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(pair.target.count("\"Heir 2\""), 9);
    assert_eq!((pair.target.count("only plain"), pair.target.count("only heir")), (9, 1));
}

#[test]
fn a_server_that_cannot_be_reached() {
    let pair = world();
    let port = free_port().unwrap();
    let label = format!("127.0.0.1:{port}/a");
    for (url, message, hint) in [
        (
            format!("postgresql://nobody@{label}"),
            format!("cannot connect to {label}: connection refused"),
            "Check that the server is running",
        ),
        (
            "postgresql://nobody@no-such-host.invalid/a".to_owned(),
            "cannot connect to no-such-host.invalid:5432/a: host name no-such-host.invalid does not resolve"
                .to_owned(),
            "name resolution",
        ),
        (
            pair.target.url().replace(pair.target.name(), "no_such"),
            format!(
                "cannot connect to 127.0.0.1:{}/no_such: database \"no_such\" does not exist",
                pair.target.port()
            ),
            "database name",
        ),
    ] {
        for (side, variable, place) in
            [("source", "SOURCE_DATABASE_URL", "1:14"), ("target", "TARGET_DATABASE_URL", "2:14")]
        {
            let program = Bulkload::on(&pair).env(variable, &url).config(PLAIN);
            let before = state(&pair.target);
            for command in ["sync", "plan"] {
                let outcome = program.run(&["-q", command]);
                assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{outcome}");
                let expected = format!("error: bulkload.toml:{place}: the {side}: {message}");
                assert!(outcome.stderr.starts_with(&expected), "{expected} {outcome}");
                assert!(outcome.stderr.contains(hint), "{outcome}");
            }
            // The other side is looked at all the same.
            let outcome = program.run(&["-q", "check"]);
            assert_eq!(outcome.code, Some(2), "{outcome}");
            assert_eq!(outcome.stdout.matches(": PostgreSQL ").count(), 1, "{outcome}");
            assert!(
                outcome.stdout.contains(&format!("problem  bulkload.toml:{place}: the {side}: {message}")),
                "{outcome}"
            );
            assert_eq!(before, state(&pair.target));
        }
    }
}

#[test]
fn a_password_that_is_wrong_or_missing() {
    let server = Cluster::start(Options::new().password("right")).unwrap();
    let pair = world();
    let url = server.url("postgres");
    for (url, message, hint) in [
        (
            url.replace(":right@", ":wr0ng@"),
            "password authentication failed for user \"postgres\" [28P01]",
            "came from the connection string",
        ),
        (url.replace(":right@", "@"), "password", "~/.pgpass"),
    ] {
        let outcome = Bulkload::on(&pair).env("TARGET_DATABASE_URL", &url).config(PLAIN).run(&["-q", "sync"]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{outcome}");
        assert!(outcome.stderr.starts_with("error: bulkload.toml:2:14: the target: "), "{outcome}");
        assert!(outcome.stderr.contains(message) && outcome.stderr.contains(hint), "{outcome}");
        assert!(!outcome.stderr.contains("wr0ng"), "{outcome}");
    }
}

/// The program on a pair, as a role on the target.
fn as_role(pair: &Pair, role: &str) -> Bulkload {
    Bulkload::on(pair).env("TARGET_DATABASE_URL", &pair.target.url_as(role))
}

#[test]
fn a_role_of_the_source_without_the_right_to_read() {
    let mut pair = world();
    let role = pair.source.role("login");
    let program = Bulkload::on(&pair).env("SOURCE_DATABASE_URL", &pair.source.url_as(&role)).config(PLAIN);
    refused(
        &pair,
        &program,
        &format!("{}: the role {role} has no SELECT on public.plain of the source", at(2, 8)),
        &format!("grant select on public.plain to {role}"),
    );
    pair.source.run(&format!("grant select (id) on plain to {role}"));
    let outcome = program.run(&["-q", "plan"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.contains("SELECT") && outcome.stderr.contains("hint: "), "{outcome}");
    pair.source.run(&format!("grant select on plain to {role}"));
    assert_eq!(program.run(&["-q", "check"]).code, Some(0));
}

#[test]
fn a_role_of_the_target_without_the_rights_that_it_needs() {
    let mut pair = world();
    let role = pair.target.role("login");
    pair.target.run(&format!("create schema staged authorization {role}"));
    refused(
        &pair,
        &as_role(&pair, &role).config(&format!("{PLAIN}[run]\nstaging_schema = 'staged'")),
        &format!(
            "{}: the role {role} has no SELECT and no INSERT and no DELETE on public.plain of the target",
            at(2, 8)
        ),
        &format!("grant select, insert, delete on public.plain to {role}"),
    );
    pair.target.run(&format!("grant select, insert, delete on plain to {role}"));
    let program = as_role(&pair, &role).config(PLAIN);
    refused(
        &pair,
        &program,
        &format!("bulkload.toml:2:14: the role {role} may not create schema \"bulkload\" on the target"),
        &format!("create schema bulkload authorization \"{role}\""),
    );
    pair.target.run(&format!("create schema bulkload authorization {role}"));
    refused(
        &pair,
        &as_role(&pair, &role).config(&format!("{PLAIN}apply = 'truncate'")),
        &format!(
            "{}: public.plain: apply = \"truncate\" is not possible: the role has no TRUNCATE privilege on it",
            at(3, 9)
        ),
        "Possible here: apply = \"delete\"",
    );
    let outcome = program.run(&["-q", "check"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(program.run(&["-q", "sync"]).code, Some(0));
}

#[test]
fn a_staging_schema_that_is_somebody_elses() {
    let mut pair = world();
    let role = pair.target.role("superuser login");
    pair.target.run("create schema bulkload");
    refused(
        &pair,
        &as_role(&pair, &role).config(PLAIN),
        &format!(
            "bulkload.toml:2:14: schema \"bulkload\" on the target belongs to role postgres; \
             it must belong to {role}, because staged rows are private"
        ),
        "staging_schema",
    );
}

#[test]
fn rows_that_row_level_security_would_hide() {
    let mut pair = world();
    let (reader, writer) = (pair.source.role("login"), pair.target.role("login"));
    for (db, role) in [(&pair.source, &reader), (&pair.target, &writer)] {
        db.run(&format!("alter table plain enable row level security; grant all on plain to {role}"));
    }
    let message = |side| {
        format!(
            "{}: row-level security on public.plain of the {side} would hide rows from this role",
            at(2, 8)
        )
    };
    let program = Bulkload::on(&pair).env("SOURCE_DATABASE_URL", &pair.source.url_as(&reader)).config(PLAIN);
    refused(&pair, &program, &message("source"), "BYPASSRLS");
    pair.target.run(&format!("create schema bulkload authorization {writer}"));
    refused(&pair, &as_role(&pair, &writer).config(PLAIN), &message("target"), "BYPASSRLS");
}

#[test]
fn a_source_that_is_the_target_under_whatever_name() {
    let pair = world();
    let source = &pair.source;
    for url in [
        source.url().to_owned(),
        source.socket_url().to_owned(),
        source.url().replace("127.0.0.1", "localhost"),
        format!("host=127.0.0.1 port={} dbname={} user=postgres", source.port(), source.name()),
    ] {
        let program = Bulkload::on(&pair).env("TARGET_DATABASE_URL", &url).config(PLAIN);
        refused(&pair, &program, "bulkload.toml:2:14: source and target are the same database", "two URLs");
    }
}

#[test]
fn a_target_that_is_read_only() {
    let pair = world();
    pair.target.run(&format!("alter database {} set default_transaction_read_only = on", pair.target.name()));
    let message = format!(
        "bulkload.toml:2:14: the target 127.0.0.1:{}/{} is read-only",
        pair.target.port(),
        pair.target.name()
    );
    let program = Bulkload::on(&pair).config(PLAIN);
    let before = (state(&pair.source), state(&pair.target));
    let outcome = program.run(&["-q", "sync"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{outcome}");
    assert!(
        outcome.stderr.starts_with(&format!("error: {message}\n  hint: Connect to the primary")),
        "{outcome}"
    );
    let outcome = program.run(&["-q", "check"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stdout.contains(&format!("problem  {message}\n         hint: ")), "{outcome}");
    let outcome = program.run(&["-q", "plan"]);
    assert_eq!(outcome.code, Some(0), "it changes nothing: {outcome}");
    assert_eq!(before, (state(&pair.source), state(&pair.target)), "something was touched");
}

#[test]
fn a_method_that_cannot_work() {
    let pair = world();
    let outside = "public.child references it (child_parent_id_fkey) and is not part of this run";
    for apply in ["delete", "truncate", "direct"] {
        config_refused(
            &pair,
            &format!("[[table]]\nname = 'parent'\napply = '{apply}'\n"),
            &format!("{}: public.parent: apply = \"{apply}\" is not possible: {outside}", at(3, 9)),
            "Possible here: apply = \"delta\" or \"swap\".",
        );
    }
    let both = "[[table]]\nname = 'parent'\n[[table]]\nname = 'child'\n";
    assert_eq!(Bulkload::on(&pair).config(both).run(&["-q", "check"]).code, Some(0));
    pair.target.run("create materialized view kept as select * from plain");
    config_refused(
        &pair,
        &format!("{PLAIN}apply = 'swap'\n"),
        &format!(
            "{}: public.plain: apply = \"swap\" is not possible: materialized view public.kept depends on it",
            at(3, 9)
        ),
        "Possible here: apply = \"delta\" or \"delete\" or \"truncate\" or \"direct\".",
    );
}

#[test]
fn files_straight_into_a_live_table() {
    let pair = world();
    let program = Bulkload::on(&pair)
        .file("x.csv", "id,v\n1,a\n")
        .config(&format!("{PLAIN}csv = 'x.csv'\napply = 'direct'\nkey = ['id']\n"));
    let outcome = program.run(&["plan"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(
        outcome.stderr.contains("its rows come from files, and bad rows of files are found in staging"),
        "{outcome}"
    );
}

#[test]
fn a_watermark_that_cannot_serve() {
    let pair = world();
    for (watermark, message, hint) in [
        ("['id']", "watermark column id has type integer, which cannot be compared with a time", "\"xmin\""),
        ("['v']", "watermark column v has type text, which cannot be compared with a time", "timestamptz"),
    ] {
        config_refused(
            &pair,
            &format!("{PLAIN}watermark = {watermark}"),
            &format!("{}: public.plain: {message}", at(3, 13)),
            hint,
        );
    }
    config_refused(
        &pair,
        &format!("{PLAIN}from = 'seen'\nwatermark = 'xmin'"),
        &format!(
            "{}: public.plain: watermark = \"xmin\" is not possible: public.seen: it is a view; only rows in a heap of the source itself have an xmin that tells when they were written",
            at(4, 13)
        ),
        "[\"updated_at\"]",
    );
}

#[test]
fn check_and_plan_change_nothing_and_tell_what_matters() {
    let pair = world();
    let database = pair.source.name();
    pair.source.run(&format!("alter database {database} set statement_timeout = '1min'"));
    let before = (state(&pair.source), state(&pair.target));
    let program = Bulkload::on(&pair).config("[[table]]\nname = 'parent'\n[[table]]\nname = 'child'\n");
    let outcome = program.run(&["-q", "check"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{outcome}");
    for line in [
        format!("ok       source 127.0.0.1:{}/{database}: PostgreSQL ", pair.source.port()),
        format!("ok       target 127.0.0.1:{}/{}: PostgreSQL ", pair.target.port(), pair.target.name()),
        "ok       source: statement_timeout=1min is set for the role or database; our sessions override it"
            .to_owned(),
        "ok       target: schema bulkload for staging can be created".to_owned(),
        "ok       2 tables on both sides, to be applied in 1 transaction, loaded by ".to_owned(),
        "note     target: free disk space cannot be seen from here".to_owned(),
        "a run can start".to_owned(),
    ] {
        assert!(outcome.stdout.lines().any(|found| found.starts_with(&line)), "{line}\n{outcome}");
    }
    assert!(outcome.stdout.contains(", role postgres, not encrypted\n"), "{outcome}");
    for args in [&["plan"][..], &["plan", "--json"], &["verify"], &["status"], &["clean"]] {
        let outcome = program.run(args);
        assert_eq!(outcome.code, Some(0), "{outcome}");
    }
    assert_eq!(before, (state(&pair.source), state(&pair.target)));
    // The same is seen by what does change something.
    assert_eq!(program.sync().code, Some(0));
    assert_ne!(before.1, state(&pair.target));
    let outcome = program.run(&["-q", "check"]);
    assert!(outcome.stdout.contains("schema bulkload for staging is there, and ours alone\n"), "{outcome}");
}
