//! Tests values that a healthy server never sends. Real values are compared with servers in `tests/render`.

use super::*;
use crate::pg::name::{Ident, TableName};

/// All scalars with a renderer, by their names in `pg_catalog`.
const SCALARS: [&str; 50] = [
    "text",
    "varchar",
    "bpchar",
    "name",
    "json",
    "xml",
    "unknown",
    "refcursor",
    "jsonb",
    "jsonpath",
    "bool",
    "char",
    "bytea",
    "uuid",
    "bit",
    "varbit",
    "int2",
    "int4",
    "int8",
    "oid",
    "xid",
    "cid",
    "xid8",
    "float4",
    "float8",
    "numeric",
    "money",
    "date",
    "time",
    "timetz",
    "timestamp",
    "timestamptz",
    "interval",
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "point",
    "line",
    "lseg",
    "box",
    "path",
    "polygon",
    "circle",
    "tid",
    "pg_lsn",
    "pg_snapshot",
    "int2vector",
    "tsvector",
    "tsquery",
];

fn kind(oid: Oid, kind: char, name: &str, parts: &[Oid]) -> Type {
    Type {
        oid,
        name: TableName { schema: Ident::new("pg_catalog"), name: Ident::new(name) },
        sql_name: name.to_owned(),
        kind,
        category: if name.starts_with('_') { 'A' } else { 'X' },
        is_array: name.starts_with('_'),
        has_binary: true,
        is_ordered: true,
        extension: None,
        parts: parts.to_vec(),
        details: Vec::new(),
        labels: Vec::new(),
    }
}

/// The scalars have the OIDs from 1; an array, a composite, a range and a multirange follow.
fn everything() -> Catalog {
    let scalars = (1..).zip(SCALARS).map(|(oid, name)| kind(oid, 'b', name, &[]));
    let made_of = [
        kind(101, 'b', "_int4", &[18]),
        kind(102, 'c', "pair", &[18, 101]),
        kind(103, 'r', "range", &[18]),
        kind(104, 'm', "multirange", &[103]),
    ];
    Catalog::of_types(150_000, scalars.chain(made_of))
}

fn of(name: &str, version: u32) -> Renderer {
    Renderer::for_type(&Catalog::of_types(version, [kind(1, 'b', name, &[])]), 1).unwrap()
}

fn shown(renderer: &Renderer, value: &[u8]) -> Result<String, Malformed> {
    let mut out = b"before ".to_vec();
    let result = renderer.write(value, &mut out);
    let text = String::from_utf8(out).unwrap();
    match result {
        Ok(()) => Ok(text["before ".len()..].to_owned()),
        Err(error) => {
            assert_eq!(text, "before ", "nothing is left of a value that failed");
            Err(error)
        }
    }
}

#[test]
fn no_bytes_whatever_make_a_renderer_panic() {
    let catalog = everything();
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    for &oid in catalog.types.keys() {
        let renderer = Renderer::for_type(&catalog, oid).unwrap();
        let mut out = Vec::new();
        for _ in 0..3_000 {
            let length = next() as usize % 48;
            // Counts, lengths and NULLs consist of small numbers, zeros and 0xff.
            let value: Vec<u8> = (0..length)
                .map(|_| match next() % 8 {
                    0 => next() as u8,
                    1 => (next() % 24) as u8,
                    2 => 0xff,
                    _ => 0,
                })
                .collect();
            let _ = renderer.write(&value, &mut out);
            out.clear();
        }
    }
}

#[test]
fn bytes_that_are_missing_or_too_many_are_an_error() {
    let strings = ["text", "varchar", "bpchar", "name", "json", "xml", "unknown", "refcursor", "bytea"];
    let catalog = everything();
    for kind in catalog.types.values() {
        let renderer = Renderer::for_type(&catalog, kind.oid).unwrap();
        let name = kind.name.name.as_str();
        if strings.contains(&name) {
            continue;
        }
        assert!(shown(&renderer, b"").is_err(), "{name}: nothing");
        if !["jsonb", "jsonpath"].contains(&name) {
            assert!(shown(&renderer, &[0; 997]).is_err(), "{name}: 997 bytes");
        }
    }
}

#[test]
fn what_no_value_can_be_is_an_error() {
    let cases: [(&str, &[u8]); 12] = [
        ("jsonb", b"\x02{}"),
        ("numeric", b"\0\x01\0\0\0\0\0\0\x27\x10"),
        ("numeric", b"\0\0\0\0\x80\0\0\0"),
        ("bit", b"\xff\xff\xff\xff"),
        ("bit", b"\0\0\0\x09\0"),
        ("inet", b"\x02\x21\0\x04\x01\x02\x03\x04"),
        ("inet", b"\x04\x20\0\x04\x01\x02\x03\x04"),
        ("inet", b"\x03\x20\0\x04\x01\x02\x03\x04"),
        ("time", b"\0\0\0\x14\x1d\xd7\x60\x01"),
        ("date", b"\x80\0\0\x01"),
        ("timestamp", b"\x7f\xff\xff\xff\xff\xff\xff\xfe"),
        ("tsquery", b"\0\0\0\x01\x02\x02"),
    ];
    for (name, value) in cases {
        assert!(shown(&of(name, 150_000), value).is_err(), "{name}: {value:?}");
    }
}

#[test]
fn elements_and_columns_of_another_type_are_an_error() {
    let catalog = everything();
    let array = Renderer::for_type(&catalog, 101).unwrap();
    let value = |element: u8| [&[0; 11][..], &[element]].concat();
    assert_eq!(shown(&array, &value(18)).as_deref(), Ok("{}"));
    assert!(shown(&array, &value(19)).is_err());

    let composite = Renderer::for_type(&catalog, 102).unwrap();
    let value = |second: u8| {
        [b"\0\0\0\x02\0\0\0\x12\xff\xff\xff\xff\0\0\0", &[second][..], b"\xff\xff\xff\xff"].concat()
    };
    assert_eq!(shown(&composite, &value(101)).as_deref(), Ok("(,)"));
    assert!(shown(&composite, &value(100)).is_err());
    assert!(shown(&composite, b"\0\0\0\x01\0\0\0\x12\xff\xff\xff\xff").is_err());
}

#[test]
fn an_interval_is_infinite_only_where_the_server_says_so() {
    let longest = [&[0x7f][..], &[0xff; 7], &[0x7f, 0xff, 0xff, 0xff].repeat(2)].concat();
    assert_eq!(shown(&of("interval", 170_000), &longest).as_deref(), Ok("infinity"));
    let finite = "178956970 years 7 mons 2147483647 days 2562047788:00:54.775807";
    assert_eq!(shown(&of("interval", 160_000), &longest).as_deref(), Ok(finite));
    let shortest = [&[0x80][..], &[0; 7], &[0x80, 0, 0, 0].repeat(2)].concat();
    assert_eq!(shown(&of("interval", 170_000), &shortest).as_deref(), Ok("-infinity"));
}

#[test]
fn a_char_that_is_no_character_is_shown_in_octal() {
    assert_eq!(shown(&of("char", 150_000), &[0xe9]).as_deref(), Ok("\\351"));
    assert_eq!(shown(&of("char", 150_000), &[0]).as_deref(), Ok(""));
}

#[test]
fn what_only_its_own_server_understands_has_no_renderer() {
    let mut stranger = kind(16_400, 'b', "int4", &[]);
    let types = || [kind(1, 'b', "regclass", &[]), kind(2, 'b', "_regclass", &[1]), kind(3, 'd', "d", &[2])];
    let known = Catalog::of_types(150_000, types().into_iter().chain([stranger.clone()]));
    for oid in [1, 2, 3, 4, 16_400] {
        assert!(!can_render(&known, oid), "{oid}");
    }
    stranger.extension = Some("citext 1.6".to_owned());
    assert!(
        !can_render(&Catalog::of_types(150_000, [stranger.clone()]), 16_400),
        "a type of an extension has its own name"
    );
    stranger.name.name = Ident::new("citext");
    assert!(can_render(&Catalog::of_types(150_000, [stranger]), 16_400));
}

#[test]
fn a_catalog_in_which_a_type_contains_itself_does_not_hang() {
    let types = [
        kind(1, 'd', "a", &[2]),
        kind(2, 'b', "_a", &[1]),
        kind(3, 'd', "b", &[3]),
        kind(4, 'b', "_b", &[3]),
    ];
    let catalog = Catalog::of_types(150_000, types);
    assert!(!can_render(&catalog, 1) && !can_render(&catalog, 4));
}

#[test]
fn copy_text_is_unescaped_as_the_server_does() {
    let cases: [(&[u8], &[u8]); 9] = [
        (b"", b""),
        (b"plain \xc3\xa9", b"plain \xc3\xa9"),
        (br"a\tb\nc\rd\be\ff\vg\\h", b"a\tb\nc\rd\x08e\x0cf\x0bg\\h"),
        (br"\\N", br"\N"),
        (br"\q\.", b"q."),
        (br"\1014\60\7", b"A40\x07"),
        (br"\777", b"\xff"),
        (br"\x41\x4g\xg\X", b"A\x04gxgX"),
        (b"end\\", b"end"),
    ];
    for (field, text) in cases {
        let mut out = b"-".to_vec();
        from_copy_text(field, &mut out);
        assert_eq!(&out[1..], text, "{:?}", String::from_utf8_lossy(field));
    }
}
