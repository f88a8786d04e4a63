//! Transforms and filters rows in transit: the synchronous core, without I/O.
//!
//! ```text
//! pieces of a COPY stream ─▶ RowCutter ─▶ Rows, in any order, on any thread ─▶ Program::run ─▶ COPY data + rejects
//! ```
//!
//! 1. A [`RowCutter`] reads a stream in order, strips header and trailer, and splits it between rows.
//! 2. A [`Program`], compiled once per table from [`Rules`], processes batches of [`Rows`] independently: it fills
//!    lookups, judges references, and appends the rows that pass to an output buffer. Fields stay slices of the
//!    batch, adjacent fields are copied together, and nothing is allocated per row.
//! 3. Keys and values of the rows that pass are collected into a [`KeySetBuilder`] or a [`LookupBuilder`] for
//!    dependent tables; rows that do not pass are written to a [`RejectBuffer`].
//!
//! The writer of a stream puts [`header`] before it and [`trailer`] after it; in between, rows may come in any order.

mod codec;
mod emit;
pub mod key;
mod keyset;
mod lookup;
mod precheck;
mod program;
mod refuse;
mod reject;
mod resolve;
mod row_splitter;
mod rules;
mod sharded;
mod tally;
mod trace;

pub use codec::{header, trailer};
pub use key::bytes::escape as escape_text;
pub(crate) use key::bytes::unescaped;
pub use keyset::{KeySet, KeySetBuilder, KeySink};
pub use lookup::{Found, LookupBuilder, LookupMap, LookupSink};
pub use precheck::{Check, Look};
pub use program::{NotNull, Program, Scratch};
pub use refuse::Refused;
pub(crate) use reject::quote as quote_field;
pub use reject::{Place, Reason, RejectBuffer, Rejects, SAMPLES_MAX, own_columns};
pub use row_splitter::{RowCutter, Rows};
pub use rules::{
    Collect, InputColumn, KeyColumn, Lookup, NullValues, OnMissing, OnOrphan, Output, OutputColumn,
    Reference, Render, Rules,
};
pub use tally::Tally;
pub use trace::{Trace, Traced};

#[cfg(test)]
mod tests;
