//! A table of the user's config. It is only read; the runs load a copy of it in a schema of our own.

use tokio_util::sync::CancellationToken;

use super::budget::unless_stopped;
use super::environment::Ground;
use super::findings::LeftOut;
use super::scenario::{Kindred, Plain, Scenario, columns_of, ordinary_columns, parsed, regclass};
use crate::config::{ApplyMethod, Config, From, Strategy};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::name::{Ident, TableName, list, literal};
use crate::plan::{Storage, TablePlan};
use crate::run::{self, Options};

/// The entry of a config, and the facts about its table.
pub(super) struct Own {
    config: Config,
    entry: usize,
    /// The table on the target.
    live: TableName,
    /// The method that `auto` means for it. If the table is empty today, the copy, which is not, decides.
    automatic: Option<ApplyMethod>,
}

/// Collects the facts that the source and the plain copies need. Only reads.
///
/// # Errors
/// The table cannot be loaded as its config says.
pub(super) async fn prepare(
    ground: &Ground,
    text: &str,
    (config, entry): (&Config, usize),
    stop: &CancellationToken,
) -> Result<Scenario> {
    let table = &config.tables[entry];
    if let From::Csv(csv) = &table.from {
        return Err(Error::config(
            csv.files.at.clone(),
            "bench cannot measure a table that comes from CSV files",
        )
        .hint("Choose a table that comes from a PostgreSQL source."));
    }
    // Reports errors of the entry as `plan` does, and adds what the catalogs know.
    let planned = plan((config, entry), None, stop).await?;
    let own = Own { config: config.clone(), entry, live: planned.name.clone(), automatic: None };
    let automatic = own.automatic(&planned, stop).await;
    Ok(Scenario {
        name: table.name.value.plain(),
        plain: plain(ground, (config, entry), &planned, stop).await?,
        run: parsed(text)?.remove("run").and_then(|run| run.as_table().cloned()).unwrap_or_default(),
        entry: declared(text, (config, entry), &planned)?,
        left_out: what_a_copy_lacks(&planned),
        kind: Kindred::Own(Box::new(Own { automatic, ..own })),
    })
}

/// Plans an entry, with `method` instead of its own if given: alone, or else together with all tables of the config, since
/// tables that reference each other may have to be replaced together.
async fn plan(
    (config, entry): (&Config, usize),
    method: Option<ApplyMethod>,
    stop: &CancellationToken,
) -> Result<TablePlan> {
    let mut config = config.clone();
    if let Some(method) = method {
        config.tables[entry].apply.value = method;
    }
    let name = config.tables[entry].name.value.clone();
    let planned = |tables| {
        let options = Options { tables, cancel: stop.clone(), ..Options::default() };
        Box::pin(run::plan(config.clone(), options))
    };
    let plan = match planned(vec![name.clone()]).await {
        Err(alone) if alone.kind() == Kind::Refused && config.tables.len() > 1 => {
            let together = planned(Vec::new()).await;
            together.map_err(|error| if error.kind() == Kind::Cancelled { error } else { alone })?
        }
        alone => alone?,
    };
    let found = plan.tables.into_iter().find(|table| table.name == name);
    found.ok_or_else(|| Error::new(Phase::Plan, Kind::Internal, "the plan lacks the table"))
}

/// Returns the source's rows as a plain COPY reads them.
async fn plain(
    ground: &Ground,
    (config, entry): (&Config, usize),
    planned: &TablePlan,
    stop: &CancellationToken,
) -> Result<Plain> {
    let table = &config.tables[entry];
    let (names, source) = match &table.from {
        From::Query(query) => (Vec::new(), format!("({}) q", query.value)),
        From::Relation(name) => (ordinary_columns(ground, &name.value, stop).await?, name.value.to_string()),
        From::Csv(_) => (Vec::new(), String::new()),
    };
    let wanted = if names.is_empty() { "*".to_owned() } else { list(&names) };
    let filter = table.filter.as_ref().map_or(String::new(), |filter| format!(" where {}", filter.value));
    let query = format!("select {wanted} from {source}{filter}");
    // Plain copies divide a single heap by pages.
    let is_heap = planned.source_storage == Some(Storage::Heap) && filter.is_empty();
    Ok(Plain {
        columns: unless_stopped(stop, Phase::Plan, columns_of(ground, &query, stop)).await?,
        query,
        key: indexable(planned, &names),
        bytes: planned.bytes,
        heap: planned.source_relation.clone().filter(|_| is_heap),
        names,
    })
}

/// Returns the key, if the plain rows have its columns under the same names. A query has all columns.
fn indexable(planned: &TablePlan, names: &[Ident]) -> Vec<Ident> {
    let key = planned.key.clone().unwrap_or_default();
    let names = if names.is_empty() { &planned.source_columns } else { names };
    if key.iter().all(|column| names.contains(column)) { key } else { Vec::new() }
}

/// Returns the entry as in the config, with its source named and its foreign keys declared.
fn declared(text: &str, (config, entry): (&Config, usize), planned: &TablePlan) -> Result<toml::Table> {
    let mut document = parsed(text)?;
    let entries = document.get_mut("table").and_then(toml::Value::as_array_mut);
    let own = entries.and_then(|entries| entries.get(entry)).and_then(toml::Value::as_table);
    let mut own = own.cloned().unwrap_or_default();
    if !["from", "query"].iter().any(|key| own.contains_key(*key)) {
        own.insert("from".to_owned(), config.tables[entry].name.value.to_string().into());
    }
    declare_foreign_keys(&mut own, planned);
    Ok(own)
}

/// Declares the foreign keys. The copy of the target's table has none, since their triggers would reach into live tables. The
/// declared references make bench check its rows in the same way. Those of single partitions are left out.
fn declare_foreign_keys(entry: &mut toml::Table, planned: &TablePlan) {
    let found = planned.references.iter().filter(|r| !r.is_declared && r.parts.is_empty());
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

/// Returns the properties that affect the speed of the live table but not of its copy.
fn what_a_copy_lacks(planned: &TablePlan) -> Vec<LeftOut> {
    let why = "bench loads one plain copy of the table instead".to_owned();
    let what = match &planned.storage {
        Storage::Heap => return Vec::new(),
        _ if planned.is_partitioned => format!("the partitions of {}", planned.name.plain()),
        other => format!("that {} is {other}", planned.name.plain()),
    };
    vec![LeftOut { what, why }]
}

impl Own {
    async fn automatic(&self, planned: &TablePlan, stop: &CancellationToken) -> Option<ApplyMethod> {
        if planned.live.is_empty || planned.strategy != Strategy::Replace {
            return None;
        }
        let planned = plan((&self.config, self.entry), Some(ApplyMethod::Auto), stop).await;
        planned.ok().map(|planned| planned.apply)
    }

    /// Returns the method that stands for `auto` on the live table, or the method itself.
    pub(super) fn method(&self, method: ApplyMethod) -> ApplyMethod {
        if method == ApplyMethod::Auto { self.automatic.unwrap_or(method) } else { method }
    }

    /// Fails if the live table itself could not be loaded by the method. The copy has no dependent objects.
    ///
    /// # Errors
    /// The reason, as `plan` reports it.
    pub(super) async fn try_method(&self, method: ApplyMethod, stop: &CancellationToken) -> Result<()> {
        match self.config.tables[self.entry].strategy {
            Strategy::Replace => plan((&self.config, self.entry), Some(method), stop).await.map(drop),
            Strategy::Upsert | Strategy::Insert => Ok(()),
        }
    }

    /// Creates an empty copy of the live table.
    pub(super) async fn copy(
        &self,
        ground: &Ground,
        table: &TableName,
        stop: &CancellationToken,
    ) -> Result<()> {
        let sql = format!("create table {table} (like {} including all)", self.live);
        ground.target.run(&sql, stop).await?;
        replace_sequences(ground, table, stop).await?;
        narrow_sequences(ground, table, stop).await
    }

    /// Redirects references to the live table within an entry to its copy.
    pub(super) fn refer_to_copy(&self, entry: &mut toml::Table, copy: &TableName) {
        refer_to(entry, &self.live, copy);
    }
}

fn refer_to(entry: &mut toml::Table, live: &TableName, copy: &TableName) {
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

/// Replaces defaults that draw numbers from a live sequence.
async fn replace_sequences(ground: &Ground, table: &TableName, stop: &CancellationToken) -> Result<()> {
    let sql = format!(
        "select a.attname from pg_attribute a
         join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
         where a.attrelid = {} and a.attgenerated = '' and pg_get_expr(d.adbin, d.adrelid) ~ 'nextval\\('",
        regclass(table)
    );
    for (number, column) in ground.target.values(&sql, stop).await?.into_iter().enumerate() {
        let column = Ident::new(column);
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

/// Narrows the sequences of identity columns. LIKE gives every identity column a bigint sequence, whatever the column's type,
/// and a swap compares the sequence with the one that the column would create.
async fn narrow_sequences(ground: &Ground, table: &TableName, stop: &CancellationToken) -> Result<()> {
    let sql = format!(
        "select format('alter sequence %s as %s', pg_get_serial_sequence({}, attname), format_type(atttypid, null))
         from pg_attribute
         where attrelid = {} and attidentity <> '' and not attisdropped and atttypid <> 'int8'::regtype",
        literal(&table.to_string()),
        regclass(table)
    );
    for sql in ground.target.values(&sql, stop).await? {
        ground.target.run(&sql, stop).await?;
    }
    Ok(())
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
        refer_to(&mut entry, &TableName::new("public", "tree"), &TableName::new("b", "live_auto"));
        let to = |i: usize| entry["reference"][i]["to"].as_str().unwrap();
        assert_eq!((to(0), to(1)), ("\"b\".\"live_auto\"(id)", "other(id)"));
    }
}
