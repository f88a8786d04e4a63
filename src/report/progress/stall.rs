//! Stall detection. A hung peer on a live host breaks no connection and reports no error, so a stall is visible only as a lack
//! of progress.

use std::time::{Duration, Instant};

use super::picture::{Snapshot, State, TableSnapshot};
use crate::error::Phase;

/// Time without progress before a stall is logged: longer than normal pauses, short enough to inform an operator.
const STALLS_AFTER: Duration = Duration::from_secs(30);

/// Returns the time without progress before a stall is logged. It doubles for each further log line.
pub(crate) fn stalls_after() -> Duration {
    fail::fail_point!("progress.stalls_after", |ms| {
        ms.and_then(|ms| ms.parse().ok()).map_or(STALLS_AFTER, Duration::from_millis)
    });
    STALLS_AFTER
}

/// Detects stalls of the tables of a run.
#[derive(Debug)]
pub(super) struct Stalls {
    after: Duration,
    tables: Vec<Option<Stand>>,
}

/// The last change of a table's progress.
#[derive(Debug)]
struct Stand {
    at: Mark,
    since: Instant,
    tell_after: Duration,
}

/// Values that change when a table makes progress.
type Mark = (Phase, Option<String>, [u64; 4]);

/// A table without progress.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stall {
    /// Its index in the snapshot.
    pub(super) table: usize,
    /// Number of other tables in the same phase without progress.
    pub(super) others: usize,
    /// Its phase.
    pub(super) phase: Phase,
    /// Time without progress.
    pub(super) lasts: Duration,
}

impl Stalls {
    pub(super) fn new(after: Duration) -> Self {
        Self { after, tables: Vec::new() }
    }

    /// Records a snapshot and returns the stalls to log now. Tables after the load share an entry per phase.
    pub(super) fn observe(&mut self, snapshot: &Snapshot, now: Instant) -> Vec<Stall> {
        self.tables.resize_with(snapshot.tables.len(), || None);
        let mut stalls: Vec<Stall> = Vec::new();
        for (index, (stand, table)) in self.tables.iter_mut().zip(&snapshot.tables).enumerate() {
            let Some(lasts) = observe(stand, table, now, self.after) else { continue };
            let together = |stall: &&mut Stall| table.phase > Phase::Load && stall.phase == table.phase;
            match stalls.iter_mut().find(together) {
                Some(stall) => stall.others += 1,
                None => stalls.push(Stall { table: index, others: 0, phase: table.phase, lasts }),
            }
        }
        stalls
    }
}

/// Returns the time without progress if it should be logged now.
fn observe(
    stand: &mut Option<Stand>,
    table: &TableSnapshot,
    now: Instant,
    after: Duration,
) -> Option<Duration> {
    if table.state != State::Active {
        *stand = None;
        return None;
    }
    let counters = [table.rows, table.bytes_in, table.bytes_out, table.chunks_done];
    let at = (table.phase, table.note.clone(), counters);
    match stand {
        Some(stand) if stand.at == at => {
            let lasts = now.saturating_duration_since(stand.since);
            if lasts < stand.tell_after {
                return None;
            }
            stand.tell_after = stand.tell_after.max(lasts) * 2;
            Some(lasts)
        }
        _ => {
            *stand = Some(Stand { at, since: now, tell_after: after });
            None
        }
    }
}

/// Logs a stall. It is a warning only during the load: in later phases, a statement on the server may take long.
pub(super) fn tell(stall: &Stall, name: &str) {
    let lasts = humantime::format_duration(Duration::from_secs(stall.lasts.as_secs().max(1)));
    let others = if stall.others > 0 { format!(", with {} others", stall.others) } else { String::new() };
    if stall.phase > Phase::Load {
        tracing::info!(phase = %stall.phase, table = name, "still working after {lasts}{others}");
    } else {
        tracing::warn!(phase = %stall.phase, table = name,
            "no progress for {lasts}: the source sends no data, or the target accepts none");
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Expected, TableProgress};
    use super::*;

    const AFTER: Duration = Duration::from_secs(30);

    struct World {
        stalls: Stalls,
        start: Instant,
        tables: Vec<TableProgress>,
    }

    impl World {
        fn new(tables: usize) -> Self {
            let tables = (0..tables).map(|_| TableProgress::new(Expected::default())).collect();
            Self { stalls: Stalls::new(AFTER), start: Instant::now(), tables }
        }

        /// What is told `at_s` seconds after the start: table, others, seconds.
        fn told(&mut self, at_s: u64) -> Vec<(usize, usize, u64)> {
            let snapshot = Snapshot { tables: self.tables.iter().map(TableProgress::snapshot).collect() };
            let stalls = self.stalls.observe(&snapshot, self.start + Duration::from_secs(at_s));
            stalls.into_iter().map(|s| (s.table, s.others, s.lasts.as_secs())).collect()
        }
    }

    #[test]
    fn a_table_that_stands_still_is_told_of_less_and_less_often() {
        let mut world = World::new(2);
        world.tables[1].phase(Phase::Load);
        for (at_s, told) in
            [(0, None), (29, None), (30, Some(30)), (31, None), (60, Some(60)), (119, None), (120, Some(120))]
        {
            let expected: Vec<_> = told.map(|s| (1, 0, s)).into_iter().collect();
            assert_eq!(world.told(at_s), expected, "after {at_s} s");
        }
    }

    #[test]
    fn whatever_moves_begins_anew() {
        let mut world = World::new(1);
        world.tables[0].phase(Phase::Load);
        let moves: [fn(&TableProgress); 5] = [
            |t| t.add(0, 1, 0),
            |t| t.add(0, 0, 1),
            TableProgress::chunk_done,
            |t| t.note("chunk 3 again"),
            |t| t.phase(Phase::Apply),
        ];
        assert_eq!(world.told(0), []);
        for (i, moves) in (1..).zip(moves) {
            moves(&world.tables[0]);
            assert_eq!(world.told(i * 29), [], "move {i}");
        }
    }

    #[test]
    fn tables_that_wait_or_have_ended_do_not_stand_still_and_those_of_one_transaction_do_so_together() {
        let mut world = World::new(5);
        world.tables[1].loaded();
        world.tables[2].finish(true);
        world.tables[3].phase(Phase::Apply);
        world.tables[4].phase(Phase::Apply);
        assert_eq!(world.told(0), []);
        assert_eq!(world.told(40), [(3, 1, 40)]);
    }
}
