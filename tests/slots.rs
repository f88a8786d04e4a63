//! Servers with few connections: fewer streams instead of a failed run.

use crate::support::database::test_options;
use crate::support::{Db, Scene, Servers};

/// A role that owns the scene's tables and may create schemas. Only for those who are no superusers limits count.
fn owner(db: &mut Db) -> String {
    let role = db.role("login");
    db.run(&format!("grant create on database {} to {role}", db.name()));
    for table in ["parent", "child", "free"] {
        db.run(&format!("alter table {table} owner to {role}"));
    }
    role
}

/// Databases are dropped before roles are, but a role is dropped by name in its cluster: what it owns goes first.
fn disown(db: &Db, role: &str) {
    db.run(&format!("reassign owned by {role} to current_user; drop owned by {role}"));
}

#[test]
fn a_connection_limit_that_is_known_beforehand_lowers_the_streams() {
    let mut scene = Scene::shared();
    let role = owner(&mut scene.pair.target);
    scene.pair.target.run(&format!("alter role {role} connection limit 5"));
    let url = scene.pair.target.url_as(&role);
    let outcome = scene.program("delete", "jobs = 8").env("TARGET_DATABASE_URL", &url).sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    scene.assert_new();
    disown(&scene.pair.target, &role);
}

#[test]
fn slots_that_vanish_under_a_run_lower_the_streams() {
    // On the target: control, apply, and one to load; on the source: the snapshot, and one to read, which are opened
    // together.
    for (is_target, limit) in [(true, 4), (true, 3), (true, 2), (false, 3), (false, 2)] {
        let mut scene = Scene::shared();
        let db = if is_target { &mut scene.pair.target } else { &mut scene.pair.source };
        let role = owner(db);
        let variable = if is_target { "TARGET_DATABASE_URL" } else { "SOURCE_DATABASE_URL" };
        let url = db.url_as(&role);
        let what = format!("limit {limit} on the {variable}");
        let mut running = scene
            .program("delete", "jobs = 5")
            .env(variable, &url)
            .hold_at(if is_target { "snapshot.taken" } else { "snapshot.locked" })
            .spawn(&["sync", "--report", "report.json"]);
        running.wait_until_held();
        let db = if is_target { &scene.pair.target } else { &scene.pair.source };
        db.run(&format!("alter role {role} connection limit {limit}"));
        running.go();
        let outcome = running.wait();
        assert_eq!(outcome.code, Some(0), "{what}: {outcome}");
        scene.assert_new();
        if limit > 2 {
            assert!(outcome.stderr.contains("fewer streams"), "{what}: {outcome}");
        }
        db.run(&format!("alter role {role} connection limit -1"));
        disown(db, &role);
    }
}

#[test]
fn a_server_with_few_connections_is_loaded_with_few_streams() {
    let options = test_options()
        .setting("max_connections", 9)
        .setting("superuser_reserved_connections", 2)
        .setting("max_wal_senders", 0)
        .setting("wal_level", "replica");
    let servers = Servers::with(&options);
    let mut scene = Scene::on(servers.pair());
    let role = owner(&mut scene.pair.target);
    let url = scene.pair.target.url_as(&role);
    // Others take what the plan had counted on.
    let mut running = scene
        .program("delete", "jobs = 6")
        .env("TARGET_DATABASE_URL", &url)
        .hold_at("snapshot.taken")
        .spawn(&["sync", "--report", "report.json"]);
    running.wait_until_held();
    let others: Vec<_> = (0..3).map(|_| scene.pair.target.session()).collect();
    running.go();
    let outcome = running.wait();
    drop(others);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    scene.assert_new();
}

#[test]
fn a_server_without_a_free_connection_is_refused_before_anything_is_touched() {
    let mut scene = Scene::shared();
    let role = owner(&mut scene.pair.target);
    let url = scene.pair.target.url_as(&role);
    for limit in [0, 1, 2] {
        scene.pair.target.run(&format!("alter role {role} connection limit {limit}"));
        let outcome = scene.program("delete", "").env("TARGET_DATABASE_URL", &url).sync();
        assert_eq!(outcome.code, Some(2), "limit {limit}: {outcome}");
        scene.assert_old();
        assert!(outcome.stderr.contains("connection"), "{outcome}");
    }
    disown(&scene.pair.target, &role);
}
