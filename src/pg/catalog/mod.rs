//! Catalog facts about tables, from which [`crate::plan`] decides.
//!
//! Facts are plain values, loaded once per side by [`load()`], so that planning is pure. All queries are in the `.sql` files
//! beside this one and run with an empty `search_path`, so every type and collation outside `pg_catalog` is schema-qualified.

mod attachments;
mod emptiness;
mod extensions;
mod load;
mod trigger;
mod wire;

use std::collections::HashMap;

pub use attachments::load_attachments;
pub(crate) use attachments::obstacles;
pub use emptiness::load_emptiness;
pub use load::{describe_query, load};
pub use trigger::{Event, Trigger};

use crate::pg::name::{Ident, TableName};

/// A type's or relation's OID.
pub type Oid = u32;

/// The catalog facts of one side.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// The server and our role on it.
    pub server: Server,
    /// The requested relations that exist, by name.
    pub relations: HashMap<TableName, Relation>,
    /// The types of their columns, and their component types.
    pub types: HashMap<Oid, Type>,
    /// The server's casts as (from, to), and whether they are implicit (which does not mean that they lose nothing).
    pub casts: HashMap<(Oid, Oid), bool>,
    /// Result columns of queries, by the query's text.
    pub queries: HashMap<String, Vec<Column>>,
}

impl Catalog {
    /// Returns the type under a domain, at any depth.
    #[must_use]
    pub fn base_type(&self, mut oid: Oid) -> Oid {
        while let Some(kind) = self.types.get(&oid).filter(|kind| kind.kind == 'd') {
            match kind.parts.first() {
                Some(&part) => oid = part,
                None => break,
            }
        }
        oid
    }

    /// Returns the type of a column under its domains.
    #[must_use]
    pub fn bare_type(&self, column: &Column) -> BareType {
        let (oid, modifier) = (column.type_oid, column.modifier);
        self.under_domains(BareType { oid, modifier, sql_name: column.type_name.clone() })
    }

    /// Returns the same for any type; a domain carries the modifier of its base.
    #[must_use]
    pub fn under_domains(&self, mut bare: BareType) -> BareType {
        while let Some(kind) = self.types.get(&bare.oid).filter(|kind| kind.kind == 'd') {
            let (Some(&oid), Some(part)) = (kind.parts.first(), kind.details.first()) else { break };
            bare = BareType { oid, modifier: part.modifier, sql_name: part.type_name.clone() };
        }
        bare
    }

    /// Returns whether values of a type have an order, so that they can be sorted.
    #[must_use]
    pub fn is_ordered(&self, oid: Oid) -> bool {
        let Some(kind) = self.types.get(&oid) else { return false };
        match kind.kind {
            'd' | 'c' => kind.parts.iter().all(|&part| self.is_ordered(part)),
            'e' | 'r' | 'm' => true,
            _ if kind.is_array => kind.parts.iter().all(|&part| self.is_ordered(part)),
            _ => kind.is_ordered,
        }
    }
}

#[cfg(test)]
impl Catalog {
    /// Returns a catalog of types alone, for tests.
    pub(crate) fn of_types(version: u32, types: impl IntoIterator<Item = Type>) -> Self {
        let server = Server {
            version,
            role: String::new(),
            is_superuser: false,
            database: String::new(),
            is_standby: false,
            may_create: false,
            block_size: 8192,
            free_connections: 0,
            event_triggers: Vec::new(),
            table_extensions: Vec::new(),
        };
        let types = types.into_iter().map(|kind| (kind.oid, kind)).collect();
        Self { server, relations: HashMap::new(), types, casts: HashMap::new(), queries: HashMap::new() }
    }
}

/// A type that is not a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BareType {
    /// Its OID.
    pub oid: Oid,
    /// Its modifier; -1 if there is none.
    pub modifier: i32,
    /// As SQL writes it, length or precision included.
    pub sql_name: String,
}

/// A server and our role on it.
#[derive(Debug, Clone)]
pub struct Server {
    /// `server_version_num`, 150004 for 15.4.
    pub version: u32,
    /// Our role.
    pub role: String,
    /// Whether it is a superuser.
    pub is_superuser: bool,
    /// The database's name.
    pub database: String,
    /// Whether the server is in recovery.
    pub is_standby: bool,
    /// Whether our role may create schemas in the database.
    pub may_create: bool,
    /// Bytes per page.
    pub block_size: u32,
    /// Connections that our role can still open, as far as known.
    pub free_connections: u32,
    /// Event triggers that are enabled, as SQL.
    pub event_triggers: Vec<String>,
    /// Extensions of the database with their own way of storing tables, with versions: `Citus 13.0-1`.
    pub table_extensions: Vec<String>,
}

/// How an extension manages a relation that PostgreSQL's catalog shows as an ordinary table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Managed {
    /// Citus: its rows are in shards on several nodes.
    CitusDistributed,
    /// Citus: every node has a copy.
    CitusReference,
    /// Citus: one shard on the coordinator, known to the other nodes.
    CitusLocal,
    /// TimescaleDB: its rows are in chunks.
    Hypertable {
        /// Whether chunks may be compressed, in which case their rows are in other tables.
        is_compressed: bool,
    },
    /// TimescaleDB: a chunk of a hypertable, or a table with the compressed rows of one.
    Chunk,
    /// Unknown, because the role may not read this extension's catalog.
    Unreadable(&'static str),
}

/// The kind of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    /// An ordinary table.
    Table,
    /// A partitioned table.
    Partitioned,
    /// A view.
    View,
    /// A materialized view.
    MaterializedView,
    /// A foreign table.
    Foreign,
}

impl RelationKind {
    /// Returns the name of the kind.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Partitioned => "partitioned table",
            Self::View => "view",
            Self::MaterializedView => "materialized view",
            Self::Foreign => "foreign table",
        }
    }
}

/// A table, view or foreign table.
#[derive(Debug, Clone)]
pub struct Relation {
    /// Its OID.
    pub oid: Oid,
    /// Its name.
    pub name: TableName,
    /// Its kind.
    pub kind: RelationKind,
    /// Whether it survives a crash (not UNLOGGED, not temporary).
    pub is_permanent: bool,
    /// Whether it is itself a partition.
    pub is_partition: bool,
    /// Whether other tables inherit from it (partitions too).
    pub has_children: bool,
    /// How an extension manages it.
    pub managed: Option<Managed>,
    /// Whether it has no rows. Known only for the tables given to [`load_emptiness`], false for all others.
    pub is_empty: bool,
    /// Its user triggers and those of its partitions, in firing order.
    pub triggers: Vec<Trigger>,
    /// Our role's privileges.
    pub rights: Rights,
    /// Columns in their order, without dropped ones.
    pub columns: Vec<Column>,
    /// The relations that hold its rows.
    pub leaves: Vec<Leaf>,
    /// Bytes of its indexes.
    pub index_bytes: u64,
    /// Estimated rows from the statistics; 0 if it was never analyzed.
    pub row_estimate: f64,
    /// Its partitions at all levels.
    pub partitions: Vec<Partition>,
    /// The partitioned tables that it is a partition of, nearest first.
    pub partition_of: Vec<TableName>,
    /// Valid unique indexes, the primary key first.
    pub unique_indexes: Vec<UniqueIndex>,
    /// Its exclusion constraints, including temporal keys (WITHOUT OVERLAPS) and those of partitions. They are described like
    /// unique indexes; their operators define which values exclude each other.
    pub exclusions: Vec<UniqueIndex>,
    /// Valid unique indexes of partitions that the table lacks.
    pub partition_indexes: Vec<UniqueIndex>,
    /// Foreign keys that its rows must satisfy, each as declared: on the table, on one of its partitions, or on a partitioned
    /// table above it. Inherited copies are left out.
    pub foreign_keys: Vec<ForeignKey>,
    /// Foreign keys that may reference its rows, likewise: to the table, to one of its partitions, or to a partitioned table
    /// above it.
    pub referenced_by: Vec<ForeignKey>,
    /// Sequences that supply values to its columns.
    pub sequences: Vec<Sequence>,
    /// CHECK constraints that can be evaluated elsewhere, including those of partitions.
    pub checks: Vec<CheckConstraint>,
    /// Objects that depend on it. Known only for the tables given to [`load_attachments`].
    pub attachments: Attachments,
}

/// Objects that depend on a table's OID, for a method that replaces the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attachments {
    /// Obstacles to replacing the table, as clauses: "materialized view public.m depends on it".
    pub obstacles: Vec<String>,
    /// Publications that contain it, as SQL.
    pub publications: Vec<String>,
    /// Views, rules, policies and functions that can be rebound, in readable form.
    pub dependants: Vec<String>,
    /// Foreign keys to it, likewise.
    pub keys: Vec<String>,
}

impl Relation {
    /// Returns the bytes of its heap and TOAST, including partitions and inheriting tables.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.leaves.iter().map(|leaf| leaf.bytes).sum()
    }

    /// Returns a column by name.
    #[must_use]
    pub fn column(&self, name: &Ident) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == *name)
    }

    /// Returns its partition of this name, at any level.
    #[must_use]
    pub fn partition(&self, name: &TableName) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.name == *name)
    }

    /// Returns whether every row of `table` is a row of this one: it is this table, or a partition of it.
    #[must_use]
    pub fn holds(&self, table: &TableName) -> bool {
        self.name == *table || self.partition(table).is_some()
    }

    /// Returns whether a row of `table` may be a row of this one: one of the two contains the other.
    #[must_use]
    pub fn overlaps(&self, table: &TableName) -> bool {
        self.holds(table) || self.partition_of.contains(table)
    }
}

/// A partition of a table, at any level, and the rows that it accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its name.
    pub name: TableName,
    /// The condition for routing a row of the partitioned table to it, as SQL over the table's columns, which are not
    /// qualified.
    pub constraint: String,
    /// The columns that the condition uses.
    pub columns: Vec<Ident>,
}

/// Our role's privileges on a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a privilege of its own")]
pub struct Rights {
    /// Whether the role owns the relation, or is a member of the owner.
    pub owner: bool,
    /// SELECT
    pub select: bool,
    /// INSERT
    pub insert: bool,
    /// UPDATE, on at least one column
    pub update: bool,
    /// DELETE
    pub delete: bool,
    /// TRUNCATE
    pub truncate: bool,
    /// TEMPORARY, on its database
    pub temporary: bool,
    /// Whether a row-level policy would hide rows from the role (an error with `row_security = off`).
    pub rows_hidden: bool,
}

/// A relation that stores rows.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// Its OID.
    pub oid: Oid,
    /// Its name.
    pub name: TableName,
    /// Its kind.
    pub kind: RelationKind,
    /// The access method of its storage, if the server itself stores it: `heap`.
    pub access_method: Option<String>,
    /// How an extension manages it.
    pub managed: Option<Managed>,
    /// Pages of its heap.
    pub pages: u32,
    /// Bytes of heap and TOAST.
    pub bytes: u64,
    /// Whether our role may read it directly.
    pub may_select: bool,
}

/// When an identity column accepts explicit values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// Only with OVERRIDING SYSTEM VALUE.
    Always,
    /// Like a default.
    ByDefault,
}

/// A column.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name.
    pub name: Ident,
    /// Its type.
    pub type_oid: Oid,
    /// The type as SQL writes it, length or precision included.
    pub type_name: String,
    /// The type modifier (`atttypmod`): length, precision and scale; -1 if there is none.
    pub modifier: i32,
    /// NOT NULL
    pub not_null: bool,
    /// Whether it has a DEFAULT or is generated.
    pub has_default: bool,
    /// The default or generation expression, as SQL over the table's columns.
    pub expression: Option<String>,
    /// Its kind of identity, if it is an identity column.
    pub identity: Option<Identity>,
    /// Whether it is generated from other columns, STORED or VIRTUAL.
    pub generated: bool,
    /// Its collation as SQL, if it is not the type's own.
    pub collation: Option<String>,
    /// Whether our role may read it.
    pub may_select: bool,
    /// Whether our role may insert into it.
    pub may_insert: bool,
    /// Whether it is in the key of a unique index without WHERE and expressions, of the table itself or of a partition. An
    /// UPDATE that sets it may lock the row against foreign keys' checks, even if the value stays the same.
    pub identifies: bool,
}

/// A CHECK constraint that all rows satisfy and that depends only on the columns of the row.
#[derive(Debug, Clone)]
pub struct CheckConstraint {
    /// Its name.
    pub name: Ident,
    /// The expression that must not be false, as SQL over the table's columns.
    pub expression: String,
    /// The columns that it uses.
    pub columns: Vec<Ident>,
}

impl Column {
    /// Returns a column of which only the type is known: of a query's result, or of a file.
    #[must_use]
    pub fn bare(name: Ident, type_oid: Oid, type_name: String) -> Self {
        Self {
            name,
            type_oid,
            type_name,
            modifier: -1,
            not_null: false,
            has_default: false,
            expression: None,
            identity: None,
            generated: false,
            collation: None,
            may_select: true,
            may_insert: true,
            identifies: false,
        }
    }
}

/// A valid unique index.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a property that the catalog has as a bool")]
pub struct UniqueIndex {
    /// Its name.
    pub name: Ident,
    /// Whether it is the primary key.
    pub is_primary: bool,
    /// Whether it is checked immediately rather than deferrable.
    pub is_immediate: bool,
    /// Whether it has a WHERE.
    pub is_partial: bool,
    /// Whether it has expressions.
    pub has_expressions: bool,
    /// The partition that it belongs to, unless it is the table's own.
    pub partition: Option<Partition>,
    /// Its key columns in order; incomplete if it has expressions.
    pub columns: Vec<Ident>,
    /// Whether all of them are NOT NULL.
    pub all_not_null: bool,
    /// The expressions that it compares, in order.
    pub parts: Vec<IndexPart>,
    /// Its WHERE, as SQL over the table's columns.
    pub predicate: Option<String>,
    /// The columns that its key and its WHERE use.
    pub uses: Vec<Ident>,
    /// NULLS NOT DISTINCT
    pub nulls_equal: bool,
}

/// A column or an expression of a unique index, and its comparison.
#[derive(Debug, Clone)]
pub struct IndexPart {
    /// As SQL over the table's columns.
    pub expression: String,
    /// The equality operator as SQL: `operator(pg_catalog.=)`; for an exclusion constraint, its own operator.
    pub operator: String,
    /// The collation as SQL, if any.
    pub collation: Option<String>,
}

impl UniqueIndex {
    /// Returns whether it can identify rows: not partial, over plain columns, checked immediately.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.is_immediate && !self.is_partial && !self.has_expressions
    }
}

/// The action of a foreign key when the referenced row is deleted or changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// NO ACTION: at the end of the statement or transaction, a row with these values must exist.
    None,
    /// RESTRICT: likewise, but another row with these values does not satisfy it.
    Restrict,
    /// CASCADE: the referencing rows are deleted, or receive the new values.
    Cascade,
    /// SET NULL, SET DEFAULT: the referencing rows lose the reference.
    Unset,
}

/// A foreign key.
#[derive(Debug, Clone)]
pub struct ForeignKey {
    /// The constraint's name.
    pub name: Ident,
    /// The referencing table, as declared: its partitions have the key as well.
    pub from: TableName,
    /// Its columns.
    pub from_columns: Vec<Ident>,
    /// The referenced table, as declared.
    pub to: TableName,
    /// Its columns.
    pub to_columns: Vec<Ident>,
    /// The comparison operators, referenced column first, as SQL: `operator(pg_catalog.=)`.
    pub operators: Vec<String>,
    /// MATCH FULL rather than SIMPLE.
    pub match_full: bool,
    /// The action on the referencing rows when a referenced row is deleted.
    pub on_delete: Action,
    /// The action on them when the referenced columns change.
    pub on_update: Action,
    /// Whether the constraint can be deferred.
    pub is_deferrable: bool,
    /// False for NOT ENFORCED, which the server does not check.
    pub is_enforced: bool,
    /// Whether its last columns are a PERIOD, which several rows together may match.
    pub is_temporal: bool,
    /// Whether an index of the referencing table begins with its columns.
    pub is_indexed: bool,
    /// Rows of the referencing table, by its statistics or its size, whichever is larger.
    pub from_rows: f64,
}

impl ForeignKey {
    /// Returns whether each referencing row must match one row with the same values.
    #[must_use]
    pub fn demands_match(&self) -> bool {
        self.is_enforced && !self.is_temporal
    }
}

/// A sequence that supplies values to a column. All values as `bigint`.
#[derive(Debug, Clone)]
pub struct Sequence {
    /// Its OID.
    pub oid: Oid,
    /// Its name.
    pub name: TableName,
    /// The column.
    pub column: Ident,
    /// Whether the column owns it; otherwise it is the column's default, and may serve other columns too.
    pub is_owned: bool,
    /// INCREMENT BY
    pub increment: i64,
    /// START WITH
    pub start: i64,
    /// MINVALUE
    pub minimum: i64,
    /// MAXVALUE
    pub maximum: i64,
    /// Whether our role owns it, so that it can be restarted within a transaction.
    pub is_owner: bool,
    /// Whether our role may read its position.
    pub may_select: bool,
    /// Whether our role may set it.
    pub may_update: bool,
}

/// A type.
#[derive(Debug, Clone)]
pub struct Type {
    /// Its OID.
    pub oid: Oid,
    /// Its schema and name.
    pub name: TableName,
    /// As SQL writes it.
    pub sql_name: String,
    /// `typtype`: b, c, d, e, p, r or m.
    pub kind: char,
    /// `typcategory`.
    pub category: char,
    /// Whether it is a true array.
    pub is_array: bool,
    /// Whether it has binary send and receive functions.
    pub has_binary: bool,
    /// Whether its values have an order of their own; false for types made of other types.
    pub is_ordered: bool,
    /// The extension it belongs to, with its version.
    pub extension: Option<String>,
    /// Its components in order: a domain's base, an array's element, a range's subtype, a multirange's range, a composite's
    /// columns.
    pub parts: Vec<Oid>,
    /// Details of each component, in the same order.
    pub details: Vec<Part>,
    /// The labels of an enum, in their order.
    pub labels: Vec<String>,
}

/// A component of a type: the base of a domain, a column of a composite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The name of a composite's column; empty for other components.
    pub name: String,
    /// The type modifier (`atttypmod`); -1 if there is none.
    pub modifier: i32,
    /// The type as SQL writes it, length or precision included.
    pub type_name: String,
}
