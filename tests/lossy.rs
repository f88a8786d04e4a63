//! Casts that can lose something: told by `plan`, counted by `sync`, found by `verify`, under `[table.columns] lossy`.

use crate::support::{Bulkload, Db, Outcome, Pair, pair};

/// Source type, target type, values that survive, values that do not; what the cast does.
type Case = (&'static str, &'static str, &'static [&'static str], &'static [&'static str], &'static str);

const CASES: &[Case] = &[
    ("numeric(12,4)", "numeric(10,2)", &["1.05", "-7"], &["1.0050"], "decimal places"),
    ("numeric", "numeric(10,2)", &["1.5", "100", "0.10"], &["1.005"], "decimal places"),
    ("numeric(12,4)", "int", &["10"], &["10.4"], "whole numbers"),
    ("numeric(40,20)", "float8", &["1.5", "100"], &["1.00000000000000000001"], "floating-point"),
    ("bigint", "float8", &["9007199254740992"], &["9007199254740993"], "floating-point"),
    ("float8", "real", &["0.5"], &["0.1"], "floating-point"),
    ("float8", "numeric", &["0.1"], &["'0.30000000000000004'"], "15 digits"),
    ("float8", "int", &["3"], &["3.5"], "whole numbers"),
    (
        "timestamp",
        "timestamp(0)",
        &["'2026-07-01 12:00'"],
        &["'2026-07-01 12:00:00.4'"],
        "fractions of a second",
    ),
    (
        "timestamptz",
        "timestamptz(3)",
        &["'2026-07-01 12:00Z'"],
        &["'2026-07-01 12:00:00.0004Z'"],
        "fractions",
    ),
    ("time", "time(0)", &["'12:00'"], &["'12:00:00.4'"], "fractions of a second"),
    ("interval", "interval(0)", &["'1 day'"], &["'1.4 s'"], "fractions of a second"),
    ("interval", "interval year to month", &["'1 year 2 mons'"], &["'1 mon 3 days'"], "fields"),
    // 02:30 is skipped on that day.
    ("timestamp", "timestamptz", &["'2026-07-01 12:00'", "'infinity'"], &["'2026-03-29 02:30'"], "skips"),
    // 00:30 and 01:30 in UTC are both 02:30.
    ("timestamptz", "timestamp", &["'2026-07-01 12:00Z'"], &["'2026-10-25 00:30Z'"], "go back"),
    ("timestamp", "date", &["'2026-07-01'"], &["'2026-07-01 12:00'"], "time of day"),
    ("timetz", "time", &[], &["'12:00+05'"], "time zone"),
    ("varchar", "char(5)", &["'ab'", "''"], &["'ab '"], "trailing spaces"),
    ("varchar(20)", "varchar(3)", &["'abc'", "'a  '"], &["'abc  '"], "trailing spaces"),
    ("text", "name", &["'abc'"], &["repeat('x', 70)"], "truncates long strings"),
    ("text", "\"char\"", &["'a'"], &["'ab'"], "truncates long strings"),
    ("text", "int", &["'42'"], &["'007'"], "parses text"),
    (
        "text",
        "uuid",
        &["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"],
        &["'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"],
        "parses text",
    ),
    (
        "json",
        "jsonb",
        &["'{\"a\": 1}'"],
        &["'{\"b\": 1, \"a\": 1}'", "'{\"a\": 1, \"a\": 2}'"],
        "order of keys",
    ),
    ("inet", "cidr", &["'10.0.0.0/8'"], &["'10.1.2.3/8'"], "host part"),
    ("int", "bool", &["1", "0"], &["7"], "every nonzero number"),
    ("numeric(12,4)[]", "numeric(10,2)[]", &["'{1.05,null}'"], &["'{1.0050}'"], "decimal places"),
    ("bigint[]", "float8[]", &["'{1}'"], &["'{9007199254740993}'"], "floating-point"),
    ("fine", "coarse", &["1.05"], &["1.0050"], "decimal places"),
    ("numrange", "int4range", &["'[1,5)'"], &["'[1,5]'"], "bounds"),
];

/// Casts that keep every value, as the target has it.
const KEPT: &[(&str, &str, &str)] = &[
    ("numeric(10,2)", "numeric(12,4)", "1.05"),
    ("int", "numeric(10,2)", "42"),
    ("bigint", "int", "42"),
    ("int", "float8", "42"),
    ("real", "float8", "0.1"),
    ("numeric(15,2)", "float8", "1234567890123.45"),
    ("money", "numeric(20,2)", "'1.05'"),
    ("varchar(5)", "varchar(9)", "'ab '"),
    ("char(5)", "text", "'ab'"),
    ("char(9)", "varchar(5)", "'ab'"),
    ("int", "char(9)", "42"),
    ("date", "timestamptz", "'2026-07-01'"),
    ("timestamp(0)", "timestamp", "'2026-07-01 12:00'"),
    ("time", "interval", "'12:00'"),
    ("jsonb", "json", "'{\"a\": 1}'"),
    ("text", "json", "'{\"b\":1,  \"a\":1}'"),
    ("varbit", "bit(4)", "'1010'"),
    ("cidr", "inet", "'10.0.0.0/8'"),
    ("int", "oid", "-1"),
    ("int4range", "int8range", "'[1,5]'"),
];

/// Tables `t0`, `t1` and so on with a key and a value of each case, in a source whose clocks change.
fn tables(cases: impl Iterator<Item = (String, String, Vec<String>)>) -> (Pair, usize) {
    let pair = pair();
    pair.source.run(&format!("alter database {} set timezone = 'Europe/Berlin'", pair.source.name()));
    for db in [&pair.source, &pair.target] {
        db.run("create domain fine as numeric(12,4); create domain coarse as numeric(10,2)");
    }
    let mut count = 0;
    for (number, (from, to, values)) in cases.enumerate() {
        pair.source.run(&format!("create table t{number} (id int primary key, v {from})"));
        pair.target.run(&format!("create table t{number} (id int primary key, v {to})"));
        for (id, value) in values.iter().enumerate() {
            pair.source.run(&format!("insert into t{number} values ({id}, {value})"));
        }
        count += 1;
    }
    (pair, count)
}

/// A case with the values that the cast keeps and those that it changes.
fn every_value((from, to, kept, lost, _): &Case) -> (String, String, Vec<String>) {
    let values = kept.iter().chain(*lost).map(|value| (*value).to_owned()).collect();
    ((*from).to_owned(), (*to).to_owned(), values)
}

fn config(tables: usize, rest: &str) -> String {
    (0..tables).map(|number| format!("[[table]]\nname = 't{number}'\n{rest}\n")).collect()
}

/// The lines of `verify` about a table: the first one and those that are indented below it.
fn verified(outcome: &Outcome, table: &str) -> String {
    let mut lines = outcome.stdout.lines().skip_while(|line| !line.contains(&format!(" {table}: ")));
    let first = lines.next().unwrap_or_default().to_owned();
    let rest = lines.take_while(|line| line.starts_with("         "));
    std::iter::once(first.as_str()).chain(rest).collect::<Vec<_>>().join("\n")
}

fn warnings(outcome: &Outcome, table: &str) -> String {
    let warnings = outcome.table(&format!("public.{table}"))["warnings"].clone();
    warnings.as_array().unwrap().iter().filter_map(|line| line.as_str()).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_a_cast_loses_is_told_counted_and_found() {
    let (pair, count) = tables(CASES.iter().map(every_value));
    let program = Bulkload::on(&pair).config(&config(count, ""));
    let plan = program.run(&["plan"]);
    let outcome = program.sync();
    assert_eq!((plan.code, outcome.code), (Some(0), Some(0)), "{plan}{outcome}");
    let compared = program.run(&["-q", "verify"]);
    assert_eq!(compared.code, Some(1), "{compared}");
    assert!(compared.stdout.ends_with("source and target differ\n"), "{compared}");
    for (number, (from, to, kept, lost, why)) in CASES.iter().enumerate() {
        let (table, case) = (format!("t{number}"), format!("{from} to {to}"));
        let told = warnings(&outcome, &table);
        assert!(told.contains("column v: ") && told.contains("can lose information"), "{case}: {told}");
        assert!(told.contains(why), "{case}: {told}");
        let rows = if lost.len() == 1 { "1 row".to_owned() } else { format!("{} rows", lost.len()) };
        assert!(told.contains(&format!("changes {rows}")), "{case}: {told}");
        assert!(plan.stdout.contains(why), "{case}: {plan}");
        let found = verified(&compared, &table);
        assert!(found.starts_with("differs"), "{case}: {found}");
        assert!(found.contains(&format!("         {} not the same", lost.len())), "{case}: {found}");
        for id in kept.len()..kept.len() + lost.len() {
            assert!(found.contains(&format!("id={id} is not the same")), "{case}: {found}");
        }
    }
}

#[test]
fn allowed_losses_are_no_difference_and_other_changes_are() {
    let (pair, count) = tables(CASES.iter().map(every_value));
    let program = Bulkload::on(&pair).config(&config(count, "columns.lossy = 'allow'"));
    let plan = program.run(&["plan"]);
    assert!(!plan.stdout.contains("can lose information"), "{plan}");
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let compared = program.run(&["-q", "verify"]);
    assert_eq!(compared.code, Some(0), "{compared}");
    assert!(compared.stdout.ends_with("source and target agree\n"), "{compared}");
    pair.target.run("update t0 set v = v + 0.01 where id = 0");
    let compared = program.run(&["-q", "verify"]);
    assert!(verified(&compared, "t0").contains("id=0 is not the same"), "{compared}");
}

#[test]
fn a_table_whose_rows_change_fails_where_losses_are_errors_and_others_pass() {
    let halves = CASES.iter().flat_map(|(from, to, kept, lost, _)| {
        [kept, lost].map(|values| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            ((*from).to_owned(), (*to).to_owned(), values)
        })
    });
    let (pair, count) = tables(halves);
    let program = Bulkload::on(&pair).config(&config(count, "columns.lossy = 'error'"));
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(1), "{outcome}");
    for (number, (from, to, ..)) in CASES.iter().enumerate() {
        let case = format!("{from} to {to}");
        let [kept, lost] =
            [2 * number, 2 * number + 1].map(|n| outcome.table(&format!("public.t{n}")).clone());
        assert_eq!(kept["ok"], true, "{case}: {kept}");
        assert_eq!(lost["ok"], false, "{case}: {lost}");
        let error = lost["error"].as_str().unwrap();
        assert!(
            error.contains("column v: the cast of") && error.contains("lossy = \"error\""),
            "{case}: {error}"
        );
        assert_eq!(pair.target.count(&format!("t{}", 2 * number + 1)), 0, "{case}");
    }
    // Rows that are copied straight into the table are judged, too.
    let direct = Bulkload::on(&pair)
        .config("[[table]]\nname = 't0'\napply = 'direct'\ncolumns.lossy = 'error'\n[[table]]\nname = 't1'\napply = 'direct'\ncolumns.lossy = 'error'\n")
        .sync();
    assert_eq!(direct.code, Some(1), "{direct}");
    assert_eq!(direct.table("public.t0")["ok"], true, "{direct}");
    assert_eq!(direct.table("public.t1")["ok"], false, "{direct}");
}

#[test]
fn casts_that_keep_every_value_are_not_told_of_and_agree() {
    let all = |case: &(&str, &str, &str)| (case.0.to_owned(), case.1.to_owned(), vec![case.2.to_owned()]);
    let (pair, count) = tables(KEPT.iter().map(all));
    let program = Bulkload::on(&pair).config(&config(count, ""));
    let plan = program.run(&["plan"]);
    assert!(!plan.stdout.contains("can lose information"), "{plan}");
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let compared = program.run(&["-q", "verify"]);
    assert_eq!(compared.code, Some(0), "{compared}");
    for (number, (from, to, _)) in KEPT.iter().enumerate() {
        let found = verified(&compared, &format!("t{number}"));
        assert!(found.starts_with("ok"), "{from} to {to}: {found}");
    }
}

#[test]
fn a_value_that_the_target_refuses_is_rejected_and_not_counted_as_changed() {
    let pair = pair();
    pair.source.run(
        "create table t (id int primary key, a varchar(20), b numeric(20,4), c varchar(20));
         insert into t values (1, 'abc', 1.5, 'ab'), (2, 'abcdef', 1.5, 'ab'), (3, 'abc', 1234567.5, 'ab'), (4, 'abc', 1.5, 'abcdef')",
    );
    pair.target.run("create table t (id int primary key, a varchar(3), b numeric(5,2), c char(3))");
    let config = "[[table]]\nname = 't'\nmax_rejects = 3\n";
    for lossy in ["warn", "error"] {
        let program = Bulkload::on(&pair).config(&format!("{config}columns.lossy = '{lossy}'\n"));
        let outcome = program.sync();
        assert_eq!(outcome.code, Some(0), "{outcome}");
        assert_eq!(outcome.table("public.t")["rejected"], 3, "{outcome}");
        assert!(!warnings(&outcome, "t").contains("changes"), "{outcome}");
        let compared = program.run(&["-q", "verify"]);
        assert_eq!(compared.code, Some(0), "{compared}");
    }
}

#[test]
fn losses_are_counted_among_the_rows_that_are_read() {
    let pair = pair();
    pair.source.run(
        "create table t (id int primary key, v numeric(12,4), live bool);
         insert into t select i, i + 0.0050, i % 2 = 0 from generate_series(1, 100) i",
    );
    pair.target.run("create table t (id int primary key, v numeric(10,2)); create table q (like t)");
    let outcome = Bulkload::on(&pair)
        .config(
            "[[table]]\nname = 't'\nwhere = 'live'\ncolumns.skip = ['live']\n[[table]]\nname = 'q'\nquery = 'select id, v from t where id <= 10'\n",
        )
        .sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert!(
        warnings(&outcome, "t").contains("the cast of numeric(12,4) to numeric(10,2) changes 50 rows"),
        "{outcome}"
    );
    assert!(
        warnings(&outcome, "q").contains("the cast of numeric(12,4) to numeric(10,2) changes 10 rows"),
        "{outcome}"
    );
}

#[test]
fn local_times_within_arrays_are_read_in_the_zone_of_the_source_and_within_ranges_refused() {
    let pair = pair();
    let zone = |db: &Db, zone: &str| db.run(&format!("alter database {} set timezone = '{zone}'", db.name()));
    zone(&pair.source, "Europe/Berlin");
    zone(&pair.target, "Asia/Tokyo");
    let values = "1, '2024-07-01 12:00', '{2024-07-01 12:00,NULL}', '{2024-07-01}', '{12:00}', '{2024-07-01 12:00+00}'";
    pair.source.run(&format!(
        "create table t (id int, s timestamp, a timestamp[], d date[], e time[], z timestamptz[]);
         insert into t values ({values})"
    ));
    pair.target.run(
        "create table t (id int primary key, s timestamptz, a timestamptz[], d timestamptz[], e timetz[], z timestamp[])",
    );
    let program = Bulkload::on(&pair).config("[[table]]\nname = 't'\n");
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let wanted = pair.source.value(
        "set timezone = 'Europe/Berlin'; select concat_ws(' ', extract(epoch from s::timestamptz), extract(epoch from (a::timestamptz[])[1]),
            extract(epoch from (d::timestamptz[])[1]), ((e::timetz[])[1])::text, ((z::timestamp[])[1])::text) from t",
    );
    let arrived = pair.target.value(
        "select concat_ws(' ', extract(epoch from s), extract(epoch from a[1]), extract(epoch from d[1]), e[1]::text, z[1]::text) from t",
    );
    assert_eq!(arrived, wanted);
    for (from, to) in [("tsrange", "tstzrange"), ("tstzrange[]", "tsrange[]"), ("daterange", "tstzrange")] {
        let pair = crate::support::pair();
        pair.source.run(&format!("create table t (id int, r {from})"));
        pair.target.run(&format!("create table t (id int primary key, r {to})"));
        let outcome = Bulkload::on(&pair).config("[[table]]\nname = 't'\n").run(&["plan"]);
        assert_eq!(outcome.code, Some(2), "{outcome}");
        assert!(outcome.stderr.contains("convert it with expr"), "{outcome}");
    }
}
