//! What an idle TLS session holds at the edge: `cargo bench -p hearth-benches --bench tls_memory`. 2,000 servers shake hands
//! with clients in memory, get and send 200 bytes, their clients are thrown away. Counted are what Rust code holds
//! and, by glibc's `mallinfo2`, that and what AWS-LC's C code holds, with the allocator's own headers. Without `--bench`,
//! as `cargo test` calls it, ten of each, and that nothing is left when they are gone.
#![allow(clippy::print_stdout, reason = "a table is what this program is for")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "fixed input")]

use aws_lc_rs::aead;
use hearth_benches::counting::{Counting, held_bytes};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, ConnectionTrafficSecrets, DigitallySignedStruct, ServerConfig,
    ServerConnection, SignatureScheme, SupportedProtocolVersion,
};
use std::any::Any;
use std::io::{Read, Write};
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const STANZA: [u8; 200] = [b'x'; 200];

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
        provider::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// How the server is set up; the default is as the edge does it.
#[derive(Clone, Copy)]
struct Setup {
    name: &'static str,
    make: fn(&Arc<ServerConfig>, &Arc<ClientConfig>) -> Box<dyn Any>,
    version: &'static SupportedProtocolVersion,
    suite: CipherSuite,
    alpn: bool,
    tickets: bool,
    fragment: Option<usize>,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            name: "unbuffered, as the edge has it",
            make: |server, client| Box::new(unbuffered(server, client)),
            version: &rustls::version::TLS13,
            suite: CipherSuite::TLS13_AES_256_GCM_SHA384,
            alpn: true,
            tickets: true,
            fragment: None,
        }
    }
}

fn setups() -> Vec<Setup> {
    let edge = Setup::default();
    vec![
        Setup { name: "buffered", make: |server, client| Box::new(buffered(server, client, None)), ..edge },
        Setup {
            name: "buffered, buffer limit 4 KiB",
            make: |server, client| Box::new(buffered(server, client, Some(4096))),
            ..edge
        },
        edge,
        Setup { name: "  AES-128-GCM", suite: CipherSuite::TLS13_AES_128_GCM_SHA256, ..edge },
        Setup { name: "  ChaCha20-Poly1305", suite: CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, ..edge },
        Setup { name: "  no tickets", tickets: false, ..edge },
        Setup { name: "  no ALPN", alpn: false, ..edge },
        Setup { name: "  fragments of 4 KiB", fragment: Some(4096), ..edge },
        Setup {
            name: "  TLS 1.2, AES-256-GCM",
            version: &rustls::version::TLS12,
            suite: CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            ..edge
        },
        Setup {
            name: "secrets only, rustls' kernel API",
            make: |server, client| Box::new(unbuffered(server, client).dangerous_into_kernel_connection().unwrap()),
            ..edge
        },
        Setup { name: "  and with keys of a record layer of ours", make: |s, c| Box::new(own_records(s, c)), ..edge },
        Setup {
            name: "  the same, ChaCha20-Poly1305",
            make: |s, c| Box::new(own_records(s, c)),
            suite: CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
            ..edge
        },
    ]
}

fn main() {
    let measure = std::env::args().any(|argument| argument == "--bench");
    let count = if measure { 2_000 } else { 10 };
    println!("{:<44} {:>14} {:>14}", "bytes a session", "Rust", "with AWS-LC");
    for setup in setups() {
        let (server, client) = configs(setup);
        // What the first one sets up for all is not counted.
        drop((setup.make)(&server, &client));
        let mut held: Vec<Box<dyn Any>> = Vec::with_capacity(count);
        let (rust, all) = (held_bytes(), in_use());
        held.extend((0..count).map(|_| (setup.make)(&server, &client)));
        let each = |bytes: i64| bytes as f64 / count as f64;
        println!("{:<44} {:>14.0} {:>14.0}", setup.name, each(held_bytes() - rust), each(in_use() - all));
        assert!(each(held_bytes() - rust) > 100.0, "a session is not for nothing");
        drop(held);
        // What is left is the configurations' and the vector's.
        assert!(held_bytes() < rust, "{}: {} bytes are left", setup.name, held_bytes() - rust);
    }
    println!(
        "size of rustls' own struct: buffered {}, unbuffered {}",
        size_of::<ServerConnection>(),
        size_of::<UnbufferedServerConnection>()
    );
}

/// Bytes of all that malloc gave away, by Rust or C.
fn in_use() -> i64 {
    // SAFETY: it reads the allocator's own numbers.
    #[allow(unsafe_code, reason = "no safe way to ask glibc")]
    let info = unsafe { libc::mallinfo2() };
    i64::try_from(info.uordblks + info.hblkhd).unwrap()
}

fn configs(setup: Setup) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let mut suites = CryptoProvider {
        kx_groups: vec![provider::kx_group::X25519, provider::kx_group::SECP256R1],
        ..provider::default_provider()
    };
    suites.cipher_suites.retain(|suite| suite.suite() == setup.suite);
    let suites = Arc::new(suites);
    let made = rcgen::generate_simple_self_signed(vec!["test.example".into()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut server = ServerConfig::builder_with_provider(suites.clone())
        .with_protocol_versions(&[setup.version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    // Else TLS 1.2 keeps the newest 256.
    server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    server.max_fragment_size = setup.fragment;
    server.enable_secret_extraction = true;
    server.send_tls13_tickets = usize::from(setup.tickets);
    if setup.tickets {
        server.ticketer = provider::Ticketer::new().unwrap();
    }
    let mut client = ClientConfig::builder_with_provider(suites)
        .with_protocol_versions(&[setup.version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    client.resumption = rustls::client::Resumption::disabled();
    if setup.alpn {
        server.alpn_protocols = vec![b"xmpp-client".to_vec()];
        client.alpn_protocols = vec![b"xmpp-client".to_vec()];
    }
    (Arc::new(server), Arc::new(client))
}

fn client(config: &Arc<ClientConfig>) -> ClientConnection {
    let mut client = ClientConnection::new(config.clone(), "test.example".try_into().unwrap()).unwrap();
    client.writer().write_all(&STANZA).unwrap();
    client
}

fn take(client: &mut ClientConnection, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        client.read_tls(&mut bytes).unwrap();
        client.process_new_packets().unwrap();
    }
}

fn finish(client: &mut ClientConnection) {
    let mut got = [0; STANZA.len()];
    client.reader().read_exact(&mut got).unwrap();
    assert_eq!(got, STANZA, "the session works");
}

fn buffered(server: &Arc<ServerConfig>, config: &Arc<ClientConfig>, limit: Option<usize>) -> ServerConnection {
    let mut client = client(config);
    let mut server = ServerConnection::new(server.clone()).unwrap();
    server.set_buffer_limit(limit);
    let mut got = 0;
    while got < STANZA.len() || server.is_handshaking() {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut bytes = &bytes[..];
        while !bytes.is_empty() {
            server.read_tls(&mut bytes).unwrap();
            server.process_new_packets().unwrap();
        }
        got += server.reader().read(&mut [0; 1024]).unwrap_or(0);
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        take(&mut client, &bytes);
    }
    let mut bytes = Vec::new();
    server.writer().write_all(&STANZA).unwrap();
    while server.wants_write() {
        server.write_tls(&mut bytes).unwrap();
    }
    take(&mut client, &bytes);
    finish(&mut client);
    server
}

fn unbuffered(server: &Arc<ServerConfig>, config: &Arc<ClientConfig>) -> UnbufferedServerConnection {
    let mut client = client(config);
    let mut server = UnbufferedServerConnection::new(server.clone()).unwrap();
    let (mut got, mut input) = (0, Vec::new());
    while got < STANZA.len() || server.is_handshaking() {
        while client.wants_write() {
            client.write_tls(&mut input).unwrap();
        }
        let mut bytes = Vec::new();
        got += step(&mut server, &mut input, &mut bytes);
        take(&mut client, &bytes);
    }
    let ConnectionState::WriteTraffic(mut traffic) = server.process_tls_records(&mut []).state.unwrap() else {
        unreachable!("the handshake is over")
    };
    let mut bytes = vec![0; 1024];
    let written = traffic.encrypt(&STANZA, &mut bytes).unwrap_or_else(|error: EncryptError| unreachable!("{error:?}"));
    take(&mut client, &bytes[..written]);
    finish(&mut client);
    server
}

/// Lets the server see what is there; gives how many bytes of the client it got.
fn step(server: &mut UnbufferedServerConnection, input: &mut Vec<u8>, out: &mut Vec<u8>) -> usize {
    let mut got = 0;
    loop {
        let UnbufferedStatus { mut discard, state } = server.process_tls_records(input);
        let mut blocked = false;
        match state.unwrap() {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record.unwrap();
                    discard += record.discard;
                    got += record.payload.len();
                }
            }
            ConnectionState::EncodeTlsData(mut data) => {
                let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) else {
                    unreachable!("it has some")
                };
                let start = out.len();
                out.resize(start + size.required_size, 0);
                data.encode(&mut out[start..]).unwrap();
            }
            ConnectionState::TransmitTlsData(data) => data.done(),
            _ => blocked = true,
        }
        input.drain(..discard);
        if blocked {
            return got;
        }
    }
}

/// What a record layer of our own would hold: rustls for key updates and tickets, two keys, two nonces, two counts.
fn own_records(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> Box<dyn Any> {
    let (secrets, rest) = unbuffered(server, client).dangerous_into_kernel_connection().unwrap();
    let key = |secrets: ConnectionTrafficSecrets| match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (aead_key(&aead::AES_128_GCM, key.as_ref()), iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (aead_key(&aead::AES_256_GCM, key.as_ref()), iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
            (aead_key(&aead::CHACHA20_POLY1305, key.as_ref()), iv)
        }
        _ => unreachable!("no suite of others is offered"),
    };
    let (tx, rx) = (secrets.tx, secrets.rx);
    Box::new((rest, tx.0, key(tx.1), rx.0, key(rx.1)))
}

fn aead_key(algorithm: &'static aead::Algorithm, key: &[u8]) -> aead::LessSafeKey {
    aead::LessSafeKey::new(aead::UnboundKey::new(algorithm, key).unwrap())
}
