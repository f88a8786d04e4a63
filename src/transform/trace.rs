//! Where rows that passed come from, for whoever finds out later that some of them cannot be loaded after all.

/// The rows of an output, in their order.
#[derive(Debug, Default)]
pub struct Trace {
    rows: Vec<Traced>,
    suspects: Vec<u32>,
}

/// A row of an output.
#[derive(Debug, Clone, Copy)]
pub struct Traced {
    /// Which of the batches it comes from, from 0.
    pub batch: u32,
    /// Its number among the rows of that batch, from 0.
    pub row: u32,
    /// Where it ends in the output.
    pub end: usize,
}

impl Trace {
    /// How many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// A row by its number.
    #[must_use]
    pub fn row(&self, number: usize) -> Traced {
        self.rows[number]
    }

    /// Where a row begins in the output.
    #[must_use]
    pub fn start(&self, number: usize) -> usize {
        number.checked_sub(1).map_or(0, |before| self.end(before))
    }

    /// Where a row ends in the output.
    #[must_use]
    pub fn end(&self, number: usize) -> usize {
        self.rows[number].end
    }

    /// Rows that look as if the target would refuse them.
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
