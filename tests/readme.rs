//! README, `--help` and behaviour agree.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bulkload::config::{ApplyMethod, Config, Limit, OnEmpty, RunConfig, Strategy, sections};
use bulkload::pg::format::Format;
use bulkload::report::status::{Status, TableStatus};
use bulkload::report::{Mode, Report, TableReport};

use crate::support::Bulkload;

const README: &str = include_str!("../README.md");

/// The text between the fences of every block of `language`.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    README.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

fn environment(name: &str) -> Option<String> {
    ["SOURCE_DATABASE_URL", "TARGET_DATABASE_URL", "DESKTOP_DATABASE_URL", "APP_DATABASE_URL"]
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
    assert!(configs.len() >= 4, "{}", configs.len());
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

/// The keys that each section of the README's config shows, in comments too, and what stands beside its header.
fn shown_keys() -> BTreeMap<String, (BTreeSet<String>, String)> {
    let mut shown: BTreeMap<String, (BTreeSet<String>, String)> = BTreeMap::new();
    let mut section = String::new();
    for line in blocks("toml")[1].lines() {
        let text = line.strip_prefix("# ").unwrap_or(line);
        if text.starts_with('[') {
            section = text.split_inclusive(']').take_while(|part| !part.starts_with(' ')).collect();
        }
        let (keys, header) = shown.entry(section.clone()).or_default();
        if text.starts_with('[') {
            header.push_str(line);
        }
        if let Some((key, _)) = text.split_once(" = ").filter(|(key, _)| !key.contains([' ', '#'])) {
            keys.insert(key.to_owned());
        }
    }
    shown
}

#[test]
fn the_readme_shows_every_key_of_a_config_and_no_other() {
    let shown = shown_keys();
    let headers: Vec<&str> =
        sections().map(|(header, _)| header).filter(|header| !header.is_empty()).collect();
    assert!(shown.keys().all(|header| headers.contains(&header.as_str())), "{:?}", shown.keys());
    for (header, keys) in sections().filter(|(header, _)| !header.is_empty()) {
        let (found, beside) = shown.get(header).unwrap_or_else(|| panic!("the README has no {header}"));
        // What has a header of its own needs no line.
        let is_section = |key: &str| {
            headers.iter().any(|other| other.trim_matches(['[', ']']).ends_with(&format!(".{key}")))
        };
        for key in keys.iter().filter(|key| !is_section(key)) {
            let is_named =
                beside.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).any(|word| word == *key);
            assert!(found.contains(*key) || is_named, "{key} of {header}");
        }
        for key in found {
            assert!(keys.contains(&key.as_str()), "{header} has no {key}");
        }
    }
}

/// Long options and what their defaults are.
type Options = BTreeMap<String, Option<String>>;

/// The long option in a text that begins with its name, or with its letter.
fn long_option(text: &str) -> Option<String> {
    let name = &text[text.find("--")?..];
    let end = name.find(|c: char| !(c.is_ascii_lowercase() || c == '-')).unwrap_or(name.len());
    Some(name[..end].to_owned())
}

/// The options that a help text lists below a heading.
fn listed_in(help: &str, heading: &str) -> Options {
    let mut options = Options::new();
    let mut last = None;
    let lines = help.lines().skip_while(|line| *line != heading).skip(1);
    for line in lines.take_while(|line| line.is_empty() || line.starts_with(' ')) {
        let text = line.trim_start();
        if text.starts_with('-') {
            last = long_option(text);
            options.extend(last.clone().map(|name| (name, None)));
        } else if let (Some(default), Some(name)) = (text.strip_prefix("[default: "), &last) {
            options.insert(name.clone(), Some(default.trim_end_matches(']').to_owned()));
        }
    }
    options.remove("--help");
    options
}

/// The options of the README's table, by command.
fn listed_in_readme() -> BTreeMap<String, Options> {
    let mut commands: BTreeMap<String, Options> = BTreeMap::new();
    let mut command = String::new();
    let section = README.split("## Commands and options").nth(1).unwrap();
    for row in section
        .lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
    {
        let row = row.replace("\\|", "/");
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        if !cells[1].is_empty() {
            command = cells[1].trim_matches('`').to_owned();
        }
        let options = commands.entry(command.clone()).or_default();
        if let Some(option) = long_option(cells[2]) {
            let is_code = cells[3].starts_with('`');
            options.insert(option, is_code.then(|| cells[3].trim_matches('`').to_owned()));
        }
    }
    commands
}

/// The subcommands that `--help` lists.
fn subcommands() -> Vec<String> {
    let main = help(&["--help"]);
    let lines =
        main.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_readme_lists_every_option_of_every_command_with_its_default_and_no_other() {
    let mut expected: BTreeMap<String, Options> = BTreeMap::new();
    for command in subcommands() {
        let help = help(&[&command, "--help"]);
        expected.insert("every command".to_owned(), listed_in(&help, "Global options:"));
        expected.insert(command, listed_in(&help, "Options:"));
    }
    assert!(expected.len() > 7 && expected["sync"].len() > 4, "{expected:?}");
    assert_eq!(listed_in_readme(), expected);
}

#[test]
fn every_option_that_the_readme_speaks_of_is_in_its_table() {
    let known: BTreeSet<String> = listed_in_readme().into_values().flat_map(Options::into_keys).collect();
    // What the README shows of other programs.
    let foreign = ["--release", "--help"];
    for word in README.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')) {
        let is_option = word.starts_with("--") && word.len() > 3 && !word.starts_with("---");
        assert!(!is_option || known.contains(word) || foreign.contains(&word), "the README speaks of {word}");
    }
}

#[test]
fn the_readme_shows_every_key_of_the_report_and_no_other() {
    let report = Report {
        run_id: String::new(),
        started_at: std::time::SystemTime::UNIX_EPOCH,
        duration: Duration::ZERO,
        mode: Mode::Full,
        tables: vec![TableReport::new(
            "t",
            Mode::Full,
            Strategy::Replace,
            Some(ApplyMethod::Auto),
            Format::Text,
        )],
    };
    let keys =
        |value: &serde_json::Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let (shown, real): (serde_json::Value, _) =
        (serde_json::from_str(blocks("json")[1]).unwrap(), serde_json::to_value(&report).unwrap());
    assert_eq!(keys(&shown), keys(&real));
    let table = &shown["tables"][0];
    assert_eq!(keys(table), keys(&real["tables"][0]));
    let sum = |names: &[&str]| names.iter().map(|name| table[*name].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum(&["extracted"]), sum(&["rejected", "staged"]));
    assert_eq!(sum(&["staged"]), sum(&["inserted", "updated", "unchanged", "skipped"]));
}

#[test]
fn the_readme_shows_every_key_of_the_status_and_no_other() {
    let status = Status { target: String::new(), max_age: None, tables: vec![TableStatus::default()] };
    let (shown, real): (serde_json::Value, _) =
        (serde_json::from_str(blocks("json")[0]).unwrap(), serde_json::to_value(&status).unwrap());
    let keys =
        |value: &serde_json::Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(keys(&shown), keys(&real));
    assert_eq!(keys(&shown["tables"][0]), keys(&real["tables"][0]));
}

#[test]
fn every_subcommand_in_the_readme_exists_and_the_other_way_round() {
    let main = help(&["--help"]);
    for command in subcommands() {
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
