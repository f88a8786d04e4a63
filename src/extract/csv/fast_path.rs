//! The fast path for records without quotes, escapes, NULLs and characters to escape.
//!
//! Such a record becomes a row when its delimiters are replaced by tabs. Eight bytes are inspected at a time.

use super::fields::Record;

/// Bytes of a word.
const WORD: usize = size_of::<u64>();

/// A word of one byte.
const fn all(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; WORD])
}

/// The top bit of each byte of `word` that equals the same byte of `pattern`, exactly.
fn equal(word: u64, pattern: u64) -> u64 {
    const LOW: u64 = all(0x7f);
    let difference = word ^ pattern;
    !(((difference & LOW) + LOW) | difference | LOW)
}

/// Converts the record at `start` if it is plain, complete and not the last one in `data`. All other records are left
/// to the general path.
#[inline]
pub(super) fn record(data: &[u8], start: usize, delimiter: u8, quote: u8) -> Option<Record> {
    let (delimiters, quotes) = (all(delimiter), all(quote));
    let mut at = start;
    // Counts, one per byte of the word; the limit on the length of a plain record prevents overflow.
    let mut counts = 0;
    // The lowest byte tells whether a field begins at the word.
    let mut begins = 0x80;
    let longest = WORD * usize::from(u8::MAX);
    for word in data.get(start..)?.as_chunks::<WORD>().0.iter().take(longest / WORD) {
        let word = u64::from_le_bytes(*word);
        let found = equal(word, delimiters);
        // Bytes below 0x20 are line ends, tabs, and rare characters.
        let stops = equal(word, quotes) | equal(word, all(b'\\')) | equal(word & all(0xe0), 0);
        if stops == 0 {
            if found & ((found << 8) | begins) != 0 {
                return None;
            }
            counts += found >> 7;
            begins = found >> 56;
            at += WORD;
            continue;
        }
        let before = stops.trailing_zeros() as usize / WORD;
        let kept = (1_u64 << (8 * before)) - 1;
        let found = found & kept;
        // The stop may be the end of the line, where a field must not be empty either.
        if ((found << 8) | begins) & (found | (0x80 << (8 * before))) != 0 {
            return None;
        }
        counts += found >> 7;
        let content_end = at + before;
        let end = match &data[content_end..] {
            [b'\n', ..] => content_end + 1,
            [b'\r', b'\n', ..] => content_end + 2,
            _ => return None,
        };
        let fields = 1 + counts.to_ne_bytes().iter().map(|&count| usize::from(count)).sum::<usize>();
        return Some(Record { end, content_end, fields, is_quoted: false });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_records_are_found_whatever_their_length_and_no_others() {
        for length in 0..40 {
            let value = "x".repeat(length);
            let text = |record: &str| format!("{record}\nand more of it, so that words are whole");
            for (record_text, fields) in [
                (format!("a{value}"), 1),
                (format!("a,{value}b"), 2),
                (format!("{value}a,b,cc,ddd"), 4),
                (format!("{},é", "a,".repeat(length) + "b"), length + 2),
            ] {
                let found = record(text(&record_text).as_bytes(), 0, b',', b'"').unwrap();
                let expected = Record {
                    end: record_text.len() + 1,
                    content_end: record_text.len(),
                    fields,
                    is_quoted: false,
                };
                assert_eq!(found, expected, "{record_text}");
                let found = record(text(&format!("{record_text}\r")).as_bytes(), 0, b',', b'"').unwrap();
                assert_eq!((found.end, found.content_end), (record_text.len() + 2, record_text.len()));
            }
            for other in [",a", "a,", "a,,b", "a\"b", "a\\b", "a\tb", "a\rb", "a\0b", ""] {
                let text = text(&format!("{value}{other}"));
                let is_plain = length > 0 && (other.is_empty() || other == ",a");
                assert_eq!(record(text.as_bytes(), 0, b',', b'"').is_some(), is_plain, "{text}");
            }
        }
        assert_eq!(record(b"a,b\n", 0, b',', b'"'), None, "too short to be looked at in words");
        let long = format!("{}\nand more", "x".repeat(3000));
        assert_eq!(record(long.as_bytes(), 0, b',', b'"'), None);
    }
}
