//! Foreign keys and other constraints of partitioned tables: what partitions inherit counts once, what one of them has of its own
//! counts for its rows. PostgreSQL itself is the oracle.

use std::fs;

use serde_json::Value;

use crate::support::{Bulkload, Db, Outcome, Pair, pair};

const METHODS: [&str; 4] = ["delta", "delete", "truncate", "auto"];

fn sync(pair: &Pair, config: &str) -> (Bulkload, Outcome) {
    let program = Bulkload::on(pair).config(config);
    let outcome = program.sync();
    (program, outcome)
}

/// A config of these tables, each with these lines, that tolerates rejects.
fn tables(names: &[&str], lines: &str) -> String {
    let tables: String = names.iter().map(|name| format!("[[table]]\nname = '{name}'\n{lines}\n")).collect();
    format!("[run]\nmax_rejects = '90%'\nmax_shrink = '100%'\n{tables}")
}

fn by(method: &str) -> String {
    format!("apply = '{method}'")
}

fn ids(db: &Db, table: &str) -> String {
    db.value(&format!("select coalesce(string_agg(id::text, ' ' order by id), '') from {table}"))
}

#[track_caller]
fn succeeds(outcome: &Outcome) {
    assert_eq!(outcome.code, Some(0), "{outcome}");
}

#[track_caller]
fn plan(pair: &Pair, config: &str) -> Value {
    let outcome = Bulkload::on(pair).config(config).run(&["plan", "--json"]);
    succeeds(&outcome);
    serde_json::from_str(&outcome.stdout).unwrap()
}

/// The names of the constraints that a table's rows are judged by.
fn references(plan: &Value, table: &str) -> Vec<String> {
    let tables = plan["tables"].as_array().unwrap();
    let table = tables.iter().find(|entry| entry["name"] == table).unwrap();
    let name = |reference: &Value| reference["name"].as_str().unwrap().to_owned();
    table["references"].as_array().unwrap().iter().map(name).collect()
}

/// The reason and the constraint of each rejected row, in the order of the rows' ids.
fn rejects(program: &Bulkload, outcome: &Outcome, table: &str) -> Vec<String> {
    let Some(file) = outcome.table(table)["rejects_file"].as_str().map(str::to_owned) else {
        return Vec::new();
    };
    let text = fs::read_to_string(program.dir().join(file)).unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let mut rows: Vec<(i64, String)> = reader
        .records()
        .map(|record| record.unwrap())
        .map(|record| (record[3].parse().unwrap(), format!("{}|{}", &record[0], &record[1])))
        .collect();
    rows.sort();
    rows.into_iter().map(|(id, text)| format!("{id}: {text}")).collect()
}

/// Two levels of partitions, of which one is attached with a key of its own name.
const PARTS: &str = "
    create table parts (id int primary key) partition by range (id);
    create table parts_a partition of parts for values from (0) to (100);
    create table parts_b partition of parts for values from (100) to (200) partition by range (id);
    create table parts_b1 partition of parts_b for values from (100) to (150);
    create table parts_rest partition of parts default;";

#[test]
fn a_row_needs_its_match_in_one_partition_of_the_referenced_table() {
    for method in METHODS {
        let pair = pair();
        pair.source.run(
            "create table parts (id int); insert into parts values (1), (101), (900);
             create table ref (id int, part_id int); insert into ref values (1, 1), (2, 101), (3, 2), (4, 900), (5, null)",
        );
        pair.target.run(PARTS);
        pair.target
            .run("create table ref (id int primary key, part_id int constraint to_parts references parts)");
        // What is attached later gets a copy of the key, too.
        pair.target.run(
            "create table parts_c (id int primary key);
             alter table parts attach partition parts_c for values from (200) to (300)",
        );
        let config = tables(&["ref", "parts"], &by(method));
        assert_eq!(references(&plan(&pair, &config), "public.ref"), ["to_parts"]);
        let (program, outcome) = sync(&pair, &config);
        succeeds(&outcome);
        assert_eq!(ids(&pair.target, "ref"), "1 2 4 5", "{method}");
        assert_eq!(
            rejects(&program, &outcome, "public.ref"),
            ["3: part_id=2 has no match in public.parts|to_parts"]
        );
        let verified = program.run(&["verify"]);
        succeeds(&verified);
    }
}

#[test]
fn a_declared_reference_tunes_the_one_key_to_a_partitioned_table() {
    let pair = pair();
    pair.source.run(
        "create table parts (id int); insert into parts values (1), (101);
         create table ref (id int, part_id int); insert into ref values (1, 1), (2, 101), (3, 2), (4, 0)",
    );
    pair.target.run(PARTS);
    pair.target.run(
        "create table ref (id int primary key, part_id int constraint ref_part_id_fkey references parts)",
    );
    let tuned = |on_orphan: &str| {
        tables(&["parts", "ref"], "")
            + &format!(
                "[[table.reference]]\ncolumns = ['part_id']\nto = 'parts(id)'\non_orphan = '{on_orphan}'\nnull_values = ['0']\n"
            )
    };
    let (_, outcome) = sync(&pair, &tuned("null"));
    succeeds(&outcome);
    assert_eq!(
        pair.target.value("select string_agg(concat(id, '>', part_id), ' ' order by id) from ref"),
        "1>1 2>101 3> 4>"
    );
    let (_, outcome) = sync(&pair, &tuned("fail"));
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let error = outcome.table("public.ref")["error"].as_str().unwrap().to_owned();
    assert!(error.contains("part_id has no match in public.parts (constraint ref_part_id_fkey)"), "{error}");
}

/// Both sides are partitioned, and one partition of the referencing side brought an equivalent key along.
const BOTH: &str = "
    create table ref (id int primary key, part_id int constraint to_parts references parts) partition by range (id);
    create table ref_1 partition of ref for values from (0) to (10);
    create table ref_2 (part_id int, id int primary key, constraint own_name foreign key (part_id) references parts);
    alter table ref attach partition ref_2 for values from (10) to (20);
    create table ref_3 partition of ref for values from (20) to (30) partition by hash (id);
    create table ref_30 partition of ref_3 for values with (modulus 2, remainder 0);
    create table ref_31 partition of ref_3 for values with (modulus 2, remainder 1);";

#[test]
fn a_key_between_two_partitioned_tables_counts_once() {
    for method in METHODS {
        let pair = pair();
        pair.source.run(
            "create table parts (id int); insert into parts values (1), (101), (900);
             create table ref (id int, part_id int);
             insert into ref values (1, 1), (2, 2), (11, 101), (12, 102), (21, 900), (22, 901), (23, 1), (24, 2)",
        );
        pair.target.run(PARTS);
        pair.target.run(BOTH);
        let config = tables(&["ref", "parts"], &by(method));
        assert_eq!(references(&plan(&pair, &config), "public.ref"), ["to_parts"]);
        let (_, outcome) = sync(&pair, &config);
        succeeds(&outcome);
        assert_eq!(ids(&pair.target, "ref"), "1 11 21 23", "{method}");
        // Children go before their parents, and with them.
        pair.source.run("delete from ref where id = 21; delete from parts where id = 900");
        let (_, outcome) = sync(&pair, &config);
        succeeds(&outcome);
        assert_eq!(
            (ids(&pair.target, "ref"), ids(&pair.target, "parts")),
            ("1 11 23".to_owned(), "1 101".to_owned())
        );
    }
}

#[test]
fn a_partition_that_is_loaded_by_itself_has_its_parents_key_once() {
    let pair = pair();
    pair.source.run(
        "create table parts (id int); insert into parts values (1), (101);
         create table ref_1 (id int, part_id int); insert into ref_1 values (1, 1), (2, 2), (3, 101);
         create table ref_2 (id int, part_id int); insert into ref_2 values (11, 1), (12, 2), (13, 101)",
    );
    pair.target.run(PARTS);
    pair.target.run(BOTH);
    pair.target.run("insert into parts values (7); insert into ref values (25, 7)");
    let config = tables(&["ref_1", "ref_2"], "");
    // What is attached keeps its key's name.
    let planned = plan(&pair, &config);
    assert_eq!(references(&planned, "public.ref_1"), ["to_parts"]);
    assert_eq!(references(&planned, "public.ref_2"), ["own_name"]);
    pair.target.run("insert into parts values (1), (101)");
    let (program, outcome) = sync(&pair, &config);
    succeeds(&outcome);
    assert_eq!(ids(&pair.target, "ref"), "1 3 11 13 25");
    assert_eq!(
        rejects(&program, &outcome, "public.ref_2"),
        ["12: part_id=2 has no match in public.parts|own_name"]
    );
    // The other partition still refers to a row that would vanish.
    let (_, outcome) = sync(&pair, &tables(&["parts", "ref_1", "ref_2"], &by("delta")));
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let error = outcome.report()["tables"].to_string();
    assert!(
        error.contains("public.ref (to_parts) would still reference rows to be deleted: id=7"),
        "{error}"
    );
    assert_eq!(ids(&pair.target, "ref"), "1 3 11 13 25");
}

#[test]
fn a_partitioned_table_that_references_itself_is_closed_to_a_fixed_point() {
    for method in METHODS {
        let pair = pair();
        pair.source.run(
            "create table s (id int, boss int);
             insert into s values (1, null), (2, 1), (11, 2), (12, 99), (13, 12), (21, 11), (22, 13), (23, 23)",
        );
        pair.target.run(
            "create table s (id int primary key, boss int constraint to_boss references s) partition by range (id);
             create table s1 partition of s for values from (0) to (10);
             create table s2 (id int primary key, boss int references s);
             alter table s attach partition s2 for values from (10) to (20);
             create table s3 partition of s default partition by list (id);
             create table s3_rest partition of s3 default;
             insert into s values (1, null), (15, 1), (16, 15)",
        );
        let config = tables(&["s"], &by(method));
        assert_eq!(references(&plan(&pair, &config), "public.s"), ["to_boss"]);
        let (_, outcome) = sync(&pair, &config);
        succeeds(&outcome);
        assert_eq!(ids(&pair.target, "s"), "1 2 11 21 23", "{method}");
    }
}

/// As old schemas have it: each partition with keys of its own, some of them with none.
const PAYMENTS: &str = "
    create table customer (id int primary key);
    create table payment (id int, customer_id int, at date not null, primary key (id, at)) partition by range (at);
    create table payment_1 partition of payment for values from ('2026-01-01') to ('2026-02-01');
    create table payment_2 partition of payment for values from ('2026-02-01') to ('2026-03-01');
    create table payment_3 partition of payment default partition by list (id);
    create table payment_3_odd partition of payment_3 for values in (3, 5, 7);
    create table payment_3_rest partition of payment_3 default;
    alter table payment_1 add constraint p1_customer foreign key (customer_id) references customer;
    alter table payment_3 add constraint p3_customer foreign key (customer_id) references customer;";

const PAYMENT_ROWS: &str = "
    create table customer (id int); insert into customer values (1), (2);
    create table payment (id int, customer_id int, at date);
    insert into payment values (1, 1, '2026-01-05'), (2, 9, '2026-01-06'), (3, 9, '2026-02-06'), (4, null, '2026-01-07'),
        (5, 3, '2026-07-01'), (6, 2, '2026-07-01'), (7, 8, '2026-07-01'), (8, 1, '2026-07-02')";

#[test]
fn a_key_of_a_partition_judges_the_rows_that_go_there() {
    for method in METHODS {
        let pair = pair();
        pair.source.run(PAYMENT_ROWS);
        pair.target.run(PAYMENTS);
        // The referencing table comes first in the config, and last in the transaction.
        let config = tables(&["payment", "customer"], &by(method));
        let planned = plan(&pair, &config);
        assert_eq!(planned["transactions"], serde_json::json!([["public.customer", "public.payment"]]));
        let (program, outcome) = sync(&pair, &config);
        succeeds(&outcome);
        assert_eq!(ids(&pair.target, "payment"), "1 3 4 6 8", "{method}");
        assert_eq!(
            rejects(&program, &outcome, "public.payment"),
            [
                "2: customer_id=9 has no match in public.customer|p1_customer",
                "5: customer_id=3 has no match in public.customer|p3_customer",
                "7: customer_id=8 has no match in public.customer|p3_customer",
            ]
        );
        let table = outcome.table("public.payment");
        assert_eq!(
            (&table["extracted"], &table["rejected"], &table["inserted"]),
            (&8.into(), &3.into(), &5.into())
        );
        succeeds(&program.run(&["verify"]));
        // A customer that vanishes takes the payments of partitions with a key along, and no others.
        pair.source.run("delete from customer where id = 1; insert into payment values (9, 1, '2026-02-07')");
        let (_, outcome) = sync(&pair, &config);
        succeeds(&outcome);
        assert_eq!(ids(&pair.target, "payment"), "3 4 6 9", "{method}");
    }
}

#[test]
fn tables_that_a_key_of_a_partition_connects_are_applied_together() {
    for method in METHODS {
        let pair = pair();
        pair.source.run(PAYMENT_ROWS);
        pair.target.run(PAYMENTS);
        pair.target.run("insert into customer values (5); insert into payment values (50, 5, '2026-01-09')");
        let config = format!(
            "[[table]]\nname = 'payment'\nmax_rejects = 0\n{0}\n[[table]]\nname = 'customer'\nmax_shrink = '100%'\n{0}\n",
            by(method)
        );
        let (_, outcome) = sync(&pair, &config);
        assert_eq!(outcome.code, Some(1), "{outcome}");
        assert_eq!(outcome.table("public.customer")["ok"], false, "{outcome}");
        assert_eq!(
            (ids(&pair.target, "customer"), ids(&pair.target, "payment")),
            ("5".to_owned(), "50".to_owned())
        );
    }
}

#[test]
fn without_staging_a_key_of_a_partition_fails_the_group() {
    let pair = pair();
    pair.source.run(PAYMENT_ROWS);
    pair.source
        .run("alter table payment add primary key (id, at); alter table customer add primary key (id)");
    pair.target.run(PAYMENTS);
    pair.target.run("insert into customer values (5); insert into payment values (50, 5, '2026-01-09')");
    let config = tables(&["payment", "customer"], &by("direct"));
    let (_, outcome) = sync(&pair, &config);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(
        (ids(&pair.target, "customer"), ids(&pair.target, "payment")),
        ("5".to_owned(), "50".to_owned())
    );
    pair.source.run("delete from payment where id in (2, 5, 7)");
    let (_, outcome) = sync(&pair, &config);
    succeeds(&outcome);
    assert_eq!(
        (ids(&pair.target, "customer"), ids(&pair.target, "payment")),
        ("1 2".to_owned(), "1 3 4 6 8".to_owned())
    );
}

#[test]
fn a_declared_reference_tunes_the_keys_of_partitions() {
    let pair = pair();
    pair.source.run(PAYMENT_ROWS);
    pair.target.run(PAYMENTS);
    // The two keys say the same of different rows.
    let config = tables(&["customer", "payment"], "");
    assert_eq!(references(&plan(&pair, &config), "public.payment"), ["p1_customer and 1 more"]);
    let tuned = |on_orphan: &str| {
        format!(
            "{config}[[table.reference]]\ncolumns = ['customer_id']\nto = 'customer(id)'\non_orphan = '{on_orphan}'\n"
        )
    };
    assert_eq!(references(&plan(&pair, &tuned("null")), "public.payment"), ["p1_customer and 1 more"]);
    let (_, outcome) = sync(&pair, &tuned("null"));
    succeeds(&outcome);
    assert_eq!(
        pair.target.value("select string_agg(concat(id, '>', customer_id), ' ' order by id) from payment"),
        "1>1 2> 3>9 4> 5> 6>2 7> 8>1"
    );
    let (_, outcome) = sync(&pair, &tuned("fail"));
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let error = outcome.table("public.payment")["error"].as_str().unwrap().to_owned();
    assert!(error.contains("3 rows have no match in public.customer"), "{error}");
}

#[test]
fn a_key_that_a_partition_repeats_counts_once() {
    let pair = pair();
    pair.source.run(
        "create table c (id int); insert into c values (1);
         create table p (id int, c_id int); insert into p values (1, 1), (2, 2), (11, 1), (12, 2)",
    );
    pair.target.run(
        "create table c (id int primary key);
         create table p (id int primary key, c_id int constraint whole references c) partition by range (id);
         create table p_1 partition of p for values from (0) to (10);
         create table p_2 partition of p for values from (10) to (20);
         alter table p_1 add constraint again foreign key (c_id) references c on delete cascade",
    );
    let config = tables(&["c", "p"], "");
    assert_eq!(references(&plan(&pair, &config), "public.p"), ["whole"]);
    let (program, outcome) = sync(&pair, &config);
    succeeds(&outcome);
    assert_eq!(ids(&pair.target, "p"), "1 11");
    assert_eq!(rejects(&program, &outcome, "public.p").len(), 2);
}

/// Every way in which rows are routed, against what the server does with each row.
#[test]
fn rows_are_routed_as_the_server_routes_them() {
    for (key, partitions) in [
        (
            "hash (id, code)",
            "create table p_0 partition of p for values with (modulus 3, remainder 0);
             create table p_1 partition of p for values with (modulus 3, remainder 1);
             create table p_2 partition of p for values with (modulus 3, remainder 2) partition by hash (c_id);
             create table p_20 partition of p_2 for values with (modulus 2, remainder 0);
             create table p_21 partition of p_2 for values with (modulus 2, remainder 1);
             alter table p_0 add foreign key (c_id) references c;
             alter table p_20 add foreign key (c_id) references c",
        ),
        (
            "list (lower(code))",
            "create table p_0 partition of p for values in ('a', null);
             create table p_1 partition of p for values in ('b', 'c') partition by range (id, c_id);
             create table p_10 partition of p_1 for values from (minvalue, minvalue) to (20, 7);
             create table p_1_rest partition of p_1 default;
             create table p_rest partition of p default;
             alter table p_0 add foreign key (c_id) references c;
             alter table p_1_rest add foreign key (c_id) references c;
             alter table p_rest add foreign key (c_id) references c (\"Odd \"\"id\")",
        ),
        (
            "range (\"Odd \"\"id\")",
            "create table \"P 0\" partition of p for values from (minvalue) to (15);
             create table p_1 (id int, \"Odd \"\"id\" numeric, c_id int, code text);
             alter table p attach partition p_1 default;
             alter table \"P 0\" add foreign key (c_id) references c;
             alter table p_1 add foreign key (code) references d",
        ),
    ] {
        let pair = pair();
        let rows = "
            create table c (id int primary key, \"Odd \"\"id\" int unique);
            insert into c select g, g + 1 from generate_series(0, 20, 2) as g;
            create table d (code text primary key); insert into d values ('A'), ('c');
            create table all_rows (id int, code text, c_id int, \"Odd \"\"id\" numeric);
            insert into all_rows
                select g, (array['A', 'a', 'b', 'C', 'c', 'zz', null])[1 + g % 7], case when g % 11 <> 0 then g % 13 end,
                    case when g % 9 <> 0 then g / 2.0 end
                from generate_series(1, 120) as g;";
        pair.source.run(rows);
        pair.source.run("create view p as select * from all_rows");
        pair.target.run(&format!(
            "{rows} create table p (id int, code text, c_id int, \"Odd \"\"id\" numeric) partition by {key}; {partitions}"
        ));
        let expected = pair.target.session();
        expected.run(
            "do $$ declare r record; begin
                for r in select * from all_rows loop
                    begin insert into p values (r.id, r.code, r.c_id, r.\"Odd \"\"id\"); exception when foreign_key_violation then null; end;
                end loop;
             end $$; create table expected as select * from p; truncate p",
        );
        let (_, outcome) = sync(&pair, &tables(&["c", "d", "p"], ""));
        succeeds(&outcome);
        assert_eq!(ids(&pair.target, "p"), ids(&pair.target, "expected"), "{key}");
        let (kept, rejected) = (pair.target.count("expected"), outcome.table("public.p")["rejected"].as_u64());
        assert!(kept < 120 && rejected == Some(120 - kept), "{key}: {outcome}");
    }
}

#[test]
fn a_key_of_a_partition_is_left_to_the_server_where_its_rows_are_not_known() {
    let pair = pair();
    pair.source.run("create table c (id int); insert into c values (1); create table p (id int, c_id int); insert into p values (1, 1)");
    pair.target.run(
        "create table c (id int primary key);
         create table p (id int, c_id int, kind text not null default 'x') partition by list (kind);
         create table p_x partition of p for values in ('x');
         alter table p_x add constraint of_x foreign key (c_id) references c",
    );
    let config = tables(&["p", "c"], "");
    let planned = plan(&pair, &config);
    // Still they belong together.
    assert_eq!(planned["transactions"], serde_json::json!([["public.c", "public.p"]]));
    assert!(
        planned.to_string().contains("an orphan in partition public.p_x fails the table (of_x)"),
        "{planned}"
    );
    let (_, outcome) = sync(&pair, &config);
    succeeds(&outcome);
    assert_eq!(ids(&pair.target, "p"), "1");
    pair.source.run("insert into p values (2, 2); insert into c values (5)");
    let (_, outcome) = sync(&pair, &config);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!((ids(&pair.target, "p"), ids(&pair.target, "c")), ("1".to_owned(), "1".to_owned()));
}

#[test]
fn a_key_to_a_partition_finds_its_match_there_alone() {
    for method in METHODS {
        let pair = pair();
        pair.source.run(
            "create table parts (id int); insert into parts values (1), (2), (101), (102);
             create table r (id int, a int, b int);
             insert into r values (1, 1, 101), (2, 101, 101), (3, 1, 1), (4, 3, null), (5, null, 102)",
        );
        pair.target.run(PARTS);
        pair.target.run(
            "create table r (id int primary key, a int constraint to_a references parts_a, b int constraint to_b references parts_b)",
        );
        let config = tables(&["r", "parts"], &by(method));
        assert_eq!(plan(&pair, &config)["transactions"], serde_json::json!([["public.parts", "public.r"]]));
        let (program, outcome) = sync(&pair, &config);
        succeeds(&outcome);
        assert_eq!(ids(&pair.target, "r"), "1 5", "{method}");
        assert_eq!(
            rejects(&program, &outcome, "public.r"),
            [
                "2: a=101 has no match in public.parts_a|to_a",
                "3: b=1 has no match in public.parts_b|to_b",
                "4: a=3 has no match in public.parts_a|to_a",
            ]
        );
        pair.source.run("delete from parts where id in (2, 102); delete from r where id = 5");
        let (_, outcome) = sync(&pair, &config);
        succeeds(&outcome);
        assert_eq!(
            (ids(&pair.target, "r"), ids(&pair.target, "parts")),
            ("1".to_owned(), "1 101".to_owned())
        );
    }
}

#[test]
fn rows_outside_the_scope_are_matches_in_their_partition() {
    let pair = pair();
    pair.source.run(
        "create table p (id int, owner text); insert into p values (1, 'us'), (101, 'us');
         create table r (id int, a int); insert into r values (1, 1), (2, 7), (3, 107), (4, 8), (5, 101)",
    );
    pair.target.run(
        "create table p (id int primary key, owner text) partition by range (id);
         create table p_a partition of p for values from (0) to (100);
         create table p_b partition of p for values from (100) to (200);
         insert into p values (7, 'them'), (107, 'them'), (8, 'us');
         create table r (id int primary key, a int references p_a)",
    );
    let config = format!("{}[[table]]\nname = 'p'\nscope = \"p.owner = 'us'\"\n", tables(&["r"], ""));
    let (_, outcome) = sync(&pair, &config);
    succeeds(&outcome);
    assert_eq!(
        (ids(&pair.target, "r"), ids(&pair.target, "p")),
        ("1 2".to_owned(), "1 7 101 107".to_owned())
    );
}

#[test]
fn partitions_that_are_loaded_one_by_one_hold_their_parents_rows_together() {
    let pair = pair();
    pair.source.run(
        "create table parts_a (id int); insert into parts_a values (1);
         create table parts_b (id int); insert into parts_b values (101);
         create table ref (id int, part_id int); insert into ref values (1, 1), (2, 101), (3, 900), (4, 50), (5, 901), (6, 102)",
    );
    pair.target.run(PARTS);
    pair.target.run(
        "create table ref (id int primary key, part_id int references parts);
         insert into parts values (50), (102), (900)",
    );
    for method in ["delta", "delta", "auto"] {
        let config = tables(&["ref", "parts_b", "parts_a"], &by(method));
        assert_eq!(plan(&pair, &config)["transactions"].as_array().unwrap().len(), 1);
        let (_, outcome) = sync(&pair, &config);
        succeeds(&outcome);
        assert_eq!(ids(&pair.target, "ref"), "1 2 3");
        assert_eq!(ids(&pair.target, "parts"), "1 101 900");
    }
    // A TRUNCATE of partitions is refused while a key to their parent is there, as the server refuses it.
    let config = tables(&["parts_a"], &by("truncate"));
    let refused = Bulkload::on(&pair).config(&config).run(&["plan"]);
    assert_eq!(refused.code, Some(2), "{refused}");
    assert!(refused.stderr.contains("public.ref references it"), "{refused}");
    assert!(pair.target.session().try_run("truncate parts_a").is_err());
}

#[test]
fn a_lookup_in_a_partition_finds_the_rows_that_go_there() {
    let pair = pair();
    pair.source.run(
        "create table p (id int, v text); insert into p values (1, 'a'), (101, 'b');
         create table t (id int, p_id int); insert into t values (1, 1), (2, 101), (3, 2)",
    );
    pair.target.run(
        "create table p (id int primary key, v text) partition by range (id);
         create table p_a partition of p for values from (0) to (100);
         create table p_b partition of p for values from (100) to (200);
         insert into p values (2, 'gone');
         create table t (id int primary key, p_id int, v text)",
    );
    let config = tables(&["p", "t"], "")
        + "[[table.lookup]]\ncolumn = 'v'\nfrom = 'p_a'\nmatch = { p_id = 'id' }\nvalue = 'v'\n";
    let (_, outcome) = sync(&pair, &config);
    succeeds(&outcome);
    assert_eq!(pair.target.value("select string_agg(concat(id, v), ' ' order by id) from t"), "1a 2 3");
}

#[test]
fn no_row_is_left_that_refers_to_one_that_vanishes_from_a_partition() {
    let pair = pair();
    pair.source.run("create table parts (id int); insert into parts values (1), (101)");
    pair.target.run(PARTS);
    pair.target.run(
        "insert into parts values (1), (2), (101), (102);
         create table r (id int primary key, a int constraint to_a references parts_a on delete cascade);
         insert into r values (1, 1);
         create table q (id int, a int) partition by list (id);
         create table q_1 partition of q for values in (1); create table q_2 partition of q for values in (2);
         alter table q_1 add constraint of_q1 foreign key (a) references parts on delete set null;
         insert into q values (1, 101), (2, 102)",
    );
    let config = tables(&["parts"], &by("delta"));
    // Nothing refers to 2 and 102: the row of q_2 has no key.
    let (_, outcome) = sync(&pair, &config);
    succeeds(&outcome);
    assert_eq!(ids(&pair.target, "parts"), "1 101");
    for (row, error) in [
        (
            "insert into parts values (3); insert into r values (3, 3)",
            "1 rows of public.r (to_a) would still reference rows to be deleted: id=3",
        ),
        (
            "delete from r where id = 3; insert into parts values (103); insert into q values (1, 103)",
            "1 rows of public.q_1 (of_q1) would still reference rows to be deleted: id=103",
        ),
    ] {
        pair.target.run(row);
        let before = (ids(&pair.target, "parts"), ids(&pair.target, "r"), ids(&pair.target, "q"));
        let (_, outcome) = sync(&pair, &config);
        assert_eq!(outcome.code, Some(1), "{outcome}");
        let said = outcome.table("public.parts")["error"].as_str().unwrap().to_owned();
        assert!(said.contains(error), "{said}");
        assert_eq!((ids(&pair.target, "parts"), ids(&pair.target, "r"), ids(&pair.target, "q")), before);
    }
    for method in ["truncate", "delete"] {
        let refused = Bulkload::on(&pair).config(&tables(&["parts"], &by(method))).run(&["plan"]);
        assert_eq!(refused.code, Some(2), "{refused}");
        assert!(
            refused.stderr.contains("public.q_1 references it (of_q1) and is not part of this run"),
            "{refused}"
        );
    }
}

/// To the key of a partition a row that moves to another one is gone, although it is still in the table.
#[test]
fn a_row_that_leaves_a_partition_is_gone_for_who_refers_to_it_there() {
    let pair = pair();
    let schema = "
        create table p (id int, kind text, primary key (id, kind)) partition by list (kind);
        create table p_a partition of p for values in ('a');
        create table p_b partition of p for values in ('b');
        alter table p_a add unique (id);
        create table r (id int primary key, a int constraint to_a references p_a (id) on delete cascade);
        insert into p values (1, 'a'), (2, 'a'), (3, 'b')";
    pair.target.run(schema);
    pair.target.run("insert into r values (1, 1)");
    pair.source.run("create table p (id int, kind text); insert into p values (1, 'a'), (2, 'b'), (3, 'a')");
    let config = tables(&["p"], "apply = 'delta'\nkey = ['id']");
    let (_, outcome) = sync(&pair, &config);
    succeeds(&outcome);
    let rows = |columns: &str, table: &str| {
        pair.target
            .value(&format!("select string_agg(concat_ws('|', {columns}), ' ' order by id) from {table}"))
    };
    assert_eq!(rows("id, kind", "p"), "1|a 2|b 3|a");
    pair.source.run("update p set kind = 'b' where id = 1");
    let (_, outcome) = sync(&pair, &config);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let error = outcome.table("public.p")["error"].as_str().unwrap().to_owned();
    assert!(
        error.contains("1 rows of public.r (to_a) would still reference rows to be deleted: id=1"),
        "{error}"
    );
    assert_eq!((rows("id, kind", "p"), rows("id, a", "r")), ("1|a 2|b 3|a".to_owned(), "1|1".to_owned()));
}

#[test]
fn a_row_is_judged_by_the_checks_of_the_partition_that_it_goes_to() {
    let pair = pair();
    pair.source.run(
        "create table t (id int, n int, m int);
         insert into t values (1, 1, 1), (2, -1, 1), (3, 1, null), (11, -1, null), (12, 7, 1), (21, -1, null), (22, null, 1)",
    );
    pair.target.run(
        "create table t (id int primary key, n int, m int, constraint small check (n < 100)) partition by range (id);
         create table t_1 partition of t for values from (0) to (10);
         create table t_2 partition of t for values from (10) to (20);
         create table t_3 partition of t default partition by list (id);
         create table t_3_rest partition of t_3 default;
         alter table t_1 add constraint sized check (n > 0);
         alter table t_2 add constraint sized check (n < 5);
         alter table t_1 alter column m set not null;
         alter table t_3 alter column n set not null",
    );
    for method in METHODS {
        let (program, outcome) = sync(&pair, &tables(&["t"], &by(method)));
        succeeds(&outcome);
        assert_eq!(ids(&pair.target, "t"), "1 11 21", "{method}");
        let kinds: Vec<String> = rejects(&program, &outcome, "public.t")
            .into_iter()
            .map(|line| format!("{} {}", line.split(' ').next().unwrap(), line.rsplit('|').next().unwrap()))
            .collect();
        assert_eq!(kinds, ["2: sized", "3: t_1_m_not_null", "12: sized", "22: t_3_n_not_null"]);
    }
}

#[test]
fn a_unique_index_of_a_partition_keeps_rows_of_that_partition_out() {
    let pair = pair();
    pair.source.run(
        "create table t (id int, code text, owner text);
         insert into t values (1, 'x', 'us'), (2, 'y', 'us'), (11, 'x', 'us'), (12, 'z', 'us')",
    );
    pair.target.run(
        "create table t (id int primary key, code text, owner text) partition by range (id);
         create table t_1 partition of t for values from (0) to (10);
         create table t_2 partition of t for values from (10) to (20);
         create unique index on t_1 (code);
         insert into t values (5, 'x', 'them'), (15, 'z', 'them')",
    );
    for strategy in ["replace", "upsert"] {
        let lines = format!("strategy = '{strategy}'\nscope = \"owner = 'us'\"");
        let (_, outcome) = sync(&pair, &tables(&["t"], &lines));
        succeeds(&outcome);
        // 1 would be a second x in t_1; 11 and 12 go where two of them may be.
        assert_eq!(ids(&pair.target, "t"), "2 5 11 12 15", "{strategy}");
        assert_eq!(outcome.table("public.t")["skipped"], 1);
    }
    // Values that rows of one partition exchange.
    pair.source.run("truncate t; insert into t values (2, 'b', 'us'), (3, 'y', 'us')");
    pair.target.run("insert into t values (3, 'b', 'us')");
    let (_, outcome) = sync(&pair, &tables(&["t"], "apply = 'delta'\nscope = \"owner = 'us'\""));
    succeeds(&outcome);
    assert_eq!(
        pair.target.value("select string_agg(concat(id, code), ' ' order by id) from t where owner = 'us'"),
        "2b 3y"
    );
}

#[test]
fn rows_of_a_partition_exchange_values_that_its_own_constraint_excludes() {
    let pair = pair();
    pair.source.run("create table t (id int, a int); insert into t values (1, 2), (2, 1), (11, 1), (12, 1)");
    pair.target.run(
        "create table t (id int primary key, a int) partition by range (id);
         create table t_1 partition of t for values from (0) to (10);
         create table t_2 partition of t for values from (10) to (20);
         alter table t_1 add constraint apart exclude using btree (a with =);
         insert into t values (1, 1), (2, 2), (11, 2), (12, 1)",
    );
    let (_, outcome) = sync(&pair, &tables(&["t"], "apply = 'delta'"));
    succeeds(&outcome);
    assert_eq!(
        pair.target.value("select string_agg(concat(id, '>', a), ' ' order by id) from t"),
        "1>2 2>1 11>1 12>1"
    );
}

#[test]
fn a_swapped_table_keeps_the_keys_of_partitions_to_it() {
    let pair = pair();
    pair.source.run("create table customer (id int primary key); insert into customer values (1), (2)");
    pair.target.run(PAYMENTS);
    // Version 18 alone makes the key of a partitioned table anew without a check.
    pair.target.run("alter table payment_3 drop constraint p3_customer");
    pair.target.run("insert into customer values (1), (5); insert into payment values (1, 1, '2026-01-05'), (2, 9, '2026-02-05')");
    let config = tables(&["customer"], &by("swap"));
    let (_, outcome) = sync(&pair, &config);
    succeeds(&outcome);
    assert_eq!(ids(&pair.target, "customer"), "1 2");
    let session = pair.target.session();
    assert!(session.try_run("insert into payment values (3, 5, '2026-01-05')").is_err());
    assert!(session.try_run("insert into payment values (3, 2, '2026-01-05')").is_ok());
    pair.source.run("delete from customer where id = 2");
    let (_, outcome) = sync(&pair, &config);
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(ids(&pair.target, "customer"), "1 2");
}

/// The server numbers the copies of a key in the order of the partitions, and those of later ones in the order of their arrival.
#[test]
fn a_swapped_table_keeps_its_keys_to_partitions_and_to_partitioned_tables() {
    let pair = pair();
    pair.source.run("create table r (id int primary key, a int, b int); insert into r values (1, 101, 1), (2, 5, null), (3, 1, 101)");
    pair.target.run(
        "create table p (id int primary key) partition by range (id);
         create table p_b partition of p for values from (100) to (200);
         create table p_rest partition of p default;
         create table r (id int primary key, a int constraint to_p references p, b int);
         create table p_a partition of p for values from (0) to (100);
         alter table r add constraint to_a foreign key (b) references p_a;
         insert into p values (1), (101)",
    );
    let keys = "select string_agg(concat_ws(' ', conname, confrelid::regclass, pg_get_constraintdef(oid)), ', ' order by conname)
        from pg_constraint where conrelid = 'r'::regclass and contype = 'f' and conparentid = 0 and convalidated";
    let before = pair.target.value(keys);
    let config = tables(&["r"], &by("swap"));
    assert_eq!(references(&plan(&pair, &config), "public.r"), ["to_a", "to_p"]);
    for _ in 0..2 {
        let (_, outcome) = sync(&pair, &config);
        succeeds(&outcome);
        assert_eq!(ids(&pair.target, "r"), "1");
        assert_eq!(pair.target.value(keys), before);
    }
    let session = pair.target.session();
    assert!(session.try_run("insert into r values (7, 102, null)").is_err());
    assert!(session.try_run("insert into r values (7, null, 101)").is_err());
    assert!(session.try_run("delete from p where id = 101").is_err());
}

#[test]
fn init_tells_of_the_keys_of_partitions_once() {
    let pair = pair();
    pair.source.run(PAYMENT_ROWS);
    pair.target.run(PAYMENTS);
    let program = Bulkload::on(&pair);
    succeeds(&program.run(&["init"]));
    let text = fs::read_to_string(program.dir().join("bulkload.toml")).unwrap();
    assert_eq!(text.matches("customer_id must exist in public.customer(id)").count(), 1, "{text}");
    assert!(!text.contains("payment_1"), "{text}");
}

/// Since 18 a key of a partitioned table may be NOT VALID or NOT ENFORCED.
#[test]
fn a_key_that_is_not_enforced_judges_nothing_and_one_that_is_not_valid_does() {
    let pair = pair();
    if pair.target.version() < 180_000 {
        return;
    }
    pair.source.run(
        "create table c (id int); insert into c values (1);
         create table p (id int, c_id int); insert into p values (1, 1), (2, 2), (11, 1), (12, 2), (21, 2)",
    );
    pair.target.run(
        "create table c (id int primary key);
         create table p (id int primary key, c_id int) partition by range (id);
         create table p_1 partition of p for values from (0) to (10);
         create table p_2 partition of p for values from (10) to (20);
         create table p_3 partition of p for values from (20) to (30);
         alter table p add constraint whole foreign key (c_id) references c not enforced;
         alter table p_1 add constraint of_1 foreign key (c_id) references c not valid",
    );
    let config = tables(&["c", "p"], "");
    let (_, outcome) = sync(&pair, &config);
    succeeds(&outcome);
    assert_eq!(ids(&pair.target, "p"), "1 11 12 21");
    // The server misses the partitions without triggers in a TRUNCATE of both.
    assert!(pair.target.session().try_run("truncate c, p").is_err());
    let refused = Bulkload::on(&pair).config(&tables(&["c", "p"], &by("truncate"))).run(&["plan"]);
    assert_eq!(refused.code, Some(2), "{refused}");
    assert!(
        refused.stderr.contains("public.p references it (whole) with a foreign key that is NOT ENFORCED"),
        "{refused}"
    );
    pair.target.run("alter table p drop constraint whole; alter table p add constraint later foreign key (c_id) references c not valid");
    let (_, outcome) = sync(&pair, &config);
    succeeds(&outcome);
    assert_eq!(ids(&pair.target, "p"), "1 11");
}

#[test]
fn a_table_and_its_partition_are_not_loaded_at_once_and_two_partitions_are() {
    let pair = pair();
    let schema = "create table p (id int primary key, v text) partition by range (id);
        create table p1 partition of p for values from (0) to (10) partition by range (id);
        create table p1a partition of p1 for values from (0) to (10);
        create table p2 partition of p for values from (10) to (20);
        insert into p values (1, 'a'), (11, 'b')";
    pair.source.run(schema);
    pair.target.run(schema);
    let program = |table: &str| Bulkload::on(&pair).config(&tables(&[table], ""));
    for (first, second, is_excluded) in
        [("p", "p1a", true), ("p1a", "p", true), ("p1a", "p1", true), ("p1a", "p2", false)]
    {
        let mut running = program(first).hold_at("snapshot.taken").spawn(&["sync"]);
        running.wait_until_held();
        let outcome = program(second).sync();
        assert_eq!(outcome.code, Some(if is_excluded { 2 } else { 0 }), "{first} {second}: {outcome}");
        assert_eq!(outcome.stderr.contains("is being loaded by another run"), is_excluded, "{outcome}");
        running.go();
        assert_eq!(running.wait().code, Some(0));
    }
}
