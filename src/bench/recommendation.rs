//! The recommended config lines, and how sure the measurements make them.

use serde::Serialize;

use super::contest::times;
use super::statistics::Spread;

/// The `[run]` lines, and the apply method.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recommendation {
    /// The `[run]` keys with their values, in output order.
    pub run: Vec<Choice>,
    /// `apply` of the table, if methods were compared.
    pub apply: Option<Choice>,
}

/// One key's value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// The key.
    pub key: &'static str,
    /// The value as TOML writes it.
    pub value: String,
    /// The certainty.
    pub certainty: Certainty,
    /// The figures, as a clause.
    pub because: String,
    /// The base's value, and the time as a multiple of the base's, if another value is recommended.
    #[serde(skip)]
    pub(super) instead_of: Option<(String, f64)>,
}

/// The certainty of a recommendation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Certainty {
    /// It beat every other value of its list in every round, in at least five. One of two equal values appears to do so once
    /// in 16 times.
    Sure,
    /// It beat the base in every round, in at least three; or it is the base, and beat all others likewise.
    Likely,
    /// It may be chance, or a trade-off.
    NotSure,
}

impl Recommendation {
    /// Marks every choice as not sure, with the reason.
    pub(super) fn doubt(&mut self, why: &str) {
        for choice in self.run.iter_mut().chain(&mut self.apply) {
            choice.doubt(why);
        }
    }

    /// Corrects the choices by a measurement of the values combined, which took `together` times the base's time. If that is
    /// not less, the gains do not add up, and only the value with the largest single gain stays.
    pub(super) fn add_up(&mut self, together: Spread) {
        if together.median < 1.0 {
            return;
        }
        let changed = self.run.iter_mut().filter(|choice| choice.instead_of.is_some());
        let gain = |choice: &&mut Choice| choice.instead_of.as_ref().map_or(1.0, |(_, ratio)| *ratio);
        let mut changed: Vec<&mut Choice> = changed.collect();
        changed.sort_by(|a, b| gain(a).total_cmp(&gain(b)));
        for choice in changed.into_iter().skip(1) {
            if let Some((base, ratio)) = choice.instead_of.take() {
                let alone = std::mem::replace(&mut choice.value, base);
                choice.because = format!("{alone} alone took {ratio:.2} times its time");
                choice.doubt(&format!("the faster values combined took {}", times(together)));
            }
        }
    }

    /// Returns the lines, ready to copy, each with a comment on its certainty.
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
    /// Returns the certainty and the figures.
    #[must_use]
    pub fn reason(&self) -> String {
        format!("{}: {}", self.certainty.name(), self.because)
    }

    /// Marks the choice as not sure, with the reason.
    pub(super) fn doubt(&mut self, why: &str) {
        self.certainty = Certainty::NotSure;
        self.because = format!("{}; {why}", self.because);
    }
}

impl Certainty {
    /// Returns the word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sure => "sure",
            Self::Likely => "likely",
            Self::NotSure => "not sure",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(key: &'static str, value: &str, instead_of: Option<(&str, f64)>) -> Choice {
        Choice {
            key,
            value: value.to_owned(),
            certainty: Certainty::Sure,
            because: "x".to_owned(),
            instead_of: instead_of.map(|(base, ratio)| (base.to_owned(), ratio)),
        }
    }

    #[test]
    fn values_that_are_no_faster_together_do_not_stay_together() {
        let alone = Recommendation {
            run: vec![
                choice("jobs", "4", Some(("2", 0.9))),
                choice("chunk", "\"32MiB\"", Some(("\"128MiB\"", 0.7))),
                choice("format", "\"auto\"", None),
            ],
            apply: None,
        };
        let values = |together: f64| {
            let mut both = alone.clone();
            both.add_up(Spread { n: 5, median: together, min: together, max: together });
            let values = both.run.iter().map(|choice| (choice.value.clone(), choice.certainty));
            (values.collect::<Vec<_>>(), both.to_toml())
        };
        assert_eq!(values(0.6).1, alone.to_toml());
        let (lines, text) = values(1.05);
        let is = |value: &str, certainty| (value.to_owned(), certainty);
        assert_eq!(lines[0], is("2", Certainty::NotSure));
        assert_eq!(lines[1], is("\"32MiB\"", Certainty::Sure));
        assert!(text.contains("combined took 1.05 times its time in 5 rounds"), "{text}");
    }

    #[test]
    fn the_lines_are_toml() {
        let recommendation = Recommendation {
            run: vec![choice("jobs", "2", None), choice("chunk", "\"32MiB\"", None)],
            apply: Some(choice("apply", "\"delta\"", None)),
        };
        let text = recommendation.to_toml();
        let parsed: toml::Table = text.parse().unwrap();
        assert_eq!(parsed["run"]["chunk"].as_str(), Some("32MiB"));
        assert!(text.contains("jobs = 2  ") && text.contains("# in [[table]]: apply = \"delta\""), "{text}");
    }
}
