//! SQL identifiers. All names get into SQL through this one type, which always quotes them.
//!
//! A config writes names as in SQL: they are folded to lower case unless quoted (PostgreSQL manual, 4.1.1).

use std::fmt;
use std::str::FromStr;

/// An identifier as stored in the catalog, without quotes. Displays as `"quoted"`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ident(String);

impl Ident {
    /// Takes a name as stored in the catalog, without folding it.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// Returns the bare name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&postgres_protocol::escape::escape_identifier(&self.0))
    }
}

/// A table's (or view's) name with its schema. Displays as `"schema"."name"`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// The schema.
    pub schema: Ident,
    /// The name within it.
    pub name: Ident,
}

impl TableName {
    /// Creates a name from its two parts as stored in the catalog.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: Ident::new(schema), name: Ident::new(name) }
    }

    /// Returns the name with quotes only where SQL needs them.
    #[must_use]
    pub fn plain(&self) -> String {
        format!("{}.{}", plain(&self.schema), plain(&self.name))
    }

    /// Returns a query for the OIDs of a table and of its partitions at all levels.
    #[must_use]
    pub fn tree_sql(&self) -> String {
        let name = literal(&self.to_string());
        format!("select relid from pg_catalog.pg_partition_tree({name}::pg_catalog.regclass)")
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// The error for text that is not a valid SQL name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotAName(String);

impl fmt::Display for NotAName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TableName {
    type Err = NotAName;

    /// Parses `name` or `schema.name`, either part possibly `"quoted"`. The schema defaults to `public`.
    fn from_str(text: &str) -> Result<Self, NotAName> {
        let mut parts = split(text)?;
        let name = parts.pop().ok_or_else(|| NotAName("empty name".to_owned()))?;
        let schema = parts.pop().unwrap_or_else(|| Ident::new("public"));
        if parts.is_empty() {
            Ok(Self { schema, name })
        } else {
            Err(NotAName(format!("{text:?} has more than two parts; expected table or schema.table")))
        }
    }
}

impl FromStr for Ident {
    type Err = NotAName;

    /// Parses a single SQL name, folded unless quoted.
    fn from_str(text: &str) -> Result<Self, NotAName> {
        let mut parts = split(text)?;
        match (parts.pop(), parts.is_empty()) {
            (Some(name), true) => Ok(name),
            _ => Err(NotAName(format!("{text:?} is not a single name"))),
        }
    }
}

/// Returns a name with quotes only where SQL needs them.
#[must_use]
pub fn plain(ident: &Ident) -> String {
    let name = ident.as_str();
    let simple = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '$');
    if simple { name.to_owned() } else { ident.to_string() }
}

/// Returns a comma-separated, quoted list.
pub fn list<'a>(idents: impl IntoIterator<Item = &'a Ident>) -> String {
    idents.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Returns a string as a SQL literal.
#[must_use]
pub fn literal(text: &str) -> String {
    postgres_protocol::escape::escape_literal(text).trim_start().to_owned()
}

fn split(text: &str) -> Result<Vec<Ident>, NotAName> {
    let mut parts = Vec::new();
    let mut chars = text.trim().chars().peekable();
    loop {
        let mut part = String::new();
        if chars.next_if_eq(&'"').is_some() {
            loop {
                match chars.next() {
                    Some('"') if chars.next_if_eq(&'"').is_some() => part.push('"'),
                    Some('"') => break,
                    Some(c) => part.push(c),
                    None => return Err(NotAName(format!("{text:?} lacks a closing double quote"))),
                }
            }
        } else {
            while let Some(c) = chars.next_if(|&c| c != '.') {
                if c.is_whitespace() || c == '"' {
                    return Err(NotAName(format!("{text:?} is not a valid SQL name; quote it with \"\"")));
                }
                part.extend(c.to_lowercase());
            }
        }
        if part.is_empty() {
            return Err(NotAName(format!("{text:?} has an empty part")));
        }
        if part.len() > 63 {
            return Err(NotAName(format!(
                "{text:?} is longer than 63 bytes, the limit for names in PostgreSQL"
            )));
        }
        parts.push(Ident(part));
        match chars.next() {
            None => return Ok(parts),
            Some('.') => {}
            Some(_) => return Err(NotAName(format!("{text:?} has text after a closing quote"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fold_like_sql_unless_quoted() {
        let parse = |s: &str| s.parse::<TableName>().unwrap();
        assert_eq!(parse("JobTasks"), TableName::new("public", "jobtasks"));
        assert_eq!(parse("app.\"Job \"\"Tasks\"\"\""), TableName::new("app", "Job \"Tasks\""));
        assert_eq!(parse("\"a.b\".c").to_string(), "\"a.b\".\"c\"");
        assert_eq!(parse("\"Mixed\".c").plain(), "\"Mixed\".c");
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        for bad in ["", "a.", ".a", "a b", "\"open", "a.b.c", "\"a\"b", &"x".repeat(64)] {
            assert!(bad.parse::<TableName>().is_err(), "{bad:?}");
        }
    }
}
