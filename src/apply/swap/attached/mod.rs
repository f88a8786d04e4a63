//! Objects attached to a table, read from the catalog as the DDL that recreates them on a table of the same name in another
//! schema.
//!
//! The server writes every definition itself (`pg_get_indexdef` and the like) under an empty `search_path`, so all names are
//! schema-qualified. Only the table's own name in the text is replaced ([`retarget()`]).

mod columns;
mod retarget;

use tokio_postgres::{Client, Row};

pub(super) use columns::bare_sql;
use columns::{Column, Sequence, Table};
use retarget::literal_as_deparsed;
pub(super) use retarget::retarget;

use super::options::KeptOptions;

use crate::error::{Error, Kind, Phase, Result};
use crate::pg::catalog::Oid;
use crate::pg::name::{Ident, TableName};

/// An index, and the constraint that it implements.
#[derive(Debug, Clone)]
pub(super) struct Index {
    /// The name of the index and of the constraint.
    pub(super) name: Ident,
    /// The CREATE INDEX statement of the live index.
    pub(super) definition: String,
    /// The tablespace as SQL, if it is not the database's default.
    pub(super) tablespace: Option<String>,
    /// `primary key` or `unique`.
    pub(super) makes: Option<String>,
    /// `deferrable`, or empty.
    pub(super) deferrability: String,
}

/// A constraint without an index.
#[derive(Debug, Clone)]
pub(super) struct Constraint {
    /// Its name.
    pub(super) name: Ident,
    /// `contype`: c, f, x, n; p or u if an index alone does not implement it.
    pub(super) kind: char,
    /// The text after `ADD CONSTRAINT name`.
    pub(super) definition: String,
    /// False for NOT VALID.
    pub(super) is_valid: bool,
    /// False for NOT ENFORCED.
    pub(super) is_enforced: bool,
    /// The table that a foreign key references, and its name as SQL.
    pub(super) referenced: Option<(Oid, String)>,
    /// The tablespace of its index as SQL, if it is not the database's default.
    pub(super) tablespace: Option<String>,
    /// The column of a NOT NULL.
    pub(super) column: Option<Ident>,
    /// NO INHERIT
    pub(super) is_not_inherited: bool,
}

/// The attached objects that are built before the new table can be compared with the live one: all but privileges, triggers
/// and policies.
#[derive(Debug, Clone)]
pub(super) struct Attached {
    /// Options, owner, tablespace.
    pub(super) table: Table,
    /// Columns in their order.
    pub(super) columns: Vec<Column>,
    /// Sequences that they own.
    pub(super) sequences: Vec<Sequence>,
    /// Indexes, the largest first.
    pub(super) indexes: Vec<Index>,
    /// Constraints.
    pub(super) constraints: Vec<Constraint>,
    /// Options that are not carried over.
    pub(super) kept_options: KeptOptions,
}

/// Reads the objects attached to a live table. The session's `search_path` must be empty; `schema` is the schema of new
/// tables.
///
/// # Errors
/// [`Kind::Schema`] if the table no longer exists; any server error.
pub(super) async fn read(client: &Client, schema: &Ident, live: Oid, name: &TableName) -> Result<Attached> {
    let failed = |e: tokio_postgres::Error| {
        Error::pg(Phase::Apply, format!("reading the objects attached to {}", name.plain()), &e)
    };
    let read = |sql: &'static str| async move { client.query(sql, &[&live]).await.map_err(failed) };
    let (kept_options, table, columns, sequences, indexes, constraints) = futures::try_join!(
        KeptOptions::read(client, schema, std::slice::from_ref(&live)),
        read(include_str!("table.sql")),
        read(include_str!("columns.sql")),
        read(include_str!("sequences.sql")),
        read(include_str!("indexes.sql")),
        read(include_str!("constraints.sql")),
    )?;
    let table = table.first().map(|row| Table::from_row(row, &kept_options)).ok_or_else(|| {
        let message = format!("{} was dropped or replaced during the run", name.plain());
        Error::new(Phase::Apply, Kind::Schema, message).hint("Run again.")
    })?;
    Ok(Attached {
        table,
        columns: columns.iter().map(Column::from_row).collect(),
        sequences: sequences.iter().map(Sequence::from_row).collect(),
        indexes: indexes.iter().map(index).collect(),
        constraints: constraints.iter().map(constraint).collect(),
        kept_options,
    })
}

fn index(row: &Row) -> Index {
    Index {
        name: Ident::new(row.get::<_, String>("name")),
        definition: row.get("definition"),
        tablespace: row.get("tablespace"),
        makes: row.get("made_constraint"),
        deferrability: row.get("deferrability"),
    }
}

fn constraint(row: &Row) -> Constraint {
    Constraint {
        name: Ident::new(row.get::<_, String>("name")),
        kind: row.get::<_, &str>("kind").chars().next().unwrap_or(' '),
        definition: row.get("definition"),
        is_valid: row.get("is_valid"),
        is_enforced: row.get("is_enforced"),
        referenced: row.get::<_, Option<String>>("referenced_name").map(|name| (row.get("referenced"), name)),
        tablespace: row.get("tablespace"),
        column: row.get::<_, Option<String>>("column_name").map(Ident::new),
        is_not_inherited: row.get("is_not_inherited"),
    }
}

/// A statement about privileges on a table, one of its columns or one of its sequences.
#[derive(Debug)]
pub(super) struct Right {
    /// The number of the object.
    pub(super) object: i64,
    /// REVOKE or GRANT.
    pub(super) statement: String,
    /// The grantor, if it was not the owner.
    pub(super) grantor: Option<String>,
}

/// A live table, and the name of its new table while statements for it are read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    /// The live table.
    pub(super) live: Oid,
    /// Its name as the server writes it.
    pub(super) live_name: &'a str,
    /// The new table.
    pub(super) new: &'a TableName,
}

impl Target<'_> {
    /// Returns the settings that ANALYZE uses.
    pub(super) async fn statistics(
        &self,
        client: &Client,
        kept_options: &KeptOptions,
    ) -> Result<Vec<String>> {
        let (new, schema) = (self.new.to_string(), self.new.schema.to_string());
        let rows = client
            .query(include_str!("statistics.sql"), &[&self.live, &new, &schema, &kept_options.names()])
            .await
            .map_err(|e| self.failed(&e))?;
        rows.iter().map(|row| self.statement(row)).collect()
    }

    /// Returns the comments, except those on triggers, rules and policies.
    pub(super) async fn comments(&self, client: &Client) -> Result<(Vec<String>, Vec<String>)> {
        let rows = self.query(client, include_str!("comments.sql"), true).await?;
        let (mut plain, mut of_code) = (Vec::new(), Vec::new());
        for row in &rows {
            let statement = self.statement(row)?;
            if row.get("is_of_code") { of_code.push(statement) } else { plain.push(statement) }
        }
        Ok((plain, of_code))
    }

    /// Returns the privileges.
    pub(super) async fn rights(&self, client: &Client) -> Result<Vec<Right>> {
        let rows = self.query(client, include_str!("grants.sql"), true).await?;
        let right = |row: &Row| {
            let statement = self.statement(row)?;
            Ok(Right { object: row.get("object"), statement, grantor: row.get("grantor") })
        };
        rows.iter().map(right).collect()
    }

    /// Returns CLUSTER and the replica identity.
    pub(super) async fn marks(&self, client: &Client) -> Result<Vec<String>> {
        let rows = self.query(client, include_str!("marks.sql"), false).await?;
        rows.iter().map(|row| self.statement(row)).collect()
    }

    /// Returns the owners of objects that do not follow the table's owner.
    pub(super) async fn owners(&self, client: &Client) -> Result<Vec<String>> {
        let schema = self.new.schema.to_string();
        let rows = client
            .query(include_str!("owners.sql"), &[&self.live, &schema])
            .await
            .map_err(|e| self.failed(&e))?;
        rows.iter().map(|row| self.statement(row)).collect()
    }

    /// Returns rules, triggers and policies, in this order, each with its state.
    pub(super) async fn code(&self, client: &Client) -> Result<Vec<String>> {
        let mut statements = Vec::new();
        for (sql, word) in [
            (include_str!("rules.sql"), Some("TO")),
            (include_str!("triggers.sql"), Some("ON")),
            (include_str!("policies.sql"), None),
        ] {
            for row in &self.query(client, sql, false).await? {
                let definition: String = row.get("definition");
                let new = self.new.to_string();
                statements.push(match word {
                    None => definition,
                    Some(word) => retarget(&definition, word, self.live_name, &new)
                        .ok_or_else(|| self.unknown(&definition))?,
                });
                statements.extend(row.get::<_, Option<String>>("state"));
            }
        }
        Ok(statements)
    }

    async fn query(&self, client: &Client, sql: &str, with_schema: bool) -> Result<Vec<Row>> {
        let (new, schema) = (self.new.to_string(), self.new.schema.to_string());
        let asked = if with_schema {
            client.query(sql, &[&self.live, &new, &schema]).await
        } else {
            client.query(sql, &[&self.live, &new]).await
        };
        asked.map_err(|e| self.failed(&e))
    }

    fn statement(&self, row: &Row) -> Result<String> {
        row.get::<_, Option<String>>("statement").ok_or_else(|| self.unknown("a definition that is NULL"))
    }

    fn failed(&self, error: &tokio_postgres::Error) -> Error {
        Error::pg(Phase::Apply, format!("reading the objects attached to {}", self.live_name), error)
    }

    fn unknown(&self, definition: &str) -> Error {
        let message =
            format!("cannot parse the definition of an object attached to {}: {definition}", self.live_name);
        Error::new(Phase::Apply, Kind::Internal, message)
    }
}
