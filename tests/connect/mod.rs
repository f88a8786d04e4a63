//! Connecting: passwords, TLS, settings, streams, poolers.

mod certificates;
mod fixture;
mod login;
mod pgbouncer;
mod pooler;
mod session;
mod stream;
mod tls;
