//! Hostile TLS over real sockets: versions and ciphers that are not spoken, names that nobody has, and what a stranger
//! inside TLS costs. Rows of `THREATS.md`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use common::bystander::{Bystander, secured};
use common::{Hearth, Options, eventually};
use hearth_tools::client::Client;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

/// ECDHE with AEAD, and a signature of ECDSA as the self-signed certificate has.
const GOOD: &[u16] = &[0xc02b, 0xc02c, 0xcca9];

/// A ClientHello by hand: the versions of the record and of the message, suites, compression methods.
fn hello(record: u16, version: u16, suites: &[u16], compression: &[u8]) -> Vec<u8> {
    let part = |bytes: &[u8], width: usize| {
        let len = u32::try_from(bytes.len()).expect("short").to_be_bytes();
        [&len[4 - width..], bytes].concat()
    };
    let suites: Vec<u8> = suites.iter().flat_map(|suite| suite.to_be_bytes()).collect();
    let extensions: Vec<u8> = [
        (0x000a, part(&[0, 0x1d, 0, 0x17], 2)), // groups: x25519, secp256r1
        (0x000b, part(&[0], 1)),                // points: uncompressed
        (0x000d, part(&[4, 3, 5, 3, 8, 4, 4, 1, 2, 1], 2)),
        (0x0017, Vec::new()), // extended master secret
    ]
    .into_iter()
    .flat_map(|(kind, data): (u16, Vec<u8>)| [&kind.to_be_bytes()[..], &part(&data, 2)].concat())
    .collect();
    let body = [
        &version.to_be_bytes()[..],
        &[7; 32],
        &part(&[], 1),
        &part(&suites, 2),
        &part(compression, 1),
        &part(&extensions, 2),
    ]
    .concat();
    let message = [&[1][..], &part(&body, 3)].concat();
    [&[22][..], &record.to_be_bytes(), &part(&message, 2)].concat()
}

/// Kind and first byte of the message with which a server answers: 22 and 2 is a ServerHello, 21 an alert.
fn answer(address: SocketAddr, hello: &[u8]) -> Option<(u8, u8)> {
    let mut socket = TcpStream::connect(address).expect("connects");
    socket.set_read_timeout(Some(common::DEADLINE)).expect("a deadline");
    socket.write_all(hello).expect("sends");
    let mut header = [0; 6];
    socket.read_exact(&mut header).ok()?;
    Some((header[0], header[5]))
}

#[test]
fn threat_016_old_versions_and_weak_ciphers_are_not_spoken() {
    let hearth = Hearth::start(&Options::default());
    let mut bystander = Bystander::new(&hearth);
    // So that a refusal below is for what is wrong with it.
    assert_eq!(answer(hearth.direct, &hello(0x301, 0x303, GOOD, &[0])), Some((22, 2)), "a good one");
    let with = |suites: &[u16]| hello(0x301, 0x303, suites, &[0]);
    for (name, bytes) in [
        ("SSL 3.0", hello(0x300, 0x300, GOOD, &[0])),
        ("TLS 1.0", hello(0x301, 0x301, GOOD, &[0])),
        ("TLS 1.1", hello(0x302, 0x302, GOOD, &[0])),
        ("no encryption", with(&[0x0000, 0x0001, 0x0002, 0x003b, 0xc006, 0xc010])),
        ("nobody's key", with(&[0x0018, 0x001b, 0x0034, 0x006c, 0xc018])),
        ("export ciphers", with(&[0x0003, 0x0006, 0x0008, 0x0014])),
        ("RC4", with(&[0x0004, 0x0005, 0xc007, 0xc011])),
        ("3DES", with(&[0x000a, 0x0016, 0xc008, 0xc012])),
        ("CBC", with(&[0xc009, 0xc00a, 0xc023, 0xc024, 0xc013, 0xc014])),
        ("no forward secrecy", with(&[0x002f, 0x0035, 0x009c, 0x009d])),
        ("finite fields", with(&[0x0033, 0x0039, 0x009e, 0x009f])),
        ("no suite", with(&[])),
        // Threats, row 11, and CRIME: a client that wants nothing but deflate.
        ("compression only", hello(0x301, 0x303, GOOD, &[1])),
    ] {
        let got = answer(hearth.direct, &bytes);
        assert!(matches!(got, None | Some((21, _))), "{name}: {got:?}");
        bystander.is_served(name);
    }
    // SSL 2.0 has other records: the version follows the length and the message's kind.
    let old = [&[0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 16, 1, 0, 0x80, 7, 0, 0xc0][..], &[9; 31]].concat();
    assert!(matches!(answer(hearth.direct, &old), None | Some((21, _))), "SSL 2.0");
    bystander.is_served("SSL 2.0");
}

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

type Connection = rustls::StreamOwned<ClientConnection, TcpStream>;

/// A finished handshake of a client that believes everything, for this name.
fn believing(address: SocketAddr, name: &str, version: &'static rustls::SupportedProtocolVersion) -> Connection {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    let name = name.to_owned().try_into().expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
    let socket = TcpStream::connect(address).expect("connects");
    socket.set_read_timeout(Some(common::DEADLINE)).expect("a deadline");
    let mut stream = rustls::StreamOwned::new(connection, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock).expect("a handshake");
    }
    stream
}

/// Nobody learns from TLS which domains there are: a name that has no certificate is shown the first one, and the stream
/// inside says that the domain is not served.
#[test]
fn threat_015_a_name_without_a_certificate_is_answered_as_any() {
    let hearth = Hearth::start(&Options::default());
    let mut bystander = Bystander::new(&hearth);
    let shown = |stream: &Connection| stream.conn.peer_certificates().expect("a certificate")[0].to_vec();
    let usual = shown(&believing(hearth.direct, "example.org", &rustls::version::TLS13));
    let long = format!("{}.example", ["a".repeat(63).as_str(); 3].join("."));
    for name in ["nobody.example", "EXAMPLE.ORG", "127.0.0.1", "::1", "xn--nda.example", &long] {
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            let mut stream = believing(hearth.direct, name, version);
            assert!(shown(&stream) == usual, "{name}");
            let header = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
                          version='1.0' to='nobody.example'>";
            stream.write_all(header.as_bytes()).expect("sends");
            let mut said = String::new();
            let _ = stream.read_to_string(&mut said);
            assert!(said.contains("<host-unknown"), "{name}: {said}");
        }
        bystander.is_served(name);
    }
}

/// Row 15, TLS 1.3: keys renewed again and again, alone and with a space between.
#[test]
fn threat_015_a_flood_of_key_updates_ends_the_connection() {
    let hearth = Hearth::start(&Options::default());
    let mut bystander = Bystander::new(&hearth);
    for between in ["", " "] {
        let mut stream = believing(hearth.direct, "example.org", &rustls::version::TLS13);
        let mut updates = 0;
        let ended = loop {
            stream.conn.refresh_traffic_keys().expect("TLS 1.3");
            updates += 1;
            if stream.write_all(between.as_bytes()).and_then(|()| stream.flush()).is_err() {
                break true;
            }
            stream.sock.set_nonblocking(true).expect("a socket");
            let over =
                matches!(stream.conn.read_tls(&mut stream.sock), Ok(0)) || stream.conn.process_new_packets().is_err();
            stream.sock.set_nonblocking(false).expect("a socket");
            if over || updates >= 2_000 {
                break over;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        };
        assert!(ended && updates < 500, "{between:?}: {updates} key updates, and it goes on: {}", !ended);
        bystander.is_served("key updates");
    }
}

fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its size");
    line.trim_end_matches("kB").trim().parse::<u64>().expect("a number") * 1024
}

/// Row 1, inside TLS and in the middle of a login: a long first message that was challenged, then 8 KiB of a stanza that
/// does not end.
#[test]
fn threat_001_a_stranger_inside_tls_costs_what_it_says() {
    const STREAMS: u64 = 400;
    const BYTES_MAX: u64 = 16 * 1024;
    let hearth = Hearth::start(&Options::default());
    let mut bystander = Bystander::new(&hearth);
    let (edge, core) = (hearth.part("edge").expect("an edge"), hearth.part("core").expect("a core"));
    let sasl = "urn:ietf:params:xml:ns:xmpp-sasl";
    let first = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(format!(
            "n,,n=grace,r={},x={}",
            "r".repeat(512),
            "x".repeat(5_000)
        ))
    };
    let auth = format!("<auth xmlns='{sasl}' mechanism='SCRAM-SHA-256'>{first}</auth>");
    let open = |_| {
        let mut client = secured(&hearth);
        client.send(&auth).expect("sends");
        let told = client.receive_element().expect("is told");
        assert!(told.is(sasl, "challenge") || told.is(sasl, "failure"), "{told}");
        client.send(&format!("<response>{}", "x".repeat(8 * 1024 - 20))).expect("sends");
        client
    };
    let warm: Vec<Client> = (0..20).map(open).collect();
    bystander.is_served("the first ones");
    let before = [resident(edge), resident(core)];
    let streams: Vec<Client> = (0..STREAMS).map(open).collect();
    bystander.is_served("all of them");
    let each = [edge, core].map(resident);
    let each = [0, 1].map(|at| each[at].saturating_sub(before[at]) / STREAMS);
    eprintln!("{each:?} bytes of edge and core for each of {STREAMS} streams inside TLS");
    assert!(each.iter().all(|bytes| *bytes <= BYTES_MAX), "{each:?}");
    drop((warm, streams));
    eventually("they are gone", || {
        let open = std::fs::read_dir(format!("/proc/{edge}/fd")).expect("descriptors").count();
        (open < 64).then_some(())
    });
}
