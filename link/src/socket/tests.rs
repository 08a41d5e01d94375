//! Both ends over loopback.

use super::*;
use crate::tls::{Keyring, Standing, client_config, server_config};
use crate::{PrivateKey, PublicKey};
use std::net::TcpListener;
use std::time::{Duration, Instant};

struct Ring(Vec<(PublicKey, Standing)>);

impl Keyring for Ring {
    fn standing(&self, key: &PublicKey) -> Standing {
        self.0.iter().find(|(known, _)| known == key).map_or(Standing::Unknown, |(_, standing)| standing.clone())
    }
}

/// Edge and core, connected; `pinned` is what the edge takes for the core's key.
fn pair(standing: Option<Standing>, wrong_pin: bool) -> (Socket, Socket, PublicKey) {
    let (core, edge) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
    let pinned = if wrong_pin { PrivateKey::generate().unwrap() } else { core.clone() };
    let edge_key = edge.public().unwrap();
    let ring = Ring(standing.into_iter().map(|standing| (edge_key.clone(), standing)).collect());
    let server = server_config(&core, Arc::new(ring)).unwrap();
    let client = client_config(&edge, &pinned.public().unwrap()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dialled = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    accepted.set_nonblocking(true).unwrap();
    let accepted = TlsSocket::accept(TcpStream::from_std(accepted), &server).unwrap();
    let dialled = TlsSocket::connect(dialled, &client).unwrap();
    (Socket::Tls(Box::new(dialled)), Socket::Tls(Box::new(accepted)), edge_key)
}

/// Turns both until `done`; what each end read, and the error it met.
#[derive(Default)]
struct Ends {
    got: [Vec<u8>; 2],
    errors: [Option<String>; 2],
    ended: [bool; 2],
}

impl Ends {
    fn turn(&mut self, sockets: [&mut Socket; 2], done: impl Fn(&Ends) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        let [a, b] = sockets;
        while !done(self) {
            assert!(Instant::now() < end, "never done: {:?}", self.errors);
            for (at, socket) in [&mut *a, &mut *b].into_iter().enumerate() {
                if self.errors[at].is_some() || self.ended[at] {
                    continue;
                }
                let mut buffer = vec![0; 70_000];
                match socket.read(&mut buffer) {
                    Ok(0) => self.ended[at] = true,
                    Ok(n) => self.got[at].extend_from_slice(&buffer[..n]),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                    Err(e) => self.errors[at] = Some(e.to_string()),
                }
                let _ = socket.flush();
            }
        }
    }
}

fn key_of(socket: &Socket) -> Option<PublicKey> {
    match socket {
        Socket::Tls(socket) => socket.peer_key(),
        Socket::Unix(_) | Socket::Tcp(_) => None,
    }
}

#[test]
fn known_keys_talk_and_the_core_knows_whose_it_is() {
    let (mut edge, mut core, key) = pair(Some(Standing::Known("paris".into())), false);
    assert_eq!(edge.write(b"HEARTH").unwrap(), 6, "taken before the handshake, sent after it");
    let mut ends = Ends::default();
    ends.turn([&mut edge, &mut core], |ends| ends.got[1].len() == 6);
    assert_eq!(key_of(&core), Some(key));
    // More than any buffer holds, in both directions, at the reader's pace.
    let data: Vec<u8> = (0..3_000_000u32).map(|n| n.to_le_bytes()[1]).collect();
    let mut sent = [0usize; 2];
    let end = Instant::now() + Duration::from_secs(20);
    while ends.got[0].len() < data.len() || ends.got[1].len() < data.len() + 6 {
        assert!(Instant::now() < end, "stuck at {} and {}", ends.got[0].len(), ends.got[1].len());
        for (at, socket) in [&mut core, &mut edge].into_iter().enumerate() {
            match socket.write(&data[sent[at]..]) {
                Ok(n) => sent[at] += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => panic!("{e}"),
            }
        }
        let turned = std::cell::Cell::new(false);
        ends.turn([&mut edge, &mut core], |_| turned.replace(true));
    }
    assert!(ends.got[0] == data && ends.got[1][6..] == data);
    drop(edge);
    ends.turn([&mut pair(None, false).0, &mut core], |ends| ends.ended[1] || ends.errors[1].is_some());
}

#[test]
fn threat_043_strangers_and_the_revoked_are_told_why() {
    for (standing, edge_says, core_says) in [
        (None, "does not know this edge's key", "the edge's key is not known"),
        (Some(Standing::Revoked("paris".into())), "has revoked this edge's key", "the edge's key is revoked"),
    ] {
        let (mut edge, mut core, _) = pair(standing, false);
        edge.write(b"HEARTH").unwrap();
        let mut ends = Ends::default();
        ends.turn([&mut edge, &mut core], |ends| ends.errors.iter().all(Option::is_some));
        assert!(ends.errors[0].as_ref().unwrap().contains(edge_says), "{:?}", ends.errors);
        assert!(ends.errors[1].as_ref().unwrap().contains(core_says), "{:?}", ends.errors);
        assert!(ends.got[1].is_empty(), "nothing of it was heard");
    }
}

#[test]
fn threat_043_an_edge_talks_to_its_own_core_only() {
    let (mut edge, mut core, _) = pair(Some(Standing::Known("paris".into())), true);
    edge.write(b"HEARTH").unwrap();
    let mut ends = Ends::default();
    ends.turn([&mut edge, &mut core], |ends| ends.errors.iter().all(Option::is_some));
    assert!(ends.errors[0].as_ref().unwrap().contains("not the core the key file was made for"), "{:?}", ends.errors);
    assert!(ends.got[1].is_empty());
}

#[test]
fn threat_014_whoever_speaks_no_tls_gets_nowhere() {
    let (_, mut core, _) = pair(Some(Standing::Known("paris".into())), false);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut stranger = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    if let Socket::Tls(socket) = &mut core {
        let (accepted, _) = listener.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        socket.tcp = TcpStream::from_std(accepted);
    }
    stranger.write_all(b"HEARTH\0\0<stream:stream>").unwrap();
    let mut ends = Ends::default();
    let mut idle = Socket::Tcp(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    ends.turn([&mut idle, &mut core], |ends| ends.errors[1].is_some());
    assert!(key_of(&core).is_none() && ends.got[1].is_empty());
}

/// Keys that are known until they are not.
struct Changing(std::sync::Mutex<Standing>);

impl Keyring for Changing {
    fn standing(&self, _: &PublicKey) -> Standing {
        self.0.lock().unwrap().clone()
    }
}

/// Lets both talk until neither has anything to say, or one refuses; how the core came to know the edge.
fn talk(
    client: &Arc<crate::tls::ClientConfig>,
    server: &Arc<crate::tls::ServerConfig>,
    early: Option<&[u8]>,
) -> Result<rustls::HandshakeKind, rustls::Error> {
    let mut edge = rustls::ClientConnection::new(Arc::clone(client), "core".try_into().unwrap())?;
    let mut core = rustls::ServerConnection::new(Arc::clone(server))?;
    if let Some(early) = early {
        let taken = edge.early_data().map(|mut data| data.write(early).unwrap_or(0));
        assert_eq!(taken, None, "there is nothing to send early data with");
    }
    loop {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        edge.write_tls(&mut up).unwrap();
        core.read_tls(&mut up.as_slice()).unwrap();
        core.process_new_packets()?;
        assert!(core.early_data().is_none());
        core.write_tls(&mut down).unwrap();
        edge.read_tls(&mut down.as_slice()).unwrap();
        edge.process_new_packets()?;
        if up.is_empty() && down.is_empty() {
            assert!(core.peer_certificates().is_some(), "nobody without a key is let in");
            return Ok(core.handshake_kind().unwrap());
        }
    }
}

/// Resumption, early data and pre-shared keys lead around no check: every link is a whole handshake, and a key that is
/// revoked opens none, whatever its edge remembers.
#[test]
fn threat_043_every_link_proves_its_key_anew() {
    let (core, edge) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
    let ring = Arc::new(Changing(std::sync::Mutex::new(Standing::Known("paris".into()))));
    let server = server_config(&core, Arc::clone(&ring) as Arc<dyn Keyring>).unwrap();
    let usual = client_config(&edge, &core.public().unwrap()).unwrap();
    // An edge that would resume if it could.
    let mut eager = (*usual).clone();
    eager.resumption = rustls::client::Resumption::in_memory_sessions(8);
    eager.enable_early_data = true;
    let eager = Arc::new(eager);
    for config in [&usual, &eager, &eager, &eager] {
        assert_eq!(talk(config, &server, Some(b"HEARTH")).unwrap(), rustls::HandshakeKind::Full);
    }
    *ring.0.lock().unwrap() = Standing::Revoked("paris".into());
    assert!(talk(&eager, &server, Some(b"HEARTH")).is_err());
    *ring.0.lock().unwrap() = Standing::Known("paris".into());
    // Whoever shows no key at all, and whoever speaks an older TLS, where sessions are resumed otherwise.
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let without = |versions: &[&'static rustls::SupportedProtocolVersion]| {
        let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider));
        let mut config = builder
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = usual.alpn_protocols.clone();
        Arc::new(config)
    };
    assert!(talk(&without(&[&rustls::version::TLS13]), &server, None).is_err());
    assert!(talk(&without(&[&rustls::version::TLS12]), &server, None).is_err());
    let mut keyless = (*eager).clone();
    keyless.client_auth_cert_resolver = without(&[&rustls::version::TLS13]).client_auth_cert_resolver.clone();
    assert!(talk(&Arc::new(keyless), &server, None).is_err(), "the same without its key");
    let mut other = (*usual).clone();
    other.alpn_protocols = vec![b"xmpp-client".to_vec()];
    assert!(talk(&Arc::new(other), &server, None).is_err(), "another protocol");
}
