//! Errors about the file, its keys and `[run]`: exact message, location and hint.

use super::{Config, T, check, check_table, env, error, parse};

#[test]
fn text_that_is_not_toml() {
    check(&[
        ("[run\n", "f.toml:1:5: not valid TOML: unclosed table, expected `]`", ""),
        ("[run]\njobs = 1\njobs = 2", "f.toml:3:1: not valid TOML: duplicate key", ""),
        (
            "[source]\nurl = postgres://u:hunter2@h",
            "f.toml:2:7: not valid TOML: string values must be quoted, expected literal string",
            "",
        ),
        (
            "[run]\nrejects_dir = 'a\n",
            "f.toml:2:17: not valid TOML: invalid literal string, expected `'`",
            "",
        ),
    ]);
}

#[test]
fn keys_that_do_not_exist() {
    check(&[
        (
            "[run]\nlock_timout = '1s'",
            "f.toml:2:1: unknown key lock_timout in [run]",
            "Did you mean lock_timeout?",
        ),
        (
            "[run]\nzzz = 1\nyyy = 2",
            "f.toml:2:1: unknown key zzz in [run]",
            "Known keys here: jobs, memory, chunk, format, staging_schema, commit, lock_timeout, lock_wait, statement_timeout, connect_timeout, retries, rejects_dir, notify, max_rejects, max_shrink, on_empty, full_every.",
        ),
        ("jobs = 1", "f.toml:1:1: unknown key jobs at the top level", "jobs is a key of [run]."),
        ("[tables]\n", "f.toml:1:2: unknown key tables at the top level", "Did you mean table?"),
        (
            "[x]\n",
            "f.toml:1:2: unknown key x at the top level",
            "Known keys here: source, target, run, table.",
        ),
        (
            "[source]\nulr = 'postgres://u:hunter2@h'",
            "f.toml:2:1: unknown key ulr in [source]",
            "Did you mean url?",
        ),
        ("[[table]]\nnmae = 't'", "f.toml:2:1: unknown key nmae in [[table]]", "Did you mean name?"),
    ]);
    check_table(&[
        (
            "lock_wait = '1s'",
            "f.toml:3:1: unknown key lock_wait in [[table]]",
            "lock_wait is a key of [run].",
        ),
        (
            "[table.csv]\ndelimiter = ';'",
            "f.toml:3:1: missing key files in [table.csv]",
            "Add a line such as: files = \"seed/*.csv\"",
        ),
        (
            "[table.csv]\nfiles = 'a'\ndelimitr = ';'",
            "f.toml:5:1: unknown key delimitr in [table.csv]",
            "Did you mean delimiter?",
        ),
        (
            "[table.columns]\nSkip = []",
            "f.toml:4:1: unknown key Skip in [table.columns]",
            "Did you mean skip?",
        ),
        (
            "[[table.lookup]]\nmissing = 'null'",
            "f.toml:4:1: unknown key missing in [[table.lookup]]",
            "Did you mean on_missing?",
        ),
        (
            "[[table.reference]]\n  null_value = []",
            "f.toml:4:3: unknown key null_value in [[table.reference]]",
            "Did you mean null_values?",
        ),
    ]);
}

#[test]
fn sections_of_the_wrong_shape() {
    check(&[
        ("run = 1", "f.toml:1:7: run: expected a table, found an integer", "Write it as a section [run]."),
        (
            "source = 'postgres://u:hunter2@h'",
            "f.toml:1:10: source: expected a table, found a string",
            "Write it as a section [source].",
        ),
        (
            "[table]\nname = 't'",
            "f.toml:1:1: table: expected an array of tables, [[table]], found a table",
            "Write each one as a separate section [[table]].",
        ),
        (
            "[run]\n",
            "f.toml: no [[table]]: nothing to load",
            "Add a [[table]] section with name = \"schema.table\" for each table.",
        ),
        (
            "table = []",
            "f.toml: no [[table]]: nothing to load",
            "Add a [[table]] section with name = \"schema.table\" for each table.",
        ),
        (
            "[[table]]\n",
            "f.toml:1:1: missing key name in [[table]]",
            "Add a line such as: name = \"public.orders\"",
        ),
    ]);
    check_table(&[
        (
            "[table.lookup]\ncolumn = 'a'",
            "f.toml:3:1: lookup: expected an array of tables, [[table.lookup]], found a table",
            "Write each one as a separate section [[table.lookup]].",
        ),
        (
            "columns = ['a']",
            "f.toml:3:11: columns: expected a table, found an array",
            "Write it as a section [table.columns].",
        ),
        (
            "[[table.lookup]]\ncolumn = 'a'",
            "f.toml:3:1: missing key from in [[table.lookup]]",
            "Add a line such as: from = \"public.jobs\"",
        ),
        (
            "[[table.reference]]\ncolumns = ['a']",
            "f.toml:3:1: missing key to in [[table.reference]]",
            "Add a line such as: to = \"public.clients(client_id)\"",
        ),
    ]);
}

#[test]
fn values_of_run() {
    check(&[
        (
            "[run]\njobs = 'many'",
            "f.toml:2:8: jobs: expected a whole number from 0 to 256, found a string",
            "",
        ),
        ("[run]\njobs = 257", "f.toml:2:8: jobs: expected a whole number from 0 to 256, found 257", ""),
        ("[run]\njobs = -1", "f.toml:2:8: jobs: expected a whole number from 0 to 256, found -1", ""),
        (
            "[run]\nretries = 1.5",
            "f.toml:2:11: retries: expected a whole number from 0 to 100, found a float",
            "",
        ),
        (
            "[run]\nmemory = '1MiB'",
            "f.toml:2:10: memory: expected a size from 4.0 MiB to 1.0 TiB, such as \"256MiB\", found \"1MiB\"",
            "",
        ),
        (
            "[run]\nmemory = 'much'",
            "f.toml:2:10: memory: expected a size from 4.0 MiB to 1.0 TiB, such as \"256MiB\", found \"much\"",
            "",
        ),
        (
            "[run]\nchunk = true",
            "f.toml:2:9: chunk: expected a size from 8.0 KiB to 1.0 TiB, such as \"256MiB\", found a boolean",
            "",
        ),
        (
            "[run]\nchunk = '9999999TiB'",
            "f.toml:2:9: chunk: expected a size from 8.0 KiB to 1.0 TiB, such as \"256MiB\", found \"9999999TiB\"",
            "",
        ),
        (
            "[run]\nformat = 'Binary'",
            "f.toml:2:10: format: expected one of auto, binary, text, found \"Binary\"",
            "Did you mean binary?",
        ),
        (
            "[run]\nformat = 'csv'",
            "f.toml:2:10: format: expected one of auto, binary, text, found \"csv\"",
            "",
        ),
        (
            "[run]\nstaging_schema = 'public'",
            "f.toml:2:18: staging_schema: expected a dedicated schema, found \"public\"",
            "Remove the key to use the schema bulkload.",
        ),
        ("[run]\nstaging_schema = 'a.b'", "f.toml:2:18: staging_schema: \"a.b\" is not a single name", ""),
        (
            "[run]\ncommit = 'groups'",
            "f.toml:2:10: commit: expected one of group, run, found \"groups\"",
            "Did you mean group?",
        ),
        (
            "[run]\nlock_timeout = 500",
            "f.toml:2:16: lock_timeout: expected a duration from 1ms to 24days, such as \"500ms\", found 500",
            "Write a unit, such as \"500ms\" or \"500s\".",
        ),
        (
            "[run]\nlock_timeout = '0'",
            "f.toml:2:16: lock_timeout: expected a duration from 1ms to 24days, such as \"500ms\", found \"0\"",
            "",
        ),
        (
            "[run]\nlock_timeout = '500'",
            "f.toml:2:16: lock_timeout: expected a duration from 1ms to 24days, such as \"500ms\", found \"500\"",
            "Write a unit, such as \"500ms\" or \"500s\".",
        ),
        (
            "[run]\nlock_timeout = '5 parsecs'",
            "f.toml:2:16: lock_timeout: expected a duration from 1ms to 24days, such as \"500ms\", found \"5 parsecs\"",
            "",
        ),
        (
            "[run]\nlock_wait = false",
            "f.toml:2:13: lock_wait: expected a duration such as \"500ms\", \"10m\" or \"7d\", found a boolean",
            "",
        ),
        (
            "[run]\nstatement_timeout = '25d'",
            "f.toml:2:21: statement_timeout: expected a duration up to 24days, such as \"500ms\" or \"10m\", found \"25d\"",
            "",
        ),
        (
            "[run]\nconnect_timeout = '2h'",
            "f.toml:2:19: connect_timeout: expected a duration from 1ms to 1h, such as \"500ms\", found \"2h\"",
            "",
        ),
        ("[run]\nrejects_dir = ''", "f.toml:2:15: rejects_dir: expected a non-empty string, found \"\"", ""),
        (
            "[run]\nrejects_dir = '${EMPTY}'",
            "f.toml:2:15: rejects_dir: empty after its variables are expanded",
            "",
        ),
        ("[run]\nnotify = 'pgrst'", "f.toml:2:10: notify: expected an array of strings, found a string", ""),
        (
            "[run]\nnotify = ['a', 5]",
            "f.toml:2:16: an item of notify: expected \"channel\" or \"channel=payload\", found an integer",
            "",
        ),
        (
            "[run]\nnotify = ['a b=c']",
            "f.toml:2:11: an item of notify: expected \"channel\" or \"channel=payload\", found \"a b=c\"",
            "",
        ),
        (
            "[run]\nmax_rejects = '101%'",
            "f.toml:2:15: max_rejects: expected a number of rows or a percentage from \"0%\" to \"100%\", found \"101%\"",
            "",
        ),
        (
            "[run]\nmax_rejects = 5.0",
            "f.toml:2:15: max_rejects: expected a number of rows or a percentage from \"0%\" to \"100%\", found a float",
            "",
        ),
        (
            "[run]\nmax_rejects = -1",
            "f.toml:2:15: max_rejects: expected a number of rows or a percentage from \"0%\" to \"100%\", found -1",
            "",
        ),
        (
            "[run]\nmax_shrink = 'NaN%'",
            "f.toml:2:14: max_shrink: expected a number of rows or a percentage from \"0%\" to \"100%\", found \"NaN%\"",
            "",
        ),
        (
            "[run]\non_empty = 'ignore'",
            "f.toml:2:12: on_empty: expected one of skip, apply, fail, found \"ignore\"",
            "",
        ),
        (
            "[run]\nfull_every = 2026-01-01",
            "f.toml:2:14: full_every: expected a duration such as \"500ms\", \"10m\" or \"7d\", found a date or time",
            "",
        ),
    ]);
}

#[test]
fn variables() {
    check(&[
        (
            "[source]\nurl = 'postgres://u:${PW}@h'",
            "f.toml:2:21: the environment variable PW is not set",
            "Set PW, or write the value in the file.",
        ),
        ("[source]\nurl = '${EMPTY}'", "f.toml:2:7: url: empty after its variables are expanded", ""),
    ]);
    check_table(&[
        (
            "where = '''\na = 1\nand b = '${MISSING}''''",
            "f.toml:5:10: the environment variable MISSING is not set",
            "Set MISSING, or write the value in the file.",
        ),
        (
            "where = '${MISSING:-x}'",
            "f.toml:3:9: expected the name of an environment variable in ${…}",
            "Write ${NAME}, or $${ to write a literal ${.",
        ),
        (
            "key = ['a', '${MISSING}']",
            "f.toml:3:14: the environment variable MISSING is not set",
            "Set MISSING, or write the value in the file.",
        ),
        (
            "columns.set.a = '${MISSING}'",
            "f.toml:3:18: the environment variable MISSING is not set",
            "Set MISSING, or write the value in the file.",
        ),
    ]);
}

#[test]
fn a_side_without_a_url() {
    let none = |_: &str| None;
    let parse = |text: &str| Config::parse(text, "f.toml", &none).unwrap_err();
    let error = parse(T);
    assert_eq!(
        error.to_string(),
        "f.toml: no source: neither url in [source] nor SOURCE_DATABASE_URL is set"
    );
    assert_eq!(
        error.advice(),
        Some("Set SOURCE_DATABASE_URL=postgresql://user@host/database, or add url to [source].")
    );
    let error = parse(&format!("source.url = 'x'\n{T}\n[target]"));
    assert_eq!(
        error.to_string(),
        "f.toml:5:1: no target: neither url in [target] nor TARGET_DATABASE_URL is set"
    );
    let empty = |_: &str| Some(String::new());
    let error = Config::parse(T, "f.toml", &empty).unwrap_err();
    assert!(error.to_string().starts_with("f.toml: no source"), "an empty variable counts as none: {error}");
}

#[test]
fn no_complaint_shows_what_a_variable_or_a_misplaced_url_holds() {
    for text in [
        "[source]\nurl = postgres://u:hunter2@h",
        "[source]\nulr = 'postgres://u:hunter2@h'",
        "source = 'postgres://u:hunter2@h'",
        "url = 'postgres://u:hunter2@h'",
        "[[table]]\nname = '${SECRET} x'",
        "[run]\nlock_timeout = '${SECRET}'",
        "[run]\nnotify = ['${SECRET} x']",
        "[[table]]\nname = 't'\nwatermark = '${SECRET}'",
        "[[table]]\nname = 't'\nstrategy = '${SECRET}'",
        "[[table]]\nname = 't'\ncolumns.set = { a = { '${SECRET}' = 'hunter2' } }",
    ] {
        let error = error(text);
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
    assert!(parse("[[table]]\nname = '${SECRET}'").is_ok() && env("SECRET").is_some());
}
