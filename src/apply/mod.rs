//! Applies staged rows to the live tables, in one transaction per group.
//!
//! 1. [`verify()`] counts staging and judges the guards. Only tables that it returns can be applied.
//! 2. [`apply_group`] compares the tables whose differences are to be written, takes the locks within their budget, lets each
//!    method do its work, moves sequences, records the outcomes and commits. If it cannot acquire a lock, it repeats all of this.
//!
//! Each apply method is one file here, and so is each strategy without a choice of methods. It implements [`Rules`] for the
//! planner and [`Method`] for this module, and is listed in [`METHODS`].

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

/// An apply method: how rows get into a live table.
pub(crate) trait Method: Rules {
    /// Returns the way in which it works.
    fn way(&self) -> Way<'_>;
}

/// The three ways to apply rows.
pub(crate) enum Way<'a> {
    /// Old rows are removed and new ones inserted.
    Exchange(&'a dyn Exchange),
    /// Differences are written.
    Merge(merge::Policy),
    /// Another table takes the live table's place.
    Swap,
}

/// The exchange of a live table's rows.
pub(crate) trait Exchange: Sync {
    /// Removes the old rows of this method's tables of a group, referencing tables first. Returns their number per table.
    fn remove<'a>(
        &'a self,
        client: &'a Client,
        tables: &'a [&'a Ready<'a>],
    ) -> BoxFuture<'a, Result<Vec<u64>>>;

    /// Inserts the new rows into tables that reference each other in a circle, or into a single table. Returns their number
    /// per table. All tables use this method or another one that keeps this default. Staged rows are traced if `is_traced`
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

/// All apply methods, in `auto`'s order of preference.
pub(crate) const METHODS: &[&dyn Method] = &[
    &delta::DELTA,
    &swap::Swap,
    &delete::Delete,
    &truncate::Truncate,
    &direct::Direct,
    &upsert::UPSERT,
    &insert::INSERT,
];

/// Returns the methods as the planner sees them.
pub(crate) fn rules() -> Vec<&'static dyn Rules> {
    METHODS.iter().map(|method| *method as &dyn Rules).collect()
}

/// Returns the method that a plan has chosen.
pub(crate) fn method(name: ApplyMethod) -> Result<&'static dyn Method> {
    METHODS.iter().find(|method| method.method() == name).copied().ok_or_else(|| {
        Error::new(
            Phase::Apply,
            Kind::Internal,
            format!("the plan chose {}, which does not exist", name.name()),
        )
    })
}

/// Returns whether a method writes only differences.
pub(crate) fn writes_differences(name: ApplyMethod) -> bool {
    method(name).is_ok_and(Rules::compares)
}

/// Restarts the extraction of a table, for a method that takes rows straight from the source.
pub(crate) type Feed<'a> = Box<dyn Fn() -> mpsc::Receiver<Flow> + Send + Sync + 'a>;
