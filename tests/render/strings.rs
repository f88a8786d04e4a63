//! Strings and documents.

use super::Oracle;

/// Whatever has a meaning in COPY, in arrays, in composites or in nothing at all.
const STRINGS: [&str; 14] = [
    "",
    " ",
    "a",
    "NULL",
    "null",
    "\\N",
    "\\.",
    "a\tb\nc\rd\u{8}e\u{c}f\u{b}g\\h",
    "\"quoted\"",
    "{a,b}",
    "(a;b)",
    "héllo 🦀 \u{85}\u{a0}",
    "it's",
    "\u{1}\u{7f}",
];

#[tokio::test]
async fn strings() {
    let oracle = Oracle::new().await;
    for sql_type in ["text", "varchar", "varchar(40)", "bpchar", "char(40)", "name", "pg_catalog.refcursor"] {
        oracle.agrees_on(sql_type, &STRINGS).await;
    }
    oracle.agrees("text", "select repeat(md5(i::text), i) from generate_series(0, 2000, 100) i").await;
}

#[tokio::test]
async fn single_byte_characters() {
    let oracle = Oracle::new().await;
    oracle.agrees_on("\"char\"", &["", "a", "\\", "\t", "\u{7f}"]).await;
    if oracle.session.server_version >= 160_000 {
        oracle.agrees("\"char\"", "select i::\"char\" from generate_series(-128, 127) i").await;
    }
}

#[tokio::test]
async fn documents() {
    let oracle = Oracle::new().await;
    let json =
        ["{}", " { \"a\" : [1, 2.50, null, \"x\\\"y\\\\\\n\"] } ", "null", "\"\\u00e9\"", "1e400", "[]"];
    oracle.agrees_on("json", &json).await;
    oracle.agrees_on("jsonb", &json).await;
    oracle
        .agrees_on(
            "jsonpath",
            &["$", "strict $.a[*] ? (@ > 1)", "$.\"a b\" like_regex \"^\\\\d\" flag \"i\""],
        )
        .await;
    let xml = [
        "<a/>",
        "<a b=\"c\">é\n</a>",
        "x",
        "<?xml version=\"1.0\"?><a/>",
        "<?xml version=\"1.0\"?>\n<a/>",
        "<?xml version=\"1.1\"?><a/>",
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?><a/>",
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><a/>",
        "",
    ];
    oracle.agrees_on("xml", &xml).await;
}

#[tokio::test]
async fn text_search() {
    let oracle = Oracle::new().await;
    oracle
        .agrees_on(
            "tsvector",
            &["", "a", "fat:2,4C cat:3A,16383B 'it''s' 'back\\\\slash' 'with space':1A,2B,3C,4D"],
        )
        .await;
    let queries = [
        "",
        "a",
        "!a",
        "!!a",
        "a & b & c",
        "a & (b & c)",
        "a | b & c",
        "(a | b) & c",
        "!(a & b)",
        "!(a | b) & c",
        "a <-> b <-> c",
        "a <-> (b <-> c)",
        "(a <-> b) <2> c",
        "a <3> (b | c)",
        "a & !b | c",
        "(a | b) <-> (c & d)",
        "!a <-> !b",
        "a:*",
        "a:AB",
        "a:*ABCD",
        "'it''s' & 'back\\\\slash' & 'x y':D",
        "!(a <-> b)",
        "a <0> b",
        "(a & b) | (c & d) | !(e | f)",
    ];
    oracle.agrees_on("tsquery", &queries).await;
    let long = "select string_agg('w' || i, case when i % 7 = 0 then ' & ! ' when i % 3 = 0 then ' | ' else ' & ' end)
                from generate_series(1, 200) i";
    oracle.agrees("tsquery", long).await;
}

#[tokio::test]
async fn types_of_extensions() {
    let oracle = Oracle::new().await;
    oracle.run("create schema ext; create extension citext schema ext; create extension hstore schema ext; create extension ltree schema ext").await;
    oracle.agrees_on("ext.citext", &STRINGS).await;
    oracle.agrees_on("ext.citext[]", &["{A,NULL,\"null\",\"b c\"}"]).await;
    oracle
        .agrees_on(
            "ext.hstore",
            &["", "a=>1", "a=>NULL, b=>\"NULL\", \"\"=>\"\"", "\"k \\\"q\\\\\"=>\"v \\\"q\\\\, =>\""],
        )
        .await;
    oracle.agrees_on("ext.ltree", &["", "a", "Top.Science.Astronomy"]).await;
    oracle.agrees_on("ext.lquery", &["Top.*{0,2}.sport*@.!football|tennis.Russ*|Spain"]).await;
    oracle.agrees_on("ext.ltxtquery", &["Europe & Russia*@ & !Transportation"]).await;
}
