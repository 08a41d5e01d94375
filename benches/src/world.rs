//! Shards over the store in memory, and the edge's end of their links: frames in, frames out, no thread, no socket.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "fixed input")]

use hearth_core::Now;
use hearth_core::cx::Cx;
use hearth_core::domain::Domains;
use hearth_core::link::LinkId;
use hearth_core::login::Login;
use hearth_core::outputs::Outputs;
use hearth_core::random::SeededRandom;
use hearth_core::route::PeerMessage;
use hearth_core::shard::{Input, Settings, Shard, pin};
use hearth_storage::{
    Ask, Boot, Change, Credentials, DomainRecord, Question, RosterItem, ScramKeys, Storage, Subscription,
};
use hearth_wire::ids::{Generation, ShardIndex};
use hearth_wire::to_core::{self, ToCore};
use hearth_wire::to_edge::{Target, ToEdge};
use hearth_wire::{BareJid, codec};

const LINK: LinkId = LinkId(0);
const NOW: Now = Now { mono_ms: 1_000, utc_ms: 1_700_000_000_000 };
const PLENTY: u64 = 1 << 50;

/// What a world is made of.
#[derive(Clone, Copy)]
pub struct Plan {
    pub shards: ShardIndex,
    pub users: usize,
    /// Users stand in a ring; each is a friend of those next to it on both sides and, where this is odd, of the
    /// one opposite.
    pub contacts: usize,
    /// Messages for whoever is there are not logged.
    pub log_off: bool,
}

/// Users `user0`, `user1`, … of `example.org`, each with one session at one edge.
pub struct World {
    storage: Storage,
    shards: Vec<Shard>,
    outputs: Vec<Outputs>,
    spare: Spare,
    generations: Vec<Generation>,
    written: Vec<u64>,
    sent: Vec<u64>,
    pub tally: Tally,
}

/// What came out of the shards.
#[derive(Default)]
pub struct Tally {
    pub stanzas: u64,
    pub frames: u64,
    pub frame_bytes: u64,
    /// Messages between shards.
    pub peers: u64,
    /// Stanzas that are settled, of all sessions.
    pub settled: u64,
}

/// Empty between turns; changes places with an output that is drained, so that both keep their memory.
#[derive(Default)]
struct Spare {
    questions: Vec<Question>,
    messages: Vec<PeerMessage>,
    /// One frame of the edge.
    frame: Vec<u8>,
}

fn jid(user: usize) -> BareJid {
    BareJid::parse(&format!("user{user}@example.org")).unwrap()
}

/// Makes the accounts with their rosters.
fn fill(storage: &Storage, boot: &Boot, Plan { users, contacts, .. }: Plan) {
    for user in 0..users {
        let keys = ScramKeys { iterations: 1, salt: vec![1], stored_key: vec![1], server_key: vec![1] };
        let account = jid(user);
        let credentials = Credentials { generation: 1, sha1: keys.clone(), sha256: keys.clone(), sha512: keys };
        let mut changes = vec![Change::CreateAccount { account: account.clone(), credentials }];
        let near = (1..=contacts / 2).flat_map(|step| [user + step, user + users - step]);
        let near = near.chain((contacts % 2 == 1).then_some(user + users / 2));
        changes.extend(near.map(|contact| Change::PutRosterItem {
            account: account.clone(),
            item: RosterItem {
                contact: jid(contact % users).as_str().into(),
                name: Some("A friend".into()),
                groups: vec!["Friends".into()],
                subscription: Subscription::Both,
                ask: false,
                approved: false,
            },
        }));
        let slot = boot.slot_key.slot(account.as_str());
        storage.answer(Question { id: 0, slot, epoch: boot.epoch, ask: Ask::Apply { changes } });
    }
}

impl World {
    /// All users are bound, and not yet available.
    #[must_use]
    pub fn new(plan: Plan) -> World {
        let (storage, boot) = Storage::memory().unwrap();
        fill(&storage, &boot, plan);
        let mut domain = DomainRecord::new("example.org");
        domain.set("log_off", plan.log_off);
        let shard = |index| {
            let settings = Settings {
                index,
                shards: plan.shards,
                slot_key: boot.slot_key,
                secret: boot.secret,
                epoch: boot.epoch,
                clear_login: false,
                limits: Default::default(),
                link_version: to_core::VERSION_MAX,
                edges_before: Vec::new(),
                restored: 0,
                settled: 0,
            };
            Shard::new(settings, Domains::new(vec![domain.clone()]), &[], Box::new(SeededRandom::new(7)))
        };
        let mut world = World {
            storage,
            shards: (0..plan.shards).map(shard).collect(),
            outputs: (0..plan.shards).map(|_| Outputs::default()).collect(),
            spare: Spare::default(),
            generations: vec![Generation { epoch: 0, counter: 0 }; plan.users],
            written: vec![0; plan.users],
            sent: vec![0; plan.users],
            tally: Tally::default(),
        };
        for shard in 0..plan.shards {
            world.input(usize::from(shard), Input::LinkUp(LINK));
            let hello = to_core::Hello {
                version_min: to_core::VERSION_MIN,
                version_max: to_core::VERSION_MAX,
                edge: "edge",
                incarnation: 1,
                event_loop: 0,
                event_loops: 1,
                shard,
                link_credit: PLENTY,
            };
            world.frame(usize::from(shard), &ToCore::Hello(hello));
        }
        for user in 0..plan.users {
            world.login(user);
        }
        world
    }

    fn owner(&self, user: usize) -> usize {
        if self.shards.len() == 1 { 0 } else { usize::from(self.shards[0].owner(jid(user).as_str())) }
    }

    fn login(&mut self, user: usize) {
        let (shard, counter) = (self.owner(user), user as u64);
        let mut cx = Cx { shard: &mut self.shards[shard], out: &mut self.outputs[shard], now: NOW };
        cx.with_account(&jid(user), move |cx, account| {
            pin(cx, account.unwrap());
            cx.shard.logins.insert((LINK, counter), Login::authenticated(account.unwrap()));
        });
        self.run();
        let bind = to_core::Bind { counter, resource: Some("desk"), credit: PLENTY };
        self.frame(shard, &ToCore::Bind(bind));
        self.run();
    }

    /// One stanza of a user's client, and all that follows from it.
    pub fn send(&mut self, user: usize, stanza: &[u8]) {
        self.sent[user] += 1;
        let frame = to_core::StanzaIn {
            counter: user as u64,
            generation: self.generations[user],
            number: self.sent[user],
            fault: None,
            stanza,
        };
        self.frame(self.owner(user), &ToCore::Stanza(frame));
        self.run();
    }

    fn input(&mut self, shard: usize, input: Input<'_>) {
        self.shards[shard].handle(input, NOW, &mut self.outputs[shard]);
    }

    /// As it comes over a link: encoded, split, decoded.
    fn frame(&mut self, shard: usize, frame: &ToCore<'_>) {
        let mut bytes = std::mem::take(&mut self.spare.frame);
        bytes.clear();
        frame.encode(&mut bytes);
        let (body, used) = codec::split(&bytes, codec::FRAME_BYTES_MAX).unwrap().unwrap();
        let frame = ToCore::decode(body).unwrap().unwrap();
        self.input(shard, Input::Frame { link: LINK, frame, bytes: used });
        self.spare.frame = bytes;
    }

    fn run(&mut self) {
        let mut idle = false;
        while !idle {
            idle = true;
            for shard in 0..self.shards.len() {
                self.input(shard, Input::EndOfTurn);
                let mut questions = std::mem::take(&mut self.spare.questions);
                std::mem::swap(&mut questions, &mut self.outputs[shard].questions);
                for question in questions.drain(..) {
                    idle = false;
                    let answered = self.storage.answer(question);
                    self.input(shard, Input::Answer(answered));
                }
                self.spare.questions = questions;
                self.pass_on(shard, &mut idle);
                self.receive(shard);
            }
        }
    }

    /// Messages of one shard for the others.
    fn pass_on(&mut self, shard: usize, idle: &mut bool) {
        let from = ShardIndex::try_from(shard).unwrap();
        for to in 0..self.outputs[shard].to_shards.len() {
            let mut messages = std::mem::take(&mut self.spare.messages);
            std::mem::swap(&mut messages, &mut self.outputs[shard].to_shards[to]);
            for message in messages.drain(..) {
                *idle = false;
                self.tally.peers += u64::from(!matches!(message, PeerMessage::Room { .. }));
                self.input(to, Input::Peer { from, message });
            }
            self.spare.messages = messages;
        }
    }

    /// The edge: notes what was sent to whom; [`World::acknowledge`] tells it.
    fn receive(&mut self, shard: usize) {
        let Some(buffer) = self.outputs[shard].to_edges.get_mut(usize::from(LINK.0)) else { return };
        let mut bytes = std::mem::take(buffer);
        let mut rest = &bytes[..];
        while let Some((body, used)) = codec::split(rest, codec::FRAME_BYTES_MAX).unwrap() {
            match ToEdge::decode(body).unwrap().unwrap() {
                ToEdge::Bound(bound) => {
                    self.generations[usize::try_from(bound.counter).unwrap()] = bound.generation;
                }
                ToEdge::Deliver(deliver) => self.delivered(&[deliver.target], used),
                ToEdge::DeliverLogged(logged) => self.delivered(&[logged.deliver.target], used),
                ToEdge::Multicast(multicast) => self.delivered(&multicast.targets, used),
                ToEdge::MulticastLogged(logged) => self.delivered(&logged.multicast.targets, used),
                ToEdge::Settled(_) => self.tally.settled += 1,
                _ => {}
            }
            rest = &rest[used..];
        }
        bytes.clear();
        self.outputs[shard].to_edges[usize::from(LINK.0)] = bytes;
    }

    fn delivered(&mut self, targets: &[Target<'_>], bytes: usize) {
        for target in targets {
            self.written[usize::try_from(target.counter).unwrap()] = target.entry;
        }
        self.tally.stanzas += targets.len() as u64;
        self.tally.frames += 1;
        self.tally.frame_bytes += bytes as u64;
    }

    /// Every client has read all that was sent to it.
    pub fn acknowledge(&mut self) {
        for user in 0..self.written.len() {
            let written = to_core::Written {
                counter: user as u64,
                generation: self.generations[user],
                entry: self.written[user],
                credit: PLENTY,
            };
            self.frame(self.owner(user), &ToCore::Written(written));
        }
    }
}
