//! A file as a stream of UTF-8: opened, decompressed, decoded.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek as _, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use encoding_rs::{Decoder, DecoderResult, Encoding};

use super::gzip::Members;
use super::invalid_bytes::{MARK_BYTES, mark};
use crate::error::{Error, Kind, Phase, Result};
use crate::plan::{CsvFile, Packing};

/// The byte order mark of UTF-8.
pub(super) const BOM: &[u8] = b"\xef\xbb\xbf";

/// Maximum bytes of a malformed sequence, plus those read after it (`encoding_rs`, `DecoderResult`).
const MISTAKE_BYTES_MAX: usize = 8;

/// Bytes read at once from decompressed or decoded data.
const READ_BYTES: usize = 64 * 1024;

/// A file that is being read.
pub(crate) struct Input {
    reader: Box<dyn Read>,
    taken: Arc<AtomicU64>,
    /// The file itself, if it can be read more than once.
    file: Option<File>,
}

impl Input {
    /// Opens a file at a byte offset, which must be 0 unless the file is divisible.
    ///
    /// # Errors
    /// [`Kind::Io`] if it cannot be read, or only once and that has happened; [`Kind::Guard`] if it has changed since
    /// it was planned.
    pub(crate) fn open(file: &CsvFile, from: u64) -> Result<Self> {
        let (raw, own): (Box<dyn Read>, _) = match &file.once {
            Some(once) => {
                let (head, rest) = once.take().ok_or_else(|| read_already(file))?;
                (Box::new(Cursor::new(head).chain(rest)), None)
            }
            None => {
                let mut opened = File::open(&file.path).map_err(|e| failed(file, &e))?;
                refuse_changed(file, &opened)?;
                opened.seek(SeekFrom::Start(from)).map_err(|e| failed(file, &e))?;
                let own = opened.try_clone().map_err(|e| failed(file, &e))?;
                (Box::new(opened), Some(own))
            }
        };
        let taken = Arc::new(AtomicU64::new(0));
        let counted = Counted { reader: raw, taken: taken.clone() };
        let unpacked = unpacked(counted, file.packing).map_err(|e| failed(file, &e))?;
        Ok(Self { reader: decoded(unpacked, file.encoding), taken, file: own })
    }

    /// Checks that the file is unchanged; call it after the file was read.
    ///
    /// # Errors
    /// [`Kind::Guard`] if it has changed.
    pub(super) fn refuse_changed(&self, file: &CsvFile) -> Result<()> {
        self.file.as_ref().map_or(Ok(()), |own| refuse_changed(file, own))
    }

    /// Returns the number of bytes taken from the file so far, before decompression.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

/// Returns the error for a file that cannot be read.
pub(super) fn failed(file: &CsvFile, error: &io::Error) -> Error {
    let what = match file.packing {
        Packing::Plain => format!("reading {}", file.name),
        Packing::Gzip => format!("decompressing {} (gzip)", file.name),
        Packing::Zstd => format!("decompressing {} (zstd)", file.name),
    };
    Error::io(Phase::Load, what, error)
}

fn read_already(file: &CsvFile) -> Error {
    let message = format!("{} can be read only once, and the rows loaded from it are lost", file.name);
    Error::new(Phase::Load, Kind::Io, message)
        .hint("Run again; use a regular file if connections break often.")
}

/// Refuses a file that is being written to, because its contents are undefined.
pub(super) fn refuse_changed(file: &CsvFile, opened: &File) -> Result<()> {
    let now = opened.metadata().map_err(|e| failed(file, &e))?;
    if now.len() == file.bytes && now.modified().ok() == file.modified {
        return Ok(());
    }
    Err(Error::new(Phase::Load, Kind::Guard, format!("{} was changed during the run", file.name))
        .hint("Run again when no other program is writing to it."))
}

/// Counts the bytes taken.
struct Counted<R> {
    reader: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.reader.read(buffer)?;
        self.taken.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

/// Returns the decompressed stream.
pub(super) fn unpacked(reader: impl Read + 'static, packing: Packing) -> io::Result<Box<dyn Read>> {
    Ok(match packing {
        Packing::Plain => Box::new(reader),
        Packing::Gzip => Box::new(Members::new(BufReader::with_capacity(READ_BYTES, reader))),
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::new(reader)?),
    })
}

/// Returns a stream in UTF-8. UTF-8 input is passed through, including its byte order mark.
pub(super) fn decoded(reader: impl Read + 'static, encoding: &'static Encoding) -> Box<dyn Read> {
    if encoding == encoding_rs::UTF_8 {
        return Box::new(reader);
    }
    Box::new(Decoding {
        reader,
        decoder: encoding.new_decoder_with_bom_removal(),
        encoded: vec![0; READ_BYTES],
        unread: 0..0,
        last: Vec::new(),
        text: Vec::with_capacity(4 * READ_BYTES),
        passed: 0,
        ended: false,
    })
}

/// A decoding stream.
struct Decoding<R> {
    reader: R,
    decoder: Decoder,
    encoded: Vec<u8>,
    unread: std::ops::Range<usize>,
    /// The last decoded bytes, which may turn out to be part of a malformed sequence.
    last: Vec<u8>,
    text: Vec<u8>,
    /// How much of the text was passed on.
    passed: usize,
    ended: bool,
}

impl<R: Read> Decoding<R> {
    fn refill(&mut self) -> io::Result<()> {
        let mut is_last = false;
        if self.unread.is_empty() {
            let bytes = self.reader.read(&mut self.encoded)?;
            self.unread = 0..bytes;
            is_last = bytes == 0;
        }
        self.text.clear();
        self.text.resize(4 * READ_BYTES, 0);
        self.passed = 0;
        let encoded = &self.encoded[self.unread.clone()];
        // Room for the mark of one malformed sequence.
        let room = self.text.len() - MISTAKE_BYTES_MAX * MARK_BYTES;
        let (result, read, written) =
            self.decoder.decode_to_utf8_without_replacement(encoded, &mut self.text[..room], is_last);
        self.last.extend_from_slice(&encoded[read.saturating_sub(MISTAKE_BYTES_MAX)..read]);
        self.unread.start += read;
        self.text.truncate(written);
        match result {
            DecoderResult::Malformed(bytes, after) => {
                let end = self.last.len().saturating_sub(usize::from(after));
                let mistake = &self.last[end.saturating_sub(usize::from(bytes))..end];
                self.text.extend(mistake.iter().flat_map(|&byte| mark(byte)));
            }
            DecoderResult::InputEmpty => self.ended = is_last,
            DecoderResult::OutputFull => {}
        }
        self.last.drain(..self.last.len().saturating_sub(MISTAKE_BYTES_MAX));
        Ok(())
    }
}

impl<R: Read> Read for Decoding<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.passed == self.text.len() {
            if self.ended {
                return Ok(0);
            }
            self.refill()?;
        }
        let bytes = buffer.len().min(self.text.len() - self.passed);
        buffer[..bytes].copy_from_slice(&self.text[self.passed..self.passed + bytes]);
        self.passed += bytes;
        Ok(bytes)
    }
}

/// Returns the compression that a file's first bytes indicate, or the name of an unsupported format.
pub(super) fn packing(head: &[u8]) -> std::result::Result<Packing, &'static str> {
    const FOREIGN: [(&[u8], &str); 6] = [
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"PK\x03\x04", "zip"),
        (b"\x04\x22\x4d\x18", "lz4"),
        (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
        (b"PAR1", "Parquet"),
    ];
    if head.starts_with(&[0x1f, 0x8b]) {
        return Ok(Packing::Gzip);
    }
    // A data frame, or a skippable frame.
    let is_skipped = head.len() >= 4 && head[0] & 0xf0 == 0x50 && head[1..4] == [0x2a, 0x4d, 0x18];
    if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || is_skipped {
        return Ok(Packing::Zstd);
    }
    match FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)) {
        Some((_, name)) => Err(name),
        None => Ok(Packing::Plain),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn all(mut reader: impl Read) -> Vec<u8> {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn files_of_several_members_or_frames_are_read_whole() {
        let members = [gzip(b"a,b\n"), gzip(b""), gzip(b"1,2\n")].concat();
        assert_eq!(packing(&members), Ok(Packing::Gzip));
        assert_eq!(all(unpacked(Cursor::new(members), Packing::Gzip).unwrap()), b"a,b\n1,2\n");
        let frame = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
        let frames = [frame(b"a,b\n"), frame(b"1,2\n")].concat();
        assert_eq!(packing(&frames), Ok(Packing::Zstd));
        assert_eq!(all(unpacked(Cursor::new(frames), Packing::Zstd).unwrap()), b"a,b\n1,2\n");
        assert_eq!(packing(b"a,b\n"), Ok(Packing::Plain));
        assert_eq!(packing(b"PK\x03\x04.."), Err("zip"));
    }

    #[test]
    fn zeros_after_the_last_member_are_padding_and_anything_else_is_an_error() {
        let read = |bytes: Vec<u8>| {
            let mut text = Vec::new();
            let read = unpacked(Cursor::new(bytes), Packing::Gzip).unwrap().read_to_end(&mut text);
            read.map(|_| text).map_err(|error| error.to_string())
        };
        let members = [gzip(b"a,b\n"), gzip(b"1,2\n")].concat();
        for zeros in [1, 511, 3 * READ_BYTES] {
            assert_eq!(read([members.clone(), vec![0; zeros]].concat()).unwrap(), b"a,b\n1,2\n");
        }
        for garbage in [&b"x"[..], b"\0\0x", b"\x1fx", b"\x1f"] {
            let error = read([&members[..], garbage].concat()).unwrap_err();
            assert!(error.contains("after its last member"), "{error}");
        }
        assert_eq!(read([&gzip(b"a\n")[..], b"\0\0", &gzip(b"b\n")].concat()).unwrap(), b"a\nb\n");
    }

    #[test]
    fn a_truncated_file_is_an_error() {
        let mut bytes = gzip(&[b'x'; 10_000]);
        bytes.truncate(bytes.len() - 9);
        let mut unpacked = unpacked(Cursor::new(bytes), Packing::Gzip).unwrap();
        assert!(unpacked.read_to_end(&mut Vec::new()).is_err());
    }

    #[test]
    fn other_encodings_are_decoded_and_what_means_nothing_is_no_utf_8() {
        let read = |bytes: &[u8], encoding| all(decoded(Cursor::new(bytes.to_vec()), encoding));
        assert_eq!(read(b"\xe4,\x80\n", encoding_rs::WINDOWS_1252), "ä,€\n".as_bytes());
        assert_eq!(read(b"\xff\xfea\0,\0\xe4\0\n\0", encoding_rs::UTF_16LE), "a,ä\n".as_bytes());
        let expected = [b"a".as_slice(), &mark(0x81), b"\n", &mark(0xe3)].concat();
        assert_eq!(read(b"a\x81\n\xe3", encoding_rs::SHIFT_JIS), expected);
        let cut = [vec![b'x'; READ_BYTES - 1], b"\xe3\x28\n".to_vec()].concat();
        let expected = [vec![b'x'; READ_BYTES - 1], mark(0xe3).to_vec(), b"(\n".to_vec()].concat();
        assert_eq!(read(&cut, encoding_rs::EUC_KR), expected, "what a read has cut is whole");
        let long: Vec<u8> = std::iter::repeat_n(b'\xe4', 3 * READ_BYTES).collect();
        assert_eq!(read(&long, encoding_rs::WINDOWS_1252), "ä".repeat(3 * READ_BYTES).into_bytes());
    }
}
