//! The shard, its store, the honest edge, and what the hostile one knows.

use hearth_core::Now;
use hearth_core::cx::Cx;
use hearth_core::domain::Domains;
use hearth_core::limits;
use hearth_core::link::LinkId;
use hearth_core::login::Login;
use hearth_core::outputs::Outputs;
use hearth_core::random::SeededRandom;
use hearth_core::shard::{Input, Settings, Shard, pin};
use hearth_storage::{Ask, Change, Credentials, DomainRecord, Question, ScramKeys, Storage};
use hearth_wire::BareJid;
use hearth_wire::codec::{FRAME_BYTES_MAX, split};
use hearth_wire::ids::{Generation, StreamId};
use hearth_wire::stanza::{Stanza, StanzaKind, StanzaType};
use hearth_wire::to_core::{Bind, Hello, StanzaIn, ToCore, VERSION_MAX, VERSION_MIN, Written};
use hearth_wire::to_edge::{Target, ToEdge};
use hearth_wire::tree::{self, Builder};
use std::collections::BTreeMap;

const HONEST: LinkId = LinkId(0);
const PLENTY: u64 = 1 << 40;
/// Key derivations of one input: each costs as much as a thousand frames.
const DERIVATIONS_MAX: usize = 2;
/// Links that the hostile edge makes in one input.
const LINKS_MAX: u16 = 12;

/// What an edge has heard of its sockets.
#[derive(Default)]
pub(super) struct Known {
    sockets: BTreeMap<u64, Socket>,
    pub(super) previd: String,
}

#[derive(Default)]
struct Socket {
    generation: Generation,
    stream: [u8; 16],
    capsule: Vec<u8>,
    sent: u64,
    entry: u64,
}

impl Known {
    pub(super) fn generation(&self, counter: u64) -> Generation {
        self.sockets.get(&counter).map(|socket| socket.generation).unwrap_or_default()
    }
    pub(super) fn stream(&self, counter: u64) -> StreamId {
        StreamId(self.sockets.get(&counter).map(|socket| socket.stream).unwrap_or_default())
    }
    pub(super) fn capsule(&self, counter: u64) -> &[u8] {
        self.sockets.get(&counter).map(|socket| socket.capsule.as_slice()).unwrap_or_default()
    }
    pub(super) fn entry(&self, counter: u64) -> u64 {
        self.sockets.get(&counter).map_or(0, |socket| socket.entry)
    }
    pub(super) fn next_number(&self, counter: u64) -> u64 {
        self.sockets.get(&counter).map_or(1, |socket| socket.sent.wrapping_add(1))
    }
    pub(super) fn sent(&mut self, counter: u64, number: u64) {
        if let Some(socket) = self.sockets.get_mut(&counter).filter(|socket| socket.sent.wrapping_add(1) == number) {
            socket.sent = number;
        }
    }

    fn hear(&mut self, frame: &ToEdge<'_>) {
        match frame {
            ToEdge::Bound(bound) => {
                let socket = self.sockets.entry(bound.counter).or_default();
                *socket = Socket { generation: bound.generation, stream: bound.stream.0, ..Socket::default() };
            }
            ToEdge::Resumed(resumed) => {
                let socket = self.sockets.entry(resumed.counter).or_default();
                (socket.generation, socket.stream) = (resumed.generation, resumed.stream.0);
                (socket.sent, socket.entry) = (resumed.number, resumed.entry);
            }
            ToEdge::Attached(attached) => {
                self.sockets.entry(attached.counter).or_default().generation = attached.generation;
            }
            ToEdge::Capsule(capsule) => {
                self.sockets.entry(capsule.counter).or_default().capsule = capsule.sealed.to_vec();
            }
            ToEdge::SmEnabled(enabled) => {
                if let Some(previd) = enabled.previd {
                    previd.clone_into(&mut self.previd);
                }
            }
            ToEdge::Deliver(deliver) => {
                self.sockets.entry(deliver.target.counter).or_default().entry = deliver.target.entry
            }
            ToEdge::DeliverLogged(logged) => {
                let target = &logged.deliver.target;
                self.sockets.entry(target.counter).or_default().entry = target.entry;
            }
            _ => {}
        }
    }
}

pub(super) struct World {
    shard: Shard,
    out: Outputs,
    storage: Storage,
    now: Now,
    honest: Known,
    /// What bob got and nobody looked at.
    inbox: Vec<Vec<u8>>,
    pub(super) hostile: Known,
    link: LinkId,
    derivations: usize,
    said: u64,
}

impl World {
    pub(super) fn new() -> World {
        let (storage, boot) = Storage::memory().expect("a store in memory");
        let settings = Settings {
            index: 0,
            shards: 1,
            slot_key: boot.slot_key,
            secret: boot.secret,
            epoch: boot.epoch,
            clear_login: false,
            limits: limits::Limits::default(),
            link_version: VERSION_MAX,
            edges_before: Vec::new(),
            restored: boot.restored,
            settled: boot.settled,
        };
        let domains = Domains::new(vec![DomainRecord::new("example.org")]);
        let mut world = World {
            shard: Shard::new(settings, domains, &[], Box::new(SeededRandom::new(1))),
            out: Outputs::default(),
            storage,
            now: Now { mono_ms: 1_000, utc_ms: 1_700_000_000_000 },
            honest: Known::default(),
            inbox: Vec::new(),
            hostile: Known::default(),
            link: HONEST,
            derivations: DERIVATIONS_MAX,
            said: 0,
        };
        world.link_up("honest", VERSION_MAX, 1);
        for (counter, name, resource) in [(1, "ann", "a"), (2, "bob", "b")] {
            world.log_in(counter, name, Some(resource));
            let presence = Stanza::new(StanzaKind::Presence, StanzaType::Available).encode();
            world.honest_says(counter, &presence);
        }
        world.link = LinkId(1);
        world.link_up("evil", VERSION_MAX, 1);
        world.log_in(1, "eve", Some("e"));
        world.log_in(2, "mallory", None);
        world
    }

    fn link_up(&mut self, edge: &'static str, version_max: u16, incarnation: u64) {
        self.input(Input::LinkUp(self.link));
        self.input(Input::LinkKey { link: self.link, edge: edge.into() });
        let hello = Hello {
            version_min: VERSION_MIN,
            version_max,
            edge,
            incarnation,
            event_loop: 0,
            event_loops: 1,
            shard: 0,
            link_credit: PLENTY,
        };
        self.say(&ToCore::Hello(hello));
        self.turn();
    }

    /// A socket of the current link logs in and, with a resource, binds.
    fn log_in(&mut self, counter: u64, name: &str, resource: Option<&str>) {
        let account = BareJid::new(Some(name), "example.org").expect("an address");
        let keys = ScramKeys { iterations: 10, salt: vec![1], stored_key: vec![2], server_key: vec![3] };
        let credentials = Credentials { generation: 1, sha1: keys.clone(), sha256: keys.clone(), sha512: keys };
        let slot = self.shard.settings.slot_key.slot(account.as_str());
        let changes = vec![Change::CreateAccount { account: account.clone(), credentials }];
        let epoch = self.shard.settings.epoch;
        self.storage.answer(Question { id: 0, slot, epoch, ask: Ask::Apply { changes } });
        let link = self.link;
        let mut cx = Cx { shard: &mut self.shard, out: &mut self.out, now: self.now };
        cx.with_account(&account, move |cx, account| {
            let account = account.expect("it was made");
            pin(cx, account);
            cx.shard.logins.insert((link, counter), Login::authenticated(account));
        });
        self.turn();
        if resource.is_some() {
            self.say(&ToCore::Bind(Bind { counter, resource, credit: PLENTY }));
            self.turn();
        }
    }

    pub(super) fn generation_of_ann(&self) -> Generation {
        self.honest.generation(1)
    }

    fn honest_says(&mut self, counter: u64, stanza: &[u8]) {
        let (number, generation) = (self.honest.next_number(counter), self.honest.generation(counter));
        self.honest.sent(counter, number);
        let frame = StanzaIn { counter, generation, number, fault: None, stanza };
        let link = std::mem::replace(&mut self.link, HONEST);
        self.say(&ToCore::Stanza(frame));
        self.link = link;
        self.turn();
    }

    /// A frame on the current link.
    pub(super) fn say(&mut self, frame: &ToCore<'_>) {
        let mut encoded = Vec::new();
        frame.encode(&mut encoded);
        self.say_encoded(&encoded);
    }

    pub(super) fn say_encoded(&mut self, encoded: &[u8]) {
        let (body, bytes) = split(encoded, FRAME_BYTES_MAX).expect("a frame").expect("whole");
        let Ok(Some(frame)) = ToCore::decode(body) else { return };
        self.input(Input::Frame { link: self.link, frame, bytes });
    }

    fn input(&mut self, input: Input<'_>) {
        self.shard.handle(input, self.now, &mut self.out);
    }

    /// Time passes; nobody's link is silent for that.
    pub(super) fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.utc_ms += ms;
        self.input(Input::WakeUp);
        self.turn();
    }

    /// The hostile edge's connection ends, and there is another.
    pub(super) fn relink(&mut self, version: u16, incarnation: u64, down_first: bool) {
        if self.link.0 >= LINKS_MAX {
            return;
        }
        let old = self.link;
        if down_first {
            self.input(Input::LinkDown(old));
            self.turn();
        }
        self.link = LinkId(old.0 + 1);
        self.link_up("evil", version, incarnation);
        if !down_first {
            self.input(Input::LinkDown(old));
            self.turn();
        }
    }

    /// Turns until nobody has anything to do.
    pub(super) fn turn(&mut self) {
        for turn in 0.. {
            assert!(turn < 10_000, "the shard does not come to rest");
            self.input(Input::EndOfTurn);
            if !self.drain() {
                return;
            }
        }
    }

    fn drain(&mut self) -> bool {
        let mut any = self.out.wake_at_ms.take_if(|at_ms| *at_ms <= self.now.mono_ms).is_some();
        self.out.events.clear();
        for question in std::mem::take(&mut self.out.questions) {
            any = true;
            let answered = self.storage.answer(question);
            self.input(Input::Answer(answered));
        }
        for (id, task) in std::mem::take(&mut self.out.derive) {
            if self.derivations > 0 {
                self.derivations -= 1;
                any = true;
                self.input(Input::Derived { id, derived: task.run() });
            }
        }
        for (index, frames) in std::mem::take(&mut self.out.to_edges).into_iter().enumerate() {
            any |= !frames.is_empty();
            self.hear(index == usize::from(HONEST.0), &frames);
        }
        for link in std::mem::take(&mut self.out.close_links) {
            assert!(link != HONEST, "the honest edge was refused");
            any = true;
            self.input(Input::LinkDown(link));
        }
        any
    }

    fn hear(&mut self, honest: bool, mut frames: &[u8]) {
        while let Some((body, used)) = split(frames, FRAME_BYTES_MAX).expect("frames") {
            let frame = ToEdge::decode(body).expect("a frame").expect("of a kind that is known");
            if honest {
                self.honest_hears(&frame);
            } else {
                self.hostile.hear(&frame);
            }
            frames = &frames[used..];
        }
        assert!(frames.is_empty());
    }

    fn honest_hears(&mut self, frame: &ToEdge<'_>) {
        self.honest.hear(frame);
        match frame {
            ToEdge::Close(close) => panic!("an honest session was closed: {close:?}"),
            ToEdge::Refused(refused) => panic!("the honest edge was refused: {refused:?}"),
            ToEdge::Deliver(deliver) => self.honest_gets(&deliver.target, deliver.stanza),
            ToEdge::DeliverLogged(logged) => self.honest_gets(&logged.deliver.target, logged.deliver.stanza),
            ToEdge::Multicast(all) => all.targets.iter().for_each(|target| self.honest_gets(target, all.stanza)),
            ToEdge::MulticastLogged(logged) => {
                logged.multicast.targets.iter().for_each(|target| self.honest_gets(target, logged.multicast.stanza));
            }
            _ => {}
        }
    }

    fn honest_gets(&mut self, target: &Target<'_>, stanza: &[u8]) {
        let Target { counter, generation, entry, .. } = *target;
        assert_eq!(generation, self.honest.generation(counter), "sent to somebody else");
        let decoded = Stanza::decode(stanza).expect("a stanza");
        decoded.validate().expect("one that can be rendered");
        let from = decoded.from.unwrap_or("example.org");
        let known =
            ["ann@example.org", "bob@example.org", "eve@example.org", "mallory@example.org", "nobody@example.org"];
        assert!(from == "example.org" || known.contains(&from.split('/').next().unwrap_or(from)), "from {from}");
        let says_ann = tree::children(decoded.payload).any(|child| child.name() == "said");
        assert!(!says_ann || decoded.from == Some("ann@example.org/a"), "forged: {decoded:?}");
        if counter == 2 {
            self.inbox.push(stanza.to_vec());
        }
        let link = std::mem::replace(&mut self.link, HONEST);
        self.say(&ToCore::Written(Written { counter, generation, entry, credit: PLENTY }));
        self.link = link;
    }

    /// What ann says reaches bob.
    pub(super) fn ann_reaches_bob(&mut self) {
        self.said += 1;
        let id = self.said.to_string();
        let mut payload = Builder::new();
        payload.leaf(None, "body", &id).leaf(Some("urn:example:ann"), "said", &id);
        let (to, payload) = (Some("bob@example.org/b"), payload.finish());
        let said =
            Stanza { id: Some(&id), to, payload: &payload, ..Stanza::new(StanzaKind::Message, StanzaType::Chat) };
        self.honest_says(1, &said.encode());
        let got = self.inbox.iter().filter_map(|stanza| Stanza::decode(stanza).ok());
        let got = got.filter(|stanza| stanza.id == Some(&id) && stanza.payload == payload.as_slice()).count();
        assert_eq!(got, 1, "what ann said came {got} times");
        self.inbox.clear();
    }

    /// What must hold between any two steps.
    pub(super) fn check(&self) {
        for (_, session) in self.shard.sessions.iter() {
            let account = session.jid.bare_str();
            let honest = ["ann@example.org", "bob@example.org"].contains(&account);
            assert_eq!(honest, session.link == HONEST, "{account} at link {:?}", session.link);
            assert!(session.outbound.entries.len() <= limits::ENTRIES_MAX);
        }
        assert!(self.shard.logins.keys().all(|(link, _)| *link != HONEST));
        let gone = self.shard.links.values().filter(|link| !link.up).count();
        assert!(self.shard.links.len() - gone <= 2, "links that nobody uses");
        assert!(self.shard.edge_runs.len() <= 2);
        assert_eq!(self.honest.sockets.len(), 2);
    }
}
