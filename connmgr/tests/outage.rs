//! Clients keep their connection while a link or the core is lost, and their sessions when it is there again.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a fixture fails its test")]
#![allow(clippy::disallowed_methods, reason = "the world around an edge has threads and clocks")]

mod common;

use common::{Core, Edge, GENERATION, Peer, Rules, Seen};
use hearth_wire::ids::Generation;
use hearth_wire::stanza::{Overlay, Stanza, StanzaFault, StanzaKind, StanzaType};
use hearth_wire::to_core::LoggedEntry;
use hearth_wire::to_edge::{Capsule, Deliver, LinkCredit, Refused, Target, ToEdge};

const R: &str = "<r xmlns='urn:xmpp:sm:3'/>";
const SECOND: Generation = Generation { epoch: 2, counter: 1 };

fn message(id: &str) -> String {
    format!("<message id='{id}'><body>x</body></message>")
}

fn chat(id: &str) -> Stanza<'_> {
    Stanza { id: Some(id), ..Stanza::new(StanzaKind::Message, StanzaType::Chat) }
}

fn rules() -> Rules {
    Rules { settle: false, ..Rules::default() }
}

fn wait_for_stanza(core: &Core, number: u64) {
    core.wait("a stanza", |seen| matches!(seen, Seen::Stanza { number: n, .. } if *n == number));
}

fn attached(core: &Core) -> Seen {
    core.wait("Attach", |seen| matches!(seen, Seen::Attach { .. }))
}

/// Waits until stanza `number` is sent again; the numbers, ids and faults of those that were.
fn again(core: &Core, number: u64) -> Vec<(u64, bool)> {
    let mut all = Vec::new();
    loop {
        let seen = core.wait("a stanza sent again", |seen| matches!(seen, Seen::Again { .. }));
        let Seen::Again { number: n, xml, fault, generation, .. } = seen else { unreachable!() };
        assert!(xml.contains(&format!("id='{n}'")), "{n}: {xml}");
        assert_eq!(generation, SECOND);
        all.push((n, fault == Some(StanzaFault::Answered)));
        if n == number {
            return all;
        }
    }
}

#[test]
fn a_client_keeps_its_socket_through_a_restart_of_the_core() {
    let (edge, core) = Edge::with_core(rules(), |_| {});
    let mut peer = Peer::bound(&edge, "one");
    let jid = "user@test.example/one";
    let counter = core.counter(jid);
    let first = core.count(|seen| *seen == Seen::AllSent { shard: 0 });
    assert_eq!(first, 1, "a fresh edge has nothing to name, and says so");
    peer.enable();
    core.send(&ToEdge::Capsule(Capsule { counter, generation: GENERATION, sealed: b"sealed" }));
    let ping = "<ping xmlns='urn:xmpp:ping'/>";
    peer.send(&format!("<iq type='get' id='0' to='a@b.example'>{ping}</iq>"));
    peer.send(&format!("<iq type='get' id='2'>{ping}</iq><iq type='get' id='3' to='a@b.example'>{ping}</iq>"));
    wait_for_stanza(&core, 3);
    core.settle(jid, 1, 1 << 20);
    core.deliver(jid, &Stanza { id: Some("2"), ..Stanza::new(StanzaKind::Iq, StanzaType::Result) });
    core.deliver_logged(jid, Some(70), &chat("a"));
    core.deliver_logged(jid, Some(80), &chat("b"));
    // Somebody else's words are not the answer to the third.
    core.deliver(jid, &Stanza { id: Some("3"), ..Stanza::new(StanzaKind::Iq, StanzaType::Error) });
    peer.expect("<message id='b' type='chat'><stanza-id xmlns='urn:xmpp:sid:0' id='");
    peer.send("<a xmlns='urn:xmpp:sm:3' h='2'/>");
    core.wait("a report", |seen| matches!(seen, Seen::Written { entry: 2, .. }));
    core.die();

    peer.send(&message("4"));
    peer.send(R);
    peer.expect("<a xmlns='urn:xmpp:sm:3' h='1'/>");
    core.forget();
    core.come_back();
    let seen = core.wait("its open questions", |seen| matches!(seen, Seen::OpenQuestions { .. }));
    // Settled, and not answered.
    assert_eq!(seen, Seen::OpenQuestions { counter, open: vec![("0".to_owned(), Some("a@b.example".to_owned()))] });
    let seen = attached(&core);
    let Seen::Attach { generation, sealed, settled, number, entry, written, log, unwritten, recent, closed, .. } = seen
    else {
        unreachable!()
    };
    assert_eq!((generation, sealed.as_slice()), (GENERATION, &b"sealed"[..]));
    assert_eq!((settled, number, entry, written, log, closed), (1, 4, 4, 2, 80, None));
    assert_eq!((unwritten, recent), (vec![LoggedEntry { entry: 3, log: 80 }], vec![70]));
    core.wait("AllSent", |seen| *seen == Seen::AllSent { shard: 0 });
    assert_eq!(again(&core, 4), [(2, true), (3, false), (4, false)]);

    // All goes on, under the new generation only.
    let target = Target { counter, generation: GENERATION, entry: 5, overlay: Overlay::default() };
    core.send(&ToEdge::Deliver(Deliver { target, stanza: &chat("old").encode() }));
    core.deliver(jid, &chat("new"));
    assert!(!peer.expect("id='new'").contains("id='old'"));
    core.settle(jid, 4, 1 << 20);
    peer.send(&message("5"));
    wait_for_stanza(&core, 5);
    peer.expect("<a xmlns='urn:xmpp:sm:3' h='4'/>");
    peer.send("<a xmlns='urn:xmpp:sm:3' h='5'/>");
    core.wait("a report", |seen| matches!(seen, Seen::Written { entry: 5, .. }));
}

#[test]
fn while_the_core_is_away_clients_are_read_within_their_credit() {
    let (edge, core) = Edge::with_core(Rules { session_credit: 500, ..rules() }, |_| {});
    let mut peer = Peer::bound(&edge, "plain");
    core.die();
    // The server itself is asked whether it is there.
    peer.send("<iq type='get' id='p' to='test.example'><ping xmlns='urn:xmpp:ping'/></iq>");
    peer.expect("<iq from='test.example' to='user@test.example/plain' id='p' type='result'/>");
    for n in 1..=50 {
        peer.send(&message(&n.to_string()));
    }
    peer.send("<iq type='get' id='q'><ping xmlns='urn:xmpp:ping'/></iq>");
    core.come_back();
    let Seen::Attach { number, .. } = attached(&core) else { unreachable!() };
    assert!((2..50).contains(&number), "{number}");
    assert_eq!(again(&core, number), (1..=number).map(|n| (n, false)).collect::<Vec<_>>());
    core.set(|rules| rules.settle = true);
    core.settle("user@test.example/plain", number, 1 << 20);
    wait_for_stanza(&core, 51);
}

#[test]
fn all_are_named_in_order_at_their_owner_and_then_all_links_are_told() {
    let (edge, core) = Edge::with_core(Rules { shards: 2, ..Rules::default() }, |_| {});
    let mut peers: Vec<Peer> = (0..20).map(|n| Peer::bound(&edge, &format!("r{n}"))).collect();
    let owner = hearth_wire::ids::SlotKey([3; 16]).slot("user@test.example").index() / 2048;
    let other = 1 - owner;
    core.forget();
    // Only one link: the sessions are not even touched.
    core.cut(other);
    core.wait("the link is back", |seen| *seen == Seen::AllSent { shard: other });
    assert_eq!(core.count(|seen| matches!(seen, Seen::Attach { .. })), 0);
    core.cut(owner);
    core.wait("the link is back", |seen| *seen == Seen::Hello { shard: owner, event_loop: 0 });
    let mut last = 0;
    for _ in 0..20 {
        let Seen::Attach { counter, shard, .. } = attached(&core) else { unreachable!() };
        assert!(counter > last && shard == owner, "{counter} after {last}");
        last = counter;
    }
    core.wait("the last word", |seen| *seen == Seen::AllSent { shard: owner });
    assert_eq!(core.count(|seen| matches!(seen, Seen::Attach { .. } | Seen::AllSent { .. })), 0);
    for peer in &mut peers {
        peer.send("</stream:stream>");
        assert_eq!(peer.rest(), "</stream:stream>");
    }
}

#[test]
fn a_socket_that_ends_meanwhile_is_told_of_with_what_it_left() {
    let (edge, core) = Edge::with_core(rules(), |_| {});
    let (mut clean, mut broken) = (Peer::bound(&edge, "clean"), Peer::bound(&edge, "broken"));
    let counters = ["clean", "broken"].map(|name| core.counter(&format!("user@test.example/{name}")));
    clean.send(&message("1"));
    wait_for_stanza(&core, 1);
    core.die();
    clean.send(&(message("2") + "</stream:stream>"));
    assert_eq!(clean.rest(), "</stream:stream>");
    broken.send(&message("1"));
    broken.finish("");
    assert_eq!(broken.rest(), "");
    core.come_back();
    for (counter, closed, last) in [(counters[0], true, 2), (counters[1], false, 1)] {
        let Seen::Attach { counter: c, closed: seen, number, .. } = attached(&core) else { unreachable!() };
        assert_eq!((c, seen, number), (counter, Some(closed), last));
    }
    core.wait("AllSent", |seen| matches!(seen, Seen::AllSent { .. }));
    assert_eq!(again(&core, 2).len(), 2);
    core.wait("end", |seen| *seen == Seen::Closed { counter: counters[0], bound: true, clean: true });
    assert_eq!(again(&core, 1).len(), 1);
    core.wait("end", |seen| *seen == Seen::Closed { counter: counters[1], bound: true, clean: false });
}

#[test]
fn a_link_that_is_lost_again_leaves_everything_to_the_next() {
    let (edge, core) = Edge::with_core(rules(), |_| {});
    let mut peer = Peer::bound(&edge, "one");
    peer.send(&message("1"));
    wait_for_stanza(&core, 1);
    core.set(|rules| rules.attach = false);
    core.cut(0);
    for _ in 0..2 {
        let Seen::Attach { generation, .. } = attached(&core) else { unreachable!() };
        assert_eq!(generation, GENERATION, "as long as no other is known");
        core.wait("AllSent", |seen| matches!(seen, Seen::AllSent { .. }));
        core.cut(0);
    }
    // The socket ends while its session is named, and while it is sent again.
    attached(&core);
    peer.send("</stream:stream>");
    peer.rest();
    core.set(|rules| (rules.attach, rules.link_credit) = (true, 10));
    core.cut(0);
    let Seen::Attach { generation, closed, .. } = attached(&core) else { unreachable!() };
    assert_eq!((generation, closed), (GENERATION, Some(true)));
    core.wait("AllSent", |seen| matches!(seen, Seen::AllSent { .. }));
    core.cut(0);
    let Seen::Attach { generation, .. } = attached(&core) else { unreachable!() };
    assert_eq!(generation, SECOND);
    core.wait("AllSent", |seen| matches!(seen, Seen::AllSent { .. }));
    core.send(&ToEdge::LinkCredit(LinkCredit { bytes: 1 << 20 }));
    core.wait("the stanza", |seen| matches!(seen, Seen::Again { number: 1, .. }));
    core.wait("end", |seen| matches!(seen, Seen::Closed { bound: true, clean: true, .. }));
}

#[test]
fn what_is_sent_again_waits_for_the_links_credit() {
    let (edge, core) = Edge::with_core(rules(), |_| {});
    let mut peer = Peer::bound(&edge, "one");
    for n in 1..=20 {
        peer.send(&message(&n.to_string()));
    }
    wait_for_stanza(&core, 20);
    core.set(|rules| rules.link_credit = 200);
    core.cut(0);
    attached(&core);
    core.wait("AllSent", |seen| matches!(seen, Seen::AllSent { .. }));
    peer.send(&message("21"));
    let first = again(&core, 1).len();
    std::thread::sleep(std::time::Duration::from_millis(100));
    let more = core.count(|seen| matches!(seen, Seen::Again { .. }));
    assert!((1..10).contains(&(first + more)), "{more}");
    core.send(&ToEdge::LinkCredit(LinkCredit { bytes: 1 << 20 }));
    assert_eq!(again(&core, 20).len() + first, 20);
    wait_for_stanza(&core, 21);
}

#[test]
fn who_waits_for_a_links_credit_does_not_wait_for_that_link() {
    let (edge, core) = Edge::with_core(Rules { link_credit: 200, ..rules() }, |_| {});
    let mut peer = Peer::bound(&edge, "one");
    for n in 1..=20 {
        peer.send(&message(&n.to_string()));
    }
    wait_for_stanza(&core, 3);
    core.set(|rules| rules.link_credit = 1 << 20);
    core.cut(0);
    core.wait("the last", |seen| matches!(seen, Seen::Stanza { number: 20, .. } | Seen::Again { number: 20, .. }));
}

#[test]
fn what_nobody_attaches_ends() {
    let (edge, core) = Edge::with_core(Rules { refuse: true, ..Rules::default() }, |config| {
        config.timeouts.core_away_s = 1;
    });
    let mut peer = Peer::bound(&edge, "refused");
    core.cut(0);
    let rest = peer.rest();
    assert!(rest.contains("<conflict ") && rest.ends_with("</stream:stream>"), "{rest}");
    let mut peer = Peer::bound(&edge, "revoked");
    // An edge that is refused: nobody will.
    core.send(&ToEdge::Refused(Refused { reason: "revoked" }));
    assert!(peer.rest().contains("<reset "));
    let mut peer = Peer::bound(&edge, "older");
    core.set(|rules| rules.version = 1);
    core.cut(0);
    assert!(peer.rest().contains("<reset "));
    core.set(|rules| (rules.version, rules.refuse) = (2, false));
    core.forget();
    core.cut(0);
    core.wait("AllSent", |seen| matches!(seen, Seen::AllSent { .. }));
    let mut peer = Peer::bound(&edge, "waiting");
    core.die();
    let start = std::time::Instant::now();
    assert!(peer.rest().contains("<reset "));
    assert!((900..4000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    core.forget();
    core.come_back();
    core.wait("AllSent", |seen| matches!(seen, Seen::AllSent { .. }));
    assert_eq!(core.count(|seen| matches!(seen, Seen::Attach { .. })), 0);
}

#[test]
fn a_question_that_was_not_answered_is_asked_again() {
    let (edge, core) = Edge::with_core(Rules { answer: true, ..rules() }, |_| {});
    let mut peer = Peer::bound(&edge, "one");
    core.set(|rules| rules.answer = false);
    peer.send(&message("1"));
    peer.send("<enable xmlns='urn:xmpp:sm:3'/>");
    core.wait("SmEnable", |seen| matches!(seen, Seen::SmEnable { number: 1, .. }));
    core.set(|rules| rules.answer = true);
    core.cut(0);
    assert_eq!(again(&core, 1).len(), 1);
    core.wait("SmEnable", |seen| matches!(seen, Seen::SmEnable { number: 1, .. }));
    peer.expect("<enabled xmlns='urn:xmpp:sm:3'/>");
}
