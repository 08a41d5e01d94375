use crate::limits;
use crate::testing::{Client, Core};
use hearth_storage::Subscription;

const ADA: &str = "ada@example.org";
const GRACE: &str = "grace@example.org";
const NOTHING: [&str; 0] = [];

fn online(core: &mut Core, full: &str) -> Client {
    let client = core.login(full);
    core.send(client, "<presence/>");
    core.take(client);
    client
}

/// Presence as it arrives.
fn available(from: &str, to: &str) -> String {
    format!("<presence from='{from}' to='{to}'/>")
}

fn unavailable(from: &str, to: &str) -> String {
    format!("<presence type='unavailable' from='{from}' to='{to}'/>")
}

/// Everything with one shard and with two, the two accounts on different ones.
fn each(test: impl Fn(&mut Core, &str, &str)) {
    test(&mut Core::new(1), ADA, GRACE);
    let mut core = Core::new(2);
    let (ada, grace) = (core.name_on(0, "ada"), core.name_on(1, "grace"));
    test(&mut core, &ada, &grace);
}

// ---- §4.2 initial presence ------------------------------------------------------------------

#[test]
fn initial_presence_goes_to_who_is_subscribed() {
    each(|core, ada, grace| {
        for (subscription, sees) in [
            (Subscription::None, false),
            (Subscription::To, false),
            (Subscription::From, true),
            (Subscription::Both, true),
        ] {
            let user = format!("{subscription:?}{ada}").to_lowercase();
            core.contact(&user, grace, subscription);
            let phone = online(core, &format!("{grace}/phone"));
            let desk = core.login(&format!("{user}/desk"));
            core.send(desk, "<presence id='p' xml:lang='en'><show>away</show><x xmlns='urn:x'/></presence>");
            let full = format!(
                "<presence id='p' from='{user}/desk' to='{grace}' xml:lang='en'><show>away</show><x xmlns='urn:x'/></presence>"
            );
            let want = if sees { vec![full] } else { vec![] };
            let got: Vec<_> = core.take(phone).into_iter().filter(|got| !got.contains("unsubscribed")).collect();
            assert_eq!(got, want, "{subscription:?}");
            assert_eq!(core.unsettled(desk), 0);
        }
    });
}

#[test]
fn a_client_hears_itself_and_sees_its_other_resources() {
    let mut core = Core::new(1);
    let desk = online(&mut core, "ada@example.org/desk");
    let quiet = core.login("ada@example.org/quiet");
    let phone = core.login("ada@example.org/phone");
    core.send(phone, "<presence id='p'/>");
    let new = "<presence id='p' from='ada@example.org/phone' to='ada@example.org'/>";
    assert_eq!(core.take(phone), [new, &available("ada@example.org/desk", ADA)]);
    assert_eq!(core.take(desk), [new]);
    assert_eq!(core.take(quiet), NOTHING);
}

// §4.3.1: who we see is asked; each of their resources answers; only to the resource that asks.
#[test]
fn initial_presence_brings_the_contacts_presence() {
    each(|core, ada, grace| {
        for (subscription, theirs, sees) in [
            (Subscription::Both, Subscription::Both, true),
            (Subscription::To, Subscription::From, true),
            (Subscription::From, Subscription::To, false),
            (Subscription::From, Subscription::Both, false),
            (Subscription::None, Subscription::None, false),
        ] {
            let (user, friend) = (ada, grace);
            let mut core = Core::new(u16::try_from(core.shards.len()).unwrap());
            core.contact(user, friend, subscription);
            core.contact(friend, user, theirs);
            online(&mut core, &format!("{friend}/phone"));
            let tablet = core.login(&format!("{friend}/tablet"));
            core.send(tablet, "<presence id='t'><show>dnd</show></presence>");
            core.login(&format!("{friend}/quiet"));
            let before = online(&mut core, &format!("{user}/before"));
            core.forget();
            let desk = core.login(&format!("{user}/desk"));
            core.send(desk, "<presence/>");
            let got = core.take(desk);
            assert_eq!(
                got[..2],
                [available(&format!("{user}/desk"), user), available(&format!("{user}/before"), user)]
            );
            let to = format!("{user}/desk");
            let tablet = format!("<presence id='t' from='{friend}/tablet' to='{to}'><show>dnd</show></presence>");
            let want = if sees { vec![available(&format!("{friend}/phone"), &to), tablet] } else { vec![] };
            assert_eq!(got[2..], want, "{subscription:?}");
            assert_eq!(core.take(before), [available(&format!("{user}/desk"), user)]);
        }
    });
}

#[test]
fn nobody_is_loaded_for_presence() {
    each(|core, ada, grace| {
        core.friends(ada, grace);
        let desk = online(core, &format!("{ada}/desk"));
        core.send(desk, "<presence><show>away</show></presence>");
        core.send(desk, &format!("<presence to='{grace}'/>"));
        core.send(desk, &format!("<presence type='probe' to='{grace}'/>"));
        core.close(desk, true);
        assert!(core.loaded(grace).is_none());
    });
}

// The promise behind the fan-out: one message per shard, one frame per link, answers in one message.
#[test]
fn a_login_is_one_message_per_shard_each_way() {
    let mut core = Core::new(3);
    let ada = core.name_on(0, "ada");
    let mut phones = Vec::new();
    for n in 0..30 {
        let friend = core.name_on(n % 3, &format!("friend{n}x"));
        core.friends(&ada, &friend);
        phones.push((online(&mut core, &format!("{friend}/phone")), friend));
    }
    let desk = core.login(&format!("{ada}/desk"));
    core.forget();
    core.send(desk, "<presence/>");
    // Out to two other shards, answers back from both.
    assert_eq!(core.peer_messages, 4);
    // One frame for each shard's contacts, one for the echo, thirty answers.
    assert_eq!(core.stanza_frames, 3 + 1 + 30);
    for (phone, friend) in &phones {
        assert_eq!(core.take(*phone), [available(&format!("{ada}/desk"), friend)]);
    }
    assert_eq!(core.take(desk).len(), 31);
    core.forget();
    core.send(desk, "<presence><show>away</show></presence>");
    assert_eq!((core.peer_messages, core.stanza_frames), (2, 4));
}

// §4.2 with §5 of XEP-0160: waiting messages come with the first presence of priority 0 or more.
#[test]
fn waiting_messages_come_at_the_first_non_negative_priority() {
    let mut core = Core::new(1);
    core.account(GRACE);
    let desk = core.login("ada@example.org/desk");
    core.send(desk, &format!("<message type='chat' to='{GRACE}'><body>hello</body></message>"));
    let phone = core.login("grace@example.org/phone");
    core.send(phone, "<presence><priority>-1</priority></presence>");
    assert_eq!(core.take(phone).len(), 1);
    core.send(phone, "<presence/>");
    assert!(core.take(phone)[1].contains("<body>hello</body>"));
    core.send(phone, "<presence/>");
    assert_eq!(core.take(phone).len(), 1);
}

// ---- §4.3 probes ----------------------------------------------------------------------------

#[test]
fn a_probe_by_a_client_is_answered_if_it_may_see() {
    each(|core, ada, grace| {
        core.contact(grace, ada, Subscription::From);
        let phone = online(core, &format!("{grace}/phone"));
        let desk = core.login(&format!("{ada}/desk"));
        core.send(desk, &format!("<presence type='probe' to='{grace}'/>"));
        assert_eq!(core.take(desk), [available(&format!("{grace}/phone"), &format!("{ada}/desk"))]);
        assert_eq!(core.take(phone), NOTHING);
        assert_eq!(core.unsettled(desk), 0);
    });
}

#[test]
fn a_client_may_probe_its_own_account() {
    let mut core = Core::new(1);
    online(&mut core, "ada@example.org/phone");
    let desk = core.login("ada@example.org/desk");
    core.send(desk, "<presence type='probe' to='ada@example.org'/>");
    assert_eq!(core.take(desk), [available("ada@example.org/phone", "ada@example.org/desk")]);
}

// §4.3.2: of one resource only that it is there, and of no other anything.
#[test]
fn a_probe_of_a_full_jid_learns_availability_only() {
    let mut core = Core::new(1);
    core.contact(GRACE, ADA, Subscription::From);
    let phone = core.login("grace@example.org/phone");
    core.send(phone, "<presence id='p'><show>dnd</show></presence>");
    core.login("grace@example.org/quiet");
    let desk = core.login("ada@example.org/desk");
    core.send(desk, "<presence type='probe' to='grace@example.org/phone'/>");
    assert_eq!(core.take(desk), [available("grace@example.org/phone", "ada@example.org/desk")]);
    for other in ["quiet", "none"] {
        core.send(desk, &format!("<presence type='probe' to='grace@example.org/{other}'/>"));
        assert_eq!(core.take(desk), NOTHING);
    }
}

// §4.3.2: rosters that disagree are mended by the answer to the probe.
#[test]
fn a_probe_by_a_stranger_ends_its_subscription() {
    each(|core, ada, grace| {
        core.contact(ada, grace, Subscription::Both);
        let phone = online(core, &format!("{grace}/phone"));
        let desk = core.login(&format!("{ada}/desk"));
        core.send(desk, "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>");
        core.take(desk);
        core.send(desk, "<presence/>");
        let got = core.take(desk);
        assert!(got.contains(&format!("<presence type='unsubscribed' from='{grace}' to='{ada}'/>")), "{got:?}");
        assert_eq!(core.stored(ada).roster[0].subscription, Subscription::From);
        assert_eq!(core.take(phone), [available(&format!("{ada}/desk"), grace)]);
    });
}

#[test]
fn a_probe_does_not_answer_a_request_that_waits() {
    let mut core = Core::new(1);
    let phone = online(&mut core, "grace@example.org/phone");
    let desk = online(&mut core, "ada@example.org/desk");
    core.send(desk, &format!("<presence type='subscribe' to='{GRACE}'/>"));
    core.send(desk, &format!("<presence type='probe' to='{GRACE}'/>"));
    assert_eq!(core.take(desk), NOTHING);
    assert!(core.stored(ADA).roster[0].ask);
    assert_eq!(core.take(phone).len(), 1);
}

// §4.6.6
#[test]
fn who_got_directed_presence_may_probe_that_resource() {
    let mut core = Core::new(1);
    let phone = core.login("grace@example.org/phone");
    core.send(phone, "<presence to='ada@example.org/desk'><show>chat</show></presence>");
    let desk = core.login("ada@example.org/desk");
    core.send(desk, "<presence type='probe' to='grace@example.org/phone'/>");
    assert_eq!(core.take(desk), [available("grace@example.org/phone", "ada@example.org/desk")]);
    core.send(phone, "<presence type='unavailable' to='ada@example.org/desk'/>");
    core.take(desk);
    core.send(desk, "<presence type='probe' to='grace@example.org/phone'/>");
    assert_eq!(core.take(desk), NOTHING);
}

// ---- §4.4 subsequent presence ---------------------------------------------------------------

#[test]
fn subsequent_presence_is_broadcast_without_probes() {
    each(|core, ada, grace| {
        core.friends(ada, grace);
        let phone = online(core, &format!("{grace}/phone"));
        let desk = online(core, &format!("{ada}/desk"));
        let other = online(core, &format!("{ada}/other"));
        let quiet = [core.login(&format!("{ada}/quiet")), core.login(&format!("{grace}/quiet"))];
        core.forget();
        core.send(desk, "<presence><priority>5</priority></presence>");
        let stanza = |to: &str| format!("<presence from='{ada}/desk' to='{to}'><priority>5</priority></presence>");
        assert_eq!(core.take(phone), [stanza(grace)]);
        assert_eq!(core.take(desk), [stanza(ada)]);
        assert_eq!(core.take(other), [stanza(ada)]);
        assert_eq!(quiet.map(|client| core.take(client).len()), [0, 0]);
        assert_eq!(core.session(desk).unwrap().priority, 5);
    });
}

// §4.7.2.3
#[test]
fn a_priority_is_an_integer_of_one_byte() {
    let mut core = Core::new(1);
    let desk = core.login("ada@example.org/desk");
    for (text, priority) in [("-128", -128), ("127", 127), (" 1\n", 1), ("+3", 3), ("0", 0)] {
        core.send(desk, &format!("<presence><priority>{text}</priority></presence>"));
        assert_eq!(core.session(desk).unwrap().priority, priority);
    }
    core.take(desk);
    core.send(desk, "<presence><priority>7</priority></presence>");
    core.take(desk);
    for text in ["128", "-129", "1.5", "", "high", "1</priority><priority>1"] {
        core.send(desk, &format!("<presence id='p'><priority>{text}</priority></presence>"));
        let got = core.take(desk);
        assert!(got.len() == 1 && got[0].starts_with("<presence type='error' id='p'"), "{got:?}");
        assert!(got[0].contains("<bad-request "), "{got:?}");
        assert_eq!((core.session(desk).unwrap().priority, core.unsettled(desk)), (7, 0));
    }
}

// ---- §4.5 unavailable presence --------------------------------------------------------------

#[test]
fn unavailable_presence_is_broadcast_whole() {
    each(|core, ada, grace| {
        core.friends(ada, grace);
        let phone = online(core, &format!("{grace}/phone"));
        let desk = online(core, &format!("{ada}/desk"));
        let other = online(core, &format!("{ada}/other"));
        core.forget();
        core.send(desk, "<presence type='unavailable'><status>lunch</status></presence>");
        let stanza = |to: &str| {
            format!("<presence type='unavailable' from='{ada}/desk' to='{to}'><status>lunch</status></presence>")
        };
        assert_eq!(core.take(phone), [stanza(grace)]);
        assert_eq!(core.take(desk), [stanza(ada)]);
        assert_eq!(core.take(other), [stanza(ada)]);
        // Not twice; and what comes next is initial again.
        core.close(desk, true);
        core.send(other, "<presence type='unavailable'/>");
        core.take(phone);
        core.send(other, "<presence/>");
        assert_eq!(core.take(phone), [available(&format!("{ada}/other"), grace)]);
        assert!(core.take(other).contains(&available(&format!("{grace}/phone"), &format!("{ada}/other"))));
    });
}

// However a session ends.
#[test]
fn the_end_of_a_session_is_unavailable_presence() {
    for end in ["closed", "lost", "link", "kicked", "replaced"] {
        each(|core, ada, grace| {
            core.friends(ada, grace);
            let phone = online(core, &format!("{grace}/phone"));
            let desk = online(core, &format!("{ada}/desk"));
            let quiet = core.login(&format!("{ada}/quiet"));
            let (full, shard) = (format!("{ada}/desk"), core.owner(ada));
            core.forget();
            match end {
                "closed" => core.close(desk, true),
                "lost" => core.close(desk, false),
                "link" if core.owner(grace) != shard => core.link_down(u16::try_from(shard).unwrap()),
                "link" => return,
                "kicked" => core.command(shard, crate::control::Command::SessionsKick { jid: full.clone() }),
                _ => {
                    core.login(&full);
                }
            }
            assert_eq!(core.take(phone), [unavailable(&full, grace)], "{end}");
            assert_eq!(core.take(desk), NOTHING);
            assert_eq!(core.take(quiet), NOTHING);
        });
    }
}

// ---- §4.6 directed presence -----------------------------------------------------------------

#[test]
fn directed_presence_reaches_one_address_and_ends_with_the_session() {
    for (to, end) in [("", "close"), ("/phone", "close"), ("", "unavailable"), ("/phone", "unavailable")] {
        each(|core, ada, grace| {
            let phone = online(core, &format!("{grace}/phone"));
            let desk = online(core, &format!("{ada}/desk"));
            let to = format!("{grace}{to}");
            core.send(desk, &format!("<presence to='{to}'><show>chat</show></presence>"));
            assert_eq!(
                core.take(phone),
                [format!("<presence from='{ada}/desk' to='{to}'><show>chat</show></presence>")]
            );
            // §4.6.3: later broadcasts are not for them.
            core.send(desk, "<presence><show>away</show></presence>");
            assert_eq!(core.take(phone), NOTHING);
            match end {
                "close" => core.close(desk, false),
                _ => core.send(desk, "<presence type='unavailable'/>"),
            }
            assert_eq!(core.take(phone), [unavailable(&format!("{ada}/desk"), &to)]);
            if end == "unavailable" {
                core.close(desk, true);
                assert_eq!(core.take(phone), NOTHING);
            }
        });
    }
}

// §4.6.3, case 3: also from who is not available.
#[test]
fn directed_presence_needs_no_initial_presence() {
    let mut core = Core::new(1);
    core.friends(ADA, GRACE);
    let phone = online(&mut core, "grace@example.org/phone");
    let desk = core.login("ada@example.org/desk");
    core.send(desk, &format!("<presence to='{GRACE}'/>"));
    assert_eq!(core.take(phone), [available("ada@example.org/desk", GRACE)]);
    assert!(!core.session(desk).unwrap().available());
    core.close(desk, true);
    assert_eq!(core.take(phone), [unavailable("ada@example.org/desk", GRACE)]);
}

// §4.6.3, case 1: a subscriber hears the end once.
#[test]
fn directed_presence_to_a_subscriber_changes_nothing() {
    let mut core = Core::new(1);
    core.friends(ADA, GRACE);
    let phone = online(&mut core, "grace@example.org/phone");
    let desk = core.login("ada@example.org/desk");
    core.send(desk, &format!("<presence to='{GRACE}'/><presence/>"));
    core.send(desk, &format!("<presence to='{GRACE}'><show>chat</show></presence>"));
    assert_eq!(core.take(phone).len(), 3);
    let again = online(&mut core, "ada@example.org/again");
    core.send(again, &format!("<presence to='{GRACE}'><show>chat</show></presence>"));
    assert!(core.session(again).unwrap().directed.is_none());
    core.take(phone);
    core.close(desk, true);
    assert_eq!(core.take(phone), [unavailable("ada@example.org/desk", GRACE)]);
}

#[test]
fn who_was_told_of_the_end_is_not_told_again() {
    let mut core = Core::new(1);
    let phone = online(&mut core, "grace@example.org/phone");
    let desk = core.login("ada@example.org/desk");
    core.send(desk, "<presence to='grace@example.org/phone'/>");
    core.send(desk, "<presence type='unavailable' to='grace@example.org/phone'/>");
    assert_eq!(core.take(phone)[1..], [unavailable("ada@example.org/desk", "grace@example.org/phone")]);
    assert!(core.session(desk).unwrap().directed.is_none());
    // §4.6.1: nor who has gone first.
    core.send(phone, "<presence to='ada@example.org/desk'/>");
    core.send(desk, "<presence to='grace@example.org/phone'/>");
    core.send(phone, "<presence type='unavailable' to='ada@example.org/desk'/>");
    assert!(core.session(desk).unwrap().directed.is_none());
    core.take(phone);
    core.close(desk, true);
    assert_eq!(core.take(phone), NOTHING);
}

// §4.6.1: a broadcast says it too.
#[test]
fn a_subscription_that_says_goodbye_is_not_told_either() {
    each(|core, ada, grace| {
        core.contact(grace, ada, Subscription::From);
        let phone = online(core, &format!("{grace}/phone"));
        let desk = online(core, &format!("{ada}/desk"));
        core.send(desk, &format!("<presence to='{grace}/phone'/>"));
        core.send(phone, "<presence type='unavailable'/>");
        assert!(core.session(desk).unwrap().directed.is_none());
    });
}

#[test]
fn directed_presence_has_a_limit() {
    let mut core = Core::new(1);
    let desk = core.login("ada@example.org/desk");
    for n in 0..limits::DIRECTED_MAX {
        core.put(desk, &format!("<presence to='c{n}@example.org'/>"));
    }
    core.run();
    assert_eq!(core.take(desk), NOTHING);
    core.send(desk, "<presence id='over' to='over@example.org'/><presence to='c5@example.org'/>");
    let got = core.take(desk);
    assert!(got.len() == 1 && got[0].contains("id='over'") && got[0].contains("<resource-constraint "), "{got:?}");
    core.send(desk, "<presence type='unavailable' to='c5@example.org'/><presence to='over@example.org'/>");
    assert_eq!((core.take(desk), core.unsettled(desk)), (vec![], 0));
}

#[test]
fn presence_to_a_domain_that_is_not_served_is_an_error() {
    let mut core = Core::new(1);
    let desk = core.login("ada@example.org/desk");
    core.send(desk, "<presence id='join' to='room@muc.example.com/ada'/>");
    let got = core.take(desk);
    assert!(got.len() == 1 && got[0].contains("<remote-server-not-found "), "{got:?}");
    core.send(desk, "<presence to='example.org'/>");
    assert_eq!((core.take(desk), core.unsettled(desk)), (vec![], 0));
}

// ---- §8.5 inbound ---------------------------------------------------------------------------

#[test]
fn presence_to_a_bare_jid_reaches_available_resources_and_to_a_full_one_that_resource() {
    each(|core, ada, grace| {
        let phone = online(core, &format!("{grace}/phone"));
        let low = core.login(&format!("{grace}/low"));
        core.send(low, "<presence><priority>-1</priority></presence>");
        let quiet = core.login(&format!("{grace}/quiet"));
        let desk = core.login(&format!("{ada}/desk"));
        core.forget();
        core.send(desk, &format!("<presence to='{grace}'/>"));
        let got = [phone, low, quiet].map(|client| core.take(client).len());
        assert_eq!(got, [1, 1, 0]);
        core.send(desk, &format!("<presence to='{grace}/quiet'/>"));
        assert_eq!(core.take(quiet), [available(&format!("{ada}/desk"), &format!("{grace}/quiet"))]);
        core.send(desk, &format!("<presence to='{grace}/none'/>"));
        for client in [phone, low, quiet, desk] {
            assert_eq!(core.take(client), NOTHING);
        }
    });
}

// §8.5: presence that cannot be delivered, and errors, are never answered.
#[test]
fn presence_is_never_bounced() {
    each(|core, ada, grace| {
        let desk = core.login(&format!("{ada}/desk"));
        for ty in ["", " type='unavailable'", " type='error'", " type='probe'", " type='subscribed'"] {
            for to in [grace.to_owned(), format!("{grace}/none")] {
                core.send(desk, &format!("<presence{ty} to='{to}'/>"));
            }
            core.send(desk, &format!("<presence{ty} to='nobody-{grace}'/>"));
        }
        core.send(desk, "<presence type='error'/><presence type='probe'/>");
        let got = core.take(desk);
        assert_eq!((got, core.unsettled(desk)), (vec![], 0));
    });
}

#[test]
fn presence_errors_are_delivered() {
    let mut core = Core::new(1);
    let desk = online(&mut core, "ada@example.org/desk");
    let phone = core.login("grace@example.org/phone");
    for to in ["ada@example.org", "ada@example.org/desk"] {
        core.send(phone, &format!("<presence type='error' id='e' to='{to}'/>"));
        assert_eq!(
            core.take(desk),
            [format!("<presence type='error' id='e' from='grace@example.org/phone' to='{to}'/>")]
        );
    }
}

// ---- order and bounds -----------------------------------------------------------------------

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
    core.command(0, crate::control::Command::SessionsKick { jid: ada.clone() });
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

// A client that does not read: beyond the limit its stream is closed, and its contacts are told.
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
        assert!(core.session(slow).is_some() && core.closed(slow).is_none());
        core.take(desk);
        core.send(desk, &format!("<presence><status>{long}</status></presence><presence/>"));
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
