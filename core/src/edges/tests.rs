//! Who may link as whom, and which link stays when two are of one edge.

use super::*;
use crate::shard::Input;
use crate::testing::{Client, Core, LINK};
use hearth_wire::to_core::ToCore;

/// A second connection of some edge to shard 0.
const OTHER: LinkId = LinkId(1);

fn hello(edge: &str, incarnation: u64, event_loop: u16) -> Hello<'_> {
    Hello {
        version_min: VERSION_MIN,
        version_max: hearth_wire::to_core::VERSION_MAX,
        edge,
        incarnation,
        event_loop,
        event_loops: 2,
        shard: 0,
        link_credit: 1 << 30,
    }
}

/// A core whose one link is of loop 0 of `edge`, incarnation 1, with Ada behind it.
fn core() -> (Core, Client) {
    let mut core = Core::new(1);
    let ada = core.login("ada@example.org/desk");
    (core, ada)
}

/// Brings [`OTHER`] up; whether it was welcomed.
fn greet(core: &mut Core, key_of: Option<&str>, hello: &Hello<'_>) -> bool {
    let (now, mut out) = (core.now, crate::outputs::Outputs::default());
    let [shard] = core.shards.as_mut_slice() else { panic!("one shard") };
    shard.handle(Input::LinkUp(OTHER), now, &mut out);
    if let Some(edge) = key_of {
        shard.handle(Input::LinkKey { link: OTHER, edge: edge.into() }, now, &mut out);
    }
    shard.handle(Input::Frame { link: OTHER, frame: ToCore::Hello(hello.clone()), bytes: 0 }, now, &mut out);
    shard.handle(Input::EndOfTurn, now, &mut out);
    let refused = out.close_links.contains(&OTHER);
    let reason = out.events.iter().any(|event| matches!(event, Event::EdgeRefused { link, .. } if *link == OTHER));
    assert_eq!(refused, reason, "who is refused is told why");
    !refused && shard.links.get(&OTHER).is_some_and(|link| link.greeted)
}

fn sessions(core: &Core) -> usize {
    core.shards[0].sessions.len()
}

#[test]
fn an_echo_comes_back_on_its_link_and_in_its_turn() {
    let (mut core, _) = core();
    let (now, mut out) = (core.now, crate::outputs::Outputs::default());
    let [shard] = core.shards.as_mut_slice() else { panic!("one shard") };
    // A stranger is not answered.
    shard.handle(Input::LinkUp(OTHER), now, &mut out);
    for (link, token) in [(LINK, 7), (LINK, u64::MAX), (OTHER, 9)] {
        shard.handle(Input::Frame { link, frame: ToCore::Echo(Echo { token }), bytes: 0 }, now, &mut out);
    }
    let mut expected = Vec::new();
    for token in [7, u64::MAX] {
        ToEdge::Echo(Echo { token }).encode(&mut expected);
    }
    assert_eq!(out.to_edges[usize::from(LINK.0)], expected);
    assert!(out.close_links.contains(&OTHER), "the first frame must be Hello");
}

#[test]
fn a_key_speaks_for_its_own_name_only() {
    for (key_of, name, welcome) in [
        (Some("paris"), "paris", true),
        (Some("paris"), "rome", false),
        (Some("paris"), "edge", false),
        (None, "rome", true),
    ] {
        let (mut core, _) = core();
        assert_eq!(greet(&mut core, key_of, &hello(name, 1, 0)), welcome, "{key_of:?} as {name}");
        assert_eq!(sessions(&core), 1, "nobody else loses anything");
    }
}

#[test]
fn of_two_links_of_a_loop_the_later_stays() {
    for (name, incarnation, event_loop, welcome, up, left) in [
        // The edge dialled again before the core noticed the death of the first: it may still have the session.
        ("edge", 1, 0, true, false, 1),
        ("edge", 1, 1, true, true, 1),  // its other loop
        ("edge", 2, 1, true, false, 0), // it was started again: nothing of the run before lives
        ("edge", 0, 0, false, true, 1), // a run before the one that is linked
        ("other", 0, 0, true, true, 1),
    ] {
        let (mut core, _) = core();
        let who = format!("{name} {incarnation} {event_loop}");
        assert_eq!(greet(&mut core, None, &hello(name, incarnation, event_loop)), welcome, "{who}");
        assert_eq!(sessions(&core), left, "{who}");
        assert_eq!(core.shards[0].links.get(&LINK).is_some_and(|link| link.up), up, "{who}");
        // The connection behind it ends later, and changes nothing.
        core.shards[0].handle(Input::LinkDown(LINK), core.now, &mut crate::outputs::Outputs::default());
        core.run();
        assert_eq!(sessions(&core), left, "{who}");
        core.advance(crate::limits::LINK_GRACE_MS);
        assert_eq!((sessions(&core), core.shards[0].links.contains_key(&LINK)), (0, false), "{who}");
    }
}

#[test]
fn what_a_superseded_link_still_brings_is_not_heard() {
    let (mut core, ada) = core();
    assert!(greet(&mut core, None, &hello("edge", 2, 0)));
    core.put(ada, "<presence/>");
    core.run();
    assert!(core.take(ada).is_empty());
    core.frame(0, &ToCore::Hello(hello("edge", 3, 0)));
    assert!(core.shards[0].links.get(&OTHER).is_some_and(|link| link.up), "a second Hello is not heard either");
}

#[test]
fn a_revoked_key_cuts_its_links_and_no_others() {
    let (mut core, _) = core();
    assert!(greet(&mut core, Some("paris"), &hello("paris", 1, 0)));
    for (edge, cut) in [("rome", false), ("edge", false), ("paris", true)] {
        let (now, mut out) = (core.now, crate::outputs::Outputs::default());
        core.shards[0].handle(Input::EdgeRevoked { edge: edge.into() }, now, &mut out);
        assert_eq!(out.close_links.contains(&OTHER), cut, "{edge}");
    }
    assert_eq!(sessions(&core), 1);
}

/// All leave in one turn. Returns how many are left after each of the next turns.
fn leave(core: &mut Core, clients: Vec<Client>) -> Vec<usize> {
    clients.into_iter().for_each(|client| core.put_closed(client, false));
    let mut left = Vec::new();
    while left.last() != Some(&0) {
        core.input(0, Input::EndOfTurn);
        left.push(sessions(core));
        assert!(left.len() < 10, "{left:?}");
    }
    left
}

#[test]
fn a_storm_of_closed_sockets_is_cut_into_turns() {
    let mut core = Core::new(1);
    let most = limits::CLOSES_PER_TURN;
    let clients = (0..=2 * most).map(|n| core.bind(&format!("user{n}@example.org/desk"))).collect();
    assert_eq!(leave(&mut core, clients), [most + 1, 1, 0]);
}

#[test]
fn while_an_edge_is_far_behind_one_session_ends_per_turn() {
    let mut core = Core::new(1);
    let clients = (0..3).map(|n| core.bind(&format!("ada@example.org/{n}"))).collect();
    let link = core.shards[0].links.get_mut(&LINK).unwrap();
    link.sent_bytes = limits::LINK_CALM_BYTES + 1;
    assert_eq!(leave(&mut core, clients), [2, 1, 0]);
    // It has read all but little.
    let mut core = Core::new(1);
    let clients = (0..3).map(|n| core.bind(&format!("ada@example.org/{n}"))).collect();
    let link = core.shards[0].links.get_mut(&LINK).unwrap();
    let credit = link.credit_bytes + limits::LINK_CALM_BYTES;
    link.sent_bytes = 2 * limits::LINK_CALM_BYTES;
    core.frame(0, &ToCore::LinkCredit(hearth_wire::to_core::LinkCredit { bytes: credit }));
    assert_eq!(leave(&mut core, clients), [0]);
}

// ---- an edge that lies ----------------------------------------------------------------------

/// A link of another edge, hostile, beside Ada's.
fn hostile() -> (Core, Client) {
    let (mut core, ada) = core();
    core.send(ada, "<presence/>");
    core.take(ada);
    assert!(greet(&mut core, Some("paris"), &hello("paris", 1, 0)));
    (core, ada)
}

/// Frames of the hostile edge; what came of it, with the end of the turn.
fn say(core: &mut Core, frames: &[ToCore<'_>]) -> crate::outputs::Outputs {
    let (now, mut out) = (core.now, crate::outputs::Outputs::default());
    for frame in frames {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        let bytes = bytes.len();
        core.shards[0].handle(Input::Frame { link: OTHER, frame: frame.clone(), bytes }, now, &mut out);
    }
    core.shards[0].handle(Input::EndOfTurn, now, &mut out);
    out
}

fn reason(out: &crate::outputs::Outputs) -> Option<&str> {
    assert!(out.close_links.iter().all(|link| *link == OTHER), "only the edge that lies is refused");
    let reasons: Vec<_> = out
        .events
        .iter()
        .filter_map(|event| if let Event::EdgeRefused { reason, .. } = event { Some(reason.as_str()) } else { None })
        .collect();
    assert!(reasons.len() <= 1 && reasons.is_empty() == out.close_links.is_empty(), "{reasons:?}");
    reasons.first().copied()
}

/// Ada's session is what it was: she hears herself.
fn goes_on(core: &mut Core, ada: Client) {
    core.send(ada, "<presence/><message type='chat'><body>still here</body></message>");
    assert!(core.take(ada).concat().contains("still here"));
    assert_eq!((core.unsettled(ada), core.closed(ada)), (0, None));
}

/// A session of the hostile edge's own, at its socket 9.
fn session_of_its_own(core: &mut Core) -> Generation {
    let eve = core.account("eve@example.org");
    core.with_cx(0, |cx| {
        cx.with_account(&eve, |cx, account| {
            crate::shard::pin(cx, account.unwrap());
            cx.shard.logins.insert((OTHER, 9), crate::login::Login::authenticated(account.unwrap()));
        });
    });
    core.run();
    let bind = hearth_wire::to_core::Bind { counter: 9, resource: Some("x"), credit: 1 << 20 };
    let out = say(core, &[ToCore::Bind(bind)]);
    assert_eq!(reason(&out), None);
    let key = core.shards[0].by_socket[&(OTHER, 9)];
    core.shards[0].sessions.get(key.0).unwrap().generation
}

fn message(to: &str, body: &str) -> Vec<u8> {
    let text = format!("<message type='chat' to='{to}'><body>{body}</body></message>");
    crate::testing::stanza(&text).bytes().to_vec()
}

fn stanza_of(counter: u64, generation: Generation, number: u64, stanza: &[u8]) -> ToCore<'_> {
    ToCore::Stanza(hearth_wire::to_core::StanzaIn { counter, generation, number, fault: None, stanza })
}

#[test]
fn an_edge_cannot_speak_for_sessions_of_another() {
    use hearth_wire::to_core::{Bind, Closed, Counter, Resume, SmEnable, Written};
    let (mut core, ada) = hostile();
    let (generation, stanza) = (core.generation(ada), message("ada@example.org", "forged"));
    let key = core.shards[0].by_socket[&(LINK, 1)];
    // The socket's number, the generation and the next number of Ada's stanzas, all as they are.
    let written = Written { counter: 1, generation, entry: u64::MAX, credit: u64::MAX };
    let frames = [
        stanza_of(1, generation, 4, &stanza),
        stanza_of(1, generation, 2, &stanza),
        ToCore::Written(written),
        ToCore::SmEnable(SmEnable { counter: 1, generation, number: 1, resume: true, max_s: None }),
        ToCore::AuthAbort(Counter { counter: 1 }),
        ToCore::Bind(Bind { counter: 1, resource: Some("desk"), credit: 1 << 20 }),
        ToCore::Resume(Resume { counter: 1, previd: "00000000000000000000000000000000", h: 0, credit: 1 }),
        ToCore::Closed(Closed { counter: 1, generation: Some(generation), clean: true }),
    ];
    for frame in frames {
        let out = say(&mut core, std::slice::from_ref(&frame));
        core.run();
        assert_eq!(reason(&out), None);
        assert!(core.take(ada).is_empty(), "{frame:?}");
        let session = core.shards[0].sessions.get(key.0).unwrap();
        assert!((session.generation, session.link) == (generation, LINK) && session.sm.is_none(), "{frame:?}");
    }
    goes_on(&mut core, ada);
}

/// Whoever sees another edge's frames has its capsules: they say whose they are.
#[test]
fn an_edge_cannot_return_a_session_of_another() {
    let (mut core, ada) = hostile();
    let kept = core.edge(ada).clone();
    let attach = hearth_wire::to_core::Attach {
        counter: 1,
        stream: kept.stream.unwrap(),
        generation: core.generation(ada),
        sealed: &kept.sealed,
        settled: 0,
        number: 0,
        entry: 0,
        written: 0,
        delivered_bytes: 0,
        credit: 1 << 20,
        log: 0,
        unwritten: Vec::new(),
        recent: Vec::new(),
        closed: None,
    };
    for lost in [false, true] {
        if lost {
            core.input(0, Input::LinkDown(LINK));
            core.run();
        }
        let out = say(&mut core, &[ToCore::Attach(attach.clone())]);
        assert_eq!(reason(&out), None);
        let frames = &out.to_edges[usize::from(OTHER.0)];
        let (frame, _) = hearth_wire::codec::split(frames, usize::MAX).unwrap().unwrap();
        let Some(ToEdge::Close(close)) = ToEdge::decode(frame).unwrap() else { panic!("not closed") };
        assert_eq!(close.condition, Some(hearth_wire::StreamCondition::Reset));
        assert_eq!(sessions(&core), 1);
        assert!(core.shards[0].sessions.iter().all(|(_, session)| session.link == LINK));
    }
}

#[test]
fn an_edge_that_exceeds_its_links_credit_is_refused() {
    let (mut core, ada) = hostile();
    let stanza = vec![0; 400 * 1024];
    let generation = core.generation(ada);
    let many = vec![stanza_of(77, generation, 1, &stanza); 14];
    // As long as it is told of credit it may go on.
    for _ in 0..9 {
        assert_eq!(reason(&say(&mut core, &many[..6])), None);
    }
    assert_eq!(reason(&say(&mut core, &many)), Some("more bytes than the link's credit"));
    assert_eq!(reason(&say(&mut core, &many)), None, "it is not heard any more");
    goes_on(&mut core, ada);
}

#[test]
fn an_edge_that_exceeds_a_sessions_credit_is_refused() {
    let (mut core, ada) = hostile();
    let generation = session_of_its_own(&mut core);
    core.shards[0].settings.limits.session_window_bytes = 4 * 1024;
    // Storage never answers for this one, so that nothing of it is settled.
    let stanza = message("nobody@example.org", &"x".repeat(1_000));
    let most = 4 * 1024 / stanza.len() as u64;
    for number in 1..=most {
        assert_eq!(reason(&say(&mut core, &[stanza_of(9, generation, number, &stanza)])), None, "{number}");
    }
    let out = say(&mut core, &[stanza_of(9, generation, most + 1, &stanza)]);
    assert_eq!(reason(&out), Some("more bytes than a session's credit"));
    goes_on(&mut core, ada);
}

#[test]
fn a_socket_has_one_session_whatever_an_edge_asks() {
    use hearth_wire::to_core::{Attach, Authenticate, AuthenticateInline, Bind, ChannelBinding, PreAuthIq, Resume};
    let peer = std::net::IpAddr::from([127, 0, 0, 1]);
    let (slot, stanza) = (hearth_wire::ids::Slot::new(0).unwrap(), message("ada@example.org", "x"));
    let authenticate = Authenticate {
        counter: 9,
        slot,
        epoch: 1,
        domain: "example.org",
        peer,
        security: Security::Tls13,
        binding: ChannelBinding { tls_exporter: None, tls_server_end_point: None },
        mechanism: "PLAIN",
        initial: None,
    };
    let inline = AuthenticateInline {
        authenticate: authenticate.clone(),
        from: None,
        agent: None,
        fast: None,
        request_token: None,
    };
    let before_login = PreAuthIq {
        counter: 9,
        slot,
        epoch: 1,
        domain: "example.org",
        peer,
        security: Security::Tls13,
        stanza: &stanza,
    };
    let attach = Attach {
        counter: 9,
        stream: hearth_wire::ids::StreamId([1; 16]),
        generation: Generation::default(),
        sealed: &[],
        settled: 0,
        number: 0,
        entry: 0,
        written: 0,
        delivered_bytes: 0,
        credit: 0,
        log: 0,
        unwritten: Vec::new(),
        recent: Vec::new(),
        closed: None,
    };
    let frames = [
        ToCore::Authenticate(authenticate),
        ToCore::AuthenticateInline(inline),
        ToCore::PreAuthIq(before_login),
        ToCore::Bind(Bind { counter: 9, resource: None, credit: 0 }),
        ToCore::Resume(Resume { counter: 9, previd: "", h: 0, credit: 0 }),
        ToCore::Attach(attach),
    ];
    for frame in frames {
        let (mut core, ada) = hostile();
        session_of_its_own(&mut core);
        assert_eq!(reason(&say(&mut core, &[frame])), Some("a login on a socket that has a session"));
        goes_on(&mut core, ada);
    }
}

/// RFC 7622, row 54: an address in another form than the one is neither looked up nor stored.
#[test]
fn threat_054_an_edge_that_does_not_prepare_addresses_loses_the_session() {
    let stanzas = [
        "<message type='chat' to='Ada@example.org'><body>b</body></message>",
        "<message type='chat' to='ada@EXAMPLE.org'><body>b</body></message>",
        "<message type='chat' to='ada@example.org.'><body>b</body></message>",
        "<message type='chat' to='@example.org'><body>b</body></message>",
        "<message type='chat' to=''><body>b</body></message>",
        "<presence type='subscribe' to='ADA@example.org'/>",
        "<presence to='ada@example.org/'/>",
        "<iq type='get' id='i' to='a\u{200b}da@example.org'><ping xmlns='urn:xmpp:ping'/></iq>",
    ];
    for text in stanzas {
        let (mut core, ada) = hostile();
        let generation = session_of_its_own(&mut core);
        let stanza = crate::testing::stanza(text);
        let out = say(&mut core, &[stanza_of(9, generation, 1, stanza.bytes())]);
        assert_eq!(reason(&out), None);
        let reasons =
            out.events.iter().any(|event| matches!(event, Event::SessionEnded { reason: "broken stanza", .. }));
        assert!(reasons && sessions(&core) == 1, "{text}: {:?}", out.events);
        assert_eq!(core.stored("eve@example.org").roster.len(), 0);
        goes_on(&mut core, ada);
    }
}

#[test]
fn an_edge_has_a_name_that_fits_a_log_line() {
    let long = "x".repeat(65);
    for name in ["", "two words", "line\nbreak", ".hidden", "na\u{ef}ve", "a/b", long.as_str()] {
        let (mut core, ada) = core();
        assert!(!greet(&mut core, None, &hello(name, 1, 0)), "{name:?}");
        goes_on(&mut core, ada);
    }
    let (mut core, _) = core();
    for n in 0..limits::EDGE_RUNS_MAX + 9 {
        let name = format!("edge{n}");
        core.with_cx(0, |cx| keep_run(cx, &hello(&name, 1, 0)));
    }
    assert_eq!(core.shards[0].edge_runs.len(), limits::EDGE_RUNS_MAX);
}
