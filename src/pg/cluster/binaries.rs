//! Locates the programs of a PostgreSQL server.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Kind, Phase, Result};

/// The environment variable with the directory to use before all others.
pub const BINDIR_VARIABLE: &str = "BULKLOAD_PG_BINDIR";

/// The programs of one PostgreSQL installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    dir: PathBuf,
    major: u32,
}

impl Binaries {
    /// Looks in `BULKLOAD_PG_BINDIR`, PATH, the directories of distributions (newest first) and the directory that
    /// `pg_config` names. A directory counts if it holds both `initdb` and `postgres`.
    ///
    /// # Errors
    /// `Kind::Config` if `BULKLOAD_PG_BINDIR` names a directory without them, or if they are not found.
    pub fn find() -> Result<Self> {
        if let Some(dir) = std::env::var_os(BINDIR_VARIABLE).filter(|dir| !dir.is_empty()) {
            let dir = PathBuf::from(dir);
            return if holds_server(&dir) {
                Self::at(&dir)
            } else {
                Err(missing(format!(
                    "{BINDIR_VARIABLE} is {}, which does not contain the programs initdb and postgres",
                    dir.display()
                )))
            };
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path)
            .chain(distribution_dirs())
            .find(|dir| holds_server(dir))
            .or_else(|| pg_config_dir().filter(|dir| holds_server(dir)));
        match found {
            Some(dir) => Self::at(&dir),
            None => Err(missing(
                "no PostgreSQL server programs (initdb, postgres) in PATH, in /usr/lib/postgresql or in the \
                 directory that pg_config names"
                    .to_owned(),
            )),
        }
    }

    /// Returns the installation whose programs are in `dir`.
    ///
    /// # Errors
    /// `Kind::Config` if `postgres --version` cannot be run or its output cannot be parsed.
    pub fn at(dir: &Path) -> Result<Self> {
        // PATH may contain links to some of the programs; the target directory has all of them.
        let linked = dir.join("postgres").canonicalize().ok();
        let home = linked.as_deref().and_then(Path::parent).filter(|home| holds_server(home));
        let dir = home.unwrap_or(dir).to_path_buf();
        let program = dir.join("postgres");
        let text = output_of(&program, ["--version"])
            .ok_or_else(|| missing(format!("{} --version failed", program.display())))?;
        let major = major_of(&text).ok_or_else(|| {
            missing(format!("cannot parse the output of {} --version: {text:?}", program.display()))
        })?;
        Ok(Self { dir, major })
    }

    /// Returns the full path of a program such as `psql`; it need not exist.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Returns the major version: 15 for 15.18.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }
}

fn missing(message: String) -> Error {
    Error::new(Phase::Config, Kind::Config, message).hint(format!(
        "Install the PostgreSQL server (Debian and Ubuntu: apt-get install postgresql; Fedora: dnf install postgresql-server; \
         macOS: brew install postgresql), or set {BINDIR_VARIABLE} to the directory that holds initdb and postgres."
    ))
}

fn holds_server(dir: &Path) -> bool {
    dir.is_absolute() && ["initdb", "postgres"].iter().all(|name| dir.join(name).is_file())
}

/// Returns the `bin` directories of the Debian and the PGDG RPM packages, newest major version first.
fn distribution_dirs() -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for (parent, prefix) in [("/usr/lib/postgresql", ""), ("/usr", "pgsql-")] {
        let Ok(entries) = std::fs::read_dir(parent) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let version = name.to_str().and_then(|name| name.strip_prefix(prefix)).map(str::parse);
            if let Some(Ok(version)) = version {
                found.push((version, entry.path().join("bin")));
            }
        }
    }
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, dir)| dir).collect()
}

fn pg_config_dir() -> Option<PathBuf> {
    output_of("pg_config", ["--bindir"]).map(PathBuf::from)
}

/// Returns the trimmed output of a program; `None` if it cannot be run, fails or prints nothing.
pub(super) fn output_of<const N: usize>(program: impl AsRef<OsStr>, args: [&str; N]) -> Option<String> {
    let output = Command::new(program).args(args).stderr(std::process::Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// Parses the major version: 15 from `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, 19 from `postgres (PostgreSQL)
/// 19beta1`.
fn major_of(version: &str) -> Option<u32> {
    let number = version.split(' ').nth(2)?;
    let digits = number.find(|c: char| !c.is_ascii_digit()).map_or(number, |end| &number[..end]);
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_releases_and_betas() {
        assert_eq!(major_of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(major_of("postgres (PostgreSQL) 19beta1"), Some(19));
        assert_eq!(major_of("postgres"), None);
    }

    #[test]
    fn a_directory_without_both_programs_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("postgres"), "").unwrap();
        assert!(!holds_server(dir.path()));
        std::fs::write(dir.path().join("initdb"), "").unwrap();
        assert!(holds_server(dir.path()));
    }
}
