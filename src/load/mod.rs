//! Loading into staging: unlogged tables in a private schema, filled chunk by chunk, each chunk exactly once.

mod chunk;
mod isolate;
mod judge;
mod ledger;
mod refusal;
mod rejects;
mod spool;
mod staging;

pub(crate) use chunk::{copy_in_sql, load_chunk};
pub(crate) use isolate::{Copied, Isolation, Refused};
pub(crate) use judge::{Judged, Judgement, Staged, Streamed, judge, missing, needs_judging, nulled};
pub(crate) use ledger::Ledger;
pub(crate) use refusal::{Destination, Refusal, null_in};
pub(crate) use rejects::{RejectsFile, TooMany, at_least, remove_unfinished};
pub(crate) use spool::{Spool, assemble};
pub(crate) use staging::{Staging, leftovers};
