//! `csv` and `[table.csv]`: which files a table's rows come from, and how these are written.
//!
//! TOML has one value under a key, so that `csv` is either the files alone or a table with them and their dialect.

use encoding_rs::Encoding;
use toml::de::DeValue;

use super::Located;
use super::section::{Node, Section, Shape};
use super::value::{list, text};
use crate::error::{Error, Result};

/// Where a user says how files are written, so that advice names what can be typed there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Said {
    /// In a config.
    #[default]
    Config,
    /// On the command line, where there is no config.
    Flags,
}

impl Said {
    /// How a key of `[table.csv]` is given a value: `delimiter = ";" under [table.csv]`, or `--delimiter ';'`.
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

/// Files and their dialect.
pub(super) static SHAPE: Shape = Shape {
    name: "[table.csv]",
    keys: &["files", "delimiter", "quote", "escape", "header", "null", "encoding", "comment"],
};

/// The files that a table's rows come from.
#[derive(Debug, Clone, PartialEq)]
pub struct CsvConfig {
    /// Paths with `*`, `?`, `[…]` and `**` in them, relative to the working directory; `-` is the standard input.
    pub files: Located<Vec<String>>,
    /// How all of them are written.
    pub dialect: Dialect,
}

/// How CSV is written. Every character is a single byte of ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Characters {
    /// Between fields.
    pub delimiter: u8,
    /// Around fields, and doubled within them; `None`: no field is ever quoted.
    pub quote: Option<u8>,
    /// Within quotes, before a quote or itself, besides doubling; `None`: none.
    pub escape: Option<u8>,
    /// At the beginning of lines that are no records.
    pub comment: Option<u8>,
}

/// How a CSV file is written, as COPY's options of the same names (PostgreSQL manual, COPY).
#[derive(Debug, Clone, PartialEq)]
pub struct Dialect {
    /// The characters with a meaning.
    pub characters: Characters,
    /// Whether the first record names the columns; otherwise they are the target's, by position.
    pub header: bool,
    /// What stands for NULL, if it is not quoted.
    pub null: String,
    /// Of the file, unless it begins with a byte order mark.
    pub encoding: &'static Encoding,
    /// Where all this is said.
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
    /// What contradicts itself, as a clause.
    ///
    /// # Errors
    /// The key, and what is wrong with its value.
    pub fn check(&self) -> std::result::Result<(), (&'static str, String)> {
        let Characters { delimiter, quote, escape, comment } = self.characters;
        if quote == Some(delimiter) {
            return Err(("quote", "is the delimiter, too".to_owned()));
        }
        if escape == Some(delimiter) {
            return Err(("escape", "is the delimiter, too".to_owned()));
        }
        if escape.is_some() && quote.is_none() {
            return Err(("escape", "has no effect without quote".to_owned()));
        }
        if comment.is_some_and(|comment| comment == delimiter || quote == Some(comment)) {
            return Err(("comment", "is the delimiter or the quote, too".to_owned()));
        }
        let special = |byte: u8| byte == delimiter || quote == Some(byte) || matches!(byte, b'\n' | b'\r');
        if self.null.bytes().any(special) {
            return Err(("null", "holds the delimiter, the quote, or an end of line".to_owned()));
        }
        Ok(())
    }
}

/// A character that may have a meaning in CSV: one byte of ASCII. `\t` and `tab` are the tab.
///
/// # Errors
/// What was expected.
pub fn character(text: &str) -> std::result::Result<u8, String> {
    match text.as_bytes() {
        _ if text == "\\t" || text == "tab" => Ok(b'\t'),
        &[byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r' | 0) => Ok(byte),
        _ => Err("expected a single character of ASCII, such as \";\" or \"\\t\"".to_owned()),
    }
}

impl CsvConfig {
    /// Files of the default dialect.
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
        // As COPY has it, a quote that escapes itself is a quote that is doubled.
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

/// A character; an empty string means that there is none.
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
        .ok_or_else(|| node.wrong("the name of an encoding").hint(format!("For instance {ENCODINGS}.")))
}

/// Some names of encodings.
pub const ENCODINGS: &str = "utf-8, windows-1252, iso-8859-15, utf-16le, shift_jis, gbk";

/// An encoding by its name, as browsers call it.
#[must_use]
pub fn encoding_of(name: &str) -> Option<&'static Encoding> {
    Encoding::for_label_no_replacement(name.trim().as_bytes())
}
