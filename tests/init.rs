//! `bulkload init` proposes a config that holds as it is.

use bulkload::cli::demo::world;

use crate::support::{Bulkload, Pair, pair};

fn written(program: &Bulkload) -> String {
    std::fs::read_to_string(program.dir().join("bulkload.toml")).unwrap()
}

fn demo() -> Pair {
    let pair = pair();
    pair.source.run(&world::source_sql(world::ROWS_MIN).unwrap());
    pair.target.run(&world::target_sql(world::ROWS_MIN).unwrap());
    pair
}

#[test]
fn the_config_for_the_demos_databases_plans_and_syncs_as_it_is() {
    let pair = demo();
    let program = Bulkload::on(&pair);
    let outcome = program.run(&["init"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert!(outcome.stdout.starts_with("bulkload.toml: 15 tables, 3 on one side only\n"), "{outcome}");
    assert!(outcome.stdout.ends_with("  bulkload plan\n"), "{outcome}");
    let config = written(&program);
    for line in [
        "url = \"${SOURCE_DATABASE_URL}\"",
        "name = \"public.jobtasks\"",
        "scope = \"source = 'D'\"   # rows loaded by the sync get this value; other rows are left alone (seen: 'D', 'M')",
        "skip = [\"jt_dt\", \"jt_uid\"]   # the target lacks them",
        "# watermark = [\"created_at\", \"updated_at\"]",
        "null_values = [\"0\"]   # the source writes 0 for no reference",
        "# job_id must exist in public.jobshead(job_id); other rows are rejected",
        "#   public.sitenotes",
    ] {
        assert!(config.contains(line), "{line}\n{config}");
    }
    assert!(config.contains("; key jt_id; apply \"delta\" (auto: "), "{config}");

    let own = "select count(*) from jobtasks where source = 'M'";
    let before = pair.target.value(own);
    assert_ne!(before, "0");
    let outcome = program.run(&["plan"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let outcome = program.run(&["sync"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(pair.target.value(own), before);
}

/// Tables of both sides with a column that tells whose a row is; what it holds in the source and on the target.
fn owned(rows: &[(&str, &str, &str)]) -> Pair {
    let pair = pair();
    for (table, of_source, of_target) in rows {
        for (db, from, owners) in [(&pair.source, 1, of_source), (&pair.target, 101, of_target)] {
            db.run(&format!("create table {table} (id int primary key, source text)"));
            for owner in owners.split_whitespace() {
                let owner = if owner == "NULL" { owner.to_owned() } else { format!("'{owner}'") };
                db.run(&format!(
                    "insert into {table} select coalesce(max(id) + 1, {from}), {owner} from {table}"
                ));
            }
        }
    }
    pair
}

#[test]
fn rows_of_others_survive_the_first_sync_of_the_config_as_it_is() {
    let pair = owned(&[
        ("told", "D D NULL", "D M M"),
        // Nothing in the source tells, and some of the app's rows came back already.
        ("untold", "", "M"),
        ("came_back", "D D M", "M M D"),
        ("alone", "D D", "D"),
    ]);
    pair.source
        .run("create table keyless (id int, source text); insert into keyless values (1, 'D'), (2, 'M')");
    pair.target.run(
        "create table keyless (id int, source text); insert into keyless select 9, 'M' from generate_series(1, 3)",
    );
    pair.source.run("create table lacking (id int primary key); insert into lacking values (1), (2)");
    pair.target.run(
        "create table lacking (id int primary key, source text); insert into lacking values (7, 'M');
         create table by_app (id int primary key, source text default 'M');
         insert into by_app values (7, 'M'), (8, 'D'), (9, 'D')",
    );
    pair.source.run("create table by_app (id int primary key); insert into by_app values (1), (2)");
    let program = Bulkload::on(&pair);
    let outcome = program.run(&["init"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let config = written(&program);
    for line in [
        "scope = \"source = 'D' OR source IS NULL\"   # the values of the source's rows; other rows are left alone (seen: 'D', 'M')",
        "scope = \"source IS NULL\"   # rows loaded by the sync get this value; other rows are left alone (seen: 'M')",
        "strategy = \"upsert\"   # nothing is deleted because more target rows than source rows have 'M' in source",
        "# public.keyless is left out: the owner of its rows is unknown, so nothing may be deleted; ",
    ] {
        assert!(config.contains(line), "{line}\n{config}");
    }
    assert_eq!(config.matches("strategy = \"upsert\"   #").count(), 3, "{config}");
    for table in ["by_app", "came_back", "untold"] {
        let said = format!("strategy = \"upsert\" for public.{table}: ");
        assert!(outcome.stdout.contains(&said), "{said} {outcome}");
    }
    assert!(outcome.stdout.contains("left out public.keyless: the owner of its rows"), "{outcome}");
    assert_eq!(program.run(&["plan"]).code, Some(0));
    let foreign = "select count(*) from (select source from told union all select source from untold union all
        select source from came_back union all select source from lacking union all select source from by_app) s
        where source = 'M'";
    assert_eq!(pair.target.value(foreign), "7");
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(0), "{outcome}");
    // What the source brought: one of came_back, and two of by_app by the default.
    assert_eq!(pair.target.value(foreign), "10");
    assert_eq!(pair.target.value("select string_agg(id::text, ' ' order by id) from told"), "1 2 3 102 103");
    assert_eq!(pair.target.count("alone"), 2);
}

#[test]
fn a_config_that_exists_is_written_over_only_by_force() {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run("create table t (id int primary key)");
    }
    let program = Bulkload::on(&pair);
    std::fs::write(program.dir().join("bulkload.toml"), "mine").unwrap();
    let outcome = program.run(&["init"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(
        outcome.stderr.contains("bulkload.toml already exists") && outcome.stderr.contains("--force"),
        "{outcome}"
    );
    assert_eq!(written(&program), "mine");
    assert_eq!(program.run(&["init", "--force"]).code, Some(0));
    assert!(written(&program).contains("name = \"public.t\""));
}

#[test]
fn what_cannot_be_synced_is_a_comment_with_the_reason_and_no_password_is_written() {
    let pair = pair();
    pair.source.run(
        "create table good (id int primary key, \"Odd ${Name}\" int);
         create table bad (id int primary key); create table there (id int);
         create table \"x\nmax_shrink = '100%'\n#\" (id int)",
    );
    pair.target.run(
        "create table good (id int primary key, extra text);
         create table bad (id int primary key, must text not null); create table here (id int)",
    );
    let program = Bulkload::on(&pair)
        .env("SOURCE_DATABASE_URL", "postgresql://nobody:secret@127.0.0.1:1/none")
        .env("TARGET_DATABASE_URL", "postgresql://nobody:secret@127.0.0.1:1/none");
    let outcome = program.run(&["init", "--source", pair.source.url(), "--target", pair.target.url()]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert!(outcome.stdout.contains("left out public.bad: nothing fills column must"), "{outcome}");
    assert!(outcome.stdout.contains("set SOURCE_DATABASE_URL and TARGET_DATABASE_URL"), "{outcome}");
    let config = written(&program);
    assert!(!config.contains("secret") && !config.contains("127.0.0.1"), "{config}");
    assert!(config.contains("# public.bad is left out: ") && config.contains("must"), "{config}");
    assert!(config.contains("#   public.there") && config.contains("#   public.here"), "{config}");
    assert!(config.contains("skip = [\"Odd $${Name}\"]"), "{config}");
    assert!(
        !config.lines().any(|line| line.starts_with("max_shrink")),
        "a name is not the config's: {config}"
    );
    let outcome = Bulkload::on(&pair).config(&config).run(&["plan"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
}

#[test]
fn databases_without_a_table_in_common_are_an_error() {
    let pair = pair();
    pair.source.run("create table a (id int)");
    let program = Bulkload::on(&pair);
    let outcome = program.run(&["init"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.contains("no table in common in schema public"), "{outcome}");
    assert!(!program.dir().join("bulkload.toml").exists());
    let outcome = program.run(&["init", "--target", "postgresql://127.0.0.1:1/none"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    let message = "error: --target: the target: cannot connect to 127.0.0.1:1/none: connection refused\n";
    assert!(outcome.stderr.contains(message), "{outcome}");
}

#[test]
fn databases_of_which_no_table_can_be_synced_are_an_error_that_names_no_file() {
    let pair = pair();
    pair.source.run("create table bad (id int primary key)");
    pair.target.run("create table bad (id int primary key, must text not null)");
    let program = Bulkload::on(&pair);
    let outcome = program.run(&["-q", "init"]);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    assert!(outcome.stderr.starts_with("error: public.bad: nothing fills column must"), "{outcome}");
    assert!(!program.dir().join("bulkload.toml").exists());
}

/// Whether the app's rows survive: it inserts some without saying whose they are, once before and once after the first sync.
#[track_caller]
fn assert_rows_of_the_app_survive(column: &str, types: &str, expected: &str) {
    let pair = pair();
    pair.source.run(
        "create table notes (id bigint primary key, v text); insert into notes values (1, 'a'), (2, 'b')",
    );
    pair.target.run(types);
    pair.target.run(&format!(
        "create table notes (id bigint generated by default as identity primary key, v text, {column})"
    ));
    let program = Bulkload::on(&pair);
    let outcome = program.run(&["init"]);
    assert_eq!(outcome.code, Some(0), "{column} {outcome}");
    let config = written(&program);
    assert!(config.contains(expected), "{expected}\n{config}");
    for _ in 0..3 {
        let outcome = program.sync();
        assert_eq!(outcome.code, Some(0), "{column} {outcome}\n{config}");
        pair.target.run("insert into notes (v) values ('app')");
        pair.source.run("update notes set v = v || '+' where id = 2");
    }
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(0), "{column} {outcome}");
    assert_eq!(pair.target.count("notes where v = 'app'"), 3, "{column}\n{config}");
    assert_eq!(pair.target.value("select v from notes where id = 2"), "b+++", "{column}\n{config}");
    // What the source deletes goes, where the config lets it.
    pair.source.run("delete from notes where id = 1");
    assert_eq!(program.sync().code, Some(0));
    let is_left = expected.contains("upsert");
    assert_eq!(pair.target.count("notes where id = 1"), u64::from(is_left), "{column}\n{config}");
    assert_eq!(pair.target.count("notes where v = 'app'"), 3, "{column}\n{config}");
}

#[test]
fn on_an_empty_target_no_row_that_the_app_will_write_is_deleted() {
    let own = "set = { source = \"D\" }   # marks this sync's rows";
    let none = "strategy = \"upsert\"   # nothing is deleted because rows that others insert get ";
    for (column, types, expected) in [
        ("source text not null default 'M'", "", own),
        ("source text default 'M'", "", own),
        // NULL is a default, too.
        ("source text", "", own),
        ("source varchar(1) not null default 'M'", "", own),
        // What the target allows decides.
        ("source text not null default 'M' check (source in ('M', 'X'))", "", "set = { source = \"X\" }"),
        ("source text not null default 'M' check (length(source) = 1)", "", own),
        ("source text not null default 'M' check (source in ('M', 'X', 'Y'))", "", none),
        ("source text not null default 'M' check (source = 'M')", "", none),
        ("source text not null default 'M', device int, check (source <> 'D' or device > 0)", "", none),
        (
            "source whose not null default 'app'",
            "create type whose as enum ('app', 'desk')",
            "set = { source = \"desk\" }",
        ),
        ("source whose not null default 'M'", "create domain whose as text check (value in ('M', 'D'))", own),
        (
            "source text not null default 'M' references whose",
            "create table whose (w text primary key); insert into whose values ('M'), ('D')",
            none,
        ),
        // An expression is a default as well.
        ("source text not null default upper('d')", "", "set = { source = \"S\" }"),
        ("source text not null default lower('M')", "", own),
    ] {
        assert_rows_of_the_app_survive(column, types, expected);
    }
}

#[test]
fn a_column_that_must_be_named_gets_a_value_of_the_syncs_own() {
    let pair = pair();
    pair.source.run("create table t (id int primary key); insert into t values (1), (2)");
    pair.target
        .run("create table t (id int primary key, source text not null); insert into t values (7, 'M')");
    let program = Bulkload::on(&pair);
    assert_eq!(program.run(&["init"]).code, Some(0));
    assert!(written(&program).contains("scope = \"source = 'D'\"   # set below; "), "{}", written(&program));
    assert_eq!(program.sync().code, Some(0));
    assert_eq!(pair.target.value("select string_agg(id || source, ' ' order by id) from t"), "1D 2D 7M");
}

#[test]
fn where_the_source_says_whose_its_rows_are_the_target_is_scoped_before_the_app_has_written() {
    for (default, expected) in [
        ("", "scope = \"source = 'D'\"   # the values of the source's rows"),
        (" default 'M'", "scope = \"source = 'D'\"   # the values of the source's rows"),
        (
            " default 'D'",
            "strategy = \"upsert\"   # nothing is deleted because rows that others insert get 'D' in source by default",
        ),
        (
            " default current_user",
            "strategy = \"upsert\"   # nothing is deleted because the target computes source",
        ),
    ] {
        let pair = pair();
        pair.source
            .run("create table t (id int primary key, source text); insert into t values (1, 'D'), (2, 'D')");
        pair.target.run(&format!("create table t (id int primary key, source text{default})"));
        let program = Bulkload::on(&pair);
        assert_eq!(program.run(&["init"]).code, Some(0));
        let config = written(&program);
        assert!(config.contains(expected), "{expected}\n{config}");
        assert_eq!(program.sync().code, Some(0));
        pair.target.run("insert into t (id) values (7)");
        assert_eq!(program.sync().code, Some(0));
        assert_eq!(pair.target.count("t where id = 7"), 1, "{config}");
    }
}
