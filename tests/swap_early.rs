//! `swap` before the exchange is due: indexes are built and the table is vacuumed while other tables still load.

use crate::scope::fails;
use crate::support::database::test_options;
use crate::support::{Bulkload, Db, Outcome, Pair, Running, Scene, Servers, Session, pair, wait_until};

/// The keys of advisory locks: who wants rows of `parent` waits for the source's, who builds the slow index for the target's.
const GATE: &str = "7";

/// A scene whose largest table has another index, for which each row has to pass a gate.
fn scene(pair: Pair) -> Scene {
    let scene = Scene::on(pair);
    scene.pair.target.run(&format!(
        "create function slow(text) returns text immutable language plpgsql as
             'begin perform pg_catalog.pg_advisory_xact_lock_shared({GATE}); return $1; end';
         create index free_slow on free (slow(v))"
    ));
    scene
}

/// Servers on which no transaction of others keeps VACUUM from its work.
fn quiet_servers() -> Servers {
    Servers::with(&test_options().setting("autovacuum", "off"))
}

/// One stream loads `free`, and then `parent` when the source's gate is open: where one fails both do.
fn program(scene: &Scene, condition: &str) -> Bulkload {
    scene.program("", "").config(&format!(
        "[run]\nchunk = '1MiB'\njobs = 1\ncommit = 'run'\n
         [[table]]\nname = 'free'\napply = 'swap'\n
         [[table]]\nname = 'parent'\napply = 'swap'
         where = '(select pg_advisory_xact_lock_shared({GATE})) is not null and {condition}'\n"
    ))
}

/// Whoever has to pass a database's gate waits until this is dropped.
#[track_caller]
fn gate(db: &Db) -> Session {
    let gate = db.session();
    gate.run(&format!("select pg_advisory_lock({GATE})"));
    gate
}

/// Starts it, and returns the name of the new table of `free`.
#[track_caller]
fn start(scene: &Scene, program: Bulkload) -> (Running, String) {
    let mut running = program.hold_at("snapshot.taken").spawn(&["-v", "sync", "--report", "report.json"]);
    running.wait_until_held();
    let new = new_table(scene);
    running.go();
    (running, new)
}

/// The name of the new table of `free`.
#[track_caller]
fn new_table(scene: &Scene) -> String {
    scene.pair.target.value("select nspname from pg_namespace where nspname like 'bulkload_new_%'") + ".free"
}

/// Names and files of a table's indexes.
#[track_caller]
fn indexes(db: &Db, table: &str) -> String {
    db.value(&format!(
        "select coalesce(string_agg(concat_ws(' ', c.relname, c.oid, c.relfilenode), ', ' order by c.relname), '')
         from pg_index i join pg_class c on c.oid = i.indexrelid where i.indrelid = '{table}'::regclass and i.indisvalid"
    ))
}

/// The number of times that a table was vacuumed, and whether its pages are all-visible but for empty ones at its end.
#[track_caller]
fn vacuums(db: &Db, table: &str) -> String {
    db.value(&format!(
        "select concat_ws(' ', pg_stat_get_vacuum_count(oid), case when relallvisible > relpages * 15 / 16 then 'whole' end)
         from pg_class where oid = '{table}'::regclass"
    ))
}

/// Waits until that is so.
#[track_caller]
fn wait_for_vacuums(db: &Db, table: &str, found: &str) {
    wait_until(&format!("{table}: {found}"), || vacuums(db, table) == found);
}

/// Waits until somebody builds the slow index, and cannot go on.
#[track_caller]
fn wait_for_builder(db: &Db) {
    let sql = "select count(*) from pg_stat_activity where datname = current_database()
        and application_name like 'bulkload/%' and query like 'CREATE INDEX free_slow%' and wait_event = 'advisory'";
    wait_until("an index is being built", || db.value(sql) == "1");
}

#[track_caller]
fn succeeds(scene: &Scene, outcome: &Outcome) {
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let db = &scene.pair.target;
    assert_eq!(db.value("select bool_and(v like 'new %') and count(*) = 3000 from free"), "t", "{outcome}");
    assert_eq!(db.value("select bool_and(v like 'new %') and count(*) = 300 from parent"), "t", "{outcome}");
    assert_eq!(scene.leftovers(), Vec::<String>::new(), "{outcome}");
}

/// The same, with the indexes that were built early, and vacuumed so.
#[track_caller]
fn succeeds_with(scene: &Scene, outcome: &Outcome, built: &str, vacuumed: &str) {
    succeeds(scene, outcome);
    assert_eq!(indexes(&scene.pair.target, "free"), built);
    assert_eq!(vacuums(&scene.pair.target, "free"), vacuumed);
}

#[track_caller]
fn fails_and_leaves_nothing(scene: &Scene, outcome: &Outcome, code: i32, before: &str) {
    assert_eq!(outcome.code, Some(code), "{outcome}");
    scene.wait_until_alone();
    assert_eq!(scene.leftovers(), Vec::<String>::new(), "{outcome}");
    scene.assert_old();
    assert_eq!(indexes(&scene.pair.target, "free"), before, "{outcome}");
}

#[test]
fn indexes_are_built_once_and_the_table_is_vacuumed_while_another_one_loads() {
    let servers = quiet_servers();
    let scene = scene(servers.pair());
    let db = &scene.pair.target;
    let loading = gate(&scene.pair.source);
    let (running, new) = start(&scene, program(&scene, "true"));
    wait_for_vacuums(db, &new, "1 whole");
    let built = indexes(db, &new);
    assert_eq!(built.split(", ").count(), 2, "{built}");
    assert_eq!(db.count(&new.replace(".free", ".parent")), 0);
    drop(loading);
    succeeds_with(&scene, &running.wait(), &built, "1 whole");
}

#[test]
fn a_vacuum_that_a_transaction_kept_from_its_work_is_done_again() {
    let servers = quiet_servers();
    let scene = scene(servers.pair());
    let db = &scene.pair.target;
    let loading = gate(&scene.pair.source);
    let older = db.session();
    older.run("begin; select txid_current()");
    let (running, new) = start(&scene, program(&scene, "true"));
    wait_for_vacuums(db, &new, "1");
    let built = indexes(db, &new);
    older.run("commit");
    drop(loading);
    succeeds_with(&scene, &running.wait(), &built, "2 whole");
}

#[test]
fn a_vacuum_that_a_transaction_kept_from_its_work_is_done_again_when_another_table_is_there() {
    let servers = quiet_servers();
    let scene = scene(servers.pair());
    let db = &scene.pair.target;
    for db in [&scene.pair.source, db] {
        db.run("create table second (id int primary key, filler text)");
    }
    scene.pair.source.run("insert into second select i, repeat('x', 900) from generate_series(1, 1500) i");
    let loading = gate(&scene.pair.source);
    let last = scene.pair.source.session();
    last.run("select pg_advisory_lock(8)");
    let older = db.session();
    older.run("begin; select txid_current()");
    let (running, new) = start(
        &scene,
        scene.program("", "").config(&format!(
            "[run]\nchunk = '1MiB'\njobs = 1\ncommit = 'run'
             [[table]]\nname = 'free'\napply = 'swap'
             [[table]]\nname = 'second'\napply = 'swap'\nwhere = '(select pg_advisory_xact_lock_shared({GATE})) is not null'
             [[table]]\nname = 'parent'\napply = 'swap'\nwhere = '(select pg_advisory_xact_lock_shared(8)) is not null'\n"
        )),
    );
    wait_for_vacuums(db, &new, "1");
    older.run("commit");
    drop(loading);
    wait_for_vacuums(db, &new, "2 whole");
    drop(last);
    succeeds(&scene, &running.wait());
    assert_eq!(vacuums(db, "free"), "2 whole");
}

#[test]
fn a_table_that_is_loaded_again_is_vacuumed_again() {
    let servers = quiet_servers();
    let scene = scene(servers.pair());
    let db = &scene.pair.target;
    let loading = gate(&scene.pair.source);
    let (running, new) = start(&scene, program(&scene, "true"));
    wait_for_vacuums(db, &new, "1 whole");
    let built = indexes(db, &new);
    let ledger = new.replace(".free", ".\"bulkload: chunks that have landed\"");
    db.run(&format!("delete from {new}; delete from {ledger} where entry = 0"));
    drop(loading);
    let outcome = running.wait();
    assert!(outcome.stderr.contains("loading again"), "{outcome}");
    succeeds_with(&scene, &outcome, &built, "2 whole");
}

#[test]
fn rows_that_an_index_refuses_fail_the_table_as_they_would_later() {
    let scene = scene(pair());
    scene.pair.target.run("create unique index once on free ((case when v like 'new %' then 0 else id end))");
    let before = indexes(&scene.pair.target, "free");
    let loading = gate(&scene.pair.source);
    let (mut running, _) = start(&scene, program(&scene, "true"));
    running.wait_for_stderr("not done early");
    drop(loading);
    let outcome = running.wait();
    let words = "building the new table of public.free: could not create unique index \"once\"";
    fails(&outcome, "public.free", &[words]);
    fails_and_leaves_nothing(&scene, &outcome, 1, &before);
}

#[test]
fn indexes_that_the_live_table_loses_or_gets_while_others_load_are_followed() {
    let scene = scene(pair());
    let db = &scene.pair.target;
    db.run("create index goes on free (filler); create index changes on free (v)");
    let loading = gate(&scene.pair.source);
    let (running, new) = start(&scene, program(&scene, "true"));
    wait_until("all indexes are there", || indexes(db, &new).split(", ").count() == 4);
    let built = indexes(db, &new);
    db.run(
        "drop index goes, changes; create index changes on free (v desc); create index comes on free (length(v))",
    );
    let wanted = "select string_agg(pg_get_indexdef(indexrelid), ', ' order by pg_get_indexdef(indexrelid)) from pg_index where indrelid = 'free'::regclass";
    let wanted_before = db.value(wanted);
    drop(loading);
    succeeds(&scene, &running.wait());
    assert_eq!(db.value(wanted), wanted_before);
    let kept =
        |indexes: &str| indexes.split(", ").filter(|i| i.contains("free_")).collect::<Vec<_>>().join(", ");
    assert_eq!(kept(&indexes(db, "free")), kept(&built));
}

#[test]
fn a_run_that_is_stopped_ends_what_it_builds_early() {
    for is_loading in [true, false] {
        let scene = scene(pair());
        let before = indexes(&scene.pair.target, "free");
        let _building = gate(&scene.pair.target);
        let _loading = is_loading.then(|| gate(&scene.pair.source));
        let (mut running, _) = start(&scene, program(&scene, "true"));
        wait_for_builder(&scene.pair.target);
        running.interrupt();
        running.wait_until_it_heard();
        fails_and_leaves_nothing(&scene, &running.wait(), 130, &before);
    }
}

#[test]
fn a_table_that_fails_ends_what_is_built_early_of_others() {
    let scene = scene(pair());
    let before = indexes(&scene.pair.target, "free");
    let _building = gate(&scene.pair.target);
    let loading = gate(&scene.pair.source);
    let (running, _) = start(&scene, program(&scene, "1 / (id - 5) > -9"));
    wait_for_builder(&scene.pair.target);
    drop(loading);
    let outcome = running.wait();
    fails(&outcome, "public.parent", &["division by zero"]);
    fails_and_leaves_nothing(&scene, &outcome, 1, &before);
}

#[test]
fn what_a_killed_run_was_building_early_the_next_one_removes() {
    let scene = scene(pair());
    let building = gate(&scene.pair.target);
    let loading = gate(&scene.pair.source);
    let (running, _) = start(&scene, program(&scene, "true"));
    wait_for_builder(&scene.pair.target);
    assert_eq!(running.kill_9().code, None);
    drop(loading);
    // Nobody opens the gate: the servers notice by themselves.
    scene.wait_until_alone();
    scene.assert_old();
    assert_ne!(scene.leftovers(), Vec::<String>::new());
    drop(building);
    succeeds(&scene, &program(&scene, "true").sync());
}

#[test]
fn a_crash_of_the_target_while_an_index_is_built_early_is_survived() {
    let mut servers = quiet_servers();
    let scene = scene(servers.pair());
    let building = gate(&scene.pair.target);
    let loading = gate(&scene.pair.source);
    let (running, _) = start(&scene, program(&scene, "true"));
    wait_for_builder(&scene.pair.target);
    servers.target.crash();
    drop(building);
    servers.target.start_again().unwrap();
    drop(loading);
    let outcome = running.wait();
    succeeds(&scene, &outcome);
    assert_eq!(indexes(&scene.pair.target, "free").split(", ").count(), 2);
}

#[test]
fn a_group_waits_for_an_index_that_is_built_early_and_builds_no_other() {
    let scene = scene(pair());
    let db = &scene.pair.target;
    let building = gate(db);
    let loading = gate(&scene.pair.source);
    let (mut running, new) = start(&scene, program(&scene, "true"));
    wait_for_builder(db);
    // The other table; sooner, the group might come before whoever builds early.
    drop(loading);
    running.wait_for_stderr("waiting for what is built early");
    let sessions = "select count(*) from pg_stat_activity where datname = current_database() and application_name like 'bulkload/%/apply'";
    assert_eq!(db.value(sessions), "1");
    assert!(!indexes(db, &new).contains("free_slow"));
    drop(building);
    succeeds(&scene, &running.wait());
}

#[test]
fn a_stream_that_finds_no_slot_gets_that_of_early_work() {
    let mut scene = scene(pair());
    let db = &mut scene.pair.target;
    let role = db.role("login");
    db.run(&format!(
        "grant create on database {} to {role}; alter schema public owner to {role};
         alter table parent owner to {role}; alter table child owner to {role}; alter table free owner to {role}",
        db.name()
    ));
    let url = db.url_as(&role);
    let building = gate(&scene.pair.target);
    let loading = gate(&scene.pair.source);
    let (mut running, _) = start(&scene, program(&scene, "true").env("TARGET_DATABASE_URL", &url));
    wait_for_builder(&scene.pair.target);
    // One for the run, and one to load or to build with.
    scene.pair.target.run(&format!(
        "alter role {role} connection limit 2;
         select pg_terminate_backend(pid) from pg_stat_activity
         where datname = current_database() and application_name like 'bulkload/%/load'"
    ));
    drop(loading);
    running.wait_for_stderr("loaded; checking, then applying");
    drop(building);
    succeeds(&scene, &running.wait());
    scene.pair.target.run(&format!("reassign owned by {role} to current_user; drop owned by {role}"));
}
