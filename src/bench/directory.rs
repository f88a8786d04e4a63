//! A directory for files of ours: nobody else may look into it, and it goes with us, whatever ends us.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Phase, Result};
use crate::pg::cluster::Reaper;

/// Removed when it is dropped, and after this process if that is killed.
pub(super) struct Directory {
    path: PathBuf,
    _reaper: Reaper,
}

impl Directory {
    /// Makes one among the temporary files: the user's rows may lie in it.
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

    /// Where it is.
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
