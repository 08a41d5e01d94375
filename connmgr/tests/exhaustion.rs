//! How much and how fast one client or one address may, and whose address it is behind a proxy.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a fixture fails its test")]
#![allow(clippy::disallowed_methods, reason = "the world around an edge has threads and clocks")]

mod common;

use common::{Edge, HEADER, PATIENCE, Peer, Rules, Seen};
use hearth_connmgr::Config;
use hearth_connmgr::network::Network;
use hearth_connmgr::rate::Rates;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// The listener `edge.clear` takes PROXY headers from this machine, the others do not.
fn behind_a_proxy(config: &mut Config) {
    config.listeners[1].proxy_from = vec![Network::parse("127.0.0.0/8").unwrap()];
}

/// What the edge answers until it closes, if it does so in time.
fn answer(socket: &mut TcpStream) -> String {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    match socket.read_to_end(&mut bytes) {
        Err(e) if e.kind() != std::io::ErrorKind::ConnectionReset => panic!("{e}"),
        _ => String::from_utf8(bytes).unwrap(),
    }
}

/// A client whose proxy says that it is `client`, until its features have come.
fn proxied(edge: &Edge, client: &str) -> Peer {
    let mut peer = Peer::connect(edge.clear);
    peer.send(&format!("PROXY TCP4 {client} 127.0.0.1 40000 5222\r\n{HEADER}"));
    peer.expect("</stream:features>");
    peer
}

#[test]
fn threat_090_a_trusted_proxy_names_the_client() {
    let (edge, core) = Edge::with_core(Rules::default(), behind_a_proxy);
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0f\x7f\x00\x00\x09\x7f\x00\x00\x01\x9c\x40\x14\x66\x04\x00\x00";
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
    let rows: [(&[u8], &str); 4] = [
        (b"PROXY TCP4 127.0.0.9 127.0.0.1 40000 5222\r\n", "127.0.0.9"),
        (v2, "127.0.0.9"),
        (local, "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    ];
    for (header, client) in rows {
        // In one piece with what follows, and byte by byte.
        for pieces in [1, header.len()] {
            let mut socket = TcpStream::connect(edge.clear).unwrap();
            socket.set_nodelay(true).unwrap();
            for piece in header.chunks(header.len() / pieces) {
                socket.write_all(piece).unwrap();
                if pieces > 1 {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut peer = Peer::over(socket);
            peer.send(HEADER);
            peer.expect("</stream:features>");
            peer.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHVzZXIAc2VjcmV0</auth>");
            let seen = core.wait("login", |seen| matches!(seen, Seen::Authenticate { .. }));
            let Seen::Authenticate { peer: named, clear, .. } = seen else { unreachable!() };
            assert_eq!((named.to_string().as_str(), clear), (client, true), "{}", header.escape_ascii());
        }
    }
    // Who is elsewhere is not on this machine because its proxy is: no login without TLS.
    let mut peer = Peer::connect(edge.clear);
    peer.send(&format!("PROXY TCP4 192.0.2.1 127.0.0.1 40000 5222\r\n{HEADER}"));
    let features = peer.expect("</stream:features>");
    assert!(features.contains("<required/>") && !features.contains("PLAIN"), "{features}");
}

#[test]
fn threat_090_a_header_from_elsewhere_is_refused() {
    let (edge, core) = Edge::with_core(Rules::default(), |_| {});
    for address in [edge.starttls, edge.clear] {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.write_all(format!("PROXY TCP4 127.0.0.9 127.0.0.1 40000 5222\r\n{HEADER}").as_bytes()).unwrap();
        let text = answer(&mut socket);
        assert!(text.contains("<not-well-formed ") && !text.contains("features"), "{text}");
    }
    let mut socket = TcpStream::connect(edge.direct).unwrap();
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x09\x7f\x00\x00\x01\x9c\x40\x14\x66";
    socket.write_all(v2).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest);
    assert!(rest.len() < 16, "at most an alert of TLS: {rest:?}");
    assert_eq!(core.count(|seen| matches!(seen, Seen::Authenticate { .. })), 0);
}

#[test]
fn threat_090_who_owes_a_header_is_told_nothing() {
    let (edge, _core) = Edge::with_core(Rules::default(), behind_a_proxy);
    for text in [HEADER, "PROXY TCP4 nobody 127.0.0.1 1 2\r\n", "\r\n\r\n\0\r\nQUIT\n\x22\x11"] {
        let mut socket = TcpStream::connect(edge.clear).unwrap();
        socket.write_all(text.as_bytes()).unwrap();
        assert_eq!(answer(&mut socket), "", "{text:?}");
    }
    let start = Instant::now();
    let mut socket = TcpStream::connect(edge.clear).unwrap();
    socket.write_all(b"PROXY TCP4").unwrap();
    assert_eq!(answer(&mut socket), "");
    let took = start.elapsed();
    assert!((4..8).contains(&took.as_secs()), "{took:?}");
    // A stopping edge ends such a connection at once.
    let mut socket = TcpStream::connect(edge.clear).unwrap();
    socket.write_all(b"PROXY").unwrap();
    std::thread::sleep(Duration::from_millis(300));
    edge.stop();
    assert_eq!(answer(&mut socket), "");
}

#[test]
fn one_address_has_its_number_of_sockets_and_others_come_in() {
    let (edge, _core) = Edge::with_core(Rules::default(), |config| {
        behind_a_proxy(config);
        config.connections_per_address_max = 3;
    });
    let mut here: Vec<Peer> = (0..3).map(|_| proxied(&edge, "192.0.2.1")).collect();
    let mut refused = TcpStream::connect(edge.clear).unwrap();
    refused.write_all(format!("PROXY TCP4 192.0.2.1 127.0.0.1 4 5222\r\n{HEADER}").as_bytes()).unwrap();
    assert_eq!(answer(&mut refused), "");
    proxied(&edge, "192.0.2.2");
    here.pop().unwrap().send("</stream:stream>");
    let start = Instant::now();
    loop {
        let mut peer = TcpStream::connect(edge.clear).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        peer.write_all(format!("PROXY TCP4 192.0.2.1 127.0.0.1 5 5222\r\n{HEADER}").as_bytes()).unwrap();
        let mut first = [0; 64];
        if peer.read(&mut first).is_ok_and(|read| read > 0) {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "there is room again");
    }
    // Loopback is not counted, whoever says it.
    let _all: Vec<Peer> = (0..9).map(|_| proxied(&edge, "127.0.0.1")).collect();
}

#[test]
fn threat_004_who_is_too_fast_is_read_later_and_nobody_else_is() {
    let rates = Rates { bytes_per_s: 100_000, stanzas_per_s: 100, burst_s: 1 };
    let (edge, core) = Edge::with_core(Rules::default(), |config| config.bucket = rates.into());
    let mut fast = Peer::bound(&edge, "fast");
    let mut other = Peer::bound(&edge, "other");
    let (count, start) = (400u32, Instant::now());
    let text: String = (1..=count).map(|n| format!("<message id='{n}'><body>x</body></message>")).collect();
    fast.send(&text);
    let of = core.counter("user@test.example/fast");
    let (mut times, mut asked, mut worst) = (Vec::new(), None, Duration::ZERO);
    while times.len() < count as usize {
        let seen = core.wait("stanza", |seen| matches!(seen, Seen::Stanza { .. }));
        let Seen::Stanza { counter, number, .. } = seen else { unreachable!() };
        if counter != of {
            worst = worst.max(asked.take().map_or(Duration::ZERO, |asked: Instant| asked.elapsed()));
            continue;
        }
        times.push(start.elapsed());
        assert_eq!(number, times.len() as u64, "none is lost");
        if times.len() % 40 == 0 && asked.is_none() {
            asked = Some(Instant::now());
            other.send("<message><body>y</body></message>");
        }
    }
    assert!(worst > Duration::ZERO, "the other was heard meanwhile");
    // A second's worth at once, then a hundred a second.
    assert!(times[99] < Duration::from_millis(900), "the burst: {:?}", times[99]);
    let took = times[times.len() - 1];
    assert!((2_500..4_500).contains(&took.as_millis()), "{took:?}");
    assert!(worst < Duration::from_millis(500), "{worst:?}");
    fast.send("<message id='end'/></stream:stream>");
    fast.expect("</stream:stream>");
}

#[test]
fn threat_004_an_honest_burst_is_not_delayed() {
    let (edge, core) = Edge::with_core(Rules::default(), |_| {});
    let mut peer = Peer::bound(&edge, "desk");
    let start = Instant::now();
    let count = 500;
    peer.send(&"<presence to='a@test.example'/>".repeat(count));
    for _ in 0..count {
        core.wait("stanza", |seen| matches!(seen, Seen::Stanza { .. }));
    }
    assert!(start.elapsed() < Duration::from_millis(1_500), "{:?}", start.elapsed());
}
