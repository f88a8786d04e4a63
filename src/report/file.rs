//! Writes the report file atomically, because other programs read it.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{NotStarted, Report};
use crate::error::{Error, Kind, Phase, Result};

impl Report {
    /// Writes the report as JSON to `path`; `-` is stdout. A reader sees either the old file or the complete new one: the
    /// JSON is written to a temporary file in the same directory, flushed to disk and renamed. A symbolic link is followed
    /// and stays a link. A path that is not a regular file (a pipe, a terminal) is written to directly.
    ///
    /// # Errors
    /// [`Kind::Io`] with the path.
    pub fn write(&self, path: &Path) -> Result<()> {
        write(self, path)
    }
}

impl NotStarted {
    /// Writes the report as JSON to `path`, like [`Report::write`].
    ///
    /// # Errors
    /// [`Kind::Io`] with the path.
    pub fn write(&self, path: &Path) -> Result<()> {
        write(self, path)
    }
}

fn write(report: &impl Serialize, path: &Path) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(report).map_err(|error| {
        Error::new(Phase::Record, Kind::Internal, format!("cannot serialize the report as JSON: {error}"))
    })?;
    json.push(b'\n');
    let written = publish(path, &json);
    written.map_err(|error| {
        Error::io(Phase::Record, format!("cannot write the report to {}", path.display()), &error)
            .hint("Give --report a file in an existing directory that you can write to.")
    })
}

/// Writes `content` to `path` (`-` is stdout), like [`Report::write`].
pub(crate) fn publish(path: &Path, content: &[u8]) -> io::Result<()> {
    if path == Path::new("-") {
        let mut stdout = io::stdout().lock();
        stdout.write_all(content).and_then(|()| stdout.flush())
    } else {
        replace(path, content)
    }
}

/// Tests whether [`publish`] can write to `path`, by creating and removing a temporary file in the same directory. A path
/// that is not a regular file is not tested, because opening a pipe may block.
pub(crate) fn try_out(path: &Path) -> io::Result<()> {
    if is_special(path) {
        return Ok(());
    }
    beside(&real(path)).map(drop)
}

/// Returns whether two paths name the same file, so that one [`publish`] would overwrite the other.
pub(crate) fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| {
        let path = real(path);
        let directory = fs::canonicalize(directory(&path)).ok()?;
        Some(directory.join(path.file_name()?))
    };
    one == other || real(one).is_some_and(|one| real(other) == Some(one))
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    if is_special(path) {
        return fs::OpenOptions::new().write(true).open(path)?.write_all(content);
    }
    let path = real(path);
    let mut file = beside(&path)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    Ok(())
}

fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| !meta.is_file())
}

/// Resolves symbolic links.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn beside(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new()
        .prefix(".report-")
        // The umask applies, as for any new file. By default, only the owner could read a temporary file.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory(path))
}

fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::report::Mode;

    fn report(run_id: &str) -> Report {
        Report {
            run_id: run_id.to_owned(),
            started_at: SystemTime::UNIX_EPOCH,
            duration: Duration::ZERO,
            mode: Mode::Full,
            tables: Vec::new(),
        }
    }

    #[test]
    fn a_report_replaces_the_one_before_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.json");
        report("first").write(&path).unwrap();
        report("second").write(&path).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(json["run_id"], "second");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_symbolic_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("real.json"), dir.path().join("link.json"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        report("new").write(&link).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::read_to_string(&file).unwrap().contains("\"run_id\": \"new\""));
    }

    #[test]
    fn trying_a_path_out_leaves_it_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report.json");
        try_out(&path).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        fs::write(&path, "old").unwrap();
        try_out(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        // Not even root may make files there.
        assert!(try_out(Path::new("/proc/report.json")).is_err());
    }

    #[test]
    fn a_file_is_the_same_by_whatever_path_and_another_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("x.json"), dir.path().join("link"));
        assert!(is_same(&file, &dir.path().join(".").join("x.json")), "neither exists yet");
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(is_same(&link, &file));
        assert!(!is_same(&file, &dir.path().join("y.json")));
    }

    #[test]
    fn a_pipe_is_written_to_and_not_replaced() {
        use std::os::unix::fs::FileTypeExt;
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read_to_string(pipe).unwrap()
        });
        report("through").write(&pipe).unwrap();
        assert!(reader.join().unwrap().contains("\"run_id\": \"through\""));
        assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    }

    #[test]
    fn a_path_that_cannot_be_written_is_named() {
        let error = report("x").write(Path::new("/nonexistent/dir/report.json")).unwrap_err();
        assert_eq!(error.kind(), Kind::Io);
        assert!(
            error.message().starts_with("cannot write the report to /nonexistent/dir/report.json: "),
            "{error}"
        );
        assert!(error.advice().is_some());
    }
}
