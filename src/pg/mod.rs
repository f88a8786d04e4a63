//! All that speaks PostgreSQL.

mod cancel;
pub mod catalog;
pub mod cluster;
pub mod conninfo;
mod dial;
mod failure;
pub mod format;
pub(crate) mod history;
pub mod key_kind;
mod login;
pub mod name;
pub mod pooler;
pub mod render;
pub mod session;
mod supabase;
mod tap;
mod tls;
pub mod transport;
mod trial;
pub mod wire;
