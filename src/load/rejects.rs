//! The rejects file of a table: CSV, written while rows are rejected, never held in memory.

use std::path::{Path, PathBuf};

use tokio::fs::{self, File};
use tokio::io::{AsyncWriteExt as _, BufWriter};

use super::spool::{create, failed};
use crate::config::Said;
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::name::{Ident, TableName};
use crate::plan::TablePlan;
use crate::report::figures::counted;
use crate::report::{Reject, Rejects};
use crate::transform::RejectBuffer;

/// A rejects file that is being written, under a name of its own until it is complete.
#[derive(Debug)]
pub(crate) struct RejectsFile {
    path: PathBuf,
    part: PathBuf,
    header: Vec<u8>,
    writer: Option<BufWriter<File>>,
    samples: Samples,
}

/// The first rejects, read from the bytes as they go by.
#[derive(Debug, Default)]
struct Samples {
    bytes: Vec<u8>,
    taken: usize,
}

/// As much of the first rows as is kept for samples.
const SAMPLE_BYTES: usize = 16 * 1024;

/// Adds rows that were rejected for one reason to a table's rejects in short.
pub(crate) fn add(rejects: &mut Rejects, reason: &str, rows: u64, samples: Vec<String>) {
    match rejects.counts.iter_mut().find(|(known, _)| known == reason) {
        Some((_, count)) => *count += rows,
        None => rejects.counts.push((reason.to_owned(), rows)),
    }
    let space = Rejects::SHOWN.saturating_sub(rejects.first.len());
    let shown = samples.into_iter().take(space);
    rejects.first.extend(shown.map(|text| Reject { reason: reason.to_owned(), text }));
}

/// More rows were rejected than may be.
pub(crate) struct TooMany<'a> {
    /// Of this table.
    pub(crate) table: &'a TablePlan,
    /// How many: `7 of 9 rows were`.
    pub(crate) rejected: String,
    /// What for, and how many; without values of rows.
    pub(crate) kinds: &'a [(String, u64)],
    /// Where they are, or will be when the run has ended.
    pub(crate) file: &'a Path,
}

impl TooMany<'_> {
    /// What is said of it.
    pub(crate) fn error(self, phase: Phase) -> Error {
        let Self { table, rejected, kinds, file } = self;
        let mut kinds: Vec<&(String, u64)> = kinds.iter().collect();
        kinds.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
        let more = if kinds.len() > KINDS_TOLD { ", …" } else { "" };
        let told: Vec<String> =
            kinds.iter().take(KINDS_TOLD).map(|(kind, rows)| format!("{kind} ({rows})")).collect();
        let why = if told.is_empty() { String::new() } else { format!(": {}{more}", told.join(", ")) };
        let (name, limit, file) = (table.name.plain(), table.guards.max_rejects, file.display());
        let (bound, raise) = match table.said() {
            Said::Config => (format!("max_rejects = {limit}"), "raise max_rejects for this table"),
            Said::Flags => (format!("--max-rejects {limit}"), "raise --max-rejects"),
        };
        let message = format!("{name}: {rejected} rejected, more than {bound} allows{why}; see {file}");
        let hint = "The rejects file says why each of them was; if that is as it should be";
        Error::new(phase, Kind::Guard, message).hint(format!("{hint}, {raise}."))
    }
}

/// So many rows, and perhaps more, as the beginning of a sentence about them.
pub(crate) fn at_least(rows: u64) -> String {
    format!("at least {} {}", counted(rows, "row"), if rows == 1 { "was" } else { "were" })
}

/// As many kinds of rejects as an error tells.
const KINDS_TOLD: usize = 3;

impl RejectsFile {
    /// Where a table's rejects go: `<directory>/<table>.csv`. A quoted name may hold a slash, which the name of a file
    /// cannot; no two tables share a file.
    pub(crate) fn path(directory: &Path, table: &TableName) -> PathBuf {
        let name = table.plain().replace('%', "%25").replace('/', "%2F");
        directory.join(format!("{name}.csv"))
    }

    /// Where the rejects of rows that were judged while they streamed by wait for those that are judged later.
    pub(crate) fn streamed(path: &Path) -> PathBuf {
        with_suffix(path, ".streamed")
    }

    /// Whether the rejects of a table are put together already, all of them or those that were streamed.
    pub(crate) fn is_there(path: &Path) -> bool {
        let exists = |path: &Path| path.try_exists().unwrap_or(false);
        exists(path) || exists(&Self::streamed(path))
    }

    /// Gives the file its name if it was not written again with later rejects, and removes what it was made of.
    ///
    /// # Errors
    /// A file cannot be renamed or removed.
    pub(crate) async fn settle(path: &Path, chunks: &[PathBuf]) -> Result<()> {
        let streamed = Self::streamed(path);
        let is_there = |path: &Path| path.try_exists().unwrap_or(false);
        if is_there(&streamed) {
            let done = if is_there(path) {
                fs::remove_file(&streamed).await
            } else {
                fs::rename(&streamed, path).await
            };
            done.map_err(|e| failed(&streamed, &e))?;
        }
        for chunk in chunks.iter().filter(|chunk| is_there(chunk)) {
            fs::remove_file(chunk).await.map_err(|e| failed(chunk, &e))?;
        }
        Ok(())
    }

    /// Nothing is created before the first reject. Rejects that were streamed come first.
    pub(crate) fn new(path: PathBuf, has_places: bool, source_columns: &[Ident]) -> Self {
        let part = with_suffix(&path, ".part");
        let header = RejectBuffer::header(has_places, source_columns.iter().map(Ident::as_str));
        Self { path, part, header, writer: None, samples: Samples::default() }
    }

    /// Appends whole or partial CSV lines.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) async fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let space = SAMPLE_BYTES.saturating_sub(self.samples.bytes.len());
        self.samples.bytes.extend_from_slice(&bytes[..bytes.len().min(space)]);
        if self.writer.is_none() {
            self.open().await?;
        }
        let Some(writer) = &mut self.writer else { return Ok(()) };
        writer.write_all(bytes).await.map_err(|e| self.failed(&e))
    }

    async fn open(&mut self) -> Result<()> {
        let mut writer = BufWriter::new(create(&self.part).await?);
        match File::open(Self::streamed(&self.path)).await {
            Ok(mut streamed) => {
                tokio::io::copy(&mut streamed, &mut writer).await.map_err(|e| self.failed(&e))?;
            }
            Err(_) => writer.write_all(&self.header).await.map_err(|e| self.failed(&e))?,
        }
        self.writer = Some(writer);
        Ok(())
    }

    /// The reasons of the first rows; those since the last call.
    pub(crate) fn samples(&mut self) -> Vec<String> {
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(&self.samples.bytes[..]);
        let reasons: Vec<String> = reader
            .records()
            .map_while(std::result::Result::ok)
            .skip(self.samples.taken)
            .take(Rejects::SHOWN)
            .filter_map(|record| record.get(0).map(str::to_owned))
            .collect();
        self.samples.taken += reasons.len();
        reasons
    }

    /// Completes the file and gives it its name; `None` if there was nothing to write.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) async fn finish(mut self) -> Result<Option<String>> {
        let Some(mut writer) = self.writer.take() else { return Ok(None) };
        writer.flush().await.map_err(|e| self.failed(&e))?;
        writer.get_ref().sync_all().await.map_err(|e| self.failed(&e))?;
        fs::rename(&self.part, &self.path).await.map_err(|e| self.failed(&e))?;
        Ok(Some(self.path.display().to_string()))
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        failed(&self.part, error)
    }
}

/// Removes from a dead run's directory what rejects files were to be made of; these themselves stay. Returns how many there were.
/// A directory that is not there, on another machine or below another working directory, is none of ours.
pub(crate) fn remove_unfinished(directory: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let files = entries.flatten().map(|entry| entry.path()).filter(|path| is_unfinished(path));
    let removed = files.filter(|path| std::fs::remove_file(path).is_ok()).count();
    // Only if it is empty.
    let _ = std::fs::remove_dir(directory);
    removed
}

/// Whether a file is what a rejects file is made of: the names of those end in `.csv`.
fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some((_, suffix)) = name.rsplit_once(".csv.") else { return false };
    let chunk = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_digit());
    match suffix.strip_prefix("chunk-") {
        Some(rest) => chunk(rest.strip_suffix("-refused").unwrap_or(rest)),
        None => matches!(suffix, "part" | "streamed"),
    }
}

impl Drop for RejectsFile {
    fn drop(&mut self) {
        if self.writer.take().is_some() {
            // What was judged counts for nothing: it is undone.
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn of_a_dead_run_what_is_complete_stays() {
        let directory = tempfile::tempdir().unwrap();
        let kept =
            ["public.t.csv", "public.\"a.csv.chunk-1\".csv", "notes.txt", "a.csv.chunk-x", "a.csv.bak"];
        let gone = ["public.t.csv.chunk-0", "public.t.csv.chunk-12-refused", "t.csv.part", "t.csv.streamed"];
        for name in kept.iter().chain(&gone) {
            std::fs::write(directory.path().join(name), "x").unwrap();
        }
        assert_eq!(remove_unfinished(directory.path()), gone.len());
        let left = std::fs::read_dir(directory.path()).unwrap();
        let left: BTreeSet<String> =
            left.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        assert_eq!(left, kept.iter().map(|&name| name.to_owned()).collect());
        kept.iter().for_each(|name| std::fs::remove_file(directory.path().join(name)).unwrap());
        assert_eq!(remove_unfinished(directory.path()), 0);
        assert!(!directory.path().exists());
        assert_eq!(remove_unfinished(directory.path()), 0);
    }

    #[test]
    fn every_table_has_a_file_of_its_own_within_the_directory() {
        let names = ["a/b", "a_b", "a%2Fb", "../../b", "a\"b", "A B"];
        let directory = Path::new("rejects/r1");
        let paths: BTreeSet<PathBuf> =
            names.iter().map(|name| RejectsFile::path(directory, &TableName::new("public", *name))).collect();
        assert_eq!(paths.len(), names.len());
        assert!(paths.iter().all(|path| path.parent() == Some(directory)), "{paths:?}");
        assert!(paths.contains(Path::new("rejects/r1/public.\"a%2Fb\".csv")), "{paths:?}");
    }
}
