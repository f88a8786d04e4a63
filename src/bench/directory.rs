//! A private directory for temporary files. It is removed even if the process is killed.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Phase, Result};
use crate::pg::cluster::Reaper;

/// A directory that is removed when it is dropped, and after this process if that is killed.
pub(super) struct Directory {
    path: PathBuf,
    _reaper: Reaper,
}

impl Directory {
    /// Creates one among the temporary files. It may hold the user's rows, so it is private.
    ///
    /// # Errors
    /// `Kind::Io`
    pub(super) fn make() -> Result<Self> {
        let make = || {
            let made = tempfile::Builder::new()
                .prefix("bulkload-bench-")
                .permissions(Permissions::from_mode(0o700))
                .tempdir()?;
            let reaper = Reaper::watch(made.path())?;
            Ok(Self { path: made.keep(), _reaper: reaper })
        };
        make().map_err(|e| Error::io(Phase::Stage, "cannot create a temporary directory", &e))
    }

    /// Returns its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_its_makers_alone_and_goes_with_all_that_is_in_it() {
        let directory = Directory::make().unwrap();
        let path = directory.path().to_owned();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(path.join("rows"), "1").unwrap();
        drop(directory);
        assert!(!path.exists());
    }
}
