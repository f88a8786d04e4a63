//! What a bench finds out, as JSON, as a page, and as text.

use serde_json::Value;

use super::{Small, assert_tidy, between, json, small};
use crate::support::{Bulkload, pair};

/// Every key and its value, however deep.
fn visit(value: &Value, key: &str, seen: &mut impl FnMut(&str, &Value)) {
    seen(key, value);
    match value {
        Value::Object(entries) => entries.iter().for_each(|(key, value)| visit(value, key, seen)),
        Value::Array(items) => items.iter().for_each(|item| visit(item, key, seen)),
        _ => {}
    }
}

/// Ratios and times are spreads of positive numbers in order, as far as they could be had; returns how many ratios there are.
#[track_caller]
fn assert_sound(findings: &Value) -> usize {
    let mut ratios = 0;
    visit(findings, "", &mut |key, value| {
        let is_ratio = key.contains("ratio");
        if let (true, Value::Object(spread)) = (is_ratio || key.ends_with("_s"), value) {
            let part = |name: &str| spread[name].as_f64().unwrap();
            assert!(part("min") <= part("median") && part("median") <= part("max"), "{key} {value}");
            assert!(part("n") >= 1.0 && part("max").is_finite(), "{key} {value}");
            // CPU time comes in steps of 10 ms, of which psql may need none.
            assert!(!is_ratio || key.contains("cpu") || part("min") > 0.0, "{key} {value}");
            ratios += usize::from(is_ratio);
        }
    });
    ratios
}

/// Words, wherever lines were broken between them.
fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The texts of a figure on the page.
fn texts(page: &roxmltree::Document<'_>, id: &str) -> Vec<String> {
    let figure = page.descendants().find(|node| node.attribute("id") == Some(id)).unwrap();
    assert!(figure.descendants().any(|node| node.has_tag_name("rect")), "{id}");
    let texts = figure.descendants().filter(|node| node.has_tag_name("text"));
    texts.map(|node| node.text().unwrap().to_owned()).collect()
}

#[test]
fn a_small_bench_on_throw_away_servers_has_all_figures_and_leaves_nothing() {
    let Small { program, outcome } = small();
    let findings = json(program);
    assert!(assert_sound(&findings) >= 10, "{findings:#}");
    assert_eq!(findings["scenario"]["rows"], 30_000);
    assert_eq!(findings["scenario"]["table"], "lineitem");
    assert_eq!(findings["machine"]["servers_cpu_is_known"], true);
    let base = &findings["settings"][0];
    assert_eq!(
        (&base["list"], &base["jobs"], &base["chunk_bytes"]),
        (&"base".into(), &2.into(), &1_048_576.into())
    );
    assert_eq!((&base["wire_format"], &base["streams"]), (&"binary".into(), &2.into()));
    for key in ["ratio_to_pipe", "ratio_to_floor", "whole_ratio", "client_cpu_s", "target_cpu_s"] {
        assert!(base[key]["n"].as_u64() >= Some(2), "{key} {base:#}");
    }
    assert!(base["peak_memory_bytes"].as_u64().unwrap() > 1_000_000);
    let settings = findings["settings"].as_array().unwrap();
    let labels: Vec<&str> = settings.iter().map(|setting| setting["label"].as_str().unwrap()).collect();
    for label in ["base", "jobs 1", "chunk 512KiB", "format text", "apply truncate"] {
        assert!(labels.contains(&label), "{labels:?}");
    }
    let plain: Vec<(&str, u64)> = findings["plain"]
        .as_array()
        .unwrap()
        .iter()
        .map(|plain| (plain["what"].as_str().unwrap(), plain["streams"].as_u64().unwrap()))
        .collect();
    assert!([("read", 1), ("write", 1), ("pipe", 1)].iter().all(|one| plain.contains(one)), "{plain:?}");
    // So few rows load in less than a second, of which CPU times say nothing.
    let because = findings["limit"]["because"].as_str().unwrap();
    let is_told = findings["limit"]["what"] == "unknown" && because.contains("takes ")
        || because.contains("Other processes");
    assert!(is_told, "{}", findings["limit"]);

    // The text ends with lines for the config, and they say what the JSON says.
    let (_, lines) = outcome.stdout.split_once("\n[run]\n").unwrap();
    let run: toml::Table = lines.parse().unwrap();
    for choice in findings["recommendation"]["run"].as_array().unwrap() {
        let value = run[choice["key"].as_str().unwrap()].to_string();
        assert_eq!(value, choice["value"].as_str().unwrap());
        assert!(lines.contains(choice["because"].as_str().unwrap()), "{lines}");
    }
    assert!(labels.iter().all(|label| outcome.stdout.contains(label)), "{outcome}");

    let page = std::fs::read_to_string(program.dir().join("bench.html")).unwrap();
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..roxmltree::ParsingOptions::default() };
    let page = roxmltree::Document::parse_with_options(&page, options).unwrap();
    let streams = texts(&page, "streams");
    assert!(
        streams.contains(&"1 stream".to_owned()) && streams.contains(&"psql | psql".to_owned()),
        "{streams:?}"
    );
    assert_eq!(streams.iter().filter(|text| text.ends_with(" rows/s")).count(), streams.len() / 2);
    assert!(texts(&page, "chunks").iter().any(|text| text.starts_with("512KiB, ")));
    assert_eq!(texts(&page, "phases").len(), 3 * settings.len());
    assert!(texts(&page, "locks").contains(&"truncate".to_owned()));

    let left: Vec<_> =
        std::fs::read_dir(program.dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name.to_string_lossy().starts_with("bench.")), "{left:?}");
}

#[test]
fn rules_and_given_servers_and_what_cannot_be_tried() {
    let pair = pair();
    let program = Bulkload::new();
    let others = ["--rules", "--rows=2000", "--repeat=1", "--jobs=1", "--chunk=1MiB", "--format=auto"];
    let files = ["--apply=truncate,direct", "--json=-", "-q"];
    let outcome = program.run(&between(&pair, &[&others[..], &files].concat()));
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let findings: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_sound(&findings);
    assert_eq!(findings["scenario"]["rules"], true);
    assert_eq!(findings["machine"]["throw_away_servers"], false);
    assert_eq!(findings["settings"][0]["method"], "truncate");
    // Nothing is sure after a single round.
    let choices = findings["recommendation"]["run"].as_array().unwrap();
    assert!(choices.iter().all(|choice| choice["certainty"] == "not_sure"), "{choices:?}");
    assert!(outcome.stderr.contains("[run]"), "the text goes to stderr: {outcome}");
    assert_tidy(&pair);
}

#[test]
fn a_method_that_loads_while_it_applies_has_no_figures_of_a_load_and_is_recommended_only_with_its_lock() {
    let pair = pair();
    let program = Bulkload::new();
    let others = ["--shape=narrow", "--rows=3000", "--repeat=3", "--jobs=1", "--chunk=1MiB", "--format=auto"];
    let lists = ["--apply=truncate,direct,delta", "--json=bench.json", "-q"];
    let outcome = program.run(&between(&pair, &[&others[..], &lists].concat()));
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let findings = json(&program);
    assert_sound(&findings);
    let [truncate, direct, _] = &findings["settings"].as_array().unwrap()[..] else { panic!("{findings:#}") };
    assert_eq!((&truncate["method"], &direct["method"]), (&"truncate".into(), &"direct".into()));
    for key in ["load_s", "rows_per_s", "mb_per_s", "ratio_to_pipe", "ratio_to_floor"] {
        assert!(direct[key].is_null(), "{key} {direct:#}");
    }
    assert!(truncate["load_s"]["median"].as_f64() > Some(0.0) && truncate["rows_per_s"].as_f64() > Some(0.0));
    assert!(direct["whole_s"]["median"].as_f64() > Some(0.0), "{direct:#}");
    let limit = findings["limit"]["because"].as_str().unwrap();
    assert!(!limit.contains("inf") && findings["limit"]["what"] == "unknown", "{limit}");
    // Whatever was fastest, one of them locks others out for longer.
    let apply = findings["recommendation"]["apply"]["because"].as_str().unwrap();
    assert!(apply.contains("it locks ") && apply.matches(" for ").count() >= 2, "{apply}");
    assert!(on_one_line(&outcome.stdout).contains("direct loads while it applies"), "{outcome}");
    assert_tidy(&pair);
}

#[test]
fn an_empty_table_is_said_to_be_empty_and_nothing_is_made_of_it() {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run("create table nothing (id int)");
    }
    let program = Bulkload::on(&pair).config("[[table]]\nname = 'nothing'\non_empty = 'apply'\n");
    let args = ["bench", "--table=nothing", "--repeat=3", "--jobs=1,2", "--chunk=1MiB", "--format=auto"];
    let outcome = program.run(&[&args[..], &["--apply=auto", "--json=bench.json", "-q"]].concat());
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let findings = json(&program);
    assert_eq!(findings["limit"]["because"], "The table has no rows to load.");
    visit(&findings, "", &mut |key, value| {
        assert!(!["client_cpu_s_per_gb", "rows_per_s"].contains(&key) || value.is_null(), "{key} {value}");
        assert!(key != "certainty" || value == "not_sure", "{findings:#}");
    });
    assert!(outcome.stdout.contains("not sure: the table has no rows to load"), "{outcome}");
    let text = on_one_line(&outcome.stdout);
    assert!(text.contains("pipe+index: not known, the table has no key"), "{outcome}");
    assert_tidy(&pair);
}

#[test]
fn every_shape_can_be_loaded_in_both_formats() {
    let pair = pair();
    for shape in ["narrow", "wide", "text", "json"] {
        let program = Bulkload::new();
        let others = ["--shape", shape, "--rows=2000", "--repeat=1", "--jobs=1", "--chunk=1MiB"];
        let lists = ["--format=binary,text", "--apply=delta", "--json=bench.json", "--html=-", "-q"];
        let outcome = program.run(&between(&pair, &[&others[..], &lists].concat()));
        assert_eq!(outcome.code, Some(0), "{shape} {outcome}");
        let is_page = outcome.stdout.starts_with("<!DOCTYPE html>") && outcome.stdout.ends_with("</html>\n");
        assert!(is_page && outcome.stderr.contains("What limits"), "the text goes to stderr: {outcome}");
        let findings = json(&program);
        let settings = findings["settings"].as_array().unwrap();
        let formats: Vec<_> =
            settings.iter().map(|setting| setting["wire_format"].as_str().unwrap()).collect();
        assert_eq!(formats, ["binary", "text"], "{shape}");
        assert_eq!(findings["scenario"]["rows"], 2000);
        assert!(assert_sound(&findings) > 0);
    }
    assert_tidy(&pair);
}
