//! What is loaded: a table that is made up, or one of the user's config, whose target is then a copy in our own schema.

use tokio_util::sync::CancellationToken;

use super::ground::Ground;
use super::settings::{Setting, format_name};
use super::shape::{Shape, rules};
use crate::config::{ApplyMethod, Config, From, Strategy};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::catalog::RelationKind;
use crate::pg::name::{Ident, TableName, list, literal};
use crate::plan::TablePlan;
use crate::run::{self, Options};

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
    run: toml::Table,
    /// `[[table]]`, likewise.
    entry: toml::Table,
    kind: Kindred,
}

/// What differs between the two kinds of subject.
enum Kindred {
    Made { shape: Shape, has_rules: bool },
    Own { live: TableName },
}

/// The same rows for a plain COPY.
pub(super) struct Plain {
    /// The relation that holds them, if its pages can be read by parts.
    pub(super) heap: Option<TableName>,
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
            Self::Own { text, config, entry } => prepare_own(ground, text, config, *entry).await,
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
    tracing::info!(phase = %Phase::Stage, rows, "making up the table {shape}");
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
    let size = format!("select pg_table_size({})", regclass(&table));
    let bytes = ground.source.number(&size, stop).await?;
    Ok(Scenario {
        name: shape.name().to_owned(),
        plain: Plain {
            query: format!("select * from {table}"),
            columns: columns_of(ground, &format!("select * from {table}")).await?,
            key: key_of(ground, &table).await?,
            bytes,
            heap: Some(table.clone()),
        },
        run: toml::Table::new(),
        entry: parsed(&format!("from = '{}'\n{entry}", table.plain()))?,
        kind: Kindred::Made { shape, has_rules },
    })
}

async fn prepare_own(ground: &Ground, text: &str, config: &Config, entry: usize) -> Result<Scenario> {
    let table = &config.tables[entry];
    let source = match &table.from {
        From::Relation(name) => name.value.to_string(),
        From::Query(query) => format!("({}) q", query.value),
        From::Csv(csv) => {
            return Err(Error::config(
                csv.files.at.clone(),
                "bench cannot measure a table that comes from CSV files",
            )
            .hint("Name a table that comes from a PostgreSQL source."));
        }
    };
    // Says what is wrong with the entry as `plan` says it, and knows what the catalogs add to it.
    let options = Options { tables: vec![table.name.value.clone()], ..Options::default() };
    let plan = Box::pin(run::plan(config.clone(), options)).await?;
    let planned = &plan.tables[0];
    let filter = table.filter.as_ref().map_or(String::new(), |filter| format!(" where {}", filter.value));
    let query = format!("select * from {source}{filter}");
    let mut document = parsed(text)?;
    let entries = document.get_mut("table").and_then(toml::Value::as_array_mut);
    let own = entries.and_then(|entries| entries.get(entry)).and_then(toml::Value::as_table);
    let mut own = own.cloned().unwrap_or_default();
    if !["from", "query"].iter().any(|key| own.contains_key(*key)) {
        own.insert("from".to_owned(), table.name.value.to_string().into());
    }
    declare_foreign_keys(&mut own, planned);
    let heap = planned.source_relation.clone();
    let is_heap = planned.source_kind == Some(RelationKind::Table) && filter.is_empty();
    Ok(Scenario {
        name: table.name.value.plain(),
        plain: Plain {
            columns: columns_of(ground, &query).await?,
            query,
            key: indexable(planned),
            bytes: planned.bytes,
            heap: heap.filter(|_| is_heap),
        },
        run: document.get("run").and_then(toml::Value::as_table).cloned().unwrap_or_default(),
        entry: own,
        kind: Kindred::Own { live: planned.name.clone() },
    })
}

/// The key, if the source has its columns by the same names.
fn indexable(planned: &TablePlan) -> Vec<Ident> {
    let key = planned.key.clone().unwrap_or_default();
    if key.iter().all(|column| planned.source_columns.contains(column)) { key } else { Vec::new() }
}

/// The copy of the target's table has no foreign keys, whose triggers would reach into live tables: its rows are judged
/// by the same references all the same, because the config declares them.
fn declare_foreign_keys(entry: &mut toml::Table, planned: &TablePlan) {
    let found = planned.references.iter().filter(|reference| !reference.is_declared);
    let found: Vec<toml::Value> = found
        .map(|reference| {
            let columns = reference.columns.iter().map(|column| toml::Value::from(column.to_string()));
            let to = format!("{}({})", reference.to, list(&reference.to_columns));
            let mut declared = toml::Table::new();
            declared.insert("columns".to_owned(), toml::Value::Array(columns.collect()));
            declared.insert("to".to_owned(), to.into());
            toml::Value::Table(declared)
        })
        .collect();
    if !found.is_empty() {
        let declared = entry.entry("reference").or_insert_with(|| toml::Value::Array(Vec::new()));
        declared.as_array_mut().into_iter().for_each(|declared| declared.extend(found.clone()));
    }
}

impl Scenario {
    /// The table that a method fills: each has its own, so that none lives with what another leaves behind.
    pub(super) fn live(&self, ground: &Ground, method: ApplyMethod) -> TableName {
        TableName::new(ground.schema.as_str(), format!("live_{}", method.name()))
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
            Kindred::Own { live } => {
                target.run(&format!("create table {table} (like {live} including all)"), stop).await?;
                self.replace_sequences(ground, &table, stop).await
            }
        }
    }

    /// A default that takes numbers from a live sequence must not do so for us.
    async fn replace_sequences(
        &self,
        ground: &Ground,
        table: &TableName,
        stop: &CancellationToken,
    ) -> Result<()> {
        let sql = format!(
            "select a.attname::text from pg_attribute a
             join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
             where a.attrelid = {} and a.attgenerated = '' and pg_get_expr(d.adbin, d.adrelid) ~ 'nextval\\('",
            regclass(table)
        );
        let rows =
            ground.target.session.client.query(&sql, &[]).await.map_err(|e| ground.target.failed(&e))?;
        for (number, row) in rows.iter().enumerate() {
            let column = Ident::new(row.get::<_, String>(0));
            let name = format!("{}_{number}", table.name.as_str());
            let sequence = TableName::new(ground.schema.as_str(), name);
            let sql = format!(
                "create sequence {sequence}; alter table {table} alter {column} set default nextval({})",
                regclass(&sequence)
            );
            ground.target.run(&sql, stop).await?;
        }
        Ok(())
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
            Kindred::Own { .. } => {
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
        run.insert("rejects_dir".to_owned(), ground.file("rejects").display().to_string().into());
        // Nobody is to be told of a copy.
        run.remove("notify");
        let mut entry = self.entry.clone();
        entry.insert("name".to_owned(), table.to_string().into());
        entry.remove("format");
        match entry.get("strategy").and_then(toml::Value::as_str) {
            None | Some("replace") => {
                entry.insert("apply".to_owned(), setting.apply.name().into());
            }
            Some(_) => {}
        }
        if let Kindred::Own { live } = &self.kind {
            refer_to_itself(&mut entry, live, &table);
        }
        let mut document = toml::Table::new();
        document.insert("run".to_owned(), run.into());
        document.insert("table".to_owned(), toml::Value::Array(vec![entry.into()]));
        toml::to_string(&document).map_err(|error| {
            Error::new(Phase::Plan, Kind::Internal, format!("the config of a run cannot be written: {error}"))
        })
    }
}

/// What refers to the live table refers to its copy.
fn refer_to_itself(entry: &mut toml::Table, live: &TableName, copy: &TableName) {
    let references = entry.get_mut("reference").and_then(toml::Value::as_array_mut).into_iter().flatten();
    for reference in references.filter_map(toml::Value::as_table_mut) {
        let to = reference.get("to").and_then(toml::Value::as_str).unwrap_or_default();
        if let Some((table, columns)) = to.split_once('(')
            && table.parse().is_ok_and(|table: TableName| table == *live)
        {
            let to = format!("{copy}({columns}");
            reference.insert("to".to_owned(), to.into());
        }
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
async fn columns_of(ground: &Ground, query: &str) -> Result<String> {
    let session = ground.source.users_session().await?;
    let failed = |e| ground.source.failed(&e);
    let statement = session.client.prepare(query).await.map_err(failed)?;
    let mut columns = Vec::new();
    for column in statement.columns() {
        let sql = format!("select format_type({}, {})", column.type_().oid(), column.type_modifier());
        let kind: String = session.client.query_one(&sql, &[]).await.map_err(failed)?.get(0);
        columns.push(format!("{} {kind}", Ident::new(column.name())));
    }
    Ok(columns.join(", "))
}

/// The columns of a table's primary key.
async fn key_of(ground: &Ground, table: &TableName) -> Result<Vec<Ident>> {
    let sql = format!(
        "select a.attname::text from pg_index i
         cross join unnest(i.indkey::int2[]) with ordinality k (number, place)
         join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.number
         where i.indisprimary and i.indrelid = {} order by k.place",
        regclass(table)
    );
    let rows = ground.source.session.client.query(&sql, &[]).await.map_err(|e| ground.source.failed(&e))?;
    Ok(rows.iter().map(|row| Ident::new(row.get::<_, String>(0))).collect())
}

fn regclass(table: &TableName) -> String {
    format!("{}::regclass", literal(&table.to_string()))
}

fn parsed(text: &str) -> Result<toml::Table> {
    text.parse().map_err(|error| Error::new(Phase::Plan, Kind::Internal, format!("not TOML: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_refers_to_the_table_itself_refers_to_its_copy() {
        let mut entry = parsed(
            "[[reference]]\ncolumns = ['parent']\nto = 'public.tree(id)'\n[[reference]]\ncolumns = ['x']\nto = 'other(id)'",
        )
        .unwrap();
        refer_to_itself(&mut entry, &TableName::new("public", "tree"), &TableName::new("b", "live_auto"));
        let to = |i: usize| entry["reference"][i]["to"].as_str().unwrap();
        assert_eq!((to(0), to(1)), ("\"b\".\"live_auto\"(id)", "other(id)"));
    }
}
