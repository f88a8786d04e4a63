//! Row counts of a program.

/// Row counts of a program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rows read.
    pub rows_in: u64,
    /// Rows that passed.
    pub rows_out: u64,
    /// Rows that did not pass: `rows_in - rows_out`.
    pub rejected: u64,
    /// For each reference, the orphans that passed, set to NULL or unchanged; empty if there were none.
    pub orphans: Vec<u64>,
    /// For each lookup, the rows that passed without a match; empty if there were none.
    pub missing: Vec<u64>,
}

impl Tally {
    /// Adds another tally of the same program.
    pub fn add(&mut self, other: &Self) {
        self.rows_in += other.rows_in;
        self.rows_out += other.rows_out;
        self.rejected += other.rejected;
        for (ours, theirs) in [(&mut self.orphans, &other.orphans), (&mut self.missing, &other.missing)] {
            theirs.iter().enumerate().for_each(|(number, &count)| count_at(ours, number, count));
        }
    }

    /// Subtracts rows that were counted as passed and then rejected, with their counts.
    pub fn take_back(&mut self, refused: &Self) {
        self.rows_out -= refused.rejected;
        self.rejected += refused.rejected;
        for (ours, theirs) in [(&mut self.orphans, &refused.orphans), (&mut self.missing, &refused.missing)] {
            ours.iter_mut().zip(theirs).for_each(|(count, refused)| *count -= refused);
        }
    }
}

/// Counts under an index; counters are created on demand.
pub(super) fn count_at(counts: &mut Vec<u64>, number: usize, count: u64) {
    if counts.len() <= number {
        counts.resize(number + 1, 0);
    }
    counts[number] += count;
}
