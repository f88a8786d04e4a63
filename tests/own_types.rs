//! Enums, domains, composites, ranges and the types of extensions, whose OIDs are others on every server.

use crate::support::contents::{assert_same_columns, assert_same_contents};
use crate::support::pair;
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
            ("text", "column \"v\": its binary form differs between the servers")
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
