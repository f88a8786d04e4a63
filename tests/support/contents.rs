//! Whether two tables hold the same rows, judged by PostgreSQL.

use super::Db;

/// Count and checksum of a table's rows in any order, all columns in the order of their names.
#[track_caller]
pub(crate) fn fingerprint(db: &Db, table: &str) -> String {
    fingerprint_of(db, table, &columns(db, table))
}

/// The same, of certain columns (SQL expressions).
#[track_caller]
pub(crate) fn fingerprint_of(db: &Db, table: &str, columns: &[String]) -> String {
    db.value(&format!(
        "select count(*) || ' rows, checksum ' || coalesce(sum(hashtextextended(row({})::text, 0)), 0) from {table}",
        columns.join(", ")
    ))
}

/// Panics, with some rows that differ, unless `table` holds the same rows on both.
#[track_caller]
pub(crate) fn assert_same_contents(source: &Db, target: &Db, table: &str) {
    assert_same_columns((source, table), (target, table), &columns(source, table));
}

/// The same for tables of different names, in certain columns (SQL expressions).
#[track_caller]
pub(crate) fn assert_same_columns(a: (&Db, &str), b: (&Db, &str), columns: &[String]) {
    if fingerprint_of(a.0, a.1, columns) == fingerprint_of(b.0, b.1, columns) {
        return;
    }
    let (left, right) = (rows(a.0, a.1, columns), rows(b.0, b.1, columns));
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|row| those.binary_search(row).is_err()).take(5).cloned().collect()
    };
    panic!(
        "{} ({} rows) and {} ({} rows) differ\nonly in the first: {:#?}\nonly in the second: {:#?}",
        a.1,
        left.len(),
        b.1,
        right.len(),
        only(&left, &right),
        only(&right, &left)
    );
}

/// Rows as text, in the order of their bytes.
#[track_caller]
fn rows(db: &Db, table: &str, columns: &[String]) -> Vec<String> {
    let sql = format!("select row({})::text from {table}", columns.join(", "));
    let mut rows: Vec<String> = db.rows(&sql).into_iter().map(|row| row[0].clone().unwrap()).collect();
    rows.sort_unstable();
    rows
}

/// All columns, quoted, by name.
#[track_caller]
pub(crate) fn columns(db: &Db, table: &str) -> Vec<String> {
    let sql = format!(
        "select quote_ident(attname) from pg_attribute
         where attrelid = '{}'::regclass and attnum > 0 and not attisdropped order by attname",
        table.replace('\'', "''")
    );
    db.rows(&sql).into_iter().map(|row| row[0].clone().unwrap()).collect()
}
