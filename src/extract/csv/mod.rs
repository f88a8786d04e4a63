//! CSV files as a source of rows.
//!
//! ```text
//! survey ─▶ facts for the plan      Splits ─▶ where a part begins ─▶ reader ─▶ batches of text COPY + rejects
//! ```
//!
//! 1. [`survey()`] finds the files and reads their first bytes: compression, encoding, header.
//! 2. [`Splits`] finds where the parts of a large file begin, from its quotes alone.
//! 3. [`read`] turns the records of a part into rows: no field becomes a separate value, and each byte is copied at
//!    most once.
//!
//! [`Again`] reads single records again, for rejects found later.
//!
//! Values are sent to the server unchanged; only the server interprets them. Everything here is synchronous.

mod discover;
mod fast_path;
mod fields;
mod gzip;
mod input;
mod invalid_bytes;
mod reader;
mod reread;
mod sink;
mod split;
#[cfg(test)]
mod tests;
mod validate;

pub(crate) use discover::{is_hidden, refuse_hidden_away, survey, unreadable, words};
pub(crate) use fields::{Added, Layout};
pub(crate) use reader::{Outlet, Slice, read};
pub(crate) use reread::Again;
pub(crate) use split::Splits;
