//! Renders floating-point numbers in the shortest form that reads back as the same number.

use std::fmt::LowerExp;
use std::io::Write as _;
use std::str::FromStr;

use super::Malformed;
use super::fields::Fields;

pub(super) fn float4(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    write(f32::from_be_bytes(Fields::only(value)?), out);
    Ok(())
}

pub(super) fn float8(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    write(f64::from_be_bytes(Fields::only(value)?), out);
    Ok(())
}

/// The differences between the two types.
pub(super) trait Float: Copy + LowerExp + FromStr + PartialEq {
    /// The number of digits that always suffices.
    const DIGITS_MAX: usize;
    /// The exponent of ten from which the scientific form is used, as by printf's %g with the number of digits that is always
    /// exact (`float_to_shortest_decimal_bufn`, src/common/f2s.c).
    const SCIENTIFIC_FROM: i32;

    /// Returns the sign, the class, and the number as an integer times a power of two.
    fn split(self) -> (bool, Class);
}

/// The class of a number.
pub(super) enum Class {
    Nan,
    Infinity,
    Zero,
    Finite(Binary),
}

/// `mantissa` * 2 ^ `exponent`.
#[derive(Clone, Copy)]
pub(super) struct Binary {
    mantissa: u64,
    exponent: i32,
    /// Whether the next lower number is only half as far away as the next higher one.
    is_lowest_of_exponent: bool,
}

/// Splits the bits of an IEEE number with these sizes of mantissa and exponent.
fn split(bits: u64, mantissa_bits: u32, exponent_bits: u32) -> (bool, Class) {
    let stored = bits & ((1 << mantissa_bits) - 1);
    let exponent_max = (1 << exponent_bits) - 1;
    let exponent = (bits >> mantissa_bits) as i32 & exponent_max;
    let is_negative = bits >> (mantissa_bits + exponent_bits) == 1;
    let bias = (exponent_max >> 1) + mantissa_bits as i32;
    let class = match (exponent, stored) {
        (0, 0) => Class::Zero,
        (e, 0) if e == exponent_max => Class::Infinity,
        (e, _) if e == exponent_max => Class::Nan,
        (0, _) => {
            Class::Finite(Binary { mantissa: stored, exponent: 1 - bias, is_lowest_of_exponent: false })
        }
        _ => Class::Finite(Binary {
            mantissa: stored | 1 << mantissa_bits,
            exponent: exponent - bias,
            is_lowest_of_exponent: stored == 0 && exponent > 1,
        }),
    };
    (is_negative, class)
}

impl Float for f32 {
    const DIGITS_MAX: usize = 9;
    const SCIENTIFIC_FROM: i32 = 6;

    fn split(self) -> (bool, Class) {
        split(self.to_bits().into(), 23, 8)
    }
}

impl Float for f64 {
    const DIGITS_MAX: usize = 17;
    const SCIENTIFIC_FROM: i32 = 15;

    fn split(self) -> (bool, Class) {
        split(self.to_bits(), 52, 11)
    }
}

/// Below this exponent of ten the scientific form is used.
const FIXED_FROM: i32 = -4;

/// Appends a number.
pub(super) fn write<F: Float>(value: F, out: &mut Vec<u8>) {
    let (is_negative, class) = value.split();
    if is_negative && !matches!(class, Class::Nan) {
        out.push(b'-');
    }
    match class {
        Class::Nan => out.extend_from_slice(b"NaN"),
        Class::Infinity => out.extend_from_slice(b"Infinity"),
        Class::Zero => out.push(b'0'),
        Class::Finite(binary) => {
            let decimal = shortest(value, binary);
            if (FIXED_FROM..F::SCIENTIFIC_FROM).contains(&decimal.exponent) {
                decimal.write_fixed(out);
            } else {
                decimal.write_scientific(out);
            }
        }
    }
}

/// Returns the shortest decimal between the midpoints to the two neighbors, and among these the nearest.
///
/// Rust finds it, except in two cases (src/common/d2s.c and f2s.c). PostgreSQL excludes a decimal exactly at a midpoint, even
/// if reading it would resolve the tie in its favor: 1e23 becomes 9.999999999999999e+22. And of two equally near decimals it
/// takes the even one, where Rust takes the upper one.
fn shortest<F: Float>(value: F, binary: Binary) -> Decimal {
    let mut text = Text::default();
    let decimal = text.write(format_args!("{value:e}")).decimal();
    let length = decimal.digits().len();
    let mut rounded = |digits: usize| {
        let text = text.write(format_args!("{value:.*e}", digits - 1));
        let decimal = text.decimal();
        let reads_back = text.as_str().parse().is_ok_and(|read: F| read == value);
        (reads_back && !binary.has_middle_at(&decimal)).then_some(decimal)
    };
    if binary.has_middle_at(&decimal) {
        return (length + 1..=F::DIGITS_MAX).find_map(rounded).unwrap_or(decimal);
    }
    if binary.is_between(&decimal) {
        return rounded(length).unwrap_or(decimal);
    }
    decimal
}

/// Rust's formatted number, on the stack. No number needs more: sign, 17 digits, a point, an exponent.
#[derive(Default)]
struct Text {
    bytes: [u8; 32],
    length: usize,
}

impl Text {
    fn write(&mut self, number: std::fmt::Arguments<'_>) -> &Self {
        let room = self.bytes.len();
        let mut rest = &mut self.bytes[..];
        // Writing to a slice that is long enough cannot fail.
        let _ = rest.write_fmt(number);
        self.length = room - rest.len();
        self
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }

    /// Parses `-d.ddde-dd`.
    fn decimal(&self) -> Decimal {
        let (mantissa, exponent) = self.as_str().split_once('e').unwrap_or_default();
        let mut decimal = Decimal { digits: [0; 17], length: 0, exponent: exponent.parse().unwrap_or(0) };
        for digit in mantissa.bytes().filter(u8::is_ascii_digit).take(17) {
            decimal.digits[decimal.length] = digit;
            decimal.length += 1;
        }
        while decimal.length > 1 && decimal.digits[decimal.length - 1] == b'0' {
            decimal.length -= 1;
        }
        decimal
    }
}

/// `d.ddd` * 10 ^ `exponent`, without trailing zeros.
struct Decimal {
    digits: [u8; 17],
    length: usize,
    exponent: i32,
}

impl Decimal {
    fn digits(&self) -> &[u8] {
        &self.digits[..self.length]
    }

    /// Returns the decimal as an integer times a power of ten.
    fn scaled(&self) -> (u64, i32) {
        let digits = self.digits().iter().fold(0, |n, digit| 10 * n + u64::from(digit - b'0'));
        (digits, self.exponent - (self.length as i32 - 1))
    }

    fn write_fixed(&self, out: &mut Vec<u8>) {
        let digits = self.digits();
        let Ok(exponent) = usize::try_from(self.exponent) else {
            out.extend_from_slice(b"0.");
            out.extend((self.exponent + 1..0).map(|_| b'0'));
            out.extend_from_slice(digits);
            return;
        };
        let (whole, fraction) = digits.split_at(digits.len().min(exponent + 1));
        out.extend_from_slice(whole);
        out.extend((whole.len()..=exponent).map(|_| b'0'));
        if !fraction.is_empty() {
            out.push(b'.');
            out.extend_from_slice(fraction);
        }
    }

    fn write_scientific(&self, out: &mut Vec<u8>) {
        let (first, others) = self.digits().split_at(1);
        out.extend_from_slice(first);
        if !others.is_empty() {
            out.push(b'.');
            out.extend_from_slice(others);
        }
        let sign = if self.exponent < 0 { '-' } else { '+' };
        // Writing to a Vec cannot fail.
        let _ = write!(out, "e{sign}{:02}", self.exponent.unsigned_abs());
    }
}

impl Binary {
    /// Returns whether a decimal lies exactly midway between this number and one of its neighbors.
    fn has_middle_at(self, decimal: &Decimal) -> bool {
        // The midpoints are odd multiples of half or a quarter of the last binary place.
        let above = (2 * self.mantissa + 1, self.exponent - 1);
        let below = if self.is_lowest_of_exponent {
            (4 * self.mantissa - 1, self.exponent - 2)
        } else {
            (2 * self.mantissa - 1, self.exponent - 1)
        };
        [above, below].into_iter().any(|middle| equals(decimal.scaled(), middle))
    }

    /// Returns whether this number lies exactly midway between a decimal and one of its neighbors with as many digits.
    fn is_between(self, decimal: &Decimal) -> bool {
        let (digits, ten) = decimal.scaled();
        let number = (self.mantissa, self.exponent);
        [10 * digits - 5, 10 * digits + 5].into_iter().any(|middle| equals((middle, ten - 1), number))
    }
}

/// Returns whether `decimal` * 10 ^ `ten` equals `binary` * 2 ^ `two`; `decimal` is below 10 ^ 18 + 10, `binary` below 2 ^
/// 56.
fn equals((decimal, ten): (u64, i32), (binary, two): (u64, i32)) -> bool {
    /// 5 ^ 26 is the largest power of five below 2 ^ 63, so neither side has more factors of five. The products do not
    /// overflow: 10 ^ 18 * 5 ^ 26 is below 2 ^ 121.
    const FIVES_MAX: u32 = 26;
    let fives = ten.unsigned_abs();
    if fives > FIVES_MAX {
        return false;
    }
    let power = 5_u128.pow(fives);
    let (left, right) = (u128::from(decimal), u128::from(binary));
    let (left, right) = if ten < 0 { (left, right * power) } else { (left * power, right) };
    let (twos_left, twos_right) = (left.trailing_zeros(), right.trailing_zeros());
    left >> twos_left == right >> twos_right && twos_left as i32 + ten == twos_right as i32 + two
}
