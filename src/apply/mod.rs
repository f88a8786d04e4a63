//! The exchange: what is in staging becomes what the live tables hold, one transaction for each group.
//!
//! 1. [`verify()`] counts staging and judges the guards; only what it returns can be applied.
//! 2. [`apply_group`] has those tables compared of which only the differences are written, takes the locks within their
//!    budget, lets each method do its work, moves sequences, records, commits, and repeats the whole when a lock was not
//!    to be had.
//!
//! A method is one file here, and so is a strategy that needs none: it implements [`Rules`] for the planner and [`Method`]
//! for this module, and is listed in [`METHODS`].

mod blockers;
mod commit;
mod dangling;
mod delete;
mod delta;
mod direct;
mod fill;
mod group;
mod insert;
mod locks;
mod merge;
mod scope;
mod sequences;
pub(crate) mod swap;
mod trace;
mod triggers;
mod truncate;
mod upsert;
mod verify;

use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_postgres::Client;

pub(crate) use group::{Applied, Books, Context, Outcome, apply_group};
pub(crate) use verify::{Loaded, Ready, Verdict, verify};

use crate::batch::Flow;
use crate::config::ApplyMethod;
use crate::error::{Error, Kind, Phase, Result};
use crate::plan::method::Rules;

/// How rows get into a live table.
pub(crate) trait Method: Rules {
    /// Its way.
    fn way(&self) -> Way<'_>;
}

/// One of three ways.
pub(crate) enum Way<'a> {
    /// Old rows are removed, new ones brought.
    Exchange(&'a dyn Exchange),
    /// What differs is written.
    Merge(merge::Policy),
    /// Another table takes the live one's place.
    Swap,
}

/// How the rows of a live table are exchanged.
pub(crate) trait Exchange: Sync {
    /// Removes the old rows of this method's tables of a group, referencing tables first. Returns how many, per table.
    fn remove<'a>(
        &'a self,
        client: &'a Client,
        tables: &'a [&'a Ready<'a>],
    ) -> BoxFuture<'a, Result<Vec<u64>>>;

    /// Brings the new rows into tables that reference each other in a circle, or into a single one. Returns how many,
    /// per table. All of them use this method or another one that keeps this default. Staged rows are noted if `is_traced`
    /// ([`mod@trace`]).
    fn fill<'a>(
        &'a self,
        client: &'a Client,
        tables: &'a [&'a Ready<'a>],
        is_traced: bool,
    ) -> BoxFuture<'a, Result<Vec<u64>>> {
        Box::pin(fill::from_staging(client, tables, is_traced))
    }
}

/// Every apply method there is, in `auto`'s order of preference.
pub(crate) const METHODS: &[&dyn Method] = &[
    &delta::DELTA,
    &swap::Swap,
    &delete::Delete,
    &truncate::Truncate,
    &direct::Direct,
    &upsert::UPSERT,
    &insert::INSERT,
];

/// The methods as the planner sees them.
pub(crate) fn rules() -> Vec<&'static dyn Rules> {
    METHODS.iter().map(|method| *method as &dyn Rules).collect()
}

/// Finds a method that a plan has chosen.
pub(crate) fn method(name: ApplyMethod) -> Result<&'static dyn Method> {
    METHODS.iter().find(|method| method.method() == name).copied().ok_or_else(|| {
        Error::new(
            Phase::Apply,
            Kind::Internal,
            format!("the plan chose {}, which does not exist", name.name()),
        )
    })
}

/// Whether a method writes only what differs.
pub(crate) fn writes_differences(name: ApplyMethod) -> bool {
    method(name).is_ok_and(Rules::compares)
}

/// Starts extracting a table anew, for a method that takes rows straight from the source.
pub(crate) type Feed<'a> = Box<dyn Fn() -> mpsc::Receiver<Flow> + Send + Sync + 'a>;
