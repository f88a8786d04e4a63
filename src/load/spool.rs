//! Rejects of rows judged while they streamed by: one file per chunk, then one per table.
//!
//! Chunks arrive in any order and may be tried more than once, so each attempt writes a separate file, which counts
//! only if the attempt has read its chunk to the end. When the table is complete, the files are joined in the order
//! of extraction and their rows are numbered consecutively.

use std::path::{Path, PathBuf};

use tokio::fs::{self, File};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufWriter};

use crate::error::{Error, Phase, Result};

/// Bytes read at once when files are joined.
const BLOCK_BYTES: usize = 64 * 1024;

/// Index of the field with the row's ordinal in a rejects file.
const ROW_FIELD: usize = 2;

/// The rejects of one attempt at a chunk. Its file is removed with it unless it is finished.
#[derive(Debug)]
pub(crate) struct Spool {
    path: PathBuf,
    writer: Option<BufWriter<File>>,
    is_finished: bool,
}

impl Spool {
    /// Returns the spool for a chunk of the table whose rejects go to `rejects`. Nothing is created before the first
    /// reject.
    pub(crate) fn new(rejects: &Path, chunk: i32) -> Self {
        let mut path = rejects.to_owned().into_os_string();
        path.push(format!(".chunk-{chunk}"));
        Self { path: path.into(), writer: None, is_finished: false }
    }

    /// Returns the spool for rows of the chunk that only the target refused, while other rejects are written to
    /// another file.
    pub(crate) fn of_refused(rejects: &Path, chunk: i32) -> Self {
        let mut spool = Self::new(rejects, chunk);
        spool.path.as_mut_os_string().push("-refused");
        spool
    }

    /// Appends whole lines.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) async fn append(&mut self, lines: &[u8]) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(BufWriter::new(create(&self.path).await?)),
        };
        writer.write_all(lines).await.map_err(|e| failed(&self.path, &e))
    }

    /// Completes the file; `None` if there were no rejects.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) async fn finish(mut self) -> Result<Option<PathBuf>> {
        let Some(mut writer) = self.writer.take() else {
            // An earlier attempt may have rejected rows that this one did not reach.
            let _ = fs::remove_file(&self.path).await;
            return Ok(None);
        };
        writer.flush().await.map_err(|e| failed(&self.path, &e))?;
        self.is_finished = true;
        Ok(Some(self.path.clone()))
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if self.writer.take().is_some() && !self.is_finished {
            // A file that cannot be removed is a leftover of a failed run.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Joins the files of chunks into `into`, after `header`. Each comes with the number of rows extracted before its
/// first one, if known.
///
/// # Errors
/// A file cannot be read or written.
pub(crate) async fn assemble(into: &Path, header: &[u8], parts: &[(PathBuf, Option<u64>)]) -> Result<()> {
    let mut writer = BufWriter::new(create(into).await?);
    writer.write_all(header).await.map_err(|e| failed(into, &e))?;
    let mut block = vec![0; BLOCK_BYTES];
    let mut lines = Vec::new();
    for (path, before) in parts {
        let mut file = File::open(path).await.map_err(|e| failed(path, &e))?;
        let mut numbering = Numbering::new(*before);
        loop {
            let read = file.read(&mut block).await.map_err(|e| failed(path, &e))?;
            if read == 0 {
                break;
            }
            lines.clear();
            numbering.shift(&block[..read], &mut lines);
            writer.write_all(&lines).await.map_err(|e| failed(into, &e))?;
        }
    }
    writer.flush().await.map_err(|e| failed(into, &e))?;
    writer.get_ref().sync_all().await.map_err(|e| failed(into, &e))
}

/// Creates a file, and the directories above it, accessible only to the owner: rejects are whole rows of the user's
/// data.
pub(super) async fn create(path: &Path) -> Result<File> {
    if let Some(directory) = path.parent() {
        let created = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).await;
        created.map_err(|e| failed(path, &e))?;
    }
    let opened = File::options().write(true).create(true).truncate(true).mode(0o600).open(path).await;
    opened.map_err(|e| failed(path, &e))
}

/// Returns the error for a rejects file that cannot be read or written.
pub(super) fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::io(Phase::Load, format!("the rejects file {}", path.display()), error)
        .hint("Its directory must be writable and have free disk space. rejects_dir under [run] sets it; the default is rejects in the working directory.")
}

/// Adds a number to the ordinals in CSV lines that arrive in pieces; without a number it leaves the ordinals empty.
#[derive(Debug)]
struct Numbering {
    before: Option<u64>,
    field: usize,
    is_quoted: bool,
    ordinal: u64,
}

impl Numbering {
    fn new(before: Option<u64>) -> Self {
        Self { before, field: 0, is_quoted: false, ordinal: 0 }
    }

    /// Appends a piece with its ordinals shifted.
    fn shift(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        for &byte in piece {
            self.is_quoted ^= byte == b'"';
            let ends_field = !self.is_quoted && matches!(byte, b',' | b'\n');
            if self.field == ROW_FIELD {
                if !ends_field {
                    self.ordinal = self.ordinal * 10 + u64::from(byte.wrapping_sub(b'0'));
                    continue;
                }
                if let Some(before) = self.before {
                    out.extend_from_slice((self.ordinal + before).to_string().as_bytes());
                }
                self.ordinal = 0;
            }
            out.push(byte);
            match byte {
                b'\n' if ends_field => self.field = 0,
                _ => self.field += usize::from(ends_field),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_are_shifted_wherever_a_piece_ends_and_nothing_else_is_touched() {
        let lines = b"a=1 has no match,fk,7,7,\"x\"\"y\n3,4,5\",\n\"b=\"\"1,2\"\"\",,99,,\"\"\nc,k,1\n";
        let expected =
            "a=1 has no match,fk,1007,7,\"x\"\"y\n3,4,5\",\n\"b=\"\"1,2\"\"\",,1099,,\"\"\nc,k,1001\n";
        for cut in 0..=lines.len() {
            let (mut numbering, mut out) = (Numbering::new(Some(1000)), Vec::new());
            numbering.shift(&lines[..cut], &mut out);
            numbering.shift(&lines[cut..], &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "cut at {cut}");
        }
    }
}
