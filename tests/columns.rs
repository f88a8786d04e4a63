//! How columns find each other: by name, cast by the source where types differ, under the rules of `[table.columns]`.

use crate::support::{Bulkload, Outcome, Pair, pair};

/// A pair with a table on each side, made by these statements.
fn with(source: &str, target: &str) -> Pair {
    let pair = pair();
    pair.source.run(source);
    pair.target.run(target);
    pair
}

#[track_caller]
fn sync(pair: &Pair, config: &str) -> Outcome {
    let outcome = Bulkload::on(pair).config(config).sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    outcome
}

/// Rows of the target, fields by `|`, NULL as `~`.
#[track_caller]
fn target_rows(pair: &Pair, sql: &str) -> Vec<String> {
    let text = |row: Vec<Option<String>>| {
        row.into_iter().map(|field| field.unwrap_or_else(|| "~".to_owned())).collect::<Vec<_>>().join("|")
    };
    pair.target.rows(sql).into_iter().map(text).collect()
}

/// The one message of a run that could not start.
#[track_caller]
fn assert_refused(pair: &Pair, config: &str, parts: &[&str]) {
    for command in ["plan", "sync"] {
        let outcome = Bulkload::on(pair).config(config).run(&[command]);
        assert_eq!(outcome.code, Some(2), "{outcome}");
        for part in parts {
            assert!(outcome.stderr.contains(part), "{part:?} is missing\n{outcome}");
        }
    }
}

#[test]
fn the_plan_tells_what_becomes_of_values_that_a_cast_refuses() {
    let pair = with(
        "create table t (id bigint, v text, w int, n numeric, same text)",
        "create table t (id int primary key, v date, w bigint, n int, same text)",
    );
    let planned = |config: &str| {
        let outcome = Bulkload::on(&pair).config(&format!("[[table]]\nname = 't'\n{config}")).run(&["plan"]);
        assert_eq!(outcome.code, Some(0), "{outcome}");
        outcome.stdout
    };
    let line =
        "    note     a value of id, v that the cast refuses rejects its row; all other rows are loaded\n";
    let plan = planned("");
    assert!(plan.contains(line) && plan.contains("column v: the source casts text to date"), "{plan}");
    pair.target.run("alter table t drop constraint t_pkey");
    let plan = planned("apply = 'direct'\n");
    assert!(
        plan.contains("of id, v that the cast refuses fails the table: apply = \"direct\" rejects no rows"),
        "{plan}"
    );
    pair.source.run("alter table t alter id type int, alter v type date using null");
    assert!(!planned("").contains("that the cast refuses"));
}

#[test]
fn a_cast_that_fails_the_table_is_named_with_what_to_do() {
    let pair = with(
        "create table t (id int primary key, n numeric); insert into t values (1, 1), (2, 2e20)",
        "create table t (id int primary key, n int)",
    );
    let outcome = Bulkload::on(&pair).config("[[table]]\nname = 't'\n").run(&["-q", "sync"]);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let text = outcome.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        text.contains("FAILED t: chunk 0: ") && text.contains("integer out of range [22003]"),
        "{outcome}"
    );
    assert!(text.contains("hint: The source casts n to integer. Exclude rows that do not fit"), "{outcome}");
}

/// One table fails at its data, another is applied; the first one keeps what it had.
#[track_caller]
fn assert_only_t_fails(pair: &Pair, before: &[&str], sqlstate: &str) {
    let config = "[[table]]\nname = 't'\n[[table]]\nname = 'other'\n";
    for db in [&pair.source, &pair.target] {
        db.run("create table if not exists other (id int)");
    }
    pair.source.run("insert into other values (1)");
    let outcome = Bulkload::on(pair).config(config).sync();
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let failed = outcome.table("public.t");
    assert_eq!(failed["ok"], false, "{outcome}");
    assert!(failed["error"].as_str().unwrap().contains(sqlstate), "{sqlstate}\n{outcome}");
    assert_eq!(outcome.table("public.other")["ok"], true, "{outcome}");
    assert_eq!(target_rows(pair, "select * from t order by 1"), before);
    assert_eq!(
        pair.target.value("select count(*) from pg_class where relname like 't\\_\\_%'"),
        "0",
        "staging is left"
    );
}

#[test]
fn differing_types_are_cast_by_the_source() {
    let pair = with(
        "create table t (id int2, a varchar(20), b int4, c numeric, d text, e text, f char(5), g timestamp, h bigint,
                         i text, j json, k real, l date, m text, n text, o text);
         insert into t values (1, 'abc', 7, 1.5, '2026-01-02', '{\"a\": 1}', 'x', '2026-01-02 03:04:05', 42,
                               'f', '{\"b\":  2}', 0.1, '2026-05-06', '1010', '3', 'wide  ');",
        "create table t (id int8, a text, b int8, c int, d date, e jsonb, f text, g date, h numeric(10,2),
                         i bool, j jsonb, k float8, l timestamp, m bit(4), n smallint, o char(9))",
    );
    let outcome = sync(&pair, "[[table]]\nname = 't'\n");
    assert_eq!(outcome.table("public.t")["format"], "binary");
    let row = "1|abc|7|2|2026-01-02|{\"a\": 1}|x|2026-01-02|42.00|f|{\"b\": 2}|0.1|2026-05-06 00:00:00|1010|3|wide     ";
    // What real 0.1 is as a double is the cast's business, not ours: compare what the source makes of it.
    let k = pair.source.value("select k::float8 from t");
    assert_eq!(target_rows(&pair, "select * from t"), [row.replace("|0.1|", &format!("|{k}|"))]);
}

#[test]
fn both_formats_bring_the_same_where_types_differ() {
    let source = "
        create table t (a timestamp, b text, c char(3), d int, e float8, f timestamptz);
        insert into t values ('2026-07-01 12:00', '2026-07-01 12:00', 'a', 5, 1e15, '2026-07-01 12:00+00'),
                             ('infinity', '-infinity', '', -5, 'NaN', 'infinity')";
    let pair = with(
        source,
        "create table b (a timestamptz, b timestamptz, c varchar(3), d text, e numeric, f text)",
    );
    pair.target.run("create table t (like b)");
    sync(
        &pair,
        "[[table]]\nname = 'b'\nfrom = 't'\nformat = 'binary'\n[[table]]\nname = 't'\nformat = 'text'\n",
    );
    assert_eq!(pair.target.count("b"), 2);
    assert_eq!(target_rows(&pair, "(table b except table t) union all (table t except table b)"), [""; 0]);
}

#[test]
fn a_timestamp_is_read_in_the_time_zone_of_the_sources_role() {
    let mut pair = with(
        "create table t (a timestamp, b text, c timestamptz); grant select on t to public;
         insert into t values ('2026-07-01 12:00', '2026-01-01 12:00', '2026-07-01 10:00+00')",
        "create table t (a timestamptz, b timestamptz, c timestamp)",
    );
    let role = pair.source.role("login");
    pair.source.run(&format!("alter role {role} set timezone = 'America/New_York'"));
    pair.target.run(&format!("alter database {} set timezone = 'Asia/Tokyo'", pair.target.name()));
    for format in ["auto", "text"] {
        let outcome = Bulkload::on(&pair)
            .env("SOURCE_DATABASE_URL", &pair.source.url_as(&role))
            .config(&format!("[[table]]\nname = 't'\nformat = '{format}'\n"))
            .sync();
        assert_eq!(outcome.code, Some(0), "{outcome}");
        let sql = "select a at time zone 'UTC', b at time zone 'UTC', c from t";
        assert_eq!(
            target_rows(&pair, sql),
            ["2026-07-01 16:00:00|2026-01-01 17:00:00|2026-07-01 06:00:00"],
            "{format}"
        );
    }
}

#[test]
fn what_only_the_target_knows_is_read_from_text() {
    let pair = with(
        "create table t (a text, b text, c text); insert into t values ('ok', '5', '{\"(1,x)\"}')",
        "create type mood as enum ('bad', 'ok'); create domain small as int check (value < 10);
         create type p as (x int, y text); create table t (a mood, b small, c p[])",
    );
    let outcome = sync(&pair, "[[table]]\nname = 't'\n");
    assert_eq!(outcome.table("public.t")["format"], "text");
    assert_eq!(target_rows(&pair, "select * from t"), ["ok|5|{\"(1,x)\"}"]);
}

#[test]
fn a_value_that_a_type_does_not_know_fails_its_table_only() {
    let pair = with(
        "create table t (a text); insert into t values ('ok'), ('new')",
        "create type mood as enum ('ok'); create table t (a mood); insert into t values ('ok')",
    );
    assert_only_t_fails(&pair, &["ok"], "22P02");
}

#[test]
fn a_value_that_is_too_long_fails_its_table_only() {
    for (from, to, value, kept, sqlstate) in [
        ("text", "varchar(3)", "'abcd'", "abc", "22001"),
        ("varchar(9)", "varchar(3)", "'abcd'", "abc", "22001"),
        ("text", "char(3)", "'abcd'", "abc", "22001"),
        ("numeric", "numeric(4,2)", "100", "99.00", "22003"),
        ("bigint", "int", "2147483648", "5", "22003"),
        ("varbit", "varbit(3)", "'1111'", "111", "22001"),
        ("int", "smallint", "32768", "5", "22003"),
    ] {
        let pair = with(
            &format!("create table t (a {from}); insert into t values ({value})"),
            &format!("create table t (a {to}); insert into t values ('{kept}')"),
        );
        assert_only_t_fails(&pair, &[kept], sqlstate);
    }
}

#[test]
fn a_null_or_a_domain_that_the_target_forbids_fails_its_table_only() {
    let pair = with(
        "create table t (a int); insert into t values (1), (null)",
        "create table t (a int not null); insert into t values (7)",
    );
    assert_only_t_fails(&pair, &["7"], "23502");
    let pair = with(
        "create table t (a int); insert into t values (1), (-1)",
        "create domain positive as int check (value > 0); create table t (a positive); insert into t values (7)",
    );
    assert_only_t_fails(&pair, &["7"], "23514");
}

#[test]
fn order_and_dropped_columns_do_not_matter() {
    let pair = with(
        "create table t (gone int, a int, b text, c date, gone_too text);
         alter table t drop column gone; alter table t drop column gone_too; alter table t add column d text;
         insert into t values (1, 'b', '2026-01-01', 'd')",
        "create table t (d text, x int, c date, y int, b text, a int); alter table t drop column x; alter table t drop column y",
    );
    for apply in ["auto", "truncate", "direct"] {
        sync(&pair, &format!("[[table]]\nname = 't'\napply = '{apply}'\n"));
        assert_eq!(target_rows(&pair, "select a, b, c, d from t"), ["1|b|2026-01-01|d"], "{apply}");
    }
}

#[test]
fn generated_columns_are_computed_where_they_are() {
    let pair = with(
        "create table t (a int, doubled int generated always as (a * 2) stored, plain int);
         insert into t values (1, default, 100), (2, default, 200);
         create table both_sides (a int, g int generated always as (a + 1) stored); insert into both_sides values (1)",
        "create table t (a int, doubled int, plain int generated always as (a * 3) stored);
         create table both_sides (a int, g int generated always as (a + 5) stored)",
    );
    for format in ["binary", "text"] {
        let config =
            format!("run.format = '{format}'\n[[table]]\nname = 't'\n[[table]]\nname = 'both_sides'\n");
        sync(&pair, &config);
        assert_eq!(target_rows(&pair, "select * from t order by a"), ["1|2|3", "2|4|6"]);
        assert_eq!(target_rows(&pair, "select * from both_sides"), ["1|6"]);
    }
    let config = "[[table]]\nname = 't'\ncolumns.set = { plain = 1 }\n";
    assert_refused(&pair, config, &["column plain of the target is generated"]);
}

#[test]
fn identity_columns_keep_the_sources_values_or_get_fresh_ones() {
    for kind in ["always", "by default"] {
        for apply in ["truncate", "delete", "direct"] {
            let pair = with(
                "create table t (id int, a text); insert into t values (17, 'x'), (40, 'y')",
                &format!(
                    "create table t (id int generated {kind} as identity, a text);
                     create table fresh (n int generated {kind} as identity (start 100 increment 10), a text)"
                ),
            );
            let config = format!(
                "[[table]]\nname = 't'\napply = '{apply}'\n[[table]]\nname = 'fresh'\nfrom = 't'\napply = '{apply}'\ncolumns.skip = ['id']\n"
            );
            sync(&pair, &config);
            assert_eq!(target_rows(&pair, "select id, a from t order by id"), ["17|x", "40|y"]);
            assert_eq!(target_rows(&pair, "select n from fresh order by n"), ["100", "110"]);
            pair.target.run("insert into t (a) values ('z'); insert into fresh (a) values ('z')");
            assert_eq!(pair.target.value("select id from t where a = 'z'"), "41", "{kind} {apply}");
            assert_eq!(pair.target.value("select n from fresh where a = 'z'"), "120", "{kind} {apply}");
        }
    }
}

#[test]
fn columns_that_only_one_side_has_are_left_behind_or_get_their_default() {
    let pair = with(
        "create table t (a int, extra text, \"Also Extra\" int); insert into t values (1, 'x', 2)",
        "create table t (a int, d text default 'dflt', n int, s serial)",
    );
    let config = "[[table]]\nname = 't'\n";
    let outcome = sync(&pair, config);
    assert_eq!(target_rows(&pair, "select * from t"), ["1|dflt|~|1"]);
    let warnings = outcome.table("public.t")["warnings"].to_string();
    let planned = Bulkload::on(&pair).config(config).run(&["plan"]).stdout;
    for part in ["extra", "Also Extra"] {
        assert!(warnings.contains(part), "{part}: {warnings}");
    }
    for part in [
        "column d of the target is not in the source: it gets its default",
        "column n of the target is not in the source: it gets NULL",
    ] {
        assert!(planned.contains(part), "{part}: {planned}");
    }
    let strict = format!("{config}columns.extra = 'error'\n");
    assert_refused(&pair, &strict, &["the target lacks source columns extra, \"Also Extra\""]);
    sync(&pair, &format!("{strict}columns.skip = ['extra', 'Also Extra']\n"));

    pair.target.run(
        "alter table t add column must text not null default 'x'; alter table t alter must drop default",
    );
    assert_refused(&pair, config, &["nothing fills column must, which"]);
    sync(&pair, &format!("{config}columns.set = {{ must = 'given' }}\n"));
    assert_eq!(target_rows(&pair, "select a, must from t"), ["1|given"]);
}

#[test]
fn rules_skip_rename_set_and_default_columns() {
    let pair = with(
        "create function double(int) returns int immutable language sql as 'select $1 * 2';
         create table t (id int, \"Old\" text, secret text, n int, there text);
         insert into t values (1, 'o', 's', 21, 'mine'), (2, null, 's', null, null)",
        "create type origin as enum ('D', 'M');
         create table t (id int, \"New Name\" varchar(5), secret text default 'hidden', n int, doubled int, origin origin,
                         code char(4), flag bool, there text, absent text, at timestamptz, quoted text, bits bit(3))",
    );
    let config = r#"
        [[table]]
        name = "t"
        [table.columns]
        skip = ["secret"]
        rename = { Old = "New Name" }
        set.doubled = { expr = "double(n) -- in the role's own search_path" }
        set.origin = "D"
        set.code = "abc"
        set.flag = true
        set.at = { expr = "timestamptz '2026-01-01 00:00:00+00' + id * interval '1 day'" }
        set.quoted = 'it''s \N "x"'
        set.bits = "101"
        default.there = "not used"
        default.absent = { expr = "upper(coalesce(\"Old\", 'none'))" }
        "#;
    let expected = [
        r#"1|o|hidden|21|42|D|abc |t|mine|O|2026-01-02|it's \N "x"|101"#,
        r#"2|~|hidden|~|~|D|abc |t|~|NONE|2026-01-03|it's \N "x"|101"#,
    ];
    // A TOML literal string holds no quote: the doubled one is for SQL readers only.
    let config = config.replace(r#"'it''s \N "x"'"#, r#"'''it's \N "x"'''"#);
    for apply in ["truncate", "direct"] {
        sync(&pair, &config.replace("[table.columns]", &format!("apply = '{apply}'\n[table.columns]")));
        let sql = "select id, \"New Name\", secret, n, doubled, origin, code, flag, there, absent, (at at time zone 'UTC')::date, quoted, bits from t order by id";
        assert_eq!(target_rows(&pair, sql), expected, "{apply}");
    }
}

#[test]
fn rules_that_columns_cannot_follow_are_refused() {
    let pair = with("create table t (a int, b int)", "create table t (a int, b int, c varchar(3), d date)");
    for (rule, message) in [
        (
            "set = { a = 'abc' }",
            "bulkload.toml:6:13: public.t: the constant for column a does not fit integer",
        ),
        ("default = { d = '2026-02-30' }", "the constant for column d does not fit date"),
        ("set = { c = 'four' }", "does not fit character varying(3): it is too long"),
        ("skip = ['x']", "the source has no column x"),
        ("rename = { x = 'a' }", "the source has no column x"),
        ("rename = { a = 'x' }", "the target has no column x"),
        ("rename = { a = 'b' }", "two source columns map to b"),
        ("set = { x = 1 }", "the target has no column x"),
        ("default = { x = 1 }", "the target has no column x"),
        ("set = { a = { expr = 'nonsense(' } }", "the source refuses the extraction"),
        ("set = { a = { expr = 'no_such_column' } }", "no_such_column"),
    ] {
        let config = format!("[[table]]\nname = 't'\n[table.columns]\n{rule}\n");
        assert_refused(&pair, &config, &[message, "bulkload.toml:"]);
    }
}

#[test]
fn a_constant_that_rows_are_given_on_their_way_is_what_the_source_would_have_sent() {
    const CONSTANTS: [(&str, &str, &str, &str); 13] = [
        ("note", "text", r"tab\tline\nback\\slash ÿ €", "tab\tline\nback\\slash ÿ €"),
        ("code", "char(5)", "ab", "ab   "),
        ("yes", "boolean", "yes", "t"),
        ("n", "numeric(9,3)", "007.5", "7.500"),
        ("at", "timestamptz", "2026-03-29 02:30:00.5+02", "2026-03-29 00:30:00.5+00"),
        ("on_day", "date", "29 Mar 2026", "2026-03-29"),
        ("list", "int[]", "{1,null, 3}", "{1,NULL,3}"),
        ("doc", "jsonb", r#"{"b": 1, "a": ["\\\\"]}"#, r#"{"a": ["\\"], "b": 1}"#),
        ("raw", "bytea", r"\\x00ff", r"\x00ff"),
        ("mood", "mood", "so so", "so so"),
        ("price", "price", "12.50", "12.50"),
        ("span", "interval", "1 mon -3 days", "1 mon -3 days"),
        ("long", "text", "LONG", "LONG"),
    ];
    let long = "y".repeat(900);
    for (format, is_referring) in [("binary", true), ("text", true), ("binary", false), ("text", false)] {
        // A type that only one side knows travels as text.
        let mood = if format == "text" { "enum ('good', 'so so')" } else { "(a text)" };
        let constants: Vec<_> =
            CONSTANTS.iter().filter(|(_, kind, ..)| format == "text" || *kind != "mood").collect();
        let columns: Vec<String> =
            constants.iter().map(|(name, kind, ..)| format!("{name} {kind}")).collect();
        let set: Vec<String> = constants
            .iter()
            .map(|(name, _, value, _)| format!("{name} = \"\"\"{}\"\"\"", value.replace("LONG", &long)))
            .collect();
        let texts: Vec<&str> = constants.iter().map(|(name, ..)| *name).collect();
        let reference = if is_referring { "references parent" } else { "" };
        let pair = with(
            "create table parent (id int);
             create table child (id int, parent int, left_behind text);
             insert into parent values (1), (2);
             insert into child select g, 1 + g % 2, repeat('x', 20) from generate_series(1, 5000) as g",
            &format!(
                "create type mood as {mood};
                 create domain price as numeric check (value > 0);
                 create table parent (id int primary key);
                 create table child (first text, {}, id int primary key, parent int {reference})",
                columns.join(", ")
            ),
        );
        let outcome = sync(
            &pair,
            &format!(
                "[[table]]\nname = 'parent'\n\n[[table]]\nname = 'child'\nformat = '{format}'\n[table.columns]\nskip = ['left_behind']\nset = {{ first = 'D', {} }}\n",
                set.join(", ")
            ),
        );
        let texts = format!("first, {}", texts.join(", "));
        pair.target.run(
            "alter database current set timezone = 'UTC'"
                .replace("current", &pair.target.value("select current_database()"))
                .as_str(),
        );
        let all = format!(
            "select count(*), count(distinct ({texts})::text), min(id), max(id), sum(parent) from child"
        );
        assert_eq!(target_rows(&pair, &all), ["5000|1|1|5000|7500"], "{format}, {is_referring}");
        let mut expected = vec!["D".to_owned()];
        expected.extend(constants.iter().map(|(_, _, _, value)| value.replace("LONG", &long)));
        let one = target_rows(&pair, &format!("select {texts} from child where id = 17"));
        assert_eq!(one, [expected.join("|")], "{format}, {is_referring}");
        let child = outcome.table("public.child");
        let [read, written] = ["bytes_in", "bytes_out"].map(|field| child[field].as_u64().unwrap());
        // Rows that are looked at anyway are given their constants here; others bring them.
        assert_eq!(read < 500_000, is_referring, "{format}: {read} bytes read");
        assert!(written > 4_500_000, "{format}: {written} bytes written");
    }
}
