//! Reads a [`Config`] from a file or its text.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::Path;

use super::document::{Document, Env};
use super::section::{Section, Shape};
use super::{Config, From, Located, RunConfig, Secret, TableConfig, value};
use crate::error::{Error, Kind, Location, Phase, Result};
use crate::pg::name::TableName;

/// The keys at the top level.
pub(super) static TOP: Shape = Shape { name: "", keys: &["source", "target", "run", "table"] };
/// The keys of `[source]`.
pub(super) static SOURCE: Shape = Shape { name: "[source]", keys: &["url"] };
/// The keys of `[target]`.
pub(super) static TARGET: Shape = Shape { name: "[target]", keys: &["url", "disk"] };

/// Environment variable with the source's URL, used if the config has none.
pub const SOURCE_URL_VARIABLE: &str = "SOURCE_DATABASE_URL";
/// Environment variable with the target's URL, used if the config has none.
pub const TARGET_URL_VARIABLE: &str = "TARGET_DATABASE_URL";

const HINT_NAME: &str =
    "Name the config with -c FILE. The default is bulkload.toml in the working directory.";
const HINT_UTF_8: &str = "Save it as UTF-8, as TOML requires. Editors on Windows may write UTF-16 or ANSI.";

/// Looks up a variable in the environment of this process, for [`Config::load`].
#[must_use]
pub fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Config {
    /// Reads and validates a file. See [`Config::parse`].
    ///
    /// # Errors
    /// [`Kind::Config`] with the location of the first problem, or if the file cannot be read.
    pub fn load(path: &Path, env: &Env<'_>) -> Result<Self> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            let (message, hint) = match error.kind() {
                ErrorKind::NotFound => (format!("no config file {file}"), HINT_NAME),
                ErrorKind::InvalidData => (format!("the config {file} is not UTF-8"), HINT_UTF_8),
                _ => (format!("cannot read the config {file}: {error}"), HINT_NAME),
            };
            Error::new(Phase::Config, Kind::Config, message).hint(hint)
        })?;
        Self::parse(&text, &file, env)
    }

    /// Parses and validates a config's text; error messages call it `file`.
    ///
    /// Every string value may contain environment variables as `${NAME}`; `$${` means a literal `${`. A URL that is not
    /// given is read from `SOURCE_DATABASE_URL` or `TARGET_DATABASE_URL`.
    ///
    /// # Errors
    /// [`Kind::Config`] for the first problem, with file, line and column.
    pub fn parse(text: &str, file: &str, env: &Env<'_>) -> Result<Self> {
        let doc = Document::new(file, text, env);
        let tree = doc.tree()?;
        let top = Section::top(&doc, tree.get_ref(), &TOP)?;
        let source = Side::read(&top, "source", &SOURCE)?;
        let target = Side::read(&top, "target", &TARGET)?;
        let run = match top.get("run") {
            Some(node) => RunConfig::read(&Section::open(&node, &super::run::SHAPE)?)?,
            None => RunConfig::default(),
        };
        let tables = read_tables(&top, &run)?;
        let needs_source = tables.iter().any(|table| !matches!(table.from, From::Csv(_)));
        let source = match source.url(&doc, SOURCE_URL_VARIABLE) {
            None if needs_source => return Err(source.missing(SOURCE_URL_VARIABLE)),
            given => given,
        };
        let disk = target.disk;
        let target =
            target.url(&doc, TARGET_URL_VARIABLE).ok_or_else(|| target.missing(TARGET_URL_VARIABLE))?;
        Ok(Self { source, target, disk, run, tables })
    }
}

/// The settings of one of the two databases.
struct Side {
    name: &'static str,
    /// Location of the section, or of the file if it has none.
    at: Location,
    url: Option<Located<String>>,
    /// Size of the disk in bytes.
    disk: Option<u64>,
}

impl Side {
    fn read(top: &Section<'_>, name: &'static str, shape: &'static Shape) -> Result<Self> {
        let Some(node) = top.get(name) else {
            return Ok(Self { name, at: top.at.clone(), url: None, disk: None });
        };
        let section = Section::open(&node, shape)?;
        let url = section.read("url", value::located(value::text))?;
        let disk = match shape.keys.contains(&"disk") {
            true => section.read("disk", value::size(1..=u64::MAX))?,
            false => None,
        };
        Ok(Self { name, at: section.at, url, disk })
    }

    /// Returns the connection string from the file, or else from the environment.
    fn url(&self, doc: &Document<'_>, variable: &str) -> Option<Located<Secret>> {
        if let Some(Located { value, at }) = &self.url {
            return Some(Located { value: Secret::new(value.clone()), at: at.clone() });
        }
        let value = doc.variable(variable)?;
        let at = Location { file: format!("environment variable {variable}").into(), line: 0, column: 0 };
        Some(Located { value: Secret::new(value), at })
    }

    fn missing(&self, variable: &str) -> Error {
        let name = self.name;
        let message = format!("no {name}: neither url in [{name}] nor {variable} is set");
        Error::config(self.at.clone(), message)
            .hint(format!("Set {variable}=postgresql://user@host/database, or add url to [{name}]."))
    }
}

fn read_tables(top: &Section<'_>, run: &RunConfig) -> Result<Vec<TableConfig>> {
    let sections = match top.get("table") {
        Some(node) => Section::open_all(&node, &super::table::SHAPE)?,
        None => Vec::new(),
    };
    if sections.is_empty() {
        return Err(Error::config(top.at.clone(), "no [[table]]: nothing to load")
            .hint("Add a [[table]] section with name = \"schema.table\" for each table."));
    }
    let mut lines: HashMap<TableName, u32> = HashMap::with_capacity(sections.len());
    let mut tables = Vec::with_capacity(sections.len());
    for section in &sections {
        let table = TableConfig::read(section, run)?;
        let Located { value: name, at } = &table.name;
        if let Some(line) = lines.insert(name.clone(), at.line) {
            return Err(Error::config(
                at.clone(),
                format!("name: the table {} is already defined at line {line}", name.plain()),
            )
            .hint("Keep one [[table]] per target table."));
        }
        tables.push(table);
    }
    Ok(tables)
}
