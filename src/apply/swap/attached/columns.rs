//! Columns, the sequences that they own, and the other parts of CREATE TABLE.

use tokio_postgres::Row;

use super::super::options::{KeptOptions, Owner};
use super::{Constraint, literal_as_deparsed};
use crate::pg::name::{Ident, TableName, literal};
use crate::plan::TablePlan;

/// The storage parameter that keeps autovacuum away while a table is being built.
const AUTOVACUUM: &str = "autovacuum_enabled";

/// The properties of a table other than its columns.
#[derive(Debug, Clone)]
pub(in crate::apply::swap) struct Table {
    /// The table's name as the server writes it.
    pub(in crate::apply::swap) live: String,
    /// The access method as SQL.
    access_method: Option<String>,
    /// The tablespace as SQL, if it is not the database's default.
    tablespace: Option<String>,
    /// `name=value`, in the catalog's order.
    options: Vec<String>,
    toast_options: Vec<String>,
    has_toast: bool,
    /// The owner as SQL, if it is not our role.
    pub(in crate::apply::swap) other_owner: Option<String>,
    has_row_security: bool,
    forces_row_security: bool,
    /// Invalid indexes, which are not carried over.
    pub(in crate::apply::swap) invalid_indexes: Vec<String>,
}

/// A column.
#[derive(Debug, Clone)]
pub(in crate::apply::swap) struct Column {
    /// Its name.
    pub(in crate::apply::swap) name: Ident,
    type_name: String,
    collation: Option<String>,
    /// NOT NULL
    pub(in crate::apply::swap) not_null: bool,
    /// `always` or `by default`.
    identity: Option<&'static str>,
    /// `stored` or `virtual`.
    generated: Option<&'static str>,
    expression: Option<String>,
    storage: Option<String>,
    compression: Option<String>,
}

/// A sequence that a column owns.
#[derive(Debug, Clone)]
pub(in crate::apply::swap) struct Sequence {
    /// Its name; it is in the table's schema.
    pub(in crate::apply::swap) name: Ident,
    /// The live sequence's name as the server writes it.
    live: String,
    column: Ident,
    is_identity: bool,
    is_unlogged: bool,
    type_name: String,
    options: String,
    /// INCREMENT BY
    pub(in crate::apply::swap) increment: i64,
}

impl Table {
    pub(super) fn from_row(row: &Row, kept: &KeptOptions) -> Self {
        let settable = |owner, column: &str| {
            let options: Vec<String> = row.get(column);
            options.into_iter().filter(|option| kept.can_set(owner, option)).collect()
        };
        Self {
            live: row.get("live"),
            access_method: row.get("access_method"),
            tablespace: row.get("tablespace"),
            options: settable(Owner::Table, "options"),
            toast_options: settable(Owner::Toast, "toast_options"),
            has_toast: row.get("has_toast"),
            other_owner: row.get("other_owner"),
            has_row_security: row.get("has_row_security"),
            forces_row_security: row.get("forces_row_security"),
            invalid_indexes: row.get("invalid_indexes"),
        }
    }

    /// Returns CREATE TABLE with the options that affect how rows are stored, and with autovacuum off.
    fn create_sql(&self, new: &TableName, columns: &[String]) -> String {
        let mut options = settings("", &self.options, false);
        options.push(format!("{AUTOVACUUM} = off"));
        if self.has_toast {
            options.extend(settings("toast.", &self.toast_options, false));
            options.push(format!("toast.{AUTOVACUUM} = off"));
        }
        let using = self.access_method.as_ref().map(|method| format!(" using {method}")).unwrap_or_default();
        let tablespace =
            self.tablespace.as_ref().map(|space| format!(" tablespace {space}")).unwrap_or_default();
        format!(
            "create table {new} ({}){using} with ({}){tablespace}",
            columns.join(", "),
            options.join(", ")
        )
    }

    /// Returns the statements that set the live table's options, in its order.
    pub(in crate::apply::swap) fn options_sql(&self, new: &TableName) -> Vec<String> {
        let mut statements = Vec::new();
        for (prefix, options) in [("", &self.options), ("toast.", &self.toast_options)] {
            if prefix == "toast." && !self.has_toast {
                continue;
            }
            let mut names: Vec<String> = options
                .iter()
                .map(|option| format!("{prefix}{}", Ident::new(name_and_value(option).0)))
                .collect();
            names.push(format!("{prefix}{AUTOVACUUM}"));
            statements.push(format!("alter table {new} reset ({})", names.join(", ")));
            let options = settings(prefix, options, true);
            if !options.is_empty() {
                statements.push(format!("alter table {new} set ({})", options.join(", ")));
            }
        }
        statements
    }

    /// Returns the statements that set the flags of row-level security.
    pub(in crate::apply::swap) fn row_security_sql(&self, new: &TableName) -> Vec<String> {
        let mut statements = Vec::new();
        if self.has_row_security {
            statements.push(format!("alter table {new} enable row level security"));
        }
        if self.forces_row_security {
            statements.push(format!("alter table {new} force row level security"));
        }
        statements
    }
}

fn name_and_value(option: &str) -> (&str, &str) {
    option.split_once('=').unwrap_or((option, ""))
}

/// `prefix"name" = 'value'` for each option.
fn settings(prefix: &str, options: &[String], with_autovacuum: bool) -> Vec<String> {
    options
        .iter()
        .map(|option| name_and_value(option))
        .filter(|(name, _)| with_autovacuum || *name != AUTOVACUUM)
        .map(|(name, value)| format!("{prefix}{} = {}", Ident::new(name), literal(value)))
        .collect()
}

impl Column {
    pub(super) fn from_row(row: &Row) -> Self {
        Self {
            name: Ident::new(row.get::<_, String>("name")),
            type_name: row.get("type_name"),
            collation: row.get("collation"),
            not_null: row.get("not_null"),
            identity: match row.get::<_, &str>("identity") {
                "a" => Some("always"),
                "d" => Some("by default"),
                _ => None,
            },
            generated: match row.get::<_, &str>("generated") {
                "s" => Some("stored"),
                "v" => Some("virtual"),
                _ => None,
            },
            expression: row.get("expression"),
            storage: row.get("storage"),
            compression: row.get("compression"),
        }
    }

    /// Returns whether NOT NULL is implied by the column itself.
    pub(in crate::apply::swap) fn is_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// Returns the column definition for CREATE TABLE, with its default, identity or generation expression.
    fn sql(&self, sequences: &[Sequence], new: &TableName) -> String {
        let Self { name, type_name, .. } = self;
        let mut sql = format!("{name} {type_name}");
        if let Some(collation) = &self.collation {
            sql.push_str(&format!(" collate {collation}"));
        }
        if let (Some(how), Some(sequence)) =
            (self.identity, sequences.iter().find(|s| s.is_identity && s.column == *name))
        {
            let name = TableName { schema: new.schema.clone(), name: sequence.name.clone() };
            sql.push_str(&format!(
                " generated {how} as identity (sequence name {name} {})",
                sequence.options
            ));
        }
        if let Some(expression) = &self.expression {
            let expression = with_new_sequences(expression, sequences, new);
            match self.generated {
                Some(how) => sql.push_str(&format!(" generated always as ({expression}) {how}")),
                None => sql.push_str(&format!(" default {expression}")),
            }
        }
        sql
    }

    /// Returns NOT NULL for CREATE TABLE: where loaded rows must satisfy it, and on an identity column, which implies it.
    /// Since version 18 the constraint has a name, which adding it again cannot change.
    fn not_null_sql(&self, constraints: &[Constraint], is_demanded: bool) -> String {
        let constraint = constraints.iter().find(|constraint| constraint.column.as_ref() == Some(&self.name));
        match constraint {
            Some(Constraint { name, is_not_inherited, .. }) if is_demanded || self.is_identity() => {
                format!(" constraint {name} not null{}", if *is_not_inherited { " no inherit" } else { "" })
            }
            None if is_demanded && !self.is_identity() => " not null".to_owned(),
            _ => String::new(),
        }
    }

    /// Returns the storage and compression settings as parts of ALTER TABLE.
    fn storage_sql(&self) -> Vec<String> {
        let name = &self.name;
        let storage = self.storage.iter().map(|storage| format!("alter column {name} set storage {storage}"));
        let compression =
            self.compression.iter().map(|method| format!("alter column {name} set compression {method}"));
        storage.chain(compression).collect()
    }
}

/// Rewrites an expression to use the new table's sequences.
fn with_new_sequences(expression: &str, sequences: &[Sequence], new: &TableName) -> String {
    let constant = |name: &str| format!("{}::regclass", literal_as_deparsed(name));
    sequences.iter().fold(expression.to_owned(), |expression, sequence| {
        let new = TableName { schema: new.schema.clone(), name: sequence.name.clone() };
        expression.replace(&constant(&sequence.live), &constant(&new.to_string()))
    })
}

impl Sequence {
    pub(super) fn from_row(row: &Row) -> Self {
        Self {
            name: Ident::new(row.get::<_, String>("name")),
            live: row.get("live"),
            column: Ident::new(row.get::<_, String>("column_name")),
            is_identity: row.get("is_identity"),
            is_unlogged: row.get("is_unlogged"),
            type_name: row.get("type_name"),
            options: row.get("options"),
            increment: row.get("increment"),
        }
    }
}

/// Returns the statements that create the table, its columns, and its sequences, which continue from the live ones. It has
/// the same constraints as a staging table, so it refuses the rows that the live table would refuse.
pub(in crate::apply::swap) fn bare_sql(
    attached: &super::Attached,
    plan: &TablePlan,
    new: &TableName,
) -> Vec<String> {
    let super::Attached { table, columns, sequences, constraints, .. } = attached;
    let named = |sequence: &Sequence| TableName { schema: new.schema.clone(), name: sequence.name.clone() };
    let mut statements = Vec::new();
    for sequence in sequences.iter().filter(|sequence| !sequence.is_identity) {
        let unlogged = if sequence.is_unlogged { "unlogged " } else { "" };
        let Sequence { type_name, options, .. } = sequence;
        statements.push(format!("create {unlogged}sequence {} as {type_name} {options}", named(sequence)));
    }
    let lines = columns.iter().map(|column| {
        let is_demanded = plan.is_not_null_staged(&column.name);
        column.sql(sequences, new) + &column.not_null_sql(constraints, is_demanded)
    });
    let checks =
        plan.staged_checks().map(|check| format!("constraint {} check ({})", check.name, check.expression));
    let lines: Vec<String> = lines.chain(checks).collect();
    statements.push(table.create_sql(new, &lines));
    for sequence in sequences {
        let name = named(sequence);
        if !sequence.is_identity {
            statements.push(format!("alter sequence {name} owned by {new}.{}", sequence.column));
        } else if sequence.is_unlogged {
            statements.push(format!("alter sequence {name} set unlogged"));
        }
        let (name, live) = (literal(&name.to_string()), &sequence.live);
        statements.push(format!("select pg_catalog.setval({name}, last_value, is_called) from {live}"));
    }
    let storage: Vec<String> = columns.iter().flat_map(Column::storage_sql).collect();
    if !storage.is_empty() {
        statements.push(format!("alter table {new} {}", storage.join(", ")));
    }
    statements
}
