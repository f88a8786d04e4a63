//! Which values are the same key, in both formats.

use proptest::prelude::*;

use super::super::key::{KeyReader, comparable, composite, fingerprint};
use super::*;

fn read(format: Format, kind: KeyKind, value: &[u8]) -> Key {
    KeyReader::new(format).read(kind, value).unwrap()
}

fn text(kind: KeyKind, value: &str) -> Key {
    read(Format::Text, kind, value.as_bytes())
}

fn binary(kind: KeyKind, value: &[u8]) -> Key {
    read(Format::Binary, kind, value)
}

/// As `numeric_send` has it.
fn numeric(weight: i16, sign: u16, scale: u16, digits: &[u16]) -> Vec<u8> {
    let words = [digits.len() as u16, weight.cast_unsigned(), sign, scale];
    words.iter().chain(digits).flat_map(|word| word.to_be_bytes()).collect()
}

#[test]
fn an_integer_has_one_key_in_every_width_and_format() {
    for (value, width2) in [(7_i64, true), (-1, true), (0, true), (32_767, true), (-2_147_483_648, false)] {
        let key = Key::Int(value);
        assert_eq!(binary(KeyKind::Int, &value.to_be_bytes()), key);
        assert_eq!(binary(KeyKind::Int, &(value as i32).to_be_bytes()), key);
        if width2 {
            assert_eq!(binary(KeyKind::Int, &(value as i16).to_be_bytes()), key);
        }
        assert_eq!(text(KeyKind::Int, &value.to_string()), key);
    }
    for value in [i64::MIN, i64::MAX, i64::MAX / 10, -999_999_999_999_999_999] {
        assert_eq!(text(KeyKind::Int, &value.to_string()), Key::Int(value));
        assert_eq!(text(KeyKind::Numeric, &value.to_string()), Key::Int(value));
    }
    assert_eq!(binary(KeyKind::Oid, &u32::MAX.to_be_bytes()), Key::Int(4_294_967_295));
    assert_eq!(text(KeyKind::Oid, "4294967295"), Key::Int(4_294_967_295));
}

#[test]
fn an_integral_numeric_equals_the_integer_whatever_its_scale() {
    for (form, value) in [
        ("7", 7),
        ("7.00", 7),
        ("-7.0", -7),
        ("0", 0),
        ("0.000", 0),
        ("-0.0", 0),
        ("10000", 10_000),
        ("100000000", 100_000_000),
        ("123456789.0", 123_456_789),
        ("007", 7),
    ] {
        assert_eq!(text(KeyKind::Numeric, form), Key::Int(value), "{form}");
    }
    assert_eq!(binary(KeyKind::Numeric, &numeric(0, 0, 2, &[7])), Key::Int(7));
    assert_eq!(binary(KeyKind::Numeric, &numeric(0, 0x4000, 0, &[7])), Key::Int(-7));
    assert_eq!(binary(KeyKind::Numeric, &numeric(2, 0, 0, &[1])), Key::Int(100_000_000));
    assert_eq!(binary(KeyKind::Numeric, &numeric(0, 0, 3, &[])), Key::Int(0));
    assert_eq!(binary(KeyKind::Numeric, &numeric(1, 0, 0, &[0, 7])), Key::Int(7), "leading zeros");
    assert_eq!(binary(KeyKind::Numeric, &numeric(0, 0, 4, &[7, 0])), Key::Int(7), "trailing zeros");
}

#[test]
fn other_numerics_have_one_key_in_both_formats() {
    for (form, wire) in [
        ("0.1", numeric(-1, 0, 1, &[1000])),
        ("0.10", numeric(-1, 0, 2, &[1000])),
        ("-12345.0678", numeric(1, 0x4000, 4, &[1, 2345, 678])),
        ("0.00000001", numeric(-2, 0, 8, &[1])),
        ("12345678901234567890123", numeric(5, 0, 0, &[123, 4567, 8901, 2345, 6789, 123])),
        ("NaN", numeric(0, 0xC000, 0, &[])),
        ("Infinity", numeric(0, 0xD000, 0, &[])),
        ("-Infinity", numeric(0, 0xF000, 0, &[])),
    ] {
        assert_eq!(text(KeyKind::Numeric, form), binary(KeyKind::Numeric, &wire), "{form}");
    }
    let distinct =
        ["0.1", "0.01", "0.0001", "0.00001", "1.1", "-0.1", "1000.1", "10000000000000000000000", "NaN"];
    for (i, a) in distinct.iter().enumerate() {
        for b in &distinct[i + 1..] {
            assert_ne!(text(KeyKind::Numeric, a), text(KeyKind::Numeric, b), "{a} and {b}");
        }
    }
}

#[test]
fn floats_are_equal_as_btrees_have_it() {
    let float8 = |value: f64| binary(KeyKind::Float8, &value.to_be_bytes());
    let float4 = |value: f32| binary(KeyKind::Float4, &value.to_be_bytes());
    assert_eq!(float8(-0.0), float8(0.0));
    assert_eq!(float8(f64::NAN), float8(-f64::NAN));
    assert_eq!(float4(f32::NAN), float8(f64::NAN));
    assert_eq!(float4(0.5), float8(0.5));
    assert_ne!(float4(0.1), float8(0.1), "0.1 as float4 is another number, for PostgreSQL too");
    assert_eq!(text(KeyKind::Float4, "0.1"), float4(0.1));
    assert_eq!(text(KeyKind::Float8, "0.1"), float8(0.1));
    assert_eq!(text(KeyKind::Float8, "1e+300"), float8(1e300));
    assert_eq!(text(KeyKind::Float8, "-Infinity"), float8(f64::NEG_INFINITY));
    assert_eq!(text(KeyKind::Float8, "NaN"), float8(f64::NAN));
    assert_eq!(text(KeyKind::Float8, "-0"), float8(0.0));
}

#[test]
fn strings_are_compared_without_escapes_and_char_without_trailing_blanks() {
    assert_eq!(text(KeyKind::Text, r"a\tb\\c\nd"), binary(KeyKind::Text, b"a\tb\\c\nd"));
    assert_eq!(text(KeyKind::Text, r"\x41\101\q\b\f\r\v"), binary(KeyKind::Text, b"AAq\x08\x0c\r\x0b"));
    assert_eq!(text(KeyKind::Text, r"a\\"), binary(KeyKind::Text, b"a\\"));
    assert_ne!(binary(KeyKind::Text, b"a "), binary(KeyKind::Text, b"a"));
    assert_ne!(binary(KeyKind::Text, b"A"), binary(KeyKind::Text, b"a"));
    assert_eq!(binary(KeyKind::BpChar, b"a  "), binary(KeyKind::BpChar, b"a"));
    assert_eq!(binary(KeyKind::BpChar, b"a  "), binary(KeyKind::Text, b"a"), "cast to text it has no blanks");
    assert_eq!(text(KeyKind::BpChar, r"\\  "), binary(KeyKind::BpChar, b"\\"));
    assert_eq!(binary(KeyKind::BpChar, b"   "), binary(KeyKind::BpChar, b""));
    assert_eq!(text(KeyKind::Bytea, r"\\x00ff5C"), binary(KeyKind::Bytea, &[0, 255, b'\\']));
    assert_eq!(text(KeyKind::Bytea, r"\\x"), binary(KeyKind::Bytea, b""));
}

#[test]
fn dates_and_times_are_counted_as_the_binary_form_does() {
    for (form, days) in [
        ("2000-01-01", 0_i32),
        ("1999-12-31", -1),
        ("2000-02-29", 59),
        ("2000-03-01", 60),
        ("1970-01-01", -10_957),
        ("2024-12-31", 9_131),
        ("0001-01-01", -730_119),
        ("0001-12-31 BC", -730_120),
        ("4714-11-24 BC", -2_451_545),
        ("5874897-12-31", 2_145_031_948),
        ("infinity", i32::MAX),
        ("-infinity", i32::MIN),
    ] {
        assert_eq!(text(KeyKind::Date, form), binary(KeyKind::Date, &days.to_be_bytes()), "{form}");
    }
    for (kind, form, us) in [
        (KeyKind::Time, "00:00:00", 0_i64),
        (KeyKind::Time, "24:00:00", 86_400_000_000),
        (KeyKind::Time, "12:34:56.7", 45_296_700_000),
        (KeyKind::Time, "12:34:56.000001", 45_296_000_001),
        (KeyKind::Timestamp, "2000-01-01 00:00:00", 0),
        (KeyKind::Timestamp, "1999-12-31 23:59:59.999999", -1),
        (KeyKind::Timestamp, "4714-11-24 00:00:00 BC", -211_813_488_000_000_000),
        (KeyKind::Timestamp, "294276-12-31 23:59:59.999999", 9_223_371_331_199_999_999),
        (KeyKind::Timestamp, "infinity", i64::MAX),
        (KeyKind::Timestamptz, "2000-01-01 00:00:00+00", 0),
        (KeyKind::Timestamptz, "2000-01-01 05:30:00+05:30", 0),
        (KeyKind::Timestamptz, "1999-12-31 19:00:00-05", 0),
        (KeyKind::Timestamptz, "1999-12-31 23:06:32.5-00:53:28", 500_000),
        (KeyKind::Timestamptz, "-infinity", i64::MIN),
    ] {
        assert_eq!(text(kind, form), binary(kind, &us.to_be_bytes()), "{form}");
    }
}

#[test]
fn uuids_and_booleans_have_one_key_in_both_formats() {
    let bytes =
        [0xa0, 0xee, 0xbc, 0x99, 0x9c, 0x0b, 0x4e, 0xf8, 0xbb, 0x6d, 0x6b, 0xb9, 0xbd, 0x38, 0x0a, 0x11];
    assert_eq!(text(KeyKind::Uuid, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"), binary(KeyKind::Uuid, &bytes));
    assert_eq!(binary(KeyKind::Uuid, &bytes), Key::Wide(u128::from_be_bytes(bytes)));
    assert_eq!(text(KeyKind::Bool, "t"), binary(KeyKind::Bool, &[1]));
    assert_ne!(text(KeyKind::Bool, "f"), binary(KeyKind::Bool, &[1]));
}

#[test]
fn only_types_that_one_operator_compares_are_comparable() {
    const BOOL: u32 = 16;
    const INT8: u32 = 20;
    const INT4: u32 = 23;
    const TEXT: u32 = 25;
    const OID: u32 = 26;
    const FLOAT8: u32 = 701;
    const BPCHAR: u32 = 1042;
    const VARCHAR: u32 = 1043;
    const DATE: u32 = 1082;
    const TIMESTAMP: u32 = 1114;
    const TIMESTAMPTZ: u32 = 1184;
    const NUMERIC: u32 = 1700;
    for (child, parent) in
        [(INT4, INT8), (NUMERIC, INT4), (INT8, NUMERIC), (VARCHAR, TEXT), (BPCHAR, TEXT), (BPCHAR, BPCHAR)]
    {
        assert!(comparable(child, parent).is_some(), "{child} to {parent}");
    }
    for (child, parent) in [
        (TEXT, BPCHAR),
        (OID, INT4),
        (FLOAT8, NUMERIC),
        (INT4, FLOAT8),
        (BOOL, INT4),
        (DATE, TIMESTAMP),
        (TIMESTAMP, TIMESTAMPTZ),
        (INT4, TEXT),
        (114, 114),
        (50_000, 50_000),
    ] {
        assert!(comparable(child, parent).is_none(), "{child} to {parent}");
    }
}

#[test]
fn the_order_and_the_kind_of_columns_matter() {
    let (a, b) = (Key::Int(1), Key::Int(2));
    assert_eq!(composite(&[a]), a);
    assert_ne!(composite(&[a, b]), composite(&[b, a]));
    assert_ne!(composite(&[Key::Int(-1), a]), composite(&[a, Key::Int(-1)]));
    assert_ne!(composite(&[a, b, a]), composite(&[a, b]));
    assert_ne!(composite(&[a, b, Key::Wide(2)]), composite(&[a, b, b]));
    assert_ne!(composite(&[Key::Wide(1), Key::Wide(0)]), composite(&[Key::Wide(0), Key::Wide(1)]));
    assert_ne!(fingerprint(b"a"), fingerprint(b"b"));
}

#[test]
fn values_are_ordered_as_their_type_orders_them() {
    use std::cmp::Ordering::Less;
    let mut text = KeyReader::new(Format::Text);
    for (kind, values) in [
        (Some(KeyKind::Int), &["-10", "-9", "2", "10"][..]),
        (
            Some(KeyKind::Numeric),
            &["-Infinity", "-10", "-9.5", "-0.1", "0", "0.05", "0.5", "1.0", "1.00", "9", "10", "NaN"],
        ),
        (Some(KeyKind::Float8), &["-Infinity", "-2", "10", "1e+20", "Infinity", "NaN"]),
        (Some(KeyKind::Date), &["-infinity", "0001-01-01 BC", "0001-01-01", "2024-01-01", "10000-01-01"]),
        (Some(KeyKind::Timestamp), &["1999-12-31 00:00:00", "2000-01-01 00:00:00"]),
        (Some(KeyKind::Text), &["", r"\t", " ", "A", r"\\", "a", "aa"]),
        (Some(KeyKind::Bytea), &[r"\\x", r"\\x00", r"\\x0000", r"\\x9f", r"\\xa0"]),
        (Some(KeyKind::Bool), &["f", "t"]),
        (None, &["10", "2"]),
    ] {
        for pair in values.windows(2) {
            let order = text.compare(kind, pair[0].as_bytes(), pair[1].as_bytes()).unwrap();
            assert_eq!(order, Less, "{kind:?} {pair:?}");
        }
    }
    let mut binary = KeyReader::new(Format::Binary);
    let wire = |value: i64| value.to_be_bytes();
    assert_eq!(binary.compare(Some(KeyKind::Int), &wire(-1), &wire(1)).unwrap(), Less);
    assert_eq!(binary.compare(Some(KeyKind::Timestamp), &wire(-1), &wire(1)).unwrap(), Less);
    let (low, high) = (u128::MAX / 2 + 1, u128::MAX);
    let order = binary.compare(Some(KeyKind::Uuid), &low.to_be_bytes(), &high.to_be_bytes()).unwrap();
    assert_eq!(order, Less, "UUIDs are unsigned");
}

const KINDS: [KeyKind; 14] = [
    KeyKind::Bool,
    KeyKind::Int,
    KeyKind::Oid,
    KeyKind::Numeric,
    KeyKind::Float4,
    KeyKind::Float8,
    KeyKind::Text,
    KeyKind::BpChar,
    KeyKind::Uuid,
    KeyKind::Bytea,
    KeyKind::Date,
    KeyKind::Time,
    KeyKind::Timestamp,
    KeyKind::Timestamptz,
];

proptest! {
    #[test]
    fn values_that_are_none_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40), like in "[-+0-9:. \\\\xNaInfBC]{0,40}") {
        for format in FORMATS {
            let mut reader = KeyReader::new(format);
            for kind in KINDS {
                let _ = reader.read(kind, &bytes);
                let _ = reader.read(kind, like.as_bytes());
                let _ = reader.compare(Some(kind), &bytes, like.as_bytes());
            }
        }
    }

    #[test]
    fn a_numeric_has_one_key_however_it_is_written(whole in "[1-9][0-9]{0,30}", fraction in "[0-9]{0,12}", zeros in 0_usize..6) {
        let plain = format!("{whole}.{fraction}");
        let padded = format!("{}{plain}{}", "0".repeat(zeros), "0".repeat(zeros));
        prop_assert_eq!(text(KeyKind::Numeric, &plain), text(KeyKind::Numeric, &padded));
        let other = format!("{plain}1");
        prop_assert_ne!(text(KeyKind::Numeric, &plain), text(KeyKind::Numeric, &other));
        if fraction.bytes().all(|b| b == b'0') && let Ok(value) = whole.parse::<i64>() {
            prop_assert_eq!(text(KeyKind::Numeric, &plain), Key::Int(value));
        }
    }

    #[test]
    fn strings_have_one_key_in_both_formats(value in "\\PC{0,20}|[\\\\\t\n\r\u{8}\u{b}\u{c}a ]{0,20}") {
        let cell = Cell::Text(value);
        for kind in [KeyKind::Text, KeyKind::BpChar] {
            let keys = FORMATS.map(|format| read(format, kind, &cell.wire(format).unwrap()));
            prop_assert_eq!(keys[0], keys[1]);
        }
    }
}
