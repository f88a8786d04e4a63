//! What files there are, and what their first bytes say: found out before anything is planned.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use encoding_rs::Encoding;

use super::input::{BOM, decoded, packing, unpacked};
use super::reader::{RECORD_BYTES_MAX, first_record};
use crate::config::{CsvConfig, Dialect};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::name::Ident;
use crate::plan::{CsvFile, CsvFiles, Once, Packing};

/// As much of a file is looked at first: many times the longest header, which has 1,600 names of 63 bytes.
const HEAD_BYTES: usize = 512 * 1024;

/// The standard input, among files.
const STDIN: &str = "-";

/// Finds the files of an entry and looks at each. Reads their first bytes.
///
/// # Errors
/// [`Kind::Config`] where a file is missing, empty or no CSV, or where files do not go together, with the place in the config.
pub(crate) fn survey(config: &CsvConfig) -> Result<CsvFiles> {
    // A place without a line is the file itself, which the message names.
    let at = |error: Error| if config.files.at.line == 0 { error } else { error.at(config.files.at.clone()) };
    let mut files: Vec<Arc<CsvFile>> = Vec::new();
    for pattern in &config.files.value {
        for path in expand(pattern).map_err(at)? {
            if files.iter().any(|known| known.path == path) {
                continue;
            }
            files.push(Arc::new(look(&path, &config.dialect).map_err(at)?));
        }
    }
    refuse_different(&files).map_err(at)?;
    Ok(CsvFiles { files, dialect: config.dialect.clone() })
}

/// The files that a pattern means, in the order of their names. What is a file's name is that file, whatever it means as a
/// pattern.
fn expand(pattern: &str) -> Result<Vec<PathBuf>> {
    let path = Path::new(pattern);
    if pattern == STDIN || path.exists() {
        return Ok(vec![path.to_owned()]);
    }
    if !pattern.contains(['*', '?', '[']) {
        return Err(
            bad(format!("there is no file {pattern}")).hint("Paths are relative to the working directory.")
        );
    }
    let found =
        glob::glob(pattern).map_err(|e| bad(format!("{pattern} is no pattern of paths: {}", e.msg)))?;
    let mut files = Vec::new();
    for path in found {
        let path = path.map_err(|e| bad(format!("cannot read {}: {}", e.path().display(), e.error())))?;
        if !path.is_dir() {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(
            bad(format!("no file matches {pattern}")).hint("Paths are relative to the working directory.")
        );
    }
    Ok(files)
}

fn bad(message: String) -> Error {
    Error::new(Phase::Config, Kind::Config, message)
}

/// Looks at one file.
fn look(path: &Path, dialect: &Dialect) -> Result<CsvFile> {
    let is_stdin = path == Path::new(STDIN);
    let name = if is_stdin { "the standard input".to_owned() } else { path.display().to_string() };
    let failed = |e: &io::Error| bad(format!("cannot read {name}: {}", words(e)));
    let (mut source, metadata): (Box<dyn Read + Send>, _) = if is_stdin {
        (Box::new(io::stdin()), None)
    } else {
        let file = File::open(path).map_err(|e| failed(&e))?;
        let metadata = file.metadata().map_err(|e| failed(&e))?;
        if metadata.is_dir() {
            return Err(
                bad(format!("{name} is a directory")).hint(format!("Write {name}/*.csv for its files."))
            );
        }
        (Box::new(file), Some(metadata))
    };
    let mut head = Head::default();
    let first = loop {
        head.grow(&mut source, dialect.encoding).map_err(|e| match e {
            Unreadable::Source(e) => failed(&e),
            Unreadable::Packed(e) => bad(format!("cannot unpack {name}: {}", words(&e))),
            Unreadable::Foreign(what) => bad(format!("{name} is a {what} file, which cannot be read"))
                .hint("Unpack it first, or pack it with gzip or zstd."),
        })?;
        if head.is_empty() {
            return Err(bad(format!("{name} is empty")));
        }
        match first_record(dialect, head.text(), head.is_all) {
            Some(Ok(first)) => break first,
            Some(Err(what)) => return Err(bad(format!("{name}: {what}"))),
            None if head.wanted < RECORD_BYTES_MAX => {}
            None => {
                let message =
                    format!("{name}: its first record is longer than {} MiB", RECORD_BYTES_MAX >> 20);
                return Err(bad(message).hint("Is it CSV, and is the quote the right one?"));
            }
        }
    };
    let header = if dialect.header { Some(header(&name, &first.names)?) } else { None };
    let is_regular = metadata.as_ref().is_some_and(std::fs::Metadata::is_file);
    let bytes = metadata.as_ref().filter(|_| is_regular).map_or(0, std::fs::Metadata::len);
    let rest = &head.text()[if dialect.header { first.end } else { 0 }..];
    let is_plain = head.packing == Packing::Plain;
    let records = if is_plain { estimate(rest, bytes, head.is_all) } else { 0 };
    Ok(CsvFile {
        path: path.to_owned(),
        name: name.as_str().into(),
        packing: head.packing,
        encoding: head.encoding,
        header,
        fields: first.fields,
        bytes,
        modified: metadata.as_ref().and_then(|metadata| metadata.modified().ok()),
        records,
        once: (!is_regular).then(|| Once::new(head.raw, source)),
    })
}

/// What the operating system has to say, without its number.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// The beginning of a file, as much of it as was needed.
struct Head {
    raw: Vec<u8>,
    /// The same unpacked and decoded, where that is something else.
    text: Option<Vec<u8>>,
    packing: Packing,
    encoding: &'static Encoding,
    /// The text is that of the whole file.
    is_all: bool,
    /// Bytes that were wanted.
    wanted: usize,
}

impl Default for Head {
    fn default() -> Self {
        let (packing, encoding) = (Packing::Plain, encoding_rs::UTF_8);
        Self { raw: Vec::new(), text: None, packing, encoding, is_all: false, wanted: 0 }
    }
}

/// Why a beginning cannot be read.
enum Unreadable {
    Source(io::Error),
    Packed(io::Error),
    Foreign(&'static str),
}

impl Head {
    /// Reads on, and understands what there is.
    fn grow(&mut self, source: &mut impl Read, configured: &'static Encoding) -> Result<(), Unreadable> {
        self.wanted = (4 * self.wanted).max(HEAD_BYTES);
        let missing = self.wanted - self.raw.len();
        self.raw.reserve_exact(missing);
        source.by_ref().take(missing as u64).read_to_end(&mut self.raw).map_err(Unreadable::Source)?;
        let is_whole = self.raw.len() < self.wanted;
        self.packing = packing(&self.raw).map_err(Unreadable::Foreign)?;
        let unpacked = match self.packing {
            Packing::Plain => None,
            Packing::Gzip | Packing::Zstd => Some(self.unpack(is_whole).map_err(Unreadable::Packed)?),
        };
        let plain = unpacked.as_deref().unwrap_or(&self.raw);
        self.is_all = is_whole && plain.len() < self.wanted;
        self.encoding = Encoding::for_bom(plain).map_or(configured, |(encoding, _)| encoding);
        self.text = if self.encoding == encoding_rs::UTF_8 {
            unpacked
        } else {
            let mut text = Vec::new();
            let decoded = decoded(Cursor::new(plain.to_vec()), self.encoding).read_to_end(&mut text);
            decoded.map_err(Unreadable::Packed)?;
            Some(text)
        };
        Ok(())
    }

    fn unpack(&self, is_whole: bool) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        let unpacked = unpacked(Cursor::new(self.raw.clone()), self.packing)
            .and_then(|unpacked| unpacked.take(self.wanted as u64).read_to_end(&mut plain));
        match unpacked {
            // What is cut off cannot be unpacked to its end.
            Err(error) if is_whole || plain.is_empty() => Err(error),
            _ => Ok(plain),
        }
    }

    fn text(&self) -> &[u8] {
        self.text.as_deref().unwrap_or(&self.raw)
    }

    fn is_empty(&self) -> bool {
        self.text().is_empty() || self.text() == BOM
    }
}

/// The names that a header has.
fn header(file: &str, names: &[Vec<u8>]) -> Result<Vec<Ident>> {
    let mut header: Vec<Ident> = Vec::with_capacity(names.len());
    for (number, name) in names.iter().enumerate() {
        let name = String::from_utf8(name.clone()).map_err(|_| {
            bad(format!("{file}: its header is not UTF-8"))
                .hint("Say what it is: encoding = \"windows-1252\", for instance, under [table.csv].")
        })?;
        if name.is_empty() {
            let message = format!("{file}: the column {} of its header has no name", number + 1);
            return Err(bad(message).hint("If it has no header: header = false under [table.csv]."));
        }
        let name = Ident::new(name);
        if header.contains(&name) {
            return Err(bad(format!("{file}: its header has the column {name} twice")));
        }
        header.push(name);
    }
    Ok(header)
}

/// Records of a file, by how long the lines of its beginning are.
fn estimate(text: &[u8], bytes: u64, is_all: bool) -> u64 {
    let lines = super::split::line_ends(text) + u64::from(text.last().is_some_and(|&last| last != b'\n'));
    if is_all {
        return lines;
    }
    bytes * lines / (text.len() as u64).max(1)
}

/// All files of a table have the same columns, in whatever order.
fn refuse_different(files: &[Arc<CsvFile>]) -> Result<()> {
    let Some((first, others)) = files.split_first() else { return Ok(()) };
    let sorted = |file: &CsvFile| {
        let mut names = file.header.clone().unwrap_or_default();
        names.sort();
        names
    };
    for other in others {
        if first.fields != other.fields || sorted(first) != sorted(other) {
            return Err(bad(format!("{} and {} have different columns", first.name, other.name))
                .hint("All files of a table must have the same columns; their order may differ."));
        }
    }
    Ok(())
}
