//! The header that a proxy writes before a client's first byte, so that the client's own address is known: PROXY
//! protocol, versions 1 (a line of text) and 2 (binary).
//!
//! ```text
//! 1   PROXY TCP4 192.0.2.1 198.51.100.1 56324 5222\r\n
//! 2   0d 0a 0d 0a 00 0d 0a 51 55 49 54 0a   signature
//!     21  version 2, command PROXY (20: LOCAL)
//!     11  IPv4, stream (21: IPv6; 31: Unix)
//!     00 0c  bytes that follow
//!     source, destination, source port, destination port; then additional values, which are not looked at
//! ```
//!
//! Pure: [`parse`] is given all bytes so far and says whether the header is whole.

use crate::limits::{PROXY_HEADER_BYTES_MAX, PROXY_LINE_BYTES_MAX};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A whole header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Where the client is. `None`: the connection is the proxy's own (its health checks), or it does not know.
    pub client: Option<SocketAddr>,
    /// Its bytes; the client's own follow.
    pub bytes: usize,
}

/// Why bytes are no header. The connection is closed without a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyError {
    /// They begin as neither version does.
    NotAHeader,
    /// A line without an end, a protocol, an address or a port.
    Line,
    /// Another version, command or family, or a datagram.
    Unsupported,
    /// Fewer bytes than its family's addresses have.
    Short,
    /// More than [`PROXY_HEADER_BYTES_MAX`].
    TooLong,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProxyError::NotAHeader => "no PROXY header",
            ProxyError::Line => "malformed PROXY line",
            ProxyError::Unsupported => "PROXY version, command or family that is not supported",
            ProxyError::Short => "PROXY header without its addresses",
            ProxyError::TooLong => "PROXY header that is too long",
        })
    }
}

impl std::error::Error for ProxyError {}

const LINE_START: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Of version 2, before what has the length that stands in it.
const FIXED_BYTES: usize = 16;

/// The header at the start of `bytes`; `None` while it is not whole. What can be refused early is.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    if begins(bytes, LINE_START) {
        line(bytes)
    } else if begins(bytes, SIGNATURE) {
        binary(bytes)
    } else {
        Err(ProxyError::NotAHeader)
    }
}

/// Whether `bytes` are the beginning of `start`, or the other way round.
fn begins(bytes: &[u8], start: &[u8]) -> bool {
    bytes.iter().zip(start).all(|(a, b)| a == b)
}

fn line(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    let seen = bytes.get(..PROXY_LINE_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < PROXY_LINE_BYTES_MAX { Ok(None) } else { Err(ProxyError::Line) };
    };
    let text = seen.get(LINE_START.len()..end).and_then(|text| std::str::from_utf8(text).ok());
    let client = text.ok_or(ProxyError::Line).and_then(line_client)?;
    Ok(Some(Header { client, bytes: end.saturating_add(2) }))
}

/// What stands behind `PROXY `.
fn line_client(text: &str) -> Result<Option<SocketAddr>, ProxyError> {
    let mut words = text.split(' ');
    let mut word = || words.next().ok_or(ProxyError::Line);
    let family = word()?;
    if family == "UNKNOWN" {
        // Whatever else stands there is not looked at.
        return Ok(None);
    }
    let (from, to, from_port, to_port) = (word()?, word()?, word()?, word()?);
    if words.next().is_some() {
        return Err(ProxyError::Line);
    }
    let address = |text: &str| -> Result<IpAddr, ProxyError> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| ProxyError::Line),
            "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| ProxyError::Line),
            _ => Err(ProxyError::Line),
        }
    };
    let (from, _) = (address(from)?, address(to)?);
    let (from_port, _) = (port(from_port)?, port(to_port)?);
    Ok(Some(SocketAddr::new(from.to_canonical(), from_port)))
}

/// Decimal, without a sign or leading zeros.
fn port(text: &str) -> Result<u16, ProxyError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain).ok_or(ProxyError::Line)
}

fn binary(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    let local = match bytes.get(12) {
        None => return Ok(None),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(ProxyError::Unsupported),
    };
    let Some(family) = bytes.get(13).copied() else { return Ok(None) };
    let Some([high, low]) = bytes.get(14..FIXED_BYTES).and_then(|length| <[u8; 2]>::try_from(length).ok()) else {
        return Ok(None);
    };
    let behind = usize::from(u16::from_be_bytes([high, low]));
    let whole = behind.saturating_add(FIXED_BYTES);
    if whole > PROXY_HEADER_BYTES_MAX {
        return Err(ProxyError::TooLong);
    }
    let needed = match family {
        // Of LOCAL the rest is not looked at; an unknown family has no addresses.
        _ if local => 0,
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        _ => return Err(ProxyError::Unsupported),
    };
    if behind < needed {
        return Err(ProxyError::Short);
    }
    let Some(addresses) = bytes.get(FIXED_BYTES..whole) else { return Ok(None) };
    let client = if local { None } else { source(family, addresses) };
    Ok(Some(Header { client, bytes: whole }))
}

fn source(family: u8, addresses: &[u8]) -> Option<SocketAddr> {
    let (address, port) = match family {
        0x11 => (IpAddr::from(<[u8; 4]>::try_from(addresses.get(..4)?).ok()?), addresses.get(8..10)?),
        0x21 => (IpAddr::from(<[u8; 16]>::try_from(addresses.get(..16)?).ok()?), addresses.get(32..34)?),
        _ => return None,
    };
    Some(SocketAddr::new(address.to_canonical(), u16::from_be_bytes(<[u8; 2]>::try_from(port).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A header of version 2.
    fn binary_header(command: u8, family: u8, behind: &[u8]) -> Vec<u8> {
        let length = u16::try_from(behind.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, behind].concat()
    }

    fn addresses(client: SocketAddr) -> (u8, Vec<u8>) {
        let port = client.port().to_be_bytes();
        match client.ip() {
            IpAddr::V4(ip) => (0x11, [&ip.octets()[..], &[198, 51, 100, 1], &port, &[0x14, 0x66]].concat()),
            IpAddr::V6(ip) => (0x21, [&ip.octets()[..], &[9; 16], &port, &[0x14, 0x66]].concat()),
        }
    }

    fn line_of(client: SocketAddr) -> Vec<u8> {
        let (family, to) = if client.is_ipv4() { ("TCP4", "198.51.100.1") } else { ("TCP6", "2001:db8::5222") };
        format!("PROXY {family} {} {to} {} 5222\r\n", client.ip(), client.port()).into_bytes()
    }

    #[test]
    fn headers_say_where_the_client_is() {
        let of = |text: &str| Some(text.parse::<SocketAddr>().unwrap());
        let rows: [(&[u8], Option<SocketAddr>); 7] = [
            (b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 5222\r\n", of("192.0.2.1:56324")),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 0 65535\r\n", of("[2001:db8::1]:0")),
            (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:192.0.2.2 7 5222\r\n", of("192.0.2.1:7")),
            (b"PROXY UNKNOWN\r\n", None),
            (b"PROXY UNKNOWN whatever it says 1 2\r\n", None),
            (&binary_header(0x20, 0x00, &[]), None),
            (&binary_header(0x21, 0x00, b"\x04\x00\x01x"), None),
        ];
        for (bytes, client) in rows {
            let header = Header { client, bytes: bytes.len() };
            assert_eq!(parse(bytes), Ok(Some(header)), "{}", bytes.escape_ascii());
            assert_eq!(parse(&[bytes, b"<?xml"].concat()), Ok(Some(header)), "{}", bytes.escape_ascii());
        }
        let unix = binary_header(0x21, 0x31, &[0; 216]);
        assert_eq!(parse(&unix), Ok(Some(Header { client: None, bytes: 232 })));
        // The proxy's own connection is nobody else's, whatever addresses it names.
        let named = binary_header(0x20, 0x11, &[203, 0, 113, 9, 198, 51, 100, 1, 0, 9, 0, 9]);
        assert_eq!(parse(&named), Ok(Some(Header { client: None, bytes: 28 })));
        // Health checks of some proxies say LOCAL with a family, and with less than its addresses.
        assert_eq!(parse(&binary_header(0x20, 0x11, &[])), Ok(Some(Header { client: None, bytes: 16 })));
    }

    #[test]
    fn threat_090_what_is_no_header_is_refused() {
        let rows: [(&[u8], ProxyError); 22] = [
            (b"<", ProxyError::NotAHeader),
            (b"\x16\x03\x01", ProxyError::NotAHeader),
            (b"proxy TCP4 ", ProxyError::NotAHeader),
            (b"\r\n\r\n\0\r\nQUIT\r", ProxyError::NotAHeader),
            (b"PROXY \r\n", ProxyError::Line),
            (b"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n", ProxyError::Line),
            (b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", ProxyError::Line),
            (b"PROXY TCP4 192.0.2.1 nowhere 1 2\r\n", ProxyError::Line),
            (b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n", ProxyError::Line),
            (b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n", ProxyError::Line),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n", ProxyError::Line),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", ProxyError::Line),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n", ProxyError::Line),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", ProxyError::Line),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", ProxyError::Line),
            (b"PROXY UNKNOWN \xff\r\n", ProxyError::Line),
            (&[LINE_START, &[b'x'; PROXY_LINE_BYTES_MAX - 6]].concat(), ProxyError::Line),
            (&binary_header(0x11, 0x11, &[0; 12]), ProxyError::Unsupported),
            (&binary_header(0x22, 0x11, &[0; 12]), ProxyError::Unsupported),
            (&binary_header(0x21, 0x12, &[0; 12]), ProxyError::Unsupported),
            (&binary_header(0x21, 0x21, &[0; 35]), ProxyError::Short),
            (&binary_header(0x21, 0x11, &[0; PROXY_HEADER_BYTES_MAX]), ProxyError::TooLong),
        ];
        for (bytes, error) in rows {
            assert_eq!(parse(bytes), Err(error), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_line_has_its_longest_length_and_no_more() {
        let longest = [b"PROXY UNKNOWN ", &[b'x'; PROXY_LINE_BYTES_MAX - 16][..], b"\r\n"].concat();
        assert_eq!(longest.len(), PROXY_LINE_BYTES_MAX);
        assert_eq!(parse(&longest), Ok(Some(Header { client: None, bytes: PROXY_LINE_BYTES_MAX })));
        let longer = [b"PROXY UNKNOWN ", &[b'x'; PROXY_LINE_BYTES_MAX - 15][..], b"\r\n"].concat();
        assert_eq!(parse(&longer), Err(ProxyError::Line));
        // A header that is refused for its length is so before it has come.
        let long = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
        assert_eq!(parse(&long), Err(ProxyError::TooLong));
    }

    fn client() -> impl Strategy<Value = SocketAddr> {
        let v4 = any::<(Ipv4Addr, u16)>().prop_map(|(ip, port)| SocketAddr::new(ip.into(), port));
        let v6 = any::<(Ipv6Addr, u16)>().prop_map(|(ip, port)| SocketAddr::new(ip.into(), port));
        prop_oneof![v4, v6]
    }

    proptest! {
        /// Every address comes through in both versions, whatever follows, and no beginning of a header is one.
        #[test]
        fn addresses_come_through(client in client(), values in any::<[u8; 20]>(), rest in any::<[u8; 8]>()) {
            let (family, mut behind) = addresses(client);
            behind.extend_from_slice(&values);
            for header in [line_of(client), binary_header(0x21, family, &behind)] {
                let whole = [&header[..], &rest[..]].concat();
                let wanted = SocketAddr::new(client.ip().to_canonical(), client.port());
                prop_assert_eq!(parse(&whole), Ok(Some(Header { client: Some(wanted), bytes: header.len() })));
                for end in 0..header.len() {
                    prop_assert_eq!(parse(&header[..end]), Ok(None));
                }
            }
        }

        /// Whatever comes, in whatever pieces, the outcome is that of the whole, and it comes within the limit.
        #[test]
        fn any_bytes_have_one_outcome(start in 0usize..3, bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let whole = [[&b""[..], LINE_START, SIGNATURE][start], &bytes].concat();
            let first = (0..=whole.len()).find_map(|end| parse(&whole[..end]).transpose());
            prop_assert_eq!(first, parse(&whole).transpose());
            if let Ok(Some(header)) = parse(&whole) {
                prop_assert!(header.bytes <= whole.len().min(PROXY_HEADER_BYTES_MAX));
            }
        }
    }
}
