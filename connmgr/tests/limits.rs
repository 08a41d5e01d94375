//! What a client or a core may cost: deadlines, credit, caps, and the end.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a fixture fails its test")]
#![allow(clippy::disallowed_methods, reason = "the world around an edge has threads and clocks")]

mod common;

use common::{Edge, GENERATION, HEADER, PATIENCE, Peer, Rules, Seen};
use hearth_wire::StreamCondition;
use hearth_wire::stanza::{Stanza, StanzaKind, StanzaType};
use hearth_wire::to_edge::{Close, LinkCredit, Settled, ToEdge};
use hearth_wire::tree::Builder;
use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn message(body: &str) -> Vec<u8> {
    let mut tree = Builder::new();
    tree.leaf(None, "body", body);
    tree.finish()
}

fn chat(payload: &[u8]) -> Stanza<'_> {
    Stanza { payload, ..Stanza::new(StanzaKind::Message, StanzaType::Chat) }
}

/// Everything a peer gets while it sends `text` every 50 ms, and how long that took.
fn trickle(peer: &mut Peer, text: &str) -> (String, Duration) {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(50));
        if peer.try_send(text).is_err() || peer.ended() {
            break;
        }
    }
    (peer.rest(), start.elapsed())
}

#[test]
fn threat_018_the_login_deadline_is_moved_by_nothing() {
    let (edge, _core) = Edge::with_core(Rules::default(), |config| config.timeouts.login_s = 1);
    let rows = [("", " "), ("<stream:stream", " "), (HEADER, " "), (HEADER, "\n"), (HEADER, "")];
    std::thread::scope(|scope| {
        for (first, then) in rows {
            let mut peer = Peer::connect(edge.clear);
            scope.spawn(move || {
                peer.send(first);
                let (rest, took) = trickle(&mut peer, then);
                assert!(rest.contains("<connection-timeout "), "{first:?}: {rest}");
                assert!(took < Duration::from_secs(3), "{first:?}: {took:?}");
            });
        }
    });
    // A handshake that does not go on is no different.
    let mut silent = TcpStream::connect(edge.direct).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    let start = Instant::now();
    let mut bytes = Vec::new();
    let _ = silent.read_to_end(&mut bytes);
    assert!(start.elapsed() < Duration::from_secs(3), "{bytes:?}");
    // Whoever is bound in time stays.
    let mut peer = Peer::bound(&edge, "in-time");
    std::thread::sleep(Duration::from_millis(1600));
    peer.send("</stream:stream>");
    assert!(peer.rest().ends_with("</stream:stream>"));
}

#[test]
fn threat_018_a_stanza_that_does_not_end_and_a_silent_client() {
    let (edge, core) = Edge::with_core(Rules::default(), |config| {
        config.timeouts.stanza_s = 1;
        config.timeouts.idle_s = 2;
        config.timeouts.ack_timeout_s = 1;
    });
    let mut slow = Peer::bound(&edge, "slow");
    slow.send("<message><body>");
    let (rest, took) = trickle(&mut slow, "x");
    assert!(rest.contains("<policy-violation ") && took < Duration::from_secs(3), "{took:?} {rest}");
    core.wait("end", |seen| matches!(seen, Seen::Closed { bound: true, clean: false, .. }));

    let mut alive = Peer::bound(&edge, "alive");
    let start = Instant::now();
    let mut silent = Peer::bound(&edge, "silent");
    // XEP-0478: who logs in is told how long that may be.
    let mut told = Peer::connect(edge.clear);
    told.send(HEADER);
    told.expect("</stream:features>");
    let features = told.authenticate();
    assert!(features.contains("</max-bytes><idle-seconds>2</idle-seconds></limits>"), "{features}");
    let mut asked = Peer::bound(&edge, "asked");
    while start.elapsed() < Duration::from_millis(4500) {
        alive.send(" ");
        std::thread::sleep(Duration::from_millis(100));
        if asked.has_text() {
            let ping = asked.expect("<ping xmlns='urn:xmpp:ping'/></iq>");
            let id = ping.split("id='").nth(1).and_then(|rest| rest.split('\'').next()).unwrap().to_owned();
            asked.send(&format!("<iq type='result' id='{id}' to='test.example'/>"));
        }
    }
    assert!(silent.rest().contains("<ping xmlns='urn:xmpp:ping'/></iq><stream:error><connection-timeout "));
    asked.send("</stream:stream>");
    assert!(asked.rest().ends_with("</stream:stream>"), "who answers stays");
    assert_eq!(core.count(|seen| matches!(seen, Seen::Stanza { .. })), 0, "its answer is not the core's");
    alive.send("</stream:stream>");
    assert!(!alive.rest().contains("error"), "a space keeps a client alive");
}

// Threats, row 19, and the core's promise: order and numbers survive any pause.
#[test]
fn credit_stops_a_client_and_settlement_lets_it_go_on() {
    let rules = Rules { session_credit: 2000, settle: false, ..Rules::default() };
    let (edge, core) = Edge::with_core(rules, |_| {});
    let mut peer = Peer::bound(&edge, "fast");
    let all = 200u64;
    let text: String =
        (1..=all).map(|n| format!("<message id='{n}'><body>{}</body></message>", "x".repeat(50))).collect();
    peer.send(&text);
    peer.send("</stream:stream>");
    let counter = core.counter("user@test.example/fast");
    let (mut got, mut bytes, mut credit) = (0u64, 0u64, 2000u64);
    while got < all {
        let seen = core.wait("stanza", |seen| matches!(seen, Seen::Stanza { .. }));
        let Seen::Stanza { number, bytes: size, xml, .. } = seen else { unreachable!() };
        got += 1;
        bytes += size as u64;
        assert_eq!(number, got);
        assert!(xml.contains(&format!("id='{got}'")), "{xml}");
        assert!(bytes <= credit, "{bytes} of {credit} at {got}");
        if credit - bytes < size as u64 {
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(core.count(|seen| matches!(seen, Seen::Stanza { .. })), 0, "nothing beyond the credit");
            credit = bytes + 1500;
            core.send(&ToEdge::Settled(Settled { counter, generation: GENERATION, number: got, credit }));
        }
    }
    core.wait("end", |seen| matches!(seen, Seen::Closed { clean: true, .. }));
}

#[test]
fn a_links_credit_stops_all_its_clients() {
    let (edge, core) = Edge::with_core(Rules { link_credit: 1000, ..Rules::default() }, |_| {});
    let mut peers = [Peer::bound(&edge, "a"), Peer::bound(&edge, "b")];
    for peer in &mut peers {
        for n in 1..=20 {
            peer.send(&format!("<message id='{n}'><body>{}</body></message>", "x".repeat(100)));
        }
    }
    std::thread::sleep(Duration::from_millis(100));
    let before = core.count(|seen| matches!(seen, Seen::Stanza { .. }));
    assert!((1..8).contains(&before), "{before}");
    for step in 2..20 {
        core.send(&ToEdge::LinkCredit(LinkCredit { bytes: step * 1000 }));
    }
    for peer in &mut peers {
        peer.send("</stream:stream>");
        assert!(peer.rest().ends_with("</stream:stream>"));
    }
}

#[test]
fn threat_019_who_says_little_waits_one_turn_of_those_who_flood() {
    let (edge, core) = Edge::with_core(Rules { link_credit: 4000, ..Rules::default() }, |_| {});
    let mut floods = ["a", "b", "c"].map(|name| Peer::bound(&edge, name));
    let mut quiet = Peer::bound(&edge, "quiet");
    let (each, message) = (100, format!("<message><body>{}</body></message>", "x".repeat(1000)));
    for peer in &mut floods {
        peer.send(&message.repeat(each));
    }
    while core.count(|seen| matches!(seen, Seen::Stanza { .. })) < 3 {
        std::thread::sleep(Duration::from_millis(10));
    }
    quiet.send(&message);
    std::thread::sleep(Duration::from_millis(100));
    // The core takes as much as one stanza after another, so that the next turn always has room for somebody.
    let (mut order, mut credit) = (Vec::new(), 4000);
    while order.len() <= 3 * each {
        let seen = core.wait("stanza", |seen| matches!(seen, Seen::Stanza { .. }));
        let Seen::Stanza { counter, .. } = seen else { unreachable!() };
        order.push(counter);
        credit += 1200;
        core.send(&ToEdge::LinkCredit(LinkCredit { bytes: credit }));
    }
    let quiet = core.counter("user@test.example/quiet");
    let before = order.iter().position(|counter| *counter == quiet).unwrap();
    // What had gone before it spoke, and eight kilobytes of each of the others.
    assert!(before < 4 + 3 * 9, "behind {before} of {}", 3 * each);
}

#[test]
fn many_entries_make_few_reports_and_none_is_forgotten() {
    let (edge, core) = Edge::with_core(Rules::default(), |_| {});
    let mut peer = Peer::bound(&edge, "reader");
    let payload = message(&"y".repeat(200));
    for _ in 0..2000 {
        core.deliver("user@test.example/reader", &chat(&payload));
    }
    for _ in 0..2000 {
        peer.expect("</message>");
    }
    core.wait("last report", |seen| matches!(seen, Seen::Written { entry: 2000, .. }));
    core.deliver("user@test.example/reader", &chat(&payload));
    peer.expect("</message>");
    // One that is left is reported before the end, not with it.
    peer.send("</stream:stream>");
    core.wait("report", |seen| matches!(seen, Seen::Written { entry: 2001, .. }));
    core.wait("end", |seen| matches!(seen, Seen::Closed { clean: true, .. }));
}

#[test]
fn a_client_that_does_not_read_ends_and_reports_only_what_it_took() {
    let (edge, core) = Edge::with_core(Rules::default(), |config| config.timeouts.unread_s = 1);
    let peer = Peer::bound(&edge, "deaf");
    let payload = message(&"z".repeat(100_000));
    let mut other = Peer::bound(&edge, "other");
    let counter = core.counter("user@test.example/deaf");
    // A core that overdraws the window, to fill what the kernel buffers.
    for _ in 0..40 {
        core.deliver("user@test.example/deaf", &chat(&payload));
        core.deliver("user@test.example/other", &chat(&message("still served")));
        other.expect("still served");
    }
    let end = core.wait("end", |seen| matches!(seen, Seen::Closed { counter: c, .. } if *c == counter));
    assert_eq!(end, Seen::Closed { counter, bound: true, clean: false });
    drop(peer);
}

#[test]
fn the_core_closes_a_stream_behind_what_it_sent() {
    let (edge, core) = Edge::with_core(Rules::default(), |_| {});
    let mut peer = Peer::bound(&edge, "old");
    let counter = core.counter("user@test.example/old");
    let other = hearth_wire::ids::Generation { epoch: 9, counter: 9 };
    let close = |generation| {
        ToEdge::Close(Close { counter, generation, condition: Some(StreamCondition::Conflict), text: "newer" })
    };
    core.send(&close(Some(other)));
    core.deliver("user@test.example/old", &chat(&message("last words")));
    core.send(&close(Some(GENERATION)));
    let rest = peer.rest();
    let (words, error) = (rest.find("last words").unwrap(), rest.find("<conflict ").unwrap());
    assert!(words < error && rest.contains(">newer</text>") && rest.ends_with("</stream:stream>"), "{rest}");
    core.wait("report", |seen| matches!(seen, Seen::Written { entry: 1, .. }));
    core.wait("end", |seen| matches!(seen, Seen::Closed { bound: true, .. }));
}

#[test]
fn a_full_edge_lets_others_wait_outside() {
    let (edge, _core) = Edge::with_core(Rules::default(), |config| config.connections_max = 2);
    let first = Peer::bound(&edge, "a");
    let _second = Peer::bound(&edge, "b");
    let mut third = Peer::connect(edge.clear);
    third.send(HEADER);
    std::thread::sleep(Duration::from_millis(200));
    assert!(!third.has_text());
    drop(first);
    third.expect("</stream:features>");
}

#[test]
fn stopping_says_so_to_clients_and_core() {
    let (edge, core) = Edge::with_core(Rules::default(), |_| {});
    let mut peer = Peer::bound(&edge, "here");
    let mut stranger = Peer::connect(edge.starttls);
    stranger.send(HEADER);
    stranger.expect("</stream:features>");
    edge.stop();
    for peer in [&mut peer, &mut stranger] {
        let rest = peer.rest();
        assert!(rest.contains("<system-shutdown ") && rest.ends_with("</stream:stream>"), "{rest}");
    }
    core.wait("notice", |seen| *seen == Seen::Drained);
    core.wait("end", |seen| matches!(seen, Seen::Closed { bound: true, .. }));
    drop((peer, stranger));
    let start = Instant::now();
    edge.join();
    assert!(start.elapsed() < Duration::from_secs(6));
}

#[test]
fn a_stopping_edge_names_another_to_who_has_not_logged_in_and_to_others_if_told_to() {
    for after_login in [false, true] {
        let (edge, _core) = Edge::with_core(Rules::default(), |config| {
            config.drain.other_host = Some("edge2.test.example:5222".to_owned());
            config.drain.other_host_after_login = after_login;
        });
        let (mut bound, mut stranger) = (Peer::bound(&edge, "here"), Peer::connect(edge.starttls));
        stranger.send(HEADER);
        stranger.expect("</stream:features>");
        edge.stop();
        let other =
            "<see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>edge2.test.example:5222</see-other-host>";
        for (peer, named) in [(&mut stranger, true), (&mut bound, after_login)] {
            let rest = peer.rest();
            assert_eq!((rest.contains(other), rest.contains("<system-shutdown ")), (named, !named), "{rest}");
        }
    }
}

#[test]
fn round_trips_are_asked_for_where_they_are_answered() {
    for (echoes, then) in [(true, Seen::Echo), (false, Seen::Heartbeat)] {
        let (_edge, core) = Edge::with_core(Rules { echoes, ..Rules::default() }, |_| {});
        // A core from before it is asked once, and is told that the edge lives as ever.
        for (nth, expected) in [Seen::Echo, then.clone(), then].into_iter().enumerate() {
            let seen = core.wait("a sign of life", |seen| matches!(seen, Seen::Echo | Seen::Heartbeat));
            assert_eq!(seen, expected, "{nth}, echoes: {echoes}");
        }
        assert_eq!(core.count(|seen| matches!(seen, Seen::Hello { .. })), 0, "the link lives");
    }
}

#[test]
fn broken_frames_and_silence_end_a_link() {
    let (edge, core) = Edge::with_core(Rules { version: 1, ..Rules::default() }, |_| {});
    let mut peer = Peer::bound(&edge, "one");
    core.send_raw(&[255, 255, 255, 255, 1]);
    assert!(peer.rest().contains("<reset "));
    let mut peer = Peer::bound(&edge, "two");
    // A kind of a later release is skipped.
    core.send_raw(&[3, 0, 0, 0, 250, 1, 2]);
    core.deliver("user@test.example/two", &chat(&message("on")));
    peer.expect("on</body>");
    let start = Instant::now();
    core.set(|rules| rules.silent = true);
    assert!(peer.rest().contains("<reset "));
    assert!((2..5).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}
