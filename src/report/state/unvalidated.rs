//! Foreign keys that a run left to be validated, because it was killed or somebody was in its way.

use serde_json::json;
use tokio_postgres::GenericClient;
use tokio_postgres::types::Type;

use super::State;
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::name::TableName;

/// A foreign key whose rows have been searched, but which the server does not take for valid yet.
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
    /// The referencing table.
    #[must_use]
    pub fn table(&self) -> TableName {
        TableName::new(&self.schema, &self.table)
    }
}

impl State {
    /// Records which foreign keys an entry of a run has still to validate; none once that is done. To be called in the
    /// transaction that leaves them so. The column is made when it is first needed.
    ///
    /// # Errors
    /// What the server says.
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

    /// Foreign keys that entries of runs have still to validate: run, entry, keys. None if there is no state yet.
    ///
    /// # Errors
    /// What the server says.
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
                let message = self.sql("unvalidated of {schema}.runs is not what was written there");
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
