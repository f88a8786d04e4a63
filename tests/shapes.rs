//! Tables of every shape, and what can stand in for a table.

use crate::support::contents::assert_same_columns;
use crate::support::{Bulkload, Outcome, Pair, assert_same_contents, pair};

/// So small that tables of a few thousand rows have many chunks.
pub(crate) const CHUNKED: &str = "run.chunk = '8KiB'\nrun.jobs = 4\n";

#[track_caller]
pub(crate) fn sync(pair: &Pair, config: &str) -> Outcome {
    let outcome = Bulkload::on(pair).config(config).sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    outcome
}

#[track_caller]
fn assert_refused(pair: &Pair, config: &str, parts: &[&str]) {
    let outcome = Bulkload::on(pair).config(config).sync();
    assert_eq!(outcome.code, Some(2), "{outcome}");
    for part in parts {
        assert!(outcome.stderr.contains(part), "{part:?} is missing\n{outcome}");
    }
}

/// Three levels of partitions, of which one leaf has its columns in another order and one lost a column.
const PARTITIONED: &str = "
    create table p (id int, kind text, at date, note text) partition by list (kind);
    create table p_a partition of p for values in ('a') partition by range (at);
    create table p_a_1 partition of p_a for values from (minvalue) to ('2026-01-01');
    create table p_a_2 (note text, at date, gone int, kind text, id int);
    alter table p_a_2 drop column gone;
    alter table p_a attach partition p_a_2 for values from ('2026-01-01') to (maxvalue);
    create table \"p b\" partition of p for values in ('b') partition by hash (id);
    create table p_b_0 partition of \"p b\" for values with (modulus 2, remainder 0);
    create table p_b_1 partition of \"p b\" for values with (modulus 2, remainder 1);
    create table p_rest partition of p default;";

const PARTITIONED_ROWS: &str = "
    insert into p select i, (array['a', 'b', 'c', null])[i % 4 + 1], date '2025-12-01' + i % 60, repeat('n', i % 50)
    from generate_series(1, 4000) i";

#[test]
fn partitioned_tables_of_several_levels_arrive_whole() {
    let pair = pair();
    pair.source.run(&format!("{PARTITIONED} {PARTITIONED_ROWS}"));
    pair.target.run("create table p (at date, id int, note text, kind text)");
    for format in ["binary", "text"] {
        let outcome = sync(&pair, &format!("{CHUNKED}[[table]]\nname = 'p'\nformat = '{format}'\n"));
        assert!(outcome.table("public.p")["chunks"].as_u64().unwrap() > 10, "{outcome}");
        assert_same_contents(&pair.source, &pair.target, "public.p");
    }
    // The whole of it in one chunk per leaf, and of a subtree.
    let outcome = sync(&pair, "[[table]]\nname = 'p'\n");
    assert_eq!(outcome.table("public.p")["chunks"], 5, "{outcome}");
    assert_same_contents(&pair.source, &pair.target, "public.p");
    sync(&pair, "[[table]]\nname = 'p'\nfrom = '\"p b\"'\nmax_shrink = '100%'\n");
    let columns = crate::support::contents::columns(&pair.source, "p");
    assert_same_columns((&pair.source, "\"p b\""), (&pair.target, "p"), &columns);
}

#[test]
fn partitioned_targets_are_filled_by_every_method() {
    let pair = pair();
    pair.source.run(
        "create table p (id int, kind text, at date, note text); create table q (like p);
         create view both_ as select * from p",
    );
    pair.source.run(PARTITIONED_ROWS);
    pair.target.run(PARTITIONED);
    for apply in ["truncate", "delete", "direct"] {
        pair.target.run(
            "truncate p; insert into p select i, 'old', '2026-01-01', null from generate_series(1, 4000) i",
        );
        sync(&pair, &format!("{CHUNKED}[[table]]\nname = 'p'\napply = '{apply}'\n"));
        assert_same_contents(&pair.source, &pair.target, "public.p");
    }
    assert_eq!(pair.target.count("p_a_2") + pair.target.count("p_a_1"), 1000);
    // A row that no partition takes: the table fails whole.
    pair.target.run("drop table p_rest");
    let outcome = Bulkload::on(&pair).config("[[table]]\nname = 'p'\n").sync();
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(pair.target.count("p"), 2000);
}

#[test]
fn a_parent_brings_the_rows_of_its_inheritors() {
    let pair = pair();
    pair.source.run(
        "create table t (id int, a text);
         create table child (b int) inherits (t);
         create table reordered (a text, z int, id int); alter table reordered inherit t;
         create table grandchild () inherits (child);
         insert into t select i, 't' from generate_series(1, 1000) i;
         insert into child select i, 'c', i from generate_series(1, 1000) i;
         insert into reordered select 'r', 0, i from generate_series(1, 1000) i;
         insert into grandchild select i, 'g', i from generate_series(1, 1000) i",
    );
    pair.target.run("create table t (id int, a text)");
    for settings in ["", CHUNKED] {
        for apply in ["truncate", "direct"] {
            sync(&pair, &format!("{settings}[[table]]\nname = 't'\napply = '{apply}'\n"));
            assert_eq!(pair.target.count("t"), 4000);
            assert_same_contents(&pair.source, &pair.target, "public.t");
        }
    }
}

#[test]
fn views_materialized_views_and_queries_arrive_like_tables() {
    let pair = pair();
    pair.source.run(
        "create table base (id int, a text, n int);
         insert into base select i, 'x' || i, i % 7 from generate_series(1, 3000) i;
         create view v as select id, a, n from base where n > 1;
         create materialized view m as select id, a, n from base where n > 2;
         create view over_m as select * from m",
    );
    for table in ["v", "m", "q", "over_m", "filtered", "by_page", "direct_m"] {
        pair.target.run(&format!("create table {table} (id int, a text, n int)"));
    }
    let config = "
        [[table]]
        name = 'v'
        [[table]]
        name = 'm'
        [[table]]
        name = 'over_m'
        [[table]]
        name = 'direct_m'
        from = 'm'
        apply = 'direct'
        [[table]]
        name = 'q'
        query = '''
          with x as (select id, n as \"N\" from base where n = 3)
          select x.id, 'q' || x.id as a, \"N\" as n from x -- the end'''
        [[table]]
        name = 'filtered'
        from = 'base'
        where = '''n = 5 or id < 10 -- some'''
        [[table]]
        name = 'by_page'
        from = 'base'
        where = 'n = 5 or id < 10'";
    for settings in ["", CHUNKED, "run.format = 'text'\n"] {
        sync(&pair, &format!("{settings}{config}"));
        for (source, target) in [
            ("v", "v"),
            ("m", "m"),
            ("m", "direct_m"),
            ("m", "over_m"),
            ("(select id, 'q' || id as a, n from base where n = 3) s", "q"),
            ("(select * from base where n = 5 or id < 10) s", "filtered"),
            ("(select * from base where n = 5 or id < 10) s", "by_page"),
        ] {
            let columns = ["id", "a", "n"].map(str::to_owned);
            assert_same_columns((&pair.source, source), (&pair.target, target), &columns);
        }
    }
}

#[test]
fn what_has_no_size_of_its_own_is_taken_to_be_as_large_as_the_table_that_it_fills() {
    let pair = pair();
    pair.source.run(
        "create table t (id int); insert into t values (1); create view v as select * from t; analyze t",
    );
    pair.target.run("create table q (id int); create table v (id int); create table t (id int)");
    for table in ["q", "v", "t"] {
        pair.target.run(&format!("insert into {table} select generate_series(1, 3000); analyze {table}"));
    }
    let config =
        "[[table]]\nname = 'q'\nquery = 'select id from t'\n[[table]]\nname = 'v'\n[[table]]\nname = 't'\n";
    let program = Bulkload::on(&pair).config(config);
    let plan: serde_json::Value = serde_json::from_str(&program.run(&["plan", "--json"]).stdout).unwrap();
    let size = pair.target.value("select pg_table_size('q')");
    let sizes: Vec<String> = plan["tables"]
        .as_array()
        .unwrap()
        .iter()
        .map(|table| format!("{} {} {}", table["name"], table["bytes"], table["rows_estimated"]))
        .collect();
    assert_eq!(
        sizes,
        [
            format!("\"public.q\" {size} 3000"),
            format!("\"public.v\" {size} 3000"),
            "\"public.t\" 8192 1".to_owned()
        ]
    );
    let shown = program.run(&["plan"]).stdout;
    assert_eq!(
        shown.matches("about 3,000 rows if it is as large as the table it replaces, 1 chunk").count(),
        2,
        "{shown}"
    );
}

#[test]
fn a_direct_load_is_accounted_for_like_any_other() {
    let pair = pair();
    pair.source.run("create table t (id int); insert into t select generate_series(1, 1000)");
    pair.target.run("create table t (id int); insert into t values (1)");
    for (apply, gone) in [("direct", 1), ("truncate", 1000)] {
        let table = sync(&pair, &format!("[[table]]\nname = 't'\napply = '{apply}'\n")).table("public.t");
        let figures =
            ["extracted", "staged", "inserted", "deleted", "streams", "chunks", "bytes_in", "bytes_out"];
        // Of each row two bytes for the number of columns and eight for the one; header and trailer.
        let bytes = 1000 * 10 + 19 + 2;
        assert_eq!(
            figures.map(|figure| table[figure].as_u64().unwrap()),
            [1000, 1000, 1000, gone, 1, 1, bytes, bytes],
            "{apply}"
        );
    }
    let recorded = "select count(distinct (bytes_in, bytes_out, streams)) from bulkload.runs";
    assert_eq!(pair.target.value(recorded), "1");
}

#[test]
fn a_query_that_is_wrong_is_refused_before_anything_is_touched() {
    let pair = pair();
    pair.source.run("create table t (a int); insert into t values (1)");
    pair.target.run("create table t (a int); insert into t values (7)");
    for (query, part) in [
        ("select a from", "syntax error"),
        ("select a from t;", "syntax error"),
        ("select a from t; drop table t", ""),
        ("delete from t returning a", ""),
        ("select b from t", "column \"b\" does not exist"),
        ("select a, a from t", "ambiguous"),
    ] {
        let config = format!("[[table]]\nname = 't'\nquery = '{query}'\n");
        assert_refused(&pair, &config, &["bulkload.toml:", part]);
    }
    assert_refused(&pair, "[[table]]\nname = 't'\nwhere = 'a ='\n", &["bulkload.toml:", "syntax error"]);
    assert_eq!(pair.source.value("select a from t") + &pair.target.value("select a from t"), "17");
    assert_eq!(pair.target.value("select count(*) from pg_namespace where nspname = 'bulkload'"), "0");
}

#[test]
fn without_a_key_every_row_arrives_as_often_as_it_is_there() {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run("create table t (a int, b text)");
    }
    pair.source.run("insert into t select i % 3, null from generate_series(1, 3000) i; insert into t values (null, null), (null, null)");
    for _ in 0..2 {
        sync(&pair, &format!("{CHUNKED}[[table]]\nname = 't'\n"));
        assert_same_contents(&pair.source, &pair.target, "public.t");
    }
}

#[test]
fn tables_without_a_common_column_are_refused() {
    let pair = pair();
    pair.source.run("create table t (a int); create table none (); create table other (a int)");
    pair.target.run("create table t (b int); create table none (); create table other (a int)");
    let config = "[[table]]\nname = 'other'\n[[table]]\nname = ";
    for table in ["t", "none"] {
        let expected = format!("public.{table}: source and target have no column in common");
        assert_refused(&pair, &format!("{config}'{table}'\n"), &[&expected]);
    }
    assert_eq!(pair.target.value("select count(*) from pg_namespace where nspname = 'bulkload'"), "0");
}

#[test]
fn a_source_without_rows_is_skipped_applied_or_a_failure() {
    let pair = pair();
    for table in ["skip", "apply", "fail", "direct_skip", "direct_apply", "direct_fail", "was_empty"] {
        for db in [&pair.source, &pair.target] {
            db.run(&format!("create table \"{table}\" (a int)"));
        }
        if table != "was_empty" {
            pair.target.run(&format!("insert into \"{table}\" values (1), (2)"));
        }
    }
    let mut config = "[[table]]\nname = 'was_empty'\non_empty = 'fail'\n".to_owned();
    for word in ["skip", "apply", "fail"] {
        // With `apply` the guard against shrinking has nothing to say: emptying is what was asked for.
        config.push_str(&format!("[[table]]\nname = '\"{word}\"'\non_empty = '{word}'\n"));
        config
            .push_str(&format!("[[table]]\nname = 'direct_{word}'\non_empty = '{word}'\napply = 'direct'\n"));
    }
    let outcome = Bulkload::on(&pair).config(&config).sync();
    assert_eq!(outcome.code, Some(1), "{outcome}");
    for (table, rows, ok) in [
        ("skip", 2, true),
        ("apply", 0, true),
        ("fail", 2, false),
        ("direct_skip", 2, true),
        ("direct_apply", 0, true),
        ("direct_fail", 2, false),
        ("was_empty", 0, true),
    ] {
        assert_eq!(pair.target.count(&format!("\"{table}\"")), rows, "{table}\n{outcome}");
        let report = outcome.report();
        let tables = report["tables"].as_array().unwrap();
        let name = |entry: &&serde_json::Value| {
            entry["name"].as_str().unwrap().replace('"', "") == format!("public.{table}")
        };
        let entry = tables.iter().find(name).unwrap();
        assert_eq!(entry["ok"], ok, "{table}\n{outcome}");
        let warned = entry["warnings"].to_string().contains("has no rows");
        assert_eq!(warned, table.ends_with("skip"), "{table}\n{outcome}");
    }
}

#[test]
fn a_table_of_1600_columns_arrives() {
    let pair = pair();
    let columns: Vec<String> = (0..1600).map(|i| format!("c{i} int2")).collect();
    for db in [&pair.source, &pair.target] {
        db.run(&format!("create table t ({})", columns.join(", ")));
    }
    let values: Vec<String> = (0..1600).map(|i| format!("{i}")).collect();
    pair.source
        .run(&format!("insert into t values ({}); insert into t (c1599) values (-1)", values.join(", ")));
    for format in ["binary", "text"] {
        sync(&pair, &format!("[[table]]\nname = 't'\nformat = '{format}'\n"));
        assert_same_contents(&pair.source, &pair.target, "public.t");
    }
}
