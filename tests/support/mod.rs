//! Real servers for the tests, the program itself, and ways to get between the two.
//!
//! ```ignore
//! let pair = support::pair(); // a fresh database on the shared source and one on the shared target
//! pair.source.run("create table t (id int primary key); insert into t select generate_series(1, 9)");
//! pair.target.run("create table t (id int primary key)");
//! let outcome = Bulkload::on(&pair).config("…").sync();
//! assert_eq!(outcome.code, Some(0), "{outcome}");
//! assert_same_contents(&pair.source, &pair.target, "public.t");
//! ```
//!
//! Everything blocks; tests are plain `#[test]` functions.
#![allow(dead_code, unused_imports, reason = "what one feature's tests do not need, another's do")]

pub(crate) mod contents;
pub(crate) mod database;
pub(crate) mod dump;
pub(crate) mod over;
pub(crate) mod program;
pub(crate) mod proxy;
pub(crate) mod scene;
pub(crate) mod session;

use std::time::{Duration, Instant};

pub(crate) use contents::{assert_same_contents, fingerprint};
pub(crate) use database::{Db, Pair, Servers, pair};
pub(crate) use dump::{assert_same_dump, dump, dump_of_others};
pub(crate) use over::Over;
pub(crate) use program::{Bulkload, Outcome, Running};
pub(crate) use proxy::{Direction, Lost, Proxy};
pub(crate) use scene::{Rows, Scene};
pub(crate) use session::Session;

/// Waits until `what` is so; panics after two minutes: a busy machine is no failure.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(120);
    while !is_so() {
        assert!(Instant::now() < limit, "waited two minutes in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
