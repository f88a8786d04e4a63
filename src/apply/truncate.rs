//! `truncate`: TRUNCATE and INSERT … SELECT in one transaction. Everyone waits for the insert.

use futures::future::BoxFuture;
use tokio_postgres::Client;

use super::{Exchange, Method, Ready, Way};
use crate::config::ApplyMethod;
use crate::error::{Error, Phase, Result};
use crate::pg::catalog::{ForeignKey, RelationKind};
use crate::pg::name::plain;
use crate::plan::method::{Case, Rules, TableLock};

pub(super) struct Truncate;

/// Returns why a table cannot be truncated, for the methods that begin with a TRUNCATE.
pub(super) fn refusal(case: &Case<'_>) -> Option<String> {
    if case.table.scope.is_some() {
        return Some("it has a scope".to_owned());
    }
    if !case.target.rights.truncate {
        return Some("the role has no TRUNCATE privilege on it".to_owned());
    }
    if let Some(refusal) = case.table.storage.truncate_refusal(case.version) {
        return Some(refusal);
    }
    // TRUNCATE is refused when a table outside the statement has a foreign key to it (manual, TRUNCATE).
    case.any_referrer(&[ApplyMethod::Truncate, ApplyMethod::Direct]).or_else(|| unenforced(case))
}

/// Returns why a foreign key that is NOT ENFORCED prevents TRUNCATE. TRUNCATE skips tables and partitions without triggers,
/// and such a key has none: the table counts as missing from the statement although it is named there
/// (`heap_truncate_check_FKs`).
fn unenforced(case: &Case<'_>) -> Option<String> {
    let may_be_missed = |key: &&ForeignKey| {
        let is_own = key.from == case.target.name && case.target.kind != RelationKind::Partitioned;
        !key.is_enforced && !is_own
    };
    case.target.referenced_by.iter().find(may_be_missed).map(|key| {
        format!(
            "{} references it ({}) with a foreign key that is NOT ENFORCED",
            key.from.plain(),
            plain(&key.name)
        )
    })
}

/// Truncates all tables with one statement, so that foreign keys among them do not matter. Never CASCADE.
///
/// Returns the rows counted before the lock.
pub(super) async fn truncate(client: &Client, tables: &[&Ready<'_>]) -> Result<Vec<u64>> {
    let names: Vec<String> = tables.iter().map(|table| table.plan.name.to_string()).collect();
    client
        .batch_execute(&format!("truncate table {}", names.join(", ")))
        .await
        .map_err(|e| Error::pg(Phase::Apply, "truncating", &e))?;
    Ok(tables.iter().map(|table| table.live_rows).collect())
}

impl Rules for Truncate {
    fn method(&self) -> ApplyMethod {
        ApplyMethod::Truncate
    }

    fn refusal(&self, case: &Case<'_>) -> Option<String> {
        refusal(case)
    }

    fn lock(&self) -> TableLock {
        TableLock::AccessExclusive
    }

    fn waits(&self) -> &'static str {
        "everyone waits for the insert"
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

impl Method for Truncate {
    fn way(&self) -> Way<'_> {
        Way::Exchange(self)
    }
}

impl Exchange for Truncate {
    fn remove<'a>(
        &'a self,
        client: &'a Client,
        tables: &'a [&'a Ready<'a>],
    ) -> BoxFuture<'a, Result<Vec<u64>>> {
        Box::pin(truncate(client, tables))
    }
}
