//! Errors reported by a server, and their classification.

use std::borrow::Cow;
use std::fmt;

use tokio_postgres::error::SqlState;

use super::Kind;

/// An error reported by a server.
#[derive(Debug, Clone)]
pub struct ServerError {
    /// SQLSTATE.
    pub code: SqlState,
    /// The primary message.
    pub message: String,
    /// The server's HINT.
    pub hint: Option<String>,
    /// Table, column and constraint in words, if the server names them.
    pub object: Option<String>,
    /// The table, without its schema.
    pub(crate) table: Option<String>,
    /// The column.
    pub(crate) column: Option<String>,
    /// The constraint.
    pub(crate) constraint: Option<String>,
    /// The DETAIL.
    pub(crate) detail: Hidden,
    /// The CONTEXT.
    pub(crate) context: Hidden,
}

/// Text that may quote row values. It is kept for parsing and not shown as it is.
#[derive(Clone, Default)]
pub(crate) struct Hidden(pub(crate) Option<String>);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "(hidden)" } else { "none" })
    }
}

impl ServerError {
    /// Converts an error of tokio-postgres.
    #[must_use]
    pub fn from_db(db: &tokio_postgres::error::DbError) -> Self {
        Self {
            code: db.code().clone(),
            message: db.message().to_owned(),
            hint: db.hint().map(str::to_owned),
            object: object(db.table(), db.column(), db.constraint()),
            table: db.table().map(str::to_owned),
            column: db.column().map(str::to_owned),
            constraint: db.constraint().map(str::to_owned),
            detail: Hidden(db.detail().map(str::to_owned)),
            context: Hidden(db.where_().map(str::to_owned)),
        }
    }

    /// Creates an error from the fields of an ErrorResponse message; `names` are table, column and constraint.
    #[must_use]
    pub fn from_fields(
        code: &str,
        message: String,
        hint: Option<String>,
        names: (Option<&str>, Option<&str>, Option<&str>),
    ) -> Self {
        let (table, column, constraint) = names;
        Self {
            code: SqlState::from_code(code),
            message,
            hint,
            object: object(table, column, constraint),
            table: table.map(str::to_owned),
            column: column.map(str::to_owned),
            constraint: constraint.map(str::to_owned),
            detail: Hidden::default(),
            context: Hidden::default(),
        }
    }

    /// Sets the CONTEXT.
    #[must_use]
    pub(crate) fn within(mut self, context: Option<String>) -> Self {
        self.context = Hidden(context);
        self
    }

    /// Sets the DETAIL.
    #[must_use]
    pub(crate) fn detailed(mut self, detail: Option<String>) -> Self {
        self.detail = Hidden(detail);
        self
    }

    /// Returns the DETAIL if it names objects, or keys that collide or have no match. Other DETAILs may quote a whole row
    /// ("Failing row contains …"), part of a value, or a trigger's text.
    fn shown_detail(&self) -> Option<&str> {
        let code = self.code.code();
        let is_safe = matches!(code, "23503" | "23505" | "23P01")
            || matches!(code.get(..2), Some("0A" | "2B" | "42" | "53" | "55" | "57"));
        self.detail.0.as_deref().filter(|_| is_safe)
    }

    /// Classifies the error by its SQLSTATE (PostgreSQL manual, appendix A).
    pub(super) fn kind(&self) -> Kind {
        let code = self.code.code();
        match (code.get(..2).unwrap_or_default(), code) {
            _ if self.is_out_of_slots() => Kind::Transient,
            ("08" | "57", "08P01" | "57014") => Kind::Server,
            ("08", _) | (_, "57P01" | "57P02" | "57P03" | "57P05") => Kind::Transient,
            (_, "40001" | "40P01" | "53200" | "53300") => Kind::Transient,
            (_, "55P03") => Kind::Lock,
            ("28", _) => Kind::Connect,
            (_, "3D000") => Kind::Connect,
            (_, "42501") => Kind::Permission,
            _ => Kind::Server,
        }
    }

    /// Returns a hint for the most common errors.
    pub(super) fn remedy(&self) -> Option<&'static str> {
        Some(match self.code.code() {
            "28P01" | "28000" => "Check user and password; ~/.pgpass is used when the URL has no password.",
            "3D000" => "Check the database name in the URL.",
            "53200" => {
                "The server is out of memory. If the message says shared memory, its lock table is full: raise \
                 max_locks_per_transaction, or load fewer tables or partitions at once."
            }
            "53100" => "The server's disk is full. Free or add space. Nothing was changed.",
            "25006" => {
                "The server is read-only: it is a standby, or a managed database that ran out of disk space."
            }
            "23505" => {
                "Several rows have the same value: source rows, or a source row and a target row that stays. Use where to \
                 exclude all but one, or name the columns as the key."
            }
            "42501" => "Grant the privilege to the role, or connect as the table's owner.",
            _ => return None,
        })
    }

    /// Returns the server's HINT if it is about a statement (class 42). Others may come from a trigger and quote rows.
    pub(super) fn advice(&self) -> Option<String> {
        self.hint.clone().filter(|_| self.code.code().starts_with("42"))
    }

    /// Returns whether no connection slot was free: in PostgreSQL itself (53300) or in a session pooler.
    ///
    /// Poolers have no SQLSTATE for this, so their message text decides: Supavisor sends XX000 with a code at the start of
    /// the message; PgBouncer sends 08P01 for every refusal, and quotes the server if the server refused.
    #[must_use]
    pub fn is_out_of_slots(&self) -> bool {
        let words: &[&str] = match self.code.code() {
            "53300" => return true,
            "XX000" => &["MaxClientsInSessionMode", "EMAXCONNSESSION", "ECHECKOUTTIMEOUT"],
            "08P01" => &[
                "no more connections allowed",
                "query_wait_timeout",
                "too many clients already",
                "too many connections for",
                "remaining connection slots are reserved",
            ],
            _ => return false,
        };
        words.iter().any(|word| self.message.contains(word))
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        let object = self.unsaid();
        if !object.is_empty() {
            write!(f, " ({object})")?;
        }
        if let Some(detail) = self.shown_detail() {
            write!(f, ": {}", shortened(detail.trim_end_matches('.'), DETAIL_BYTES_MAX))?;
        }
        write!(f, " [{}]", self.code.code())
    }
}

impl ServerError {
    /// Returns table, column and constraint, without those that the message already names.
    fn unsaid(&self) -> String {
        let is_unsaid = |part: &&str| {
            part.split_once(' ').is_none_or(|(_, name)| !self.message.contains(&format!("\"{name}\"")))
        };
        self.object
            .iter()
            .flat_map(|object| object.split(", "))
            .filter(is_unsaid)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// Maximum length of a shown DETAIL in bytes: keys and lists of objects may be long.
const DETAIL_BYTES_MAX: usize = 500;

/// Shortens text to `bytes_max` bytes, at a character boundary.
pub(crate) fn shortened(words: &str, bytes_max: usize) -> Cow<'_, str> {
    if words.len() <= bytes_max {
        return Cow::Borrowed(words);
    }
    Cow::Owned(format!("{}…", &words[..words.floor_char_boundary(bytes_max)]))
}

fn object(table: Option<&str>, column: Option<&str>, constraint: Option<&str>) -> Option<String> {
    let parts: Vec<String> = [("table", table), ("column", column), ("constraint", constraint)]
        .into_iter()
        .filter_map(|(word, name)| Some(format!("{word} {}", name?)))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}
