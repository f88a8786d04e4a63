//! Foreign keys that a run left `NOT VALID`, because it was killed or blocked.

use serde_json::json;
use tokio_postgres::GenericClient;
use tokio_postgres::types::Type;

use super::State;
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::name::TableName;

/// A foreign key whose rows were checked, but that the server does not yet consider valid.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Unvalidated {
    /// The schema of the referencing table.
    pub schema: String,
    /// The referencing table.
    pub table: String,
    /// The constraint.
    pub constraint: String,
}

impl Unvalidated {
    /// Returns the referencing table.
    #[must_use]
    pub fn table(&self) -> TableName {
        TableName::new(&self.schema, &self.table)
    }
}

impl State {
    /// Records the foreign keys that an entry of a run has yet to validate; an empty list once that is done. Call it in the
    /// transaction that leaves them not valid. Creates the column on first use.
    ///
    /// # Errors
    /// Errors reported by the server.
    pub(crate) async fn record_unvalidated(
        &self,
        client: &impl GenericClient,
        run_id: &str,
        entry: usize,
        keys: &[Unvalidated],
    ) -> Result<()> {
        if !self.has_unvalidated(client).await? {
            let sql = self.sql("alter table {schema}.runs add column if not exists unvalidated jsonb");
            client.batch_execute(&sql).await.map_err(|error| self.cannot_record(&error))?;
        }
        let keys = (!keys.is_empty()).then(|| json!(keys).to_string());
        let entry = i32::try_from(entry).unwrap_or(i32::MAX);
        let sql = self.sql(
            "update {schema}.runs set unvalidated = $3::text::jsonb where run_id = $1::text and entry = $2::int",
        );
        let values = [(&run_id as _, Type::TEXT), (&entry as _, Type::INT4), (&keys as _, Type::TEXT)];
        client.execute_typed(&sql, &values).await.map(drop).map_err(|error| self.cannot_record(&error))
    }

    /// Returns the foreign keys that are yet to be validated, as run, entry and keys. Empty if there is no state yet.
    ///
    /// # Errors
    /// Errors reported by the server.
    pub(crate) async fn unvalidated(
        &self,
        client: &impl GenericClient,
    ) -> Result<Vec<(String, usize, Vec<Unvalidated>)>> {
        if !self.has_unvalidated(client).await? {
            return Ok(Vec::new());
        }
        let failed = |error| Error::pg(Phase::Clean, self.sql("cannot read {schema}.runs"), &error);
        let sql = self.sql(
            "select run_id, entry, unvalidated::text from {schema}.runs where unvalidated is not null order by 1, 2",
        );
        let mut found = Vec::new();
        for row in client.query(&sql, &[]).await.map_err(failed)? {
            let keys = serde_json::from_str(row.get(2)).map_err(|error| {
                let message = self.sql("cannot parse column unvalidated of {schema}.runs");
                Error::new(Phase::Clean, Kind::Server, format!("{message}: {error}"))
            })?;
            found.push((row.get(0), usize::try_from(row.get::<_, i32>(1)).unwrap_or(0), keys));
        }
        Ok(found)
    }

    async fn has_unvalidated(&self, client: &impl GenericClient) -> Result<bool> {
        let sql = "select exists (select from pg_catalog.pg_attribute a
             where a.attrelid = pg_catalog.to_regclass($1) and a.attname = 'unvalidated' and not a.attisdropped)";
        let row = client.query_one(sql, &[&self.sql("{schema}.runs")]).await;
        let failed = |error| Error::pg(Phase::Record, self.sql("cannot read {schema}.runs"), &error);
        Ok(row.map_err(failed)?.get(0))
    }
}
