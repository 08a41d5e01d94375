//! One thread of an edge: the only place that polls, accepts, and reads the clock.
//!
//! A turn: wait; read the links and the clients; accept; go on with what the last turn left; read some of those who were put off, and
//! those who waited for a link, by turns; timers; then flush every client that got output, each with one write, and every
//! link, each with one write.

use crate::client::{self, Arrival, Client, counter};
use crate::config::{Listener, ListenerTls};
use crate::dialer::Dialer;
use crate::dispatch;
use crate::figures::{Counts, PUBLISH_MS, Published};
use crate::limits::{
    ACCEPT_PAUSE_MS, ACCEPT_RESUME_TENTHS, ACCEPTS_PER_TURN, CONNECTIONS_PER_LOOP_MAX, DRAIN_STEP_MS, PUT_OFF_PER_TURN,
    TICK_MS, WRITTEN_REPORT_MS,
};
use crate::link::{Identity, Link, LinkError};
use crate::listener::{Door, exhausted};
use crate::live::{Live, LoopTls};
use crate::reattach::{self, Patience, Progress};
use crate::shared::{Random, Shared};
use crate::slab::Slab;
use crate::stream::{Elsewhere, Input, Now};
use crate::wheel::tick_of;
use hearth_link::Pace;
use hearth_wire::ids::ShardIndex;
use hearth_wire::to_core::{Drained, ToCore};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Events taken from the kernel at once, and clients served in one turn because of them: a storm of them is cut into turns, between
/// which the links are served.
const EVENTS: usize = 256;

/// How often a turn asks for more events while most are of clients who are put off: the kernel gives them in the order in
/// which they came, and somebody's stanza must not wait until thousands who come and go have been dealt with.
const POLLS: usize = 16;

const WAKER: Token = Token(0);
const LISTENERS: usize = 1;
const LINKS: usize = 1 << 12;
const CLIENTS: usize = 1 << 16;

/// What a loop is given when it starts.
pub(crate) struct Setup {
    pub(crate) live: Arc<Live>,
    pub(crate) identity: Identity,
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) listeners: Vec<(TcpListener, Listener)>,
    /// Connections that the system allows this loop.
    pub(crate) descriptors: usize,
    pub(crate) stop: Arc<AtomicU8>,
    pub(crate) published: Arc<Published>,
}

struct Listening {
    socket: TcpListener,
    config: Listener,
    /// Connections may wait.
    ready: bool,
}

/// See the module.
pub(crate) struct EventLoop {
    poll: Poll,
    clock: Clock,
    identity: Identity,
    dialer: Arc<Dialer>,
    listeners: Vec<Listening>,
    clients: Slab<Client>,
    cx: Shared,
    stop: Arc<AtomicU8>,
    /// Connections accepted so far.
    sequence: u64,
    connections_max: usize,
    descriptors: usize,
    /// Of the settings in force.
    version: u64,
    /// The cap was reached, and not yet left well enough.
    full: bool,
    accept_after_ms: u64,
    second_at_ms: u64,
    /// Clients that come or go, with events that wait until those who are there have been served. Each once; one that is gone may
    /// be named still.
    put_off: VecDeque<u32>,
    /// Links with bytes that the last turn left.
    links_again: Vec<ShardIndex>,
    /// Sessions are left to be named in the next turn.
    attaching: Progress,
    patience: Patience,
    /// Set once the edge stops.
    drain: Option<Drain>,
    published: Arc<Published>,
    publish_at_ms: u64,
}

impl EventLoop {
    /// Registers everything; the waker interrupts its wait.
    pub(crate) fn new(setup: Setup) -> io::Result<(EventLoop, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let mut listeners = Vec::new();
        for (at, (mut socket, config)) in setup.listeners.into_iter().enumerate() {
            poll.registry().register(&mut socket, Token(LISTENERS.saturating_add(at)), Interest::READABLE)?;
            listeners.push(Listening { socket, config, ready: true });
        }
        let mut this = EventLoop {
            poll,
            clock: Clock::new(),
            identity: setup.identity,
            dialer: setup.dialer,
            listeners,
            clients: Slab::new(),
            cx: Shared::new(setup.live, Random::new(fill_random)),
            stop: setup.stop,
            sequence: 0,
            connections_max: 1,
            descriptors: setup.descriptors,
            version: 0,
            full: false,
            accept_after_ms: 0,
            second_at_ms: 0,
            put_off: VecDeque::new(),
            links_again: Vec::new(),
            attaching: Progress::Done,
            patience: Patience::default(),
            drain: None,
            published: setup.published,
            publish_at_ms: 0,
        };
        this.cx.round_trips = Arc::clone(&this.published.round_trips);
        this.take_settings();
        Ok((this, waker))
    }

    /// Until stopped and drained.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        self.read_clock();
        let mut pace = Pace::new();
        loop {
            pace.wait();
            let patience = self.patience();
            match self.poll.poll(&mut events, patience) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                done => done?,
            }
            self.read_clock();
            pace.begin();
            pace.did(events.iter().count());
            let last = self.turn(&mut events)?;
            self.published.turns.note(pace.began().elapsed());
            if last {
                return Ok(());
            }
        }
    }

    /// One turn; true if it was the last.
    fn turn(&mut self, events: &mut Events) -> io::Result<bool> {
        let again = std::mem::take(&mut self.cx.again);
        for shard in std::mem::take(&mut self.links_again) {
            self.read_link(shard);
        }
        self.take(events)?;
        self.accept();
        while let Some(waiting) = self.cx.entry.next(self.cx.now.mono_ms) {
            match self.clients.get_mut(waiting.place) {
                Some(client) => {
                    client.let_in(waiting, &mut self.cx);
                    client.touch(&mut self.cx);
                }
                None => self.cx.entry.leave(self.cx.now.mono_ms),
            }
        }
        while let Some((place, counter)) = self.cx.handshakes.due(self.cx.now.mono_ms) {
            self.with(place, |client, cx| client.shake_hands(counter, cx));
        }
        for place in again {
            self.with(place, Client::resume);
        }
        self.serve_put_off();
        self.serve_waiting();
        self.on_time();
        self.attaching = reattach::turn(&mut self.clients, &mut self.cx);
        self.flush_clients();
        self.flush_links();
        Ok(self.drained())
    }

    /// Serves what the kernel has to say, and asks it for more as long as little of that cost anything.
    fn take(&mut self, events: &mut Events) -> io::Result<()> {
        let mut served = 0usize;
        for _ in 0..POLLS {
            for event in events.iter() {
                served = served.saturating_add(usize::from(self.on_event(event)));
            }
            if events.iter().count() < EVENTS || served >= EVENTS {
                break;
            }
            match self.poll.poll(events, Some(Duration::ZERO)) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => break,
                done => done?,
            }
        }
        Ok(())
    }

    /// False if it is put off.
    fn on_event(&mut self, event: &mio::event::Event) -> bool {
        match event.token() {
            WAKER => {}
            Token(at) if at >= CLIENTS => return self.on_client_event(at - CLIENTS, event),
            Token(at) if at >= LINKS => {
                self.read_link(ShardIndex::try_from(at - LINKS).unwrap_or(ShardIndex::MAX));
            }
            Token(at) => {
                if let Some(listening) = self.listeners.get_mut(at.saturating_sub(LISTENERS)) {
                    listening.ready = true;
                }
            }
        }
        true
    }

    /// How long nothing has to be done unless something happens.
    fn patience(&mut self) -> Option<Duration> {
        let waiting = self.listeners.iter().any(|listening| listening.ready);
        let now = self.cx.now.mono_ms;
        let others = !self.put_off.is_empty() || self.cx.links.iter().any(Link::serves);
        if others || !self.cx.again.is_empty() || !self.links_again.is_empty() || self.attaching == Progress::More {
            return Some(Duration::ZERO);
        }
        let mut at = self.cx.links.iter().map(Link::next_ms).min().unwrap_or(u64::MAX);
        if waiting && self.has_room() {
            at = at.min(self.accept_after_ms);
        }
        if !self.cx.wheel.is_empty() {
            at = at.min(u64::from(self.cx.tick).saturating_mul(TICK_MS));
        }
        if !self.cx.seconds.is_empty() {
            at = at.min(self.second_at_ms);
        }
        if let Some(due) = self.next_answer_ms() {
            at = at.min(due);
        }
        at = at.min(self.patience.next_ms()).min(self.cx.entry.next_ms()).min(self.cx.handshakes.next_ms());
        if let Some(drain) = &self.drain {
            at = at.min(drain.next_ms());
        }
        (at != u64::MAX).then(|| Duration::from_millis(at.saturating_sub(now)))
    }

    /// When the first `<r/>` has waited long enough; most have been answered by then.
    fn next_answer_ms(&mut self) -> Option<u64> {
        while let Some((due, place)) = self.cx.asked.front().copied() {
            if self.clients.get_mut(place).is_some_and(Client::still_asked) {
                return Some(due);
            }
            self.cx.asked.pop_front();
        }
        None
    }

    fn read_clock(&mut self) {
        (self.cx.now, self.cx.turn_us) = self.clock.now();
        self.cx.tick = tick_of(self.cx.now.mono_ms);
    }

    // ---- clients ----

    fn with(&mut self, place: u32, act: impl FnOnce(&mut Client, &mut Shared)) {
        if let Some(client) = self.clients.get_mut(place) {
            act(client, &mut self.cx);
            client.touch(&mut self.cx);
        }
    }

    /// False if it is put off.
    fn on_client_event(&mut self, place: usize, event: &mio::event::Event) -> bool {
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        let Some(client) = self.clients.get_mut(place) else { return false };
        let over = event.is_error() || event.is_read_closed();
        if over || client.is_coming() {
            if event.is_writable() {
                client.on_writable(&mut self.cx);
            }
            if (over || event.is_readable()) && client.put_off(event.is_error(), over) {
                self.put_off.push_back(place);
            }
            return false;
        }
        if event.is_writable() {
            client.on_writable(&mut self.cx);
        }
        if event.is_readable() {
            client.on_readable(&mut self.cx);
        }
        client.touch(&mut self.cx);
        true
    }

    /// The next of those who come or go.
    fn serve_put_off(&mut self) {
        for _ in 0..PUT_OFF_PER_TURN {
            let Some(place) = self.put_off.pop_front() else { break };
            self.with(place, Client::on_put_off);
        }
    }

    fn accept(&mut self) {
        if self.cx.now.mono_ms < self.accept_after_ms {
            return;
        }
        if !self.has_room() {
            return;
        }
        self.full = false;
        for at in 0..self.listeners.len() {
            for _ in 0..ACCEPTS_PER_TURN {
                let Some(listening) = self.listeners.get_mut(at).filter(|listening| listening.ready) else { break };
                if self.clients.len() >= self.connections_max {
                    self.full = true;
                    tracing::warn!(event = "connections_full", max = self.connections_max);
                    return;
                }
                match listening.socket.accept() {
                    Ok((socket, peer)) => self.admit(at, socket, peer.ip().to_canonical()),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => listening.ready = false,
                    Err(e) if exhausted(&e) => {
                        tracing::warn!(event = "accept_failed", error = %e);
                        self.accept_after_ms = self.cx.now.mono_ms.saturating_add(ACCEPT_PAUSE_MS);
                        return;
                    }
                    // The client gave up meanwhile, and the like.
                    Err(_) => {}
                }
            }
        }
    }

    /// False from the moment the cap is reached until enough clients have left.
    fn has_room(&self) -> bool {
        !self.full || self.clients.len().saturating_mul(10) < self.connections_max.saturating_mul(ACCEPT_RESUME_TENTHS)
    }

    /// Takes a connection in, or closes it by dropping it.
    fn admit(&mut self, listener: usize, mut socket: TcpStream, peer: IpAddr) {
        let Some(config) = self.listeners.get(listener).map(|listening| &listening.config) else { return };
        let proxied = config.proxy_from.iter().any(|network| network.contains(peer));
        let arrival =
            Arrival { peer, direct: config.tls == ListenerTls::Direct, clear_login: config.allow_clear_login };
        let door = if proxied { Some(Door::NONE) } else { self.cx.enter(peer) };
        let Some(door) = door else { return };
        let place = self.clients.vacant();
        let token = Token(CLIENTS.saturating_add(place as usize));
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self.poll.registry().register(&mut socket, token, interest).is_err() {
            self.cx.door.authenticated(door);
            return self.cx.door.leave(door);
        }
        set_up(&socket, self.cx.config.timeouts.tcp_user_timeout_s);
        self.sequence = self.sequence.saturating_add(1);
        let counter = counter(self.sequence, self.identity.event_loop, place);
        let mut client = Client::new(socket, arrival, proxied, door, counter, &mut self.cx);
        client.touch(&mut self.cx);
        let taken = self.clients.insert(client);
        debug_assert_eq!(taken, place);
        self.cx.again.push(place);
    }

    /// The end of the turn for every client that something happened to.
    fn flush_clients(&mut self) {
        while let Some(place) = self.cx.dirty.pop() {
            let Some(client) = self.clients.get_mut(place) else { continue };
            client.flush(&mut self.cx);
            if client.is_dead() {
                client.bury(&mut self.cx);
                self.clients.remove(place);
            } else {
                client.arm(&mut self.cx);
            }
        }
    }

    // ---- links ----

    fn read_link(&mut self, shard: ShardIndex) {
        let now = self.cx.now.mono_ms;
        let mut scratch = std::mem::take(&mut self.cx.scratch.read);
        let read = match self.cx.link(shard) {
            Some(link) => link.read(&mut scratch, now),
            None => Ok(false),
        };
        self.cx.scratch.read = scratch;
        // What came before the end still counts: a refusal with its reason, the last deliveries.
        let handled = dispatch::frames(shard, &mut self.clients, &mut self.cx);
        match handled.and(read) {
            Ok(true) => self.links_again.push(shard),
            Ok(false) => {}
            Err(error) => self.on_link_lost(shard, &error),
        }
    }

    fn flush_links(&mut self) {
        for shard in 0..self.cx.links.len() {
            let shard = ShardIndex::try_from(shard).unwrap_or(ShardIndex::MAX);
            let now = self.cx.now.mono_ms;
            let Some(link) = self.cx.link(shard) else { continue };
            match link.flush(now, self.poll.registry()) {
                Ok(true) => reattach::on_room(shard, &mut self.cx),
                Ok(false) => {}
                Err(error) => self.on_link_lost(shard, &error),
            }
        }
    }

    /// Each of those who wait for room is read once more, by turns, while there is some.
    fn serve_waiting(&mut self) {
        for shard in 0..self.cx.links.len() {
            let shard = ShardIndex::try_from(shard).unwrap_or(ShardIndex::MAX);
            let waiting = self.cx.link(shard).map_or(0, |link| link.waiting.len());
            for _ in 0..waiting {
                let Some(link) = self.cx.link(shard).filter(|link| link.serves()) else { break };
                let Some(counter) = link.waiting.pop_front() else { break };
                let place = client::place(counter);
                self.with(place, |client, cx| {
                    if client.counter() == counter {
                        client.on_link_room(cx);
                    }
                });
            }
        }
    }

    fn dial_links(&mut self) {
        let (now, turn_us) = (self.cx.now.mono_ms, self.cx.turn_us);
        for at in 0..self.cx.links.len() {
            let token = Token(LINKS.saturating_add(at));
            let Some(link) = self.cx.links.get_mut(at) else { continue };
            let done = link
                .on_tick(now, turn_us)
                .and_then(|()| link.dial(&self.dialer, &self.identity, self.poll.registry(), token, now));
            if let Err(error) = done {
                self.on_link_lost(ShardIndex::try_from(at).unwrap_or(ShardIndex::MAX), &error);
            }
        }
    }

    /// Sessions outlive their link if the core can attach them again and did not refuse this edge; else their
    /// streams are closed, and their clients come again.
    fn on_link_lost(&mut self, shard: ShardIndex, error: &LinkError) {
        let now = self.cx.now.mono_ms;
        let random = self.cx.random.number();
        let Some(link) = self.cx.links.get_mut(usize::from(shard)) else { return };
        self.cx.counts.links_lost = self.cx.counts.links_lost.wrapping_add(u64::from(link.is_up()));
        if link.is_up() || matches!(error, LinkError::Refused(_) | LinkError::Wire(_)) {
            tracing::warn!(event = "link_lost", shard, %error);
        } else if link.failed_first() {
            tracing::warn!(event = "core_unreachable", shard, %error);
        } else {
            tracing::debug!(event = "link_failed", shard, %error);
        }
        let stay = link.attaches() && !matches!(error, LinkError::Refused(_));
        link.drop_connection(now, random);
        if !self.cx.links.iter().any(Link::is_up) {
            self.cx.directory.forget();
        }
        reattach::on_link_lost(shard, stay, &mut self.clients, &mut self.cx);
    }

    // ---- time ----

    fn on_time(&mut self) {
        self.dial_links();
        let mut fired = Vec::new();
        self.cx.wheel.advance(self.cx.tick, &mut fired);
        for place in fired {
            self.with(place, |client, cx| client.on_timer(cx));
        }
        let now = self.cx.now.mono_ms;
        if self.cx.seconds.is_empty() {
            self.second_at_ms = now.saturating_add(WRITTEN_REPORT_MS);
        } else if now >= self.second_at_ms {
            self.second_at_ms = now.saturating_add(WRITTEN_REPORT_MS);
            for place in std::mem::take(&mut self.cx.seconds) {
                if let Some(client) = self.clients.get_mut(place) {
                    client.on_second(&mut self.cx);
                }
            }
        }
        while self.next_answer_ms().is_some_and(|due| due <= now)
            && let Some((_, place)) = self.cx.asked.pop_front()
        {
            if let Some(client) = self.clients.get_mut(place) {
                client.answer(&mut self.cx);
            }
        }
        if now >= self.publish_at_ms {
            self.publish_at_ms = now.saturating_add(PUBLISH_MS);
            self.cx.handshakes.forget(now);
            self.published.publish(self.counts());
        }
        self.prune();
        self.patience.turn(&mut self.clients, &mut self.cx);
        if self.cx.live.version() != self.version {
            self.take_settings();
        }
        if self.stop.load(Ordering::Acquire) > 0 {
            self.drain();
        }
    }

    fn counts(&self) -> Counts {
        let links = &self.cx.links;
        Counts {
            connections: self.clients.len() as u64,
            bound: u64::from(self.clients.bound()),
            newcomers_waiting: self.cx.entry.waiting() as u64,
            detached: self.cx.detached.len() as u64,
            accepted: self.sequence,
            links: links.len() as u64,
            links_up: links.iter().filter(|link| link.is_up()).count() as u64,
            link_credit: links.iter().map(Link::credit).sum(),
            link_waiting: links.iter().map(Link::waiting_bytes).sum(),
            held: links.iter().map(|link| link.waiting.len() as u64).sum(),
            ..self.cx.counts
        }
    }

    /// What the operator changed holds from here on; connections and streams live on.
    fn take_settings(&mut self) {
        // Read first: what comes between the two is taken again.
        self.version = self.cx.live.version();
        let settings = self.cx.live.settings();
        self.cx.config = Arc::clone(&settings.config);
        self.cx.directory.set_idle_s(settings.config.timeouts.idle_s);
        self.cx.tls = LoopTls::new(settings);
        let share = self.cx.config.connections_max / usize::from(self.identity.event_loops.max(1));
        self.connections_max = share.min(self.descriptors).clamp(1, CONNECTIONS_PER_LOOP_MAX);
    }

    /// Clients that wait for the core or a link may leave meanwhile: the lists stay as long as there are clients.
    fn prune(&mut self) {
        let bound = self.clients.len().saturating_mul(2).saturating_add(64);
        let clients = &mut self.clients;
        if self.cx.entry.waiting() > bound {
            self.cx
                .entry
                .retain(|place, counter| clients.get_mut(place).is_some_and(|client| client.counter() == counter));
        }
        if self.cx.held.len() > bound {
            self.cx.held.sort_unstable();
            self.cx.held.dedup();
            self.cx.held.retain(|place| clients.get_mut(*place).is_some_and(|client| client.held_for().is_some()));
        }
        for link in self.cx.links.iter_mut().filter(|link| link.waiting.len() > bound) {
            link.waiting
                .retain(|counter| dispatch::find(*counter, clients).is_some_and(|client| client.waits_for_link()));
        }
    }

    /// No new clients; those that are here get the end of their streams, share by share.
    fn drain(&mut self) {
        let now = self.cx.now.mono_ms;
        if self.drain.is_none() {
            self.listeners.clear();
            for link in &mut self.cx.links {
                link.send(&ToCore::Drained(Drained { draining: true }));
            }
            let (drain_s, per_s) = (self.cx.config.timeouts.drain_s, self.cx.config.drain.streams_per_s);
            self.drain = Some(Drain::new(self.clients.bound(), drain_s, per_s, now));
        }
        let random = self.cx.random.number();
        let Some(places) = self.drain.as_mut().map(|drain| drain.share(now, random)) else { return };
        let config = Arc::clone(&self.cx.config);
        let host = config.drain.other_host.as_deref();
        let elsewhere = Elsewhere { host, after_login: config.drain.other_host_after_login };
        for place in places {
            self.with(place, |client, cx| client.input(Input::Shutdown(elsewhere), cx));
        }
    }

    fn drained(&self) -> bool {
        let over = |drain: &Drain| self.clients.len() == 0 || self.cx.now.mono_ms >= drain.until_ms;
        self.drain.as_ref().is_some_and(over) || self.stop.load(Ordering::Acquire) > 1
    }
}

/// How far a stopping loop has come.
#[derive(Debug)]
struct Drain {
    /// Places of the table from here on are still to be told.
    next: u32,
    end: u32,
    /// Places told at each step.
    step: u32,
    step_at_ms: u64,
    /// Then it ends, whoever is left.
    until_ms: u64,
}

impl Drain {
    fn new(places: u32, drain_s: u32, per_s: u32, now_ms: u64) -> Drain {
        let drain_ms = u64::from(drain_s).saturating_mul(1000);
        let steps = (drain_ms / 2 / DRAIN_STEP_MS).max(1);
        let at_least = u64::from(per_s).saturating_mul(DRAIN_STEP_MS).div_ceil(1000);
        let step = u64::from(places).div_ceil(steps).max(at_least);
        let step = u32::try_from(step).unwrap_or(u32::MAX);
        Drain { next: 0, end: places, step, step_at_ms: now_ms, until_ms: now_ms.saturating_add(drain_ms) }
    }

    /// The places whose streams end now. Steps are half as long or half as long again, as `random` has it, so that
    /// edges which stop together do not send their clients in step.
    fn share(&mut self, now_ms: u64, random: u64) -> std::ops::Range<u32> {
        let start = self.next;
        if now_ms >= self.step_at_ms {
            self.step_at_ms = now_ms.saturating_add(DRAIN_STEP_MS / 2).saturating_add(random % DRAIN_STEP_MS);
            self.next = start.saturating_add(self.step).min(self.end);
        }
        start..self.next
    }

    fn next_ms(&self) -> u64 {
        if self.next < self.end { self.step_at_ms.min(self.until_ms) } else { self.until_ms }
    }
}

/// Time since the loop started, and of day.
struct Clock {
    start: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the loop's own clock, read once a turn")]
    fn new() -> Clock {
        Clock { start: Instant::now() }
    }

    /// The time, and the first of it in microseconds.
    #[expect(clippy::disallowed_methods, reason = "the loop's own clock, read once a turn")]
    fn now(&self) -> (Now, u64) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mono = Instant::now().saturating_duration_since(self.start);
        let utc_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, millis);
        (Now { mono_ms: millis(mono), utc_ms }, u64::try_from(mono.as_micros()).unwrap_or(u64::MAX))
    }
}

#[expect(clippy::disallowed_methods, reason = "the source of all randomness of a loop")]
fn fill_random(bytes: &mut [u8]) {
    // aws-lc aborts rather than fail; were it ever to report an error, ids would only repeat within a batch.
    let done = aws_lc_rs::rand::fill(bytes);
    debug_assert!(done.is_ok());
}

const _: () = assert!(CONNECTIONS_PER_LOOP_MAX <= client::PLACES, "a handle counter has room for the place");

/// What the kernel is told of a client's socket. Without it a client that has gone without a word and is sent something is
/// only given up when the kernel stops to send it again, after a quarter of an hour.
fn set_up(socket: &TcpStream, tcp_user_timeout_s: u32) {
    // Everything pending goes out in one write, so waiting for more only delays it.
    let _ = socket.set_nodelay(true);
    let patience = Duration::from_secs(u64::from(tcp_user_timeout_s));
    let _ = socket2::SockRef::from(socket).set_tcp_user_timeout(Some(patience));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_gives_up_who_has_gone_without_a_word() {
        let door = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = std::net::TcpStream::connect(door.local_addr().unwrap()).unwrap();
        let (socket, _) = door.accept().unwrap();
        let socket = TcpStream::from_std(socket);
        set_up(&socket, 77);
        let seen = socket2::SockRef::from(&socket).tcp_user_timeout().unwrap();
        assert_eq!((seen, socket.nodelay().unwrap()), (Some(Duration::from_secs(77)), true));
    }

    #[test]
    fn streams_end_at_a_bounded_pace_and_in_time() {
        for (places, drain_s) in [(0, 10), (1, 1), (250, 10), (10_000, 10), (1_000_000, 10), (70_000, 60)] {
            let mut drain = Drain::new(places, drain_s, 2_000, 1_000);
            let (mut now, mut told) = (1_000, 0);
            while drain.next < drain.end {
                let share = drain.share(now, DRAIN_STEP_MS / 2);
                assert_eq!(share.start, told, "none is left out");
                told = share.end;
                assert!(drain.share(now, 0).is_empty(), "not twice in a step");
                now = drain.next_ms();
            }
            let (took, half) = (now - 1_000, u64::from(drain_s) * 500);
            assert!(told == places && took <= half + DRAIN_STEP_MS || drain.next_ms() == drain.until_ms, "{places}");
            let fastest = u64::from(places) * 1000 / 2_000;
            assert!(took == 0 || took >= fastest.min(half).saturating_sub(DRAIN_STEP_MS), "{places}: {took}");
        }
    }

    #[test]
    fn steps_differ_but_not_the_pace() {
        let mut drain = Drain::new(100_000, 100, 2_000, 0);
        let mut steps = std::collections::BTreeSet::new();
        let (mut now, mut random) = (0, 7u64);
        while drain.next < drain.end {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            drain.share(now, random >> 33);
            steps.insert(drain.step_at_ms - now);
            now = drain.step_at_ms;
        }
        assert!(steps.len() > 20 && steps.iter().all(|step| (25..=75).contains(step)), "{steps:?}");
        assert!((40_000..60_000).contains(&now), "2,000 a second of 100,000: {now} ms");
    }
}
