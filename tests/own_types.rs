//! Enums, domains, composites, ranges and the types of extensions, whose OIDs are others on every server.

use crate::support::contents::{assert_same_columns, assert_same_contents};
use crate::support::{Bulkload, pair};
use crate::types::{assert_binary_is_refused, planned_formats, sync};

/// Types of the user's own: made after a few others on the source, so that none has the same OID on both sides.
const OWN_TYPES: &str = r"
    create type mood as enum ('ok', '', 'it''s \ odd', 'ä𝄞');
    create domain positive as int check (value > 0);
    create domain more as positive check (value > 1);
    create domain label as text;
    create domain grid as int[] check (array_ndims(value) = 2);
    create type pair as (x int, y text);
    create type nested as (p pair, m mood, ps pair[], d positive);
    create type span as range (subtype = float8);
    create type moods as range (subtype = mood);";

const OTHER_TYPES: &str = "create type a as enum ('x'); create domain b as int; create type c as (x int)";

/// A column of a type of the user's own: type, values, whether all of it can travel in binary.
const OWN: &[(&str, &[&str], bool)] = &[
    ("mood", &["'ok'", "''", r"'it''s \ odd'", "'ä𝄞'"], true),
    ("positive", &["1", "2147483647"], true),
    ("more", &["2"], true),
    ("label", &["''", r"'\N'", "repeat('x', 9000)"], true),
    ("grid", &["'{{1,2},{3,4}}'", "'[-1:0][5:5]={{1},{null}}'"], true),
    ("pair", &["row(1, '')::pair", "row(null, null)::pair", r#"row(-1, E'a,\\"\n)(')::pair"#, "null"], true),
    ("span", &["'empty'", "'(,)'", "'[0.1,Infinity)'"], true),
    ("moods", &["'empty'", "'[ok,)'", "'(,ä𝄞]'"], true),
    ("mood[]", &["'{}'", "array['ok', null, '']::mood[]", "'[3:3]={ok}'"], false),
    ("positive[]", &["'{1,null}'", "'{}'"], false),
    ("pair[]", &["array[row(1, 'a,b'), row(null, null), null]::pair[]", "'{}'"], false),
    (
        "nested",
        &[
            "row(row(1, 'x'), 'ok', array[row(2, null)]::pair[], 3)::nested",
            "row(null, null, '{}', null)::nested",
            "row(row(null, null), '', array[null]::pair[], null)::nested",
        ],
        false,
    ),
];

#[test]
fn own_types_whose_numbers_differ_arrive_equal() {
    let pair = pair();
    pair.source.run(OTHER_TYPES);
    let mut config = String::new();
    let mut refused = Vec::new();
    for db in [&pair.source, &pair.target] {
        db.run(OWN_TYPES);
    }
    for (i, (name, values, is_binary)) in OWN.iter().enumerate() {
        for db in [&pair.source, &pair.target] {
            db.run(&format!("create table t{i} (id int primary key, v {name})"));
        }
        for (id, value) in values.iter().enumerate() {
            pair.source.run(&format!("insert into t{i} values ({id}, ({value})::{name})"));
        }
        config.push_str(&format!("[[table]]\nname = 't{i}'\n"));
        pair.target.run(&format!("create table text{i} (id int primary key, v {name})"));
        config.push_str(&format!("[[table]]\nname = 'text{i}'\nfrom = 't{i}'\nformat = 'text'\n"));
        if !is_binary {
            refused.push(format!("[[table]]\nname = 't{i}'\nformat = 'binary'\n"));
        }
    }
    let formats = planned_formats(&pair, &config);
    for ((name, _, is_binary), formats) in OWN.iter().zip(formats.chunks(2)) {
        let (expected, reason) = if *is_binary {
            ("binary", "every column has the same wire format on both sides")
        } else {
            ("text", "column \"v\": its binary format differs between the servers")
        };
        assert_eq!((&*formats[0].0, &*formats[0].1), (expected, reason), "{name}");
        assert_eq!((&*formats[1].0, &*formats[1].1), ("text", "format = \"text\""), "{name}");
    }
    for config in refused {
        assert_binary_is_refused(&pair, &config, "v");
    }
    sync(&pair, &config);
    for i in 0..OWN.len() {
        let columns = ["id".to_owned(), "v".to_owned()];
        let source = format!("t{i}");
        for target in [source.clone(), format!("text{i}")] {
            assert_same_columns((&pair.source, &source), (&pair.target, &target), &columns);
        }
    }
    let numbers = "select string_agg(oid::text, ' ' order by typname) from pg_type where typnamespace = 'public'::regnamespace and typname in ('mood', 'pair', 'positive')";
    assert_ne!(pair.source.value(numbers), pair.target.value(numbers), "the numbers should differ");
}

#[test]
fn types_of_extensions_arrive_equal_also_from_one_schema_into_another() {
    const TYPES: &[(&str, &str, &[&str])] = &[
        ("hstore", "hstore", &["''", r#"'a=>NULL, "b c"=>"", "\""=>ä'"#]),
        ("citext", "citext", &["''", "'MiXeD ä'", r"'\N'"]),
        ("ltree", "ltree", &["''", "'Top.Mid.Low_1'"]),
        ("ltree", "lquery", &["'Top.*{1,2}.!low@*'"]),
        ("cube", "cube", &["'(1,2),(3,4)'", "'(0.1)'"]),
        ("seg", "seg", &["'<1.50'", "'6.25 .. 6.50'"]),
        ("isn", "isbn", &["'978-0-393-04002-9'"]),
    ];
    let pair = pair();
    pair.source.run(OTHER_TYPES);
    let is_there = |name: &str| {
        let sql = format!("select from pg_available_extensions where name = '{name}'");
        !pair.source.rows(&sql).is_empty() && !pair.target.rows(&sql).is_empty()
    };
    let types: Vec<_> = TYPES.iter().filter(|(extension, ..)| is_there(extension)).collect();
    let mut config = String::new();
    for (i, (extension, name, values)) in types.iter().enumerate() {
        for (db, schema) in [(&pair.source, "public"), (&pair.target, "extensions")] {
            db.run(&format!(
                "create schema if not exists {schema}; create extension if not exists {extension} schema {schema};
                 create table t{i} (id int primary key, v {schema}.{name}, vs {schema}.{name}[])"
            ));
        }
        for (id, value) in values.iter().enumerate() {
            let value = format!("({value})::{name}");
            pair.source.run(&format!("insert into t{i} values ({id}, {value}, array[{value}, null])"));
        }
        config.push_str(&format!("[[table]]\nname = 't{i}'\n"));
    }
    sync(&pair, &config);
    for i in 0..types.len() {
        assert_same_contents(&pair.source, &pair.target, &format!("public.t{i}"));
    }
}

/// What of a type `v` the two sides have, and what the refusal says.
const DIFFERING: &[(&str, &str, &str, &str)] = &[
    (
        "create type v as (street text, city text)",
        "create type v as (city text, street text)",
        "v",
        "(street, city) on the source and (city, street) on the target",
    ),
    (
        "create type v as (street text, city text)",
        "create type v as (street text)",
        "v",
        "(street) on the target",
    ),
    (
        "create type v as (street text, city text)",
        "create type v as (street text, town text)",
        "v",
        "(street, town) on the target",
    ),
    (
        "create type v as (a int, b text)",
        "create type v as (a text, b text)",
        "v",
        "attribute a of public.v: it is integer on the source and text on the target",
    ),
    ("create type v as (a int, b int)", "create type v as (b int, a int)", "v[]", "(b, a) on the target"),
    (
        "create type u as (a int, b int); create domain v as u[]",
        "create type u as (b int, a int); create domain v as u[]",
        "v",
        "(b, a) on the target",
    ),
    (
        "create type u as (a int, b int); create type v as (n int, us u[])",
        "create type u as (b int, a int); create type v as (n int, us u[])",
        "v",
        "attribute us of public.v: the composite type public.u",
    ),
    (
        "create table v (a int, gone int, b int); alter table v drop gone",
        "create table v (b int, a int)",
        "v",
        "(a, b) on the source and (b, a) on the target",
    ),
    (
        "create type v as enum ('a', 'b')",
        "create type v as enum ('a', 'c')",
        "v",
        "the labels 'b' on the source only (on the target: 'a', 'c')",
    ),
    (
        "create type u as enum ('a', 'b'); create type v as (u u)",
        "create type u as enum ('a'); create type v as (u u)",
        "v",
        "attribute u of public.v: the enum public.u has the labels 'b'",
    ),
    (
        "create type v as range (subtype = int)",
        "create type v as range (subtype = numeric)",
        "v",
        "the range public.v differs: it is integer on the source and numeric on the target",
    ),
    (
        "create type u as enum ('a', 'b'); create type v as range (subtype = u)",
        "create type u as enum ('b', 'a'); create type v as range (subtype = u)",
        "v",
        "sorts its labels as",
    ),
    (
        "create type v as (r int4range)",
        "create type v as (r int8range)",
        "v",
        "attribute r of public.v: the range int4range differs",
    ),
];

#[test]
fn parts_that_do_not_mean_the_same_are_refused_unless_the_user_converts_them() {
    for (number, (source, target, column, words)) in DIFFERING.iter().enumerate() {
        let pair = pair();
        pair.source.run(&format!(
            "{source}; create table t (id int primary key, v {column}); insert into t (id) values (1)"
        ));
        pair.target.run(&format!("{target}; create table t (id int primary key, v {column})"));
        for command in ["plan", "sync", "verify"] {
            let outcome = Bulkload::on(&pair).config("[[table]]\nname = 't'\n").run(&[command]);
            assert_eq!(outcome.code, Some(2), "{words}: {outcome}");
            let text = outcome.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(text.contains("t: column v: ") && text.contains(words), "{words}: {outcome}");
        }
        for config in [
            "columns.skip = ['v']",
            "columns.set = { v = { expr = 'null' } }",
            "query = 'select id, v::text as v from t'",
        ] {
            let outcome =
                Bulkload::on(&pair).config(&format!("[[table]]\nname = 't'\n{config}\n")).run(&["plan"]);
            assert_eq!(outcome.code, Some(0), "{number} {config}: {outcome}");
        }
    }
}

#[test]
fn labels_that_the_source_lacks_do_no_harm_and_another_order_is_told() {
    let pair = pair();
    for (db, more, reversed) in
        [(&pair.source, "'a', 'b'", "'a', 'b'"), (&pair.target, "'0', 'a', 'x', 'b'", "'b', 'a'")]
    {
        db.run(&format!(
            "create type more as enum ({more}); create type reversed as enum ({reversed});
             create table t (id int primary key, m more, r reversed)"
        ));
    }
    pair.source.run("insert into t values (1, 'b', 'a'), (2, 'a', 'b')");
    let outcome = sync(&pair, "[[table]]\nname = 't'\n");
    let warnings = outcome.table("public.t")["warnings"].to_string();
    assert!(
        warnings.contains("column r: the enum public.reversed sorts its labels as 'a', 'b' on the source"),
        "{outcome}"
    );
    assert!(!warnings.contains("column m"), "{outcome}");
    assert_same_contents(&pair.source, &pair.target, "public.t");
}

#[test]
fn a_composite_whose_attributes_lose_something_is_told_of_and_found() {
    let pair = pair();
    for (db, kind) in [(&pair.source, "numeric(12,4)"), (&pair.target, "numeric(10,2)")] {
        db.run(&format!("create type amount as (currency text, value {kind}); create table t (id int primary key, v amount)"));
    }
    pair.source.run("insert into t values (1, '(EUR,1.0050)'), (2, null)");
    let outcome = sync(&pair, "[[table]]\nname = 't'\n");
    assert!(
        outcome.table("public.t")["warnings"].to_string().contains("can lose information: the cast rounds"),
        "{outcome}"
    );
    let outcome = Bulkload::on(&pair).config("[[table]]\nname = 't'\n").run(&["-q", "verify"]);
    assert!(outcome.stdout.contains("1 not the same\n         id=1 is not the same"), "{outcome}");
    let allowed = Bulkload::on(&pair).config("[[table]]\nname = 't'\ncolumns.lossy = 'allow'\n");
    let outcome = allowed.run(&["-q", "verify"]);
    assert!(outcome.stdout.ends_with("source and target agree\n"), "{outcome}");
    let outcome =
        Bulkload::on(&pair).config("[[table]]\nname = 't'\ncolumns.lossy = 'error'\n").run(&["plan"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.contains("lossy = \"error\" is not possible"), "{outcome}");
}

#[test]
fn a_lookup_by_a_composite_whose_parts_differ_is_refused() {
    let pair = pair();
    pair.source
        .run("create type place as (street text, city text); create table t (id int primary key, at place)");
    pair.target.run(
        "create type place as (city text, street text); create table known (at place primary key, name text);
         create table t (id int primary key, name text)",
    );
    let outcome = Bulkload::on(&pair)
        .config(
            "[[table]]\nname = 't'\n[[table.lookup]]\ncolumn = 'name'\nfrom = 'known'\nmatch = { at = 'at' }\nvalue = 'name'\n",
        )
        .run(&["plan"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.contains("these types cannot be compared"), "{outcome}");
}
