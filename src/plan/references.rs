//! What must have a match: the target's foreign keys, tuned or joined by those that the config declares.

use std::collections::HashMap;

use super::{Facts, Judged, TablePlan};
use crate::config::{OnOrphan, ReferenceConfig, TableConfig};
use crate::error::{Error, Kind, Location, Phase, Result};
use crate::pg::catalog::{Catalog, ForeignKey};
use crate::pg::name::{Ident, TableName, list, literal, plain};

/// A reference of a table's loaded rows to a table of the target, as that will be after the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// The constraint's name, or `table(columns)` where the config declares it.
    pub name: String,
    /// Whether it is the config's, not the catalog's.
    pub is_declared: bool,
    /// The referencing columns.
    pub columns: Vec<Ident>,
    /// The referenced table.
    pub to: TableName,
    /// Its columns.
    pub to_columns: Vec<Ident>,
    /// How each pair is compared, as SQL: the constraint's own operators where there is one.
    pub operators: Vec<String>,
    /// The collation of each comparison where it is not the type's own, as SQL: the referenced column's.
    pub collations: Vec<Option<String>>,
    /// MATCH FULL: some NULLs among non-NULLs are an orphan.
    pub match_full: bool,
    /// What happens to an orphan.
    pub on_orphan: OnOrphan,
    /// The entries of the plan whose rows the referenced table will hold; none: it stays as it is.
    pub parents: Vec<usize>,
    /// Where it is judged.
    pub judged: Judged,
}

/// Finds the references of every table, and makes `null_values` NULL where the source reads them.
///
/// # Errors
/// [`Kind::Schema`] where a declared reference names what is not there, [`Kind::Refused`] where it cannot work.
pub(super) fn find(tables: &mut [TablePlan], configs: &[TableConfig], facts: &Facts<'_>) -> Result<()> {
    let mut entries: HashMap<TableName, Vec<usize>> = HashMap::new();
    for (i, table) in tables.iter().enumerate() {
        entries.entry(table.name.clone()).or_default().push(i);
    }
    let mut found = Vec::with_capacity(tables.len());
    for table in tables.iter() {
        let config = &configs[table.entry];
        found.push(of_table(table, config, facts.target, tables, &entries)?);
    }
    for (table, references) in tables.iter_mut().zip(found) {
        let config = &configs[table.entry];
        config.references.iter().for_each(|tuned| nullify(table, tuned));
        table.references = references;
    }
    Ok(())
}

fn of_table(
    table: &TablePlan,
    config: &TableConfig,
    target: &Catalog,
    tables: &[TablePlan],
    entries: &HashMap<TableName, Vec<usize>>,
) -> Result<Vec<Reference>> {
    let is_loaded = |name: &Ident| table.columns.iter().any(|column| column.name == *name);
    let mut references = Vec::new();
    let keys: &[ForeignKey] = target.relations.get(&table.name).map_or(&[], |r| &r.foreign_keys);
    // A foreign key over columns that are not loaded is left to the constraint itself, and so is a temporal one.
    for key in keys.iter().filter(|key| key.demands_match() && key.from_columns.iter().all(is_loaded)) {
        let tuned = config.references.iter().find(|tuned| is_about(tuned, key));
        references.push(Reference {
            name: key.name.as_str().to_owned(),
            is_declared: false,
            columns: key.from_columns.clone(),
            to: key.to.clone(),
            to_columns: key.to_columns.clone(),
            operators: key.operators.clone(),
            collations: collations(target, &key.to, &key.to_columns, table, &key.from_columns),
            match_full: key.match_full,
            on_orphan: tuned.map_or(OnOrphan::Reject, |tuned| tuned.on_orphan),
            parents: entries.get(&key.to).cloned().unwrap_or_default(),
            judged: Judged::Staged(String::new()),
        });
    }
    for declared in
        config.references.iter().filter(|d| !keys.iter().any(|key| key.demands_match() && is_about(d, key)))
    {
        references.push(declare(table, declared, target, entries)?);
    }
    for reference in &references {
        let tuned = config.references.iter().find(|tuned| tuned.columns.value == reference.columns);
        let at = tuned.map_or(&config.name.at, |tuned| &tuned.columns.at);
        check(table, reference, target, tables, at)?;
    }
    Ok(references)
}

/// Whether a `[[table.reference]]` tunes this foreign key.
fn is_about(tuned: &ReferenceConfig, key: &ForeignKey) -> bool {
    let (to, to_columns) = &tuned.to.value;
    let pairs = |columns: &[Ident], to: &[Ident]| {
        let mut pairs: Vec<(Ident, Ident)> = columns.iter().cloned().zip(to.iter().cloned()).collect();
        pairs.sort();
        pairs
    };
    *to == key.to && pairs(&tuned.columns.value, to_columns) == pairs(&key.from_columns, &key.to_columns)
}

fn declare(
    table: &TablePlan,
    declared: &ReferenceConfig,
    target: &Catalog,
    entries: &HashMap<TableName, Vec<usize>>,
) -> Result<Reference> {
    let (to, to_columns) = &declared.to.value;
    let missing = |what: String, at: &Location, hint: String| {
        Err(Error::new(Phase::Plan, Kind::Schema, what).at(at.clone()).hint(hint))
    };
    let Some(parent) = target.relations.get(to) else {
        return missing(
            format!("the target has no table {}", to.plain()),
            &declared.to.at,
            "A reference is to a table of the target. Names are written as in SQL: folded to lower case unless in double quotes; the schema defaults to public.".to_owned(),
        );
    };
    if let Some(column) = to_columns.iter().find(|name| parent.column(name).is_none()) {
        return missing(
            format!("{} on the target has no column {}", to.plain(), plain(column)),
            &declared.to.at,
            format!("It has {}.", list(parent.columns.iter().map(|column| &column.name))),
        );
    }
    if let Some(column) =
        declared.columns.value.iter().find(|name| !table.columns.iter().any(|column| column.name == **name))
    {
        return missing(
            format!("{}: referencing column {} is not loaded", table.name.plain(), plain(column)),
            &declared.columns.at,
            format!("Loaded are {}.", list(table.columns.iter().map(|column| &column.name))),
        );
    }
    Ok(Reference {
        name: format!("{}({})", to.plain(), to_columns.iter().map(plain).collect::<Vec<_>>().join(", ")),
        is_declared: true,
        columns: declared.columns.value.clone(),
        to: to.clone(),
        to_columns: to_columns.clone(),
        operators: vec!["=".to_owned(); to_columns.len()],
        collations: collations(target, to, to_columns, table, &declared.columns.value),
        match_full: false,
        on_orphan: declared.on_orphan,
        parents: entries.get(to).cloned().unwrap_or_default(),
        judged: Judged::Staged(String::new()),
    })
}

/// Two columns of different collations cannot be compared without naming one: the referenced column's, as a foreign key does.
fn collations(
    target: &Catalog,
    to: &TableName,
    to_columns: &[Ident],
    table: &TablePlan,
    columns: &[Ident],
) -> Vec<Option<String>> {
    to_columns
        .iter()
        .zip(columns)
        .map(|(theirs, ours)| {
            let parent = target.relations.get(to).and_then(|parent| parent.column(theirs));
            let parent = parent.and_then(|column| column.collation.clone());
            let child = table.columns.iter().find(|column| column.name == *ours);
            match (parent, child.and_then(|column| column.collation.as_ref())) {
                (Some(collation), _) => Some(collation),
                (None, Some(_)) => Some("\"default\"".to_owned()),
                (None, None) => None,
            }
        })
        .collect()
}

fn check(
    table: &TablePlan,
    reference: &Reference,
    target: &Catalog,
    tables: &[TablePlan],
    at: &Location,
) -> Result<()> {
    let refuse = |message: String, hint: &str| {
        Err(Error::new(Phase::Plan, Kind::Refused, message).at(at.clone()).hint(hint))
    };
    for &parent in &reference.parents {
        let parent = &tables[parent];
        let loaded = |name: &&Ident| parent.columns.iter().any(|column| column.name == **name);
        if let Some(column) = reference.to_columns.iter().find(|name| !loaded(name)) {
            return refuse(
                format!(
                    "{} references {}, but its column {} is not loaded, so nothing can match ({})",
                    table.name.plain(),
                    parent.name.plain(),
                    plain(column),
                    reference.name
                ),
                "Load the column, or leave the referencing columns behind with [table.columns] skip.",
            );
        }
    }
    if reference.on_orphan == OnOrphan::Null {
        let relation = target.relations.get(&table.name);
        let not_null = |name: &&Ident| {
            relation.and_then(|relation| relation.column(name)).is_some_and(|column| column.not_null)
        };
        if let Some(column) = reference.columns.iter().find(not_null) {
            return refuse(
                format!(
                    "{}: on_orphan = \"null\" is not possible: column {} is NOT NULL",
                    table.name.plain(),
                    plain(column)
                ),
                "Use on_orphan = \"reject\".",
            );
        }
    }
    Ok(())
}

/// Values that mean "no reference" become NULL where the source, or the file, reads them.
fn nullify(table: &mut TablePlan, tuned: &ReferenceConfig) {
    if tuned.null_values.is_empty() {
        return;
    }
    for column in table.columns.iter_mut().filter(|column| tuned.columns.value.contains(&column.name)) {
        for value in &tuned.null_values {
            column.source = format!("nullif({}, {})", column.source, literal(value));
            column.compared = column.compared.take().map(|sql| format!("nullif({sql}, {})", literal(value)));
        }
        column.is_plain = false;
        table.null_values.push((column.name.clone(), tuned.null_values.clone()));
    }
}

impl Reference {
    /// The comparison, as SQL: the referenced table as `p`, the referencing row as `s`.
    pub(crate) fn matches_sql(&self) -> String {
        let pairs = self.columns.iter().zip(&self.to_columns);
        let matches: Vec<String> = pairs
            .zip(self.operators.iter().zip(&self.collations))
            .map(|((ours, theirs), (operator, collation))| {
                let collate = collation.as_ref().map(|c| format!(" collate {c}")).unwrap_or_default();
                format!("p.{theirs} {operator} s.{ours}{collate}")
            })
            .collect();
        matches.join(" and ")
    }

    /// A statement that does nothing, but that the target accepts only if the types can be compared.
    pub(crate) fn trial_sql(&self, table: &TablePlan) -> String {
        let ours = table.columns.iter().filter(|column| self.columns.contains(&column.name));
        let nulls: Vec<String> =
            ours.map(|column| format!("null::{} as {}", column.type_name, column.name)).collect();
        format!(
            "select from {} as p join (select {}) as s on {}",
            self.to,
            nulls.join(", "),
            self.matches_sql()
        )
    }
}

impl std::fmt::Display for Reference {
    /// `columns -> table(columns)` and what happens to orphans, for people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = |columns: &[Ident]| columns.iter().map(plain).collect::<Vec<_>>().join(", ");
        write!(f, "{} -> {}({})", names(&self.columns), self.to.plain(), names(&self.to_columns))?;
        let fate = match self.on_orphan {
            OnOrphan::Reject => "orphans are rejected",
            OnOrphan::Null => "orphans are loaded with NULL",
            OnOrphan::Fail => "an orphan fails the table",
            OnOrphan::Keep => "orphans are kept",
        };
        write!(f, ", {fate}")
    }
}
