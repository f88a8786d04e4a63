//! What became of rows, in figures.

/// What became of rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rows that came in.
    pub rows_in: u64,
    /// Rows that passed.
    pub rows_out: u64,
    /// Rows that did not: `rows_in - rows_out`.
    pub rejected: u64,
    /// Per reference the orphans that passed, set to NULL or as they were; empty if there were none at all.
    pub orphans: Vec<u64>,
    /// Per lookup the rows that passed without finding anything; empty if there were none at all.
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

    /// Rows that were counted as passed did not pass after all: what they were counted as.
    pub fn take_back(&mut self, refused: &Self) {
        self.rows_out -= refused.rejected;
        self.rejected += refused.rejected;
        for (ours, theirs) in [(&mut self.orphans, &refused.orphans), (&mut self.missing, &refused.missing)] {
            ours.iter_mut().zip(theirs).for_each(|(count, refused)| *count -= refused);
        }
    }
}

/// Counts under a number; counters are made as they are needed.
pub(super) fn count_at(counts: &mut Vec<u64>, number: usize, count: u64) {
    if counts.len() <= number {
        counts.resize(number + 1, 0);
    }
    counts[number] += count;
}
