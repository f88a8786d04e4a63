//! Every value of every type arrives as it was, in binary and in text, judged by PostgreSQL itself.

use crate::support::contents::{assert_same_columns, assert_same_contents, columns};
use crate::support::{Bulkload, Outcome, Pair, pair};

/// A built-in type, the first version that has it, and SQL expressions for its extreme values.
pub(crate) struct Extremes(u32, &'static str, &'static [&'static str]);

/// What the built-in types can hold at their edges. Arrays of each are made of the same values.
pub(crate) const BUILT_IN: &[Extremes] = &[
    Extremes(0, "bool", &["true", "false"]),
    Extremes(0, "int2", &["-32768", "32767", "0"]),
    Extremes(0, "int4", &["-2147483648", "2147483647", "0", "-1"]),
    Extremes(0, "int8", &["-9223372036854775808", "9223372036854775807", "0"]),
    Extremes(
        0,
        "float4",
        &["'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "'1e-45'", "'3.4028235e38'", "'0.1'"],
    ),
    Extremes(
        0,
        "float8",
        &[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "'-0'",
            "'5e-324'",
            "'1.7976931348623157e308'",
            "'0.1'",
            "'0.30000000000000004'",
        ],
    ),
    Extremes(
        0,
        "numeric",
        &[
            "'NaN'",
            "0.00",
            "'-0.000'",
            "1.0",
            "1.00",
            "repeat('9', 131072)::numeric",
            "('-0.' || repeat('0', 16382) || '1')::numeric",
            "(repeat('9', 131072) || '.' || repeat('8', 16383))::numeric",
            "10000",
            "9999.00010000",
        ],
    ),
    Extremes(14_00_00, "numeric", &["'Infinity'", "'-Infinity'", "'NaN'"]),
    Extremes(0, "numeric(1000,500)", &["('1e499')::numeric", "'-1e-500'", "'NaN'"]),
    Extremes(15_00_00, "numeric(5,-3)", &["12345000", "-99999499", "0"]),
    Extremes(15_00_00, "numeric(3,8)", &["0.00000999", "'-0.00000001'"]),
    Extremes(0, "money", &["'-92233720368547758.08'", "'92233720368547758.07'", "'0.01'"]),
    Extremes(0, "char(5)", &["''", "'a'", "'  a  '", "'𝄞𝄞𝄞𝄞𝄞'", "E'\\t\\n'"]),
    Extremes(0, "bpchar", &["''", "'a   '", "'   '", "repeat('x', 9000)"]),
    Extremes(0, "varchar", &["''", "' '", "E'\\\\N'", "repeat('ä', 9000)"]),
    Extremes(0, "varchar(10)", &["''", "'𝄞123456789'"]),
    Extremes(0, "name", &["''", "'x'", "repeat('y', 63)::name", "repeat('ä', 31)::name"]),
    Extremes(0, "\"char\"", &["''", "'a'", "'\\'", "127::\"char\""]),
    // Older servers write a byte that is no UTF-8.
    Extremes(15_00_00, "\"char\"", &["'\\377'::\"char\"", "(-128)::\"char\""]),
    Extremes(
        0,
        "text",
        &[
            "''",
            "E'\\\\N'",
            "E'\\\\.'",
            "E'a\\n\\\\.\\nb'",
            "E'\\t\\n\\r\\b\\f\\v\\\\'",
            "E'\\r\\n'",
            "'\"'",
            "E'\\''",
            "'NULL'",
            "'𝄞 € ä \u{10FFFF} \u{1}\u{7f}'",
            "E'ends with a backslash\\\\'",
            "repeat(E'row\\tof\\nmany\\\\', 10000)",
        ],
    ),
    Extremes(
        0,
        "bytea",
        &[
            "''",
            "'\\x00'",
            "'\\x5c4e'",
            "'\\x5c2e0a'",
            "(select string_agg(set_byte('\\x00', 0, i), '' order by i) from generate_series(0, 255) i)",
            "decode(repeat('00ff0a5c', 25600), 'hex')",
        ],
    ),
    Extremes(
        0,
        "date",
        &["'infinity'", "'-infinity'", "'4713-11-24 BC'", "'5874897-12-31'", "'0001-01-01'", "'2000-02-29'"],
    ),
    Extremes(
        0,
        "timestamp",
        &[
            "'infinity'",
            "'-infinity'",
            "'4713-11-24 00:00:00 BC'",
            "'294276-12-31 23:59:59.999999'",
            "'1999-12-31 23:59:59.999999'",
            "'1970-01-01'",
        ],
    ),
    Extremes(0, "timestamp(0)", &["'infinity'", "'294276-12-31 23:59:59'"]),
    Extremes(
        0,
        "timestamptz",
        &[
            "'infinity'",
            "'-infinity'",
            "'4713-11-24 00:00:00+00 BC'",
            "'294276-12-31 23:59:59.999999+00'",
            "'1890-01-01 00:00:00.000001+00'",
            "'2026-10-25 01:30:00+00'",
        ],
    ),
    Extremes(0, "timestamptz(3)", &["'2026-10-25 00:30:00.999+00'"]),
    Extremes(0, "time", &["'00:00'", "'24:00:00'", "'23:59:59.999999'"]),
    Extremes(0, "time(3)", &["'24:00:00'", "'12:00:00.001'"]),
    Extremes(0, "timetz", &["'24:00:00-15:59:59'", "'00:00:00+15:59:59'", "'12:34:56.789+05:30'"]),
    Extremes(
        0,
        "interval",
        &[
            "'0'",
            "'178000000 years'",
            "'-178000000 years'",
            "'2147483647 days -2147483648 months'",
            "make_interval(months => -3, days => 4, secs => -0.000001)",
            "'-1 mon +1 day -00:00:00.000001'",
        ],
    ),
    Extremes(15_00_00, "interval", &["'9223372036854775807 microseconds'"]),
    Extremes(17_00_00, "interval", &["'infinity'", "'-infinity'"]),
    Extremes(0, "interval(2)", &["'1.23 seconds'"]),
    Extremes(0, "interval day to second", &["'5 days 24:00:00.5'"]),
    Extremes(
        0,
        "uuid",
        &["'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"],
    ),
    Extremes(
        0,
        "inet",
        &["'0.0.0.0/0'", "'192.168.1.5/24'", "'::'", "'2001:db8::1/64'", "'::ffff:1.2.3.4/128'"],
    ),
    Extremes(0, "cidr", &["'0.0.0.0/0'", "'10.1.2.3/32'", "'2001:db8::/32'", "'::/0'"]),
    Extremes(0, "macaddr", &["'00:00:00:00:00:00'", "'ff:ff:ff:ff:ff:ff'"]),
    Extremes(0, "macaddr8", &["'00:00:00:00:00:00:00:00'", "'ff:ff:ff:ff:ff:ff:ff:fe'"]),
    Extremes(0, "bit(5)", &["'00000'", "'10101'"]),
    Extremes(0, "bit(1)", &["'1'", "'0'"]),
    Extremes(0, "varbit", &["''", "'1'", "'101010101'", "repeat('10', 5000)::varbit"]),
    Extremes(0, "varbit(8)", &["''", "'11111111'"]),
    Extremes(
        0,
        "json",
        &[
            "'null'",
            "'{\"b\" : 1,  \"a\":[ ],\"b\":2}'",
            "'\"\\u00e4\\ud834\\udd1e\\\\\\t\"'",
            "'\"\\u0000\"'",
            "('1' || repeat('0', 20000))::json",
            "'1e999999'",
        ],
    ),
    Extremes(
        0,
        "jsonb",
        &[
            "'null'",
            "'{\"b\": 1, \"a\": [], \"\": {\"\": \"\"}}'",
            "'\"\\u00e4\\ud834\\udd1e\\\\\\t\"'",
            "('1' || repeat('0', 100000))::jsonb",
            "'[1.0, 1.00, -0, 1e-20]'",
            "(repeat('[', 1000) || repeat(']', 1000))::jsonb",
        ],
    ),
    Extremes(
        0,
        "xml",
        &[
            "''",
            "'<a>ä𝄞<![CDATA[<]]></a>'",
            "'text <b/> and <c/>'",
            "'<?xml version=\"1.0\" standalone=\"yes\"?><a/>'",
            "'<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>'",
            "E'<a>\\n\\t</a>'",
        ],
    ),
    Extremes(0, "point", &["'(NaN,Infinity)'", "'(-0,5e-324)'", "'(0.1,-1.7976931348623157e308)'"]),
    Extremes(0, "line", &["'{1,-1,0}'", "'{0,1,-0.1}'"]),
    Extremes(0, "lseg", &["'[(0,0),(0,0)]'", "'[(-1e300,0.1),(1e-300,-0)]'"]),
    Extremes(0, "box", &["'(1,1),(0,0)'", "'(Infinity,Infinity),(-Infinity,-Infinity)'"]),
    Extremes(0, "path", &["'[(0,0),(1,1)]'", "'((0,0),(1,1),(2,0))'", "'[(NaN,0)]'"]),
    Extremes(0, "polygon", &["'((0,0))'", "'((0.1,0.2),(1e300,1),(2,-0))'"]),
    Extremes(0, "circle", &["'<(0,0),0>'", "'<(0.1,-0.1),Infinity>'"]),
    Extremes(
        0,
        "tsvector",
        &["''", "'a:1A,16383B c'", "$$'it''s' '\\\\' ' ':3 'ä𝄞':4C,5D$$", "repeat('w', 2046)::tsvector"],
    ),
    Extremes(0, "tsquery", &["''", "'a & !b | (c <-> d:*AB)'", "$$'it''s' <16384> '\\\\'$$"]),
    Extremes(0, "int4range", &["'empty'", "'(,)'", "'[-2147483648,2147483647)'", "'[1,1]'"]),
    Extremes(0, "int8range", &["'empty'", "'(,5)'", "'[-9223372036854775808,)'"]),
    Extremes(0, "numrange", &["'empty'", "'(,)'", "'(1.0,1.00000]'", "'[NaN,)'"]),
    Extremes(0, "tsrange", &["'empty'", "'(-infinity,infinity]'", "'[,2000-01-01]'"]),
    Extremes(0, "tstzrange", &["'empty'", "'[4713-11-24 00:00:00+00 BC,infinity)'"]),
    Extremes(0, "daterange", &["'empty'", "'[-infinity,infinity]'", "'[4713-11-24 BC,5874897-12-31)'"]),
    Extremes(14_00_00, "int4multirange", &["'{}'", "'{(,)}'", "'{(,1),[3,5),[7,)}'"]),
    Extremes(14_00_00, "int8multirange", &["'{}'", "'{[-9223372036854775808,0)}'"]),
    Extremes(14_00_00, "nummultirange", &["'{}'", "'{(1.0,1.1],[2.00,)}'"]),
    Extremes(14_00_00, "tsmultirange", &["'{}'", "'{[-infinity,2000-01-01),(2000-01-01,infinity]}'"]),
    Extremes(14_00_00, "tstzmultirange", &["'{}'", "'{[2000-01-01 00:00:00+00,)}'"]),
    Extremes(14_00_00, "datemultirange", &["'{}'", "'{(,2000-01-01),[2000-02-01,)}'"]),
    Extremes(0, "oid", &["0", "4294967295"]),
    Extremes(0, "xid", &["'0'", "'4294967295'"]),
    Extremes(13_00_00, "xid8", &["'0'", "'18446744073709551615'"]),
    Extremes(0, "cid", &["'0'", "'4294967295'"]),
    Extremes(0, "tid", &["'(0,0)'", "'(4294967295,65535)'"]),
    Extremes(0, "pg_lsn", &["'0/0'", "'FFFFFFFF/FFFFFFFF'"]),
    Extremes(0, "txid_snapshot", &["'1:1:'", "'10:20:10,14,15'"]),
    Extremes(13_00_00, "pg_snapshot", &["'1:1:'", "'10:20:10,14,15'"]),
    Extremes(
        0,
        "jsonpath",
        &["'$'", "'strict $.a[*] ? (@ > 1e10 && @.b like_regex \"^\\\\\\\\\" flag \"i\")'"],
    ),
    Extremes(0, "refcursor", &["''", "'<unnamed portal 1>'"]),
    Extremes(0, "oidvector", &["''", "'0 4294967295'"]),
    Extremes(0, "int2vector", &["''", "'-32768 32767'"]),
];

/// Types whose values are names of objects, which have other numbers on another server. All that is named here exists
/// on every server, or is made by the test.
const NAMES: &[Extremes] = &[
    Extremes(0, "regclass", &["0", "'pg_class'", "'public.\"Named \"\"Table\"\".\"'", "'4294967295'"]),
    Extremes(13_00_00, "regcollation", &["0", "'\"C\"'", "'public.\"My Coll\"'"]),
    Extremes(0, "regconfig", &["0", "'english'", "'public.\"My Config\"'"]),
    Extremes(0, "regdictionary", &["0", "'simple'"]),
    Extremes(0, "regnamespace", &["0", "'public'", "'\"Other Schema\"'"]),
    Extremes(0, "regoper", &["0", "'pg_catalog.||/'", "'public.<<%>>'"]),
    Extremes(0, "regoperator", &["0", "'*(integer,integer)'", "'public.<<%>>(integer,integer)'"]),
    Extremes(0, "regproc", &["0", "'pg_backend_pid'", "'public.\"Named Function\"'"]),
    Extremes(0, "regprocedure", &["0", "'abs(numeric)'", "'public.\"Named Function\"(integer,integer)'"]),
    Extremes(0, "regrole", &["0", "'postgres'"]),
    Extremes(
        0,
        "regtype",
        &["0", "'timestamp with time zone'", "'public.\"Named \"\"Table\"\".\"'", "'bpchar'"],
    ),
    Extremes(0, "aclitem", &["'=r/postgres'", "'postgres=arwdDxt*/postgres'"]),
];

/// An empty one of these is sent in a binary form that servers refuse to receive.
const TEXT_ONLY: &[&str] = &["tsquery", "oidvector", "int2vector"];

/// Makes what [`NAMES`] names.
const NAMED_OBJECTS: &str = r#"
    create schema "Other Schema";
    create table "Named ""Table""." (id int);
    create function "Named Function"(int, int) returns int language sql as 'select $1 + $2';
    create operator <<%>> (leftarg = int, rightarg = int, function = "Named Function");
    create collation "My Coll" from "C";
    create text search configuration "My Config" (copy = english);"#;

/// Base types of which a table can have a column but nobody can write a value.
const WITHOUT_INPUT: &[&str] = &[
    "pg_node_tree",
    "pg_ndistinct",
    "pg_dependencies",
    "pg_mcv_list",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
    "gtsvector",
];

/// The types that both servers of a pair know, and whose values both know: see
/// [`crate::versions`] for intervals.
pub(crate) fn known(pair: &Pair, types: &'static [Extremes]) -> Vec<&'static Extremes> {
    let (source, target) = (pair.source.version(), pair.target.version());
    let is_shared = |name: &str| !name.starts_with("interval") || source < 170_000 || target >= 170_000;
    types.iter().filter(|extremes| extremes.0 <= source.min(target) && is_shared(extremes.1)).collect()
}

/// CREATE TABLE with two columns per type, the type itself and its array.
pub(crate) fn create_sql(table: &str, types: &[&Extremes]) -> String {
    let columns: Vec<String> =
        types.iter().enumerate().map(|(i, t)| format!("v{i} {}, a{i} {}[]", t.1, t.1)).collect();
    format!("create table {table} (id int primary key, {})", columns.join(", "))
}

/// INSERTs with a value of each type per row, NULL where a type has no more; and arrays of these values: several
/// dimensions, NULLs within, lower bounds, empty.
pub(crate) fn insert_sql(table: &str, types: &[&Extremes]) -> String {
    let rows = types.iter().map(|t| t.2.len()).max().unwrap().max(5);
    let mut sql = String::new();
    for row in 0..rows {
        let values: Vec<String> = types
            .iter()
            .map(|Extremes(_, name, values)| {
                let cast = |expression: &str| format!("({expression})::{name}");
                let value = values.get(row).map_or("null".to_owned(), |value| cast(value));
                let all: Vec<String> = values.iter().map(|value| cast(value)).collect();
                let first = &all[0];
                let array = match row {
                    0 => format!("array[{}, null]::{name}[]", all.join(", ")),
                    1 => "'{}'".to_owned(),
                    2 => format!("array[[{first}, null], [null, {}]]::{name}[]", all[all.len() - 1]),
                    3 => format!("('[-3:-2][7:7]=' || array[[{first}], [null]]::{name}[]::text)::{name}[]"),
                    _ => "null".to_owned(),
                };
                format!("{value}, {array}")
            })
            .collect();
        sql.push_str(&format!("insert into {table} values ({row}, {});\n", values.join(", ")));
    }
    sql
}

/// Runs `sync`; panics unless every table was applied.
#[track_caller]
pub(crate) fn sync(pair: &Pair, config: &str) -> Outcome {
    let outcome = Bulkload::on(pair).config(config).sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    outcome
}

/// The format that `plan` tells for each table, in the order of the config, with the reason.
#[track_caller]
pub(crate) fn planned_formats(pair: &Pair, config: &str) -> Vec<(String, String)> {
    let outcome = Bulkload::on(pair).config(config).run(&["plan", "--json"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let plan: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let tables = plan["tables"].as_array().unwrap();
    tables.iter().map(|table| (text(&table["format"]), text(&table["format_reason"]))).collect()
}

#[track_caller]
pub(crate) fn assert_binary_is_refused(pair: &Pair, config: &str, column: &str) {
    let outcome = Bulkload::on(pair).config(config).sync();
    assert_eq!(outcome.code, Some(2), "{outcome}");
    let expected = format!("format = \"binary\" is not possible: column \"{column}\"");
    assert!(outcome.stderr.contains(&expected), "{expected}\n{outcome}");
}

/// Bit for bit: the binary form of whole rows tells apart what prints the same.
#[track_caller]
fn assert_same_bits(pair: &Pair, source: &str, target: &str) {
    let sql = |table: &str| format!("select id, md5(record_send(t)) from {table} t order by id");
    assert_eq!(pair.source.rows(&sql(source)), pair.target.rows(&sql(target)), "{target}");
}

#[test]
fn every_built_in_type_a_column_can_have_is_tried() {
    let pair = pair();
    let tried = |name: &str| {
        let mut all = BUILT_IN.iter().chain(NAMES).map(|t| t.1.split('(').next().unwrap().trim_matches('"'));
        all.any(|tried| tried == name) || WITHOUT_INPUT.contains(&name)
    };
    let names = pair.source.rows(
        "select t.typname from pg_type t join pg_namespace n on n.oid = t.typnamespace
         where n.nspname = 'pg_catalog' and t.typtype in ('b', 'r', 'm') and not (t.typname like '\\_%' and t.typcategory = 'A')",
    );
    let names: Vec<String> = names.into_iter().map(|row| row[0].clone().unwrap()).collect();
    assert!(names.len() > 60, "{names:?}");
    let forgotten: Vec<&String> = names.iter().filter(|name| !tried(name)).collect();
    assert!(forgotten.is_empty(), "{forgotten:?}");
}

#[test]
fn extremes_of_every_built_in_type_arrive_equal_in_binary_and_in_text() {
    let pair = pair();
    let (text_only, types): (Vec<_>, Vec<_>) =
        known(&pair, BUILT_IN).into_iter().partition(|t| TEXT_ONLY.contains(&t.1));
    pair.source.run(&create_sql("t", &types));
    pair.source.run(&insert_sql("t", &types));
    for table in ["by_auto", "by_text", "by_direct"] {
        pair.target.run(&create_sql(table, &types));
    }
    let mut text_config = String::new();
    for kind in &text_only {
        for db in [&pair.source, &pair.target] {
            db.run(&create_sql(kind.1, &[kind]));
        }
        pair.source.run(&insert_sql(kind.1, &[kind]));
        text_config.push_str(&format!("[[table]]\nname = '{}'\n", kind.1));
    }
    let config = "
        [[table]]
        name = 'by_auto'
        from = 't'
        [[table]]
        name = 'by_text'
        from = 't'
        format = 'text'
        [[table]]
        name = 'by_direct'
        from = 't'
        format = 'binary'
        apply = 'direct'";
    let formats: Vec<String> = planned_formats(&pair, config).into_iter().map(|(format, _)| format).collect();
    assert_eq!(formats, ["binary", "text", "binary"]);
    assert!(planned_formats(&pair, &text_config).iter().all(|(format, _)| format == "text"));
    assert_eq!(text_only.len(), TEXT_ONLY.len());
    let outcome = sync(&pair, &format!("{config}\n{text_config}"));
    let columns = columns(&pair.source, "t");
    for (table, format) in [("by_auto", "binary"), ("by_text", "text"), ("by_direct", "binary")] {
        assert_eq!(outcome.table(&format!("public.{table}"))["format"], format, "{outcome}");
        assert_same_bits(&pair, "t", table);
        assert_same_columns((&pair.source, "t"), (&pair.target, table), &columns);
    }
    for kind in TEXT_ONLY {
        assert_same_contents(&pair.source, &pair.target, kind);
    }
}

#[test]
fn names_of_objects_travel_as_names_whose_numbers_differ() {
    let pair = pair();
    pair.source.run("create table takes_a_number (id int); create table takes_another (id int)");
    let types = known(&pair, NAMES);
    for db in [&pair.source, &pair.target] {
        db.run(NAMED_OBJECTS);
        db.run(&create_sql("t", &types));
    }
    pair.source.run(&insert_sql("t", &types));
    let config = "[[table]]\nname = 't'\n";
    assert_eq!(planned_formats(&pair, config)[0].0, "text");
    sync(&pair, config);
    assert_same_contents(&pair.source, &pair.target, "public.t");
    let number = "select v0::oid from t where id = 2";
    assert_ne!(pair.source.value(number), pair.target.value(number), "the numbers should differ");
    assert_binary_is_refused(&pair, "[[table]]\nname = 't'\nformat = 'binary'\n", "v0");
}
