//! `[run]`: each key with its meaning, type, default and range in one place.

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
            /// Reads the section; what it leaves out has its default.
            pub(super) fn read(section: &Section<'_>) -> Result<Self> {
                Ok(Self { $( $key: section.read(stringify!($key), $read)?.unwrap_or_else(|| $default), )+ })
            }
        }
    };
}

/// PostgreSQL keeps its timeouts as 32-bit milliseconds (manual, 20.11.1); this is the last whole day of these.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 24 * 60 * 60);
/// A heap cannot be cut finer than by pages.
const CHUNK_MIN: u64 = 8 << 10;
const MS: Duration = Duration::from_millis(1);
const ZERO: Duration = Duration::ZERO;

settings! {
    /// `[run]`: how to work. Every key is optional.
    RunConfig "[run]" {
        /// COPY streams at once; 0 = one per core, at most 8 and a third of the free connections.
        jobs: usize = 0, whole(0..=256);
        /// Bytes in flight between source and target, at most.
        memory: u64 = 256 * MIB, size(4 * MIB..=TIB);
        /// Tables larger than this many bytes are split between streams.
        chunk: u64 = 128 * MIB, size(CHUNK_MIN..=TIB);
        /// Wire format for tables that do not say otherwise.
        format: FormatChoice = FormatChoice::Auto, word(FORMATS);
        /// Schema on the target for staging tables and state.
        staging_schema: Ident = Ident::new("bulkload"), staging_schema;
        /// What one transaction applies.
        commit: Commit = Commit::Group, word(&[("group", Commit::Group), ("run", Commit::Run)]);
        /// How long others may queue behind us, per attempt. Zero would mean for ever, so it is not accepted.
        lock_timeout: Duration = Duration::from_millis(500), duration(MS..=TIMEOUT_MAX);
        /// How long to keep trying to get the locks; zero = one attempt.
        lock_wait: Duration = Duration::from_mins(10), duration(ZERO..=Duration::MAX);
        /// Our sessions' own statement_timeout; zero = none.
        statement_timeout: Duration = ZERO, duration(ZERO..=TIMEOUT_MAX);
        /// How long one connection attempt may take.
        connect_timeout: Duration = Duration::from_secs(30), duration(MS..=Duration::from_hours(1));
        /// Repetitions of a chunk after a transient error.
        retries: u32 = 3, whole(0..=100);
        /// Where reject files go, relative to the working directory.
        rejects_dir: String = "rejects".to_owned(), text;
        /// NOTIFYs after a commit: channel and payload.
        notify: Vec<(Ident, Option<String>)> = Vec::new(), list("an array of strings", notification);
        /// Above this a table fails and its target is untouched.
        max_rejects: Limit = Limit::Percent(5.0), limit;
        /// `replace` fails if the in-scope rows would drop by more than this.
        max_shrink: Limit = Limit::Percent(50.0), limit;
        /// What a full run does with a source without rows.
        on_empty: OnEmpty = OnEmpty::Skip, word(ON_EMPTY);
        /// An incremental table gets a full run when the last one is older.
        full_every: Duration = 7 * DAY, duration(ZERO..=Duration::MAX);
    }
}

/// The words of `format`.
pub(super) static FORMATS: &[(&str, FormatChoice)] =
    &[("auto", FormatChoice::Auto), ("binary", FormatChoice::Binary), ("text", FormatChoice::Text)];

/// The words of `on_empty`.
pub(super) static ON_EMPTY: &[(&str, OnEmpty)] =
    &[("skip", OnEmpty::Skip), ("apply", OnEmpty::Apply), ("fail", OnEmpty::Fail)];

/// A schema that may be ours alone: whatever nobody else uses.
fn staging_schema(node: &Node<'_>) -> Result<Ident> {
    let schema = ident(node)?;
    let name = schema.as_str();
    if name == "public" || name == "information_schema" || name.starts_with("pg_") {
        return Err(node
            .wrong("a schema of its own, which nobody else uses")
            .hint("Leave the key out to use the schema bulkload."));
    }
    Ok(schema)
}
