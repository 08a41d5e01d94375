//! Stream management (XEP-0198) on the daemon: what a client and a core see of it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a fixture fails its test")]
#![allow(clippy::disallowed_methods, reason = "the world around an edge has threads and clocks")]

mod common;

use common::{Edge, HEADER, Peer, Rules, Seen};
use hearth_wire::stanza::{Stanza, StanzaKind, StanzaType};

const R: &str = "<r xmlns='urn:xmpp:sm:3'/>";
const MESSAGE: &str = "<message><body>x</body></message>";

fn chat() -> Stanza<'static> {
    Stanza::new(StanzaKind::Message, StanzaType::Chat)
}

fn a(h: u32) -> String {
    format!("<a xmlns='urn:xmpp:sm:3' h='{h}'/>")
}

fn rules() -> Rules {
    Rules { settle: false, ..Rules::default() }
}

#[test]
fn both_sides_acknowledge() {
    let (edge, core) = Edge::with_core(rules(), |config| config.resume_location = Some("[::1]:5222".to_owned()));
    let mut peer = Peer::bound(&edge, "one");
    let jid = "user@test.example/one";
    peer.send(MESSAGE);
    peer.send("<enable xmlns='urn:xmpp:sm:3' resume='1' max='60'/>");
    peer.expect("<enabled xmlns='urn:xmpp:sm:3' id='prev' resume='true' max='300' location='[::1]:5222'/>");
    let counter = core.counter(jid);
    core.wait("SmEnable", |seen| *seen == Seen::SmEnable { counter, number: 1, resume: true, max_s: Some(60) });
    peer.send(&format!("{MESSAGE}{MESSAGE}{R}"));
    peer.expect(&a(0));
    core.wait("the last", |seen| matches!(seen, Seen::Stanza { number: 3, .. }));
    core.settle(jid, 2, 1 << 20);
    peer.expect(&a(1));
    core.settle(jid, 3, 1 << 20);
    peer.expect(&a(2));
    // Written is what the client says.
    core.deliver(jid, &chat());
    core.deliver(jid, &chat());
    assert!(peer.expect(R).contains("<message"));
    core.wait("a report of credit", |seen| matches!(seen, Seen::Written { entry: 0, .. }));
    peer.send(&a(1));
    core.wait("a report", |seen| matches!(seen, Seen::Written { entry: 1, .. }));
    peer.send(&a(2));
    core.wait("a report", |seen| matches!(seen, Seen::Written { entry: 2, .. }));
    peer.send(&a(3));
    let rest = peer.rest();
    assert!(rest.contains("<handled-count-too-high xmlns='urn:xmpp:sm:3' h='3' send-count='2'/>"), "{rest}");
    core.wait("end", |seen| matches!(seen, Seen::Closed { bound: true, clean: false, .. }));
}

#[test]
fn a_stream_is_resumed_or_a_resource_bound() {
    let (edge, core) = Edge::with_core(Rules { resume: false, ..Rules::default() }, |_| {});
    let mut peer = Peer::connect(edge.clear);
    peer.send(HEADER);
    peer.expect("</stream:features>");
    peer.authenticate();
    let resume = "<resume xmlns='urn:xmpp:sm:3' previd='prev' h='3'/>";
    peer.send(resume);
    peer.expect(
        "<failed xmlns='urn:xmpp:sm:3' h='9'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>",
    );
    core.wait("Resume", |seen| matches!(seen, Seen::Resume { previd, h: 3, .. } if previd == "prev"));
    core.set(|rules| rules.resume = true);
    peer.send(resume);
    peer.expect("<resumed xmlns='urn:xmpp:sm:3' previd='prev' h='3'/>");
    let jid = "user@test.example/resumed";
    core.deliver(jid, &chat());
    peer.expect(R);
    peer.send(&a(4));
    core.wait("a report", |seen| matches!(seen, Seen::Written { entry: 8, .. }));
    peer.send(&format!("{MESSAGE}{R}"));
    let seen = core.wait("a stanza", |seen| matches!(seen, Seen::Stanza { .. }));
    assert!(matches!(seen, Seen::Stanza { number: 6, .. }), "{seen:?}");
    peer.expect(&a(4));
}

#[test]
fn an_acknowledgement_counts_though_the_client_reads_no_more() {
    let (edge, core) = Edge::with_core(rules(), |_| {});
    let mut peer = Peer::bound(&edge, "deaf");
    peer.enable();
    let mut tree = hearth_wire::tree::Builder::new();
    tree.leaf(None, "body", &"z".repeat(100_000));
    let payload = tree.finish();
    // More than the kernel takes.
    for _ in 0..45 {
        core.deliver("user@test.example/deaf", &Stanza { payload: &payload, ..chat() });
    }
    peer.expect("</message>");
    peer.send(&a(1));
    core.wait("a report", |seen| matches!(seen, Seen::Written { entry: 1, .. }));
}

#[test]
fn who_does_not_answer_is_left_without_a_word() {
    let (edge, core) = Edge::with_core(rules(), |config| config.timeouts.ack_timeout_s = 1);
    let mut peer = Peer::bound(&edge, "gone");
    peer.enable();
    core.deliver("user@test.example/gone", &chat());
    let rest = peer.rest();
    assert!(rest.ends_with(R), "no error, no closing tag: {rest}");
    core.wait("end", |seen| matches!(seen, Seen::Closed { bound: true, clean: false, .. }));
}

#[test]
fn a_stopping_edge_leaves_sessions_to_be_resumed() {
    let (edge, core) = Edge::with_core(Rules::default(), |_| {});
    let (mut peer, mut other) = (Peer::bound(&edge, "stays"), Peer::bound(&edge, "goes"));
    peer.enable();
    peer.send(MESSAGE);
    core.wait("the message", |seen| matches!(seen, Seen::Stanza { .. }));
    // Whatever is settled by then is in the last word.
    core.deliver("user@test.example/stays", &chat());
    peer.expect(R);
    edge.stop();
    let rest = peer.rest();
    assert_eq!(rest, a(1));
    assert!(other.rest().contains("<system-shutdown "));
    let counter = core.counter("user@test.example/stays");
    core.wait("end", |seen| *seen == Seen::Closed { counter, bound: true, clean: false });
}

#[test]
fn a_closing_tag_ends_a_session_that_could_be_resumed() {
    let (edge, core) = Edge::with_core(Rules::default(), |_| {});
    let mut peer = Peer::bound(&edge, "done");
    peer.enable();
    peer.send("</stream:stream>");
    assert_eq!(peer.rest(), "</stream:stream>");
    core.wait("end", |seen| matches!(seen, Seen::Closed { bound: true, clean: true, .. }));
}
