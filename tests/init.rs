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
    assert!(outcome.stdout.starts_with("bulkload.toml: 15 tables, 3 of one side only\n"), "{outcome}");
    assert!(outcome.stdout.ends_with("  bulkload plan\n"), "{outcome}");
    let config = written(&program);
    for line in [
        "url = \"${SOURCE_DATABASE_URL}\"",
        "name = \"public.jobtasks\"",
        "scope = \"source = 'D'\"   # rows that the sync brings get this value; others are left alone (seen: 'D', 'M')",
        "skip = [\"jt_dt\", \"jt_uid\"]   # the target lacks them",
        "# watermark = [\"created_at\", \"updated_at\"]",
        "null_values = [\"0\"]   # the source writes 0 where there is none",
        "# job_id must be in public.jobshead(job_id): other rows are rejected",
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
        outcome.stderr.contains("bulkload.toml exists") && outcome.stderr.contains("--force"),
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
    assert!(outcome.stdout.contains("left out public.bad: "), "{outcome}");
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
}
