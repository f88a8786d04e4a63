//! When `swap` is refused, when `auto` takes it, and what `plan` tells about it.

use crate::support::{Bulkload, Db, Outcome, Pair, pair};

const TABLE: &str = "[[table]]\nname = 't'\n";

/// A table on both sides; on the target with more around it.
fn world(around: &str) -> Pair {
    let pair = pair();
    pair.source.run("create table t (id int, v text); create table p (id int)");
    pair.target.run("create table p (id int primary key); create table t (id int primary key, v text)");
    pair.target.run(around);
    pair
}

#[track_caller]
fn plan(pair: &Pair, config: &str) -> Outcome {
    Bulkload::on(pair).config(config).run(&["-q", "plan"])
}

#[track_caller]
fn refuses(pair: &Pair, url: &str, why: &str) {
    let program =
        Bulkload::on(pair).env("TARGET_DATABASE_URL", url).config(&format!("{TABLE}apply = 'swap'\n"));
    let outcome = program.run(&["-q", "plan"]);
    assert_eq!(outcome.code, Some(2), "{why}: {outcome}");
    let message = format!("public.t: apply = \"swap\" is not possible: {why}");
    assert!(outcome.stderr.contains(&message), "{message}: {outcome}");
    assert!(outcome.stderr.contains("hint: Possible here: apply = \"delta\""), "{outcome}");
}

#[test]
fn what_cannot_be_bound_to_another_table_is_refused_by_its_name() {
    for (around, why) in [
        ("create materialized view m as select * from t", "materialized view public.m depends on it"),
        ("create view v as select t from t", "column t of view public.v uses its row type"),
        ("create table u (x t)", "column x of table public.u uses its row type"),
        ("create table u (x t[])", "column x of table public.u uses its row type"),
        (
            "create function f(t) returns int language sql as 'select 1'",
            "function public.f(public.t) uses its row type",
        ),
        ("create publication every for all tables", "publication every is FOR ALL TABLES"),
        (
            "create table u (id int default 't'::regclass::oid::int)",
            "default value for column id of table public.u depends on it",
        ),
        (
            "create function f() returns trigger language plpgsql as 'begin return null; end'; create table u (id int); create constraint trigger c after insert on u from t for each row execute function f()",
            "trigger c on table public.u depends on it",
        ),
        (
            "create table u (id int) partition by list (id); alter table u add foreign key (id) references t",
            "constraint u_id_fkey on table public.u references it, and the key of a partitioned table",
        ),
        (
            "alter table t add foreign key (id) references p; alter table t disable trigger all",
            "triggers of its foreign keys are disabled",
        ),
        (
            "create table u (id int references t); alter table u disable trigger all",
            "triggers of constraint u_id_fkey on table public.u are disabled",
        ),
        (
            "alter table t add column at oid default 't'::regclass",
            "its default or generated column names the table itself",
        ),
        (
            "create schema app; create statistics s on id, v from t; create statistics app.s on v, id from t",
            "statistics object app.s and statistics object public.s have the same name",
        ),
        (
            "create sequence s owned by t.id; create table u (id int default nextval('s'))",
            "default value for column id of table public.u depends on it",
        ),
    ] {
        let pair = world(around);
        // Since 18 such a key may be made without a check: see `versions`.
        if !why.contains("the key of a partitioned table") || pair.target.version() < 180_000 {
            refuses(&pair, pair.target.url(), why);
        }
    }
    for (instead, why) in [
        ("create unlogged table t (id int primary key, v text)", "it is UNLOGGED"),
        (
            "create type y as (id int, v text); create table t of y (primary key (id))",
            "it is a table of a type",
        ),
        (
            "create table u (id int); create table t (v text, primary key (id)) inherits (u)",
            "it inherits from public.u",
        ),
        ("create table t (id int primary key, v text) partition by list (id)", "it is partitioned"),
    ] {
        let pair = world(&format!("drop table t; {instead}"));
        refuses(&pair, pair.target.url(), why);
    }
}

#[test]
fn a_temporary_view_of_another_session_is_refused_by_its_name() {
    let pair = world("");
    let other = pair.target.session();
    other.run("create temporary view glance as select id from t");
    let schema = other.value("select pg_my_temp_schema()::regnamespace");
    let role = other.value("select current_user");
    let why = format!(
        "view {schema}.glance depends on it, which is temporary and belongs to a session of {role}: end that session"
    );
    refuses(&pair, pair.target.url(), &why);
}

#[test]
fn a_right_that_the_exchange_needs_and_the_role_lacks_is_named() {
    let mut pair = world(
        "create view v as select * from t; create table u (id int references t); create sequence t_seq owned by t.id;
         create function f() returns trigger language plpgsql as 'begin return new; end';
         revoke execute on function f() from public; create trigger f before insert on t for each row execute function f()",
    );
    let (role, other) = (pair.target.role("login"), pair.target.role(""));
    let url = pair.target.url_as(&role);
    let database = pair.target.name().to_owned();
    pair.target.run(&format!(
        "grant select, insert, update, delete, references on t to {role}; create schema bulkload authorization {role};
         grant temporary on database {database} to {role};
         -- Before 15 everybody may.
         revoke create on schema public from public"
    ));
    let steps = [
        (
            "the role does not own it",
            format!(
                "alter table t owner to {role};
                 revoke references on t from {role}; revoke update on sequence t_seq from {role}"
            ),
        ),
        (
            "the role may not create schemas in the database",
            format!("grant create on database {database} to {role}"),
        ),
        ("the role may not create in schema public", format!("grant create on schema public to {role}")),
        (
            "the role is not a member of postgres, which owns publication pub",
            "drop publication pub".to_owned(),
        ),
        (
            "the role may not reference public.p (t_id_fkey): grant references on public.p to",
            format!("grant references on p to {role}"),
        ),
        ("the role cannot become", format!("set role {other}; revoke select on t from public")),
        (
            "the role may not set sequence public.t_seq: grant select, update on sequence public.t_seq to",
            format!("grant update on sequence t_seq to {role}"),
        ),
        (
            "the role may not execute public.f(), which trigger f calls: grant execute on function public.f() to",
            format!("grant execute on function f() to {role}"),
        ),
        (
            "the role is not a member of postgres, which owns constraint u_id_fkey on table public.u",
            format!("alter table u owner to {role}"),
        ),
        (
            "the role is not a member of postgres, which owns view public.v",
            format!("alter view v owner to {role}; revoke select on u from {role}"),
        ),
        (
            "the role may not reference it, as constraint u_id_fkey on table public.u does: grant references on public.t to",
            format!("grant references on t to {role}"),
        ),
        (
            "the role may not read the table of constraint u_id_fkey on table public.u: grant select on public.u to",
            format!(
                "grant select on u to {role}; alter table u enable row level security, force row level security"
            ),
        ),
        (
            "row-level security hides rows of the table of constraint u_id_fkey on table public.u from the role",
            "alter table u disable row level security".to_owned(),
        ),
    ];
    pair.target.run(&format!(
        "alter table t add foreign key (id) references p; create publication pub for table t;
         grant select on t to {other} with grant option; set role {other}; grant select on t to public"
    ));
    for (why, remedy) in steps {
        refuses(&pair, &url, why);
        pair.target.run(&remedy);
    }
    let program =
        Bulkload::on(&pair).env("TARGET_DATABASE_URL", &url).config(&format!("{TABLE}apply = 'swap'\n"));
    let outcome = program.run(&["-q", "plan"]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
}

#[test]
fn a_role_that_granted_rights_must_be_able_to_grant_them_again() {
    let mut pair = world("");
    let giver = pair.target.role("");
    pair.target.run(&format!(
        "grant select on t to {giver} with grant option; set role {giver}; grant select on t to public"
    ));
    pair.target.run("revoke usage on schema public from public");
    let why = format!(
        "{giver}, which granted rights on it, may not use schema public: grant usage on schema public to {giver}"
    );
    refuses(&pair, pair.target.url(), &why);
}

#[test]
fn rows_that_the_old_table_refers_to_must_not_vanish_after_the_exchange() {
    let pair = world("alter table t add foreign key (id) references p");
    let both = format!("{TABLE}apply = 'swap'\n[[table]]\nname = 'p'\napply = ");
    let outcome = plan(&pair, &format!("{both}'delta'\n"));
    assert_eq!(outcome.code, Some(2), "{outcome}");
    let why = "public.p, which it references (t_id_fkey), is applied by delta in the same transaction";
    assert!(outcome.stderr.contains(why), "{outcome}");
    for method in ["swap", "auto"] {
        let outcome = plan(&pair, &format!("{both}'{method}'\n"));
        assert_eq!(outcome.code, Some(0), "{outcome}");
        assert_eq!(outcome.stdout.matches("replace by swap").count(), 2, "{outcome}");
    }
}

#[test]
fn where_a_table_cannot_do_without_its_like_the_hint_is_for_both() {
    // Another method for the one alone would have to leave rows of the other, which is swapped, as they are.
    let pair = world(
        "create table u (id int primary key references t); create materialized view m as select * from t",
    );
    let outcome =
        plan(&pair, &format!("{TABLE}apply = 'swap'\n[[table]]\nname = 'u'\nfrom = 'p'\napply = 'swap'\n"));
    assert_eq!(outcome.code, Some(2), "{outcome}");
    let hint = "hint: Possible for all tables of the transaction together: apply = \"delta\" or \"delete\"";
    for words in
        ["public.t: apply = \"swap\" is not possible: materialized view public.m depends on it", hint]
    {
        assert!(outcome.stderr.contains(words), "{words}: {outcome}");
    }
}

#[test]
fn plan_tells_what_a_swap_does_to_others() {
    let pair = world(
        "create view v as select * from t; create publication supabase_realtime for table t;
         create function e() returns event_trigger language plpgsql as 'begin end';
         create event trigger watch on ddl_command_end execute function e();
         create table u (id int references t)",
    );
    let outcome =
        plan(&pair, &format!("{TABLE}apply = 'swap'\n[[table]]\nname = 'u'\nfrom = 'p'\napply = 'delete'\n"));
    assert_eq!(outcome.code, Some(0), "{outcome}");
    for words in [
        "replace by swap (as configured: everyone waits for milliseconds, whatever the size)",
        "note     rows that others write into the table during the run are overwritten",
        "note     re-pointed to the new table: constraint u_id_fkey on table public.u, view public.v",
        "note     event triggers may fire: watch",
        "note     everyone also waits while the other tables of the transaction are applied",
        "warning  subscribers of supabase_realtime do not receive the new rows",
        "warning  Supabase Realtime notices the new table within 60 s",
        "began before a table is swapped\n      sees it empty afterwards",
    ] {
        assert!(outcome.stdout.contains(words), "{words}: {outcome}");
    }
}

/// Rows that take as much as `auto` thinks is worth a swap.
fn enlarge(db: &Db, table: &str) {
    db.run(&format!(
        "alter table {table} alter column v set storage plain;
         insert into {table} (v) select repeat('x', 8000) from generate_series(1, 8200)"
    ));
}

#[test]
fn auto_swaps_a_large_table_without_a_key_that_nothing_depends_on() {
    let pair = world("alter table t drop constraint t_pkey; alter table t alter column id drop not null");
    let says = |words: &str| {
        let outcome = plan(&pair, TABLE);
        assert_eq!(outcome.code, Some(0), "{outcome}");
        assert!(outcome.stdout.contains(words), "{words}: {outcome}");
    };
    says("replace by truncate (auto: the table is empty; everyone waits for the insert)");
    enlarge(&pair.source, "t");
    says(
        "replace by swap (auto: the table is empty; everyone waits for milliseconds, whatever the size; rows are written once, and indexes are built afterwards)",
    );
    pair.target.run("create view v as select * from t");
    says("replace by truncate (auto: the table is empty; everyone waits for the insert)");
    pair.target.run("drop view v; insert into t values (1, 'x')");
    pair.source.run("truncate t");
    says(
        "replace by delete (auto: it has no key; readers never wait; writers wait until the transaction ends; \
         swap would disturb more than it saves: the table is small)",
    );
    enlarge(&pair.target, "t");
    says("replace by swap (auto: it has no key; everyone waits for milliseconds, whatever the size)");
    for (before, after) in [
        ("create view v as select * from t", "drop view v"),
        ("create publication p for table t", "drop publication p"),
        ("create materialized view m as select id from t", "drop materialized view m"),
    ] {
        pair.target.run(before);
        says("replace by delete (auto: it has no key; readers never wait");
        pair.target.run(after);
    }
    pair.target.run("delete from t where id is null; alter table t add primary key (id)");
    says("replace by delta (auto: readers never wait");
}

#[test]
fn tables_of_two_schemas_are_not_swapped_by_one_run() {
    let pair = pair();
    for db in [&pair.source, &pair.target] {
        db.run("create table t (id int primary key); create schema other; create table other.t (id int primary key)");
    }
    let config = "[[table]]\nname = 't'\napply = 'swap'\n[[table]]\nname = 'other.t'\napply = 'swap'\n";
    let outcome = plan(&pair, config);
    assert_eq!(outcome.code, Some(2), "{outcome}");
    let why = "other.t: apply = \"swap\" is not possible: a run swaps tables of one schema only, and it swaps tables of public first";
    assert!(outcome.stderr.contains(why), "{outcome}");
    pair.target.run("insert into t values (1); insert into other.t values (1)");
    let outcome = plan(&pair, &config.replacen("other.t'\napply = 'swap'", "other.t'", 1));
    assert_eq!(outcome.code, Some(0), "{outcome}");
}
