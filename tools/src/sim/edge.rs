//! One event loop of an edge without its sockets: the framers, streams and sessions that ship, driven
//! by bytes and frames.

use hearth_connmgr::detached::Detached;
use hearth_connmgr::directory::{Directory, Hosted};
use hearth_connmgr::session::{Session, Taken};
use hearth_connmgr::stream::{Facts, Input, Now, Output, Stream};
use hearth_connmgr::xml::{self, Framer, Limits, Piece, Scope, Scratch};
use hearth_core::random::SeededRandom;
use hearth_wire::ids::ShardIndex;
use hearth_wire::stanza::{Overlay, Stanza, StanzaKind, StanzaType};
use hearth_wire::to_core::{AllSent, Closed, Hello, LinkCredit, ToCore, VERSION_ATTACH, VERSION_MIN};
use hearth_wire::to_edge::{Multicast, Target, ToEdge};
use hearth_wire::tree;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// See the module.
pub(super) struct EdgeLoop {
    index: u16,
    loops: u16,
    incarnation: u64,
    /// Link credit it gives.
    window: u64,
    pub(super) links: Vec<SimLink>,
    directory: Directory,
    pub(super) conns: BTreeMap<u64, Conn>,
    /// Sessions without a link, on connections or not.
    pub(super) detached: Detached,
    next: u64,
    scratch: Scratch,
    random: SeededRandom,
    now: Now,
    /// Ids of messages whose error was rendered for the sender.
    pub(super) refused: Vec<u64>,
}

/// The edge's end of one link.
#[derive(Default)]
pub(super) struct SimLink {
    pub(super) up: bool,
    /// Frames for the shard.
    pub(super) out: Vec<u8>,
    received: u64,
    credit: u64,
    sent: u64,
    /// What is spoken; 0 until the shard has answered.
    version: u16,
    /// Behind the last session that was named.
    all_sent: bool,
}

impl SimLink {
    fn left(&self) -> u64 {
        self.credit.saturating_sub(self.sent)
    }

    fn attaches(&self) -> bool {
        self.version >= VERSION_ATTACH
    }
}

/// One client's connection.
pub(super) struct Conn {
    stream: Stream,
    framer: Framer,
    scope: Scope,
    input: Vec<u8>,
    /// Length of a piece that is framed and waits for credit.
    framed: usize,
    authenticated: bool,
    shard: Option<ShardIndex>,
    /// Bytes for the client; taken as it reads.
    pub(super) output: Vec<u8>,
    /// The stream is over: the socket closes once the output is read.
    pub(super) ended: bool,
    clean: bool,
}

impl EdgeLoop {
    pub(super) fn new(index: u16, loops: u16, shards: u16, window: u64, seed: u64) -> EdgeLoop {
        EdgeLoop {
            index,
            loops,
            incarnation: 1,
            window,
            links: (0..shards).map(|_| SimLink::default()).collect(),
            directory: Directory::new(),
            conns: BTreeMap::new(),
            detached: Detached::new(),
            next: 1,
            scratch: Scratch::default(),
            random: SeededRandom::new(seed),
            now: Now::default(),
            refused: Vec::new(),
        }
    }

    /// The process died and was started again: nothing of the first run is left.
    pub(super) fn restart(&mut self) {
        self.incarnation += 1;
        self.conns.clear();
        self.detached = Detached::new();
        self.directory = Directory::new();
        self.links.iter_mut().for_each(|link| *link = SimLink::default());
    }

    /// A fresh link to a shard.
    pub(super) fn dial(&mut self, shard: ShardIndex) {
        let Some(link) = self.links.get_mut(usize::from(shard)) else { return };
        *link = SimLink { up: true, ..SimLink::default() };
        let hello = Hello {
            version_min: VERSION_MIN,
            version_max: VERSION_ATTACH,
            edge: "sim",
            incarnation: self.incarnation,
            event_loop: self.index,
            event_loops: self.loops,
            shard,
            link_credit: self.window,
        };
        ToCore::Hello(hello).encode(&mut link.out);
    }

    /// The link broke: what was under way is gone. Sessions wait for the next.
    pub(super) fn link_lost(&mut self, shard: ShardIndex) {
        let Some(link) = self.links.get_mut(usize::from(shard)) else { return };
        let stay = std::mem::take(link).attaches();
        self.detached.on_link_lost(shard);
        let lost: Vec<u64> = self.conns.iter().filter(|(_, c)| c.shard == Some(shard)).map(|(id, _)| *id).collect();
        for counter in lost {
            if let Some(conn) = self.conns.get_mut(&counter) {
                conn.shard = None;
            }
            self.input(counter, if stay { Input::Detached } else { Input::LinkLost });
            if self.session_mut(counter).is_some_and(|session| session.is_away()) {
                self.detached.add(counter);
            }
            self.go_on(counter);
        }
    }

    /// Names the sessions that lost their link once every shard can be asked, then says on new links that it did.
    fn reattach(&mut self) {
        let shards = usize::from(self.directory.shards());
        let ready = shards > 0 && self.links.iter().take(shards).all(|link| link.version > 0);
        if !ready || !self.directory.is_complete() {
            return;
        }
        while let Some(counter) = self.detached.first() {
            self.attach(counter);
            self.detached.done(counter);
        }
        for link in self.links.iter_mut().filter(|link| link.attaches() && !link.all_sent) {
            ToCore::AllSent(AllSent {}).encode(&mut link.out);
            link.all_sent = true;
        }
    }

    fn attach(&mut self, counter: u64) {
        let mut conn = self.conns.get_mut(&counter);
        let on_socket = conn.as_mut().and_then(|conn| conn.stream.session_mut()).filter(|session| session.is_away());
        let Some(session) = on_socket.as_deref().or(self.detached.session(counter)) else { return };
        let Some((_, shard)) = self.directory.locate(session.bare()).1 else { return };
        let Some(link) = self.links.get_mut(usize::from(shard)) else { return };
        if let Some(session) = on_socket {
            session.attach(counter, None, &mut link.out);
            if let Some(conn) = conn {
                conn.shard = Some(shard);
            }
        } else {
            self.detached.attach(counter, shard, &mut link.out);
        }
    }

    /// Sends again what the link has credit for.
    fn resend(&mut self, counter: u64) {
        let Some(conn) = self.conns.get_mut(&counter) else { return };
        let link = conn.shard.and_then(|shard| self.links.get_mut(usize::from(shard)));
        let (Some(session), Some(link)) = (conn.stream.session_mut(), link) else { return };
        if !session.is_resending() {
            return;
        }
        let (before, credit) = (link.out.len(), link.left());
        let done = session.resend(counter, credit, &mut link.out);
        link.sent += (link.out.len() - before) as u64;
        if done {
            // What was written meanwhile.
            session.report(counter, &mut link.out);
        }
        if let Some(question) = session.unanswered().filter(|_| done)
            && let Some((_, frame)) = question.frame(counter, None, conn.shard, &self.directory)
        {
            frame.encode(&mut link.out);
        }
    }

    /// The same for those whose connection has ended.
    fn resend_left(&mut self, shard: ShardIndex) {
        let Some(link) = self.links.get_mut(usize::from(shard)) else { return };
        let credit = link.left();
        link.sent += self.detached.go_on(shard, credit, &mut link.out) as u64;
    }

    pub(super) fn accept(&mut self) -> u64 {
        let counter = self.next << 8 | u64::from(self.index);
        self.next += 1;
        let facts = Facts { clear_login: true, id: self.id() };
        let conn = Conn {
            stream: Stream::new(facts),
            framer: Framer::new(),
            scope: Scope::default(),
            input: Vec::new(),
            framed: 0,
            authenticated: false,
            shard: None,
            output: Vec::new(),
            ended: false,
            clean: false,
        };
        self.conns.insert(counter, conn);
        counter
    }

    fn id(&mut self) -> [u8; 16] {
        let (a, b) = (self.random.next_u64(), self.random.next_u64());
        (u128::from(a) << 64 | u128::from(b)).to_be_bytes()
    }

    /// The bound session of a connection.
    pub(super) fn session(&self, counter: u64) -> Option<&Session> {
        match &self.conns.get(&counter)?.stream {
            Stream::Bound(session) => Some(session),
            Stream::Negotiating(_) | Stream::Ended(_) => None,
        }
    }

    /// The shard that has a connection.
    pub(super) fn shard_of(&self, counter: u64) -> Option<ShardIndex> {
        self.conns.get(&counter)?.shard
    }

    /// The client is gone without a word.
    pub(super) fn vanish(&mut self, counter: u64) {
        self.input(counter, Input::Eof);
        self.bury(counter);
    }

    /// The socket is closed.
    pub(super) fn bury(&mut self, counter: u64) {
        let Some(mut conn) = self.conns.remove(&counter) else { return };
        let conn = match conn.stream {
            Stream::Bound(session) | Stream::Ended(Some(session)) if !session.is_attached() => {
                self.detached.bury(counter, session, conn.clean, conn.shard);
                return self.reattach();
            }
            _ => &mut conn,
        };
        let Some(shard) = conn.shard.take() else { return };
        let Some(link) = self.links.get_mut(usize::from(shard)).filter(|link| link.up) else { return };
        let generation = conn.stream.session_mut().map(|session| {
            session.report(counter, &mut link.out);
            session.generation()
        });
        ToCore::Closed(Closed { counter, generation, clean: conn.clean }).encode(&mut link.out);
    }

    /// The client read all its output so far.
    pub(super) fn written(&mut self, counter: u64) {
        let Some(conn) = self.conns.get_mut(&counter) else { return };
        let link = conn.shard.and_then(|shard| self.links.get_mut(usize::from(shard))).filter(|link| link.up);
        if let Some(session) = conn.stream.session_mut() {
            session.on_written();
            if let Some(link) = link {
                session.report(counter, &mut link.out);
            }
        }
        if conn.ended {
            self.bury(counter);
        }
    }

    /// Bytes of a client.
    pub(super) fn bytes(&mut self, counter: u64, bytes: &[u8]) {
        if let Some(conn) = self.conns.get_mut(&counter).filter(|conn| !conn.ended) {
            conn.input.extend_from_slice(bytes);
            self.go_on(counter);
        }
    }

    /// Handles whole pieces while the stream reads.
    fn go_on(&mut self, counter: u64) {
        loop {
            let Some(conn) = self.conns.get_mut(&counter) else { return };
            if conn.ended || !conn.stream.reads() || conn.input.is_empty() {
                return;
            }
            let limits = if conn.authenticated { &Limits::AUTHENTICATED } else { &Limits::PRE_AUTH };
            let next = match std::mem::take(&mut conn.framed) {
                0 => conn.framer.next(&conn.input, limits),
                len => Ok(Some((Piece::Element, len))),
            };
            match next {
                Ok(None) => return,
                Ok(Some((piece, len))) => {
                    let bytes: Vec<u8> = conn.input.get(..len).unwrap_or_default().to_vec();
                    let more = conn.input.len() > len;
                    if self.piece(counter, piece, &bytes, more, limits) {
                        if let Some(conn) = self.conns.get_mut(&counter) {
                            conn.input.drain(..len);
                        }
                    } else {
                        if let Some(conn) = self.conns.get_mut(&counter) {
                            conn.framed = len;
                        }
                        return;
                    }
                }
                Err(error) => {
                    let (condition, text) = (error.condition(), error.text());
                    return self.input(counter, Input::Refused { condition, text });
                }
            }
        }
    }

    fn piece(&mut self, counter: u64, piece: Piece, bytes: &[u8], more: bool, limits: &Limits) -> bool {
        let refused = match piece {
            Piece::Blank => Ok(()),
            Piece::Declaration => xml::parse_declaration(bytes),
            Piece::Close => {
                self.input(counter, Input::Close);
                Ok(())
            }
            Piece::Header => match xml::parse_header(bytes) {
                Ok((header, scope)) => {
                    let id = self.id();
                    let mut out = Vec::new();
                    let domain = header.to.as_deref().map_or(Hosted::Unknown, |to| self.directory.hosted(to));
                    if let Some(conn) = self.conns.get_mut(&counter) {
                        conn.scope = scope;
                        conn.stream.handle(Input::Header { header: &header, domain, id }, self.now, &mut out);
                    }
                    self.perform(counter, out);
                    Ok(())
                }
                Err(error) => Err(error),
            },
            Piece::Element => {
                let mut encoded = Vec::new();
                let Some(conn) = self.conns.get_mut(&counter) else { return true };
                match xml::parse_element(bytes, &conn.scope, limits, &mut self.scratch, &mut encoded) {
                    Ok(()) => return self.element(counter, &encoded, more),
                    Err(error) => Err(error),
                }
            }
        };
        if let Err(error) = refused {
            self.input(counter, Input::Refused { condition: error.condition(), text: error.text() });
        }
        true
    }

    fn element(&mut self, counter: u64, encoded: &[u8], more: bool) -> bool {
        let Some(tree::Node::Element(element)) = tree::nodes(encoded, xml::CLIENT).next() else { return true };
        let Some(conn) = self.conns.get_mut(&counter) else { return true };
        let session = match &mut conn.stream {
            Stream::Bound(session) if !session.is_own(&element) => session,
            _ => {
                self.input(counter, Input::Element { element, more });
                self.end_of_turn(counter);
                return true;
            }
        };
        let link = conn.shard.filter(|_| !session.is_away());
        let link = link.and_then(|shard| self.links.get_mut(usize::from(shard)));
        let mut nowhere = SimLink::default();
        let link = link.unwrap_or(&mut nowhere);
        let (before, credit) = (link.out.len(), link.left());
        match session.on_element(counter, &element, credit, &mut Vec::new(), &mut link.out) {
            Ok(Taken::Sent) => {
                link.sent += (link.out.len() - before) as u64;
                true
            }
            Ok(Taken::NoCredit | Taken::NoLinkCredit) => false,
            Err(condition) => {
                self.input(counter, Input::Refused { condition, text: "" });
                true
            }
        }
    }

    fn input(&mut self, counter: u64, input: Input<'_>) {
        let mut out = Vec::new();
        if let Some(conn) = self.conns.get_mut(&counter) {
            conn.stream.handle(input, self.now, &mut out);
        }
        self.perform(counter, out);
    }

    fn perform(&mut self, counter: u64, out: Vec<Output>) {
        for output in out {
            let Some(conn) = self.conns.get_mut(&counter) else { return };
            match output {
                Output::Write(bytes) => conn.output.extend_from_slice(&bytes),
                // The simulator's clients log in in the clear.
                Output::StartTls => conn.ended = true,
                Output::NewStream => {
                    conn.framer.restart();
                    conn.scope = Scope::default();
                }
                Output::Ask(question) => {
                    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
                    let asked =
                        question.frame(counter, Some(peer), conn.shard, &self.directory).and_then(|(shard, frame)| {
                            let link = self.links.get_mut(usize::from(shard)).filter(|link| link.up)?;
                            frame.encode(&mut link.out);
                            Some(shard)
                        });
                    match asked {
                        Some(shard) => conn.shard = Some(shard),
                        None => return self.input(counter, Input::LinkLost),
                    }
                }
                Output::Authenticated => conn.authenticated = true,
                Output::Bound | Output::Asked => {}
                Output::End { clean, .. } => {
                    conn.ended = true;
                    conn.clean = clean;
                }
            }
        }
    }

    /// One frame of a shard.
    pub(super) fn frame(&mut self, shard: ShardIndex, frame: &ToEdge<'_>, bytes: usize) {
        let counter = match frame {
            ToEdge::Welcome(welcome) => {
                self.directory.on_welcome(welcome);
                if let Some(link) = self.links.get_mut(usize::from(shard)) {
                    (link.credit, link.version) = (welcome.link_credit, welcome.version);
                }
                return self.reattach();
            }
            ToEdge::LinkCredit(credit) => {
                if let Some(link) = self.links.get_mut(usize::from(shard)) {
                    link.credit = link.credit.max(credit.bytes);
                }
                self.resend_left(shard);
                let waiting: Vec<u64> = self.conns.keys().copied().collect();
                return waiting.into_iter().for_each(|counter| {
                    self.resend(counter);
                    self.go_on(counter);
                });
            }
            ToEdge::SlotOwner(owner) => {
                self.directory.on_slot_owner(owner);
                return self.reattach();
            }
            ToEdge::Authentication(f) => {
                self.directory.on_authentication(f);
                return;
            }
            ToEdge::Certified(f) => {
                self.directory.on_certified(f);
                return;
            }
            ToEdge::Domain(domain) => {
                self.directory.on_domain(domain);
                return self.wake_held();
            }
            ToEdge::DomainGone(_) | ToEdge::Heartbeat(_) | ToEdge::Echo(_) | ToEdge::Refused(_) => return,
            ToEdge::Attached(f) => {
                if self.detached.on_attached(f) {
                    self.resend_left(shard);
                } else if self.session_mut(f.counter).is_some_and(|session| session.on_attached(f)) {
                    self.resend(f.counter);
                }
                f.counter
            }
            ToEdge::Capsule(f) => {
                if let Some(session) = self.bound(f.counter) {
                    session.on_capsule(f);
                }
                return;
            }
            ToEdge::AskedBefore(f) => {
                if let Some(session) = self.bound(f.counter) {
                    session.on_asked_before(f);
                }
                return;
            }
            ToEdge::Stored(f) => {
                if let Some(session) = self.bound(f.counter) {
                    session.on_stored(f);
                }
                return;
            }
            ToEdge::SmEnabled(f) => return self.answered(f.counter, Input::SmEnabled { enabled: f, location: None }),
            ToEdge::Resumed(f) => return self.answered(f.counter, Input::Resumed(f)),
            ToEdge::ResumeFailed(f) => {
                return self.answered(f.counter, Input::ResumeFailed { condition: f.condition, h: f.h });
            }
            ToEdge::AuthChallenge(f) => return self.answered(f.counter, Input::Challenge(f.data)),
            ToEdge::AuthSuccess(f) => {
                return self.answered(f.counter, Input::Success { account: f.account, data: f.data });
            }
            ToEdge::FastToken(f) => {
                let token = std::str::from_utf8(f.token).unwrap_or_default();
                return self.answered(f.counter, Input::Token { token, expires_ms: f.expires_ms });
            }
            ToEdge::AuthFailure(f) => {
                return self.answered(f.counter, Input::Failure { condition: f.condition, last: f.last });
            }
            ToEdge::Moved(f) => return self.answered(f.counter, Input::Moved(f.slot)),
            ToEdge::Bound(f) => return self.answered(f.counter, Input::Bound(f)),
            ToEdge::BindRefused(f) => return self.answered(f.counter, Input::BindRefused(f.condition)),
            ToEdge::PreAuthReply(_) => return,
            ToEdge::Settled(f) => {
                if let Some(session) = self.bound(f.counter) {
                    session.on_settled(f);
                }
                self.end_of_turn(f.counter);
                f.counter
            }
            ToEdge::Deliver(f) => {
                self.credited(shard, bytes);
                return self.deliver(&f.target, None, f.stanza);
            }
            ToEdge::DeliverLogged(f) => {
                self.credited(shard, bytes);
                return self.deliver(&f.deliver.target, Some(f.log), f.deliver.stanza);
            }
            ToEdge::Multicast(f) => {
                self.credited(shard, bytes);
                return f.targets.iter().for_each(|target| self.deliver(target, None, f.stanza));
            }
            ToEdge::MulticastLogged(f) => {
                self.credited(shard, bytes);
                let Multicast { targets, stanza } = &f.multicast;
                return targets.iter().for_each(|target| self.deliver(target, Some(f.log), stanza));
            }
            ToEdge::Close(f) => {
                self.detached.on_close(f.counter, f.generation);
                let this = self.session_mut(f.counter).map(|session| session.generation());
                let same = f.generation.is_none_or(|generation| this == Some(generation));
                if same {
                    self.input(f.counter, Input::CoreClose { condition: f.condition, text: f.text });
                }
                return;
            }
        };
        self.go_on(counter);
    }

    /// The session of a connection, bound or with its last words to say.
    fn session_mut(&mut self, counter: u64) -> Option<&mut Session> {
        self.conns.get_mut(&counter)?.stream.session_mut()
    }

    fn bound(&mut self, counter: u64) -> Option<&mut Session> {
        match &mut self.conns.get_mut(&counter)?.stream {
            Stream::Bound(session) => Some(session),
            Stream::Negotiating(_) | Stream::Ended(_) => None,
        }
    }

    /// Acknowledgements (XEP-0198); every frame and element is a turn here.
    fn end_of_turn(&mut self, counter: u64) {
        if let Some(conn) = self.conns.get_mut(&counter)
            && let Stream::Bound(session) = &mut conn.stream
        {
            session.end_of_turn(&mut conn.output);
            // However short the time is.
            session.answer(&mut conn.output);
        }
    }

    fn answered(&mut self, counter: u64, input: Input<'_>) {
        self.input(counter, input);
        self.end_of_turn(counter);
        self.go_on(counter);
    }

    fn wake_held(&mut self) {
        for counter in self.conns.keys().copied().collect::<Vec<_>>() {
            let held = match self.conns.get(&counter).map(|conn| &conn.stream) {
                Some(Stream::Negotiating(negotiation)) => negotiation.held_for().map(str::to_owned),
                _ => None,
            };
            let Some(to) = held else { continue };
            let mut out = Vec::new();
            if let Some(conn) = self.conns.get_mut(&counter) {
                conn.stream.handle(Input::Directory { domain: self.directory.hosted(&to) }, self.now, &mut out);
            }
            self.perform(counter, out);
            self.go_on(counter);
        }
    }

    /// Credited bytes came; the credit is restated at once, half a window at a time.
    fn credited(&mut self, shard: ShardIndex, bytes: usize) {
        let window = self.window;
        let Some(link) = self.links.get_mut(usize::from(shard)) else { return };
        let before = link.received / (window / 2);
        link.received += bytes as u64;
        if link.received / (window / 2) != before {
            ToCore::LinkCredit(LinkCredit { bytes: link.received + window }).encode(&mut link.out);
        }
    }

    fn deliver(&mut self, target: &Target<'_>, log: Option<u64>, stanza: &[u8]) {
        let Some(conn) = self.conns.get_mut(&target.counter) else { return };
        let (Stream::Bound(session), Ok(view)) = (&mut conn.stream, Stanza::decode(stanza)) else { return };
        if view.kind == StanzaKind::Message && view.ty == StanzaType::Error {
            self.refused.extend(view.id.and_then(|id| id.strip_prefix('m')).and_then(|id| id.parse::<u64>().ok()));
        }
        let _: Overlay<'_> = target.overlay;
        if !session.on_deliver(target, log, self.directory.slot_key(), &view, stanza.len(), &mut conn.output) {
            conn.ended = true;
        }
        self.end_of_turn(target.counter);
    }
}
