//! `bulkload seed`: from files to a config, by what the target has.
//!
//! A file's name is that of its table. Which one is meant is decided by the tables that are there: the name as it is, then
//! without the number that it may begin with to be sorted, then in lower case.

use std::path::{Path, PathBuf};

use crate::config::{
    ApplyMethod, ColumnRules, Config, CsvConfig, Dialect, From, Limit, Located, OnEmpty, RunConfig, Secret,
    Strategy, TableConfig, Triggers,
};
use crate::error::{Error, Kind, Location, Phase, Result};
use crate::pg::conninfo::{ConnInfo, Environment};
use crate::pg::name::{Ident, TableName};
use crate::pg::session::{Session, Side};
use crate::report::result;
use crate::run::id::RunId;
use crate::run::prepare;
use crate::run::sessions::Sessions;
use crate::run::{Options, unless_cancelled};

/// What the command line asks for.
#[derive(Debug)]
pub struct Request {
    /// Where rows go to.
    pub target: Located<Secret>,
    /// The files; `-` is the standard input.
    pub files: Vec<PathBuf>,
    /// Their table, where their names do not say it.
    pub table: Option<TableName>,
    /// What the tables shall hold afterwards. Not said: only empty ones are filled.
    pub strategy: Option<Strategy>,
    /// The rows of the target that are replaced or updated.
    pub scope: Option<String>,
    /// The columns that identify a row.
    pub key: Option<Vec<Ident>>,
    /// How the files are written.
    pub dialect: Dialect,
    /// How many of their rows may be rejected.
    pub max_rejects: Limit,
}

/// A run that is ready to begin.
#[derive(Debug)]
pub struct Seeding {
    /// What [`crate::run::sync`] is to do.
    pub config: Config,
    /// The tables in which it may change or remove rows that are there.
    pub overwritten: Vec<TableName>,
}

/// Finds out what [`crate::run::sync`] would have to do to load files, and changes nothing.
///
/// # Errors
/// The target cannot be reached, lacks a table, or has rows in one that nobody said what to do with.
pub async fn prepare(request: Request, options: &Options) -> Result<Seeding> {
    unless_cancelled(options, Phase::Connect, Box::pin(look(request, options))).await
}

async fn look(request: Request, options: &Options) -> Result<Seeding> {
    let run = RunConfig { jobs: options.jobs.unwrap_or_default(), ..RunConfig::default() };
    let environment = Environment::from_process();
    let info = ConnInfo::resolve(&request.target.value, &environment)
        .map_err(|e| e.at(request.target.at.clone()))?;
    let sessions = Sessions::new(&RunId::now(), &run);
    let session = prepare::open(&info, &request.target, &sessions, Side::Target).await?;
    let mut tables: Vec<(TableName, Vec<PathBuf>)> = Vec::new();
    for file in &request.files {
        let table = match &request.table {
            Some(table) => table.clone(),
            None => table_of(&session, file).await?,
        };
        match tables.iter_mut().find(|(known, _)| *known == table) {
            Some((_, files)) => files.push(file.clone()),
            None => tables.push((table, vec![file.clone()])),
        }
    }
    let filled = filled(&session, &tables).await?;
    if request.strategy.is_none() && !filled.is_empty() {
        return Err(undecided(&filled));
    }
    let overwritten = match request.strategy {
        Some(Strategy::Replace | Strategy::Upsert) => filled,
        Some(Strategy::Insert) | None => Vec::new(),
    };
    let tables = tables.into_iter().map(|(name, files)| entry(name, &files, &request, &run)).collect();
    Ok(Seeding {
        config: Config { source: None, target: request.target, disk: None, run, tables },
        overwritten,
    })
}

/// The table that a file is for.
async fn table_of(session: &Session, file: &Path) -> Result<TableName> {
    let candidates = candidates(&stem(file));
    for name in &candidates {
        if exists(session, name).await? {
            return Ok(name.clone());
        }
    }
    let wanted = candidates.last().map(TableName::plain).unwrap_or_default();
    Err(Error::new(Phase::Plan, Kind::Schema, format!("{}: the target has no table {wanted}", file.display()))
        .hint("The name of a file is that of its table: schema.table.csv. Create the table first, or name another one with --table."))
}

async fn exists(session: &Session, name: &TableName) -> Result<bool> {
    let sql = "select exists (select from pg_catalog.pg_class c where c.oid = pg_catalog.to_regclass($1) and c.relkind in ('r', 'p'))";
    let row = session.client.query_one(sql, &[&name.to_string()]).await;
    Ok(row.map_err(|e| Error::pg(Phase::Plan, "looking for the tables of the files", &e))?.get(0))
}

/// Which of the tables hold rows.
async fn filled(session: &Session, tables: &[(TableName, Vec<PathBuf>)]) -> Result<Vec<TableName>> {
    let mut filled = Vec::new();
    for (name, files) in tables {
        if !exists(session, name).await? {
            let message = format!("the target has no table {}", name.plain());
            return Err(Error::new(Phase::Plan, Kind::Schema, message).at(place(files)));
        }
        let row = session.client.query_one(&format!("select exists (select 1 from {name})"), &[]).await;
        let row = row.map_err(|e| Error::pg(Phase::Plan, format!("reading {}", name.plain()), &e))?;
        if row.get(0) {
            filled.push(name.clone());
        }
    }
    Ok(filled)
}

fn undecided(filled: &[TableName]) -> Error {
    let names: Vec<String> = filled.iter().map(TableName::plain).collect();
    let verb = if names.len() == 1 { "holds" } else { "hold" };
    let message = format!("{} {verb} rows already", result::some_of(&names));
    Error::new(Phase::Plan, Kind::Refused, message).hint(
        "Say what shall become of them: --strategy replace leaves exactly the rows of the files, upsert inserts rows or updates those with \
         the same key, insert adds those whose key is new.",
    )
}

/// What is said of a table is said of its first file.
fn place(files: &[PathBuf]) -> Location {
    let file = files.first().map(|file| file.display().to_string()).unwrap_or_default();
    Location { file: file.into(), line: 0, column: 0 }
}

fn entry(name: TableName, files: &[PathBuf], request: &Request, run: &RunConfig) -> TableConfig {
    let at = place(files);
    let paths = files.iter().map(|file| file.display().to_string()).collect();
    let located = |text: &String| Located { value: text.clone(), at: at.clone() };
    TableConfig {
        from: From::Csv(CsvConfig {
            files: Located { value: paths, at: at.clone() },
            dialect: request.dialect.clone(),
        }),
        filter: None,
        strategy: request.strategy.unwrap_or_default(),
        apply: Located { value: ApplyMethod::Auto, at: at.clone() },
        key: request.key.as_ref().map(|key| Located { value: key.clone(), at: at.clone() }),
        scope: request.scope.as_ref().map(located),
        watermark: None,
        watermark_overlap: std::time::Duration::ZERO,
        format: run.format,
        max_rejects: request.max_rejects,
        // Whoever has a table replaced has said so, and been asked.
        max_shrink: Limit::Percent(100.0),
        on_empty: OnEmpty::Apply,
        only_if_empty: request.strategy.is_none(),
        full_every: run.full_every,
        verify_ignore: Vec::new(),
        missing: None,
        triggers: Located { value: Triggers::Fire, at: at.clone() },
        columns: ColumnRules::default(),
        lookups: Vec::new(),
        references: Vec::new(),
        name: Located { value: name, at },
    }
}

/// The endings of files that are taken for CSV.
const ENDINGS: [&str; 4] = [".csv", ".csv.gz", ".csv.zst", ".csv.zstd"];

/// Whether a file is CSV by its name.
#[must_use]
pub fn is_csv(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// A file's name without its directory and its ending.
fn stem(path: &Path) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let lower = name.to_lowercase();
    let ending = ENDINGS.iter().filter(|ending| lower.ends_with(*ending)).map(|ending| ending.len()).max();
    match ending {
        Some(bytes) => name[..name.len() - bytes].to_owned(),
        None => path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or(name),
    }
}

/// The tables that a name may mean, the likeliest first.
fn candidates(stem: &str) -> Vec<TableName> {
    let mut names: Vec<TableName> = Vec::new();
    for text in [Some(stem), unnumbered(stem)].into_iter().flatten() {
        let lower = text.to_lowercase();
        for text in [text, &lower] {
            let (schema, name) = text.split_once('.').unwrap_or(("public", text));
            let candidate = TableName::new(schema, name);
            if !schema.is_empty() && !name.is_empty() && !names.contains(&candidate) {
                names.push(candidate);
            }
        }
    }
    names
}

/// A name without the number that sorts it: `02_orders`.
fn unnumbered(stem: &str) -> Option<&str> {
    let rest = stem.trim_start_matches(|c: char| c.is_ascii_digit());
    let name = rest.strip_prefix(['_', '-', '.', ' '])?;
    (rest.len() < stem.len() && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_means_a_table() {
        for (file, expected) in [
            ("seed/public.climaster.csv", &["public.climaster"][..]),
            ("climaster.csv.gz", &["public.climaster"]),
            ("02_climaster.csv", &["public.\"02_climaster\"", "public.climaster"]),
            (
                "003-app.Users.CSV.zst",
                &["\"003-app\".\"Users\"", "\"003-app\".users", "app.\"Users\"", "app.users"],
            ),
            ("Order Lines.csv", &["public.\"Order Lines\"", "public.\"order lines\""]),
            ("7.csv", &["public.\"7\""]),
            ("a.txt", &["public.a"]),
        ] {
            let found: Vec<String> =
                candidates(&stem(Path::new(file))).iter().map(TableName::plain).collect();
            assert_eq!(found, expected, "{file}");
        }
    }
}
