//! Determines what limits a load, and from which figures.

use serde::Serialize;

use super::words::time;

/// The limiting component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// The source's server.
    Source,
    /// The target's server.
    Target,
    /// This program.
    Client,
    /// The link to a server.
    Network,
    /// A disk of this machine.
    Disk,
    /// The figures are inconclusive.
    Unknown,
}

impl What {
    /// Returns the word in JSON and in sentences.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
            Self::Client => "client",
            Self::Network => "network",
            Self::Disk => "disk",
            Self::Unknown => "unknown",
        }
    }
}

/// The limit and its evidence.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limit {
    /// The limiting component.
    pub what: What,
    /// A sentence with the figures that show it.
    pub because: String,
}

impl Limit {
    /// Returns an unknown limit with the reason.
    pub(super) fn unknown(because: impl Into<String>) -> Self {
        Self { what: What::Unknown, because: because.into() }
    }
}

/// The figures of one load. Units are seconds and bytes per second.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Clues {
    /// Elapsed time until the last row is in staging.
    pub(super) load: f64,
    /// The number of streams that had work.
    pub(super) streams: f64,
    /// The cores of this machine.
    pub(super) cores: f64,
    /// CPU time of the client.
    pub(super) client: Option<f64>,
    /// CPU time of the source's server, if it runs on this machine.
    pub(super) source: Option<f64>,
    /// CPU time of the target's server for the load, if it runs on this machine.
    pub(super) target: Option<f64>,
    /// The share of the run in which this machine's cores waited for a disk, if the servers run on it.
    pub(super) disk_share: Option<f64>,
    /// The share of the cores' time that other processes took, if it is too large.
    pub(super) disturbed: Option<f64>,
    /// Elapsed time of COPY TO alone, with one stream.
    pub(super) read: Option<f64>,
    /// Elapsed time of COPY FROM alone, with one stream.
    pub(super) write: Option<f64>,
    /// The rate at which rows arrived.
    pub(super) rate: f64,
    /// The measured capacity of the link from the source.
    pub(super) source_link: Option<f64>,
    /// The measured capacity of the link to the target.
    pub(super) target_link: Option<f64>,
}

/// Above this share a component counts as busy all the time; the rest is startup and exit.
const BUSY: f64 = 0.8;

/// Above this share of disk waits, the disk is the limit.
const DISK_BUSY: f64 = 0.2;

/// Above this share of its measured capacity, a link is full.
const LINK_FULL: f64 = 0.7;

/// Loads shorter than this many seconds are not judged: CPU time is counted in steps of 10 ms, and includes starting,
/// connecting and planning.
const LOAD_MIN: f64 = 1.0;

/// A load that takes this many times as long as the slower half waits for something else.
const NEITHER_HALF: f64 = 1.5;

/// Judges by the available figures: CPU times on this machine, else the links to the servers, else the two halves alone.
pub(super) fn judge(clues: &Clues) -> Limit {
    in_vain(clues)
        .or_else(|| by_disk(clues))
        .or_else(|| by_cpu(clues))
        .or_else(|| by_client(clues))
        .or_else(|| by_link(clues))
        .or_else(|| by_halves(clues))
        .unwrap_or_else(|| {
            Limit::unknown(
                "The servers' CPU time is not available from here, and without psql there is nothing to \
                 compare with.",
            )
        })
}

/// Handles loads whose figures are inconclusive.
fn in_vain(clues: &Clues) -> Option<Limit> {
    if let Some(share) = clues.disturbed {
        let because = format!(
            "Other processes took {} of the cores' time, so the cause of the load's waits cannot be \
             determined.",
            percent(share)
        );
        return Some(Limit::unknown(because));
    }
    (clues.load < LOAD_MIN).then(|| {
        Limit::unknown(format!(
            "The fastest load takes {}. CPU time is counted in steps of 10 ms and includes startup and exit, \
             so it is not conclusive below {LOAD_MIN:.0} s. Measure more rows (--rows), or a larger table.",
            time(clues.load)
        ))
    })
}

fn by_disk(clues: &Clues) -> Option<Limit> {
    let share = clues.disk_share.filter(|&share| share > DISK_BUSY)?;
    let because = format!(
        "This machine's cores waited for a disk during {} of the run, including its commit.",
        percent(share)
    );
    Some(Limit { what: What::Disk, because })
}

/// Judges if client and both servers run on this machine.
fn by_cpu(clues: &Clues) -> Option<Limit> {
    let (source, target, client) = (clues.source?, clues.target?, clues.client?);
    let parts = [(What::Target, target), (What::Source, source), (What::Client, client)];
    let (what, most) = parts.into_iter().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let all = source + target + client;
    if all <= 0.0 {
        return None;
    }
    let busy = all / (clues.cores * clues.load);
    let shares = format!(
        "the target server takes {} of that, the source server {}, the client {}",
        percent(target / all),
        percent(source / all),
        percent(client / all)
    );
    if busy >= BUSY {
        let because = format!(
            "The {} cores are busy for {} of the load; {shares}.",
            clues.cores,
            percent(busy.min(1.0))
        );
        return Some(Limit { what, because });
    }
    let each = most / (clues.streams * clues.load);
    let because = if each >= BUSY {
        format!(
            "Its part of each stream is busy for {} of the load, while the {} cores are busy for {}: more streams may \
             help.",
            percent(each.min(1.0)),
            clues.cores,
            percent(busy)
        )
    } else {
        format!(
            "Nothing is busy all the time: the {} cores are busy for {} of the load; {shares}. The largest \
             share is the most likely limit.",
            clues.cores,
            percent(busy)
        )
    };
    Some(Limit { what, because })
}

/// Judges if the servers run elsewhere, or are one server.
fn by_client(clues: &Clues) -> Option<Limit> {
    let client = clues.client?;
    let busy = client / (clues.cores * clues.load);
    let each = client / (clues.streams * clues.load);
    let because = if busy >= BUSY {
        format!(
            "The client keeps this machine's {} cores busy for {} of the load.",
            clues.cores,
            percent(busy.min(1.0))
        )
    } else if each >= BUSY {
        format!(
            "The client's part of each stream is busy for {} of the load, while this machine's {} cores are \
             busy for {}: more streams may help.",
            percent(each.min(1.0)),
            clues.cores,
            percent(busy)
        )
    } else {
        return None;
    };
    Some(Limit { what: What::Client, because })
}

fn by_link(clues: &Clues) -> Option<Limit> {
    let ways = [("from the source", clues.source_link), ("to the target", clues.target_link)];
    let narrow = ways.into_iter().filter_map(|(way, carries)| Some((way, carries?)));
    let (way, carries) = narrow.min_by(|a, b| a.1.total_cmp(&b.1))?;
    let used = clues.rate / carries;
    (used >= LINK_FULL).then(|| Limit {
        what: What::Network,
        because: format!(
            "The link {way} carried {:.0} MB/s of rows that cost the server next to nothing, and the load \
             uses {} of that.",
            carries / 1e6,
            percent(used.min(1.0))
        ),
    })
}

fn by_halves(clues: &Clues) -> Option<Limit> {
    let (read, write) = (clues.read?, clues.write?);
    let (what, half, more, less) = if write >= read {
        (What::Target, "COPY FROM a file", write, read)
    } else {
        (What::Source, "COPY TO nowhere", read, write)
    };
    let figures = format!(
        "{half} alone takes {more:.2} s with one stream, the other half {less:.2} s, the load {:.2} s with {}",
        clues.load, clues.streams
    );
    if clues.load > more * NEITHER_HALF {
        return Some(Limit::unknown(format!("{figures}: the load waits for neither half.")));
    }
    Some(Limit { what, because: format!("{figures}.") })
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: Clues = Clues {
        load: 10.0,
        streams: 2.0,
        cores: 2.0,
        client: Some(1.5),
        source: Some(7.0),
        target: Some(11.0),
        disk_share: Some(0.01),
        disturbed: None,
        read: Some(8.0),
        write: Some(11.0),
        rate: 100e6,
        source_link: Some(2e9),
        target_link: Some(2e9),
    };

    #[track_caller]
    fn says(clues: &Clues, what: What, words: &str) {
        let limit = judge(clues);
        assert!(limit.what == what && limit.because.contains(words), "{limit:?}");
    }

    #[test]
    fn busy_cores_are_the_limit_and_who_keeps_them_busy_most() {
        says(&LOCAL, What::Target, "cores are busy for 98 %");
        says(&Clues { source: Some(12.0), ..LOCAL }, What::Source, "busy");
        says(&Clues { client: Some(15.0), ..LOCAL }, What::Client, "busy");
    }

    #[test]
    fn one_busy_backend_on_an_idle_machine_calls_for_more_streams() {
        let clues = Clues { cores: 16.0, streams: 1.0, target: Some(9.5), ..LOCAL };
        says(&clues, What::Target, "more streams may help");
        says(
            &Clues { cores: 16.0, target: Some(8.0), ..LOCAL },
            What::Target,
            "Nothing is busy all the time",
        );
    }

    #[test]
    fn waiting_for_a_disk_comes_before_all() {
        says(&Clues { disk_share: Some(0.4), ..LOCAL }, What::Disk, "40 %");
    }

    #[test]
    fn servers_elsewhere_are_judged_by_the_way_to_them_and_by_the_halves() {
        let remote = Clues { source: None, target: None, ..LOCAL };
        says(&remote, What::Target, "COPY FROM a file alone takes 11.00 s");
        says(&Clues { read: Some(12.0), ..remote }, What::Source, "COPY TO nowhere");
        says(&Clues { target_link: Some(110e6), ..remote }, What::Network, "to the target carried 110 MB/s");
        says(&Clues { client: Some(19.0), ..remote }, What::Client, "busy for 95 %");
        says(&Clues { read: None, ..remote }, What::Unknown, "psql");
    }

    #[test]
    fn a_client_that_fills_one_core_is_the_limit_of_one_stream_to_servers_elsewhere() {
        let remote = Clues { source: None, target: None, cores: 16.0, streams: 1.0, ..LOCAL };
        let busy = Clues { client: Some(9.8), ..remote };
        says(
            &busy,
            What::Client,
            "part of each stream is busy for 98 % of the load, while this machine's 16 cores are busy for 6 %",
        );
        says(&Clues { client: Some(5.0), ..remote }, What::Target, "COPY FROM");
    }

    #[test]
    fn a_load_that_is_far_slower_than_both_halves_waits_for_neither() {
        let slow = Clues { source: None, target: None, load: 30.0, ..LOCAL };
        says(&slow, What::Unknown, "the load waits for neither half");
    }

    #[test]
    fn a_short_load_is_not_judged() {
        let short = Clues { load: 0.05, client: Some(0.03), source: Some(0.08), target: Some(0.01), ..LOCAL };
        says(&short, What::Unknown, "takes 50 ms");
        says(&Clues { load: 0.0, source: None, ..short }, What::Unknown, "Measure more rows (--rows)");
    }

    #[test]
    fn a_machine_that_was_busy_with_something_else_tells_nothing() {
        let disturbed = Clues { disturbed: Some(0.65), source: Some(3.0), target: Some(3.0), ..LOCAL };
        says(&disturbed, What::Unknown, "Other processes took 65 %");
        says(&Clues { disk_share: Some(0.4), ..disturbed }, What::Unknown, "Other processes took 65 %");
    }
}
