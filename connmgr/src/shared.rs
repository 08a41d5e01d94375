//! What all clients of one event loop share: links, directory, buffers, timers, the time of this turn.

use crate::config::Config;
use crate::conn::Pool;
use crate::detached::Detached;
use crate::directory::Directory;
use crate::entry::Entrance;
use crate::figures::Counts;
use crate::handshakes::{Handshakes, Rate, Turn};
use crate::limits::{LINK_SHARE_BYTES, READ_BUFFER_BYTES};
use crate::link::Link;
use crate::listener::{Door, Doorkeeper};
use crate::live::{Live, LoopTls};
use crate::stream::{Now, Output, Question};
use crate::wheel::{Tick, Wheel};
use crate::xml;
use hearth_link::metrics::Times;
use hearth_wire::ids::ShardIndex;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

/// Buffers that are empty between two calls.
pub(crate) struct Scratch {
    pub(crate) read: Vec<u8>,
    pub(crate) plain: Vec<u8>,
    pub(crate) tree: Vec<u8>,
    pub(crate) stanza: Vec<u8>,
    pub(crate) xml: xml::Scratch,
    pub(crate) outputs: Vec<Output>,
}

/// See the module.
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) live: Arc<Live>,
    pub(crate) tls: LoopTls,
    pub(crate) directory: Directory,
    pub(crate) links: Vec<Link>,
    pub(crate) detached: Detached,
    pub(crate) pool: Pool,
    pub(crate) scratch: Scratch,
    pub(crate) wheel: Wheel,
    pub(crate) door: Doorkeeper,
    pub(crate) random: Random,
    pub(crate) now: Now,
    pub(crate) tick: Tick,
    /// When this turn began, as `now`.
    pub(crate) turn_us: u64,
    /// What `Echo` took on the links.
    pub(crate) round_trips: Arc<Times>,
    /// Clients with output to flush this turn, each once.
    pub(crate) dirty: Vec<u32>,
    /// Clients with input that can be handled in the next turn.
    pub(crate) again: Vec<u32>,
    /// Clients whose `<r/>` (XEP-0198) waits for its answer, and until when (`Now::mono_ms`), in that order, each once.
    pub(crate) asked: VecDeque<(u64, u32)>,
    /// Clients that something is to be done for within a second, each once: written entries are reported.
    pub(crate) seconds: Vec<u32>,
    /// Bytes that the client in hand may still send to its link while others wait for it.
    pub(crate) link_share: usize,
    /// Clients that may begin a TLS handshake, or wait for it.
    pub(crate) handshakes: Handshakes,
    /// Clients on their way to their first presence.
    pub(crate) entry: Entrance,
    /// Clients whose stream header waits for the core.
    pub(crate) held: Vec<u32>,
    /// Those that only grow.
    pub(crate) counts: Counts,
}

impl Shared {
    pub(crate) fn new(live: Arc<Live>, random: Random) -> Shared {
        let settings = live.settings();
        Shared {
            config: Arc::clone(&settings.config),
            live,
            tls: LoopTls::new(settings),
            directory: Directory::new(),
            links: vec![Link::new(0)],
            detached: Detached::new(),
            pool: Pool::default(),
            scratch: Scratch {
                read: vec![0; READ_BUFFER_BYTES],
                plain: Vec::new(),
                tree: Vec::new(),
                stanza: Vec::new(),
                xml: xml::Scratch::default(),
                outputs: Vec::new(),
            },
            wheel: Wheel::new(),
            door: Doorkeeper::default(),
            random,
            now: Now::default(),
            tick: 1,
            turn_us: 0,
            round_trips: Arc::default(),
            dirty: Vec::new(),
            again: Vec::new(),
            seconds: Vec::new(),
            asked: VecDeque::new(),
            link_share: LINK_SHARE_BYTES,
            handshakes: Handshakes::default(),
            entry: Entrance::default(),
            held: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Counts a connection from `peer` in, unless there are too many of its address.
    pub(crate) fn enter(&mut self, peer: IpAddr) -> Option<Door> {
        let Config { unauthenticated_per_address_max: strangers, connections_per_address_max: all, .. } = *self.config;
        let door = self.door.enter(peer, strangers, all);
        if door.is_none() {
            self.counts.turned_away = self.counts.turned_away.wrapping_add(1);
            tracing::debug!(event = "turned_away", %peer);
        }
        door
    }

    pub(crate) fn link(&mut self, shard: ShardIndex) -> Option<&mut Link> {
        self.links.get_mut(usize::from(shard))
    }

    /// Bytes of stanzas that may be sent to a shard now.
    pub(crate) fn link_credit(&self, shard: ShardIndex) -> u64 {
        self.links.get(usize::from(shard)).map_or(0, Link::credit)
    }

    /// Whether clients wait for room on the link to a shard.
    pub(crate) fn link_is_awaited(&self, shard: ShardIndex) -> bool {
        self.links.get(usize::from(shard)).is_some_and(|link| !link.waiting.is_empty())
    }

    /// True once every shard can be asked: clients are let past their header.
    pub(crate) fn links_ready(&self) -> bool {
        let shards = usize::from(self.directory.shards());
        shards > 0 && self.links.len() >= shards && self.links.iter().take(shards).all(Link::is_up)
    }

    /// When a client of `peer` may begin its handshake.
    pub(crate) fn handshake_of(&mut self, peer: IpAddr) -> Turn {
        if peer.is_loopback() && !self.config.loopback_is_bounded {
            return Turn::Now;
        }
        let config = &self.config;
        let rate = Rate { per_s: config.handshakes_per_address_s, burst: config.handshakes_per_address_burst };
        self.handshakes.ask(peer, rate, self.now.mono_ms)
    }

    /// Sends a client's question. The shard that was asked, if it could be.
    pub(crate) fn ask(
        &mut self,
        counter: u64,
        peer: Option<&IpAddr>,
        known_by: Option<ShardIndex>,
        question: &Question,
    ) -> Option<ShardIndex> {
        let (shard, frame) = question.frame(counter, peer.copied(), known_by, &self.directory)?;
        let link = self.links.get_mut(usize::from(shard))?;
        if let Some(ahead) = question.ahead(counter) {
            link.send(&ahead);
        }
        link.send(&frame).then_some(shard)
    }
}

/// Random bytes, fetched in batches.
pub(crate) struct Random {
    fill: fn(&mut [u8]),
    batch: [u8; 256],
    used: usize,
}

impl Random {
    /// `fill` fills a slice with random bytes.
    pub(crate) fn new(fill: fn(&mut [u8])) -> Random {
        Random { fill, batch: [0; 256], used: 256 }
    }

    /// 128 random bits, never given twice.
    pub(crate) fn id(&mut self) -> [u8; 16] {
        if self.used >= self.batch.len() {
            (self.fill)(&mut self.batch);
            self.used = 0;
        }
        let start = self.used;
        self.used = start.saturating_add(16);
        let mut id = [0; 16];
        if let Some(bytes) = self.batch.get_mut(start..self.used) {
            id.copy_from_slice(bytes);
            bytes.fill(0);
        }
        id
    }

    pub(crate) fn number(&mut self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.id();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}
