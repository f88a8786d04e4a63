//! The password file (PostgreSQL manual, 34.16).

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::pg::secret::Secret;

/// A password file, as far as it is usable.
#[derive(Default)]
pub(super) struct PassFile {
    path: PathBuf,
    text: String,
}

/// A password and its line number, from 1.
pub(super) struct Found {
    /// The password.
    pub(super) password: Secret,
    /// `file line n`, for messages.
    pub(super) place: String,
}

impl PassFile {
    /// Reads the file. As in libpq, a missing file counts as empty, and a file that other users can read is not used; the
    /// second value explains this for a warning.
    pub(super) fn open(path: &Path) -> (Self, Option<String>) {
        let shown = path.display();
        let complaint = match fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return (Self::default(), None),
            Err(error) => format!("{shown} was not used: {error}"),
            Ok(found) if !found.is_file() => format!("{shown} was not used: it is not a plain file"),
            Ok(found) if found.permissions().mode() & 0o077 != 0 => format!(
                "{shown} was not used: its mode is {:04o}, so other users can read it; run chmod 600 {shown}",
                found.permissions().mode() & 0o7777
            ),
            Ok(_) => match fs::read_to_string(path) {
                Ok(text) => return (Self { path: path.to_owned(), text }, None),
                Err(error) => format!("{shown} was not used: {error}"),
            },
        };
        (Self::default(), Some(complaint))
    }

    /// Returns the password of the first line that matches all four values.
    pub(super) fn find(&self, host: &str, port: u16, dbname: &str, user: &str) -> Option<Found> {
        let port = port.to_string();
        let (number, password) = (1..)
            .zip(self.text.lines())
            .find_map(|(number, line)| Some((number, password_of(line, &[host, &port, dbname, user])?)))?;
        Some(Found {
            password: Secret::new(password),
            place: format!("{} line {number}", self.path.display()),
        })
    }
}

/// Returns the fifth field if each of the first four is `*` or equals `wanted`.
fn password_of(line: &str, wanted: &[&str; 4]) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut rest = line;
    for wanted in wanted {
        let (field, starred, after) = field(rest);
        if !starred && field != *wanted {
            return None;
        }
        rest = after?;
    }
    let (password, ..) = field(rest);
    (!password.is_empty()).then_some(password)
}

/// Returns the first field, unescaped; whether it is a bare `*`; and the text after its colon.
fn field(text: &str) -> (String, bool, Option<&str>) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            ':' => return (value, &text[..at] == "*", Some(&text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, escaped)) => value.push(escaped),
                None => value.push('\\'),
            },
            c => value.push(c),
        }
    }
    (value, text == "*", None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, host: &str, user: &str) -> Option<String> {
        let file = PassFile { path: "pgpass".into(), text: text.to_owned() };
        Some(file.find(host, 5432, "db", user)?.password.expose().to_owned())
    }

    #[test]
    fn the_first_matching_line_wins() {
        let text = "# c\nother:5432:db:me:no\nh:*:db:me:first\n*:*:*:*:any\n";
        assert_eq!(find(text, "h", "me").as_deref(), Some("first"));
        assert_eq!(find(text, "h", "you").as_deref(), Some("any"));
        assert_eq!(find("h:5433:db:me:no\n", "h", "me"), None);
        assert_eq!(find("h:5432:db:me\n", "h", "me"), None, "too few fields");
    }

    #[test]
    fn colons_and_backslashes_are_escaped() {
        assert_eq!(find(r"\:\:1:*:*:a\\b:p\:w\\d", "::1", r"a\b").as_deref(), Some(r"p:w\d"));
        assert_eq!(find(r"\*:*:*:me:x", "h", "me"), None, "an escaped star matches only itself");
    }

    #[test]
    fn a_file_that_others_can_read_is_not_used_and_says_how_to_mend_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".pgpass");
        fs::write(&path, "*:*:*:*:pw\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let (file, complaint) = PassFile::open(&path);
        assert!(file.find("h", 1, "d", "u").is_none());
        let complaint = complaint.unwrap();
        assert!(complaint.contains("0640") && complaint.contains("chmod 600"), "{complaint}");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let (file, complaint) = PassFile::open(&path);
        assert!(complaint.is_none());
        let found = file.find("h", 1, "d", "u").unwrap();
        assert_eq!((found.password.expose(), found.place), ("pw", format!("{} line 1", path.display())));
    }
}
