//! Tables that are no heaps of one server: each is read and written the plain way, or refused with the reason, and stays what
//! it is. The tests of Citus and TimescaleDB skip, and say so, where the server has no such extension.

use std::sync::OnceLock;

use bulkload::pg::cluster::Cluster;

use crate::support::database::test_options;
use crate::support::{Bulkload, Db, Outcome, Pair, Servers, assert_same_contents, pair};

const CONFIG: &str = "[[table]]\nname = 't'\n";

fn sync(pair: &Pair, config: &str) -> Outcome {
    Bulkload::on(pair).config(config).sync()
}

fn plan(pair: &Pair, config: &str) -> Outcome {
    Bulkload::on(pair).config(config).run(&["-q", "plan"])
}

/// Plans a table with each of these methods, or strategies, and expects that they are refused for a reason.
#[track_caller]
fn refused(pair: &Pair, lines: &[&str], reason: &str) {
    for line in lines {
        let outcome = Bulkload::on(pair).config(&format!("{CONFIG}{line}\n")).run(&["sync"]);
        assert_eq!(outcome.code, Some(2), "{line}\n{outcome}");
        assert!(outcome.stderr.contains(reason), "{line}: {reason}\n{outcome}");
    }
}

/// Plans, and expects these words.
#[track_caller]
fn plans(pair: &Pair, config: &str, words: &[&str]) {
    let outcome = plan(pair, config);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    for word in words {
        assert!(outcome.stdout.contains(word), "{word}\n{outcome}");
    }
}

/// Syncs, and expects that the target holds what the source does.
#[track_caller]
fn arrives(pair: &Pair, config: &str) -> serde_json::Value {
    let outcome = sync(pair, config);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_same_contents(&pair.source, &pair.target, "t");
    outcome.table("public.t")
}

const DELTA_SWAP_UPSERT_INSERT: [&str; 4] =
    ["apply = 'delta'", "apply = 'swap'", "strategy = 'upsert'", "strategy = 'insert'"];

#[test]
fn emptiness_is_asked_and_not_estimated() {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run("create table t (id int primary key, v text) with (autovacuum_enabled = off)");
        db.run("insert into t select i, 'v' from generate_series(1, 1000) i");
    }
    plans(&pair, CONFIG, &["auto: readers never wait"]);
    // Its pages are there still.
    pair.target.run("delete from t");
    plans(&pair, CONFIG, &["auto: the table is empty"]);
    arrives(&pair, CONFIG);
    plans(&pair, CONFIG, &["auto: readers never wait"]);
}

#[test]
fn staging_is_a_heap_whatever_the_servers_default_is() {
    let pair = pair();
    let schema = "create table t (id int primary key, v text)";
    pair.source.run(schema);
    pair.target.run(schema);
    pair.source.run("insert into t select i, 'v' || i from generate_series(1, 1000) i");
    pair.target.run("insert into t select i, 'old' from generate_series(500, 1500) i");
    pair.target.run("create access method other type table handler heap_tableam_handler");
    pair.target
        .run(&format!("alter database {} set default_table_access_method = 'other'", pair.target.name()));
    for method in ["delta", "swap", "delete"] {
        let program = Bulkload::on(&pair)
            .config(&format!("{CONFIG}apply = '{method}'\nmax_shrink = '100%'\n"))
            .hold_at("snapshot.locked");
        let mut run = program.spawn(&["sync"]);
        run.wait_until_held();
        let methods = pair.target.value(
            "select string_agg(distinct am.amname, ' ') from pg_class c join pg_am am on am.oid = c.relam
             join pg_namespace n on n.oid = c.relnamespace where c.relkind = 'r' and n.nspname like 'bulkload%'",
        );
        assert_eq!(methods, "heap", "{method}");
        run.go();
        let outcome = run.wait();
        assert_eq!(outcome.code, Some(0), "{outcome}");
        assert_same_contents(&pair.source, &pair.target, "t");
        let kept = pair
            .target
            .value("select amname from pg_class c join pg_am a on a.oid = relam where c.oid = 't'::regclass");
        assert_eq!(kept, "heap", "{method}");
    }
}

#[test]
fn rows_in_another_access_method_are_read_and_written_the_plain_way() {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run("create access method other type table handler heap_tableam_handler");
        db.run("create table t (id int primary key, v text) using other");
    }
    pair.source.run("insert into t select i, repeat('v', 500) from generate_series(1, 3000) i");
    let small = "run.chunk = '64kB'\nrun.jobs = 2\n";
    let config = format!("{small}{CONFIG}");
    let words = [
        "source   a table with the access method other: read by name, in one stream",
        "target   a table with the access method other: not written by ctid, not swapped",
        "1 chunk",
    ];
    plans(&pair, &config, &words);
    assert_eq!(arrives(&pair, &config)["apply"], "truncate", "the table is empty");
    pair.source.run("delete from t where id % 3 = 0; update t set v = 'new' where id % 7 = 0");
    assert_eq!(arrives(&pair, &config)["apply"], "delete");
    refused(&pair, &DELTA_SWAP_UPSERT_INSERT, "it is a table with the access method other");
    let xmin = format!("{CONFIG}watermark = 'xmin'\n");
    let outcome = plan(&pair, &xmin);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.contains("public.t: it is a table with the access method other"), "{outcome}");
    // A partition is enough.
    for db in [&pair.source, &pair.target] {
        db.run(
            "drop table t; create table t (id int, v text, primary key (id)) partition by range (id);
             create table t_a partition of t for values from (0) to (1000);
             create table t_b partition of t default using other",
        );
    }
    pair.source.run("insert into t select i, repeat('v', 500) from generate_series(1, 3000) i");
    plans(&pair, &config, &words);
    arrives(&pair, &config);
    refused(&pair, &DELTA_SWAP_UPSERT_INSERT, "it is a table with the access method other");
}

#[test]
fn rows_of_a_foreign_partition_have_no_transaction_numbers_and_no_place() {
    let mut pair = pair();
    if !has_extension(&pair.source, "postgres_fdw") || !has_extension(&pair.target, "postgres_fdw") {
        return;
    }
    for db in [&pair.source, &pair.target] {
        // Servers from package registries come without a libpq that it loads.
        if let Err(error) = db.session().try_run("create extension postgres_fdw") {
            return eprintln!("SKIPPED: postgres_fdw cannot be loaded: {error:?}");
        }
    }
    for db in [&mut pair.source, &mut pair.target] {
        // The foreign server is the database itself.
        let role = db.role("superuser login");
        let (name, port) = (db.name().to_owned(), db.port());
        db.run(&format!(
            "create server elsewhere foreign data wrapper postgres_fdw
                 options (host '127.0.0.1', port '{port}', dbname '{name}');
             create user mapping for public server elsewhere options (user '{role}');
             create table far_away (id int not null, v text);
             create table t (id int not null, v text) partition by range (id);
             create table t_near partition of t for values from (0) to (1000);
             create foreign table t_far partition of t for values from (1000) to (100000)
                 server elsewhere options (table_name 'far_away')"
        ));
    }
    pair.source.run("insert into t select i, repeat('v', 500) from generate_series(1, 3000) i");
    let config = format!("run.chunk = '64kB'\nrun.jobs = 2\n{CONFIG}key = ['id']\n");
    plans(
        &pair,
        &config,
        &[
            "source   a table with the foreign table public.t_far as a part",
            "1 chunk",
            "the rows of public.t_far, a foreign table, are read in a snapshot of its own server",
            "the rows of public.t_far, a foreign table, are committed by its own server",
        ],
    );
    arrives(&pair, &config);
    pair.source.run("delete from t where id % 3 = 0; update t set v = 'new' where id % 7 = 0");
    assert_eq!(arrives(&pair, &config)["apply"], "delete");
    assert!(pair.target.count("far_away") > 1000);
    refused(
        &pair,
        &["key = ['id']\napply = 'delta'"],
        "it is a table with the foreign table public.t_far as a part",
    );
    let outcome = plan(&pair, &format!("{CONFIG}watermark = 'xmin'\n"));
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.contains("the rows of public.t_far, a foreign table, have no xmin"), "{outcome}");
}

#[test]
fn a_target_whose_advisory_locks_exclude_nobody_is_refused() {
    let pair = pair();
    if pair.target.version() < 130_000 {
        return eprintln!("SKIPPED: before 13 no session can change a server's own functions");
    }
    for db in [&pair.source, &pair.target] {
        db.run("create table t (id int primary key)");
    }
    let shadow = "set allow_system_table_mods = on;
        update pg_proc set proname = 'not_this_one' where oid = 'pg_try_advisory_xact_lock(bigint)'::regprocedure;
        create function pg_catalog.pg_try_advisory_xact_lock(bigint) returns boolean language sql as 'select true'";
    pair.source.run(shadow);
    arrives(&pair, CONFIG);
    pair.target.run(shadow);
    for args in [&["sync"][..], &["plan"], &["check"]] {
        let outcome = Bulkload::on(&pair).config(CONFIG).run(args);
        assert_eq!(outcome.code, Some(2), "{outcome}");
        assert!(
            outcome.to_string().contains("two of its sessions held the same advisory lock at once"),
            "{outcome}"
        );
    }
}

#[test]
fn a_role_that_may_not_create_temporary_tables_is_tried_without_them() {
    let mut pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run("create table t (id int primary key)");
    }
    let role = pair.target.role("login");
    let name = pair.target.name().to_owned();
    pair.target.run(&format!(
        "revoke temporary on database {name} from public; grant create on database {name} to {role}; alter table t owner to {role}"
    ));
    let program = Bulkload::on(&pair).config(CONFIG).env("TARGET_DATABASE_URL", &pair.target.url_as(&role));
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
}

/// Whether a server has an extension. Says so if not: the test is skipped then.
fn has_extension(db: &Db, name: &str) -> bool {
    let has = db.value(&format!("select count(*) from pg_available_extensions where name = '{name}'")) == "1";
    if !has {
        eprintln!("SKIPPED: the server has no extension {name}");
    }
    has
}

/// A server of its own for an extension that has to be loaded when it starts; `None` where there is no such extension.
fn preloading(name: &str, settings: &[(&str, &str)]) -> Option<Cluster> {
    if !has_extension(&Db::create(&Servers::shared().target), name) {
        return None;
    }
    let options = test_options().setting("shared_preload_libraries", name);
    let options = settings.iter().fold(options, |options, (setting, value)| options.setting(setting, *value));
    Some(Cluster::start(options).unwrap())
}

/// Source and target on one server with TimescaleDB.
fn timescaledb() -> Option<Pair> {
    static SERVER: OnceLock<Option<Cluster>> = OnceLock::new();
    let settings = [("timescaledb.telemetry_level", "off"), ("timescaledb.max_background_workers", "2")];
    let server = SERVER.get_or_init(|| preloading("timescaledb", &settings)).as_ref()?;
    let pair = Pair { source: Db::create(server), target: Db::create(server) };
    for db in [&pair.source, &pair.target] {
        db.run("create extension timescaledb");
    }
    Some(pair)
}

const HYPERTABLE: &str =
    "create table t (at timestamptz not null, device int not null, v float8, primary key (at, device));
    select create_hypertable('t', 'at', chunk_time_interval => interval '1 day')";

/// Ten days of a row a minute.
const MEASURED: &str = "insert into t select timestamptz '2026-01-01Z' + i * interval '1 min', i % 5, i from generate_series(1, 14400) i";

const COMPRESS: &str = "alter table t set (timescaledb.compress, timescaledb.compress_segmentby = 'device');
    select compress_chunk(c) from show_chunks('t', older_than => timestamptz '2026-01-08Z') c";

#[test]
fn rows_of_compressed_chunks_arrive_and_nothing_is_deleted_for_them() {
    let Some(pair) = timescaledb() else { return };
    pair.source.run(HYPERTABLE);
    pair.source.run(MEASURED);
    pair.source.run(COMPRESS);
    pair.target.run(
        "create table t (at timestamptz not null, device int not null, v float8, primary key (at, device))",
    );
    let words =
        ["source   a TimescaleDB hypertable with compression: read by name, in one stream", "1 chunk"];
    plans(&pair, CONFIG, &words);
    let table = arrives(&pair, &format!("run.chunk = '64kB'\n{CONFIG}"));
    assert_eq!(table["staged"], 14_400, "{table}");
    // A full target loses nothing.
    let table = arrives(&pair, CONFIG);
    assert_eq!((&table["deleted"], &table["unchanged"]), (&0.into(), &14_400.into()), "{table}");
    let outcome = Bulkload::on(&pair).config(CONFIG).run(&["verify"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let outcome = plan(&pair, &format!("{CONFIG}watermark = 'xmin'\n"));
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.contains("public.t: it is a TimescaleDB hypertable"), "{outcome}");
    // One chunk is read by its name, too.
    let chunk = pair.source.value("select c from show_chunks('t') c limit 1");
    let outcome = sync(&pair, &format!("{CONFIG}from = '{chunk}'\nmax_shrink = '100%'\n"));
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(
        pair.target.value("select count(*) from t"),
        pair.source.value(&format!("select count(*) from {chunk}"))
    );
}

#[test]
fn a_hypertable_stays_one_whatever_is_applied_to_it() {
    let Some(pair) = timescaledb() else { return };
    for db in [&pair.source, &pair.target] {
        db.run(HYPERTABLE);
    }
    pair.source.run(MEASURED);
    let is_one = || {
        let count = "select count(*) from timescaledb_information.hypertables where hypertable_name = 't'";
        assert_eq!(pair.target.value(count), "1");
    };
    refused(&pair, &DELTA_SWAP_UPSERT_INSERT, "it is a TimescaleDB hypertable");
    plans(
        &pair,
        CONFIG,
        &["target   a TimescaleDB hypertable: not written by ctid, not swapped", "the table is empty"],
    );
    assert_eq!(arrives(&pair, CONFIG)["apply"], "truncate");
    is_one();
    pair.source.run("delete from t where device = 1; update t set v = -v where device = 2");
    assert_eq!(arrives(&pair, CONFIG)["apply"], "delete");
    is_one();
    pair.target.run(COMPRESS);
    pair.source.run("delete from t where device = 3");
    assert_eq!(
        arrives(&pair, CONFIG)["apply"],
        "truncate",
        "compressed rows are not decompressed to be deleted"
    );
    is_one();
    arrives(&pair, &format!("{CONFIG}apply = 'delete'\n"));
    arrives(&pair, &format!("{CONFIG}apply = 'direct'\nkey = ['at', 'device']\n"));
    is_one();
    let chunk = pair.target.value("select c from show_chunks('t') c limit 1");
    let outcome = plan(&pair, &format!("[[table]]\nname = '{chunk}'\nfrom = 't'\n"));
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.contains("is a chunk of a TimescaleDB hypertable"), "{outcome}");
}

#[test]
fn what_may_not_be_seen_of_timescaledb_is_read_the_plain_way() {
    let Some(mut pair) = timescaledb() else { return };
    pair.source.run(HYPERTABLE);
    pair.source.run(MEASURED);
    pair.source.run(COMPRESS);
    pair.target.run(
        "create table t (at timestamptz not null, device int not null, v float8, primary key (at, device))",
    );
    let role = pair.source.role("login");
    pair.source.run(&format!(
        "grant select on t to {role}; revoke select on all tables in schema _timescaledb_catalog from public"
    ));
    let program = Bulkload::on(&pair).config(CONFIG).env("SOURCE_DATABASE_URL", &pair.source.url_as(&role));
    let planned = program.run(&["-q", "plan"]);
    assert!(planned.stdout.contains("the role may not read the catalog of TimescaleDB"), "{planned}");
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_same_contents(&pair.source, &pair.target, "t");
}

/// Source and target on one server with Citus, which is its own only node.
fn citus() -> Option<Pair> {
    static SERVER: OnceLock<Option<Cluster>> = OnceLock::new();
    let settings = [("citus.node_conninfo", "sslmode=prefer"), ("citus.shard_count", "4")];
    let server = SERVER.get_or_init(|| preloading("citus", &settings)).as_ref()?;
    let pair = Pair { source: Db::create(server), target: Db::create(server) };
    for db in [&pair.source, &pair.target] {
        db.run("create extension citus");
        db.run(&format!("select citus_set_coordinator_host('127.0.0.1', {})", db.port()));
        db.run("select citus_set_node_property('127.0.0.1', current_setting('port')::int, 'shouldhaveshards', true)");
    }
    Some(pair)
}

/// How a table is distributed, as Citus itself says it; nothing if it is not.
fn distribution(db: &Db) -> String {
    db.value("select coalesce(string_agg(citus_table_type, ' '), '') from citus_tables where table_name = 't'::regclass")
}

#[test]
fn a_citus_table_stays_what_it_is_whatever_is_applied_to_it() {
    for (distribute, kind) in [
        ("select create_distributed_table('t', 'id')", "distributed"),
        ("select create_reference_table('t')", "reference"),
        ("select citus_add_local_table_to_metadata('t')", "local"),
    ] {
        let Some(pair) = citus() else { return };
        let schema = "create table t (id int primary key, v text)";
        pair.source.run(schema);
        pair.source.run("insert into t select i, 'v' || i from generate_series(1, 1000) i");
        pair.target.run(schema);
        pair.target.run(distribute);
        let before = distribution(&pair.target);
        assert!(!before.is_empty(), "{kind}");
        let is_there = || assert_eq!(distribution(&pair.target), before, "{kind}");
        refused(&pair, &DELTA_SWAP_UPSERT_INSERT, &format!("it is a Citus {kind} table"));
        let shown = format!("target   a Citus {kind} table: not written by ctid, not swapped");
        plans(&pair, CONFIG, &[&shown, "the table is empty"]);
        assert_eq!(arrives(&pair, CONFIG)["apply"], "truncate", "{kind}");
        is_there();
        pair.source.run("delete from t where id % 3 = 0; update t set v = 'new' where id % 7 = 0");
        let planned = plan(&pair, CONFIG);
        assert!(!planned.stdout.contains("the table is empty"), "{planned}");
        assert_eq!(arrives(&pair, CONFIG)["apply"], "delete", "{kind}");
        arrives(&pair, &format!("{CONFIG}apply = 'truncate'\n"));
        arrives(&pair, &format!("{CONFIG}apply = 'direct'\n"));
        is_there();
        let outcome = Bulkload::on(&pair).config(CONFIG).run(&["verify"]);
        assert_eq!(outcome.code, Some(0), "{outcome}");
        let seed = |args: &[&str]| {
            let url = pair.target.url();
            Bulkload::on(&pair)
                .file("t.csv", "id,v\n1,a\n2,b\n")
                .run(&[&["seed", "--target", url, "t.csv"], args].concat())
        };
        let filled = seed(&[]);
        assert_eq!(filled.code, Some(2), "{filled}");
        assert!(filled.stderr.contains("public.t holds rows already"), "{filled}");
        let replaced = seed(&["--strategy", "replace", "--yes"]);
        assert_eq!(replaced.code, Some(0), "{replaced}");
        assert_eq!(pair.target.value("select string_agg(v, ' ' order by id) from t"), "a b");
        is_there();
    }
}

#[test]
fn citus_tables_of_one_transaction_are_truncated_together() {
    let Some(pair) = citus() else { return };
    for db in [&pair.source, &pair.target] {
        db.run("create table place (id int primary key, v text); create table t (id int primary key, place_id int, v text)");
    }
    pair.target.run("select create_reference_table('place'); select create_distributed_table('t', 'id')");
    pair.target.run("alter table t add foreign key (place_id) references place");
    pair.source.run(
        "insert into place select i, 'p' from generate_series(1, 10) i;
         insert into t select i, i % 10 + 1, 'v' from generate_series(1, 500) i",
    );
    let config = "[[table]]\nname = 'place'\n[[table]]\nname = 't'\n";
    for _ in 0..2 {
        let outcome = sync(&pair, config);
        assert_eq!(outcome.code, Some(0), "{outcome}");
        assert_same_contents(&pair.source, &pair.target, "t");
        assert_same_contents(&pair.source, &pair.target, "place");
        assert_eq!(outcome.table("public.t")["apply"], "truncate");
        pair.source.run("update place set v = 'q'; delete from t where id % 4 = 0");
    }
    let deleted = plan(&pair, &config.replace("[[table]]\n", "[[table]]\napply = 'delete'\n"));
    assert_eq!(deleted.code, Some(2), "{deleted}");
    assert!(deleted.stderr.contains("Citus runs DELETE in parallel"), "{deleted}");
}

#[test]
fn a_citus_source_is_read_through_its_name_with_a_warning() {
    let Some(pair) = citus() else { return };
    let schema = "create table t (id int primary key, v text)";
    pair.source.run(schema);
    pair.source.run("select create_distributed_table('t', 'id'); insert into t select i, repeat('v', 200) from generate_series(1, 3000) i");
    pair.target.run(schema);
    let words = [
        "source   a Citus distributed table: read by name, in one stream",
        "Citus has no snapshot across nodes",
        "1 chunk",
    ];
    plans(&pair, CONFIG, &words);
    let table = arrives(&pair, &format!("run.chunk = '64kB'\nrun.jobs = 2\n{CONFIG}"));
    assert!(
        table["warnings"].to_string().contains("only some of the rows written during the run may arrive"),
        "{table}"
    );
    arrives(&pair, CONFIG);
    let check = Bulkload::on(&pair).config(CONFIG).run(&["check"]);
    assert!(
        check.stdout.contains(" with Citus ") && check.stdout.contains("a Citus distributed table"),
        "{check}"
    );
    plans(&pair, &format!("{CONFIG}query = 'select * from t'\n"), &["the source has Citus "]);
    let outcome = plan(&pair, &format!("{CONFIG}watermark = 'xmin'\nstrategy = 'upsert'\n"));
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(
        outcome.stderr.contains("have the transaction numbers of the nodes that store them"),
        "{outcome}"
    );
}

#[test]
fn a_columnar_table_is_emptied_and_filled() {
    let Some(pair) = citus() else { return };
    let schema = "create table t (id int primary key, v text) using columnar";
    for db in [&pair.source, &pair.target] {
        db.run(schema);
    }
    pair.source.run("insert into t select i, repeat('v', 200) from generate_series(1, 30000) i");
    for _ in 0..2 {
        let table = arrives(&pair, &format!("run.chunk = '64kB'\nrun.jobs = 2\n{CONFIG}"));
        assert_eq!(table["apply"], "truncate", "{table}");
    }
    refused(
        &pair,
        &["apply = 'delete'", "apply = 'delta'", "apply = 'swap'"],
        "it is a table with the access method columnar",
    );
}
