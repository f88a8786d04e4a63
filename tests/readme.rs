//! README, `--help` and behaviour agree.

use std::collections::BTreeSet;
use std::time::Duration;

use bulkload::config::{Config, Limit, OnEmpty, RunConfig};

use crate::support::Bulkload;

const README: &str = include_str!("../README.md");

/// The text between the fences of every block of `language`.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    README.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

fn environment(name: &str) -> Option<String> {
    ["SOURCE_DATABASE_URL", "TARGET_DATABASE_URL"]
        .contains(&name)
        .then(|| format!("postgresql://localhost/{}", name.to_lowercase()))
}

fn help(arguments: &[&str]) -> String {
    let outcome = Bulkload::new().run(arguments);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    outcome.stdout
}

#[test]
fn every_config_in_the_readme_can_be_read() {
    let configs = blocks("toml");
    assert_eq!(configs.len(), 2);
    for text in configs {
        Config::parse(text, "README.md", &environment).unwrap();
    }
}

#[test]
fn the_readme_states_the_defaults_that_hold() {
    let full = Config::parse(blocks("toml")[1], "README.md", &environment).unwrap();
    let smallest = Config::parse(blocks("toml")[0], "README.md", &environment).unwrap();
    assert_eq!(full.run, RunConfig::default());
    assert_eq!(full.run, smallest.run);
    assert_eq!(full.run.lock_timeout, Duration::from_millis(500));
    assert_eq!(full.run.max_shrink, Limit::Percent(50.0));
    assert_eq!(full.run.on_empty, OnEmpty::Skip);
}

#[test]
fn every_option_in_the_readme_exists() {
    let all: String = ["sync", "plan", "check", "clean", "demo", "completions", "man"]
        .iter()
        .map(|command| help(&[command, "--help"]))
        .collect();
    let words = |text: &str| -> BTreeSet<String> {
        text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
            .filter(|word| word.starts_with("--") && word.len() > 3)
            .map(str::to_owned)
            .collect()
    };
    let known = words(&all);
    // What the README shows of other programs.
    let foreign = BTreeSet::from(["--release".to_owned(), "--help".to_owned()]);
    for option in words(README).difference(&foreign) {
        assert!(known.contains(option), "the README speaks of {option}");
    }
}

#[test]
fn every_subcommand_in_the_readme_exists_and_the_other_way_round() {
    let main = help(&["--help"]);
    for command in ["sync", "plan", "check", "clean", "demo", "completions", "man"] {
        assert!(main.contains(&format!("  {command} ")), "{command} in --help");
        let named =
            README.contains(&format!("bulkload {command}")) || README.contains(&format!("scripts/{command}"));
        assert!(named, "{command} in the README");
    }
}

#[test]
fn the_exit_codes_of_readme_and_help_agree() {
    let main = help(&["--help"]);
    for code in ["0", "1", "2", "130", "143"] {
        assert!(main.contains(code) && README.contains(code));
    }
    for meaning in ["all tables applied", "at least one table failed", "could not start"] {
        assert!(README.contains(meaning), "README: {meaning}");
        assert!(main.contains(meaning), "--help: {meaning}");
    }
}

#[test]
fn the_first_two_commands_are_the_scripts() {
    let commands: Vec<&str> = README
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| {
            line.starts_with("scripts/") || line.starts_with("bulkload ") || line.starts_with("cargo ")
        })
        .collect();
    assert!(
        commands[0].starts_with("scripts/demo") && commands[1].starts_with("scripts/test"),
        "{commands:?}"
    );
}
