//! The world around the machines: lanes, choices, faults.

mod disk;
mod faults;
mod lanes;
mod links;
mod people;
mod rules;
mod slots;

use super::check::{Checks, Rule};
use super::client::{Client, Kind, Life};
use super::edge::EdgeLoop;
use super::{Options, Trace};
use disk::Disk;
use hearth_core::Now;
use hearth_core::domain::Domains;
use hearth_core::limits::Limits;
use hearth_core::outputs::Outputs;
use hearth_core::random::SeededRandom;
use hearth_core::shard::{Input, Settings, Shard};
use hearth_storage::{Boot, DomainRecord};
use hearth_wire::ids::{Slot, SlotEpoch, SlotKey};
use hearth_wire::to_core::{VERSION_ATTACH, VERSION_MIN};
use lanes::{Item, Lane};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Channels of size 1: what each limit must at least hold is said at [`Limits`]. No stanza of this world has
/// more than 500 bytes.
const TIGHT: Limits = Limits {
    outbox_bytes: 1,
    session_window_bytes: 512,
    link_window_bytes: 1_500,
    under_way_bytes: 400,
    held_bytes: 4_000,
    held_bytes_all: 6_000,
    entries: 4,
    unstored: 3,
    account_queue: 8,
    pending: 4,
    flush_page: 1,
    closes_per_turn: 1,
    token_ms: 60_000,
};

/// As [`TIGHT`], of what an edge takes: a frame may carry a stanza for many sessions.
const EDGE_WINDOW_TIGHT: u64 = 8 * 1024;

pub(super) struct World {
    options: Options,
    random: SeededRandom,
    now: Now,
    shards: Vec<Shard>,
    /// Shards with inputs since their last end of a turn.
    in_turn: Vec<bool>,
    /// The core is about to stop: steps until it is not waited for any longer.
    stopping: Option<u32>,
    out: Outputs,
    disk: Disk,
    edges: Vec<EdgeLoop>,
    /// Number of the link between an event loop and a shard, if there is one; counts up at each redial.
    links: BTreeMap<(usize, usize), u16>,
    next_link: u16,
    lanes: BTreeMap<Lane, VecDeque<Item>>,
    /// What comes only when its time has come, `Now::mono_ms`.
    late: Vec<(u64, Lane, Item)>,
    clients: Vec<Client>,
    checks: Checks,
    next_message: u64,
    next_session: u64,
    slot_key: SlotKey,
    /// Epoch of the last lease: far above what orderly moves count up to.
    leased: SlotEpoch,
    /// The last lease of this core.
    lease: Option<(Slot, SlotEpoch)>,
    /// Slots that were ever moved by force.
    forced: BTreeSet<Slot>,
    trace: Trace,
}

impl World {
    pub(super) fn new(seed: u64, options: Options) -> World {
        let mut random = SeededRandom::new(seed);
        let (mut disk, boot) = Disk::new(options.users);
        disk.unfenced = options.unfenced;
        // Small, so that sessions wait for it now and then.
        let window = if options.tight { EDGE_WINDOW_TIGHT } else { 64 * 1024 };
        let edges = (0..options.event_loops)
            .map(|index| EdgeLoop::new(index, options.event_loops, options.shards, window, random.next_u64()))
            .collect();
        let mut world = World {
            options,
            random,
            now: Now { mono_ms: 1_000, utc_ms: 1_700_000_000_000 },
            shards: Vec::new(),
            in_turn: Vec::new(),
            stopping: None,
            out: Outputs::default(),
            disk,
            edges,
            links: BTreeMap::new(),
            next_link: 0,
            lanes: BTreeMap::new(),
            late: Vec::new(),
            clients: Vec::new(),
            checks: Checks::default(),
            next_message: 1,
            next_session: 1,
            slot_key: boot.slot_key,
            leased: boot.epoch,
            lease: None,
            forced: BTreeSet::new(),
            trace: Trace::default(),
        };
        world.start_core(&boot);
        // Two clients a user: several resources, and conflicts.
        for index in 0..options.users * 2 {
            let mut client = Client::new(index % options.users, one_of(&KINDS, world.pick(KINDS.len()), Kind::Plain));
            (client.flaky, client.slow) = (world.pick(4) == 0, world.pick(5) == 0);
            world.clients.push(client);
        }
        for edge in 0..world.edges.len() {
            for shard in 0..world.shards.len() {
                world.dial(edge, shard);
            }
        }
        world
    }

    /// Shards with nothing in memory, over what the store has.
    fn start_core(&mut self, boot: &Boot) {
        let Options { shards, tight, attach, .. } = self.options;
        let domains = Domains::new(vec![DomainRecord::new("example.org")]);
        self.shards = (0..shards)
            .map(|index| {
                let settings = Settings {
                    index,
                    shards,
                    slot_key: boot.slot_key,
                    secret: boot.secret,
                    epoch: boot.epoch,
                    clear_login: true,
                    limits: if tight { TIGHT } else { Limits::default() },
                    link_version: if attach { VERSION_ATTACH } else { VERSION_MIN },
                    edges_before: boot.edge_runs.clone(),
                    restored: 0,
                    settled: boot.settled,
                };
                Shard::new(
                    settings,
                    domains.clone(),
                    &boot.sessions,
                    Box::new(SeededRandom::new(self.random.next_u64())),
                )
            })
            .collect();
        self.in_turn = vec![false; self.shards.len()];
        self.stopping = None;
        self.out = Outputs::default();
        self.leased = self.leased.max(boot.epoch);
        // Nothing names a link of the core before.
        self.next_link = 0;
    }

    /// One event.
    pub(super) fn step(&mut self) -> Result<(), Rule> {
        self.event()?;
        self.check(false)
    }

    fn event(&mut self) -> Result<(), Rule> {
        self.go_on_stopping()?;
        match self.pick(1_000) {
            0..=569 => self.progress(),
            570..=849 => self.move_bytes(),
            850..=979 => self.act(),
            980..=982 if self.options.moves => {
                self.move_slot();
                Ok(())
            }
            983..=990 => {
                let ms = 1 + self.pick(3_000) as u64;
                self.pass(ms);
                Ok(())
            }
            991..=997 if self.options.faults => self.fault(),
            _ => self.progress(),
        }
    }

    /// No more actions and faults: everything under way arrives, then everyone is asked for, then all leave.
    pub(super) fn rest(&mut self) -> Result<Trace, Rule> {
        self.disk.recover();
        if self.stopping.is_some() {
            self.core_stops()?;
        }
        for client in &mut self.clients {
            client.stalled = false;
            client.slow = false;
        }
        self.settle()?;
        // Late news come, links come back, within a quarter of a minute, and moves that were held up by failures go
        // on; then half a minute for what a lost core left open.
        self.wait(50, 1_000)?;
        self.give_up_who_may_not_send();
        self.settle()?;
        self.wait(2, 1_000)?;
        self.check(true)?;
        self.none_withheld()?;
        self.all_answered()?;
        self.no_zombies()?;
        self.nobody_said_gone()?;
        self.everyone_leaves()?;
        // Sessions whose clients did not come back end.
        self.wait(22, 30_000)?;
        // Whoever has something waiting gets it now: one session each, of high priority. One after the
        // other, since the smallest store refuses who comes third at a time, and nobody here tries again.
        for user in 0..self.options.users {
            self.connect(user, 5);
            self.settle()?;
        }
        // What could not be read is read with a later sweep.
        self.wait(5, 1_000)?;
        self.all_answered()?;
        self.no_zombies()?;
        self.nobody_said_gone()?;
        self.everyone_leaves()?;
        self.rosters_are_right()?;
        self.trace.messages_acknowledged = self.checks.messages.none_lost()?;
        // Longer than anything is remembered for.
        self.wait(140, 5_000)?;
        self.nothing_left()?;
        self.sum_up();
        Ok(std::mem::take(&mut self.trace))
    }

    fn sum_up(&mut self) {
        self.trace.fenced = self.disk.fenced;
        self.trace.messages_delivered = self.checks.messages.delivered;
        self.trace.messages_repeated = self.checks.messages.repeated;
        self.trace.iqs_answered = self.clients.iter().map(|client| client.answered).sum();
        self.trace.resumed = self.clients.iter().map(|client| client.resumed).sum();
        self.trace.said_gone = self.checks.presences.gone;
        self.trace.changes = self.checks.rosters.changes;
    }

    fn everyone_leaves(&mut self) -> Result<(), Rule> {
        for index in 0..self.clients.len() {
            if let Some(client) = self.clients.get_mut(index).filter(|client| client.at.is_some()) {
                client.leave();
            }
        }
        self.settle()?;
        for index in 0..self.clients.len() {
            self.cut_off(index, 0);
            if let Some(client) = self.clients.get_mut(index) {
                client.forget();
            }
        }
        self.settle()
    }

    /// Time passes, and nothing but what follows from that happens.
    fn wait(&mut self, times: usize, ms: u64) -> Result<(), Rule> {
        for _ in 0..times {
            self.pass(ms);
            for client in self.clients.iter_mut().filter(|client| client.life == Life::Bound) {
                client.acknowledge();
            }
            self.settle()?;
        }
        Ok(())
    }

    /// Until nothing moves.
    fn settle(&mut self) -> Result<(), Rule> {
        for _ in 0..200_000 {
            self.progress()?;
            self.move_bytes()?;
            for shard in 0..self.shards.len() {
                if self.in_turn.get_mut(shard).is_some_and(std::mem::take) {
                    self.feed(shard, Input::EndOfTurn);
                }
            }
            if self.is_idle() {
                return self.check(false);
            }
        }
        Err(Rule::LeftBehind { what: "things that never come to rest", count: 1 })
    }

    fn is_idle(&self) -> bool {
        self.lanes.values().all(VecDeque::is_empty)
            && self.clients.iter().all(|client| client.output.is_empty() && self.has_read(client))
            && self.edges.iter().all(|edge| edge.links.iter().all(|link| link.out.is_empty()))
    }

    /// Whether a client has read all that its edge wrote.
    fn has_read(&self, client: &Client) -> bool {
        let conn = client.at.map(|(edge, counter)| self.edges.get(edge)?.conns.get(&counter));
        conn.is_none_or(|conn| conn.is_some_and(|conn| conn.output.is_empty()))
    }

    fn pick(&mut self, most: usize) -> usize {
        usize::try_from(self.random.next_u64() % (most.max(1) as u64)).unwrap_or(0)
    }

    /// For whoever looks into a failure: what happens, in order.
    #[expect(clippy::print_stderr, reason = "asked for on the command line")]
    fn tell(&self, what: impl FnOnce() -> String) {
        if self.options.verbose {
            eprintln!("{:>6} {}", self.now.mono_ms, what());
        }
    }

    /// Moves what is due into its lane.
    fn arrive(&mut self) {
        let now_ms = self.now.mono_ms;
        let (due, late) = std::mem::take(&mut self.late).into_iter().partition(|(at_ms, _, _)| *at_ms <= now_ms);
        self.late = late;
        for (_, lane, item) in Vec::from_iter(due) {
            self.push(lane, item);
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.utc_ms += ms;
        self.arrive();
        self.tell_health();
        for shard in 0..self.shards.len() {
            self.feed(shard, Input::WakeUp);
            self.feed(shard, Input::EndOfTurn);
        }
    }
}

/// How many of ten clients are of which kind.
const KINDS: [Kind; 10] = {
    use Kind::{Managed, Plain, Resuming};
    [Plain, Plain, Plain, Managed, Managed, Resuming, Resuming, Resuming, Resuming, Resuming]
};

/// The `index`-th choice, counted round.
fn one_of<T: Copy>(choices: &[T], index: usize, none: T) -> T {
    choices.get(index.checked_rem(choices.len()).unwrap_or(0)).copied().unwrap_or(none)
}
