//! Where the next incremental run begins, per table.

use std::sync::OnceLock;

use crate::extract::{Mark, Snapshot};
use crate::plan::Plan;

/// The marks of a run's tables. One that depends on the source's WAL is settled when the table is about to be applied, once, so
/// that the state and the report tell the same.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    tables: Vec<(Mark, OnceLock<Mark>)>,
}

impl Marks {
    /// Of all tables that are read from a snapshot; those of the others are empty.
    pub(crate) fn new(plan: &Plan, snapshot: Option<&Snapshot>) -> Self {
        let horizon = snapshot.and_then(Snapshot::horizon);
        let mark = |watermark| Some(horizon?.mark(watermark));
        let marks =
            plan.tables.iter().map(|table| table.watermark.as_ref().and_then(mark).unwrap_or_default());
        let tables = marks.map(|mark| {
            let settled = if mark.needs_flush { OnceLock::new() } else { OnceLock::from(mark.clone()) };
            (mark, settled)
        });
        Self { tables: tables.collect() }
    }

    /// Settles the mark of a table, which may wait for the source: see [`Snapshot::is_flushed`].
    pub(crate) async fn settle(&self, table: usize, snapshot: Option<&Snapshot>) {
        let Some((mark, settled)) = self.tables.get(table) else { return };
        if settled.get().is_some() {
            return;
        }
        let is_flushed = match snapshot {
            Some(snapshot) => snapshot.is_flushed().await,
            None => false,
        };
        let _ = settled.set(if is_flushed { mark.clone() } else { Mark::unflushed() });
    }

    /// The mark of a table; an empty one before it is settled.
    pub(crate) fn of(&self, table: usize) -> Mark {
        self.tables.get(table).and_then(|(_, settled)| settled.get()).cloned().unwrap_or_default()
    }
}
