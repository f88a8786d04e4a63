//! `bulkload demo`: the whole job on two throw-away servers.

mod command;
mod reader;
pub mod servers;
pub mod world;

pub(super) use command::Demo;
