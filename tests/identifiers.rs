//! Names of every kind that PostgreSQL allows, for everything that has a name.

use crate::support::{Bulkload, Db, Session, assert_same_contents, pair};

/// Names that break what does not quote, or quotes wrongly.
fn names() -> Vec<String> {
    let mut names: Vec<String> = [
        "two words",
        " leading and trailing ",
        "with \"double\" quotes",
        "\"",
        "it's",
        "Capitals",
        "select",
        "user",
        "back\\slash",
        "\\",
        "E'\\n",
        "dots.in.it",
        "semi;colon--comment",
        "/* comment */",
        "$1",
        "$$",
        "%s {} %",
        "line\nbreak",
        "tab\t",
        "ünïcödé",
        "日本語",
        "𝄞🎼",
        "ctid2",
        "row(1)",
        "*",
        "0",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push("x".repeat(63));
    names.push("ä".repeat(31));
    names.push(format!("{}\"", "Y".repeat(62)));
    names
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A basic string of TOML.
fn toml(text: &str) -> String {
    let escape = |c: char| match c {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\n' => "\\n".to_owned(),
        '\t' => "\\t".to_owned(),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}

/// Schema, table, columns, key, types, a domain, a collation and a sequence of this name; what would share a namespace with
/// another is in a schema of its own.
fn create(db: &Db, name: &str, number: usize) {
    let (n, types, domains, sequences) =
        (quoted(name), format!("types{number}"), format!("domains{number}"), format!("sequences{number}"));
    let label = literal(&name.chars().take(15).collect::<String>());
    let sequence = literal(&format!("{sequences}.{n}"));
    db.run(&format!(
        "create schema {n}; create schema {types}; create schema {domains}; create schema {sequences};
         create type {types}.{n} as enum ('a', {label});
         create domain {domains}.{n} as int;
         create collation {types}.{n} from \"C\";
         create table {n}.{n} (b {domains}.{n}, {n} int primary key, c text collate {types}.{n}, d {types}.{n}, e {types}.{n}[]);
         create table {sequences}.t ({n} int, b int);
         create sequence {sequences}.{n} owned by {sequences}.t.{n};
         alter table {sequences}.t alter {n} set default nextval({sequence})"
    ));
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[test]
fn names_of_every_kind_work_for_everything_that_has_one() {
    let pair = pair();
    // Other numbers than on the target, so that types have to be found by name.
    pair.source.run("create type shift as enum ('a'); create domain shift_too as int");
    let mut config = String::new();
    for (i, name) in names().iter().enumerate() {
        let n = quoted(name);
        for db in [&pair.source, &pair.target] {
            create(db, name, i);
        }
        pair.source.run(&format!(
            "insert into {n}.{n} values ({i}, 1, {text}, 'a', '{{a,null}}'), (null, 2, null, null, null), (0, -1, '', 'a', '{{}}');
             insert into sequences{i}.t values (41, 1), (7, 2)",
            text = literal(name),
        ));
        let (table, key) = (toml(&format!("{n}.{n}")), toml(&n));
        config.push_str(&format!(
            "[[table]]\nname = {table}\nkey = [{key}]\nwhere = {}\n[table.columns]\nset = {{ {} = {{ expr = {} }} }}\n",
            toml(&format!("{n} > 0")),
            toml(name),
            toml(&format!("{n} * 2")),
        ));
        config.push_str(&format!(
            "[[table]]\nname = 'sequences{i}.t'\n[table.columns]\nrename = {{ {} = 'b' }}\nskip = ['b']\n",
            toml(name)
        ));
        config.push_str(&format!(
            "default = {{ {} = {{ expr = {} }} }}\n",
            toml(name),
            toml(&format!("{n} + 1"))
        ));
    }
    let outcome = Bulkload::on(&pair).config(&config).sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    for (i, name) in names().iter().enumerate() {
        let n = quoted(name);
        let rows = |db: &Db, sql: &str| db.rows(sql);
        assert_eq!(
            rows(&pair.source, &format!("select b, {n} * 2, c, d, e from {n}.{n} where {n} > 0 order by 2")),
            rows(&pair.target, &format!("select b, {n}, c, d, e from {n}.{n} order by 2")),
            "{name}"
        );
        let moved = format!("select string_agg(b || ' ' || {n}, ', ' order by b) from sequences{i}.t");
        assert_eq!(pair.target.value(&moved), "7 8, 41 42", "{name}");
        let next = format!("select nextval({})", literal(&format!("sequences{i}.{n}")));
        assert_eq!(pair.target.value(&next), "43", "{name}");
    }
}

#[test]
fn long_names_with_one_beginning_do_not_collide_in_staging() {
    let pair = pair();
    let stems: Vec<String> = ["a", "b", "Ü"].iter().map(|end| format!("{}{end}", "x".repeat(61))).collect();
    let mut tables: Vec<String> = stems.iter().map(|name| format!("public.{}", quoted(name))).collect();
    tables.push(format!("other.{}", quoted(&stems[0])));
    let mut config = "run.chunk = '8KiB'\nrun.jobs = 4\n".to_owned();
    for (i, table) in tables.iter().enumerate() {
        for db in [&pair.source, &pair.target] {
            db.run(&format!("create schema if not exists other; create table {table} (id int)"));
        }
        pair.source.run(&format!("insert into {table} select {i} from generate_series(1, 3000)"));
        config.push_str(&format!("[[table]]\nname = {}\n", toml(table)));
    }
    let outcome = Bulkload::on(&pair).config(&config).sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    for table in &tables {
        assert_same_contents(&pair.source, &pair.target, table);
    }
}

#[test]
fn roles_of_every_kind_of_name_can_read_and_write() {
    for name in ["Rôle \"with\" @:/?#&=%\\ 'quotes'", "select", "two  words", "日本"] {
        let mut pair = pair();
        let mut env = Vec::new();
        for (db, variable) in
            [(&mut pair.source, "SOURCE_DATABASE_URL"), (&mut pair.target, "TARGET_DATABASE_URL")]
        {
            let role = quoted(name);
            db.role_named(name, "login");
            db.run(&format!(
                "grant create on database {} to {role}; grant create, usage on schema public to {role}; set role {role};
                 create table t (id int primary key, t text default current_user)",
                db.name()
            ));
            env.push((variable, db.url_as(&percent_encoded(name))));
        }
        pair.source.run("insert into t values (1)");
        let mut program = Bulkload::new();
        for (variable, url) in &env {
            program = program.env(variable, url);
        }
        let program = program.config("[[table]]\nname = 't'\n");
        for _ in 0..2 {
            let outcome = program.sync();
            assert_eq!(outcome.code, Some(0), "{name}\n{outcome}");
        }
        assert_eq!(pair.target.value("select count(*) from t"), "1");
        let owner = "select distinct tableowner from pg_tables where schemaname in ('bulkload', 'public')";
        assert_eq!(Session::open(pair.target.socket_url()).value(owner), name);
    }
}

/// As a part of a URI.
fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
