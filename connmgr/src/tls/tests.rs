//! Against a rustls client, for any cut of the bytes.

use super::*;
use crate::config::SelfSigned;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use std::io::{Read, Write};

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
        crypto_provider().signature_verification_algorithms.supported_schemes()
    }
}

fn server() -> Arc<ServerConfig> {
    let folder = tempfile::tempdir().unwrap();
    let options = SelfSigned { folder: folder.path().to_owned(), domains: vec!["test.example".into()] };
    let config = crate::Config { self_signed: options, ..crate::Config::default() };
    server_config(&Arc::new(Certificates::load(&config, &crypto_provider(), 0).unwrap()), None).unwrap()
}

struct Options {
    version: &'static rustls::SupportedProtocolVersion,
    suite: Option<rustls::CipherSuite>,
    alpn: Vec<Vec<u8>>,
}

impl Default for Options {
    fn default() -> Options {
        Options { version: &rustls::version::TLS13, suite: None, alpn: Vec::new() }
    }
}

fn client_config(options: Options) -> ClientConfig {
    let mut provider = provider::default_provider();
    provider.cipher_suites.retain(|suite| options.suite.is_none_or(|only| suite.suite() == only));
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[options.version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.alpn_protocols = options.alpn;
    config
}

fn client(config: ClientConfig) -> ClientConnection {
    ClientConnection::new(Arc::new(config), "test.example".try_into().unwrap()).unwrap()
}

/// The server's side with the buffers a connection would have.
struct Server {
    tls: Rustls,
    kept: Vec<u8>,
    plain: Vec<u8>,
    wire: Vec<u8>,
    finished: Option<Protection>,
    closed: bool,
}

impl Server {
    fn new(config: &Arc<ServerConfig>) -> Server {
        Server {
            tls: Rustls::new(config).unwrap(),
            kept: Vec::new(),
            plain: Vec::new(),
            wire: Vec::new(),
            finished: None,
            closed: false,
        }
    }

    /// Feeds bytes in pieces of `cut`.
    fn feed(&mut self, bytes: &[u8], cut: usize) -> Result<(), TlsError> {
        for piece in bytes.chunks(cut) {
            self.kept.extend_from_slice(piece);
            let received = self.tls.receive(&mut self.kept, &mut self.plain, &mut self.wire)?;
            self.kept.drain(..received.used);
            assert!(received.finished.is_none() || self.finished.is_none(), "told once");
            self.finished = self.finished.or(received.finished);
            self.closed |= received.closed;
        }
        Ok(())
    }
}

/// What the client's own end of the connection is bound to. These certificates are signed with SHA-256.
fn bound(version: Version, client: &ClientConnection) -> Protection {
    let exporter = client.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).unwrap();
    let certificate = &client.peer_certificates().unwrap()[0];
    let end_point = EndPoint::of(certificate);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
    assert_eq!(end_point.as_ref().unwrap().as_bytes(), digest.as_ref());
    Protection { version, exporter: Some(exporter), end_point }
}

/// Passes bytes both ways until neither side has any.
fn talk(client: &mut ClientConnection, server: &mut Server, cut: usize) -> Result<(), TlsError> {
    loop {
        let mut out = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut out).unwrap();
        }
        let done = server.feed(&out, cut);
        let answer = std::mem::take(&mut server.wire);
        client.read_tls(&mut answer.as_slice()).unwrap();
        let _ = client.process_new_packets();
        done?;
        if out.is_empty() && answer.is_empty() {
            return Ok(());
        }
    }
}

#[test]
fn the_exporter_is_the_clients_for_both_hashes_and_any_cut() {
    let config = server();
    for suite in [
        rustls::CipherSuite::TLS13_AES_128_GCM_SHA256,
        rustls::CipherSuite::TLS13_AES_256_GCM_SHA384,
        rustls::CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    ] {
        for cut in [1, 7, 100_000] {
            let mut client = client(client_config(Options { suite: Some(suite), ..Options::default() }));
            let mut server = Server::new(&config);
            talk(&mut client, &mut server, cut).unwrap();
            assert_eq!(server.finished, Some(bound(Version::Tls13, &client)), "{suite:?} {cut}");
        }
    }
}

/// RFC 9266 §4.2, RFC 7627: a rustls client always asks for the extended master secret.
#[test]
fn tls_1_2_has_the_clients_exporter_too() {
    let config = server();
    for suite in [
        rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ] {
        for cut in [1, 7, 100_000] {
            let options = Options { version: &rustls::version::TLS12, suite: Some(suite), ..Options::default() };
            let mut client = client(client_config(options));
            let mut server = Server::new(&config);
            talk(&mut client, &mut server, cut).unwrap();
            assert_eq!(server.finished, Some(bound(Version::Tls12, &client)), "{suite:?} {cut}");
        }
    }
}

/// The same ClientHello, but that it does not know the extended master secret: the secret that would
/// follow gives no exporter.
#[test]
fn tls_1_2_without_the_extended_master_secret_has_none() {
    let mut client = client(client_config(Options { version: &rustls::version::TLS12, ..Options::default() }));
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    let at = hello.windows(4).position(|bytes| bytes == [0, 0x17, 0, 0]).unwrap();
    for extended in [true, false] {
        hello[at..at + 2].copy_from_slice(if extended { &[0, 0x17] } else { &[0x1a, 0x1a] });
        let mut server = Server::new(&server());
        server.feed(&hello, 100_000).unwrap();
        let found = server.tls.handshake.as_ref().unwrap().hello.unwrap();
        assert_eq!(found.extended_master_secret, extended);
        assert_eq!(found.random, server.wire[11..43]);
        rustls::KeyLog::log(&ExporterLog, "CLIENT_RANDOM", &[1; 32], &[2; 48]);
        let secret = Secret::take().unwrap();
        let suite = server.tls.connection.negotiated_cipher_suite();
        assert!(suite.is_some_and(|suite| suite.tls13().is_none()));
        assert_eq!(secret.exporter(Some(&found), suite).is_some(), extended);
        assert_eq!(secret.exporter(None, suite), None);
        for short in 0..server.wire.len().min(200) {
            let _ = ServerHello::read(&server.wire[..short]);
        }
    }
}

#[test]
fn resumption_has_its_own_exporter_and_the_certificate_of_before() {
    for (version, supported) in [(Version::Tls12, &rustls::version::TLS12), (Version::Tls13, &rustls::version::TLS13)] {
        let config = server();
        let client_config = Arc::new(client_config(Options { version: supported, ..Options::default() }));
        let mut seen = Vec::new();
        for round in 0..2 {
            let mut client = ClientConnection::new(client_config.clone(), "test.example".try_into().unwrap()).unwrap();
            let mut server = Server::new(&config);
            talk(&mut client, &mut server, 100_000).unwrap();
            let theirs = bound(version, &client);
            assert_eq!(server.finished, Some(theirs), "{version:?} {round}");
            assert_eq!(server.tls.resumed(), round == 1);
            seen.push(theirs.exporter);
        }
        assert_ne!(seen[0], seen[1]);
    }
}

/// The certificate that a client was shown is the one it is told of, whatever the name it asked for; and
/// what one connection leaves unfinished is not the next one's.
#[test]
fn the_end_point_is_the_certificate_shown() {
    let folder = tempfile::tempdir().unwrap();
    let make = |domain: &str| {
        let options = SelfSigned { folder: folder.path().join(domain), domains: vec![domain.into()] };
        let config = crate::Config { self_signed: options.clone(), ..crate::Config::default() };
        Certificates::load(&config, &crypto_provider(), 0).unwrap();
        let (chain, key) = (options.folder.join("self-signed.pem"), options.folder.join("self-signed.key"));
        crate::config::Certificate { domain: domain.into(), chain, key }
    };
    let list = [make("a.example"), make("b.example")];
    let config = crate::Config { certificates: list.into(), ..crate::Config::default() };
    let all = Arc::new(Certificates::load(&config, &crypto_provider(), 0).unwrap());
    let config = server_config(&all, None).unwrap();
    let mut seen = Vec::new();
    for name in ["a.example", "b.example", "c.example"] {
        let open = || {
            let config = Arc::new(client_config(Options::default()));
            ClientConnection::new(config, name.try_into().unwrap()).unwrap()
        };
        let mut hello = Vec::new();
        open().write_tls(&mut hello).unwrap();
        let (mut unfinished, mut client, mut server) = (Server::new(&config), open(), Server::new(&config));
        unfinished.feed(&hello, 100_000).unwrap();
        talk(&mut client, &mut server, 100_000).unwrap();
        assert_eq!(server.finished, Some(bound(Version::Tls13, &client)));
        seen.push(server.finished.unwrap().end_point);
    }
    assert_ne!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
}

#[test]
fn data_passes_both_ways_until_closed() {
    let config = server();
    let mut client = client(client_config(Options::default()));
    let mut server = Server::new(&config);
    talk(&mut client, &mut server, 100_000).unwrap();
    let long: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    server.tls.send(&long, &mut server.wire).unwrap();
    let mut got = Vec::new();
    while got.len() < long.len() {
        let mut wire: &[u8] = &std::mem::take(&mut server.wire);
        while !wire.is_empty() {
            client.read_tls(&mut wire).unwrap();
            client.process_new_packets().unwrap();
            let mut chunk = [0; 65536];
            while let Ok(n @ 1..) = client.reader().read(&mut chunk) {
                got.extend_from_slice(&chunk[..n]);
            }
        }
    }
    assert_eq!(got, long);
    for piece in long.chunks(30_000) {
        client.writer().write_all(piece).unwrap();
        talk(&mut client, &mut server, 999).unwrap();
    }
    assert_eq!(server.plain, long);
    assert!(!server.closed);
    client.send_close_notify();
    talk(&mut client, &mut server, 999).unwrap();
    assert!(server.closed);
    server.tls.close(&mut server.wire);
    assert!(!server.wire.is_empty());
    let _ = client.read_tls(&mut server.wire.as_slice());
    assert!(client.process_new_packets().unwrap().peer_has_closed());
}

#[test]
fn alpn_is_ours_or_absent() {
    let config = server();
    for (alpn, good) in [(vec![], true), (vec![ALPN.to_vec()], true), (vec![b"h2".to_vec()], false)] {
        let mut client = client(client_config(Options { alpn: alpn.clone(), ..Options::default() }));
        let mut server = Server::new(&config);
        assert_eq!(talk(&mut client, &mut server, 100_000).is_ok(), good, "{alpn:?}");
        assert_eq!(client.alpn_protocol(), (good && !alpn.is_empty()).then_some(ALPN));
    }
}

#[test]
fn what_is_not_tls_is_refused() {
    for bytes in [&b"<stream:stream xmlns='jabber:client'>"[..], b"GET / HTTP/1.1\r\n\r\n", &[22, 3, 1, 255, 255, 0]] {
        let mut server = Server::new(&server());
        assert!(server.feed(bytes, 1000).is_err(), "{bytes:?}");
    }
}

#[test]
fn threat_015_key_updates_are_answered_and_a_flood_of_them_is_not() {
    let config = server();
    let mut client = client(client_config(Options::default()));
    let mut server = Server::new(&config);
    talk(&mut client, &mut server, 100_000).unwrap();
    client.refresh_traffic_keys().unwrap();
    client.writer().write_all(b"still here").unwrap();
    talk(&mut client, &mut server, 100_000).unwrap();
    assert_eq!(server.plain, b"still here");
    server.tls.send(b"so am I", &mut server.wire).unwrap();
    talk(&mut client, &mut server, 100_000).unwrap();
    let mut refused = false;
    for _ in 0..10 * TLS_EMPTY_RECORDS_MAX {
        client.refresh_traffic_keys().unwrap();
        let mut out = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut out).unwrap();
        }
        refused |= server.feed(&out, 100_000).is_err();
    }
    assert!(refused);
}

/// How many of `rounds` the server takes, each of `keys` key updates and so many bytes of data.
fn rounds_of(rounds: usize, keys: usize, data: usize) -> usize {
    let config = server();
    let mut client = client(client_config(Options::default()));
    let mut server = Server::new(&config);
    talk(&mut client, &mut server, 100_000).unwrap();
    (0..rounds)
        .take_while(|_| {
            (0..keys).for_each(|_| client.refresh_traffic_keys().unwrap());
            client.writer().write_all(&vec![b' '; data]).unwrap();
            talk(&mut client, &mut server, 100_000).is_ok()
        })
        .count()
}

#[test]
fn threat_015_a_byte_between_key_updates_buys_no_more_of_them() {
    let most = usize::try_from(TLS_EMPTY_RECORDS_MAX).unwrap();
    assert!(rounds_of(10 * most, 1, 1) <= 2 * most);
    // Who has something to say may renew keys as often as anybody would.
    assert_eq!(rounds_of(10 * most, 1, 16 * 1024), 10 * most);
    assert_eq!(rounds_of(10 * most, 0, 1), 10 * most);
}
