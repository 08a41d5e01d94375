//! Takes link connections and hands each to the shard its preamble names. A TLS handshake happens here, so
//! that no shard has to do with strangers.

use super::Clock;
use super::edge_keys::EdgeKeys;
use super::mail::{Mail, Mailbox};
use crate::limits::{LINK_GREETING_MS, LINKS_GREETING_MAX, LINKS_GREETING_PER_ADDRESS_MAX};
use hearth_link::tls::ServerConfig;
use hearth_link::{Socket, TlsSocket};
use hearth_wire::to_core::{PREAMBLE_BYTES, PREAMBLE_MAGIC};
use mio::net::{TcpListener, UnixListener};
use mio::{Events, Interest, Poll, Token};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const UNIX: Token = Token(0);
const TCP: Token = Token(1);
const TLS: Token = Token(2);
const WAKE: Token = Token(3);
const FIRST: usize = 4;

/// How often deadlines are looked at.
const TURN: Duration = Duration::from_millis(250);

/// Where links come in.
#[derive(Default)]
pub(crate) struct Doors {
    pub(crate) unix: Option<UnixListener>,
    pub(crate) tcp: Option<TcpListener>,
    pub(crate) tls: Option<(TcpListener, Arc<ServerConfig>)>,
}

pub(crate) struct Acceptor {
    poll: Poll,
    waker: Arc<mio::Waker>,
    clock: Clock,
    doors: Doors,
    keys: Arc<EdgeKeys>,
    shards: Vec<Mailbox>,
    pending: BTreeMap<usize, Pending>,
    next: usize,
}

struct Pending {
    socket: Socket,
    /// `None` for Unix sockets.
    peer: Option<SocketAddr>,
    preamble: [u8; PREAMBLE_BYTES],
    read: usize,
    until_ms: u64,
    /// Refused: it stays until the other end has read why.
    refused: bool,
}

/// What became of a connection that was looked at.
enum Step {
    Wait,
    Greeted,
    Gone,
    Refused(io::Error),
}

impl Acceptor {
    pub(crate) fn new(
        mut doors: Doors,
        keys: Arc<EdgeKeys>,
        shards: Vec<Mailbox>,
        clock: Clock,
    ) -> io::Result<Acceptor> {
        let poll = Poll::new()?;
        if let Some(listener) = &mut doors.unix {
            poll.registry().register(listener, UNIX, Interest::READABLE)?;
        }
        if let Some(listener) = &mut doors.tcp {
            poll.registry().register(listener, TCP, Interest::READABLE)?;
        }
        if let Some((listener, _)) = &mut doors.tls {
            poll.registry().register(listener, TLS, Interest::READABLE)?;
        }
        let waker = Arc::new(mio::Waker::new(poll.registry(), WAKE)?);
        Ok(Acceptor { poll, waker, clock, doors, keys, shards, pending: BTreeMap::new(), next: FIRST })
    }

    pub(crate) fn waker(&self) -> Arc<mio::Waker> {
        self.waker.clone()
    }

    /// Runs until `stop` is set and the waker woken.
    pub(crate) fn run(mut self, stop: &AtomicBool) -> io::Result<()> {
        let mut events = Events::with_capacity(64);
        while !stop.load(Ordering::Acquire) {
            let timeout = if self.pending.is_empty() { None } else { Some(TURN) };
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            for event in &events {
                match event.token() {
                    UNIX | TCP | TLS => self.accept(),
                    WAKE => {}
                    Token(index) => self.look(index),
                }
            }
            let now_ms = self.clock.now().mono_ms;
            self.pending.retain(|_, pending| now_ms < pending.until_ms);
        }
        Ok(())
    }

    fn accept(&mut self) {
        while let Some(Ok((stream, _))) = self.doors.unix.as_ref().map(UnixListener::accept) {
            self.add(Socket::Unix(stream), None);
        }
        while let Some(Ok((stream, peer))) = self.doors.tcp.as_ref().map(TcpListener::accept) {
            // Without it frames wait for acknowledgements of the last ones.
            let _ = stream.set_nodelay(true);
            self.add(Socket::Tcp(stream), Some(peer));
        }
        while let Some((Ok((stream, peer)), config)) =
            self.doors.tls.as_ref().map(|(listener, config)| (listener.accept(), Arc::clone(config)))
        {
            let _ = stream.set_nodelay(true);
            match TlsSocket::accept(stream, &config) {
                Ok(socket) => self.add(Socket::Tls(Box::new(socket)), Some(peer)),
                Err(error) => tracing::error!(event = "link_refused", %peer, %error),
            }
        }
    }

    fn add(&mut self, mut socket: Socket, peer: Option<SocketAddr>) {
        let of_address =
            |pending: &&Pending| pending.peer.is_some() && pending.peer.map(|p| p.ip()) == peer.map(|p| p.ip());
        if self.pending.len() >= LINKS_GREETING_MAX
            || self.pending.values().filter(of_address).count() >= LINKS_GREETING_PER_ADDRESS_MAX
        {
            return tracing::warn!(
                event = "link_refused",
                peer = shown(peer),
                reason = "too many connections without a greeting"
            );
        }
        let index = self.next;
        self.next = self.next.wrapping_add(1).max(FIRST);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self.poll.registry().register(socket.source(), Token(index), interest).is_ok() {
            let until_ms = self.clock.now().mono_ms.saturating_add(LINK_GREETING_MS);
            let preamble = [0; PREAMBLE_BYTES];
            self.pending.insert(index, Pending { socket, peer, preamble, read: 0, until_ms, refused: false });
            self.look(index);
        }
    }

    /// Goes on with a connection that something happened to.
    fn look(&mut self, index: usize) {
        let Some(pending) = self.pending.get_mut(&index) else { return };
        match pending.step() {
            Step::Wait => {}
            Step::Greeted => self.hand_over(index),
            Step::Gone => drop(self.pending.remove(&index)),
            Step::Refused(error) => {
                tracing::warn!(event = "link_refused", peer = shown(pending.peer), reason = %error);
                pending.refused = true;
                if let Socket::Tls(socket) = &mut pending.socket {
                    socket.close_write();
                } else {
                    self.pending.remove(&index);
                }
            }
        }
    }

    fn hand_over(&mut self, index: usize) {
        let Some(mut pending) = self.pending.remove(&index) else { return };
        let peer = shown(pending.peer);
        // Deregistering fails only for a socket that is not registered.
        let _ = self.poll.registry().deregister(pending.socket.source());
        let shard = match pending.preamble.split_first_chunk() {
            Some((magic, [low, high])) if *magic == PREAMBLE_MAGIC => usize::from(u16::from_le_bytes([*low, *high])),
            _ => return tracing::warn!(event = "link_refused", peer, reason = "not a link: wrong first bytes"),
        };
        let Some(shard) = self.shards.get(shard) else {
            return tracing::warn!(event = "link_refused", peer, reason = "no such shard", shard);
        };
        let key = match &pending.socket {
            Socket::Tls(socket) => socket.peer_key(),
            Socket::Unix(_) | Socket::Tcp(_) => {
                // A shard that is gone takes nothing any more.
                let _ = shard.send(Mail::Link { socket: pending.socket, edge: None });
                return;
            }
        };
        let socket = pending.socket;
        let admitted = key.is_some_and(|key| {
            self.keys.admit(&key, |edge| {
                let _ = shard.send(Mail::Link { socket, edge: Some(edge.to_owned()) });
            })
        });
        if !admitted {
            tracing::warn!(event = "link_refused", peer, reason = "its key was revoked meanwhile");
        }
    }
}

impl Pending {
    fn step(&mut self) -> Step {
        if let (true, Socket::Tls(socket)) = (self.refused, &mut self.socket) {
            return if socket.discard() { Step::Wait } else { Step::Gone };
        }
        loop {
            let space = self.preamble.get_mut(self.read..).unwrap_or_default();
            match self.socket.read(space) {
                Ok(0) => return Step::Gone,
                Ok(bytes) => {
                    self.read = self.read.saturating_add(bytes);
                    if self.read >= PREAMBLE_BYTES {
                        return Step::Greeted;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Step::Refused(error),
                Err(_) => return Step::Gone,
            }
        }
        // What the handshake still has to say.
        match self.socket.flush() {
            Ok(()) => Step::Wait,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Step::Wait,
            Err(_) => Step::Gone,
        }
    }
}

fn shown(peer: Option<SocketAddr>) -> String {
    peer.map_or_else(|| "this machine".to_owned(), |peer| peer.to_string())
}
