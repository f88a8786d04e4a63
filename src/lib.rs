//! `bulkload` moves whole tables into a live PostgreSQL database. It is fast and locks the live tables only briefly.
//!
//! ```text
//! source ──COPY TO──▶ transform + filter ──COPY FROM──▶ staging ──verify──▶ apply ──▶ record
//! ```

mod apply;
mod backoff;
pub mod batch;
pub mod bench;
pub mod cli;
pub mod commands;
pub mod config;
pub mod error;
pub mod extract;
mod fail_points;
mod figures;
mod load;
pub mod pg;
pub mod plan;
pub mod report;
pub mod run;
pub mod transform;

pub use error::{Error, Result};
