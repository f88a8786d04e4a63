//! Identifies the history that a server's transaction IDs belong to.
//!
//! A transaction ID tells when a row was written only within one history of a server. A restored server or a promoted standby
//! assigns IDs again. A copy of the data directory, or a disk snapshot, even has the same system identifier and timeline, but
//! another start time. So all three must be unchanged. Crashes within one history are handled by WAL positions: see
//! [`is_flushed`].

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
    /// The start time of the postmaster, in UTC.
    pub started_at: String,
}

impl fmt::Display for History {
    /// Formats it as recorded: `identifier/timeline/start`.
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
    /// Reads the history. `ask` runs a statement and returns the values of its one row. Returns the reason as a clause if the
    /// history cannot be known: on a standby, which has no timeline of its own, and if the role may not execute the
    /// functions.
    ///
    /// # Errors
    /// Errors of `ask`.
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
            // Some managed servers have the functions but refuse to run them.
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

    /// Describes the change since `then`, as a clause; `None` if it is the same history.
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

/// Returns whether the server answered with a refusal.
fn is_refusal(error: &Error) -> bool {
    error.code().is_some() && !error.is_transient()
}

/// Parses a WAL position: `16/B374D848`.
#[must_use]
pub(crate) fn lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    Some(u64::from_str_radix(high, 16).ok()? << 32 | u64::from_str_radix(low, 16).ok()?)
}

/// The largest header of a WAL page in bytes (`SizeOfXLogLongPHD`), and the size of the smallest record.
const PAGE_HEADER_BYTES_MAX: u64 = 40;

/// Returns whether all WAL before `insert` survives a crash, given that it is flushed up to `flush`.
///
/// After a page that is exactly full, the insert position is behind the next page's header, which is not flushed yet.
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
            // The page is full, and the next one has only its header.
            (8192 + 24, 8192, true),
            (8192 + 40, 8192, true),
            (8192 + 48, 8192, false),
            (8192 + 24, 8184, false),
        ] {
            assert_eq!(is_flushed(insert, flush, 8192), is_safe, "{insert} {flush}");
        }
    }
}
