//! Floating-point numbers: the shortest form that the server finds, digit for digit.

use super::{Oracle, Random};

/// How many numbers with random bits are tried of each type.
const RANDOM: usize = 20_000;

/// Both neighbours of each number too, since errors live where the exponent or the number of digits changes.
fn with_neighbours(numbers: impl Iterator<Item = f64>) -> impl Iterator<Item = f64> {
    numbers.flat_map(|n| [n, n.next_up(), n.next_down(), -n])
}

#[tokio::test]
async fn double_precision() {
    let mut numbers =
        vec![f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, f64::MAX, 1e23, 9e-265];
    numbers.extend(with_neighbours((-1074..1024).map(|e| 2_f64.powi(e))));
    numbers.extend(with_neighbours((-323..309).map(|e| format!("1e{e}").parse().unwrap())));
    // Where integers end being exact, and where ties between two decimals are common.
    numbers.extend((0..2_000).map(|i| ((1_u64 << 53) - 1_000 + i) as f64));
    numbers.extend((0..2_000).map(|i| ((1_u64 << 56) + 8 * i) as f64));
    numbers.extend((0..2_000).map(|i| ((1_u64 << 62) + 1_024 * i) as f64));
    let mut random = Random(1);
    numbers.extend((0..RANDOM).map(|_| f64::from_bits(random.next())));
    // Decimals as people write them, and integers.
    numbers.extend((0..RANDOM).map(|i| (random.next() % 1_000_000_000) as f64 / 10_f64.powi(i as i32 % 12)));
    numbers.extend((0..RANDOM).map(|i| (random.next() >> (i % 64)) as f64));
    // Short decimals with an exponent around those where a decimal can lie in the middle between two numbers.
    numbers
        .extend((0..RANDOM).map(|i| format!("{}e{}", random.next() % 1_000, i % 60).parse::<f64>().unwrap()));

    let oracle = Oracle::new().await;
    oracle.table("float8").await;
    let insert = "insert into public.t select pg_catalog.unnest($1::float8[])";
    oracle.session.client.execute(insert, &[&numbers]).await.unwrap();
    oracle.judge("float8").await;
}

#[tokio::test]
async fn single_precision() {
    let mut numbers =
        vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, f32::MAX, f32::MIN_POSITIVE];
    numbers.extend((-149..128).map(|e| 2_f32.powi(e)).flat_map(|n| [n, n.next_up(), n.next_down(), -n]));
    numbers.extend((-45..39).flat_map(|e| {
        let n: f32 = format!("1e{e}").parse().unwrap();
        [n, n.next_up(), n.next_down()]
    }));
    numbers.extend((0..2_000).map(|i| ((1_u32 << 24) - 1_000 + i) as f32));
    numbers.extend((0..2_000).map(|i| ((1_u32 << 27) + 8 * i) as f32));
    numbers.extend((0..2_000).map(|i| ((1_u64 << 35) + 2_048 * i) as f32));
    let mut random = Random(2);
    numbers.extend((0..RANDOM).map(|_| f32::from_bits(random.next() as u32)));
    numbers.extend((0..RANDOM).map(|i| (random.next() % 1_000_000) as f32 / 10_f32.powi(i as i32 % 9)));
    numbers.extend((0..RANDOM).map(|i| (random.next() >> (i % 64)) as f32));

    let oracle = Oracle::new().await;
    oracle.table("float4").await;
    let insert = "insert into public.t select pg_catalog.unnest($1::float4[])";
    oracle.session.client.execute(insert, &[&numbers]).await.unwrap();
    oracle.judge("float4").await;
}
