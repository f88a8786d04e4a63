//! Finds the files of an entry and inspects their first bytes, before anything is planned.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use encoding_rs::Encoding;

use super::input::{BOM, decoded, packing, unpacked};
use super::reader::{RECORD_BYTES_MAX, first_record};
use crate::config::{CsvConfig, Dialect, Said};
use crate::error::{Error, Kind, Phase, Result};
use crate::pg::name::Ident;
use crate::plan::{CsvFile, CsvFiles, Once, Packing};

/// Number of bytes inspected first: many times the longest header, which has 1,600 names of 63 bytes.
const HEAD_BYTES: usize = 512 * 1024;

/// The file name that means standard input.
const STDIN: &str = "-";

/// Finds the files of an entry and inspects the first bytes of each.
///
/// # Errors
/// [`Kind::Config`] if a file is missing, empty or not CSV, or if the files do not match each other; with the
/// location in the config.
pub(crate) fn survey(config: &CsvConfig) -> Result<CsvFiles> {
    // A location without a line is the file itself, which the message names.
    let at = |error: Error| if config.files.at.line == 0 { error } else { error.at(config.files.at.clone()) };
    let mut files: Vec<Arc<CsvFile>> = Vec::new();
    let (mut warnings, mut known) = (Vec::new(), Vec::new());
    for pattern in &config.files.value {
        for path in expand(pattern, &mut warnings).map_err(at)? {
            if files.iter().any(|known| known.path == path) {
                continue;
            }
            let identity = identity(&path);
            if let Some(at) = known.iter().position(|known| identity.is_some() && *known == identity) {
                warnings.push(format!(
                    "{} is the same file as {}: it is loaded once",
                    path.display(),
                    files[at].name
                ));
                continue;
            }
            files.push(Arc::new(look(&path, &config.dialect).map_err(at)?));
            known.push(identity);
        }
    }
    refuse_different(&files).map_err(at)?;
    Ok(CsvFiles { files, dialect: config.dialect.clone(), warnings })
}

/// Returns the identity of a file, whatever path leads to it.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(path).ok().filter(|_| path != Path::new(STDIN))?;
    Some((metadata.dev(), metadata.ino()))
}

/// Returns the files that match a pattern, sorted by name. An existing file is taken by its name even if the name is
/// also a pattern. Hidden files match only a pattern that names them.
fn expand(pattern: &str, warnings: &mut Vec<String>) -> Result<Vec<PathBuf>> {
    let path = Path::new(pattern);
    if pattern == STDIN || path.exists() {
        return Ok(vec![path.to_owned()]);
    }
    refuse_hidden_away(path)?;
    if !pattern.contains(['*', '?', '[']) {
        return Err(
            bad(format!("there is no file {pattern}")).hint("Paths are relative to the working directory.")
        );
    }
    let found =
        glob::glob(pattern).map_err(|e| bad(format!("{pattern} is not a valid glob pattern: {}", e.msg)))?;
    let mut files = Vec::new();
    for path in found {
        let path = path.map_err(|e| unreadable(&e))?;
        if path.is_dir() {
            continue;
        }
        if is_hidden(&path) && !is_hidden(Path::new(pattern)) {
            warnings.push(format!("{} is hidden, and was left out", path.display()));
        } else {
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

/// Refuses a path that cannot be inspected, because it may lead to a file.
///
/// # Errors
/// [`Kind::Config`] if access is denied.
pub(crate) fn refuse_hidden_away(path: &Path) -> Result<()> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(bad(format!("cannot read {}: {}", path.display(), words(&error))))
        }
        _ => Ok(()),
    }
}

/// Returns whether a file is hidden: an editor's working copy, or a file that macOS writes next to others
/// (`._x.csv`).
pub(crate) fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// Returns the error for a path that a pattern could not read.
pub(crate) fn unreadable(error: &glob::GlobError) -> Error {
    bad(format!("cannot read {}: {}", error.path().display(), words(error.error())))
}

fn bad(message: String) -> Error {
    Error::new(Phase::Config, Kind::Config, message)
}

/// Inspects one file.
fn look(path: &Path, dialect: &Dialect) -> Result<CsvFile> {
    let is_stdin = path == Path::new(STDIN);
    let name = if is_stdin { "standard input".to_owned() } else { path.display().to_string() };
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
            Unreadable::Packed(e) => bad(format!("cannot decompress {name}: {}", words(&e))),
            Unreadable::Foreign(what) => bad(format!("{name} is a {what} file, which is not supported"))
                .hint("Decompress it first, or compress it with gzip or zstd."),
            Unreadable::Encoded(Wide::Utf32) => bad(format!("{name} is UTF-32, which is not supported"))
                .hint("Convert it: iconv -f UTF-32 -t UTF-8."),
            Unreadable::Encoded(Wide::Utf16(encoding)) => bad(format!("{name} looks like UTF-16"))
                .hint(format!("If it is UTF-16: {}.", dialect.said.setting("encoding", encoding))),
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
                return Err(bad(message).hint("Check that the file is CSV and that the quote is right."));
            }
        }
    };
    let header = if dialect.header { Some(header(&name, &first.names, dialect.said)?) } else { None };
    let is_one_field = first.fields == 1;
    let other_delimiter =
        is_one_field.then(|| other_delimiter(&head.text()[first.start..first.end], dialect));
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
        other_delimiter: other_delimiter.flatten(),
        bytes,
        modified: metadata.as_ref().and_then(|metadata| metadata.modified().ok()),
        records,
        once: (!is_regular).then(|| Once::new(head.raw, source)),
    })
}

/// Returns the operating system's message without the error number.
pub(crate) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// The beginning of a file, as far as it was needed.
struct Head {
    raw: Vec<u8>,
    /// The decompressed and decoded beginning, if different.
    text: Option<Vec<u8>>,
    packing: Packing,
    encoding: &'static Encoding,
    /// Whether the text is that of the whole file.
    is_all: bool,
    /// Number of bytes requested.
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
    Encoded(Wide),
}

/// An encoding in which every character takes more than one byte.
#[derive(Debug, PartialEq, Eq)]
enum Wide {
    Utf16(&'static str),
    Utf32,
}

/// Returns the encoding of text that has zero bytes where ASCII in such an encoding has them, unless a byte order
/// mark or the config gives it.
fn wide(head: &[u8], configured: &'static Encoding) -> Option<Wide> {
    const LOOKED_AT_BYTES: usize = 4096;
    if head.starts_with(b"\xff\xfe\0\0") || head.starts_with(b"\0\0\xfe\xff") {
        return Some(Wide::Utf32);
    }
    if Encoding::for_bom(head).is_some()
        || configured == encoding_rs::UTF_16LE
        || configured == encoding_rs::UTF_16BE
    {
        return None;
    }
    let (fours, _) = head[..head.len().min(LOOKED_AT_BYTES)].as_chunks::<4>();
    let zeros = |at: usize| fours.iter().filter(|four| four[at] == 0).count();
    // Non-ASCII characters occur between line ends and delimiters, which are ASCII.
    let are_many = |zeros: usize| 2 * zeros > fours.len();
    match [zeros(0), zeros(1), zeros(2), zeros(3)].map(are_many) {
        [true, true, true, false] | [false, true, true, true] => Some(Wide::Utf32),
        [false, true, false, true] => Some(Wide::Utf16("utf-16le")),
        [true, false, true, false] => Some(Wide::Utf16("utf-16be")),
        _ => None,
    }
}

impl Head {
    /// Reads on, decompresses and decodes.
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
        if let Some(wide) = wide(plain, configured) {
            return Err(Unreadable::Encoded(wide));
        }
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
            // Truncated data cannot be decompressed to its end.
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

/// Returns the names in a header.
fn header(file: &str, names: &[Vec<u8>], said: Said) -> Result<Vec<Ident>> {
    let none = format!("If it has no header: {}.", said.setting("header", "false"));
    let mut header: Vec<Ident> = Vec::with_capacity(names.len());
    for (number, name) in names.iter().enumerate() {
        let name = String::from_utf8(name.clone()).map_err(|_| {
            bad(format!("{file}: its header is not UTF-8"))
                .hint(format!("Set the encoding, for example: {}.", said.setting("encoding", "windows-1252")))
        })?;
        if name.contains('\0') {
            return Err(bad(format!("{file}: its header has a NUL byte in column {}", number + 1)));
        }
        if name.is_empty() {
            let message = format!("{file}: column {} of its header has no name", number + 1);
            return Err(bad(message).hint(none));
        }
        let name = Ident::new(name);
        if header.contains(&name) {
            return Err(bad(format!("{file}: its header has the column {name} twice")).hint(none));
        }
        header.push(name);
    }
    Ok(header)
}

/// Guesses the delimiter of a record that has only one field.
fn other_delimiter(record: &[u8], dialect: &Dialect) -> Option<u8> {
    const USUAL: [u8; 4] = [b';', b'\t', b'|', b','];
    let count = |byte: u8| record.iter().filter(|&&other| other == byte).count();
    let others = USUAL.into_iter().filter(|&byte| byte != dialect.characters.delimiter && count(byte) > 0);
    // Of equal counts, the first one.
    others.rev().max_by_key(|&byte| count(byte))
}

/// Estimates the records of a file from the length of the lines at its beginning.
fn estimate(text: &[u8], bytes: u64, is_all: bool) -> u64 {
    let lines = super::split::line_ends(text) + u64::from(text.last().is_some_and(|&last| last != b'\n'));
    if is_all {
        return lines;
    }
    bytes * lines / (text.len() as u64).max(1)
}

/// Checks that all files of a table have the same columns, in any order.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_wide_characters_is_recognised_without_a_mark_and_other_text_is_not() {
        for text in ["id,name\n1,abc\n2,x\n", "ид,имя\n1,\n2,\n3,\n4,\n5,\n6,\n"] {
            let utf_16: Vec<u16> = text.encode_utf16().collect();
            let le: Vec<u8> = utf_16.iter().flat_map(|unit| unit.to_le_bytes()).collect();
            let be: Vec<u8> = utf_16.iter().flat_map(|unit| unit.to_be_bytes()).collect();
            let utf_32: Vec<u8> = text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect();
            let wide = |bytes: &[u8]| wide(bytes, encoding_rs::UTF_8);
            assert_eq!(wide(&le), Some(Wide::Utf16("utf-16le")), "{text}");
            assert_eq!(wide(&be), Some(Wide::Utf16("utf-16be")), "{text}");
            assert_eq!(wide(&utf_32), Some(Wide::Utf32), "{text}");
            assert_eq!(wide(text.as_bytes()), None);
            assert_eq!(super::wide(&le, encoding_rs::UTF_16LE), None);
            assert_eq!(wide(&[b"\xff\xfe".as_slice(), &le].concat()), None, "its mark says it");
        }
        assert_eq!(wide(b"\xff\xfe\0\0i\0\0\0", encoding_rs::UTF_8), Some(Wide::Utf32));
        assert_eq!(wide(b"id,v\n1,\0\0\0\n2,\0\n", encoding_rs::UTF_8), None, "a field of NULs");
    }

    #[test]
    fn another_delimiter_is_guessed_by_what_is_there_most() {
        let guess = |record: &str| other_delimiter(record.as_bytes(), &Dialect::default()).map(char::from);
        assert_eq!(guess("id;name;v|w"), Some(';'));
        assert_eq!(guess("id\tname"), Some('\t'));
        assert_eq!(guess("a;b|c"), Some(';'));
        assert_eq!(guess("a b"), None);
    }
}
