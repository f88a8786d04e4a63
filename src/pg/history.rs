//! Which history a server's transaction numbers belong to.
//!
//! A number tells when a row was written only as long as the server goes on in one history. A restored server or a promoted
//! standby gives numbers out again. A copy of the data directory, or a disk snapshot, even has the same system identifier and
//! timeline; but it has been started anew. So all three must be as they were. A crash within one history is a matter of WAL
//! positions: see [`is_flushed`].

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// One history of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// `system_identifier` of `pg_control_system()`.
    pub system_identifier: String,
    /// The timeline, as eight hexadecimal digits.
    pub timeline: String,
    /// When the postmaster started, in UTC.
    pub started_at: String,
}

impl fmt::Display for History {
    /// As it is recorded: `identifier/timeline/start`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.system_identifier, self.timeline, self.started_at)
    }
}

impl FromStr for History {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '/').map(str::to_owned);
        let mut part = || parts.next().filter(|part| !part.is_empty()).ok_or(());
        Ok(Self { system_identifier: part()?, timeline: part()?, started_at: part()? })
    }
}

impl History {
    /// Reads it, `ask` being what runs a statement and returns the values of its one row. The reason, as a clause, if it cannot be
    /// known: on a standby, which has no timeline of its own, and where the role may not execute the functions that tell.
    ///
    /// # Errors
    /// Those of `ask`.
    pub(crate) async fn read(
        mut ask: impl AsyncFnMut(&'static str) -> Result<Vec<Option<String>>>,
    ) -> Result<Result<Self, String>> {
        let may = ask(include_str!("history_may.sql")).await?;
        let [is_standby, forbidden] = &may[..] else { return Ok(Err(UNKNOWN.to_owned())) };
        if is_standby.as_deref() != Some("f") {
            return Ok(Err("the source is a standby, whose transaction IDs are the primary's".to_owned()));
        }
        if let Some(forbidden) = forbidden {
            return Ok(Err(format!(
                "the role may not read the server identity and timeline of the source (grant execute on \
                 function {forbidden} to it)"
            )));
        }
        let read = match ask(include_str!("history.sql")).await {
            Ok(read) => read,
            // Some managed servers have the functions but refuse them.
            Err(error) if is_refusal(&error) => {
                return Ok(Err(format!(
                    "the source does not reveal its server identity and timeline ({error})"
                )));
            }
            Err(error) => return Err(error),
        };
        Ok(match &read[..] {
            [Some(system_identifier), Some(timeline), Some(started_at)] => Ok(Self {
                system_identifier: system_identifier.clone(),
                timeline: timeline.clone(),
                started_at: started_at.clone(),
            }),
            _ => Err(UNKNOWN.to_owned()),
        })
    }

    /// What became of the server since `then`, as a clause; `None` if it is the same history.
    pub(crate) fn differs_from(&self, then: &Self) -> Option<String> {
        if self.system_identifier != then.system_identifier {
            Some("the source is a different server than at the last run".to_owned())
        } else if self.timeline != then.timeline {
            Some(
                "the source is on a different timeline than at the last run: it was restored, or a standby \
                  was promoted"
                    .to_owned(),
            )
        } else if self.started_at != then.started_at {
            Some(format!(
                "the source server was restarted at {}, after the last run: it may be a copy or a restored \
                 backup, so transaction IDs from before the restart prove nothing",
                self.started_at
            ))
        } else {
            None
        }
    }
}

const UNKNOWN: &str = "the source does not reveal its server identity and timeline";

/// Whether the server answered, and the answer was no.
fn is_refusal(error: &Error) -> bool {
    error.code().is_some() && !error.is_transient()
}

/// A position in the WAL, from its text: `16/B374D848`.
#[must_use]
pub(crate) fn lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    Some(u64::from_str_radix(high, 16).ok()? << 32 | u64::from_str_radix(low, 16).ok()?)
}

/// What a page of the WAL begins with at most, in bytes (`SizeOfXLogLongPHD`), and what the smallest record takes besides.
const PAGE_HEADER_BYTES_MAX: u64 = 40;

/// Whether everything that stands before `insert` in the WAL survives a crash, `flush` being how far it is flushed.
///
/// The insert position after a page that is exactly full is behind the next page's header, where nothing is flushed yet.
#[must_use]
pub(crate) fn is_flushed(insert: u64, flush: u64, page_bytes: u64) -> bool {
    let is_before_a_header =
        flush.is_multiple_of(page_bytes.max(1)) && insert.saturating_sub(flush) <= PAGE_HEADER_BYTES_MAX;
    flush >= insert || is_before_a_header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> History {
        "7/00000001/2026-11-30T20:55:03.000001Z".parse().unwrap()
    }

    #[test]
    fn a_history_is_read_as_it_was_recorded() {
        assert_eq!(here().to_string().parse(), Ok(here()));
        for incomplete in ["7", "7/00000001", "7/00000001/", ""] {
            assert_eq!(incomplete.parse::<History>(), Err(()), "{incomplete}");
        }
    }

    #[test]
    fn identifier_timeline_and_start_must_all_be_as_they_were() {
        assert_eq!(here().differs_from(&here()), None);
        for (now, word) in [
            (History { system_identifier: "8".to_owned(), ..here() }, "different server"),
            (History { timeline: "00000002".to_owned(), ..here() }, "different timeline"),
            (History { started_at: "2026-12-01T00:00:00.000000Z".to_owned(), ..here() }, "restarted"),
        ] {
            assert!(now.differs_from(&here()).unwrap().contains(word), "{now}");
        }
    }

    #[test]
    fn what_is_behind_the_flushed_position_is_not_safe() {
        assert_eq!(lsn("16/B374D848"), Some(0x16_b374_d848));
        assert_eq!(lsn("16"), None);
        for (insert, flush, is_safe) in [
            (8192 + 100, 8192 + 100, true),
            (8192 + 100, 8192 + 101, true),
            (8192 + 100, 8192 + 99, false),
            // The page is full, the next one has but its header.
            (8192 + 24, 8192, true),
            (8192 + 40, 8192, true),
            (8192 + 48, 8192, false),
            (8192 + 24, 8184, false),
        ] {
            assert_eq!(is_flushed(insert, flush, 8192), is_safe, "{insert} {flush}");
        }
    }
}
