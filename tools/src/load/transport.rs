//! One socket, in the clear or under TLS, with what waits to be written to it.

use super::limits::READ_BYTES;
use mio::net::TcpStream;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What one read gave.
pub(crate) enum Read {
    Bytes(usize),
    /// Nothing more for now.
    Dry,
    /// The peer closed its side.
    Closed,
}

pub(crate) struct Transport {
    pub(crate) socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Not yet written.
    pub(crate) out: Vec<u8>,
}

impl Transport {
    /// Begins to connect from `source`, which spreads connections over loopback addresses: each has its own
    /// ephemeral ports.
    pub(crate) fn connect(target: SocketAddr, source: Option<IpAddr>) -> io::Result<Self> {
        let domain = socket2::Domain::for_address(target);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = source {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        match socket.connect(&target.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(Self { socket: TcpStream::from_std(socket.into()), tls: None, out: Vec::new() }),
        }
    }

    /// From now on everything goes through TLS; the handshake begins with the next [`flush`](Self::flush).
    pub(crate) fn start_tls(&mut self, config: &Arc<ClientConfig>, name: &ServerName<'static>) -> io::Result<()> {
        let tls = ClientConnection::new(Arc::clone(config), name.clone()).map_err(io::Error::other)?;
        self.tls = Some(Box::new(tls));
        Ok(())
    }

    /// Reads plaintext into `buffer`. With TLS, call until [`Read::Dry`]; without, a short read says as much.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Read> {
        let Some(tls) = &mut self.tls else {
            return outcome(self.socket.read(buffer));
        };
        loop {
            match tls.reader().read(buffer) {
                Ok(0) => return Ok(Read::Closed),
                Ok(count) => return Ok(Read::Bytes(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            match tls.read_tls(&mut self.socket) {
                Ok(0) => return Ok(Read::Closed),
                Ok(_) => {
                    tls.process_new_packets().map_err(io::Error::other)?;
                }
                Err(error) => return outcome(Err(error)),
            }
        }
    }

    /// Whether [`read`](Self::read) may have more though it filled less than its buffer.
    pub(crate) fn may_have_more(&self, read: usize) -> bool {
        self.tls.is_some() || read == READ_BYTES
    }

    /// Writes what the socket takes.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            if !self.out.is_empty() {
                tls.writer().write_all(&self.out)?;
                self.out.clear();
            }
            while tls.wants_write() {
                match tls.write_tls(&mut self.socket) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
        } else if !self.out.is_empty() {
            let written = match self.socket.write(&self.out) {
                Ok(count) => count,
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => 0,
                Err(error) => return Err(error),
            };
            self.out.drain(..written);
        }
        if self.out.is_empty() && self.out.capacity() > 4096 {
            self.out = Vec::new();
        }
        Ok(())
    }
}

fn outcome(read: io::Result<usize>) -> io::Result<Read> {
    match read {
        Ok(0) => Ok(Read::Closed),
        Ok(count) => Ok(Read::Bytes(count)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => Ok(Read::Dry),
        Err(error) => Err(error),
    }
}

/// TLS 1.3, no resumption (every login pays a full handshake), any certificate.
pub(crate) fn tls_config(direct: bool) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    if direct {
        config.alpn_protocols = vec![b"xmpp-client".to_vec()]; // XEP-0368 §3
    }
    Ok(Arc::new(config))
}

/// Accepts whatever the server shows: a test tool on loopback, where certificates are self-signed.
/// The handshake's signature is still checked, as a client would.
#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

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
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
