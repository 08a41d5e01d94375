//! A bare relay: what moving messages between sockets costs, with nothing else around it. The floor beside which
//! a server's figures are read, measured in the same run on the same machine.
//!
//! It speaks just enough XMPP for the load program in the clear: any PLAIN login is believed, any resource bound,
//! and a message goes to whoever has that number, byte for byte. No TLS, no roster, no presence, no checks: it
//! refuses to listen anywhere but on loopback.
//!
//! One thread, one poll, one write per connection and turn, as few system calls as can be.

use crate::load::scan::{Element, Kind, Scanner};
use argh::FromArgs;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;

/// Events taken from the poll at once.
const POLL_EVENTS: usize = 1024;

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;

/// Unread output and unfinished input that one connection may hold, bytes; more ends it.
const HELD_BYTES_MAX: usize = 1 << 20;

const LISTENER: Token = Token(usize::MAX);

const HEADER: &[u8] = b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' from='localhost' id='relay' version='1.0'>";
const OFFER: &[u8] = b"<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
    <mechanism>PLAIN</mechanism></mechanisms></stream:features>";
const BIND: &[u8] = b"<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>";

/// Relays messages between sockets on loopback: the floor for the load program's chat scenarios.
#[derive(FromArgs, Clone, Debug)]
pub struct Args {
    /// loopback address to listen on, default 127.0.0.1:5222
    #[argh(option, default = "SocketAddr::from(([127, 0, 0, 1], 5222))")]
    pub listen: SocketAddr,
}

struct Connection {
    socket: TcpStream,
    scanner: Scanner,
    /// The beginning of an element whose end has not arrived.
    partial: Vec<u8>,
    out: Vec<u8>,
    dirty: bool,
    user: Option<u32>,
}

/// The relay; [`Relay::turn`] does what there is to do.
pub struct Relay {
    listener: TcpListener,
    poll: Poll,
    ready: Events,
    connections: HashMap<usize, Connection>,
    made: usize,
    /// Where each user is.
    users: HashMap<u32, usize>,
    dirty: Vec<usize>,
    scratch: Box<[u8]>,
}

impl Relay {
    /// # Errors
    /// The address is not loopback, or cannot be had.
    pub fn new(args: &Args) -> io::Result<Self> {
        if !args.listen.ip().is_loopback() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it believes everybody: loopback only"));
        }
        let mut listener = TcpListener::bind(args.listen)?;
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            listener,
            poll,
            ready: Events::with_capacity(POLL_EVENTS),
            connections: HashMap::new(),
            made: 0,
            users: HashMap::new(),
            dirty: Vec::new(),
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
        })
    }

    /// # Errors
    /// Of the listener alone.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Waits for something to do and does it.
    ///
    /// # Errors
    /// The poll's and the listener's; a connection that fails is dropped.
    pub fn turn(&mut self) -> io::Result<()> {
        match self.poll.poll(&mut self.ready, None) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let ready = std::mem::replace(&mut self.ready, Events::with_capacity(0));
        for event in &ready {
            match event.token() {
                LISTENER => self.accept()?,
                Token(index) => {
                    if event.is_writable() {
                        self.flush(index);
                    }
                    if event.is_readable() || event.is_read_closed() {
                        self.read(index, event.is_read_closed());
                    }
                }
            }
        }
        self.ready = ready;
        for index in std::mem::take(&mut self.dirty) {
            self.flush(index);
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            socket.set_nodelay(true)?;
            self.made += 1;
            self.poll.registry().register(&mut socket, Token(self.made), Interest::READABLE | Interest::WRITABLE)?;
            let connection = Connection {
                socket,
                scanner: Scanner::default(),
                partial: Vec::new(),
                out: Vec::new(),
                dirty: false,
                user: None,
            };
            self.connections.insert(self.made, connection);
        }
    }

    fn read(&mut self, index: usize, closed: bool) {
        let mut scratch = std::mem::take(&mut self.scratch);
        while let Some(connection) = self.connections.get_mut(&index) {
            match connection.socket.read(&mut scratch) {
                Ok(0) => {
                    self.drop_connection(index);
                    break;
                }
                Ok(count) => {
                    self.take(index, scratch.get(..count).unwrap_or_default());
                    if count < READ_BYTES && !closed {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.drop_connection(index);
                    break;
                }
            }
        }
        self.scratch = scratch;
    }

    fn take(&mut self, index: usize, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&index) else { return };
        let mut scanner = std::mem::take(&mut connection.scanner);
        let mut whole = std::mem::take(&mut connection.partial);
        let buffer = if whole.is_empty() {
            bytes
        } else {
            whole.extend_from_slice(bytes);
            &whole
        };
        while let Some(item) = scanner.next(buffer) {
            let element = Element(buffer.get(item.range).unwrap_or_default());
            match item.kind {
                Kind::Header => self.on_header(index),
                Kind::Element if element.name() == b"message" => self.on_message(element),
                Kind::Element if element.name() == b"auth" => {
                    // A new stream follows, in a packet of its own: its client waits for our answer.
                    return self.on_auth(index, element);
                }
                Kind::Element if element.name() == b"iq" => self.on_iq(index, element),
                Kind::Element => {}
                Kind::End => {
                    self.send(index, b"</stream:stream>");
                    self.flush(index);
                    self.drop_connection(index);
                    return;
                }
            }
        }
        let done = scanner.rewind();
        let partial = buffer.get(done..).unwrap_or_default().to_vec();
        if let Some(connection) = self.connections.get_mut(&index) {
            connection.scanner = scanner;
            connection.partial = partial;
            if connection.partial.len() > HELD_BYTES_MAX {
                self.drop_connection(index);
            }
        }
    }

    fn on_header(&mut self, index: usize) {
        let bound = self.connections.get(&index).is_some_and(|connection| connection.user.is_some());
        self.send(index, HEADER);
        self.send(index, if bound { BIND } else { OFFER });
    }

    /// RFC 4616: `[authzid] NUL authcid NUL passwd`.
    fn on_auth(&mut self, index: usize, auth: Element<'_>) {
        let initial = BASE64.decode(auth.text_of("auth").unwrap_or_default()).unwrap_or_default();
        let name = initial.split(|byte| *byte == 0).nth(1).unwrap_or_default();
        let Some(user) = user_of(name) else { return self.drop_connection(index) };
        if let Some(connection) = self.connections.get_mut(&index) {
            connection.user = Some(user);
        }
        self.users.insert(user, index);
        self.send(index, b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    }

    fn on_iq(&mut self, index: usize, iq: Element<'_>) {
        let id = iq.attribute("id").unwrap_or_default().to_vec();
        self.send(index, b"<iq type='result' id='");
        self.send(index, &id);
        self.send(index, b"'/>");
    }

    fn on_message(&mut self, message: Element<'_>) {
        let to = message.attribute("to").unwrap_or_default();
        let localpart = to.split(|byte| *byte == b'@').next().unwrap_or_default();
        if let Some(index) = user_of(localpart).and_then(|user| self.users.get(&user).copied()) {
            self.send(index, message.0);
        }
    }

    fn send(&mut self, index: usize, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(&index) else { return };
        connection.out.extend_from_slice(bytes);
        if connection.out.len() > HELD_BYTES_MAX {
            return self.drop_connection(index);
        }
        if !std::mem::replace(&mut connection.dirty, true) {
            self.dirty.push(index);
        }
    }

    fn flush(&mut self, index: usize) {
        let Some(connection) = self.connections.get_mut(&index) else { return };
        connection.dirty = false;
        if connection.out.is_empty() {
            return;
        }
        match connection.socket.write(&connection.out) {
            Ok(written) => {
                connection.out.drain(..written);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.drop_connection(index),
        }
    }

    fn drop_connection(&mut self, index: usize) {
        if let Some(user) = self.connections.remove(&index).and_then(|connection| connection.user)
            && self.users.get(&user) == Some(&index)
        {
            self.users.remove(&user);
        }
    }
}

fn user_of(localpart: &[u8]) -> Option<u32> {
    std::str::from_utf8(localpart.strip_prefix(b"user")?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load;

    #[test]
    fn the_load_program_chats_through_it() {
        let mut relay = Relay::new(&Args { listen: ([127, 0, 0, 1], 0).into() }).unwrap();
        let target = relay.address().unwrap().to_string();
        std::thread::spawn(move || while relay.turn().is_ok() {});
        let line = ["chat", "--target", &target, "--mechanism", "PLAIN", "--users", "20", "--seconds", "1"];
        let args = load::Args::from_args(&["load"], &[&line[..], &["--warmup", "0"]].concat()).unwrap();
        let report = load::run(&args).unwrap();
        assert!(report.table().contains("messages per second"), "{}", report.table());
        assert!(!report.table().contains("note"), "{}", report.table());
    }

    #[test]
    fn only_on_loopback() {
        assert!(Relay::new(&Args { listen: ([0, 0, 0, 0], 0).into() }).is_err());
    }
}
