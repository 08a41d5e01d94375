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
