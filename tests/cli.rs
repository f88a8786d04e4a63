//! The command line as people and scripts meet it: exit codes, messages, help. No server is needed.

use std::fs::{File, OpenOptions};
use std::process::Command;

use crate::support::{Bulkload, Running};

const SUBCOMMANDS: [(&str, &[&str]); 12] = [
    ("sync", &["-c, --config", "--mode", "--table", "--jobs", "--report"]),
    ("plan", &["-c, --config", "--mode", "--table", "--json"]),
    ("check", &["-c, --config"]),
    ("init", &["--source", "--target", "--schema", "-c, --config", "--force"]),
    (
        "seed",
        &[
            "<PATH>",
            "--target",
            "--table",
            "--strategy",
            "--scope",
            "--key",
            "--delimiter",
            "--null",
            "--jobs",
            "--report",
            "--yes",
        ],
    ),
    ("verify", &["-c, --config", "--table"]),
    ("status", &["-c, --config", "--max-age", "--json"]),
    ("clean", &["-c, --config"]),
    (
        "bench",
        &[
            "--table",
            "--source",
            "--target",
            "--shape",
            "--rows",
            "--rules",
            "--jobs",
            "--time-limit",
            "--html",
        ],
    ),
    ("demo", &["--rows", "--keep"]),
    ("completions", &["<SHELL>", "bash", "zsh", "fish"]),
    ("man", &["--dir"]),
];

const GLOBALS: [&str; 5] = ["-v, --verbose", "-q, --quiet", "--log-format", "--color", "--no-progress"];

/// A config that is right as far as it can be judged without a server.
const CONFIG: &str = "\
source.url = 'postgresql://nobody@127.0.0.1:1/a'
target.url = 'postgresql://nobody@127.0.0.1:1/b'
[[table]]
name = 'orders'
[[table]]
name = '\"Order Lines\"'
";

fn program() -> Bulkload {
    Bulkload::new().file("bulkload.toml", CONFIG)
}

#[track_caller]
fn refused(program: &Bulkload, args: &[&str], stderr: &str) {
    let outcome = program.run(args);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{outcome}");
    assert_eq!(outcome.stderr, stderr);
}

#[test]
fn every_subcommand_tells_its_flags_and_examples() {
    for (name, flags) in SUBCOMMANDS {
        let outcome = program().run(&[name, "--help"]);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{outcome}");
        for flag in flags.iter().chain(&GLOBALS) {
            assert!(outcome.stdout.contains(flag), "{name} --help lacks {flag}\n{outcome}");
        }
        assert!(outcome.stdout.contains(&format!("  bulkload {name}")), "{name} --help lacks an example");
    }
}

#[test]
fn help_names_subcommands_exit_codes_variables_and_the_config() {
    let outcome = program().run(&["--help"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let words = [
        "Exit codes:",
        " 130 ",
        "SOURCE_DATABASE_URL",
        "BULKLOAD_LOG",
        "NO_COLOR",
        "bulkload.toml",
        "README.md",
    ];
    for word in SUBCOMMANDS.iter().map(|(name, _)| *name).chain(words) {
        assert!(outcome.stdout.contains(word), "--help lacks {word}\n{outcome}");
    }
}

#[test]
fn without_a_subcommand_help_goes_to_stderr_and_the_code_is_2() {
    let outcome = program().run(&[]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{outcome}");
    assert!(outcome.stderr.contains("Usage: bulkload"), "{outcome}");
}

#[test]
fn version_is_that_of_the_package() {
    let outcome = program().run(&["--version"]);
    assert_eq!(outcome.code, Some(0));
    assert_eq!(outcome.stdout, concat!("bulkload ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn wrong_usage_exits_with_2() {
    for args in [
        &["frobnicate"][..],
        &["sync", "--frob"],
        &["sync", "-v", "-q"],
        &["sync", "--jobs", "0"],
        &["sync", "--jobs", "257"],
        &["sync", "--mode", "some"],
        &["sync", "--table", "a b"],
        &["demo", "--rows", "0"],
        &["seed"],
        &["seed", "a.csv", "--strategy", "merge"],
        &["seed", "a.csv", "--delimiter", ";;"],
        &["status", "--max-age", "26"],
        &["completions", "tcl"],
        &["--color", "blue", "check"],
    ] {
        let outcome = program().run(args);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{args:?} {outcome}");
        assert!(outcome.stderr.starts_with("error: "), "{args:?} {outcome}");
    }
}

#[test]
fn a_missing_config_is_named() {
    let hint =
        "  hint: Name the config with -c FILE. The default is bulkload.toml in the working directory.\n";
    for command in ["sync", "plan", "check", "verify", "status", "clean"] {
        let stderr = format!("error: no config file bulkload.toml\n{hint}");
        refused(&Bulkload::new(), &[command], &stderr);
        refused(
            &Bulkload::new(),
            &[command, "-c", "x/y.toml"],
            &stderr.replace("bulkload.toml\n", "x/y.toml\n"),
        );
    }
}

#[test]
fn a_config_as_windows_writes_it_is_read_and_one_in_utf_16_is_told_apart() {
    let program = Bulkload::new().file("bulkload.toml", &format!("\u{feff}{}", CONFIG.replace('\n', "\r\n")));
    let outcome = program.run(&["plan", "--table", "gone"]);
    assert!(outcome.stderr.contains("It has: public.orders, public.\"Order Lines\"."), "{outcome}");
    let program = Bulkload::new();
    let utf_16: Vec<u8> = CONFIG.encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(program.dir().join("bulkload.toml"), [&[0xff, 0xfe], &utf_16[..]].concat()).unwrap();
    refused(
        &program,
        &["plan"],
        "error: the config bulkload.toml is not UTF-8\n  \
         hint: Save it as UTF-8, as TOML requires. Editors on Windows may write UTF-16 or ANSI.\n",
    );
}

#[test]
fn a_mistake_in_the_config_is_shown_with_its_place_and_advice() {
    let program = Bulkload::new().file("nightly.toml", "[run]\n  lock_timout = '1s'\n");
    refused(
        &program,
        &["sync", "-c", "nightly.toml"],
        "error: nightly.toml:2:3: unknown key lock_timout in [run]\n  hint: Did you mean lock_timeout?\n",
    );
    refused(
        &program.file("bulkload.toml", "[source]\nurl = '${NO_SUCH_VARIABLE}'\n"),
        &["check"],
        "error: bulkload.toml:2:8: the environment variable NO_SUCH_VARIABLE is not set\n  \
         hint: Set NO_SUCH_VARIABLE, or write the value in the file.\n",
    );
}

#[test]
fn a_table_that_the_config_lacks_is_named_with_those_it_has() {
    for command in ["sync", "plan", "verify"] {
        refused(
            &program(),
            &[command, "--table", "orders", "--table", "Order_Lines"],
            "error: --table public.order_lines: the config has no table public.order_lines\n  \
             hint: It has: public.orders, public.\"Order Lines\".\n",
        );
    }
}

#[test]
fn a_report_that_could_not_be_written_is_refused_before_the_run() {
    refused(
        &program(),
        &["sync", "--report", "no/such/dir.json"],
        "error: --report no/such/dir.json: its directory does not exist\n  \
         hint: Name a file in an existing directory that you can write to.\n",
    );
    refused(
        &program(),
        &["sync", "--report", "."],
        "error: --report .: it is a directory\n  hint: Name a file in an existing directory that you can write to.\n",
    );
}

#[test]
fn errors_are_json_where_the_log_is() {
    let program = Bulkload::new().file("bulkload.toml", "[run]\nlock_timout = '1s'\n");
    for args in [&["sync", "--log-format", "json"][..], &["-q", "--log-format=json", "check"]] {
        let outcome = program.run(args);
        assert_eq!(outcome.code, Some(2), "{outcome}");
        let line: serde_json::Value = serde_json::from_str(&outcome.stderr).unwrap();
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["phase"], "config");
        assert_eq!(line["message"], "unknown key lock_timout in [run]");
        assert_eq!(line["at"], "bulkload.toml:2:1");
        assert_eq!(line["hint"], "Did you mean lock_timeout?");
    }
}

/// What stderr holds, each line an object that tells of an error.
#[track_caller]
fn json_errors(program: &Bulkload, args: &[&str]) -> Vec<serde_json::Value> {
    let outcome = program.run(args);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{args:?} {outcome}");
    let lines: Vec<serde_json::Value> = outcome
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {outcome}")))
        .collect();
    let words = ["timestamp", "level", "phase", "message", "hint"];
    assert!(lines.iter().all(|line| words.iter().all(|word| line[word].is_string())), "{args:?} {outcome}");
    assert_eq!(lines.iter().filter(|line| line["level"] == "ERROR").count(), 1, "{args:?} {outcome}");
    lines
}

#[test]
fn usage_errors_are_json_too_and_no_filter_hides_the_error_that_ends_the_program() {
    let json = "--log-format=json";
    for (args, message, hint) in [
        (&["frobnicate", json][..], "unrecognized subcommand 'frobnicate'", "See bulkload --help."),
        (
            &["sync", "--tabel", "t", json],
            "unexpected argument '--tabel' found",
            "a similar argument exists: '--table'",
        ),
        (
            &["--log-format", "json", "sync", "--jobs", "0"],
            "invalid value '0' for '--jobs <N>': 0 is not in 1..=256",
            "See bulkload --help.",
        ),
        (
            &["seed", json],
            "the following required arguments were not provided: <PATH>...",
            "See bulkload --help.",
        ),
        (
            &["check", json],
            "no config file bulkload.toml",
            "Name the config with -c FILE. The default is bulkload.toml in the working directory.",
        ),
    ] {
        for filter in ["info", "off"] {
            let program = Bulkload::new().env("BULKLOAD_LOG", filter);
            let lines = json_errors(&program, args);
            assert_eq!((&lines[0]["message"], &lines[0]["hint"]), (&message.into(), &hint.into()));
        }
    }
    let lines = json_errors(&program().env("BULKLOAD_LOG", "bulkload=loud"), &["check", json]);
    assert!(lines[0]["message"].as_str().unwrap().starts_with("environment variable BULKLOAD_LOG: "));
    // Nobody listens at the config's port.
    for command in ["sync", "plan", "verify", "status", "clean"] {
        let lines = json_errors(&program(), &["-q", json, command]);
        assert!(lines[0]["message"].as_str().unwrap().contains("connection refused"), "{command} {lines:?}");
        assert_eq!(lines[0]["phase"], "connect");
    }
    // A panic is a bug, and is to be found in the same log.
    if cfg!(feature = "failpoints") {
        let outcome = program().fail_point("cli.started", "panic").run(&["check", json]);
        let line: serde_json::Value = serde_json::from_str(&outcome.stderr).unwrap();
        assert!(line["message"].as_str().unwrap().contains("cli.started"), "{line}");
    }
}

#[test]
fn colours_come_only_where_they_are_asked_for() {
    let program = Bulkload::new();
    for (args, has_colours) in [
        (&["check"][..], false),
        (&["check", "--color", "never"], false),
        (&["check", "--color", "always"], true),
        (&["--color=always", "check"], true),
        (&["--color=always", "--log-format=json", "check"], false),
    ] {
        let outcome = program.run(args);
        assert_eq!(outcome.stderr.contains('\u{1b}'), has_colours, "{args:?} {outcome}");
    }
    let outcome = program.env("NO_COLOR", "1").run(&["check"]);
    assert!(!outcome.stderr.contains('\u{1b}'), "{outcome}");
}

#[test]
fn a_log_filter_that_cannot_be_understood_is_named() {
    let outcome = program().env("BULKLOAD_LOG", "bulkload=loud").run(&["check"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.starts_with("error: environment variable BULKLOAD_LOG: "), "{outcome}");
}

#[test]
fn completions_and_man_pages_are_written() {
    for (shell, marker) in [
        ("bash", "complete -F _bulkload"),
        ("zsh", "#compdef bulkload"),
        ("fish", "complete -c bulkload"),
        ("elvish", "edit:completion"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let outcome = program().run(&["completions", shell]);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{outcome}");
        assert!(outcome.stdout.contains(marker) && outcome.stdout.contains("table"), "{outcome}");
    }
    let outcome = program().run(&["man"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{outcome}");
    assert!(outcome.stdout.contains(".TH bulkload 1") && outcome.stdout.contains("SOURCE_DATABASE_URL"));

    let program = program();
    let outcome = program.run(&["man", "--dir", "."]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(0), ""), "{outcome}");
    let page = std::fs::read_to_string(program.dir().join("bulkload-sync.1")).unwrap();
    assert!(page.contains("\\-\\-report"), "{page}");
    assert_eq!(program.run(&["man", "--dir", "none"]).code, Some(2));
}

#[test]
fn bash_completes_commands_and_options() {
    let script = program().run(&["completions", "bash"]).stdout;
    let program = program().file("bulkload.bash", &script);
    for (line, expected) in [
        ("bulkload st", "status"),
        ("bulkload sync --re", "--report"),
        ("bulkload status --max", "--max-age"),
        ("bulkload sync --mode ", "full incremental"),
        ("bulkload completions z", "zsh"),
    ] {
        let words: Vec<String> = line.split(' ').map(|word| format!("'{word}'")).collect();
        let complete = format!(
            "source bulkload.bash; COMP_WORDS=({}); COMP_CWORD={}; COMPREPLY=();
             _bulkload bulkload \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[*]}}\"",
            words.join(" "),
            words.len() - 1
        );
        let shell = Command::new("bash").args(["-c", &complete]).current_dir(program.dir()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&shell.stdout).trim(), expected, "{line} {shell:?}");
    }
}

#[test]
fn fish_completes_the_names_of_shells() {
    let script = program().run(&["completions", "fish"]).stdout;
    let line = script.lines().last().unwrap();
    assert!(
        line.ends_with("using_subcommand completions\" -f -a \"bash elvish fish powershell zsh\""),
        "{line}"
    );
}

/// How to send a signal, and the exit code that it leads to.
type Signal = fn(&Running);

const SIGNALS: [(Signal, i32); 2] = [(Running::interrupt, 130), (Running::terminate, 143)];

/// A program that waits for the rest of its config, and the end of the pipe that holds it back.
fn waiting() -> (Running, File) {
    waiting_with(&Bulkload::new(), &[])
}

fn waiting_with(program: &Bulkload, args: &[&str]) -> (Running, File) {
    let pipe = program.dir().join("pipe.toml");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let running = program.spawn(&[args, &["check", "-c", "pipe.toml"]].concat());
    // This waits until the program has opened its end: by then it listens for signals.
    let end = OpenOptions::new().write(true).open(&pipe).unwrap();
    (running, end)
}

#[test]
fn the_first_signal_lets_the_work_end_and_decides_the_exit_code() {
    for (send, code) in SIGNALS {
        let (mut running, end) = waiting();
        send(&running);
        running.wait_for_stderr("stopping; a second signal exits at once");
        assert!(running.is_running());
        drop(end);
        let outcome = running.wait();
        assert_eq!(outcome.code, Some(code), "{outcome}");
    }
}

#[test]
fn the_second_signal_ends_the_program_at_once() {
    for (send, code) in SIGNALS {
        let (mut running, end) = waiting();
        running.interrupt();
        running.wait_for_stderr("stopping");
        send(&running);
        let outcome = running.wait();
        assert_eq!(outcome.code, Some(code), "{outcome}");
        drop(end);
    }
}

#[test]
fn a_log_that_cannot_be_written_ends_nothing() {
    let program = program();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_bulkload"))
        .arg("sync")
        .current_dir(program.dir())
        .env_clear()
        .stderr(full)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(2), "nobody listens at the config's port, and nothing else is wrong");
}

#[test]
fn quiet_keeps_warnings_and_filters_obey_flags_before_variables() {
    for (args, variable, is_told) in [
        (&["-q"][..], "bulkload=error", true),
        (&[], "bulkload=error", false),
        (&[], "bulkload=warn", true),
        (&["-v"], "off", true),
    ] {
        let program = Bulkload::new().env("BULKLOAD_LOG", variable).env("RUST_LOG", "off");
        let (mut running, end) = waiting_with(&program, args);
        running.interrupt();
        if is_told {
            running.wait_for_stderr("warn stopping;");
        }
        drop(end);
        let outcome = running.wait();
        assert_eq!(outcome.stderr.contains("stopping"), is_told, "{args:?} {variable} {outcome}");
    }
}
