//! Behaviour against real servers: one file per promise or feature, all in one binary so that they share a pair of
//! clusters.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why")]

mod support;

mod bad_input;
mod bad_rows;
mod cli;
mod columns;
mod connect;
mod csv_bad;
mod csv_source;
mod delta;
mod demo;
mod demo_data;
mod exit_codes;
mod filters;
mod guards;
mod identifiers;
mod incremental;
mod kills;
mod locks;
mod lookups;
mod lost_replies;
mod memory;
mod own_types;
mod readme;
mod references;
mod render;
mod scope;
mod secrets;
mod seed;
mod sequences;
mod server_faults;
mod shapes;
mod signals;
mod slots;
mod snapshots;
mod stalls;
mod state;
mod status;
mod strategies;
mod throw_away_servers;
mod timeouts;
mod types;
mod verify;
mod watermarks;
