//! A config proposed from both catalogs, as TOML for the operator to edit.
//!
//! Certain facts are written as active settings; everything that only the operator can decide is a comment next to
//! them.

mod owners;

use std::collections::{BTreeMap, HashSet};
use std::fmt::{self, Write as _};

use owners::Ownership;
pub use owners::{Owners, Values, given, owner_column};

use super::{Plan, Storage, TablePlan};
use crate::config::{ApplyMethod, SOURCE_URL_VARIABLE, TARGET_URL_VARIABLE};
use crate::figures;
use crate::pg::catalog::{Catalog, Column, Oid, Relation};
use crate::pg::name::{Ident, TableName, literal, plain};

/// `timestamptz`, `timestamp`, `date` (catalog `pg_type`).
const TIMES: [Oid; 3] = [1184, 1114, 1082];

/// Maximum number of a column's values that are shown.
const SEEN_MAX: usize = 8;

/// Substrings of column names that suggest a time of writing.
const WRITTEN: [&str; 6] = ["updated", "modified", "changed", "created", "inserted", "last_edit"];

/// Query results from the servers beyond their catalogs.
#[derive(Debug, Default)]
pub struct Seen {
    /// Values of ownership columns, by table.
    pub owners: BTreeMap<TableName, Owners>,
    /// Foreign key columns in which the source writes 0 for "no reference", by table.
    pub zeros: BTreeMap<TableName, Vec<Ident>>,
}

/// A proposed config.
#[derive(Debug)]
pub struct Draft<'a> {
    /// The source's catalog.
    pub source: &'a Catalog,
    /// The target's catalog.
    pub target: &'a Catalog,
    /// The tables that both sides have, in order.
    pub tables: Vec<TableName>,
    /// Tables that cannot be synced as they are, and why.
    pub refused: Vec<(TableName, String)>,
    /// Tables only on the source.
    pub only_source: Vec<TableName>,
    /// Tables only on the target.
    pub only_target: Vec<TableName>,
    /// Query results from the servers.
    pub seen: Seen,
    /// The plan for the tables, once known.
    pub plan: Option<&'a Plan>,
}

/// Returns the target's nullable columns with a single-column foreign key whose source column is NOT NULL.
pub fn nullable_references<'a>(
    source: &'a Relation,
    target: &'a Relation,
) -> impl Iterator<Item = (&'a Ident, &'a TableName, &'a Ident)> {
    target.foreign_keys.iter().filter(|key| key.demands_match()).filter_map(|key| {
        let ([column], [to]) = (&key.from_columns[..], &key.to_columns[..]) else { return None };
        let may_be_null = target.column(column).is_some_and(|column| !column.not_null);
        let is_number = source.column(column).is_some_and(|column| [20, 21, 23].contains(&column.type_oid));
        (may_be_null && is_number).then_some((column, &key.to, to))
    })
}

impl Draft<'_> {
    fn pair(&self, name: &TableName) -> Option<(&Relation, &Relation)> {
        Some((self.source.relations.get(name)?, self.target.relations.get(name)?))
    }

    fn planned(&self, name: &TableName) -> Option<&TablePlan> {
        self.plan?.tables.iter().find(|table| table.name == *name)
    }
}

impl fmt::Display for Draft<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "# Proposed by `bulkload init` from both catalogs. Review the lines that begin with #: only you can\n\
             # decide what they propose. Then run: bulkload plan.\n\n\
             [source]\nurl = \"${{{SOURCE_URL_VARIABLE}}}\"\n\n\
             [target]\nurl = \"${{{TARGET_URL_VARIABLE}}}\"\n"
        )?;
        for name in &self.tables {
            if let Some((source, target)) = self.pair(name) {
                f.write_char('\n')?;
                self.show_table(f, name, source, target)?;
            }
        }
        for (name, why) in &self.refused {
            let what = one_line(&format!("{} is left out: {why}", name.plain()));
            writeln!(f, "\n# {what}\n# [[table]]")?;
            writeln!(f, "# name = {}", one_line(&string(&name.plain())))?;
        }
        only(f, "source", &self.only_source)?;
        only(f, "target", &self.only_target)
    }
}

impl Draft<'_> {
    fn show_table(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &TableName,
        source: &Relation,
        target: &Relation,
    ) -> fmt::Result {
        writeln!(f, "{}", self.headline(name, source))?;
        writeln!(f, "[[table]]\nname = {}", string(&name.plain()))?;
        match self.planned(name) {
            Some(plan) if plan.key.is_some() => {}
            _ => {
                writeln!(
                    f,
                    "# key = [\"…\"]   # the target has no primary key: which columns identify a row?"
                )?;
            }
        }
        self.show_owners(f, name, source, target)?;
        let times = written(source);
        if !times.is_empty() {
            writeln!(
                f,
                "# watermark = {}   # for --mode incremental, with strategy = \"upsert\" or \"insert\"",
                list(&times)
            )?;
        } else if Storage::of(source).xmin_refusal().is_none() {
            writeln!(
                f,
                "# watermark = \"xmin\"   # for --mode incremental, with strategy = \"upsert\" or \"insert\""
            )?;
        }
        self.show_columns(f, name, source, target)?;
        self.show_references(f, name, target)
    }

    /// Returns a comment line with the table's size, key and apply method.
    fn headline(&self, name: &TableName, source: &Relation) -> String {
        let mut line = format!("# {}", figures::bytes(source.bytes()));
        if source.row_estimate >= 1.0 {
            let _ = write!(line, ", about {} rows", figures::count(source.row_estimate as u64));
        }
        if let Some(plan) = self.planned(name) {
            if let Some(key) = &plan.key {
                let key: Vec<String> = key.iter().map(plain).collect();
                let _ = write!(line, "; key {}", one_line(&key.join(", ")));
            }
            if plan.apply != ApplyMethod::Auto {
                let _ = write!(line, "; apply \"{}\" ({})", plan.apply.name(), one_line(&plan.apply_reason));
            }
        }
        line
    }

    /// Writes the table's scope. If ownership is unknown, nothing is deleted.
    fn show_owners(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &TableName,
        source: &Relation,
        target: &Relation,
    ) -> fmt::Result {
        let Some((column, owners)) = owner_column(self.target, target).zip(self.seen.owners.get(name)) else {
            return Ok(());
        };
        let unsaid = string(&format!("{} = '…'", plain(&column.name)));
        let seen = seen(owners);
        match owners::judge(column, source, owners) {
            Ownership::Own(_, scope, why) => {
                writeln!(f, "scope = {}   # {}{seen}", string(&scope), one_line(&why))
            }
            Ownership::Scope(scope, why) => {
                writeln!(f, "scope = {}   # {why}; other rows are left alone{seen}", string(&scope))
            }
            Ownership::Unknown(why) => writeln!(
                f,
                "strategy = \"upsert\"   # nothing is deleted because {}\n\
                 # scope = {unsaid}   # which rows belong to this sync? With a scope, strategy = \"replace\" is safe{seen}",
                one_line(&why)
            ),
        }
    }

    /// Returns whether nothing may be deleted from a table because the owner of its rows is unknown.
    #[must_use]
    pub fn is_ownership_unknown(&self, name: &TableName) -> bool {
        let known = || {
            let (source, target) = self.pair(name)?;
            Some(owners::judge(owner_column(self.target, target)?, source, self.seen.owners.get(name)?))
        };
        matches!(known(), Some(Ownership::Unknown(_)))
    }

    /// Returns the value that the sync's rows get in the ownership column, if any.
    fn own_value(&self, name: &TableName, source: &Relation, target: &Relation) -> Option<(&Ident, String)> {
        let column = owner_column(self.target, target)?;
        match owners::judge(column, source, self.seen.owners.get(name)?) {
            Ownership::Own(value, ..) => {
                self.target.relations.get(name)?.column(&column.name).map(|c| (&c.name, value))
            }
            _ => None,
        }
    }

    fn show_columns(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &TableName,
        source: &Relation,
        target: &Relation,
    ) -> fmt::Result {
        let own = self.own_value(name, source, target);
        let lacks = |other: &Relation, column: &&Column| other.column(&column.name).is_none();
        let left: Vec<&Ident> =
            source.columns.iter().filter(|c| lacks(target, c)).map(|column| &column.name).collect();
        let unfilled = |column: &&Column| {
            lacks(source, column)
                && !column.generated
                && column.identity.is_none()
                && !column.has_default
                && own.as_ref().is_none_or(|(own, _)| **own != column.name)
        };
        let empty: Vec<&Ident> = target.columns.iter().filter(unfilled).map(|column| &column.name).collect();
        if left.is_empty() && empty.is_empty() && own.is_none() {
            return Ok(());
        }
        writeln!(f, "[table.columns]")?;
        if let Some((column, value)) = &own {
            writeln!(
                f,
                "set = {{ {} = {} }}   # marks this sync's rows: choose another value if this one has a meaning",
                key(column),
                string(value)
            )?;
        }
        if !left.is_empty() {
            writeln!(f, "skip = {}   # the target lacks them", list(&left))?;
        }
        if let (Some(from), Some(to)) = (left.first(), empty.first()) {
            writeln!(
                f,
                "# rename = {{ {} = {} }}   # if the column was renamed",
                key(from),
                string(to.as_str())
            )?;
        }
        for column in &empty {
            writeln!(
                f,
                "# set = {{ {} = {{ expr = \"…\" }} }}   # the source lacks it: NULL unless set",
                key(column)
            )?;
        }
        Ok(())
    }

    fn show_references(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &TableName,
        target: &Relation,
    ) -> fmt::Result {
        let zeros = self.seen.zeros.get(name).map(Vec::as_slice).unwrap_or_default();
        // Partitions may repeat a foreign key.
        let mut shown = HashSet::new();
        let keys = target.foreign_keys.iter().filter(|key| key.demands_match());
        for reference in keys.filter(|key| shown.insert((&key.from_columns, &key.to, &key.to_columns))) {
            let names = |columns: &[Ident]| columns.iter().map(plain).collect::<Vec<_>>().join(", ");
            let to = format!("{}({})", reference.to.plain(), names(&reference.to_columns));
            let columns: Vec<&Ident> = reference.from_columns.iter().collect();
            if let [column] = &reference.from_columns[..]
                && zeros.contains(column)
            {
                writeln!(
                    f,
                    "[[table.reference]]\ncolumns = {}\nto = {}\nnull_values = [\"0\"]   # the source writes 0 for no reference",
                    list(&columns),
                    string(&to)
                )?;
            } else {
                let rule =
                    format!("{} must exist in {to}; other rows are rejected", names(&reference.from_columns));
                writeln!(f, "# {}", one_line(&rule))?;
            }
        }
        Ok(())
    }
}

/// Formats ` (seen: 'D', 'M')`: some of the values in the target's rows.
fn seen(owners: &Owners) -> String {
    let values = owners.target.iter().flat_map(Values::keys).flatten();
    let values: Vec<String> = values.take(SEEN_MAX).map(|value| one_line(&literal(value))).collect();
    if values.is_empty() { String::new() } else { format!(" (seen: {})", values.join(", ")) }
}

/// Returns the columns that record when a row was written.
fn written(source: &Relation) -> Vec<&Ident> {
    let tells = |column: &&Column| {
        let name = column.name.as_str().to_lowercase();
        TIMES.contains(&column.type_oid) && WRITTEN.iter().any(|word| name.contains(word))
    };
    source.columns.iter().filter(tells).map(|column| &column.name).collect()
}

fn only(f: &mut fmt::Formatter<'_>, side: &str, names: &[TableName]) -> fmt::Result {
    if names.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n# Only the {side} has:")?;
    names.iter().try_for_each(|name| writeln!(f, "#   {}", one_line(&name.plain())))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Formats a TOML string. A variable reference in it is escaped and so taken literally.
fn string(text: &str) -> String {
    toml::Value::String(text.replace("${", "$${")).to_string()
}

fn list(names: &[&Ident]) -> String {
    let names: Vec<String> = names.iter().map(|name| string(name.as_str())).collect();
    format!("[{}]", names.join(", "))
}

/// Formats a TOML key.
fn key(name: &Ident) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let name = name.as_str();
    if !name.is_empty() && name.chars().all(is_bare) { name.to_owned() } else { string(name) }
}
