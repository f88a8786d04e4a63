//! The connection service file (PostgreSQL manual, 34.17).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::text::Pairs;
use super::{Environment, invalid};
use crate::error::{Error, Location, Phase, Result};

/// The directories of the system-wide file if PGSYSCONFDIR is not set: Debian, Red Hat.
const SYSTEM_DIRECTORIES: [&str; 2] = ["/etc/postgresql-common", "/etc/sysconfig/pgsql"];

/// Returns the keys and values of a service, from the user's file or else from the system-wide one.
pub(super) fn look_up(name: &str, file: Option<&str>, environment: &Environment) -> Result<Pairs> {
    let files = candidates(file, environment);
    for path in &files {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                if let Some(pairs) = section(&text, name, path)? {
                    return Ok(pairs);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(Error::io(Phase::Config, format!("service file {}", path.display()), &error));
            }
        }
    }
    let searched: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
    Err(invalid(format!("service {name:?} not found in {}", searched.join(", ")))
        .hint(format!("Add a section [{name}] to one of these files, or correct service= or PGSERVICE.")))
}

fn candidates(file: Option<&str>, environment: &Environment) -> Vec<PathBuf> {
    let own = file.map(PathBuf::from).or_else(|| environment.in_home(".pg_service.conf"));
    let system: Vec<&str> = match environment.variable("PGSYSCONFDIR") {
        Some(directory) => vec![directory],
        None => SYSTEM_DIRECTORIES.to_vec(),
    };
    own.into_iter().chain(system.into_iter().map(|d| Path::new(d).join("pg_service.conf"))).collect()
}

/// Returns the pairs of the section `[name]`, or `None` if the file has no such section.
///
/// As in libpq there is no quoting: a value is the text after the `=`, without trailing white space.
fn section(text: &str, name: &str, path: &Path) -> Result<Option<Pairs>> {
    let file: Arc<str> = path.display().to_string().into();
    let mut found: Option<Pairs> = None;
    for (number, line) in (1_u32..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            if header.strip_suffix(']') == Some(name) {
                found = Some(Pairs::new());
            }
            continue;
        }
        let Some(pairs) = &mut found else { continue };
        let bad = |what: &str| {
            Error::config(Location { file: file.clone(), line: number, column: 1 }, what).hint(
                "Lines of a service file are key=value, without quotes and without spaces around the =.",
            )
        };
        if line.starts_with("ldap") {
            return Err(bad("LDAP services are not supported"));
        }
        let (key, value) = line.split_once('=').ok_or_else(|| bad("expected key=value"))?;
        if key.ends_with(char::is_whitespace) {
            return Err(bad("there is a space before the ="));
        }
        if key == "service" || key == "servicefile" {
            return Err(bad("a service cannot refer to another one"));
        }
        pairs.push((key.to_owned(), value.to_owned()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# comment\n[one]\nhost=a\npassword=p'w #=x \n\n[two]\nhost=b\n[two]\nhost=c\n";

    fn read(name: &str) -> Result<Option<Pairs>> {
        section(FILE, name, Path::new("pg_service.conf"))
    }

    #[test]
    fn a_section_is_read_without_any_quoting() {
        let pairs = read("one").unwrap().unwrap();
        assert_eq!(pairs, [("host", "a"), ("password", "p'w #=x")].map(|(k, v)| (k.into(), v.into())));
        assert_eq!(read("two").unwrap().unwrap(), [("host".to_owned(), "b".to_owned())]);
        assert!(read("three").unwrap().is_none());
    }

    #[test]
    fn a_bad_line_is_reported_with_its_place() {
        let error = section("[x]\nhost=a\nsecret\n", "x", Path::new("s.conf")).unwrap_err();
        assert!(error.to_string().starts_with("s.conf:3:1: "), "{error}");
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn the_users_file_wins_and_the_systems_file_fills_in() {
        let home = tempfile::tempdir().unwrap();
        let system = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(".pg_service.conf"), "[a]\nhost=mine\n").unwrap();
        std::fs::write(system.path().join("pg_service.conf"), "[a]\nhost=theirs\n[b]\nhost=shared\n")
            .unwrap();
        let sysconf = ("PGSYSCONFDIR".to_owned(), system.path().display().to_string());
        let environment = Environment::new([sysconf], Some(home.path().to_owned()), None);
        assert_eq!(look_up("a", None, &environment).unwrap()[0].1, "mine");
        assert_eq!(look_up("b", None, &environment).unwrap()[0].1, "shared");
        let error = look_up("c", None, &environment).unwrap_err();
        assert!(error.message().contains(&home.path().display().to_string()), "{error}");
    }
}
