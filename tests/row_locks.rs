//! Rows that an apply updates do not keep other tables' writers waiting: foreign keys' checks go on beside it.

use std::time::Duration;

use crate::scope::{list, succeeds};
use crate::support::{Bulkload, Pair, assert_same_contents, pair};

/// A trigger that PostgreSQL fetches rows for before it updates them, with a lock of its own choice.
const TRIGGER: &str = "
    create function touch() returns trigger language plpgsql as $$ begin return new; end $$;
    create trigger touch before update on p for each row execute function touch()";

/// Applies `table`'s lines to `p`, and inserts references to `free` rows of it and one to a `taken` row before it commits.
#[track_caller]
fn refer_while_it_applies(pair: &Pair, lines: &str, free: &[&str], taken: Option<&str>) {
    let config = format!("[[table]]\nname = 'p'\n{lines}");
    let mut running = Bulkload::on(pair).config(&config).hold_at("apply.exchanged").spawn(&["sync"]);
    running.wait_until_held();
    for reference in free {
        let writer = pair.target.session();
        let written =
            writer.try_run(&format!("set lock_timeout = '10s'; insert into c values ({reference})"));
        assert!(written.is_ok(), "{reference}: {written:?}");
    }
    let session = pair.target.session();
    let waiting = taken.map(|reference| session.begin(&format!("insert into c values ({reference})")));
    if let Some(waiting) = &waiting {
        assert!(waiting.is_pending_after(Duration::from_millis(500)), "{taken:?} does not wait");
    }
    running.go();
    succeeds(&running.wait());
    waiting.into_iter().for_each(|waiting| waiting.wait().unwrap());
}

#[test]
fn a_row_can_be_referred_to_while_an_apply_updates_it() {
    for trigger in [TRIGGER.to_owned(), format!("{TRIGGER}; alter table p disable trigger touch")] {
        for method in ["apply = 'delta'\n", "strategy = 'upsert'\n"] {
            let pair = pair();
            let table = "create table p (id int primary key, email text, v text);";
            pair.source.run(&format!("{table} insert into p values (1, 'a', 'new'), (2, 'new', 'new')"));
            pair.target.run(&format!(
                "{table} create unique index on p (email) include (v);
                 create table c (p_id int references p, email text references p (email));
                 insert into p values (1, 'a', 'old'), (2, 'b', 'old'); {trigger}"
            ));
            // What a foreign key could refer to changes in row 2, so that whatever refers to it has to wait.
            refer_while_it_applies(&pair, method, &["1, null", "1, 'a'"], Some("2, null"));
            assert_same_contents(&pair.source, &pair.target, "public.p");
        }
    }
}

#[test]
fn a_row_of_a_partition_with_a_unique_index_of_its_own_can_be_referred_to() {
    let pair = pair();
    pair.source.run(
        "create table p (id int primary key, email text, v text);
         insert into p values (1, 'a', 'new'), (200, 'b', 'new')",
    );
    pair.target.run(&format!(
        "create table p (id int primary key, email text, v text) partition by range (id);
         create table p1 partition of p for values from (0) to (100);
         create table p2 (v text, dropped int, email text unique, id int not null);
         alter table p2 drop column dropped;
         alter table p attach partition p2 for values from (100) to (1000);
         create table c (p_id int references p);
         insert into p values (1, 'a', 'old'), (200, 'b', 'old');
         {}; {}",
        TRIGGER.replace("on p ", "on p1 "),
        // A function of the same name is there by now.
        TRIGGER.replace("on p ", "on p2 ").replace("create function", "create or replace function")
    ));
    refer_while_it_applies(&pair, "apply = 'delta'\n", &["1", "200"], None);
    assert_same_contents(&pair.source, &pair.target, "public.p");
}

#[test]
fn a_key_that_matches_with_another_image_is_written() {
    let pair = pair();
    pair.source.run(
        "create table p (n numeric, v text); insert into p values (1.00, 'same'), (2.0, 'new'), (3, 'same')",
    );
    pair.target.run(&format!(
        "create table p (n numeric primary key, v text, twice numeric generated always as (n * 2) stored);
         create table c (n numeric references p);
         insert into p values (1.0, 'same'), (2.0, 'old'), (3, 'same'); {TRIGGER}"
    ));
    refer_while_it_applies(&pair, "apply = 'delta'\n", &["2", "3"], Some("1"));
    assert_eq!(list(&pair.target, "n, v, twice", "p"), "1.00|same|2.00 2.0|new|4.0 3|same|6");
}
