//! Guards against a source that lost its rows.

use crate::support::Rows::{New, Old};
use crate::support::{Outcome, Scene};

const METHODS: [&str; 4] = ["delta", "delete", "truncate", "direct"];

#[track_caller]
fn fails(scene: &Scene, outcome: &Outcome, table: &str, words: &[&str]) {
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let report = outcome.table(table);
    assert_eq!(report["ok"], false, "{outcome}");
    let error = report["error"].as_str().unwrap();
    for word in words {
        assert!(error.contains(word), "{word}: {error}");
    }
    scene.assert_tidy();
}

#[test]
fn a_table_that_would_shrink_too_much_keeps_its_rows() {
    for apply in METHODS {
        let scene = Scene::shared();
        // 2000 rows on the target.
        scene.pair.source.run("delete from free where id > 999");
        let outcome = scene.program(apply, "").sync();
        fails(&scene, &outcome, "public.free", &["2000", "999", "max_shrink"]);
        assert_eq!(scene.rows(), (New, Old), "{apply}");
    }
}

#[test]
fn the_limit_itself_is_allowed_and_may_be_rows_or_percent() {
    for (left, limit, code) in [
        (1000, "'50%'", 0),
        (999, "'50%'", 1),
        (999, "'60%'", 0),
        (1990, "10", 0),
        (1989, "10", 1),
        (1, "'100%'", 0),
        (1999, "0", 1),
    ] {
        let scene = Scene::shared();
        scene.pair.source.run(&format!("delete from free where id > {left}"));
        let outcome = scene.program("delete", &format!("max_shrink = {limit}")).sync();
        assert_eq!(outcome.code, Some(code), "{left} rows, max_shrink = {limit}: {outcome}");
        assert_eq!(scene.pair.target.count("free"), if code == 0 { left } else { 2000 });
    }
}

#[test]
fn a_source_without_rows_is_skipped_or_believed_or_a_failure() {
    for apply in METHODS {
        for (on_empty, code, rows) in [("skip", 0, 2000), ("apply", 0, 0), ("fail", 1, 2000)] {
            let scene = Scene::shared();
            scene.pair.source.run("truncate free");
            let outcome = scene.program(apply, &format!("on_empty = '{on_empty}'")).sync();
            assert_eq!(outcome.code, Some(code), "{apply}, {on_empty}: {outcome}");
            assert_eq!(scene.pair.target.count("free"), rows, "{apply}, {on_empty}");
            assert_eq!(scene.pair.target.count("parent"), 300, "the other group is applied");
            let table = outcome.table("public.free");
            assert_eq!(table["ok"], code == 0);
            let warned = table["warnings"].to_string().contains("on_empty");
            assert_eq!(warned, on_empty == "skip", "{outcome}");
            scene.assert_tidy();
        }
    }
}

#[test]
fn a_child_that_is_skipped_keeps_its_parent_from_being_replaced() {
    // With delta it depends on which rows of the parent vanish: none that it refers to may.
    for apply in ["delete", "truncate", "direct"] {
        let scene = Scene::shared();
        scene.pair.source.run("truncate child");
        let outcome = scene.program(apply, "").sync();
        fails(&scene, &outcome, "public.child", &["public.parent"]);
        assert_eq!(outcome.table("public.parent")["ok"], false);
        assert_eq!(scene.rows(), (Old, New), "{apply}");
    }
}

#[test]
fn a_parent_that_is_skipped_keeps_its_rows_and_its_children_must_fit() {
    for apply in METHODS {
        let scene = Scene::shared();
        // All children of the source reference parents that the target has, too.
        scene.pair.source.run("update child set parent_id = 1, code = 'code 1'; alter table child drop constraint child_parent_id_fkey, drop constraint child_code_fkey; truncate parent");
        let outcome = scene.program(apply, "").sync();
        let (parents, children) = (scene.pair.target.count("parent"), scene.pair.target.count("child"));
        match outcome.code {
            Some(0) => assert_eq!((parents, children), (200, 900), "{apply}: {outcome}"),
            // TRUNCATE of a table that is referenced, or orphans: then nothing is changed.
            Some(1) => assert_eq!((parents, children), (200, 600), "{apply}: {outcome}"),
            _ => panic!("{apply}: {outcome}"),
        }
        let orphans = "child c left join parent p on p.id = c.parent_id where p.id is null";
        assert_eq!(scene.pair.target.count(orphans), 0);
        scene.assert_tidy();
    }
}

#[test]
fn a_target_that_is_empty_may_stay_so() {
    for apply in METHODS {
        let scene = Scene::shared();
        scene.pair.source.run("truncate free");
        scene.pair.target.run("truncate free");
        let outcome = scene.program(apply, "on_empty = 'fail'\nmax_shrink = 0").sync();
        assert_eq!(outcome.code, Some(0), "{apply}: {outcome}");
        assert_eq!(scene.pair.target.count("free"), 0);
    }
}
