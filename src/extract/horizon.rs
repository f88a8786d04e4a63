//! The horizon of a run's snapshot, and the watermarks derived from it.
//!
//! A row that was written before the snapshot but committed after it is not in the snapshot, yet its columns hold the
//! time of writing. The next run therefore begins at the start of the oldest transaction that was open before the
//! snapshot was taken. Transaction numbers need no such care: every transaction the snapshot does not see has a
//! number at or above its xmin.

use std::time::{Duration, SystemTime};

use crate::error::{Error, Kind, Phase, Result};
use crate::pg::history::History;
use crate::pg::wire::{TextRow, Wire};
use crate::plan::{NumberMark, WatermarkKind, WatermarkPlan};

/// Facts about the source's transactions just before the snapshot.
#[derive(Debug, Clone)]
pub(crate) struct Horizon {
    is_standby: bool,
    /// Start of the oldest visible open transaction, in microseconds since 1970.
    oldest_us: Option<u64>,
    /// Number of sessions whose transactions the role may not see.
    unseen: u64,
    /// Number of pending prepared transactions, and the name of one.
    prepared: (u64, String),
    /// The oldest open transaction number.
    xmin: u64,
    /// The history the number belongs to, or why it is unknown.
    history: Result<History, String>,
}

/// The watermark of one table after a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Where the next incremental run begins.
    pub(crate) watermark: Option<String>,
    /// A warning for the operator.
    pub(crate) warning: Option<String>,
    /// Whether it may be recorded only if everything the snapshot sees survives a crash of the source.
    pub(crate) needs_flush: bool,
}

impl Mark {
    /// Returns the mark of a snapshot whose rows may be lost in a crash of the source. The source would then reuse
    /// their transaction numbers while the target holds rows that the source lacks: only a full run detects that.
    pub(crate) fn unflushed() -> Self {
        Self {
            warning: Some(
                "no watermark is recorded, so the next run will be a full one: the source's WAL was not flushed up to the snapshot, \
                 and after a crash the source would reuse transaction numbers"
                    .to_owned(),
            ),
            ..Self::default()
        }
    }
}

impl Horizon {
    /// Reads the horizon, in a READ COMMITTED transaction that is about to export its snapshot; the history only if
    /// `wants_history`, because watermarks of time do not need it.
    ///
    /// # Errors
    /// Errors of the server.
    /// The server's.
    pub(crate) async fn read(wire: &mut Wire, wants_history: bool) -> Result<Self> {
        let what = "reading the source's open transactions";
        let rows = wire.query(include_str!("horizon.sql")).await.map_err(|e| e.context(what))?;
        let [open, prepared] = rows.as_slice() else {
            return Err(Error::new(
                Phase::Snapshot,
                Kind::Internal,
                format!("{what}: two rows were expected"),
            ));
        };
        let history = match wants_history {
            true => read_history(wire).await.map_err(|e| e.context(what))?,
            false => Err("it was not requested".to_owned()),
        };
        Ok(Self {
            is_standby: text(open, 0) == "t",
            oldest_us: text(open, 1).parse().ok(),
            unseen: number(open, 2),
            prepared: (number(prepared, 0), text(prepared, 1).to_owned()),
            xmin: number(open, 3),
            history,
        })
    }

    /// Returns the watermark of a table that was read from the snapshot.
    pub(crate) fn mark(&self, plan: &WatermarkPlan) -> Mark {
        match plan.kind {
            WatermarkKind::Time(overlap) => self.mark_of_time(overlap, plan.last.as_deref()),
            WatermarkKind::Xmin => match &self.history {
                Ok(history) => {
                    let mark = NumberMark { xmin: self.xmin, history: history.clone() };
                    Mark { watermark: Some(mark.to_string()), warning: None, needs_flush: true }
                }
                Err(why) => {
                    let warning =
                        format!("no watermark is recorded, so the next run will be a full one: {why}");
                    Mark { warning: Some(warning), ..Mark::default() }
                }
            },
        }
    }

    /// Returns whether a transaction number can be recorded at all.
    pub(crate) fn has_history(&self) -> bool {
        self.history.is_ok()
    }

    /// Fails if transaction numbers of `then` are about to be used in another history, because the server was
    /// restarted or replaced since the run was planned.
    ///
    /// # Errors
    /// [`Kind::Schema`] with the difference.
    /// [`Kind::Schema`] with what became of it.
    pub(crate) fn refuse_other_history(&self, then: &History) -> Result<()> {
        let why = match &self.history {
            Ok(now) => now.differs_from(then),
            Err(why) => Some(why.clone()),
        };
        let Some(why) = why else { return Ok(()) };
        Err(Error::new(Phase::Snapshot, Kind::Schema, format!("{why}, after the run was planned"))
            .hint("Run again."))
    }

    fn mark_of_time(&self, overlap: Duration, last: Option<&str>) -> Mark {
        let stays = || match last {
            Some(last) => format!("the watermark stays at {last}"),
            None => "no watermark is recorded".to_owned(),
        };
        let last = last.map(str::to_owned);
        if self.prepared.0 > 0 {
            let warning = format!(
                "{}: a prepared transaction is pending in the source ({}), and a later run must read its rows",
                stays(),
                self.prepared.1
            );
            return Mark { watermark: last, warning: Some(warning), needs_flush: false };
        }
        let Some(oldest_us) = self.oldest_us else {
            let warning = format!("{}: the standby does not report its replay position", stays());
            return Mark { watermark: last, warning: Some(warning), needs_flush: false };
        };
        let overlap_us = u64::try_from(overlap.as_micros()).unwrap_or(u64::MAX);
        // One microsecond less, because the seconds were a float on servers before 14.
        let time = SystemTime::UNIX_EPOCH
            + Duration::from_micros(oldest_us.saturating_sub(overlap_us).saturating_sub(1));
        let shown = humantime::format_duration(overlap);
        let warning = if self.is_standby {
            Some(format!(
                "the source is a standby, and open transactions of the primary are not visible: only watermark_overlap = {shown} covers the rows they write"
            ))
        } else if self.unseen > 0 {
            Some(format!(
                "the role does not see other roles' transactions in the source ({} sessions): only watermark_overlap = {shown} covers the rows they write (grant pg_read_all_stats to it)",
                self.unseen
            ))
        } else {
            None
        };
        let watermark = Some(humantime::format_rfc3339_micros(time).to_string());
        Mark { watermark, warning, needs_flush: false }
    }
}

/// Reads the history. If the server refuses, the statement fails but the transaction goes on.
async fn read_history(wire: &mut Wire) -> Result<Result<History, String>> {
    wire.execute("savepoint history").await?;
    let ask = async |sql: &'static str| Ok(wire.query(sql).await?.into_iter().next().unwrap_or_default());
    let history = History::read(ask).await?;
    wire.execute("rollback to savepoint history; release savepoint history").await?;
    Ok(history)
}

fn text(row: &TextRow, column: usize) -> &str {
    row.get(column).and_then(Option::as_deref).unwrap_or_default()
}

fn number(row: &TextRow, column: usize) -> u64 {
    text(row, column).parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HISTORY: &str = "7/00000001/2026-11-30T20:55:03.000001Z";

    fn horizon() -> Horizon {
        Horizon {
            is_standby: false,
            oldest_us: Some(1_000_000_000_000_001),
            unseen: 0,
            prepared: (0, String::new()),
            xmin: 77,
            history: Ok(HISTORY.parse().unwrap()),
        }
    }

    fn time(last: Option<&str>) -> WatermarkPlan {
        WatermarkPlan {
            kind: WatermarkKind::Time(Duration::from_secs(60)),
            last: last.map(str::to_owned),
            dated_by: Vec::new(),
        }
    }

    #[test]
    fn the_overlap_is_taken_off_the_oldest_open_transaction() {
        let mark = horizon().mark(&time(None));
        assert_eq!(mark.watermark.as_deref(), Some("2001-09-09T01:45:40.000000Z"));
        assert_eq!(mark.warning, None);
    }

    #[test]
    fn a_prepared_transaction_keeps_the_watermark_where_it_was() {
        let pending = Horizon { prepared: (1, "gid".to_owned()), ..horizon() };
        let mark = pending.mark(&time(Some("then")));
        assert_eq!(mark.watermark.as_deref(), Some("then"));
        assert!(mark.warning.unwrap().contains("stays at then"));
        assert_eq!(pending.mark(&time(None)).watermark, None);
        let xmin = WatermarkPlan { kind: WatermarkKind::Xmin, ..time(None) };
        assert_eq!(pending.mark(&xmin).watermark.as_deref(), Some(&*format!("77@{HISTORY}")));
    }

    #[test]
    fn a_number_is_recorded_with_its_history_and_only_once_it_survives_a_crash() {
        let xmin = WatermarkPlan { kind: WatermarkKind::Xmin, ..time(Some("70@7")) };
        assert!(horizon().mark(&xmin).needs_flush);
        assert!(!horizon().mark(&time(None)).needs_flush);
        let unknown = Horizon { history: Err("the source is a standby".to_owned()), ..horizon() };
        let mark = unknown.mark(&xmin);
        assert_eq!((mark.watermark, mark.needs_flush), (None, false));
        assert!(mark.warning.unwrap().ends_with("the next run will be a full one: the source is a standby"));
    }

    #[test]
    fn a_run_that_was_planned_in_another_history_is_refused() {
        assert!(horizon().refuse_other_history(&HISTORY.parse().unwrap()).is_ok());
        let then = HISTORY.replace("30T", "29T").parse().unwrap();
        let error = horizon().refuse_other_history(&then).unwrap_err();
        assert!(error.message().contains("restarted"), "{error}");
    }

    #[test]
    fn what_cannot_be_seen_is_told() {
        for (blind, word) in [
            (Horizon { unseen: 3, ..horizon() }, "pg_read_all_stats"),
            (Horizon { is_standby: true, ..horizon() }, "standby"),
            (Horizon { oldest_us: None, is_standby: true, ..horizon() }, "no watermark is recorded"),
        ] {
            assert!(blind.mark(&time(None)).warning.unwrap().contains(word));
        }
    }
}
