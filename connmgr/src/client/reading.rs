//! The way in: bytes of the socket, decrypted, cut into pieces, parsed, handed to the stream or its session.

use super::{Client, Handshake, Life, PutOff, place};
use crate::directory::Hosted;
use crate::entry::Entry;
use crate::handshakes::Turn;
use crate::limits::{LINGER_BYTES, LINK_SHARE_BYTES, READ_BYTES_MIN, READ_BYTES_PER_TURN, STRANGER_READ_BYTES};
use crate::session::Taken;
use crate::shared::Shared;
use crate::stream::{Input, Stream};
use crate::wheel::NEVER;
use crate::xml::{self, Limits, Piece, XmlError};
use hearth_wire::tree;
use std::io;

impl Client {
    /// The socket may have bytes.
    pub(crate) fn on_readable(&mut self, cx: &mut Shared) {
        self.unread = true;
        if !self.queues(cx) {
            self.read(cx);
        }
    }

    /// Whether it is not there yet: until its first presence, or what stands for it.
    pub(crate) fn is_coming(&self) -> bool {
        self.newcomer > 0
    }

    /// The socket may have bytes, or its end (`over`), which are read when there is time. True if it is to be put on that list.
    pub(crate) fn put_off(&mut self, broken: bool, over: bool) -> bool {
        self.unread = true;
        self.peer_closed |= over;
        let first = self.put_off == PutOff::No;
        if first || broken {
            self.put_off = if broken { PutOff::Broken } else { PutOff::Ready };
        }
        first
    }

    /// There is time.
    pub(crate) fn on_put_off(&mut self, cx: &mut Shared) {
        match std::mem::take(&mut self.put_off) {
            PutOff::No => {}
            PutOff::Ready => self.resume(cx),
            PutOff::Broken => self.on_broken(cx),
        }
    }

    /// The socket takes bytes again.
    pub(crate) fn on_writable(&mut self, cx: &mut Shared) {
        if self.conn.buffers().is_some() || self.life != Life::Open {
            self.mark_dirty(cx);
        }
    }

    /// The link has room, and it is this client's turn.
    pub(crate) fn on_link_room(&mut self, cx: &mut Shared) {
        if std::mem::take(&mut self.waits_for_link) {
            cx.link_share = LINK_SHARE_BYTES;
            self.go_on(cx);
        }
    }

    /// Credit came back, the core answered, or the last turn left something.
    pub(crate) fn resume(&mut self, cx: &mut Shared) {
        if !self.queues(cx) {
            self.go_on(cx);
        }
    }

    /// Others wait for the link: nobody overtakes them.
    fn queues(&mut self, cx: &mut Shared) -> bool {
        cx.link_share = LINK_SHARE_BYTES;
        let queues =
            self.life == Life::Open && self.needs_link() && self.shard.is_some_and(|shard| cx.link_is_awaited(shard));
        if queues {
            self.wait_for_link(false, cx);
        }
        queues
    }

    fn needs_link(&self) -> bool {
        matches!(&self.stream, Stream::Bound(session) if !session.is_away())
    }

    fn go_on(&mut self, cx: &mut Shared) {
        if self.stream.session_mut().is_some_and(|session| session.is_resending()) {
            return self.resend(cx);
        }
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
    pub(super) fn reads(&self, cx: &Shared) -> bool {
        match self.life {
            Life::Open => {
                if self.entry == Entry::Waiting || self.handshake == Handshake::Waiting {
                    return false;
                }
                let room = || {
                    self.shard.is_some_and(|shard| {
                        cx.link_credit(shard) > 0 && (cx.link_share > 0 || !cx.link_is_awaited(shard))
                    })
                };
                if self.is_too_fast(cx) {
                    return false;
                }
                self.stream.reads() && (!self.needs_link() || (!self.waits_for_link && room()))
            }
            Life::Lingering => true,
            Life::Finishing | Life::Dead => false,
        }
    }

    /// It sent more than it may (`rate.rs`).
    fn is_too_fast(&self, cx: &Shared) -> bool {
        matches!(&self.stream, Stream::Bound(_)) && !self.rate.may_read(&cx.config.bucket, cx.tick)
    }

    /// The wheel called: who was too fast may be read again.
    pub(super) fn on_rate(&mut self, cx: &mut Shared) {
        if !self.slowed || self.is_too_fast(cx) {
            return;
        }
        self.slowed = false;
        if let Some(buffers) = self.conn.buffers() {
            // What waited here was not the client's slowness.
            buffers.input_since = cx.tick;
        }
        cx.again.push(place(self.counter));
    }

    /// The link has no room, none for its next stanza (`short`), or others wait for it: see [`Client::on_link_room`].
    pub(super) fn wait_for_link(&mut self, short: bool, cx: &mut Shared) {
        if self.waits_for_link || self.slowed || self.entry == Entry::Waiting {
            return;
        }
        if self.is_too_fast(cx) {
            self.slowed = true;
            cx.counts.slowed = cx.counts.slowed.wrapping_add(1);
            // The wheel is told at the end of the turn.
            return self.mark_dirty(cx);
        }
        let short = short && cx.link_share == LINK_SHARE_BYTES;
        if let Some(link) = self.shard.and_then(|shard| cx.link(shard)) {
            link.wait(self.counter, short);
            self.waits_for_link = true;
        }
    }

    /// Bytes to read at once: of a session what its link takes, for the rest would only wait here.
    fn reads_at_once(&self, cx: &Shared) -> usize {
        match self.shard {
            Some(shard) if self.needs_link() => {
                let share = if cx.link_is_awaited(shard) { cx.link_share } else { usize::MAX };
                at_once(cx.link_credit(shard)).min(share.max(READ_BYTES_MIN))
            }
            _ if self.stranger.is_some() => STRANGER_READ_BYTES,
            _ => usize::MAX,
        }
    }

    fn read(&mut self, cx: &mut Shared) {
        let mut budget = READ_BYTES_PER_TURN;
        while self.life != Life::Dead {
            if !self.reads(cx) {
                if self.life == Life::Open && self.stream.reads() {
                    self.wait_for_link(false, cx);
                }
                return;
            }
            if budget == 0 {
                cx.again.push(place(self.counter));
                return;
            }
            let mut scratch = std::mem::take(&mut cx.scratch.read);
            let room = scratch.len().min(budget).min(self.reads_at_once(cx));
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
                    (self.last_read, self.asked_at) = (cx.tick, NEVER);
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
        let used = if self.awaits_header() { self.on_header_bytes(bytes, cx) } else { 0 };
        let bytes = bytes.get_mut(used..).unwrap_or_default();
        if bytes.is_empty() {
            return;
        }
        if self.life != Life::Open {
            let wasted = (bytes.len() / 1024).saturating_add(1);
            self.wasted = self.wasted.saturating_add(u16::try_from(wasted).unwrap_or(u16::MAX));
            if usize::from(self.wasted) > LINGER_BYTES / 1024 {
                self.life = Life::Dead;
            }
        } else if self.conn.is_tls() {
            if self.may_shake_hands(bytes, cx) {
                self.on_cipher(bytes, cx);
            }
        } else {
            self.on_plain(bytes, cx);
        }
    }

    /// Whether its handshake goes on; else `bytes` are kept until its turn, or it has none.
    fn may_shake_hands(&mut self, bytes: &[u8], cx: &mut Shared) -> bool {
        let (Handshake::Due, Some(stranger)) = (self.handshake, self.stranger.as_deref()) else { return true };
        let peer = stranger.arrival.peer;
        match cx.handshake_of(peer) {
            Turn::Now => self.handshake = Handshake::Begun,
            Turn::At(until_ms) => {
                self.handshake = Handshake::Waiting;
                self.conn.keep(bytes, &mut cx.pool);
                cx.handshakes.wait(until_ms, place(self.counter), self.counter);
            }
            Turn::Never => {
                cx.counts.turned_away = cx.counts.turned_away.wrapping_add(1);
                tracing::debug!(event = "turned_away", %peer, why = "handshakes");
                self.life = Life::Dead;
            }
        }
        self.handshake == Handshake::Begun
    }

    /// Its turn has come.
    pub(crate) fn shake_hands(&mut self, counter: u64, cx: &mut Shared) {
        if self.counter != counter || self.handshake != Handshake::Waiting {
            return;
        }
        self.handshake = Handshake::Begun;
        if self.life == Life::Open {
            self.on_cipher(&mut [], cx);
            cx.again.push(place(self.counter));
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
                    let addresses = cx.tls.addresses(self.conn.peer_certificates());
                    self.input(Input::TlsReady(protection), cx);
                    if !addresses.is_empty() {
                        self.input(Input::Certified(addresses), cx);
                    }
                }
                self.tls_closed |= closed;
                if closed || !plain.is_empty() {
                    self.on_plain(&plain, cx);
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
        // Everything that could be handled was; behind it there is nothing.
        if self.tls_closed && self.reads(cx) {
            self.on_eof(cx);
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
                    let behind = rest.get(len..).unwrap_or_default();
                    if !self.on_piece(piece, bytes, !xml::is_blank(behind), cx) {
                        framed = len;
                        break;
                    }
                    used = used.saturating_add(len);
                    cx.link_share = cx.link_share.saturating_sub(len);
                    if matches!(self.stream, Stream::Bound(_)) {
                        self.rate.charge(&cx.config.bucket, len, piece == Piece::Element, cx.tick);
                    }
                }
                Err(error) => self.refuse(error, cx),
            }
        }
        if framed > 0 {
            self.conn.buffers_or_new(&mut cx.pool).framed = framed;
        }
        if self.life == Life::Open && self.stream.reads() && !self.reads(cx) {
            self.wait_for_link(false, cx);
        }
        used
    }

    fn limits(&self) -> &'static Limits {
        if self.stranger.is_none() { &Limits::AUTHENTICATED } else { &Limits::PRE_AUTH }
    }

    fn refuse(&mut self, error: XmlError, cx: &mut Shared) {
        self.input(Input::Refused { condition: error.condition(), text: error.text() }, cx);
    }

    /// One whole piece; false if it must come again when there is credit. `more`: more than whitespace lies behind it.
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

    /// Whether a stanza of a newcomer may go to the core now; else it is read again when there is a place. With its presence it is
    /// there, and waits for nobody any more.
    fn may_enter(&mut self, element: &tree::Element<'_>, cx: &mut Shared) -> bool {
        if self.away().is_none() && !self.enter(cx) {
            self.wait_to_enter(None, cx);
            return false;
        }
        self.newcomer = if element.name() == "presence" { 0 } else { self.newcomer.saturating_sub(1) };
        true
    }

    fn on_element(&mut self, encoded: &[u8], more: bool, cx: &mut Shared) -> bool {
        let Some(element) = first_element(encoded) else {
            self.input(Input::Refused { condition: XmlError::Syntax.condition(), text: "" }, cx);
            return true;
        };
        match &mut self.stream {
            Stream::Bound(session) if !session.is_own(&element) => {}
            _ => {
                self.input(Input::Element { element, more }, cx);
                return true;
            }
        }
        if self.newcomer > 0 && !self.may_enter(&element, cx) {
            return false;
        }
        let Stream::Bound(session) = &mut self.stream else { return true };
        let shard = self.shard.filter(|_| !session.is_away());
        let mut link = shard.and_then(|shard| cx.links.get_mut(usize::from(shard)));
        let (credit, before) = link.as_mut().map_or((0, 0), |link| (link.credit(), link.out().len()));
        // Nothing is written there: without a link a stanza is only kept.
        let mut nowhere = Vec::new();
        let out = link.as_mut().map_or(&mut nowhere, |link| link.out());
        match session.on_element(self.counter, &element, credit, &mut cx.scratch.stanza, out) {
            Ok(Taken::Sent) => {
                cx.counts.stanzas_in = cx.counts.stanzas_in.wrapping_add(1);
                if let Some(link) = link {
                    let bytes = link.out().len().saturating_sub(before);
                    link.charge(bytes);
                }
                true
            }
            Ok(Taken::NoCredit) => false,
            Ok(Taken::NoLinkCredit) => {
                self.wait_for_link(true, cx);
                false
            }
            Err(condition) => {
                self.input(Input::Refused { condition, text: "" }, cx);
                true
            }
        }
    }
}

fn first_element(encoded: &[u8]) -> Option<tree::Element<'_>> {
    match tree::nodes(encoded, xml::CLIENT).next() {
        Some(tree::Node::Element(element)) => Some(element),
        Some(tree::Node::Text(_)) | None => None,
    }
}

/// The same of a link with so much credit.
fn at_once(credit: u64) -> usize {
    usize::try_from(credit).unwrap_or(usize::MAX).max(READ_BYTES_MIN)
}

#[test]
fn a_link_with_little_credit_has_little_read() {
    assert_eq!([0, 1, 100_000].map(at_once), [READ_BYTES_MIN, READ_BYTES_MIN, 100_000]);
}
