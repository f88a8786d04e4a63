//! Phase 5: each group of tables is verified and applied as soon as its rows are complete.

pub(crate) mod coordinator;
mod direct_feed;
mod group;
pub(crate) mod table_states;
