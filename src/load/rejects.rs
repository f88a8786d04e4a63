//! The rejects file of a table: CSV, written while rows are rejected, never held in memory.

use std::path::{Path, PathBuf};

use tokio::fs::{self, File};
use tokio::io::{AsyncWriteExt as _, BufWriter};

use super::spool::{create, failed};
use crate::config::Said;
use crate::error::{Error, Kind, Phase, Result};
use crate::figures::counted;
use crate::pg::name::{Ident, TableName};
use crate::plan::TablePlan;
use crate::report::{Reject, Rejects};
use crate::transform::RejectBuffer;

/// A rejects file that is being written, under a temporary name until it is complete.
#[derive(Debug)]
pub(crate) struct RejectsFile {
    path: PathBuf,
    part: PathBuf,
    header: Vec<u8>,
    writer: Option<BufWriter<File>>,
    samples: Samples,
}

/// Samples of the first rejects, parsed from the bytes as they are written.
#[derive(Debug, Default)]
struct Samples {
    bytes: Vec<u8>,
    taken: usize,
}

/// Maximum bytes of the first rows kept for samples.
const SAMPLE_BYTES: usize = 16 * 1024;

/// Adds rows rejected for one reason to a table's summary of rejects.
pub(crate) fn add(rejects: &mut Rejects, reason: &str, rows: u64, samples: Vec<String>) {
    match rejects.counts.iter_mut().find(|(known, _)| known == reason) {
        Some((_, count)) => *count += rows,
        None => rejects.counts.push((reason.to_owned(), rows)),
    }
    let space = Rejects::SHOWN.saturating_sub(rejects.first.len());
    let shown = samples.into_iter().take(space);
    rejects.first.extend(shown.map(|text| Reject { reason: reason.to_owned(), text }));
}

/// More rows were rejected than the limit allows.
pub(crate) struct TooMany<'a> {
    /// The table.
    pub(crate) table: &'a TablePlan,
    /// The number, as a clause: `7 of 9 rows were`.
    pub(crate) rejected: String,
    /// The kinds of rejects with their numbers, without values of rows.
    pub(crate) kinds: &'a [(String, u64)],
    /// The rejects file, which may exist only when the run has ended.
    pub(crate) file: &'a Path,
}

impl TooMany<'_> {
    /// Returns the error.
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
        let hint = "The rejects file has the reason for each row; if these rejects are expected";
        Error::new(phase, Kind::Guard, message).hint(format!("{hint}, {raise}."))
    }
}

/// Returns a number of rows that may be too low, as the beginning of a sentence.
pub(crate) fn at_least(rows: u64) -> String {
    format!("at least {} {}", counted(rows, "row"), if rows == 1 { "was" } else { "were" })
}

/// Maximum number of kinds of rejects that an error lists.
const KINDS_TOLD: usize = 3;

impl RejectsFile {
    /// Returns the path of a table's rejects file: `<directory>/<table>.csv`. A quoted name may contain a slash,
    /// which a file name cannot; no two tables share a file.
    pub(crate) fn path(directory: &Path, table: &TableName) -> PathBuf {
        let name = table.plain().replace('%', "%25").replace('/', "%2F");
        directory.join(format!("{name}.csv"))
    }

    /// Returns the path where rejects judged while rows streamed by wait for those judged later.
    pub(crate) fn streamed(path: &Path) -> PathBuf {
        with_suffix(path, ".streamed")
    }

    /// Returns whether a table's rejects have been assembled, all of them or those that were streamed.
    pub(crate) fn is_there(path: &Path) -> bool {
        let exists = |path: &Path| path.try_exists().unwrap_or(false);
        exists(path) || exists(&Self::streamed(path))
    }

    /// Renames the streamed rejects to the final file if no later rejects rewrote it, and removes temporary files.
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

    /// Prepares the file. Nothing is created before the first reject. Streamed rejects come first.
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

    /// Returns the reasons of the first rows, since the last call.
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

    /// Completes the file and renames it to its final name; `None` if there was nothing to write.
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

/// Removes temporary rejects files from a dead run's directory; finished rejects files stay. Returns how many were
/// removed. A directory that does not exist here belongs to another machine or working directory and is ignored.
pub(crate) fn remove_unfinished(directory: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let files = entries.flatten().map(|entry| entry.path()).filter(|path| is_unfinished(path));
    let removed = files.filter(|path| std::fs::remove_file(path).is_ok()).count();
    // Only if it is empty.
    let _ = std::fs::remove_dir(directory);
    removed
}

/// Returns whether a file is a temporary rejects file; finished ones end in `.csv`.
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
            // The judgment does not count, because it is rolled back.
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
