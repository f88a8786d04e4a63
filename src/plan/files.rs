//! CSV files as a plan knows them: facts that were found out before, and how they are divided between streams.

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

/// Less than this is not worth a stream of its own.
const PART_BYTES_MIN: u64 = 8 << 20;

/// The files of one entry of the config.
#[derive(Debug, Clone)]
pub struct CsvFiles {
    /// The files in the order in which they were named.
    pub files: Vec<Arc<CsvFile>>,
    /// How they are written.
    pub dialect: Dialect,
    /// What was left out, and why.
    pub warnings: Vec<String>,
}

/// One file.
#[derive(Debug, Clone)]
pub struct CsvFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it is called in messages and rejects.
    pub name: Arc<str>,
    /// How it is compressed.
    pub packing: Packing,
    /// Its encoding, by its byte order mark or else as configured.
    pub encoding: &'static Encoding,
    /// The columns that its header names, if it has one.
    pub header: Option<Vec<Ident>>,
    /// Fields of its first record.
    pub fields: usize,
    /// What may be between its fields instead, if there is only one.
    pub other_delimiter: Option<u8>,
    /// Its size; 0 where nobody knows.
    pub bytes: u64,
    /// When it was last written, to tell whether it is the same when it is read.
    pub modified: Option<SystemTime>,
    /// Records that it is estimated to hold; 0 where nobody knows.
    pub records: u64,
    /// What can be read only once: the standard input, a pipe.
    pub once: Option<Once>,
}

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// gzip, of one member or several.
    Gzip,
    /// Zstandard, of one frame or several.
    Zstd,
}

impl CsvFile {
    /// Whether several streams can read it.
    #[must_use]
    pub fn is_divisible(&self) -> bool {
        self.packing == Packing::Plain && self.encoding == encoding_rs::UTF_8 && self.once.is_none()
    }

    /// The byte that the `part`-th of `parts` begins with or after.
    #[must_use]
    pub fn nominal_start(&self, part: u32, parts: u32) -> u64 {
        let bytes = u128::from(self.bytes) * u128::from(part) / u128::from(parts.max(1));
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

/// A stream of bytes that cannot be read again, with what was read of it already.
#[derive(Clone)]
pub struct Once(Arc<Mutex<Option<Unread>>>);

type Unread = (Vec<u8>, Box<dyn Read + Send>);

impl Once {
    /// Of `head`, which was read already, and the rest.
    #[must_use]
    pub fn new(head: Vec<u8>, rest: Box<dyn Read + Send>) -> Self {
        Self(Arc::new(Mutex::new(Some((head, rest)))))
    }

    /// All of it, the first time.
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
    /// Bytes of all files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// Records of all files, as estimated; 0 if nobody knows.
    #[must_use]
    pub fn records(&self) -> u64 {
        let is_known = self.files.iter().all(|file| file.records > 0);
        if is_known { self.files.iter().map(|file| file.records).sum() } else { 0 }
    }

    /// As people write it: the first file, and how many others.
    #[must_use]
    pub fn shown(&self) -> String {
        match self.files.as_slice() {
            [] => "no file".to_owned(),
            [one] => one.name.to_string(),
            [first, others @ ..] => format!("{} and {} more", first.name, others.len()),
        }
    }
}

/// The columns of files, of the types that they have on the target: what a file holds is read as whatever it goes to. What
/// goes nowhere is text.
///
/// # Errors
/// [`Kind::Schema`] where there is no header and records have more fields than the target has columns.
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

/// Staging keeps where each row comes from: the number of the file, and below so many bits the line.
pub(crate) const LINE_BITS: u32 = 40;

/// The column of staging that does.
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

/// Where a row comes from is of interest only where it may yet be rejected when it is in staging.
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

/// The target's columns, as many as there are fields. What the target computes itself no file holds.
fn by_position(file: &CsvFile, table: &TableConfig, target: &Relation) -> Result<Vec<Ident>> {
    let names: Vec<&Ident> =
        target.columns.iter().filter(|column| !column.generated).map(|column| &column.name).collect();
    if file.fields <= names.len() {
        return Ok(names.into_iter().take(file.fields).cloned().collect());
    }
    let message = format!(
        "{}: the first record of {} has {} fields, the target {} columns",
        table.name.value.plain(),
        file.name,
        file.fields,
        names.len()
    );
    let hint = format!("It has {}. Is the delimiter the right one?", list(names));
    Err(Error::new(Phase::Plan, Kind::Schema, message).at(place(table)).hint(hint))
}

/// Where the config, or the command line, names the files.
fn place(table: &TableConfig) -> Location {
    match &table.from {
        From::Csv(files) => files.files.at.clone(),
        From::Relation(_) | From::Query(_) => table.name.at.clone(),
    }
}

/// As much of a header as is shown that is none.
const HEADER_SHOWN: usize = 60;

/// A header none of whose columns means anything is one of another dialect, or none.
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
            let message = format!("{name}: the header of {} is one field: {shown}", file.name);
            (message, other_delimiter(other, said))
        }
        _ => {
            let message =
                format!("{name}: no column of the header of {} is a column of the table", file.name);
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
    format!("Is the delimiter {other}? Say so: {}.", said.setting("delimiter", &other))
}

impl CsvFiles {
    /// What may be wrong with them where records are one field each, and are taken for one column by position.
    fn doubt(&self) -> Option<String> {
        let file = self.files.first().filter(|file| file.header.is_none())?;
        Some(other_delimiter(file.other_delimiter?, self.dialect.said))
    }

    /// An error of matching their columns, with what may be the reason.
    pub(super) fn doubted(&self, error: Error) -> Error {
        match self.doubt().filter(|_| error.kind() == Kind::Schema) {
            Some(doubt) => error.hint(format!("The records of the files are one field each. {doubt}")),
            None => error,
        }
    }

    /// What the operator should know of them.
    pub(super) fn warnings(&self, target: &Relation) -> Vec<String> {
        let has_others = target.columns.iter().filter(|column| !column.generated).count() > 1;
        let doubt = self.doubt().filter(|_| has_others);
        let doubt = doubt.map(|doubt| format!("the records of the files are one field each: {doubt}"));
        self.warnings.iter().cloned().chain(doubt).collect()
    }
}

impl TablePlan {
    /// Where a staged row comes from, as SQL: the file's name and the line, which `row` is an alias for.
    pub(crate) fn place_sql(&self, row: &str) -> Option<(String, String)> {
        let csv = self.csv.as_ref()?;
        let place = self.match_columns.iter().find(|column| column.from.is_none())?;
        let names: Vec<String> = csv.files.iter().map(|file| literal(&file.name)).collect();
        let column = format!("{row}.{}", place.name);
        let file = format!("(array[{}])[1 + ({column} >> {LINE_BITS})::int]", names.join(", "));
        let line = format!("{column} & {}", (1_u64 << LINE_BITS) - 1);
        Some((file, line))
    }

    /// Where it is described: advice names what can be typed there.
    pub(crate) fn said(&self) -> Said {
        self.csv.as_ref().map_or(Said::Config, |csv| csv.dialect.said)
    }

    /// What the fields of one of its files are called.
    pub(crate) fn names_of_fields<'a>(&'a self, file: &'a CsvFile) -> &'a [Ident] {
        file.header.as_ref().unwrap_or(&self.source_columns)
    }

    /// The columns that a field of its files is loaded into as it stands; others may be filled from it besides.
    pub(crate) fn loaded_from(&self, field: &Ident) -> Option<&ColumnPlan> {
        self.extracted().find(|column| column.constant.is_none() && column.from.as_ref() == Some(field))
    }
}

/// Chunks of files: a file each, but for what is large and can be divided: by `chunk_bytes`, and so that `streams` have
/// about the same to do.
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

    /// A plain file in UTF-8.
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
