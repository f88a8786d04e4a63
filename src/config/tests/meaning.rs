//! The meaning of valid configs.

use std::time::Duration;

use super::super::*;
use super::{env, parse};

const MIB: u64 = 1 << 20;
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn name(text: &str) -> Ident {
    Ident::new(text)
}

fn at<T>(line: u32, column: u32, value: T) -> Located<T> {
    Located { value, at: Location { file: "f.toml".into(), line, column } }
}

#[test]
fn what_run_leaves_out_has_the_documented_default() {
    let documented = r#"
        [run]
        jobs = 0
        memory = "256MiB"
        chunk = "128MiB"
        format = "auto"
        staging_schema = "bulkload"
        commit = "group"
        lock_timeout = "500ms"
        lock_wait = "10m"
        statement_timeout = "0"
        connect_timeout = "30s"
        retries = 3
        rejects_dir = "rejects"
        notify = []
        max_rejects = "5%"
        max_shrink = "50%"
        on_empty = "skip"
        full_every = "7d"
        [[table]]
        name = "t"
    "#;
    let written = parse(documented).unwrap();
    assert_eq!(written.run, RunConfig::default());
    assert_eq!(parse("[[table]]\nname = 't'").unwrap().run, written.run);
    assert_eq!(
        written.run,
        RunConfig {
            jobs: 0,
            memory: 256 * MIB,
            chunk: 128 * MIB,
            format: FormatChoice::Auto,
            staging_schema: name("bulkload"),
            commit: Commit::Group,
            lock_timeout: Duration::from_millis(500),
            lock_wait: 10 * MINUTE,
            statement_timeout: Duration::ZERO,
            connect_timeout: Duration::from_secs(30),
            retries: 3,
            rejects_dir: "rejects".to_owned(),
            notify: vec![],
            max_rejects: Limit::Percent(5.0),
            max_shrink: Limit::Percent(50.0),
            on_empty: OnEmpty::Skip,
            full_every: 7 * DAY,
        }
    );
}

#[test]
fn every_key_of_run_is_read() {
    let run = parse(
        r#"
        [run]
        jobs = 4
        memory = 67108864
        chunk = "64MB"
        format = "text"
        staging_schema = "Loader"
        commit = "run"
        lock_timeout = "1s 500ms"
        lock_wait = "0"
        statement_timeout = "1h"
        connect_timeout = "5s"
        retries = 0
        rejects_dir = "/tmp/${OWNER}"
        notify = ["pgrst=reload schema", "done", "a=b=c", "empty="]
        max_rejects = "1000"
        max_shrink = 7
        on_empty = "fail"
        full_every = 0
        [[table]]
        name = "t"
        "#,
    )
    .unwrap()
    .run;
    let expected = RunConfig {
        jobs: 4,
        memory: 64 * MIB,
        chunk: 64_000_000,
        format: FormatChoice::Text,
        staging_schema: name("loader"),
        commit: Commit::Run,
        lock_timeout: Duration::from_millis(1500),
        lock_wait: Duration::ZERO,
        statement_timeout: 60 * MINUTE,
        connect_timeout: Duration::from_secs(5),
        retries: 0,
        rejects_dir: "/tmp/O'Hara".to_owned(),
        notify: vec![
            (name("pgrst"), Some("reload schema".to_owned())),
            (name("done"), None),
            (name("a"), Some("b=c".to_owned())),
            (name("empty"), Some(String::new())),
        ],
        max_rejects: Limit::Rows(1000),
        max_shrink: Limit::Rows(7),
        on_empty: OnEmpty::Fail,
        full_every: Duration::ZERO,
    };
    assert_eq!(run, expected);
}

const TABLE: &str = r#"[[table]]
name = "App.Tasks"
from = 'legacy."Job Tasks"'
where = "owner <> '${OWNER}' AND cost > $1"
apply = "delta"
key = ["JT_ID", '"Region"']
scope = "source = 'D' OR source IS NULL"
watermark = ["updated_at", "created_at"]
watermark_overlap = "30s"
max_rejects = "0.5%"
max_shrink = 10
on_empty = "apply"
full_every = "1d"
format = "binary"
[table.columns]
skip = ["jt_uid", "Old Id"]
rename = { jt_dt = "task_date", "Job No." = "JobNo" }
set = { source = "D", n = 0x1F, price = 1_000.50, live = true, synced_at = { expr = "now()" } }
default = { created_at = 2026-01-31T12:00:00Z }
extra = "error"
[[table.lookup]]
column = "client_id"
from = "JobsHead"
match = { region = "reg", job_id = "id" }
value = "client"
on_missing = "reject"
[[table.reference]]
columns = ["client_id"]
to = 'public."Cli(Master)"(client_id)'
on_orphan = "null"
null_values = ["0", -1]
[[table.reference]]
columns = ["a", "b"]
to = "t ( x , \"y,z\" )"
"#;

#[test]
fn every_key_of_a_table_is_read_with_its_place() {
    let table = parse(TABLE).unwrap().tables.remove(0);
    let mut columns = ColumnRules {
        skip: vec![at(16, 9, name("jt_uid")), at(16, 19, name("Old Id"))],
        extra_is_error: Some(true),
        ..ColumnRules::default()
    };
    columns.rename.insert(name("jt_dt"), at(17, 20, name("task_date")));
    columns.rename.insert(name("Job No."), at(17, 45, name("JobNo")));
    for (column, place, value) in
        [("source", 18, "D"), ("n", 27, "31"), ("price", 41, "1000.50"), ("live", 58, "true")]
    {
        columns.set.insert(name(column), at(18, place, Value::Constant(value.to_owned())));
    }
    columns.set.insert(name("synced_at"), at(18, 76, Value::Expr("now()".to_owned())));
    let date = Value::Constant("2026-01-31T12:00:00Z".to_owned());
    columns.default.insert(name("created_at"), at(19, 26, date));
    let expected = TableConfig {
        name: at(2, 8, TableName::new("app", "tasks")),
        from: From::Relation(at(3, 8, TableName::new("legacy", "Job Tasks"))),
        filter: Some(at(4, 9, "owner <> 'O'Hara' AND cost > $1".to_owned())),
        strategy: Strategy::Replace,
        apply: at(5, 9, ApplyMethod::Delta),
        key: Some(at(6, 7, vec![name("jt_id"), name("Region")])),
        scope: Some(at(7, 9, "source = 'D' OR source IS NULL".to_owned())),
        watermark: Some(at(8, 13, Watermark::Columns(vec![name("updated_at"), name("created_at")]))),
        watermark_overlap: Duration::from_secs(30),
        format: FormatChoice::Binary,
        max_rejects: Limit::Percent(0.5),
        only_if_empty: false,
        max_shrink: Limit::Rows(10),
        on_empty: OnEmpty::Apply,
        full_every: DAY,
        verify_ignore: vec![],
        missing: None,
        triggers: at(2, 8, Triggers::Fire),
        columns,
        lookups: vec![LookupConfig {
            column: at(22, 10, name("client_id")),
            from: at(23, 8, TableName::new("public", "jobshead")),
            on: vec![(at(24, 11, name("region")), name("reg")), (at(24, 27, name("job_id")), name("id"))],
            value: at(25, 9, name("client")),
            reject_missing: true,
        }],
        references: vec![
            ReferenceConfig {
                columns: at(28, 11, vec![name("client_id")]),
                to: at(29, 6, (TableName::new("public", "Cli(Master)"), vec![name("client_id")])),
                on_orphan: OnOrphan::Null,
                null_values: vec!["0".to_owned(), "-1".to_owned()],
            },
            ReferenceConfig {
                columns: at(33, 11, vec![name("a"), name("b")]),
                to: at(34, 6, (TableName::new("public", "t"), vec![name("x"), name("y,z")])),
                on_orphan: OnOrphan::Reject,
                null_values: vec![],
            },
        ],
    };
    assert_eq!(table, expected);
}

#[test]
fn a_table_needs_only_a_name_and_inherits_from_run() {
    let config = parse(
        r#"[run]
max_rejects = 0
max_shrink = "10%"
on_empty = "apply"
full_every = "1h"
format = "text"
[[table]]
name = "orders"
"#,
    )
    .unwrap();
    let orders = TableName::new("public", "orders");
    let expected = TableConfig {
        name: at(8, 8, orders.clone()),
        from: From::Relation(at(8, 8, orders)),
        filter: None,
        strategy: Strategy::Replace,
        apply: at(8, 8, ApplyMethod::Auto),
        key: None,
        scope: None,
        watermark: None,
        watermark_overlap: 5 * MINUTE,
        format: FormatChoice::Text,
        max_rejects: Limit::Rows(0),
        only_if_empty: false,
        max_shrink: Limit::Percent(10.0),
        on_empty: OnEmpty::Apply,
        full_every: 60 * MINUTE,
        verify_ignore: vec![],
        missing: None,
        triggers: at(8, 8, Triggers::Fire),
        columns: ColumnRules::default(),
        lookups: vec![],
        references: vec![],
    };
    assert_eq!(config.tables, [expected]);
}

#[test]
fn what_casts_may_lose_and_what_is_not_compared_is_read() {
    for (text, lossy) in [
        ("", Lossy::Warn),
        ("columns.lossy = 'warn'", Lossy::Warn),
        ("columns.lossy = 'error'", Lossy::Error),
        ("columns.lossy = 'allow'", Lossy::Allow),
    ] {
        let table = parse(&format!("[[table]]\nname = 't'\n{text}\n")).unwrap().tables.remove(0);
        assert_eq!((table.columns.lossy, table.verify_ignore), (lossy, vec![]));
    }
    let table =
        parse("[[table]]\nname = 't'\nverify_ignore = ['Seen', '\"At\"']\n").unwrap().tables.remove(0);
    assert_eq!(table.verify_ignore, [at(3, 18, name("seen")), at(3, 26, name("At"))]);
}

#[test]
fn triggers_fire_unless_the_table_says_otherwise() {
    let config =
        parse("[[table]]\nname = 'a'\ntriggers = 'off'\n[[table]]\nname = 'b'\ntriggers = 'fire'").unwrap();
    assert_eq!(config.tables[0].triggers, at(3, 12, Triggers::Off));
    assert_eq!(config.tables[1].triggers, at(6, 12, Triggers::Fire));
}

#[test]
fn rows_come_from_a_query_or_from_files_if_it_says_so() {
    let config = parse(
        "[[table]]\nname = 'a'\nquery = '''\nselect 1'''\n[[table]]\nname = 'b'\ncsv = 'seed/*.csv.gz'\n\
         [[table]]\nname = 'c'\nwatermark = 'xmin'\nstrategy = 'upsert'\napply = 'auto'",
    )
    .unwrap();
    assert_eq!(config.tables[0].from, From::Query(at(3, 9, "select 1".to_owned())));
    let files = at(7, 7, vec!["seed/*.csv.gz".to_owned()]);
    assert_eq!(config.tables[1].from, From::Csv(CsvConfig::of(files)));
    assert_eq!(config.tables[2].watermark, Some(at(10, 13, Watermark::Xmin)));
    assert_eq!(config.tables[2].strategy, Strategy::Upsert);
}

#[test]
fn a_table_under_csv_says_how_files_are_written() {
    let config = parse(
        "[[table]]\nname = 'a'\n[table.csv]\nfiles = ['a.csv', '-']\ndelimiter = 'tab'\nquote = \"'\"\nescape = '\\'\n\
         header = false\nnull = 'NULL'\nencoding = 'latin1'\ncomment = '#'\n\
         [[table]]\nname = 'b'\ncsv = ['x', 'y']\n[[table]]\nname = 'c'\ncsv.files = 'z'\ncsv.quote = ''\n[[table]]\n\
         name = 'd'\ncsv = { files = 'z', escape = '\"' }",
    )
    .unwrap();
    let files = |entry: usize| match &config.tables[entry].from {
        From::Csv(files) => files,
        other => panic!("{other:?}"),
    };
    let dialect = Dialect {
        characters: Characters {
            delimiter: b'\t',
            quote: Some(b'\''),
            escape: Some(b'\\'),
            comment: Some(b'#'),
        },
        header: false,
        null: "NULL".to_owned(),
        encoding: encoding_rs::WINDOWS_1252,
        said: Said::Config,
    };
    assert_eq!(files(0).dialect, dialect);
    assert_eq!(files(0).files, at(4, 9, vec!["a.csv".to_owned(), "-".to_owned()]));
    assert_eq!((files(1).files.value.len(), &files(1).dialect), (2, &Dialect::default()));
    assert_eq!(files(2).dialect.characters.quote, None);
    assert_eq!(files(3).dialect, Dialect::default());
}

#[test]
fn a_config_of_files_alone_needs_no_source() {
    let target_only = |name: &str| (name == "TARGET_DATABASE_URL").then(|| "postgresql://t".to_owned());
    let config = Config::parse("[[table]]\nname = 't'\ncsv = 'a'", "f.toml", &target_only).unwrap();
    assert_eq!(config.source, None);
    let error = Config::parse("[[table]]\nname = 't'", "f.toml", &target_only).unwrap_err();
    assert!(error.message().starts_with("no source"), "{error}");
}

#[test]
fn urls_come_from_the_file_or_else_from_the_environment() {
    let file = "[source]\nurl = 'host=a password=${SECRET}'\n[target]\n[[table]]\nname = 't'";
    let config = parse(file).unwrap();
    assert_eq!(config.source, Some(at(2, 7, Secret::new("host=a password=hunter2".to_owned()))));
    assert_eq!(config.target.value.expose(), "postgresql://t");
    assert_eq!(config.target.at.to_string(), "environment variable TARGET_DATABASE_URL");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_do_no_harm() {
    let config = parse("\u{feff}[[table]]\r\nname = 't'\r\nwhere = 'a'\r\n").unwrap();
    assert_eq!(config.tables[0].filter, Some(at(3, 9, "a".to_owned())));
}

#[test]
fn a_file_is_read_under_the_name_it_was_given() {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(&file, "[[table]]\nname = 't'\nfrm = 1").unwrap();
    let error = Config::load(file.path(), &env).unwrap_err();
    let expected = format!("{}:3:1: unknown key frm in [[table]]", file.path().display());
    assert_eq!(error.to_string(), expected);

    let error = Config::load(std::path::Path::new("/nowhere/x.toml"), &env).unwrap_err();
    assert_eq!(error.to_string(), "no config file /nowhere/x.toml");
    assert!(error.advice().unwrap().contains("-c FILE"));
}
