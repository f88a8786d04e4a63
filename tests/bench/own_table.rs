//! A bench of a table of the user's: it is only read.

use super::{assert_tidy, json};
use crate::support::{Bulkload, fingerprint, pair};

/// Tells this test's password from whatever else runs on the machine.
const PASSWORD: &str = "bench-own-table-s3cret";

/// Command lines of all processes that have `word` in them.
fn command_lines_with(word: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let texts = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    texts.map(|text| String::from_utf8_lossy(&text).into_owned()).filter(|text| text.contains(word)).collect()
}

#[test]
fn a_table_of_the_config_is_measured_as_its_config_says_and_nobody_sees_it() {
    let pair = pair();
    let tables = "create table people (id int primary key, name text);
        create type mood as enum ('low', 'high');
        create sequence numbers;
        create table orders (id int primary key, parent int references orders, person int references people,
            mood mood, total numeric(9, 2), place text not null, number bigint not null default nextval('numbers'));
        create index on orders (person);";
    for db in [&pair.source, &pair.target] {
        db.run(tables);
        db.run("insert into people select i, 'p' || i from generate_series(1, 100) i");
    }
    pair.source.run(
        "insert into orders select i, nullif(i - 1, 0), 1 + i % 100, 'low', i, 'here' from generate_series(1, 2000) i",
    );
    pair.target.run("insert into orders values (1, null, 1, 'high', 1, 'there', 7)");
    let before = [&pair.source, &pair.target].map(|db| fingerprint(db, "orders"));
    let numbers = pair.target.value("select last_value || ' ' || is_called from numbers");

    let with_password = |url: &str| url.replace("postgres@", &format!("postgres:{PASSWORD}@"));
    let program = Bulkload::new()
        .env("SOURCE_DATABASE_URL", &with_password(pair.source.url()))
        .env("TARGET_DATABASE_URL", &with_password(pair.target.url()))
        .config(
            "[run]\njobs = 2\nnotify = ['loaded=yes']\n[[table]]\nname = 'people'\n[[table]]\nname = 'orders'\n\
             columns.skip = ['number']\ncolumns.set = { place = '${HOME}' }\n",
        );
    let args = ["--chunk=64KiB", "--repeat=2", "--apply=auto,delete", "--json=bench.json"];
    let mut running = program.spawn(&[&["bench", "--table", "orders"], &args[..]].concat());
    let mut seen = Vec::new();
    while running.is_running() {
        seen.extend(command_lines_with(PASSWORD));
        std::thread::sleep(std::time::Duration::from_millis(3));
    }
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(seen, Vec::<String>::new());
    assert!(!outcome.stderr.contains(PASSWORD) && !outcome.stdout.contains(PASSWORD), "{outcome}");

    let findings = json(&program);
    assert_eq!(findings["scenario"]["table"], "public.orders");
    assert_eq!(
        (&findings["scenario"]["rows"], &findings["scenario"]["made_up"]),
        (&2000.into(), &false.into())
    );
    assert_eq!(findings["settings"][0]["jobs"], 2);
    assert!(findings["settings"].as_array().unwrap().iter().any(|s| s["method"] == "delete"), "{outcome}");
    assert_eq!(before, [&pair.source, &pair.target].map(|db| fingerprint(db, "orders")));
    assert_eq!(numbers, pair.target.value("select last_value || ' ' || is_called from numbers"));
    assert_tidy(&pair);
}

#[test]
fn a_table_from_csv_files_is_refused() {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run("create table t (id int primary key)");
    }
    let program = Bulkload::on(&pair).config("[[table]]\nname = 't'\ncsv = 'x.csv'\n");
    let outcome = program.run(&["bench", "--table", "t"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{outcome}");
    assert!(outcome.stderr.contains("bench cannot measure a table that comes from CSV files"), "{outcome}");
    assert_tidy(&pair);
}
