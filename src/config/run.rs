//! `[run]`: meaning, type, default and range of each key.

use std::time::Duration;

use super::section::{Node, Section, Shape};
use super::value::{DAY, MIB, TIB, duration, ident, limit, list, notification, size, text, whole, word};
use super::{Commit, FormatChoice, Limit, OnEmpty};
use crate::error::Result;
use crate::pg::name::Ident;

/// Declares a section all of whose keys are optional: `key: Type = default, reader;`.
macro_rules! settings {
    ($(#[doc = $about:literal])+ $name:ident $header:literal {
        $( $(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:expr, $read:expr; )+
    }) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $key: $type, )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $key: $default, )+ }
            }
        }

        /// The section's keys.
        pub(super) static SHAPE: Shape = Shape { name: $header, keys: &[$( stringify!($key), )+] };

        impl $name {
            /// Reads the section; absent keys get their defaults.
            pub(super) fn read(section: &Section<'_>) -> Result<Self> {
                Ok(Self { $( $key: section.read(stringify!($key), $read)?.unwrap_or_else(|| $default), )+ })
            }
        }
    };
}

/// PostgreSQL stores timeouts as 32-bit milliseconds (manual, 20.11.1); this is the largest number of whole days.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 24 * 60 * 60);
/// One page, the smallest part of a heap that a stream can read.
const CHUNK_MIN: u64 = 8 << 10;
const MS: Duration = Duration::from_millis(1);
const ZERO: Duration = Duration::ZERO;

settings! {
    /// `[run]`: settings of a run. Every key is optional.
    RunConfig "[run]" {
        /// Number of parallel COPY streams; 0 = one per core, at most 8 and a third of the free connections.
        jobs: usize = 0, whole(0..=256);
        /// Maximum number of bytes in flight between source and target.
        memory: u64 = 256 * MIB, size(4 * MIB..=TIB);
        /// Tables larger than this many bytes are split between streams.
        chunk: u64 = 128 * MIB, size(CHUNK_MIN..=TIB);
        /// Wire format of tables that do not override it.
        format: FormatChoice = FormatChoice::Auto, word(FORMATS);
        /// Schema on the target for staging tables and state.
        staging_schema: Ident = Ident::new("bulkload"), staging_schema;
        /// Tables that one transaction applies.
        commit: Commit = Commit::Group, word(&[("group", Commit::Group), ("run", Commit::Run)]);
        /// Time that other sessions may queue behind our lock requests, per attempt. PostgreSQL takes zero as no limit, so
        /// zero is refused.
        lock_timeout: Duration = Duration::from_millis(500), duration(MS..=TIMEOUT_MAX);
        /// Total time for repeated attempts to acquire the locks; zero = one attempt.
        lock_wait: Duration = Duration::from_mins(10), duration(ZERO..=Duration::MAX);
        /// statement_timeout of our sessions; zero = none.
        statement_timeout: Duration = ZERO, duration(ZERO..=TIMEOUT_MAX);
        /// Maximum duration of one connection attempt.
        connect_timeout: Duration = Duration::from_secs(30), duration(MS..=Duration::from_hours(1));
        /// Maximum number of retries of a chunk after transient errors.
        retries: u32 = 3, whole(0..=100);
        /// Directory for rejects files, relative to the working directory.
        rejects_dir: String = "rejects".to_owned(), text;
        /// Notifications sent after a commit: channel and payload.
        notify: Vec<(Ident, Option<String>)> = Vec::new(), list("an array of strings", notification);
        /// A table that rejects more rows than this fails, and its target stays unchanged.
        max_rejects: Limit = Limit::Percent(5.0), limit;
        /// `replace` fails if the in-scope rows would shrink by more than this.
        max_shrink: Limit = Limit::Percent(50.0), limit;
        /// How a full run treats a source without rows.
        on_empty: OnEmpty = OnEmpty::Skip, word(ON_EMPTY);
        /// An incremental table gets a full run if its last one is older than this.
        full_every: Duration = 7 * DAY, duration(ZERO..=Duration::MAX);
    }
}

/// The values of `format`.
pub(super) static FORMATS: &[(&str, FormatChoice)] =
    &[("auto", FormatChoice::Auto), ("binary", FormatChoice::Binary), ("text", FormatChoice::Text)];

/// The values of `on_empty`.
pub(super) static ON_EMPTY: &[(&str, OnEmpty)] =
    &[("skip", OnEmpty::Skip), ("apply", OnEmpty::Apply), ("fail", OnEmpty::Fail)];

/// Reads the name of a schema, and refuses those that other software uses.
fn staging_schema(node: &Node<'_>) -> Result<Ident> {
    let schema = ident(node)?;
    let name = schema.as_str();
    if name == "public" || name == "information_schema" || name.starts_with("pg_") {
        return Err(node.wrong("a dedicated schema").hint("Remove the key to use the schema bulkload."));
    }
    Ok(schema)
}
