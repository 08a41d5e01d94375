//! A link's connection, whatever lies under it: it reads and writes without blocking.
//!
//! Contract of [`Socket::read`]: fewer bytes than asked for mean that the system had no more, so edge-triggered
//! readiness may be waited for. Contract of [`Socket::write`]: taken bytes may still wait inside;
//! [`Socket::flush`] sends them and says `WouldBlock` while some are left.

use crate::key::PublicKey;
use crate::tls;
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use rustls::pki_types::{IpAddr, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// What one read asks of the system, bytes.
const READ_BYTES: usize = 64 * 1024;

/// See the module.
pub enum Socket {
    Unix(UnixStream),
    /// Not encrypted: on loopback only.
    Tcp(TcpStream),
    Tls(Box<TlsSocket>),
}

impl Socket {
    /// What is polled.
    pub fn source(&mut self) -> &mut dyn Source {
        match self {
            Socket::Unix(socket) => socket,
            Socket::Tcp(socket) => socket,
            Socket::Tls(socket) => &mut socket.tcp,
        }
    }

    pub fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Unix(socket) => socket.read(into),
            Socket::Tcp(socket) => socket.read(into),
            Socket::Tls(socket) => socket.read(into),
        }
    }

    pub fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Unix(socket) => socket.write(from),
            Socket::Tcp(socket) => socket.write(from),
            Socket::Tls(socket) => socket.write(from),
        }
    }

    /// Whether the end was found behind what the last read gave: the next one tells, and no event will.
    pub fn has_ended(&self) -> bool {
        match self {
            Socket::Unix(_) | Socket::Tcp(_) => false,
            Socket::Tls(socket) => socket.end.is_some(),
        }
    }

    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Socket::Unix(_) | Socket::Tcp(_) => Ok(()),
            Socket::Tls(socket) => socket.flush(),
        }
    }
}

/// TLS over TCP. The handshake goes on within [`TlsSocket::read`] and [`TlsSocket::flush`].
pub struct TlsSocket {
    tcp: TcpStream,
    tls: Connection,
    /// Bytes of the system that rustls has not had yet, from `input_at`.
    input: Vec<u8>,
    input_at: usize,
    /// How the connection ended, behind bytes that were read before: `None` within for a plain end.
    end: Option<Option<io::Error>>,
}

impl TlsSocket {
    /// The edge's end, of a connection that may still be under way.
    pub fn connect(tcp: TcpStream, config: &Arc<ClientConfig>) -> io::Result<TlsSocket> {
        // No name is sent or checked: the core is known by its key.
        let nobody = ServerName::IpAddress(IpAddr::from(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
        let tls = ClientConnection::new(Arc::clone(config), nobody).map_err(io::Error::other)?;
        Ok(TlsSocket::new(tcp, Connection::Client(tls)))
    }

    /// The core's end.
    pub fn accept(tcp: TcpStream, config: &Arc<ServerConfig>) -> io::Result<TlsSocket> {
        let tls = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        Ok(TlsSocket::new(tcp, Connection::Server(tls)))
    }

    fn new(tcp: TcpStream, tls: Connection) -> TlsSocket {
        TlsSocket { tcp, tls, input: Vec::new(), input_at: 0, end: None }
    }

    /// The other end's key, once the handshake is done and it is proven.
    pub fn peer_key(&self) -> Option<PublicKey> {
        let key = self.tls.peer_certificates().and_then(<[_]>::first)?;
        (!self.tls.is_handshaking()).then(|| PublicKey::from_der(key))
    }

    /// Says that nothing follows, so that an alert is not lost with what the other end still sends.
    pub fn close_write(&mut self) {
        let _ = self.flush();
        let _ = self.tcp.shutdown(std::net::Shutdown::Write);
    }

    /// Takes what has come and throws it away; false once there is nothing more to come.
    pub fn discard(&mut self) -> bool {
        let mut bytes = [0; 4096];
        loop {
            match self.tcp.read(&mut bytes) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0usize;
        while self.end.is_none() {
            let room = into.get_mut(filled..).unwrap_or_default();
            if room.is_empty() {
                return Ok(filled);
            }
            match self.tls.reader().read(room) {
                Ok(0) => self.end = Some(None),
                Ok(bytes) => filled = filled.saturating_add(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match self.feed() {
                    Ok(true) => {}
                    // Cut off without notice is as good an end: frames have lengths of their own.
                    Ok(false) => self.end = Some(None),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock && filled > 0 => return Ok(filled),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                    Err(error) => self.end = Some(Some(error)),
                },
                Err(error) => self.end = Some(Some(error)),
            }
        }
        match self.end.take_if(|_| filled == 0) {
            Some(Some(error)) => {
                self.end = Some(None);
                Err(error)
            }
            Some(None) => {
                self.end = Some(None);
                Ok(0)
            }
            None => Ok(filled),
        }
    }

    /// Gives rustls more bytes; false at the end of the connection.
    fn feed(&mut self) -> io::Result<bool> {
        if self.input_at >= self.input.len() {
            self.input.resize(READ_BYTES, 0);
            let got = self.tcp.read(&mut self.input);
            self.input_at = 0;
            self.input.truncate(*got.as_ref().unwrap_or(&0));
            match got {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(error) => {
                    self.input = Vec::new();
                    return Err(not_yet(error));
                }
            }
        }
        let mut rest = self.input.get(self.input_at..).unwrap_or_default();
        let before = rest.len();
        self.tls.read_tls(&mut rest)?;
        self.input_at = self.input_at.saturating_add(before.saturating_sub(rest.len()));
        let done = self.tls.process_new_packets();
        // Answers of the handshake, or the alert that says what is wrong.
        let sent = self.send();
        done.map_err(|error| io::Error::new(io::ErrorKind::PermissionDenied, tls::explain(&error)))?;
        match sent {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(true),
        }
    }

    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        // One batch at a time: what waits inside is bounded by rustls' own buffer.
        self.flush()?;
        let taken = self.tls.writer().write(from)?;
        if taken == 0 && !from.is_empty() {
            // Held back until the handshake is done, as much as there is room for.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match self.send() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }

    fn send(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.tcp) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(not_yet(error)),
            }
        }
        Ok(())
    }
}

/// A TCP connection that is not made yet says so in another way than one that has nothing.
fn not_yet(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::NotConnected { io::ErrorKind::WouldBlock.into() } else { error }
}

#[cfg(test)]
mod tests;
