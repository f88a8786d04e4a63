//! The settings to measure, built from lists of values.
//!
//! The first value of each list is the base. Each list is varied with all others at their first value: a product of all lists
//! would take too long, and could not be drawn.

use bytesize::ByteSize;

use crate::config::{ApplyMethod, FormatChoice};

/// The settings of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// `[run] jobs`
    pub jobs: usize,
    /// `[run] chunk`, in bytes.
    pub chunk: u64,
    /// `[run] format`
    pub format: FormatChoice,
    /// `apply` of the table.
    pub apply: ApplyMethod,
}

/// The lists of values. An empty list stands for the values usually worth trying.
#[derive(Debug, Clone, Default)]
pub struct Sweep {
    /// `--jobs`
    pub jobs: Vec<usize>,
    /// `--chunk`, in bytes.
    pub chunk: Vec<u64>,
    /// `--format`
    pub format: Vec<FormatChoice>,
    /// `--apply`
    pub apply: Vec<ApplyMethod>,
}

/// The list that a setting belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// All lists at their first value.
    Base,
    /// `--jobs`
    Jobs,
    /// `--chunk`
    Chunk,
    /// `--format`
    Format,
    /// `--apply`
    Apply,
    /// The best value of each list, combined.
    Combined,
}

const MIB: u64 = 1 << 20;

impl Sweep {
    /// Fills in the lists that are not given, beginning with the values of `usual`.
    #[must_use]
    pub fn or(mut self, usual: Setting) -> Self {
        fn fill<T: PartialEq + Copy>(list: &mut Vec<T>, usual: T, others: &[T]) {
            if list.is_empty() {
                list.push(usual);
                list.extend(others.iter().filter(|other| **other != usual));
            }
            let mut seen = Vec::new();
            list.retain(|value| {
                !seen.contains(value) && {
                    seen.push(*value);
                    true
                }
            });
        }
        fill(&mut self.jobs, usual.jobs, &[1, (usual.jobs * 2).min(256)]);
        fill(&mut self.chunk, usual.chunk, &[32 * MIB]);
        fill(&mut self.format, usual.format, &[FormatChoice::Text]);
        let methods = [ApplyMethod::Swap, ApplyMethod::Delta, ApplyMethod::Truncate];
        fill(&mut self.apply, usual.apply, &methods);
        self
    }

    /// Returns the base, then each list's other values. All lists must have a value.
    #[must_use]
    pub fn settings(&self) -> Vec<(Axis, Setting)> {
        let (Some(&jobs), Some(&chunk), Some(&format), Some(&apply)) =
            (self.jobs.first(), self.chunk.first(), self.format.first(), self.apply.first())
        else {
            return Vec::new();
        };
        let base = Setting { jobs, chunk, format, apply };
        let mut all = vec![(Axis::Base, base)];
        all.extend(self.jobs[1..].iter().map(|&jobs| (Axis::Jobs, Setting { jobs, ..base })));
        all.extend(self.chunk[1..].iter().map(|&chunk| (Axis::Chunk, Setting { chunk, ..base })));
        all.extend(self.format[1..].iter().map(|&format| (Axis::Format, Setting { format, ..base })));
        all.extend(self.apply[1..].iter().map(|&apply| (Axis::Apply, Setting { apply, ..base })));
        all
    }
}

impl Setting {
    /// Returns the difference from the base: `jobs 1`, `chunk 32MiB`; `base` if there is none.
    #[must_use]
    pub fn label(&self, base: &Self) -> String {
        let mut words = Vec::new();
        if self.jobs != base.jobs {
            words.push(format!("jobs {}", self.jobs));
        }
        if self.chunk != base.chunk {
            words.push(format!("chunk {}", size(self.chunk)));
        }
        if self.format != base.format {
            words.push(format!("format {}", format_name(self.format)));
        }
        if self.apply != base.apply {
            words.push(format!("apply {}", self.apply.name()));
        }
        if words.is_empty() { "base".to_owned() } else { words.join(", ") }
    }

    /// Returns the complete setting: `jobs 2, chunk 128MiB, format auto, apply auto`.
    #[must_use]
    pub fn in_full(&self) -> String {
        format!(
            "jobs {}, chunk {}, format {}, apply {}",
            self.jobs,
            size(self.chunk),
            format_name(self.format),
            self.apply.name()
        )
    }
}

/// Returns a size as a config writes it: `128MiB`.
#[must_use]
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        b if b >= MIB && b.is_multiple_of(MIB) => format!("{}MiB", b / MIB),
        b if b >= 1024 && b.is_multiple_of(1024) => format!("{}KiB", b / 1024),
        b => b.to_string(),
    }
}

/// Parses a value of `--chunk`.
///
/// # Errors
/// The expected values.
pub fn parse_chunk(text: &str) -> Result<u64, String> {
    let bytes = text.trim().parse::<ByteSize>().ok().map(|ByteSize(bytes)| bytes);
    bytes
        .filter(|bytes| (8 << 10..=1 << 40).contains(bytes))
        .ok_or_else(|| "expected a size from 8KiB to 1TiB, such as 64MiB".to_owned())
}

/// Parses a value of `--format`.
///
/// # Errors
/// The expected values.
pub fn parse_format(text: &str) -> Result<FormatChoice, String> {
    [FormatChoice::Auto, FormatChoice::Binary, FormatChoice::Text]
        .into_iter()
        .find(|format| format_name(*format) == text)
        .ok_or_else(|| "expected auto, binary or text".to_owned())
}

/// Parses a value of `--apply`.
///
/// # Errors
/// The expected values.
pub fn parse_method(text: &str) -> Result<ApplyMethod, String> {
    use ApplyMethod::{Auto, Delete, Delta, Direct, Swap, Truncate};
    [Auto, Swap, Delta, Delete, Truncate, Direct]
        .into_iter()
        .find(|method| method.name() == text)
        .ok_or_else(|| "expected auto, swap, delta, delete, truncate or direct".to_owned())
}

/// Returns the format as the config writes it.
#[must_use]
pub(super) fn format_name(format: FormatChoice) -> &'static str {
    match format {
        FormatChoice::Auto => "auto",
        FormatChoice::Binary => "binary",
        FormatChoice::Text => "text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Setting =
        Setting { jobs: 2, chunk: 128 * MIB, format: FormatChoice::Auto, apply: ApplyMethod::Auto };

    #[test]
    fn each_list_is_walked_with_the_others_at_their_first_value() {
        let sweep = Sweep { jobs: vec![4, 1, 4], chunk: vec![MIB], ..Sweep::default() }.or(USUAL);
        let labels: Vec<String> = sweep
            .settings()
            .iter()
            .map(|(_, setting)| setting.label(&Setting { jobs: 4, chunk: MIB, ..USUAL }))
            .collect();
        assert_eq!(labels, ["base", "jobs 1", "format text", "apply swap", "apply delta", "apply truncate"]);
        let usual = Sweep::default().or(USUAL);
        assert_eq!((usual.jobs, usual.chunk), (vec![2, 1, 4], vec![128 * MIB, 32 * MIB]));
    }

    #[test]
    fn sizes_are_written_as_a_config_reads_them() {
        for text in ["8KiB", "128MiB", "1536KiB"] {
            assert_eq!(size(parse_chunk(text).unwrap()), text);
        }
        assert_eq!(size(parse_chunk("10MB").unwrap()), "10000000");
        assert!(parse_chunk("1KiB").is_err() && parse_chunk("much").is_err());
    }
}
