//! What is loaded: a table that is made up, or one of the user's config, see [`super::user_table`].

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

/// What to load.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A table that is made up.
    Made {
        /// Its columns.
        shape: Shape,
        /// So many rows.
        rows: u64,
        /// Whether rules are applied to them.
        has_rules: bool,
    },
    /// A table of a config.
    Own {
        /// The config's text, for what this does not look at.
        text: String,
        /// The config.
        config: Box<Config>,
        /// The number of the table's entry.
        entry: usize,
    },
}

/// What is loaded, ready to be.
pub(super) struct Scenario {
    /// For people: `lineitem`, `public.orders`.
    pub(super) name: String,
    /// What the plain pipe reads, and with what key it writes.
    pub(super) plain: Plain,
    /// `[run]` of the config, without what is tried.
    pub(super) run: toml::Table,
    /// `[[table]]`, likewise.
    pub(super) entry: toml::Table,
    /// What of it cannot be measured.
    pub(super) left_out: Vec<LeftOut>,
    pub(super) kind: Kindred,
}

/// Where runs write rows that are not loaded, among our files.
pub(super) const REJECTS: &str = "rejects";

/// What differs between the two kinds of subject.
pub(super) enum Kindred {
    Made { shape: Shape, has_rules: bool },
    Own(Box<Own>),
}

/// The same rows for a plain COPY.
pub(super) struct Plain {
    /// The relation that holds them, if its pages can be read by parts.
    pub(super) heap: Option<TableName>,
    /// The columns that are read, unless a query says it.
    pub(super) names: Vec<Ident>,
    /// The query that brings them.
    pub(super) query: String,
    /// The columns of the table that takes them: names and types, as SQL.
    pub(super) columns: String,
    /// That table's key, if its rows have one.
    pub(super) key: Vec<Ident>,
    /// About how large they are in the source.
    pub(super) bytes: u64,
}

impl Subject {
    /// Whether rows are made up in the source.
    pub(super) fn fills_source(&self) -> bool {
        matches!(self, Self::Made { .. })
    }

    /// Creates what the source and the yardstick need.
    ///
    /// # Errors
    /// A server refuses; the user's table cannot be loaded as its config says.
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
    /// The table that a method fills: each has its own, so that none lives with what another leaves behind.
    pub(super) fn live(&self, ground: &Ground, method: ApplyMethod) -> TableName {
        TableName::new(ground.schema.as_str(), format!("live_{}", method.name()))
    }

    /// Whether the table itself could be loaded by a method, and not just a copy that nothing is bound to.
    ///
    /// # Errors
    /// Why it could not.
    pub(super) async fn try_method(&self, method: ApplyMethod, stop: &CancellationToken) -> Result<()> {
        match &self.kind {
            Kindred::Made { .. } => Ok(()),
            Kindred::Own(own) => own.try_method(method, stop).await,
        }
    }

    /// Creates the table that a method fills, empty.
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

    /// Before a run: makes the table one of yesterday again, so that every run finds as much to do. Rows that were deleted
    /// long ago would have been vacuumed by then. Methods that do not look at the old rows do not need it.
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

    /// The whole config of a run with this setting. Both URLs are taken from the environment.
    pub(super) fn config(&self, ground: &Ground, setting: &Setting) -> Result<String> {
        let table = self.live(ground, setting.apply);
        let mut run = self.run.clone();
        let integer = |number: u64| toml::Value::Integer(i64::try_from(number).unwrap_or(i64::MAX));
        run.insert("jobs".to_owned(), integer(setting.jobs as u64));
        run.insert("chunk".to_owned(), integer(setting.chunk));
        run.insert("format".to_owned(), format_name(setting.format).into());
        run.insert("staging_schema".to_owned(), ground.staging_schema.as_str().into());
        run.insert("rejects_dir".to_owned(), ground.file(REJECTS).display().to_string().into());
        // Nobody is to be told of a copy.
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

/// The methods that can be tried for a strategy.
pub(super) fn takes_methods(subject: &Subject) -> bool {
    match subject {
        Subject::Made { .. } => true,
        Subject::Own { config, entry, .. } => config.tables[*entry].strategy == Strategy::Replace,
    }
}

/// The columns of a query's result, as a table is created with them. Their types must be there on the target too.
pub(super) async fn columns_of(ground: &Ground, query: &str, stop: &CancellationToken) -> Result<String> {
    let session = ground.source.users_session().await?;
    let statement = session.client.prepare(query).await.map_err(|e| ground.source.failed(&e))?;
    let mut columns = Vec::new();
    for column in statement.columns() {
        // Asked where the search_path is empty: only then has every type that is not built in its schema's name.
        let sql = format!("select format_type({}, {})", column.type_().oid(), column.type_modifier());
        let kind = ground.source.values(&sql, stop).await?.concat();
        columns.push(format!("{} {kind}", Ident::new(column.name())));
    }
    Ok(columns.join(", "))
}

/// The columns of a relation of the source that COPY reads by itself: generated ones it leaves out.
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

/// The columns of a table's primary key.
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
