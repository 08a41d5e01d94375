//! What a login costs the shards in presence: 1,000 users on two shards, each with 25 contacts who are
//! all online, presence both ways. CPU time of one thread, links' frames written and thrown away:
//! `cargo bench -p hearth-benches --bench presence`. Without `--bench`, as `cargo test` calls it, a
//! small round without figures.
#![allow(clippy::print_stdout, reason = "a table is what this program is for")]
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
use hearth_storage::{Ask, Change, Credentials, DomainRecord, Question, RosterItem, ScramKeys, Storage, Subscription};
use hearth_wire::BareJid;
use hearth_wire::ids::{Generation, ShardIndex};
use hearth_wire::stanza::{Stanza, StanzaKind, StanzaType};
use hearth_wire::to_core::{self, ToCore};
use hearth_wire::to_edge::ToEdge;
use hearth_wire::{codec, tree};
use std::time::Duration;

const SHARDS: ShardIndex = 2;
const LINK: LinkId = LinkId(0);
const NOW: Now = Now { mono_ms: 1_000, utc_ms: 1_700_000_000_000 };
const PLENTY: u64 = 1 << 50;

struct World {
    storage: Storage,
    shards: Vec<Shard>,
    outputs: Vec<Outputs>,
    generations: Vec<Generation>,
    written: Vec<u64>,
    sent: Vec<u64>,
    stanzas: u64,
    frames: u64,
    frame_bytes: u64,
    peers: u64,
}

fn jid(user: usize) -> BareJid {
    BareJid::parse(&format!("user{user}@example.org")).unwrap()
}

impl World {
    /// Users in a ring; each is a friend of those next to it on both sides and, where `contacts` is odd,
    /// of the one opposite.
    fn new(users: usize, contacts: usize) -> World {
        let (storage, boot) = Storage::memory().unwrap();
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
        let domain = DomainRecord::new("example.org");
        let shard = |index| {
            let settings = Settings {
                index,
                shards: SHARDS,
                slot_key: boot.slot_key,
                secret: boot.secret,
                epoch: boot.epoch,
                clear_login: false,
                limits: Default::default(),
                link_version: to_core::VERSION_MAX,
                edges_before: Vec::new(),
                restored: 0,
            };
            Shard::new(settings, Domains::new(vec![domain.clone()]), &[], Box::new(SeededRandom::new(7)))
        };
        let mut world = World {
            storage,
            shards: (0..SHARDS).map(shard).collect(),
            outputs: (0..SHARDS).map(|_| Outputs::default()).collect(),
            generations: vec![Generation { epoch: 0, counter: 0 }; users],
            written: vec![0; users],
            sent: vec![0; users],
            stanzas: 0,
            frames: 0,
            frame_bytes: 0,
            peers: 0,
        };
        for shard in 0..SHARDS {
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
            world.frame(usize::from(shard), ToCore::Hello(hello));
        }
        for user in 0..users {
            world.login(user);
        }
        world
    }

    fn owner(&self, user: usize) -> usize {
        usize::from(self.shards[0].owner(jid(user).as_str()))
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
        self.frame(shard, ToCore::Bind(bind));
        self.run();
    }

    fn send(&mut self, user: usize, stanza: &[u8]) {
        self.sent[user] += 1;
        let frame = to_core::StanzaIn {
            counter: user as u64,
            generation: self.generations[user],
            number: self.sent[user],
            fault: None,
            stanza,
        };
        self.frame(self.owner(user), ToCore::Stanza(frame));
        self.run();
    }

    fn input(&mut self, shard: usize, input: Input<'_>) {
        self.shards[shard].handle(input, NOW, &mut self.outputs[shard]);
    }

    fn frame(&mut self, shard: usize, frame: ToCore<'_>) {
        self.input(shard, Input::Frame { link: LINK, frame, bytes: 200 });
    }

    fn run(&mut self) {
        let mut idle = false;
        while !idle {
            idle = true;
            for shard in 0..self.shards.len() {
                self.input(shard, Input::EndOfTurn);
                for question in std::mem::take(&mut self.outputs[shard].questions) {
                    idle = false;
                    let answered = self.storage.answer(question);
                    self.input(shard, Input::Answer(answered));
                }
                for (to, messages) in std::mem::take(&mut self.outputs[shard].to_shards).into_iter().enumerate() {
                    for message in messages {
                        idle = false;
                        self.peers += u64::from(!matches!(message, PeerMessage::Room { .. }));
                        let from = ShardIndex::try_from(shard).unwrap();
                        self.input(to, Input::Peer { from, message });
                    }
                }
                self.receive(shard);
            }
        }
    }

    /// The edge: notes what was sent to whom, acknowledges it in [`World::acknowledge`].
    fn receive(&mut self, shard: usize) {
        let Some(buffer) = self.outputs[shard].to_edges.get_mut(usize::from(LINK.0)) else { return };
        let bytes = std::mem::take(buffer);
        let mut rest = &bytes[..];
        while let Some((body, used)) = codec::split(rest, codec::FRAME_BYTES_MAX).unwrap() {
            match ToEdge::decode(body).unwrap().unwrap() {
                ToEdge::Bound(bound) => {
                    self.generations[usize::try_from(bound.counter).unwrap()] = bound.generation;
                }
                ToEdge::Deliver(deliver) => {
                    self.stanzas += 1;
                    self.frames += 1;
                    self.frame_bytes += used as u64;
                    self.written[usize::try_from(deliver.target.counter).unwrap()] = deliver.target.entry;
                }
                ToEdge::Multicast(multicast) => {
                    self.stanzas += multicast.targets.len() as u64;
                    self.frames += 1;
                    self.frame_bytes += used as u64;
                    for target in &multicast.targets {
                        self.written[usize::try_from(target.counter).unwrap()] = target.entry;
                    }
                }
                _ => {}
            }
            rest = &rest[used..];
        }
        self.outputs[shard].to_edges[usize::from(LINK.0)] = {
            let mut bytes = bytes;
            bytes.clear();
            bytes
        };
    }

    fn acknowledge(&mut self) {
        for user in 0..self.written.len() {
            let written = to_core::Written {
                counter: user as u64,
                generation: self.generations[user],
                entry: self.written[user],
                credit: PLENTY,
            };
            self.frame(self.owner(user), ToCore::Written(written));
        }
    }
}

/// CPU time of this thread so far.
fn cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of our own.
    #[allow(unsafe_code, reason = "the standard library has no CPU clock")]
    let done = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(done, 0);
    Duration::new(u64::try_from(time.tv_sec).unwrap(), u32::try_from(time.tv_nsec).unwrap())
}

/// What a desktop client sends: caps, a priority.
fn presence() -> Vec<u8> {
    let mut built = tree::Builder::new();
    built.leaf(None, "priority", "5");
    built
        .open(Some("http://jabber.org/protocol/caps"), "c")
        .attr("hash", "sha-1")
        .attr("node", "https://example.org/client")
        .attr("ver", "QgayPKawpkPSDYmwT/WM94uAlu0=")
        .close();
    Stanza { payload: &built.finish(), ..Stanza::new(StanzaKind::Presence, StanzaType::Available) }.encode()
}

fn main() {
    let measure = std::env::args().any(|argument| argument == "--bench");
    let (users, contacts) = if measure { (1_000, 25) } else { (60, 25) };
    let mut world = World::new(users, contacts);
    let available = presence();
    let unavailable = Stanza::new(StanzaKind::Presence, StanzaType::Unavailable).encode();
    for user in 0..users {
        world.send(user, &available);
    }
    let mut spent = [Duration::ZERO; 2];
    world.stanzas = 0;
    world.frames = 0;
    world.frame_bytes = 0;
    world.peers = 0;
    for user in 0..users {
        world.acknowledge();
        let start = cpu();
        world.send(user, &unavailable);
        let gone = cpu();
        world.send(user, &available);
        spent[0] += gone - start;
        spent[1] += cpu() - gone;
    }
    // Unavailable: the contacts and itself. Available: the same, and the contacts' presence back.
    let expected = users as u64 * (3 * contacts as u64 + 2);
    assert_eq!(world.stanzas, expected, "everybody hears of everybody once");
    if measure {
        for (name, spent) in ["unavailable", "available"].into_iter().zip(spent) {
            println!("{name:<12} {:>8.4} CPU-s per 1,000 sessions", spent.as_secs_f64() * 1_000.0 / users as f64);
        }
        println!(
            "{} stanzas in {} frames of {} bytes, {} messages between shards",
            world.stanzas, world.frames, world.frame_bytes, world.peers
        );
    }
}
