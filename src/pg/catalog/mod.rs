//! What a catalog says about tables: the facts from which [`crate::plan`] decides.
//!
//! Facts are plain values: loaded once per side by [`load()`], never asked for again, so that planning is pure.
//! All queries are in the `.sql` files beside this one and run with an empty `search_path`, so that every type
//! and collation outside `pg_catalog` comes back with its schema.

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

/// Everything known about one side.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// The server and our role on it.
    pub server: Server,
    /// The relations that were asked for and exist, by name.
    pub relations: HashMap<TableName, Relation>,
    /// The types of their columns, and of what these are made.
    pub types: HashMap<Oid, Type>,
    /// Casts that the server has, as (from, to), and whether it makes them by itself (which does not mean that they lose nothing).
    pub casts: HashMap<(Oid, Oid), bool>,
    /// Result columns of queries, by the query's text.
    pub queries: HashMap<String, Vec<Column>>,
}

impl Catalog {
    /// The type under a domain, however deep.
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

    /// The type of a column under its domains.
    #[must_use]
    pub fn bare_type(&self, column: &Column) -> BareType {
        let (oid, modifier) = (column.type_oid, column.modifier);
        self.under_domains(BareType { oid, modifier, sql_name: column.type_name.clone() })
    }

    /// The same of any type: a domain carries the modifier of its base.
    #[must_use]
    pub fn under_domains(&self, mut bare: BareType) -> BareType {
        while let Some(kind) = self.types.get(&bare.oid).filter(|kind| kind.kind == 'd') {
            let (Some(&oid), Some(part)) = (kind.parts.first(), kind.details.first()) else { break };
            bare = BareType { oid, modifier: part.modifier, sql_name: part.type_name.clone() };
        }
        bare
    }

    /// Whether values of a type have an order: it can be sorted.
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
    /// A catalog that knows nothing but types, for tests.
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

/// A type that is no domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BareType {
    /// Its OID.
    pub oid: Oid,
    /// Its modifier; -1 where there is none.
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
    /// Connections that our role can still open, as far as can be seen.
    pub free_connections: u32,
    /// Event triggers that are enabled, as SQL.
    pub event_triggers: Vec<String>,
    /// Extensions of the database that store tables in ways of their own, with their versions: `Citus 13.0-1`.
    pub table_extensions: Vec<String>,
}

/// What an extension makes of a relation that the catalog of PostgreSQL shows as an ordinary table.
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
        /// Whether chunks may be compressed: their rows are then in other tables.
        is_compressed: bool,
    },
    /// TimescaleDB: a chunk of a hypertable, or a table with the compressed rows of one.
    Chunk,
    /// Unknown, because the role may not read the catalog of this extension.
    Unreadable(&'static str),
}

/// What kind of relation it is.
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
    /// As people call it.
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
    /// What it is.
    pub kind: RelationKind,
    /// Whether it survives a crash (not UNLOGGED, not temporary).
    pub is_permanent: bool,
    /// Whether it is itself a partition.
    pub is_partition: bool,
    /// Whether other tables inherit from it (partitions too).
    pub has_children: bool,
    /// What an extension makes of it.
    pub managed: Option<Managed>,
    /// Whether it holds no row; only known of the tables that [`load_emptiness`] was asked for, false for all others.
    pub is_empty: bool,
    /// Its users' triggers and those of its partitions, in the order in which they fire.
    pub triggers: Vec<Trigger>,
    /// What our role may do.
    pub rights: Rights,
    /// Columns in their order, dropped ones apart.
    pub columns: Vec<Column>,
    /// The relations that hold its rows.
    pub leaves: Vec<Leaf>,
    /// Bytes in its indexes.
    pub index_bytes: u64,
    /// Rows, as the statistics have it; 0 when never analysed.
    pub row_estimate: f64,
    /// Its partitions at every level.
    pub partitions: Vec<Partition>,
    /// The partitioned tables that it is a partition of, the nearest first.
    pub partition_of: Vec<TableName>,
    /// Valid unique indexes, the primary key first.
    pub unique_indexes: Vec<UniqueIndex>,
    /// Its exclusion constraints, with temporal keys (WITHOUT OVERLAPS): indexes like the unique ones, whose operators tell which
    /// values exclude each other. Those that partitions add are among them.
    pub exclusions: Vec<UniqueIndex>,
    /// Valid unique indexes that partitions have and the table does not.
    pub partition_indexes: Vec<UniqueIndex>,
    /// Foreign keys that rows of it must satisfy, each as it was declared: on the table, on a partition of it, or on a
    /// partitioned table above it. Copies that partitions inherit are left out.
    pub foreign_keys: Vec<ForeignKey>,
    /// Foreign keys that rows of it may be referenced by, likewise: to the table, to a partition of it, or to a partitioned table
    /// above it.
    pub referenced_by: Vec<ForeignKey>,
    /// Sequences that its columns take their values from.
    pub sequences: Vec<Sequence>,
    /// CHECK constraints that can be evaluated elsewhere, those of partitions included.
    pub checks: Vec<CheckConstraint>,
    /// What is bound to it from outside; only known of the tables that [`load_attachments`] was asked for.
    pub attachments: Attachments,
}

/// What is bound to a table's OID from outside, for a method that puts another table in its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attachments {
    /// What keeps another table from taking this one's place, as clauses: "materialized view public.m depends on it".
    pub obstacles: Vec<String>,
    /// Publications that it is in, as SQL.
    pub publications: Vec<String>,
    /// Views, rules, policies and functions that can be bound to the other one, as people write them.
    pub dependants: Vec<String>,
    /// Foreign keys to it, likewise.
    pub keys: Vec<String>,
}

impl Relation {
    /// Bytes in its heap with TOAST, partitions and inheritors included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.leaves.iter().map(|leaf| leaf.bytes).sum()
    }

    /// A column by name.
    #[must_use]
    pub fn column(&self, name: &Ident) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == *name)
    }

    /// Its partition of this name, at whatever level.
    #[must_use]
    pub fn partition(&self, name: &TableName) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.name == *name)
    }

    /// Whether every row of `table` is a row of this one: it is this table, or a partition of it.
    #[must_use]
    pub fn holds(&self, table: &TableName) -> bool {
        self.name == *table || self.partition(table).is_some()
    }

    /// Whether a row of `table` may be a row of this one: one of the two holds the other.
    #[must_use]
    pub fn overlaps(&self, table: &TableName) -> bool {
        self.holds(table) || self.partition_of.contains(table)
    }
}

/// A partition of a table, at whatever level, and the rows that it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its name.
    pub name: TableName,
    /// The condition of a row of the partitioned table that is routed to it, as SQL over the table's columns, which are not
    /// qualified.
    pub constraint: String,
    /// The columns that the condition looks at.
    pub columns: Vec<Ident>,
}

/// What our role may do with a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a privilege of its own")]
pub struct Rights {
    /// It owns the relation, or is a member of the owner.
    pub owner: bool,
    /// SELECT
    pub select: bool,
    /// INSERT
    pub insert: bool,
    /// UPDATE, of some column at least
    pub update: bool,
    /// DELETE
    pub delete: bool,
    /// TRUNCATE
    pub truncate: bool,
    /// TEMPORARY, on its database
    pub temporary: bool,
    /// A row-level policy would hide rows from it (and with `row_security = off` is an error).
    pub rows_hidden: bool,
}

/// A relation that holds rows.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// Its OID.
    pub oid: Oid,
    /// Its name.
    pub name: TableName,
    /// What it is.
    pub kind: RelationKind,
    /// The access method that stores its rows, where the server itself does: `heap`.
    pub access_method: Option<String>,
    /// What an extension makes of it.
    pub managed: Option<Managed>,
    /// Pages of its heap.
    pub pages: u32,
    /// Bytes of heap and TOAST.
    pub bytes: u64,
    /// Whether our role may read it by itself.
    pub may_select: bool,
}

/// When an identity column takes given values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// Only with OVERRIDING SYSTEM VALUE.
    Always,
    /// As a default does.
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
    /// The type modifier (`atttypmod`): length, precision and scale; -1 where there is none.
    pub modifier: i32,
    /// NOT NULL
    pub not_null: bool,
    /// It has a DEFAULT (or is generated).
    pub has_default: bool,
    /// What that is, as SQL over the table's columns.
    pub expression: Option<String>,
    /// It is an identity column.
    pub identity: Option<Identity>,
    /// It is generated from others, STORED or VIRTUAL.
    pub generated: bool,
    /// Its collation if it is not the type's own, as SQL.
    pub collation: Option<String>,
    /// Whether our role may read it.
    pub may_select: bool,
    /// Whether our role may insert into it.
    pub may_insert: bool,
    /// It is in the key of a unique index without WHERE and expressions, of the table itself or of a partition. An UPDATE that
    /// sets it may lock the row against foreign keys' checks, even if the value stays the same.
    pub identifies: bool,
}

/// A CHECK constraint that all rows satisfy, and that depends on nothing but the columns of the row.
#[derive(Debug, Clone)]
pub struct CheckConstraint {
    /// Its name.
    pub name: Ident,
    /// What must not be false, as SQL over the table's columns.
    pub expression: String,
    /// The columns that it looks at.
    pub columns: Vec<Ident>,
}

impl Column {
    /// A column of which nothing is known but its type: of a query's result, or of a file.
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
    /// It is the primary key.
    pub is_primary: bool,
    /// It is checked at once rather than deferrable.
    pub is_immediate: bool,
    /// It has a WHERE.
    pub is_partial: bool,
    /// It has expressions.
    pub has_expressions: bool,
    /// The partition that it belongs to, if it is not the table's own.
    pub partition: Option<Partition>,
    /// Its key columns in order; incomplete where it has expressions.
    pub columns: Vec<Ident>,
    /// All of them are NOT NULL.
    pub all_not_null: bool,
    /// What it compares, in order.
    pub parts: Vec<IndexPart>,
    /// Its WHERE, as SQL over the table's columns.
    pub predicate: Option<String>,
    /// The columns that its key and its WHERE look at.
    pub uses: Vec<Ident>,
    /// NULLS NOT DISTINCT
    pub nulls_equal: bool,
}

/// A column or an expression of a unique index, and how it is compared.
#[derive(Debug, Clone)]
pub struct IndexPart {
    /// As SQL over the table's columns.
    pub expression: String,
    /// The equality, as SQL: `operator(pg_catalog.=)`; of an exclusion constraint its own operator.
    pub operator: String,
    /// The collation, as SQL, where there is one.
    pub collation: Option<String>,
}

impl UniqueIndex {
    /// Whether it can identify rows: whole, over plain columns, checked at once.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.is_immediate && !self.is_partial && !self.has_expressions
    }
}

/// What a foreign key does when the referenced row goes or changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// NO ACTION: at the end of the statement, or of the transaction, a row with these values must be there.
    None,
    /// RESTRICT: the same, but another row with these values does not help.
    Restrict,
    /// CASCADE: the referencing rows are deleted, or get the new values.
    Cascade,
    /// SET NULL, SET DEFAULT: the referencing rows lose the reference.
    Unset,
}

/// A foreign key.
#[derive(Debug, Clone)]
pub struct ForeignKey {
    /// The constraint's name.
    pub name: Ident,
    /// The referencing table, as declared: its partitions have the key, too.
    pub from: TableName,
    /// Its columns.
    pub from_columns: Vec<Ident>,
    /// The referenced table, as declared.
    pub to: TableName,
    /// Its columns.
    pub to_columns: Vec<Ident>,
    /// The operators it compares with, referenced column first, as SQL: `operator(pg_catalog.=)`.
    pub operators: Vec<String>,
    /// MATCH FULL rather than SIMPLE.
    pub match_full: bool,
    /// What it does to the referencing rows when a referenced one is deleted.
    pub on_delete: Action,
    /// What it does to them when the referenced columns change.
    pub on_update: Action,
    /// The constraint can be deferred.
    pub is_deferrable: bool,
    /// It is not NOT ENFORCED: the server sees to it.
    pub is_enforced: bool,
    /// Its last columns are a PERIOD, for which several rows together may be the match.
    pub is_temporal: bool,
    /// An index of the referencing table begins with its columns.
    pub is_indexed: bool,
    /// Rows of the referencing table, by its statistics or by its size, whichever tells of more.
    pub from_rows: f64,
}

impl ForeignKey {
    /// Whether each referencing row must have one row with the same values.
    #[must_use]
    pub fn demands_match(&self) -> bool {
        self.is_enforced && !self.is_temporal
    }
}

/// A sequence that a column takes its values from. All values as `bigint`.
#[derive(Debug, Clone)]
pub struct Sequence {
    /// Its OID.
    pub oid: Oid,
    /// Its name.
    pub name: TableName,
    /// The column.
    pub column: Ident,
    /// Whether the column owns it; else it is the column's default, and may serve others, too.
    pub is_owned: bool,
    /// INCREMENT BY
    pub increment: i64,
    /// START WITH
    pub start: i64,
    /// MINVALUE
    pub minimum: i64,
    /// MAXVALUE
    pub maximum: i64,
    /// Our role owns it, so it can be restarted within a transaction.
    pub is_owner: bool,
    /// Our role may see where it stands.
    pub may_select: bool,
    /// Our role may set it.
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
    /// It is a true array.
    pub is_array: bool,
    /// It has binary send and receive functions.
    pub has_binary: bool,
    /// Its values have an order of their own; what is made of other types is not meant.
    pub is_ordered: bool,
    /// The extension it belongs to, with its version.
    pub extension: Option<String>,
    /// What it is made of, in order: a domain's base, an array's element, a range's subtype, a multirange's range, a
    /// composite's columns.
    pub parts: Vec<Oid>,
    /// More about each of them, in the same order.
    pub details: Vec<Part>,
    /// The labels of an enum, in their order.
    pub labels: Vec<String>,
}

/// A part of a type: the base of a domain, a column of a composite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The name of a composite's column; empty for other parts.
    pub name: String,
    /// The type modifier (`atttypmod`); -1 where there is none.
    pub modifier: i32,
    /// The type as SQL writes it, length or precision included.
    pub type_name: String,
}
