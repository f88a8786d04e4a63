//! The text of a config file: its syntax tree, locations in it, and environment variables in its strings.
//!
//! Variables are expanded in string values after parsing, never in the file's text, so their values can neither break the
//! syntax nor shift a line.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeTable;

use crate::error::{Error, Location, Result};

/// Looks up an environment variable; `None` if it is not set or not UTF-8.
pub type Env<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// A config file's text and name, with the environment for its variables.
pub(super) struct Document<'a> {
    file: Arc<str>,
    text: &'a str,
    env: &'a Env<'a>,
}

impl<'a> Document<'a> {
    /// Creates a document that error messages call `file`.
    pub(super) fn new(file: &str, text: &'a str, env: &'a Env<'a>) -> Self {
        Self { file: file.into(), text, env }
    }

    /// Returns the syntax tree.
    ///
    /// # Errors
    /// A config error at the first syntax error.
    pub(super) fn tree(&self) -> Result<Spanned<DeTable<'a>>> {
        DeTable::parse(self.text).map_err(|error| {
            let at = error.span().map_or_else(|| self.whole(), |span| self.locate(span.start));
            // Only the first line: further lines quote the file, which may contain a password.
            let message = error.message().lines().next().unwrap_or("cannot be understood");
            Error::config(at, format!("not valid TOML: {message}"))
        })
    }

    /// Returns the location of the file as a whole, without a line.
    pub(super) fn whole(&self) -> Location {
        Location { file: Arc::clone(&self.file), line: 0, column: 0 }
    }

    /// Returns the location of the byte at `offset`, or of the end for offsets beyond it.
    pub(super) fn locate(&self, offset: usize) -> Location {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        Location {
            file: Arc::clone(&self.file),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
        }
    }

    /// Returns an environment variable that is set and not empty.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }

    /// Replaces every `${NAME}` in `raw`, the string at `span`, with that environment variable. `$${` means a literal `${`;
    /// any other `$` is unchanged, so SQL's `$1` and `$$` need no escape. Values of variables are not expanded again.
    pub(super) fn expand<'t>(&self, raw: &'t str, span: &Range<usize>) -> Result<Cow<'t, str>> {
        if !raw.contains("${") {
            return Ok(Cow::Borrowed(raw));
        }
        let mut expanded = String::with_capacity(raw.len());
        let mut rest = raw;
        while let Some(start) = rest.find("${") {
            if rest[..start].ends_with('$') {
                expanded.push_str(&rest[..start - 1]);
                expanded.push_str("${");
                rest = &rest[start + 2..];
                continue;
            }
            expanded.push_str(&rest[..start]);
            let (name, after) = self.reference(&rest[start + 2..], span)?;
            expanded.push_str(&self.look_up(name, span)?);
            rest = after;
        }
        expanded.push_str(rest);
        Ok(Cow::Owned(expanded))
    }

    /// Splits `text` into the name before `}` and the rest.
    fn reference<'t>(&self, text: &'t str, span: &Range<usize>) -> Result<(&'t str, &'t str)> {
        let is_name =
            |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        text.split_once('}').filter(|(name, _)| is_name(name)).ok_or_else(|| {
            Error::config(self.locate(span.start), "expected the name of an environment variable in ${…}")
                .hint("Write ${NAME}, or $${ to write a literal ${.")
        })
    }

    fn look_up(&self, name: &str, span: &Range<usize>) -> Result<String> {
        (self.env)(name).ok_or_else(|| {
            let within = self.text[span.clone()].find(&format!("${{{name}}}")).unwrap_or(0);
            Error::config(
                self.locate(span.start + within),
                format!("the environment variable {name} is not set"),
            )
            .hint(format!("Set {name}, or write the value in the file."))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_braced_names_are_variables() {
        let env = |name: &str| (name == "A").then(|| "${B}".to_owned());
        let document = Document::new("f", "", &env);
        for (raw, expected) in [
            ("x ${A} y", "x ${B} y"),
            ("$1 $$ $A a$", "$1 $$ $A a$"),
            ("$${A}", "${A}"),
            ("$$${A}", "$${A}"),
            ("é${A}é", "é${B}é"),
        ] {
            assert_eq!(document.expand(raw, &(0..0)).unwrap(), expected, "{raw}");
        }
        for bad in ["${", "${}", "${A", "${A B}", "${A:-x}"] {
            assert!(document.expand(bad, &(0..0)).is_err(), "{bad}");
        }
    }

    #[test]
    fn columns_count_characters() {
        let document = Document::new("f", "a\né = \"ü\"\r\nb", &|_| None);
        let place = |offset| document.locate(offset).to_string();
        assert_eq!(place(0), "f:1:1");
        assert_eq!(place(document.text.find('"').unwrap()), "f:2:5");
        assert_eq!(place(document.text.len()), "f:3:2");
        assert_eq!(place(usize::MAX), "f:3:2");
        assert_eq!(document.whole().to_string(), "f");
    }
}
