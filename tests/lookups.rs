//! Columns that are filled from other tables, as these will be after the run; PostgreSQL itself is the oracle.

use std::fs;

use crate::support::contents::{assert_same_columns, columns};
use crate::support::{Bulkload, Db, Outcome, Pair, pair};

fn sync(pair: &Pair, config: &str) -> (Bulkload, Outcome) {
    let program = Bulkload::on(pair).config(config);
    let outcome = program.sync();
    (program, outcome)
}

#[track_caller]
fn synced(pair: &Pair, config: &str) -> (Bulkload, Outcome) {
    let (program, outcome) = sync(pair, config);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    (program, outcome)
}

fn table(name: &str, more: &str) -> String {
    format!("[[table]]\nname = \"{name}\"\nmax_rejects = \"100%\"\n{more}\n")
}

fn lookup(column: &str, from: &str, on: &str, value: &str, more: &str) -> String {
    format!(
        "[[table.lookup]]\ncolumn = \"{column}\"\nfrom = \"{from}\"\nmatch = {{ {on} }}\nvalue = \"{value}\"\n{more}\n"
    )
}

/// `1:a 2:`, one for each row, by its id.
fn rows(db: &Db, table: &str, value: &str) -> String {
    db.value(&format!(
        "select coalesce(string_agg(concat(id, ':', {value}), ' ' order by id), '') from {table}"
    ))
}

fn warnings(outcome: &Outcome, table: &str) -> Vec<String> {
    let warnings = outcome.table(table)["warnings"].as_array().unwrap().clone();
    warnings.iter().map(|warning| warning.as_str().unwrap().to_owned()).collect()
}

fn figures(outcome: &Outcome, table: &str) -> [u64; 4] {
    let table = outcome.table(table);
    ["extracted", "rejected", "staged", "inserted"].map(|figure| table[figure].as_u64().unwrap())
}

/// Jobs with a client each, tasks that know only their job; on the target something else.
fn jobs_and_tasks() -> Pair {
    let pair = pair();
    pair.source.run(
        "create table jobs (id int, client text);
         create table tasks (id int, \"The Job\" int);
         insert into jobs values (1, 'ann'), (2, 'bob'), (3, null);
         insert into tasks values (10, 1), (11, 2), (12, 2), (13, 3), (14, 4), (15, null);",
    );
    pair.target.run(
        "create table jobs (id int primary key, client text);
         create table tasks (id int primary key, client text);
         insert into jobs values (1, 'old'), (4, 'gone after this run');",
    );
    pair
}

/// With this, nothing has to be judged in staging.
const UNIQUE: &str = "alter table jobs add primary key (id); alter table tasks add primary key (id)";

fn client(more: &str) -> String {
    let skip = "[table.columns]\nskip = [\"The Job\"]\n";
    table("tasks", skip) + &lookup("client", "jobs", "'\"The Job\"' = 'id'", "client", more)
}

#[test]
fn a_column_is_filled_from_what_the_other_table_will_hold() {
    for (run, key) in [
        ("format = 'binary'\njobs = 1", ""),
        ("format = 'text'\njobs = 4", ""),
        ("format = 'binary'\njobs = 4", UNIQUE),
        ("format = 'text'\njobs = 1", UNIQUE),
    ] {
        let pair = jobs_and_tasks();
        pair.source.run(key);
        // The order of the entries does not matter.
        let config = format!("[run]\n{run}\n{}{}", client(""), table("jobs", ""));
        let (_, outcome) = synced(&pair, &config);
        assert_eq!(rows(&pair.target, "tasks", "client"), "10:ann 11:bob 12:bob 13: 14: 15:");
        assert_eq!(
            warnings(&outcome, "public.tasks"),
            ["lookup of client in public.jobs: 2 rows without a match, loaded with NULL"]
        );
        assert_eq!(figures(&outcome, "public.tasks"), [6, 0, 6, 6]);
        assert_eq!(outcome.table("public.tasks")["rejects_file"], serde_json::Value::Null);
    }
}

#[test]
fn a_column_that_is_loaded_and_matched_travels_once_unless_it_may_become_null() {
    for key in ["", UNIQUE] {
        let pair = jobs_and_tasks();
        pair.source.run(key);
        pair.source.run("alter table tasks rename \"The Job\" to job");
        pair.target.run("alter table tasks add job int");
        let config = |reference: &str| {
            "[run]\nformat = 'binary'\njobs = 1\n".to_owned()
                + &table("tasks", reference)
                + &lookup("client", "jobs", "job = 'id'", "client", "")
                + &table("jobs", "")
        };
        // Header and trailer, six rows of two values of which one is NULL.
        let bytes = 19 + 2 + 6 * (2 + 2 * 8) - 4;
        let (_, outcome) = synced(&pair, &config(""));
        assert_eq!(rows(&pair.target, "tasks", "client"), "10:ann 11:bob 12:bob 13: 14: 15:");
        assert_eq!(rows(&pair.target, "tasks", "job"), "10:1 11:2 12:2 13:3 14:4 15:");
        assert_eq!(outcome.table("public.tasks")["bytes_in"], bytes, "{outcome}");
        pair.target.run("create table known (id int primary key); insert into known values (1), (3)");
        let reference = "[[table.reference]]\ncolumns = ['job']\nto = 'known(id)'\non_orphan = 'null'\n";
        let (_, outcome) = synced(&pair, &config(reference));
        assert_eq!(rows(&pair.target, "tasks", "client"), "10:ann 11:bob 12:bob 13: 14: 15:");
        assert_eq!(rows(&pair.target, "tasks", "job"), "10:1 11: 12: 13:3 14: 15:");
        assert_eq!(outcome.table("public.tasks")["bytes_in"], bytes + 6 * 8 - 4, "{outcome}");
        // What the reference has made NULL is not the same.
        for unchanged in [3, 6] {
            let (_, outcome) = synced(&pair, &config("apply = 'delta'\n"));
            assert_eq!(rows(&pair.target, "tasks", "client"), "10:ann 11:bob 12:bob 13: 14: 15:");
            assert_eq!(outcome.table("public.tasks")["unchanged"], unchanged, "{outcome}");
        }
    }
}

#[test]
fn a_lookup_matches_what_the_source_has_whatever_the_column_is_loaded_as() {
    let reference = "[[table.reference]]\ncolumns = ['k']\nto = 'p(k)'\nnull_values = ['0']\n";
    for (source, target, parent, more, loaded) in [
        ("numeric", "numeric(9,2)", "numeric", "", "1:1.01 2:0.00 3:2.50"),
        ("int", "int", "int", reference, "1:1 2: 3:2"),
        ("text", "text collate \"C\"", "text", "", "1:1.005 2:0 3:2.5"),
        ("text", "varchar", "text", "", "1:1.005 2:0 3:2.5"),
    ] {
        for key in ["", "alter table c add primary key (id); alter table p add primary key (k)"] {
            let pair = pair();
            let [one, two] = if source == "int" { ["1", "2"] } else { ["1.005", "2.5"] };
            let parents = format!(
                "create table p (k {parent}, v text); insert into p values ('{one}', 'one'), ('0', 'none'), ('{two}', 'two')"
            );
            pair.source.run(&format!(
                "create table c (id int, k {source}); insert into c values (1, '{one}'), (2, '0'), (3, '{two}'); {parents}; {key}"
            ));
            pair.target.run(&format!(
                "create table c (id int primary key, k {target}, v text); {parents}; alter table p add primary key (k)"
            ));
            let config = table("c", more) + &lookup("v", "p", "k = 'k'", "v", "") + &table("p", "");
            synced(&pair, &config);
            assert_eq!(rows(&pair.target, "c", "v"), "1:one 2:none 3:two", "{source}, {target}, {key}");
            assert_eq!(rows(&pair.target, "c", "k"), loaded, "{source}, {target}, {key}");
        }
    }
}

#[test]
fn a_row_without_a_match_is_rejected_where_that_is_asked_for() {
    for (run, key) in [
        ("format = 'binary'\njobs = 1", ""),
        ("format = 'text'\njobs = 4", ""),
        ("format = 'binary'\njobs = 4", UNIQUE),
        ("format = 'text'\njobs = 1", UNIQUE),
    ] {
        let pair = jobs_and_tasks();
        pair.source.run(key);
        // What refers to a rejected row goes with it.
        pair.source.run("create table notes (id int, task int); insert into notes values (1, 10), (2, 14)");
        pair.target.run("create table notes (id int primary key, task int references tasks)");
        let config = format!(
            "[run]\n{run}\n{}{}{}",
            table("notes", ""),
            table("jobs", ""),
            client("on_missing = 'reject'")
        );
        let (program, outcome) = synced(&pair, &config);
        assert_eq!(rows(&pair.target, "tasks", "client"), "10:ann 11:bob 12:bob 13:");
        assert_eq!(rows(&pair.target, "notes", "task"), "1:10");
        assert_eq!(figures(&outcome, "public.tasks"), [6, 2, 4, 4]);
        let file = program.dir().join(outcome.table("public.tasks")["rejects_file"].as_str().unwrap());
        let text = fs::read_to_string(file).unwrap();
        // Rows are numbered where they are rejected while they stream by.
        let text = text.replace(",5,14,", ",,14,").replace(",6,15,", ",,15,");
        let mut lines: Vec<&str> = text.lines().collect();
        lines[1..].sort_unstable();
        assert_eq!(
            lines,
            [
                "reason,constraint,row,id,The Job",
                "The Job=4 has no match in public.jobs,,,14,4",
                "The Job=NULL has no match in public.jobs,,,15,",
            ]
        );
        assert!(outcome.stdout.contains("The Job=4 has no match in"), "{outcome}");
        assert_eq!(warnings(&outcome, "public.tasks"), [""; 0]);
    }
}

#[test]
fn a_table_that_nobody_fills_counts_as_it_is() {
    let pair = jobs_and_tasks();
    let (_, outcome) = synced(&pair, &client(""));
    assert_eq!(rows(&pair.target, "tasks", "client"), "10:old 11: 12: 13: 14:gone after this run 15:");
    assert_eq!(figures(&outcome, "public.tasks"), [6, 0, 6, 6]);
    // So does one that the run leaves as it is, because its source is empty.
    pair.source.run("truncate jobs");
    let (_, outcome) = synced(&pair, &(client("") + &table("jobs", "")));
    assert_eq!(rows(&pair.target, "tasks", "client"), "10:old 11: 12: 13: 14:gone after this run 15:");
    assert_eq!(outcome.table("public.jobs")["inserted"], 0);
}

#[test]
fn the_smallest_of_several_values_is_taken_and_keys_that_were_used_are_counted() {
    let pair = pair();
    pair.source.run(
        "create table many (k int, n numeric, t text, u uuid, j json, e int[]);
         create table t (id int, k int);
         insert into many values
             (1, 10, 'b', 'ffffffff-0000-0000-0000-000000000000', '{\"b\":1}', '{10}'),
             (1, 9, 'B', '0fffffff-0000-0000-0000-000000000000', '{\"a\":1}', '{9,9}'),
             (2, 5, 'x', null, null, null), (2, 5, 'x', null, null, null),
             (3, null, null, null, '1', null), (3, 7, 'y', null, '1', null),
             (4, 1, 'unused', null, null, null), (4, 2, 'unused too', null, null, null), (null, 0, '', null, null, null);
         insert into t values (1, 1), (2, 2), (3, 3), (5, 5), (6, null), (7, 1);",
    );
    pair.target.run(
        "create table many (k int, n numeric, t text, u uuid, j json, e int[]);
         create table t (id int primary key, n numeric, t text, u uuid, j json, e int[]);",
    );
    let of = |column: &str| lookup(column, "many", "k = 'k'", column, "");
    let config =
        table("many", "") + &table("t", "columns.skip = ['k']") + &["n", "t", "u", "j", "e"].map(of).concat();
    let (_, outcome) = synced(&pair, &config);
    assert_eq!(rows(&pair.target, "t", "n"), "1:9 2:5 3:7 5: 6: 7:9");
    assert_eq!(rows(&pair.target, "t", "t"), "1:B 2:x 3:y 5: 6: 7:B");
    assert_eq!(rows(&pair.target, "t", "left(u::text, 2)"), "1:0f 2: 3: 5: 6: 7:0f");
    assert_eq!(rows(&pair.target, "t", "j"), "1:{\"a\":1} 2: 3:1 5: 6: 7:{\"a\":1}");
    assert_eq!(rows(&pair.target, "t", "e"), "1:{9,9} 2: 3: 5: 6: 7:{9,9}");
    let said = warnings(&outcome, "public.t");
    for (column, keys) in [("n", "2 keys"), ("t", "2 keys"), ("u", "1 key"), ("j", "1 key"), ("e", "1 key")] {
        let words = format!(
            "lookup of {column} in public.many: {keys} with several different values, the smallest of which is used"
        );
        assert!(said.contains(&words), "{words}: {said:?}");
    }
}

#[test]
fn types_that_differ_match_as_postgresql_matches_them() {
    let pair = pair();
    pair.source.run(
        "create table t (id int, i int, v varchar(9), n numeric, c text, l text);
         insert into t values (1, 1, 'a', 1.00, 'ABC', 'STRASSE'), (2, 2, 'b ', 1.5, 'abd', 'x');",
    );
    if !pair.target.creates_loose_collation() {
        return;
    }
    pair.target.run(
        "create extension citext;
         create table p (i bigint, v text, n int, c citext, l text collate loose, value bigint);
         insert into p values (1, 'a', 1, 'abc', 'strasse', 7), (2, 'b', 2, 'abD', 'y', 8);
         create table t (id int primary key, i int, v text, n numeric(9,2), c varchar(5), l bigint);",
    );
    let of = |column: &str| lookup(column, "p", &format!("{column} = '{column}'"), "value", "");
    for format in ["auto", "text"] {
        let config = format!("[run]\nformat = '{format}'\n{}", table("t", ""))
            + &["i", "v", "n", "c", "l"].map(of).concat();
        synced(&pair, &config);
        for (column, expected) in
            [("i", "1:7 2:8"), ("v", "1:7 2:"), ("n", "1:7.00 2:"), ("c", "1:7 2:8"), ("l", "1:7 2:")]
        {
            assert_eq!(rows(&pair.target, "t", column), expected, "{column}");
        }
    }
}

#[test]
fn a_looked_up_table_is_settled_first_with_its_own_rejects_duplicates_and_self_references() {
    let pair = pair();
    pair.source.run(
        "create table c (id int, v text);
         create table b (id int, c_id int, boss int, c_v text, v text);
         create table a (id int, b_id int);
         insert into c values (1, 'one'), (1, 'two');
         insert into b values (1, 1, null, '', 'x'), (2, 7, null, '', 'y'), (3, 1, 2, '', 'z'), (4, 1, 1, '', 'q'),
             (5, 1, null, '', 'lesser'), (5, 1, null, '', 'more');
         insert into a select i, i from generate_series(1, 6) i;",
    );
    pair.target.run(
        "create table c (id int primary key, v text);
         create table b (id int primary key, c_id int references c, boss int references b, c_v text, v text);
         create table a (id int primary key, b_id int, b_v text, deep text);",
    );
    let config = table("a", "")
        + &lookup("b_v", "b", "b_id = 'id'", "v", "")
        + &lookup("deep", "b", "b_id = 'id'", "c_v", "")
        + &table("b", "")
        + &lookup("c_v", "c", "c_id = 'id'", "v", "")
        + &table("c", "");
    let (program, outcome) = synced(&pair, &config);
    assert_eq!(rows(&pair.target, "a", "b_v"), "1:x 2: 3: 4:q 5:more 6:");
    assert_eq!(rows(&pair.target, "a", "deep"), "1:two 2: 3: 4:two 5:two 6:", "through two tables");
    assert_eq!(figures(&outcome, "public.b"), [6, 3, 3, 3]);
    let plan = program.run(&["plan"]);
    assert!(plan.stdout.contains("transaction 1: applied together"), "{plan}");
    assert!(!plan.stdout.contains("transaction 2"), "{plan}");
}

#[test]
fn what_a_lookup_fills_may_be_a_reference_and_a_key() {
    let pair = jobs_and_tasks();
    pair.source.run("create table people (name text); insert into people values ('ann')");
    pair.target.run(
        "create table people (name text primary key); alter table tasks add foreign key (client) references people",
    );
    let config = |reference: &str| {
        let reference =
            format!("[[table.reference]]\ncolumns = ['client']\nto = 'people(name)'\n{reference}");
        table("people", "") + &table("jobs", "") + &client("") + &reference
    };
    let (_, outcome) = synced(&pair, &config(""));
    assert_eq!(rows(&pair.target, "tasks", "client"), "10:ann 13: 14: 15:");
    assert_eq!(figures(&outcome, "public.tasks"), [6, 2, 4, 4]);
    synced(&pair, &config("on_orphan = 'null'"));
    assert_eq!(rows(&pair.target, "tasks", "client"), "10:ann 11: 12: 13: 14: 15:");
    synced(&pair, &config("null_values = ['bob']"));
    assert_eq!(rows(&pair.target, "tasks", "client"), "10:ann 11: 12: 13: 14: 15:");

    // Others refer to a key that is made of it.
    pair.source.run(
        "create table marks (id int, task int, client text); insert into marks values (1, 10, 'ann'), (2, 11, 'ann')",
    );
    pair.target.run(
        "alter table tasks add unique (id, client);
         create table marks (id int primary key, task int, client text, foreign key (task, client) references tasks (id, client))",
    );
    synced(&pair, &(table("marks", "") + &config("")));
    assert_eq!(rows(&pair.target, "marks", "task"), "1:10");
}

#[test]
fn in_a_circle_every_value_comes_from_a_row_that_stays() {
    let pair = pair();
    // Jobs know their last task, tasks their job. Job 2 goes with its last task, and task 20 with job 2. Of job 3's two rows
    // the smaller one would be looked up, had it not gone.
    pair.source.run(
        "create table jobs (id int, nr int, last int, client int);
         create table tasks (id int, job int);
         insert into jobs values (1, 1, 10, 5), (2, 2, 99, 6), (3, 3, null, 8), (4, 3, 99, 7), (6, 6, null, 9);
         insert into tasks values (10, 1), (20, 2), (30, 3), (40, 3), (50, null), (60, 6);",
    );
    pair.target.run(
        "create table clients (id int primary key); insert into clients values (5), (6), (7), (8);
         create table jobs (id int primary key, nr int, last int, client int);
         create table tasks (id int primary key, job int references jobs, client int references clients);
         alter table jobs add foreign key (last) references tasks;",
    );
    let config = |more| {
        table("jobs", "") + &table("tasks", "") + &lookup("client", "jobs", "job = 'nr'", "client", more)
    };
    let (program, outcome) = synced(&pair, &config(""));
    assert_eq!(rows(&pair.target, "jobs", "client"), "1:5 3:8 6:9");
    assert_eq!(rows(&pair.target, "tasks", "client"), "10:5 30:8 40:8 50:");
    assert_eq!(
        warnings(&outcome, "public.tasks"),
        ["lookup of client in public.jobs: 1 row without a match, loaded with NULL"]
    );
    let plan = program.run(&["plan"]);
    assert!(plan.stdout.contains("filled on the target: the two tables form a cycle"), "{plan}");
    pair.target.run("truncate jobs, tasks");
    synced(&pair, &config("on_missing = 'reject'"));
    assert_eq!(rows(&pair.target, "tasks", "client"), "10:5 30:8 40:8");
}

#[test]
fn whatever_looks_up_a_failed_table_fails_with_it() {
    let pair = jobs_and_tasks();
    pair.source.run("insert into jobs values (1, 'ann again')");
    let config = table("jobs", "").replace("100%", "0%") + &client("") + &table("other", "");
    for db in [&pair.source, &pair.target] {
        db.run("create table other (id int primary key); insert into other values (1)");
    }
    let (_, outcome) = sync(&pair, &config);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(outcome.table("public.other")["ok"], true);
    for (table, words) in [("public.jobs", "1 of 4 rows were rejected"), ("public.tasks", "public.jobs")] {
        let error = outcome.table(table)["error"].as_str().unwrap().to_owned();
        assert!(error.contains(words), "{outcome}");
    }
    assert_eq!(pair.target.count("tasks"), 0);
    assert_eq!(rows(&pair.target, "jobs", "client"), "1:old 4:gone after this run");
}

#[test]
fn plan_tells_what_is_filled_from_where() {
    let pair = jobs_and_tasks();
    let program = Bulkload::on(&pair).config(&(client("on_missing = 'reject'") + &table("jobs", "")));
    let plan = program.run(&["plan"]);
    assert_eq!(plan.code, Some(0), "{plan}");
    assert!(
        plan.stdout.contains(
            "    lookup   client = client of public.jobs where id = \"The Job\", rejected if there is no match"
        ),
        "{plan}"
    );
    assert!(plan.stdout.contains("filled on the target: the looked-up table may have duplicates"), "{plan}");
    let (jobs, tasks) =
        (plan.stdout.find("  public.jobs\n").unwrap(), plan.stdout.find("  public.tasks\n").unwrap());
    assert!(jobs < tasks, "{plan}");
    let json: serde_json::Value = serde_json::from_str(&program.run(&["plan", "--json"]).stdout).unwrap();
    assert_eq!(json["transactions"], serde_json::json!([["public.jobs", "public.tasks"]]));
    assert_eq!(
        json["tables"][0]["lookups"],
        serde_json::json!([{
            "column": "client", "from": "public.jobs", "match": { "\"The Job\"": "id" }, "value": "client",
            "on_missing": "reject",
            "judged": "on the target: the looked-up table may have duplicates",
        }])
    );
    let alone = program.run(&["plan", "--table", "tasks"]);
    assert!(alone.stdout.contains("filled while streaming, against the keys on the target"), "{alone}");
    pair.source.run(UNIQUE);
    let plan = program.run(&["plan"]);
    assert!(plan.stdout.contains("filled while streaming, against the keys loaded in this run"), "{plan}");
}

#[test]
fn plan_does_not_wait_for_who_keeps_writers_out() {
    let pair = jobs_and_tasks();
    let program = Bulkload::on(&pair).config(&(client("") + &table("jobs", "")));
    let session = pair.target.session();
    session.run("begin; lock table jobs, tasks in share mode");
    let plan = program.run(&["plan"]);
    assert_eq!(plan.code, Some(0), "{plan}");
    assert!(plan.stdout.contains("    lookup   client = "), "{plan}");
    session.run("rollback");
}

/// `plan` and `sync` refuse a config with one message about a line of it, and nothing is touched.
#[track_caller]
fn refused(pair: &Pair, config: &str, line: usize, message: &str) {
    let program = Bulkload::on(pair).config(config);
    for command in ["plan", "sync"] {
        let outcome = program.run(&["-q", command]);
        assert_eq!(outcome.code, Some(2), "{outcome}");
        let lines: Vec<&str> = outcome.stderr.lines().collect();
        let place = format!("error: bulkload.toml:{}:", line + 2);
        assert!(lines[0].starts_with(&place) && lines[0].contains(message), "{place} {message}\n{outcome}");
        assert!(lines[1].starts_with("  hint: ") && lines.len() == 2, "{outcome}");
        assert_eq!(rows(&pair.target, "jobs", "client"), "1:old 4:gone after this run");
    }
    let check = program.run(&["-q", "check"]);
    assert_eq!(check.code, Some(2), "{check}");
    assert!(check.stdout.contains(message), "{check}");
}

#[test]
fn lookups_that_cannot_work_are_refused() {
    let pair = jobs_and_tasks();
    pair.target.run(
        "create view seen as select * from jobs; create type mood as enum ('ok');
         alter table jobs add mood mood; alter table tasks add twice int generated always as (id * 2) stored;
         alter table tasks add day date",
    );
    let one = |lookup: String| table("tasks", "") + &lookup;
    let job = "'\"The Job\"' = 'id'";
    // Lines are counted from that of the first table: its three, an empty one, then the lookup's.
    for (config, line, message) in [
        (
            one(lookup("nothing", "jobs", job, "client", "")),
            6,
            "public.tasks on the target has no column nothing",
        ),
        (one(lookup("client", "nobody", job, "client", "")), 7, "the target has no table public.nobody"),
        (
            one(lookup("client", "seen", job, "client", "")),
            7,
            "public.seen on the target is a view, not a table",
        ),
        (
            one(lookup("client", "jobs", job, "nothing", "")),
            9,
            "public.jobs on the target has no column nothing",
        ),
        (
            one(lookup("client", "jobs", "x = 'id'", "client", "")),
            8,
            "public.tasks: the source has no column x",
        ),
        (
            one(lookup("client", "jobs", "id = 'x'", "client", "")),
            8,
            "public.jobs on the target has no column x",
        ),
        (
            one(lookup("client", "jobs", "id = 'mood'", "client", "")),
            8,
            "source column id is integer, mood of public.jobs is public.mood: these types cannot be compared",
        ),
        (
            one(lookup("client", "jobs", "id = 'client'", "client", "")),
            7,
            "public.tasks: the target refuses the lookup of client",
        ),
        (one(lookup("day", "jobs", job, "id", "")), 7, "public.tasks: the target refuses the lookup of day"),
        (one(lookup("twice", "jobs", job, "id", "")), 6, "column twice of the target is generated"),
        (
            one(lookup("client", "tasks", "id = 'id'", "client", "")),
            7,
            "a cycle among lookups: public.tasks looks itself up",
        ),
        (
            client("") + &table("jobs", "") + &lookup("client", "tasks", "id = 'id'", "client", ""),
            19,
            "a cycle among lookups: public.tasks looks up public.jobs looks up public.tasks",
        ),
        (table("jobs", "apply = 'direct'") + &client(""), 4, "other tables look it up, which needs staging"),
        (
            table("tasks", "apply = 'direct'") + &lookup("client", "jobs", job, "client", ""),
            4,
            "it has a lookup, which needs staging",
        ),
    ] {
        refused(&pair, &config, line, message);
    }
}

/// What must be in the tables below, computed by the source, each looked-up table before those that look it up.
const ORACLE: &str = "
    create table want_c as select * from c;
    create table want_b as select id, c_x, null::uuid as c_v, boss, o_k, null::text as o_v from b;
    update want_b set c_v = (select v from want_c where x = c_x order by v limit 1);
    update want_b set o_v = (select v from o where k = o_k order by v collate \"C\" limit 1);
    delete from want_b where o_k is null or not exists (select from o where k = o_k);
    do $$ begin
        loop
            delete from want_b where boss is not null and not exists (select from want_b p where p.id = want_b.boss);
            exit when not found;
        end loop;
        -- Of duplicates the greatest as text.
        delete from want_b using (
            select ctid as place, row_number() over (partition by id order by (w.*)::text collate \"C\" desc) as nth
            from want_b w) ranked
        where want_b.ctid = ranked.place and nth > 1;
    end $$;
    create table want_d as select id, p, q, v, b_id from d
        where b_id is null or exists (select from want_b where id = b_id);
    create table want_a as select id, b_id, p, q,
        (select c_v from want_b where want_b.id = b_id order by c_v limit 1) as b_cv,
        (select o_v from want_b where want_b.id = b_id order by o_v collate \"C\" limit 1)::varchar(9) as b_ov,
        (select v from want_d where want_d.p = a.p and want_d.q = a.q order by v limit 1) as d_v,
        (select v from e where e.id = a.p) as e_v, (select v from live where live.id = b_id) as live_v
        from a where exists (select from want_d where want_d.p = a.p and want_d.q = a.q)";

/// Random tables: keys of one and of two columns, NULLs, ambiguous keys, types that differ, looked-up tables in the run and
/// outside it, with rejects, duplicates and a self-reference of their own, lookups through two tables; of one table some
/// columns are filled while its rows stream by and some in staging.
#[test]
fn random_tables_are_filled_as_postgresql_fills_them() {
    for seed in 1..=4usize {
        let pair = pair();
        let int = |of: i32| format!("case when random() < 0.2 then null else (random() * {of})::int end");
        let outside = "create table o (k bigint, v text);
            insert into o select i / 3, chr(65 + (i * 7) % 60) from generate_series(0, 240) i;
            create table live (id int primary key, v text);
            insert into live select i, 'l' || i from generate_series(0, 500, 7) i";
        pair.source.run(&format!(
            "select setseed(0.{seed});
             create table c (x numeric, v uuid);
             create table b (id int, c_x int, boss int, o_k int);
             create table d (id int, p int, q text, v date, b_id int);
             create table a (id int, b_id int, p int, q varchar(20));
             create table e (id int primary key, v numeric);
             insert into e select i, i * 1.50 from generate_series(0, 20, 3) i;
             insert into c select case when random() < 0.9 then (random() * 60)::int::numeric(9,2) end,
                 case when random() < 0.8 then md5((random() * 90)::int::text)::uuid end from generate_series(1, 120);
             insert into b select (random() * 500)::int, {}, {}, {} from generate_series(1, 500);
             insert into d select i, {}, 'k\\' || {}, date '2000-01-01' + (random() * 20)::int, {} from generate_series(1, 600) i;
             insert into a select i, {}, {}, 'k\\' || {} from generate_series(1, 3000) i;
             {outside}",
            int(70), int(510), int(85), int(20), int(12), int(500), int(510), int(20), int(12)
        ));
        pair.target.run(&format!(
            "create table c (x numeric, v uuid);
             create table b (id int primary key, c_x int, c_v uuid, boss int references b, o_k int, o_v text);
             create table d (id int primary key, p bigint, q text, v date, b_id int references b);
             create table a (id int primary key, b_id bigint, p int, q text, b_cv uuid, b_ov varchar(9), d_v date, e_v numeric, live_v text);
             create table e (id int primary key, v numeric);
             {outside};
             insert into c values (1, md5('x')::uuid); insert into b values (100000), (1)"
        ));
        let (format, jobs) = (["binary", "text"][seed % 2], [1, 4][seed / 3]);
        let config = format!("[run]\nformat = '{format}'\njobs = {jobs}\nmax_shrink = '100%'\n")
            + &table("a", "")
            + &lookup("b_cv", "b", "b_id = 'id'", "c_v", "")
            + &lookup("b_ov", "b", "b_id = 'id'", "o_v", "")
            + &lookup("d_v", "d", "q = 'q', p = 'p'", "v", "on_missing = 'reject'")
            + &lookup("e_v", "e", "p = 'id'", "v", "")
            + &lookup("live_v", "live", "b_id = 'id'", "v", "")
            + &["c", "d", "e"].map(|name| table(name, "")).concat()
            + &table("b", "")
            + &lookup("c_v", "c", "c_x = 'x'", "v", "")
            + &lookup("o_v", "o", "o_k = 'k'", "v", "on_missing = 'reject'");
        let (program, outcome) = sync(&pair, &config);
        assert_eq!(outcome.code, Some(0), "seed {seed}: {outcome}");
        let plan = program.run(&["plan"]);
        assert_eq!(plan.stdout.matches("filled while streaming").count(), 2, "{plan}");
        pair.source.run(ORACLE);
        for column in ["e_v", "live_v"] {
            let count = pair.target.value(&format!("select count({column}) from a"));
            assert!(count.parse::<u64>().unwrap() > 20, "seed {seed}, column {column}: {count}");
        }
        for table in ["a", "b", "c", "d"] {
            assert!(pair.target.count(table) > 20, "seed {seed}, table {table}");
            let columns = columns(&pair.target, table);
            assert_same_columns((&pair.source, &format!("want_{table}")), (&pair.target, table), &columns);
        }
        assert!(
            warnings(&outcome, "public.b").iter().any(|w| w.contains("with several different values")),
            "{outcome}"
        );
        // Once more, when the target has rows already.
        let (_, outcome) = sync(&pair, &config);
        assert_eq!(outcome.code, Some(0), "seed {seed}: {outcome}");
        assert_eq!(pair.target.count("a"), pair.source.count("want_a"));
    }
}
