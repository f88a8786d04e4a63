//! Sections and values of a config file, with the words for what is wrong with them.
//!
//! A [`Section`] is opened with the keys it may have, so that a misspelt key is found before anything is said to
//! be missing. A [`Node`] is one value; readers in [`super::value`] turn it into a type or into an error that
//! names place, key, what was expected and what was found.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Located;
use super::document::Document;
use crate::error::{Error, Location, Result};

/// What a section is called and which keys it may have.
pub(super) struct Shape {
    /// As a person would write its header, such as `[run]`.
    pub(super) name: &'static str,
    /// Its keys.
    pub(super) keys: &'static [&'static str],
}

/// All sections of the file; a key that stands in the wrong one is sent to the right one.
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

/// The sections that a config may have, as a person writes their headers (the file's top level has none), and the keys
/// of each.
pub fn sections() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    SHAPES.iter().map(|shape| (shape.name, shape.keys))
}

/// A table of the file whose keys are all known ones.
pub(super) struct Section<'a> {
    doc: &'a Document<'a>,
    shape: &'static Shape,
    table: &'a DeTable<'a>,
    /// Where it begins.
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
            _ => Err(node.wrong_type("a table").hint(format!("Write it under a line {}.", shape.name))),
        }
    }

    /// Opens each table of the array at `node`, in the file's order.
    pub(super) fn open_all(node: &Node<'a>, shape: &'static Shape) -> Result<Vec<Self>> {
        let DeValue::Array(items) = node.value.get_ref() else {
            return Err(node
                .wrong_type(&format!("an array of tables, {}", shape.name))
                .hint(format!("Write each one under a line {} of its own.", shape.name)));
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

    /// The value of `key`, if the file has it.
    pub(super) fn get(&self, key: &'static str) -> Option<Node<'a>> {
        debug_assert!(self.shape.keys.contains(&key), "{key} is not in the shape of {}", self.shape.name);
        let value = self.table.get(key)?;
        Some(Node { doc: self.doc, what: Cow::Borrowed(key), value })
    }

    /// The value of `key` as `read` understands it, if the file has it.
    pub(super) fn read<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Node<'a>) -> Result<T>,
    ) -> Result<Option<T>> {
        self.get(key).map(|node| read(&node)).transpose()
    }

    /// As [`Section::read`], for a key that must be there.
    pub(super) fn require<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Node<'a>) -> Result<T>,
        example: &str,
    ) -> Result<T> {
        self.read(key, read)?.ok_or_else(|| {
            Error::config(self.at.clone(), format!("{} lacks the key {key}", self.shape.name))
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

/// The word among `words` that `typed` was probably meant to be: at most a third of its letters are off.
pub(super) fn nearest<'w>(typed: &str, words: &[&'w str]) -> Option<&'w str> {
    let typed = typed.to_lowercase();
    words
        .iter()
        .map(|word| (strsim::damerau_levenshtein(&typed, word), *word))
        .filter(|(distance, word)| distance * 3 <= word.len().max(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// One value of the file, and what it is called.
#[derive(Clone)]
pub(super) struct Node<'a> {
    doc: &'a Document<'a>,
    what: Cow<'static, str>,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Node<'a> {
    /// Where it stands.
    pub(super) fn at(&self) -> Location {
        self.doc.locate(self.value.span().start)
    }

    /// The value as TOML has it.
    pub(super) fn value(&self) -> &'a DeValue<'a> {
        self.value.get_ref()
    }

    /// `value`, with this node's place.
    pub(super) fn located<T>(&self, value: T) -> Located<T> {
        Located { value, at: self.at() }
    }

    /// The value's string, variables put in; `expected` is what the error says of anything else.
    pub(super) fn text(&self, expected: &str) -> Result<Cow<'a, str>> {
        match self.value.get_ref() {
            DeValue::String(raw) => self.doc.expand(raw, &self.value.span()),
            _ => Err(self.wrong_type(expected)),
        }
    }

    /// The array's values.
    pub(super) fn items(&self, expected: &str) -> Result<Vec<Self>> {
        let DeValue::Array(items) = self.value.get_ref() else {
            return Err(self.wrong_type(expected));
        };
        let what: Cow<'static, str> = format!("an item of {}", self.what).into();
        Ok(items.iter().map(|value| Self { doc: self.doc, what: what.clone(), value }).collect())
    }

    /// The table's keys with their places, and its values, in the file's order.
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

    /// The value has the right type, but not the right content. Quotes what the file says, never what a
    /// variable in it holds.
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

    /// The value has the wrong type. Quotes nothing: what stands in the wrong place may be a secret.
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

    /// A complaint about this value: its place, its name, the message.
    pub(super) fn says(&self, message: impl std::fmt::Display) -> Error {
        self.says_at(self.at(), message)
    }

    /// As [`Node::says`], about a key within this value that stands at `at`.
    pub(super) fn says_at(&self, at: Location, message: impl std::fmt::Display) -> Error {
        Error::config(at, format!("{}: {message}", self.what))
    }

    /// Whether the file has a variable in this string, so that its value is not to be shown.
    pub(super) fn has_variable(&self) -> bool {
        matches!(self.value.get_ref(), DeValue::String(raw) if raw.contains("${"))
    }
}

/// A quotation that keeps a message to one readable line.
fn shortened(text: &str) -> Cow<'_, str> {
    const CHARS_MAX: usize = 60;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}
