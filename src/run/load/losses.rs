//! Counts the rows that casts change, in the run's snapshot.
//!
//! `lossy = "error"` fails a table before it is applied if there are any. `lossy = "warn"` tells how many there are, where reading
//! the table once more is cheap.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Kind, Phase, Result};
use crate::extract::{Reader, Snapshot, losses_sql};
use crate::figures;
use crate::pg::name::plain;
use crate::plan::{Loss, Plan, TablePlan};

/// A larger table is not read once more for a warning: half a second's reading, about.
const COUNTED_BYTES_MAX: u64 = 256 << 20;

/// What is known of each table of the plan.
#[derive(Debug)]
pub(crate) struct Losses(Vec<Mutex<Counting>>);

#[derive(Debug, Default)]
struct Counting {
    /// Its rows wait to be counted.
    is_due: bool,
    /// What was found, until it is told.
    warnings: Vec<String>,
}

impl Losses {
    pub(crate) fn new(plan: &Plan) -> Self {
        let is_due = |table: &TablePlan| {
            let can_tell = table.losses.casts.iter().any(|loss| loss.changes.is_some());
            can_tell && (table.losses.is_error || table.bytes <= COUNTED_BYTES_MAX)
        };
        let counting = |table| Mutex::new(Counting { is_due: is_due(table), ..Counting::default() });
        Self(plan.tables.iter().map(counting).collect())
    }

    fn of(&self, table: usize) -> MutexGuard<'_, Counting> {
        self.0[table].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the caller has to call [`Losses::count`].
    pub(crate) fn begin(&self, table: usize) -> bool {
        std::mem::take(&mut self.of(table).is_due)
    }

    /// Counts the rows of a table that casts change. `reader` is a connection that the caller has, if it has one; it goes back to
    /// the snapshot.
    ///
    /// # Errors
    /// The connection broke, or rows change and the config has that fail the table.
    pub(crate) async fn count(
        &self,
        (table, plan): (usize, &TablePlan),
        snapshot: &Snapshot,
        reader: Option<Reader>,
    ) -> Result<()> {
        match ask(snapshot, plan, reader).await {
            Err(error) if error.is_transient() || error.kind() == Kind::Cancelled => {
                // The chunk is tried again, and then this is.
                self.of(table).is_due = true;
                Err(error)
            }
            counted => {
                self.of(table).warnings = judge(plan, counted)?;
                Ok(())
            }
        }
    }

    /// The result, until it is taken.
    pub(crate) fn warnings(&self, table: usize) -> Vec<String> {
        std::mem::take(&mut self.of(table).warnings)
    }
}

async fn ask(snapshot: &Snapshot, plan: &TablePlan, reader: Option<Reader>) -> Result<Vec<u64>> {
    let mut reader = match reader {
        Some(reader) => reader,
        None => snapshot.open().await?,
    };
    let rows = reader.wire.query(&losses_sql(plan)).await;
    snapshot.give_back(reader).await;
    let row = rows?.into_iter().next().unwrap_or_default();
    Ok(row.into_iter().map(|count| count.and_then(|count| count.parse().ok()).unwrap_or(0)).collect())
}

fn judge(plan: &TablePlan, counted: Result<Vec<u64>>) -> Result<Vec<String>> {
    let casts = plan.losses.casts.iter().filter(|loss| loss.changes.is_some());
    let counts = match counted {
        Ok(counts) => counts,
        // A row that a cast refuses is rejected when it is loaded, if that is possible; here it ends the counting.
        Err(error) if plan.losses.is_error => {
            return Err(error
                .context(format!("{}: counting the rows that casts change", plan.name.plain()))
                .hint("lossy = \"error\" needs casts that accept every row: exclude rows that do not fit with where."));
        }
        Err(error) => return Ok(vec![format!("cannot count the rows that casts change: {error}")]),
    };
    let changed = casts.zip(counts).filter(|(_, rows)| *rows > 0);
    let told: Vec<String> = changed.map(|(loss, rows)| changed_rows(loss, rows)).collect();
    if told.is_empty() || !plan.losses.is_error {
        return Ok(told);
    }
    Err(Error::new(
        Phase::Load,
        Kind::Guard,
        format!("{}: {} (lossy = \"error\")", plan.name.plain(), told.join("; ")),
    )
    .hint("Give the target a type that holds every value, convert the column with an expr, or set lossy = \"allow\"."))
}

fn changed_rows(loss: &Loss, rows: u64) -> String {
    let rows = figures::counted(rows, "row");
    format!("column {}: the cast of {} changes {rows}", plain(&loss.column), loss.cast)
}
