//! The baseline of the comparison: `psql -c "copy … to stdout" | psql -c "copy … from stdin"`, and each half alone.

use std::fs::File;
use std::io::Seek as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::environment::{Ground, free_space};
use super::loader::Servers;
use super::process::{Program, Work, measure};
use super::scenario::Scenario;
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::cluster::Binaries;
use crate::pg::conninfo::ForLibpq;
use crate::pg::name::{TableName, list};

/// A plain copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plan {
    /// COPY TO, with the rows discarded.
    Read,
    /// COPY FROM a file.
    Write,
    /// Both as a pipe: `n` at once, each with its part of the table.
    Pipe(usize),
}

impl Plan {
    /// Returns the label shown to the user.
    pub(super) fn label(self) -> String {
        match self {
            Self::Read => "COPY TO alone".to_owned(),
            Self::Write => "COPY FROM alone".to_owned(),
            Self::Pipe(1) => "psql | psql".to_owned(),
            Self::Pipe(streams) => format!("psql | psql, {streams} streams"),
        }
    }
}

/// The polling interval for the size of a file.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The cost of a plain copy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copied {
    /// From the first psql's start to the last one's end.
    pub(super) wall: Duration,
    /// CPU time of all psql processes.
    pub(super) client_cpu: Option<Duration>,
    /// CPU time of the source's server.
    pub(super) source_cpu: Option<Duration>,
    /// CPU time of the target's server.
    pub(super) target_cpu: Option<Duration>,
    /// Peak memory of all psql processes.
    pub(super) peak_memory: Option<u64>,
    /// The time for an index on the key afterwards; only for pipes with one stream.
    pub(super) index: Option<Duration>,
}

/// psql, and the rows that it copies.
pub(super) struct Yardstick<'a> {
    psql: PathBuf,
    ground: &'a Ground,
    scenario: &'a Scenario,
    table: TableName,
    /// The rows as COPY TO writes them, if there is room for them. The file has no name, so no other process can open it, and
    /// it vanishes with this process.
    file: Option<File>,
    /// The pages of the source's heap.
    pages: u64,
}

impl<'a> Yardstick<'a> {
    /// Creates the receiving table and the file of the rows.
    ///
    /// # Errors
    /// psql is missing or cannot connect; the rows cannot be copied as they are.
    pub(super) async fn prepare(
        ground: &'a Ground,
        scenario: &'a Scenario,
        stop: &CancellationToken,
    ) -> Result<Self> {
        let table = TableName::new(ground.schema.as_str(), "plain");
        let create = format!(
            "create unlogged table {table} ({}) with (autovacuum_enabled = off)",
            scenario.plain.columns
        );
        ground.target.run(&create, stop).await?;
        let pages = match &scenario.plain.heap {
            Some(heap) => {
                let relation = crate::pg::name::literal(&heap.to_string());
                let sql = format!(
                    "select pg_relation_size({relation}::regclass) / current_setting('block_size')::int"
                );
                ground.source.number(&sql, stop).await?
            }
            None => 0,
        };
        let mut yardstick = Self { psql: psql()?, ground, scenario, table, file: None, pages };
        let room = room(&ground.directory);
        if scenario.plain.bytes < room {
            yardstick.file = yardstick.written(room, stop).await?;
        }
        if yardstick.file.is_none() {
            // Shows whether psql can read the rows at all.
            let program = yardstick.program(&ground.source.libpq, &yardstick.read_sql(None))?;
            measure(Work::One(program), stop).await?;
        }
        Ok(yardstick)
    }

    /// Writes the rows to a file, unless they exceed `room` or cannot be written.
    async fn written(&self, room: u64, stop: &CancellationToken) -> Result<Option<File>> {
        let file = tempfile::tempfile_in(&self.ground.directory).map_err(|e| no_file(&e))?;
        let copy = file.try_clone().map_err(|e| no_file(&e))?;
        let program = self.program(&self.ground.source.libpq, &self.read_sql(None))?.writing(copy);
        let fits = || file.metadata().is_ok_and(|file| file.len() <= room);
        let enough = stop.child_token();
        let look = async {
            while fits() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            enough.cancel();
            std::future::pending().await
        };
        let measured = tokio::select! {
            measured = measure(Work::One(program), &enough) => measured,
            measured = look => measured,
        };
        match measured {
            Ok(_) if fits() => Ok(Some(file)),
            Err(error) if stop.is_cancelled() => Err(error),
            // The rows are too long, the disk failed, or psql did, which shows again when it reads without a file.
            Ok(_) | Err(_) => Ok(None),
        }
    }

    /// Returns the size of the rows in binary, if known.
    pub(super) fn bytes(&self) -> Option<u64> {
        Some(self.file.as_ref()?.metadata().ok()?.len())
    }

    /// Returns why a plain copy cannot be measured here.
    pub(super) fn refusal(&self, plan: Plan) -> Option<&'static str> {
        match plan {
            Plan::Read | Plan::Pipe(1) => None,
            Plan::Write if self.file.is_none() => Some("there is no room for a temporary file of the rows"),
            Plan::Write => None,
            Plan::Pipe(_) if self.scenario.plain.heap.is_none() => {
                Some("only a plain table without a filter can be divided by pages")
            }
            // Without a range scan each part would read the whole table.
            Plan::Pipe(_) if self.ground.source.session.server_version < 140_000 => {
                Some("the source cannot read a range of pages, which needs PostgreSQL 14")
            }
            Plan::Pipe(streams) if self.pages < streams as u64 => {
                Some("the table has fewer pages than streams")
            }
            Plan::Pipe(_) => None,
        }
    }

    /// Copies once.
    ///
    /// # Errors
    /// The error output of psql.
    pub(super) async fn copy(&self, plan: Plan, stop: &CancellationToken) -> Result<Copied> {
        let ground = self.ground;
        ground.target.run(&format!("truncate {}", self.table), stop).await?;
        ground.settle(stop).await?;
        let work = self.work(plan)?;
        let before = Servers::now(ground);
        let used = measure(work, stop).await?;
        let (source_cpu, target_cpu) = Servers::now(ground).since(&before);
        let index = if plan == Plan::Pipe(1) { self.index(stop).await? } else { None };
        Ok(Copied {
            wall: used.wall,
            client_cpu: used.cpu,
            source_cpu,
            target_cpu,
            peak_memory: used.peak_memory,
            index,
        })
    }

    fn work(&self, plan: Plan) -> Result<Work> {
        let (source, target) = (&self.ground.source.libpq, &self.ground.target.libpq);
        let write_sql = format!("copy {} from stdin (format binary)", self.table);
        match (plan, &self.file) {
            (Plan::Read, _) => Ok(Work::One(self.program(source, &self.read_sql(None))?)),
            (Plan::Write, Some(file)) => {
                // One psql at a time reads it, from the beginning.
                let file = file.try_clone().and_then(|mut file| file.rewind().map(|()| file));
                let file = file.map_err(|e| no_file(&e))?;
                Ok(Work::One(self.program(target, &write_sql)?.reading(file)))
            }
            (Plan::Write, None) => {
                Err(Error::new(Phase::Load, Kind::Internal, "there is no file of the rows"))
            }
            (Plan::Pipe(streams), _) => {
                let pipe = |part: Option<(usize, usize)>| {
                    Ok((self.program(source, &self.read_sql(part))?, self.program(target, &write_sql)?))
                };
                let pipes: Result<_> = if streams == 1 {
                    pipe(None).map(|pipe| vec![pipe])
                } else {
                    (0..streams).map(|number| pipe(Some((number, streams)))).collect()
                };
                Ok(Work::Pipes(pipes?))
            }
        }
    }

    /// Returns the COPY statement for all rows, or for a part of the heap's pages; the last part has no upper bound.
    fn read_sql(&self, part: Option<(usize, usize)>) -> String {
        let plain = &self.scenario.plain;
        let query = match (&plain.heap, part) {
            (Some(heap), Some((number, parts))) => {
                let page = |number: usize| self.pages * number as u64 / parts as u64;
                let names = list(&plain.names);
                let mut sql = format!("(select {names} from {heap} where ctid >= '({},0)'", page(number));
                if number + 1 < parts {
                    sql += &format!(" and ctid < '({},0)'", page(number + 1));
                }
                sql + ")"
            }
            (Some(heap), None) => format!("{heap} ({})", list(&plain.names)),
            (None, _) => format!("({})", plain.query),
        };
        format!("copy {query} to stdout (format binary)")
    }

    async fn index(&self, stop: &CancellationToken) -> Result<Option<Duration>> {
        let key = &self.scenario.plain.key;
        if key.is_empty() {
            return Ok(None);
        }
        let schema = &self.ground.schema;
        let began = Instant::now();
        let sql = format!("create index plain_key on {} ({})", self.table, list(key));
        self.ground.target.run(&sql, stop).await?;
        let took = began.elapsed();
        self.ground.target.run(&format!("drop index {schema}.plain_key"), stop).await?;
        Ok(Some(took))
    }

    /// Returns psql with one statement. Only we supply its connection parameters.
    fn program(&self, end: &ForLibpq, sql: &str) -> Result<Program> {
        let mut command = Command::new(&self.psql);
        command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql, "-d", &end.conninfo]);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("PG")) {
                command.env_remove(name);
            }
        }
        if let Some(password) = &end.password {
            command.env("PGPASSWORD", password.expose());
        }
        Program::new(command)
    }
}

/// Returns the bytes of rows that may be written to a disk: half of the free space, since the runs and other processes need
/// some.
fn room(directory: &Path) -> u64 {
    fail::fail_point!("bench.room", |bytes| bytes.and_then(|bytes| bytes.parse().ok()).unwrap_or(0));
    free_space(directory).unwrap_or(0) / 2
}

fn no_file(why: &std::io::Error) -> Error {
    Error::io(Phase::Stage, "cannot create the temporary file of the rows", why)
}

/// Finds psql beside the server's programs, else in PATH, where Debian has a wrapper script that looks for it first.
fn psql() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let beside_server = Binaries::find().ok().map(|binaries| binaries.program("psql"));
    beside_server
        .into_iter()
        .chain(std::env::split_paths(&path).map(|dir| dir.join("psql")))
        .find(|program| program.is_file())
        .ok_or_else(|| Error::new(Phase::Stage, Kind::Config, "psql not found in PATH"))
}
