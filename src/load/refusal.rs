//! A row that the target refuses: which row, and why, as a stable word of ours plus the server's message.

use crate::error::{Error, ServerError, shortened};
use crate::pg::name::{Ident, TableName, plain};

/// Maximum bytes of the server's message in a reason, because it quotes the value, which may be huge.
const WORDS_BYTES_MAX: usize = 1000;

/// The word for NULL in a NOT NULL column.
pub(crate) const NOT_NULL: &str = "not_null";

/// The word for a violated CHECK.
pub(crate) const CHECK: &str = "check";

/// The destination of copied rows, as errors name it and as people do.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    /// The staging table, without its schema.
    pub(crate) staging: String,
    /// The live table, without its schema.
    pub(crate) live: String,
    /// The columns that are copied.
    pub(crate) columns: Vec<Ident>,
}

impl Destination {
    /// Returns the destination for the staging table of a live table.
    pub(crate) fn new(staging: &TableName, live: &TableName, columns: Vec<Ident>) -> Self {
        let text = |name: &TableName| name.name.as_str().to_owned();
        Self { staging: text(staging), live: text(live), columns }
    }
}

/// Why a row was refused, and which row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The row's number in its COPY, from 1, if the server reported it.
    pub(crate) line: Option<u64>,
    /// The column at fault, if it is a single one.
    pub(crate) column: Option<String>,
    /// The violated constraint.
    pub(crate) constraint: Option<String>,
    /// The kind of refusal, without values.
    pub(crate) kind: String,
    /// The full reason: a word that is the same in all versions, and the server's message.
    pub(crate) text: String,
}

impl Refusal {
    /// Extracts the refusal from an error about a row copied to a destination. `None` if the error concerns something
    /// else.
    ///
    /// An error about a row of a COPY is recognized by its CONTEXT, which names the table in every server language;
    /// the SQLSTATE tells whether the row itself or the server is at fault.
    pub(crate) fn of(error: &Error, into: &Destination) -> Option<Self> {
        Self::of_server(error.server_error()?, into)
    }

    /// Likewise, from a server message.
    pub(crate) fn of_server(error: &ServerError, into: &Destination) -> Option<Self> {
        let code = error.code.code();
        let context = error.context.0.as_deref()?;
        let (_, place) = context.split_once(into.staging.as_str()).filter(|_| is_about_a_row(code))?;
        let (line, rest) = number(place);
        let column = error.column.clone().or_else(|| column(rest, &into.columns));
        let word = word(code);
        let about =
            error.constraint.clone().or_else(|| column.as_ref().map(|name| format!("{name}: {word}")));
        // For a row that fails as a whole the detail is the row, which the rejects file contains anyway.
        let detail = error.detail.0.as_deref().filter(|_| !matches!(code, "23502" | "23514"));
        let detail = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
        let message = format!("{}{detail}", error.message).replace(&into.staging, &into.live);
        Some(Self {
            line,
            column,
            constraint: error.constraint.clone(),
            kind: label(about.as_deref().unwrap_or(word), code),
            text: format!("{word}: {}", shortened(&message, WORDS_BYTES_MAX)),
        })
    }
}

/// Returns the label under which rejects of one kind are counted: no values of rows, so that it is fit for logs.
fn label(about: &str, code: &str) -> String {
    format!("{about} [{code}]")
}

/// Returns the label and the reason for NULL in a NOT NULL column.
pub(crate) fn null_in(column: &Ident, table: &TableName) -> (String, String) {
    let (name, table) = (plain(column), table.name.as_str());
    (
        label(&format!("{name}: {NOT_NULL}"), "23502"),
        format!(
            "{NOT_NULL}: null value in column \"{}\" of relation \"{table}\" violates not-null constraint",
            column.as_str()
        ),
    )
}

/// Returns the label and the reason for a violated CHECK.
pub(crate) fn check_violated(constraint: &str, table: &TableName) -> (String, String) {
    let table = table.name.as_str();
    (
        label(constraint, "23514"),
        format!("{CHECK}: new row for relation \"{table}\" violates check constraint \"{constraint}\""),
    )
}

/// Returns whether an error is the row's fault: its data (class 22), NOT NULL, a CHECK or a domain, a value that
/// exceeds the limits of any server (54), a name that does not exist on the target (types such as `regclass`), or an
/// exception raised by a function that checks a domain (P0). SQLSTATEs as in the manual, appendix A.
fn is_about_a_row(code: &str) -> bool {
    const NAMES: [&str; 6] = ["42P01", "42602", "42704", "42725", "42883", "3F000"];
    matches!(code.get(..2), Some("22" | "54" | "P0"))
        || matches!(code, "23502" | "23514")
        || NAMES.contains(&code)
}

/// Returns the word for an SQLSTATE.
fn word(code: &str) -> &'static str {
    match code {
        "22001" | "22026" => "too_long",
        "22003" | "22008" | "22015" => "out_of_range",
        "22021" | "22P05" => "encoding",
        "22P04" => "malformed",
        "23502" => NOT_NULL,
        "23514" => CHECK,
        _ => "invalid",
    }
}

/// Returns the first number in a text, and the rest after it.
fn number(text: &str) -> (Option<u64>, &str) {
    let Some(start) = text.find(|c: char| c.is_ascii_digit()) else { return (None, "") };
    let digits = &text[start..];
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    (digits[..end].parse().ok(), &digits[end..])
}

/// Returns the column in `, column NAME: …`, in any server language.
fn column(rest: &str, columns: &[Ident]) -> Option<String> {
    let (_, named) = rest.strip_prefix(", ")?.split_once(' ')?;
    let is_it = |name: &&Ident| {
        let after = named.strip_prefix(name.as_str());
        after.is_some_and(|after| after.is_empty() || after.starts_with(':'))
    };
    let longest = columns.iter().filter(is_it).max_by_key(|name| name.as_str().len())?;
    Some(longest.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Phase;

    fn into() -> Destination {
        let columns = ["id", "a", "a: b"].map(Ident::new).to_vec();
        Destination { staging: "t__r0_0".to_owned(), live: "t".to_owned(), columns }
    }

    fn refusal(code: &str, message: &str, context: &str) -> Option<Refusal> {
        let server = ServerError::from_fields(code, message.to_owned(), None, (None, None, None));
        let server = server.within(Some(context.to_owned()));
        Refusal::of(&Error::server(Phase::Load, "x", server), &into())
    }

    #[test]
    fn the_row_and_its_column_are_read_in_any_language() {
        for (context, line, column) in [
            ("COPY t__r0_0, line 7, column a: \"x, line 9\"", Some(7), Some("a")),
            ("COPY t__r0_0, line 7, column a: b: \"x\"", Some(7), Some("a: b")),
            ("COPY t__r0_0, Zeile 12, Spalte id: \"x\"", Some(12), Some("id")),
            ("COPY t__r0_0, line 3, column id: null input", Some(3), Some("id")),
            ("COPY t__r0_0, line 3, column id", Some(3), Some("id")),
            ("COPY t__r0_0, line 3: \"1\t2\"", Some(3), None),
            ("COPY t__r0_0, 3 行, column z", Some(3), None),
            ("COPY t__r0_0", None, None),
        ] {
            let found = refusal("22P02", "invalid input syntax for type integer: \"x\"", context).unwrap();
            assert_eq!((found.line, found.column.as_deref()), (line, column), "{context}");
        }
    }

    #[test]
    fn a_reason_is_our_word_and_the_servers_own_and_what_is_counted_holds_no_value() {
        let context = "COPY t__r0_0, line 1, column a: \"x\"";
        let found = refusal("22P02", "invalid input syntax for type integer: \"x\"", context).unwrap();
        assert_eq!(found.text, "invalid: invalid input syntax for type integer: \"x\"");
        assert_eq!(found.kind, "a: invalid [22P02]");
        let found = refusal("23514", "new row for relation \"t__r0_0\" violates y", context).unwrap();
        assert_eq!(found.text, "check: new row for relation \"t\" violates y");
        let server = ServerError::from_fields("22P02", "no json".to_owned(), None, (None, None, None));
        let server =
            server.within(Some(context.to_owned())).detailed(Some("Token \"x\" is invalid.".to_owned()));
        let found = Refusal::of(&Error::server(Phase::Load, "x", server), &into()).unwrap();
        assert_eq!(found.text, "invalid: no json: Token \"x\" is invalid.");
        let found = refusal("22001", &"ä".repeat(50_000), context).unwrap();
        assert!(found.text.len() < 1100 && found.text.ends_with('…'));
    }

    #[test]
    fn troubles_of_a_server_and_errors_of_other_statements_are_nobodys_row() {
        let context = "COPY t__r0_0, line 1";
        for code in ["53100", "57014", "40P01", "42501", "55P03", "23505", "XX000", "08006"] {
            assert_eq!(refusal(code, "x", context), None, "{code}");
        }
        assert_eq!(refusal("22003", "integer out of range", "SQL function \"f\""), None);
        let server = ServerError::from_fields("22003", "x".to_owned(), None, (None, None, None));
        assert_eq!(Refusal::of(&Error::server(Phase::Load, "x", server), &into()), None);
    }
}
