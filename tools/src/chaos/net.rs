//! All clients on one thread: their sockets, and when each is made again.

use super::client::{Client, Shared, Step};
use super::ledger::{Cause, Class, Ledger, Mix};
use super::limits::{AGAIN, LOGIN_TIMEOUT, LOGINS_MAX, SOURCES};
use super::plan::{EDGES, below};
use crate::load::framing::{Framing, Next};
use crate::load::limits::{POLL_EVENTS, READ_BYTES};
use crate::load::scram::{Authenticator, Mechanism};
use crate::load::transport::{Read, Transport};
use hearth_core::random::SeededRandom;
use mio::{Events, Interest, Poll, Token};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

/// A socket and what is under way on it.
struct Peer {
    transport: Transport,
    framing: Framing,
    begun: Instant,
    dirty: bool,
    /// We sent the closing tag.
    closing: bool,
}

pub(super) struct Net {
    domain: String,
    edges: [SocketAddr; EDGES],
    auth: Authenticator,
    random: SeededRandom,
    poll: Poll,
    ready: Events,
    pub(super) clients: Vec<Client>,
    peers: Vec<Option<Box<Peer>>>,
    dirty: Vec<usize>,
    /// Clients without a socket, by when they are to have one.
    again: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Whether a client that lost its socket comes again.
    pub(super) come_again: bool,
    logins: usize,
    live: usize,
    made: u32,
    scratch: Box<[u8]>,
    /// When something last arrived that was a message or an answer.
    pub(super) last_news: Instant,
    /// What was done to the servers last.
    pub(super) fault: String,
}

impl Net {
    pub(super) fn new(
        domain: &str,
        password: &str,
        edges: [SocketAddr; EDGES],
        count: u32,
        mix: Mix,
        seed: u64,
    ) -> Result<Net, String> {
        let auth = Authenticator::new(Mechanism::ScramSha1, password, None).map_err(|error| error.to_string())?;
        let poll = Poll::new().map_err(|error| format!("making the poll: {error}"))?;
        let clients: Vec<Client> = (0..count).map(|user| Client::new(user, mix.class(user))).collect();
        let peers = clients.iter().map(|_| None).collect();
        let now = Instant::now();
        Ok(Net {
            domain: domain.to_owned(),
            edges,
            auth,
            random: SeededRandom::new(seed),
            poll,
            ready: Events::with_capacity(POLL_EVENTS),
            again: (0..clients.len()).map(|index| Reverse((now, index))).collect(),
            clients,
            peers,
            dirty: Vec::new(),
            come_again: true,
            logins: 0,
            live: 0,
            made: 0,
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            last_news: now,
            fault: "none".to_owned(),
        })
    }

    /// Clients whose sessions are there.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Sockets, logged in or not.
    pub(super) fn open(&self) -> usize {
        self.live + self.logins
    }

    pub(super) fn random_below(&mut self, end: usize) -> usize {
        usize::try_from(below(&mut self.random, end as u64)).unwrap_or(0)
    }

    /// Connects those whose time it is, writes what waits, sleeps until something arrives or `wait` is over, and
    /// reads it all.
    pub(super) fn turn(&mut self, wait: Duration, ledger: &mut Ledger) -> Result<(), String> {
        self.connect_some(ledger)?;
        self.flush(ledger);
        match self.poll.poll(&mut self.ready, Some(wait)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(format!("polling: {error}")),
            _ => {}
        }
        let ready = std::mem::replace(&mut self.ready, Events::with_capacity(0));
        for event in &ready {
            let index = event.token().0;
            if event.is_writable() {
                self.write(index, ledger);
            }
            let last = event.is_read_closed() || event.is_error();
            if event.is_readable() || last {
                self.read(index, last, ledger);
            }
        }
        self.ready = ready;
        self.flush(ledger);
        Ok(())
    }

    /// Lets a client write.
    pub(super) fn with(
        &mut self,
        index: usize,
        ledger: &mut Ledger,
        work: impl FnOnce(&mut Client, &mut Shared<'_>, &mut Vec<u8>),
    ) {
        let mut cx = Shared { domain: &self.domain, auth: &mut self.auth, ledger };
        let (client, peer) = (self.clients.get_mut(index), self.peers.get_mut(index).and_then(Option::as_mut));
        let (Some(client), Some(peer)) = (client, peer) else { return };
        work(client, &mut cx, &mut peer.transport.out);
        if !std::mem::replace(&mut peer.dirty, true) {
            self.dirty.push(index);
        }
    }

    /// Those at an edge that is about to be killed.
    pub(super) fn doom(&mut self, edge: usize) {
        for (client, peer) in self.clients.iter_mut().zip(&self.peers) {
            if client.edge == edge && peer.is_some() {
                client.doomed = Some(Cause::Edge);
            }
        }
    }

    /// A client with XEP-0198 loses its network: its socket is gone without a word.
    pub(super) fn cut(&mut self, index: usize, ledger: &mut Ledger) {
        if let Some(client) =
            self.clients.get_mut(index).filter(|client| client.is_live() && client.class != Class::Plain)
        {
            client.doomed = Some(Cause::Own);
            self.lose(index, "cut", ledger);
        }
    }

    /// Ends the stream (RFC 6120 §4.4).
    pub(super) fn end(&mut self, index: usize, ledger: &mut Ledger) {
        self.with(index, ledger, |_, _, out| out.extend_from_slice(b"</stream:stream>"));
        if let Some(peer) = self.peers.get_mut(index).and_then(Option::as_mut) {
            peer.closing = true;
        }
    }

    /// Everybody may come again.
    pub(super) fn reopen(&mut self) {
        self.come_again = true;
        let now = Instant::now();
        let away = self.peers.iter().enumerate().filter(|(_, peer)| peer.is_none());
        self.again = away.map(|(index, _)| Reverse((now, index))).collect();
    }

    fn connect_some(&mut self, ledger: &mut Ledger) -> Result<(), String> {
        let now = Instant::now();
        while self.logins < LOGINS_MAX
            && let Some(Reverse((at, index))) = self.again.peek().copied()
            && at <= now
        {
            self.again.pop();
            self.connect(index, now)?;
        }
        // Few are logging in at a time.
        if self.logins > 0 {
            let late = |peer: &Peer| now.saturating_duration_since(peer.begun) > LOGIN_TIMEOUT;
            let stuck = |client: &Client, peer: &Peer| !client.is_live() && late(peer);
            let pairs = self.clients.iter().zip(&self.peers).enumerate();
            let found: Vec<usize> = pairs
                .filter(|(_, (client, peer))| peer.as_ref().is_some_and(|peer| stuck(client, peer)))
                .map(|(index, _)| index)
                .collect();
            for index in found {
                let place = self.clients.get(index).map_or("", Client::place);
                self.lose(index, &format!("{place} for too long"), ledger);
            }
        }
        Ok(())
    }

    fn connect(&mut self, index: usize, now: Instant) -> Result<(), String> {
        let edge = self.random_below(EDGES);
        self.made = self.made.wrapping_add(1);
        let last = u8::try_from(self.made % u32::from(SOURCES)).unwrap_or(0).saturating_add(2);
        let source = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        let (Some(target), Some(client)) = (self.edges.get(edge).copied(), self.clients.get_mut(index)) else {
            return Ok(());
        };
        let Ok(mut transport) = Transport::connect(target, Some(source)) else {
            // Refused at once: that edge is down.
            self.later(index);
            return Ok(());
        };
        self.poll
            .registry()
            .register(&mut transport.socket, Token(index), Interest::READABLE | Interest::WRITABLE)
            .map_err(|error| format!("registering a socket: {error}"))?;
        client.connected(edge, &self.domain, &mut transport.out);
        let peer = Peer { transport, framing: Framing::default(), begun: now, dirty: false, closing: false };
        if let Some(slot) = self.peers.get_mut(index) {
            *slot = Some(Box::new(peer));
            self.logins += 1;
        }
        Ok(())
    }

    fn later(&mut self, index: usize) {
        if self.come_again {
            let jitter = u32::try_from(self.random_below(1000)).unwrap_or(0);
            self.again.push(Reverse((Instant::now() + AGAIN + AGAIN * jitter / 1000, index)));
        }
    }

    fn flush(&mut self, ledger: &mut Ledger) {
        while let Some(index) = self.dirty.pop() {
            if let Some(peer) = self.peers.get_mut(index).and_then(Option::as_mut) {
                peer.dirty = false;
            }
            self.write(index, ledger);
        }
    }

    fn write(&mut self, index: usize, ledger: &mut Ledger) {
        let Some(peer) = self.peers.get_mut(index).and_then(Option::as_mut) else { return };
        // A socket that cannot be written may still hold what is to be read.
        if peer.transport.flush().is_err() {
            self.read(index, true, ledger);
        }
    }

    /// `last`: no further event will tell of bytes left unread.
    fn read(&mut self, index: usize, last: bool, ledger: &mut Ledger) {
        let Net { clients, peers, scratch, domain, auth, last_news, .. } = self;
        let (Some(client), Some(peer)) = (clients.get_mut(index), peers.get_mut(index).and_then(Option::as_mut)) else {
            return;
        };
        let was_live = client.is_live();
        let mut cx = Shared { domain, auth, ledger };
        let Peer { transport, framing, .. } = &mut **peer;
        let end = loop {
            match transport.read(scratch) {
                Ok(Read::Bytes(count)) => {
                    let out = &mut transport.out;
                    let taken = framing.take(scratch.get(..count).unwrap_or_default(), |element| {
                        let step = client.on_element(element, &mut cx, out)?;
                        if step == Step::News {
                            *last_news = Instant::now();
                        }
                        Ok(if step == Step::Restart { Next::NewStream } else { Next::GoOn })
                    });
                    match taken {
                        Ok(true) if last || transport.may_have_more(count) => {}
                        Ok(true) => break None,
                        Ok(false) => break Some("stream closed".to_owned()),
                        Err(why) => break Some(why),
                    }
                }
                Ok(Read::Dry) => break None,
                Ok(Read::Closed) => break Some("connection closed".to_owned()),
                Err(error) => break Some(error.to_string()),
            }
        };
        if client.is_live() && !was_live {
            self.logins -= 1;
            self.live += 1;
        }
        let unwritable = peer.transport.flush().err().map(|error| error.to_string());
        if let Some(why) = end.or(unwritable) {
            self.lose(index, &why, ledger);
        }
    }

    fn lose(&mut self, index: usize, why: &str, ledger: &mut Ledger) {
        let Some(peer) = self.peers.get_mut(index).and_then(Option::take) else { return };
        let Some(client) = self.clients.get_mut(index) else { return };
        let cause = client.doomed.take();
        if client.is_live() {
            self.live -= 1;
        } else {
            self.logins -= 1;
        }
        if peer.closing && why == "stream closed" {
            client.ended(ledger);
        } else if client.lost() {
            ledger.dropped(client.user, cause, why, &self.fault);
        } else {
            ledger.login_failed();
        }
        self.later(index);
    }
}
