//! The rejects file of a table that comes from files, when nothing is rejected any more: put into the order of these, and
//! completed by the records as they stand there.
//!
//! Rows that are judged in staging, and those that the target refuses, are rejected after others that stand behind them, and
//! of the former no more is known than their lines. Nothing but the file's convenience depends on this, so that what goes
//! wrong is a warning.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::error::{Error, Kind, Phase, Result};
use crate::extract::csv::Again;
use crate::plan::{CsvFiles, Plan};
use crate::transform::quote_field;

/// More rejects than this are left as they are: where each stands takes 40 bytes.
const REJECTS_MAX: usize = 500_000;

/// Fields of a rejects file: reason, constraint, row, file, line, column, raw, and then the table's own.
const FILE: usize = 3;
const LINE: usize = 4;
const RAW: usize = 6;

/// Completes the rejects file of a table, if it has one.
pub(crate) async fn complete(plan: &Arc<Plan>, table: usize, path: PathBuf, cancel: &CancellationToken) {
    let Some(files) = plan.tables[table].csv.clone() else { return };
    let cancel = cancel.clone();
    let work = move || rewrite(&path, &files, &|| cancel.is_cancelled());
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|e| {
        Err(Error::new(Phase::Clean, Kind::Internal, format!("completing the rejects failed: {e}")))
    });
    if let Err(error) = done {
        let table = plan.tables[table].name.plain();
        tracing::warn!(phase = %Phase::Clean, table, %error, "the rejects file lacks some of its records");
    }
}

/// Where a reject is, in the files and in the rejects file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reject {
    file: usize,
    lacks_raw: bool,
    line: u64,
    start: u64,
    bytes: u64,
}

/// Writes the rejects file again, unless it is as it should be, is too large, or nobody waits for it.
fn rewrite(path: &Path, files: &CsvFiles, is_cancelled: &dyn Fn() -> bool) -> Result<()> {
    let Ok(old) = File::open(path) else { return Ok(()) };
    let Some((header_bytes, mut rejects)) = index(path, &old, files)? else { return Ok(()) };
    let is_sorted = rejects.is_sorted_by_key(|reject| (reject.file, reject.line));
    let lacks = |reject: &Reject| reject.lacks_raw && files.files[reject.file].once.is_none();
    if is_sorted && !rejects.iter().any(lacks) {
        return Ok(());
    }
    rejects.sort_by_key(|reject| (reject.file, reject.line));
    let failed = |error: &std::io::Error| failed(path, error);
    let mut part = path.to_owned().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let new = File::options().write(true).create(true).truncate(true).mode(0o600).open(&part);
    let mut new = BufWriter::new(new.map_err(|e| failed(&e))?);
    let mut line = Vec::new();
    let mut copy = |start: u64, bytes: u64, raw: Option<&[u8]>| {
        line.resize(usize::try_from(bytes).unwrap_or(usize::MAX), 0);
        old.read_exact_at(&mut line, start)?;
        write_with_raw(&line, raw, &mut new)
    };
    copy(0, header_bytes, None).map_err(|e| failed(&e))?;
    for of_file in rejects.chunk_by(|a, b| a.file == b.file) {
        let file = &files.files[of_file[0].file];
        // Not opened unless it has to be.
        let mut again: Option<Again<'_>> = None;
        for reject in of_file {
            if is_cancelled() {
                let _ = std::fs::remove_file(&part);
                return Ok(());
            }
            let raw = if lacks(reject) {
                let again = match &mut again {
                    Some(again) => again,
                    None => again.insert(Again::open(file, &files.dialect)?),
                };
                again.record(reject.line)?
            } else {
                None
            };
            copy(reject.start, reject.bytes, raw).map_err(|e| failed(&e))?;
        }
    }
    let new = new.into_inner().map_err(|e| failed(e.error()))?;
    new.sync_all().and_then(|()| std::fs::rename(&part, path)).map_err(|e| failed(&e))
}

/// The header's length and all rejects; `None` if these are too many, or one says nothing of where it stands.
fn index(path: &Path, rejects: &File, files: &CsvFiles) -> Result<Option<(u64, Vec<Reject>)>> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(BufReader::new(rejects));
    let failed = |error: csv::Error| failed(path, &error.into());
    reader.byte_headers().map_err(failed)?;
    let header_bytes = reader.position().byte();
    let numbers: HashMap<&str, usize> = files.files.iter().map(|file| &*file.name).zip(0..).collect();
    let mut found: Vec<Reject> = Vec::new();
    let mut record = csv::ByteRecord::new();
    loop {
        let start = reader.position().byte();
        if !reader.read_byte_record(&mut record).map_err(failed)? {
            return Ok(Some((header_bytes, found)));
        }
        let bytes = reader.position().byte() - start;
        let text = |field: usize| std::str::from_utf8(record.get(field)?).ok();
        let file = text(FILE).and_then(|name| numbers.get(name).copied());
        let line = text(LINE).and_then(|line| line.parse().ok());
        let (Some(file), Some(line)) = (file, line) else { return Ok(None) };
        if found.len() == REJECTS_MAX {
            return Ok(None);
        }
        let lacks_raw = record.get(RAW).is_none_or(<[u8]>::is_empty);
        found.push(Reject { file, lacks_raw, line, start, bytes });
    }
}

/// Writes a line of the rejects file, with `raw` where it has none.
fn write_with_raw(line: &[u8], raw: Option<&[u8]>, out: &mut impl std::io::Write) -> std::io::Result<()> {
    let Some((raw, at)) = raw.zip(begin_of(line, RAW)) else { return out.write_all(line) };
    let mut field = Vec::with_capacity(raw.len() + 2);
    quote_field(raw, &mut field);
    out.write_all(&line[..at])?;
    out.write_all(&field)?;
    out.write_all(&line[at..])
}

/// Where a field of a line of CSV begins.
fn begin_of(line: &[u8], field: usize) -> Option<usize> {
    let mut is_quoted = false;
    let is_end = |&(_, &byte): &(usize, &u8)| {
        is_quoted ^= byte == b'"';
        !is_quoted && byte == b','
    };
    line.iter().enumerate().filter(is_end).nth(field - 1).map(|(at, _)| at + 1)
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::io(Phase::Clean, format!("the rejects file {}", path.display()), error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Dialect;
    use crate::plan::{CsvFile, csv_file};

    fn files(directory: &Path, texts: &[&str]) -> CsvFiles {
        let file = |(number, text): (usize, &&str)| {
            let path = directory.join(format!("{number}.csv"));
            std::fs::write(&path, text).unwrap();
            let metadata = std::fs::metadata(&path).unwrap();
            let (bytes, modified) = (metadata.len(), metadata.modified().ok());
            Arc::new(CsvFile { path, name: format!("{number}.csv").into(), modified, ..csv_file(bytes) })
        };
        let files = texts.iter().enumerate().map(file).collect();
        CsvFiles { files, dialect: Dialect::default(), warnings: Vec::new() }
    }

    #[test]
    fn rejects_are_put_into_the_order_of_the_files_with_their_records() {
        let directory = tempfile::tempdir().unwrap();
        let long = format!("{},\"x\ny\"", "z".repeat(2 * 256 * 1024));
        let files = files(
            directory.path(),
            &["a,b\r\n1,\"x\r\n\"\"y\"\"\"\r\n2,b\r\n3,c", &format!("\u{feff}a,b\n1,a\r2,b\n{long}\n5,e\n")],
        );
        let path = directory.path().join("t.csv");
        let header = "reason,constraint,row,file,line,column,raw,a,b\n";
        let text = format!(
            "{header}w,,,1.csv,2,,,1,a\nw,,,1.csv,6,,,5,\n\"w,\"\"x\",k,3,0.csv,5,,\"3,c\",3,\n\"o\nr\",\"k,\",,0.csv,2,,,1,\"\"\nw,,,1.csv,4,,,z,\n"
        );
        std::fs::write(&path, text).unwrap();
        rewrite(&path, &files, &|| false).unwrap();
        let quoted = long.replace('"', "\"\"");
        let expected = format!(
            "{header}\"o\nr\",\"k,\",,0.csv,2,,\"1,\"\"x\r\n\"\"\"\"y\"\"\"\"\"\"\",1,\"\"\n\"w,\"\"x\",k,3,0.csv,5,,\"3,c\",3,\nw,,,1.csv,2,,\"1,a\",1,a\nw,,,1.csv,4,,\"{quoted}\",z,\nw,,,1.csv,6,,\"5,e\",5,\n"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3);
    }

    #[test]
    fn what_cannot_be_told_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let files = files(directory.path(), &["a\n1\n"]);
        let path = directory.path().join("t.csv");
        for text in [
            "reason,constraint,row,file,line,column,raw,a\nr,,,other.csv,2,,,1\nr,,,0.csv,2,,,1\n",
            "reason,constraint,row,file,line,column,raw,a\nr,,,0.csv,9,,,1\n",
        ] {
            std::fs::write(&path, text).unwrap();
            rewrite(&path, &files, &|| false).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
