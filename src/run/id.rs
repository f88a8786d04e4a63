//! The id of a run: short, sortable by time, part of names on the server.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Letters and digits of an id. Staging tables are recognised by it.
const ID_CHARS: usize = 12;

/// Of which so many are the milliseconds since 1970 in base 36, good until 2059.
const TIME_CHARS: u32 = 8;

/// Identifies a run: eight base-36 digits of its start, four that tell apart what started in the same millisecond.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunId(String);

impl RunId {
    /// An id for a run that starts now.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let millis = since.as_millis() as u64 % 36u64.pow(TIME_CHARS);
        // Sub-microsecond time and the process: two runs on one machine or on two will not agree in all of them.
        let salt = u64::from(since.subsec_nanos()).wrapping_mul(0x9E37_79B9)
            ^ u64::from(std::process::id()).wrapping_mul(0x85EB_CA6B);
        let tail = (salt ^ (salt >> 21)) % 36u64.pow(ID_CHARS as u32 - TIME_CHARS);
        Self(format!("{}{}", base36(millis, TIME_CHARS), base36(tail, ID_CHARS as u32 - TIME_CHARS)))
    }

    /// The id itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for RunId {
    fn default() -> Self {
        Self::now()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn base36(number: u64, digits: u32) -> String {
    (0..digits)
        .rev()
        .map(|place| {
            let digit = u32::try_from(number / 36u64.pow(place) % 36).unwrap_or(0);
            char::from_digit(digit, 36).unwrap_or('0')
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_twelve_letters_and_digits_that_sort_by_time() {
        let id = RunId::now();
        assert_eq!(id.as_str().len(), ID_CHARS);
        assert!(id.as_str().bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase()));
        assert!(base36(35, 2) < base36(36, 2));
        assert_eq!(base36(36 * 36 - 1, 2), "zz");
    }
}
