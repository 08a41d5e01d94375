//! STARTTLS and direct TLS over sockets, by a rustls client.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a fixture fails its test")]
#![allow(clippy::disallowed_methods, reason = "the world around an edge has threads and clocks")]

mod common;

use common::{Core, Edge, HEADER, PATIENCE, Peer, Rules, Seen};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

struct Secured(StreamOwned<ClientConnection, TcpStream>);

impl Read for Secured {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Secured {
    fn write(&mut self, from: &[u8]) -> std::io::Result<usize> {
        self.0.write(from)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl common::Pipe for Secured {
    fn finish(&mut self, last: &[u8]) {
        self.0.conn.writer().write_all(last).unwrap();
        self.0.conn.send_close_notify();
        self.0.flush().unwrap();
    }
}

/// Channel binding data: `tls-exporter`, `tls-server-end-point`.
type Bound = (Option<Vec<u8>>, Option<Vec<u8>>);

/// Shakes hands on a connected socket; the peer, and what its own end is bound to.
fn secure(
    mut socket: TcpStream,
    version: &'static rustls::SupportedProtocolVersion,
    alpn: &[&[u8]],
) -> std::io::Result<(Peer, Bound)> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let mut tls = ClientConnection::new(Arc::new(config), "test.example".try_into().unwrap()).unwrap();
    while tls.is_handshaking() {
        tls.complete_io(&mut socket)?;
    }
    let exporter = tls.export_keying_material(vec![0; 32], b"EXPORTER-Channel-Binding", Some(b"")).unwrap();
    // The self-signed certificate's signature is ECDSA with SHA-256 (RFC 5929 §4.1).
    let certificate = &tls.peer_certificates().unwrap()[0];
    let end_point = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate).as_ref().to_vec();
    Ok((Peer::over(Secured(StreamOwned::new(tls, socket))), (Some(exporter), Some(end_point))))
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sends `text` on a plain socket and reads until `wanted`.
fn plain(socket: &mut TcpStream, text: &str, wanted: &str) -> String {
    socket.write_all(text.as_bytes()).unwrap();
    let mut got = String::new();
    let mut chunk = [0; 4096];
    while !got.contains(wanted) {
        match socket.read(&mut chunk).unwrap() {
            0 => panic!("end of stream; wanted {wanted:?}, got {got:?}"),
            n => got.push_str(std::str::from_utf8(&chunk[..n]).unwrap()),
        }
    }
    got
}

const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

fn authenticated_with(core: &Core) -> (Bound, bool) {
    match core.wait("Authenticate", |seen| matches!(seen, Seen::Authenticate { .. })) {
        Seen::Authenticate { bound, clear, .. } => (bound, clear),
        _ => unreachable!(),
    }
}

#[test]
fn starttls_is_required_and_bound_to_the_login() {
    let (edge, core) = Edge::with_core(Rules::default(), |_| {});
    let mut socket = connect(edge.starttls);
    let offer = plain(&mut socket, HEADER, "</stream:features>");
    assert!(offer.contains("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>"), "{offer}");
    assert!(!offer.contains("mechanism"), "{offer}");
    plain(&mut socket, STARTTLS, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    let (mut peer, bound) = secure(socket, &rustls::version::TLS13, &[]).unwrap();
    peer.send(HEADER);
    let offer = peer.expect("</stream:features>");
    assert!(offer.contains("X-BOUND") && !offer.contains("starttls"), "{offer}");
    peer.login("desk");
    let (theirs, clear) = authenticated_with(&core);
    assert!(!clear);
    assert_eq!(theirs, bound);
    peer.send("<message to='a@test.example'><body>secret</body></message></stream:stream>");
    core.wait("stanza", |seen| matches!(seen, Seen::Stanza { .. }));
    assert!(peer.rest().ends_with("</stream:stream>"));
}

#[test]
fn direct_tls_with_and_without_alpn() {
    let (edge, core) = Edge::with_core(Rules::default(), |_| {});
    for alpn in [&[][..], &[&b"xmpp-client"[..]]] {
        let (mut peer, bound) = secure(connect(edge.direct), &rustls::version::TLS13, alpn).unwrap();
        peer.send(HEADER);
        assert!(peer.expect("</stream:features>").contains("X-BOUND"));
        peer.login("desk");
        assert_eq!(authenticated_with(&core).0, bound);
    }
    assert!(secure(connect(edge.direct), &rustls::version::TLS13, &[b"h2"]).is_err());
}

#[test]
fn tls_1_2_with_the_extended_master_secret_is_bound_as_well() {
    let (edge, core) = Edge::with_core(Rules::default(), |_| {});
    let (mut peer, bound) = secure(connect(edge.direct), &rustls::version::TLS12, &[]).unwrap();
    peer.send(HEADER);
    assert!(peer.expect("</stream:features>").contains("X-BOUND"));
    peer.login("desk");
    assert_eq!(authenticated_with(&core), (bound, false));
}

#[test]
fn large_stanzas_pass_both_ways_inside_tls() {
    use hearth_wire::stanza::{Stanza, StanzaKind, StanzaType};
    let (edge, core) = Edge::with_core(Rules::default(), |_| {});
    let (mut peer, _) = secure(connect(edge.direct), &rustls::version::TLS13, &[]).unwrap();
    peer.send(HEADER);
    peer.expect("</stream:features>");
    peer.login("desk");
    let body = "0123456789".repeat(20_000);
    peer.send(&format!("<message><body>{body}</body></message>"));
    core.wait("stanza", |seen| matches!(seen, Seen::Stanza { xml, .. } if xml.contains(&body)));
    let mut tree = hearth_wire::tree::Builder::new();
    tree.leaf(None, "body", &body);
    let payload = tree.finish();
    let stanza = Stanza { payload: &payload, ..Stanza::new(StanzaKind::Message, StanzaType::Chat) };
    core.deliver("user@test.example/desk", &stanza);
    peer.expect(&format!("<body>{body}</body></message>"));
    core.wait("report", |seen| matches!(seen, Seen::Written { entry: 1, .. }));
}

#[test]
fn threat_013_nothing_in_the_clear_is_taken_for_encrypted() {
    let (edge, core) = Edge::with_core(Rules::default(), |_| {});
    for behind in
        ["<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHVzZXIAc2VjcmV0</auth>", "\n<", "<"]
    {
        let mut peer = Peer::connect(edge.starttls);
        peer.send(HEADER);
        peer.expect("</stream:features>");
        peer.send(&format!("{STARTTLS}{behind}"));
        let rest = peer.rest();
        assert!(rest.starts_with("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"), "{behind:?}: {rest}");
    }
    // In two segments it falls into the handshake, which fails.
    let mut peer = Peer::connect(edge.starttls);
    peer.send(HEADER);
    peer.expect("</stream:features>");
    peer.send(STARTTLS);
    peer.expect("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    let mut socket = connect(edge.starttls);
    plain(&mut socket, HEADER, "</stream:features>");
    plain(&mut socket, STARTTLS, "<proceed");
    socket.write_all(HEADER.as_bytes()).unwrap();
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains("stream"), "{rest:?}");
    assert_eq!(core.count(|seen| matches!(seen, Seen::Authenticate { .. })), 0);
}

#[test]
fn a_closing_notice_does_not_overtake_what_waits_for_credit() {
    use common::GENERATION;
    use hearth_wire::to_edge::{Settled, ToEdge};
    let (edge, core) = Edge::with_core(Rules { session_credit: 300, settle: false, ..Rules::default() }, |_| {});
    let (mut peer, _) = secure(connect(edge.direct), &rustls::version::TLS13, &[]).unwrap();
    peer.send(HEADER);
    peer.expect("</stream:features>");
    peer.login("hasty");
    let counter = core.counter("user@test.example/hasty");
    let all: String = (1..=60).map(|n| format!("<message id='{n}'><body>0123456789</body></message>")).collect();
    peer.finish(&all);
    let mut credit = 300;
    for number in 1..=60 {
        core.wait("stanza", |seen| matches!(seen, Seen::Stanza { number: n, .. } if *n == number));
        credit += 100;
        core.send(&ToEdge::Settled(Settled { counter, generation: GENERATION, number, credit }));
    }
    core.wait("end", |seen| matches!(seen, Seen::Closed { bound: true, clean: false, .. }));
}

/// A connection from an address of this machine.
fn connect_from(from: &str, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from.parse().unwrap(), 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A crowd behind one address gets in, later; a flood from there is not waited for; somebody elsewhere notices neither.
#[test]
fn threat_015_handshakes_of_one_address_take_turns() {
    let (edge, _core) = Edge::with_core(Rules::default(), |config| {
        config.event_loops = 1;
        config.handshakes_per_address_s = 20;
        config.handshakes_per_address_burst = 5;
        config.loopback_is_bounded = true;
    });
    let began = Instant::now();
    let took = std::thread::scope(|scope| {
        let one = |_| {
            scope.spawn(|| {
                let (mut peer, _) =
                    secure(connect_from("127.0.0.2", edge.direct), &rustls::version::TLS13, &[]).expect("in its turn");
                peer.send(HEADER);
                peer.expect("</stream:features>");
                began.elapsed()
            })
        };
        let crowd: Vec<_> = (0..25).map(one).collect();
        let mut took: Vec<_> = crowd.into_iter().map(|one| one.join().unwrap()).collect();
        took.sort();
        took
    });
    // Twenty of them a twentieth of a second apart.
    assert!(took[24] >= Duration::from_millis(950), "{took:?}");
    // Many more than may wait, and none of them goes on.
    let flood: Vec<TcpStream> = (0..600)
        .map(|_| {
            let mut socket = connect_from("127.0.0.2", edge.direct);
            socket.write_all(&[22, 3, 1]).unwrap();
            socket
        })
        .collect();
    flood.iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
    let gone = || {
        flood
            .iter()
            .filter(|s| !matches!(s.peek(&mut [0]), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock))
            .count()
    };
    let end = Instant::now() + PATIENCE;
    while gone() < 250 {
        assert!(Instant::now() < end, "{} are gone", gone());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(gone() < 350, "those who may wait still do: {}", gone());
    let began = Instant::now();
    secure(connect_from("127.0.0.3", edge.direct), &rustls::version::TLS13, &[]).expect("at once");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}
