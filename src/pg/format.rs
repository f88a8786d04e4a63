//! The two wire formats of COPY.

use std::fmt;

/// A wire format of COPY (PostgreSQL manual, COPY, "File Formats").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `format binary`: a header, tuples of length-prefixed fields, a trailer.
    Binary,
    /// `format text`: lines of tab-separated, backslash-escaped fields.
    Text,
}

impl Format {
    /// Returns the name in COPY's FORMAT option and in the report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Text => "text",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl serde::Serialize for Format {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
