//! CSV files as the plan sees them: facts gathered beforehand, and their division between streams.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use encoding_rs::Encoding;

use super::chunks::{CHUNKS_MAX, Chunk, Extent};
use super::columns::some;
use super::{ColumnPlan, Compared, Omission, Reference, TablePlan};
use crate::config::{Dialect, From, OnOrphan, Said, TableConfig};
use crate::error::{Error, Kind, Location, Phase, Result};
use crate::pg::catalog::{Catalog, Column, Relation};
use crate::pg::name::{Ident, list, literal};

/// Minimum size in bytes of a part that gets its own stream.
const PART_BYTES_MIN: u64 = 8 << 20;

/// The files of one entry of the config.
#[derive(Debug, Clone)]
pub struct CsvFiles {
    /// The files in the order in which they were named.
    pub files: Vec<Arc<CsvFile>>,
    /// The CSV dialect.
    pub dialect: Dialect,
    /// Files that were left out, and why.
    pub warnings: Vec<String>,
}

/// One file.
#[derive(Debug, Clone)]
pub struct CsvFile {
    /// Its path.
    pub path: PathBuf,
    /// Its name in messages and rejects.
    pub name: Arc<str>,
    /// Its compression.
    pub packing: Packing,
    /// Its encoding: from its byte order mark, else as configured.
    pub encoding: &'static Encoding,
    /// The columns named by its header, if it has one.
    pub header: Option<Vec<Ident>>,
    /// Number of fields in its first record.
    pub fields: usize,
    /// Another likely delimiter, if the file has only one field per record.
    pub other_delimiter: Option<u8>,
    /// Its size in bytes; 0 if unknown.
    pub bytes: u64,
    /// Its modification time, to detect a change before it is read.
    pub modified: Option<SystemTime>,
    /// Estimated number of records; 0 if unknown.
    pub records: u64,
    /// The stream, for an input that can be read only once: standard input or a pipe.
    pub once: Option<Once>,
}

/// The compression of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Uncompressed.
    Plain,
    /// gzip, with one or more members.
    Gzip,
    /// Zstandard, with one or more frames.
    Zstd,
}

impl CsvFile {
    /// Returns whether several streams can read the file.
    #[must_use]
    pub fn is_divisible(&self) -> bool {
        self.packing == Packing::Plain && self.encoding == encoding_rs::UTF_8 && self.once.is_none()
    }

    /// Returns the byte offset at or after which part `part` of `parts` begins.
    #[must_use]
    pub fn nominal_start(&self, part: u32, parts: u32) -> u64 {
        let bytes = u128::from(self.bytes) * u128::from(part) / u128::from(parts.max(1));
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

/// A byte stream that cannot be read again, with the bytes already read from it.
#[derive(Clone)]
pub struct Once(Arc<Mutex<Option<Unread>>>);

type Unread = (Vec<u8>, Box<dyn Read + Send>);

impl Once {
    /// Wraps `head`, which was already read, and the rest of the stream.
    #[must_use]
    pub fn new(head: Vec<u8>, rest: Box<dyn Read + Send>) -> Self {
        Self(Arc::new(Mutex::new(Some((head, rest)))))
    }

    /// Takes the whole stream; `None` after the first call.
    #[must_use]
    pub fn take(&self) -> Option<Unread> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Once")
    }
}

impl CsvFiles {
    /// Returns the total bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Returns the estimated records of all files; 0 if unknown.
    #[must_use]
    pub fn records(&self) -> u64 {
        let is_known = self.files.iter().all(|file| file.records > 0);
        if is_known { self.files.iter().map(|file| file.records).sum() } else { 0 }
    }

    /// Describes the files for people: the first file's name and the number of others.
    #[must_use]
    pub fn shown(&self) -> String {
        match self.files.as_slice() {
            [] => "no file".to_owned(),
            [one] => one.name.to_string(),
            [first, others @ ..] => format!("{} and {} more", first.name, others.len()),
        }
    }
}

/// Returns the columns of files with their types on the target: a value is read as the type of the column it is
/// loaded into. A column that is not loaded is text.
///
/// # Errors
/// [`Kind::Schema`] if there is no header and the records have more fields than the target has columns.
pub(super) fn columns(
    files: &CsvFiles,
    table: &TableConfig,
    target: &Relation,
    catalog: &Catalog,
) -> Result<Vec<Column>> {
    let names = match files.files.first().map(|file| (&file.header, file)) {
        None => Vec::new(),
        Some((Some(header), file)) => {
            refuse_foreign_header(header, file, files, (table, target))?;
            header.clone()
        }
        Some((None, file)) => by_position(file, table, target)?,
    };
    let typed = |name: Ident| {
        let kept = table.columns.rename.get(&name).map_or(&name, |to| &to.value);
        let matched = || {
            let lookups = table.lookups.iter();
            let mut pairs = lookups.flat_map(|lookup| lookup.on.iter().map(move |pair| (&lookup.from, pair)));
            let (from, (_, theirs)) = pairs.find(|(_, (ours, _))| ours.value == name)?;
            catalog.relations.get(&from.value)?.column(theirs)
        };
        let like = target.column(kept).or_else(matched);
        let (type_oid, type_name) =
            like.map_or((TEXT, "text".to_owned()), |column| (column.type_oid, column.type_name.clone()));
        Column::bare(name, type_oid, type_name)
    };
    Ok(names.into_iter().map(typed).collect())
}

/// Staging records the origin of each row: the file's number, and below it the line in this many bits.
pub(crate) const LINE_BITS: u32 = 40;

/// Returns the staging column that records the origin.
pub(super) fn place_column(target: &Relation) -> ColumnPlan {
    let mut name = Ident::new("bulkload_place");
    while target.column(&name).is_some() {
        name = Ident::new(format!("{}_", name.as_str()));
    }
    ColumnPlan {
        name,
        type_oid: INT8,
        type_name: "bigint".to_owned(),
        renderer: None,
        collation: None,
        source: String::new(),
        compared: Compared::Not(Omission::LookedUp),
        is_plain: true,
        is_kept: true,
        from: None,
        constant: None,
        is_defaulted: false,
        is_users_sql: false,
        way_out: None,
        identity: None,
    }
}

/// Returns whether the origin must be staged: only if a row may still be rejected after staging.
pub(super) fn forget_places(table: &mut TablePlan) {
    let is_judged = |reference: &Reference| reference.on_orphan != OnOrphan::Keep;
    if table.lookups.is_empty() && !table.has_doubtful_key() && !table.references.iter().any(is_judged) {
        table.match_columns.retain(|column| column.from.is_some());
    }
}

/// `bigint` (catalog `pg_type`).
const INT8: u32 = 20;

/// `text` (catalog `pg_type`).
const TEXT: u32 = 25;

/// Returns as many target columns as there are fields. Generated columns are not in files.
fn by_position(file: &CsvFile, table: &TableConfig, target: &Relation) -> Result<Vec<Ident>> {
    let names: Vec<&Ident> =
        target.columns.iter().filter(|column| !column.generated).map(|column| &column.name).collect();
    if file.fields <= names.len() {
        return Ok(names.into_iter().take(file.fields).cloned().collect());
    }
    let message = format!(
        "{}: the first record of {} has {} fields, but the target has {} columns",
        table.name.value.plain(),
        file.name,
        file.fields,
        names.len()
    );
    let hint = format!("The target has {}. Check the delimiter.", list(names));
    Err(Error::new(Phase::Plan, Kind::Schema, message).at(place(table)).hint(hint))
}

/// Returns where the config or the command line names the files.
fn place(table: &TableConfig) -> Location {
    match &table.from {
        From::Csv(files) => files.files.at.clone(),
        From::Relation(_) | From::Query(_) => table.name.at.clone(),
    }
}

/// Maximum length of a suspicious header in a message.
const HEADER_SHOWN: usize = 60;

/// Refuses a header that matches no column: the dialect is wrong, or there is no header.
fn refuse_foreign_header(
    header: &[Ident],
    file: &CsvFile,
    files: &CsvFiles,
    (table, target): (&TableConfig, &Relation),
) -> Result<()> {
    let rules = &table.columns;
    let is_known = |name: &Ident| {
        rules.rename.contains_key(name)
            || rules.skip.iter().any(|skip| skip.value == *name)
            || target.column(name).is_some()
            || table.lookups.iter().any(|lookup| lookup.on.iter().any(|(ours, _)| ours.value == *name))
    };
    if header.iter().any(is_known) {
        return Ok(());
    }
    let (name, said) = (table.name.value.plain(), files.dialect.said);
    let (message, hint) = match (file.other_delimiter, header) {
        (Some(other), [only]) => {
            let shown: String = only.as_str().chars().take(HEADER_SHOWN).collect();
            let message = format!("{name}: the header of {} has only one field: {shown}", file.name);
            (message, other_delimiter(other, said))
        }
        _ => {
            let message =
                format!("{name}: no column in the header of {} is a column of the table", file.name);
            let ours: Vec<&Ident> = target.columns.iter().map(|column| &column.name).collect();
            let (theirs, ours) = (some(&header.iter().collect::<Vec<_>>()), some(&ours));
            let none = said.setting("header", "false");
            (
                message,
                format!("The header has {theirs}; the table has {ours}. If the file has no header: {none}."),
            )
        }
    };
    Err(Error::new(Phase::Plan, Kind::Schema, message).at(place(table)).hint(hint))
}

fn other_delimiter(other: u8, said: Said) -> String {
    let other = if other == b'\t' { "\\t".to_owned() } else { char::from(other).to_string() };
    format!("If the delimiter is {other}: {}.", said.setting("delimiter", &other))
}

impl CsvFiles {
    /// Returns a suspicion about files whose records have one field each and are matched to one column by position.
    fn doubt(&self) -> Option<String> {
        let file = self.files.first().filter(|file| file.header.is_none())?;
        Some(other_delimiter(file.other_delimiter?, self.dialect.said))
    }

    /// Adds the suspected cause to an error from matching their columns.
    pub(super) fn doubted(&self, error: Error) -> Error {
        match self.doubt().filter(|_| error.kind() == Kind::Schema) {
            Some(doubt) => error.hint(format!("Every record of the files has only one field. {doubt}")),
            None => error,
        }
    }

    /// Returns warnings for the operator.
    pub(super) fn warnings(&self, target: &Relation) -> Vec<String> {
        let has_others = target.columns.iter().filter(|column| !column.generated).count() > 1;
        let doubt = self.doubt().filter(|_| has_others);
        let doubt = doubt.map(|doubt| format!("every record of the files has only one field. {doubt}"));
        self.warnings.iter().cloned().chain(doubt).collect()
    }
}

impl TablePlan {
    /// Returns SQL for the origin of a staged row with alias `row`: the file's name and the line.
    pub(crate) fn place_sql(&self, row: &str) -> Option<(String, String)> {
        let csv = self.csv.as_ref()?;
        let place = self.match_columns.iter().find(|column| column.from.is_none())?;
        let names: Vec<String> = csv.files.iter().map(|file| literal(&file.name)).collect();
        let column = format!("{row}.{}", place.name);
        let file = format!("(array[{}])[1 + ({column} >> {LINE_BITS})::int]", names.join(", "));
        let line = format!("{column} & {}", (1_u64 << LINE_BITS) - 1);
        Some((file, line))
    }

    /// Returns where the files are described, so that hints name settings that the user can type there.
    pub(crate) fn said(&self) -> Said {
        self.csv.as_ref().map_or(Said::Config, |csv| csv.dialect.said)
    }

    /// Returns the field names of one of its files.
    pub(crate) fn names_of_fields<'a>(&'a self, file: &'a CsvFile) -> &'a [Ident] {
        file.header.as_ref().unwrap_or(&self.source_columns)
    }

    /// Returns the columns that a field is loaded into unchanged; other columns may also be computed from it.
    pub(crate) fn loaded_from(&self, field: &Ident) -> Option<&ColumnPlan> {
        self.extracted().find(|column| column.constant.is_none() && column.from.as_ref() == Some(field))
    }
}

/// Splits files into chunks: one per file, except that a large, divisible file is split by `chunk_bytes` so that
/// `streams` have about equal work.
pub(super) fn chunks(files: &CsvFiles, chunk_bytes: u64, streams: usize) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    for (file, facts) in files.files.iter().enumerate() {
        let parts = parts(facts, chunk_bytes, streams as u64);
        for part in 0..parts {
            let number = i32::try_from(chunks.len()).unwrap_or(i32::MAX);
            let bytes = facts.nominal_start(part + 1, parts) - facts.nominal_start(part, parts);
            chunks.push(Chunk { number, extent: Extent::Csv { file, part, parts }, bytes });
        }
    }
    chunks
}

fn parts(file: &CsvFile, chunk_bytes: u64, streams: u64) -> u32 {
    if !file.is_divisible() {
        return 1;
    }
    let streams = streams.min(file.bytes / PART_BYTES_MIN).max(1);
    let parts = file.bytes.div_ceil(chunk_bytes.max(1)).clamp(1, CHUNKS_MAX).next_multiple_of(streams);
    u32::try_from(parts).unwrap_or(1)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns an uncompressed file in UTF-8.
    pub(crate) fn file(bytes: u64) -> CsvFile {
        CsvFile {
            path: PathBuf::from("t.csv"),
            name: "t.csv".into(),
            packing: Packing::Plain,
            encoding: encoding_rs::UTF_8,
            header: None,
            fields: 1,
            other_delimiter: None,
            bytes,
            modified: None,
            records: 0,
            once: None,
        }
    }

    #[test]
    fn a_large_plain_file_is_divided_evenly_and_others_are_not() {
        const MIB: u64 = 1 << 20;
        for (bytes, streams, expected) in [
            (0, 4, 1),
            (15 * MIB, 4, 1),
            (20 * MIB, 4, 2),
            (165 * MIB, 2, 2),
            (300 * MIB, 2, 4),
            (300 * MIB, 1, 3),
        ] {
            assert_eq!(parts(&file(bytes), 128 * MIB, streams), expected, "{bytes} bytes");
        }
        for other in [
            CsvFile { packing: Packing::Gzip, ..file(999 * MIB) },
            CsvFile { encoding: encoding_rs::UTF_16LE, ..file(999 * MIB) },
            CsvFile { once: Some(Once::new(Vec::new(), Box::new(std::io::empty()))), ..file(999 * MIB) },
        ] {
            assert_eq!(parts(&other, MIB, 2), 1, "{other:?}");
        }
    }

    #[test]
    fn parts_touch_each_other() {
        let files = CsvFiles {
            files: vec![Arc::new(file(100 << 20))],
            dialect: Dialect::default(),
            warnings: Vec::new(),
        };
        let chunks = chunks(&files, 30 << 20, 3);
        assert_eq!(chunks.len(), 6);
        assert_eq!(chunks.iter().map(|chunk| chunk.bytes).sum::<u64>(), 100 << 20);
    }
}
