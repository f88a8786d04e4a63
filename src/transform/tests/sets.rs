//! Key sets and lookup maps: exact, whatever the order and the number of workers.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn ints(keys: impl IntoIterator<Item = i64>) -> KeySet {
    keys.into_iter().map(Key::Int).collect()
}

#[test]
fn a_set_has_the_keys_that_were_put_in_and_no_others() {
    let dense: Vec<i64> = (-70_000..200_000).filter(|n| n % 3 != 0).collect();
    let sparse: Vec<i64> = (0..20_000).map(|n| n * 1_000).collect();
    let random: Vec<i64> = (1..20_000_i64).map(|n| n.wrapping_mul(0x1234_5678_9abc_def1)).collect();
    let extremes = vec![i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX];
    let around = (0..100).map(|n| 65_530 + n % 12).collect();
    for keys in [dense, sparse, random, extremes, around] {
        let expected: BTreeSet<i64> = keys.iter().copied().collect();
        let set = ints(keys.iter().copied().rev());
        assert_eq!(set.len(), expected.len() as u64);
        for key in keys {
            for near in
                [key.wrapping_sub(1), key, key.wrapping_add(1), key.wrapping_add(65_536), key ^ i64::MIN]
            {
                assert_eq!(set.contains(Key::Int(near)), expected.contains(&near), "{near}");
            }
        }
        assert!(!set.contains(Key::Wide(1)), "an integer is no wide key");
    }
    assert!(!ints([]).contains(Key::Int(0)));
}

#[test]
fn dense_keys_take_an_eighth_of_a_byte_and_uuids_less_than_42() {
    const KEYS: i64 = 2_000_000;
    let builder = KeySetBuilder::new();
    let mut sink = KeySink::default();
    (1..=KEYS).for_each(|key| sink.push(Key::Int(key)));
    sink.flush(&builder);
    // 100 million of them would take less than 64 MiB: 0.67 bytes each.
    assert!(builder.memory_bytes() < KEYS as usize / 4, "{}", builder.memory_bytes());
    let set = builder.freeze();
    assert_eq!(set.len(), KEYS.unsigned_abs());
    assert!(set.memory_bytes() < KEYS as usize / 4, "{}", set.memory_bytes());
    let builder = KeySetBuilder::new();
    let mut sink = KeySink::default();
    for key in 1..=200_000_u128 {
        sink.push(Key::Wide(key.wrapping_mul(0x1234_5678_9abc_def1_1234_5678_9abc_def1)));
    }
    assert!(builder.memory_bytes() < 1000, "nothing was handed over yet");
    sink.flush(&builder);
    let per_key = builder.memory_bytes() as f64 / 200_000.0;
    assert!((17.0..42.0).contains(&per_key), "{per_key}");
    assert_eq!(builder.freeze().len(), 200_000);
}

#[test]
fn many_workers_build_one_set() {
    let builder = KeySetBuilder::new();
    std::thread::scope(|scope| {
        for worker in 0..4_i64 {
            let builder = &builder;
            scope.spawn(move || {
                let mut sink = KeySink::default();
                for key in 0..40_000 {
                    // Neighbours come from different workers, and each key from two.
                    sink.push(Key::Int(key * 2 + worker % 2));
                    sink.push(Key::Wide(key as u128 * 4 + worker as u128));
                    if key % 1000 == 0 {
                        sink.flush(builder);
                    }
                }
                sink.flush(builder);
            });
        }
    });
    let set = builder.freeze();
    assert_eq!(set.len(), 80_000 + 160_000);
    assert!((0..80_000).all(|key| set.contains(Key::Int(key))));
    assert!((0..160_000).all(|key| set.contains(Key::Wide(key))));
}

fn map(format: Format, kind: Option<KeyKind>, entries: &[(i64, Option<&str>)]) -> LookupMap {
    let builder = LookupBuilder::new(format, kind);
    let mut sink = LookupSink::default();
    for &(key, value) in entries {
        sink.push(Key::Int(key), value.map(str::as_bytes));
        sink.push(Key::Wide(key.cast_unsigned().into()), value.map(str::as_bytes));
    }
    sink.flush(&builder).unwrap();
    builder.freeze()
}

fn get(map: &LookupMap, key: i64) -> Option<Option<String>> {
    let value =
        |key| map.get(key).map(|found| found.value().map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()));
    let found = value(Key::Int(key));
    assert_eq!(found, value(Key::Wide(key.cast_unsigned().into())), "both kinds of keys are looked up alike");
    found
}

#[test]
fn of_several_values_the_smallest_stays_whatever_their_order() {
    let entries = [
        (1, Some("10")),
        (1, Some("9")),
        (1, Some("9")),
        (2, Some("5")),
        (2, None),
        (3, None),
        (4, Some("x")),
    ];
    for reversed in [false, true] {
        let mut entries = entries;
        if reversed {
            entries.reverse();
        }
        let found = map(Format::Text, None, &entries);
        assert_eq!(get(&found, 1), Some(Some("10".to_owned())), "by their bytes");
        assert_eq!(found.ambiguous(), 4, "two keys, each of both kinds");
        let entries: Vec<_> = entries.into_iter().filter(|(key, _)| *key != 4).collect();
        let found = map(Format::Text, Some(KeyKind::Int), &entries);
        assert_eq!(get(&found, 1), Some(Some("9".to_owned())), "as integers");
        assert_eq!(get(&found, 2), Some(Some("5".to_owned())), "a value before NULL");
        assert_eq!(get(&found, 3), Some(None), "NULL is a value that is there");
        assert_eq!(get(&found, 4), None);
        assert_eq!(found.len(), 6);
    }
}

#[test]
fn values_of_every_length_come_out_as_they_went_in() {
    let long = "long ".repeat(100_000);
    let values = ["", "1", "1234567", "12345678", "\0abcdefg", "\0\0\0\0\0\0\0\0", "123456789", &long];
    // Keys near each other are kept in an array, keys far apart in a table.
    for distance in [1, 1_000_000_007] {
        let entries: Vec<_> =
            values.iter().enumerate().map(|(n, value)| (n as i64 * distance - 3, Some(*value))).collect();
        let found = map(Format::Binary, None, &entries);
        for &(key, value) in &entries {
            assert_eq!(get(&found, key), Some(value.map(str::to_owned)));
        }
        assert_eq!(get(&found, values.len() as i64 * distance), None);
        assert_eq!(get(&found, -4), None);
        assert_eq!(found.ambiguous(), 0);
    }
    let builder = LookupBuilder::new(Format::Binary, None);
    let mut sink = LookupSink::default();
    for value in [i64::MIN, -1, 0, i64::MAX] {
        sink.push(Key::Int(value), Some(&value.to_be_bytes()));
    }
    sink.flush(&builder).unwrap();
    let found = builder.freeze();
    for value in [i64::MIN, -1, 0, i64::MAX] {
        assert_eq!(found.get(Key::Int(value)).unwrap().value(), Some(&value.to_be_bytes()[..]));
    }
}

proptest! {
    #[test]
    fn a_set_is_what_was_put_in_and_not_taken_out(
        steps in proptest::collection::vec((any::<bool>(), -40_i64..40, 0_u32..50), 0..400),
    ) {
        let builder = KeySetBuilder::new();
        let mut expected = BTreeSet::new();
        for (is_insert, near, shift) in steps {
            let value = near.wrapping_shl(shift);
            for key in [Key::Int(value), Key::Wide(value.cast_unsigned().into())] {
                if is_insert {
                    let mut sink = KeySink::default();
                    sink.push(key);
                    sink.flush(&builder);
                    expected.insert(key);
                } else {
                    builder.remove(key);
                    expected.remove(&key);
                }
            }
        }
        let set = builder.freeze();
        prop_assert_eq!(set.len(), expected.len() as u64);
        for near in -41..41_i64 {
            for shift in 0..50 {
                let value = near.wrapping_shl(shift);
                for key in [Key::Int(value), Key::Wide(value.cast_unsigned().into())] {
                    prop_assert_eq!(set.contains(key), expected.contains(&key));
                }
            }
        }
    }

    #[test]
    fn a_map_has_the_smallest_value_of_every_key(
        entries in proptest::collection::vec((-20_i64..20, proptest::option::of(-300_i32..300)), 0..200),
    ) {
        let builder = LookupBuilder::new(Format::Binary, Some(KeyKind::Int));
        let mut expected: BTreeMap<i64, BTreeSet<Option<i32>>> = BTreeMap::new();
        for chunk in entries.chunks(7) {
            let mut sink = LookupSink::default();
            for (key, value) in chunk {
                sink.push(Key::Int(*key), value.map(i32::to_be_bytes).as_ref().map(|bytes| &bytes[..]));
                expected.entry(*key).or_default().insert(*value);
            }
            sink.flush(&builder).unwrap();
        }
        let map = builder.freeze();
        prop_assert_eq!(map.ambiguous(), expected.values().filter(|values| values.len() > 1).count() as u64);
        for (key, values) in &expected {
            let smallest = values.iter().flatten().min().map(|value| value.to_be_bytes().to_vec());
            let found = map.get(Key::Int(*key)).map(|found| found.value().map(<[u8]>::to_vec));
            prop_assert_eq!(found, Some(smallest));
        }
    }
}
