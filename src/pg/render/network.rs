//! Renders network addresses.

use std::io::Write as _;
use std::ops::Range;

use super::Malformed;
use super::fields::Fields;

/// Address families (`PGSQL_AF_INET`, src/include/utils/inet.h).
const IPV4: u8 = 2;
const IPV6: u8 = 3;

/// Renders an address, with its netmask unless it is a single host's.
pub(super) fn inet(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    address(value, false, out)
}

/// Renders a network, always with its netmask.
pub(super) fn cidr(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    address(value, true, out)
}

fn address(value: &[u8], always_with_mask: bool, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut fields = Fields::of(value);
    let (family, mask, _is_cidr, length) = (fields.u8()?, fields.u8()?, fields.u8()?, fields.u8()?);
    let bytes = fields.bytes(length.into())?;
    fields.end()?;
    let bits = match family {
        IPV4 => {
            ipv4(Fields::only(bytes)?, out);
            32
        }
        IPV6 => {
            ipv6(Fields::only(bytes)?, out);
            128
        }
        _ => return Err(Malformed("the address family is unknown")),
    };
    if mask > bits {
        return Err(Malformed("the netmask is longer than the address"));
    }
    if always_with_mask || mask != bits {
        // Writing to a Vec cannot fail.
        let _ = write!(out, "/{mask}");
    }
    Ok(())
}

fn ipv4([a, b, c, d]: [u8; 4], out: &mut Vec<u8>) {
    let _ = write!(out, "{a}.{b}.{c}.{d}");
}

/// Renders an IPv6 address without its longest run of zeros, and an embedded IPv4 address in dotted form. std differs: it
/// shows an embedded address only after `::ffff:`, whereas the server also does so after zeros alone.
fn ipv6(bytes: [u8; 16], out: &mut Vec<u8>) {
    let (groups, _) = bytes.as_chunks::<2>();
    let group = |i: usize| u16::from_be_bytes(groups[i]);
    let zeros = longest_zeros(group);
    let embeds_ipv4 = zeros == (0..6) || (zeros == (0..5) && group(5) == 0xffff);
    let mut i = 0;
    while i < 8 {
        if i == zeros.start && !zeros.is_empty() {
            out.extend_from_slice(b"::");
            i = zeros.end;
            continue;
        }
        if i > 0 && i != zeros.end {
            out.push(b':');
        }
        if i == 6 && embeds_ipv4 {
            ipv4([bytes[12], bytes[13], bytes[14], bytes[15]], out);
            break;
        }
        let _ = write!(out, "{:x}", group(i));
        i += 1;
    }
}

/// Returns the first of the longest runs of two or more zero groups; `0..0` if there is none.
fn longest_zeros(group: impl Fn(usize) -> u16) -> Range<usize> {
    let mut longest = 0..0;
    let mut start = 0;
    for i in 0..8 {
        if group(i) != 0 {
            start = i + 1;
        } else if i + 1 - start > longest.len().max(1) {
            longest = start..i + 1;
        }
    }
    longest
}

pub(super) fn macaddr(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    colons(&Fields::only::<6>(value)?, out);
    Ok(())
}

pub(super) fn macaddr8(value: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    colons(&Fields::only::<8>(value)?, out);
    Ok(())
}

fn colons(bytes: &[u8], out: &mut Vec<u8>) {
    for (i, byte) in bytes.iter().enumerate() {
        let colon = if i > 0 { ":" } else { "" };
        let _ = write!(out, "{colon}{byte:02x}");
    }
}
