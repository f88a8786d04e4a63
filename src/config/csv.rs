//! `csv` and `[table.csv]`: the files that a table's rows come from, and their dialect.
//!
//! A TOML key has one value, so `csv` is either the files alone or a table with the files and their dialect.

use encoding_rs::Encoding;
use toml::de::DeValue;

use super::Located;
use super::section::{Node, Section, Shape};
use super::value::{list, text};
use crate::error::{Error, Result};

/// Where the dialect was given, so that hints name the matching key or option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Said {
    /// In a config file.
    #[default]
    Config,
    /// On the command line of `seed`, without a config.
    Flags,
}

impl Said {
    /// Returns how to set a key of `[table.csv]`: `delimiter = ";" under [table.csv]` or `--delimiter ';'`.
    #[must_use]
    pub fn setting(self, key: &str, value: &str) -> String {
        match (self, key) {
            (Self::Config, "header") => format!("{key} = {value} under [table.csv]"),
            (Self::Config, _) => format!("{key} = \"{value}\" under [table.csv]"),
            (Self::Flags, "header") => "--no-header".to_owned(),
            (Self::Flags, _) => format!("--{key} '{value}'"),
        }
    }
}

/// The keys of `[table.csv]`.
pub(super) static SHAPE: Shape = Shape {
    name: "[table.csv]",
    keys: &["files", "delimiter", "quote", "escape", "header", "null", "encoding", "comment"],
};

/// The files that a table's rows come from.
#[derive(Debug, Clone, PartialEq)]
pub struct CsvConfig {
    /// Paths, with the patterns `*`, `?`, `[…]` and `**`, relative to the working directory; `-` is standard input.
    pub files: Located<Vec<String>>,
    /// The dialect of all files.
    pub dialect: Dialect,
}

/// The special characters of a CSV dialect. Each is a single ASCII byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Characters {
    /// Separates fields.
    pub delimiter: u8,
    /// Encloses fields, and is doubled within them; `None`: fields are never quoted.
    pub quote: Option<u8>,
    /// Escapes a quote or itself within quotes, in addition to doubling; `None`: only doubling.
    pub escape: Option<u8>,
    /// Starts a line that is a comment; `None`: no comments.
    pub comment: Option<u8>,
}

/// The dialect of CSV files. The fields correspond to COPY's options of the same names (PostgreSQL manual, COPY).
#[derive(Debug, Clone, PartialEq)]
pub struct Dialect {
    /// The special characters.
    pub characters: Characters,
    /// Whether the first record names the columns; otherwise fields match the target's columns by position.
    pub header: bool,
    /// Unquoted text that means NULL; by default the empty string.
    pub null: String,
    /// Encoding of a file that does not start with a byte order mark.
    pub encoding: &'static Encoding,
    /// Where the dialect was given.
    pub said: Said,
}

impl Default for Dialect {
    fn default() -> Self {
        let characters = Characters { delimiter: b',', quote: Some(b'"'), escape: None, comment: None };
        let (encoding, said) = (encoding_rs::UTF_8, Said::Config);
        Self { characters, header: true, null: String::new(), encoding, said }
    }
}

impl Dialect {
    /// Checks that the settings do not contradict each other.
    ///
    /// # Errors
    /// The key and, as a clause, the problem with its value.
    pub fn check(&self) -> std::result::Result<(), (&'static str, String)> {
        let Characters { delimiter, quote, escape, comment } = self.characters;
        if quote == Some(delimiter) {
            return Err(("quote", "is also the delimiter".to_owned()));
        }
        if escape == Some(delimiter) {
            return Err(("escape", "is also the delimiter".to_owned()));
        }
        if escape.is_some() && quote.is_none() {
            return Err(("escape", "has no effect without quote".to_owned()));
        }
        if comment.is_some_and(|comment| comment == delimiter || quote == Some(comment)) {
            return Err(("comment", "is also the delimiter or the quote character".to_owned()));
        }
        let special = |byte: u8| byte == delimiter || quote == Some(byte) || matches!(byte, b'\n' | b'\r');
        if self.null.bytes().any(special) {
            return Err(("null", "contains the delimiter, the quote character, or a line break".to_owned()));
        }
        Ok(())
    }
}

/// Parses a special character: one ASCII byte. `\t` and `tab` mean the tab.
///
/// # Errors
/// The expected value.
pub fn character(text: &str) -> std::result::Result<u8, String> {
    match text.as_bytes() {
        _ if text == "\\t" || text == "tab" => Ok(b'\t'),
        &[byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Ok(byte),
        _ => Err("expected a single ASCII character, such as \";\" or \"\\t\"".to_owned()),
    }
}

impl CsvConfig {
    /// Returns files of the default dialect.
    #[must_use]
    pub fn of(files: Located<Vec<String>>) -> Self {
        Self { files, dialect: Dialect::default() }
    }

    /// Reads `csv`: a path, an array of them, or a table.
    pub(super) fn read(node: &Node<'_>) -> Result<Self> {
        if !matches!(node.value(), DeValue::Table(_)) {
            return Ok(Self::of(paths(node)?));
        }
        let section = Section::open(node, &SHAPE)?;
        let default = Dialect::default();
        let own = Characters {
            delimiter: section.read("delimiter", required)?.unwrap_or(default.characters.delimiter),
            quote: section.read("quote", optional)?.unwrap_or(default.characters.quote),
            escape: section.read("escape", optional)?.unwrap_or_default(),
            comment: section.read("comment", optional)?.unwrap_or_default(),
        };
        // As in COPY, a quote that escapes itself is a doubled quote.
        let characters = Characters { escape: own.escape.filter(|_| own.escape != own.quote), ..own };
        let dialect = Dialect {
            characters,
            header: section.read("header", boolean)?.unwrap_or(default.header),
            null: section.read("null", |node| Ok(node.text("a string")?.into_owned()))?.unwrap_or_default(),
            encoding: section.read("encoding", encoding)?.unwrap_or(default.encoding),
            said: Said::Config,
        };
        let config = Self { files: section.require("files", paths, "\"seed/*.csv\"")?, dialect };
        config.dialect.check().map_err(|(key, what)| {
            let at = section.get(key).map_or_else(|| section.at.clone(), |node| node.at());
            Error::config(at, format!("{key}: it {what}"))
        })?;
        Ok(config)
    }
}

fn paths(node: &Node<'_>) -> Result<Located<Vec<String>>> {
    const EXPECTED: &str = "a path such as \"seed/*.csv\", or an array of them";
    let paths = match node.value() {
        DeValue::String(_) => vec![text(node)?],
        DeValue::Array(items) if !items.is_empty() => list(EXPECTED, text)(node)?,
        _ => return Err(node.wrong(EXPECTED)),
    };
    Ok(node.located(paths))
}

fn required(node: &Node<'_>) -> Result<u8> {
    character(&node.text("a string of one character")?).map_err(|expected| node.says(expected))
}

/// Reads a character; an empty string means none.
fn optional(node: &Node<'_>) -> Result<Option<u8>> {
    match &*node.text("a string of one character")? {
        "" => Ok(None),
        _ => required(node).map(Some),
    }
}

fn boolean(node: &Node<'_>) -> Result<bool> {
    match node.value() {
        DeValue::Boolean(value) => Ok(*value),
        _ => Err(node.wrong_type("true or false")),
    }
}

fn encoding(node: &Node<'_>) -> Result<&'static Encoding> {
    let name = node.text("the name of an encoding")?;
    encoding_of(&name)
        .ok_or_else(|| node.wrong("the name of an encoding").hint(format!("Examples: {ENCODINGS}.")))
}

/// Examples of encoding names.
pub const ENCODINGS: &str = "utf-8, windows-1252, iso-8859-15, utf-16le, shift_jis, gbk";

/// Returns an encoding by its label in the WHATWG Encoding Standard, as used by browsers.
#[must_use]
pub fn encoding_of(name: &str) -> Option<&'static Encoding> {
    Encoding::for_label_no_replacement(name.trim().as_bytes())
}
