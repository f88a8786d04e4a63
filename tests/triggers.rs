//! Triggers of the target: which fire, what they change, and how they are kept from it.

use crate::scope::{counts, fails, list, succeeds, sync};
use crate::support::{Bulkload, Outcome, Pair, assert_same_contents, pair};

fn table(name: &str, lines: &str) -> String {
    format!("[[table]]\nname = '{name}'\n{lines}\n")
}

fn warnings(outcome: &Outcome, table: &str) -> Vec<String> {
    let warnings = outcome.table(table)["warnings"].as_array().unwrap().clone();
    warnings.iter().map(|warning| warning.as_str().unwrap().to_owned()).collect()
}

/// The triggers of all tables and whether they fire.
fn states(pair: &Pair) -> String {
    list(
        &pair.target,
        "tgrelid::regclass, tgname, tgenabled",
        "pg_trigger left join pg_constraint k on k.oid = tgconstraint where coalesce(contype, 't') = 't'",
    )
}

const METHODS: [&str; 6] = [
    "apply = 'delta'",
    "apply = 'delete'",
    "apply = 'truncate'",
    "apply = 'direct'",
    "strategy = 'upsert'",
    "strategy = 'insert'",
];

#[test]
fn plan_and_check_name_the_triggers_that_fire() {
    let pair = pair();
    let columns = "create table t (id int primary key, v text, at timestamptz)";
    pair.source.run(&format!("{columns}; create table log (id int primary key)"));
    pair.target.run(&format!(
        "{columns}; create table log (id int primary key);
         create function stamp() returns trigger language plpgsql as 'begin new.at = now(); return new; end';
         create function note() returns trigger language plpgsql as 'begin insert into log select new.id; return null; end';
         create trigger b_stamp before update of v on t for each row when (new.v <> $$$$) execute function stamp();
         create trigger a_note after insert on t for each row execute function note();
         create trigger c_off before insert on t for each row execute function stamp();
         alter table t disable trigger c_off;
         create trigger d_empty after truncate on t execute function note()"
    ));
    let show = |command: &str, lines: &str| {
        let config = format!("{}{}", table("t", lines), table("log", "apply = 'delta'"));
        let outcome = Bulkload::on(&pair).config(&config).run(&[command]);
        assert_eq!(outcome.code, Some(0), "{outcome}");
        outcome.stdout.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let stamp =
        "trigger b_stamp (BEFORE UPDATE OF v, each row that satisfies its WHEN, calls public.stamp) fires";
    let note = "trigger a_note (AFTER INSERT, each row, calls public.note) fires";
    let empty = "d_empty (AFTER TRUNCATE, each statement, calls public.note) fires";
    let clash = "trigger a_note writes to public.log, which this run also loads; triggers = \"off\"";
    for (lines, names) in [
        ("apply = 'delta'", &[stamp, note, clash][..]),
        ("strategy = 'insert'", &[note, clash]),
        ("apply = 'truncate'", &[note, clash, empty]),
        ("apply = 'swap'", &[]),
    ] {
        let (plan, check) = (show("plan", lines), show("check", lines));
        for name in [stamp, note, clash, empty] {
            assert_eq!(plan.contains(name), names.contains(&name), "{lines}: {name}: {plan}");
            assert_eq!(check.contains(name), names.contains(&name), "{lines}: {name}: {check}");
        }
        assert!(!plan.contains("c_off"), "{plan}");
    }
    let plan = show("plan", "apply = 'delta'\ntriggers = 'off'");
    assert!(plan.contains("ALTER TABLE disables a_note, b_stamp, d_empty within the transaction"), "{plan}");
    assert!(!plan.contains("fires"), "{plan}");
}

#[test]
fn rows_that_a_trigger_changes_are_told_with_the_columns_and_the_remedy() {
    let pair = pair();
    let rows = "insert into t values (1, 'a', '2020-01-01'), (2, 'b', '2020-01-01')";
    let columns = "create table t (id int primary key, v text, updated_at date)";
    pair.source.run(&format!("{columns}; {rows}; update t set v = 'B' where id = 2"));
    pair.target.run(&format!(
        "{columns}; {rows};
         create function moddatetime() returns trigger language plpgsql as 'begin new.updated_at = $$2030-01-01$$; return new; end';
         create trigger handle_updated_at before update on t for each row execute function moddatetime()"
    ));
    for _ in 0..2 {
        let outcome = sync(&pair, &table("t", "apply = 'delta'"));
        succeeds(&outcome);
        // Row 2 is updated in every run, since the trigger keeps it from being what was sent.
        assert_eq!(counts(&outcome, "public.t"), [0, 1, 0, 1, 0]);
        let warnings = warnings(&outcome, "public.t");
        let told = "1 row was changed while being written, by a trigger (handle_updated_at), in updated_at; every run writes";
        assert!(warnings.iter().any(|warning| warning.contains(told)), "{warnings:?}");
        assert!(
            warnings.iter().any(|warning| warning.contains("skip") && warning.contains("triggers = \"off\""))
        );
    }
    let skip = "apply = 'delta'\n[table.columns]\nskip = ['updated_at']";
    let outcome = sync(&pair, &table("t", skip));
    assert_eq!(counts(&outcome, "public.t"), [0, 0, 0, 2, 0]);
    let outcome = sync(&pair, &table("t", "apply = 'delta'\ntriggers = 'off'"));
    assert_eq!(counts(&outcome, "public.t"), [0, 1, 0, 1, 0]);
    assert_eq!(warnings(&outcome, "public.t"), Vec::<String>::new());
    assert_same_contents(&pair.source, &pair.target, "public.t");
}

#[test]
fn changed_rows_are_told_whatever_writes_them() {
    for method in METHODS {
        let pair = pair();
        let columns = "create table t (id int primary key, v text, w text)";
        pair.source.run(&format!(
            "{columns}; insert into t values (1, 'a', 'x'), (2, 'B', 'x'), (3, 'c', 'x'), (9, 'z', 'x')"
        ));
        pair.target.run(&format!(
            "{columns};
             create function shout() returns trigger language plpgsql as
                 'begin new.v = upper(new.v); if new.id = 9 then new.id = 90; end if; return new; end';
             create trigger shout before insert or update on t for each row execute function shout()"
        ));
        let outcome = sync(&pair, &table("t", method));
        succeeds(&outcome);
        assert_eq!(list(&pair.target, "id, v", "t"), "1|A 2|B 3|C 90|Z", "{method}");
        let warnings = warnings(&outcome, "public.t").join("\n");
        // A load without staging has nothing to be compared with.
        let is_told = method != "apply = 'direct'";
        assert_eq!(
            warnings.contains("2 rows were changed while being written, by a trigger (shout), in v"),
            is_told,
            "{method}: {warnings}"
        );
        assert_eq!(
            warnings.contains("1 row is missing from the target under the staged key: a trigger (shout)"),
            is_told,
            "{method}: {warnings}"
        );
    }
}

#[test]
fn an_after_trigger_that_changes_its_own_rows_is_told_too() {
    let pair = pair();
    let columns = "create table t (id int primary key, v text)";
    pair.source.run(&format!("{columns}; insert into t values (1, 'a')"));
    pair.target.run(&format!(
        "{columns};
         create function again() returns trigger language plpgsql as 'begin update t set v = v || $$!$$ where id = new.id; return null; end';
         create trigger again after insert on t for each row execute function again()"
    ));
    let outcome = sync(&pair, &table("t", "apply = 'delta'"));
    succeeds(&outcome);
    let warnings = warnings(&outcome, "public.t").join("\n");
    assert!(
        warnings.contains("1 row was changed while being written, by a trigger (again), in v"),
        "{warnings}"
    );
}

#[test]
fn a_trigger_that_writes_tables_of_the_run_is_named_when_rows_collide() {
    for method in ["apply = 'delta'", "apply = 'truncate'", "apply = 'delete'"] {
        let pair = pair();
        pair.source.run(
            "create table item (id int primary key); create table stock (id int primary key, n int);
             insert into item values (1), (2); insert into stock values (1, 10), (2, 20)",
        );
        pair.target.run(
            "create table item (id int primary key); create table stock (id int primary key references item, n int);
             create function open_stock() returns trigger language plpgsql as
                 'begin insert into public.stock values (new.id, 0); return null; end';
             create trigger open_stock after insert on item for each row execute function open_stock()",
        );
        let config =
            |off: &str| format!("{}{}", table("item", &format!("{method}\n{off}")), table("stock", method));
        let outcome = sync(&pair, &config(""));
        assert_eq!(outcome.code, Some(1), "{outcome}");
        let told = outcome.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.contains("open_stock") && told.contains("triggers = \"off\""), "{method}: {outcome}");
        assert_eq!(pair.target.count("stock"), 0);
        let outcome = sync(&pair, &config("triggers = 'off'"));
        succeeds(&outcome);
        assert_same_contents(&pair.source, &pair.target, "public.stock");
    }
}

#[test]
fn triggers_that_are_off_fire_for_no_method_and_are_as_before_afterwards() {
    for method in METHODS {
        let pair = pair();
        let rows = "insert into p values (1); insert into t values (1, 1, 'old'), (200, 1, 'old')";
        pair.source.run(&format!(
            "create table p (id int); create table t (id int primary key, p_id int, v text); {rows}; insert into t values (2, 1, 'new'), (300, 1, 'new')"
        ));
        pair.target.run(&format!(
            "create table p (id int primary key);
             create table t (id int primary key, p_id int references p deferrable initially deferred, v text) partition by range (id);
             create table \"T 1\" partition of t for values from (0) to (100);
             create table t2 partition of t for values from (100) to (1000);
             create table log (name text);
             create function note() returns trigger language plpgsql as
                 'begin insert into public.log values (tg_name); if tg_when = $$BEFORE$$ then return new; end if; return null; end';
             create trigger \"all\" after insert or update or delete on t for each row execute function note();
             create trigger whole after insert on t execute function note();
             create trigger \"a b\" before insert or update on \"T 1\" for each row execute function note();
             create trigger replica before insert on t2 for each row execute function note();
             create trigger always after insert on t2 for each row execute function note();
             create trigger never before insert on t2 for each row execute function note();
             create constraint trigger late after insert on t2 deferrable initially deferred for each row execute function note();
             alter table t2 enable replica trigger replica; alter table t2 enable always trigger always;
             alter table t2 disable trigger never; alter table t2 disable trigger \"all\"; {rows}"
        ));
        // The deferred one has fired at the commit.
        pair.target.run("truncate log");
        let before = states(&pair);
        assert!(["|O", "|A", "|R", "|D"].iter().all(|state| before.contains(state)), "{before}");
        let config = format!(
            "{method}\ntriggers = 'off'\n[[table.reference]]\ncolumns = ['p_id']\nto = 'p(id)'\non_orphan = 'keep'"
        );
        succeeds(&sync(&pair, &table("t", &config)));
        assert_eq!(list(&pair.target, "id", "t"), "1 2 200 300", "{method}");
        assert_eq!((pair.target.count("log"), states(&pair)), (0, before.clone()), "{method}");
        // What fails leaves them as they are.
        pair.source.run("insert into t values (3, 77, 'orphan')");
        assert_eq!(sync(&pair, &table("t", &config)).code, Some(1), "{method}");
        assert_eq!((pair.target.count("log"), states(&pair)), (0, before), "{method}");
        pair.source.run("delete from t where id = 3; insert into t values (4, 1, 'new'), (400, 1, 'new')");
        succeeds(&sync(&pair, &table("t", &config.replace("'off'", "'fire'"))));
        assert!(pair.target.count("log") > 0, "{method}");
    }
}

#[test]
fn only_an_owner_can_have_triggers_off() {
    let mut pair = pair();
    let role = pair.target.role("login");
    pair.source.run("create table t (id int primary key)");
    pair.target.run(&format!(
        "create table t (id int primary key); grant all on t to {role};
         create function f() returns trigger language plpgsql as 'begin return null; end';
         create trigger f after insert on t for each row execute function f();
         grant create on database {} to {role}",
        pair.target.name()
    ));
    let run = |lines: &str| {
        let program = Bulkload::on(&pair).env("TARGET_DATABASE_URL", &pair.target.url_as(&role));
        program.config(&table("t", lines)).run(&["plan"])
    };
    let outcome = run("triggers = 'off'");
    assert_eq!(outcome.code, Some(2), "{outcome}");
    let told = "bulkload.toml:5:12: public.t: triggers = \"off\" is not possible: the role may not disable trigger f of public.t";
    assert!(outcome.stderr.contains(told), "{outcome}");
    assert_eq!(run("triggers = 'fire'").code, Some(0));
    pair.target.run("drop trigger f on t");
    assert_eq!(run("triggers = 'off'").code, Some(0));
}

#[test]
fn an_owner_can_have_the_triggers_of_partitions_off() {
    let mut pair = pair();
    let role = pair.target.role("login");
    pair.source.run("create table t (id int); insert into t values (1), (101)");
    pair.target.run(&format!(
        "create table t (id int primary key) partition by range (id);
         create table t1 partition of t for values from (0) to (100);
         create table t2 partition of t for values from (100) to (1000) partition by range (id);
         create table t21 partition of t2 for values from (100) to (1000);
         create function f() returns trigger language plpgsql as $$ begin raise exception 'fired'; end $$;
         create trigger f after insert on t for each row execute function f();
         alter table t owner to {role}; alter table t1 owner to {role}; alter table t2 owner to {role}; alter table t21 owner to {role};
         grant create on database {} to {role}; grant all on schema public to {role}",
        pair.target.name()
    ));
    let before = states(&pair);
    let program = || Bulkload::on(&pair).env("TARGET_DATABASE_URL", &pair.target.url_as(&role));
    let outcome = program().config(&table("t", "apply = 'delta'\ntriggers = 'off'")).sync();
    // Before 13 a partition's copy is the server's own.
    assert_eq!(outcome.code, Some(if pair.target.version() < 130_000 { 2 } else { 0 }), "{outcome}");
    assert_eq!(states(&pair), before);
    let outcome = program().config(&table("t", "apply = 'delta'")).sync();
    if pair.target.version() < 130_000 {
        fails(&outcome, "public.t", &["fired", "raised in trigger f of public.t"]);
    } else {
        // Every row is there by now.
        succeeds(&outcome);
    }
}

#[test]
fn rows_that_no_trigger_can_mend_are_rejected_and_the_others_are_left_to_it() {
    // 1 and 2 are on the target, 3 and 4 are not; 2 and 4 lack what is demanded.
    let source = "create table t (id int primary key, v text, n int); insert into t values (1, 'a', 1), (2, null, -2), (3, 'c', 3), (4, null, -4)";
    for (events, method, rows, rejected) in [
        ("update", "apply = 'delta'", "1|a|1 2|mended|2 3|c|3", 1),
        ("update", "strategy = 'upsert'", "1|a|1 2|mended|2 3|c|3", 1),
        ("update of v", "apply = 'delta'", "1|a|1 2|mended|2 3|c|3", 1),
        ("update", "apply = 'truncate'", "1|a|1 3|c|3", 2),
        ("update", "apply = 'delete'", "1|a|1 3|c|3", 2),
        ("update", "strategy = 'insert'", "1|old|1 2|old|1 3|c|3", 2),
        ("insert", "apply = 'delta'", "1|a|1 3|c|3 4|mended|4", 1),
        ("insert", "strategy = 'upsert'", "1|a|1 2|old|1 3|c|3 4|mended|4", 1),
        ("insert", "apply = 'truncate'", "1|a|1 2|mended|2 3|c|3 4|mended|4", 0),
        ("insert or update", "apply = 'delta'", "1|a|1 2|mended|2 3|c|3 4|mended|4", 0),
        ("delete", "apply = 'delta'", "1|a|1 3|c|3", 2),
        ("update", "apply = 'delta'\ntriggers = 'off'", "1|a|1 3|c|3", 2),
        ("update", "apply = 'swap'", "1|a|1 3|c|3", 2),
    ] {
        let pair = pair();
        pair.source.run(source);
        pair.target.run(&format!(
            "create table t (id int primary key, v text not null, n int check (n > 0));
             insert into t values (1, 'old', 1), (2, 'old', 1);
             create function mend() returns trigger language plpgsql as
                 'begin if tg_op = $$DELETE$$ then return old; end if; new.v = coalesce(new.v, $$mended$$); new.n = abs(new.n); return new; end';
             create trigger mend before {events} on t for each row execute function mend()"
        ));
        let outcome = sync(&pair, &table("t", &format!("max_rejects = 10\n{method}")));
        succeeds(&outcome);
        assert_eq!(list(&pair.target, "id, v, n", "t"), rows, "{events} {method}");
        assert_eq!(outcome.table("public.t")["rejected"], rejected, "{events} {method}");
    }
}

#[test]
fn the_key_of_a_row_that_is_refused_late_is_named_and_no_other_value() {
    let raise = "raise exception 'no';";
    for (what, function, demand, timing, code) in [
        ("a trigger that raises", format!("if new.v = 'secret' then {raise} end if;"), "", "before", "P0001"),
        (
            "a NULL that a trigger makes",
            "if new.v = 'secret' then new.w = null; end if;".to_owned(),
            "alter table t alter w set not null;",
            "before",
            "23502",
        ),
        (
            "a CHECK of what a trigger makes",
            "if new.v = 'secret' then new.w = ''; end if;".to_owned(),
            "alter table t add check (w <> '');",
            "before",
            "23514",
        ),
        (
            "an error of a trigger's own",
            "if new.v = 'secret' then new.w = 1 / 0; end if;".to_owned(),
            "",
            "before",
            "22012",
        ),
        (
            "a value that is taken",
            "new.w = left(new.v, 3);".to_owned(),
            "create unique index on t (w) where w = 'sec';",
            "before",
            "23505",
        ),
        ("a trigger afterwards", format!("if new.v = 'secret' then {raise} end if;"), "", "after", "P0001"),
    ] {
        for method in ["apply = 'delta'", "apply = 'delete'", "apply = 'truncate'", "strategy = 'upsert'"] {
            let pair = pair();
            let columns = "create table t (grp text, id int, v text, w text, primary key (grp, id))";
            pair.source.run(&format!(
                "{columns}; insert into t select 'g' || i % 3, i, 'v' || i, 'w' from generate_series(1, 500) i;
                 update t set v = 'secret' where id = 321; update t set v = 'secrete' where id = 320"
            ));
            let taken = if code == "23505" { "" } else { "delete from t where id = 320;" };
            pair.source.run(taken);
            pair.target.run(&format!(
                "{columns}; {demand} insert into t select 'g' || i % 3, i, 'old' || i, 'w' from generate_series(1, 400) i where i <> 320;
                 create function f() returns trigger language plpgsql as $f$ begin {function} return new; end $f$;
                 create trigger f {timing} insert or update on t for each row execute function f()"
            ));
            let outcome = sync(&pair, &table("t", method));
            let is_after = timing == "after";
            let names: &[&str] = if is_after {
                &["raised in trigger f of public.t"]
            } else {
                &["the row of public.t is grp=g"]
            };
            fails(&outcome, "public.t", names);
            let error = outcome.table("public.t")["error"].as_str().unwrap().to_owned();
            assert!(error.contains(code), "{what}: {error}");
            if !is_after {
                assert!(
                    error.ends_with("grp=g0, id=321")
                        || (code == "23505" && error.ends_with("grp=g2, id=320")),
                    "{what} {method}: {error}"
                );
            }
            // The value that is taken is part of PostgreSQL's own message about unique indexes.
            assert!(!format!("{outcome}").contains("secret"), "{what}: {outcome}");
            assert_eq!(pair.target.count("t"), 399, "{what}");
        }
    }
}

#[test]
fn a_direct_load_tells_the_number_of_the_row() {
    let pair = pair();
    let columns = "create table t (id int primary key, v text)";
    pair.source
        .run(&format!("{columns}; insert into t select i, 'secret' || i from generate_series(1, 50) i"));
    pair.target.run(&format!(
        "{columns};
         create function f() returns trigger language plpgsql as $$ begin if new.id = 7 then raise exception 'no'; end if; return new; end $$;
         create trigger f before insert on t for each row execute function f()"
    ));
    let outcome = sync(&pair, &table("t", "apply = 'direct'"));
    fails(&outcome, "public.t", &["in row 7 of the COPY", "raised in trigger f of public.t"]);
    assert!(!format!("{outcome}").contains("secret"), "{outcome}");
}

#[test]
fn plan_says_which_rows_are_left_to_the_target() {
    for (events, told) in [
        (
            "update",
            "NOT NULL and CHECK of rows that are updated are left to the target because mend may change them",
        ),
        (
            "insert",
            "NOT NULL and CHECK of rows that are inserted are left to the target because mend may change them",
        ),
        ("insert or update", "NOT NULL and CHECK are left to the target because mend may change them"),
    ] {
        let pair = pair();
        let columns = "create table t (id int primary key)";
        pair.source.run(columns);
        pair.target.run(&format!(
            "{columns}; create function f() returns trigger language plpgsql as 'begin return new; end';
             create trigger mend before {events} on t for each row execute function f()"
        ));
        let outcome = Bulkload::on(&pair).config(&table("t", "apply = 'delta'")).run(&["plan"]);
        assert!(outcome.stdout.contains(told), "{outcome}");
    }
}
