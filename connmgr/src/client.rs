//! One client: its transport, framer and stream, driven by the event loop.
//!
//! Bytes come in by `client/reading.rs`; here is what leaves, what the core says, and time.

mod arrival;
mod reading;

pub(crate) use arrival::Arrival;
use arrival::Stranger;

use crate::conn::{Conn, Flushed};
use crate::entry::{Entry, Waiting};
use crate::limits::{ACK_WAIT_MS, LINGER_MS, NEWCOMER_MS, NEWCOMER_STANZAS, PROXY_HEADER_MS};
use crate::listener::Door;
use crate::rate::Rate;
use crate::session::Session;
use crate::shared::Shared;
use crate::stream::{Deadline, Facts, Input, Output, Question, Stream};
use crate::wheel::{NEVER, Tick, tick_after};
use crate::xml::{Framer, Scope};
use hearth_wire::StreamCondition;
use hearth_wire::ids::{Generation, ShardIndex};
use hearth_wire::stanza::Stanza;
use hearth_wire::to_core::{Closed, ToCore};
use hearth_wire::to_edge::{Attached, Settled, Target};
use mio::net::TcpStream;

/// How a client's connection is ending.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    Open,
    /// Our end of the stream is written; the client's is awaited, what it sends thrown away.
    Lingering,
    /// Everything is said; the socket closes once it took that.
    Finishing,
    /// The socket is of no more use.
    Dead,
}

/// Whether a TLS handshake may begin (`handshakes.rs`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Handshake {
    /// Nobody was asked yet.
    Due,
    /// Its first bytes are kept until its turn.
    Waiting,
    Begun,
}

/// See the module.
pub(crate) struct Client {
    conn: Conn,
    stream: Stream,
    scope: Scope,
    framer: Framer,
    /// [`hearth_wire::ids::Handle::counter`]: place in the table, loop, sequence.
    counter: u64,
    /// The shard that knows this client.
    shard: Option<ShardIndex>,
    /// Where it comes from, until it is authenticated.
    stranger: Option<Box<Stranger>>,
    door: Door,
    rate: Rate,
    life: Life,
    /// The socket may have bytes that were not read.
    unread: bool,
    /// The client's half is known to end behind them.
    peer_closed: bool,
    /// TLS said that nothing follows what is decrypted.
    tls_closed: bool,
    put_off: PutOff,
    /// Is in [`Shared::dirty`], [`Shared::asked`], [`Shared::seconds`], [`crate::link::Link::waiting`].
    dirty: bool,
    asked: bool,
    seconds: bool,
    waits_for_link: bool,
    /// It sent more than it may, and is not read until the wheel calls.
    slowed: bool,
    entry: Entry,
    handshake: Handshake,
    /// Stanzas that it may still send as a newcomer; see [`NEWCOMER_STANZAS`].
    newcomer: u8,
    /// Login or linger must be done by then.
    deadline: Tick,
    last_read: Tick,
    /// It was asked for a sign of life then, and has given none since; else [`NEVER`].
    asked_at: Tick,
    /// Kilobytes and reads thrown away.
    wasted: u16,
    /// The client closed its stream properly.
    clean: bool,
}

/// Whether what the kernel said of its socket waits until those who are there have been served.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum PutOff {
    #[default]
    No,
    Ready,
    /// Nothing passes it any more.
    Broken,
}

/// Places that a counter can name.
pub(crate) const PLACES: usize = 1 << PLACE_BITS;

/// Bits of a counter that hold the place in the table, and the loop.
const PLACE_BITS: u32 = 20;
const LOOP_BITS: u32 = 8;

/// The counter of the `sequence`-th connection of a loop, at `place` of its table.
pub(crate) fn counter(sequence: u64, event_loop: u16, place: u32) -> u64 {
    let event_loop = u64::from(event_loop) & ((1 << LOOP_BITS) - 1);
    sequence << (PLACE_BITS + LOOP_BITS) | event_loop << PLACE_BITS | u64::from(place) & ((1 << PLACE_BITS) - 1)
}

/// The place that a counter names.
pub(crate) fn place(counter: u64) -> u32 {
    u32::try_from(counter & ((1 << PLACE_BITS) - 1)).unwrap_or(0)
}

impl Client {
    /// A fresh connection. `proxied`: who it is of is said by its first bytes.
    pub(crate) fn new(
        socket: TcpStream,
        arrival: Arrival,
        proxied: bool,
        door: Door,
        counter: u64,
        cx: &mut Shared,
    ) -> Client {
        let mut client = Client {
            conn: Conn::new(socket),
            stream: Stream::new(Facts { clear_login: false, id: [0; 16] }),
            scope: Scope::default(),
            framer: Framer::new(),
            counter,
            shard: None,
            stranger: Some(Box::new(Stranger { arrival, header: proxied.then(Vec::new) })),
            door,
            rate: Rate::default(),
            life: Life::Open,
            unread: true,
            peer_closed: false,
            tls_closed: false,
            put_off: PutOff::No,
            dirty: false,
            seconds: false,
            asked: false,
            waits_for_link: false,
            slowed: false,
            entry: Entry::Idle,
            handshake: Handshake::Due,
            newcomer: NEWCOMER_STANZAS,
            deadline: tick_after(cx.tick, PROXY_HEADER_MS),
            last_read: cx.tick,
            asked_at: NEVER,
            wasted: 0,
            clean: false,
        };
        if !proxied {
            client.begin(arrival, cx);
        }
        client
    }

    pub(crate) fn counter(&self) -> u64 {
        self.counter
    }

    pub(crate) fn shard(&self) -> Option<ShardIndex> {
        self.shard
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.life == Life::Dead
    }

    /// The bound session, while there is one.
    pub(crate) fn session(&mut self) -> Option<&mut Session> {
        match &mut self.stream {
            Stream::Bound(session) => Some(session),
            Stream::Negotiating(_) | Stream::Ended(_) => None,
        }
    }

    /// Whether its session, bound or with its last words to say, is this attachment.
    pub(crate) fn is(&mut self, generation: Generation) -> bool {
        self.stream.session_mut().is_some_and(|session| session.generation() == generation)
    }

    /// The domain of the stream, once it is known.
    pub(crate) fn domain(&self) -> Option<&str> {
        match &self.stream {
            Stream::Negotiating(negotiation) => negotiation.domain(),
            Stream::Bound(session) => Some(hearth_wire::jid::split(session.jid()).1),
            Stream::Ended(_) => None,
        }
    }

    /// Whether a link knows that this client waits for its room.
    pub(crate) fn waits_for_link(&self) -> bool {
        self.waits_for_link
    }

    /// The domain that a held header waits for.
    pub(crate) fn held_for(&self) -> Option<String> {
        match &self.stream {
            Stream::Negotiating(negotiation) => negotiation.held_for().map(str::to_owned),
            Stream::Bound(_) | Stream::Ended(_) => None,
        }
    }

    /// Before the table forgets this client.
    pub(crate) fn bury(&mut self, cx: &mut Shared) {
        self.tell_closed(cx);
        self.conn.drop_buffers(&mut cx.pool);
        self.no_stranger(cx);
        cx.door.leave(std::mem::replace(&mut self.door, Door::NONE));
        self.answered(cx);
    }

    /// Makes room at the door for another stranger, once.
    fn no_stranger(&mut self, cx: &mut Shared) {
        if self.stranger.take().is_some() {
            cx.door.authenticated(self.door);
        }
    }

    // ---- the machine ----

    /// Hands one input to the stream and performs what it says.
    pub(crate) fn input(&mut self, input: Input<'_>, cx: &mut Shared) {
        if self.awaits_header() {
            return self.on_input_early(&input);
        }
        let mut out = std::mem::take(&mut cx.scratch.outputs);
        self.stream.handle(input, cx.now, &mut out);
        self.perform(out, cx);
    }

    fn perform(&mut self, mut out: Vec<Output>, cx: &mut Shared) {
        let mut lost = false;
        for output in out.drain(..) {
            match output {
                Output::Write(bytes) => {
                    self.conn.output(&mut cx.pool).extend_from_slice(&bytes);
                    self.mark_dirty(cx);
                }
                Output::StartTls => {
                    if self.conn.start_tls(&cx.tls.config(self.domain())).is_err() {
                        self.life = Life::Dead;
                    }
                }
                Output::NewStream => {
                    self.framer.restart();
                    self.scope = Scope::default();
                }
                Output::Ask(question) => lost |= !self.ask_or_wait(question, cx),
                Output::Authenticated => self.no_stranger(cx),
                Output::Bound => self.deadline = tick_after(cx.tick, NEWCOMER_MS),
                Output::Asked => self.asked_at = cx.tick,
                Output::End { clean, linger } => self.end(clean, linger, cx),
            }
        }
        cx.scratch.outputs = out;
        if lost {
            self.input(Input::LinkLost, cx);
        }
    }

    // ---- on the way in ----

    /// Asks, or waits for a place (`entry.rs`); false if nobody can be asked.
    fn ask_or_wait(&mut self, question: Question, cx: &mut Shared) -> bool {
        if question.is_work() && !self.enter(cx) {
            self.wait_to_enter(Some(question), cx);
            return true;
        }
        self.ask(&question, cx)
    }

    fn ask(&mut self, question: &Question, cx: &mut Shared) -> bool {
        let peer = self.stranger.as_ref().map(|stranger| &stranger.arrival.peer);
        match cx.ask(self.counter, peer, self.shard, question) {
            Some(shard) => self.shard = Some(shard),
            None => return false,
        }
        true
    }

    /// Whether it has a place, or got one.
    pub(super) fn enter(&mut self, cx: &mut Shared) -> bool {
        if self.entry == Entry::Idle && cx.entry.enter(cx.now.mono_ms) {
            self.entry = Entry::Inside;
        }
        self.entry == Entry::Inside
    }

    pub(super) fn wait_to_enter(&mut self, question: Option<Question>, cx: &mut Shared) {
        if self.entry == Entry::Idle {
            self.entry = Entry::Waiting;
            cx.entry.wait(Waiting { place: place(self.counter), counter: self.counter, question });
        }
    }

    /// A place is free for it, and taken.
    pub(crate) fn let_in(&mut self, waiting: Waiting, cx: &mut Shared) {
        if self.counter != waiting.counter || self.entry != Entry::Waiting || self.life != Life::Open {
            return cx.entry.leave(cx.now.mono_ms);
        }
        self.entry = Entry::Inside;
        match waiting.question {
            Some(question) => {
                if !self.ask(&question, cx) {
                    self.input(Input::LinkLost, cx);
                }
            }
            None => cx.again.push(place(self.counter)),
        }
    }

    /// The core has answered, or will not.
    pub(crate) fn answered(&mut self, cx: &mut Shared) {
        if self.entry == Entry::Inside {
            cx.entry.leave(cx.now.mono_ms);
            self.entry = Entry::Idle;
        }
    }

    fn end(&mut self, clean: bool, linger: bool, cx: &mut Shared) {
        if self.life != Life::Open {
            return;
        }
        self.life = if linger { Life::Lingering } else { Life::Finishing };
        self.deadline = tick_after(cx.tick, LINGER_MS);
        tracing::debug!(event = "stream_ended", handle = self.counter, clean);
        self.mark_dirty(cx);
        self.clean = clean;
    }

    /// Tells the core, once, that this client is gone, behind the last report of what it was sent. A session
    /// that has more to send first, or no link, is kept for that.
    fn tell_closed(&mut self, cx: &mut Shared) {
        let shard = self.shard.take();
        if self.stream.session_mut().is_some_and(|session| !session.is_attached()) {
            let ended = std::mem::replace(&mut self.stream, Stream::Ended(None));
            if let Stream::Bound(session) | Stream::Ended(Some(session)) = ended
                && !cx.detached.bury(self.counter, session, self.clean, shard)
            {
                tracing::warn!(event = "session_forgotten", "too many sockets ended while the core was away");
            }
            return;
        }
        let Some(shard) = shard else { return };
        let Some(link) = cx.link(shard).filter(|link| link.is_up()) else { return };
        let clean = self.clean;
        let generation = self.stream.session_mut().map(|session| {
            if clean {
                session.on_clean_end();
            }
            session.report(self.counter, link.out());
            session.generation()
        });
        link.send(&ToCore::Closed(Closed { counter: self.counter, generation, clean: self.clean }));
    }

    /// The shard that knew this client is out of reach. `stays`: its session waits for another link.
    pub(crate) fn on_link_lost(&mut self, stays: bool, cx: &mut Shared) {
        self.shard = None;
        self.waits_for_link = false;
        self.answered(cx);
        self.input(if stays { Input::Detached } else { Input::LinkLost }, cx);
        if self.stream.session_mut().is_some_and(|session| session.is_away()) {
            cx.detached.add(self.counter);
            if self.can_resume(cx) {
                cx.again.push(place(self.counter));
            }
        }
    }

    /// Nobody will have the session of a lost link.
    pub(crate) fn give_up(&mut self, cx: &mut Shared) {
        self.input(Input::LinkLost, cx);
    }

    /// The session, while it has no link.
    pub(crate) fn away(&mut self) -> Option<&mut Session> {
        self.stream.session_mut().filter(|session| session.is_away())
    }

    /// Names the session on the link to `shard`.
    pub(crate) fn attach(&mut self, shard: ShardIndex, cx: &mut Shared) {
        let (Some(session), Some(link)) = (self.stream.session_mut(), cx.links.get_mut(usize::from(shard))) else {
            return;
        };
        session.attach(self.counter, None, link.out());
        self.shard = Some(shard);
    }

    /// The core has the session again: what it may have missed is sent, then all goes on.
    pub(crate) fn on_attached(&mut self, attached: &Attached, cx: &mut Shared) {
        if self.stream.session_mut().is_some_and(|session| session.on_attached(attached)) {
            self.resend(cx);
        }
    }

    /// Sends again what the link has room for.
    fn resend(&mut self, cx: &mut Shared) {
        let (Some(session), Some(shard)) = (self.stream.session_mut(), self.shard) else { return };
        let Some(link) = cx.links.get_mut(usize::from(shard)) else { return };
        let (credit, before) = (link.credit(), link.out().len());
        let done = session.resend(self.counter, credit, link.out());
        let used = link.out().len().saturating_sub(before);
        link.charge(used);
        if done {
            let question = session.unanswered();
            if let Some(question) = question {
                cx.ask(self.counter, None, Some(shard), &question);
            }
            cx.again.push(place(self.counter));
        } else {
            self.wait_for_link(used == 0, cx);
        }
        // What was written meanwhile is reported, and a socket that ended told of.
        self.mark_dirty(cx);
    }

    // ---- from the core ----

    pub(crate) fn on_settled(&mut self, settled: &Settled, cx: &mut Shared) {
        let Stream::Bound(session) = &mut self.stream else { return };
        if !session.on_settled(settled) {
            return;
        }
        let (says, done) = (session.has_to_say(), session.unsettled() == 0);
        if says {
            self.mark_dirty(cx);
        }
        if done && self.entry == Entry::Inside {
            self.answered(cx);
        }
    }

    /// Renders into the client's output, to be flushed at the end of the turn.
    pub(crate) fn deliver(
        &mut self,
        target: &Target<'_>,
        log: Option<u64>,
        stanza: &Stanza<'_>,
        bytes: usize,
        cx: &mut Shared,
    ) {
        let Stream::Bound(session) = &mut self.stream else { return };
        cx.counts.stanzas_out = cx.counts.stanzas_out.wrapping_add(1);
        let sound =
            session.on_deliver(target, log, cx.directory.slot_key(), stanza, bytes, self.conn.output(&mut cx.pool));
        self.mark_dirty(cx);
        let condition = match sound {
            false => Some(StreamCondition::InternalServerError),
            true => self.conn.is_overfull().then_some(StreamCondition::ResourceConstraint),
        };
        if condition.is_some() {
            self.input(Input::CoreClose { condition, text: "" }, cx);
        }
    }

    // ---- the end of the turn ----

    /// Something happened to this client: the end of the turn looks after it.
    pub(crate) fn touch(&mut self, cx: &mut Shared) {
        self.mark_dirty(cx);
    }

    fn mark_dirty(&mut self, cx: &mut Shared) {
        if !self.dirty {
            self.dirty = true;
            cx.dirty.push(place(self.counter));
        }
    }

    fn mark_dirty_if_buffered(&mut self, cx: &mut Shared) {
        if self.conn.buffers().is_some() {
            self.mark_dirty(cx);
        }
    }

    /// Sends what the turn wrote, reports what is written, closes what is done, gives back buffers.
    pub(crate) fn flush(&mut self, cx: &mut Shared) {
        self.dirty = false;
        if let Stream::Bound(session) = &mut self.stream
            && session.has_to_say()
            && session.end_of_turn(self.conn.output(&mut cx.pool))
        {
            self.asked_at = cx.tick;
        }
        match self.conn.flush(cx.tick) {
            Flushed::Broken => return self.on_broken(cx),
            // What the client has acknowledged is told all the same.
            Flushed::Blocked => return self.report(false, cx),
            Flushed::All => {}
        }
        if let Some(session) = self.stream.session_mut() {
            session.on_written();
        }
        match self.life {
            Life::Open => self.report(false, cx),
            Life::Lingering | Life::Finishing | Life::Dead => {
                self.tell_closed(cx);
                self.conn.close_write(&mut cx.pool);
                if self.life != Life::Lingering {
                    self.life = Life::Dead;
                }
            }
        }
        self.conn.release(&mut cx.pool);
    }

    /// Reports written entries if that is due, or `now`; else notes that it must come. See `session.rs`.
    fn report(&mut self, now: bool, cx: &mut Shared) {
        let Stream::Bound(session) = &mut self.stream else { return };
        if session.has_unreported() && (now || session.report_is_due()) {
            let link = self.shard.and_then(|shard| cx.links.get_mut(usize::from(shard)));
            if let Some(link) = link.filter(|link| link.is_up()) {
                session.report(self.counter, link.out());
            }
        }
        if session.is_asked() && !self.asked {
            self.asked = true;
            cx.asked.push_back((cx.now.mono_ms.saturating_add(ACK_WAIT_MS), place(self.counter)));
        }
        if session.needs_seconds() && !self.seconds {
            self.seconds = true;
            cx.seconds.push(place(self.counter));
        }
    }

    /// Whether an acknowledgement is to be sent when the time has come for which the client was noted in
    /// [`Shared::asked`]. If not it is noted no more.
    pub(crate) fn still_asked(&mut self) -> bool {
        self.asked = matches!(&self.stream, Stream::Bound(session) if session.is_asked());
        self.asked
    }

    /// That time has come.
    pub(crate) fn answer(&mut self, cx: &mut Shared) {
        self.asked = false;
        if let Stream::Bound(session) = &mut self.stream {
            session.answer(self.conn.output(&mut cx.pool));
            self.mark_dirty(cx);
        }
    }

    /// About a second has passed since the client was noted in [`Shared::seconds`].
    pub(crate) fn on_second(&mut self, cx: &mut Shared) {
        self.seconds = false;
        let Stream::Bound(session) = &mut self.stream else { return };
        if session.on_second() {
            self.mark_dirty(cx);
        }
        self.report(true, cx);
    }

    // ---- time ----

    /// Makes sure that the wheel calls in time.
    pub(crate) fn arm(&mut self, cx: &mut Shared) {
        cx.wheel.insert(self.next_deadline(cx), place(self.counter));
    }

    fn next_deadline(&mut self, cx: &Shared) -> Tick {
        let timeouts = &cx.config.timeouts;
        let mut at = self.deadline;
        if let Some(buffers) = self.conn.buffers() {
            if !buffers.input.is_empty() {
                at = at.min(tick_after(buffers.input_since, seconds(timeouts.stanza_s)));
            }
            if buffers.blocked_since != NEVER {
                at = at.min(tick_after(buffers.blocked_since, seconds(timeouts.unread_s)));
            }
        }
        if self.slowed {
            at = at.min(self.rate.ready_at(&cx.config.bucket, cx.tick));
        }
        if self.asked_at != NEVER {
            at = at.min(tick_after(self.asked_at, seconds(timeouts.ack_timeout_s)));
        } else if timeouts.idle_s > 0 && matches!(self.stream, Stream::Bound(_)) {
            at = at.min(tick_after(self.last_read, seconds(timeouts.idle_s)));
        }
        at
    }

    /// The wheel called, perhaps too early.
    pub(crate) fn on_timer(&mut self, cx: &mut Shared) {
        if self.life == Life::Open && !self.reads(cx) {
            // Not the client's slowness: it is not read.
            if let Some(buffers) = self.conn.buffers() {
                buffers.input_since = cx.tick;
            }
        }
        self.on_rate(cx);
        if self.next_deadline(cx) > cx.tick {
            return;
        }
        let timeouts = cx.config.timeouts;
        let now = cx.tick;
        let (unread, slow) = self.conn.buffers().map_or((false, false), |buffers| {
            let blocked = buffers.blocked_since != NEVER;
            (
                blocked && tick_after(buffers.blocked_since, seconds(timeouts.unread_s)) <= now,
                !buffers.input.is_empty() && tick_after(buffers.input_since, seconds(timeouts.stanza_s)) <= now,
            )
        });
        if self.life != Life::Open || unread {
            self.on_broken(cx);
        } else if self.deadline <= now && matches!(self.stream, Stream::Bound(_)) {
            (self.newcomer, self.deadline) = (0, NEVER);
        } else if self.deadline <= now && self.entry == Entry::Waiting {
            // Not the client's slowness either.
            self.deadline = tick_after(now, seconds(timeouts.login_s));
        } else if self.deadline <= now && self.awaits_header() {
            self.on_broken(cx);
        } else if self.deadline <= now {
            self.input(Input::Deadline(Deadline::Login), cx);
        } else if slow {
            self.input(Input::Deadline(Deadline::Stanza), cx);
        } else if self.asked_at != NEVER {
            self.input(Input::Deadline(Deadline::Unanswered), cx);
        } else {
            self.input(Input::Deadline(Deadline::Idle), cx);
        }
    }
}

fn seconds(s: u32) -> u64 {
    u64::from(s).saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_name_places_and_are_not_reused() {
        let mut seen = std::collections::BTreeSet::new();
        for (sequence, event_loop, at) in [(1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1), (1 << 35, 255, (1 << 20) - 1)] {
            let counter = counter(sequence, event_loop, at);
            assert_eq!(place(counter), at);
            assert!(seen.insert(counter));
        }
    }

    /// An idle client without TLS is its place in the table, its session and the session's JID.
    #[test]
    fn an_idle_client_is_small() {
        let (client, session, more) = (size_of::<Client>(), size_of::<Session>(), crate::session::MORE_BYTES);
        println!("client {client}, session {session}, with a capsule {more} more");
        assert!(client.saturating_add(session) <= 256 + 16, "client {client}, session {session}");
        assert!(more <= 112, "{more}");
    }
}
