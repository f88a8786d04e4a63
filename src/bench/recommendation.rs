//! What to write into the config, and how sure the measurements make it.

use serde::Serialize;

use super::statistics::Spread;

/// The `[run]` lines, and the method.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recommendation {
    /// `[run]` keys with their values, in the order in which they are written.
    pub run: Vec<Choice>,
    /// `apply` of the table, where methods were compared.
    pub apply: Option<Choice>,
}

/// One key's value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// The key.
    pub key: &'static str,
    /// The value as TOML writes it.
    pub value: String,
    /// Whether the measurements show that it is the better one: in every round, in at least three.
    pub is_sure: bool,
    /// The figures, as a clause.
    pub because: String,
}

/// A value that was tried.
#[derive(Debug, Clone)]
pub(super) struct Tried {
    /// As TOML writes it.
    pub(super) value: String,
    /// Its median in seconds, of the phase that the key is about.
    pub(super) median: f64,
    /// Its time as a multiple of the base's, round by round; of the base itself none.
    pub(super) to_base: Option<Spread>,
}

impl Recommendation {
    /// Nothing is sure any more, and why.
    pub(super) fn doubt(&mut self, why: &str) {
        for choice in self.run.iter_mut().chain(&mut self.apply) {
            choice.is_sure = false;
            choice.because = format!("{}; {why}", choice.because);
        }
    }

    /// The lines, ready to be copied: a comment says how sure each is.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let width = self.run.iter().map(|choice| choice.key.len() + choice.value.len()).max().unwrap_or(0);
        let mut text = String::from("[run]\n");
        for choice in &self.run {
            let gap = " ".repeat(width - choice.key.len() - choice.value.len());
            text += &format!("{} = {}{gap}  # {}\n", choice.key, choice.value, choice.reason());
        }
        if let Some(choice) = &self.apply {
            text += &format!("# in [[table]]: {} = {}  # {}\n", choice.key, choice.value, choice.reason());
        }
        text
    }
}

impl Choice {
    /// How sure it is, and why.
    #[must_use]
    pub fn reason(&self) -> String {
        format!("{}: {}", if self.is_sure { "sure" } else { "not sure" }, self.because)
    }
}

/// Chooses among the values of one key, the base first: another one only if it was faster in every round, and there
/// were some.
pub(super) fn choose(key: &'static str, tried: &[Tried]) -> Option<Choice> {
    let (base, others) = tried.split_first()?;
    let choice =
        |tried: &Tried, is_sure, because| Choice { key, value: tried.value.clone(), is_sure, because };
    let compared: Vec<(&Tried, Spread)> =
        others.iter().filter_map(|other| Some((other, other.to_base?))).collect();
    let Some((best, ratio)) = compared.into_iter().min_by(|a, b| a.1.median.total_cmp(&b.1.median)) else {
        return Some(choice(base, false, "nothing else was measured".to_owned()));
    };
    let rounds = crate::report::figures::counted(ratio.n as u64, "round");
    let between = format!("{:.2} to {:.2} times its time in {rounds}", ratio.min, ratio.max);
    Some(if !ratio.is_enough() {
        let because = format!("{:.2} s; {} took {between}, too few to tell", base.median, best.value);
        choice(base, false, because)
    } else if ratio.max < 1.0 {
        let because = format!(
            "{:.2} s, {:.0} % less than with {}, {between}",
            best.median,
            (1.0 - ratio.median) * 100.0,
            base.value
        );
        choice(best, true, because)
    } else if ratio.min > 1.0 {
        let because = format!("{:.2} s; the next best, {}, took {between}", base.median, best.value);
        choice(base, true, because)
    } else {
        let because = format!(
            "{:.2} s; {} took {between}: the spread overlaps, no difference is shown",
            base.median, best.value
        );
        choice(base, false, because)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(value: &str, to_base: Option<(f64, f64, f64)>) -> Tried {
        let to_base = to_base.map(|(min, median, max)| Spread { n: 5, median, min, max });
        Tried { value: value.to_owned(), median: 1.0, to_base }
    }

    #[track_caller]
    fn chosen(tried: &[Tried]) -> (String, bool, String) {
        let choice = choose("jobs", tried).unwrap();
        (choice.value, choice.is_sure, choice.because)
    }

    #[test]
    fn another_value_is_chosen_if_it_was_faster_in_every_round() {
        let (value, is_sure, because) = chosen(&[
            tried("2", None),
            tried("1", Some((1.3, 1.4, 1.5))),
            tried("4", Some((0.8, 0.9, 0.95))),
        ]);
        assert_eq!((value.as_str(), is_sure), ("4", true));
        assert!(because.contains("10 % less than with 2"), "{because}");
    }

    #[test]
    fn the_base_stays_where_no_difference_is_shown_and_that_is_said() {
        let (value, is_sure, because) = chosen(&[tried("2", None), tried("4", Some((0.9, 0.95, 1.01)))]);
        assert_eq!((value.as_str(), is_sure), ("2", false));
        assert!(because.contains("the spread overlaps"), "{because}");
        let (value, is_sure, _) = chosen(&[tried("2", None), tried("4", Some((1.1, 1.2, 1.3)))]);
        assert_eq!((value.as_str(), is_sure), ("2", true));
    }

    #[test]
    fn few_rounds_make_nothing_sure() {
        let once =
            Tried { to_base: Some(Spread { n: 1, median: 0.5, min: 0.5, max: 0.5 }), ..tried("4", None) };
        let (value, is_sure, because) = chosen(&[tried("2", None), once]);
        assert!(because.contains("in 1 round, too few to tell"), "{because}");
        assert_eq!((value.as_str(), is_sure), ("2", false));
        assert_eq!(
            chosen(&[tried("2", None)]),
            ("2".to_owned(), false, "nothing else was measured".to_owned())
        );
    }

    #[test]
    fn the_lines_are_toml() {
        let choice = |key, value: &str| Choice {
            key,
            value: value.to_owned(),
            is_sure: true,
            because: "x".to_owned(),
        };
        let recommendation = Recommendation {
            run: vec![choice("jobs", "2"), choice("chunk", "\"32MiB\"")],
            apply: Some(choice("apply", "\"delta\"")),
        };
        let text = recommendation.to_toml();
        let parsed: toml::Table = text.parse().unwrap();
        assert_eq!(parsed["run"]["chunk"].as_str(), Some("32MiB"));
        assert!(text.contains("jobs = 2  ") && text.contains("# in [[table]]: apply = \"delta\""), "{text}");
    }
}
