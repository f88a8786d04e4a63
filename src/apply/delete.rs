//! `delete`: DELETE and INSERT … SELECT in one transaction. Writers wait until it ends; readers never wait.

use futures::future::BoxFuture;
use tokio_postgres::Client;

use super::{Exchange, Method, Ready, Way};
use crate::config::ApplyMethod;
use crate::error::{Error, Phase, Result};
use crate::pg::catalog::{ForeignKey, Managed};
use crate::pg::name::plain;
use crate::plan::Storage;
use crate::plan::method::{Case, Rules, TableLock};

pub(super) struct Delete;

/// The most rows that searches without an index may read; a few seconds' worth.
const SEARCHED_ROWS_MAX: f64 = 20e6;

/// Assumed row size, for tables whose statistics report fewer rows than their size suggests.
const ROW_BYTES: f64 = 100.0;

impl Rules for Delete {
    fn method(&self) -> ApplyMethod {
        ApplyMethod::Delete
    }

    /// Deleting a row and inserting it again fires the ON DELETE action of every foreign key to it. So no remaining row may
    /// reference this table: the same transaction must empty every referencing table completely.
    fn refusal(&self, case: &Case<'_>) -> Option<String> {
        if !case.target.rights.delete {
            return Some("the role has no DELETE privilege on it".to_owned());
        }
        if let Some(refusal) = case.table.storage.delete_refusal(case.others.iter().copied()) {
            return Some(refusal);
        }
        case.foreign_referrer(&[ApplyMethod::Delete, ApplyMethod::Truncate, ApplyMethod::Direct])
    }

    /// Each deleted row is looked up in every referencing table (a foreign key's trigger runs a query per row).
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    fn drawback(&self, case: &Case<'_>) -> Option<String> {
        if case.table.storage == (Storage::Managed(Managed::Hypertable { is_compressed: true })) {
            return Some(
                "would be slow: rows of compressed chunks must be decompressed before they are deleted"
                    .to_owned(),
            );
        }
        let rows = case.target.row_estimate.max(case.table.target_bytes as f64 / ROW_BYTES);
        let slow = |key: &&ForeignKey| {
            key.is_enforced && !key.is_indexed && rows * key.from_rows > SEARCHED_ROWS_MAX
        };
        case.target.referenced_by.iter().find(slow).map(|key| {
            let columns: Vec<String> = key.from_columns.iter().map(plain).collect();
            format!(
                "would be slow: {} has no index on {} ({})",
                key.from.plain(),
                columns.join(", "),
                key.name.as_str()
            )
        })
    }

    fn lock(&self) -> TableLock {
        TableLock::ShareRowExclusive
    }

    fn waits(&self) -> &'static str {
        "readers never wait; writers wait until the transaction ends"
    }

    fn is_automatic(&self) -> bool {
        true
    }

    fn uses_staging(&self) -> bool {
        true
    }

    fn doubles_table(&self) -> bool {
        true
    }
}

impl Method for Delete {
    fn way(&self) -> Way<'_> {
        Way::Exchange(self)
    }
}

impl Exchange for Delete {
    fn remove<'a>(
        &'a self,
        client: &'a Client,
        tables: &'a [&'a Ready<'a>],
    ) -> BoxFuture<'a, Result<Vec<u64>>> {
        Box::pin(async move {
            let mut removed = Vec::with_capacity(tables.len());
            for table in tables {
                let name = &table.plan.name;
                // `where true` satisfies servers with safeupdate loaded, which refuse a DELETE without WHERE.
                let scope = table.plan.in_scope().unwrap_or_else(|| "true".to_owned());
                let rows = client
                    .execute(&format!("delete from {name} where {scope}"), &[])
                    .await
                    .map_err(|e| Error::pg(Phase::Apply, format!("deleting from {}", name.plain()), &e))?;
                removed.push(rows);
            }
            Ok(removed)
        })
    }
}
