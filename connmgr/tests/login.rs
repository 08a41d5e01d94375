//! From connect to close over plain sockets, with the core's side of the link beside.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a fixture fails its test")]
#![allow(clippy::disallowed_methods, reason = "the world around an edge has threads and clocks")]

mod common;

use common::{Core, Edge, HEADER, Peer, Rules, Seen};
use hearth_wire::stanza::{Stanza, StanzaKind, StanzaType};
use hearth_wire::tree::Builder;

#[test]
fn login_stanzas_both_ways_and_goodbye() {
    let (edge, core) = Edge::with_core(Rules::default(), |_| {});
    let mut peer = Peer::connect(edge.clear);
    peer.send("<?xml version='1.0'?>");
    peer.send(HEADER);
    let opening = peer.expect("</stream:features>");
    assert!(opening.contains("from='test.example'") && opening.contains("version='1.0'"), "{opening}");
    assert!(opening.contains("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"), "{opening}");
    assert!(opening.contains("X-CLEAR"), "{opening}");
    peer.login("desk");
    let seen = core.wait("Authenticate", |seen| matches!(seen, Seen::Authenticate { .. }));
    let Seen::Authenticate { initial, bound, clear, .. } = seen else { unreachable!() };
    assert_eq!((initial.as_deref(), bound, clear), (Some(&b"\0user\0secret"[..]), (None, None), true));

    peer.send("<message to='Friend@Test.example/x' id='1' from='user@test.example'><body>hi &amp; ho</body></message>");
    let seen = core.wait("stanza", |seen| matches!(seen, Seen::Stanza { .. }));
    let Seen::Stanza { number, xml, to, fault, counter, .. } = seen else { unreachable!() };
    assert_eq!((number, to.as_deref(), fault), (1, Some("friend@test.example/x"), false));
    assert!(xml.contains("<body>hi &amp; ho</body>") && !xml.contains("from="), "{xml}");

    let mut tree = Builder::new();
    tree.leaf(None, "body", "<well>");
    let payload = tree.finish();
    let stanza = Stanza {
        from: Some("friend@test.example/x"),
        payload: &payload,
        ..Stanza::new(StanzaKind::Message, StanzaType::Chat)
    };
    core.deliver("user@test.example/desk", &stanza);
    peer.expect("<body>&lt;well&gt;</body></message>");
    assert_eq!(
        core.wait("report", |seen| matches!(seen, Seen::Written { .. })),
        Seen::Written { counter, entry: 1, credit: 128 * 1024 + stanza.encode().len() as u64 }
    );
    peer.send("</stream:stream>");
    assert!(peer.rest().ends_with("</stream:stream>"));
    assert_eq!(
        core.wait("end", |seen| matches!(seen, Seen::Closed { .. })),
        Seen::Closed { counter, bound: true, clean: true }
    );
    edge.join();
}

#[test]
fn bytes_one_by_one_and_all_at_once() {
    let (edge, core) = Edge::with_core(Rules::default(), |_| {});
    let mut slow = Peer::connect(edge.clear);
    for byte in HEADER.as_bytes() {
        slow.send(std::str::from_utf8(&[*byte]).unwrap());
    }
    slow.expect("</stream:features>");
    slow.login("slow");
    for byte in "  <message to='a@b'><body>tröt</body></message>\n".chars() {
        slow.send(&byte.to_string());
    }
    core.wait("stanza", |seen| matches!(seen, Seen::Stanza { xml, .. } if xml.contains("tröt")));

    // A client that does not wait for answers gets them all the same, in order.
    let mut hasty = Peer::connect(edge.clear);
    hasty.send(&format!(
        "{HEADER}<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHVzZXIAc2VjcmV0</auth>{HEADER}\
         <iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>hasty</resource></bind></iq>\
         <message><body>1</body></message><message><body>2</body></message><presence/></stream:stream>"
    ));
    let all = hasty.rest();
    assert!(all.contains("user@test.example/hasty") && all.ends_with("</stream:stream>"), "{all}");
    for number in 1..=3 {
        core.wait("stanza", |seen| matches!(seen, Seen::Stanza { number: n, .. } if *n == number));
    }
    core.wait("end", |seen| matches!(seen, Seen::Closed { clean: true, bound: true, .. }));
}

#[test]
fn clients_wait_at_the_door_until_the_core_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("link.sock");
    let edge = Edge::start(folder, |_| {});
    let mut peer = Peer::connect(edge.clear);
    peer.send(HEADER);
    std::thread::sleep(std::time::Duration::from_millis(300));
    let core = Core::start(path, Rules { shards: 4, ..Rules::default() });
    peer.expect("</stream:features>");
    peer.login("late");
    for shard in 0..4 {
        assert_eq!(core.count(|seen| *seen == Seen::Hello { shard, event_loop: 0 }), 1);
    }
}

#[test]
fn a_lost_link_of_an_older_core_ends_its_sessions_and_comes_back() {
    let (edge, core) = Edge::with_core(Rules { version: 1, ..Rules::default() }, |_| {});
    let mut peer = Peer::bound(&edge, "one");
    core.cut(0);
    let rest = peer.rest();
    assert!(rest.contains("<reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"), "{rest}");
    assert!(rest.ends_with("</stream:stream>"), "{rest}");
    Peer::bound(&edge, "two");
}

#[test]
fn a_domain_that_goes_takes_its_streams_along() {
    use hearth_wire::to_edge::{DomainGone, ToEdge};
    let (edge, core) = Edge::with_core(Rules::default(), |_| {});
    let mut bound = Peer::bound(&edge, "one");
    let mut stranger = Peer::connect(edge.starttls);
    stranger.send(HEADER);
    stranger.expect("</stream:features>");
    core.send(&ToEdge::DomainGone(DomainGone { domain: "test.example" }));
    for peer in [&mut bound, &mut stranger] {
        let rest = peer.rest();
        assert!(rest.contains("<host-gone ") && rest.ends_with("</stream:stream>"), "{rest}");
    }
}

#[test]
fn registration_is_relayed_before_login() {
    use hearth_wire::to_edge::{PreAuthReply, ToEdge};
    let (edge, core) = Edge::with_core(Rules { registration: true, ..Rules::default() }, |_| {});
    let mut peer = Peer::connect(edge.clear);
    peer.send(HEADER);
    assert!(peer.expect("</stream:features>").contains("iq-register"));
    peer.send("<iq type='get' id='r'><query xmlns='jabber:iq:register'/></iq>");
    let seen = core.wait("question", |seen| matches!(seen, Seen::PreAuthIq { .. }));
    let Seen::PreAuthIq { counter, xml } = seen else { unreachable!() };
    assert!(xml.contains("<query xmlns='jabber:iq:register'/>"), "{xml}");
    let answer = Stanza { id: Some("r"), ..Stanza::new(StanzaKind::Iq, StanzaType::Result) }.encode();
    core.send(&ToEdge::PreAuthReply(PreAuthReply { counter, stanza: &answer }));
    peer.expect("type='result'/>");
    peer.login("new");
}
