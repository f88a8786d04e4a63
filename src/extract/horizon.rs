//! How far a run's snapshot reaches, and the watermarks that follow from it.
//!
//! A row that was written before the snapshot and committed after it is not in it, and its columns tell when it was
//! written. So the next run begins at the start of the oldest transaction that was open before the snapshot was
//! taken. Numbers of transactions need no such care: what the snapshot does not see has a number from its xmin on.

use std::time::{Duration, SystemTime};

use crate::error::{Error, Kind, Phase, Result};
use crate::pg::wire::{TextRow, Wire};
use crate::plan::{WatermarkKind, WatermarkPlan};

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
    system_identifier: Option<String>,
}

/// What a run records of one table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Where the next incremental run begins.
    pub(crate) watermark: Option<String>,
    /// What the operator should know of it.
    pub(crate) warning: Option<String>,
}

impl Horizon {
    /// Reads it, in a transaction that is READ COMMITTED and about to export its snapshot.
    ///
    /// # Errors
    /// The server's.
    pub(crate) async fn read(wire: &mut Wire) -> Result<Self> {
        let what = "reading the source's open transactions";
        let rows = wire.query(include_str!("horizon.sql")).await.map_err(|e| e.context(what))?;
        let [open, prepared] = rows.as_slice() else {
            return Err(Error::new(
                Phase::Snapshot,
                Kind::Internal,
                format!("{what}: two rows were expected"),
            ));
        };
        let system_identifier = match text(open, 4) {
            "t" => Some(system_identifier(wire).await.map_err(|e| e.context(what))?),
            _ => None,
        };
        Ok(Self {
            is_standby: text(open, 0) == "t",
            oldest_us: text(open, 1).parse().ok(),
            unseen: number(open, 2),
            prepared: (number(prepared, 0), text(prepared, 1).to_owned()),
            xmin: number(open, 3),
            system_identifier,
        })
    }

    /// The watermark of a table that was read from the snapshot.
    pub(crate) fn mark(&self, plan: &WatermarkPlan) -> Mark {
        match plan.kind {
            WatermarkKind::Time(overlap) => self.mark_of_time(overlap, plan.last.as_deref()),
            WatermarkKind::Xmin => match &self.system_identifier {
                Some(server) => Mark { watermark: Some(format!("{}@{server}", self.xmin)), warning: None },
                None => Mark {
                    watermark: None,
                    warning: Some(
                        "no watermark is recorded: the role may not see which server the source is (grant execute on function pg_control_system() to it)"
                            .to_owned(),
                    ),
                },
            },
        }
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
            return Mark { watermark: last, warning: Some(warning) };
        }
        let Some(oldest_us) = self.oldest_us else {
            let warning = format!("{}: the standby does not tell how far it has come", stays());
            return Mark { watermark: last, warning: Some(warning) };
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
        Mark { watermark: Some(humantime::format_rfc3339_micros(time).to_string()), warning }
    }
}

async fn system_identifier(wire: &mut Wire) -> Result<String> {
    let rows = wire.query("select system_identifier from pg_catalog.pg_control_system()").await?;
    Ok(rows.first().map(|row| text(row, 0).to_owned()).unwrap_or_default())
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

    fn horizon() -> Horizon {
        Horizon {
            is_standby: false,
            oldest_us: Some(1_000_000_000_000_001),
            unseen: 0,
            prepared: (0, String::new()),
            xmin: 77,
            system_identifier: Some("7".to_owned()),
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
        assert_eq!(pending.mark(&xmin).watermark.as_deref(), Some("77@7"));
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
