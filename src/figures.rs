//! Human-readable numbers.

use std::time::Duration;

/// Formats a count with thousands separators: `92,387`.
#[must_use]
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Formats a count with its noun: `1 row`, `2 rows`.
#[must_use]
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Formats a duration in about six characters: `412 ms`, `12.3 s`, `4m 05s`, `2h 07m`, `3d 04h`.
#[must_use]
pub(crate) fn duration(duration: Duration) -> String {
    let ms = millis(duration);
    let tenths = ms.saturating_add(50) / 100;
    let s = ms.saturating_add(500) / 1000;
    let min = s.saturating_add(30) / 60;
    if ms < 1000 {
        format!("{ms} ms")
    } else if tenths < 600 {
        format!("{}.{} s", tenths / 10, tenths % 10)
    } else if s < 3600 {
        format!("{}m {:02}s", s / 60, s % 60)
    } else if min < 24 * 60 {
        format!("{}h {:02}m", min / 60, min % 60)
    } else {
        format!("{}d {:02}h", min / (24 * 60), min / 60 % 24)
    }
}

/// Formats a duration in milliseconds like [`duration`].
#[must_use]
pub(crate) fn duration_ms(ms: u64) -> String {
    duration(Duration::from_millis(ms))
}

/// Formats bytes per second in decimal units: `45.1 MB/s`.
#[must_use]
pub(crate) fn throughput(bytes_per_s: f64) -> String {
    let (value, unit) = [(1e9, "GB"), (1e6, "MB")]
        .into_iter()
        .find(|(scale, _)| bytes_per_s >= *scale)
        .map_or((bytes_per_s / 1e3, "kB"), |(scale, unit)| (bytes_per_s / scale, unit));
    format!("{value:.1} {unit}/s")
}

/// Formats bytes in decimal units with three digits: `1.28 GB`.
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
#[must_use]
pub(crate) fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 999.5 {
            let decimals = if unit == "B" || value >= 99.95 { 0 } else { usize::from(value < 9.995) + 1 };
            return format!("{value:.decimals$} {unit}");
        }
        value /= 1000.0;
    }
    format!("{value:.2} TB")
}

/// Converts a duration to milliseconds, rounded to the nearest.
#[must_use]
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from((duration.as_micros() + 500) / 1000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_thousands_separators() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (92_387, "92,387"),
            (1_234_567, "1,234,567"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(count(number), text);
        }
        assert_eq!((counted(1, "row").as_str(), counted(1000, "row").as_str()), ("1 row", "1,000 rows"));
    }

    #[test]
    fn durations_keep_about_three_digits_and_never_round_to_the_next_unit_wrongly() {
        for (ms, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1000, "1.0 s"),
            (12_349, "12.3 s"),
            (59_949, "59.9 s"),
            (59_950, "1m 00s"),
            (245_000, "4m 05s"),
            (3_599_499, "59m 59s"),
            (3_599_500, "1h 00m"),
            (7_620_000, "2h 07m"),
            (86_399_999, "1d 00h"),
            (273_600_000, "3d 04h"),
        ] {
            assert_eq!(duration_ms(ms), text, "{ms}");
        }
    }

    #[test]
    fn sizes_have_three_digits() {
        let shown: Vec<String> =
            [0, 999, 1_000, 12_345, 999_600, 1_277_000_000].iter().map(|&b| bytes(b)).collect();
        assert_eq!(shown, ["0 B", "999 B", "1.00 kB", "12.3 kB", "1.00 MB", "1.28 GB"]);
    }

    #[test]
    fn throughput_has_a_fitting_unit() {
        for (rate, text) in
            [(0.0, "0.0 kB/s"), (999_000.0, "999.0 kB/s"), (45_120_000.0, "45.1 MB/s"), (1.5e9, "1.5 GB/s")]
        {
            assert_eq!(throughput(rate), text);
        }
    }
}
