//! A gzip reader with the behavior of gzip itself: it reads all members, and ignores trailing zeros, with which tapes
//! and some writers pad files.

use std::io::{self, BufRead, Chain, Read};

use flate2::bufread::GzDecoder;

/// The first bytes of every member (RFC 1952, 2.3.1).
const MAGIC: &[u8] = &[0x1f, 0x8b];

/// Reads all members of a file.
pub(super) struct Members<R> {
    /// The current member; `None` at the end, or after an error.
    member: Option<Member<R>>,
}

/// Bytes that were read to recognize a member are put in front of the rest.
type Member<R> = GzDecoder<Chain<&'static [u8], R>>;

impl<R: BufRead> Members<R> {
    /// Starts with the first member, which must be at the beginning of the file.
    pub(super) fn new(reader: R) -> Self {
        Self { member: Some(GzDecoder::new((&[][..]).chain(reader))) }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(member) = &mut self.member else { return Ok(0) };
            let bytes = member.read(buffer)?;
            if bytes > 0 || buffer.is_empty() {
                return Ok(bytes);
            }
            if let Some(member) = self.member.take() {
                let (_, rest) = member.into_inner().into_inner();
                self.member = next_member(rest)?;
            }
        }
    }
}

/// Returns the next member; `None` if only zeros follow.
fn next_member<R: BufRead>(mut rest: R) -> io::Result<Option<Member<R>>> {
    loop {
        let buffer = rest.fill_buf()?;
        let Some(first) = buffer.iter().position(|&byte| byte != 0) else {
            let bytes = buffer.len();
            rest.consume(bytes);
            if bytes == 0 {
                return Ok(None);
            }
            continue;
        };
        rest.consume(first);
        break;
    }
    let mut magic = Vec::new();
    rest.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic)?;
    if magic != *MAGIC {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the data after its last member is not gzip"));
    }
    Ok(Some(GzDecoder::new(MAGIC.chain(rest))))
}
