//! The rows to load: a generated table, or one of the user's config, see [`super::user_table`].

use tokio_util::sync::CancellationToken;

use super::budget::unless_stopped;
use super::environment::Ground;
use super::findings::LeftOut;
use super::settings::{Setting, format_name};
use super::shape::{Shape, rules};
use super::user_table::{self, Own};
use crate::config::{ApplyMethod, Config, Strategy};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::name::{Ident, TableName, list, literal};

/// The rows to load.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A generated table.
    Made {
        /// Its columns.
        shape: Shape,
        /// The number of rows.
        rows: u64,
        /// Whether rules are applied to the rows.
        has_rules: bool,
    },
    /// A table of a config.
    Own {
        /// The config's text, for the parts that bench does not interpret.
        text: String,
        /// The config.
        config: Box<Config>,
        /// The number of the table's entry.
        entry: usize,
    },
}

/// A prepared subject.
pub(super) struct Scenario {
    /// The name shown to the user: `lineitem`, `public.orders`.
    pub(super) name: String,
    /// The query and the key of the plain copies.
    pub(super) plain: Plain,
    /// `[run]` of the config, without the settings that vary.
    pub(super) run: toml::Table,
    /// `[[table]]`, likewise.
    pub(super) entry: toml::Table,
    /// The parts that cannot be measured.
    pub(super) left_out: Vec<LeftOut>,
    pub(super) kind: Kindred,
}

/// The directory of the runs' rejects, among our files.
pub(super) const REJECTS: &str = "rejects";

/// The two kinds of subject.
pub(super) enum Kindred {
    Made { shape: Shape, has_rules: bool },
    Own(Box<Own>),
}

/// The same rows for a plain COPY.
pub(super) struct Plain {
    /// The relation that holds them, if it can be read by page ranges.
    pub(super) heap: Option<TableName>,
    /// The columns to read, unless a query defines them.
    pub(super) names: Vec<Ident>,
    /// The query that returns them.
    pub(super) query: String,
    /// The columns of the receiving table: names and types, as SQL.
    pub(super) columns: String,
    /// The key of that table, if there is one.
    pub(super) key: Vec<Ident>,
    /// The approximate size of the rows in the source, in bytes.
    pub(super) bytes: u64,
}

impl Subject {
    /// Returns whether rows are generated in the source.
    pub(super) fn fills_source(&self) -> bool {
        matches!(self, Self::Made { .. })
    }

    /// Creates what the source and the plain copies need.
    ///
    /// # Errors
    /// A server error; a user's table that cannot be loaded as its config says.
    pub(super) async fn prepare(&self, ground: &Ground, stop: &CancellationToken) -> Result<Scenario> {
        match self {
            Self::Made { shape, rows, has_rules } => {
                prepare_made(ground, (*shape, *rows, *has_rules), stop).await
            }
            Self::Own { text, config, entry } => {
                user_table::prepare(ground, text, (config, *entry), stop).await
            }
        }
    }
}

async fn prepare_made(
    ground: &Ground,
    (shape, rows, has_rules): (Shape, u64, bool),
    stop: &CancellationToken,
) -> Result<Scenario> {
    let schema = ground.schema.as_str();
    let table = TableName::new(schema, shape.name());
    tracing::info!(phase = %Phase::Stage, rows, "generating the table {shape}");
    ground.source.run(&shape.create_sql(&table, rows), stop).await?;
    ground.source.run(&format!("vacuum (analyze) {table}"), stop).await?;
    if has_rules {
        ground.target.run(&rules::parents_sql(&ground.schema, rows), stop).await?;
        for name in rules::PARENTS {
            let parent = TableName::new(schema, name);
            ground.target.run(&format!("vacuum (analyze) {parent}"), stop).await?;
        }
    }
    let entry = if has_rules { rules::config(&ground.schema) } else { String::new() };
    let names = ordinary_columns(ground, &table, stop).await?;
    let query = format!("select {} from {table}", list(&names));
    let size = format!("select pg_table_size({})", regclass(&table));
    let bytes = ground.source.number(&size, stop).await?;
    Ok(Scenario {
        name: shape.name().to_owned(),
        plain: Plain {
            columns: unless_stopped(stop, Phase::Plan, columns_of(ground, &query, stop)).await?,
            query,
            names,
            key: key_of(ground, &table, stop).await?,
            bytes,
            heap: Some(table.clone()),
        },
        run: toml::Table::new(),
        entry: parsed(&format!("from = '{}'\n{entry}", table.plain()))?,
        left_out: Vec::new(),
        kind: Kindred::Made { shape, has_rules },
    })
}

impl Scenario {
    /// Returns the table that a method fills. Each method has its own, so that none is affected by what another leaves
    /// behind.
    pub(super) fn live(&self, ground: &Ground, method: ApplyMethod) -> TableName {
        TableName::new(ground.schema.as_str(), format!("live_{}", method.name()))
    }

    /// Fails if the table itself could not be loaded by a method, as opposed to a copy without dependent objects.
    ///
    /// # Errors
    /// The reason.
    pub(super) async fn try_method(&self, method: ApplyMethod, stop: &CancellationToken) -> Result<()> {
        match &self.kind {
            Kindred::Made { .. } => Ok(()),
            Kindred::Own(own) => own.try_method(method, stop).await,
        }
    }

    /// Creates the empty table that a method fills.
    pub(super) async fn create_live(
        &self,
        ground: &Ground,
        method: ApplyMethod,
        stop: &CancellationToken,
    ) -> Result<()> {
        let table = self.live(ground, method);
        let target = &ground.target;
        match &self.kind {
            Kindred::Made { shape, has_rules } => {
                target.run(&shape.create_sql(&table, 0), stop).await?;
                if *has_rules {
                    target.run(&rules::alter_sql(&table), stop).await?;
                }
                Ok(())
            }
            Kindred::Own(own) => own.copy(ground, &table, stop).await,
        }
    }

    /// Restores the previous day's contents before a run, so that every run finds the same work. Vacuums, since rows deleted
    /// a day ago would have been vacuumed. Methods that ignore the old rows do not need this.
    pub(super) async fn age(
        &self,
        ground: &Ground,
        method: ApplyMethod,
        stop: &CancellationToken,
    ) -> Result<()> {
        if matches!(method, ApplyMethod::Swap | ApplyMethod::Truncate | ApplyMethod::Direct) {
            return Ok(());
        }
        let table = self.live(ground, method);
        let yesterday = match &self.kind {
            Kindred::Made { shape, .. } => shape.yesterday_sql(&table),
            Kindred::Own(_) => {
                format!("delete from {table} where abs(hashtext(ctid::text)::bigint) % 100 = 7")
            }
        };
        ground.target.run(&yesterday, stop).await?;
        ground.target.run(&format!("vacuum (analyze) {table}"), stop).await
    }

    /// Returns the complete config of a run with this setting. Both URLs come from the environment.
    pub(super) fn config(&self, ground: &Ground, setting: &Setting) -> Result<String> {
        let table = self.live(ground, setting.apply);
        let mut run = self.run.clone();
        let integer = |number: u64| toml::Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
        run.insert("jobs".to_owned(), integer(setting.jobs as u64));
        run.insert("chunk".to_owned(), integer(setting.chunk));
        run.insert("format".to_owned(), format_name(setting.format).into());
        run.insert("staging_schema".to_owned(), ground.staging_schema.as_str().into());
        run.insert("rejects_dir".to_owned(), ground.file(REJECTS).display().to_string().into());
        // A copy must not send notifications.
        run.remove("notify");
        let mut entry = self.entry.clone();
        let mut method = setting.apply;
        if let Kindred::Own(own) = &self.kind {
            own.refer_to_copy(&mut entry, &table);
            method = own.method(method);
        }
        entry.insert("name".to_owned(), table.to_string().into());
        entry.remove("format");
        match entry.get("strategy").and_then(toml::Value::as_str) {
            None | Some("replace") => {
                entry.insert("apply".to_owned(), method.name().into());
            }
            Some(_) => {}
        }
        let mut document = toml::Table::new();
        document.insert("run".to_owned(), run.into());
        document.insert("table".to_owned(), toml::Value::Array(vec![entry.into()]));
        toml::to_string(&document).map_err(|error| {
            Error::new(Phase::Plan, Kind::Internal, format!("the config of a run cannot be written: {error}"))
        })
    }
}

/// Returns whether apply methods can be varied for the subject's strategy.
pub(super) fn takes_methods(subject: &Subject) -> bool {
    match subject {
        Subject::Made { .. } => true,
        Subject::Own { config, entry, .. } => config.tables[*entry].strategy == Strategy::Replace,
    }
}

/// Returns the columns of a query's result, for CREATE TABLE. Their types must exist on the target too.
pub(super) async fn columns_of(ground: &Ground, query: &str, stop: &CancellationToken) -> Result<String> {
    let session = ground.source.users_session().await?;
    let statement = session.client.prepare(query).await.map_err(|e| ground.source.failed(&e))?;
    let mut columns = Vec::new();
    for column in statement.columns() {
        // With an empty search_path, the names of all types that are not built in are schema-qualified.
        let sql = format!("select format_type({}, {})", column.type_().oid(), column.type_modifier());
        let kind = ground.source.values(&sql, stop).await?.concat();
        columns.push(format!("{} {kind}", Ident::new(column.name())));
    }
    Ok(columns.join(", "))
}

/// Returns the columns of a source relation that COPY reads by default, which excludes generated ones.
pub(super) async fn ordinary_columns(
    ground: &Ground,
    relation: &TableName,
    stop: &CancellationToken,
) -> Result<Vec<Ident>> {
    let sql = format!(
        "select attname from pg_attribute
         where attrelid = {} and attnum > 0 and not attisdropped and attgenerated = '' order by attnum",
        regclass(relation)
    );
    Ok(ground.source.values(&sql, stop).await?.into_iter().map(Ident::new).collect())
}

/// Returns the columns of a table's primary key.
async fn key_of(ground: &Ground, table: &TableName, stop: &CancellationToken) -> Result<Vec<Ident>> {
    let sql = format!(
        "select a.attname from pg_index i
         cross join unnest(i.indkey::int2[]) with ordinality k (number, place)
         join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
         where i.indisprimary and i.indrelid = {} order by k.place",
        regclass(table)
    );
    Ok(ground.source.values(&sql, stop).await?.into_iter().map(Ident::new).collect())
}

pub(super) fn regclass(table: &TableName) -> String {
    format!("{}::regclass", literal(&table.to_string()))
}

pub(super) fn parsed(text: &str) -> Result<toml::Table> {
    text.parse().map_err(|error| Error::new(Phase::Plan, Kind::Internal, format!("not TOML: {error}")))
}
