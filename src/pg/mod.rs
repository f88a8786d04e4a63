//! Connections to PostgreSQL, its catalog, and its wire formats.

mod cancel;
pub mod catalog;
pub mod cluster;
mod connect_error;
pub mod conninfo;
mod copy_reader;
mod dial;
pub mod format;
mod guarantees;
pub(crate) mod history;
pub mod key_kind;
mod login;
pub mod name;
pub mod pooler;
pub mod render;
pub mod secret;
pub mod session;
mod supabase;
mod tls;
pub mod transport;
pub mod wire;
