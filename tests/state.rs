//! The state tables on the target.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bulkload::config::{ApplyMethod, Strategy};
use bulkload::error::{Error, Kind, Phase};
use bulkload::pg::format::Format;
use bulkload::pg::name::Ident;
use bulkload::report::state::{Entry, State};
use bulkload::report::{Mode, TableReport};
use tokio_postgres::{Client, NoTls};

use crate::support::{Db, Proxy, Servers};

fn state() -> State {
    State::new(Ident::new("bulk \"load\""))
}

fn target() -> Db {
    Db::create(&Servers::shared().target)
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn table() -> TableReport {
    let mut table = TableReport::new(
        "public.jobtasks",
        Mode::Full,
        Strategy::Replace,
        Some(ApplyMethod::Delta),
        Format::Binary,
    );
    // Every figure differs, so that none can stand in another's place.
    (table.chunks, table.streams, table.attempts, table.extracted, table.rejected) = (3, 2, 4, 110, 10);
    (table.staged, table.inserted, table.updated, table.deleted) = (100, 50, 30, 7);
    (table.unchanged, table.skipped, table.bytes_in, table.bytes_out) = (15, 5, 1 << 40, 1 << 41);
    (table.load_ms, table.index_ms, table.apply_ms, table.lock_ms) = (11, 12, 13, 14);
    (table.lock_attempts, table.duration_ms) = (6, 16);
    table.watermark = Some("2026-09-17 02:00:00+00".to_owned());
    table.rejects_file = Some("rejects/r1/jobtasks.csv".to_owned());
    table.warnings = vec!["a \"quoted\", one".to_owned(), "two".to_owned()];
    table
}

fn entry(table: &TableReport) -> Entry<'_> {
    Entry { run_id: "r1", entry: 1, source: "desk:5432/erp", scope: None, table }
}

async fn count(client: &Client, query: &str) -> i64 {
    client.query_one(&format!("select count(*) from {query}"), &[]).await.unwrap().get(0)
}

/// Counts every DDL statement from now on, as an event trigger that reloads an API would see it.
async fn count_ddl(client: &Client) {
    client
        .batch_execute(
            "create table public.ddl (tag text);
             create function public.note() returns event_trigger language plpgsql
                 as 'begin insert into public.ddl values (tg_tag); end';
             create event trigger note on ddl_command_end execute function public.note()",
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn a_complete_target_sees_no_ddl() {
    let db = target();
    let client = connect(db.socket_url()).await;
    state().ensure(&client).await.unwrap();
    count_ddl(&client).await;
    state().ensure(&client).await.unwrap();
    assert_eq!(count(&client, "public.ddl").await, 0);
    client.batch_execute("alter table \"bulk \"\"load\"\"\".runs drop column lock_ms").await.unwrap();
    let before = count(&client, "public.ddl").await;
    state().ensure(&client).await.unwrap();
    assert!(count(&client, "public.ddl").await > before, "the trigger sees DDL when there is some");
}

#[tokio::test]
async fn runs_that_start_together_all_find_the_tables() {
    let db = target();
    let mut runs = Vec::new();
    for _ in 0..12 {
        let client = connect(db.socket_url()).await;
        client.batch_execute("set lock_timeout = '500ms'").await.unwrap();
        runs.push(tokio::spawn(async move { state().ensure(&client).await }));
    }
    for run in runs {
        run.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn tables_of_an_older_shape_are_completed_and_keep_their_rows() {
    let db = target();
    let client = connect(db.socket_url()).await;
    client
        .batch_execute(
            "create schema \"bulk \"\"load\"\"\";
             set search_path = \"bulk \"\"load\"\"\";
             create table sync_state (table_name text, source text, scope text, watermark text,
                                      primary key (table_name, source, scope));
             insert into sync_state values ('public.jobtasks', 'desk:5432/erp', '', 'w1');
             set search_path = ''",
        )
        .await
        .unwrap();
    state().ensure(&client).await.unwrap();
    let last = state().last_state(&client, "public.jobtasks", "desk:5432/erp", None).await.unwrap().unwrap();
    assert_eq!((last.watermark.as_deref(), last.sync_age), (Some("w1"), None));
    state().record_applied(&client, &[entry(&table())]).await.unwrap();
}

#[tokio::test]
async fn nobody_else_may_use_the_schema() {
    let mut db = target();
    let role = db.role("login");
    let client = connect(db.socket_url()).await;
    client
        .batch_execute(&format!(
            "alter default privileges grant usage on schemas to {role};
             alter default privileges grant select on tables to {role}, public"
        ))
        .await
        .unwrap();
    let reader = connect(&db.url_as(&role)).await;
    state().ensure(&client).await.unwrap();
    let denied = async |reader: &Client| {
        let read = reader.query("select * from \"bulk \"\"load\"\"\".runs", &[]).await;
        read.unwrap_err().code().unwrap().code().to_owned()
    };
    assert_eq!(denied(&reader).await, "42501");
    client
        .batch_execute(&format!("grant usage on schema \"bulk \"\"load\"\"\" to {role}, public"))
        .await
        .unwrap();
    state().ensure(&client).await.unwrap();
    assert_eq!(denied(&reader).await, "42501");
}

#[tokio::test]
async fn a_role_without_the_right_learns_which_grant_it_needs() {
    let mut db = target();
    let role = db.role("login");
    let admin = connect(db.socket_url()).await;
    let client = connect(&db.url_as(&role)).await;
    let error = state().ensure(&client).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Permission);
    let advice = error.advice().unwrap();
    let (_, grant) = advice.split_once(": ").unwrap();
    let (grant, _) = grant.split_once(';').unwrap();
    assert_eq!(grant, format!("grant create on database \"{}\" to \"{role}\"", db.name()));
    admin.batch_execute(grant).await.unwrap();
    state().ensure(&client).await.unwrap();
}

#[tokio::test]
async fn a_schema_that_is_not_ours_is_refused_and_left_alone() {
    let mut db = target();
    let role = db.role("");
    let client = connect(db.socket_url()).await;
    client
        .batch_execute(
            &format!("create schema theirs authorization {role};
             create schema app; create table app.runs (id int); grant usage on schema app to public;
             create schema odd; create view odd.sync_state as select 1 as table_name, 2 as source, 3 as scope"),
        )
        .await
        .unwrap();
    count_ddl(&client).await;
    for (schema, word) in [
        ("theirs", role.as_str()),
        ("app", "contains other objects"),
        ("odd", "is not a table of"),
        ("public", "public"),
    ] {
        let error = State::new(Ident::new(schema)).ensure(&client).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Refused, "{schema}");
        assert!(error.message().contains(word) && error.advice().is_some(), "{error}");
    }
    assert_eq!(count(&client, "public.ddl").await, 0);
}

#[tokio::test]
async fn runs_keeps_every_figure_of_the_report() {
    let db = target();
    let client = connect(db.socket_url()).await;
    state().ensure(&client).await.unwrap();
    let mut table = table();
    let blank = TableReport::new("?", Mode::Incremental, Strategy::Insert, None, Format::Text);
    state().begin_run_rows(&client, Phase::Stage, &[entry(&blank)]).await.unwrap();
    state().set_phase(&client, "r1", Phase::Load).await.unwrap();
    let unfinished = "\"bulk \"\"load\"\"\".runs where phase = 'load' and ok is null and finished_at is null";
    assert_eq!(count(&client, unfinished).await, 1);

    state().record_applied(&client, &[entry(&table)]).await.unwrap();
    table.succeed();
    table.lock_ms = 99;
    state().record_figures(&client, &[entry(&table)]).await.unwrap();

    let row = client
        .query_one(
            "select to_jsonb(r)::text, r.started_at <= r.finished_at, r.finished_at <= clock_timestamp()
             from \"bulk \"\"load\"\"\".runs r",
            &[],
        )
        .await
        .unwrap();
    assert!(row.get::<_, bool>(1) && row.get::<_, bool>(2));
    let mut kept: BTreeMap<String, serde_json::Value> = serde_json::from_str(row.get(0)).unwrap();
    let mut told: BTreeMap<String, serde_json::Value> =
        serde_json::from_value(serde_json::to_value(&table).unwrap()).unwrap();
    let name = told.remove("name").unwrap();
    told.insert("table_name".to_owned(), name);
    for own in ["run_id", "entry", "version", "phase", "started_at", "finished_at", "source", "scope"] {
        kept.remove(own).unwrap();
    }
    assert_eq!(kept, told);
}

#[tokio::test]
async fn a_watermark_is_recorded_with_the_commit_or_not_at_all() {
    let db = target();
    let mut client = connect(db.socket_url()).await;
    let last = async |client: &Client, scope| {
        state().last_state(client, "public.jobtasks", "desk:5432/erp", scope).await.unwrap()
    };
    assert_eq!(last(&client, None).await, None, "no state, no schema, no error");
    state().ensure(&client).await.unwrap();

    let tx = client.transaction().await.unwrap();
    state().record_applied(&tx, &[entry(&table())]).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(last(&client, None).await, None);

    let tx = client.transaction().await.unwrap();
    state().record_applied(&tx, &[entry(&table())]).await.unwrap();
    tx.commit().await.unwrap();
    let found = last(&client, None).await.unwrap();
    assert_eq!(found.watermark, table().watermark);
    assert_eq!((found.records_synced, found.error_message), (Some(100), None));
    assert!(found.sync_age.unwrap() < Duration::from_secs(60));
    assert_eq!(found.last_sync_at, found.last_full_at);
    assert_eq!(last(&client, Some("source = 'D'")).await, None, "a scope has a state of its own");
}

#[tokio::test]
async fn an_incremental_run_moves_the_watermark_but_not_the_last_full_run() {
    let db = target();
    let client = connect(db.socket_url()).await;
    state().ensure(&client).await.unwrap();
    state().record_applied(&client, &[entry(&table())]).await.unwrap();
    let (name, source) = ("public.jobtasks", "desk:5432/erp");
    let full = state().last_state(&client, name, source, None).await.unwrap().unwrap();
    let mut table = table();
    (table.mode, table.watermark) = (Mode::Incremental, Some("later".to_owned()));
    state().record_applied(&client, &[Entry { run_id: "r2", ..entry(&table) }]).await.unwrap();
    let found = state().last_state(&client, name, source, None).await.unwrap().unwrap();
    assert_eq!(found.watermark.as_deref(), Some("later"));
    assert_eq!(found.last_full_at, full.last_full_at);
    assert!(found.last_sync_at > full.last_sync_at);
}

#[tokio::test]
async fn a_failure_keeps_what_the_last_success_left() {
    let db = target();
    let client = connect(db.socket_url()).await;
    state().ensure(&client).await.unwrap();
    state().record_applied(&client, &[entry(&table())]).await.unwrap();
    let (name, source) = ("public.jobtasks", "desk:5432/erp");
    let good = state().last_state(&client, name, source, None).await.unwrap().unwrap();
    let mut table = table();
    table.fail(&Error::new(Phase::Load, Kind::Server, "disk full"));
    state().record_failed(&client, Entry { run_id: "r2", ..entry(&table) }).await.unwrap();
    let found = state().last_state(&client, name, source, None).await.unwrap().unwrap();
    assert_eq!(found.error_message.as_deref(), Some("disk full"));
    assert_eq!(
        (found.watermark, found.last_sync_at, found.records_synced),
        (good.watermark, good.last_sync_at, good.records_synced)
    );
    let failed = "\"bulk \"\"load\"\"\".runs where run_id = 'r2' and not ok and error = 'disk full' and finished_at is not null";
    assert_eq!(count(&client, failed).await, 1);
}

#[tokio::test]
async fn a_dead_run_is_closed_and_says_where_it_died() {
    let db = target();
    let client = connect(db.socket_url()).await;
    state().ensure(&client).await.unwrap();
    let table = table();
    state()
        .begin_run_rows(&client, Phase::Load, &[entry(&table), Entry { entry: 2, ..entry(&table) }])
        .await
        .unwrap();
    state().record_applied(&client, &[entry(&table)]).await.unwrap();
    assert_eq!(state().close_dead_run(&client, "r1").await.unwrap(), 1);
    assert_eq!(state().close_dead_run(&client, "r1").await.unwrap(), 0);
    let closed =
        "\"bulk \"\"load\"\"\".runs where entry = 2 and not ok and error = 'the run died in phase load'";
    assert_eq!(count(&client, closed).await, 1);
}

#[tokio::test]
async fn a_group_is_recorded_whole_even_if_two_entries_share_a_state() {
    let db = target();
    let client = connect(db.socket_url()).await;
    state().ensure(&client).await.unwrap();
    let (first, mut second) = (table(), table());
    second.watermark = Some("second".to_owned());
    let mut other = table();
    other.name = "public.\"Other\"".to_owned();
    let entries = [
        Entry { entry: 2, ..entry(&second) },
        entry(&first),
        Entry { entry: 3, scope: Some("source = 'D'"), ..entry(&other) },
    ];
    state().record_applied(&client, &entries).await.unwrap();
    let found = state().last_state(&client, "public.jobtasks", "desk:5432/erp", None).await.unwrap().unwrap();
    assert_eq!(found.watermark.as_deref(), Some("second"));
    let scoped =
        state().last_state(&client, &other.name, "desk:5432/erp", Some("source = 'D'")).await.unwrap();
    assert_eq!(scoped.unwrap().watermark, other.watermark);
    assert_eq!(count(&client, "\"bulk \"\"load\"\"\".runs where ok").await, 3);
}

#[tokio::test]
async fn recording_a_group_takes_one_round_trip() {
    let db = target();
    let client = connect(db.socket_url()).await;
    state().ensure(&client).await.unwrap();
    let proxy = Proxy::to(db.port());
    let far = connect(&db.url_through(proxy.port())).await;
    proxy.delay(Duration::from_millis(300));
    let table = table();
    let entries: Vec<Entry<'_>> = (0..20).map(|i| Entry { entry: i, ..entry(&table) }).collect();
    let start = Instant::now();
    far.batch_execute("select 1").await.unwrap();
    let round_trip = start.elapsed();
    let start = Instant::now();
    state().record_applied(&far, &entries).await.unwrap();
    let recorded = start.elapsed();
    // The proxy delays each piece of an answer in turn, so two answers to one flight take one and a half of what
    // it calls a round trip; asking one after the other would take two, and preparing twice as many again.
    assert!(recorded < round_trip * 7 / 4, "{recorded:?}, a round trip takes {round_trip:?}");
    assert_eq!(count(&client, "\"bulk \"\"load\"\"\".runs where ok").await, 20);
}

#[tokio::test]
async fn the_public_schema_is_never_taken_even_if_it_is_empty_and_ours() {
    let db = target();
    let client = connect(db.socket_url()).await;
    client.batch_execute("drop schema public; create schema public").await.unwrap();
    let error = State::new(Ident::new("public")).ensure(&client).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
}
