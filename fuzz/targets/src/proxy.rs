//! Headers of proxies (PROXY protocol, versions 1 and 2).

use hearth_connmgr::limits::{PROXY_HEADER_BYTES_MAX, PROXY_LINE_BYTES_MAX};
use hearth_connmgr::proxy::{Header, ProxyError, parse};
use std::net::IpAddr;

/// What came of the bytes does not depend on the pieces they came in, ends within the limits, and the address of a
/// header, written anew as a line, is read as the same.
pub fn proxy(data: &[u8]) {
    let whole = parse(data);
    let first = (0..=data.len()).find_map(|end| parse(&data[..end]).transpose());
    assert_eq!(first, whole.transpose(), "cut");
    match first {
        None => assert!(data.len() < PROXY_HEADER_BYTES_MAX, "undecided for ever"),
        Some(Err(error)) => {
            let looks_like_one = data.starts_with(b"PROXY ") || data.starts_with(b"\r\n\r\n\0\r\nQUIT\n");
            assert_eq!(error == ProxyError::NotAHeader, !looks_like_one, "{error}");
        }
        Some(Ok(Header { client, bytes })) => {
            assert!(bytes <= data.len().min(PROXY_HEADER_BYTES_MAX));
            assert!(data[0] != b'P' || bytes <= PROXY_LINE_BYTES_MAX);
            let Some(client) = client else { return };
            let (family, to) = if client.is_ipv4() { ("TCP4", "192.0.2.1") } else { ("TCP6", "2001:db8::1") };
            assert!(matches!(client.ip(), IpAddr::V4(_)) || client.ip().to_canonical() == client.ip());
            let line = format!("PROXY {family} {} {to} {} 5222\r\n", client.ip(), client.port());
            assert_eq!(parse(line.as_bytes()), Ok(Some(Header { client: Some(client), bytes: line.len() })));
        }
    }
}
