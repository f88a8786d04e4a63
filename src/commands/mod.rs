//! The commands that are not a run: they look, and change nothing but what dead runs left.

mod check;
mod clean;
mod init;
mod seed;
mod status;
mod verify;

pub use check::{CheckReport, Finding, check};
pub use clean::clean;
pub use init::{Proposal, Request as InitRequest, init};
pub use seed::{Request as SeedRequest, Seeding, is_csv, prepare as prepare_seed};
pub use status::status;
pub use verify::verify;

pub use crate::run::stage::leftovers::CleanReport;
