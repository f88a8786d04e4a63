//! The findings of a bench: the figures of every setting and every plain copy, in the shape of the JSON.

use std::time::SystemTime;

use serde::{Serialize, Serializer};

use super::limit::Limit;
use super::recommendation::Recommendation;
use super::settings::Axis;
use super::statistics::Spread;

/// All findings. The fields are the JSON's keys. Units are seconds and bytes; an unavailable figure is `null`.
#[derive(Debug, Clone, Serialize)]
pub struct Findings {
    /// The version of this program.
    pub version: &'static str,
    /// The start time, RFC 3339.
    #[serde(serialize_with = "rfc_3339")]
    pub started_at: SystemTime,
    /// The duration.
    pub duration_s: f64,
    /// The time limit.
    pub time_limit_s: f64,
    /// The machine and the servers.
    pub machine: Machine,
    /// The rows that were loaded.
    pub scenario: Facts,
    /// The plain copies.
    pub plain: Vec<PlainFigures>,
    /// `(source CPU of COPY TO + target CPU of COPY FROM) / cores`: no loader can be faster on this machine.
    pub floor_s: Option<Spread>,
    /// The share of the cores' time that other processes took while settings were measured.
    pub others_share: Option<Spread>,
    /// The settings, the base first.
    pub settings: Vec<SettingFigures>,
    /// The recommended values combined, if more than one differs from the base.
    pub together: Option<Together>,
    /// Missing measurements, or too few rounds, with the reason.
    pub left_out: Vec<LeftOut>,
    /// The limit of the best setting.
    pub limit: Limit,
    /// The recommendation for the config.
    pub recommendation: Recommendation,
}

/// The machine and the servers.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Cores that this program may use.
    pub cores: usize,
    /// The processor's name.
    pub processor: Option<String>,
    /// Its memory.
    pub memory_bytes: Option<u64>,
    /// The source's version, 150018 for 15.18.
    pub source_version: u32,
    /// The target's version.
    pub target_version: u32,
    /// Whether the servers were throw-away ones.
    pub throw_away_servers: bool,
    /// Whether both servers' CPU time can be read: they run on this machine, and are two.
    pub servers_cpu_is_known: bool,
}

/// The rows that were loaded.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    /// The table's name, or the shape of a generated one.
    pub table: String,
    /// Whether the rows were generated.
    pub made_up: bool,
    /// Whether rules were applied: those of `--rules`, or the config's own.
    pub rules: bool,
    /// Rows that the source sent.
    pub rows: u64,
    /// Bytes of these rows in COPY's binary format, or in the base's format if that is not known.
    pub bytes: u64,
    /// Bytes of the table in the source.
    pub table_bytes: u64,
}

/// Figures that plain copies and settings share.
#[derive(Debug, Clone, Serialize)]
pub struct Effort {
    /// Rows in staging per second.
    pub rows_per_s: Option<f64>,
    /// Megabytes (10^6) from the source per second.
    pub mb_per_s: Option<f64>,
    /// CPU time of the client.
    pub client_cpu_s: Option<Spread>,
    /// The same per gigabyte (10^9) from the source; `null` below one megabyte.
    pub client_cpu_s_per_gb: Option<f64>,
    /// The same as a multiple of the two psql processes of one pipe.
    pub client_cpu_ratio_to_pipe: Option<Spread>,
    /// CPU time of the source's server.
    pub source_cpu_s: Option<Spread>,
    /// CPU time of the target's server.
    pub target_cpu_s: Option<Spread>,
    /// The peak memory of the client.
    pub peak_memory_bytes: Option<u64>,
    /// Time to staging as a multiple of one pipe, measured round by round.
    pub ratio_to_pipe: Option<Spread>,
    /// The same for several pipes at once.
    pub ratio_to_pipes: Option<Spread>,
    /// The same for the floor.
    pub ratio_to_floor: Option<Spread>,
}

/// A plain copy.
#[derive(Debug, Clone, Serialize)]
pub struct PlainFigures {
    /// `pipe`, `read` (COPY TO alone) or `write` (COPY FROM alone).
    pub what: &'static str,
    /// The label shown to the user.
    pub label: String,
    /// Concurrent pipes.
    pub streams: usize,
    /// Elapsed time.
    pub seconds: Spread,
    /// The time for an index on the key afterwards; single pipe only.
    pub index_s: Option<Spread>,
    /// Copy and index together.
    pub with_index_s: Option<Spread>,
    /// Its cost.
    #[serde(flatten)]
    pub effort: Effort,
}

/// A setting.
#[derive(Debug, Clone, Serialize)]
pub struct SettingFigures {
    /// The label shown to the user: the difference from the base.
    pub label: String,
    /// The list that it belongs to: `base`, `jobs`, `chunk`, `format`, `apply`, `combined`.
    pub list: &'static str,
    /// `[run] jobs`
    pub jobs: usize,
    /// `[run] chunk`, in bytes.
    pub chunk_bytes: u64,
    /// `[run] format`
    pub format: &'static str,
    /// `apply`
    pub apply: &'static str,
    /// The effective apply method.
    pub method: String,
    /// The effective wire format.
    pub wire_format: String,
    /// The streams that had work.
    pub streams: u64,
    /// The chunks of the extraction.
    pub chunks: u64,
    /// From the first COPY to the last row in staging. `direct` has none: it loads while it applies.
    pub load_s: Option<Spread>,
    /// The index builds.
    pub index_s: Spread,
    /// The applying transaction.
    pub apply_s: Spread,
    /// From acquiring the strongest lock to the commit.
    pub lock_s: Spread,
    /// From the start of the program to its end.
    pub whole_s: Spread,
    /// `whole_s` as a multiple of one pipe with an index on the key afterwards, measured round by round.
    pub whole_ratio: Option<Spread>,
    /// Its cost.
    #[serde(flatten)]
    pub effort: Effort,
}

/// The recommended values combined, and the base in the same further rounds.
#[derive(Debug, Clone, Serialize)]
pub struct Together {
    /// The label shown to the user: the difference from the base.
    pub label: String,
    /// The time to the last row in staging.
    pub seconds: Spread,
    /// The base's.
    pub base_s: Spread,
    /// The ratio, measured round by round.
    pub ratio_to_base: Spread,
}

/// An incomplete or missing measurement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The item.
    pub what: String,
    /// The reason.
    pub why: String,
}

/// Above this share other processes dominate the measurement.
const DISTURBED: f64 = 0.2;

impl Findings {
    /// Returns whether other processes kept the machine busy; then no figure is reliable.
    #[must_use]
    pub fn is_disturbed(&self) -> bool {
        self.others_share.is_some_and(|share| share.median > DISTURBED)
    }

    /// Returns the figures of the base.
    #[must_use]
    pub fn base(&self) -> Option<&SettingFigures> {
        self.settings.iter().find(|setting| setting.list == Axis::Base.name())
    }

    /// Returns a plain copy by its kind and number of streams.
    #[must_use]
    pub fn plain(&self, what: &str, is_single: bool) -> Option<&PlainFigures> {
        self.plain.iter().find(|plain| plain.what == what && (plain.streams == 1) == is_single)
    }

    /// Returns whether an item has figures despite missing rounds, by its label.
    #[must_use]
    pub fn has_measured(&self, label: &str) -> bool {
        self.settings.iter().any(|setting| setting.label == label)
            || self.plain.iter().any(|plain| plain.label == label)
    }

    /// Returns the settings of a list, including the base where it belongs, in the order of `by`.
    #[must_use]
    pub fn along<K: Ord>(&self, list: &str, by: impl Fn(&SettingFigures) -> K) -> Vec<&SettingFigures> {
        let belongs = |setting: &&SettingFigures| setting.list == list || setting.list == Axis::Base.name();
        let mut along: Vec<_> = self.settings.iter().filter(belongs).collect();
        along.sort_by_key(|setting| by(setting));
        along
    }
}

impl Axis {
    /// Returns the word in the JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Jobs => "jobs",
            Self::Chunk => "chunk",
            Self::Format => "format",
            Self::Apply => "apply",
            Self::Combined => "combined",
        }
    }
}

fn rfc_3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}
