//! Order behind a busy account, and what happens where there is no room.

use super::*;

// While an account writes, presence for it waits behind what came before.
#[test]
fn presence_keeps_its_place_behind_a_write() {
    each(|core, ada, grace| {
        core.friends(ada, grace);
        let phone = online(core, &format!("{grace}/phone"));
        let desk = online(core, &format!("{ada}/desk"));
        core.forget();
        core.holding = true;
        core.send(phone, "<iq type='set' id='s'><query xmlns='jabber:iq:roster'><item jid='x@y'/></query></iq>");
        core.send(desk, "<presence><show>away</show></presence>");
        core.send(desk, "<presence><show>dnd</show></presence>");
        let tablet = format!("{ada}/tablet");
        core.close(desk, true);
        assert_eq!(core.take(phone), NOTHING);
        core.holding = false;
        core.answer();
        let got = core.take(phone);
        assert_eq!(got.len(), 4, "{got:?}");
        assert!(got[0].starts_with("<iq") && got[1].contains("away") && got[2].contains("dnd"));
        assert_eq!(got[3], unavailable(&format!("{ada}/desk"), grace));
        // Probes wait there too.
        core.holding = true;
        core.send(phone, "<iq type='set' id='t'><query xmlns='jabber:iq:roster'><item jid='x@z'/></query></iq>");
        core.holding = false;
        let tablet_client = core.login(&tablet);
        core.send(tablet_client, "<presence/>");
        assert_eq!(core.take(tablet_client), [available(&tablet, ada)]);
        core.answer();
        assert_eq!(core.take(tablet_client), [available(&format!("{grace}/phone"), &tablet)]);
    });
}

// An answer that comes while an account goes on keeps its place behind what waits there.
#[test]
fn answers_do_not_overtake() {
    let mut core = Core::new(1);
    core.contact(GRACE, ADA, Subscription::From);
    let phone = core.login("grace@example.org/phone");
    let desk = online(&mut core, "ada@example.org/desk");
    core.send(desk, "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>");
    core.take(desk);
    core.holding = true;
    core.send(desk, &format!("<presence type='subscribe' to='{GRACE}'/>"));
    core.send(phone, "<presence id='first' to='ada@example.org'/>");
    core.holding = false;
    core.answer();
    let got = core.take(desk);
    let place = |what: &str| got.iter().position(|got| got.contains(what)).unwrap();
    assert!(place("id='first'") < place("type='subscribed'"), "{got:?}");
}

// What a client sent before it closed still counts.
#[test]
fn a_session_ends_behind_what_its_account_waits_for() {
    let mut core = Core::new(1);
    let phone = online(&mut core, "grace@example.org/phone");
    let desk = online(&mut core, "ada@example.org/desk");
    core.holding = true;
    core.send(desk, "<iq type='set' id='s'><query xmlns='jabber:iq:roster'><item jid='x@y'/></query></iq>");
    core.send(desk, &format!("<message type='chat' to='{GRACE}'><body>bye</body></message>"));
    core.close(desk, true);
    core.holding = false;
    core.answer();
    assert!(core.session(desk).is_none());
    assert_eq!(core.take(phone).len(), 1);
}

/// Shard 0 has as much under way to shard 1 as it may.
fn fill_outbox(core: &mut Core) {
    core.shards[0].charge_outbox(1, limits::OUTBOX_BYTES_MAX as u64);
}

fn empty_outbox(core: &mut Core) {
    core.room(0, 1, limits::OUTBOX_BYTES_MAX as u64);
}

// A full outbox: the last presence of each session goes out when there is room, and only that.
#[test]
fn presence_is_coalesced_while_an_outbox_is_full() {
    let mut core = Core::new(2);
    let (ada, grace) = (core.name_on(0, "ada"), core.name_on(1, "grace"));
    core.friends(&ada, &grace);
    let phone = online(&mut core, &format!("{grace}/phone"));
    let desk = core.login(&format!("{ada}/desk"));
    core.forget();
    fill_outbox(&mut core);
    core.send(desk, "<presence/><presence><show>away</show></presence><presence><show>dnd</show></presence>");
    assert_eq!((core.take(phone), core.unsettled(desk)), (vec![], 0));
    assert_eq!(core.shards[0].presence_due.len(), 1);
    assert_eq!(core.take(desk).len(), 3);
    empty_outbox(&mut core);
    assert_eq!(core.take(phone), [format!("<presence from='{ada}/desk' to='{grace}'><show>dnd</show></presence>")]);
    // The probe of the initial presence was not forgotten.
    assert_eq!(core.take(desk), [available(&format!("{grace}/phone"), &format!("{ada}/desk"))]);
    assert!(core.shards[0].presence_due.is_empty());

    // Requests are refused in their place.
    fill_outbox(&mut core);
    core.send(desk, &format!("<presence id='d' to='other-{grace}'/><presence id='d' to='{grace}/x'/>"));
    let got = core.take(desk);
    assert!(!got.is_empty() && got.iter().all(|got| got.contains("<resource-constraint ")), "{got:?}");
    // Sessions of closed sockets end when there is room.
    core.send(desk, "<presence/>");
    core.close(desk, true);
    assert!(core.session(desk).is_some());
    assert_eq!(core.take(phone), NOTHING);
    empty_outbox(&mut core);
    assert!(core.session(desk).is_none());
    assert_eq!(core.take(phone).last(), Some(&unavailable(&format!("{ada}/desk"), &grace)));
    assert!(core.shards[0].ending.is_empty() && core.shards[0].presence_due.is_empty());
}

// A session that ends at once, whatever room there is, leaves nothing behind that waits for room.
#[test]
fn what_waits_for_room_ends_with_its_session() {
    let mut core = Core::new(2);
    let (ada, grace) = (core.name_on(0, "ada"), core.name_on(1, "grace"));
    core.friends(&ada, &grace);
    let phone = online(&mut core, &format!("{grace}/phone"));
    let desk = core.login(&format!("{ada}/desk"));
    fill_outbox(&mut core);
    core.send(desk, "<presence/>");
    core.command(0, "sessions kick", &[("jid", &ada)]);
    assert_eq!(core.take(phone), [unavailable(&format!("{ada}/desk"), &grace)]);
    assert!(core.session(desk).is_none() && core.shards[0].presence_due.is_empty());
    empty_outbox(&mut core);
    assert_eq!(core.take(phone), NOTHING);
}

// A farewell that waits for room is not lost with the session that said it.
#[test]
fn a_farewell_that_waits_is_said_at_the_end() {
    let mut core = Core::new(2);
    let (ada, grace) = (core.name_on(0, "ada"), core.name_on(1, "grace"));
    core.friends(&ada, &grace);
    let phone = online(&mut core, &format!("{grace}/phone"));
    let desk = online(&mut core, &format!("{ada}/desk"));
    core.forget();
    fill_outbox(&mut core);
    core.send(desk, "<presence type='unavailable'/>");
    core.close(desk, true);
    assert_eq!(core.take(phone), NOTHING);
    empty_outbox(&mut core);
    assert_eq!(core.take(phone), [unavailable(&format!("{ada}/desk"), &grace)]);
    assert!(core.shards[0].presence_due.is_empty() && core.session(desk).is_none());
}

// What a session sends to its own account while that is busy keeps its place among what it sends.
#[test]
fn a_session_does_not_overtake_itself() {
    let mut core = Core::new(1);
    let desk = online(&mut core, "ada@example.org/desk");
    core.holding = true;
    core.send(desk, "<iq type='set' id='s'><query xmlns='jabber:iq:roster'><item jid='x@y'/></query></iq>");
    core.send(desk, "<presence id='1'/><presence id='2' to='ada@example.org'/><presence id='3'/>");
    core.holding = false;
    core.answer();
    let ids: Vec<_> = core.take(desk).iter().skip(1).map(|got| got.split('\'').nth(1).unwrap().to_owned()).collect();
    assert_eq!(ids, ["1", "2", "3"]);
}

// A client that does not read: of each contact it is held the last presence; beyond the limit its stream is closed,
// and its contacts are told.
#[test]
fn a_session_that_does_not_read_is_detached() {
    each(|core, ada, grace| {
        core.friends(ada, grace);
        let desk = online(core, &format!("{ada}/desk"));
        core.credit = 1_000;
        let slow = online(core, &format!("{grace}/slow"));
        core.credit = 1 << 40;
        core.writing = false;
        core.forget();
        let long = "x".repeat(10_000);
        for _ in 0..limits::HELD_BYTES_MAX / 10_000 {
            core.send(desk, &format!("<presence><status>{long}</status></presence>"));
        }
        let held = |core: &Core| core.session(slow).unwrap().outbound.held_bytes;
        assert!(held(core) <= limits::HELD_BYTES_MAX / 2 + 11_000, "{}", held(core));
        let news = format!("<message type='headline' to='{grace}'><body>{long}</body></message>");
        for _ in 0..limits::HELD_BYTES_MAX / 20_000 - 2 {
            core.send(desk, &news);
        }
        assert!(core.session(slow).is_some() && core.closed(slow).is_none());
        core.take(desk);
        (0..4).for_each(|_| core.send(desk, &news));
        assert_eq!(core.closed(slow), Some(Some(hearth_wire::StreamCondition::ResourceConstraint)));
        assert!(core.session(slow).is_none());
        assert_eq!(core.take(desk).last(), Some(&unavailable(&format!("{grace}/slow"), ada)));
    });
}

// A dead link's sessions end a few per turn, and only while there is room for their presence.
#[test]
fn sessions_of_a_dead_link_end_as_room_appears() {
    let mut core = Core::new(2);
    let grace = core.name_on(1, "grace");
    let mut desks = Vec::new();
    for n in 0..20 {
        let user = core.name_on(0, &format!("user{n}x"));
        core.contact(&user, &grace, Subscription::From);
        desks.push(online(&mut core, &format!("{user}/desk")));
    }
    let phone = online(&mut core, &format!("{grace}/phone"));
    core.forget();
    fill_outbox(&mut core);
    core.link_down(0);
    assert_eq!(core.shards[0].sessions.len(), 20);
    empty_outbox(&mut core);
    assert_eq!((core.shards[0].sessions.len(), core.take(phone).len()), (0, 20));
    assert!(core.shards[0].links.is_empty());
}
