//! A peer that stands still without breaking its connections: the operator is told where, and nothing is given up.

use crate::support::{Bulkload, Outcome, Proxy, Running, Scene, assert_same_contents};

/// A program whose target is behind a proxy, and which loses patience soon; held at a fail point.
#[track_caller]
fn held(scene: &Scene, apply: &str, point: &str, arguments: &[&str]) -> (Proxy, Running) {
    let proxy = Proxy::to(scene.pair.target.port());
    let program: Bulkload = scene
        .program(apply, "jobs = 1\ncommit = 'run'")
        .env("TARGET_DATABASE_URL", &scene.pair.target.url_through(proxy.port()))
        .fail_point("progress.stalls_after", "return(300)")
        .hold_at(point);
    let mut running = program.spawn(&[&["sync"], arguments].concat());
    running.wait_until_held();
    (proxy, running)
}

/// Freezes the target until this is told, then all goes well.
#[track_caller]
fn tells(scene: &Scene, apply: &str, point: &str, arguments: &[&str], words: &[&str]) {
    let (proxy, mut running) = held(scene, apply, point, arguments);
    proxy.freeze(true);
    running.go();
    for word in words {
        running.wait_for_stderr(word);
    }
    proxy.freeze(false);
    let outcome: Outcome = running.wait();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    scene.assert_tidy();
}

const STUCK: &str = "the source sends no data, or the target accepts none";

#[test]
fn a_load_that_stands_still_is_named_and_waited_for() {
    let scene = Scene::shared();
    let words = ["warn load     no progress for ", STUCK, "table=public.free"];
    tells(&scene, "delete", "load.chunk_copied", &[], &words);
    scene.assert_new();
}

#[test]
fn a_direct_load_that_stands_still_is_named_as_a_load() {
    let scene = Scene::shared();
    // More than all buffers on the way take.
    scene.pair.source.run(
        "insert into free (v, filler) select 'more ' || i, repeat('x', 900) from generate_series(1, 40000) i",
    );
    let words = ["warn load     no progress for ", STUCK, "table=public.free"];
    tells(&scene, "direct", "apply.copying", &["--table", "free"], &words);
    assert_same_contents(&scene.pair.source, &scene.pair.target, "free");
}

#[test]
fn a_server_that_does_not_answer_before_the_load_is_told_of() {
    let scene = Scene::shared();
    tells(&scene, "delete", "plan.done", &[], &["warn stage    still waiting after ", "or does not answer"]);
    scene.assert_new();
}

#[test]
fn a_long_exchange_is_told_of_without_a_warning() {
    let scene = Scene::shared();
    tells(&scene, "delete", "apply.locked", &[], &[" apply    still working after ", "with 2 others"]);
    scene.assert_new();
}
