//! Records the origin of rows that passed, so that rows refused later can be found.

/// The rows of an output, in order.
#[derive(Debug, Default)]
pub struct Trace {
    rows: Vec<Traced>,
    suspects: Vec<u32>,
}

/// A row of an output.
#[derive(Debug, Clone, Copy)]
pub struct Traced {
    /// Index of its batch, from 0.
    pub batch: u32,
    /// Its index among the rows of that batch, from 0.
    pub row: u32,
    /// Where it ends in the output.
    pub end: usize,
}

impl Trace {
    /// Returns the number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns a row by its index.
    #[must_use]
    pub fn row(&self, number: usize) -> Traced {
        self.rows[number]
    }

    /// Returns where a row begins in the output.
    #[must_use]
    pub fn start(&self, number: usize) -> usize {
        number.checked_sub(1).map_or(0, |before| self.end(before))
    }

    /// Returns where a row ends in the output.
    #[must_use]
    pub fn end(&self, number: usize) -> usize {
        self.rows[number].end
    }

    /// Returns the rows that look as if the target would refuse them.
    #[must_use]
    pub fn suspects(&self) -> &[u32] {
        &self.suspects
    }

    /// Adds a row.
    pub(super) fn push(&mut self, row: Traced, is_suspect: bool) {
        if is_suspect {
            // A batch has far fewer rows than 32 bits can count.
            self.suspects.push(self.rows.len() as u32);
        }
        self.rows.push(row);
    }
}
