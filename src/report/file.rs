//! Writing the report's file: whole or not at all, because other programs read it.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Report;
use crate::error::{Error, Kind, Phase, Result};

impl Report {
    /// Writes the JSON to `path`, `-` meaning stdout. A reader sees the old file or the new one, never a part:
    /// it is written beside the path, flushed to disk and renamed. What is not a regular file (a pipe, a
    /// terminal) is written to directly, and through a symbolic link the file it points to is replaced.
    ///
    /// # Errors
    /// [`Kind::Io`] with the path.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut json = serde_json::to_vec_pretty(self).map_err(|error| {
            Error::new(Phase::Record, Kind::Internal, format!("the report is not JSON: {error}"))
        })?;
        json.push(b'\n');
        let written = publish(path, &json);
        written.map_err(|error| {
            Error::io(Phase::Record, format!("cannot write the report to {}", path.display()), &error)
                .hint("Give --report a file in a directory that exists and may be written to.")
        })
    }
}

/// Writes a result for other programs to `path`, `-` meaning stdout, as [`Report::write`] does.
pub(crate) fn publish(path: &Path, content: &[u8]) -> io::Result<()> {
    if path == Path::new("-") {
        let mut stdout = io::stdout().lock();
        stdout.write_all(content).and_then(|()| stdout.flush())
    } else {
        replace(path, content)
    }
}

fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return fs::OpenOptions::new().write(true).open(path)?.write_all(content);
    }
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut file = tempfile::Builder::new()
        .prefix(".report-")
        // As for any new file: the umask decides. The default would be readable by its owner only.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory(&path))?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    Ok(())
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
