//! One client: its transport, framer and stream, driven by the event loop.

use crate::conn::{Conn, Flushed};
use crate::directory::Hosted;
use crate::limits::{LINGER_BYTES, LINGER_MS, READ_BYTES_PER_TURN};
use crate::session::{Session, Taken};
use crate::shared::Shared;
use crate::stream::{Deadline, Facts, Input, Output, Stream};
use crate::wheel::{NEVER, Tick, tick_after};
use crate::xml::{self, Framer, Limits, Piece, Scope, XmlError};
use hearth_wire::ids::ShardIndex;
use hearth_wire::to_core::{Closed, ToCore};
use hearth_wire::tree;
use mio::net::TcpStream;
use std::io;
use std::net::IpAddr;

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
    /// The peer's address, until it is authenticated.
    stranger: Option<Box<IpAddr>>,
    life: Life,
    /// The socket may have bytes that were not read.
    unread: bool,
    /// The client's half is known to end behind them.
    peer_closed: bool,
    /// Is in [`Shared::dirty`], in [`Shared::unreported`], in [`crate::link::Link::waiting`].
    dirty: bool,
    unreported: bool,
    waits_for_link: bool,
    /// Login or linger must be done by then.
    deadline: Tick,
    last_read: Tick,
    /// Tick of the wheel's entry.
    wheel_at: Tick,
    /// Kilobytes and reads thrown away.
    wasted: u16,
    /// The client closed its stream properly.
    clean: bool,
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
    /// A fresh connection. `direct`: TLS from the first byte.
    pub(crate) fn new(
        socket: TcpStream,
        peer: IpAddr,
        counter: u64,
        direct: bool,
        clear_login: bool,
        cx: &mut Shared,
    ) -> Client {
        let facts = Facts { clear_login: clear_login && peer.is_loopback(), id: cx.random.id() };
        let mut client = Client {
            conn: Conn::new(socket),
            stream: Stream::new(facts),
            scope: Scope::default(),
            framer: Framer::new(),
            counter,
            shard: None,
            stranger: Some(Box::new(peer)),
            life: Life::Open,
            unread: true,
            peer_closed: false,
            dirty: false,
            unreported: false,
            waits_for_link: false,
            deadline: tick_after(cx.tick, seconds(cx.config.timeouts.login_s)),
            last_read: cx.tick,
            wheel_at: NEVER,
            wasted: 0,
            clean: false,
        };
        if direct && client.conn.start_tls(&cx.tls).is_err() {
            client.life = Life::Dead;
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

    /// The domain of the stream, once it is known.
    pub(crate) fn domain(&self) -> Option<&str> {
        match &self.stream {
            Stream::Negotiating(negotiation) => negotiation.domain(),
            Stream::Bound(session) => Some(hearth_wire::jid::split(session.jid()).1),
            Stream::Ended(_) => None,
        }
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
    }

    /// Makes room at the door for another stranger, once.
    fn no_stranger(&mut self, cx: &mut Shared) {
        if let Some(peer) = self.stranger.take() {
            cx.door.leave(*peer);
        }
    }

    // ---- from the socket ----

    /// The socket may have bytes.
    pub(crate) fn on_readable(&mut self, closed: bool, cx: &mut Shared) {
        self.unread = true;
        self.peer_closed |= closed;
        self.read(cx);
    }

    /// The socket takes bytes again.
    pub(crate) fn on_writable(&mut self, cx: &mut Shared) {
        if self.conn.buffers().is_some() || self.life != Life::Open {
            self.mark_dirty(cx);
        }
    }

    /// The link has room again.
    pub(crate) fn on_link_room(&mut self, cx: &mut Shared) {
        self.waits_for_link = false;
        cx.again.push(place(self.counter));
    }

    /// Credit came back, the core answered, or the last turn left something.
    pub(crate) fn resume(&mut self, cx: &mut Shared) {
        if self.life == Life::Open && self.conn.buffers().is_some_and(|buffers| !buffers.input.is_empty()) {
            self.on_plain(&[], cx);
        }
        if self.unread {
            self.read(cx);
        }
    }

    /// True if [`Client::resume`] has something to do and may.
    pub(crate) fn can_resume(&mut self, cx: &Shared) -> bool {
        let waits = self.unread || self.conn.buffers().is_some_and(|buffers| !buffers.input.is_empty());
        waits && self.reads(cx)
    }

    /// Whether bytes of the client may be handled now.
    fn reads(&self, cx: &Shared) -> bool {
        match self.life {
            Life::Open => {
                let bound = matches!(self.stream, Stream::Bound(_));
                let room = || self.shard.is_some_and(|shard| cx.link_credit(shard) > 0);
                self.stream.reads() && (!bound || (!self.waits_for_link && room()))
            }
            Life::Lingering => true,
            Life::Finishing | Life::Dead => false,
        }
    }

    /// The link has no room: it calls again when it has more. See [`Client::resume`].
    fn wait_for_link(&mut self, cx: &mut Shared) {
        if self.waits_for_link {
            return;
        }
        if let Some(link) = self.shard.and_then(|shard| cx.link(shard)) {
            link.waiting.push(place(self.counter));
            self.waits_for_link = true;
        }
    }

    fn read(&mut self, cx: &mut Shared) {
        let mut budget = READ_BYTES_PER_TURN;
        while self.life != Life::Dead {
            if !self.reads(cx) {
                if self.life == Life::Open && self.stream.reads() {
                    self.wait_for_link(cx);
                }
                return;
            }
            if budget == 0 {
                cx.again.push(place(self.counter));
                return;
            }
            let mut scratch = std::mem::take(&mut cx.scratch.read);
            let room = scratch.len().min(budget);
            let done = self.conn.read(scratch.get_mut(..room).unwrap_or_default());
            match done {
                Ok(0) => {
                    self.unread = false;
                    self.on_eof(cx);
                }
                Ok(read) => {
                    budget = budget.saturating_sub(read);
                    // A short read has emptied the socket; what comes later is a new event.
                    self.unread = read == room || self.peer_closed;
                    self.last_read = cx.tick;
                    self.on_bytes(scratch.get_mut(..read).unwrap_or_default(), cx);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.unread = false,
                Err(_) => self.on_broken(cx),
            }
            cx.scratch.read = scratch;
            if !self.unread {
                return;
            }
        }
    }

    /// The client's half ended. Behind a closing tag that is as it should be.
    fn on_eof(&mut self, cx: &mut Shared) {
        match self.life {
            Life::Open => self.input(Input::Eof, cx),
            Life::Lingering => self.life = Life::Dead,
            Life::Finishing | Life::Dead => {}
        }
    }

    /// Nothing passes the socket any more.
    pub(crate) fn on_broken(&mut self, cx: &mut Shared) {
        if self.life == Life::Open {
            self.input(Input::Eof, cx);
        }
        self.life = Life::Dead;
    }

    fn on_bytes(&mut self, bytes: &mut [u8], cx: &mut Shared) {
        if self.life != Life::Open {
            let wasted = (bytes.len() / 1024).saturating_add(1);
            self.wasted = self.wasted.saturating_add(u16::try_from(wasted).unwrap_or(u16::MAX));
            if usize::from(self.wasted) > LINGER_BYTES / 1024 {
                self.life = Life::Dead;
            }
        } else if self.conn.is_tls() {
            self.on_cipher(bytes, cx);
        } else {
            self.on_plain(bytes, cx);
        }
    }

    fn on_cipher(&mut self, bytes: &mut [u8], cx: &mut Shared) {
        let mut plain = std::mem::take(&mut cx.scratch.plain);
        plain.clear();
        let done = self.conn.decrypt(bytes, &mut plain, &mut cx.pool);
        self.mark_dirty(cx);
        match done {
            Ok((finished, closed)) => {
                if let Some(protection) = finished {
                    self.framer.restart();
                    self.input(Input::TlsReady(protection), cx);
                }
                if !plain.is_empty() {
                    self.on_plain(&plain, cx);
                }
                if closed {
                    self.on_eof(cx);
                }
            }
            Err(error) => {
                tracing::debug!(event = "tls_failed", handle = self.counter, %error);
                self.input(Input::Eof, cx);
                // The alert is worth a try; the stream inside can say nothing any more.
                self.conn.flush(cx.tick);
                self.life = Life::Dead;
            }
        }
        if plain.capacity() > 2 * READ_BYTES_PER_TURN {
            plain = Vec::new();
        }
        cx.scratch.plain = plain;
    }

    /// Bytes of the stream itself, behind those that are kept.
    fn on_plain(&mut self, bytes: &[u8], cx: &mut Shared) {
        let mut kept = match self.conn.buffers() {
            Some(buffers) if !buffers.input.is_empty() => {
                buffers.input.extend_from_slice(bytes);
                std::mem::take(&mut buffers.input)
            }
            _ => Vec::new(),
        };
        let was_kept = !kept.is_empty();
        let used = self.pieces(if was_kept { &kept } else { bytes }, cx);
        if self.life != Life::Open {
            return;
        }
        let tick = cx.tick;
        if was_kept {
            kept.drain(..used.min(kept.len()));
            let buffers = self.conn.buffers_or_new(&mut cx.pool);
            buffers.input = kept;
            if used > 0 {
                buffers.input_since = tick;
            }
        } else if let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
            let buffers = self.conn.buffers_or_new(&mut cx.pool);
            buffers.input.extend_from_slice(rest);
            buffers.input_since = tick;
        }
        self.mark_dirty_if_buffered(cx);
    }

    /// Handles whole pieces of `input` while the stream reads; how many bytes they were.
    fn pieces(&mut self, input: &[u8], cx: &mut Shared) -> usize {
        let mut used = 0usize;
        let mut framed = self.conn.buffers().map_or(0, |buffers| std::mem::take(&mut buffers.framed));
        while self.reads(cx) && self.life == Life::Open {
            let rest = input.get(used..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            let next = match std::mem::take(&mut framed) {
                0 => self.framer.next(rest, self.limits()),
                len => Ok(Some((Piece::Element, len))),
            };
            match next {
                Ok(None) => break,
                Ok(Some((piece, len))) => {
                    let bytes = rest.get(..len).unwrap_or_default();
                    if !self.on_piece(piece, bytes, rest.len() > len, cx) {
                        framed = len;
                        break;
                    }
                    used = used.saturating_add(len);
                }
                Err(error) => self.refuse(error, cx),
            }
        }
        if framed > 0 {
            self.conn.buffers_or_new(&mut cx.pool).framed = framed;
        }
        if self.life == Life::Open && self.stream.reads() && !self.reads(cx) {
            self.wait_for_link(cx);
        }
        used
    }

    fn limits(&self) -> &'static Limits {
        if self.stranger.is_none() { &Limits::AUTHENTICATED } else { &Limits::PRE_AUTH }
    }

    fn refuse(&mut self, error: XmlError, cx: &mut Shared) {
        self.input(Input::Refused { condition: error.condition(), text: error.text() }, cx);
    }

    /// One whole piece; false if it must come again when there is credit. `more`: bytes lie behind it.
    fn on_piece(&mut self, piece: Piece, bytes: &[u8], more: bool, cx: &mut Shared) -> bool {
        match piece {
            Piece::Blank => {}
            Piece::Declaration => {
                if let Err(error) = xml::parse_declaration(bytes) {
                    self.refuse(error, cx);
                }
            }
            Piece::Header => match xml::parse_header(bytes) {
                Ok((header, scope)) => {
                    self.scope = scope;
                    self.on_header(&header, cx);
                }
                Err(error) => self.refuse(error, cx),
            },
            Piece::Close => match xml::parse_close(bytes, &self.scope) {
                Ok(()) => self.input(Input::Close, cx),
                Err(error) => self.refuse(error, cx),
            },
            Piece::Element => {
                let mut encoded = std::mem::take(&mut cx.scratch.tree);
                encoded.clear();
                let limits = self.limits();
                let taken = match xml::parse_element(bytes, &self.scope, limits, &mut cx.scratch.xml, &mut encoded) {
                    Ok(()) => self.on_element(&encoded, more, cx),
                    Err(error) => {
                        self.refuse(error, cx);
                        true
                    }
                };
                cx.scratch.tree = encoded;
                return taken;
            }
        }
        true
    }

    fn on_header(&mut self, header: &xml::Header<'_>, cx: &mut Shared) {
        let id = cx.random.id();
        let mut out = std::mem::take(&mut cx.scratch.outputs);
        let domain = match header.to.as_deref() {
            _ if !cx.links_ready() => Hosted::Waiting,
            Some(to) => cx.directory.hosted(to),
            None => Hosted::Unknown,
        };
        self.stream.handle(Input::Header { header, domain, id }, cx.now, &mut out);
        if matches!(domain, Hosted::Waiting) {
            cx.held.push(place(self.counter));
        }
        self.perform(out, cx);
    }

    /// The directory changed while a header waits.
    pub(crate) fn on_directory(&mut self, cx: &mut Shared) {
        let Some(to) = self.held_for() else { return };
        let mut out = std::mem::take(&mut cx.scratch.outputs);
        self.stream.handle(Input::Directory { domain: cx.directory.hosted(&to) }, cx.now, &mut out);
        if self.held_for().is_some() {
            cx.held.push(place(self.counter));
        }
        self.perform(out, cx);
        self.resume(cx);
    }

    fn on_element(&mut self, encoded: &[u8], more: bool, cx: &mut Shared) -> bool {
        let Some(element) = first_element(encoded) else {
            self.input(Input::Refused { condition: XmlError::Syntax.condition(), text: "" }, cx);
            return true;
        };
        let (Stream::Bound(session), Some(shard)) = (&mut self.stream, self.shard) else {
            self.input(Input::Element { element, more }, cx);
            return true;
        };
        let Some(link) = cx.links.get_mut(usize::from(shard)) else { return false };
        let (credit, before) = (link.credit(), link.out().len());
        match session.on_element(self.counter, &element, credit, &mut cx.scratch.stanza, link.out()) {
            Ok(Taken::Sent) => {
                let bytes = link.out().len().saturating_sub(before);
                link.charge(bytes);
                true
            }
            Ok(Taken::NoCredit) => false,
            Ok(Taken::NoLinkCredit) => {
                self.wait_for_link(cx);
                false
            }
            Err(condition) => {
                self.input(Input::Refused { condition, text: "" }, cx);
                true
            }
        }
    }

    // ---- the machine ----

    /// Hands one input to the stream and performs what it says.
    pub(crate) fn input(&mut self, input: Input<'_>, cx: &mut Shared) {
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
                    if self.conn.start_tls(&cx.tls).is_err() {
                        self.life = Life::Dead;
                    }
                }
                Output::NewStream => {
                    self.framer.restart();
                    self.scope = Scope::default();
                }
                Output::Ask(question) => match cx.ask(self.counter, self.stranger.as_deref(), self.shard, &question) {
                    Some(shard) => self.shard = Some(shard),
                    None => lost = true,
                },
                Output::Authenticated => self.no_stranger(cx),
                Output::Bound => self.deadline = NEVER,
                Output::End { clean, linger } => self.end(clean, linger, cx),
            }
        }
        cx.scratch.outputs = out;
        if lost {
            self.input(Input::LinkLost, cx);
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

    /// Tells the core, once, that this client is gone, behind the last report of what it was sent.
    fn tell_closed(&mut self, cx: &mut Shared) {
        let Some(shard) = self.shard.take() else { return };
        let Some(link) = cx.link(shard).filter(|link| link.is_up()) else { return };
        let session = match &mut self.stream {
            Stream::Bound(session) | Stream::Ended(Some(session)) => Some(session),
            Stream::Negotiating(_) | Stream::Ended(None) => None,
        };
        let generation = session.map(|session| {
            session.report(self.counter, link.out());
            session.generation()
        });
        link.send(&ToCore::Closed(Closed { counter: self.counter, generation, clean: self.clean }));
    }

    /// The shard that knew this client is out of reach.
    pub(crate) fn on_link_lost(&mut self, cx: &mut Shared) {
        self.shard = None;
        self.input(Input::LinkLost, cx);
    }

    // ---- from the core ----

    /// Renders into the client's output, to be flushed at the end of the turn.
    pub(crate) fn deliver(
        &mut self,
        target: &hearth_wire::to_edge::Target<'_>,
        stanza: &hearth_wire::stanza::Stanza<'_>,
        bytes: usize,
        cx: &mut Shared,
    ) {
        let Stream::Bound(session) = &mut self.stream else { return };
        let sound = session.on_deliver(target, stanza, bytes, self.conn.output(&mut cx.pool));
        self.mark_dirty(cx);
        if !sound || self.conn.is_overfull() {
            let condition = hearth_wire::StreamCondition::InternalServerError;
            self.input(Input::CoreClose { condition: Some(condition), text: "" }, cx);
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
        match self.conn.flush(cx.tick) {
            Flushed::Broken => return self.on_broken(cx),
            Flushed::Blocked => return,
            Flushed::All => {}
        }
        if let Stream::Bound(session) | Stream::Ended(Some(session)) = &mut self.stream {
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
    pub(crate) fn report(&mut self, now: bool, cx: &mut Shared) {
        let (Stream::Bound(session), Some(shard)) = (&mut self.stream, self.shard) else { return };
        if now {
            self.unreported = false;
        }
        if !session.has_unreported() {
            return;
        }
        if now || session.report_is_due() {
            if let Some(link) = cx.links.get_mut(usize::from(shard)).filter(|link| link.is_up()) {
                session.report(self.counter, link.out());
            }
        } else if !self.unreported {
            self.unreported = true;
            cx.unreported.push(place(self.counter));
        }
    }

    // ---- time ----

    /// Makes sure that the wheel calls in time.
    pub(crate) fn arm(&mut self, cx: &mut Shared) {
        let at = self.next_deadline(cx);
        if at < self.wheel_at {
            self.wheel_at = at;
            cx.wheel.insert(at, place(self.counter));
        }
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
        if timeouts.idle_s > 0 && matches!(self.stream, Stream::Bound(_)) {
            at = at.min(tick_after(self.last_read, seconds(timeouts.idle_s)));
        }
        at
    }

    /// The wheel called, with an entry of `tick`.
    pub(crate) fn on_timer(&mut self, tick: Tick, cx: &mut Shared) {
        if tick != self.wheel_at {
            return;
        }
        self.wheel_at = NEVER;
        if self.life == Life::Open && !self.reads(cx) {
            // Not the client's slowness: it is not read.
            if let Some(buffers) = self.conn.buffers() {
                buffers.input_since = cx.tick;
            }
        }
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
        } else if self.deadline <= now {
            self.input(Input::Deadline(Deadline::Login), cx);
        } else if slow {
            self.input(Input::Deadline(Deadline::Stanza), cx);
        } else {
            self.input(Input::Deadline(Deadline::Idle), cx);
        }
    }
}

fn seconds(s: u32) -> u64 {
    u64::from(s).saturating_mul(1000)
}

fn first_element(encoded: &[u8]) -> Option<tree::Element<'_>> {
    match tree::nodes(encoded, xml::CLIENT).next() {
        Some(tree::Node::Element(element)) => Some(element),
        Some(tree::Node::Text(_)) | None => None,
    }
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
        let (client, session) = (size_of::<Client>(), size_of::<Session>());
        println!("client {client}, session {session}");
        assert!(client.saturating_add(session) <= 256 + 16, "client {client}, session {session}");
    }
}
