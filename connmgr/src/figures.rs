//! What an edge counts, for whoever collects figures (OpenMetrics; `hearth_link::metrics`). Each loop counts in plain
//! numbers of its own and publishes them about once a second.

use crate::live::Live;
use hearth_link::metrics::{Kind, Page, Times};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often a loop publishes, milliseconds; one that sleeps has nothing new.
pub(crate) const PUBLISH_MS: u64 = 1_000;

/// What there is at one moment, or has been since the start.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) connections: u64,
    pub(crate) bound: u64,
    pub(crate) newcomers_waiting: u64,
    pub(crate) detached: u64,
    pub(crate) accepted: u64,
    pub(crate) turned_away: u64,
    pub(crate) slowed: u64,
    pub(crate) stanzas_in: u64,
    pub(crate) stanzas_out: u64,
    pub(crate) links: u64,
    pub(crate) links_up: u64,
    pub(crate) links_lost: u64,
    pub(crate) link_credit: u64,
    pub(crate) link_waiting: u64,
    pub(crate) held: u64,
}

/// Name, kind, meaning, and which number it is.
type Figure = (&'static str, Kind, &'static str, fn(&mut Counts) -> &mut u64);

const FIGURES: [Figure; 15] = [
    ("hearth_edge_connections", Kind::Gauge, "Clients' connections, logged in or not.", |c| &mut c.connections),
    ("hearth_edge_sessions", Kind::Gauge, "Connections with a bound resource.", |c| &mut c.bound),
    (
        "hearth_edge_newcomers_waiting",
        Kind::Gauge,
        "Connections that log in and wait until the core has done with others.",
        |c| &mut c.newcomers_waiting,
    ),
    (
        "hearth_edge_sessions_detached",
        Kind::Gauge,
        "Sessions without a socket of which the core is still to hear.",
        |c| &mut c.detached,
    ),
    ("hearth_edge_connections_accepted", Kind::Counter, "Connections taken.", |c| &mut c.accepted),
    ("hearth_edge_connections_refused", Kind::Counter, "Connections closed at once: too many of one address.", |c| {
        &mut c.turned_away
    }),
    (
        "hearth_edge_clients_slowed",
        Kind::Counter,
        "Times that a client was not read for a while: it sent more than limits.rate allows.",
        |c| &mut c.slowed,
    ),
    ("hearth_edge_stanzas_received", Kind::Counter, "Stanzas of clients that went to the core.", |c| &mut c.stanzas_in),
    ("hearth_edge_stanzas_sent", Kind::Counter, "Stanzas written for clients.", |c| &mut c.stanzas_out),
    ("hearth_edge_links", Kind::Gauge, "Links to shards, up or not.", |c| &mut c.links),
    ("hearth_edge_links_up", Kind::Gauge, "Links that are up.", |c| &mut c.links_up),
    ("hearth_edge_links_lost", Kind::Counter, "Links that ended.", |c| &mut c.links_lost),
    ("hearth_edge_link_credit_bytes", Kind::Gauge, "Bytes that the shards still take, of all links together.", |c| {
        &mut c.link_credit
    }),
    (
        "hearth_edge_link_waiting_bytes",
        Kind::Gauge,
        "Bytes for the shards that the links' sockets do not take yet.",
        |c| &mut c.link_waiting,
    ),
    ("hearth_edge_connections_held_by_link", Kind::Gauge, "Connections not read until their link has room.", |c| {
        &mut c.held
    }),
];

/// What one loop has published.
#[derive(Default)]
pub(crate) struct Published {
    numbers: [AtomicU64; FIGURES.len()],
    pub(crate) turns: Arc<Times>,
    pub(crate) round_trips: Arc<Times>,
}

impl Published {
    pub(crate) fn publish(&self, mut counts: Counts) {
        for (number, (.., which)) in self.numbers.iter().zip(FIGURES) {
            number.store(*which(&mut counts), Ordering::Relaxed);
        }
    }
}

/// The page.
pub(crate) fn page(loops: &[Arc<Published>], live: &Live) -> String {
    let mut page = Page::new();
    for (at, (name, kind, help, _)) in FIGURES.iter().enumerate() {
        let numbers = loops.iter().filter_map(|of| of.numbers.get(at));
        let sum = numbers.map(|number| number.load(Ordering::Relaxed)).fold(0, u64::saturating_add);
        page.single(name, *kind, help, sum as f64);
    }
    let times =
        |which: fn(&Published) -> &Arc<Times>| -> Vec<_> { loops.iter().map(|of| Arc::clone(which(of))).collect() };
    let help = "From when a loop asks a shard for an echo to when it has it; a second later it asks again.";
    Times::write(&times(|of| &of.round_trips), &mut page, "hearth_link_round_trip_seconds", help);
    Times::write(
        &times(|of| &of.turns),
        &mut page,
        "hearth_edge_turn_seconds",
        "Turns of the event loops, without their waiting.",
    );
    let name = "hearth_edge_certificate_expiry_timestamp_seconds";
    page.family(name, Kind::Gauge, "When a certificate ends, seconds since 1970.");
    for (domain, not_after_ms) in live.settings().certificates.ends() {
        page.sample(name, &[("domain", domain)], not_after_ms as f64 / 1e3);
    }
    page.process();
    page.finish()
}
