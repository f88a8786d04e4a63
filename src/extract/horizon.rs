//! How far a run's snapshot reaches, and the watermarks that follow from it.
//!
//! A row that was written before the snapshot and committed after it is not in it, and its columns tell when it was
//! written. So the next run begins at the start of the oldest transaction that was open before the snapshot was
//! taken. Numbers of transactions need no such care: what the snapshot does not see has a number from its xmin on.

use std::time::{Duration, SystemTime};

use crate::error::{Error, Kind, Phase, Result};
use crate::pg::history::History;
use crate::pg::wire::{TextRow, Wire};
use crate::plan::{NumberMark, WatermarkKind, WatermarkPlan};

/// What is known of the source's transactions as they were before the snapshot.
#[derive(Debug, Clone)]
pub(crate) struct Horizon {
    is_standby: bool,
    /// When the oldest one began that could be seen, in microseconds since 1970.
    oldest_us: Option<u64>,
    /// Sessions whose transactions the role may not see.
    unseen: u64,
    /// Transactions that were prepared and are pending, and the name of one.
    prepared: (u64, String),
    /// The oldest number that was open.
    xmin: u64,
    /// What the number belongs to, or why that is not known.
    history: Result<History, String>,
}

/// What a run records of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Where the next incremental run begins.
    pub(crate) watermark: Option<String>,
    /// What the operator should know of it.
    pub(crate) warning: Option<String>,
    /// Whether it may be recorded only if everything that the snapshot sees survives a crash of the source.
    pub(crate) needs_flush: bool,
}

impl Mark {
    /// The mark of a snapshot whose rows a crash of the source may take back. Their transaction numbers would be given out
    /// again, and the target holds rows that the source does not: only a full run tells.
    pub(crate) fn unflushed() -> Self {
        Self {
            warning: Some(
                "no watermark is recorded, so that the next run is a full one: the source's WAL was not flushed as far as the snapshot \
                 reaches, and a crash of the source would give transaction numbers out again"
                    .to_owned(),
            ),
            ..Self::default()
        }
    }
}

impl Horizon {
    /// Reads it, in a transaction that is READ COMMITTED and about to export its snapshot; the history only if
    /// `wants_history`, since watermarks of time do without.
    ///
    /// # Errors
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
            false => Err("it was not asked for".to_owned()),
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

    /// The watermark of a table that was read from the snapshot.
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
                        format!("no watermark is recorded, so that the next run is a full one: {why}");
                    Mark { warning: Some(warning), ..Mark::default() }
                }
            },
        }
    }

    /// Whether a transaction number can be recorded at all.
    pub(crate) fn has_history(&self) -> bool {
        self.history.is_ok()
    }

    /// Fails if transaction numbers of `then` are about to be used in another history: the server was restarted or another one
    /// took its place since the run was planned.
    ///
    /// # Errors
    /// [`Kind::Schema`] with what became of it.
    pub(crate) fn refuse_other_history(&self, then: &History) -> Result<()> {
        let why = match &self.history {
            Ok(now) => now.differs_from(then),
            Err(why) => Some(why.clone()),
        };
        let Some(why) = why else { return Ok(()) };
        Err(Error::new(Phase::Snapshot, Kind::Schema, format!("{why}, and the run was planned before that"))
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
                "{}: a prepared transaction is pending in the source ({}), whose rows a later run must find",
                stays(),
                self.prepared.1
            );
            return Mark { watermark: last, warning: Some(warning), needs_flush: false };
        }
        let Some(oldest_us) = self.oldest_us else {
            let warning = format!("{}: the standby does not tell how far it has come", stays());
            return Mark { watermark: last, warning: Some(warning), needs_flush: false };
        };
        let overlap_us = u64::try_from(overlap.as_micros()).unwrap_or(u64::MAX);
        // One less, because the seconds were a float on servers before 14.
        let time = SystemTime::UNIX_EPOCH
            + Duration::from_micros(oldest_us.saturating_sub(overlap_us).saturating_sub(1));
        let shown = humantime::format_duration(overlap);
        let warning = if self.is_standby {
            Some(format!(
                "the source is a standby, where open transactions of the primary are not seen: only watermark_overlap = {shown} covers rows that they write"
            ))
        } else if self.unseen > 0 {
            Some(format!(
                "the role does not see other roles' transactions in the source ({} sessions): only watermark_overlap = {shown} covers rows that they write (grant pg_read_all_stats to it)",
                self.unseen
            ))
        } else {
            None
        };
        let watermark = Some(humantime::format_rfc3339_micros(time).to_string());
        Mark { watermark, warning, needs_flush: false }
    }
}

/// A server that refuses to tell fails its statement, but not the transaction.
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
        assert!(mark.warning.unwrap().ends_with("the next run is a full one: the source is a standby"));
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
