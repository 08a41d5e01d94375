//! An edge with nothing to do, or nothing that it may do, uses no CPU. The only test of its process: it
//! measures the process.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a fixture fails its test")]
#![allow(clippy::disallowed_methods, reason = "the world around an edge has threads and clocks")]

mod common;

use common::{Edge, HEADER, Peer, Rules, Seen};
use std::time::Duration;

/// User and system time of this process, in ticks of 10 ms.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[track_caller]
fn is_quiet(what: &str) {
    std::thread::sleep(Duration::from_millis(200));
    let before = cpu_ticks();
    std::thread::sleep(Duration::from_millis(1000));
    let used = cpu_ticks() - before;
    assert!(used <= 10, "{what}: {used}0 ms of CPU in a second");
}

#[test]
fn waiting_costs_nothing() {
    let rules = Rules { session_credit: 500, settle: false, link_credit: 1000, ..Rules::default() };
    let (edge, core) = Edge::with_core(rules, |config| config.connections_max = 5);
    let mut idle = Peer::bound(&edge, "idle");
    is_quiet("an idle client");
    let mut starved = Peer::bound(&edge, "starved");
    for _ in 0..50 {
        starved.send("<message><body>more than the session's credit</body></message>");
    }
    is_quiet("a client without credit");
    idle.send("<message><body>");
    is_quiet("half a stanza");
    idle.send(&"x".repeat(450));
    idle.send("</body></message>");
    is_quiet("a client whose link has no credit");
    let mut stranger = Peer::connect(edge.clear);
    stranger.send(HEADER);
    stranger.expect("</stream:features>");
    core.set(|rules| rules.answer = false);
    stranger.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHVzZXIAc2VjcmV0</auth>");
    stranger.send(HEADER);
    core.wait("Authenticate", |seen| matches!(seen, Seen::Authenticate { .. }));
    is_quiet("a client whose core does not answer");
    let _half_open = Peer::connect(edge.direct);
    let _full = [Peer::connect(edge.clear), Peer::connect(edge.clear), Peer::connect(edge.clear)];
    is_quiet("a full edge with clients outside");
    drop(core);
    is_quiet("an edge without its core");
}
