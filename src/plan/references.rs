//! References of loaded rows: the target's foreign keys, tuned or extended by those that the config declares.

use super::{Compared, Facts, Judged, TablePlan};
use crate::config::{OnOrphan, ReferenceConfig, TableConfig};
use crate::error::{Error, Kind, Location, Phase, Result};
use crate::pg::catalog::{Catalog, ForeignKey, Partition};
use crate::pg::name::{Ident, TableName, list, literal, plain};

/// A reference from a table's loaded rows to a table of the target, as it will be after the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// The constraint's name, or `table(columns)` if the config declares it.
    pub name: String,
    /// Whether the config declares it, rather than the catalog.
    pub is_declared: bool,
    /// The partitions whose rows it applies to, for foreign keys of partitions; empty: every row of the table.
    pub parts: Vec<Part>,
    /// The referencing columns.
    pub columns: Vec<Ident>,
    /// The referenced table.
    pub to: TableName,
    /// The referenced columns.
    pub to_columns: Vec<Ident>,
    /// The comparison operator of each pair, as SQL: the constraint's operators if there is a constraint.
    pub operators: Vec<String>,
    /// The collation of each comparison where it is not the type's own, as SQL: the referenced column's.
    pub collations: Vec<Option<String>>,
    /// MATCH FULL: a mix of NULL and non-NULL columns is an orphan.
    pub match_full: bool,
    /// The treatment of an orphan.
    pub on_orphan: OnOrphan,
    /// The entries that load the referenced table or some of its rows; empty if the run does not change it.
    pub parents: Vec<usize>,
    /// Where it is judged.
    pub judged: Judged,
}

/// A partition with its own foreign key.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The constraint's name.
    pub constraint: Ident,
    /// The partition.
    pub partition: Partition,
}

/// Returns the entries that write rows of a table: into the table, one of its partitions, or a partitioned table
/// above it.
pub(super) fn entries_of(tables: &[TablePlan], table: &TableName) -> Vec<usize> {
    let writes = |(_, entry): &(usize, &TablePlan)| entry.live.overlaps(table);
    tables.iter().enumerate().filter(writes).map(|(i, _)| i).collect()
}

/// Finds the references of every table, and turns `null_values` into NULL where the source reads them.
///
/// # Errors
/// [`Kind::Schema`] if a declared reference names a missing table or column, [`Kind::Refused`] if it cannot work.
pub(super) fn find(tables: &mut [TablePlan], configs: &[TableConfig], facts: &Facts<'_>) -> Result<()> {
    let mut found = Vec::with_capacity(tables.len());
    for table in tables.iter() {
        let config = &configs[table.entry];
        found.push((of_table(table, config, facts.target, tables)?, unjudged(table)));
    }
    for (table, (references, warnings)) in tables.iter_mut().zip(found) {
        let config = &configs[table.entry];
        config.references.iter().for_each(|tuned| nullify(table, tuned));
        table.references = references;
        table.warnings.extend(warnings);
    }
    Ok(())
}

fn of_table(
    table: &TablePlan,
    config: &TableConfig,
    target: &Catalog,
    tables: &[TablePlan],
) -> Result<Vec<Reference>> {
    let keys = &table.live.foreign_keys;
    let mut references: Vec<Reference> = Vec::new();
    // Foreign keys of the whole table come first: one that a partition repeats adds nothing.
    let (of_partitions, of_table): (Vec<&ForeignKey>, Vec<&ForeignKey>) =
        keys.iter().filter(|key| is_judged(table, key)).partition(|key| part(table, key).is_some());
    for key in of_table.into_iter().chain(of_partitions) {
        let tuned = config.references.iter().find(|tuned| is_about(tuned, key));
        let reference = Reference {
            name: key.name.as_str().to_owned(),
            is_declared: false,
            parts: part(table, key).into_iter().collect(),
            columns: key.from_columns.clone(),
            to: key.to.clone(),
            to_columns: key.to_columns.clone(),
            operators: key.operators.clone(),
            collations: collations(target, &key.to, &key.to_columns, table, &key.from_columns),
            match_full: key.match_full,
            on_orphan: tuned.map_or(OnOrphan::Reject, |tuned| tuned.on_orphan),
            parents: entries_of(tables, &key.to),
            judged: Judged::Staged(String::new()),
        };
        match references.iter_mut().find(|known| !reference.parts.is_empty() && known.demands(&reference)) {
            Some(known) if known.parts.is_empty() => {}
            Some(known) => known.parts.extend(reference.parts),
            None => references.push(reference),
        }
    }
    for reference in &mut references {
        if reference.parts.len() > 1 {
            reference.name = format!("{} and {} more", reference.name, reference.parts.len() - 1);
        }
    }
    for declared in
        config.references.iter().filter(|d| !keys.iter().any(|key| key.demands_match() && is_about(d, key)))
    {
        references.push(declare(table, declared, target, tables)?);
    }
    for reference in &references {
        let tuned = config.references.iter().find(|tuned| tuned.columns.value == reference.columns);
        let at = tuned.map_or(&config.name.at, |tuned| &tuned.columns.at);
        check(table, reference, target, tables, at)?;
    }
    Ok(references)
}

/// Returns the partition that a foreign key is declared on, if it belongs to this table.
fn part(table: &TablePlan, key: &ForeignKey) -> Option<Part> {
    let partition = table.live.partition(&key.from)?.clone();
    Some(Part { constraint: key.name.clone(), partition })
}

/// Returns whether orphans of a foreign key are found before rows are applied.
///
/// The constraint itself checks a foreign key over columns that are not loaded, a temporal one, and one of a
/// partition if routing depends on a column that is not loaded.
fn is_judged(table: &TablePlan, key: &ForeignKey) -> bool {
    let routing = table.live.partition(&key.from).map_or(&[][..], |partition| &partition.columns);
    key.demands_match() && key.from_columns.iter().chain(routing).all(|column| table.is_loaded(column))
}

/// Notes the foreign keys of partitions that are left to the constraint itself.
fn unjudged(table: &TablePlan) -> Vec<String> {
    let mut warnings = Vec::new();
    for key in table.live.foreign_keys.iter().filter(|key| key.demands_match()) {
        let Some(partition) = table.live.partition(&key.from) else { continue };
        let unknown = partition.columns.iter().find(|column| !table.is_loaded(column));
        if let Some(column) = unknown.filter(|_| key.from_columns.iter().all(|c| table.is_loaded(c))) {
            warnings.push(format!(
                "an orphan in partition {} fails the table ({}): rows are routed by column {}, which is not loaded",
                key.from.plain(),
                plain(&key.name),
                plain(column)
            ));
        }
    }
    warnings
}

/// Returns whether a `[[table.reference]]` tunes this foreign key.
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
    tables: &[TablePlan],
) -> Result<Reference> {
    let (to, to_columns) = &declared.to.value;
    let missing = |what: String, at: &Location, hint: String| {
        Err(Error::new(Phase::Plan, Kind::Schema, what).at(at.clone()).hint(hint))
    };
    let Some(parent) = target.relations.get(to) else {
        return missing(
            format!("the target has no table {}", to.plain()),
            &declared.to.at,
            "A reference names a table of the target. Write names as in SQL: they are folded to lower case unless double-quoted, and the schema defaults to public.".to_owned(),
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
            format!("The loaded columns are {}.", list(table.columns.iter().map(|column| &column.name))),
        );
    }
    Ok(Reference {
        name: format!("{}({})", to.plain(), to_columns.iter().map(plain).collect::<Vec<_>>().join(", ")),
        is_declared: true,
        parts: Vec::new(),
        columns: declared.columns.value.clone(),
        to: to.clone(),
        to_columns: to_columns.clone(),
        operators: vec!["=".to_owned(); to_columns.len()],
        collations: collations(target, to, to_columns, table, &declared.columns.value),
        match_full: false,
        on_orphan: declared.on_orphan,
        parents: entries_of(tables, to),
        judged: Judged::Staged(String::new()),
    })
}

/// Returns the collation with which to compare two columns of different collations: the referenced column's, as a
/// foreign key does.
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

/// Turns values that mean "no reference" into NULL where the source, or the file, is read.
fn nullify(table: &mut TablePlan, tuned: &ReferenceConfig) {
    if tuned.null_values.is_empty() {
        return;
    }
    for column in table.columns.iter_mut().filter(|column| tuned.columns.value.contains(&column.name)) {
        for value in &tuned.null_values {
            column.source = format!("nullif({}, {})", column.source, literal(value));
            if let Compared::Values { source, .. } | Compared::ReadByTarget(source) = &mut column.compared {
                *source = format!("nullif({source}, {})", literal(value));
            }
        }
        column.is_plain = false;
        table.null_values.push((column.name.clone(), tuned.null_values.clone()));
    }
}

impl Reference {
    /// Returns whether a row that satisfies this reference also satisfies the other, as far as both apply to it.
    fn demands(&self, other: &Self) -> bool {
        self.to == other.to
            && (&self.columns, &self.to_columns) == (&other.columns, &other.to_columns)
            && (&self.operators, self.match_full) == (&other.operators, other.match_full)
    }

    /// Returns the predicate for the rows it applies to, over the table's unqualified columns. `None`: every row.
    pub(crate) fn concerns_sql(&self) -> Option<String> {
        let parts: Vec<String> =
            self.parts.iter().map(|part| format!("({})", part.partition.constraint)).collect();
        (!parts.is_empty()).then(|| format!("({})", parts.join(" or ")))
    }

    /// Returns SQL over the row's unqualified columns for the name of the constraint that refuses a row.
    pub(crate) fn constraint_sql(&self) -> String {
        match self.parts.as_slice() {
            [] => literal(&self.name),
            [part] => literal(part.constraint.as_str()),
            parts => {
                let cases: String = parts
                    .iter()
                    .map(|part| {
                        let name = literal(part.constraint.as_str());
                        format!(" when {} then {name}", part.partition.constraint)
                    })
                    .collect();
                format!("case{cases} end")
            }
        }
    }

    /// Returns the comparison as SQL: the referenced table as `p`, the referencing row as `s`.
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

    /// Returns a statement without effect that the target accepts only if the types can be compared.
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
    /// Writes `columns -> table(columns)` and the treatment of orphans, for people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = |columns: &[Ident]| columns.iter().map(plain).collect::<Vec<_>>().join(", ");
        write!(f, "{} -> {}({})", names(&self.columns), self.to.plain(), names(&self.to_columns))?;
        match self.parts.as_slice() {
            [] => {}
            [part] => write!(f, " in partition {}", part.partition.name.plain())?,
            [part, others @ ..] => {
                write!(f, " in partition {} and {} more", part.partition.name.plain(), others.len())?;
            }
        }
        let fate = match self.on_orphan {
            OnOrphan::Reject => "orphans are rejected",
            OnOrphan::Null => "orphans are loaded with NULL",
            OnOrphan::Fail => "an orphan fails the table",
            OnOrphan::Keep => "orphans are kept",
        };
        write!(f, ", {fate}")
    }
}
