//! README.md, docs/, `--help` and behaviour agree.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use bulkload::config::{ApplyMethod, Config, Limit, OnEmpty, RunConfig, Strategy, sections};
use bulkload::pg::format::Format;
use bulkload::report::status::{Status, TableStatus};
use bulkload::report::{Mode, Report, TableReport};

use crate::support::Bulkload;

/// Where the project is.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The page with the report as JSON, then the status.
const REPORT_PAGE: &str = "docs/report-and-state.md";

/// Every page of the documentation, by its path.
static PAGES: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let mut paths = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(str::to_owned).to_vec();
    for entry in std::fs::read_dir(Path::new(ROOT).join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name.ends_with(".md"), "docs/{name} is not a page");
        paths.push(format!("docs/{name}"));
    }
    let read = |path: &str| std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap();
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
});

fn page(path: &str) -> &'static str {
    PAGES.get(path).unwrap_or_else(|| panic!("there is no {path}"))
}

/// The pages for users, README.md and docs/*.md, with their paths.
fn manual() -> impl Iterator<Item = (&'static str, &'static str)> {
    PAGES
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .filter(|(path, _)| *path == "README.md" || path.starts_with("docs/"))
}

/// The text between the fences of every block of `language` on a page.
fn blocks(path: &str, language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    page(path).split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// The config that shows every key.
fn full_config() -> &'static str {
    blocks("docs/configuration.md", "toml")[0]
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
fn every_config_in_the_manual_can_be_read() {
    let configs: Vec<(&str, &str)> = manual()
        .flat_map(|(path, _)| blocks(path, "toml").into_iter().map(move |text| (path, text)))
        .collect();
    assert!(configs.len() >= 5, "{}", configs.len());
    for (path, text) in configs {
        Config::parse(text, path, &environment).unwrap();
    }
}

#[test]
fn the_manual_states_the_defaults_that_hold() {
    let full = Config::parse(full_config(), "docs/configuration.md", &environment).unwrap();
    let smallest = Config::parse(blocks("README.md", "toml")[0], "README.md", &environment).unwrap();
    assert_eq!(full.run, RunConfig::default());
    assert_eq!(full.run, smallest.run);
    assert_eq!(full.run.lock_timeout, Duration::from_millis(500));
    assert_eq!(full.run.max_shrink, Limit::Percent(50.0));
    assert_eq!(full.run.on_empty, OnEmpty::Skip);
}

/// The keys that each section of the full config shows, in comments too, and the text beside its header.
fn shown_keys() -> BTreeMap<String, (BTreeSet<String>, String)> {
    let mut shown: BTreeMap<String, (BTreeSet<String>, String)> = BTreeMap::new();
    let mut section = String::new();
    for line in full_config().lines() {
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
fn the_manual_shows_every_key_of_a_config_and_no_other() {
    let shown = shown_keys();
    let headers: Vec<&str> =
        sections().map(|(header, _)| header).filter(|header| !header.is_empty()).collect();
    assert!(shown.keys().all(|header| headers.contains(&header.as_str())), "{:?}", shown.keys());
    for (header, keys) in sections().filter(|(header, _)| !header.is_empty()) {
        let (found, beside) =
            shown.get(header).unwrap_or_else(|| panic!("docs/configuration.md has no {header}"));
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

/// The options of the table in docs/commands.md, by command.
fn listed_in_manual() -> BTreeMap<String, Options> {
    let mut commands: BTreeMap<String, Options> = BTreeMap::new();
    let mut command = String::new();
    for row in page("docs/commands.md")
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
fn the_manual_lists_every_option_of_every_command_with_its_default_and_no_other() {
    let mut expected: BTreeMap<String, Options> = BTreeMap::new();
    for command in subcommands() {
        let help = help(&[&command, "--help"]);
        expected.insert("every command".to_owned(), listed_in(&help, "Global options:"));
        expected.insert(command, listed_in(&help, "Options:"));
    }
    assert!(expected.len() > 7 && expected["sync"].len() > 4, "{expected:?}");
    assert_eq!(listed_in_manual(), expected);
}

#[test]
fn every_option_that_the_manual_speaks_of_is_in_its_table() {
    let known: BTreeSet<String> = listed_in_manual().into_values().flat_map(Options::into_keys).collect();
    // Options of other programs.
    let foreign = ["--help", "--path", "--schema-only", "--table-jobs", "--index-jobs"];
    for (path, text) in manual() {
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')) {
            let is_option = word.starts_with("--") && word.len() > 3 && !word.starts_with("---");
            assert!(!is_option || known.contains(word) || foreign.contains(&word), "{path} speaks of {word}");
        }
    }
}

#[test]
fn the_manual_shows_and_explains_every_key_of_the_report_and_no_other() {
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
    let (shown, real): (serde_json::Value, _) = (
        serde_json::from_str(blocks(REPORT_PAGE, "json")[0]).unwrap(),
        serde_json::to_value(&report).unwrap(),
    );
    assert_eq!(keys(&shown), keys(&real));
    let table = &shown["tables"][0];
    assert_eq!(keys(table), keys(&real["tables"][0]));
    for key in keys(&real).iter().filter(|key| *key != "tables").chain(&keys(table)) {
        assert!(page(REPORT_PAGE).contains(&format!("`{key}`")), "{key} is not explained");
    }
    let sum = |names: &[&str]| names.iter().map(|name| table[*name].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum(&["extracted"]), sum(&["rejected", "staged"]));
    assert_eq!(sum(&["staged"]), sum(&["inserted", "updated", "unchanged", "skipped"]));
}

#[test]
fn the_manual_shows_every_key_of_the_status_and_no_other() {
    let status = Status { target: String::new(), max_age: None, tables: vec![TableStatus::default()] };
    let (shown, real): (serde_json::Value, _) = (
        serde_json::from_str(blocks(REPORT_PAGE, "json")[1]).unwrap(),
        serde_json::to_value(&status).unwrap(),
    );
    let keys =
        |value: &serde_json::Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(keys(&shown), keys(&real));
    assert_eq!(keys(&shown["tables"][0]), keys(&real["tables"][0]));
}

#[test]
fn every_subcommand_is_in_the_readme() {
    let main = help(&["--help"]);
    for command in subcommands() {
        assert!(main.contains(&format!("  {command} ")), "{command} in --help");
        let readme = page("README.md");
        let named =
            readme.contains(&format!("bulkload {command}")) || readme.contains(&format!("scripts/{command}"));
        assert!(named, "{command} in the README");
    }
}

#[test]
fn every_subcommand_that_a_page_runs_exists() {
    let known = subcommands();
    let mut found = 0;
    for (path, text) in PAGES.iter() {
        for (at, call) in text.match_indices("bulkload ") {
            let before = &text[..at];
            let is_run = ["`", "\n", "\n    ", "&& "].iter().any(|mark| before.ends_with(*mark));
            let word: String =
                text[at + call.len()..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
            if is_run && word.starts_with(|c: char| c.is_ascii_lowercase()) {
                assert!(known.contains(&word), "{path}: bulkload {word}");
                found += 1;
            }
        }
    }
    assert!(found > 30, "{found}");
}

#[test]
fn the_exit_codes_of_manual_and_help_agree() {
    let main = help(&["--help"]);
    let operations = page("docs/operations.md");
    let section = operations.split("## Exit codes\n").nth(1).unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let codes: Vec<&str> = rows
        .take_while(|line| line.starts_with('|'))
        .flat_map(|row| row.split('|').nth(1).unwrap().split(','))
        .map(str::trim)
        .collect();
    assert_eq!(codes, ["0", "1", "2", "130", "143"]);
    for code in codes {
        assert!(main.contains(code), "--help: {code}");
    }
    for meaning in ["all tables applied", "at least one table failed", "could not start"] {
        assert!(section.contains(meaning), "docs/operations.md: {meaning}");
        assert!(main.contains(meaning), "--help: {meaning}");
    }
}

#[test]
fn the_first_two_commands_are_the_scripts() {
    let commands: Vec<&str> = page("README.md")
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

#[test]
fn the_readme_is_short() {
    let lines = page("README.md").lines().count();
    assert!(lines <= 150, "{lines} lines");
}

/// The targets of a page's links, as they are written.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).map(|rest| rest.split(')').next().unwrap())
}

/// The path, from the project's root, of what a page calls `target`.
fn resolve(page: &str, target: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    if !target.is_empty() {
        parts.pop();
    }
    for part in target.split('/').filter(|part| !part.is_empty()) {
        if part == ".." {
            parts.pop().unwrap();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

/// The names by which links can point to the headings of a page.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut is_code = false;
    let mut anchors = BTreeSet::new();
    for line in text.lines() {
        is_code ^= line.starts_with("```");
        if line.starts_with('#') && !is_code {
            let heading = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            anchors.insert(heading.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect());
        }
    }
    anchors
}

#[test]
fn links_between_the_pages_resolve() {
    let mut found = 0;
    for (path, text) in PAGES.iter() {
        for link in links(text).filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let file = resolve(path, file);
            assert!(Path::new(ROOT).join(&file).is_file(), "{path}: {link}");
            assert!(anchor.is_empty() || anchors(page(&file)).contains(anchor), "{path}: {link}");
            found += 1;
        }
    }
    assert!(found > 40, "{found}");
}

#[test]
fn the_readme_links_to_every_page() {
    let linked: BTreeSet<&str> = links(page("README.md")).collect();
    for path in PAGES.keys().filter(|path| *path != "README.md") {
        assert!(linked.contains(path.as_str()), "{path}");
    }
}
