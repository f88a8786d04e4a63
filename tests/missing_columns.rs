//! Columns that only the target has, and columns that the source has lost.

use crate::support::{Bulkload, Outcome, Pair, pair};

/// A table whose column `seen` and whose column `note` only the target has. A first run has loaded it; since then the app has
/// seen its rows, and one of them has changed in the source.
fn world(apply: &str) -> (Pair, Bulkload) {
    let pair = pair();
    pair.source.run(
        "create table t (id int primary key, v text); insert into t values (1, 'a'), (2, 'b'), (3, 'c')",
    );
    pair.target
        .run("create table t (id int primary key, v text, seen bool not null default false, note text)");
    let program = Bulkload::on(&pair).config(&format!("[[table]]\nname = 't'\n{apply}\n"));
    let outcome = Bulkload::on(&pair).config("[[table]]\nname = 't'\n").sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    pair.target.run("update t set seen = true, note = 'n'");
    pair.source.run("update t set v = 'B' where id = 2; insert into t values (4, 'd')");
    (pair, program)
}

/// The rows of the table, in short.
fn rows(pair: &Pair) -> String {
    pair.target
        .value("select string_agg(concat_ws(' ', id, v, seen, coalesce(note, '-')), ', ' order by id) from t")
}

const KEPT: &str = "1 a t n, 2 B t n, 3 c t n, 4 d f -";
const RESET: &str = "1 a f -, 2 B f -, 3 c f -, 4 d f -";
const KEEPS: &str = "existing rows keep their values";
const LOSES: &str = "in every row; the values on the target are lost";

#[test]
fn plan_and_report_say_what_becomes_of_a_column_by_method() {
    for (config, expected, said) in [
        ("apply = 'delta'", KEPT, KEEPS),
        ("strategy = 'upsert'", KEPT, KEEPS),
        ("strategy = 'insert'", "1 a t n, 2 b t n, 3 c t n, 4 d f -", "existing rows are left alone"),
        ("apply = 'truncate'", RESET, LOSES),
        ("apply = 'delete'", RESET, LOSES),
        ("apply = 'swap'", RESET, LOSES),
        ("apply = 'direct'", RESET, LOSES),
        ("apply = 'delta'\nmissing = 'keep'", KEPT, KEEPS),
        ("apply = 'auto'\nmissing = 'keep'", KEPT, KEEPS),
        ("apply = 'delta'\nmissing = 'default'", RESET, LOSES),
        ("strategy = 'upsert'\nmissing = 'default'", RESET, LOSES),
        ("apply = 'truncate'\nmissing = 'default'", RESET, LOSES),
        ("apply = 'swap'\nmissing = 'default'", RESET, LOSES),
    ] {
        let (pair, program) = world(config);
        let plan = program.run(&["plan"]);
        assert_eq!(plan.code, Some(0), "{config} {plan}");
        let text = plan.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            text.contains("column seen of the target is not in the source: it gets its default in "),
            "{config} {plan}"
        );
        assert!(text.contains(said), "{config} {plan}");
        let outcome = program.sync();
        assert_eq!(outcome.code, Some(0), "{config} {outcome}");
        assert_eq!(rows(&pair), expected, "{config}");
        let warnings = outcome.table("public.t")["warnings"].to_string();
        let is_warned = warnings.contains("column note of the target is not in the source: it gets NULL in ");
        assert_eq!(
            is_warned,
            !config.contains("missing") && !config.contains("insert"),
            "{config} {warnings}"
        );
        // What nothing has changed since is the same after the next run.
        let outcome = program.sync();
        assert_eq!(outcome.code, Some(0), "{config} {outcome}");
        assert_eq!(rows(&pair), expected, "{config}");
        if config.contains("delta") || config.contains("upsert") {
            assert_eq!(outcome.table("public.t")["unchanged"], 4, "{config} {outcome}");
        }
    }
}

#[test]
fn what_shall_be_kept_refuses_the_methods_that_reset_it() {
    let (pair, _) = world("");
    for method in ["truncate", "delete", "swap", "direct"] {
        let config = format!("[[table]]\nname = 't'\napply = '{method}'\nmissing = 'keep'\n");
        let outcome = Bulkload::on(&pair).config(&config).sync();
        assert_eq!(outcome.code, Some(2), "{method} {outcome}");
        let message = format!(
            "apply = \"{method}\" is not possible: it would reset seen, note, which missing = \"keep\" keeps"
        );
        assert!(outcome.stderr.contains(&message), "{outcome}");
        assert!(outcome.stderr.contains("Possible here: apply = \"delta\"."), "{outcome}");
    }
    // Also where the table is empty, which `auto` would swap or truncate otherwise.
    pair.target.run("truncate t");
    let outcome = Bulkload::on(&pair).config("[[table]]\nname = 't'\nmissing = 'keep'\n").sync();
    assert_eq!(outcome.table("public.t")["apply"], "delta", "{outcome}");
    let outcome = Bulkload::on(&pair).config("[[table]]\nname = 't'\nmissing = 'kept'\n").sync();
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(
        outcome.stderr.contains("missing: expected one of keep, default, error, found \"kept\""),
        "{outcome}"
    );
}

#[test]
fn what_a_rule_fills_is_not_missing() {
    let (pair, _) = world("");
    let config = "[[table]]\nname = 't'\napply = 'delta'\nmissing = 'error'\n\
        columns.default = { seen = 'true', note = 'given' }\n";
    let outcome = Bulkload::on(&pair).config(config).sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(rows(&pair), "1 a t given, 2 B t given, 3 c t given, 4 d t given");
}

/// Two tables of one group, of which `parent` has a column `x` that `child` does not have, one that looks `parent` up, and one
/// on its own; all loaded once.
fn group(config: &str) -> (Pair, Bulkload) {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run(
            "create table parent (id int primary key, x text);
             create table child (id int primary key, parent_id int references parent);
             create table looks (id int primary key, parent_id int, x text);
             create table alone (id int primary key, v text)",
        );
    }
    pair.source.run(
        "insert into parent values (1, 'old'), (2, 'old');
         insert into child values (1, 1); insert into looks values (1, 1); insert into alone values (1, 'old')",
    );
    let text = format!(
        "[[table]]\nname = 'parent'\n{config}\n[[table]]\nname = 'child'\n[[table]]\nname = 'looks'\n\
         [[table.lookup]]\ncolumn = 'x'\nfrom = 'parent'\nmatch = {{ parent_id = 'id' }}\nvalue = 'id'\n\
         [[table]]\nname = 'alone'\n"
    );
    let program = Bulkload::on(&pair).config(&text);
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    pair.source.run(
        "update parent set x = 'new'; insert into child values (2, 2); update alone set v = 'new';
         alter table parent rename x to z",
    );
    (pair, program)
}

/// Whether each table of a report is ok, in its order.
fn verdicts(outcome: &Outcome) -> Vec<(String, bool)> {
    let report = outcome.report();
    let tables = report["tables"].as_array().unwrap();
    tables.iter().map(|table| (table["name"].as_str().unwrap().to_owned(), table["ok"] == true)).collect()
}

#[test]
fn a_column_that_the_source_has_lost_fails_its_group_and_no_other() {
    let (pair, program) = group("");
    for _ in 0..2 {
        let outcome = program.sync();
        assert_eq!(outcome.code, Some(1), "{outcome}");
        let failed = ["parent", "child", "looks"].map(|name| (format!("public.{name}"), false));
        assert_eq!(verdicts(&outcome), [&failed[..], &[("public.alone".to_owned(), true)]].concat());
        let error = outcome.table("public.parent")["error"].as_str().unwrap().to_owned();
        assert!(
            error.contains("public.parent: the source no longer has a column that the last run loaded: x"),
            "{error}"
        );
        let error = outcome.table("public.looks")["error"].as_str().unwrap().to_owned();
        assert_eq!(error, "not applied, because public.parent of the same transaction failed");
        assert!(outcome.stdout.contains("rename = { z = \"x\" }"), "{outcome}");
        assert_eq!(pair.target.value("select string_agg(x, ' ') from parent"), "old old");
        assert_eq!(
            (pair.target.count("child"), pair.target.value("select v from alone")),
            (1, "new".to_owned())
        );
    }
    let runs = "select string_agg(table_name || ' ' || ok, ', ' order by entry) from bulkload.runs
        where run_id = (select max(run_id) from bulkload.runs)";
    assert_eq!(
        pair.target.value(runs),
        "public.parent false, public.child false, public.looks false, public.alone true"
    );
    let status = program.run(&["status"]);
    assert_eq!(status.code, Some(1), "{status}");
    assert!(status.stdout.contains("failed  parent") && status.stdout.contains("ok      alone"), "{status}");

    for (command, code, text) in [
        ("plan", 1, "not loaded: 3 tables\n  public.parent\n    fails    bulkload.toml:"),
        ("check", 1, "a run can start, but at least one table fails\n"),
        ("verify", 1, "not all tables could be compared"),
    ] {
        let outcome = program.run(&[command]);
        assert_eq!(outcome.code, Some(code), "{command} {outcome}");
        assert!(outcome.stdout.contains(text), "{command} {outcome}");
    }
    // A table of another group alone is not concerned.
    assert_eq!(program.run(&["plan", "--table", "alone"]).code, Some(0));

    // The operator says what has happened: the column was renamed.
    let (pair, program) = (&pair, std::fs::read_to_string(program.dir().join("bulkload.toml")).unwrap());
    let renamed = program.replace("name = 'parent'\n", "name = 'parent'\ncolumns.rename = { z = 'x' }\n");
    let outcome = Bulkload::on(pair).config(&format!("#[source]\n{renamed}")).sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(pair.target.value("select string_agg(x, ' ') from parent"), "new new");
    assert_eq!(pair.target.count("child"), 2);
}

#[test]
fn a_column_that_is_gone_for_good_is_kept_or_reset_if_the_config_says_so() {
    for (config, expected) in [
        ("missing = 'keep'", "old old"),
        ("missing = 'default'", "- -"),
        ("missing = 'default'\napply = 'delta'", "- -"),
    ] {
        let (pair, program) = group("");
        let text = std::fs::read_to_string(program.dir().join("bulkload.toml")).unwrap();
        let text = text.replace("name = 'parent'\n", &format!("name = 'parent'\n{config}\n"));
        let program = program.file("bulkload.toml", &text);
        let outcome = program.sync();
        assert_eq!(outcome.code, Some(0), "{config} {outcome}");
        assert_eq!(
            pair.target.value("select string_agg(coalesce(x, '-'), ' ') from parent"),
            expected,
            "{config}"
        );
        assert_eq!(pair.target.count("child"), 2);
    }
}

#[test]
fn a_run_all_of_whose_tables_fail_exits_with_1_and_holds_nothing() {
    let (pair, program) = group("");
    let outcome = program.run(&["sync", "--table", "parent", "--report", "report.json"]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(verdicts(&outcome), [("public.parent".to_owned(), false)]);
    assert_eq!(pair.target.value("select count(*) from bulkload.runs where finished_at is null"), "0");
    let text = std::fs::read_to_string(program.dir().join("bulkload.toml")).unwrap();
    let program = program.file("bulkload.toml", &format!("run.commit = 'run'\n{text}"));
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(verdicts(&outcome).iter().all(|(_, ok)| !ok), "all tables are one transaction: {outcome}");
}

#[test]
fn a_column_that_must_be_filled_fails_its_table_alone() {
    let (pair, program) = group("");
    pair.source.run("alter table parent rename z to x");
    let text = std::fs::read_to_string(program.dir().join("bulkload.toml")).unwrap();
    let program = program
        .file("bulkload.toml", &text.replace("name = 'parent'\n", "name = 'parent'\nmissing = 'error'\n"));
    assert_eq!(program.sync().code, Some(0));
    pair.target.run("alter table parent add column extra int");
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let error = outcome.table("public.parent")["error"].as_str().unwrap().to_owned();
    assert!(error.contains("nothing fills a column of the target: extra (missing = \"error\")"), "{error}");
    assert_eq!(outcome.table("public.alone")["ok"], true);
}

/// One table that the source loses something of, and one on its own, which is loaded whatever becomes of the first.
struct Drift {
    /// What both sides have of `t`; `source` and `target` besides.
    both: &'static str,
    source: &'static str,
    target: &'static str,
    config: &'static str,
    /// What happens then.
    change: &'static str,
    /// On which side.
    is_on_target: bool,
    error: &'static str,
}

#[test]
fn whatever_the_source_has_lost_fails_one_table_only() {
    let usual = Drift {
        both: "create table t (id int primary key, x text)",
        source: "insert into t values (1, 'a')",
        target: "",
        config: "",
        change: "",
        is_on_target: false,
        error: "the source no longer has a column that the last run loaded: x",
    };
    let drifts = [
        Drift { change: "alter table t drop column x", ..usual },
        // It is taken from another name, and the new one would be extra.
        Drift {
            target: "alter table t rename x to y",
            config: "columns.rename = { x = 'y' }\ncolumns.extra = 'error'",
            change: "alter table t rename x to z",
            error: "the source no longer has a column that the last run loaded: x (into y)",
            ..usual
        },
        Drift {
            target: "alter table t alter x set not null",
            change: "alter table t drop column x",
            ..usual
        },
        // A view, which a query reads.
        Drift {
            source: "insert into t values (1, 'a'); create view w as select * from t",
            config: "query = 'select * from w'",
            change: "drop view w; create view w as select id from t",
            ..usual
        },
        // The source refuses the query itself.
        Drift {
            config: "query = 'select id, x from t'",
            change: "alter table t rename x to z",
            error: "column \"x\" does not exist",
            ..usual
        },
        Drift {
            config: "where = \"gone is null\"",
            source: "alter table t add column gone text; insert into t values (1, 'a')",
            change: "alter table t drop column gone",
            error: "column \"gone\" does not exist",
            ..usual
        },
        Drift {
            config: "columns.set = { x = { expr = 'gone' } }",
            source: "alter table t add column gone text; insert into t values (1, 'a')",
            change: "alter table t drop column gone",
            error: "column \"gone\" does not exist",
            ..usual
        },
        // The key, and an identity: fresh values would take the place of the source's.
        Drift {
            change: "alter table t rename id to number",
            error: "the source no longer has a column that the last run loaded: id",
            ..usual
        },
        Drift {
            both: "create table t (id int generated by default as identity primary key, x text)",
            change: "alter table t drop column id",
            error: "the source no longer has a column that the last run loaded: id",
            ..usual
        },
        Drift {
            both: "create table t (id int primary key, x text)",
            target: "alter table t add column twice text generated always as (x || x) stored",
            change: "alter table t alter twice drop expression",
            is_on_target: true,
            error: "the target computed twice when it was last loaded, and nothing fills it now",
            ..usual
        },
        // A column that a lookup matches by and that is not loaded.
        Drift {
            source: "alter table t add column k int default 1; insert into t values (1, 'a')",
            target: "create table names (k int primary key, x text); insert into names values (1, 'a')",
            config: "[[table.lookup]]\ncolumn = 'x'\nfrom = 'names'\nmatch = { k = 'k' }\nvalue = 'x'",
            change: "alter table t drop column k",
            error: "the source has no column k",
            ..usual
        },
    ];
    for drift in drifts {
        let pair = pair();
        for db in [&pair.source, &pair.target] {
            db.run(drift.both);
            db.run("create table alone (id int primary key)");
        }
        pair.source.run("insert into alone values (1)");
        pair.source.run(drift.source);
        pair.target.run(drift.target);
        let name = drift.change;
        let config = format!("[[table]]\nname = 'alone'\n[[table]]\nname = 't'\n{}\n", drift.config);
        let program = Bulkload::on(&pair).config(&config);
        // Never loaded: this is no drift, but a config that does not fit.
        let outcome = program.sync();
        assert_eq!(outcome.code, Some(0), "{name} {outcome}");
        let before = pair.target.value("select t::text from t");
        let db = if drift.is_on_target { &pair.target } else { &pair.source };
        db.run(drift.change);
        pair.source.run("insert into alone values (2)");
        let outcome = program.sync();
        assert_eq!(outcome.code, Some(1), "{name} {outcome}");
        let error = outcome.table("public.t")["error"].as_str().unwrap().to_owned();
        assert!(error.contains(drift.error), "{name}: {error}");
        assert_eq!(pair.target.value("select t::text from t"), before, "{name}");
        assert_eq!(pair.target.count("alone"), 2, "{name}");
        for command in ["plan", "verify"] {
            let outcome = program.run(&[command]);
            assert_eq!(outcome.code, Some(1), "{name} {command} {outcome}");
        }
    }
}

#[test]
fn a_header_that_has_lost_a_column_fails_its_table_but_seed_takes_any_file() {
    let pair = pair();
    pair.target.run("create table t (id int primary key, x text); create table alone (id int primary key)");
    let config = "[[table]]\nname = 't'\ncsv = 't.csv'\n[[table]]\nname = 'alone'\ncsv = 'alone.csv'\n";
    let program =
        Bulkload::on(&pair).config(config).file("t.csv", "id,x\n1,a\n").file("alone.csv", "id\n1\n");
    assert_eq!(program.sync().code, Some(0));
    let program = program.file("t.csv", "id,z\n1,b\n").file("alone.csv", "id\n1\n2\n");
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let error = outcome.table("public.t")["error"].as_str().unwrap().to_owned();
    assert!(error.contains("the source no longer has a column that the last run loaded: x"), "{error}");
    assert_eq!((pair.target.value("select x from t"), pair.target.count("alone")), ("a".to_owned(), 2));

    let program = program.file("t.csv", "id\n2\n");
    let outcome = program.run(&["seed", "t.csv", "--strategy", "upsert", "--yes"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(pair.target.count("t"), 2);
    // Nor does that make the config's table forget what its files had.
    assert_eq!(program.sync().code, Some(1));
}

#[test]
fn a_state_of_an_older_shape_knows_of_no_column_and_is_completed() {
    let (pair, program) = group("");
    pair.source.run("alter table parent rename z to x");
    pair.target.run("alter table bulkload.sync_state drop column filled");
    assert_eq!(program.run(&["status"]).code, Some(0));
    assert_eq!(program.sync().code, Some(0));
    pair.source.run("alter table parent rename x to z");
    assert_eq!(program.sync().code, Some(1));
}

#[test]
fn a_config_that_names_what_was_never_there_stops_the_run_as_ever() {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run("create table t (id int primary key, x text)");
    }
    for config in ["query = 'select nothing from t'", "where = 'nothing'", "columns.skip = ['nothing']"] {
        let outcome = Bulkload::on(&pair).config(&format!("[[table]]\nname = 't'\n{config}\n")).sync();
        assert_eq!(outcome.code, Some(2), "{config} {outcome}");
    }
}

#[test]
fn a_lookup_of_a_column_that_the_run_does_not_load_is_refused_in_the_plan() {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run("create table head (id int primary key); create table task (id int primary key, head int, code text)");
    }
    pair.target.run("alter table head add column code text");
    let config = "[[table]]\nname = 'head'\n[[table]]\nname = 'task'\n[[table.lookup]]\ncolumn = 'code'\n\
        from = 'head'\nmatch = { head = 'id' }\nvalue = 'code'\n";
    let outcome = Bulkload::on(&pair).config(config).run(&["plan"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    let message =
        "public.task: the lookup of code needs column code of public.head, which this run loads without it";
    assert!(outcome.stderr.contains(message), "{outcome}");
}
