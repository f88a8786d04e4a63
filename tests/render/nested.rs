//! Types that are made of others: arrays, composites, ranges, enums, domains.

use bulkload::pg::render::can_render;

use super::Oracle;

#[tokio::test]
async fn arrays() {
    let oracle = Oracle::new().await;
    let numbers = [
        "{}",
        "{1}",
        "{1,NULL,-3}",
        "{{1,2},{3,4}}",
        "{{{1},{2}},{{3},{4}},{{5},{NULL}}}",
        "[0:1]={1,2}",
        "[-2147483648:-2147483648]={7}",
        "[1:2][0:1]={{1,2},{3,4}}",
        "[2147483646:2147483646]={1}",
        "{{{{{{1,2}}}}}}",
        "{{{{{{1}}}},{{{{2}}}}}}",
        "{{1},{2},{3}}",
        "{{1,2,3}}",
    ];
    oracle.agrees_on("int4[]", &numbers).await;
    let strings = [
        "{\"\"}",
        "{NULL,\"NULL\",\"null\",\"Null\",nul,nulls}",
        "{\"a b\",\"a\tb\",\"\nb\",\" \",\"\u{b}\",\"\u{c}\",\"\r\"}",
        "{\"a,b\",\"a;b\",\"{\",\"}\",\"(\",\")\",\"[\",\"a\\\"b\",\"a\\\\b\",\"\\\\\",\"\\\"\",\"\\\\\\\"\\\\\"}",
        "{é,🦀,it's}",
        "{{a,\"\"},{\"b c\",NULL}}",
    ];
    oracle.agrees_on("text[]", &strings).await;
    oracle.agrees_on("varchar(9)[]", &["{a,\"b c\"}"]).await;
    oracle.agrees_on("box[]", &["{(1,2),(3,4);(5,6),(7,8)}"]).await;
    oracle.agrees_on("point[]", &["{\"(1,2)\",\"(3,4)\"}"]).await;
    let others = [
        ("bool[]", "{t,f,NULL}"),
        ("\"char\"[]", "{a,\"\",\"\\\\\"}"),
        ("name[]", "{a,\"b c\"}"),
        ("int2[]", "{1}"),
        ("int8[]", "{1}"),
        ("oid[]", "{4294967295}"),
        ("float4[]", "{0.1,NaN,-0}"),
        ("float8[]", "{1e-300,Infinity}"),
        ("numeric(8,3)[]", "{1.500,NaN}"),
        ("money[]", "{\"$1,234.00\",1}"),
        ("json[]", "{\"{\\\"a\\\": 1}\",null,\"null\"}"),
        ("jsonb[]", "{\"{\\\"a\\\": [1, \\\"\\\\\\\\\\\"]}\",1}"),
        ("xml[]", "{<a/>}"),
        ("uuid[]", "{00000000-0000-0000-0000-000000000001}"),
        ("bytea[]", "{\"\\\\x00ff\",\"\"}"),
        ("date[]", "{infinity,\"0001-01-01 BC\",2026-01-01}"),
        ("time[]", "{24:00:00}"),
        ("timetz[]", "{24:00:00-01}"),
        ("timestamp[]", "{infinity,\"2026-01-01 00:00:00\"}"),
        ("timestamptz[]", "{\"2026-01-01 00:00:00.5+02\"}"),
        ("interval[]", "{\"1 day\",00:00:00}"),
        ("inet[]", "{::1,10.0.0.0/8}"),
        ("cidr[]", "{10.0.0.0/8}"),
        ("macaddr[]", "{08:00:2b:01:02:03}"),
        ("bit(3)[]", "{101}"),
        ("varbit[]", "{\"\",101}"),
        ("tsvector[]", "{\"'a':1 'b'\"}"),
        ("int2vector[]", "{\"1 2\",3}"),
        ("int4range[]", "{\"[1,2)\",empty}"),
    ];
    for (sql_type, value) in others {
        oracle.agrees_on(sql_type, &[value]).await;
    }
}

#[tokio::test]
async fn enums_and_domains() {
    let oracle = Oracle::new().await;
    oracle
        .run(
            "create type public.mood as enum ('sad', 'so so', '', 'NULL', 'ha\"p\\py');
             create domain public.inner_d as numeric(6, 2);
             create domain public.outer_d as public.inner_d check (value > 0);
             create domain public.list_d as text[];
             create domain public.box_d as box;
             create domain public.mood_d as public.mood",
        )
        .await;
    oracle.agrees_on("public.mood", &["sad", "so so", "", "NULL", "ha\"p\\py"]).await;
    oracle.agrees_on("public.mood[]", &["{sad,\"so so\",\"\",\"NULL\",NULL,\"ha\\\"p\\\\py\"}"]).await;
    oracle.agrees_on("public.mood_d[]", &["{sad,\"so so\"}"]).await;
    oracle.agrees_on("public.outer_d", &["1", "9999.99"]).await;
    oracle.agrees_on("public.outer_d[]", &["{1,2.5,NULL}"]).await;
    oracle.agrees_on("public.list_d", &["{a,\"b c\"}", "[0:0]={x}"]).await;
    oracle.agrees_on("public.list_d[]", &["{\"{a,\\\"b c\\\"}\",\"{}\"}"]).await;
    oracle.agrees_on("public.box_d[]", &["{(1,2),(3,4);(5,6),(7,8)}"]).await;
}

#[tokio::test]
async fn composites() {
    let oracle = Oracle::new().await;
    oracle
        .run(
            "create type public.pair as (a int, b text);
             create type public.outer_pair as (p public.pair, l text[], n numeric, ps public.pair[]);
             create type public.empty as ();
             create table public.shrunk (a int, gone text, \"B b\" text);
             alter table public.shrunk drop column gone",
        )
        .await;
    let pairs = [
        "(1,x)",
        "(,)",
        "(1,\"\")",
        "(1,)",
        "(,\"a b\")",
        "(1,\"a,b\")",
        "(1,\"(\")",
        "(1,\")\")",
        "(1,\"a\"\"b\")",
        "(1,\"a\\\\b\")",
        "(1,[)",
        "(1,{)",
        "(1,\"\t\n\r\u{b}\u{c}\")",
        "(1,NULL)",
        "(1,é🦀)",
        "(-1,it's)",
    ];
    oracle.agrees_on("public.pair", &pairs).await;
    oracle.agrees_on("public.pair[]", &["{\"(1,x)\",NULL,\"(,\\\"a b\\\")\"}", "{}"]).await;
    oracle.agrees_on("public.shrunk", &["(1,x)"]).await;
    oracle.agrees_on("public.empty", &["()"]).await;
    let nested = "select row(row(1, 'say \"hi\" \\ ,')::public.pair, array['a b', 'c\"d', null, ''], 1.50,
                             array[row(null, ' ')::public.pair, null])::public.outer_pair
                  union all select row(null, null, null, null)::public.outer_pair";
    oracle.agrees("public.outer_pair", nested).await;
    oracle.agrees("public.outer_pair[]", &format!("select array[v, v] from ({nested}) as q (v)")).await;
}

#[tokio::test]
async fn ranges() {
    let oracle = Oracle::new().await;
    oracle.run("create type public.words as range (subtype = text, collation = \"C\")").await;
    oracle.agrees_on("int4range", &["empty", "(,)", "[1,)", "(,5)", "[1,5]", "(1,5)"]).await;
    oracle.agrees_on("numrange", &["[1.50,2.0]", "(1,2)", "[1,1]"]).await;
    oracle.agrees_on("daterange", &["[2026-01-01,infinity)", "[0002-01-01 BC,2026-01-01]"]).await;
    oracle.agrees_on("tsrange", &["[2026-01-01 00:00,2026-01-02 00:00)", "(-infinity,infinity)"]).await;
    oracle.agrees_on("tstzrange", &["[2026-01-01 00:00+01,]"]).await;
    let words = [
        "[\"\",b]",
        "[\"a b\",\"b,c\")",
        "[\"(\",\")\"]",
        "[\"[\",\"]\"]",
        "(a\\\\b,\"c\"\"d\")",
        "[\"\t\",\"\r\"]",
        "[NULL,é]",
        "[{,}]",
    ];
    oracle.agrees_on("public.words", &words).await;
    oracle.agrees_on("public.words[]", &["{\"[\\\"a b\\\",c]\",empty}"]).await;
}

#[tokio::test]
async fn multiranges() {
    let oracle = Oracle::new().await;
    if oracle.session.server_version < 140_000 {
        return;
    }
    oracle
        .run(
            "create type public.words as range (subtype = text, collation = \"C\", multirange_type_name = public.words_m);
             create type public.numbers as range (subtype = int8, multirange_type_name = public.numbers_m)",
        )
        .await;
    oracle.agrees_on("int4multirange", &["{}", "{[1,2)}", "{[1,3),[5,)}", "{(,)}"]).await;
    oracle.agrees_on("nummultirange[]", &["{\"{[1.50,2),(3,4]}\",\"{}\"}"]).await;
    oracle.agrees_on("public.words_m", &["{[\"\",\"a b\"],(\"x,y\",z)}"]).await;
    let words = oracle.catalog().await;
    oracle.agrees_on("public.numbers_m", &["{[1,3]}"]).await;
    let numbers = oracle.catalog().await;
    let signatures = [words, numbers].map(|(catalog, oid)| catalog.wire_signature(oid).unwrap());
    assert_ne!(signatures[0], signatures[1], "ranges of other things do not travel alike");
}

#[tokio::test]
async fn references_to_objects_of_a_server_have_no_text_elsewhere() {
    let oracle = Oracle::new().await;
    for sql_type in ["regclass", "regtype[]", "aclitem"] {
        oracle.table(sql_type).await;
        let (catalog, oid) = oracle.catalog().await;
        assert!(!can_render(&catalog, oid), "{sql_type}");
    }
}
