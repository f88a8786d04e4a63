//! The statements of a comparison: checksums of parts of both sides, and the keys and checksums of the rows of some parts.
//!
//! A part is what keys of one hash fall into: both servers agree on it, whatever their collations. A row's checksum is
//! the hash of its text, under pinned settings and after the casts of the extraction; a part's is the sum of them, so
//! that the order does not matter.

use crate::config::OnOrphan;
use crate::extract::whole_source;
use crate::pg::name::{Ident, plain};
use crate::plan::TablePlan;

/// The most parts that a table is cut into.
const PARTS_MAX: u64 = 1 << 14;

/// Rows of a part, about.
const PART_ROWS: u64 = 256;

/// How a table is compared.
pub(super) struct Comparison<'p> {
    plan: &'p TablePlan,
    scope: Option<&'p str>,
    /// SQL on the source and on the target of each column's text.
    columns: Vec<(String, String)>,
    /// The same of the key; the whole row where there is none that both sides know.
    key: Option<Vec<(String, String)>>,
    parts: u64,
    /// What is not compared, and why.
    pub(super) notes: Vec<String>,
}

impl<'p> Comparison<'p> {
    /// Finds out what can be compared.
    pub(super) fn new(plan: &'p TablePlan, scope: Option<&'p str>) -> Self {
        let mut columns = Vec::new();
        let mut notes = Vec::new();
        let is_nulled = |name: &Ident| {
            let nulls = plan.references.iter().filter(|reference| reference.on_orphan == OnOrphan::Null);
            nulls.flat_map(|reference| &reference.columns).any(|column| column == name)
        };
        let mut texts = Vec::new();
        for column in &plan.columns {
            match &column.compared {
                Some(_) if is_nulled(&column.name) => notes.push(format!(
                    "column {} is not compared: orphans are loaded with NULL in it",
                    plain(&column.name)
                )),
                Some(compared) => {
                    let kind = &column.type_name;
                    let pair = (text(compared, kind), text(&column.name.to_string(), kind));
                    texts.push((&column.name, pair.clone()));
                    columns.push(pair);
                }
                None => notes.push(format!(
                    "column {} is not compared: its value is computed when it is loaded",
                    plain(&column.name)
                )),
            }
        }
        let text_of =
            |name: &Ident| texts.iter().find(|(known, _)| *known == name).map(|(_, pair)| pair.clone());
        let key = plan.key.as_ref().and_then(|key| key.iter().map(text_of).collect::<Option<Vec<_>>>());
        if plan.key.is_some() && key.is_none() {
            notes.push("the key is not compared as such, so that rows that differ are not named".to_owned());
        }
        let parts = (plan.row_estimate / PART_ROWS).next_power_of_two().clamp(64, PARTS_MAX);
        Self { plan, scope, columns, key, parts, notes }
    }

    /// The names of the key's columns, if rows are told apart by it.
    pub(super) fn key_names(&self) -> Option<Vec<String>> {
        self.key.as_ref()?;
        self.plan.key.as_ref().map(|key| key.iter().map(plain).collect())
    }

    /// The source columns that the key is taken from, if all of it is.
    pub(super) fn key_sources(&self) -> Option<Vec<&Ident>> {
        self.key.as_ref()?;
        let from = |name: &Ident| self.plan.columns.iter().find(|column| column.name == *name)?.from.as_ref();
        self.plan.key.as_ref()?.iter().map(from).collect()
    }

    /// Per part of the source: number, rows, checksum. The second statement, after what sets the `search_path`.
    pub(super) fn source_parts(&self) -> (String, String) {
        let (path, rows) = self.source_rows();
        (path, sums(&rows))
    }

    /// The same of the target, of the rows that this sync owns.
    pub(super) fn target_parts(&self) -> (String, String) {
        let (path, rows) = self.target_rows();
        (path, sums(&format!("select * from ({rows}) as mine where inside")))
    }

    /// The rows of some parts of the source, part by part: part, key, checksum, whether this sync owns it.
    pub(super) fn source_keys(&self, parts: &[i32]) -> (String, String) {
        let (path, rows) = self.source_rows();
        (path, keys(&rows, parts))
    }

    /// The same of the target, with the rows that it does not own.
    pub(super) fn target_keys(&self, parts: &[i32]) -> (String, String) {
        let (path, rows) = self.target_rows();
        (path, keys(&rows, parts))
    }

    fn source_rows(&self) -> (String, String) {
        let (path, sql) =
            whole_source(self.plan, &format!("{}, true as inside", self.expressions(|pair| &pair.0)));
        (format!("set local search_path = {path}"), sql)
    }

    fn target_rows(&self) -> (String, String) {
        let inside = self.scope.map_or_else(|| "true".to_owned(), |scope| format!("(\n{scope}\n) is true"));
        let path = if self.scope.is_some() { "default" } else { "''" };
        let sql = format!(
            "select {}, {inside} as inside from {}",
            self.expressions(|pair| &pair.1),
            self.plan.name
        );
        (format!("set local search_path = {path}"), sql)
    }

    fn expressions(&self, side: impl Fn(&(String, String)) -> &String) -> String {
        let list = |pairs: &[(String, String)]| {
            pairs.iter().map(|pair| side(pair).as_str()).collect::<Vec<_>>().join(", ")
        };
        let (row, key) = (list(&self.columns), list(self.key.as_ref().unwrap_or(&self.columns)));
        let named = self.key.as_ref().map(|key| list(key)).unwrap_or_default();
        let hash = |row: &str, seed| {
            format!(
                "pg_catalog.hashtextextended(row({row})::pg_catalog.text collate pg_catalog.\"C\", {seed})"
            )
        };
        format!(
            "({} & {})::pg_catalog.int4 as part, array[{named}]::pg_catalog.text[] as key, {} as hash",
            hash(&key, 1),
            self.parts - 1,
            hash(&row, 0)
        )
    }
}

fn sums(rows: &str) -> String {
    format!(
        "select part, pg_catalog.count(*), pg_catalog.sum(hash)::pg_catalog.text from ({rows}) as rows group by part"
    )
}

fn keys(rows: &str, parts: &[i32]) -> String {
    let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
    format!(
        "select part, key, hash, inside from ({rows}) as rows where part = any ('{{{}}}'::pg_catalog.int4[]) order by part",
        parts.join(",")
    )
}

/// A value's text, the same on both servers. What has a time zone is written in the session's, which differs.
fn text(value: &str, type_name: &str) -> String {
    let has_zone = type_name.starts_with("timestamp") && type_name.ends_with(" with time zone");
    if has_zone {
        format!("(({value}) at time zone 'UTC')::pg_catalog.text")
    } else if type_name.starts_with("timestamp") && type_name.ends_with(" with time zone[]") {
        format!("pg_catalog.array_send({value})::pg_catalog.text")
    } else if type_name == "tstzrange" {
        format!("pg_catalog.range_send({value})::pg_catalog.text")
    } else {
        format!("({value})::pg_catalog.text")
    }
}
