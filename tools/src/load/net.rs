//! The one event loop: all connections of a run, on one thread.
//!
//! ```text
//! net.begin(user)?;                              // any number of times
//! while … {
//!     net.turn(deadline, &mut events)?;          // flushes, waits, reads
//!     for event in events.drain(..) { … net.send(user, |out| …) … }
//! }
//! ```
//!
//! What is sent goes out at the start of the next turn, one write per connection.

use super::error::LoadError;
use super::event::{Duty, Event, observe};
use super::framing::{Framing, Next};
use super::limits::{LOGIN_TIMEOUT, POLL_EVENTS, READ_BYTES, SOURCES_MAX};
use super::login::{Login, Purpose, Security, Step, Terms};
use super::scan::Element;
use super::scram::Authenticator;
use super::sm::Acks;
use super::timer::Timer;
use super::transport::{Read, Transport, tls_config};
use mio::{Events, Interest, Poll, Token};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

const TIMER: Token = Token(usize::MAX);

/// One user's connection.
struct Peer {
    user: u32,
    transport: Transport,
    framing: Framing,
    login: Login,
    /// Where stream management is on.
    acks: Option<Acks>,
    begun: Instant,
    dirty: bool,
    /// We sent `</stream:stream>` or want no more of it.
    closing: bool,
}

/// How connections are made.
pub(crate) struct Access {
    pub(crate) target: SocketAddr,
    /// Source addresses to use in turn, 127.0.0.2 and on; 0: the system's choice.
    pub(crate) sources: u8,
    pub(crate) first_user: u32,
    pub(crate) terms: Terms,
}

pub(crate) struct Net {
    access: Access,
    auth: Authenticator,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    poll: Poll,
    ready: Events,
    timer: Timer,
    /// By user less the first user.
    peers: Vec<Option<Box<Peer>>>,
    dirty: Vec<u32>,
    /// Logins under way, by when they began: (begun, user).
    pending: VecDeque<(Instant, u32)>,
    scratch: Box<[u8]>,
    made: u64,
    open: u32,
    first_failure: Option<String>,
    failures: u64,
    /// When something last arrived.
    pub(crate) last_arrival: Instant,
}

impl Net {
    pub(crate) fn new(access: Access, auth: Authenticator) -> Result<Self, LoadError> {
        let name = ServerName::try_from(access.terms.domain.clone())
            .map_err(|_| LoadError::Usage(format!("{} is no domain name", access.terms.domain)))?;
        let tls = match access.terms.tls {
            Security::None => None,
            tls @ (Security::StartTls | Security::Direct) => {
                let config = tls_config(tls == Security::Direct);
                Some((config.map_err(|error| LoadError::Protocol(format!("TLS set-up: {error}")))?, name))
            }
        };
        let poll = Poll::new().map_err(LoadError::io("making the poll"))?;
        let timer = Timer::new(poll.registry(), TIMER).map_err(LoadError::io("making the timer"))?;
        Ok(Self {
            access,
            auth,
            tls,
            poll,
            ready: Events::with_capacity(POLL_EVENTS),
            timer,
            peers: Vec::new(),
            dirty: Vec::new(),
            pending: VecDeque::new(),
            scratch: vec![0; READ_BYTES].into_boxed_slice(),
            made: 0,
            open: 0,
            first_failure: None,
            failures: 0,
            last_arrival: Instant::now(),
        })
    }

    pub(crate) fn auth(&self) -> &Authenticator {
        &self.auth
    }

    pub(crate) fn domain(&self) -> &str {
        &self.access.terms.domain
    }

    /// Connections open now, logged in or not.
    pub(crate) fn open(&self) -> u32 {
        self.open
    }

    /// Logins that failed and sessions that ended unasked, and what the first of them met.
    pub(crate) fn failures(&self) -> (u64, &str) {
        (self.failures, self.first_failure.as_deref().unwrap_or_default())
    }

    pub(crate) fn is_ready(&self, user: u32) -> bool {
        self.peer(user).is_some_and(|peer| peer.login.is_ready() && !peer.closing)
    }

    /// Begins the user's login (or registration).
    pub(crate) fn begin(&mut self, user: u32) -> Result<(), LoadError> {
        let index = self.index(user);
        if self.peers.len() <= index {
            self.peers.resize_with(index + 1, || None);
        }
        let source = self.source();
        let mut transport =
            Transport::connect(self.access.target, source).map_err(LoadError::io("connecting to the server"))?;
        self.poll
            .registry()
            .register(&mut transport.socket, Token(index), Interest::READABLE | Interest::WRITABLE)
            .map_err(LoadError::io("registering a socket"))?;
        let direct = self.access.terms.tls == Security::Direct;
        if let Some((config, name)) = self.tls.as_ref().filter(|_| direct) {
            transport.start_tls(config, name).map_err(LoadError::io("starting TLS"))?;
        }
        Login::header(&self.access.terms, &mut transport.out);
        let begun = Instant::now();
        let peer = Peer {
            user,
            transport,
            framing: Framing::default(),
            login: Login::new(user, direct),
            acks: None,
            begun,
            dirty: false,
            closing: false,
        };
        if let Some(slot) = self.peers.get_mut(index) {
            self.open += u32::from(slot.replace(Box::new(peer)).is_none());
        }
        self.pending.push_back((begun, user));
        Ok(())
    }

    /// Writes a stanza for the user's session; it leaves with the next [`turn`](Self::turn).
    pub(crate) fn send(&mut self, user: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let index = self.index(user);
        if let Some(peer) = self.peers.get_mut(index).and_then(Option::as_mut) {
            write(&mut peer.transport.out);
            if !std::mem::replace(&mut peer.dirty, true) {
                self.dirty.push(user);
            }
        }
    }

    /// As [`send`](Self::send), a message that should have left at `due`; its acknowledgement is asked for where
    /// stream management is on.
    pub(crate) fn send_message(&mut self, user: u32, due: Instant, write: impl FnOnce(&mut Vec<u8>)) {
        self.send(user, write);
        let index = self.index(user);
        if let Some(peer) = self.peers.get_mut(index).and_then(Option::as_mut)
            && let Some(acks) = &mut peer.acks
        {
            acks.sent_message(due, &mut peer.transport.out);
        }
    }

    /// Ends the user's stream (RFC 6120 §4.4).
    pub(crate) fn end(&mut self, user: u32) {
        self.send(user, |out| out.extend_from_slice(b"</stream:stream>"));
        let index = self.index(user);
        if let Some(peer) = self.peers.get_mut(index).and_then(Option::as_mut) {
            peer.closing = true;
        }
    }

    /// Drops the user's socket as a lost network would, if it has one; nothing tells of it.
    pub(crate) fn cut(&mut self, user: u32) {
        let index = self.index(user);
        if self.peers.get_mut(index).and_then(Option::take).is_some() {
            self.open -= 1;
        }
    }

    /// From now on nothing is read for the user, or, with false, all that came meanwhile and comes.
    pub(crate) fn stall(&mut self, user: u32, stalled: bool) {
        let index = self.index(user);
        let Some(peer) = self.peers.get_mut(index).and_then(Option::as_mut) else { return };
        let interest = if stalled { Interest::WRITABLE } else { Interest::READABLE | Interest::WRITABLE };
        // Registered anew it tells of what waits.
        let _ = self.poll.registry().reregister(&mut peer.transport.socket, Token(index), interest);
    }

    /// Bytes for the user's socket that it has not taken.
    pub(crate) fn waiting(&self, user: u32) -> usize {
        self.peer(user).map_or(0, |peer| peer.transport.out.len())
    }

    /// Writes everything that waits, sleeps until something arrives or `deadline`, and reads it all.
    pub(crate) fn turn(&mut self, deadline: Instant, events: &mut Vec<Event>) -> Result<(), LoadError> {
        self.flush_dirty(events);
        let wait = self.timer.arm(deadline).map_err(LoadError::io("setting the timer"))?;
        match self.poll.poll(&mut self.ready, wait) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                return Err(LoadError::Io { doing: "polling".into(), cause: error });
            }
            _ => {}
        }
        let ready = std::mem::replace(&mut self.ready, Events::with_capacity(0));
        for event in &ready {
            let index = event.token().0;
            if event.token() == TIMER {
                self.timer.fired();
                continue;
            }
            if event.is_writable() {
                self.writable(index, events);
            }
            let last = event.is_read_closed() || event.is_error();
            if event.is_readable() || last {
                self.readable(index, last, events);
            }
        }
        self.ready = ready;
        self.flush_dirty(events);
        self.expire_logins(events);
        Ok(())
    }

    fn peer(&self, user: u32) -> Option<&Peer> {
        self.peers.get(self.index(user))?.as_deref()
    }

    fn index(&self, user: u32) -> usize {
        user.wrapping_sub(self.access.first_user) as usize
    }

    fn source(&mut self) -> Option<IpAddr> {
        let sources = self.access.sources.min(SOURCES_MAX);
        self.made += 1;
        let turn = self.made.checked_rem(u64::from(sources))?;
        self.access.target.is_ipv4().then(|| {
            let last = u8::try_from(turn).unwrap_or(0).saturating_add(2);
            IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
        })
    }

    fn flush_dirty(&mut self, events: &mut Vec<Event>) {
        while let Some(user) = self.dirty.pop() {
            let index = self.index(user);
            if let Some(peer) = self.peers.get_mut(index).and_then(Option::as_mut) {
                peer.dirty = false;
            }
            self.writable(index, events);
        }
    }

    fn writable(&mut self, index: usize, events: &mut Vec<Event>) {
        let Some(peer) = self.peers.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        if let Err(error) = peer.transport.flush() {
            self.lose(index, &format!("writing: {error}"), events);
        }
    }

    /// `last`: the peer has closed its side, so that no further event will tell of bytes left unread.
    fn readable(&mut self, index: usize, last: bool, events: &mut Vec<Event>) {
        let Self { peers, scratch, access, auth, tls, .. } = self;
        let Some(peer) = peers.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        let mut cx = Context { terms: &access.terms, auth, tls: tls.as_ref() };
        let end = loop {
            match peer.transport.read(scratch) {
                Ok(Read::Bytes(count)) => {
                    let bytes = scratch.get(..count).unwrap_or_default();
                    match peer.take(bytes, &mut cx, events) {
                        Ok(true) => {}
                        Ok(false) => break Some("the server closed the stream".to_owned()),
                        Err(why) => break Some(why),
                    }
                    if !last && !peer.transport.may_have_more(count) {
                        break None;
                    }
                }
                Ok(Read::Dry) => break None,
                Ok(Read::Closed) => break Some("the server closed the connection".to_owned()),
                Err(error) => break Some(format!("reading: {error}")),
            }
        };
        let written = peer.transport.flush();
        self.last_arrival = Instant::now();
        if let Some(why) = end {
            self.lose(index, &why, events);
        } else if let Err(error) = written {
            self.lose(index, &format!("writing: {error}"), events);
        }
    }

    /// The connection is gone; whether that was wanted decides if it counts as a failure.
    fn lose(&mut self, index: usize, why: &str, events: &mut Vec<Event>) {
        let Some(peer) = self.peers.get_mut(index).and_then(Option::take) else {
            return;
        };
        self.open -= 1;
        if !peer.closing {
            self.failures += 1;
            let place = if peer.login.is_ready() { "online".to_owned() } else { peer.login.place() };
            self.first_failure.get_or_insert_with(|| format!("user{} ({place}): {why}", peer.user));
        }
        events.push(Event::Closed { user: peer.user, online: peer.login.is_ready() });
    }

    fn expire_logins(&mut self, events: &mut Vec<Event>) {
        while let Some((begun, user)) = self.pending.front().copied() {
            let stuck = self.peer(user).is_some_and(|peer| peer.begun == begun && !peer.login.is_ready());
            if stuck && begun.elapsed() < LOGIN_TIMEOUT {
                return;
            }
            self.pending.pop_front();
            if stuck {
                self.lose(self.index(user), "no answer within the login's time", events);
            }
        }
    }
}

/// What a peer's negotiation needs of the run.
struct Context<'a> {
    terms: &'a Terms,
    auth: &'a mut Authenticator,
    tls: Option<&'a (Arc<ClientConfig>, ServerName<'static>)>,
}

impl Peer {
    /// Takes bytes that arrived. `Ok(false)`: the stream has ended.
    fn take(&mut self, bytes: &[u8], cx: &mut Context<'_>, events: &mut Vec<Event>) -> Result<bool, String> {
        let at = Instant::now();
        let mut framing = std::mem::take(&mut self.framing);
        let going_on = framing.take(bytes, |element| {
            if self.login.is_ready() {
                self.stanza(element, at, events)?;
                return Ok(Next::GoOn);
            }
            self.negotiate(element, cx, events)
        });
        self.framing = framing;
        going_on
    }

    fn stanza(&mut self, stanza: Element<'_>, at: Instant, events: &mut Vec<Event>) -> Result<(), String> {
        if stanza.name() == b"stream:error" {
            return Err(String::from_utf8_lossy(stanza.0).into_owned());
        }
        if let Some(acks) = &mut self.acks {
            match stanza.name() {
                b"r" => {
                    acks.answer(&mut self.transport.out);
                    return Ok(());
                }
                b"a" => {
                    let h = stanza.attribute("h").and_then(|h| std::str::from_utf8(h).ok()?.parse().ok());
                    let h = h.ok_or("<a/> without h")?;
                    return acks.acknowledged(h, |due| events.push(Event::Acknowledged { due, at }));
                }
                _ => acks.received(),
            }
        }
        if let Duty::Answer { id, to } = observe(self.user, stanza, at, events) {
            let out = &mut self.transport.out;
            out.extend_from_slice(b"<iq type='result' id='");
            out.extend_from_slice(&id);
            if let Some(to) = to {
                out.extend_from_slice(b"' to='");
                out.extend_from_slice(&to);
            }
            out.extend_from_slice(b"'/>");
            if let Some(acks) = &mut self.acks {
                acks.sent(1);
            }
        }
        Ok(())
    }

    /// One step of the login; says what follows.
    fn negotiate(
        &mut self,
        element: Element<'_>,
        cx: &mut Context<'_>,
        events: &mut Vec<Event>,
    ) -> Result<Next, String> {
        match self.login.on_element(element, cx.terms, cx.auth, &mut self.transport.out) {
            Step::Wait => Ok(Next::GoOn),
            Step::Restart => Ok(Next::NewStream),
            Step::StartTls => {
                let (config, name) = cx.tls.ok_or("TLS without its set-up")?;
                self.transport.start_tls(config, name).map_err(|error| format!("TLS: {error}"))?;
                self.login.tls_started();
                Login::header(cx.terms, &mut self.transport.out);
                Ok(Next::NewStream)
            }
            Step::Ready => {
                match cx.terms.purpose {
                    Purpose::Register => {
                        self.closing = true;
                        self.transport.out.extend_from_slice(b"</stream:stream>");
                    }
                    Purpose::Session { sm: false, .. } => {}
                    Purpose::Session { roster, sm: true } => {
                        let acks = self.acks.insert(Acks::default());
                        acks.sent(1 + u32::from(roster));
                    }
                }
                events.push(Event::Ready { user: self.user, took: self.begun.elapsed() });
                Ok(Next::GoOn)
            }
            Step::Failed(why) => Err(why),
        }
    }
}
