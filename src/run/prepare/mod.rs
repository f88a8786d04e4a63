//! Before a run begins: sessions to both sides, their catalogs, the plan.

mod column_constants;
mod earlier_runs;
mod scopes;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio_postgres::error::SqlState;

use self::scopes::try_scopes;
use crate::config::{Config, From, Located, Secret, Value};
use crate::error::{Error, Kind, Location, Phase, Result};
use crate::extract::select_sql;
use crate::pg::catalog::{self, Catalog};
use crate::pg::conninfo::{ConnInfo, Environment};
use crate::pg::name::{TableName, plain};
use crate::pg::pooler;
use crate::pg::session::{self, Session, Side};
use crate::plan::{self, CAST_HINT, CsvFiles, Extent, FILES, Facts, Plan, source_name};
use crate::report::state::State;
use crate::run::Options;
use crate::run::id::RunId;
use crate::run::lock_watch;
use crate::run::select;
use crate::run::sessions::Sessions;
use crate::{apply, config, extract};

/// A run that could begin.
pub(crate) struct Prepared {
    pub(crate) plan: Plan,
    /// `None` where all rows come from files.
    pub(crate) source: Option<ConnInfo>,
    pub(crate) target: ConnInfo,
    pub(crate) sessions: Sessions,
    /// A session on the target, which becomes the run's control session.
    pub(crate) control: Session,
    /// Why a run could not write to the target, which can be read all the same.
    pub(crate) unwritable: Option<Error>,
}

/// Connects, reads, decides; changes nothing. Whoever has a table locked meanwhile is named.
pub(crate) async fn prepare(mut config: Config, options: &Options, run: &RunId) -> Result<Prepared> {
    select(&mut config, &options.tables)?;
    if let Some(jobs) = options.jobs {
        config.run.jobs = jobs;
    }
    let sessions = Sessions::new(run, &config.run);
    let (source, target) = endpoints(&config)?;
    let files = survey(&config).await?;
    let ends = lock_watch::ends(source.as_ref(), &target);
    let work = Box::pin(decide(&config, options, (source, target), &sessions, files));
    lock_watch::told(Phase::Plan, &sessions, &ends, work).await
}

async fn decide(
    config: &Config,
    options: &Options,
    (source, target): (Option<ConnInfo>, ConnInfo),
    sessions: &Sessions,
    files: Vec<Option<Arc<CsvFiles>>>,
) -> Result<Prepared> {
    let (source_session, control) = futures::try_join!(
        open_source(source.as_ref(), config, sessions),
        open(&target, &config.target, sessions, Side::Target),
    )?;
    if let Some(source_session) = &source_session {
        refuse_same_database(source_session, &control, config).await?;
    }
    let ((source_catalog, refused), target_catalog, database_bytes) = futures::try_join!(
        async {
            match (&source_session, &source) {
                (Some(session), Some(info)) => {
                    let (catalog, refused) = source_catalog(config, session, info, sessions).await?;
                    Ok((Some(catalog), refused))
                }
                _ => Ok((None, Vec::new())),
            }
        },
        target_catalog(config, &control),
        async { Ok(database_bytes(&control).await) },
    )?;
    let source_label = source.as_ref().map_or_else(|| FILES.to_owned(), ConnInfo::label);
    let unwritable = read_only(&target_catalog, &control, &target, config);
    let state = State::new(config.run.staging_schema.clone());
    let source_client = source_session.as_ref().map(|session| &session.client);
    let past =
        earlier_runs::load(config, options.mode, source_client, &control.client, (&state, &source_label))
            .await?;
    let mut facts = Facts {
        source: source_catalog.as_ref().unwrap_or(&target_catalog),
        target: &target_catalog,
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        source_label,
        target_label: target.label(),
        database_bytes,
        past,
        files,
        outdated: BTreeMap::new(),
    };
    for (entry, error) in refused {
        if !is_about_lost_column(&error) || !facts.was_loaded(entry) {
            return Err(error);
        }
        facts.outdated.insert(entry, Arc::new(error));
    }
    let mut plan = loop {
        let mut plan = plan::build(config, &facts, &apply::rules())?;
        column_constants::settle(config, &mut plan, &control.client).await?;
        let Some(source) = &source else { break plan };
        let mut is_outdated = false;
        for (entry, error) in try_statements(config, &plan, source, sessions).await? {
            if !is_about_lost_column(&error) || !facts.was_loaded(entry) {
                return Err(error);
            }
            facts.outdated.insert(entry, Arc::new(error));
            is_outdated = true;
        }
        if !is_outdated {
            break plan;
        }
    };
    plan.warnings
        .extend(unwritable.as_ref().map(|error| format!("sync would not start: {}", error.message())));
    // A standby does not parse an INSERT, for the lock that this takes.
    if !target_catalog.server.is_standby {
        try_lookups(&plan, &control).await?;
    }
    try_references(config, &plan, &control).await?;
    try_scopes(config, &mut plan, (&target, unwritable.is_none()), sessions).await?;
    state.check(&control.client).await.map_err(|e| e.at(config.target.at.clone()))?;
    Ok(Prepared { plan, source, target, sessions: sessions.clone(), control, unwritable })
}

/// Looks at the files that rows come from, per entry.
async fn survey(config: &Config) -> Result<Vec<Option<Arc<CsvFiles>>>> {
    let mut files = Vec::with_capacity(config.tables.len());
    for table in &config.tables {
        let From::Csv(csv) = &table.from else {
            files.push(None);
            continue;
        };
        let csv = csv.clone();
        let looked = tokio::task::spawn_blocking(move || extract::csv::survey(&csv)).await;
        let looked = looked
            .map_err(|e| Error::new(Phase::Plan, Kind::Internal, format!("looking at files failed: {e}")))?;
        files.push(Some(Arc::new(looked.map_err(|e| e.context(table.name.value.plain()))?)));
    }
    Ok(files)
}

/// A session on the source, if there is one.
async fn open_source(
    source: Option<&ConnInfo>,
    config: &Config,
    sessions: &Sessions,
) -> Result<Option<Session>> {
    let (Some(info), Some(url)) = (source, &config.source) else { return Ok(None) };
    open(info, url, sessions, Side::Source).await.map(Some)
}

/// Both ends of a run, completed from the environment; no source where all rows come from files.
pub(crate) fn endpoints(config: &Config) -> Result<(Option<ConnInfo>, ConnInfo)> {
    let environment = Environment::from_process();
    let resolve =
        |url: &Located<Secret>| ConnInfo::resolve(&url.value, &environment).map_err(|e| e.at(url.at.clone()));
    let is_needed = config.tables.iter().any(|table| !matches!(table.from, From::Csv(_)));
    let source = config.source.as_ref().filter(|_| is_needed).map(resolve).transpose()?;
    Ok((source, resolve(&config.target)?))
}

/// A session for reading the catalog, after poolers that lend connections by the transaction are refused.
pub(crate) async fn open(
    info: &ConnInfo,
    url: &Located<Secret>,
    sessions: &Sessions,
    side: Side,
) -> Result<Session> {
    let settings = sessions.control(side);
    let opened = async {
        pooler::refuse_transaction_pooling(info, &settings).await?;
        session::connect(info, &settings).await
    };
    opened.await.map_err(|e| e.context(format!("the {}", side.name())).at(url.at.clone()))
}

/// Takes an advisory lock on one side and looks for it on the other: whatever names and addresses say, only the
/// very same database shares its advisory locks.
async fn refuse_same_database(source: &Session, target: &Session, config: &Config) -> Result<()> {
    let failed = |e: tokio_postgres::Error| Error::pg(Phase::Connect, "comparing the two databases", &e);
    let key = i64::from(target.backend_pid) << 32 | 0x0062_756c;
    target.client.execute("select pg_catalog.pg_advisory_lock($1)", &[&key]).await.map_err(failed)?;
    let row = source
        .client
        .query_one("select pg_catalog.pg_try_advisory_lock($1)", &[&key])
        .await
        .map_err(failed)?;
    let is_other: bool = row.get(0);
    if is_other {
        source.client.execute("select pg_catalog.pg_advisory_unlock($1)", &[&key]).await.map_err(failed)?;
    }
    target.client.execute("select pg_catalog.pg_advisory_unlock($1)", &[&key]).await.map_err(failed)?;
    if is_other {
        return Ok(());
    }
    Err(Error::new(Phase::Connect, Kind::Refused, "source and target are the same database")
        .at(config.target.at.clone())
        .hint("Check the two URLs: rows would be replaced by themselves."))
}

/// Whether the source refuses SQL of the config since it lacks a column: one that it had once is gone.
fn is_about_lost_column(error: &Error) -> bool {
    error.code() == Some(&SqlState::UNDEFINED_COLUMN)
}

/// The source's catalog, and the entries whose query it refuses.
async fn source_catalog(
    config: &Config,
    session: &Session,
    info: &ConnInfo,
    sessions: &Sessions,
) -> Result<(Catalog, Vec<(usize, Error)>)> {
    let names: BTreeSet<TableName> = config.tables.iter().filter_map(source_name).cloned().collect();
    let mut queries = HashMap::new();
    let mut refused = Vec::new();
    let mut wanted =
        config.tables.iter().enumerate().filter(|(_, table)| matches!(table.from, From::Query(_)));
    if let Some(first) = wanted.next() {
        let session = session::connect(info, &sessions.source_statements()).await?;
        for (entry, table) in std::iter::once(first).chain(wanted) {
            let From::Query(query) = &table.from else { continue };
            match catalog::describe_query(&session.client, &query.value).await {
                Ok(columns) => drop(queries.insert(query.value.clone(), columns)),
                Err(error) => refused.push((entry, blame(error, query.at.clone(), &table.name.value))),
            }
        }
    }
    let catalog =
        catalog::load(&session.client, &names, queries).await.map_err(|e| e.context("the source"))?;
    Ok((catalog, refused))
}

async fn target_catalog(config: &Config, session: &Session) -> Result<Catalog> {
    let mut names: BTreeSet<TableName> = config.tables.iter().map(|table| table.name.value.clone()).collect();
    names.extend(
        config.tables.iter().flat_map(|table| &table.lookups).map(|lookup| lookup.from.value.clone()),
    );
    let declared = config.tables.iter().flat_map(|table| &table.references);
    names.extend(declared.map(|reference| reference.to.value.0.clone()));
    let load = async |names: &BTreeSet<TableName>| {
        catalog::load(&session.client, names, HashMap::new()).await.map_err(|e| e.context("the target"))
    };
    let catalog = load(&names).await?;
    // Tables outside the run that are referenced: their columns' collations matter.
    let referenced: BTreeSet<TableName> = catalog
        .relations
        .values()
        .flat_map(|relation| &relation.foreign_keys)
        .map(|key| key.to.clone())
        .filter(|name| !catalog.relations.contains_key(name))
        .collect();
    let mut catalog = if referenced.is_empty() {
        catalog
    } else {
        names.extend(referenced);
        load(&names).await?
    };
    let replaced: Vec<&TableName> = config.tables.iter().map(|table| &table.name.value).collect();
    catalog::load_attachments(&session.client, &mut catalog, &replaced)
        .await
        .map_err(|e| e.context("the target"))?;
    catalog::load_emptiness(&session.client, &mut catalog, &replaced)
        .await
        .map_err(|e| e.context("the target"))?;
    Ok(catalog)
}

/// Bytes of the target's database; `None` where the role may not ask.
async fn database_bytes(control: &Session) -> Option<u64> {
    let sql = "select pg_catalog.pg_database_size(pg_catalog.current_database())";
    let row = control.client.query_one(sql, &[]).await.ok()?;
    u64::try_from(row.get::<_, i64>(0)).ok()
}

/// The error that keeps a run from starting on a target that is read-only by default. It is so on purpose: our sessions could
/// override the setting, and must not. `None` if the target takes writes.
fn read_only(target: &Catalog, session: &Session, info: &ConnInfo, config: &Config) -> Option<Error> {
    if !session.read_only && !target.server.is_standby {
        return None;
    }
    let why = if target.server.is_standby { "a standby" } else { "read-only" };
    let error = Error::new(Phase::Connect, Kind::Refused, format!("the target {} is {why}", info.label()));
    Some(error.at(config.target.at.clone()).hint(
        "Connect to the primary. A managed database turns read-only (default_transaction_read_only) when its disk is nearly full: enlarge it first.",
    ))
}

/// Has the source parse every extraction that carries the user's SQL or a cast, so that its mistakes show before
/// anything is touched. Returns the entries that it refuses.
async fn try_statements(
    config: &Config,
    plan: &Plan,
    info: &ConnInfo,
    sessions: &Sessions,
) -> Result<Vec<(usize, Error)>> {
    let doubtful: Vec<_> = plan
        .tables
        .iter()
        .filter(|table| {
            let is_query = table.chunks.iter().any(|chunk| matches!(chunk.extent, Extent::Query(_)));
            is_query
                || table.filter.is_some()
                || table.since.is_some()
                || table.extracted().any(|column| !column.is_plain)
        })
        .filter(|table| table.csv.is_none())
        .collect();
    if doubtful.is_empty() {
        return Ok(Vec::new());
    }
    let session = session::connect(info, &sessions.source_statements()).await?;
    let client = &session.client;
    let tried = join_all(doubtful.into_iter().filter_map(|table| {
        let extent = &table.chunks.first()?.extent;
        let entry = &config.tables[table.entry];
        let at = sql_of(entry);
        let sql = select_sql(table, extent);
        Some(async move {
            let refused = client.prepare(&sql).await.err()?;
            let error = Error::pg(Phase::Plan, "the source refuses the extraction", &refused);
            Some((table.entry, blame(error, at.clone(), &table.name)))
        })
    }));
    Ok(tried.await.into_iter().flatten().collect())
}

/// Has the target parse what every lookup compares and assigns: only it knows which types match.
async fn try_lookups(plan: &Plan, control: &Session) -> Result<()> {
    for table in &plan.tables {
        for lookup in &table.lookups {
            let what = format!("the target refuses the lookup of {}", plain(&lookup.column));
            try_statement(plan, control, &lookup.trial_sql(&table.name), what)
                .await
                .map_err(|error| blame(error, lookup.at.clone(), &table.name).hint(CAST_HINT))?;
        }
    }
    Ok(())
}

/// Has the target parse what every declared reference compares. A constraint of its own it has parsed long ago.
async fn try_references(config: &Config, plan: &Plan, control: &Session) -> Result<()> {
    for table in &plan.tables {
        let entry = &config.tables[table.entry];
        for reference in table.references.iter().filter(|reference| reference.is_declared) {
            let declared = entry.references.iter().find(|declared| {
                declared.to.value.0 == reference.to
                    && declared.to.value.1 == reference.to_columns
                    && declared.columns.value == reference.columns
            });
            let at = declared.map_or(&entry.name.at, |declared| &declared.columns.at);
            let what = format!("the target refuses the reference to {}", reference.name);
            try_statement(plan, control, &reference.trial_sql(table), what)
                .await
                .map_err(|error| blame(error, at.clone(), &table.name).hint(COMPARE_HINT))?;
        }
    }
    Ok(())
}

/// What can be done about a reference whose two sides PostgreSQL does not compare.
const COMPARE_HINT: &str = "The columns are compared in the types of the target: reference a column of a matching type, or \
    give both one type on the target.";

/// Has the target parse a statement.
///
/// Parsing locks the tables for a moment. Where that is not to be had at once, nobody shall queue behind a plan: the
/// statement is left untried.
async fn try_statement(plan: &Plan, control: &Session, sql: &str, what: String) -> Result<()> {
    let client = &control.client;
    let failed = |e: tokio_postgres::Error| Error::pg(Phase::Plan, "trying the comparison", &e);
    let begin = format!("begin; set local lock_timeout = {}", plan.run.lock_timeout.as_millis().max(1));
    client.batch_execute(&begin).await.map_err(failed)?;
    let tried = client.prepare(sql).await;
    client.batch_execute("rollback").await.map_err(failed)?;
    match tried.map_err(|e| Error::pg(Phase::Plan, what, &e)) {
        Err(error) if error.kind() != Kind::Lock => Err(error),
        _ => Ok(()),
    }
}

/// Where the SQL of an entry stands that the source is most likely to object to.
fn sql_of(entry: &config::TableConfig) -> &Location {
    let query = match &entry.from {
        From::Query(query) => Some(&query.at),
        From::Relation(_) | From::Csv(_) => None,
    };
    let mut values = entry.columns.set.values().chain(entry.columns.default.values());
    let expr = values.find(|value| matches!(value.value, Value::Expr(_))).map(|value| &value.at);
    entry.filter.as_ref().map(|filter| &filter.at).or(expr).or(query).unwrap_or(&entry.name.at)
}

/// An error about the user's SQL: what is wrong with it is wrong with the config.
pub(crate) fn blame(error: Error, at: Location, table: &TableName) -> Error {
    let kind = if error.may_pass() { error.kind() } else { Kind::Schema };
    error.kind_is(kind).context(table.plain()).at(at)
}

/// How long the source's tables may be waited for.
pub(crate) fn source_lock_wait(plan: &Plan) -> Duration {
    plan.run.lock_wait
}
