//! Extraction from the source: one snapshot for all streams, and the COPY TO statement of each chunk.

pub(crate) mod csv;
mod horizon;
mod snapshot;
mod statement;

pub(crate) use horizon::{Horizon, Mark};
pub(crate) use snapshot::{Reader, Scene, Snapshot};
pub use statement::{copy_out_sql, select_sql};
pub(crate) use statement::{losses_sql, whole_source};
