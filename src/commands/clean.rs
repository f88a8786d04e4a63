//! `bulkload clean`: removes what dead runs left.

use crate::config::Config;
use crate::error::{Phase, Result};
use crate::pg::session::Side;
use crate::report::state::State;
use crate::run::id::RunId;
use crate::run::prepare;
use crate::run::sessions::Sessions;
use crate::run::stage::leftovers::{self, CleanReport};
use crate::run::{Options, unless_cancelled};

/// Removes what dead runs left on the target.
///
/// # Errors
/// The target cannot be reached, or refuses.
pub async fn clean(config: Config, options: Options) -> Result<CleanReport> {
    unless_cancelled(&options, Phase::Clean, remove(config)).await
}

async fn remove(config: Config) -> Result<CleanReport> {
    let (_, target) = prepare::endpoints(&config)?;
    let sessions = Sessions::new(&RunId::now(), &config.run);
    let session = prepare::open(&target, &config.target, &sessions, Side::Target).await?;
    let state = State::new(config.run.staging_schema.clone());
    leftovers::remove_dead(&session.client, &config.run, &state, leftovers::PATIENT).await
}
