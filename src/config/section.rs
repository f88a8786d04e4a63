//! Sections and values of a config file, and the errors about them.
//!
//! A [`Section`] is opened with its permitted keys, so a misspelled key is reported before a missing one. A [`Node`] is one
//! value. The readers in [`super::value`] turn it into a type, or into an error with location, key, expected value and found
//! value.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Located;
use super::document::Document;
use crate::error::{Error, Location, Result};

/// The name of a section and its permitted keys.
pub(super) struct Shape {
    /// The header, such as `[run]`; empty for the top level.
    pub(super) name: &'static str,
    /// The permitted keys.
    pub(super) keys: &'static [&'static str],
}

/// All sections of a config. For a key in the wrong section, the hint names the right one.
static SHAPES: &[&Shape] = &[
    &super::load::TOP,
    &super::load::SOURCE,
    &super::load::TARGET,
    &super::run::SHAPE,
    &super::table::SHAPE,
    &super::columns::SHAPE,
    &super::csv::SHAPE,
    &super::links::LOOKUP,
    &super::links::REFERENCE,
];

/// Returns the headers of all sections and their keys. The header of the top level is empty.
pub fn sections() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    SHAPES.iter().map(|shape| (shape.name, shape.keys))
}

/// A table of the file that has only permitted keys.
pub(super) struct Section<'a> {
    doc: &'a Document<'a>,
    shape: &'static Shape,
    table: &'a DeTable<'a>,
    /// Location of its start.
    pub(super) at: Location,
}

impl<'a> Section<'a> {
    /// Opens the whole file as the section of its top-level keys.
    pub(super) fn top(doc: &'a Document<'a>, tree: &'a DeTable<'a>, shape: &'static Shape) -> Result<Self> {
        Self::checked(doc, tree, doc.whole(), shape)
    }

    /// Opens the table at `node`.
    pub(super) fn open(node: &Node<'a>, shape: &'static Shape) -> Result<Self> {
        match node.value.get_ref() {
            DeValue::Table(table) => Self::checked(node.doc, table, node.at(), shape),
            _ => Err(node.wrong_type("a table").hint(format!("Write it as a section {}.", shape.name))),
        }
    }

    /// Opens each table of the array at `node`, in the file's order.
    pub(super) fn open_all(node: &Node<'a>, shape: &'static Shape) -> Result<Vec<Self>> {
        let DeValue::Array(items) = node.value.get_ref() else {
            return Err(node
                .wrong_type(&format!("an array of tables, {}", shape.name))
                .hint(format!("Write each one as a separate section {}.", shape.name)));
        };
        items.iter().map(|value| Self::open(&Node { value, ..node.clone() }, shape)).collect()
    }

    fn checked(
        doc: &'a Document<'a>,
        table: &'a DeTable<'a>,
        at: Location,
        shape: &'static Shape,
    ) -> Result<Self> {
        let unknown = table
            .keys()
            .filter(|key| !shape.keys.contains(&&**key.get_ref()))
            .min_by_key(|key| key.span().start);
        match unknown {
            None => Ok(Self { doc, shape, table, at }),
            Some(key) => Err(unknown_key(doc.locate(key.span().start), key.get_ref(), shape)),
        }
    }

    /// Returns the value of `key`, if present.
    pub(super) fn get(&self, key: &'static str) -> Option<Node<'a>> {
        debug_assert!(self.shape.keys.contains(&key), "{key} is not in the shape of {}", self.shape.name);
        let value = self.table.get(key)?;
        Some(Node { doc: self.doc, what: Cow::Borrowed(key), value })
    }

    /// Reads the value of `key` with `read`, if present.
    pub(super) fn read<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Node<'a>) -> Result<T>,
    ) -> Result<Option<T>> {
        self.get(key).map(|node| read(&node)).transpose()
    }

    /// Like [`Section::read`], for a required key.
    pub(super) fn require<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Node<'a>) -> Result<T>,
        example: &str,
    ) -> Result<T> {
        self.read(key, read)?.ok_or_else(|| {
            Error::config(self.at.clone(), format!("missing key {key} in {}", self.shape.name))
                .hint(format!("Add a line such as: {key} = {example}"))
        })
    }
}

fn unknown_key(at: Location, key: &str, shape: &Shape) -> Error {
    let place = if shape.name.is_empty() { "at the top level" } else { shape.name };
    let preposition = if shape.name.is_empty() { "" } else { "in " };
    let error = Error::config(at, format!("unknown key {key} {preposition}{place}"));
    if let Some(near) = nearest(key, shape.keys) {
        return error.hint(format!("Did you mean {near}?"));
    }
    let home = SHAPES.iter().find(|other| !other.name.is_empty() && other.keys.contains(&key));
    error.hint(match home {
        Some(home) => format!("{key} is a key of {}.", home.name),
        None => format!("Known keys here: {}.", shape.keys.join(", ")),
    })
}

/// Returns the word in `words` that is most similar to `typed`, if at most a third of its letters differ.
pub(super) fn nearest<'w>(typed: &str, words: &[&'w str]) -> Option<&'w str> {
    let typed = typed.to_lowercase();
    words
        .iter()
        .map(|word| (strsim::damerau_levenshtein(&typed, word), *word))
        .filter(|(distance, word)| distance * 3 <= word.len().max(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// One value of the file, and its name in error messages.
#[derive(Clone)]
pub(super) struct Node<'a> {
    doc: &'a Document<'a>,
    what: Cow<'static, str>,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Node<'a> {
    /// Returns the location of the value.
    pub(super) fn at(&self) -> Location {
        self.doc.locate(self.value.span().start)
    }

    /// Returns the TOML value.
    pub(super) fn value(&self) -> &'a DeValue<'a> {
        self.value.get_ref()
    }

    /// Wraps `value` with the location of this node.
    pub(super) fn located<T>(&self, value: T) -> Located<T> {
        Located { value, at: self.at() }
    }

    /// Returns the string with its variables expanded. For any other type, the error says that `expected` was expected.
    pub(super) fn text(&self, expected: &str) -> Result<Cow<'a, str>> {
        match self.value.get_ref() {
            DeValue::String(raw) => self.doc.expand(raw, &self.value.span()),
            _ => Err(self.wrong_type(expected)),
        }
    }

    /// Returns the values of an array.
    pub(super) fn items(&self, expected: &str) -> Result<Vec<Self>> {
        let DeValue::Array(items) = self.value.get_ref() else {
            return Err(self.wrong_type(expected));
        };
        let what: Cow<'static, str> = format!("an item of {}", self.what).into();
        Ok(items.iter().map(|value| Self { doc: self.doc, what: what.clone(), value }).collect())
    }

    /// Returns the keys of a table with their locations, and their values, in the file's order.
    pub(super) fn entries(&self, expected: &str) -> Result<Vec<(Located<&'a str>, Self)>> {
        let DeValue::Table(table) = self.value.get_ref() else {
            return Err(self.wrong_type(expected));
        };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let entry = |(key, value): (&'a Spanned<Cow<'a, str>>, &'a Spanned<DeValue<'a>>)| {
            let name = Located { value: &**key.get_ref(), at: self.doc.locate(key.span().start) };
            (name, Self { doc: self.doc, what: format!("{}.{}", self.what, key.get_ref()).into(), value })
        };
        Ok(entries.into_iter().map(entry).collect())
    }

    /// Returns an error for a value of the right type with the wrong content. Quotes the text in the file, never the value of
    /// a variable.
    pub(super) fn wrong(&self, expected: &str) -> Error {
        let found = match self.value.get_ref() {
            DeValue::String(raw) => format!("{:?}", shortened(raw)),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(value) => value.to_string(),
            DeValue::Array(items) if items.is_empty() => "an empty array".to_owned(),
            DeValue::Table(items) if items.is_empty() => "an empty table".to_owned(),
            _ => return self.wrong_type(expected),
        };
        self.says(format!("expected {expected}, found {found}"))
    }

    /// Returns an error for a value of the wrong type. Quotes nothing: a misplaced value may be a secret.
    pub(super) fn wrong_type(&self, expected: &str) -> Error {
        let found = match self.value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        self.says(format!("expected {expected}, found {found}"))
    }

    /// Returns an error about this value, with its location and name.
    pub(super) fn says(&self, message: impl std::fmt::Display) -> Error {
        self.says_at(self.at(), message)
    }

    /// Like [`Node::says`], for a key within this value at `at`.
    pub(super) fn says_at(&self, at: Location, message: impl std::fmt::Display) -> Error {
        Error::config(at, format!("{}: {message}", self.what))
    }

    /// Returns whether this string contains a variable, in which case its value must not be shown.
    pub(super) fn has_variable(&self) -> bool {
        matches!(self.value.get_ref(), DeValue::String(raw) if raw.contains("${"))
    }
}

/// Shortens a quotation, so that a message fits on one line.
fn shortened(text: &str) -> Cow<'_, str> {
    const CHARS_MAX: usize = 60;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}
