//! `bulkload demo`: a complete sync on two throw-away servers.

mod acts;
mod command;
mod reader;
pub mod servers;
mod story;
pub mod world;

pub(super) use command::Demo;
