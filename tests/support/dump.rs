//! What `pg_dump` says of a database, made comparable.

use std::process::Command;

use bulkload::pg::cluster::Binaries;

use super::Db;

/// `pg_dump --schema-only` with more arguments, without what differs from one dump to the next.
#[track_caller]
pub(crate) fn dump(db: &Db, args: &[&str]) -> String {
    let program = Binaries::find().unwrap().program("pg_dump");
    let output =
        Command::new(program).args(["--schema-only", "--dbname", db.url()]).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let is_told = |line: &&str| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict");
    text.lines().filter(is_told).map(|line| format!("{line}\n")).collect()
}

/// Everything but the loader's own schemas.
#[track_caller]
pub(crate) fn dump_of_others(db: &Db) -> String {
    dump(db, &["--exclude-schema", "bulkload*"])
}

/// Panics with the lines that differ.
#[track_caller]
pub(crate) fn assert_same_dump(before: &str, after: &str, what: &str) {
    if before == after {
        return;
    }
    let only = |these: &str, those: &str| -> Vec<String> {
        let those: Vec<&str> = those.lines().collect();
        these.lines().filter(|line| !those.contains(line)).map(str::to_owned).collect()
    };
    panic!(
        "{what}\ngone: {:#?}\nnew: {:#?}\nbefore:\n{before}\nafter:\n{after}",
        only(before, after),
        only(after, before)
    );
}
