//! What is judged while rows stream by, by several streams and workers at once; PostgreSQL itself is the oracle.

use std::fs;

use crate::support::{Bulkload, Db, Lost, Outcome, Pair, Proxy, Running, fingerprint, pair};

/// What a stream sends to commit a chunk.
pub(crate) const COMMIT_CHUNK: &[u8] = b"ledger (run_id, entry, chunk, rows) values";

pub(crate) fn sync(pair: &Pair, config: &str) -> (Bulkload, Outcome) {
    let program = Bulkload::on(pair).config(config);
    let outcome = program.sync();
    (program, outcome)
}

/// A config of tables in which any number of rows may be rejected.
pub(crate) fn tables(run: &str, names: &[&str]) -> String {
    let tables: String = names.iter().map(|name| format!("[[table]]\nname = \"{name}\"\n")).collect();
    format!("[run]\nmax_rejects = \"100%\"\nchunk = \"1MiB\"\n{run}\n{tables}")
}

pub(crate) fn figures(outcome: &Outcome, table: &str) -> [u64; 4] {
    let table = outcome.table(table);
    ["extracted", "rejected", "staged", "inserted"].map(|figure| table[figure].as_u64().unwrap())
}

/// A parent with the even numbers up to `rows`, a child that refers to every number up to `rows`.
fn every_other(rows: u32) -> Pair {
    let pair = pair();
    pair.source.run(&format!(
        "create table parent (id int, v text);
         create table child (id int, parent_id int, v text);
         insert into parent select 2 * i, 'p' from generate_series(1, {rows} / 2) i;
         insert into child select i, i, repeat('x', 20) from generate_series(1, {rows}) i"
    ));
    pair.target.run(
        "create table parent (id int primary key, v text);
         create table child (id int primary key, parent_id int references parent, v text)",
    );
    pair
}

fn rejects(program: &Bulkload, outcome: &Outcome, table: &str) -> Vec<csv::StringRecord> {
    let path = program.dir().join(outcome.table(table)["rejects_file"].as_str().unwrap());
    csv::Reader::from_path(path).unwrap().records().map(Result::unwrap).collect()
}

#[test]
fn rejects_are_numbered_through_whatever_stream_and_chunk_they_were_in() {
    for format in ["binary", "text"] {
        let pair = every_other(60_000);
        let (program, outcome) =
            sync(&pair, &tables(&format!("jobs = 3\nformat = \"{format}\""), &["child", "parent"]));
        assert_eq!(outcome.code, Some(0), "{outcome}");
        assert!(outcome.table("public.child")["chunks"].as_u64().unwrap() > 2);
        assert_eq!(figures(&outcome, "public.child"), [60_000, 30_000, 30_000, 30_000]);
        let rejects = rejects(&program, &outcome, "public.child");
        assert_eq!(rejects.len(), 30_000);
        for (number, reject) in rejects.iter().enumerate() {
            let id = (2 * number + 1).to_string();
            let reason = format!("parent_id={id} has no match in public.parent");
            let expected = [&reason, "child_parent_id_fkey", &id, &id, &id, "xxxxxxxxxxxxxxxxxxxx"];
            assert_eq!(reject.iter().collect::<Vec<_>>(), expected);
        }
        let directory = program.dir().join(outcome.table("public.child")["rejects_file"].as_str().unwrap());
        let files = fs::read_dir(directory.parent().unwrap()).unwrap().count();
        assert_eq!(files, 1, "nothing but the file itself is left");
        let plan = program.run(&["plan"]);
        assert!(
            plan.stdout.contains("judged while streaming, against the keys loaded in this run"),
            "{plan}"
        );
    }
}

#[test]
fn rows_judged_on_the_way_and_rows_judged_on_the_target_are_in_one_file() {
    let pair = every_other(10);
    pair.source.run(
        "alter table child add boss int; update child set boss = case id when 4 then 99 when 6 then 4 end",
    );
    pair.target.run("alter table child add boss int constraint boss_fk references child");
    let (program, outcome) = sync(&pair, &tables("", &["child", "parent"]));
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(figures(&outcome, "public.child"), [10, 7, 3, 3]);
    let rejects = rejects(&program, &outcome, "public.child");
    let of = |constraint: &str| rejects.iter().filter(|reject| &reject[1] == constraint).count();
    assert_eq!((of("child_parent_id_fkey"), of("boss_fk")), (5, 2));
}

#[test]
fn a_key_set_larger_than_memory_is_left_to_the_target_with_the_same_result() {
    let pair = pair();
    pair.source.run(
        "create table parent (id uuid, v text); create table child (id int, parent_id uuid);
         insert into parent select md5(i::text)::uuid, 'p' from generate_series(1, 300000) i;
         insert into child select i, md5((3 * i)::text)::uuid from generate_series(1, 150000) i;
         create table grandchild (id int, child_id int);
         insert into grandchild select i, 1000 * i from generate_series(1, 150) i",
    );
    pair.target.run(
        "create table parent (id uuid primary key, v text);
         create table child (id int primary key, parent_id uuid references parent);
         create table grandchild (id int primary key, child_id int references child)",
    );
    for memory in ["4MiB", "256MiB"] {
        let names = ["grandchild", "child", "parent"];
        pair.target.run("truncate grandchild, child, parent");
        let (program, outcome) = sync(&pair, &tables(&format!("memory = \"{memory}\""), &names));
        assert_eq!(outcome.code, Some(0), "{outcome}");
        assert_eq!(figures(&outcome, "public.child"), [150_000, 50_000, 100_000, 100_000], "{memory}");
        assert_eq!(figures(&outcome, "public.grandchild"), [150, 50, 100, 100], "{memory}");
        assert_eq!(rejects(&program, &outcome, "public.child").len(), 50_000);
        let is_given_up = outcome.stderr.contains("references to them are judged on the target");
        assert_eq!(is_given_up, memory == "4MiB", "{outcome}");
    }
}

#[test]
fn keys_of_a_table_that_nobody_fills_are_those_that_it_has() {
    let pair = every_other(10);
    pair.target.run("insert into parent select i from generate_series(1, 3) i");
    let (program, outcome) = sync(&pair, &tables("", &["child"]));
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(figures(&outcome, "public.child"), [10, 7, 3, 3]);
    let plan = program.run(&["plan"]);
    assert!(plan.stdout.contains("judged while streaming, against the keys on the target"), "{plan}");
}

#[test]
fn rows_refer_to_the_live_ones_of_a_table_whose_source_is_empty() {
    let pair = every_other(10);
    pair.source.run("truncate parent");
    pair.target.run("insert into parent values (7, 'stays')");
    let (_, outcome) = sync(&pair, &tables("", &["child", "parent"]));
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(pair.target.value("select string_agg(id::text, ' ') from child"), "7");
    assert_eq!(pair.target.value("select v from parent"), "stays");
}

#[test]
fn a_chunk_whose_commit_was_not_answered_keeps_its_rejects() {
    for what in [Lost::Reply, Lost::Request] {
        let pair = every_other(2_000);
        let proxy = Proxy::to(pair.target.port());
        // Live keys, so that the only chunk is the child's.
        pair.target.run("insert into parent select 2 * i from generate_series(1, 1000) i");
        let program = Bulkload::on(&pair)
            .config(&tables("jobs = 1", &["child"]))
            .env("TARGET_DATABASE_URL", &pair.target.url_through(proxy.port()));
        proxy.lose(what, COMMIT_CHUNK);
        let outcome = program.sync();
        assert!(proxy.has_lost());
        assert_eq!(outcome.code, Some(0), "{outcome}");
        assert_eq!(outcome.table("public.child")["attempts"], 2, "{what:?}: {outcome}");
        assert_eq!(figures(&outcome, "public.child"), [2_000, 1_000, 1_000, 1_000], "{what:?}");
        assert_eq!(rejects(&program, &outcome, "public.child").len(), 1_000, "{what:?}");
    }
}

#[test]
fn a_panic_in_a_worker_is_its_tables_error_and_nothing_of_its_group_is_applied() {
    let pair = every_other(100);
    for db in [&pair.source, &pair.target] {
        db.run("create table other (id int primary key)");
    }
    pair.source.run("insert into other values (1)");
    pair.target.run("insert into parent values (1000); insert into child values (1000, 1000)");
    let program = Bulkload::on(&pair)
        .config(&tables("", &["child", "parent", "other"]))
        .fail_point("load.transform", "panic");
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let error = outcome.table("public.parent")["error"].as_str().unwrap().to_owned();
    assert!(error.contains("a worker panicked"), "{outcome}");
    assert_eq!(outcome.table("public.child")["ok"], false);
    assert_eq!(outcome.table("public.other")["ok"], true);
    assert_eq!(pair.target.value("select id from child"), "1000");
}

/// A run's peak memory in kB, and how it ended.
fn peak_kb(program: &Bulkload) -> (u64, Outcome) {
    let mut running: Running = program.spawn(&["sync", "--report", "report.json"]);
    running.wait_until_held();
    let status = fs::read_to_string(format!("/proc/{}/status", running.id())).unwrap();
    running.go();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    (peak.trim().trim_end_matches(" kB").parse().unwrap(), running.wait())
}

#[test]
fn a_million_rejects_need_little_memory() {
    let pair = every_other(10);
    pair.source.run("insert into child select i, i, 'x' from generate_series(11, 1000000) i");
    let program = Bulkload::on(&pair)
        .config(&tables("chunk = \"128MiB\"\nmemory = \"32MiB\"", &["child", "parent"]).replacen(
            "chunk = \"1MiB\"\n",
            "",
            1,
        ))
        .hold_at("record.done");
    let (peak, outcome) = peak_kb(&program);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(figures(&outcome, "public.child"), [1_000_000, 999_995, 5, 5]);
    assert!(peak < (64 + 32) * 1024, "{peak} kB");
    let path = program.dir().join(outcome.table("public.child")["rejects_file"].as_str().unwrap());
    assert_eq!(csv::Reader::from_path(path).unwrap().records().count(), 999_995);
}

#[test]
fn a_row_of_50_mb_is_judged_like_any_other() {
    for format in ["binary", "text"] {
        let pair = every_other(10);
        pair.source.run("update child set v = repeat('0123456789', 5 * 1024 * 1024) where id in (3, 4)");
        let (_, outcome) = sync(&pair, &tables(&format!("format = \"{format}\""), &["child", "parent"]));
        assert_eq!(outcome.code, Some(0), "{outcome}");
        assert_eq!(figures(&outcome, "public.child"), [10, 5, 5, 5], "{format}");
        assert_eq!(pair.target.value("select max(length(v)) from child"), (50 * 1024 * 1024).to_string());
    }
}

/// What may remain of the tables below, computed by the source.
const ORACLE: &str = "
    delete from c where p_id is not null and not exists (select from p where p.id = c.p_id);
    delete from c where q_a is not null and q_b is not null
        and not exists (select from q where q.a = c.q_a and q.b = c.q_b);
    delete from c where not (f_a is null and f_b is null)
        and not exists (select from q where q.a = c.f_a and q.b = c.f_b);
    update c set r_id = null where r_id is not null and not exists (select from r where r.id = c.r_id);
    delete from d where c_x is not null and not exists (select from c where c.x = d.c_x);
    delete from d where o_id is not null and o_id not in (select i from generate_series(0, 300, 2) i);
    delete from e where d_id is not null and not exists (select from d where d.id = e.d_id)";

/// Random tables with references of every kind that can be judged while streaming: types that differ, composite keys,
/// MATCH SIMPLE and FULL, a unique key that is not the primary one, a live table, orphans of orphans.
#[test]
fn random_tables_keep_exactly_the_rows_that_may_remain() {
    let create = "create table p (id TYPE_P, v text); create table q (a int, b text); create table r (id uuid);
        create table c (id int, p_id TYPE_C, q_a bigint, q_b varchar(20), f_a smallint, f_b text, r_id uuid, x date, filler text);
        create table d (id text, c_x date, o_id int); create table e (id int, d_id varchar)";
    let constraints = "alter table p add primary key (id); alter table q add primary key (a, b);
        alter table r add primary key (id); alter table c add primary key (id), add unique (x);
        alter table d add primary key (id); alter table e add primary key (id);
        create table o (id bigint primary key); insert into o select i from generate_series(0, 300, 2) i;
        alter table c add foreign key (p_id) references p, add foreign key (q_a, q_b) references q,
            add foreign key (f_a, f_b) references q match full, add foreign key (r_id) references r;
        alter table d add foreign key (c_x) references c (x), add foreign key (o_id) references o;
        alter table e add foreign key (d_id) references d";
    let types = [("bigint", "int"), ("numeric", "int"), ("int", "bigint"), ("numeric(9,2)", "numeric")];
    for seed in 1..=4usize {
        let pair = pair();
        let (parent, child) = types[seed - 1];
        let create = create.replace("TYPE_P", parent).replace("TYPE_C", child);
        pair.source.run(&create);
        pair.source.run(
            "alter table p add primary key (id); alter table q add primary key (a, b); alter table r add primary key (id);
             alter table c add primary key (id); alter table d add primary key (id); alter table e add primary key (id)",
        );
        let int = |of: i32| format!("case when random() < 0.2 then null else (random() * {of})::int end");
        let text = |of: i32| {
            format!("case when random() < 0.2 then null else 'k\\\\' || (random() * {of})::int end")
        };
        pair.source.run(&format!(
            "select setseed(0.{seed});
             insert into p select i, 'p' from generate_series(0, 400) i where random() < 0.8;
             insert into q select i % 20, 'k\\\\' || i / 20 from generate_series(0, 399) i where random() < 0.9;
             insert into r select md5(i::text)::uuid from generate_series(0, 300) i where random() < 0.9;
             insert into c select i, {}, {}, {}, {}, {}, md5((random() * 300)::int::text)::uuid,
                 case when random() < 0.9 then date '2000-01-01' + i end, repeat('x', 300)
                 from generate_series(1, 9000) i;
             insert into d select 'd' || i, date '2000-01-01' + (random() * 9500)::int, {} from generate_series(1, 3000) i;
             insert into e select i, case when random() < 0.9 then 'd' || (random() * 3000)::int end from generate_series(1, 4000) i",
            int(400), int(20), text(19), int(20), text(19), int(310)
        ));
        pair.target.run(&create);
        pair.target.run(constraints);
        let format = ["binary", "text"][seed % 2];
        let config = tables(
            &format!("format = \"{format}\"\njobs = {}", [1, 4][seed / 3]),
            &["e", "d", "p", "q", "r", "c"],
        ) + "[[table.reference]]\ncolumns = [\"r_id\"]\nto = \"r(id)\"\non_orphan = \"null\"\n";
        let (program, outcome) = sync(&pair, &config);
        assert_eq!(outcome.code, Some(0), "seed {seed}: {outcome}");
        let plan = program.run(&["plan"]);
        assert!(!plan.stdout.contains("judged on the target"), "{plan}");
        pair.source.run(ORACLE);
        for table in ["p", "q", "r", "c", "d", "e"] {
            let of = |db: &Db| fingerprint(db, table);
            assert_eq!(of(&pair.target), of(&pair.source), "seed {seed}, table {table}");
        }
    }
}

/// Lookups that can be filled while streaming: by a key of another type, by two columns, through a column that was filled
/// itself, from a live table, into a column that refers to a third table.
#[test]
fn random_lookups_are_filled_while_streaming_as_postgresql_fills_them() {
    let oracle = "
        update c set pv = (select v from p where p.id = c.p_id), pg = (select g from p where p.id = c.p_id);
        update c set qn = (select n from q where q.a = c.q_a and q.b = c.q_b);
        delete from c where pg is not null and not exists (select from g where g.id = c.pg);
        delete from d where not exists (select from c where c.id = d.c_id);
        update d set cpv = (select pv from c where c.id = d.c_id), ov = (select v from o where o.k = d.o_k)";
    let create = "create table g (id int primary key); create table p (id bigint primary key, v text, g int);
        create table q (a int, b text, n numeric, primary key (a, b));
        create table c (id int primary key, p_id int, q_a smallint, q_b varchar(9), filler text, pv text, pg int, qn numeric);
        create table d (id int primary key, c_id bigint, o_k int, cpv varchar, ov uuid)";
    let live = "create table o (k numeric primary key, v uuid);
        insert into o select i, md5(i::text)::uuid from generate_series(0, 50, 3) i";
    for seed in 1..=4u32 {
        let pair = pair();
        pair.source.run(create);
        pair.source.run(&format!(
            "select setseed(0.{seed});
             insert into g select i from generate_series(0, 30) i where random() < 0.8;
             insert into p select i, case when random() < 0.9 then 'v\\\\' || i end, case when random() < 0.9 then i % 31 end
                 from generate_series(0, 600) i where random() < 0.9;
             insert into q select i % 20, 'k' || i / 20, i / 7.0 from generate_series(0, 399) i where random() < 0.9;
             insert into c select i, case when random() < 0.9 then (random() * 620)::int end,
                 case when random() < 0.9 then (random() * 20)::int end, 'k' || (random() * 20)::int, repeat('x', 300)
                 from generate_series(1, 9000) i;
             insert into d select i, (random() * 9500)::int, case when random() < 0.9 then (random() * 60)::int end
                 from generate_series(1, 3000) i"
        ));
        pair.target.run(create);
        pair.target.run(live);
        pair.target.run("alter table c add foreign key (pg) references g");
        let lookup = |column: &str, from: &str, pairs: &str, value: &str, more: &str| {
            format!(
                "[[table.lookup]]\ncolumn = '{column}'\nfrom = '{from}'\nmatch = {{ {pairs} }}\nvalue = '{value}'\n{more}\n"
            )
        };
        let table = |name: &str| format!("[[table]]\nname = '{name}'\n");
        let config = [
            tables(
                &format!(
                    "format = '{}'\njobs = {}",
                    ["binary", "text"][seed as usize % 2],
                    [1, 4][seed as usize / 3]
                ),
                &["g", "p", "q"],
            ),
            table("d"),
            lookup("cpv", "c", "c_id = 'id'", "pv", "on_missing = 'reject'"),
            lookup("ov", "o", "o_k = 'k'", "v", ""),
            table("c"),
            "columns = { skip = ['q_a', 'q_b'] }\n".to_owned(),
            lookup("pv", "p", "p_id = 'id'", "v", ""),
            lookup("pg", "p", "p_id = 'id'", "g", ""),
            lookup("qn", "q", "q_a = 'a', q_b = 'b'", "n", ""),
        ]
        .concat();
        let (program, outcome) = sync(&pair, &config);
        assert_eq!(outcome.code, Some(0), "seed {seed}: {outcome}");
        let plan = program.run(&["plan"]);
        let n_streaming = plan.stdout.matches("filled while streaming").count();
        assert!(n_streaming == 5 && !plan.stdout.contains("on the target: "), "{plan}");
        pair.source.run(live);
        pair.source.run(oracle);
        pair.source.run("update c set q_a = null, q_b = null");
        for table in ["g", "p", "q", "c", "d"] {
            let of = |db: &Db| fingerprint(db, table);
            assert_eq!(of(&pair.target), of(&pair.source), "seed {seed}, table {table}");
        }
        let warning = "lookup of ov in public.o: ";
        assert!(outcome.table("public.d")["warnings"].to_string().contains(warning), "{outcome}");
        assert_eq!(rejects(&program, &outcome, "public.d").len() as u64, figures(&outcome, "public.d")[1]);
    }
}

#[test]
fn where_a_reference_is_judged_does_not_change_the_order_in_which_they_are() {
    let pair = pair();
    pair.source
        .run("create table q (id int, a text, b int); insert into q values (1, 'x', 1), (2, 'other', 1)");
    pair.target.run(
        "create table q1 (a text collate \"C\", b int, primary key (a, b)); insert into q1 values ('x', 1);
         create table q2 (a text primary key); insert into q2 values ('x');
         create table q (id int primary key, a text, b int,
             constraint f1 foreign key (a, b) references q1, constraint f2 foreign key (a) references q2)",
    );
    let reference = "[[table.reference]]\ncolumns = ['a', 'b']\nto = 'q1(a, b)'\non_orphan = 'null'\n";
    let config = tables("", &["q"]) + reference;
    let (program, outcome) = sync(&pair, &config);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(pair.target.value("select string_agg(concat(id, a, b), ' ' order by id) from q"), "1x1 2");
    let plan = program.run(&["plan"]);
    assert!(plan.stdout.contains("judged on the target: a reference that shares columns"), "{plan}");
}

#[test]
fn a_live_table_that_is_locked_is_not_waited_for_without_limit() {
    let pair = every_other(10);
    pair.target.run("insert into parent select i from generate_series(1, 10) i");
    let program = Bulkload::on(&pair).config(&tables("lock_wait = '1s'", &["child"])).hold_at("stage.done");
    let mut running = program.spawn(&["sync", "--report", "report.json"]);
    running.wait_until_held();
    let holder = pair.target.session();
    holder.run("begin; lock table parent");
    running.go();
    let outcome = running.wait();
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let error = outcome.table("public.child")["error"].as_str().unwrap().to_owned();
    assert!(error.contains("55P03"), "{outcome}");
}

#[test]
fn a_panic_in_a_stream_ends_the_run_and_applies_nothing_of_its_table() {
    let pair = every_other(10);
    pair.target.run("insert into parent values (1000); insert into child values (1000, 1000)");
    let program = Bulkload::on(&pair)
        .config(&tables("jobs = 1", &["child", "parent"]))
        .fail_point("load.chunk_copied", "panic");
    let outcome = program.sync();
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(outcome.stdout.contains("stream 0 panicked"), "{outcome}");
    assert_eq!(pair.target.value("select id from child"), "1000");
}

#[test]
fn a_source_all_of_whose_rows_are_rejected_is_not_an_empty_one() {
    let pair = every_other(10);
    pair.source.run("alter table parent add boss int; update parent set boss = 99");
    pair.target.run(
        "alter table parent add boss int references parent; insert into parent values (2, 'old'); insert into child values (2, 2)",
    );
    let names = ["child", "parent"];
    let (program, outcome) = sync(&pair, &tables("", &names));
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert!(outcome.stdout.contains("public.parent would shrink from 1 to 0 rows"), "{outcome}");
    assert_eq!(pair.target.value("select string_agg(id::text, ' ') from child"), "2");
    let path = program.dir().join(outcome.table("public.child")["rejects_file"].as_str().unwrap());
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "rejects are for their owner alone");

    let (_, outcome) = sync(&pair, &tables("max_shrink = \"100%\"", &names));
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(pair.target.value("select (select count(*) from parent) + (select count(*) from child)"), "0");
}
