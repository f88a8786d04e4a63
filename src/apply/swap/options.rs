//! Options that only the server can set.
//!
//! A server may store entries among the options of columns, tables or views that nothing can set and that `pg_dump` leaves
//! out: since November 2026 each column has `pg_attver`, with another value for every new table. Such an option is neither
//! carried over to the new table nor compared. All others are both.
//!
//! The server itself is asked which options these are ([`KeptOptions::read`]), so no list of names has to follow its
//! versions: an option that it accepts can be set.

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::error::{Error, Phase, Result};
use crate::pg::catalog::Oid;
use crate::pg::name::{Ident, literal};

/// The kind of object that an option belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// A table.
    Table,
    /// A TOAST table.
    Toast,
}

impl Owner {
    fn word(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Toast => "toast",
        }
    }
}

/// The options that only the server can set, each as `kind name`: `column pg_attver`.
#[derive(Debug, Clone, Default)]
pub(super) struct KeptOptions(Vec<String>);

impl KeptOptions {
    /// Tests every option of some tables and of the views over them, in one message. `schema` is one in which the role may
    /// create objects; nothing remains there.
    ///
    /// # Errors
    /// Any server error.
    pub(super) async fn read(client: &Client, schema: &Ident, tables: &[Oid]) -> Result<Self> {
        let tables: Vec<String> = tables.iter().map(Oid::to_string).collect();
        let sql = include_str!("options.sql")
            .replace("{tables}", &literal(&format!("{{{}}}", tables.join(","))))
            .replace("{schema}", &literal(schema.as_str()));
        let messages = client.simple_query(&sql).await.map_err(|e| {
            Error::pg(Phase::Apply, "finding the storage options that only the server can set", &e)
        })?;
        let name = |message: &SimpleQueryMessage| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(ToOwned::to_owned),
            _ => None,
        };
        Ok(Self(messages.iter().filter_map(name).collect()))
    }

    /// Returns the options as `kind name`, for queries that leave them out.
    pub(super) fn names(&self) -> &[String] {
        &self.0
    }

    /// Returns whether an option can be set: `name=value`, or the name alone.
    pub(super) fn can_set(&self, owner: Owner, option: &str) -> bool {
        let name = option.split_once('=').map_or(option, |(name, _)| name);
        let option = format!("{} {name}", owner.word());
        !self.0.contains(&option)
    }
}
