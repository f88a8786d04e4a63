//! The statements of a comparison: checksums of parts of both sides, and the keys and checksums of the rows of some parts.
//!
//! A part is what keys of one hash fall into: both servers agree on it, whatever their collations. A row's checksum is
//! the hash of the texts of its columns, as the plan says how each is compared; a part's is the sum of them, so that the order
//! does not matter.
//!
//! Two kinds of columns stand apart from a row's checksum. Those that may be NULL for an orphan have checksums of their own. Those that
//! only the target can read come as texts: the source's text is sent to the target, which reads it and answers with the checksum
//! of what it has read ([`Comparison::reading`]).

use crate::config::OnOrphan;
use crate::extract::whole_source;
use crate::pg::name::{Ident, literal, plain};
use crate::plan::{Compared, Image, Lookup, Omission, SOURCE_ZONE, TablePlan};
use crate::report::verification::NotCompared;

/// The most parts that a table is cut into.
const PARTS_MAX: u64 = 1 << 14;

/// Rows of a part, about.
const PART_ROWS: u64 = 256;

/// SQL on the source and on the target.
type Both = (String, String);

/// How a table is compared.
pub(super) struct Comparison<'p> {
    plan: &'p TablePlan,
    scope: Option<&'p str>,
    /// Each column's text.
    columns: Vec<Both>,
    /// The text of columns in which NULL may stand for an orphan, with their names.
    nullable: Vec<(&'p Ident, Both)>,
    /// The source's text of columns that the target reads, the target's text, and the type.
    read: Vec<(Both, &'p str)>,
    /// The same of the key; the whole row where there is none that both sides know.
    key: Option<Vec<Both>>,
    /// Lookups whose outcome the target can be asked for.
    lookups: Vec<&'p Lookup>,
    parts: u64,
    /// What is not compared, and why.
    pub(super) omitted: Vec<NotCompared>,
    /// What people should know besides.
    pub(super) notes: Vec<String>,
}

impl<'p> Comparison<'p> {
    /// Finds out what can be compared.
    pub(super) fn new(plan: &'p TablePlan, scope: Option<&'p str>) -> Self {
        let parts = (plan.row_estimate / PART_ROWS).next_power_of_two().clamp(64, PARTS_MAX);
        let mut comparison = Self {
            plan,
            scope,
            columns: Vec::new(),
            nullable: Vec::new(),
            read: Vec::new(),
            key: None,
            lookups: Vec::new(),
            parts,
            omitted: Vec::new(),
            notes: Vec::new(),
        };
        let is_nulled = |name: &Ident| {
            let nulls = plan.references.iter().filter(|reference| reference.on_orphan == OnOrphan::Null);
            nulls.flat_map(|reference| &reference.columns).any(|column| column == name)
        };
        let mut texts = Vec::new();
        for column in &plan.columns {
            let name = &column.name;
            if plan.verify_ignore.contains(name) {
                comparison.omit(name, "verify_ignore names it", true);
                continue;
            }
            match &column.compared {
                Compared::Values { source, target, image } => {
                    let both = (image.sql(source), image.sql(target));
                    if is_nulled(name) {
                        comparison.nullable.push((name, both));
                    } else {
                        texts.push((name, both.clone()));
                        comparison.columns.push(both);
                    }
                }
                Compared::ReadByTarget(_) if is_nulled(name) => {
                    comparison.omit(
                        name,
                        "orphans are loaded with NULL in it, and only the target can read its values",
                        false,
                    );
                }
                Compared::ReadByTarget(source) => {
                    let both = (Image::Text.sql(source), Image::Text.sql(&name.to_string()));
                    comparison.read.push((both, &column.type_name));
                }
                Compared::Not(Omission::Expression) => {
                    comparison.omit(name, "an expr computes it when it is loaded", true);
                }
                Compared::Not(Omission::Default) => {
                    comparison.omit(name, "the target's default fills it when it is loaded", true);
                }
                Compared::Not(Omission::LookedUp) => comparison.look_up(name, is_nulled(name)),
            }
        }
        let (target, source) = &plan.unmapped;
        for name in target {
            comparison.omit(name, "nothing of the source fills it", true);
        }
        for name in source {
            comparison.omit(name, "left behind in the source", true);
        }
        let text_of =
            |name: &Ident| texts.iter().find(|(known, _)| *known == name).map(|(_, both)| both.clone());
        comparison.key =
            plan.key.as_ref().and_then(|key| key.iter().map(text_of).collect::<Option<Vec<_>>>());
        if plan.key.is_some() && comparison.key.is_none() {
            let note = "the key is not compared as such, so that rows that differ are not named";
            comparison.notes.push(note.to_owned());
        }
        comparison
    }

    /// Leaves a column out.
    fn omit(&mut self, column: &Ident, why: &'static str, is_meant: bool) {
        self.omitted.push(NotCompared { column: plain(column), why, is_meant });
    }

    /// A column that a lookup fills: the target looks it up again, if it has all that is matched.
    fn look_up(&mut self, column: &Ident, is_nulled: bool) {
        let lookup = self.plan.lookups.iter().find(|lookup| lookup.column == *column);
        let is_loaded = |name: &Ident| self.plan.columns.iter().any(|column| column.name == *name);
        let found = lookup.filter(|lookup| lookup.pairs.iter().all(|pair| is_loaded(&pair.staged)));
        let Some(lookup) = found else {
            return self.omit(column, "a lookup fills it by columns that are not loaded", false);
        };
        let kind = self.plan.columns.iter().find(|known| known.name == *column).map(|known| &known.type_name);
        let kind = kind.map_or("pg_catalog.text", String::as_str);
        let value = lookup.loaded_sql(&looked_up_value(self.lookups.len()));
        let image = Image::Text;
        let column = column.to_string();
        let same = format!(
            "{} is not distinct from {}",
            image.sql(&column),
            image.sql(&format!("({value})::{kind}"))
        );
        let same = if is_nulled { format!("{column} is null or {same}") } else { same };
        self.columns.push((image.sql("true"), image.sql(&same)));
        self.lookups.push(lookup);
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

    /// The columns in which NULL may stand for an orphan.
    pub(super) fn nullable_names(&self) -> String {
        self.nullable.iter().map(|(name, _)| plain(name)).collect::<Vec<_>>().join(", ")
    }

    /// Whether the checksums of parts leave columns out, so that every row has to be looked at.
    pub(super) fn reads(&self) -> bool {
        !self.read.is_empty()
    }

    /// What the target answers to the texts of one row, in arrays with an element for each row ($1 and so on): per row an array of
    /// checksums.
    pub(super) fn reading(&self) -> String {
        let arrays: Vec<String> =
            (1..=self.read.len()).map(|n| format!("pg_catalog.unnest(${n}::pg_catalog.text[])")).collect();
        let names: Vec<String> = (1..=self.read.len()).map(|n| format!("v{n}")).collect();
        let sums: Vec<String> = self
            .read
            .iter()
            .zip(&names)
            .map(|((_, kind), name)| hash(&Image::Text.sql(&format!("{name}::{kind}"))))
            .collect();
        format!(
            "select array[{}]::pg_catalog.int8[] from rows from ({}) with ordinality as rows ({}, n) order by n",
            sums.join(", "),
            arrays.join(", "),
            names.join(", ")
        )
    }

    /// How many texts of a row the target reads.
    pub(super) fn texts(&self) -> usize {
        self.read.len()
    }

    /// Per part of the source: number, rows, checksum. The second statement, after what sets the `search_path`.
    pub(super) fn source_parts(&self) -> Both {
        let (path, rows) = self.source_rows();
        (path, self.sums(&rows))
    }

    /// The same of the target, of the rows that this sync owns.
    pub(super) fn target_parts(&self) -> Both {
        let (path, rows) = self.target_rows();
        (path, self.sums(&format!("select * from ({rows}) as mine where inside")))
    }

    /// The rows of some parts of the source, part by part: part, key, checksum, whether this sync owns it, checksums of columns that may
    /// be NULL, texts for the target to read.
    pub(super) fn source_keys(&self, parts: &[i32]) -> Both {
        let (path, rows) = self.source_rows();
        (path, keys(&rows, parts))
    }

    /// The same of the target, with the rows that it does not own, and with checksums of what it has read in the place of texts.
    pub(super) fn target_keys(&self, parts: &[i32]) -> Both {
        let (path, rows) = self.target_rows();
        (path, keys(&rows, parts))
    }

    fn sums(&self, rows: &str) -> String {
        let sum = match self.nullable.as_slice() {
            [] => "pg_catalog.sum(hash)::pg_catalog.text".to_owned(),
            _ => format!(
                // With the row that they belong to: values that rows have exchanged are a difference.
                "pg_catalog.concat_ws(' ', pg_catalog.sum(hash), pg_catalog.sum({}))",
                row_hash("hash, key, nullable", 0)
            ),
        };
        format!("select part, pg_catalog.count(*), {sum} from ({rows}) as rows group by part")
    }

    fn source_rows(&self) -> Both {
        let read: Vec<String> = self.read.iter().map(|((source, _), _)| source.clone()).collect();
        let (path, sql) =
            whole_source(self.plan, &format!("{}, true as inside", self.expressions(|both| &both.0, &read)));
        (format!("set local search_path = {path}"), sql)
    }

    fn target_rows(&self) -> Both {
        let inside = self.scope.map_or_else(|| "true".to_owned(), |scope| format!("(\n{scope}\n) is true"));
        let path = if self.scope.is_some() { "default" } else { "''" };
        let read: Vec<String> =
            self.read.iter().map(|((_, target), _)| format!("({})::pg_catalog.text", hash(target))).collect();
        let expressions = self.expressions(|both| &both.1, &read);
        // The scope's names are the table's own: what lookups bring is joined around it.
        let sql = if self.lookups.is_empty() {
            format!("select {expressions}, {inside} as inside from {}", self.plan.name)
        } else {
            let joins: String =
                self.lookups.iter().enumerate().map(|(n, lookup)| looked_up(n, lookup)).collect();
            format!(
                "select {expressions}, inside from (select *, {inside} as inside from {}) as {THE_TABLE}{joins}",
                self.plan.name
            )
        };
        (format!("set local search_path = {path}"), sql)
    }

    fn expressions(&self, side: impl Fn(&Both) -> &String, read: &[String]) -> String {
        let list = |both: &[Both]| both.iter().map(|both| side(both).as_str()).collect::<Vec<_>>().join(", ");
        let (row, key) = (list(&self.columns), list(self.key.as_ref().unwrap_or(&self.columns)));
        let named = self.key.as_ref().map(|key| list(key)).unwrap_or_default();
        let nullable: Vec<String> = self.nullable.iter().map(|(_, both)| hash(side(both))).collect();
        format!(
            "({} & {})::pg_catalog.int4 as part, array[{named}]::pg_catalog.text[] as key, {} as hash,
             array[{}]::pg_catalog.int8[] as nullable, array[{}]::pg_catalog.text[] as read",
            row_hash(&key, 1),
            self.parts - 1,
            row_hash(&row, 0),
            nullable.join(", "),
            read.join(", ")
        )
    }
}

/// The table within a statement that joins what lookups bring.
const THE_TABLE: &str = "bulkload_table";

/// What a lookup brings, joined to the table's rows: one value at most for each.
fn looked_up(number: usize, lookup: &Lookup) -> String {
    let name = |n: usize| format!("bulkload_key_{number}_{n}");
    let keys: Vec<String> = lookup.pairs.iter().map(|pair| format!("p.{}", pair.theirs)).collect();
    let named: Vec<String> =
        keys.iter().enumerate().map(|(n, key)| format!("{key} as {}", name(n))).collect();
    let on: Vec<String> = lookup
        .pairs
        .iter()
        .enumerate()
        .map(|(n, pair)| pair.matches_sql(&format!("bulkload_lookup_{number}.{}", name(n)), THE_TABLE))
        .collect();
    let keys = keys.join(", ");
    format!(
        " left join (
             select distinct on ({keys}) {}, p.{} as {} from {} as p order by {keys}, {}
         ) as bulkload_lookup_{number} on {}",
        named.join(", "),
        lookup.value,
        looked_up_value(number),
        lookup.from,
        lookup.order_sql(&format!("p.{}", lookup.value)),
        on.join(" and ")
    )
}

fn looked_up_value(number: usize) -> String {
    format!("bulkload_value_{number}")
}

/// The checksum of a text; NULL of NULL.
fn hash(text: &str) -> String {
    format!("pg_catalog.hashtextextended(({text}) collate pg_catalog.\"C\", 0)")
}

/// The checksum of a row.
fn row_hash(row: &str, seed: u8) -> String {
    format!("pg_catalog.hashtextextended(row({row})::pg_catalog.text collate pg_catalog.\"C\", {seed})")
}

/// Has the target know the source's time zone.
pub(super) fn set_source_zone(zone: &str) -> String {
    format!("set local {SOURCE_ZONE} = {}", literal(zone))
}

fn keys(rows: &str, parts: &[i32]) -> String {
    let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
    format!(
        "select part, key, hash, inside, nullable, read from ({rows}) as rows
         where part = any ('{{{}}}'::pg_catalog.int4[]) order by part",
        parts.join(",")
    )
}
