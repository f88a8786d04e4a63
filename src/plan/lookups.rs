//! Columns filled from another table of the target, as it will be after the run.
//!
//! The source columns used for matching are sent in addition to the loaded columns, into separate staging columns.
//! They need not be loaded at all, and they keep the source's type, so that values are compared as PostgreSQL
//! compares the two types, without a cast. A loaded column that holds the same values and keeps them is matched
//! directly ([`share`]).

use std::collections::HashMap;

use super::comparison::{Meeting, meeting_type, operator, order_of};
use super::references::entries_of;
use super::{ColumnPlan, Compared, Facts, Group, Judged, Omission, TablePlan};
use crate::config::{LookupConfig, OnOrphan, TableConfig};
use crate::error::{Error, Kind, Location, Phase, Result};
use crate::pg::catalog::{Catalog, Column, Relation, RelationKind};
use crate::pg::name::{Ident, TableName, list, plain};
use crate::pg::render::Renderer;

/// A column filled from another table.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The target column that is filled.
    pub column: Ident,
    /// The looked-up table.
    pub from: TableName,
    /// The pairs of columns that must be equal. NULL never matches.
    pub pairs: Vec<Pair>,
    /// The column whose value is taken.
    pub value: Ident,
    /// The ORDER BY term that finds the smallest of several values; `{}` stands for the value.
    pub value_order: &'static str,
    /// Whether the matched columns identify a row of the looked-up table, so that there is at most one value.
    pub is_unique: bool,
    /// Values that are loaded as NULL.
    pub null_values: Vec<String>,
    /// Whether a row without a match is rejected instead of getting NULL.
    pub rejects_missing: bool,
    /// The entries that load the looked-up table; empty if the run does not change it.
    pub parents: Vec<usize>,
    /// Whether both tables are part of one cycle, so that the looked-up table is settled only after references have
    /// been judged.
    pub is_deferred: bool,
    /// Where the column is filled.
    pub judged: Judged,
    /// Its location in the config.
    pub at: Location,
}

/// Two columns that must be equal.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The source's column.
    pub source: Ident,
    /// The staging column it is sent into: a loaded column, or one that exists only for matching.
    pub staged: Ident,
    /// The type of that column, as SQL.
    pub type_name: String,
    /// The column of the looked-up table.
    pub theirs: Ident,
    /// The comparison operator, with the looked-up column on the left, as SQL.
    pub operator: String,
    /// The looked-up column's collation where it is not the type's own, as SQL.
    pub collation: Option<String>,
}

/// The lookups of one entry, and the columns that must be sent for them.
pub(super) struct Found {
    pub(super) lookups: Vec<Lookup>,
    /// Columns that exist only in staging.
    pub(super) matched: Vec<ColumnPlan>,
    /// Columns that can only be sent as text, with the reason.
    pub(super) text_only: Vec<(Ident, &'static str)>,
    pub(super) warnings: Vec<String>,
}

/// Finds the lookups of an entry. Which entries load the looked-up tables is determined later.
///
/// # Errors
/// [`Kind::Schema`] if a table or column is missing or types cannot match, [`Kind::Refused`] and [`Kind::Permission`]
/// if the table cannot be looked up.
pub(super) fn of_table(
    table: &TableConfig,
    source: &[Column],
    target: &Relation,
    loaded: &[ColumnPlan],
    facts: &Facts<'_>,
) -> Result<Found> {
    let mut found =
        Found { lookups: Vec::new(), matched: Vec::new(), text_only: Vec::new(), warnings: Vec::new() };
    for config in &table.lookups {
        let lookup = found.lookup(table, config, source, target, facts)?;
        found.lookups.push(lookup);
    }
    // COPY accepts a column name only once.
    for column in &mut found.matched {
        column.is_plain = column.is_plain && !loaded.iter().any(|other| other.source == column.source);
    }
    Ok(found)
}

impl Found {
    fn lookup(
        &mut self,
        table: &TableConfig,
        config: &LookupConfig,
        source: &[Column],
        target: &Relation,
        facts: &Facts<'_>,
    ) -> Result<Lookup> {
        let column = filled(config, target)?;
        if column.not_null && !config.reject_missing {
            self.warnings.push(format!(
                "column {} is NOT NULL: a row without a match in {} fails the table, unless on_missing = \"reject\"",
                plain(&column.name),
                config.from.value.plain()
            ));
        }
        let parent = looked_up(config, &table.name.value, facts.target)?;
        let value = theirs(parent, &config.value.value, &config.value.at, &facts.target.server.role)?;
        let mut pairs = Vec::with_capacity(config.on.len());
        for (name, to) in &config.on {
            let Some(from) = source.iter().find(|column| column.name == name.value) else {
                return Err(Error::new(
                    Phase::Plan,
                    Kind::Schema,
                    format!("{}: the source has no column {}", table.name.value.plain(), plain(&name.value)),
                )
                .at(name.at.clone())
                .hint(format!("It has {}.", list(source.iter().map(|column| &column.name)))));
            };
            if !from.may_select {
                let what = format!(
                    "{}: the role has no SELECT on column {} of the source",
                    table.name.value.plain(),
                    plain(&from.name)
                );
                return Err(Error::new(Phase::Plan, Kind::Permission, what)
                    .at(name.at.clone())
                    .hint("Grant SELECT to the role on the source."));
            }
            let to = theirs(parent, to, &name.at, &facts.target.server.role)?;
            let meeting = meeting_type(facts, from, to).ok_or_else(|| no_match(config, name, from, to))?;
            pairs.push(self.pair(facts, from, to, meeting, target));
        }
        let null_values = table.references.iter().filter(|r| r.columns.value.contains(&column.name));
        Ok(Lookup {
            column: column.name.clone(),
            from: parent.name.clone(),
            value_order: order_of(facts.target, value),
            value: value.name.clone(),
            is_unique: identifies_live(parent, &pairs),
            pairs,
            null_values: null_values.flat_map(|reference| reference.null_values.clone()).collect(),
            rejects_missing: config.reject_missing,
            parents: Vec::new(),
            is_deferred: false,
            judged: Judged::Staged(String::new()),
            at: config.from.at.clone(),
        })
    }

    fn pair(
        &mut self,
        facts: &Facts<'_>,
        from: &Column,
        to: &Column,
        meeting: Meeting,
        target: &Relation,
    ) -> Pair {
        let Meeting { source, type_name, type_oid, text_only } = meeting;
        let is_known = |known: &&ColumnPlan| {
            known.from.as_ref() == Some(&from.name) && known.type_name == type_name && known.source == source
        };
        let staged = if let Some(known) = self.matched.iter().find(is_known) {
            known.name.clone()
        } else {
            let name = hidden_name(self.matched.len(), target);
            if let Some(why) = text_only {
                self.text_only.push((from.name.clone(), why));
            }
            let is_plain = !from.generated && source == from.name.to_string();
            self.matched.push(ColumnPlan {
                name: name.clone(),
                type_oid,
                type_name: type_name.clone(),
                renderer: Renderer::for_type(facts.source, type_oid),
                collation: None,
                source,
                compared: Compared::Not(Omission::LookedUp),
                is_plain,
                is_kept: true,
                from: Some(from.name.clone()),
                constant: None,
                is_defaulted: false,
                is_users_sql: false,
                way_out: None,
                identity: None,
            });
            name
        };
        Pair {
            source: from.name.clone(),
            staged,
            type_name,
            theirs: to.name.clone(),
            operator: operator(facts.target, to),
            collation: to.collation.clone(),
        }
    }
}

/// Returns a name that no target column has. All other staging columns are target columns.
fn hidden_name(number: usize, target: &Relation) -> Ident {
    let mut name = Ident::new(format!("bulkload_match_{}", number + 1));
    while target.column(&name).is_some() {
        name = Ident::new(format!("{}_", name.as_str()));
    }
    name
}

/// Returns the column to fill.
fn filled<'a>(config: &LookupConfig, target: &'a Relation) -> Result<&'a Column> {
    let at = &config.column.at;
    let name = &config.column.value;
    match target.column(name) {
        None => Err(no_column(target, name, at)),
        Some(column) if column.generated => {
            let message =
                format!("column {} of the target is generated and cannot be given a value", plain(name));
            Err(Error::new(Phase::Plan, Kind::Schema, message)
                .at(at.clone())
                .hint("Remove the lookup: the target computes the column."))
        }
        Some(column) => Ok(column),
    }
}

/// Returns the looked-up table.
fn looked_up<'a>(config: &LookupConfig, ours: &TableName, target: &'a Catalog) -> Result<&'a Relation> {
    let (name, at) = (&config.from.value, &config.from.at);
    let refuse = |kind, message: String, hint: String| {
        Err(Error::new(Phase::Plan, kind, message).at(at.clone()).hint(hint))
    };
    let Some(parent) = target.relations.get(name) else {
        return refuse(
            Kind::Schema,
            format!("the target has no table {}", name.plain()),
            "A lookup reads a table of the target. Write names as in SQL: they are folded to lower case unless double-quoted, and the schema defaults to public.".to_owned(),
        );
    };
    if !matches!(parent.kind, RelationKind::Table | RelationKind::Partitioned) {
        return refuse(
            Kind::Schema,
            format!("{} on the target is a {}, not a table", name.plain(), parent.kind.word()),
            "Look up the table that contains the rows.".to_owned(),
        );
    }
    if name == ours {
        return refuse(
            Kind::Refused,
            format!("a cycle among lookups: {} looks itself up", name.plain()),
            "Compute the column in the source: query = \"select …\".".to_owned(),
        );
    }
    if parent.rights.rows_hidden {
        return refuse(
            Kind::Permission,
            format!("row-level security on {} of the target would hide rows from this role", name.plain()),
            "Connect as the table's owner, or as a role with BYPASSRLS.".to_owned(),
        );
    }
    Ok(parent)
}

/// Returns a column of the looked-up table that our role may read.
fn theirs<'a>(parent: &'a Relation, name: &Ident, at: &Location, role: &str) -> Result<&'a Column> {
    let column = parent.column(name).ok_or_else(|| no_column(parent, name, at))?;
    if !parent.rights.select && !column.may_select {
        let (table, role) = (parent.name.plain(), plain(&Ident::new(role)));
        let message = format!("the role {role} has no SELECT on {table} of the target");
        return Err(Error::new(Phase::Plan, Kind::Permission, message)
            .at(at.clone())
            .hint(format!("On the target: grant select on {table} to {role};")));
    }
    Ok(column)
}

fn no_column(relation: &Relation, name: &Ident, at: &Location) -> Error {
    let message = format!("{} on the target has no column {}", relation.name.plain(), plain(name));
    Error::new(Phase::Plan, Kind::Schema, message)
        .at(at.clone())
        .hint(format!("It has {}.", list(relation.columns.iter().map(|column| &column.name))))
}

fn no_match(
    config: &LookupConfig,
    name: &crate::config::Located<Ident>,
    from: &Column,
    to: &Column,
) -> Error {
    let message = format!(
        "lookup of {}: source column {} is {}, {} of {} is {}: these types cannot be compared",
        plain(&config.column.value),
        plain(&from.name),
        from.type_name,
        plain(&to.name),
        config.from.value.plain(),
        to.type_name
    );
    Error::new(Phase::Plan, Kind::Schema, message).at(name.at.clone()).hint(CAST_HINT)
}

/// The hint for types that PostgreSQL cannot compare.
pub(crate) const CAST_HINT: &str = "Cast the source column with query = \"select *, a_column::a_type as another from …\", and match the new column.";

/// Returns whether a unique index of the live table guarantees at most one row.
fn identifies_live(parent: &Relation, pairs: &[Pair]) -> bool {
    let is_matched = |name: &Ident| pairs.iter().any(|pair| pair.theirs == *name);
    parent.unique_indexes.iter().any(|index| index.is_plain() && index.columns.iter().all(is_matched))
}

/// Determines which entries load the looked-up tables.
///
/// # Errors
/// [`Kind::Refused`] for a cycle.
pub(super) fn connect(tables: &mut [TablePlan]) -> Result<()> {
    let keys: Vec<Option<Vec<Ident>>> = tables.iter().map(|table| table.key.clone()).collect();
    let lookups = tables.iter().flat_map(|table| &table.lookups);
    let parents: HashMap<TableName, Vec<usize>> =
        lookups.map(|lookup| (lookup.from.clone(), entries_of(tables, &lookup.from))).collect();
    let mut is_looked_up = vec![false; tables.len()];
    for lookup in tables.iter_mut().flat_map(|table| &mut table.lookups) {
        lookup.parents = parents.get(&lookup.from).cloned().unwrap_or_default();
        lookup.parents.iter().for_each(|&parent| is_looked_up[parent] = true);
        match *lookup.parents.as_slice() {
            [] => {}
            // Only one of several rows with the same key is loaded.
            [parent] => {
                let is_matched = |name: &Ident| lookup.pairs.iter().any(|pair| pair.theirs == *name);
                let has_key = keys[parent].as_ref().is_some_and(|key| key.iter().all(is_matched));
                lookup.is_unique = lookup.is_unique && has_key;
            }
            _ => lookup.is_unique = false,
        }
    }
    for (table, is_looked_up) in tables.iter_mut().zip(is_looked_up) {
        table.is_looked_up = is_looked_up;
    }
    refuse_unloaded(tables)?;
    refuse_cycles(tables)
}

/// Checks that this run loads the columns that are looked up in a table of the run.
fn refuse_unloaded(tables: &[TablePlan]) -> Result<()> {
    for (table, lookup) in tables.iter().flat_map(|table| table.lookups.iter().map(move |l| (table, l))) {
        for &parent in &lookup.parents {
            let mut needed = lookup.pairs.iter().map(|pair| &pair.theirs).chain([&lookup.value]);
            let Some(column) = needed.find(|name| !tables[parent].is_loaded(name)) else { continue };
            let message = format!(
                "{}: the lookup of {} needs column {} of {}, which this run loads without it",
                table.name.plain(),
                plain(&lookup.column),
                plain(column),
                lookup.from.plain()
            );
            return Err(Error::new(Phase::Plan, Kind::Refused, message).at(lookup.at.clone()).hint(format!(
                "Fill the column of {} under its [table.columns], or look up another column.",
                lookup.from.plain()
            )));
        }
    }
    Ok(())
}

fn refuse_cycles(tables: &[TablePlan]) -> Result<()> {
    for start in 0..tables.len() {
        let mut path = vec![start];
        if let Some(at) = find_cycle(tables, &mut path) {
            let names: Vec<String> = path.iter().map(|&table| tables[table].name.plain()).collect();
            let message = format!("a cycle among lookups: {}", names.join(" looks up "));
            return Err(Error::new(Phase::Plan, Kind::Refused, message)
                .at(at)
                .hint("Compute one of the columns in the source: query = \"select …\"."));
        }
    }
    Ok(())
}

/// Follows lookups from the last table of `path` back to the first. The depth is at most the number of tables.
fn find_cycle(tables: &[TablePlan], path: &mut Vec<usize>) -> Option<Location> {
    let (first, last) = (*path.first()?, *path.last()?);
    for lookup in &tables[last].lookups {
        for &parent in &lookup.parents {
            if tables[parent].name == tables[first].name {
                path.push(parent);
                return Some(lookup.at.clone());
            }
            if path.contains(&parent) {
                // A cycle that does not lead back to the first table is found from one of its members.
                continue;
            }
            path.push(parent);
            if let Some(at) = find_cycle(tables, path) {
                return Some(at);
            }
            path.pop();
        }
    }
    None
}

/// Matches loaded columns directly where they hold the values that would be sent in addition. References must have
/// been found, because a column that becomes NULL for orphans changes before or after the lookups of staging are
/// filled.
pub(super) fn share(tables: &mut [TablePlan]) {
    for table in tables {
        let is_nulled = |name: &Ident| {
            let mut nulling = table.references.iter().filter(|r| r.on_orphan == OnOrphan::Null);
            nulling.any(|reference| reference.columns.contains(name))
        };
        let holds_the_same = |loaded: &ColumnPlan, matched: &ColumnPlan| {
            matched.from.is_some()
                && (&loaded.from, &loaded.source) == (&matched.from, &matched.source)
                && (loaded.type_oid, &loaded.type_name) == (matched.type_oid, &matched.type_name)
                && loaded.collation.is_none()
                && loaded.way_out.is_none()
        };
        let instead_of = |matched: &ColumnPlan| {
            let mut loaded = table.columns.iter().filter(|column| holds_the_same(column, matched));
            loaded.find(|column| !table.is_filled(&column.name) && !is_nulled(&column.name))
        };
        let shared: HashMap<Ident, Ident> = table
            .match_columns
            .iter()
            .filter_map(|matched| Some((matched.name.clone(), instead_of(matched)?.name.clone())))
            .collect();
        table.match_columns.retain(|matched| !shared.contains_key(&matched.name));
        for pair in table.lookups.iter_mut().flat_map(|lookup| &mut lookup.pairs) {
            if let Some(loaded) = shared.get(&pair.staged) {
                pair.staged = loaded.clone();
            }
        }
    }
}

/// Marks the lookups whose table is part of a cycle with the table being filled.
pub(super) fn defer(tables: &mut [TablePlan], groups: &[Group]) {
    for circle in groups.iter().flat_map(|group| &group.order) {
        for &table in circle {
            for lookup in &mut tables[table].lookups {
                lookup.is_deferred = lookup.parents.iter().any(|parent| circle.contains(parent));
            }
        }
    }
}

impl Pair {
    /// Returns the comparison as SQL, with the looked-up column as `theirs` and the staging row as `staged`.
    pub(crate) fn matches_sql(&self, theirs: &str, staged: &str) -> String {
        let collate = self.collation.as_ref().map(|c| format!(" collate {c}")).unwrap_or_default();
        format!("{theirs} {} {staged}.{}{collate}", self.operator, self.staged)
    }
}

impl Lookup {
    /// Returns the matched source columns, under their names on the source.
    #[must_use]
    pub fn sources(&self) -> String {
        self.pairs.iter().map(|pair| pair.source.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Returns SQL that sorts values, smallest first.
    pub(crate) fn order_sql(&self, value: &str) -> String {
        self.value_order.replace("{}", value)
    }

    /// Returns SQL for the loaded value, with `null_values` applied.
    pub(crate) fn loaded_sql(&self, value: &str) -> String {
        let nullif =
            |sql: String, null: &String| format!("nullif({sql}, {})", crate::pg::name::literal(null));
        self.null_values.iter().fold(value.to_owned(), nullif)
    }

    /// Returns a statement without effect that the target accepts only if the types can be compared and the value can
    /// be assigned.
    #[must_use]
    pub fn trial_sql(&self, table: &TableName) -> String {
        let nulls: Vec<String> =
            self.pairs.iter().map(|pair| format!("null::{} as {}", pair.type_name, pair.staged)).collect();
        let keys = list(self.pairs.iter().map(|pair| &pair.theirs));
        let on: Vec<String> =
            self.pairs.iter().map(|pair| pair.matches_sql(&format!("m.{}", pair.theirs), "s")).collect();
        format!(
            "insert into {table} ({}) overriding system value
             select {} from (
                 select distinct on ({keys}) p.* from {} as p order by {keys}, {}) as m
             join (select {}) as s on {}",
            self.column,
            self.loaded_sql(&format!("m.{}", self.value)),
            self.from,
            self.order_sql(&format!("p.{}", self.value)),
            nulls.join(", "),
            on.join(" and ")
        )
    }
}

impl std::fmt::Display for Lookup {
    /// Describes the lookup for people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pairs: Vec<String> = self
            .pairs
            .iter()
            .map(|pair| format!("{} = {}", plain(&pair.theirs), plain(&pair.source)))
            .collect();
        write!(
            f,
            "{} = {} of {} where {}, {}",
            plain(&self.column),
            plain(&self.value),
            self.from.plain(),
            pairs.join(" and "),
            if self.rejects_missing { "rejected if there is no match" } else { "NULL if there is no match" }
        )
    }
}
