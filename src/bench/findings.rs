//! What a bench found out: the figures of every setting and every yardstick, in the shape of the JSON.

use std::time::SystemTime;

use serde::{Serialize, Serializer};

use super::limit::Limit;
use super::recommendation::Recommendation;
use super::settings::Axis;
use super::statistics::Spread;

/// All of it. The fields are the JSON's keys; seconds, bytes; a figure that could not be had is `null`.
#[derive(Debug, Clone, Serialize)]
pub struct Findings {
    /// Of this program.
    pub version: &'static str,
    /// When it began, RFC 3339.
    #[serde(serialize_with = "rfc_3339")]
    pub started_at: SystemTime,
    /// How long it took.
    pub duration_s: f64,
    /// How long it might have taken.
    pub time_limit_s: f64,
    /// Where it ran.
    pub machine: Machine,
    /// What was loaded.
    pub scenario: Facts,
    /// The plain copies.
    pub plain: Vec<PlainFigures>,
    /// `(source CPU of COPY TO + target CPU of COPY FROM) / cores`: no loader can be faster on this machine.
    pub floor_s: Option<Spread>,
    /// The share of the cores' time that something else took, while settings were measured.
    pub others_share: Option<Spread>,
    /// The settings, the base first.
    pub settings: Vec<SettingFigures>,
    /// The recommended values together, where several lists have one that is not the base's.
    pub together: Option<Together>,
    /// What was not measured, or not as often as it should have been, and why.
    pub left_out: Vec<LeftOut>,
    /// What limits the best setting.
    pub limit: Limit,
    /// What to write into the config.
    pub recommendation: Recommendation,
}

/// Where it ran.
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

/// What was loaded.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    /// The table's name, or the shape of one that was made up.
    pub table: String,
    /// Whether it was made up.
    pub made_up: bool,
    /// Whether rules were applied: those of `--rules`, or the config's own.
    pub rules: bool,
    /// Rows that the source sent.
    pub rows: u64,
    /// Bytes of these rows in COPY's binary format; in that of the base where it is not known.
    pub bytes: u64,
    /// Bytes of the table in the source.
    pub table_bytes: u64,
}

/// Figures that plain copies and settings have in common.
#[derive(Debug, Clone, Serialize)]
pub struct Effort {
    /// Rows in staging per second.
    pub rows_per_s: Option<f64>,
    /// Megabytes (10^6) from the source per second.
    pub mb_per_s: Option<f64>,
    /// CPU time of the client.
    pub client_cpu_s: Option<Spread>,
    /// The same for each gigabyte (10^9) from the source; of less than a megabyte it says nothing.
    pub client_cpu_s_per_gb: Option<f64>,
    /// The same as a multiple of that of the two psql processes of one pipe.
    pub client_cpu_ratio_to_pipe: Option<Spread>,
    /// CPU time of the source's server.
    pub source_cpu_s: Option<Spread>,
    /// CPU time of the target's server.
    pub target_cpu_s: Option<Spread>,
    /// The most memory that the client held.
    pub peak_memory_bytes: Option<u64>,
    /// Time to staging as a multiple of that of one pipe, measured round by round.
    pub ratio_to_pipe: Option<Spread>,
    /// The same, of several pipes at once.
    pub ratio_to_pipes: Option<Spread>,
    /// The same, of the floor.
    pub ratio_to_floor: Option<Spread>,
}

/// A plain copy.
#[derive(Debug, Clone, Serialize)]
pub struct PlainFigures {
    /// `pipe`, `read` (COPY TO alone) or `write` (COPY FROM alone).
    pub what: &'static str,
    /// For people.
    pub label: String,
    /// Pipes at once.
    pub streams: usize,
    /// On the clock.
    pub seconds: Spread,
    /// An index on the key afterwards; of the single pipe.
    pub index_s: Option<Spread>,
    /// Both together.
    pub with_index_s: Option<Spread>,
    /// What it took.
    #[serde(flatten)]
    pub effort: Effort,
}

/// A setting.
#[derive(Debug, Clone, Serialize)]
pub struct SettingFigures {
    /// What tells it from the base, for people.
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
    /// How it was applied.
    pub method: String,
    /// How rows travelled.
    pub wire_format: String,
    /// Streams that worked on it.
    pub streams: u64,
    /// Parts that it was extracted in.
    pub chunks: u64,
    /// From the first COPY to the last row in staging. `direct` has none: it loads while it applies.
    pub load_s: Option<Spread>,
    /// Building indexes.
    pub index_s: Spread,
    /// The applying transaction.
    pub apply_s: Spread,
    /// From the strongest lock's grant to the commit.
    pub lock_s: Spread,
    /// From the start of the program to its end.
    pub whole_s: Spread,
    /// `whole_s` as a multiple of one pipe with an index on the key afterwards, measured round by round.
    pub whole_ratio: Option<Spread>,
    /// What it took.
    #[serde(flatten)]
    pub effort: Effort,
}

/// The recommended values together and the base, in the same further rounds.
#[derive(Debug, Clone, Serialize)]
pub struct Together {
    /// What tells them from the base, for people.
    pub label: String,
    /// To the last row in staging.
    pub seconds: Spread,
    /// The base's.
    pub base_s: Spread,
    /// Both, measured round by round.
    pub ratio_to_base: Spread,
}

/// What was not measured as it should have been.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}

/// Above this share the work of others decides what is measured.
const DISTURBED: f64 = 0.2;

impl Findings {
    /// Whether something else kept the machine busy meanwhile; then no figure is to be trusted.
    #[must_use]
    pub fn is_disturbed(&self) -> bool {
        self.others_share.is_some_and(|share| share.median > DISTURBED)
    }

    /// The figures of the setting that all others are told from.
    #[must_use]
    pub fn base(&self) -> Option<&SettingFigures> {
        self.settings.iter().find(|setting| setting.list == Axis::Base.name())
    }

    /// A plain copy, by what it is and how many streams it had.
    #[must_use]
    pub fn plain(&self, what: &str, is_single: bool) -> Option<&PlainFigures> {
        self.plain.iter().find(|plain| plain.what == what && (plain.streams == 1) == is_single)
    }

    /// Whether something has figures in spite of what was left out of it, by its label.
    #[must_use]
    pub fn has_measured(&self, label: &str) -> bool {
        self.settings.iter().any(|setting| setting.label == label)
            || self.plain.iter().any(|plain| plain.label == label)
    }

    /// The settings of a list, the base among them where it belongs, in the order of `by`.
    #[must_use]
    pub fn along<K: Ord>(&self, list: &str, by: impl Fn(&SettingFigures) -> K) -> Vec<&SettingFigures> {
        let belongs = |setting: &&SettingFigures| setting.list == list || setting.list == Axis::Base.name();
        let mut along: Vec<_> = self.settings.iter().filter(belongs).collect();
        along.sort_by_key(|setting| by(setting));
        along
    }
}

impl Axis {
    /// The word in the JSON.
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
