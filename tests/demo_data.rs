//! The demo's databases hold what the demo says they hold.

use std::process::{Command, Stdio};
use std::time::Instant;

use bulkload::cli::demo::servers::Servers;
use bulkload::cli::demo::world;

use crate::support::{Db, Pair, Session, fingerprint, pair};

fn demo(rows: u64) -> Pair {
    let pair = pair();
    let started = Instant::now();
    pair.source.run(&world::source_sql(rows).unwrap());
    let source = started.elapsed();
    pair.target.run(&world::target_sql(rows).unwrap());
    eprintln!("{rows} rows: source in {source:?}, target in {:?}", started.elapsed() - source);
    pair
}

fn counts(db: &Db) -> Vec<(String, u64)> {
    world::TABLES.iter().map(|&(name, _)| (name.to_owned(), db.count(name))).collect()
}

#[test]
fn the_source_has_the_promised_rows_and_three_clients_without_a_location() {
    let pair = demo(world::ROWS);
    let expected = world::TABLES.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(counts(&pair.source), expected);
    assert_eq!(expected.iter().map(|(_, count)| count).sum::<u64>(), 92_387);

    let lost = "from climaster where loc_id not in (select loc_id from locmaster)";
    assert_eq!(pair.source.count(&lost["from ".len()..]), 3);
    assert_eq!(pair.source.value(&format!("select distinct loc_id {lost}")), "2");
    let jobs = format!("jobshead where client_id in (select client_id {lost})");
    assert!((20..100).contains(&pair.source.count(&jobs)));
    let tasks = format!("jobtasks where job_id in (select job_id from {jobs})");
    assert!((50..300).contains(&pair.source.count(&tasks)));
    // All other references are whole, so that nothing else is orphaned.
    for (child, column, parent) in [
        ("climaster", "org_id", "orgmaster"),
        ("stafmaster", "org_id", "orgmaster"),
        ("clicontacts", "client_id", "climaster"),
        ("jobshead", "client_id", "climaster"),
        ("jobshead", "jty_id", "jobtypes"),
        ("jobtasks", "job_id", "jobshead"),
        ("taskchecklists", "jt_id", "jobtasks"),
        ("checklistitems", "tc_id", "taskchecklists"),
        ("jobmaterials", "job_id", "jobshead"),
        ("jobmaterials", "item_code", "itemmaster"),
        ("workdiary", "job_id", "jobshead"),
        ("workdiary", "jt_id", "jobtasks"),
        ("reminders", "client_id", "climaster"),
        ("reminders", "job_id", "jobshead"),
        ("jobdocs", "job_id", "jobshead"),
    ] {
        let lost = format!(
            "{child} c where {column} is not null and not exists (select from {parent} p where p.{column} = c.{column})"
        );
        assert_eq!(pair.source.count(&lost), 0, "{lost}");
    }
    for table in ["jobshead", "jobtasks", "workdiary", "reminders"] {
        let lost = format!("{table} where staf_id <> 0 and staf_id not in (select staf_id from stafmaster)");
        assert_eq!(pair.source.count(&lost), 0, "{lost}");
        assert!(pair.source.count(&format!("{table} where staf_id = 0")) > 0);
    }
}

#[test]
fn the_target_lags_behind_and_has_rows_of_its_own() {
    let pair = demo(world::ROWS);
    for (name, count) in world::TABLES {
        let desktop = pair.target.count(name);
        assert!(desktop <= count && desktop * 100 >= count * 85, "{name}: {desktop} of {count}");
    }
    // Some rows are in one only, some differ, most are the same.
    let ids = |db: &Db, what: &str| db.rows(&format!("select job_id, {what} from jobshead order by job_id"));
    let (source, target) = (ids(&pair.source, "job_status"), ids(&pair.target, "job_status"));
    let same = source.iter().filter(|row| target.contains(row)).count();
    assert!(target.last() > source.last(), "the desktop has deleted jobs");
    assert!(same * 100 > source.len() * 75 && same < target.len() - 100, "{same}");
    for table in ["sitenotes", "sitephotos", "app_users"] {
        assert!(pair.target.count(table) > 10, "{table}");
    }
}

#[test]
fn the_targets_rows_obey_its_foreign_keys() {
    for rows in [world::ROWS_MIN, world::ROWS] {
        let target = demo(rows).target;
        let constraints = target.rows(
            "select conrelid::regclass, quote_ident(conname), pg_get_constraintdef(oid) from pg_constraint where contype = 'f'",
        );
        assert!(constraints.len() > 20);
        for constraint in constraints {
            let [Some(table), Some(name), Some(definition)] = &constraint[..] else {
                panic!("{constraint:?}")
            };
            // Adding one checks all rows.
            target.run(&format!("alter table {table} drop constraint {name}, add {definition}"));
        }
    }
}

#[test]
fn both_are_the_same_every_time() {
    let (one, two) = (demo(world::ROWS_MIN), demo(world::ROWS_MIN));
    for (name, _) in world::TABLES {
        assert_eq!(fingerprint(&one.source, name), fingerprint(&two.source, name));
        assert_eq!(fingerprint(&one.target, name), fingerprint(&two.target, name));
    }
}

#[test]
fn it_scales_up_and_down() {
    for rows in [world::ROWS_MIN, 150_001] {
        let pair = demo(rows);
        assert_eq!(counts(&pair.source).iter().map(|(_, count)| count).sum::<u64>(), rows);
        let lost = pair.source.count("climaster where loc_id = 2");
        assert_eq!(lost, world::orphans(rows));
    }
}

#[test]
fn the_demos_servers_hold_both_databases_and_stay_if_told_to() {
    let servers = Servers::start().unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(servers.fill(world::ROWS_MIN)).unwrap();
    let (source, target) = (servers.source_url(), servers.target_url());
    assert_eq!(Session::open(&source).value("select count(*) from climaster"), "39");
    assert_eq!(Session::open(&target).value("select count(*) > 0 from open_tasks"), "t");

    let commands = servers.leave().unwrap();
    assert_eq!(Session::open(&source).value("select count(*) from climaster"), "39");
    assert_eq!(Session::open(&target).value("select count(*) > 0 from client_overview"), "t");
    for command in commands {
        assert!(Command::new("sh").args(["-c", &command]).stdout(Stdio::null()).status().unwrap().success());
    }
    assert!(Session::try_open(&source).is_err() && Session::try_open(&target).is_err());
}
