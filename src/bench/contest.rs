//! Compares the values of one key round by round: chooses the one to recommend, and says how sure that is.

use super::recommendation::{Certainty, Choice};
use super::rounds::{Figure, ratios, spread};
use super::statistics::Spread;
use super::words::time;
use crate::figures;

/// The number of rounds that a sure result needs.
const SURE: usize = 5;

/// A measured value.
#[derive(Debug, Clone)]
pub(super) struct Tried {
    /// The value as TOML writes it.
    pub(super) value: String,
    /// Seconds of the phase that the key affects, by round.
    pub(super) seconds: Figure,
    /// The effective run, if it was the same each time.
    pub(super) run: Option<Run>,
    /// The lock, where methods are compared.
    pub(super) lock: Option<Lock>,
}

/// The effect of a setting. Settings with the same effect are not compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) streams: u64,
    pub(super) chunks: u64,
    pub(super) wire_format: String,
    pub(super) method: Option<String>,
}

/// The sessions that wait while a method applies, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lock {
    /// `everyone`, `writers`
    pub(super) who: &'static str,
    /// From acquiring the strongest lock to the commit.
    pub(super) seconds: f64,
}

/// Chooses among the values of one key, the base first. Another value wins only if it was faster than the base in every one
/// of enough rounds, and does not lock other sessions out for longer.
pub(super) fn choose(key: &'static str, tried: &[Tried]) -> Option<Choice> {
    let field = Field::of(tried)?;
    let (winner, held_back) = field.winner();
    let chosen = winner.map_or(field.base, |(winner, _)| winner);
    let because = match winner {
        Some((winner, ratio)) => Some(field.why_another(winner, ratio)),
        None => field.why_the_base(held_back),
    };
    let because: Vec<String> = because.into_iter().chain(field.why_not_compared()).collect();
    Some(Choice {
        key,
        value: chosen.value.clone(),
        certainty: field.certainty(chosen),
        because: if because.is_empty() {
            "no other value was measured".to_owned()
        } else {
            because.join("; ")
        },
        instead_of: winner.map(|(_, ratio)| (field.base.value.clone(), ratio.median)),
    })
}

/// A value that beat the base in every round, and its time as a multiple of the base's.
type Faster<'a> = Option<(&'a Tried, Spread)>;

/// The values of a key with distinct effects.
struct Field<'a> {
    base: &'a Tried,
    others: Vec<&'a Tried>,
    /// Values with the same effect as the base or another value, grouped by that value.
    same: Vec<(&'a Tried, Vec<&'a str>)>,
}

impl<'a> Field<'a> {
    /// Returns `None` if the base was not measured.
    fn of(tried: &'a [Tried]) -> Option<Self> {
        let (base, rest) = tried.split_first().filter(|(base, _)| !base.seconds.is_empty())?;
        let mut groups: Vec<(&Tried, Vec<&str>)> = vec![(base, Vec::new())];
        for value in rest {
            match groups.iter_mut().find(|(first, _)| first.run.is_some() && first.run == value.run) {
                Some((_, same)) => same.push(&value.value),
                None => groups.push((value, Vec::new())),
            }
        }
        let others = groups.iter().skip(1).map(|(first, _)| *first).collect();
        groups.retain(|(_, same)| !same.is_empty());
        Some(Self { base, others, same: groups })
    }

    /// Describes the values that were not compared, as a clause.
    fn why_not_compared(&self) -> Option<String> {
        let clauses = self.same.iter().map(|(first, same)| {
            let come = if same.len() == 1 { "comes" } else { "come" };
            format!("{} {come} to the same as {} here", same.join(" and "), first.value)
        });
        let clauses: Vec<String> = clauses.collect();
        (!clauses.is_empty()).then(|| clauses.join("; "))
    }

    /// Returns the fastest value that beat the base in every round, and the fastest of those that did but lock other sessions
    /// out for longer than the base. The latter is a trade-off for the user to decide.
    fn winner(&self) -> (Faster<'a>, Faster<'a>) {
        let faster = self.others.iter().filter_map(|other| {
            let ratio = ratios(&other.seconds, &self.base.seconds)?;
            (ratio.is_enough() && ratio.max < 1.0).then_some((*other, ratio))
        });
        let (trades, winners): (Vec<_>, Vec<_>) =
            faster.partition(|(other, _)| other.locks_longer_than(self.base));
        let fastest =
            |of: Vec<(&'a Tried, Spread)>| of.into_iter().min_by(|a, b| a.1.median.total_cmp(&b.1.median));
        (fastest(winners), fastest(trades))
    }

    /// Returns all values but the chosen one, with their times as multiples of its time.
    fn rivals(&self, chosen: &'a Tried) -> impl Iterator<Item = (&'a Tried, Option<Spread>)> {
        let all = self.others.iter().copied().chain([self.base]);
        let rivals = all.filter(move |one| !std::ptr::eq(*one, chosen));
        rivals.map(|rival| (rival, ratios(&rival.seconds, &chosen.seconds)))
    }

    fn certainty(&self, chosen: &'a Tried) -> Certainty {
        let is_base = std::ptr::eq(chosen, self.base);
        let beats_all = |rounds: usize| {
            self.rivals(chosen)
                .all(|(_, ratio)| ratio.is_some_and(|ratio| ratio.n >= rounds && ratio.min > 1.0))
        };
        let is_trade = self.rivals(chosen).any(|(rival, _)| chosen.locks_longer_than(rival));
        if self.others.is_empty() || is_trade {
            Certainty::NotSure
        } else if beats_all(SURE) {
            Certainty::Sure
        } else if !is_base || beats_all(super::statistics::ENOUGH) {
            Certainty::Likely
        } else {
            Certainty::NotSure
        }
    }

    fn why_another(&self, winner: &'a Tried, ratio: Spread) -> String {
        let less = (1.0 - ratio.median) * 100.0;
        let mut because =
            format!("{}, {less:.0} % less than with {}, {}", winner.took(), self.base.value, times(ratio));
        let others = self.rivals(winner).filter(|(rival, _)| !std::ptr::eq(*rival, self.base));
        let near = others.filter_map(|(rival, ratio)| Some((rival, ratio.filter(|ratio| ratio.min <= 1.0)?)));
        if let Some((near, ratio)) = near.min_by(|a, b| a.1.median.total_cmp(&b.1.median)) {
            because += &format!("; {} took {} that: {}", near.value, multiple(ratio), no_difference(ratio));
        }
        because + &self.locks(winner, Some(self.base))
    }

    /// Returns `None` if there is nothing to compare with.
    fn why_the_base(&self, held_back: Faster<'a>) -> Option<String> {
        let took = self.base.took();
        if let Some((faster, ratio)) = held_back {
            let trade = format!("{took}; {} took {}, but holds locks longer", faster.value, times(ratio));
            return Some(trade + &self.locks(self.base, Some(faster)));
        }
        let rivals = self.rivals(self.base).filter_map(|(rival, ratio)| Some((rival, ratio?)));
        let (next, ratio) = rivals.min_by(|a, b| a.1.median.total_cmp(&b.1.median))?;
        let between = times(ratio);
        let because = if !ratio.is_enough() {
            format!("{took}; {} took {between}, too few to tell", next.value)
        } else if ratio.min > 1.0 {
            format!("{took}; the next best, {}, took {between}", next.value)
        } else {
            format!("{took}; {} took {between}: {}", next.value, no_difference(ratio))
        };
        Some(because + &self.locks(self.base, Some(next)))
    }

    /// Describes the locks of the chosen value, of the one that it is compared with, and of the one with the shortest lock.
    fn locks(&self, chosen: &'a Tried, compared: Option<&'a Tried>) -> String {
        let Some(own) = chosen.lock else { return String::new() };
        let mut text = format!("; it locks out {}", own.words());
        let locked = self.rivals(chosen).filter_map(|(rival, _)| Some((rival, rival.lock?)));
        let least = locked.min_by(|a, b| a.1.seconds.total_cmp(&b.1.seconds));
        let least = least.filter(|(_, lock)| lock.seconds < own.seconds).map(|(rival, _)| rival);
        let least = least.filter(|least| compared.is_none_or(|compared| !std::ptr::eq(compared, *least)));
        for rival in compared.into_iter().chain(least) {
            if let Some(lock) = rival.lock {
                text += &format!(", {} {}", rival.value, lock.words());
            }
        }
        text
    }
}

impl Tried {
    fn locks_longer_than(&self, other: &Self) -> bool {
        self.lock.zip(other.lock).is_some_and(|(own, others)| own.seconds > others.seconds)
    }

    /// Returns the median as text.
    fn took(&self) -> String {
        spread(&self.seconds).map_or_else(String::new, |spread| time(spread.median))
    }
}

impl Lock {
    fn words(self) -> String {
        format!("{} for {}", self.who, time(self.seconds))
    }
}

/// `0.80 to 0.95 times its time in 5 rounds`
pub(super) fn times(ratio: Spread) -> String {
    format!("{} its time in {}", multiple(ratio), figures::counted(ratio.n as u64, "round"))
}

/// `0.80 to 0.95 times`
fn multiple(ratio: Spread) -> String {
    let (min, max) = (format!("{:.2}", ratio.min), format!("{:.2}", ratio.max));
    if min == max { format!("{min} times") } else { format!("{min} to {max} times") }
}

/// Explains a comparison in which neither value won every round.
fn no_difference(ratio: Spread) -> &'static str {
    if ratio.is_enough() {
        "the ranges overlap, so there is no clear difference"
    } else {
        "too few rounds to tell"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value with these times in the first rounds, and with an effect of its own.
    fn tried(value: &str, seconds: &[f64]) -> Tried {
        let seconds = seconds.iter().copied().enumerate().collect();
        Tried { value: value.to_owned(), seconds, run: None, lock: None }
    }

    fn locking(value: &str, seconds: &[f64], who: &'static str, lock: f64) -> Tried {
        Tried { lock: Some(Lock { who, seconds: lock }), ..tried(value, seconds) }
    }

    #[track_caller]
    fn says(tried: &[Tried], value: &str, certainty: Certainty, words: &str) {
        let choice = choose("jobs", tried).unwrap();
        assert_eq!((choice.value.as_str(), choice.certainty), (value, certainty), "{choice:?}");
        assert!(choice.because.contains(words), "{choice:?}");
    }

    const BASE: [f64; 5] = [1.0, 1.1, 1.0, 1.2, 1.0];
    const SLOW: [f64; 5] = [2.0; 5];
    const FAST: [f64; 5] = [0.8, 0.9, 0.8, 0.9, 0.8];
    /// Beats [`BASE`] in every round, and [`FAST`] in some.
    const AS_FAST: [f64; 5] = [0.85, 0.89, 0.85, 0.95, 0.75];

    #[test]
    fn another_value_is_chosen_if_it_was_faster_in_every_round() {
        let values = [tried("2", &BASE), tried("1", &SLOW), tried("4", &FAST)];
        says(
            &values,
            "4",
            Certainty::Sure,
            "0.80 s, 20 % less than with 2, 0.75 to 0.82 times its time in 5 rounds",
        );
    }

    #[test]
    fn a_value_is_sure_only_if_it_beat_every_other_in_every_round() {
        let values = [tried("1", &BASE), tried("4", &AS_FAST), tried("8", &FAST)];
        says(&values, "8", Certainty::Likely, "; 4 took 0.94 to 1.06 times that: the ranges overlap");
        // A value that was not measured in every round may be better.
        let values = [tried("1", &BASE), tried("4", &SLOW[..3]), tried("8", &FAST)];
        says(&values, "8", Certainty::Likely, "20 % less");
    }

    #[test]
    fn a_value_that_won_every_round_is_chosen_whatever_another_ones_median() {
        let wild = [0.5, 0.5, 0.5, 1.3, 1.1];
        let values = [tried("1", &BASE), tried("4", &wild), tried("8", &FAST)];
        says(&values, "8", Certainty::Likely, "; 4 took 0.56 to 1.44 times that: the ranges overlap");
    }

    #[test]
    fn the_base_stays_where_no_difference_is_shown_and_that_is_said() {
        let values = [tried("2", &BASE), tried("4", &[0.9, 1.0, 1.1, 1.1, 0.9])];
        says(&values, "2", Certainty::NotSure, "the ranges overlap");
        says(
            &[tried("2", &BASE), tried("4", &SLOW)],
            "2",
            Certainty::Sure,
            "the next best, 4, took 1.67 to 2.00",
        );
    }

    #[test]
    fn few_rounds_make_nothing_sure() {
        let once = [tried("2", &BASE[..1]), tried("4", &FAST[..1])];
        says(&once, "2", Certainty::NotSure, "4 took 0.80 times its time in 1 round, too few to tell");
        let thrice = [tried("2", &BASE[..3]), tried("4", &FAST[..3])];
        says(&thrice, "4", Certainty::Likely, "in 3 rounds");
        let thrice = [tried("2", &BASE[..3]), tried("4", &SLOW[..3])];
        says(&thrice, "2", Certainty::Likely, "in 3 rounds");
        says(&[tried("2", &BASE)], "2", Certainty::NotSure, "no other value was measured");
        let unmeasured = [tried("2", &[]), tried("4", &FAST)];
        assert_eq!(choose("jobs", &unmeasured), None, "there is no base to compare with");
    }

    #[test]
    fn values_that_come_to_the_same_run_are_not_compared() {
        let run = |chunks| {
            Some(Run {
                streams: 1,
                chunks,
                wire_format: "binary".to_owned(),
                method: Some("swap".to_owned()),
            })
        };
        let one = |value: &str, seconds: &[f64]| Tried { run: run(1), ..tried(value, seconds) };
        let values = [one("128", &BASE), one("134", &FAST)];
        says(&values, "128", Certainty::NotSure, "134 comes to the same as 128 here");
        let two = |value: &str, seconds: &[f64]| Tried { run: run(2), ..tried(value, seconds) };
        let values = [one("128", &BASE), two("64", &FAST), two("63", &AS_FAST), one("134", &FAST)];
        says(
            &values,
            "64",
            Certainty::Sure,
            "; 134 comes to the same as 128 here; 63 comes to the same as 64 here",
        );
    }

    #[test]
    fn a_method_that_locks_for_longer_is_named_with_both_times_and_not_chosen() {
        let values = [
            locking("auto", &BASE, "writers", 0.028),
            locking("truncate", &FAST, "everyone", 0.31),
            locking("swap", &SLOW, "everyone", 0.005),
        ];
        let words = "truncate took 0.75 to 0.82 times its time in 5 rounds, but holds locks longer; it locks \
                     out writers for 28 ms, truncate everyone for 0.31 s, swap everyone for 5 ms";
        says(&values, "auto", Certainty::NotSure, words);
        let shorter = [locking("auto", &BASE, "writers", 0.028), locking("swap", &FAST, "everyone", 0.005)];
        says(&shorter, "swap", Certainty::Sure, "; it locks out everyone for 5 ms, auto writers for 28 ms");
    }

    #[test]
    fn a_base_that_locks_for_longer_than_another_method_is_never_sure() {
        let values =
            [locking("truncate", &BASE, "everyone", 0.31), locking("delta", &SLOW, "writers", 0.028)];
        says(
            &values,
            "truncate",
            Certainty::NotSure,
            "; it locks out everyone for 0.31 s, delta writers for 28 ms",
        );
    }
}
